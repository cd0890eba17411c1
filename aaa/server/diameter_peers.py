"""The configuration as the peer machines take it: identities, peers, routes. Knows no socket."""

from __future__ import annotations

from functools import cache
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from aaa.config import Config, Peer
from aaa.config.check import entry_path
from aaa.config.mobile import ANY_HOST
from aaa.diameter.routing import Route, Routes
from aaa.diameter.settings import Local, Remote
from aaa.dictionary.diameter import Application, Dictionary, load
from aaa.dictionary.suggest import closest
from aaa.errors import Problem
from aaa.server.diameter_tls import Contexts, read_contexts

NAMES = {"gx": "Gx", "gy": "Gy", "s6a": "S6a", "sy": "Sy"}
"""Applications as the configuration and as the dictionary has them."""


class Setup(NamedTuple):
    """What the files beside the configuration say."""

    dictionary: Dictionary
    tls: Contexts


@cache
def dictionary() -> Dictionary:
    """The shipped one; grammars of every node come from it."""
    return load()


def set_up(config: Config) -> tuple[Setup, list[Problem]]:
    """Read what a Diameter node needs, and find what only the dictionary and the files tell to be wrong."""
    problems: list[Problem] = []
    report = config.report
    words = dictionary()
    commands = {one.short for one in words.commands if one.request}
    for number, peer in enumerate(config.peer):
        for key, known, values in (
            ("denied_avps", [avp.name for avp in words], peer.denied_avps),
            ("commands", sorted(commands), peer.commands),
        ):
            for index, name in enumerate(values):
                if (words.find(name) is None) if key == "denied_avps" else (name not in commands):
                    kind = "AVP" if key == "denied_avps" else "request"
                    near = f"; did you mean {found}?" if (found := closest(name, known)) else ""
                    where = entry_path(("peer", number), key, index, report)
                    problems.append(report.problem(where, f'"{name}" is no {kind} of the dictionary{near}'))
    for local in locals_of(config, words, 0):
        try:
            routes_of(config, local, words)
        except ValueError as error:
            problems.append(report.problem(("route",), str(error)))
    try:
        contexts = read_contexts(config)
    except (OSError, ValueError) as error:
        problems.append(report.problem(("tls",), f"the certificates of peers cannot be used: {error}"))
        contexts = Contexts(None, {}, {}, {})
    return Setup(words, contexts), problems


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


def remote_of(peer: Peer, config: Config, setup: Setup) -> Remote:
    """A [[peer]] entry; of one whose host is "*" it is the template."""
    applications = frozenset(one.number for one in applications_of(peer.applications, setup.dictionary))
    return Remote(
        origin_host=peer.origin_host,
        origin_realm=peer.origin_realm,
        addresses=tuple(ip_network(text) for text in peer.address),
        applications=applications or None,
        connect=bool(peer.connect),
        security=peer.security,
        authorities=setup.tls.authorities.get(peer.ca or config.tls.client_ca or ""),
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
