"""The billing system's side of a running server: repeated requests, the full truth, digests, waits, operators."""

import hashlib
import http.client
import json
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from billing_hooks.table import ENDPOINTS
from tests.e2e.peers import SECRET, TOKEN, RunningServer, free_port, nas

NAS_ADDRESS = "127.0.4.1"
NDJSON = {"Content-Type": "application/x-ndjson"}
ROLES = ("reader", "support", "billing")
SCOPED = "scoped-token-0123456789"
COA_REQUEST, COA_ACK, COA_NAK, DISCONNECT_REQUEST = 43, 44, 45, 40
RATE = {"down_bps": 50_000_000, "up_bps": 10_000_000}


def token_entry(name: str, role: str, token: str, operator: str = "") -> str:
    scope = f'operator = "{operator}"\n' if operator else ""
    return f'[[token]]\nname = "{name}"\nrole = "{role}"\ntoken = "{token}"\n{scope}'


TOKENS = "\n".join(
    [
        *(token_entry(role, role, f"{role}-token-0123456789") for role in ROLES),
        token_entry("brand-a", "admin", SCOPED, "brand-a"),
    ]
)


class Reply:
    """Status and JSON of an answer."""

    def __init__(self, status: int, text: bytes, media_type: str) -> None:
        self.status = status
        self.text = text
        self.media_type = media_type

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.text.splitlines()]


def ask(
    server: RunningServer, method: str, path: str, body: Any = None, *, token: str = TOKEN, **headers: str
) -> Reply:
    """body: JSON, or octets as they are."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.url + path, data, sent, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return Reply(answer.status, answer.read(), answer.headers.get_content_type())
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.read(), error.headers.get_content_type())


def ndjson(*lines: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


class FarNas(threading.Thread):
    """A NAS that answers changes of its sessions as it is told: acknowledge, refuse, or say nothing."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((NAS_ADDRESS, port))
        self.answer: int | None = COA_ACK
        self.error_cause = 0
        self.received: list[bytes] = []

    def run(self) -> None:
        while True:
            octets, source = self.socket.recvfrom(4096)
            self.received.append(octets)
            if self.answer is None:
                continue
            # A Disconnect's answers have the numbers before those of a CoA.
            code = self.answer - 3 if octets[0] == DISCONNECT_REQUEST else self.answer
            cause = struct.pack(">BBI", 101, 6, self.error_cause) if self.error_cause else b""
            head = struct.pack(">BBH", code, octets[1], 20 + len(cause))
            digest = hashlib.md5(head + octets[4:20] + cause + SECRET.encode()).digest()
            self.socket.sendto(head + digest + cause, source)

    def codes(self, name: str) -> list[int]:
        """Of the requests for a service's session."""
        return [octets[0] for octets in self.received if b"s-" + name.encode() in octets]


@pytest.fixture(scope="module")
def coa() -> int:
    return free_port()


@pytest.fixture(scope="module")
def billing(tmp_path_factory: pytest.TempPathFactory, coa: int) -> Iterator[RunningServer]:
    nases = nas("local", "127.0.0.1") + nas("far", NAS_ADDRESS, family="mikrotik", coa_port=coa)
    server = RunningServer(tmp_path_factory.mktemp("billing"), nases, radius="reject_delay = 0", extra=TOKENS)
    server.plan("home-50", rate=RATE)
    server.plan("capped", rate=RATE, quota={"octets": 1000})
    yield server
    code = server.stop()
    server.check_log()
    assert code == 0


@pytest.fixture(scope="module")
def far_nas(coa: int) -> FarNas:
    far = FarNas(coa)
    far.start()
    return far


@pytest.fixture
def far(far_nas: FarNas) -> FarNas:
    """Acknowledges, until it is told otherwise."""
    far_nas.answer, far_nas.error_cause = COA_ACK, 0
    return far_nas


@pytest.fixture
def online(billing: RunningServer) -> Callable[[str], str]:
    """Logs a new service in at the far NAS."""

    def log_in(name: str) -> str:
        billing.service(name)
        answer = billing.login(name, f"pw-{name}", source=NAS_ADDRESS)
        assert answer.accepted
        class_ = f"Class = {answer.get('Class')}"
        billing.account("Start", f"s-{name}", f'User-Name = "{name}"', class_, source=NAS_ADDRESS)
        return name

    return log_in


