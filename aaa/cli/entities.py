"""`aaa subscriber|service|plan|sim|number|device`: list, show, set, delete, import, export through the sync API."""

import contextlib
import json
import sys
from collections.abc import Sequence
from typing import IO, Any, Final

import click
from msgspec import Struct

from aaa.cli.door import Door, Refused, api_command, segment
from aaa.cli.output import print_fields, print_json, print_table
from aaa.cli.transfer import ID_COLUMNS, Importer, read_operations
from aaa.model.inventory import Device, Number, Sim

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "plan": ("id", "name", "kind", "rate.down_bps", "rate.up_bps", "quota.octets", "pool", "revision"),
    "subscriber": ("id", "name", "operator", "groups", "tags", "revision"),
    "service": ("id", "subscriber_id", "plan_id", "state", "static_ip", "expires_at", "revision"),
    "sim": ("iccid", "imsi", "state", "msisdn", "service_id", "operator", "batch", "has_keys", "revision"),
    "number": ("msisdn", "state", "service_id", "iccid", "range", "until", "operator", "revision"),
    "device": ("id", "kind", "serial", "mac", "imei", "service_id", "operator", "revision"),
}
FILTERS: Final[dict[str, tuple[str, ...]]] = {
    "plan": (),
    "subscriber": ("operator",),
    "service": ("operator", "subscriber", "plan", "state"),
    "sim": ("operator", "state", "service", "batch", "imsi", "msisdn"),
    "number": ("operator", "state", "service"),
    "device": ("operator", "kind", "service"),
}
FIELDS_OF_FILTERS: Final = {"subscriber": "subscriber_id", "plan": "plan_id", "service": "service_id"}
PUSHED: Final[dict[str, type[Struct]]] = {"sim": Sim, "number": Number, "device": Device}
"""What of a shown entity can be pushed again, where more is shown."""
NUMBER_FIELDS: Final = ("revision", "sqn")
"""Of these: all others are texts, though they may look like numbers."""


