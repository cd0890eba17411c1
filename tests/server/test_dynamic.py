"""What a NAS is asked for, at which pace, and what is made of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aaa.config import Nas, Redacted
from aaa.dictionary import load
from aaa.mapping.families import RenderOptions, options_from
from aaa.model.enforcement import Reply
from aaa.model.records import ACTIVE, DecisionRecord, NasRecord, SessionRecord
from aaa.radius.clients import Clients
from aaa.server.dynamic import Dynamic
from native.radius import Packet, Secret, integer_attribute
from policy.model import Decision, Rate

DICTIONARY = load()
OLD, NEW = Secret(b"testing123"), Secret(b"a-new-secret")
LOOPBACK = bytes((127, 0, 0, 1))
M = 1_000_000
SLOW = DecisionRecord(Decision(grant=True, reason="granted", rate=Rate(10 * M, 2 * M)), 1)
FAST = DecisionRecord(Decision(grant=True, reason="granted", rate=Rate(50 * M, 10 * M)), 2)

Answer = Callable[[Packet], tuple[int, bytes] | None]


def acknowledge(packet: Packet) -> tuple[int, bytes]:
    return packet.code + 1, b""


def refuse(cause: int) -> Answer:
    return lambda packet: (packet.code + 2, integer_attribute(101, cause) if cause else b"")


class FarEnd(asyncio.DatagramProtocol):
    """A NAS that knows one secret, is silent to any other, and answers by a rule; None: not at all."""

    def __init__(self, secret: Secret = OLD, answer: Answer = acknowledge) -> None:
        self.secret, self.answer = secret, answer
        self.seen: list[Packet] = []

    async def open(self) -> int:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))
        port: int = self.transport.get_extra_info("sockname")[1]
        return port

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        packet = Packet.parse(data)
        if not self.secret.verify_accounting(packet):
            return
        self.seen.append(packet)
        answer = self.answer(packet)
        if answer is not None:
            self.transport.sendto(self.secret.respond(packet, *answer, True), addr)


class Site:
    """One NAS, its far end, and the client under test."""

    def __init__(self, far: FarEnd, **keys: Any) -> None:
        self.far = far
        self.keys = {"secret": Redacted("testing123"), "family": "mikrotik", **keys}
        self.replies: list[Reply] = []

    async def open(self) -> None:
        port = self.keys.pop("coa_port", None) or await self.far.open()
        options: dict[str, Any] = self.keys.pop("options", {})
        self.clients = Clients([Nas(name="bng", address=("127.0.0.1",), coa_port=port, **self.keys)])
        rendering: dict[str, RenderOptions] = {"bng": options_from(self.keys["family"], options, DICTIONARY)}
        self.network = Dynamic(self.clients, rendering, DICTIONARY)
        self.nas = NasRecord(1, "bng", "bng")
        self.nas.family = self.keys["family"]
        self.nas.address = "127.0.0.1"

    def session(self, key: bytes = b"81c00001", **facts: Any) -> SessionRecord:
        session = SessionRecord(1, self.nas, None)
        session.key, session.user_name, session.framed_ip = key, b"alice", bytes((10, 0, 0, 7))
        session.state = ACTIVE
        for name, value in facts.items():
            setattr(session, name, value)
        return session

    async def reply(self, send: Callable[[Callable[[Reply], None]], bool]) -> Reply:
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        assert send(answered.set_result)
        assert not answered.done(), "it is told later, never from within"
        return await asyncio.wait_for(answered, 20)

    async def change(self, session: SessionRecord | None = None, to: DecisionRecord = FAST) -> Reply:
        return await self.reply(lambda done: self.network.change(session or self.session(), SLOW, to, done))

    async def disconnect(self, session: SessionRecord | None = None) -> Reply:
        return await self.reply(lambda done: self.network.disconnect(session or self.session(), done))


def run(far: FarEnd, story: Callable[[Site], Awaitable[Any]], **keys: Any) -> Any:
    async def play() -> Any:
        site = Site(far, **keys)
        await site.open()
        try:
            return await story(site)
        finally:
            site.network.close()
            if hasattr(far, "transport"):
                far.transport.close()

    return asyncio.run(play())


def test_a_change_is_acknowledged() -> None:
    far = FarEnd()
    reply = run(far, lambda site: site.change())
    assert (reply.result, reply.error_cause, reply.transmissions, reply.detail) == ("ack", 0, 1, "")
    assert reply.keys == (("Acct-Session-Id", "81c00001"),)
    assert dict(reply.attributes)["Mikrotik-Rate-Limit"] == "10M/50M"
    assert reply.answered_at >= reply.sent_at > 0
    (packet,) = far.seen
    assert packet.code == 43
    assert [path for path, _ in packet.attributes()] == [(80,), (44,), (55,), (26, 14988, 8)]


@pytest.mark.parametrize(
    ("answer", "result", "cause"),
    [
        (acknowledge, "ack", 0),
        (refuse(503), "nak", 503),
        (refuse(506), "nak", 506),
        (refuse(0), "nak", 0),
    ],
)
def test_an_answer_is_told(answer: Answer, result: str, cause: int) -> None:
    reply = run(FarEnd(answer=answer), lambda site: site.disconnect(site.session(user_name=b"")))
    assert (reply.result, reply.error_cause) == (result, cause)


def test_during_a_rotation_the_secret_is_the_one_that_the_nas_was_seen_to_use() -> None:
    async def story(site: Site) -> Reply:
        client = site.clients.by_name["bng"]
        client.current_secrets[LOOPBACK] = client.secrets[1]
        return await site.disconnect()

    assert run(FarEnd(NEW), story, second_secret=Redacted("a-new-secret")).result == "ack"