# Read your write


def test_access_request_after_the_answer_sees_the_new_state(billing: RunningServer) -> None:
    name = billing.service("prompt")
    for revision in range(2, 12, 2):
        ask(billing, "POST", f"/v1/services/{name}/state", {"state": "suspended", "revision": revision})
        assert billing.login(name, f"pw-{name}").rejected
        ask(billing, "POST", f"/v1/services/{name}/state", {"state": "active", "revision": revision + 1})
        assert billing.login(name, f"pw-{name}").accepted
    ask(billing, "POST", f"/v1/services/{name}/holds", {"kind": "suspend", "cause": "fraud"})
    assert billing.login(name, f"pw-{name}").rejected
    ask(billing, "POST", f"/v1/services/{name}/restore")
    assert billing.login(name, f"pw-{name}").accepted


# Beside billing's state


def test_holds_stand_beside_the_pushed_state(billing: RunningServer) -> None:
    name = billing.service("held")
    hold = {"kind": "restrict", "cause": "fraud", "until": "2099-01-01T00:00:00Z", "reason": "odd traffic"}
    support = "support-token-0123456789"
    assert ask(billing, "POST", f"/v1/services/{name}/holds", hold, token=support).body["status"] == "applied"
    ask(billing, "POST", f"/v1/services/{name}/holds", {"kind": "suspend", "cause": "admin/anna"})
    status = billing.status(name)
    assert (status["state"], status["pushed_state"]) == ("suspended", "active")
    assert [(held["cause"], held["kind"]) for held in status["holds"]] == [
        ("admin/anna", "suspend"),
        ("fraud", "restrict"),
    ]
    assert (status["holds"][1]["actor"], status["holds"][1]["until"]) == ("support", "2099-01-01T00:00:00.000Z")
    assert ask(billing, "DELETE", f"/v1/services/{name}/holds/admin%2Fanna", token=support).status == 200
    assert billing.status(name)["state"] == "restricted"
    assert ask(billing, "DELETE", f"/v1/services/{name}/holds/none").body["status"] == "stale"
    assert billing.api("GET", f"/v1/services/{name}")["revision"] == 1


def test_a_hold_of_an_automation_is_not_laid_by_hand(billing: RunningServer) -> None:
    name = billing.service("by-hand")
    answer = ask(billing, "POST", f"/v1/services/{name}/holds", {"kind": "suspend", "cause": "automation:dunning"})
    assert (answer.status, answer.body["field"]) == (422, "$.cause")


def test_a_top_up_counts_once(billing: RunningServer) -> None:
    name = billing.service("topped", plan="capped")
    body = {"id": "order-1", "octets": 500, "expires_at": "2099-01-01T00:00:00Z"}
    path = f"/v1/services/{name}/top-ups"
    assert [ask(billing, "POST", path, body).body["status"] for _ in range(2)] == ["applied", "stale"]
    assert ask(billing, "POST", path, body, token="support-token-0123456789").status == 403
    balance = billing.api("GET", f"/v1/services/{name}/balance")
    assert (balance["octets"], balance["left_octets"], balance["thresholds"]) == (1500, 1500, [50, 80, 100])
    assert [(bucket["kind"], bucket["octets"]) for bucket in balance["buckets"]] == [("cycle", 1000), ("top_up", 500)]
    assert billing.status(name)["quota"]["left_octets"] == 1500
    plain = billing.service("unmetered")
    assert ask(billing, "GET", f"/v1/services/{plain}/balance").status == 404


def test_support_sends_its_own_operations_by_sync(billing: RunningServer) -> None:
    name = billing.service("helped")
    operations = [
        {"op": "tag", "kind": "service", "id": name, "value": {"add": ["vip"]}},
        {"op": "state", "kind": "service", "id": name, "value": {"state": "suspended"}, "revision": 2},
        {"op": "hold", "kind": "service", "id": name, "value": {"kind": "restrict"}},
        {"op": "restore", "kind": "service", "id": name},
    ]
    answer = ask(billing, "POST", "/v1/sync", {"operations": operations}, token="support-token-0123456789")
    results = answer.body["results"]
    assert [result["status"] for result in results] == ["applied", "error", "applied", "applied"]
    assert results[1]["error"] == "forbidden"
    assert billing.status(name)["tags"] == ["vip"]


