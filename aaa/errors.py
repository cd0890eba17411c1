"""Errors that leave a room, by who can act on them. Knows nothing else.

What the other side did wrong on the wire is a value (a drop reason, a result code), never an exception.
"""

from collections.abc import Sequence
from typing import NamedTuple


class AaaError(Exception):
    """Base of every error that this server explains to its operator."""


class FileError(AaaError):
    """Something is wrong in a file that the operator wrote: printed as `file:line: message (hint)`."""

    def __init__(self, file: str, line: int | None, message: str, hint: str | None = None) -> None:
        """line: counted from 1; None when the whole file is meant."""
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {message}" + (f" ({hint})" if hint else ""))
        self.file = file
        self.line = line
        self.message = message
        self.hint = hint


class DictionaryError(FileError):
    """A dictionary that cannot be read."""


class Problem(NamedTuple):
    """One of many findings in a file: where, what, and what would be right."""

    file: str
    line: int
    """From 1; 0 where no line applies."""
    key: str
    """Dotted name of the key or rule; empty where none applies."""
    message: str
    column: int = 0
    """From 1; 0 where only the line is known."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        if self.column:
            where += f":{self.column}"
        return f"{where}: {self.key}: {self.message}" if self.key else f"{where}: {self.message}"


class ConfigError(AaaError):
    """A configuration that cannot be used. Carries every problem at once; str() is one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("a ConfigError needs a problem")
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class StoreError(AaaError):
    """The store cannot keep what it was given: nothing is acknowledged, the NAS retransmits and then fails over."""
