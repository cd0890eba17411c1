"""Duplicate cache (RFC 5080 §2.2.2): fixed memory, set-associative, no allocation per packet beyond the kept response."""

from typing import Final
from native.radius import Packet

NEW: Final = 0
IN_WORK: Final = 1

class DuplicateCache:
    def __init__(self, entries: int = 65536, lifetime_s: float = 5.0) -> None:
        """entries: rounded up to a power of two."""
    def check(self, packet: Packet, now: float) -> bytes | int:
        """The kept response of a retransmission; IN_WORK when its first is not yet answered; NEW otherwise, and the
        packet is then recorded as in work. A packet is the same when far address and port, code, identifier and
        Request Authenticator are the same; same address, port, code and identifier with another authenticator replaces it.
        now: monotonic seconds."""
    def keep(self, packet: Packet, response: bytes, now: float) -> None:
        """Record the response; nothing happens when the entry was displaced."""
    def forget(self, packet: Packet) -> None:
        """The packet was dropped without an answer: its retransmission is new."""
    def __len__(self) -> int: ...
