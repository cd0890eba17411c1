"""A small asyncio shell around a Node, for tests: sockets, and one timer."""

import asyncio
from collections.abc import Callable

from aaa.diameter.events import Connect, Event, Request
from aaa.diameter.node import Node
from aaa.diameter.peer import Connection


class _Transport(asyncio.Protocol):
    def __init__(self, shell: "Shell", connection: Connection | None = None) -> None:
        self.shell = shell
        self.connection = connection
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        here, there = transport.get_extra_info("sockname")[0], transport.get_extra_info("peername")[0]
        if self.connection is None:
            self.connection = self.shell.node.accept(there, (here,), self.shell.now())
        if self.connection is None:
            transport.abort()
            return
        self.shell.transports[self.connection] = transport
        self.shell.settle([])

    def data_received(self, data: bytes) -> None:
        assert self.connection is not None
        self.shell.settle(self.connection.receive_data(data, self.shell.now()))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.connection is not None:
            self.shell.transports.pop(self.connection, None)
            self.shell.settle(self.connection.lost(self.shell.now()))


class Shell:
    def __init__(self, node: Node, answer: Callable[[Request], bytes] | None = None) -> None:
        self.node = node
        self.answer = answer
        self.events: list[Event] = []
        self.transports: dict[Connection, asyncio.Transport] = {}
        self.dial_port = 0
        self.changed = asyncio.Event()
        self.sent: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._dials: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def now(self) -> float:
        return self._loop.time()

    async def listen(self) -> int:
        self._server = await self._loop.create_server(lambda: _Transport(self), "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
        for transport in list(self.transports.values()):
            transport.abort()

    def settle(self, events: list[Event]) -> None:
        """Carry out what the machines want after a call."""
        for event in events:
            self.events.append(event)
            if isinstance(event, Connect):
                task = self._loop.create_task(self._dial(event))
                self._dials.add(task)
                task.add_done_callback(self._dials.discard)
            elif isinstance(event, Request) and self.answer is not None:
                event.peer.send_answer(event, self.answer(event))
        for connection in self.node.ready():
            transport = self.transports.get(connection)
            if transport is None:
                continue
            data = connection.data_to_send()
            if data:
                self.sent.append(data)
                transport.write(data)
            if connection.closing:
                transport.close()
        self._set_timer()
        self.changed.set()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadlines = [holder.next_deadline() for holder in (*self.node.peers.values(), *self.node.unknown)]
        times = [at for at in deadlines if at is not None]
        self._timer = self._loop.call_at(min(times), self._expired) if times else None

    def _expired(self) -> None:
        holders = (*self.node.peers.values(), *self.node.unknown)
        self.settle([event for holder in holders for event in holder.handle_deadline(self.now())])

    async def _dial(self, event: Connect) -> None:
        try:
            await self._loop.create_connection(lambda: _Dialled(self, event), "127.0.0.1", self.dial_port)
        except OSError as error:
            self.settle(event.peer.connect_failed(str(error), self.now()))

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


class _Dialled(_Transport):
    def __init__(self, shell: Shell, event: Connect) -> None:
        super().__init__(shell)
        self.event = event

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        here, there = transport.get_extra_info("sockname")[0], transport.get_extra_info("peername")[0]
        self.connection, events = self.event.peer.connected(there, (here,), self.shell.now())
        super().connection_made(transport)
        self.shell.settle(events)
