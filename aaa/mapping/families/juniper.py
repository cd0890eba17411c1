"""Juniper MX subscriber management (vendor 4874, ERX): CoS shaping parameters or services of a dynamic profile.

Source: Junos subscriber access documentation, RADIUS VSAs.
"""

from collections.abc import Iterable

from aaa.mapping.families.options import RenderOptions, fill, short_rate
from aaa.mapping.families.table import Capabilities, Family, Line, Speeds

RATE_TAG = 1
GARDEN_TAG = 2


def rate(speed: Speeds, options: RenderOptions, style: str) -> Iterable[Line]:
    if style == "service":
        yield Line("ERX-Service-Activate", fill(options.service, speed.down, speed.up), RATE_TAG)
        return
    if speed.down:
        yield Line("ERX-CoS-Shaping-Pmt-Type", "T02 " + short_rate(speed.down))
    if speed.up and options.policy_up:
        yield Line("ERX-Ingress-Policy-Name", fill(options.policy_up, speed.down, speed.up))


def garden(options: RenderOptions) -> Iterable[Line]:
    if options.garden_service:
        yield Line("ERX-Service-Activate", options.garden_service, GARDEN_TAG)
    if options.garden_filter:
        yield Line("ERX-Ingress-Policy-Name", options.garden_filter)
    if options.garden_router:
        yield Line("ERX-Redirect-VR-Name", options.garden_router)


FAMILY = Family(
    name="juniper",
    rate=rate,
    garden=garden,
    options=(
        "rate_style",
        "service",
        "policy_up",
        "pool_attribute",
        "garden_service",
        "garden_filter",
        "garden_router",
    ),
    styles=("shaping", "service"),
    vendor_pool=Line("ERX-Address-Pool-Name", "{pool}"),
    repeatable=frozenset({"ERX-CoS-Shaping-Pmt-Type", "ERX-CoS-Scheduler-Pmt-Type"}),
    capabilities=Capabilities(changes=frozenset({"rate", "walled_garden"})),
)
