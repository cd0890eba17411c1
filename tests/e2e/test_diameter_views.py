"""One view of all sessions: RADIUS, Gx, Gy, S6a and Sy of one SIM, in the API, the command line, exports and events."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from aaa.cli.commands import cli
from billing_hooks import exports, inventory_schema, schema
from tests.e2e.mobile import IMSI, MSISDN, Network
from tests.e2e.peers import TOKEN, nas
from tests.lab.clients import GxSession, GySession, Mme, SySession

IP = "10.45.0.2"
SMF, MME, PCRF = "smf.localdomain", "mme.localdomain", "pcrf.localdomain"


class Site:
    """A server with the sample data, and one subscriber who is attached, online and followed."""

    def __init__(self, network: Network) -> None:
        self.network, self.server = network, network.server
        smf = network.peer("smf", "gx", "gy")
        self.mme = Mme(network.peer("mme", "s6a"))
        self.mme.ulr(IMSI)
        self.gx, self.gy = GxSession(smf, IMSI, ip=IP), GySession(smf, IMSI)
        self.gx.initial()
        self.gy.initial()
        self.sy = SySession(network.peer("pcrf", "sy"), IMSI)
        self.sy.subscribe()
        self.account("Start")
        self.gy.update(5_000)
        self.account("Interim-Update", 4_000)

    def account(self, status: str, octets: int = 0, session: str = "pgw-1") -> None:
        """What the gateway's RADIUS accounting reports of the bearer."""
        lines = [
            f"Framed-IP-Address = {IP}",
            f'3GPP-IMSI = "{IMSI}"',
            'Called-Station-Id = "internet.mnc001.mcc001.gprs"',
        ]
        if status != "Start":
            lines += [f"Acct-Output-Octets = {octets}", "Acct-Input-Octets = 0", "Acct-Session-Time = 60"]
        assert self.server.account(status, session, *lines).code == "Accounting-Response"

    def sessions(self, **query: str) -> dict[str, dict[str, Any]]:
        """Live sessions by protocol; each fits the document."""
        text = "&".join(f"{name}={value}" for name, value in query.items())
        page = self.server.api("GET", f"/v1/sessions?{text}")
        msgspec.convert(page, schema.SessionPage)
        for each in page["items"]:
            assert set(each) <= set(schema.Session.__struct_fields__)
        found = {each["protocol"]: each for each in page["items"]}
        assert len(found) == len(page["items"])
        return found

    def aaa(self, *arguments: str) -> Any:
        result = CliRunner().invoke(cli, [*arguments, "--json"], env={"AAA_URL": self.server.url, "AAA_TOKEN": TOKEN})
        assert result.exit_code == 0, (result.output, result.exception)
        return json.loads(result.stdout)


@pytest.fixture
def site(network: Any) -> Site:
    return Site(network(nases=nas("local", "127.0.0.1")))


def test_sessions_of_all_protocols_are_seen_in_every_view(site: Site) -> None:
    """In one test, because a server with all of its peers takes seconds to start."""
    check_what_sessions_say(site)
    check_filters(site)
    check_who_is_charged(site)
    check_clients(site)
    check_registration(site)


def check_what_sessions_say(site: Site) -> None:
    found = site.sessions()
    assert set(found) == {"radius", "gx", "gy", "s6a", "sy"}
    assert {each["service_id"] for each in found.values()} == {"erin"}
    assert {each["imsi"] for each in found.values()} == {IMSI}
    assert {each["msisdn"] for each in found.values()} == {MSISDN}
    gx, gy, s6a, sy, radius = (found[protocol] for protocol in ("gx", "gy", "s6a", "sy", "radius"))
    assert (gx["nas"], gx["apn"], gx["framed_ip"], gx["rat"]) == (SMF, "internet", IP, "EUTRAN")
    assert gx["diameter_session_id"] == site.gx.id
    assert gx["rules_installed"]
    assert gx["rules_failed"] == []
    assert gy["grants"][0]["octets"] > 0
    assert (s6a["mme"], s6a["purged"], s6a["imei"]) == (MME, False, "35315711000000")
    assert s6a.get("diameter_session_id") is None
    assert sy["counters"]["state"] == "active"
    assert (radius["acct_session_id"], radius["apn"]) == ("pgw-1", "internet")
    assert "diameter_session_id" not in radius


def check_filters(site: Site) -> None:
    assert set(site.sessions(protocol="gx")) == {"gx"}
    assert set(site.sessions(imsi=IMSI)) == {"radius", "gx", "gy", "s6a", "sy"}
    assert site.sessions(imsi="001010000000002") == {}
    assert set(site.sessions(apn="INTERNET")) == {"radius", "gx", "gy"}
    assert set(site.sessions(imsi=IMSI, protocol="s6a")) == {"s6a"}
    assert [each["protocol"] for each in site.aaa("session", "list", "--protocol", "gy", "--imsi", IMSI)] == ["gy"]
    shown = site.aaa("session", "show", site.sessions()["gx"]["id"])
    assert shown["rules_installed"] == site.sessions()["gx"]["rules_installed"]


