"""Gy: charging clients, played by OTP and freeDiameter, draw from the ledger: nothing twice, nothing beyond it."""

import pytest

from tests.lab.clients import GxSession, GySession

USER = "001010000000101"
MB = 1_000_000
NO_CREDIT = 4012
TERMINATE = 0
BLOCK: list = ["block"]
THROTTLE = [{"throttle": {"down_bps": MB, "up_bps": 500_000}}]


def charged(network, quota, on_exhausted=BLOCK, slice_octets=MB):
    """A network with a user that has `quota` octets."""
    network = network(quota_slice=slice_octets, quota_slice_min=MB // 10)
    rate = {"down_bps": 10 * MB, "up_bps": 5 * MB}
    qos = {"qci": 9, "arp": {"priority": 8}, "apn": "internet", "apn_ambr": rate}
    network.server.plan(
        "small",
        kind="mobile",
        rate=rate,
        quota={"octets": quota, "period": "month"},
        on_exhausted=on_exhausted,
        qos=qos,
    )
    network.subscriber("user", "small")
    network.sim("8900101000000000101", USER, "user")
    return network


def used(network):
    return network.server.status("user")["usage"]["total_octets"]


def left(network):
    return network.server.status("user")["quota"]["left_octets"]


@pytest.mark.parametrize("stack", ["peer", "daemon"])
def test_quota_is_granted_used_and_exhausted(network, stack):
    network = charged(network, 3 * MB)
    gy = GySession(getattr(network, stack)("smf", "gy"), USER)
    gy.initial()
    granted = gy.granted[None]
    assert 0 < granted <= MB
    total = 0
    while total < 3 * MB:
        granted = gy.granted[None]
        assert granted is not None
        assert total + granted <= 3 * MB
        total += granted
        answer = gy.update(granted, expect=None)
        if answer.result != 2001 or gy.results[None] != 2001:
            break
    assert total == 3 * MB
    assert used(network) == 3 * MB
    assert NO_CREDIT in (answer.result, gy.results[None])


def test_open5gs_without_rating_group_totals_or_a_sane_time_is_charged(network):
    network = charged(network, 10 * MB)
    gy = GySession(network.peer("smf", "gy"), USER)
    gy.initial()
    gy.update(600_000, reason=0, inbound=100_000, seconds=1_795_226_434)
    gy.update(400_000, reason=4, inbound=0)
    gy.terminate(1_000)
    usage = network.server.status("user")["usage"]
    assert usage["total_octets"] == 1_001_000
    assert usage["input_octets"] == 100_250
    assert network.server.sessions("user") == []


def test_a_repeated_report_is_charged_once_also_after_a_kill(network):
    network = charged(network, 10 * MB)
    gy = GySession(network.peer("smf", "gy"), USER)
    gy.initial()
    answer = gy.update(700_000)
    for _ in range(3):
        assert str(gy.repeat()) == str(answer)
    assert used(network) == 700_000
    network.server.kill()
    network.server.start()
    gy.peer.connect_again()
    assert str(gy.repeat()) == str(answer)
    assert used(network) == 700_000
    gy.terminate(50_000)
    gy.repeat()
    assert used(network) == 750_000


def test_parallel_sessions_never_have_more_than_there_is(network):
    network = charged(network, 2 * MB, slice_octets=MB)
    smf = network.peer("smf", "gy")
    sessions = [GySession(smf, USER, apn=f"apn{number}") for number in range(6)]
    for gy in sessions:
        gy.initial(expect=None)
    held = [gy.granted.get(None) or 0 for gy in sessions]
    assert sum(held) <= 2 * MB
    assert sum(1 for one in held if one) >= 2
    for gy, octets in zip(sessions, held, strict=True):
        if octets:
            gy.terminate(octets)
    assert used(network) == sum(held)


def test_rating_groups_have_grants_of_their_own(network):
    network = charged(network, 10 * MB)
    gy = GySession(network.peer("smf", "gy"), USER)
    gy.initial(groups=(1, 2), octets=None)
    assert set(gy.granted) == {1, 2}
    gy.update(500_000, group=2)
    assert gy.granted[2]
    assert used(network) == 500_000


def test_the_last_grant_says_what_comes_after_it(network):
    network = charged(network, MB // 2)
    gy = GySession(network.peer("smf", "gy"), USER)
    gy.initial()
    total = gy.granted[None]
    while gy.final[None] is None:
        gy.update(gy.granted[None])
        total += gy.granted[None]
    assert gy.final[None]["Final-Unit-Action"] == TERMINATE
    assert total == MB // 2


def test_a_top_up_is_offered_to_who_had_nothing_left(network):
    network = charged(network, MB)
    smf = network.peer("smf", "gy")
    gy = GySession(smf, USER)
    gy.initial()
    gy.update(MB, expect=None)
    network.server.api("POST", "/v1/services/user/top-ups", {"id": "t1", "octets": 5 * MB})
    again = GySession(smf, USER) if smf.requests == [] and network.server.sessions("user") == [] else gy
    if again is gy:
        smf.expect("RAR")
        gy.update(0)
    else:
        again.initial()
    assert again.granted[None] == MB


def test_a_throttle_lowers_gx_and_gy_goes_on_granting(network):
    network = charged(network, 2 * MB, THROTTLE)
    smf = network.peer("smf", "gx", "gy")
    gx, gy = GxSession(smf, USER), GySession(smf, USER)
    gx.initial()
    gy.initial()
    assert gx.rate == (10 * MB, 5 * MB)
    gy.update(MB)
    gy.update(MB)
    smf.wait(lambda: gx.rate == (MB, 500_000), "throttled")
    assert gy.granted[None] is None or gy.granted[None] > 0
    network.converged("user", sessions=2)
    gx.terminate()
    gy.terminate(100_000)
    assert used(network) == 2_100_000


def test_one_meter_counts_where_gx_and_gy_both_report(network):
    network = charged(network, 10 * MB)
    smf = network.peer("smf", "gx", "gy")
    gx, gy = GxSession(smf, USER), GySession(smf, USER)
    gx.initial()
    gy.initial()
    gy.update(MB)
    gx.report(MB)
    assert used(network) == MB


def test_events_check_debit_and_refund(network):
    network = charged(network, MB)
    smf = network.peer("smf", "gy")
    units = ("Requested-Service-Unit", [("CC-Total-Octets", 400_000)])
    debit = GySession(smf, USER)
    debit.event([("Multiple-Services-Credit-Control", [units])])
    assert used(network) == 400_000
    debit.repeat()
    assert used(network) == 400_000
    check = GySession(smf, USER).event([("Multiple-Services-Credit-Control", [units])], action=2)
    assert check["Check-Balance-Result"] == 0
    assert left(network) == 600_000
    refund = GySession(smf, USER)
    refund.event([("Multiple-Services-Credit-Control", [units])], action=1)
    refund.repeat()
    assert left(network) == MB


def test_a_suspended_service_is_refused_what_it_asks_next(network):
    network = charged(network, 10 * MB)
    smf = network.peer("smf", "gy")
    gy = GySession(smf, USER)
    gy.initial()
    network.server.api("POST", "/v1/services/user/state", {"state": "suspended", "revision": 2})
    assert smf.expect("RAR")["Session-Id"] == gy.id
    answer = gy.update(100_000, expect=None)
    assert (answer.result, gy.results[None]) != (2001, 2001)
    assert not gy.granted[None]
    assert used(network) == 100_000
