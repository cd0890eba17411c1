"""TLS with Diameter peers: on a port of its own and after the exchange, and whom a certificate speaks for."""

import asyncio
import ssl
from pathlib import Path

import pytest

from aaa.diameter import codes
from aaa.limits import DIAMETER_HANDSHAKES_MAX, DIAMETER_UNKNOWN_PER_ADDRESS_MAX
from aaa.server.diameter_link import Tls
from native import diameter
from native.diameter import Message
from tests.diameter.wire import DICTIONARY, ccr, cer, result_of
from tests.lab.certificate import Authority
from tests.server.diameter_site import (
    GX,
    HOST,
    PATIENCE_S,
    Echo,
    answer_to,
    free_port,
    node_text,
    peer_text,
    run,
    site,
)


class Pki:
    """Two authorities, and the server's certificate of the first."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory / "first")
        self.other = Authority(directory / "second", "Another authority")
        self.server = self.authority.issue(HOST)
        self.elsewhere = self.other.issue("elsewhere")
        self.text = f'[tls]\ncert = "{self.server}/cert.pem"\nkey = "{self.server}/key.pem"\n'
        self.ca = f'client_ca = "{self.server}/ca.pem"\n'

    def context(self, own: Path | None, server_side: bool = False) -> ssl.SSLContext:
        """The other side's; own: directory of its certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.server / "ca.pem")
        if own is not None:
            context.load_cert_chain(own / "cert.pem", own / "key.pem")
        return context


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


def tls_text(pki: Pki, *peers: str, ca: bool = True) -> str:
    return node_text("".join(peers) + pki.text + (pki.ca if ca else ""), tls_port=free_port())


