"""The feed as this process follows it: memory, store, retention, and many readers."""

import asyncio
import socket
import sqlite3
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from aaa.model.events import Event
from aaa.model.operations import Answer
from aaa.server.admin_feed import durable_events
from aaa.state import schema
from aaa.state.seal import Sealer
from aaa.state.store import Store
from billing_hooks import feed as endpoints
from billing_hooks import tail
from billing_hooks.app import Door
from billing_hooks.rpc import RpcClient, RpcServer
from billing_hooks.tail import Gone, Wanted
from billing_hooks.tokens import ApiSettings
from tests.billing_hooks.conftest import make_token, token_of
from tests.billing_hooks.far_end import FarEngine

ALL = Wanted()


class World:
    """Engine, store, and the application that reads both."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "aaa.db")
        db = schema.connect(self.path)
        schema.migrate(db)
        db.close()
        self.engine = FarEngine()
        self.db = self.engine.store = sqlite3.connect(self.path, isolation_level=None)

    async def open(self, *, operator: str | None = None) -> None:
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        self.server = RpcServer(self.engine.handle)
        await loop.create_unix_connection(lambda: self.server, sock=far)
        _, self.client = await loop.create_unix_connection(lambda: RpcClient(), sock=near)
        self.door = Door(self.client, ApiSettings(tokens=(make_token("admin", operator),), store=self.path))
        self.feed = self.door.outlets.feed
        headers = {"Authorization": f"Bearer {token_of('admin')}"}
        transport = httpx.ASGITransport(app=self.door.make_app())  # type: ignore[arg-type]
        self.http = httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers)

    async def close(self) -> None:
        await self.http.aclose()
        await self.door.outlets.stop()
        self.client.close()
        self.server.close()

    async def get(self, query: str) -> httpx.Response:
        return await self.http.get(f"/v1/events?{query}")

    async def reaches(self, seq: int) -> None:
        """Until this process knows of an event."""
        await self.feed.ready()
        while self.feed.durable < seq:
            await self.feed.wait(None, 5)


Run = Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(work: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            world = World(tmp_path)
            await world.open()
            try:
                await asyncio.wait_for(work(world), 30)
            finally:
                await world.close()

        asyncio.run(main())

    return run


def numbers(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [event["seq"] for event in answer.json()["items"]]


def test_memory_and_store_tell_the_same(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "EVENTS_TAILED_MAX", 5)

    async def work(world: World) -> None:
        await world.feed.ready()
        for number in range(20):
            whose = {"operator": "a" if number % 2 else "b", "subscriber_id": f"s{number % 3}"}
            world.engine.tell("nas.up", f"n{number}", **whose)
        await world.reaches(20)
        for after in range(21):
            for wanted in (ALL, Wanted(operator="a"), Wanted(subscriber="s1"), Wanted(("nas.*",)), Wanted(("hold.*",))):
                seen: list[int] = []
                position = after
                while position < 20:
                    found, position = await world.feed.read(position, 3, wanted)
                    seen += [told.seq for told in found]
                assert seen == [
                    event.seq
                    for event in world.engine.events[after:]
                    if (wanted.operator in (None, event.operator))
                    and (wanted.subscriber in (None, event.subscriber_id))
                    and (wanted.types is None or event.type in wanted.types)
                ]

    run(work)


def test_what_is_told_from_memory_and_from_the_store_is_byte_for_byte_equal(run: Run) -> None:
    async def work(world: World) -> None:
        await world.feed.ready()
        data = {"percent": 80, "account": "sérvice", "left_octets": 2**53}
        world.engine.tell("quota.threshold", "u1", data=data, operator="a", subscriber_id="s", service_id="u1")
        world.engine.tell("webhook.call", "u1", data={"webhook": "crm", "automation": "x"})
        await world.reaches(2)
        fresh, _ = await world.feed.read(0, 10, ALL)
        stored = await world.feed.numbered([1, 2])
        assert fresh == stored

    run(work)


def test_whoever_is_behind_the_retention_is_told_the_oldest(run: Run) -> None:
    async def work(world: World) -> None:
        for _ in range(9):
            world.engine.tell("nas.up", "n")
        world.db.execute("DELETE FROM event WHERE seq <= 5")
        answer = await world.get("after=2")
        assert answer.status_code == 410
        problem = answer.json()
        assert (problem["error"], problem["oldest"], problem["field"]) == ("gone", 6, "after")
        assert (await world.http.get("/v1/events/stream?after=2")).status_code == 410
        # The last one before the oldest is no gap, and no number at all means all that is kept.
        assert numbers(await world.get("after=5")) == [6, 7, 8, 9]
        assert numbers(await world.get("")) == [6, 7, 8, 9]

    run(work)


def test_an_engine_whose_memory_does_not_reach_back_is_read_in_the_store(run: Run) -> None:
    async def work(world: World) -> None:
        await world.feed.ready()
        world.feed._take(tail.TailPage(0, True, []))
        for _ in range(4):
            world.engine.tell("nas.up", "n")
        world.feed._take(tail.TailPage(4, False, []))
        found, position = await world.feed.read(1, 10, ALL)
        assert ([told.seq for told in found], position) == ([2, 3, 4], 4)

    run(work)


def test_an_answer_that_cannot_be_read_does_not_end_the_feed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "AGAIN_S", 0.0)

    async def work(world: World) -> None:
        right = world.engine.answer_events_tail
        asked = []

        def odd(actor: Any, args: Any) -> Any:
            asked.append(args)
            return Answer(0, 200, b"\xc1") if len(asked) == 1 else right(actor, args)

        monkeypatch.setattr(world.engine, "answer_events_tail", odd)
        world.engine.tell("nas.up", "n1")
        await world.reaches(1)

    run(work)


def test_a_poll_waits_for_its_own_subscriber_s_events(run: Run) -> None:
    async def work(world: World) -> None:
        poll = asyncio.create_task(world.get("after=0&subscriber=s1&wait=20"))
        while not world.feed._waiters.get("s1"):
            await asyncio.sleep(0)
        waiting = next(iter(world.feed._waiters["s1"]))
        world.engine.tell("nas.up", "n", subscriber_id="s2")
        await world.reaches(1)
        assert not waiting.done()
        world.engine.tell("nas.up", "n", subscriber_id="s1")
        assert numbers(await poll) == [2]

    run(work)


def test_a_poll_without_an_event_says_how_far_it_looked(run: Run) -> None:
    async def work(world: World) -> None:
        for _ in range(3):
            world.engine.tell("nas.up", "n")
        answer = await world.get("after=0&type=hold.added&wait=0.01")
        assert answer.json() == {"items": [], "next": 3}

    run(work)


def test_a_look_through_many_events_goes_on_in_parts(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "EVENTS_SCAN_COUNT", 4)

    async def work(world: World) -> None:
        for number in range(30):
            world.engine.tell("hold.added" if number == 25 else "nas.up", "n")
        assert numbers(await world.get("after=0&type=hold.*")) == [26]

    run(work)


def test_the_newest_are_asked_for_by_their_count(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "EVENTS_SCAN_COUNT", 2)

    async def work(world: World) -> None:
        for number in range(6):
            world.engine.tell("nas.up" if number % 2 else "nas.down", "n")
        assert numbers(await world.get("last=2&type=nas.up")) == [4, 6]
        assert (await world.get("last=2&after=1")).status_code == 422

    run(work)


@pytest.mark.parametrize(
    "query",
    ["after=-1", "after=x", "wait=61", "limit=0", "limit=1001", "type=nas.uo", "type=", "colour=red", "wait=nan"],
)
def test_a_wrong_query_is_named(run: Run, query: str) -> None:
    async def work(world: World) -> None:
        answer = await world.get(query)
        assert answer.status_code == 422
        assert answer.json()["field"] == query.partition("=")[0]

    run(work)


@pytest.mark.parametrize("value", ["x", "-1", "1.5", "99999999999999999999"])
def test_a_wrong_last_event_id_is_named(run: Run, value: str) -> None:
    async def work(world: World) -> None:
        answer = await world.http.get("/v1/events/stream", headers={"Last-Event-ID": value})
        assert (answer.status_code, answer.json()["field"]) == (422, "Last-Event-ID")

    run(work)


def test_readers_are_bounded(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "EVENT_READERS_MAX", 1)

    async def work(world: World) -> None:
        poll = asyncio.create_task(world.get("after=0&wait=20"))
        while world.feed.readers == 0:
            await asyncio.sleep(0)
        assert (await world.get("after=0")).status_code == 503
        world.engine.tell("nas.up", "n")
        assert numbers(await poll) == [1]
        assert world.feed.readers == 0
        assert numbers(await world.get("after=0")) == [1]

    run(work)


def test_readers_come_to_an_end_with_the_process_and_with_new_settings(run: Run) -> None:
    async def work(world: World) -> None:
        for end in (lambda: world.door.use_settings(ApiSettings(store=world.path)), world.feed.close):
            await world.feed.ready()
            world.door._take(ApiSettings(tokens=(make_token("admin"),), store=world.path))
            poll = asyncio.create_task(world.get("after=0&wait=50"))
            while world.feed.readers == 0:
                await asyncio.sleep(0)
            end()
            assert numbers(await poll) == []

    run(work)


# The engine's side


def make_store(count: int, durable: int, first: int = 1) -> Store:
    store = Store(Sealer(bytes(32)))
    for seq in range(first, first + count):
        store.events.append(Event(seq, 0.0, "nas.up", "n", {}))
    store.durable_event = durable
    return store


@pytest.mark.parametrize(
    ("store", "after", "limit", "seqs", "complete"),
    [
        (make_store(5, 3), 0, 10, [1, 2, 3], True),
        (make_store(5, 3), 2, 10, [3], True),
        (make_store(5, 5), 1, 2, [2, 3], True),
        (make_store(5, 5), 5, 10, [], True),
        (make_store(5, 8, first=4), 2, 10, [], False),
        (make_store(5, 8, first=4), 3, 10, [4, 5, 6, 7, 8], True),
        (make_store(0, 0), 0, 10, [], True),
        (make_store(0, 8), 2, 10, [], False),
    ],
)
def test_only_durable_events_leave_the_engine_and_a_gap_is_said(
    store: Store, after: int, limit: int, seqs: list[int], complete: bool
) -> None:
    found, whole = durable_events(store, after, limit)
    assert ([event.seq for event in found], whole) == (seqs, complete)


def test_gone_names_the_oldest() -> None:
    assert Gone(7).oldest == 7