def check_who_is_charged(site: Site) -> None:
    found = site.sessions()
    gy = found["gy"]["id"]
    assert found["gy"]["charged"]
    for protocol in ("gx", "radius"):
        assert (found[protocol]["charged"], found[protocol]["charged_by"]) == (False, gy)
    assert "charged" not in found["s6a"]
    status = site.server.status("erin")
    msgspec.convert(status, schema.ServiceStatus)
    assert (status["usage"]["total_octets"], status["quota"]["used_octets"]) == (5_000, 5_000)
    by_protocol = {each["protocol"]: each for each in status["sessions"]}
    assert by_protocol["radius"]["usage"]["total_octets"] == 4_000
    assert by_protocol["radius"]["charged_usage"]["total_octets"] == 0
    # What an accounting session that was never authorised here runs under is unknown.
    assert all(each["converged"] for each in status["sessions"] if each["protocol"] != "radius")
    (usage,) = site.server.api("GET", "/v1/usage?service=erin")["items"]
    assert (usage["running"]["sessions"], usage["running"]["total_octets"]) == (3, 5_000)


def test_records_and_sums_of_ended_sessions_count_a_bearer_once(site: Site) -> None:
    site.gy.terminate(7_000)
    site.account("Stop", 9_000)
    site.gx.terminate()
    site.sy.terminate()
    site.server.wait_until(lambda: len(site.server.sessions("erin", ended=True)) == 4)
    page = site.server.api("GET", "/v1/cdrs?service=erin")
    records = {each["protocol"]: each for each in msgspec.to_builtins(msgspec.convert(page, exports.CdrPage))["items"]}
    assert set(records) == {"radius", "gx", "gy"}
    assert {(each["imsi"], each["apn"]) for each in records.values()} == {(IMSI, "internet")}
    assert records["gx"]["diameter_session_id"] == site.gx.id
    assert records["radius"]["acct_session_id"] == "pgw-1"
    charged = {
        protocol: each["charged_input_octets"] + each["charged_output_octets"] for protocol, each in records.items()
    }
    # What the gateway's accounting tells later of the same was paid already.
    assert charged == {"gy": 12_000, "gx": 0, "radius": 0}
    assert [records[protocol]["total_octets"] for protocol in ("gy", "radius")] == [12_000, 9_000]
    span = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"
    sums = [each for each in site.server.api("GET", f"/v1/usage?{span}")["items"] if each["service_id"] == "erin"]
    assert [each["total_octets"] for each in sums] == [12_000]
    assert sums[0]["sessions"] == 3
    (one,) = site.server.api("GET", f"/v1/usage?service=erin&{span}")["items"]
    assert one["total_octets"] == 12_000
    assert site.server.status("erin")["usage"]["total_octets"] == 12_000


def check_registration(site: Site) -> None:
    (sim,) = site.server.status("erin")["sims"]
    view = site.server.api("GET", f"/v1/sims/{sim['iccid']}")
    msgspec.convert(view, inventory_schema.SimView)
    assert sim["registration"] == view["registration"]
    registration = view["registration"]
    assert registration["mme"] == MME
    assert (registration["imei"], registration["rat"]) == ("35315711000000", "EUTRAN")
    assert registration["plmn"] in ("00101", "99970", "99901")
    assert registration["since"]
    site.mme.pur(IMSI)
    site.server.wait_until(lambda: site.server.api("GET", f"/v1/sims/{sim['iccid']}")["registration"] is None)
    (ended,) = site.server.api("GET", f"/v1/sessions?imsi={IMSI}&ended=true")["items"]
    assert (ended["protocol"], ended["purged"]) == ("s6a", True)


def check_clients(site: Site) -> None:
    rows = {row["name"]: row for row in site.server.api("GET", "/v1/nas")["items"]}
    assert {name: rows[name]["protocol"] for name in ("local", SMF, MME, PCRF)} == {
        "local": "radius", SMF: "diameter", MME: "diameter", PCRF: "diameter",
    }  # fmt: skip
    assert (rows[SMF]["sessions"], rows[SMF]["realm"]) == (2, "localdomain")
    assert site.aaa("nas", "show", SMF)["learned"][0]["last_accounting_at"]
    assert site.aaa("nas", "list")["items"][0]["name"] == "local"
    assert site.aaa("top", "--interval", "0.05")["sessions_by_protocol"] == {
        "radius": 1, "gx": 1, "gy": 1, "s6a": 1, "sy": 1,
    }  # fmt: skip


def test_sessions_of_all_protocols_are_reauthorized_and_disconnected(site: Site) -> None:
    clients = {"gx": site.gx.peer, "gy": site.gy.peer, "s6a": site.mme.peer, "sy": site.sy.peer}
    for protocol, command in (("gx", "RAR"), ("gy", "RAR"), ("s6a", "IDR"), ("sy", "SNR")):
        session = site.sessions()[protocol]
        change = site.server.api("POST", f"/v1/sessions/{session['id']}/reauthorize?wait=enforced&timeout=10")
        if protocol == "gy" and not change.get("enforcements"):
            # Its grants are what they should be.
            continue
        clients[protocol].expect(command)
        assert change["receipts"][0]["result"] == "ack"
    for protocol, command in (("gx", "RAR"), ("sy", "SNR"), ("s6a", "CLR")):
        session = site.sessions()[protocol]
        (number,) = site.server.api("POST", f"/v1/sessions/{session['id']}/disconnect")["enforcements"]
        clients[protocol].expect(command)
        site.server.wait_until(lambda: site.server.api("GET", f"/v1/enforcements/{number}")["state"] == "done")  # noqa: B023
