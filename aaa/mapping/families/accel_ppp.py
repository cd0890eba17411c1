"""accel-ppp and VyOS (vendor 8003): the shaper reads "download/upload" in kbit/s, by default from Filter-Id.

The order is the other way round than MikroTik's, and no suffix is sent: the shaper takes G ten times too large.
"""

from collections.abc import Iterable

from aaa.mapping.families.options import RenderOptions, kilobits
from aaa.mapping.families.table import Capabilities, Family, Line, Live, Speeds, Step, undone_by


def rate(speed: Speeds, options: RenderOptions, style: str) -> Iterable[Line]:
    down, up = kilobits(speed.down), kilobits(speed.up)
    if not options.rate_attribute_down:
        yield Line(options.rate_attribute, f"{down}/{up}")
        return
    if down:
        yield Line(options.rate_attribute_down, str(down))
    if up:
        yield Line(options.rate_attribute_up, str(up))


def garden(options: RenderOptions) -> Iterable[Line]:
    if options.garden_router:
        yield Line("Accel-VRF-Name", options.garden_router)


def live(options: RenderOptions) -> dict[str, Live]:
    if options.rate_attribute_down:
        rates = {options.rate_attribute_down: undone_by("0"), options.rate_attribute_up: undone_by("0")}
    else:
        rates = {options.rate_attribute: undone_by("0/0")}
    return {**rates, "Accel-VRF-Name": undone_by("0")}


def is_router(step: Step) -> bool:
    """The box looks for Accel-VRF-Name only where it finds no Session-Timeout."""
    return any(line.name == "Accel-VRF-Name" for line in step)


FAMILY = Family(
    name="accel-ppp",
    rate=rate,
    garden=garden,
    options=("rate_attribute", "rate_attribute_down", "rate_attribute_up", "garden_router"),
    filter=None,
    live=live,
    alone=is_router,
    capabilities=Capabilities(session_timeout=True),
)
