"""What a family's table is made of: lines of attributes, speeds within bounds, and what the NAS can do later."""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from aaa.mapping.families.options import UINT32_MAX, RenderOptions
from policy.model import Rate

COA_PORT: Final = 3799
"""RFC 5176 §2.1."""


class Line(NamedTuple):
    """One attribute to send."""

    name: str
    value: str | int
    tag: int | None = None


STANDARD_POOL: Final = Line("Framed-Pool", "{pool}")
STANDARD_FILTER: Final = Line("Filter-Id", "{filter}")

Step = tuple[Line, ...]
"""Lines of a CoA that belong together; (): nothing needs to be sent."""


def as_at_login(line: Line, options: RenderOptions) -> Step | None:
    """A CoA takes the attribute as an Access-Accept does, and its value replaces the one before."""
    return (line,)


def needs_new_session(line: Line, options: RenderOptions) -> Step | None:
    """No CoA does it."""
    return None


class Live(Struct, frozen=True):
    """How a CoA changes one attribute of a session that goes on."""

    on: Callable[[Line, RenderOptions], Step | None] = as_at_login
    """What brings a line of an Access-Accept into force; None: only a new session does."""
    off: Callable[[Line, RenderOptions], Step | None] = needs_new_session
    """What takes a line back that was in force and has no successor; None: only a new session does."""
    stands_beside: bool = False
    """A new value does not replace the old one: that has to be taken back before."""


def undone_by(value: str | int) -> Live:
    """An attribute that a fixed value takes back."""
    return Live(off=lambda line, options: (line._replace(value=value),))


def opened_by_filter(line: Line, options: RenderOptions) -> Step | None:
    """A filter is taken back by naming another that lets everything pass."""
    return (line._replace(value=options.open_filter),) if options.open_filter else None


class Speeds(NamedTuple):
    """A rate with its burst filled in and everything within the NAS's bound. bit/s; 0: the NAS's own default.

    burst is at least the rate (equal: none), threshold lies between 1 and burst where there is a rate.
    """

    down: int
    up: int
    burst_down: int
    burst_up: int
    threshold_down: int
    threshold_up: int
    seconds: int
    """Of the burst; 0: there is none."""


class Capabilities(Struct, frozen=True, kw_only=True):
    """What enforcement may expect of a family. Source: docs/nas-families.md, with what is untested there."""

    port: int = COA_PORT
    """Where CoA and Disconnect go by default."""
    keys: tuple[tuple[str, ...], ...] = (("Acct-Session-Id",), ("User-Name", "Framed-IP-Address"))
    """Attributes that name a session, smallest set first; the next set when the NAS did not send one of these, or
    answered Session-Context-Not-Found. Always with the octets as the NAS sent them."""
    strict: bool = False
    """Any attribute it does not know gets Unsupported-Attribute (401): send keys only, no Event-Timestamp."""
    coa: bool = True
    """Answers CoA-Request; otherwise only Disconnect-Request."""
    session_timeout: bool = False
    """A CoA sets Session-Timeout anew, counted from that moment."""


class Family(Struct, frozen=True, kw_only=True):
    """How one NAS family is spoken to."""

    name: str
    rate: Callable[[Speeds, RenderOptions, str], Iterable[Line]]
    """Lines for a rate of which at least one direction is set; the last argument is the style."""
    garden: Callable[[RenderOptions], Iterable[Line]]
    """Lines for the walled garden, its pool apart."""
    options: tuple[str, ...]
    """RenderOptions it reads, besides those of every family (COMMON_OPTIONS)."""
    styles: tuple[str, ...] = ()
    """Values of rate_style, the default first."""
    rate_max_bps: int | None = None
    """Bound of its rate attributes."""
    always: Callable[[RenderOptions], Iterable[Line]] = lambda options: ()
    """Lines for every accepted session."""
    vendor_pool: Line = STANDARD_POOL
    """Pool of the NAS in the vendor's own attribute."""
    repeatable: frozenset[str] = frozenset()
    """Attributes of its own that carry one pair each and may stand several times."""
    filter: Line | None = STANDARD_FILTER
    """Where a decision's filter goes; None: nowhere."""
    live: Callable[[RenderOptions], Mapping[str, Live]] = lambda options: {}
    """By name: the attributes that a CoA changes; one that is not here needs a new session."""
    alone: Callable[[Step], bool] = lambda step: False
    """Whether a step needs a CoA of its own, because the NAS takes one command at a time."""
    companions: frozenset[str] = frozenset()
    """Attributes that go along when a line with their tag is brought into force."""
    capabilities: Capabilities


COMMON_OPTIONS: Final = ("rate_max_bps", "garden_pool", "coa", "coa_attributes")


def speeds(rate: Rate, options: RenderOptions, family: Family) -> Speeds:
    """Fill in the burst and clamp."""
    bound = options.rate_max_bps or family.rate_max_bps
    down, up = (min(bps, bound) if bound else bps for bps in (rate.down_bps, rate.up_bps))
    burst_down, burst_up, threshold_down, threshold_up = down, up, down, up
    seconds = 0
    burst = rate.burst
    if burst is not None:
        burst_down = _burst(down, burst.down_bps, bound)
        burst_up = _burst(up, burst.up_bps, bound)
        if burst_down > down or burst_up > up:
            seconds = burst.seconds
            threshold_down = min(burst.threshold_down_bps or down, burst_down)
            threshold_up = min(burst.threshold_up_bps or up, burst_up)
    return Speeds(down, up, burst_down, burst_up, threshold_down, threshold_up, seconds)


def _burst(rate: int, burst: int, bound: int | None) -> int:
    """No burst without a rate, none below it."""
    if not rate:
        return 0
    return max(rate, min(burst, bound) if bound else burst)


def burst_bits(rate: int, burst: int, threshold: int, seconds: int) -> int:
    """Depth in bits of a token bucket that lets `burst` through until the average over `seconds` passes `threshold`."""
    if burst <= rate:
        return 0
    return (burst - rate) * seconds * min(threshold, burst) // burst


def uint32(number: int) -> int:
    """Clamped to what an integer attribute holds."""
    return min(number, UINT32_MAX)


def wispr(speed: Speeds) -> Iterable[Line]:
    """WISPr rates in bit/s: the nearest to a common language that Wi-Fi equipment has."""
    if speed.down:
        yield Line("WISPr-Bandwidth-Max-Down", uint32(speed.down))
    if speed.up:
        yield Line("WISPr-Bandwidth-Max-Up", uint32(speed.up))


def filter_garden(options: RenderOptions) -> Iterable[Line]:
    """Walled garden by a filter's name or by VLAN (RFC 3580 §3.31)."""
    if options.garden_filter:
        yield Line("Filter-Id", options.garden_filter)
    if options.garden_vlan:
        yield Line("Tunnel-Type", "VLAN")
        yield Line("Tunnel-Medium-Type", "IEEE-802")
        yield Line("Tunnel-Private-Group-Id", options.garden_vlan)
