"""Endpoints of the event feed and of webhooks: long poll, server-sent events, states, dead letters, replay."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from litestar.response import Response, Stream
from msgspec import Meta, Struct

from aaa.limits import (
    EVENT_KEEP_ALIVE_S,
    EVENT_READERS_MAX,
    EVENTS_SCAN_S,
    EVENTS_WAIT_S_MAX,
    HTTP_LIST_COUNT_MAX,
    WEBHOOK_REPLAY_COUNT_MAX,
    WEBHOOK_WAITING_MAX,
)
from aaa.model.entities import Moment
from aaa.model.event_types import check_pattern
from billing_hooks.endpoints import JSON, Context, Endpoint
from billing_hooks.problems import ProblemError, read_body
from billing_hooks.rpc import RpcUnavailable
from billing_hooks.tail import EventView, Feed, Gone, Told, Wanted, moment
from billing_hooks.tokens import PUSHERS, READERS
from billing_hooks.webhooks import Courier, shown_url

SSE: Final = "text/event-stream"
SEQ_MAX: Final = 2**63 - 1
Seq = Annotated[int, Meta(ge=0, le=SEQ_MAX)]
RETRY_MS: Final = 2000
"""What a stream asks its client to wait before it comes back."""
STREAM_COUNT: Final = 250


class EventQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which events are told; all that is given must match."""

    after: Seq | None = None
    """Sequence number after which to begin. Polls: absent means the oldest that is kept; streams: from now on."""
    type: str | None = None
    """Types, separated by commas: names, or all of a kind, as in quota.*"""
    service: str | None = None
    """Only of this service."""
    subscriber: str | None = None
    """Only of this subscriber and its services: what a portal asks for."""


