"""Automations: what an event leads to, exactly once, also after a crash, a delay or a repetition."""

from __future__ import annotations

from typing import Any

from aaa.config.policy import compile_texts
from aaa.limits import AUTOMATION_DEPTH_MAX
from aaa.model.accounting import Status
from aaa.model.events import Cause
from aaa.model.operations import Operation
from aaa.state.entities import apply_operation
from aaa.state.schema import Row
from tests.engine.far_end import Field
from tests.engine.site import AT

PLAN = {"rate": {"down_bps": 1_000_000, "up_bps": 1_000_000}}
DAY = 86_400.0

DUNNING = """
[[automation]]
name = "suspend"
on = "subscriber.billing_changed"
when = "subscriber.billing.overdue_days >= 30"
do = [{ suspend = { reason = "overdue" } }, { notify = { template = "suspended" } }]

[[automation]]
name = "restore"
on = "subscriber.billing_changed"
when = "subscriber.billing.overdue_days == 0"
do = { restore = ["suspend"] }
"""


def field(rules: str) -> Field:
    """A field under a policy, with the service alice."""
    it = Field(policy=compile_texts({"test.toml": rules}))
    it.service(plan=PLAN)
    it.settle()
    return it


def bill(it: Field, overdue_days: int, name: str = "alice") -> None:
    """Billing says how long a subscriber owes."""
    it.put("subscriber", name, billing={"overdue_days": overdue_days})


def holds(it: Field, name: str = "alice") -> list[str]:
    """Causes of the holds on a service."""
    marks = it.store.services[name].marks
    return [] if marks is None else [hold.cause for hold in marks.holds]


def told(it: Field, kind: str = "notification") -> list[dict[str, Any]]:
    """Data of the events of a type."""
    return [event.data for event in it.events(kind)]


# What is done


def test_what_billing_says_of_a_subscriber_reaches_each_of_its_services() -> None:
    it = field(DUNNING)
    it.put("service", "tv", subscriber_id="alice", plan_id="home")
    session = it.online()
    it.store.cause = Cause("crm", "c-7", 3)
    bill(it, 31)
    it.store.cause = Cause("server")
    it.settle()
    assert holds(it) == holds(it, "tv") == ["automation:suspend"]
    assert it.far.actions == ["disconnect"]
    assert [data["template"] for data in told(it)] == ["suspended", "suspended"]
    laid = it.events("hold.added")[0].cause
    assert (laid.actor, laid.correlation_id, laid.depth) == ("automation:suspend", "c-7", 1)
    assert session.enforcement is not None
    assert session.enforcement.cause.correlation_id == "c-7"
    bill(it, 0)
    it.settle()
    assert holds(it) == holds(it, "tv") == []


def test_an_event_of_a_service_concerns_that_service_alone() -> None:
    it = field("""
[[automation]]
name = "welcome"
on = "session.started"
do = { tag = { add = ["seen"] } }
""")
    it.put("service", "tv", subscriber_id="alice", plan_id="home")
    it.online()
    marks = it.store.services["alice"].marks
    assert marks is not None
    assert marks.tags == ("seen",)
    assert it.store.services["tv"].marks is None


def test_every_effect_is_a_command_of_its_own() -> None:
    it = field("""
[[automation]]
name = "all"
on = "hold.added"
do = [
    { top_up = { octets = "5GB", valid = "30d" } },
    { webhook = "crm" },
    { disconnect = { reason = "again" } },
    { notify = { template = "t", facts = ["service.id"] } },
]
""")
    it.put("plan", "home", **PLAN, quota={"octets": 1000})
    it.online()
    apply_operation(it.store, Operation("hold", "service", "alice", {"kind": "restrict"}), None, it.now)
    it.settle()
    (bought,) = told(it, "quota.topped_up")
    assert (bought["added_octets"], bought["expires_at"]) == (5_000_000_000, it.now + 30 * DAY)
    (call,) = told(it, "webhook.call")
    assert (call["webhook"], call["automation"], call["event_type"]) == ("crm", "all", "hold.added")
    (note,) = told(it)
    assert (note["template"], note["id"]) == ("t", "alice")
    assert note["key"] != call["key"]
    # A restricted service would have been changed by a CoA.
    assert it.far.actions == ["disconnect"]


def test_an_event_of_no_service_can_be_told() -> None:
    it = field("""
[[automation]]
name = "down"
on = "nas.down"
do = { notify = { template = "nas-down" } }
""")
    it.store.emit("nas.down", "bng", it.now, {"sessions": 3})
    it.settle()
    (event,) = it.events("notification")
    assert (event.subject, event.service_id) == ("bng", "")


# Once


