"""What a NAS is asked for, at which pace, and what is made of its answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import uvloop

from aaa.config import Nas, Redacted
from aaa.dictionary import load
from aaa.limits import DYNAMIC_IDLE_S, DYNAMIC_REFUSED_S
from aaa.mapping.families import RenderOptions, options_from
from aaa.model.enforcement import Reply
from aaa.model.entities import Service
from aaa.model.records import ACTIVE, DecisionRecord, Live, NasRecord, ServiceRecord, SessionRecord
from aaa.radius.client import Schedule
from aaa.radius.clients import Clients
from aaa.server import dynamic
from aaa.server.dynamic import Dynamic, sources_of
from native.radius import Packet, Secret, integer_attribute
from policy.model import Decision, Rate

DICTIONARY = load()
OLD, NEW = Secret(b"testing123"), Secret(b"a-new-secret")
LOOPBACK = bytes((127, 0, 0, 1))
M = 1_000_000
QUICK = Schedule(irt_s=0.03, mrt_s=0.03, mrc=3)
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

    async def open(self, address: str = "127.0.0.1", port: int = 0) -> int:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=(address, port))
        return int(self.transport.get_extra_info("sockname")[1])

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
        listen = self.keys.pop("listen", ())
        self.clients = Clients([Nas(name="bng", address=("127.0.0.1",), coa_port=port, **self.keys)])
        rendering: dict[str, RenderOptions] = {"bng": options_from(self.keys["family"], options, DICTIONARY)}
        self.network = Dynamic(self.clients, rendering, DICTIONARY, listen, schedule=QUICK)
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


def run(
    far: FarEnd,
    story: Callable[[Site], Awaitable[Any]],
    loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop,
    **keys: Any,
) -> Any:
    async def play() -> Any:
        site = Site(far, **keys)
        await site.open()
        try:
            return await story(site)
        finally:
            site.network.close()
            if hasattr(far, "transport"):
                far.transport.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(play())


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


def lose(count: int) -> Answer:
    """The first so many requests are lost."""
    left = [count]

    def answer(packet: Packet) -> tuple[int, bytes] | None:
        left[0] -= 1
        return acknowledge(packet) if left[0] < 0 else None

    return answer


def test_a_lost_request_is_sent_again_unchanged() -> None:
    far = FarEnd(answer=lose(1))
    reply = run(far, lambda site: site.change())
    assert (reply.result, reply.transmissions) == ("ack", 2)
    assert far.seen[0].raw == far.seen[1].raw


def test_silence_is_a_timeout() -> None:
    far = FarEnd(answer=lose(9))
    reply = run(far, lambda site: site.change())
    assert (reply.result, reply.transmissions, reply.answered_at) == ("timeout", 3, 0.0)
    assert len({packet.raw for packet in far.seen}) == 1


def test_a_forged_answer_is_counted_and_waited_past() -> None:
    async def story(site: Site) -> tuple[Reply, dict[str, int]]:
        reply = await site.change()
        return reply, site.network.dropped

    class Forger(FarEnd):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(NEW.respond(Packet.parse(data), 45, b"", True), addr)
            super().datagram_received(data, addr)

    reply, dropped = run(Forger(), story)
    assert reply.result == "ack"
    assert dropped == {"authenticator": 1}


def test_an_answer_from_another_address_does_not_count() -> None:
    class Elsewhere(FarEnd):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.1", 0))
                other.sendto(OLD.respond(Packet.parse(data), 44, b"", True), addr)

    assert run(Elsewhere(), lambda site: site.change()).result == "timeout"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_refused_port_is_an_error_that_says_so(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    reply = run(FarEnd(), lambda site: site.change(), coa_port=port, loop=loop)
    assert (reply.result, reply.detail) == ("error", "Connection refused")


def test_a_nas_that_is_gone_from_the_configuration_is_an_error() -> None:
    async def story(site: Site) -> Reply:
        site.nas.client_name = "gone"
        found = site.network.difference(site.session(), SLOW, FAST)
        assert (found.kind, found.why) == ("coa", "gone is not configured any more")
        assert site.network.room(site.nas) == 1
        assert (await site.change()).result == "error"
        return await site.disconnect()

    reply = run(FarEnd(), story)
    assert (reply.result, reply.detail) == ("error", "gone is not configured any more")


def test_a_session_without_a_name_is_an_error() -> None:
    async def story(site: Site) -> Reply:
        return await site.disconnect(site.session(b"", user_name=b""))

    assert run(FarEnd(), story).detail == "the NAS sent nothing that names this session"


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_requests_come_from_the_address_that_nases_know(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    sources = []

    class Looking(FarEnd):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            sources.append(addr[0])
            super().datagram_received(data, addr)

    assert run(Looking(), lambda site: site.change(), listen=("127.0.0.9", "::"), loop=loop).result == "ack"
    assert sources == ["127.0.0.9"]
    assert sources_of(("127.0.0.9", "::1", "::2")) == {4: "127.0.0.9"}
    assert sources_of(("0.0.0.0", "::")) == {}


# Several requests


SERVICES = {"rate_style": "service"}


def test_services_of_a_cisco_change_one_after_the_other() -> None:
    far = FarEnd()
    reply = run(far, lambda site: site.change(), family="cisco", options=SERVICES)
    assert (reply.result, reply.transmissions) == ("ack", 2)
    assert [packet.get_vendor_all(9, 1)[0] for packet in far.seen] == [
        b"subscriber:command=deactivate-service",
        b"subscriber:command=activate-service",
    ]
    told = [value for name, value in reply.attributes if name == "Cisco-AVPair"]
    assert told[1::2] == ["subscriber:service-name=internet(10m,2m)", "subscriber:service-name=internet(50m,10m)"]


def test_the_first_refusal_ends_a_change_of_several_requests() -> None:
    def answer(packet: Packet) -> tuple[int, bytes]:
        is_first = b"subscriber:command=deactivate-service" in packet.get_vendor_all(9, 1)
        return acknowledge(packet) if is_first else refuse(404)(packet) or (0, b"")

    reply = run(FarEnd(answer=answer), lambda site: site.change(), family="cisco", options=SERVICES)
    assert (reply.result, reply.error_cause) == ("nak", 404)
    assert reply.detail == "Invalid-Request; 1 of 2 requests acknowledged"


# Names of sessions


def names(packet: Packet) -> list[int]:
    return [path[0] for path, _ in packet.attributes() if path[0] in (1, 8, 31, 44, 87)]


def knows_only(*numbers: int) -> Answer:
    return lambda packet: acknowledge(packet) if names(packet) == [*numbers] else refuse(503)(packet)


def test_another_name_is_tried_until_one_was_acknowledged() -> None:
    async def story(site: Site) -> list[Reply]:
        known = site.session()
        known.service = ServiceRecord.__new__(ServiceRecord)
        known.service.live = Live()
        known.service.live.sessions = [known]
        first = await site.disconnect(known)
        second = await site.disconnect(known)
        site.far.answer = refuse(503)
        return [first, second, await site.disconnect(known)]

    far = FarEnd(answer=knows_only(1, 8))
    first, second, third = run(far, story)
    assert (first.result, first.keys) == ("ack", (("User-Name", "alice"), ("Framed-IP-Address", "10.0.0.7")))
    assert (second.result, third.result, third.error_cause) == ("ack", "nak", 503)
    assert [names(packet) for packet in far.seen] == [[44], [1, 8], [1, 8], [1, 8]]


def test_what_would_name_another_live_session_is_not_tried() -> None:
    async def story(site: Site) -> Reply:
        stale, back = site.session(), site.session(b"81c00002")
        stale.service = ServiceRecord.__new__(ServiceRecord)
        stale.service.live = Live()
        stale.service.live.sessions = [stale, back]
        return await site.disconnect(stale)

    far = FarEnd(answer=knows_only(1, 8))
    assert run(far, story).error_cause == 503
    assert [names(packet) for packet in far.seen] == [[44]]


def test_names_are_the_octets_that_the_nas_sent() -> None:
    far = FarEnd()
    raw = b"\x00\xff+/= Upper lower"
    run(far, lambda site: site.disconnect(site.session(raw)))
    assert far.seen[0].get(44) == raw


@pytest.mark.parametrize(
    ("keys", "present", "absent"),
    [
        ({}, (80, 55), (32,)),
        ({"event_timestamp": "ignore"}, (80,), (55,)),
        ({"message_authenticator": "off"}, (55,), (80,)),
        ({"identifier": "bng-7"}, (80, 55, 32), ()),
        ({"family": "ubiquiti"}, (80, 44), (55, 1, 8)),
    ],
)
def test_what_else_a_request_carries(keys: dict[str, Any], present: tuple[int, ...], absent: tuple[int, ...]) -> None:
    far = FarEnd()
    run(far, lambda site: site.disconnect(), **keys)
    assert all(far.seen[0].has(number) for number in present)
    assert not any(far.seen[0].has(number) for number in absent)


def test_session_timeout_is_what_is_left_of_it() -> None:
    limited = DecisionRecord(Decision(grant=True, reason="granted", rate=SLOW.body.rate, session_timeout_s=3600), 3)

    async def story(site: Site) -> list[int | None]:
        site.network.wall = lambda: 1_000_600.0
        session = site.session(started_at=1_000_000.0)
        await site.change(session, limited)
        session.started_at = 900_000.0
        await site.change(session, limited)
        return [packet.get_integer(27) for packet in site.far.seen]

    assert run(FarEnd(), story) == [3000, 1]


def test_session_timeout_does_not_go_beyond_the_end_of_the_service() -> None:
    limited, open_ended = (
        DecisionRecord(Decision(grant=True, reason="granted", rate=SLOW.body.rate, session_timeout_s=timeout), number)
        for number, timeout in ((3, 3600), (4, None))
    )

    async def story(site: Site) -> list[int | None]:
        site.network.wall = lambda: 1_000_000.0
        session = site.session(started_at=1_000_000.0)
        session.service = ServiceRecord.__new__(ServiceRecord)
        session.service.body = Service(1, "s", "p", expires_at=1_000_100.0, grace_until=1_000_300.0)
        for before, after in ((SLOW, limited), (limited, open_ended)):
            await site.reply(partial(site.network.change, session, before, after))
        return [packet.get_integer(27) for packet in site.far.seen]

    assert run(FarEnd(), story) == [300, 300]


# Pace


def test_no_more_are_in_flight_than_the_nas_takes() -> None:
    """A NAS that answers only when it holds as many as it may have unanswered, and never sees one more."""
    held: list[tuple[Packet, tuple[str, int]]] = []
    most = [0]

    class Holding(FarEnd):
        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            packet = Packet.parse(data)
            if any(packet.raw == other.raw for other, _ in held):
                return
            held.append((packet, addr))
            most[0] = max(most[0], len(held))
            if len(held) == 4:
                for request, source in held:
                    self.transport.sendto(OLD.respond(request, 44, b"", False), source)
                held.clear()

    async def story(site: Site) -> list[Reply]:
        replies: list[Reply] = []
        everything = asyncio.Event()

        def done(reply: Reply) -> None:
            replies.append(reply)
            fill()
            if len(replies) == 40:
                everything.set()

        left = list(range(40))

        def fill() -> None:
            while left and site.network.room(site.nas):
                assert site.network.change(site.session(b"%d" % left.pop()), SLOW, FAST, done)

        fill()
        async with asyncio.timeout(20):
            await everything.wait()
        return replies

    replies = run(Holding(), story, coa_concurrency=4, coa_rate=100_000)
    assert {reply.result for reply in replies} == {"ack"}
    assert most == [4]


def test_a_full_queue_refuses() -> None:
    async def story(site: Site) -> tuple[int, list[bool], int]:
        room = site.network.room(site.nas)
        taken = [site.network.disconnect(site.session(), lambda reply: None) for _ in range(room + 1)]
        return room, taken, site.network.room(site.nas)

    room, taken, left = run(FarEnd(answer=lose(99)), story, coa_rate=100)
    assert (room, left) == (5, 0)
    assert taken == [True] * room + [False]


def test_the_pace_is_that_of_the_entry() -> None:
    """By a clock of its own: as long as it stands still, nothing more leaves."""

    async def story(site: Site) -> list[int]:
        now = [0.0]
        site.network.clock = lambda: now[0]
        replies: list[Reply] = []
        for _ in range(5):
            assert site.network.disconnect(site.session(), replies.append)
        link = next(iter(site.network.links.values()))
        seen: list[int] = []
        for moment in (0.0, 0.01, 0.02, 0.03, 0.04):
            now[0] = moment
            link.pump()
            async with asyncio.timeout(20):
                while len(replies) <= len(seen):
                    await asyncio.sleep(0)
            seen.append(len(site.far.seen))
        return seen

    assert run(FarEnd(), story, coa_rate=100) == [1, 2, 3, 4, 5]


def test_an_idle_socket_is_closed_and_opened_again() -> None:
    async def story(site: Site) -> list[int]:
        now = [0.0]
        site.network.clock = lambda: now[0]
        counts = []
        for _ in range(2):
            assert (await site.change()).result == "ack"
            counts.append(len(site.network.links))
            now[0] += DYNAMIC_IDLE_S + 1
            next(iter(site.network.links.values())).pump()
            counts.append(len(site.network.links))
        return counts

    assert run(FarEnd(), story) == [1, 0, 1, 0]


# What is learned


def test_what_a_nas_honours_is_learned_and_counted() -> None:
    async def story(site: Site) -> Any:
        posture = site.network.posture(site.nas)
        assert (posture.coa, posture.disconnect, posture.keys) == (None, None, -1)
        await site.change()
        site.far.answer = refuse(506)
        await site.disconnect()
        site.far.answer = refuse(503)
        await site.disconnect()
        assert (posture.coa, posture.disconnect, posture.keys, posture.error_cause) == (True, False, 0, 503)
        assert site.network.statistics.answered == 3
        return site.network.counts

    assert run(FarEnd(), story) == {
        ("bng", "coa", "ack"): 1,
        ("bng", "disconnect", "nak"): 1,
        ("bng", "disconnect", "not_found"): 1,
    }


def test_a_nas_that_knows_no_coa_is_disconnected_after_a_few_refusals() -> None:
    async def story(site: Site) -> list[str]:
        kinds = []
        for _ in range(5):
            kinds.append(site.network.difference(site.session(), SLOW, FAST).kind)
            await site.change()
        now = site.network.wall() + DYNAMIC_REFUSED_S + 1
        site.network.wall = lambda: now
        return [*kinds, site.network.difference(site.session(), SLOW, FAST).kind]

    assert run(FarEnd(answer=refuse(405)), story) == ["coa", "coa", "coa", "disconnect", "disconnect", "coa"]


def test_a_difference_is_made_once() -> None:
    async def story(site: Site) -> None:
        first = site.network.difference(site.session(), SLOW, FAST)
        assert first is site.network.difference(site.session(b"other"), SLOW, FAST)
        assert (first.kind, first.why, first.attributes) == ("coa", "rate", (("Mikrotik-Rate-Limit", "10M/50M"),))
        assert site.network.difference(site.session(), FAST, FAST).kind == "none"
        site.network.reconfigure({"bng": options_from("ubiquiti", {}, DICTIONARY)}, DICTIONARY)
        assert site.network.difference(site.session(), SLOW, FAST).kind == "disconnect"

    run(FarEnd(), story)


def test_a_nas_without_an_address_is_an_error() -> None:
    async def story(site: Site) -> Reply:
        site.nas.address = "192.0.2.0/24"
        return await site.disconnect()

    assert run(FarEnd(), story).detail == "no address of bng is known"


def test_more_nases_than_sockets_have_their_turn_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic, "DYNAMIC_SOCKETS_MAX", 2)

    async def story(site: Site) -> tuple[list[str], int]:
        replies: list[Reply] = []
        everything = asyncio.Event()
        most = 0

        def done(reply: Reply) -> None:
            nonlocal most
            replies.append(reply)
            most = max(most, len(site.network.open))
            if len(replies) == 14:
                everything.set()

        others = [FarEnd() for _ in range(6)]
        for number, far in enumerate(others):
            nas = NasRecord(number + 2, f"bng/{number}", "bng")
            nas.address = f"127.0.0.{number + 10}"
            await far.open(nas.address, site.clients.by_name["bng"].coa_port)
            for _ in range(2):
                assert site.network.disconnect(site.session(nas=nas), done)
        for _ in range(2):
            assert site.network.disconnect(site.session(), done)
        async with asyncio.timeout(20):
            await everything.wait()
        for far in others:
            far.transport.close()
        return [reply.result for reply in replies], most

    results, most = run(FarEnd(), story, coa_rate=1000)
    assert results == ["ack"] * 14
    assert most <= 2


def test_a_link_that_gets_work_just_before_another_needs_its_socket_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamic, "DYNAMIC_SOCKETS_MAX", 1)

    async def story(site: Site) -> list[str]:
        assert (await site.disconnect()).result == "ack"
        other = FarEnd()
        nas = NasRecord(2, "bng/2", "bng")
        nas.address = "127.0.0.10"
        await other.open(nas.address, site.clients.by_name["bng"].coa_port)
        first, second = await asyncio.gather(site.disconnect(site.session(nas=nas)), site.disconnect())
        other.transport.close()
        return [first.result, second.result]

    assert run(FarEnd(), story, coa_rate=1000) == ["ack", "ack"]
