"""Requests that come again (RFC 6733 §3, §5.5.4): answered as the first was, worked on once. Knows no application.

A request is the same as another when Origin-Host, End-to-End Identifier, command and Session-Id are: the T bit is a
hint that a relay may have lost, and a peer that restarted may come upon an old identifier, but not in an old session.
The same request may wait several times, by several ways: each gets the answer under the identifier that it came with.
"""

from typing import Final

from aaa.diameter import codes
from aaa.diameter.events import Request
from aaa.limits import DIAMETER_DUPLICATES_COUNT_MAX, DIAMETER_DUPLICATES_S
from native import diameter

REPEATS_MAX: Final = 4
"""Ways by which one request may wait; Bound: a peer has two or three relays to go by."""
Key = tuple[int, bytes | None, bytes | None, int]


class _Entry:
    __slots__ = ("answer", "at", "repeats")

    def __init__(self, at: float) -> None:
        self.at = at
        self.answer: bytes | None = None
        self.repeats: list[Request] = []


class Duplicates:
    """What was answered lately, and what is being worked on."""

    def __init__(self, count_max: int = DIAMETER_DUPLICATES_COUNT_MAX, kept_s: float = DIAMETER_DUPLICATES_S) -> None:
        self._count_max = count_max
        self._kept_s = kept_s
        self._entries: dict[Key, _Entry] = {}
        """In the order of their first coming."""
        self.repeated = 0
        """Requests that came again."""

    def __len__(self) -> int:
        return len(self._entries)

    def is_new(self, request: Request, now: float) -> tuple[bool, bytes | None]:
        """(True, None): work on it, and tell answered(). (False, octets): send these. (False, None): it is in work;
        answered() gives its answer as well."""
        self._forget(now)
        key = _key(request)
        entry = self._entries.get(key)
        if entry is None:
            if len(self._entries) >= self._count_max:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = _Entry(now)
            return True, None
        self.repeated += 1
        if entry.answer is not None:
            return False, diameter.readdressed(entry.answer, request.message.hop_by_hop)
        if len(entry.repeats) < REPEATS_MAX:
            entry.repeats.append(request)
        return False, None

    def answered(self, request: Request, octets: bytes) -> list[tuple[Request, bytes]]:
        """Keep the answer to a request; what is to be sent to whom, the request itself first."""
        entry = self._entries.get(_key(request))
        if entry is None:
            return [(request, octets)]
        entry.answer = octets
        repeats, entry.repeats = entry.repeats, []
        return [
            (request, octets),
            *((again, diameter.readdressed(octets, again.message.hop_by_hop)) for again in repeats),
        ]

    def abandoned(self, request: Request) -> list[Request]:
        """The request gets no answer that may be repeated (such as 3004): the next time it is new. Who else waits."""
        entry = self._entries.pop(_key(request), None)
        return [] if entry is None else entry.repeats

    def _forget(self, now: float) -> None:
        # Two at a time: the table shrinks twice as fast as it can grow.
        for _ in range(2):
            first = next(iter(self._entries.items()), None)
            if first is None or first[1].at + self._kept_s > now:
                return
            del self._entries[first[0]]


def _key(request: Request) -> Key:
    message = request.message
    return (
        message.end_to_end,
        message.get(codes.SESSION_ID),
        message.get(codes.ORIGIN_HOST),
        message.command,
    )
