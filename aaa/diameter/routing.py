"""Where a request goes: to us, to a peer, or nowhere (RFC 6733 §2.7, §6.1). Pure functions on tables made once.

In this order: a request that has been here already is a loop; Destination-Host decides where it names us or a peer;
then the range that its IMSI is in (a host operator's and its MVNOs' subscribers behind one address), then its realm,
then the default route. A route of the request's application comes before one of any application.

Deviation: a relay keeps what it needs to send an answer back in memory and adds no Proxy-Info.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from msgspec import Struct

from aaa.diameter import codes
from aaa.diameter.capabilities import Refusal, identity
from aaa.diameter.codes import ResultCode
from aaa.diameter.peer import Peer
from aaa.limits import DIAMETER_ROUTES_COUNT_MAX
from native import diameter
from native.diameter import Message

SUBSCRIPTION_ID: Final = 443
SUBSCRIPTION_ID_TYPE: Final = 450
SUBSCRIPTION_ID_DATA: Final = 444
END_USER_IMSI: Final = 1
IMSI_DIGITS_MAX: Final = 15
"""3GPP TS 23.003 §2.2."""


class Route(Struct, frozen=True):
    """Requests of a realm, or of a range of IMSIs, go to these peers."""

    peers: tuple[str, ...]
    """Origin-Hosts, the preferred first; empty: served here."""
    realm: str = ""
    """Of neither realm nor IMSIs: the default route."""
    imsis: tuple[str, str] | None = None
    """First and last, both included; the shorter of prefixes is filled with 0 and 9: ("26201", "26203")."""
    application: int | None = None
    """None: any."""


class Destination(NamedTuple):
    """What a request says about where it wants to go; names in lower case, empty where it says nothing."""

    host: str
    realm: str
    application: int
    imsi: str


class Way(NamedTuple):
    """Where it goes."""

    peers: tuple[str, ...]
    """Origin-Hosts in lower case, the preferred first; empty: it is ours."""


HERE: Final = Way(())


def destination_of(message: Message) -> Destination:
    return Destination(
        identity(message, codes.DESTINATION_HOST),
        identity(message, codes.DESTINATION_REALM),
        message.application,
        imsi_of(message),
    )


def imsis_of(message: Message) -> Iterable[str]:
    """Everybody whom a request names: whoever reads it may go by another AVP than the first."""
    for group in message.get_groups(SUBSCRIPTION_ID):
        if group.get_unsigned32(SUBSCRIPTION_ID_TYPE) == END_USER_IMSI:
            for value in group.get_all(SUBSCRIPTION_ID_DATA):
                yield _digits(value)
    for value in message.get_all(codes.USER_NAME):
        yield _digits(value)


def imsi_of(message: Message) -> str:
    """The IMSI of a request: of its Subscription-Id by type, never by order, or of its User-Name; empty if none."""
    for group in message.get_groups(SUBSCRIPTION_ID):
        if group.get_unsigned32(SUBSCRIPTION_ID_TYPE) == END_USER_IMSI:
            return _digits(group.get(SUBSCRIPTION_ID_DATA))
    # TS 29.272 §5.2: User-Name is the IMSI itself; a name of another form is nobody's IMSI.
    return _digits(message.get(codes.USER_NAME))


def _digits(value: bytes | None) -> str:
    if not value or len(value) > IMSI_DIGITS_MAX or not value.isdigit():
        return ""
    return value.decode("ascii")


class _Ranges:
    """Disjoint ranges of IMSIs, found by bisection."""

    def __init__(self, routes: Iterable[Route]) -> None:
        found = sorted((*_bounds(route), Way(_names(route.peers))) for route in routes)
        self.firsts = [first for first, _, _ in found]
        self.lasts = [last for _, last, _ in found]
        self.ways = [way for _, _, way in found]
        for last, following in zip(self.lasts, self.firsts[1:], strict=False):
            if following <= last:
                raise ValueError(f"two ranges have IMSI {following:015}")

    def find(self, imsi: str) -> Way | None:
        # A shorter IMSI has fewer subscribers' digits, not other ones: it is filled as a range's first is.
        number = int(imsi.ljust(IMSI_DIGITS_MAX, "0"))
        at = bisect_right(self.firsts, number) - 1
        return self.ways[at] if at >= 0 and number <= self.lasts[at] else None


def _bounds(route: Route) -> tuple[int, int]:
    assert route.imsis is not None
    first, last = route.imsis
    for text in (first, last):
        if not text.isdecimal() or not text.isascii() or len(text) > IMSI_DIGITS_MAX:
            raise ValueError(f"{text} is no IMSI, nor the beginning of one")
    bounds = int(first.ljust(IMSI_DIGITS_MAX, "0")), int(last.ljust(IMSI_DIGITS_MAX, "9"))
    if bounds[0] > bounds[1]:
        raise ValueError(f"IMSIs {first} to {last} are none")
    return bounds


def _names(peers: Iterable[str]) -> tuple[str, ...]:
    return tuple(peer.lower() for peer in peers)


class Routes:
    """The routing table of one identity. Immutable."""

    def __init__(self, origin_host: str, realms: Iterable[str], peers: Iterable[str], routes: Sequence[Route]) -> None:
        """realms: served here. peers: those that a Destination-Host may name.

        Raises ValueError for ranges that overlap or are none, a realm that is routed twice, and too many routes.
        """
        if len(routes) > DIAMETER_ROUTES_COUNT_MAX:
            raise ValueError(f"{len(routes)} routes; at most {DIAMETER_ROUTES_COUNT_MAX}")
        self._host = origin_host.lower()
        self._realms_here = frozenset(_names(realms))
        self._peers = frozenset(_names(peers))
        self._realms: dict[tuple[str, int | None], Way] = {}
        by_application: dict[int | None, list[Route]] = {}
        for route in routes:
            if route.imsis is not None:
                if route.realm:
                    raise ValueError(f"a route of realm {route.realm} and of IMSIs {route.imsis[0]}: it is of one")
                by_application.setdefault(route.application, []).append(route)
                continue
            key = (route.realm.lower(), route.application)
            if key in self._realms:
                raise ValueError(f"realm {route.realm or '(default)'} is routed twice")
            self._realms[key] = Way(_names(route.peers))
        self._ranges = {application: _Ranges(found) for application, found in by_application.items()}

    def find(self, destination: Destination, records: Iterable[str] = ()) -> Way | Refusal:
        """records: the request's Route-Records in lower case."""
        if self._host in records:
            return Refusal(ResultCode.LOOP_DETECTED)
        host, realm, application, imsi = destination
        if host:
            if host == self._host:
                return HERE
            if host in self._peers:
                return Way((host,))
        if imsi:
            for key in (application, None):
                ranges = self._ranges.get(key)
                way = ranges.find(imsi) if ranges is not None else None
                if way is not None:
                    return way
        for name in (realm, ""):
            for key in (application, None):
                way = self._realms.get((name, key))
                if way is not None:
                    return way
            if name in self._realms_here or not realm:
                # A host of our realm that is neither we nor a peer cannot be reached from here.
                return Refusal(ResultCode.UNABLE_TO_DELIVER) if host else HERE
        return Refusal(ResultCode.REALM_NOT_SERVED)


