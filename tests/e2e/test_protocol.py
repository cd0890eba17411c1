"""RADIUS as the RFCs have it: duplicates, Proxy-State, Status-Server, secrets, signatures, sources, broken packets."""

import os
import signal
import struct
import subprocess
import sys
import time

import pytest

from tests.e2e.conftest import LIMITED_NAS, OPEN_NAS, PROXY_NAS, ROTATING_NAS, STRICT_NAS
from tests.e2e.peers import ROOT
from tests.e2e.wire import (
    ACCESS_ACCEPT,
    ACCESS_REJECT,
    ACCESS_REQUEST,
    ACCOUNTING_REQUEST,
    ACCOUNTING_RESPONSE,
    ACCT_STATUS_TYPE,
    CLASS,
    EAP_MESSAGE,
    MESSAGE_AUTHENTICATOR,
    PROXY_STATE,
    STATUS_SERVER,
    USER_NAME,
    Reply,
    Request,
    attribute,
    integer,
    vendor,
)

START, STOP, INTERIM = 1, 2, 3
FREERADIUS = 11344
STATES = [b"first", b"", b"\0\xff" * 100, b"first"]


@pytest.fixture(scope="module")
def user(server):
    return server.service("protocol")


def password(user):
    return f"pw-{user}"


# Duplicates


def test_retransmission_gets_the_same_bytes(server, connect, user):
    one = connect(server)
    for request in (one.pap(user, password(user)), one.mschapv2(user, password(user)), one.pap(user, "wrong")):
        one.send(request)
        first = one.receive()
        Reply(first, request)
        one.send(request)
        assert one.receive() == first


def test_retransmitted_accounting_has_no_second_effect(server, connect):
    user = server.service("duplicates")
    one = connect(server)
    request = one.accounting(INTERIM, "d1", (46, integer(60)), (42, integer(10)), (43, integer(0)), user=user)
    for _ in range(3):
        one.send(request)
    replies = {one.receive()}
    # Copies that came while the first was being written are dropped, so one more is asked for when it is done.
    one.send(request)
    replies.add(one.receive())
    assert len(replies) == 1
    assert server.status(user)["usage"]["total_octets"] == 10


def test_same_identifier_with_another_authenticator_is_a_new_request(server, connect, user):
    one = connect(server)
    first, second = one.pap(user, password(user)), one.pap(user, "wrong")
    again = Request(ACCESS_REQUEST, [(USER_NAME, user.encode())], one.secret, password=b"wrong")
    octets = bytearray(again.octets)
    octets[1] = again.identifier = first.identifier
    again.octets = bytes(octets)
    assert one.ask(first).code == ACCESS_ACCEPT
    assert one.ask(again).code == ACCESS_REJECT
    assert one.ask(second).code == ACCESS_REJECT


def test_same_identifier_from_another_port_is_a_new_request(server, connect, user):
    one, two = connect(server), connect(server)
    request = one.pap(user, password(user))
    classes = [nas.ask(request).get(CLASS) for nas in (one, two)]
    assert classes[0] != classes[1], "each login is a session of its own"


# What is carried


@pytest.mark.parametrize("right", [True, False])
def test_proxy_states_come_back_in_order(server, connect, user, right):
    one = connect(server)
    states = [(PROXY_STATE, state) for state in STATES]
    request = one.pap(user, password(user) if right else "wrong", *states, sign=True)
    reply = one.ask(request)
    assert reply.code == (ACCESS_ACCEPT if right else ACCESS_REJECT)
    assert reply.all(PROXY_STATE) == STATES
    assert reply.attributes[0][0] == MESSAGE_AUTHENTICATOR


def test_proxy_states_come_back_in_accounting(server, connect):
    one = connect(server)
    reply = one.ask(one.accounting(START, "ps", *[(PROXY_STATE, state) for state in STATES], user="nobody"))
    assert reply.code == ACCOUNTING_RESPONSE
    assert reply.all(PROXY_STATE) == STATES


