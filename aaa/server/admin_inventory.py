"""What the API asks about SIMs, numbers, ranges and devices, within the actor's operator; and reservations."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from aaa.limits import ADMIN_SLICE_COUNT
from aaa.model.events import SERVER, Cause
from aaa.model.mobile import S6A
from aaa.model.operations import Actor, Answer
from aaa.model.records import ServiceRecord
from aaa.model.shelves import DeviceRecord, NumberRecord, RangeRecord, Shelf, SimRecord, pack
from aaa.server import views
from aaa.server.answers import missing, refused, reply
from aaa.state import audit
from aaa.state.mobile import sessions_of
from aaa.state.numbers import number_body, reserve
from aaa.state.operations import Refused

if TYPE_CHECKING:
    from aaa.server.admin import Method
    from aaa.server.main import Server

KINDS = {"sim": SimRecord, "number": NumberRecord, "device": DeviceRecord}
REFUSALS = {"not_found": 404, "exhausted": 409}


def methods(server: Server) -> dict[str, Method]:
    """By name, for the table of methods."""
    inventory = InventoryMethods(server)
    return {
        "inventory_get": inventory.get,
        "inventory_list": inventory.page,
        "number_reserve": inventory.reserve,
    }


class InventoryMethods:
    """Answers for one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._store = server.store
        self._inventory = server.store.inventory

    def get(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """One of them; a number that is merely in a range is available."""
        kind, name = args["kind"], args["id"]
        view = self._view(self._find(actor, kind, name))
        if view is None and kind == "number":
            view = self._available(actor, name)
        return missing(kind, name) if view is None else reply(200, view)

    def _find(self, actor: Actor, kind: str, name: str) -> Any:
        inventory = self._inventory
        found: Any
        if kind == "sim":
            found = inventory.sim(name)
        elif kind == "number":
            found = inventory.number(name)
        elif kind == "number_range":
            found = inventory.ranges.by_id.get(name)
        else:
            found = inventory.devices.get(name)
        return found if found is not None and actor.operator in (None, operator_of(found)) else None

    def _available(self, actor: Actor, msisdn: str) -> dict[str, Any] | None:
        if not (msisdn.isascii() and msisdn.isdigit() and 5 <= len(msisdn) <= 15) or self._inventory.number(msisdn):
            return None
        found = self._inventory.ranges.of(pack(msisdn))
        if found is None or actor.operator not in (None, found.body.operator):
            return None
        return {
            "msisdn": msisdn,
            "revision": 0,
            "state": "available",
            "operator": found.body.operator,
            "range": found.body.id,
            "service_id": None,
            "iccid": None,
            "until": None,
        }

    def _view(self, record: Any) -> dict[str, Any] | None:
        if record is None:
            return None
        if isinstance(record, SimRecord):
            return sim_view(record)
        if isinstance(record, NumberRecord):
            found = self._inventory.ranges.of(record.packed)
            return number_view(record) | {"range": None if found is None else found.body.id}
        return range_view(record) if isinstance(record, RangeRecord) else device_view(record)

    async def page(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """A page in the order of places; the cursor is the place of the last item."""
        kind, limit, wanted = args["kind"], args["limit"], args.get("filter") or {}
        if kind == "number_range":
            return self._ranges(actor, limit, str(args["after"]), wanted)
        after = views.number_of(str(args["after"])) or 0
        prefix = wanted.pop("q", None) or ""
        items: list[dict[str, Any]] = []
        looked = 0
        for record in self._candidates(kind, after, wanted):
            looked += 1
            if looked % ADMIN_SLICE_COUNT == 0:
                await asyncio.sleep(0)
            if actor.operator not in (None, operator_of(record)) or not id_of(record).startswith(prefix):
                continue
            if any(field_of(record, name) != value for name, value in wanted.items()):
                continue
            view = self._view(record)
            assert view is not None
            items.append(view)
            if len(items) == limit:
                return reply(200, {"items": items, "next": str(record.no)})
        return reply(200, {"items": items, "next": None})

    def _candidates(self, kind: str, after: int, wanted: dict[str, Any]) -> Iterator[Any]:
        """Records that may match, by place: the few that an index finds, or all of them."""
        inventory = self._inventory
        found: list[Any] | None = None
        if wanted.get("service_id") is not None:
            service = self._store.services.get(wanted["service_id"])
            found = [] if service is None else [each for each in service.equipment if isinstance(each, KINDS[kind])]
            if service is not None and kind == "number":
                sims = [each for each in service.equipment if isinstance(each, SimRecord)]
                found += [sim.number for sim in sims if sim.number is not None]
        elif kind == "sim" and wanted.get("imsi") is not None:
            sim = inventory.sim_of_imsi(wanted["imsi"])
            found = [] if sim is None else [sim]
        elif kind == "sim" and wanted.get("msisdn") is not None:
            number = inventory.number(wanted["msisdn"])
            found = [] if number is None or number.sim is None else [number.sim]
        if found is not None:
            return iter(sorted((each for each in found if each.no > after), key=lambda each: each.no))
        shelves: dict[str, Shelf] = {
            "sim": inventory.sims,
            "number": inventory.numbers,
            "device": inventory.device_shelf,
        }
        return shelves[kind].after(after)

    def _ranges(self, actor: Actor, limit: int, after: str, wanted: dict[str, Any]) -> Answer:
        """There are few: all are looked at, by id."""
        prefix = wanted.get("q") or ""
        owner = wanted.get("operator")
        found = [
            range_view(record)
            for name, record in sorted(self._inventory.ranges.by_id.items())
            if name > after
            and name.startswith(prefix)
            and actor.operator in (None, record.body.operator)
            and owner in (None, record.body.operator)
        ]
        items = found[:limit]
        return reply(200, {"items": items, "next": items[-1]["id"] if len(found) > limit else None})

    def reserve(self, actor: Actor, args: dict[str, Any]) -> Answer | asyncio.Future[Answer]:
        """The lowest available number of a range; answered when durable."""
        store = self._store
        at = time.time()
        store.cause = Cause(actor.name, actor.correlation_id, store.last_audit + 1)
        try:
            number = reserve(store, args["id"], args["ttl_s"], actor.operator, at)
            after = msgspec.json.encode(number_body(number)).decode()
            audit.append(store, at, "reserve", "number", number.msisdn, audit.change_body("", after), number.operator)
            self._server.sync.settle(at)
        except Refused as refusal:
            return refused(REFUSALS[refusal.error], refusal.error, refusal.detail)
        finally:
            store.cause = SERVER
        answer = reply(200, {"msisdn": number.msisdn, "expires_at": views.moment(number.until), "range": args["id"]})
        durable: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        store.journal.when_durable(lambda: None if durable.done() else durable.set_result(answer))
        store.journal.flush()
        return durable


def operator_of(record: Any) -> str | None:
    """Whose it is."""
    if isinstance(record, DeviceRecord | RangeRecord):
        return record.body.operator
    operator: str = record.operator
    return operator


def id_of(record: Any) -> str:
    """What names it."""
    if isinstance(record, SimRecord):
        return record.iccid
    if isinstance(record, NumberRecord):
        return record.msisdn
    name: str = record.body.id
    return name


def field_of(record: Any, name: str) -> Any:
    """A field that a list is filtered by."""
    if name == "service_id":
        return service_id_of(record)
    if name == "msisdn":
        return None if record.number is None else record.number.msisdn
    if name == "operator":
        return operator_of(record)
    if name == "kind":
        return record.body.kind
    return getattr(record, name)


def service_id_of(record: Any) -> str | None:
    """The service that has it; a number's may have it through a SIM."""
    holder = record.service
    if isinstance(record, NumberRecord) and record.sim is not None:
        holder = record.sim.service
    return None if holder is None else holder.body.id


def sim_view(record: SimRecord) -> dict[str, Any]:
    """A SIM without its keys."""
    return {
        "iccid": record.iccid,
        "revision": record.revision,
        "imsi": record.imsi,
        "state": record.state,
        "msisdn": None if record.number is None else record.number.msisdn,
        "service_id": service_id_of(record),
        "operator": record.operator,
        "batch": record.batch,
        "algorithm": "milenage",
        "amf": f"{record.amf:04X}",
        "sqn": record.sqn,
        "has_keys": record.keys is not None,
        "registration": registration_of(record),
    }


def registration_of(record: SimRecord) -> dict[str, Any] | None:
    """Which MME serves a SIM now; None: none does."""
    found = sessions_of(record.service, S6A, record.imsi)
    return views.registration_view(found[-1]) if found else None


def number_view(record: NumberRecord) -> dict[str, Any]:
    """A number, with the SIM that has it."""
    return {
        "msisdn": record.msisdn,
        "revision": record.revision,
        "state": record.state,
        "operator": record.operator,
        "service_id": service_id_of(record),
        "iccid": None if record.sim is None else record.sim.iccid,
        "until": views.moment(record.until),
    }


def range_view(record: RangeRecord) -> dict[str, Any]:
    """A range, with how many of its numbers are in which state."""
    counts = {name: record.counts.get(name, 0) for name in ("reserved", "assigned", "active", "quarantined")}
    return {
        "id": record.body.id,
        "revision": record.body.revision,
        "first": record.body.first,
        "last": record.body.last,
        "operator": record.body.operator,
        "quarantine_s": record.body.quarantine_s,
        "counts": {"available": record.size - sum(counts.values()), **counts},
    }


def device_view(record: DeviceRecord) -> dict[str, Any]:
    """A device."""
    body = record.body
    return {
        "id": body.id,
        "revision": body.revision,
        "kind": body.kind,
        "serial": body.serial,
        "mac": body.mac,
        "imei": body.imei,
        "service_id": service_id_of(record),
        "operator": body.operator,
    }


def equipment_view(service: ServiceRecord) -> dict[str, Any]:
    """What a service's status tells of its SIMs, numbers and devices. A suspended SIM blocks mobile access only."""
    sims: list[dict[str, Any]] = []
    numbers: list[dict[str, Any]] = []
    devices: list[dict[str, Any]] = []
    for record in service.equipment:
        if isinstance(record, SimRecord):
            view = sim_view(record)
            sims.append({name: view[name] for name in ("iccid", "imsi", "msisdn", "state", "registration")})
        elif isinstance(record, NumberRecord):
            numbers.append({"msisdn": record.msisdn, "state": record.state})
        else:
            view = device_view(record)
            devices.append({name: view[name] for name in ("id", "kind", "serial", "mac", "imei")})
    return {"sims": sims, "numbers": numbers, "devices": devices}
