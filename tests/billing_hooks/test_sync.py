"""Sync: every operation answered, in order, in bounded memory, whatever becomes of one of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.limits import HTTP_SYNC_CALL_OPERATIONS, HTTP_SYNC_CALLS_IN_FLIGHT, HTTP_SYNC_LINE_BYTES_MAX
from aaa.model.operations import Operation
from billing_hooks.problems import FieldError
from billing_hooks.sync import LineSplitter, check_operation
from tests.billing_hooks.conftest import PLAN, SERVICE, Harness, token_of

NDJSON = {"Content-Type": "application/x-ndjson", "Authorization": f"Bearer {token_of('billing')}"}


def put(number: int) -> dict[str, Any]:
    value = SERVICE | {"credentials": [{"type": "password", "username": f"u{number}", "cleartext": "p"}]}
    return {"op": "put", "kind": "service", "id": f"u{number}", "value": value}


def results_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_operations_are_answered_in_order(seeded: Harness) -> None:
    operations = [
        {"op": "put", "kind": "plan", "id": "p2", "value": PLAN},
        {"op": "patch", "kind": "service", "id": "u1", "value": {"plan_id": "p2", "revision": 2}},
        {"op": "patch", "kind": "service", "id": "u1", "value": {"plan_id": "none", "colour": 1}, "revision": 3},
        {"op": "dance", "kind": "service", "id": "u1"},
        17,
        {"op": "state", "kind": "service", "id": "u1", "value": {"state": "suspended"}, "revision": 4},
        {"op": "delete", "kind": "service", "id": "u1", "revision": 5},
        {"op": "delete", "kind": "service", "id": "u1"},
    ]
    answer = seeded.ask("POST", "/v1/sync", role="billing", json={"operations": operations})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [
        "applied", "applied", "error", "error", "error", "applied", "applied", "error",
    ]  # fmt: skip
    assert (results[2]["field"], results[2]["id"]) == ("$.value.colour", "u1")
    assert results[3]["field"] == "$.op"
    assert results[7]["field"] == "$.revision"
    assert "operation 8" in results[7]["detail"]


@pytest.mark.parametrize("body", [{}, {"operation": []}, {"operations": {}}, [], {"operations": [], "more": 1}])
def test_a_wrong_envelope_is_a_problem(api: Harness, body: Any) -> None:
    assert api.ask("POST", "/v1/sync", json=body).json()["error"] == "invalid"


def test_no_operations_have_no_results(api: Harness) -> None:
    assert api.ask("POST", "/v1/sync", json={"operations": []}).json() == {"results": []}
    assert api.ask("POST", "/v1/sync", content=b"\n\n", headers=NDJSON).text == ""


def test_fifty_thousand_operations_stream_through_one_request(seeded: Harness) -> None:
    count = 50_000

    async def body() -> AsyncIterator[bytes]:
        for start in range(0, count, 997):
            numbers = range(start, min(start + 997, count))
            yield b"".join(msgspec.json.encode(put(number)) + b"\n" for number in numbers)

    async def push() -> str:
        answer = await seeded.http.post("/v1/sync", content=body(), headers=NDJSON)
        assert answer.headers["content-type"] == "application/x-ndjson"
        return answer.text

    results = results_of(seeded.run(push()))
    assert [result["id"] for result in results] == [f"u{number}" for number in range(count)]
    # u1 was there before, with another password in the same revision.
    assert [result["id"] for result in results if result["status"] == "conflict"] == ["u1"]
    assert {result["status"] for result in results} == {"applied", "conflict"}
    sizes = [args for method, _, args in seeded.engine.calls if method == "sync"]
    assert max(sizes) == HTTP_SYNC_CALL_OPERATIONS


def test_the_body_is_not_read_ahead_of_the_engine(seeded: Harness) -> None:
    hold = seeded.engine.hold = asyncio.Event()
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for number in range(5000):
            sent += 1
            yield msgspec.json.encode(put(number)) + b"\n"

    async def push() -> int:
        task = asyncio.ensure_future(seeded.http.post("/v1/sync", content=body(), headers=NDJSON))
        before = -1
        while before != sent:
            before = sent
            for _ in range(200):
                await asyncio.sleep(0)
        seen = sent
        hold.set()
        answer = await task
        assert len(answer.text.splitlines()) == 5000
        return seen

    assert seeded.run(push()) <= HTTP_SYNC_CALL_OPERATIONS * (HTTP_SYNC_CALLS_IN_FLIGHT + 2)


def test_a_broken_line_is_answered_and_the_next_ones_go_on(seeded: Harness) -> None:
    lines = [
        json.dumps(put(1) | {"id": "u2"}),
        "{broken",
        "",
        json.dumps({"op": "put", "kind": "service", "id": "big", "value": {"x": "y" * HTTP_SYNC_LINE_BYTES_MAX}}),
        json.dumps(put(3)),
    ]
    answer = seeded.ask("POST", "/v1/sync", content="\r\n".join(lines).encode(), headers=NDJSON)
    results = results_of(answer.text)
    assert [(result["id"], result["status"]) for result in results] == [
        ("u2", "applied"), ("", "error"), ("", "error"), ("u3", "applied"),
    ]  # fmt: skip
    assert results[1]["detail"].startswith("operation 2: not JSON")
    assert results[2]["detail"] == f"operation 4: longer than {HTTP_SYNC_LINE_BYTES_MAX} bytes"


def test_when_the_engine_goes_every_operation_is_still_answered(seeded: Harness) -> None:
    seeded.engine.hold = asyncio.Event()

    async def push() -> list[dict[str, Any]]:
        content = b"".join(msgspec.json.encode(put(number)) + b"\n" for number in range(200))
        task = asyncio.ensure_future(seeded.http.post("/v1/sync", content=content, headers=NDJSON))
        while not seeded.server.calls_in_work:
            await asyncio.sleep(0)
        seeded.server.close()
        return results_of((await task).text)

    results = seeded.run(push())
    assert len(results) == 200
    assert {(result["status"], result["error"]) for result in results} == {("error", "unavailable")}


def test_an_integer_beyond_64_bits_is_refused_alone(seeded: Harness) -> None:
    value = PLAN | {"quota": {"octets": 2**80}}
    operations = [{"op": "put", "kind": "plan", "id": name, "value": v} for name, v in (("a", value), ("b", PLAN))]
    results = seeded.ask("POST", "/v1/sync", json={"operations": operations}).json()["results"]
    assert [result["status"] for result in results] == ["error", "applied"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=40).map(lambda line: line.replace(b"\n", b".")), max_size=20), st.integers(1, 30))
def test_lines_come_out_whole_however_the_stream_is_cut(lines: list[bytes], size: int) -> None:
    stream = b"\n".join(lines)
    splitter, found = LineSplitter(), []
    for at in range(0, len(stream), size):
        found += splitter.receive_data(stream[at : at + size])
    found += splitter.finish()
    expected = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    assert [(line.number, line.data) for line in found] == expected


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        (Operation("put", "plan", "", {"revision": 1}), "$.id"),
        (Operation("put", "plan", "x" * 254, {"revision": 1}), "$.id"),
        (Operation("put", "plan", "p"), "$.value"),
        (Operation("put", "plan", "p", {}), "$.value.revision"),
        (Operation("put", "plan", "p", {"revision": 1}, 2), "$.value.revision"),
        (Operation("put", "plan", "p", {"revision": 1, "id": "q"}), "$.value.id"),
        (Operation("patch", "plan", "p", {"name": "x"}), "$.value.revision"),
        (Operation("patch", "credentials", "p", {"revision": 1}), "$.op"),
        (Operation("state", "plan", "p", {"state": "active"}), "$.op"),
        (Operation("state", "service", "p", {"state": "active"}), "$.value.revision"),
        (Operation("state", "service", "p", {"state": "gone"}, 1), "$.value.state"),
        (Operation("delete", "plan", "p"), "$.revision"),
        (Operation("delete", "plan", "p", {"revision": 1}, 1), "$.value"),
        (Operation("delete", "plan", "p", None, -1), "$.revision"),
        (Operation("delete", "plan", "p", None, 2**63), "$.revision"),
    ],
)
def test_an_impossible_operation_names_its_field(operation: Operation, field: str) -> None:
    with pytest.raises(FieldError) as caught:
        check_operation(operation)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "operation",
    [
        Operation("put", "plan", "p", {"revision": 0}),
        Operation("put", "plan", "p", {}, 1),
        Operation("put", "plan", "p", {"revision": 1}, 1),
        Operation("put", "credentials", "p", {"credentials": []}, 1),
        Operation("delete", "credentials", "p", None, 2**63 - 1),
    ],
)
def test_a_possible_operation_knows_its_revision(operation: Operation) -> None:
    assert check_operation(operation).revision is not None
