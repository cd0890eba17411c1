"""Requests that were overtaken, come again or share a Session-Id: each counts once, and is answered as before."""

from __future__ import annotations

from typing import Any

import pytest

from aaa.engine.authorize import AccessSettings
from aaa.engine.liveness import Liveness
from aaa.limits import GY_GRACE_S, SESSIONS_OF_SIM_MAX
from aaa.model.mobile import GX, GY, SY, GxFacts, GyFacts, SyFacts
from aaa.model.records import ACTIVE, ENDED, SessionRecord
from aaa.state.mobile import client_of, new_session, open_session, session_of
from aaa.state.sessions import add_octets
from tests.mapping.desk import configured
from tests.mapping.gx_site import IMSI, QUOTA, Pcef, result, shown, usage
from tests.mapping.gy_desk import EVENT, HOST, INITIAL, MB, UPDATE, Desk, Pairs, quota, service

WHO: Pairs = [
    ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", IMSI)]),
    ("Called-Station-Id", "internet"),
]


def live_bearers(it: Pcef) -> int:
    return sum(session.state == ACTIVE for session in it.store.sessions.values())


# Gx


def test_a_report_that_the_end_of_its_bearer_overtook_is_charged_and_opens_none() -> None:
    it = Pcef(QUOTA)
    it.initial()
    it.terminate(usage(1_000), number=2)
    for _ in range(2):
        assert result(it.update(usage(500), *WHO, number=1)) == 2001
        assert (it.used(), live_bearers(it)) == ((0, 1_500), 0)
        it = it.again()
    told = it.events("session.stopped")
    assert told[-1].data["output_octets"] == 1_500


def test_a_beginning_that_was_overtaken_by_an_update_changes_nothing_and_tells_everything() -> None:
    it = Pcef(QUOTA)
    it.update(usage(500), *WHO, ("Framed-IP-Address", "10.45.0.2"), number=1)
    update, session = it.last, it.session
    for _ in range(2):
        assert it.initial().has(1001, 10415)
        assert (it.session.id, it.session.mobile.number) == (session.id, 1)
    it.ask_octets(update)
    assert it.used() == (0, 500)


@pytest.mark.parametrize("restarted", [False, True])
def test_the_update_that_an_unknown_bearer_was_adopted_for_is_answered_the_same_again(restarted: bool) -> None:
    it = Pcef(QUOTA)
    first = it.update(usage(500), *WHO, ("Framed-IP-Address", "10.45.0.2"), number=4)
    octets = it.last
    it = it.again() if restarted else it
    assert shown(it.ask_octets(octets)) == shown(first)
    assert it.used() == (0, 500)


def test_an_update_that_was_overtaken_does_not_change_what_the_later_one_is_answered_again() -> None:
    it = Pcef(QUOTA)
    it.initial()
    first = it.update(usage(1_000_000), number=2)
    later = it.last
    it.update(usage(100), number=1)
    assert shown(it.ask_octets(later)) == shown(first)


# One Session-Id


@pytest.mark.parametrize("order", [(GX, GY, SY), (SY, GY, GX), (GY, GX, SY)])
def test_sessions_of_several_applications_may_share_their_session_id(order: tuple[int, ...]) -> None:
    it = Desk(quota(10 * MB))
    it.enforcer.network = it.far
    nas = client_of(it.store, HOST, "epc.example", "")
    facts: dict[int, Any] = {GX: GxFacts, GY: GyFacts, SY: SyFacts}
    made: dict[int, SessionRecord] = {}
    for protocol in order:
        one = facts[protocol](imsi=IMSI, realm="epc.example", apn="internet")
        made[protocol] = new_session(it.store, protocol, nas, b"same", it.store.services["erin"], one, it.now)
        open_session(it.store, made[protocol], it.decisions.of_session(made[protocol], it.now))
        it.settle(1)
    for protocol in order:
        assert session_of(nas, protocol, b"same") is made[protocol]
        assert made[protocol].state == ACTIVE
    assert it.ask(UPDATE, 1, service(used=MB), key="same").result == 2001
    assert (made[GY].output_octets, it.charged()) == (MB, MB)


# Silence


def watch(it: Desk, **settings: Any) -> Liveness:
    made = Liveness(it.store, it.addresses, AccessSettings(**settings), 0.0, lambda *event: None, 3600.0)
    made.probe = it.enforcer.reauthorize
    return made


def look(it: Desk, watch: Liveness, seconds: float) -> None:
    it.now += seconds
    watch.tick(it.now)
    it.addresses.settle(it.now)
    it.settle()


def test_quota_that_is_held_longer_than_sessions_may_be_silent_is_given_back_in_its_time() -> None:
    it = Desk(quota(10 * MB, "block"), configured(validity=3_600.0))
    it.ask(INITIAL, 0, service())
    liveness = watch(it, session_silence_s=300.0)
    for _ in range(24):
        look(it, liveness, 301.0)
    assert (it.session().state, it.wire.names) == (ACTIVE, [])
    look(it, liveness, 301.0)
    assert (it.session().state, it.account().reserved_octets) == (ENDED, 0)


