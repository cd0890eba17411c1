"""Diameter peers as operators see them: who is there, since when, what passes between us, and why one went away."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

from aaa.diameter.peer import Peer
from aaa.diameter.states import OPEN, State
from aaa.diameter.watchdog import WatchdogState
from aaa.dictionary.diameter import Dictionary
from aaa.model.operations import Actor, Answer
from aaa.server import views
from aaa.server.answers import missing, reply
from aaa.server.diameter_agent import Observed
from aaa.server.diameter_traffic import CLASSES, OTHERS, Command, CommandCounters, Traffic

if TYPE_CHECKING:
    from aaa.server.admin import Method
    from aaa.server.main import Server

DOUBTS: Final = {WatchdogState.SUSPECT: "suspect", WatchdogState.REOPEN: "reopening"}
"""Open, but not preferred (RFC 3539)."""
DIRECTIONS: Final = {State.R_OPEN: "accepted", State.I_OPEN: "dialled"}


def methods(server: Server) -> dict[str, Method]:
    """By name, for the table of methods."""
    peers = Peers(server)
    return {"peers_list": peers.page, "peers_show": peers.show}


class Peers:
    """Answers for one server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def page(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Every peer that is configured, and those that a template has let in."""
        items = [self._view(seen) for seen in self._visible(actor)]
        return reply(200, {"items": items, "next": None})

    def show(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """One peer with its commands; where several identities of ours have it, the open one."""
        name = args["origin_host"].lower()
        found = [seen for seen in self._visible(actor) if seen.peer.remote.origin_host.lower() == name]
        if not found:
            return missing("peer", args["origin_host"])
        seen = max(found, key=lambda one: one.peer.is_open)
        return reply(200, self._view(seen) | self._details(seen))

    def _visible(self, actor: Actor) -> Iterator[Observed]:
        """Those of the actor's operator: one of all operators tells of the others."""
        for seen in self._server.diameter.agent.all_observed():
            if actor.operator in (None, seen.settings.operator):
                yield seen

    def _view(self, seen: Observed) -> dict[str, Any]:
        peer, settings = seen.peer, seen.settings
        connection, capabilities = peer.connection, peer.capabilities
        traffic = seen.traffic
        link = None if connection is None else connection.link
        return {
            "origin_host": peer.remote.origin_host,
            "origin_realm": peer.remote.origin_realm,
            "identity": seen.node.local.origin_host,
            "operator": settings.operator,
            "family": settings.family,
            "learned": seen.is_learned,
            "state": state_of(peer),
            "since": views.moment(seen.changed_at or self._server.started_at),
            "direction": DIRECTIONS.get(peer.state),
            "address": None if connection is None else connection.remote_address,
            "transport": None if link is None else link.kind,
            "security": security_of(seen),
            "applications": [] if capabilities is None else self._applications(capabilities.applications),
            "relay": capabilities is not None and capabilities.relay,
            "watchdog": peer.watchdog.state.name.lower() if peer.is_open else None,
            "origin_state_id": peer.origin_state_id,
            "product": None if capabilities is None else capabilities.product_name or None,
            "requests_received": sum(counters.requests for counters in traffic.received.values()),
            "requests_sent": sum(counters.requests for counters in traffic.sent.values()),
            "in_work": 0 if connection is None else len(connection.waiting),
            "in_flight": peer.in_flight,
            "opened": seen.opened,
            "closed_at": views.moment(seen.closed_at),
            "last_reason": seen.reason or None,
            "last_detail": seen.detail or None,
        }

    def _details(self, seen: Observed) -> dict[str, Any]:
        peer, traffic = seen.peer, seen.traffic
        results = traffic.results + peer.refusals
        return {
            "commands": list(command_views(self._server.diameter.dictionary, traffic)),
            "results": {str(result): count for result, count in sorted(results.items())},
            "stopped": dict(traffic.stopped),
            "drops": {str(reason): count for reason, count in peer.drops.items()},
        }

    def _applications(self, numbers: Iterable[int]) -> list[str]:
        names = {one.number: name for name, one in self._server.diameter.dictionary.applications.items()}
        return [names.get(number, str(number)) for number in sorted(numbers)]


def state_of(peer: Peer) -> str:
    """open, suspect, reopening, connecting, closing or closed."""
    if peer.state in OPEN:
        return DOUBTS.get(peer.watchdog.state, "open")
    if peer.state is State.CLOSING:
        return "closing"
    return "closed" if peer.state is State.CLOSED else "connecting"


def security_of(seen: Observed) -> str | None:
    """What the open connection has: none, tls or inband."""
    connection = seen.peer.connection
    if connection is None:
        return None
    if not connection.secure:
        return "none"
    capabilities = seen.peer.capabilities
    return "inband" if capabilities is not None and capabilities.tls else "tls"


def command_name(dictionary: Dictionary, command: Command) -> tuple[str, str]:
    """Application and short name of a request, by number where they have none."""
    if command == OTHERS:
        return "other", "other"
    number, code = command
    for one in dictionary.commands:
        if one.request and (one.application.number, one.code) == command:
            return one.application.name, one.short
    name = next((name for name, one in dictionary.applications.items() if one.number == number), str(number))
    return name, str(code)


def command_views(dictionary: Dictionary, traffic: Traffic) -> Iterator[dict[str, Any]]:
    """What was asked and answered, by direction and command."""
    for direction, table in (("received", traffic.received), ("sent", traffic.sent)):
        for command, counters in sorted(table.items()):
            application, name = command_name(dictionary, command)
            yield {
                "direction": direction,
                "application": application,
                "command": name,
                "requests": counters.requests,
                "answers": {name: count for name, count in zip(CLASSES, counters.classes, strict=True) if count},
                "p50_ms": quantile_ms(counters, 0.5),
                "p99_ms": quantile_ms(counters, 0.99),
            }


def quantile_ms(counters: CommandCounters, share: float) -> float | None:
    """Upper bound of the bucket in which so many of the answers were; None where there is none."""
    total = sum(counters.latency)
    if not total:
        return None
    seen = 0
    for index, count in enumerate(counters.latency):
        seen += count
        if seen >= share * total:
            return (1 << index) / 1000
    raise AssertionError("the buckets hold them all")
