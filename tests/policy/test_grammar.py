"""What a condition may say, what it means, and what the operator is told where it may not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from policy.expression import Expression
from policy.facts import FACTS, Declared, declare, event_fact
from policy.grammar import FUNCTIONS, ExpressionError, Vocabulary, compile_expression
from policy.model import (
    BillingFacts,
    Facts,
    Plan,
    QuotaFacts,
    Rate,
    ServiceFacts,
    SessionFacts,
    SubscriberFacts,
    Window,
)
from tests.policy.worlds import next_change, next_usage

NOW = 1_764_000_000.0  # 2025-11-24 16:00 UTC, a Monday
EXTRA = {
    f"subscriber.billing.{name}": declare(name, declared)
    for name, declared in {
        "due_at": Declared("moment"),
        "risk": Declared("int", 5),
        "vip": Declared("bool"),
        "segment": Declared("text", "home"),
        "score": Declared("float"),
    }.items()
}
WORDS = Vocabulary({**FACTS, **EXTRA}, {"night": Window(start="22:00", end="06:00")})
FACTS_NOW = Facts(
    now=NOW,
    plan=Plan(revision=1, id="home-50", kind="internet", rate=Rate(50, 10)),
    service=ServiceFacts(id="s1", tags=("vip",), expires_at=NOW + 3600),
    subscriber=SubscriberFacts(
        id="c1", groups=("a", "b"), billing=BillingFacts(12, -3.5, 20.0, {"due_at": "2025-11-24T17:00:00Z", "risk": 7})
    ),
    quota=QuotaFacts(1000, 250, 750),
    session=SessionFacts(nas="bng-1", nas_family="mikrotik", called_station_id="AP1:Guest"),
)


def compiled(text: str) -> Expression:
    return compile_expression(text, WORDS)


def billed(extra: dict[str, Any]) -> Facts:
    return Facts(now=NOW, plan=FACTS_NOW.plan, subscriber=SubscriberFacts(billing=BillingFacts(extra=extra)))


def faults(text: str) -> list[tuple[int, int, str]]:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, WORDS)
    return [tuple(fault) for fault in caught.value.faults]  # type: ignore[misc]


@pytest.mark.parametrize(
    "text",
    [
        "subscriber.billing.overdue_days > 10",
        "10 < subscriber.billing.overdue_days <= 12",
        "subscriber.billing.balance < 0 and not subscriber.billing.vip",
        "subscriber.billing.overdue_days * 2 + 1 == 25",
        "subscriber.billing.overdue_days / 8 == 1.5",
        "-subscriber.billing.balance > +3",
        'plan.kind == "internet" or false',
        "plan.down_bps >= 50 and plan.up_bps < 11",
        'service.state != "suspended"',
        'service.state in ["active", "restricted"]',
        '"a" in subscriber.groups and "c" not in subscriber.groups',
        'overlaps(subscriber.groups, ["b", "z"])',
        "count(subscriber.groups) == 2",
        "subscriber.billing.overdue_days in [7, 12]",
        'startswith(session.nas.name, "bng") and endswith(session.nas.name, "-1")',
        'contains(lower(request.called_station_id), "guest")',
        'upper(plan.id) == "HOME-50"',
        "quota.used_ratio == 0.25 and quota.left == 750",
        "quota.used / quota.octets < 0.5",
        "now < service.expires_at",
        "now + hours(1) >= service.expires_at",
        "service.expires_at - now <= minutes(60)",
        "present(service.expires_at) and not present(service.grace_until)",
        "not (now < service.grace_until)",
        "now not within window('night')",
        "now within between('15:00', '17:00') and now within weekdays('mon')",
        'now > date("2025-11-24") and now < date("2025-11-24T17:00")',
        "subscriber.billing.due_at - now <= hours(1) and now < subscriber.billing.due_at",
        "subscriber.billing.risk == 7 and subscriber.billing.segment == 'home'",
        "min(subscriber.billing.overdue_days, 5, 7) == 5 and max(1, 2) == 2",
        "max(service.expires_at, service.grace_until) > service.activated_at or true",
        "True and (\n  not False\n)  # a remark",
        'subscriber.billing.overdue_days > 10 and  # "within" is only a word here\n"within" != plan.id',
    ],
)
def test_it_is_true(text: str) -> None:
    assert compiled(text)(FACTS_NOW) is True


@pytest.mark.parametrize(
    "text",
    [
        "now < service.grace_until",
        "now >= service.grace_until",
        "service.grace_until == service.activated_at",
        "subscriber.billing.overdue_days / subscriber.billing.score > 0",
        "subscriber.billing.overdue_days / (subscriber.billing.score * 2) != 1",
        "max(service.expires_at, service.grace_until) > service.expires_at - days(1)",
    ],
    ids=["absent", "absent, the other way", "two absent ones", "by zero", "by zero, unequal", "one of several absent"],
)
def test_a_comparison_with_something_absent_or_divided_by_zero_is_false(text: str) -> None:
    assert compiled(text)(FACTS_NOW) is False


def test_what_reads_the_place_is_false_without_one() -> None:
    nowhere = Facts(now=NOW, plan=FACTS_NOW.plan)
    for text in ('session.nas.name == ""', 'not (session.nas.name == "x")', 'session.nas.name == "x" or true'):
        assert compiled(text)(nowhere) is False
        assert next_change(compiled(text), nowhere) is None


def test_what_reads_the_balance_is_false_without_one() -> None:
    without = Facts(now=NOW, plan=FACTS_NOW.plan)
    assert compiled("quota.left >= 0")(without) is False
    assert compiled("quota.left >= 0 or plan.kind == 'internet'")(without) is True


@pytest.mark.parametrize(
    ("value", "risk"), [(3, 3), ("3", 5), (True, 5), (3.5, 5), (None, 5), (10**40, 2**63 - 1)], ids=str
)
def test_a_declared_fact_of_another_type_is_its_default(value: object, risk: int) -> None:
    assert compiled(f"subscriber.billing.risk == {risk}")(billed({"risk": value}))


@pytest.mark.parametrize("value", ["2025-11-24T17:00:00+00:00", 1_764_003_600, 1_764_003_600.0, "2025-11-24T17:00:00Z"])
def test_a_declared_moment_is_text_with_a_zone_or_epoch_seconds(value: str | float) -> None:
    facts = billed({"due_at": value})
    assert next_change(compiled("now < subscriber.billing.due_at"), facts) == NOW + 3600


@pytest.mark.parametrize("value", ["tomorrow", "2025-11-24T17:00:00", True, ""])
def test_a_declared_moment_that_is_none_is_absent(value: str | bool) -> None:
    facts = billed({"due_at": value})
    assert not compiled("present(subscriber.billing.due_at)")(facts)


def test_the_explanation_tells_what_made_it_so() -> None:
    text = 'subscriber.billing.overdue_days > 10 and (plan.kind == "voice" or "a" in subscriber.groups)'
    assert compiled(text).explain(FACTS_NOW) == 'subscriber.billing.overdue_days = 12, subscriber.groups = ["a", "b"]'
    assert compiled("now within window('night')").explain(FACTS_NOW) == 'now within window("night")'
    assert compiled("true").explain(FACTS_NOW) == "always"


def test_a_condition_knows_what_it_reads() -> None:
    condition = compiled("request.called_station_id != '' and quota.left < 5 and now < service.expires_at")
    assert condition.reads == ("now", "quota.left", "service.expires_at", "session.called_station_id")
    assert condition.session_fields == ("called_station_id",)
    assert condition.timed
    assert condition.metered
    assert not compiled("plan.id == 'x'").timed


# What may not be said


@pytest.mark.parametrize(
    ("text", "column", "message"),
    [
        ("subscriber.biling.overdue_days > 1", 1, 'did you mean "subscriber.billing.overdue_days"?'),
        ("overdue_days > 1", 1, 'did you mean "subscriber.billing.overdue_days"?'),
        ("1 < quota.usd", 5, 'did you mean "quota.used"?'),
        ("subscriber.billing.colour == 'red'", 1, "declared under [facts]"),
        ("quota > 1", 1, "known are quota.cycle_ends_at, quota.left"),
        ("service.state == active", 18, "is no known fact"),
        ('service.state == "activ"', 18, 'service.state is never "activ"; did you mean "active"?'),
        ('service.state in ["active", "on"]', 18, 'never "on"'),
        ('"internt" in subscriber.online_kinds', 14, 'did you mean "internet"?'),
        ('now within window("nigth")', 19, 'did you mean "night"?'),
        ('now within window(plan.id)', 12, 'takes texts in quotes: window("NAME")'),
        ('service.expires_at within window("night")', 27, "only `now` itself"),
        ('now + days(1) within window("night")', 22, "only `now` itself"),
        ("plan.id", 1, "is a text where true or false is needed"),
        ("1", 1, "is a whole number where true or false is needed"),
        ("window('night')", 1, "write `now within window(...)`"),
        ("subscriber.billing.overdue_days > '10'", 35, "a whole number cannot be compared with a text"),
        ("subscriber.billing.vip == 1", 27, "true or false cannot be compared with a whole number"),
        ("subscriber.billing.vip > false", 26, "has no order"),
        ("subscriber.billing.vip + 1 > 0", 26, "a whole number cannot be added to true or false"),
        ("plan.id < 'x'", 11, "a text has no order"),
        ("subscriber.groups == 'a'", 22, 'write "x" in list'),
        ("'a' in plan.id", 8, "write contains(text, part)"),
        ("1 in subscriber.groups", 6, "a whole number cannot be in a list of texts"),
        ("now < 1764000000", 7, 'write a moment as date("2026-12-24")'),
        ("service.expires_at - now < 3", 28, "write a duration as days(3)"),
        ("service.expires_at + 3 > now", 22, "write a duration as days(3)"),
        ("now - service.activated_at < now - service.expires_at", 30, "`now` on both sides"),
        ("now - (service.expires_at - now) < service.expires_at", 8, "twice"),
        ("now == service.expires_at", 8, "use < or >="),
        ("(now - service.expires_at) * 2 < days(1)", 30, "cannot be solved exactly"),
        ("max(now, service.expires_at) > service.activated_at", 1, "cannot be solved exactly"),
        ("now < service.expires_at + days(quota.used)", 28, "depends on usage"),
        ("quota.used * quota.left > 3", 14, "cannot be solved exactly"),
        ("quota.used - quota.used > 3", 14, "cannot be solved exactly"),
        ("quota.used * subscriber.billing.risk > 3", 14, "cannot be solved exactly"),
        ("quota.used < quota.octets * quota.used_ratio", 14, "cannot be solved exactly"),
        ("(quota.used > 5) == true", 21, "use and, or, not"),
        ("quota.used in [5, 6]", 15, "use < and >="),
        ("1 / 0 == 1", 5, "divides by zero"),
        ("plan.id is plan.name", 12, "write =="),
        ("present(plan.id)", 9, "plan.id is always present"),
        ("startwith(plan.id, 'x')", 1, 'did you mean "startswith"?'),
        ("plan.id.lower() == 'x'", 1, "write lower(plan.id, ...)"),
        ("startswith(plan.id)", 1, "takes startswith(text, part), not text"),
        ("date('tomorrow') < now", 6, 'write "2026-12-24"'),
        ("now within between('8', '17:00')", 20, 'write "22:00"'),
        ("now within weekdays('monday')", 21, 'did you mean "mon"?'),
        ("event.type == 'x'", 1, "known to automations only"),
        ("None == plan.id", 1, "ask present(fact)"),
        ("[] == subscriber.groups", 1, "is an empty list"),
        ("plan.id in ['a', 1]", 12, "either texts or numbers"),
        ("plan.id in [plan.name]", 12, "texts or numbers only"),
        ("'x' if true else 'y'", 1, "`if ... else` is no part"),
        ("(lambda: 1)() == 1", 1, "is no known function"),
        ("plan.id[0] == 'x'", 1, "no part of policy expressions"),
        ("subscriber.billing.overdue_days % 2 == 0", 35, "only + - * / are known"),
        ("f'{plan.id}' == 'x'", 1, "no part of policy expressions"),
        ("~1 == 2", 1, "cannot be applied"),
        ("1e400 < quota.left", 1, "too large a number"),
        ("plan.id == 'x' && true", 16, 'write "and"'),
        ("plan.id = 'x'", 9, 'write "==" to compare'),
        ("plan.id == 'x", 12, "unterminated string"),
        ("", 1, "is empty"),
        ("plan.id ==", 11, "is not complete"),
        ("x" * 5000, 1, "is longer than 4096 characters"),
        ("not " * 1000 + "true", 1, "nested too deeply"),
        ("quota.used * 1 * 1 * 1 * 1 * 1 * 1 * 1 * 1 * 1 > 5", 46, "more than 8 multiplications"),
    ],
)  # fmt: skip
def test_a_fault_tells_where_what_and_what_would_be_right(text: str, column: int, message: str) -> None:
    found = faults(text)
    assert message in found[0][2], found
    assert found[0][:2] == (1, column), found


def test_all_faults_are_told_at_once_in_order() -> None:
    text = 'plan.knd == "x" and\n  service.state == "of" or\n  now < 3'
    assert [(line, column) for line, column, _ in faults(text)] == [(1, 1), (2, 20), (3, 9)]


def test_columns_count_characters() -> None:
    assert faults('"größe" == plan.id and plan.knd == "x"')[0][:2] == (1, 24)


def test_automations_read_the_event() -> None:
    words = Vocabulary(FACTS, {}, event_data={"percent": "int", "reason": "text"})
    condition = compile_expression('event.data.percent >= 80 and event.type == "quota.threshold"', words)

    class Event:
        type = "quota.threshold"
        data: dict[str, object] = {"percent": 80}  # noqa: RUF012

    assert condition(FACTS_NOW, Event)
    Event.data = {"percent": "80"}
    assert not condition(FACTS_NOW, Event)
    with pytest.raises(ExpressionError, match=r'did you mean "event\.data\.percent"'):
        compile_expression("event.data.precent > 1", words)


@pytest.mark.parametrize("kind", ["bool", "int", "float", "text", "list"])
def test_event_data_that_is_absent_or_of_another_type_is_empty(kind: str) -> None:
    reader = event_fact("x", kind).reader  # type: ignore[arg-type]
    assert reader is not None
    assert [bool(reader(data)) for data in ({}, {"x": None}, {"x": object()})] == [False] * 3


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=60))
@settings(max_examples=300, deadline=None)
@example("\r0")
@example("\f0")
def test_any_text_is_a_condition_or_a_fault_within_it(text: str) -> None:
    try:
        compile_expression(text, WORDS)
    except ExpressionError as error:
        lines = text.split("\n")
        for fault in error.faults:
            assert 1 <= fault.line <= len(lines)
            assert 1 <= fault.column <= len(lines[fault.line - 1]) + 1
            assert fault.message


SYMBOLS = (
    *("and", "or", "not", "in", "within", "now", "(", ")", "[", "]", ",", "<", ">=", "==", "+", "-", "*", "/"),
    *("1", "0.5", "'x'", "true"),
)
TOKENS = [*SYMBOLS, *FACTS, *(f"{name}(" for name in FUNCTIONS)]


@given(st.lists(st.sampled_from(TOKENS), max_size=12).map(" ".join))
@settings(max_examples=300, deadline=None)
def test_any_words_of_the_language_are_a_total_condition_or_a_fault(text: str) -> None:
    try:
        condition = compile_expression(text, WORDS)
    except ExpressionError:
        return
    assert condition(FACTS_NOW) in (True, False)
    assert condition(Facts(now=NOW, plan=FACTS_NOW.plan)) in (True, False)
    next_change(condition, FACTS_NOW)
    next_usage(condition, FACTS_NOW)
