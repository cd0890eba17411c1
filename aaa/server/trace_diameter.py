"""The tap's Diameter part: each request with its answer, whichever side asked, and the decision that stands behind it.

A request waits here for its answer, so that one line tells both; what gets none is told after a while. Octets are kept
and decoded by the dictionary when they are read. Relayed requests are seen twice: as they came, and as they went on.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from aaa.diameter import codes
from aaa.diameter.answers import result_of
from aaa.diameter.capabilities import identity
from aaa.diameter.peer import Connection
from aaa.diameter.routing import imsi_of
from aaa.limits import TRACE_ANSWER_S, TRACE_WAITING_COUNT
from aaa.model.records import SessionRecord
from aaa.server import views
from aaa.server.tracer import Seen
from native.diameter import FLAG_REQUEST, Message

if TYPE_CHECKING:
    from aaa.server.main import Server

WATCHDOG: Final = codes.DEVICE_WATCHDOG
NO_ANSWER: Final = "no answer"


class SeenRequest(Seen):
    """One Diameter request and its answer."""

    __slots__ = ("begun", "commands", "imsi", "is_routine", "peer", "received", "session_key", "title")

    def __init__(self, message: Message, at: float, received: bool) -> None:
        super().__init__(message.command, message.raw, at)
        self.received = received
        self.begun = time.monotonic()
        self.imsi = imsi_of(message)
        self.user = self.imsi
        self.session_key = message.get_text(codes.SESSION_ID) or ""
        self.peer = ""
        self.title = ""
        self.commands = frozenset[str]()
        """Names by which it can be asked for, in upper case."""
        self.is_routine = message.application == codes.BASE and message.command == WATCHDOG


class DiameterTap:
    """What every connection sends and receives while somebody looks on."""

    def __init__(self, server: Server, offer: Callable[[Seen], None]) -> None:
        self._server = server
        self._offer = offer
        self._waiting: dict[tuple[Connection, bool, int], SeenRequest] = {}
        """Requests without an answer, by connection, whether they were received, and Hop-by-Hop Identifier."""

    def clear(self) -> None:
        """Nobody looks on any more."""
        self._waiting.clear()

    def expire(self) -> None:
        """Tell of requests that got no answer."""
        oldest = time.monotonic() - TRACE_ANSWER_S
        while self._waiting:
            key = next(iter(self._waiting))
            if self._waiting[key].begun > oldest:
                return
            self._give_up(key)

    def _give_up(self, key: tuple[Connection, bool, int]) -> None:
        seen = self._waiting.pop(key)
        seen.outcome = NO_ANSWER
        self._offer(seen)

    def message(self, connection: Connection, octets: bytes, received: bool) -> None:
        """As Node.tap is told."""
        message = Message.parse(octets)
        if message.flags & FLAG_REQUEST:
            while len(self._waiting) >= TRACE_WAITING_COUNT:
                self._give_up(next(iter(self._waiting)))
            self._waiting[connection, received, message.hop_by_hop] = self._seen(connection, message, received)
            return
        seen = self._waiting.pop((connection, not received, message.hop_by_hop), None)
        if seen is None:
            return
        request = Message.parse(seen.request)
        seen.answer = octets
        seen.latency_us = int((time.monotonic() - seen.begun) * 1e6)
        result = result_of(message)
        seen.outcome = self._result_name(result)
        if result // 1000 not in (0, 2):
            seen.reason = f"Result-Code {result}" if message.has(codes.RESULT_CODE) else f"Experimental-Result {result}"
        seen.detail = message.get_text(codes.ERROR_MESSAGE) or ""
        self._place(seen, connection, request)
        self._offer(seen)

    def _seen(self, connection: Connection, message: Message, received: bool) -> SeenRequest:
        seen = SeenRequest(message, time.time(), received)
        names = self._server.diameter.dictionary
        seen.title = names.title(message)
        command = names.command_of(message)
        short = "" if command is None else command.short
        seen.commands = frozenset(name.upper() for name in (short, seen.title, str(message.command)) if name)
        seen.source = connection.remote_address
        self._place(seen, connection, message)
        return seen

    def _place(self, seen: SeenRequest, connection: Connection, request: Message) -> None:
        """Who it is about: looked for when it comes, and again when it is answered."""
        peer = connection.peer
        client = identity(request, codes.ORIGIN_HOST if seen.received else codes.DESTINATION_HOST)
        seen.peer = client if peer is None else peer.remote.origin_host
        seen.nas = client or seen.peer
        store = self._server.store
        nas = store.nases.get(seen.nas.lower())
        session: SessionRecord | None = None
        if nas is not None:
            session = nas.sessions.get(seen.session_key.encode()) or nas.sessions.get(seen.imsi.encode())
            seen.operator = nas.operator
        elif peer is not None:
            known = self._server.diameter.agent.observed.get(peer)
            seen.operator = "" if known is None else known.settings.operator or ""
        service = None
        if session is not None:
            service = session.service
            seen.session_id = str(session.id)
            seen.decision = session.decision if seen.received else session.desired
            seen.imsi = seen.user = seen.imsi or session.mobile.imsi
        if service is None and seen.imsi:
            sim = store.inventory.sim_of_imsi(seen.imsi)
            service = None if sim is None else sim.service
        if service is not None:
            seen.service_id, seen.operator = service.body.id, service.subscriber.body.operator

    def _result_name(self, result: int) -> str:
        names = self._server.diameter.dictionary.avp("Result-Code").names
        return names.get(result, str(result) if result else "answered")

    def show(self, seen: SeenRequest) -> dict[str, Any]:
        """As the API tells it."""
        names = self._server.diameter.dictionary
        request = Message.parse(seen.request)
        answer = Message.parse(seen.answer) if seen.answer else None
        decision = seen.decision
        return {
            "at": views.moment(seen.at),
            "protocol": "diameter",
            "direction": "in" if seen.received else "out",
            "nas": seen.nas or None,
            "peer": seen.peer or None,
            "address": seen.source,
            "code": seen.title,
            "identifier": request.end_to_end,
            "user": seen.user or None,
            "service_id": seen.service_id or None,
            "session_id": seen.session_id or None,
            "attributes": names.show(request),
            "outcome": seen.outcome,
            "reason": seen.reason or (decision.body.reason if decision is not None else None),
            "detail": seen.detail or None,
            "decision": None if decision is None else views.desired_view(decision.body),
            "answer": None if answer is None else names.title(answer),
            "answer_attributes": [] if answer is None else names.show(answer),
            "latency_ms": round(seen.latency_us / 1000, 3),
        }
