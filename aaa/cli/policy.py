"""`aaa policy`: look at policy files before they count."""

import sys
from pathlib import Path
from typing import Any

import click

from aaa.cli.door import Refused, find_config
from aaa.cli.output import print_json


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
