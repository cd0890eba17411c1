"""Changes become true on the network: what is sent for a session, in which order, and what each answer leads to."""

from __future__ import annotations

import pytest

from aaa.engine.enforce import Scan
from aaa.limits import CLOSED_AT_ONCE_COUNT_MAX, ENFORCE_STOP_GRACE_S
from aaa.model.accounting import Status
from aaa.model.enforcement import Reply
from aaa.model.events import SERVER, Cause
from aaa.model.records import ACTIVE, DECISION_MARK, ENDED, SessionRecord
from aaa.state.schema import Row
from aaa.state.sessions import end_session
from tests.engine.far_end import ACK, TIMEOUT, Field, nak
from tests.engine.site import AT

PLAN = {"rate": {"down_bps": 1_000_000, "up_bps": 1_000_000}}


def field(**options: object) -> Field:
    """A field with the service alice on a plan of 1 Mbit/s."""
    made = Field(**options)  # type: ignore[arg-type]
    made.service(plan=PLAN)
    return made


def converged(session: SessionRecord) -> bool:
    """Whether the network has confirmed what is desired."""
    confirmed, desired = session.decision, session.desired
    same = confirmed is not None and desired is not None and confirmed.id == desired.id
    assert same == (not session.diverged_at)
    return same


# Nothing to do


def test_a_session_runs_under_what_its_accept_carried() -> None:
    it = field()
    session = it.online()
    assert converged(session)
    assert it.far.sent == []
    assert not list(it.enforcer.divergent())


def test_a_change_that_the_nas_cannot_see_is_confirmed_without_a_packet() -> None:
    it = field()
    session = it.online()
    it.put("plan", "home", **PLAN, session_timeout=3600)
    it.settle()
    assert it.far.sent == []
    assert converged(session)


def test_a_change_back_before_anything_was_sent_sends_nothing() -> None:
    it = field()
    session = it.online()
    it.far.rooms["bng"] = 0
    it.rate(down_bps=2_000_000)
    it.settle()
    it.rate(down_bps=1_000_000)
    it.far.rooms.clear()
    it.settle()
    assert it.far.sent == []
    assert converged(session)


# The happy path


def test_a_change_is_sent_once_durable_and_confirmed_by_its_ack() -> None:
    it = field()
    session = it.online()
    it.store.cause = Cause("crm/anna", "c-1", 7)
    it.rate()
    it.engine.settle(it.now)
    assert it.far.sent == []
    (number,) = it.enforcer.open_of(it.store.services["alice"])
    assert not converged(session)
    it.settle()
    assert it.far.actions == ["coa"]
    assert it.far.rate() == 2_000_000
    assert [why for _, why, _ in it.enforcer.divergent()] == ["coa sent, no answer yet"]
    it.now += 0.25
    it.answer(ACK)
    assert converged(session)
    (event,) = it.events("policy.enforced")
    assert event.subject == "alice"
    assert event.cause.actor == "crm/anna"
    assert event.cause.correlation_id == "c-1"
    assert event.data == {
        "enforcement_id": number,
        "session_id": str(session.id),
        "nas": "bng",
        "action": "coa",
        "reason": "rate",
        "result": "ack",
        "attempts": 1,
        "took_s": 0.25,
    }
    rows = it.db.execute("SELECT id, state, correlation_id FROM enforcement").fetchall()
    assert rows == [(number, "done", "c-1")]


def test_a_service_that_is_suspended_loses_its_session() -> None:
    it = field()
    session = it.online()
    it.state("suspended")
    it.settle()
    assert it.far.actions == ["disconnect"]
    it.answer(ACK)
    assert session.state == ACTIVE
    it.report(Status.STOP, at=1.0)
    it.settle(1.0)
    assert session.state == ENDED
    assert len(it.events("session.stopped")) == 1


