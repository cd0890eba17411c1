"""The engine's side of the HTTP process: binds the port, starts the process, hands it settings, restarts and stops it.

Knows processes and sockets; what is asked and answered is the handler's.
"""

import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from aaa.config import Config, Payment, Tls, Webhook
from aaa.limits import HTTP_DRAIN_S
from billing_hooks.rpc import Handler, RpcServer
from billing_hooks.settings import PaymentSettings, TlsSettings, WebhookSettings
from billing_hooks.tokens import ApiSettings, Token

log = logging.getLogger(__name__)

RESTART_DELAY_S: Final = (0.1, 0.5, 2.0, 10.0)
"""Before the next start, by how many came to nothing in a row; the last one repeats."""
LISTEN_BACKLOG: Final = 1024


def make_settings(config: Config, version: str) -> ApiSettings:
    """What the HTTP process needs of a checked configuration: digests of tokens, never tokens; keys that sign."""
    tokens = tuple(
        Token(name=token.name, role=token.role, sha256=token.token_sha256 or "", operator=token.operator)
        for token in config.token
    )
    return ApiSettings(
        tokens,
        config.api.body_max,
        config.api.metrics_open,
        version,
        store=config.store.path,
        snapshot_share=config.api.snapshot_share,
        webhooks=tuple(map(_webhook, config.webhook)),
        payments=tuple(map(_payment, config.payment)),
        tls=_tls(config.tls) if config.api.tls else None,
    )


def _webhook(entry: Webhook) -> WebhookSettings:
    return WebhookSettings(
        name=entry.name,
        url=entry.url,
        keys=tuple(key.reveal() for key in (entry.secret, entry.second_secret) if key is not None),
        events=entry.events,
        operator=entry.operator,
        timeout_s=entry.timeout,
        attempts=entry.attempts,
        retry_first_s=entry.retry_first,
        retry_max_s=entry.retry_max,
        concurrency=entry.concurrency,
        ca=entry.ca,
    )


def _payment(entry: Payment) -> PaymentSettings:
    assert entry.secret is not None
    return PaymentSettings(
        name=entry.name,
        secret=entry.secret.reveal(),
        tolerance_s=entry.tolerance,
        operator=entry.operator,
        service_key=entry.service_key,
        subscriber_key=entry.subscriber_key,
        customer_fact=entry.customer_fact,
        top_up_key=entry.top_up_key,
        wait_s=entry.wait,
    )


def _tls(tls: Tls) -> TlsSettings:
    assert tls.cert is not None
    assert tls.key is not None
    return TlsSettings(cert=tls.cert, key=tls.key, client_ca=tls.client_ca, minimum_version=tls.minimum_version)


def bind(listen: str) -> socket.socket:
    """A listening socket on "address:port" or "[address]:port"; port 0 lets the kernel choose. Raises OSError."""
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, int(port)), family=family, backlog=LISTEN_BACKLOG)
    listener.setblocking(False)
    return listener


class HttpProcess:
    """The supervised HTTP process. The listening socket stays here, so a restart loses no port and no connect."""

    def __init__(
        self, handle: Handler, settings: ApiSettings, listen: str, delays_s: Sequence[float] = RESTART_DELAY_S
    ) -> None:
        """Binds at once: OSError (address in use, no such address) is the operator's to see. listen: see bind()."""
        self._handle = handle
        self._settings = msgspec.json.encode(settings)
        self._listener = bind(listen)
        self._delays_s = delays_s
        self._server: RpcServer | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._task: asyncio.Task[None] | None = None
        self.starts = 0
        """Times that the process was started; above 1 it died in between."""

    @property
    def address(self) -> tuple[str, int]:
        """The bound (host, port)."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start and keep it running, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._keep_running())

    def use_settings(self, settings: ApiSettings) -> None:
        """After a reload: applies to the next request."""
        self._settings = msgspec.json.encode(settings)
        if self._server is not None:
            self._server.push_settings(self._settings)

    async def stop(self, drain: bool = True) -> None:
        """Let requests in work finish within HTTP_DRAIN_S, then end the process and close the port.

        drain: False where no request can finish, because the engine is failing.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        process = self._process
        if process is not None and process.poll() is None:
            if drain:
                process.terminate()
            else:
                process.kill()
            try:
                await asyncio.to_thread(process.wait, HTTP_DRAIN_S + 2)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
        if self._server is not None:
            self._server.close()
        self._listener.close()

    async def _keep_running(self) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            began = loop.time()
            await self._run_once()
            failures = failures + 1 if loop.time() - began < self._delays_s[-1] else 0
            delay_s = self._delays_s[min(failures, len(self._delays_s) - 1)]
            log.error("HTTP process ended; next start in %g s", delay_s)
            await asyncio.sleep(delay_s)

    async def _run_once(self) -> None:
        """One life of the process: until its end of the socket pair closes."""
        loop = asyncio.get_running_loop()
        gone = asyncio.Event()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        with contextlib.closing(theirs):
            # pass_fds and no preexec_fn: the child is vforked, so a large engine is not copied and not held up.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "billing_hooks.process", str(theirs.fileno()), str(self._listener.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self._listener.fileno()),
            )
        self.starts += 1
        server = RpcServer(self._handle, lost=gone.set)
        server.push_settings(self._settings)
        self._server = server
        await loop.create_unix_connection(lambda: server, sock=ours)
        await gone.wait()
        self._server = None
        try:
            await asyncio.to_thread(self._process.wait, HTTP_DRAIN_S + 2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            await asyncio.to_thread(self._process.wait)