# Waiting for the network


def test_a_wait_answers_with_the_receipt(billing: RunningServer, far: FarNas, online: Callable[[str], str]) -> None:
    name = online("waits")
    change = {"revision": 2, "overrides": {"rate": {"down_bps": 5_000_000, "up_bps": 1_000_000}}}
    answer = ask(billing, "PATCH", f"/v1/services/{name}?wait=enforced", change)
    body = answer.body
    assert (answer.status, body["status"], body["converged"], body["counts"]) == (200, "applied", True, {"done": 1})
    (receipt,) = body["receipts"]
    assert [receipt["id"]] == body["enforcements"]
    told = ("nas", "service_id", "action", "state", "result", "attempts", "error_cause")
    assert [receipt[key] for key in told] == ["far", name, "coa", "done", "ack", 1, None]
    assert receipt["sent_at"] <= receipt["answered_at"]
    assert far.codes(name) == [COA_REQUEST]
    (session,) = billing.status(name)["sessions"]
    assert session["converged"]
    assert session["confirmed"] == session["desired"]
    assert session["confirmed"]["rate"]["down_bps"] == 5_000_000


def test_a_refusal_is_told_with_its_cause(billing: RunningServer, far: FarNas, online: Callable[[str], str]) -> None:
    name = online("refused")
    far.answer, far.error_cause = COA_NAK, 405
    answer = ask(
        billing, "POST", f"/v1/services/{name}/holds?wait=enforced&timeout=5", {"kind": "suspend", "cause": "fraud"}
    )
    body = answer.body
    assert (answer.status, body["status"], body["converged"]) == (200, "applied", False)
    (receipt,) = body["receipts"]
    assert (receipt["state"], receipt["result"], receipt["error_cause"]) == ("failed", "refused", 405)
    (listed,) = billing.api("GET", f"/v1/sessions?divergent=true&service={name}")["items"]
    assert "405" in listed["divergence"]
    assert listed["desired"]["grant"] is False
    assert listed["diverged_at"]


def test_what_is_open_when_the_time_is_over_is_named(
    billing: RunningServer, far: FarNas, online: Callable[[str], str]
) -> None:
    name = online("silent")
    far.answer = None
    change = {"revision": 2, "overrides": {"rate": {"down_bps": 5_000_000, "up_bps": 1_000_000}}}
    answer = ask(billing, "PATCH", f"/v1/services/{name}?wait=enforced&timeout=0.2", change)
    body = answer.body
    assert (answer.status, body["status"], body["converged"]) == (200, "applied", False)
    assert body["pending"] == body["enforcements"]
    (session,) = billing.status(name)["sessions"]
    assert not session["converged"]
    assert session["enforcement"]["id"] == body["pending"][0]
    again = ask(billing, "PATCH", f"/v1/services/{name}?wait=enforced&timeout=0", change)
    assert (again.body["status"], again.body["pending"]) == ("stale", body["pending"])


def test_a_sync_waits_for_a_plan_and_a_subscriber(
    billing: RunningServer, far: FarNas, online: Callable[[str], str]
) -> None:
    first, second = online("both-1"), online("both-2")
    billing.plan("shared-plan", rate=RATE)
    operations = [
        {"op": "patch", "kind": "service", "id": name, "value": {"revision": 2, "plan_id": "shared-plan"}}
        for name in (first, second)
    ]
    ask(billing, "POST", "/v1/sync?wait=enforced", {"operations": operations})
    plan = {"revision": 2, "rate": {"down_bps": 7_000_000, "up_bps": 7_000_000}}
    line = ndjson({"op": "put", "kind": "plan", "id": "shared-plan", "value": plan})
    answer = ask(billing, "POST", "/v1/sync?wait=enforced", line, **NDJSON)
    result, enforced = answer.lines
    assert result["status"] == "applied"
    assert (enforced["converged"], enforced["counts"]) == (True, {"done": 2})
    assert sorted(receipt["service_id"] for receipt in enforced["receipts"]) == [first, second]


