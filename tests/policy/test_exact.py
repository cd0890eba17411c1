"""A decision holds exactly as long as it says: nothing changes before or below, something does at the end."""

from __future__ import annotations

from math import inf, nextafter

from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aaa.config.policy import compile_texts
from policy.decide import MOMENTS_SOUGHT_MAX, _time_edge, decide
from policy.expression import Expression
from policy.grammar import Vocabulary, compile_expression
from policy.model import Decision, Facts, Plan, Quota, QuotaFacts, ServiceFacts
from policy.rules import EMPTY, Policy
from tests.policy.worlds import (
    BASE,
    EDGES_SOUGHT_MAX,
    ZONES,
    body,
    conditions,
    later,
    next_change,
    next_usage,
    policies,
    used,
    worlds,
)

FAR_S = 40 * 86_400.0


@given(worlds(), policies())
@settings(max_examples=150, deadline=None)
def test_same_facts_give_the_same_decision_with_or_without_its_trace(facts: Facts, policy: Policy) -> None:
    first, second, bare = decide(facts, policy), decide(replace(facts), policy), decide(facts, policy, trace=False)
    assert first == second
    assert hash(first) == hash(second)
    assert bare == replace(first, trace=())


@given(worlds(), policies(), st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=4, max_size=4))
@settings(max_examples=600, deadline=None)
def test_a_decision_holds_exactly_as_long_and_as_far_as_it_says(
    facts: Facts, policy: Policy, samples: list[tuple[float, float]]
) -> None:
    decision = decide(facts, policy, trace=False)
    event("ends by usage" if decision.valid_below_octets is not None else "no usage ends it")
    event("ends by time" if decision.valid_until is not None else "no time ends it")
    check_inside(facts, policy, decision, samples)
    if decision.valid_below_octets is not None:
        assert facts.quota is not None
        assert decision.valid_below_octets > facts.quota.used
        assert body(decide(used(facts, decision.valid_below_octets), policy)) != body(decision)
    if decision.valid_until is not None:
        assert decision.valid_until > facts.now
        check_end(facts, policy, decision)


def check_inside(facts: Facts, policy: Policy, decision: Decision, samples: list[tuple[float, float]]) -> None:
    """Within both bounds nothing changes."""
    end = decision.valid_until if decision.valid_until is not None else facts.now + FAR_S
    if facts.quota is not None and facts.quota.changes_at is not None:
        end = min(end, facts.quota.changes_at)  # the balance's own facts end with it
    if facts.service.hold_ends_at is not None:
        end = min(end, facts.service.hold_ends_at)
    last = nextafter(end, -inf)
    start = facts.quota.used if facts.quota is not None else 0
    below = decision.valid_below_octets if decision.valid_below_octets is not None else start + 5000
    for time_share, usage_share in [(0, 0), (0, 1), (1, 0), (1, 1), *samples]:
        moment = min(last, facts.now + (end - facts.now) * time_share)
        usage = min(below - 1, start + int((below - start) * usage_share))
        seen = decide(used(later(facts, max(moment, facts.now)), usage), policy)
        assert body(seen) == body(decision), (moment, usage)


def check_end(facts: Facts, policy: Policy, decision: Decision) -> None:
    """At valid_until the decision is another, usage matters earlier, or facts end that it cannot foresee."""
    assert decision.valid_until is not None
    quota = facts.quota
    if decision.valid_until in (facts.service.hold_ends_at, quota.changes_at if quota is not None else None):
        return
    then = decide(later(facts, decision.valid_until), policy)
    if body(then) == body(decision) and (then.valid_below_octets or inf) >= (decision.valid_below_octets or inf):
        assert edges_until(facts, policy, decision) >= MOMENTS_SOUGHT_MAX, "early only after many edges without effect"


def edges_until(facts: Facts, policy: Policy, decision: Decision) -> int:
    """How many moments until valid_until at which something opens, closes, begins or ends."""
    assert decision.valid_until is not None
    count = 0
    while facts.now < decision.valid_until:
        facts = later(facts, _time_edge(facts, policy, body(decision)))
        count += 1
    return count



