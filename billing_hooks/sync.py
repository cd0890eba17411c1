"""Sync: many operations in one request, each checked, sent to the engine in order, and answered in order.

Knows operations and the engine's `sync` method; knows no HTTP. Operations travel in calls of HTTP_SYNC_CALL_OPERATIONS,
several in flight; an operation that fails its check is answered here and never reaches the engine.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from typing import Any, Final

import msgspec

from aaa.limits import (
    HTTP_SYNC_CALL_BYTES,
    HTTP_SYNC_CALL_OPERATIONS,
    HTTP_SYNC_CALLS_IN_FLIGHT,
    HTTP_SYNC_LINE_BYTES_MAX,
)
from aaa.model.entities import Service, Subscriber
from aaa.model.operations import Actor, Answer, Operation, Result
from billing_hooks.problems import FieldError, check_value, explain
from billing_hooks.rpc import RpcClient, RpcUnavailable
from billing_hooks.schema import CredentialSet, PlanPatch, ServicePatch, StateChange, SubscriberPatch
from policy.model import Plan

VALUES: Final[dict[tuple[str, str], Any]] = {
    ("put", "plan"): Plan,
    ("put", "subscriber"): Subscriber,
    ("put", "service"): Service,
    ("put", "credentials"): CredentialSet,
    ("patch", "plan"): PlanPatch,
    ("patch", "subscriber"): SubscriberPatch,
    ("patch", "service"): ServicePatch,
    ("state", "service"): StateChange,
}
"""(op, kind) -> shape of the operation's value. Deletions have none."""
REVISION_MAX: Final = 2**63 - 1
ID_LENGTH_MAX: Final = 253


class Answers(msgspec.Struct):
    """Body of the engine's answer to `sync`."""

    results: list[Result]


class Line(msgspec.Struct, frozen=True):
    """One operation as received: its JSON and its place, counted from 1."""

    number: int
    data: bytes | None
    """None: longer than HTTP_SYNC_LINE_BYTES_MAX and thrown away."""


class LineSplitter:
    """Cuts a byte stream into NDJSON lines in bounded memory. Empty lines are counted and skipped."""

    __slots__ = ("_buffer", "_number", "_overlong")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._number = 0
        self._overlong = False

    def receive_data(self, data: bytes) -> list[Line]:
        """The lines that these octets complete."""
        lines = []
        pieces = data.split(b"\n")
        for piece in pieces[:-1]:
            self._extend(piece)
            lines += self._end_line()
        self._extend(pieces[-1])
        return lines

    def finish(self) -> list[Line]:
        """The last line, which needs no line feed."""
        return self._end_line()

    def _extend(self, piece: bytes) -> None:
        if self._overlong or len(self._buffer) + len(piece) > HTTP_SYNC_LINE_BYTES_MAX:
            self._overlong = True
            self._buffer.clear()
        else:
            self._buffer += piece

    def _end_line(self) -> list[Line]:
        self._number += 1
        data, overlong = bytes(self._buffer).strip(), self._overlong
        self._buffer.clear()
        self._overlong = False
        if overlong:
            return [Line(self._number, None)]
        return [Line(self._number, data)] if data else []


def check_operation(operation: Operation) -> Operation:
    """The operation, its value checked and its revision in `revision`. Raises FieldError."""
    if not 0 < len(operation.id) <= ID_LENGTH_MAX:
        raise FieldError(f"an id has 1 to {ID_LENGTH_MAX} characters", "$.id")
    value = operation.value
    if operation.op == "delete":
        if value:
            raise FieldError("a deletion has no value", "$.value")
    else:
        shape = VALUES.get((operation.op, operation.kind))
        if shape is None:
            raise FieldError(f"{operation.op} is not possible for a {operation.kind}", "$.op")
        if value is None:
            raise FieldError("value is required", "$.value")
        if operation.revision is not None and value.setdefault("revision", operation.revision) != operation.revision:
            raise FieldError("differs from the operation's own revision", "$.value.revision")
        try:
            check_value(value, shape)
        except FieldError as error:
            raise FieldError(error.detail, "$.value" + error.field[1:], error.suggestion) from None
        if value.get("id", operation.id) not in ("", operation.id):
            raise FieldError("differs from the operation's own id", "$.value.id")
        operation.revision = value.get("revision")
    if operation.revision is None:
        raise FieldError("revision is required", "$.revision" if operation.op == "delete" else "$.value.revision")
    if not 0 <= operation.revision <= REVISION_MAX:
        raise FieldError(f"a revision is an integer from 0 to {REVISION_MAX}", "$.revision")
    return operation


