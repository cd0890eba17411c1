"""From facts to a decision. Pure: `now` is a fact.

The order, each step on what the one before has left:
1. state, activation, expiry and grace: whether there is a service at all; a denial is final;
2. what is sold: the plan's rate, an add-on's, the service's override, the first schedule entry whose window is open;
3. volume: `block` is a denial, `throttle` and tiers are limits; in a zero-rated window neither is applied;
4. restricted: a limit and the walled garden;
5. rules, in order: later ones replace what earlier ones set, `deny` is final, `stop` ends the list;
6. the rate is what is sold, lowered to the lowest limit of all in each direction.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from math import inf

from msgspec.structs import replace

from policy.expression import at_usage
from policy.facts import shown
from policy.model import (
    Decision,
    Exhausted,
    ExhaustedAction,
    Facts,
    Plan,
    Qos,
    Rate,
    Reason,
    ScheduleEntry,
    Tier,
    TraceStep,
)
from policy.rules import EMPTY, RESTRICTED_RATE, Policy
from policy.windows import calendar_of

__all__ = ["DENIALS", "RESTRICTED_RATE", "action_name", "cycle_bounds", "decide", "slower"]

MOMENTS_SOUGHT_MAX = 8  # edges without effect; Bound: as many more bodies; afterwards valid_until is early, never late

DENIALS: dict[str, tuple[Reason, str]] = {
    "pending": ("pending", "Service is not activated yet"),
    "suspended": ("suspended", "Service is suspended, please contact your provider"),
    "terminated": ("terminated", "Service has been terminated"),
}


_LAST_CYCLES_COUNT_MAX = 256  # cycles; Bound: 33 periods in a few zones
_last_cycles: dict[tuple[int | str, tzinfo], tuple[float, float]] = {}


def cycle_bounds(cycle: int | str | None, plan: Plan, at: float, zone: tzinfo = UTC) -> tuple[float, float]:
    """The billing cycle that `at` falls into: (start, end) in epoch seconds, end exclusive.

    cycle: day of month 1..31 (a shorter month begins on its last day), "day", "week", "month", or None for the
    period of the plan's quota. Days begin at midnight in `zone`, weeks on Monday.
    """
    period = cycle if cycle is not None else plan.quota.period if plan.quota else "month"
    # Cost: every new session asks; most ask for the cycle that the last one was in.
    last = _last_cycles.get((period, zone))
    if last is not None and last[0] <= at < last[1]:
        return last
    if len(_last_cycles) >= _LAST_CYCLES_COUNT_MAX:
        _last_cycles.clear()
    found = _last_cycles[period, zone] = _cycle_bounds(period, at, zone)
    return found


def _cycle_bounds(period: int | str, at: float, zone: tzinfo) -> tuple[float, float]:
    moment = datetime.fromtimestamp(at, zone)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "day":
        return day.timestamp(), _midnight(day, 1).timestamp()
    if period == "week":
        start = _midnight(day, -day.weekday())
        return start.timestamp(), _midnight(start, 7).timestamp()
    turn = period if isinstance(period, int) else 1
    this = _turn_of_month(day, turn)
    if day >= this:
        return this.timestamp(), _turn_of_month(_midnight(day.replace(day=1), 32), turn).timestamp()
    return _turn_of_month(_midnight(day.replace(day=1), -1), turn).timestamp(), this.timestamp()


def _midnight(day: datetime, days: int) -> datetime:
    # Wall-clock arithmetic on an aware datetime keeps midnight over a change of summer time.
    return day + timedelta(days=days)


def _turn_of_month(day: datetime, turn: int) -> datetime:
    last = (day.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return day.replace(day=min(turn, last.day))


def decide(facts: Facts, policy: Policy = EMPTY, trace: bool = True) -> Decision:
    """What the service may do now, and until when and below which usage that holds.

    Every usage from the facts' to below `valid_below_octets`, at every moment from now to before `valid_until`, leads
    to the same decision but for these two and the trace. At `valid_below_octets` it is another; at `valid_until` it is
    another for some usage below, or what the facts cannot know may have changed: the balance at Facts.quota.changes_at,
    the holds at Facts.service.hold_ends_at. trace: whether to tell why.
    Cost: see bench/policy.py.
    """
    steps: list[TraceStep] | None = [] if trace else None
    body = _body(facts, policy, steps)
    below = _usage_end(facts, policy, body)
    until = _time_end(facts, policy, body, below)
    if below == inf and until == inf and not steps:
        return body
    return replace(
        body,
        valid_until=None if until == inf else until,
        valid_below_octets=None if below == inf else int(below),
        trace=tuple(steps) if steps else (),
    )


def _body(facts: Facts, policy: Policy, steps: list[TraceStep] | None) -> Decision:
    """The decision without validity and trace; the trace goes to `steps`."""
    plan, now, service, quota, overrides = facts.plan, facts.now, facts.service, facts.quota, facts.overrides
    state = service.state
    reason: Reason
    if state in DENIALS:
        reason, message = DENIALS[state]
        return deny(reason, message, steps, f"state-{state}", _state_facts(facts) if steps is not None else "")
    if service.activated_at is not None and now < service.activated_at:
        why = _moment("service.activated_at", service.activated_at, policy) if steps is not None else ""
        return deny("not_yet_active", "Service is not active yet", steps, "activation", why)
    if service.expires_at is not None and now >= service.expires_at:
        if service.grace_until is None or now >= service.grace_until:
            why = _moment("service.expires_at", service.expires_at, policy) if steps is not None else ""
            return deny("expired", "Service has expired, please renew it", steps, "expiry", why)
        if steps is not None:
            why = _moment("service.grace_until", service.grace_until, policy)
            steps.append(TraceStep("grace", why, "continue after expiry"))

    # What is sold
    if steps is not None:
        steps.append(TraceStep("plan", f'plan.id = "{plan.id}"', f"grant, {_rate(plan.rate)}"))
    sold = plan.rate
    attributes = plan.attributes
    apns: tuple[Qos, ...] = ()
    for add_on in facts.add_ons:
        if add_on.qos is not None and (plan.qos is None or add_on.qos.apn != plan.qos.apn):
            apns += (add_on.qos,)
        sold = sold if add_on.rate is None else add_on.rate
        attributes += add_on.attributes
        if steps is not None:
            steps.append(TraceStep("add-on", f'service.add_ons has "{add_on.id}"', _rate(add_on.rate)))
    pool, simultaneous_use = plan.pool, plan.simultaneous_use
    session_timeout, idle_timeout, interim_interval = plan.session_timeout, plan.idle_timeout, plan.interim_interval
    if overrides is not None:
        sold = overrides.rate or sold
        pool = overrides.pool or pool
        simultaneous_use = overrides.simultaneous_use or simultaneous_use
        session_timeout = overrides.session_timeout or session_timeout
        idle_timeout = overrides.idle_timeout or idle_timeout
        interim_interval = overrides.interim_interval or interim_interval
        attributes += overrides.attributes
        if steps is not None:
            steps.append(TraceStep("overrides", f'service.id = "{service.id}"', _rate(overrides.rate)))
    free = False
    if plan.schedule:
        entries = [entry for entry in plan.schedule if _is_open(entry, policy, now)]
        sold = next((entry.rate for entry in entries if entry.rate is not None), sold)
        free = any(entry.zero_rated for entry in entries)
        if steps is not None:
            steps += [TraceStep("schedule", _window_facts(entry), _entry_effect(entry)) for entry in entries]
            steps += [
                TraceStep("schedule", f'no policy file has window "{entry.window}"', "nothing")
                for entry in plan.schedule
                if isinstance(entry.window, str) and entry.window not in policy.windows
            ]

    # Volume
    reason, message = "granted", ""
    limit: Rate | None = None
    actions: tuple[str, ...] = ()
    if quota is not None:
        if plan.quota is not None and plan.on_exhausted:
            actions = tuple(map(action_name, plan.on_exhausted))
            if quota.left <= 0 and not free:
                used = f"quota.used = {quota.used} of {quota.octets}"
                effect = next((a for a in plan.on_exhausted if action_name(a) in ("block", "throttle")), None)
                if effect == "block":
                    return deny("quota_exhausted", "Data volume is used up, please top up", steps, "quota-block", used)
                if isinstance(effect, Exhausted) and effect.throttle is not None:
                    limit = effect.throttle
                    reason, message = "throttled", "Data volume is used up, speed is reduced"
                    if steps is not None:
                        steps.append(TraceStep("quota-throttle", used, f"at most {_rate(limit)}"))
        if plan.tiers and not free:
            reached = max((tier for tier in plan.tiers if quota.used >= tier.above_octets), key=_above, default=None)
            if reached is not None:
                limit = slower(limit, reached.rate)
                if reason == "granted":
                    reason, message = "throttled", "Fair use volume is passed, speed is reduced"
                if steps is not None:
                    why = f"quota.used = {quota.used}, tier above {reached.above_octets}"
                    steps.append(TraceStep("tier", why, f"at most {_rate(reached.rate)}"))
    walled_garden = False
    if state == "restricted":
        reason, message = "restricted", "Service is restricted, please contact your provider"
        limit, walled_garden = slower(limit, policy.restricted_rate), True
        if steps is not None:
            at_most = f"walled garden, at most {_rate(policy.restricted_rate)}"
            steps.append(TraceStep("state-restricted", _state_facts(facts), at_most))

    # Rules
    filter_name: str | None = None
    qos = plan.qos
    operator = facts.subscriber.operator
    for rule in policy.rules:
        if (rule.operators and operator not in rule.operators) or not rule.test(facts, None):
            continue
        then = rule.then
        why = rule.when.explain(facts) if steps is not None else ""
        if then.deny is not None:
            return deny("denied", then.deny, steps, rule.name, why)
        if steps is not None:
            steps.append(TraceStep(rule.name, why, rule.summary))
        sold = then.rate or sold
        if then.rate_factor is not None and sold is not None:
            sold = scaled(sold, then.rate_factor)
        if then.rate_max is not None:
            limit = slower(limit, then.rate_max)
            reason = "throttled" if reason == "granted" else reason
        if then.walled_garden is not None:
            walled_garden = then.walled_garden
        filter_name = then.filter or filter_name
        pool = then.pool or pool
        qos = then.qos or qos
        attributes += then.attributes
        session_timeout = then.session_timeout or session_timeout
        idle_timeout = then.idle_timeout or idle_timeout
        interim_interval = then.interim_interval or interim_interval
        simultaneous_use = then.simultaneous_use or simultaneous_use
        message = then.message or message
        if then.stop:
            break

    return Decision(
        True,
        reason,
        message,
        sold if limit is None else slower(sold, limit),
        pool,
        filter_name,
        walled_garden,
        simultaneous_use,
        session_timeout,
        idle_timeout,
        interim_interval,
        qos,
        apns,
        attributes,
        actions,
    )


def deny(reason: Reason, message: str, steps: list[TraceStep] | None, rule: str, why: str) -> Decision:
    """A refusal. rule, why: what goes into the trace."""
    if steps is not None:
        steps.append(TraceStep(rule, why, "deny"))
    return Decision(False, reason, message)


# How long it holds

_EARLY = frozenset({"pending", "suspended", "terminated", "expired", "not_yet_active"})
"""Reasons of denials that are made before the balance, the schedule and the rules are looked at."""


def _usage_end(facts: Facts, policy: Policy, body: Decision) -> float:
    """The smallest usage above the facts' at which the body is another; inf: there is none."""
    if facts.quota is None or body.reason in _EARLY or body.reason == "quota_exhausted":
        return inf
    edge = _usage_edge(facts, policy)
    while edge != inf:
        facts = at_usage(facts, int(edge))
        if _body(facts, policy, None) != body:
            return edge
        edge = _usage_edge(facts, policy)
    return inf


