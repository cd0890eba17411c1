"""Any NAS that keeps to the RFCs: WISPr rates, Filter-Id, Framed-Pool. Untested rates go by Disconnect, not by CoA."""

from collections.abc import Iterable

from aaa.mapping.families.options import UINT32_MAX, RenderOptions
from aaa.mapping.families.table import Capabilities, Family, Line, Speeds, filter_garden, wispr


def rate(speed: Speeds, options: RenderOptions, style: str) -> Iterable[Line]:
    return wispr(speed)


FAMILY = Family(
    name="generic",
    rate=rate,
    garden=filter_garden,
    options=("garden_filter", "garden_vlan"),
    rate_max_bps=UINT32_MAX,
    # A box of unknown make may acknowledge a rate without obeying it; a new session surely has the new one.
    capabilities=Capabilities(session_timeout=True),
)
