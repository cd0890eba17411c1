"""One transport connection of a Diameter peer: octets to and from its Connection, with TLS between where it has it.

Knows transports and TLS; knows no message. TLS goes through memory, so that one way serves TLS from the first octet,
TLS after the capabilities exchange, and every kind of transport.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

from aaa.diameter.peer import Connection, Peer
from aaa.diameter.settings import Certificate
from aaa.limits import (
    DIAMETER_CER_TIMEOUT_S,
    DIAMETER_CLOSING_TIMEOUT_S,
    DIAMETER_TURN_MESSAGES_MAX,
    DIAMETER_UNSENT_BYTES_MAX,
)
from aaa.server.diameter_sctp import SctpTransport
from aaa.server.diameter_tls import certificate_of

if TYPE_CHECKING:
    from aaa.diameter.node import Node
    from aaa.server.diameter import Diameter

TLS_READ_OCTETS: Final = 65_536
TURN, DISK, UNREAD = 1, 2, 4
"""Why nothing is read: messages wait for the next turn, the disk is behind, the peer does not read."""


class Tls:
    """TLS over memory. Raises ssl.SSLError for what the other side does wrong."""

    def __init__(self, context: ssl.SSLContext, server_side: bool) -> None:
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self.session = context.wrap_bio(self._in, self._out, server_side)
        self.is_up = False
        self.has_ended = False
        """The other side said that nothing more comes."""

    def receive(self, data: bytes) -> bytes:
        """What was in it for us. Look at data_to_send() afterwards, also after an error."""
        self._in.write(data)
        chunks = []
        try:
            if not self.is_up:
                self.session.do_handshake()
                self.is_up = True
            while True:
                chunk = self.session.read(TLS_READ_OCTETS)
                if not chunk:
                    self.has_ended = True
                    break
                chunks.append(chunk)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        return b"".join(chunks)

    def send(self, data: bytes) -> None:
        self.session.write(data)

    def end(self) -> None:
        """Say that nothing more comes."""
        with suppress(ssl.SSLError, ValueError):
            self.session.unwrap()

    def data_to_send(self) -> bytes:
        return self._out.read()


class Link(asyncio.Protocol):
    """A transport that was accepted, or dialled for a peer."""

    def __init__(self, diameter: Diameter, node: Node, peer: Peer | None = None, secure: bool = False) -> None:
        """peer: whom we dialled; None: accepted. secure: TLS from the first octet."""
        self.node = node
        self.connection: Connection | None = None
        self.remote_address = ""
        self._diameter = diameter
        self._peer = peer
        self._secure = secure
        self._tls: Tls | None = None
        self._early: list[bytes] = []
        """To be sent when TLS is up."""
        self._transport: asyncio.Transport | None = None
        self._holds = 0
        self._held = b""
        """Received while the disk was behind."""
        self._has_failed = False
        """TLS has, and that was told."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def kind(self) -> str:
        """tcp or sctp."""
        return "sctp" if isinstance(self._transport, SctpTransport) else "tcp"

    # What the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self._diameter.links.add(self)
        there = transport.get_extra_info("peername")
        if not there:
            transport.abort()  # it is gone already
            return
        self.remote_address = there[0].partition("%")[0]
        if not self._secure:
            self._begin(secure=False, certificate=None)
        elif self._peer is None and not self._diameter.may_shake_hands(self):
            transport.abort()
        else:
            self._start_tls()

    def _begin(self, secure: bool, certificate: Certificate | None) -> None:
        """The machine hears of the connection."""
        assert self._transport is not None
        here = self._transport.get_extra_info("sockname")
        addresses = (here[0].partition("%")[0],)
        now = self._diameter.now()
        if self._peer is not None:
            self.connection, events = self._peer.connected(self.remote_address, addresses, now, secure, certificate)
        else:
            accepted = self.node.accept(self.remote_address, addresses, now, secure, certificate)
            if accepted is None:
                self._transport.abort()
                return
            self.connection, events = accepted, []
        self.connection.link = self
        self._diameter.settle(self.node, self.connection, events)

    def data_received(self, data: bytes) -> None:
        if self._tls is not None:
            data = self._decrypted(data)
            if not data:
                return
        self._take(data)

    def _take(self, data: bytes) -> None:
        diameter, connection = self._diameter, self.connection
        if connection is None:
            return
        if diameter.journal.congested:
            self._held += data
            if not self._holds & DISK:
                self._hold(DISK)
                diameter.journal.when_durable(self._disk_is_back)
            return
        diameter.settle(
            self.node, connection, connection.receive_data(data, diameter.now(), DIAMETER_TURN_MESSAGES_MAX)
        )
        if connection.pending and not self._holds & TURN:
            self._hold(TURN)
            diameter.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._holds &= ~TURN
        self._take(b"")
        self._release()

    def _disk_is_back(self) -> None:
        self._holds &= ~DISK
        held, self._held = self._held, b""
        self._take(held)
        self._release()

    def pause_writing(self) -> None:
        """The peer does not read: nor do we, until it does, so that no answers pile up for it."""
        self._hold(UNREAD)

    def resume_writing(self) -> None:
        self._holds &= ~UNREAD
        self._release()

    def _hold(self, reason: int) -> None:
        if not self._holds and self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
        self._holds |= reason

    def _release(self) -> None:
        if not self._holds and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._diameter.links.discard(self)
        detail = "" if exc is None else str(exc)
        if self.connection is not None:
            self._diameter.settle(self.node, self.connection, self.connection.lost(self._diameter.now()))
        elif self._peer is not None:
            self._diameter.dial_failed(self.node, self._peer, detail or "ended before TLS was up")
        elif self.shakes_hands and not self._has_failed:
            self._diameter.tls_failed(self, detail or "the other side ended it before TLS was up")

    # TLS

    def start_tls(self, octets: bytes) -> None:
        """After these octets in the clear, TLS begins."""
        assert self._transport is not None
        if octets:
            self._transport.write(octets)
        self._start_tls()

    def _start_tls(self) -> None:
        context = self._diameter.context_for(self.node, self._peer)
        if context is None or isinstance(self._transport, SctpTransport):
            # Later: what the machine told together with this is to be heard first.
            detail = "nothing to verify its certificate with" if context is None else "TLS is not for SCTP"
            self._diameter.loop.call_soon(self._tls_failed, detail)
            return
        server_side = self._peer is None
        self._tls = Tls(context, server_side)
        self._timer = self._diameter.loop.call_later(DIAMETER_CER_TIMEOUT_S, self._tls_failed, "TLS took too long")
        if not server_side:
            self._decrypted(b"")

    @property
    def was_accepted(self) -> bool:
        return self._peer is None

    @property
    def handshake_ends_at(self) -> float:
        """When the loop's clock ends a handshake that takes too long."""
        return float("inf") if self._timer is None else self._timer.when()

    @property
    def shakes_hands(self) -> bool:
        return self._tls is not None and not self._tls.is_up

    def _decrypted(self, data: bytes) -> bytes:
        tls = self._tls
        assert tls is not None
        was_up, plain = tls.is_up, b""
        try:
            plain = tls.receive(data)
        except ssl.SSLError as error:
            self._tls_failed(_reason(error))
            return b""
        if tls.is_up and not was_up:
            self._stop_timer()
            self._tls_is_up(tls)
        self._send_tls()
        if tls.has_ended and self._transport is not None:
            self._transport.close()
        return plain

    def _tls_is_up(self, tls: Tls) -> None:
        certificate = certificate_of(tls.session, self._diameter.setup.tls.verified)
        for data in self._early:
            tls.send(data)
        self._early.clear()
        if self.connection is None:
            self._begin(secure=True, certificate=certificate)
        else:
            events = self.connection.secured(certificate, self._diameter.now())
            self._diameter.settle(self.node, self.connection, events)

    def _tls_failed(self, detail: str) -> None:
        """Before or after it was up."""
        self._has_failed = True
        self._stop_timer()
        self._send_tls()
        self._diameter.tls_failed(self, detail)
        if self.connection is not None:
            events = self.connection.distrust(detail, self._diameter.now())
            self._diameter.settle(self.node, self.connection, events)
        elif self._peer is not None:
            peer, self._peer = self._peer, None
            self._diameter.dial_failed(self.node, peer, detail)
        if self._transport is not None:
            self._transport.close()

    def _send_tls(self) -> None:
        data = b"" if self._tls is None else self._tls.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What the server tells

    def flush(self) -> bool:
        """Send what the machine has, and end the transport if it wants that. False: the peer leaves too much unread."""
        connection, transport = self.connection, self._transport
        assert connection is not None
        assert transport is not None
        data = connection.data_to_send()
        if transport.is_closing():
            return True
        if data:
            # Security: where TLS is to begin, nothing more leaves in the clear, also when it cannot.
            if self._tls is None and not connection.starts_tls:
                transport.write(data)
            elif self._tls is None:
                self._early.append(data)
            elif self._tls.is_up:
                self._tls.send(data)
                self._send_tls()
            else:
                self._early.append(data)
        if connection.closing:
            self.close()
            return True
        return transport.get_write_buffer_size() <= DIAMETER_UNSENT_BYTES_MAX

    def close(self) -> None:
        """End the transport when what is left has gone, or after a while."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._tls is not None and self._tls.is_up:
            self._tls.end()
            self._send_tls()
        transport.close()
        if transport.get_write_buffer_size():
            self._stop_timer()
            self._timer = self._diameter.loop.call_later(DIAMETER_CLOSING_TIMEOUT_S, transport.abort)

    def is_dialling(self, peer: Peer) -> bool:
        """Whether it was dialled for a peer whose machine has not heard of it yet."""
        return self._peer is peer and self.connection is None

    def abandon(self) -> None:
        """Nobody waits for it any more."""
        self._peer = None
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's complaint without its line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate: {error.verify_message}"
    return (error.reason or str(error)).lower().replace("_", " ")
