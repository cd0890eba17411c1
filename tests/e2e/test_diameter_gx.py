"""Gx: PCEFs, played by OTP and freeDiameter, get a plan's rules and are brought to its changes by RAR."""

import pytest

from tests.e2e.mobile import IMSI, MSISDN
from tests.lab.clients import GxSession
from tests.lab.peer import UNABLE_TO_COMPLY, UNKNOWN_SESSION_ID, Silence

MB = 1_000_000
PLAN, FAST = (20 * MB, 10 * MB), (50 * MB, 20 * MB)
USAGE_REPORT = 33


def upgrade(network, user):
    network.change(user, plan_id=network.plan(f"fast-{user.service}", *FAST))


@pytest.mark.parametrize("stack", ["peer", "daemon"])
def test_a_bearer_lives_under_its_plan(mobile, stack):
    user, smf = mobile.user(), getattr(mobile, stack)("smf", "gx")
    gx = GxSession(smf, user.imsi, msisdn=MSISDN)
    gx.initial()
    assert gx.rate == PLAN
    arp = gx.qos["Allocation-Retention-Priority"]
    assert (gx.qos["QoS-Class-Identifier"], arp["Priority-Level"], arp["Pre-emption-Capability"]) == (9, 8, 1)
    (session,) = mobile.server.sessions(user.service)
    assert (session["protocol"], session["nas"]) == ("gx", smf.host)
    upgrade(mobile, user)
    assert smf.expect("RAR")["Session-Id"] == gx.id
    assert gx.rate == FAST
    mobile.converged(user)
    gx.terminate()
    assert mobile.server.sessions(user.service) == []


def test_the_imsi_decides_and_not_the_order_or_the_number(mobile):
    """The sample's SIM, with somebody else's number before and behind it."""
    gx = GxSession(mobile.peer("smf", "gx"), IMSI)
    number = [("Subscription-Id-Type", 0), ("Subscription-Id-Data", "19995550000")]
    imsi = [("Subscription-Id-Type", 1), ("Subscription-Id-Data", IMSI)]
    gx.initial([("Subscription-Id", number), ("Subscription-Id", imsi), ("Subscription-Id", number)])
    assert gx.rate == PLAN
    assert [session["id"] for session in mobile.server.sessions("erin")]
    gx.terminate()


def test_who_may_not_is_refused_with_a_base_result_code(mobile):
    """Open5GS drops a CCA that has an Experimental-Result only, and its session hangs."""
    user, smf = mobile.user(), mobile.peer("smf", "gx")
    assert GxSession(smf, "001010000000099").initial(expect=None)["Result-Code"] in (5030, 5003)
    mobile.state(user, "suspended")
    assert GxSession(smf, user.imsi).initial(expect=None)["Result-Code"] >= 4000
    assert mobile.server.sessions(user.service) == []


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


def test_a_pcef_that_does_not_take_the_rules_is_told_to_release_the_bearer(mobile):
    user, smf = mobile.user(), mobile.peer("smf", "gx")
    gx = GxSession(smf, user.imsi)
    gx.initial()
    smf.answers["RAR"] = lambda request: 2001 if "Session-Release-Cause" in request else UNABLE_TO_COMPLY
    upgrade(mobile, user)
    smf.wait(lambda: gx.released is not None, "released")
    gx.terminate()
    mobile.ended(user)


def test_a_session_that_the_pcef_has_lost_is_over(mobile):
    user, smf = mobile.user(), mobile.peer("smf", "gx")
    GxSession(smf, user.imsi).initial()
    smf.answers["RAR"] = UNKNOWN_SESSION_ID
    upgrade(mobile, user)
    smf.expect("RAR")
    mobile.ended(user)


def test_an_unanswered_rar_is_sent_again(network):
    peers = [{"origin_host": "smf.localdomain", "address": ["127.0.0.0/8"], "answer_timeout": "200ms"}]
    network = network(peers=peers)
    user, smf = network.user(), network.peer("smf", "gx")
    gx = GxSession(smf, user.imsi)
    gx.initial()
    answers = iter([Silence])
    smf.answers["RAR"] = lambda request: next(answers, 2001)
    upgrade(network, user)
    smf.expect("RAR")
    smf.expect("RAR")
    assert gx.rate == FAST
    network.converged(user)


