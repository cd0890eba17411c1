"""SIMs and devices as a fold over sync operations, and everything of the inventory at start-up.

A SIM, its number and its service move together: what a step of a SIM means for its number stands in NUMBER_OF_SIM, what
the end of a service means for its SIMs in WITHOUT_SERVICE. An operation is checked whole before anything changes.
Deterministic.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from typing import Any, Final

import msgspec

from aaa.credential.identity import parse_mac
from aaa.credential.verifier import CredentialError
from aaa.model.inventory import (
    SIM_TRANSITIONS,
    Device,
    Number,
    NumberRange,
    NumberState,
    Sim,
    SimReplacement,
    SimState,
    SimTransition,
)
from aaa.model.operations import Operation
from aaa.model.records import ServiceRecord
from aaa.model.shelves import DeviceRecord, Inventory, NumberRecord, SimRecord, pack
from aaa.state.equipment import DEFAULT_OPERATOR, check_room, find_service, link, owner_of, read, refuse_op, refuse_step
from aaa.state.mobile import bar_imsi
from aaa.state.numbers import (
    apply_number,
    apply_range,
    find_number,
    give_up_number,
    load_numbers,
    load_ranges,
    move_number,
    new_number,
    number_body,
)
from aaa.state.operations import (
    Change,
    Refused,
    bury,
    check_scope,
    delete_revision,
    deletes,
    exhume,
    settle,
    value_of,
)
from aaa.state.schema import Row
from aaa.state.sequence import jump_after_restore
from aaa.state.store import Store
from native.milenage import derive_opc

NUMBER_OF_SIM: Final[dict[SimState, NumberState]] = {
    "stock": "assigned",
    "assigned": "assigned",
    "activated": "active",
    "suspended": "active",
    "retired": "quarantined",
}
"""State of a SIM's number; one that is active stays so until it is given up."""

WITHOUT_SERVICE: Final[dict[SimState, SimState]] = {
    "stock": "stock",
    "assigned": "stock",
    "activated": "suspended",
    "suspended": "suspended",
    "retired": "retired",
}
"""State of a SIM whose service ends or is taken from it. It keeps its number until it is retired."""

SIM_EVENTS: Final[dict[SimState, str]] = {
    "stock": "sim.stocked",
    "assigned": "sim.assigned",
    "activated": "sim.activated",
    "suspended": "sim.suspended",
    "retired": "sim.retired",
}


def release_equipment(store: Store, service: ServiceRecord, at: float) -> None:
    """A service ends: its SIMs go to stock or are suspended, its own numbers rest, its devices belong to nobody."""
    for record in service.equipment:
        if isinstance(record, SimRecord):
            move_sim(store, record, WITHOUT_SERVICE[record.state], None, record.number, at, "its service has ended")
        elif isinstance(record, NumberRecord):
            give_up_number(store, record, at)
        else:
            link(record, None)
            record.body.service_id = None
            keep_device(store, record)


# SIMs


def apply_sim(store: Store, operation: Operation, scope: str | None, at: float) -> int:
    record = store.inventory.sim(operation.id)
    stored = record.revision if record is not None else None
    check_scope(scope, record.operator if record is not None else None)
    if deletes(operation):
        revision = delete_revision(store, operation, stored)
        if record is not None:
            drop_sim(store, record, at)
        bury(store, "sim", operation.id, revision)
        return revision
    if operation.op == "replace":
        return replace_sim(store, operation, record, scope, at)
    if operation.op == "transition":
        return step_sim(store, operation, record, scope, at)
    if operation.op not in ("put", "patch", "repair"):
        refuse_op(operation)
    body: Sim = value_of(operation, patched_sim(operation, record), Sim, "iccid")
    keys = read_keys(body)
    same = record is not None and is_same_sim(record, body, keys)
    settle(store, "sim", operation.id, body.revision, stored, same, operation.op == "repair")
    return change_sim(store, record, operation.id, body, keys, scope, at)


def patched_sim(operation: Operation, record: SimRecord | None) -> Sim | None:
    """What a patch is merged into: without what a step to another state changes by itself."""
    if record is None:
        return None
    body = sim_body(record)
    if operation.op == "patch":
        body.state = None
        state = (operation.value or {}).get("state")
        if state in ("stock", "retired"):
            body.service_id = None
        if state == "retired":
            body.msisdn = None
    return body


