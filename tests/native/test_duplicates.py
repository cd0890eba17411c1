"""The duplicate cache against a plain dict, and at its limits."""

import gc
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.datagram import Datagram
from native.duplicates import IN_WORK, NEW, DuplicateCache

KEY = bytes(range(16))


def request(
    identifier: int = 1,
    *,
    code: int = 1,
    authenticator: int = 0,
    host: str = "192.0.2.1",
    port: int = 1024,
    tail: bytes = b"",
) -> Datagram:
    header = bytes((code, identifier)) + (20 + len(tail)).to_bytes(2) + bytes((authenticator,)) * 16
    return Datagram(header + tail, (host, port))


def test_a_retransmission_gets_the_same_octets() -> None:
    cache = DuplicateCache()
    response = b"response"
    assert cache.check(request(), 0.0) == NEW
    assert cache.check(request(), 1.0) == IN_WORK
    cache.keep(request(), response, 2.0)
    assert cache.check(request(), 3.0) is response
    assert cache.check(request(tail=b"other attributes"), 3.0) is response
    assert len(cache) == 1


@pytest.mark.parametrize(
    "other",
    [
        request(2), request(code=4), request(port=1025), request(host="192.0.2.2"), request(host="2001:db8::1"),
        # The IPv6 address that begins with the octets of 192.0.2.1 and ends in zeros.
        request(host="c000:201::"),
    ],
)
def test_another_client_port_code_or_identifier_is_another_packet(other: Datagram) -> None:
    cache = DuplicateCache()
    assert cache.check(request(), 0.0) == NEW
    assert cache.check(other, 0.0) == NEW
    assert cache.check(request(), 0.0) == IN_WORK
    assert cache.check(other, 0.0) == IN_WORK
    assert len(cache) == 2


@pytest.mark.parametrize("place", range(16))
def test_a_change_in_any_octet_of_the_authenticator_is_a_new_request(place: int) -> None:
    changed = bytearray(request().payload)
    changed[4 + place] ^= 1
    other = Datagram(bytes(changed), ("192.0.2.1", 1024))
    cache = DuplicateCache()
    cache.check(request(), 0.0)
    cache.keep(request(), b"first", 0.0)
    assert cache.check(other, 1.0) == NEW
    assert len(cache) == 1
    cache.keep(request(), b"late answer of the first", 1.0)
    assert cache.check(other, 1.0) == IN_WORK
    cache.forget(request())
    assert cache.check(other, 1.0) == IN_WORK


def test_a_response_is_kept_for_its_lifetime() -> None:
    cache = DuplicateCache(lifetime_s=5.0)
    cache.check(request(), 0.0)
    cache.keep(request(), b"response", 4.0)
    assert cache.check(request(), 8.999) == b"response"
    assert cache.check(request(), 9.0) == NEW
    assert cache.check(request(), 13.999) == IN_WORK
    assert cache.check(request(), 14.0) == NEW


def test_a_forgotten_packet_is_new() -> None:
    cache = DuplicateCache()
    cache.check(request(), 0.0)
    cache.forget(request())
    assert len(cache) == 0
    cache.forget(request())
    cache.keep(request(), b"too late", 0.0)
    assert len(cache) == 0
    assert cache.check(request(), 0.0) == NEW


def test_expired_goes_first_then_the_oldest_answered_and_work_last() -> None:
    cache = DuplicateCache(8, lifetime_s=10.0)
    packets = [request(number) for number in range(8)]
    for age, packet in enumerate(packets):
        assert cache.check(packet, float(age)) == NEW
    cache.keep(packets[5], b"5", 6.0)
    cache.keep(packets[2], b"2", 7.0)
    # Packet 0 is expired at 10, 1 at 11; then 5 and 2 have answers, 5 the older one.
    assert cache.check(request(100), 10.0) == NEW
    assert cache.displaced == 0
    assert cache.check(request(101), 10.5) == NEW
    assert cache.displaced == 1
    assert cache.check(packets[5], 10.5) == NEW
    assert cache.displaced == 2
    assert cache.check(packets[2], 10.5) == NEW
    assert cache.displaced == 3
    # All are in work now; 1 is the oldest.
    assert cache.check(packets[1], 10.5) == NEW
    for packet in (packets[4], packets[6], packets[7], request(100), request(101), packets[5], packets[2]):
        assert cache.check(packet, 10.6) == IN_WORK
    assert len(cache) == 8


