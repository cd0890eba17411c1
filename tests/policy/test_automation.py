"""Which automation runs on which event, what it does, and which would run for ever."""

from __future__ import annotations

from datetime import UTC

import pytest

from aaa.config.policy import compile_texts
from aaa.model.events import Event
from policy.automation import (
    AddTopUp,
    Automation,
    CallWebhook,
    Disconnect,
    Effect,
    Notify,
    PlaceHold,
    Restore,
    SetTags,
)
from policy.model import BillingFacts, Facts, Plan, QuotaFacts, ServiceFacts, SubscriberFacts
from policy.rules import Policy

FACTS = Facts(
    now=1_764_000_000.0,
    plan=Plan(revision=1, id="home"),
    service=ServiceFacts(id="s1"),
    subscriber=SubscriberFacts(operator="mvno-a", groups=("g",), billing=BillingFacts(12)),
    quota=QuotaFacts(100, 80, 20, cycle_ends_at=1_764_500_000.0),
)


def event(type: str, seq: int = 7, **data: object) -> Event:
    return Event(seq, 1_764_000_000.0, type, "s1", dict(data), "mvno-a")


def policy(text: str) -> Policy:
    return compile_texts({"p.toml": text})


def automation(lines: str) -> Automation:
    (made,) = policy(f"[[automation]]\nname = 'a'\n{lines}").automations
    return made


def effects(do: str) -> tuple[Effect, ...]:
    return automation(f"on = 'hold.added'\ndo = {do}").effects


# When


def test_it_runs_on_the_events_it_names() -> None:
    text = "".join(
        f"[[automation]]\nname = '{on}'\non = '{on}'\ndo = 'disconnect'\n"
        for on in ("quota.threshold", "quota.*", "session.started")
    )
    made = policy(text)
    assert [each.name for each in made.automations_on("quota.threshold")] == ["quota.threshold", "quota.*"]
    assert [each.name for each in made.automations_on("session.started")] == ["session.started"]
    assert made.automations_on("nas.up") == ()


def test_it_matches_by_event_and_facts() -> None:
    made = automation(
        "on = 'quota.threshold'\nwhen = 'event.data.percent >= 80 and plan.id == \"home\"'\ndo = 'disconnect'"
    )
    assert made.matches(event("quota.threshold", percent=80), FACTS)
    assert not made.matches(event("quota.threshold", percent=50), FACTS)
    assert not made.matches(event("quota.exhausted", percent=80), FACTS)
    assert not made.matches(event("quota.threshold", percent=80), None)
    assert made.reads == ("event.data.percent", "plan.id")


def test_an_operators_automation_runs_for_its_subscribers() -> None:
    made = automation("on = 'hold.added'\noperator = 'mvno-b'\ndo = 'disconnect'")
    assert not made.matches(event("hold.added"), FACTS)
    made = automation("on = 'hold.added'\noperator = ['mvno-a', 'mvno-b']\ndo = 'disconnect'")
    assert made.matches(event("hold.added"), FACTS)


def test_what_needs_no_service_runs_on_events_of_none() -> None:
    made = automation("on = 'nas.down'\nwhen = 'event.data.sessions > 10'\ndo = { webhook = 'noc' }")
    assert not made.needs_service
    assert made.matches(event("nas.down", sessions=11), None)
    assert not made.matches(event("nas.down", sessions=3), None)
    assert automation("on = 'nas.down'\ndo = 'disconnect'").needs_service
    assert automation("on = 'nas.down'\nwhen = 'plan.id != \"x\"'\ndo = { notify = 'x' }").needs_service
    scoped = automation("on = 'nas.down'\noperator = 'mvno-b'\ndo = { notify = 'x' }")
    assert not scoped.matches(event("nas.down"), None)


@pytest.mark.parametrize(
    ("once", "key"),
    [("event", "event:7"), ("day", "day:2025-11-24"), ("cycle", "cycle:1764500000.0"), ("ever", "ever")],
)
def test_it_runs_once_for_each_occasion(once: str, key: str) -> None:
    made = automation(f"on = 'hold.added'\nonce = '{once}'\ndo = 'disconnect'")
    assert made.once_key(event("hold.added"), FACTS, UTC) == key


