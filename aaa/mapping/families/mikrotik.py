"""MikroTik RouterOS (vendor 14988). Mikrotik-Rate-Limit names the upload first: rx and tx are the router's.

Source: RouterOS manual, RADIUS client and PPP AAA.
"""

from collections.abc import Iterable

from aaa.mapping.families.options import RenderOptions
from aaa.mapping.families.table import Capabilities, Family, Line, Live, Speeds, Step, undone_by


def number(bps: int) -> str:
    """k = 1000, M = 1000000 bit/s; no G, which old releases do not read."""
    for factor, suffix in ((1_000_000, "M"), (1000, "k")):
        if bps and bps % factor == 0:
            return f"{bps // factor}{suffix}"
    return str(bps)


def rate(speed: Speeds, options: RenderOptions, style: str) -> Iterable[Line]:
    """rx/tx [rx-burst/tx-burst rx-threshold/tx-threshold rx-time/tx-time]; 0 leaves a direction unlimited."""
    parts = [(speed.up, speed.down)]
    if speed.seconds:
        parts += [(speed.burst_up, speed.burst_down), (speed.threshold_up, speed.threshold_down)]
    text = " ".join(f"{number(up)}/{number(down)}" for up, down in parts)
    if speed.seconds:
        text += f" {speed.seconds}/{speed.seconds}"
    yield Line("Mikrotik-Rate-Limit", text)


def garden(options: RenderOptions) -> Iterable[Line]:
    if options.garden_list:
        yield Line("Mikrotik-Address-List", options.garden_list)
    if options.garden_filter:
        yield Line("Filter-Id", options.garden_filter)


def leave_list(line: Line, options: RenderOptions) -> Step | None:
    """An attribute without a value cannot be sent, and its absence changes nothing: another list takes its place."""
    return (line._replace(value=options.open_list),) if options.open_list else None


FAMILY = Family(
    name="mikrotik",
    rate=rate,
    garden=garden,
    options=("garden_list", "garden_filter", "open_list"),
    live=lambda options: {"Mikrotik-Rate-Limit": undone_by("0/0"), "Mikrotik-Address-List": Live(off=leave_list)},
    capabilities=Capabilities(session_timeout=True),
)