def test_an_automation_has_run_exactly_once_whenever_the_process_ends() -> None:
    it = field(DUNNING)
    bill(it, 31)
    # The event is durable, what follows is not.
    it.store.journal.flush()
    it.engine.settle(it.now)
    assert told(it)
    it = it.restart(durable=False)
    assert holds(it) == ["automation:suspend"]
    assert len(told(it)) == 1
    it = it.restart()
    assert len(told(it)) == 1
    rows = it.db.execute("SELECT count(*) FROM event WHERE type = 'notification'").fetchone()
    assert rows == (1,)


def test_an_automation_with_an_occasion_runs_once_for_each() -> None:
    it = field("""
[[automation]]
name = "hello"
on = "session.started"
once = "day"
do = { notify = { template = "hello" } }
""")
    for number in range(3):
        it.report(Status.START, b"%d" % number, it.now - AT, calling_station=b"%d" % number)
        it.settle(10)
    assert len(told(it)) == 1
    it = it.restart()
    it.report(Status.START, b"x", it.now - AT, calling_station=b"x")
    it.settle()
    assert len(told(it)) == 1
    it.settle(DAY)
    it.report(Status.START, b"y", it.now - AT, calling_station=b"y")
    it.settle()
    assert len(told(it)) == 2
    # What was done is forgotten when it cannot come again.
    it.settle(3 * DAY)
    assert it.store.timers == {}
    assert it.automator.deeds == {}


# Later

LATER = """
[[automation]]
name = "suspend"
on = "hold.added"
when = "event.data.cause == 'admin' and 'admin' in service.holds"
after = "3d"
do = { suspend = { reason = "still there" } }
"""


def restrict(it: Field) -> None:
    """An admin restricts alice."""
    operation = Operation("hold", "service", "alice", {"kind": "restrict", "cause": "admin"})
    assert apply_operation(it.store, operation, None, it.now).status == "applied"
    it.settle()


def test_a_delayed_automation_runs_on_time_also_after_a_restart() -> None:
    it = field(LATER)
    restrict(it)
    due_at = it.now + 3 * DAY
    it.settle(DAY)
    it = it.restart()
    it.settle(due_at - 0.1 - it.now)
    assert holds(it) == ["admin"]
    it.settle(0.1)
    assert holds(it) == ["admin", "automation:suspend"]
    assert it.db.execute("SELECT count(*) FROM timer").fetchone() == (0,)


def test_a_delayed_automation_that_was_due_while_nothing_ran_runs_at_the_start() -> None:
    it = field(LATER)
    restrict(it)
    it.now += 10 * DAY
    it = it.restart()
    assert holds(it) == ["admin", "automation:suspend"]


def test_a_delayed_automation_that_matches_no_more_does_nothing() -> None:
    it = field(LATER)
    restrict(it)
    it.settle(DAY)
    apply_operation(it.store, Operation("restore", "service", "alice", {}), None, it.now)
    it.settle(3 * DAY)
    assert holds(it) == []
    assert it.store.timers == {}


def test_a_delayed_automation_of_a_deleted_service_is_dropped() -> None:
    it = field(LATER)
    restrict(it)
    it.delete("service", "alice")
    it.settle(4 * DAY)
    assert it.store.timers == {}


# Loops


def test_what_was_done_for_a_deleted_service_is_forgotten_at_the_next_start() -> None:
    policy = """
[[automation]]
name = "welcome"
on = "service.created"
once = "ever"
do = { notify = { template = "welcome" } }
"""
    it = Field(policy=compile_texts({"test.toml": policy}))
    it.service()
    it.settle()
    assert len(it.store.timers) == 1
    it.delete("service", "alice")
    it.settle()
    it = it.restart().restart()
    assert not it.store.timers


def test_automations_that_lead_to_one_another_end_and_are_told() -> None:
    it = field("""
[[automation]]
name = "ping"
on = "hold.added"
do = { restore = "all" }

[[automation]]
name = "pong"
on = "hold.lifted"
do = { restrict = { reason = "again" } }
""")
    restrict(it)
    (loop,) = told(it, "automation.loop")
    assert loop["depth"] == AUTOMATION_DEPTH_MAX
    assert len(it.events("hold.added", "hold.lifted")) == AUTOMATION_DEPTH_MAX + 1


# Work in slices


def test_many_events_are_looked_at_in_slices() -> None:
    it = field(DUNNING)
    for number in range(100):
        it.service(f"u{number}")
        bill(it, 31, f"u{number}")
    laid = []
    while True:
        before = len(told(it))
        more = it.automator.run(it.now)
        laid.append(len(told(it)) - before)
        if not more and not it.store.new_events:
            break
    assert sum(laid) == 100
    assert max(laid) <= 10


def test_the_cursor_stands_behind_what_was_looked_at() -> None:
    it = field(DUNNING)
    it.online()
    it.disk.settle()
    (cursor,) = it.db.execute("SELECT value FROM meta WHERE key = 'automated'").fetchone()
    assert int(cursor) == it.store.last_event
    assert Row.META == 0
