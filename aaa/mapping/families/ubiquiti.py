"""Ubiquiti UniFi: WISPr rates; its dynamic authorization is hostapd's, which disconnects and changes nothing."""

from collections.abc import Iterable

from aaa.mapping.families.options import UINT32_MAX, RenderOptions
from aaa.mapping.families.table import Capabilities, Family, Line, Speeds, filter_garden, wispr


def rate(speed: Speeds, options: RenderOptions, style: str) -> Iterable[Line]:
    return wispr(speed)


FAMILY = Family(
    name="ubiquiti",
    rate=rate,
    garden=filter_garden,
    options=("garden_filter", "garden_vlan"),
    rate_max_bps=UINT32_MAX,
    capabilities=Capabilities(keys=(("Acct-Session-Id",), ("Calling-Station-Id",)), strict=True, coa=False),
)