def test_a_disconnected_session_whose_stop_never_comes_is_closed_after_a_grace() -> None:
    it = field()
    session = it.online()
    it.state("suspended")
    it.settle()
    it.answer(ACK)
    it.settle(ENFORCE_STOP_GRACE_S - 1)
    assert session.state == ACTIVE
    it.settle(1.1)
    assert session.state == ENDED
    assert session.terminate_cause == 6


def test_a_disconnected_session_that_speaks_again_is_disconnected_again() -> None:
    it = field()
    session = it.online()
    it.state("suspended")
    it.settle()
    it.answer(ACK)
    it.settle(ENFORCE_STOP_GRACE_S + 1)
    it.report(Status.INTERIM, at=it.now - AT, session_time_s=60)
    it.settle()
    assert session.state == ACTIVE
    assert it.far.actions == ["disconnect", "disconnect"]


def test_a_deleted_service_loses_its_session() -> None:
    it = field()
    session = it.online()
    it.delete("service", "alice")
    it.settle()
    assert it.far.actions == ["disconnect"]
    it.answer(nak(503))
    assert session.state == ENDED


def test_the_end_of_a_deleted_services_session_still_says_whose_it_was_and_which_deletion_ended_it() -> None:
    it = field()
    it.online()
    it.delete("service", "alice")
    deletion = it.store.last_audit
    it.settle()
    it = it.restart()
    it.settle()
    it.answer(ACK)
    it.report(Status.STOP, at=it.now - AT, output_octets=5)
    it.settle(1.0)
    for kind in ("policy.enforced", "session.stopped"):
        (event,) = it.events(kind)
        assert (event.service_id, event.subscriber_id, event.operator) == ("alice", "alice", "default"), kind
    (enforced,) = it.events("policy.enforced")
    assert (enforced.subject, enforced.cause.audit) == ("alice", deletion)


def test_a_session_knows_since_when_it_runs_under_its_decision() -> None:
    it = field()
    session = it.online()
    assert (session.diverged_at, session.converged_at) == (0.0, 0.0)
    it.settle(5.0)
    it.rate()
    it.settle()
    assert (session.diverged_at, session.converged_at) == (it.now, 0.0)
    it.settle(1.0)
    it.answer(ACK)
    assert (session.diverged_at, session.converged_at) == (0.0, it.now)


def test_what_used_up_volume_changes_is_the_quotas_doing() -> None:
    it = Field()
    throttle = {"throttle": {"down_bps": 64_000, "up_bps": 64_000}}
    it.service(plan={**PLAN, "quota": {"octets": 1000, "period": "month"}, "on_exhausted": [throttle]})
    it.online()
    it.report(Status.INTERIM, at=60.0, output_octets=1000)
    it.settle()
    it.answer(ACK)
    (event,) = it.events("policy.enforced")
    assert event.cause.actor == "quota"


def test_a_start_whose_accept_carried_another_decision_is_enforced_at_once() -> None:
    it = field()
    nas = it.nas()
    outcome = it.login()
    assert outcome.decision is not None
    old = outcome.decision
    it.rate()
    # A look at the service decides anew; the session still began under what its Accept carried.
    it.decisions.of(it.store.services["alice"], it.now)
    token = {"token_session": outcome.session_id, "token_service": 1, "token_decision": old.id & 0xFFFFFFFF}
    it.report(Status.START, **token)
    it.settle()
    assert it.far.actions == ["coa"]
    assert it.far.sent[0].confirmed is old
    it.answer(ACK)
    assert converged(nas.sessions[b"one"])


def test_a_session_whose_service_is_pushed_later_is_left_as_it_is() -> None:
    it = field()
    it.report(Status.START, user_name=b"bob", token_session=0)
    it.settle()
    it.service("bob")
    it.report(Status.INTERIM, at=60.0, user_name=b"bob", session_time_s=60)
    it.settle(60.0)
    assert it.far.sent == []
    it.rate("bob")
    it.settle()
    assert it.far.actions == ["coa"]


# Superseding