def make_group(kind: str, text: str) -> click.Group:
    """The commands of one kind of entity."""
    base = f"/v1/{kind}s"

    @click.group(kind, help=text)
    def group() -> None:
        pass

    def list_entities(door: Door, prefix: str | None, limit: int, every: bool, as_json: bool, **filters: Any) -> None:
        query = {FIELDS_OF_FILTERS.get(name, name): value for name, value in filters.items()}
        items = list(door.pages(base, None if every else limit, q=prefix, **query))
        if as_json:
            print_json(items)
        else:
            print_table(items, COLUMNS[kind])

    command: Any = api_command(list_entities)
    for name in reversed(FILTERS[kind]):
        command = click.option(f"--{name}", help=f"Only of this {name}.")(command)
    command = click.option("--all", "every", is_flag=True, help="All of them.")(command)
    limited = click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
    command = limited(command)
    command = click.option("--prefix", help="Only ids that begin so.")(command)
    group.command("list", help=f"List {kind}s.")(command)

    @group.command("show", help=f"Show one {kind}.")
    @click.argument("id")
    @api_command
    def show(door: Door, id: str, as_json: bool) -> None:
        path = f"{base}/{segment(id)}"
        value = door.ask("GET", path)
        if kind == "service":
            value["credentials"] = door.ask("GET", f"{path}/credentials").get("credentials", [])
            value["status"] = door.ask("GET", f"{path}/status")
        (print_json if as_json else print_fields)(value)

    @group.command("set", help=f"Change fields of a {kind}, or make one: name=value, rate.down_bps=1000000.")
    @click.argument("id")
    @click.argument("fields", nargs=-1, required=True)
    @click.option("--revision", type=click.IntRange(0), help="The new revision; one above the stored one if absent.")
    @api_command
    def set_fields(door: Door, id: str, fields: Sequence[str], revision: int | None, as_json: bool) -> None:
        path = f"{base}/{segment(id)}"
        stored = _stored(door, path)
        value = merge(fields, stored or {}, as_text=kind in PUSHED)
        value["revision"] = (stored or {"revision": 0})["revision"] + 1 if revision is None else revision
        print_result(door.ask("PUT" if stored is None else "PATCH", path, value), as_json)

    @group.command("delete", help=f"Delete {kind}s.")
    @click.argument("ids", nargs=-1, required=True)
    @click.option("--revision", type=click.IntRange(0), help="The tombstone's; one above the stored one if absent.")
    @click.option("--yes", is_flag=True, help="Do not ask.")
    @api_command
    def delete(door: Door, ids: Sequence[str], revision: int | None, yes: bool, as_json: bool) -> None:
        if not yes and sys.stdin.isatty():
            click.confirm(f"Delete {', '.join(ids)}?", abort=True)
        for id in ids:
            path = f"{base}/{segment(id)}"
            next_revision = door.ask("GET", path)["revision"] + 1 if revision is None else revision
            print_result(door.ask("DELETE", path, revision=next_revision), as_json)

    @group.command("export", help=f"Write all {kind}s as NDJSON of sync operations, without secrets, for `import`.")
    @click.argument("file", type=click.File("w", encoding="utf-8", lazy=True), default="-")
    @api_command
    def export(door: Door, file: IO[str], as_json: bool) -> None:
        shape = PUSHED.get(kind)
        for value in door.pages(base, None):
            name = value[ID_COLUMNS.get(kind, "id")]
            if shape is not None:
                value = {field: value[field] for field in shape.__struct_fields__ if value.get(field) is not None}
            operation = {"op": "put", "kind": kind, "id": name, "value": value}
            file.write(json.dumps(operation, ensure_ascii=False) + "\n")

    @group.command("import")
    @click.argument("file", type=click.File("rb"))
    @click.option("--format", "form", type=click.Choice(["csv", "ndjson"]), help="By the file's name if absent.")
    @click.option("--revision", type=click.IntRange(0), default=1, show_default=True, help="Where a line names none.")
    @click.option("--dry-run", is_flag=True, help="Check every line; send nothing.")
    @click.option("--errors", "errors_path", type=click.Path(dir_okay=False), help="Write refused operations there.")
    @api_command
    def import_file(
        door: Door, file: IO[bytes], form: str | None, revision: int, dry_run: bool, errors_path: str | None,
        as_json: bool,
    ) -> None:  # fmt: skip
        operations = read_operations(file, kind, form, revision)
        importer = Importer(None if dry_run else door, errors_path)
        summary = importer.run(operations, file, progress=not as_json)
        if as_json:
            print_json(summary)
        else:
            counts = [f"{count} {name}" for name, count in summary["results"].items()]
            click.echo(", ".join(counts) or "nothing to import")
            for finding in summary["first_errors"]:
                click.echo(f"line {finding['line']}: {finding['id']}: {finding['detail']}", err=True)
        raise click.exceptions.Exit(1 if summary["failed"] else 0)

    import_file.help = (
        f"Push a file of {kind}s (- for standard input): CSV with a header, or NDJSON of sync operations or of {kind}s "
        "with their id. Exit code 1 when a line was refused. Columns: docs/cli.md."
    )
    return group


def _stored(door: Door, path: str) -> dict[str, Any] | None:
    try:
        stored: dict[str, Any] = door.ask("GET", path)
    except Refused as refusal:
        if refusal.problem.get("status") == 404:
            return None
        raise
    return stored


def merge(fields: Sequence[str], stored: dict[str, Any], as_text: bool = False) -> dict[str, Any]:
    """name=value words as an object; a dotted name changes its part of the stored object. Raises UsageError.

    as_text: values are texts, such as an IMSI, but for `null` and NUMBER_FIELDS; else JSON, where they are.
    """
    value: dict[str, Any] = {}
    for field in fields:
        name, equals, text = field.partition("=")
        if not equals or not all(name.split(".")):
            raise click.UsageError(f"{field}: write name=value")
        parsed: Any = text
        if not as_text or name in NUMBER_FIELDS or text == "null":
            with contextlib.suppress(ValueError):
                parsed = json.loads(text)
        top, *inner = name.split(".")
        if not inner:
            value[top] = parsed
            continue
        place = value.setdefault(top, json.loads(json.dumps(stored.get(top) or {})))
        for part in inner[:-1]:
            place = place.setdefault(part, {}) if isinstance(place, dict) else None
        if not isinstance(place, dict):
            raise click.UsageError(f"{name}: {top} is no object")
        place[inner[-1]] = parsed
    return value


def print_result(result: dict[str, Any], as_json: bool) -> None:
    """What became of one operation."""
    if as_json:
        print_json(result)
    else:
        click.echo(f"{result['kind']} {result['id']}: {result['status']}, revision {result.get('revision')}")


plan_group = make_group("plan", "Products as billing sells them.")
subscriber_group = make_group("subscriber", "Who pays: owners of services.")
service_group = make_group("service", "What a credential logs in to.")
