"""Buckets of octets and how usage empties them: pure integer arithmetic. Knows no clock and no storage."""

from typing import Literal

from msgspec import Struct


class Bucket(Struct, frozen=True, gc=False, omit_defaults=True):
    """Octets that may be used until a moment."""

    kind: Literal["cycle", "roll_over", "top_up"]
    id: str
    """Of a top-up: the client's own; else the service's that brings it."""
    octets: int
    ends_at: float
    """Epoch seconds, exclusive; what is left then is lost (of a cycle's: rolled over where the plan says so)."""
    used: int = 0
