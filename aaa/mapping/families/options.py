"""What an operator may set per NAS about rendering, and the name templates in it. Knows no wire.

`RenderOptions` is flat: one meaning a word across families. Which family reads which option stands in its table
(Family.options); docs/nas-families.md describes them for operators.
"""

from string import Formatter
from typing import Final, Literal

from msgspec import Struct

from aaa.dictionary.suggest import closest
from policy.model import FAMILIES

UINT32_MAX: Final = (1 << 32) - 1
TEMPLATE_FIELDS: Final = (
    "down_bps",
    "up_bps",
    "down_kbps",
    "up_kbps",
    "down_mbps",
    "up_mbps",
    "down_rate",
    "up_rate",
)
"""Fields of a name template: bit/s, kbit/s, Mbit/s with decimals where needed, and 20m / 512k text."""

TEMPLATES: Final = (
    "policy_down",
    "policy_up",
    "service",
    "qos_down",
    "qos_up",
    "profile",
    "profile_down",
    "profile_up",
)


class RenderOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """One NAS's family and what differs from the family's defaults. An empty text means: do not send it.

    Raises ValueError (on conversion msgspec.ValidationError) for an unknown family or template field, all at once.
    """

    family: str = "generic"
    server_pools: frozenset[str] = frozenset()
    """Pools that this server leases from itself: their names are not sent to the NAS."""
    coa: bool = True
    """False: this NAS refuses CoA, or obeys it badly; every change goes by Disconnect."""
    coa_attributes: str = ""
    """Further attributes that this NAS is known to change by CoA, separated by commas."""
    rate_style: str = ""
    """How a rate is expressed, one of Family.styles; empty: the first of them."""
    rate_max_bps: int | None = None
    """Higher rates are sent as this one. None: 4294967295 where the rate is a 32-bit integer, no limit in text.
    2147483647 for boxes that read a signed number."""
    rate_unit: Literal["bit", "kbit"] = "bit"
    """Unit of integer rates."""
    rate_attribute: str = "Filter-Id"
    """accel-ppp: attribute that carries "down/up", as `attr=` in its [shaper] section."""
    rate_attribute_down: str = ""
    """accel-ppp: attribute of the download rate alone (`attr-down=`); with rate_attribute_up, instead of the above."""
    rate_attribute_up: str = ""
    """accel-ppp: attribute of the upload rate alone (`attr-up=`)."""
    rate_ipv6: bool = False
    """Send the IPv6 twins of the rate attributes as well."""
    policy_down: str = ""
    """Template of the policy map for traffic to the subscriber."""
    policy_up: str = ""
    """Template of the policy (map) for traffic from the subscriber."""
    service: str = "internet({down_rate},{up_rate})"
    """Template of the service that carries the rate, in rate_style "service"."""
    qos_down: str = "e:r:rate={down_kbps}"
    """Nokia: template of the egress override, in kbit/s."""
    qos_up: str = "i:q:1:pir={up_kbps}"
    """Nokia: template of the ingress override, in kbit/s."""
    profile: str = ""
    """Template of a QoS or SLA profile that is sent instead of the rates; it must exist on the NAS."""
    profile_down: str = ""
    """Template of the profile for traffic to the subscriber, where the NAS has one per direction."""
    profile_up: str = ""
    """Template of the profile for traffic from the subscriber."""
    subscriber_profile: str = ""
    """Nokia: name of the subscriber profile (Alc-Subsc-Prof-Str)."""
    pool_attribute: Literal["standard", "vendor"] = "standard"
    """Name a pool of the NAS in Framed-Pool, or in the vendor's own attribute."""
    garden_list: str = "walled-garden"
    """Walled garden: address list (MikroTik), access list (Cisco)."""
    garden_filter: str = ""
    """Walled garden: name of a filter that exists on the NAS."""
    garden_url: str = ""
    """Walled garden: where web requests are redirected to."""
    garden_group: str = ""
    """Walled garden: server group of a Cisco layer-4 redirect."""
    garden_service: str = ""
    """Walled garden: service to activate."""
    garden_domain: str = ""
    """Walled garden: domain to move the subscriber to."""
    garden_router: str = ""
    """Walled garden: virtual router or VRF to move the subscriber to."""
    garden_profile: str = ""
    """Walled garden: SLA profile instead of the plan's."""
    garden_redirect: str = ""
    """Walled garden: one-time HTTP redirection filter."""
    garden_pool: str = ""
    """Walled garden: address pool of the NAS instead of the plan's. Leaving it needs a Disconnect."""
    garden_vlan: int = 0
    """Walled garden: VLAN; 0: none."""
    coa_style: Literal["subscriber", "command-code"] = "subscriber"
    """Cisco: turn services on and off by `subscriber:command=` pairs, or by Cisco-Command-Code (older ISG releases)."""
    open_list: str = "unrestricted"
    """Address list of a live session that leaves the walled garden: a list cannot be taken away by CoA. Empty: leaving
    needs a Disconnect."""
    open_filter: str = ""
    """Filter of a live session that leaves the walled garden or a filter. Empty: leaving needs a Disconnect."""

    def __post_init__(self) -> None:
        problems = []
        if self.family not in FAMILIES:
            problems.append(f'family: "{self.family}" is no known family{_hint(self.family, FAMILIES)}')
        for name in TEMPLATES:
            problems += [f"{name}: {problem}" for problem in template_problems(getattr(self, name))]
        if self.rate_max_bps is not None and not 0 < self.rate_max_bps <= 10**13:
            problems.append("rate_max_bps: outside 1..10000000000000")
        if not 0 <= self.garden_vlan <= 4094:
            problems.append("garden_vlan: outside 0..4094")
        if bool(self.rate_attribute_down) != bool(self.rate_attribute_up):
            problems.append("rate_attribute_down: goes with rate_attribute_up, one alone limits one direction only")
        if problems:
            raise ValueError("\n".join(problems))


