"""The client's exchange: what is sent, when it is sent again, and what counts as a response."""

import hashlib

import pytest

from aaa.limits import CLIENT_IRT_S, CLIENT_MRC, CLIENT_MRD_S
from aaa.radius.client import (
    ENTROPY_SIZE,
    MICROSOFT,
    Code,
    Dropped,
    Exchange,
    Method,
    Proof,
    Request,
    Response,
    Schedule,
    build_accounting,
    build_login,
    verify_response,
)
from native import crypto
from native.radius import MA_VALID, Packet, Secret, attribute, vendor_attribute

SECRET = Secret(b"testing123")
ENTROPY = bytes(range(7, 7 + ENTROPY_SIZE))


def login(method: Method = "pap", user: bytes = b"alice", password: bytes = b"wonderland") -> Request:
    return build_login(method, user, password, SECRET, ENTROPY)


def respond(request: Request, code: int = Code.ACCESS_ACCEPT, attributes: bytes = b"", signed: bool = True) -> bytes:
    return SECRET.respond(Packet.parse(request.data), code, attributes, signed)


def test_pap_is_hidden_and_signed() -> None:
    packet = Packet.parse(login().data)
    assert packet.attributes()[0][0] == (80,)
    assert SECRET.verify_message_authenticator(packet) == MA_VALID
    assert SECRET.reveal_password(packet) == b"wonderland"


def test_chap_answers_its_challenge() -> None:
    packet = Packet.parse(login("chap").data)
    value, challenge = packet.get(3), packet.get(60)
    assert value is not None
    assert challenge is not None
    assert value[1:] == hashlib.md5(value[:1] + b"wonderland" + challenge).digest()


def test_mschap_carries_an_nt_response() -> None:
    packet = Packet.parse(login("mschap").data)
    value, challenge = packet.get_vendor(MICROSOFT, 1), packet.get_vendor(MICROSOFT, 11)
    assert value is not None
    assert challenge is not None
    assert (len(value), value[1], len(challenge)) == (50, 1, 8)
    assert crypto.verify_mschap(challenge, value[26:], crypto.nt_hash(b"wonderland"))


@pytest.mark.parametrize("user", [b"alice", b"DOMAIN\\alice"])
def test_mschapv2_demands_the_server_s_proof_and_keys(user: bytes) -> None:
    request = login("mschapv2", user)
    packet = Packet.parse(request.data)
    value, challenge = packet.get_vendor(MICROSOFT, 25), packet.get_vendor(MICROSOFT, 11)
    assert value is not None
    assert challenge is not None
    hashed = crypto.nt_hash(b"wonderland")
    verified = crypto.verify_mschapv2(challenge, value[2:18], b"alice", value[26:], hashed)
    assert verified is not None
    digest, send_key, receive_key = verified
    success = vendor_attribute(MICROSOFT, 26, value[:1] + b"S=" + digest.hex().upper().encode())
    keys = b"".join(
        vendor_attribute(MICROSOFT, number, SECRET.hide_tunnel_password(key, request.authenticator, salt))
        for number, key, salt in ((16, send_key, b"\x80\x01"), (17, receive_key, b"\x80\x02"))
    )
    right = verify_response(request, respond(request, attributes=success + keys), SECRET)
    assert isinstance(right, Response)
    assert (right.success, right.mppe_keys) == (Proof.RIGHT, Proof.RIGHT)
    bare = verify_response(request, respond(request), SECRET)
    assert isinstance(bare, Response)
    assert (bare.success, bare.mppe_keys) == (Proof.MISSING, Proof.MISSING)
    forged = vendor_attribute(MICROSOFT, 26, value[:1] + b"S=" + b"0" * 40)
    wrong = verify_response(request, respond(request, attributes=forged), SECRET)
    assert isinstance(wrong, Response)
    assert wrong.success is Proof.WRONG


def test_a_reject_needs_no_proof() -> None:
    request = login("mschapv2")
    answer = verify_response(request, respond(request, Code.ACCESS_REJECT), SECRET)
    assert isinstance(answer, Response)
    assert answer.success is None


def test_accounting_is_signed_by_its_content() -> None:
    request = build_accounting(SECRET, ENTROPY, attribute(40, b"\0\0\0\1"))
    assert SECRET.verify_accounting(Packet.parse(request.data))
    assert isinstance(verify_response(request, respond(request, Code.ACCOUNTING_RESPONSE), SECRET), Response)