def test_a_deletion_waits_for_the_end_of_its_sessions(
    billing: RunningServer, far: FarNas, online: Callable[[str], str]
) -> None:
    name = online("deleted")
    answer = ask(billing, "DELETE", f"/v1/services/{name}?revision=2&wait=enforced")
    assert [(receipt["action"], receipt["result"]) for receipt in answer.body["receipts"]] == [("disconnect", "ack")]
    assert far.codes(name) == [DISCONNECT_REQUEST]


def test_the_last_usage_and_the_disconnect_of_a_deleted_service_bear_its_id(
    billing: RunningServer, far: FarNas, online: Callable[[str], str]
) -> None:
    name = online("gone")
    ask(billing, "DELETE", f"/v1/services/{name}?revision=2&wait=enforced")
    billing.account("Stop", f"s-{name}", "Acct-Output-Octets = 77", source=NAS_ADDRESS)
    (record,) = ask(billing, "GET", f"/v1/cdrs?service={name}").body["items"]
    assert (record["service_id"], record["subscriber_id"], record["output_octets"]) == (name, name, 77)
    (entry,) = [e for e in ask(billing, "GET", f"/v1/audit?service={name}").body["items"] if e["action"] == "delete"]
    assert [receipt["result"] for receipt in entry["enforcements"]] == ["ack"]


def test_status_says_since_when_and_why_a_session_diverges(
    billing: RunningServer, far: FarNas, online: Callable[[str], str]
) -> None:
    name = online("seen")

    def session() -> Any:
        return ask(billing, "GET", f"/v1/services/{name}/status").body["sessions"][0]

    began = session()
    assert (began["converged"], began["divergence"], began["since"]) == (True, None, began["started_at"])
    ask(billing, "POST", f"/v1/services/{name}/holds?wait=enforced", {"kind": "restrict"})
    changed = session()
    assert (changed["converged"], changed["divergence"]) == (True, None)
    assert changed["since"] > began["since"]
    ask(billing, "POST", f"/v1/services/{name}/holds?wait=enforced", {"kind": "suspend"})
    assert session()["divergence"] == "disconnected, its Stop is awaited"


def test_reauthorize_and_disconnect_wait_too(
    billing: RunningServer, far: FarNas, online: Callable[[str], str]
) -> None:
    name = online("changed-by-hand")
    (session,) = billing.sessions(name)
    for action in ("reauthorize", "disconnect"):
        answer = ask(billing, "POST", f"/v1/sessions/{session['id']}/{action}?wait=enforced")
        assert [receipt["result"] for receipt in answer.body["receipts"]] == ["ack"]
    assert far.codes(name) == [COA_REQUEST, DISCONNECT_REQUEST]


# Sending again


def test_the_same_request_is_answered_again_and_does_nothing(billing: RunningServer) -> None:
    name = billing.service("again", plan="capped")
    key = {"Idempotency_Key": "order-7"}
    path = f"/v1/services/{name}/top-ups"
    first = ask(billing, "POST", path, {"id": "a", "octets": 10}, **key)
    assert (first.status, first.body["status"]) == (200, "applied")
    assert ask(billing, "POST", path, {"id": "a", "octets": 10}, **key).text == first.text
    other = ask(billing, "POST", path, {"id": "b", "octets": 10}, **key)
    assert (other.status, other.body["error"]) == (422, "idempotency_mismatch")
    assert ask(billing, "POST", f"/v1/services/{name}/restore", {}, **key).status == 422
    mine = ask(billing, "POST", path, {"id": "b", "octets": 10}, token="billing-token-0123456789", **key)
    assert mine.body["status"] == "applied", "a key belongs to its token"
    assert billing.api("GET", f"/v1/services/{name}/balance")["octets"] == 1020


