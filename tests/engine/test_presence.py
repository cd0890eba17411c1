"""Sessions that begin and end: what is told of them, who else hears of it, and in which pieces."""

from __future__ import annotations

from typing import Any

from aaa.config.policy import compile_texts
from aaa.engine.liveness import Liveness
from aaa.limits import CLOSED_AT_ONCE_COUNT_MAX
from aaa.model.accounting import AccountingRecord, Status
from aaa.model.records import ACTIVE
from aaa.state.sessions import apply_accounting, end_session
from tests.engine.far_end import Field
from tests.engine.site import AT

PLAN = {"rate": {"down_bps": 1_000_000, "up_bps": 1_000_000}}


def test_a_session_is_told_when_it_begins_and_when_it_ends() -> None:
    it = Field()
    it.service(plan=PLAN)
    session = it.online(framed_ip=b"\xc0\x00\x02\x01", calling_station=b"aa")
    usage: dict[str, Any] = {"session_time_s": 60, "input_octets": 10, "output_octets": 20}
    it.report(Status.STOP, at=60.0, terminate_cause=1, **usage)
    it.settle()
    started, stopped = it.events("session.started", "session.stopped")
    place = {
        "session_id": str(session.id),
        "nas": "bng",
        "protocol": "radius",
        "user_name": "alice",
        "acct_session_id": "one",
        "framed_ip": "192.0.2.1",
        "calling_station_id": "aa",
    }
    assert started.data == place
    times = {"started_at": AT, "ended_at": AT + 60.0}
    charged = {"charged_input_octets": 10, "charged_output_octets": 20}
    assert stopped.data == {**place, "terminate_cause": 1, **times, **usage, **charged}
    assert (started.subject, started.service_id, started.cause.actor) == (str(session.id), "alice", "accounting")


def test_a_session_of_nobody_is_told_as_its_nas_s_operator() -> None:
    it = Field()
    it.report(Status.START, user_name=b"who", nas=it.nas(operator="brand"))
    (event,) = it.events("session.started")
    assert (event.operator, event.service_id, event.data["adopted"]) == ("brand", "", True)


def test_a_repeated_start_and_an_address_known_late_are_no_new_beginning() -> None:
    it = Field()
    it.service(plan=PLAN)
    it.online()
    it.report(Status.START)
    it.report(Status.INTERIM, at=60.0, session_time_s=60, framed_ip=b"\xc0\x00\x02\x01")
    it = it.restart()
    it.report(Status.INTERIM, at=120.0, session_time_s=120, framed_ip=b"\xc0\x00\x02\x02")
    it.settle()
    assert len(it.events("session.started")) == 1


BACKUP = """
[[rule]]
name = "asleep"
when = 'plan.kind == "mobile" and "internet" in subscriber.online_kinds'
then = { rate_max = "64k/64k" }
"""


def test_a_backup_wakes_up_when_the_fixed_line_goes_down_and_sleeps_when_it_is_back() -> None:
    it = Field(policy=compile_texts({"test.toml": BACKUP}))
    it.service("fibre", plan=PLAN)
    it.put("plan", "lte", kind="mobile", **PLAN)
    login = [{"type": "password", "username": "sim", "cleartext": "secret"}]
    it.put("service", "sim", subscriber_id="fibre", plan_id="lte", credentials=login)
    it.online("sim", b"sim", calling_station=b"s")
    it.online("fibre", b"fibre", calling_station=b"f")
    assert it.far.rate() == 64_000
    it.answer()
    it.report(Status.STOP, b"fibre", at=10.0, user_name=b"fibre")
    it.settle(10)
    assert it.far.rate() == 1_000_000


def test_silent_sessions_are_closed_piece_by_piece() -> None:
    it = Field()
    count = 3 * CLOSED_AT_ONCE_COUNT_MAX
    for number in range(count):
        it.report(Status.START, b"%d" % number, user_name=b"%d" % number)
    liveness = Liveness(it.store, it.addresses, it.settings, 0.0, lambda *_: None, 3600.0)
    at = AT + it.settings.session_silence_s + 1
    closed = []
    more = liveness.tick(at)
    while True:
        live = sum(session.state == ACTIVE for session in it.store.sessions.values())
        closed.append(count - sum(closed) - live)
        if not more:
            break
        more = liveness.go_on(at)
    assert sum(closed) == count
    assert max(closed) <= CLOSED_AT_ONCE_COUNT_MAX
    assert len(it.events("session.stopped")) == count


def test_a_backup_hears_of_two_sessions_that_begin_at_once() -> None:
    it = Field(policy=compile_texts({"test.toml": BACKUP}))
    it.service("fibre", plan=PLAN)
    it.put("plan", "lte", kind="mobile", **PLAN)
    login = [{"type": "password", "username": "sim", "cleartext": "secret"}]
    it.put("service", "sim", subscriber_id="fibre", plan_id="lte", credentials=login)
    it.online("sim", b"sim", calling_station=b"s")
    for key in (b"one", b"two"):
        record = AccountingRecord(it.nas(), int(Status.START), key, AT, AT)
        record.user_name, record.calling_station = b"fibre", key
        apply_accounting(it.store, record)
    it.addresses.settle(AT)
    it.settle()
    assert it.far.rate() == 64_000


def test_a_session_closed_twice_in_a_batch_is_told_once() -> None:
    it = Field()
    it.service(plan=PLAN)
    session = it.online()
    end_session(it.store, session, AT, 2, False, AT)
    record = AccountingRecord(it.nas(), int(Status.INTERIM), b"one", AT + 60, AT + 60)
    record.user_name, record.session_time_s, record.token_session = b"alice", 60, session.token
    apply_accounting(it.store, record)
    end_session(it.store, session, AT + 60, 2, False, AT + 60)
    it.addresses.settle(AT + 60)
    assert len(it.events("session.stopped")) == 1


def test_what_is_reported_after_a_session_was_closed_here_is_told() -> None:
    it = Field()
    it.service(plan=PLAN)
    session = it.online()
    end_session(it.store, session, AT, 2, False, AT)
    it.settle()
    it.report(Status.STOP, at=60.0, session_time_s=60, input_octets=10, output_octets=20, terminate_cause=1)
    it.report(Status.STOP, at=60.0, session_time_s=60, input_octets=10, output_octets=20, terminate_cause=1)
    it.settle(60)
    told = [(event.data["terminate_cause"], event.data["output_octets"]) for event in it.events("session.stopped")]
    assert told == [(2, 0), (1, 20)]


def test_a_place_that_is_known_late_counts() -> None:
    rule = """
[[rule]]
name = "line"
when = 'session.circuit_id == "slow"'
then = { rate_max = "64k/64k" }
"""
    it = Field(policy=compile_texts({"test.toml": rule}))
    it.service(plan=PLAN)
    session = it.online()
    it.report(Status.INTERIM, at=60.0, session_time_s=60, circuit_id=b"slow", token_session=session.token)
    it.settle(60)
    assert it.far.rate() == 64_000
