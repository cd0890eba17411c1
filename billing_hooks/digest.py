"""Digests: hashes of what is here, so that billing finds drift without sending everything. Reads the store only."""

import hashlib
import sqlite3
from typing import Final

import msgspec
from litestar.response import Response

from billing_hooks.endpoints import JSON, Context, Endpoint
from billing_hooks.problems import ProblemError
from billing_hooks.schema import Digest, DigestPart, DigestQuery
from billing_hooks.tokens import READERS

QUERIES: Final[dict[str, str]] = {
    "plan": "SELECT json_extract(body, '$.id') AS id, json_extract(body, '$.revision') AS revision FROM plan"
    " WHERE ?1 IS NULL OR 1",
    "subscriber": "SELECT json_extract(body, '$.id') AS id, json_extract(body, '$.revision') AS revision"
    " FROM subscriber WHERE coalesce(json_extract(body, '$.operator'), 'default') = ?1 OR ?1 IS NULL",
    "service": "SELECT json_extract(body, '$.id') AS id, json_extract(body, '$.revision') AS revision"
    " FROM service WHERE json_extract(body, '$.state') IS NOT 'terminated' AND (?1 IS NULL OR subscriber IN"
    " (SELECT no FROM subscriber WHERE coalesce(json_extract(body, '$.operator'), 'default') = ?1))",
}
"""By kind: id and revision of what an operator has, or everybody. Terminated services are over on both sides."""


def make_digest(db: sqlite3.Connection, kind: str, operator: str | None, query: DigestQuery) -> Digest:
    """The digest of a range, as cut into parts of equal count; in memory that the range does not change."""
    # SQLite's order of text is that of its octets in UTF-8, as `LC_ALL=C sort` has it.
    rows = f"FROM ({QUERIES[kind]}) WHERE (?2 IS NULL OR id >= ?2) AND (?3 IS NULL OR id < ?3)"
    values = (operator, query.start, query.end)
    (count,) = db.execute(f"SELECT count(*) {rows}", values).fetchone()
    whole, part = hashlib.sha256(), hashlib.sha256()
    parts: list[DigestPart] = []
    wanted = max(1, min(query.parts, count))
    begin, begun = query.start, 0
    for number, (name, revision) in enumerate(db.execute(f"SELECT id, revision {rows} ORDER BY id", values)):
        if number >= count * (len(parts) + 1) // wanted and len(parts) < wanted - 1:
            parts.append(DigestPart(begin, name, number - begun, part.hexdigest()))
            begin, begun, part = name, number, hashlib.sha256()
        line = f"{name}\t{revision}\n".encode()
        part.update(line)
        whole.update(line)
    parts.append(DigestPart(begin, query.end, max(0, count - begun), part.hexdigest()))
    return Digest(kind, count, whole.hexdigest(), parts)


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
