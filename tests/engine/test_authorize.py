"""Logins: who may connect, from where, how often, for how long, and what a flood of wrong ones costs whom."""

from typing import Any

import pytest

from aaa.config import Pool
from aaa.config.policy import compile_texts
from aaa.credential.identity import NameRules
from aaa.engine.liveness import Liveness
from aaa.limits import SESSION_KEPT_AFTER_END_S
from aaa.model.access import Cause, Outcome, Verdict
from aaa.model.accounting import Status
from aaa.model.method import Method
from aaa.model.records import ACTIVE, ENDED
from native import crypto
from tests.engine.site import AT, Site

MAC = b"02-00-00-00-00-01"
OTHER_MAC = b"02-00-00-00-00-02"
SLOW_HASH = crypto.crypt(b"secret", b"$5$rounds=1000$salt").decode()
DAY = 86_400.0


def result(outcome: Outcome) -> Cause:
    """Cause.NONE of an accept."""
    assert (outcome.verdict == Verdict.ACCEPT) == (outcome.cause == Cause.NONE)
    return Cause(outcome.cause)


# Who is it


@pytest.mark.parametrize("name", [b"alice", b"alice ", b"alice\0", b" alice", b" alice\0 "])
def test_blanks_and_nuls_around_a_user_name_do_not_count(name: bytes) -> None:
    site = Site()
    site.service()
    assert result(site.login(name)) == Cause.NONE
    assert result(site.login(name, b"guess")) == Cause.WRONG_PASSWORD


def test_a_name_stays_as_it_was_sent_where_trimming_is_off() -> None:
    site = Site(names=NameRules(trim=False))
    site.service()
    assert result(site.login(b"alice ")) == Cause.UNKNOWN_USER


@pytest.mark.parametrize("name", [b"", b" ", b"\0", b"@isp.example", b"\\"])
@pytest.mark.parametrize("password", [None, b"", b"secret"])
def test_an_empty_user_name_is_nobody(name: bytes, password: bytes | None) -> None:
    site = Site(names=NameRules(lower=True, realms=(b"isp.example",)))
    site.service()
    assert result(site.login(name, password)) == Cause.UNKNOWN_USER


def test_names_without_case_are_found_however_they_were_pushed_and_sent() -> None:
    site = Site(names=NameRules(lower=True))
    site.service(credentials=[{"type": "password", "username": "Alice", "cleartext": "secret"}])
    assert result(site.login(b"aLICE")) == Cause.NONE
    assert result(site.login(b"Alice")) == Cause.NONE


def test_no_login_is_accepted_while_as_many_sessions_are_live_as_configured() -> None:
    site = Site()
    site.service()
    site.authorizer.is_full = True
    assert result(site.login(b"alice")) == Cause.TOO_MANY_SESSIONS


def test_an_unknown_user_and_a_wrong_password_are_told_the_same() -> None:
    site = Site()
    site.service()
    assert site.login(b"alice", b"guess").message == site.login(b"nobody", b"guess").message != ""


@pytest.mark.parametrize("method", [Method.NONE, Method.CHAP, Method.MSCHAP, Method.MSCHAPV2])
def test_a_name_with_a_password_needs_a_proof(method: Method) -> None:
    site = Site()
    site.service()
    nas = site.nas(allow_mac=True, allow_circuit=True)
    facts: dict[str, Any] = {
        "method": int(method),
        "response": bytes({Method.CHAP: 16, Method.NONE: 0}.get(method, 24)),
        "challenge": bytes(8 if method == Method.MSCHAP else 16),
        "peer_challenge": bytes(16),
    }
    assert result(site.login(b"alice", None, nas=nas, **facts)) == Cause.WRONG_PASSWORD


CIRCUIT = [{"type": "circuit", "circuit_id": "eth 0/1:100"}]
BOTH = [
    {"type": "password", "username": "alice", "cleartext": "secret"},
    *CIRCUIT,
    {"type": "mac", "mac": MAC.decode()},
]


