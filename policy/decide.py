"""From facts to a decision. Pure: `now` is a fact."""

from datetime import UTC, datetime, timedelta, tzinfo

from policy.model import Decision, Exhausted, ExhaustedAction, Facts, Plan, Rate, Reason, TraceStep
from policy.rules import EMPTY, Policy

RESTRICTED_RATE = Rate(down_bps=1_000_000, up_bps=1_000_000)
"""Speed of a restricted service: enough for a portal and a payment page."""

DENIALS: dict[str, tuple[Reason, str]] = {
    "pending": ("pending", "Service is not activated yet"),
    "suspended": ("suspended", "Service is suspended, please contact your provider"),
    "terminated": ("terminated", "Service has been terminated"),
}


def cycle_bounds(cycle: int | str | None, plan: Plan, at: float, zone: tzinfo = UTC) -> tuple[float, float]:
    """The billing cycle that `at` falls into: (start, end) in epoch seconds, end exclusive.

    cycle: day of month 1..31 (a shorter month begins on its last day), "day", "week", "month", or None for the
    period of the plan's quota. Days begin at midnight in `zone`, weeks on Monday.
    """
    moment = datetime.fromtimestamp(at, zone)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    period = cycle if cycle is not None else plan.quota.period if plan.quota else "month"
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


def decide(facts: Facts, policy: Policy = EMPTY) -> Decision:
    """What the service may do now, and until when and below which usage that holds."""
    plan, overrides, now, service = facts.plan, facts.overrides, facts.now, facts.service
    moments = (service.activated_at, service.expires_at, service.grace_until, service.hold_ends_at)
    until = [t for t in moments if t is not None and t > now]
    trace: list[TraceStep] = []

    def deny(reason: Reason, message: str, rule: str, why: str) -> Decision:
        trace.append(TraceStep(rule, why, "deny"))
        return Decision(
            grant=False, reason=reason, message=message, valid_until=min(until, default=None), trace=tuple(trace)
        )

    if service.state in DENIALS:
        reason, message = DENIALS[service.state]
        return deny(reason, message, f"state-{service.state}", f"service.state = {service.state!r}")
    if service.activated_at is not None and now < service.activated_at:
        why = f"activated_at = {service.activated_at}"
        return deny("not_yet_active", "Service is not active yet", "activation", why)
    if service.expires_at is not None and now >= service.expires_at:
        if service.grace_until is None or now >= service.grace_until:
            why = f"expires_at = {service.expires_at}"
            return deny("expired", "Service has expired, please renew it", "expiry", why)
        trace.append(TraceStep("grace", f"grace_until = {service.grace_until}", "continue after expiry"))

    reason = "granted"
    message = ""
    rate = (overrides and overrides.rate) or plan.rate
    walled_garden = False
    below: int | None = None
    actions: tuple[str, ...] = ()
    trace.append(TraceStep("plan", f"plan.id = {plan.id!r}", "grant"))
    quota = facts.quota
    if quota is not None and plan.on_exhausted:
        actions = tuple(map(action_name, plan.on_exhausted))
        if quota.changes_at is not None:
            until.append(quota.changes_at)
        if quota.left > 0:
            below = quota.used + quota.left
        else:
            used = f"quota.used = {quota.used} of {quota.octets}"
            effect = next((a for a in plan.on_exhausted if action_name(a) in ("block", "throttle")), None)
            if effect == "block":
                return deny("quota_exhausted", "Data volume is used up, please top up", "quota-block", used)
            if isinstance(effect, Exhausted) and effect.throttle is not None:
                reason, message, rate = "throttled", "Data volume is used up, speed is reduced", effect.throttle
                trace.append(TraceStep("quota-throttle", used, f"rate {rate.down_bps}/{rate.up_bps}"))
    if service.state == "restricted":
        reason, message, walled_garden = "restricted", "Service is restricted, please contact your provider", True
        rate = slower(rate, RESTRICTED_RATE)
        trace.append(TraceStep("state-restricted", "service.state = 'restricted'", "walled garden, reduced rate"))

    def own(name: str) -> object:
        value = getattr(overrides, name) if overrides is not None else None
        return getattr(plan, name) if value is None else value

    return Decision(
        grant=True,
        reason=reason,
        message=message,
        rate=rate,
        pool=own("pool"),  # type: ignore[arg-type]
        walled_garden=walled_garden,
        simultaneous_use=own("simultaneous_use"),  # type: ignore[arg-type]
        session_timeout_s=own("session_timeout"),  # type: ignore[arg-type]
        idle_timeout_s=own("idle_timeout"),  # type: ignore[arg-type]
        interim_interval_s=own("interim_interval"),  # type: ignore[arg-type]
        qos=plan.qos,
        attributes=plan.attributes + (overrides.attributes if overrides is not None else ()),
        on_exhausted=actions,
        valid_until=min(until, default=None),
        valid_below_octets=below,
        trace=tuple(trace),
    )


def action_name(action: ExhaustedAction) -> str:
    """block, throttle, top_up or notify."""
    return action if isinstance(action, str) else "throttle" if action.throttle is not None else "top_up"


def slower(a: Rate | None, b: Rate) -> Rate:
    """The lower of two rates in each direction; 0 (the element's default) counts as faster than any."""
    if a is None:
        return b
    return Rate(down_bps=min(a.down_bps or b.down_bps, b.down_bps), up_bps=min(a.up_bps or b.up_bps, b.up_bps))
