"""The HTTP door: Litestar routes over the table of endpoints; tokens, strict reading, problem documents, metrics.

Knows HTTP; asks the engine through RpcClient; decides nothing.
"""

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any, Final, cast
from urllib.parse import parse_qsl, quote, unquote

import msgspec
from litestar import Litestar, Request
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.handlers import HTTPRouteHandler
from litestar.response import Response
from litestar.types import ASGIApp, Method, Receive, Scope, Send
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from aaa.limits import (
    HTTP_BODY_BYTES_MAX,
    HTTP_BODY_S,
    HTTP_BODY_STALL_S,
    HTTP_REQUESTS_IN_WORK_MAX,
    HTTP_STRANGER_BODY_S,
    HTTP_STRANGERS_MAX,
    HTTP_TOKEN_REQUESTS_MAX,
)
from aaa.model.operations import Actor
from billing_hooks import openapi
from billing_hooks.endpoints import NDJSON, TEXT, Context, Endpoint, problem_response, refuse
from billing_hooks.history import History
from billing_hooks.idempotency import KeyedEngine, Keys
from billing_hooks.outlets import Outlets
from billing_hooks.problems import BY_STATUS, FieldError, ProblemError, check_value, make_problem
from billing_hooks.rpc import Engine, FrameTooLong, RpcClient, RpcUnavailable
from billing_hooks.table import ENDPOINTS
from billing_hooks.tokens import EVERYBODY, READERS, ApiSettings, TokenTable

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]

JSON_MEDIA: Final = ("", "application/json", "application/merge-patch+json", "application/x-www-form-urlencoded")
"""Media types taken as JSON; the last is what curl -d says of any body."""
NDJSON_MEDIA: Final = (NDJSON, "application/ndjson", "application/jsonl")
PROBE: Final = Actor(name="probe", role="reader")
ACTOR_LENGTH_MAX: Final = 128


class Metrics:
    """What the HTTP process counts; the engine's metrics are put before them."""

    def __init__(self, engine: RpcClient) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "aaa_http_requests", "HTTP requests by route, method and status code", ("route", "method", "code"),
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "aaa_http_request_seconds", "Time from a request's head to the start of its answer", ("route",),
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10), registry=self.registry,
        )  # fmt: skip
        in_work = Gauge("aaa_http_requests_in_work", "HTTP requests being answered", registry=self.registry)
        in_work.set_function(lambda: self.in_work)
        waiting = Gauge("aaa_http_engine_calls", "Calls that wait for the engine's answer", registry=self.registry)
        waiting.set_function(lambda: engine.calls_in_flight)
        ProcessCollector(namespace="aaa_http", registry=self.registry)
        self.in_work = 0


