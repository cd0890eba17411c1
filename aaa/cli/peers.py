"""`aaa peers`: Diameter peers, as configured and as they are."""

import click

from aaa.cli.door import Door, api_command, segment
from aaa.cli.output import print_fields, print_json, print_table

COLUMNS = (
    "origin_host", "state", "since", "direction", "address", "transport", "security", "applications", "watchdog",
    "requests_received", "requests_sent", "in_work", "in_flight", "last_reason", "last_detail",
)  # fmt: skip
COMMAND_COLUMNS = ("direction", "application", "command", "requests", "answers", "p50_ms", "p99_ms")


class PeersGroup(click.Group):
    """`aaa peers`, also with the options of `list`, lists."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Without a command, `list` is meant."""
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("peers", cls=PeersGroup)
def peers_group() -> None:
    """Diameter peers, as configured and as they are; by itself it lists them."""


@peers_group.command("list")
@click.option("--state", help="Only those that are open, suspect, reopening, connecting, closing or closed.")
@api_command
def peers_list(door: Door, state: str | None, as_json: bool) -> None:
    """List every peer: state, applications, watchdog, and why one went away."""
    items = [item for item in door.ask("GET", "/v1/peers")["items"] if state in (None, item["state"])]
    if as_json:
        print_json(items)
    else:
        print_table(items, COLUMNS)


@peers_group.command("show")
@click.argument("origin_host")
@api_command
def peers_show(door: Door, origin_host: str, as_json: bool) -> None:
    """Show one peer: what it asks, by command and result, and how long answers take."""
    answer = door.ask("GET", f"/v1/peers/{segment(origin_host)}")
    if as_json:
        print_json(answer)
        return
    commands = answer.pop("commands")
    print_fields(answer)
    for command in commands:
        command["answers"] = ", ".join(f"{name} {count}" for name, count in command["answers"].items())
    print_table(commands, COMMAND_COLUMNS)
