"""What time alone brings comes on the moment: decisions, holds, expiry, reminders; also those of a stop."""

from __future__ import annotations

from typing import Any

import pytest

from aaa.config.policy import compile_texts
from aaa.engine import timers
from aaa.limits import ENFORCE_STOP_GRACE_S, TIMERS_PASS_S, TIMERS_SLICE_COUNT
from aaa.model.access import Cause
from aaa.model.accounting import Status
from aaa.model.operations import Operation
from aaa.model.records import ENDED, ServiceRecord
from aaa.state.entities import apply_operation
from tests.engine.far_end import TIMEOUT, Field
from tests.engine.site import AT

PLAN = {"rate": {"down_bps": 1_000_000, "up_bps": 1_000_000}}
DAY = 86_400.0
WINDOW = """
[windows.night]
start = "23:00"
end = "01:00"

[[rule]]
name = "night"
when = 'now within window("night")'
then = { rate_factor = 2.0 }
"""


def field(rules: str = "", **service: Any) -> Field:
    """A field under a policy, with the service alice."""
    it = Field(policy=compile_texts({"test.toml": rules}))
    it.service(plan=PLAN, **service)
    it.settle()
    return it


# Decisions


def test_a_session_is_disconnected_the_moment_its_service_expires() -> None:
    it = field(expires_at=AT + 1000.0)
    it.online()
    it.settle(999.9)
    assert it.far.sent == []
    it.settle(0.1)
    assert it.far.actions == ["disconnect"]
    receipt = it.far.sent[0].session.enforcement
    assert receipt is not None
    assert (receipt.reason, receipt.cause.actor) == ("expired", "time")


def test_a_window_opens_and_closes_on_time() -> None:
    it = field(WINDOW)
    it.online()
    # AT is 22:13:20 UTC.
    it.settle(2799.9)
    assert it.far.sent == []
    it.settle(0.1)
    assert it.far.rate() == 2_000_000
    it.answer()
    it.settle(7200)
    assert it.far.rate() == 1_000_000


def test_a_hold_ends_by_itself_and_is_told() -> None:
    it = field()
    it.online()
    it.put("plan", "home", rate={"down_bps": 8_000_000, "up_bps": 8_000_000})
    it.settle()
    it.answer()
    value = {"kind": "restrict", "until": it.now + 60.0}
    apply_operation(it.store, Operation("hold", "service", "alice", value), None, it.now)
    it.settle()
    it.answer()
    it.settle(59.9)
    assert it.far.rate() == 1_000_000
    it.settle(0.1)
    assert it.far.rate() == 8_000_000
    (lifted,) = it.events("hold.lifted")
    assert (lifted.data["why"], lifted.cause.actor) == ("expired", "time")


def test_a_cycle_that_turns_gives_a_throttled_session_its_speed_back() -> None:
    it = field()
    throttle = {"throttle": {"down_bps": 100_000, "up_bps": 100_000}}
    it.put("plan", "home", **PLAN, quota={"octets": 1000, "period": "day"}, on_exhausted=[throttle])
    session = it.online()
    it.settle(60)
    it.report(Status.INTERIM, at=60.0, session_time_s=60, input_octets=1000, output_octets=0)
    it.settle()
    assert it.far.rate() == 100_000
    it.answer()
    midnight = AT + 6400.0
    it.settle(midnight - 0.1 - it.now)
    assert len(it.far.sent) == 1
    it.settle(0.1)
    assert it.far.rate() == 1_000_000
    assert session.state != ENDED


def test_decisions_of_services_without_sessions_are_left_to_who_asks() -> None:
    it = field(expires_at=AT + 1000.0)
    it.settle(2000)
    assert it.login(at=2000.0).cause == Cause.DENIED


# Moments


def test_a_service_that_expires_is_told_without_a_session() -> None:
    it = field(expires_at=AT + 1000.0, grace_until=AT + 2000.0)
    it.settle(999.9)
    assert it.events("service.expired") == []
    it.settle(0.1)
    (event,) = it.events("service.expired")
    assert event.subject == "alice"
    assert event.data == {"expires_at": AT + 1000.0, "grace_until": AT + 2000.0}
    it.settle(5000)
    assert len(it.events("service.expired")) == 1


def test_an_expiry_that_is_moved_is_told_when_it_comes() -> None:
    it = field(expires_at=AT + 1000.0)
    it.settle(500)
    it.put("service", "alice", subscriber_id="alice", plan_id="home", expires_at=AT + 3000.0)
    it.settle(1000)
    assert it.events("service.expired") == []
    it.settle(1500)
    assert len(it.events("service.expired")) == 1


def test_an_expiry_far_away_is_found_in_time() -> None:
    it = field(expires_at=AT + 10 * TIMERS_PASS_S)
    for _ in range(20):
        it.settle(TIMERS_PASS_S / 2)
    (event,) = it.events("service.expired")
    assert event.at == AT + 10 * TIMERS_PASS_S


def test_what_expires_while_nothing_runs_is_told_at_the_start_and_once() -> None:
    it = field(expires_at=AT + 1000.0)
    it.service("bob", expires_at=AT + 50.0)
    it.settle(100)
    it.disk.settle()
    it.now += 5000
    it = it.restart()
    assert [event.subject for event in it.events("service.expired")] == ["bob", "alice"]
    it = it.restart()
    assert len(it.events("service.expired")) == 2


