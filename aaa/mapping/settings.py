"""What the configuration says of the near and far end of a request, as applications ask for it. Compiled."""

from __future__ import annotations

from collections.abc import Iterable

from aaa.config.mobile import ANY_HOST
from aaa.config.schema import Diameter
from aaa.config.schema import Peer as PeerSettings
from aaa.diameter.answers import local_identity
from aaa.diameter.peer import Peer
from aaa.limits import DIAMETER_CLIENTS_CACHED_MAX
from aaa.mapping.peer_families import FAMILIES, PeerFamily


class Side:
    """What all requests of one peer have in common."""

    def __init__(self, identity: bytes, host: str, entry: PeerSettings | None) -> None:
        self.identity = identity
        """Origin-Host and Origin-Realm of ours that they come to."""
        self.host = host
        """The peer's Origin-Host in lower case."""
        self.operator = None if entry is None else entry.operator
        """Whose SIMs it may ask about; None: everybody's."""
        self.imsis = () if entry is None else entry.imsis
        """First digits of the IMSIs that it may ask about; empty: all."""

    def via(self, host: str) -> str:
        """Over whom a client is reached; "": it is the peer itself. host: the client's, in lower case."""
        return "" if host == self.host else self.host


class Settings:
    """One configuration."""

    def __init__(self, diameter: Diameter, peers: Iterable[PeerSettings] = ()) -> None:
        """[diameter] and every [[peer]]."""
        self.diameter = diameter
        self.peers = {peer.origin_host.lower(): peer for peer in peers if peer.origin_host != ANY_HOST}
        self.realms = {peer.origin_realm.lower(): peer for peer in peers if peer.origin_host == ANY_HOST}
        self.sides: dict[Peer, Side] = {}

    def side(self, peer: Peer) -> Side:
        """Of a peer that requests come from."""
        side = self.sides.get(peer)
        if side is None:
            if len(self.sides) >= DIAMETER_CLIENTS_CACHED_MAX:
                self.sides.clear()
            host = peer.remote.origin_host.lower()
            entry = self.entry(host, peer.remote.origin_realm.lower(), "")
            side = self.sides[peer] = Side(b"".join(local_identity(peer.local)), host, entry)
        return side

    def entry(self, origin_host: str, realm: str, via: str) -> PeerSettings | None:
        """The [[peer]] entry of a host, of any host of its realm, or of the peer that it is behind; in lower case."""
        return self.peers.get(origin_host) or self.realms.get(realm) or self.peers.get(via)

    def family(self, origin_host: str, realm: str, via: str) -> PeerFamily:
        """What a client understands; as entry()."""
        found = self.entry(origin_host, realm, via)
        return FAMILIES["generic" if found is None else found.family]
