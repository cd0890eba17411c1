"""Every endpoint of the HTTP API: method, path, who may, what it takes and gives, and how it asks the engine.

The table ENDPOINTS is the one source: routes, roles, the OpenAPI document, the docs page and the tests walk it.
"""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any, Final, cast

import msgspec
from litestar.response import Response, Stream
from msgspec import UNSET, Struct

from aaa.limits import HTTP_SYNC_ANSWER_MEMORY_BYTES
from aaa.model.entities import Service, Subscriber
from aaa.model.operations import Actor, Answer, Operation, Result
from billing_hooks import schema, sync
from billing_hooks.problems import (
    BY_STATUS,
    CODES,
    FieldError,
    Problem,
    ProblemError,
    check_value,
    make_problem,
    parse_json,
)
from billing_hooks.rpc import RpcClient
from billing_hooks.tokens import ADMINS, EVERYBODY, PUSHERS, READERS, SUPPORT, Role
from policy.model import Plan

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
PROBLEM: Final = "application/problem+json"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
SPOOL_PIECE_BYTES: Final = 64 << 10


class Context:
    """One request, after its token, query and path were read."""

    __slots__ = ("actor", "body", "chunks", "engine", "is_ndjson", "path", "query")

    def __init__(
        self,
        engine: RpcClient,
        actor: Actor,
        path: dict[str, str],
        query: Any,
        body: bytes,
        chunks: AsyncIterator[bytes] | None = None,
        is_ndjson: bool = False,
    ) -> None:
        """chunks: the body as it comes, for endpoints that stream; `body` is then empty."""
        self.engine = engine
        self.actor = actor
        self.path = path
        self.query = query
        self.body = body
        self.chunks = chunks
        self.is_ndjson = is_ndjson

    async def ask(self, method: str, args: Any = None) -> Response[bytes]:
        """The engine's answer as it is; a refusal becomes a problem document."""
        answer = await self.engine.call(method, self.actor, args)
        if answer.status >= 400:
            return refuse(answer)
        return Response(answer.body, status_code=answer.status, media_type=JSON)


Handler = Callable[[Context], Awaitable[Response[Any]]]


class Endpoint(Struct, frozen=True, kw_only=True):
    """One line of the table."""

    method: str
    path: str
    """With {parameters}, each one path segment; a slash inside is sent as %2F."""
    roles: frozenset[Role]
    """Who may; empty: everybody, without a token."""
    summary: str
    handler: Handler
    query: type[Struct] = schema.NoQuery
    body: Any = None
    answer: Any = schema.Document
    answer_status: int = 200
    streams: bool = False
    """The handler reads the body itself."""
    media_type: str = JSON
    tag: str = ""


def refuse(answer: Answer) -> Response[bytes]:
    """The engine's refusal as a problem document."""
    try:
        body = msgspec.json.decode(answer.body, type=dict[str, Any]) if answer.body else {}
    except msgspec.DecodeError:
        body = {}
    error = str(body.get("error") or BY_STATUS.get(answer.status, "internal"))
    detail = str(body.get("detail") or body.get("reason") or "")
    problem = make_problem(error, detail, body.get("field"), body.get("suggestion"), answer.status)
    if "errors" in body:
        problem.errors = body["errors"]
    return problem_response(problem)


def problem_response(problem: Problem, headers: dict[str, str] | None = None) -> Response[bytes]:
    if problem.status == 503:
        headers = {"Retry-After": "1"} | (headers or {})
    return Response(msgspec.json.encode(problem), status_code=problem.status, media_type=PROBLEM, headers=headers)


def _drop_empty(query: Struct) -> dict[str, Any]:
    return {name: value for name, value in msgspec.structs.asdict(query).items() if value is not None}


def _moment(text: str | None, name: str) -> float | None:
    try:
        return None if text is None else schema.parse_moment(text)
    except (ValueError, OverflowError):
        detail = "not a moment; write 2026-05-01T12:00:00Z or epoch seconds"
        raise ProblemError("invalid", detail, name) from None


