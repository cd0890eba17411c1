"""Windows of the week as moments: inside or outside, and when that changes, in any time zone and across summer time.

Pure but for a memo of computed edges. A window's start and end are wall-clock times: each is turned into the moment at
which that zone's clocks first show it (a time that a clock change skips is the moment the change happens plus what it
lies behind the change), so a night with a clock change is an hour shorter or longer.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from math import inf
from zoneinfo import ZoneInfo

from policy.model import DAYS, Plan, ScheduleEntry, Window

_DAYS_AHEAD = 60  # days; Bound: edges computed at once, about 0.2 ms
_DAYS_SURE = 15  # days; every window that has edges at all has one within any two weeks
_STEPS_MAX = 4_096  # edges within one usage report; Bound: some years of nights


class Calendar:
    """One window in one zone."""

    __slots__ = ("_cover", "_edges", "window", "zone")

    def __init__(self, window: Window, zone: tzinfo) -> None:
        self.window = window
        self.zone = zone
        self._cover = (inf, -inf)
        self._edges: list[float] = []

    def at(self, moment: float) -> tuple[bool, float | None]:
        """(inside, the next edge after `moment`); None: it never changes."""
        first, last = self._cover
        if not first <= moment < last and not self._compute(moment):
            return False, None
        index = bisect_right(self._edges, moment)
        return index % 2 == 1, self._edges[index] if index < len(self._edges) else None

    def _compute(self, moment: float) -> bool:
        """Edges around a moment. False where no calendar reaches."""
        try:
            today = datetime.fromtimestamp(moment, self.zone).date()
            spans = [self._span(today + timedelta(days=days)) for days in range(-2, _DAYS_AHEAD + 1)]
            cover = (
                self._epoch(today - timedelta(days=1), "00:00"),
                self._epoch(today + timedelta(days=_DAYS_AHEAD - _DAYS_SURE), "00:00"),
            )
            horizon = self._epoch(today + timedelta(days=_DAYS_AHEAD), "00:00")
        except (OverflowError, ValueError, OSError):
            return False
        edges: list[float] = []
        for start, end in sorted(span for span in spans if span is not None and span[0] < span[1]):
            if edges and start <= edges[-1]:
                edges[-1] = max(edges[-1], end)
            else:
                edges += (start, end)
        # An end at the horizon may be continued by the day behind it.
        while edges and edges[-1] >= horizon:
            edges.pop()
        self._edges, self._cover = edges, cover
        return True

    def _span(self, day: date) -> tuple[float, float] | None:
        window = self.window
        if DAYS[day.weekday()] not in window.days:
            return None
        start = self._epoch(day, window.start)
        return start, self._epoch(day if window.end > window.start else day + timedelta(days=1), window.end)

    def _epoch(self, day: date, text: str) -> float:
        if text == "24:00":
            day, text = day + timedelta(days=1), "00:00"
        moment = datetime.combine(day, time(int(text[:2]), int(text[3:])), self.zone)
        return moment.timestamp()


@lru_cache(maxsize=4096)  # windows; Bound: about 2 KiB each
def calendar(window: Window, zone: tzinfo) -> Calendar:
    """The calendar of a window; `zone` is the policy's, for a window that names none."""
    return Calendar(window, ZoneInfo(window.zone) if window.zone else zone)


def calendar_of(entry: ScheduleEntry, windows: Mapping[str, Window], zone: tzinfo) -> Calendar | None:
    """The calendar of a schedule entry; None where it names a window that the policy files do not have."""
    window = windows.get(entry.window) if isinstance(entry.window, str) else entry.window
    return None if window is None else calendar(window, zone)


def zero_rated(
    plan: Plan, windows: Mapping[str, Window], zone: tzinfo = UTC, at: float = 0.0
) -> tuple[bool, float | None]:
    """(whether traffic at `at` does not count, when that may change); None: never."""
    free, edge = False, inf
    for entry in plan.schedule:
        if entry.zero_rated:
            found = calendar_of(entry, windows, zone)
            if found is not None:
                inside, next_edge = found.at(at)
                free = free or inside
                edge = min(edge, inf if next_edge is None else next_edge)
    return free, None if edge == inf else edge


def charged_share(
    plan: Plan, windows: Mapping[str, Window], zone: tzinfo, since: float, until: float, octets: int
) -> int:
    """How many of the octets reported for [since, until) count: as many as seconds lie outside zero-rated windows.

    since, until: epoch seconds, used to the microsecond; where no time has passed, what holds at `until` decides.
    Returns 0..octets; a part of an octet counts as one.
    """
    if octets <= 0 or not any(entry.zero_rated for entry in plan.schedule):
        return max(octets, 0)
    if until <= since:
        return 0 if zero_rated(plan, windows, zone, until)[0] else octets
    at, free_us = since, 0
    for _ in range(_STEPS_MAX):
        free, edge = zero_rated(plan, windows, zone, at)
        end = until if edge is None else min(edge, until)
        if free:
            free_us += _microseconds(end) - _microseconds(at)
        at = end
        if at >= until:
            break
    total_us = _microseconds(at) - _microseconds(since)
    return octets - octets * free_us // total_us if total_us > 0 else octets


def _microseconds(moment: float) -> int:
    return round(moment * 1_000_000)
