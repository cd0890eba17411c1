"""Holds, tags, and what a change of a service, subscriber or plan tells and makes others look at."""

import pytest

from aaa.model.accounting import Status
from aaa.model.events import Cause
from aaa.state import holds
from tests.state.world import AT, World, dump

START = Status.START


@pytest.fixture
def world():
    world = World()
    world.service()
    world.store.new_events.clear()
    return world


def hold(world, kind="suspend", at=0.0, name="alice", **value):
    return world.apply("hold", "service", name, {"kind": kind, **value}, at=AT + at)


def state(world, at=0.0, name="alice"):
    return holds.effective_state(world.store.services[name], AT + at)


def told(world):
    """Types of the events since the last look, with the state where it has changed."""
    events, world.store.new_events[:] = list(world.store.new_events), []
    changes = ("service.state_changed", "service.terminated")
    return [
        (event.type, event.data.get("previous_state"), event.data.get("state")) if event.type in changes else event.type
        for event in events
    ]


@pytest.mark.parametrize(
    ("pushed", "kinds", "effective"),
    [
        ("active", (), "active"),
        ("active", ("restrict",), "restricted"),
        ("active", ("restrict", "suspend"), "suspended"),
        ("restricted", ("restrict",), "restricted"),
        ("restricted", ("suspend",), "suspended"),
        ("suspended", ("restrict",), "suspended"),
        ("pending", ("suspend",), "pending"),
    ],
)
def test_effective_state_is_the_strictest(world, pushed, kinds, effective):
    world.service("bob", state=pushed)
    for kind in kinds:
        assert hold(world, kind, name="bob", cause=kind).status == "applied"
    assert state(world, name="bob") == effective
    assert world.store.services["bob"].body.state == pushed
    assert state(world.restart(), name="bob") == effective


def test_hold_is_told_with_the_state_it_leads_to_and_lifted_by_its_cause(world):
    world.store.cause = Cause("crm/anna", "c-1")
    assert hold(world, cause="fraud", reason="stolen card").status == "applied"
    assert told(world) == ["hold.added", ("service.state_changed", "active", "suspended")]
    assert world.store.events[-1].data == {
        "state": "suspended", "previous_state": "active", "pushed_state": "active", "reason": "stolen card",
    }  # fmt: skip
    (held,) = world.store.services["alice"].marks.holds
    assert (held.actor, held.at, held.reason) == ("crm/anna", AT, "stolen card")
    assert hold(world, cause="fraud", reason="stolen card").status == "stale"
    assert hold(world, "restrict", cause="other").status == "applied"
    assert told(world) == ["hold.added"], "the strictest is the same"
    assert world.apply("restore", "service", "alice", {"cause": "fraud"}).status == "applied"
    assert told(world) == ["hold.lifted", ("service.state_changed", "suspended", "restricted")]
    assert world.apply("restore", "service", "alice", {"cause": "fraud"}).status == "stale"
    assert world.apply("restore", "service", "alice").status == "applied"
    assert told(world) == ["hold.lifted", ("service.state_changed", "restricted", "active")]
    assert world.store.services["alice"].marks is None
    assert dump(world.restart().store) == dump(world.store)


def test_hold_of_the_same_cause_is_changed(world):
    hold(world, "restrict")
    hold(world, "suspend")
    assert (len(world.store.services["alice"].marks.holds), state(world)) == (1, "suspended")
    assert dump(world.restart().store) == dump(world.store)


def test_hold_ends_by_itself_and_its_end_is_told_once(world):
    hold(world, until=AT + 60)
    assert holds.hold_facts(world.store.services["alice"], AT) == (("admin",), AT + 60)
    assert (state(world, 59), state(world, 60)) == ("suspended", "active")
    assert holds.hold_facts(world.store.services["alice"], AT + 60) == ((), None)
    told(world)
    world = world.restart()
    assert world.store.hold_ends[0][0] == AT + 60
    assert holds.expire_holds(world.store, AT + 59) == 0
    assert holds.expire_holds(world.store, AT + 61) == 1
    assert told(world) == ["hold.lifted", ("service.state_changed", "suspended", "active")]
    assert [event.cause.actor for event in world.store.events][-2:] == ["time", "time"]
    assert not world.store.hold_ends
    assert dump(world.restart().store) == dump(world.store)


def test_command_after_the_end_of_a_hold_tells_the_end_first(world):
    hold(world, until=AT + 60)
    told(world)
    world.apply("state", "service", "alice", {"state": "restricted"}, revision=2, at=AT + 90)
    assert told(world) == [
        "hold.lifted",
        ("service.state_changed", "suspended", "active"),
        ("service.state_changed", "active", "restricted"),
    ]


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "block"},
        {"cause": "x"},
        {"kind": "suspend", "until": AT},
        {"kind": "suspend", "until": "tomorrow"},
        {"kind": "suspend", "until": "2023-12-01T00:00:00"},
        {"kind": "suspend", "cause": ""},
        {"kind": "suspend", "more": 1},
    ],
)
def test_hold_that_says_nothing_sensible_is_refused(world, value):
    assert world.apply("hold", "service", "alice", value).error == "invalid"
    assert world.store.services["alice"].marks is None


def test_hold_of_nobody_and_of_the_terminated_is_refused(world):
    assert hold(world, name="nobody").error == "not_found"
    world.service("bob", state="terminated")
    assert hold(world, name="bob").error == "invalid_transition"
    assert world.apply("hold", "service", "alice", {"kind": "suspend"}, operator="other").error == "forbidden"


def test_holds_and_tags_are_bounded(world):
    for number in range(16):
        assert hold(world, cause=f"c{number}").status == "applied"
    assert hold(world, cause="c16").error == "limit"
    assert world.apply("tag", "service", "alice", {"add": [f"t{n}" for n in range(33)]}).error == "limit"


