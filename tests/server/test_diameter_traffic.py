"""What is counted of Diameter: by command and result, within bounds, and summed up without loss."""

from typing import Any

from aaa.diameter.request import Request
from aaa.limits import DIAMETER_COMMANDS_COUNT_MAX, DIAMETER_RESULTS_COUNT_MAX
from aaa.server.diameter_traffic import LATENCY_BUCKETS, NO_RESULT, OTHERS, UNANSWERED, Traffic, result_of
from native import diameter
from native.diameter import Message
from tests.diameter.wire import DICTIONARY, GX, REQUEST, S6A

AIR = 318


def request(command: int = 272, application: int = GX) -> Request:
    peer: Any = None
    return Request(peer, peer, Message.parse(diameter.message(REQUEST, command, application, 1, 2, [])))


def answer(result: int | None = None, experimental: int | None = None) -> bytes:
    pairs: list[tuple[str, Any]] = [("Origin-Host", "server")]
    if result is not None:
        pairs.append(("Result-Code", result))
    if experimental is not None:
        pairs.append(("Experimental-Result", [("Vendor-Id", 10415), ("Experimental-Result-Code", experimental)]))
    return diameter.message(0, 272, GX, 1, 2, DICTIONARY.encode_all(pairs))


def test_answers_are_counted_by_the_class_of_their_result():
    traffic = Traffic()
    answers = [
        answer(2001),
        answer(2002),
        answer(3004),
        answer(4010),
        answer(5030),
        answer(experimental=5420),
        answer(),
    ]
    traffic.note_answers([request()] * len(answers), answers, 1_500)
    counters = traffic.received[GX, 272]
    assert counters.classes == [1, 0, 2, 1, 1, 2, 0]
    assert counters.requests == 7
    assert (counters.latency[1], counters.latency_sum_ns) == (7, 7 * 1_500)
    assert traffic.results == {3004: 1, 4010: 1, 5030: 1, 5420: 1, NO_RESULT: 1}


def test_a_result_may_be_missing():
    assert result_of(Message.parse(answer())) == NO_RESULT
    assert result_of(Message.parse(answer(5030, 5420))) == 5030


def test_commands_of_one_batch_are_told_apart():
    traffic = Traffic()
    both = [request(AIR, S6A), request(316, S6A), request(AIR, S6A)]
    traffic.note_answers(both, [answer(2001)] * 3, 10**15)
    assert traffic.received[S6A, AIR].requests == 2
    assert traffic.received[S6A, 316].requests == 1
    assert traffic.received[S6A, AIR].latency[LATENCY_BUCKETS - 1] == 2


def test_requests_without_an_answer_have_no_latency():
    traffic = Traffic()
    traffic.note_reply((GX, 258), None, 0)
    traffic.note_reply((GX, 258), Message.parse(answer(2001)), 2_000)
    counters = traffic.sent[GX, 258]
    assert (counters.classes[UNANSWERED], counters.classes[2], sum(counters.latency)) == (1, 1, 1)


def test_what_a_relay_sees_is_counted_within_bounds():
    traffic = Traffic()
    for command in range(DIAMETER_COMMANDS_COUNT_MAX + 5):
        traffic.note_answers([request(command)], [answer(2001)], 0)
    assert len(traffic.received) == DIAMETER_COMMANDS_COUNT_MAX + 1
    assert traffic.received[OTHERS].requests == 5
    for result in range(3000, 3000 + DIAMETER_RESULTS_COUNT_MAX + 5):
        traffic.note_answers([request()], [answer(result)], 0)
    assert len(traffic.results) == DIAMETER_RESULTS_COUNT_MAX + 1
    assert traffic.results[NO_RESULT] == 5


def test_sums_hold_everything_and_leave_the_parts_alone():
    one, other = Traffic(), Traffic()
    one.note_answers([request()], [answer(2001)], 1_000)
    other.note_answers([request()], [answer(5030)], 3_000)
    other.note_reply((GX, 258), None, 0)
    other.stopped["imsi"] += 1
    one.add(other)
    assert one.received[GX, 272].classes == [0, 0, 1, 0, 0, 1, 0]
    assert one.received[GX, 272].latency_sum_ns == 4_000
    assert (one.results, one.stopped, one.sent[GX, 258].requests) == ({5030: 1}, {"imsi": 1}, 1)
    one.note_answers([request()], [answer(2001)], 0)
    assert other.received[GX, 272].requests == 1
