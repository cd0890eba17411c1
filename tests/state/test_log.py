"""Events, receipts, decisions and timers: what is told when it is durable, and what a restart brings back."""

import msgspec

from aaa.model.accounting import Status
from aaa.model.enforcement import Enforcement, Reply
from aaa.model.event_types import EVENT_TYPES
from aaa.model.events import Cause
from aaa.model.records import DecisionRecord
from aaa.state import schema
from policy.model import Decision, Rate
from tests.state.world import AT, Disk, World, dump

START, INTERIM = Status.START, Status.INTERIM
DECISION = Decision(grant=True, reason="granted", message="", rate=Rate(down_bps=5, up_bps=1))


def ack(world):
    """The writer acknowledges the oldest group it has."""
    world.store.journal.receive(world.disk.acks.pop(0))


# Events


def test_events_are_told_in_order_when_their_groups_are_durable():
    world = World()
    store, told = world.store, []
    store.event_waiters.append(lambda: told.append(store.durable_event))
    store.emit("x", "one", AT, {})
    store.emit("x", "two", AT, {})
    store.journal.flush()
    store.emit("x", "three", AT, {})
    store.journal.flush()
    store.journal.append(schema.Row.META, ("no", "event"))
    store.journal.flush()
    store.emit("x", "four", AT, {})
    store.journal.flush()
    store.emit("x", "five", AT, {})
    assert (store.durable_event, store.last_event) == (0, 5)
    ack(world)
    assert (store.durable_event, told) == (2, [2])
    ack(world)
    ack(world)
    assert (store.durable_event, told) == (3, [2, 3])
    ack(world)
    assert (store.durable_event, told) == (4, [2, 3, 4])
    store.journal.flush()
    ack(world)
    assert (store.durable_event, told) == (5, [2, 3, 4, 5])


def test_groups_acknowledged_at_once_are_told_at_once():
    world = World()
    store = world.store
    for number in range(3):
        store.emit("x", str(number), AT, {})
        store.journal.flush()
    store.journal.receive(world.disk.acks[-1])
    assert store.durable_event == 3


def test_event_of_a_group_that_waits_for_the_pipe_is_not_told_before_it_is_sent():
    world = World()
    store = world.store
    for number in range(7):
        store.emit("x", str(number), AT, {})
        store.journal.flush()
    assert len(world.disk.acks) == 4, "as many as may be under way"
    for _ in range(4):
        ack(world)
    assert store.durable_event == 4
    world.disk.settle()
    assert store.durable_event == 7


def test_newest_events_are_there_after_a_restart():
    world = World()
    world.store.cause = Cause("crm/anna", "c-1")
    world.service()
    world.apply("state", "service", "alice", {"state": "suspended"}, revision=2)
    again = world.restart().store
    assert list(again.events) == list(world.store.events)
    assert again.durable_event == again.last_event == world.store.last_event > 0


def test_every_event_of_the_state_room_is_in_the_table():
    world = World()
    actions = ["notify", "top_up", {"top_up": {"octets": 5, "valid_s": 60}}]
    world.apply("put", "plan", "capped", {"revision": 1, "quota": {"octets": 10}, "on_exhausted": actions})
    world.apply("put", "plan", "capped", {"revision": 2, "quota": {"octets": 10}, "on_exhausted": actions, "name": "x"})
    world.service(plan_id="capped")
    world.report(START)
    world.report(Status.STOP, at=60, time=60, input=12, output=0)
    world.apply("top_up", "service", "alice", {"id": "t", "octets": 5, "expires_at": AT + 99})
    world.apply("hold", "service", "alice", {"kind": "suspend", "until": AT + 50, "reason": "r"})
    world.apply("restore", "service", "alice")
    world.apply("patch", "subscriber", "s-alice", {"billing": {"balance": 1.5}}, revision=2)
    world.apply("patch", "service", "alice", {"plan_id": "home"}, revision=2)
    world.apply("state", "service", "alice", {"state": "terminated", "reason": "r"}, revision=3)
    seen = set()
    for event in world.store.events:
        known = {field.name: field for field in EVENT_TYPES[event.type].fields}
        seen.add(event.type)
        extra = {"template"} | set(event.data) if EVENT_TYPES[event.type].open else set()
        assert set(event.data) <= set(known) | extra, event
        assert {name for name, field in known.items() if not field.optional} <= set(event.data), event
        for name, value in event.data.items():
            if name in known:
                msgspec.convert(value, known[name].type)
    assert len(seen) == 14, sorted(seen)


