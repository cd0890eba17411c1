"""The writer process and the journal's connection to it."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import cast

from aaa.state.journal import Journal


class StoreLink(asyncio.Protocol):
    """Starts the writer, carries the journal's groups to it and its acknowledgements back."""

    def __init__(self, journal: Journal, path: str, lost: Callable[[], None]) -> None:
        """lost: called when the writer has gone away without being asked to."""
        self._journal = journal
        self._path = path
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._closing = False
        self._closed = asyncio.Event()
        self.process: subprocess.Popen[bytes] | None = None

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
                pass_fds=(theirs.fileno(),),
            )
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._journal.transport = self._transport
        # Groups in flight are bounded by the journal; the transport never has to push back.
        self._transport.set_write_buffer_limits(1 << 30)

    def data_received(self, data: bytes) -> None:
        self._journal.receive(data)

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