@pytest.mark.parametrize("size", [0, 1, 19])
def test_a_packet_without_a_whole_header_is_refused(size: int) -> None:
    cache = DuplicateCache()
    short = Datagram(b"\x01" * size, ("192.0.2.1", 1))
    for use in (lambda: cache.check(short, 0.0), lambda: cache.keep(short, b"", 0.0), lambda: cache.forget(short)):
        with pytest.raises(ValueError, match="20 octets"):
            use()
    assert len(cache) == 0


def test_settings_out_of_range_are_refused() -> None:
    for entries in (0, -1, (1 << 24) + 1):
        with pytest.raises(ValueError, match="must be"):
            DuplicateCache(entries)
    for lifetime_s in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="must be"):
            DuplicateCache(lifetime_s=lifetime_s)
    with pytest.raises(ValueError, match="16 octets"):
        DuplicateCache(key=b"short")
    with pytest.raises(TypeError):
        DuplicateCache().keep(request(), None, 0.0)  # type: ignore[arg-type]


def test_responses_are_released_when_replaced_displaced_forgotten_or_dropped() -> None:
    cache = DuplicateCache(8)
    response = bytes(100)
    before = sys.getrefcount(response)
    for _ in range(3):
        cache.check(request(), 0.0)
        cache.keep(request(), response, 0.0)
        cache.keep(request(), response, 0.0)
        assert sys.getrefcount(response) == before + 1
        assert cache.check(request(), 0.0) is response
        assert sys.getrefcount(response) == before + 1
    cache.check(request(authenticator=9), 0.0)
    assert sys.getrefcount(response) == before
    cache.keep(request(authenticator=9), response, 0.0)
    cache.forget(request(authenticator=9))
    assert sys.getrefcount(response) == before
    for number in range(200):
        cache.check(request(number), float(number))
        cache.keep(request(number), response, float(number))
    assert sys.getrefcount(response) == before + 8 == before + len(cache)
    del cache
    gc.collect()
    assert sys.getrefcount(response) == before


ROW = st.tuples(
    st.sampled_from(["check", "check", "keep", "forget"]),
    st.integers(0, 11),
    st.integers(0, 2),
    st.sampled_from([0.0, 0.0, 0.5, 2.0, 5.0]),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, max_size=80), st.binary(min_size=16, max_size=16))
def test_a_cache_that_is_never_full_agrees_with_a_dict(rows: list[tuple[str, int, int, float]], key: bytes) -> None:
    cache = DuplicateCache(4096, lifetime_s=5.0, key=key)
    model: dict[int, tuple[int, float, bytes | None]] = {}
    now = 100.0
    for number, (action, identifier, authenticator, later) in enumerate(rows):
        now += later
        packet = request(identifier, authenticator=authenticator)
        kept = model.get(identifier)
        same = kept is not None and kept[0] == authenticator
        if action == "check":
            answer = cache.check(packet, now)
            if kept is not None and same and kept[1] > now:
                assert answer == (IN_WORK if kept[2] is None else kept[2])
            else:
                assert answer == NEW
                model[identifier] = (authenticator, now + 5.0, None)
        elif action == "keep":
            response = b"%d" % number
            cache.keep(packet, response, now)
            if same:
                model[identifier] = (authenticator, now + 5.0, response)
        else:
            cache.forget(packet)
            if same:
                del model[identifier]
        assert len(cache) == len(model)


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, max_size=150))
def test_a_full_cache_forgets_but_never_confuses(rows: list[tuple[str, int, int, float]]) -> None:
    """One set of eight for twelve packets: an answer is always the packet's own, NEW is said when it is gone."""
    cache = DuplicateCache(8, lifetime_s=5.0, key=KEY)
    answers: dict[tuple[int, int], bytes] = {}
    now = 0.0
    for number, (action, identifier, authenticator, later) in enumerate(rows):
        now += later
        packet = request(identifier, authenticator=authenticator)
        if action == "check":
            answer = cache.check(packet, now)
            if isinstance(answer, bytes):
                assert answer == answers[identifier, authenticator]
            assert cache.check(packet, now) == (IN_WORK if answer == NEW else answer)
        elif action == "keep":
            response = b"%d" % number
            answers[identifier, authenticator] = response
            cache.keep(packet, response, now)
        else:
            cache.forget(packet)
            assert cache.check(packet, now) == NEW
        assert len(cache) <= 8


def test_the_key_places_packets_so_that_a_replay_repeats_itself() -> None:
    def survivors(key: bytes) -> list[int]:
        cache = DuplicateCache(64, key=key)
        for number in range(200):
            cache.check(request(number), 0.0)
        return [number for number in range(200) if cache.check(request(number), 0.0) == IN_WORK]

    assert survivors(KEY) == survivors(KEY) != survivors(bytes(16))
