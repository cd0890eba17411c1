"""The events of the engine as this process follows them: the newest in memory, older ones from the store.

Theory of operation. One call to the engine is always open and brings what has become durable, however many clients and
webhooks read here, so the packet loop pays for each event once. Readers keep a position, not a queue: whoever is slow
falls back to the store, and whoever falls behind the store's retention is told so. Knows no HTTP.
"""

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from msgspec import Struct

from aaa.limits import EVENTS_SCAN_COUNT, EVENTS_SCAN_S, EVENTS_TAIL_COUNT, EVENTS_TAIL_WAIT_S, EVENTS_TAILED_MAX
from aaa.model.event_types import EVENT_TYPES, matches
from aaa.model.events import Cause, Event
from aaa.model.operations import Actor
from aaa.state.event_index import OF_SERVICE
from billing_hooks.history import History
from billing_hooks.rpc import FrameTooLong, RpcClient, RpcUnavailable

log = logging.getLogger(__name__)

SELF: Final = Actor("http", "admin")
AGAIN_S: Final = 1.0
"""Before an engine that did not tell its events is asked again."""
GRACE_S: Final = 10.0
"""How much longer than it was asked to wait the engine may take."""
COLUMNS: Final = "seq, at, type, subject, body, operator, subscriber, service, cause"


class Gone(Exception):
    """Events asked for are past their retention."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"the oldest event that is kept is {oldest}")
        self.oldest = oldest


class EventView(Struct):
    """An event as the feed and webhooks tell it."""

    seq: int
    """Grows by one or more; the cursor of the feed."""
    at: str
    """RFC 3339 in UTC."""
    type: str
    subject: str
    """Id of what it is about."""
    operator: str
    """Whose it is; "": the server's own."""
    subscriber_id: str
    service_id: str
    actor: str
    """Who asked for what caused it: token and person, automation:NAME, quota, time, accounting, server."""
    correlation_id: str
    """As billing sent it with the push that caused it."""
    data: Any
    """By type: see docs/events.md."""


class Told(Struct, frozen=True, gc=False):
    """An event that may be told: what readers choose by, and its JSON."""

    seq: int
    at: float
    type: str
    operator: str
    subscriber_id: str
    service_id: str
    lane: str
    """Events of one lane reach a webhook in order: those of a subscriber, or of another subject."""
    webhook: str
    """The only webhook that is told; "": any."""
    about: str
    """The webhook that it is about, and which is not told."""
    line: bytes


class TailPage(Struct):
    """What the engine answers: events, and how far they reach."""

    durable: int
    complete: bool
    """False: memory does not reach back to where the call asked from; read the store."""
    events: list[Event]


class Wanted:
    """Which events a reader is told; all that is given must match."""

    def __init__(
        self,
        types: Sequence[str] = ("*",),
        service: str | None = None,
        subscriber: str | None = None,
        operator: str | None = None,
        webhook: str | None = None,
    ) -> None:
        """types: patterns. webhook: the reader is this webhook; None: a client of the feed, which sees all."""
        self.types = None if "*" in types else frozenset(name for name in EVENT_TYPES if matches(types, name))
        self.service = service
        self.subscriber = subscriber
        self.operator = operator
        self.webhook = webhook

    def takes(self, told: Told) -> bool:
        if self.operator is not None and told.operator != self.operator:
            return False
        if self.webhook is not None:
            if told.webhook:
                return told.webhook == self.webhook
            if told.about == self.webhook:
                return False
        return (
            (self.types is None or told.type in self.types)
            and (self.service is None or told.service_id == self.service)
            and (self.subscriber is None or told.subscriber_id == self.subscriber)
        )

    def condition(self) -> tuple[str, list[str]]:
        """SQL that lets through what takes() may take, with its values."""
        parts, values = ["1"], []
        if self.service is not None:
            parts.append(OF_SERVICE)
            values += [self.service, self.service]
        for column, value in (("subscriber", self.subscriber), ("operator", self.operator)):
            if value is not None:
                parts.append(f"{column} = ?")
                values.append(value)
        if self.types is not None:
            types = [*self.types, "webhook.call"] if self.webhook is not None else [*self.types]
            parts.append(f"type IN ({', '.join('?' * len(types))})")
            values += types
        return " AND ".join(parts), values