def test_message_authenticator_is_first_in_every_access_reply(server, connect, user):
    one = connect(server)
    for request in (
        one.pap(user, password(user)),
        one.pap(user, "wrong"),
        one.pap(user, password(user), sign=True),
        one.chap(user, password(user)),
        one.mschapv2(user, password(user)),
        one.status(),
    ):
        assert one.ask(request).attributes[0][0] == MESSAGE_AUTHENTICATOR


def test_reply_that_would_not_fit_is_dropped_and_counted(server, connect, user):
    """4096 octets of Proxy-State leave no room for an answer."""
    one = connect(server)
    states = [(PROXY_STATE, bytes(253))] * 15 + [(PROXY_STATE, bytes(193))]
    request = one.pap(user, password(user), *states, sign=True)
    assert 4000 < len(request.octets) <= 4096
    before = server.drops("response_too_long")
    assert one.is_silent(request)
    assert server.drops("response_too_long") == before + 1


# Status-Server


@pytest.mark.parametrize("kind", ["auth", "acct"])
def test_status_server_is_answered_on_both_ports(server, connect, kind):
    one = connect(server)
    reply = one.ask(one.status(), acct=kind == "acct")
    assert reply.code == (ACCESS_ACCEPT if kind == "auth" else ACCOUNTING_RESPONSE)


def test_radclient_status_shows_statistics(server, user):
    assert server.login(user, password(user)).accepted
    answer = server.radclient("status", "Message-Authenticator = 0x00\nFreeRADIUS-Statistics-Type = All")
    assert answer.accepted, answer.text
    assert int(answer.get("FreeRADIUS-Total-Access-Accepts")) >= 1
    assert int(answer.get("FreeRADIUS-Total-Access-Requests")) >= 1
    plain = server.radclient("status", "Message-Authenticator = 0x00")
    assert plain.accepted
    assert [name for name, _ in plain.pairs] == ["Message-Authenticator"]


def test_status_server_without_message_authenticator_is_dropped(server, connect):
    one = connect(server)
    before = server.drops("missing_message_authenticator")
    assert one.is_silent(Request(STATUS_SERVER, [], one.secret))
    assert server.drops("missing_message_authenticator") == before + 1


# Secrets and signatures


def test_forged_message_authenticator_is_dropped(server, connect, user):
    one = connect(server)
    request = one.pap(user, password(user), sign=True)
    octets = bytearray(request.octets)
    octets[25] ^= 1
    before = server.drops("bad_authenticator")
    assert one.is_silent(bytes(octets))
    assert one.is_silent(Request(ACCOUNTING_REQUEST, [(ACCT_STATUS_TYPE, integer(START))], b"wrong"), acct=True)
    assert server.drops("bad_authenticator") == before + 2


def test_message_authenticator_in_accounting_is_verified_where_it_is(server, connect):
    one = connect(server)
    assert one.ask(one.accounting(START, "unsigned")).code == ACCOUNTING_RESPONSE


@pytest.mark.parametrize("secret", ["testing123", "the-new-secret"])
def test_both_secrets_of_a_rotation_work_for_everything(server, connect, user, secret):
    one = connect(server, ROTATING_NAS, secret)
    for request in (
        one.pap(user, password(user), sign=True),
        one.pap(user, password(user)),
        one.chap(user, password(user)),
        one.accounting(START, f"rotating-{secret}", user=user),
        one.status(),
    ):
        assert one.ask(request).code in (ACCESS_ACCEPT, ACCOUNTING_RESPONSE)


def test_nas_that_goes_over_to_the_new_secret_is_understood_at_once(server, connect, user):
    for _ in range(2):
        for secret in ("testing123", "the-new-secret"):
            one = connect(server, ROTATING_NAS, secret)
            assert one.ask(one.pap(user, password(user))).code == ACCESS_ACCEPT
            assert one.ask(one.chap(user, password(user))).code == ACCESS_ACCEPT, "the secret was learned from PAP"


