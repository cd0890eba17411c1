"""docs/operations.md says what the code counts, answers and logs, and nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from aaa.model.access import Cause
from aaa.model.accounting import AccountingOutcome
from aaa.radius.clients import COUNTERS
from aaa.radius.reasons import DropReason
from aaa.server.dynamic import RESULTS
from aaa.server.metrics import FAMILIES, POOL_EVENTS, POOL_STATES
from billing_hooks.app import Metrics as HttpMetrics
from billing_hooks.outlets import Outlets
from billing_hooks.rpc import RpcClient
from billing_hooks.tokens import ApiSettings
from policy.decide import DENIALS
from tests.e2e.peers import SECRET, RunningServer, nas

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/operations.md").read_text()
LEVELS = ("debug", "info", "warning", "error", "exception")
ENGINE = sorted((ROOT / "aaa").rglob("*.py"))
HTTP = sorted((ROOT / "billing_hooks").rglob("*.py"))
MEMORY = "aaa_process_resident_memory_bytes"
WRITER_EVENT = re.compile(r'"event": ?"([\w.]+)"')


def tables(heading: str) -> Iterator[list[list[str]]]:
    """Rows of each table of a chapter, by cells."""
    chapter = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert chapter is not None, heading
    rows: list[list[str]] = []
    for line in [*chapter[1].splitlines(), ""]:
        if line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
        elif rows:
            yield rows[2:]
            rows = []


def rows(heading: str, number: int = 0) -> dict[str, list[str]]:
    """Cells by the first one, its code marks removed; a name must not come twice."""
    found: dict[str, list[str]] = {}
    for name, *cells in list(tables(heading))[number]:
        assert found.setdefault(name.strip("`"), cells) is cells, name
    return found


def codes(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def calls(files: list[Path], names: tuple[str, ...]) -> Iterator[tuple[ast.Call, str, str]]:
    """Calls of a function or method with one of these names: the call, the name, what it is called on."""
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Attribute) and node.func.attr in names:
                yield node, node.func.attr, ast.unparse(node.func.value)
            elif isinstance(node.func, ast.Name) and node.func.id in names:
                yield node, node.func.id, ""


def log_calls(files: list[Path]) -> Iterator[tuple[ast.Call, str]]:
    for call, level, target in calls(files, LEVELS):
        if target.rpartition(".")[2] in ("log", "_log"):
            yield call, level


def text(node: ast.expr) -> str | None:
    """A literal text; N stands for what is put into it. None: no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "N" for part in node.values)
    return None


# Metrics


def http_families() -> list[tuple[str, str, set[str]]]:
    """Name, type and labels of what the HTTP process counts."""
    metrics = HttpMetrics(RpcClient())
    metrics.requests.labels("/v1/sync", "POST", "200").inc()
    metrics.seconds.labels("/v1/sync").observe(0.1)
    outlets = Outlets(RpcClient(), ApiSettings(), metrics.registry)
    outlets.webhooks.count("crm")
    found = []
    for family in metrics.registry.collect():
        labels = {name for sample in family.samples for name in sample.labels} - {"le"}
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.append((name, family.type, labels))
    return found


def test_each_metric_is_documented_with_its_type_and_labels_and_no_other() -> None:
    ours = [(family.name, family.kind, set(family.labels)) for family in FAMILIES]
    documented = [(name, kind, set(codes(labels))) for name, (kind, labels, _) in rows("Metrics").items()]
    assert sorted(documented, key=lambda row: row[0]) == sorted(ours + http_families(), key=lambda row: row[0])


def test_each_kind_of_packet_is_documented_and_no_other() -> None:
    assert tuple(rows("Metrics", 1)) == COUNTERS


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        ("aaa_dynamic_exchanges_total", RESULTS),
        ("aaa_pool_addresses", POOL_STATES),
        ("aaa_pool_leases_total", POOL_EVENTS),
    ],
)
def test_the_values_of_a_label_are_documented(metric: str, values: tuple[str, ...]) -> None:
    assert set(values) <= set(codes(rows("Metrics")[metric][2]))


def test_every_metric_of_an_alert_rule_is_one_that_is_exposed() -> None:
    names = {family.name for family in FAMILIES} | {name for name, _, _ in http_families()}
    rules = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert rules is not None
    used = {name.removesuffix("_bucket") for name in re.findall(r"aaa_\w+", rules[1])}
    assert used
    assert used <= names


# Reasons, causes, outcomes


def test_each_drop_reason_is_documented_with_cause_and_next_step_and_no_other() -> None:
    documented = rows("Drop reasons")
    assert list(documented) == [reason.name.lower() for reason in DropReason if reason is not DropReason.NONE]
    assert all(all(cells) for cells in documented.values())


def test_each_reject_cause_is_documented_with_what_to_do_and_no_other() -> None:
    documented = rows("Reject causes")
    assert list(documented) == [cause.name.lower() for cause in Cause if cause is not Cause.NONE]
    assert all(all(cells) for cells in documented.values())


def reply_messages() -> dict[str, set[str]]:
    """Reply-Messages of the code by reject cause."""
    authorize = ROOT / "aaa/engine/authorize.py"
    constants = {
        node.targets[0].id: node.value.value
        for node in ast.parse(authorize.read_text()).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
    }
    found: dict[str, set[str]] = {}
    for call, _, _ in calls([authorize], ("refuse",)):
        cause, message = ast.unparse(call.args[0]).lower(), call.args[1]
        if cause == "denied":
            continue
        literal = constants[message.id] if isinstance(message, ast.Name) else text(message)
        assert literal is not None, ast.unparse(call)
        found.setdefault(cause, set()).add(str(literal))
    found["denied"] = {message for _, message in DENIALS.values()}
    for call, _, _ in calls([ROOT / "policy/decide.py"], ("deny",)):
        literal = text(call.args[1])
        if literal is not None:
            found["denied"].add(literal)
    return found


