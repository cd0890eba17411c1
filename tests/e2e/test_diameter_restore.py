"""An HSS that comes back from a backup: its MMEs are told once, and no USIM is asked anything twice."""

from pathlib import Path

from tests.e2e.mobile import IMSI, OPC, K
from tests.e2e.test_backup import aaa
from tests.lab.clients import PLMN, Mme
from tests.lab.usim import Usim


def vector_of(answer):
    return answer["Authentication-Info"].all("E-UTRAN-Vector")[0]


def test_a_restored_hss_resets_its_mmes_and_goes_on_behind_what_it_does_not_know(network, tmp_path: Path):
    network = network()
    server, usim = network.server, Usim(K, OPC)
    peer = network.peer("mme", "s6a")
    mme = Mme(peer)
    mme.air(IMSI)
    mme.ulr(IMSI)
    copy = tmp_path / "copy"
    aaa(server, "backup", str(copy))
    # Challenges that the copy does not know of.
    for _ in range(3):
        last = usim.authenticate(vector_of(mme.air(IMSI, vectors=5)), PLMN).sqn
    assert server.stop() == 0
    aaa(server, "restore", str(copy), "--replace")
    server.start()
    again = network.peer("mme-again", "s6a")
    assert again.expect("RSR")["Destination-Host"] == again.host
    assert usim.authenticate(vector_of(Mme(again).air(IMSI)), PLMN).sqn > last + (1 << 20)
    assert [session["adopted"] for session in server.sessions("erin")] == [True]
