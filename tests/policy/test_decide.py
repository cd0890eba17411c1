"""What a service may do: state, time, volume, schedules, rules, in this order."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from aaa.config.policy import compile_texts
from policy.decide import decide, scaled, slower
from policy.model import (
    Attribute,
    Burst,
    Decision,
    Exhausted,
    Facts,
    Overrides,
    Plan,
    Purchase,
    Quota,
    QuotaFacts,
    Rate,
    ScheduleEntry,
    ServiceFacts,
    SessionFacts,
    SubscriberFacts,
    Tier,
    Window,
)
from policy.rules import EMPTY, RESTRICTED_RATE, Policy

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0
FAST, SLOW, SLOWER = Rate(50_000_000, 10_000_000), Rate(5_000_000, 1_000_000), Rate(1_000_000, 500_000)
PLAN = Plan(revision=1, id="home", rate=FAST)


def facts(plan: Plan = PLAN, **changes: object) -> Facts:
    return replace(Facts(now=NOW, plan=plan), **changes)


def rules(*texts: str, zone: str = "UTC") -> Policy:
    """One rule for each "WHEN => THEN"."""
    parts = []
    for number, text in enumerate(texts):
        when, then = text.split(" => ")
        parts.append(f"[[rule]]\nname = 'r{number}'\nwhen = '''{when}'''\nthen = {{ {then} }}")
    return compile_texts({"p.toml": "\n".join(parts)}, zone)


def names(decision: Decision) -> list[str]:
    return [step.rule for step in decision.trace]


# State and time


@pytest.mark.parametrize("state", ["pending", "suspended", "terminated"])
def test_a_service_in_such_a_state_is_denied_for_good(state: str) -> None:
    decision = decide(facts(service=ServiceFacts(state=state, pushed_state=state)))  # type: ignore[arg-type]
    assert (decision.grant, decision.reason) == (False, state)
    assert names(decision) == [f"state-{state}"]
    assert decision.valid_until is None


def test_a_hold_that_ends_by_itself_ends_the_decision() -> None:
    held = ServiceFacts(state="suspended", pushed_state="active", holds=("automation:x",), hold_ends_at=NOW + 60)
    decision = decide(facts(service=held))
    assert decision.valid_until == NOW + 60
    assert decision.trace[0].facts == 'service.state = "suspended", service.holds = ["automation:x"]'


def test_a_hold_that_adds_nothing_to_billings_state_ends_nothing() -> None:
    held = ServiceFacts(state="suspended", pushed_state="suspended", holds=("admin",), hold_ends_at=NOW + 60)
    assert decide(facts(service=held)).valid_until is None


def test_a_service_begins_expires_and_has_its_grace() -> None:
    service = ServiceFacts(activated_at=NOW, expires_at=NOW + 100, grace_until=NOW + 200)
    seen = [decide(facts(service=service, now=NOW + shift)) for shift in (-1, 0, 100, 200)]
    assert [decision.reason for decision in seen] == ["not_yet_active", "granted", "granted", "expired"]
    assert [decision.valid_until for decision in seen] == [NOW, NOW + 200, NOW + 200, None]
    assert "grace" in names(seen[2])


def test_without_grace_it_is_over_at_the_moment_of_expiry() -> None:
    service = ServiceFacts(expires_at=NOW + 100)
    assert decide(facts(service=service)).valid_until == NOW + 100
    assert decide(facts(service=service, now=NOW + 100)).reason == "expired"


# What is sold


def test_an_override_comes_before_an_add_on_and_that_before_the_plan() -> None:
    first = Plan(revision=1, id="turbo", rate=SLOW, attributes=(Attribute("Filter-Id", "t"),))
    second = Plan(revision=1, id="static", attributes=(Attribute("Class", "s"),))
    decision = decide(facts(add_ons=(first, second)))
    assert decision.rate == SLOW
    assert [attribute.name for attribute in decision.attributes] == ["Filter-Id", "Class"]
    overrides = Overrides(rate=SLOWER, session_timeout=60, pool="own")
    decision = decide(facts(add_ons=(first,), overrides=overrides))
    assert (decision.rate, decision.session_timeout_s, decision.pool) == (SLOWER, 60, "own")
    assert names(decision) == ["plan", "add-on", "overrides"]


def test_the_first_open_schedule_entry_sets_the_rate_until_its_window_closes() -> None:
    plan = replace(
        PLAN,
        schedule=(
            ScheduleEntry(Window(start="11:00", end="13:00"), rate=SLOW),
            ScheduleEntry(Window(start="00:00", end="24:00"), rate=SLOWER),
        ),
    )
    decision = decide(facts(plan))
    assert (decision.rate, decision.valid_until) == (SLOW, NOW + HOUR)
    assert decide(facts(plan, now=NOW + HOUR)).rate == SLOWER
    assert decide(facts(plan, now=NOW + HOUR)).valid_until == NOW + 23 * HOUR


def test_a_window_that_no_file_names_is_never_open() -> None:
    plan = replace(PLAN, schedule=(ScheduleEntry("gone", rate=SLOW),))
    assert decide(facts(plan)).rate == FAST
    assert decide(facts(plan)).valid_until is None
    assert decide(facts(plan)).trace[-1].facts == 'no policy file has window "gone"'


# Volume


def metered(used: int, left: int, **changes: object) -> Facts:
    return facts(**{"quota": QuotaFacts(used + left, used, left), **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("actions", "reason", "rate"),
    [
        (("block",), "quota_exhausted", None),
        ((Exhausted(throttle=SLOW),), "throttled", SLOW),
        (("notify", "block"), "quota_exhausted", None),
        ((Exhausted(throttle=SLOW), "block"), "throttled", SLOW),
        (("block", Exhausted(throttle=SLOW)), "quota_exhausted", None),
        (("notify",), "granted", FAST),
        (("top_up", Exhausted(throttle=SLOWER)), "throttled", SLOWER),
        ((Exhausted(top_up=Purchase(octets=5)), "notify"), "granted", FAST),
        ((), "granted", FAST),
    ],
)
def test_of_the_actions_the_first_that_blocks_or_throttles_counts(
    actions: tuple[object, ...], reason: str, rate: Rate | None
) -> None:
    plan = replace(PLAN, quota=Quota(octets=100), on_exhausted=actions)
    over, before = decide(metered(100, 0, plan=plan)), decide(metered(60, 40, plan=plan))
    assert (over.reason, over.rate) == (reason, rate)
    assert (before.reason, before.rate) == ("granted", FAST)
    assert before.valid_below_octets == (None if reason == "granted" else 100)


def test_the_lowest_tier_that_is_reached_holds() -> None:
    plan = replace(PLAN, tiers=(Tier(100, SLOW), Tier(200, SLOWER)))
    seen = [decide(metered(used, 0, plan=plan)) for used in (0, 100, 199, 200)]
    assert [decision.rate for decision in seen] == [FAST, SLOW, SLOW, SLOWER]
    assert [decision.valid_below_octets for decision in seen] == [100, 200, 200, None]
    assert seen[1].reason == "throttled"


def test_a_tier_never_raises_a_rate() -> None:
    plan = replace(PLAN, rate=SLOWER, tiers=(Tier(100, FAST),))
    assert decide(metered(150, 0, plan=plan)).rate == SLOWER


def test_where_traffic_does_not_count_neither_exhaustion_nor_tiers_apply() -> None:
    night = ScheduleEntry(Window(start="22:00", end="06:00"), zero_rated=True)
    plan = replace(PLAN, quota=Quota(octets=9), on_exhausted=("block",), tiers=(Tier(5, SLOW),), schedule=(night,))
    by_day, by_night = metered(9, 0, plan=plan), metered(9, 0, plan=plan, now=NOW + 12 * HOUR)
    assert decide(by_day).reason == "quota_exhausted"
    assert decide(by_day).valid_until == NOW + 10 * HOUR
    decision = decide(by_night)
    assert (decision.grant, decision.rate, decision.valid_until) == (True, FAST, NOW + 18 * HOUR)
    assert decision.valid_below_octets is None
    assert [step.effect for step in decision.trace if step.rule == "schedule"] == ["traffic does not count"]


def test_the_turn_of_the_cycle_ends_what_depends_on_the_balance() -> None:
    plan = replace(PLAN, quota=Quota(octets=100), on_exhausted=("block",))
    quota = QuotaFacts(100, 100, 0, changes_at=NOW + 50)
    assert decide(facts(plan, quota=quota)).valid_until == NOW + 50
    assert decide(facts(PLAN, quota=quota)).valid_until is None
    assert decide(facts(PLAN, quota=quota), rules("quota.left < 5 => filter = 'x'")).valid_until == NOW + 50


def test_a_restricted_service_is_slow_and_in_the_garden() -> None:
    service = ServiceFacts(state="restricted", pushed_state="restricted")
    decision = decide(facts(service=service))
    assert (decision.reason, decision.rate, decision.walled_garden) == ("restricted", RESTRICTED_RATE, True)
    policy = compile_texts({"p.toml": '[restricted]\nrate = "2M/256k"'})
    assert decide(facts(service=service), policy).rate == Rate(2_000_000, 256_000)


# Rules


def test_later_rules_replace_what_earlier_ones_set() -> None:
    policy = rules("true => filter = 'a', pool = 'p'", "true => filter = 'b'", "false => filter = 'c'")
    decision = decide(facts(), policy)
    assert (decision.filter, decision.pool) == ("b", "p")
    assert names(decision) == ["plan", "r0", "r1"]


def test_deny_is_final_and_tells_its_reason() -> None:
    decision = decide(facts(), rules("true => deny = 'not here'", "true => filter = 'b'"))
    assert (decision.grant, decision.reason, decision.message) == (False, "denied", "not here")
    assert decision.trace[-1].effect == "deny"


def test_stop_ends_the_list() -> None:
    assert decide(facts(), rules("true => stop = true", "true => deny = 'x'")).grant


def test_rules_come_in_the_order_of_files_and_places() -> None:
    rule = "[[rule]]\nname = '{0}'\nthen = {{ filter = '{0}' }}\n"
    texts = {"20.toml": rule.format("c"), "10.toml": rule.format("a") + rule.format("b")}
    policy = compile_texts(texts)
    assert [each.name for each in policy.rules] == ["a", "b", "c"]
    assert decide(facts(), policy).filter == "c"


def test_an_operators_rule_is_for_its_subscribers_only() -> None:
    text = "[[rule]]\nname = 'x'\noperator = ['mvno-a', 'mvno-b']\nthen = { filter = 'f' }"
    policy = compile_texts({"p.toml": text})
    assert decide(facts(subscriber=SubscriberFacts(operator="mvno-b")), policy).filter == "f"
    assert decide(facts(), policy).filter is None


def test_a_rule_sells_another_rate_but_lifts_no_limit() -> None:
    policy = rules('true => rate = "100M/100M"', "true => rate_factor = 0.5")
    assert decide(facts(), policy).rate == Rate(50_000_000, 50_000_000)
    plan = replace(PLAN, tiers=(Tier(5, SLOW),))
    assert decide(metered(9, 0, plan=plan), policy).rate == SLOW


def test_of_all_limits_the_lowest_holds_in_each_direction() -> None:
    policy = rules('true => rate_max = "9M/400k"', 'true => rate_max = "20M/20M"')
    decision = decide(facts(replace(PLAN, tiers=(Tier(5, SLOW),)), quota=QuotaFacts(0, 9, 0)), policy)
    assert decision.rate == Rate(5_000_000, 400_000)
    assert decide(facts(), policy).reason == "throttled"


def test_a_rule_may_set_everything_else() -> None:
    then = (
        "walled_garden = true, session_timeout = '1h', idle_timeout = '5m', interim_interval = 60,"
        " simultaneous_use = 3, message = 'hi', qos = { qci = 9, arp = { priority = 12 } },"
        " attributes = [{ name = 'Filter-Id', value = 'x' }]"
    )
    decision = decide(facts(), rules(f"true => {then}"))
    assert decision.walled_garden
    assert (decision.session_timeout_s, decision.idle_timeout_s, decision.interim_interval_s) == (3600, 300, 60)
    assert (decision.simultaneous_use, decision.message) == (3, "hi")
    assert decision.qos is not None
    assert decision.qos.qci == 9
    assert decision.attributes == (Attribute("Filter-Id", "x"),)


def test_a_rule_that_reads_the_place_matches_where_the_place_is_known() -> None:
    policy = rules("session.nas.family == 'mikrotik' => filter = 'm'")
    assert decide(facts(), policy).filter is None
    assert decide(facts(session=SessionFacts(nas_family="mikrotik")), policy).filter == "m"
    assert policy.session_reads == ("nas_family",)


def test_the_trace_tells_the_facts_of_each_rule_that_matched() -> None:
    policy = rules("now within between('11:00', '13:00') and 'g' in subscriber.groups => rate_max = '5M/1M'")
    decision = decide(facts(subscriber=SubscriberFacts(groups=("g",))), policy)
    step = decision.trace[-1]
    assert step.facts == 'now within between("11:00", "13:00"), subscriber.groups = ["g"]'
    assert step.effect == "rate_max 5000000/1000000"
    assert decision.valid_until == NOW + HOUR


def test_what_a_policy_reads_is_told() -> None:
    policy = rules("'internet' in subscriber.online_kinds => filter = 'x'", "quota.left < 5 => filter = 'y'")
    assert (policy.reads_online_kinds, policy.reads_quota, policy.reads_holds) == (True, True, False)
    assert rules("'admin' in service.holds => filter = 'x'").reads_holds
    assert (EMPTY.reads_online_kinds, EMPTY.session_reads) == (False, ())


def test_equal_decisions_are_equal_and_hash_alike_whatever_led_to_them() -> None:
    a, b = decide(facts(), trace=False), decide(facts(replace(PLAN, id="other")), trace=False)
    assert a == b
    assert hash(a) == hash(b)


# Rates


@pytest.mark.parametrize(
    ("a", "b", "lowest"),
    [
        (None, SLOW, SLOW),
        (FAST, SLOW, SLOW),
        (Rate(5, 90), Rate(50, 9), Rate(5, 9)),
        (Rate(0, 5), Rate(7, 9), Rate(7, 5)),
        (Rate(5, 5), Rate(0, 0), Rate(5, 5)),
        (Rate(0, 0), Rate(0, 3), Rate(0, 3)),
    ],
)
def test_the_slower_of_two_rates_where_0_is_no_limit(a: Rate | None, b: Rate, lowest: Rate) -> None:
    assert slower(a, b) == lowest


def test_a_rate_that_is_not_lowered_keeps_its_burst() -> None:
    bursting = Rate(10, 10, Burst(20, 20))
    assert slower(bursting, Rate(50, 50)) is bursting
    assert slower(Rate(50, 50), bursting) is bursting


def test_a_rate_times_a_factor_keeps_what_is_the_elements_own() -> None:
    bursting = Rate(0, 3, Burst(20, 0, threshold_down_bps=10))
    assert scaled(bursting, 0.1) == Rate(0, 1, Burst(2, 0, threshold_down_bps=1))
    assert scaled(Rate(10, 5), 2.5) == Rate(25, 12)
