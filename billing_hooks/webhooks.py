"""Webhooks: events delivered by POST, signed, in order for each subscriber, at least once.

Theory of operation. A courier for each webhook reads the feed from its cursor on and sorts what is wanted into lanes,
one for each subscriber. The first event of a lane is delivered until it is taken; the rest of the lane waits behind it,
other lanes go on. What is not delivered yet is in `waiting`, so the cursor moves on although a lane is blocked. Cursor
and waiting are kept by the engine and durable: after a crash everything since the last save is delivered again under
the same Webhook-Id, and nothing is left out. An event that was refused too often becomes a dead letter, in the same row
group that takes it out of waiting. Signatures are those of Standard Webhooks. Knows no entity.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import random
import sqlite3
import ssl
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Gauge

from aaa.limits import (
    WEBHOOK_ANSWER_BYTES_MAX,
    WEBHOOK_ERROR_CHARACTERS_MAX,
    WEBHOOK_IDLE_SAVE_S,
    WEBHOOK_READ_COUNT,
    WEBHOOK_SAVE_S,
    WEBHOOK_WAITING_MAX,
)
from billing_hooks.history import History
from billing_hooks.rpc import FrameTooLong, RpcClient, RpcUnavailable
from billing_hooks.settings import WebhookSettings
from billing_hooks.tail import SELF, EventView, Feed, Gone, Told, Wanted, moment

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

RESTART_S: Final = 5.0
"""Before a courier that failed begins again from what is durable."""
IDLE_S: Final = 30.0
PATIENCE_MIN_S: Final = 0.001


def sign(keys: Sequence[bytes], identity: str, timestamp: int, body: bytes) -> str:
    """The value of Webhook-Signature: one signature for each key, separated by blanks (Standard Webhooks)."""
    message = f"{identity}.{timestamp}.".encode() + body
    digests = (hmac.new(key, message, hashlib.sha256).digest() for key in keys)
    return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


def identity_of(told: Told) -> str:
    """Webhook-Id: the same in every delivery of an event, and of no other."""
    return f"evt_{told.seq}_{int(told.at * 1000):x}"


class Saved(Struct):
    """How far a webhook is, as the engine keeps it."""

    after: int
    """All events up to it are settled, but for those in `waiting`."""
    waiting: list[tuple[int, int]] = []
    """(number, attempts)"""


class Item:
    """An event on its way."""

    __slots__ = ("attempts", "told")

    def __init__(self, told: Told, attempts: int = 0) -> None:
        self.told = told
        self.attempts = attempts


class Lane:
    """Events that go one after the other."""

    __slots__ = ("items", "name", "timer")

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: deque[Item] = deque()
        self.timer: asyncio.TimerHandle | None = None
        """Set while its first event waits to be tried again."""


class Outcome(Struct, frozen=True):
    """How one delivery ended."""

    error: str = ""
    """"": it was taken."""
    status: int = 0
    """Of the answer; 0: there was none."""
    wait_s: float = 0.0
    """What the far end asked to be left alone for."""
    took_s: float = 0.0


class Counters:
    """What is counted of all webhooks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.deliveries = Counter(
            "aaa_webhook_deliveries", "Deliveries by webhook and how they ended", ("webhook", "result"),
            registry=registry,
        )  # fmt: skip
        self.waiting = Gauge(
            "aaa_webhook_waiting_events", "Events that a webhook has not taken yet", ("webhook",), registry=registry
        )
        self.lag = Gauge(
            "aaa_webhook_lag_seconds", "Age of the oldest event that a webhook has not taken", ("webhook",),
            registry=registry,
        )  # fmt: skip


