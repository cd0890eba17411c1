"""The server process and freeDiameter: in the clear, by TLS and by TLS in band, it dialling us and we dialling it.

One daemon and one server do all of it at once: the server has an identity for each way.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.peers import RunningServer, nas
from tests.lab.certificate import Authority
from tests.server.diameter_site import free_port

DAEMON = "fd.localdomain"
EXTENSIONS = Path("/usr/lib/freeDiameter")
PATIENCE_S = 20.0
"""A bound against a hanging test, never a measurement."""
WAYS = {"plain": "No_TLS;", "tls": "", "inband": "TLS_old_method;"}
"""How freeDiameter says it, for a peer that it dials."""


class Daemon:
    """freeDiameterd and its log."""

    def __init__(self, directory: Path, certificate: Path, port: int, tls_port: int, dials: str, allows: str) -> None:
        directory.mkdir()
        (directory / "acl.conf").write_text(allows)
        (directory / "fd.conf").write_text(
            f"""
Identity = "{DAEMON}"; Realm = "localdomain";
Port = {port}; SecPort = {tls_port}; No_SCTP; No_IPv6; ListenOn = "127.0.0.1";
TcTimer = 5; TwTimer = 6;
TLS_Cred = "{certificate}/cert.pem", "{certificate}/key.pem"; TLS_CA = "{certificate}/ca.pem";
LoadExtension = "{EXTENSIONS}/acl_wl.fdx" : "{directory}/acl.conf";
{dials}"""
        )
        program = shutil.which("freeDiameterd")
        assert program is not None, "freeDiameter is not installed: tests/peers.sh does that"
        self.log = directory / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [program, "-c", str(directory / "fd.conf"), "-dd"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory, env=os.environ | {"LC_ALL": "C"},
            )  # fmt: skip

    def lines(self, *words: str) -> list[str]:
        text = self.log.read_text(errors="replace")
        return [line for line in text.splitlines() if all(word in line for word in words)]

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def until(condition: Callable[[], object], tell: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, tell()
        time.sleep(0.02)


class Both:
    def __init__(self, directory: Path) -> None:
        authority = Authority(directory / "authority")
        self.accepts = [f"{way}.localdomain" for way in WAYS]
        """Identities of ours that the daemon dials."""
        self.dials = [f"to-{way}.localdomain" for way in WAYS]
        """Identities of ours that dial the daemon."""
        own = authority.issue("aaa.localdomain", *self.accepts, *self.dials)
        daemon = authority.issue(DAEMON)
        self.tls = f'[tls]\ncert = "{own}/cert.pem"\nkey = "{own}/key.pem"\nclient_ca = "{own}/ca.pem"\n'
        self.ports = {way: free_port() for way in (*WAYS, "stranger", "wrong")}
        self.daemon_port, self.daemon_tls_port = free_port(), free_port()
        self.server = RunningServer(directory, nas("local", "127.0.0.1"), extra=self.text(list(WAYS)))
        dials = "".join(
            f'ConnectPeer = "{way}.localdomain" {{ {words} ConnectTo = "127.0.0.1"; Port = {self.ports[way]}; }};\n'
            for way, words in (WAYS | {"stranger": "No_TLS;", "wrong": ""}).items()
        )
        allows = "ALLOW_IPSEC to-plain.localdomain\nALLOW_OLD_TLS to-inband.localdomain\nto-tls.localdomain\n"
        self.daemon = Daemon(directory / "fd", daemon, self.daemon_port, self.daemon_tls_port, dials, allows)

    def text(self, accepted: list[str]) -> str:
        """accepted: ways by which the daemon may come; it has an entry for each."""
        parts = ['[diameter]\norigin_host = "aaa.localdomain"\nlisten = "127.0.0.1"\nport = 0\ninband_tls = true\n']
        for way, port in self.ports.items():
            key = "tls_port" if way in ("tls", "wrong") else "port"
            parts.append(f'[[diameter.identity]]\norigin_host = "{way}.localdomain"\n{key} = {port}\n')
        parts += [f'[[diameter.identity]]\norigin_host = "{host}"\n' for host in self.dials]
        for way in accepted:
            parts.append(self.peer(way, f"{way}.localdomain"))
        for way in WAYS:
            port = self.daemon_tls_port if way == "tls" else self.daemon_port
            parts.append(self.peer(way, f"to-{way}.localdomain") + f'connect = "127.0.0.1:{port}"\nreconnect = "1s"\n')
        return "".join(parts) + self.tls

    def peer(self, way: str, identity: str) -> str:
        security = "none" if way == "plain" else way
        who = f'origin_host = "{DAEMON}"\nidentity = "{identity}"'
        return f'[[peer]]\n{who}\nsecurity = "{security}"\nwatchdog = "6s"\n'

    def until(self, condition: Callable[[], object]) -> None:
        until(condition, lambda: self.daemon.log.read_text()[-6000:] + self.server.log.read_text()[-4000:])

    def stop(self) -> None:
        self.daemon.stop()
        self.server.stop()


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    one = Both(tmp_path_factory.mktemp("both"))
    yield one
    one.stop()
    one.server.check_log()


def test_every_way_opens_both_ways(both: Both) -> None:
    for host in (*both.accepts, *both.dials):
        both.until(lambda host=host: both.daemon.lines("-> 'STATE_OPEN'", f"'{host}'"))
    lines = [line for line in both.server.lines() if line["event"] == "diameter.peer_opened"]
    assert len(lines) == 6
    assert {line["product"] for line in lines} == {"freeDiameter"}


def test_it_stays_open_by_watchdogs(both: Both) -> None:
    both.until(lambda: both.daemon.lines("SENT to", "0/280 f:----"))
    both.until(lambda: both.daemon.lines("RCV from", "0/280 f:----"))
    assert [line for line in both.server.lines() if line["event"] == "diameter.peer_closed"] == []


def test_where_it_is_no_peer_it_is_told_so(both: Both) -> None:
    line = both.server.wait_for_line("diameter.refused")
    assert (line["peer"], line["result"]) == (DAEMON, 3010)
    both.until(lambda: both.daemon.lines("DIAMETER_UNKNOWN_PEER"))


def test_it_leaves_a_server_with_the_certificate_of_another(both: Both) -> None:
    both.until(lambda: both.daemon.lines("hostname does not match", "'wrong.localdomain'"))
    both.server.wait_for_line("diameter.tls_failed")
    assert not both.daemon.lines("'STATE_OPEN'", "'wrong.localdomain'")


def test_a_reload_removes_a_peer(both: Both) -> None:
    before = len(both.server.lines())
    both.server.configure(extra=both.text(["tls", "inband"]))
    both.server.reload()
    both.server.wait_for_line("diameter.peer_closed", after=before, reason="stopped")
    both.until(lambda: both.daemon.lines("'STATE_OPEN'", "-> 'STATE_CLOSING", "'plain.localdomain'"))


def test_a_stop_says_goodbye_to_all(both: Both) -> None:
    assert both.server.stop() == 0
    both.until(lambda: len(both.daemon.lines("'STATE_OPEN'", "STATE_CLOSING")) >= 6)
