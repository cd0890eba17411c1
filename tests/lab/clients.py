"""What stands behind a peer: an SMF (Gx and Gy), an MME (S6a) and a PCRF (Sy), as Open5GS and 3GPP have them.

Each keeps what the server told it, so a test reads what the bearer really runs under. AVPs, their order and their flags
are those that Open5GS 2.7.7 sends (shared facts, §1); `more` adds to a request, in place of or behind what is there.
"""

from __future__ import annotations

import time
from typing import Any

from tests.lab.peer import LabError, Peer
from tests.lab.wire import APPLICATIONS, Avps, Message

INITIAL, UPDATE, TERMINATION, EVENT = 1, 2, 3, 4
END_USER_E164, END_USER_IMSI = 0, 1
PLMN = bytes.fromhex("00f110")
"""001-01."""
LOCATION = bytes.fromhex("8200f110000100f11000000101")
"""TAI 001-01/1 and ECGI 001-01/0x101."""
Pair = tuple[Any, Any]


def merged(base: Avps, more: Avps) -> list[Pair]:
    """base with the AVPs of `more` where those of the same name stood, and the others behind."""
    names, pairs = {name for name, _ in more}, []
    for name, value in base:
        if name not in names:
            pairs.append((name, value))
        else:
            pairs += [pair for pair in more if pair[0] == name and pair not in pairs]
    known = {name for name, _ in base}
    return pairs + [pair for pair in more if pair[0] not in known]


def specific(application: str) -> Pair:
    """Open5GS puts the application before the vendor."""
    identifiers = [("Auth-Application-Id", APPLICATIONS[application]), ("Vendor-Id", 10415)]
    return ("Vendor-Specific-Application-Id", identifiers)


def subscription(imsi: str, msisdn: str | None) -> list[Pair]:
    return [
        ("Subscription-Id", [("Subscription-Id-Type", kind), ("Subscription-Id-Data", data)])
        for kind, data in ((END_USER_IMSI, imsi), (END_USER_E164, msisdn))
        if data is not None
    ]


class Bearer:
    """One PDN connection: what Gx and Gy have in common."""

    application = ""

    def __init__(self, peer: Peer, imsi: str, *, apn: str = "internet", msisdn: str | None = None) -> None:
        self.peer, self.imsi, self.apn, self.msisdn = peer, imsi, apn, msisdn
        self.id = peer.session_id()
        self.number = -1
        self.server: str | None = None
        """Origin-Host of its last answer."""
        self.last: tuple[Avps, int] = ([], 0)
        peer.watchers.append(self._see)

    def _see(self, request: Message) -> None:
        if request.get("Session-Id") == self.id:
            self.pushed(request)

    def pushed(self, request: Message) -> None:
        """A request of the server's for this session."""

    def head(self, kind: int) -> list[Pair]:
        return [
            ("Session-Id", self.id),
            ("Origin-Host", self.peer.host),
            ("Origin-Realm", self.peer.realm),
            ("Destination-Realm", self.peer.server_realm),
            ("Auth-Application-Id", APPLICATIONS[self.application]),
        ]

    def ccr(self, avps: Avps, more: Avps = (), *, expect: int | None = 2001) -> Message:
        """Send a CCR. expect: its Result-Code; None: any. Raises LabError where the answer is not for this request."""
        pairs = merged(avps, more)
        answer = self.peer.ask(self.application, "CCR", pairs)
        self._check(answer, expect)
        return answer

    def repeat(self, *, retransmitted: bool = True) -> Message:
        """The last CCR once more, as after a fail-over: the same session and number."""
        flags = 0xD0 if retransmitted else 0xC0
        return self.peer.ask(self.application, "CCR", self.last[0], flags=flags)

    def _send(self, kind: int, avps: Avps, more: Avps, expect: int | None) -> Message:
        self.last = merged(avps, more), kind
        answer = self.ccr(self.last[0], expect=expect)
        if (answer["CC-Request-Type"], answer["CC-Request-Number"]) != (kind, self.number):
            raise LabError(f"an answer to another request: {answer}")
        self.server = answer["Origin-Host"]
        return answer

    def _check(self, answer: Message, expect: int | None) -> None:
        if expect is not None and answer.result != expect:
            raise LabError(f"{self.peer.host} wanted {expect} and got {answer}")