def test_a_newer_change_takes_the_place_of_one_that_was_not_sent() -> None:
    it = field()
    session = it.online()
    it.far.rooms["bng"] = 0
    it.rate(down_bps=2_000_000)
    it.settle()
    (first,) = it.enforcer.open_of(it.store.services["alice"])
    it.rate(down_bps=3_000_000)
    it.settle()
    found = it.enforcer.get(first)
    assert found is not None
    assert (found.state, found.result, found.attempts) == ("superseded", "superseded", 0)
    it.far.rooms.clear()
    it.settle()
    assert it.far.actions == ["coa"]
    assert it.far.rate() == 3_000_000
    it.answer(ACK)
    assert converged(session)


def test_a_newer_change_follows_what_is_under_way() -> None:
    it = field()
    session = it.online()
    it.rate(down_bps=2_000_000)
    it.settle()
    it.rate(down_bps=3_000_000)
    it.settle()
    assert len(it.far.sent) == 1
    assert "waits for the answer" in next(why for _, why, _ in it.enforcer.divergent())
    it.answer(ACK)
    assert [it.far.rate(index) for index in range(2)] == [2_000_000, 3_000_000]
    assert it.far.sent[1].confirmed is it.far.sent[0].desired
    it.answer(ACK)
    assert converged(session)


def test_a_change_back_while_the_first_is_under_way_is_sent_after_it() -> None:
    it = field()
    session = it.online()
    it.rate(down_bps=2_000_000)
    it.settle()
    it.rate(down_bps=1_000_000)
    it.settle()
    it.answer(ACK)
    assert [it.far.rate(index) for index in range(2)] == [2_000_000, 1_000_000]
    it.answer(ACK)
    assert converged(session)


def test_a_change_to_what_is_under_way_anyway_needs_nothing_more() -> None:
    it = field()
    session = it.online()
    it.rate(down_bps=2_000_000)
    it.settle()
    it.rate(down_bps=3_000_000)
    it.rate(down_bps=2_000_000)
    it.settle()
    it.answer(ACK)
    assert len(it.far.sent) == 1
    assert converged(session)
    assert it.store.enforcements == {}


def test_what_follows_a_change_that_timed_out_is_sent_whole() -> None:
    it = field()
    it.online()
    it.rate(down_bps=2_000_000)
    it.settle()
    it.rate(down_bps=3_000_000)
    it.settle()
    it.answer(TIMEOUT)
    assert it.far.rate() == 3_000_000
    assert it.far.sent[1].confirmed is None


def test_a_suspension_while_a_coa_is_under_way_disconnects_after_it() -> None:
    it = field()
    it.online()
    it.rate()
    it.settle()
    it.state("suspended")
    it.settle()
    assert it.far.actions == ["coa"]
    it.answer(ACK)
    assert it.far.actions == ["coa", "disconnect"]


def test_a_change_after_the_disconnect_was_acknowledged_is_for_the_next_session() -> None:
    it = field()
    it.online()
    it.state("suspended")
    it.settle()
    it.state("active")
    it.settle()
    it.answer(ACK)
    assert it.far.actions == ["disconnect"]
    assert it.store.enforcements == {}


def test_a_late_success_after_superseding_counts_for_what_it_confirmed() -> None:
    it = field()
    session = it.online()
    it.rate(down_bps=2_000_000)
    it.settle()
    first = it.far.waiting[0].session.enforcement
    it.rate(down_bps=3_000_000)
    it.settle()
    it.answer(ACK)
    assert first is not None
    assert (first.state, first.result) == ("done", "ack")
    assert session.decision is first.desired


# The ladder


def test_a_session_that_the_nas_does_not_know_is_closed() -> None:
    it = field()
    session = it.online()
    it.rate()
    it.settle()
    it.answer(nak(503))
    assert session.state == ENDED
    assert session.terminate_cause == 2
    assert it.events("policy.enforced")[0].data["result"] == "session_gone"
    assert it.store.enforcements == {}


