"""The tap: packets with what was decided about each, for who looks on. Bounded, and not there while nobody does.

Ports and the CoA client hold None in its place until a trace is opened, so that nobody pays for it. What matches is
kept as octets and decoded by the dictionary only when it is read, in slices; secrets are shown as ***.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any, Final

from aaa.dictionary.dictionary import HIDDEN
from aaa.limits import TRACE_IDLE_S, TRACE_SLICE_COUNT, TRACERS_COUNT_MAX
from aaa.model.access import Attempt, Cause, Outcome, Verdict
from aaa.model.accounting import AccountingOutcome, AccountingRecord
from aaa.model.records import NasRecord, ServiceRecord
from aaa.radius.admission import Admission, Request
from aaa.radius.clients import Client, format_address
from aaa.radius.reasons import DropReason
from aaa.server import views
from aaa.server.trace_diameter import DiameterTap, SeenRequest
from aaa.server.tracer import Seen, Tracer, Wanted
from native.radius import Packet

if TYPE_CHECKING:
    from aaa.server.dynamic import Job
    from aaa.server.main import Server

CODES: Final = {
    1: "Access-Request",
    2: "Access-Accept",
    3: "Access-Reject",
    4: "Accounting-Request",
    5: "Accounting-Response",
    11: "Access-Challenge",
    12: "Status-Server",
    40: "Disconnect-Request",
    41: "Disconnect-ACK",
    42: "Disconnect-NAK",
    43: "CoA-Request",
    44: "CoA-ACK",
    45: "CoA-NAK",
}
ACCEPT, REJECT, SLOW = int(Verdict.ACCEPT), int(Verdict.REJECT), int(Verdict.SLOW)
USER_NAME = 1


class Tap:
    """Everything that ports and the CoA client tell while somebody looks on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._ids = itertools.count(1)
        self.tracers: dict[int, Tracer] = {}
        self.diameter = DiameterTap(server, self._offer)

    # Looking on

    def open(self, wanted: Wanted) -> int | None:
        """Begin a trace; None where there are too many."""
        self._expire()
        if len(self.tracers) >= TRACERS_COUNT_MAX:
            return None
        number = next(self._ids)
        self.tracers[number] = Tracer(wanted)
        self._connect()
        return number

    def close(self, number: int) -> None:
        """End a trace; the last one's end takes the tap away."""
        self.tracers.pop(number, None)
        self._connect()

    async def next(self, number: int, wait_s: float) -> dict[str, Any] | None:
        """What was seen since the last call, at least one packet or nothing after `wait_s`; None: there is no such
        trace."""
        tracer = self.tracers.get(number)
        if tracer is None:
            return None
        tracer.asked_at = time.monotonic()
        self.diameter.expire()
        if not tracer.ring and not tracer.lost:
            tracer.waiter = asyncio.get_running_loop().create_future()
            stop = asyncio.ensure_future(self._server.stopping.wait())
            ends: set[asyncio.Future[Any]] = {tracer.waiter, stop}
            await asyncio.wait(ends, timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            tracer.waiter = None
            tracer.asked_at = time.monotonic()
            if self._server.stopping.is_set():
                return None
        lost, tracer.lost = tracer.lost, 0
        items: list[dict[str, Any]] = []
        while tracer.ring and len(items) < TRACE_SLICE_COUNT:
            items.append(self.show(tracer.ring.popleft()))
        return {"items": items, "lost": lost}

    def _expire(self) -> None:
        oldest = time.monotonic() - TRACE_IDLE_S
        for number in [number for number, tracer in self.tracers.items() if tracer.asked_at < oldest]:
            del self.tracers[number]

    def _connect(self) -> None:
        """Be where packets pass while somebody looks on, and nowhere otherwise."""
        tap = self if self.tracers else None
        for port in self._server.ports:
            port.tap = tap
        self._server.network.tap = tap
        self._server.diameter.tap = None if tap is None else self.diameter.message
        if tap is None:
            self.diameter.clear()

    def _offer(self, seen: Seen) -> None:
        oldest = time.monotonic() - TRACE_IDLE_S
        idle = False
        for tracer in self.tracers.values():
            tracer.offer(seen)
            idle = idle or tracer.asked_at < oldest
        if idle:
            self._expire()
            self._connect()

    # What ports tell

    def admit(
        self, admission: Admission, packets: list[Packet], count: int, now: float, at: float
    ) -> list[Request | None]:
        """Admission one by one, so that each packet that is dropped is seen with its reason."""
        admitted: list[Request | None] = []
        for packet in packets[:count]:
            drops, resends = admission.drops.copy(), len(admission.resends)
            request = admission.admit([packet], 1, now, at)[0]
            admitted.append(request)
            if request is None:
                seen = self._seen(packet, at)
                if len(admission.resends) > resends:
                    seen.outcome, seen.reason = "repeated", "retransmission: the same answer again"
                else:
                    numbers = [n for n, (old, new) in enumerate(zip(drops, admission.drops, strict=True)) if new > old]
                    seen.outcome = "drop"
                    seen.reason = DropReason(numbers[0]).name.lower() if numbers else ""
                client = admission.clients.find(packet.address)
                if isinstance(client, Client):
                    seen.nas, seen.operator = client.name, client.operator
                self._offer(seen)
        return admitted

    def access(
        self, requests: list[Request], attempts: list[Attempt], outcomes: list[Outcome], replies: list[bytes]
    ) -> None:
        """A batch of decided Access-Requests; a row that waits for a slow hash comes again when that is done."""
        for request, attempt, outcome, attributes in zip(requests, attempts, outcomes, replies, strict=True):
            if outcome.verdict == SLOW:
                continue
            seen = self._seen(request.packet, attempt.at)
            self._place(seen, attempt.nas, outcome.service)
            accepted = outcome.verdict == ACCEPT
            seen.outcome = "accept" if accepted else "reject"
            seen.answer_code = 2 if accepted else 3
            seen.answer = attributes
            seen.reason = "" if accepted else Cause(outcome.cause).name.lower()
            seen.detail = outcome.message
            seen.decision = outcome.decision
            if accepted:
                seen.session_id = str(outcome.session_id)
            self._offer(seen)

    def accounting(self, requests: list[Request], records: list[AccountingRecord], outcomes: list[int]) -> None:
        """A batch of folded Accounting-Requests; each is answered when it is durable."""
        for request, record, outcome in zip(requests, records, outcomes, strict=True):
            seen = self._seen(request.packet, record.received_at)
            session = record.nas.sessions.get(record.session_key)
            self._place(seen, record.nas, session.service if session is not None else None)
            if session is not None:
                seen.session_id = str(session.id)
                seen.decision = session.decision
            seen.outcome = AccountingOutcome(outcome).name.lower()
            seen.answer_code = 5
            self._offer(seen)

    def exchange(self, job: Job, result: str, error_cause: int, detail: str, at: float, took_s: float) -> None:
        """A CoA- or Disconnect-Request, and how it ended."""
        session = job.session
        code = 43 if job.action == "coa" else 40
        attributes = job.last_attributes()
        size = (20 + len(attributes)).to_bytes(2, "big")
        seen = Seen(code, bytes((code, 0)) + size + bytes(16) + attributes, at)
        seen.user = views.printable(session.user_name) or ""
        seen.source = session.nas.address
        self._place(seen, session.nas, session.service)
        seen.session_id = str(session.id)
        seen.outcome = result
        seen.reason = f"Error-Cause {error_cause}" if error_cause else ""
        seen.detail = detail
        seen.decision = session.desired
        seen.answer_code = code + {"ack": 1, "nak": 2}[result] if result in ("ack", "nak") else 0
        seen.latency_us = int(took_s * 1e6)
        self._offer(seen)

    @staticmethod
    def _seen(packet: Packet, at: float) -> Seen:
        seen = Seen(packet.code, packet.raw if not packet.fault else packet.payload, at)
        seen.source = format_address(packet.address)
        seen.user = views.printable(packet.get(USER_NAME)) or ""
        if packet.received_ns:
            seen.latency_us = max(0, (time.time_ns() - packet.received_ns) // 1000)
        return seen

    @staticmethod
    def _place(seen: Seen, nas: NasRecord, service: ServiceRecord | None) -> None:
        seen.nas, seen.operator = nas.name, nas.operator
        if service is not None:
            seen.service_id, seen.operator = service.body.id, service.subscriber.body.operator

    # Reading

    def show(self, seen: Seen) -> dict[str, Any]:
        """As the API tells it."""
        if isinstance(seen, SeenRequest):
            return self.diameter.show(seen)
        packet = Packet.parse(seen.request)
        names = self._server.prepared.dictionary
        decision = seen.decision
        return {
            "at": views.moment(seen.at),
            "protocol": "radius",
            "direction": "out" if seen.code in (40, 43) else "in",
            "nas": seen.nas or None,
            "address": seen.source,
            "code": CODES.get(seen.code, f"code {seen.code}"),
            "identifier": None if seen.code in (40, 43) else packet.identifier,
            "user": seen.user or None,
            "service_id": seen.service_id or None,
            "session_id": seen.session_id or None,
            "attributes": [] if packet.fault else [hide(*pair) for pair in names.decode_packet(packet)],
            "outcome": seen.outcome,
            "reason": seen.reason or (decision.body.reason if decision is not None else None),
            "detail": seen.detail or None,
            "decision": None if decision is None else views.desired_view(decision.body),
            "answer": CODES.get(seen.answer_code),
            "answer_attributes": self._server.show_attributes(seen.answer),
            "latency_ms": round(seen.latency_us / 1000, 3),
        }


def hide(name: str, value: str) -> tuple[str, str]:
    """Security: with the packet beside it, a Message-Authenticator would let a reader try shared secrets offline."""
    return name, HIDDEN if name == "Message-Authenticator" else value