def test_strict_nas_needs_message_authenticator(server, connect, user):
    one = connect(server, STRICT_NAS)
    before = server.drops("missing_message_authenticator")
    assert one.is_silent(one.pap(user, password(user)))
    assert one.is_silent(one.chap(user, password(user)))
    assert server.drops("missing_message_authenticator") == before + 2
    assert one.ask(one.pap(user, password(user), sign=True)).code == ACCESS_ACCEPT


def test_proxy_state_without_message_authenticator_needs_a_marked_nas(server, connect, user):
    state = PROXY_STATE, b"proxied"
    one = connect(server)
    before = server.drops("proxy_state_unsigned")
    assert one.is_silent(one.pap(user, password(user), state))
    assert server.drops("proxy_state_unsigned") == before + 1
    marked = connect(server, OPEN_NAS)
    assert marked.ask(marked.pap(user, password(user), state)).code == ACCESS_ACCEPT


def test_eap_without_message_authenticator_is_dropped_everywhere(server, connect, user):
    identity = EAP_MESSAGE, b"\x02\x01\x00\x0a\x01alice"
    for address in (OPEN_NAS, PROXY_NAS):
        one = connect(server, address)
        assert one.is_silent(Request(ACCESS_REQUEST, [(USER_NAME, user.encode()), identity], one.secret))
        reply = one.ask(Request(ACCESS_REQUEST, [(USER_NAME, user.encode()), identity], one.secret, sign=True))
        assert reply.code == ACCESS_REJECT


def test_auto_reports_who_would_break(server, connect, user):
    one = connect(server, OPEN_NAS)
    one.ask(one.pap(user, password(user), sign=True))
    one.ask(one.pap(user, password(user)))
    rows = server.api("GET", "/v1/nas/message-authenticator")["items"]
    (row,) = [row for row in rows if row["address"] == OPEN_NAS]
    assert row["with"] >= 1
    assert row["without"] >= 1
    assert not [row for row in rows if row["address"] == STRICT_NAS and row["with"] == 0]


# Sources


def test_unknown_source_is_dropped_counted_and_shown(server, connect, user):
    one = connect(server, "127.0.99.1")
    before = server.drops("unknown_source")
    for _ in range(3):
        one.send(one.pap(user, password(user), (32, b"lost-bras")))
    known = connect(server)
    assert known.ask(known.status()).code == ACCESS_ACCEPT
    assert server.drops("unknown_source") == before + 3
    (row,) = [row for row in server.api("GET", "/v1/nas/unknown")["items"] if row["address"] == "127.0.99.1"]
    assert (row["count"], row["nas_identifier"]) == (3, "lost-bras")


def test_rate_limit_drops_and_counts(server, connect, user):
    one = connect(server, LIMITED_NAS)
    before = server.drops("rate_limited")
    requests = [one.pap(user, password(user)) for _ in range(5)]
    for request in requests:
        one.send(request)
    for request in requests[:3]:
        assert Reply(one.receive(), request).code == ACCESS_ACCEPT
    assert server.drops("rate_limited") == before + 2


def test_answers_leave_from_the_address_that_was_asked(server, connect, user):
    for to in ("127.0.0.2", "127.0.0.1", "127.9.8.7"):
        one = connect(server, "127.0.0.1", to=to)
        assert one.ask(one.pap(user, password(user))).code == ACCESS_ACCEPT
        assert one.answered_from == to
        assert one.ask(one.accounting(START, "from")).code == ACCOUNTING_RESPONSE
        assert one.answered_from == to


