"""Exports for billing: one record for every session that has ended, and octets by service over a span of time.

Several sessions may report one bearer, over Gy, Gx and RADIUS. Each has its record, with what was charged of it beside
what it reported; sums are of what was charged, so that a bearer counts once.

Theory of operation. A session's end is told by the event `session.stopped`, in order and durable, with the ids that
hold even after the service is gone. So records are read from the events: their sequence number is the watermark, and
whoever goes on from the last one misses nothing. A session that was closed here and then went on is told again with its
higher counters; of several records of one id the one with the highest number counts. Octets over a span are read from
the history of ended sessions and, for those that ended too lately to be there, from the same events. Read-only, in this
process: neither the packet loop nor the log of recent rows (aaa/state/recent.py) is asked.
"""

import csv
import io
import sqlite3
import time
from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar.response import Response, Stream
from msgspec import Meta, Struct

from aaa.limits import EVENTS_SCAN_COUNT, EXPORT_COUNT_MAX, EXPORT_SLICE_COUNT, HTTP_LIST_COUNT_MAX
from aaa.model.mobile import S6A, SY
from aaa.state.event_index import OF_SERVICE
from billing_hooks.endpoints import JSON, NDJSON, Context, Endpoint, read_moment, refuse
from billing_hooks.feed import Seq, gone
from billing_hooks.history import History
from billing_hooks.problems import ProblemError
from billing_hooks.schema import Usage
from billing_hooks.tail import Gone, moment
from billing_hooks.tokens import PUSHERS

CSV: Final = "text/csv; charset=utf-8"
Format = Literal["json", "ndjson", "csv"]
STOPPED: Final = "session.stopped"
BEARING: Final = "coalesce(json_extract(body, '$.protocol'), 'radius') NOT IN ('s6a', 'sy')"
"""Of an event about a session: registrations and policy counters carry no traffic."""


class Cdr(Struct):
    """One session that has ended. Octets: input is from the subscriber."""

    id: str
    """The session's: several records of one id are one session; the highest `seq` counts."""
    seq: int
    """Watermark: go on after the highest one that was taken."""
    service_id: str
    subscriber_id: str
    operator: str
    nas: str
    user_name: str
    acct_session_id: str
    """RADIUS: the NAS's own name of the session."""
    calling_station_id: str
    framed_ip: str
    started_at: str | None
    ended_at: str | None
    session_time_s: int
    input_octets: int
    output_octets: int
    total_octets: int
    terminate_cause: int
    """Acct-Terminate-Cause (RFC 2866 §5.10)."""
    protocol: str
    """radius, gx or gy: a bearer may have a record of each."""
    diameter_session_id: str
    """Gx and Gy: Session-Id."""
    imsi: str
    apn: str
    charged_input_octets: int
    """Of input_octets what was charged. Bill by this: the records of one bearer add up to what it used."""
    charged_output_octets: int


class CdrPage(Struct):
    """Records in order, and where to go on."""

    items: list[Cdr]
    next: int
    """Give it as `after`."""


class CdrQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which records are exported."""

    after: Seq | None = None
    """Watermark of the export before; absent: from the oldest that is kept."""
    service: str | None = None
    subscriber: str | None = None
    format: Format = "json"
    limit: Annotated[int, Meta(ge=1, le=EXPORT_COUNT_MAX)] = 1000
    """json: at most 1000."""


class UsageQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Of which service, and when."""

    service: str | None = None
    """Absent: one record for every service that had a session end in the span; give `from` and `to` then."""
    since: str | None = msgspec.field(default=None, name="from")
    """RFC 3339 with a zone, or epoch seconds: sessions that ended then or later."""
    until: str | None = msgspec.field(default=None, name="to")
    """Exclusive."""
    format: Format = "json"


class Cycle(Usage, frozen=True):
    """Octets of the running cycle."""

    starts_at: str | None = None
    ends_at: str | None = None


class Sessions(Usage, frozen=True):
    """How many sessions, and their octets."""

    sessions: int = 0


class UsageRecord(Struct, omit_defaults=True):
    """Octets of sessions that ended in a span, by service."""

    service_id: str | None
    """null: the service was deleted; its sessions' records have the id."""
    subscriber_id: str | None
    operator: str | None
    sessions: int
    input_octets: int
    output_octets: int
    total_octets: int
    running: Sessions | None = None
    """Where one service was asked for: its live sessions, with what they have reported so far; no part of the sums."""
    cycle: Cycle | None = None


