"""The Diameter applications that are served."""

from __future__ import annotations

from aaa.config import Config
from aaa.engine.decisions import Decisions
from aaa.mapping.application import Application
from aaa.mapping.gx import Gx
from aaa.mapping.gy import Gy
from aaa.mapping.s6a import S6a
from aaa.mapping.settings import Settings
from aaa.mapping.sy import Sy
from aaa.model.mobile import GX, GY, S6A, SY
from aaa.state.store import Store


class Applications:
    """One of each, over one store."""

    def __init__(self, store: Store, decisions: Decisions, config: Config) -> None:
        settings = Settings(config.diameter, config.peer)
        self.gx = Gx(store, decisions, settings)
        self.gy = Gy(store, decisions, settings)
        self.s6a = S6a(store, decisions, settings)
        self.sy = Sy(store, decisions, settings)
        self.by_protocol: dict[int, Application] = {GX: self.gx, GY: self.gy, S6A: self.s6a, SY: self.sy}
        self.by_number = {application.number: application for application in self.by_protocol.values()}

    def use(self, config: Config) -> None:
        """Take another configuration."""
        settings = Settings(config.diameter, config.peer)
        self.gx.use(settings)
        self.gy.use(settings)
        self.s6a.use(settings)
        self.sy.use(settings)
