"""The whole server is killed under load, again and again: what it acknowledged is there, and nothing counts twice."""

import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import sqlite3
import struct
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from aaa.errors import StoreError
from aaa.state import audit, lock
from native.radius import Secret, attribute
from tests.e2e.peers import SECRET, TOKEN, RunningServer, nas

ROUNDS = int(os.environ.get("AAA_KILL_ROUNDS", "6"))
SESSIONS = 48
ACCOUNTING_REQUEST, START, STOP, INTERIM = 4, 1, 2, 3
RETRY_S = 0.1
QUOTA = 10**15
TOP_UP = 10**6
TOP_UPS = 50
"""As many at most; a balance has room for some more."""


class Login:
    """One session as its NAS sees it: one report at a time, sent until it is acknowledged."""

    def __init__(self, number: int, round_: int) -> None:
        self.user = f"u{number}"
        self.key = f"{round_}-{number}".encode()
        self.began = time.time()
        self.time = 0
        self.sent = self.acknowledged = 0
        """Octets of each direction in the report under way, and in the last that was answered."""
        self.status = START
        self.made_at = self.sent_at = 0.0
        self.identifier: int | None = None

    def attributes(self, now: float) -> bytes:
        delay = int(now - self.made_at)
        integers = [(40, self.status), (46, self.time), (42, self.sent), (43, self.sent)]
        if delay:
            integers.append((41, delay))
        return (
            attribute(1, self.user.encode())
            + attribute(44, self.key)
            + b"".join(attribute(number, struct.pack(">I", value)) for number, value in integers)
        )

    def advance(self, now: float) -> None:
        """The last report was answered: the next one."""
        self.acknowledged = self.sent
        if self.status == START:
            self.status = INTERIM
        # A clock of its own, that runs faster than ours: the session has something new to say each time.
        self.time += 1
        self.sent += random.randrange(1, 10_000)
        self.made_at = now


class Nas(threading.Thread):
    """Reports of many sessions, over kills of the server."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.secret = Secret(SECRET.encode())
        self.address: tuple[str, int] | None = None
        self.logins = [Login(number, 0) for number in range(SESSIONS)]
        self.done = 0
        self.ending = self.ended = False
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.01)
        self.waiting: dict[int, tuple[Login, bytes]] = {}
        self.identifiers = 0

    def run(self) -> None:
        while not self.ended:
            with self.lock:
                self.send_due()
            try:
                data, _ = self.socket.recvfrom(4096)
            except OSError:
                continue
            with self.lock:
                self.take(data)

    def send_due(self) -> None:
        now = time.time()
        for login in self.logins:
            is_done = login.status == STOP and login.sent == login.acknowledged
            if self.address is None or now - login.sent_at < RETRY_S or is_done:
                continue
            # A new packet each time: for the server another request with the same report.
            if login.identifier is not None:
                self.waiting.pop(login.identifier, None)
            self.identifiers = login.identifier = (self.identifiers + 1) % 256
            login.sent_at = now
            login.made_at = login.made_at or now
            request = self.secret.request(ACCOUNTING_REQUEST, login.identifier, login.attributes(now), None, False)
            self.waiting[login.identifier] = login, request[4:20]
            self.socket.sendto(request, self.address)

    def take(self, data: bytes) -> None:
        login, authenticator = self.waiting.pop(data[1], (None, b""))
        if login is None or login.identifier != data[1] or not is_answer(data, authenticator):
            return
        self.done += 1
        if login.status == STOP:
            login.acknowledged = login.sent
            return
        login.advance(time.time())
        login.sent_at = 0.0
        if self.ending:
            login.status = STOP


def is_answer(data: bytes, authenticator: bytes) -> bool:
    """Response Authenticator, RFC 2866 §3."""
    digest = hashlib.md5(data[:4] + authenticator + data[20:] + SECRET.encode()).digest()
    return data[0] == 5 and digest == data[4:20]


class Billing(threading.Thread):
    """Raises the revision of one service after the other, over kills of the server."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.acknowledged: dict[str, int] = {}
        self.top_ups: dict[str, int] = {}
        """How many were acknowledged."""
        self.held: dict[str, bool] = {}
        self.ended = False

    def run(self) -> None:
        revision = 1
        while not self.ended:
            revision += 1
            for number in range(SESSIONS):
                if self.ended:
                    return
                self.push(f"u{number}", revision)

    def push(self, name: str, revision: int) -> None:
        """Billing's change, a top-up, and a hold that comes and goes; all of it again until it is acknowledged."""
        holds = revision % 2 == 0
        operations = [
            {"op": "patch", "kind": "service", "id": name, "value": {"revision": revision, "add_ons": [str(revision)]}},
            {"op": "top_up", "kind": "service", "id": name, "value": {"id": f"t{revision}", "octets": TOP_UP}},
            {"op": "hold", "kind": "service", "id": name, "value": {"kind": "restrict", "cause": "test"}},
        ]
        if revision > TOP_UPS:
            del operations[1]
        if not holds:
            operations[-1] = {"op": "restore", "kind": "service", "id": name, "value": {"cause": "test"}}
        body = json.dumps({"operations": operations}).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        while not self.ended:
            request = urllib.request.Request(f"{self.server.url}/v1/sync", body, headers)
            # What was sent and not acknowledged may be there or not.
            self.held.pop(name, None)
            try:
                with urllib.request.urlopen(request, timeout=5) as response:
                    results = json.loads(response.read())["results"]
            except (OSError, ValueError, urllib.error.URLError):
                time.sleep(0.02)
                continue
            if all(result["status"] in ("applied", "stale") for result in results):
                self.acknowledged[name] = revision
                self.top_ups[name] = min(revision, TOP_UPS) - 1
                self.held[name] = holds
                return
            assert any(result.get("error") == "unavailable" for result in results), results


