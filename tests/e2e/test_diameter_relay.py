"""OTP clients behind freeDiameter as a relay: served, pushed to, and charged as if they were connected themselves."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.mobile import IMSI, REALM, SERVER, free_tcp_port
from tests.e2e.peers import PATIENCE_S, program
from tests.lab.clients import GxSession, GySession, Mme
from tests.lab.freediameter import EXTENSIONS

RELAY = f"dra.{REALM}"


@contextmanager
def relay(network: Any, directory: Path, *clients: str) -> Iterator[int]:
    """freeDiameter between clients and the server; the port where they reach it."""
    files, port = network.authority.issue(RELAY), free_tcp_port()
    (directory / "acl.conf").write_text("".join(f"ALLOW_IPSEC {name}.{REALM}\n" for name in clients))
    (directory / "dra.conf").write_text(
        f"""
Identity = "{RELAY}"; Realm = "{REALM}"; Port = {port}; SecPort = 0; No_SCTP; No_IPv6; TcTimer = 1; TwTimer = 30;
TLS_Cred = "{files}/cert.pem", "{files}/key.pem"; TLS_CA = "{files}/ca.pem";
LoadExtension = "{EXTENSIONS}/acl_wl.fdx" : "{directory}/acl.conf";
ConnectPeer = "{SERVER}" {{ No_TLS; ConnectTo = "127.0.0.1"; Port = {network.port}; }};
"""
    )
    log = directory / "dra.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [program("freeDiameterd"), "-c", str(directory / "dra.conf")], cwd=directory, stdin=subprocess.DEVNULL,
            stdout=file, stderr=file,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE_S
        while "STATE_OPEN" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait(10)


def test_clients_behind_a_relay_are_served_and_reached(network: Any, tmp_path: Path) -> None:
    network = network()
    server = network.server
    with relay(network, tmp_path, "smf", "mme") as port:
        smf = network.otp.peer(f"smf.{REALM}", "gx", "gy").connect(port)
        mme = network.otp.peer(f"mme.{REALM}", "s6a").connect(port)
        cell = Mme(mme)
        cell.air(IMSI)
        cell.ulr(IMSI)
        gx, gy = GxSession(smf, IMSI), GySession(smf, IMSI)
        gx.initial()
        gy.initial()
        sessions = server.status("erin")["sessions"]
        assert {session["nas"] for session in sessions} == {f"smf.{REALM}", f"mme.{REALM}"}
        server.api("POST", "/v1/services/erin/state", {"state": "restricted", "revision": 9})
        smf.expect("RAR")
        mme.expect("IDR")
        network.converged("erin", 3)
        server.api("POST", "/v1/services/erin/state", {"state": "active", "revision": 10})
        network.converged("erin", 3)
        gy.terminate()
        gx.terminate()
        shown = server.api("GET", f"/v1/peers/{RELAY}")
        assert (shown["relay"], shown["product"]) == (True, "freeDiameter")
        assert {command["command"] for command in shown["commands"] if command["direction"] == "sent"} >= {"RAR", "IDR"}
        assert shown["stopped"] == {}
