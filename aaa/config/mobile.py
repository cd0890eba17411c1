"""What can be wrong with [diameter], [[peer]] and [[route]]; gives back sections with names and realms resolved."""

from __future__ import annotations

from msgspec.structs import replace

from aaa.config.check import Entries, Sources
from aaa.config.report import Report
from aaa.config.schema import Diameter, Peer, Route


def check_diameter(diameter: Diameter, peers: Entries, routes: Entries, sources: Sources) -> Diameter:
    return replace(diameter, origin_realm=diameter.origin_realm or realm_of(diameter.origin_host))


def check_peers(entries: Entries, diameter: Diameter, sources: Sources) -> list[Peer]:
    return [
        replace(
            peer,
            origin_realm=peer.origin_realm or realm_of(peer.origin_host),
            identity=peer.identity or diameter.origin_host,
        )
        for _, peer in entries
    ]


def check_routes(entries: Entries, diameter: Diameter, report: Report) -> list[Route]:
    return [
        replace(route, identity=route.identity or diameter.origin_host, imsi_last=route.imsi_last or route.imsi_first)
        for _, route in entries
    ]


def realm_of(origin_host: str) -> str:
    """What stands behind the first dot."""
    return origin_host.partition(".")[2]
