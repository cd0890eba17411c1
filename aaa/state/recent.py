"""Rows that change often and all over their tables: logged in one place first, folded into the tables later.

Every live session's counters and every service's balance change with each report, each on a page of its own. A group's
rows of these kinds are therefore one row of the table `recent`; the newest row of each key is remembered, and when
enough keys have gathered they are written to their tables in the order of their keys: one page takes many of them.
Replaying the log from the start gives the same tables: rows are whole values, later ones supersede earlier ones.
Knows kinds and keys of rows, not what they mean.
"""

import sqlite3
from collections.abc import Iterable
from typing import Any

import msgspec

from aaa.limits import RECENT_KEYS_MAX, RECENT_SLICE_COUNT
from aaa.state.schema import STATEMENTS, Row

DEFERRED = {
    int(Row.USAGE): 0,
    int(Row.ACCOUNT): 0,
    int(Row.SESSION): 0,
    int(Row.SESSION_COUNTERS): -1,
    int(Row.SESSION_PROGRESS): -1,
}
"""Kinds that are logged first, with the position of the key in their rows. Applied in this order."""
SESSION, COUNTERS, PROGRESS = int(Row.SESSION), int(Row.SESSION_COUNTERS), int(Row.SESSION_PROGRESS)
SESSIONS = (SESSION, COUNTERS, PROGRESS)
USAGE, ACCOUNT = int(Row.USAGE), int(Row.ACCOUNT)
SUPERSEDED = {
    int(Row.SESSION_FORGET): SESSIONS,
    int(Row.USAGE_DELETE): (USAGE,),
    int(Row.ACCOUNT_DELETE): (ACCOUNT,),
}
"""Kinds that end a key, with the kinds whose rows of that key are void from then on."""
LOGGED = {*DEFERRED, *SUPERSEDED}

Rows = list[list[Any]]
Key = int | str
GROUPS = msgspec.msgpack.Decoder(list[tuple[int, Rows]])


class Recent:
    """The newest row of every key that the tables do not have yet."""

    def __init__(self, keys_max: int = RECENT_KEYS_MAX, slice_count: int = RECENT_SLICE_COUNT) -> None:
        """keys_max: keys that make a fold due. slice_count: keys that one call of fold() writes."""
        self._keys_max = keys_max
        self._slice_count = slice_count
        self.rows: dict[int, dict[Any, list[Any]]] = {kind: {} for kind in DEFERRED}
        self.seq = 0
        """Of the newest row of the log."""
        self._work: list[tuple[int, Key]] = []
        """(kind, key) still to be written in this fold, last first."""
        self._cut = 0
        """The log up to here is in the tables when the work is done; 0: no fold is under way."""
        self._written: list[tuple[int, Key]] = []

    @property
    def folding(self) -> bool:
        return self._cut > 0

    @property
    def count(self) -> int:
        """Keys with rows that are not in the tables."""
        return sum(len(rows) for rows in self.rows.values())

    def note(self, kind: int, rows: Rows) -> None:
        """Remember rows of a kind in LOGGED, in the order of the log."""
        if kind in DEFERRED:
            position = DEFERRED[kind]
            latest = self.rows[kind]
            for row in rows:
                latest[row[position]] = row
            if kind == SESSION:
                for row in rows:
                    self.rows[COUNTERS].pop(row[0], None)
                    self.rows[PROGRESS].pop(row[0], None)
        else:
            for void in SUPERSEDED[kind]:
                for row in rows:
                    self.rows[void].pop(row[0], None)

    def write_keys(self, db: sqlite3.Connection, kinds: Iterable[int], keys: Iterable[Key]) -> None:
        """Write what is known of some keys to the tables now; it stays remembered."""
        keys = list(keys)
        for kind in kinds:
            latest = self.rows[kind]
            known = [latest[key] for key in keys if key in latest]
            if known:
                db.executemany(STATEMENTS[Row(kind)], known)

    def append(self, db: sqlite3.Connection, groups: bytes) -> None:
        """Log one transaction's rows: msgpack of [[kind, rows], ...]."""
        db.execute("INSERT INTO recent VALUES (?, ?)", (self.seq + 1, groups))

    def fold(self, db: sqlite3.Connection) -> None:
        """Write a slice to the tables, or, when all is written, cut the log. Part of a transaction: see settle()."""
        if not self._work:
            db.execute("DELETE FROM recent WHERE seq <= ?", (self._cut,))
            return
        chosen = self._work[-self._slice_count :]
        for kind in DEFERRED:
            self.write_keys(db, (kind,), [key for of, key in reversed(chosen) if of == kind])
        self._written = chosen

    def settle(self) -> None:
        """The transaction with a fold() in it is durable."""
        if not self._work:
            self._cut = 0
            return
        del self._work[-len(self._written) :]
        for kind, key in self._written:
            self.rows[kind].pop(key, None)
        self._written = []

    def begin_fold(self) -> None:
        """Fold what is known now; rows that come meanwhile stay for the next fold, or go along."""
        # A session's row and what updates it belong into one slice: sorted by key first.
        sessions = sorted({key for kind in SESSIONS for key in self.rows[kind]}, reverse=True)
        self._work = [(kind, key) for kind in (ACCOUNT, USAGE) for key in sorted(self.rows[kind], reverse=True)]
        self._work += [(kind, key) for key in sessions for kind in reversed(SESSIONS)]
        self._cut = self.seq

    @property
    def is_due(self) -> bool:
        """Whether enough keys have gathered for a fold."""
        return not self.folding and self.count >= self._keys_max


def replay(db: sqlite3.Connection) -> int:
    """Fold the whole log into the tables: at start-up, before they are read. Returns the rows of the log."""
    recent = Recent()
    count = 0
    for (groups,) in db.execute("SELECT rows FROM recent ORDER BY seq"):
        count += 1
        for kind, rows in GROUPS.decode(groups):
            recent.note(kind, rows)
    if count:
        db.execute("BEGIN IMMEDIATE")
        for kind, rows_by_key in recent.rows.items():
            recent.write_keys(db, (kind,), sorted(rows_by_key))
        db.execute("DELETE FROM recent")
        db.execute("COMMIT")
    return count