@pytest.mark.parametrize("cause", [401, 402, 404, 405, 407, 501])
def test_a_coa_that_the_nas_refuses_is_followed_by_a_disconnect(cause: int) -> None:
    it = field()
    session = it.online()
    it.rate()
    it.settle()
    it.answer(nak(cause))
    assert it.far.actions == ["coa", "disconnect"]
    (event,) = it.events("enforcement.failed")
    assert (event.data["action"], event.data["result"], event.data["error_cause"]) == ("coa", "refused", cause)
    assert session.decision is None
    it.answer(ACK)
    assert it.events("policy.enforced")[0].data["attempts"] == 2


def test_a_refused_coa_is_given_up_where_nothing_escalates() -> None:
    it = field(escalate="never")
    session = it.online()
    it.rate()
    it.settle()
    it.answer(nak(404))
    assert it.far.actions == ["coa"]
    assert it.store.enforcements == {}
    assert [why for _, why, _ in it.enforcer.divergent()] == ["coa refused (404)"]
    it.enforcer.use(it.enforcer.settings)
    it.settle()
    assert it.far.actions == ["coa", "coa"]
    it.answer(ACK)
    assert converged(session)


def test_a_disconnect_that_the_nas_refuses_is_given_up_and_told() -> None:
    it = field()
    it.online()
    it.state("suspended")
    it.settle()
    it.answer(nak(501))
    it.settle(1000)
    assert it.far.actions == ["disconnect"]
    assert it.events("enforcement.failed")[0].data["action"] == "disconnect"


@pytest.mark.parametrize("reply", [nak(506), nak(0)])
def test_a_nas_that_cannot_now_is_asked_again_and_then_disconnected(reply: Reply) -> None:
    it = field()
    session = it.online()
    it.rate()
    it.settle()
    it.answer(reply)
    assert session.decision is None
    it.settle(0.9)
    assert it.far.actions == ["coa"]
    it.settle(0.2)
    it.answer(reply)
    it.settle(2.1)
    it.answer(reply)
    assert it.far.actions == ["coa", "coa", "coa", "disconnect"]
    assert it.far.sent[1].confirmed is None


def test_a_silent_nas_is_asked_ever_less_often_and_told_as_failed_once() -> None:
    it = field()
    session = it.online()
    it.rate()
    it.settle()
    spans = []
    for _ in range(9):
        it.answer(TIMEOUT)
        waited = 0.0
        while not it.far.waiting:
            it.settle(0.5)
            waited += 0.5
        spans.append(waited)
    assert spans == [1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 300.0, 300.0, 300.0]
    assert set(it.far.actions) == {"coa"}
    (event,) = it.events("enforcement.failed")
    assert (event.data["result"], event.data["attempts"]) == ("unreachable", 3)
    assert session.enforcement is not None
    assert len(session.enforcement.log) == 8
    it.answer(ACK)
    assert converged(session)


def test_a_nas_that_answers_gets_at_once_what_waited_for_it() -> None:
    it = field()
    it.service("bob")
    it.online()
    it.online("bob", b"two", calling_station=b"2")
    it.rate()
    it.settle()
    for _ in range(5):
        it.answer(TIMEOUT)
        it.settle(61.0)
    it.answer(TIMEOUT)
    it.rate("bob")
    it.settle()
    assert [sent.session.key for sent in it.far.waiting] == [b"two"]
    it.answer(ACK)
    assert [sent.session.key for sent in it.far.waiting] == [b"one"]


def test_accounting_from_a_silent_nas_brings_one_attempt() -> None:
    it = field()
    it.online()
    it.rate()
    it.settle()
    for _ in range(5):
        it.answer(TIMEOUT)
        it.settle(61.0)
    it.answer(TIMEOUT)
    it.report(Status.INTERIM, at=it.now - AT, session_time_s=int(it.now - AT))
    it.settle()
    assert len(it.far.waiting) == 1


def test_an_error_is_like_silence() -> None:
    it = field()
    it.online()
    it.rate()
    it.settle()
    it.answer(Reply("error", detail="no such NAS"))
    it.settle(1.1)
    assert it.far.actions == ["coa", "coa"]


