"""The life of a mobile subscriber, driven by billing through the sync API and lived by real peers over TCP and TLS."""

import pytest

from tests.e2e.peers import ROOT, nas
from tests.e2e.wire import ACCESS_ACCEPT, CLASS
from tests.lab.clients import PLMN, GxSession, GySession, Mme
from tests.lab.usim import Usim

MB = 1_000_000
ICCID, NEXT_ICCID = "8900101000000000200", "8900101000000000201"
USER, NEXT = "001010000000200", "001010000000201"
SUBSCRIPTION_WITHDRAWAL = 2
POLICY = f'[policy]\ndir = "{ROOT}/conf/policy"\n'
"""The shipped rules and automations."""


def rate(down, up):
    return {"down_bps": down * MB, "up_bps": up * MB}


def qos(down, up):
    return {"qci": 9, "arp": {"priority": 8}, "apn": "internet", "apn_ambr": rate(down, up)}


def plans(server):
    throttle = [{"throttle": rate(1, 1)}]
    server.plan(
        "mobile-s",
        kind="mobile",
        rate=rate(10, 5),
        quota={"octets": 3 * MB, "period": "month"},
        qos=qos(10, 5),
        on_exhausted=throttle,
    )
    server.plan(
        "mobile-l",
        kind="mobile",
        rate=rate(50, 20),
        quota={"octets": 50 * MB, "period": "month"},
        qos=qos(50, 20),
        on_exhausted=throttle,
    )


