"""What the configuration says of the near and far end of a request, as applications ask for it."""

from __future__ import annotations

from collections.abc import Iterable

from aaa.config.mobile import ANY_HOST
from aaa.config.schema import Diameter, Peer
from aaa.diameter.answers import local_identity
from aaa.diameter.request import Request
from aaa.mapping.peer_families import FAMILIES, PeerFamily


class Settings:
    """One configuration."""

    def __init__(self, diameter: Diameter, peers: Iterable[Peer] = ()) -> None:
        """[diameter] and every [[peer]]."""
        self.diameter = diameter
        self._peers = {peer.origin_host.lower(): peer for peer in peers if peer.origin_host != ANY_HOST}
        self._realms = {peer.origin_realm.lower(): peer for peer in peers if peer.origin_host == ANY_HOST}

    def entry(self, origin_host: str, realm: str, via: str = "") -> Peer | None:
        """The [[peer]] entry of a host, of any host of its realm, or of the peer that it is behind; in lower case."""
        return self._peers.get(origin_host) or self._realms.get(realm) or self._peers.get(via)

    def identity(self, request: Request) -> tuple[bytes, ...]:
        """Origin-Host and Origin-Realm of ours that it came to."""
        return local_identity(request.peer.local)

    def operator(self, request: Request) -> str | None:
        """Whose SIMs its peer may ask about; None: everybody's."""
        found = self._entry_of(request)
        return None if found is None else found.operator

    def imsis(self, request: Request) -> tuple[str, ...]:
        """First digits of the IMSIs that its peer may ask about; empty: all."""
        found = self._entry_of(request)
        return () if found is None else found.imsis

    def _entry_of(self, request: Request) -> Peer | None:
        remote = request.peer.remote
        return self.entry(remote.origin_host.lower(), remote.origin_realm.lower())

    def family(self, origin_host: str, realm: str, via: str = "") -> PeerFamily:
        """What a client understands; as entry()."""
        found = self.entry(origin_host, realm, via)
        return FAMILIES["generic" if found is None else found.family]