def test_a_charging_session_that_holds_nothing_is_asked_for_when_it_is_silent_for_long() -> None:
    it = Desk(quota(MB, "block"))
    it.ask(INITIAL, 0, service())
    it.ask(UPDATE, 1, service(used=MB))
    liveness = watch(it, session_silence_s=300.0)
    look(it, liveness, 301.0)
    assert (it.wire.names, it.session().state) == (["RAR"], ACTIVE)
    it.wire.result = 5002
    look(it, liveness, 301.0)
    assert (it.wire.names, it.session().state) == (["RAR", "RAR"], ENDED)


def test_what_nobody_could_be_heard_of_while_the_server_was_down_is_not_silence() -> None:
    it = Desk(quota(10 * MB, "block"), configured(validity=60.0))
    it.ask(INITIAL, 0, service())
    it.now += 100_000.0
    it = it.restart_desk()
    liveness = watch(it)
    liveness.listens_since = it.now
    look(it, liveness, 120.0 + GY_GRACE_S)
    assert it.session().state == ACTIVE
    look(it, liveness, 1.0)
    assert it.session().state == ENDED


# One-time events of Gy


def debit(it: Desk, octets: int, number: int = 0) -> int:
    more: Pairs = [("Requested-Action", 0), ("Requested-Service-Unit", [("CC-Total-Octets", octets)])]
    return it.ask(EVENT, number, more=more, key="events").result


def test_events_under_one_session_id_are_charged_once_each_in_whatever_order_they_come_again() -> None:
    it = Desk(quota(10 * MB, "block"))
    for number in (0, 1, 2, 1, 0, 2):
        assert debit(it, MB, number) == 2001
    assert it.charged() == 3 * MB


def test_an_event_during_a_session_of_the_same_id_leaves_it_as_it_is() -> None:
    it = Desk(quota(1_000 * MB, "block"))
    it.ask(INITIAL, 0, service(), key="events")
    going = it.session("events")
    assert debit(it, MB, 7) == 2001
    assert going.state == ACTIVE
    assert it.ask(UPDATE, 1, service(used=MB), key="events").octets_granted() > 0
    assert (going.output_octets, it.charged()) == (MB, 2 * MB)


def test_what_an_event_debits_is_no_part_of_what_a_bearer_reports() -> None:
    it = Desk(quota(1_000 * MB, "block"))
    nas = client_of(it.store, HOST, "epc.example", "")
    facts = GxFacts(imsi=IMSI, realm="epc.example", apn="internet", monitored=MB)
    bearer = new_session(it.store, GX, nas, b"bearer", it.store.services["erin"], facts, it.now)
    open_session(it.store, bearer, it.decisions.of_session(bearer, it.now))
    it.settle()
    add_octets(it.store, bearer, 0, 3 * MB, it.now, it.now)
    assert debit(it, 10 * MB) == 2001
    it.settle()
    add_octets(it.store, bearer, 0, 4 * MB, it.now, it.now)
    assert (bearer.shadowed, it.charged()) == (False, 17 * MB)
    assert it.session("events").state == ENDED


# However many


def test_a_client_that_begins_ever_new_sessions_of_a_sim_has_a_bounded_number_of_them() -> None:
    it = Desk(quota(1_000 * MB, "block"), configured(quota_slice=MB))
    for number in range(SESSIONS_OF_SIM_MAX + 5):
        it.now += 1.0
        it.ask(INITIAL, 0, service(), key=f"new{number}", address=f"10.46.0.{number}")
    live = [session for session in it.store.sessions.values() if session.state == ACTIVE]
    assert len(live) == SESSIONS_OF_SIM_MAX
    assert it.session("new4").state == ENDED
    assert it.account().reserved_octets == SESSIONS_OF_SIM_MAX * MB
    assert it.ask(UPDATE, 1, service(used=MB), key="new4", address="10.46.0.4").octets_granted() == MB


# What is free


def test_free_use_stays_free_in_a_session_that_is_adopted_and_after_a_refusal() -> None:
    rules = [{"name": "all", "rating_group": 1}, {"name": "care", "rating_group": 9, "free": True}]
    it = Desk(quota(1_000 * MB, "block") | {"qos": {"qci": 9, "arp": {"priority": 8}, "rules": rules}})
    it.ask(UPDATE, 3, service(9, used=5 * MB), service(1, used=MB))
    assert (it.session().output_octets, it.charged()) == (6 * MB, MB)
    it.state("suspended")
    it.ask(UPDATE, 4, service(9, used=MB))
    it.ask(UPDATE, 5, service(9, used=MB))
    assert (it.session().output_octets, it.charged()) == (8 * MB, MB)
