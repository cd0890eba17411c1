"""`aaa diameter-test`: the network that everybody has at hand does as the server tells it."""

import subprocess
import sys

import pytest

from tests.e2e.mobile import Network, User
from tests.e2e.peers import PATIENCE_S, ROOT, TOKEN
from tests.lab.clients import GxSession, GySession
from tests.lab.otp import Otp

STAY = ["--stay", "600"]
"""Longer than the test: what ends sooner was told to."""


def start(network: Network, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "aaa.cli", "diameter-test", *arguments, "--server", f"127.0.0.1:{network.port}"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def titles(client: subprocess.Popen[str]) -> list[str]:
    """Messages until it has ended."""
    lines = client.communicate(timeout=PATIENCE_S)[0].splitlines()
    return [line for line in lines if line[:1] in "<>"]


@pytest.fixture
def here(network) -> tuple[Network, User]:
    made = network()
    return made, made.user(quota=50_000_000)


def test_a_suspension_ends_the_bearer_at_the_gateway(here):
    network, user = here
    gateway = start(network, "session", user.imsi, "--use", "1000", *STAY)
    network.converged(user, sessions=2)
    charged = {session["protocol"]: session["charged"] for session in network.server.sessions(user.service)}
    assert charged == {"gx": False, "gy": True}
    network.state(user, "suspended")
    shown = titles(gateway)
    assert gateway.returncode == 0
    assert "< Gx RAR" in shown
    assert shown[-2:] == ["> Gx CCR", "< Gx CCA"]
    network.ended(user)


def test_a_client_that_was_away_when_the_server_died_is_told_to_be_back(network):
    made = network()
    user, smf = made.user(), made.peer("smf", "gx")
    GxSession(smf, user.imsi).initial()

    def told() -> list[str]:
        events = made.server.api("GET", "/v1/events?after=0&limit=1000")["items"]
        return [event["type"] for event in events if event["subject"] == smf.host]

    smf.close()
    made.server.wait_until(lambda: told() == ["nas.down"])
    made.server.kill()
    made.server.start()
    smf.connect_again()
    made.server.wait_until(lambda: told() == ["nas.down", "nas.up"])


@pytest.mark.parametrize("server_dies", [False, True], ids=["client", "both"])
def test_a_client_that_begins_anew_has_lost_its_sessions(network, server_dies):
    """Also where a template let it in, and where the server was restarted meanwhile."""
    made = network()
    user = made.user(quota=50_000_000)
    smf, again = Otp(), Otp()
    try:
        first = smf.peer("smf.localdomain", "gx", "gy", **{"Origin-State-Id": 5}).connect(made.port)
        GxSession(first, user.imsi).initial()
        GySession(first, user.imsi).initial()
        first.close()
        if server_dies:
            made.server.kill()
            made.server.start()
        assert len(made.server.sessions(user.service)) == 2
        again.peer("smf.localdomain", "gx", "gy", **{"Origin-State-Id": 6}).connect(made.port)
        made.ended(user)
    finally:
        smf.stop()
        again.stop()


RULES = """
[[rule]]
name = "mine-only"
when = "session.protocol == 'gx' and session.called_station_id == 'mine' and session.location != 'ECGI:00101-0000101'"
then = { deny = "Of the mine's own cell only" }

[[rule]]
name = "home-only"
when = "session.plmn != '00101'"
then = { deny = "At home only" }
"""


def test_a_decision_is_explained_where_a_mobile_session_is(network, tmp_path):
    (tmp_path / "rules.toml").write_text(RULES)
    made = network(extra=f'[policy]\ndir = "{tmp_path}"\n')
    user = made.user()
    session = start(made, "session", user.imsi, "--apn", "internet")
    titles(session)

    def explain(*where: str) -> str:
        command = [sys.executable, "-m", "aaa.cli", "policy", "explain", user.imsi, *where]
        asked = ["--url", made.server.url, "--token", TOKEN]
        done = subprocess.run(
            [*command, *asked], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=True
        )
        return done.stdout

    assert "grant" in explain()
    assert "home-only" in explain("--nas", "gateway-test.localdomain")
    assert "home-only" in explain("--protocol", "s6a", "--plmn", "26201")
    assert "mine-only" in explain("--called-station-id", "mine", "--plmn", "00101")
    cell = ("--called-station-id", "mine", "--plmn", "00101", "--location", "ECGI:00101-0000101")
    assert "grant" in explain(*cell)
    made.server.api("POST", f"/v1/sims/{user.iccid}/transition", {"state": "suspended"})
    assert "the SIM is suspended" in explain(*cell)


def test_a_sim_that_is_retired_is_detached_by_the_mme(here):
    network, user = here
    mme = start(network, "attach", user.imsi, *STAY)
    network.converged(user, sessions=1)
    network.server.api("POST", f"/v1/sims/{user.iccid}/transition", {"state": "retired"})
    assert titles(mme)[-1] == "< S6a CLR"
    assert mme.returncode == 0
    network.ended(user)
