"""Shapes of SIMs, numbers, number ranges and devices in the API, and who may change them. Knows no HTTP."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from msgspec import Meta, Struct

from aaa.model.entities import Moment
from aaa.model.inventory import (
    RESERVATION_S,
    Device,
    DeviceKind,
    Number,
    NumberRange,
    NumberState,
    NumberTransition,
    Sim,
    SimReplacement,
    SimState,
    SimTransition,
)
from billing_hooks import schema
from billing_hooks.tokens import Role

STOCK_KEEPERS: Final[frozenset[Role]] = frozenset(("billing", "sim_admin", "admin"))
"""Change SIMs, numbers, ranges and devices."""
KEY_HOLDERS: Final[frozenset[Role]] = frozenset(("sim_admin", "admin"))
"""Push Ki, OPc and OP as well."""
KEY_FIELDS: Final = ("ki", "opc", "op")

SimPatch = schema.partial(Sim)
NumberPatch = schema.partial(Number)
NumberRangePatch = schema.partial(NumberRange)
DevicePatch = schema.partial(Device)

VALUES: Final[dict[tuple[str, str], Any]] = {
    ("put", "sim"): Sim,
    ("patch", "sim"): SimPatch,
    ("transition", "sim"): SimTransition,
    ("replace", "sim"): SimReplacement,
    ("put", "number"): Number,
    ("patch", "number"): NumberPatch,
    ("transition", "number"): NumberTransition,
    ("put", "number_range"): NumberRange,
    ("patch", "number_range"): NumberRangePatch,
    ("put", "device"): Device,
    ("patch", "device"): DevicePatch,
}
"""(op, kind) -> shape of the operation's value, for sync."""
ROLES: Final[dict[tuple[str, str], frozenset[Role]]] = {
    **dict.fromkeys(VALUES, STOCK_KEEPERS),
    **{("delete", kind): STOCK_KEEPERS for _, kind in VALUES},
}
"""(op, kind) -> who may, for sync."""


def has_keys(value: Mapping[str, Any] | None) -> bool:
    """Whether a SIM's value holds secrets, which only KEY_HOLDERS may push."""
    return value is not None and any(value.get(name) is not None for name in KEY_FIELDS)


class SimQuery(schema.PageQuery, frozen=True, forbid_unknown_fields=True):
    """Parameters of the list of SIMs."""

    q: str | None = None
    """Prefix of the ICCID."""
    state: SimState | None = None
    service_id: str | None = None
    batch: str | None = None
    imsi: str | None = None
    """The SIM that it names now; retired ones are not found by it."""
    msisdn: str | None = None
    operator: str | None = None


class NumberQuery(schema.PageQuery, frozen=True, forbid_unknown_fields=True):
    """Parameters of the list of numbers; those that are merely available in a range are not listed."""

    q: str | None = None
    """Prefix of the number."""
    state: NumberState | None = None
    service_id: str | None = None
    operator: str | None = None


class RangeQuery(schema.PageQuery, frozen=True, forbid_unknown_fields=True):
    """Parameters of the list of number ranges."""

    q: str | None = None
    """Prefix of the id."""
    operator: str | None = None


class DeviceQuery(schema.PageQuery, frozen=True, forbid_unknown_fields=True):
    """Parameters of the list of devices."""

    q: str | None = None
    """Prefix of the id."""
    kind: DeviceKind | None = None
    service_id: str | None = None
    operator: str | None = None


class SimView(Struct):
    """A SIM without its keys."""

    iccid: str
    revision: int
    imsi: str
    state: SimState
    msisdn: str | None
    service_id: str | None
    operator: str
    batch: str
    algorithm: str
    amf: str
    sqn: int
    """The highest that was used in a challenge."""
    has_keys: bool
    """Whether it can authenticate: Ki and OPc were pushed."""
    registration: schema.Registration | None
    """null: no MME serves it, as far as is known."""


class SimPage(Struct):
    """A page of SIMs."""

    items: list[SimView]
    next: str | None = None


class NumberView(Struct):
    """A number; revision 0: billing has not pushed it."""

    msisdn: str
    revision: int
    state: NumberState
    operator: str
    range: str | None
    """Id of its range."""
    service_id: str | None
    iccid: str | None
    """The SIM that has it."""
    until: Moment | None
    """End of its reservation or quarantine."""


class NumberPage(Struct):
    """A page of numbers."""

    items: list[NumberView]
    next: str | None = None


class RangeView(Struct):
    """A range, with how many of its numbers are in which state."""

    id: str
    revision: int
    first: str
    last: str
    operator: str
    quarantine_s: float
    counts: dict[NumberState, int]


class RangePage(Struct):
    """A page of number ranges."""

    items: list[RangeView]
    next: str | None = None


class DevicePage(Struct):
    """A page of devices."""

    items: list[Device]
    next: str | None = None


class Reservation(Struct, forbid_unknown_fields=True):
    """How long a number is kept for whoever reserves it."""

    ttl_s: Annotated[float, Meta(ge=1, le=30 * 86_400)] = RESERVATION_S


class Reserved(Struct):
    """A number that nobody else gets until it is assigned or the time is over."""

    msisdn: str
    expires_at: Moment
    range: str


class RevisionQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a DELETE."""

    revision: schema.Revision | None = None
