"""Overload: when it begins and ends, who is refused first, what is told, and what others told us."""

import pytest

from aaa.diameter.overload import FEATURES, Kind, Overload, Throttles, extended, kind_of
from aaa.limits import DIAMETER_OVERLOAD_SAMPLES, DIAMETER_THROTTLES_COUNT_MAX
from native import diameter
from native.diameter import Message
from tests.diameter.wire import DICTIONARY, GX, REQUEST, S6A, ccr

SY = DICTIONARY.applications["Sy"].number


def message(command: int, application: int, *pairs, flags: int = REQUEST) -> Message:
    return Message.parse(diameter.message(flags, command, application, 1, 2, DICTIONARY.encode_all(pairs)))


def credit(kind: int, *pairs) -> Message:
    return message(272, GX, ("CC-Request-Type", kind), *pairs)


AIR, ULR, PUR, STR = (message(code, S6A) for code in (318, 316, 321, 275))


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (credit(1), Kind.BEGINS),
        (credit(2), Kind.CONTINUES),
        (credit(3), Kind.ENDS),
        (credit(4), Kind.BEGINS),
        (message(272, GX), Kind.CONTINUES),
        (AIR, Kind.BEGINS),
        (ULR, Kind.CONTINUES),
        (PUR, Kind.ENDS),
        (STR, Kind.ENDS),
        (message(8388635, SY, ("SL-Request-Type", 0)), Kind.BEGINS),
        (message(8388635, SY, ("SL-Request-Type", 1)), Kind.CONTINUES),
    ],
)
def test_what_a_request_does_to_a_session(request_, kind):
    assert kind_of(request_) is kind


BEFORE = DIAMETER_OVERLOAD_SAMPLES - 1
"""Late samples that count for nothing yet."""


def overload(pressure: float, samples: int = 10) -> Overload:
    """At 0 seconds, after so many samples that counted."""
    one = Overload(1_000.0)
    for number in range(-BEFORE, samples):
        one.sample(pressure, number * 0.1 if number >= 0 else -10.0)
    return one


def test_under_overload_what_is_new_is_refused_before_what_goes_on_and_ends_are_always_taken():
    some, all_of_it = overload(1.5), overload(5.0)
    assert [some.refuses(request) for request in (AIR, ULR, PUR)] == [True, False, False]
    assert [all_of_it.refuses(request) for request in (AIR, credit(2), credit(3), STR)] == [True, True, False, False]
    assert not overload(0.9).is_on


def test_a_stall_is_not_overload():
    one = Overload(1_000.0)
    for number in range(20):
        one.sample(9.0 if number % DIAMETER_OVERLOAD_SAMPLES else 0.7, number * 0.1)
    assert not one.is_on
    assert not one.is_severe


def test_the_share_that_is_refused_grows_and_falls_step_by_step():
    one = overload(1.0, 3)
    assert one.share == 30
    assert sum(one.refuses(AIR) for _ in range(100)) == 30
    one.sample(0.7, 1.0)
    assert one.share == 30
    for number in range(14):
        one.sample(0.1, 1.0 + number * 0.1)
        assert one.is_on
    one.sample(0.1, 3.0)
    assert not one.is_on
    assert not one.refuses(AIR)


def reported(octets: bytes) -> list[tuple[str, str]]:
    return DICTIONARY.show(Message.parse(diameter.message(0, 272, GX, 1, 2, [octets])))


SUPPORTS = ("OC-Supported-Features.OC-Feature-Vector", "1")


def olr(sequence: int, kind: str, reduction: int, validity: int) -> list[tuple[str, str]]:
    values = (sequence, kind, reduction, validity)
    names = ("OC-Sequence-Number", "OC-Report-Type", "OC-Reduction-Percentage", "OC-Validity-Duration")
    return [SUPPORTS, *((f"OC-OLR.{name}", str(value)) for name, value in zip(names, values, strict=True))]


