"""Which events are of which service: an index that is written late, many entries at a time.

Every entry of it is somewhere else in the tree: written with its event, each costs a page of its own. So they gather in
memory, and go to the table `event_of` in the order of services, of which one page takes many. Until then a reader looks
through the newest events themselves: OF_SERVICE is the condition for both. Nothing is lost by a crash: what the table
does not have yet is read back from the events.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from aaa.limits import EVENTS_UNINDEXED_MAX, RECENT_SLICE_COUNT

INDEXED: Final = "events_indexed"
"""Key in META: events up to this one are in the table."""
OF_SERVICE: Final = (
    "seq IN (SELECT seq FROM event_of WHERE service = ? UNION ALL SELECT seq FROM event WHERE service = ? AND seq >"
    f" (SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM meta WHERE key = '{INDEXED}'))"
)
"""Condition on `event` for the events of one service, which is given twice."""
SERVICE_COLUMN: Final = 7
"""Of an event's row."""


class EventIndex:
    """What of the index is not in its table yet."""

    def __init__(self, db: sqlite3.Connection, unindexed_max: int = EVENTS_UNINDEXED_MAX) -> None:
        """db: migrated."""
        self._unindexed_max = unindexed_max
        (upto,) = db.execute("SELECT max(CAST(value AS INTEGER)) FROM meta WHERE key = ?", (INDEXED,)).fetchone()
        newest = "SELECT service, seq FROM event WHERE seq > ? AND service != '' ORDER BY seq"
        self._entries: list[tuple[str, int]] = db.execute(newest, (upto or 0,)).fetchall()
        self._work: list[tuple[str, int]] = []
        """To be written, the last first."""
        self._upto = 0
        """What the table has when the work is done."""
        self._count = 0
        """Of the work, what the running transaction writes."""

    @property
    def is_writing(self) -> bool:
        return self._upto > 0

    @property
    def is_due(self) -> bool:
        """Whether enough have gathered."""
        return not self.is_writing and len(self._entries) >= self._unindexed_max

    def note(self, rows: Sequence[Sequence[Any]]) -> None:
        """Rows of events."""
        self._entries += [(row[SERVICE_COLUMN], row[0]) for row in rows if row[SERVICE_COLUMN]]

    def begin(self) -> None:
        """Write what has gathered, slice by slice; nothing has: nothing begins."""
        if self._entries:
            self._upto = self._entries[-1][1]
            self._work, self._entries = sorted(self._entries, reverse=True), []

    def write(self, db: sqlite3.Connection) -> None:
        """A slice, or, when all is written, up to where. Part of a transaction: see settle()."""
        chosen = self._work[-RECENT_SLICE_COUNT:]
        self._count = len(chosen)
        if chosen:
            db.executemany("INSERT OR IGNORE INTO event_of VALUES (?, ?)", reversed(chosen))
        else:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (INDEXED, str(self._upto)))

    def settle(self) -> None:
        """The transaction with a write() in it is durable."""
        if self._count:
            del self._work[-self._count :]
        else:
            self._upto = 0
