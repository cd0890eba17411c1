"""What Open5GS 2.7.7 does otherwise than the standard: it is served as it is, by `family = "open5gs"`.

Its core is freeDiameter's, which plays it here; what it ignores, drops or aborts over was observed on the wire.
"""

import pytest

from tests.e2e.mobile import PEERS
from tests.lab.clients import PLMN, GxSession, GySession, Mme
from tests.lab.wire import Message

MB = 1_000_000
NO_CREDIT = 4012
SUBSCRIPTION_WITHDRAWAL = 2


@pytest.fixture
def open5gs(network):
    """(network, SMF, MME)."""
    network = network(peers=[PEERS[0] | {"family": "open5gs"}], quota_slice=MB, quota_slice_min=MB // 10)
    return network, network.daemon("smf", "gx", "gy"), Mme(network.daemon("mme", "s6a"))


def attach(mme, user):
    vector = mme.air(user.imsi)["Authentication-Info"].all("E-UTRAN-Vector")[0]
    user.usim.authenticate(vector, PLMN)
    return mme.ulr(user.imsi)


def test_a_bearer_that_ignores_its_release_ends_with_the_registration(open5gs):
    """The SMF acknowledges Session-Release-Cause and goes on: only a CLR to its MME detaches the subscriber."""
    network, smf, mme = open5gs
    user = network.user(quota=10 * MB)
    attach(mme, user)
    gx, gy = GxSession(smf, user.imsi), GySession(smf, user.imsi)
    gx.initial()
    gy.initial()
    for definition in gx.rules.values():
        assert not isinstance(definition, str), "a rule by its name only is not supported"
        assert "Rating-Group" not in definition, "older SMFs abort over it"
    network.state(user, "suspended")
    request = mme.peer.expect("CLR")
    assert request["User-Name"] == user.imsi
    gx.terminate()
    gy.terminate(1_000)
    network.ended(user)
    assert network.server.status(user.service)["usage"]["total_octets"] == 1_000
    refused = mme.air(user.imsi)
    assert refused.result not in (2001, 0)


def test_no_credit_is_told_on_the_message_s_level(open5gs):
    """A refusal inside the Multiple-Services-Credit-Control makes the SMF abort."""
    network, smf, _ = open5gs
    user = network.user(quota=MB)
    gy = GySession(smf, user.imsi)
    gy.initial()
    answer: Message | None = None
    for _ in range(20):
        answer = gy.update(gy.granted[None] or 0, expect=None)
        if answer.result != 2001:
            break
    assert answer is not None
    assert answer.result == NO_CREDIT
    assert all(
        "Result-Code" not in one or one["Result-Code"] == 2001 for one in answer.all("Multiple-Services-Credit-Control")
    )
    assert network.server.status(user.service)["usage"]["total_octets"] == MB


def test_a_change_of_plan_reaches_gx_and_the_mme(open5gs):
    network, smf, mme = open5gs
    user = network.user()
    attach(mme, user)
    gx = GxSession(smf, user.imsi)
    gx.initial()
    network.change(user, plan_id=network.plan("fast", 50 * MB, 20 * MB))
    smf.expect("RAR")
    assert gx.rate == (50 * MB, 20 * MB)
    assert mme.peer.expect("IDR")["Subscription-Data"]["AMBR"]["Max-Requested-Bandwidth-DL"] == 50 * MB
    network.converged(user, sessions=2)


def test_an_update_of_who_was_barred_meanwhile_can_be_read(open5gs):
    """A failed ULA without ULA-Flags and Subscription-Data is dropped, and the subscriber hangs."""
    network, _, mme = open5gs
    user = network.user()
    user.usim.authenticate(mme.air(user.imsi)["Authentication-Info"].all("E-UTRAN-Vector")[0], PLMN)
    network.state(user, "suspended")
    answer = mme.ulr(user.imsi)
    assert "ULA-Flags" in answer
    data = answer["Subscription-Data"]
    assert "AMBR" in data
    assert answer.result != 2001 or data["Subscriber-Status"] == 1