def test_a_refusal_is_repeated_too(billing: RunningServer) -> None:
    key = {"Idempotency_Key": "too-early"}
    value = {"revision": 1, "subscriber_id": "later", "plan_id": "home-50"}
    first = ask(billing, "PUT", "/v1/services/later", value, **key)
    assert (first.status, first.body["error"]) == (422, "missing_reference")
    billing.put("subscriber", "later")
    assert ask(billing, "PUT", "/v1/services/later", value, **key).text == first.text
    assert ask(billing, "PUT", "/v1/services/later", value).body["status"] == "applied"


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\u00e9"])
def test_a_key_is_printable_and_bounded(billing: RunningServer, key: str) -> None:
    answer = ask(billing, "PUT", "/v1/plans/p", {"revision": 1}, Idempotency_Key=key)
    assert (answer.status, answer.body["field"]) == (422, "Idempotency-Key")


def test_a_stream_is_one_request_under_its_key(billing: RunningServer) -> None:
    name = billing.service("streamed", plan="capped")
    lines = [
        {"op": "top_up", "kind": "service", "id": name, "value": {"id": f"t{number}", "octets": 1}}
        for number in range(40)
    ]
    headers = NDJSON | {"Idempotency_Key": "stream-1"}
    first = ask(billing, "POST", "/v1/sync", ndjson(*lines), **headers)
    assert {line["status"] for line in first.lines} == {"applied"}
    assert ask(billing, "POST", "/v1/sync", ndjson(*lines), **headers).text == first.text
    for other in (lines[:32], [*lines[:32], {**lines[32], "id": "x"}, *lines[33:]], [*lines, lines[0]], lines[:16]):
        answer = ask(billing, "POST", "/v1/sync", ndjson(*other), **headers)
        assert (answer.status, answer.body["error"]) == (422, "idempotency_mismatch")
    assert billing.api("GET", f"/v1/services/{name}/balance")["octets"] == 1040


def test_answers_survive_a_kill(start: Callable[..., RunningServer]) -> None:
    server = start()
    server.service("survivor")
    key = {"Idempotency_Key": "before-the-crash"}
    body = {"revision": 2, "state": "restricted"}
    first = ask(server, "PATCH", "/v1/services/survivor", body, **key)
    assert first.body["status"] == "applied"
    server.kill()
    server.start()
    assert ask(server, "PATCH", "/v1/services/survivor", body, **key).text == first.text
    assert ask(server, "PATCH", "/v1/services/survivor", {"revision": 3}, **key).status == 422
    assert server.api("GET", "/v1/services/survivor")["revision"] == 2


# The full truth


def entity(kind: str, name: str, **value: Any) -> dict[str, Any]:
    return {"kind": kind, "id": name, "value": {"revision": 1, **value}}


def truth(*names: str, **more: Any) -> list[dict[str, Any]]:
    found = [entity("plan", "home-50", rate=RATE)]
    for name in names:
        found += [entity("subscriber", name), entity("service", name, subscriber_id=name, plan_id="home-50", **more)]
    return found


def end(lines: list[dict[str, Any]]) -> bytes:
    return ndjson(*lines, {"end": True, "count": len(lines)})


@pytest.fixture
def small(start: Callable[..., RunningServer]) -> RunningServer:
    """A server of its own with services a, b and c."""
    server = start()
    for name in "abc":
        server.put("subscriber", name)
        server.put("service", name, subscriber_id=name, plan_id="home-50")
    server.sync({"op": "put", "kind": "plan", "id": "home-50", "value": {"revision": 2, "rate": RATE}})
    return server


def states(server: RunningServer) -> dict[str, str]:
    return {service["id"]: service["state"] for service in server.api("GET", "/v1/services")["items"]}


