"""Endpoints of proof: the audit log with what followed on the network, its verification, and receipts."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar.response import Response
from msgspec import Meta, Struct

from aaa.limits import AUDIT_RECEIPTS_MAX, AUDIT_VERIFY_COUNT, EVENTS_SCAN_COUNT, EVENTS_SCAN_S, HTTP_LIST_COUNT_MAX
from billing_hooks.endpoints import JSON, Context, Endpoint
from billing_hooks.history import History
from billing_hooks.problems import ProblemError
from billing_hooks.tail import moment
from billing_hooks.tokens import ADMINS, SUPPORT

Seq = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Limit = Annotated[int, Meta(ge=1, le=HTTP_LIST_COUNT_MAX)]
OPEN: Final = ("pending", "sent", "waiting")
State = Literal["pending", "sent", "waiting", "done", "failed", "superseded"]


class Exchange(Struct):
    """One request to the network element, with all its transmissions, and how it ended."""

    result: str
    """ack, nak, timeout or error."""
    error_cause: int | None
    """Error-Cause of a NAK (RFC 5176 §3.5)."""
    transmissions: int
    sent_at: str | None
    answered_at: str | None
    keys: list[tuple[str, str]]
    """Attributes that named the session."""
    attributes: list[tuple[str, str]]
    """What else was sent."""
    detail: str


class EnforcementReceipt(Struct):
    """What was sent to the network for a change of one live session, why, and what was answered."""

    id: int
    session: str
    service_id: str
    nas: str
    action: str
    """coa or disconnect."""
    state: State
    """done, failed and superseded are final."""
    result: str
    """One word when final."""
    reason: str
    """What differed."""
    attempts: int
    created_at: str | None
    finished_at: str | None
    seconds: float | None
    """From the change to the end of it; null: it is not final."""
    actor: str
    """Who asked for the change."""
    correlation_id: str
    audit: int
    """Number of the audit entry of the change; 0: none."""
    exchanges: list[Exchange]
    """The last few, oldest first."""


class EnforcementPage(Struct):
    """A page of receipts, newest first."""

    items: list[EnforcementReceipt]
    next: str | None = None


class EnforcementQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which receipts are listed; all that is given must match."""

    service: str | None = None
    session: str | None = None
    correlation_id: str | None = None
    """As sent with the push that caused the change."""
    state: State | None = None
    after: Seq | None = None
    """Cursor: the `next` of the page before."""
    limit: Limit = 100


class AuditEntry(Struct):
    """Who changed what, from what to what, and what followed on the network."""

    seq: int
    at: str
    actor: str
    operator: str
    correlation_id: str
    action: str
    """The operation: put, patch, delete, state, top_up, hold, restore, tag, transition, ..."""
    kind: str
    subject: str
    before: Any
    """The entity before, without secrets; null: there was none, or the action has no such thing."""
    after: Any
    more: dict[str, Any]
    """What else belongs to it: names of credentials, a reason."""
    enforcements: list[EnforcementReceipt]
    """The first hundred receipts."""
    enforcement_count: int


class AuditPage(Struct):
    """Entries in order, and where to go on."""

    items: list[AuditEntry]
    next: int