class Door:
    """The application with what it needs: the engine, and settings that a reload replaces."""

    def __init__(self, engine: RpcClient, settings: ApiSettings) -> None:
        self.engine = engine
        self.metrics = Metrics(engine)
        self._strangers = 0
        """Requests in work that are let in without a token and have a body."""
        self._shares: defaultdict[str, int] = defaultdict(int)
        """Requests in work of each token, by its name."""
        self.history = History(settings.store)
        # A digest may take seconds; looking for a key does not wait for it.
        self.keys = Keys(engine, History(settings.store))
        self.outlets = Outlets(engine, settings, self.metrics.registry)
        self._take(settings)
        document = openapi.make_document(ENDPOINTS + self._own_endpoints(), settings.version)
        self.openapi = msgspec.json.encode(document)
        self.docs = openapi.make_page(document).encode()

    def use_settings(self, settings: ApiSettings) -> None:
        """Replace tokens and switches; requests in work keep what they were let in with, streams of events end."""
        self._take(settings)
        self.outlets.use(settings)

    def _take(self, settings: ApiSettings) -> None:
        self.tokens = TokenTable(settings.tokens)
        self.settings = settings

    def make_app(self) -> ASGIApp:
        """The ASGI application."""
        endpoints = ENDPOINTS + self._own_endpoints()
        app = Litestar(
            [self._route(endpoint) for endpoint in endpoints],
            openapi_config=None,
            logging_config=None,
            exception_handlers={HTTPException: _on_http_error, Exception: _on_defect},
            request_max_body_size=None,
        )
        return self._gate(app)

    def _own_endpoints(self) -> tuple[Endpoint, ...]:
        async def document(context: Context) -> Response[bytes]:
            return Response(self.openapi, media_type="application/json")

        async def page(context: Context) -> Response[bytes]:
            headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
            return Response(self.docs, media_type="text/html; charset=utf-8", headers=headers)

        return (
            Endpoint(
                method="GET", path="/metrics", roles=EVERYBODY, tag="Server", media_type="text/plain",
                summary="Prometheus metrics of the engine and of the HTTP process; may be configured to need a token",
                handler=self._show_metrics,
            ),
            Endpoint(
                method="GET", path="/openapi.json", roles=EVERYBODY, tag="Server", summary="This document",
                handler=document,
            ),
            Endpoint(
                method="GET", path="/docs", roles=EVERYBODY, tag="Server", media_type="text/html",
                summary="This document to read", handler=page,
            ),
        )  # fmt: skip

    async def _show_metrics(self, context: Context) -> Response[bytes]:
        if context.actor.operator is not None:
            raise ProblemError("forbidden", "metrics are of all operators together")
        answer = await self.engine.call("metrics", context.actor)
        if answer.status != 200:
            return refuse(answer)
        return Response(answer.body.rstrip() + b"\n" + generate_latest(self.metrics.registry), media_type=TEXT)

    def _gate(self, app: ASGIApp) -> ASGIApp:
        """Bounds the requests in work, and routes by the path as sent, so that an id may contain a slash (%2F)."""

        async def gate(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
            scope["path"] = raw_path.decode("latin-1")
            if scope["path"].startswith("/v1/events"):
                # They wait for long, and have a bound of their own.
                await app(scope, receive, send)
                return
            is_stranger = scope["path"].startswith("/v1/payments/")
            crowded = is_stranger and self._strangers >= HTTP_STRANGERS_MAX
            if crowded or self.metrics.in_work >= HTTP_REQUESTS_IN_WORK_MAX:
                await _send_busy(send)
                return
            self.metrics.in_work += 1
            self._strangers += is_stranger
            try:
                await app(scope, receive, send)
            finally:
                self.metrics.in_work -= 1
                self._strangers -= is_stranger

        return gate

    def _route(self, endpoint: Endpoint) -> HTTPRouteHandler:
        requests, seconds = self.metrics.requests, self.metrics.seconds

        async def handle(request: AnyRequest) -> Response[Any]:
            began = time.perf_counter()
            try:
                response = await self._serve(endpoint, request)
            except ProblemError as error:
                response = problem_response(error.problem, error.headers)
            except RpcUnavailable as error:
                response = problem_response(make_problem("unavailable", str(error)))
            except FrameTooLong as error:
                response = problem_response(make_problem("too_large", str(error)))
            requests.labels(endpoint.path, endpoint.method, str(response.status_code)).inc()
            seconds.labels(endpoint.path).observe(time.perf_counter() - began)
            correlation_id = request.headers.get("x-correlation-id")
            if correlation_id:
                response.headers["X-Correlation-Id"] = _clean(correlation_id)
            return response

        path = endpoint.path.replace("}", ":str}")
        # The status is a default that Litestar wants for DELETE; every response here names its own.
        return HTTPRouteHandler(path, http_method=cast("Method", endpoint.method), status_code=200)(handle)

    async def _serve(self, endpoint: Endpoint, request: AnyRequest) -> Response[Any]:
        actor = self.authorise(endpoint, request)
        if actor is PROBE or endpoint.path.startswith("/v1/events"):
            return await self._answer(endpoint, request, actor)
        name, shares = actor.name.partition("/")[0], self._shares
        if shares[name] >= HTTP_TOKEN_REQUESTS_MAX:
            raise ProblemError("unavailable", "too many requests of this token are in work; nothing was done")
        shares[name] += 1
        try:
            return await self._answer(endpoint, request, actor)
        finally:
            shares[name] -= 1

    async def _answer(self, endpoint: Endpoint, request: AnyRequest, actor: Actor) -> Response[Any]:
        query = _read_query(request, endpoint.query)
        try:
            path = {name: unquote(value, errors="strict") for name, value in request.path_params.items()}
        except UnicodeDecodeError:
            raise ProblemError("bad_request", "the path is not UTF-8") from None
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_ndjson = endpoint.streams and media_type in NDJSON_MEDIA
        if endpoint.body is not None and not is_ndjson and media_type not in JSON_MEDIA:
            raise ProblemError("unsupported_media_type", f"{media_type} is not taken; send application/json")
        body, chunks = b"", None
        if is_ndjson:
            chunks = _chunks(request, None, math.inf)
        elif endpoint.method != "GET":
            bound = self.settings.body_max if endpoint.streams else min(HTTP_BODY_BYTES_MAX, self.settings.body_max)
            patience_s = HTTP_BODY_S if endpoint.roles else HTTP_STRANGER_BODY_S
            body = b"".join([chunk async for chunk in _chunks(request, bound, patience_s)])
        key = request.headers.get("idempotency-key")
        engine: Engine = self.engine
        if key is None or endpoint.method == "GET" or not endpoint.roles:
            return await endpoint.handler(self._context(engine, actor, path, query, body, chunks, is_ndjson, request))
        target = f"{endpoint.method} {request.scope['path']}?".encode() + request.scope["query_string"]
        async with self.keys.engine_for(actor.name.partition("/")[0], key.strip(), target) as engine:
            context = self._context(engine, actor, path, query, body, chunks, is_ndjson, request)
            response = await endpoint.handler(context)
            if endpoint.streams and isinstance(engine, KeyedEngine):
                await engine.end(actor)
            return response

    def _context(
        self,
        engine: Engine,
        actor: Actor,
        path: dict[str, str],
        query: Any,
        body: bytes,
        chunks: AsyncIterator[bytes] | None,
        is_ndjson: bool,
        request: AnyRequest,
    ) -> Context:
        context = Context(engine, actor, path, query, body, chunks, is_ndjson, self.history, self.settings)
        context.headers, context.outlets = request.headers, self.outlets
        return context

    def authorise(self, endpoint: Endpoint, request: AnyRequest) -> Actor:
        """On whose behalf a request is made. Raises ProblemError: unauthorized, forbidden."""
        roles = endpoint.roles
        if not roles and endpoint.path == "/metrics" and not self.settings.metrics_open:
            roles = READERS
        if not roles:
            return PROBE
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        challenge = {"WWW-Authenticate": 'Bearer realm="aaa"'}
        if scheme.lower() != "bearer" or not presented.strip():
            raise ProblemError("unauthorized", "send Authorization: Bearer TOKEN", headers=challenge)
        token = self.tokens.find(presented.strip())
        if token is None:
            challenge["WWW-Authenticate"] += ', error="invalid_token"'
            raise ProblemError("unauthorized", "the token is not known here", headers=challenge)
        if token.role not in roles:
            allowed = ", ".join(sorted(roles))
            raise ProblemError("forbidden", f"token {token.name} is {token.role}; this needs one of {allowed}")
        behalf = _clean(request.headers.get("x-actor", ""))
        return Actor(
            name=f"{token.name}/{behalf}" if behalf else token.name,
            role=token.role,
            operator=token.operator,
            correlation_id=_clean(request.headers.get("x-correlation-id", "")),
        )


def _clean(text: str) -> str:
    """Printable ASCII of a header that is repeated in logs, events and the answer."""
    return "".join(character for character in text[:ACTOR_LENGTH_MAX] if " " <= character <= "~")


def _read_query(request: AnyRequest, shape: type[msgspec.Struct]) -> Any:
    """The query as its struct; every parameter known, of its type, and given once."""
    values: dict[str, str] = {}
    for name, value in parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True):
        if name in values:
            raise ProblemError("invalid", f"{name} is given more than once", name)
        values[name] = value
    try:
        return check_value(values, shape, strict=False)
    except FieldError as error:
        raise ProblemError("invalid", error.detail, error.field.removeprefix("$."), error.suggestion) from None