async def push(context: Context, operation: Operation) -> Response[bytes]:
    """One operation through `sync`: its Result, or a problem document that contains it."""
    try:
        operation = sync.check_operation(operation)
        answer = await context.engine.call("sync", context.actor, [operation])
    except FieldError as error:
        field = error.field.removeprefix("$.value.")
        raise ProblemError(
            "invalid", error.detail, field if field.startswith("$") else f"$.{field}", error.suggestion
        ) from None
    except OverflowError:
        raise ProblemError("invalid", "an integer is beyond 64 bits", "$") from None
    if answer.status >= 400:
        return refuse(answer)
    result = msgspec.json.decode(answer.body, type=sync.Answers).results[0]
    if result.status in ("applied", "stale"):
        return Response(msgspec.json.encode(result), media_type=JSON)
    error_name = "conflict" if result.status == "conflict" else result.error or "invalid"
    detail = result.detail or ""
    if result.status == "conflict" and not detail:
        detail = f"revision {operation.revision} is stored with other content; push a higher revision"
    # A code of the engine's that has no status of its own is the client's to mend.
    problem = make_problem(error_name, detail, result.field, status=None if error_name in CODES else 422)
    problem.result = result
    return problem_response(problem)


def _put(kind: str, op: str) -> Handler:
    async def handle(context: Context) -> Response[bytes]:
        value = check_object(parse_json(context.body))
        operation = Operation(cast("Any", op), cast("Any", kind), context.path["id"], value)
        return await push(context, operation)

    return handle


def check_object(value: Any) -> dict[str, Any]:
    """Raises ProblemError unless it is a JSON object."""
    if not isinstance(value, dict):
        raise ProblemError("invalid", "the body needs to be a JSON object", "$")
    return value


def _delete(kind: str) -> Handler:
    async def handle(context: Context) -> Response[bytes]:
        revision = context.query.revision
        if revision is None and context.body:
            try:
                body = check_value(parse_json(context.body), schema.Deletion)
            except FieldError as error:
                raise error.to_problem() from None
            revision = None if body.revision is UNSET else body.revision
        if revision is None:
            raise ProblemError("invalid", "a deletion needs ?revision=N, higher than the stored one", "revision")
        return await push(context, Operation("delete", cast("Any", kind), context.path["id"], None, revision))

    return handle


def _get(kind: str) -> Handler:
    async def handle(context: Context) -> Response[bytes]:
        return await context.ask("get", {"kind": kind, "id": context.path["id"]})

    return handle


def _list(kind: str) -> Handler:
    async def handle(context: Context) -> Response[bytes]:
        filters = _drop_empty(context.query)
        after, limit = filters.pop("after"), filters.pop("limit")
        return await context.ask("list", {"kind": kind, "after": after, "limit": limit, "filter": filters})

    return handle


def _ask(method: str) -> Handler:
    """A method whose arguments are the path's and the query's."""

    async def handle(context: Context) -> Response[bytes]:
        args: dict[str, Any] = context.path | _drop_empty(context.query)
        if isinstance(args.get("at"), str):
            args["at"] = _moment(args["at"], "at")
        return await context.ask(method, args)

    return handle


async def leases(context: Context) -> Response[bytes]:
    """The lease history; all of it at once is no question."""
    if context.query.address is None and context.query.service is None:
        raise ProblemError("invalid", "name an address or a service", "address")
    return await _ask("leases")(context)


async def synchronise(context: Context) -> Response[Any]:
    """Many operations: JSON held whole, or NDJSON streamed.

    NDJSON answers are kept aside until the request has been read: many clients do not read before they have sent all,
    and would hang if the server stopped reading to get rid of answers.
    """
    if not context.is_ndjson:
        return await _synchronise_json(context)
    spool = tempfile.SpooledTemporaryFile(max_size=HTTP_SYNC_ANSWER_MEMORY_BYTES)  # noqa: SIM115 - closed by _pour
    encoder = msgspec.json.Encoder()
    try:
        assert context.chunks is not None
        async for results in sync.run(_split(context.chunks), context.engine, context.actor):
            spool.write(encoder.encode_lines(results))
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return Stream(_pour(spool), media_type=NDJSON)


