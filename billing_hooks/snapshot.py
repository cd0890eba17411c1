"""Snapshots: the full truth as a stream, compared with what is here, and what is absent from it ended.

Theory of operation. Every line is a put that may repair; the engine marks what it names. What has no mark is ended only
when the end marker has come and its count is right, and only where that is no larger share than allowed. A stream that
is cut has changed what its lines said, and ended nothing. What others push meanwhile is marked as well.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any, Final

import msgspec
from litestar.response import Response

from aaa.limits import SNAPSHOT_LISTED_MAX
from aaa.model.operations import Actor, Answer, Operation, Result
from billing_hooks import sync
from billing_hooks.endpoints import JSON, Context, Endpoint, problem_response, read_whole, split_lines
from billing_hooks.problems import FieldError, ProblemError, explain, make_problem, read_line
from billing_hooks.rpc import Engine
from billing_hooks.schema import SnapshotAnswer, SnapshotCounts, SnapshotEntity, SnapshotQuery, SnapshotRequest
from billing_hooks.tokens import PUSHERS

KINDS: Final = ("plan", "subscriber", "service")
ENTITY: Final = msgspec.json.Decoder(SnapshotEntity)
LISTS: Final = {"new": "missing", "newer": "older_here", "older": "newer_here", "repaired": "differing"}
"""What becomes of an entity -> the list of a dry run that names it."""
END_PATIENCE_S: Final = 600.0
NAMES_A_CALL: Final = 200


class End(msgspec.Struct, forbid_unknown_fields=True):
    """The last line of a stream."""

    end: bool
    count: int
    """Entities before it."""


class Marking:
    """The engine as sync.run sees it: every call names the snapshot."""

    def __init__(self, engine: Engine, number: int) -> None:
        self._engine = engine
        self._number = number

    async def call(self, method: str, actor: Actor, args: Any = None, timeout_s: float | None = None) -> Answer:
        """The operations, with the snapshot that they belong to."""
        asked = {"snapshot": self._number, "operations": args}
        return await self._engine.call("snapshot_apply", actor, asked, timeout_s)

    async def writable(self) -> None:
        """As RpcClient.writable()."""
        await self._engine.writable()


class Reading:
    """The lines of a snapshot, and how it ended."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self._kinds = kinds
        self._ended = False
        self.count = 0
        self.refused: list[tuple[str, str]] = []
        """Entities that could not be taken: they are there all the same."""
        self.fault = ""
        """Why the snapshot is not complete."""

    async def lines(self, source: AsyncIterator[Iterable[sync.Line]]) -> AsyncIterator[list[sync.Line]]:
        """Those that are entities."""
        async for some in source:
            found = []
            for line in some:
                if not self._is_end(line):
                    found.append(line)
                    self.count += 1
            yield found
        if not self._ended:
            self.fault = 'the last line needs to be {"end": true, "count": N}'

    def _is_end(self, line: sync.Line) -> bool:
        if self._ended:
            self.fault = self.fault or f"line {line.number} comes after the end"
            return True
        if line.data is None or b'"end"' not in line.data[:32]:
            return False
        try:
            end = msgspec.json.decode(line.data, type=End)
        except msgspec.DecodeError:
            return False
        self._ended = True
        if not end.end or end.count != self.count:
            self.fault = f"the end says {end.count} entities, {self.count} came"
        return True

    def read(self, data: bytes) -> Operation:
        """One entity as the operation that repairs it. Raises FieldError."""
        entity = read_line(data, ENTITY)
        if entity.kind not in self._kinds:
            raise FieldError(f"this snapshot is of {', '.join(self._kinds)}", "$.kind")
        return sync.check_operation(Operation("put", entity.kind, entity.id, entity.value))

    def note(self, result: Result) -> None:
        """What an error means for what is absent."""
        if result.status != "error":
            return
        if result.error in ("unavailable", "internal"):
            self.fault = f"the engine did not take all of it: {result.detail}"
        elif result.kind not in KINDS or not result.id:
            self.fault = f"what is absent is not known: {result.detail}"
        elif len(self.refused) >= SNAPSHOT_LISTED_MAX:
            self.fault = f"more than {SNAPSHOT_LISTED_MAX} entities could not be taken"
        else:
            self.refused.append((result.kind, result.id))


