"""Looking before, while and after: previews that come true, traces of what was sent, explanations within a scope."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.boxes import CoaReceiver
from tests.e2e.peers import PATIENCE_S, ROOT, TOKEN, ApiError, RunningServer, free_port, nas

BRAND = "brand-token-0123456789"
RATE = {"down_bps": 50_000_000, "up_bps": 10_000_000}
FAST = {"down_bps": 90_000_000, "up_bps": 30_000_000}
POLICY = '[[rule]]\nname = "night"\nwhen = "plan.id == \'home-50\'"\nthen = { rate_factor = 0.5 }\n'


class Site:
    """A server whose NASes are one FreeRADIUS that takes CoA."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.receiver = CoaReceiver(directory, port)
        self.policy = directory / "policy"
        self.policy.mkdir()
        nases = "".join(
            nas(name, address, family="mikrotik", coa_address="127.0.0.1", coa_port=port, operator=operator)
            for name, address, operator in (("ours", "127.0.0.1", "default"), ("theirs", "127.0.5.1", "brand"))
        )
        token = f'\n[[token]]\nname = "brand"\nrole = "admin"\noperator = "brand"\ntoken = "{BRAND}"\n'
        policy = f'[policy]\ndir = "{self.policy}"\n'
        pools = "".join(
            f'[[pool]]\nname = "{name}"\nkind = "ipv4"\nranges = ["{ranges}"]\n{operator}'
            for name, ranges, operator in (
                ("all", "100.64.0.0/30", ""), ("own", "100.64.1.0/30", 'operator = "brand"\n'),
                ("not", "100.64.2.0/30", 'operator = "default"\n'),
            )
        )  # fmt: skip
        extra = token + policy + pools
        self.server = RunningServer(directory, nases, radius="reject_delay = 0", extra=extra)
        self.server.plan("home-50", rate=RATE)
        for name in ("a", "b"):
            self.server.service(name)
            self.online(name)
        self.server.service("x", operator="brand")
        self.online("x", source="127.0.5.1")

    def online(self, name: str, **options: Any) -> None:
        answer = self.server.login(name, f"pw-{name}", **options)
        token = answer.get("Class")
        self.server.account("Start", f"session-{name}", f'User-Name = "{name}"', f"Class = {token}", **options)

    def as_brand(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {BRAND}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.server.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return json.loads(response.read())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("see"))
    yield site
    assert site.server.stop() == 0
    site.server.check_log()
    site.receiver.stop()


def test_a_policy_does_what_its_preview_said_and_the_trace_shows_it(site: Site) -> None:
    server = site.server
    command = [sys.executable, "-m", "aaa.cli", "trace", "--code", "CoA-Request", "--count", "3", "--json"]
    environment = os.environ | {"AAA_URL": server.url, "AAA_TOKEN": TOKEN}
    preview = server.api("POST", "/v1/policy/preview", {"files": {"night.toml": POLICY}})
    foretold = {item["session_id"]: item for item in preview["items"]}
    assert (preview["summary"]["coa"], preview["summary"]["disconnect"]) == (3, 0)
    assert site.receiver.asked("session-a") == []
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as tracing:
        # This question is in work, and the trace.
        server.wait_until(lambda: server.metric("aaa_http_requests_in_work") >= 2)
        (site.policy / "night.toml").write_text(POLICY)
        assert "policy" in server.reload()["changed"]
        try:
            seen = [json.loads(line) for line in tracing.communicate(timeout=PATIENCE_S)[0].splitlines()]
        finally:
            tracing.kill()
    assert {packet["session_id"] for packet in seen} == set(foretold)
    for packet in seen:
        said = foretold[packet["session_id"]]
        assert (packet["answer"], packet["outcome"]) == ("CoA-ACK", "ack")
        for pair in said["keys"] + said["attributes"]:
            assert pair in packet["attributes"]
    (asked,) = site.receiver.asked("session-a")
    assert asked.all("Mikrotik-Rate-Limit") == ["5M/25M"]
    explained = server.api("GET", "/v1/services/a/decision?nas=ours")
    assert [step["rule"] for step in explained["trace"]][-1] == "night"
    assert ["Mikrotik-Rate-Limit", "5M/25M"] in explained["attributes_sent"]
    assert explained["policy"] == preview["policy"]


