"""What every Diameter application offers to the server: answers to requests, and requests for the reconciler.

An application is the bilingual part: AVPs on one side, the engine's words on the other. Knows no socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from aaa.diameter.events import Request
from aaa.model.enforcement import Difference, Reply
from aaa.model.records import DecisionRecord, SessionRecord
from native.diameter import Message


class Outgoing(Struct, frozen=True, gc=False):
    """A request of ours, without what routing adds: Session-Id, Origin-*, Destination-*, Auth-Application-Id or
    Vendor-Specific-Application-Id come before `avps`."""

    command: int
    name: str
    """Short name of the command, such as "RAR"."""
    avps: tuple[bytes, ...]
    session_id: bytes | None = None
    """Where it is not the session's key (S6a: a new one for each transaction); None: the key."""
    shown: tuple[tuple[str, str], ...] = ()
    """What it carries, by name, for the receipt; no secrets."""


class Application(Protocol):
    """One Diameter application as served here."""

    number: int
    """Application-Id."""

    def receive(self, requests: Sequence[Request], at: float) -> list[bytes]:
        """One whole answer for each request, same order; to be sent when the journal's open group is durable.

        at: epoch seconds. Never raises for what a peer sent. What it took already is answered as a repetition is: after
        a defect, each request of the batch comes again alone.
        """
        ...

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        """As engine.network.Network.difference()."""
        ...

    def change_request(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Outgoing:
        """The request that brings a session to a decision (RAR, IDR, SNR)."""
        ...

    def end_request(self, session: SessionRecord) -> Outgoing:
        """The request that ends a session (RAR with Session-Release-Cause, CLR)."""
        ...

    def read_reply(self, session: SessionRecord, outgoing: Outgoing, answer: Message, at: float) -> Reply:
        """What the answer means: result "ack" or "nak", error_cause 503 for a session that it does not have, `over`
        where the session has ended with it. Facts that the answer tells are taken into the session. What was sent, and
        when, is added by who sends."""
        ...
