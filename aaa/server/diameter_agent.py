"""What happens to a request before an application sees it: firewall, routing, relay, duplicates, overload; and what is
known of each peer. Knows machines and counters; what a request means is the applications'.

A request passes its peer's Gate first; then its destination decides whether it is ours, a peer's, or nobody's; then
overload may refuse it; and one that came before is answered as it was then, but for CCRs of sessions, whose session
keeps their answer. Every request that is not served here is answered or relayed by this module.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Final

from aaa.diameter import codes
from aaa.diameter.answers import refused
from aaa.diameter.capabilities import Refusal, identity
from aaa.diameter.codes import ResultCode
from aaa.diameter.duplicates import Duplicates
from aaa.diameter.events import Answer, Reason, Request, Unanswered
from aaa.diameter.firewall import Gate, Home, Rules, Stopped
from aaa.diameter.node import Node
from aaa.diameter.overload import SUPPORTED_FEATURES, Overload, Throttles, extended
from aaa.diameter.peer import Peer
from aaa.diameter.routing import Way, choose, destination_of, relayed_answer, relayed_request, route_records
from aaa.limits import (
    DIAMETER_OVERLOAD_AHEAD,
    DIAMETER_OVERLOAD_LAG_S,
    DIAMETER_OVERLOAD_SAMPLE_S,
    DIAMETER_RELAYED_BYTES_MAX,
    DIAMETER_RELAYED_COUNT_MAX,
    JOURNAL_ROWS_AHEAD_MAX,
    NASES_COUNT_MAX,
)
from aaa.mapping.mobile import plmn_octets
from aaa.server.diameter_peers import applications_of
from aaa.server.diameter_traffic import Command, Traffic
from native import diameter
from native.diameter import FLAG_ERROR, FLAG_PROXIABLE, Message

if TYPE_CHECKING:
    from aaa.config.schema import Peer as PeerSettings
    from aaa.dictionary.diameter import Dictionary
    from aaa.server.diameter import Diameter

GX: Final = 16777238
CREDIT_CONTROL: Final = 272
EVENT_REQUEST: Final = 4
ERROR_FLAG_AT: Final = 4
"""Where the command flags stand in a message."""
LOOP: Final = Refusal(ResultCode.LOOP_DETECTED)
ELSEWHERE: Final = (ResultCode.UNABLE_TO_DELIVER, ResultCode.TOO_BUSY)
"""Answers of a next hop after which another one may do (RFC 6733 §5.5.4, §6.2)."""


class Handled(Enum):
    """Somebody else answers a request."""

    HANDLED = "handled"


HANDLED: Final = Handled.HANDLED


class Observed:
    """What is known of one peer, and what passes between us."""

    __slots__ = (
        "changed_at", "closed_at", "detail", "gate", "is_down", "is_learned", "label", "node", "opened", "peer",
        "reason", "settings", "traffic",
    )  # fmt: skip

    def __init__(self, node: Node, peer: Peer, settings: PeerSettings, is_learned: bool) -> None:
        self.node = node
        self.peer = peer
        self.settings = settings
        self.is_learned = is_learned
        self.label = f"*.{settings.origin_realm}" if is_learned else peer.remote.origin_host
        """Its name in metrics: those that a template lets in are one."""
        self.gate: Gate | None = None
        """While it is open."""
        self.traffic = Traffic()
        self.opened = 0
        """How often it was opened."""
        self.changed_at = 0.0
        """Epoch seconds: since when it is as it is; 0: since the start."""
        self.closed_at = 0.0
        self.reason = ""
        """Why it went away the last time, or why a dial came to nothing."""
        self.detail = ""
        self.is_down = False
        """`nas.down` was told and `nas.up` was not."""


class DiameterAgent:
    """Looks at every request before the applications do."""

    def __init__(self, owner: Diameter, at: float) -> None:
        """owner: with its nodes, peers and routes. at: epoch seconds."""
        self.diameter = owner
        self.duplicates = Duplicates()
        self.overload = Overload(at)
        self.throttles = Throttles()
        self.relayed: set[Relayed] = set()
        """Requests under way through us."""
        self.relayed_octets = 0
        """Of them."""
        self.observed: dict[Peer, Observed] = {}
        """Every peer that there is now; use all_observed() to have them up to date."""
        self.former: dict[str, Traffic] = {}
        """By label: what peers counted that are there no more."""
        self._hosts = frozenset(node.local.origin_host.lower() for node in owner.nodes)
        self._homes: dict[Node, Home] = {}
        self._barred: dict[str | None, frozenset[str]] = {}
        """By operator."""
        self._always_routed: frozenset[Node] = frozenset()
        self._sampler: asyncio.TimerHandle | None = None
        self._sampled_at = 0.0
        self.reconfigure()

    # Configuration

    def reconfigure(self) -> None:
        """Go by the routes and peers that the Diameter node has now."""
        owner = self.diameter
        self._homes = {node: self._home(node) for node in owner.nodes}
        self._barred.clear()
        ranges = {route.identity.lower() for route in owner.config.route if route.imsi_first}
        self._always_routed = frozenset(
            node for node in owner.nodes if node.local.relay and node.local.origin_host.lower() in ranges
        )
        for seen in list(self.observed.values()):
            if self._is_there(seen.node, seen.peer):
                seen.settings = owner.settings_of(seen.node, seen.peer)
                if seen.gate is not None:
                    seen.gate = self._gate(seen)
            else:
                self._forget(seen)

    def _home(self, node: Node) -> Home:
        """Our names, and realms that are routed to us whatever the application."""
        own = node.local.origin_host.lower()
        realms = {node.local.origin_realm.lower()}
        foreign: set[str] = set()
        for route in self.diameter.config.route:
            if route.identity.lower() != own or not route.realm:
                continue
            (foreign if route.peers or route.application else realms).add(route.realm.lower())
        return Home(self._hosts, realms - foreign)

    def _gate(self, seen: Observed) -> Gate:
        capabilities = seen.peer.capabilities
        return Gate(
            rules_of(seen.settings, self.diameter.dictionary),
            seen.peer.remote.origin_host,
            seen.peer.remote.origin_realm,
            capabilities is not None and capabilities.relay,
            self._barred_for(seen.settings.operator),
            self.diameter.now(),
            self._has_room,
        )

    def _barred_for(self, operator: str | None) -> frozenset[str]:
        """Whom a peer of an operator does not speak for; None: it is everybody's."""
        found = self._barred.get(operator)
        if found is None:
            config = self.diameter.config
            names = {nas.name.lower() for nas in config.nas} | self._hosts
            if operator is not None:
                names |= {peer.origin_host.lower() for peer in config.peer if peer.operator != operator}
            found = self._barred[operator] = frozenset(names)
        return found

    def _has_room(self, host: str) -> bool:
        """Whether a client behind a relay is known, or may become so."""
        nases = self.diameter.store.nases
        return len(nases) < NASES_COUNT_MAX or host in nases

    # Peers

    def _is_there(self, node: Node, peer: Peer) -> bool:
        return node.peers.get(peer.remote.origin_host.lower()) is peer

    def _observe(self, node: Node, peer: Peer) -> Observed:
        seen = self.observed.get(peer)
        if seen is None:
            learned = peer.remote.origin_host.lower() in node.learned
            seen = Observed(node, peer, self.diameter.settings_of(node, peer), learned)
            self.observed[peer] = seen
        return seen

    def all_observed(self) -> Iterator[Observed]:
        """Every peer that is configured or was let in."""
        for node in self.diameter.nodes:
            for peer in list(node.peers.values()):
                yield self._observe(node, peer)

    def _forget(self, seen: Observed) -> None:
        """A peer that is there no more leaves what it counted."""
        if self.observed.pop(seen.peer, None) is not None:
            traffic = self.former.setdefault(seen.label, Traffic())
            traffic.add(seen.traffic)
            traffic.results.update(seen.peer.refusals)
            traffic.drops.update(seen.peer.drops)

    def opened(self, node: Node, peer: Peer) -> None:
        """A peer is open."""
        seen = self._observe(node, peer)
        seen.gate = self._gate(seen)
        seen.opened += 1
        seen.changed_at = time.time()
        self._up(seen, seen.changed_at)

    def closed(self, node: Node, peer: Peer, reason: Reason, detail: str, was_open: bool) -> None:
        """A peer is open no more, or a dial came to nothing. Call it before the node forgets the peer."""
        seen = self.observed.get(peer)
        if seen is None:
            if not self._is_there(node, peer):
                return
            seen = self._observe(node, peer)
        at = time.time()
        seen.reason, seen.detail = reason.value, detail
        if was_open:
            seen.gate = None
            seen.changed_at = seen.closed_at = at
            if reason is not Reason.STOPPED:
                self._down(seen, reason.value, at)
        if seen.is_learned or not self._is_there(node, peer):
            self._forget(seen)

    def usable(self, peer: Peer, is_usable: bool) -> None:
        """The watchdog trusts a peer, or no more (RFC 3539)."""
        seen = self.observed.get(peer)
        if seen is None:
            return
        if is_usable:
            self._up(seen, time.time())
        else:
            self._down(seen, Reason.WATCHDOG.value, time.time())

    def _down(self, seen: Observed, reason: str, at: float) -> None:
        name = seen.peer.remote.origin_host.lower()
        nas = self.diameter.store.nases.get(name)
        if seen.is_down:
            return
        seen.is_down = True
        sessions = 0
        if nas is not None:
            nas.down, nas.down_at = True, at
            sessions = nas.live_count
            self.diameter.store.touch_nas(nas)
        self.note_event("nas.down", name, at, {"kind": "diameter", "cause": reason, "sessions": sessions})

    def _up(self, seen: Observed, at: float) -> None:
        name = seen.peer.remote.origin_host.lower()
        nas = self.diameter.store.nases.get(name)
        if not seen.is_down and not (nas is not None and nas.down):
            return
        seen.is_down = False
        sessions = 0
        if nas is not None:
            nas.down = False
            sessions = nas.live_count
            self.diameter.store.touch_nas(nas)
        self.note_event("nas.up", name, at, {"kind": "diameter", "sessions": sessions})

    def note_event(self, kind: str, subject: str, at: float, body: dict[str, object]) -> None:
        """An event, and a line in the log."""
        self.diameter.store.emit(kind, subject, at, body)
        self.diameter.log.info(kind, subject, **body)

    # Requests

    def admit(self, requests: list[Request], now: float) -> list[Request]:
        """Those of one connection's requests that are for the applications. The others are answered, or will be."""
        peer = requests[0].peer
        seen = self.observed.get(peer)
        gate = None if seen is None else seen.gate
        if seen is None or gate is None:
            # It was closed by what came before in the same batch; nobody would hear an answer.
            return []
        node = seen.node
        home = None if node in self._always_routed else self._homes[node]
        is_plain = not node.local.relay and not self.overload.is_on
        admitted = []
        for request in requests:
            message = request.message
            stopped = gate.stops(message, now)
            verdict: bytes | Handled | None
            if stopped is not None:
                verdict = self._stop(seen, request, stopped)
            elif home is not None and is_plain and home.has(message):
                verdict = None if is_of_session(message) else self._repeated(seen, request, now)
            else:
                verdict = self._dispatch(seen, request, home, now)
            if verdict is None:
                admitted.append(request)
            elif verdict is not HANDLED:
                peer.send_answer(request, verdict)
        return admitted

    def _dispatch(self, seen: Observed, request: Request, home: Home | None, now: float) -> bytes | Handled | None:
        """None: serve it here. Octets: its answer. HANDLED: it will be answered."""
        message, node = request.message, seen.node
        if home is None or not home.has(message):
            verdict = self._route(seen, request, now)
            if verdict is not None:
                return verdict
        if node.local.relay:
            refusal = self._judge(node, seen.peer, message)
            if refusal is not None:
                return self._answer(seen, request, refusal)
        if self.overload.is_on and self.overload.refuses(message):
            return self._answer(seen, request, Refusal(ResultCode.TOO_BUSY))
        return None if is_of_session(message) else self._repeated(seen, request, now)

    def _repeated(self, seen: Observed, request: Request, now: float) -> bytes | Handled | None:
        """None: it is new."""
        is_new, octets = self.duplicates.is_new(request, now)
        if is_new:
            return None
        if octets is None:
            return HANDLED
        if not octets:
            return self._answer(seen, request, Refusal(ResultCode.TOO_BUSY))
        seen.traffic.note_answers((request,), (octets,), 0)
        return octets

    @staticmethod
    def _judge(node: Node, peer: Peer, message: Message) -> Refusal | None:
        """What the machine of a node that relays has left to whoever knows for whom a request is."""
        capabilities = peer.capabilities
        if capabilities is None or message.application not in capabilities.applications:
            return Refusal(ResultCode.APPLICATION_UNSUPPORTED)
        if not node.knows(message):
            return Refusal(ResultCode.COMMAND_UNSUPPORTED)
        fault = node.check(message)
        return None if fault is None else Refusal(fault[0], "", fault[1])

    def _stop(self, seen: Observed, request: Request, stopped: Stopped) -> bytes:
        message = request.message
        seen.traffic.stopped[stopped.reason.value] += 1
        self.diameter.log.warning(
            "diameter.stopped",
            "the firewall stopped a request",
            repeat=(seen.peer.remote.origin_host, stopped.reason),
            peer=seen.peer.remote.origin_host,
            reason=stopped.reason.value,
            request=self.diameter.dictionary.title(message),
            origin_host=identity(message, codes.ORIGIN_HOST),
            result=int(stopped.refusal.result),
        )
        return self._answer(seen, request, stopped.refusal)

    def _answer(self, seen: Observed, request: Request, refusal: Refusal) -> bytes:
        octets = refused(seen.node.local, request.message, refusal)
        if request.message.has(SUPPORTED_FEATURES):
            octets = extended(octets, self.overload.report(request.message, self.diameter.now()))
        seen.traffic.note_answers((request,), (octets,), 0)
        return octets

    def answered(self, requests: Sequence[Request], answers: list[bytes], spent_ns: int) -> None:
        """These answers leave now; puts into their places what else they are to say. All of one peer, in one
        application. spent_ns: since they came."""
        seen = self.observed.get(requests[0].peer)
        if seen is not None:
            seen.traffic.note_answers(requests, answers, spent_ns)
        for index, request in enumerate(requests):
            message = request.message
            if message.has(SUPPORTED_FEATURES):
                report = self.overload.report(message, self.diameter.now())
                answers[index] = extended(answers[index], report)
            if not is_of_session(message):
                self._settle_repeats(request, answers[index])

    def _settle_repeats(self, request: Request, octets: bytes) -> None:
        """Who sent the same request gets the same answer."""
        if octets[ERROR_FLAG_AT] & FLAG_ERROR:
            # Protocol errors are about this moment: the next time it is worked on.
            waiting = [
                (again, diameter.readdressed(octets, again.message.hop_by_hop))
                for again in self.duplicates.abandoned(request)
            ]
        else:
            waiting = self.duplicates.answered(request, octets)[1:]
        for again, answer in waiting:
            self.answer_late(again, answer)

    def answer_late(self, request: Request, octets: bytes) -> None:
        """Outside of its batch."""
        peer = request.peer
        if not peer.send_answer(request, octets):
            self.diameter.unsent_answers += 1
            return
        seen = self.observed.get(peer)
        if seen is not None:
            self.diameter.flush_soon(seen.node, peer)

    # Routing and relay

    def _route(self, seen: Observed, request: Request, now: float) -> bytes | Handled | None:
        """None: it is ours after all."""
        message, node = request.message, seen.node
        destination = destination_of(message)
        found = self.diameter.routes[node].find(destination, route_records(message))
        if destination.host in node.peers and found != LOOP:
            # Also one that a template has let in, whom no table knows.
            found = Way((destination.host,))
        if isinstance(found, Refusal):
            if found.result == ResultCode.UNABLE_TO_DELIVER and destination.host in self._hosts:
                return None
            return self._misdirected(seen, request, found)
        if not found.peers:
            self._homes[node].learn(message)
            return None
        if not node.local.relay:
            result = ResultCode.UNABLE_TO_DELIVER if destination.host else ResultCode.REALM_NOT_SERVED
            return self._misdirected(seen, request, Refusal(result))
        if not message.flags & FLAG_PROXIABLE:
            return self._misdirected(seen, request, Refusal(ResultCode.UNABLE_TO_DELIVER))
        if len(self.relayed) >= DIAMETER_RELAYED_COUNT_MAX or self.relayed_octets >= DIAMETER_RELAYED_BYTES_MAX:
            return self._answer(seen, request, Refusal(ResultCode.TOO_BUSY))
        try:
            octets = relayed_request(message, seen.peer.remote.origin_host)
        except ValueError:
            return self._misdirected(seen, request, Refusal(ResultCode.UNABLE_TO_DELIVER))
        relayed = Relayed(self, seen, request, found, octets)
        refusal = relayed.send(octets, False, now)
        return HANDLED if refusal is None else self._misdirected(seen, request, refusal)

    def hold(self, relayed: Relayed) -> None:
        """It is under way."""
        if relayed not in self.relayed:
            self.relayed.add(relayed)
            self.relayed_octets += len(relayed.octets)

    def let_go(self, relayed: Relayed) -> None:
        """It is no more."""
        if relayed in self.relayed:
            self.relayed.remove(relayed)
            self.relayed_octets -= len(relayed.octets)

    def _misdirected(self, seen: Observed, request: Request, refusal: Refusal) -> bytes:
        message = request.message
        self.diameter.log.warning(
            "diameter.undeliverable",
            "a request is for nobody who can be reached from here",
            # Not by realm: a peer can name any number of them.
            repeat=(seen.peer.remote.origin_host, refusal.result),
            peer=seen.peer.remote.origin_host,
            request=self.diameter.dictionary.title(message),
            host=identity(message, codes.DESTINATION_HOST) or None,
            realm=identity(message, codes.DESTINATION_REALM),
            result=int(refusal.result),
        )
        return self._answer(seen, request, refusal)

    def note_reply(self, peer: Peer, command: Command, answer: Message | None, spent_ns: int) -> None:
        """A request to a peer is over."""
        seen = self.observed.get(peer)
        if seen is not None:
            seen.traffic.note_reply(command, answer, spent_ns)

    # Overload

    def start(self) -> None:
        """Begin to look how late the loop is."""
        self._sampled_at = self.diameter.now()
        self._sampler = self.diameter.loop.call_later(DIAMETER_OVERLOAD_SAMPLE_S, self._sample)

    def stop(self) -> None:
        if self._sampler is not None:
            self._sampler.cancel()

    def _sample(self) -> None:
        now = self.diameter.now()
        late_s = now - self._sampled_at - DIAMETER_OVERLOAD_SAMPLE_S
        self._sampled_at = now
        self.sample(late_s, now)
        self._sampler = self.diameter.loop.call_later(DIAMETER_OVERLOAD_SAMPLE_S, self._sample)

    def sample(self, late_s: float, now: float) -> None:
        """late_s: how late the loop is. The worse of it and of the disk's being behind counts."""
        journal, overload = self.diameter.journal, self.overload
        ahead = (journal.rows_ahead + journal.open_rows) / (DIAMETER_OVERLOAD_AHEAD * JOURNAL_ROWS_AHEAD_MAX)
        was_on = overload.is_on
        overload.sample(max(late_s / DIAMETER_OVERLOAD_LAG_S, ahead), now)
        if overload.is_on != was_on:
            log = self.diameter.log
            if overload.is_on:
                log.warning(
                    "diameter.overloaded", "what begins something new is refused", repeat=(),
                    late_ms=round(late_s * 1000), rows_ahead=journal.rows_ahead,
                )  # fmt: skip
            else:
                log.info("diameter.relieved", "everything is served again", repeat=())