@pytest.mark.parametrize("signed", [True, False])
def test_whether_the_response_carries_a_message_authenticator_is_told(signed: bool) -> None:
    answer = verify_response(login(), respond(login(), signed=signed), SECRET)
    assert isinstance(answer, Response)
    assert (answer.message_authenticator, answer.message_authenticator_first) == (signed, signed)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data[:1] + bytes([data[1] ^ 1]) + data[2:], "identifier"),
        (lambda data: bytes([Code.ACCOUNTING_RESPONSE]) + data[1:], "code"),
        (lambda data: bytes([Code.ACCESS_REJECT]) + data[1:], "authenticator"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "authenticator"),
        (lambda data: data[:19], "too_short"),
        (lambda data: data[:-1], "length_field"),
        (lambda data: b"", "too_short"),
    ],
)
def test_what_is_no_response_is_dropped_with_its_reason(change, reason) -> None:  # type: ignore[no-untyped-def]
    assert verify_response(login(), change(respond(login())), SECRET) == Dropped(reason)


def test_the_same_octets_are_sent_again_on_the_schedule_until_the_bound() -> None:
    exchange = Exchange(login(), SECRET, 100.0)
    sent = [exchange.data_to_send()]
    waits = []
    now = 100.0
    while (deadline := exchange.next_deadline()) is not None:
        waits.append(deadline - now)
        now = deadline
        exchange.handle_deadline(now)
        if not exchange.done:
            sent.append(exchange.data_to_send())
    assert exchange.timed_out
    assert exchange.response is None
    assert set(sent) == {login().data}
    # 2, 4, 8, 16 and then the end of MRD at 30 s.
    assert waits == [2.0, 4.0, 8.0, 16.0]
    assert now == 100.0 + CLIENT_MRD_S


def test_jitter_stretches_every_wait_and_the_longest_is_capped() -> None:
    schedule = Schedule(irt_s=1.0, mrt_s=3.0, mrc=4, mrd_s=100.0)
    exchange = Exchange(login(), SECRET, 0.0, schedule, jitter=[0.1, -0.1, 0.1, 0.0])
    waits, now = [], 0.0
    while (deadline := exchange.next_deadline()) is not None:
        waits.append(round(deadline - now, 6))
        now = deadline
        exchange.handle_deadline(now)
    assert waits == [1.1, 2.09, 3.3, 3.0]
    assert exchange.transmissions == 4


def test_nothing_is_sent_before_its_time() -> None:
    exchange = Exchange(login(), SECRET, 0.0)
    assert exchange.data_to_send()
    exchange.handle_deadline(CLIENT_IRT_S - 0.001)
    assert exchange.data_to_send() == b""
    assert exchange.transmissions == 1


def test_a_forged_response_changes_nothing_and_the_true_one_ends_it() -> None:
    request = login()
    exchange = Exchange(request, SECRET, 0.0)
    forged = Secret(b"other").respond(Packet.parse(request.data), Code.ACCESS_ACCEPT, b"", True)
    assert exchange.receive_data(forged, 0.1) == Dropped("authenticator")
    assert not exchange.done
    assert isinstance(exchange.receive_data(respond(request), 0.2), Response)
    assert exchange.done
    assert exchange.next_deadline() is None
    assert exchange.receive_data(respond(request), 0.3) == Dropped("late")
    exchange.handle_deadline(100.0)
    assert (exchange.transmissions, exchange.timed_out, exchange.dropped) == (1, False, [Dropped("authenticator")])


def test_one_transmission_only_when_told() -> None:
    exchange = Exchange(login(), SECRET, 0.0, Schedule(mrc=1))
    exchange.handle_deadline(CLIENT_IRT_S)
    assert exchange.timed_out
    assert CLIENT_MRC > 1


@pytest.mark.parametrize("user", [b"", b"x" * 254])
def test_an_impossible_user_name_is_refused(user: bytes) -> None:
    with pytest.raises(ValueError, match="user name"):
        login(user=user)


def test_too_long_a_password_and_too_little_entropy_are_refused() -> None:
    with pytest.raises(ValueError, match="128"):
        login(password=b"x" * 129)
    with pytest.raises(ValueError, match="random"):
        build_login("pap", b"a", b"b", SECRET, ENTROPY[:-1])
