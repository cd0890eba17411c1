"""A change becomes true on the network: each family is asked in its own words, and obeys, refuses or is silent."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.boxes import STATION, Asked, CoaReceiver, Wire, receipts_of
from tests.e2e.peers import Capture, RunningServer, free_port, nas
from tests.e2e.wire import ACCOUNTING_RESPONSE, integer

WARNING = 0x00600000  # Wireshark's severities: chat 0x200000, note 0x400000, warning 0x600000, error 0x800000
SERVICES = {"rate_style": "service", "garden_service": "garden"}
SITES: dict[str, tuple[str, dict[str, Any]]] = {
    "mikrotik": ("mikrotik", {}),
    "cisco-policy": ("cisco", {"rate_style": "policy", "policy_down": "D{down_mbps}", "policy_up": "U{up_mbps}"}),
    "cisco-service": ("cisco", SERVICES),
    "juniper": ("juniper", {"policy_up": "UP-{up_mbps}", "garden_filter": "garden"}),
    "juniper-service": ("juniper", SERVICES),
    "huawei": ("huawei", {"garden_filter": "poor", "open_filter": "open"}),
    "nokia": ("nokia", {"garden_filter": "Ingr-v4:10,Egr-v4:11"}),
    "zte": ("zte", {}),
    "accel-ppp": ("accel-ppp", {"garden_router": "portal"}),
    "generic": ("generic", {}),
    "ubiquiti": ("ubiquiti", {}),
    "cambium": ("cambium", {}),
}
ADDRESS = {site: f"127.0.4.{number}" for number, site in enumerate(SITES, 1)}
NO_COA = ("generic", "ubiquiti", "cambium")


def activated(service: str) -> list[str]:
    return ["subscriber:command=activate-service", f"subscriber:service-name={service}"]


TOLD: dict[str, dict[str, tuple[str, list[str]]]] = {
    "fast": {
        "mikrotik": ("Mikrotik-Rate-Limit", ["20M/100M"]),
        "cisco-policy": ("Cisco-AVPair", ["ip:sub-qos-policy-in=U20", "ip:sub-qos-policy-out=D100"]),
        "cisco-service": ("Cisco-AVPair", activated("internet(100m,20m)")),
        "juniper": ("ERX-CoS-Shaping-Pmt-Type", ["T02 100m"]),
        "juniper-service": ("ERX-Service-Activate", ["internet(100m,20m)"]),
        "huawei": ("Huawei-Output-Average-Rate", ["100000000"]),
        "nokia": ("Alc-Subscriber-QoS-Override", ["i:q:1:pir=20000", "e:r:rate=100000"]),
        "zte": ("ZTE-Rate-Ctrl-SCR-Down", ["100000000"]),
        "accel-ppp": ("Filter-Id", ["100000/20000"]),
    },
    "restricted": {
        "mikrotik": ("Mikrotik-Address-List", ["walled-garden"]),
        "cisco-service": ("Cisco-AVPair", activated("garden")),
        "juniper": ("ERX-Ingress-Policy-Name", ["garden"]),
        "juniper-service": ("ERX-Service-Activate", ["internet(1m,1m)", "garden"]),
        "huawei": ("Filter-Id", ["poor"]),
        "nokia": ("Alc-Subscriber-Filter", ["Ingr-v4:10,Egr-v4:11"]),
        "zte": ("ZTE-Rate-Ctrl-SCR-Down", ["1000000"]),
        "accel-ppp": ("Attr-26.8003.1", ["0x" + b"portal".hex()]),
    },
    "restored": {
        "mikrotik": ("Mikrotik-Address-List", ["unrestricted"]),
        "cisco-service": ("Cisco-AVPair", activated("internet(100m,20m)")),
        "juniper": ("ERX-Ingress-Policy-Name", ["UP-20"]),
        "juniper-service": ("ERX-Service-Deactivate", ["internet(1m,1m)", "garden"]),
        "huawei": ("Filter-Id", ["open"]),
        "nokia": ("Alc-Subscriber-Filter", ["Ingr-v4:-2,Egr-v4:-2"]),
        "zte": ("ZTE-Rate-Ctrl-SCR-Down", ["100000000"]),
        "accel-ppp": ("Attr-26.8003.1", ["0x" + b"0".hex()]),
    },
}  # fmt: skip
"""What the last CoA of a change says, as FreeRADIUS prints it."""


@pytest.fixture(scope="module")
def port() -> int:
    """Where every NAS of this module takes CoA and Disconnect."""
    return free_port()


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[CoaReceiver]:
    receiver = CoaReceiver(tmp_path_factory.mktemp("receiver"), port)
    yield receiver
    receiver.stop()


@pytest.fixture(scope="module")
def bngs(tmp_path_factory: pytest.TempPathFactory, port: int, receiver: CoaReceiver) -> Iterator[RunningServer]:
    """A server with one NAS of each kind."""
    entries = (
        nas(site, ADDRESS[site], family=family, options=options, coa_port=port)
        for site, (family, options) in SITES.items()
    )
    server = RunningServer(tmp_path_factory.mktemp("bngs"), "".join(entries))
    rates = {"home": (50, 10), "fast": (100, 20), "slow": (10, 2)}
    for name, (down, up) in rates.items():
        server.plan(name, kind="internet", rate={"down_bps": down * 1_000_000, "up_bps": up * 1_000_000})
    server.plan("timed", kind="internet", rate={"down_bps": 50_000_000, "up_bps": 10_000_000}, session_timeout=3600)
    server.plan(
        "capped",
        kind="internet",
        rate={"down_bps": 50_000_000, "up_bps": 10_000_000},
        quota={"octets": 1000, "period": "month"},
        on_exhausted=[{"throttle": {"down_bps": 2_000_000, "up_bps": 1_000_000}}],
    )
    yield server
    code = server.stop()
    server.check_log()
    assert code == 0


def log_in(
    server: RunningServer, user: str, site: str, plan: str = "home", session: str = "", **fields: Any
) -> str:
    """A service with one live session at a NAS; its Acct-Session-Id."""
    server.service(user, plan=plan, **fields)
    session = session or f"id-{user}"
    one = server.nas(ADDRESS[site])
    try:
        class_ = one.ask(one.pap(user, f"pw-{user}")).get(25)
        facts = (25, class_), (8, bytes((192, 0, 2, 7))), (31, STATION.encode())
        assert one.ask(one.accounting(1, session, *facts, user=user)).code == ACCOUNTING_RESPONSE
    finally:
        one.close()
    return session


def change(server: RunningServer, user: str, revision: int, **fields: Any) -> Any:
    """PATCH a service and wait for the network."""
    return server.api("PATCH", f"/v1/services/{user}?wait=enforced", {"revision": revision, **fields})


def last_told(asked: list[Asked], site: str, what: str) -> None:
    name, values = TOLD[what][site]
    found = [request.all(name) for request in asked if request.all(name)]
    assert found, (site, what, asked)
    assert found[-1] == values


@pytest.mark.parametrize("site", [site for site in SITES if site not in NO_COA])
def test_a_session_follows_its_service_on_every_family(bngs: RunningServer, receiver: CoaReceiver, site: str) -> None:
    """Upgraded, restricted, restored, downgraded and suspended; read back by a receiver that is not ours."""
    user = f"follow-{site}"
    session = log_in(bngs, user, site)
    assert receipts_of(change(bngs, user, 2, plan_id="fast")) == [("coa", "ack")]
    last_told(receiver.asked(session), site, "fast")
    for revision, state, what in ((3, "restricted", "restricted"), (4, "active", "restored")):
        assert receipts_of(change(bngs, user, revision, state=state)) == [("coa", "ack")]
        if site in TOLD[what]:
            last_told(receiver.asked(session), site, what)
    assert receipts_of(change(bngs, user, 5, plan_id="slow")) == [("coa", "ack")]
    assert bngs.status(user)["sessions"][0]["converged"] is True
    before = len(receiver.asked(session))
    assert receipts_of(change(bngs, user, 6, state="suspended")) == [("disconnect", "ack")]
    assert len(bngs.sessions(user)) == 1, "it is over when the NAS says Stop"
    asked = receiver.asked(session)
    assert [request.code for request in asked[before:]] == ["Disconnect-Request"]
    assert {request.to for request in asked} == {ADDRESS[site]}
    keys = {"Acct-Session-Id", "Event-Timestamp", "Message-Authenticator"}
    assert {name for name, _ in asked[-1].pairs} == keys


@pytest.mark.parametrize("site", NO_COA)
def test_where_no_coa_changes_the_rate_the_session_is_ended(
    bngs: RunningServer, receiver: CoaReceiver, site: str
) -> None:
    session = log_in(bngs, f"ends-{site}", site)
    assert receipts_of(change(bngs, f"ends-{site}", 2, plan_id="fast")) == [("disconnect", "ack")]
    assert [request.code for request in receiver.asked(session)] == ["Disconnect-Request"]


@pytest.mark.parametrize("site", ["mikrotik", "accel-ppp", "cisco-policy", "generic"])
def test_a_session_timeout_is_told_as_what_is_left(bngs: RunningServer, receiver: CoaReceiver, site: str) -> None:
    session = log_in(bngs, f"timed-{site}", site)
    assert receipts_of(change(bngs, f"timed-{site}", 2, plan_id="timed")) == [("coa", "ack")]
    (asked,) = receiver.asked(session)
    (left,) = asked.all("Session-Timeout")
    assert 3500 < int(left) <= 3600
    assert {name for name, _ in asked.pairs} == {
        "Acct-Session-Id", "Event-Timestamp", "Message-Authenticator", "Session-Timeout",
    }  # fmt: skip


@pytest.mark.parametrize("site", ["mikrotik", "accel-ppp"])
def test_a_renewed_service_is_not_ended_at_its_old_expiry(
    bngs: RunningServer, receiver: CoaReceiver, site: str
) -> None:
    user, now = f"prepaid-{site}", time.time()
    session = log_in(bngs, user, site, expires_at=now + 1000)
    assert receipts_of(change(bngs, user, 2, expires_at=now + 40_000)) == [("coa", "ack")]
    (asked,) = receiver.asked(session)
    (left,) = asked.all("Session-Timeout")
    assert 39_900 < int(left) <= 40_000
    assert "receipts" not in change(bngs, user, 3, expires_at=now + 40_010)


def test_a_used_up_quota_slows_the_session_down(bngs: RunningServer, receiver: CoaReceiver) -> None:
    session = log_in(bngs, "capped", "mikrotik", plan="capped")
    one = bngs.nas(ADDRESS["mikrotik"])
    try:
        one.ask(one.accounting(3, session, (42, integer(400)), (43, integer(700)), (46, integer(60)), user="capped"))
    finally:
        one.close()
    bngs.wait_until(lambda: receiver.asked(session))
    (asked,) = receiver.asked(session)
    assert asked.all("Mikrotik-Rate-Limit") == ["1M/2M"]


def test_a_refused_coa_becomes_a_disconnect(bngs: RunningServer, receiver: CoaReceiver) -> None:
    session = log_in(bngs, "refused", "juniper", session="nak-404-refused")
    answer = change(bngs, "refused", 2, plan_id="fast")
    (receipt,) = answer["receipts"]
    assert (receipt["action"], receipt["result"]) == ("disconnect", "ack")
    assert [request.code for request in receiver.asked(session)] == ["CoA-Request", "Disconnect-Request"]
    assert bngs.metric("aaa_dynamic_exchanges_total", nas="juniper", action="coa", result="nak") == 1


def test_a_session_that_the_nas_does_not_know_is_closed(bngs: RunningServer, receiver: CoaReceiver) -> None:
    log_in(bngs, "forgotten", "zte", session="gone-1")
    answer = change(bngs, "forgotten", 2, state="suspended")
    assert receipts_of(answer) == [("disconnect", "session_gone")]
    assert bngs.sessions("forgotten") == []


def test_what_a_nas_honours_is_shown(bngs: RunningServer, receiver: CoaReceiver) -> None:
    log_in(bngs, "shown", "nokia")
    change(bngs, "shown", 2, plan_id="fast")
    (learned,) = bngs.api("GET", "/v1/nas/nokia")["learned"]
    assert (learned["honours_coa"], learned["error_cause"]) == (True, None)
    assert learned["answered_at"]


def test_everything_sent_is_well_formed_in_the_eyes_of_tshark(
    bngs: RunningServer, receiver: CoaReceiver, port: int, tmp_path: Path
) -> None:
    capture = Capture(tmp_path / "lo.pcapng")
    try:
        for site in SITES:
            user = f"seen-{site}"
            log_in(bngs, user, site)
            change(bngs, user, 2, plan_id="fast")
            if site not in NO_COA:
                change(bngs, user, 3, state="restricted")
                change(bngs, user, 4, state="active", plan_id="timed")
            change(bngs, user, 5, state="suspended")
    finally:
        capture.stop()
    codes = [row[0] for row in capture.decode([port], f"udp.dstport == {port}", "radius.code")]
    assert codes.count("43") >= 3 * (len(SITES) - len(NO_COA))
    assert codes.count("40") >= len(SITES)
    assert set(codes) == {"40", "43"}
    faults = f"_ws.malformed or _ws.expert.severity >= {WARNING} or radius.authenticator.invalid == 1"
    assert capture.decode([port], f"udp.dstport == {port} and ({faults})", "radius.code", "_ws.expert.message") == []


# hostapd, with a supplicant on the wire

SWITCH = "127.0.5.1"
ENDED = [("disconnect", "ack")], [("disconnect", "session_over")]
"""hostapd's Stop may overtake its ACK."""


