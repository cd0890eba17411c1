"""SIMs, numbers, number ranges and devices as billing pushes them, and their life cycles as tables.

IMSI, MSISDN and ICCID are digit strings: leading zeros count. Knows no wire, storage or clock.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from aaa.model.entities import Id, Moment
from policy.model import Count

Iccid = Annotated[str, Meta(pattern=r"^[0-9]{18,22}(?!\n)$")]
"""ITU-T E.118: 19 or 20 digits; 18 to 22 are in use. The Luhn digit is not enforced: many batches have none."""
Imsi = Annotated[str, Meta(pattern=r"^[0-9]{6,15}(?!\n)$")]
"""ITU-T E.212: country code of 3 digits, network code of 2 or 3, the rest is the subscriber's."""
Msisdn = Annotated[str, Meta(pattern=r"^[0-9]{5,15}(?!\n)$")]
"""ITU-T E.164 without a plus sign."""
Hex32 = Annotated[str, Meta(pattern=r"^[0-9A-Fa-f]{32}(?!\n)$")]
Batch = Annotated[str, Meta(max_length=128)]
Reason = Annotated[str, Meta(max_length=1024)]

SimState = Literal["stock", "assigned", "activated", "suspended", "retired"]
NumberState = Literal["available", "reserved", "assigned", "active", "quarantined"]
DeviceKind = Literal["cpe", "onu", "handset"]

SIM_TRANSITIONS: Final[dict[SimState, tuple[SimState, ...]]] = {
    "stock": ("assigned", "retired"),
    "assigned": ("stock", "activated", "retired"),
    "activated": ("suspended", "retired"),
    "suspended": ("activated", "retired"),
    "retired": (),
}
"""States that a SIM may step to; staying is always allowed."""

NUMBER_TRANSITIONS: Final[dict[NumberState, tuple[NumberState, ...]]] = {
    "available": ("reserved",),
    "reserved": ("assigned", "available"),
    "assigned": ("active", "quarantined"),
    "active": ("quarantined",),
    "quarantined": ("available",),
}
"""Likewise a number. What is assigned without a reservation is reserved and assigned in one step."""

RESERVATION_S: Final = 900.0
"""How long a reservation lasts that names no time."""
QUARANTINE_S: Final = 90 * 86_400.0
"""How long a number rests whose range names no time, or that has no range."""


class Sim(Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A SIM or eSIM profile. Ki, OPc and OP are kept sealed and never shown; a PUT without them keeps those stored."""

    revision: Count
    imsi: Imsi
    iccid: Iccid | None = None
    """Its id; may be left out where the path has it."""
    ki: Hex32 | None = None
    """K, 128 bits."""
    opc: Hex32 | None = None
    """OPc; or else `op`, from which it is derived."""
    op: Hex32 | None = None
    amf: Annotated[str, Meta(pattern=r"^[0-9A-Fa-f]{4}(?!\n)$")] = "8000"
    """Authentication management field; 8000: the separation bit of TS 33.102, Annex H."""
    sqn: Annotated[int, Meta(ge=0, le=2**48 - 1)] = 0
    """Counts only when the push creates the SIM: the stored one never falls but by a verified AUTS."""
    algorithm: Literal["milenage"] = "milenage"
    msisdn: Msisdn | None = None
    service_id: Id | None = None
    """A service may have several SIMs."""
    state: SimState | None = None
    """Absent: as it is; a new SIM is in stock, or assigned where it names a service."""
    operator: Id | None = None
    """Whose it is; absent: its service's operator, or the token's, or "default"."""
    batch: Batch = ""
    """Under which it was delivered."""

    def __repr__(self) -> str:
        return f"Sim({self.iccid})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("iccid", self.iccid)]


class Number(Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A number: of a range, or by itself. One that a SIM has follows the SIM."""

    revision: Count
    msisdn: Msisdn | None = None
    """Its id; may be left out where the path has it."""
    state: NumberState | None = None
    """Absent: as it is; a new one is available, or assigned where it names a service."""
    service_id: Id | None = None
    """A service that has it without a SIM, such as a fixed line."""
    operator: Id | None = None
    """Absent: its range's, or the token's, or "default"."""
    until: Moment | None = None
    """End of a reservation or a quarantine; absent: 15 minutes, and the range's `quarantine_s`."""


class NumberRange(Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Numbers from first to last, both included. Ranges do not overlap."""

    first: Msisdn
    last: Msisdn
    """As long as `first`, and not below it."""
    revision: Count = 1
    id: str = ""
    operator: Id | None = None
    """Whose numbers they are; absent: the token's operator, or "default"."""
    quarantine_s: Annotated[float, Meta(ge=0, le=3650 * 86_400.0)] = QUARANTINE_S
    """How long a number rests between two users."""


class Device(Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Equipment at a customer's. A lock may name it by its id."""

    revision: Count
    kind: DeviceKind = "cpe"
    id: str = ""
    serial: Annotated[str, Meta(max_length=128)] = ""
    mac: Annotated[str, Meta(max_length=32)] | None = None
    """In any usual spelling."""
    imei: Annotated[str, Meta(pattern=r"^[0-9]{14,16}(?!\n)$")] | None = None
    """15 digits; 14 without the check digit, 16 with the software version."""
    service_id: Id | None = None
    operator: Id | None = None
    """Absent: its service's operator, or the token's, or "default"."""


class SimTransition(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A step of a SIM. Without a revision billing's stays as it is."""

    state: SimState
    revision: Count | None = None
    reason: Reason = ""
    service_id: Id | None = None
    """To which service, when it is assigned."""
    msisdn: Msisdn | None = None
    """The number that it gets with this step."""


class SimReplacement(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Another SIM takes over service, number and state; the old one is retired."""

    iccid: Iccid
    """The new SIM: in stock, with the same operator."""
    revision: Count | None = None
    """Of the old SIM."""
    reason: Reason = ""


class NumberTransition(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A step of a number."""

    state: NumberState
    revision: Count | None = None
    reason: Reason = ""
    service_id: Id | None = None
    """To which service, when it is assigned."""
    until: Moment | None = None
    """End of the reservation or of the quarantine."""