def test_a_session_that_ends_while_asked_needs_nothing_more() -> None:
    it = field()
    it.online()
    it.state("suspended")
    it.settle()
    it.report(Status.STOP, at=1.0)
    it.settle(1.0)
    assert len(it.store.enforcements) == 1
    it.answer(TIMEOUT)
    assert it.store.enforcements == {}
    assert it.events("policy.enforced")[0].data["result"] == "session_over"
    it.settle(100)
    assert it.far.actions == ["disconnect"]


# Adopted sessions


def test_nothing_is_sent_to_an_adopted_session_before_its_decision_changes() -> None:
    it = field()
    it.report(Status.INTERIM, session_time_s=60)
    it.settle()
    session = it.nas().sessions[b"one"]
    assert session.adopted
    assert session.decision is None
    it.put("subscriber", "alice", name="Alice")
    it.settle(10)
    assert it.far.sent == []
    it.rate()
    it.settle()
    assert it.far.actions == ["coa"]
    assert it.far.sent[0].confirmed is None
    it.answer(ACK)
    assert converged(session)


def test_what_was_desired_of_an_adopted_session_outlives_a_restart() -> None:
    it = field()
    it.report(Status.INTERIM, session_time_s=60)
    it.settle()
    it.rate()
    it = it.restart()
    it.settle()
    assert it.far.actions == ["coa"]


def test_adopted_sessions_are_enforced_slowly_where_the_nas_is_configured_so() -> None:
    it = field()
    nas = it.nas(enforce_adopted=True)
    for number in range(30):
        it.service(f"u{number}")
        key = b"%d" % number
        it.report(Status.INTERIM, key, nas=nas, user_name=b"u%d" % number, session_time_s=60, calling_station=key)
    it.settle()
    early = len(it.far.sent)
    assert early <= 2
    for _ in range(100):
        it.settle(0.02)
    assert early + 15 <= len(it.far.sent) <= early + 20
    for _ in range(100):
        it.settle(0.1)
    assert len(it.far.sent) == 30


def test_adopted_sessions_are_enforced_on_after_a_restart() -> None:
    it = field()
    nas = it.nas()
    for number in range(3):
        it.service(f"u{number}")
        key = b"%d" % number
        it.report(Status.INTERIM, key, nas=nas, user_name=b"u%d" % number, session_time_s=60, calling_station=key)
    it.settle()
    it = it.restart()
    assert it.far.sent == []
    it = it.restart(nases={"enforce_adopted": True})
    for _ in range(10):
        it.settle(0.1)
    assert len(it.far.sent) == 3


# Asked for


def test_a_disconnect_that_somebody_asks_for_is_a_receipt_too() -> None:
    it = field()
    session = it.online()
    it.store.cause = Cause("support/bo")
    number = it.enforcer.disconnect(session, "asked for", it.now)
    assert it.enforcer.disconnect(session, "asked for", it.now) == number
    it.rate()
    it.settle()
    assert it.far.actions == ["disconnect"]
    it.answer(ACK)
    assert it.events("policy.enforced")[0].cause.actor == "support/bo"
    it.report(Status.STOP, at=1.0)
    it.settle(1.0)
    assert session.state == ENDED


def test_reauthorize_sends_everything_again() -> None:
    it = field()
    session = it.online()
    number = it.enforcer.reauthorize(session, it.now)
    it.settle()
    assert it.far.actions == ["coa"]
    assert it.far.sent[0].confirmed is None
    done: list[int] = []
    it.enforcer.watch([number], lambda: done.append(1))
    assert not done
    it.answer(ACK)
    assert done == [1]


def test_whoever_waits_is_called_when_all_are_final() -> None:
    it = field()
    it.service("bob")
    it.online()
    it.online("bob", b"two", calling_station=b"2")
    before = it.store.last_enforcement
    it.rate()
    it.rate("bob")
    it.engine.settle(it.now)
    numbers = it.enforcer.since(before)
    assert len(numbers) == 2
    done: list[int] = []
    it.enforcer.watch(numbers, lambda: done.append(1))
    it.enforcer.watch(numbers, lambda: done.append(2)).cancel()
    it.settle()
    it.answer(ACK)
    assert not done
    it.answer(nak(503))
    assert done == [1]
    it.enforcer.watch(numbers, lambda: done.append(3))
    assert done == [1, 3]