def step_sim(store: Store, operation: Operation, record: SimRecord | None, scope: str | None, at: float) -> int:
    """A transition: like a patch, but that it may leave billing's revision as it is."""
    step = read(operation, SimTransition)
    if record is None:
        raise Refused("not_found", f"no sim {operation.id!r}")
    if step.revision is not None:
        settle(store, "sim", operation.id, step.revision, record.revision, False)
    body = sim_body(record)
    body.revision = record.revision if step.revision is None else step.revision
    body.state = step.state
    body.service_id = step.service_id or (None if step.state in ("stock", "retired") else body.service_id)
    body.msisdn = step.msisdn or (None if step.state == "retired" else body.msisdn)
    return change_sim(store, record, operation.id, body, None, scope, at, step.reason)


def change_sim(
    store: Store, record: SimRecord | None, iccid: str, body: Sim, keys: bytes | None, scope: str | None, at: float,
    reason: str = "",
) -> int:  # fmt: skip
    """Make a SIM what a push asks for. Raises Refused, and changes nothing, where it cannot be."""
    inventory = store.inventory
    service = find_service(store, body.service_id, scope)
    owner = owner_of(record.operator if record is not None else None, body.operator, service, scope)
    check_room(service, record)
    state = sim_state(record.state if record is not None else None, body.state, service is not None)
    if state == "retired" and body.msisdn is not None:
        raise Refused("invalid", "a retired SIM has no number", "$.msisdn")
    if record is not None:
        if owner != record.operator and (record.service is not None or record.number is not None):
            raise Refused("invalid", "a SIM with a service or a number stays with its operator", "$.operator")
        if body.imsi != record.imsi and record.state not in ("stock", "assigned"):
            raise Refused("invalid", "the IMSI of a SIM that is in use stays; replace the SIM", "$.imsi")
    if state != "retired":
        other = inventory.sim_of_imsi(body.imsi)
        if other is not None and other is not record:
            name = f"SIM {other.iccid}" if scope in (None, other.operator) else "another SIM"
            raise Refused("duplicate_imsi", f"{name} has this IMSI", "$.imsi")
    number = None
    if body.msisdn is not None:
        number = find_number(store, body.msisdn, record, service, owner, scope)
    is_new = record is None
    if record is None:
        exhume(store, "sim", iccid)
        record = SimRecord(inventory.sims.next_place(), iccid, body.imsi, owner)
        inventory.sims.place(record, record.no)
        inventory.sims_by_iccid.add(record.no, record.iccid_head, record.iccid_tail)
        if state != "retired":
            inventory.sims_by_imsi.add(record.no, 0, record.packed_imsi)
        record.sqn = body.sqn
    elif body.imsi != record.imsi:
        inventory.sims_by_imsi.remove(0, record.packed_imsi)
        record.packed_imsi = pack(body.imsi)
        if state != "retired":
            inventory.sims_by_imsi.add(record.no, 0, record.packed_imsi)
    record.revision = body.revision
    record.operator = owner
    record.batch = sys.intern(body.batch)
    record.amf = int(body.amf, 16)
    if keys is not None:
        record.keys = keys
    if body.msisdn is not None and number is None:
        number = new_number(store, body.msisdn, owner)
    if is_new:
        data = sim_data(record, "", state)
        if number is not None:
            data["msisdn"] = number.msisdn
        store.emit("sim.created", iccid, at, data, service, owner)
    move_sim(store, record, state, service, number, at, reason, is_new)
    return record.revision


def sim_state(old: SimState | None, wanted: SimState | None, has_service: bool) -> SimState:
    """The state that a push leads to. Raises Refused for an impossible step, or a state that does not go with it."""
    if wanted is None:
        if not has_service:
            return "stock" if old is None else WITHOUT_SERVICE[old]
        wanted = "assigned" if old in (None, "stock") else old
    if old is not None:
        refuse_step("a SIM", old, wanted, SIM_TRANSITIONS)
    if has_service and wanted in ("stock", "retired"):
        raise Refused("invalid", f"a SIM that is {wanted} has no service", "$.service_id")
    if not has_service and wanted in ("assigned", "activated"):
        raise Refused("missing_reference", f"a SIM that is {wanted} needs a service", "$.service_id")
    return wanted


