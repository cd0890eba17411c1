"""Requests of dynamic authorization: what is sent, when it is sent again, and what counts as an answer."""

from __future__ import annotations

import pytest

from aaa.limits import DYNAMIC_IRT_S, DYNAMIC_MRC
from aaa.radius.client import Code, Dropped
from aaa.radius.dynamic import ERROR_CAUSES, IDENTIFIERS, DynamicExchanges, Finished, Pace
from native.radius import MA_VALID, Packet, Secret, attribute, integer_attribute

SECRET = Secret(b"testing123")
KEYS = attribute(44, b"81c00001")


def start(machine: DynamicExchanges, token: object = "job", now: float = 0.0, code: Code = Code.COA_REQUEST) -> bytes:
    machine.start(SECRET, code, KEYS, now, token)
    (data,) = machine.data_to_send()
    return data


def respond(request: bytes, code: int, attributes: bytes = b"", signed: bool = False, secret: Secret = SECRET) -> bytes:
    return secret.respond(Packet.parse(request), code, attributes, signed)


@pytest.mark.parametrize("code", [Code.COA_REQUEST, Code.DISCONNECT_REQUEST])
def test_a_request_is_signed_twice(code: Code) -> None:
    packet = Packet.parse(start(DynamicExchanges(), code=code))
    assert packet.code == code
    assert SECRET.verify_accounting(packet)
    assert SECRET.verify_message_authenticator(packet) == MA_VALID
    assert [path for path, _ in packet.attributes()] == [(80,), (44,)]


def test_message_authenticator_can_be_left_out() -> None:
    machine = DynamicExchanges()
    machine.start(SECRET, Code.COA_REQUEST, KEYS, 0.0, "job", message_authenticator=False)
    packet = Packet.parse(machine.data_to_send()[0])
    assert SECRET.verify_accounting(packet)
    assert not packet.has(80)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("code", "answer", "attributes", "result", "cause"),
    [
        (Code.COA_REQUEST, 44, b"", "ack", 0),
        (Code.COA_REQUEST, 45, b"", "nak", 0),
        (Code.COA_REQUEST, 45, integer_attribute(101, 503), "nak", 503),
        (Code.DISCONNECT_REQUEST, 41, integer_attribute(101, 201), "ack", 0),
        (Code.DISCONNECT_REQUEST, 42, integer_attribute(101, 506), "nak", 506),
        (Code.DISCONNECT_REQUEST, 42, attribute(101, b"\x01"), "nak", 1),
        (Code.DISCONNECT_REQUEST, 42, attribute(101, b"x" * 9), "nak", 0),
    ],
)
def test_an_answer(code: Code, answer: int, attributes: bytes, result: str, cause: int, signed: bool) -> None:
    machine = DynamicExchanges()
    data = start(machine, "job", code=code)
    finished = machine.receive_data(respond(data, answer, attributes, signed), 0.1)
    assert finished == Finished("job", result, cause, 1)  # type: ignore[arg-type]
    assert (len(machine), machine.next_deadline(), machine.data_to_send()) == (0, None, [])


def test_a_retransmission_is_the_same_packet() -> None:
    machine = DynamicExchanges()
    data = start(machine)
    sent = [data]
    now = 0.0
    while (at := machine.next_deadline()) is not None:
        assert machine.handle_deadline(at - 0.01) == []
        assert machine.data_to_send() == [], "not before its time"
        now = at
        finished = machine.handle_deadline(at)
        sent += machine.data_to_send()
    assert sent == [data] * DYNAMIC_MRC
    assert finished == [Finished("job", "timeout", 0, DYNAMIC_MRC)]
    assert now == DYNAMIC_IRT_S * (1 + 2 + 4)


def test_an_answer_to_the_last_transmission_counts() -> None:
    machine = DynamicExchanges()
    data = start(machine)
    for now in (1.0, 3.0):
        assert machine.handle_deadline(now) == []
    finished = machine.receive_data(respond(data, 44), 6.9)
    assert finished == Finished("job", "ack", 0, DYNAMIC_MRC)


def test_answers_come_in_any_order() -> None:
    machine = DynamicExchanges()
    requests = [start(machine, number) for number in range(40)]
    assert len({request[1] for request in requests}) == 40
    for number in reversed(range(40)):
        finished = machine.receive_data(respond(requests[number], 44), 0.5)
        assert isinstance(finished, Finished)
        assert finished.token == number
    assert len(machine) == 0


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda answer: answer[:2], "too_short"),
        (lambda answer: b"", "identifier"),
        (lambda answer: answer[:1] + bytes([answer[1] ^ 1]) + answer[2:], "identifier"),
        (lambda answer: answer[:4] + bytes(16) + answer[20:], "authenticator"),
        (lambda answer: b"\x02" + answer[1:], "code"),
        (lambda answer: b"\x29" + answer[1:], "code"),
        (lambda answer: answer[:3] + b"\xff" + answer[4:], "length_field"),
    ],
)
def test_what_is_no_answer_is_dropped_and_the_wait_goes_on(spoil: object, reason: str) -> None:
    machine = DynamicExchanges()
    data = start(machine)
    answer = respond(data, 44, signed=True)
    assert machine.receive_data(spoil(answer), 0.1) == Dropped(reason)  # type: ignore[operator]
    assert machine.receive_data(answer, 0.2) == Finished("job", "ack", 0, 1)


