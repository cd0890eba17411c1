"""What can be wrong with [diameter], [[peer]] and [[route]]; gives back sections with names and realms resolved.

What only the Diameter dictionary tells (names of AVPs and commands) is checked in aaa.server.diameter_peers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from aaa.config.check import Entries, Sources, check_addresses, endure, entry_path
from aaa.config.locate import Path as Key
from aaa.config.outward import check_authorities, readable
from aaa.config.read import read_struct, suggest
from aaa.config.report import Report
from aaa.config.schema import Diameter, Identity, Peer, Route, Tls
from aaa.config.values import parse_network

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*")
_PLMN = re.compile(r"[0-9]{5,6}", re.ASCII)
_IMSI = re.compile(r"[0-9]{1,15}", re.ASCII)
ANY_HOST = "*"


def read_diameter(data: object, report: Report) -> Diameter:
    """[diameter] and its [[diameter.identity]] tables."""
    if not isinstance(data, dict):
        return read_struct(Diameter, data, ("diameter",), report) or Diameter()
    tables = data.get("identity", [])
    diameter = read_struct(
        Diameter, {key: value for key, value in data.items() if key != "identity"}, ("diameter",), report
    )
    if not isinstance(tables, list):
        report.error(("diameter", "identity"), "is not a list of tables; write [[diameter.identity]] for every entry")
        tables = []
    found = (read_struct(Identity, one, ("diameter", "identity", at), report) for at, one in enumerate(tables))
    return replace(diameter or Diameter(), identity=tuple(one for one in found if one is not None))


def check_diameter(diameter: Diameter, peers: Entries, tls: Tls, sources: Sources) -> Diameter:
    report = sources.report
    path = ("diameter",)
    if not diameter.origin_host:
        if diameter.listen or diameter.identity or peers:
            message = 'missing; peers know this server by it: give its full name, such as "aaa.isp.example"'
            report.error((*path, "origin_host"), message)
    else:
        _check_host(diameter.origin_host, (*path, "origin_host"), report)
    realm = _check_realm(diameter.origin_host, diameter.origin_realm, (*path, "origin_realm"), report)
    _check_way(diameter, path, report)
    _check_digits(diameter.roaming_plmns, (*path, "roaming_plmns"), report, _PLMN)
    if diameter.quota_slice_min > diameter.quota_slice:
        report.error((*path, "quota_slice_min"), "is above quota_slice")
    for action, key in (("redirect", "redirect_url"), ("restrict", "restrict_filter")):
        given = getattr(diameter, key)
        if diameter.final_unit_action == action and not given:
            report.error((*path, key), f'missing; final_unit_action = "{action}" leads there')
        elif given and diameter.final_unit_action != action:
            report.warning((*path, key), f'has no effect without final_unit_action = "{action}"')
    if diameter.redirect_url and not re.match(r"https?://[^/\s]+", diameter.redirect_url):
        report.error((*path, "redirect_url"), 'is no URL; give one such as "https://portal.isp.example/top-up"')
    identities = []
    known = {diameter.origin_host.lower()}
    used = {(text, diameter.port) for text in diameter.listen}
    for at, identity in enumerate(diameter.identity):
        where = (*path, "identity", at)
        _check_host(identity.origin_host, (*where, "origin_host"), report)
        if identity.origin_host.lower() in known:
            report.error((*where, "origin_host"), f'"{identity.origin_host}" is an identity already; each has its own')
        known.add(identity.origin_host.lower())
        _check_way(identity, where, report)
        if not identity.port and not identity.tls_port:
            report.warning((*where, "port"), "is absent, and tls_port as well: it only dials its peers")
        ports = {(text, port) for text in identity.listen or diameter.listen for port in (identity.port,) if port}
        if ports & used:
            report.error((*where, "port"), "is another identity's on the same address; give it its own")
        used |= ports
        identities.append(
            replace(identity, origin_realm=identity.origin_realm or realm, listen=identity.listen or diameter.listen)
        )
    secured = bool(diameter.tls_port or diameter.inband_tls or any(one.tls_port for one in identities))
    if secured:
        key = "inband_tls" if diameter.inband_tls else "tls_port"
        if tls.cert is None:
            report.error((*path, key), "needs [tls] with cert and key")
        if tls.client_ca is None and not any(peer.ca for _, peer in peers):
            report.error((*path, key), "needs tls.client_ca, or peers with ca: a peer's certificate is verified")
    return replace(diameter, origin_realm=realm, identity=tuple(identities))


def check_peers(entries: Entries, diameter: Diameter, tls: Tls, sources: Sources) -> list[Peer]:
    report = sources.report
    ways: dict[str, Diameter | Identity] = {one.origin_host.lower(): one for one in diameter.identity}
    ways[diameter.origin_host.lower()] = diameter
    seen: dict[tuple[str, str, str], int] = {}
    result = []
    for index, peer in entries:
        path = ("peer", index)
        peer = replace(peer, identity=peer.identity or diameter.origin_host)
        template = peer.origin_host == ANY_HOST
        if template:
            if not peer.origin_realm:
                report.error((*path, "origin_realm"), 'missing; origin_host = "*" stands for the hosts of one realm')
            if peer.connect:
                report.error((*path, "connect"), 'is not for origin_host = "*", which stands for many')
            if not peer.address and peer.security == "none":
                report.warning((*path, "address"), "is absent: whoever names the realm is let in")
        else:
            _check_host(peer.origin_host, (*path, "origin_host"), report)
            realm = _check_realm(peer.origin_host, peer.origin_realm, (*path, "origin_realm"), report)
            peer = replace(peer, origin_realm=realm)
        key = (peer.identity.lower(), peer.origin_host.lower(), peer.origin_realm.lower() if template else "")
        if key in seen:
            line = report.line(("peer", seen[key]))
            report.error((*path, "origin_host"), f'"{peer.origin_host}" is the [[peer]] of line {line} as well')
        seen.setdefault(key, index)
        for number, text in enumerate(peer.address):
            endure(parse_network, text, entry_path(path, "address", number, report), report)
        way = ways.get(peer.identity.lower())
        if way is None:
            names = [one.origin_host for one in ways.values()]
            message = f'"{peer.identity}" is no identity of this server{suggest(peer.identity, names)}'
            report.error((*path, "identity"), message)
        else:
            _check_meeting(peer, way, diameter, path, report)
        result.append(_check_security(peer, tls, path, sources))
        _check_digits(peer.plmns, (*path, "plmns"), report, _PLMN)
        _check_digits(peer.imsis, (*path, "imsis"), report, _IMSI)
        for index, name in enumerate(peer.speaks_for):
            if _HOST.fullmatch(name.removeprefix("*.")) is None:
                where = entry_path(path, "speaks_for", index, report)
                report.error(where, f'"{name}" is no host; give one such as "mme.example" or "*.mnc001.example"')
    return result


def _check_meeting(peer: Peer, way: Diameter | Identity, diameter: Diameter, path: Key, report: Report) -> None:
    """How a peer and the identity that it talks to come together, and for what."""
    if peer.origin_host.lower() == way.origin_host.lower():
        report.error((*path, "origin_host"), f'"{peer.origin_host}" is this server; a peer has another name')
    for number, name in enumerate(peer.applications):
        if name not in way.applications:
            message = f'"{name}" is not served by {way.origin_host}; it serves {", ".join(way.applications)}'
            report.error(entry_path(path, "applications", number, report), message)
    if peer.connect:
        if not _is_endpoint(peer.connect):
            message = f'"{peer.connect}" is not a host and port; give one such as "mme.example:3868" or "[::1]:3868"'
            report.error((*path, "connect"), message)
    elif not way.listen or not (way.port or way.tls_port or way is diameter):
        report.error((*path, "connect"), f"is absent, and {way.origin_host} listens nowhere: they never meet")
    elif peer.security == "tls" and not way.tls_port:
        report.error((*path, "security"), f'"tls" needs tls_port, where {way.origin_host} takes it, or connect')
    if peer.security == "inband" and not diameter.inband_tls:
        report.error((*path, "security"), '"inband" needs inband_tls = true in [diameter]')
    if peer.transport == "sctp":
        if not peer.connect:
            report.warning((*path, "transport"), "has no effect without connect: how it comes is its own choice")
        if peer.security != "none":
            report.error((*path, "security"), f'"{peer.security}" is not for SCTP; use TCP')


def _check_security(peer: Peer, tls: Tls, path: Key, sources: Sources) -> Peer:
    """A peer's certificates."""
    report = sources.report
    ca = readable(peer.ca, (*path, "ca"), sources)
    if ca is not None:
        check_authorities(ca, (*path, "ca"), sources)
    if peer.security != "none":
        if tls.cert is None:
            report.error((*path, "security"), f'"{peer.security}" needs [tls] with cert and key')
        if peer.ca is None and tls.client_ca is None:
            report.error((*path, "ca"), "missing; its certificate is verified with it, or with tls.client_ca")
    return replace(peer, ca=ca)


