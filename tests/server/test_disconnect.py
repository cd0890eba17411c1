"""What a NAS is asked for when a session is to end, and what is made of its answer."""

import asyncio
from collections.abc import Callable

import pytest

from aaa.config import Nas, Redacted
from aaa.model.records import NasRecord, SessionRecord
from aaa.radius.clients import Clients
from aaa.server.disconnect import Disconnector
from aaa.server.log import Log
from native.radius import Packet, Secret, integer_attribute

OLD, NEW = Secret(b"testing123"), Secret(b"a-new-secret")
LOOPBACK = bytes((127, 0, 0, 1))


class FarEnd(asyncio.DatagramProtocol):
    """A NAS that knows one secret and is silent to any other."""

    def __init__(self, secret: Secret, code: int, attributes: bytes) -> None:
        self.secret, self.code, self.attributes = secret, code, attributes
        self.seen: list[Packet] = []

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        packet = Packet.parse(data)
        if self.secret.verify_accounting(packet) and self.secret.verify_message_authenticator(packet) == 1:
            self.seen.append(packet)
            self.transport.sendto(self.secret.respond(packet, self.code, self.attributes, True), addr)


async def disconnect(
    secret: Secret, code: int = 41, attributes: bytes = b"", learned: Callable[[Clients], None] = lambda clients: None
) -> tuple[str, list[Packet]]:
    loop = asyncio.get_running_loop()
    transport, far = await loop.create_datagram_endpoint(
        lambda: FarEnd(secret, code, attributes), local_addr=("127.0.0.1", 0)
    )
    port = transport.get_extra_info("sockname")[1]
    fields = {"secret": Redacted("testing123"), "second_secret": Redacted("a-new-secret"), "coa_port": port}
    clients = Clients([Nas(name="bng", address=("127.0.0.1",), **fields)])
    learned(clients)
    nas = NasRecord(1, "bng", "bng")
    nas.address = "127.0.0.1"
    session = SessionRecord(1, nas, None)
    session.key, session.user_name = b"81c00001", b"alice"
    try:
        return await Disconnector(clients, Log(1)).send(session), far.seen
    finally:
        transport.close()


@pytest.mark.parametrize(
    ("code", "attributes", "expected"),
    [
        (41, b"", "ack"),
        (42, integer_attribute(101, 503), "not_found"),
        (42, integer_attribute(101, 506), "nak"),
        (42, b"", "nak"),
    ],
)
def test_an_answer_is_told(code: int, attributes: bytes, expected: str) -> None:
    result, seen = asyncio.run(disconnect(OLD, code, attributes))
    assert result == expected
    assert [(packet.get(44), packet.get(1)) for packet in seen] == [(b"81c00001", b"alice")]


def test_during_a_rotation_the_secret_is_the_one_that_the_nas_was_seen_to_use() -> None:
    def learned(clients: Clients) -> None:
        client = clients.by_name["bng"]
        client.current_secrets[LOOPBACK] = client.secrets[1]

    result, _ = asyncio.run(disconnect(NEW, learned=learned))
    assert result == "ack"
