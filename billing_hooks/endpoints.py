"""Every endpoint of the HTTP API: method, path, who may, what it takes and gives, and how it asks the engine.

The table ENDPOINTS is the one source: routes, roles, the OpenAPI document, the docs page and the tests walk it.
"""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from litestar.response import Response, Stream
from msgspec import UNSET, Struct

from aaa.limits import HTTP_SYNC_ANSWER_MEMORY_BYTES
from aaa.model.entities import Service, Subscriber, TopUp
from aaa.model.operations import Actor, Answer, Operation
from billing_hooks import schema, sync
from billing_hooks.history import History
from billing_hooks.problems import (
    BY_STATUS,
    CODES,
    FieldError,
    Problem,
    ProblemError,
    check_value,
    make_problem,
    parse_json,
    read_body,
)
from billing_hooks.rpc import Engine
from billing_hooks.tokens import ADMINS, CHANGERS, EVERYBODY, PUSHERS, READERS, SUPPORT, ApiSettings, Role
from policy.model import Plan

if TYPE_CHECKING:
    from billing_hooks.outlets import Outlets

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
PROBLEM: Final = "application/problem+json"
TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
SPOOL_PIECE_BYTES: Final = 64 << 10
WAIT_GRACE_S: Final = 10.0
"""How much longer than the network the engine is waited for."""
NO_HISTORY: Final = History("")
NO_SETTINGS: Final = ApiSettings()


class Context:
    """One request, after its token, query and path were read."""

    __slots__ = (
        "actor", "body", "chunks", "engine", "headers", "history", "is_ndjson", "outlets", "path", "query", "settings",
    )  # fmt: skip
    headers: Mapping[str, str]
    """Of the request, by lower-case name."""
    outlets: "Outlets"
    """What this process runs beside answering requests."""

    def __init__(
        self,
        engine: Engine,
        actor: Actor,
        path: dict[str, str],
        query: Any,
        body: bytes,
        chunks: AsyncIterator[bytes] | None = None,
        is_ndjson: bool = False,
        history: History = NO_HISTORY,
        settings: ApiSettings = NO_SETTINGS,
    ) -> None:
        """chunks: the body as it comes, for endpoints that stream; `body` is then empty. history: reads the store."""
        self.engine = engine
        self.actor = actor
        self.path = path
        self.query = query
        self.body = body
        self.chunks = chunks
        self.is_ndjson = is_ndjson
        self.history = history
        self.settings = settings

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
    line: Any = None
    """What one line of an NDJSON body is; only where it streams."""
    is_body_optional: bool = False
    media_type: str = JSON
    also: tuple[str, ...] = ()
    """Further media types that it may answer with, as the query asks."""
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
    """A problem document (RFC 9457); a 503 says when to come again."""
    if problem.status == 503:
        headers = {"Retry-After": "1"} | (headers or {})
    return Response(msgspec.json.encode(problem), status_code=problem.status, media_type=PROBLEM, headers=headers)


def drop_empty(query: Struct) -> dict[str, Any]:
    """What a query names."""
    return {name: value for name, value in msgspec.structs.asdict(query).items() if value is not None}


def read_moment(text: str | None, name: str) -> float | None:
    """Epoch seconds of a query parameter. Raises ProblemError naming it."""
    try:
        return None if text is None else schema.parse_moment(text)
    except (ValueError, OverflowError):
        detail = "not a moment; write 2026-05-01T12:00:00Z or epoch seconds"
        raise ProblemError("invalid", detail, name) from None


async def push(context: Context, operation: Operation) -> Response[bytes]:
    """One operation through `sync`: its Result, with what followed where it waits, or a problem that contains it."""
    try:
        operation = sync.check_operation(operation)
        waits = getattr(context.query, "wait", None) == "enforced"
        answer = await context.engine.call("sync_watch" if waits else "sync", context.actor, [operation])
    except FieldError as error:
        field = error.field.removeprefix("$.value.")
        raise ProblemError(
            "invalid", error.detail, field if field.startswith("$") else f"$.{field}", error.suggestion
        ) from None
    except OverflowError:
        raise ProblemError("invalid", "an integer is beyond 64 bits", "$") from None
    if answer.status >= 400:
        return refuse(answer)
    given = msgspec.json.decode(answer.body, type=sync.Answers)
    result = given.results[0]
    if result.status in ("applied", "stale"):
        if not waits:
            return Response(msgspec.json.encode(result), media_type=JSON)
        enforced = await wait_enforced(context, sync.Effects.of([operation], given))
        body = msgspec.structs.asdict(result) | msgspec.structs.asdict(enforced)
        return Response(msgspec.json.encode(schema.PushResult(**body)), media_type=JSON)
    error_name = "conflict" if result.status == "conflict" else result.error or "invalid"
    detail = result.detail or ""
    if result.status == "conflict" and not detail:
        detail = f"revision {operation.revision} is stored with other content; push a higher revision"
    # A code of the engine's that has no status of its own is the client's to mend.
    problem = make_problem(error_name, detail, result.field, status=None if error_name in CODES else 422)
    problem.result = result
    return problem_response(problem)


