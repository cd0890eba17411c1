"""The inventory through a running server: HTTP and the command line."""

import csv
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aaa.cli.commands import cli
from tests.e2e.peers import ROOT, TOKEN, RunningServer, nas

KI, OPC = "465B5CE8B199B49FAA5F0A2EE238A6BC", "CD63CB71954A9F4E48A5994E37A02BAF"
A, B = "8900100000000000001", "8900100000000000002"
TOKENS = """
[[token]]
name = "{0}"
role = "{0}"
token = "{0}-token-0123456789"
"""
SCOPED = """
[[token]]
name = "mvno"
role = "sim_admin"
operator = "mvno"
token = "mvno-token-0123456789"
"""
ROLES = ("reader", "support", "billing", "sim_admin")


class Site:
    """A server of its own for each module, and names that no other test has."""

    def __init__(self, directory: Path) -> None:
        self.server = RunningServer(
            directory, nas("local", "127.0.0.1"), extra="".join(map(TOKENS.format, ROLES)) + SCOPED
        )
        for path, value in (
            ("/v1/plans/p", {"revision": 1}),
            ("/v1/subscribers/s", {"revision": 1}),
            ("/v1/services/erin", {"revision": 1, "subscriber_id": "s", "plan_id": "p"}),
        ):
            assert self.ask("PUT", path, value)[0] == 200

    def ask(self, method: str, path: str, body: Any = None, role: str = "admin") -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        ndjson = isinstance(body, bytes)
        token = TOKEN if role == "admin" else f"{role}-token-0123456789"
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/x-ndjson" if ndjson else "application/json",
        }
        request = urllib.request.Request(self.server.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
                return answer.status, text if ndjson else json.loads(text)
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def aaa(self, *arguments: str, exit_code: int = 0) -> Result:
        environment = {"AAA_URL": self.server.url, "AAA_TOKEN": TOKEN}
        result = CliRunner().invoke(cli, list(arguments), env=environment)
        assert result.exit_code == exit_code, (result.output, result.exception)
        return result

    def json(self, *arguments: str) -> Any:
        return json.loads(self.aaa(*arguments, "--json").stdout)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("inventory"))
    yield site
    site.server.stop()


def sim(number: int, **value: Any) -> dict[str, Any]:
    return {"revision": 1, "imsi": f"00101{number:010d}", "ki": KI, "opc": OPC, **value}


def test_a_sim_lives_from_stock_to_replacement(site: Site) -> None:
    assert site.ask("PUT", f"/v1/sims/{A}", sim(1, msisdn="15550000001"))[1]["status"] == "applied"
    step = {"state": "assigned", "service_id": "erin", "reason": "shop 7"}
    assert site.ask("POST", f"/v1/sims/{A}/transition", step)[0] == 200
    assert site.ask("POST", f"/v1/sims/{A}/transition", {"state": "activated", "revision": 2})[1]["revision"] == 2
    shown = site.ask("GET", f"/v1/sims/{A}")[1]
    assert shown == {
        "iccid": A, "revision": 2, "imsi": "001010000000001", "state": "activated", "msisdn": "15550000001",
        "service_id": "erin", "operator": "default", "batch": "", "algorithm": "milenage", "amf": "8000", "sqn": 0,
        "has_keys": True, "registration": None,
    }  # fmt: skip
    status = site.ask("GET", "/v1/services/erin/status")[1]
    names = {"iccid": A, "imsi": "001010000000001", "msisdn": "15550000001", "state": "activated"}
    assert status["sims"] == [names | {"registration": None}]
    code, problem = site.ask("POST", f"/v1/sims/{A}/transition", {"state": "stock"})
    assert (code, problem["error"], problem["field"]) == (409, "invalid_transition", "$.state")
    assert site.ask("PUT", f"/v1/sims/{B}", sim(2))[0] == 200
    assert site.ask("POST", f"/v1/sims/{A}/replace", {"iccid": B})[0] == 200
    assert site.ask("GET", f"/v1/sims/{A}")[1]["state"] == "retired"
    number = site.ask("GET", "/v1/numbers/15550000001")[1]
    assert (number["iccid"], number["state"], number["service_id"]) == (B, "active", "erin")


