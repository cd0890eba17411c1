"""Windows of the week as moments, over changes of summer time, and what traffic in them costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.model import DAYS, Plan, ScheduleEntry, Window
from policy.windows import calendar, charged_share, zero_rated
from tests.policy.worlds import WINDOWS, ZONES, moments

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Window(start="22:00", end="06:00")


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


@pytest.mark.parametrize(
    ("evening", "hours"),
    [("2026-03-28T22:00", 7), ("2026-10-24T22:00", 9), ("2026-06-01T22:00", 8)],
    ids=["clocks go forward", "clocks go back", "no change"],
)
def test_a_night_is_as_long_as_its_clocks_make_it(evening: str, hours: int) -> None:
    window = calendar(NIGHT, BERLIN)
    inside, end = window.at(at(evening))
    assert inside
    assert end == at(evening) + hours * 3600
    assert window.at(at(evening) - 1) == (False, at(evening))


def test_a_start_that_the_clocks_skip_is_shifted_with_them() -> None:
    window = calendar(Window(start="02:30", end="05:00"), BERLIN)
    change = datetime(2026, 3, 29, 1, 0, tzinfo=UTC).timestamp()
    assert window.at(change) == (False, change + 1800)
    assert window.at(change + 1800) == (True, at("2026-03-29T05:00"))


def test_a_window_whose_end_comes_before_its_start_is_open_no_moment() -> None:
    window = calendar(Window(start="02:30", end="03:00"), BERLIN)
    day = at("2026-03-29T00:00")
    assert all(not window.at(day + minute * 60)[0] for minute in range(23 * 60))


def test_a_window_belongs_to_the_day_it_starts_on() -> None:
    window = calendar(Window(start="22:00", end="06:00", days=("fri",)), BERLIN)
    assert window.at(at("2026-06-06T05:59"))[0], "Saturday morning"
    assert not window.at(at("2026-06-05T05:59"))[0], "Friday morning"


def test_windows_that_touch_are_one() -> None:
    weekend = calendar(Window(days=("sat", "sun")), BERLIN)
    assert weekend.at(at("2026-06-06T12:00")) == (True, at("2026-06-08T00:00"))
    assert calendar(Window(), BERLIN).at(at("2026-06-06T12:00")) == (True, None)
    assert calendar(Window(start="02:30", end="02:30"), BERLIN).at(at("2026-03-29T12:00")) == (True, None)


def test_a_window_without_days_never_opens() -> None:
    assert calendar(Window(days=()), BERLIN).at(0.0) == (False, None)


@pytest.mark.parametrize("moment", [1e18, -1e18, float("inf"), float("nan")])
def test_a_moment_that_no_calendar_reaches_is_outside(moment: float) -> None:
    assert calendar(NIGHT, BERLIN).at(moment) == (False, None)


def test_a_window_may_have_a_zone_of_its_own() -> None:
    window = calendar(Window(start="22:00", end="06:00", zone="Asia/Kathmandu"), BERLIN)
    assert window.at(at("2026-06-01T22:00", ZoneInfo("Asia/Kathmandu")))[0]
    assert not window.at(at("2026-06-01T22:00", ZoneInfo("Asia/Kathmandu")) - 1)[0]


@pytest.mark.parametrize(
    "data", [{"zone": "Mars/Phobos"}, {"zone": "../etc/passwd"}, {"start": "24:00"}, {"start": "7:00"}, {"end": "25:0"}]
)
def test_a_window_that_cannot_be_is_refused(data: dict[str, str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(data, Window)


def clock_says(window: Window, moment: float, zone: ZoneInfo) -> bool:
    """Whether a wall clock stands within the window: true where no clock change is near."""
    local = datetime.fromtimestamp(moment, zone)
    text = f"{local:%H:%M}"
    today = DAYS[local.weekday()] in window.days
    yesterday = DAYS[(local - timedelta(days=1)).weekday()] in window.days
    if window.end > window.start:
        return today and window.start <= text < window.end
    return (today and text >= window.start) or (yesterday and text < window.end)


@given(WINDOWS.filter(lambda window: not window.zone), st.floats(1.7e9, 1.8e9))
@settings(max_examples=200, deadline=None)
def test_inside_is_what_the_wall_clock_says(window: Window, moment: float) -> None:
    zone = ZoneInfo("Asia/Kathmandu")  # quarter hours, and no summer time
    assert calendar(window, zone).at(moment)[0] == clock_says(window, moment, zone)


@given(WINDOWS, st.sampled_from(ZONES), moments())
@settings(max_examples=200, deadline=None)
def test_an_edge_is_where_it_changes_and_the_next_one(window: Window, zone: str, moment: float) -> None:
    found = calendar(window, ZoneInfo(zone))
    inside, edge = found.at(moment)
    if edge is None:
        assert all(found.at(moment + day * 86_400)[0] == inside for day in range(400))
        return
    assert edge > moment
    assert found.at(edge)[0] != inside
    assert all(found.at(moment + (edge - moment) * share)[0] == inside for share in (0.1, 0.5, 0.9, 0.999999))


# What counts


def plan(*windows: Window | str) -> Plan:
    return Plan(revision=1, schedule=tuple(ScheduleEntry(window, zero_rated=True) for window in windows))


@given(st.lists(WINDOWS, min_size=1, max_size=3), st.sampled_from(ZONES), moments(), st.integers(1, 4000))
@settings(max_examples=150, deadline=None)
def test_octets_count_by_the_minutes_outside_zero_rated_windows(
    windows: list[Window], zone: str, moment: float, minutes: int
) -> None:
    since = float(int(moment) // 60 * 60)
    info = ZoneInfo(zone)
    outside = sum(
        not any(calendar(window, info).at(since + minute * 60)[0] for window in windows) for minute in range(minutes)
    )
    assert charged_share(plan(*windows), {}, info, since, since + minutes * 60, minutes) == outside


@given(st.integers(0, 2**62), moments(), st.floats(0, 1e6))
@settings(max_examples=100, deadline=None)
def test_a_share_is_between_nothing_and_all(octets: int, since: float, length: float) -> None:
    charged = charged_share(plan("night"), {"night": NIGHT}, BERLIN, since, since + length, octets)
    assert 0 <= charged <= octets
    assert charged == charged_share(plan("night"), {"night": NIGHT}, BERLIN, since, since + length, octets)


def test_without_zero_rated_windows_all_of_it_counts() -> None:
    assert charged_share(Plan(revision=1), {}, BERLIN, 0.0, 100.0, 7) == 7
    assert charged_share(plan("gone"), {}, BERLIN, 0.0, 100.0, 7) == 7
    assert charged_share(plan(NIGHT), {}, BERLIN, 0.0, 100.0, 0) == 0


def test_a_report_of_no_time_is_what_its_moment_is() -> None:
    midnight = at("2026-06-01T00:00")
    assert charged_share(plan(NIGHT), {}, BERLIN, midnight, midnight, 9) == 0
    assert charged_share(plan(NIGHT), {}, BERLIN, midnight + 5, midnight, 9) == 0
    noon = at("2026-06-01T12:00")
    assert charged_share(plan(NIGHT), {}, BERLIN, noon, noon, 9) == 9


def test_whether_traffic_counts_now_and_when_that_changes() -> None:
    noon = at("2026-06-01T12:00")
    assert zero_rated(plan(NIGHT), {}, BERLIN, noon) == (False, at("2026-06-01T22:00"))
    assert zero_rated(plan("night"), {"night": NIGHT}, BERLIN, noon + 12 * 3600) == (True, at("2026-06-02T06:00"))
    assert zero_rated(Plan(revision=1), {}, BERLIN, noon) == (False, None)