class GxSession(Bearer):
    """An IP-CAN session as the PCEF has it. `rate` and `rules` are what is in force."""

    application = "gx"

    def __init__(self, peer: Peer, imsi: str, *, ip: str = "10.45.0.2", **options: Any) -> None:
        super().__init__(peer, imsi, **options)
        self.ip = ip
        self.rate: tuple[int, int] | None = None
        """APN-AMBR in force: (down, up) bit/s."""
        self.qos: Any = None
        """Default-EPS-Bearer-QoS in force."""
        self.rules: dict[str, Any] = {}
        """Charging rules in force by name: a definition's Group, or "name" or "base"."""
        self.triggers: set[int] = set()
        self.monitoring: dict[bytes, Any] = {}
        """Usage-Monitoring-Information by key."""
        self.released: int | None = None
        """Session-Release-Cause, once the server has told one."""
        self.revalidation: int | None = None

    def initial(self, more: Avps = (), expect: int | None = 2001) -> Message:
        """CCR-I as Open5GS's SMF sends it."""
        self.number = 0
        address = bytes(int(part) for part in self.ip.split("."))
        avps = [
            *self.head(INITIAL),
            ("CC-Request-Type", INITIAL),
            ("CC-Request-Number", 0),
            *subscription(self.imsi, self.msisdn),
            ("Supported-Features", [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 0x0B)]),
            ("Network-Request-Support", 1),
            ("Framed-IP-Address", address),
            ("Framed-IPv6-Prefix", bytes.fromhex("00402001db8cafe000") + bytes([address[3]])),
            ("IP-CAN-Type", 5),
            ("RAT-Type", 1004),
            ("QoS-Information", [
                ("APN-Aggregate-Max-Bitrate-UL", 1_000_000_000), ("APN-Aggregate-Max-Bitrate-DL", 1_000_000_000),
            ]),
            ("Default-EPS-Bearer-QoS", [
                ("QoS-Class-Identifier", 9),
                ("Allocation-Retention-Priority", [
                    ("Priority-Level", 8), ("Pre-emption-Capability", 1), ("Pre-emption-Vulnerability", 1),
                ]),
            ]),
            ("3GPP-User-Location-Info", LOCATION),
            ("3GPP-MS-TimeZone", b"\x23\x00"),
            ("3GPP-SGSN-MCC-MNC", "00101"),
            ("AN-GW-Address", "127.0.0.3"),
            ("Called-Station-Id", self.apn),
            ("Online", 0),
            ("Offline", 1),
            ("Access-Network-Charging-Address", "127.0.0.4"),
            ("Access-Network-Charging-Identifier-Gx", [("Access-Network-Charging-Identifier-Value", b"\0\0\0\1")]),
        ]  # fmt: skip
        return self._take(self._send(INITIAL, avps, more, expect))

    def update(self, more: Avps = (), expect: int | None = 2001) -> Message:
        """CCR-U of a 3GPP PCEF (Open5GS sends none). more: Event-Triggers, reports, Usage-Monitoring-Information."""
        self.number += 1
        avps = [
            *self.head(UPDATE),
            ("CC-Request-Type", UPDATE),
            ("CC-Request-Number", self.number),
            ("Destination-Host", self.server),
            *subscription(self.imsi, self.msisdn),
            ("Called-Station-Id", self.apn),
        ]
        return self._take(self._send(UPDATE, avps, more, expect))

    def report(self, total: int, *, inbound: int | None = None, final: bool = False, **options: Any) -> Message:
        """CCR-U with usage of the session's monitoring key: octets, of them `inbound` from the subscriber."""
        sent = total // 4 if inbound is None else inbound
        key = next(iter(self.monitoring), b"session")
        used = [("CC-Total-Octets", total), ("CC-Input-Octets", sent), ("CC-Output-Octets", total - sent)]
        information = [("Monitoring-Key", key), ("Used-Service-Unit", used), ("Usage-Monitoring-Level", 0)]
        return self.update([("Event-Trigger", 33), ("Usage-Monitoring-Information", information)], **options)

    def terminate(self, more: Avps = (), expect: int | None = 2001) -> Message:
        """CCR-T as Open5GS's SMF sends it: without Termination-Cause."""
        self.number += 1
        avps = [
            *self.head(TERMINATION),
            ("CC-Request-Type", TERMINATION),
            ("CC-Request-Number", self.number),
            ("Destination-Host", self.server),
            *subscription(self.imsi, self.msisdn),
            ("Called-Station-Id", self.apn),
        ]
        return self._send(TERMINATION, avps, more, expect)

    def pushed(self, request: Message) -> None:
        if request.name == "RAR":
            self._take(request)
            self.released = request.get("Session-Release-Cause", self.released)

    def _take(self, message: Message) -> Message:
        for removal in message.all("Charging-Rule-Remove"):
            for name in (*removal.all("Charging-Rule-Name"), *removal.all("Charging-Rule-Base-Name")):
                self.rules.pop(_text(name), None)
        for install in message.all("Charging-Rule-Install"):
            for definition in install.all("Charging-Rule-Definition"):
                self.rules[_text(definition["Charging-Rule-Name"])] = definition
                message.faults += unusable(definition)
            for name in install.all("Charging-Rule-Name"):
                self.rules[_text(name)] = "name"
            for name in install.all("Charging-Rule-Base-Name"):
                self.rules[_text(name)] = "base"
        for qos in message.all("QoS-Information"):
            if "APN-Aggregate-Max-Bitrate-DL" in qos:
                self.rate = qos["APN-Aggregate-Max-Bitrate-DL"], qos["APN-Aggregate-Max-Bitrate-UL"]
        self.qos = message.get("Default-EPS-Bearer-QoS", self.qos)
        if message.all("Event-Trigger"):
            self.triggers = set(message.all("Event-Trigger"))
        for information in message.all("Usage-Monitoring-Information"):
            self.monitoring[information.get("Monitoring-Key", b"")] = information
        self.revalidation = message.get("Revalidation-Time", self.revalidation)
        return message


