"""Numbers and number ranges as a fold over sync operations, and what time alone ends.

A number that a SIM has is moved by it; see aaa/state/inventory.py. Knows SIMs as holders only.
"""

from __future__ import annotations

import heapq
import sqlite3
import sys
from typing import Any, Final

import msgspec

from aaa.limits import DEADLINES_SLICE_COUNT
from aaa.model.events import Cause
from aaa.model.inventory import (
    NUMBER_TRANSITIONS,
    QUARANTINE_S,
    RESERVATION_S,
    Number,
    NumberRange,
    NumberState,
    NumberTransition,
)
from aaa.model.operations import Operation
from aaa.model.records import ServiceRecord
from aaa.model.shelves import Inventory, NumberRecord, RangeRecord, SimRecord, numbers_between, pack, unpack
from aaa.state.equipment import (
    DEFAULT_OPERATOR,
    check_room,
    epoch,
    find_service,
    link,
    owner_of,
    read,
    refuse_op,
    refuse_step,
)
from aaa.state.operations import Refused, bury, check_scope, delete_revision, deletes, exhume, settle, value_of
from aaa.state.schema import Row
from aaa.state.store import Store

NUMBER_EVENTS: Final[dict[NumberState, str]] = {
    "available": "number.available",
    "reserved": "number.reserved",
    "assigned": "number.assigned",
    "active": "number.activated",
    "quarantined": "number.quarantined",
}
TIME: Final = Cause("time")


# Numbers


def apply_number(store: Store, operation: Operation, scope: str | None, at: float) -> int:
    record = store.inventory.number(operation.id)
    stored = record.revision if record is not None else None
    known = record.operator if record is not None else range_operator(store, operation.id)
    check_scope(scope, known)
    if deletes(operation):
        revision = delete_revision(store, operation, stored)
        if record is not None:
            if record.sim is not None or record.state in ("assigned", "active"):
                raise Refused("in_use", f"this number is {record.state}; it needs to be given up first")
            record.revision = 0
            move_number(store, record, "available", at)
        bury(store, "number", operation.id, revision)
        return revision
    if operation.op == "transition":
        return step_number(store, operation, record, scope, at)
    if operation.op not in ("put", "patch", "repair"):
        refuse_op(operation)
    before = None
    if record is not None:
        before = number_body(record)
        if operation.op == "patch":
            value = operation.value or {}
            before.state = before.until = None
            if record.sim is not None or value.get("state") in ("available", "reserved", "quarantined"):
                before.service_id = None
    body: Number = value_of(operation, before, Number, "msisdn")
    same = record is not None and is_same_number(record, body)
    settle(store, "number", operation.id, body.revision, stored, same, operation.op == "repair")
    return change_number(store, record, operation.id, body, scope, at)


def step_number(store: Store, operation: Operation, record: NumberRecord | None, scope: str | None, at: float) -> int:
    """A transition, which may leave billing's revision as it is; also of a number that is merely in a range."""
    step = read(operation, NumberTransition)
    if record is None and range_operator(store, operation.id) is None:
        raise Refused("not_found", f"no number {operation.id!r}")
    revision = 0 if record is None else record.revision
    if step.revision is not None:
        settle(store, "number", operation.id, step.revision, revision, False)
        revision = step.revision
    refuse_step("a number", "available" if record is None else record.state, step.state, NUMBER_TRANSITIONS)
    service_id = step.service_id
    if service_id is None and step.state in ("assigned", "active") and record is not None:
        service_id = number_body(record).service_id
    body = Number(revision, operation.id, step.state, service_id, None, step.until)
    return change_number(store, record, operation.id, body, scope, at, step.reason)


