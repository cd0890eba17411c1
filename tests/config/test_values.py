"""Durations, addresses and ranges as an operator writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.config.values import format_duration, parse_duration, parse_endpoint, parse_network, parse_range


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300s", 300),
        ("5m", 300),
        ("1h", 3600),
        ("2d", 172_800),
        ("1w", 604_800),
        ("20ms", 0.02),
        ("1.5s", 1.5),
        (" 5 m ", 300),
        ("0s", 0),
        (7, 7),
        (0.25, 0.25),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "5", "s", "-5s", "5 minutes", "1h30m", "1e3s", "٣s", ".5s", "5.s", True, None, [], {}]
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@given(st.integers(0, 10**9))
def test_a_duration_is_shown_as_it_may_be_written(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("0s", 0), ("1s", 1), ("90s", 90), ("5m", 300), ("1h", 3600), ("30d", 2_592_000), ("5ms", 0.005)],
)
def test_the_shortest_form_is_shown(text: str, shown: float) -> None:
    assert format_duration(shown) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10.0.0.1/8", 'give "10.0.0.0/8" or "10.0.0.1"'),
        ("2001:db8::1/32", 'give "2001:db8::/32" or "2001:db8::1"'),
        ("bng.example", "names are not resolved"),
        ("10.0.0.0/33", "not an IP address"),
        ("10.0.0", "not an IP address"),
        ("", "not an IP address"),
    ],
)
def test_a_wrong_prefix_says_what_would_be_right(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint.replace("(", r"\(")):
        parse_network(text)


def test_ranges() -> None:
    assert parse_range("10.0.0.0/30") == (4, 0x0A000000, 0x0A000003)
    assert parse_range("10.0.0.1 - 10.0.0.9") == (4, 0x0A000001, 0x0A000009)
    assert parse_range("10.0.0.1") == (4, 0x0A000001, 0x0A000001)
    assert parse_range("2001:db8::/64") == (6, 0x20010DB8 << 96, (0x20010DB8 << 96) + 2**64 - 1)


@pytest.mark.parametrize("text", ["10.0.0.9-10.0.0.1", "10.0.0.1-::1", "10.0.0.1-", "-", "10.0.0.0/8-10.1.0.0/16"])
def test_wrong_ranges(text: str) -> None:
    with pytest.raises(ValueError, match=r"lower to a higher|not an IP address"):
        parse_range(text)


def test_endpoints() -> None:
    assert parse_endpoint("127.0.0.1:8080") == ("127.0.0.1", 8080)
    assert parse_endpoint("[::1]:0") == ("::1", 0)


@pytest.mark.parametrize("text", ["8080", ":8080", "localhost:80", "::1:80", "127.0.0.1:65536", "127.0.0.1:", "[::1]"])
def test_wrong_endpoints(text: str) -> None:
    with pytest.raises(ValueError, match="not an"):
        parse_endpoint(text)
