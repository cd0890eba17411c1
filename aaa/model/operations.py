"""What the sync API asks of the engine, and what the engine answers: neutral words for every door (HTTP, CLI, import).

A `Call` is one question to the engine's process; its answer is a `Answer` whose body is JSON, ready to be sent on.
"""

from typing import Any, Literal

from msgspec import Raw, Struct

Kind = Literal["plan", "subscriber", "service", "credentials", "sim", "number", "number_range", "device"]
Op = Literal["put", "patch", "delete", "state", "top_up", "hold", "restore", "tag", "transition", "replace", "repair"]
ResultStatus = Literal["applied", "stale", "conflict", "error"]


class Operation(Struct, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """One change of one entity, atomic and durable before it is answered.

    put: `value` is the whole entity. patch: `value` has the fields to change (null clears). delete: leaves a
    tombstone. state: `value` is {"state", "reason"}, for services. `revision` stands in the value or here.
    For services, without a revision, because billing's entity stays as it is: top_up (a TopUp), hold (a Hold),
    restore ({"cause"}; absent: every hold), tag ({"add", "remove"}). For SIMs and numbers: transition ({"state"}), and
    for SIMs replace ({"iccid"} of the new one).
    """

    op: Op
    kind: Kind
    id: str
    value: dict[str, Any] | None = None
    revision: int | None = None

    def __repr__(self) -> str:
        """Without the value, which may hold passwords and keys."""
        return f"Operation({self.op} {self.kind} {self.id!r}, revision={self.revision})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("op", self.op), ("kind", self.kind), ("id", self.id)]


class Result(Struct, frozen=True, gc=False, omit_defaults=True):
    """Answer to one operation, in order."""

    kind: str
    id: str
    status: ResultStatus
    revision: int | None = None
    """The stored revision after the operation."""
    error: str | None = None
    """Machine-readable: missing_reference, invalid, invalid_transition, duplicate_credential, not_found, forbidden."""
    detail: str | None = None
    field: str | None = None
    """Path of the offending field, "$.plan_id"."""
    enforcements: tuple[int, ...] = ()
    """Numbers of the enforcements that followed, where the caller waits for them; their receipts are beside it."""


class Actor(Struct, frozen=True, gc=False):
    """On whose behalf a call is made."""

    name: str
    role: Literal["reader", "support", "billing", "sim_admin", "admin"]
    operator: str | None = None
    """Scope: sees and changes this operator's entities only; None: all."""
    correlation_id: str = ""


class Call(Struct, gc=False):
    """A question to the engine: method name and its arguments (see aaa/server/admin.py for the methods)."""

    id: int
    method: str
    actor: Actor
    args: Raw
    """msgpack of the method's argument struct or list."""
    key: str = ""
    """Under which the answer is kept, durable with what the call changes; "": not kept."""
    digest: bytes = b""
    """Of what the call asks; another one under the same key is refused."""

    def __repr__(self) -> str:
        """Without the arguments, which may hold passwords and keys."""
        return f"Call({self.id}, {self.method}, {self.actor})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("method", self.method)]


class Answer(Struct, gc=False):
    """`status` is an HTTP status; `body` is JSON text (or Prometheus text for metrics)."""

    id: int
    status: int
    body: bytes
