"""The configuration as the peer machines take it: identities, peers, routes. Knows no socket."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from aaa.config import Config, Peer
from aaa.diameter.routing import Route, Routes
from aaa.diameter.settings import Local, Remote
from aaa.dictionary.diameter import Application, Dictionary

NAMES = {"gx": "Gx", "gy": "Gy", "s6a": "S6a", "sy": "Sy"}
"""Applications as the configuration and as the dictionary has them."""
ANY_HOST = "*"


def locals_of(config: Config, dictionary: Dictionary, origin_state_id: int) -> list[Local]:
    """Our identities, that of [diameter] first; none where there is none."""
    settings = config.diameter
    if not settings.origin_host:
        return []
    served = [(settings.origin_host, settings.origin_realm, settings.applications, settings.listen)]
    served += [
        (one.origin_host, one.origin_realm or settings.origin_realm, one.applications, one.listen or settings.listen)
        for one in settings.identity
    ]
    result = []
    for origin_host, origin_realm, names, listen in served:
        applications = applications_of(names, dictionary)
        addresses = tuple(str(ip_address(text)) for text in listen)
        result.append(
            Local(
                origin_host=origin_host,
                origin_realm=origin_realm,
                origin_state_id=origin_state_id,
                applications=applications,
                grammars=dictionary.grammars(applications),
                # Behind a wildcard the address that the peer has reached is the one to tell.
                addresses=() if any(ip_address(text).is_unspecified for text in addresses) else addresses,
                relay=settings.relay,
                inband_tls=settings.inband_tls,
            )
        )
    return result


def applications_of(names: tuple[str, ...], dictionary: Dictionary) -> tuple[Application, ...]:
    return tuple(dictionary.applications[NAMES[name]] for name in dict.fromkeys(names))


def remote_of(peer: Peer, dictionary: Dictionary) -> Remote:
    """A [[peer]] entry; of one whose host is "*" it is the template."""
    applications = frozenset(one.number for one in applications_of(peer.applications, dictionary))
    return Remote(
        origin_host=peer.origin_host,
        origin_realm=peer.origin_realm,
        addresses=tuple(ip_network(text) for text in peer.address),
        applications=applications or None,
        connect=bool(peer.connect),
        security=peer.security,
        watchdog_s=peer.watchdog,
        reconnect_s=peer.reconnect,
        answer_timeout_s=peer.answer_timeout,
        requests_max=peer.requests_max,
    )


def routes_of(config: Config, local: Local, dictionary: Dictionary) -> Routes:
    """The routing table of an identity. Raises ValueError as Routes does."""
    numbers = {name: dictionary.applications[full].number for name, full in NAMES.items()}
    routes = [
        Route(
            peers=route.peers,
            realm=route.realm,
            imsis=(route.imsi_first, route.imsi_last) if route.imsi_first else None,
            application=None if route.application is None else numbers[route.application],
        )
        for route in config.route
        if route.identity.lower() == local.origin_host.lower()
    ]
    peers = [
        peer.origin_host
        for peer in config.peer
        if peer.identity.lower() == local.origin_host.lower() and peer.origin_host != ANY_HOST
    ]
    return Routes(local.origin_host, [local.origin_realm], peers, routes)