@pytest.fixture(scope="module")
def switch(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningServer, Wire]]:
    """hostapd as a NAS of a family that fits it, and as one that does not; its port answers from another address."""
    das_port = free_port()
    entry = nas("switch", SWITCH, family=request.param, coa_address="127.0.0.1", coa_port=das_port)
    server = RunningServer(tmp_path_factory.mktemp("switch"), entry)
    for name, bps in (("home", 50_000_000), ("fast", 100_000_000)):
        server.plan(name, kind="internet", rate={"down_bps": bps, "up_bps": bps})
    server.service("station", plan="home", credentials=[{"type": "mac", "mac": STATION}])
    wire = None
    try:
        wire = Wire(tmp_path_factory.mktemp("wire"), SWITCH, server.acct_ports["0.0.0.0"], das_port)
        yield server, wire
    finally:
        if wire is not None:
            wire.stop()
        server.stop()
        server.check_log()


EVERY_FAMILY = pytest.mark.parametrize("switch", ["ubiquiti", "mikrotik"], indirect=True)


def live_session(server: RunningServer, wire: Wire) -> dict[str, Any]:
    """The station's session, once hostapd has reported it."""
    if wire.is_thrown_out:
        wire.plug_in()
    server.wait_until(lambda: server.sessions("station"))
    (session,) = server.sessions("station")
    return dict(session)


