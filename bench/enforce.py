"""How fast a billing change becomes true on the network: live sessions on ten NASes that answer CoA, one server.

    python -m bench.enforce                       # 100,000 live sessions, about two minutes
    python -m bench.enforce --sessions 5000 --changes 100

1. Single changes through the HTTP API: from the API's answer to the CoA at the NAS, and to the receipt of its ACK.
2. One plan re-rated: its 10,000 sessions converge at the rate that the NASes are given, while logins go on.
3. A preview over all live sessions, and whether what follows is what it said.

Every figure is taken at the far end: the NASes are sockets of this process, and each packet they get is verified.
"""

import argparse
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from bench import ours
from bench.ours import TOKEN, Ours
from bench.server import SECRET, ServerFailed, build_load, cpu_seconds, free_port
from native.radius import Packet, Secret, attribute
from native.scheduling import request_slice

NASES = 10
IN_FLIGHT = 200  # requests of one NAS at a time; below its 256 identifiers
ACCESS_REQUEST, ACCESS_ACCEPT, ACCOUNTING_REQUEST, COA_REQUEST, COA_ACK = 1, 2, 4, 43, 44
USER_NAME, USER_PASSWORD, CLASS, STATUS_TYPE, ACCT_SESSION_ID = 1, 2, 25, 40, 44
IDLE_S = 1.0  # seconds; a server may close a connection that was idle for longer
MASS = 10_000
COA_RATE = 200  # exchanges per second and NAS
LOGIN_RATE = 500  # logins/s beside the mass change

NAS_ENTRY = """
[[nas]]
name = "nas{number}"
address = "127.0.1.{number}"
secret = "{secret}"
family = "mikrotik"
coa_port = {port}
coa_rate = {rate}
coa_concurrency = 64
"""


class FarEnd(threading.Thread):
    """Ten NASes: they log subscribers in, report the sessions' starts, and acknowledge every CoA, keeping its time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.port = free_port(socket.SOCK_DGRAM)
        self.secret = Secret(SECRET.encode())
        self.sockets = [self._bind(number, self.port) for number in range(1, NASES + 1)]
        self.seen: dict[str, list[float]] = {}
        """Acct-Session-Id -> when each CoA for it came (monotonic seconds)."""
        self.packets: Counter[str] = Counter()
        """Mikrotik-Rate-Limit of the CoAs that came."""
        self.wrong = 0

    @staticmethod
    def _bind(number: int, port: int) -> socket.socket:
        end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        end.bind((f"127.0.1.{number}", port))
        return end

    def run(self) -> None:
        while True:
            for end in select.select(self.sockets, [], [])[0]:
                data, source = end.recvfrom(4096)
                now = time.monotonic()
                packet = Packet.parse(data)
                session = packet.get(ACCT_SESSION_ID)
                if packet.code != COA_REQUEST or session is None or not self.secret.verify_accounting(packet):
                    self.wrong += 1
                    continue
                end.sendto(self.secret.respond(packet, COA_ACK, b"", False), source)
                self.seen.setdefault(session.decode(), []).append(now)
                self.packets[str(packet.get_vendor(14988, 8) or b"", "ascii")] += 1

    def login(self, users: Sequence[int], auth_port: int, acct_port: int) -> None:
        """Log users in and report their sessions' starts, spread over the NASes."""
        for number in range(1, NASES + 1):
            with self._bind(number, 0) as end:
                mine = [user for user in users if user % NASES == number - 1]
                for first in range(0, len(mine), IN_FLIGHT):
                    batch = mine[first : first + IN_FLIGHT]
                    accepts = self._exchange(end, auth_port, [self._access(user) for user in batch])
                    starts = [
                        self._start(user, Packet.parse(accept).get(CLASS) or b"")
                        for user, accept in zip(batch, accepts, strict=True)
                    ]
                    self._exchange(end, acct_port, starts)

    def _access(self, user: int) -> tuple[int, bytes, bytes | None]:
        authenticator = os.urandom(16)
        hidden = self.secret.hide_password(b"p%06d" % user, authenticator)
        return ACCESS_REQUEST, attribute(USER_NAME, b"u%06d" % user) + attribute(USER_PASSWORD, hidden), authenticator

    @staticmethod
    def _start(user: int, token: bytes) -> tuple[int, bytes, bytes | None]:
        attributes = (
            attribute(STATUS_TYPE, (1).to_bytes(4, "big"))
            + attribute(ACCT_SESSION_ID, b"s%06d" % user)
            + attribute(USER_NAME, b"u%06d" % user)
            + attribute(CLASS, token)
        )
        return ACCOUNTING_REQUEST, attributes, None

    def _exchange(self, end: socket.socket, port: int, requests: list[tuple[int, bytes, bytes | None]]) -> list[bytes]:
        """One answer per request. Raises ServerFailed for a reject and for silence."""
        answers: dict[int, bytes] = {}
        for identifier, (code, attributes, authenticator) in enumerate(requests):
            end.sendto(self.secret.request(code, identifier, attributes, authenticator), ("127.0.0.1", port))
        end.settimeout(5)
        while len(answers) < len(requests):
            try:
                data = end.recv(4096)
            except TimeoutError:
                raise ServerFailed(f"{len(requests) - len(answers)} requests were not answered") from None
            if data[0] not in (ACCESS_ACCEPT, 5):
                raise ServerFailed(f"answer code {data[0]} to user {requests[data[1]][1][2:9]!r}")
            answers[data[1]] = data
        return [answers[index] for index in range(len(requests))]