def _usage_edge(facts: Facts, policy: Policy) -> float:
    """A usage above the facts' below which nothing changes."""
    quota, plan = facts.quota, facts.plan
    assert quota is not None
    edge = inf
    if quota.left > 0 and plan.on_exhausted:
        edge = quota.used + quota.left
    for tier in plan.tiers:
        if quota.used < tier.above_octets < edge:
            edge = tier.above_octets
    for rule in policy.metered_rules:
        if not rule.operators or facts.subscriber.operator in rule.operators:
            edge = min(edge, rule.when.usage_edge(facts))
    return edge


def _time_end(facts: Facts, policy: Policy, body: Decision, below: float) -> float:
    """When the body is another for some usage that is not above `below`, or the facts themselves may be; inf: never."""
    edge = inf
    for _ in range(MOMENTS_SOUGHT_MAX):
        edge = _time_edge(facts, policy, body)
        known = _known_until(facts, policy, body)
        if known <= edge:
            return known
        facts = replace(facts, now=edge)
        if _body(facts, policy, None) != body:
            return edge
        # Where time lets usage matter earlier, the decision ends as well: both its bounds must hold together.
        if facts.quota is not None and _usage_end(facts, policy, body) < below:
            return edge
    return edge


def _time_edge(facts: Facts, policy: Policy, body: Decision) -> float:
    """A moment after now before which time alone changes nothing."""
    now, service = facts.now, facts.service
    if service.state in DENIALS:
        return inf
    edge = inf
    for moment in (service.activated_at, service.expires_at, service.grace_until):
        if moment is not None and now < moment < edge:
            edge = moment
    if body.reason in _EARLY:
        return edge
    for entry in facts.plan.schedule:
        found = calendar_of(entry, policy.windows, policy.zone)
        if found is None:
            continue
        inside, change = found.at(now)
        # Whether traffic counts matters where it is free now, or where the limits of volume are reached.
        if change is not None and change < edge and (entry.rate is not None or inside or _is_used_up(facts)):
            edge = change
    for rule in policy.timed_rules:
        if not rule.operators or facts.subscriber.operator in rule.operators:
            edge = min(edge, rule.when.time_edge(facts))
    return edge


