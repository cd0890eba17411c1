"""Nokia (Alcatel-Lucent) 7750 SR (vendor 6527): QoS overrides in kbit/s, subscriber and SLA profiles by name.

Source: SR OS RADIUS Attributes Reference Guide.
"""

from collections.abc import Iterable

from aaa.mapping.families.options import RenderOptions, fill
from aaa.mapping.families.table import Capabilities, Family, Line, Speeds

OVERRIDE = "Alc-Subscriber-QoS-Override"


def rate(speed: Speeds, options: RenderOptions, style: str) -> Iterable[Line]:
    if options.profile:
        yield Line("Alc-SLA-Prof-Str", fill(options.profile, speed.down, speed.up))
        return
    if speed.up and options.qos_up:
        yield Line(OVERRIDE, fill(options.qos_up, speed.down, speed.up))
    if speed.down and options.qos_down:
        yield Line(OVERRIDE, fill(options.qos_down, speed.down, speed.up))


def always(options: RenderOptions) -> Iterable[Line]:
    if options.subscriber_profile:
        yield Line("Alc-Subsc-Prof-Str", options.subscriber_profile)


def garden(options: RenderOptions) -> Iterable[Line]:
    if options.garden_filter:
        yield Line("Alc-Subscriber-Filter", options.garden_filter)
    if options.garden_redirect:
        yield Line("Alc-Onetime-Http-Redirection-Filter-Id", options.garden_redirect)
    if options.garden_profile:
        yield Line("Alc-SLA-Prof-Str", options.garden_profile)


FAMILY = Family(
    name="nokia",
    rate=rate,
    garden=garden,
    always=always,
    options=(
        "qos_down",
        "qos_up",
        "profile",
        "subscriber_profile",
        "garden_filter",
        "garden_redirect",
        "garden_profile",
    ),
    repeatable=frozenset({OVERRIDE}),
    capabilities=Capabilities(
        keys=(
            ("NAS-Port-Id", "Framed-IP-Address"),
            ("Acct-Session-Id",),
            ("Alc-Subsc-ID-Str",),
            ("Alc-Serv-Id", "Framed-IP-Address"),
            ("User-Name", "Framed-IP-Address"),
        ),
        changes=frozenset({"rate", "walled_garden"}),
    ),
)
