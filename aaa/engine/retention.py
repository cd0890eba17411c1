"""How long history is kept: asks the writer, a slice at a time, to drop what is older. Knows spans, no SQL."""

from __future__ import annotations

from aaa.limits import IDEMPOTENCY_KEPT_S, RETENTION_INTERVAL_S
from aaa.state.schema import History, Row
from aaa.state.store import Store


class Retention:
    """Sends cut-off times for each kind of history."""

    def __init__(self, store: Store, events_s: float, leases_s: float, cdrs_s: float, audit_s: float) -> None:
        self.store = store
        self.due_at = 0.0
        self.use(events_s, leases_s, cdrs_s, audit_s)

    def use(self, events_s: float, leases_s: float, cdrs_s: float, audit_s: float) -> None:
        """Take new spans, in seconds."""
        # Who had an address is told with the session that had it; a receipt with the events that tell of it.
        self.spans = {
            History.EVENTS: events_s,
            History.ENFORCEMENTS: events_s,
            History.LEASES: leases_s,
            History.SESSIONS: max(cdrs_s, leases_s),
            History.AUDIT: audit_s,
            History.IDEMPOTENCY: IDEMPOTENCY_KEPT_S,
        }

    def tick(self, at: float) -> None:
        """Ask for one slice of each kind, when it is time. at: epoch seconds."""
        if at < self.due_at:
            return
        self.due_at = at + RETENTION_INTERVAL_S
        for kind, span_s in self.spans.items():
            self.store.journal.append(Row.PRUNE, (int(kind), at - span_s))