async def wait_enforced(context: Context, effects: sync.Effects) -> schema.Enforced:
    """What followed on the network, once it has answered or the time is over. Raises ProblemError."""
    timeout_s = context.query.timeout
    args = {
        "ids": effects.enforcements,
        "services": sorted(effects.services),
        "subscribers": sorted(effects.subscribers),
        "plans": sorted(effects.plans),
        "after": effects.after,
        "timeout_s": timeout_s,
    }
    answer = await context.engine.call("enforced", context.actor, args, timeout_s + WAIT_GRACE_S)
    if answer.status >= 400:
        raise ProblemError("unavailable", "the change is durable; what follows on the network is not known yet")
    return msgspec.json.decode(answer.body, type=schema.Enforced)


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


def delete(kind: str) -> Handler:
    """A deletion; its revision stands in the query or in the body."""

    async def handle(context: Context) -> Response[bytes]:
        revision = context.query.revision
        if revision is None and context.body:
            body = read_body(context.body, schema.Deletion)
            revision = None if body.revision is UNSET else body.revision
        if revision is None:
            raise ProblemError("invalid", "a deletion needs ?revision=N, higher than the stored one", "revision")
        return await push(context, Operation("delete", cast("Any", kind), context.path["id"], None, revision))

    return handle


def get(kind: str, method: str = "get") -> Handler:
    """One entity, by the engine's method."""

    async def handle(context: Context) -> Response[bytes]:
        return await context.ask(method, {"kind": kind, "id": context.path["id"]})

    return handle


def list_page(kind: str, method: str = "list") -> Handler:
    """A page of entities, by the engine's method."""

    async def handle(context: Context) -> Response[bytes]:
        filters = drop_empty(context.query)
        after, limit = filters.pop("after"), filters.pop("limit")
        return await context.ask(method, {"kind": kind, "after": after, "limit": limit, "filter": filters})

    return handle


def ask(method: str) -> Handler:
    """A method whose arguments are the path's and the query's."""

    async def handle(context: Context) -> Response[bytes]:
        args: dict[str, Any] = context.path | drop_empty(context.query)
        if isinstance(args.get("at"), str):
            args["at"] = read_moment(args["at"], "at")
        return await context.ask(method, args)

    return handle


async def lift_hold(context: Context) -> Response[bytes]:
    """One hold, named in the path."""
    value = {"cause": context.path["cause"]}
    return await push(context, Operation("restore", "service", context.path["id"], value))


async def restore(context: Context) -> Response[bytes]:
    """All holds, or the one named in the body, which may be absent."""
    value = check_object(parse_json(context.body)) if context.body else {}
    return await push(context, Operation("restore", "service", context.path["id"], value))


def change_session(method: str) -> Handler:
    """A live session's Disconnect or CoA, waiting for the network's answer where asked to."""

    async def handle(context: Context) -> Response[bytes]:
        answer = await context.engine.call(method, context.actor, context.path)
        if answer.status >= 400:
            return refuse(answer)
        if context.query.wait is None:
            return Response(answer.body, status_code=answer.status, media_type=JSON)
        change = msgspec.json.decode(answer.body, type=schema.SessionChange)
        enforced = await wait_enforced(context, sync.Effects(enforcements=list(change.enforcements)))
        body = msgspec.structs.asdict(change) | msgspec.structs.asdict(enforced)
        return Response(msgspec.json.encode(schema.SessionChange(**body)), media_type=JSON)

    return handle


async def leases(context: Context) -> Response[bytes]:
    """The lease history; all of it at once is no question."""
    if context.query.address is None and context.query.service is None:
        raise ProblemError("invalid", "name an address or a service", "address")
    return await ask("leases")(context)


async def synchronise(context: Context) -> Response[Any]:
    """Many operations: JSON held whole, or NDJSON streamed.

    NDJSON answers are kept aside until the request has been read: many clients do not read before they have sent all,
    and would hang if the server stopped reading to get rid of answers.
    """
    if not context.is_ndjson:
        return await _synchronise_json(context)
    waits = context.query.wait == "enforced"
    effects = sync.Effects()
    spool = tempfile.SpooledTemporaryFile(max_size=HTTP_SYNC_ANSWER_MEMORY_BYTES)  # noqa: SIM115 - closed by pour
    encoder = msgspec.json.Encoder()
    try:
        assert context.chunks is not None
        async for results in sync.run(split_lines(context.chunks), context.engine, context.actor, waits, effects):
            spool.write(encoder.encode_lines(results))
        if waits:
            spool.write(encoder.encode_lines([await wait_enforced(context, effects)]))
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return Stream(pour(spool), media_type=NDJSON)


