"""Snapshots and progress as the engine takes them, on a real engine whose journal is durable when told."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec
import pytest

from aaa.dictionary import load
from aaa.limits import SNAPSHOT_SILENCE_S
from aaa.model.events import SERVER
from aaa.model.operations import Actor, Operation
from aaa.server import admin_snapshot
from aaa.server.admin_feed import FeedMethods
from aaa.server.admin_snapshot import Snapshots
from aaa.server.admin_sync import Sync
from tests.engine.far_end import Field

CRM = Actor("crm", "billing")
PLAN = {"rate": {"down_bps": 1_000_000, "up_bps": 1_000_000}}
DICTIONARY = load()
T = TypeVar("T")


class World:
    """Services s0, s1, ... on a plan, and the methods under test."""

    def __init__(self, count: int) -> None:
        self.field = Field()
        for number in range(count):
            self.field.service(f"s{number}", plan=PLAN if number == 0 else None)
        self.field.settle()
        self.server: Any = SimpleNamespace(
            store=self.field.store,
            engine=self.field.engine,
            enforcer=self.field.enforcer,
            addresses=self.field.addresses,
            prepared=SimpleNamespace(dictionary=DICTIONARY),
        )
        self.sync = self.server.sync = Sync(self.server)
        self.snapshots = Snapshots(self.server)

    def push(self, name: str) -> None:
        """Billing pushes a service anew."""
        self.field.revision += 1
        value = {"revision": self.field.revision, "subscriber_id": name, "plan_id": "home"}
        body = self.sync.apply(CRM, [Operation("put", "service", name, value)])
        assert msgspec.json.decode(body)["results"][0]["status"] == "applied"

    async def ends(self, work: Coroutine[Any, Any, T], meanwhile: Any = None) -> T:
        """Let the disk follow until it is done. meanwhile: done once, when the first group waits for the disk."""
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.sleep(0)
            if self.field.disk.acks and meanwhile is not None:
                meanwhile()
                meanwhile = None
            self.field.disk.settle()
        return task.result()

    def states(self) -> list[str]:
        return [service.body.state for service in self.field.store.services.values()]


def test_what_is_pushed_while_a_snapshot_ends_what_is_absent_is_not_ended() -> None:
    async def story() -> None:
        world = World(40)
        world.snapshots.begin(CRM, {"kinds": ["service"], "dry_run": False})
        end = world.snapshots.end(CRM, {"snapshot": 1, "share": 1.0})
        await world.ends(end, lambda: world.push("s39"))
        assert world.states() == ["terminated"] * 39 + ["active"]

    asyncio.run(story())


def test_nobody_is_ended_any_more_by_a_snapshot_that_was_closed() -> None:
    async def story() -> None:
        world = World(40)
        world.snapshots.begin(CRM, {"kinds": ["service"], "dry_run": False})
        end = world.snapshots.end(CRM, {"snapshot": 1, "share": 1.0})
        await world.ends(end, lambda: world.snapshots.close(CRM, {"snapshot": 1}))
        assert world.states().count("active") > 0

    asyncio.run(story())


def test_a_snapshot_whose_end_failed_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        world = World(1)
        world.snapshots.begin(CRM, {"kinds": ["service"], "dry_run": False})
        with pytest.raises(KeyError):
            await world.snapshots.end(CRM, {"snapshot": 1})
        monkeypatch.setattr(admin_snapshot, "SNAPSHOT_SILENCE_S", -SNAPSHOT_SILENCE_S)
        assert world.snapshots.begin(CRM, {"kinds": ["service"], "dry_run": False}).status == 200

    asyncio.run(story())


def test_what_a_webhook_saves_is_nobody_else_s_cause() -> None:
    async def story() -> None:
        world = World(1)
        feed = FeedMethods(world.server)
        args = {"name": "crm", "after": 1, "waiting": [], "revived": [], "dead": [], "gap": None}

        async def save() -> None:
            await feed.webhook_save(CRM, args)

        await world.ends(save())
        assert world.field.store.cause is SERVER

    asyncio.run(story())
