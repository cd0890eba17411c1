"""Diameter over SCTP: messages stay whole, and a kernel without it is named.

A UNIX socket pair of sequenced packets stands for an association: it too keeps every send a message of its own, is a
connection, and ends like one.
"""

import asyncio
import errno
import socket

import pytest
from msgspec.structs import replace

from aaa.limits import DIAMETER_WRITE_HIGH_BYTES
from aaa.server import diameter_sctp as sctp
from aaa.server.diameter_link import Link
from native import diameter
from tests.diameter.wire import ccr, cer, result_of
from tests.server.diameter_site import GX, Echo, node_text, peer_text, run, site


class Far:
    """The other end of an association."""

    def __init__(self, one) -> None:
        near, self.socket = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.setblocking(False)
        self.socket.setblocking(False)
        self.loop = asyncio.get_running_loop()
        self.link = Link(one.diameter, one.node)
        self.transport = _Named(self.loop, near, self.link)

    async def send(self, octets: bytes) -> None:
        await self.loop.sock_sendall(self.socket, octets)

    async def read(self) -> bytes:
        """One whole packet; empty at the end."""
        async with asyncio.timeout(10):
            return await self.loop.sock_recv(self.socket, 1 << 20)


class _Named(sctp.SctpTransport):
    """UNIX sockets have no addresses."""

    def get_extra_info(self, name, default=None):
        return ("127.0.0.1", 3868)


def one_of(octets: bytes) -> diameter.Message:
    message = diameter.Message.parse(octets)
    assert len(octets) == int.from_bytes(octets[1:4], "big")
    return message


def test_every_message_of_a_batch_is_a_packet_of_its_own(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.diameter.applications[GX] = Echo(GX)
            far = Far(one)
            await far.send(cer())
            assert result_of(one_of(await far.read())) == 2001
            await far.send(ccr(1, hop_by_hop=1) + ccr(2, hop_by_hop=2))
            await far.send(ccr(3, hop_by_hop=3))
            assert [one_of(await far.read()).hop_by_hop for _ in range(3)] == [1, 2, 3]
            far.socket.close()
            await one.until(lambda: not one.node.peers["client"].is_open)
            assert one.diameter.links == set()

    run(conversation())


def test_what_cannot_be_sent_at_once_follows_in_order_and_holds_up_reading(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            application = one.diameter.applications[GX] = Echo(GX)
            application.answer = lambda message: [diameter.avp(9_999, bytes(30_000), 10_415, False)]
            far = Far(one)
            await far.send(cer())
            await far.read()
            count = 32
            for number in range(1, count + 1):
                await far.send(ccr(number, hop_by_hop=number))
            await one.until(lambda: far.transport.get_write_buffer_size() > DIAMETER_WRITE_HIGH_BYTES)
            assert far.link._holds
            assert [one_of(await far.read()).hop_by_hop for _ in range(count)] == list(range(1, count + 1))
            await one.until(lambda: not far.link._holds)
            assert far.transport.get_write_buffer_size() == 0

    run(conversation())


def test_a_close_sends_what_is_left(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            far = Far(one)
            await far.send(cer("stranger"))
            assert result_of(one_of(await far.read())) == 3010
            assert await far.read() == b""
            await one.until(lambda: not one.diameter.links)

    run(conversation())


def test_tls_in_band_is_not_for_sctp(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.node.local = replace(one.node.local, inband_tls=True)
            far = Far(one)
            await far.send(cer(Inband_Security_Id=1))
            await one.until(lambda: one.log.of("diameter.peer_closed"))
            assert one.log.of("diameter.peer_closed")[0][1]["reason"] == "certificate"

    run(conversation())


def test_where_tls_cannot_begin_nothing_more_leaves_in_the_clear(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.node.local = replace(one.node.local, inband_tls=True)
            # As the reconciler does with what waits for a client.
            sent = []

            def opened(peer):
                sent.append(one.diameter.send("client", "client", GX, 258, b"s;1", [], lambda *_: None, 0.0))

            one.diameter.on_opened = opened
            far = Far(one)
            await far.send(cer(Inband_Security_Id=1))
            assert one_of(await far.read()).command == 257
            assert await far.read() == b""
            assert sent == [True]

    run(conversation())


def without_sctp(family, kind, protocol):
    raise OSError(errno.EPROTONOSUPPORT, "Protocol not supported")


def test_a_kernel_without_it_is_named_and_tcp_serves_on(tmp_path, monkeypatch):
    monkeypatch.setattr(sctp, "open_socket", lambda address: without_sctp(0, 0, 0))

    async def conversation():
        async with site(tmp_path, node_text(peer_text(), sctp="auto")) as one:
            assert list(one.ports) == ["tcp"]
            [(text, _)] = one.log.of("diameter.no_sctp")
            assert text == f"{sctp.MISSING}; Diameter is served by TCP alone"

    run(conversation())


def test_it_does_not_start_without_where_it_must_have_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sctp, "open_socket", lambda address: without_sctp(0, 0, 0))

    async def conversation():
        with pytest.raises(OSError, match="by SCTP: this kernel has no SCTP"):
            async with site(tmp_path, node_text(peer_text(), sctp="on")):
                pass

    run(conversation())


def test_a_peer_that_cannot_be_dialled_for_want_of_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sctp, "open_socket", lambda address: without_sctp(0, 0, 0))

    async def conversation():
        peer = peer_text("server.example", connect="127.0.0.1:3868", transport="sctp")
        async with site(tmp_path, node_text(peer)) as one:
            await one.until(lambda: one.log.of("diameter.dial_failed"))
            assert one.log.of("diameter.dial_failed")[0][1]["detail"] == sctp.MISSING

    run(conversation())


def test_a_listener_and_a_dialled_connection_over_sockets_of_streams(tmp_path, monkeypatch):
    """The whole way with TCP's sockets in the place of SCTP's, which this kernel may not have."""

    def stream(address):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        return sock

    monkeypatch.setattr(sctp, "open_socket", stream)

    async def conversation():
        async with site(tmp_path / "a", node_text(peer_text("b.example"), sctp="off", origin_host="a.example")) as a:
            listener = await sctp.listen("127.0.0.1", 0, lambda: Link(a.diameter, a.node))
            port = listener._socket.getsockname()[1]
            there = peer_text("a.example", connect=f"127.0.0.1:{port}", transport="sctp")
            async with site(tmp_path / "b", node_text(there, origin_host="b.example")) as b:
                await b.until(lambda: b.node.peers["a.example"].is_open)
                await a.until(lambda: a.node.peers["b.example"].is_open)
                assert isinstance(b.node.peers["a.example"].connection.link._transport, sctp.SctpTransport)
            await a.until(lambda: not a.node.peers["b.example"].is_open)
            listener.close()

    run(conversation())
