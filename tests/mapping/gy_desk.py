"""A charging client at a desk: the engine on a disk, Gy before it, and CCRs whose answers are checked and decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aaa.diameter.request import Request
from aaa.dictionary.diameter import load as load_dictionary
from aaa.mapping.application import Outgoing
from aaa.mapping.gy import APPLICATION, Gy
from aaa.mapping.settings import Settings
from aaa.model.enforcement import Reply
from aaa.model.mobile import GY, GyFacts
from aaa.model.operations import Operation
from aaa.model.records import Account, SessionRecord
from aaa.state.entities import apply_operation
from native import diameter
from native.diameter import Message
from tests.engine.far_end import Field
from tests.engine.site import AT
from tests.mapping.desk import REALM, Wire, configured, peer_of

DICTIONARY = load_dictionary()
HOST = "smf.epc.example"
IMSI, MSISDN = "001010000000001", "15550000001"
MB = 1_000_000
REQUEST = diameter.FLAG_REQUEST | diameter.FLAG_PROXIABLE
INITIAL, UPDATE, TERMINATION, EVENT = 1, 2, 3, 4
MSCC = "Multiple-Services-Credit-Control"
Pairs = list[tuple[str, Any]]


class Answer:
    """A decoded CCA."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        message = Message.parse(octets)
        self.body = octets[diameter.HEADER_OCTETS :]
        """Without the identifiers of the request."""
        assert message.fault == 0
        command = DICTIONARY.command_of(message)
        assert command is not None
        assert command.grammar.check(message) is None, DICTIONARY.show(message)
        self.pairs: Pairs = []
        for code, vendor, _, value in message.avps():
            avp = DICTIONARY.by_number(code, vendor)
            assert avp is not None, code
            self.pairs.append((avp.name, DICTIONARY.decode(avp.name, value)))

    def get(self, name: str, pairs: Pairs | None = None) -> Any:
        return next((value for key, value in (self.pairs if pairs is None else pairs) if key == name), None)

    @property
    def result(self) -> int:
        return code_of(self.get("Result-Code"))

    @property
    def services(self) -> list[Pairs]:
        return [value for key, value in self.pairs if key == MSCC]

    def in_service(self, name: str, position: int = 0) -> Any:
        return self.get(name, self.services[position])

    def octets_granted(self, position: int = 0) -> int:
        """Of one service, or of the message itself; 0: none."""
        pairs = self.services[position] if self.services else self.pairs
        granted = self.get("Granted-Service-Unit", pairs)
        return 0 if granted is None else granted[0][1]

    @property
    def service_result(self) -> int:
        return code_of(self.in_service("Result-Code"))

    @property
    def is_final(self) -> bool:
        pairs = self.services[0] if self.services else self.pairs
        return self.get("Final-Unit-Indication", pairs) is not None


def code_of(value: Any) -> int:
    """A Result-Code, which may come by name."""
    if isinstance(value, int):
        return value
    avp = DICTIONARY.find("Result-Code")
    assert avp is not None
    return avp.values[value]


class GyWire(Wire):
    """Requests of Gy, answered at once with one Result-Code."""

    def __init__(self, gy: Gy) -> None:
        super().__init__(gy, GY)
        self.asked: list[tuple[str, bytes]] = []
        """Names of requests and Session-Ids, in order."""
        self.result = 2001
        self.silent = False

    def send(self, session: SessionRecord, outgoing: Outgoing, done: Callable[[Reply], None]) -> bool:
        self.sent.append(outgoing)
        self.asked.append((outgoing.name, session.key))
        if self.silent:
            done(Reply("timeout"))
            return True
        head: Pairs = [("Session-Id", session.key.decode()), ("Result-Code", self.result), ("Origin-Host", HOST)]
        pairs = [*head, ("Origin-Realm", REALM)]
        octets = diameter.message(64, outgoing.command, APPLICATION, 1, 1, DICTIONARY.encode_all(pairs))
        done(self.application.read_reply(session, outgoing, Message.parse(octets), AT))
        return True

    @property
    def names(self) -> list[str]:
        """What left, in order."""
        return [outgoing.name for outgoing in self.sent]


