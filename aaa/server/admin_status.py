"""What a portal and a support desk ask of a service: its state, its balance, and whether the network follows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aaa.model.mobile import PROTOCOLS
from aaa.model.operations import Actor, Answer
from aaa.model.records import ACTIVE, ServiceRecord, SessionRecord
from aaa.server import views
from aaa.server.admin_inventory import equipment_view
from aaa.server.answers import missing, refused, reply
from aaa.state.ledger import balance_at
from policy import quota

if TYPE_CHECKING:
    from aaa.server.admin import Method
    from aaa.server.main import Server

SERVICES_SHOWN_MAX = 100
"""Of a subscriber; about 5 ms of 100 decisions at most, of which almost all are cached."""
MEMBERS_SHOWN_MAX = 1_000


def methods(server: Server) -> dict[str, Method]:
    """By name, for the table of methods."""
    status = Status(server)
    return {
        "status": status.status,
        "subscriber_status": status.subscriber_status,
        "balance": status.balance,
    }


class Status:
    """Answers for one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._store = server.store

    def status(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """One service."""
        service = self._service(actor, args["id"])
        return missing("service", args["id"]) if service is None else reply(200, self._status_of(service, time.time()))

    def subscriber_status(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """All services of a subscriber."""
        subscriber = self._store.subscribers.get(args["id"])
        if subscriber is None or actor.operator not in (None, subscriber.body.operator):
            return missing("subscriber", args["id"])
        at = time.time()
        services = [self._status_of(service, at) for service in subscriber.services[:SERVICES_SHOWN_MAX]]
        body = {"subscriber_id": args["id"], "operator": subscriber.body.operator, "services": services}
        return reply(200, body)

    def _service(self, actor: Actor, name: str) -> ServiceRecord | None:
        """A service the actor may see."""
        service = self._store.services.get(name)
        if service is None or actor.operator not in (None, service.subscriber.body.operator):
            return None
        return service

    def _status_of(self, service: ServiceRecord, at: float) -> dict[str, Any]:
        decisions = self._server.decisions
        decision = decisions.of(service, at).body
        facts = decisions.facts_of(service, at)
        fresh = at >= service.cycle_ends_at
        marks = service.marks
        balance = None
        if service.plan.body.quota is not None:
            shown = self._balance_of(service, at)
            named = ("octets", "used_octets", "left_octets", "buckets", "cycle_ends_at")
            balance = {name: shown[name] for name in named} | {"shared": shown["kind"]}
        return {
            "service_id": service.body.id,
            "subscriber_id": service.subscriber.body.id,
            "state": facts.service.state,
            "pushed_state": service.body.state,
            "holds": [] if marks is None else [views.hold_view(hold) for hold in marks.holds if _holds(hold.until, at)],
            "plan_id": service.plan.body.id,
            "grant": decision.grant,
            "reason": decision.reason,
            "message": decision.message,
            "rate": decision.rate,
            "usage": views.usage_view(0 if fresh else service.input_octets, 0 if fresh else service.output_octets),
            "quota": balance,
            "cycle_ends_at": views.moment(service.cycle_ends_at) if balance is None else balance["cycle_ends_at"],
            "expires_at": views.moment(facts.service.expires_at),
            "tags": [] if marks is None else marks.tags,
            "sessions": [
                self._session_status(session, at)
                for session in (() if service.live is None else service.live.sessions)
                if session.state == ACTIVE
            ],
            **equipment_view(service),
        }

    def _session_status(self, session: SessionRecord, at: float) -> dict[str, Any]:
        desired = self._server.decisions.of_session(session, at)
        confirmed = session.decision
        enforcement = session.enforcement
        since = session.diverged_at or session.converged_at or session.started_at or session.authorised_at
        return {
            "id": str(session.id),
            "protocol": PROTOCOLS[session.protocol],
            "nas": session.nas.name,
            "desired": views.desired_view(desired.body),
            "confirmed": None if confirmed is None else views.desired_view(confirmed.body),
            "converged": confirmed is not None and confirmed.id == desired.id,
            "divergence": self._divergence_of(session, confirmed is not None and confirmed.id == desired.id),
            "since": views.moment(since),
            "started_at": views.moment(session.started_at),
            "framed_ip": views.address_text(session.framed_ip),
            "usage": views.usage_view(session.input_octets, session.output_octets),
            "imsi": None if session.mobile is None else session.mobile.imsi,
            "apn": None if session.mobile is None else session.mobile.apn or None,
            **views.charge_view(session),
            "enforcement": None if enforcement is None else views.receipt_view(enforcement, at),
        }

    def _divergence_of(self, session: SessionRecord, converged: bool) -> str | None:
        """What keeps a session from running under its decision; None where nothing does."""
        enforcer = self._server.enforcer
        if session.id in enforcer.ending:
            return "disconnected, its Stop is awaited"
        return None if converged else enforcer.why(session)

    def balance(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """What a service draws from, bucket by bucket."""
        service = self._service(actor, args["id"])
        if service is None:
            return missing("service", args["id"])
        if not service.plan.metered:
            detail = f"plan {service.plan.body.id!r} has neither quota nor tiers"
            return refused(404, "not_found", f"service {args['id']!r} has no balance: {detail}")
        return reply(200, {"service_id": args["id"]} | self._balance_of(service, time.time()))

    def _balance_of(self, service: ServiceRecord, at: float) -> dict[str, Any]:
        account = service.account
        state = balance_at(self._store, service, at)
        plan = service.plan.body.quota
        left = quota.left_octets(state.buckets)
        members = [service] if account is None else account.members[:MEMBERS_SHOWN_MAX]
        return {
            "kind": "service" if account is None else account.kind,
            "octets": quota.offered_octets(state.buckets),
            "used_octets": state.charged,
            "left_octets": left if plan is not None else None,
            "buckets": [views.bucket_view(bucket) for bucket in state.buckets],
            "cycle_starts_at": views.moment(state.starts_at),
            "cycle_ends_at": views.moment(state.ends_at),
            "thresholds": [] if plan is None else sorted({*plan.thresholds}),
            "told": [] if account is None or state.turned else sorted(account.told),
            "services": [member.body.id for member in members],
        }


def _holds(until: float | None, at: float) -> bool:
    return until is None or at < until
