"""Problem documents (RFC 9457) and the strict reading of what a client sends. Knows types, no entity by name."""

import difflib
import re
from typing import Any, Final, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType
from msgspec import inspect as shapes

T = TypeVar("T")

CODES: Final[dict[str, tuple[int, str]]] = {
    "invalid": (422, "A value is missing or not acceptable"),
    "missing_reference": (422, "The entity referred to does not exist"),
    "invalid_transition": (409, "The state cannot be reached from the present one"),
    "duplicate_credential": (409, "Another service of this operator has this credential"),
    "duplicate_imsi": (409, "Another SIM that is not retired has this IMSI"),
    "duplicate_msisdn": (409, "Somebody else has this number"),
    "duplicate_range": (409, "Another range has numbers of this one"),
    "in_use": (409, "It is in use"),
    "exhausted": (409, "The range has no available number"),
    "conflict": (409, "The same revision was pushed before with other content"),
    "idempotency_mismatch": (422, "The idempotency key was used for another request"),
    "in_progress": (409, "The same is being done already"),
    "snapshot_share": (409, "The snapshot would end a larger share than allowed"),
    "gone": (410, "What was asked for is past its retention"),
    "bad_signature": (400, "The request is not signed with this endpoint's secret"),
    "not_found": (404, "There is no such thing"),
    "forbidden": (403, "The token's role or operator does not allow this"),
    "unauthorized": (401, "A valid token is needed"),
    "bad_request": (400, "The request cannot be read"),
    "method_not_allowed": (405, "The path does not know this method"),
    "unsupported_media_type": (415, "The body's media type is not one that this path takes"),
    "too_large": (413, "The body is larger than this path takes"),
    "timeout": (408, "The body stopped coming"),
    "not_possible": (409, "The network element cannot be asked to do this"),
    "unavailable": (503, "The engine did not answer; what was asked may or may not have been done"),
    "internal": (500, "A defect of the server; its log has the details"),
}
"""Machine-readable `error` of a problem: HTTP status, title. The docs page describes each under #code."""

BY_STATUS: Final[dict[int, str]] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "not_possible",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    503: "unavailable",
}


class Problem(Struct, omit_defaults=True):
    """RFC 9457 problem document with this API's extension members."""

    type: str
    title: str
    status: int
    detail: str = ""
    error: str = ""
    """The machine-readable name, also the fragment of `type`."""
    field: str | None = None
    """The offending field: "$.rate.down_bps" in a body, the bare name for a query parameter."""
    suggestion: str | None = None
    """A known name near to the unknown one that was sent."""
    oldest: int | UnsetType = UNSET
    """For events that are gone: the oldest that is kept."""
    result: Any | UnsetType = UNSET
    """For a refused push: the Result, as sync would have answered it."""
    errors: Any | UnsetType = UNSET
    """Every finding, where there are several (reload)."""


class ProblemError(Exception):
    """A request that ends in a problem document."""

    def __init__(
        self,
        error: str,
        detail: str = "",
        field: str | None = None,
        suggestion: str | None = None,
        status: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        """error: a key of CODES."""
        super().__init__(detail)
        self.problem = make_problem(error, detail, field, suggestion, status)
        self.headers = headers or {}


def make_problem(
    error: str, detail: str = "", field: str | None = None, suggestion: str | None = None, status: int | None = None
) -> Problem:
    """error: a key of CODES, or a name of the engine's own, which then needs a status."""
    usual, title = CODES.get(error, (status or 500, error.replace("_", " ")))
    return Problem(f"/docs#{error}", title, status or usual, detail, error, field, suggestion)


class FieldError(ValueError):
    """A value that does not fit its type: what, where, and what may have been meant."""

    def __init__(self, detail: str, field: str, suggestion: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.suggestion = suggestion

    def to_problem(self) -> ProblemError:
        return ProblemError("invalid", self.detail, self.field, self.suggestion)


_MESSAGE = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?\Z", re.DOTALL)
_NAMED = re.compile(r"Object (?P<kind>contains unknown|missing required) field `(?P<name>.*)`\Z", re.DOTALL)


def explain(error: msgspec.ValidationError, of_type: Any) -> FieldError:
    """msgspec's finding as a field, with a suggestion for an unknown name."""
    match = _MESSAGE.match(str(error))
    what, path = (match["what"], match["path"] or "$") if match else (str(error), "$")
    named = _NAMED.match(what)
    if named is None:
        return FieldError(what, path)
    field = f"{path}.{named['name']}"
    if named["kind"].startswith("missing"):
        return FieldError(f"{named['name']} is required", field)
    known = _fields_at(of_type, path)
    near = difflib.get_close_matches(named["name"], known, n=1, cutoff=0.6)
    detail = f"unknown field {named['name']}"
    if near:
        return FieldError(f"{detail}; did you mean {near[0]}?", field, near[0])
    return FieldError(f"{detail}; known are {', '.join(sorted(known))}" if known else detail, field)


def _fields_at(of_type: Any, path: str) -> set[str]:
    """Names of the fields that an object at this path may have."""
    here = _members(shapes.type_info(of_type))
    for name in re.findall(r"\.([^.\[]+)|\[", path):
        following: list[shapes.Type] = []
        for shape in here:
            if isinstance(shape, shapes.StructType) and name:
                following += [m for f in shape.fields if f.encode_name == name for m in _members(f.type)]
            elif isinstance(shape, shapes.ListType | shapes.VarTupleType):
                following += _members(shape.item_type)
            elif isinstance(shape, shapes.DictType):
                following += _members(shape.value_type)
        here = following
    return {field.encode_name for shape in here if isinstance(shape, shapes.StructType) for field in shape.fields}


def _members(shape: shapes.Type) -> list[shapes.Type]:
    if isinstance(shape, shapes.UnionType):
        return [member for part in shape.types for member in _members(part)]
    return _members(shape.type) if isinstance(shape, shapes.Metadata) else [shape]


def check_value(value: Any, of_type: type[T], strict: bool = True) -> T:
    """The value as that type. Raises FieldError. strict: text is not taken for a number."""
    try:
        return msgspec.convert(value, of_type, strict=strict)
    except msgspec.ValidationError as error:
        raise explain(error, of_type) from None


def parse_json(body: bytes) -> Any:
    """Plain JSON. Raises ProblemError (bad_request) saying at which byte it stopped."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise ProblemError("bad_request", f"the body is not JSON: {error}") from None
    except RecursionError:
        raise ProblemError("bad_request", "the body is nested too deep") from None


def read_body(body: bytes, of_type: type[T]) -> T:
    """A whole JSON body as that type. Raises ProblemError (bad_request, invalid)."""
    try:
        return check_value(parse_json(body), of_type)
    except FieldError as error:
        raise error.to_problem() from None


def read_line(data: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """One value of a stream, as the decoder's type. Raises FieldError."""
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        raise explain(error, decoder.type) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise FieldError(f"not JSON: {error}", "$") from None
