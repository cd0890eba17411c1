"""A hundred gateways share a few small balances while connections break, requests come twice, late and at once, and the
server is killed again and again: what was used counts once, and never more is granted than there is."""

import asyncio
import os
import random
from dataclasses import dataclass, field

from tests.e2e.mobile import OPC, K
from tests.lab import wire
from tests.lab.wire import Message

ROUNDS = int(os.environ.get("AAA_CHAOS_ROUNDS", "1"))
"""Sessions of each gateway, one after the other; hours of them are welcome."""
KILLS = 2 * ROUNDS
GATEWAYS, BALANCES, REPORTS = 100, 4, 6
QUOTA, SLICE, SLICE_MIN = 60_000_000 * ROUNDS, 1_000_000, 50_000
SEED = int(os.environ.get("AAA_CHAOS_SEED", "20261121"))
BREAK, TWIN, LATE = 0.1, 0.1, 0.1
"""Probabilities: of a break at each of three moments of a transaction, of the same request twice at once, and of an
older one that comes again behind a newer one."""
ANSWER_S = 20.0
GX, GY = 16777238, 4
SUCCESS, TOO_BUSY, UNKNOWN_SESSION, CREDIT_LIMIT = 2001, 3004, 5002, (4010, 4012)
STILL_THERE = 5012
"""Of a CER: the last connection is not known to have broken."""
REALM = "localdomain"


class Broken(Exception):
    """The connection is gone."""


@dataclass
class Balance:
    """What the gateways know of one balance."""

    used: int = 0
    """In all reports that were sent, answered or not."""
    granted: dict[str, int] = field(default_factory=dict)
    """In force, by session; a session that reports holds none until it is answered."""
    most: int = 0
    refusals: int = 0

    def report(self, session: str, octets: int) -> None:
        self.granted.pop(session, None)
        self.used += octets

    def grant(self, session: str, octets: int) -> None:
        self.granted[session] = octets
        self.most = max(self.most, self.used + sum(self.granted.values()))
        assert self.most <= QUOTA, f"{self.used} used and {sum(self.granted.values())} granted of {QUOTA}"


