"""Every key of the configuration as Markdown, made from aaa.config.schema: `python -m aaa.config.reference`."""

import ast
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_args

import msgspec
from msgspec import Struct

from aaa.config import schema
from aaa.config.read import expected
from aaa.config.values import format_duration


def markdown() -> str:
    """A heading and a table for every section: key, meaning, value, default, and whether a reload changes it."""
    meanings = documents(schema)
    parts = []
    for name, cls, many in sections():
        parts.append(f"## {f'[[{name}]]' if many else f'[{name}]'}\n\n{cls.__doc__}\n")
        rows = ["| key | meaning | value | default | reload |", "|---|---|---|---|---|"]
        for field in msgspec.structs.fields(cls):
            meaning = meanings[cls.__name__, field.name]
            keys = {name, f"{name}.{field.name}"}
            live = "no" if keys & schema.RESTART_KEYS else "yes"
            rows.append(f"| `{field.name}` | {meaning} | {_value(field.type)} | {_default(field)} | {live} |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def sections() -> Iterator[tuple[str, type[Struct], bool]]:
    """Name, struct, and whether it is a list of tables; what stands inside a section follows it."""
    for section in msgspec.structs.fields(schema.Sections):
        many = bool(get_args(section.type))
        cls: type[Struct] = get_args(section.type)[0] if many else section.type
        yield section.name, cls, many
        for field in msgspec.structs.fields(cls):
            inner = get_args(field.type)[:1]
            if inner and isinstance(inner[0], type) and issubclass(inner[0], Struct):
                yield f"{section.name}.{field.name}", inner[0], True


def _value(kind: Any) -> str:
    return expected(kind).replace('a duration such as "90s" or "5m"', "duration").removeprefix("a ")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    value: Any = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    if value is None or value in ((), {}):
        return "–"
    if "duration" in expected(field.type):
        return f'`"{format_duration(value)}"`'
    return f"`{msgspec.json.encode(value).decode()}`"


def documents(module: ModuleType) -> dict[tuple[str, str], str]:
    """The line under each field of a module's classes, which Python itself does not keep."""
    found = {}
    for cls in ast.parse(inspect.getsource(module)).body:
        if not isinstance(cls, ast.ClassDef):
            continue
        for field, line in zip(cls.body, cls.body[1:], strict=False):
            if (
                isinstance(field, ast.AnnAssign)
                and isinstance(field.target, ast.Name)
                and isinstance(line, ast.Expr)
                and isinstance(line.value, ast.Constant)
                and isinstance(line.value.value, str)
            ):
                found[cls.name, field.target.id] = " ".join(line.value.value.split())
    return found


if __name__ == "__main__":
    print(markdown(), end="")