def test_each_reply_message_stands_beside_its_cause_and_no_other() -> None:
    documented = {
        cause: set(cells[0].split("<br>")) for cause, cells in rows("Reject causes").items() if cells[0] != "–"
    }
    assert documented == reply_messages()


def test_each_accounting_outcome_is_documented_and_no_other() -> None:
    documented = rows("Accounting outcomes")
    assert list(documented) == [outcome.name.lower() for outcome in AccountingOutcome]
    assert all(cells[0] for cells in documented.values())


# The log


def logged() -> dict[str, tuple[set[str], set[str]]]:
    """Levels and fields of each event that the engine and the writer log; those in the store are docs/events.md's."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for call, level in log_calls(ENGINE):
        name = text(call.args[0])
        if name is not None:
            levels, fields = found.setdefault(name, (set(), set()))
            levels.add("error" if level == "exception" else level)
            fields |= {keyword.arg for keyword in call.keywords if keyword.arg not in (None, "repeat")}
    for call, _, _ in calls(ENGINE, ("note_event",)):
        name = text(call.args[0]) if call.args else None
        if name is not None:
            levels, fields = found.setdefault(name, (set(), set()))
            levels.add("info")
            body = call.args[3]
            assert isinstance(body, ast.Dict), name
            fields |= {str(key.value) for key in body.keys if isinstance(key, ast.Constant)}
    # The log's own line about itself does not pass through its methods.
    found["log.dropped"] = ({"warning"}, {"count"})
    found["store.commit_failed"] = ({"error"}, {"attempt", "error"})
    return found


def test_each_log_event_is_documented_with_level_and_fields_and_no_other() -> None:
    documented = {name: ({level}, set(codes(fields))) for name, (level, fields, _) in rows("Log events").items()}
    assert documented == logged()


def test_what_the_writer_prints_is_documented() -> None:
    printed = set(WRITER_EVENT.findall((ROOT / "aaa/state/writer.py").read_text()))
    assert printed == {"store.commit_failed"}


def test_each_line_of_the_http_side_is_documented_and_no_other() -> None:
    lines = [text(call.args[0]) for call, _ in log_calls(HTTP)]
    assert list(rows("Log events", 1)) != []
    assert set(rows("Log events", 1)) == set(lines)


def test_links_of_the_document_lead_somewhere() -> None:
    anchors = {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", DOCUMENT, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", DOCUMENT):
        path, _, anchor = target.partition("#")
        assert (ROOT / "docs" / path).exists(), target
        assert path or anchor in anchors, target


# What a running server says


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One with two secrets, a pool, and a name that the text format must escape."""
    nases = nas("rotating", "127.0.0.1", second_secret="the-new-secret") + nas('"odd\\name"', "127.0.0.2")
    pool = '[[pool]]\nname = "p"\nkind = "ipv4"\nranges = ["100.64.0.0/29"]\n'
    server = RunningServer(tmp_path_factory.mktemp("server"), nases, extra=pool, listen=["127.0.0.1"])
    server.plan("home-50", rate={"down_bps": 1, "up_bps": 1})
    yield server
    assert server.stop() == 0


def scrape(server: RunningServer) -> dict[str, Metric]:
    text = server.api("GET", "/metrics")
    families = text_string_to_metric_families(text)
    return {f"{family.name}_total" if family.type == "counter" else family.name: family for family in families}


def test_a_running_server_exposes_what_is_documented_and_nothing_else(server: RunningServer) -> None:
    server.api("GET", "/v1/plans")
    exposed = scrape(server)
    assert set(exposed) == set(rows("Metrics"))
    for name, (kind, labels, _) in rows("Metrics").items():
        family = exposed[name]
        assert family.type == kind
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(codes(labels)), name


def test_all_three_processes_are_measured(server: RunningServer) -> None:
    memory = {sample.labels["process"]: sample.value for sample in scrape(server)[MEMORY].samples}
    assert set(memory) == {"engine", "writer", "http"}
    assert min(memory.values()) > 1 << 20


def test_a_name_with_quotes_comes_back_as_it_was(server: RunningServer) -> None:
    names = {sample.labels["nas"] for sample in scrape(server)["aaa_radius_packets_total"].samples}
    assert names == {"rotating", '"odd\\name"'}


def test_commits_are_counted_when_they_are_durable(server: RunningServer) -> None:
    def commits() -> float:
        return server.metric("aaa_store_commit_seconds_count")

    before = commits()
    server.plan("another", rate={"down_bps": 1, "up_bps": 1})
    assert commits() > before
    server.wait_until(lambda: server.metric("aaa_store_oldest_group_seconds") == 0)


def test_buckets_of_a_histogram_only_rise_and_end_with_its_count(server: RunningServer) -> None:
    samples = scrape(server)["aaa_store_commit_seconds"].samples
    counts = [sample.value for sample in samples if sample.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] == next(sample.value for sample in samples if sample.name.endswith("_count"))


def test_sources_are_counted_by_the_secret_that_they_use(server: RunningServer) -> None:
    def sources(secret: str) -> float:
        return server.metric("aaa_nas_secret_sources", nas="rotating", port="acct", secret=secret)

    server.account("Start", "s1", secret=SECRET)
    assert (sources("first"), sources("second")) == (1, 0)
    server.account("Start", "s2", secret="the-new-secret")
    assert (sources("first"), sources("second")) == (0, 1)
