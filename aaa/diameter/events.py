"""What the peer machines tell the shell and the applications. Knows nothing else."""

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from aaa.diameter.capabilities import Capabilities, Refusal
from aaa.diameter.request import Request as Request
from native.diameter import Message

if TYPE_CHECKING:
    from aaa.diameter.peer import Connection, Peer


class Reason(StrEnum):
    """Why a connection ended, or a request of ours has no answer; a metric label."""

    PEER_CLOSED = "peer_closed"
    DPR_SENT = "dpr_sent"
    DPR_RECEIVED = "dpr_received"
    WATCHDOG = "watchdog"
    FAILOVER = "failover"
    TIMEOUT = "timeout"
    CONNECT_FAILED = "connect_failed"
    REFUSED = "refused"
    CERTIFICATE = "certificate"
    ELECTION = "election"
    PROTOCOL = "protocol"
    MESSAGE_LENGTH = "message_length"
    UNSENT = "unsent"
    FLOOD = "flood"
    STOPPED = "stopped"


class Drop(StrEnum):
    """Why a message is not looked at further; a metric label."""

    UNKNOWN_HOP_BY_HOP = "unknown_hop_by_hop"
    """Also an answer that came too late."""
    OTHER_END_TO_END = "other_end_to_end"
    """An answer with the identifier of another request's."""
    ANSWER_BITS = "answer_bits"
    HOP_BY_HOP_IN_USE = "hop_by_hop_in_use"
    """A request with the identifier of one that still waits on this connection: the same again, or one that could not
    be told from it."""
    BASE_ANSWER = "base_answer"
    """CEA, DWA or DPA that nobody asked for."""


class Connect(NamedTuple):
    """Dial the peer; then peer.connected() or peer.connect_failed()."""

    peer: "Peer"


class StartTls(NamedTuple):
    """TLS begins on this connection after these octets, which go in the clear; then connection.secured() or
    connection.distrust()."""

    connection: "Connection"
    octets: bytes


class Opened(NamedTuple):
    peer: "Peer"
    capabilities: Capabilities


class Closed(NamedTuple):
    """The peer is open no more, or a dial came to nothing."""

    peer: "Peer"
    reason: Reason
    detail: str = ""


class Refused(NamedTuple):
    """An accepted connection was turned away."""

    connection: "Connection"
    origin_host: str
    refusal: Refusal


class Restarted(NamedTuple):
    """The peer's Origin-State-Id grew: its sessions are gone (RFC 6733 §8.16)."""

    peer: "Peer"
    origin_state_id: int


class Usable(NamedTuple):
    """The watchdog trusts the peer (RFC 3539's failback), or no more (failover)."""

    peer: "Peer"
    usable: bool


class Answer(NamedTuple):
    """What came for a request of ours."""

    peer: "Peer"
    context: object
    message: Message
    fault: tuple[int, bytes] | None
    """What its grammar says against it."""


class Unanswered(NamedTuple):
    """A request of ours that may or may not have arrived: send it elsewhere, or again, with the T bit."""

    peer: "Peer"
    context: object
    octets: bytes
    reason: Reason


Event = Connect | StartTls | Opened | Closed | Refused | Restarted | Usable | Request | Answer | Unanswered
