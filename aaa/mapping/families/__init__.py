"""From one abstract decision to the reply attributes of each NAS family: one table a family.

Knows attribute names, units and their order; knows no session, no socket and no rule of policy.
What depends on the session (address, Class, Session-Timeout, Acct-Interim-Interval, Service-Type, Framed-Protocol,
keys) is added by the caller; so the bytes from here can be cached per decision and options.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from aaa.dictionary import Attribute as Definition
from aaa.dictionary import Dictionary
from aaa.dictionary.suggest import closest
from aaa.mapping.families import (
    accel_ppp,
    cambium,
    cisco,
    generic,
    huawei,
    juniper,
    mikrotik,
    nokia,
    ubiquiti,
    zte,
)
from aaa.mapping.families.options import RenderOptions, names_in
from aaa.mapping.families.table import COMMON_OPTIONS, STANDARD_POOL, Capabilities, Family, Line, Live, speeds
from policy.model import Attribute, Decision

__all__ = [
    "FAMILIES",
    "Capabilities",
    "Family",
    "RenderOptions",
    "Sent",
    "accepted",
    "check_attributes",
    "check_options",
    "live_attributes",
    "nas_pool",
    "options_from",
    "render",
]

FAMILIES: Final[Mapping[str, Family]] = {
    module.FAMILY.name: module.FAMILY
    for module in (generic, mikrotik, cisco, juniper, huawei, nokia, zte, ubiquiti, cambium, accel_ppp)
}

RENDERED_OCTETS_MAX: Final = 3072
"""Octets; Bound: 4096 of a packet less header, Message-Authenticator, the caller's attributes and two Proxy-States."""

REPEATABLE: Final = frozenset(
    {11, 13, 14, 18, 22, 25, 26, 38, 56, 58, 64, 65, 66, 67, 69, 78, 81, 82, 83, 90, 91, 92}
    | {97, 98, 99, 123, 168, 169, 170, 171, 172, 241, 242, 243, 244, 245, 246}
)
"""Standard attributes that an Access-Accept may hold several times (tables in RFC 2865 §5.44, 2868, 2869, 3162, 4675,
4818, 4849, 6911)."""

SERVER_OWNED: Final[Mapping[int, str]] = {
    6: "the server sets it",
    7: "the server sets it",
    8: "use the service's static_ip or the plan's pool",
    24: "it belongs to the protocol",
    25: "the server finds its sessions by it",
    27: "use the plan's session_timeout",
    33: "it belongs to the protocol",
    79: "it belongs to the protocol",
    80: "it belongs to the protocol",
    85: "use the plan's interim_interval",
}
"""Attributes that a plan cannot set, and why."""

REQUEST_ONLY: Final = frozenset({3, 4, 5, 30, 31, 32, *range(40, 52), 55, 60, 61, 68, 77, 86, 87, 95, 101})
"""Attributes that have no meaning in an Access-Accept."""


def nas_pool(decision: Decision, options: RenderOptions) -> str | None:
    """The NAS's own pool that the session's address comes from; None: the server leases it, or no pool is asked for."""
    if decision.walled_garden and options.garden_pool:
        return options.garden_pool
    return None if decision.pool in options.server_pools else decision.pool or None


def live_attributes(options: RenderOptions) -> dict[str, Live]:
    """What a CoA changes on this NAS, by name of the attribute; nothing where every change goes by Disconnect."""
    family = FAMILIES[options.family]
    if not options.coa or not (family.capabilities.coa or options.coa_attributes):
        return {}
    return {**dict.fromkeys(names_in(options.coa_attributes), Live()), **family.live(options)}


class Sent(NamedTuple):
    """One attribute of an Access-Accept, before it is joined to the others."""

    aspect: str
    """What of the decision it is for: "rate", "walled_garden", "filter", "pool", "idle_timeout", "attributes", or
    "profile" for every session of this NAS."""
    definition: Definition
    line: Line
    octets: bytes


