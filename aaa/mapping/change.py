"""What a CoA must carry to bring a live session from one decision to another, or why only a new session does it.

Bilingual, decides nothing, knows no session and no socket. Theory of operation: both decisions are rendered as for an
Access-Accept; where the two differ, the family's table says for each attribute how a CoA brings it into force and how
it takes it back (families.table.Live). An attribute that it does not name needs a new session. A rate goes as a whole,
because boxes take a pair together; everything else only where it differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from aaa.dictionary import Dictionary
from aaa.mapping.families import FAMILIES, RenderOptions, Sent, accepted, live_attributes, nas_pool
from aaa.mapping.families.table import Family, Line, Live, Step
from aaa.model.enforcement import Difference
from policy.model import Decision

COA_OCTETS_MAX: Final = 3072
"""Octets; Bound: 4096 of a packet less header, Message-Authenticator, Event-Timestamp and three keys."""
TIMEOUT_NONE_S: Final = (1 << 31) - 1
"""Session-Timeout for a session that has none any more: no number means "never", and boxes read a signed one."""
ASPECTS: Final = ("rate", "walled_garden", "filter", "attributes", "session_timeout", "idle_timeout", "profile")
"""What a CoA can be for, as a receipt names it."""
NEXT_SESSION: Final = frozenset({"Reply-Message", "Idle-Timeout"})
"""Attributes that alone are no reason to end a session: where a CoA does not take them, the next session has them."""


class Change(NamedTuple):
    """What it takes, ready to be sent."""

    kind: Literal["none", "coa", "disconnect"]
    why: str = ""
    """For the receipt: what differs, or why only a new session does it."""
    packets: tuple[tuple[Line, ...], ...] = ()
    """One CoA each, to be sent in order; without Session-Timeout, which goes into the first, and without keys."""
    wire: tuple[bytes, ...] = ()
    """The same as octets."""
    session_timeout_s: int = -1
    """To be counted from the session's start and told with the first packet; 0: the session ends by itself no more;
    -1: nothing is told."""

    def difference(self) -> Difference:
        """For the engine, the preview and the receipt."""
        lines = [(shown(line), str(line.value)) for packet in self.packets for line in packet]
        if self.session_timeout_s >= 0:
            lines.append(("Session-Timeout", str(self.session_timeout_s or TIMEOUT_NONE_S)))
        return Difference(self.kind, self.why, tuple(lines))


def shown(line: Line) -> str:
    """Name of an attribute with its tag, as the dictionary prints it."""
    return f"{line.name}:{line.tag}" if line.tag else line.name


def compare(confirmed: Decision | None, desired: Decision, options: RenderOptions, dictionary: Dictionary) -> Change:
    """What it takes to bring a live session from one decision to another; confirmed None: it is not known which.

    Total: any pair of decisions on any family.
    Cost: about 100 microseconds; cache it per (confirmed, desired, options).
    """
    if not desired.grant:
        return Change("disconnect", f"not granted: {desired.reason}")
    if confirmed is not None and not confirmed.grant:
        confirmed = None
    family = FAMILIES[options.family]
    live = live_attributes(options)
    if confirmed is not None and pool_of(confirmed, options) != pool_of(desired, options):
        return Change("disconnect", "pool needs a new session")
    if confirmed is None and desired.walled_garden and options.garden_pool:
        return Change("disconnect", "walled_garden needs a new session")
    before = {} if confirmed is None else slots(accepted(confirmed, options, dictionary), family)
    after = slots(accepted(desired, options, dictionary), family)
    if confirmed is None:
        before = unknown(after, options, dictionary, family, live)
    collected = Collected(family, options, live)
    for key in (*before, *(key for key in after if key not in before)):
        collected.add(before.get(key, ()), after.get(key, ()), confirmed is None)
    if collected.obstacles:
        return Change("disconnect", "; ".join(dict.fromkeys(collected.obstacles)))
    timeout_s = -1
    if family.capabilities.session_timeout and options.coa:
        wanted = desired.session_timeout_s or 0
        if wanted != (confirmed.session_timeout_s or 0 if confirmed is not None else 0):
            timeout_s = wanted
            collected.aspects["session_timeout"] = None
    packets = collected.packets(after, timeout_s >= 0)
    if not packets:
        return Change("none")
    wire = tuple(encode(packet, dictionary) for packet in packets)
    if any(octets is None or len(octets) > COA_OCTETS_MAX for octets in wire):
        return Change("disconnect", "the change cannot be written into a packet")
    aspects = [aspect for aspect in ASPECTS if aspect in collected.aspects]
    why = "not known what it runs under" if confirmed is None else ", ".join(aspects)
    return Change("coa", why, packets, tuple(octets for octets in wire if octets is not None), timeout_s)


def pool_of(decision: Decision, options: RenderOptions) -> str | None:
    """Where the address comes from, the NAS's pool or this server's."""
    return nas_pool(decision, options) or decision.pool or None


Slot = tuple[Sent, ...]
Key = tuple[object, ...]


def slots(sent: Iterable[Sent], family: Family) -> dict[Key, Slot]:
    """Attributes by what they set: of those with one key the later value replaces the earlier."""
    result: dict[Key, Slot] = {}
    for one in sent:
        key = key_of(one.definition.path, one.line, family)
        result[key] = (*result.get(key, ()), one)
    return result


def key_of(path: tuple[int, ...], line: Line, family: Family) -> Key:
    """Number and tag; of pairs inside one attribute what stands before the value, of services the whole text."""
    text = ""
    if line.name in family.repeatable:
        text = str(line.value)
        if line.name not in BY_WHOLE_TEXT:
            text = re.split("[= ]", text, maxsplit=1)[0]
    return (path, line.tag or 0, text)


BY_WHOLE_TEXT: Final = frozenset({"Cisco-Account-Info"})


def unknown(
    after: dict[Key, Slot], options: RenderOptions, dictionary: Dictionary, family: Family, live: dict[str, Live]
) -> dict[Key, Slot]:
    """What a session of unknown state may have and must not keep: the walled garden, where taking it back is naming
    another value, which does no harm where there was none."""
    garden = Decision(grant=True, reason="restricted", walled_garden=True)
    result = {}
    for key, slot in slots(accepted(garden, options, dictionary), family).items():
        line = slot[0].line
        way = live.get(line.name)
        step = way.off(line, options) if way is not None and not way.stands_beside else None
        overwrites = step and all(key_of(slot[0].definition.path, one, family) == key for one in step)
        if key not in after and overwrites and slot[0].aspect == "walled_garden":
            result[key] = slot
    return result


class Collected:
    """Steps of one change, as they are found."""

    def __init__(self, family: Family, options: RenderOptions, live: dict[str, Live]) -> None:
        self.family = family
        self.options = options
        self.live = live
        self.off: dict[Step, None] = {}
        self.on: dict[Step, None] = {}
        self.aspects: dict[str, None] = {}
        """What differs, of ASPECTS."""
        self.obstacles: list[str] = []
        """Why a CoA does not do."""

    def add(self, before: Slot, after: Slot, is_unknown: bool) -> None:
        """What one key takes."""
        old, new = [sent.octets for sent in before], [sent.octets for sent in after]
        if old == new:
            return
        first = (after or before)[0]
        name = first.line.name
        way = self.live.get(name)
        if way is None or (is_unknown and way.stands_beside):
            if name not in NEXT_SESSION:
                self.refuse(first, is_unknown)
            return
        self.aspects.update((sent.aspect, None) for sent in before if sent.octets not in new)
        if before and (way.stands_beside or not after):
            for sent in before:
                if sent.octets not in new:
                    self.step(sent, way.off(sent.line, self.options), self.off, is_unknown)
        for sent in after:
            if not way.stands_beside or sent.octets not in old:
                self.step(sent, way.on(sent.line, self.options), self.on, is_unknown)

    def step(self, sent: Sent, step: Step | None, into: dict[Step, None], is_unknown: bool) -> None:
        if step is None:
            self.refuse(sent, is_unknown)
        else:
            into[step] = None
            self.aspects[sent.aspect] = None

    def refuse(self, sent: Sent, is_unknown: bool) -> None:
        """Only a new session does it; what a plan adds is no reason to end one that may have it already."""
        what = sent.aspect
        if what == "attributes":
            if is_unknown:
                return
            what = sent.line.name
        self.obstacles.append(f"{what} cannot be changed live on {self.family.name}")

    def packets(self, after: dict[Key, Slot], has_timeout: bool) -> tuple[tuple[Line, ...], ...]:
        """What is taken back goes first, so that a service with new arguments does not meet itself.

        has_timeout: there is to be a packet that can take Session-Timeout, and it is the first one.
        """
        if "rate" in self.aspects:
            for sent in self.lines(after):
                way = self.live.get(sent.line.name)
                step = way.on(sent.line, self.options) if way is not None and not way.stands_beside else None
                if sent.aspect == "rate" and step is not None:
                    self.on.setdefault(step)
        shared: list[Line] = []
        alone: list[Step] = []
        brought = {line.tag for step in self.on for line in step if line.tag is not None}
        for step in (*self.off, *self.on):
            if self.family.alone(step):
                alone.append(step)
            else:
                shared += step
        for sent in self.lines(after):
            if sent.line.name in self.family.companions and sent.line.tag in brought and sent.line not in shared:
                shared.append(sent.line)
        return (*((tuple(shared),) if shared or has_timeout else ()), *alone)

    @staticmethod
    def lines(after: dict[Key, Slot]) -> Iterator[Sent]:
        for slot in after.values():
            yield from slot


def encode(packet: Iterable[Line], dictionary: Dictionary) -> bytes | None:
    """Lines as on the wire; None where one cannot be sent."""
    try:
        return b"".join(dictionary.encode(line.name, line.value, line.tag) for line in packet)
    except ValueError:
        return None