def unusable(definition: Any) -> list[str]:
    """Why Open5GS would skip a Charging-Rule-Definition, or abort over it."""
    faults = []
    qos = definition.get("QoS-Information")
    if qos is None or "QoS-Class-Identifier" not in qos or "Allocation-Retention-Priority" not in qos:
        faults.append(f"a rule without QCI and ARP: {definition}")
    if not definition.all("Flow-Information"):
        faults.append(f"a rule without flows: {definition}")
    for flow in definition.all("Flow-Information"):
        if "Flow-Direction" not in flow or "Flow-Description" not in flow:
            faults.append(f"a flow without direction or description: {flow}")
        elif not flow["Flow-Description"].startswith("permit out "):
            faults.append(f"a filter that is not written from outside: {flow}")
    return faults


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


class GySession(Bearer):
    """A charging session. `granted` is the quota in force, by Rating-Group (None: without)."""

    application = "gy"

    def __init__(self, peer: Peer, imsi: str, *, context: str = "32251@3gpp.org", **options: Any) -> None:
        super().__init__(peer, imsi, **options)
        self.context = context
        self.granted: dict[int | None, int | None] = {}
        """Octets; None: not limited."""
        self.final: dict[int | None, Any] = {}
        """Final-Unit-Indication in force."""
        self.results: dict[int | None, int] = {}
        """Result-Code inside the Multiple-Services-Credit-Control, where there is one."""
        self.validity: dict[int | None, int] = {}

    def initial(
        self,
        more: Avps = (),
        *,
        groups: tuple[int, ...] = (),
        octets: int | None = 1_000_000,
        expect: int | None = 2001,
    ) -> Message:
        """CCR-I; without groups as Open5GS's SMF sends it. octets: asked for; None: an empty Requested-Service-Unit."""
        self.number = 0
        asked = [("Requested-Service-Unit", [("CC-Total-Octets", octets)])]
        avps = [
            *self._head(INITIAL),
            ("Requested-Action", 0),
            ("AoC-Request-Type", 1),
            ("Multiple-Services-Indicator", 1 if groups else 0),
            *self._services(groups, asked),
            self._information(),
        ]
        return self._take(self._send(INITIAL, avps, more, expect))

    def update(
        self,
        used: int,
        more: Avps = (),
        *,
        group: int | None = None,
        reason: int = 3,
        inbound: int | None = None,
        seconds: int = 10,
        total: bool = False,
        ask: bool = True,
        expect: int | None = 2001,
    ) -> Message:
        """CCR-U that tells `used` octets and asks for more. reason: 0 threshold, 3 quota exhausted, 4 validity time
        (this on the level of the service). total: also CC-Total-Octets, which Open5GS leaves out."""
        self.number += 1
        units = self._used(used, inbound, seconds, total)
        services: list[Pair] = [
            ("Requested-Service-Unit", [("CC-Total-Octets", 1_000_000)] if ask else None),
            ("Used-Service-Unit", ([("Reporting-Reason", reason)] if reason != 4 else []) + units),
            ("Rating-Group", group),
            ("Reporting-Reason", 4 if reason == 4 else None),
        ]
        avps = [
            *self._head(UPDATE),
            ("Destination-Host", self.server),
            ("Requested-Action", 0),
            ("AoC-Request-Type", 1),
            ("Multiple-Services-Indicator", 0 if group is None else 1),
            ("Multiple-Services-Credit-Control", services),
            self._information(),
        ]
        return self._take(self._send(UPDATE, avps, more, expect))

    def terminate(
        self,
        used: int = 0,
        more: Avps = (),
        *,
        group: int | None = None,
        inbound: int | None = None,
        expect: int | None = 2001,
    ) -> Message:
        self.number += 1
        services = [
            ("Used-Service-Unit", self._used(used, inbound, 10, False)),
            ("Rating-Group", group),
            ("Reporting-Reason", 2),
        ]
        avps = [
            *self._head(TERMINATION),
            ("Destination-Host", self.server),
            ("Termination-Cause", 1),
            ("Requested-Action", 0),
            ("AoC-Request-Type", 1),
            ("Multiple-Services-Indicator", 0),
            ("Multiple-Services-Credit-Control", services),
            self._information(),
        ]
        return self._send(TERMINATION, avps, more, expect)

    def event(self, avps: Avps, action: int = 0, expect: int | None = 2001) -> Message:
        """A CCR of type EVENT: Requested-Action 0 direct debiting, 1 refund, 2 check balance, 3 price enquiry."""
        self.number = 0
        pairs = [*self._head(EVENT), ("Requested-Action", action), *avps]
        return self._send(EVENT, pairs, (), expect)

    def _head(self, kind: int) -> list[Pair]:
        return [
            *self.head(kind),
            ("Service-Context-Id", self.context),
            ("CC-Request-Type", kind),
            ("CC-Request-Number", self.number),
            ("Event-Timestamp", time.time()),
            *subscription(self.imsi, self.msisdn),
        ]

    def _services(self, groups: tuple[int, ...], asked: list[Pair]) -> list[Pair]:
        if not groups:
            qos = ("QoS-Information", [("QoS-Class-Identifier", 9)])
            return [("Multiple-Services-Credit-Control", [*asked, qos])]
        return [("Multiple-Services-Credit-Control", [*asked, ("Rating-Group", group)]) for group in groups]

    def _used(self, used: int, inbound: int | None, seconds: int, total: bool) -> list[Pair]:
        sent = used // 4 if inbound is None else inbound
        octets: list[Pair] = [("CC-Input-Octets", sent), ("CC-Output-Octets", used - sent)]
        return [("CC-Time", seconds), *([("CC-Total-Octets", used)] if total else []), *octets]

    def _information(self) -> Pair:
        information: list[Pair] = [
            ("3GPP-Charging-Id", b"\0\0\0\1"),
            ("3GPP-PDP-Type", 0),
            ("PDP-Address", "10.45.0.2"),
            ("SGSN-Address", "127.0.0.3"),
            ("GGSN-Address", "127.0.0.4"),
            ("Called-Station-Id", self.apn),
            ("3GPP-Selection-Mode", "0"),
            ("3GPP-SGSN-MCC-MNC", "00101"),
            ("3GPP-MS-TimeZone", b"\x23\x00"),
            ("3GPP-User-Location-Info", LOCATION),
            ("3GPP-RAT-Type", b"\x06"),
        ]
        return ("Service-Information", [("PS-Information", information)])

    def _take(self, answer: Message) -> Message:
        for service in answer.all("Multiple-Services-Credit-Control"):
            group = service.get("Rating-Group")
            units = service.get("Granted-Service-Unit")
            self.granted[group] = None if units is None else units.get("CC-Total-Octets")
            self.results[group] = service.get("Result-Code", 2001)
            self.final[group] = service.get("Final-Unit-Indication")
            self.validity[group] = service.get("Validity-Time", 0)
        return answer


