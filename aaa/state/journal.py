"""The journal: rows that commands caused go to the writer in groups; whoever waits is told when they are durable.

This is the seam behind which a replicated log can stand: everything above it knows append, flush and durable only.
Knows rows and their kinds, not what they mean. One group is open; up to JOURNAL_GROUPS_IN_FLIGHT_MAX are under way.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from aaa.limits import JOURNAL_GROUPS_IN_FLIGHT_MAX, JOURNAL_ROWS_AHEAD_MAX
from aaa.state.schema import Row

KINDS = len(Row)


class Transport(Protocol):
    """Where encoded groups go; the writer's socket."""

    def write(self, data: bytes) -> None: ...


class Journal:
    """Collects rows, sends groups, and calls back in order when they are durable."""

    def __init__(self, collect: Callable[[Journal], None] | None = None) -> None:
        """collect: called before a group closes, to append the rows of records that were marked dirty."""
        self.collect = collect
        self.transport: Transport | None = None
        self.before_flush: Callable[[], None] | None = None
        """Called once, before the open group is closed: what belongs into it is still owed."""
        self.group = 1
        """Number of the open group."""
        self.sent = 0
        self.durable = 0
        self.rows_ahead = 0
        self.rows_total = 0
        self._rows: list[list[tuple[Any, ...]]] = [[] for _ in range(KINDS)]
        self._keyed: dict[tuple[int, tuple[Any, ...]], tuple[int, tuple[Any, ...] | None]] = {}
        self._count = 0
        self._marked = False
        self._waiters: list[Callable[[], None]] = []
        self._in_flight: deque[tuple[int, int, list[Callable[[], None]]]] = deque()
        self._encoder = msgspec.msgpack.Encoder()
        self._acks = bytearray()

    def append(self, kind: int, row: tuple[Any, ...]) -> None:
        """Add a row to the open group."""
        self._rows[kind].append(row)
        self._count += 1

    def settle(self, kind: int, delete_kind: int, key: tuple[Any, ...], row: tuple[Any, ...] | None) -> None:
        """What a key's row is to be at the end of the group, None for none: rows of one kind go before those of the
        next, so writing and deleting the same key in one group must not be told apart by order."""
        self._keyed[kind, key] = (delete_kind, row)
        self._count += 1

    def mark(self) -> None:
        """A record was marked dirty: the open group has something to collect."""
        self._marked = True

    def when_durable(self, waiter: Callable[[], None]) -> None:
        """Call `waiter` once everything appended or marked so far is durable; at once when it already is."""
        if self._count or self._marked or self._waiters:
            self._waiters.append(waiter)
        elif self._in_flight:
            self._in_flight[-1][2].append(waiter)
        else:
            waiter()

    @property
    def open_rows(self) -> int:
        """Rows in the open group, those that dirty records will add apart."""
        return self._count

    @property
    def congested(self) -> bool:
        """True while so much is ahead of the disk that nothing more should be read that writes."""
        return self.rows_ahead + self._count > JOURNAL_ROWS_AHEAD_MAX

    def flush(self) -> None:
        """Close the open group and send it, unless enough are under way: then it goes on growing."""
        if self.before_flush is not None:
            owed, self.before_flush = self.before_flush, None
            owed()
        if not (self._count or self._marked) or len(self._in_flight) >= JOURNAL_GROUPS_IN_FLIGHT_MAX:
            return
        if self._marked and self.collect is not None:
            self.collect(self)
        self._marked = False
        for (kind, key), (delete_kind, row) in self._keyed.items():
            if row is None:
                self._rows[delete_kind].append(key)
            else:
                self._rows[kind].append(row)
        self._keyed.clear()
        rows = [(kind, batch) for kind, batch in enumerate(self._rows) if batch]
        waiters, count = self._waiters, self._count
        if not rows:
            self._waiters = []
            self._settle_or_follow(waiters)
            return
        data = self._encoder.encode((self.group, rows))
        self._rows = [[] for _ in range(KINDS)]
        self._count = 0
        self._waiters = []
        self._in_flight.append((self.group, count, waiters))
        self.rows_ahead += count
        self.rows_total += count
        self.sent = self.group
        self.group += 1
        assert self.transport is not None, "the journal is not connected to a writer"
        self.transport.write(struct.pack(">I", len(data)) + data)

    def _settle_or_follow(self, waiters: list[Callable[[], None]]) -> None:
        if self._in_flight:
            self._in_flight[-1][2].extend(waiters)
        else:
            for waiter in waiters:
                waiter()

    def receive(self, data: bytes) -> None:
        """Octets from the writer: 8 for each highest durable group."""
        self._acks += data
        usable = len(self._acks) // 8 * 8
        if not usable:
            return
        (durable,) = struct.unpack_from(">Q", self._acks, usable - 8)
        del self._acks[:usable]
        self.durable = durable
        while self._in_flight and self._in_flight[0][0] <= durable:
            _, count, waiters = self._in_flight.popleft()
            self.rows_ahead -= count
            for waiter in waiters:
                waiter()
        self.flush()

    @property
    def idle(self) -> bool:
        """True when nothing is open or under way."""
        return not (self._count or self._marked or self._in_flight or self._waiters)