def move_sim(
    store: Store, record: SimRecord, state: SimState, service: ServiceRecord | None, number: NumberRecord | None,
    at: float, reason: str = "", is_new: bool = False, more: dict[str, Any] | None = None,
) -> None:  # fmt: skip
    """Give a SIM its state, service and number, which were checked; tell what changed; its row is owed."""
    old_state, old_service, old_number = record.state, record.service, record.number
    if state == "retired" and old_state != "retired" and not is_new:
        store.inventory.sims_by_imsi.remove(0, record.packed_imsi)
    if old_state == "activated" and (state != "activated" or service is not old_service):
        bar_imsi(store, old_service, record.imsi, f"its SIM is {state}" if state != old_state else "its SIM has moved")
    record.state = state
    link(record, service)
    if number is not old_number:
        record.number = None
        if old_number is not None:
            old_number.sim = None
            give_up_number(store, old_number, at)
        record.number = number
    moved = service is not old_service and service is not None
    if (state != old_state and not (is_new and state == "stock")) or moved:
        kind = SIM_EVENTS[state] if state != old_state else "sim.assigned"
        data = sim_data(record, "" if is_new else old_state, state) | (more or {})
        if (told := number or old_number) is not None:
            data["msisdn"] = told.msisdn
        if reason:
            data["reason"] = reason
        store.emit(kind, record.iccid, at, data, service or old_service, record.operator)
    if number is not None:
        if number.sim is not record:
            number.sim = record
            link(number, None)
        wanted = NUMBER_OF_SIM[state]
        move_number(store, number, "active" if number.state == "active" else wanted, at)
    keep_sim(store, record)


def replace_sim(store: Store, operation: Operation, old: SimRecord | None, scope: str | None, at: float) -> int:
    """One step: the new SIM takes service, number and state; the old one is retired."""
    replacement = read(operation, SimReplacement)
    if old is None:
        raise Refused("not_found", f"no sim {operation.id!r}")
    if replacement.revision is not None:
        settle(store, "sim", operation.id, replacement.revision, old.revision, False)
    new = store.inventory.sim(replacement.iccid)
    if new is None or new.operator != old.operator:
        raise Refused("missing_reference", f"no sim {replacement.iccid!r}", "$.iccid")
    if old.service is None or old.state not in ("assigned", "activated", "suspended"):
        raise Refused("invalid_transition", f"a SIM that is {old.state} and has no service cannot be replaced", "$")
    if new.state != "stock":
        raise Refused("invalid_transition", f"the new SIM is {new.state}; it needs to be in stock", "$.iccid")
    state, service, number = old.state, old.service, old.number
    if replacement.revision is not None:
        old.revision = replacement.revision
    data = sim_data(old, state, "retired") | {"replaced_by": new.iccid, "new_imsi": new.imsi}
    if number is not None:
        data["msisdn"] = number.msisdn
        number.sim = old.number = None
    if replacement.reason:
        data["reason"] = replacement.reason
    store.inventory.sims_by_imsi.remove(0, old.packed_imsi)
    bar_imsi(store, service, old.imsi, f"its SIM was replaced by {new.iccid}")
    old.state = "retired"
    link(old, None)
    keep_sim(store, old)
    store.emit("sim.replaced", old.iccid, at, data, service, old.operator)
    move_sim(store, new, state, service, number or new.number, at, more={"replaces": old.iccid})
    return old.revision


def drop_sim(store: Store, record: SimRecord, at: float) -> None:
    """Delete a SIM that nobody uses."""
    if record.state not in ("stock", "retired"):
        raise Refused("in_use", f"this SIM is {record.state}; retire it first")
    inventory = store.inventory
    if (number := record.number) is not None:
        number.sim = record.number = None
        give_up_number(store, number, at)
    inventory.sims_by_iccid.remove(record.iccid_head, record.iccid_tail)
    if record.state != "retired":
        inventory.sims_by_imsi.remove(0, record.packed_imsi)
    inventory.sims.take(record.no, again=False)
    store.journal.append(Row.SIM_DELETE, (record.no,))
    store.journal.append(Row.SIM_SQN_DELETE, (record.no,))
    # A place never comes back, though the last row is gone: what was sealed is bound to it.
    store.journal.append(Row.META, (LAST_SIM, str(len(inventory.sims.records) - 1)))


LAST_SIM: Final = "last_sim"