class Mme:
    """An MME at a peer."""

    def __init__(self, peer: Peer, plmn: bytes = PLMN) -> None:
        self.peer, self.plmn = peer, plmn

    def _head(self) -> list[Pair]:
        return [
            ("Auth-Session-State", 1),
            ("Origin-Host", self.peer.host),
            ("Origin-Realm", self.peer.realm),
            ("Destination-Realm", self.peer.server_realm),
        ]

    def _ask(self, command: str, avps: Avps, more: Avps, options: dict[str, Any]) -> Message:
        answer = self.peer.ask("s6a", command, merged(avps, more), **options)
        faults = dropped(answer)
        if faults:
            raise LabError(f"Open5GS would drop {answer}: {faults}")
        return answer

    def air(
        self, imsi: str, more: Avps = (), *, vectors: int = 1, resynchronization: bytes | None = None, **options: Any
    ) -> Message:
        """resynchronization: RAND (16 octets) and AUTS (14)."""
        wanted = [
            ("Number-Of-Requested-Vectors", vectors),
            ("Immediate-Response-Preferred", 1),
            ("Re-Synchronization-Info", resynchronization),
        ]
        avps = [
            ("Session-Id", self.peer.session_id()),
            *self._head(),
            ("User-Name", imsi),
            ("Requested-EUTRAN-Authentication-Info", wanted),
            ("Visited-PLMN-Id", self.plmn),
            specific("s6a"),
        ]
        return self._ask("AIR", avps, more, options)

    def ulr(self, imsi: str, more: Avps = (), *, flags: int = 34, **options: Any) -> Message:
        avps = [
            ("Session-Id", self.peer.session_id()),
            specific("s6a"),
            *self._head(),
            ("User-Name", imsi),
            ("Terminal-Information", [("IMEI", "35315711000000"), ("Software-Version", "01")]),
            ("RAT-Type", 1004),
            ("ULR-Flags", flags),
            ("Visited-PLMN-Id", self.plmn),
            ("UE-SRVCC-Capability", 0),
            ("SMS-Register-Request", 1),
        ]
        return self._ask("ULR", avps, more, options)

    def pur(self, imsi: str, more: Avps = (), **options: Any) -> Message:
        avps = [("Session-Id", self.peer.session_id()), specific("s6a"), *self._head(), ("User-Name", imsi)]
        return self._ask("PUR", avps, more, options)

    def nor(self, imsi: str, more: Avps = (), **options: Any) -> Message:
        avps = [("Session-Id", self.peer.session_id()), specific("s6a"), *self._head(), ("User-Name", imsi)]
        return self._ask("NOR", avps, [("NOR-Flags", 0), *more], options)