class Courier:
    """Delivers to one webhook, from start() to stop()."""

    def __init__(
        self, settings: WebhookSettings, feed: Feed, engine: RpcClient, history: History, counters: Counters
    ) -> None:
        self.settings = settings
        self._feed = feed
        self._engine = engine
        self._history = history
        self._counters = counters
        self._wanted = Wanted(settings.events, operator=settings.operator, webhook=settings.name)
        self._task: asyncio.Task[None] | None = None
        self._opened = asyncio.Event()
        self._reset()
        self.delivered = 0
        self.failed = 0
        self.delivered_at = 0.0
        self.error = ""
        """How the last delivery failed; "" once one has succeeded."""

    def _reset(self) -> None:
        self.after = 0
        self.lanes: dict[str, Lane] = {}
        self.waiting: dict[int, Item] = {}
        """In the order of their numbers, but for what was taken up again."""
        self._ready: asyncio.Queue[Lane] = asyncio.Queue()
        self._room = asyncio.Event()
        self._changed = asyncio.Event()
        self._saved = asyncio.Lock()
        self._saved_after = 0
        self._dead: dict[int, dict[str, Any]] = {}
        self._revived: set[int] = set()
        self._gap: dict[str, int] | None = None
        self._opened.clear()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep_running())

    async def stop(self) -> None:
        """End, and save how far it came where the engine still takes it."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._opened.is_set():
            with contextlib.suppress(RpcUnavailable, FrameTooLong):
                await self._save()

    # For the API

    @property
    def blocked(self) -> int:
        """Lanes whose first event has failed and waits to be tried again."""
        return sum(lane.timer is not None for lane in self.lanes.values())

    @property
    def oldest_at(self) -> float | None:
        """When the oldest event that is not delivered happened."""
        return min((item.told.at for item in self.waiting.values()), default=None)

    async def replay(self, letters: Sequence[tuple[int, int]]) -> int:
        """Take up dead letters (number, attempts) again; how many. Answered when durable. Raises RpcUnavailable."""
        await self._opened.wait()
        told = await self._feed.numbered(seq for seq, _ in letters if seq not in self.waiting)
        for each in told:
            self._revived.add(each.seq)
            self._dead.pop(each.seq, None)
            self._add(Item(each))
        await self._save()
        return len(told)

    async def rewind(self, after: int) -> None:
        """Deliver again everything above a number. Raises Gone, RpcUnavailable."""
        await self._opened.wait()
        oldest = await self._feed.oldest()
        if after + 1 < oldest:
            raise Gone(oldest)
        self.after = min(after, self.after)
        await self._save()
        self._feed.look_around()

    async def test(self, actor: str) -> Outcome:
        """One delivery of an event that is in no feed, past all lanes."""
        at = time.time()
        view = EventView(
            0, moment(at), "webhook.test", self.settings.name, self.settings.operator or "", "", "", actor, "",
            {"webhook": self.settings.name},
        )  # fmt: skip
        try:
            client = self._client()
        except OSError as error:
            return Outcome(f"{self.settings.ca}: {error}"[:WEBHOOK_ERROR_CHARACTERS_MAX])
        async with client:
            return await self._post(client, f"test_{uuid.uuid4().hex}", msgspec.json.encode(view))

    # Work

    async def _keep_running(self) -> None:
        while True:
            try:
                await self._run()
            except* (RpcUnavailable, sqlite3.Error, OSError) as group:
                log.error("webhook %s stopped for a while: %s", self.settings.name, group.exceptions[0])
            except* Exception as group:
                log.error("webhook %s failed", self.settings.name, exc_info=group)
            for lane in self.lanes.values():
                if lane.timer is not None:
                    lane.timer.cancel()
            self._reset()
            await asyncio.sleep(RESTART_S)

    async def _run(self) -> None:
        await self._feed.ready()
        await self._open()
        async with self._client() as client, asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read())
            tasks.create_task(self._keep_saving())
            for _ in range(self.settings.concurrency):
                tasks.create_task(self._deliver(client))

    async def _open(self) -> None:
        """Begin where the engine's record says; a new webhook begins with the next event."""
        rows = await self._history.rows("SELECT value FROM meta WHERE key = ?", (f"webhook/{self.settings.name}",))
        if not rows:
            self.after = self._feed.durable
            await self._save(opening=True)
        else:
            saved = msgspec.json.decode(rows[0][0], type=Saved)
            self.after = self._saved_after = saved.after
            attempts = dict(saved.waiting)
            found = {told.seq: told for told in await self._feed.numbered(attempts)}
            for seq, tried in sorted(attempts.items()):
                if seq in found:
                    self._add(Item(found[seq], tried))
                else:
                    self._dead[seq] = _letter(seq, "", "", tried, "the event was past its retention")
            if self._dead:
                await self._save(opening=True)
        self._opened.set()

    async def _read(self) -> None:
        while not self._feed.closing:
            room = WEBHOOK_WAITING_MAX - len(self.waiting)
            if room <= 0:
                self._room.clear()
                await self._room.wait()
                continue
            after = self.after
            try:
                found, position = await self._feed.read(after, min(room, WEBHOOK_READ_COUNT), self._wanted)
            except Gone as gone:
                log.error("webhook %s was behind for longer than events are kept", self.settings.name)
                self._gap = {"after": after, "oldest": gone.oldest}
                self.after = gone.oldest - 1
                self._changed.set()
                continue
            if self.after != after:
                continue  # It was rewound meanwhile.
            for told in found:
                # What is waiting already, after a rewinding, is delivered once.
                if told.seq not in self.waiting:
                    self._add(Item(told))
            self.after = position
            if position >= self._feed.durable:
                await self._feed.wait(None, IDLE_S)
            else:
                await asyncio.sleep(0)

    def _add(self, item: Item) -> None:
        told = item.told
        self.waiting[told.seq] = item
        lane = self.lanes.get(told.lane)
        if lane is None:
            lane = self.lanes[told.lane] = Lane(told.lane)
            lane.items.append(item)
            self._ready.put_nowait(lane)
            return
        items = lane.items
        # The first may be under way. What is taken up again goes before what is younger.
        place = len(items)
        while place > 1 and items[place - 1].told.seq > told.seq:
            place -= 1
        items.insert(place, item)

    async def _deliver(self, client: "httpx.AsyncClient") -> None:
        deliveries = self._counters.deliveries
        while True:
            lane = await self._ready.get()
            item = lane.items[0]
            outcome = await self._post(client, identity_of(item.told), item.told.line)
            if not outcome.error:
                deliveries.labels(self.settings.name, "taken").inc()
                self.delivered += 1
                self.delivered_at = time.time()
                self.error = ""
                self._settle(lane)
                continue
            deliveries.labels(self.settings.name, "failed").inc()
            self.failed += 1
            self.error = outcome.error
            item.attempts += 1
            if item.attempts >= self.settings.attempts:
                told = item.told
                deliveries.labels(self.settings.name, "given_up").inc()
                self._dead[told.seq] = _letter(told.seq, told.type, told.operator, item.attempts, outcome.error)
                self._settle(lane)
                continue
            delay_s = max(outcome.wait_s, back_off(self.settings, item.attempts))
            lane.timer = asyncio.get_running_loop().call_later(delay_s, self._retry, lane)
            self._changed.set()

    def _retry(self, lane: Lane) -> None:
        lane.timer = None
        self._ready.put_nowait(lane)

    def _settle(self, lane: Lane) -> None:
        """The first event of a lane is delivered, or a dead letter."""
        item = lane.items.popleft()
        self.waiting.pop(item.told.seq, None)
        if lane.items:
            self._ready.put_nowait(lane)
        else:
            del self.lanes[lane.name]
        self._room.set()
        self._changed.set()

    async def _post(self, client: "httpx.AsyncClient", identity: str, body: bytes) -> Outcome:
        import httpx

        timestamp = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "Webhook-Id": identity,
            "Webhook-Timestamp": str(timestamp),
            "Webhook-Signature": sign(self.settings.keys, identity, timestamp, body),
        }
        began = time.monotonic()
        try:
            async with (
                asyncio.timeout(self.settings.timeout_s),
                client.stream("POST", self.settings.url, content=body, headers=headers) as answer,
            ):
                size = 0
                async for piece in answer.aiter_raw():
                    size += len(piece)
                    if size > WEBHOOK_ANSWER_BYTES_MAX:
                        break
                status, asked = answer.status_code, answer.headers.get("retry-after", "")
        except TimeoutError:
            return Outcome(f"no answer within {self.settings.timeout_s:g} s", took_s=time.monotonic() - began)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            text = f"{type(error).__name__}: {error}"[:WEBHOOK_ERROR_CHARACTERS_MAX]
            return Outcome(text, took_s=time.monotonic() - began)
        took_s = time.monotonic() - began
        if 200 <= status < 300:
            return Outcome("", status, took_s=took_s)
        wait_s = min(_retry_after(asked), self.settings.retry_max_s) if status in (429, 503) else 0.0
        return Outcome(f"HTTP status {status}", status, wait_s, took_s)

    def _client(self) -> "httpx.AsyncClient":
        """TLS is verified against the system's authorities or `ca`; redirects and proxies of the environment are not
        followed: events go where the configuration says."""
        import httpx

        verify: ssl.SSLContext | bool = True
        if self.settings.url.startswith("https:"):
            verify = ssl.create_default_context(cafile=self.settings.ca)
        count = self.settings.concurrency
        limits = httpx.Limits(max_connections=count, max_keepalive_connections=count)
        return httpx.AsyncClient(
            verify=verify, timeout=self.settings.timeout_s, limits=limits, follow_redirects=False, trust_env=False
        )

    # What is durable

    async def _keep_saving(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WEBHOOK_IDLE_SAVE_S):
                    await self._changed.wait()
            if self._changed.is_set() or self.after != self._saved_after:
                await self._save()
            await asyncio.sleep(WEBHOOK_SAVE_S)

    async def _save(self, opening: bool = False) -> None:
        """Let the engine keep how far it is. Raises RpcUnavailable; what was to be saved is then saved next time."""
        async with self._saved:
            if not (opening or self._opened.is_set()):
                # It failed while a request waited: how far it is, is what is durable, and nothing here.
                raise RpcUnavailable("the webhook begins anew")
            self._changed.clear()
            dead, revived, gap, after = dict(self._dead), set(self._revived), self._gap, self.after
            args = {
                "name": self.settings.name,
                "after": after,
                "waiting": sorted((seq, item.attempts) for seq, item in self.waiting.items()),
                "dead": list(dead.values()),
                "revived": sorted(revived - dead.keys()),
                "gap": gap,
            }
            answer = await self._engine.call("webhook_save", SELF, args)
            if answer.status != 200:
                raise RpcUnavailable(f"the engine does not keep the progress: status {answer.status}")
            for seq, letter in dead.items():
                if self._dead.get(seq) is letter:
                    del self._dead[seq]
            self._revived -= revived
            if self._gap is gap:
                self._gap = None
            self._saved_after = after