def test_a_trace_ends_when_its_token_is_taken_away(site: Site) -> None:
    server = site.server
    extra = server.settings["extra"]
    request = urllib.request.Request(f"{server.url}/v1/trace", headers={"Authorization": f"Bearer {BRAND}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as tracing:
        assert tracing.readline() == b"\n"
        server.configure(extra=extra.replace(BRAND, "another-token-0123456789"))
        server.reload()
        server.login("x", "pw-x", source="127.0.5.1")
        assert tracing.read().strip() == b""
    server.configure(extra=extra)
    server.reload()


def test_previews_and_explanations_keep_within_an_operator(site: Site) -> None:
    operation = {"op": "patch", "kind": "service", "id": "x", "value": {"revision": 5, "overrides": {"rate": FAST}}}
    mine = site.as_brand("POST", "/v1/policy/preview", {"operations": [operation]})
    assert [item["service_id"] for item in mine["items"]] == ["x"]
    other = site.as_brand("POST", "/v1/policy/preview", {"operations": [{**operation, "id": "a"}]})
    assert (other["items"], other["operations"][0]["error"]) == ([], "forbidden")
    new = {"op": "put", "kind": "service", "id": "new", "value": {"revision": 1, "subscriber_id": "a", "plan_id": "p"}}
    for named in ({**operation, "id": "a"}, new, {"op": "delete", "kind": "subscriber", "id": "a", "revision": 9}):
        asked = {"files": {"night.toml": POLICY.replace("0.5", "0.25")}, "operations": [named]}
        both = site.as_brand("POST", "/v1/policy/preview", asked)
        assert both["operations"][0]["error"] == "forbidden"
        assert {item["service_id"] for item in both["items"]} == {"x"}
        assert both["summary"]["sessions"] == 1
        assert {name.partition("/")[0] for group in both["groups"] for name in group["nas"]} == {"theirs"}
    everything = site.as_brand("POST", "/v1/policy/preview", {"files": {}})
    assert {item["service_id"] for item in everything["items"]} <= {"x"}
    assert site.as_brand("GET", "/v1/services/x/decision?nas=theirs")["grant"] is True
    for path in ("/v1/services/a/decision", "/v1/services/x/decision?nas=ours"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            site.as_brand("GET", path)
        assert caught.value.code == 404
    assert {nas["name"] for nas in site.as_brand("GET", "/v1/stats")["nas"]} == {"theirs"}


def test_what_is_counted_for_all_operators_is_not_told_to_one(site: Site) -> None:
    stats, whole = site.as_brand("GET", "/v1/stats"), site.server.api("GET", "/v1/stats")
    (own,) = [nas for nas in whole["nas"] if nas["name"] == "theirs"]
    assert (stats["sessions"], stats["access_requests"] + stats["accounting_requests"]) == (1, own["requests"])
    assert whole["sessions"] == 3
    for name in ("services", "access", "accounting", "drops", "latency", "rows_ahead"):
        assert not stats[name], name
    assert {name: value for name, value in stats["enforcement"].items() if value} == {}
    assert set(site.as_brand("GET", "/healthz")) == {"status", "version", "uptime_s"}
    assert [pool["name"] for pool in site.as_brand("GET", "/v1/pools")["items"]] == ["own"]
    assert len(site.server.api("GET", "/v1/pools")["items"]) == 3
    for method, path in (("GET", "/v1/nas/unknown"), ("POST", "/v1/reload")):
        with pytest.raises(urllib.error.HTTPError) as caught:
            site.as_brand(method, path)
        assert caught.value.code == 403, path


def test_a_wrong_question_is_refused_at_its_place(site: Site) -> None:
    operation = {"op": "patch", "kind": "plan", "id": "home-50", "value": {"revision": 9, "rte": 1}}
    with pytest.raises(ApiError) as caught:
        site.server.api("POST", "/v1/policy/preview", {"operations": [operation]})
    problem = json.loads(caught.value.body)
    assert (problem["status"], problem["field"]) == (422, "$.operations[0].value.rte")
    for at in ("1e308", "253402300799", "-62135596801", "9999-12-31T23:59:59Z"):
        with pytest.raises(ApiError) as caught:
            site.server.api("GET", f"/v1/services/a/decision?at={at}")
        assert json.loads(caught.value.body)["field"] == "at"
    rule = "[[rule]]\nname = 'x'\nwhen = 'nope'\nthen = { deny = 'x' }\n"
    with pytest.raises(ApiError) as caught:
        site.server.api("POST", "/v1/policy/preview", {"files": {"a.toml": rule}})
    problem = json.loads(caught.value.body)
    assert [(each["file"], each["line"]) for each in problem["errors"]] == [("a.toml", 3)]
    assert problem["errors"][0]["column"] > 0
