"""Is the peer still there (RFC 3539 §3.4.1)? One Watchdog for each peer. Knows no message and no clock.

Theory of operation: anything that is received proves life. When nothing came for Tw, a DWR is sent; when Tw passes
again without a sign, the connection is suspect, and its requests go elsewhere; after one more it is closed. A
connection that comes back after that has to answer three watchdogs before our requests prefer it again (REOPEN).

Deviations: AttemptOpen is the peer machine's, by its Tc. In REOPEN nothing is thrown away: what a peer asks is
answered, because a PCEF with one PCRF would wait for nothing. A connection that ended in good order (DPR) comes back as
INITIAL.
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from aaa.limits import DIAMETER_TW_JITTER_S, DIAMETER_TW_S_MIN

REOPEN_DWA_COUNT: Final = 3
"""Answers after which a connection that was down is trusted again."""


class WatchdogState(Enum):
    INITIAL = auto()
    OKAY = auto()
    SUSPECT = auto()
    DOWN = auto()
    REOPEN = auto()


_OKAY, _SUSPECT, _REOPEN = WatchdogState.OKAY, WatchdogState.SUSPECT, WatchdogState.REOPEN


class Order(Enum):
    """What the watchdog wants done."""

    SEND_WATCHDOG = auto()
    FAILOVER = auto()
    """What is in flight goes elsewhere."""
    FAILBACK = auto()
    """This peer can be preferred again."""
    CLOSE_CONNECTION = auto()


class Watchdog:
    def __init__(self, tw_s: float, jitter: Callable[[], float]) -> None:
        """tw_s: seconds, raised to 6 (RFC 3539). jitter: gives 0..1, evenly."""
        self._tw_s = max(tw_s, DIAMETER_TW_S_MIN)
        self._jitter = jitter
        self.state = WatchdogState.INITIAL
        self.pending = False
        """A DWR is out."""
        self.deadline: float | None = None
        """Monotonic seconds; None while there is no connection."""
        self._answers = 0
        self._interval_s = self._tw_s

    def use(self, tw_s: float) -> None:
        """Another Tw, from its next interval on."""
        self._tw_s = max(tw_s, DIAMETER_TW_S_MIN)

    def _set(self, now: float) -> None:
        self.deadline = now + self._interval_s

    def _set_anew(self, now: float) -> None:
        self._interval_s = self._tw_s + DIAMETER_TW_JITTER_S * (2.0 * self._jitter() - 1.0)
        self._set(now)

    def connection_up(self, now: float) -> tuple[Order, ...]:
        self._set_anew(now)
        if self.state is WatchdogState.DOWN:
            self.state = WatchdogState.REOPEN
            self._answers = 0
            self.pending = True
            return (Order.SEND_WATCHDOG,)
        self.state = WatchdogState.OKAY
        self.pending = False
        return ()

    def connection_down(self, in_good_order: bool = False) -> tuple[Order, ...]:
        """in_good_order: after DPR and DPA, or because we wanted it."""
        before = self.state
        self.deadline = None
        self.pending = False
        self.state = WatchdogState.INITIAL if in_good_order else WatchdogState.DOWN
        return (Order.FAILOVER,) if before is WatchdogState.OKAY else ()

    def received(self, is_answer: bool, now: float) -> tuple[Order, ...]:
        """Something came on the open connection; is_answer: it is a DWA. Cost: every message pays for this."""
        if is_answer:
            self.pending = False
        if self.state is _OKAY:
            self.deadline = now + self._interval_s
            return ()
        if self.state is _SUSPECT:
            self.state = WatchdogState.OKAY
            self._set(now)
            return (Order.FAILBACK,)
        if self.state is _REOPEN and is_answer:
            self._answers += 1
            if self._answers >= REOPEN_DWA_COUNT:
                self.state = WatchdogState.OKAY
                return (Order.FAILBACK,)
        return ()

    def expired(self, now: float) -> tuple[Order, ...]:
        """The deadline has come."""
        self._set_anew(now)
        if not self.pending and self.state in (WatchdogState.OKAY, WatchdogState.REOPEN):
            self.pending = True
            return (Order.SEND_WATCHDOG,)
        if self.state is WatchdogState.OKAY:
            self.state = WatchdogState.SUSPECT
            return (Order.FAILOVER,)
        if self.state is WatchdogState.REOPEN and self._answers >= 0:
            self._answers = -1
            return ()
        if self.state in (WatchdogState.SUSPECT, WatchdogState.REOPEN):
            self.state = WatchdogState.DOWN
            self.deadline = None
            return (Order.CLOSE_CONNECTION,)
        self.deadline = None
        return ()