async def read_whole(context: Context) -> bytes:
    """The body of an endpoint that streams, where it came as JSON."""
    return b"".join([chunk async for chunk in context.chunks]) if context.chunks is not None else context.body


async def _synchronise_json(context: Context) -> Response[bytes]:
    try:
        request = check_envelope(await read_whole(context))
    except FieldError as error:
        raise error.to_problem() from None

    async def lines() -> AsyncIterator[Iterable[sync.Line]]:
        yield (sync.Line(number, bytes(raw)) for number, raw in enumerate(request.operations, 1))

    waits = context.query.wait == "enforced"
    effects = sync.Effects()
    answer = schema.SyncAnswer(results=[])
    async for some in sync.run(lines(), context.engine, context.actor, waits, effects):
        answer.results += some
    if waits:
        enforced = await wait_enforced(context, effects)
        answer = schema.SyncAnswer(results=answer.results, **msgspec.structs.asdict(enforced))
    return Response(msgspec.json.encode(answer), media_type=JSON)


def check_envelope(body: bytes) -> schema.SyncRequest:
    """The operations of a JSON sync body, each still unread. Raises FieldError, ProblemError."""
    try:
        return msgspec.json.decode(body, type=schema.SyncRequest)
    except msgspec.ValidationError:
        check_value(parse_json(body), schema.SyncRequest)
        raise ProblemError("invalid", "the body needs to be {\"operations\": [...]}", "$.operations") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProblemError("bad_request", f"the body is not JSON: {error}") from None


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[Iterable[sync.Line]]:
    """The lines of a body as it comes."""
    splitter = sync.LineSplitter()
    async for chunk in chunks:
        yield splitter.receive_data(chunk)
    yield splitter.finish()