def test_a_snapshot_repairs_and_ends(small: RunningServer) -> None:
    server = small
    server.put("subscriber", "idle")
    lines = [
        entity("plan", "home-50", rate=RATE),
        entity("subscriber", "a"), entity("subscriber", "b"), entity("subscriber", "d"),
        entity("service", "a", subscriber_id="a", plan_id="home-50", state="restricted"),
        entity("service", "b", subscriber_id="b", plan_id="home-50") | {"value": {
            "revision": 3, "subscriber_id": "b", "plan_id": "home-50"}},
        entity("service", "d", subscriber_id="d", plan_id="home-50"),
        entity("service", "e", subscriber_id="nobody", plan_id="home-50"),
    ]  # fmt: skip
    dry = ask(server, "POST", "/v1/snapshot?dry_run=true", end(lines), **NDJSON).body
    assert (dry["missing"], dry["older_here"]) == (["subscriber/d", "service/d", "service/e"], ["service/b"])
    assert (dry["newer_here"], dry["differing"]) == (["plan/home-50"], ["service/a"])
    assert sorted(dry["extra"]) == ["service/c", "subscriber/c", "subscriber/idle"]
    assert states(server) == {"a": "active", "b": "active", "c": "active"}
    refused = ask(server, "POST", "/v1/snapshot", end(lines), **NDJSON)
    assert (refused.status, refused.body["error"]) == (409, "snapshot_share")
    assert refused.body["result"]["kinds"]["service"]["repaired"] == 1
    assert states(server) == {"a": "restricted", "b": "active", "c": "active", "d": "active"}
    done = ask(server, "POST", "/v1/snapshot?share=0.5", end(lines), **NDJSON).body
    assert done["complete"]
    service = done["kinds"]["service"]
    assert (service["same"], service["errors"], service["absent"], service["ended"]) == (3, 1, 1, 1)
    assert (done["errors"][0]["id"], done["errors"][0]["error"]) == ("e", "missing_reference")
    assert states(server) == {"a": "restricted", "b": "active", "c": "terminated", "d": "active"}
    assert server.api("GET", "/v1/services/c")["revision"] == 1
    assert ask(server, "GET", "/v1/subscribers/idle").status == 404
    assert done["kinds"]["subscriber"]["kept"] == 1, "the owner of what was ended stays"
    again = {"op": "put", "kind": "subscriber", "id": "idle", "value": {"revision": 2}}
    server.sync(again)


@pytest.mark.parametrize(
    "tail",
    [b"", b'{"end": true, "count": 2}\n', b'{"kind": "service"}\n{"end": true, "count": 6}\n', b"\x00\n",
     b'{"end": true, "count": 5}\n{"kind": "subscriber", "id": "b", "value": {"revision": 1}}\n'],
    ids=["no end", "wrong count", "unnamed", "no JSON", "more behind the end"],
)  # fmt: skip
def test_nothing_is_ended_by_a_snapshot_that_is_not_whole(small: RunningServer, tail: bytes) -> None:
    answer = ask(small, "POST", "/v1/snapshot?share=1", ndjson(*truth("a", "b")) + tail, **NDJSON)
    assert answer.status == 422
    assert "nothing was ended" in answer.body["detail"]
    assert "terminated" not in states(small).values()


def test_a_cut_connection_ends_nothing(small: RunningServer) -> None:
    host, _, port = small.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    connection.putrequest("POST", "/v1/snapshot?share=1")
    for name, value in (("Authorization", f"Bearer {TOKEN}"), *NDJSON.items(), ("Content-Length", "100000")):
        connection.putheader(name, value)
    connection.endheaders(ndjson(*truth("a", "b", state="restricted")))
    connection.close()
    whole = ndjson(*truth("a", "b", "c", state="restricted"))
    # The next one begins when the cut one was given up.
    small.wait_until(lambda: ask(small, "POST", "/v1/snapshot?share=1", whole, **NDJSON).status == 422)
    assert "terminated" not in states(small).values()


def test_what_is_pushed_meanwhile_is_not_absent(small: RunningServer) -> None:
    host, _, port = small.url.removeprefix("http://").partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    kinds = "?kinds=service&share=1"
    # Enough lines for a call to the engine, so that they are taken while the request is still open.
    body = ndjson(*[truth("a", state="restricted")[-1]] * 20)
    rest = ndjson({"end": True, "count": 20})
    connection.putrequest("POST", "/v1/snapshot" + kinds)
    length = str(len(body) + len(rest))
    for name, value in (("Authorization", f"Bearer {TOKEN}"), *NDJSON.items(), ("Content-Length", length)):
        connection.putheader(name, value)
    connection.endheaders(body)
    small.wait_until(lambda: states(small)["a"] == "restricted")
    busy = ask(small, "POST", "/v1/snapshot" + kinds, {"entities": []})
    assert (busy.status, busy.body["error"]) == (409, "in_progress")
    small.sync({"op": "tag", "kind": "service", "id": "b", "value": {"add": ["seen"]}})
    small.put("service", "new", subscriber_id="a", plan_id="home-50")
    connection.send(rest)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert answer["extra"] == ["service/c"]
    assert states(small) == {"a": "restricted", "b": "active", "c": "terminated", "new": "active"}