@given(worlds(), conditions(), st.sampled_from(ZONES), st.floats(0, 1))
@settings(max_examples=300, deadline=None)
def test_a_condition_is_total_and_changes_when_it_says(facts: Facts, text: str, zone: str, share: float) -> None:
    condition = compile_text(text, zone)
    value = condition(facts)
    assert value in (True, False)
    assert condition.explain(facts)
    end = next_change(condition, facts)
    if end is not None:
        assert end > facts.now
        assert condition(later(facts, end)) != value or edges_of(condition, facts, end) >= EDGES_SOUGHT_MAX
        assert condition(later(facts, nextafter(end, -inf))) == value
    until = facts.now + FAR_S if end is None else end
    assert condition(later(facts, min(facts.now + (until - facts.now) * share, nextafter(until, -inf)))) == value
    usage = next_usage(condition, facts)
    if usage is not None:
        assert facts.quota is not None
        assert usage > facts.quota.used
        assert condition(used(facts, usage)) != value
        assert condition(used(facts, usage - 1)) == value
    elif facts.quota is not None:
        for more in (1, 7, 100, 1000, 10**6, 10**15):
            assert condition(used(facts, facts.quota.used + more)) == value


def edges_of(condition: Expression, facts: Facts, end: float) -> int:
    """How many moments until `end` at which a window opens or closes, or a moment comes."""
    count = 0
    while facts.now < end:
        facts = later(facts, condition.time_edge(facts))
        count += 1
    return count


def compile_text(text: str, zone: str) -> Expression:
    rule = f"[[rule]]\nname = 'r'\nwhen = '''{text}'''\nthen = {{ stop = true }}"
    return compile_texts({"p.toml": BASE + rule}, zone).rules[0].when


@given(
    st.sampled_from(["<", "<=", ">", ">=", "==", "!="]),
    st.integers(0, 10**15),
    st.integers(0, 10**15),
    st.integers(1, 10**16),
    st.floats(0.0001, 1.5),
)
@settings(max_examples=300, deadline=None)
@example("<", 0, 2**60, 3, 0.1)
@example(">=", 10**15, 0, 7, 1.0)
def test_the_crossing_of_a_ratio_is_exact_to_the_octet(op: str, u: int, left: int, octets: int, ratio: float) -> None:
    condition = compile_expression(f"quota.used_ratio {op} {ratio!r}", Vocabulary())
    facts = Facts(now=0.0, plan=Plan(revision=1), quota=QuotaFacts(octets, u, left))
    usage = next_usage(condition, facts)
    if usage is not None:
        assert condition(used(facts, usage)) != condition(facts)
        assert condition(used(facts, usage - 1)) == condition(facts)
    else:
        assert all(condition(used(facts, u + 10**n)) == condition(facts) for n in range(19))


def test_time_and_usage_bounds_hold_together() -> None:
    rule = "[[rule]]\nname = 'r'\nwhen = 'now < service.expires_at or quota.used < 500'\nthen = { filter = 'f' }"
    policy = compile_texts({"p.toml": BASE + rule})
    facts = Facts(
        now=0.0,
        plan=Plan(revision=1, quota=Quota(octets=1000)),
        service=ServiceFacts(expires_at=100.0, grace_until=1000.0),
        quota=QuotaFacts(1000, 10, 990),
    )
    decision = decide(facts, policy)
    assert decision.filter == "f"
    assert decision.valid_below_octets is None, "as long as time is before expiry, usage changes nothing"
    assert decision.valid_until == 100.0, "from then on it does"
    assert decide(later(facts, 100.0), policy).valid_below_octets == 500


def test_a_window_is_waited_for_where_usage_may_matter_in_it() -> None:
    rule = "[[rule]]\nname = 'r'\nwhen = 'now within window(\"night\") and quota.used >= 500'\nthen = { deny = 'x' }"
    policy = compile_texts({"p.toml": BASE + rule})
    noon = 1_780_315_200.0
    facts = Facts(now=noon, plan=Plan(revision=1, quota=Quota(octets=1000)), quota=QuotaFacts(1000, 10, 990))
    decision = decide(facts, policy)
    assert (decision.valid_below_octets, decision.valid_until) == (None, noon + 10 * 3600)
    assert decide(later(facts, noon + 10 * 3600), policy).valid_below_octets == 500


def test_what_changes_nothing_ends_nothing() -> None:
    same = Plan(revision=1, quota=Quota(octets=100), on_exhausted=("notify",))
    facts = Facts(
        now=0.0, plan=same, service=ServiceFacts(activated_at=-5.0, expires_at=50.0, grace_until=70.0),
        quota=QuotaFacts(100, 0, 100),
    )  # fmt: skip
    decision = decide(facts, EMPTY)
    assert decision.valid_below_octets is None
    assert decision.valid_until == 70.0
