"""Dynamic authorization, the server's side (RFC 5176): requests to one NAS, many at a time, until each is answered.

Knows packets and secrets; knows no socket, no clock, no dictionary. Theory of operation: start() gives a request an
identifier that no other request in flight has, and an Exchange sends the same octets again on its schedule: a NAS
recognises a retransmission by identifier and authenticator, and one with a new Event-Timestamp would be another request
(RFC 5176 §3.3). An answer must come with the identifier of a request in flight and prove the secret by its Response
Authenticator; a Message-Authenticator is checked where there is one, because most NASes send none. Everything else is
dropped with a reason. Identifiers go round, so that an answer that comes late meets its successor last; it would not
verify against it.

Retransmission and pacing follow RFC 5176 §2.3 (the rules of RFC 5080); which session a request means, and what it
changes, is the caller's matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from aaa.limits import DYNAMIC_IRT_S, DYNAMIC_MRC, DYNAMIC_MRT_S
from aaa.radius.client import Code, Dropped, Exchange, Request, Schedule
from native.radius import Secret

IDENTIFIERS: Final = 256
ERROR_CAUSE: Final = 101
EVENT_TIMESTAMP: Final = 55
SCHEDULE: Final = Schedule(irt_s=DYNAMIC_IRT_S, mrt_s=DYNAMIC_MRT_S, mrc=DYNAMIC_MRC)

PACE_SLACK_S: Final = 0.02
"""How much of its pace a NAS may get at once after a pause."""

ERROR_CAUSES: Final = {
    201: "Residual-Context-Removed",
    202: "Invalid-EAP-Packet",
    401: "Unsupported-Attribute",
    402: "Missing-Attribute",
    403: "NAS-Identification-Mismatch",
    404: "Invalid-Request",
    405: "Unsupported-Service",
    406: "Unsupported-Extension",
    407: "Invalid-Attribute-Value",
    501: "Administratively-Prohibited",
    502: "Proxy-Request-Not-Routable",
    503: "Session-Context-Not-Found",
    504: "Session-Context-Not-Removable",
    505: "Proxy-Processing-Error",
    506: "Resources-Unavailable",
    507: "Request-Initiated",
    508: "Multiple-Session-Selection-Unsupported",
}
"""Error-Cause (RFC 5176 §3.5, RFC 6572 §4.3)."""
MISSING_ATTRIBUTE: Final = 402
NO_COA: Final = frozenset((401, 405, 406))
"""What a NAS answers that knows no CoA."""
SESSION_NOT_FOUND: Final = 503


class Pace:
    """How many exchanges a second a NAS is asked for: a token bucket, nearly without depth."""

    def __init__(self, now: float) -> None:
        self._tokens = 1.0
        self._at = now

    def take(self, rate: float, now: float) -> bool:
        """Whether one more may begin now. rate: exchanges per second."""
        # A caller that comes late by a few milliseconds does not slow the pace down.
        depth = max(1.0, rate * PACE_SLACK_S)
        self._tokens = min(depth, self._tokens + max(0.0, now - self._at) * rate)
        self._at = now
        # A caller that comes at next_at() is not sent away for the last bit of a float.
        if self._tokens < 1 - 1e-6:
            return False
        self._tokens -= 1
        return True

    def next_at(self, rate: float) -> float:
        """When the next one may begin."""
        return self._at + max(0.0, 1 - self._tokens) / rate


class Finished(Struct, frozen=True):
    """A request that is over."""

    token: object
    """What start() was given."""
    result: Literal["ack", "nak", "timeout"]
    error_cause: int
    """Of a NAK; 0: it named none."""
    transmissions: int


class DynamicExchanges:
    """Everything in flight on one socket towards one NAS."""

    def __init__(self, schedule: Schedule = SCHEDULE) -> None:
        self._schedule = schedule
        self._last = IDENTIFIERS - 1
        self._flying: dict[int, tuple[Exchange, object]] = {}
        self._to_send: list[bytes] = []
        self._ended: set[int] = set()
        """Identifiers whose request is over, until they are used again."""

    def __len__(self) -> int:
        """How many are in flight."""
        return len(self._flying)

    def start(
        self,
        secret: Secret,
        code: Code,
        attributes: bytes,
        now: float,
        token: object,
        *,
        message_authenticator: bool = True,
        jitter: Sequence[float] = (),
    ) -> None:
        """A new request; data_to_send() has it. code: COA_REQUEST or DISCONNECT_REQUEST; jitter: as Exchange.

        Raises ValueError, and changes nothing, when all identifiers are in flight, when the packet is over 4096 octets,
        and for another code.
        """
        if code not in (Code.COA_REQUEST, Code.DISCONNECT_REQUEST):
            raise ValueError(f"{code!r} is no request of dynamic authorization")
        if len(self._flying) >= IDENTIFIERS:
            raise ValueError("256 requests are in flight; wait for one of them")
        identifier = (self._last + 1) % IDENTIFIERS
        while identifier in self._flying:
            identifier = (identifier + 1) % IDENTIFIERS
        data = secret.request(code, identifier, attributes, None, message_authenticator)
        self._last = identifier
        self._ended.discard(identifier)
        exchange = Exchange(Request(data), secret, now, self._schedule, jitter)
        self._flying[identifier] = (exchange, token)
        self._to_send.append(exchange.data_to_send())

    def data_to_send(self) -> list[bytes]:
        """Datagrams to send now, each once."""
        data, self._to_send = self._to_send, []
        return data

    def receive_data(self, data: bytes, now: float) -> Finished | Dropped:
        """A datagram from the NAS. Never raises for what was sent.

        Dropped: "late" where its request is over, "identifier" where there was none, else as client.verify_response.
        """
        identifier = data[1] if len(data) > 1 else -1
        found = self._flying.get(identifier)
        if found is None:
            return Dropped("late" if identifier in self._ended else "identifier")
        exchange, token = found
        verdict = exchange.receive_data(data, now)
        if isinstance(verdict, Dropped):
            return verdict
        self._end(identifier)
        packet = verdict.packet
        acknowledged = packet.code in (Code.COA_ACK, Code.DISCONNECT_ACK)
        cause = 0 if acknowledged else packet.get_integer(ERROR_CAUSE) or 0
        return Finished(token, "ack" if acknowledged else "nak", cause, exchange.transmissions)

    def next_deadline(self) -> float | None:
        """When to call handle_deadline(); None when nothing is in flight."""
        deadlines = (exchange.next_deadline() for exchange, _ in self._flying.values())
        return min((at for at in deadlines if at is not None), default=None)

    def handle_deadline(self, now: float) -> list[Finished]:
        """Transmit again what is due, and give up what was sent often enough."""
        finished = []
        for identifier, (exchange, token) in list(self._flying.items()):
            exchange.handle_deadline(now)
            if exchange.timed_out:
                self._end(identifier)
                finished.append(Finished(token, "timeout", 0, exchange.transmissions))
            elif data := exchange.data_to_send():
                self._to_send.append(data)
        return finished

    def _end(self, identifier: int) -> None:
        del self._flying[identifier]
        self._ended.add(identifier)