# Restart


def test_an_open_change_is_sent_after_a_restart() -> None:
    it = field()
    it.online()
    it.rate()
    it.engine.settle(it.now)
    it = it.restart()
    assert it.far.actions == ["coa"]
    # Whether it had left before is not known.
    assert it.far.sent[0].confirmed is None
    it.answer(ACK)
    assert converged(it.nas().sessions[b"one"])
    assert it.db.execute("SELECT count(*), min(state) FROM enforcement").fetchall() == [(1, "done")]


def test_a_change_that_was_sent_and_not_answered_is_sent_again_after_a_restart() -> None:
    it = field()
    it.online()
    it.state("suspended")
    it.settle()
    it = it.restart()
    assert it.far.actions == ["disconnect"]
    it.answer(ACK)
    it.settle(ENFORCE_STOP_GRACE_S + 1)
    assert it.nas().sessions[b"one"].state == ENDED


def test_a_session_disconnected_before_a_restart_is_closed_after_it() -> None:
    it = field()
    it.online()
    it.state("suspended")
    it.settle()
    it.answer(ACK)
    it = it.restart()
    assert it.far.sent == []
    it.settle(ENFORCE_STOP_GRACE_S + 1)
    assert it.nas().sessions[b"one"].state == ENDED


def test_what_changed_without_an_enforcement_is_found_after_a_restart() -> None:
    it = field()
    it.online()
    # Durable, but the process ends before the engine looks.
    it.rate()
    it = it.restart()
    assert it.far.actions == ["coa"]
    assert it.far.sent[0].confirmed is not None


def test_a_converged_session_stays_so_over_a_restart() -> None:
    it = field()
    it.online()
    it.rate()
    it.settle()
    it.answer(ACK)
    it = it.restart()
    assert it.far.sent == []
    assert converged(it.nas().sessions[b"one"])


def test_a_change_after_a_restart_supersedes_the_one_before() -> None:
    it = field()
    it.online()
    it.far.rooms["bng"] = 0
    it.rate(down_bps=2_000_000)
    it.settle()
    it.rate(down_bps=3_000_000)
    it = it.restart()
    assert [it.far.rate(index) for index in range(len(it.far.sent))] == [3_000_000]
    rows = it.db.execute("SELECT state FROM enforcement ORDER BY id").fetchall()
    assert rows == [("superseded",), ("pending",)]


# Many at once


def test_a_change_of_one_service_overtakes_a_change_of_the_plan() -> None:
    it = field()
    it.online()
    for number in range(50):
        it.service(f"u{number}")
        it.online(f"u{number}", b"%d" % number, calling_station=b"%d" % number)
    it.far.rooms["bng"] = 0
    it.put("plan", "home", rate={"down_bps": 5_000_000, "up_bps": 1_000_000})
    it.settle()
    assert len(it.store.enforcements) == 51
    it.rate("u49", 7_000_000)
    it.settle()
    it.far.rooms["bng"] = 3
    it.settle()
    assert it.far.rate(0) == 7_000_000
    assert len(it.far.sent) == 3


def test_a_slow_nas_does_not_hold_up_another() -> None:
    it = field()
    slow, quick = it.nas("slow"), it.nas("quick")
    for number in range(20):
        it.service(f"u{number}")
        nas = slow if number < 10 else quick
        it.online(f"u{number}", b"%d" % number, nas=nas, calling_station=b"%d" % number)
    it.far.rooms["slow"] = 1
    it.put("plan", "home", rate={"down_bps": 5_000_000, "up_bps": 1_000_000})
    it.settle()
    by_nas = [sent.session.nas.name for sent in it.far.sent]
    assert (by_nas.count("slow"), by_nas.count("quick")) == (1, 10)