def import_batch(network, keys):
    """Twenty SIMs in stock, in one sync; their USIMs by IMSI."""
    operations, usims = [], {}
    for number in range(200, 220):
        imsi, ki = f"001010000000{number}", f"{number:032d}"
        value = {"revision": 1, "imsi": imsi, "ki": ki, "opc": keys, "amf": "8000", "batch": "b1", "state": "stock"}
        operations.append({"op": "put", "kind": "sim", "id": f"8900101000000000{number}", "value": value})
        usims[imsi] = Usim(ki, keys)
    network.server.sync(*operations)
    return usims


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("stack", ["peer", "daemon"], ids=["otp", "freediameter"])
def test_a_whole_life_from_the_import_of_the_sim_to_its_replacement(network, stack, tls):
    network = network(tls=True, quota_slice=MB, quota_slice_min=MB // 2, extra=POLICY)
    server = network.server
    plans(server)
    network.subscriber("user", "mobile-s")
    usims = import_batch(network, "CD63CB71954A9F4E48A5994E37A02BAF")
    smf, core = getattr(network, stack)("smf", "gx", "gy", tls=tls), getattr(network, stack)("mme", "s6a", tls=tls)
    mme = Mme(core)

    # Imported → assigned → activated: before the last step nobody is let in.
    assert mme.air(USER).result == 5001
    server.api("POST", f"/v1/sims/{ICCID}/transition", {"state": "assigned", "service_id": "user"})
    assert mme.air(USER).result != 2001
    server.api("POST", f"/v1/sims/{ICCID}/transition", {"state": "activated"})

    # Attach: the SIM believes the network, and the MME gets the plan.
    vector = mme.air(USER)["Authentication-Info"].all("E-UTRAN-Vector")[0]
    usims[USER].authenticate(vector, PLMN)
    data = mme.ulr(USER)["Subscription-Data"]
    assert data["AMBR"]["Max-Requested-Bandwidth-DL"] == 10 * MB

    # A bearer with the plan's rules and a grant.
    gx, gy = GxSession(smf, USER), GySession(smf, USER)
    gx.initial()
    gy.initial()
    assert gx.rate == (10 * MB, 5 * MB)
    assert gy.granted[None] == MB
    network.converged("user", sessions=3)

    # Used, exhausted, throttled: Gy goes on granting.
    for _ in range(3):
        gy.update(MB)
    smf.wait(lambda: gx.rate == (MB, MB), "throttled")
    assert gy.granted[None] != 0
    status = network.converged("user", sessions=3)
    assert status["usage"]["total_octets"] == 3 * MB
    assert status["quota"]["left_octets"] == 0

    # Topped up, restored.
    server.api("POST", "/v1/services/user/top-ups", {"id": "t1", "octets": 5 * MB})
    smf.wait(lambda: gx.rate == (10 * MB, 5 * MB), "restored")
    network.converged("user", sessions=3)

    # Upgraded, without a new attach; the MME hears of it too.
    server.sync({"op": "patch", "kind": "service", "id": "user", "value": {"plan_id": "mobile-l", "revision": 2}})
    smf.wait(lambda: gx.rate == (50 * MB, 20 * MB), "upgraded")
    network.converged("user", sessions=3)
    pushed = [one for one in core.requests if one.name == "IDR"]
    assert pushed[-1]["Subscription-Data"]["AMBR"]["Max-Requested-Bandwidth-DL"] == 50 * MB

    # Overdue, restricted; paid, restored.
    server.sync(
        {"op": "patch", "kind": "subscriber", "id": "user", "value": {"billing": {"overdue_days": 15}, "revision": 2}}
    )
    smf.wait(lambda: gx.rate == (MB, MB), "restricted")
    assert network.converged("user", sessions=3)["state"] == "restricted"
    server.sync(
        {"op": "patch", "kind": "subscriber", "id": "user", "value": {"billing": {"overdue_days": 0}, "revision": 3}}
    )
    smf.wait(lambda: gx.rate == (50 * MB, 20 * MB), "paid")
    assert network.converged("user", sessions=3)["state"] == "active"

    # Replaced: the old SIM is cancelled, its bearer released, its vectors refused.
    server.api("POST", f"/v1/sims/{ICCID}/replace", {"iccid": NEXT_ICCID})
    cancelled = core.expect("CLR")
    assert (cancelled["User-Name"], cancelled["Cancellation-Type"]) == (USER, SUBSCRIPTION_WITHDRAWAL)
    smf.wait(lambda: gx.released is not None, "released")
    gx.terminate()
    gy.terminate(1_000)
    server.wait_until(lambda: server.sessions("user") == [])
    assert mme.air(USER).result == 5001
    usims[NEXT].authenticate(mme.air(NEXT)["Authentication-Info"].all("E-UTRAN-Vector")[0], PLMN)
    assert mme.ulr(NEXT).result == 2001
    again = GxSession(smf, NEXT)
    again.initial()
    assert again.rate == (50 * MB, 20 * MB)
    assert server.status("user")["usage"]["total_octets"] == 3 * MB + 1_000

    # The proof of each step can be read back.
    events = [event["type"] for event in server.api("GET", "/v1/events?after=0&limit=1000")["items"]]
    for kind in (
        "sim.activated",
        "session.started",
        "quota.exhausted",
        "policy.enforced",
        "service.state_changed",
        "sim.replaced",
        "session.stopped",
    ):
        assert kind in events, events


def test_a_backup_bearer_wakes_when_the_fibre_is_down_and_sleeps_again(network, connect):
    network = network(nases=nas("bng", "127.0.0.1"), extra=POLICY)
    server = network.server
    server.plan("lte-backup", kind="mobile", rate=rate(30, 10), qos=qos(30, 10))
    server.put("subscriber", "home")
    login = {"type": "password", "username": "fibre", "cleartext": "pw"}
    server.put("service", "fibre", subscriber_id="home", plan_id="home-50", state="active", credentials=[login])
    server.put("service", "lte", subscriber_id="home", plan_id="lte-backup", state="active")
    network.sim(ICCID, USER, "lte")
    bng, smf = connect(server), network.peer("smf", "gx")

    def fibre(status, session):
        answer = bng.ask(bng.pap("fibre", "pw"))
        assert answer.code == ACCESS_ACCEPT
        bng.ask(bng.accounting(status, session, (CLASS, answer.get(CLASS)), user="fibre"))

    fibre(1, "one")
    gx = GxSession(smf, USER)
    gx.initial()
    assert gx.rate == (64_000, 64_000)
    fibre(2, "one")
    smf.wait(lambda: gx.rate == (30 * MB, 10 * MB), "awake")
    network.converged("lte")
    fibre(1, "two")
    smf.wait(lambda: gx.rate == (64_000, 64_000), "asleep")
    network.converged("lte")


def test_fibre_and_lte_draw_from_one_quota(network, connect):
    network = network(nases=nas("bng", "127.0.0.1"), quota_slice=MB, quota_slice_min=MB)
    server = network.server
    throttle = {"on_exhausted": [{"throttle": rate(1, 1)}]}
    server.plan(
        "fibre",
        kind="internet",
        rate=rate(100, 50),
        quota={"octets": 6 * MB, "period": "month", "shared": "subscriber"},
        **throttle,
    )
    server.plan(
        "lte",
        kind="mobile",
        rate=rate(30, 10),
        quota={"octets": 2 * MB, "period": "month", "shared": "subscriber"},
        qos=qos(30, 10),
        **throttle,
    )
    server.put("subscriber", "home")
    login = {"type": "password", "username": "fibre", "cleartext": "pw"}
    server.put("service", "fibre", subscriber_id="home", plan_id="fibre", state="active", credentials=[login])
    server.put("service", "lte", subscriber_id="home", plan_id="lte", state="active")
    network.sim(ICCID, USER, "lte")
    bng, smf = connect(server), network.peer("smf", "gx", "gy")
    answer = bng.ask(bng.pap("fibre", "pw"))
    bng.ask(bng.accounting(1, "one", (CLASS, answer.get(CLASS)), user="fibre"))
    gx, gy = GxSession(smf, USER), GySession(smf, USER)
    gx.initial()
    gy.initial()
    assert gx.rate == (30 * MB, 10 * MB)
    gy.update(MB)
    octets = (42, (5 * MB).to_bytes(4, "big")), (43, (2 * MB - MB // 2).to_bytes(4, "big"))
    bng.ask(bng.accounting(3, "one", (CLASS, answer.get(CLASS)), *octets, user="fibre"))
    assert server.status("lte")["quota"]["left_octets"] == MB // 2
    gy.update(MB // 2)
    smf.wait(lambda: gx.rate == (MB, MB), "throttled")
    for service in ("fibre", "lte"):
        assert server.status(service)["quota"]["left_octets"] == 0
    assert server.status("fibre")["rate"]["down_bps"] == MB