def test_tags_are_set_and_taken_off(world):
    assert world.apply("tag", "service", "alice", {"add": ["b", "a"]}).status == "applied"
    assert holds.tags_of(world.store.services["alice"]) == ("a", "b")
    assert world.apply("tag", "service", "alice", {"add": ["b"]}).status == "stale"
    assert dump(world.restart().store) == dump(world.store)
    world.apply("tag", "service", "alice", {"remove": ["a", "b"]})
    assert world.store.services["alice"].marks is None
    assert dump(world.restart().store) == dump(world.store)


def test_revision_of_billing_stays_with_whatever_others_do(world):
    assert hold(world).revision == 1
    assert world.apply("patch", "service", "alice", {"add_ons": ["x"]}, revision=2).status == "applied"
    assert state(world) == "suspended"


def test_marks_go_with_their_service(world):
    hold(world, until=AT + 60)
    world.apply("tag", "service", "alice", {"add": ["a"]})
    world.apply("delete", "service", "alice", revision=2)
    again = world.restart()
    counts = [again.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("hold", "tag")]
    assert counts == [0, 0]
    assert holds.expire_holds(world.store, AT + 60) == 1


# What changes tell


def test_changes_of_a_service_are_told(world):
    world.service("bob")
    assert told(world) == ["service.created"]
    world.apply("put", "plan", "other", {"revision": 1})
    world.apply("patch", "service", "bob", {"plan_id": "other", "state": "suspended"}, revision=2)
    assert told(world) == ["service.plan_changed", ("service.state_changed", "active", "suspended")]
    world.apply("state", "service", "bob", {"state": "terminated", "reason": "moved"}, revision=3)
    assert told(world) == [
        ("service.state_changed", "suspended", "terminated"),
        ("service.terminated", "suspended", None),
    ]
    assert world.store.events[-1].data["reason"] == "moved"
    world.apply("delete", "service", "bob", revision=4)
    assert told(world) == []
    world.apply("delete", "service", "alice", revision=4)
    assert told(world) == [("service.terminated", "active", None)]


def test_repeated_push_tells_nothing(world):
    world.apply("put", "service", "alice", {"revision": 1, "subscriber_id": "s-alice", "plan_id": "home"})
    world.apply("put", "subscriber", "s-alice", {"revision": 1})
    assert told(world) == []


def test_changes_of_a_subscriber_are_told_with_its_operator(world):
    world.apply("patch", "subscriber", "s-alice", {"name": "Alice", "billing": {"overdue_days": 3}}, revision=2)
    assert told(world) == ["subscriber.changed", "subscriber.billing_changed"]
    changed, billing = list(world.store.events)[-2:]
    assert changed.data == {"fields": ["name", "billing"], "revision": 2}
    assert (billing.data["overdue_days"], billing.data["previous_overdue_days"]) == (3, 0)
    assert (billing.operator, billing.subscriber_id, billing.service_id) == ("default", "s-alice", "")


def test_events_of_a_change_bear_its_cause_and_its_number_in_the_audit_log(world):
    world.store.cause = asked = Cause("crm/anna", "c-1", 0, 1)
    world.apply("state", "service", "alice", {"state": "suspended"}, revision=2)
    (event,) = world.store.new_events
    assert event.cause == Cause("crm/anna", "c-1", world.store.last_audit, 1)
    assert world.store.cause == asked


# What changes make others look at


def test_live_services_are_looked_at_after_every_change_that_a_decision_reads(world):
    world.service("idle")
    store = world.store
    service = store.services["alice"]
    world.report(START)
    changes = [
        lambda: hold(world),
        lambda: world.apply("restore", "service", "alice"),
        lambda: world.apply("tag", "service", "alice", {"add": ["x"]}),
        lambda: world.apply("state", "service", "alice", {"state": "suspended"}, revision=2),
        lambda: world.apply("patch", "subscriber", "s-alice", {"tags": ["vip"]}, revision=2),
    ]
    store.cause = Cause("crm/anna", "c-9")
    for change in changes:
        store.affected.clear()
        version = service.version
        assert change().status == "applied"
        assert list(store.affected) == [service]
        assert store.affected[service].correlation_id == "c-9"
        assert store.affected[service].audit == store.last_audit
        assert service.version > version
    hold(world, name="idle")
    assert list(store.affected) == [service], "nothing is live of the other"


def test_plan_and_add_on_are_looked_at(world):
    store = world.store
    world.apply("patch", "service", "alice", {"add_ons": ["boost", "unknown"]}, revision=2)
    world.apply("put", "plan", "boost", {"revision": 1})
    assert store.plans["boost"].add_on_uses == 1
    before = store.policy_version.number
    store.affected_all = None
    world.apply("put", "plan", "boost", {"revision": 2, "name": "Boost"})
    assert (store.policy_version.number, store.affected_all.audit) == (before + 1, store.last_audit)
    assert world.apply("delete", "plan", "boost", revision=3).error == "in_use"
    world.apply("put", "plan", "home", {"revision": 2})
    assert list(store.affected_plans) == [store.plans["home"]]
    assert dump(world.restart().store) == dump(store)
    world.apply("patch", "service", "alice", {"add_ons": []}, revision=3)
    assert (store.plans["boost"].add_on_uses, store.add_on_uses) == (0, {})


def test_sessions_of_a_deleted_service_are_left_to_be_disconnected(world):
    world.report(START)
    session = world.session()
    world.apply("delete", "service", "alice", revision=2)
    assert [orphan for orphan, _ in world.store.orphaned] == [session]
    assert session.former == ("alice", "s-alice", "default")
    assert (session.service, list(world.store.affected)) == (None, [])
