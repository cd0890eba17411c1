"""The whole loop is killed again and again: an acknowledged change reaches the NAS, and its event reaches billing.

The NAS and the webhook's receiver outlive the server, and both fail now and then.
"""

import http.server
import json
import os
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from typing import Any, ClassVar

import pytest

from native.radius import Packet, Secret, attribute
from tests.e2e.peers import SECRET, TOKEN, RunningServer, free_port, nas
from tests.state.test_kill import children

ROUNDS = int(os.environ.get("AAA_KILL_ROUNDS", "5"))
SESSIONS = 24
ACCOUNTING_REQUEST, COA_REQUEST, COA_ACK, COA_NAK = 4, 43, 44, 45
RATE_LIMIT = (14988, 8)
RESOURCES = attribute(101, (506).to_bytes(4, "big"))


class Bng(threading.Thread):
    """A MikroTik that remembers the rate of every session; some requests it does not hear, some it is too busy for."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.secret = Secret(SECRET.encode())
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port: int = self.socket.getsockname()[1]
        self.rates: dict[str, str] = {}
        self.chance = random.Random(1)
        self.failing = True
        self.foreign = 0

    def run(self) -> None:
        while True:
            data, source = self.socket.recvfrom(4096)
            packet = Packet.parse(data)
            key = packet.get(44)
            if packet.code != COA_REQUEST or key is None or not self.secret.verify_accounting(packet):
                self.foreign += 1
                continue
            fate = self.chance.random() if self.failing else 1.0
            if fate < 0.1:
                continue
            if fate < 0.2:
                self.socket.sendto(self.secret.respond(packet, COA_NAK, RESOURCES, False), source)
                continue
            self.rates[key.decode()] = (packet.get_vendor(*RATE_LIMIT) or b"").decode()
            if fate >= 0.25:  # between: done, but the answer is lost
                self.socket.sendto(self.secret.respond(packet, COA_ACK, b"", False), source)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Billing's webhook: takes an event, or fails."""

    chance = random.Random(2)
    taken: ClassVar[list[dict[str, Any]]] = []
    failing = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fails = self.failing and self.chance.random() < 0.1
        if not fails:
            self.taken.append(json.loads(body))
        self.send_response(503 if fails else 204)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


class Billing(threading.Thread):
    """Gives every service one new rate after the other, over kills of the server."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.done = 0
        self.acknowledged: dict[str, int] = {}
        self.tried: dict[str, int] = {}
        self.refused = 0
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
        rate = {"down_bps": revision * 1000, "up_bps": 1_000_000}
        body = json.dumps({"revision": revision, "overrides": {"rate": rate}}).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        self.tried[name] = revision
        while not self.ended:
            url = f"{self.server.url}/v1/services/{name}"
            try:
                with urllib.request.urlopen(
                    urllib.request.Request(url, body, headers, method="PATCH"), timeout=5
                ) as response:
                    result = json.loads(response.read())
            except (OSError, ValueError) as error:
                self.refused += isinstance(error, urllib.error.HTTPError) and error.code != 503
                time.sleep(0.02)
                continue
            assert result["status"] in ("applied", "stale"), result
            self.acknowledged[name] = revision
            self.done += 1
            return


def rate_text(revision: int) -> str:
    return f"1M/{revision}k" if revision % 1000 else f"1M/{revision // 1000}M"


@pytest.fixture
def receiver():
    Receiver.taken.clear()
    Receiver.failing = True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


def open_sessions(server: RunningServer, bng: Bng) -> None:
    """One live session for every service."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(5)
        for number in range(SESSIONS):
            content = (
                attribute(40, (1).to_bytes(4, "big")) + attribute(44, b"s%d" % number) + attribute(1, b"u%d" % number)
            )
            request = bng.secret.request(ACCOUNTING_REQUEST, number, content, None, False)
            end.sendto(request, ("127.0.0.1", server.acct_ports["127.0.0.1"]))
            assert end.recv(4096)[0] == 5


def test_killed_server_forgets_no_change_and_skips_no_event(tmp_path, receiver):
    bng = Bng()
    bng.start()
    webhook = f'[[webhook]]\nname = "billing"\nurl = "{receiver}"\nsecret = "webhook-secret-0123456789"\n'
    site = nas("local", "127.0.0.1", family="mikrotik", coa_port=bng.port)
    server = RunningServer(tmp_path, site, listen=["127.0.0.1"], extra=webhook)
    try:
        server.plan("home-50")
        for number in range(SESSIONS):
            server.service(f"u{number}")
        open_sessions(server, bng)
        billing = Billing(server)
        billing.start()
        orphans: list[int] = []
        for _ in range(ROUNDS):
            done = billing.done
            while billing.done < done + SESSIONS:
                time.sleep(0.005)
            time.sleep(random.random() * 0.2)  # where in the work the kill falls is left to chance
            assert server.process is not None
            orphans += children(server.pid).values()
            server.process.kill()
            server.process.wait()
            server.start()
        billing.ended = True
        billing.join()
        bng.failing = Receiver.failing = False
        server.wait_until(lambda: not server.api("GET", "/v1/sessions?divergent=true")["items"])
        for name, acknowledged in billing.acknowledged.items():
            stored = server.api("GET", f"/v1/services/{name}")["revision"]
            assert acknowledged <= stored <= billing.tried[name]
            assert bng.rates[f"s{name[1:]}"] == rate_text(stored), name
            (session,) = server.status(name)["sessions"]
            assert session["converged"]
        assert (bng.foreign, billing.refused) == (0, 0)
        told = feed(server)
        assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
        server.wait_until(lambda: {event["seq"] for event in Receiver.taken} >= {event["seq"] for event in told})
        by_number = {event["seq"]: event for event in told}
        for event in Receiver.taken:
            if event["seq"] in by_number:
                assert event == by_number[event["seq"]]
        server.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in orphans))
        audit = server.api("GET", "/v1/audit/verify")
        assert audit["whole"], audit
    finally:
        server.stop()
    server.check_log()


def feed(server: RunningServer) -> list[dict[str, Any]]:
    """Every event so far."""
    told: list[dict[str, Any]] = []
    while items := server.api("GET", f"/v1/events?after={told[-1]['seq'] if told else 0}&limit=1000")["items"]:
        told += items
    return told
