"""One accounting report in neutral words. Compiled (accounting.pxd): one is made per packet.

Fields that __init__ does not name begin as None, 0 or False, which the compiled class sees to.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aaa.model.mobile import Mobile
    from aaa.model.records import NasRecord


class Status(enum.IntEnum):
    """Acct-Status-Type (RFC 2866 §5.1); others are answered and counted only."""

    START = 1
    STOP = 2
    INTERIM = 3
    ON = 7
    OFF = 8
    OTHER = 0


class AccountingOutcome(enum.IntEnum):
    """What a report did; a metric label."""

    STARTED = 0
    UPDATED = 1
    STOPPED = 2
    REPEATED = 3
    """Nothing new in it: a duplicate, or older than what is known."""
    ADOPTED = 4
    """First seen without an authorisation here."""
    NAS_RESTARTED = 5
    IGNORED = 6


class AccountingRecord:
    """A report of one session at one moment."""

    nas: NasRecord
    status: int
    session_key: bytes
    """Acct-Session-Id as sent; b"" when absent."""
    multi_key: bytes | None
    """Acct-Multi-Session-Id or the vendor's parent id."""
    service_session: bool
    """A service inside a session (its own Acct-Session-Id), not a login."""
    token_session: int
    """Session id from our Class; 0: none or not ours."""
    token_service: int
    token_decision: int
    """Mark of the decision that the Accept carried."""
    user_name: bytes
    at: float
    """Epoch seconds of the event: corrected by Acct-Delay-Time or Event-Timestamp."""
    received_at: float
    session_time_s: int
    """-1: not reported."""
    input_octets: int
    """From the subscriber, Gigawords included; -1: not reported."""
    output_octets: int
    wide: bool
    """Gigawords were sent: a counter below the last is no 32-bit wrap."""
    terminate_cause: int
    framed_ip: bytes | None
    framed_ipv6: bytes | None
    framed_prefix: bytes | None
    delegated_prefix: bytes | None
    calling_station: bytes | None
    called_station: bytes | None
    nas_port_id: bytes | None
    circuit_id: bytes | None
    remote_id: bytes | None
    mobile: Mobile | None
    """Of a gateway's report that names the IMSI."""

    def __init__(self, nas: NasRecord, status: int, session_key: bytes, at: float, received_at: float) -> None:
        self.nas = nas
        self.status = status
        self.session_key = session_key
        self.at = at
        self.received_at = received_at
        self.user_name = b""
        self.session_time_s = -1
        self.input_octets = -1
        self.output_octets = -1
