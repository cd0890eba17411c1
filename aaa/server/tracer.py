"""Who looks on: what somebody wants to see, what was seen, and the bounded ring between. Knows no protocol."""

from __future__ import annotations

import asyncio
import time
from collections import deque

import msgspec

from aaa.limits import TRACE_RING_COUNT
from aaa.model.records import DecisionRecord


class Wanted(msgspec.Struct, frozen=True):
    """Which packets somebody wants to see; None: any."""

    user: str | None = None
    nas: str | None = None
    service: str | None = None
    session: str | None = None
    code: int | None = None
    imsi: str | None = None
    peer: str | None = None
    """Origin-Host of a Diameter peer."""
    command: str | None = None
    """Of Diameter, in upper case: "CCR", "GX CCR" or "272"."""
    operator: str | None = None
    """The actor's scope."""


class Seen:
    """One packet and what became of it, as octets and records; decoded when it is read."""

    imsi = peer = session_key = ""
    commands: frozenset[str] = frozenset()
    is_routine = False
    """Shown to those only who ask for its command."""
    __slots__ = (
        "answer", "answer_code", "at", "code", "decision", "detail", "latency_us", "nas", "operator",
        "outcome", "reason", "request", "service_id", "session_id", "source", "user",
    )  # fmt: skip

    def __init__(self, code: int, request: bytes, at: float) -> None:
        self.code = code
        self.request = request
        self.at = at
        self.source = ""
        self.nas = ""
        self.operator = ""
        self.user = ""
        self.service_id = ""
        self.session_id = ""
        self.outcome = ""
        self.reason = ""
        self.detail = ""
        self.decision: DecisionRecord | None = None
        self.answer_code = 0
        self.answer = b""
        """Attributes of the answer, without its header."""
        self.latency_us = 0


class Tracer:
    """One who looks on."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.ring: deque[Seen] = deque()
        self.lost = 0
        """What did not fit since the last look."""
        self.asked_at = time.monotonic()
        self.waiter: asyncio.Future[None] | None = None

    def offer(self, seen: Seen) -> None:
        """Keep it where it is wanted."""
        wanted = self.wanted
        if (
            (wanted.operator is None or wanted.operator == seen.operator)
            and (wanted.code is None or (wanted.code == seen.code and not seen.commands))
            and (wanted.command in seen.commands if wanted.command is not None else not seen.is_routine)
            and (wanted.imsi is None or wanted.imsi == seen.imsi)
            and (wanted.peer is None or wanted.peer.lower() == seen.peer.lower())
            and (wanted.user is None or wanted.user == seen.user)
            and (wanted.nas is None or seen.nas == wanted.nas or seen.nas.partition("/")[0] == wanted.nas)
            and (wanted.service is None or wanted.service == seen.service_id)
            and (wanted.session is None or wanted.session in (seen.session_id, seen.session_key))
        ):
            if len(self.ring) >= TRACE_RING_COUNT:
                self.lost += 1
                return
            self.ring.append(seen)
            if self.waiter is not None and not self.waiter.done():
                self.waiter.set_result(None)
