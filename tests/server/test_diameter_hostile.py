"""What peers and strangers must not do, at the socket: the right answer or the end, bounded memory, no exception."""

import asyncio
import random
import struct
from contextlib import suppress

import pytest

from aaa.limits import (
    DIAMETER_CER_REPEATED_MAX,
    DIAMETER_MESSAGE_BYTES_MAX,
    DIAMETER_UNKNOWN_CONNECTIONS_MAX,
    DIAMETER_UNKNOWN_PER_ADDRESS_MAX,
)
from native import diameter
from native.diameter import Message
from tests.diameter.wire import DICTIONARY, ccr, cer, result_of
from tests.server.diameter_site import GX, PATIENCE_S, Echo, node_text, peer_text, run, site

CCR = ccr()
HEADER = CCR[:20]


def header(length: int, octets: bytes = CCR, version: int = 1) -> bytes:
    """The same message with another length in its header."""
    return bytes([version]) + length.to_bytes(3, "big") + octets[4:]


def nested(depth: int) -> bytes:
    """Groups in groups."""
    inside = b""
    for _ in range(depth):
        inside = diameter.avp(456, inside)  # Multiple-Services-Credit-Control
    return inside


def request(*avps: bytes, hop_by_hop: int = 9) -> bytes:
    """A CCR with these AVPs behind its own."""
    body = CCR[20:] + b"".join(avps)
    return diameter.message(0xC0, 272, GX, hop_by_hop, hop_by_hop, [body])


# Before anybody knows who it is


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
        b"GET / HTTP/1.1\r\nHost: aaa\r\n\r\n",
        bytes(20),
        header(0),
        header(19),
        header(21),
        header((1 << 24) - 4),
        header(DIAMETER_MESSAGE_BYTES_MAX + 4),
        header(len(CCR), version=2),
        CCR,
        b"\xff" * 4_096,
    ],
    ids=["tls", "http", "zeros", "length 0", "length 19", "length 21", "16 MB", "too long", "version 2", "CCR", "ones"],
)
def test_whoever_begins_with_something_else_than_a_cer_is_left_without_a_word(tmp_path, octets):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.client()
            client.send(octets)
            assert await client.has_ended()
            assert one.node.unknown == {}

    run(conversation())


@pytest.mark.parametrize(
    ("octets", "result"),
    [
        (cer(Origin_Host=None), 5005),
        (cer(applications=[99]), 5010),
        (cer("somebody.else"), 3010),
        (cer(Origin_Realm="elsewhere"), 3010),
        (cer()[:4] + b"\x81" + cer()[5:], 3008),
    ],
    ids=["no host", "no application", "stranger", "other realm", "reserved flags"],
)
def test_a_bad_cer_gets_its_answer_and_the_end(tmp_path, octets, result):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.client()
            assert result_of(await client.request(octets)) == result
            assert await client.has_ended()

    run(conversation())