@pytest.mark.parametrize(
    ("name", "password"),
    [
        (b"alice", b"guess"),
        (b"alice", b"alice"),
        (b"alice", b""),
        (b"alice", None),
        (b"alice ", b"guess"),
        (MAC, b"guess"),
    ],
)
def test_line_and_device_do_not_bypass_a_password(name: bytes, password: bytes | None) -> None:
    site = Site()
    site.service(credentials=BOTH)
    nas = site.nas(allow_mac=True, allow_circuit=True)
    for call_check in (False, True):
        facts = {"circuit_id": b"eth 0/1:100", "calling_station": MAC, "call_check": call_check}
        assert site.login(name, password, nas=nas, **facts).verdict == Verdict.REJECT


@pytest.mark.parametrize("password", [None, b"", b"02:00:00:00:00:01", MAC, b"0200.0000.0001"])
def test_a_device_is_known_by_its_mac_where_the_nas_allows_it(password: bytes | None) -> None:
    site = Site()
    site.service(credentials=[{"type": "mac", "mac": MAC.decode()}])
    assert result(site.login(MAC, password, nas=site.nas(allow_mac=True), calling_station=MAC)) == Cause.NONE
    assert result(site.login(MAC, password, nas=site.nas(allow_mac=False), calling_station=MAC)) == Cause.UNKNOWN_USER


def test_a_mac_as_user_name_counts_only_from_that_device_or_with_call_check() -> None:
    site = Site()
    site.service(credentials=[{"type": "mac", "mac": MAC.decode()}])
    nas = site.nas(allow_mac=True)
    assert result(site.login(MAC, None, nas=nas)) == Cause.UNKNOWN_USER
    assert result(site.login(MAC, None, nas=nas, calling_station=OTHER_MAC)) == Cause.UNKNOWN_USER
    assert result(site.login(MAC, None, nas=nas, call_check=True)) == Cause.NONE
    assert result(site.login(b"port-7", None, nas=nas, call_check=True, calling_station=MAC)) == Cause.NONE
    assert result(site.login(b"port-7", None, nas=nas, calling_station=MAC)) == Cause.UNKNOWN_USER


# Brute force


def test_wrong_passwords_lock_a_user_name_for_the_lockout_and_no_longer() -> None:
    site = Site(password_failures=3, lockout_s=60.0)
    site.service()
    assert [result(site.login(password=b"guess", at=n)) for n in range(3)] == [Cause.WRONG_PASSWORD] * 3
    assert result(site.login(at=3)) == Cause.LOCKED_OUT
    assert result(site.login(at=61.9)) == Cause.LOCKED_OUT
    assert result(site.login(at=62)) == Cause.NONE


def test_one_below_the_limit_does_not_lock_and_a_good_login_starts_anew() -> None:
    site = Site(password_failures=3)
    site.service()
    for _ in range(3):
        assert result(site.login(password=b"guess")) == Cause.WRONG_PASSWORD
        assert result(site.login(password=b"guess")) == Cause.WRONG_PASSWORD
        assert result(site.login()) == Cause.NONE


def test_wrong_passwords_far_apart_do_not_lock() -> None:
    site = Site(password_failures=2, password_window_s=300.0)
    site.service()
    for n in range(4):
        assert result(site.login(password=b"guess", at=n * 300.0)) == Cause.WRONG_PASSWORD
    assert result(site.login(at=1200.0)) == Cause.NONE


def test_a_lockout_ends_when_the_clock_is_set_back() -> None:
    site = Site(password_failures=1, lockout_s=60.0)
    site.service()
    assert result(site.login(password=b"guess", at=365 * DAY)) == Cause.WRONG_PASSWORD
    assert result(site.login(at=365 * DAY + 1)) == Cause.LOCKED_OUT
    assert result(site.login(at=1)) == Cause.NONE


def test_windows_of_failures_begin_anew_when_the_clock_is_set_back() -> None:
    site = Site(password_failures=2, nas_password_failures=2, password_window_s=300.0)
    site.service()
    assert result(site.login(b"nobody", at=DAY)) == Cause.UNKNOWN_USER
    assert result(site.login(password=b"guess", at=DAY)) == Cause.WRONG_PASSWORD
    assert result(site.login(at=DAY)) == Cause.LOCKED_OUT
    assert result(site.login(password=b"guess")) == Cause.WRONG_PASSWORD
    assert result(site.login()) == Cause.NONE