def render(decision: Decision, options: RenderOptions, dictionary: Dictionary) -> bytes:
    """Attributes of an Access-Accept that do not depend on the session, as on the wire; b"" for a denied one.

    Cost: tens of microseconds; cache it per (decision, options).
    """
    return b"".join(sent.octets for sent in accepted(decision, options, dictionary))


def accepted(decision: Decision, options: RenderOptions, dictionary: Dictionary) -> list[Sent]:
    """The same, one by one.

    Total: an attribute that cannot be sent (unknown to the dictionary, value too long, encrypted, beyond
    RENDERED_OCTETS_MAX) is left out; check_attributes and check_options find those at load. Where a plan's attribute
    meets one of the family's table, one for this family replaces the table's, and one for "*" gives way.
    """
    if not decision.grant:
        return []
    family = FAMILIES[options.family]
    slots: dict[tuple[object, ...], _Slot] = {}
    for rank, aspect, line in _lines(decision, options, family):
        definition = dictionary.attribute(line.name)
        if definition is None or (rank != _TABLE and _refusal(definition)):
            continue
        try:
            octets = dictionary.encode_attribute(definition, line.value, line.tag)
        except ValueError:
            continue
        key = (definition.path, line.tag or 0)
        sent = Sent(aspect, definition, line, octets)
        slots.setdefault(key, _Slot(definition, [])).entries.append((rank, sent))
    result = []
    size = 0
    for slot in slots.values():
        for sent in _kept(slot, family):
            if size + len(sent.octets) <= RENDERED_OCTETS_MAX:
                size += len(sent.octets)
                result.append(sent)
    return result


def check_attributes(attributes: Iterable[Attribute], dictionary: Dictionary) -> list[str]:
    """What is wrong with a plan's attributes, each with its place and a suggestion; nothing when they can be sent.

    Found: unknown family or name, value not of the attribute's type or too long, a tag where none belongs or outside
    0..31, an encrypted attribute, one that the server sets itself or that belongs to requests, and too many of them.
    """
    problems = []
    size = 0
    for index, attribute in enumerate(attributes):
        where = f"attributes[{index}]"
        if attribute.family != "*" and attribute.family not in FAMILIES:
            near = closest(attribute.family, FAMILIES)
            problems.append(f'{where}.family: "{attribute.family}" is no known family{_did_you_mean(near)}')
        definition = dictionary.attribute(attribute.name)
        reason = definition and _refusal(definition)
        if reason:
            problems.append(f"{where}: {attribute.name}: cannot be set by a plan: {reason}")
            continue
        try:
            size += len(dictionary.encode(attribute.name, attribute.value, attribute.tag))
        except ValueError as error:
            problems.append(f"{where}: {error}")
    if size > RENDERED_OCTETS_MAX:
        problems.append(f"attributes: {size} octets together, {RENDERED_OCTETS_MAX} fit into a reply")
    return problems


def check_options(family: str, options: Mapping[str, Any], dictionary: Dictionary) -> list[str]:
    """What is wrong with a NAS's `options`, each with the option's name and a suggestion."""
    table = FAMILIES.get(family)
    if table is None:
        return [f'family: "{family}" is no known family{_did_you_mean(closest(family, FAMILIES))}']
    known = (*COMMON_OPTIONS, *table.options)
    problems = []
    for name in options:
        if name not in known:
            near = None if name in RenderOptions.__struct_fields__ else closest(name, known)
            hint = _did_you_mean(near) or f"; known: {', '.join(known)}"
            problems.append(f"{name}: is no option of family {family}{hint}")
    if problems:
        return problems
    try:
        parsed = msgspec.convert({**options, "family": family}, RenderOptions)
    except msgspec.ValidationError as error:
        return str(error).split("\n")
    if parsed.rate_style and parsed.rate_style not in table.styles:
        near = closest(parsed.rate_style, table.styles)
        problems.append(f'rate_style: "{parsed.rate_style}" is none of {", ".join(table.styles)}{_did_you_mean(near)}')
    for name in names_in(parsed.coa_attributes):
        definition = dictionary.attribute(name)
        if definition is None or definition.name != name:
            near = dictionary.suggest(name) if definition is None else definition.name
            problems.append(f"coa_attributes: {name}: no such attribute{_did_you_mean(near)}")
    for name in ("rate_attribute", "rate_attribute_down", "rate_attribute_up"):
        attribute = getattr(parsed, name)
        try:
            if attribute:
                dictionary.encode(attribute, "1/1" if name == "rate_attribute" else "1")
        except ValueError as error:
            problems.append(f"{name}: {error}")
    return problems


