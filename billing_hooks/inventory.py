"""Endpoints of SIMs, numbers, number ranges and devices."""

from typing import Any, Final, cast

from litestar.response import Response
from msgspec import Struct

from aaa.model.inventory import Device, Number, NumberRange, NumberTransition, Sim, SimReplacement, SimTransition
from aaa.model.operations import Operation
from billing_hooks import schema
from billing_hooks.endpoints import Context, Endpoint, Handler, check_object, delete, get, list_page, push
from billing_hooks.inventory_schema import (
    KEY_HOLDERS,
    STOCK_KEEPERS,
    DevicePage,
    DevicePatch,
    DeviceQuery,
    NumberPage,
    NumberPatch,
    NumberQuery,
    NumberRangePatch,
    NumberView,
    RangePage,
    RangeQuery,
    RangeView,
    Reservation,
    Reserved,
    RevisionQuery,
    SimPage,
    SimPatch,
    SimQuery,
    SimView,
    has_keys,
)
from billing_hooks.problems import ProblemError, parse_json, read_body
from billing_hooks.tokens import READERS


def _change(kind: str, op: str) -> Handler:
    async def handle(context: Context) -> Response[bytes]:
        value = check_object(parse_json(context.body))
        if kind == "sim" and has_keys(value) and context.actor.role not in KEY_HOLDERS:
            raise ProblemError("forbidden", f"a token that is {context.actor.role} pushes SIMs without ki, opc and op")
        return await push(context, Operation(cast("Any", op), cast("Any", kind), context.path["id"], value))

    return handle


async def add_range(context: Context) -> Response[bytes]:
    """A range, whose id stands in the body."""
    value = check_object(parse_json(context.body))
    range_id = value.get("id")
    if not isinstance(range_id, str) or not range_id:
        raise ProblemError("invalid", "id is required", "$.id")
    value.setdefault("revision", 1)
    return await push(context, Operation("put", "number_range", range_id, value))


async def reserve(context: Context) -> Response[bytes]:
    """The lowest available number of a range."""
    asked = read_body(context.body, Reservation) if context.body else Reservation()
    return await context.ask("number_reserve", {"id": context.path["id"], "ttl_s": asked.ttl_s})


def _entity(
    plural: str, kind: str, what: str, shapes: tuple[type[Struct], type[Struct], type[Struct]],
    query: type[Struct], page: type[Struct],
) -> list[Endpoint]:  # fmt: skip
    """shapes: as pushed, as patched, as shown."""
    entity, patch, view = shapes
    one, tag = f"/v1/{plural}/{{id}}", what.capitalize() + "s"
    return [
        Endpoint(
            method="GET", path=f"/v1/{plural}", roles=READERS, summary=f"List {what}s, page by page",
            handler=list_page(kind, "inventory_list"), query=query, answer=page, tag=tag,
        ),
        Endpoint(
            method="GET", path=one, roles=READERS, summary=f"Show a {what}",
            handler=get(kind, "inventory_get"), answer=view, tag=tag,
        ),
        Endpoint(
            method="PUT", path=one, roles=STOCK_KEEPERS, summary=f"Push a whole {what}", handler=_change(kind, "put"),
            body=entity, answer=schema.PushResult, tag=tag,
        ),
        Endpoint(
            method="PATCH", path=one, roles=STOCK_KEEPERS, summary=f"Change some fields of a {what}; null clears one",
            handler=_change(kind, "patch"), body=patch, answer=schema.PushResult, tag=tag,
        ),
        Endpoint(
            method="DELETE", path=one, roles=STOCK_KEEPERS, tag=tag, handler=delete(kind), query=RevisionQuery,
            summary=f"Delete a {what} that nobody uses, leaving a tombstone with the revision",
            answer=schema.PushResult,
        ),
    ]  # fmt: skip


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *_entity("sims", "sim", "SIM", (Sim, SimPatch, SimView), SimQuery, SimPage),
    Endpoint(
        method="POST", path="/v1/sims/{id}/transition", roles=STOCK_KEEPERS, tag="Sims", summary="Step a SIM's state",
        handler=_change("sim", "transition"), body=SimTransition, answer=schema.PushResult,
    ),
    Endpoint(
        method="POST", path="/v1/sims/{id}/replace", roles=STOCK_KEEPERS, tag="Sims",
        summary="Give a SIM's service, number and state to another SIM, and retire it, in one step",
        handler=_change("sim", "replace"), body=SimReplacement, answer=schema.PushResult,
    ),
    *_entity("numbers", "number", "number", (Number, NumberPatch, NumberView), NumberQuery, NumberPage),
    Endpoint(
        method="POST", path="/v1/numbers/{id}/transition", roles=STOCK_KEEPERS, tag="Numbers",
        summary="Step a number's state", handler=_change("number", "transition"), body=NumberTransition,
        answer=schema.PushResult,
    ),
    *_entity(
        "number-ranges", "number_range", "number range", (NumberRange, NumberRangePatch, RangeView), RangeQuery,
        RangePage,
    ),
    Endpoint(
        method="POST", path="/v1/number-ranges", roles=STOCK_KEEPERS, tag="Number ranges",
        summary="Add a number range", handler=add_range, body=NumberRange, answer=schema.PushResult,
    ),
    Endpoint(
        method="POST", path="/v1/number-ranges/{id}/reserve", roles=STOCK_KEEPERS, tag="Number ranges",
        summary="Reserve the lowest available number for a time", handler=reserve, body=Reservation,
        is_body_optional=True, answer=Reserved,
    ),
    *_entity("devices", "device", "device", (Device, DevicePatch, Device), DeviceQuery, DevicePage),
)  # fmt: skip