class EventPoll(EventQuery, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of a poll."""

    wait: Annotated[float, Meta(ge=0, le=EVENTS_WAIT_S_MAX)] = 0.0
    """Seconds to wait for the first event where there is none yet."""
    limit: Annotated[int, Meta(ge=1, le=HTTP_LIST_COUNT_MAX)] = 100
    last: Annotated[int, Meta(ge=1, le=HTTP_LIST_COUNT_MAX)] | None = None
    """Instead of after: so many of the newest."""


class EventPage(Struct):
    """Events in order, and where to go on."""

    items: list[EventView]
    next: int
    """Give it as `after`: nothing that was wanted up to it is left out."""


def wanted_of(context: Context) -> Wanted:
    """The query and the token's scope. Raises ProblemError."""
    query = context.query
    types = tuple(part.strip() for part in query.type.split(",")) if query.type is not None else ("*",)
    for pattern in types:
        try:
            check_pattern(pattern)
        except ValueError as error:
            raise ProblemError("invalid", str(error), "type") from None
    return Wanted(types, query.service, query.subscriber, context.actor.operator)


def gone(error: Gone) -> ProblemError:
    """410, naming the oldest."""
    problem = ProblemError("gone", f"{error}; go on after {error.oldest - 1}", "after")
    problem.problem.oldest = error.oldest
    return problem


def admit(feed: Feed) -> None:
    """Raises ProblemError where too many clients read already."""
    if feed.readers >= EVENT_READERS_MAX:
        raise ProblemError("unavailable", "too many clients wait for events")


async def poll(context: Context) -> Response[bytes]:
    """Events after a number; waits for the first where asked to."""
    query, feed = context.query, context.outlets.feed
    wanted = wanted_of(context)
    admit(feed)
    await feed.ready()
    feed.readers += 1
    try:
        if query.last is not None:
            if query.after is not None:
                raise ProblemError("invalid", "give after or last", "last")
            return page(await feed.newest(query.last, wanted), feed.durable)
        after = await feed.oldest() - 1 if query.after is None else query.after
        return page(*await _await_events(context, feed, wanted, after))
    except Gone as error:
        raise gone(error) from None
    finally:
        feed.readers -= 1


async def _await_events(context: Context, feed: Feed, wanted: Wanted, after: int) -> tuple[list[Told], int]:
    query, clock = context.query, asyncio.get_running_loop().time
    began, generation = clock(), context.outlets.generation
    while True:
        found, after = await feed.read(after, query.limit, wanted)
        now = clock()
        if found or feed.closing or context.outlets.generation != generation:
            return found, after
        if after < feed.durable:
            if now - began > max(query.wait, EVENTS_SCAN_S):
                return found, after
        elif now - began >= query.wait:
            return found, after
        else:
            await feed.wait(query.subscriber, query.wait - (now - began))


def page(found: list[Told], position: int) -> Response[bytes]:
    """A page of events; position: where the next poll goes on."""
    body = b'{"items":[' + b",".join([told.line for told in found]) + b'],"next":%d}' % position
    return Response(body, media_type=JSON)


async def stream(context: Context) -> Response[Any]:
    """Events as they become durable. Last-Event-ID, which a browser sends when it comes back, goes before `after`."""
    feed, after = context.outlets.feed, context.query.after
    wanted = wanted_of(context)
    resumed = context.headers.get("last-event-id", "").strip()
    if resumed:
        if not resumed.isascii() or not resumed.isdigit() or int(resumed) > SEQ_MAX:
            raise ProblemError("invalid", "Last-Event-ID is the sequence number of an event", "Last-Event-ID")
        after = int(resumed)
    admit(feed)
    await feed.ready()
    if after is None:
        after = feed.durable
    try:
        first = await feed.read(after, STREAM_COUNT, wanted)
    except Gone as error:
        raise gone(error) from None
    # X-Accel-Buffering: nginx would keep events back otherwise.
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Stream(_stream(context, feed, wanted, *first), media_type=SSE, headers=headers)


async def _stream(context: Context, feed: Feed, wanted: Wanted, found: list[Told], after: int) -> AsyncIterator[bytes]:
    feed.readers += 1
    generation = context.outlets.generation
    try:
        # A comment with the head: the client knows that it is connected before anything happens.
        yield b"retry: %d\n: from %d\n\n" % (RETRY_MS, after)
        while True:
            if found:
                yield b"".join(map(_sse, found))
            if feed.closing or context.outlets.generation != generation:
                return
            if after >= feed.durable:
                before = feed.durable
                await feed.wait(context.query.subscriber, EVENT_KEEP_ALIVE_S)
                if feed.durable == before:
                    yield b": keep-alive\n\n"
            found, after = await feed.read(after, STREAM_COUNT, wanted)
    except Gone as error:
        yield b'event: gone\ndata: {"oldest":%d}\n\n' % error.oldest
    except (RpcUnavailable, sqlite3.Error):
        return
    finally:
        feed.readers -= 1


def _sse(told: Told) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (told.seq, told.type.encode(), told.line)


# Webhooks


class WebhookState(Struct):
    """A webhook as it is now."""

    name: str
    url: str
    """Without its query."""
    events: tuple[str, ...]
    operator: str | None
    state: str
    """idle, delivering, retrying (lanes wait to be tried again), or full (none is read until some are taken)."""
    after: int
    """All events up to it were looked at; those not delivered yet are waiting."""
    waiting: int
    """Events on their way."""
    blocked_lanes: int
    """Subscribers whose first event was refused and is tried again later."""
    lag_s: float
    """Age of the oldest event on its way."""
    lag_events: int
    """Events that were not looked at yet."""
    delivered: int
    """Since the HTTP process started; likewise failed."""
    failed: int
    delivered_at: str | None
    error: str
    """How the last delivery failed; empty once one has succeeded."""
    dead_letters: int


class WebhookList(Struct):
    """All webhooks that the token may see."""

    items: list[WebhookState]


class DeadLetter(Struct):
    """An event that a webhook refused for good."""

    seq: int
    at: Moment
    """When it was given up."""
    attempts: int
    error: str
    event: EventView | None
    """null: it is past its retention."""


class DeadLetterPage(Struct):
    """A page of dead letters, oldest first."""

    items: list[DeadLetter]
    next: str | None = None


class LetterQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Parameters of the list of dead letters."""

    after: Seq = 0
    """Cursor: the `next` of the page before."""
    limit: Annotated[int, Meta(ge=1, le=HTTP_LIST_COUNT_MAX)] = 100


class Replay(Struct, forbid_unknown_fields=True):
    """What is to be delivered again: everything after a number, the dead letters named, or all of them."""

    after: Seq | None = None
    seqs: Annotated[tuple[Seq, ...], Meta(max_length=WEBHOOK_REPLAY_COUNT_MAX)] | None = None


class Replayed(Struct):
    """What is on its way again."""

    webhook: str
    replayed: int
    """Dead letters taken up; with `after`, 0."""
    left: int
    """Dead letters still there."""


class TestDelivery(Struct):
    """How the far end took a test event."""

    __test__ = False

    delivered: bool
    status: int
    """HTTP status; 0: no answer."""
    error: str
    took_ms: float


def courier_of(context: Context) -> Courier:
    """Raises ProblemError (not_found)."""
    name = context.path["name"]
    courier = context.outlets.webhooks.find(name, context.actor.operator)
    if courier is None:
        raise ProblemError("not_found", f"no webhook {name!r}")
    return courier


async def list_webhooks(context: Context) -> Response[bytes]:
    """Each with how far it is."""
    rows = await context.history.rows("SELECT webhook, count(*) FROM dead_letter GROUP BY webhook")
    letters = dict(rows)
    feed = context.outlets.feed
    items = []
    for courier in context.outlets.webhooks.seen_by(context.actor.operator):
        settings, waiting, blocked = courier.settings, len(courier.waiting), courier.blocked
        oldest_at = courier.oldest_at
        state = "retrying" if blocked else "delivering" if waiting else "idle"
        items.append(
            WebhookState(
                name=settings.name,
                url=shown_url(settings.url),
                events=settings.events,
                operator=settings.operator,
                state="full" if waiting >= WEBHOOK_WAITING_MAX else state,
                after=courier.after,
                waiting=waiting,
                blocked_lanes=blocked,
                lag_s=0.0 if oldest_at is None else round(max(0.0, time.time() - oldest_at), 3),
                lag_events=max(0, feed.durable - courier.after),
                delivered=courier.delivered,
                failed=courier.failed,
                delivered_at=moment(courier.delivered_at) if courier.delivered_at else None,
                error=courier.error,
                dead_letters=letters.get(settings.name, 0),
            )
        )
    return Response(msgspec.json.encode(WebhookList(items)), media_type=JSON)


async def list_letters(context: Context) -> Response[bytes]:
    """Dead letters with their events."""
    name, query = courier_of(context).settings.name, context.query
    rows = await context.history.rows(
        "SELECT seq, at, attempts, error FROM dead_letter WHERE webhook = ? AND seq > ? ORDER BY seq LIMIT ?",
        (name, query.after, query.limit),
    )
    told = {each.seq: each.line for each in await context.outlets.feed.numbered(row[0] for row in rows)}
    items = [
        {
            "seq": seq,
            "at": moment(at),
            "attempts": attempts,
            "error": error,
            "event": msgspec.Raw(told[seq]) if seq in told else None,
        }
        for seq, at, attempts, error in rows
    ]
    following = str(rows[-1][0]) if len(rows) == query.limit else None
    return Response(msgspec.json.encode({"items": items, "next": following}), media_type=JSON)


async def replay(context: Context) -> Response[bytes]:
    """Dead letters, or everything after a number, once more."""
    courier = courier_of(context)
    asked = read_body(context.body, Replay) if context.body else Replay()
    if asked.after is not None:
        if asked.seqs is not None:
            raise ProblemError("invalid", "give after or seqs", "$.seqs")
        try:
            await courier.rewind(asked.after)
        except Gone as error:
            problem = gone(error)
            problem.problem.field = "$.after"
            raise problem from None
        return await _replayed(context, courier.settings.name, 0)
    room = min(WEBHOOK_REPLAY_COUNT_MAX, WEBHOOK_WAITING_MAX - len(courier.waiting))
    if room <= 0:
        raise ProblemError("unavailable", "so many events wait for this webhook that none is taken up again")
    condition, values = "webhook = ?", [courier.settings.name]
    if asked.seqs is not None:
        condition += " AND seq IN (SELECT value FROM json_each(?))"
        values.append(msgspec.json.encode(asked.seqs).decode())
    query = f"SELECT seq, attempts FROM dead_letter WHERE {condition} ORDER BY seq LIMIT ?"
    letters = await context.history.rows(query, [*values, room])
    return await _replayed(context, courier.settings.name, await courier.replay(letters))


async def _replayed(context: Context, name: str, count: int) -> Response[bytes]:
    rows = await context.history.rows("SELECT count(*) FROM dead_letter WHERE webhook = ?", (name,))
    left = rows[0][0] if rows else 0
    return Response(msgspec.json.encode(Replayed(name, count, left)), status_code=202, media_type=JSON)


async def test(context: Context) -> Response[bytes]:
    """One delivery now; its outcome is the answer."""
    outcome = await courier_of(context).test(context.actor.name)
    body = TestDelivery(not outcome.error, outcome.status, outcome.error, round(outcome.took_s * 1000, 3))
    return Response(msgspec.json.encode(body), media_type=JSON)


WEBHOOK: Final = "/v1/webhooks/{name}"

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        method="GET", path="/v1/events", roles=READERS, tag="Events", handler=poll, query=EventPoll, answer=EventPage,
        summary="List events in order, or wait for the next; an event is told when it is durable",
    ),
    Endpoint(
        method="GET", path="/v1/events/stream", roles=READERS, tag="Events", media_type=SSE, handler=stream,
        query=EventQuery, answer=EventView,
        summary="Stream events as server-sent events: id is the sequence number, event the type, data the JSON",
    ),
    Endpoint(
        method="GET", path="/v1/webhooks", roles=PUSHERS, tag="Webhooks", handler=list_webhooks, answer=WebhookList,
        summary="List webhooks with how far each is",
    ),
    Endpoint(
        method="GET", path=f"{WEBHOOK}/dead-letters", roles=PUSHERS, tag="Webhooks", handler=list_letters,
        query=LetterQuery, answer=DeadLetterPage, summary="List events that a webhook refused for good",
    ),
    Endpoint(
        method="POST", path=f"{WEBHOOK}/replay", roles=PUSHERS, tag="Webhooks", handler=replay, body=Replay,
        is_body_optional=True, answer=Replayed, answer_status=202,
        summary="Deliver again: dead letters, or everything after a sequence number",
    ),
    Endpoint(
        method="POST", path=f"{WEBHOOK}/test", roles=PUSHERS, tag="Webhooks", handler=test, answer=TestDelivery,
        summary="Deliver a test event now, and say how the far end took it",
    ),
)  # fmt: skip