async def _synchronise_json(context: Context) -> Response[bytes]:
    body = b"".join([chunk async for chunk in context.chunks]) if context.chunks is not None else context.body
    try:
        request = check_envelope(body)
    except FieldError as error:
        raise error.to_problem() from None

    async def lines() -> AsyncIterator[Iterable[sync.Line]]:
        yield (sync.Line(number, bytes(raw)) for number, raw in enumerate(request.operations, 1))

    results: list[Result] = []
    async for some in sync.run(lines(), context.engine, context.actor):
        results += some
    return Response(msgspec.json.encode(schema.SyncAnswer(results)), media_type=JSON)


def check_envelope(body: bytes) -> schema.SyncRequest:
    """The operations of a JSON sync body, each still unread. Raises FieldError, ProblemError."""
    try:
        return msgspec.json.decode(body, type=schema.SyncRequest)
    except msgspec.ValidationError:
        check_value(parse_json(body), schema.SyncRequest)
        raise ProblemError("invalid", "the body needs to be {\"operations\": [...]}", "$.operations") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProblemError("bad_request", f"the body is not JSON: {error}") from None


async def _split(chunks: AsyncIterator[bytes]) -> AsyncIterator[Iterable[sync.Line]]:
    splitter = sync.LineSplitter()
    async for chunk in chunks:
        yield splitter.receive_data(chunk)
    yield splitter.finish()


def _pour(spool: "tempfile.SpooledTemporaryFile[bytes]") -> Iterator[bytes]:
    with spool:
        while piece := spool.read(SPOOL_PIECE_BYTES):
            yield piece


def _entity(
    plural: str, kind: str, entity: type[Struct], patch: type[Struct], query: type[Struct], page: type[Struct]
) -> list[Endpoint]:
    one, tag = f"/v1/{plural}/{{id}}", plural.capitalize()
    return [
        Endpoint(
            method="GET", path=f"/v1/{plural}", roles=READERS, summary=f"List {plural}, page by page",
            handler=_list(kind), query=query, answer=page, tag=tag,
        ),
        Endpoint(
            method="GET", path=one, roles=READERS, summary=f"Show a {kind}", handler=_get(kind), answer=entity, tag=tag
        ),
        Endpoint(
            method="PUT", path=one, roles=PUSHERS, summary=f"Push a whole {kind}", handler=_put(kind, "put"),
            body=entity, answer=Result, tag=tag,
        ),
        Endpoint(
            method="PATCH", path=one, roles=PUSHERS, summary=f"Change some fields of a {kind}; null clears one",
            handler=_put(kind, "patch"), body=patch, answer=Result, tag=tag,
        ),
        Endpoint(
            method="DELETE", path=one, roles=PUSHERS, summary=f"Delete a {kind}, leaving a tombstone with the revision",
            handler=_delete(kind), query=schema.DeleteQuery, answer=Result, tag=tag,
        ),
    ]  # fmt: skip