class Relayed:
    """A request under way through us: where it may go, and who waits for its answer."""

    __slots__ = ("agent", "avoid", "octets", "request", "seen", "sent_ns", "started_ns", "way")

    def __init__(self, agent: DiameterAgent, seen: Observed, request: Request, way: Way, octets: bytes) -> None:
        self.agent = agent
        self.seen = seen
        self.request = request
        self.way = way
        self.octets = octets
        # Back, or to where it has been, would be a loop.
        self.avoid = {seen.peer.remote.origin_host.lower(), *route_records(request.message)}
        self.started_ns = self.sent_ns = time.monotonic_ns()

    def send(self, octets: bytes, again: bool, now: float) -> Refusal | None:
        """By the next peer that takes it; else how it is answered. again: it may have arrived somewhere."""
        node = self.seen.node
        refusal = Refusal(ResultCode.UNABLE_TO_DELIVER)
        while True:
            peer = choose(self.way, node.peers, self.request.message.application, self.avoid)
            if peer is None:
                self.agent.let_go(self)
                return refusal
            self.avoid.add(peer.remote.origin_host.lower())
            if peer.send_request(octets, self, now, again):
                self.sent_ns = time.monotonic_ns()
                self.agent.hold(self)
                self.agent.diameter.flush_soon(node, peer)
                return None
            refusal = Refusal(ResultCode.TOO_BUSY)

    def answered(self, event: Answer) -> None:
        """The next hop has answered."""
        message = event.message
        self._note(event.peer, message)
        failed = message.flags & FLAG_ERROR and message.get_unsigned32(codes.RESULT_CODE) in ELSEWHERE
        if failed and self.send(self.octets, False, self.agent.diameter.now()) is None:
            return
        if message.fault:
            self._finish(self._refused(ResultCode.UNABLE_TO_DELIVER))
        else:
            self._finish(relayed_answer(self.request.message, message))

    def unanswered(self, event: Unanswered) -> None:
        """The next hop has gone, or takes too long: another one, with the T bit (RFC 6733 §5.5.4)."""
        self._note(event.peer, None)
        refusal = self.send(event.octets, True, self.agent.diameter.now())
        if refusal is not None:
            self._finish(self._refused(refusal.result))

    def _refused(self, result: ResultCode | int) -> bytes:
        return refused(self.seen.node.local, self.request.message, Refusal(result))

    def _note(self, peer: Peer, answer: Message | None) -> None:
        command = (self.request.message.application, self.request.message.command)
        self.agent.note_reply(peer, command, answer, time.monotonic_ns() - self.sent_ns)

    def _finish(self, octets: bytes) -> None:
        agent = self.agent
        agent.let_go(self)
        self.seen.traffic.note_answers((self.request,), (octets,), time.monotonic_ns() - self.started_ns)
        agent.answer_late(self.request, octets)


def is_of_session(message: Message) -> bool:
    """Whether a session keeps its answer: CCRs, but for events of Gy, which are of none."""
    return message.command == CREDIT_CONTROL and (
        message.application == GX or message.get_unsigned32(codes.CC_REQUEST_TYPE) != EVENT_REQUEST
    )


def rules_of(settings: PeerSettings, dictionary: Dictionary) -> Rules:
    """What a [[peer]] entry restricts, by numbers."""
    denied = frozenset((avp.code, avp.vendor) for avp in map(dictionary.avp, settings.denied_avps))
    wanted = frozenset(settings.commands)
    return Rules(
        applications=frozenset(one.number for one in applications_of(settings.applications, dictionary)),
        commands=frozenset(one.code for one in dictionary.commands if one.request and one.short in wanted),
        imsis=settings.imsis,
        origins=tuple(name.removeprefix("*").lower() for name in settings.speaks_for),
        plmns=frozenset(plmn_octets(plmn.replace("-", "")) for plmn in settings.plmns),
        denied=denied,
        groups=frozenset((avp.code, avp.vendor) for avp in dictionary if avp.type == "Grouped")
        if denied
        else frozenset(),
        rate_limit=settings.rate_limit,
    )