def change_number(
    store: Store, record: NumberRecord | None, msisdn: str, body: Number, scope: str | None, at: float, reason: str = ""
) -> int:
    """Make a number what a push asks for. Raises Refused, and changes nothing, where it cannot be."""
    service = find_service(store, body.service_id, scope)
    in_range = range_operator(store, msisdn)
    owner = owner_of(None if record is None else record.operator, body.operator, service, scope, in_range)
    if in_range is not None and owner != in_range:
        raise Refused("invalid", f"its range belongs to {in_range!r}", "$.operator")
    old: NumberState | None = None if record is None else record.state
    if record is not None and record.sim is not None:
        if service not in (None, record.sim.service) or body.state not in (None, old) or owner != record.operator:
            raise Refused("in_use", f"SIM {record.sim.iccid} has this number; change the SIM")
        record.revision = body.revision
        keep_number(store, record)
        return record.revision
    check_room(service, record)
    state = number_state(old, body.state, service is not None)
    until = 0.0
    if state in ("reserved", "quarantined"):
        if body.until is not None:
            until = epoch(body.until)
        elif record is not None and state == old:
            until = record.until
        else:
            until = at + (RESERVATION_S if state == "reserved" else quarantine_of(store, pack(msisdn)))
    if record is None:
        exhume(store, "number", msisdn)
        record = new_number(store, msisdn, owner)
    record.revision = body.revision
    record.operator = owner
    link(record, service)
    move_number(store, record, state, at, until, reason)
    return body.revision


def number_state(old: NumberState | None, wanted: NumberState | None, has_service: bool) -> NumberState:
    """The state that a push leads to, of a number that no SIM has. Raises Refused for an impossible step."""
    if wanted is None:
        if has_service:
            wanted = "assigned" if old in (None, "available", "reserved") else old
        else:
            wanted = "quarantined" if old in ("assigned", "active") else old or "available"
    if old is not None:
        refuse_step("a number", old, wanted, NUMBER_TRANSITIONS)
    if has_service and wanted not in ("assigned", "active"):
        raise Refused("invalid", f"a number that is {wanted} has no service", "$.service_id")
    if not has_service and wanted in ("assigned", "active"):
        raise Refused("missing_reference", f"a number that is {wanted} needs a service, or a SIM", "$.service_id")
    return wanted


def find_number(
    store: Store, msisdn: str, sim: SimRecord | None, service: ServiceRecord | None, owner: str, scope: str | None
) -> NumberRecord | None:
    """The record of a number that a SIM may have; None: it has none yet. Raises Refused where somebody else has it."""
    record = store.inventory.number(msisdn)
    operator = record.operator if record is not None else range_operator(store, msisdn)
    if operator not in (None, owner):
        raise Refused("duplicate_msisdn", "this number belongs to another operator", "$.msisdn")
    if record is None:
        return None
    if record.sim is not None and record.sim is not sim:
        raise Refused("duplicate_msisdn", f"SIM {record.sim.iccid} has this number", "$.msisdn")
    if record.service not in (None, service):
        raise Refused("duplicate_msisdn", f"service {record.service.body.id!r} has this number", "$.msisdn")
    if record.state == "quarantined":
        raise Refused("invalid_transition", "this number is quarantined; allowed: available", "$.msisdn")
    return record


def reserve(store: Store, range_id: str, ttl_s: float, scope: str | None, at: float) -> NumberRecord:
    """Reserve the lowest available number of a range. Raises Refused: not_found, exhausted."""
    record = store.inventory.ranges.by_id.get(range_id)
    if record is None or scope not in (None, record.body.operator):
        raise Refused("not_found", f"no number_range {range_id!r}")
    lowest = record.lowest()
    if lowest is None:
        raise Refused("exhausted", f"range {range_id!r} has no available number")
    msisdn = unpack(lowest)
    number = store.inventory.number(msisdn) or new_number(store, msisdn, record.body.operator or DEFAULT_OPERATOR)
    move_number(store, number, "reserved", at, at + ttl_s)
    return number


def new_number(store: Store, msisdn: str, operator: str) -> NumberRecord:
    """A record of an available number."""
    inventory = store.inventory
    record = NumberRecord(msisdn, sys.intern(operator))
    record.no = inventory.numbers.next_place()
    inventory.numbers.place(record, record.no)
    inventory.numbers_by_msisdn.add(record.no, 0, record.packed)
    return record


def give_up_number(store: Store, record: NumberRecord, at: float) -> None:
    """A number that was given to somebody rests; one that was not is available again."""
    link(record, None)
    if record.state in ("assigned", "active"):
        move_number(store, record, "quarantined", at, at + quarantine_of(store, record.packed))
    else:
        move_number(store, record, "available", at)


