"""The writer process and the journal's connection to it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from aaa.server.listener import Statistics
from aaa.state.journal import Journal


class StoreLink(asyncio.Protocol):
    """Starts the writer, carries the journal's groups to it and its acknowledgements back."""

    def __init__(self, journal: Journal, path: str, lost: Callable[[], None], lock: int | None = None) -> None:
        """lost: called when the writer has gone away without being asked to. lock: the store's, which it inherits."""
        self._journal = journal
        self._path = path
        self._lost = lost
        self._lock = lock
        self._transport: asyncio.Transport | None = None
        self._closing = False
        self._closed = asyncio.Event()
        self.process: subprocess.Popen[bytes] | None = None
        self.commits = Statistics()
        """Latency of groups, from leaving to durable."""
        self._sent_ns: deque[int] = deque()
        """When each group under way left, the oldest first."""

    async def start(self) -> None:
        """Start the process and connect the journal."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aaa.state.writer", self._path, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),) if self._lock is None else (theirs.fileno(), self._lock),
            )
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._journal.transport = self
        # Groups in flight are bounded by the journal; the transport never has to push back.
        self._transport.set_write_buffer_limits(1 << 30)

    def write(self, data: bytes) -> None:
        """A group leaves for the writer: what the journal calls."""
        assert self._transport is not None
        self._sent_ns.append(time.monotonic_ns())
        # Once the writer is lost nothing becomes durable any more, so nothing is answered either.
        if not self._transport.is_closing():
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        durable = self._journal.durable
        self._journal.receive(data)
        now_ns = time.monotonic_ns()
        for _ in range(self._journal.durable - durable):
            self.commits.observe(self._sent_ns.popleft(), now_ns)

    def oldest_s(self) -> float:
        """Age of the oldest group that is not durable; 0.0: there is none."""
        return (time.monotonic_ns() - self._sent_ns[0]) / 1e9 if self._sent_ns else 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()
        if not self._closing:
            self._lost()

    async def drain(self, timeout_s: float) -> bool:
        """Wait until everything is durable; False when it took longer."""
        done = asyncio.Event()
        self._journal.flush()
        self._journal.when_durable(done.set)
        try:
            async with asyncio.timeout(timeout_s):
                await done.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self) -> None:
        """Close the socket; the writer ends when it has written what it got."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()
            await self._closed.wait()
        if self.process is not None:
            await asyncio.to_thread(self.process.wait)