async def _chunks(request: AnyRequest, bound: int | None, patience_s: float) -> AsyncIterator[bytes]:
    """The body as it comes. Raises ProblemError above the bound, when it stops coming, and after patience_s in all."""
    size = 0
    clock = asyncio.get_running_loop().time
    end = clock() + patience_s
    stream = request.stream()
    try:
        announced = int(request.headers.get("content-length", "0"))
    except ValueError:
        announced = 0
    while True:
        if bound is not None and max(size, announced) > bound:
            raise ProblemError("too_large", f"at most {bound} bytes; send more as NDJSON to /v1/sync")
        try:
            async with asyncio.timeout_at(min(end, clock() + HTTP_BODY_STALL_S)):
                chunk = await anext(stream, None)
        except TimeoutError:
            detail = f"the body did not come within {patience_s:g} s, or nothing of it for {HTTP_BODY_STALL_S:g} s"
            raise ProblemError("timeout", detail) from None
        except HTTPException:
            raise ProblemError("bad_request", "the body ended early") from None
        if chunk is None:
            return
        size += len(chunk)
        if chunk:
            yield chunk


async def _send_busy(send: Send) -> None:
    problem = make_problem("unavailable", "too many requests are in work; nothing was done", status=503)
    headers = [(b"content-type", b"application/problem+json"), (b"retry-after", b"1")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": msgspec.json.encode(problem), "more_body": False})


def _on_http_error(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """What Litestar refuses before an endpoint is found."""
    if error.status_code == 404:
        problem = make_problem("not_found", f"no such path: {request.scope['path']}; see /docs")
    elif error.status_code == 405:
        problem = make_problem("method_not_allowed", f"{request.method} is not possible here; see /docs")
    else:
        code = BY_STATUS.get(error.status_code, "internal")
        problem = make_problem(code, error.detail, status=error.status_code)
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    return problem_response(problem, headers)


def _on_defect(request: AnyRequest, error: Exception) -> Response[bytes]:
    log.error("request failed: %s %s", request.method, request.scope["path"], exc_info=error)
    return problem_response(make_problem("internal"))
