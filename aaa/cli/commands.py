"""The command tree: everything that `aaa --help` lists, and the commands that concern the server as a whole."""

import platform
import re
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import click

from aaa.cli.backup import backup, restore
from aaa.cli.coa_test import coa_test
from aaa.cli.demo import demo
from aaa.cli.diameter_test import diameter_test
from aaa.cli.door import Door, Refused, api_command, find_config
from aaa.cli.drift import drift
from aaa.cli.entities import plan_group, service_group, subscriber_group
from aaa.cli.feed import audit, events, webhook_group
from aaa.cli.freeradius import import_group
from aaa.cli.inventory import device_group, number_group, sim_group
from aaa.cli.network import lease_group, nas_group, pool_group, session_group
from aaa.cli.output import print_fields, print_json
from aaa.cli.peers import peers_group
from aaa.cli.policy import policy_group
from aaa.cli.probe import acct_test, auth_test
from aaa.cli.top import top
from aaa.cli.trace import trace

LIBRARIES: Final = ("litestar", "uvicorn", "msgspec", "uvloop", "cryptography", "cython")


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def cli() -> None:
    """AAA server for internet providers: RADIUS and Diameter.

    Exit codes: 0 done, 1 refused or failed, 2 wrong usage; auth-test and acct-test: 1 rejected, 3 no answer.
    """


@cli.command()
@click.option("-c", "--config", metavar="FILE", help="Configuration file.")
def serve(config: str | None) -> None:
    """Run the server in the foreground."""
    from aaa.errors import AaaError
    from aaa.server.main import serve as run

    path = find_config(config)
    if path is None:
        raise Refused("no configuration found; `aaa init DIR` writes one to start from")
    try:
        status = run(str(path))
    except (AaaError, OSError) as error:
        raise Refused(str(error)) from None
    sys.exit(status if isinstance(status, int) else 0)


@cli.command()
@click.option("-c", "--config", metavar="FILE", help="Configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(config: str | None, as_json: bool) -> None:
    """Find everything that `serve` would complain about, without side effects."""
    from aaa.errors import AaaError, ConfigError, Problem
    from aaa.server.prepare import prepare
    from aaa.state.backup import wrong_key
    from aaa.state.seal import Sealer

    path = find_config(config)
    if path is None:
        raise Refused("no configuration found; name one with -c")
    found: Sequence[Problem] = ()
    errors: Sequence[Problem] = ()
    try:
        prepared = prepare(path)
        settings = prepared.config
        found = (*settings.warnings, *prepared.policy.warnings)
        assert settings.store.key is not None
        if why := wrong_key(settings.store.path, Sealer(settings.store.key.reveal())):
            errors = (settings.report.problem(("store", "key"), why),)
    except ConfigError as error:
        errors = error.problems
    except AaaError as error:
        raise Refused(str(error)) from None
    if as_json:
        print_json({"file": str(path), "errors": list(map(_finding, errors)), "warnings": list(map(_finding, found))})
    for problem in errors:
        click.echo(str(problem), err=True)
    if not as_json:
        for problem in found:
            click.echo(f"warning: {problem}", err=True)
        if not errors:
            click.echo(f"{path}: sound")
    sys.exit(1 if errors else 0)


def _finding(problem: Any) -> dict[str, Any]:
    fields: dict[str, Any] = problem._asdict()
    return fields


@cli.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def init(directory: Path, as_json: bool) -> None:
    """Write a commented configuration with strong random secrets; overwrites nothing."""
    from aaa.config.template import initialise

    try:
        files = initialise(directory)
    except OSError as error:
        raise Refused(str(error)) from None
    if as_json:
        print_json({"files": [str(file) for file in files]})
        return
    for file in files:
        click.echo(f"wrote {file}")
    click.echo(f"next: edit {directory / 'aaa.toml'}, then `aaa check -c {directory / 'aaa.toml'}`")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def version(as_json: bool) -> None:
    """Show versions, and what the native code was built with."""
    shown = {"aaa": _version_of("aaa"), "python": platform.python_version(), "platform": platform.platform()}
    shown |= _native_build()
    shown |= {name: _version_of(name) for name in LIBRARIES}
    if as_json:
        print_json(shown)
    else:
        print_fields(shown)


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return _source_version() if name == "aaa" else "not installed"


def _source_version() -> str:
    """Of a source tree that is not installed."""
    import tomllib

    try:
        text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(text)["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return "unknown"


def _native_build() -> dict[str, str]:
    """The compiler as it signed the module, and the libcrypto that the module is bound to now."""
    import ctypes

    try:
        from native import crypto
    except ImportError as error:
        return {"native": f"not built: {error}"}
    file = crypto.__file__
    found = re.search(rb"(GCC: \([^\0]{1,80}|[a-zA-Z ]{0,20}clang version [^\0]{1,80})", Path(file).read_bytes())
    library = ctypes.CDLL(file)
    library.OpenSSL_version.restype = ctypes.c_char_p
    return {
        "native": file,
        "compiler": found[1].decode("ascii", "replace") if found else "unknown",
        "libcrypto": (library.OpenSSL_version(0) or b"unknown").decode(),
    }


@cli.command()
@api_command
def status(door: Door, as_json: bool) -> None:
    """Show whether the server runs and takes requests, and its counters."""
    shown = door.ask("GET", "/healthz")
    try:
        door.ask("GET", "/readyz")
        shown["ready"] = True
    except Refused as refusal:
        shown |= {"ready": False, "reason": refusal.message}
    shown["url"] = door.url
    try:
        stats = door.ask("GET", "/v1/stats")
        # What `aaa top` is for is left out.
        shown["stats"] = {name: value for name, value in stats.items() if isinstance(value, int | float)}
    except Refused as refusal:
        if refusal.problem.get("status") not in (401, 403, 404):
            raise
    if as_json:
        print_json(shown)
    else:
        print_fields(shown)
    sys.exit(0 if shown["ready"] else 1)


@cli.command()
@api_command
def reload(door: Door, as_json: bool) -> None:
    """Let the server read its configuration again; a wrong one changes nothing."""
    shown = door.ask("POST", "/v1/reload")
    if as_json:
        print_json(shown)
        return
    click.echo(f"changed: {', '.join(shown.get('changed', [])) or 'nothing'}")
    if shown.get("needs_restart"):
        click.echo(f"needs a restart: {', '.join(shown['needs_restart'])}")


for group in (sim_group, number_group, device_group):
    cli.add_command(group)
for group in (subscriber_group, service_group, plan_group, nas_group, session_group, pool_group, lease_group):
    cli.add_command(group)
cli.add_command(peers_group)
cli.add_command(drift)
cli.add_command(auth_test)
cli.add_command(acct_test)
cli.add_command(coa_test)
cli.add_command(diameter_test)
cli.add_command(trace)
cli.add_command(top)
cli.add_command(import_group)
cli.add_command(policy_group)
cli.add_command(events)
cli.add_command(audit)
cli.add_command(webhook_group)
cli.add_command(backup)
cli.add_command(demo)
cli.add_command(restore)