def test_every_list_has_its_filters(site: Site) -> None:
    lines = [
        {"op": "put", "kind": "sim", "id": f"8900300000000000{n:03d}", "value": sim(300 + n, batch=f"b{n % 2}")}
        for n in range(10)
    ]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    assert site.ask("POST", "/v1/sync", body)[1].count(b'"applied"') == 10
    for query, count in (
        ("q=89003", 10), ("q=89003&batch=b1", 5), ("q=8900300000000000003", 1), ("imsi=001010000000304", 1),
        ("q=89003&state=retired", 0), ("batch=none", 0), ("operator=mvno", 0), ("q=89003&operator=default", 10),
        ("service_id=nobody", 0), ("msisdn=15559999999", 0),
    ):  # fmt: skip
        assert len(site.ask("GET", f"/v1/sims?{query}")[1]["items"]) == count, query
    first = site.ask("GET", "/v1/sims?q=89003&limit=7")[1]
    rest = site.ask("GET", f"/v1/sims?q=89003&limit=7&after={first['next']}")[1]
    names = [item["iccid"] for item in first["items"] + rest["items"]]
    assert (names, rest["next"]) == ([line["id"] for line in lines], None)
    assert site.ask("GET", "/v1/sims?colour=red")[0] == 422


def test_devices_are_shown_with_their_service(site: Site) -> None:
    device = {"revision": 1, "kind": "onu", "serial": "S1", "mac": "02-00-00-00-00-01", "service_id": "erin"}
    assert site.ask("PUT", "/v1/devices/onu-1", device)[0] == 200
    assert site.ask("PATCH", "/v1/devices/onu-1", {"revision": 2, "serial": "S2"})[0] == 200
    found = site.ask("GET", "/v1/devices?service_id=erin&kind=onu")[1]["items"]
    assert [(each["id"], each["serial"], each["revision"]) for each in found] == [("onu-1", "S2", 2)]
    assert [each["id"] for each in site.ask("GET", "/v1/services/erin/status")[1]["devices"]] == ["onu-1"]
    assert site.ask("DELETE", "/v1/devices/onu-1?revision=3")[0] == 200
    assert site.ask("GET", "/v1/devices/onu-1")[0] == 404


def test_reservations_are_unique_under_concurrency(site: Site) -> None:
    body = {"id": "many", "first": "490000000", "last": "499999999"}
    assert site.ask("POST", "/v1/number-ranges", body)[1]["status"] == "applied"
    assert site.ask("POST", "/v1/number-ranges", body)[1]["status"] == "stale"
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: site.ask("POST", "/v1/number-ranges/many/reserve", {"ttl_s": 60}), range(64)))
    assert sorted(answer["msisdn"] for _, answer in answers) == [str(490_000_000 + n) for n in range(64)]
    (shown,) = [each for each in site.ask("GET", "/v1/number-ranges")[1]["items"] if each["id"] == "many"]
    assert (shown["counts"]["reserved"], shown["counts"]["available"]) == (64, 10_000_000 - 64)
    assert site.ask("GET", "/v1/numbers/490000100")[1]["state"] == "available"
    assert site.ask("GET", "/v1/numbers/500000000")[0] == 404
    assert site.ask("POST", "/v1/number-ranges/none/reserve")[0] == 404
    assert site.ask("POST", "/v1/number-ranges/many/reserve", {"ttl_s": 0})[1]["field"] == "$.ttl_s"


def test_a_reservation_ends_by_itself_and_is_told(site: Site) -> None:
    assert site.ask("POST", "/v1/number-ranges", {"id": "short", "first": "80000", "last": "80000"})[0] == 200
    assert site.ask("POST", "/v1/number-ranges/short/reserve", {"ttl_s": 1})[0] == 200
    code, problem = site.ask("POST", "/v1/number-ranges/short/reserve")
    assert (code, problem["error"]) == (409, "exhausted")
    after, types = 0, []
    while ("number.available", "80000") not in types:
        page = site.ask("GET", f"/v1/events?after={after}&wait=20&limit=1000")[1]
        assert page["items"], "nothing was told for 20 s"
        types += [(event["type"], event["subject"]) for event in page["items"]]
        after = page["items"][-1]["seq"]
    assert site.ask("POST", "/v1/number-ranges/short/reserve")[1]["msisdn"] == "80000"


