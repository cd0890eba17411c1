"""Time for the rooms that may ask for it; machines, policy and commands get it as an argument."""

import time
from typing import Protocol


class Clock(Protocol):
    """Where a moment comes from."""

    def now(self) -> float:
        """Monotonic seconds, for deadlines and intervals."""

    def at(self) -> float:
        """Epoch seconds, for records and policy."""


class SystemClock:
    """The machine's clock."""

    __slots__ = ()

    def now(self) -> float:
        return time.monotonic()

    def at(self) -> float:
        return time.time()


class ManualClock:
    """A clock that moves only when told: tests and simulations."""

    __slots__ = ("_at", "_now")

    def __init__(self, at: float = 1_700_000_000.0, now: float = 1_000.0) -> None:
        self._at = at
        self._now = now

    def now(self) -> float:
        return self._now

    def at(self) -> float:
        return self._at

    def advance(self, seconds: float) -> None:
        """Let time pass on both scales. Raises ValueError when negative; step() moves the wall clock alone."""
        if seconds < 0:
            raise ValueError("a monotonic clock does not go back")
        self._now += seconds
        self._at += seconds

    def step(self, seconds: float) -> None:
        """Set the wall clock forward or back, as NTP or an operator does."""
        self._at += seconds
