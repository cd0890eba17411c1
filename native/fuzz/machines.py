"""What must hold for whatever a Diameter peer sends, through the machines of the server. As harness.py."""

import json
import struct
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Final

from aaa.config import Config
from aaa.config.report import Report
from aaa.config.schema import Diameter as DiameterSettings
from aaa.config.schema import Peer as PeerSettings
from aaa.diameter import codes
from aaa.diameter.answers import refused
from aaa.diameter.capabilities import Refusal
from aaa.diameter.duplicates import Duplicates
from aaa.diameter.events import Answer, Closed, Request
from aaa.diameter.node import Node
from aaa.diameter.settings import Local, Remote
from aaa.dictionary.diameter import Dictionary, Value, load
from aaa.engine.decisions import Decisions
from aaa.limits import DIAMETER_MESSAGE_BYTES_MAX
from aaa.model.operations import Operation
from aaa.server.applications import Applications
from aaa.state.entities import apply_operation
from aaa.state.seal import Sealer
from aaa.state.store import Store
from native import diameter
from native.diameter import Grammar

CLIENT: Final = "client.example"
SERVED: Final = ("Gx", "Gy", "S6a", "Sy")
PROXIABLE: Final = diameter.FLAG_REQUEST | diameter.FLAG_PROXIABLE
REQUESTS_MAX: Final = 8
FAULTS: Final = (3009, 5001, 5004, 5005, 5008, 5009, 5014)
AT: Final = 1_795_244_400.0


@cache
def dictionary() -> Dictionary:
    return load()


@cache
def local() -> Local:
    served = tuple(dictionary().applications[name] for name in SERVED)
    return Local("server.example", "example", 1_000, served, dictionary().grammars(served))


def request(command: int, application: int, hop_by_hop: int, pairs: list[tuple[str, Value]]) -> bytes:
    head: list[tuple[str, Value]] = [("Origin-Host", CLIENT), ("Origin-Realm", "example")]
    if application:
        head.insert(0, ("Session-Id", f"{CLIENT};{hop_by_hop}"))
        head += [("Destination-Realm", "example")]
    flags = PROXIABLE if application else diameter.FLAG_REQUEST
    avps = dictionary().encode_all([*head, *pairs])
    return diameter.message(flags, command, application, hop_by_hop, hop_by_hop, avps)


@cache
def cer() -> bytes:
    applications: list[tuple[str, Value]] = [("Auth-Application-Id", app.number) for app in local().applications]
    return request(
        257, 0, 1, [("Host-IP-Address", "192.0.2.1"), ("Vendor-Id", 0), ("Product-Name", "fuzz"), *applications]
    )


def stream(data: bytes) -> None:
    """Whatever follows a good CER, cut anywhere: every answer is whole and names a request that came, what is asked of
    an application has passed its grammar, and nothing goes beyond its bound."""
    cut, data = data[:2].ljust(2, b"\0"), data[2:]
    numbers = count(7)
    node = Node(local(), [Remote(CLIENT, requests_max=REQUESTS_MAX)], lambda: 0.5, 0.0, lambda: next(numbers))
    connection = node.accept("192.0.2.1", ("192.0.2.2",), 0.0)
    assert connection is not None
    connection.receive_data(cer(), 0.0)
    peer = node.peers[CLIENT]
    assert peer.is_open
    connection.data_to_send()
    asked = request(258, local().applications[0].number, 0, [("Re-Auth-Request-Type", 0)])
    assert peer.send_request(asked, "asked", 0.0)
    connection.data_to_send()
    table = Duplicates(4, 10.0)
    step = 1 + cut[0] * 8
    came: set[int] = set()
    answered = 0
    for number, at in enumerate(range(0, len(data), step)):
        now = number * (cut[1] & 15)
        if connection.closing:
            break
        for event in connection.receive_data(data[at : at + step], now):
            if isinstance(event, Request):
                message = event.message
                grammar = local().grammars[message.application, message.command, True]
                assert message.fault == diameter.FAULT_NONE
                assert grammar.check(message) is None
                came.add(message.hop_by_hop)
                new, octets = table.is_new(event, now)
                if new and cut[1] & 0x10:
                    octets = refused(node.local, message, Refusal(codes.ResultCode.UNABLE_TO_COMPLY))
                    for again, copy in table.answered(event, octets):
                        peer.send_answer(again, copy)
                elif octets is not None:
                    peer.send_answer(event, octets)
            elif isinstance(event, Answer):
                answered += 1
                assert event.context == "asked"
            elif isinstance(event, Closed):
                assert not peer.is_open
        assert len(connection.received) <= DIAMETER_MESSAGE_BYTES_MAX
        assert len(connection.waiting) <= REQUESTS_MAX
        for due in peer, connection:
            due.handle_deadline(now)
    assert answered <= 1
    sent, consumed, fault = diameter.split(bytearray(out := connection.data_to_send()), 1 << 24)
    assert fault == 0
    assert consumed == len(out)
    for message in sent:
        assert message.fault == diameter.FAULT_NONE
        if not message.flags & diameter.FLAG_REQUEST:
            assert message.raw[12:20] in data
    connection.lost(1_000.0)
    assert not peer.is_open
    assert node.ready() is not None