class UsageList(Struct):
    """One record for each service."""

    items: list[UsageRecord]


USAGE_COLUMNS: Final = UsageRecord.__struct_fields__[:7]


# Records of sessions


def cdr_of(row: tuple[Any, ...]) -> Cdr:
    """Of an event's (seq, at, body, operator, subscriber, service)."""
    seq, at, body, operator, subscriber, service = row
    data = msgspec.json.decode(body)
    input_octets, output_octets = data["input_octets"], data["output_octets"]
    ended_at = data.get("ended_at") or at
    return Cdr(
        id=data["session_id"],
        seq=seq,
        service_id=service,
        subscriber_id=subscriber,
        operator=operator,
        nas=data["nas"],
        user_name=data.get("user_name", ""),
        acct_session_id=data.get("acct_session_id", ""),
        calling_station_id=data.get("calling_station_id", ""),
        framed_ip=data.get("framed_ip", ""),
        started_at=moment(data.get("started_at") or ended_at - data["session_time_s"]),
        ended_at=moment(ended_at),
        session_time_s=data["session_time_s"],
        input_octets=input_octets,
        output_octets=output_octets,
        total_octets=input_octets + output_octets,
        terminate_cause=data["terminate_cause"],
        protocol=data.get("protocol", "radius"),
        diameter_session_id=data.get("diameter_session_id", ""),
        imsi=data.get("imsi", ""),
        apn=data.get("apn", ""),
        charged_input_octets=data.get("charged_input_octets", input_octets),
        charged_output_octets=data.get("charged_output_octets", output_octets),
    )


class CdrReader:
    """Reads records in order, a slice at a time."""

    def __init__(self, context: Context, after: int) -> None:
        query = context.query
        self._history = context.outlets.exports
        self._upto = context.outlets.feed.durable
        self._indexed = query.service is not None
        self.position = after
        conditions, self._values = ["type = ?", BEARING], [STOPPED]
        filters = (("service", query.service), ("subscriber", query.subscriber), ("operator", context.actor.operator))
        for column, value in filters:
            if value is not None:
                conditions.append(f"{column} = ?")
                self._values.append(value)
        self._query = (
            "SELECT seq, at, body, operator, subscriber, service FROM event WHERE seq > ? AND seq <= ?"
            f" AND {' AND '.join(conditions)} ORDER BY seq LIMIT ?"
        )

    async def next(self, count: int) -> list[Cdr]:
        """Up to so many; fewer, or none, where a part of the events had no more. `ended` says that it is all."""
        upto = self._upto if self._indexed else min(self._upto, self.position + EVENTS_SCAN_COUNT)
        rows = await self._history.rows(self._query, [self.position, upto, *self._values, count])
        self.position = rows[-1][0] if len(rows) == count else max(self.position, upto)
        return list(map(cdr_of, rows))

    @property
    def ended(self) -> bool:
        return self.position >= self._upto


async def export_cdrs(context: Context) -> Response[Any]:
    """Records in order: a page of JSON, or a stream of lines."""
    query, feed = context.query, context.outlets.feed
    await feed.ready()
    oldest = await feed.oldest()
    after = oldest - 1 if query.after is None else query.after
    if after + 1 < oldest:
        raise gone(Gone(oldest)) from None
    reader = CdrReader(context, after)
    if query.format != "json":
        records = _read_all(reader, query.limit)
        lines = _lines(records, query.format, Cdr.__struct_fields__)
        return Stream(lines, media_type=NDJSON if query.format == "ndjson" else CSV)
    if query.limit > HTTP_LIST_COUNT_MAX:
        raise ProblemError("invalid", f"json has at most {HTTP_LIST_COUNT_MAX}; use ndjson or csv", "limit")
    items: list[Cdr] = []
    while len(items) < query.limit and not reader.ended:
        items += await reader.next(query.limit - len(items))
    return Response(msgspec.json.encode(CdrPage(items, reader.position)), media_type=JSON)


async def _read_all(reader: CdrReader, limit: int) -> AsyncIterator[list[Cdr]]:
    while limit > 0 and not reader.ended:
        some = await reader.next(min(limit, EXPORT_SLICE_COUNT))
        limit -= len(some)
        yield some