class Api:
    """The billing system's side."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.used_at = 0.0

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON. Raises ServerFailed for a refusal."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        if time.monotonic() - self.used_at > IDLE_S:
            self.connection.close()
        self.connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self.connection.getresponse()
        text = response.read()
        self.used_at = time.monotonic()
        if response.status >= 400:
            raise ServerFailed(f"{method} {path}: {response.status} {text[:500]!r}")
        return json.loads(text)


def quantiles(values: list[float]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(values)
    pick = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * at))] * 1e3, 2) for name, at in pick.items()}


def rate_text(down: int, up: int) -> str:
    """As MikroTik is told: upload first."""
    return f"{up // 1_000_000}M/{down // 1_000_000}M"


def single_changes(api: Api, far: FarEnd, users: Sequence[int]) -> dict[str, Any]:
    """Change one service after the other, at most 50 a second; the second half waits for the receipt."""
    to_wire, to_receipt = [], []
    half = len(users) // 2
    for index, user in enumerate(users):
        began = time.monotonic()
        rate = {"down_bps": 70_000_000, "up_bps": 30_000_000}
        body = {"revision": 2, "overrides": {"rate": rate}}
        waits = index >= half
        before = len(far.seen.get(f"s{user:06d}", ()))
        api.ask("PATCH", f"/v1/services/u{user:06d}" + ("?wait=enforced" if waits else ""), body)
        answered = time.monotonic()
        if waits:
            to_receipt.append(answered - began)
        else:
            while len(far.seen.get(f"s{user:06d}", ())) == before:
                time.sleep(0.0005)
                if time.monotonic() - answered > 5:
                    raise ServerFailed(f"no CoA for u{user:06d} within 5 s")
            to_wire.append(max(0.0, far.seen[f"s{user:06d}"][-1] - answered))
        time.sleep(max(0.0, 0.02 - (time.monotonic() - began)))
    return {"API answer to CoA on the wire, ms": quantiles(to_wire), "request to receipt, ms": quantiles(to_receipt)}


def mass_change(api: Api, far: FarEnd, server: Ours, users: Sequence[int]) -> dict[str, Any]:
    """One plan re-rated: all its sessions, at the NASes' rate, with logins beside it."""
    assert server.process is not None
    for first in range(0, len(users), 500):
        operations = [
            {"op": "patch", "kind": "service", "id": f"u{user:06d}", "value": {"revision": 2, "plan_id": "mass"}}
            for user in users[first : first + 500]
        ]
        api.ask("POST", "/v1/sync", {"operations": operations})
    settle(api)
    plan = {"revision": 2, "rate": {"down_bps": 80_000_000, "up_bps": 40_000_000}}
    operation = {"op": "put", "kind": "plan", "id": "mass", "value": plan}
    began = time.monotonic()
    preview = api.ask("POST", "/v1/policy/preview", {"operations": [operation]})
    preview_s = time.monotonic() - began
    expected = len(users) / NASES / COA_RATE
    far.packets.clear()
    command = [sys.executable, "-m", "bench.enforce", "--logins", str(server.auth_port), str(expected + 2)]
    load = subprocess.Popen(command, stdout=subprocess.PIPE)
    time.sleep(1)
    before, began = [cpu_seconds([pid]) for pid in server.pids], time.monotonic()
    api.ask("PUT", "/v1/plans/mass", plan)
    wanted = rate_text(80_000_000, 40_000_000)
    while far.packets[wanted] < len(users):
        time.sleep(0.01)
        if time.monotonic() - began > expected * 3 + 10:
            raise ServerFailed(f"only {far.packets[wanted]} of {len(users)} sessions were re-rated")
    took = time.monotonic() - began
    cpu = [cpu_seconds([pid]) - used for pid, used in zip(server.pids, before, strict=True)]
    logins = json.loads(load.communicate()[0])
    return {
        "sessions": len(users),
        "seconds": round(took, 2),
        "at the NASes' rate it takes": round(expected, 2),
        "CPU-us per session, logins included, each process": [round(used / len(users) * 1e6, 1) for used in cpu],
        "login beside it, ms": logins,
        "preview, s": round(preview_s, 2),
        "preview said": preview["summary"],
        "and it was so": predicted(preview) == dict(far.packets),
    }


