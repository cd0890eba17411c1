"""The ladder of LTE: what is sent for bearers, registrations and charging sessions, and which of them is charged."""

from __future__ import annotations

from aaa.limits import ENFORCE_BACK_OFF_S, ENFORCE_FAILED_AFTER, ENFORCE_RELEASE_GRACE_S
from aaa.model.enforcement import Reply
from aaa.model.mobile import FACTS, GX, GY, S6A, Mobile
from aaa.model.records import ACTIVE, ENDED, SessionRecord
from aaa.state.mobile import bar_imsi, client_of, new_session, open_session
from aaa.state.sessions import end_session
from tests.engine.far_end import ACK, Field, nak

IMSI = "001010000000001"
PLAN = {"kind": "mobile", "rate": {"down_bps": 1_000_000, "up_bps": 1_000_000}}
OVER = Reply("ack", over=True)


def field(**plan: object) -> Field:
    """A field with the service alice on a mobile plan of 1 Mbit/s."""
    made = Field()
    made.service(plan=PLAN | plan)
    return made


def attach(it: Field, protocol: int, client: str, key: bytes) -> SessionRecord:
    """A session of the IMSI at a client, granted what is decided now."""
    service = it.store.services["alice"]
    facts: Mobile = FACTS[protocol](imsi=IMSI, realm="example", apn="" if protocol == S6A else "internet")
    session = new_session(it.store, protocol, client_of(it.store, client, "example", ""), key, service, facts, it.now)
    open_session(it.store, session, it.decisions.of_session(session, it.now))
    it.settle()
    return session


def bearer(it: Field) -> SessionRecord:
    return attach(it, GX, "smf.example", b"smf.example;1")


def registration(it: Field) -> SessionRecord:
    return attach(it, S6A, "mme.example", IMSI.encode())


def test_a_bearer_runs_under_what_its_first_answer_told() -> None:
    it = field()
    session = bearer(it)
    assert session.decision is session.desired
    assert it.far.sent == []
    (event,) = it.events("session.started")
    assert event.data["protocol"] == "gx"
    assert event.data["imsi"] == IMSI


def test_another_speed_reaches_a_bearer_as_a_change() -> None:
    it = field()
    session = bearer(it)
    it.rate(down_bps=2_000_000)
    it.settle()
    assert it.far.actions == ["coa"]
    it.answer(ACK)
    assert session.decision is session.desired


def test_a_suspended_service_loses_its_bearer_and_keeps_a_barred_registration() -> None:
    it = field()
    session, registered = bearer(it), registration(it)
    it.state("suspended")
    it.settle()
    assert {(sent.action, sent.session.protocol) for sent in it.far.sent} == {("disconnect", GX), ("coa", S6A)}
    it.answer(ACK, ACK)
    end_session(it.store, session, it.now, 1, True, it.now)
    it.settle(ENFORCE_RELEASE_GRACE_S + 1)
    assert registered.state == ACTIVE
    assert registered.decision is registered.desired
    assert len(it.far.sent) == 2


def test_a_gateway_that_does_not_release_a_bearer_is_bypassed_by_the_cancellation_of_the_registration() -> None:
    it = field()
    session, registered = bearer(it), registration(it)
    it.state("suspended")
    it.settle()
    it.answer(ACK, ACK)
    it.settle(ENFORCE_RELEASE_GRACE_S + 0.1)
    assert session.state == ENDED
    assert (it.far.sent[-1].action, it.far.sent[-1].session) == ("disconnect", registered)
    it.answer(OVER)
    assert registered.state == ENDED
    stopped = it.events("session.stopped")
    assert len(stopped) == 2
    # They were in use until then, whenever their clients last said anything.
    for event in stopped:
        assert event.data["ended_at"] == it.now
        assert event.data["session_time_s"] == int(ENFORCE_RELEASE_GRACE_S)


def test_a_bearer_that_waits_for_its_release_is_climbed_after_a_restart_too() -> None:
    it = field()
    bearer(it)
    it.state("suspended")
    it.settle()
    it.answer(ACK)
    again = it.restart()
    again.settle(ENFORCE_RELEASE_GRACE_S + 0.1)
    (session,) = again.store.sessions.values()
    assert session.state == ENDED


def test_a_registration_that_cannot_be_told_of_a_bar_is_cancelled() -> None:
    it = field()
    registered = registration(it)
    it.state("suspended")
    it.settle()
    it.answer(nak(404))
    assert it.far.actions == ["coa", "disconnect"]
    it.answer(OVER)
    assert registered.state == ENDED


def test_a_gateway_that_does_not_know_a_bearer_any_more_closes_it() -> None:
    it = field()
    session = bearer(it)
    it.rate()
    it.settle()
    it.answer(nak(503))
    assert session.state == ENDED


def test_what_waits_for_a_client_goes_out_when_it_is_connected_again() -> None:
    it = field()
    session = bearer(it)
    it.rate()
    it.settle()
    it.answer(Reply("timeout", detail="not connected"))
    assert len(it.far.sent) == 1
    it.enforcer.reachable(session.nas)
    it.settle()
    assert it.far.actions == ["coa", "coa"]


def test_a_sim_that_may_not_be_used_loses_registration_and_bearers() -> None:
    it = field()
    session, registered = bearer(it), registration(it)
    bar_imsi(it.store, it.store.services["alice"], IMSI, "its SIM was suspended")
    it.settle()
    assert {sent.session for sent in it.far.sent} == {session, registered}
    assert it.far.actions == ["disconnect", "disconnect"]


def test_a_denied_charging_session_is_told_and_not_ended() -> None:
    it = field()
    session = attach(it, GY, "smf.example", b"smf.example;2")
    it.state("suspended")
    it.settle()
    assert it.far.actions == ["coa"]
    it.answer(ACK)
    assert session.state == ACTIVE


def test_a_bearer_its_facts_and_who_is_charged_are_the_same_after_a_restart() -> None:
    it = field(quota={"octets": 1000})
    bearer(it)
    attach(it, GY, "smf.example", b"smf.example;2")
    again = it.restart()
    loaded = {session.protocol: session for session in again.store.sessions.values()}
    assert loaded[GX].shadowed
    assert loaded[GX].mobile.imsi == IMSI
    assert type(loaded[GY].mobile) is FACTS[GY]
    assert loaded[GX].nas.diameter
    assert loaded[GX].nas.realm == "example"
    assert again.far.sent == []


def test_a_registration_that_another_mme_took_over_is_forgotten_when_the_first_one_is_gone() -> None:
    it = field()
    registered = registration(it)
    registered.mobile.cancellation = 0
    bar_imsi(it.store, it.store.services["alice"], IMSI, "another MME serves it")
    it.settle()
    for attempt in range(ENFORCE_FAILED_AFTER):
        it.answer(Reply("timeout", detail="not connected"))
        it.settle(ENFORCE_BACK_OFF_S[attempt] + 0.1)
    assert registered.state == ENDED
    assert len(it.far.sent) == ENFORCE_FAILED_AFTER
    assert len(it.events("enforcement.failed")) == 1