def test_half_open_connections_are_few_for_an_address_and_for_all(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            open_ones = [
                await asyncio.open_connection("127.0.0.1", one.ports["tcp"], local_addr=(f"127.0.9.{host}", 0))
                for host in range(1, 12)
                for _ in range(DIAMETER_UNKNOWN_PER_ADDRESS_MAX + 1)
            ]
            await one.until(lambda: one.node.floods)
            from_one = [c for c in one.node.unknown if c.remote_address == "127.0.9.1"]
            await one.until(lambda: len(one.node.unknown) == DIAMETER_UNKNOWN_CONNECTIONS_MAX)
            assert len(from_one) <= DIAMETER_UNKNOWN_PER_ADDRESS_MAX
            await one.until(lambda: len(one.diameter.links) == DIAMETER_UNKNOWN_CONNECTIONS_MAX)
            # Silence keeps nobody out.
            await one.opened()
            for _, writer in open_ones:
                writer.close()

    run(conversation())


def test_a_flood_of_cers_of_one_peer_does_not_take_its_connection(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.diameter.applications[GX] = Echo(GX)
            first = await one.opened()
            for _ in range(40):
                other = await one.client()
                assert result_of(await other.request(cer())) == 5012
                assert await other.has_ended()
            # It is asked for a sign of life, once.
            assert (await first.read()).command == 280
            assert result_of(await first.request(ccr())) == 2001
            assert len(one.diameter.links) == 1

    run(conversation())


def test_cers_on_an_open_connection_are_refused_and_end_it(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.opened()
            for _ in range(DIAMETER_CER_REPEATED_MAX):
                client.send(cer())
            answers = []
            while True:
                try:
                    answers.append(result_of(await client.read()))
                except (EOFError, ConnectionError):
                    break
            assert answers == [5012] * (DIAMETER_CER_REPEATED_MAX - 1)
            assert one.log.of("diameter.peer_closed")[0][1]["reason"] == "flood"

    run(conversation())


# A peer


@pytest.mark.parametrize(
    ("octets", "result"),
    [
        (header(len(CCR), version=2), 5011),
        (header(19), 5015),
        (header(22), 5015),
        (header((1 << 24) - 4), 5015),
        (header(DIAMETER_MESSAGE_BYTES_MAX + 4), 5015),
    ],
    ids=["version", "length 19", "length 22", "16 MB", "too long"],
)
def test_a_length_or_version_that_lies_is_answered_and_ends_the_connection(tmp_path, octets, result):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.opened()
            client.send(octets, bytes(100_000))
            assert result_of(await client.read()) == result
            assert await client.has_ended()

    run(conversation())


@pytest.mark.parametrize(
    ("octets", "results"),
    [
        (request(struct.pack(">II", 263, 0x40_000000 | 7)), (5014,)),
        (request(struct.pack(">II", 263, 0x40_000000)), (5014,)),
        (request(struct.pack(">II", 263, 0x40_000000 | 4_000)), (5014,)),
        (request(diameter.avp(1_234_567, b"x", 10_415)), (5001,)),
        (request(nested(3)), (2001,)),
        (request(nested(60)), (2001, 5004, 5014)),
        (request(nested(4_000)), (2001, 5004, 5014)),
        (request(*[diameter.avp(1, b"x", 0, False)] * 5_000), (5004, 5009, 5014)),
        (CCR[:4] + b"\xc1" + CCR[5:], (3008,)),
    ],
    ids=[
        "AVP length 7", "AVP length 0", "AVP past the end", "unknown with M", "nested 3", "nested 60", "nested 4000",
        "5000 AVPs", "reserved flags",
    ],
)  # fmt: skip
def test_a_message_that_lies_inside_is_answered_and_the_next_one_served(tmp_path, octets, results):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.diameter.applications[GX] = Echo(GX)
            client = await one.opened()
            assert result_of(await client.request(octets)) in results
            assert result_of(await client.request(ccr(2, hop_by_hop=78))) == 2001

    run(conversation())


def test_sixteen_megabytes_cost_no_more_than_their_header(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.opened()
            connection = one.node.peers["client"].connection
            client.send(header((1 << 24) - 4))
            assert result_of(await client.read()) == 5015
            with suppress(RuntimeError, ConnectionError):  # uvloop's word for a transport that is closed
                for _ in range(64):
                    client.send(bytes(1 << 18))
                    await asyncio.sleep(0)
            assert len(connection.received) == 0
            assert await client.has_ended()

    run(conversation())


def test_a_slow_writer_keeps_one_message_and_no_more(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.diameter.applications[GX] = Echo(GX)
            client = await one.opened()
            connection = one.node.peers["client"].connection
            for octet in CCR[:-1]:
                client.send(bytes([octet]))
                await asyncio.sleep(0)
            await one.until(lambda: len(connection.received) == len(CCR) - 1)
            assert result_of(await client.request(CCR[-1:])) == 2001
            assert len(connection.received) == 0

    run(conversation())


def test_a_flood_of_tiny_requests_is_answered_turn_by_turn(tmp_path):
    """The smallest requests that there are: each gets an error, and another peer is served in between."""

    async def conversation():
        async with site(tmp_path, node_text(peer_text() + peer_text("patient"))) as one:
            one.diameter.applications[GX] = Echo(GX)
            flood, patient = await one.opened(), await one.opened("patient")
            count = 5_000
            flood.send(
                b"".join(HEADER[:1] + b"\0\0\x14" + HEADER[4:12] + struct.pack(">II", n, n) for n in range(count))
            )
            assert result_of(await patient.request(ccr(host="patient"))) == 2001
            results = {result_of(await flood.read()) for _ in range(count)}
            assert results <= {3004, 5005}

    run(conversation())


def test_answers_that_nobody_asked_for_are_dropped(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.diameter.applications[GX] = Echo(GX)
            client = await one.opened()
            answer = diameter.message(0x40, 258, GX, 1, 1, DICTIONARY.encode_all([("Result-Code", 2001)]))
            client.send(answer * 100)
            assert result_of(await client.request(ccr())) == 2001
            assert one.node.peers["client"].drops["unknown_hop_by_hop"] == 100

    run(conversation())


def test_random_changes_of_a_conversation_end_it_or_are_answered(tmp_path):
    """Whatever octets are changed, the node goes on serving others, and no callback fails."""
    changes = random.Random(4)

    async def conversation():
        async with site(tmp_path, node_text(peer_text() + peer_text("steady"))) as one:
            one.diameter.applications[GX] = Echo(GX)
            steady = await one.opened("steady")
            for number in range(150):
                octets = bytearray(cer() + ccr() + ccr(2, hop_by_hop=78) + request(nested(2)))
                for _ in range(changes.randrange(1, 6)):
                    octets[changes.randrange(len(octets))] = changes.randrange(256)
                client = await one.client()
                client.send(bytes(octets[: changes.randrange(1, len(octets) + 1)]))
                client.writer.write_eof()
                async with asyncio.timeout(PATIENCE_S):
                    came = await client.reader.read()
                messages, consumed, fault = diameter.split(bytearray(came), 1 << 20)
                assert (consumed, fault) == (len(came), 0)
                for message in messages:
                    assert message.fault == 0
                client.close()
                assert result_of(await steady.request(ccr(number, hop_by_hop=number + 1, host="steady"))) == 2001
            await one.until(lambda: len(one.diameter.links) == 1)

    run(conversation())


def test_a_message_in_two_reads_is_one_message(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            application = one.diameter.applications[GX] = Echo(GX)
            client = await one.opened()
            client.send(CCR[:50])
            await one.until(lambda: one.node.peers["client"].connection.received)
            answer = await client.request(CCR[50:])
            assert isinstance(answer, Message)
            assert [len(batch) for batch in application.batches] == [1]

    run(conversation())