def move_number(
    store: Store, record: NumberRecord, state: NumberState, at: float, until: float = 0.0, reason: str = ""
) -> None:
    """Give a number its state, which was checked; tell it where it is another; its row is owed."""
    inventory, old = store.inventory, record.state
    found = inventory.ranges.of(record.packed)
    record.state, record.until = state, until
    if until:
        heapq.heappush(inventory.deadlines, (until, record.packed))
    if state != old:
        if found is not None:
            found.move(record.packed, old, state)
        data: dict[str, Any] = {"state": state, "previous_state": old}
        if found is not None:
            data["range"] = found.body.id
        if until:
            data["until"] = until
        if reason:
            data["reason"] = reason
        service = record.sim.service if record.sim is not None else record.service
        store.emit(NUMBER_EVENTS[state], record.msisdn, at, data, service, record.operator)
    if state == "available" and record.revision == 0:
        inventory.numbers_by_msisdn.remove(0, record.packed)
        inventory.numbers.take(record.no, again=True)
        store.journal.settle(Row.NUMBER, Row.NUMBER_DELETE, (record.msisdn,), None)
    else:
        keep_number(store, record)


def range_operator(store: Store, msisdn: str) -> str | None:
    """Whose the number is by its range; None: it has no range."""
    if not (msisdn.isascii() and msisdn.isdigit() and 5 <= len(msisdn) <= 15):
        return None
    found = store.inventory.ranges.of(pack(msisdn))
    return None if found is None else found.body.operator


def quarantine_of(store: Store, packed: int) -> float:
    """Seconds that a number rests between two users."""
    found = store.inventory.ranges.of(packed)
    return QUARANTINE_S if found is None else found.body.quarantine_s


def is_same_number(record: NumberRecord, body: Number) -> bool:
    """Whether a push repeats what is stored."""
    stored = number_body(record)
    return (
        body.state in (None, stored.state)
        and body.service_id in ((None, stored.service_id) if record.sim is not None else (stored.service_id,))
        and body.operator in (None, stored.operator)
        and (body.until is None or epoch(body.until) == record.until)
    )


def number_body(record: NumberRecord) -> Number:
    """A number as it could be pushed."""
    holder = record.sim.service if record.sim is not None else record.service
    return Number(
        record.revision,
        record.msisdn,
        record.state,
        None if holder is None else holder.body.id,
        record.operator,
        record.until or None,
    )


class StoredNumber(msgspec.Struct, gc=False, omit_defaults=True):
    """Body of a number's row. The SIM that has it names it, not the other way round."""

    no: int
    state: NumberState
    revision: int = 0
    operator: str = DEFAULT_OPERATOR
    service: int = 0
    until: float = 0.0


def keep_number(store: Store, record: NumberRecord) -> None:
    """The row of a number."""
    service = 0 if record.service is None else record.service.no
    body = StoredNumber(record.no, record.state, record.revision, record.operator, service, record.until)
    msisdn = record.msisdn
    row = (msisdn, msgspec.json.encode(body).decode())
    store.journal.settle(Row.NUMBER, Row.NUMBER_DELETE, (msisdn,), row)


# What time alone ends


def next_deadline(store: Store) -> float | None:
    """When the next reservation or quarantine may end; None: there is none."""
    deadlines = store.inventory.deadlines
    return deadlines[0][0] if deadlines else None


def expire(store: Store, at: float, count: int = DEADLINES_SLICE_COUNT) -> bool:
    """End the reservations and quarantines whose time is over, `count` at most; whether more are due."""
    inventory = store.inventory
    deadlines = inventory.deadlines
    asked, store.cause = store.cause, TIME
    while count and deadlines and deadlines[0][0] <= at:
        count -= 1
        until, packed = heapq.heappop(deadlines)
        record = inventory.number(unpack(packed))
        if record is not None and record.until == until and record.state in ("reserved", "quarantined"):
            move_number(store, record, "available", at)
    store.cause = asked
    return bool(deadlines) and deadlines[0][0] <= at


# Ranges