def test_the_first_expiry_ever_is_told_though_nothing_ran_then() -> None:
    it = field(expires_at=AT + 1000.0)
    it.now += 5000
    it = it.restart()
    assert len(it.events("service.expired")) == 1


def test_a_reminder_of_a_new_policy_is_in_time() -> None:
    it = field(expires_at=AT + DAY + 100.0)
    it.settle(1)
    it.decisions.use(compile_texts({"test.toml": REMINDERS}))
    it.settle(99)
    assert [event.data["template"] for event in it.events("notification")] == ["last-day"]


REMINDERS = """
[facts.due_at]
type = "moment"

[[automation]]
name = "soon"
on = "service.expiring"
before = "3d"
do = { notify = { template = "soon" } }

[[automation]]
name = "last-day"
on = "service.expiring"
before = "1d"
do = { notify = { template = "last-day" } }

[[automation]]
name = "due"
on = "service.expiring"
before = "2d"
moment = "subscriber.billing.due_at"
do = { notify = { template = "due" } }
"""


def test_reminders_come_so_long_before_as_they_say() -> None:
    it = field(REMINDERS, expires_at=AT + 5 * DAY)
    it.put("subscriber", "alice", billing={"extra": {"due_at": "2023-11-18T22:13:20Z"}})
    seen = []
    for _ in range(24 * 6):
        it.settle(3600)
        seen += [(it.now - AT, e.data["template"]) for e in it.events("notification") if e.at == it.now]
    assert seen == [(2 * DAY, "soon"), (2 * DAY, "due"), (4 * DAY, "last-day")]


def test_a_reminder_whose_moment_billing_pushes_late_is_in_time() -> None:
    it = field(REMINDERS)
    it.settle(1)
    it.put("subscriber", "alice", billing={"extra": {"due_at": AT + 2 * DAY + 100.0}})
    it.settle(99)
    assert [event.data["template"] for event in it.events("notification")] == ["due"]


def test_what_expires_while_nothing_runs_is_told_however_long_the_pass_over_services_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    it = field(expires_at=AT + 1000.0)
    it.service("bob", expires_at=AT + 50.0)
    it.settle(100)
    it.disk.settle()
    monkeypatch.setattr(timers, "TIMERS_PASS_COUNT", 1)
    it.now += 5000
    it = it.restart()
    it.settle(1)
    for _ in range(10):
        it.settle()
    assert [event.subject for event in it.events("service.expired")] == ["bob", "alice"]


def test_what_ends_at_one_moment_does_not_wait_for_the_next_ticks() -> None:
    it = field(WINDOW)
    for number in range(3 * TIMERS_SLICE_COUNT):
        it.service(f"s{number}")
        it.online(f"s{number}", b"%d" % number)
    it.now += 2800
    it.engine.tick(it.now)
    for _ in range(20):
        it.engine.settle(it.now)
    it.disk.settle()
    it.engine.settle(it.now)
    assert it.store.last_enforcement == 3 * TIMERS_SLICE_COUNT


def test_a_service_that_cannot_be_looked_at_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    it = field(expires_at=AT + 1000.0)
    it.service("bob", expires_at=AT + 50.0)
    right = it.timers._arm

    def odd(service: ServiceRecord) -> None:
        if service.body.id == "alice":
            raise ValueError("odd")
        right(service)

    monkeypatch.setattr(it.timers, "_arm", odd)
    it.timers._pass_no = 0
    with pytest.raises(ValueError, match="odd"):
        it.engine.tick(it.now)
    it.engine.tick(it.now)
    it.settle(100)
    assert [event.subject for event in it.events("service.expired")] == ["bob"]


# A clock that is set back


def test_live_sessions_follow_a_clock_that_is_set_back() -> None:
    it = field(WINDOW)
    it.online()
    it.settle(2800)
    assert it.far.rate() == 2_000_000
    it.answer()
    it.settle(-2000)
    assert it.far.rate() == 1_000_000
    it.answer()
    it.settle(2000)
    assert it.far.rate() == 2_000_000


def test_what_waits_to_be_sent_again_does_not_wait_for_a_clock_that_is_set_back_to_catch_up() -> None:
    it = field()
    it.online()
    it.rate()
    it.settle()
    it.answer(TIMEOUT)
    it.settle(-DAY)
    it.settle(1)
    assert it.far.actions == ["coa", "coa"]


def test_a_disconnected_session_is_closed_though_the_clock_is_set_back() -> None:
    it = field()
    session = it.online()
    it.state("suspended")
    it.settle()
    it.answer()
    it.settle(-DAY)
    it.settle(ENFORCE_STOP_GRACE_S + 1)
    assert session.state == ENDED


def test_expiries_are_told_after_a_clock_that_was_far_ahead_is_set_right() -> None:
    it = field(expires_at=AT + 1000.0)
    it.settle(2 * DAY)
    it.settle(-2 * DAY)
    it.settle(1)
    it.service("bob", expires_at=AT + 500.0)
    it.settle(600)
    assert "bob" in [event.subject for event in it.events("service.expired")]
