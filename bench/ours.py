"""This project's server under measurement: its configuration, its command line, and how it gets its users.

The one place to adjust when the configuration, `aaa serve` or the sync API change.

    python -m bench.ours --users 10000     # runs until interrupted, prints ports and pid
"""

import argparse
import http.client
import json
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from itertools import islice

from bench.server import RUN, SECRET, Server, ServerFailed, accepts_login, build_load, free_port
from bench.users import operations

SERVE = (sys.executable, "-m", "aaa.cli", "serve", "-c")  # what the `aaa` script runs, installed or not
TOKEN = "bench-token-0123456789"
SYNC_TIMEOUT_S = 120.0  # seconds for one chunk of operations

# All as shipped: everything a packet pays for in production is on.
CONFIG = """[server]
data_dir = "{directory}"

[store]
key = "{key}"

[radius]
listen = ["127.0.0.1"]
auth_port = {auth_port}
acct_port = {acct_port}

[[nas]]
name = "bench"
address = "127.0.0.1"
secret = "{secret}"
family = "mikrotik"

[api]
listen = "127.0.0.1:{api_port}"

[[token]]
name = "bench"
role = "admin"
token = "{token}"

[log]
format = "text"
"""


class Ours(Server):
    """`aaa serve` with its store; all its processes are charged. `fill_s`: seconds that the sync of its users took."""

    name = "aaa"
    prefix = "aaa"
    """Of its directory."""

    def __init__(self, users: int, cpu: int | None = None) -> None:
        """users: 1..4 million, u000001/p000001 and on; pushed through the sync API, then the server is started anew.

        Raises ServerFailed.
        """
        super().__init__(RUN / f"{self.prefix}-{users}", cpu)
        self.fill_s = 0.0
        self.api_port = free_port(socket.SOCK_STREAM)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        config = self.directory / "aaa.toml"
        config.write_text(self.config_text())
        config.chmod(0o600)
        command = [*SERVE, str(config)]
        cpu, self.cpu = self.cpu, None  # filling is not measured: it may use every core
        self.launch(command, self._is_ready)
        try:
            started = time.monotonic()
            self._fill(self.operations(users))
            self.fill_s = time.monotonic() - started
        finally:
            self.stop()
        self.cpu = cpu
        self.launch(command, self.answers)

    def config_text(self) -> str:
        return CONFIG.format(
            directory=self.directory,
            key="00" * 32,
            auth_port=self.auth_port,
            acct_port=self.acct_port,
            api_port=self.api_port,
            secret=SECRET,
            token=TOKEN,
        )

    def operations(self, users: int) -> Iterator[str]:
        """NDJSON in chunks, of users numbered from 1."""
        return operations(users)

    def answers(self) -> bool:
        """Whether it serves the first user."""
        return accepts_login(self.auth_port)

    def _is_ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            time.sleep(0.05)
            return False
        finally:
            connection.close()

    def _fill(self, chunks: Iterator[str]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.api_port, timeout=SYNC_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/x-ndjson"}
        for chunk in chunks:
            try:
                connection.request("POST", "/v1/sync", chunk.encode(), headers)
                response = connection.getresponse()
                body = response.read()
            except OSError as error:
                raise ServerFailed(f"sync: {error}") from error
            applied = body.count(b'"applied"')
            if response.status != 200 or applied != chunk.count("\n"):
                results = list(islice((line for line in body.splitlines() if b'"applied"' not in line), 3))
                raise ServerFailed(f"sync: status {response.status}, {applied} applied, then {results!r}")
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--cpu", type=int, help="core to run on")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    build_load()
    with Ours(arguments.users, arguments.cpu) as server:
        print(
            json.dumps(
                {
                    "pids": server.pids,
                    "auth_port": server.auth_port,
                    "acct_port": server.acct_port,
                    "api_port": server.api_port,
                    "startup_s": round(server.startup_s, 3),
                    "resident_mib": round(server.resident_bytes() / 2**20, 1),
                }
            ),
            flush=True,
        )
        signal.pause()


if __name__ == "__main__":
    main()