def scenario(frames):
    """One of everything; no secret, whose seal differs each time."""
    world = World()
    world.disk.write = lambda data: (frames.append(bytes(data)), Disk.write(world.disk, data))
    world.store.cause = Cause("crm/anna", "c-1")
    actions = ["notify", {"top_up": {"octets": 5, "limit": 1}}]
    quota = {"octets": 10, "shared": "subscriber", "roll_over_octets_max": 5}
    world.apply("put", "plan", "p", {"revision": 1, "quota": quota, "on_exhausted": actions})
    mac = [{"type": "mac", "mac": "02-00-00-00-00-01"}]
    world.service(plan_id="p", credentials=mac)
    world.apply("tag", "service", "alice", {"add": ["b", "a", "c"]})
    world.apply("hold", "service", "alice", {"kind": "suspend", "until": AT + 50})
    world.report(START, user=b"02-00-00-00-00-01")
    world.disk.settle()
    for number in range(1, 5):
        at = 10.0 ** (number + 2)
        world.report(INTERIM, user=b"02-00-00-00-00-01", at=at, time=int(at), input=9 * number, output=0)
    world.apply("state", "service", "alice", {"state": "suspended"}, revision=2, at=AT + 10.0**6)
    world.store.add_timer(AT, "x", 0, world.store.events[-1])
    world.disk.settle()
    return world


def test_same_commands_make_the_same_memory_and_the_same_rows():
    frames = [], []
    one, two = map(scenario, frames)
    assert frames[0] == frames[1]
    assert dump(one.store) == dump(two.store)


# Decisions and receipts


def test_confirmed_decision_of_a_session_is_there_after_a_restart_and_written_once():
    world = World()
    for name in ("alice", "bob"):
        world.service(name)
        world.report(START, name.encode(), user=name.encode())
        session = world.session(name.encode())
        session.decision = DecisionRecord(DECISION, 77)
        session.diverged_at = AT + 5
        world.store.touch_session(session, 2)
    again = world.restart()
    one, two = (again.session(name) for name in (b"alice", b"bob"))
    assert (one.decision.id, one.decision.body, one.diverged_at) == (77, DECISION, AT + 5)
    assert one.decision is two.decision is again.store.loaded_decisions[77]
    assert 77 in again.store.stored_decisions
    assert again.db.execute("SELECT count(*) FROM decision").fetchone() == (1,)
    again.db.execute("UPDATE decision SET body = '{}'")
    assert again.restart().session(b"alice").decision is None, "written by a version that spoke otherwise"


def enforcement(world):
    world.service()
    world.report(START)
    session = world.session()
    session.decision = DecisionRecord(DECISION, 77)
    world.store.touch_session(session, 2)
    world.store.last_enforcement += 1
    made = Enforcement(world.store.last_enforcement, session, "coa", AT)
    made.desired = DecisionRecord(DECISION, 78)
    made.cause = Cause("crm", "c-1", 4)
    made.reason, made.attempts, made.due_at = "rate", 2, AT + 9
    made.log.append(Reply("nak", 503, 1, AT, AT + 1, (("User-Name", "alice"),)))
    return made


def test_open_enforcement_is_in_the_outbox_after_a_restart_and_what_its_session_runs_under_is_unknown():
    world = World()
    made = enforcement(world)
    made.state = "waiting"
    world.store.keep_enforcement(made)
    again = world.restart()
    (found,) = again.store.enforcements.values()
    session = again.session()
    assert (found.session, session.enforcement, session.decision) == (session, found, None)
    assert found.desired.body == DECISION
    for name in Enforcement.__slots__:
        if name not in ("session", "desired"):
            assert getattr(found, name) == getattr(made, name), name