def apply_range(store: Store, operation: Operation, scope: str | None, at: float) -> int:
    ranges = store.inventory.ranges
    record = ranges.by_id.get(operation.id)
    stored = record.body.revision if record is not None else None
    check_scope(scope, record.body.operator if record is not None else None)
    if deletes(operation):
        revision = delete_revision(store, operation, stored)
        if record is not None:
            if record.taken:
                raise Refused("in_use", f"{sum(record.counts.values())} numbers of this range are not available")
            ranges.remove(record)
            keep_range(store, operation.id, None)
        bury(store, "number_range", operation.id, revision)
        return revision
    if operation.op not in ("put", "patch", "repair"):
        refuse_op(operation)
    body: NumberRange = value_of(operation, record.body if record is not None else None, NumberRange)
    body.operator = owner_of(record.body.operator if record is not None else None, body.operator, None, scope)
    same = record is not None and record.body == body
    settle(store, "number_range", operation.id, body.revision, stored, same, operation.op == "repair")
    if len(body.first) != len(body.last) or body.last < body.first:
        raise Refused("invalid", "as long as first, and not below it", "$.last")
    made = RangeRecord(body)
    other = ranges.overlapping(made.first, made.last, record)
    if other is not None:
        name = f"range {other.body.id!r}" if scope in (None, other.body.operator) else "another range"
        raise Refused("duplicate_range", f"{name} has numbers of this range", "$.first")
    old = None if record is None else (record.first, record.last, record.body.operator)
    if record is not None and old == (made.first, made.last, body.operator):
        record.body = body
    else:
        count = count_numbers(store, made)
        if record is not None:
            if count != sum(record.counts.values()):
                raise Refused("in_use", "numbers that are not available would be left outside", "$.first")
            ranges.remove(record)
        exhume(store, "number_range", operation.id)
        ranges.add(made)
    keep_range(store, operation.id, body)
    return body.revision


def count_numbers(store: Store, made: RangeRecord) -> int:
    """Take the numbers that are in use already into a new range; how many are not available.

    Raises Refused where one is another operator's. Cost: a look at every number there is, about 10 ns each.
    """
    for number in numbers_between(store.inventory.numbers.records, made.first, made.last):
        if number.operator != made.body.operator:
            raise Refused("in_use", "a number of it belongs to another operator", "$.operator")
        if number.state != "available":
            made.move(number.packed, "available", number.state)
    return sum(made.counts.values())


def keep_range(store: Store, range_id: str, body: NumberRange | None) -> None:
    """The row of a range; None: it is gone."""
    row = None if body is None else (range_id, msgspec.json.encode(body).decode())
    store.journal.settle(Row.NUMBER_RANGE, Row.NUMBER_RANGE_DELETE, (range_id,), row)


# Start-up


def load_ranges(inventory: Inventory, db: sqlite3.Connection) -> None:
    """Before load_numbers(), which fills them."""
    decode = msgspec.json.Decoder(NumberRange).decode
    for (text,) in db.execute("SELECT body FROM number_range ORDER BY id"):
        inventory.ranges.add(RangeRecord(decode(text)))


def load_numbers(store: Store, inventory: Inventory, db: sqlite3.Connection) -> None:
    """Numbers that are not merely in a range, with their deadlines."""
    decode = msgspec.json.Decoder(StoredNumber).decode
    shelf = inventory.numbers
    for msisdn, text in db.execute("SELECT msisdn, body FROM number"):
        body = decode(text)
        record = NumberRecord(msisdn, sys.intern(body.operator))
        record.no, record.revision = body.no, body.revision
        record.state, record.until = body.state, body.until
        shelf.place(record, record.no)
        inventory.numbers_by_msisdn.add(record.no, 0, record.packed)
        if body.service:
            link(record, store.services_by_no.get(body.service))
        if body.until:
            inventory.deadlines.append((body.until, record.packed))
        if body.state != "available" and (found := inventory.ranges.of(record.packed)) is not None:
            found.move(record.packed, "available", body.state)
    heapq.heapify(inventory.deadlines)
    shelf.free = [no for no in range(len(shelf.records) - 1, 0, -1) if shelf.records[no] is None]
