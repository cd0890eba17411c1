"""Shapes of what the API takes and gives beyond the entities: bodies, queries and documents. Knows no HTTP."""

import math
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from aaa.limits import HTTP_LIST_COUNT_MAX
from aaa.model.entities import Credential, Moment, Octets, Service, Subscriber
from aaa.model.operations import Result
from policy.model import Plan, Rate, State

Revision = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Limit = Annotated[int, Meta(ge=1, le=HTTP_LIST_COUNT_MAX)]


def partial(entity: type[Struct]) -> type[Struct]:
    """The entity with every field optional, for PATCH; null clears a field, an absent one is kept."""
    fields: list[tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(entity):
        kind = Revision if field.name == "revision" else field.type if field.required else field.type | None
        fields.append((field.name, kind | UnsetType, UNSET))
    return msgspec.defstruct(
        f"{entity.__name__}Patch",
        fields,
        module=__name__,
        forbid_unknown_fields=True,
        namespace={"__doc__": f"Fields of a {entity.__name__} to change; null clears one, an absent one is kept."},
    )


PlanPatch = partial(Plan)
SubscriberPatch = partial(Subscriber)
ServicePatch = partial(Service)


class CredentialSet(Struct, forbid_unknown_fields=True):
    """All credentials of a service: those stored before and not named here are removed."""

    credentials: tuple[Credential, ...]
    revision: Revision | UnsetType = UNSET
    """The service's new revision."""
    id: str = ""


class StateChange(Struct, forbid_unknown_fields=True):
    """A step of a service's state."""

    state: State
    revision: Revision | UnsetType = UNSET
    reason: Annotated[str, Meta(max_length=1024)] = ""


class Deletion(Struct, forbid_unknown_fields=True):
    """A DELETE names its revision in the query, or in this body."""

    revision: Revision | UnsetType = UNSET


class SyncRequest(Struct, forbid_unknown_fields=True):
    """Many operations, each answered by itself. See Operation."""

    operations: list[msgspec.Raw]


class SyncAnswer(Struct):
    """One Result for each operation, in order."""

    results: list[Result]


class NoQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """No query parameters."""


class DeleteQuery(Struct, frozen=True, forbid_unknown_fields=True):
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


class SessionQuery(PageQuery, frozen=True, forbid_unknown_fields=True):
    """Parameters of the list of sessions."""

    service: str | None = None
    nas: str | None = None
    user: str | None = None
    address: str | None = None
    ended: bool | None = None
    """true: ended ones; false or absent: live ones."""


class LeaseQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Parameters of the search in the lease history: an address, a service, or both."""

    address: str | None = None
    at: str | None = None
    """RFC 3339 with a zone, or epoch seconds; absent: all times."""
    service: str | None = None


class DecisionQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What the decision is to be explained for."""

    nas: str | None = None
    at: str | None = None
    """RFC 3339 with a zone, or epoch seconds; absent: now."""


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


class QuotaStatus(Struct):
    """What a cycle includes and what is left of it."""

    octets: int
    used_octets: int = 0
    left_octets: int = 0


class SessionStatus(Struct):
    """A live session of a service: what it should run under, and what the network confirmed."""

    id: str
    protocol: str
    nas: str
    desired: dict[str, Any] | None = None
    confirmed: dict[str, Any] | None = None
    converged: bool = False
    since: Moment | None = None


class ServiceStatus(Struct):
    """What a portal shows."""

    service_id: str
    state: State
    """The effective state: the strictest of billing's and all holds."""
    plan_id: str
    rate: Rate | None
    usage: Usage
    quota: QuotaStatus | None
    sessions: list[SessionStatus]


class Session(Struct, omit_defaults=True):
    """A session, live or ended. Addresses and identities are as the NAS reported them."""

    id: str
    nas: str = ""
    protocol: str = ""
    state: str = ""
    service_id: str | None = None
    user_name: str | None = None
    acct_session_id: str | None = None
    adopted: bool = False
    """First seen in accounting: it was never authorised here."""
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


class SessionPage(Struct):
    """A page of sessions."""

    items: list[Session]
    next: str | None = None


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


