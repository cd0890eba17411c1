"""A running HTTP process with a small engine behind it, and the aaa command beside it."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aaa.cli.commands import cli
from billing_hooks.supervisor import HttpProcess
from native.radius import Packet, Secret
from tests.billing_hooks.conftest import SETTINGS, token_of
from tests.billing_hooks.far_end import FarEngine


class Running:
    """The server under test, in a thread of its own."""

    def __init__(self) -> None:
        self.engine = FarEngine()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.process = asyncio.run_coroutine_threadsafe(self._start(), self.loop).result(30)
        host, port = self.process.address
        self.url = f"http://{host}:{port}"

    async def _start(self) -> HttpProcess:
        process = HttpProcess(self.engine.handle, SETTINGS, "127.0.0.1:0")
        process.start()
        return process

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.process.stop(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def aaa(self, *arguments: str, role: str = "admin", text: str | None = None, exit_code: int = 0) -> Result:
        environment = {"AAA_URL": self.url, "AAA_TOKEN": token_of(role)}
        result = CliRunner().invoke(cli, list(arguments), env=environment, input=text)
        assert result.exit_code == exit_code, (result.output, result.exception)
        return result

    def json(self, *arguments: str, **options: Any) -> Any:
        return json.loads(self.aaa(*arguments, "--json", **options).stdout)


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    running = Running()
    yield running
    running.stop()


@pytest.fixture
def server(running: Running) -> Running:
    """The running server with an empty engine."""
    running.engine.__init__()  # type: ignore[misc]
    running.aaa("plan", "set", "home-50", "rate.down_bps=50000000", "rate.up_bps=10000000")
    running.aaa("subscriber", "set", "s1", "name=Ann")
    running.aaa("service", "set", "u1", "subscriber_id=s1", "plan_id=home-50", "state=active")
    return running


Answer = Callable[[Packet, Secret], list[bytes]]


class RadiusServer:
    """A UDP socket in a thread that answers each packet with what the test says."""

    def __init__(self, answer: Answer) -> None:
        self.secret = Secret(b"testing123")
        self.received: list[Packet] = []
        self._answer = answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, source = self._socket.recvfrom(4096)
            if not data:
                return
            packet = Packet.parse(data)
            self.received.append(packet)
            for answer in self._answer(packet, self.secret):
                self._socket.sendto(answer, source)

    def stop(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


@pytest.fixture
def radius() -> Iterator[Callable[[Answer], RadiusServer]]:
    servers: list[RadiusServer] = []

    def start(answer: Answer) -> RadiusServer:
        servers.append(RadiusServer(answer))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