async def _lines(slices: AsyncIterator[list[Any]], format: Format, columns: tuple[str, ...]) -> AsyncIterator[bytes]:
    """Records as NDJSON, or as CSV with a head."""
    encode = msgspec.json.Encoder().encode_lines
    if format == "csv":
        yield to_csv([columns])
    async for some in slices:
        if some and format == "csv":
            yield to_csv([getattr(record, name) for name in columns] for record in some)
        elif some:
            yield encode(some)


FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Iterable[Iterable[Any]]) -> bytes:
    """RFC 4180. Security: text that a spreadsheet would run as a formula gets a quote before it."""
    text = io.StringIO()
    writer = csv.writer(text)
    for row in rows:
        cells = ("" if cell is None else cell for cell in row)
        writer.writerow(f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA) else cell for cell in cells)
    return text.getvalue().encode()


# Usage


async def export_usage(context: Context) -> Response[Any]:
    """One service, or all."""
    query = context.query
    since, until = read_moment(query.since, "from"), read_moment(query.until, "to")
    if since is not None and until is not None and since >= until:
        raise ProblemError("invalid", "ends before it begins", "to")
    if query.service is not None:
        if query.format != "json":
            raise ProblemError("invalid", "one service is given as json", "format")
        return await _usage_of(context, since, until)
    if since is None or until is None:
        raise ProblemError("invalid", "give from and to, or a service", "to" if since is not None else "from")
    slices = _usage_of_all(context, since, until)
    if query.format != "json":
        lines = _lines(slices, query.format, USAGE_COLUMNS)
        return Stream(lines, media_type=NDJSON if query.format == "ndjson" else CSV)
    return Stream(_json_list(slices), media_type=JSON)


async def _json_list(slices: AsyncIterator[list[Any]]) -> AsyncIterator[bytes]:
    yield b'{"items":['
    comma = b""
    async for some in slices:
        if some:
            yield comma + msgspec.json.encode(some)[1:-1]
            comma = b","
    yield b"]}"


async def _usage_of(context: Context, since: float | None, until: float | None) -> Response[bytes]:
    name = context.query.service
    answer = await context.engine.call("usage", context.actor, {"id": name})
    if answer.status != 200:
        return refuse(answer)
    now = msgspec.json.decode(answer.body)
    begin, end = since or 0.0, until if until is not None else time.time() + 86_400

    def work(db: sqlite3.Connection) -> dict[int, tuple[int, int]]:
        found: dict[int, tuple[int, int]] = {}
        events = db.execute(
            f"SELECT body FROM event WHERE {OF_SERVICE} AND type = ? AND {BEARING} ORDER BY seq", (name, name, STOPPED)
        )
        for (body,) in events:
            data = msgspec.json.decode(body)
            if begin <= data.get("ended_at", 0.0) < end:
                found[int(data["session_id"])] = (
                    data.get("charged_input_octets", data["input_octets"]),
                    data.get("charged_output_octets", data["output_octets"]),
                )
        rows = db.execute(
            f"SELECT id, {CHARGED_INPUT}, {CHARGED_OUTPUT} FROM session_history"
            f" WHERE service = ? AND ended_at >= ? AND ended_at < ? AND {CARRIES}",
            (now["no"], begin, end),
        )
        found.update((number, (received, sent)) for number, received, sent in rows)
        return found

    ended = await context.outlets.exports.read(work) or {}
    # One that was closed and then went on is live, whatever was told of it before.
    for session in now["running"]:
        ended.pop(session["id"], None)
    total = _sum(ended.values())
    record = UsageRecord(
        name, now["subscriber_id"], now["operator"], total.sessions, total.input_octets, total.output_octets,
        total.total_octets,
        running=_sum((session["input_octets"], session["output_octets"]) for session in now["running"]),
        cycle=Cycle(
            now["input_octets"], now["output_octets"], now["input_octets"] + now["output_octets"],
            moment(now["cycle_starts_at"]) if now["cycle_starts_at"] else None,
            moment(now["cycle_ends_at"]) if now["cycle_ends_at"] else None,
        ),
    )  # fmt: skip
    return Response(msgspec.json.encode(UsageList([record])), media_type=JSON)


def _sum(octets: Iterable[tuple[int, int]]) -> Sessions:
    pairs = list(octets)
    received, sent = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    return Sessions(received, sent, received + sent, len(pairs))