def options_from(
    family: str, options: Mapping[str, Any], dictionary: Dictionary, server_pools: Iterable[str] = ()
) -> RenderOptions:
    """A NAS's options as configured, checked. Raises ValueError with every problem on a line of its own."""
    problems = check_options(family, options, dictionary)
    if problems:
        raise ValueError("\n".join(problems))
    parsed = msgspec.convert({**options, "family": family}, RenderOptions)
    return msgspec.structs.replace(parsed, server_pools=frozenset(server_pools))


_ANY, _TABLE, _OWN = range(3)
"""Where a line comes from: a plan's attribute for "*", the family's table, a plan's attribute for this family."""


class _Slot(NamedTuple):
    definition: Definition
    entries: list[tuple[int, Sent]]
    """With their origins, in order."""


def _lines(decision: Decision, options: RenderOptions, family: Family) -> Iterator[tuple[int, str, Line]]:
    for aspect, line in _table_lines(decision, options, family):
        yield _TABLE, aspect, line
    for attribute in decision.attributes:
        if attribute.family in ("*", family.name):
            origin = _ANY if attribute.family == "*" else _OWN
            yield origin, "attributes", Line(attribute.name, attribute.value, attribute.tag)


def _table_lines(decision: Decision, options: RenderOptions, family: Family) -> Iterator[tuple[str, Line]]:
    for line in family.always(options):
        yield "profile", line
    if decision.rate is not None:
        speed = speeds(decision.rate, options, family)
        style = options.rate_style if options.rate_style in family.styles else next(iter(family.styles), "")
        if speed.down or speed.up:
            for line in family.rate(speed, options, style):
                yield "rate", line
    garden = tuple(family.garden(options)) if decision.walled_garden else ()
    for line in garden:
        yield "walled_garden", line
    # One filter at a time: the walled garden's goes before another.
    if decision.filter and family.filter is not None and all(line.name != family.filter.name for line in garden):
        yield "filter", family.filter._replace(value=decision.filter)
    pool = nas_pool(decision, options)
    if pool:
        line = family.vendor_pool if options.pool_attribute == "vendor" else STANDARD_POOL
        yield "pool", line._replace(value=str(line.value).replace("{pool}", pool))
    if decision.idle_timeout_s:
        yield "idle_timeout", Line("Idle-Timeout", decision.idle_timeout_s)


def _kept(slot: _Slot, family: Family) -> list[Sent]:
    """What remains of several attributes with the same number and tag."""
    entries = slot.entries
    path, name = slot.definition.path, slot.definition.name
    if name in family.repeatable:
        return [sent for _, sent in entries]
    origins = {origin for origin, _ in entries}
    if _TABLE in origins:
        winner = _OWN if _OWN in origins else _TABLE
        entries = [entry for entry in entries if entry[0] == winner]
    standard = len(path) == 1
    if (standard and path[0] not in REPEATABLE) or (not standard and entries[0][0] == _TABLE):
        entries = [max(enumerate(entries), key=lambda numbered: (numbered[1][0], numbered[0]))[1]]
    return [sent for _, sent in entries]


def _refusal(definition: Definition) -> str | None:
    """Why a plan cannot set this attribute."""
    if len(definition.path) > 1:
        return None
    number = definition.path[0]
    return "it belongs to requests" if number in REQUEST_ONLY else SERVER_OWNED.get(number)


def _did_you_mean(near: str | None) -> str:
    return f"; did you mean {near}?" if near else ""
