"""A request that comes again is worked on once, and answered as often as it came."""

from aaa.diameter.duplicates import REPEATS_MAX, Duplicates
from aaa.diameter.events import Request
from aaa.diameter.settings import Remote
from native import diameter
from native.diameter import Message
from tests.diameter.wire import cca, ccr, cer, node


def requests(*messages: bytes) -> list[Request]:
    made = node("server", [Remote("client")])
    connection = made.accept("192.0.2.1", ("192.0.2.2",), 0.0)
    assert connection is not None
    connection.receive_data(cer(), 0.0)
    peer = made.peers["client"]
    return [Request(peer, connection, Message.parse(octets)) for octets in messages]


def test_an_answered_request_gets_the_same_answer_under_its_new_identifier():
    first, again = requests(ccr(hop_by_hop=1), diameter.readdressed(ccr(), 2, True))
    table = Duplicates()
    assert table.is_new(first, 0.0) == (True, None)
    octets = cca(first.message)
    assert table.answered(first, octets) == [(first, octets)]
    assert table.is_new(again, 1.0) == (False, diameter.readdressed(octets, 2))
    assert table.repeated == 1


def test_a_request_in_work_is_not_begun_again_and_every_way_gets_its_answer():
    ways = requests(*(ccr(hop_by_hop=number) for number in range(1, 4)))
    table = Duplicates()
    assert [table.is_new(way, 0.0) for way in ways] == [(True, None), (False, None), (False, None)]
    octets = cca(ways[0].message)
    sent = table.answered(ways[0], octets)
    assert [request for request, _ in sent] == ways
    assert [Message.parse(answer).hop_by_hop for _, answer in sent] == [1, 2, 3]


def test_another_session_number_or_host_is_another_request():
    table = Duplicates()
    others = requests(ccr(1), ccr(2), ccr(1, session="client;1;2"), ccr(1).replace(b"client\0\0", b"clien2\0\0"))
    assert all(table.is_new(other, 0.0)[0] for other in others)


def test_an_abandoned_request_is_new_the_next_time():
    first, second = requests(ccr(hop_by_hop=1), ccr(hop_by_hop=2))
    table = Duplicates()
    table.is_new(first, 0.0)
    table.is_new(second, 0.0)
    assert table.abandoned(first) == [second]
    assert table.is_new(second, 0.0) == (True, None)


def test_answers_are_kept_for_their_time_and_their_number():
    table = Duplicates(count_max=3, kept_s=10.0)
    ways = requests(*(ccr(number) for number in range(6)))
    for at, way in enumerate(ways):
        assert table.is_new(way, float(at))[0]
    assert len(table) == 3
    assert table.is_new(ways[0], 6.0)[0]
    late = requests(ccr(9))[0]
    for _ in range(2):
        table.is_new(late, 100.0)
    assert table.is_new(ways[5], 100.0)[0]
    # What was answered when its entry had gone is answered all the same.
    assert table.answered(ways[1], cca(ways[1].message))[0][0] is ways[1]


def test_the_ways_that_wait_are_bounded():
    table = Duplicates()
    ways = requests(*(ccr(hop_by_hop=number) for number in range(REPEATS_MAX + 5)))
    found = [table.is_new(way, 0.0) for way in ways]
    # Those beyond are to be answered otherwise: they would take a place among what is in work for ever.
    assert found == [(True, None)] + [(False, None)] * REPEATS_MAX + [(False, b"")] * 4
    assert len(table.answered(ways[0], cca(ways[0].message))) == 1 + REPEATS_MAX


def test_long_answers_are_kept_for_their_octets():
    ways = requests(*(ccr(number) for number in range(6)))
    key = len(ways[0].message.sameness())
    table = Duplicates(octets_max=3 * (key + 1_000))
    for way in ways:
        assert table.is_new(way, 0.0)[0]
        table.answered(way, bytes(1_000))
    # The last one may stand beyond.
    assert table.octets == len(table) * (key + 1_000) == 4 * (key + 1_000)
    # What has been dropped before its answer came is not counted.
    table = Duplicates(count_max=1)
    first, second, *_ = requests(ccr(1), ccr(2))
    table.is_new(first, 0.0)
    table.is_new(second, 0.0)
    table.answered(first, bytes(1_000))
    assert table.octets == key
