"""`make run`: the server with sample data, pushed through the same API that billing uses."""

from __future__ import annotations

import asyncio
import sys
import urllib.request
from pathlib import Path

import uvloop

from aaa.errors import AaaError
from aaa.server.main import Server
from aaa.server.prepare import prepare


def push(url: str, token: str, body: bytes) -> bytes:
    """POST operations as NDJSON; the answer's lines."""
    request = urllib.request.Request(
        url, body, {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        answer: bytes = response.read()
    return answer


async def seed(server: Server, token: str, operations: bytes) -> None:
    """Push the sample operations into an empty store once the API answers."""
    while server.http is None:
        await asyncio.sleep(0.05)
    host, port = server.http.address
    url = f"http://{host}:{port}"
    if not server.store.services:
        answer = await asyncio.to_thread(push, f"{url}/v1/sync", token, operations)
        refused = [line for line in answer.splitlines() if b'"applied"' not in line]
        for line in refused:
            print(f"sample data: {line.decode()}", file=sys.stderr)
    print(
        "Ready: RADIUS on 127.0.0.1, ports 1812 and 1813, secret testing123; Diameter on port 3868; "
        f"API on {url}, token in run/admin.token.\n"
        "Try, in another terminal:  .venv/bin/aaa auth-test alice wonderland",
        flush=True,
    )


async def run(config_path: str, operations_path: str) -> int:
    """Serve with sample data until stopped."""
    prepared = prepare(config_path)
    config = prepared.config
    server = Server(prepared)
    token_file = next(token.token_file for token in config.token if token.role == "admin")
    assert token_file is not None
    token = (Path(config_path).parent / token_file).read_text().strip()
    seeding = asyncio.create_task(seed(server, token, Path(operations_path).read_bytes()))
    try:
        return await server.run()
    finally:
        seeding.cancel()


def main() -> int:
    """Entry: configuration and operations."""
    try:
        return uvloop.run(run(sys.argv[1], sys.argv[2]))
    except (AaaError, OSError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
