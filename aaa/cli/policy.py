"""`aaa policy`: look at policy files before they count."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import click

from aaa.cli.door import Door, Refused, api_command, find_config, segment
from aaa.cli.output import print_json, print_table, show
from aaa.cli.trace import describe


@click.group("policy")
def policy_group() -> None:
    """Check policy files, preview what they would change, explain a decision."""


@policy_group.command()
@click.argument("path", required=False, type=click.Path(exists=True, path_type=Path), metavar="[DIR|FILE]")
@click.option("-c", "--config", metavar="FILE", help="Configuration file: where to find the policy, and its zone.")
@click.option("--zone", help="Time zone of windows, instead of the configuration's.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(path: Path | None, config: str | None, zone: str | None, as_json: bool) -> None:
    """Find everything that is wrong in policy files, each with its line and column.

    Without DIR or FILE: those of the configuration. Exit code 1 where something is wrong; warnings are none.
    """
    from aaa.config.policy import load_policy
    from aaa.errors import ConfigError, Problem

    path, zone = _where(path, config, zone)
    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    counts: dict[str, Any] = {}
    try:
        policy = load_policy(path, zone)
        warnings = policy.warnings
        counts = {
            "revision": policy.revision,
            "plans": len(policy.plans),
            "rules": len(policy.rules),
            "automations": len(policy.automations),
        }
    except ConfigError as error:
        errors = error.problems
    if as_json:
        findings = {
            "errors": [found._asdict() for found in errors],
            "warnings": [found._asdict() for found in warnings],
        }
        print_json({"path": str(path), **findings, **counts})
    for problem in errors:
        click.echo(str(problem), err=True)
    if not as_json:
        for problem in warnings:
            click.echo(f"warning: {problem}", err=True)
        if not errors:
            words = f"{counts['plans']} plans, {counts['rules']} rules, {counts['automations']} automations"
            click.echo(f"{path}: sound: {words}")
    sys.exit(1 if errors else 0)


def _where(path: Path | None, config: str | None, zone: str | None) -> tuple[Path, str]:
    """The policy's path and zone, of the arguments or of the configuration."""
    from aaa.config import load
    from aaa.errors import ConfigError

    file = find_config(config) if config is not None or path is None else None
    if file is None:
        if path is None:
            raise Refused("no configuration found; name a directory, or a configuration with -c")
        return path, zone or "UTC"
    try:
        section = load(file).policy
    except ConfigError as error:
        raise Refused(str(error)) from None
    if path is None:
        if section.dir is None:
            raise Refused(f"{file} names no policy: [policy] dir")
        path = Path(section.dir)
    return path, zone or section.zone


@policy_group.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[DIR|FILE]...")
@click.option("--operations", type=click.File("rb"), help="NDJSON of sync operations to think of, as `import` takes.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Sessions to show.")
@api_command
def preview(door: Door, paths: tuple[Path, ...], operations: IO[bytes] | None, limit: int, as_json: bool) -> None:
    """Say which live sessions would change under policy files or operations, how, and by which packets.

    Changes nothing; applying the same afterwards does just that. Without DIR or FILE: under the policy in force.
    """
    body: dict[str, Any] = {}
    if paths:
        body["files"] = {str(file): file.read_text(encoding="utf-8") for file in _files(paths)}
    if operations is not None:
        body["operations"] = [json.loads(line) for line in operations if line.strip()]
    if not body:
        raise click.UsageError("name policy files, --operations FILE, or both")
    try:
        shown = door.ask("POST", "/v1/policy/preview", body, limit=limit)
    except Refused as refusal:
        errors = refusal.problem.get("errors")
        if not errors or as_json:
            raise
        raise Refused("\n".join(error["text"] for error in errors), refusal.problem) from None
    if as_json:
        print_json(shown)
        return
    for warning in shown["warnings"]:
        click.echo(f"warning: {warning['text']}", err=True)
    for result in shown["operations"]:
        if result["status"] != "applied":
            why = result.get("detail") or result.get("error") or ""
            click.echo(f"{result['kind']} {result['id']}: {result['status']}: {why}".rstrip(": "), err=True)
    summary = shown["summary"]
    click.echo(
        f"{summary['changed']} of {summary['sessions']} live sessions would change:"
        f" {summary['coa']} by CoA, {summary['disconnect']} by Disconnect; {summary['silent']} without a packet"
    )
    for group in shown["groups"]:
        where = ", ".join(f"{name} {count}" for name, count in list(group["nas"].items())[:5])
        more = "" if len(group["nas"]) <= 5 else f" and {len(group['nas']) - 5} more"
        click.echo(f"\n{group['count']} x {group['action']}, {group['reason']} ({group['family']}: {where}{more})")
        for name, value in group["attributes"]:
            click.echo(f"    {name} = {show(value)}")
        for word in ("from", "to"):
            decision = group[word]
            click.echo(f"    {word}: {describe(decision) if decision else 'not known'}")
    if shown["items"]:
        click.echo("")
        print_table(shown["items"], ("session_id", "service_id", "user_name", "nas", "action", "caused_by"))


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        yield from sorted(path.glob("*.toml")) if path.is_dir() else [path]


@policy_group.command()
@click.argument("user")
@click.option(
    "--nas",
    help="At this NAS: rules that ask for the place match, and the Accept's attributes are shown; or"
    " at this Diameter client.",
)
@click.option("--protocol", type=click.Choice(["radius", "gx", "gy", "s6a", "sy"]), help="gx at a Diameter client.")
@click.option("--plmn", help="Serving mobile network, such as 26201.")
@click.option("--location", help="Cell or tracking area, as `aaa session show` has it. The APN is --called-station-id.")
@click.option("--at", metavar="TIME", help="RFC 3339 with a zone, or epoch seconds; now if absent.")
@click.option("--called-station-id", help="As the NAS would send it; likewise the next.")
@click.option("--calling-station-id")
@click.option("--nas-port-id")
@click.option("--circuit-id")
@click.option("--remote-id")
@api_command
def explain(door: Door, user: str, as_json: bool, **place: str | None) -> None:
    """Say what a service may do and why: by its id, a user name, a MAC or an IMSI."""
    shown = door.ask("GET", f"/v1/services/{segment(user)}/decision", **place)
    if as_json:
        print_json(shown)
        return
    where = f" at {shown['nas']}" if shown["nas"] else ""
    named = f"service {show(shown['service_id'])} ({shown['named_by']})"
    click.echo(f"{named}, plan {show(shown['plan_id'])}{where}, {shown['at']}")
    if shown.get("sim_state") not in (None, "activated"):
        click.echo(f"the SIM is {show(shown['sim_state'])}: nobody is served with it, whatever is decided")
    message = f": {show(shown['message'])}" if shown.get("message") else ""
    click.echo(click.style(describe(shown), bold=True) + message)
    for step in shown["trace"]:
        click.echo(f"    {show(step['rule'])}: {show(step['facts'])} -> {show(step['effect'])}")
    if shown.get("valid_until"):
        click.echo(f"holds until {shown['valid_until']}")
    if shown.get("valid_below_octets") is not None:
        click.echo(f"holds while less than {shown['valid_below_octets']:,} octets are used")
    if shown.get("attributes_sent"):
        click.echo("Access-Accept:")
        for name, value in shown["attributes_sent"]:
            click.echo(f"    {name} = {show(value)}")