def dropped(answer: Message) -> list[str]:
    """Why Open5GS's MME would drop an S6a answer, so that its subscriber hangs."""
    faults = []
    if answer.flags & 0x20:
        return faults
    if ("Result-Code" in answer) is ("Experimental-Result" in answer):
        faults.append("neither or both of Result-Code and Experimental-Result")
    if answer.name == "AIA" and answer.result == 2001:
        info = answer.get("Authentication-Info")
        if info is None or not info.all("E-UTRAN-Vector"):
            faults.append("no E-UTRAN-Vector")
    if answer.name == "ULA" and answer.result == 2001:
        if "ULA-Flags" not in answer:
            faults.append("no ULA-Flags")
        data = answer.get("Subscription-Data")
        if data is not None:
            profile = data.get("APN-Configuration-Profile")
            if "AMBR" not in data or profile is None:
                faults.append("Subscription-Data without AMBR or APN-Configuration-Profile")
            elif any("EPS-Subscribed-QoS-Profile" not in apn for apn in profile.all("APN-Configuration")):
                faults.append("an APN without EPS-Subscribed-QoS-Profile")
            elif profile["Context-Identifier"] not in (
                apn["Context-Identifier"] for apn in profile.all("APN-Configuration")
            ):
                faults.append("the default APN is not among the APNs")
    return faults