CHARGED_INPUT: Final = "input_octets - coalesce(json_extract(facts, '$.aside[0]'), 0)"
CHARGED_OUTPUT: Final = "output_octets - coalesce(json_extract(facts, '$.aside[1]'), 0)"
"""Of a row of session_history: what another session of the same bearer was charged for is not this one's."""
CARRIES: Final = f"coalesce(json_extract(facts, '$.protocol'), 0) NOT IN ({S6A}, {SY})"
"""BEARING of a row of session_history."""
USAGE: Final = f"""
WITH told AS (
 SELECT max(seq) AS seq FROM event WHERE seq >= :first AND type = 'session.stopped' AND {BEARING}
 GROUP BY json_extract(body, '$.session_id')
), ended AS (
 SELECT json_extract(v.body, '$.id') AS service, json_extract(o.body, '$.id') AS subscriber,
  iif(o.no IS NULL, NULL, coalesce(json_extract(o.body, '$.operator'), 'default')) AS operator,
  h.sessions, h.input_octets, h.output_octets
 FROM (SELECT service, count(*) AS sessions, sum({CHARGED_INPUT}) AS input_octets,
  sum({CHARGED_OUTPUT}) AS output_octets
  FROM session_history WHERE ended_at >= :since AND ended_at < :until AND {CARRIES} GROUP BY service) h
 LEFT JOIN service v ON v.no = h.service LEFT JOIN subscriber o ON o.no = v.subscriber
 UNION ALL
 SELECT nullif(e.service, ''), nullif(e.subscriber, ''), e.operator, 1,
  coalesce(json_extract(e.body, '$.charged_input_octets'), json_extract(e.body, '$.input_octets')),
  coalesce(json_extract(e.body, '$.charged_output_octets'), json_extract(e.body, '$.output_octets'))
 FROM told t JOIN event e ON e.seq = t.seq
 WHERE coalesce(json_extract(e.body, '$.ended_at'), e.at) >= :since
  AND coalesce(json_extract(e.body, '$.ended_at'), e.at) < :until
  AND NOT EXISTS (SELECT 1 FROM session_history h WHERE h.id = CAST(json_extract(e.body, '$.session_id') AS INTEGER))
)
SELECT service, max(subscriber), max(operator), sum(sessions), sum(input_octets), sum(output_octets) FROM ended
WHERE :operator IS NULL OR operator = :operator GROUP BY service ORDER BY service
"""
CLOCK_SLACK_S: Final = 86_400.0
"""How much earlier than it ended a session may have been told to end, by a clock that was wrong."""


async def _usage_of_all(context: Context, since: float, until: float) -> AsyncIterator[list[UsageRecord]]:
    """Slices of records, by service."""
    history = History(context.settings.store)

    def begin(db: sqlite3.Connection) -> sqlite3.Cursor:
        values = {"first": _seq_at(db, since - CLOCK_SLACK_S), "since": since, "until": until}
        return db.execute(USAGE, values | {"operator": context.actor.operator})

    try:
        cursor = await history.read(begin)
        while cursor is not None and (rows := await history.read(lambda db: cursor.fetchmany(EXPORT_SLICE_COUNT))):
            yield [make_record(*row) for row in rows]
    finally:
        history.close()


def make_record(
    service: str | None, subscriber: str | None, operator: str | None, sessions: int, received: int, sent: int
) -> UsageRecord:
    """A row of the sums."""
    return UsageRecord(service, subscriber, operator, sessions, received, sent, received + sent)


def _seq_at(db: sqlite3.Connection, at: float) -> int:
    """A number below which all events were before a moment; numbers grow with time."""
    low, high = db.execute("SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) + 1 FROM event").fetchone()
    while low < high:
        middle = (low + high) // 2
        row = db.execute("SELECT seq, at FROM event WHERE seq >= ? ORDER BY seq LIMIT 1", (middle,)).fetchone()
        if row is None or row[1] >= at:
            high = middle
        else:
            low = row[0] + 1
    return int(low)


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        method="GET", path="/v1/cdrs", roles=PUSHERS, tag="Exports", handler=export_cdrs, query=CdrQuery,
        answer=CdrPage, also=(NDJSON, CSV),
        summary="Export one record for every session that has ended, in order, from a watermark on",
    ),
    Endpoint(
        method="GET", path="/v1/usage", roles=PUSHERS, tag="Exports", handler=export_usage, query=UsageQuery,
        answer=UsageList, also=(NDJSON, CSV), summary="Sum up the octets of a service, or of all, over a span of time",
    ),
)  # fmt: skip
