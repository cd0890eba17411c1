"""What reports of a NAS do to sessions and balances, in whatever order and however often they come."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.limits import CLOSED_AT_ONCE_COUNT_MAX
from aaa.model.accounting import AccountingOutcome, Status
from aaa.model.records import ACTIVE, ENDED, PENDING, SessionRecord
from aaa.state.sessions import CAUSE_LOST_CARRIER, CAUSE_NAS_REBOOT, LATE_S, WRAP, close_some, end_session
from tests.state.world import AT, World, chain, dump

START, STOP, INTERIM, ON, OFF = Status.START, Status.STOP, Status.INTERIM, Status.ON, Status.OFF


@pytest.fixture
def world():
    world = World()
    world.service()
    return world


def live(world, name="alice"):
    record = world.store.services[name].live
    return [] if record is None else record.sessions


def reserve(world, at=0.0, name="alice", nas="bng", **facts):
    """A login that was accepted and whose place is held."""
    store = world.store
    session = SessionRecord(store.session_ids.next(AT + at), world.nas(nas), store.services[name])
    session.authorised_at = session.heard_at = AT + at
    for field, value in facts.items():
        setattr(session, field, value)
    store.index_session(session)
    return session


def test_start_interim_stop(world):
    assert world.report(START) == AccountingOutcome.ADOPTED
    assert world.report(INTERIM, at=300, time=300, input=10, output=100) == AccountingOutcome.UPDATED
    assert world.report(STOP, at=400, time=400, input=15, output=170, terminate_cause=1) == AccountingOutcome.STOPPED
    session = world.session()
    assert (session.state, session.session_time_s, session.terminate_cause) == (ENDED, 400, 1)
    assert (session.input_octets, session.output_octets) == (15, 170)
    assert world.usage() == (15, 170)
    assert live(world) == []
    assert world.nas().live_count == 0


def test_each_report_repeated_in_a_new_packet_changes_nothing(world):
    reports = [
        (START, 0, {}),
        (INTERIM, 300, {"time": 300, "input": 10, "output": 20}),
        (STOP, 400, {"time": 400, "input": 30, "output": 40}),
    ]
    for status, at, facts in reports:
        world.report(status, at=at, **facts)
        assert world.report(status, at=at, received=at + 9, **facts) == AccountingOutcome.REPEATED
    assert world.usage() == (30, 40)
    assert len(world.store.sessions) == 1


def test_repeated_reports_owe_no_row(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=10, output=20)
    world.disk.settle()
    groups = world.disk.groups
    world.report(INTERIM, at=300, received=310, time=300, input=10, output=20)
    world.disk.settle()
    assert world.disk.groups == groups


def test_interims_out_of_order(world):
    world.report(START)
    world.report(INTERIM, at=900, time=900, input=90, output=9)
    assert world.report(INTERIM, at=300, received=901, time=300, input=30, output=3) == AccountingOutcome.REPEATED
    assert world.report(INTERIM, at=600, received=902, time=600, input=60, output=6) == AccountingOutcome.REPEATED
    assert world.usage() == (90, 9)
    assert world.session().session_time_s == 900


def test_stop_overtakes_start_and_interim(world):
    assert world.report(STOP, at=400, time=400, input=5, output=6) == AccountingOutcome.STOPPED
    assert world.report(INTERIM, at=300, received=401, time=300, input=3, output=4) == AccountingOutcome.REPEATED
    assert world.report(START, at=0, received=402) == AccountingOutcome.REPEATED
    assert world.usage() == (5, 6)
    assert len(world.store.sessions) == 1
    assert world.session().state == ENDED


def test_interim_without_start_adopts_the_session_from_its_beginning(world):
    assert world.report(INTERIM, at=1000, time=700, input=50, output=60) == AccountingOutcome.ADOPTED
    session = world.session()
    assert session.adopted
    assert session.started_at == AT + 300
    assert live(world) == [session]
    assert world.usage() == (50, 60)


def test_session_of_an_unknown_user_is_kept_and_joined_when_its_service_is_pushed(world):
    world.report(START, user=b"bob")
    world.report(INTERIM, at=300, user=b"bob", time=300, input=100, output=0)
    assert world.session().service is None
    world.service("bob")
    world.report(INTERIM, at=600, user=b"bob", time=600, input=130, output=0)
    assert world.session().service is world.store.services["bob"]
    assert world.usage("bob") == (30, 0)


@pytest.mark.parametrize(
    ("credential", "facts"),
    [
        ({"type": "mac", "mac": "02-00-00-00-00-09"}, {"user": b"0200.0000.0009"}),
        ({"type": "circuit", "circuit_id": "olt 1/1"}, {"user": b"", "circuit_id": b"olt 1/1"}),
        ({"type": "circuit", "circuit_id": "olt 1/1"}, {"user": b"", "circuit_id": b"olt 1/1", "remote_id": b"x"}),
        ({"type": "password", "username": "zoe", "cleartext": "p"}, {"user": b"zoe\0"}),
    ],
)
def test_adopted_session_is_found_by_any_credential(world, credential, facts):
    service = world.service("zoe", credentials=[credential])
    world.report(START, **facts)
    assert world.session().service is service


def test_late_stop_without_clock_or_counters(world):
    world.report(START)
    assert world.report(STOP, at=60) == AccountingOutcome.STOPPED
    assert world.report(STOP, at=60, received=70) == AccountingOutcome.REPEATED


def test_report_without_acct_session_time_keeps_the_clock(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=10, output=10)
    world.report(INTERIM, at=600, input=20, output=30)
    assert (world.session().session_time_s, world.usage()) == (300, (20, 30))
    world.report(INTERIM, at=450, received=601, input=15, output=20)
    assert world.usage() == (20, 30)


# Counters that go back


def test_32_bit_counter_wraps(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=WRAP - 100, output=0)
    world.report(INTERIM, at=600, time=600, input=50, output=1)
    assert world.usage() == (WRAP + 50, 1)
    assert world.session().input_octets == WRAP + 50


def test_late_report_reveals_a_wrap_that_was_overlooked(world):
    world.report(START)
    world.report(INTERIM, at=600, time=600, input=50, output=0)
    world.report(INTERIM, at=300, received=601, time=300, input=WRAP - 100, output=0)
    assert world.usage() == (WRAP + 50, 0)
    world.report(INTERIM, at=300, received=700, time=300, input=WRAP - 100, output=0)
    assert world.usage() == (WRAP + 50, 0)


def test_nas_with_gigawords_never_wraps(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=3 << 30, output=0, wide=True)
    world.report(INTERIM, at=600, time=600, input=100, output=0, wide=True)
    assert world.usage() == ((3 << 30) + 100, 0), "the counter was reset while the clock went on"


def test_gigawords_are_remembered_over_a_restart(world):
    world.report(INTERIM, at=300, time=300, input=3 << 30, output=0, wide=True)
    assert world.restart().nas().sends_gigawords


def test_reset_of_clock_and_counters_counts_from_zero(world):
    world.report(START)
    world.report(INTERIM, at=900, time=900, input=900, output=90)
    world.report(INTERIM, at=1300, time=300, input=300, output=30)
    assert world.usage() == (1200, 120)
    assert world.session().started_at == AT
    world.report(INTERIM, at=1600, time=600, input=600, output=60)
    assert world.usage() == (1500, 150)


def test_late_reports_from_before_a_reset_count_what_they_have_more(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=300, output=30)
    world.report(INTERIM, at=1300, time=300, input=7, output=1)
    world.report(INTERIM, at=900, received=1301, time=900, input=900, output=90)
    assert world.usage() == (907, 91)
    world.report(INTERIM, at=600, received=1302, time=600, input=600, output=60)
    world.report(INTERIM, at=900, received=1303, time=900, input=900, output=90)
    world.report(INTERIM, at=1600, time=600, input=20, output=2)
    assert world.usage() == (920, 92)
    again = world.restart()
    again.report(INTERIM, at=900, received=1700, time=900, input=900, output=90)
    assert again.usage() == (920, 92)


def test_retransmission_without_delay_within_two_minutes_is_no_reset(world):
    world.report(START)
    world.report(INTERIM, at=600, time=600, input=600, output=60)
    assert world.report(INTERIM, at=600 + LATE_S - 10, time=590, input=590, output=59) == AccountingOutcome.REPEATED
    assert world.usage() == (600, 60)


def test_clock_of_the_nas_that_is_set_right_is_no_reset(world):
    world.report(START, at=-4000)
    world.report(INTERIM, at=-3700, time=300, input=300, output=30)
    world.report(INTERIM, at=600, time=600, input=600, output=60)
    world.report(INTERIM, at=300, received=900, time=900, input=900, output=90)
    assert world.usage() == (900, 90)


def test_counter_beyond_all_measure_is_noise(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=2**62, output=5)
    assert world.usage() == (0, 5)


def test_clock_of_a_session_that_ran_before_its_start_was_sent(world):
    world.report(START)
    for at, time, octets in ((0.1, 300, 100), (0.2, 300, 100), (0.3, 600, 250), (0.4, 300, 100)):
        world.report(INTERIM, at=at, time=time, input=octets, output=0)
    assert world.usage() == (250, 0)


def test_same_second_with_more_octets(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=10, output=10)
    world.report(STOP, at=300, time=300, input=12, output=10)
    assert world.usage() == (12, 10)


# Ids that come back


def test_id_started_again_after_its_stop_is_a_new_session(world):
    world.report(START)
    world.report(STOP, at=100, time=100, input=10, output=1)
    assert world.report(START, at=200) == AccountingOutcome.ADOPTED
    world.report(STOP, at=250, time=50, input=5, output=1)
    assert world.usage() == (15, 2)
    assert len(world.store.sessions) == 2


def test_reports_of_the_session_before_do_not_touch_the_one_that_has_its_id(world):
    world.report(START)
    world.report(START, at=500)
    second = world.session()
    assert world.report(STOP, at=100, received=510, time=100, input=10, output=1) == AccountingOutcome.STOPPED
    assert world.report(STOP, at=100, received=520, time=100, input=10, output=1) == AccountingOutcome.REPEATED
    world.report(INTERIM, at=800, time=300, input=3, output=3)
    assert (world.session(), second.state) == (second, ACTIVE)
    assert world.usage() == (13, 4)


def test_stop_of_an_earlier_session_never_heard_of(world):
    world.report(START, at=500)
    world.report(STOP, at=100, received=510, time=100, input=10, output=1)
    assert world.session().state == ACTIVE
    assert world.usage() == (10, 1)
    assert [world.store.sessions[no].state for no in chain(world.session())] == [ACTIVE, ENDED]


def test_interim_of_a_new_session_whose_start_was_lost(world):
    world.report(START)
    world.report(STOP, at=100, time=100, input=10, output=1)
    assert world.report(INTERIM, at=900, time=300, input=3, output=1) == AccountingOutcome.ADOPTED
    assert world.session().state == ACTIVE
    assert world.usage() == (13, 2)


def test_class_tells_sessions_with_one_id_apart_without_any_time(world):
    first, second = reserve(world), reserve(world, at=1)
    world.report(START, token_session=first.id)
    world.report(START, at=2, token_session=second.id)
    world.report(STOP, at=2, token_session=first.id, time=1, input=10, output=1)
    assert (first.state, second.state) == (ENDED, ACTIVE)
    world.report(STOP, at=3, token_session=second.id, time=1, input=5, output=1)
    assert world.usage() == (15, 2)


def test_start_of_another_user_under_the_same_id(world):
    world.service("bob")
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=3, output=3)
    assert world.report(START, at=310, user=b"bob") == AccountingOutcome.ADOPTED
    assert live(world) == []
    assert len(live(world, "bob")) == 1


def test_start_repeated_after_interims_and_after_the_stop(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=3, output=3)
    assert world.report(START, at=0, received=310) == AccountingOutcome.REPEATED
    assert world.report(START, at=310) == AccountingOutcome.REPEATED, "without a delay of its own"
    world.report(STOP, at=400, time=400, input=4, output=4)
    assert world.report(START, at=0, received=900) == AccountingOutcome.REPEATED
    assert (world.session().state, len(world.store.sessions)) == (ENDED, 1)


def test_restart_keeps_sessions_with_one_id_apart(world):
    world.report(START)
    world.report(START, at=500)
    before = chain(world.session())
    again = world.restart()
    assert chain(again.session()) == before
    again.report(STOP, at=100, received=900, time=100, input=10, output=1)
    assert again.session().state == ACTIVE


# Class, reservations, services inside a session


def test_start_takes_up_its_reservation(world):
    held = reserve(world)
    assert world.report(START, token_session=held.id) == AccountingOutcome.STARTED
    assert (held.state, held.key, held.adopted) == (ACTIVE, b"one", False)
    assert world.session() is held
    assert live(world) == [held]
    assert world.nas().live_count == 1


@pytest.mark.parametrize("fact", ["calling_station", "nas_port_id", "framed_ip", "circuit_id"])
def test_start_without_class_takes_up_the_reservation_of_its_place(world, fact):
    held = reserve(world, **{fact: b"abcd"})
    world.report(START, **{fact: b"abcd"})
    assert world.session() is held
    assert live(world) == [held]


def test_reservation_of_another_place_is_left_alone(world):
    held = reserve(world, calling_station=b"a")
    world.report(START, calling_station=b"b")
    assert held.state == PENDING


def test_start_through_another_address_of_the_nas_takes_the_reservation_along(world):
    held = reserve(world)
    other = world.nas("other")
    world.report(START, token_session=held.id, nas=other)
    assert (world.nas().live_count, other.live_count) == (0, 1)
    outcome = world.report(INTERIM, at=300, token_session=held.id, nas=other, time=300, input=1)
    assert outcome == AccountingOutcome.UPDATED


def test_reservation_lost_in_a_restart_keeps_its_number(world):
    held = reserve(world)
    again = world.restart()
    assert held.id not in again.store.sessions
    outcome = again.report(START, token_session=held.id, token_service=world.store.services["alice"].no, user=b"?")
    session = again.session()
    assert (outcome, session.id, session.adopted) == (AccountingOutcome.STARTED, held.id, False)
    assert session.service is again.store.services["alice"]
    assert again.store.session_ids.next(0.0) > held.id


def test_class_that_changes_amid_a_session_is_a_reauthentication(world):
    first = reserve(world)
    world.report(START, token_session=first.id)
    world.report(INTERIM, at=300, time=300, input=30, output=3, token_session=first.id)
    world.report(INTERIM, at=600, time=600, input=60, output=6, token_session=first.id + 5)
    world.report(INTERIM, at=300, received=601, time=300, input=30, output=3, token_session=first.id)
    assert world.session() is first
    assert (first.state, len(world.store.sessions)) == (ACTIVE, 1)
    assert world.usage() == (60, 6)


def test_another_class_with_a_clock_that_began_since_is_another_login(world):
    first = reserve(world)
    world.report(START, token_session=first.id)
    world.report(INTERIM, at=300, time=300, input=30, output=3, token_session=first.id)
    outcome = world.report(INTERIM, at=900, time=200, input=2, output=1, token_session=first.id + 5)
    assert outcome == AccountingOutcome.STARTED
    assert first.state == ENDED
    assert world.usage() == (32, 4)


def test_services_inside_a_session_are_no_logins_and_their_octets_count_once(world):
    held = reserve(world)
    facts = {"token_session": held.id, "service_session": True}
    world.report(START, key=b"one:2", **facts)
    assert held.state == PENDING, "the session's own Start is still to come"
    world.report(START, token_session=held.id)
    for at in (300, 600):
        world.report(INTERIM, at=at, time=at, input=at, output=at, token_session=held.id)
        inside = world.report(INTERIM, key=b"one:2", at=at, time=at, input=at, output=at, **facts)
        assert inside == AccountingOutcome.UPDATED
    assert len(world.store.sessions) == 2
    assert live(world) == [held]
    assert world.usage() == (600, 600)
    world.report(STOP, key=b"one:2", at=700, time=700, input=700, output=700, **facts)
    assert held.state == ACTIVE


# Addresses


def test_addresses_learned_late_join_the_session(world):
    world.report(START)
    world.report(INTERIM, at=300, framed_ip=b"\x0a\0\0\1", time=300)
    world.report(INTERIM, at=600, delegated_prefix=b"\x38" + bytes(16), time=600)
    again = world.restart()
    assert again.session().framed_ip == b"\x0a\0\0\1"
    assert again.session().delegated_prefix == b"\x38" + bytes(16)


def test_late_report_does_not_bring_an_old_address_back(world):
    world.report(START)
    world.report(INTERIM, at=600, framed_ip=b"\x0a\0\0\2", time=600)
    world.report(INTERIM, at=300, received=601, framed_ip=b"\x0a\0\0\1", time=300)
    assert world.session().framed_ip == b"\x0a\0\0\2"


def test_address_that_was_replaced_goes_to_the_history_with_its_time(world):
    world.report(START, framed_ip=b"\x0a\0\0\1")
    world.report(INTERIM, at=300, framed_ip=b"\x0a\0\0\2", time=300)
    world.report(INTERIM, at=600, framed_ip=b"\x0a\0\0\3", time=600)
    world.disk.settle()
    rows = world.db.execute("SELECT address, from_at, until_at FROM address_history ORDER BY from_at").fetchall()
    assert rows == [(b"\x0a\0\0\1", AT, AT + 300), (b"\x0a\0\0\2", AT + 300, AT + 600)]
    assert world.restart().session().held_since == {b"\x0a\0\0\3": AT + 600}


# Ends that the NAS does not tell


def test_accounting_on_closes_what_began_before_and_nothing_else(world):
    world.service("bob")
    world.report(START, key=b"old", at=0)
    world.report(START, key=b"since", at=500, user=b"bob")
    world.report(START, key=b"elsewhere", at=0, nas=world.nas("other"))
    assert world.report(ON, key=b"", at=400, received=600) == AccountingOutcome.NAS_RESTARTED
    assert world.session(b"old").state == ENDED
    assert world.session(b"old").terminate_cause == CAUSE_NAS_REBOOT
    assert world.session(b"since").state == ACTIVE
    assert world.session(b"elsewhere", "other").state == ACTIVE
    world.report(ON, key=b"", at=400, received=700)
    assert world.session(b"since").state == ACTIVE


def test_off_and_on_are_told_once_each(world):
    world.report(START)
    for status, at in ((OFF, 100), (OFF, 100), (ON, 160), (ON, 160), (ON, 160)):
        world.report(status, key=b"", at=at)
    world.disk.settle()
    told = world.db.execute("SELECT type FROM event WHERE type LIKE 'nas.%' ORDER BY seq")
    assert [row[0] for row in told] == ["nas.down", "nas.up"]


def test_session_that_goes_on_after_accounting_on_is_opened_again(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=3, output=3)
    world.report(ON, key=b"", at=400)
    world.report(INTERIM, at=390, received=410, time=390, input=4, output=4)
    assert world.session().state == ENDED, "sent before the restart"
    world.report(INTERIM, at=600, time=600, input=6, output=6)
    assert world.session().state == ACTIVE
    assert world.usage() == (6, 6)


def test_large_nas_is_closed_in_slices_also_over_a_restart(world):
    for number in range(600):
        world.report(START, key=b"%d" % number, user=b"")
    world.report(ON, key=b"", at=100)
    assert world.nas().live_count == 600 - CLOSED_AT_ONCE_COUNT_MAX
    again = world.restart()
    while close_some(again.store, 100):
        pass
    assert again.nas().live_count == 0


def test_ghost_is_closed_when_its_place_starts_again(world):
    world.report(START, key=b"old", calling_station=b"m")
    world.report(INTERIM, key=b"old", at=300, time=300, input=3, calling_station=b"m")
    world.report(START, key=b"new", at=900, calling_station=b"m")
    old = world.session(b"old")
    assert (old.state, old.terminate_cause, old.ended_by_nas) == (ENDED, CAUSE_LOST_CARRIER, False)
    assert live(world) == [world.session(b"new")]
    world.report(STOP, key=b"old", at=310, received=910, time=310, input=5, output=0)
    assert (old.ended_by_nas, old.ended_at, world.usage()) == (True, AT + 310, (5, 0))


def test_late_start_of_the_ghost_does_not_close_its_successor(world):
    world.report(START, key=b"new", at=900, calling_station=b"m")
    world.report(START, key=b"old", at=0, received=910, calling_station=b"m")
    assert world.session(b"new").state == ACTIVE


def test_session_closed_for_silence_speaks_again(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=3, output=3)
    session = world.session()
    end_session(world.store, session, session.updated_at, CAUSE_LOST_CARRIER, False, AT + 2000)
    assert world.report(INTERIM, at=300, received=2001, time=300, input=3, output=3) == AccountingOutcome.REPEATED
    assert session.state == ENDED
    world.report(INTERIM, at=2400, time=2400, input=24, output=24)
    assert (session.state, session.ended_at, live(world)) == (ACTIVE, 0.0, [session])
    assert world.nas().live_count == 1
    assert dump(world.restart().store) == dump(world.store)


def test_session_of_a_deleted_service_goes_on_without_it(world):
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=3, output=3)
    world.apply("delete", "service", "alice", revision=2)
    world.report(INTERIM, at=600, time=600, input=6, output=6)
    world.report(STOP, at=700, time=700, input=7, output=7)
    assert (world.session().input_octets, world.session().service) == (7, None)
    again = world.restart()
    assert again.db.execute("SELECT count(*) FROM usage").fetchone() == (0,)
    assert dump(again.store) == dump(world.store)


def test_number_of_a_deleted_service_never_comes_back(world):
    number = world.store.services["alice"].no
    world.apply("delete", "service", "alice", revision=2)
    again = world.restart()
    assert again.service("bob").no > number


# Balances


def test_usage_after_the_cycle_turned_counts_in_the_new_one(world):
    world.apply("patch", "service", "alice", {"cycle": "day"}, revision=2)
    day = 86_400
    world.report(START)
    world.report(INTERIM, at=300, time=300, input=100, output=0)
    world.report(INTERIM, at=day + 300, time=day + 300, input=130, output=0)
    service = world.store.services["alice"]
    assert world.usage() == (30, 0)
    assert service.cycle_starts_at <= AT + day + 300 < service.cycle_ends_at
    world.report(STOP, at=day + 400, received=2 * day, time=day + 400, input=150, output=0)
    assert world.usage() == (50, 0), "an event of this cycle, heard in the next"
    assert world.session().input_octets == 150


def test_other_status_types_are_ignored(world):
    assert world.report(Status.OTHER) == AccountingOutcome.IGNORED
    assert world.report(START, key=b"") == AccountingOutcome.IGNORED
    assert world.store.sessions == {}


# Any order

octets = st.integers(0, 1 << 27)
runs = st.lists(st.lists(st.tuples(octets, octets), min_size=1, max_size=4), min_size=1, max_size=3)
"""Each run of the counters between two resets: what went through before each report of it."""
INTERVAL = 300
GAP = 2000
FIRST = 1 << 31
"""Through before the first report of a run, more than a later run has in all: so every reset shows in a counter."""


def reports_of(logins, wide, token):
    """(reports, usage) of logins under one Acct-Session-Id, one after the other, each with runs of its counters."""
    made = []
    total = [0, 0]
    clock = 0
    left = sum(map(len, logins))
    for number, login in enumerate(logins):
        facts = {"token_session": 1000 + number} if token else {}
        made.append((START, clock, dict(facts)))
        for place, run in enumerate(login):
            began = clock
            last_input, last_output = 0, 0
            for step, (more_input, more_output) in enumerate(run):
                clock += INTERVAL
                high = FIRST * left if step == 0 else 0
                last_input += more_input + (high if wide else 0)
                last_output += more_output
                is_last = place == len(login) - 1 and step == len(run) - 1
                made.append(
                    (
                        STOP if is_last else INTERIM,
                        clock,
                        {
                            **facts,
                            "time": clock - began,
                            "input": last_input if wide else last_input % WRAP,
                            "output": last_output,
                            "wide": wide,
                        },
                    )
                )
            total[0] += last_input
            total[1] += last_output
            left -= 1
            clock += 50
        clock += GAP
    return made, tuple(total)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), logins=st.lists(runs, min_size=1, max_size=3), token=st.booleans(), restarts=st.booleans())
def test_any_order_and_repetition_counts_what_the_nas_counted_once(data, logins, token, restarts):
    world = World()
    world.service()
    made, total = reports_of(logins, True, token)
    sent = data.draw(st.permutations(made + data.draw(st.lists(st.sampled_from(made), max_size=8))))
    received = max(at for _, at, _ in made)
    for count, (status, at, facts) in enumerate(sent):
        received += 7
        world.report(status, at=at, received=received, **facts)
        assert all(used <= whole for used, whole in zip(world.usage(), total, strict=True)), "counted twice"
        if restarts and count == len(sent) // 2:
            world = world.restart()
    assert world.usage() == total
    assert live(world) == []
    before = dump(world.store)
    for status, at, facts in made:
        world.report(status, at=at, received=received + 9, **facts)
    assert world.usage() == total
    assert dump(world.store) == before
    assert dump(world.restart().store) == before


@settings(max_examples=200, deadline=None)
@given(
    data=st.data(),
    first=st.integers(1 << 31, WRAP - 1),
    steps=st.lists(st.tuples(st.integers(0, 1 << 28), octets), min_size=1, max_size=6),
)
def test_any_order_over_a_wrap_of_32_bits(data, first, steps):
    world = World()
    world.service()
    made = [(INTERIM, INTERVAL, first, 0)]
    total = [first, 0]
    for step, (more_input, more_output) in enumerate(steps, 2):
        total[0] += more_input
        total[1] += more_output
        made.append((INTERIM, step * INTERVAL, total[0] % WRAP, total[1]))
    for status, at, input_octets, output_octets in data.draw(st.permutations([*made, *made])):
        world.report(status, at=at, received=5000, time=at, input=input_octets, output=output_octets)
        assert world.usage()[0] <= total[0]
    assert world.usage() == tuple(total)


numbers = st.integers(-1, 2**63 - 1)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([START, STOP, INTERIM, ON, OFF, Status.OTHER]),
            st.sampled_from([b"", b"a", b"b"]),
            st.floats(-1e6, 1e6),
            st.integers(-1, 2**32 - 1),
            numbers,
            numbers,
            st.integers(0, 3),
            st.booleans(),
        ),
        max_size=20,
    )
)
def test_no_report_whatever_it_says_leaves_memory_and_disk_apart(reports):
    world = World()
    world.service()
    for status, key, at, time, input_octets, output_octets, token, service_session in reports:
        world.report(
            status, key, at, received=1e6, time=time, input=input_octets, output=output_octets, token_session=token,
            service_session=service_session,
        )  # fmt: skip
    assert world.nas().live_count == sum(session.state == ACTIVE for session in world.store.sessions.values())
    assert dump(world.restart().store) == dump(world.store)


def test_session_without_reservation_is_expected_at_the_pace_that_its_nas_was_told(world):
    world.store.interim_interval_s = 300
    world.report(Status.START, token_session=7, token_service=world.store.services["alice"].no)
    assert world.session().interim_interval_s == 300
    world.report(Status.INTERIM, at=900, time=900, token_session=7)
    assert world.session().interim_interval_s == 300


def test_adopted_session_is_expected_at_its_own_pace(world):
    world.store.interim_interval_s = 300
    world.report(Status.START)
    world.report(Status.INTERIM, at=900, time=900)
    assert world.session().interim_interval_s == 900
    assert world.restart().session().interim_interval_s == 900
