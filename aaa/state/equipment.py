"""What SIMs, numbers and devices share: whose they are, and the service that they are tied to."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec

from aaa.limits import EQUIPMENT_COUNT_MAX
from aaa.model.entities import Moment
from aaa.model.operations import Operation
from aaa.model.records import ServiceRecord
from aaa.model.shelves import DeviceRecord, NumberRecord, SimRecord
from aaa.state.operations import Refused, check_scope
from aaa.state.store import Store

DEFAULT_OPERATOR: Final = "default"
MOMENT_MAX: Final = 253_402_300_799.0
"""The last second of the year 9999: what RFC 3339 can spell."""
T = TypeVar("T")


def refuse_step(what: str, old: str, new: str, table: dict[Any, tuple[Any, ...]]) -> None:
    """Refuse what the life cycle does not have, naming what it has."""
    if new != old and new not in table[old]:
        allowed = ", ".join(table[old]) or "none"
        raise Refused("invalid_transition", f"{what}: {old} -> {new} is impossible; allowed: {allowed}", "$.state")


def read(operation: Operation, shape: type[T]) -> T:
    """The value of a transition or replacement."""
    value = operation.value or {}
    if operation.revision is not None:
        value = {**value, "revision": operation.revision}
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `")
        raise Refused("invalid", detail, path.rstrip("`") or "$") from None


def refuse_op(operation: Operation) -> None:
    """Refuse what a kind does not know."""
    raise Refused("invalid", f"{operation.op} is not possible for a {operation.kind}", "$.op")


def epoch(moment: Moment) -> float:
    """Epoch seconds. Raises Refused for a moment without a zone, before 1970, or after the year 9999."""
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise Refused("invalid", "a time needs a zone, as in 2026-05-01T12:00:00Z", "$.until")
        moment = moment.timestamp()
    if not 0.0 < moment <= MOMENT_MAX:
        raise Refused("invalid", "a time after 1970 and before the year 10000", "$.until")
    return moment


def operator_of(service: ServiceRecord) -> str:
    """Its subscriber's."""
    return service.subscriber.body.operator


def find_service(store: Store, service_id: str | None, scope: str | None) -> ServiceRecord | None:
    """The service that equipment is tied to. Raises Refused where there is none that the caller may see."""
    if service_id is None:
        return None
    service = store.services.get(service_id)
    if service is None or scope not in (None, operator_of(service)):
        raise Refused("missing_reference", f"no service {service_id!r}", "$.service_id")
    if service.body.state == "terminated":
        raise Refused("missing_reference", f"service {service_id!r} is terminated", "$.service_id")
    return service


def owner_of(
    stored: str | None, pushed: str | None, service: ServiceRecord | None, scope: str | None, default: str | None = None
) -> str:
    """Whose equipment is. Raises Refused where the caller, or the service, is another operator's."""
    owner = pushed or stored or default or (operator_of(service) if service is not None else scope or DEFAULT_OPERATOR)
    check_scope(scope, owner)
    if service is not None and operator_of(service) != owner:
        raise Refused("missing_reference", f"operator {owner!r} has no service {service.body.id!r}", "$.service_id")
    return sys.intern(owner)


def check_room(service: ServiceRecord | None, record: SimRecord | NumberRecord | DeviceRecord | None) -> None:
    """Refuse to tie too much to one service."""
    if service is None or (record is not None and record.service is service):
        return
    if len(service.equipment) >= EQUIPMENT_COUNT_MAX:
        detail = f"service {service.body.id!r} has {EQUIPMENT_COUNT_MAX} SIMs, numbers and devices already"
        raise Refused("limit", detail, "$.service_id")


def link(record: SimRecord | NumberRecord | DeviceRecord, service: ServiceRecord | None) -> None:
    """Tie a record to a service instead of the one it was tied to."""
    old = record.service
    if old is service:
        return
    if old is not None:
        old.equipment = tuple(each for each in old.equipment if each is not record)
    record.service = service
    if service is not None:
        service.equipment = (*service.equipment, record)