def test_a_peer_with_its_certificate_is_served_by_tls(tmp_path, pki):
    own = pki.authority.issue("client")

    async def conversation():
        async with site(tmp_path, tls_text(pki, peer_text(security="tls"))) as one:
            one.diameter.applications[GX] = Echo(GX)
            client = await one.client("tls", pki.context(own))
            await client.shake_hands()
            assert one.node.peers["client"].connection.secure
            assert result_of(await client.request(ccr())) == 2001
            # Whoever must have TLS is not served without.
            plain = await one.client()
            assert result_of(await plain.request(cer())) == 5017

    run(conversation())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_session_that_is_resumed_counts_as_the_one_that_it_began_with(tmp_path, pki, version):
    own = pki.authority.issue(f"resuming{version.value}.example")

    async def conversation():
        host = own.name
        text = tls_text(pki, peer_text(host, security="tls", ca=f"{pki.server}/ca.pem"))
        async with site(tmp_path, text) as one:
            context = pki.context(own)
            context.maximum_version = version
            before = None
            for _ in range(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", one.ports["tls"])
                raw = Tls(context, False)
                if before is not None:
                    raw.session.session = before
                raw.receive(b"")
                writer.write(raw.data_to_send())
                while not raw.is_up:
                    raw.receive(await reader.read(65_536))
                    writer.write(raw.data_to_send())
                raw.send(cer(host))
                writer.write(raw.data_to_send())
                plain = b""
                while not plain:
                    plain = raw.receive(await reader.read(65_536))
                [answer, *_], _, _ = diameter.split(bytearray(plain), 1 << 20)
                assert result_of(answer) == 2001
                before = raw.session.session
                writer.close()
                await one.until(lambda: not one.node.peers[host].is_open)

    run(conversation())


def test_who_begins_tls_and_says_nothing_keeps_nobody_out(tmp_path, pki):
    own = pki.authority.issue("patient.example")

    async def conversation():
        async with site(tmp_path, tls_text(pki, peer_text("patient.example", security="tls"))) as one:
            silent = [
                await asyncio.open_connection("127.0.0.1", one.ports["tls"], local_addr=(f"127.0.8.{number % 12}", 0))
                for number in range(DIAMETER_HANDSHAKES_MAX)
            ]
            await one.until(lambda: len(one.diameter.links) == DIAMETER_HANDSHAKES_MAX)
            client = await one.client("tls", pki.context(own))
            await client.shake_hands("patient.example")
            assert one.node.floods == 1
            await one.until(lambda: len(one.diameter.links) == DIAMETER_HANDSHAKES_MAX)
            for _, writer in silent:
                writer.close()

    run(conversation())


def test_a_peer_with_the_certificate_of_another_is_a_stranger(tmp_path, pki):
    own = pki.authority.issue("impostor")

    async def conversation():
        async with site(tmp_path, tls_text(pki, peer_text(security="tls"))) as one:
            client = await one.client("tls", pki.context(own))
            assert result_of(await client.request(cer())) == 3010
            assert await client.has_ended()

    run(conversation())


def test_an_authority_speaks_for_the_peers_that_are_configured_with_it(tmp_path, pki):
    first, second = pki.authority.issue("one"), pki.other.issue("two")
    false = pki.other.issue("one")
    text = tls_text(
        pki,
        peer_text("one", security="tls", ca=f"{pki.server}/ca.pem"),
        peer_text("two", security="tls", ca=f"{second}/ca.pem"),
        ca=False,
    )

    async def conversation():
        async with site(tmp_path, text) as one:
            for host, own, result in (("one", first, 2001), ("two", second, 2001), ("one", false, 3010)):
                client = await one.client("tls", pki.context(own))
                assert result_of(await client.request(cer(host))) == result
                client.close()
                await one.until(lambda host=host: not one.node.peers[host].is_open)

    run(conversation())


@pytest.mark.parametrize("shown", ["none", "of another authority"])
def test_without_a_certificate_that_is_trusted_there_is_no_connection(tmp_path, pki, shown):
    own = None if shown == "none" else pki.elsewhere

    async def conversation():
        async with site(tmp_path, tls_text(pki, peer_text(security="tls"))) as one:
            try:
                client = await one.client("tls", pki.context(own))
                client.send(cer())
                assert await client.has_ended()
            except (ssl.SSLError, ConnectionError):
                pass
            await one.until(lambda: one.log.of("diameter.tls_failed") and not one.diameter.links)
            assert not one.node.unknown

    run(conversation())


def test_plain_diameter_on_the_tls_port_ends_the_connection(tmp_path, pki):
    async def conversation():
        async with site(tmp_path, tls_text(pki, peer_text(security="tls"))) as one:
            client = await one.client("tls")
            client.send(cer())
            async with asyncio.timeout(PATIENCE_S):
                assert Message.parse((await client.reader.read()).ljust(20, b"\0")).command != 257

    run(conversation())


def test_handshakes_that_do_not_go_on_are_few_and_end(tmp_path, pki, monkeypatch):
    monkeypatch.setattr("aaa.server.diameter_link.DIAMETER_CER_TIMEOUT_S", 0.05)

    async def conversation():
        async with site(tmp_path, tls_text(pki, peer_text(security="tls"))) as one:
            clients = [await one.client("tls") for _ in range(DIAMETER_UNKNOWN_PER_ADDRESS_MAX + 4)]
            await one.until(lambda: one.node.floods == 4)
            assert sum(link.shakes_hands for link in one.diameter.links) == DIAMETER_UNKNOWN_PER_ADDRESS_MAX
            for client in clients:
                assert await client.has_ended()
            assert one.diameter.links == set()

    run(conversation())


def test_a_large_message_comes_through_tls_in_pieces(tmp_path, pki):
    own = pki.authority.issue("pieces.example")

    async def conversation():
        async with site(tmp_path, tls_text(pki, peer_text("pieces.example", security="tls"))) as one:
            application = one.diameter.applications[GX] = Echo(GX)
            application.answer = lambda message: [diameter.avp(9_999, bytes(60_000), 10_415, False)]
            client = await one.client("tls", pki.context(own))
            await client.shake_hands("pieces.example")
            for number in range(1, 20):
                client.send(ccr(number, hop_by_hop=number, host="pieces.example"))
            for number in range(1, 20):
                answer = await client.read()
                assert (answer.hop_by_hop, answer.fault) == (number, 0)

    run(conversation())


# After the exchange


async def secured(client, pki: Pki, own: Path, host: str) -> Tls:
    """The client's side of TLS after a CEA that agreed on it."""
    client.send(cer(host, Inband_Security_Id=1))
    answer = await client.read()
    assert (result_of(answer), answer.get_unsigned32(codes.INBAND_SECURITY_ID)) == (2001, 1)
    tls = Tls(pki.context(own), False)
    tls.receive(b"")
    while not tls.is_up:
        client.send(tls.data_to_send())
        async with asyncio.timeout(PATIENCE_S):
            data = await client.reader.read(65_536)
        assert data, "ended"
        tls.receive(data)
    client.send(tls.data_to_send())
    return tls


async def read_tls(client, tls: Tls) -> Message:
    plain = b""
    async with asyncio.timeout(PATIENCE_S):
        while len(plain) < 4 or len(plain) < int.from_bytes(plain[1:4], "big"):
            data = await client.reader.read(65_536)
            assert data, "ended"
            plain += tls.receive(data)
    return Message.parse(plain)


def test_tls_begins_after_the_exchange_where_the_peer_asks_for_it(tmp_path, pki):
    own = pki.authority.issue("inband.example")
    text = node_text(peer_text("inband.example", security="inband") + pki.text + pki.ca, inband_tls=True)

    async def conversation():
        async with site(tmp_path, text) as one:
            one.diameter.applications[GX] = Echo(GX)
            client = await one.client()
            tls = await secured(client, pki, own, "inband.example")
            tls.send(ccr(host="inband.example"))
            client.send(tls.data_to_send())
            assert result_of(await read_tls(client, tls)) == 2001
            assert one.node.peers["inband.example"].connection.secure
            # What is sent before TLS is up waits for it.
            client.close()
            await one.until(lambda: not one.node.peers["inband.example"].is_open)
            plain = await one.client()
            assert result_of(await plain.request(cer("inband.example"))) == 5017

    run(conversation())


def test_a_request_of_ours_waits_until_tls_is_up(tmp_path, pki):
    own = pki.authority.issue("waiting.example")
    text = node_text(peer_text("waiting.example", security="inband") + pki.text + pki.ca, inband_tls=True)

    async def conversation():
        async with site(tmp_path, text) as one:
            came = []

            def ask(peer):
                rar = [DICTIONARY.encode("Re-Auth-Request-Type", 0)]
                assert one.diameter.send(
                    "waiting.example", "example", GX, 258, b"s;1", rar, lambda *given: came.append(given), 0.0
                )

            one.diameter.on_opened = ask
            client = await one.client()
            tls = await secured(client, pki, own, "waiting.example")
            request = await read_tls(client, tls)
            assert DICTIONARY.title(request) == "Gx RAR"
            tls.send(answer_to(request, host="waiting.example"))
            client.send(tls.data_to_send())
            await one.until(lambda: came)
            assert result_of(came[0][0]) == 2001

    run(conversation())


def test_the_certificate_of_another_after_the_exchange_ends_the_connection(tmp_path, pki):
    own = pki.authority.issue("somebody.example")
    text = node_text(peer_text("victim.example", security="inband") + pki.text + pki.ca, inband_tls=True)

    async def conversation():
        async with site(tmp_path, text) as one:
            client = await one.client()
            await secured(client, pki, own, "victim.example")
            await one.until(lambda: one.log.of("diameter.peer_closed"))
            [(_, fields)] = one.log.of("diameter.peer_closed")
            assert fields["reason"] == "certificate"
            async with asyncio.timeout(PATIENCE_S):
                await client.reader.read()

    run(conversation())


def test_something_else_than_tls_after_the_exchange_ends_the_connection(tmp_path, pki):
    text = node_text(peer_text(security="inband") + pki.text + pki.ca, inband_tls=True)

    async def conversation():
        async with site(tmp_path, text) as one:
            client = await one.client()
            assert result_of(await client.request(cer(Inband_Security_Id=1))) == 2001
            client.send(ccr())
            await one.until(lambda: one.log.of("diameter.peer_closed"))
            assert one.log.of("diameter.peer_closed")[0][1]["reason"] == "certificate"

    run(conversation())


# Dialled


@pytest.mark.parametrize(
    ("security", "name", "reason"),
    [
        ("tls", "server.example", None),
        ("tls", "other.example", "certificate"),
        ("inband", "server.example", None),
        ("inband", "other.example", "certificate"),
    ],
)
def test_a_dialled_peer_must_show_its_own_certificate(tmp_path, pki, security, name, reason):
    own = pki.authority.directory / name
    if not own.exists():
        pki.authority.issue(name)

    async def conversation():
        came = asyncio.get_running_loop().create_future()
        context = pki.context(own, server_side=True)

        async def serve(reader, writer):
            """The other side: CEA, and TLS after it where that was asked for."""
            header = await reader.readexactly(4)
            request = Message.parse(header + await reader.readexactly(int.from_bytes(header[1:4], "big") - 4))
            asked = request.get_unsigned32(codes.INBAND_SECURITY_ID)
            pairs = [
                ("Result-Code", 2001), ("Origin-Host", "server.example"), ("Origin-Realm", "example"),
                ("Host-IP-Address", "127.0.0.1"), ("Vendor-Id", 0), ("Product-Name", "x"),
                ("Auth-Application-Id", GX), ("Inband-Security-Id", asked),
            ]  # fmt: skip
            writer.write(diameter.answer(request, DICTIONARY.encode_all(pairs)))
            if security == "inband":
                tls = Tls(context, True)
                while not tls.is_up and (data := await reader.read(65_536)):
                    tls.receive(data)
                    writer.write(tls.data_to_send())
            came.set_result(asked)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context if security == "tls" else None)
        port = server.sockets[0].getsockname()[1]
        peer = peer_text("server.example", connect=f"127.0.0.1:{port}", security=security)
        text = node_text(peer + pki.text + pki.ca, inband_tls=security == "inband")
        async with server, site(tmp_path, text) as one:
            assert await asyncio.wait_for(came, PATIENCE_S) == (1 if security == "inband" else 0)
            dialled = one.node.peers["server.example"]
            if reason is None:
                await one.until(lambda: dialled.is_open and dialled.connection.secure)
            else:
                events = ("diameter.dial_failed", "diameter.peer_closed")
                await one.until(lambda: any(map(one.log.of, events)))
                assert [fields["reason"] for event in events for _, fields in one.log.of(event)] == [reason]

    run(conversation())


def test_a_reload_takes_another_certificate_for_connections_to_come(tmp_path, pki):
    own = pki.authority.issue("reloaded.example")
    renewed = pki.authority.issue("renewed", HOST)
    port = free_port()

    def text(cert: Path) -> str:
        return node_text(
            peer_text("reloaded.example", security="tls")
            + f'[tls]\ncert = "{cert}/cert.pem"\nkey = "{cert}/key.pem"\n{pki.ca}',
            tls_port=port,
        )

    async def conversation():
        async with site(tmp_path, text(pki.server)) as one:
            one.diameter.applications[GX] = Echo(GX)
            client = await one.client("tls", pki.context(own))
            await client.shake_hands("reloaded.example")
            one.reload(text(renewed))
            assert result_of(await client.request(ccr(host="reloaded.example"))) == 2001
            again = await one.client("tls", pki.context(own))
            shown = again.writer.get_extra_info("ssl_object").getpeercert()
            assert ("DNS", "renewed") in shown["subjectAltName"]

    run(conversation())
