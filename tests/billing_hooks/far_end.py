"""A small engine in memory at the far end of the socket pair: the methods that the HTTP API asks, on dicts."""

import asyncio
import contextlib
import copy
import sqlite3
import time
from collections.abc import Callable
from typing import Any

import msgspec

from aaa.model.entities import SERVICE_TRANSITIONS
from aaa.model.events import Event
from aaa.model.operations import Actor, Answer, Call, Operation, Result
from aaa.state import schema

REFERENCES = {"service": (("subscriber_id", "subscriber"), ("plan_id", "plan"))}


class FarEngine:
    """Keeps entities by (kind, id); revisions and references as the product's contract says."""

    def __init__(self) -> None:
        self.entities: dict[tuple[str, str], dict[str, Any]] = {}
        self.tombstones: dict[tuple[str, str], int] = {}
        self.sessions: dict[str, dict[str, Any]] = {}
        self.leases: list[dict[str, Any]] = []
        self.calls: list[tuple[str, Actor, Any]] = []
        self.hold: asyncio.Event | None = None
        """When set: sync answers wait for it, as for a disk."""
        self.keyed: list[tuple[str, bytes]] = []
        """Keys and digests that calls bore."""
        self.reload_errors: list[str] = []
        self.events: list[Event] = []
        self.told = asyncio.Event()
        self.store: sqlite3.Connection | None = None
        """Where events and webhooks' progress are written, for the process to read."""
        self.saves = 0
        self.refuses_saving = False
        self.is_ready = True
        self.became: dict[str, str] = {}
        """What a snapshot says of an entity, by its id; new where it says nothing."""

    def handle(self, call: Call) -> Any:
        args = msgspec.msgpack.decode(call.args)
        if call.key:
            self.keyed.append((call.key, call.digest))
        if call.method != "sync":
            self.calls.append((call.method, call.actor, args))
        method: Callable[[Actor, Any], Any] | None = getattr(self, f"answer_{call.method}", None)
        # Topics that are specified with their own engine.
        return missing(call.method) if method is None else method(call.actor, args)

    def answer_sync(self, actor: Actor, args: Any) -> Any:
        operations = msgspec.convert(args, list[Operation])
        self.calls.append(("sync", actor, len(operations)))
        answer = reply(200, {"results": msgspec.to_builtins([self.apply(operation) for operation in operations])})
        if self.hold is None:
            return answer
        return self._later(answer, self.hold)

    def answer_sync_watch(self, actor: Actor, args: Any) -> Any:
        return self.answer_sync(actor, args)

    def answer_enforced(self, actor: Actor, args: Any) -> Answer:
        self.waited = args
        return reply(200, {"converged": True, "receipts": [], "pending": [], "counts": {}})

    def answer_snapshot_begin(self, actor: Actor, args: Any) -> Answer:
        self.snapshot: set[tuple[str, str]] = set()
        return reply(200, {"snapshot": 1})

    def answer_snapshot_apply(self, actor: Actor, args: Any) -> Answer:
        operations = msgspec.convert(args["operations"], list[Operation])
        self.snapshot |= {(operation.kind, operation.id) for operation in operations}
        results = [
            Result(operation.kind, operation.id, "applied", detail=self.became.get(operation.id, "new"))
            for operation in operations
        ]
        return reply(200, {"results": results})

    def answer_snapshot_mark(self, actor: Actor, args: Any) -> Answer:
        self.snapshot |= {(kind, name) for kind, name in args["names"]}
        return reply(200, {})

    def answer_snapshot_look(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {})

    def answer_snapshot_end(self, actor: Actor, args: Any) -> Answer:
        extra = [
            f"{kind}/{name}" for kind, name in self.entities if kind == "service" and (kind, name) not in self.snapshot
        ]
        return reply(200, {"kinds": {"service": {"absent": len(extra)}}, "extra": extra})

    def answer_snapshot_close(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {})

    def answer_audit_head(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {"seq": 0, "hash": ""})

    def answer_balance(self, actor: Actor, args: Any) -> Answer:
        return missing(args["id"])

    def answer_subscriber_status(self, actor: Actor, args: Any) -> Answer:
        return missing(args["id"])

    def answer_session_reauthorize(self, actor: Actor, args: Any) -> Answer:
        return self.answer_session_disconnect(actor, args)

    async def _later(self, answer: Answer, hold: asyncio.Event) -> Answer:
        await hold.wait()
        return answer

    def apply(self, operation: Operation) -> Result:
        key = (operation.kind, operation.id)
        stored = self.entities.get(key)
        revision = operation.revision or 0
        known = stored["revision"] if stored else self.tombstones.get(key, -1)
        refused = lambda error, detail, field=None: Result(*key, "error", error=error, detail=detail, field=field)  # noqa: E731
        if operation.op in ("patch", "state") and stored is None:
            return refused("not_found", f"no {operation.kind} {operation.id}")
        if operation.kind == "credentials" and ("service", operation.id) not in self.entities:
            return refused("not_found", f"no service {operation.id}")
        value = dict(operation.value or {}) | {"id": operation.id, "revision": revision}
        if operation.op in ("patch", "state"):
            value = copy.deepcopy(stored or {}) | value
            value.pop("reason", None)
        if operation.kind == "service":
            value.setdefault("state", "active")
        if revision < known:
            return Result(*key, "stale", revision=known)
        if revision == known:
            return Result(*key, "stale" if value == stored else "conflict", revision=known)
        if operation.op == "delete":
            self.entities.pop(key, None)
            self.tombstones[key] = revision
            return Result(*key, "applied", revision=revision)
        for field, kind in REFERENCES.get(operation.kind, ()):
            if (kind, value[field]) not in self.entities:
                return refused("missing_reference", f"no {kind} {value[field]}", f"$.{field}")
        if operation.kind == "service" and stored and value["state"] != stored["state"]:
            steps = SERVICE_TRANSITIONS[stored["state"]]
            if value["state"] not in steps:
                return refused("invalid_transition", f"from {stored['state']} only to {', '.join(steps)}", "$.state")
        self.entities[key] = value
        return Result(*key, "applied", revision=revision)

    def shown(self, kind: str, entity_id: str) -> dict[str, Any] | None:
        if kind == "credentials":
            service = self.entities.get(("service", entity_id))
            if service is None:
                return None
            own = self.entities.get(("credentials", entity_id), service)
            secrets = ("cleartext", "nt_hash", "bcrypt")
            shown = [{n: v for n, v in each.items() if n not in secrets} for each in own.get("credentials", ())]
            return {"id": entity_id, "revision": own["revision"], "credentials": shown}
        value = self.entities.get((kind, entity_id))
        return value and {name: item for name, item in value.items() if name != "credentials"}

    def answer_get(self, actor: Actor, args: Any) -> Answer:
        value = self.shown(args["kind"], args["id"])
        return missing(args["id"]) if value is None else reply(200, value)

    def answer_list(self, actor: Actor, args: Any) -> Answer:
        ids = sorted(i for kind, i in self.entities if kind == args["kind"] and i > args["after"])
        prefix = args["filter"].pop("q", "")
        found = [self.shown(args["kind"], i) for i in ids if i.startswith(prefix)]
        found = [v for v in found if v and all(v.get(name) == item for name, item in args["filter"].items())]
        page = found[: args["limit"]]
        return reply(200, {"items": page, "next": page[-1]["id"] if page and len(found) > len(page) else None})

    def answer_status(self, actor: Actor, args: Any) -> Answer:
        service = self.entities.get(("service", args["id"]))
        if service is None:
            return missing(args["id"])
        plan = self.entities[("plan", service["plan_id"])]
        usage = {"input_octets": 0, "output_octets": 0, "total_octets": 0}
        body = {"service_id": args["id"], "state": service["state"], "plan_id": service["plan_id"], "usage": usage}
        return reply(200, body | {"rate": plan.get("rate"), "quota": None, "sessions": []})

    def answer_decision(self, actor: Actor, args: Any) -> Answer:
        if ("service", args["id"]) not in self.entities:
            return missing(args["id"])
        return reply(200, {"grant": True, "reason": "granted", "trace": [], "at": args.get("at", time.time())})

    def answer_sessions(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {"items": list(self.sessions.values())[: args["limit"]], "next": None})

    def answer_session(self, actor: Actor, args: Any) -> Answer:
        session = self.sessions.get(args["id"])
        return missing(args["id"]) if session is None else reply(200, session)

    def answer_session_disconnect(self, actor: Actor, args: Any) -> Answer:
        session = self.sessions.get(args["id"])
        if session is None:
            return missing(args["id"])
        if session["nas"] == "deaf":
            return reply(409, {"detail": "the NAS has no CoA port"})
        return reply(202, {"status": "sent"})

    def answer_leases(self, actor: Actor, args: Any) -> Answer:
        at = args.get("at")
        found = [
            lease for lease in self.leases
            if lease["address"] == args.get("address", lease["address"])
            and (at is None or lease["from"] <= at < (lease["until"] or float("inf")))
        ]  # fmt: skip
        return reply(200, {"items": found})

    def answer_nas_list(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {"items": [{"name": "lab", "family": "mikrotik", "address": ["127.0.0.1"]}], "next": None})

    def answer_nas_show(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {"name": "lab"}) if args["name"] == "lab" else missing(args["name"])

    def answer_nas_unknown(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {"items": []})

    def answer_nas_message_authenticator(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {"items": []})

    def answer_pools(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {"items": []})

    def answer_stats(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {"calls": len(self.calls)})

    def answer_health(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {"status": "ok", "version": "test", "uptime_s": 1.0})

    def answer_ready(self, actor: Actor, args: Any) -> Answer:
        return reply(200, {}) if self.is_ready else reply(503, {"reason": "loading"})

    def answer_metrics(self, actor: Actor, args: Any) -> Answer:
        return Answer(0, 200, b"# TYPE aaa_requests counter\naaa_requests_total 1\n")

    async def answer_events_tail(self, actor: Actor, args: Any) -> Answer:
        after = args["after"]
        if after is not None and after >= len(self.events):
            self.told.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(args["wait_s"]):
                    await self.told.wait()
        found = [] if after is None else self.events[after : after + args["limit"]]
        durable = found[-1].seq if found else len(self.events)
        return Answer(0, 200, msgspec.msgpack.encode({"durable": durable, "complete": True, "events": found}))

    def tell(self, kind: str, subject: str, **rest: Any) -> None:
        """An event has become durable."""
        self.events.append(Event(len(self.events) + 1, 1_700_000_000.0, kind, subject, rest.pop("data", {}), **rest))
        event = self.events[-1]
        if self.store is not None:
            row = (
                event.seq, event.at, event.type, event.subject, msgspec.json.encode(event.data).decode(),
                event.operator, event.subscriber_id, event.service_id, msgspec.json.encode(event.cause).decode(),
            )  # fmt: skip
            self.store.execute(schema.STATEMENTS[schema.Row.EVENT], row)
        self.told.set()

    def answer_webhook_save(self, actor: Actor, args: Any) -> Answer:
        assert self.store is not None
        if self.refuses_saving:
            return reply(503, {"error": "unavailable"})
        self.saves += 1
        name = args["name"]
        body = msgspec.json.encode({"after": args["after"], "waiting": args["waiting"]}).decode()
        self.store.execute(schema.STATEMENTS[schema.Row.META], (f"webhook/{name}", body))
        for seq in args["revived"]:
            self.store.execute(schema.STATEMENTS[schema.Row.DEAD_LETTER_DELETE], (name, seq))
        for letter in args["dead"]:
            row = (name, letter["seq"], 1_700_000_000.0, letter["attempts"], letter["error"])
            self.store.execute(schema.STATEMENTS[schema.Row.DEAD_LETTER], row)
            self.tell("webhook.dead_letter", name, data={"webhook": name, "seq": letter["seq"]})
        if args["gap"] is not None:
            self.tell("webhook.gap", name, data={"webhook": name, **args["gap"]})
        return reply(200, {})

    def answer_reload(self, actor: Actor, args: Any) -> Answer:
        if self.reload_errors:
            return reply(422, {"errors": self.reload_errors})
        return reply(200, {"changed": ["nas"], "needs_restart": []})


def reply(status: int, body: Any) -> Answer:
    return Answer(0, status, msgspec.json.encode(body))


def missing(name: str) -> Answer:
    return reply(404, {"error": "not_found", "detail": f"no {name}"})