def read_keys(body: Sim) -> bytes | None:
    """K and OPc of a push, which are then forgotten in it; None: it has none. Raises Refused for half of them."""
    ki, opc, op = body.ki, body.opc, body.op
    body.ki = body.opc = body.op = None
    if ki is None and opc is None and op is None:
        return None
    if ki is None:
        raise Refused("invalid", "needed with opc or op", "$.ki")
    if (opc is None) == (op is None):
        raise Refused("invalid", "exactly one of opc and op is needed with ki", "$.opc")
    k = bytes.fromhex(ki)
    return k + (bytes.fromhex(opc) if opc is not None else derive_opc(k, bytes.fromhex(op or "")))


def is_same_sim(record: SimRecord, body: Sim, keys: bytes | None) -> bool:
    """Whether a push repeats what is stored."""
    stored = sim_body(record)
    return (
        (keys is None or keys == record.keys)
        and (stored.imsi, stored.msisdn, stored.service_id) == (body.imsi, body.msisdn, body.service_id)
        and (stored.amf, stored.batch) == (body.amf.upper(), body.batch)
        and body.state in (None, stored.state)
        and body.operator in (None, stored.operator)
    )


def sim_body(record: SimRecord) -> Sim:
    """A SIM as it could be pushed, without secrets."""
    return Sim(
        revision=record.revision,
        imsi=record.imsi,
        iccid=record.iccid,
        amf=f"{record.amf:04X}",
        sqn=record.sqn,
        msisdn=None if record.number is None else record.number.msisdn,
        service_id=None if record.service is None else record.service.body.id,
        state=record.state,
        operator=record.operator,
        batch=record.batch,
    )


def sim_data(record: SimRecord, old_state: str, state: str) -> dict[str, Any]:
    """Data of a SIM's events."""
    return {"state": state, "previous_state": old_state, "imsi": record.imsi}


class StoredSim(msgspec.Struct, gc=False, omit_defaults=True):
    """Body of a SIM's row."""

    iccid: str
    imsi: str
    revision: int = 0
    state: SimState = "stock"
    operator: str = DEFAULT_OPERATOR
    service: int = 0
    """Its number; 0: none."""
    msisdn: str = ""
    batch: str = ""
    amf: int = 0x8000
    sqn: int = 0
    """As it was pushed: the row of its sequence numbers is newer, where there is one."""


def keep_sim(store: Store, record: SimRecord) -> None:
    """The row of a SIM; its keys are sealed under its place."""
    body = StoredSim(
        record.iccid,
        record.imsi,
        record.revision,
        record.state,
        record.operator,
        0 if record.service is None else record.service.no,
        "" if record.number is None else record.number.msisdn,
        record.batch,
        record.amf,
        record.sqn,
    )
    sealed = None if record.keys is None else store.sealer.seal(record.keys, seal_context(record.no))
    store.journal.append(Row.SIM, (record.no, msgspec.json.encode(body).decode(), sealed))


def seal_context(no: int) -> bytes:
    """What binds sealed keys to their SIM: another row's do not open."""
    return b"sim:%d" % no


# Devices


def apply_device(store: Store, operation: Operation, scope: str | None, at: float) -> int:
    inventory = store.inventory
    record = inventory.devices.get(operation.id)
    stored = record.body.revision if record is not None else None
    check_scope(scope, record.body.operator if record is not None else None)
    if deletes(operation):
        revision = delete_revision(store, operation, stored)
        if record is not None:
            link(record, None)
            del inventory.devices[operation.id]
            inventory.device_shelf.take(record.no, again=False)
            store.journal.append(Row.DEVICE_DELETE, (record.no,))
        bury(store, "device", operation.id, revision)
        return revision
    if operation.op not in ("put", "patch", "repair"):
        refuse_op(operation)
    body: Device = value_of(operation, record.body if record is not None else None, Device)
    owner = None if record is None else record.body.operator
    body.operator = body.operator or owner
    same = record is not None and record.body == body
    settle(store, "device", operation.id, body.revision, stored, same, operation.op == "repair")
    service = find_service(store, body.service_id, scope)
    body.operator = owner_of(owner, body.operator, service, scope)
    check_room(service, record)
    try:
        mac = None if body.mac is None else parse_mac(body.mac)
    except CredentialError as error:
        raise Refused("invalid", error.message, "$.mac") from None
    exhume(store, "device", operation.id)
    if record is None:
        record = DeviceRecord(inventory.device_shelf.next_place(), body)
        inventory.device_shelf.place(record, record.no)
        inventory.devices[operation.id] = record
    record.body, record.mac = body, mac
    link(record, service)
    keep_device(store, record)
    return body.revision


