"""What leaves towards billing, as far as the engine has a part in it: durable events, webhooks' progress, payments."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import msgspec

from aaa.engine.enforce import caused_by
from aaa.limits import EVENTS_TAIL_COUNT, EVENTS_TAIL_WAIT_S, PAID_SERVICES_MAX
from aaa.model.events import Cause, Event
from aaa.model.operations import Actor, Answer, Operation
from aaa.model.records import ACTIVE, SessionRecord
from aaa.server.answers import missing, reply
from aaa.state.holds import holds_in_force
from aaa.state.meters import METERS
from aaa.state.rows import receipt_of
from aaa.state.schema import Row

if TYPE_CHECKING:
    from aaa.model.records import ServiceRecord
    from aaa.server.admin import Method
    from aaa.server.main import Server
    from aaa.state.store import Store

PACK = msgspec.msgpack.Encoder()


def methods(server: Server) -> dict[str, Method]:
    """By name, for the table of methods."""
    feed = FeedMethods(server)
    return {
        "events_tail": feed.events_tail,
        "webhook_save": feed.webhook_save,
        "payment": feed.payment,
        "enforcements": feed.enforcements,
        "service_no": feed.service_no,
        "usage": feed.usage,
        "audit_head": feed.audit_head,
    }


class FeedMethods:
    """Answers for one server. These methods are the HTTP process's own; no endpoint passes a client's words to them."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._store = server.store
        self._moved: asyncio.Event | None = None

    # Events

    async def events_tail(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Durable events after a number, as soon as there are any; without a number, where the feed stands."""
        store = self._store
        after = args["after"]
        if after is None:
            return tail_page(store.durable_event, True, [])
        if store.durable_event <= after:
            await self._wait(min(args["wait_s"], EVENTS_TAIL_WAIT_S))
        events, complete = durable_events(store, after, min(args["limit"], EVENTS_TAIL_COUNT))
        return tail_page(events[-1].seq if events else max(after, store.durable_event), complete, events)

    async def _wait(self, seconds: float) -> None:
        if self._moved is None:
            self._moved = asyncio.Event()
            self._store.event_waiters.append(self._tell)
        try:
            async with asyncio.timeout(seconds):
                await self._moved.wait()
        except TimeoutError:
            return

    def _tell(self) -> None:
        assert self._moved is not None
        self._moved.set()
        self._moved = asyncio.Event()

    # Webhooks

    def webhook_save(self, actor: Actor, args: dict[str, Any]) -> Awaitable[Answer]:
        """Keep how far a webhook is, with what was given up and what is tried again; answered when durable.

        args: name; after, up to which all events are settled but for `waiting`: [number, attempts]; revived: numbers
        of dead letters that are tried again; dead: [{seq, type, operator, attempts, error}]; gap: {after, oldest}.
        """
        with caused_by(self._store, Cause(f"webhook:{args['name']}")):
            self._save(args, time.time())
        return self._server.sync.when_durable(reply(200, {}))

    def _save(self, args: dict[str, Any], at: float) -> None:
        store, name = self._store, args["name"]
        settle = store.journal.settle
        body = {"after": args["after"], "waiting": args["waiting"]}
        store.journal.append(Row.META, (f"webhook/{name}", msgspec.json.encode(body).decode()))
        for seq in args["revived"]:
            settle(Row.DEAD_LETTER, Row.DEAD_LETTER_DELETE, (name, seq), None)
        for letter in args["dead"]:
            row = (name, letter["seq"], at, letter["attempts"], letter["error"])
            settle(Row.DEAD_LETTER, Row.DEAD_LETTER_DELETE, row[:2], row)
            data = {
                "webhook": name,
                "seq": letter["seq"],
                "event_type": letter["type"],
                "attempts": letter["attempts"],
                "error": letter["error"],
            }
            store.emit("webhook.dead_letter", name, at, data, operator=letter["operator"])
        if args["gap"] is not None:
            data = {"webhook": name, "after": args["gap"]["after"], "oldest": args["gap"]["oldest"]}
            store.emit("webhook.gap", name, at, data)

    # Payments

    def payment(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Lift the holds of services that were paid for, add what was bought, and tell it; see billing_hooks.payments.

        It is answered with what was done to each service; made durable and kept under the call's key by the caller.
        """
        store, server, at = self._store, self._server, time.time()
        before = store.last_enforcement
        services = self._paid_for(actor, args)
        shown: dict[str, dict[str, Any]] = {service.body.id: {"service_id": service.body.id} for service in services}
        operations = []
        if args["paid"]:
            entry = next((each for each in server.prepared.config.payment if each.name == args["name"]), None)
            patterns = () if entry is None else entry.restore
            for service in services:
                operations += [
                    Operation("restore", "service", service.body.id, {"cause": hold.cause})
                    for hold in holds_in_force(service, at)
                    if any(fnmatchcase(hold.cause, pattern) for pattern in patterns)
                ]
            if args["top_up_octets"] and len(services) == 1:
                value = {"id": f"{args['name']}/{args['purchase']}", "octets": args["top_up_octets"]}
                operations.append(Operation("top_up", "service", services[0].body.id, value))
        results = msgspec.json.decode(server.sync.apply(actor, operations))["results"] if operations else []
        for operation, result in zip(operations, results, strict=True):
            if result["status"] != "applied":
                server.log.warning(
                    "payment.not_applied", operation.op, service=operation.id, detail=result.get("detail")
                )
            elif operation.op == "restore":
                assert operation.value is not None
                shown[operation.id].setdefault("lifted", []).append(operation.value["cause"])
            else:
                shown[operation.id]["topped_up"] = True
        with caused_by(store, Cause(actor.name, actor.correlation_id)):
            self._tell_payment(args, services, shown, at)
            server.sync.settle(at)
        if not services:
            server.log.warning("payment.unmatched", args["event_type"], payment=args["name"], event_id=args["event_id"])
        return reply(200, {"services": list(shown.values()), "after": before})

    def _tell_payment(
        self, args: dict[str, Any], services: list[ServiceRecord], shown: dict[str, dict[str, Any]], at: float
    ) -> None:
        """The event of each service. shown: what was done to it."""
        for service in services:
            data = {name: args[name] for name in ("event_id", "event_type", "object_id", "currency") if args[name]}
            data |= {"payment": args["name"], "provider": "stripe"}
            if args["amount"] is not None:
                data["amount"] = args["amount"]
            if shown[service.body.id].get("topped_up"):
                data["top_up_octets"] = args["top_up_octets"]
            kind = "payment.received" if args["paid"] else "payment.failed"
            self._store.emit(kind, service.body.id, at, data, service)

    def _paid_for(self, actor: Actor, args: dict[str, Any]) -> list[ServiceRecord]:
        """The service that is named, or all of the subscribers, within the hook's scope; terminated ones are over."""
        store = self._store
        if args["service_id"]:
            named = store.services.get(args["service_id"])
            found = [] if named is None else [named]
        else:
            owners = [store.subscribers.get(name) for name in args["subscribers"]]
            found = [service for owner in owners if owner is not None for service in owner.services]
        return [
            service
            for service in found[:PAID_SERVICES_MAX]
            if service.body.state != "terminated" and actor.operator in (None, service.subscriber.body.operator)
        ]

    # What exports and proofs need of memory

    def enforcements(self, actor: Actor, args: dict[str, Any]) -> Awaitable[Answer]:
        """Enforcements among these numbers as they are now, once that is durable; of the others the rows are final."""
        items = []
        for number in args["ids"]:
            enforcement = self._server.enforcer.get(number)
            if enforcement is not None and actor.operator in (None, enforcement.operator):
                items.append({"id": number, "state": enforcement.state, "receipt": receipt_of(enforcement)})
        return self._server.sync.when_durable(reply(200, {"items": items}))

    def service_no(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Under which number a service's history is kept."""
        service = self._service(actor, args["id"])
        return missing("service", args["id"]) if service is None else reply(200, {"no": service.no})

    def usage(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """The running cycle of a service, and what its live sessions have reported so far."""
        service = self._service(actor, args["id"])
        if service is None:
            return missing("service", args["id"])
        fresh = time.time() >= service.cycle_ends_at
        live = service.live
        body = {
            "no": service.no,
            "subscriber_id": service.subscriber.body.id,
            "operator": service.subscriber.body.operator,
            "cycle_starts_at": service.cycle_ends_at if fresh else service.cycle_starts_at,
            "cycle_ends_at": 0.0 if fresh else service.cycle_ends_at,
            "input_octets": 0 if fresh else service.input_octets,
            "output_octets": 0 if fresh else service.output_octets,
            "running": [
                charged_octets(session)
                for session in (() if live is None else live.sessions)
                if session.state == ACTIVE and session.protocol in METERS
            ],
        }
        return reply(200, body)

    def _service(self, actor: Actor, name: str) -> ServiceRecord | None:
        service = self._store.services.get(name)
        if service is None or actor.operator not in (None, service.subscriber.body.operator):
            return None
        return service

    def audit_head(self, actor: Actor, args: Any) -> Awaitable[Answer]:
        """The newest audit entry, once it is durable."""
        return self._server.sync.when_durable(
            reply(200, {"seq": self._store.last_audit, "hash": self._store.audit_hash.hex()})
        )


def charged_octets(session: SessionRecord) -> dict[str, int]:
    """What a session has reported, without what another session of the bearer was charged for."""
    aside_input, aside_output = session.aside or (0, 0)
    return {
        "id": session.id,
        "input_octets": session.input_octets - aside_input,
        "output_octets": session.output_octets - aside_output,
    }


def durable_events(store: Store, after: int, limit: int) -> tuple[list[Event], bool]:
    """Events above `after` that are durable and in memory, oldest first; False where memory does not reach back."""
    found: list[Event] = []
    complete = False
    for event in reversed(store.events):
        if event.seq <= after:
            complete = True
            break
        if event.seq <= store.durable_event:
            found.append(event)
    else:
        # All of memory is younger: fine where it begins with the next number.
        complete = store.durable_event <= after or (bool(store.events) and store.events[0].seq <= after + 1)
    found.reverse()
    return (found[:limit], True) if complete else ([], False)


def tail_page(durable: int, complete: bool, events: list[Event]) -> Answer:
    """As billing_hooks.tail reads it."""
    return Answer(0, 200, PACK.encode({"durable": durable, "complete": complete, "events": events}))