def test_without_a_balance_the_cycle_is_the_month() -> None:
    made = automation("on = 'hold.added'\nonce = 'cycle'\ndo = 'disconnect'")
    assert made.once_key(event("hold.added"), None, UTC) == "month:2025-11"


def test_a_delay_is_in_seconds() -> None:
    assert automation("on = 'hold.added'\nafter = '3d'\ndo = 'disconnect'").after_s == 3 * 86_400


def test_a_reminder_comes_before_a_moment() -> None:
    made = policy(
        """
        [facts]
        due_at = { type = "moment" }
        [[automation]]
        name = "due"
        on = "service.expiring"
        before = "3d"
        moment = "subscriber.billing.due_at"
        do = { notify = "due" }
        [[automation]]
        name = "ends"
        on = "service.expiring"
        before = "1h"
        do = { notify = "ends" }
        """
    )
    assert made.reminders == (("subscriber.billing.due_at", 259_200, "due"), ("service.expires_at", 3600, "ends"))
    due, ends = made.automations
    told = event("service.expiring", lead_s=3600.0, moment="service.expires_at")
    assert (due.matches(told, FACTS), ends.matches(told, FACTS)) == (False, True)


# What


@pytest.mark.parametrize(
    ("do", "effect"),
    [
        ("{ restrict = true }", PlaceHold("restrict")),
        ("{ suspend = { until = '3d', reason = 'r' } }", PlaceHold("suspend", 259_200, "r")),
        ("'restore'", Restore()),
        ("{ restore = 'all' }", Restore()),
        ("{ restore = 'a' }", Restore(("automation:a",))),
        ("{ restore = ['automation:a', 'admin', 'payment:x'] }", Restore(("automation:a", "admin", "payment:x"))),
        ("{ top_up = '5GB' }", AddTopUp(5_000_000_000)),
        ("{ top_up = { octets = 100, valid = '1d' } }", AddTopUp(100, 86_400)),
        ("{ notify = 't' }", Notify("t")),
        ("{ notify = { template = 't', data = { a = 1, rate = '5' } } }", Notify("t", {"a": 1, "rate": "5"})),
        ("{ webhook = 'w' }", CallWebhook("w")),
        ("'disconnect'", Disconnect()),
        ("{ disconnect = 'why' }", Disconnect("why")),
        ("{ tag = 'x' }", SetTags(("x",))),
        ("{ tag = { add = ['x'], remove = ['y'] } }", SetTags(("x",), ("y",))),
    ],
)
def test_an_effect_is_a_word_or_a_table(do: str, effect: Effect) -> None:
    assert effects(do) == (effect,)


def test_effects_keep_their_order() -> None:
    made = effects("['disconnect', { tag = 'x', webhook = 'w' }]")
    assert made == (Disconnect(), SetTags(("x",)), CallWebhook("w"))


def test_a_notification_carries_the_facts_it_names() -> None:
    facts = "['subscriber.billing.overdue_days', 'subscriber.groups', 'service.expires_at', 'quota.left']"
    (notify,) = effects(f"{{ notify = {{ template = 't', data = {{ a = 1 }}, facts = {facts} }} }}")
    assert isinstance(notify, Notify)
    values = notify.values(FACTS, event("hold.added"))
    assert values == {"template": "t", "a": 1, "overdue_days": 12, "groups": ["g"], "left": 20}
    assert notify.values(None, event("hold.added")) == {"template": "t", "a": 1}


# Loops


def test_automations_that_lead_to_one_another_are_warned_of() -> None:
    made = policy(
        """
        [[automation]]
        name = "a"
        on = "hold.added"
        do = "restore"
        [[automation]]
        name = "b"
        on = "hold.lifted"
        do = { restrict = true }
        [[automation]]
        name = "c"
        on = "notification"
        do = { notify = "again" }
        [[automation]]
        name = "d"
        on = "quota.exhausted"
        do = { restrict = true }
        """
    )
    assert [(warning.line, warning.column) for warning in made.warnings] == [(4, 9), (12, 9)]
    assert "a → b → a" in made.warnings[0].message
    assert "c → c" in made.warnings[1].message


def test_a_chain_that_ends_is_no_loop() -> None:
    made = policy("[[automation]]\nname = 'a'\non = 'quota.exhausted'\ndo = [{ restrict = true }, { notify = 'x' }]")
    assert made.warnings == ()