def test_a_nas_with_too_many_failures_is_refused_within_the_window_only() -> None:
    site = Site(nas_password_failures=2, password_window_s=300.0)
    site.service()
    for _ in range(2):
        assert result(site.login(b"nobody")) == Cause.UNKNOWN_USER
    assert result(site.login()) == Cause.LOCKED_OUT
    assert result(site.login(nas=site.nas("other"))) == Cause.NONE
    assert result(site.login(at=300.0)) == Cause.NONE


def test_guesses_that_were_hashed_meanwhile_do_not_get_past_a_lockout() -> None:
    site = Site(password_failures=2, lockout_s=60.0)
    site.service(credentials=[{"type": "password", "username": "alice", "crypt": SLOW_HASH}])
    attempts = [site.attempt() for _ in range(4)]
    pending = site.authorizer.authorize(attempts)
    assert [outcome.verdict for outcome in pending] == [Verdict.SLOW] * 4
    outcomes = [
        site.authorizer.resume(attempt, waiting, proved)
        for attempt, waiting, proved in zip(attempts, pending, (False, False, True, False), strict=True)
    ]
    causes = [result(outcome) for outcome in outcomes]
    assert causes == [Cause.WRONG_PASSWORD, Cause.WRONG_PASSWORD, Cause.LOCKED_OUT, Cause.LOCKED_OUT]


def test_a_service_that_goes_while_its_password_is_hashed_is_nobody() -> None:
    site = Site()
    site.service(credentials=[{"type": "password", "username": "alice", "crypt": SLOW_HASH}])
    attempt = site.attempt()
    (pending,) = site.authorizer.authorize([attempt])
    del site.store.services_by_no[site.store.services["alice"].no]
    assert result(site.authorizer.resume(attempt, pending, True)) == Cause.UNKNOWN_USER


# Locks


@pytest.mark.parametrize(
    ("lock", "facts"),
    [
        ({"circuit": ["eth 0/1:100"]}, {"circuit_id": b"eth 0/1:100"}),
        ({"circuit": ["eth 0/1:100"]}, {"remote_id": b"eth 0/1:100"}),
        ({"circuit": ["0x0004AB"]}, {"circuit_id": b"\x00\x04\xab"}),
        ({"circuit": ["0x6162"]}, {"circuit_id": b"ab"}),
        ({"port": ["0/1"]}, {"nas_port_id": b"0/1"}),
        ({"mac": ["0200.0000.0001"]}, {"calling_station": MAC}),
        ({"device": ["02:00:00:00:00:01"]}, {"calling_station": MAC}),
        ({"nas": ["bng"]}, {}),
    ],
)
def test_a_lock_holds_from_the_place_it_names_and_from_nowhere_else(
    lock: dict[str, Any], facts: dict[str, Any]
) -> None:
    site = Site()
    site.service(lock=lock)
    assert result(site.login(**facts)) == Cause.NONE
    elsewhere = {"circuit_id": b"\xff", "nas_port_id": b"\xff", "calling_station": OTHER_MAC, "nas": site.nas("other")}
    assert result(site.login(**elsewhere)) == Cause.WRONG_PLACE
    assert result(site.login(nas=site.nas("other"))) == Cause.WRONG_PLACE


@pytest.mark.parametrize("lock", [{"circuit": ["0xzz", "", "x" * 300]}, {"mac": ["no mac", "\u00e9" * 12]}])
def test_a_lock_that_names_no_place_refuses_and_raises_nothing(lock: dict[str, Any]) -> None:
    site = Site()
    site.service(lock=lock)
    assert result(site.login(circuit_id=b"0xzz!", calling_station=MAC)) == Cause.WRONG_PLACE


# How often


ONCE = {"simultaneous_use": 1}


def test_two_logins_of_one_batch_do_not_both_pass_a_limit_of_one() -> None:
    site = Site()
    site.service(plan=ONCE)
    attempts = [site.attempt(calling_station=station) for station in (MAC, OTHER_MAC)]
    causes = [result(outcome) for outcome in site.authorizer.authorize(attempts)]
    assert causes == [Cause.NONE, Cause.TOO_MANY_SESSIONS]