def test_ipv6_is_served(server, connect, user):
    one = connect(server, "::1")
    assert one.ask(one.pap(user, password(user))).code == ACCESS_ACCEPT
    assert one.answered_from == "::1"
    assert server.login(user, password(user), source="::1").accepted
    server.account("Start", "v6", f'User-Name = "{user}"', source="::1")
    (session,) = [session for session in server.sessions(user) if session["acct_session_id"] == "v6"]
    assert session["nas"] == "local/::1"


# Broken packets


def malformed(one, user):
    """(reason, octets) of packets that are no packets."""
    good = one.pap(user, password(user), sign=True).octets
    head = good[:2]

    def packet(body, length=None):
        return head + struct.pack(">H", 20 + len(body) if length is None else length) + os.urandom(16) + body

    return [
        ("too_short", b""),
        ("too_short", b"\x01"),
        ("too_short", good[:19]),
        ("length_field", packet(b"", 19)),
        ("length_field", packet(b"", 0)),
        ("length_field", packet(b"", 4097)),
        ("length_field", packet(b"", 65535)),
        ("length_field", good[:-1]),
        ("attribute_length", packet(b"\x01")),
        ("attribute_length", packet(b"\x01\x00")),
        ("attribute_length", packet(b"\x01\x01")),
        ("attribute_length", packet(b"\x01\x03")),
        ("attribute_length", packet(attribute(1, b"a") + b"\x02\x00" + bytes(20))),
        ("attribute_length", packet(attribute(1, b"a") + b"\x02\xff" + bytes(20))),
        ("message_authenticator_length", packet(attribute(80, bytes(15)))),
        ("message_authenticator_length", packet(attribute(80, bytes(16)) * 2)),
        ("too_many_attributes", packet(attribute(18, b"") * 513)),
        ("truncated", packet(attribute(18, bytes(253)) * 20, 4096)),
        ("unexpected_code", bytes((99,)) + good[1:]),
        ("unexpected_code", bytes((ACCESS_ACCEPT,)) + good[1:]),
        ("unexpected_code", bytes((ACCOUNTING_REQUEST,)) + good[1:]),
    ]


def test_broken_packets_are_dropped_counted_by_reason_and_not_logged(server, connect, user):
    one = connect(server)
    lines = len(server.lines())
    for reason, octets in malformed(one, user):
        before = server.drops(reason)
        assert one.is_silent(octets, acct=False), (reason, octets[:40])
        assert server.drops(reason) == before + 1, (reason, octets[:40])
    assert len(server.lines()) == lines


def test_padding_behind_the_length_is_ignored(server, connect, user):
    one = connect(server)
    request = one.pap(user, password(user), sign=True)
    octets = request.octets
    request.octets += b"padding"
    one.send(request)
    request.octets = octets
    assert Reply(one.receive(), request).code == ACCESS_ACCEPT


def test_hostile_insides_are_answered_like_any_other_request(server, connect, user):
    """Sound packets with nonsense in them: a reject, never an exception."""
    user = server.service("hostile")
    one = connect(server)
    odd = [
        [(2, b"")],
        [(2, bytes(5))],
        [(2, bytes(144))],
        [(3, b"")],
        [(3, bytes(16))],
        [(3, bytes(18))],
        [(3, bytes(17)), (60, b"")],
        [(26, b"")],
        [(26, bytes(3))],
        [(26, struct.pack(">I", 311) + b"\x01\x00")],
        [(26, struct.pack(">I", 311) + b"\x19\xff")],
        [vendor(311, 11, b""), vendor(311, 25, b"")],
        [vendor(311, 11, bytes(16)), vendor(311, 25, bytes(49))],
        [vendor(311, 11, bytes(7)), vendor(311, 1, bytes(50))],
        [vendor(311, 11, bytes(8)), vendor(311, 1, bytes(50))],
        [vendor(3561, 1, b"")],
        [(6, b""), (31, b""), (87, b"")],
        [(24, bytes(250))] * 10,
        [(245, b"\x01")],
        [(241, b"")],
        [(79, b"")],
    ]
    for attributes in odd:
        reply = one.ask(Request(ACCESS_REQUEST, [(USER_NAME, user.encode()), *attributes], one.secret, sign=True))
        assert reply.code == ACCESS_REJECT, attributes
    names = [b"", b"\0", b" ", b"\xff" * 253, "жук".encode(), b"@", b"a@", b"\\", b"x" * 253]
    for name in names:
        reply = one.ask(Request(ACCESS_REQUEST, [(USER_NAME, name)], one.secret, password=b"x"))
        assert reply.code == ACCESS_REJECT, name