def test_what_is_invalid_is_not_absent(small: RunningServer) -> None:
    lines = [*truth("a", "b"), entity("subscriber", "c"), entity("service", "c", colour="red")]
    answer = ask(small, "POST", "/v1/snapshot", {"entities": lines})
    assert answer.status == 200
    assert answer.body["kinds"]["service"]["errors"] == 1
    assert states(small)["c"] == "active"


def test_a_snapshot_of_one_kind_leaves_the_others(small: RunningServer) -> None:
    small.put("subscriber", "idle")
    lines = [line for line in truth("a", "b", "c") if line["kind"] == "service"]
    assert ask(small, "POST", "/v1/snapshot?kinds=service", end(lines), **NDJSON).body["complete"]
    assert ask(small, "GET", "/v1/subscribers/idle").status == 200
    answer = ask(small, "POST", "/v1/snapshot?kinds=services", end(lines), **NDJSON)
    assert (answer.status, answer.body["field"]) == (422, "kinds")


# Digests


def digest_of(pairs: dict[str, int]) -> str:
    ordered = sorted(pairs.items(), key=lambda pair: pair[0].encode())
    return hashlib.sha256("".join(f"{name}\t{revision}\n" for name, revision in ordered).encode()).hexdigest()


def test_a_digest_is_what_billing_computes(start: Callable[..., RunningServer]) -> None:
    server = start()
    names = [*(f"u{number}" for number in range(20)), "\u00e9t\u00e9", "\U0001f680", "\uff5e", "Z", "a/b"]
    server.put("subscriber", "s")
    for revision, name in enumerate(names):
        server.sync({"op": "put", "kind": "service", "id": name, "value": {
            "revision": revision, "subscriber_id": "s", "plan_id": "home-50"}})  # fmt: skip
    here = {name: revision for revision, name in enumerate(names)}
    digest = server.api("GET", "/v1/digest?kind=service")
    assert (digest["count"], digest["sha256"]) == (25, digest_of(here))
    parts = server.api("GET", "/v1/digest?kind=service&parts=4")["parts"]
    assert [part["count"] for part in parts] == [6, 6, 6, 7]
    assert (parts[0]["from"], parts[-1]["to"]) == (None, None)
    for part in parts:
        low, high = (part["from"] or "").encode(), part["to"] and part["to"].encode()
        mine = {n: r for n, r in here.items() if n.encode() >= low and (high is None or n.encode() < high)}
        assert part["sha256"] == digest_of(mine)
    ranged = server.api("GET", "/v1/digest?kind=service&from=u1&to=u2")
    assert ranged["sha256"] == digest_of({n: r for n, r in here.items() if "u1" <= n < "u2"})
    server.sync({"op": "state", "kind": "service", "id": "u3", "value": {"state": "terminated"}, "revision": 99})
    del here["u3"]
    assert server.api("GET", "/v1/digest")["sha256"] == digest_of(here)
    assert ask(server, "GET", "/v1/digest?from=z&to=a").status == 422


# Operators


def path_of(endpoint: Any, name: str) -> str:
    path = endpoint.path
    for parameter in ("{id}", "{name}", "{cause}", "{iccid}", "{msisdn}"):
        path = path.replace(parameter, name)
    return str(path)


BODIES: dict[str, Any] = {
    "state": {"state": "suspended", "revision": 99},
    "holds": {"kind": "suspend", "cause": "fraud"},
    "top-ups": {"id": "t", "octets": 10},
    "tags": {"add": ["x"]},
    "credentials": {"revision": 99, "credentials": []},
    "restore": {},
    "transition": {"state": "suspended"},
    "replace": {"iccid": "89490200001234567891"},
    "reserve": {},
}