def test_only_who_keeps_keys_may_push_them(site: Site) -> None:
    path, without = "/v1/sims/8900400000000000001", {"revision": 1, "imsi": "001010000000400"}
    for role in ("reader", "support"):
        assert site.ask("PUT", path, without, role)[0] == 403
    assert site.ask("PUT", path, sim(400), "billing")[1]["error"] == "forbidden"
    assert site.ask("PUT", path, without, "billing")[0] == 200
    line = {"op": "patch", "kind": "sim", "id": path[-19:], "value": {"revision": 2, "ki": KI, "opc": OPC}}
    assert b'"forbidden"' in site.ask("POST", "/v1/sync", json.dumps(line).encode(), "billing")[1]
    assert site.ask("GET", path)[1]["has_keys"] is False
    assert b'"applied"' in site.ask("POST", "/v1/sync", json.dumps(line).encode(), "sim_admin")[1]
    plan = json.dumps({"op": "put", "kind": "plan", "id": "p", "value": {"revision": 9}}).encode()
    assert b'"forbidden"' in site.ask("POST", "/v1/sync", plan, "sim_admin")[1]
    shown = site.ask("GET", path, role="reader")[1]
    assert shown["has_keys"] is True
    assert not {"ki", "opc", "op"} & set(shown)


def test_a_token_of_one_operator_sees_and_changes_its_own_only(site: Site) -> None:
    ours, theirs = "8900500000000000001", "8900500000000000002"
    assert site.ask("PUT", f"/v1/sims/{ours}", sim(500, msisdn="15551110000"))[0] == 200
    assert site.ask("PUT", f"/v1/sims/{theirs}", sim(501), "mvno")[0] == 200
    assert site.ask("POST", "/v1/number-ranges", {"id": "ours", "first": "60000", "last": "60099"})[0] == 200
    assert site.ask("PUT", "/v1/devices/ours", {"revision": 1})[0] == 200
    for path in (f"/v1/sims/{ours}", "/v1/numbers/15551110000", "/v1/numbers/60001", "/v1/devices/ours",
                 "/v1/number-ranges/ours"):  # fmt: skip
        assert site.ask("GET", path, role="mvno")[0] == 404, path
        assert site.ask("DELETE", f"{path}?revision=9", role="mvno")[0] in (403, 404), path
    for path in ("/v1/sims", "/v1/numbers", "/v1/devices", "/v1/number-ranges"):
        items = site.ask("GET", path, role="mvno")[1]["items"]
        assert [item.get("iccid") for item in items] == ([theirs] if path == "/v1/sims" else []), path
    assert site.ask("POST", f"/v1/sims/{ours}/transition", {"state": "retired"}, "mvno")[0] == 403
    assert site.ask("POST", "/v1/number-ranges/ours/reserve", role="mvno")[0] == 404
    assert site.ask("PUT", "/v1/sims/8900500000000000003", sim(503, msisdn="60001"), "mvno")[1]["error"] == (
        "duplicate_msisdn"
    )
    assert site.ask("GET", "/v1/services/erin/status", role="mvno")[0] == 404


def test_ten_thousand_sims_come_in_one_request(site: Site) -> None:
    lines = b"\n".join(
        json.dumps({"op": "put", "kind": "sim", "id": f"89006{n:014d}", "value": sim(60_000 + n)}).encode()
        for n in range(10_000)
    )
    code, answer = site.ask("POST", "/v1/sync", lines, "sim_admin")
    assert (code, answer.count(b'"applied"')) == (200, 10_000)
    assert KI.encode() not in answer