def _letter(seq: int, kind: str, operator: str, attempts: int, error: str) -> dict[str, Any]:
    return {"seq": seq, "type": kind, "operator": operator, "attempts": attempts, "error": error}


def back_off(settings: WebhookSettings, attempts: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds until the next delivery after so many failed ones: doubling, a random half of it taken off."""
    longest_s = min(settings.retry_max_s, settings.retry_first_s * 2.0 ** (attempts - 1))
    return max(PATIENCE_MIN_S, longest_s * (0.5 + draw() / 2))


def _retry_after(text: str) -> float:
    """Seconds that a Retry-After header asks for (RFC 9110 §10.2.3); 0.0 where it asks for nothing."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0


class Webhooks:
    """All couriers, as the settings want them."""

    def __init__(self, feed: Feed, engine: RpcClient, history: History, registry: CollectorRegistry) -> None:
        self._feed = feed
        self._engine = engine
        self._history = history
        self._counters = Counters(registry)
        self._couriers: dict[str, Courier] = {}
        self._changing = asyncio.Lock()

    async def use(self, settings: Sequence[WebhookSettings]) -> None:
        """Start, stop and replace couriers: a webhook whose entry is the same is not disturbed."""
        async with self._changing:
            wanted = {entry.name: entry for entry in settings}
            for name, courier in list(self._couriers.items()):
                if wanted.get(name) != courier.settings:
                    del self._couriers[name]
                    await courier.stop()
                    if name not in wanted:
                        self._forget(name)
            for name, entry in wanted.items():
                if name not in self._couriers:
                    courier = Courier(entry, self._feed, self._engine, self._history, self._counters)
                    self._couriers[name] = courier
                    self.count(name)
                    self._counters.waiting.labels(name).set_function(partial(_count, courier))
                    self._counters.lag.labels(name).set_function(partial(_age, courier))
                    courier.start()

    def _forget(self, name: str) -> None:
        self._counters.waiting.remove(name)
        self._counters.lag.remove(name)

    def count(self, name: str) -> None:
        """Begin to count for a webhook: its deliveries are 0."""
        self._counters.deliveries.labels(name, "taken")
        self._counters.waiting.labels(name)
        self._counters.lag.labels(name)

    async def stop(self) -> None:
        """End all, each with its progress saved."""
        await self.use(())

    def find(self, name: str, operator: str | None) -> Courier | None:
        """The courier of a name that a token of this scope may see."""
        courier = self._couriers.get(name)
        if courier is None or operator not in (None, courier.settings.operator):
            return None
        return courier

    def seen_by(self, operator: str | None) -> list[Courier]:
        """Those that a token of this scope may see, by name."""
        return [courier for name in sorted(self._couriers) if (courier := self.find(name, operator)) is not None]


def _count(courier: Courier) -> float:
    return float(len(courier.waiting))


def _age(courier: Courier) -> float:
    oldest_at = courier.oldest_at
    return 0.0 if oldest_at is None else max(0.0, time.time() - oldest_at)


def shown_url(url: str) -> str:
    """Without the query, which may hold a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + ("?…" if parts.query else "")
