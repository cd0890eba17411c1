"""A PCEF, a pretend wire and the engine on a disk: what the specifications of Gx are written with."""

from __future__ import annotations

from typing import Any

from aaa.config import Diameter, Peer
from aaa.diameter.request import Request
from aaa.dictionary.diameter import load
from aaa.engine.enforce import Enforcer, EnforceSettings
from aaa.mapping.gx import Gx
from aaa.mapping.settings import Settings
from aaa.model.mobile import GX
from aaa.model.records import SessionRecord
from native import diameter
from native.diameter import FLAG_PROXIABLE, FLAG_REQUEST, Message
from tests.engine.far_end import Field
from tests.engine.site import AT
from tests.mapping.desk import Wire

DICTIONARY = load()
GX_APPLICATION = 16777238
IMSI, MSISDN, ICCID = "001010000000001", "15550000001", "8900100000000000001"
PCEF, REALM = "smf.localdomain", "localdomain"
LOCATION = bytes.fromhex("8200f110000100f11000000101")
"""TAI 1 and cell 101 hex of 001-01."""
QOS: dict[str, Any] = {"qci": 9, "arp": {"priority": 8}, "apn": "internet"}
PLAN: dict[str, Any] = {"kind": "mobile", "rate": {"down_bps": 20_000_000, "up_bps": 5_000_000}, "qos": QOS}
QUOTA: dict[str, Any] = PLAN | {
    "quota": {"octets": 1_000_000},
    "on_exhausted": [{"throttle": {"down_bps": 64_000, "up_bps": 32_000}}],
}
Pairs = list[tuple[str, Any]]


class At:
    """A request, and whom it came over, as far as the mapping looks at them."""

    class remote:
        origin_host = PCEF
        origin_realm = REALM

    class local:
        origin_host = "aaa.localdomain"
        origin_realm = "localdomain"


def asked(octets: bytes, peer: Any = At) -> Request:
    """A CCR as the transport hands it over."""
    return Request(peer, None, Message.parse(octets))  # type: ignore[arg-type]


