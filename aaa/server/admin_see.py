"""What operators ask before and while they change something: previews, decisions explained, traces of live packets."""

from __future__ import annotations

import asyncio
import heapq
import time
from typing import TYPE_CHECKING, Any

import msgspec

from aaa.config.policy import compile_texts
from aaa.credential.identity import normalize_mac
from aaa.errors import ConfigError, Problem
from aaa.limits import ADMIN_SLICE_COUNT, POLICY_PROBLEMS_SHOWN_MAX, STATS_NASES_COUNT, TRACERS_COUNT_MAX
from aaa.model.access import Cause
from aaa.model.accounting import AccountingOutcome
from aaa.model.mobile import PROTOCOLS
from aaa.model.operations import Actor, Answer, Operation
from aaa.model.records import ServiceRecord
from aaa.radius.clients import COUNTERS
from aaa.radius.reasons import DropReason
from aaa.server import views
from aaa.server.answers import missing, refused, reply
from aaa.server.prepare import check_policy
from aaa.server.preview import Preview, TooLarge
from aaa.server.trace import CODES, Tap
from aaa.server.tracer import Wanted
from policy.model import Decision, SessionFacts

if TYPE_CHECKING:
    from aaa.server.admin import Method
    from aaa.server.main import Server

AT_END = 32_503_680_000.0
"""Epoch seconds of the year 3000: calendars that look ahead from here stay within what a date can be."""
NOTHING_OF_ALL: dict[str, Any] = {
    "services": 0,
    "sessions_by_protocol": {},
    "rows_ahead": 0,
    "access": {},
    "accounting": {},
    "drops": {},
    "latency": {},
    "enforcement": {"open": {}, "results": {}, "divergent": 0, "in_flight": 0, "waiting": 0},
}
"""Of a sample, for who sees one operator only."""
CODE_NUMBERS = {name.lower(): number for number, name in CODES.items()}


def methods(server: Server) -> dict[str, Method]:
    """By name, for the table of methods."""
    see = See(server)
    return {
        "policy_preview": see.preview,
        "decision": see.decision,
        "stats": see.stats,
        "trace_open": see.trace_open,
        "trace_next": see.trace_next,
        "trace_close": see.trace_close,
    }


