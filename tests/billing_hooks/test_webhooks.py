"""Webhooks against a far end that takes, refuses, hangs and dies; the cursor is a row of a real database."""

import asyncio
import base64
import hashlib
import hmac
import json
import socket
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from aaa.limits import WEBHOOK_ANSWER_BYTES_MAX
from aaa.state import schema
from billing_hooks import webhooks
from billing_hooks.app import Door
from billing_hooks.history import History
from billing_hooks.rpc import RpcClient, RpcServer, RpcUnavailable
from billing_hooks.settings import WebhookSettings
from billing_hooks.tail import Feed
from billing_hooks.tokens import ApiSettings
from billing_hooks.webhooks import Courier, Webhooks, back_off
from tests.billing_hooks.conftest import make_token, token_of
from tests.billing_hooks.far_end import FarEngine

KEY = b"0123456789abcdef-key"


class Delivery:
    """One POST as it came."""

    def __init__(self, headers: dict[str, str], body: bytes) -> None:
        self.headers = headers
        self.body = body
        self.event = json.loads(body)
        self.seq: int = self.event["seq"]


class FarEnd:
    """A billing system's end of a webhook: an HTTP server that answers what the test says."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.answer: Callable[[Delivery], tuple[int, str] | Awaitable[tuple[int, str]]] = lambda delivery: (200, "")
        self.changed = asyncio.Event()
        self.under_way = 0
        self.under_way_max = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"

    def close(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:]
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                delivery = Delivery(headers, await reader.readexactly(int(headers["content-length"])))
                self.deliveries.append(delivery)
                self.under_way += 1
                self.under_way_max = max(self.under_way_max, self.under_way)
                self.changed.set()
                try:
                    answer = self.answer(delivery)
                    status, extra = answer if isinstance(answer, tuple) else await answer
                finally:
                    self.under_way -= 1
                writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: 2\r\n{extra}\r\nok".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def count(self, wanted: int) -> list[Delivery]:
        """The deliveries, once there are so many."""
        while len(self.deliveries) < wanted:
            self.changed.clear()
            await self.changed.wait()
        return self.deliveries

    def seqs(self) -> list[int]:
        return [delivery.seq for delivery in self.deliveries]


class World:
    """Engine, store, far end, and the webhooks between them."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "aaa.db")
        self.engine = FarEngine()
        db = schema.connect(self.path)
        schema.migrate(db)
        db.close()
        self.engine.store = sqlite3.connect(self.path, isolation_level=None)
        self.far = FarEnd()
        self.url = ""
        self.running: list[tuple[Webhooks, Feed, RpcClient, RpcServer]] = []

    async def connect(self) -> tuple[RpcServer, RpcClient]:
        """Both ends of a connection to the engine."""
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        server = RpcServer(self.engine.handle)
        await loop.create_unix_connection(lambda: server, sock=far)
        _, client = await loop.create_unix_connection(lambda: RpcClient(), sock=near)
        return server, client

    async def open(self, **options: Any) -> Courier:
        """A process's worth of webhooks, with one of these options."""
        server, client = await self.connect()
        feed = Feed(client, History(self.path))
        hooks = Webhooks(feed, client, History(self.path), CollectorRegistry())
        self.running.append((hooks, feed, client, server))
        given: dict[str, Any] = {"retry_first_s": 0.001, "retry_max_s": 0.002} | options
        await hooks.use([WebhookSettings(name="crm", url=given.pop("url", self.url), keys=(KEY,), **given)])
        courier = hooks.find("crm", None)
        assert courier is not None
        await courier._opened.wait()
        return courier

    async def crash(self) -> None:
        """The process ends without a word: nothing more is saved."""
        hooks, feed, client, server = self.running.pop()
        for courier in hooks._couriers.values():
            assert courier._task is not None
            courier._task.cancel()
            await asyncio.wait([courier._task])
        feed.close()
        client.close()
        server.close()

    async def close(self) -> None:
        for hooks, feed, client, server in self.running:
            feed.close()
            await hooks.stop()
            client.close()
            server.close()
        self.far.close()

    def saved(self) -> dict[str, Any]:
        assert self.engine.store is not None
        (text,) = self.engine.store.execute("SELECT value FROM meta WHERE key = 'webhook/crm'").fetchone()
        found: dict[str, Any] = json.loads(text)
        return found

    def letters(self) -> list[tuple[int, int, str]]:
        assert self.engine.store is not None
        return self.engine.store.execute("SELECT seq, attempts, error FROM dead_letter ORDER BY seq").fetchall()


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]:
    def run(work: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            world = World(tmp_path)
            world.url = await world.far.start()
            try:
                await asyncio.wait_for(work(world), 30)
            finally:
                await world.close()

        asyncio.run(main())

    return run


Run = Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


def test_an_event_is_delivered_as_the_feed_tells_it_and_signed(run: Run) -> None:
    async def work(world: World) -> None:
        await world.open()
        world.engine.tell("quota.threshold", "u1", subscriber_id="s1", service_id="u1", data={"percent": 80})
        (delivery,) = await world.far.count(1)
        assert delivery.event == {
            "seq": 1,
            "at": "2023-11-14T22:13:20.000Z",
            "type": "quota.threshold",
            "subject": "u1",
            "operator": "",
            "subscriber_id": "s1",
            "service_id": "u1",
            "actor": "server",
            "correlation_id": "",
            "data": {"percent": 80},
        }
        headers = delivery.headers
        assert headers["content-type"] == "application/json"
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + delivery.body
        digest = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{digest}"

    run(work)


def test_two_keys_give_two_signatures() -> None:
    value = webhooks.sign((b"a" * 16, b"b" * 16), "id", 1, b"{}")
    assert [part.partition(",")[0] for part in value.split(" ")] == ["v1", "v1"]
    assert len(set(value.split(" "))) == 2


def test_the_signature_is_that_of_the_published_vector() -> None:
    # Standard Webhooks, the specification's own example.
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = webhooks.sign((key,), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_first_event_of_a_subscriber_holds_its_others_back_and_nobody_else_s(run: Run) -> None:
    async def work(world: World) -> None:
        refusals = iter([500, 500, 500])
        world.far.answer = lambda delivery: (next(refusals, 200) if delivery.seq == 1 else 200, "")
        await world.open()
        for subscriber in ("s1", "s1", "s2", "s1", "s2"):
            world.engine.tell("quota.threshold", "u", subscriber_id=subscriber)
        await world.far.count(8)
        seqs = world.far.seqs()
        assert seqs.count(1) == 4
        assert [seq for seq in seqs if seq in (1, 2, 4)] == [1, 1, 1, 1, 2, 4]
        assert [seq for seq in seqs if seq in (3, 5)] == [3, 5]

    run(work)


def test_a_repetition_bears_the_same_id(run: Run) -> None:
    async def work(world: World) -> None:
        refusals = iter([503])
        world.far.answer = lambda delivery: (next(refusals, 204), "")
        await world.open()
        world.engine.tell("nas.down", "n1")
        first, second = await world.far.count(2)
        assert first.headers["webhook-id"] == second.headers["webhook-id"]
        assert first.body == second.body

    run(work)


def test_an_event_that_is_refused_too_often_becomes_a_dead_letter_and_is_told(run: Run) -> None:
    async def work(world: World) -> None:
        world.far.answer = lambda delivery: (400 if delivery.seq == 1 else 200, "")
        courier = await world.open(attempts=3)
        world.engine.tell("hold.added", "u1", subscriber_id="s1")
        world.engine.tell("hold.lifted", "u1", subscriber_id="s1")
        await world.far.count(4)
        await until(lambda: world.letters() != [])
        assert world.far.seqs() == [1, 1, 1, 2]
        assert world.letters() == [(1, 3, "HTTP status 400")]
        assert [event.type for event in world.engine.events][2:] == ["webhook.dead_letter"]
        # The webhook itself is not told of its own dead letter, which it might refuse as well.
        await until(lambda: courier.after == 3 and not courier.waiting)
        assert world.far.seqs() == [1, 1, 1, 2]

    run(work)


def test_dead_letters_are_delivered_again_and_gone(run: Run) -> None:
    async def work(world: World) -> None:
        world.far.answer = lambda delivery: (400, "")
        courier = await world.open(attempts=1)
        world.engine.tell("hold.added", "u1", subscriber_id="s1")
        world.engine.tell("hold.added", "u2", subscriber_id="s2")
        await until(lambda: len(world.letters()) == 2)
        world.far.answer = lambda delivery: (200, "")
        assert await courier.replay([(1, 1), (2, 1), (99, 1)]) == 2
        assert world.letters() == []
        await world.far.count(4)
        assert sorted(world.far.seqs()) == [1, 1, 2, 2]

    run(work)


def test_a_letter_that_is_refused_again_is_a_dead_letter_again(run: Run) -> None:
    async def work(world: World) -> None:
        world.far.answer = lambda delivery: (400, "")
        courier = await world.open(attempts=1)
        world.engine.tell("hold.added", "u1", subscriber_id="s1")
        await until(lambda: len(world.letters()) == 1)
        await courier.replay([(1, 1)])
        await world.far.count(2)
        await until(lambda: len(world.letters()) == 1)

    run(work)


def test_everything_after_a_number_is_delivered_again(run: Run) -> None:
    async def work(world: World) -> None:
        courier = await world.open()
        for _ in range(3):
            world.engine.tell("nas.up", "n1")
        await world.far.count(3)
        await courier.rewind(1)
        await world.far.count(5)
        assert world.far.seqs() == [1, 2, 3, 2, 3]

    run(work)


def test_a_webhook_that_fails_while_it_is_rewound_keeps_its_place(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(world: World) -> None:
        courier = await world.open()
        world.engine.tell("nas.up", "n1")
        await world.far.count(1)
        await until(lambda: world.saved()["after"] == 1)

        async def fail() -> int:
            courier._reset()
            return 1

        monkeypatch.setattr(courier._feed, "oldest", fail)
        with pytest.raises(RpcUnavailable):
            await courier.rewind(1)
        assert world.saved()["after"] == 1

    run(work)


def test_a_new_webhook_begins_with_the_next_event_and_that_is_durable_first(run: Run) -> None:
    async def work(world: World) -> None:
        world.engine.tell("nas.up", "before")
        await world.open()
        assert world.saved() == {"after": 1, "waiting": []}
        world.engine.tell("nas.up", "after")
        await world.far.count(1)
        assert world.far.seqs() == [2]

    run(work)


def test_nothing_is_skipped_when_the_process_dies_at_any_moment(run: Run) -> None:
    async def work(world: World) -> None:
        count = 40
        refused: set[int] = set()

        def answer(delivery: Delivery) -> tuple[int, str]:
            # Every third event is refused the first time, so that lanes are blocked when the process dies.
            if delivery.seq % 3 == 0 and delivery.seq not in refused:
                refused.add(delivery.seq)
                return 500, ""
            return 200, ""

        world.far.answer = answer
        taken: dict[str, list[int]] = {}
        told = 0
        for life in range(6):
            await world.open(concurrency=2)
            while told < (life + 1) * count // 6:
                world.engine.tell("session.started", "x", subscriber_id=f"s{told % 5}")
                told += 1
            already = len(world.far.deliveries)
            await world.far.count(already + 3)
            await world.crash()
        while told < count:
            world.engine.tell("session.started", "x", subscriber_id=f"s{told % 5}")
            told += 1
        courier = await world.open()
        await until(lambda: courier.after == count and not courier.waiting)
        for delivery in world.far.deliveries:
            taken.setdefault(delivery.event["subscriber_id"], []).append(delivery.seq)
        assert {seq for seqs in taken.values() for seq in seqs} == set(range(1, count + 1))
        for seqs in taken.values():
            # Repetitions aside, each subscriber's events came in order.
            assert list(dict.fromkeys(seqs)) == sorted(set(seqs))

    run(work)


def test_what_waits_is_durable_with_the_cursor_beyond_it(run: Run) -> None:
    async def work(world: World) -> None:
        world.far.answer = lambda delivery: (500 if delivery.seq == 1 else 200, "")
        await world.open(retry_first_s=60, retry_max_s=60)
        world.engine.tell("hold.added", "u1", subscriber_id="s1")
        world.engine.tell("hold.added", "u2", subscriber_id="s2")
        await until(lambda: world.saved() == {"after": 2, "waiting": [[1, 1]]})
        await world.crash()
        world.far.answer = lambda delivery: (200, "")
        await world.open()
        await world.far.count(3)
        assert world.far.seqs()[2] == 1

    run(work)


def test_progress_that_cannot_be_saved_is_repeated_not_lost(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "RESTART_S", 0.0)

    async def work(world: World) -> None:
        await world.open()
        world.engine.refuses_saving = True
        world.engine.tell("nas.up", "n1")
        await world.far.count(2)
        world.engine.refuses_saving = False
        await until(lambda: world.saved()["after"] == 1)
        assert set(world.far.seqs()) == {1}

    run(work)


def test_a_far_end_that_takes_nothing_holds_the_reading_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "WEBHOOK_WAITING_MAX", 3)

    async def work(world: World) -> None:
        gate = asyncio.Event()

        async def answer(delivery: Delivery) -> tuple[int, str]:
            await gate.wait()
            return 200, ""

        world.far.answer = answer
        courier = await world.open(concurrency=1)
        for number in range(10):
            world.engine.tell("nas.up", f"n{number}")
        await world.far.count(1)
        await until(lambda: len(courier.waiting) == 3)
        assert courier.after < 10
        gate.set()
        await world.far.count(10)
        assert world.far.seqs() == list(range(1, 11))

    run(work)


@pytest.mark.parametrize(
    ("options", "seqs"),
    [
        ({"events": ("quota.*",)}, [1, 5]),
        ({"events": ("nas.down", "hold.added")}, [2, 3, 5]),
        ({"operator": "blue"}, [2]),
        ({}, [1, 2, 3, 5]),
    ],
)
def test_a_webhook_is_told_what_it_asks_for_and_calls_that_name_it(
    run: Run, options: dict[str, Any], seqs: list[int]
) -> None:
    async def work(world: World) -> None:
        courier = await world.open(**options)
        world.engine.tell("quota.threshold", "u1", operator="red")
        world.engine.tell("hold.added", "u1", operator="blue")
        world.engine.tell("nas.down", "n1")
        world.engine.tell("webhook.call", "u1", data={"webhook": "other"}, operator="red")
        world.engine.tell("webhook.call", "u1", data={"webhook": "crm"}, operator="red")
        await world.far.count(len(seqs))
        await until(lambda: courier.after == 5 and not courier.waiting)
        assert sorted(world.far.seqs()) == seqs

    run(work)


def test_no_more_than_so_many_deliveries_are_under_way(run: Run) -> None:
    async def work(world: World) -> None:
        async def answer(delivery: Delivery) -> tuple[int, str]:
            await asyncio.sleep(0)
            return 200, ""

        world.far.answer = answer
        await world.open(concurrency=2)
        for number in range(12):
            world.engine.tell("nas.up", f"n{number}")
        await world.far.count(12)
        assert world.far.under_way_max <= 2

    run(work)


def test_a_redirect_is_a_refusal_and_is_not_followed(run: Run) -> None:
    async def work(world: World) -> None:
        world.far.answer = lambda delivery: (302, f"location: {world.url}/elsewhere\r\n")
        courier = await world.open(attempts=1)
        world.engine.tell("nas.up", "n1")
        await until(lambda: world.letters() == [(1, 1, "HTTP status 302")])
        assert len(world.far.deliveries) == 1
        assert courier.error == "HTTP status 302"

    run(work)


def test_an_answer_without_end_is_cut(run: Run) -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 x\r\n\r\n")
        try:
            while True:
                writer.write(b"x" * WEBHOOK_ANSWER_BYTES_MAX)
                await writer.drain()
        except ConnectionError:
            writer.close()

    async def work(world: World) -> None:
        server = await asyncio.start_server(endless, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        courier = await world.open(url=f"http://127.0.0.1:{port}/")
        world.engine.tell("nas.up", "n1")
        await until(lambda: courier.delivered == 1)
        server.close()

    run(work)


def test_a_far_end_that_says_nothing_is_given_up_after_the_timeout(run: Run) -> None:
    async def work(world: World) -> None:
        async def answer(delivery: Delivery) -> tuple[int, str]:
            await asyncio.Event().wait()
            return 200, ""

        world.far.answer = answer
        courier = await world.open(timeout_s=0.05, attempts=1)
        world.engine.tell("nas.up", "n1")
        await until(lambda: world.letters() != [])
        assert courier.error == "no answer within 0.05 s"

    run(work)


def test_a_far_end_that_is_not_there_is_tried_again(run: Run) -> None:
    async def work(world: World) -> None:
        courier = await world.open(url="http://127.0.0.1:1/", attempts=2)
        world.engine.tell("nas.up", "n1")
        await until(lambda: world.letters() != [])
        assert courier.error.startswith("ConnectError")

    run(work)


def test_an_event_past_its_retention_becomes_a_dead_letter(run: Run) -> None:
    async def work(world: World) -> None:
        world.far.answer = lambda delivery: (500, "")
        await world.open(retry_first_s=60, retry_max_s=60)
        world.engine.tell("nas.up", "n1")
        await until(lambda: world.saved() == {"after": 1, "waiting": [[1, 1]]})
        await world.crash()
        assert world.engine.store is not None
        world.engine.store.execute("DELETE FROM event")
        await world.open()
        assert world.letters() == [(1, 1, "the event was past its retention")]

    run(work)


def test_a_webhook_that_is_behind_the_retention_says_so_and_goes_on(run: Run) -> None:
    async def work(world: World) -> None:
        await world.open()
        await world.crash()
        for _ in range(5):
            world.engine.tell("nas.up", "n1")
        assert world.engine.store is not None
        world.engine.store.execute("DELETE FROM event WHERE seq <= 3")
        await world.open()
        await world.far.count(3)
        assert sorted(world.far.seqs()) == [4, 5, 6]
        gap = next(event for event in world.engine.events if event.type == "webhook.gap")
        assert gap.data == {"webhook": "crm", "after": 0, "oldest": 4}

    run(work)


def test_back_off_doubles_to_its_longest_with_a_random_share() -> None:
    settings = WebhookSettings(name="w", url="http://x/", keys=(KEY,), retry_first_s=1, retry_max_s=10)
    assert [back_off(settings, n, lambda: 1.0) for n in (1, 2, 3, 4, 5, 100)] == [1, 2, 4, 8, 10, 10]
    assert back_off(settings, 3, lambda: 0.0) == 2


@pytest.mark.parametrize(
    ("text", "seconds"), [("", 0), ("7", 7), ("nonsense", 0), ("Mon, 01 Jan 2001 00:00:00 GMT", 0)]
)
def test_what_a_far_end_asks_to_wait_is_read(text: str, seconds: float) -> None:
    assert webhooks._retry_after(text) == seconds


def test_a_far_end_that_asks_to_be_left_alone_is(run: Run) -> None:
    async def work(world: World) -> None:
        world.far.answer = lambda delivery: (503, "retry-after: 3600\r\n")
        courier = await world.open(retry_max_s=100.0)
        world.engine.tell("nas.up", "n1")
        await until(lambda: courier.blocked == 1)
        (lane,) = courier.lanes.values()
        assert lane.timer is not None
        assert lane.timer.when() - asyncio.get_running_loop().time() > 90

    run(work)


# Through the API


def test_states_letters_replay_and_test_through_the_api(run: Run) -> None:
    async def work(world: World) -> None:
        world.far.answer = lambda delivery: (400 if delivery.seq else 200, "")
        hook = WebhookSettings(name="crm", url=f"{world.url}?key=s3cret", keys=(KEY,), attempts=1, operator="blue")
        tokens = (make_token("admin"), make_token("billing", "red"))
        server, client = await world.connect()
        door = Door(client, ApiSettings(tokens=tokens, store=world.path, webhooks=(hook,)))
        door.outlets.start()
        transport = httpx.ASGITransport(app=door.make_app())  # type: ignore[arg-type]
        headers = {"Authorization": f"Bearer {token_of('admin')}"}
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers) as http:
            while not (shown := (await http.get("/v1/webhooks")).json()["items"]):
                await asyncio.sleep(0)
            assert shown[0]["url"] == f"{world.url}?…"
            assert "s3cret" not in (await http.get("/v1/webhooks")).text
            tested = (await http.post("/v1/webhooks/crm/test")).json()
            assert (tested["delivered"], tested["status"]) == (True, 200)
            world.engine.tell("hold.added", "u1", subscriber_id="s1", operator="blue")
            while (await http.get("/v1/webhooks")).json()["items"][0]["dead_letters"] != 1:
                await asyncio.sleep(0)
            (letter,) = (await http.get("/v1/webhooks/crm/dead-letters")).json()["items"]
            assert (letter["seq"], letter["attempts"], letter["error"]) == (1, 1, "HTTP status 400")
            assert letter["event"]["type"] == "hold.added"
            world.far.answer = lambda delivery: (200, "")
            replayed = await http.post("/v1/webhooks/crm/replay")
            assert (replayed.status_code, replayed.json()["replayed"], replayed.json()["left"]) == (202, 1, 0)
            assert (await http.get("/v1/webhooks/none/dead-letters")).status_code == 404
            both = await http.post("/v1/webhooks/crm/replay", json={"after": 1, "seqs": [1]})
            assert both.status_code == 422
            headers = {"Authorization": f"Bearer {token_of('billing')}"}
            assert (await http.get("/v1/webhooks", headers=headers)).json() == {"items": []}
            assert (await http.post("/v1/webhooks/crm/test", headers=headers)).status_code == 404
        await door.outlets.stop()
        client.close()
        server.close()

    run(work)


def test_settings_do_not_show_keys() -> None:
    settings = ApiSettings(webhooks=(WebhookSettings(name="crm", url="http://x/", keys=(KEY,)),))
    assert KEY.decode() not in repr(settings)