@cache
def commands() -> tuple[tuple[bytes, Grammar], ...]:
    """Head of a request behind its length, and its grammar; of every command that is served."""
    return tuple(
        (struct.pack(">IIQ", PROXIABLE << 24 | command, application, 0), grammar)
        for (application, command, is_request), grammar in local().grammars.items()
        if is_request
    )


def grammars(data: bytes) -> None:
    """Whatever stands behind a good header, the grammar of its command finds nothing, or an offender that can be told.

    The first octet chooses the command; the rest is its AVPs.
    """
    body = data[1 : 1 + (len(data) - 1 & ~3)]
    known = commands()
    head, grammar = known[data[0] % len(known)] if data else known[0]
    message = diameter.Message.parse(b"\1" + (20 + len(body)).to_bytes(3) + head + body)
    found = grammar.check(message)
    if found is None:
        assert message.fault == diameter.FAULT_NONE
        return
    code, offender = found
    assert code in FAULTS
    assert len(offender) % 4 == 0
    assert code != codes.ResultCode.INVALID_AVP_BITS or not offender[4] & 0x1F
    answer = diameter.Message.parse(diameter.answer(message, [diameter.grouped_avp(codes.FAILED_AVP, [offender])]))
    group = answer.get_group(codes.FAILED_AVP)
    assert group is not None
    assert answer.fault == group.fault == diameter.FAULT_NONE


class Unwritten:
    """Takes groups of the journal; `Site` says that they are durable."""

    def write(self, data: bytes) -> None:
        """Kept nowhere."""


class Site:
    """A store without a disk with one SIM, and the applications on it."""

    USES: Final = 2_000
    """Cases that one site sees: sessions of a long run would fill the memory."""

    def __init__(self) -> None:
        self.uses = 0
        self.store = Store(Sealer(bytes(32)))
        self.store.journal.transport = Unwritten()
        for line in (Path(__file__).parents[2] / "conf" / "sample.ndjson").read_text().splitlines():
            given = json.loads(line)
            operation = Operation(given["op"], given["kind"], given["id"], given["value"])
            assert apply_operation(self.store, operation, None, AT).status == "applied"
        config = Config(
            path=Path("fuzz.toml"),
            report=Report("fuzz.toml", {}, {}),
            diameter=DiameterSettings(origin_host="server.example", origin_realm="example"),
            peer=(PeerSettings(origin_host=CLIENT, origin_realm="example"),),
        )
        self.applications = Applications(self.store, Decisions(self.store, None), config).by_number
        self.settle()

    def settle(self) -> None:
        """What the journal holds is durable."""
        journal = self.store.journal
        for _ in range(1_000):
            journal.flush()
            journal.receive(struct.pack(">Q", journal.sent))
            if journal.idle:
                return
        raise AssertionError("the journal never becomes idle")


_sites: list[Site] = []