class Desk(Field):
    """A service `erin` with an activated SIM; everything happens at `now`."""

    def __init__(self, plan: dict[str, Any] | None = None, rules: Settings | None = None, db: Any = None) -> None:
        self.rules = rules or configured()
        super().__init__(db)
        self.hop_by_hop = 0
        if plan is not None:
            self.subscribe("erin", IMSI, plan)

    def start(self, loaded: bool) -> None:
        super().start(loaded)
        self.gy = Gy(self.store, self.decisions, self.rules)
        self.wire = GyWire(self.gy)
        self.enforcer.network = self.wire

    def restart_desk(self, durable: bool = True) -> Desk:
        """What a new process makes of the disk. durable False: what waits for it is lost."""
        if durable:
            self.disk.settle()
        desk = Desk(None, self.rules, self.db)
        desk.now, desk.revision, desk.hop_by_hop = self.now, self.revision, self.hop_by_hop
        desk.settle()
        return desk

    def subscribe(self, name: str, imsi: str, plan: dict[str, Any] | None = None, **service: Any) -> None:
        """A service on a plan of its own, with a SIM."""
        if plan is not None:
            self.put("plan", f"plan-{name}", **plan)
        plan_id = service.pop("plan_id", f"plan-{name}")
        if name not in self.store.subscribers:
            self.put("subscriber", name)
        self.put("service", name, subscriber_id=service.pop("subscriber_id", name), plan_id=plan_id, **service)
        self.put("sim", f"89000{imsi}", imsi=imsi, service_id=name, state="activated")

    def state(self, state: str, name: str = "erin") -> None:
        body = self.store.services[name].body
        self.put("service", name, subscriber_id=body.subscriber_id, plan_id=body.plan_id, state=state)

    def top_up(self, octets: int, name: str = "erin", id: str = "t1") -> None:
        operation = Operation("top_up", "service", name, {"id": id, "octets": octets})
        assert apply_operation(self.store, operation, None, self.now).status == "applied"
        self.settle()

    # Requests

    def request(self, pairs: Pairs, host: str = HOST) -> Request:
        self.hop_by_hop += 1
        octets = diameter.message(
            REQUEST, 272, APPLICATION, self.hop_by_hop, self.hop_by_hop, DICTIONARY.encode_all(pairs)
        )
        message = Message.parse(octets)
        command = DICTIONARY.command_of(message)
        assert command is not None
        assert command.grammar.check(message) is None
        return Request(peer_of(host), None, message)

    def ccr(
        self, kind: int, number: int, *services: Pairs, key: str = "one", imsi: str | None = IMSI,
        more: Pairs | None = None, apn: str = "internet", host: str = HOST, where: Pairs | None = None,
        plmn: str = "00101", address: str = "",
    ) -> Request:  # fmt: skip
        """As Open5GS orders it."""
        pairs: Pairs = [
            ("Session-Id", key), ("Origin-Host", host), ("Origin-Realm", REALM), ("Destination-Realm", "localdomain"),
            ("Auth-Application-Id", APPLICATION), ("Service-Context-Id", "32251@3gpp.org"),
            ("CC-Request-Type", kind), ("CC-Request-Number", number),
        ]  # fmt: skip
        if imsi is not None:
            for of, data in (("END_USER_E164", MSISDN), ("END_USER_IMSI", imsi)):
                pairs.append(("Subscription-Id", [("Subscription-Id-Type", of), ("Subscription-Id-Data", data)]))
        pairs += more or []
        pairs += [(MSCC, service) for service in services]
        session: Pairs = [
            ("PDP-Address", address or address_of(key)),
            ("Called-Station-Id", apn),
            ("3GPP-SGSN-MCC-MNC", plmn),
        ]
        pairs.append(("Service-Information", [("PS-Information", session + (where or []))]))
        return self.request(pairs, host)

    def send(self, request: Request) -> Answer:
        """Receive one, follow up what it changed, make it durable; the answer."""
        (octets,) = self.gy.receive([request], self.now)
        if self.store.opened or self.store.ended:
            self.addresses.settle(self.now)
        self.settle()
        return Answer(octets)

    def ask(self, kind: int, number: int, *services: Pairs, **more: Any) -> Answer:
        """Send a CCR."""
        return self.send(self.ccr(kind, number, *services, **more))

    # What is there

    def session(self, key: str = "one", host: str = HOST) -> SessionRecord:
        return self.store.nases[host].sessions[key.encode()]

    def facts(self, key: str = "one") -> GyFacts:
        facts = self.session(key).mobile
        assert isinstance(facts, GyFacts)
        return facts

    def account(self, name: str = "erin") -> Account:
        account = self.store.services[name].account
        assert account is not None
        return account

    def charged(self, name: str = "erin") -> int:
        return self.account(name).charged_octets

    def left(self, name: str = "erin") -> int:
        account = self.account(name)
        return account.left_octets - (account.charged_octets - account.settled_octets)


def address_of(key: str) -> str:
    """Of the bearer that a session is about: "one" is 10.45.0.2; what stands behind ";" does not matter."""
    names = ("one", "two", "three", "four")
    name = key.partition(";")[0]
    return f"10.45.0.{names.index(name) + 2 if name in names else 100 + sum(name.encode()) % 100}"


def service(group: int | None = 1, used: int | tuple[int, int] | None = None, ask: bool = True, **more: Any) -> Pairs:
    """One service of a CCR. used: octets down, or up and down, as Open5GS tells them; more: AVPs by name."""
    pairs: Pairs = []
    if ask:
        pairs.append(("Requested-Service-Unit", []))
    if used is not None:
        up, down = used if isinstance(used, tuple) else (0, used)
        units = [("CC-Time", 10), ("CC-Input-Octets", up), ("CC-Output-Octets", down)]
        pairs.append(("Used-Service-Unit", units))
    if group is not None:
        pairs.append(("Rating-Group", group))
    pairs += [(name.replace("_", "-"), value) for name, value in more.items()]
    return pairs


def quota(octets: int, *actions: Any, **more: Any) -> dict[str, Any]:
    """A plan with a quota."""
    return {
        "kind": "mobile",
        "rate": {"down_bps": 50_000_000, "up_bps": 10_000_000},
        "quota": {"octets": octets, **more},
        "on_exhausted": list(actions),
    }


THROTTLE = {"throttle": {"down_bps": 1_000_000, "up_bps": 1_000_000}}