def pour(spool: "tempfile.SpooledTemporaryFile[bytes]") -> Iterator[bytes]:
    """A file's octets, piece by piece; it is closed afterwards."""
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
            handler=list_page(kind), query=query, answer=page, tag=tag,
        ),
        Endpoint(
            method="GET", path=one, roles=READERS, summary=f"Show a {kind}", handler=get(kind), answer=entity, tag=tag
        ),
        Endpoint(
            method="PUT", path=one, roles=PUSHERS, summary=f"Push a whole {kind}", handler=_put(kind, "put"),
            query=schema.WaitQuery, body=entity, answer=schema.PushResult, tag=tag,
        ),
        Endpoint(
            method="PATCH", path=one, roles=PUSHERS, summary=f"Change some fields of a {kind}; null clears one",
            handler=_put(kind, "patch"), query=schema.WaitQuery, body=patch, answer=schema.PushResult, tag=tag,
        ),
        Endpoint(
            method="DELETE", path=one, roles=PUSHERS, summary=f"Delete a {kind}, leaving a tombstone with the revision",
            handler=delete(kind), query=schema.DeleteQuery, answer=schema.PushResult, tag=tag,
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
        summary="Show how requests name a service, without secrets", handler=get("credentials"),
        answer=schema.CredentialsView,
    ),
    Endpoint(
        method="PUT", path=f"{SERVICE}/credentials", roles=PUSHERS, tag="Services",
        summary="Replace all credentials of a service", handler=_put("credentials", "put"), body=schema.CredentialSet,
        query=schema.WaitQuery, answer=schema.PushResult,
    ),
    Endpoint(
        method="POST", path=f"{SERVICE}/state", roles=PUSHERS, tag="Services", summary="Step a service's state",
        handler=_put("service", "state"), query=schema.WaitQuery, body=schema.StateChange, answer=schema.PushResult,
    ),
    Endpoint(
        method="GET", path=f"{SERVICE}/balance", roles=READERS, tag="Services",
        summary="Show what the balance offers, bucket by bucket, and its thresholds", handler=ask("balance"),
        answer=schema.Balance,
    ),
    Endpoint(
        method="POST", path=f"{SERVICE}/top-ups", roles=PUSHERS, tag="Services",
        summary="Add octets to the balance; the same id again changes nothing", handler=_put("service", "top_up"),
        query=schema.WaitQuery, body=TopUp, answer=schema.PushResult,
    ),
    Endpoint(
        method="POST", path=f"{SERVICE}/holds", roles=SUPPORT, tag="Services",
        summary="Restrict or suspend beside billing's state", handler=_put("service", "hold"), query=schema.WaitQuery,
        body=schema.HoldChange, answer=schema.PushResult,
    ),
    Endpoint(
        method="DELETE", path=f"{SERVICE}/holds/{{cause}}", roles=SUPPORT, tag="Services", summary="Lift one hold",
        handler=lift_hold, query=schema.WaitQuery, answer=schema.PushResult,
    ),
    Endpoint(
        method="POST", path=f"{SERVICE}/restore", roles=SUPPORT, tag="Services", summary="Lift all holds, or one",
        handler=restore, query=schema.WaitQuery, body=schema.Restoration, is_body_optional=True,
        answer=schema.PushResult,
    ),
    Endpoint(
        method="POST", path=f"{SERVICE}/tags", roles=SUPPORT, tag="Services",
        summary="Put tags on and take them off; policy reads them", handler=_put("service", "tag"),
        query=schema.WaitQuery, body=schema.TagChange, answer=schema.PushResult,
    ),
    Endpoint(
        method="GET", path=f"{SERVICE}/status", roles=READERS, tag="Services",
        summary="Show what a portal shows: state, speed, usage, quota, live sessions", handler=ask("status"),
        answer=schema.ServiceStatus,
    ),
    Endpoint(
        method="POST", path="/v1/sync", roles=CHANGERS, tag="Sync",
        summary="Push many operations, each atomic, durable before the answer, and answered in order",
        handler=synchronise, query=schema.WaitQuery, body=schema.SyncRequest, answer=schema.SyncAnswer, streams=True,
        line=Operation,
    ),
    Endpoint(
        method="GET", path="/v1/sessions", roles=READERS, tag="Sessions", summary="List sessions",
        handler=ask("sessions"), query=schema.SessionQuery, answer=schema.SessionPage,
    ),
    Endpoint(
        method="GET", path="/v1/sessions/{id}", roles=READERS, tag="Sessions", summary="Show a session",
        handler=ask("session"), answer=schema.Session,
    ),
    Endpoint(
        method="POST", path="/v1/sessions/{id}/disconnect", roles=SUPPORT, tag="Sessions",
        summary="Send what ends a session: Disconnect-Request, RAR, ASR, CLR or SNR",
        handler=change_session("session_disconnect"),
        query=schema.WaitQuery, answer=schema.SessionChange, answer_status=202,
    ),
    Endpoint(
        method="POST", path="/v1/sessions/{id}/reauthorize", roles=SUPPORT, tag="Sessions",
        summary="Decide anew and send the NAS what differs", handler=change_session("session_reauthorize"),
        query=schema.WaitQuery, answer=schema.SessionChange, answer_status=202,
    ),
    Endpoint(
        method="GET", path="/v1/subscribers/{id}/status", roles=READERS, tag="Subscribers",
        summary="Show the status of all services of a subscriber", handler=ask("subscriber_status"),
        answer=schema.SubscriberStatus,
    ),
    Endpoint(
        method="GET", path="/v1/leases", roles=SUPPORT, tag="Leases", summary="Find who had an address, and when",
        handler=leases, query=schema.LeaseQuery, answer=schema.LeasePage,
    ),
    Endpoint(
        method="GET", path="/v1/nas", roles=READERS, tag="NAS",
        summary="List network access servers, with what was learned", handler=ask("nas_list"),
    ),
    Endpoint(
        method="GET", path="/v1/nas/unknown", roles=READERS, tag="NAS",
        summary="List addresses that sent requests but are not configured", handler=ask("nas_unknown"),
    ),
    Endpoint(
        method="GET", path="/v1/nas/message-authenticator", roles=READERS, tag="NAS",
        summary="Report which network access servers would break if Message-Authenticator were required",
        handler=ask("nas_message_authenticator"),
    ),
    Endpoint(
        method="GET", path="/v1/nas/{name}", roles=READERS, tag="NAS", summary="Show a network access server",
        handler=ask("nas_show"),
    ),
    Endpoint(
        method="GET", path="/v1/pools", roles=READERS, tag="Pools", summary="Show how full the address pools are",
        handler=ask("pools"),
    ),
    Endpoint(
        method="POST", path="/v1/reload", roles=ADMINS, tag="Server", summary="Read the configuration again",
        handler=ask("reload"),
    ),
    Endpoint(
        method="GET", path="/healthz", roles=EVERYBODY, tag="Server", summary="Say whether the engine answers",
        handler=ask("health"), answer=schema.Health,
    ),
    Endpoint(
        method="GET", path="/readyz", roles=EVERYBODY, tag="Server", summary="Say whether requests can be served",
        handler=ask("ready"),
    ),
)  # fmt: skip
"""What the engine is asked. /metrics, /openapi.json and /docs are the HTTP process's own: see billing_hooks.app."""