def template_problems(template: str) -> list[str]:
    """What is wrong with a name template, each with a suggestion."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return [f'"{template}": {error}']
    problems = []
    for _, field, form, conversion in parts:
        if field is None:
            continue
        if field not in TEMPLATE_FIELDS:
            problems.append(f'"{template}": unknown field {{{field}}}{_hint(field, TEMPLATE_FIELDS)}')
        elif form or conversion:
            problems.append(f'"{template}": {{{field}}} takes no format')
    return problems


def fill(template: str, down_bps: int, up_bps: int) -> str:
    """A name template with the rates in it. Cost: microseconds; rendered decisions are cached."""
    fields = {}
    for direction, bps in (("down", down_bps), ("up", up_bps)):
        fields[f"{direction}_bps"] = str(bps)
        fields[f"{direction}_kbps"] = str(kilobits(bps))
        fields[f"{direction}_mbps"] = megabits(bps)
        fields[f"{direction}_rate"] = short_rate(bps)
    return template.format_map(fields)


def names_in(text: str) -> list[str]:
    """Names of a list that is written with commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def kilobits(bps: int) -> int:
    """kbit/s, rounded up: nobody gets less than was sold, and a slow rate does not become "no limit"."""
    return -(-bps // 1000)


def megabits(bps: int) -> str:
    """Mbit/s with up to three decimals, rounded up to the kbit/s: 50, 2.5."""
    whole, rest = divmod(kilobits(bps), 1000)
    return f"{whole}.{rest:03}".rstrip("0") if rest else str(whole)


def short_rate(bps: int) -> str:
    """Text with k = 1000 and m = 1000000, as Juniper writes it."""
    for factor, suffix in ((1_000_000, "m"), (1000, "k")):
        if bps and bps % factor == 0:
            return f"{bps // factor}{suffix}"
    return str(bps)


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = closest(name, known)
    return f"; did you mean {near}?" if near else f"; known: {', '.join(known)}"
