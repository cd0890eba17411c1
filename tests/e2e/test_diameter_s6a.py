"""S6a: MMEs, played by OTP and freeDiameter, attach a SIM of TS 35.208, and are pushed what changes."""

import pytest

from tests.e2e.mobile import IMSI, MSISDN, OPC, K
from tests.lab.clients import PLMN, Mme
from tests.lab.usim import Usim

UNKNOWN_USER = 5001
MME_UPDATE, SUBSCRIPTION_WITHDRAWAL = 0, 2
OPERATOR_DETERMINED_BARRING = 1


def vector_of(answer):
    return answer["Authentication-Info"].all("E-UTRAN-Vector")[0]


def tbcd(digits: str) -> bytes:
    digits += "f" * (len(digits) % 2)
    return bytes.fromhex("".join(digits[at + 1] + digits[at] for at in range(0, len(digits), 2)))


@pytest.mark.parametrize("stack", ["peer", "daemon"])
def test_a_sim_attaches_by_otp_and_by_freediameter(network, stack):
    network = network()
    mme, usim = Mme(getattr(network, stack)("mme", "s6a")), Usim(K, OPC)
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
    session = network.server.sessions("erin")
    assert [one["protocol"] for one in session] == ["s6a"]
    assert mme.pur(IMSI).result == 2001


def test_a_sim_whose_counter_is_ahead_is_resynchronised(network):
    network = network()
    mme, usim = Mme(network.peer("mme", "s6a")), Usim(K, OPC, sqn=1 << 40)
    challenge = vector_of(mme.air(IMSI))
    with pytest.raises(AssertionError, match="not fresh"):
        usim.authenticate(challenge, PLMN)
    answer = mme.air(IMSI, resynchronization=usim.auts(challenge["RAND"]))
    assert usim.authenticate(vector_of(answer), PLMN).sqn > 1 << 40


def test_an_auts_by_another_key_changes_nothing(network):
    network = network()
    mme = Mme(network.peer("mme", "s6a"))
    genuine, forged = Usim(K, OPC), Usim("0" * 32, OPC, sqn=1 << 46)
    challenge = vector_of(mme.air(IMSI))
    before = genuine.authenticate(challenge, PLMN).sqn
    mme.air(IMSI, resynchronization=forged.auts(challenge["RAND"]))
    after = genuine.authenticate(vector_of(mme.air(IMSI)), PLMN).sqn
    assert before < after < 1 << 40


def test_several_vectors_are_in_order(network):
    network = network()
    mme, usim = Mme(network.peer("mme", "s6a")), Usim(K, OPC)
    vectors = mme.air(IMSI, vectors=3)["Authentication-Info"].all("E-UTRAN-Vector")
    assert 1 <= len(vectors) <= 3
    for vector in vectors:
        usim.authenticate(vector, PLMN)


def test_who_may_not_attach_is_told_in_the_authentication_answer(network):
    """Open5GS hangs its subscriber on a refused ULA, and understands every one of these in an AIA."""
    network = network()
    mme = Mme(network.peer("mme", "s6a"))
    unknown = mme.air("001010000000099")
    assert (unknown.result, unknown.experimental) == (UNKNOWN_USER, True)
    network.sim("8900101000000000101", "001010000000101")
    stock = mme.air("001010000000101")
    assert stock.result == UNKNOWN_USER
    network.server.api("POST", "/v1/services/erin/state", {"state": "suspended", "revision": 2})
    suspended = mme.air(IMSI)
    assert suspended.result not in (2001, 0)
    assert "Authentication-Info" not in suspended
    network.server.api("POST", "/v1/services/erin/state", {"state": "active", "revision": 3})
    assert mme.air(IMSI).result == 2001


def test_a_newer_registration_cancels_the_older_one(network):
    network = network()
    old, new = network.peer("mme-a", "s6a"), network.peer("mme-b", "s6a")
    Mme(old).air(IMSI)
    Mme(old).ulr(IMSI)
    Mme(new).air(IMSI)
    Mme(new).ulr(IMSI)
    request = old.expect("CLR")
    assert (request["User-Name"], request["Cancellation-Type"]) == (IMSI, MME_UPDATE)
    assert [one["nas"] for one in network.server.sessions("erin")] == [new.host]


def test_a_change_of_plan_and_a_barring_are_pushed_to_the_mme(network):
    network = network()
    peer = network.peer("mme", "s6a")
    mme = Mme(peer)
    mme.air(IMSI)
    mme.ulr(IMSI)
    qos = {
        "qci": 9,
        "arp": {"priority": 8},
        "apn": "internet",
        "apn_ambr": {"down_bps": 50_000_000, "up_bps": 20_000_000},
    }
    network.server.plan("mobile-50", kind="mobile", rate={"down_bps": 50_000_000, "up_bps": 20_000_000}, qos=qos)
    network.server.api("PATCH", "/v1/services/erin", {"plan_id": "mobile-50", "revision": 2})
    pushed = peer.expect("IDR")
    assert pushed["User-Name"] == IMSI
    assert pushed["Subscription-Data"]["AMBR"]["Max-Requested-Bandwidth-DL"] == 50_000_000
    network.converged("erin")
    network.server.api("POST", "/v1/services/erin/state", {"state": "suspended", "revision": 3})
    barred = peer.expect("IDR")["Subscription-Data"]
    assert barred["Subscriber-Status"] == OPERATOR_DETERMINED_BARRING
    network.converged("erin")


def test_a_suspended_sim_is_cancelled(network):
    network = network()
    peer = network.peer("mme", "s6a")
    mme = Mme(peer)
    mme.air(IMSI)
    mme.ulr(IMSI)
    network.server.api("POST", "/v1/sims/8900101000000000019/transition", {"state": "suspended"})
    assert peer.expect("CLR")["Cancellation-Type"] == SUBSCRIPTION_WITHDRAWAL
    network.server.wait_until(lambda: network.server.sessions("erin") == [])
    assert mme.air(IMSI).result != 2001


def test_a_vector_is_never_given_twice_over_a_kill(network):
    network = network()
    usim = Usim(K, OPC)
    usim.authenticate(vector_of(Mme(network.peer("mme-a", "s6a")).air(IMSI)), PLMN)
    network.server.kill()
    network.server.start()
    usim.authenticate(vector_of(Mme(network.peer("mme-b", "s6a")).air(IMSI)), PLMN)
