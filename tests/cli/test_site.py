"""A whole site: `aaa init`, `aaa serve`, and everything else asked of it, over real sockets."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from aaa.cli.commands import cli
from aaa.cli.door import Door, Refused
from billing_hooks.endpoints import JSON, Endpoint
from billing_hooks.table import ENDPOINTS

ROOT = Path(__file__).parents[2]


class Site:
    """A running server with its own directory and ports."""

    def __init__(self, directory: Path) -> None:
        made = CliRunner().invoke(cli, ["init", str(directory)])
        assert made.exit_code == 0, made.output
        self.config = directory / "aaa.toml"
        text = self.config.read_text()
        for pattern, line in (
            (r'^data_dir = .*', f'data_dir = "{directory / "data"}"'),
            (r'^listen = \["0\.0\.0\.0", "::"\]', 'listen = ["127.0.0.1"]\nauth_port = 0\nacct_port = 0'),
            (r'^#?reject_delay = .*', 'reject_delay = "0s"'),
            (r'^listen = "127\.0\.0\.1:8080".*', 'listen = "127.0.0.1:0"'),
        ):
            text, count = re.subn(pattern, line, text, flags=re.MULTILINE)
            assert count == 1, pattern
        self.config.write_text(text)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "aaa.cli", "serve", "-c", str(self.config)], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        started = json.loads(self.process.stdout.readline())
        assert started["event"] == "server.started"
        self.auth = f"127.0.0.1:{started['auth'][0][1]}"
        self.acct = f"127.0.0.1:{started['acct'][0][1]}"
        self.environment = {
            "AAA_URL": f"http://127.0.0.1:{started['api'][1]}",
            "AAA_TOKEN": (directory / "admin.token").read_text().strip(),
        }
        self.door = Door(self.environment["AAA_URL"], self.environment["AAA_TOKEN"])

    def aaa(self, *arguments: str, exit_code: int = 0) -> Result:
        result = CliRunner().invoke(cli, list(arguments), env=self.environment)
        assert result.exit_code == exit_code, (result.output, result.exception)
        return result

    def json(self, *arguments: str, exit_code: int = 0) -> Any:
        return json.loads(self.aaa(*arguments, "--json", exit_code=exit_code).stdout)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)
        return self.process.returncode


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site") / "aaa")
    site.aaa("plan", "set", "home-50", "rate.down_bps=50000000", "rate.up_bps=10000000")
    site.aaa("subscriber", "set", "s1", "name=Ann")
    password = '[{"type": "password", "username": "u1", "cleartext": "p1"}]'
    site.aaa("service", "set", "u1", "subscriber_id=s1", "plan_id=home-50", f"credentials={password}")
    site.aaa("acct-test", "start", "--user", "u1", "--session-id", "x", "--framed-ip", "192.0.2.7",
             "--server", site.acct, "-c", str(site.config))  # fmt: skip
    results = site.door.ask("POST", "/v1/sync", {"operations": ENTITIES})["results"]
    assert [result["status"] for result in results] == ["applied"] * len(ENTITIES), results
    yield site
    assert site.stop() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(site.process.pid, 0)


@pytest.mark.parametrize("method", ["pap", "chap", "mschap", "mschapv2"])
def test_every_method_logs_in_and_the_server_proves_itself(site: Site, method: str) -> None:
    where = ("--method", method, "--server", site.auth, "-c", str(site.config))
    shown = site.json("auth-test", "u1", "p1", *where)
    assert (shown["result"], shown["message_authenticator"]) == ("Access-Accept", "right, first")
    assert shown.get("ms_chap2_success", "right") == "right"
    assert shown.get("mppe_keys", "right") == "right"
    assert site.json("auth-test", "u1", "wrong", *where, exit_code=1)["result"] == "Access-Reject"


def test_the_session_is_seen_and_its_address_found(site: Site) -> None:
    sessions = site.json("session", "list", "--service", "u1")
    assert [session["framed_ip"] for session in sessions] == ["192.0.2.7"]
    assert site.json("lease", "who", "192.0.2.7")[0]["service_id"] == "u1"


def test_an_import_is_stored_and_a_second_one_changes_nothing(site: Site, tmp_path: Path) -> None:
    file = tmp_path / "services.csv"
    rows = "".join(f"c{n},s1,home-50,c{n},p{n}\n" for n in range(300))
    file.write_text("id,subscriber_id,plan_id,username,password\n" + rows)
    assert site.json("service", "import", str(file))["results"] == {"applied": 300}
    assert site.json("service", "import", str(file))["results"] == {"stale": 300}
    assert len(site.json("service", "list", "--prefix", "c", "--all")) == 300


IDS = {
    "plans": "home-50", "subscribers": "s1", "services": "u1", "nas": "localhost", "sims": "8900101000000000019",
    "numbers": "15550000001", "number-ranges": "main", "devices": "cpe",
}  # fmt: skip
ENTITIES: list[dict[str, Any]] = [
    {"op": "put", "kind": "plan", "id": "capped", "value": {"revision": 1, "quota": {"octets": 1000}}},
    {"op": "put", "kind": "service", "id": "u2", "value": {"revision": 1, "subscriber_id": "s1", "plan_id": "capped"}},
    {"op": "put", "kind": "number_range", "id": "main",
     "value": {"revision": 1, "first": "15550000000", "last": "15550000009"}},
    {"op": "put", "kind": "sim", "id": IDS["sims"], "value": {
        "revision": 1, "imsi": "001010000000001", "ki": "465B5CE8B199B49FAA5F0A2EE238A6BC",
        "opc": "CD63CB71954A9F4E48A5994E37A02BAF", "msisdn": IDS["numbers"], "service_id": "u1", "state": "activated"}},
    {"op": "put", "kind": "device", "id": "cpe", "value": {"revision": 1, "mac": "02-00-00-00-00-01"}},
]  # fmt: skip
QUERIES = {"/v1/leases": {"address": "192.0.2.7"}, "/v1/usage": {"service": "u1"}}
ELSEWHERE = ("/v1/enforcements/{id}", "/v1/webhooks/{name}/dead-letters", "/v1/peers/{origin_host}")
"""Of what this site has none: tests/e2e asks for these."""
READ = [e for e in ENDPOINTS if e.method == "GET" and e.media_type == JSON and e.path not in ELSEWHERE]


@pytest.mark.parametrize("endpoint", READ, ids=lambda endpoint: endpoint.path)
def test_answers_have_the_documented_shape(site: Site, endpoint: Endpoint) -> None:
    ids = IDS | {"sessions": site.json("session", "list")[0]["id"]}
    if endpoint.path.endswith("/balance"):
        ids["services"] = "u2"
    collection = (endpoint.path.split("/") + [""] * 3)[2]
    path = re.sub(r"\{\w+\}", ids.get(collection, ""), endpoint.path)
    query = QUERIES.get(endpoint.path, {})
    data = site.door.send("GET", path, None, "", **query)
    msgspec.json.decode(data, type=endpoint.answer)
    assert isinstance(msgspec.json.decode(data), dict)


def test_a_trace_shows_a_login_decoded_with_its_decision(site: Site) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "aaa.cli", "trace", "--user", "u1", "--count", "1", "--json"],
        cwd=ROOT, env=os.environ | site.environment, stdout=subprocess.PIPE,
    ) as tracing:  # fmt: skip
        # The trace may begin after a login: log in until one was seen.
        while tracing.poll() is None:
            site.aaa("auth-test", "u1", "p1", "--server", site.auth, "-c", str(site.config))
        assert tracing.stdout is not None
        seen = json.loads(tracing.stdout.read())
    assert (seen["user"], seen["answer"], seen["outcome"]) == ("u1", "Access-Accept", "accept")
    assert ["User-Password", "***"] in seen["attributes"]
    assert seen["decision"]["rate"]["down_bps"] == 50_000_000
    refused = site.aaa("trace", "--code", "nonsense", exit_code=1)
    assert "coa-request" in refused.stderr


def test_a_preview_and_an_explanation_are_told_in_words(site: Site, tmp_path: Path) -> None:
    policy = tmp_path / "policy"
    policy.mkdir()
    rule = '[[rule]]\nname = "slow"\nwhen = "plan.id == \'home-50\'"\nthen = { rate = "2M/1M" }\n'
    (policy / "slow.toml").write_text(rule)
    shown = site.aaa("policy", "preview", str(policy)).stdout
    assert "1 of 1 live sessions would change" in shown
    assert "to: grant 2M/1M (granted)" in shown
    operations = tmp_path / "operations.ndjson"
    step = {"op": "state", "kind": "service", "id": "u1", "value": {"state": "suspended", "revision": 9}}
    operations.write_text(json.dumps(step) + "\n")
    ending = site.json("policy", "preview", "--operations", str(operations))
    assert (ending["summary"]["disconnect"], ending["items"][0]["keys"]) == (1, [["Acct-Session-Id", "x"]])
    (policy / "slow.toml").write_text(rule.replace("plan.id", "plan.idd"))
    refused = site.aaa("policy", "preview", str(policy), exit_code=1).stderr
    assert f"{policy / 'slow.toml'}:3:" in refused
    assert "did you mean plan.id?" in refused or 'did you mean "plan.id"?' in refused
    site.aaa("policy", "preview", exit_code=2)
    for name, named_by in (("u1", "service"), ("U1@nowhere", "")):
        explained = site.aaa("policy", "explain", name, "--nas", "localhost", exit_code=0 if named_by else 1)
        assert (f"service u1 ({named_by}), plan home-50 at localhost" in explained.stdout) == bool(named_by)
    explained = site.aaa("policy", "explain", "u1", "--nas", "localhost", "--at", "2030-01-01T00:00:00Z").stdout
    assert "2030-01-01T00:00:00" in explained
    assert "WISPr-Bandwidth-Max-Down = 50000000" in explained


def test_a_sample_of_the_live_view_has_what_happened(site: Site) -> None:
    shown = site.json("top", "--interval", "0.05")
    assert (shown["sessions"], shown["enforcement"]["divergent"]) == (1, 0)
    assert [nas["name"] for nas in shown["nas"]] == ["localhost"]
    assert "localhost" in site.aaa("top", "--interval", "0.05", "--count", "1").stdout


def test_a_wrong_push_is_refused_with_its_field(site: Site) -> None:
    with pytest.raises(Refused) as caught:
        site.door.ask("PUT", "/v1/services/x", {"revision": 1, "subscriber_id": "none", "plan_id": "home-50"})
    assert caught.value.problem["error"] == "missing_reference"
    assert caught.value.problem["field"] == "$.subscriber_id"


def test_an_impossible_step_of_state_is_a_conflict(site: Site) -> None:
    with pytest.raises(Refused) as caught:
        site.door.ask("POST", "/v1/services/u1/state", {"state": "pending", "revision": 99})
    assert (caught.value.problem["status"], caught.value.problem["error"]) == (409, "invalid_transition")


def test_a_reload_of_an_unchanged_file_changes_nothing(site: Site) -> None:
    assert site.json("reload") == {"changed": [], "needs_restart": []}
