"""What a peer may ask: an application and AVP firewall, one Gate for each peer; and what is addressed to us. Knows
numbers only, no name and no subscriber; compiled, because every request passes it.

Source: GSMA FS.19's categories, as far as a request alone shows them: who says that it sent the request, what it asks
for, about whom, from where, and how often. A request that is not allowed is answered here and goes no further.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Final, NamedTuple

from msgspec import Struct

from aaa.diameter import codes
from aaa.diameter.capabilities import Refusal
from aaa.diameter.codes import ResultCode
from aaa.diameter.routing import imsis_of
from aaa.limits import DIAMETER_RATE_BURST_S, DIAMETER_SPELLINGS_COUNT_MAX
from native import diameter
from native.diameter import Avps, Message

DESTINATION_HOST = codes.DESTINATION_HOST
DESTINATION_REALM = codes.DESTINATION_REALM
ORIGIN_HOST = codes.ORIGIN_HOST
ORIGIN_REALM = codes.ORIGIN_REALM
VISITED_PLMN_ID: Final = 1407
VENDOR_3GPP: Final = 10415


class Reason(StrEnum):
    """Why a request was stopped; a metric label."""

    RATE = "rate"
    CLIENTS = "clients"
    APPLICATION = "application"
    COMMAND = "command"
    ORIGIN_HOST = "origin_host"
    ORIGIN_REALM = "origin_realm"
    IMSI = "imsi"
    PLMN = "plmn"
    AVP = "avp"


RESULTS: Final = {
    Reason.RATE: ResultCode.TOO_BUSY,
    Reason.CLIENTS: ResultCode.TOO_BUSY,
    Reason.APPLICATION: ResultCode.APPLICATION_UNSUPPORTED,
    Reason.COMMAND: ResultCode.COMMAND_UNSUPPORTED,
    Reason.ORIGIN_HOST: ResultCode.AUTHORIZATION_REJECTED,
    Reason.ORIGIN_REALM: ResultCode.AUTHORIZATION_REJECTED,
    Reason.IMSI: ResultCode.AUTHORIZATION_REJECTED,
    Reason.PLMN: ResultCode.AUTHORIZATION_REJECTED,
    Reason.AVP: ResultCode.AVP_NOT_ALLOWED,
}
"""How each is answered."""


class Rules(Struct, frozen=True):
    """What a peer is configured to be allowed; the defaults allow everything."""

    applications: frozenset[int] = frozenset()
    """By number; empty: all."""
    commands: frozenset[int] = frozenset()
    """Command codes; empty: all."""
    imsis: tuple[str, ...] = ()
    """First digits; empty: all. A request that names no IMSI belongs to a session that named one."""
    origins: tuple[str, ...] = ()
    """Origin-Hosts that it may bring requests of, in lower case; with a dot before it: all that end so. Empty: all."""
    plmns: frozenset[bytes] = frozenset()
    """Values of Visited-PLMN-Id; empty: all. A request without one passes."""
    denied: frozenset[tuple[int, int]] = frozenset()
    """AVPs by code and vendor, wherever in a message they stand."""
    groups: frozenset[tuple[int, int]] = frozenset()
    """AVPs that are Grouped, for the way down to the denied ones."""
    rate_limit: float = 0.0
    """Requests per second; 0: any number."""

    @property
    def restrict(self) -> bool:
        return bool(self.applications or self.commands or self.imsis or self.plmns or self.denied or self.rate_limit)


class Stopped(NamedTuple):
    """A request that does not pass."""

    reason: Reason
    refusal: Refusal


class Gate:
    """Looks at the requests of one peer."""

    def __init__(
        self,
        rules: Rules,
        host: str,
        realm: str,
        relays: bool,
        barred: frozenset[str],
        now: float,
        has_room: Callable[[str], bool] = lambda host: True,
    ) -> None:
        """host, realm: the peer's own; realm "": any. relays: it advertises that it does. barred: Origin-Hosts that it
        never speaks for: those of this server, of other operators' peers, and names of RADIUS clients. All in lower
        case. now: monotonic seconds. has_room: whether a host behind it is known, or may become so."""
        self._rules: Final = rules if rules.restrict else None
        self._host: Final = host.lower().encode()
        self._realm: Final = realm.lower().encode()
        self._relays: Final = relays
        self._barred: Final = barred
        self._has_room: Final = has_room
        self._origins: Final = frozenset(name for name in rules.origins if not name.startswith("."))
        self._origin_ends: Final = tuple(name for name in rules.origins if name.startswith("."))
        # The spellings that it was seen to use: to compare is then enough.
        self._host_seen = host.encode()
        self._realm_seen = realm.encode()
        self._denied_octets: Final = tuple(code.to_bytes(4, "big") for code, _ in rules.denied)
        self._burst: Final = max(1.0, rules.rate_limit * DIAMETER_RATE_BURST_S)
        self._tokens = self._burst
        self._filled_at = now

    def stops(self, message: Message, now: float) -> Stopped | None:
        """None: the request passes. Cost: every request pays for this; 0.2 µs for a peer without restrictions."""
        if self._rules is not None:
            stopped = self._restricts(self._rules, message, now)
            if stopped is not None:
                return stopped
        host = message.get(ORIGIN_HOST)
        if host != self._host_seen and not self._is_own(host):
            return self._stops_foreign(message, host)
        if self._realm:
            realm = message.get(ORIGIN_REALM)
            if realm != self._realm_seen:
                if realm is None or realm.lower() != self._realm:
                    return _stopped(Reason.ORIGIN_REALM)
                self._realm_seen = realm
        return None

    def _is_own(self, host: bytes | None) -> bool:
        if host is None or host.lower() != self._host:
            return False
        self._host_seen = host
        return True

    def _stops_foreign(self, message: Message, host: bytes | None) -> Stopped | None:
        """Security: who is no relay, and shows no relay's record, speaks for itself alone (FS.19, category 1); and
        nobody speaks for us."""
        if host is None or not (self._relays or message.has(codes.ROUTE_RECORD)):
            return _stopped(Reason.ORIGIN_HOST)
        name = host.decode("ascii", "replace").lower()
        # A RADIUS client that covers a prefix is known with an address behind its name.
        if name.partition("/")[0] in self._barred:
            return _stopped(Reason.ORIGIN_HOST)
        if (self._origins or self._origin_ends) and name not in self._origins and not name.endswith(self._origin_ends):
            return _stopped(Reason.ORIGIN_HOST)
        return None if self._has_room(name) else _stopped(Reason.CLIENTS)

    def _restricts(self, rules: Rules, message: Message, now: float) -> Stopped | None:
        if rules.rate_limit:
            tokens = min(self._burst, self._tokens + (now - self._filled_at) * rules.rate_limit)
            self._filled_at = now
            if tokens < 1.0:
                self._tokens = tokens
                return _stopped(Reason.RATE)
            self._tokens = tokens - 1.0
        if rules.applications and message.application and message.application not in rules.applications:
            return _stopped(Reason.APPLICATION)
        if rules.commands and message.command not in rules.commands:
            return _stopped(Reason.COMMAND)
        if rules.imsis:
            for imsi in imsis_of(message):
                if imsi and not imsi.startswith(rules.imsis):
                    return _stopped(Reason.IMSI)
        if rules.plmns:
            plmn = message.get(VISITED_PLMN_ID, VENDOR_3GPP)
            if plmn is not None and plmn not in rules.plmns:
                return _stopped(Reason.PLMN)
        if rules.denied:
            raw = message.raw
            # A code that is nowhere among the octets is in no AVP; most requests end here.
            if any(octets in raw for octets in self._denied_octets):
                failed = _find(message, rules)
                if failed:
                    return _stopped(Reason.AVP, failed)
        return None


class Home:
    """How a request says that it is for one of our identities; spellings are learned."""

    def __init__(self, hosts: Iterable[str], realms: Iterable[str]) -> None:
        self.hosts: set[bytes | None] = {None, *(name.lower().encode() for name in hosts)}
        self.realms: set[bytes | None] = {None, *(name.lower().encode() for name in realms)}

    def has(self, message: Message) -> bool:
        """Whether it names us, or nobody. False may also be a spelling that is not known yet."""
        return message.get(DESTINATION_REALM) in self.realms and message.get(DESTINATION_HOST) in self.hosts

    def learn(self, message: Message) -> None:
        """It was for us, though it did not look so."""
        for known, code in ((self.hosts, DESTINATION_HOST), (self.realms, DESTINATION_REALM)):
            value = message.get(code)
            if len(known) < DIAMETER_SPELLINGS_COUNT_MAX and value is not None and value.lower() in known:
                known.add(value)


def _find(avps: Avps, rules: Rules) -> bytes:
    """The first denied AVP, as Failed-AVP tells it; b"" where there is none."""
    for code, vendor, _, value in avps.avps():
        if (code, vendor) in rules.denied:
            return diameter.avp(code, value, vendor)
    for code, vendor in {(code, vendor) for code, vendor, _, _ in avps.avps()} & rules.groups:
        for group in avps.get_groups(code, vendor):
            # What cannot be read whole may hold one.
            failed = diameter.avp(code, b"", vendor) if group.fault else _find(group, rules)
            if failed:
                return failed
    return b""


def _stopped(reason: Reason, failed: bytes = b"") -> Stopped:
    return Stopped(reason, Refusal(RESULTS[reason], "", failed))
