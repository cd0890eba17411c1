"""Which packets become requests: decode faults, source, age, rate, authenticators, duplicates. Sans-I/O.

Knows clients and digests; knows no subscriber, socket or clock. Compiled: every packet passes through it.
Verification comes before the duplicate cache, so that a forged packet neither evicts nor reads anything there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aaa.limits import CLIENT_CACHE_COUNT_MAX
from aaa.radius.clients import (
    COUNT_ACCESS_REQUESTS,
    COUNT_ACCOUNTING_REQUESTS,
    COUNT_BAD_AUTHENTICATOR,
    COUNT_DROPPED,
    COUNT_DUPLICATES,
    COUNT_MISSING_MESSAGE_AUTHENTICATOR,
    COUNT_PROXY_STATE_REFUSED,
    COUNT_RATE_LIMITED,
    COUNT_STATUS_REQUESTS,
    MA_REQUIRE,
    Client,
    Clients,
    Shared,
)
from aaa.radius.reasons import DropReason
from native.datagram import Datagram
from native.duplicates import DuplicateCache
from native.radius import Packet, Secret

ACCESS_REQUEST = 1
ACCOUNTING_REQUEST = 4
USER_PASSWORD = 2
STATUS_SERVER = 12
EAP_MESSAGE = 79
NAS_IDENTIFIER = 32
PROXY_STATE = 33

NEW = 0  # of native.duplicates
NONE = int(DropReason.NONE)
UNEXPECTED_CODE = int(DropReason.UNEXPECTED_CODE)
UNKNOWN_SOURCE = int(DropReason.UNKNOWN_SOURCE)
TOO_LATE = int(DropReason.TOO_LATE)
RATE_LIMITED = int(DropReason.RATE_LIMITED)
BAD_AUTHENTICATOR = int(DropReason.BAD_AUTHENTICATOR)
MISSING_MESSAGE_AUTHENTICATOR = int(DropReason.MISSING_MESSAGE_AUTHENTICATOR)
PROXY_STATE_UNSIGNED = int(DropReason.PROXY_STATE_UNSIGNED)
DUPLICATE_IN_WORK = int(DropReason.DUPLICATE_IN_WORK)


class Source:
    """One address as a client uses it: resolved once, then found by one lookup per packet."""

    address: bytes
    client: Client
    counters: list[int]
    nas: Any
    """The neutral NAS record that mapping hands to the engine; None until a packet was verified."""
    secret: Secret
    """The secret this source was last seen to use; the only one outside a rotation."""
    rotating: bool
    limited: bool
    with_count: int
    """Access-Requests with Message-Authenticator not yet handed to Clients.learn; likewise the next."""
    without_count: int
    proxy_state: bool

    def __init__(self, address: bytes, client: Client, nas: Any = None) -> None:
        self.address = address
        self.client = client
        self.counters = client.counters
        self.nas = nas
        self.secret = client.secrets[0]
        self.rotating = len(client.secrets) > 1
        self.limited = client.rate_limit > 0
        self.with_count = 0
        self.without_count = 0
        self.proxy_state = False


class Request:
    """A verified packet with its client: valid until the socket's next receive, unless detached."""

    packet: Packet
    source: Source
    secret: Secret
    """The one that the NAS used for it: the answer is signed with it, whatever the source uses by then."""
    signed: bool
    """It carried a valid Message-Authenticator."""

    def __init__(self, packet: Packet, source: Source, secret: Secret, signed: bool) -> None:
        self.packet = packet
        self.source = source
        self.secret = secret
        self.signed = signed

    def detach(self) -> Request:
        """The same request owning its octets: for a row that leaves its batch."""
        return Request(self.packet.copy(), self.source, self.secret, self.signed)


