"""An access attempt and its outcome in neutral words: no attribute numbers, no storage.

Compiled (access.pxd): one of each is made per packet. Fields that __init__ does not name begin as None, 0 or
False, which the compiled classes see to.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aaa.model.records import DecisionRecord, NasRecord, ServiceRecord


class Verdict(enum.IntEnum):
    """What becomes of an attempt; each row ends as exactly one."""

    ACCEPT = 0
    REJECT = 1
    SLOW = 2
    """The proof needs a slow hash: finish the row alone, then resume it."""


class Cause(enum.IntEnum):
    """Why an attempt was refused; a metric label and a log field."""

    NONE = 0
    UNKNOWN_USER = 1
    WRONG_PASSWORD = 2
    METHOD_UNSUPPORTED = 3
    LOCKED_OUT = 4
    WRONG_PLACE = 5
    DENIED = 6
    TOO_MANY_SESSIONS = 7
    NO_ADDRESS = 8


class Attempt:
    """One Access-Request as the engine sees it. Octet fields are as received; None is absent."""

    nas: NasRecord
    user_name: bytes
    method: int
    password: bytes | None
    """PAP: in clear."""
    chap_identifier: int
    challenge: bytes
    """CHAP, MS-CHAP: the authenticator's."""
    peer_challenge: bytes
    response: bytes
    calling_station: bytes | None
    called_station: bytes | None
    nas_port_id: bytes | None
    circuit_id: bytes | None
    remote_id: bytes | None
    call_check: bool
    """Service-Type Call-Check: the device is asked for, not a user."""
    at: float
    """Epoch seconds."""

    def __init__(self, nas: NasRecord, user_name: bytes, at: float) -> None:
        self.nas = nas
        self.user_name = user_name
        self.at = at
        self.challenge = b""
        self.peer_challenge = b""
        self.response = b""


class Outcome:
    """The engine's answer to one attempt."""

    verdict: int
    cause: int
    message: str
    """Reply-Message of a reject."""
    service: ServiceRecord | None
    decision: DecisionRecord | None
    session_id: int
    """Carried in Class and back by accounting."""
    session_timeout_s: int
    """0: none."""
    interim_interval_s: int
    framed_ip: bytes | None
    framed_prefix: bytes | None
    """IPv6 prefix for the link: length octet and 16 octets."""
    delegated_prefix: bytes | None
    proof: tuple[bytes, bytes, bytes] | None
    """MS-CHAPv2: authenticator response digest, send key, receive key."""
    password_hash: bytes | None
    """MS-CHAPv1: NT hash that MPPE keys derive from."""
    slow: object
    """The verifier that a SLOW row's password is to be checked against."""
    durable: bool
    """False: the answer may leave only when what the attempt wrote is durable."""

    def __init__(self, verdict: int, cause: int = 0, message: str = "") -> None:
        self.verdict = verdict
        self.cause = cause
        self.message = message
        self.durable = True
