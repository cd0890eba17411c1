"""Who may speak RADIUS here: clients by source and NAS-Identifier, and what was learned about each source.

Knows configuration and digests; knows no socket, no clock, no subscriber.
`now` is monotonic seconds, `at` epoch seconds.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from aaa.config import Nas
from aaa.config.values import parse_network
from aaa.limits import CLIENT_CACHE_COUNT_MAX, POSTURE_SOURCES_COUNT_MAX, UNKNOWN_SOURCES_COUNT
from native.radius import Secret

MA_AUTO: Final = 0
MA_REQUIRE: Final = 1
MA_OFF: Final = 2
_MESSAGE_AUTHENTICATOR: Final = {"auto": MA_AUTO, "require": MA_REQUIRE, "off": MA_OFF}

COUNTERS: Final = (
    "access_requests",
    "accounting_requests",
    "status_requests",
    "accepts",
    "rejects",
    "challenges",
    "accounting_responses",
    "status_responses",
    "duplicates",
    "rate_limited",
    "bad_authenticator",
    "missing_message_authenticator",
    "proxy_state_refused",
    "dropped",
)
"""Names of Client.counters by position, and of the COUNT_ constants. "dropped" is every silence together."""
(
    COUNT_ACCESS_REQUESTS,
    COUNT_ACCOUNTING_REQUESTS,
    COUNT_STATUS_REQUESTS,
    COUNT_ACCEPTS,
    COUNT_REJECTS,
    COUNT_CHALLENGES,
    COUNT_ACCOUNTING_RESPONSES,
    COUNT_STATUS_RESPONSES,
    COUNT_DUPLICATES,
    COUNT_RATE_LIMITED,
    COUNT_BAD_AUTHENTICATOR,
    COUNT_MISSING_MESSAGE_AUTHENTICATOR,
    COUNT_PROXY_STATE_REFUSED,
    COUNT_DROPPED,
) = range(len(COUNTERS))


class Client:
    """The runtime of one [[nas]]: its secrets, its settings as attributes, its counters and its rate bucket."""

    __slots__ = (
        "adopt",
        "allow_circuit",
        "allow_mac",
        "allow_password",
        "allow_proxy_state",
        "burst",
        "coa_address",
        "coa_concurrency",
        "coa_port",
        "coa_rate",
        "config",
        "counters",
        "current_secrets",
        "event_timestamp",
        "family",
        "identifier",
        "interim_minimum_s",
        "message_authenticator",
        "name",
        "operator",
        "options",
        "rate_limit",
        "refilled_at",
        "secrets",
        "simultaneous_use",
        "swap_octets",
        "tokens",
    )

    def __init__(self, nas: Nas, former: "Client | None" = None) -> None:
        """former: the client of the same name before a reload, whose counters and bucket go on."""
        if nas.secret is None:
            raise ValueError(f"nas.{nas.name} has no secret")
        self.config: Final = nas
        self.name: Final = nas.name
        self.identifier: Final = None if nas.identifier is None else nas.identifier.encode()
        self.family: Final = nas.family
        self.operator: Final = nas.operator
        self.secrets: Final = tuple(
            Secret(secret.reveal()) for secret in (nas.secret, nas.second_secret) if secret is not None
        )
        self.current_secrets: Final[dict[bytes, Secret]] = {}
        """During a rotation: the secret that each source address was last seen to use."""
        self.coa_address: Final = nas.coa_address
        self.coa_port: Final = nas.coa_port
        self.coa_rate: Final = nas.coa_rate
        self.coa_concurrency: Final = nas.coa_concurrency
        self.message_authenticator: Final = _MESSAGE_AUTHENTICATOR[nas.message_authenticator]
        self.allow_proxy_state: Final = nas.allow_proxy_state
        self.allow_password: Final = "password" in nas.identity
        self.allow_mac: Final = "mac" in nas.identity
        self.allow_circuit: Final = "circuit" in nas.identity
        self.adopt: Final = nas.adopt
        self.swap_octets: Final = nas.swap_octets
        self.simultaneous_use: Final = nas.simultaneous_use
        self.interim_minimum_s: Final = int(nas.interim_minimum)
        self.event_timestamp: Final = nas.event_timestamp == "trust"
        self.options: Final = nas.options
        self.rate_limit: Final = nas.rate_limit
        self.burst: Final = max(float(nas.rate_burst or nas.rate_limit), 1.0)
        # One list for both: packets still in work under the former client count into the same numbers.
        self.counters: Final[list[int]] = former.counters if former is not None else [0] * len(COUNTERS)
        self.tokens: float = min(former.tokens, self.burst) if former is not None and former.rate_limit else self.burst
        self.refilled_at: float | None = former.refilled_at if former is not None else None

    def allow(self, count: int, now: float) -> int:
        """How many of `count` requests the rate limit admits now; all of them without a limit."""
        if not self.rate_limit:
            return count
        tokens = self.tokens
        if self.refilled_at is None:
            self.refilled_at = now
        elif now > self.refilled_at:
            tokens = min(tokens + (now - self.refilled_at) * self.rate_limit, self.burst)
            self.refilled_at = now
        admitted = min(count, int(tokens))
        self.tokens = tokens - admitted
        return admitted

    def __repr__(self) -> str:
        return f"Client({self.name!r})"


class Shared:
    """Several clients behind one prefix, told apart by NAS-Identifier."""

    __slots__ = ("by_identifier", "default")

    def __init__(self) -> None:
        self.by_identifier: Final[dict[bytes, Client]] = {}
        self.default: Client | None = None
        """The client of this prefix that names no identifier: it gets what no other claims."""


class UnknownSource:
    """An address that sent packets and is no client's."""

    __slots__ = ("address", "code", "count", "first_at", "last_at", "nas_identifier")

    def __init__(self, address: bytes, at: float) -> None:
        self.address: Final = address
        self.count = 0
        self.first_at: Final = at
        self.last_at = at
        self.code = 0
        """Of the last packet; 0: it could not be read."""
        self.nas_identifier: bytes | None = None
        """Of the last packet."""


