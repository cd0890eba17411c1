"""A Diameter node on real sockets in the test's own loop, an application that the test answers for, and raw clients."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvloop

from aaa.config import parse
from aaa.diameter.events import Request
from aaa.server import diameter_peers
from aaa.server.diameter import Diameter
from aaa.state import schema
from aaa.state.journal import Journal
from native import diameter
from native.diameter import Message
from tests.diameter.wire import DICTIONARY, cer, result_of

HOST = "aaa.example"
GX, GY, S6A = 16777238, 4, 16777251
PATIENCE_S = 10.0
"""A bound against a hanging test, never a measurement."""


class Acknowledged:
    """A writer that the test is: groups become durable when it says so, or at once."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.at_once = True
        journal.transport = self

    def write(self, data: bytes) -> None:
        if self.at_once:
            asyncio.get_running_loop().call_soon(self.acknowledge)

    def acknowledge(self) -> None:
        """Everything that was sent is on the disk."""
        self.journal.receive(struct.pack(">Q", self.journal.sent))


class Lines:
    """Collects what would be logged."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def _note(self, event: str, text: str = "", **fields: Any) -> None:
        self.lines.append((event, text, fields))

    info = warning = error = _note

    def exception(self, event: str, error: BaseException, **fields: Any) -> None:
        self.lines.append((event, repr(error), fields))

    def of(self, event: str) -> list[tuple[str, dict[str, Any]]]:
        return [(text, fields) for name, text, fields in self.lines if name == event]


class Echo:
    """An application that answers 2001, and keeps its batches."""

    def __init__(self, number: int, journal: Journal | None = None) -> None:
        self.number = number
        self.batches: list[list[Message]] = []
        self.answer: Callable[[Message], Sequence[bytes]] = lambda message: ()
        self.journal = journal

    def receive(self, requests: Sequence[Request], at: float) -> list[bytes]:
        self.batches.append([request.message for request in requests])
        if self.journal is not None:
            self.journal.append(schema.Row.META, ("test", "x"))
        return [answer_to(request.message, *self.answer(request.message)) for request in requests]


def answer_to(message: Message, *more: bytes, result: int = 2001, host: str = HOST) -> bytes:
    """An answer that passes the grammars of Gx and Gy."""
    pairs: list[tuple[str, Any]] = [("Auth-Application-Id", message.application)]
    pairs += [("Origin-Host", host), ("Origin-Realm", "example"), ("Result-Code", result)]
    if message.command == 272:
        pairs += [("CC-Request-Type", 1), ("CC-Request-Number", 0)]
    session_id = diameter.avp(263, message.get(263) or b"s")
    return diameter.answer(message, [session_id, *DICTIONARY.encode_all(pairs), *more])


class Client:
    """One TCP connection to the node."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *octets: bytes) -> None:
        self.writer.write(b"".join(octets))

    async def read(self) -> Message:
        """The next message; EOFError at the end."""
        async with asyncio.timeout(PATIENCE_S):
            header = await self.reader.readexactly(4)
            return Message.parse(header + await self.reader.readexactly(int.from_bytes(header[1:4], "big") - 4))

    async def has_ended(self) -> bool:
        """Nothing more comes, and the connection is over."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True

    async def shake_hands(self, host: str = "client", applications: Sequence[int] = (GX, GY, S6A)) -> Message:
        self.send(cer(host, applications=list(applications)))
        answer = await self.read()
        assert result_of(answer) == 2001, DICTIONARY.show(answer)
        return answer

    async def request(self, octets: bytes) -> Message:
        self.send(octets)
        return await self.read()

    def close(self) -> None:
        self.writer.close()


class Site:
    """The node, and what is around it."""

    def __init__(self, directory: Path, text: str) -> None:
        self.directory = directory
        self.log = Lines()
        self.journal = Journal()
        self.writer = Acknowledged(self.journal)
        self.errors: list[dict[str, Any]] = []
        config, setup = self.read(text)
        if not Path(config.store.path).exists():
            Path(config.store.path).parent.mkdir(parents=True, exist_ok=True)
            with closing(schema.connect(config.store.path)) as db:
                schema.migrate(db)
        self.events: list[tuple[str, str, dict[str, object]]] = []
        """What was told: type, subject, data."""
        store = SimpleNamespace(journal=self.journal, nases={}, state_ids={}, emit=self.note_event)
        self.diameter = Diameter(config, setup, store, self.log)
        self.ports: dict[str, int] = {}
        self.clients: list[Client] = []

    def note_event(self, kind: str, subject: str, at: float, body: dict[str, object]) -> None:
        self.events.append((kind, subject, body))

    def read(self, text: str) -> Any:
        base = f'store.key = "{"00" * 32}"\nserver.data_dir = "{self.directory}/data"\n'
        config = parse(base + text, self.directory / "aaa.toml", {})
        setup, problems = diameter_peers.set_up(config)
        assert problems == []
        return config, setup

    def reload(self, text: str) -> None:
        self.diameter.reconfigure(*self.read(text))

    @property
    def node(self) -> Any:
        return self.diameter.nodes[0]

    async def client(self, kind: str = "tcp", context: ssl.SSLContext | None = None) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[kind], ssl=context)
        self.clients.append(Client(reader, writer))
        return self.clients[-1]

    async def opened(self, host: str = "client", **more: Any) -> Client:
        client = await self.client()
        await client.shake_hands(host, **more)
        return client

    async def until(self, condition: Callable[[], Any]) -> None:
        """Until a condition holds, looked at whenever the loop has done something."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.001)


@asynccontextmanager
async def site(directory: Path, text: str) -> Any:
    """A started node; at the end nothing may have gone wrong unseen."""
    one = Site(directory, text)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: one.errors.append(context))
    for kind, _, port in await one.diameter.start():
        one.ports.setdefault(kind, port)
    try:
        yield one
    finally:
        for client in one.clients:
            client.close()
        await one.diameter.stop(0.0)
        await asyncio.sleep(0)
    assert [repr(error.get("exception")) for error in one.errors] == []
    assert one.log.of("diameter.failed") == []


def run(conversation: Any) -> None:
    """As the server runs: on uvloop."""
    uvloop.run(conversation)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def node_text(more: str = "", **keys: Any) -> str:
    """[diameter] on a port of the kernel's choice."""
    lines = {"origin_host": HOST, "listen": "127.0.0.1", "port": 0, "sctp": "off", **keys}
    written = "\n".join(
        f"{key} = {str(value).lower() if isinstance(value, bool) else repr(value)}" for key, value in lines.items()
    )
    return f"[diameter]\n{written}\n{more}"


def peer_text(host: str = "client", realm: str = "example", **keys: Any) -> str:
    lines = {"origin_host": host, "origin_realm": realm, **keys}
    written = "\n".join(f"{key} = {value!r}" for key, value in lines.items())
    return f"[[peer]]\n{written}\n"