def test_hostile_accounting_is_answered(server, connect):
    one = connect(server)
    most = b"\xff" * 4
    odd = [
        [(40, b"")],
        [(40, bytes(3))],
        [(40, integer(0xFFFFFFFF))],
        [(40, integer(3)), (44, b"")],
        [(40, integer(3)), (44, b"h1"), (42, b""), (43, bytes(8)), (46, most), (52, most), (53, most)],
        [(40, integer(3)), (44, b"h2"), (41, b"\xff" * 4), (55, b"\xff" * 4), (49, b"\xff" * 4)],
        [(40, integer(3)), (44, b"h3"), (8, b""), (97, b""), (97, b"\0"), (123, b"\0\xff" + bytes(16)), (168, b"?")],
        [(40, integer(3)), (44, b"h4"), (123, b"\0\x38")],
        [(40, integer(2)), (44, b"\xff" * 253), (1, b"\xff" * 253), (31, b"\xff" * 253), (87, b"\xff" * 253)],
        [(40, integer(1)), (44, b"h5"), (25, b""), (25, bytes(253)), (25, b"\0")],
        [(40, integer(3)), (44, b"h6"), (46, integer(0x7FFFFFFF)), (42, b"\xff" * 4), (52, integer(0x7FFFFFFF))],
        [(40, integer(7)), (41, b"\xff" * 4)],
    ]
    for attributes in odd:
        reply = one.ask(Request(ACCOUNTING_REQUEST, attributes, one.secret))
        assert reply.code == ACCOUNTING_RESPONSE, attributes
    assert server.api("GET", "/v1/sessions")["items"]


def test_late_requests_are_dropped(start, connect):
    """What waited in the kernel's buffer longer than the budget was given up by its NAS: a stopped server shows it."""
    server = start(radius='response_budget = "100ms"')
    user = server.service("user")
    one = connect(server)
    os.kill(server.pid, signal.SIGSTOP)
    old = one.pap(user, password(user))
    one.send(old)
    # Longer than the budget by the clock that stamps packets, whatever the machine does meanwhile.
    barrier = connect(server)
    until = time.time() + 0.2
    while time.time() < until:
        pass
    os.kill(server.pid, signal.SIGCONT)
    assert barrier.ask(barrier.status()).code == ACCESS_ACCEPT
    assert server.drops("too_late") == 1


def test_two_servers_cannot_share_a_data_directory(start):
    server = start()
    command = [sys.executable, "-m", "aaa.cli", "serve", "-c", str(server.config)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "another server uses this store" in result.stderr
    assert server.api("GET", "/healthz")["status"] == "ok"


def test_metrics_count_requests_by_nas_and_result(server, connect):
    user = server.service("counted")

    def counts():
        return [
            server.metric("aaa_radius_packets_total", nas="strict", kind="accepts"),
            server.metric("aaa_radius_packets_total", nas="strict", kind="rejects"),
            server.metric("aaa_access_results_total", result="wrong_password"),
            server.metric("aaa_radius_response_seconds_count", port="auth"),
        ]

    one = connect(server, STRICT_NAS)
    before = counts()
    one.ask(one.pap(user, password(user), sign=True))
    one.ask(one.pap(user, "wrong", sign=True))
    assert [new - old for new, old in zip(counts(), before, strict=True)] == [1, 1, 1, 2]

