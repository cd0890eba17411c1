"""The HTTP process: `python -m billing_hooks.process ENGINE_FD LISTEN_FD`, or with a Unix socket's path for ENGINE_FD.

Serves HTTP on an already bound socket and asks the engine over the other. The engine pushes the settings first; when
the engine goes away, so does this process. uvicorn serves, because it runs in this one process and loop: 35 MiB against
granian's 52 MiB in two processes, at 195 against 157 CPU-µs for a small GET (loopback, one connection).
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator

import msgspec
import uvicorn
import uvloop
from uvicorn.protocols.http.h11_impl import H11Protocol

from aaa.limits import HTTP_CONNECTIONS_MAX, HTTP_DRAIN_S, HTTP_HEAD_S
from billing_hooks.app import Door
from billing_hooks.https import Certificate
from billing_hooks.rpc import RpcClient
from billing_hooks.tokens import ApiSettings

log = logging.getLogger(__name__)

SETTINGS_PATIENCE_S = 10.0


class _Server(uvicorn.Server):
    """Leaves signals to main(): the terminal's Ctrl-C is for the engine, which then ends this process."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Protocol(H11Protocol):
    """Closes a connection on which no request comes for HTTP_HEAD_S; uvicorn would wait for a head without end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._idle_since: object = None
        """The request that was the last one already when this was looked at before; None: there was none."""
        self._watch = self.loop.call_later(HTTP_HEAD_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        cycle = self.cycle
        is_idle = cycle is None or cycle.response_complete
        if is_idle and cycle is self._idle_since:
            self.transport.close()
            return
        self._idle_since = cycle if is_idle else self
        self._watch = self.loop.call_later(HTTP_HEAD_S, self._look)


class _JsonLines(logging.Formatter):
    """One line per event on standard error, as the engine's own log."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"at": record.created, "level": record.levelname.lower(), "process": "http"}
        line["event"] = record.getMessage()
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()


async def serve(engine: socket.socket, listener: socket.socket) -> int:
    """Serve until SIGTERM or until the engine goes away; the process's exit code."""
    loop = asyncio.get_running_loop()
    first: asyncio.Future[ApiSettings] = loop.create_future()
    door: Door | None = None
    certificate: Certificate | None = None

    def use(body: bytes) -> None:
        try:
            settings = msgspec.json.decode(body, type=ApiSettings)
            if door is not None:
                if certificate is not None and settings.tls is not None:
                    certificate.reload(settings.tls)
                door.use_settings(settings)
            elif not first.done():
                first.set_result(settings)
        except (msgspec.DecodeError, ValueError, OSError) as error:
            log.error("settings refused, the old ones stay: %s", error)

    _, client = await loop.create_unix_connection(lambda: RpcClient(use), sock=engine)
    try:
        async with asyncio.timeout(SETTINGS_PATIENCE_S):
            settings = await first
        door = Door(client, settings)
        if settings.tls is not None:
            certificate = Certificate(settings.tls)
    except TimeoutError:
        log.error("the engine sent no settings")
        return 1
    except (OSError, ValueError) as error:
        log.error("the certificate cannot be used: %s", error)
        return 1
    server = _Server(
        uvicorn.Config(
            door.make_app(),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            http=Protocol,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=HTTP_CONNECTIONS_MAX,
            timeout_graceful_shutdown=HTTP_DRAIN_S,
        )
    )
    server.config.load()
    if certificate is not None:
        server.config.ssl = certificate.context
    door.outlets.start()
    watch = loop.create_task(_stop_with(client, server, door))
    loop.add_signal_handler(signal.SIGTERM, _stop, server, door)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    try:
        await server.serve([listener])
    finally:
        watch.cancel()
        await door.outlets.stop()
        client.close()
    return 0


def _stop(server: uvicorn.Server, door: Door) -> None:
    # Without an engine nobody else ends a process whose last work hangs.
    asyncio.get_running_loop().call_later(HTTP_DRAIN_S + 1, os._exit, 1)
    # Streams of events would last until the drain's end.
    door.outlets.feed.close()
    server.should_exit = True


async def _stop_with(client: RpcClient, server: uvicorn.Server, door: Door) -> None:
    await client.closed.wait()
    _stop(server, door)


def main(engine: str, listener_fd: int) -> int:
    """engine: number of an inherited descriptor, or the path of the engine's Unix socket."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    if engine.isdigit():
        engine_socket = socket.socket(fileno=int(engine))
    else:
        engine_socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        engine_socket.connect(engine)
    engine_socket.setblocking(False)
    listener = socket.socket(fileno=listener_fd)
    return uvloop.run(serve(engine_socket, listener))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
