"""Sync: many operations in one request, each checked, sent to the engine in order, and answered in order.

Knows operations and the engine's `sync` method; knows no HTTP. Operations travel in calls of HTTP_SYNC_CALL_OPERATIONS,
several in flight; an operation that fails its check is answered here and never reaches the engine.
"""

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any, Final

import msgspec

from aaa.limits import (
    ENFORCED_NAMES_MAX,
    HTTP_SYNC_CALL_BYTES,
    HTTP_SYNC_CALL_OPERATIONS,
    HTTP_SYNC_CALLS_IN_FLIGHT,
    HTTP_SYNC_LINE_BYTES_MAX,
)
from aaa.model.entities import Service, Subscriber, TopUp
from aaa.model.operations import Actor, Answer, Operation, Result
from billing_hooks import inventory_schema
from billing_hooks.inventory_schema import KEY_HOLDERS
from billing_hooks.problems import FieldError, ProblemError, check_value, read_line
from billing_hooks.rpc import Engine, RpcUnavailable
from billing_hooks.schema import (
    CredentialSet,
    HoldChange,
    PlanPatch,
    Restoration,
    ServicePatch,
    StateChange,
    SubscriberPatch,
    TagChange,
    parse_moment,
)
from billing_hooks.tokens import PUSHERS, SUPPORT, Role
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
    ("top_up", "service"): TopUp,
    ("hold", "service"): HoldChange,
    ("restore", "service"): Restoration,
    ("tag", "service"): TagChange,
    **inventory_schema.VALUES,
}
"""(op, kind) -> shape of the operation's value; deletions have none."""
ROLES: Final[dict[tuple[str, str], frozenset[Role]]] = {
    ("hold", "service"): SUPPORT,
    ("restore", "service"): SUPPORT,
    ("tag", "service"): SUPPORT,
    **inventory_schema.ROLES,
}
"""(op, kind) -> who may; absent: PUSHERS."""
REVISED: Final = frozenset(("put", "patch", "delete", "state"))
"""Operations that carry a revision; the others leave what billing pushed as it is."""
AUTOMATION: Final = "automation:"
"""Causes that begin so are the automations' own: they are restored, never laid, through the API."""
REVISION_MAX: Final = 2**63 - 1
ID_LENGTH_MAX: Final = 253
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class Answers(msgspec.Struct):
    """Body of the engine's answer to `sync` and `sync_watch`."""

    results: list[Result]
    after: int | None = None
    """Number of the last enforcement before it."""


class Effects(msgspec.Struct):
    """What some results say of the network: what to wait for."""

    enforcements: list[int] = []
    services: set[str] = set()
    """Whose live sessions are compared; likewise the next two, a plan's in slices after the answer."""
    subscribers: set[str] = set()
    plans: set[str] = set()
    after: int | None = None
    """Number of the last enforcement before the first change."""

    @classmethod
    def of(cls, operations: Iterable[Operation], answers: Answers) -> "Effects":
        """Of operations and their answers, in the same order."""
        effects = cls()
        effects.add(operations, answers)
        return effects

    def add(self, operations: Iterable[Operation], answers: Answers) -> None:
        """Likewise of some more."""
        if self.after is None:
            self.after = answers.after
        named = {"plan": self.plans, "subscriber": self.subscribers}
        for operation, result in zip(operations, answers.results, strict=True):
            self.enforcements += result.enforcements
            names = named.get(operation.kind, self.services)
            if result.status in ("applied", "stale") and len(names) < ENFORCED_NAMES_MAX:
                names.add(operation.id)


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


def may(role: Role, operation: Operation) -> bool:
    """Whether a token of this role may ask for it."""
    if operation.kind == "sim" and inventory_schema.has_keys(operation.value) and role not in KEY_HOLDERS:
        return False
    return role in ROLES.get((operation.op, operation.kind), PUSHERS)


def check_operation(operation: Operation) -> Operation:
    """The operation, its value checked and its revision in `revision`. Raises FieldError."""
    if not 0 < len(operation.id) <= ID_LENGTH_MAX or CONTROL.search(operation.id):
        raise FieldError(f"an id has 1 to {ID_LENGTH_MAX} characters, none a control character", "$.id")
    value = operation.value
    if operation.op == "delete":
        if value:
            raise FieldError("a deletion has no value", "$.value")
    else:
        shape = VALUES.get((operation.op, operation.kind))
        if shape is None:
            raise FieldError(f"{operation.op} is not possible for a {operation.kind}", "$.op")
        if operation.op == "restore" and value is None:
            value = operation.value = {}
        if value is None:
            raise FieldError("value is required", "$.value")
        if operation.op in REVISED:
            _join_revision(operation, value)
        _check_shape(value, shape)
        if operation.op == "hold":
            _check_hold(value)
    return _check_revision(operation)


def _join_revision(operation: Operation, value: dict[str, Any]) -> None:
    """Revision and id stand in the value, in the operation, or the same in both."""
    if operation.revision is not None and value.setdefault("revision", operation.revision) != operation.revision:
        raise FieldError("differs from the operation's own revision", "$.value.revision")
    if value.get("id", operation.id) not in ("", operation.id):
        raise FieldError("differs from the operation's own id", "$.value.id")
    operation.revision = value.get("revision")


