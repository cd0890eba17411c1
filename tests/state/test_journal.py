"""What waits for the disk is told when it is there, in order, and never before."""

from aaa.limits import JOURNAL_GROUPS_IN_FLIGHT_MAX, JOURNAL_ROWS_AHEAD_MAX
from aaa.model.accounting import Status
from aaa.state.journal import Journal
from aaa.state.schema import Row
from tests.state.world import World


class Wire:
    """Keeps what was sent."""

    def __init__(self) -> None:
        self.groups: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.groups.append(data)


def journal():
    made = Journal()
    made.transport = Wire()
    return made


def acknowledgement(group):
    return group.to_bytes(8, "big")


def test_waiter_of_an_idle_journal_is_called_at_once():
    called = []
    journal().when_durable(lambda: called.append(1))
    assert called == [1]


def test_waiters_are_called_after_their_group_and_in_order():
    made, called = journal(), []
    for name in "abc":
        made.append(Row.META, (name, ""))
        made.when_durable(lambda name=name: called.append(name))
        made.flush()
    made.when_durable(lambda: called.append("behind c"))
    made.receive(acknowledgement(1))
    assert called == ["a"]
    made.receive(acknowledgement(3))
    assert called == ["a", "b", "c", "behind c"]
    assert made.idle


def test_waiter_of_an_open_group_is_not_called_by_the_one_before():
    made, called = journal(), []
    made.append(Row.META, ("a", ""))
    made.flush()
    made.append(Row.META, ("b", ""))
    made.when_durable(lambda: called.append("b"))
    made.receive(acknowledgement(1))
    assert called == []
    made.receive(acknowledgement(2))
    assert called == ["b"]


def test_acknowledgement_that_comes_in_pieces():
    made, called = journal(), []
    made.append(Row.META, ("a", ""))
    made.when_durable(lambda: called.append("a"))
    made.flush()
    data = acknowledgement(1)
    for octet in data[:-1]:
        made.receive(bytes([octet]))
        assert called == []
    made.receive(data[-1:])
    assert called == ["a"]


def test_full_pipe_lets_the_open_group_grow_and_one_acknowledgement_empties_it():
    made, called = journal(), []
    for number in range(JOURNAL_GROUPS_IN_FLIGHT_MAX + 5):
        made.append(Row.META, (str(number), ""))
        made.when_durable(lambda number=number: called.append(number))
        made.flush()
    assert len(made.transport.groups) == JOURNAL_GROUPS_IN_FLIGHT_MAX
    made.receive(acknowledgement(JOURNAL_GROUPS_IN_FLIGHT_MAX))
    assert len(made.transport.groups) == JOURNAL_GROUPS_IN_FLIGHT_MAX + 1
    made.receive(acknowledgement(JOURNAL_GROUPS_IN_FLIGHT_MAX + 1))
    assert called == list(range(JOURNAL_GROUPS_IN_FLIGHT_MAX + 5))


def test_journal_says_when_too_much_is_ahead_of_the_disk():
    made = journal()
    for number in range(JOURNAL_ROWS_AHEAD_MAX):
        made.append(Row.META, (str(number), ""))
    made.flush()
    assert not made.congested
    made.append(Row.META, ("one more", ""))
    assert made.congested
    made.receive(acknowledgement(1))
    assert not made.congested


def test_waiter_may_write_and_wait_again():
    made, called = journal(), []

    def again():
        called.append("first")
        made.append(Row.META, ("b", ""))
        made.when_durable(lambda: called.append("second"))

    made.append(Row.META, ("a", ""))
    made.when_durable(again)
    made.flush()
    made.receive(acknowledgement(1))
    assert called == ["first"]
    made.receive(acknowledgement(2))
    assert called == ["first", "second"]


def test_many_changes_of_a_record_within_a_group_are_one_row():
    world = World()
    world.service()
    world.report(Status.START)
    world.disk.settle()
    before = world.store.journal.rows_total
    for at in range(300, 3300, 300):
        world.report(Status.INTERIM, at=at, time=at, input=at, output=at)
    world.disk.settle()
    assert world.store.journal.rows_total - before == 2, "one of the session, one of the balance"


def test_key_written_and_deleted_within_a_group_ends_as_last_said():
    world = World()
    store = world.store.journal
    row = ("pool", b"a", 1, b"", 1, 0.0, 0.0)
    store.settle(Row.LEASE, Row.LEASE_DELETE, ("pool", b"a"), None)
    store.settle(Row.LEASE, Row.LEASE_DELETE, ("pool", b"a"), row)
    store.settle(Row.LEASE, Row.LEASE_DELETE, ("pool", b"b"), ("pool", b"b", 1, b"", 1, 0.0, 0.0))
    store.settle(Row.LEASE, Row.LEASE_DELETE, ("pool", b"b"), None)
    world.disk.settle()
    assert world.db.execute("SELECT address FROM lease").fetchall() == [(b"a",)]


def test_what_is_owed_to_the_open_group_goes_with_it_and_is_asked_for_once():
    made, asked = journal(), []

    def owed():
        asked.append(1)
        made.append(Row.META, ("owed", ""))

    made.before_flush = owed
    made.flush()
    made.flush()
    assert asked == [1]
    assert len(made.transport.groups) == 1
    assert b"owed" in made.transport.groups[0]
