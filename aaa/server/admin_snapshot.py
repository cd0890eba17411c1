"""Snapshots: the full truth of billing compared with memory, repaired, and what is absent from it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec

from aaa.limits import (
    ADMIN_SLICE_COUNT,
    HTTP_SYNC_CALL_OPERATIONS,
    SNAPSHOT_LISTED_MAX,
    SNAPSHOT_SILENCE_S,
    SNAPSHOTS_OPEN_MAX,
)
from aaa.model.entities import Service, Subscriber
from aaa.model.operations import Actor, Answer, Operation, Result
from aaa.server import views
from aaa.server.answers import missing, refused, reply
from aaa.state.entities import same_credentials
from aaa.state.operations import Refused, Settled, settle, value_of
from policy.model import Plan

if TYPE_CHECKING:
    from aaa.server.admin import Method
    from aaa.server.main import Server

SHAPES: dict[str, type[Any]] = {"plan": Plan, "subscriber": Subscriber, "service": Service}


def methods(server: Server) -> dict[str, Method]:
    """By name, for the table of methods."""
    snapshots = Snapshots(server)
    return {
        "snapshot_begin": snapshots.begin,
        "snapshot_apply": snapshots.apply,
        "snapshot_mark": snapshots.mark,
        "snapshot_look": snapshots.look,
        "snapshot_end": snapshots.end,
        "snapshot_close": snapshots.close,
    }


class Snapshot:
    """One snapshot under way."""

    __slots__ = ("absent", "actor", "busy", "dry_run", "free", "heard_at", "kinds", "last_no", "seen", "subscribers")

    def __init__(self, actor: Actor, kinds: list[str], dry_run: bool, last_no: int) -> None:
        self.actor = actor
        self.kinds = kinds
        self.dry_run = dry_run
        self.last_no = last_no
        """What is newer than the snapshot is not in it, and not absent."""
        self.seen = bytearray(last_no + 1)
        self.subscribers = 0
        """How many there are within its scope."""
        self.absent: list[str] = []
        """Subscribers."""
        self.free: list[str] = []
        """Those of them that have no services."""
        self.heard_at = time.monotonic()
        self.busy = False


class Snapshots:
    """The full truth, compared and repaired; see billing_hooks/snapshot.py."""

    def __init__(self, server: Server) -> None:
        self._store = server.store
        self._sync = server.sync
        self._open: dict[int, Snapshot] = {}
        self._last = 0

    def begin(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Open one: {"kinds", "dry_run"}; one of an operator at a time."""
        now = time.monotonic()
        for number, other in list(self._open.items()):
            if now - other.heard_at > SNAPSHOT_SILENCE_S and not other.busy:
                self._remove(number)
        scopes = [other.actor.operator for other in self._open.values() if not other.dry_run]
        if not args["dry_run"] and any(scope is None or actor.operator in (None, scope) for scope in scopes):
            return refused(409, "in_progress", "another snapshot is being taken")
        if len(self._open) >= SNAPSHOTS_OPEN_MAX:
            return refused(409, "in_progress", f"{SNAPSHOTS_OPEN_MAX} snapshots are being taken")
        self._last += 1
        self._open[self._last] = Snapshot(actor, args["kinds"], args["dry_run"], self._store.last_no)
        if self._mark_all not in self._sync.marks:
            self._sync.marks.append(self._mark_all)
        return reply(200, {"snapshot": self._last})

    def close(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Forget one."""
        self._remove(args["snapshot"])
        return reply(200, {})

    def _remove(self, number: int) -> None:
        self._open.pop(number, None)
        if not self._open and self._mark_all in self._sync.marks:
            self._sync.marks.remove(self._mark_all)

    def _find(self, actor: Actor, args: dict[str, Any]) -> Snapshot | None:
        snapshot = self._open.get(args["snapshot"])
        if snapshot is None or snapshot.actor.operator != actor.operator:
            return None
        snapshot.heard_at = time.monotonic()
        return snapshot

    def _mark_all(self, operation: Operation) -> None:
        for snapshot in self._open.values():
            self._mark(snapshot, operation.kind, operation.id)

    def _mark(self, snapshot: Snapshot, kind: str, name: str) -> None:
        record = self._record(kind, name)
        if record is not None and record.no <= snapshot.last_no:
            snapshot.seen[record.no] = 1

    def _record(self, kind: str, name: str) -> Any:
        store = self._store
        if kind == "service":
            return store.services.get(name)
        if kind == "subscriber":
            return store.subscribers.get(name)
        return store.plans.get(name) if kind == "plan" else None

    def apply(self, actor: Actor, args: dict[str, Any]) -> Answer | Awaitable[Answer]:
        """Entities as puts; each answer says in `detail` what became of it."""
        snapshot = self._find(actor, args)
        if snapshot is None:
            return missing("snapshot", str(args["snapshot"]))
        operations = msgspec.convert(args["operations"], list[Operation])
        became = [self._predict(operation, actor.operator) for operation in operations]
        for operation in operations:
            self._mark(snapshot, operation.kind, operation.id)
        if snapshot.dry_run:
            results = [
                became if isinstance(became, Result) else Result(operation.kind, operation.id, "applied", detail=became)
                for operation, became in zip(operations, became, strict=True)
            ]
            return reply(200, {"results": results})
        changes = [
            msgspec.structs.replace(operation, op="repair")
            for operation, what in zip(operations, became, strict=True)
            if what in ("new", "newer", "repaired") or isinstance(what, Result)
        ]
        body = self._sync.apply(actor, changes) if changes else b'{"results":[]}'
        applied = iter(msgspec.json.decode(body)["results"])
        results = []
        for operation, what in zip(operations, became, strict=True):
            if what in ("same", "older"):
                results.append(Result(operation.kind, operation.id, "stale", detail=what))
                continue
            result = next(applied)
            if result["status"] != "error":
                result["detail"] = what
            results.append(result)
        return self._sync.when_durable(reply(200, {"results": results}))

    def _predict(self, operation: Operation, operator: str | None) -> str | Result:
        """new, newer, repaired, same or older; a Result where it cannot be taken. Changes nothing."""
        store, kind = self._store, operation.kind
        record = self._record(kind, operation.id)
        stored = None if record is None else record.body.revision
        owner = getattr(record, "subscriber", record)
        if operator is not None and owner is not None and kind != "plan" and owner.body.operator != operator:
            return Result(kind, operation.id, "error", None, "forbidden", "this belongs to another operator")
        revision = operation.revision
        assert revision is not None
        try:
            if stored is None:
                settle(store, kind, operation.id, revision, None, False)
                return "new"
            if revision != stored:
                return "newer" if revision > stored else "older"
            body = value_of(operation, record.body, SHAPES[kind])
            same = True
            if kind == "service":
                credentials, body.credentials, body.usage = body.credentials, None, None
                same = credentials is None or same_credentials(store, record, credentials)
            return "same" if same and body == record.body else "repaired"
        except Settled:
            return "older"
        except Refused as error:
            return Result(kind, operation.id, "error", None, error.error, error.detail, error.field)

    def mark(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Entities that are there although they could not be taken."""
        snapshot = self._find(actor, args)
        if snapshot is None:
            return missing("snapshot", str(args["snapshot"]))
        for kind, name in args["names"]:
            self._mark(snapshot, kind, name)
        return reply(200, {})

    def look(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Subscribers by name: which of them are absent."""
        snapshot = self._find(actor, args)
        if snapshot is None:
            return missing("snapshot", str(args["snapshot"]))
        for name in args["subscribers"]:
            record = self._store.subscribers.get(name)
            if record is None or actor.operator not in (None, record.body.operator):
                continue
            snapshot.subscribers += 1
            if record.no <= snapshot.last_no and not snapshot.seen[record.no]:
                snapshot.absent.append(name)
                if not record.services:
                    snapshot.free.append(name)
        return reply(200, {})

    async def end(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """End what is absent, unless it is a larger share than `share`: {"snapshot", "share"}."""
        snapshot = self._find(actor, args)
        if snapshot is None:
            return missing("snapshot", str(args["snapshot"]))
        snapshot.busy = True
        try:
            return await self._end(snapshot, args["share"])
        finally:
            snapshot.busy = False

    async def _end(self, snapshot: Snapshot, share: float) -> Answer:
        store, actor = self._store, snapshot.actor
        kinds: dict[str, dict[str, int]] = {}
        extra: list[str] = []
        services: list[str] = []
        living = 0
        plans: list[str] = []
        if "service" in snapshot.kinds:
            services, living = await self._absent_services(snapshot)
            kinds["service"] = {"absent": len(services)}
        if "subscriber" in snapshot.kinds:
            kinds["subscriber"] = {"absent": len(snapshot.absent)}
        if "plan" in snapshot.kinds and actor.operator is None:
            plans = [
                name for name, plan in store.plans.items() if plan.no <= snapshot.last_no and not snapshot.seen[plan.no]
            ]
            kinds["plan"] = {"absent": len(plans), "kept": len(plans)}
        extra = [f"service/{name}" for name in services[:SNAPSHOT_LISTED_MAX]]
        for kind, names in (("subscriber", snapshot.absent), ("plan", plans)):
            extra += [f"{kind}/{name}" for name in names[: SNAPSHOT_LISTED_MAX - len(extra)]]
        answer: dict[str, Any] = {"kinds": kinds, "extra": extra}
        shares = ((len(services), living, "service"), (len(snapshot.free), snapshot.subscribers, "subscriber"))
        for count, of, kind in shares:
            if count > share * of and not snapshot.dry_run:
                answer["refused"] = (
                    f"{count} of {of} {kind}s would be ended, more than a share of {share:g}; nothing was"
                )
        if "refused" in answer:
            return reply(200, answer)
        if services:
            kinds["service"]["ended"] = await self._end_all(snapshot, self._terminations(snapshot, services))
        if snapshot.absent:
            # Services terminated just now stay, and their subscribers with them.
            ended = await self._end_all(snapshot, self._deletions(snapshot, snapshot.free))
            kinds["subscriber"] |= {"ended": ended, "kept": len(snapshot.absent) - ended}
        return reply(200, answer)

    async def _absent_services(self, snapshot: Snapshot) -> tuple[list[str], int]:
        """(ids of services that are absent, how many live within the scope)."""
        absent: list[str] = []
        living = 0
        by_no, operator = self._store.services_by_no, snapshot.actor.operator
        for no in range(1, snapshot.last_no + 1):
            if no % ADMIN_SLICE_COUNT == 0:
                await asyncio.sleep(0)
            service = by_no.get(no)
            if service is None or service.body.state == "terminated":
                continue
            if operator is not None and service.subscriber.body.operator != operator:
                continue
            living += 1
            if not snapshot.seen[no]:
                absent.append(service.body.id)
        return absent, living

    def _is_absent(self, snapshot: Snapshot, number: int) -> bool:
        """Whether nobody has pushed it meanwhile, and the snapshot is still open, so that this would be known."""
        return number <= snapshot.last_no and not snapshot.seen[number] and snapshot in self._open.values()

    def _terminations(self, snapshot: Snapshot, names: Iterable[str]) -> Iterator[Operation]:
        for name in names:
            service = self._store.services.get(name)
            if service is None or not self._is_absent(snapshot, service.no):
                continue
            if service.body.state != "terminated":
                value = views.service_view(service) | {"state": "terminated"}
                yield Operation("repair", "service", name, value, service.body.revision)

    def _deletions(self, snapshot: Snapshot, names: Iterable[str]) -> Iterator[Operation]:
        for name in names:
            subscriber = self._store.subscribers.get(name)
            if subscriber is None or not self._is_absent(snapshot, subscriber.no):
                continue
            if not subscriber.services:
                yield Operation("repair", "subscriber", name, None, subscriber.body.revision)

    async def _end_all(self, snapshot: Snapshot, operations: Iterator[Operation]) -> int:
        """Apply in slices, each durable before the next; in a dry run only count."""
        ended = 0
        while True:
            some = list(islice(operations, HTTP_SYNC_CALL_OPERATIONS))
            if not some:
                return ended
            if snapshot.dry_run:
                ended += len(some)
                await asyncio.sleep(0)
                continue
            body = self._sync.apply(snapshot.actor, some)
            ended += body.count(b'"status":"applied"')
            await self._sync.when_durable(Answer(0, 200, b""))
