"""The entities that billing pushes: subscriber, service and its credentials, as the sync API and the store spell them.

`id`s are billing's own strings; `revision` is set by billing and only grows. Knows no wire, storage or clock.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from policy.model import Count, Overrides, State

Id = Annotated[str, Meta(min_length=1, max_length=253)]
Moment = Annotated[datetime, Meta(tz=True)] | Annotated[float, Meta(ge=0, le=253_402_300_799)]
"""RFC 3339 text with a zone, or epoch seconds; shown as RFC 3339 in UTC."""


class Billing(Struct, frozen=True, gc=False, omit_defaults=True):
    """Billing's facts for policy; unknown scalars are kept in `extra`."""

    overdue_days: int = 0
    balance: float = 0.0
    credit_limit: float = 0.0
    extra: dict[str, str | int | float | bool] = {}


class Subscriber(Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Who pays: owner of services."""

    revision: Count
    id: str = ""
    name: str = ""
    operator: Id = "default"
    """MVNO or brand; usernames and other credentials are unique within one."""
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    billing: Billing | None = None


class Password(Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="password"):
    """User name and exactly one form of its password."""

    username: Id
    cleartext: str | None = None
    nt_hash: str | None = None
    """32 hex digits."""
    crypt: str | None = None
    """crypt(3): $5$, $6$, $2b$ and what the system's libcrypt knows."""
    bcrypt: str | None = None
    argon2: str | None = None
    """PHC string."""
    pbkdf2: str | None = None
    """pbkdf2_sha256$rounds$salt$base64, or $pbkdf2-sha256$rounds$salt$hash."""
    ssha: str | None = None
    """{SSHA}, {SSHA256} or {SSHA512} with base64."""

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Password({self.username!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("username", self.username)]


class Mac(Struct, gc=False, forbid_unknown_fields=True, tag_field="type", tag="mac"):
    """A device by its hardware address, in any usual spelling."""

    mac: str


class Circuit(Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True, tag_field="type", tag="circuit"):
    """A line by Agent-Circuit-Id, Agent-Remote-Id or both. "0x..." is hex for binary ids."""

    circuit_id: str | None = None
    remote_id: str | None = None


Credential = Password | Mac | Circuit


class Lock(Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Where a service may be used from; every part given must match."""

    nas: tuple[str, ...] = ()
    """Names of [[nas]] entries."""
    port: tuple[str, ...] = ()
    """NAS-Port-Id."""
    circuit: tuple[str, ...] = ()
    mac: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    """Ids of devices, whose MACs count as they are then; or MACs."""


class Octets(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Usage; input is from the subscriber."""

    input_octets: Count = 0
    output_octets: Count = 0


class Service(Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """One sub-service of a subscriber: what a credential logs in to."""

    revision: Count
    subscriber_id: Id
    plan_id: Id
    state: State = "active"
    id: str = ""
    add_ons: tuple[str, ...] = ()
    activated_at: Moment | None = None
    expires_at: Moment | None = None
    grace_until: Moment | None = None
    cycle: Annotated[int, Meta(ge=1, le=31)] | Literal["day", "week", "month"] | None = None
    """Day of the month on which a cycle begins, or a period; None: the plan's quota period."""
    static_ip: str | None = None
    static_prefix: str | None = None
    """IPv6 prefix to delegate."""
    lock: Lock | None = None
    overrides: Overrides | None = None
    credentials: tuple[Credential, ...] | None = None
    """None on a PUT keeps those stored. Never shown."""
    usage: Octets | None = None
    """Usage of the running cycle at migration; counts only when the PUT creates the service."""


class Hold(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """What an automation, an admin or a payment hook lays on a service, beside billing's state. One for each cause."""

    kind: Literal["restrict", "suspend"]
    cause: Id
    """"automation:NAME", "admin", ...: names the hold within its service; `restore` lifts by it."""
    actor: str = ""
    at: float = 0.0
    """Epoch seconds of its beginning."""
    until: float | None = None
    """It ends by itself, exclusive; None: until it is lifted."""
    reason: str = ""


class TopUp(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """Octets bought; `id` is the client's own, so that a replay is harmless."""

    id: Id
    octets: Annotated[int, Meta(ge=1, le=2**56)]
    expires_at: Moment | None = None
    """None: with the running cycle."""


SERVICE_TRANSITIONS: dict[State, tuple[State, ...]] = {
    "pending": ("active", "terminated"),
    "active": ("restricted", "suspended", "terminated"),
    "restricted": ("active", "suspended", "terminated"),
    "suspended": ("active", "restricted", "terminated"),
    "terminated": (),
}
"""States that billing may step to; staying is always allowed."""
