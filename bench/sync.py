"""How fast billing's state becomes durable through the HTTP API, in bulk and as a snapshot, and what the loop feels.

    python -m bench.sync                          # 100,000 services, under a minute
    python -m bench.sync --services 10000

1. NDJSON through POST /v1/sync by one client: new subscribers and services; then a change of every service.
2. POST /v1/snapshot of the same services, which finds nothing to do: what a nightly run costs.
3. Small requests: one service each, by one client.
Beside 2, logins go on: their latency says what the packet loop felt.
"""

import argparse
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from bench.ours import TOKEN, Ours
from bench.server import LOAD, ServerFailed, build_load, cpu_seconds
from bench.users import SERVICE, SUBSCRIBER

LOGIN_RATE = 500  # requests/s beside the snapshot
PIECE_LINES = 2_000
SINGLES = 500


def pieces(lines: Iterable[str]) -> Iterator[bytes]:
    """Lines in pieces, as a client with a large file sends them."""
    piece: list[str] = []
    for line in lines:
        piece.append(line)
        if len(piece) == PIECE_LINES:
            yield "".join(piece).encode()
            piece.clear()
    yield "".join(piece).encode()


def puts(first: int, last: int) -> Iterator[str]:
    """New subscribers and services."""
    entry = (SUBSCRIBER + SERVICE).format
    for number in range(first, last + 1):
        yield entry(number)


def patches(first: int, last: int, revision: int) -> Iterator[str]:
    """A change of each service."""
    for number in range(first, last + 1):
        yield (
            f'{{"op":"patch","kind":"service","id":"u{number:06d}","value":{{"revision":{revision},'
            f'"static_ip":null,"add_ons":["extra"]}}}}\n'
        )


def snapshot(first: int, last: int) -> Iterator[str]:
    """The services as they are after patches(), and the end marker."""
    for number in range(first, last + 1):
        value = {
            "revision": 2,
            "subscriber_id": f"s{number:06d}",
            "plan_id": "home-50",
            "state": "active",
            "add_ons": ["extra"],
            "credentials": [{"type": "password", "username": f"u{number:06d}", "cleartext": f"p{number:06d}"}],
        }
        yield json.dumps({"kind": "service", "id": f"u{number:06d}", "value": value}) + "\n"
    yield json.dumps({"end": True, "count": last - first + 1}) + "\n"


class Api:
    """The billing system."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def send(self, method: str, path: str, body: Any, media_type: str = "application/x-ndjson") -> bytes:
        """The answer's octets. Raises ServerFailed for a refusal."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": media_type}
        self.connection.request(method, path, body, headers, encode_chunked=not isinstance(body, bytes))
        response = self.connection.getresponse()
        data = response.read()
        if response.status >= 400:
            raise ServerFailed(f"{method} {path}: {response.status} {data[:500]!r}")
        return data


def measure(server: Ours, operations: int, work: Any) -> dict[str, Any]:
    """Operations a second, and CPU microseconds of one, in all processes."""
    cpu, began = cpu_seconds(server.pids), time.monotonic()
    work()
    seconds, cpu = time.monotonic() - began, cpu_seconds(server.pids) - cpu
    return {
        "operations": operations,
        "seconds": round(seconds, 2),
        "operations/s": round(operations / seconds),
        "server CPU-us each": round(cpu / operations * 1e6, 1),
    }


def applied(api: Api, lines: Iterable[str], count: int) -> None:
    """Push them all. Raises ServerFailed unless every one was applied."""
    data = api.send("POST", "/v1/sync", pieces(lines))
    found = data.count(b'"applied"')
    if found != count:
        wrong = [line for line in data.splitlines() if b'"applied"' not in line][:3]
        raise ServerFailed(f"{found} of {count} operations were applied: {wrong!r}")


def singles(api: Api, first: int, count: int) -> None:
    """One request each, over a connection that the server has not closed for idling."""
    api.connection.close()
    for number in range(first, first + count):
        api.send("PATCH", f"/v1/services/u{number:06d}", b'{"revision":3,"add_ons":[]}', "application/json")


def snapshot_beside_logins(api: Api, server: Ours, services: int, seconds: float) -> dict[str, Any]:
    """The whole truth once more, while subscribers log in."""
    stream = f"pap:{server.auth_port}:{LOGIN_RATE}"
    load = subprocess.Popen(
        [str(LOAD), "--json", "-u", "1000", "-t", str(seconds), stream], stdout=subprocess.PIPE
    )
    try:
        path = "/v1/snapshot?kinds=service"
        result = measure(server, services, lambda: api.send("POST", path, pieces(snapshot(1, services))))
    finally:
        logins = json.loads(load.communicate()[0])["streams"][0]
    latency = {name: round(logins["latency_us"][name] / 1e3, 2) for name in ("p50", "p99", "max")}
    return result | {"login beside it, ms": latency, "logins lost": logins["lost"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, default=100_000, help="how many (100000)")
    services = parser.parse_args().services
    build_load()
    results: dict[str, Any] = {}
    try:
        # One is there already, by whose login the server shows that it is up.
        with Ours(1) as server:
            api = Api(server.api_port)
            new = 2 * services - 2
            results["new subscribers and services"] = measure(
                server, new, lambda: applied(api, puts(2, services), new)
            )
            results["a change of every service"] = measure(
                server, services, lambda: applied(api, patches(1, services, 2), services)
            )
            expected_s = results["a change of every service"]["seconds"]
            results["snapshot, nothing to do"] = snapshot_beside_logins(api, server, services, 1 + expected_s)
            results["one request each"] = measure(server, SINGLES, lambda: singles(api, 1, min(SINGLES, services)))
    except ServerFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
