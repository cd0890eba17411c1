"""Nokia (Alcatel-Lucent) 7750 SR (vendor 6527): QoS overrides in kbit/s, subscriber and SLA profiles by name.

Source: SR OS RADIUS Attributes Reference Guide.
"""

import re
from collections.abc import Iterable

from aaa.mapping.families.options import RenderOptions, fill
from aaa.mapping.families.table import Capabilities, Family, Line, Live, Speeds, Step, undone_by

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


def rewritten(line: Line, pattern: str, value: str) -> Step | None:
    """The line with a part of its text replaced; None where it has no such part."""
    text, count = re.subn(pattern, value, str(line.value))
    return (line._replace(value=text),) if count else None


def no_override(line: Line, options: RenderOptions) -> Step | None:
    """-2 takes each value of an override back."""
    return rewritten(line, r"=[^,=]*", "=-2")


def no_filter(line: Line, options: RenderOptions) -> Step | None:
    """-2 restores the filter of the SLA profile, for each address family and direction that was named."""
    return rewritten(line, r":[^,:]*", ":-2")


def no_profile(line: Line, options: RenderOptions) -> Step | None:
    """Back to the SLA profile that the session would have without RADIUS."""
    return (Line("Alc-Remove-Override", "26.6527.13"),)


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
    filter=Line("Alc-Subscriber-Filter", "{filter}"),
    live=lambda options: {
        OVERRIDE: Live(off=no_override),
        "Alc-Subsc-Prof-Str": Live(),
        "Alc-SLA-Prof-Str": Live(off=no_profile),
        "Alc-Subscriber-Filter": Live(off=no_filter),
        "Alc-Onetime-Http-Redirection-Filter-Id": undone_by("Ingr-v4:0"),
    },
    capabilities=Capabilities(
        keys=(
            # It names all hosts of a dual-stack session, where the first of the box's own priority names one.
            ("Acct-Session-Id",),
            ("NAS-Port-Id", "Framed-IP-Address"),
            ("User-Name", "Framed-IP-Address"),
        ),
    ),
)
