"""What a charging client reports and asks for, whatever protocol brings it. Knows no wire and no storage."""

from __future__ import annotations

from msgspec import Struct


class Units(Struct, gc=False):
    """One service of a request: what it used since it last reported, and whether it wants more."""

    group: int
    """Its key in GyFacts.grants."""
    service: int = -1
    """Service-Identifier; -1: none."""
    asked: bool = False
    input_octets: int = 0
    """From the subscriber."""
    output_octets: int = 0
    time_s: int = 0
    """As the client says; not to be believed."""
