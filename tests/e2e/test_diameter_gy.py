"""Gy: charging clients, played by OTP and freeDiameter, draw from the ledger: nothing twice, nothing beyond it."""

import pytest

from tests.lab.clients import GxSession, GySession

MB = 1_000_000
SLICE = MB
"""quota_slice of the shared server."""
NO_CREDIT = 4012
TERMINATE = 0
DEBIT, REFUND, CHECK_BALANCE = 0, 1, 2
THROTTLE = [{"throttle": {"down_bps": MB, "up_bps": MB // 2}}]


def used(network, user):
    return network.server.status(user.service)["usage"]["total_octets"]


def left(network, user):
    return network.server.status(user.service)["quota"]["left_octets"]


@pytest.mark.parametrize("stack", ["peer", "daemon"])
def test_quota_is_granted_used_and_exhausted(mobile, stack):
    user = mobile.user(quota=3 * MB)
    gy = GySession(getattr(mobile, stack)("smf", "gy"), user.imsi)
    gy.initial()
    total = 0
    while total < 3 * MB:
        granted = gy.granted[None]
        assert granted is not None
        assert 0 < granted <= min(SLICE, 3 * MB - total)
        total += granted
        answer = gy.update(granted, expect=None)
    assert NO_CREDIT in (answer.result, gy.results[None])
    assert used(mobile, user) == 3 * MB


def test_open5gs_without_rating_group_totals_or_a_sane_time_is_charged(mobile):
    user = mobile.user(quota=10 * MB)
    gy = GySession(mobile.peer("smf", "gy"), user.imsi)
    gy.initial()
    gy.update(600_000, reason=0, inbound=100_000, seconds=1_795_226_434)
    gy.update(400_000, reason=4, inbound=0)
    gy.terminate(1_000)
    usage = mobile.server.status(user.service)["usage"]
    assert (usage["total_octets"], usage["input_octets"]) == (1_001_000, 100_250)
    assert mobile.server.sessions(user.service) == []


def test_a_repeated_report_is_charged_once_also_after_a_kill(network):
    network = network()
    user = network.user(quota=10 * MB)
    gy = GySession(network.peer("smf", "gy"), user.imsi)
    gy.initial()
    answer = gy.update(700_000)
    for _ in range(3):
        assert str(gy.repeat()) == str(answer)
    assert used(network, user) == 700_000
    network.server.kill()
    network.server.start()
    gy.peer.connect_again()
    assert str(gy.repeat()) == str(answer)
    assert used(network, user) == 700_000
    gy.terminate(50_000)
    gy.repeat()
    assert used(network, user) == 750_000


def test_parallel_sessions_never_have_more_than_there_is(mobile):
    user, smf = mobile.user(quota=2 * MB), mobile.peer("smf", "gy")
    sessions = [GySession(smf, user.imsi, apn=f"apn{number}") for number in range(6)]
    for gy in sessions:
        gy.initial(expect=None)
    held = [gy.granted.get(None) or 0 for gy in sessions]
    assert sum(held) <= 2 * MB
    assert sum(1 for one in held if one) >= 2
    for gy, octets in zip(sessions, held, strict=True):
        if octets:
            gy.terminate(octets)
    assert used(mobile, user) == sum(held)


def test_rating_groups_have_grants_of_their_own(mobile):
    user = mobile.user(quota=10 * MB)
    gy = GySession(mobile.peer("smf", "gy"), user.imsi)
    gy.initial(groups=(1, 2), octets=None)
    assert set(gy.granted) == {1, 2}
    gy.update(500_000, group=2)
    assert gy.granted[2]
    assert used(mobile, user) == 500_000


def test_the_last_grant_says_what_comes_after_it(mobile):
    user = mobile.user(quota=MB // 2)
    gy = GySession(mobile.peer("smf", "gy"), user.imsi)
    gy.initial()
    total = gy.granted[None]
    while gy.final[None] is None:
        gy.update(gy.granted[None])
        total += gy.granted[None]
    assert gy.final[None]["Final-Unit-Action"] == TERMINATE
    assert total == MB // 2


def test_a_top_up_is_offered_to_who_had_nothing_left(mobile):
    user, smf = mobile.user(quota=MB), mobile.peer("smf", "gy")
    gy = GySession(smf, user.imsi)
    gy.initial()
    while gy.results[None] == 2001:
        answer = gy.update(gy.granted[None], expect=None)
    assert answer.result == 2001, "the session lives on without a grant"
    mobile.server.api("POST", f"/v1/services/{user.service}/top-ups", {"id": "t1", "octets": 5 * MB})
    assert smf.expect("RAR")["Session-Id"] == gy.id
    gy.update(0)
    assert gy.granted[None] == SLICE


def test_a_throttle_lowers_gx_and_gy_goes_on_granting(mobile):
    user, smf = mobile.user(quota=2 * MB, on_exhausted=THROTTLE), mobile.peer("smf", "gx", "gy")
    gx, gy = GxSession(smf, user.imsi), GySession(smf, user.imsi)
    gx.initial()
    gy.initial()
    assert gx.rate == (20 * MB, 10 * MB)
    gy.update(MB)
    gy.update(MB)
    smf.wait(lambda: gx.rate == (MB, MB // 2), "throttled")
    assert gy.granted[None] is None or gy.granted[None] > 0
    mobile.converged(user, sessions=2)
    gx.terminate()
    gy.terminate(100_000)
    assert used(mobile, user) == 2_100_000


def test_one_meter_counts_where_gx_and_gy_both_report(mobile):
    user, smf = mobile.user(quota=10 * MB), mobile.peer("smf", "gx", "gy")
    gx, gy = GxSession(smf, user.imsi), GySession(smf, user.imsi)
    gx.initial()
    gy.initial()
    gy.update(MB)
    gx.report(MB)
    assert used(mobile, user) == MB


def test_events_check_debit_and_refund(mobile):
    user, smf = mobile.user(quota=MB), mobile.peer("smf", "gy")
    services = [("Multiple-Services-Credit-Control", [("Requested-Service-Unit", [("CC-Total-Octets", 400_000)])])]
    debit = GySession(smf, user.imsi)
    debit.event(services, DEBIT)
    debit.repeat()
    assert used(mobile, user) == 400_000
    assert GySession(smf, user.imsi).event(services, CHECK_BALANCE)["Check-Balance-Result"] == 0
    assert left(mobile, user) == 600_000
    refund = GySession(smf, user.imsi)
    refund.event(services, REFUND)
    refund.repeat()
    assert left(mobile, user) == MB


def test_a_suspended_service_is_refused_what_it_asks_next(mobile):
    user, smf = mobile.user(quota=10 * MB), mobile.peer("smf", "gy")
    gy = GySession(smf, user.imsi)
    gy.initial()
    mobile.state(user, "suspended")
    assert smf.expect("RAR")["Session-Id"] == gy.id
    answer = gy.update(100_000, expect=None)
    assert (answer.result, gy.results[None]) != (2001, 2001)
    assert not gy.granted[None]
    assert used(mobile, user) == 100_000
