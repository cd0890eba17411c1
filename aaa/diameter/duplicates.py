"""Requests that come again (RFC 6733 §3, §5.5.4): answered as the first was, worked on once. Knows no application.

A request is the same as another when Origin-Host, End-to-End Identifier, command and Session-Id are: the T bit is a
hint that a relay may have lost, and a peer that restarted may come upon an old identifier, but not in an old session.
The same request may wait several times, by several ways: each gets the answer under the identifier that it came with.
"""

from collections import deque
from typing import Final

from aaa.diameter.request import Request
from aaa.limits import DIAMETER_DUPLICATES_BYTES_MAX, DIAMETER_DUPLICATES_COUNT_MAX, DIAMETER_DUPLICATES_S
from native import diameter

REPEATS_MAX: Final = 4
"""Ways by which one request may wait; Bound: a peer has two or three relays to go by."""
_NEW, _IN_WORK, _TOO_OFTEN = (True, None), (False, None), (False, b"")


class _Entry:
    def __init__(self, key: bytes, at: float) -> None:
        self.key = key
        self.at = at
        self.answer: bytes | None = None
        self.repeats: list[Request] | None = None
        self.octets = len(key)
        """What it keeps."""


class Duplicates:
    """What was answered lately, and what is being worked on."""

    def __init__(
        self,
        count_max: int = DIAMETER_DUPLICATES_COUNT_MAX,
        kept_s: float = DIAMETER_DUPLICATES_S,
        octets_max: int = DIAMETER_DUPLICATES_BYTES_MAX,
    ) -> None:
        self._count_max = count_max
        self._octets_max = octets_max
        self._kept_s = kept_s
        self._entries: dict[bytes, _Entry] = {}
        self._order: deque[_Entry] = deque()
        """In the order of their first coming; also those that were abandoned."""
        self.octets = 0
        """Of keys and answers that are kept."""
        self.repeated = 0
        """Requests that came again."""

    def __len__(self) -> int:
        return len(self._entries)

    def is_new(self, request: Request, now: float) -> tuple[bool, bytes | None]:
        """(True, None): work on it, and tell answered(). (False, octets): send these. (False, None): it is in work;
        answered() gives its answer as well. (False, b""): it waits too often already; nothing will answer this one."""
        self._forget(now)
        key = request.message.sameness()
        entry = self._entries.get(key)
        if entry is None:
            entry = request.entry = self._entries[key] = _Entry(key, now)
            self._order.append(entry)
            self.octets += entry.octets
            return _NEW
        self.repeated += 1
        if entry.answer is not None:
            return False, diameter.readdressed(entry.answer, request.message.hop_by_hop)
        if entry.repeats is None:
            entry.repeats = []
        if len(entry.repeats) >= REPEATS_MAX:
            return _TOO_OFTEN
        entry.repeats.append(request)
        return _IN_WORK

    def answered(self, request: Request, octets: bytes) -> list[tuple[Request, bytes]]:
        """Keep the answer to a request; what is to be sent to whom, the request itself first."""
        entry, request.entry = request.entry, None
        if entry is None:
            return [(request, octets)]
        is_kept = entry is self._entries.get(entry.key)
        if is_kept:
            entry.answer = octets
            entry.octets += len(octets)
            self.octets += len(octets)
        if entry.repeats is None:
            return [(request, octets)]
        repeats, entry.repeats = entry.repeats, None
        return [
            (request, octets),
            *[(again, diameter.readdressed(octets, again.message.hop_by_hop)) for again in repeats],
        ]

    def abandoned(self, request: Request) -> list[Request]:
        """The request gets no answer that may be repeated (such as 3004): the next time it is new. Who else waits."""
        entry: _Entry | None = request.entry
        if entry is None:
            return []
        request.entry = None
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        return entry.repeats or []

    def _forget(self, now: float) -> None:
        # One goes for each that comes, and two where they are too old: the table shrinks as fast as it can grow.
        if len(self._order) >= self._count_max:
            self._drop_first()
        while self.octets > self._octets_max:
            self._drop_first()
        for _ in range(2):
            if not self._order:
                return
            entry = self._order[0]
            if entry.at + self._kept_s > now:
                return
            self._drop_first()

    def _drop_first(self) -> None:
        entry = self._order.popleft()
        self.octets -= entry.octets
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
