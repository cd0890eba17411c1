"""`aaa events|audit|webhook`: what happened, who changed what, and who was told."""

import json
from collections.abc import Iterator
from typing import Any

import click

from aaa.cli.door import Door, Refused, api_command, segment
from aaa.cli.output import print_fields, print_json, print_table, safe_json, show

AUDIT_COLUMNS = ("seq", "at", "actor", "action", "kind", "subject", "changed", "correlation_id", "network")
WEBHOOK_COLUMNS = (
    "name",
    "state",
    "waiting",
    "lag_s",
    "lag_events",
    "delivered",
    "failed",
    "dead_letters",
    "error",
    "url",
)
LETTER_COLUMNS = ("seq", "at", "attempts", "error", "event.type", "event.subject")


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--type", "type_", metavar="TYPES", help='Only these: "quota.*", "nas.down,nas.up".')
@click.option("--service", help="Only of this service.")
@click.option("--subscriber", help="Only of this subscriber and its services.")
@click.option("--after", type=click.IntRange(0), help="Everything after this sequence number, instead of the newest.")
@click.option("--last", type=click.IntRange(1, 1000), default=50, show_default=True, help="So many of the newest.")
@api_command
def events(
    door: Door, follow: bool, type_: str | None, service: str | None, subscriber: str | None, after: int | None,
    last: int, as_json: bool,
) -> None:  # fmt: skip
    """Show events, oldest first. With --json one object a line."""
    query = {"type": type_, "service": service, "subscriber": subscriber}
    position = 0
    for page in _pages(door, query, after, last):
        position = page["next"]
        _print_events(page["items"], as_json)
    if not follow:
        return
    for event in _stream(door, query, position):
        _print_events([event], as_json)


def _pages(door: Door, query: dict[str, str | None], after: int | None, last: int) -> Iterator[dict[str, Any]]:
    if after is None:
        yield door.ask("GET", "/v1/events", last=last, **query)
        return
    while True:
        page = door.ask("GET", "/v1/events", after=after, limit=1000, **query)
        yield page
        if page["next"] <= after:
            return
        after = page["next"]


def _stream(door: Door, query: dict[str, str | None], after: int) -> Iterator[dict[str, Any]]:
    """Events as they come; where the server lets go of the stream, it is taken up again."""
    while True:
        for line in door.stream("/v1/events/stream", after=after, **query):
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                if "seq" not in event:
                    raise Refused(f"events after {after} are past their retention; the oldest is {event['oldest']}")
                after = event["seq"]
                yield event


def _print_events(items: list[dict[str, Any]], as_json: bool) -> None:
    for event in items:
        if as_json:
            click.echo(safe_json(json.dumps(event, ensure_ascii=False)))
            continue
        data = " ".join(f"{name}={show(value)}" for name, value in event["data"].items())
        who = f"  by {show(event['actor'])}" if event["actor"] else ""
        ticket = f" ({show(event['correlation_id'])})" if event["correlation_id"] else ""
        head = f"{event['seq']}  {event['at']}  {click.style(event['type'], bold=True)}  {show(event['subject'])}"
        click.echo(f"{head}  {data}{who}{ticket}")


@click.command()
@click.option("--service", help="Only of this service and its credentials.")
@click.option("--kind", help="Only of this kind: plan, subscriber, service, sim, ...")
@click.option("--subject", help="Only of the entity with this id.")
@click.option("--actor", help="Only by this token, or token and person as in crm/anna.")
@click.option("--correlation-id", help="Only what was pushed with this.")
@click.option("--last", type=click.IntRange(1, 1000), default=50, show_default=True, help="So many of the newest.")
@click.option("--verify", is_flag=True, help="Verify the hash chain instead. Exit code 1: it is broken.")
@api_command
def audit(door: Door, verify: bool, as_json: bool, last: int, **query: str | None) -> None:
    """Show who changed what, when, and what followed on the network."""
    if verify:
        found = door.ask("GET", "/v1/audit/verify")
        (print_json if as_json else print_fields)(found)
        raise click.exceptions.Exit(0 if found["whole"] else 1)
    items = door.ask("GET", "/v1/audit", last=last, **query)["items"]
    if as_json:
        print_json(items)
        return
    for entry in items:
        entry["changed"] = ", ".join(_differences(entry["before"], entry["after"]))
        entry["network"] = ", ".join(
            f"{receipt['action']} {receipt['nas']}: {receipt['result'] or receipt['state']}"
            for receipt in entry["enforcements"]
        )
    print_table(items, AUDIT_COLUMNS)


def _differences(before: Any, after: Any) -> Iterator[str]:
    """Fields that differ, with both values."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name) and name != "revision":
            # What has its default is left out of an entity's JSON.
            yield f"{name}: {show(before.get(name, '(default)'))} → {show(after.get(name, '(default)'))}"


@click.group("webhook")
def webhook_group() -> None:
    """Webhooks: how far each is, what it refused, and once more."""


@webhook_group.command("list")
@api_command
def webhook_list(door: Door, as_json: bool) -> None:
    """List webhooks and how far each is."""
    items = door.ask("GET", "/v1/webhooks")["items"]
    if as_json:
        print_json(items)
    else:
        print_table(items, WEBHOOK_COLUMNS)


@webhook_group.command("dead-letters")
@click.argument("name")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@api_command
def webhook_letters(door: Door, name: str, limit: int, as_json: bool) -> None:
    """List events that a webhook refused for good."""
    path = f"/v1/webhooks/{segment(name)}/dead-letters"
    items: list[dict[str, Any]] = []
    after: str | None = "0"
    while after is not None and len(items) < limit:
        page = door.ask("GET", path, after=after, limit=min(1000, limit - len(items)))
        items += page["items"]
        after = page["next"]
    if as_json:
        print_json(items)
    else:
        print_table(items, LETTER_COLUMNS)


@webhook_group.command("replay")
@click.argument("name")
@click.option("--after", type=click.IntRange(0), help="Everything after this sequence number, not dead letters.")
@click.option("--seq", "seqs", type=click.IntRange(1), multiple=True, help="Only this dead letter; may be repeated.")
@api_command
def webhook_replay(door: Door, name: str, after: int | None, seqs: tuple[int, ...], as_json: bool) -> None:
    """Deliver dead letters again, or everything after a sequence number."""
    body = {"after": after} if after is not None else {"seqs": seqs} if seqs else {}
    answer = door.ask("POST", f"/v1/webhooks/{segment(name)}/replay", body)
    if as_json:
        print_json(answer)
    elif after is not None:
        click.echo(f"{name}: everything after {after} is delivered again")
    else:
        click.echo(f"{name}: {answer['replayed']} dead letters on their way, {answer['left']} left")


@webhook_group.command("test")
@click.argument("name")
@api_command
def webhook_test(door: Door, name: str, as_json: bool) -> None:
    """Deliver a test event now. Exit code 1: it was not taken."""
    answer = door.ask("POST", f"/v1/webhooks/{segment(name)}/test")
    if as_json:
        print_json(answer)
    elif answer["delivered"]:
        click.echo(f"{name}: taken, status {answer['status']}, {answer['took_ms']:g} ms")
    else:
        click.echo(f"{name}: {show(answer['error'])}", err=True)
    raise click.exceptions.Exit(0 if answer["delivered"] else 1)
