"""Charging clients are answered: what CCRs of every kind get, what they cost, and what is sent on our own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aaa.config.policy import compile_texts
from aaa.diameter import codes
from aaa.engine.authorize import AccessSettings
from aaa.engine.liveness import Liveness
from aaa.limits import GY_GRACE_S, GY_GROUPS_MAX
from aaa.model.accounting import Status
from aaa.model.mobile import GX, GxFacts
from aaa.model.records import ACTIVE, ENDED
from aaa.state.mobile import new_session, open_session, restart_client
from aaa.state.sessions import add_octets
from native import diameter
from native.diameter import Message
from tests.diameter.wire import complaints
from tests.engine.site import AT
from tests.mapping.desk import configured
from tests.mapping.gy_desk import (
    APPLICATION,
    DICTIONARY,
    EVENT,
    HOST,
    IMSI,
    INITIAL,
    MB,
    REQUEST,
    TERMINATION,
    THROTTLE,
    UPDATE,
    Answer,
    Desk,
    Pairs,
    quota,
    service,
)

UNLIMITED: dict[str, Any] = {"kind": "mobile", "rate": {"down_bps": 1_000_000, "up_bps": 1_000_000}}
BLOCK = quota(1000 * MB, "block")
SLICE = 100 * MB


def desk(plan: dict[str, Any] | None = None, peer: dict[str, Any] | None = None, **rules: Any) -> Desk:
    return Desk(plan or BLOCK, configured(peer, **rules))


def opened(plan: dict[str, Any] | None = None, **rules: Any) -> Desk:
    """With a session that was granted its first quota."""
    it = desk(plan, **rules)
    assert it.ask(INITIAL, 0, service()).octets_granted() > 0
    return it


def use_up(it: Desk, number: int = 1, key: str = "one") -> tuple[int, Answer]:
    """Use every grant up to the last answer that has none; the next CC-Request-Number, and that answer."""
    answer = it.ask(UPDATE, number, service(used=it.facts(key).grants[1].octets), key=key)
    while answer.result == 2001 and answer.octets_granted():
        number += 1
        answer = it.ask(UPDATE, number, service(used=answer.octets_granted()), key=key)
        assert number < 100
    return number + 1, answer


# Who it is


def test_the_imsi_decides_whatever_stands_before_it() -> None:
    it = desk()
    answer = it.ask(INITIAL, 0, service())
    assert (answer.result, answer.octets_granted()) == (2001, SLICE)
    assert it.session().service is it.store.services["erin"]
    assert (it.facts().imsi, it.facts().msisdn, it.facts().apn) == (IMSI, "15550000001", "internet")


@pytest.mark.parametrize("imsi", ["001010000000009", None])
def test_an_imsi_that_is_nobodys_is_an_unknown_user(imsi: str | None) -> None:
    it = desk()
    answer = it.ask(INITIAL, 0, service(), imsi=imsi)
    assert answer.result == 5030
    assert not it.store.sessions


def test_a_peer_of_another_operator_does_not_learn_of_a_sim() -> None:
    it = desk(peer={"operator": "brand"})
    assert it.ask(INITIAL, 0, service()).result == 5030


def test_a_peer_of_another_operator_cannot_go_on_with_a_session_or_end_it() -> None:
    it = desk()
    assert it.ask(INITIAL, 0, service()).result == 2001
    it.gy.use(configured({"operator": "brand"}))
    assert it.ask(UPDATE, 1, service(used=500)).result == 5002
    assert it.ask(TERMINATION, 2, service(used=500)).result == 5002
    assert it.charged() == 0
    assert it.session().state == ACTIVE


def test_a_sim_that_is_not_activated_is_not_charged() -> None:
    it = desk()
    it.put("sim", f"89000{IMSI}", imsi=IMSI, service_id="erin", state="suspended")
    assert it.ask(INITIAL, 0, service()).result == 5003


def test_a_live_session_gets_no_more_when_its_sim_is_suspended() -> None:
    it = opened()
    it.put("sim", f"89000{IMSI}", imsi=IMSI, service_id="erin", state="suspended")
    answer = it.ask(UPDATE, 1, service(used=MB))
    assert (answer.service_result, answer.octets_granted()) == (5003, 0)
    assert it.charged() == MB


@pytest.mark.parametrize("state", ["suspended", "pending"])
def test_a_denied_service_is_refused_for_the_whole_message(state: str) -> None:
    it = Desk()
    it.subscribe("erin", IMSI, BLOCK, state=state)
    answer = it.ask(INITIAL, 0, service())
    assert (answer.result, answer.services) == (5003, [])
    assert not it.store.sessions


# What is asked for, and how


def test_open5gs_asks_without_a_rating_group_and_says_that_it_knows_none() -> None:
    it = desk(peer={"family": "open5gs"})
    more: Pairs = [("Requested-Action", 0), ("AoC-Request-Type", 1), ("Multiple-Services-Indicator", 0)]
    asked: Pairs = [("Requested-Service-Unit", [("CC-Total-Octets", MB)])]
    answer = it.ask(INITIAL, 0, asked, more=more)
    assert answer.octets_granted() == SLICE
    assert answer.in_service("Rating-Group") is None
    assert answer.in_service("Service-Identifier") is None
    it.ask(UPDATE, 1, service(None, used=(3 * MB, 4 * MB)), more=more)
    assert (it.session().input_octets, it.session().output_octets, it.charged()) == (3 * MB, 4 * MB, 7 * MB)
    assert it.ask(TERMINATION, 2, service(None, used=(MB, MB), ask=False)).result == 2001
    assert (it.charged(), it.account().reserved_octets, it.session().state) == (9 * MB, 0, ENDED)


def test_units_of_the_message_itself_are_granted_in_the_message() -> None:
    it = desk()
    answer = it.ask(INITIAL, 0, more=[("Requested-Service-Unit", [])])
    assert (answer.octets_granted(), answer.services) == (SLICE, [])
    assert answer.get("Validity-Time") == 3600
    used = [("CC-Input-Octets", MB), ("CC-Output-Octets", MB)]
    answer = it.ask(UPDATE, 1, more=[("Requested-Service-Unit", []), ("Used-Service-Unit", used)])
    assert (answer.octets_granted(), it.charged()) == (SLICE, 2 * MB)
    it.ask(TERMINATION, 2, more=[("Used-Service-Unit", used)])
    assert (it.charged(), it.account().reserved_octets) == (4 * MB, 0)


def test_a_client_of_several_services_that_names_none_yet_gets_a_session_and_no_quota() -> None:
    it = desk()
    answer = it.ask(INITIAL, 0, more=[("Multiple-Services-Indicator", 1)])
    assert (answer.result, answer.octets_granted(), answer.services) == (2001, 0, [])
    assert it.ask(UPDATE, 1, service(10)).octets_granted() == SLICE


def test_rating_groups_have_grants_of_their_own() -> None:
    it = desk()
    answer = it.ask(INITIAL, 0, service(10), service(20, Service_Identifier=7), service(None, Service_Identifier=8))
    told = [(answer.in_service("Rating-Group", n), answer.in_service("Service-Identifier", n)) for n in range(3)]
    assert told == [(10, None), (20, 7), (None, 8)]
    assert it.account().reserved_octets == 3 * SLICE
    answer = it.ask(UPDATE, 1, service(20, used=MB, Service_Identifier=7))
    assert len(answer.services) == 1
    assert (it.account().reserved_octets, it.charged()) == (3 * SLICE, MB)


def test_one_rating_group_named_twice_is_granted_once_and_all_its_use_counts() -> None:
    it = opened()
    answer = it.ask(UPDATE, 1, service(1, used=MB), service(1, used=2 * MB))
    assert len(answer.services) == 1
    assert (it.account().reserved_octets, it.charged()) == (SLICE, 3 * MB)


def test_a_report_that_asks_for_nothing_gives_its_grant_back() -> None:
    it = opened()
    answer = it.ask(UPDATE, 1, service(used=MB, ask=False))
    assert (answer.service_result, answer.octets_granted()) == (2001, 0)
    assert (it.account().reserved_octets, it.charged()) == (0, MB)


def test_more_rating_groups_than_a_session_has_room_for_are_charged_and_not_granted() -> None:
    it = desk()
    it.ask(INITIAL, 0, *[service(group) for group in range(50)])
    it.ask(UPDATE, 1, *[service(group, used=1) for group in range(50, 150)])
    assert (len(it.facts().grants), it.charged()) == (GY_GROUPS_MAX, 100)
    it.ask(UPDATE, 2, *[service(group, ask=False) for group in range(50)])
    assert len(it.ask(UPDATE, 3, service(200)).services) == 1


@pytest.mark.parametrize(
    ("direction", "avp", "charged"),
    [("both", "CC-Total-Octets", 5), ("down", "CC-Output-Octets", 3), ("up", "CC-Input-Octets", 2)],
)
def test_what_the_quota_counts_is_granted_and_charged(direction: str, avp: str, charged: int) -> None:
    it = opened(quota(1000 * MB, "block", direction=direction))
    answer = it.ask(UPDATE, 1, service(used=(2 * MB, 3 * MB)))
    assert answer.in_service("Granted-Service-Unit") == [(avp, SLICE)]
    assert it.charged() == charged * MB


@pytest.mark.parametrize(
    ("units", "counted"),
    [
        ([("CC-Total-Octets", 5)], (0, 5)),
        ([("CC-Total-Octets", 5), ("CC-Input-Octets", 2)], (2, 3)),
        ([("CC-Total-Octets", 5), ("CC-Output-Octets", 2)], (3, 2)),
        ([("CC-Total-Octets", 5), ("CC-Input-Octets", 2), ("CC-Output-Octets", 3)], (2, 3)),
        ([("CC-Input-Octets", 2**63), ("CC-Output-Octets", 3)], (0, 3)),
        ([("CC-Time", 60)], (0, 0)),
        ([], (0, 0)),
    ],
)
def test_octets_are_read_from_whatever_is_told(units: Pairs, counted: tuple[int, int]) -> None:
    it = opened()
    it.ask(UPDATE, 1, [("Requested-Service-Unit", []), ("Used-Service-Unit", units), ("Rating-Group", 1)])
    assert (it.session().input_octets, it.session().output_octets) == counted


def test_reports_beyond_all_measure_do_no_more_than_count() -> None:
    it = opened()
    used = [("Used-Service-Unit", [("CC-Input-Octets", 1 << 48), ("CC-Output-Octets", (1 << 48) + 1)])] * 1000
    answer = it.ask(UPDATE, 1, [*used, ("Rating-Group", 1)], [*used, ("Rating-Group", 2)])
    assert answer.result == 2001
    assert (it.session().input_octets, it.session().output_octets, it.charged()) == (1 << 48, 0, 1 << 48)


def test_a_clock_that_is_the_time_of_day_is_bounded_by_the_sessions_age() -> None:
    it = opened()
    it.settle(30.0)
    used = [("CC-Time", 1_795_226_434), ("CC-Output-Octets", 5)]
    it.ask(UPDATE, 1, [("Requested-Service-Unit", []), ("Used-Service-Unit", used), ("Rating-Group", 1)])
    assert it.session().session_time_s <= 31


# How much is granted


def test_a_plan_without_a_quota_is_granted_slices_without_a_reservation() -> None:
    it = desk(UNLIMITED)
    assert it.ask(INITIAL, 0, service()).octets_granted() == SLICE
    it.ask(UPDATE, 1, service(used=SLICE))
    assert it.store.services["erin"].account is None
    assert it.session().output_octets == it.store.services["erin"].output_octets == SLICE


def test_the_end_of_a_quota_is_granted_in_portions_and_the_last_one_is_final() -> None:
    it = desk(quota(10 * MB, "block"))
    answer = it.ask(INITIAL, 0, service())
    grants = [answer.octets_granted()]
    number = 0
    while not answer.is_final:
        number += 1
        answer = it.ask(UPDATE, number, service(used=grants[-1]))
        grants.append(answer.octets_granted())
    assert sum(grants) == 10 * MB
    assert grants == sorted(grants, reverse=True)
    assert answer.in_service("Final-Unit-Indication") == [("Final-Unit-Action", "TERMINATE")]
    assert answer.in_service("Volume-Quota-Threshold") is None
    answer = it.ask(UPDATE, number + 1, service(used=grants[-1]))
    assert (answer.result, answer.service_result, answer.octets_granted()) == (2001, 4012, 0)


@pytest.mark.parametrize(
    ("settings", "members"),
    [
        (
            {"final_unit_action": "redirect", "redirect_url": "https://top-up.example/"},
            [
                ("Final-Unit-Action", "REDIRECT"),
                (
                    "Redirect-Server",
                    [("Redirect-Address-Type", "URL"), ("Redirect-Server-Address", "https://top-up.example/")],
                ),
            ],
        ),
        (
            {"final_unit_action": "restrict", "restrict_filter": "garden"},
            [("Final-Unit-Action", "RESTRICT_ACCESS"), ("Filter-Id", "garden")],
        ),
        (
            {"final_unit_action": "restrict", "restrict_filter": "permit out ip from 192.0.2.1 to any"},
            [
                ("Final-Unit-Action", "RESTRICT_ACCESS"),
                ("Restriction-Filter-Rule", "permit out ip from 192.0.2.1 to any"),
            ],
        ),
        ({"final_unit_action": "redirect"}, [("Final-Unit-Action", "TERMINATE")]),
    ],
)
def test_the_final_unit_says_what_follows(settings: dict[str, Any], members: Pairs) -> None:
    it = desk(quota(MB, "block"), **settings)
    answer = it.ask(INITIAL, 0, service())
    assert answer.octets_granted() == MB
    assert answer.in_service("Final-Unit-Indication") == members


@pytest.mark.parametrize("actions", [(THROTTLE,), ("notify",), ("top_up",), ()])
def test_a_plan_that_goes_on_after_its_quota_is_granted_beyond_it(actions: tuple[Any, ...]) -> None:
    it = desk(quota(150 * MB, *actions))
    answer = it.ask(INITIAL, 0, service())
    for number in range(1, 6):
        assert answer.octets_granted() > 0
        assert not answer.is_final
        answer = it.ask(UPDATE, number, service(used=answer.octets_granted()))
    assert it.charged() > 150 * MB
    assert answer.octets_granted() == SLICE


def test_a_grant_ends_where_the_plan_throttles_so_that_the_rate_changes_there() -> None:
    it = desk(quota(150 * MB, THROTTLE))
    assert it.ask(INITIAL, 0, service()).octets_granted() == SLICE
    assert it.ask(UPDATE, 1, service(used=SLICE)).octets_granted() == 50 * MB
    assert it.session().decision is it.session().desired
    it.ask(UPDATE, 2, service(used=50 * MB))
    assert it.session().desired is not None
    assert it.session().desired.body.reason == "throttled"
    assert it.wire.names == []


def test_a_plan_that_buys_by_itself_has_no_final_unit_until_it_may_buy_no_more() -> None:
    it = desk(quota(MB, {"top_up": {"octets": MB, "limit": 1}}, "block"))
    answer = it.ask(INITIAL, 0, service())
    assert (answer.octets_granted(), answer.is_final) == (MB, False)
    answer = it.ask(UPDATE, 1, service(used=MB))
    assert (answer.octets_granted(), answer.is_final) == (MB, True)


def test_tiers_bound_a_grant_and_never_refuse_one() -> None:
    slow = {"down_bps": 1000, "up_bps": 1000}
    it = desk({**UNLIMITED, "tiers": [{"above_octets": 30 * MB, "rate": slow}]})
    assert it.ask(INITIAL, 0, service()).octets_granted() == 30 * MB
    assert it.ask(UPDATE, 1, service(used=30 * MB)).octets_granted() == SLICE


def test_parallel_sessions_share_the_end_of_a_quota() -> None:
    it = desk(quota(4 * MB, "block"))
    held = 0
    for name in ("one", "two", "three", "four"):
        answer = it.ask(INITIAL, 0, service(), key=name)
        held += answer.octets_granted()
        assert not answer.is_final
        assert it.account().reserved_octets == held <= 4 * MB
    assert it.facts("three").grants[1].octets == MB
    assert it.facts("four").grants[1].result == 4012


def test_what_a_session_leaves_wakes_those_that_were_told_that_there_is_no_more() -> None:
    it = desk(quota(2 * MB, "block"))
    for name in ("one", "two", "three"):
        it.ask(INITIAL, 0, service(), key=name)
    assert it.facts("three").grants[1].result == 4012
    it.ask(TERMINATION, 1, key="one")
    assert it.wire.asked == [("RAR", b"three")]
    assert it.ask(UPDATE, 1, service(), key="three").octets_granted() == MB


def test_a_quota_that_a_fibre_and_a_sim_share_is_one() -> None:
    it = Desk()
    it.put("plan", "shared", **quota(10 * MB, "block", shared="subscriber"))
    it.subscribe("erin", IMSI, plan_id="shared")
    it.put("service", "fibre", subscriber_id="erin", plan_id="shared")
    granted = it.ask(INITIAL, 0, service()).octets_granted()
    account = it.account("fibre")
    assert account is it.account("erin")
    assert (account.reserved_octets, account.offered_octets) == (granted, 20 * MB)
    it.delete("service", "fibre")
    assert it.account().reserved_octets == granted


def test_validity_is_no_longer_than_the_decisions() -> None:
    it = Desk()
    it.subscribe("erin", IMSI, BLOCK, expires_at=AT + 90.5)
    assert it.ask(INITIAL, 0, service()).in_service("Validity-Time") == 91


def test_the_configuration_sizes_grants_and_their_times() -> None:
    it = desk(quota_slice=10 * MB, quota_threshold=0.1, quota_holding=0.0, validity=60.0)
    answer = it.ask(INITIAL, 0, service())
    assert answer.octets_granted() == 10 * MB
    names = ("Volume-Quota-Threshold", "Quota-Holding-Time", "Validity-Time")
    assert [answer.in_service(name) for name in names] == [MB, 0, 60]
    it.gy.use(configured(quota_slice=20 * MB))
    assert it.ask(UPDATE, 1, service(used=MB)).octets_granted() == 20 * MB


def test_a_free_rating_group_is_counted_with_the_session_and_not_charged() -> None:
    rules = [{"name": "all", "rating_group": 1}, {"name": "care", "rating_group": 9, "free": True}]
    qos = {"qci": 9, "arp": {"priority": 8}, "rules": rules}
    it = desk({**BLOCK, "qos": qos})
    it.ask(INITIAL, 0, service(1), service(9))
    assert it.account().reserved_octets == SLICE
    it.ask(UPDATE, 1, service(9, used=5 * MB))
    assert (it.session().output_octets, it.charged()) == (5 * MB, 0)
    it.ask(UPDATE, 2, service(1, used=MB))
    assert (it.session().output_octets, it.charged()) == (6 * MB, MB)


def test_use_in_a_zero_rated_window_is_not_charged() -> None:
    entry = {"window": {"start": "00:00", "end": "24:00"}, "zero_rated": True}
    it = opened({**quota(10 * MB, "block"), "schedule": [entry]})
    it.ask(UPDATE, 1, service(used=50 * MB))
    assert (it.charged(), it.session().output_octets) == (0, 50 * MB)


# Refusals on the message's level


def test_a_client_that_knows_no_results_of_services_is_refused_as_a_whole_at_the_start() -> None:
    it = opened(quota(MB, "block"), peer={"family": "open5gs"})
    answer = it.ask(INITIAL, 0, service(), key="two")
    assert (answer.result, answer.services) == (4012, [])
    assert b"two" not in it.store.nases[HOST].sessions
    assert it.account().reserved_octets == MB


def test_a_client_that_knows_no_results_of_services_has_no_session_after_a_refusal() -> None:
    it = opened(quota(MB, "block"), peer={"family": "open5gs"})
    refused = it.ask(UPDATE, 1, service(used=MB))
    assert (refused.result, it.session().state) == (4012, ENDED)
    again = it.ask(UPDATE, 1, service(used=MB))
    assert (again.result, it.charged()) == (4012, MB)


def test_a_session_that_was_refused_and_goes_on_is_live_again() -> None:
    it = opened(quota(MB, "block"), peer={"family": "open5gs"})
    it.ask(UPDATE, 1, service(used=MB))
    it.top_up(MB)
    assert it.ask(UPDATE, 2, service()).octets_granted() == MB
    assert (it.session().state, it.account().reserved_octets) == (ACTIVE, MB)
    it.ask(TERMINATION, 3, service(used=1000, ask=False))
    assert it.charged() == MB + 1000


# Once


@pytest.mark.parametrize("restarted", [False, True])
def test_a_repeated_request_gets_the_same_answer_and_changes_nothing(restarted: bool) -> None:
    it = desk()
    for kind, number, units in (
        (INITIAL, 0, [service(1), service(2)]),
        (UPDATE, 1, [service(2, used=MB)]),
        (UPDATE, 2, [service(1, used=2 * MB), service(2, used=MB)]),
        (TERMINATION, 3, [service(1, used=MB, ask=False)]),
    ):
        request = it.ccr(kind, number, *units)
        first = it.send(request)
        charged, reserved = it.charged(), it.account().reserved_octets
        if restarted:
            it = it.restart_desk()
        assert it.send(request).octets == first.octets
        assert (it.charged(), it.account().reserved_octets) == (charged, reserved)
    assert (charged, reserved) == (5 * MB, 0)


def test_what_overtakes_is_charged_and_what_was_overtaken_when_it_comes_once() -> None:
    it = opened()
    late = it.ccr(UPDATE, 1, service(used=3 * MB))
    it.ask(UPDATE, 2, service(used=MB))
    reserved = it.account().reserved_octets
    for _ in range(2):
        assert it.send(late).result == 2001
        assert (it.charged(), it.account().reserved_octets) == (4 * MB, reserved)
    it.ask(UPDATE, 0, service(used=MB))
    assert it.charged() == 4 * MB


def test_what_was_overtaken_by_the_end_is_charged_when_it_comes() -> None:
    it = opened()
    it.ask(TERMINATION, 2, service(used=MB, ask=False))
    assert it.ask(UPDATE, 1, service(used=MB)).result == 2001
    assert (it.charged(), it.account().reserved_octets, it.session().state) == (2 * MB, 0, ENDED)


def test_an_ended_session_is_known_no_more() -> None:
    it = opened()
    it.ask(TERMINATION, 1)
    assert it.ask(UPDATE, 2, service(used=MB)).result == 5002
    assert it.charged() == 0


def test_a_termination_under_the_number_of_the_last_report_ends_the_session() -> None:
    it = opened()
    it.ask(UPDATE, 1, service(used=MB))
    it.ask(TERMINATION, 1, service(used=MB, ask=False))
    assert (it.session().state, it.charged()) == (ENDED, 2 * MB)


def test_a_session_id_that_begins_anew_replaces_the_old_session() -> None:
    it = opened()
    it.ask(UPDATE, 1, service(used=MB))
    old = it.session()
    assert it.ask(INITIAL, 5, service()).octets_granted() == SLICE
    assert it.session() is not old
    assert (old.state, it.account().reserved_octets) == (ENDED, SLICE)


@pytest.mark.parametrize("address", ["10.45.0.2", "2001:db8::1"])
def test_a_session_that_its_client_has_lost_holds_nothing_when_the_bearer_comes_again(address: str) -> None:
    it = desk(quota(MB, "block"))
    it.ask(INITIAL, 0, service(), address=address)
    assert it.ask(INITIAL, 0, service(), key="two", address=address).octets_granted() == MB
    assert (it.session("one").state, it.session("two").state) == (ENDED, ACTIVE)
    assert it.ask(INITIAL, 0, service(), key="three").service_result == 4012
    assert it.session("two").state == ACTIVE


def test_a_session_that_is_not_known_is_adopted_with_its_use() -> None:
    it = desk()
    answer = it.ask(UPDATE, 7, service(used=MB))
    assert (answer.result, answer.octets_granted(), it.charged()) == (2001, SLICE, MB)
    assert it.session().adopted
    it.ask(UPDATE, 7, service(used=MB))
    assert it.charged() == MB


def test_the_end_of_a_session_that_is_not_known_is_charged() -> None:
    it = desk()
    assert it.ask(TERMINATION, 7, service(used=MB, ask=False)).result == 2001
    assert (it.charged(), it.session().state, it.account().reserved_octets) == (MB, ENDED, 0)


def test_a_session_that_is_not_known_is_refused_without_its_imsi_or_where_none_is_adopted() -> None:
    assert desk().ask(UPDATE, 7, service(used=MB), imsi=None).result == 5002
    assert desk(adopt=False).ask(UPDATE, 7, service(used=MB)).result == 5002


def test_what_was_not_durable_is_taken_when_it_comes_again() -> None:
    it = opened()
    request = it.ccr(UPDATE, 1, service(used=MB))
    it.gy.receive([request], it.now)
    lost = Desk(None, it.rules, it.db)
    assert lost.send(request).octets_granted() == SLICE
    assert (lost.charged(), lost.account().reserved_octets) == (MB, SLICE)


def test_a_session_whose_service_is_deleted_gets_no_more() -> None:
    it = opened()
    it.wire.silent = True
    it.delete("service", "erin")
    answer = it.ask(UPDATE, 1, service(used=MB))
    assert (answer.service_result, answer.octets_granted()) == (5030, 0)
    assert it.session().output_octets == MB
    assert "ASR" in it.wire.names


# One-time events


def event(it: Desk, action: int, units: Pairs, key: str = "e", number: int = 0) -> Answer:
    more: Pairs = [("Requested-Action", action), ("Requested-Service-Unit", units)]
    return it.ask(EVENT, number, more=more, key=key)


DEBIT, REFUND, BALANCE, PRICE = range(4)


def test_a_direct_debit_is_charged_once_also_over_a_restart() -> None:
    it = desk(quota(10 * MB, "block"))
    first = event(it, DEBIT, [("CC-Total-Octets", MB)])
    assert (first.result, first.octets_granted(), it.charged()) == (2001, MB, MB)
    it = it.restart_desk()
    assert event(it, DEBIT, [("CC-Total-Octets", MB)]).body == first.body
    assert (it.charged(), it.account().reserved_octets) == (MB, 0)
    assert event(it, DEBIT, [("CC-Total-Octets", 10 * MB)], "f").result == 4012


def test_what_is_reserved_cannot_be_debited_by_an_event() -> None:
    it = opened(quota(MB, "block"))
    assert event(it, DEBIT, [("CC-Total-Octets", 1)]).result == 4012


def test_a_refund_gives_back_what_was_charged_and_no_more_than_that() -> None:
    it = desk(quota(10 * MB, "block"))
    event(it, DEBIT, [("CC-Total-Octets", 3 * MB)])
    assert event(it, REFUND, [("CC-Total-Octets", MB)], "f").result == 2001
    assert (it.charged(), it.left()) == (2 * MB, 8 * MB)
    event(it, REFUND, [("CC-Total-Octets", MB)], "f")
    assert it.charged() == 2 * MB
    event(it, REFUND, [("CC-Total-Octets", 50 * MB)], "g")
    assert (it.charged(), it.left()) == (0, 10 * MB)


def test_the_balance_is_told_without_being_touched() -> None:
    it = opened(quota(10 * MB, "block"))
    assert event(it, BALANCE, [("CC-Total-Octets", 5 * MB)]).get("Check-Balance-Result") == "ENOUGH_CREDIT"
    assert event(it, BALANCE, [("CC-Total-Octets", 6 * MB)]).get("Check-Balance-Result") == "NO_CREDIT"
    assert it.charged() == 0
    it.state("suspended")
    assert event(it, BALANCE, [("CC-Total-Octets", 1)]).get("Check-Balance-Result") == "NO_CREDIT"


def test_what_is_not_octets_cannot_be_rated() -> None:
    it = desk()
    assert event(it, DEBIT, [("CC-Service-Specific-Units", 1)]).result == 5031
    assert event(it, PRICE, [("CC-Total-Octets", 1)]).result == 5031
    assert event(it, DEBIT, []).result == 5031
    assert not it.store.sessions


def test_an_event_without_its_action_is_told_what_is_missing() -> None:
    answer = desk().ask(EVENT, 0, more=[("Requested-Service-Unit", [])])
    assert answer.result == 5005
    assert answer.get("Failed-AVP")[0][0] == "Requested-Action"


def test_other_requests_and_unknown_types_are_refused() -> None:
    it = desk()
    answer = it.ask(9, 0, service())
    assert (answer.result, answer.get("Failed-AVP")) == (5004, [("CC-Request-Type", 9)])
    pairs = [("Session-Id", "x"), ("Origin-Host", HOST), ("Origin-Realm", "epc.example")]
    octets = diameter.message(REQUEST, 274, APPLICATION, 1, 1, DICTIONARY.encode_all(pairs))
    request = it.ccr(INITIAL, 0, service())
    request.message = Message.parse(octets)
    (answered,) = it.gy.receive([request], it.now)
    message = Message.parse(answered)
    assert message.get_unsigned32(codes.RESULT_CODE) == 3001
    assert message.flags & diameter.FLAG_ERROR


def test_a_batch_is_answered_in_its_order() -> None:
    it = desk()
    requests = [it.ccr(INITIAL, 0, service(), key=str(number)) for number in range(5)]
    answers = it.gy.receive(requests, it.now)
    assert [Message.parse(octets).get(codes.SESSION_ID) for octets in answers] == [b"0", b"1", b"2", b"3", b"4"]


def test_proxies_get_their_state_back() -> None:
    state: Pairs = [("Proxy-Host", "relay.example"), ("Proxy-State", b"x")]
    answer = desk().ask(INITIAL, 0, service(), more=[("Proxy-Info", state)])
    assert answer.get("Proxy-Info") == state


def test_tshark_has_nothing_against_what_is_sent(tmp_path: Path) -> None:
    sent = []
    for rules in (
        {"final_unit_action": "redirect", "redirect_url": "https://top-up.example/"},
        {"final_unit_action": "restrict", "restrict_filter": "permit out ip from 192.0.2.1 to any"},
        {"final_unit_action": "restrict", "restrict_filter": "garden", "peer": {"family": "open5gs"}},
    ):
        it = desk(quota(3 * MB, "block", direction="down"), **rules)
        it.decisions.use(compile_texts({"test.toml": PLACED}))
        sent.append(it.ask(INITIAL, 0, service(1, Service_Identifier=2), key="one"))
        sent.append(it.ask(INITIAL, 0, more=[("Requested-Service-Unit", [])], key="two"))
        sent += [it.ask(UPDATE, number, service(used=MB)) for number in range(1, 5)]
        sent.append(event(it, BALANCE, [("CC-Total-Octets", MB)]))
        sent.append(event(it, DEBIT, [("CC-Money", [("Unit-Value", [("Value-Digits", 1)])])], "f"))
        sent.append(it.ask(TERMINATION, 9))
    assert complaints([answer.octets for answer in sent], tmp_path) == []


# Changes reach the client


def test_a_suspension_asks_the_client_and_then_refuses_it() -> None:
    it = opened()
    it.state("suspended")
    it.settle()
    assert it.wire.names == ["RAR"]
    assert it.session().decision is it.session().desired
    answer = it.ask(UPDATE, 1, service(used=MB))
    assert (answer.result, answer.service_result, answer.octets_granted()) == (2001, 5003, 0)
    assert (it.charged(), it.account().reserved_octets) == (MB, 0)
    it.state("active")
    it.settle()
    assert it.wire.names == ["RAR", "RAR"]
    assert it.ask(UPDATE, 2, service()).octets_granted() == SLICE


def test_a_top_up_wakes_a_session_that_was_told_its_final_unit() -> None:
    it = opened(quota(MB, "block"))
    assert it.facts().grants[1].final
    it.top_up(5 * MB)
    assert it.wire.names == ["RAR"]
    answer = it.ask(UPDATE, 1, service(used=1000))
    assert (answer.is_final, answer.octets_granted()) == (False, (6 * MB - 1000) // 2)
    it.top_up(5 * MB, id="t2")
    assert it.wire.names == ["RAR"]


def test_a_top_up_wakes_a_client_that_was_redirected_and_asks_no_more() -> None:
    it = opened(quota(MB, "block"), final_unit_action="redirect", redirect_url="https://top-up.example/")
    answer = it.ask(UPDATE, 1, service(used=MB, ask=False))
    assert (answer.service_result, answer.is_final) == (2001, False)
    it.top_up(MB)
    assert it.wire.names == ["RAR"]
    assert it.ask(UPDATE, 2, service()).octets_granted() == MB


def test_a_top_up_wakes_a_session_that_was_refused() -> None:
    it = opened(quota(MB, "block"))
    number, answer = use_up(it)
    assert answer.service_result == 4012
    it.top_up(MB)
    assert it.wire.names == ["RAR"]
    assert it.ask(UPDATE, number, service()).octets_granted() == MB


def test_a_change_that_a_client_need_not_know_of_asks_nothing() -> None:
    it = opened()
    it.put("plan", "plan-erin", **{**BLOCK, "rate": {"down_bps": 5_000_000, "up_bps": 5_000_000}})
    it.settle()
    assert it.wire.names == []
    assert it.session().decision is it.session().desired
    it.state("restricted")
    it.settle()
    assert it.wire.names == []


def test_a_smaller_quota_takes_back_what_is_too_long() -> None:
    it = opened()
    it.put("plan", "plan-erin", **quota(50 * MB, "block"))
    it.settle()
    assert it.wire.names == ["RAR"]
    assert it.ask(UPDATE, 1, service(used=MB)).octets_granted() == 24_500_000


def test_a_client_that_does_not_know_the_session_has_it_closed() -> None:
    it = opened()
    it.wire.result = 5002
    it.state("suspended")
    it.settle()
    assert (it.session().state, it.account().reserved_octets) == (ENDED, 0)


def test_answers_to_ours_are_read() -> None:
    it = opened()
    outgoing = it.gy.end_request(it.session())
    assert (outgoing.command, outgoing.name) == (274, "ASR")

    def reply(result: int) -> tuple[str, int]:
        pairs = [("Session-Id", "one"), ("Result-Code", result), ("Origin-Host", HOST), ("Origin-Realm", "r")]
        octets = diameter.message(64, 274, APPLICATION, 1, 1, DICTIONARY.encode_all(pairs))
        read = it.gy.read_reply(it.session(), outgoing, Message.parse(octets), it.now)
        return read.result, read.error_cause

    told = {result: reply(result) for result in (2001, 2002, 5002, 5005, 3001, 3004, 4001)}
    assert told == {
        2001: ("ack", 0), 2002: ("ack", 0), 5002: ("nak", 503), 5005: ("nak", 404), 3001: ("nak", 404),
        3004: ("nak", 0), 4001: ("nak", 0),
    }  # fmt: skip


def test_a_client_that_knows_no_abort_is_asked_instead() -> None:
    it = opened(peer={"family": "open5gs"})
    outgoing = it.gy.end_request(it.session())
    assert outgoing.name == "RAR"
    assert outgoing.avps == tuple(DICTIONARY.encode_all([("Re-Auth-Request-Type", "AUTHORIZE_ONLY")]))


# Silence and restarts of clients


def liveness(it: Desk) -> Liveness:
    return Liveness(it.store, it.addresses, AccessSettings(), 0.0, lambda *event: None, 3600.0)


def test_a_session_that_holds_quota_and_is_silent_is_over_and_what_it_holds_is_free() -> None:
    it = opened(validity=60.0)
    watch = liveness(it)
    it.now += 120.0 + GY_GRACE_S
    watch.tick(it.now)
    assert it.session().state == ACTIVE
    it.now += 1.0
    watch.tick(it.now)
    assert (it.session().state, it.account().reserved_octets) == (ENDED, 0)


def test_what_a_silent_session_held_is_offered_to_who_was_refused() -> None:
    it = desk(quota(2 * MB, "block"), validity=60.0)
    for name in ("one", "two", "three"):
        it.ask(INITIAL, 0, service(), key=name)
    it.now += 100.0
    assert it.ask(UPDATE, 1, service(used=0), key="two").octets_granted() == MB
    it.now += 100.0
    liveness(it).tick(it.now)
    it.addresses.settle(it.now)
    it.settle()
    assert it.session("one").state == ENDED
    assert it.wire.asked == [("RAR", b"three")]


def test_a_session_that_was_closed_for_its_silence_and_speaks_goes_on() -> None:
    it = opened(validity=60.0)
    repeated = it.ccr(UPDATE, 1, service(used=MB))
    first = it.send(repeated)
    it.now += 500.0
    liveness(it).tick(it.now)
    assert it.account().reserved_octets == 0
    assert it.send(repeated).octets == first.octets
    assert (it.session().state, it.account().reserved_octets, it.charged()) == (ACTIVE, SLICE, MB)
    it.ask(UPDATE, 2, service(used=MB))
    assert (it.account().reserved_octets, it.charged()) == (SLICE, 2 * MB)


def test_a_session_that_holds_nothing_may_be_silent() -> None:
    it = opened(quota(MB, "block"), validity=60.0)
    use_up(it)
    it.now += 1000.0
    liveness(it).tick(it.now)
    assert it.session().state == ACTIVE


def test_a_client_that_has_lost_its_sessions_holds_nothing_any_more() -> None:
    it = opened()
    it.now += 10.0
    restart_client(it.store, it.store.nases[HOST], it.now)
    liveness(it).tick(it.now)
    assert (it.session().state, it.account().reserved_octets) == (ENDED, 0)


# One meter


def test_what_radius_reports_of_the_bearer_is_not_charged_as_well() -> None:
    it = opened()
    address = bytes([10, 45, 0, 2])
    credentials = [{"type": "password", "username": "erin", "cleartext": "secret"}]
    it.put("service", "erin", subscriber_id="erin", plan_id="plan-erin", credentials=credentials)
    nas = it.nas("pgw")
    it.report(Status.START, b"acct", 1.0, nas=nas, user_name=b"erin", framed_ip=address)
    it.report(
        Status.INTERIM, b"acct", 61.0, nas=nas, user_name=b"erin", framed_ip=address, session_time_s=60,
        input_octets=0, output_octets=7 * MB,
    )  # fmt: skip
    assert nas.sessions[b"acct"].shadowed
    assert it.charged() == 0
    it.ask(UPDATE, 1, service(used=7 * MB))
    assert it.charged() == 7 * MB


def test_what_gx_reports_of_the_bearer_is_not_charged_as_well() -> None:
    it = opened()
    nas = it.store.nases[HOST]
    facts = GxFacts(imsi=IMSI, apn="internet", monitored=SLICE)
    gx = new_session(it.store, GX, nas, b"gx", it.store.services["erin"], facts, it.now)
    open_session(it.store, gx, it.decisions.of_session(gx, it.now))
    it.addresses.settle(it.now)
    add_octets(it.store, gx, 0, 5 * MB, it.now, it.now)
    assert (gx.output_octets, it.charged()) == (5 * MB, 0)
    it.ask(UPDATE, 1, service(used=6 * MB))
    assert it.charged() == 6 * MB


# Where it is


PLACED = """
[[rule]]
name = "abroad"
when = 'session.plmn == "26201"'
then = { deny = "no roaming" }
"""


def test_a_client_reports_at_once_what_rules_read_and_is_decided_by_it() -> None:
    it = desk()
    assert it.ask(INITIAL, 0, service()).in_service("Trigger") is None
    it.decisions.use(compile_texts({"test.toml": PLACED}))
    it.settle()
    answer = it.ask(UPDATE, 1, service(used=MB))
    types = ["CHANGEINLOCATION_MCC", "CHANGEINLOCATION_MNC"]
    assert [value for _, value in answer.in_service("Trigger")] == types
    assert it.ask(UPDATE, 2, service(used=MB), plmn="26201").service_result == 5003
    assert (it.facts().plmn, it.wire.names) == ("26201", [])


def test_the_radio_access_is_told_as_gx_tells_it() -> None:
    it = desk()
    it.ask(INITIAL, 0, service(), where=[("3GPP-RAT-Type", b"\x06"), ("3GPP-User-Location-Info", ECGI)])
    assert (it.facts().rat, it.facts().plmn, it.facts().location) == (1004, "00101", "ECGI:00101-00000101")
    assert it.session().framed_ip == bytes([10, 45, 0, 2])


ECGI = bytes.fromhex("8200f11000010" + "0f11000000101")