def test_a_file_of_sims_goes_through_the_command_line(site: Site, tmp_path: Path) -> None:
    file, out = tmp_path / "sims.csv", tmp_path / "out.ndjson"
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("iccid", "imsi", "ki", "opc", "msisdn", "batch"))
        rows.writerows(
            (f"890070000000000000{n}", f"00107000000000{n}", KI, OPC, f"0700000{n}", "box") for n in range(5)
        )
        rows.writerow(("8900700000000000009", "12", KI, OPC, "", "box"))
    refused = site.aaa("sim", "import", str(file), exit_code=1)
    assert refused.stdout == "5 applied, 1 error\n"
    assert "line 7: 8900700000000000009: $.value.imsi" in refused.stderr
    listed = site.json("sim", "list", "--batch", "box")
    assert [(each["imsi"], each["msisdn"]) for each in listed] == [
        (f"00107000000000{n}", f"0700000{n}") for n in range(5)
    ]
    assert KI not in site.aaa("sim", "show", "8900700000000000001").stdout
    site.aaa("sim", "export", str(out))
    text = out.read_text()
    assert KI not in text
    assert OPC not in text
    again = site.json("sim", "import", str(out))
    assert again["results"] == {"stale": again["lines"]}


def test_the_life_of_a_sim_on_the_command_line(site: Site) -> None:
    one, two = "8900800000000000001", "8900800000000000002"
    for iccid, imsi in ((one, "310150123456701"), (two, "310150123456702")):
        site.aaa("sim", "set", iccid, f"imsi={imsi}")
    assert site.json("sim", "show", one)["imsi"] == "310150123456701"
    site.aaa("number", "range", "add", "shop", "70000", "70009", "--quarantine", "60")
    number = site.json("number", "range", "reserve", "shop", "--ttl", "600")["msisdn"]
    site.aaa("sim", "transition", one, "assigned", "--service", "erin", "--msisdn", number)
    site.aaa("sim", "transition", one, "activated", "--reason", "shop")
    assert "impossible" in site.aaa("sim", "transition", one, "stock", exit_code=1).stderr
    site.aaa("sim", "replace", one, two, "--reason", "lost")
    assert (site.json("sim", "show", two)["msisdn"], site.json("sim", "show", one)["state"]) == (number, "retired")
    site.aaa("sim", "set", two, "msisdn=null")
    assert site.json("number", "show", number)["state"] == "quarantined"
    site.aaa("number", "transition", number, "available")
    assert site.json("number", "range", "show", "shop")["counts"]["available"] == 10
    assert [each["id"] for each in site.json("number", "range", "list") if each["id"] == "shop"] == ["shop"]
    site.aaa("number", "range", "delete", "shop")
    site.aaa("device", "set", "cpe-9", "serial=0012", "mac=02-00-00-00-00-09")
    assert site.json("device", "list", "--prefix", "cpe-9")[0]["serial"] == "0012"
    site.aaa("device", "delete", "cpe-9", "--yes")
    site.aaa("sim", "delete", one, "--yes")


def test_the_sample_data_has_its_sim(site: Site) -> None:
    lines = [line for line in (ROOT / "conf/sample.ndjson").read_text().splitlines() if '"sim"' in line]
    (operation,) = map(json.loads, lines)
    value = operation["value"] | {"imsi": "001019999999999", "msisdn": "15559990001"}
    assert site.ask("PUT", f"/v1/sims/{operation['id']}", value)[0] == 200
    assert (operation["value"]["imsi"], value["ki"], value["opc"]) == ("001010000000001", KI, OPC)


def test_what_was_told_outlives_a_kill_and_no_log_shows_a_key(site: Site) -> None:
    before = site.ask("GET", "/v1/sims?limit=1000")[1]["items"]
    counts = site.ask("GET", "/v1/number-ranges")[1]
    site.server.kill()
    site.server.start()
    assert site.ask("GET", "/v1/sims?limit=1000")[1]["items"] == before
    assert site.ask("GET", "/v1/number-ranges")[1] == counts
    log = site.server.log.read_text()
    assert KI not in log
    assert OPC not in log
    audit = site.ask("GET", "/v1/audit?limit=1000")
    assert KI not in json.dumps(audit)
    events = site.ask("GET", "/v1/events?limit=1000")
    assert KI not in json.dumps(events)
    assert "sim.replaced" in json.dumps(events)
