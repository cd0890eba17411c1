"""Gx: PCEFs, played by OTP and freeDiameter, get a plan's rules and are brought to its changes by RAR."""

import pytest

from tests.e2e.mobile import IMSI, MSISDN
from tests.lab.clients import GxSession
from tests.lab.peer import UNABLE_TO_COMPLY, UNKNOWN_SESSION_ID, Silence

USAGE_REPORT = 33
QOS = {"qci": 9, "arp": {"priority": 8, "preempt": False, "preemptable": True}, "apn": "internet"}


def faster(network, revision=2):
    """erin's plan becomes one of 50/20 Mbit/s."""
    rate = {"down_bps": 50_000_000, "up_bps": 20_000_000}
    network.server.plan("mobile-50", kind="mobile", rate=rate, qos=QOS | {"apn_ambr": rate})
    network.server.api("PATCH", "/v1/services/erin", {"plan_id": "mobile-50", "revision": revision})


@pytest.mark.parametrize("stack", ["peer", "daemon"])
def test_a_bearer_lives_under_its_plan(network, stack):
    network = network()
    smf = getattr(network, stack)("smf", "gx")
    gx = GxSession(smf, IMSI, msisdn=MSISDN)
    gx.initial()
    assert gx.rate == (20_000_000, 10_000_000)
    arp = gx.qos["Allocation-Retention-Priority"]
    assert (gx.qos["QoS-Class-Identifier"], arp["Priority-Level"], arp["Pre-emption-Capability"]) == (9, 8, 1)
    (session,) = network.server.sessions("erin")
    assert (session["protocol"], session["nas"]) == ("gx", smf.host)
    faster(network)
    request = smf.expect("RAR")
    assert request["Session-Id"] == gx.id
    assert gx.rate == (50_000_000, 20_000_000)
    network.converged("erin")
    gx.terminate()
    assert network.server.sessions("erin") == []


def test_the_imsi_decides_and_not_the_order_or_the_number(network):
    network = network()
    gx = GxSession(network.peer("smf", "gx"), IMSI)
    wrong_number = [("Subscription-Id-Type", 0), ("Subscription-Id-Data", "19995550000")]
    imsi = [("Subscription-Id-Type", 1), ("Subscription-Id-Data", IMSI)]
    gx.initial([("Subscription-Id", wrong_number), ("Subscription-Id", imsi)])
    assert gx.rate == (20_000_000, 10_000_000)


def test_who_may_not_is_refused_with_a_base_result_code(network):
    """Open5GS drops a CCA that has an Experimental-Result only, and its session hangs."""
    network = network()
    smf = network.peer("smf", "gx")
    unknown = GxSession(smf, "001010000000099").initial(expect=None)
    assert unknown["Result-Code"] in (5030, 5003)
    network.server.api("POST", "/v1/services/erin/state", {"state": "suspended", "revision": 2})
    suspended = GxSession(smf, IMSI).initial(expect=None)
    assert suspended["Result-Code"] >= 4000
    assert network.server.sessions("erin") == []


def test_a_repeated_request_is_answered_again_also_after_a_kill(network):
    network = network()
    gx = GxSession(network.peer("smf", "gx"), IMSI)
    first = gx.initial()
    assert str(gx.repeat()) == str(first)
    network.server.kill()
    network.server.start()
    gx.peer.connect_again()
    assert str(gx.repeat()) == str(first)
    assert len(network.server.sessions("erin")) == 1


def test_a_pcef_that_does_not_take_the_rules_is_told_to_release_the_bearer(network):
    network = network()
    smf = network.peer("smf", "gx")
    gx = GxSession(smf, IMSI)
    gx.initial()
    smf.answers["RAR"] = lambda request: 2001 if "Session-Release-Cause" in request else UNABLE_TO_COMPLY
    faster(network)
    smf.wait(lambda: gx.released is not None, "released")
    gx.terminate()
    network.server.wait_until(lambda: network.server.sessions("erin") == [])


def test_a_session_that_the_pcef_has_lost_is_over(network):
    network = network()
    smf = network.peer("smf", "gx")
    GxSession(smf, IMSI).initial()
    smf.answers["RAR"] = UNKNOWN_SESSION_ID
    faster(network)
    smf.expect("RAR")
    network.server.wait_until(lambda: network.server.sessions("erin") == [])


def test_an_unanswered_rar_is_sent_again(network):
    peers = [{"origin_host": "smf.localdomain", "address": ["127.0.0.0/8"], "answer_timeout": "200ms"}]
    network = network(peers=peers)
    smf = network.peer("smf", "gx")
    gx = GxSession(smf, IMSI)
    gx.initial()
    answers = iter([Silence])
    smf.answers["RAR"] = lambda request: next(answers, 2001)
    faster(network)
    smf.expect("RAR")
    smf.expect("RAR")
    assert gx.rate == (50_000_000, 20_000_000)
    network.converged("erin")


def test_a_suspension_releases_the_bearer(network):
    network = network()
    smf = network.peer("smf", "gx")
    gx = GxSession(smf, IMSI)
    gx.initial()
    network.server.api("POST", "/v1/services/erin/state", {"state": "suspended", "revision": 2})
    smf.wait(lambda: gx.released is not None, "released")
    gx.terminate()
    network.server.wait_until(lambda: network.server.sessions("erin") == [])


def test_usage_that_a_pcef_monitors_throttles_it_when_the_quota_is_used_up(network):
    """Without Gy, usage monitoring on Gx is the meter."""
    network = network(quota_slice=1_000_000)
    rate = {"down_bps": 10_000_000, "up_bps": 5_000_000}
    network.server.plan(
        "small", kind="mobile", rate=rate, quota={"octets": 2_000_000, "period": "month"}, qos=QOS | {"apn_ambr": rate},
        on_exhausted=[{"throttle": {"down_bps": 1_000_000, "up_bps": 500_000}}],
    )  # fmt: skip
    network.subscriber("user", "small")
    network.sim("8900101000000000101", "001010000000101", "user")
    gx = GxSession(network.peer("smf", "gx"), "001010000000101")
    gx.initial()
    assert gx.rate == (10_000_000, 5_000_000)
    assert USAGE_REPORT in gx.triggers
    gx.report(1_000_000)
    assert gx.rate == (10_000_000, 5_000_000)
    gx.report(1_000_000)
    gx.peer.wait(lambda: gx.rate == (1_000_000, 500_000), "throttled")
    assert network.server.status("user")["usage"]["total_octets"] == 2_000_000
    gx.repeat()
    assert network.server.status("user")["usage"]["total_octets"] == 2_000_000
    network.converged("user")


def test_a_session_that_is_not_known_is_taken_over(network):
    network = network()
    gx = GxSession(network.peer("smf", "gx"), IMSI)
    gx.number, gx.server = 4, "aaa.localdomain"
    gx.update([("Framed-IP-Address", bytes((10, 45, 0, 2)))])
    (session,) = network.server.sessions("erin")
    assert session["protocol"] == "gx"
    gx.terminate()
    assert network.server.sessions("erin") == []
