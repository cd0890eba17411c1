"""`aaa drift`: what billing has and the server has not, by a snapshot that changes nothing."""

import json
import sys
from collections.abc import Iterator
from typing import IO, Any, Final

import click

from aaa.cli.door import Door, api_command
from aaa.cli.output import print_json, show
from aaa.limits import HTTP_SYNC_LINE_BYTES_MAX, SNAPSHOT_LISTED_MAX

LISTS: Final = {
    "missing": ("missing", "new"),
    "extra": ("extra", "absent"),
    "older_here": ("older", "newer"),
    "newer_here": ("newer", "older"),
    "differing": ("differing", "repaired"),
}
"""List of the answer -> the word that is printed, and the count that has all of them."""


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--kinds", default="plan,subscriber,service", show_default=True, help="What FILE has all of.")
@api_command
def drift(door: Door, file: IO[bytes], kinds: str, as_json: bool) -> None:
    """Compare FILE (NDJSON: kind, id, value; `-` is standard input) with the server. Changes nothing.

    missing, extra, older and newer say what the server is; differing has the same revision and other content.
    Exit code 1: they differ.
    """
    data = door.send("POST", "/v1/snapshot", lines_of(file), "application/x-ndjson", dry_run="true", kinds=kinds)
    answer = json.loads(data)
    kinds_of = answer["kinds"].values()
    counts = {word: sum(kind[count] for kind in kinds_of) for word, count in LISTS.values()}
    counts["errors"] = sum(kind["errors"] for kind in kinds_of)
    if as_json:
        print_json(answer)
    else:
        print_drift(answer, counts)
    sys.exit(1 if any(counts.values()) else 0)


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    """The file's entities and an end marker, where it has none. Raises ClickException for what is no NDJSON."""
    count, ended = 0, False
    for number, line in enumerate(iter(lambda: file.readline(HTTP_SYNC_LINE_BYTES_MAX + 1), b""), 1):
        text = line.strip()
        if not text:
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise click.ClickException(f"line {number}: not JSON: {error}") from None
        if not isinstance(value, dict):
            raise click.ClickException(f"line {number}: not a JSON object")
        ended = "end" in value
        count += not ended
        if value.pop("op", "put") != "put":
            raise click.ClickException(f"line {number}: a snapshot has puts only")
        yield json.dumps(value).encode() + b"\n"
    if not ended:
        yield json.dumps({"end": True, "count": count}).encode() + b"\n"


def print_drift(answer: dict[str, Any], counts: dict[str, int]) -> None:
    """One line for each entity, and the sum on standard error."""
    for name, (word, _) in LISTS.items():
        for entity in answer.get(name, ()):
            click.echo(f"{word} {show(entity)}")
        if counts[word] > SNAPSHOT_LISTED_MAX:
            click.echo(f"{word}: {counts[word] - SNAPSHOT_LISTED_MAX} more", err=True)
    for error in answer.get("errors", ()):
        click.echo(f"error {error['kind']}/{show(error['id'])}: {show(error['detail'])}")
    shown = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    click.echo(shown or "no drift", err=True)
