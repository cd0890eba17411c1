"""The engine's answers to the HTTP door: every method that billing_hooks may call, scoped by the caller's operator.

Questions are answered from memory; lists work in slices, history is read off the loop. Changes: see admin_sync.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import aiosqlite
import msgspec

from aaa.errors import ConfigError
from aaa.limits import ADMIN_SLICE_COUNT
from aaa.model.events import Cause
from aaa.model.mobile import PROTOCOLS
from aaa.model.operations import Actor, Answer, Call
from aaa.model.records import ENDED, NasRecord, ServiceRecord, SessionRecord
from aaa.radius.clients import COUNTERS, format_address
from aaa.server import (
    admin_feed,
    admin_inventory,
    admin_peers,
    admin_see,
    admin_snapshot,
    admin_status,
    admin_sync,
    views,
)
from aaa.server.answers import missing, refused, reply
from aaa.server.metrics import Metrics
from aaa.state.rows import ADDRESS_FACTS

if TYPE_CHECKING:
    from aaa.server.main import Server

POSTURE_WINDOW_S = 30 * 86_400.0
"""How far back `nas message-authenticator` looks for requests that would break."""
OWNER = "coalesce(json_extract(s.facts, '$.former'), json_extract(s.facts, '$.owner'))"
OWNED = f"json_extract({OWNER}, '$[2]') = ?"
"""Of a row of session_history: its service is, or was, an operator's."""
Method = Callable[[Actor, Any], Answer | Awaitable[Answer]]
TOPICS: tuple[Callable[[Server], dict[str, Method]], ...] = (
    admin_sync.methods,
    admin_snapshot.methods,
    admin_status.methods,
    admin_see.methods,
    admin_inventory.methods,
    admin_feed.methods,
    admin_peers.methods,
)
"""Each gives the methods of one topic, by name; see aaa/server/admin_*.py."""


