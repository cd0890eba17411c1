"""What is wrong with a configuration file, and where. Knows lines and keys, not what they mean."""

from collections.abc import Mapping
from typing import Any

from aaa.config.locate import Path
from aaa.errors import Problem


class Report:
    """Collects problems and knows on which line each key stands."""

    def __init__(self, file: str, lines: Mapping[Path, int], data: Mapping[str, Any]) -> None:
        self.file = file
        self.lines = lines
        self.data = data
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []

    def error(self, path: Path, message: str) -> None:
        self.errors.append(self.problem(path, message))

    def warning(self, path: Path, message: str) -> None:
        self.warnings.append(self.problem(path, message))

    def problem(self, path: Path, message: str) -> Problem:
        return Problem(self.file, self.line(path), self.name(path), message)

    def line(self, path: Path) -> int:
        """The line of the key, or of the nearest table around a key that is missing."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.lines:
                return self.lines[path[:length]]
        return 0

    def name(self, path: Path) -> str:
        """`nas.lan.secret`: an entry goes by its own name, or by its number from 1 where it has none."""
        text = ""
        value: Any = self.data
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                value = None
            if isinstance(part, str):
                text += f".{part}" if text else part
            elif isinstance(value, dict) and isinstance(name := value.get("name", value.get("origin_host")), str):
                text += f".{name}"
            else:
                text += f"[{part + 1}]"
        return text