def test_an_answer_with_another_secret_is_forged() -> None:
    machine = DynamicExchanges()
    data = start(machine)
    assert machine.receive_data(respond(data, 44, secret=Secret(b"guessed")), 0.1) == Dropped("authenticator")
    spoilt = bytearray(respond(data, 44, signed=True))
    spoilt[-1] ^= 1
    assert machine.receive_data(bytes(spoilt), 0.1) == Dropped("authenticator")


def test_duplicate_and_late_answers_change_nothing() -> None:
    machine = DynamicExchanges()
    answered, given_up = start(machine, "a"), start(machine, "b")
    answer = respond(answered, 44)
    assert isinstance(machine.receive_data(answer, 0.1), Finished)
    assert machine.receive_data(answer, 0.2) == Dropped("late")
    for now in (1.0, 3.0, 7.0):
        finished = machine.handle_deadline(now)
    assert [one.token for one in finished] == ["b"]
    assert machine.receive_data(respond(given_up, 44), 8.0) == Dropped("late")


def test_a_late_answer_does_not_speak_for_the_successor_of_its_identifier() -> None:
    machine = DynamicExchanges()
    first = start(machine, 0)
    machine.receive_data(respond(first, 44), 0.0)
    for number in range(1, IDENTIFIERS):
        machine.receive_data(respond(start(machine, number), 44), 0.0)
    machine.start(SECRET, Code.COA_REQUEST, KEYS + attribute(11, b"x"), 0.0, "successor")
    (data,) = machine.data_to_send()
    assert data[1] == first[1]
    assert machine.receive_data(respond(first, 44), 0.1) == Dropped("authenticator")
    assert isinstance(machine.receive_data(respond(data, 45), 0.1), Finished)


def test_256_in_flight_are_the_most_and_a_refused_start_changes_nothing() -> None:
    machine = DynamicExchanges()
    requests = [start(machine, number) for number in range(IDENTIFIERS)]
    assert len({request[1] for request in requests}) == IDENTIFIERS
    with pytest.raises(ValueError, match="256 requests"):
        machine.start(SECRET, Code.COA_REQUEST, KEYS, 0.0, "one too many")
    machine.receive_data(respond(requests[7], 44), 0.1)
    assert start(machine, "in its place")[1] == requests[7][1]


@pytest.mark.parametrize("attributes", [attribute(11, b"x" * 250) * 17])
def test_a_packet_that_is_too_long_is_a_mistake_of_the_caller(attributes: bytes) -> None:
    machine = DynamicExchanges()
    with pytest.raises(ValueError, match=r"\w"):
        machine.start(SECRET, Code.COA_REQUEST, attributes, 0.0, "job")
    assert (len(machine), machine.data_to_send()) == (0, [])
    with pytest.raises(ValueError, match="no request"):
        machine.start(SECRET, Code.ACCESS_REQUEST, KEYS, 0.0, "job")


def test_a_flood_of_forgeries_is_not_kept() -> None:
    machine = DynamicExchanges()
    data = start(machine)
    forged = respond(data, 44, secret=Secret(b"guessed"))
    for _ in range(1000):
        assert machine.receive_data(forged, 0.1) == Dropped("authenticator")
    assert machine.receive_data(respond(data, 44), 0.2) == Finished("job", "ack", 0, 1)


def test_pace_is_kept_by_a_clock_that_is_late() -> None:
    """100 a second, looked at every 7 ms for 3 s: 300 and the first one."""
    pace = Pace(0.0)
    taken = 0
    for step in range(3000 // 7 + 1):
        while pace.take(100.0, step * 0.007):
            taken += 1
    assert 298 <= taken <= 302


def test_pace_tells_when_the_next_one_may_begin() -> None:
    pace = Pace(10.0)
    assert pace.take(2.0, 10.0)
    assert not pace.take(2.0, 10.0)
    assert pace.next_at(2.0) == 10.5
    assert not pace.take(2.0, 10.49)
    assert pace.take(2.0, 10.5)


def test_a_pause_earns_no_burst() -> None:
    pace = Pace(0.0)
    taken = 0
    while pace.take(100.0, 3600.0):
        taken += 1
    assert taken == 2


def test_every_error_cause_of_the_rfc_has_its_name() -> None:
    assert {*range(401, 408), *range(501, 509), 201, 202} == set(ERROR_CAUSES)