class Admin:
    """Answers calls for one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._store = server.store
        self._metrics = Metrics(server)
        self._methods: dict[str, Method] = {
            "get": self.get,
            "list": self.page,
            "sessions": self.sessions,
            "session": self.session,
            "leases": self.leases,
            "nas_list": self.nas_list,
            "nas_show": self.nas_show,
            "nas_unknown": self.nas_unknown,
            "nas_message_authenticator": self.nas_message_authenticator,
            "pools": self.pools,
            "health": self.health,
            "ready": self.ready,
            "metrics": self.metrics,
            "reload": self.reload,
        }
        for topic in TOPICS:
            self._methods |= topic(server)

    def handle(self, call: Call) -> Answer | Awaitable[Answer]:
        """Answer one call; the RPC server sets the id."""
        if call.method in ("sync", "sync_watch"):
            return self._server.sync.answer(call, call.method == "sync_watch")
        method = self._methods.get(call.method)
        if method is None:
            return reply(501, {"error": "not_implemented", "detail": f"no method {call.method!r}"})
        args = msgspec.msgpack.decode(call.args)
        if call.key:
            return self._server.sync.other(call, partial(method, call.actor, args))
        return method(call.actor, args)

    # Entities

    def get(self, actor: Actor, args: dict[str, Any]) -> Answer:
        kind, name = args["kind"], args["id"]
        view = self._view(actor, kind, name)
        return missing(kind, name) if view is None else reply(200, view)

    def _view(self, actor: Actor, kind: str, name: str) -> Any:
        store = self._store
        if kind == "plan":
            plan = store.plans.get(name)
            return None if plan is None else plan.body
        if kind == "subscriber":
            subscriber = store.subscribers.get(name)
            hidden = subscriber is None or actor.operator not in (None, subscriber.body.operator)
            return None if hidden or subscriber is None else subscriber.body
        service = self._service(actor, name)
        if service is None:
            return None
        if kind == "service":
            return views.service_view(service)
        credentials = [views.credential_view(credential) for credential in service.credentials]
        return {"id": name, "revision": service.body.revision, "credentials": credentials}

    def _service(self, actor: Actor, name: str) -> ServiceRecord | None:
        """A service the actor may see."""
        service = self._store.services.get(name)
        if service is None or actor.operator not in (None, service.subscriber.body.operator):
            return None
        return service

    async def page(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """A page in the order of creation; the cursor is the number of the last item."""
        kind, limit, wanted = args["kind"], args["limit"], args.get("filter") or {}
        after = views.number_of(args["after"]) or 0
        prefix = wanted.pop("q", None) or ""
        items: list[Any] = []
        looked = 0
        for no, name in self._numbered(kind, after):
            looked += 1
            if looked % ADMIN_SLICE_COUNT == 0:
                await asyncio.sleep(0)
            if no <= after or name is None or not name.startswith(prefix):
                continue
            view = self._view(actor, kind, name)
            if view is None or not all(getattr_or_item(view, field) == value for field, value in wanted.items()):
                continue
            items.append(view)
            if len(items) == limit:
                return reply(200, {"items": items, "next": str(no)})
        return reply(200, {"items": items, "next": None})

    def _numbered(self, kind: str, after: int) -> Iterator[tuple[int, str | None]]:
        """(number, id) of entities of a kind by ascending number, while others come and go; None: no such entity.

        Also of some that are not above `after`: the caller passes them in its slices.
        """
        store = self._store
        if kind == "service":
            for no in range(after + 1, store.last_no + 1):
                service = store.services_by_no.get(no)
                yield no, None if service is None else service.body.id
            return
        # Numbers grow, and a record keeps its place until it is deleted.
        records: list[Any] = list((store.plans if kind == "plan" else store.subscribers).values())
        for record in records:
            yield record.no, record.body.id

    # Sessions

    async def sessions(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Live sessions from memory, ended ones of the last hour too where asked."""
        limit = args["limit"]
        after = views.number_of(args.get("after") or "") or 0
        items: list[Any] = []
        at = time.time()
        candidates = self._candidates(actor, args)
        for count, session in enumerate(candidates):
            if count % ADMIN_SLICE_COUNT == ADMIN_SLICE_COUNT - 1:
                await asyncio.sleep(0)
            if session.id > after and self._visible(actor, session) and matches(session, args):
                items.append(self._session_view(session, at))
                if len(items) == limit:
                    return reply(200, {"items": items, "next": str(session.id)})
        return reply(200, {"items": items, "next": None})

    def _candidates(self, actor: Actor, args: dict[str, Any]) -> list[SessionRecord]:
        """Sessions that may match, by ascending id."""
        sim = self._store.inventory.sim_of_imsi(args["imsi"]) if args.get("imsi") is not None else None
        named = sim is not None and sim.service is not None and sim.state == "activated"
        if (args.get("service") is not None or named) and not args.get("ended"):
            owner = None if sim is None else sim.service
            service = owner if args.get("service") is None else self._service(actor, args["service"])
            live = service.live if service is not None else None
            return sorted(live.sessions, key=lambda session: session.id) if live is not None else []
        if args.get("divergent"):
            return sorted(self._server.enforcer.diverged.values(), key=lambda session: session.id)
        # Ids grow, and a session keeps its place until it is forgotten.
        return list(self._store.sessions.values())

    def _session_view(self, session: SessionRecord, at: float) -> dict[str, Any]:
        """A session; of one that diverges also what is desired, what is confirmed, and what is being done."""
        view = views.session_view(session)
        if not session.diverged_at:
            return view
        desired, confirmed, enforcement = session.desired, session.decision, session.enforcement
        return view | {
            "diverged_at": views.moment(session.diverged_at),
            "divergence": self._server.enforcer.why(session),
            "desired": None if desired is None else views.desired_view(desired.body),
            "confirmed": None if confirmed is None else views.desired_view(confirmed.body),
            "enforcement": None if enforcement is None else views.receipt_view(enforcement, at),
        }

    def _visible(self, actor: Actor, session: SessionRecord) -> bool:
        """Whether the session belongs to the actor's operator."""
        if actor.operator is None:
            return True
        return views.operator_of(session) == actor.operator

    def visible_session(self, actor: Actor, name: str) -> SessionRecord | None:
        """A session in memory that the actor may see."""
        session = self._store.sessions.get(views.number_of(name) or 0)
        return session if session is not None and self._visible(actor, session) else None

    def session(self, actor: Actor, args: dict[str, Any]) -> Answer:
        session = self.visible_session(actor, args["id"])
        if session is None:
            return missing("session", args["id"])
        return reply(200, self._session_view(session, time.time()))

    async def leases(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Who had an address or prefix, and when: live sessions from memory, ended ones from the history."""
        wanted = None
        if args.get("address"):
            try:
                wanted = octets_of(args["address"])
            except ValueError as error:
                return reply(422, {"error": "invalid", "detail": str(error), "field": "address"})
        at = args.get("at")
        service = None
        if args.get("service"):
            service = self._service(actor, args["service"])
            if service is None:
                return missing("service", args["service"])
        items: list[dict[str, Any]] = []
        for count, session in enumerate(list(self._store.sessions.values())):
            if count % ADMIN_SLICE_COUNT == ADMIN_SLICE_COUNT - 1:
                await asyncio.sleep(0)
            if (service is None or session.service is service) and self._visible(actor, session):
                rows = lease_rows(session, wanted)
                items += [
                    row
                    for row in rows
                    if at is None or (row["_from"] <= at and (not row["_until"] or at < row["_until"]))
                ]
        items += await self._lease_history(actor, wanted, service, at)
        items.sort(key=lambda row: row["_from"])
        for row in items:
            row["from"], row["until"] = views.moment(row.pop("_from")), views.moment(row.pop("_until"))
        return reply(200, {"items": items})

    async def _lease_history(
        self, actor: Actor, wanted: bytes | None, service: ServiceRecord | None, at: float | None
    ) -> list[dict[str, Any]]:
        conditions = ["1"]
        values: list[bytes | float | str] = []
        if wanted is not None:
            conditions.append("a.address = ?")
            values.append(wanted)
        if service is not None:
            conditions.append("s.service = ?")
            values.append(service.no)
        if at is not None:
            conditions.append("a.from_at <= ? AND a.until_at > ?")
            values += [at, at]
        if actor.operator is not None:
            # Before the limit: rows of others neither crowd out the operator's own nor show by their number.
            conditions.append(OWNED)
            values.append(actor.operator)
        query = (
            f"SELECT a.address, a.from_at, a.until_at, s.id, {OWNER}, s.nas, s.facts FROM address_history a"
            f" JOIN session_history s ON s.id = a.session WHERE {' AND '.join(conditions)}"
            " ORDER BY a.from_at LIMIT 1000"
        )
        nases = {nas.no: nas.name for nas in self._store.nases.values()}
        found = []
        async with (
            aiosqlite.connect(f"file:{self._server.prepared.config.store.path}?mode=ro", uri=True) as db,
            db.execute(query, values) as cursor,
        ):
            async for address, from_at, until_at, session_id, owner, nas_no, facts in cursor:
                calling = msgspec.json.decode(facts).get("calling_station")
                found.append(
                    {
                        "address": views.address_text(address),
                        "service_id": None if owner is None else msgspec.json.decode(owner)[0],
                        "session_id": str(session_id),
                        "nas": nases.get(nas_no),
                        "mac": None if calling is None else views.printable(bytes.fromhex(calling)),
                        "_from": from_at,
                        "_until": until_at,
                    }
                )
        return found

    # NASes and pools

    def nas_list(self, actor: Actor, args: Any) -> Answer:
        items = [self._nas(client.name) for client in self._server.clients if actor.operator in (None, client.operator)]
        items += [
            diameter_client_view(nas)
            for nas in self._store.nases.values()
            if nas.diameter and actor.operator in (None, nas.operator)
        ]
        return reply(200, {"items": items, "next": None})

    def _nas(self, name: str) -> dict[str, Any]:
        client = self._server.clients.by_name[name]
        learned = [self._learned(nas) for nas in self._store.nases.values() if nas.client_name == name]
        return {
            "name": name,
            "protocol": "radius",
            "address": list(client.config.address),
            "identifier": client.config.identifier,
            "family": client.family,
            "operator": client.operator,
            "coa_port": client.coa_port,
            "message_authenticator": client.config.message_authenticator,
            "identity": list(client.config.identity),
            "secrets": len(client.secrets),
            "sessions": sum(row["sessions"] for row in learned),
            "counters": dict(zip(COUNTERS, client.counters, strict=True)),
            "learned": learned,
        }

    def _learned(self, nas: NasRecord) -> dict[str, Any]:
        """What it was seen to send, and to honour."""
        posture = self._server.network.posture(nas)
        return views.nas_view(nas) | views.posture_view(posture)

    def nas_show(self, actor: Actor, args: dict[str, Any]) -> Answer:
        client = self._server.clients.by_name.get(args["name"])
        nas = self._store.nases.get(args["name"].lower())
        if client is None and nas is not None and nas.diameter and actor.operator in (None, nas.operator):
            return reply(200, diameter_client_view(nas))
        if client is None or actor.operator not in (None, client.operator):
            return missing("nas", args["name"])
        return reply(200, self._nas(client.name))

    def nas_unknown(self, actor: Actor, args: Any) -> Answer:
        if actor.operator is not None:
            return refused(403, "forbidden", "sources that are not configured belong to no operator")
        items = [
            {
                "address": format_address(source.address),
                "count": source.count,
                "first_at": views.moment(source.first_at),
                "last_at": views.moment(source.last_at),
                "code": source.code,
                "nas_identifier": views.printable(source.nas_identifier),
            }
            for source in reversed(self._server.clients.unknown.values())
        ]
        return reply(200, {"items": items})

    def nas_message_authenticator(self, actor: Actor, args: Any) -> Answer:
        for port in self._server.ports:
            port.admission.learn(time.time())
        rows = self._server.clients.report(time.time() - POSTURE_WINDOW_S)
        items = [
            {
                "nas": row.client,
                "address": format_address(row.address),
                "with": row.with_count,
                "without": row.without_count,
                "last_without_at": views.moment(row.last_without_at),
                "proxy_state": row.proxy_state,
            }
            for row in rows
            if actor.operator in (None, self._server.clients.by_name[row.client].operator)
        ]
        return reply(200, {"items": items})

    def pools(self, actor: Actor, args: Any) -> Answer:
        """Those of the actor's operator: how full a shared one is tells of the others."""
        items = self._server.addresses.pools.usage()
        if actor.operator is not None:
            pools = self._server.prepared.config.pool
            own = {(pool.name, pool.kind) for pool in pools if pool.operator == actor.operator}
            items = [item for item in items if (item.name, item.kind) in own]
        return reply(200, {"items": items})

    # The server itself

    def health(self, actor: Actor, args: Any) -> Answer:
        """For everybody: figures of the site are in stats, which needs a token."""
        uptime_s = round(time.time() - self._server.started_at, 1)
        body = {"status": "ok", "version": self._server.version, "uptime_s": uptime_s}
        return reply(200, body)

    def ready(self, actor: Actor, args: Any) -> Answer:
        if self._server.stopping.is_set():
            return reply(503, {"reason": "stopping"})
        if self._store.journal.congested:
            return reply(503, {"reason": "the store is behind"})
        return reply(200, {"status": "ready"})

    async def metrics(self, actor: Actor, args: Any) -> Answer:
        return Answer(0, 200, await self._metrics.text())

    async def reload(self, actor: Actor, args: Any) -> Answer:
        if actor.operator is not None:
            return refused(403, "forbidden", "the configuration is all operators' together")
        try:
            changed, restart = await self._server.reload(Cause(actor.name, actor.correlation_id))
        except ConfigError as error:
            return reply(422, {"errors": [str(problem) for problem in error.problems]})
        return reply(200, {"changed": changed, "needs_restart": restart})


def getattr_or_item(view: Any, field: str) -> Any:
    """A field of a view, which is a dict or a struct."""
    return view.get(field) if isinstance(view, dict) else getattr(view, field, None)


def matches(session: SessionRecord, wanted: dict[str, Any]) -> bool:
    """Whether a session is among those asked for."""
    if bool(wanted.get("ended")) != (session.state == ENDED):
        return False
    if wanted.get("divergent") is not None and bool(wanted["divergent"]) != bool(session.diverged_at):
        return False
    service, nas, user, address = (wanted.get(name) for name in ("service", "nas", "user", "address"))
    if service is not None and views.service_id_of(session) != service:
        return False
    if nas is not None and nas not in (session.nas.name, session.nas.client_name):
        return False
    protocol, imsi, apn = (wanted.get(name) for name in ("protocol", "imsi", "apn"))
    if protocol is not None and PROTOCOLS[session.protocol] != protocol:
        return False
    if imsi is not None and (session.mobile is None or session.mobile.imsi != imsi):
        return False
    if apn is not None and (session.mobile is None or session.mobile.apn != apn.lower()):
        return False
    if user is not None and views.printable(session.user_name) != user:
        return False
    return address is None or any(views.address_text(getattr(session, name)) == address for name in ADDRESS_FACTS)


def diameter_client_view(nas: NasRecord) -> dict[str, Any]:
    """A PCEF, MME or PCRF by its Origin-Host, as one sees a NAS; its connection is a peer's, see admin_peers."""
    view = views.nas_view(nas)
    return {
        "name": nas.name,
        "protocol": "diameter",
        "realm": nas.realm,
        "address": [],
        "identifier": None,
        "family": nas.family,
        "operator": nas.operator,
        "sessions": nas.live_count,
        "learned": [view],
    }


def lease_rows(session: SessionRecord, wanted: bytes | None) -> Iterator[dict[str, Any]]:
    """What a session in memory had of addresses."""
    for name in ADDRESS_FACTS:
        octets = getattr(session, name)
        if octets is None or (wanted is not None and octets != wanted):
            continue
        yield {
            "address": views.address_text(octets),
            "service_id": views.service_id_of(session),
            "session_id": str(session.id),
            "nas": session.nas.name,
            "mac": views.printable(session.calling_station),
            "_from": session.started_at or session.authorised_at,
            "_until": session.ended_at,
        }


def octets_of(text: str) -> bytes:
    """An address, or a prefix with its length in front. Raises ValueError."""
    if "/" in text:
        network = ip_network(text)
        return bytes((network.prefixlen,)) + network.network_address.packed
    return ip_address(text).packed