def keep_device(store: Store, record: DeviceRecord) -> None:
    """The row of a device."""
    store.journal.append(Row.DEVICE, (record.no, msgspec.json.encode(record.body).decode()))


def apply(store: Store, operation: Operation, scope: str | None, at: float) -> Change:
    """Apply an operation of any of these kinds. Raises Settled or Refused."""
    kind, entity_id = operation.kind, operation.id
    before = entity_of(store, kind, entity_id)
    text = "" if before is None else encode(before)
    revision = FOLDS[kind](store, operation, scope, at)
    after = entity_of(store, kind, entity_id)
    value = operation.value or {}
    more: dict[str, Any] = {name: value[name] for name in ("reason",) if value.get(name)}
    if kind == "sim" and value.get("ki"):
        more["keys"] = "pushed"
    if operation.op == "replace":
        more["replaced_by"] = value["iccid"]
    operator = next((each.operator for each in (after, before) if each is not None), None)
    return Change(revision, text, "" if after is None else encode(after), operator or "", more)


def encode(body: Sim | Number | NumberRange | Device) -> str:
    """JSON text, which holds no secrets."""
    return msgspec.json.encode(body).decode()


FOLDS: Final[dict[str, Callable[[Store, Operation, str | None, float], int]]] = {
    "sim": apply_sim,
    "number": apply_number,
    "number_range": apply_range,
    "device": apply_device,
}
"""By kind of entity. Each returns the stored revision, or raises Settled or Refused."""


def entity_of(store: Store, kind: str, entity_id: str) -> Sim | Number | NumberRange | Device | None:
    """What is stored, without secrets: for the audit log and the API. None: nothing."""
    inventory = store.inventory
    if kind == "sim":
        sim = inventory.sim(entity_id)
        return None if sim is None else sim_body(sim)
    if kind == "number":
        number = inventory.number(entity_id)
        return None if number is None else number_body(number)
    if kind == "number_range":
        found = inventory.ranges.by_id.get(entity_id)
        return None if found is None else found.body
    device = inventory.devices.get(entity_id)
    return None if device is None else device.body


# Start-up


def load_inventory(store: Store, db: sqlite3.Connection) -> None:
    """Read everything back; the services are there already. Raises StoreError for keys sealed under another key."""
    inventory = store.inventory
    load_ranges(inventory, db)
    load_numbers(store, inventory, db)
    load_sims(store, inventory, db)
    decode_device = msgspec.json.Decoder(Device).decode
    for no, text in db.execute("SELECT no, body FROM device ORDER BY no"):
        body = decode_device(text)
        device = inventory.devices[body.id] = DeviceRecord(no, body)
        device.mac = None if body.mac is None else parse_mac(body.mac)
        inventory.device_shelf.place(device, no)
        link(device, None if body.service_id is None else store.services.get(body.service_id))


def load_sims(store: Store, inventory: Inventory, db: sqlite3.Connection) -> None:
    decode = msgspec.json.Decoder(StoredSim).decode
    shelf = inventory.sims
    jump_after_restore(db)
    rows = db.execute("SELECT no, body, sealed, sqn FROM sim LEFT JOIN sim_sqn ON sim = no ORDER BY no")
    for no, text, sealed, sqn in rows:
        body = decode(text)
        record = SimRecord(no, body.iccid, body.imsi, sys.intern(body.operator))
        record.revision, record.state = body.revision, body.state
        record.batch, record.amf = sys.intern(body.batch), body.amf
        record.sqn = body.sqn if sqn is None else sqn
        record.sqn_reserved = 0 if sqn is None else sqn
        if sealed is not None:
            record.keys = store.sealer.unseal(sealed, seal_context(no))
        shelf.place(record, no)
        inventory.sims_by_iccid.add(no, record.iccid_head, record.iccid_tail)
        if record.state != "retired":
            inventory.sims_by_imsi.add(no, 0, record.packed_imsi)
        if body.service:
            link(record, store.services_by_no.get(body.service))
        if body.msisdn and (number := inventory.number(body.msisdn)) is not None:
            record.number = number
            number.sim = record
    last = db.execute("SELECT value FROM meta WHERE key = ?", (LAST_SIM,)).fetchone()
    if last is not None and int(last[0]) >= len(shelf.records):
        shelf.records.extend([None] * (int(last[0]) + 1 - len(shelf.records)))
