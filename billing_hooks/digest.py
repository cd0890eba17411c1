"""Digests: hashes of what is here, so that billing finds drift without sending everything. Reads the store only."""

import hashlib
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from litestar.response import Response

from billing_hooks.endpoints import JSON, Context, Endpoint
from billing_hooks.problems import ProblemError
from billing_hooks.schema import Digest, DigestPart, DigestQuery
from billing_hooks.tokens import READERS

FETCH_ROWS: Final = 2_000
QUERIES: Final[dict[str, str]] = {
    "plan": "SELECT json_extract(body, '$.id') AS id, json_extract(body, '$.revision') FROM plan WHERE ?1 IS NULL OR 1",
    "subscriber": "SELECT json_extract(body, '$.id') AS id, json_extract(body, '$.revision') FROM subscriber"
    " WHERE coalesce(json_extract(body, '$.operator'), 'default') = ?1 OR ?1 IS NULL",
    "service": "SELECT json_extract(body, '$.id') AS id, json_extract(body, '$.revision') FROM service"
    " WHERE json_extract(body, '$.state') IS NOT 'terminated' AND (?1 IS NULL OR subscriber IN"
    " (SELECT no FROM subscriber WHERE coalesce(json_extract(body, '$.operator'), 'default') = ?1))",
}
"""By kind: id and revision of what an operator has, or everybody. Terminated services are over on both sides."""


def digest_of(lines: list[tuple[str, int]]) -> str:
    """SHA-256 of "ID TAB REVISION LF" for each, in the order given."""
    digest = hashlib.sha256()
    for start in range(0, len(lines), FETCH_ROWS):
        piece = "".join(f"{name}\t{revision}\n" for name, revision in lines[start : start + FETCH_ROWS])
        digest.update(piece.encode())
    return digest.hexdigest()


def make_digest(db: sqlite3.Connection, kind: str, operator: str | None, query: DigestQuery) -> Digest:
    """The digest of a range, as cut into parts of equal count."""
    rows = list(_rows(db, kind, operator, query))
    count = len(rows)
    parts: list[DigestPart] = []
    for number in range(query.parts):
        first, last = count * number // query.parts, count * (number + 1) // query.parts
        if first == last and parts:
            continue
        begin = query.start if first == 0 else rows[first][0]
        end = query.end if last == count else rows[last][0]
        parts.append(DigestPart(begin, end, last - first, digest_of(rows[first:last])))
    return Digest(kind, count, parts[0].sha256 if len(parts) == 1 else digest_of(rows), parts)


def _rows(db: sqlite3.Connection, kind: str, operator: str | None, query: DigestQuery) -> Iterator[tuple[str, int]]:
    inner = QUERIES[kind]
    values: list[Any] = [operator, query.start, query.end]
    # SQLite's order of text is that of its octets in UTF-8, as `LC_ALL=C sort` has it.
    cursor = db.execute(
        f"SELECT * FROM ({inner}) WHERE (?2 IS NULL OR id >= ?2) AND (?3 IS NULL OR id < ?3) ORDER BY id", values
    )
    while some := cursor.fetchmany(FETCH_ROWS):
        yield from some


async def digest(context: Context) -> Response[bytes]:
    """Answered by this process alone."""
    query: DigestQuery = context.query
    if query.start is not None and query.end is not None and query.start.encode() > query.end.encode():
        raise ProblemError("invalid", "the end of the range is before its beginning", "to")
    made = await context.history.read(lambda db: make_digest(db, query.kind, context.actor.operator, query))
    if made is None:
        raise ProblemError("unavailable", "the server has no store")
    return Response(msgspec.json.encode(made), media_type=JSON)


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        method="GET", path="/v1/digest", roles=READERS, tag="Sync",
        summary="Hash what is here by kind and range of ids, to find drift", handler=digest, query=DigestQuery,
        answer=Digest,
    ),
)  # fmt: skip