def whole_preview(api: Api, sessions: int) -> dict[str, Any]:
    """A policy that changes every live session."""
    rule = "[[rule]]\nname = \"double\"\nwhen = \"plan.kind == 'internet'\"\nthen = { rate_factor = 2 }\n"
    began = time.monotonic()
    preview = api.ask("POST", "/v1/policy/preview", {"files": {"double.toml": rule}})
    took = time.monotonic() - began
    if preview["summary"]["sessions"] != sessions:
        raise ServerFailed(f"the preview looked at {preview['summary']['sessions']} of {sessions} sessions")
    return {"seconds": round(took, 2), "said": preview["summary"]}


def predicted(preview: dict[str, Any]) -> dict[str, int]:
    """Mikrotik-Rate-Limit of every CoA that a preview announced, with how many."""
    counts: Counter[str] = Counter()
    for group in preview["groups"]:
        if group["action"] == "coa":
            counts[dict(group["attributes"])["Mikrotik-Rate-Limit"]] += group["count"]
    return dict(counts)


def log_in(port: int, seconds: float) -> dict[str, float]:
    """Logins at LOGIN_RATE, on schedule whatever comes back, each timed from its scheduled moment: milliseconds.

    A process of its own that sleeps in between: it shares a core with the NASes, so it asks to be woken at once.
    """
    request_slice(100_000)
    far = FarEnd()
    due: dict[int, float] = {}
    times = []
    count, sent = int(seconds * LOGIN_RATE), 0
    with far._bind(1, 0) as end:
        end.setblocking(False)
        began = time.monotonic()
        while sent < count or due:
            now = time.monotonic()
            next_at = began + sent / LOGIN_RATE
            if sent < count and now >= next_at:
                code, attributes, authenticator = far._access(1 + sent % 1000)
                identifier = sent & 0xFF
                if identifier in due:
                    raise ServerFailed(f"{IN_FLIGHT} logins are unanswered")
                due[identifier] = next_at
                end.sendto(far.secret.request(code, identifier, attributes, authenticator), ("127.0.0.1", port))
                sent += 1
                continue
            wait_s = next_at - now if sent < count else 5.0
            if not select.select([end], [], [], wait_s)[0]:
                if sent == count:
                    raise ServerFailed(f"{len(due)} logins were not answered")
                continue
            answer = end.recv(4096)
            if answer[0] != ACCESS_ACCEPT:
                raise ServerFailed(f"a login was answered with code {answer[0]}")
            times.append(time.monotonic() - due.pop(answer[1]))
    return quantiles(times)


def settle(api: Api) -> None:
    """Wait until nothing diverges."""
    began = time.monotonic()
    while api.ask("GET", "/v1/sessions?divergent=true&limit=1")["items"]:
        time.sleep(0.1)
        if time.monotonic() - began > 120:
            raise ServerFailed("sessions go on diverging")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=100_000, help="live sessions (100000)")
    parser.add_argument("--changes", type=int, default=1_000, help="single changes (1000)")
    parser.add_argument("--logins", nargs=2, metavar=("PORT", "SECONDS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.logins:
        print(json.dumps(log_in(int(arguments.logins[0]), float(arguments.logins[1]))))
        return 0
    mass = min(MASS, arguments.sessions // 2)
    build_load()
    far = FarEnd()
    far.start()
    entries = (
        NAS_ENTRY.format(number=number, secret=SECRET, port=far.port, rate=COA_RATE) for number in range(1, NASES + 1)
    )
    ours.CONFIG += "".join(entries)
    try:
        with Ours(arguments.sessions) as server:
            api = Api(server.api_port)
            began = time.monotonic()
            far.login(range(1, arguments.sessions + 1), server.auth_port, server.acct_port)
            print(f"bench: {arguments.sessions:,} logins in {time.monotonic() - began:.1f} s", file=sys.stderr)
            body = {"revision": 1, "rate": {"down_bps": 50_000_000, "up_bps": 10_000_000}}
            api.ask("PUT", "/v1/plans/mass", body)
            results = {"single": single_changes(api, far, range(1, arguments.changes + 1))}
            first = arguments.sessions - mass + 1
            results["mass"] = mass_change(api, far, server, range(first, arguments.sessions + 1))
            results["preview of a policy over all"] = whole_preview(api, arguments.sessions)
            results["packets that were no CoA of ours"] = {"count": far.wrong}
    except ServerFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
