"""Changes: operations applied in order and answered when durable, and what follows on the network.

Theory of operation. A call's operations are applied one after the other; then the live sessions are compared once; then
the open journal group is flushed, and the answer leaves when it is durable. An answer under an idempotency key is a row
of the same group. Whoever waits for the network asks afterwards: the answer to the change never waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from aaa.limits import (
    ADMIN_SLICE_COUNT,
    ENFORCED_RECEIPTS_MAX,
    ENFORCED_WAIT_S_MAX,
    ENFORCED_WAITS_MAX,
    ENFORCEMENTS_KEPT_MAX,
    IDEMPOTENCY_RECENT_MAX,
)
from aaa.mapping import families
from aaa.model.enforcement import OPEN
from aaa.model.events import SERVER, Cause
from aaa.model.operations import Actor, Answer, Call, Operation, Result
from aaa.model.records import ACTIVE, ServiceRecord, SessionRecord
from aaa.server import views
from aaa.server.answers import missing, refused, reply
from aaa.state import audit
from aaa.state.entities import apply_operation
from aaa.state.schema import Row
from policy.model import Attribute

if TYPE_CHECKING:
    from aaa.server.admin import Method
    from aaa.server.main import Server

OPERATIONS_DECODER = msgspec.msgpack.Decoder(list[Operation])
RESULTS_ENCODER = msgspec.json.Encoder()
RECEIPTS_SLICE_COUNT = 100
"""Receipts shown between two looks at the packets; about 0.4 ms."""
POLL_S = 0.005
"""How often a wait looks whether a walk over all services has come to its end."""


def methods(server: Server) -> dict[str, Method]:
    """By name, for the table of methods."""
    sync = server.sync
    return {
        "enforced": sync.enforced,
        "session_disconnect": sync.session_disconnect,
        "session_reauthorize": sync.session_reauthorize,
        "idempotency_end": sync.idempotency_end,
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
        if not session.protocol and session.nas.client_name not in self._server.clients.by_name:
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