SERVICE: Final = "/v1/services/{id}"

ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    *_entity("plans", "plan", Plan, schema.PlanPatch, schema.PlanQuery, schema.PlanPage),
    *_entity(
        "subscribers", "subscriber", Subscriber, schema.SubscriberPatch, schema.SubscriberQuery, schema.SubscriberPage
    ),
    *_entity("services", "service", Service, schema.ServicePatch, schema.ServiceQuery, schema.ServicePage),
    Endpoint(
        method="GET", path=f"{SERVICE}/credentials", roles=READERS, tag="Services",
        summary="Show how requests name a service, without secrets", handler=_get("credentials"),
        answer=schema.CredentialsView,
    ),
    Endpoint(
        method="PUT", path=f"{SERVICE}/credentials", roles=PUSHERS, tag="Services",
        summary="Replace all credentials of a service", handler=_put("credentials", "put"), body=schema.CredentialSet,
        answer=Result,
    ),
    Endpoint(
        method="POST", path=f"{SERVICE}/state", roles=PUSHERS, tag="Services", summary="Step a service's state",
        handler=_put("service", "state"), body=schema.StateChange, answer=Result,
    ),
    Endpoint(
        method="GET", path=f"{SERVICE}/status", roles=READERS, tag="Services",
        summary="Show what a portal shows: state, speed, usage, quota, live sessions", handler=_ask("status"),
        answer=schema.ServiceStatus,
    ),
    Endpoint(
        method="GET", path=f"{SERVICE}/decision", roles=READERS, tag="Services",
        summary="Explain what the service may do, with every rule that matched", handler=_ask("decision"),
        query=schema.DecisionQuery,
    ),
    Endpoint(
        method="POST", path="/v1/sync", roles=PUSHERS, tag="Sync",
        summary="Push many operations, each atomic, durable before the answer, and answered in order",
        handler=synchronise, body=schema.SyncRequest, answer=schema.SyncAnswer, streams=True,
    ),
    Endpoint(
        method="GET", path="/v1/sessions", roles=READERS, tag="Sessions", summary="List sessions",
        handler=_ask("sessions"), query=schema.SessionQuery, answer=schema.SessionPage,
    ),
    Endpoint(
        method="GET", path="/v1/sessions/{id}", roles=READERS, tag="Sessions", summary="Show a session",
        handler=_ask("session"), answer=schema.Session,
    ),
    Endpoint(
        method="POST", path="/v1/sessions/{id}/disconnect", roles=SUPPORT, tag="Sessions",
        summary="Send the NAS a Disconnect-Request", handler=_ask("session_disconnect"), answer_status=202,
    ),
    Endpoint(
        method="GET", path="/v1/leases", roles=SUPPORT, tag="Leases", summary="Find who had an address, and when",
        handler=leases, query=schema.LeaseQuery, answer=schema.LeasePage,
    ),
    Endpoint(
        method="GET", path="/v1/nas", roles=READERS, tag="NAS",
        summary="List network access servers, with what was learned", handler=_ask("nas_list"),
    ),
    Endpoint(
        method="GET", path="/v1/nas/unknown", roles=READERS, tag="NAS",
        summary="List addresses that sent requests but are not configured", handler=_ask("nas_unknown"),
    ),
    Endpoint(
        method="GET", path="/v1/nas/message-authenticator", roles=READERS, tag="NAS",
        summary="Report which network access servers would break if Message-Authenticator were required",
        handler=_ask("nas_message_authenticator"),
    ),
    Endpoint(
        method="GET", path="/v1/nas/{name}", roles=READERS, tag="NAS", summary="Show a network access server",
        handler=_ask("nas_show"),
    ),
    Endpoint(
        method="GET", path="/v1/pools", roles=READERS, tag="Pools", summary="Show how full the address pools are",
        handler=_ask("pools"),
    ),
    Endpoint(
        method="GET", path="/v1/stats", roles=READERS, tag="Server", summary="Show the counters of a live view",
        handler=_ask("stats"),
    ),
    Endpoint(
        method="POST", path="/v1/reload", roles=ADMINS, tag="Server", summary="Read the configuration again",
        handler=_ask("reload"),
    ),
    Endpoint(
        method="GET", path="/healthz", roles=EVERYBODY, tag="Server", summary="Say whether the engine answers",
        handler=_ask("health"), answer=schema.Health,
    ),
    Endpoint(
        method="GET", path="/readyz", roles=EVERYBODY, tag="Server", summary="Say whether requests can be served",
        handler=_ask("ready"),
    ),
)  # fmt: skip
"""What the engine is asked. /metrics, /openapi.json and /docs are the HTTP process's own: see billing_hooks.app."""
