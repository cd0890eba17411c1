"""Shapes of what the API takes and gives beyond the entities: bodies, queries and documents. Knows no HTTP."""

import math
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from aaa.limits import ENFORCED_WAIT_S, ENFORCED_WAIT_S_MAX, HTTP_LIST_COUNT_MAX
from aaa.model.entities import Credential, Id, Moment, Octets, Service, Subscriber
from aaa.model.inventory import DeviceKind, NumberState, SimState
from aaa.model.operations import Result
from policy.model import Plan, Rate, State

Revision = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Limit = Annotated[int, Meta(ge=1, le=HTTP_LIST_COUNT_MAX)]


def partial(entity: type[Struct]) -> type[Struct]:
    """The entity with every field optional, for PATCH; null clears a field, an absent one is kept."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [("revision", Revision)]
    for field in msgspec.structs.fields(entity):
        if field.name != "revision":
            kind = field.type if field.required else field.type | None
            fields.append((field.name, kind | UnsetType, UNSET))
    return msgspec.defstruct(
        f"{entity.__name__}Patch",
        fields,
        module=__name__,
        forbid_unknown_fields=True,
        namespace={
            "__doc__": f"Fields of a {entity.__name__} to change; null clears one, an absent one is kept.",
            # Security: of a SIM they are its keys.
            "__repr__": lambda patch: f"{type(patch).__name__}()",
            "__rich_repr__": lambda patch: [],
        },
    )


PlanPatch = partial(Plan)
SubscriberPatch = partial(Subscriber)
ServicePatch = partial(Service)


class CredentialSet(Struct, forbid_unknown_fields=True):
    """All credentials of a service: those stored before and not named here are removed."""

    credentials: tuple[Credential, ...]
    revision: Revision
    """The service's new revision."""
    id: str = ""


class StateChange(Struct, forbid_unknown_fields=True):
    """A step of a service's state."""

    state: State
    revision: Revision
    reason: Annotated[str, Meta(max_length=1024)] = ""


class HoldChange(Struct, forbid_unknown_fields=True):
    """A hold to lay on a service, beside billing's state; one of the same cause is replaced."""

    kind: Literal["restrict", "suspend"]
    cause: Id = "admin"
    """Names the hold within its service. `automation:` at its beginning is the automations' own."""
    until: Moment | None = None
    """It ends by itself; null: when it is lifted."""
    reason: Annotated[str, Meta(max_length=1024)] = ""


class Restoration(Struct, forbid_unknown_fields=True):
    """Holds to lift."""

    cause: Id | None = None
    """Of one hold; null: all holds."""


Tag = Annotated[str, Meta(min_length=1, max_length=64)]


class TagChange(Struct, forbid_unknown_fields=True):
    """Tags to put on a service and to take off; policy reads them as service.tags."""

    add: Annotated[tuple[Tag, ...], Meta(max_length=64)] = ()
    remove: Annotated[tuple[Tag, ...], Meta(max_length=64)] = ()


class Deletion(Struct, forbid_unknown_fields=True):
    """A DELETE names its revision in the query, or in this body."""

    revision: Revision | UnsetType = UNSET


class SyncRequest(Struct, forbid_unknown_fields=True):
    """Many operations, each answered by itself. See Operation."""

    operations: list[msgspec.Raw]


class Receipt(Struct):
    """What was sent to the network for a change, and what it answered."""

    id: int
    session: str
    nas: str
    service_id: str
    action: Literal["coa", "disconnect"]
    state: Literal["pending", "sent", "waiting", "done", "failed", "superseded"]
    """done, failed and superseded are final."""
    result: str = ""
    """One word when final: ack, session_gone, refused, unreachable, superseded."""
    reason: str = ""
    """What differs."""
    error_cause: int | None = None
    """Error-Cause of the last NAK (RFC 5176)."""
    attempts: int = 0
    sent_at: Moment | None = None
    answered_at: Moment | None = None
    seconds: float | None = None
    """From the decision to the end of it, or until now."""


