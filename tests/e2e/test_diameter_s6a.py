"""S6a: MMEs, played by OTP and freeDiameter, attach a SIM of TS 35.208, and are pushed what changes."""

import pytest

from tests.e2e.mobile import IMSI, MSISDN, OPC, K
from tests.e2e.test_backup import aaa
from tests.lab.clients import PLMN, Mme
from tests.lab.usim import Usim
from tests.lab.wire import PROXIABLE, REQUEST, RETRANSMITTED

UNKNOWN_USER = 5001
MME_UPDATE, SUBSCRIPTION_WITHDRAWAL = 0, 2
OPERATOR_DETERMINED_BARRING = 1


def vector_of(answer):
    return answer["Authentication-Info"].all("E-UTRAN-Vector")[0]


def attach(peer, user):
    """AIR, checked by the SIM, and ULR; the MME."""
    mme = Mme(peer)
    user.usim.authenticate(vector_of(mme.air(user.imsi)), PLMN)
    assert mme.ulr(user.imsi).result == 2001
    return mme


def tbcd(digits: str) -> bytes:
    digits += "f" * (len(digits) % 2)
    return bytes.fromhex("".join(digits[at + 1] + digits[at] for at in range(0, len(digits), 2)))


@pytest.mark.parametrize("stack", ["peer", "daemon"])
def test_the_sample_s_sim_attaches_by_otp_and_by_freediameter(mobile, stack):
    mme, usim = Mme(getattr(mobile, stack)("mme", "s6a")), Usim(K, OPC)
    first = usim.authenticate(vector_of(mme.air(IMSI)), PLMN)
    second = usim.authenticate(vector_of(mme.air(IMSI)), PLMN)
    assert second.sqn > first.sqn
    answer = mme.ulr(IMSI)
    assert answer.result == 2001
    data = answer["Subscription-Data"]
    assert data["MSISDN"] == tbcd(MSISDN)
    assert data.get("Subscriber-Status", 0) == 0
    assert data["AMBR"]["Max-Requested-Bandwidth-DL"] == 20_000_000
    assert data["AMBR"]["Max-Requested-Bandwidth-UL"] == 10_000_000
    assert data["Subscribed-Periodic-RAU-TAU-Timer"] == 720
    profile = data["APN-Configuration-Profile"]
    assert profile["All-APN-Configurations-Included-Indicator"] == 0
    apn = next(apn for apn in profile.all("APN-Configuration") if apn["Service-Selection"] == "internet")
    qos = apn["EPS-Subscribed-QoS-Profile"]
    arp = qos["Allocation-Retention-Priority"]
    assert (qos["QoS-Class-Identifier"], arp["Priority-Level"]) == (9, 8)
    found = [(one["protocol"], one["nas"]) for one in mobile.server.sessions("erin")]
    assert ("s6a", mme.peer.host) in found
    assert mme.nor(IMSI).result == 2001
    assert mme.pur(IMSI).result == 2001


def test_a_sim_whose_counter_is_ahead_is_resynchronised(mobile):
    user, mme = mobile.user(), Mme(mobile.peer("mme", "s6a"))
    user.usim.sqn = 1 << 40
    challenge = vector_of(mme.air(user.imsi))
    with pytest.raises(AssertionError, match="not fresh"):
        user.usim.authenticate(challenge, PLMN)
    answer = mme.air(user.imsi, resynchronization=user.usim.auts(challenge["RAND"]))
    assert user.usim.authenticate(vector_of(answer), PLMN).sqn > 1 << 40


def test_an_auts_by_another_key_changes_nothing(mobile):
    user, mme = mobile.user(), Mme(mobile.peer("mme", "s6a"))
    forged = Usim("0" * 32, OPC, sqn=1 << 46)
    challenge = vector_of(mme.air(user.imsi))
    before = user.usim.authenticate(challenge, PLMN).sqn
    mme.air(user.imsi, resynchronization=forged.auts(challenge["RAND"]))
    after = user.usim.authenticate(vector_of(mme.air(user.imsi)), PLMN).sqn
    assert before < after < 1 << 40


def test_several_vectors_are_in_order(mobile):
    user, mme = mobile.user(), Mme(mobile.peer("mme", "s6a"))
    vectors = mme.air(user.imsi, vectors=3)["Authentication-Info"].all("E-UTRAN-Vector")
    assert 1 <= len(vectors) <= 3
    for vector in sorted(vectors, key=lambda vector: vector.get("Item-Number", 0)):
        user.usim.authenticate(vector, PLMN)


def test_a_request_that_comes_again_gets_the_same_vector(mobile):
    user, mme = mobile.user(), Mme(mobile.peer("mme", "s6a"))
    session = [("Session-Id", mme.peer.session_id())]
    first = mme.air(user.imsi, session, end_to_end=77)
    again = mme.air(user.imsi, session, end_to_end=77, flags=REQUEST | PROXIABLE | RETRANSMITTED)
    assert str(again) == str(first)
    user.usim.authenticate(vector_of(again), PLMN)


