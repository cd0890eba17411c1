"""Answers of the engine to the HTTP door, as every topic makes them. Knows no question."""

from typing import Any

import msgspec

from aaa.model.operations import Answer


def reply(status: int, body: Any) -> Answer:
    """A JSON answer."""
    return Answer(0, status, msgspec.json.encode(body))


def missing(kind: str, name: str) -> Answer:
    """404."""
    return reply(404, {"error": "not_found", "detail": f"no {kind} {name!r}"})


def refused(status: int, error: str, detail: str, field: str | None = None) -> Answer:
    """Any other refusal; error: a key of billing_hooks.problems.CODES where one fits."""
    body = {"error": error, "detail": detail}
    return reply(status, body if field is None else body | {"field": field})
