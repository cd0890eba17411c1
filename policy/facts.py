"""Every fact that an expression may read: name, type, meaning, and how it is read from `Facts`. The one source.

docs/policy.md holds a table made from it (`markdown()`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from functools import lru_cache
from math import isfinite
from typing import Any, Literal, get_args

from msgspec import Struct

from policy.model import FAMILIES, Scalar, SessionFacts, State

Type = Literal["bool", "int", "float", "text", "list", "moment", "duration", "window"]
"""int and float compare and calculate with one another; bool with neither. A list is of texts."""

TYPE_WORDS: dict[str, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "text": "a text",
    "list": "a list of texts",
    "numbers": "a list of numbers",
    "moment": "a moment",
    "duration": "a duration",
    "window": "a window",
}
"""Types in an operator's words."""

INT_MAX = 2**63 - 1
"""Whole numbers from outside are held within it, so that no arithmetic overflows."""


class Fact(Struct, frozen=True):
    """One name that expressions may read."""

    name: str
    type: Type
    doc: str
    code: str
    """How it is read: Python over `f` (Facts) and `e` (the event)."""
    guards: tuple[str, ...] = ()
    """Python that must be true for the fact to be there, in order; without any it always is."""
    choices: tuple[str, ...] = ()
    """The only texts that it, or its entries, can be; empty: any."""
    usage: Literal[-1, 0, 1] = 0
    """Whether usage raises or lowers it."""
    nonnegative: bool = False
    changes: Literal["", "quota", "hold"] = ""
    """What else moves it as time passes: Facts.quota.changes_at or Facts.service.hold_ends_at."""
    field: str = ""
    """Of session facts: the field of SessionFacts."""
    reader: Callable[[Mapping[str, Any]], Any] | None = None
    """Of declared facts and event data: from the mapping that holds it; `code` calls it {reader}."""

    @property
    def scope(self) -> str:
        """The first part of the name."""
        return self.name.partition(".")[0]


_KINDS: tuple[str, ...] = ("internet", "wifi", "mobile", "voice", "iptv")
_QUOTA = ("f.quota is not None",)
RATIO = "(f.quota.used / f.quota.octets if f.quota.octets else 1.0)"


def _moment(name: str, doc: str) -> Fact:
    code = f"f.{name}"
    return Fact(name, "moment", doc, code, (f"{code} is not None",))


def _session(name: str, field: str, doc: str, choices: tuple[str, ...] = ()) -> Fact:
    return Fact(name, "text", doc, f"f.session.{field}", choices=choices, field=field)