def children(pid: int) -> dict[str, int]:
    """Child processes by what they are."""
    found = {}
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        found["writer" if b"aaa.state.writer" in command else "http"] = int(child)
    return found


def kill(server: RunningServer, what: str) -> None:
    """SIGKILL; an engine that lost its writer must end by itself, with 1."""
    assert server.process is not None
    writer = children(server.pid)["writer"]
    if what != "engine":
        os.kill(writer, signal.SIGKILL)
    if what != "writer":
        server.process.kill()
    assert server.process.wait(30) == (1 if what == "writer" else -signal.SIGKILL)


@pytest.fixture
def server(tmp_path):
    server = RunningServer(tmp_path, nas("local", "127.0.0.1"), listen=["127.0.0.1"])
    yield server
    server.stop()


def check_audit(path: Path) -> None:
    """Whatever is durable, the chain is whole."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert audit.verify(db.execute(f"SELECT {audit.COLUMNS} FROM audit ORDER BY seq"), bytes(32)) is None


def check_quota(quota: dict[str, Any], used: dict[str, int], top_ups: int) -> None:
    """What was reported is charged, and each top-up that was acknowledged is there once."""
    charged = used["input_octets"] + used["output_octets"]
    assert quota["used_octets"] == charged
    assert (quota["octets"] - QUOTA) % TOP_UP == 0
    assert quota["octets"] - QUOTA >= top_ups * TOP_UP
    assert quota["left_octets"] == quota["octets"] - charged


def test_killed_server_has_what_it_acknowledged_and_counts_nothing_twice(server, tmp_path):
    server.plan("home-50", quota={"octets": QUOTA})
    for number in range(SESSIONS):
        server.service(f"u{number}")
    bng = Nas()
    billing = Billing(server)
    bng.address = ("127.0.0.1", server.acct_ports["127.0.0.1"])
    bng.start()
    billing.start()
    for number in range(ROUNDS):
        done = bng.done
        while bng.done < done + SESSIONS:
            time.sleep(0.005)
        time.sleep(random.random() * 0.2)  # where in the work the kill falls is left to chance
        kill(server, ("engine", "writer", "both")[number % 3])
        bng.address = None
        check_audit(tmp_path / "data" / "aaa.db")
        held, top_ups = dict(billing.held), dict(billing.top_ups)
        server.start()
        with bng.lock:
            bounds = {login.user: (login.acknowledged, login.sent) for login in bng.logins}
        pushed = dict(billing.acknowledged)
        for user, (acknowledged, sent) in bounds.items():
            status = server.status(user)
            used = status["usage"]
            check_quota(status["quota"], used, top_ups.get(user, 0))
            if user in held and billing.held.get(user) == held[user]:
                assert (status["state"] == "restricted") == held[user], (number, user, status)
            assert acknowledged <= used["input_octets"] <= sent, (number, user, used)
            assert used["input_octets"] == used["output_octets"]
            assert server.api("GET", f"/v1/services/{user}")["revision"] >= pushed.get(user, 1)
        bng.address = ("127.0.0.1", server.acct_ports["127.0.0.1"])
    bng.ending = True
    server.wait_until(lambda: all(login.status == STOP and login.acknowledged == login.sent for login in bng.logins))
    bng.ended = billing.ended = True
    bng.join()
    billing.join()
    for login in bng.logins:
        assert server.status(login.user)["usage"]["input_octets"] == login.sent, login.user
        assert server.sessions(login.user) == []
        (session,) = server.sessions(login.user, ended=True)
        assert session["usage"]["input_octets"] == login.sent
    server.check_log()


def test_two_servers_never_share_a_store(server, tmp_path):
    with pytest.raises(StoreError, match="another server"):
        lock.take(str(tmp_path / "data" / "aaa.db"), wait_s=0.0)
    server.stop()
    lock.take(str(tmp_path / "data" / "aaa.db"), wait_s=0.0).close()
