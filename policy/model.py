"""The words of policy: plans, facts and the decision they lead to. Knows the standard library and msgspec only.

Rates are bit/s, traffic is octets, durations are seconds, moments are epoch seconds.
"down" is towards the subscriber.
"""

from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

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


class Purchase(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """What an automatic top-up adds."""

    octets: PositiveInt
    valid_s: Seconds | None = None
    """Seconds from the purchase; None: to the end of the cycle."""
    limit: PositiveInt | None = None
    """At most so many in a cycle."""


class Exhausted(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Exhaustion action with a value: exactly one of the two."""

    throttle: Rate | None = None
    """Go on at this rate."""
    top_up: Purchase | None = None
    """Buy this, and go on; billing charges for the event."""

    def __post_init__(self) -> None:
        if (self.throttle is None) == (self.top_up is None):
            raise ValueError("give one of throttle and top_up")


ExhaustedAction = Literal["block", "top_up", "notify"] | Exhausted
"""block: deny. top_up: ask billing for a top-up (event `quota.top_up_requested`). notify: event only."""


class Quota(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Octets that a cycle includes."""

    octets: Count
    period: Literal["day", "week", "month"] = "month"
    direction: Literal["both", "down", "up"] = "both"
    """Which octets count."""
    shared: Literal["service", "subscriber", "group"] = "service"
    """Whose balance: the service's own; one of the subscriber, or of its first group, to which every service with a
    quota shared in this way adds its octets and from which all of them draw."""
    roll_over_octets_max: Count = 0
    """How much of what a cycle leaves goes into the next one, for that one only; 0: none."""
    thresholds: tuple[Annotated[int, Meta(ge=1, le=100)], ...] = (50, 80, 100)
    """Percent used of all that is available in the cycle, at which `quota.threshold` is told once a cycle; 100 is also
    `quota.exhausted`."""


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
TimeOfDay = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]


class Window(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A part of the week, in wall-clock time."""

    start: TimeOfDay = "00:00"
    end: TimeOfDay = "24:00"
    """Exclusive; not after `start`: on the next day. A window belongs to the day it starts on."""
    days: tuple[Day, ...] = DAYS
    zone: str = ""
    """IANA time zone; "": the policy's."""

    def __post_init__(self) -> None:
        if self.start == "24:00":
            raise ValueError('a window starts at "00:00", not "24:00"')
        if self.zone:
            try:
                ZoneInfo(self.zone)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError(f'"{self.zone}" is no time zone; give one such as "Europe/Berlin"') from None


class Tier(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Fair use: from this usage in a cycle on, this rate."""

    above_octets: Count
    rate: Rate


class ScheduleEntry(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Within a window, another rate, or traffic that does not count. The first entry that matches sets the rate."""

    window: str | Window
    """Name of a window of the policy files, or the window itself."""
    rate: Rate | None = None
    zero_rated: bool = False


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


class Flow(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A service data flow (TS 29.212 §5.3.53)."""

    description: Annotated[str, Meta(min_length=1, max_length=1024)]
    """IPFilterRule as Gx has it, "permit out ip from REMOTE to UE": written towards the subscriber for both ways."""
    direction: Literal["down", "up", "both"] = "both"


RuleName = Annotated[str, Meta(min_length=1, max_length=128)]


class ChargingRule(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A PCC rule of a mobile plan (TS 29.212 §4.5.2)."""

    name: RuleName
    kind: Literal["dynamic", "predefined", "base"] = "dynamic"
    """dynamic: as described here. predefined: the PCEF's own of this name. base: its group of this name."""
    flows: tuple[Flow, ...] = ()
    """Empty: all traffic."""
    precedence: Annotated[int, Meta(ge=0, le=2**32 - 1)] = 1000
    """The lower one counts first."""
    gate: Literal["open", "closed"] = "open"
    rating_group: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    service_identifier: Annotated[int, Meta(ge=0, le=2**32 - 1)] | None = None
    free: bool = False
    """What its rating group uses is not charged to the quota."""
    qci: Annotated[int, Meta(ge=1, le=254)] | None = None
    """None: the default bearer's; another one asks for a bearer of its own."""
    arp: Arp | None = None
    max_rate: Rate | None = None
    """Max-Requested-Bandwidth."""
    guaranteed_rate: Rate | None = None
    """Guaranteed-Bitrate."""
    online: bool | None = None
    """Whether Gy charges it; None: where the plan has a quota."""
    offline: bool | None = None
    """None: as the PCEF has it configured."""


class Qos(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Bearer parameters of a mobile plan."""

    qci: Annotated[int, Meta(ge=1, le=254)]
    arp: Arp
    apn: str = "internet"
    apn_ambr: Rate | None = None
    pdn_type: Literal["ipv4", "ipv6", "ipv4v6", "ipv4_or_ipv6"] = "ipv4"
    rules: tuple[ChargingRule, ...] = ()
    """Empty: one rule for all traffic."""


class Plan(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """A product as billing sells it."""

    revision: Count
    id: str = ""
    name: str = ""
    kind: Literal["internet", "wifi", "mobile", "voice", "iptv"] = "internet"
    rate: Rate | None = None
    quota: Quota | None = None
    tiers: tuple[Tier, ...] = ()
    schedule: tuple[ScheduleEntry, ...] = ()
    on_exhausted: tuple[ExhaustedAction, ...] = ()
    pool: str | None = None
    """Name of a [[pool]] of this server, or of the NAS."""
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
Scalar = str | int | float | bool


class BillingFacts(Struct, frozen=True, gc=False):
    """`subscriber.billing` as billing pushed it."""

    overdue_days: int = 0
    balance: float = 0.0
    credit_limit: float = 0.0
    extra: dict[str, Scalar] = {}
    """Facts that the policy files declare in [facts]; read as subscriber.billing.NAME."""


class SubscriberFacts(Struct, frozen=True, gc=False):
    """Who pays."""

    id: str = ""
    operator: str = "default"
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    billing: BillingFacts = BillingFacts()
    online_kinds: tuple[str, ...] = ()
    """Plan kinds of the subscriber's *other* services that have a live session, sorted, each once."""


class ServiceFacts(Struct, frozen=True, gc=False):
    """The service that is decided about."""

    id: str = ""
    state: State = "active"
    """The effective state: the strictest of billing's and all holds."""
    pushed_state: State = "active"
    """Billing's own."""
    holds: tuple[str, ...] = ()
    """Causes of the holds that are in force, sorted."""
    hold_ends_at: float | None = None
    """When the first hold that is in force ends by itself."""
    add_ons: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    """Set by automations and admins."""
    activated_at: float | None = None
    expires_at: float | None = None
    grace_until: float | None = None


class QuotaFacts(Struct, frozen=True, gc=False):
    """The balance that the service draws from; of the running cycle."""

    octets: int = 0
    """All that the cycle offers and offered: included, rolled over, topped up."""
    used: int = 0
    """Charged in the running cycle; zero-rated traffic is not."""
    left: int = 0
    """What may still be charged; 0: exhausted."""
    changes_at: float | None = None
    """When time alone changes `left`: the cycle's turn, or the end of a top-up that is not used up."""
    cycle_ends_at: float | None = None


class SessionFacts(Struct, frozen=True, gc=False):
    """Where the login is, or would be. Text as the NAS sent it, "" where it did not."""

    nas: str = ""
    """Name of the [[nas]] entry."""
    nas_family: str = "generic"
    nas_port: str = ""
    """NAS-Port-Id."""
    calling_station_id: str = ""
    called_station_id: str = ""
    circuit_id: str = ""
    remote_id: str = ""
    protocol: Literal["radius", "gx", "gy", "s6a", "sy"] = "radius"
    plmn: str = ""
    """Serving mobile network: MCC and MNC."""
    location: str = ""
    """Cell or tracking area, as far as the core tells: "ECGI:MCCMNC-hex", "TAI:MCCMNC-hex"."""


class Facts(Struct, frozen=True, gc=False):
    """Everything a decision may depend on. Same facts, same decision."""

    now: float
    plan: Plan
    overrides: Overrides | None = None
    add_ons: tuple[Plan, ...] = ()
    """Plans of the service's add-ons, in order: a rate of theirs replaces the plan's, their attributes are appended."""
    service: ServiceFacts = ServiceFacts()
    subscriber: SubscriberFacts = SubscriberFacts()
    quota: QuotaFacts | None = None
    """None: the plan has none."""
    session: SessionFacts | None = None
    """None: asked without a place; rules that read it do not match."""


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
    "denied",
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
    filter: str | None = None
    """Name of a filter that exists on the NAS (Filter-Id)."""
    walled_garden: bool = False
    """Restricted service: put behind the NAS's garden list where the family has one."""
    simultaneous_use: int | None = None
    session_timeout_s: int | None = None
    idle_timeout_s: int | None = None
    interim_interval_s: int | None = None
    qos: Qos | None = None
    apns: tuple[Qos, ...] = ()
    """Further APNs, which add-ons bring; their first is not `qos`'s."""
    attributes: tuple[Attribute, ...] = ()
    on_exhausted: tuple[str, ...] = ()
    valid_until: float | None = None
    """Epoch seconds at which time alone changes the decision; None: never."""
    valid_below_octets: int | None = None
    """Usage below it changes nothing; None: usage never matters."""
    trace: tuple[TraceStep, ...] = ()


def qos_of(decision: Decision, apn: str) -> Qos | None:
    """Bearer parameters for an APN, whatever its case; "": the first one's. None: it is not subscribed."""
    if decision.qos is not None and (not apn or decision.qos.apn.lower() == apn.lower()):
        return decision.qos
    return next((qos for qos in decision.apns if qos.apn.lower() == apn.lower()), None)
