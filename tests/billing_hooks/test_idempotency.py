"""Idempotency keys before the engine: what is stored is answered from the store, what is not is done."""

import asyncio
import hashlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aaa.limits import HTTP_SYNC_CALL_OPERATIONS
from billing_hooks.history import History
from billing_hooks.idempotency import Keys
from tests.billing_hooks.conftest import PLAN, Harness, token_of

TABLE = "CREATE TABLE idempotency (key TEXT PRIMARY KEY, at REAL, digest BLOB, status INTEGER, answer BLOB)"
NDJSON = {"Content-Type": "application/x-ndjson"}
ANSWER = b'{"results":[%b]}'


class Stored:
    """An application whose store has what a test puts into it."""

    def __init__(self, api: Harness, path: Path) -> None:
        self.api = api
        self.db = sqlite3.connect(path)
        self.db.execute(TABLE)
        api.door.keys = Keys(api.rpc, History(str(path)))

    def keep(self, number: int, name: str, status: str, times: int) -> None:
        """Store an answer for the call of that number that the engine has seen last under a key."""
        key, digest = self.api.engine.keyed[number]
        result = b'{"kind":"plan","id":"%b","status":"%b"}' % (name.encode(), status.encode())
        answer = ANSWER % b",".join([result] * times)
        self.db.execute("INSERT INTO idempotency VALUES (?, 0, ?, 200, ?)", (key, digest, answer))
        self.db.commit()

    def end(self, calls: int) -> None:
        key = self.api.engine.keyed[0][0].partition(".")[0]
        self.db.execute("INSERT INTO idempotency VALUES (?, 0, x'', ?, x'')", (f"{key}.end", calls))
        self.db.commit()

    def put(self, body: Any = PLAN, key: str = "k", role: str = "admin") -> httpx.Response:
        return self.api.ask("PUT", "/v1/plans/p", role=role, json=body, headers={"Idempotency-Key": key})

    def sync(self, operations: list[dict[str, Any]]) -> httpx.Response:
        body = b"".join(json.dumps(operation).encode() + b"\n" for operation in operations)
        return self.api.ask("POST", "/v1/sync", content=body, headers=NDJSON | {"Idempotency-Key": "k"})


@pytest.fixture
def stored(api: Harness, tmp_path: Path) -> Iterator[Stored]:
    stored = Stored(api, tmp_path / "aaa.db")
    yield stored
    stored.db.close()


def puts(count: int) -> list[dict[str, Any]]:
    return [{"op": "put", "kind": "plan", "id": f"p{number}", "value": PLAN} for number in range(count)]


def test_a_stored_answer_is_given_without_the_engine(stored: Stored) -> None:
    assert stored.put().json()["status"] == "applied"
    stored.keep(0, "p", "applied", 1)
    before = len(stored.api.engine.calls)
    assert stored.put().json() == {"kind": "plan", "id": "p", "status": "applied"}
    assert len(stored.api.engine.calls) == before


def test_another_body_path_or_query_is_another_request(stored: Stored) -> None:
    stored.put()
    stored.keep(0, "p", "applied", 1)
    assert stored.put(PLAN | {"name": "other"}).json()["error"] == "idempotency_mismatch"
    headers = {"Idempotency-Key": "k"}
    assert stored.api.ask("PUT", "/v1/plans/q", json=PLAN, headers=headers).status_code == 422
    assert stored.api.ask("PUT", "/v1/plans/p?timeout=3", json=PLAN, headers=headers).status_code == 422
    before = len(stored.api.engine.calls)
    assert stored.put(key="other", body=PLAN | {"revision": 2}).json()["status"] == "applied"
    assert stored.put(role="billing", body=PLAN | {"revision": 3}).json()["status"] == "applied"
    assert len(stored.api.engine.calls) == before + 2


def test_keys_differ_by_token_and_are_not_readable_in_the_store(stored: Stored) -> None:
    stored.put()
    stored.put(role="billing")
    first, second = (key for key, _ in stored.api.engine.keyed)
    assert first != second
    assert first == f"{hashlib.sha256(b'admin' + bytes(1) + b'k').hexdigest()[:32]}.0"


def test_the_same_key_at_the_same_time_is_in_progress(stored: Stored) -> None:
    api = stored.api

    async def both() -> tuple[httpx.Response, httpx.Response]:
        api.engine.hold = asyncio.Event()
        headers = {"Authorization": f"Bearer {token_of('admin')}", "Idempotency-Key": "k"}
        first = asyncio.ensure_future(api.http.put("/v1/plans/p", json=PLAN, headers=headers))
        while not api.engine.calls:
            await asyncio.sleep(0)
        second = await api.http.put("/v1/plans/p", json=PLAN, headers=headers)
        api.engine.hold.set()
        return await first, second

    first, second = api.run(both())
    assert first.json()["status"] == "applied"
    assert (second.status_code, second.json()["error"]) == (409, "in_progress")


def test_a_stream_that_was_cut_goes_on_where_it_was_cut(stored: Stored) -> None:
    operations = puts(2 * HTTP_SYNC_CALL_OPERATIONS + 3)
    stored.sync(operations)
    stored.keep(0, "kept", "stale", HTTP_SYNC_CALL_OPERATIONS)
    stored.api.engine.__init__()  # type: ignore[misc]
    results = [json.loads(line) for line in stored.sync(operations).text.splitlines()]
    assert [result["id"] for result in results[:HTTP_SYNC_CALL_OPERATIONS]] == ["kept"] * HTTP_SYNC_CALL_OPERATIONS
    assert {result["status"] for result in results[HTTP_SYNC_CALL_OPERATIONS:]} == {"applied"}
    assert [call[2] for call in stored.api.engine.calls if call[0] == "sync"] == [HTTP_SYNC_CALL_OPERATIONS, 3]


@pytest.mark.parametrize("count", [HTTP_SYNC_CALL_OPERATIONS, 3 * HTTP_SYNC_CALL_OPERATIONS])
def test_a_shorter_or_longer_stream_is_another_request(stored: Stored, count: int) -> None:
    stored.sync(puts(2 * HTTP_SYNC_CALL_OPERATIONS))
    for number in (0, 1):
        stored.keep(number, "p", "applied", HTTP_SYNC_CALL_OPERATIONS)
    stored.end(2)
    before = len(stored.api.engine.calls)
    assert stored.sync(puts(count)).json()["error"] == "idempotency_mismatch"
    assert len(stored.api.engine.calls) == before, "nothing behind it is done"
    assert stored.sync(puts(2 * HTTP_SYNC_CALL_OPERATIONS)).status_code == 200


def test_a_question_takes_no_key(stored: Stored) -> None:
    stored.put()
    assert stored.api.ask("GET", "/v1/plans/p", headers={"Idempotency-Key": "k"}).status_code == 200
    assert len(stored.api.engine.keyed) == 1


def test_a_preview_under_a_key_is_not_kept(stored: Stored) -> None:
    stored.api.ask("POST", "/v1/policy/preview", json={"operations": []}, headers={"Idempotency-Key": "k"})
    assert stored.api.engine.keyed == []
