"""Changes: operations applied in order and answered when durable, what follows on the network, and snapshots.

Theory of operation. A call's operations are applied one after the other; then the live sessions are compared once; then
the open journal group is flushed, and the answer leaves when it is durable. An answer under an idempotency key is a row
of the same group. Whoever waits for the network asks afterwards: the answer to the change never waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from aaa.limits import (
    ADMIN_SLICE_COUNT,
    ENFORCED_RECEIPTS_MAX,
    ENFORCED_WAIT_S_MAX,
    ENFORCED_WAITS_MAX,
    ENFORCEMENTS_KEPT_MAX,
    HTTP_SYNC_CALL_OPERATIONS,
    IDEMPOTENCY_RECENT_MAX,
    SNAPSHOT_LISTED_MAX,
    SNAPSHOT_SILENCE_S,
    SNAPSHOTS_OPEN_MAX,
)
from aaa.mapping import families
from aaa.model.enforcement import OPEN
from aaa.model.entities import Service, Subscriber
from aaa.model.events import SERVER, Cause
from aaa.model.operations import Actor, Answer, Call, Operation, Result
from aaa.model.records import ACTIVE, ServiceRecord, SessionRecord
from aaa.server import views
from aaa.server.answers import missing, refused, reply
from aaa.state import audit
from aaa.state.entities import apply_operation, same_credentials
from aaa.state.operations import Refused, Settled, settle, value_of
from aaa.state.schema import Row
from policy.model import Attribute, Plan

if TYPE_CHECKING:
    from aaa.server.admin import Method
    from aaa.server.main import Server

OPERATIONS_DECODER = msgspec.msgpack.Decoder(list[Operation])
RESULTS_ENCODER = msgspec.json.Encoder()
RECEIPTS_SLICE_COUNT = 100
"""Receipts shown between two looks at the packets; about 0.4 ms."""
POLL_S = 0.005
"""How often a wait looks whether a walk over all services has come to its end."""
SHAPES: dict[str, type[Any]] = {"plan": Plan, "subscriber": Subscriber, "service": Service}


def methods(server: Server) -> dict[str, Method]:
    """By name, for the table of methods."""
    sync = server.sync
    snapshots = Snapshots(server, sync)
    return {
        "enforced": sync.enforced,
        "session_disconnect": sync.session_disconnect,
        "session_reauthorize": sync.session_reauthorize,
        "idempotency_end": sync.idempotency_end,
        "snapshot_begin": snapshots.begin,
        "snapshot_apply": snapshots.apply,
        "snapshot_mark": snapshots.mark,
        "snapshot_look": snapshots.look,
        "snapshot_end": snapshots.end,
        "snapshot_close": snapshots.close,
    }


class Kept(Struct):
    """An answer under an idempotency key, lately given."""

    digest: bytes
    answer: Answer | None = None
    """None: it is being made."""


class Scope(Struct, forbid_unknown_fields=False):
    """What a wait for the network covers."""

    ids: set[int] = set()
    """Enforcements."""
    services: set[str] = set()
    subscribers: set[str] = set()
    plans: set[str] = set()
    after: int | None = None
    """Number of the last enforcement before the change."""
    timeout_s: float = 0.0


class Sync:
    """Applies operations for one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._store = server.store
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._waiting = 0
        self.marks: list[Callable[[Operation], None]] = []
        """Called with every operation: open snapshots must not take what others push for absent."""

    # Operations

    def answer(self, call: Call, watches: bool = False) -> Answer | Awaitable[Answer]:
        """The call's operations, under its key where it has one."""
        operations = OPERATIONS_DECODER.decode(call.args)
        return self.keyed(call, lambda: self.apply(call.actor, operations, watches))

    def apply(self, actor: Actor, operations: list[Operation], watches: bool = False) -> bytes:
        """Apply in order; the JSON answer, to be given when what is in the journal is durable.

        watches: it names the enforcements that followed, as far as they are known by now.
        """
        store, server = self._store, self._server
        at = time.time()
        before = store.last_enforcement
        results = []
        gone: dict[int, str] = {}
        store.cause = cause = Cause(actor.name, actor.correlation_id)
        try:
            for operation in operations:
                for mark in self.marks:
                    mark(operation)
                if watches and operation.op == "delete" and operation.kind == "service":
                    gone |= self._sessions_of(operation.id)
                result = self.refuse_attributes(operation) or apply_operation(store, operation, actor.operator, at)
                store.cause = cause
                results.append(result)
            self.settle(at)
        finally:
            store.cause = SERVER
        if store.moved_statics:
            for problem in server.addresses.follow_statics():
                server.log.warning("pool.static_address", problem)
        if not watches:
            return RESULTS_ENCODER.encode({"results": results})
        followed: dict[str, list[int]] = {}
        for number in server.enforcer.since(before):
            enforcement = server.enforcer.get(number)
            if enforcement is not None:
                name = gone.get(enforcement.session_id, enforcement.service_id)
                followed.setdefault(name, []).append(number)
        results = [
            msgspec.structs.replace(result, enforcements=tuple(followed.get(result.id, ())))
            if result.kind in ("service", "credentials")
            else result
            for result in results
        ]
        return RESULTS_ENCODER.encode({"results": results, "after": before})

    def _sessions_of(self, name: str) -> dict[int, str]:
        """A service's live sessions, by id, with the service's own: after a deletion nothing leads to it."""
        service = self._store.services.get(name)
        live = None if service is None else service.live
        return {} if live is None else {session.id: name for session in live.sessions}

    def settle(self, at: float) -> None:
        """After a batch of commands: automations, then the live sessions that it concerns."""
        self._server.engine.settle(at)

    def when_durable(self, answer: Answer) -> Awaitable[Answer]:
        """The answer, once everything in the journal is durable."""
        durable: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def give() -> None:
            if not durable.done():
                durable.set_result(answer)

        self._store.journal.when_durable(give)
        self._store.journal.flush()
        return durable

    def refuse_attributes(self, operation: Operation) -> Result | None:
        """Reply attributes that could never be sent are refused when they are pushed, not left out of an Accept."""
        value = operation.value
        if value is None:
            return None
        overrides = value.get("overrides")
        where = [("$.attributes", value.get("attributes"))]
        where += [("$.overrides.attributes", overrides.get("attributes"))] if isinstance(overrides, dict) else []
        for field, pushed in where:
            if not pushed:
                continue
            try:
                attributes = msgspec.convert(pushed, list[Attribute])
            except msgspec.ValidationError:
                continue  # apply_operation names what is wrong with its form
            problems = families.check_attributes(attributes, self._server.prepared.dictionary)
            if problems:
                detail = "; ".join(problems)
                return Result(operation.kind, operation.id, "error", None, "invalid", detail, field)
        return None

    # Idempotency keys

    def keyed(self, call: Call, work: Callable[[], bytes]) -> Answer | Awaitable[Answer]:
        """Do the work and answer when it is durable; under a key, keep the answer in the same journal group."""
        kept = self.find(call)
        if kept is not None:
            return kept if kept.status != 200 else self.when_durable(kept)
        try:
            answer = Answer(0, 200, work())
        except BaseException:
            self._kept.pop(call.key, None)
            raise
        self.keep(call, answer)
        return self.when_durable(answer)

    def find(self, call: Call) -> Answer | None:
        """What was answered under the call's key, or why nothing can be; None: do it."""
        if not call.key:
            return None
        kept = self._kept.get(call.key)
        if kept is None:
            self._kept[call.key] = Kept(call.digest)
            return None
        if kept.digest != call.digest:
            return refused(422, "idempotency_mismatch", "use a key of its own for every request", "Idempotency-Key")
        if kept.answer is None:
            return refused(409, "in_progress", "a request with this key is being answered", "Idempotency-Key")
        return Answer(0, kept.answer.status, kept.answer.body)

    def keep(self, call: Call, answer: Answer) -> None:
        """Keep what is answered under the call's key; a failure of the server is none."""
        if not call.key:
            return
        if answer.status >= 500:
            self._kept.pop(call.key, None)
            return
        self._kept[call.key] = Kept(call.digest, answer)
        self._keep_row(call.key, call.digest, answer.status, answer.body)
        if len(self._kept) > IDEMPOTENCY_RECENT_MAX:
            self._kept.popitem(last=False)

    def _keep_row(self, key: str, digest: bytes, status: int, body: bytes) -> None:
        self._store.journal.append(Row.IDEMPOTENCY, (key, time.time(), digest, status, body))

    def idempotency_end(self, actor: Actor, args: dict[str, Any]) -> Awaitable[Answer]:
        """How many calls a stream under a key consisted of."""
        self._keep_row(args["key"], b"", args["calls"], b"")
        return self.when_durable(reply(200, {}))

    async def other(self, call: Call, work: Callable[[], Answer | Awaitable[Answer]]) -> Answer:
        """The answer of any other method, under its key."""
        kept = self.find(call)
        if kept is not None:
            return await self.when_durable(kept)
        try:
            answer = work()
            given = answer if isinstance(answer, Answer) else await answer
        except BaseException:
            self._kept.pop(call.key, None)
            raise
        self.keep(call, given)
        return await self.when_durable(given)

    # What follows on the network

    async def enforced(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Wait until the network has answered everything within a Scope, or until the time is over."""
        return reply(200, await self._wait(actor, msgspec.convert(args, Scope)))

    async def _wait(self, actor: Actor, scope: Scope) -> dict[str, Any]:
        deadline = time.monotonic() + min(scope.timeout_s, ENFORCED_WAIT_S_MAX)
        if self._waiting >= ENFORCED_WAITS_MAX:
            deadline = 0.0
        self._waiting += 1
        try:
            compared = await self._compared(deadline)
            numbers = [number async for number in self._numbers(actor, scope)]
            finished = asyncio.Event()
            watch = self._server.enforcer.watch(numbers, finished.set)
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await finished.wait()
            except TimeoutError:
                pass
            finally:
                watch.cancel()
        finally:
            self._waiting -= 1
        return await self._outcome(scope, numbers, compared)

    async def _compared(self, deadline: float) -> bool:
        """Wait until every live session that the changes so far concern was compared; False: the time is over."""
        enforcer, store = self._server.enforcer, self._store
        while store.affected or store.affected_plans or store.affected_all or enforcer.scans:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(POLL_S)
        return True

    async def _numbers(self, actor: Actor, scope: Scope) -> AsyncIterator[int]:
        """Enforcements within the scope: those named, those opened since, and those open before for the same."""
        enforcer, store = self._server.enforcer, self._store
        seen = set(scope.ids)
        after = store.last_enforcement if scope.after is None else scope.after
        first = max(after, store.last_enforcement - ENFORCEMENTS_KEPT_MAX)
        for looked, number in enumerate(range(first + 1, store.last_enforcement + 1)):
            if looked % ADMIN_SLICE_COUNT == ADMIN_SLICE_COUNT - 1:
                await asyncio.sleep(0)
            enforcement = enforcer.get(number)
            if enforcement is not None and self._within(scope, enforcement.service_id):
                seen.add(number)
        for service in self._services(scope):
            seen.update(enforcer.open_of(service))
        for number in sorted(seen):
            enforcement = enforcer.get(number)
            # Those named are the caller's: they came as results of its operations.
            if enforcement is not None and (number in scope.ids or actor.operator in (None, enforcement.operator)):
                yield number

    def _within(self, scope: Scope, service_id: str) -> bool:
        if service_id in scope.services:
            return True
        service = self._store.services.get(service_id)
        if service is None:
            return False
        return service.subscriber.body.id in scope.subscribers or service.plan.body.id in scope.plans

    def _services(self, scope: Scope) -> Iterator[ServiceRecord]:
        for name in scope.services:
            service = self._store.services.get(name)
            if service is not None:
                yield service
        for name in scope.subscribers:
            subscriber = self._store.subscribers.get(name)
            if subscriber is not None:
                yield from subscriber.services

    async def _outcome(self, scope: Scope, numbers: list[int], compared: bool) -> dict[str, Any]:
        at = time.time()
        pending: list[int] = []
        counts: dict[str, int] = {}
        receipts: list[dict[str, Any]] = []
        for looked, number in enumerate(numbers):
            if looked % RECEIPTS_SLICE_COUNT == RECEIPTS_SLICE_COUNT - 1:
                await asyncio.sleep(0)
            enforcement = self._server.enforcer.get(number)
            if enforcement is None:
                continue
            counts[enforcement.state] = counts.get(enforcement.state, 0) + 1
            if enforcement.state in OPEN:
                pending.append(number)
            if len(receipts) < ENFORCED_RECEIPTS_MAX:
                receipts.append(views.receipt_view(enforcement, at))
        followed = compared and not pending and "failed" not in counts
        return {
            "converged": followed and not await self._diverges(scope),
            "receipts": receipts,
            "pending": pending[:ENFORCED_RECEIPTS_MAX],
            "counts": counts,
        }

    async def _diverges(self, scope: Scope) -> bool:
        """Whether a session within the scope does not run under what was decided."""
        if not scope.plans:
            lives = [service.live for service in self._services(scope)]
            return any(session.diverged_at for live in lives if live is not None for session in live.sessions)
        for looked, session in enumerate(list(self._server.enforcer.diverged.values())):
            if looked % ADMIN_SLICE_COUNT == ADMIN_SLICE_COUNT - 1:
                await asyncio.sleep(0)
            if session.diverged_at and session.service is not None and self._within(scope, session.service.body.id):
                return True
        return False

    # Sessions

    def session_disconnect(self, actor: Actor, args: dict[str, Any]) -> Answer | Awaitable[Answer]:
        """End a live session, whatever is decided about it."""
        return self._change_session(
            actor,
            args["id"],
            "disconnect",
            lambda session, at: self._server.enforcer.disconnect(session, "asked for", at),
        )

    def session_reauthorize(self, actor: Actor, args: dict[str, Any]) -> Answer | Awaitable[Answer]:
        """Decide anew and send everything that can be sent."""
        return self._change_session(
            actor, args["id"], "reauthorize", lambda session, at: self._server.enforcer.reauthorize(session, at)
        )

    def _change_session(
        self, actor: Actor, name: str, action: str, change: Callable[[SessionRecord, float], int]
    ) -> Answer | Awaitable[Answer]:
        session = self._server.admin.visible_session(actor, name)
        if session is None:
            return missing("session", name)
        if session.state != ACTIVE:
            return refused(409, "not_live", f"session {session.id} is {views.STATES[session.state]}")
        if session.nas.client_name not in self._server.clients.by_name:
            return refused(409, "not_possible", f"{session.nas.name} is not configured any more")
        at = time.time()
        store = self._store
        store.cause = Cause(actor.name, actor.correlation_id)
        audit.append(store, at, action, "session", name, operator=views.operator_of(session))
        try:
            number = change(session, at)
            self.settle(at)
        finally:
            store.cause = SERVER
        body = {
            "session_id": str(session.id),
            "status": "sent" if number else "unchanged",
            "nas": session.nas.name,
            "enforcements": [number] if number else [],
        }
        return self.when_durable(reply(202, body))


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

    def __init__(self, server: Server, sync: Sync) -> None:
        self._server = server
        self._store = server.store
        self._sync = sync
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
                name
                for name, plan in store.plans.items()
                if plan.no <= snapshot.last_no and not snapshot.seen[plan.no]
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