class Enforced(Struct, omit_defaults=True):
    """What followed on the network, where the caller waited for it."""

    converged: bool | None = None
    """Every session runs under what was decided; absent: nobody waited."""
    receipts: list[Receipt] = []
    """The first of them; `counts` has all."""
    pending: list[int] = []
    """Numbers of those that are not final yet."""
    counts: dict[str, int] = {}
    """How many in each state."""


class PushResult(Enforced, omit_defaults=True):
    """Answer to one operation; with ?wait=enforced also what followed on the network."""

    kind: str = ""
    id: str = ""
    status: Literal["applied", "stale", "conflict", "error"] = "error"
    revision: int | None = None
    """The stored revision after the operation."""
    error: str | None = None
    detail: str | None = None
    field: str | None = None
    enforcements: tuple[int, ...] = ()


class SyncAnswer(Enforced, kw_only=True, omit_defaults=True):
    """One Result for each operation, in order; with ?wait=enforced also what followed on the network."""

    results: list[Result]


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """No query parameters."""


class WaitQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Whether to wait for the network."""

    wait: Literal["enforced"] | None = None
    """enforced: answer when the network has acknowledged or refused what the change causes."""
    timeout: Annotated[float, Meta(ge=0, le=ENFORCED_WAIT_S_MAX)] = ENFORCED_WAIT_S
    """Seconds to wait at most."""


class DeleteQuery(WaitQuery, frozen=True, forbid_unknown_fields=True):
    """Parameters of a DELETE."""

    revision: Revision | None = None


class PageQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of every list."""

    after: str = ""
    """Cursor: the `next` of the page before."""
    limit: Limit = 100


class PlanQuery(PageQuery, frozen=True, forbid_unknown_fields=True):
    """Parameters of the list of plans."""

    q: str | None = None
    """Prefix of the id."""


class SubscriberQuery(PlanQuery, frozen=True, forbid_unknown_fields=True):
    """Parameters of the list of subscribers."""

    operator: str | None = None


class ServiceQuery(SubscriberQuery, frozen=True, forbid_unknown_fields=True):
    """Parameters of the list of services."""

    subscriber_id: str | None = None
    plan_id: str | None = None
    state: State | None = None


Protocol = Literal["radius", "gx", "gy", "s6a", "sy"]


class SessionQuery(PageQuery, frozen=True, forbid_unknown_fields=True):
    """Parameters of the list of sessions."""

    service: str | None = None
    nas: str | None = None
    user: str | None = None
    address: str | None = None
    protocol: Protocol | None = None
    imsi: str | None = None
    apn: str | None = None
    """Without its operator identifier."""
    ended: bool | None = None
    """true: ended ones; false or absent: live ones."""
    divergent: bool | None = None
    """true: only those that do not run yet under what was decided, with the reason."""


class LeaseQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of the search in the lease history: an address, a service, or both."""

    address: str | None = None
    at: str | None = None
    """RFC 3339 with a zone, or epoch seconds; absent: all times."""
    service: str | None = None


class PlanPage(Struct):
    """A page of plans."""

    items: list[Plan]
    next: str | None = None
    """Cursor of the next page; null on the last."""


class SubscriberPage(Struct):
    """A page of subscribers."""

    items: list[Subscriber]
    next: str | None = None


class ServicePage(Struct):
    """A page of services, without credentials."""

    items: list[Service]
    next: str | None = None


class CredentialView(Struct, omit_defaults=True):
    """A credential without its secret."""

    type: Literal["password", "mac", "circuit"]
    username: str | None = None
    scheme: str | None = None
    """How the password is kept: cleartext, nt_hash, bcrypt, ..."""
    mac: str | None = None
    circuit_id: str | None = None
    remote_id: str | None = None


class CredentialsView(Struct, omit_defaults=True):
    """The credentials of a service, without secrets."""

    credentials: list[CredentialView]
    id: str = ""
    revision: int = 0


class Usage(Octets, frozen=True):
    """Octets of the running cycle; input is from the subscriber."""

    total_octets: int = 0


class BucketView(Struct, omit_defaults=True):
    """Octets that a balance offers, in the order in which buckets are used up."""

    kind: Literal["cycle", "roll_over", "top_up"]
    octets: int
    used_octets: int
    left_octets: int
    id: str = ""
    """The client's own, of a top-up; else the service's that brings it."""
    expires_at: Moment | None = None


class QuotaStatus(Struct, omit_defaults=True):
    """What a cycle offers and what is left of it."""

    octets: int
    """All of the cycle: included, rolled over, topped up."""
    used_octets: int = 0
    left_octets: int = 0
    shared: str = ""
    """Whose balance it is: service, subscriber or group."""
    buckets: list[BucketView] = []
    cycle_ends_at: Moment | None = None


class HoldView(Struct, omit_defaults=True):
    """A hold on a service."""

    kind: Literal["restrict", "suspend"]
    cause: str
    actor: str = ""
    at: Moment | None = None
    until: Moment | None = None
    reason: str = ""


class Balance(Struct):
    """A service's balance."""

    service_id: str
    kind: str
    """service, subscriber or group: whose balance it is."""
    octets: int
    used_octets: int
    left_octets: int | None
    """null: a plan with tiers alone has no end."""
    buckets: list[BucketView]
    cycle_starts_at: Moment | None = None
    cycle_ends_at: Moment | None = None
    thresholds: list[int] = []
    """Percent at which `quota.threshold` is told."""
    told: list[int] = []
    """Those told in this cycle."""
    services: list[str] = []
    """All that draw from it, where it is shared; the first thousand."""


class SessionStatus(Struct):
    """A live session of a service: what it should run under, and what the network confirmed."""

    id: str
    protocol: str
    nas: str
    desired: dict[str, Any] | None = None
    confirmed: dict[str, Any] | None = None
    converged: bool = False
    divergence: str | None = None
    """What keeps it from running under what is desired."""
    since: Moment | None = None
    """Since when it diverges, or has converged: the last confirmation, or its start where nothing has changed since."""
    started_at: Moment | None = None
    framed_ip: str | None = None
    usage: Usage | None = None
    """As it reports it."""
    imsi: str | None = None
    apn: str | None = None
    charged: bool | None = None
    """Whether what it reports is charged; null: it reports no usage, as S6a and Sy."""
    charged_by: str | None = None
    """The session of the same bearer that is charged in its place."""
    charged_usage: Usage | None = None
    """What of its usage was charged; absent: all of it."""
    enforcement: Receipt | None = None
    """What is being done about it."""


class Registration(Struct, omit_defaults=True):
    """Which MME serves a SIM, and where."""

    session_id: str
    mme: str
    """Its Origin-Host."""
    since: Moment | None = None
    updated_at: Moment | None = None
    plmn: str | None = None
    """Serving network: MCC and MNC."""
    location: str | None = None
    rat: str | None = None
    imei: str | None = None


class SimStatus(Struct):
    """A SIM of a service. A suspended one blocks mobile access; other sessions of the service go on."""

    iccid: str
    imsi: str
    msisdn: str | None
    state: SimState
    registration: Registration | None = None
    """Which MME serves it; null: none."""


class NumberStatus(Struct):
    """A number of a service, without a SIM."""

    msisdn: str
    state: NumberState


class DeviceStatus(Struct):
    """Equipment at the customer's."""

    id: str
    kind: DeviceKind
    serial: str
    mac: str | None
    imei: str | None


class ServiceStatus(Struct):
    """What a portal shows."""

    service_id: str
    subscriber_id: str
    state: State
    """The effective state: the strictest of billing's and all holds."""
    pushed_state: State
    """Billing's own."""
    holds: list[HoldView]
    plan_id: str
    grant: bool
    reason: str
    message: str
    rate: Rate | None
    usage: Usage
    quota: QuotaStatus | None
    cycle_ends_at: Moment | None
    expires_at: Moment | None
    tags: list[str]
    sessions: list[SessionStatus]
    sims: list[SimStatus]
    numbers: list[NumberStatus]
    """Without a SIM."""
    devices: list[DeviceStatus]