@pytest.mark.parametrize("station", [MAC, b"192.0.2.77", b"+1 555 0100"])
def test_the_same_device_coming_back_replaces_its_reservation(station: bytes) -> None:
    site = Site()
    site.service(plan=ONCE)
    for n in range(3):
        assert result(site.login(calling_station=station, at=n)) == Cause.NONE
    assert len(site.store.sessions) == 1


@pytest.mark.parametrize("station", [MAC, b"192.0.2.77"])
def test_the_same_device_coming_back_replaces_its_session(station: bytes) -> None:
    site = Site()
    site.service(plan=ONCE)
    outcome = site.login(calling_station=station)
    site.report(Status.START, calling_station=station, token_session=outcome.session_id)
    assert result(site.login(calling_station=OTHER_MAC, at=1)) == Cause.TOO_MANY_SESSIONS
    assert result(site.login(calling_station=station, at=1)) == Cause.NONE


def test_an_empty_station_is_no_place() -> None:
    site = Site()
    site.service(plan=ONCE)
    assert result(site.login(calling_station=b"")) == Cause.NONE
    assert result(site.login(calling_station=b"")) == Cause.TOO_MANY_SESSIONS


def test_a_reservation_holds_its_place_for_a_minute() -> None:
    site = Site()
    site.service(plan=ONCE)
    assert result(site.login()) == Cause.NONE
    assert result(site.login(at=60)) == Cause.TOO_MANY_SESSIONS
    assert result(site.login(at=61)) == Cause.NONE


def test_a_reservation_is_no_ghost_after_the_clock_was_set_back() -> None:
    site = Site()
    site.service(plan=ONCE)
    assert result(site.login(at=DAY)) == Cause.NONE
    assert result(site.login(at=0)) == Cause.NONE


def test_a_session_that_never_reported_an_interim_is_not_stale_for_missing_them() -> None:
    site = Site(missed_interims=3.0)
    site.service(plan={**ONCE, "interim_interval": 60})
    outcome = site.login(calling_station=MAC)
    site.report(Status.START, token_session=outcome.session_id, calling_station=MAC)
    assert result(site.login(calling_station=OTHER_MAC, at=3600)) == Cause.TOO_MANY_SESSIONS
    site.report(Status.INTERIM, at=3600, session_time_s=3600, token_session=outcome.session_id)
    assert result(site.login(calling_station=OTHER_MAC, at=3600 + 180)) == Cause.TOO_MANY_SESSIONS
    assert result(site.login(calling_station=OTHER_MAC, at=3600 + 181)) == Cause.NONE


def test_the_oldest_makes_room_where_the_nas_says_so() -> None:
    site = Site()
    site.service(plan=ONCE)
    nas = site.nas(limit_action="disconnect_oldest")
    outcome = site.login(calling_station=MAC)
    site.report(Status.START, token_session=outcome.session_id, calling_station=MAC)
    assert result(site.login(calling_station=OTHER_MAC, nas=nas)) == Cause.NONE
    assert [session.id for session in site.authorizer.displaced] == [outcome.session_id]


# How long


def test_no_timeout_without_an_end() -> None:
    site = Site()
    site.service(plan={"quota": {"octets": 1000, "period": "day"}, "on_exhausted": ["block"]})
    assert site.login().session_timeout_s == 0


@pytest.mark.parametrize(
    ("plan", "body", "expected"),
    [
        ({}, {"expires_at": AT + 100}, 100),
        ({"session_timeout": 50}, {"expires_at": AT + 100}, 50),
        ({"session_timeout": 500}, {"expires_at": AT + 100}, 100),
        ({}, {"expires_at": AT + 100, "grace_until": AT + 200}, 200),
        ({"session_timeout": 150}, {"expires_at": AT + 100, "grace_until": AT + 200}, 150),
        ({"session_timeout": 500}, {"expires_at": AT - 100, "grace_until": AT + 200}, 200),
        ({}, {"expires_at": AT + 0.5}, 1),
        (
            {"quota": {"octets": 1000, "period": "day"}, "on_exhausted": ["block"]},
            {"expires_at": AT + 9 * DAY},
            777_600,
        ),
        (
            {"quota": {"octets": 1000, "period": "day"}, "on_exhausted": ["block"]},
            {"expires_at": AT + 9 * DAY, "grace_until": AT + 10 * DAY},
            864_000,
        ),
    ],
)
def test_a_session_ends_with_the_service(plan: dict[str, Any], body: dict[str, Any], expected: int) -> None:
    site = Site()
    site.service(plan=plan, **body)
    assert site.login().session_timeout_s == expected


