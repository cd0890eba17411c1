"""Sy: a foreign PCRF, by OTP and freeDiameter, follows policy counters while billing and the ledger move them."""

import pytest

from tests.lab.clients import GySession, SySession

MB = 1_000_000
ALL = {"state", "decision", "rate", "quota", "garden"}
UNKNOWN = (5030, 5003)


@pytest.mark.parametrize("stack", ["peer", "daemon"])
def test_a_foreign_pcrf_is_told_the_counters_and_each_change_of_them(mobile, stack):
    user, pcrf = mobile.user(quota=10 * MB), getattr(mobile, stack)("pcrf", "sy")
    sy = SySession(pcrf, user.imsi)
    sy.subscribe()
    assert set(sy.counters) == ALL
    before = dict(sy.counters)
    mobile.change(user, plan_id=mobile.plan(f"unmetered-{user.service}", 50 * MB, 20 * MB))
    told = pcrf.expect("SNR")
    assert sy.counters["rate"] != before["rate"]
    # The new plan has another rate and no quota; nothing else is told.
    reports = told.all("Policy-Counter-Status-Report")
    assert {report["Policy-Counter-Identifier"] for report in reports} == {"rate", "quota"}
    mobile.converged(user)
    mobile.state(user, "suspended")
    pcrf.expect("SNR")
    assert (sy.counters["state"], sy.counters["decision"]) != (before["state"], before["decision"])
    sy.terminate()
    mobile.ended(user)


def test_only_the_counters_asked_for_are_told(mobile):
    sy = SySession(mobile.peer("pcrf", "sy"), mobile.user().imsi)
    sy.subscribe("state", "quota")
    assert set(sy.counters) == {"state", "quota"}
    sy.subscribe("rate")
    assert "rate" in sy.counters


def test_an_unknown_subscriber_is_refused(mobile):
    pcrf = mobile.peer("pcrf", "sy")
    assert SySession(pcrf, "001010000000099").subscribe(expect=None).result in UNKNOWN


def test_the_quota_counter_follows_what_gy_reports(mobile):
    user = mobile.user(quota=4 * MB, on_exhausted=[{"throttle": {"down_bps": MB, "up_bps": MB}}])
    pcrf, smf = mobile.peer("pcrf", "sy"), mobile.peer("smf", "gy")
    sy, gy = SySession(pcrf, user.imsi), GySession(smf, user.imsi)
    sy.subscribe("quota", "rate")
    before = dict(sy.counters)
    gy.initial()
    gy.update(2 * MB)
    gy.update(2 * MB)
    pcrf.wait(lambda: sy.counters["quota"] != before["quota"] and sy.counters["rate"] != before["rate"], "told")


def test_a_sim_that_is_retired_ends_the_subscription(mobile):
    user, pcrf = mobile.user(), mobile.peer("pcrf", "sy")
    sy = SySession(pcrf, user.imsi)
    sy.subscribe()
    mobile.server.api("POST", f"/v1/sims/{user.iccid}/transition", {"state": "retired"})
    pcrf.wait(lambda: sy.counters["state"] == "terminated", "told that it is over")
    mobile.ended(user)
