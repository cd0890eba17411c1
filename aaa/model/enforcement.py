"""What is sent to the network for a change, and what it answered: the receipt. Knows no wire, storage or clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from aaa.model.events import SERVER, Cause

if TYPE_CHECKING:
    from aaa.model.records import DecisionRecord, SessionRecord

Action = Literal["coa", "disconnect"]
EnforcementState = Literal["pending", "sent", "waiting", "done", "failed", "superseded"]
"""pending: not sent yet. sent: an answer is awaited. waiting: to be sent again at `due_at`. The others are final:
done (acknowledged, or the session is over), failed (given up), superseded (another decision is desired by now)."""
OPEN: tuple[EnforcementState, ...] = ("pending", "sent", "waiting")


class Difference(Struct, frozen=True, gc=False):
    """What it takes to bring a live session from one decision to another."""

    kind: Literal["none", "coa", "disconnect"]
    why: str = ""
    """For the receipt and the preview: "rate", "rate, walled_garden", "pool needs a new session", ..."""
    attributes: tuple[tuple[str, str], ...] = ()
    """What a CoA would carry besides the session's keys, by name; for the preview and the receipt."""


class Reply(Struct, frozen=True, gc=False):
    """How one exchange with the network element ended."""

    result: Literal["ack", "nak", "timeout", "error"]
    """timeout: no answer to any transmission. error: it could not be sent (no such NAS, no address, refused port)."""
    error_cause: int = 0
    """Error-Cause of a NAK (RFC 5176 §3.5); 0: none was given."""
    transmissions: int = 0
    sent_at: float = 0.0
    """Epoch seconds of the first transmission."""
    answered_at: float = 0.0
    keys: tuple[tuple[str, str], ...] = ()
    """Attributes that named the session in the exchange that counts."""
    attributes: tuple[tuple[str, str], ...] = ()
    """What else was sent."""
    detail: str = ""
    over: bool = False
    """With this answer the session is over: no report of its end follows."""
    stays: bool = False
    """The session goes on although the network element said yes: it is to be ended by other means."""
    command: str = ""
    """What was sent where it is not CoA or Disconnect: "RAR", "CLR", "IDR", "SNR"."""
    ends_at: float = 0.0
    """When the network element was told to end the session, epoch seconds; 0.0: it was not told."""


class Enforcement:
    """One change of one live session, from the decision to the network's answer."""

    __slots__ = (
        "action", "attempts", "cause", "created_at", "desired", "due_at", "finished_at", "id", "log", "nas", "operator",
        "reason", "result", "service_id", "service_no", "session", "session_id", "state", "told", "urgent",
    )  # fmt: skip

    def __init__(self, id: int, session: SessionRecord, action: Action, created_at: float) -> None:
        self.id = id
        self.session: SessionRecord | None = session
        """None after a restart where the session is gone."""
        self.session_id: int = session.id
        self.nas: str = session.nas.name
        service = session.service
        self.service_no: int = service.no if service is not None else 0
        former_id, _, operator = session.former or ("", "", session.nas.operator)
        self.service_id: str = service.body.id if service is not None else former_id
        self.operator: str = service.subscriber.body.operator if service is not None else operator
        self.action: Action = action
        self.reason = ""
        """Why: what differs, and what changed it."""
        self.desired: DecisionRecord | None = None
        self.cause: Cause = SERVER
        self.state: EnforcementState = "pending"
        self.attempts = 0
        self.log: list[Reply] = []
        """The last few exchanges, oldest first; bounded by ENFORCEMENT_LOG_MAX."""
        self.created_at = created_at
        self.due_at = created_at
        self.finished_at = 0.0
        self.result = ""
        """One word when final: "ack", "session_gone", "session_over", "not_needed", "refused" or "superseded"."""
        self.urgent = True
        """A change of one service; what follows from a plan or the policy waits behind it."""
        self.told = False
        """`enforcement.failed` was told."""
