"""ZTE M6000 (vendor 3902): sustained rates as integers, in bit/s or kbit/s by release, or QoS profiles."""

from collections.abc import Iterable

from aaa.mapping.families.options import UINT32_MAX, RenderOptions, fill, kilobits
from aaa.mapping.families.table import Capabilities, Family, Line, Live, Speeds, uint32


def rate(speed: Speeds, options: RenderOptions, style: str) -> Iterable[Line]:
    if options.profile_up or options.profile_down:
        if options.profile_down:
            yield Line("ZTE-QoS-Profile-Down", fill(options.profile_down, speed.down, speed.up))
        if options.profile_up:
            yield Line("ZTE-QOS-Profile-Up", fill(options.profile_up, speed.down, speed.up))
        return
    for name, bps in (("ZTE-Rate-Ctrl-SCR-Down", speed.down), ("ZTE-Rate-Ctrl-SCR-Up", speed.up)):
        if bps:
            number = uint32(bps if options.rate_unit == "bit" else kilobits(bps))
            yield Line(name, number)
            if options.rate_ipv6:
                yield Line(name + "-v6", number)


def garden(options: RenderOptions) -> Iterable[Line]:
    if options.garden_filter:
        yield Line("Filter-Id", options.garden_filter)
    if options.garden_url:
        yield Line("ZTE-PPPOE-URL", options.garden_url)


FAMILY = Family(
    name="zte",
    rate=rate,
    garden=garden,
    options=("rate_unit", "rate_ipv6", "profile_down", "profile_up", "garden_filter", "garden_url"),
    rate_max_bps=UINT32_MAX,
    live=lambda options: {
        "ZTE-Rate-Ctrl-SCR-Down": Live(),
        "ZTE-Rate-Ctrl-SCR-Up": Live(),
        "ZTE-Rate-Ctrl-SCR-Down-v6": Live(),
        "ZTE-Rate-Ctrl-SCR-Up-v6": Live(),
        "ZTE-QoS-Profile-Down": Live(),
        "ZTE-QOS-Profile-Up": Live(),
    },
    capabilities=Capabilities(keys=(("Acct-Session-Id",), ("User-Name",), ("Framed-IP-Address",))),
)
