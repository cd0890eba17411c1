"""Cambium: cnPilot and XV Wi-Fi and ePMP (vendor 17713), PMP 450 / Canopy as a style (vendor 161, Motorola).

ePMP and PMP rates are kbit/s. PMP: ULBR and DLBR are the sustained rates, ULBL and DLBL the burst allocations in kbit;
the two pairs are easily confused.
"""

from collections.abc import Iterable

from aaa.mapping.families.options import UINT32_MAX, RenderOptions, kilobits
from aaa.mapping.families.table import Capabilities, Family, Line, Speeds, burst_bits, filter_garden, uint32, wispr


def rate(speed: Speeds, options: RenderOptions, style: str) -> Iterable[Line]:
    if style == "pmp":
        if speed.up:
            yield Line("Motorola-Canopy-ULBR", uint32(kilobits(speed.up)))
            yield Line("Motorola-Canopy-ULBL", allocation(speed.up, speed.burst_up, speed.threshold_up, speed.seconds))
        if speed.down:
            yield Line("Motorola-Canopy-DLBR", uint32(kilobits(speed.down)))
            yield Line(
                "Motorola-Canopy-DLBL", allocation(speed.down, speed.burst_down, speed.threshold_down, speed.seconds)
            )
        return
    if style in ("all", "wifi"):
        yield from wispr(speed)
    if style in ("all", "epmp"):
        if speed.up:
            yield Line("Cambium-ePMP-Max-Burst-Uplink-Rate", uint32(kilobits(speed.up)))
        if speed.down:
            yield Line("Cambium-ePMP-Max-Burst-Downlink-Rate", uint32(kilobits(speed.down)))


def allocation(bps: int, burst: int, threshold: int, seconds: int) -> int:
    """Burst allocation in kbit: one second of the rate where the plan has no burst."""
    return uint32(kilobits(burst_bits(bps, burst, threshold, seconds) or bps))


FAMILY = Family(
    name="cambium",
    rate=rate,
    garden=filter_garden,
    options=("rate_style", "garden_filter", "garden_vlan"),
    styles=("all", "wifi", "epmp", "pmp"),
    rate_max_bps=UINT32_MAX,
    capabilities=Capabilities(keys=(("Acct-Session-Id",), ("Calling-Station-Id",))),
)