class SubscriberStatus(Struct):
    """A subscriber's services; the first hundred."""

    subscriber_id: str
    operator: str
    services: list[ServiceStatus]


class FailedRule(Struct):
    """A charging rule that the gateway does not have in force."""

    name: str
    code: int
    """Rule-Failure-Code (TS 29.212 §5.3.38)."""


class GrantView(Struct):
    """Quota that a Gy client has."""

    rating_group: int | None
    """null: it asked without one."""
    service_identifier: int | None
    octets: int
    granted_at: Moment | None
    validity_s: int | None
    final: bool
    """Nothing comes after it."""
    free: bool
    """Its use is not charged."""
    result_code: int


class Session(Struct, omit_defaults=True):
    """A session, live or ended. Addresses and identities are as the NAS reported them."""

    id: str
    nas: str = ""
    protocol: str = ""
    state: str = ""
    service_id: str | None = None
    user_name: str | None = None
    """Of a Diameter session the IMSI."""
    acct_session_id: str | None = None
    """RADIUS: the NAS's own name of the session."""
    diameter_session_id: str | None = None
    """Gx, Gy and Sy: Session-Id."""
    imsi: str | None = None
    msisdn: str | None = None
    apn: str | None = None
    plmn: str | None = None
    """Serving network: MCC and MNC."""
    location: str | None = None
    """ECGI:MCCMNC-hex of a cell, or TAI:MCCMNC-hex of a tracking area."""
    rat: str | None = None
    """RAT-Type, such as EUTRAN."""
    imei: str | None = None
    rules_installed: list[str] | None = None
    """Gx: charging rules in force."""
    rules_failed: list[FailedRule] | None = None
    monitored_octets: int | None = None
    """Gx: granted to usage monitoring; 0: it reports no usage."""
    grants: list[GrantView] | None = None
    """Gy: quota in force."""
    mme: str | None = None
    """S6a: Origin-Host of the MME."""
    purged: bool | None = None
    """S6a: it has ended because the MME has forgotten the subscriber."""
    counters: dict[str, str] | None = None
    """Sy: policy counters with their statuses as told."""
    charged: bool | None = None
    """Whether what it reports is charged; null: it reports no usage, as S6a and Sy."""
    charged_by: str | None = None
    """The session of the same bearer that is charged in its place."""
    charged_usage: Usage | None = None
    """What of its usage was charged; absent: all of it."""
    adopted: bool = False
    """First seen in the middle: it was never authorised here."""
    authorised_at: Moment | None = None
    started_at: Moment | None = None
    updated_at: Moment | None = None
    ended_at: Moment | None = None
    session_time_s: int | None = None
    usage: Usage | None = None
    framed_ip: str | None = None
    framed_ipv6: str | None = None
    framed_prefix: str | None = None
    delegated_prefix: str | None = None
    calling_station_id: str | None = None
    called_station_id: str | None = None
    nas_port_id: str | None = None
    circuit_id: str | None = None
    remote_id: str | None = None
    terminate_cause: int | None = None
    ended_by_nas: bool | None = None
    diverged_at: Moment | None = None
    """Since when it has not run under what was decided."""
    divergence: str | None = None
    """Why it does not."""
    enforcement: Receipt | None = None
    """What is being done about it."""
    desired: dict[str, Any] | None = None
    """What it should run under, and what the network confirmed; of a divergent one."""
    confirmed: dict[str, Any] | None = None


class SessionPage(Struct):
    """A page of sessions."""

    items: list[Session]
    next: str | None = None


class SessionChange(Enforced, omit_defaults=True):
    """A Disconnect-Request or CoA is on its way; with ?wait=enforced, how it ended."""

    session_id: str = ""
    status: str = ""
    """sent, or unchanged: the session runs under what was decided."""
    nas: str = ""
    enforcements: tuple[int, ...] = ()


class Lease(Struct):
    """Who had an address, from when until when (null: still)."""

    address: str
    service_id: str | None = None
    session_id: str | None = None
    nas: str | None = None
    mac: str | None = None
    since: Moment | None = msgspec.field(default=None, name="from")
    until: Moment | None = None


