"""What commands print: JSON for machines, tables for people. Knows rich, no HTTP."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import click

_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]")
PIPE_WIDTH: Final = 240
"""Columns where no terminal tells its own: nothing is cut for grep."""


def print_json(value: Any) -> None:
    """One JSON document, indented on a terminal."""
    click.echo(safe_json(json.dumps(value, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None)))


def safe_json(text: str) -> str:
    """The same JSON without characters that a terminal would obey: JSON escapes some, not DEL, C1 and writing order.

    They come from whoever sends packets: user names, ids of sessions and lines.
    """
    return text if text.isprintable() else _UNPRINTABLE.sub(lambda match: escaped(match[0]), text)


def escaped(character: str) -> str:
    """As JSON escapes it; a line feed and a blank stand as they are."""
    return character if character.isprintable() or character == "\n" else json.dumps(character)[1:-1]


def print_table(items: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """A row for each item; columns may be dotted paths. Empty columns are left out, and so is a table without rows."""
    if not items:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [{column: show(pick(item, column)) for column in columns} for item in items]
    used = [column for index, column in enumerate(columns) if not index or any(row[column] for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in used:
        table.add_column(column.rpartition(".")[2], overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[column]) for column in used))
    Console(width=None if sys.stdout.isatty() else PIPE_WIDTH, highlight=False).print(table)


def print_fields(value: Mapping[str, Any]) -> None:
    """One line for each field, nested ones by dotted name."""
    for name, item in _flatten(value, ""):
        click.echo(f"{click.style(name, bold=True)}: {show(item)}")


def _flatten(value: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for name, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flatten(item, f"{prefix}{name}.")
        elif isinstance(item, list) and item and all(isinstance(each, Mapping) for each in item):
            for number, each in enumerate(item):
                yield from _flatten(each, f"{prefix}{name}[{number}].")
        else:
            yield f"{prefix}{name}", item


def pick(item: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; None where there is none."""
    value: Any = item
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def show(value: Any) -> str:
    """A value as one line of text, safe for a terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and not any(isinstance(each, dict | list) for each in value):
        value = ", ".join(map(show, value))
    elif isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False)
    text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