def test_reports_name_the_host_or_the_realm_and_their_sequence_grows():
    one = Overload(1_000.0)
    realm, host = credit(1), credit(2, ("Destination-Host", "aaa.home"))
    for _ in range(BEFORE):
        one.sample(2.0, -1.0)
    assert one.report(realm, 0.0) == FEATURES
    assert reported(FEATURES) == [SUPPORTS]
    one.sample(2.0, 0.0)
    first = (1_000 << 16) + 1
    assert reported(one.report(realm, 0.0)) == olr(first, "REALM_REPORT", 10, 10)
    assert reported(one.report(host, 0.0)) == olr(first, "HOST_REPORT", 10, 10)
    # Another reduction, but not at once: peers are not told ten times a second.
    one.sample(2.0, 0.5)
    assert reported(one.report(realm, 0.5)) == olr(first, "REALM_REPORT", 10, 10)
    one.sample(2.0, 1.0)
    assert reported(one.report(realm, 1.0)) == olr(first + 1, "REALM_REPORT", 30, 10)
    for number in range(15):
        one.sample(0.0, 2.1 + number * 0.1)
    one.sample(0.0, 4.0)
    assert reported(one.report(host, 4.0)) == olr(first + 3, "HOST_REPORT", 0, 0)
    assert one.report(host, 20.0) == FEATURES


def test_an_answer_grows_by_what_is_told_and_stays_well_formed():
    answer = Message.parse(
        extended(diameter.answer(Message.parse(ccr()), [diameter.unsigned32_avp(268, 2001)]), FEATURES)
    )
    assert answer.fault == 0
    assert DICTIONARY.show(answer)[1] == SUPPORTS


def answer(
    sequence: int, reduction: int, validity: int | None = 10, kind: str = "HOST_REPORT", host="PCEF.x"
) -> Message:
    members = [("OC-Sequence-Number", sequence), ("OC-Report-Type", kind), ("OC-Reduction-Percentage", reduction)]
    members += [] if validity is None else [("OC-Validity-Duration", validity)]
    return message(258, GX, ("Origin-Host", host), ("Origin-Realm", "X"), ("OC-OLR", members), flags=0)


def sent(throttles: Throttles, now: float, host: str = "pcef.x") -> int:
    return sum(not throttles.holds(host, now) for _ in range(100))


def test_who_asks_for_less_is_sent_less_as_long_as_it_said():
    throttles = Throttles()
    throttles.learn(message(258, GX, ("Origin-Host", "pcef.x"), flags=0), "pcef.x", 0.0)
    assert len(throttles) == 0
    throttles.learn(answer(1, 40), "pcef.x", 0.0)
    assert sent(throttles, 1.0) == 60
    assert sent(throttles, 1.0, "other.x") == 100
    assert throttles.held == 40
    assert sent(throttles, 10.0) == 100
    assert len(throttles) == 0


def test_a_report_of_a_realm_is_not_about_requests_that_name_their_host():
    throttles = Throttles()
    throttles.learn(answer(1, 100, kind="REALM_REPORT"), "pcef.x", 0.0)
    assert sent(throttles, 1.0) == 100


def test_nobody_is_spared_at_the_word_of_another():
    throttles = Throttles()
    throttles.learn(answer(1, 100), "mallory.x", 0.0)
    assert sent(throttles, 1.0) == sent(throttles, 1.0, "mallory.x") == 100


def test_an_older_report_changes_nothing_and_a_newer_one_ends_the_throttling():
    throttles = Throttles()
    throttles.learn(answer(5, 100), "pcef.x", 0.0)
    throttles.learn(answer(4, 0), "pcef.x", 0.0)
    assert sent(throttles, 1.0) == 0
    throttles.learn(answer(6, 0, 0), "pcef.x", 1.0)
    assert sent(throttles, 1.0) == 100


def test_reports_that_lie_are_not_believed():
    throttles = Throttles()
    throttles.learn(answer(1, 101), "pcef.x", 0.0)
    assert len(throttles) == 0
    throttles.learn(answer(1, 100, validity=1 << 31), "pcef.x", 0.0)
    assert sent(throttles, 29.0) == 0
    assert sent(throttles, 31.0) == 100


def test_the_number_of_those_who_asked_is_bounded():
    throttles = Throttles()
    for number in range(DIAMETER_THROTTLES_COUNT_MAX + 10):
        throttles.learn(answer(1, 50, host=f"h{number}"), f"h{number}", 0.0)
    assert len(throttles) == DIAMETER_THROTTLES_COUNT_MAX
