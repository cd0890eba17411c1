"""Endpoints for operators who look before they change something, and while it happens: previews, decisions, packets."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Final, Literal

import msgspec
from litestar.response import Response, Stream
from msgspec import Meta, Struct

from aaa.model.operations import Operation, Result
from billing_hooks.endpoints import JSON, NDJSON, Context, Endpoint, ask, refuse
from billing_hooks.problems import FieldError, read_body
from billing_hooks.rpc import RpcUnavailable
from billing_hooks.schema import Limit
from billing_hooks.sync import read_operation
from billing_hooks.tokens import READERS, SUPPORT, Role
from policy.model import Rate, TraceStep

TRACERS: Final[frozenset[Role]] = frozenset(("support", "admin"))
"""Packets show who uses what, when and where."""
TRACE_WAIT_S: Final = 5.0
"""How long the engine may have nothing to tell before an empty line says that the trace is alive."""
_ends: Final[set[asyncio.Task[Any]]] = set()
"""Traces that are being ended; kept from the collector."""


PREVIEW_TIMEOUT_S: Final = 60.0
"""A preview over a million sessions takes 20 s beside the packets."""


class PreviewQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which page of the sessions is shown."""

    limit: Limit = 100
    after: str = ""
    """Cursor: the `next` of the page before."""


class PreviewRequest(Struct, forbid_unknown_fields=True):
    """What is thought of: policy files instead of those in force, operations as for sync, or both."""

    files: dict[str, str] | None = None
    """Text of every policy file by its name; absent: the policy in force."""
    operations: list[dict[str, Any]] = []


class PreviewSummary(Struct):
    """In numbers."""

    sessions: int
    """Live sessions looked at."""
    changed: int
    """To which something would be sent."""
    coa: int
    disconnect: int
    silent: int
    """Whose decision changes in nothing that their NAS is told."""


class PreviewGroup(Struct):
    """Sessions to which the same happens, for the same reason."""

    group: int
    count: int
    family: str
    action: str
    """coa or disconnect."""
    reason: str
    attributes: list[tuple[str, str]]
    """What the CoA carries besides what names the session."""
    nas: dict[str, int]
    """How many sessions of which NAS."""
    from_: dict[str, Any] | None = msgspec.field(name="from")
    """Decision that the NAS confirmed; null: not known."""
    to: dict[str, Any] | None


class PreviewItem(Struct):
    """One session."""

    session_id: str
    service_id: str
    user_name: str | None
    nas: str
    group: int
    action: str
    keys: list[tuple[str, str]]
    """What names the session in the request."""
    attributes: list[tuple[str, str]]
    caused_by: str
    """Who asks for it: the token, or an automation."""


class PreviewAnswer(Struct):
    """What would follow."""

    policy: str
    """Revision of the policy that was thought of."""
    summary: PreviewSummary
    groups: list[PreviewGroup]
    """The largest first."""
    items: list[PreviewItem]
    next: str | None
    operations: list[Result]
    """How each would be answered."""
    events: dict[str, int]
    """Events that the operations would cause, by type."""
    warnings: list[dict[str, Any]]
    """Of the policy files."""


class DecisionQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """What the decision is explained for. The service may be named as the network does: user name, MAC, IMSI."""

    nas: str | None = None
    """Name of the [[nas]], or Origin-Host of a Diameter client; absent, and without `protocol`, `plmn` and `location`:
    nowhere, and rules that ask for the place do not match."""
    at: str | None = None
    """RFC 3339 with a zone, or epoch seconds; absent: now."""
    called_station_id: str | None = None
    calling_station_id: str | None = None
    nas_port_id: str | None = None
    circuit_id: str | None = None
    remote_id: str | None = None
    protocol: Literal["radius", "gx", "gy", "s6a", "sy"] | None = None
    """How the session is authorised; absent: radius; gx for a Diameter client, or where `plmn` or `location` is."""
    plmn: str | None = None
    """Serving mobile network: MCC and MNC."""
    location: str | None = None
    """Cell or tracking area, as sessions show it."""


class Explained(Struct):
    """A decision with everything that led to it."""

    grant: bool
    reason: str
    service_id: str
    subscriber_id: str
    plan_id: str
    named_by: str
    """service, user name, mac or imsi: what the path was."""
    at: str
    policy: str
    nas: str | None
    sim_state: str | None = None
    """Where the path was an IMSI: only an `activated` SIM is served at all, whatever the decision."""
    trace: list[TraceStep] = []
    """Every rule that matched, in order, with the facts that made it match."""
    message: str = ""
    rate: Rate | None = None
    valid_until: str | None = None
    """When time alone changes it; null: never."""
    valid_below_octets: int | None = None
    """Usage below it changes nothing; null: usage never matters."""
    attributes_sent: list[tuple[str, str]] = []
    """Of an Access-Accept at this NAS, without what only the login brings: Class, keys, an address of a pool."""


class EnforcementStats(Struct):
    """What is being done about sessions that do not run under their decision."""

    open: dict[str, int]
    """Enforcements by state."""
    results: dict[str, int]
    """Final ones by result, since the start."""
    divergent: int
    """Sessions."""
    in_flight: int
    """Requests that wait for a NAS's answer."""
    waiting: int
    """Requests that wait for a NAS's pace."""