def read_operation(data: bytes, decoder: msgspec.json.Decoder[Operation]) -> Operation:
    """A checked operation from its JSON. Raises FieldError."""
    try:
        operation = decoder.decode(data)
    except msgspec.ValidationError as error:
        raise explain(error, Operation) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise FieldError(f"not JSON: {error}", "$") from None
    return check_operation(operation)


class _Call:
    """Operations of one call to the engine, with the results that are already known."""

    __slots__ = ("answer", "operations", "results", "size")

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.results: list[Result | None] = []
        self.size = 0
        self.answer: asyncio.Task[Answer] | None = None

    def is_full(self) -> bool:
        return len(self.results) >= HTTP_SYNC_CALL_OPERATIONS or self.size >= HTTP_SYNC_CALL_BYTES


async def run(lines: AsyncIterable[Iterable[Line]], rpc: RpcClient, actor: Actor) -> AsyncIterator[list[Result]]:
    """Results in the order of the lines, some at a time; every line gets one, whatever becomes of the engine."""
    decoder = msgspec.json.Decoder(Operation)
    in_flight: deque[_Call] = deque()
    call = _Call()
    try:
        async for some in lines:
            for line in some:
                _add(call, line, decoder)
                if call.is_full():
                    if len(in_flight) >= HTTP_SYNC_CALLS_IN_FLIGHT:
                        yield await _finish(in_flight.popleft())
                    await _start(call, rpc, actor)
                    in_flight.append(call)
                    call = _Call()
        if call.results:
            await _start(call, rpc, actor)
            in_flight.append(call)
        while in_flight:
            yield await _finish(in_flight.popleft())
    finally:
        for left in in_flight:
            if left.answer is not None:
                left.answer.cancel()


def _add(call: _Call, line: Line, decoder: msgspec.json.Decoder[Operation]) -> None:
    if line.data is None:
        detail = f"operation {line.number}: longer than {HTTP_SYNC_LINE_BYTES_MAX} bytes"
        call.results.append(Result("", "", "error", error="invalid", detail=detail, field="$"))
        return
    try:
        operation = read_operation(line.data, decoder)
        msgspec.msgpack.encode(operation.value)
    except FieldError as error:
        call.results.append(_refused(line, error))
    except OverflowError:
        call.results.append(_refused(line, FieldError("an integer is beyond 64 bits", "$.value")))
    else:
        call.operations.append(operation)
        call.results.append(None)
        call.size += len(line.data)


class _Named(msgspec.Struct):
    """The little of a refused operation that its result repeats."""

    kind: str = ""
    id: str = ""


def _refused(line: Line, error: FieldError) -> Result:
    try:
        named = msgspec.json.decode(line.data or b"", type=_Named)
    except (msgspec.DecodeError, RecursionError):
        named = _Named()
    detail = f"operation {line.number}: {error.detail}"
    return Result(named.kind, named.id, "error", error="invalid", detail=detail, field=error.field)


async def _start(call: _Call, rpc: RpcClient, actor: Actor) -> None:
    if call.operations:
        await rpc.writable()
        call.answer = asyncio.create_task(rpc.call("sync", actor, call.operations))
        # The task takes its place in the order of calls before the next one is made.
        await asyncio.sleep(0)


async def _finish(call: _Call) -> list[Result]:
    if call.answer is None:
        return [result for result in call.results if result is not None]
    try:
        answers = iter(_results_of(await call.answer, call.operations))
    except RpcUnavailable as error:
        answers = iter(_unanswered(call.operations, "unavailable", f"{error}; push it again"))
    return [next(answers) if result is None else result for result in call.results]


def _results_of(answer: Answer, operations: list[Operation]) -> list[Result]:
    if answer.status != 200:
        problem = msgspec.json.decode(answer.body, type=dict[str, Any]) if answer.body else {}
        return _unanswered(operations, str(problem.get("error", "internal")), str(problem.get("detail", "")))
    results = msgspec.json.decode(answer.body, type=Answers).results
    if len(results) != len(operations):
        return _unanswered(operations, "internal", "the engine gave another number of results")
    return results


def _unanswered(operations: list[Operation], error: str, detail: str) -> list[Result]:
    return [Result(each.kind, each.id, "error", error=error, detail=detail) for each in operations]