class PostureRow(NamedTuple):
    """What was learned of one source address, as the store keeps it."""

    address: bytes
    client: str
    with_count: int
    without_count: int
    last_with_at: float
    last_without_at: float
    proxy_state: bool


class Posture:
    """Message-Authenticator as one source address uses it in Access-Requests."""

    __slots__ = ("address", "client", "last_with_at", "last_without_at", "proxy_state", "with_count", "without_count")

    def __init__(self, address: bytes, client: str) -> None:
        self.address: Final = address
        self.client = client
        self.with_count = 0
        self.without_count = 0
        self.last_with_at = 0.0
        self.last_without_at = 0.0
        self.proxy_state = False
        """A request without Message-Authenticator carried Proxy-State: a proxy stands between."""

    def row(self) -> PostureRow:
        return PostureRow(*(getattr(self, name) for name in PostureRow._fields))


Found = Client | Shared | None


class Clients:
    """The registry: all clients, who they are by source, and what was seen of known and unknown sources."""

    def __init__(self, nas: Sequence[Nas] = (), unknown_count: int = UNKNOWN_SOURCES_COUNT) -> None:
        """unknown_count: addresses kept in `unknown`. Raises ValueError as reconfigure() does."""
        self.by_name: dict[str, Client] = {}
        self.unknown: Final[OrderedDict[bytes, UnknownSource]] = OrderedDict()
        """By address, the least recently seen first."""
        self.unknown_count = unknown_count
        self._exact: dict[bytes, Client | Shared] = {}
        self._cache: dict[bytes, Client | Shared] = {}
        self._prefixes: dict[int, list[tuple[int, dict[int, Client | Shared]]]] = {}
        self._postures: Final[OrderedDict[bytes, Posture]] = OrderedDict()
        self.reconfigure(nas)

    def __iter__(self) -> Iterator[Client]:
        return iter(self.by_name.values())

    def __len__(self) -> int:
        return len(self.by_name)

    def reconfigure(self, nas: Sequence[Nas]) -> None:
        """Replace the table at once. Clients of a name that stays keep counters, bucket and learned posture.

        Packets in work hold the client they came with. Raises ValueError, and changes nothing, where a [[nas]] has no
        secret or two claim the same source.
        """
        by_name: dict[str, Client] = {}
        tables: dict[int, dict[int, dict[int, Client | Shared]]] = {4: {}, 16: {}}
        for entry in nas:
            client = Client(entry, self.by_name.get(entry.name))
            if by_name.setdefault(client.name, client) is not client:
                raise ValueError(f"two NASes are called {client.name}")
            for text in entry.address:
                network = parse_network(text)
                size = network.max_prefixlen
                shift = size - network.prefixlen
                table = tables[size // 8].setdefault(shift, {})
                _claim(table, int(network.network_address) >> shift, client, text)
        exact = {
            number.to_bytes(size, "big"): found for size in tables for number, found in tables[size].pop(0, {}).items()
        }
        self._prefixes = {size: sorted(tables[size].items()) for size in tables}
        self._exact = exact
        self._cache = dict(exact)
        self.by_name = by_name
        for address in [address for address in self.unknown if self.find(address) is not None]:
            del self.unknown[address]
        for address in [posture.address for posture in self._postures.values() if posture.client not in by_name]:
            del self._postures[address]

    def find(self, address: bytes) -> Found:
        """Whose packet comes from this address (4 or 16 octets): longest match; None: an unknown source.

        Cost: one dictionary lookup for a source seen before.
        """
        found = self._cache.get(address)
        return found if found is not None else self._find_prefix(address)

    def find_by_identifier(self, shared: Shared, nas_identifier: bytes | None) -> Client | None:
        """The client that a NAS-Identifier names behind a shared prefix; None: nobody claims it, an unknown source."""
        if nas_identifier is None:
            return shared.default
        return shared.by_identifier.get(nas_identifier, shared.default)

    def _find_prefix(self, address: bytes) -> Found:
        number = int.from_bytes(address, "big")
        for shift, table in self._prefixes.get(len(address), ()):
            found = table.get(number >> shift)
            if found is not None:
                # Unknown sources are not kept here: a spoofed flood would only push clients out.
                if len(self._cache) >= len(self._exact) + CLIENT_CACHE_COUNT_MAX:
                    self._cache = dict(self._exact)
                self._cache[address] = found
                return found
        return None

    def note_unknown(self, address: bytes, code: int, nas_identifier: bytes | None, at: float) -> UnknownSource:
        """Count a packet of an unknown source; the one not seen for longest makes room for a new one."""
        source = self.unknown.get(address)
        if source is None:
            while len(self.unknown) >= self.unknown_count:
                self.unknown.popitem(last=False)
            source = self.unknown[address] = UnknownSource(address, at)
        else:
            self.unknown.move_to_end(address)
        source.count += 1
        source.last_at = at
        source.code = code
        source.nas_identifier = nas_identifier
        return source

    def learn(
        self, address: bytes, client: Client, signed: bool, has_proxy_state: bool, at: float, count: int = 1
    ) -> None:
        """Record whether `count` Access-Requests carried a valid Message-Authenticator."""
        posture = self._postures.get(address)
        if posture is None:
            posture = self._new_posture(address, client.name)
        else:
            self._postures.move_to_end(address)
            posture.client = client.name
        if signed:
            posture.with_count += count
            posture.last_with_at = at
        else:
            posture.without_count += count
            posture.last_without_at = at
            if has_proxy_state:
                posture.proxy_state = True

    def _new_posture(self, address: bytes, client: str) -> Posture:
        while len(self._postures) >= POSTURE_SOURCES_COUNT_MAX:
            self._postures.popitem(last=False)
        posture = self._postures[address] = Posture(address, client)
        return posture

    def posture(self, address: bytes) -> PostureRow | None:
        """What was learned of one source."""
        posture = self._postures.get(address)
        return None if posture is None else posture.row()

    def report(self, since_at: float) -> list[PostureRow]:
        """Sources that would break under `require`: those that sent a request without it after since_at.

        In the order of client and address. A source whose last such request is older counts as repaired.
        """
        rows = [p.row() for p in self._postures.values() if p.without_count and p.last_without_at > since_at]
        return sorted(rows, key=lambda row: (row.client, len(row.address), row.address))

    def dump(self) -> list[PostureRow]:
        """All that was learned, the least recently seen source first."""
        return [posture.row() for posture in self._postures.values()]

    def load(self, rows: Iterable[Sequence[object]]) -> None:
        """Take back what dump() gave; rows of clients that are gone are left out."""
        for fields in rows:
            row = PostureRow(*fields)  # type: ignore[arg-type]
            if row.client in self.by_name:
                posture = self._new_posture(bytes(row.address), row.client)
                posture.with_count = int(row.with_count)
                posture.without_count = int(row.without_count)
                posture.last_with_at = float(row.last_with_at)
                posture.last_without_at = float(row.last_without_at)
                posture.proxy_state = bool(row.proxy_state)


def _claim(table: dict[int, Client | Shared], number: int, client: Client, text: str) -> None:
    """Enter a client for one prefix; several share it when all but one name an identifier."""
    found = table.get(number)
    if found is client:
        return
    if found is None and client.identifier is None:
        table[number] = client
        return
    if not isinstance(found, Shared):
        shared = table[number] = Shared()
        shared.default = found
    else:
        shared = found
    if client.identifier is None:
        taken, shared.default = shared.default, client
    else:
        taken = shared.by_identifier.setdefault(client.identifier, client)
    if taken is not None and taken is not client:
        raise ValueError(f"{taken.name} and {client.name} both claim {text}")


def format_address(address: bytes) -> str:
    """4 or 16 octets as text."""
    return str(ip_address(address))