class Stats(Struct):
    """Counters since the start; look twice and take the difference. Beside these: what every NAS counts, in all.

    A token of one operator sees what its NASes count; the rest is 0 and empty.
    """

    at: float
    uptime_s: float
    sessions: int
    services: int
    rows_ahead: int
    """On their way to the disk."""
    access: dict[str, int]
    """Accepts, and rejects by cause."""
    accounting: dict[str, int]
    """Reports by what they did."""
    drops: dict[str, int]
    """Packets met with silence, by reason."""
    latency: dict[str, list[int]]
    """auth, acct, coa, commit: how many took less than 1, 2, 4, ... microseconds, the last one all others."""
    enforcement: EnforcementStats
    policy: str
    nas: list[dict[str, Any]]
    """The busiest, with their sessions and counters."""


async def preview(context: Context) -> Response[Any]:
    """What would follow of a change, before it is made."""
    request = read_body(context.body, PreviewRequest)
    try:
        operations = list(_read_operations(request.operations))
    except FieldError as error:
        raise error.to_problem() from None
    args = {"files": request.files, "operations": operations, **msgspec.structs.asdict(context.query)}
    answer = await context.engine.call("policy_preview", context.actor, args, PREVIEW_TIMEOUT_S)
    return refuse(answer) if answer.status >= 400 else Response(answer.body, media_type=JSON)


def _read_operations(given: list[Any]) -> Iterator[Operation]:
    decoder = msgspec.json.Decoder(Operation)
    for number, each in enumerate(given):
        try:
            yield read_operation(msgspec.json.encode(each), decoder)
        except FieldError as error:
            raise FieldError(error.detail, f"$.operations[{number}]{error.field[1:]}", error.suggestion) from None


class TraceQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which packets are shown; all that is given must match."""

    user: str | None = None
    """User-Name."""
    nas: str | None = None
    service: str | None = None
    session: str | None = None
    """Id of the session, or its Session-Id."""
    code: str | None = None
    """Name or number of the request's code: Access-Request, Accounting-Request, CoA-Request, Disconnect-Request."""
    imsi: str | None = None
    peer: str | None = None
    """Origin-Host of the Diameter peer that it came from, or went to."""
    command: str | None = None
    """Diameter command by short name or number, with or without its application: CCR, Gx CCR, 272. DWR only so."""
    count: Annotated[int, Meta(ge=1)] | None = None
    """End after so many."""


class TracedPacket(Struct, omit_defaults=True):
    """One line of a trace: a request, what was decided, and its answer. Secrets are ***."""

    at: str
    protocol: str
    """radius or diameter."""
    direction: str
    """Of the request: in, or out for what this server sent. A relayed one is seen twice."""
    nas: str | None
    """NAS, or Origin-Host of the Diameter client."""
    address: str
    code: str
    """Of the request; of Diameter application and command, such as "Gx CCR"."""
    identifier: int | None
    """null for a RADIUS request of this server; of Diameter the End-to-End Identifier."""
    user: str | None
    """User-Name or IMSI."""
    service_id: str | None
    session_id: str | None
    attributes: list[tuple[str, str]]
    outcome: str
    """accept, reject, drop, repeated; what an accounting report did; ack, nak, timeout or error of a CoA; of Diameter
    the name of the Result-Code, or "no answer"."""
    reason: str | None
    detail: str | None
    decision: dict[str, Any] | None
    answer: str | None
    """Code of the answer; null: none."""
    answer_attributes: list[tuple[str, str]]
    latency_ms: float
    """From its receipt to the decision; of a CoA: to its answer."""
    peer: str | None = None
    """Origin-Host of the Diameter peer that it came from, or went to."""
    lost: int = 0
    """Stands alone: so many packets matched and did not fit."""


async def trace(context: Context) -> Response[Any]:
    """Packets as they come, until the client goes away or a reload changes its token."""
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
    name = context.actor.name.partition("/")[0]
    token = context.outlets.tokens.get(name)
    try:
        # The head goes out at once: the client knows that it is looking on.
        yield b"\n"
        while count is None or count > 0:
            answer = await context.engine.call("trace_next", context.actor, args, TRACE_WAIT_S * 2)
            # Security: after a reload the token may be gone, or see less.
            if answer.status >= 400 or context.outlets.tokens.get(name) != token:
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
        method="POST", path="/v1/policy/preview", roles=SUPPORT, tag="See",
        summary="Say which live sessions would change under policy files or operations, how, and by which packets",
        handler=preview, query=PreviewQuery, body=PreviewRequest, answer=PreviewAnswer,
    ),
    Endpoint(
        method="GET", path="/v1/stats", roles=READERS, tag="See", summary="Show the counters of a live view",
        handler=ask("stats"), answer=Stats,
    ),
    Endpoint(
        method="GET", path="/v1/services/{id}/decision", roles=READERS, tag="See",
        summary="Explain what a service may do at a moment and a NAS, with every rule that matched",
        handler=ask("decision"), query=DecisionQuery, answer=Explained,
    ),
    Endpoint(
        method="GET", path="/v1/trace", roles=TRACERS, tag="See", media_type=NDJSON,
        summary="Stream live packets with the decision for each, one JSON object per line, until the client goes away",
        handler=trace, query=TraceQuery, answer=TracedPacket,
    ),
)  # fmt: skip
