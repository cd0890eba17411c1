"""Endpoints for operators who look before they change something, and while it happens: live packets."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final

import msgspec
from litestar.response import Response, Stream
from msgspec import Meta, Struct

from billing_hooks.endpoints import NDJSON, Context, Endpoint, refuse
from billing_hooks.rpc import RpcUnavailable
from billing_hooks.tokens import Role

TRACERS: Final[frozenset[Role]] = frozenset(("support", "admin"))
"""Packets show who uses what, when and where."""
TRACE_WAIT_S: Final = 5.0
"""How long the engine may have nothing to tell before an empty line says that the trace is alive."""
_ends: Final[set[asyncio.Task[Any]]] = set()
"""Traces that are being ended; kept from the collector."""


class TraceQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which packets are shown; all that is given must match."""

    user: str | None = None
    """User-Name."""
    nas: str | None = None
    service: str | None = None
    session: str | None = None
    """Id of the session."""
    code: str | None = None
    """Name or number of the request's code: Access-Request, Accounting-Request, CoA-Request, Disconnect-Request."""
    count: Annotated[int, Meta(ge=1)] | None = None
    """End after so many."""


class TracedPacket(Struct, omit_defaults=True):
    """One line of a trace: a request, what was decided, and its answer. Secrets are ***."""

    at: str
    nas: str | None
    address: str
    code: str
    identifier: int
    user: str | None
    service_id: str | None
    session_id: str | None
    attributes: list[tuple[str, str]]
    outcome: str
    """accept, reject, drop, repeated; what an accounting report did; ack, nak, timeout or error of a CoA."""
    reason: str | None
    detail: str | None
    decision: dict[str, Any] | None
    answer: str | None
    """Code of the answer; null: none."""
    answer_attributes: list[tuple[str, str]]
    latency_ms: float
    """From its receipt to the decision; of a CoA: to its answer."""
    lost: int = 0
    """Stands alone: so many packets matched and did not fit."""


async def trace(context: Context) -> Response[Any]:
    """Packets as they come, until the client goes away."""
    query = msgspec.structs.asdict(context.query)
    count = query.pop("count")
    opened = await context.engine.call("trace_open", context.actor, query)
    if opened.status >= 400:
        return refuse(opened)
    number = msgspec.json.decode(opened.body)["trace"]
    return Stream(_packets(context, number, count), media_type=NDJSON)


async def _packets(context: Context, number: int, count: int | None) -> AsyncIterator[bytes]:
    args = {"trace": number, "wait_s": TRACE_WAIT_S}
    decoder = msgspec.json.Decoder(_Seen)
    try:
        # The head goes out at once: the client knows that it is looking on.
        yield b"\n"
        while count is None or count > 0:
            answer = await context.engine.call("trace_next", context.actor, args, TRACE_WAIT_S * 2)
            if answer.status >= 400:
                return
            seen = decoder.decode(answer.body)
            lines = [bytes(item) + b"\n" for item in seen.items[:count]]
            if seen.lost:
                lines.append(b'{"lost":%d}\n' % seen.lost)
            if count is not None:
                count -= len(seen.items)
            yield b"".join(lines) or b"\n"
    except RpcUnavailable:
        return
    finally:
        # The client's going away cancels this; the engine is told all the same.
        end = asyncio.get_running_loop().create_task(_end(context, number))
        _ends.add(end)
        end.add_done_callback(_ends.discard)


async def _end(context: Context, number: int) -> None:
    try:
        await context.engine.call("trace_close", context.actor, {"trace": number})
    except RpcUnavailable:
        return


class _Seen(Struct):
    items: list[msgspec.Raw]
    lost: int


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        method="GET", path="/v1/trace", roles=TRACERS, tag="See", media_type=NDJSON,
        summary="Stream live packets with the decision for each, one JSON object per line, until the client goes away",
        handler=trace, query=TraceQuery, answer=TracedPacket,
    ),
)  # fmt: skip