def _is_used_up(facts: Facts) -> bool:
    """Whether exhaustion or a tier applies, but for zero-rated windows."""
    quota = facts.quota
    if quota is None:
        return False
    return quota.left <= 0 or any(quota.used >= tier.above_octets for tier in facts.plan.tiers)


def _known_until(facts: Facts, policy: Policy, body: Decision) -> float:
    """The first moment at which time changes facts that the decision reads, in a way that they do not tell."""
    service, quota, plan, now = facts.service, facts.quota, facts.plan, facts.now
    until = inf
    ends = service.hold_ends_at
    if ends is not None and ends > now and (service.state != service.pushed_state or policy.reads_holds):
        until = ends
    if (
        quota is not None
        and quota.changes_at is not None
        and now < quota.changes_at < until
        and body.reason not in _EARLY
        and (plan.on_exhausted or plan.tiers or policy.reads_quota)
    ):
        until = quota.changes_at
    return until


# Small things


def action_name(action: ExhaustedAction) -> str:
    """block, throttle, top_up or notify."""
    return action if isinstance(action, str) else "throttle" if action.throttle is not None else "top_up"


def slower(a: Rate | None, b: Rate) -> Rate:
    """The lower of two rates in each direction; 0 (the element's default) counts as faster than any."""
    if a is None:
        return b
    down = min(a.down_bps, b.down_bps) or a.down_bps or b.down_bps
    up = min(a.up_bps, b.up_bps) or a.up_bps or b.up_bps
    for whole in (a, b):
        if down == whole.down_bps and up == whole.up_bps:
            return whole
    return Rate(down, up)


