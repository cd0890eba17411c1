"""`aaa import freeradius`: clients.conf, users files and SQL dumps as NAS entries and sync operations."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from aaa.cli.output import print_json


@click.group("import")
def import_group() -> None:
    """Take over what another server knows."""


@import_group.command("freeradius")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--as", "kind", type=click.Choice(["clients", "users", "sql"]), help="Else found out.")
@click.option("--nas", "nas_path", type=click.Path(dir_okay=False), help="Write [[nas]] entries there.")
@click.option("--operations", "operations_path", type=click.Path(dir_okay=False), help="Write sync operations there.")
@click.option("--operator", help="Operator of the NASes and subscribers.")
@click.option("--zone", help="Time zone of Expiration dates; this machine's if absent.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: counts and findings.")
def import_freeradius(
    files: Sequence[Path], kind: str | None, nas_path: str | None, operations_path: str | None, operator: str | None,
    zone: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Read clients.conf, users files and SQL dumps (radcheck, radreply, radusergroup, radgroup..., nas).

    Prints [[nas]] entries and sync operations, or writes them to files that only you can read. What is not understood
    is told with its file and line; exit code 1 where something was. `aaa service import` pushes the operations.
    """
    from aaa import dictionary
    from aaa.cli.freeradius_map import Importer

    try:
        importer = Importer(dictionary.load(), operator, ZoneInfo(zone) if zone else None)
    except ZoneInfoNotFoundError:
        raise click.UsageError(f"{zone}: no such time zone") from None
    for file in files:
        _take(importer, file, kind)
    entries = importer.nas_entries()
    operations = importer.operations()
    if not as_json and entries and operations and not (nas_path or operations_path):
        raise click.UsageError("the files have clients and users: name --nas FILE or --operations FILE, or both")
    findings = importer.findings + check_operations(operations)
    nas_text = "\n".join(nas_toml(client.file, client.line, entry) for client, entry in entries)
    operations_text = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in operations)
    for text, path in ((nas_text, nas_path), (operations_text, operations_path)):
        if path is not None:
            write_private(path, text)
        elif text and not as_json:
            click.echo(text, nl=False)
    problems = sum(finding.is_problem for finding in findings)
    counts = Counter(each["kind"] for each in operations)
    if as_json:
        told = [
            {"file": each.file, "line": each.line, "message": each.message, "is_problem": each.is_problem}
            for each in findings
        ]
        print_json({"nas": len(entries), **{f"{name}s": counts[name] for name in sorted(counts)}, "findings": told})
    else:
        for finding in findings:
            click.echo(f"{'' if finding.is_problem else 'note: '}{finding}", err=True)
        made = [f"{len(entries)} NAS entries", *(f"{counts[name]} {name}s" for name in sorted(counts))]
        click.echo(f"{', '.join(made)}; {problems} lines not understood", err=True)
    raise click.exceptions.Exit(1 if problems else 0)


def _take(importer: Any, file: Path, kind: str | None) -> None:
    from aaa.cli import freeradius_files as read

    kind = kind or read.kind_of(file.read_text(encoding="utf-8", errors="replace"))
    if kind == "clients":
        importer.clients += read.read_clients(file, importer.findings)
    elif kind == "users":
        importer.take_users(list(read.read_users(file, importer.findings)))
    else:
        importer.take_rows(read.read_sql(file, importer.findings))


def check_operations(operations: list[dict[str, Any]]) -> list[Any]:
    """What the server would refuse."""
    import msgspec

    from aaa.cli.freeradius_files import Finding
    from aaa.model.operations import Operation
    from billing_hooks.problems import FieldError
    from billing_hooks.sync import read_operation

    decoder = msgspec.json.Decoder(Operation)
    found = []
    for number, each in enumerate(operations, 1):
        try:
            read_operation(json.dumps(each).encode(), decoder)
        except FieldError as error:
            found.append(Finding("operations", number, f"{each['kind']} {each['id']}: {error.field}: {error.detail}"))
    return found


def nas_toml(file: str, line: int, entry: dict[str, Any]) -> str:
    """One [[nas]] entry; JSON's strings and lists are TOML's too."""
    lines = [f"# {file}:{line}", "[[nas]]"]
    lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
    return "\n".join(lines) + "\n"


def write_private(path: str, text: str) -> None:
    """A file with secrets, readable by its owner only."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o600)
        file.write(text)
