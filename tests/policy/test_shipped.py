"""The policy of conf/policy: sound, complete in its flows, and harmless to the sample's subscribers."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from aaa.config.policy import load_policy
from aaa.model.events import Event
from policy.automation import AddTopUp, Notify, PlaceHold, Restore
from policy.decide import decide
from policy.model import (
    BillingFacts,
    Facts,
    Plan,
    QuotaFacts,
    Rate,
    ServiceFacts,
    SessionFacts,
    SubscriberFacts,
)

CONF = Path(__file__).parents[2] / "conf"
POLICY = load_policy(CONF / "policy")
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC).timestamp()
FAST = Rate(50_000_000, 10_000_000)
HOME = Plan(revision=1, id="home-50", rate=FAST)
HERE = SessionFacts(nas="localhost", nas_family="mikrotik")


def facts(**changes: Any) -> Facts:
    return replace(Facts(now=NOW, plan=HOME, session=HERE), **changes)


def owing(days: int, **extra: Any) -> SubscriberFacts:
    return SubscriberFacts(billing=BillingFacts(overdue_days=days, extra=extra))


def told(type: str, **data: Any) -> Event:
    return Event(1, NOW, type, "s", data, service_id="s")


def run(event: Event, seen: Facts) -> list[str]:
    return [each.name for each in POLICY.automations_on(event.type) if each.matches(event, seen)]


def test_nothing_in_it_is_warned_of() -> None:
    assert POLICY.warnings == ()


@pytest.mark.parametrize("hour", range(0, 24, 3))
def test_the_samples_subscribers_get_what_they_got_without_it(hour: int) -> None:
    lines = [json.loads(line) for line in (CONF / "sample.ndjson").read_text().splitlines()]
    plans = {each["id"]: msgspec.convert(each["value"], Plan) for each in lines if each["kind"] == "plan"}
    services = [each for each in lines if each["kind"] == "service"]
    assert {each["id"] for each in services} >= {"alice", "bob", "carol", "dave", "erin"}
    for each in services:
        value = each["value"]
        seen = facts(
            now=NOW + hour * 3600,
            plan=plans[value["plan_id"]],
            service=ServiceFacts(id=each["id"], state=value["state"], pushed_state=value["state"]),
            quota=QuotaFacts(20_000_000_000, 20_500_000_000, 0),
        )
        assert decide(seen, POLICY, trace=False) == replace(decide(seen, trace=False))


def test_arrears_are_reminded_slowed_restricted_suspended_and_restored() -> None:
    changed = told("subscriber.billing_changed", overdue_days=1, previous_overdue_days=0)
    assert run(changed, facts(subscriber=owing(1))) == ["invoice-overdue"]
    assert decide(facts(subscriber=owing(7)), POLICY).rate == FAST
    assert decide(facts(subscriber=owing(8)), POLICY).rate == Rate(5_000_000, 1_000_000)
    changed = told("subscriber.billing_changed", overdue_days=15, previous_overdue_days=14)
    assert run(changed, facts(subscriber=owing(15))) == ["overdue-restrict"]
    restricted = ServiceFacts(state="restricted", holds=("automation:overdue-restrict",))
    assert run(changed, facts(subscriber=owing(20), service=restricted)) == []
    assert run(changed, facts(subscriber=owing(30), service=restricted)) == ["overdue-suspend"]
    suspended = ServiceFacts(state="suspended", holds=("automation:overdue-restrict", "automation:overdue-suspend"))
    paid = told("subscriber.billing_changed", overdue_days=0, previous_overdue_days=31)
    assert run(paid, facts(subscriber=owing(0), service=suspended)) == ["overdue-restore"]
    assert run(told("payment.received"), facts(service=suspended)) == ["payment-restore"]
    laid = {each.cause for each in POLICY.automations for do in each.effects if isinstance(do, PlaceHold)}
    for each in POLICY.automations:
        for do in each.effects:
            assert not isinstance(do, Restore) or set(do.causes) == laid


def test_who_is_exempt_is_never_slowed_or_held() -> None:
    changed = told("subscriber.billing_changed", overdue_days=90, previous_overdue_days=89)
    assert run(changed, facts(subscriber=owing(90, dunning_exempt=True))) == []
    assert decide(facts(subscriber=owing(90, dunning_exempt=True)), POLICY).rate == FAST


def test_the_invoice_is_reminded_of_three_days_before() -> None:
    assert ("subscriber.billing.due_at", 259_200, "invoice-reminder") in POLICY.reminders
    event = told("service.expiring", lead_s=259_200.0, moment="subscriber.billing.due_at", expires_at=NOW)
    assert run(event, facts()) == ["invoice-reminder"]


@pytest.mark.parametrize(("percent", "names"), [(50, ["quota-50"]), (80, ["quota-80"]), (100, [])])
def test_volume_is_told_at_its_marks(percent: int, names: list[str]) -> None:
    assert run(told("quota.threshold", percent=percent), facts()) == names


def test_used_up_volume_is_told_or_bought_anew() -> None:
    assert run(told("quota.exhausted"), facts()) == ["quota-100"]
    assert run(told("quota.exhausted"), facts(subscriber=owing(0, auto_top_up=True))) == ["quota-auto-top-up"]
    (bought,) = (do for each in POLICY.automations for do in each.effects if isinstance(do, AddTopUp))
    assert bought.octets == 5_000_000_000


def test_prepaid_is_reminded_and_slow_in_its_grace() -> None:
    assert [(name, lead_s) for name, lead_s, _ in POLICY.reminders if name == "service.expires_at"] == [
        ("service.expires_at", 259_200),
        ("service.expires_at", 86_400),
    ]
    service = ServiceFacts(expires_at=NOW, grace_until=NOW + 100)
    before, grace = (decide(facts(service=service, now=now), POLICY) for now in (NOW - 1, NOW))
    assert (before.rate, before.valid_until) == (FAST, NOW)
    assert (grace.walled_garden, grace.rate, grace.valid_until) == (True, Rate(2_000_000, 1_000_000), NOW + 100)
    assert decide(facts(service=service, now=NOW + 100), POLICY).reason == "expired"


def test_the_backup_wakes_when_the_fibre_is_down() -> None:
    backup = Plan(revision=1, id="lte-backup", kind="mobile", rate=FAST)
    up, down = SubscriberFacts(online_kinds=("internet",)), SubscriberFacts()
    assert decide(facts(plan=backup, subscriber=up), POLICY).rate == Rate(64_000, 64_000)
    assert decide(facts(plan=backup, subscriber=down), POLICY).rate == FAST
    assert decide(facts(subscriber=up), POLICY).rate == FAST, "an ordinary service does not mind"
    assert run(told("session.started"), facts(plan=backup, subscriber=down)) == ["backup-in-use"]
    assert POLICY.reads_online_kinds


def test_a_closed_user_group_and_its_sites_keep_to_themselves() -> None:
    member, site = SubscriberFacts(groups=("cug-mine",)), SessionFacts(nas="cug-mine-7")
    assert decide(facts(subscriber=member, session=site), POLICY).grant
    assert not decide(facts(subscriber=member), POLICY).grant
    assert not decide(facts(session=site), POLICY).grant


def test_departments_have_hours_and_filters() -> None:
    guest = SubscriberFacts(groups=("dept-guests",))
    monday_noon = facts(subscriber=guest)
    assert decide(monday_noon, POLICY).grant
    assert decide(monday_noon, POLICY).valid_until == NOW + 7 * 3600
    assert not decide(replace(monday_noon, now=NOW + 8 * 3600), POLICY).grant
    assert decide(facts(subscriber=SubscriberFacts(groups=("dept-workshop",))), POLICY).filter == "workshop"


def test_an_operator_has_rules_of_its_own() -> None:
    own = replace(owing(1), operator="mvno-a")
    assert decide(facts(subscriber=own), POLICY).rate == Rate(1_000_000, 1_000_000)
    assert decide(facts(subscriber=owing(1)), POLICY).rate == FAST
    assert run(told("service.created", state="active"), facts(subscriber=own)) == ["brands-welcome"]
    assert run(told("service.created", state="active"), facts()) == []


def test_happy_hours_double_what_is_sold_and_end_on_time() -> None:
    owl = SubscriberFacts(tags=("night-owl",))
    evening = NOW + 10 * 3600
    assert decide(facts(subscriber=owl), POLICY).valid_until == evening
    happy = decide(facts(subscriber=owl, now=evening), POLICY)
    assert (happy.rate, happy.valid_until) == (Rate(100_000_000, 20_000_000), evening + 8 * 3600)


def test_every_template_is_told_of_with_facts_that_exist() -> None:
    service = ServiceFacts(expires_at=1.0)
    seen = facts(quota=QuotaFacts(10, 5, 5, NOW, NOW), subscriber=owing(3, due_at=NOW), service=service)
    for each in POLICY.automations:
        for do in each.effects:
            if isinstance(do, Notify):
                msgspec.json.encode(do.values(seen, told("x")))
