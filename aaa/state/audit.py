"""The audit log: who changed what, when, from what to what. Each entry's hash covers the one before it.

An entry's hash is SHA-256 over the previous hash (32 octets; zeros before the first entry), the JSON array
[seq, at, actor, operator, correlation_id, action, kind, subject] in UTF-8 without spaces, a newline, and the body.
Whoever changes, removes or inserts a row breaks the chain from there on; the newest entry stays when old ones are
dropped, and the oldest that is kept is where a verification begins. Bodies hold no secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from aaa.model.events import Cause
from aaa.state.schema import Row
from aaa.state.store import Store

COLUMNS = "seq, at, actor, operator, correlation_id, action, kind, subject, body, hash"
"""In the order that verify() takes."""

_encode = msgspec.json.Encoder().encode


def entry_hash(previous: bytes, columns: tuple[Any, ...], body: str) -> bytes:
    """The hash of an entry. columns: all from seq to subject."""
    return sha256(b"%b%b\n%b" % (previous, _encode(columns), body.encode())).digest()


def append(store: Store, at: float, action: str, kind: str, subject: str, body: str = "{}", operator: str = "") -> int:
    """Write an entry for a change under the running cause; returns its number, which the cause bears from now on.

    at: epoch seconds. body: JSON, {"before": …, "after": …} where something was changed. operator: whose it is.
    """
    seq = store.last_audit = store.last_audit + 1
    cause = store.cause
    columns = (seq, at, cause.actor, operator, cause.correlation_id, action, kind, subject)
    digest = store.audit_hash = entry_hash(store.audit_hash, columns, body)
    store.journal.append(Row.AUDIT, (*columns, body, digest))
    if cause.audit != seq:
        store.cause = Cause(cause.actor, cause.correlation_id, seq, cause.depth)
    return seq


def change_body(before: str, after: str, more: Mapping[str, Any] = {}) -> str:
    """The body of a change. before, after: JSON text; "" for none. more: what else there is to tell."""
    parts = []
    if before:
        parts.append(f'"before":{before}')
    if after:
        parts.append(f'"after":{after}')
    parts += [f'"{name}":{_encode(value).decode()}' for name, value in more.items()]
    return f"{{{','.join(parts)}}}"


def verify(rows: Iterable[tuple[Any, ...]], previous: bytes | None = None) -> int | None:
    """The first number at which the chain is broken; None: it is whole.

    rows: entries in the order of COLUMNS, by number. previous: hash of the entry before the first; None: that one is
    not kept any more, so the first row is taken for the chain's beginning. bytes(32) before entry 1.
    """
    expected: int | None = None
    for row in rows:
        seq, body, stored = row[0], row[8], bytes(row[9])
        if expected is not None and seq != expected:
            return expected
        if previous is None and seq == 1:
            previous = bytes(32)
        if previous is not None and entry_hash(previous, tuple(row[:8]), body) != stored:
            return int(seq)
        previous, expected = stored, seq + 1
    return None
