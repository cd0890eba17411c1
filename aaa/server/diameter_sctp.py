"""Diameter over SCTP (RFC 6733 §2.1.1): one-to-one sockets, of which asyncio's transports know nothing.

A message of Diameter is a message of SCTP: peers take a send for a whole one. Knows sockets and message lengths only.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

from aaa.limits import DIAMETER_SCTP_READ_BYTES, DIAMETER_WRITE_HIGH_BYTES

IPPROTO_SCTP: Final = 132
SCTP_NODELAY: Final = 3
SCTP_DEFAULT_SEND_PARAM: Final = 10
PAYLOAD_PROTOCOL: Final = 46
"""Diameter in the clear, of IANA's registry (RFC 6733 §11.4)."""
ACCEPT_PAUSE_S: Final = 1.0
"""How long nothing is accepted when the process has no descriptors left."""
MISSING: Final = "this kernel has no SCTP (CONFIG_IP_SCTP, module sctp)"


def open_socket(address: str) -> socket.socket:
    """A socket for an address's family. Raises OSError where the kernel has no SCTP."""
    family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM, IPPROTO_SCTP)
    sock.setblocking(False)
    return sock


class SctpTransport:
    """The part of asyncio.Transport that a Link uses, over a connected socket that keeps messages whole."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: asyncio.Protocol) -> None:
        self._loop = loop
        self._socket = sock
        self._protocol = protocol
        self._unsent: deque[bytes] = deque()
        self._unsent_octets = 0
        self._paused_protocol = False
        self._closing = False
        self._lost = False
        self._reading = False
        prepare(sock)
        protocol.connection_made(self)  # type: ignore[arg-type]
        self.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        try:
            return {"peername": self._socket.getpeername, "sockname": self._socket.getsockname}[name]()
        except (KeyError, OSError):
            return default

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return self._unsent_octets

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._socket.fileno())

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._socket.fileno(), self._read)

    def _read(self) -> None:
        try:
            data = self._socket.recv(DIAMETER_SCTP_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._end(error)
            return
        if data:
            self._protocol.data_received(data)
        else:
            self._end(None)

    def write(self, data: bytes) -> None:
        """Whole Diameter messages; each leaves as one of SCTP."""
        if self._closing:
            return
        start = 0
        while start < len(data):
            end = start + int.from_bytes(data[start + 1 : start + 4], "big")
            self._unsent.append(data[start:end])
            start = end
        waited = bool(self._unsent_octets)
        self._unsent_octets += len(data)
        if not waited:
            self._send()
        self._tell_room()

    def _send(self) -> None:
        while self._unsent:
            try:
                self._socket.send(self._unsent[0])
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._socket.fileno(), self._send)
                break
            except OSError as error:
                self._end(error)
                return
            self._unsent_octets -= len(self._unsent.popleft())
        if not self._unsent:
            self._loop.remove_writer(self._socket.fileno())
            if self._closing:
                self._end(None)
                return
        self._tell_room()

    def _tell_room(self) -> None:
        """Whether what is unsent has become too much, or all of it is gone."""
        if self._paused_protocol:
            if not self._unsent:
                self._paused_protocol = False
                self._protocol.resume_writing()
        elif self._unsent_octets > DIAMETER_WRITE_HIGH_BYTES:
            self._paused_protocol = True
            self._protocol.pause_writing()

    def close(self) -> None:
        """End it when all is sent."""
        if not self._closing:
            self.pause_reading()
            self._closing = True
            if not self._unsent:
                self._end(None)

    def abort(self) -> None:
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._unsent.clear()
        self._unsent_octets = 0
        self._reading = False
        self._loop.remove_reader(self._socket.fileno())
        self._loop.remove_writer(self._socket.fileno())
        self._loop.call_soon(self._tell, error)

    def _tell(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)
        self._socket.close()


def prepare(sock: socket.socket) -> None:
    """Send at once, and say what it is. A socket that is not SCTP's, as in tests, stays as it is."""
    # struct sctp_sndrcvinfo (RFC 6458 §5.3.2): stream, ssn, flags, ppid in network order, and what stays 0.
    parameters = struct.pack("=HHHxx", 0, 0, 0) + struct.pack(">I", PAYLOAD_PROTOCOL) + bytes(20)
    for option, value in ((SCTP_NODELAY, struct.pack("=i", 1)), (SCTP_DEFAULT_SEND_PARAM, parameters)):
        with suppress(OSError):
            sock.setsockopt(IPPROTO_SCTP, option, value)


class SctpListener:
    """Accepts connections until it is closed."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, make: Callable[[], asyncio.Protocol]
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._make = make
        self._listen()

    def _listen(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._socket.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                # It would be readable for ever.
                self._loop.remove_reader(self._socket.fileno())
                self._loop.call_later(ACCEPT_PAUSE_S, self._listen)
            return
        sock.setblocking(False)
        SctpTransport(self._loop, sock, self._make())

    def close(self) -> None:
        self._loop.remove_reader(self._socket.fileno())
        self._socket.close()


async def listen(address: str, port: int, make: Callable[[], asyncio.Protocol]) -> SctpListener:
    """Raises OSError."""
    sock = open_socket(address)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    return SctpListener(asyncio.get_running_loop(), sock, make)


async def connect(address: str, port: int, protocol: asyncio.Protocol) -> None:
    """Raises OSError. address: an IP address."""
    loop = asyncio.get_running_loop()
    sock = open_socket(address)
    try:
        await loop.sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    SctpTransport(loop, sock, protocol)
