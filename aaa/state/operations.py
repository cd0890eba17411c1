"""What every kind of entity shares when an operation is applied: revisions, tombstones, scopes, refusals."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from aaa.model.operations import Operation
from aaa.state.schema import Row
from aaa.state.store import Store


class Refused(Exception):
    """An operation that cannot be applied; becomes an `error` result."""

    def __init__(self, error: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.error = error
        self.detail = detail
        self.field = field


class Change(NamedTuple):
    """What an operation did, for its answer and the audit log. Texts are JSON without secrets; "": nothing there."""

    revision: int
    """The stored one."""
    before: str = ""
    after: str = ""
    operator: str = ""
    """Whose it is."""
    more: dict[str, Any] = {}  # noqa: RUF012 - never changed
    """What else the log tells: names of credentials, a reason."""


class Settled(Exception):
    """An operation that changes nothing: `stale` or `conflict`."""

    def __init__(self, status: str, revision: int) -> None:
        super().__init__(status)
        self.status = status
        self.revision = revision


def settle(
    store: Store, kind: str, entity_id: str, revision: int, stored: int | None, same: bool, repairs: bool = False
) -> None:
    """Refuse what is not newer than what is stored or buried; a repair has the stored revision and other content."""
    buried = store.tombstones.get((kind, entity_id))
    if stored is None:
        if buried is not None and revision <= buried:
            raise Settled("stale", buried)
    elif revision < stored or (revision == stored and same):
        raise Settled("stale", stored)
    elif revision == stored and not repairs:
        raise Settled("conflict", stored)


def value_of(operation: Operation, stored: Any | None, struct: type[Any], key: str = "id") -> Any:
    """The whole entity that a put or patch asks for. key: the field that holds its id."""
    value = operation.value
    if value is None:
        raise Refused("invalid", "a put or patch needs a value", "$.value")
    if operation.revision is not None:
        value = {**value, "revision": operation.revision}
    if "revision" not in value:
        raise Refused("invalid", "missing; every change carries a revision that only grows", "$.revision")
    if value.get(key, operation.id) != operation.id:
        raise Refused("invalid", f"{value[key]!r} differs from the operation's id {operation.id!r}", f"$.{key}")
    if operation.op == "patch":
        if stored is None:
            raise Refused("not_found", f"no {operation.kind} {operation.id!r} to patch")
        merged = {**msgspec.to_builtins(stored, builtin_types=(datetime,)), **value}
        value = {name: part for name, part in merged.items() if part is not None}
    try:
        return msgspec.convert({**value, key: operation.id}, struct)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `")
        raise Refused("invalid", detail, path.rstrip("`") or "$") from None


def revision_of(operation: Operation) -> int:
    """The revision of a delete or state operation."""
    revision = operation.revision
    if revision is None and operation.value is not None:
        revision = operation.value.get("revision")
    if not isinstance(revision, int) or revision < 0:
        raise Refused("invalid", "missing; every change carries a revision that only grows", "$.revision")
    return revision


def bury(store: Store, kind: str, entity_id: str, revision: int) -> None:
    """Leave a tombstone: an older push must not bring the entity back."""
    store.tombstones[kind, entity_id] = revision
    store.journal.settle(Row.TOMBSTONE, Row.TOMBSTONE_DELETE, (kind, entity_id), (kind, entity_id, revision))


def exhume(store: Store, kind: str, entity_id: str) -> None:
    """A newer revision brings the entity back."""
    if store.tombstones.pop((kind, entity_id), None) is not None:
        store.journal.settle(Row.TOMBSTONE, Row.TOMBSTONE_DELETE, (kind, entity_id), None)


def delete_revision(store: Store, operation: Operation, stored: int | None) -> int:
    """Check a delete's revision against what is stored or buried."""
    revision = revision_of(operation)
    if stored is None:
        buried = store.tombstones.get((operation.kind, operation.id))
        if buried is not None and revision <= buried:
            raise Settled("stale", buried)
        if buried is None:
            raise Refused("not_found", f"no {operation.kind} {operation.id!r}")
    elif revision < stored:
        raise Settled("stale", stored)
    elif revision == stored and operation.op != "repair":
        raise Settled("conflict", stored)
    return revision


def deletes(operation: Operation) -> bool:
    """A repair without a value is a deletion at the stored revision."""
    return operation.op == "delete" or (operation.op == "repair" and operation.value is None)


def check_scope(operator: str | None, found: str | None) -> None:
    """A token of one operator neither changes nor learns of another's."""
    if operator is not None and found is not None and found != operator:
        raise Refused("forbidden", "this belongs to another operator")
