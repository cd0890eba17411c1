"""`aaa top`: what the server does now, from two looks at its counters."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from aaa.cli.door import Door, api_command
from aaa.cli.output import print_json

if TYPE_CHECKING:
    from rich.console import Group

NASES_SHOWN: Final = 15


@click.command("top")
@click.option("--interval", type=click.FloatRange(0.05, 60), default=1.0, show_default=True, help="Seconds.")
@click.option("--count", type=click.IntRange(1), help="End after so many looks.")
@api_command
def top(door: Door, interval: float, count: int | None, as_json: bool) -> None:
    """Show requests, latencies, sessions, enforcement and the busiest NASes, live; Ctrl-C ends it.

    With --json one sample over one interval is printed.
    """
    before = door.ask("GET", "/v1/stats")
    if as_json:
        time.sleep(interval)
        print_json(view(before, door.ask("GET", "/v1/stats")))
        return
    from rich.console import Console
    from rich.live import Live

    console = Console()
    try:
        with Live(console=console, screen=console.is_terminal and count is None, auto_refresh=False) as live:
            while count is None or count > 0:
                time.sleep(interval)
                after = door.ask("GET", "/v1/stats")
                live.update(render(view(before, after)), refresh=True)
                before = after
                count = None if count is None else count - 1
    except KeyboardInterrupt:
        return


def view(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """What happened between two looks: rates per second, latencies in milliseconds."""
    seconds = max(1e-3, after["at"] - before["at"])

    def rates(key: str) -> dict[str, float]:
        earlier = before[key]
        # After a restart of the server counters begin anew.
        found = {name: max(0, count - earlier.get(name, 0)) / seconds for name, count in after[key].items()}
        return {name: round(rate, 1) for name, rate in found.items() if rate}

    former = {nas["name"]: nas["requests"] for nas in before["nas"]}
    nases = [
        {**nas, "per_second": round(max(0, nas["requests"] - former.get(nas["name"], 0)) / seconds, 1)}
        for nas in after["nas"]
    ]
    latency = {
        port: {name: quantile(differences(counts, before["latency"].get(port, ())), share)
               for name, share in (("p50", 0.5), ("p99", 0.99))}
        for port, counts in after["latency"].items()
    }  # fmt: skip
    return {
        "at": after["at"],
        "uptime_s": after["uptime_s"],
        "seconds": round(seconds, 3),
        "access_per_s": rates("access"),
        "accounting_per_s": rates("accounting"),
        "drops_per_s": rates("drops"),
        "latency_ms": latency,
        "sessions": after["sessions"],
        "sessions_by_protocol": after["sessions_by_protocol"],
        "services": after["services"],
        "rows_ahead": after["rows_ahead"],
        "enforcement": after["enforcement"],
        "enforced_per_s": round(sum(_results(after, before)) / seconds, 1),
        "policy": after["policy"],
        "nas": sorted(nases, key=lambda nas: (-nas["per_second"], -nas["sessions"], nas["name"])),
    }


def _results(after: dict[str, Any], before: dict[str, Any]) -> list[int]:
    earlier = before["enforcement"]["results"]
    return [max(0, count - earlier.get(name, 0)) for name, count in after["enforcement"]["results"].items()]


def differences(after: Sequence[int], before: Sequence[int]) -> list[int]:
    """Counts of the interval."""
    padded = [*before, *[0] * (len(after) - len(before))]
    return [max(0, new - old) for new, old in zip(after, padded, strict=False)]


def quantile(counts: Sequence[int], share: float) -> float | None:
    """Upper bound in milliseconds of the bucket that holds the quantile; bucket n ends at 2**n us. None: no counts."""
    wanted = sum(counts) * share
    passed = 0
    for number, count in enumerate(counts):
        passed += count
        if count and passed >= wanted:
            return float(2**number) / 1000
    return None


def render(shown: dict[str, Any]) -> "Group":
    """A view for a terminal."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    accepted = shown["access_per_s"].get("accept", 0.0)
    rejected = sum(rate for name, rate in shown["access_per_s"].items() if name != "accept")
    enforcement = shown["enforcement"]
    kinds = {name: count for name, count in shown["sessions_by_protocol"].items() if count}
    protocols = "" if kinds.keys() <= {"radius"} else f" ({', '.join(f'{kind} {kinds[kind]:,}' for kind in kinds)})"
    head = Text(
        f"up {shown['uptime_s']:,.0f} s   sessions {shown['sessions']:,}{protocols}   services {shown['services']:,}"
        f"   rows ahead {shown['rows_ahead']:,}   policy {shown['policy'] or '-'}"
    )
    tables = [
        _table("per second", {"accepts": accepted, "rejects": rejected, "accounting": sum(
            shown["accounting_per_s"].values()), "drops": sum(shown["drops_per_s"].values())}),
        _table("rejects, drops", {name: rate for name, rate in (shown["access_per_s"] | shown["drops_per_s"]).items()
                                  if name != "accept"}),
        _table("ms p50 / p99", {port: f"{_ms(each['p50'])} / {_ms(each['p99'])}"
                                for port, each in shown["latency_ms"].items()}),
        _table("enforcement", {"divergent": enforcement["divergent"], "in flight": enforcement["in_flight"],
                               "waiting": enforcement["waiting"], **enforcement["open"],
                               "done /s": shown["enforced_per_s"]}),
    ]  # fmt: skip
    nases = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("nas", "family", "req/s", "sessions", "rejects", "dropped", "down"):
        nases.add_column(column, justify="left" if column in ("nas", "family") else "right")
    for nas in shown["nas"][:NASES_SHOWN]:
        cells = (nas["per_second"], nas["sessions"], nas["rejects"], nas["dropped"], nas["down"])
        nases.add_row(Text(nas["name"]), nas["family"], *(f"{cell:,}" for cell in cells))
    return Group(head, Text(), Columns(tables, padding=(0, 4)), Text(), nases)


def _table(title: str, rows: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        table.add_row(Text(name), Text(f"{value:,}" if isinstance(value, int | float) else str(value)))
    return table


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