def _check_shape(value: dict[str, Any], shape: Any) -> None:
    try:
        check_value(value, shape)
    except FieldError as error:
        raise FieldError(error.detail, "$.value" + error.field[1:], error.suggestion) from None


def _check_hold(value: dict[str, Any]) -> None:
    """A cause of the caller's own, and the end in epoch seconds."""
    cause = value.setdefault("cause", "admin")
    if cause.startswith(AUTOMATION):
        raise FieldError(f"causes that begin with {AUTOMATION!r} are the automations' own", "$.value.cause")
    if isinstance(value.get("until"), str):
        value["until"] = parse_moment(value["until"])


def _check_revision(operation: Operation) -> Operation:
    revision = operation.revision
    if operation.op not in REVISED:
        if revision is not None:
            raise FieldError(f"{operation.op} has no revision: what billing pushed stays as it is", "$.revision")
        return operation
    if isinstance(revision, bool) or not isinstance(revision, int):
        raise FieldError("revision is required", "$.revision" if operation.op == "delete" else "$.value.revision")
    if not 0 <= revision <= REVISION_MAX:
        raise FieldError(f"a revision is an integer from 0 to {REVISION_MAX}", "$.revision")
    return operation


def read_operation(data: bytes, decoder: msgspec.json.Decoder[Operation]) -> Operation:
    """A checked operation from its JSON. Raises FieldError."""
    return check_operation(read_line(data, decoder))


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


async def run(
    lines: AsyncIterable[Iterable[Line]],
    engine: Engine,
    actor: Actor,
    watches: bool = False,
    effects: Effects | None = None,
    read: Callable[[bytes], Operation] | None = None,
) -> AsyncIterator[list[Result]]:
    """Results in the order of the lines, some at a time; every line gets one, whatever becomes of the engine.

    watches: the results name the enforcements that followed, which are added to `effects`. read: makes a checked
    operation of a line, or raises FieldError; absent: the line is one.
    Raises ProblemError when an idempotency key was used for other lines.
    """
    read = partial(read_operation, decoder=msgspec.json.Decoder(Operation)) if read is None else read
    method = "sync_watch" if watches else "sync"
    effects = Effects() if effects is None else effects
    in_flight: deque[_Call] = deque()
    call = _Call()
    try:
        async for some in lines:
            for line in some:
                _add(call, line, read, actor)
                if call.is_full():
                    if len(in_flight) >= HTTP_SYNC_CALLS_IN_FLIGHT:
                        yield await _finish(in_flight.popleft(), effects)
                    await _start(call, engine, actor, method)
                    in_flight.append(call)
                    call = _Call()
        if call.results:
            await _start(call, engine, actor, method)
            in_flight.append(call)
        while in_flight:
            yield await _finish(in_flight.popleft(), effects)
    finally:
        for left in in_flight:
            if left.answer is not None:
                left.answer.cancel()


def _add(call: _Call, line: Line, read: Callable[[bytes], Operation], actor: Actor) -> None:
    if line.data is None:
        detail = f"operation {line.number}: longer than {HTTP_SYNC_LINE_BYTES_MAX} bytes"
        call.results.append(Result("", "", "error", error="invalid", detail=detail, field="$"))
        return
    try:
        operation = read(line.data)
        if not may(actor.role, operation):
            call.results.append(_forbidden(line, operation, actor))
            return
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


def _forbidden(line: Line, operation: Operation, actor: Actor) -> Result:
    detail = f"operation {line.number}: the role {actor.role} may not {operation.op} a {operation.kind}"
    return Result(operation.kind, operation.id, "error", error="forbidden", detail=detail, field="$.op")


async def _start(call: _Call, engine: Engine, actor: Actor, method: str) -> None:
    if call.operations:
        await engine.writable()
        call.answer = asyncio.create_task(engine.call(method, actor, call.operations))
        # The task takes its place in the order of calls before the next one is made.
        await asyncio.sleep(0)


async def _finish(call: _Call, effects: Effects) -> list[Result]:
    if call.answer is None:
        return [result for result in call.results if result is not None]
    try:
        given = _results_of(await call.answer, call.operations)
    except RpcUnavailable as error:
        given = Answers(_unanswered(call.operations, "unavailable", f"{error}; push it again"))
    effects.add(call.operations, given)
    answers = iter(given.results)
    return [next(answers) if result is None else result for result in call.results]


def _results_of(answer: Answer, operations: list[Operation]) -> Answers:
    if answer.status != 200:
        problem = msgspec.json.decode(answer.body, type=dict[str, Any]) if answer.body else {}
        error, detail = str(problem.get("error", "internal")), str(problem.get("detail", ""))
        if error == "idempotency_mismatch":
            raise ProblemError(error, detail, "Idempotency-Key")
        return Answers(_unanswered(operations, error, detail))
    given = msgspec.json.decode(answer.body, type=Answers)
    if len(given.results) != len(operations):
        return Answers(_unanswered(operations, "internal", "the engine gave another number of results"))
    return given


def _unanswered(operations: list[Operation], error: str, detail: str) -> list[Result]:
    return [Result(each.kind, each.id, "error", error=error, detail=detail) for each in operations]
