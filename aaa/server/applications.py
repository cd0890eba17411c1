"""The Diameter applications that are served, and what [diameter] and [[peer]] say to them."""

from __future__ import annotations

from aaa.config import Config
from aaa.config.schema import Diameter, Peer
from aaa.diameter.answers import local_identity
from aaa.diameter.request import Request
from aaa.engine.decisions import Decisions
from aaa.mapping.application import Application
from aaa.mapping.gx import Gx
from aaa.mapping.gy import Gy
from aaa.mapping.peer_families import FAMILIES, PeerFamily
from aaa.mapping.s6a import S6a
from aaa.mapping.sy import Sy
from aaa.model.mobile import GX, GY, S6A, SY
from aaa.model.records import NasRecord
from aaa.server.diameter_peers import ANY_HOST
from aaa.state.store import Store


class Settings:
    """One configuration, as applications ask for it."""

    def __init__(self, config: Config) -> None:
        self.diameter: Diameter = config.diameter
        self._peers = {peer.origin_host.lower(): peer for peer in config.peer if peer.origin_host != ANY_HOST}
        self._realms = {peer.origin_realm.lower(): peer for peer in config.peer if peer.origin_host == ANY_HOST}

    def entry(self, origin_host: str, realm: str) -> Peer | None:
        """The [[peer]] entry of a host, or of any host of its realm; in lower case."""
        return self._peers.get(origin_host) or self._realms.get(realm)

    def identity(self, request: Request) -> tuple[bytes, ...]:
        """Origin-Host and Origin-Realm of ours that it came to."""
        return local_identity(request.peer.local)

    def operator(self, request: Request) -> str | None:
        """Whose SIMs its peer may ask about; None: everybody's."""
        remote = request.peer.remote
        found = self.entry(remote.origin_host.lower(), remote.origin_realm.lower())
        return None if found is None else found.operator

    def imsis(self, request: Request) -> tuple[str, ...]:
        """First digits of the IMSIs that its peer may ask about; empty: all."""
        remote = request.peer.remote
        found = self.entry(remote.origin_host.lower(), remote.origin_realm.lower())
        return () if found is None else found.imsis

    def family(self, nas: NasRecord) -> PeerFamily:
        """What a client understands."""
        return self.family_of(nas.name, nas.realm)

    def family_of(self, origin_host: str, realm: str) -> PeerFamily:
        """What a client understands; in lower case."""
        found = self.entry(origin_host, realm)
        return FAMILIES["generic" if found is None else found.family]


class Applications:
    """One of each, over one store."""

    def __init__(self, store: Store, decisions: Decisions, config: Config) -> None:
        settings = Settings(config)
        self.gx = Gx(store, decisions, config.diameter, config.peer)
        self.gy = Gy(store, decisions, settings)
        self.s6a = S6a(store, decisions, settings)
        self.sy = Sy(store, decisions, settings)
        self.by_protocol: dict[int, Application] = {GX: self.gx, GY: self.gy, S6A: self.s6a, SY: self.sy}
        self.by_number = {application.number: application for application in self.by_protocol.values()}

    def use(self, config: Config) -> None:
        """Take another configuration."""
        settings = Settings(config)
        self.gx.use(config.diameter, config.peer)
        self.gy.use(settings)
        self.s6a.use(settings)
        self.sy.use(settings)