def test_an_operator_neither_sees_nor_changes_what_is_another_s(
    billing: RunningServer, far: FarNas, online: Callable[[str], str]
) -> None:
    """Every endpoint that names something is asked for what belongs to the default operator."""
    name = online("not-yours")
    ask(billing, "POST", f"/v1/services/{name}/holds", {"kind": "restrict", "cause": "kept"})
    (session,) = billing.sessions(name)
    before = {path: billing.api("GET", path) for path in (f"/v1/services/{name}", f"/v1/services/{name}/credentials")}
    held = billing.status(name)["holds"]
    iccid, msisdn = "89490200001234567890", "4915550000001"
    billing.put("number_range", "block", first="4915550000000", last="4915550000009")
    billing.put("sim", iccid, imsi="001010000000077", ki="0" * 32, opc="1" * 32, msisdn=msisdn, service_id=name)
    billing.put("device", "cpe-1", mac="02-00-00-00-00-77", service_id=name)
    owned = {"sims": iccid, "numbers": msisdn, "number-ranges": "block", "devices": "cpe-1"}
    before |= {path: billing.api("GET", path) for path in (f"/v1/{kind}/{of}" for kind, of in owned.items())}
    value = {"revision": 99, "subscriber_id": name, "plan_id": "home-50", "operator": "brand-a"}
    value |= {"imsi": "001010000000077", "first": "4915550000000", "last": "4915550000009"}
    seen = set()
    for endpoint in ENDPOINTS:
        if "{" not in endpoint.path or not endpoint.roles:
            continue
        kind = endpoint.path.split("/")[2]
        target = {"sessions": session["id"], "plans": "home-50", "nas": "far", **owned}.get(kind, name)
        fields = {
            "/v1/services/{id}": ("revision", "subscriber_id", "plan_id"),
            "/v1/subscribers/{id}": ("revision", "operator"),
            "/v1/plans/{id}": ("revision",),
            "/v1/sims/{id}": ("revision", "imsi"),
            "/v1/numbers/{id}": ("revision",),
            "/v1/number-ranges/{id}": ("revision", "first", "last"),
            "/v1/devices/{id}": ("revision",),
        }.get(endpoint.path, ())
        body = BODIES.get(endpoint.path.rpartition("/")[2], {field: value[field] for field in fields})
        query = "?revision=99" if endpoint.method == "DELETE" and "/holds/" not in endpoint.path else ""
        answer = ask(
            billing, endpoint.method, path_of(endpoint, target) + query,
            None if endpoint.method in ("GET", "DELETE") else body, token=SCOPED,
        )  # fmt: skip
        if endpoint.method == "GET" and endpoint.path.startswith("/v1/plans/"):
            assert answer.status == 200, "plans are everybody's to see"
            continue
        assert answer.status in (403, 404, 409, 422), (endpoint.method, endpoint.path, answer.status, answer.text)
        assert answer.media_type == "application/problem+json"
        seen.add((endpoint.method, endpoint.path))
    assert len(seen) > 20
    for path in ("/v1/services", "/v1/subscribers", "/v1/sessions", "/v1/nas"):
        assert ask(billing, "GET", path, token=SCOPED).body["items"] == [], path
    assert ask(billing, "GET", "/v1/digest?kind=service", token=SCOPED).body["count"] == 0
    assert ask(billing, "GET", f"/v1/leases?service={name}", token=SCOPED).status == 404
    snapshot = ask(billing, "POST", "/v1/snapshot?kinds=subscriber,service&share=1", {"entities": []}, token=SCOPED)
    assert snapshot.body["kinds"]["service"]["absent"] == 0
    foreign = {"entities": [entity("service", name, subscriber_id=name, plan_id="home-50")]}
    taken = ask(billing, "POST", "/v1/snapshot?kinds=service", foreign, token=SCOPED).body
    assert taken["errors"][0]["error"] == "forbidden"
    operation = {"op": "patch", "kind": "service", "id": name, "value": {"revision": 99, "state": "suspended"}}
    pushed = ask(billing, "POST", "/v1/sync?wait=enforced&timeout=0", {"operations": [operation]}, token=SCOPED).body
    assert (pushed["results"][0]["error"], pushed.get("receipts")) == ("forbidden", None)
    assert before == {path: billing.api("GET", path) for path in before}
    assert billing.status(name)["holds"] == held
    assert billing.sessions(name)[0]["id"] == session["id"]
    assert DISCONNECT_REQUEST not in far.codes(name)