class Admission:
    """Admits the packets of one port."""

    clients: Clients
    duplicates: DuplicateCache
    code: int
    drops: list[int]
    """Counts by DropReason."""
    resends: list[Datagram]
    """Answers to retransmissions, for the caller to send and clear."""
    sources: dict[bytes, Source | Shared]

    def __init__(
        self,
        clients: Clients,
        duplicates: DuplicateCache,
        code: int,
        response_budget_s: float,
        nas_of: Callable[[Client, bytes], Any],
    ) -> None:
        """code: the request this port serves besides Status-Server. nas_of: the NAS record of a client's address; None
        where there are too many.
        """
        self.clients = clients
        self.duplicates = duplicates
        self.code = code
        self.budget_ns = int(response_budget_s * 1e9)
        self.nas_of = nas_of
        self.drops = [0] * len(DropReason)
        self.resends = []
        self.sources = {}
        self.identified: dict[tuple[bytes, bytes | None], Source] = {}

    def admit(self, packets: list[Packet], count: int, now: float, at: float) -> list[Request | None]:
        """Requests of packets[0:count], decoded; None where a packet is dropped or answered from the cache.

        now: monotonic seconds; at: epoch seconds.
        """
        requests: list[Request | None] = []
        oldest_ns = int(at * 1e9) - self.budget_ns
        for index in range(count):
            packet = packets[index]
            requests.append(self.admit_one(packet, now, at, oldest_ns))
        return requests

    def admit_one(self, packet: Packet, now: float, at: float, oldest_ns: int) -> Request | None:
        if packet.fault != 0:
            self.drops[packet.fault] += 1
            return None
        code = packet.code
        if code != self.code and code != STATUS_SERVER:
            self.drops[UNEXPECTED_CODE] += 1
            return None
        source = self.sources.get(packet.address)
        if not isinstance(source, Source):
            source = self.resolve(packet, at)
            if source is None:
                self.drops[UNKNOWN_SOURCE] += 1
                return None
        counters = source.counters
        if packet.received_ns and packet.received_ns < oldest_ns:
            return self.refuse(counters, TOO_LATE, COUNT_DROPPED)
        if source.limited and not source.client.allow(1, now):
            return self.refuse(counters, RATE_LIMITED, COUNT_RATE_LIMITED)

        if source.rotating:
            # A request without any digest of ours is read with the secret that its source last proved to use.
            source.secret = source.client.current_secrets.get(source.address, source.secret)
        signed = False
        if code == ACCOUNTING_REQUEST:
            counters[COUNT_ACCOUNTING_REQUESTS] += 1
            if not source.secret.verify_accounting(packet) and not self.other_secret(source, packet):
                return self.refuse(counters, BAD_AUTHENTICATOR, COUNT_BAD_AUTHENTICATOR)
        else:
            state = source.secret.verify_message_authenticator(packet)
            if state == 2 and self.other_secret(source, packet):
                state = 1
            if state == 2:
                return self.refuse(counters, BAD_AUTHENTICATOR, COUNT_BAD_AUTHENTICATOR)
            signed = state == 1
            if code == STATUS_SERVER:
                counters[COUNT_STATUS_REQUESTS] += 1
                if not signed:
                    return self.refuse(counters, MISSING_MESSAGE_AUTHENTICATOR, COUNT_MISSING_MESSAGE_AUTHENTICATOR)
            else:
                counters[COUNT_ACCESS_REQUESTS] += 1
                if signed:
                    source.with_count += 1
                else:
                    source.without_count += 1
                    if source.rotating:
                        self.guess_secret(source, packet)
                    reason = self.refuse_unsigned(source, packet)
                    if reason != NONE:
                        return self.refuse(
                            counters,
                            reason,
                            COUNT_PROXY_STATE_REFUSED
                            if reason == PROXY_STATE_UNSIGNED
                            else COUNT_MISSING_MESSAGE_AUTHENTICATOR,
                        )

        if source.nas is None:
            # Not before: forged sources of a wide prefix would leave a record each.
            source.nas = self.nas_of(source.client, source.address)
            if source.nas is None:
                return self.refuse(counters, UNKNOWN_SOURCE, COUNT_DROPPED)
        kept = self.duplicates.check(packet, now)
        if isinstance(kept, bytes):
            counters[COUNT_DUPLICATES] += 1
            self.resends.append(packet.reply(kept))
            return None
        if kept != NEW:
            counters[COUNT_DUPLICATES] += 1
            self.drops[DUPLICATE_IN_WORK] += 1
            return None
        return Request(packet, source, source.secret, signed)

    def refuse(self, counters: list[int], reason: int, counter: int) -> Request | None:
        """Count a silence for the server and for its client; None, the request it makes."""
        self.drops[reason] += 1
        counters[counter] += 1
        if counter != COUNT_DROPPED:
            counters[COUNT_DROPPED] += 1
        return None

    def refuse_unsigned(self, source: Source, packet: Packet) -> int:
        """Why an Access-Request without Message-Authenticator is dropped; NONE where it may pass.

        EAP-Message needs one whatever is configured (RFC 3579 §3.2).
        Security: a request with Proxy-State but without it is what CVE-2024-3596 needs.
        """
        has_proxy_state = packet.has(PROXY_STATE)
        if has_proxy_state:
            source.proxy_state = True
        client = source.client
        if packet.has(EAP_MESSAGE) or client.message_authenticator == MA_REQUIRE:
            return MISSING_MESSAGE_AUTHENTICATOR
        if has_proxy_state and not client.allow_proxy_state:
            return PROXY_STATE_UNSIGNED
        return NONE

    def other_secret(self, source: Source, packet: Packet) -> bool:
        """During a rotation: whether another live secret verifies the packet; it is then tried first."""
        if not source.rotating:
            return False
        for secret in source.client.secrets:
            if secret is source.secret:
                continue
            if packet.code == ACCOUNTING_REQUEST:
                verified = secret.verify_accounting(packet)
            else:
                verified = secret.verify_message_authenticator(packet) == 1
            if verified:
                return self.take_secret(source, secret)
        return False

    def guess_secret(self, source: Source, packet: Packet) -> bool:
        """During a rotation: whether the password of an unsigned request reads as text under another secret only.

        A wrong secret makes 16 random octets of it, which are printable text about once in ten million times.
        """
        if not packet.has(USER_PASSWORD) or is_text(source.secret.reveal_password(packet)):
            return False
        for secret in source.client.secrets:
            if secret is not source.secret and is_text(secret.reveal_password(packet)):
                return self.take_secret(source, secret)
        return False

    def take_secret(self, source: Source, secret: Secret) -> bool:
        """The source uses this secret now, on whatever port."""
        source.secret = secret
        current = source.client.current_secrets
        if len(current) >= CLIENT_CACHE_COUNT_MAX:
            current.clear()
        current[source.address] = secret
        return True

    def resolve(self, packet: Packet, at: float) -> Source | None:
        """The source of a packet whose address is new, or shared by several clients."""
        address = packet.address
        found = self.clients.find(address)
        if isinstance(found, Shared):
            identifier = packet.get(NAS_IDENTIFIER)
            source = self.identified.get((address, identifier))
            if source is not None:
                return source
            client = self.clients.find_by_identifier(found, identifier)
            if client is not None:
                if len(self.identified) >= CLIENT_CACHE_COUNT_MAX:
                    self.identified.clear()
                source = self.identified[address, identifier] = Source(address, client)
                return source
        elif found is not None:
            if len(self.sources) >= CLIENT_CACHE_COUNT_MAX:
                self.learn(at)
                self.sources.clear()
            source = self.sources[address] = Source(address, found)
            return source
        self.clients.note_unknown(address, packet.code, packet.get(NAS_IDENTIFIER), at)
        return None

    def learn(self, at: float) -> None:
        """Hand what was seen of Message-Authenticators to the registry; called about once a second."""
        for source in [*self.sources.values(), *self.identified.values()]:
            if not isinstance(source, Source) or not (source.with_count or source.without_count):
                continue
            client = source.client
            if source.with_count:
                self.clients.learn(source.address, client, True, False, at, source.with_count)
            if source.without_count:
                self.clients.learn(source.address, client, False, source.proxy_state, at, source.without_count)
            source.with_count = source.without_count = 0
            source.proxy_state = False

    def reconfigure(self, at: float) -> None:
        """The registry has changed: resolve every source anew."""
        self.learn(at)
        self.sources.clear()
        self.identified.clear()


def is_text(password: bytes | None) -> bool:
    """Whether a revealed password is something that somebody could have typed."""
    try:
        return password is not None and password.decode().isprintable()
    except UnicodeDecodeError:
        return False