def check_routes(entries: Entries, peers: Sequence[Peer], diameter: Diameter, report: Report) -> list[Route]:
    identities = [diameter.origin_host, *(one.origin_host for one in diameter.identity)]
    result = []
    for index, route in entries:
        path = ("route", index)
        route = replace(route, identity=route.identity or diameter.origin_host)
        if route.identity.lower() not in {name.lower() for name in identities}:
            message = f'"{route.identity}" is no identity of this server{suggest(route.identity, identities)}'
            report.error((*path, "identity"), message)
        known = [peer.origin_host for peer in peers if peer.identity.lower() == route.identity.lower()]
        for number, name in enumerate(route.peers):
            if name.lower() not in {one.lower() for one in known if one != ANY_HOST}:
                message = f'no [[peer]] of {route.identity} is called "{name}"{suggest(name, known)}'
                report.error(entry_path(path, "peers", number, report), message)
        if route.imsi_last and not route.imsi_first:
            report.error((*path, "imsi_first"), "missing; imsi_last ends a range that it begins")
        if route.realm and route.imsi_first:
            report.error((*path, "realm"), "is given with IMSIs; a route is of the one or the other")
        for key in ("imsi_first", "imsi_last"):
            text = getattr(route, key)
            if text and not _IMSI.fullmatch(text):
                report.error((*path, key), f'"{text}" is no IMSI, nor the beginning of one; give up to 15 digits')
        result.append(replace(route, imsi_last=route.imsi_last or route.imsi_first))
    return result