def scaled(rate: Rate, factor: float) -> Rate:
    """A rate and its burst times a factor, rounded down, at least 1 bit/s; 0 and None stay."""

    def times(value: int) -> int:
        return max(1, int(value * factor)) if value else 0

    burst = rate.burst
    if burst is not None:
        thresholds = (burst.threshold_down_bps, burst.threshold_up_bps)
        down, up = (None if value is None else times(value) for value in thresholds)
        burst = replace(
            burst,
            down_bps=times(burst.down_bps),
            up_bps=times(burst.up_bps),
            threshold_down_bps=down,
            threshold_up_bps=up,
        )
    return Rate(times(rate.down_bps), times(rate.up_bps), burst)


def _above(tier: Tier) -> int:
    return tier.above_octets


def _is_open(entry: ScheduleEntry, policy: Policy, now: float) -> bool:
    found = calendar_of(entry, policy.windows, policy.zone)
    return found is not None and found.at(now)[0]


# Words for the trace


def _state_facts(facts: Facts) -> str:
    service = facts.service
    text = f'service.state = "{service.state}"'
    if service.state != service.pushed_state:
        text += f", service.holds = {shown(service.holds, 'list', UTC)}"
    return text


def _moment(name: str, moment: float, policy: Policy) -> str:
    return f"{name} = {shown(moment, 'moment', policy.zone)}"


def _window_facts(entry: ScheduleEntry) -> str:
    window = entry.window
    if isinstance(window, str):
        return f'now within window("{window}")'
    return f"now within {','.join(window.days)} {window.start}-{window.end}"


def _entry_effect(entry: ScheduleEntry) -> str:
    parts = [_rate(entry.rate)] if entry.rate is not None else []
    return ", ".join([*parts, *(["traffic does not count"] if entry.zero_rated else [])]) or "nothing"


def _rate(rate: Rate | None) -> str:
    return "no rate" if rate is None else f"rate {rate.down_bps}/{rate.up_bps}"
