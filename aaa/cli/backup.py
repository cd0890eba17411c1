"""`aaa backup` and `aaa restore`: a copy of the store while it serves, and a store from such a copy."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aaa.cli.door import Refused, find_config
from aaa.cli.output import print_fields, print_json

if TYPE_CHECKING:
    from aaa.state.seal import Sealer


def _store(config: str | None) -> "tuple[str, Sealer]":
    """Path and key of the configured store. Raises Refused."""
    from aaa import config as configuration
    from aaa.errors import AaaError
    from aaa.state.seal import Sealer

    path = find_config(config)
    if path is None:
        raise Refused("no configuration found; name one with -c")
    try:
        store = configuration.load(path).store
        assert store.key is not None
        return store.path, Sealer(store.key.reveal())
    except AaaError as error:
        raise Refused(str(error)) from None


@click.command("backup")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("-c", "--config", metavar="FILE", help="Configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def backup(file: Path, config: str | None, as_json: bool) -> None:
    """Copy the store to FILE while the server goes on; secrets in it stay sealed under the store's key."""
    from rich.console import Console
    from rich.progress import Progress

    from aaa.errors import AaaError
    from aaa.state.backup import back_up

    path, sealer = _store(config)
    console = Console(stderr=True)
    try:
        with Progress(console=console, disable=as_json or not console.is_terminal) as bar:
            task = bar.add_task("backup", total=None)
            summary = back_up(
                path, file, sealer, time.time(), lambda done, total: bar.update(task, completed=done, total=total)
            )
    except AaaError as error:
        raise Refused(str(error)) from None
    (print_json if as_json else print_fields)({"file": str(file), **summary})


@click.command("restore")
@click.argument("file", type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option("--replace", is_flag=True, help="Put the store that is there aside.")
@click.option("-c", "--config", metavar="FILE", help="Configuration file.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def restore(file: Path, replace: bool, config: str | None, as_json: bool) -> None:
    """Make FILE the store again; the server must not run.

    Sessions come back as adopted, because the network has gone on since; SQNs of SIMs are marked to jump ahead.
    """
    from aaa.errors import AaaError
    from aaa.state import backup as copies

    path, sealer = _store(config)
    try:
        summary = copies.restore(file, path, sealer, time.time(), replace)
    except AaaError as error:
        raise Refused(str(error)) from None
    (print_json if as_json else print_fields)({"store": path, **summary})