def _check_way(way: Diameter | Identity, path: Key, report: Report) -> None:
    """Where an identity listens, and what for."""
    check_addresses(way.listen, (*path, "listen"), report)
    if way.port == way.tls_port != 0:
        report.error((*path, "tls_port"), "is port; TLS from the first octet needs a port of its own")
    if not way.applications:
        report.error((*path, "applications"), 'is empty; give some of "gx", "gy", "s6a", "sy"')


def _check_host(text: str, path: Key, report: Report) -> None:
    if not _HOST.fullmatch(text):
        report.error(path, f'"{text}" is no host name; give a full one such as "mme.epc.example"')


def _check_realm(host: str, realm: str, path: Key, report: Report) -> str:
    """The realm as given, or what stands behind the first dot of the host."""
    found = realm or host.partition(".")[2]
    if host and not found:
        report.error(path, f'missing; "{host}" has no dot behind which it would be')
    elif realm and not _HOST.fullmatch(realm):
        report.error(path, f'"{realm}" is no realm; give one such as "epc.example"')
    return found


def _check_digits(texts: Sequence[str], path: Key, report: Report, pattern: re.Pattern[str]) -> None:
    for number, text in enumerate(texts):
        if not pattern.fullmatch(text):
            wanted = "MCC and MNC, 5 or 6 digits" if pattern is _PLMN else "the first digits of IMSIs"
            report.error(entry_path(path[:-1], str(path[-1]), number, report), f'"{text}" is not {wanted}')


def _is_endpoint(text: str) -> bool:
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdigit()) or not 0 < int(port) <= 65_535:
        return False
    return bool(host) and (bracketed or ":" not in host)