def moment(at: float) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def make_told(event: Event, data: Any) -> Told:
    """data: the event's, or its JSON as msgspec.Raw."""
    view = EventView(
        event.seq, moment(event.at), event.type, event.subject, event.operator, event.subscriber_id, event.service_id,
        event.cause.actor, event.cause.correlation_id, data,
    )  # fmt: skip
    lane = f"subscriber/{event.subscriber_id}" if event.subscriber_id else f"subject/{event.subject}"
    named = str(event.data.get("webhook", ""))
    return Told(
        event.seq, event.at, event.type, event.operator, event.subscriber_id, event.service_id, lane,
        named if event.type == "webhook.call" else "", named if event.type == "webhook.dead_letter" else "",
        msgspec.json.encode(view),
    )  # fmt: skip


def told_of_row(row: Sequence[Any]) -> Told:
    """Of a row with COLUMNS."""
    seq, at, kind, subject, body, operator, subscriber, service, cause = row
    data = msgspec.json.decode(body) if kind.startswith("webhook.") else {}
    event = Event(
        seq, at, kind, subject, data, operator, subscriber, service, msgspec.json.decode(cause, type=Cause)
    )  # fmt: skip
    return make_told(event, msgspec.Raw(body.encode()))


class Feed:
    """What has become durable, for any number of readers."""

    def __init__(self, engine: RpcClient, history: History) -> None:
        self._engine = engine
        self._history = history
        self._ring: deque[Told] = deque(maxlen=EVENTS_TAILED_MAX)
        self._ring_after = 0
        """Every event above it, up to `durable`, is in the ring."""
        self._known = asyncio.Event()
        self._waiters: dict[str | None, set[asyncio.Future[None]]] = {}
        """By the subscriber whose events they wait for; None: for any."""
        self._task: asyncio.Task[None] | None = None
        self.durable = 0
        """The newest event that may be told."""
        self.readers = 0
        """Clients that read or wait."""
        self.closing = False
        """Readers come to their end."""

    async def ready(self) -> None:
        """Start to follow, and wait until `durable` is known. Raises RpcUnavailable."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._follow())
        if not self._known.is_set():
            try:
                async with asyncio.timeout(GRACE_S):
                    await self._known.wait()
            except TimeoutError:
                raise RpcUnavailable("the engine did not tell its events") from None

    def close(self) -> None:
        """Wake all readers, which then end; follow no longer."""
        self.closing = True
        if self._task is not None:
            self._task.cancel()
        self._wake(list(self._waiters))

    async def wait(self, subscriber: str | None, timeout_s: float) -> None:
        """Until something of a subscriber (None: anything) is new, the time is over, or readers are to look around."""
        if self.closing:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters.setdefault(subscriber, set())
        waiters.add(future)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await future
        finally:
            waiters.discard(future)
            if not waiters and self._waiters.get(subscriber) is waiters:
                del self._waiters[subscriber]

    def look_around(self) -> None:
        """Wake all readers: what they were let in with may have changed."""
        self._wake(list(self._waiters))

    async def read(self, after: int, count: int, wanted: Wanted) -> tuple[list[Told], int]:
        """Up to `count` events above `after`, and the number up to which nothing else is wanted.

        It may look at a part only: whoever reads goes on from the number until that is `durable`.
        Raises Gone; sqlite3.Error.
        """
        if after < self._ring_after:
            return await self._read_store(after, count, wanted)
        fresh = []
        for told in reversed(self._ring):
            if told.seq <= after:
                break
            fresh.append(told)
        found = [told for told in reversed(fresh) if wanted.takes(told)]
        if len(found) > count:
            return found[:count], found[count - 1].seq
        return found, max(after, self.durable)

    async def newest(self, count: int, wanted: Wanted) -> list[Told]:
        """The newest `count` that are wanted, oldest first, from the store; where none is near, fewer."""
        condition, values = wanted.condition()
        query = f"SELECT {COLUMNS} FROM event WHERE seq <= ? AND seq > ? AND {condition} ORDER BY seq DESC LIMIT ?"
        clock = asyncio.get_running_loop().time
        end = clock() + EVENTS_SCAN_S
        found: list[Told] = []
        upto = self.durable
        while upto > 0 and len(found) < count and clock() < end:
            least = 0 if wanted.service is not None else max(0, upto - EVENTS_SCAN_COUNT)
            rows = await self._history.rows(query, [upto, least, *values, count - len(found)])
            found += map(told_of_row, rows)
            upto = least
        return found[::-1]

    async def numbered(self, numbers: Iterable[int]) -> list[Told]:
        """Those of these numbers that are still kept, in order."""
        query = f"SELECT {COLUMNS} FROM event WHERE seq IN (SELECT value FROM json_each(?)) ORDER BY seq"
        rows = await self._history.rows(query, (msgspec.json.encode(list(numbers)).decode(),))
        return [told_of_row(row) for row in rows]

    async def oldest(self) -> int:
        """Number of the oldest event that is kept; one above `durable` where there is none."""
        rows = await self._history.rows("SELECT min(seq) FROM event")
        return self.durable + 1 if not rows or rows[0][0] is None else int(rows[0][0])

    async def _read_store(self, after: int, count: int, wanted: Wanted) -> tuple[list[Told], int]:
        condition, values = wanted.condition()
        upto = self.durable
        if wanted.service is None:
            # Bound: rows that are looked at in one go, where no index leads to those that are wanted.
            upto = min(upto, after + EVENTS_SCAN_COUNT)
        query = f"SELECT {COLUMNS} FROM event WHERE seq > ? AND seq <= ? AND {condition} ORDER BY seq LIMIT ?"

        def work(db: sqlite3.Connection) -> tuple[int | None, list[Any]]:
            db.execute("BEGIN")
            try:
                (oldest,) = db.execute("SELECT min(seq) FROM event").fetchone()
                return oldest, db.execute(query, [after, upto, *values, count]).fetchall()
            finally:
                db.execute("COMMIT")

        oldest, rows = await self._history.read(work) or (None, [])
        if oldest is not None and after + 1 < oldest:
            raise Gone(oldest)
        found = [told for told in map(told_of_row, rows) if wanted.takes(told)]
        return found, int(rows[-1][0]) if len(rows) == count else max(after, upto)

    async def _follow(self) -> None:
        decoder = msgspec.msgpack.Decoder(TailPage)
        while not self._engine.closed.is_set():
            after = self.durable if self._known.is_set() else None
            args = {"after": after, "limit": EVENTS_TAIL_COUNT, "wait_s": EVENTS_TAIL_WAIT_S}
            try:
                answer = await self._engine.call("events_tail", SELF, args, EVENTS_TAIL_WAIT_S + GRACE_S)
                if answer.status != 200:
                    raise RpcUnavailable(f"status {answer.status}")
                self._take(decoder.decode(answer.body))
            except (RpcUnavailable, FrameTooLong) as error:
                log.error("the engine does not tell its events: %s", error)
                await asyncio.sleep(AGAIN_S)
            except Exception:
                # Whoever follows for as long as the process lives must not end at one odd answer.
                log.exception("the engine's events cannot be read")
                await asyncio.sleep(AGAIN_S)

    def _take(self, page: TailPage) -> None:
        known = self._known.is_set()
        if not known or not page.complete:
            self._ring.clear()
            self._ring_after = page.durable
        for event in page.events:
            if len(self._ring) == self._ring.maxlen:
                self._ring_after = self._ring[0].seq
            self._ring.append(make_told(event, event.data))
        self.durable = page.durable
        self._known.set()
        if not page.complete:
            self._wake(list(self._waiters))
        elif page.events:
            self._wake([None, *{event.subscriber_id for event in page.events}])

    def _wake(self, subscribers: Iterable[str | None]) -> None:
        for subscriber in subscribers:
            for future in self._waiters.get(subscriber, ()):
                if not future.done():
                    future.set_result(None)
