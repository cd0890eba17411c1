"""TOML values into structs, finding every problem and not only the first."""

import difflib
import re
from collections.abc import Iterable
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from aaa.config.locate import Path
from aaa.config.report import Report
from aaa.config.schema import DURATION
from aaa.config.secrets import Redacted
from aaa.config.values import format_duration, parse_duration

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

StructT = TypeVar("StructT", bound=Struct)


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or the choices where nothing is near."""
    choices = sorted(known)
    near = difflib.get_close_matches(word, choices, n=1)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; known are {', '.join(choices)}" if choices else ""


def read_struct(cls: type[StructT], data: object, path: Path, report: Report) -> StructT | None:
    """The struct, with defaults in place of wrong optional values; None where a required one is missing or wrong."""
    if not isinstance(data, dict):
        wanted = f"[{path[0]}]" if len(path) == 1 else f"[[{path[0]}]]"
        report.error(path, f"is not a table; write {wanted} and its keys below it")
        return None
    fields = _fields(cls)
    for key in data:
        if key not in fields:
            report.error((*path, key), f"unknown key{suggest(key, fields)}")
    values: dict[str, Any] = {}
    complete = True
    for name, field in fields.items():
        if name not in data:
            if field.required:
                report.error((*path, name), f"missing; give {expected(field.type)}")
                complete = False
            continue
        try:
            values[name] = read_value(field.type, data[name])
        except ValueError as error:
            report.error((*path, name), str(error))
            complete = complete and not field.required
    return cls(**values) if complete else None


@cache
def _fields(cls: type[Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.name: field for field in msgspec.structs.fields(cls)}


def read_value(kind: Any, value: object) -> Any:
    """One value as its type wants it. Raises ValueError that tells what is wrong and what would be right."""
    secret = _holds(kind, Redacted)
    plain = value
    if not secret and any(_CONTROL.search(text) for text in ([value] if isinstance(value, str) else _texts(value))):
        raise ValueError("holds a control character; remove it")
    if _is_duration(kind):
        try:
            value = parse_duration(value)
        except ValueError:
            raise ValueError(f"{_shown(plain)} is not a duration; give {expected(kind)}") from None
    elif get_origin(_bare(kind)) is tuple and isinstance(value, str):
        value = [value]
    try:
        return msgspec.convert(value, kind, dec_hook=_decode)
    except msgspec.ValidationError:
        shown = "has a wrong type" if secret else f"{_shown(plain)} is not possible"
        raise ValueError(f"{shown}; give {expected(kind)}{_near(kind, plain)}") from None


def expected(kind: Any) -> str:
    """A type in an operator's words."""
    kind, meta = _unwrap(kind)
    origin = get_origin(kind)
    if meta is not None and meta.extra == DURATION:
        least, most = format_duration(float(meta.ge or 0)), format_duration(float(meta.le or 0))
        return f'a duration such as "90s" or "5m", {least} to {most}'
    if origin in (Union, UnionType):
        return " or ".join(expected(part) for part in get_args(kind) if part is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(f'"{choice}"' for choice in get_args(kind))
    if origin is tuple:
        inner = expected(get_args(kind)[0])
        return f"a list of {inner.removeprefix('a ').removeprefix('one of ')}"
    if origin is dict:
        return "a table of text, numbers, true or false"
    words = {str: "a text", Redacted: "a text", bool: "true or false", int: "a whole number", float: "a number"}
    text = words.get(kind, "a table")
    if meta is not None and kind in (int, float):
        text += f" above {meta.gt}" if meta.gt is not None else f" from {_number(meta.ge)}"
        text += f" to {_number(meta.le)}" if meta.le is not None else ""
    if meta is not None and kind is str:
        text += f" of {meta.min_length} to {meta.max_length} characters"
    return text


def _number(value: float | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _texts(value: object) -> list[str]:
    parts = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    return [part for part in parts if isinstance(part, str)]


def _decode(kind: type, value: object) -> Any:
    if kind is Redacted and isinstance(value, str):
        return Redacted(value)
    raise ValueError("not text")


def _unwrap(kind: Any) -> tuple[Any, Meta | None]:
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        return inner, next((note for note in notes if isinstance(note, Meta)), None)
    return kind, None


def _bare(kind: Any) -> Any:
    return _unwrap(kind)[0]


def _is_duration(kind: Any) -> bool:
    meta = _unwrap(kind)[1]
    return meta is not None and meta.extra == DURATION


def _holds(kind: Any, wanted: type) -> bool:
    return kind is wanted or any(_holds(part, wanted) for part in get_args(kind))


def _shown(value: object) -> str:
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _near(kind: Any, value: object) -> str:
    """The choice that was probably meant."""
    parts = [_bare(kind), *get_args(_bare(kind))]
    choices = [choice for part in parts if get_origin(part) is Literal for choice in get_args(part)]
    words = value if isinstance(value, list) else [value]
    for word in words:
        if isinstance(word, str) and word not in choices:
            near = difflib.get_close_matches(word, choices, n=1)
            if near:
                return f'; did you mean "{near[0]}"?'
    return ""
