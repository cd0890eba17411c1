"""The `aaa` command: thin; what a running server knows is asked of its HTTP API. --help imports nothing heavy."""


def main() -> None:
    """Entry point of the console script."""
    from aaa.cli.commands import cli

    cli(prog_name="aaa")
