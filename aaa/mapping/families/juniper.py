"""Juniper MX subscriber management (vendor 4874, ERX): CoS shaping parameters or services of a dynamic profile.

Source: Junos subscriber access documentation, RADIUS VSAs.
"""

from collections.abc import Iterable

from aaa.mapping.families.options import RenderOptions, fill, short_rate
from aaa.mapping.families.table import Capabilities, Family, Line, Live, Speeds, Step, opened_by_filter

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


def deactivate(line: Line, options: RenderOptions) -> Step | None:
    """With the arguments that the service was activated with: several of one name may be active."""
    return (Line("ERX-Service-Deactivate", line.value),)


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
        "open_filter",
    ),
    styles=("shaping", "service"),
    vendor_pool=Line("ERX-Address-Pool-Name", "{pool}"),
    repeatable=frozenset({"ERX-CoS-Shaping-Pmt-Type", "ERX-CoS-Scheduler-Pmt-Type"}),
    live=lambda options: {
        "ERX-Service-Activate": Live(off=deactivate, stands_beside=True),
        "ERX-CoS-Shaping-Pmt-Type": Live(),
        "ERX-Ingress-Policy-Name": Live(off=opened_by_filter),
    },
    companions=frozenset(
        {
            "ERX-Service-Volume",
            "ERX-Service-Volume-Gigawords",
            "ERX-Service-Timeout",
            "ERX-Service-Statistics",
            "ERX-Service-Acct-Interval",
            "ERX-Service-Activate-Type",
        }
    ),
    capabilities=Capabilities(),
)