def requests(data: bytes) -> None:
    """Whatever a peer asks gets one answer of the applications' grammar.

    The first octet says whether all of them come twice.
    """
    if not _sites or _sites[0].uses >= Site.USES:
        _sites[:] = [Site()]
    site = _sites[0]
    site.uses += 1
    numbers = count(7)
    node = Node(local(), [Remote(CLIENT)], lambda: 0.5, 0.0, lambda: next(numbers))
    connection = node.accept("192.0.2.1", ("192.0.2.2",), 0.0)
    assert connection is not None
    connection.receive_data(cer(), 0.0)
    asked = [event for event in connection.receive_data(data[1:], 0.0) if isinstance(event, Request)]
    connection.data_to_send()
    at = AT + site.uses
    for number, application in site.applications.items():
        group = [event for event in asked if event.message.application == number]
        if not group:
            continue
        for again in range(1 + (data[0] & 1)):
            answers = application.receive(group, at + again)
            site.settle()
            assert len(answers) == len(group)
            for event, octets in zip(group, answers, strict=True):
                answer = diameter.Message.parse(octets)
                assert answer.fault == diameter.FAULT_NONE
                assert answer.raw[12:20] == event.message.raw[12:20]
                assert not answer.flags & diameter.FLAG_REQUEST
                command = dictionary().command_of(answer)
                assert command is not None
                assert command.grammar.check(answer) is None, dictionary().show(answer)


def seeds(harness: str) -> Iterator[bytes]:
    """Good requests of all applications, alone and in a row, and what a peer says of itself."""
    if harness == "grammars":
        heads = [head[1:8] for head, _ in commands()]
        for seed in seeds("stream"):
            if seed[7:14] in heads and len(seed) == 2 + int.from_bytes(seed[3:6]):
                yield bytes((heads.index(seed[7:14]),)) + seed[22:]
        return
    numbers = {app.name: app.number for app in local().applications}
    imsi: tuple[str, Value] = (
        "Subscription-Id",
        [("Subscription-Id-Type", "END_USER_IMSI"), ("Subscription-Id-Data", "001010000000001")],
    )
    credit: list[tuple[str, Value]] = [("CC-Request-Type", 1), ("CC-Request-Number", 0), imsi]
    used: list[tuple[str, Value]] = [("CC-Input-Octets", 1_000), ("CC-Output-Octets", 2_000)]
    services: list[tuple[str, Value]] = [
        ("Requested-Service-Unit", []), ("Used-Service-Unit", used), ("Rating-Group", 1),
    ]  # fmt: skip
    mobility: list[tuple[str, Value]] = [
        ("Auth-Session-State", 1), ("User-Name", "001010000000001"), ("Visited-PLMN-Id", "001-01"),
    ]  # fmt: skip
    gx, gy, s6a, sy = (("Auth-Application-Id", numbers[name]) for name in SERVED)
    vector: tuple[str, Value] = ("Requested-EUTRAN-Authentication-Info", [("Number-Of-Requested-Vectors", 1)])
    requests = [
        request(272, gx[1], 2, [gx, *credit, ("Called-Station-Id", "internet"), ("RAT-Type", 1004)]),
        request(272, gy[1], 3, [gy, *credit, ("Multiple-Services-Credit-Control", services)]),
        request(318, s6a[1], 4, [*mobility, vector]),
        request(316, s6a[1], 5, [*mobility, ("RAT-Type", 1004), ("ULR-Flags", 34)]),
        request(8388635, sy[1], 6, [sy, ("SL-Request-Type", 0), imsi]),
        request(280, 0, 7, [("Origin-State-Id", 1)]),
        request(282, 0, 8, [("Disconnect-Cause", 0)]),
        cer(),
    ]
    raa = dictionary().encode_all(
        [("Session-Id", "s"), ("Origin-Host", CLIENT), ("Origin-Realm", "example"), ("Result-Code", 2001)]
    )
    # The first identifiers that a node gives out: those of the request that stream() sends.
    requests.append(diameter.message(diameter.FLAG_PROXIABLE, 258, numbers["Gx"], 9, 0, raa))
    for whole in requests:
        yield b"\xff\x11" + whole
    yield b"\x10\x11" + b"".join(requests)
    yield b"\x02\x00" + b"".join(requests[:5] * 2)
    yield b"\xff\x10" + requests[0] + struct.pack(">I", 0x01FFFFFC) + requests[1]
