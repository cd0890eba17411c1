"""Huawei ME60 and NE (vendor 2011), and H3C (vendor 25506) as a style: integer rates or QoS profiles.

Input is from the user. A committed (average) rate and a peak rate; a burst is expressed as the peak rate.
A profile that does not exist on the box drops the user there.

Source: ME60 feature description, RADIUS attributes; H3C RADIUS extended attributes.
"""

from collections.abc import Iterable

from aaa.mapping.families.options import UINT32_MAX, RenderOptions, fill, kilobits
from aaa.mapping.families.table import Capabilities, Family, Line, Live, Speeds, opened_by_filter, uint32

ATTRIBUTES = {
    "huawei": (
        ("Huawei-Input-Average-Rate", "Huawei-Input-Peak-Rate"),
        ("Huawei-Output-Average-Rate", "Huawei-Output-Peak-Rate"),
    ),
    "h3c": (
        ("H3C-Input-Average-Rate", "H3C-Input-Peak-Rate"),
        ("H3C-Output-Average-Rate", "H3C-Output-Peak-Rate"),
    ),
}


def rate(speed: Speeds, options: RenderOptions, style: str) -> Iterable[Line]:
    if style == "huawei" and (options.profile or options.profile_down):
        if options.profile:
            yield Line("Huawei-Qos-Profile-Name", fill(options.profile, speed.down, speed.up))
        if options.profile_down:
            yield Line("Huawei-Down-QOS-Profile-Name", fill(options.profile_down, speed.down, speed.up))
        return
    pairs = ((speed.up, speed.burst_up), (speed.down, speed.burst_down))
    for (average_name, peak_name), (average, peak) in zip(ATTRIBUTES[style], pairs, strict=True):
        if average:
            yield Line(average_name, in_unit(average, options))
            yield Line(peak_name, in_unit(peak, options))


def in_unit(bps: int, options: RenderOptions) -> int:
    return uint32(bps if options.rate_unit == "bit" else kilobits(bps))


def garden(options: RenderOptions) -> Iterable[Line]:
    if options.garden_filter:
        yield Line("Filter-Id", options.garden_filter)
    if options.garden_url:
        yield Line("Huawei-HTTP-Redirect-URL", options.garden_url)
    if options.garden_domain:
        yield Line("Huawei-Domain-Name", options.garden_domain)


FAMILY = Family(
    name="huawei",
    rate=rate,
    garden=garden,
    options=(
        "rate_style",
        "rate_unit",
        "profile",
        "profile_down",
        "pool_attribute",
        "garden_filter",
        "garden_url",
        "garden_domain",
        "open_filter",
    ),
    styles=("huawei", "h3c"),
    rate_max_bps=UINT32_MAX,
    vendor_pool=Line("Huawei-Framed-Pool", "{pool}"),
    repeatable=frozenset({"Huawei-AVpair"}),
    live=lambda options: {
        **{name: Live() for pairs in ATTRIBUTES.values() for pair in pairs for name in pair},
        "Huawei-Qos-Profile-Name": Live(),
        "Huawei-Down-QOS-Profile-Name": Live(),
        "Filter-Id": Live(off=opened_by_filter),
    },
    capabilities=Capabilities(
        keys=(("Acct-Session-Id",), ("User-Name",), ("Framed-IP-Address",)),
    ),
)