class LeasePage(Struct):
    """Leases found."""

    items: list[Lease]


class SnapshotQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of a snapshot."""

    dry_run: bool = False
    """Change nothing; say what would change, with lists."""
    share: Annotated[float, Meta(ge=0, le=1)] | None = None
    """Largest share of what is there that may be ended; absent: as configured."""
    kinds: str = "plan,subscriber,service"
    """Of which kinds this is the whole truth; the stream has no others."""


class SnapshotRequest(Struct, forbid_unknown_fields=True):
    """The full truth; every plan before its services, every subscriber before its services."""

    entities: list[msgspec.Raw]


class SnapshotEntity(Struct, forbid_unknown_fields=True):
    """One entity of a snapshot, as a put has it."""

    kind: Literal["plan", "subscriber", "service"]
    id: Id
    value: dict[str, Any]


class SnapshotCounts(Struct):
    """What became of one kind. In a dry run: what would."""

    received: int = 0
    new: int = 0
    """Were not here."""
    newer: int = 0
    """Had a higher revision than what was stored."""
    same: int = 0
    repaired: int = 0
    """Had the stored revision with other content."""
    older: int = 0
    """Had a lower revision than what is stored: not taken."""
    errors: int = 0
    absent: int = 0
    """Are here and were not in the snapshot."""
    ended: int = 0
    """Of these: services terminated, subscribers deleted."""
    kept: int = 0
    """Of these: plans, which may come from elsewhere, and subscribers that have services."""


class SnapshotAnswer(Struct, omit_defaults=True):
    """What a snapshot did, or with ?dry_run=true would do. A list names the first ten thousand."""

    dry_run: bool
    complete: bool
    """The end of the snapshot was seen and counted; otherwise nothing was ended."""
    kinds: dict[str, SnapshotCounts]
    missing: list[str] = []
    """KIND/ID of what was not here. This list and the next four in a dry run only."""
    older_here: list[str] = []
    """What has a higher revision in the snapshot than here."""
    newer_here: list[str] = []
    """What has a higher revision here than in the snapshot."""
    differing: list[str] = []
    """What has the same revision and other content."""
    extra: list[str] = []
    """What is here and not in the snapshot; it was ended, or in a dry run would be."""
    errors: list[Result] = []
    """What could not be taken."""


class DigestQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of a digest."""

    kind: Literal["plan", "subscriber", "service"] = "service"
    parts: Annotated[int, Meta(ge=1, le=4096)] = 1
    """Into how many parts of equal count the range is cut."""
    start: str | None = msgspec.field(default=None, name="from")
    """First id of the range, inclusive."""
    end: str | None = msgspec.field(default=None, name="to")
    """End of the range, exclusive."""


class DigestPart(Struct):
    """One range of ids."""

    first: str | None = msgspec.field(name="from")
    """Inclusive; null: from the beginning."""
    end: str | None = msgspec.field(name="to")
    """Exclusive; null: to the end."""
    count: int
    sha256: str
    """Of the lines "ID TAB REVISION LF", sorted by the octets of the ids in UTF-8."""


class Digest(Struct):
    """Hashes of what is here, in order of ids."""

    kind: str
    count: int
    sha256: str
    """Of all lines of the range."""
    parts: list[DigestPart]


class Health(Struct):
    """Whether the engine answers."""

    status: str
    version: str = ""
    uptime_s: float = 0.0


class Document(Struct):
    """A JSON object whose members are described with the command that shows it."""


def parse_moment(text: str) -> float:
    """Epoch seconds of epoch seconds or RFC 3339 text. Raises ValueError; a time without a zone is one."""
    try:
        seconds = float(text)
    except ValueError:
        # A plus sign that was not percent-encoded arrives as a blank.
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    else:
        if not math.isfinite(seconds):
            raise ValueError("not a time")
        return seconds
    if moment.tzinfo is None:
        raise ValueError("a time needs a zone, as in 2026-05-01T12:00:00Z")
    return moment.timestamp()