def test_a_change_of_the_plan_is_worked_off_in_slices() -> None:
    it = field()
    for number in range(200):
        it.service(f"u{number}")
        it.online(f"u{number}", b"%d" % number, calling_station=b"%d" % number)
    it.put("plan", "home", rate={"down_bps": 5_000_000, "up_bps": 1_000_000})
    opened = []
    while True:
        before = it.store.last_enforcement
        it.engine.settle(it.now)
        it.disk.settle()
        opened.append(it.store.last_enforcement - before)
        if not it.enforcer.scans:
            break
    assert sum(opened) == 200
    assert max(opened) < 20


# Renewal


def expiring(it: Field, at: float) -> None:
    body = it.store.services["alice"].body
    it.put("service", "alice", subscriber_id=body.subscriber_id, plan_id=body.plan_id, expires_at=at)
    it.settle()


def test_a_renewed_service_keeps_its_session() -> None:
    it = field()
    expiring(it, AT + 1000)
    session = it.online()
    it.settle()
    assert (it.far.sent, session.ends_at) == ([], AT + 1000)
    expiring(it, AT + 90_000)
    (sent,) = it.far.sent
    assert (sent.action, session.enforcement is not None) == ("coa", True)
    it.answer(Reply("ack", ends_at=AT + 90_000))
    assert (session.ends_at, session.diverged_at) == (AT + 90_000, 0.0)
    it.settle(2000)
    assert len(it.far.sent) == 1
    assert session.state == ACTIVE


def test_what_the_nas_was_told_of_the_end_outlives_a_restart() -> None:
    it = field()
    expiring(it, AT + 1000)
    it.online()
    it = it.restart()
    expiring(it, AT + 90_000)
    assert [sent.action for sent in it.far.sent] == ["coa"]


def test_an_end_that_comes_earlier_is_left_to_time() -> None:
    it = field()
    expiring(it, AT + 90_000)
    it.online()
    expiring(it, AT + 1000)
    assert it.far.sent == []
    it.settle(1001)
    assert [sent.action for sent in it.far.sent] == ["disconnect"]


# Services that are gone


def test_a_session_that_was_closed_here_and_speaks_again_after_its_service_was_deleted_is_disconnected() -> None:
    it = field()
    session = it.online()
    end_session(it.store, session, it.now, 2, False, it.now)
    it.settle()
    it.delete("service", "alice")
    it.settle()
    it.report(Status.INTERIM, at=60.0, session_time_s=60, token_session=session.token)
    it.settle(60)
    assert session.state == ACTIVE
    assert it.far.actions == ["disconnect"]


def test_a_session_of_a_deleted_service_that_outlives_its_disconnect_is_disconnected_again() -> None:
    it = field()
    session = it.online()
    it.delete("service", "alice")
    it.settle()
    it.answer(ACK)
    it.settle(ENFORCE_STOP_GRACE_S + 1)
    assert session.state == ENDED
    it = it.restart()
    it.report(Status.INTERIM, at=60.0, session_time_s=60, token_session=session.token)
    it.settle(60)
    assert it.far.actions == ["disconnect"]


@pytest.mark.parametrize(("state", "actions"), [("active", []), ("suspended", ["disconnect"])])
def test_a_change_between_accept_and_a_start_that_is_lost_is_made_up_for(state: str, actions: list[str]) -> None:
    it = field()
    outcome = it.login()
    assert outcome.decision is not None
    it.state(state)
    it.settle()
    mark = outcome.decision.id & DECISION_MARK
    token = {"token_session": outcome.session_id, "token_service": it.store.services["alice"].no}
    it.report(Status.INTERIM, at=60.0, session_time_s=60, token_decision=mark, **token)
    it.settle(60)
    assert it.far.actions == actions