class Gateway:
    """A PGW with one bearer at a time. What is unanswered is sent again, with the T bit, on a new connection."""

    def __init__(self, number: int, port: int, balance: Balance) -> None:
        self.host, self.port, self.balance = f"pgw{number:03d}.{REALM}", port, balance
        self.imsi = f"00101000002{number:04d}"
        self.random = random.Random(SEED + number)
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None
        self.next = number << 16
        self.told: set[str | None] = set()
        """Session-Ids of requests of the server: what it told is not any more what it answered."""
        self.breaks = self.repeats = self.transactions = 0

    # Transport

    async def open(self) -> None:
        """Dial until the server is there."""
        while self.writer is None:
            try:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
                cer: wire.Avps = [
                    ("Origin-Host", self.host), ("Origin-Realm", REALM), ("Host-IP-Address", "127.0.0.1"),
                    ("Vendor-Id", 0), ("Product-Name", "chaos"),
                    ("Auth-Application-Id", GY), ("Auth-Application-Id", GX),
                ]  # fmt: skip
                self.writer.write(wire.message(wire.REQUEST, 257, 0, 1, 1, cer))
                (answer,) = await self.receive({1})
                if answer.result == STILL_THERE:
                    raise Broken
                assert answer.result == SUCCESS, answer
            except (OSError, Broken):
                self.close()
                await asyncio.sleep(0.05)  # the server is being restarted, or has not seen that the last one broke

    def close(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None

    def break_sometimes(self) -> None:
        if self.random.random() < BREAK:
            self.breaks += 1
            raise Broken

    def send(self, identifier: int, pairs: wire.Avps, application: int, again: bool) -> int:
        assert self.writer is not None
        self.next += 1
        flags = wire.REQUEST | wire.PROXIABLE | (wire.RETRANSMITTED if again else 0)
        self.writer.write(wire.message(flags, 272, application, self.next, identifier, pairs))
        return self.next

    async def receive(self, wanted: set[int]) -> list[Message]:
        """The answers to these Hop-by-Hop Identifiers; what the server asks is answered on the way."""
        assert self.reader is not None
        assert self.writer is not None
        found: list[Message] = []
        while wanted:
            try:
                async with asyncio.timeout(ANSWER_S):
                    head = await self.reader.readexactly(4)
                    message = Message(head + await self.reader.readexactly(int.from_bytes(head[1:], "big") - 4))
            except (OSError, asyncio.IncompleteReadError):
                raise Broken from None
            if message.flags & wire.REQUEST:
                session = message.get("Session-Id")
                self.told.add(session)
                yes: wire.Avps = [
                    ("Session-Id", session), ("Result-Code", SUCCESS),
                    ("Origin-Host", self.host), ("Origin-Realm", REALM),
                ]  # fmt: skip
                head_of = (message.code, message.application, message.hop_by_hop, message.end_to_end)
                self.writer.write(wire.message(message.flags & wire.PROXIABLE, *head_of, yes))
            elif message.hop_by_hop in wanted:
                wanted.remove(message.hop_by_hop)
                found.append(message)
        return found

    # Transactions

    async def ask(self, application: int, pairs: wire.Avps, older: tuple[int, wire.Avps] | None = None) -> Message:
        """The answer, whatever breaks; every answer to the same request is the same. older: one that was answered."""
        self.next += 1
        self.transactions += 1
        identifier, again = self.next, False
        first: Message | None = None
        while True:
            try:
                await self.open()
                self.break_sometimes()
                sent = {self.send(identifier, pairs, application, again)}
                if self.random.random() < TWIN:
                    sent.add(self.send(identifier, pairs, application, True))
                    self.repeats += 1
                if older is not None and self.random.random() < LATE:
                    # Whatever it is answered, it must change nothing: the end of the test would tell.
                    self.send(*older, application, True)
                    self.repeats += 1
                self.break_sometimes()
                answers = await self.receive(sent)
                if any(answer.result == TOO_BUSY for answer in answers):
                    await asyncio.sleep(0.02)
                    continue
                for answer in answers:
                    first = first or answer
                    assert str(answer) == str(first) or answer["Session-Id"] in self.told, (answer, first)
                self.break_sometimes()
                assert first is not None
                return first
            except Broken:
                self.close()
                again = True
                self.repeats += 1

    def head(self, session: str, application: int, kind: int, number: int) -> list[tuple[str, object]]:
        return [
            ("Session-Id", session), ("Origin-Host", self.host), ("Origin-Realm", REALM), ("Destination-Realm", REALM),
            ("Auth-Application-Id", application),
            ("Service-Context-Id", "32251@3gpp.org" if application == GY else None),
            ("CC-Request-Type", kind), ("CC-Request-Number", number),
            ("Termination-Cause", 1 if kind == 3 else None),
            ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", self.imsi)]),
            ("Called-Station-Id", "internet" if application == GX else None),
        ]  # fmt: skip

    async def live(self, name: str) -> None:
        """A bearer from its beginning to its end."""
        bearer, session = f"{self.host};gx;{name}", f"{self.host};gy;{name}"
        before = self.repeats
        began = await self.ask(GX, self.head(bearer, GX, 1, 0))
        if began.result == SUCCESS:
            # Asked again when the quota had run out meanwhile: it is about to be released.
            assert "Charging-Rule-Install" in began or self.repeats > before, began
        else:
            assert began.result in CREDIT_LIMIT, began
        await self.charge(session)
        if began.result == SUCCESS:
            ended = await self.ask(GX, self.head(bearer, GX, 3, 1))
            # A bearer that was released when the quota was used up may be over already.
            assert ended.result in (SUCCESS, UNKNOWN_SESSION), ended
        self.close()

    async def charge(self, session: str) -> None:
        granted, used = 0, 0
        older: tuple[int, wire.Avps] | None = None
        for number in range(REPORTS + 2):
            kind = 1 if number == 0 else 3 if number > REPORTS or not granted else 2
            if number:
                used = granted if self.random.random() < 0.5 else self.random.randrange(granted + 1)
            asked = ("Requested-Service-Unit", []) if kind != 3 else ("Rating-Group", None)
            report = ("Used-Service-Unit", [("CC-Input-Octets", used // 3), ("CC-Output-Octets", used - used // 3)])
            services = [asked, report if number else ("Rating-Group", None)]
            pairs = [*self.head(session, GY, kind, number), ("Multiple-Services-Credit-Control", services)]
            if number:
                self.balance.report(session, used)
            answer = await self.ask(GY, pairs, older)
            older = (answer.end_to_end, pairs)
            if kind == 3:
                assert answer.result == SUCCESS, answer
                return
            if answer.result != SUCCESS:
                assert answer.result in CREDIT_LIMIT, answer
                self.balance.refusals += 1
                return
            granted = granted_in(answer)
            if granted:
                self.balance.grant(session, granted)
            else:
                self.balance.refusals += 1
        raise AssertionError("a session ends with its CCR-T")


def granted_in(answer: Message) -> int:
    """Octets; 0 where a service is refused, or has nothing."""
    (service,) = answer.all("Multiple-Services-Credit-Control")
    assert service.get("Result-Code", SUCCESS) in (SUCCESS, *CREDIT_LIMIT), answer
    unit = service.get("Granted-Service-Unit")
    return unit.get("CC-Total-Octets", 0) if unit is not None else 0


def test_nothing_is_charged_twice_or_lost_and_never_more_is_granted_than_there_is(network):
    network = network(sample=False, quota_slice=SLICE, quota_slice_min=SLICE_MIN)
    server = network.server
    rate = {"down_bps": 10_000_000, "up_bps": 5_000_000}
    qos = {"qci": 9, "arp": {"priority": 8, "preempt": False, "preemptable": True}, "apn": "internet", "apn_ambr": rate}
    server.plan(
        "small", kind="mobile", rate=rate, qos=qos, quota={"octets": QUOTA, "period": "month"}, on_exhausted=["block"]
    )
    balances = [Balance() for _ in range(BALANCES)]
    for number in range(BALANCES):
        network.subscriber(f"c{number}", "small")
    gateways = [Gateway(number, network.port, balances[number % BALANCES]) for number in range(GATEWAYS)]
    sims = []
    for number, gateway in enumerate(gateways):
        value = {"imsi": gateway.imsi, "ki": K, "opc": OPC, "service_id": f"c{number % BALANCES}", "state": "activated"}
        operation = {"op": "put", "kind": "sim", "id": f"89001010000002{number:05d}"}
        sims.append(operation | {"value": {"revision": 1, **value}})
    server.sync(*sims)

    async def several(gateway: Gateway) -> None:
        for number in range(ROUNDS):
            await gateway.live(f"{number}")

    async def chaos() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(several(gateway)) for gateway in gateways]
            for kill in range(1, KILLS + 1):
                height = GATEWAYS * REPORTS * ROUNDS * kill // (KILLS + 2)
                while sum(gateway.transactions for gateway in gateways) < height and not all(
                    map(asyncio.Task.done, tasks)
                ):
                    await asyncio.sleep(0.01)
                server.kill()
                await asyncio.to_thread(server.start)

    asyncio.run(asyncio.wait_for(chaos(), 60 * (1 + ROUNDS)))
    assert sum(gateway.breaks for gateway in gateways) > GATEWAYS
    assert sum(gateway.repeats for gateway in gateways) > GATEWAYS
    for number, balance in enumerate(balances):
        # It was fought for: the last of it was asked for by several at once.
        assert balance.refusals > 1
        assert balance.most > 0.99 * QUOTA
        assert server.status(f"c{number}")["usage"]["total_octets"] == balance.used
        assert server.sessions(f"c{number}") == []