def test_who_may_not_attach_is_told_in_the_authentication_answer(mobile):
    """Open5GS hangs its subscriber on a refused ULA, and understands every one of these in an AIA."""
    user, mme = mobile.user(), Mme(mobile.peer("mme", "s6a"))
    unknown = mme.air("001010000000099")
    assert (unknown.result, unknown.experimental) == (UNKNOWN_USER, True)
    mobile.sim("8900101000000000101", "001010000000101")
    assert mme.air("001010000000101").result == UNKNOWN_USER, "in stock"
    mobile.state(user, "suspended")
    suspended = mme.air(user.imsi)
    assert suspended.result not in (2001, 0)
    assert "Authentication-Info" not in suspended
    mobile.state(user, "active")
    assert mme.air(user.imsi).result == 2001


def test_a_newer_registration_cancels_the_older_one(mobile):
    user, old, new = mobile.user(), mobile.peer("mme", "s6a"), mobile.peer("mme", "s6a")
    attach(old, user)
    attach(new, user)
    request = old.expect("CLR")
    assert (request["User-Name"], request["Cancellation-Type"]) == (user.imsi, MME_UPDATE)
    assert [one["nas"] for one in mobile.server.sessions(user.service)] == [new.host]


def test_a_change_of_plan_and_a_barring_are_pushed_to_the_mme(mobile):
    user, peer = mobile.user(), mobile.peer("mme", "s6a")
    attach(peer, user)
    mobile.change(user, plan_id=mobile.plan(f"fast-{user.service}", 50_000_000, 20_000_000))
    pushed = peer.expect("IDR")
    assert pushed["User-Name"] == user.imsi
    assert pushed["Subscription-Data"]["AMBR"]["Max-Requested-Bandwidth-DL"] == 50_000_000
    mobile.converged(user)
    mobile.state(user, "suspended")
    barred = peer.expect("IDR")["Subscription-Data"]
    assert barred["Subscriber-Status"] == OPERATOR_DETERMINED_BARRING
    mobile.converged(user)


@pytest.mark.parametrize("state", ["suspended", "retired"])
def test_a_sim_that_is_taken_out_of_use_is_cancelled(mobile, state):
    user, peer = mobile.user(), mobile.peer("mme", "s6a")
    mme = attach(peer, user)
    mobile.server.api("POST", f"/v1/sims/{user.iccid}/transition", {"state": state})
    assert peer.expect("CLR")["Cancellation-Type"] == SUBSCRIPTION_WITHDRAWAL
    mobile.ended(user)
    assert mme.air(user.imsi).result not in (2001, 0)


def test_a_vector_is_never_given_twice_over_a_kill(network):
    network = network()
    usim = Usim(K, OPC)
    usim.authenticate(vector_of(Mme(network.peer("mme", "s6a")).air(IMSI)), PLMN)
    network.server.kill()
    network.server.start()
    usim.authenticate(vector_of(Mme(network.peer("mme", "s6a")).air(IMSI)), PLMN)


def test_an_apn_of_an_add_on_comes_and_goes(mobile):
    """IDR brings it; where it has only gone, a DSR takes it away, and from an MME that knows no DSR an IDR does."""
    user, peer = mobile.user(), mobile.peer("mme", "s6a")
    attach(peer, user)
    qos = {"qci": 5, "arp": {"priority": 8}, "apn": "ims"}
    extra = mobile.server.plan(f"ims-of-{user.service}", kind="mobile", qos=qos)
    mobile.change(user, add_ons=[extra])
    profile = peer.expect("IDR")["Subscription-Data"]["APN-Configuration-Profile"]
    assert {apn["Service-Selection"] for apn in profile.all("APN-Configuration")} == {"internet", "ims"}
    mobile.converged(user)
    (second,) = (apn for apn in profile.all("APN-Configuration") if apn["Service-Selection"] == "ims")
    mobile.change(user, add_ons=[])
    deleted = peer.expect("DSR")
    assert (deleted["User-Name"], deleted["DSR-Flags"] & 8) == (user.imsi, 8)
    assert deleted.all("Context-Identifier") == [second["Context-Identifier"]]
    mobile.converged(user)
    peer.answers["DSR"] = 3001
    mobile.change(user, add_ons=[extra])
    peer.expect("IDR")
    mobile.converged(user)
    mobile.change(user, add_ons=[])
    peer.expect("DSR")
    profile = peer.expect("IDR")["Subscription-Data"]["APN-Configuration-Profile"]
    assert [apn["Service-Selection"] for apn in profile.all("APN-Configuration")] == ["internet"]
    mobile.converged(user)


def test_a_restored_backup_gives_no_vector_twice_and_asks_mmes_to_register_again(network, tmp_path):
    network = network()
    usim, peer = Usim(K, OPC), network.peer("mme", "s6a")
    aaa(network.server, "backup", str(tmp_path / "copy"))
    mme = Mme(peer)
    for _ in range(40):
        usim.authenticate(vector_of(mme.air(IMSI)), PLMN)
    mme.ulr(IMSI)
    assert network.server.stop() == 0
    aaa(network.server, "restore", str(tmp_path / "copy"), "--replace")
    network.server.start()
    peer.connect_again()
    peer.expect("RSR")
    usim.authenticate(vector_of(mme.air(IMSI)), PLMN)
    assert mme.ulr(IMSI).result == 2001
    assert [one["protocol"] for one in network.server.sessions("erin")] == ["s6a"]