@pytest.mark.parametrize("plan", [PLAN, {**PLAN, "simultaneous_use": 1}])
def test_a_session_that_begins_after_its_service_was_deleted_is_disconnected(plan: dict[str, object]) -> None:
    it = Field()
    service = it.service(plan=plan)
    outcome = it.login()
    it.delete("service", "alice")
    it.settle()
    it.report(Status.START, at=1.0, token_session=outcome.session_id, token_service=service.no, token_decision=1)
    it.settle(1)
    assert it.far.actions == ["disconnect"]


def test_a_deletion_whose_disconnect_was_not_written_is_carried_out_after_a_restart() -> None:
    it = field()
    it.online()
    it.delete("service", "alice")
    it.disk.settle()
    it = it.restart(durable=False)
    assert it.far.actions == ["disconnect"]


def test_the_disconnect_that_a_deletion_causes_names_it() -> None:
    it = field()
    it.online()
    it.store.cause = Cause("crm/anna", "c-1")
    it.delete("service", "alice")
    deletion = it.store.last_audit
    it.store.cause = SERVER
    it.settle()
    receipt = it.far.sent[0].session.enforcement
    assert receipt is not None
    assert receipt.cause == Cause("crm/anna", "c-1", deletion)


# Nothing leaves too early, nothing stays for ever


def test_what_follows_an_answer_waits_for_the_disk_as_well() -> None:
    it = field()
    it.online()
    it.service("bob")
    it.online("bob", b"two")
    it.rate()
    it.settle()
    it.rate(down_bps=3_000_000)
    it.engine.settle(it.now)
    it.store.journal.flush()
    it.rate("bob")
    it.engine.settle(it.now)
    it.far.waiting.pop(0).done(ACK)
    it.engine.settle(it.now)
    assert it.far.actions == ["coa"]
    it.disk.settle()
    it.settle()
    assert it.far.actions == ["coa", "coa", "coa"]


def test_nothing_is_remembered_of_a_silent_nas_whose_sessions_end() -> None:
    it = field()
    session = it.online()
    it.rate()
    it.settle()
    it.answer(TIMEOUT)
    it.report(Status.STOP, at=1.0)
    it.settle(1)
    assert session.state == ENDED
    assert not it.enforcer.queues[session.nas].silent


def test_whoever_waits_in_vain_again_and_again_is_forgotten() -> None:
    it = field()
    it.online()
    it.far.rooms["bng"] = 0
    it.rate()
    it.settle()
    numbers = it.enforcer.open_of(it.store.services["alice"])
    for _ in range(10):
        it.enforcer.watch(numbers, lambda: None).cancel()
    assert sum(map(len, it.enforcer._watches.values())) <= 1


def test_many_stops_that_never_come_are_made_up_for_piece_by_piece() -> None:
    it = field()
    for number in range(CLOSED_AT_ONCE_COUNT_MAX + 1):
        it.service(f"s{number}")
        session = it.online(f"s{number}", b"%d" % number)
        it.enforcer.ending[session.id] = it.now + 1
    it.now += 2
    it.engine.tick(it.now)
    assert len(it.enforcer.ending) == 1
    it.engine.tick(it.now)
    assert not it.enforcer.ending


def test_a_request_that_cannot_be_made_is_an_error_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    it = field()
    session = it.online()

    def odd(*args: object) -> bool:
        raise ValueError("odd")

    monkeypatch.setattr(it.far, "change", odd)
    it.rate()
    it.settle()
    monkeypatch.undo()
    assert session.enforcement is not None
    assert session.enforcement.log[0].detail == "ValueError: odd"
    it.settle(1)
    it.answer(ACK)
    assert converged(session)


def test_changes_of_many_plans_are_one_walk() -> None:
    it = field()
    for number in range(100):
        it.put("plan", f"p{number}", **PLAN)
    it.put("plan", "home", **PLAN)
    for plan in it.store.plans.values():
        it.store.affected_plans[plan] = SERVER
    it.store.journal.append(Row.META, ("crowd", ""))
    it.enforcer.scans.append(Scan(None, SERVER, False))
    it.enforcer.settle(it.now)
    assert len(it.enforcer.scans) <= 2