def test_a_suspension_releases_the_bearer(mobile):
    user, smf = mobile.user(), mobile.peer("smf", "gx")
    gx = GxSession(smf, user.imsi)
    gx.initial()
    mobile.state(user, "suspended")
    smf.wait(lambda: gx.released is not None, "released")
    gx.terminate()
    mobile.ended(user)


def test_usage_that_a_pcef_monitors_throttles_it_when_the_quota_is_used_up(mobile):
    """Without Gy, usage monitoring on Gx is the meter."""
    throttle = [{"throttle": {"down_bps": MB, "up_bps": MB // 2}}]
    user = mobile.user(quota=2 * MB, on_exhausted=throttle)
    gx = GxSession(mobile.peer("smf", "gx"), user.imsi)
    gx.initial()
    assert gx.rate == PLAN
    assert USAGE_REPORT in gx.triggers
    gx.report(MB)
    assert gx.rate == PLAN
    gx.report(MB)
    gx.peer.wait(lambda: gx.rate == (MB, MB // 2), "throttled")
    gx.repeat()
    assert mobile.server.status(user.service)["usage"]["total_octets"] == 2 * MB
    mobile.converged(user)


def test_a_session_that_is_not_known_is_taken_over(mobile):
    user = mobile.user()
    gx = GxSession(mobile.peer("smf", "gx"), user.imsi)
    gx.number, gx.server = 4, "aaa.localdomain"
    gx.update([("Framed-IP-Address", bytes((10, 45, 0, 2)))])
    (session,) = mobile.server.sessions(user.service)
    assert session["protocol"] == "gx"
    gx.terminate()
    assert mobile.server.sessions(user.service) == []


VIDEO = {"name": "video", "rating_group": 20, "free": True, "precedence": 10,
         "flows": [{"description": "permit out ip from 198.51.100.0/24 to any"}]}  # fmt: skip
VOICE = {"name": "voice", "qci": 1, "arp": {"priority": 2}, "precedence": 5,
         "guaranteed_rate": {"down_bps": 64_000, "up_bps": 64_000}, "max_rate": {"down_bps": 96_000, "up_bps": 96_000},
         "flows": [{"description": "permit out 17 from 203.0.113.7 to any", "direction": "up"}]}  # fmt: skip
ALL = {"name": "all", "flows": [{"description": "permit out ip from any to any"}]}


def test_rules_of_a_plan_are_installed_changed_and_removed(mobile):
    user, smf = mobile.user(), mobile.peer("smf", "gx")
    before = mobile.plan(f"before-{user.service}", *PLAN, rules=[VIDEO, ALL])
    after = mobile.plan(f"after-{user.service}", *PLAN, rules=[VOICE, ALL, {"name": "cache", "kind": "predefined"}])
    mobile.change(user, plan_id=before)
    gx = GxSession(smf, user.imsi)
    gx.initial()
    assert set(gx.rules) == {"video", "all"}
    video = gx.rules["video"]
    assert (video["Rating-Group"], video["Precedence"]) == (20, 10)
    flows = [(flow["Flow-Direction"], flow["Flow-Description"]) for flow in video.all("Flow-Information")]
    text = "permit out ip from 198.51.100.0/24 to any"
    assert flows in ([(3, text)], [(1, text), (2, text)])
    mobile.change(user, plan_id=after)
    smf.expect("RAR")
    assert set(gx.rules) == {"voice", "all", "cache"}
    qos = gx.rules["voice"]["QoS-Information"]
    assert (qos["QoS-Class-Identifier"], qos["Allocation-Retention-Priority"]["Priority-Level"]) == (1, 2)
    assert (qos["Guaranteed-Bitrate-DL"], qos["Max-Requested-Bandwidth-DL"]) == (64_000, 96_000)
    mobile.converged(user)


def test_a_rule_that_the_pcef_cannot_install_is_known_as_not_in_force(mobile):
    user, smf = mobile.user(), mobile.peer("smf", "gx")
    plan = mobile.plan(f"rules-{user.service}", *PLAN, rules=[ALL, {"name": "cache", "kind": "predefined"}])
    mobile.change(user, plan_id=plan)
    gx = GxSession(smf, user.imsi)
    gx.initial()
    report = [("Charging-Rule-Name", "cache"), ("PCC-Rule-Status", 1), ("Rule-Failure-Code", 1)]
    gx.update([("Charging-Rule-Report", report)])
    (session,) = mobile.server.sessions(user.service)
    assert "cache" in str(session)
    gx.terminate()
