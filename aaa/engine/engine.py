"""The engine's work between packets: events lead to automations, changes to comparisons, differences to requests.

The server calls settle() after whatever applied commands (a batch of accounting, an admin's operation, a policy), and
tick() by a timer; while one of them says that there is more, it is called again between two looks at the packets.
"""

from __future__ import annotations

from collections.abc import Callable

from aaa.engine.addresses import Addresses
from aaa.engine.automate import Automator
from aaa.engine.enforce import Enforcer
from aaa.engine.timers import Timers
from aaa.limits import SETTLE_ROUNDS_MAX
from aaa.state.store import Store


class Engine:
    """Runs its parts until nothing new comes of it, within a bound."""

    def __init__(
        self, store: Store, addresses: Addresses, enforcer: Enforcer, automator: Automator, timers: Timers
    ) -> None:
        self.store = store
        self.addresses = addresses
        self.enforcer = enforcer
        self.automator = automator
        self.timers = timers
        self.is_due = False
        """Time has brought more than one slice of deadlines."""
        self.again: Callable[[], None] = lambda: None
        """Called when there is more to do now."""

    @property
    def idle(self) -> bool:
        """Whether settle() would find nothing: what the packet path asks before it calls."""
        store = self.store
        return not (
            store.affected
            or store.new_events
            or store.affected_plans
            or store.affected_all
            or store.barred
            or store.orphaned
        )

    def settle(self, at: float) -> bool:
        """Carry out what has changed; True: there is more to do now. at: epoch seconds."""
        if self.is_due:
            self.is_due = self.timers.tick(at)
        more = False
        for _ in range(SETTLE_ROUNDS_MAX):
            more = self.automator.run(at)
            more = self.enforcer.settle(at) or more
            if self.store.opened or self.store.ended:
                self.addresses.settle(at)
            if self.idle or more:
                break
        if more or self.is_due or not self.idle:
            self.again()
            return True
        return False

    def tick(self, at: float) -> bool:
        """As settle(), after what time alone brings."""
        # What comes of them is carried out first: a slice is as long as both together.
        is_due, self.is_due = self.timers.tick(at), False
        try:
            more = self.enforcer.tick(at)
            more = self.settle(at) or more or is_due
        finally:
            self.is_due = is_due
        if more:
            self.again()
        return more