def test_decisions_follow_time_usage_and_pushes() -> None:
    site = Site()
    quota = {"quota": {"octets": 1000, "period": "day"}, "on_exhausted": ["block"]}
    service = site.service(plan=quota, activated_at=AT + 10, expires_at=AT + 2 * DAY)
    assert result(site.login()) == Cause.DENIED
    assert result(site.login(at=10)) == Cause.NONE
    site.report(Status.START, at=10)
    site.report(Status.INTERIM, at=20, session_time_s=10, input_octets=999)
    assert result(site.login(at=20)) == Cause.NONE
    site.report(Status.INTERIM, at=30, session_time_s=20, input_octets=1000)
    assert result(site.login(at=30)) == Cause.DENIED
    assert result(site.login(at=DAY)) == Cause.NONE
    assert result(site.login(at=2 * DAY)) == Cause.DENIED
    site.put("service", "alice", subscriber_id="alice", plan_id="home", expires_at=AT + 3 * DAY)
    assert result(site.login(at=2 * DAY)) == Cause.NONE
    site.put("service", "alice", subscriber_id="alice", plan_id="home", state="suspended")
    assert result(site.login(at=2 * DAY)) == Cause.DENIED
    assert service.decision is not None


def test_interims_are_not_asked_for_more_often_than_the_nas_can() -> None:
    site = Site(interim_jitter=0.5)
    site.service(plan={"interim_interval": 60})
    assert {site.login(nas=site.nas(interim_minimum_s=600)).interim_interval_s for _ in range(50)} == {600}
    assert min(site.login(nas=site.nas(interim_minimum_s=60)).interim_interval_s for _ in range(50)) == 60


# Addresses


def test_a_restricted_service_does_not_leave_the_garden_by_its_own_address() -> None:
    site = Site()
    site.service(state="restricted", static_ip="192.0.2.10", static_prefix="2001:db8::/56")
    free = site.login()
    assert (free.framed_ip, free.delegated_prefix is not None) == (bytes((192, 0, 2, 10)), True)
    behind = site.login(nas=site.nas("garden", garden_pool=True))
    assert (behind.verdict, behind.framed_ip, behind.delegated_prefix) == (Verdict.ACCEPT, None, None)


def test_an_exhausted_pool_refuses_and_leaves_nothing_behind() -> None:
    site = Site(Pool(name="home", kind="ipv4", ranges=("192.0.2.1-192.0.2.1",)))
    site.service(plan={"pool": "home"})
    site.service("bob")
    outcome = site.login()
    assert (outcome.framed_ip, outcome.durable) == (bytes((192, 0, 2, 1)), False)
    assert result(site.login(b"bob")) == Cause.NO_ADDRESS
    assert len(site.store.sessions) == 1
    assert site.nas().live_count == 1


def test_a_pool_is_only_for_the_nases_that_it_names_whatever_shares_its_name() -> None:
    site = Site(
        Pool(name="home", kind="ipv4", ranges=("192.0.2.0/29",), nas=("other",)),
        Pool(name="home", kind="delegated", ranges=("2001:db8::/48",)),
        Pool(name="closed", kind="ipv4", ranges=("198.51.100.0/29",), operator="mvno"),
    )
    site.service(plan={"pool": "home"})
    here, there = site.login(), site.login(nas=site.nas("other"))
    assert (here.framed_ip is None, here.delegated_prefix is None) == (True, False)
    assert (there.framed_ip is None, there.delegated_prefix is None) == (False, False)
    site.put("plan", "home", pool="closed")
    assert result(site.login()) == Cause.NO_ADDRESS


