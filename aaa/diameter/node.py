"""One Diameter identity of ours: its peers, and accepted connections until their CER says whose they are.

Knows no socket and no clock; the theory of operation is in peer.py.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Final

from msgspec.structs import replace

from aaa.diameter import codes
from aaa.diameter.capabilities import Capabilities, Refusal, agree, capability_avps, explained, identity, stranger
from aaa.diameter.codes import DisconnectCause, InbandSecurity, ResultCode, is_protocol_error
from aaa.diameter.events import Event, Refused
from aaa.diameter.peer import Connection, Peer
from aaa.diameter.settings import Certificate, Local, Remote
from aaa.limits import (
    DIAMETER_CER_TIMEOUT_S,
    DIAMETER_LEARNED_PEERS_MAX,
    DIAMETER_UNKNOWN_CONNECTIONS_MAX,
    DIAMETER_UNKNOWN_PER_ADDRESS_MAX,
)
from native import diameter
from native.diameter import FLAG_ERROR, FLAG_REQUEST, Message

HOST: Final = re.compile(r"[a-z0-9_.-]{1,255}")
"""Of a peer that a template lets in: its name goes into logs, tables and records."""


class Node:
    """One Diameter identity and its peers."""

    def __init__(
        self,
        local: Local,
        remotes: Iterable[Remote],
        jitter: Callable[[], float],
        at: float,
        numbers: Callable[[], int],
        templates: Iterable[Remote] = (),
    ) -> None:
        """jitter: gives 0..1, evenly. at: epoch seconds of the start. numbers: gives random numbers of 32 bits.
        templates: peers that are known by their realm alone, whatever their Origin-Host.

        Raises ValueError for two peers of one Origin-Host.
        """
        self.local = local
        # RFC 6733 §3: the high 12 bits from the time, the low 20 bits random.
        self._end_to_end = (int(at) & 0xFFF) << 20 | numbers() & 0xFFFFF
        self.peers: dict[str, Peer] = {}
        """By Origin-Host in lower case."""
        self._jitter = jitter
        self._numbers = numbers
        self.templates = tuple(templates)
        self.learned: set[str] = set()
        """Of the peers, those that a template let in."""
        self.tap: Callable[[Connection, bytes, bool], None] | None = None
        """Is shown every message: where, its octets, and whether it was received; None: nobody looks on."""
        for remote in remotes:
            self.add(remote)
        self.touched: dict[Connection, None] = {}
        self.unknown: dict[Connection, None] = {}
        """Accepted connections that have not said who they are."""
        self.refusals: Counter[int] = Counter()
        self.floods = 0
        """Connections that were not accepted, or closed for others, because too many were waiting."""

    def add(self, remote: Remote) -> Peer:
        """One more peer. Raises ValueError when there is one of this Origin-Host."""
        key = remote.origin_host.lower()
        if key in self.peers:
            raise ValueError(f"{remote.origin_host} is configured twice")
        peer = self.peers[key] = Peer(self, remote, self._jitter, self._numbers() & 0xFFFFFFFF)
        return peer

    def remove(
        self,
        origin_host: str,
        now: float,
        cause: DisconnectCause = DisconnectCause.DO_NOT_WANT_TO_TALK_TO_YOU,
    ) -> list[Event]:
        """Tell a peer that it is configured no more; serve its Peer until it is Closed. KeyError if unknown."""
        self.learned.discard(origin_host.lower())
        return self.peers.pop(origin_host.lower()).stop(cause, now)

    def forget_learned(self, peer: Peer) -> None:
        """A peer that is closed is known no more if a template had let it in."""
        key = peer.remote.origin_host.lower()
        if key in self.learned and self.peers.get(key) is peer:
            self.learned.remove(key)
            del self.peers[key]

    def stop(self, now: float) -> list[Event]:
        """The server goes down and comes back (RFC 6733 §5.4.3, REBOOTING); no peer is dialled again."""
        for connection in list(self.unknown):
            connection.close()
        return [event for peer in self.peers.values() for event in peer.stop(DisconnectCause.REBOOTING, now)]

    def ready(self) -> list[Connection]:
        """Connections that have something to send, or are to be ended; each once."""
        found = list(self.touched)
        self.touched.clear()
        return found

    def next_end_to_end(self) -> int:
        """Never the same within four minutes (RFC 6733 §3)."""
        self._end_to_end = (self._end_to_end + 1) & 0xFFFFFFFF
        return self._end_to_end

    def accept(
        self,
        remote_address: str,
        addresses: tuple[str, ...],
        now: float,
        secure: bool = False,
        certificate: Certificate | None = None,
    ) -> Connection | None:
        """A transport connection came in; None: close it, too many from its address wait for their CER.

        addresses: the local ones. secure: TLS is done. certificate: it can speak for no Origin-Host but those of
        its own. None: there was none to ask for.
        """
        from_there = sum(other.remote_address == remote_address for other in self.unknown)
        if from_there >= DIAMETER_UNKNOWN_PER_ADDRESS_MAX:
            self.floods += 1
            return None
        if len(self.unknown) >= DIAMETER_UNKNOWN_CONNECTIONS_MAX:
            # Security: whoever has been silent longest makes room; many who say nothing keep nobody out.
            self.floods += 1
            next(iter(self.unknown)).close()
        connection = Connection(self, None, remote_address, addresses, secure, certificate)
        connection.deadline = now + DIAMETER_CER_TIMEOUT_S
        self.unknown[connection] = None
        return connection

    def forget(self, connection: Connection) -> None:
        self.unknown.pop(connection, None)

    def identify(self, connection: Connection, message: Message, now: float, events: list[Event]) -> None:
        """The first message of an accepted connection; anything but a CER ends it without an answer."""
        if (
            message.command != codes.CAPABILITIES_EXCHANGE
            or message.application != codes.BASE
            or not message.flags & FLAG_REQUEST
        ):
            connection.close()
            return
        refusal: Refusal | None = None
        fault = self.check(message)
        origin_host = identity(message, codes.ORIGIN_HOST)
        peer = self.peers.get(origin_host)
        remote = peer.remote if peer is not None else self._template_for(origin_host, message)
        found: Capabilities | Refusal | None = None
        if message.fault == diameter.FAULT_HEADER_BITS:
            refusal = Refusal(ResultCode.INVALID_HDR_BITS)
        elif fault is not None:
            refusal = Refusal(fault[0], "", fault[1])
        elif remote is None:
            realm = identity(message, codes.ORIGIN_REALM)
            refusal = stranger(f"no [[peer]] has its name, and none with '*' its realm {realm[:64]!r}")
        elif not _is_from(connection.remote_address, remote):
            refusal = stranger("its address is none of its [[peer]]'s")
        elif connection.certificate is not None and not connection.certificate.speaks_for(remote):
            refusal = stranger("its certificate does not bear its name, or is of another authority")
        else:
            found = agree(self.local, remote, message, connection.secure, InbandSecurity.NO_INBAND_SECURITY)
            if isinstance(found, Refusal):
                refusal = found
        connection.cer = message
        if refusal is not None:
            self.refusals[refusal.result] += 1
            connection.write(self.cea(connection, None, refusal))
            connection.close()
            events.append(Refused(connection, origin_host, refusal))
            return
        assert remote is not None
        assert isinstance(found, Capabilities)
        self.forget(connection)
        if peer is None:
            peer = self.add(remote)
            self.learned.add(origin_host)
        peer.accept(connection, found, now, events)

    def _template_for(self, origin_host: str, cer: Message) -> Remote | None:
        """Whoever a template lets in, as a peer of its own."""
        if origin_host == self.local.origin_host.lower() or HOST.fullmatch(origin_host) is None:
            return None
        if len(self.learned) >= DIAMETER_LEARNED_PEERS_MAX:
            return None
        return self.template_of(Remote(origin_host, identity(cer, codes.ORIGIN_REALM)))

    def template_of(self, remote: Remote) -> Remote | None:
        """What a learned peer is by the template of its realm; None where there is none."""
        for template in self.templates:
            if template.origin_realm.lower() == remote.origin_realm.lower():
                return replace(template, origin_host=remote.origin_host, connect=False)
        return None

    def cea(self, connection: Connection, remote: Remote | None, refusal: Refusal | None, tls: bool = False) -> bytes:
        """The answer to the CER of an accepted connection. remote: None for a stranger. refusal: None for yes."""
        cer, connection.cer = connection.cer, None
        assert cer is not None
        result = ResultCode.SUCCESS if refusal is None else refusal.result
        avps = [diameter.unsigned32_avp(codes.RESULT_CODE, result)]
        avps += capability_avps(self.local, remote, connection.addresses, InbandSecurity(int(tls)))
        if refusal is not None:
            avps += explained(refusal)
        return diameter.answer(cer, avps, is_protocol_error(result))

    def knows(self, request: Message) -> bool:
        """Whether there is such a command."""
        return (request.application, request.command, True) in self.local.grammars

    def check(self, message: Message) -> tuple[int, bytes] | None:
        """What the grammar of a message has against it: a Result-Code and the content of Failed-AVP."""
        if message.flags & FLAG_ERROR:
            return None
        request = bool(message.flags & FLAG_REQUEST)
        grammar = self.local.grammars.get((message.application, message.command, request))
        if grammar is None:
            return None
        return grammar.check(message)


def _is_from(address: str, remote: Remote) -> bool:
    if not remote.addresses:
        return True
    ip = ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return any(ip in network for network in remote.addresses)
