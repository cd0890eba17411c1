"""Reads of the store from the HTTP process: SQLite, read-only, in a thread; the packet loop does not feel them."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
BUSY_S = 5.0


class History:
    """One reader at a time. What is durable is seen; what was just answered is durable."""

    def __init__(self, path: str) -> None:
        """path: of the store's database; "": there is none, and every question has no rows."""
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="history")
        self._db: sqlite3.Connection | None = None

    async def rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows. Raises sqlite3.Error."""
        return await self.read(lambda db: db.execute(query, values).fetchall()) or []

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T | None:
        """What `work` makes of the connection, in the thread; None without a store. Raises sqlite3.Error."""
        if not self._path:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, work)

    def close(self) -> None:
        """Where it was somebody's own; what is being read ends first."""
        self._thread.submit(self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._db is None:
            uri = f"{Path(self._path).absolute().as_uri()}?mode=ro"
            self._db = sqlite3.connect(uri, uri=True, timeout=BUSY_S, check_same_thread=False)
        try:
            return work(self._db)
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None
            raise
