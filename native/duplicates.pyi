"""Duplicate cache (RFC 5080 §2.2.2): fixed memory, set-associative, nothing allocated per packet but its response."""

from typing import Final

from native.datagram import Datagram

NEW: Final = 0
IN_WORK: Final = 1

class DuplicateCache:
    displaced: int
    """Entries still alive that newer ones pushed out: when it grows, the cache is too small for the load."""

    def __init__(self, entries: int = 65536, lifetime_s: float = 5.0, key: bytes | None = None) -> None:
        """entries: 1..2^24, rounded up to a power of two, at least 8. key: 16 octets, random unless a simulation
        must repeat itself. Raises ValueError out of range."""
    def check(self, packet: Datagram, now: float) -> bytes | int:
        """The kept response of a retransmission; IN_WORK when its first is not yet answered; NEW otherwise, and the
        packet is then recorded as in work.

        A packet is the same when far address and port, code, identifier and Request Authenticator are the same; same
        address, port, code and identifier with another authenticator replaces it.
        now: monotonic seconds. Raises ValueError for a packet under 20 octets."""
    def keep(self, packet: Datagram, response: bytes, now: float) -> None:
        """Record the response, for lifetime_s from now; nothing happens when the entry was displaced or replaced."""
    def forget(self, packet: Datagram) -> None:
        """The packet was dropped without an answer: its retransmission is new."""
    def __len__(self) -> int:
        """Entries held; an expired one counts until it is displaced."""
