"""A live view is the difference of two looks."""

from typing import Any

from rich.console import Console

from aaa.cli.top import quantile, render, view


def sample(at: float, count: int, **more: Any) -> dict[str, Any]:
    return {
        "at": at, "uptime_s": at, "sessions": 7, "services": 9, "rows_ahead": 0, "policy": "p",
        "sessions_by_protocol": {"radius": 3, "gx": 4, "sy": 0},
        "access": {"accept": count, "wrong_password": count // 2, "denied": 0}, "accounting": {"started": count},
        "drops": {}, "latency": {"auth": [0, 0, count, 0], "coa": [0, 0, 0, 0]},
        "enforcement": {"open": {"sent": 1}, "results": {"ack": count}, "divergent": 1, "in_flight": 1, "waiting": 0},
        "nas": [
            {"name": "idle", "family": "cisco", "sessions": 5, "requests": 1, "rejects": 0, "dropped": 0, "down": 0},
            {"name": "busy", "family": "mikrotik", "sessions": 2, "requests": count, "rejects": 0, "dropped": 0,
             "down": 0},
        ],
        **more,
    }  # fmt: skip


def test_rates_are_differences_and_zeros_are_left_out() -> None:
    shown = view(sample(100.0, 10), sample(102.0, 30))
    assert shown["access_per_s"] == {"accept": 10.0, "wrong_password": 5.0}
    assert shown["accounting_per_s"] == {"started": 10.0}
    assert shown["enforced_per_s"] == 10.0
    assert shown["latency_ms"] == {"auth": {"p50": 0.004, "p99": 0.004}, "coa": {"p50": None, "p99": None}}
    assert [nas["name"] for nas in shown["nas"]] == ["busy", "idle"]


def test_a_restart_in_between_gives_no_negative_rates() -> None:
    shown = view(sample(100.0, 1000), sample(101.0, 5))
    assert all(rate >= 0 for key in ("access_per_s", "accounting_per_s") for rate in shown[key].values())


def test_a_quantile_is_the_bound_of_its_bucket() -> None:
    assert quantile([0, 90, 0, 10], 0.5) == 0.002
    assert quantile([0, 90, 0, 10], 0.99) == 0.008
    assert quantile([], 0.5) is None


def test_a_view_is_rendered_with_everything_in_it() -> None:
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - closed with the process
    console.print(render(view(sample(100.0, 10), sample(102.0, 30, drops={"too_late": 3}))))
    text = console.export_text()
    head = "sessions 7 (radius 3, gx 4)"
    for word in (head, "wrong_password", "too_late", "divergent", "busy", "0.004 / 0.004", "- / -"):
        assert word in text, text