class See:
    """Answers for one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._tap = Tap(server)
        self._previewing = False

    # Before a change

    async def preview(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """What would follow of policy files, of operations, or of both: {"files", "operations", "limit", "after"}."""
        if self._previewing:
            return refused(409, "not_possible", "another preview is being made; ask again when it is done")
        self._previewing = True
        preview = None
        try:
            policy = None
            if args.get("files") is not None:
                zone = self._server.prepared.config.policy.zone
                # Off the loop: a large policy takes longer than the packets may wait.
                policy = await asyncio.to_thread(compile_texts, args["files"], zone)
                if problems := check_policy(policy, self._server.prepared.dictionary):
                    raise ConfigError(problems)
            operations = msgspec.convert(args.get("operations") or [], list[Operation])
            preview = Preview(self._server, policy, operations, actor, time.time())
            await preview.run()
            after = str(args.get("after") or "")
            body = await preview.show(args["limit"], int(after) if after.isdigit() else 0)
            body["warnings"] = [problem_view(warning) for warning in policy.warnings] if policy is not None else []
            return reply(200, body)
        except ConfigError as error:
            detail = f"{len(error.problems)} problems in the policy files"
            errors = [problem_view(problem) for problem in error.problems[:POLICY_PROBLEMS_SHOWN_MAX]]
            return reply(422, {"error": "invalid", "detail": detail, "field": "$.files", "errors": errors})
        except TooLarge as error:
            return refused(422, "too_large", str(error), "$.operations")
        finally:
            self._previewing = False
            if preview is not None:
                preview.close()

    # Why

    def decision(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """What a service may do at a moment and a place, and why; named by its id or as the network names it."""
        found = self._find(actor, args["id"])
        if found is None:
            return missing("service or user", args["id"])
        service, named_by = found
        server = self._server
        at = float(args.get("at") or time.time())
        if not 0 <= at < AT_END:
            return refused(422, "invalid", "decisions are explained from 1970 to 2999", "at")
        place, client, nas = None, None, args.get("nas")
        family, protocol = "generic", args.get("protocol")
        is_mobile = args.get("plmn") is not None or args.get("location") is not None
        if nas is not None:
            client = server.clients.by_name.get(nas.partition("/")[0])
            gateway = server.store.nases.get(nas) if client is None else None
            known = client if gateway is None or not gateway.diameter else gateway
            if known is None or actor.operator not in (None, known.operator):
                return missing("nas", nas)
            nas, family = known.name, known.family
            is_mobile = is_mobile or client is None
        if nas is not None or protocol is not None or is_mobile:
            place = SessionFacts(
                nas=nas or "",
                nas_family=family,
                protocol=protocol or ("gx" if is_mobile else "radius"),
                plmn=args.get("plmn") or "",
                location=args.get("location") or "",
                nas_port=args.get("nas_port_id") or "",
                calling_station_id=args.get("calling_station_id") or "",
                called_station_id=args.get("called_station_id") or "",
                circuit_id=args.get("circuit_id") or "",
                remote_id=args.get("remote_id") or "",
            )
        decision = server.decisions.explain(service, at, place)
        body = views.decision_view(decision)
        body |= {
            "service_id": service.body.id,
            "subscriber_id": service.subscriber.body.id,
            "plan_id": service.plan.body.id,
            "named_by": named_by,
            "at": views.moment(at),
            "policy": server.decisions.policy.revision,
            "nas": nas,
        }
        sim = server.store.inventory.sim_of_imsi(args["id"]) if named_by == "imsi" else None
        if sim is not None:
            body["sim_state"] = sim.state
        if client is not None and decision.grant:
            body["attributes_sent"] = self._attributes_sent(service, decision, client.name)
        return reply(200, body)

    def _attributes_sent(self, service: ServiceRecord, decision: Decision, nas: str) -> list[tuple[str, str]]:
        """What an Accept would carry, without what only the login brings: Class, keys, an address of a pool."""
        server = self._server
        attributes = server.show_attributes(server.render(decision, nas))
        if decision.session_timeout_s:
            attributes.append(("Session-Timeout", str(decision.session_timeout_s)))
        interim = decision.interim_interval_s or server.store.interim_interval_s
        if interim:
            attributes.append(("Acct-Interim-Interval", str(interim)))
        if service.body.static_ip is not None:
            attributes.append(("Framed-IP-Address", service.body.static_ip))
        if service.body.static_prefix is not None:
            attributes.append(("Delegated-IPv6-Prefix", service.body.static_prefix))
        return attributes

    def _find(self, actor: Actor, name: str) -> tuple[ServiceRecord, str] | None:
        """A service within the actor's scope, by its id, a user name, a MAC or an IMSI; and which of these it was."""
        store = self._server.store

        def visible(service: ServiceRecord | None) -> bool:
            return service is not None and actor.operator in (None, service.subscriber.body.operator)

        service = store.services.get(name)
        if service is not None and visible(service):
            return service, "service"
        for user in store.names.candidates(name.encode()):
            for index in store.passwords.values():
                credential = index.get(user)
                if credential is not None and visible(credential.service):
                    return credential.service, "user name"
        mac = normalize_mac(name.encode())
        for index in store.macs.values() if mac is not None else ():
            credential = index.get(mac or b"")
            if credential is not None and visible(credential.service):
                return credential.service, "mac"
        sim = store.inventory.sim_of_imsi(name)
        service = None if sim is None else sim.service
        return (service, "imsi") if service is not None and visible(service) else None

    # Now

    async def stats(self, actor: Actor, args: Any) -> Answer:
        """Counters since the start, for who looks again and takes the difference.

        Within an operator's scope, those of its NASes; what is counted for all operators together stays 0 and empty.
        """
        server, store = self._server, self._server.store
        totals = dict.fromkeys(COUNTERS, 0)
        sessions: dict[str, int] = {}
        down: dict[str, int] = {}
        for number, nas in enumerate(list(store.nases.values())):
            if number % ADMIN_SLICE_COUNT == ADMIN_SLICE_COUNT - 1:
                await asyncio.sleep(0)
            sessions[nas.client_name] = sessions.get(nas.client_name, 0) + nas.live_count
            down[nas.client_name] = down.get(nas.client_name, 0) + nas.down
        rows: list[dict[str, Any]] = []
        for number, client in enumerate(list(server.clients)):
            if number % ADMIN_SLICE_COUNT == ADMIN_SLICE_COUNT - 1:
                await asyncio.sleep(0)
            if actor.operator in (None, client.operator):
                counters = dict(zip(COUNTERS, client.counters, strict=True))
                for name, count in counters.items():
                    totals[name] += count
                rows.append({
                    "name": client.name,
                    "family": client.family,
                    "sessions": sessions.get(client.name, 0),
                    "requests": counters["access_requests"] + counters["accounting_requests"],
                    "rejects": counters["rejects"],
                    "dropped": counters["dropped"],
                    "down": down.get(client.name, 0),
                })  # fmt: skip
        busiest = heapq.nlargest(STATS_NASES_COUNT, rows, key=lambda row: row["requests"])
        body = {
            **totals,
            # Sessions of NASes that are not configured any more are nobody's, and count.
            "sessions": sum(sessions.values() if actor.operator is None else (row["sessions"] for row in rows)),
            "at": time.time(),
            "uptime_s": round(time.time() - server.started_at, 3),
            "policy": server.decisions.policy.revision,
            "nas": busiest,
        }
        return reply(200, body | (self._of_all() if actor.operator is None else NOTHING_OF_ALL))

    def _of_all(self) -> dict[str, Any]:
        """What is counted for all operators together."""
        server, store = self._server, self._server.store
        drops = [sum(counts) for counts in zip(*(port.admission.drops for port in server.ports), strict=True)]
        causes, outcomes = server.access_statistics.causes, server.accountant.outcomes
        enforcer = server.enforcer
        return {
            "services": len(store.services),
            "sessions_by_protocol": dict(zip(PROTOCOLS, store.live_counts, strict=True)),
            "rows_ahead": store.journal.rows_ahead,
            "access": {("accept" if not cause else cause.name.lower()): causes[cause] for cause in Cause},
            "accounting": {outcome.name.lower(): outcomes[outcome] for outcome in AccountingOutcome},
            "drops": {reason.name.lower(): count for reason, count in zip(DropReason, drops, strict=False) if count},
            "latency": {
                "auth": server.access_statistics.latency,
                "acct": server.accounting_statistics.latency,
                "coa": server.network.statistics.latency,
                "commit": server.link.commits.latency if server.link is not None else [],
            },
            "enforcement": {
                "open": {state: count for state, count in enforcer.states.items() if count},
                "results": dict(enforcer.results),
                "divergent": len(enforcer.diverged),
                "in_flight": server.network.in_flight,
                "waiting": server.network.waiting,
            },
        }

    # Live packets

    def trace_open(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Begin a trace within the actor's scope."""
        code = args.get("code")
        number = None
        if code is not None:
            number = int(code) if code.isdigit() else CODE_NUMBERS.get(code.lower())
            if number is None:
                return refused(422, "invalid", f"unknown code {code!r}; known are {', '.join(CODE_NUMBERS)}", "code")
        wanted = Wanted(
            user=args.get("user"),
            nas=args.get("nas"),
            service=args.get("service"),
            session=args.get("session"),
            code=number,
            imsi=args.get("imsi"),
            peer=args.get("peer"),
            command=args["command"].upper() if args.get("command") else None,
            operator=actor.operator,
        )
        trace = self._tap.open(wanted)
        if trace is None:
            return refused(409, "not_possible", f"{TRACERS_COUNT_MAX} traces run already; end one")
        return reply(200, {"trace": trace})

    async def trace_next(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """What was seen since the last call; waits a while for something."""
        found = await self._tap.next(args["trace"], args["wait_s"])
        return missing("trace", str(args["trace"])) if found is None else reply(200, found)

    def trace_close(self, actor: Actor, args: dict[str, Any]) -> Answer:
        self._tap.close(args["trace"])
        return reply(200, {})


def problem_view(problem: Problem) -> dict[str, Any]:
    """A finding in a policy file, at its place."""
    return {**problem._asdict(), "text": str(problem)}
