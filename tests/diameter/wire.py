"""Two nodes and a pretend wire between them."""

import struct
import subprocess
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from aaa.diameter import codes
from aaa.diameter.events import Connect, Event, StartTls
from aaa.diameter.node import Node
from aaa.diameter.peer import Connection, Peer
from aaa.diameter.settings import Certificate, Local, Remote
from aaa.dictionary.diameter import Dictionary, load
from native import diameter
from native.diameter import Message

DICTIONARY: Dictionary = load()
APPS = DICTIONARY.applications
GX, S6A, GY, S6B = (APPS[name].number for name in ("Gx", "S6a", "Gy", "S6b"))
REQUEST = diameter.FLAG_REQUEST | diameter.FLAG_PROXIABLE


def local(name: str, applications: Iterable[str] = ("Gx",), **more) -> Local:
    served = tuple(APPS[app] for app in applications)
    settings = {"origin_state_id": 1_000, "grammars": DICTIONARY.grammars(served)} | more
    return Local(origin_host=name, origin_realm="example", applications=served, **settings)


def node(name: str, remotes: Iterable[Remote], applications: Iterable[str] = ("Gx",), **more) -> Node:
    numbers = count(7)
    return Node(local(name, applications, **more), remotes, lambda: 0.5, 1_795_244_400.0, lambda: next(numbers))


def messages_of(connection: Connection) -> list[Message]:
    buffer = bytearray(connection.data_to_send())
    messages, consumed, fault = diameter.split(buffer, 1 << 20)
    assert (consumed, fault) == (len(buffer), 0)
    for message in messages:
        command = DICTIONARY.command_of(message)
        # Whatever we send passes the grammar of what it is.
        assert command is not None, DICTIONARY.title(message)
        assert command.grammar.check(message) is None, DICTIONARY.show(message)
    return messages


def result_of(message: Message) -> int | None:
    return message.get_unsigned32(codes.RESULT_CODE)


def cer(host: str = "client", applications: Iterable[int] = (GX,), **other) -> bytes:
    """other: AVPs by name with _ for -, to put instead or, as None, to leave out."""
    pairs: dict[str, object] = {
        "Origin-Host": host,
        "Origin-Realm": "example",
        "Host-IP-Address": "192.0.2.1",
        "Vendor-Id": 0,
        "Product-Name": "test",
    } | {name.replace("_", "-"): value for name, value in other.items()}
    avps = [DICTIONARY.encode(name, value) for name, value in pairs.items() if value is not None]
    avps += [DICTIONARY.encode("Auth-Application-Id", number) for number in applications]
    return diameter.message(diameter.FLAG_REQUEST, 257, 0, 1, 2, avps)


def ccr(number: int = 1, session: str = "client;1;1", hop_by_hop: int = 77, host: str = "client") -> bytes:
    pairs = [
        ("Session-Id", session),
        ("Origin-Host", host),
        ("Origin-Realm", "example"),
        ("Destination-Realm", "example"),
        ("Auth-Application-Id", GX),
        ("CC-Request-Type", "INITIAL_REQUEST"),
        ("CC-Request-Number", number),
    ]
    return diameter.message(REQUEST, 272, GX, hop_by_hop, 1_000 + number, DICTIONARY.encode_all(pairs))


def cca(request: Message, result: int = 2001) -> bytes:
    pairs = [
        ("Session-Id", request.get(codes.SESSION_ID).decode()),
        ("Auth-Application-Id", GX),
        ("Origin-Host", "server"),
        ("Origin-Realm", "example"),
        ("Result-Code", result),
        ("CC-Request-Type", 1),
        ("CC-Request-Number", 0),
    ]
    return diameter.answer(request, DICTIONARY.encode_all(pairs))


def complaints(messages: Iterable[bytes], directory: Path) -> list[str]:
    """What tshark has against these messages: expert items, each with the message it is about."""
    octets = list(messages)
    # Link type 147 is the user's: tshark is told that Diameter stands in it without TCP below.
    capture = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 147)
    capture += b"".join(struct.pack("<IIII", 0, 0, len(one), len(one)) + one for one in octets)
    (directory / "sent.pcap").write_bytes(capture)
    link = 'uat:user_dlts:"User 0 (DLT=147)","diameter","0","","0",""'
    command = ["tshark", "-r", str(directory / "sent.pcap"), "-o", link, "-T", "fields"]
    command += ["-e", "diameter.cmd.code", "-e", "_ws.expert.message"]
    text = subprocess.run(command, capture_output=True, check=True, timeout=60, text=True).stdout
    found = []
    for message, line in zip(octets, text.splitlines(), strict=True):
        code, _, complaint = line.partition("\t")
        assert code, line
        if complaint:
            found.append(f"{DICTIONARY.title(Message.parse(message))}: {complaint}")
    return found


class Wire:
    """Carries what two nodes send, in order, until nothing moves; keeps their events."""

    def __init__(self, left: Node, right: Node) -> None:
        self.nodes = (left, right)
        self.events: dict[Node, list[Event]] = {left: [], right: []}
        self.ends: dict[Connection, Connection] = {}
        self.sent: list[bytes] = []
        self.now = 0.0
        self.holding: list[Peer] = []
        """Dials that were not carried out yet."""

    def other(self, node: Node) -> Node:
        return self.nodes[1] if node is self.nodes[0] else self.nodes[0]

    def happened(self, node: Node, events: Iterable[Event]) -> None:
        for event in events:
            self.events[node].append(event)
            if isinstance(event, Connect):
                self.holding.append(event.peer)
            elif isinstance(event, StartTls):
                there, connection = self.other(node), event.connection
                self.happened(there, self.ends[connection].receive_data(event.octets, self.now))
                self.happened(node, connection.secured(Certificate(frozenset([there.local.origin_host])), self.now))

    def dial(self, peer: Peer) -> None:
        here = next(node for node in self.nodes if peer in node.peers.values())
        there = self.other(here)
        self.holding.remove(peer)
        far = there.accept("192.0.2.1", ("192.0.2.2",), self.now)
        assert far is not None
        near, events = peer.connected("192.0.2.2", ("192.0.2.1",), self.now)
        self.ends[near], self.ends[far] = far, near
        self.happened(here, events)

    def run(self, dial: bool = True) -> None:
        for _ in range(50):
            moved = False
            while dial and self.holding:
                self.dial(self.holding[0])
            for node in self.nodes:
                for connection in node.ready():
                    moved = True
                    end = self.ends[connection]
                    data = connection.data_to_send()
                    self.sent.append(data)
                    there = self.other(node)
                    if data:
                        self.happened(there, end.receive_data(data, self.now))
                    if connection.closing:
                        self.happened(there, end.lost(self.now))
                        self.happened(node, connection.lost(self.now))
            if not moved and not (dial and self.holding):
                return
        raise AssertionError("they never stop talking")

    def wait(self, until: float) -> None:
        """Let time pass, deadline by deadline."""
        while True:
            due = [(peer.next_deadline(), node, peer) for node in self.nodes for peer in node.peers.values()]
            times = [(at, node, peer) for at, node, peer in due if at is not None and at <= until]
            if not times:
                self.now = until
                return
            at, node, peer = min(times, key=lambda entry: entry[0])
            self.now = max(self.now, at)
            self.happened(node, peer.handle_deadline(self.now))
            self.run()
