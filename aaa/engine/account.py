"""What a batch of accounting reports does: fold each into the store. No codec, no socket. Compiled."""

from __future__ import annotations

from aaa.engine.addresses import Addresses
from aaa.engine.engine import Engine
from aaa.limits import CLOSED_AT_ONCE_COUNT_MAX
from aaa.model.accounting import AccountingOutcome, AccountingRecord
from aaa.state.sessions import apply_accounting, close_some
from aaa.state.store import Store


class Accountant:
    """Accounts batches of records."""

    def __init__(self, store: Store, addresses: Addresses) -> None:
        self.store = store
        self.addresses = addresses
        self.engine: Engine | None = None
        """Follows up what reports change, in the same journal group."""
        self.outcomes = [0] * len(AccountingOutcome)
        """Counts by AccountingOutcome."""

    def account(self, records: list[AccountingRecord], at: float) -> list[int]:
        """One AccountingOutcome per record, same order. Durable when the journal's open group is.

        at: epoch seconds of arrival.
        """
        outcomes: list[int] = []
        for record in records:
            outcome = apply_accounting(self.store, record)
            self.outcomes[outcome] += 1
            outcomes.append(outcome)
        if self.store.closing:
            close_some(self.store, CLOSED_AT_ONCE_COUNT_MAX)
        if self.store.opened or self.store.ended:
            self.addresses.settle(at)
        engine = self.engine
        if engine is not None and not engine.idle:
            engine.settle(at)
        return outcomes