def route_records(message: Message) -> list[str]:
    return [value.decode("ascii", "replace").lower() for value in message.get_all(codes.ROUTE_RECORD)]


def choose(way: Way, peers: Mapping[str, Peer], application: int, but: Iterable[str] = ()) -> Peer | None:
    """The peer to send to: the first that its watchdog trusts, else the first that is open; None: none is.

    peers: by Origin-Host in lower case. but: where it has been, or came from.
    """
    avoided = frozenset(but)
    second: Peer | None = None
    for name in way.peers:
        peer = peers.get(name)
        if peer is None or name in avoided or not peer.is_open or peer.capabilities is None:
            continue
        if not peer.capabilities.relay and application not in peer.capabilities.applications:
            continue
        if peer.is_usable:
            return peer
        second = second or peer
    return second


def relayed_request(message: Message, from_host: str) -> bytes:
    """The request with the Route-Record of the peer that it came from (RFC 6733 §6.1.9); Peer.send_request() gives it
    its Hop-by-Hop Identifier. Raises ValueError when it grows beyond 24 bits of length."""
    octets = message.raw[diameter.HEADER_OCTETS :]
    record = diameter.avp(codes.ROUTE_RECORD, from_host.encode())
    return diameter.message(
        message.flags, message.command, message.application, message.hop_by_hop, message.end_to_end, [octets, record]
    )


def relayed_answer(request: Message, answer: Message) -> bytes:
    """The answer with the Hop-by-Hop Identifier that the request came with (RFC 6733 §6.2.2)."""
    return diameter.readdressed(answer.raw, request.hop_by_hop)