async def snapshot(context: Context) -> Response[bytes]:
    """Compare, repair and, at the end, end what is absent."""
    query: SnapshotQuery = context.query
    kinds = _kinds_of(query.kinds)
    begun = await _ask(context, "snapshot_begin", {"kinds": kinds, "dry_run": query.dry_run})
    number = begun["snapshot"]
    answer = SnapshotAnswer(query.dry_run, False, {kind: SnapshotCounts() for kind in kinds})
    reading = Reading(kinds)
    source = split_lines(context.chunks) if context.is_ndjson and context.chunks is not None else _whole(context)
    try:
        marking = Marking(context.engine, number)
        async for results in sync.run(reading.lines(source), marking, context.actor, read=reading.read):
            for result in results:
                _count(answer, result)
                reading.note(result)
        if not reading.fault:
            await _mark(context, number, reading.refused)
        if reading.fault:
            problem = make_problem("invalid", f"{reading.fault}; nothing was ended", "$")
            problem.result = answer
            return problem_response(problem)
        answer.complete = True
        return await _end(context, answer, number, kinds)
    finally:
        await context.engine.call("snapshot_close", context.actor, {"snapshot": number})


def _kinds_of(text: str) -> tuple[str, ...]:
    named = {name.strip() for name in text.split(",") if name.strip()}
    unknown = sorted(named - set(KINDS))
    if unknown or not named:
        raise ProblemError("invalid", f"kinds are some of {', '.join(KINDS)}", "kinds")
    return tuple(kind for kind in KINDS if kind in named)


async def _whole(context: Context) -> AsyncIterator[Iterable[sync.Line]]:
    """A JSON body: whole by its form."""
    body = await read_whole(context)
    try:
        request = msgspec.json.decode(body, type=SnapshotRequest)
    except msgspec.ValidationError as error:
        raise explain(error, SnapshotRequest).to_problem() from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProblemError("bad_request", f"the body is not JSON: {error}") from None
    yield [sync.Line(number, bytes(raw)) for number, raw in enumerate(request.entities, 1)]
    count = len(request.entities)
    yield [sync.Line(count + 1, msgspec.json.encode(End(True, count)))]


def _count(answer: SnapshotAnswer, result: Result) -> None:
    counts = answer.kinds.get(result.kind)
    if counts is not None:
        counts.received += 1
    if result.status == "error":
        if counts is not None:
            counts.errors += 1
        if len(answer.errors) < SNAPSHOT_LISTED_MAX:
            answer.errors.append(result)
        return
    became = result.detail or "same"
    if counts is not None:
        setattr(counts, became, getattr(counts, became) + 1)
    if answer.dry_run and became in LISTS:
        _name(getattr(answer, LISTS[became]), f"{result.kind}/{result.id}")


def _name(names: list[str], name: str) -> None:
    if len(names) < SNAPSHOT_LISTED_MAX:
        names.append(name)


async def _end(context: Context, answer: SnapshotAnswer, number: int, kinds: tuple[str, ...]) -> Response[bytes]:
    """End what has no mark: services by the engine, which knows them by number; then subscribers, by their ids."""
    query: SnapshotQuery = context.query
    share = context.settings.snapshot_share if query.share is None else query.share
    if "subscriber" in kinds:
        await _tell_subscribers(context, number)
    ended = await _ask(context, "snapshot_end", {"snapshot": number, "share": share}, END_PATIENCE_S)
    for kind, counts in ended["kinds"].items():
        for name, count in counts.items():
            setattr(answer.kinds[kind], name, count)
    answer.extra = ended["extra"]
    if ended.get("refused"):
        problem = make_problem("snapshot_share", ended["refused"], "share")
        problem.result = answer
        return problem_response(problem)
    return Response(msgspec.json.encode(answer), media_type=JSON)


async def _mark(context: Context, number: int, names: list[tuple[str, str]]) -> None:
    """Entities that are there although they could not be taken."""
    for first in range(0, len(names), NAMES_A_CALL):
        await _ask(context, "snapshot_mark", {"snapshot": number, "names": names[first : first + NAMES_A_CALL]})


async def _tell_subscribers(context: Context, number: int) -> None:
    """Name every stored subscriber to the engine, which has no list of them that can be walked while it changes."""
    after = 0
    while True:
        rows = await context.history.rows(
            "SELECT no, json_extract(body, '$.id') FROM subscriber WHERE no > ? ORDER BY no LIMIT ?",
            (after, NAMES_A_CALL),
        )
        if not rows:
            return
        await _ask(context, "snapshot_look", {"snapshot": number, "subscribers": [name for _, name in rows]})
        after = rows[-1][0]


async def _ask(context: Context, method: str, args: Any, timeout_s: float | None = None) -> Any:
    answer = await context.engine.call(method, context.actor, args, timeout_s)
    body = msgspec.json.decode(answer.body, type=dict[str, Any]) if answer.body else {}
    if answer.status >= 400:
        raise ProblemError(body.get("error", "internal"), body.get("detail", ""), body.get("field"))
    return body


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        method="POST", path="/v1/snapshot", roles=PUSHERS, tag="Sync",
        summary="Push the full truth: repair what differs, end what is absent; or only say what would change",
        handler=snapshot, query=SnapshotQuery, body=SnapshotRequest, answer=SnapshotAnswer, streams=True,
        line=SnapshotEntity,
    ),
)  # fmt: skip
