"""Sy: a foreign PCRF, played by OTP, follows a subscriber's policy counters while billing and the ledger move them."""

from tests.e2e.mobile import IMSI
from tests.lab.clients import GySession, SySession

ALL = {"state", "decision", "rate", "quota", "garden"}


def test_a_foreign_pcrf_is_told_the_counters_and_each_change_of_them(network):
    network = network()
    pcrf = network.peer("pcrf", "sy")
    sy = SySession(pcrf, IMSI)
    sy.subscribe()
    assert set(sy.counters) == ALL
    before = dict(sy.counters)
    network.server.api("PATCH", "/v1/services/erin", {"plan_id": "home-50", "revision": 2})
    told = pcrf.expect("SNR")
    assert sy.counters["rate"] != before["rate"]
    # The other plan has no quota either.
    names = {report["Policy-Counter-Identifier"] for report in told.all("Policy-Counter-Status-Report")}
    assert (names, sy.counters["quota"]) == ({"rate", "quota"}, "none")
    network.converged("erin")
    network.server.api("POST", "/v1/services/erin/state", {"state": "suspended", "revision": 3})
    pcrf.expect("SNR")
    assert (sy.counters["state"], sy.counters["decision"]) != (before["state"], before["decision"])
    sy.terminate()
    network.server.wait_until(lambda: network.server.sessions("erin") == [])


def test_only_the_counters_asked_for_are_told(network):
    network = network()
    sy = SySession(network.peer("pcrf", "sy"), IMSI)
    sy.subscribe("state", "quota")
    assert set(sy.counters) == {"state", "quota"}
    sy.subscribe("rate")
    assert "rate" in sy.counters


def test_an_unknown_subscriber_is_refused(network):
    network = network()
    pcrf = network.peer("pcrf", "sy")
    answer = SySession(pcrf, "001010000000099").subscribe(expect=None)
    assert answer.result in (5030, 5003)


def test_the_quota_counter_follows_what_gy_reports(network):
    network = network(quota_slice=2_000_000)
    network.server.plan(
        "small",
        kind="mobile",
        rate={"down_bps": 8_000_000, "up_bps": 4_000_000},
        quota={"octets": 4_000_000, "period": "month"},
        on_exhausted=[{"throttle": {"down_bps": 1_000_000, "up_bps": 1_000_000}}],
        qos={"qci": 9, "arp": {"priority": 8}, "apn": "internet"},
    )
    network.subscriber("user", "small")
    network.sim("8900101000000000101", "001010000000101", "user")
    pcrf, smf = network.peer("pcrf", "sy"), network.peer("smf", "gy")
    sy, gy = SySession(pcrf, "001010000000101"), GySession(smf, "001010000000101")
    sy.subscribe("quota", "rate")
    before = dict(sy.counters)
    gy.initial()
    gy.update(2_000_000)
    gy.update(2_000_000)
    pcrf.wait(lambda: sy.counters["quota"] != before["quota"] and sy.counters["rate"] != before["rate"], "told")