_FACTS: tuple[Fact, ...] = (
    Fact("now", "moment", "The moment that the decision is for.", "f.now"),
    Fact("service.id", "text", "Billing's id of the service.", "f.service.id"),
    Fact(
        "service.state",
        "text",
        "Effective state: the strictest of billing's and all holds. Rules see `active` and `restricted` only: "
        "the other states are denied before.",
        "f.service.state",
        choices=get_args(State),
        changes="hold",
    ),
    Fact(
        "service.pushed_state",
        "text",
        "Billing's own state, without holds.",
        "f.service.pushed_state",
        choices=get_args(State),
    ),
    Fact(
        "service.holds",
        "list",
        'Causes of the holds in force: "automation:NAME", "admin", ...',
        "f.service.holds",
        changes="hold",
    ),
    Fact("service.add_ons", "list", "Ids of the service's add-on plans.", "f.service.add_ons"),
    Fact("service.tags", "list", "Tags that automations and admins set on the service.", "f.service.tags"),
    _moment("service.activated_at", "When it begins; may be absent."),
    _moment("service.expires_at", "When it ends; may be absent."),
    _moment("service.grace_until", "Until when it goes on after `expires_at`; may be absent."),
    Fact("subscriber.id", "text", "Billing's id of the subscriber.", "f.subscriber.id"),
    Fact("subscriber.operator", "text", "MVNO or brand.", "f.subscriber.operator"),
    Fact("subscriber.groups", "list", "Closed user groups, departments.", "f.subscriber.groups"),
    Fact("subscriber.tags", "list", "Tags that billing set.", "f.subscriber.tags"),
    Fact(
        "subscriber.online_kinds",
        "list",
        "Plan kinds of the subscriber's other services that are online.",
        "f.subscriber.online_kinds",
        choices=_KINDS,
    ),
    Fact(
        "subscriber.billing.overdue_days",
        "int",
        "Days since the oldest unpaid invoice was due.",
        "f.subscriber.billing.overdue_days",
    ),
    Fact("subscriber.billing.balance", "float", "Money left, in billing's currency.", "f.subscriber.billing.balance"),
    Fact(
        "subscriber.billing.credit_limit", "float", "How far the balance may fall.", "f.subscriber.billing.credit_limit"
    ),
    Fact("plan.id", "text", "Id of the plan.", "f.plan.id"),
    Fact("plan.name", "text", "Name of the plan.", "f.plan.name"),
    Fact("plan.kind", "text", "Kind of the plan.", "f.plan.kind", choices=_KINDS),
    Fact(
        "plan.down_bps",
        "int",
        "Rate of the plan towards the subscriber, bit/s; 0 where it names none.",
        "(f.plan.rate.down_bps if f.plan.rate is not None else 0)",
        nonnegative=True,
    ),
    Fact(
        "plan.up_bps",
        "int",
        "Rate of the plan from the subscriber, bit/s; 0 where it names none.",
        "(f.plan.rate.up_bps if f.plan.rate is not None else 0)",
        nonnegative=True,
    ),
    Fact(
        "quota.octets",
        "int",
        "All that the cycle offers: included, rolled over, topped up. Absent without a balance, as all of quota.",
        "f.quota.octets",
        _QUOTA,
        nonnegative=True,
        changes="quota",
    ),
    Fact(
        "quota.used",
        "int",
        "Octets charged in the cycle.",
        "f.quota.used",
        _QUOTA,
        usage=1,
        nonnegative=True,
        changes="quota",
    ),
    Fact(
        "quota.left",
        "int",
        "Octets that may still be charged.",
        "f.quota.left",
        _QUOTA,
        usage=-1,
        nonnegative=True,
        changes="quota",
    ),
    Fact(
        "quota.used_ratio",
        "float",
        "quota.used / quota.octets; 1 where nothing is offered.",
        RATIO,
        _QUOTA,
        usage=1,
        nonnegative=True,
        changes="quota",
    ),
    Fact(
        "quota.cycle_ends_at",
        "moment",
        "When the cycle turns; may be absent.",
        "f.quota.cycle_ends_at",
        (*_QUOTA, "f.quota.cycle_ends_at is not None"),
        changes="quota",
    ),
    _session("session.nas.name", "nas", "Name of the [[nas]] entry."),
    _session("session.nas.family", "nas_family", "Its family.", FAMILIES),
    _session("session.nas.port", "nas_port", "NAS-Port-Id."),
    _session("session.calling_station_id", "calling_station_id", "Calling-Station-Id: usually the device's MAC."),
    _session("session.called_station_id", "called_station_id", "Called-Station-Id: access point and SSID, or APN."),
    _session("session.circuit_id", "circuit_id", "Agent-Circuit-Id (Option 82)."),
    _session("session.remote_id", "remote_id", "Agent-Remote-Id (Option 82)."),
    _session("session.protocol", "protocol", "How the session is authorised.", ("radius", "gx", "gy", "s6a", "sy")),
    _session("session.plmn", "plmn", "Serving mobile network: MCC and MNC, such as 26201; empty for others."),
    _session("session.location", "location", "Cell or tracking area of a mobile session, such as ECGI:26201-0abc123."),
    Fact("event.type", "text", "Type of the event. Facts of the event are known to automations only.", "e.type"),
    Fact("event.subject", "text", "Id of what the event is about.", "e.subject"),
)

FACTS: dict[str, Fact] = {fact.name: fact for fact in _FACTS}
"""By name, in the order of the documentation."""