def test_nobody_is_displaced_by_a_login_that_gets_no_address() -> None:
    site = Site(Pool(name="home", kind="ipv4", ranges=("192.0.2.1-192.0.2.2",)))
    site.service(plan={"pool": "home", "simultaneous_use": 2})
    nas = site.nas(limit_action="disconnect_oldest")
    for station in (MAC, OTHER_MAC):
        outcome = site.login(nas=nas, calling_station=station)
        site.report(Status.START, key=station, token_session=outcome.session_id, calling_station=station)
    assert result(site.login(nas=nas, calling_station=b"third")) == Cause.NO_ADDRESS
    assert site.authorizer.displaced == []


# Silence


def liveness(site: Site, **settings: Any) -> Liveness:
    return Liveness(site.store, site.addresses, site.settings, 900.0, lambda *_: None, SESSION_KEPT_AFTER_END_S)


def test_sessions_survive_a_clock_that_is_set_back_and_go_silent_from_there() -> None:
    site = Site()
    site.service(plan={**ONCE, "interim_interval": 60})
    outcome = site.login(at=DAY)
    site.report(Status.START, at=DAY, token_session=outcome.session_id)
    site.report(Status.INTERIM, at=DAY + 60, session_time_s=60, token_session=outcome.session_id)
    (session,) = site.store.sessions.values()
    watch = liveness(site)
    watch.tick(AT)
    assert session.state == ACTIVE
    watch.tick(AT + 181)
    assert session.state == ENDED


def test_what_was_decided_in_the_future_does_not_hold_after_the_clock_was_set_back() -> None:
    site = Site()
    site.service(expires_at=AT + DAY)
    watch = liveness(site)
    watch.tick(AT + 2 * DAY)
    assert result(site.login(at=2 * DAY)) == Cause.DENIED
    watch.tick(AT)
    assert result(site.login()) == Cause.NONE


# Close to a limit


def capped(site: Site, used: int, **plan: Any) -> None:
    """Alice on a plan of 8 Mbit/s down and none up that blocks at 100 MB, with so much used."""
    rate = {"down_bps": 8_000_000, "up_bps": 0}
    site.service(plan={"rate": rate, "quota": {"octets": 100_000_000}, "on_exhausted": ["block"], **plan})
    site.report(Status.START)
    site.report(Status.INTERIM, at=300.0, session_time_s=300, input_octets=0, output_octets=used)


@pytest.mark.parametrize(
    ("used", "interim_s"), [(0, 300), (1_000_000, 99), (99_900_000, 60)], ids=["unused", "a while", "the NAS's least"]
)
def test_a_login_reports_no_later_than_it_could_reach_the_limit(used: int, interim_s: int) -> None:
    site = Site(interim_interval_s=300)
    capped(site, used)
    assert site.login(at=301.0, nas=site.nas(interim_minimum_s=60)).interim_interval_s == interim_s


def test_a_login_far_from_the_limit_reports_as_ever() -> None:
    site = Site(interim_interval_s=60)
    capped(site, 1_000_000)
    assert site.login(at=301.0).interim_interval_s == 60


# By place

ABROAD = """
[[rule]]
name = "abroad"
when = 'session.nas.name == "far" and session.called_station_id == "lobby"'
then = { rate_max = "1M/1M" }

[[rule]]
name = "closed"
when = 'session.nas.port == "7"'
then = { deny = "Not from here" }
"""


def test_a_login_is_decided_by_where_it_comes_from_and_its_session_as_well() -> None:
    site = Site()
    site.build(compile_texts({"test.toml": ABROAD}))
    site.service(plan={"rate": {"down_bps": 8_000_000, "up_bps": 8_000_000}})
    near, far = site.nas("near"), site.nas("far")
    assert rate_of(site.login(nas=near)) == 8_000_000
    outcome = site.login(nas=far, called_station=b"lobby")
    assert rate_of(outcome) == 1_000_000
    refused = site.login(nas=near, nas_port_id=b"7")
    assert (result(refused), refused.message) == (Cause.DENIED, "Not from here")
    # Accounting does not say where it was called; the login did.
    site.report(Status.START, nas=far, token_session=outcome.session_id, token_service=1)
    session = far.sessions[b"one"]
    assert site.decisions.of_session(session, AT) is outcome.decision


def rate_of(outcome: Outcome) -> int:
    """Down rate of an accept."""
    decision = outcome.decision
    assert decision is not None
    assert decision.body.rate is not None
    return decision.body.rate.down_bps
