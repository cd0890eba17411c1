"""tshark reads every kind of packet that the server emits, and finds nothing wrong with any of them."""

import pytest

from policy.model import FAMILIES
from tests.e2e.conftest import FAMILY_ADDRESS
from tests.e2e.peers import Capture, free_port, nas
from tests.e2e.wire import ACCESS_ACCEPT, ACCESS_REJECT, ACCOUNTING_RESPONSE, CLASS, PROXY_STATE, integer

POOLS = """
[[pool]]
name = "all"
kind = "ipv4"
ranges = ["100.64.0.0/24"]

[[pool]]
name = "all"
kind = "ipv6"
ranges = ["2001:db8:a::/48"]

[[pool]]
name = "all"
kind = "delegated"
ranges = ["2001:db8:b::/48"]
"""
WARNING = 0x00600000  # Wireshark's severities: chat 0x200000, note 0x400000, warning 0x600000, error 0x800000


@pytest.fixture
def conversation(start, connect, tmp_path):
    """A server that has said everything it can say, and what was captured of it: (capture, its ports)."""
    capture = Capture(tmp_path / "lo.pcapng")
    coa_port = free_port()
    keys = {"coa_port": coa_port, "simultaneous_use": "disconnect_oldest"}
    nases = "".join(nas(f"nas-{family}", FAMILY_ADDRESS[family], family=family, **keys) for family in FAMILIES)
    server = start(nases + nas("v6", "::1"), radius="reject_delay = 0", extra=POOLS)
    server.plan(
        "everything",
        rate={
            "down_bps": 100_000_000,
            "up_bps": 20_000_000,
            "burst": {"down_bps": 150_000_000, "up_bps": 30_000_000, "seconds": 8},
        },
        pool="all",
        simultaneous_use=1,
        session_timeout=3600,
        idle_timeout=600,
        interim_interval=120,
        attributes=[{"family": "*", "name": "Filter-Id", "value": "x" * 200}],
    )
    user = server.service("everything", plan="everything")
    plain = server.service("plain")
    garden = server.service("garden", state="restricted")
    static = server.service("static", static_ip="198.51.100.3", static_prefix="2001:db8:cafe::/56")
    denied = server.service("denied", state="suspended")
    for family in FAMILIES:
        one = connect(server, FAMILY_ADDRESS[family])
        states = [(PROXY_STATE, b"a"), (PROXY_STATE, b"")]
        for name in (user, plain, garden, static):
            for build in (one.pap, one.chap, one.mschapv2):
                assert one.ask(build(name, f"pw-{name}", (6, integer(2)), (7, integer(1)))).code == ACCESS_ACCEPT
            assert one.ask(one.pap(name, f"pw-{name}", *states, sign=True)).code == ACCESS_ACCEPT
        for build in (one.pap, one.chap, one.mschapv2):
            assert one.ask(build(denied, f"pw-{denied}")).code == ACCESS_REJECT
            assert one.ask(build("nobody", "wrong")).code == ACCESS_REJECT
        class_ = one.ask(one.pap(user, f"pw-{user}", (31, f"02:00:00:00:00:{family[:2]}".encode()))).get(CLASS)
        facts = (CLASS, class_), (8, bytes((192, 0, 2, 7))), (31, f"02:00:00:00:00:{family[:2]}".encode())
        report = one.accounting(1, f"session-{family}", *facts, *states, user=user)
        assert one.ask(report).code == ACCOUNTING_RESPONSE
        for _ in ("auth", "acct"):
            one.ask(one.status())
            one.ask(one.status(), acct=True)
    six = connect(server, "::1")
    assert six.ask(six.pap(plain, f"pw-{plain}")).code == ACCESS_ACCEPT
    for method in ("User-Password", "MS-CHAP-Password"):
        server.login(plain, f"pw-{plain}", method=method, source=FAMILY_ADDRESS["mikrotik"])
        server.login(plain, "wrong", method=method, source=FAMILY_ADDRESS["mikrotik"])
    server.radclient(
        "status", "Message-Authenticator = 0x00\nFreeRADIUS-Statistics-Type = All", source=FAMILY_ADDRESS["mikrotik"]
    )
    # By hand, so that every family's Disconnect-Request is on the wire whatever displaced what before.
    sessions = server.api("GET", "/v1/sessions")["items"]
    live = [session for session in sessions if session["state"] == "active"]
    for session in live:
        # The NASes are not there: it is sent and given up.
        server.api("POST", f"/v1/sessions/{session['id']}/disconnect")
    server.wait_until(lambda: server.metric("aaa_dynamic_in_flight") > 0)
    capture.stop()
    return capture, {*server.auth_ports.values(), *server.acct_ports.values(), coa_port}, server


def test_every_packet_is_well_formed_in_the_eyes_of_tshark(conversation):
    capture, ports, server = conversation
    own = {*server.auth_ports.values(), *server.acct_ports.values()}
    emitted = " or ".join(f"udp.srcport == {port}" for port in own)
    ours = f"radius and ({emitted} or radius.code == 40)"
    codes = [row[0] for row in capture.decode(ports, ours, "radius.code")]
    assert codes.count("2") > 10 * 17, "Access-Accept: every family, method and service"
    assert codes.count("3") > 10 * 6, "Access-Reject"
    assert codes.count("5") > 10, "Accounting-Response"
    assert "40" in codes, "Disconnect-Request"
    wrong = f"({ours}) and (_ws.malformed or _ws.expert.severity >= {WARNING})"
    found = capture.decode(ports, wrong, "radius.code", "_ws.expert.message")
    # radclient numbers its MS-CHAP exchange 0. MS-CHAP-Error begins with that octet (RFC 2548 §2.1.5), which tshark
    # takes for the end of a text.
    assert [row for row in found if row != ["3", "Trailing stray characters"]] == []
    assert len(found) <= 1
    undecoded = f"({emitted}) and not radius"
    assert capture.decode(ports, undecoded, "frame.number") == []


def test_tshark_would_notice(conversation):
    """The judge judges: with another secret every authenticator that it can check is wrong."""
    capture, ports, _ = conversation
    wrong = capture.decode(ports, "radius.authenticator.invalid == 1", "frame.number", secret="not-the-secret")
    right = capture.decode(ports, "radius.authenticator.invalid == 1", "frame.number")
    assert wrong
    assert right == []