class AuditQuery(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which entries are listed; all that is given must match."""

    kind: str | None = None
    """plan, subscriber, service, credentials, sim, number, ..."""
    subject: str | None = None
    """Id of what was changed."""
    service: str | None = None
    """A service with its credentials: stands for kind and subject."""
    actor: str | None = None
    """Token, or token and person as in crm/anna."""
    correlation_id: str | None = None
    after: Seq = 0
    """Sequence number after which to begin."""
    last: Limit | None = None
    """Instead of after: so many of the newest."""
    limit: Limit = 100


class Verification(Struct):
    """Whether the chain of audit entries is whole."""

    whole: bool
    entries: int
    """Looked at."""
    first: int | None
    """Number of the oldest that is kept."""
    last: int | None
    broken_at: int | None
    """The first entry that was changed, removed or inserted."""
    head: str
    """Hash of the newest entry, in hex: kept elsewhere, it also proves later that no newest entries were cut off."""


# Receipts


def receipt(number: int, session: int, state: State, body: dict[str, Any]) -> EnforcementReceipt:
    """body: as aaa.state.rows.StoredEnforcement has it."""
    cause = body.get("cause", {})
    finished = body.get("finished_at", 0.0)
    created = body.get("created_at", 0.0)
    return EnforcementReceipt(
        id=number,
        session=str(session),
        service_id=body.get("service_id", ""),
        nas=body["nas"],
        action=body["action"],
        state=state,
        result=body.get("result", ""),
        reason=body.get("reason", ""),
        attempts=body.get("attempts", 0),
        created_at=shown(created),
        finished_at=shown(finished),
        seconds=round(max(0.0, finished - created), 6) if finished else None,
        actor=cause.get("actor", ""),
        correlation_id=cause.get("correlation_id", ""),
        audit=cause.get("audit", 0),
        exchanges=[
            Exchange(
                result=reply["result"],
                error_cause=reply.get("error_cause") or None,
                transmissions=reply.get("transmissions", 0),
                sent_at=shown(reply.get("sent_at", 0.0)),
                answered_at=shown(reply.get("answered_at", 0.0)),
                keys=reply.get("keys", []),
                attributes=reply.get("attributes", []),
                detail=reply.get("detail", ""),
            )
            for reply in body.get("log", ())
        ],
    )


def shown(at: float) -> str | None:
    """A moment as text; 0.0: it has not come."""
    return moment(at) if at else None


async def receipts(context: Context, rows: Iterable[Sequence[Any]]) -> list[EnforcementReceipt]:
    """Of rows (id, session, state, body); those that are still open as the engine has them now."""
    rows = list(rows)
    open_ids = [row[0] for row in rows if row[2] in OPEN]
    fresh: dict[int, dict[str, Any]] = {}
    if open_ids:
        answer = await context.engine.call("enforcements", context.actor, {"ids": open_ids})
        if answer.status == 200:
            fresh = {each["id"]: each for each in msgspec.json.decode(answer.body)["items"]}
    found = []
    for number, session, state, body in rows:
        now = fresh.get(number)
        if now is None:
            found.append(receipt(number, session, state, msgspec.json.decode(body)))
        else:
            found.append(receipt(number, session, now["state"], now["receipt"]))
    return found


async def list_enforcements(context: Context) -> Response[bytes]:
    """Receipts, newest first."""
    query = context.query
    conditions = ["1"]
    values: list[Any] = []
    indexed = query.service is not None or query.session is not None
    if context.actor.operator is not None:
        conditions.append("operator = ?")
        values.append(context.actor.operator)
    if query.service is not None:
        answer = await context.engine.call("service_no", context.actor, {"id": query.service})
        if answer.status != 200:
            raise ProblemError("not_found", f"no service {query.service!r}")
        conditions.append("service = ?")
        values.append(msgspec.json.decode(answer.body)["no"])
    if query.session is not None:
        if not query.session.isascii() or not query.session.isdigit() or int(query.session) >= 2**63:
            raise ProblemError("invalid", "a session's id is a number", "session")
        conditions.append("session = ?")
        values.append(int(query.session))
    for name in ("correlation_id", "state"):
        if getattr(query, name) is not None:
            conditions.append(f"{name} = ?")
            values.append(getattr(query, name))
    select = f"SELECT id, session, state, body FROM enforcement WHERE {' AND '.join(conditions)}"

    def work(db: sqlite3.Connection, below: int, least: int, count: int) -> list[Any]:
        bounds = " AND id < ? AND id > ? ORDER BY id DESC LIMIT ?"
        return db.execute(select + bounds, [*values, below, least, count]).fetchall()

    rows, position = await scan_down(context.history, "enforcement", "id", query.after, query.limit, indexed, work)
    body = EnforcementPage(await receipts(context, rows), None if position == 0 else str(position))
    return Response(msgspec.json.encode(body), media_type=JSON)


async def scan_down(
    history: History,
    table: str,
    key: str,
    below: int | None,
    limit: int,
    indexed: bool,
    work: Callable[[sqlite3.Connection, int, int, int], list[Any]],
) -> tuple[list[Any], int]:
    """Rows below a number, newest first, and the number to go on below; 0: there are no more.

    Where no index leads to them, a part of the table is looked at in one go, and not for longer than EVENTS_SCAN_S.
    """
    if below is None:
        newest = await history.rows(f"SELECT max({key}) FROM {table}")
        below = 1 + (newest[0][0] or 0) if newest else 1
    clock = asyncio.get_running_loop().time
    end = clock() + EVENTS_SCAN_S
    found: list[Any] = []
    while below > 1:
        least = 0 if indexed else max(0, below - 1 - EVENTS_SCAN_COUNT)
        count, start = limit - len(found), below

        def look(db: sqlite3.Connection, start: int = start, least: int = least, count: int = count) -> list[Any]:
            return work(db, start, least, count)

        rows = await history.read(look) or []
        found += rows
        if len(rows) == count:
            return found, rows[-1][0]
        below = least + 1
        if clock() > end:
            return found, below if below > 1 else 0
    return found, 0


async def show_enforcement(context: Context) -> Response[bytes]:
    """One receipt."""
    name = context.path["id"]
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else 0
    condition = "id = ?"
    values: list[Any] = [number]
    if context.actor.operator is not None:
        condition += " AND operator = ?"
        values.append(context.actor.operator)
    rows = await context.history.rows(f"SELECT id, session, state, body FROM enforcement WHERE {condition}", values)
    if not rows:
        raise ProblemError("not_found", f"no enforcement {name!r}")
    (found,) = await receipts(context, rows)
    return Response(msgspec.json.encode(found), media_type=JSON)


# The audit log


async def list_audit(context: Context) -> Response[bytes]:
    """Entries in order, each with its receipts."""
    query = context.query
    conditions = ["1"]
    values: list[Any] = []
    if query.service is not None:
        if query.kind is not None or query.subject is not None:
            raise ProblemError("invalid", "give service, or kind and subject", "service")
        conditions.append("kind IN ('service', 'credentials') AND subject = ?")
        values.append(query.service)
    for name in ("kind", "subject", "correlation_id"):
        if getattr(query, name) is not None:
            conditions.append(f"{name} = ?")
            values.append(getattr(query, name))
    if query.actor is not None:
        conditions.append("(actor = ? OR substr(actor, 1, length(?) + 1) = ? || '/')")
        values += [query.actor] * 3
    if context.actor.operator is not None:
        conditions.append("operator = ?")
        values.append(context.actor.operator)
    indexed = query.service is not None or (query.kind is not None and query.subject is not None)
    columns = "seq, at, actor, operator, correlation_id, action, kind, subject, body"
    select = f"SELECT {columns} FROM audit WHERE {' AND '.join(conditions)}"
    if query.last is not None:

        def newest(db: sqlite3.Connection, below: int, least: int, count: int) -> list[Any]:
            bounds = " AND seq < ? AND seq > ? ORDER BY seq DESC LIMIT ?"
            return db.execute(select + bounds, [*values, below, least, count]).fetchall()

        rows, _ = await scan_down(context.history, "audit", "seq", None, query.last, indexed, newest)
        rows.reverse()
        position = rows[-1][0] if rows else 0
    else:
        rows, position = await _entries_after(context, select, values, indexed)
    entries = [await _entry(context, row) for row in rows]
    return Response(msgspec.json.encode(AuditPage(entries, position)), media_type=JSON)


async def _entries_after(context: Context, select: str, values: list[Any], indexed: bool) -> tuple[list[Any], int]:
    query, history = context.query, context.history
    ends = await history.rows("SELECT min(seq), max(seq) FROM audit")
    if not ends or ends[0][0] is None:
        return [], query.after
    oldest, newest = ends[0]
    after = max(query.after, oldest - 1)
    clock = asyncio.get_running_loop().time
    end = clock() + EVENTS_SCAN_S
    found: list[Any] = []
    while after < newest:
        upto = newest if indexed else min(newest, after + EVENTS_SCAN_COUNT)
        count = query.limit - len(found)
        bounds = " AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        rows = await history.rows(select + bounds, [*values, after, upto, count])
        found += rows
        if len(rows) == count:
            return found, rows[-1][0]
        after = upto
        if clock() > end:
            break
    return found, after


async def _entry(context: Context, row: Sequence[Any]) -> AuditEntry:
    seq, at, actor, operator, correlation_id, action, kind, subject, text = row
    body = msgspec.json.decode(text)
    scope = "" if context.actor.operator is None else " AND operator = ?"
    values = [seq] if context.actor.operator is None else [seq, context.actor.operator]
    counted = await context.history.rows(f"SELECT count(*) FROM enforcement WHERE audit = ?{scope}", values)
    followed: list[EnforcementReceipt] = []
    if counted and counted[0][0]:
        rows = await context.history.rows(
            f"SELECT id, session, state, body FROM enforcement WHERE audit = ?{scope} ORDER BY id LIMIT ?",
            [*values, AUDIT_RECEIPTS_MAX],
        )
        followed = await receipts(context, rows)
    before, after = body.pop("before", None), body.pop("after", None)
    return AuditEntry(
        seq, moment(at), actor, operator, correlation_id, action, kind, subject, before, after, body, followed,
        counted[0][0] if counted else 0,
    )  # fmt: skip


async def verify(context: Context) -> Response[bytes]:
    """Walk the whole chain, a slice at a time, and compare its end with what the engine last wrote."""
    # Only here: it brings the store's records with it, which this process has no other use for.
    from aaa.state import audit

    if context.actor.operator is not None:
        raise ProblemError("forbidden", "the chain is all operators' together")
    answer = await context.engine.call("audit_head", context.actor)
    head = msgspec.json.decode(answer.body)
    entries, first, last, broken = 0, None, 0, None
    previous: bytes | None = None
    while True:
        query = f"SELECT {audit.COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
        rows = await context.outlets.exports.rows(query, (last, AUDIT_VERIFY_COUNT))
        if not rows:
            break
        if last and rows[0][0] != last + 1:
            broken = last + 1
            break
        first = first or rows[0][0]
        broken = audit.verify(rows, previous)
        if broken is not None:
            break
        entries += len(rows)
        last, previous = rows[-1][0], bytes(rows[-1][9])
        if last >= head["seq"] and not _holds_head(rows, head):
            broken = head["seq"]
            break
        await asyncio.sleep(0)
    if broken is None and last < head["seq"]:
        broken = last + 1
    body = Verification(
        broken is None, entries, first, last or None, broken, "" if previous is None else previous.hex()
    )
    return Response(msgspec.json.encode(body), media_type=JSON)


def _holds_head(rows: Sequence[Sequence[Any]], head: dict[str, Any]) -> bool:
    """Whether the entry that the engine knows is as it wrote it; true where it stands in an earlier slice."""
    return all(bytes(row[9]).hex() == head["hash"] for row in rows if row[0] == head["seq"])


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        method="GET", path="/v1/audit", roles=SUPPORT, tag="Audit", handler=list_audit, query=AuditQuery,
        answer=AuditPage,
        summary="List who changed what, from what to what, and which packets followed",
    ),
    Endpoint(
        method="GET", path="/v1/audit/verify", roles=ADMINS, tag="Audit", handler=verify, answer=Verification,
        summary="Verify the hash chain of the audit log, and name the first entry that is not as it was written",
    ),
    Endpoint(
        method="GET", path="/v1/enforcements", roles=SUPPORT, tag="Audit", handler=list_enforcements,
        query=EnforcementQuery, answer=EnforcementPage,
        summary="List receipts of what was sent to the network, newest first",
    ),
    Endpoint(
        method="GET", path="/v1/enforcements/{id}", roles=SUPPORT, tag="Audit", handler=show_enforcement,
        answer=EnforcementReceipt, summary="Show a receipt with every exchange",
    ),
)  # fmt: skip