class SySession:
    """What a foreign PCRF follows. `counters`: the status of each, as last told."""

    def __init__(self, peer: Peer, imsi: str, msisdn: str | None = None) -> None:
        self.peer, self.imsi, self.msisdn = peer, imsi, msisdn
        self.id = peer.session_id()
        self.server: str | None = None
        self.counters: dict[str, str] = {}
        self.pending: dict[str, list[tuple[str, int]]] = {}
        """Statuses to come, with the epoch second at which they do."""
        self.ended = False
        peer.watchers.append(self._see)

    def _head(self) -> list[Pair]:
        return [
            ("Session-Id", self.id),
            ("Auth-Application-Id", APPLICATIONS["sy"]),
            ("Origin-Host", self.peer.host),
            ("Origin-Realm", self.peer.realm),
            ("Destination-Realm", self.peer.server_realm),
            ("Destination-Host", self.server),
        ]

    def subscribe(self, *counters: str, more: Avps = (), expect: int | None = 2001) -> Message:
        """SLR: initial, and intermediate from then on. counters: none: all."""
        avps = [
            *self._head(),
            ("SL-Request-Type", 0 if self.server is None else 1),
            *subscription(self.imsi, self.msisdn),
            *(("Policy-Counter-Identifier", name) for name in counters),
        ]
        answer = self.peer.ask("sy", "SLR", merged(avps, more))
        if expect is not None and answer.result != expect:
            raise LabError(f"{self.peer.host} wanted {expect} and got {answer}")
        self.server = answer["Origin-Host"]
        self._take(answer)
        return answer

    def terminate(self, expect: int | None = 2001) -> Message:
        answer = self.peer.ask("sy", "STR", [*self._head(), ("Termination-Cause", 1)])
        if expect is not None and answer.result != expect:
            raise LabError(f"{self.peer.host} wanted {expect} and got {answer}")
        return answer

    def _see(self, request: Message) -> None:
        if request.name == "SNR" and request.get("Session-Id") == self.id:
            self._take(request)
            self.ended = request.get("SN-Request-Type", 0) == 1

    def _take(self, message: Message) -> None:
        for report in message.all("Policy-Counter-Status-Report"):
            name = report["Policy-Counter-Identifier"]
            self.counters[name] = report["Policy-Counter-Status"]
            self.pending[name] = [
                (one["Policy-Counter-Status"], one["Pending-Policy-Counter-Change-Time"])
                for one in report.all("Pending-Policy-Counter-Information")
            ]
