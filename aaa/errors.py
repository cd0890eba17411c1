"""Errors that the operator can act on. Each says where, what, and the next step."""


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


class ConfigError(FileError):
    """A configuration that cannot be used."""


class DictionaryError(FileError):
    """A RADIUS dictionary that cannot be read."""
