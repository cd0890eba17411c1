"""Holds and tags: what others than billing put on a service. The effective state is the strictest of all.

Billing's `state` and `revision` are never touched. A hold that ends by itself holds until its moment and is swept
later; each command on its service sweeps it first, so that every change of the effective state is told once.
"""

from __future__ import annotations

import heapq
from typing import Any

import msgspec

from aaa.model.entities import Hold
from aaa.model.events import Cause
from aaa.model.records import Marks, ServiceRecord
from aaa.state.schema import Row
from aaa.state.store import Store
from policy.model import State

STRICTNESS: dict[str, int] = {"active": 0, "restricted": 1, "suspended": 2}
HELD: dict[str, State] = {"restrict": "restricted", "suspend": "suspended"}


def effective_state(service: ServiceRecord, at: float) -> State:
    """The strictest of billing's state and all holds in force at `at`; pending and terminated are billing's alone."""
    state = service.body.state
    marks = service.marks
    if marks is None or not marks.holds:
        return state
    return strictest(state, holds_in_force(service, at))


def holds_in_force(service: ServiceRecord, at: float) -> tuple[Hold, ...]:
    """Those whose time is not over, in the order of their causes."""
    marks = service.marks
    return () if marks is None else tuple([hold for hold in marks.holds if hold.until is None or at < hold.until])


def strictest(state: State, holds: tuple[Hold, ...]) -> State:
    """The strictest of billing's state and holds."""
    if state not in STRICTNESS:
        return state
    for hold in holds:
        held = HELD[hold.kind]
        if STRICTNESS[held] > STRICTNESS[state]:
            state = held
    return state


def told_state(service: ServiceRecord) -> State:
    """The effective state that the last event told: a hold whose time is over counts until it is swept."""
    marks = service.marks
    return service.body.state if marks is None else strictest(service.body.state, marks.holds)


def hold_facts(service: ServiceRecord, at: float) -> tuple[tuple[str, ...], float | None]:
    """Causes of the holds in force at `at`, sorted, and when the first of them ends by itself."""
    marks = service.marks
    if marks is None or not marks.holds:
        return (), None
    held = holds_in_force(service, at)
    ends = [hold.until for hold in held if hold.until is not None]
    return tuple([hold.cause for hold in held]), min(ends, default=None)


def tags_of(service: ServiceRecord) -> tuple[str, ...]:
    """What automations and admins have set, sorted."""
    return () if service.marks is None else service.marks.tags


def put_hold(store: Store, service: ServiceRecord, hold: Hold, at: float) -> None:
    """Lay a hold on a service, or change the one of that cause."""
    before = told_state(service)
    marks = service.marks
    if marks is None:
        marks = service.marks = Marks()
    others = [other for other in marks.holds if other.cause != hold.cause]
    marks.holds = tuple(sorted([*others, hold], key=lambda each: each.cause))
    row = (service.no, hold.cause, msgspec.json.encode(hold).decode())
    store.journal.settle(Row.HOLD, Row.HOLD_DELETE, row[:2], row)
    if hold.until is not None:
        heapq.heappush(store.hold_ends, (hold.until, service.no, hold.cause))
    store.revise(service)
    data: dict[str, Any] = {"kind": hold.kind, "cause": hold.cause}
    if hold.reason:
        data["reason"] = hold.reason
    if hold.until is not None:
        data["until"] = hold.until
    store.emit("hold.added", service.body.id, at, data, service)
    tell_state(store, service, before, at, hold.reason)


def lift_holds(store: Store, service: ServiceRecord, holds: tuple[Hold, ...], at: float, why: str) -> None:
    """Take holds off a service. why: "restore", or "expired"."""
    marks = service.marks
    if marks is None or not holds:
        return
    before = told_state(service)
    marks.holds = tuple(hold for hold in marks.holds if hold not in holds)
    if not marks.holds and not marks.tags:
        service.marks = None
    store.revise(service)
    for hold in holds:
        store.journal.settle(Row.HOLD, Row.HOLD_DELETE, (service.no, hold.cause), None)
        data = {"kind": hold.kind, "cause": hold.cause, "why": why}
        store.emit("hold.lifted", service.body.id, at, data, service)
    tell_state(store, service, before, at)


def tell_state(store: Store, service: ServiceRecord, before: str, at: float, reason: str = "") -> None:
    """The effective state was `before`: tell where it is another now."""
    state = told_state(service)
    if state == before:
        return
    data: dict[str, Any] = {
        "state": state,
        "previous_state": before,
        "pushed_state": service.body.state,
    }
    if reason:
        data["reason"] = reason
    store.emit("service.state_changed", service.body.id, at, data, service)


def set_tags(store: Store, service: ServiceRecord, tags: tuple[str, ...]) -> None:
    """A service's tags are these, sorted, from now on."""
    marks = service.marks
    if marks is None:
        marks = service.marks = Marks()
    marks.tags = tags
    if not marks.holds and not marks.tags:
        service.marks = None
    row = (service.no, msgspec.json.encode(tags).decode()) if tags else None
    store.journal.settle(Row.TAG, Row.TAG_DELETE, (service.no,), row)
    store.revise(service)


# Holds that end by themselves


def expire_holds(store: Store, at: float, limit: int = 256) -> int:
    """Sweep holds whose time is over, up to `limit`; how many were looked at."""
    looked = 0
    while looked < limit and store.hold_ends and store.hold_ends[0][0] <= at:
        _, service_no, _ = heapq.heappop(store.hold_ends)
        looked += 1
        service = store.services_by_no.get(service_no)
        if service is not None:
            expire(store, service, at)
    return looked


def expire(store: Store, service: ServiceRecord, at: float) -> None:
    """Sweep one service's holds whose time is over."""
    marks = service.marks
    if marks is None or not marks.holds:
        return
    over = tuple(hold for hold in marks.holds if hold.until is not None and hold.until <= at)
    if over:
        asked = store.cause
        store.cause = Cause("time")
        lift_holds(store, service, over, at, "expired")
        store.cause = asked