class Pcef(Field):
    """The engine with erin's SIM on a mobile plan, and a PCEF that asks it over Gx."""

    def __init__(
        self, plan: dict[str, Any] | None = None, db: Any = None, policy: Any = None, peers: Any = (), **settings: Any
    ) -> None:
        self.peers = [Peer(**peer) for peer in peers] or [Peer(PCEF, REALM)]
        self.diameter = Diameter(origin_host="aaa.localdomain", **settings)
        self.number = -1
        self.key = "smf;1;1"
        self.client = PCEF
        super().__init__(db, policy=policy)
        if db is None:
            self.service("erin", plan=PLAN if plan is None else plan)
            self.put("sim", ICCID, iccid=ICCID, imsi=IMSI, msisdn=None, service_id="erin", state="activated")
            self.settle()

    def start(self, loaded: bool) -> None:
        super().start(False)
        self.gx = Gx(self.store, self.decisions, Settings(self.diameter, self.peers))
        self.wire = Wire(self.gx, GX)
        note = self.presence.note
        enforcer = Enforcer(self.store, self.decisions, self.addresses, self.wire, EnforceSettings())
        self.enforcer = self.engine.enforcer = self.presence.enforcer = self.automator.enforcer = enforcer
        self.addresses.note = note
        enforcer.note_decided = self.timers.note_decided
        if loaded:
            self.enforcer.resume()

    def again(self) -> Pcef:
        """A new process on the same disk."""
        self.disk.settle()
        made = Pcef(db=self.db, policy=self.policy)
        made.peers, made.diameter, made.now, made.revision = self.peers, self.diameter, self.now, self.revision
        made.number, made.key, made.client = self.number, self.key, self.client
        made.gx.use(Settings(self.diameter, self.peers))
        made.settle()
        return made

    # The PCEF

    def ask(self, pairs: Pairs, *, peer: Any = At) -> Message:
        """One CCR, answered; the answer has passed its grammar."""
        return self.ask_octets(self.octets(pairs), peer=peer)

    def octets(self, pairs: Pairs) -> bytes:
        octets = diameter.message(
            FLAG_REQUEST | FLAG_PROXIABLE, 272, GX_APPLICATION, 7, 8, DICTIONARY.encode_all(pairs)
        )
        command = DICTIONARY.command_of(Message.parse(octets))
        assert command is not None
        assert command.grammar.check(Message.parse(octets)) is None
        return octets

    def ask_octets(self, octets: bytes, *, peer: Any = At) -> Message:
        self.last = octets
        (answer,) = self.gx.receive([asked(octets, peer)], self.now)
        self.addresses.settle(self.now)
        self.settle()
        message = Message.parse(answer)
        command = DICTIONARY.command_of(message)
        assert command is not None
        assert command.grammar.check(message) is None, DICTIONARY.show(message)
        assert (message.hop_by_hop, message.end_to_end) == (7, 8)
        return message

    def repeat(self) -> Message:
        """The last CCR once more."""
        return self.ask_octets(self.last)

    def head(self, kind: int, number: int | None = None) -> Pairs:
        self.number = self.number + 1 if number is None else number
        return [
            ("Session-Id", self.key),
            ("Auth-Application-Id", GX_APPLICATION),
            ("Origin-Host", self.client),
            ("Origin-Realm", REALM),
            ("Destination-Realm", "localdomain"),
            ("CC-Request-Type", kind),
            ("CC-Request-Number", self.number),
        ]

    def initial(self, *more: tuple[str, Any], imsi: str = IMSI, apn: str = "internet", key: str = "") -> Message:
        """CCR-I."""
        self.key = key or self.key
        base: Pairs = [
            *self.head(1, 0),
            ("Subscription-Id", [("Subscription-Id-Type", 0), ("Subscription-Id-Data", MSISDN)]),
            ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", imsi)]),
            ("Network-Request-Support", 1),
            ("Framed-IP-Address", "10.45.0.2"),
            ("RAT-Type", 1004),
            ("3GPP-User-Location-Info", LOCATION),
            ("Called-Station-Id", apn),
        ]
        named = {name for name, _ in more}
        return self.ask([pair for pair in base if pair[0] not in named] + list(more))

    def update(self, *more: tuple[str, Any], number: int | None = None) -> Message:
        """CCR-U."""
        return self.ask([*self.head(2, number), *more])

    def terminate(self, *more: tuple[str, Any], number: int | None = None) -> Message:
        """CCR-T."""
        return self.ask([*self.head(3, number), *more])

    def accept(self, result: int = 2001, *more: tuple[str, Any]) -> None:
        """Answer the oldest RAR that waits."""
        session, outgoing, done = self.wire.waiting.pop(0)
        pairs = [("Session-Id", self.key), ("Origin-Host", self.client), ("Origin-Realm", REALM), *more]
        if result:
            pairs.append(("Result-Code", result))
        octets = diameter.message(0, 258, GX_APPLICATION, 1, 1, DICTIONARY.encode_all(pairs))
        done(self.gx.read_reply(session, outgoing, Message.parse(octets), self.now))
        self.settle()

    # What is to be seen

    @property
    def session(self) -> SessionRecord:
        return self.store.nases[self.client].sessions[self.key.encode()]

    def used(self) -> tuple[int, int]:
        service = self.store.services["erin"]
        return service.input_octets, service.output_octets

    def rar(self, index: int = -1) -> dict[str, Any]:
        """What a RAR carried; it has passed the grammar."""
        message = Message.parse(self.rar_octets(index))
        command = DICTIONARY.command_of(message)
        assert command is not None
        assert command.grammar.check(message) is None, DICTIONARY.show(message)
        return shown(message)

    def rar_octets(self, index: int = -1) -> bytes:
        """A RAR as the transport sends it."""
        sent = self.wire.sent[index]
        head: Pairs = [
            ("Session-Id", self.key),
            ("Auth-Application-Id", GX_APPLICATION),
            ("Origin-Host", "aaa.localdomain"),
            ("Origin-Realm", "localdomain"),
            ("Destination-Realm", REALM),
            ("Destination-Host", self.client),
        ]
        avps = [*DICTIONARY.encode_all(head), *sent.avps]
        return diameter.message(FLAG_REQUEST | FLAG_PROXIABLE, sent.command, GX_APPLICATION, 1, 1, avps)


def shown(message: Message) -> dict[str, Any]:
    """Every AVP by its name; a list where it is repeated."""
    found: dict[str, Any] = {}
    for name, value in DICTIONARY.show(message):
        found[name] = (
            [*found[name], value]
            if isinstance(found.get(name), list)
            else ([found[name], value] if name in found else value)
        )
    return found


def result(message: Message) -> int | None:
    return message.get_unsigned32(268)


def usage(octets: int, *, up: int = 0, key: str | None = "quota", level: int = 0) -> tuple[str, Any]:
    """Usage-Monitoring-Information with octets used since the last."""
    members: Pairs = [] if key is None else [("Monitoring-Key", key)]
    used = [("CC-Total-Octets", octets + up), ("CC-Input-Octets", up), ("CC-Output-Octets", octets)]
    return ("Usage-Monitoring-Information", [*members, ("Used-Service-Unit", used), ("Usage-Monitoring-Level", level)])


def report(name: str, code: int = 10, status: int = 1) -> tuple[str, Any]:
    """Charging-Rule-Report."""
    return (
        "Charging-Rule-Report",
        [("Charging-Rule-Name", name), ("PCC-Rule-Status", status), ("Rule-Failure-Code", code)],
    )


__all__ = [
    "AT", "DICTIONARY", "ICCID", "IMSI", "LOCATION", "MSISDN", "PCEF", "PLAN", "QOS", "QUOTA", "REALM", "At", "Pcef",
    "asked",    "report", "result", "shown", "usage",
]  # fmt: skip
