"""Random plans, facts and policies, over time zones with and without summer time."""

from __future__ import annotations

from datetime import datetime
from math import inf
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from msgspec.structs import replace

from aaa.config.policy import compile_texts
from policy.expression import Expression, at_usage
from policy.model import (
    DAYS,
    BillingFacts,
    Decision,
    Exhausted,
    Facts,
    Overrides,
    Plan,
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
from policy.rules import Policy

ZONES = ("UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns")
DAY_S = 86_400.0
EDGES_SOUGHT_MAX = 64
"""Edges without effect: windows that never meet have no end of them."""

RATES = st.builds(Rate, st.sampled_from([0, 1_000_000, 50_000_000]), st.sampled_from([1_000_000, 10_000_000]))
TIMES = st.sampled_from(["00:00", "01:30", "02:00", "02:15", "03:00", "06:00", "18:00", "20:00", "23:59"])
WINDOWS = st.builds(
    Window,
    start=TIMES,
    end=st.one_of(TIMES, st.just("24:00")),
    days=st.lists(st.sampled_from(DAYS), max_size=7, unique=True).map(tuple),
    zone=st.sampled_from(["", "Europe/Berlin", "America/New_York"]),
)


@st.composite
def moments(draw: st.DrawFn) -> float:
    """A moment of 2026, often near a change of summer time."""
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    day = draw(
        st.one_of(
            st.sampled_from([(2026, 3, 28), (2026, 3, 29), (2026, 4, 5), (2026, 10, 4), (2026, 10, 25), (2026, 11, 1)]),
            st.tuples(st.just(2026), st.integers(1, 12), st.integers(1, 28)),
        )
    )
    second = draw(st.integers(0, 86_399))
    return datetime(*day, tzinfo=zone).timestamp() + second + draw(st.sampled_from([0.0, 0.25, 0.000001]))


PLANS = st.builds(
    Plan,
    revision=st.just(1),
    id=st.sampled_from(["a", "b"]),
    kind=st.sampled_from(["internet", "mobile"]),
    rate=st.one_of(st.none(), RATES),
    quota=st.one_of(st.none(), st.builds(Quota, octets=st.integers(0, 1000))),
    tiers=st.lists(st.builds(Tier, above_octets=st.integers(0, 1500), rate=RATES), max_size=3).map(tuple),
    schedule=st.lists(
        st.builds(
            ScheduleEntry,
            window=st.one_of(WINDOWS, st.sampled_from(["night", "weekend", "gone"])),
            rate=st.one_of(st.none(), RATES),
            zero_rated=st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
    on_exhausted=st.lists(
        st.one_of(st.sampled_from(["block", "notify", "top_up"]), st.builds(Exhausted, throttle=RATES)), max_size=3
    ).map(tuple),
    pool=st.one_of(st.none(), st.just("p")),
)


@st.composite
def worlds(draw: st.DrawFn) -> Facts:
    """Facts of one service, with moments around now."""
    now = draw(moments())

    def around() -> float | None:
        return draw(st.one_of(st.none(), st.floats(-3 * DAY_S, 3 * DAY_S).map(lambda shift: now + shift), st.just(now)))

    plan = draw(PLANS)
    used = draw(st.integers(0, 1600))
    left = draw(st.integers(0, 1000))
    ahead = draw(st.one_of(st.none(), st.floats(1, 5 * DAY_S)))
    quota = None
    if plan.quota is not None or plan.tiers:
        changes = now + ahead if ahead is not None else None
        quota = QuotaFacts(used + left - draw(st.integers(0, min(used, 5))), used, left, changes, changes)
    pushed = draw(st.sampled_from(["active"] * 6 + ["restricted", "suspended", "pending", "terminated"]))
    state = "restricted" if pushed == "active" and draw(st.booleans()) else pushed
    held = state != pushed
    hold_ends = now + draw(st.floats(1, DAY_S)) if held and draw(st.booleans()) else None
    return Facts(
        now=now,
        plan=plan,
        overrides=draw(st.one_of(st.none(), st.builds(Overrides, rate=RATES))),
        service=ServiceFacts(
            id="s",
            state=state,
            pushed_state=pushed,
            holds=("admin",) if held else (),
            hold_ends_at=hold_ends,
            tags=draw(st.lists(st.sampled_from(["x", "backup"]), max_size=2, unique=True).map(tuple)),
            activated_at=draw(st.one_of(st.none(), st.floats(0, 3 * DAY_S).map(lambda age: now - age))) or around(),
            expires_at=draw(st.one_of(st.floats(0, 3 * DAY_S).map(lambda ahead: now + ahead), st.none())) or around(),
            grace_until=around(),
        ),
        subscriber=SubscriberFacts(
            operator=draw(st.sampled_from(["default", "mvno-a"])),
            groups=draw(st.lists(st.sampled_from(["g", "h"]), max_size=2, unique=True).map(tuple)),
            online_kinds=draw(st.lists(st.sampled_from(["internet", "voice"]), max_size=2, unique=True).map(tuple)),
            billing=BillingFacts(
                draw(st.integers(-1, 40)),
                draw(st.floats(-100, 100)),
                0.0,
                draw(
                    st.dictionaries(
                        st.sampled_from(["due_at", "risk", "vip", "score", "note"]),
                        st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=5)),
                    )
                ),
            ),
        ),
        quota=quota,
        session=draw(st.one_of(st.none(), st.builds(SessionFacts, nas=st.sampled_from(["n", "m"])))),
    )


CONDITIONS = (
    'now within window("night")',
    'now not within window("weekend")',
    'now within between("01:30", "02:15")',
    'now within weekdays("sun", "mon")',
    "now < service.expires_at",
    "now <= service.expires_at - hours(5)",
    "service.expires_at - now < days(1)",
    "now - service.activated_at >= minutes(90)",
    "service.activated_at <= now < service.grace_until",
    "now > subscriber.billing.due_at + hours(subscriber.billing.overdue_days)",
    'now >= date("2026-03-29T12:00")',
    "now < quota.cycle_ends_at - hours(1)",
    "now + hours(2) > max(service.expires_at, service.activated_at)",
    "quota.used_ratio >= 0.8",
    "0.25 < quota.used_ratio <= 0.75",
    "quota.left < 100",
    "quota.left == 0",
    "quota.used != 700",
    "quota.left / quota.octets < 0.3",
    "quota.used > quota.octets / 2 + 10",
    "min(quota.left, 500) <= 250 * 1.5",
    "-quota.left > -40",
    "quota.used * 2 - 7 > quota.left",
    "subscriber.billing.overdue_days > 10",
    "subscriber.billing.balance / subscriber.billing.score > 0.5",
    "subscriber.billing.risk * 3 + 1 < 7",
    "subscriber.billing.vip",
    '"g" in subscriber.groups',
    'overlaps(subscriber.groups, ["h", "i"])',
    '"internet" in subscriber.online_kinds',
    'service.state == "restricted"',
    '"admin" in service.holds',
    'session.nas.name == "n"',
    'plan.kind in ["mobile", "voice"]',
    "present(service.expires_at)",
    "count(service.tags) >= 1",
    'startswith(lower(subscriber.billing.note), "a")',
    "true",
)


@st.composite
def conditions(draw: st.DrawFn) -> str:
    """Conditions joined by and, or, not."""
    parts = draw(st.lists(st.sampled_from(CONDITIONS), min_size=1, max_size=3))
    text = ""
    for part in parts:
        part = f"not ({part})" if draw(st.booleans()) else part
        text = part if not text else f"({text}) {draw(st.sampled_from(['and', 'or']))} {part}"
    return text


EFFECTS = (
    'deny = "no"',
    'rate = "7M/3M"',
    "rate_factor = 0.5",
    'rate_max = "3M/2M"',
    'filter = "f"',
    "walled_garden = true",
    'session_timeout = "1h"',
    'message = "hello"',
    'pool = "q", stop = true',
    'attributes = [{ name = "Filter-Id", value = "x" }]',
)
BASE = """
[windows]
night = { start = "22:00", end = "06:00" }
weekend = { days = ["sat", "sun"], zone = "America/New_York" }
[facts]
due_at = { type = "moment" }
risk = 0
vip = false
score = 1.5
note = ""
"""


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Up to three rules over random conditions."""
    text = BASE
    for number in range(draw(st.integers(0, 3))):
        operator = 'operator = "mvno-a"\n' if draw(st.booleans()) and draw(st.booleans()) else ""
        text += (
            f"[[rule]]\nname = 'r{number}'\n{operator}"
            f"when = '''{draw(conditions())}'''\nthen = {{ {draw(st.sampled_from(EFFECTS))} }}\n"
        )
    return compile_texts({"p.toml": text}, draw(st.sampled_from(ZONES)))


def body(decision: Decision) -> Decision:
    """What the network sees of it."""
    return replace(decision, trace=(), valid_until=None, valid_below_octets=None)


def later(facts: Facts, moment: float) -> Facts:
    """The same facts at another moment."""
    return replace(facts, now=moment)


def used(facts: Facts, usage: int) -> Facts:
    """The same facts after more usage."""
    return at_usage(facts, usage)


def next_change(condition: Expression, facts: Facts) -> float | None:
    """When time alone changes the value next; None: never. After EDGES_SOUGHT_MAX edges: the last one looked at."""
    value, edge = condition(facts), condition.time_edge(facts)
    for _ in range(EDGES_SOUGHT_MAX):
        if edge == inf:
            return None
        if condition(later(facts, edge)) != value:
            break
        edge = condition.time_edge(later(facts, edge))
    return edge


def next_usage(condition: Expression, facts: Facts) -> int | None:
    """The smallest usage above facts.quota.used at which the value is another; None: there is none."""
    value, edge = condition(facts), condition.usage_edge(facts)
    while edge != inf:
        at_edge = used(facts, int(edge))
        if condition(at_edge) != value:
            return int(edge)
        edge = condition.usage_edge(at_edge)
    return None
