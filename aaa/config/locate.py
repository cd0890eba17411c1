"""Where in a TOML text a key, its value, and a character of it stand; the standard parser does not tell."""

from bisect import bisect_right
from contextlib import suppress
from typing import NamedTuple

Path = tuple[str | int, ...]
"""Keys from the top; entries of an array of tables and of a list by position from 0."""

_BLANK = " \t"
_SPACE = " \t\r\n"


def locate(text: str) -> dict[Path, int]:
    """Line, from 1, of every table, key and list entry of a text that tomllib accepts.

    Of a text that it refuses, what stands before the fault. Never raises.
    """
    scanner = _Scanner(text)
    with suppress(IndexError, ValueError):  # the fault that tomllib reports better
        scanner.document()
    return scanner.lines


class Places(NamedTuple):
    """Offsets in a text whose line ends are "\\n", as the parser sees it."""

    keys: dict[Path, int]
    """Of every table, key and list entry."""
    values: dict[Path, int]
    """Of every value, at its first character, quotes included."""


def locate_places(text: str) -> Places:
    """Offsets of keys and values; as locate() otherwise."""
    scanner = _Scanner(text)
    with suppress(IndexError, ValueError):
        scanner.document()
    return Places(scanner.keys, scanner.values)


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """Both from 1, the column in characters."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def offset_in_string(text: str, start: int, index: int) -> int:
    """Where the character `index` of a string's value stands, the string beginning with its quotes at `start`.

    One past the last character is the closing quote. Never raises.
    """
    quote = text[start : start + 1]
    if quote not in ("'", '"'):
        return start
    multiline = text.startswith(quote * 3, start)
    at = start + (3 if multiline else 1)
    if multiline and text.startswith("\n", at):
        at += 1
    closing = quote * 3 if multiline else quote
    while at < len(text):
        if quote == '"' and text[at] == "\\":
            rest = at + 1
            while multiline and text[rest : rest + 1] in (" ", "\t"):
                rest += 1
            if multiline and text[rest : rest + 1] == "\n":  # a line end that is none, with the blanks behind it
                while text[rest : rest + 1] in (" ", "\t", "\n"):
                    rest += 1
                at = rest
                continue
            length = {"u": 6, "U": 10, "x": 4}.get(text[at + 1 : at + 2], 2)
        elif text.startswith(closing, at):
            return at
        else:
            length = 1
        if index == 0:
            return at
        index -= 1
        at += length
    return max(start, len(text) - 1)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.keys: dict[Path, int] = {}
        self.values: dict[Path, int] = {}
        self.at = 0
        self.starts = [0, *(index + 1 for index, character in enumerate(text) if character == "\n")]
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while True:
            self.skip_comments()
            if self.at >= len(self.text):
                return
            start = self.at
            if self.text.startswith("[[", start):
                self.at += 2
                parts = self.key()
                array = (*self.resolve(parts[:-1]), parts[-1])
                index = self.counts.get(array, 0)
                self.counts[array] = index + 1
                table = (*array, index)
                self.record(array, start)
                self.record(table, start)
                self.expect("]]")
            elif self.text[start] == "[":
                self.at += 1
                table = self.resolve(self.key())
                self.record(table, start)
                self.expect("]")
            else:
                self.pair(table)

    def resolve(self, parts: tuple[str, ...]) -> Path:
        """A header's path, with the last entry of every array of tables that it passes through."""
        path: Path = ()
        for part in parts:
            path = (*path, part)
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
        return path

    def record(self, path: Path, position: int) -> None:
        line = bisect_right(self.starts, position)
        for length in range(1, len(path)):
            self.lines.setdefault(path[:length], line)
        self.lines.setdefault(path, line)
        self.keys.setdefault(path, position)

    def expect(self, token: str) -> None:
        self.skip(_BLANK)
        if not self.text.startswith(token, self.at):
            raise ValueError(token)
        self.at += len(token)

    def skip(self, characters: str) -> None:
        while self.at < len(self.text) and self.text[self.at] in characters:
            self.at += 1

    def skip_comments(self) -> None:
        self.skip(_SPACE)
        while self.at < len(self.text) and self.text[self.at] == "#":
            end = self.text.find("\n", self.at)
            self.at = len(self.text) if end < 0 else end
            self.skip(_SPACE)

    def key(self) -> tuple[str, ...]:
        parts = []
        while True:
            self.skip(_BLANK)
            if self.text[self.at] in "\"'":
                parts.append(self.string())
            else:
                start = self.at
                while self.text[self.at] not in " \t\r\n=.]":
                    self.at += 1
                if self.at == start:
                    raise ValueError("empty key")
                parts.append(self.text[start : self.at])
            self.skip(_BLANK)
            if self.text[self.at] != ".":
                return tuple(parts)
            self.at += 1

    def pair(self, table: Path) -> None:
        start = self.at
        path = (*table, *self.key())
        self.record(path, start)
        self.expect("=")
        self.value(path)

    def value(self, path: Path) -> None:
        self.skip(_BLANK)
        self.values.setdefault(path, self.at)
        first = self.text[self.at]
        if first in "\"'":
            self.string()
        elif first == "[":
            self.array(path)
        elif first == "{":
            self.inline_table(path)
        else:
            while self.at < len(self.text) and self.text[self.at] not in ",]}#\n":
                self.at += 1

    def array(self, path: Path) -> None:
        self.at += 1
        index = 0
        while True:
            self.skip_comments()
            if self.text[self.at] == "]":
                self.at += 1
                return
            self.record((*path, index), self.at)
            self.value((*path, index))
            index += 1
            self.skip_comments()
            if self.text[self.at] == ",":
                self.at += 1
            elif self.text[self.at] != "]":
                raise ValueError("list")

    def inline_table(self, path: Path) -> None:
        self.at += 1
        while True:
            self.skip_comments()
            if self.text[self.at] == "}":
                self.at += 1
                return
            self.pair(path)
            self.skip_comments()
            if self.text[self.at] == ",":
                self.at += 1
            elif self.text[self.at] != "}":
                raise ValueError("inline table")

    def string(self) -> str:
        """Step over a string of any of the four kinds; its text without escapes resolved."""
        quote = self.text[self.at]
        if self.text.startswith(quote * 3, self.at):
            closing = quote * 3
            self.at += 3
        else:
            closing = quote
            self.at += 1
        start = self.at
        while not self.text.startswith(closing, self.at):
            if self.at >= len(self.text):
                raise ValueError("string")
            self.at += 2 if self.text[self.at] == "\\" and quote == '"' else 1
        if len(closing) == 3:  # up to two quotes may stand before the closing three
            while self.text.startswith(closing, self.at + 1):
                self.at += 1
        end = self.at
        self.at += len(closing)
        return self.text[start:end]