def test_final_enforcement_is_a_receipt_and_its_number_stays_known():
    world = World()
    made = enforcement(world)
    world.store.keep_enforcement(made)
    made.state, made.result = "done", "ack"
    world.store.keep_enforcement(made)
    assert not world.store.enforcements
    again = world.restart()
    assert (again.store.enforcements, again.store.last_enforcement) == ({}, 1)
    assert again.session().decision.id == 77
    row = again.db.execute("SELECT session, state, correlation_id, audit FROM enforcement").fetchone()
    assert row == (world.session().id, "done", "c-1", 4)


def test_enforcement_of_a_session_that_is_gone_is_still_told():
    world = World()
    made = enforcement(world)
    made.action = "disconnect"
    world.store.keep_enforcement(made)
    world.report(Status.STOP, at=60)
    world.store.forget_session(world.session())
    (found,) = world.restart().store.enforcements.values()
    assert (found.session, found.session_id, found.nas, found.service_id) == (None, made.session_id, "bng", "alice")


# Timers


def test_timers_survive_until_they_are_deleted():
    world = World()
    world.service()
    store = world.store
    event = store.events[-1]
    kept = store.add_timer(AT + 60, "dunning", 3, event, "k1")
    gone = store.add_timer(AT + 90, "dunning", 3, event, "k2")
    store.delete_timer(gone.id)
    again = world.restart()
    assert again.store.timers == {kept.id: kept}
    again.store.delete_timer(kept.id)
    again.store.delete_timer(kept.id)
    assert again.restart().store.timers == {}


# Stores of the version before


def test_store_of_the_version_before_is_brought_forward_with_its_data(monkeypatch):
    db = schema.connect(":memory:")
    with monkeypatch.context() as older:
        older.setattr(schema, "VERSION", 3)
        schema.migrate(db)
    body = '{"revision":1,"id":"capped","quota":{"octets":100}}'
    db.execute("INSERT INTO plan VALUES (1, ?)", (body,))
    db.execute("""INSERT INTO subscriber VALUES (2, '{"revision":1,"id":"s"}')""")
    service = '{"revision":1,"subscriber_id":"s","plan_id":"capped","id":"alice"}'
    db.execute("INSERT INTO service VALUES (3, 2, 1, ?, NULL)", (service,))
    db.execute("INSERT INTO usage VALUES (3, ?, ?, 10, 75)", (AT - 5, AT + 500))
    db.execute("""INSERT INTO nas VALUES (4, '{"name":"bng","client":"bng"}')""")
    facts = '{"authorised_at":1.0,"interim_interval_s":300}'
    values = (9, 3, 4, b"k", b"alice", facts, 1, AT, AT, AT, 0.0, 0, 0, 0, 10, 75, 10, 75)
    db.execute(f"INSERT INTO session VALUES ({', '.join('?' * 18)})", values)
    db.execute("""INSERT INTO event VALUES (7, ?, 'nas.up', 'bng', '{"sessions":1}')""", (AT,))
    schema.migrate(db)
    world = World(db)
    store = world.store
    record = store.services["alice"]
    assert record.account is None
    world.report(INTERIM, b"k", at=60, time=60, input=15, output=80)
    assert (record.account.charged_octets, record.account.left_octets) == (95, 15), "with what was used before"
    assert [event.type for event in store.new_events] == [], "50 and 80 % were passed before"
    (event,) = [event for event in store.events if event.seq == 7]
    assert (event.data, event.cause, event.operator, store.last_event) == ({"sessions": 1}, Cause(), "", 7)
    assert (store.sessions[9].decision, store.last_audit, store.audit_hash) == (None, 0, bytes(32))
    assert world.apply("state", "service", "alice", {"state": "suspended"}, revision=2).status == "applied"
    assert dump(world.restart().store) == dump(store)