ALIASES: dict[str, str] = {
    f"request.{name}": f"session.{name}"
    for name in ("calling_station_id", "called_station_id", "circuit_id", "remote_id")
}
"""Other names of facts."""

assert {fact.field for fact in _FACTS if fact.field} == set(SessionFacts.__struct_fields__)


class Declared(Struct, frozen=True):
    """A fact that billing pushes and a policy file declares under [facts]."""

    type: Literal["bool", "int", "float", "text", "moment"]
    default: Scalar | None = None
    """Where billing has pushed none, or one of another type; None: 0, "", false; a moment is absent."""
    doc: str = ""


DEFAULTS: dict[str, Any] = {"bool": False, "int": 0, "float": 0.0, "text": "", "list": (), "moment": None}


def declare(name: str, declared: Declared) -> Fact:
    """The fact `subscriber.billing.NAME`."""
    default = DEFAULTS[declared.type] if declared.default is None else declared.default
    reader = typed_reader(name, declared.type, default)
    code = "{reader}(f.subscriber.billing.extra)"
    optional = reader({}) is None
    doc = declared.doc or "Declared in [facts]."
    guards = (f"{code} is not None",) if optional else ()
    return Fact(f"subscriber.billing.{name}", declared.type, doc, code, guards, reader=reader)


def event_fact(name: str, type: Type) -> Fact:
    """The fact `event.data.NAME`; where an event has none, it is 0, "", false or empty."""
    reader = typed_reader(name, type, DEFAULTS[type])
    return Fact(f"event.data.{name}", type, "", "{reader}(e.data)", reader=reader)


def typed_reader(name: str, type: str, default: Any) -> Callable[[Mapping[str, Any]], Any]:
    """Reads one value of a mapping in a known type, the default where it is absent or of another. Never raises."""
    convert = _CONVERTERS[type]
    fallback = convert(default)

    def read(values: Mapping[str, Any]) -> Any:
        value = values.get(name)
        if value is None:
            return fallback
        value = convert(value)
        return fallback if value is None else value

    return read


def _bool(value: Any) -> bool | None:
    return value if type(value) is bool else None


def _int(value: Any) -> int | None:
    return max(-INT_MAX, min(INT_MAX, value)) if type(value) is int else None


def _float(value: Any) -> float | None:
    if type(value) is int:
        return float(max(-INT_MAX, min(INT_MAX, value)))
    return value if type(value) is float and isfinite(value) else None


def _text(value: Any) -> str | None:
    return value if type(value) is str else None


def _list(value: Any) -> tuple[str, ...] | None:
    return tuple(item for item in value if type(item) is str) if isinstance(value, list | tuple) else None


def _moment_value(value: Any) -> float | None:
    return _parse_moment(value) if type(value) is str else _float(value)


@lru_cache(maxsize=65_536)  # texts; Bound: about 10 MiB; a due date is the same for many subscribers
def _parse_moment(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
        return moment.timestamp() if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "bool": _bool,
    "int": _int,
    "float": _float,
    "text": _text,
    "list": _list,
    "moment": _moment_value,
}


def shown(value: Any, type: str, zone: tzinfo) -> str:
    """A fact's value as an operator would write it."""
    if value is None:
        return "absent"
    if type == "moment":
        try:
            return datetime.fromtimestamp(value, zone).isoformat()
        except (OverflowError, ValueError, OSError):
            return str(value)
    if type == "bool":
        return "true" if value else "false"
    if type == "text":
        return f'"{value}"'
    if type == "list":
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return f"{value:.6g}" if type == "float" else str(value)


def markdown() -> str:
    """The facts as a table, by what they are about."""
    rows = ["| fact | type | meaning |", "|---|---|---|"]
    for fact in _FACTS:
        type = TYPE_WORDS[fact.type].removeprefix("a ")
        choices = f"; one of {', '.join(f'`{choice}`' for choice in fact.choices)}" if fact.choices else ""
        rows.append(f"| `{fact.name}` | {type}{choices} | {fact.doc} |")
    return "\n".join(rows) + "\n"
