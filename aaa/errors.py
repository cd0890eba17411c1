"""Errors that leave a room, by who can act on them. Knows nothing else.

What the other side did wrong on the wire is a value (a drop reason, a result code), never an exception.
"""

from collections.abc import Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """One finding in an operator's file: where, what, and what would be right."""

    file: str
    line: int
    """From 1; 0 where no line applies."""
    key: str
    """Dotted name of the key or rule; empty where none applies."""
    message: str
    column: int = 0
    """From 1; 0: unknown."""

    def __str__(self) -> str:
        where = self.file
        if self.line:
            where += f":{self.line}"
        if self.line and self.column:
            where += f":{self.column}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class OperatorError(Exception):
    """The operator's file is wrong. Carries every problem at once; str() is one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("an OperatorError needs a problem")
        super().__init__(*problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class ConfigError(OperatorError):
    """The configuration file cannot be used."""


class DictionaryError(OperatorError):
    """A RADIUS or Diameter dictionary cannot be used."""


class StoreError(Exception):
    """The store cannot keep what it was given: nothing is acknowledged, the NAS retransmits and then fails over."""
