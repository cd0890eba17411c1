"""The words of policy: plans, facts and the decision they lead to. Knows the standard library and msgspec only.

Rates are bit/s, traffic is octets, durations are seconds, moments are epoch seconds.
"down" is towards the subscriber.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

PositiveInt = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Bps = Annotated[int, Meta(ge=0, le=10**13)]
Seconds = Annotated[int, Meta(ge=1, le=2**32 - 1)]

FAMILIES = (
    "generic",
    "mikrotik",
    "cisco",
    "juniper",
    "huawei",
    "nokia",
    "zte",
    "ubiquiti",
    "cambium",
    "accel-ppp",
)
"""NAS families: one table each in aaa/mapping/families."""


class Burst(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Short excess over the rate: the burst rate holds until the average over `seconds` passes the threshold."""

    down_bps: Bps
    up_bps: Bps
    threshold_down_bps: Bps | None = None
    """None: the rate itself."""
    threshold_up_bps: Bps | None = None
    seconds: Annotated[int, Meta(ge=1, le=3600)] = 10


class Rate(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Speed in both directions. 0 means the network element's own default, never "blocked"."""

    down_bps: Bps
    up_bps: Bps
    burst: Burst | None = None


class Throttle(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Exhaustion action: go on at this rate."""

    throttle: Rate


ExhaustedAction = Literal["block", "top_up", "notify"] | Throttle


class Quota(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Octets (both directions) that a cycle includes."""

    octets: Count
    period: Literal["day", "week", "month"] = "month"


class Attribute(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """An opaque reply attribute for one NAS family, or all ("*")."""

    name: str
    value: str | int
    family: str = "*"
    tag: Annotated[int, Meta(ge=0, le=31)] | None = None


class Arp(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Allocation and Retention Priority (TS 29.212 §5.3.32)."""

    priority: Annotated[int, Meta(ge=1, le=15)]
    preempt: bool = False
    preemptable: bool = True


class Qos(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Bearer parameters of a mobile plan."""

    qci: Annotated[int, Meta(ge=1, le=254)]
    arp: Arp
    apn: str = "internet"
    apn_ambr: Rate | None = None


class Plan(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A product as billing sells it."""

    revision: Count
    id: str = ""
    name: str = ""
    kind: Literal["internet", "wifi", "mobile", "voice", "iptv"] = "internet"
    rate: Rate | None = None
    quota: Quota | None = None
    on_exhausted: tuple[ExhaustedAction, ...] = ()
    pool: str | None = None
    """Name of a [[pool]] of this server."""
    simultaneous_use: PositiveInt | None = None
    session_timeout: Seconds | None = None
    idle_timeout: Seconds | None = None
    interim_interval: Annotated[int, Meta(ge=60, le=86400)] | None = None
    qos: Qos | None = None
    attributes: tuple[Attribute, ...] = ()


class Overrides(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """What one service has instead of its plan's value; None leaves the plan's."""

    rate: Rate | None = None
    pool: str | None = None
    simultaneous_use: PositiveInt | None = None
    session_timeout: Seconds | None = None
    idle_timeout: Seconds | None = None
    interim_interval: Annotated[int, Meta(ge=60, le=86400)] | None = None
    attributes: tuple[Attribute, ...] = ()


State = Literal["pending", "active", "restricted", "suspended", "terminated"]


class Facts(Struct, frozen=True, gc=False):
    """Everything a decision may depend on. Same facts, same decision."""

    now: float
    state: State
    """The effective state: the strictest of billing's and all holds."""
    plan: Plan
    overrides: Overrides | None = None
    activated_at: float | None = None
    expires_at: float | None = None
    grace_until: float | None = None
    used_octets: int = 0
    """Both directions, in the running cycle."""
    cycle_ends_at: float | None = None


Reason = Literal[
    "granted",
    "restricted",
    "throttled",
    "pending",
    "suspended",
    "terminated",
    "expired",
    "not_yet_active",
    "quota_exhausted",
]


class TraceStep(Struct, frozen=True, gc=False):
    """One rule that matched, and the facts that made it match."""

    rule: str
    facts: str
    effect: str


class Decision(Struct, frozen=True, gc=False, cache_hash=True):
    """What a service may do, free of any protocol. Equal decisions are one object where the engine keeps them."""

    grant: bool
    reason: Reason
    message: str = ""
    """For the support desk and the subscriber: why it was denied or reduced."""
    rate: Rate | None = None
    pool: str | None = None
    walled_garden: bool = False
    """Restricted service: put behind the NAS's garden list where the family has one."""
    simultaneous_use: int | None = None
    session_timeout_s: int | None = None
    idle_timeout_s: int | None = None
    interim_interval_s: int | None = None
    qos: Qos | None = None
    attributes: tuple[Attribute, ...] = ()
    on_exhausted: tuple[str, ...] = ()
    valid_until: float | None = None
    """Epoch seconds at which time alone changes the decision; None: never."""
    valid_below_octets: int | None = None
    """Usage below it changes nothing; None: usage never matters."""
    trace: tuple[TraceStep, ...] = ()