@pytest.mark.parametrize("switch", ["ubiquiti"], indirect=True)
def test_hostapd_ends_a_session_when_it_is_told_to(switch: tuple[RunningServer, Wire]) -> None:
    server, wire = switch
    session = live_session(server, wire)
    answer = server.api("POST", f"/v1/sessions/{session['id']}/disconnect?wait=enforced")
    assert receipts_of(answer) in ENDED
    server.wait_until(lambda: any(row["id"] == session["id"] for row in server.sessions("station", ended=True)))
    ended = {row["id"]: row for row in server.sessions("station", ended=True)}[session["id"]]
    assert ended["ended_by_nas"] is True, "its own Stop, not our word"
    assert ended["acct_session_id"] == session["acct_session_id"]
    assert live_session(server, wire)["id"] != session["id"], "the station has come back"


@EVERY_FAMILY
def test_a_change_of_rate_ends_the_session_of_hostapd(switch: tuple[RunningServer, Wire]) -> None:
    """By Disconnect at once where the family is known to take no CoA, else after hostapd's Unsupported-Attribute."""
    server, wire = switch
    session = live_session(server, wire)
    family = server.api("GET", "/v1/nas/switch")["family"]
    answer = server.api("PATCH", "/v1/services/station?wait=enforced", {"revision": 2, "plan_id": "fast"})
    assert receipts_of(answer) in ENDED
    refused = server.metric("aaa_dynamic_exchanges_total", nas="switch", action="coa", result="nak")
    assert refused == (0 if family == "ubiquiti" else 1)
    if family != "ubiquiti":
        (learned,) = server.api("GET", "/v1/nas/switch")["learned"]
        assert (learned["honours_coa"], learned["error_cause"]) == (False, "401 Unsupported-Attribute")
    server.wait_until(lambda: any(row["id"] == session["id"] for row in server.sessions("station", ended=True)))


@EVERY_FAMILY
def test_a_session_that_hostapd_does_not_have_is_closed(switch: tuple[RunningServer, Wire]) -> None:
    server, _ = switch
    server.service("ghost", plan="home", credentials=[{"type": "mac", "mac": "02:00:00:0c:0a:99"}])
    one = server.nas(SWITCH)
    try:
        facts = (31, b"02-00-00-0C-0A-99"), (8, socket.inet_aton("192.0.2.99"))
        one.ask(one.accounting(1, "0123456789ABCDEF", *facts, user="0200000c0a99"))
    finally:
        one.close()
    (session,) = server.sessions("ghost")
    answer = server.api("POST", f"/v1/sessions/{session['id']}/disconnect?wait=enforced")
    assert receipts_of(answer) == [("disconnect", "session_gone")]
    assert server.sessions("ghost") == []
    assert server.metric("aaa_dynamic_exchanges_total", nas="switch", action="disconnect", result="not_found") >= 1
