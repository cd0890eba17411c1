"""Which MMEs were told that registrations may be lost: each once after a backup was restored (TS 23.007 §10)."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from aaa.limits import NASES_COUNT_MAX
from aaa.state.schema import Row
from aaa.state.store import Store

TOLD: Final = "reset_told"
"""Key in `meta`: the moment of the restore that it is about, and Origin-Hosts."""
RESTORED_AT: Final = "restored_at"


class Resets:
    """What a store owes to the MMEs that it comes to know of."""

    def __init__(self, store: Store, db: sqlite3.Connection) -> None:
        """db: the store's database."""
        self._store = store
        meta = dict(db.execute("SELECT key, value FROM meta WHERE key IN (?, ?)", (TOLD, RESTORED_AT)))
        self._restored_at = float(meta.get(RESTORED_AT, 0))
        """0: it never was."""
        at, hosts = msgspec.json.decode(meta.get(TOLD, "[0, []]"), type=tuple[float, list[str]])
        self._told: set[str] = set(hosts) if at == self._restored_at else set()

    def owes(self, origin_host: str) -> bool:
        """Whether an MME is to be told. origin_host: in lower case."""
        return bool(self._restored_at) and origin_host not in self._told

    def note_told(self, origin_host: str) -> None:
        """It has answered."""
        if len(self._told) < NASES_COUNT_MAX:
            self._told.add(origin_host)
            text = msgspec.json.encode((self._restored_at, sorted(self._told))).decode()
            self._store.journal.append(Row.META, (TOLD, text))
