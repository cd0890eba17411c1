"""What stands in FreeRADIUS's files: clients.conf, users files, SQL dumps. Each item knows its line; maps nothing.

Sources: FreeRADIUS 3.x manual pages clients.conf(5), users(5), rlm_sql schema files.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct


class Finding(Struct, frozen=True):
    """Something that the operator should know of a line."""

    file: str
    line: int
    message: str
    is_problem: bool = True
    """False: nothing is lost."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class Pair(Struct, frozen=True):
    """One attribute with its operator."""

    name: str
    op: str
    value: str
    file: str
    line: int
    is_static: bool = True
    """False: the value is made when a request comes (expansion, command)."""

    def find(self, message: str, is_problem: bool = True) -> Finding:
        """A finding at this place."""
        return Finding(self.file, self.line, f"{self.name}: {message}", is_problem)


class ClientEntry(Struct):
    """A `client` section."""

    name: str
    values: dict[str, str]
    file: str
    line: int


class UserEntry(Struct):
    """An entry of a users file."""

    name: str
    checks: list[Pair]
    replies: list[Pair]
    file: str
    line: int


class SqlRow(Struct):
    """A row of a table of a dump."""

    table: str
    values: dict[str, str]
    file: str
    line: int


def kind_of(text: str) -> str:
    """clients, sql or users, by what a file looks like."""
    if re.search(r"(?im)^\s*(insert\s+(ignore\s+|or\s+\w+\s+)?into|create\s+table|copy\s+\S+.*from\s+stdin)\b", text):
        return "sql"
    return "clients" if re.search(r"(?m)^\s*clients?\s+\S+\s*\{", text) else "users"


# clients.conf

SECTION: Final = re.compile(r'(\w+)(?:\s+("[^"]*"|\S+))?\s*\{$')
SETTING: Final = re.compile(r"([\w.-]+)\s*[:+]?=\s*(.*)$")


def without_comment(line: str) -> str:
    """The line up to a # that is not within quotes."""
    quote = ""
    for index, character in enumerate(line):
        if quote:
            quote = "" if character == quote and line[index - 1] != "\\" else quote
        elif character in "\"'":
            quote = character
        elif character == "#":
            return line[:index].strip()
    return line.strip()


def unquote(text: str) -> str:
    """A value without its quotes and their escapes."""
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        quote, text = text[0], text[1:-1]
        if quote == "'":
            return text.replace("\\'", "'")
        named = {"n": "\n", "t": "\t", "r": "\r"}
        return re.sub(r"\\(.)", lambda found: named.get(found[1], found[1]), text)
    return text


def read_clients(path: Path, findings: list[Finding], depth: int = 0) -> Iterator[ClientEntry]:
    """Sections `client`, those within `clients` and of $INCLUDEd files too."""
    stack: list[tuple[str, ClientEntry | None]] = []
    for number, raw in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        line = without_comment(raw)
        if not line:
            continue
        section, setting = SECTION.match(line), SETTING.match(line)
        inside = stack[-1][1] if stack else None
        if line.startswith("$INCLUDE"):
            yield from _include(path, line, number, findings, depth)
        elif section is not None:
            entry = None
            if section[1] == "client":
                entry = ClientEntry(unquote(section[2] or ""), {}, str(path), number)
            elif inside is not None and section[1] != "limit":
                findings.append(Finding(str(path), number, f"section {section[1]} of client {inside.name} is left out"))
            elif not stack and section[1] != "clients":
                findings.append(Finding(str(path), number, f"section {section[1]} is left out"))
            stack.append((section[1], entry))
        elif line == "}" and stack:
            name, entry = stack.pop()
            if name == "client" and entry is not None:
                yield entry
        elif setting is not None and inside is not None:
            inside.values[setting[1].lower()] = unquote(setting[2])
        elif setting is None or not stack:
            findings.append(Finding(str(path), number, f"not understood: {line}"))
    if stack:
        findings.append(Finding(str(path), 0, f"section {stack[-1][0]} is not closed"))


def _include(path: Path, line: str, number: int, findings: list[Finding], depth: int) -> Iterator[ClientEntry]:
    name = line.removeprefix("$INCLUDE").lstrip("-").strip()
    target = path.parent / unquote(name)
    files = sorted(target.iterdir()) if target.is_dir() else [target]
    for file in files:
        if "${" in name or depth >= 8 or not file.is_file():
            findings.append(Finding(str(path), number, f"cannot follow {line}"))
            continue
        yield from read_clients(file, findings, depth + 1)


# users

OPERATOR: Final = r":=|\+=|==|!=|<=|>=|=~|!~|=\*|!\*|<|>|="
ITEM: Final = re.compile(
    rf"\s*(?:(?:control|request|reply):)?([\w.:-]+?)\s*({OPERATOR})\s*"
    r"(\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|`[^`]*`|[^,#]*?)\s*(?:,|#.*$|$)"
)
USER: Final = re.compile(r'("(?:\\.|[^"\\])*"|[^\s,]+)\s*(.*)$')


def read_users(path: Path, findings: list[Finding], depth: int = 0) -> Iterator[UserEntry]:
    """Entries in order; a line that begins with a blank belongs to the entry before it."""
    entry: UserEntry | None = None
    for number, raw in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not raw.strip() or raw.lstrip().startswith("#"):
            continue
        if raw.startswith("$INCLUDE"):
            if entry is not None:
                yield entry
                entry = None
            target = path.parent / unquote(raw.removeprefix("$INCLUDE"))
            if depth < 8 and target.is_file():
                yield from read_users(target, findings, depth + 1)
            else:
                findings.append(Finding(str(path), number, f"cannot follow {raw.strip()}"))
        elif raw[0] in " \t":
            if entry is None:
                findings.append(Finding(str(path), number, f"belongs to no entry: {raw.strip()}"))
            else:
                entry.replies += read_items(raw, str(path), number, findings)
        else:
            if entry is not None:
                yield entry
            found = USER.match(raw)
            assert found is not None  # the line has a character that is no blank
            checks = read_items(found[2], str(path), number, findings)
            entry = UserEntry(unquote(found[1]), checks, [], str(path), number)
    if entry is not None:
        yield entry


def read_items(text: str, file: str, line: int, findings: list[Finding]) -> list[Pair]:
    """Comma-separated items of a line."""
    pairs = []
    at = 0
    while at < len(text) and text[at:].strip() and not text[at:].lstrip().startswith("#"):
        found = ITEM.match(text, at)
        if found is None or found.end() == at:
            findings.append(Finding(file, line, f"not understood: {text[at:].strip()}"))
            break
        pairs.append(make_pair(found[1], found[2], found[3], file, line))
        at = found.end()
    return pairs


def make_pair(name: str, op: str, value: str, file: str, line: int) -> Pair:
    """A pair whose value stands in a users file."""
    is_static = not value.startswith("`") and not (value.startswith('"') and re.search(r"%[{(]|%[A-Za-z]\b", value))
    return Pair(name, op, unquote(value), file, line, bool(is_static))


# SQL dumps

STATEMENT: Final = re.compile(
    r"^[ \t]*(?:"
    r"(?P<insert>INSERT\s+(?:IGNORE\s+|OR\s+\w+\s+)?INTO)\s+(?P<into>[`\"\w.\[\]]+)\s*(?:\((?P<into_columns>[^()]*)\))?"
    r"\s*VALUES"
    r"|COPY\s+(?P<copy>[`\"\w.]+)\s*\((?P<copy_columns>[^()]*)\)\s+FROM\s+stdin;[^\n]*\n"
    r"|CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<create>[`\"\w.\[\]]+)\s*\()",
    re.IGNORECASE | re.MULTILINE,
)
PLAIN: Final = r"'(?:[^']|'')*'"
ESCAPED: Final = r"'(?:[^'\\]|\\.|'')*'"
ESCAPES: Final = {"0": "\0", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "b": "\b"}
NOT_COLUMNS: Final = ("primary", "key", "unique", "index", "constraint", "foreign", "fulltext", "check")
USUAL_COLUMNS: Final = {
    "radcheck": "id username attribute op value",
    "radreply": "id username attribute op value",
    "radgroupcheck": "id groupname attribute op value",
    "radgroupreply": "id groupname attribute op value",
    "radusergroup": "id username groupname priority",
    "nas": "id nasname shortname type ports secret server community description",
}
"""Columns where a dump neither names them nor creates the table; without `id` where a row has one value less."""


def read_sql(path: Path, findings: list[Finding]) -> Iterator[SqlRow]:
    """Rows of every INSERT and COPY of a dump of MySQL, MariaDB, PostgreSQL or SQLite."""
    text = path.read_text(encoding="utf-8", errors="replace")
    has_escapes = "`" in text[:100_000] or re.search(r"(?i)-- (mysql|mariadb) dump", text[:1000]) is not None
    string = ESCAPED if has_escapes else PLAIN
    value = re.compile(rf"\s*(?:_binary\s+)?(?:E({ESCAPED})|({string}|[^\s,()']+))\s*([,)])", re.IGNORECASE)
    columns: dict[str, list[str]] = {}
    at = line = 0
    counted = 0
    while (found := STATEMENT.search(text, at)) is not None:
        line += text.count("\n", counted, found.end())
        counted = found.end()
        if found["create"]:
            columns[_name(found["create"])] = _columns_of(text, found.end())
            at = found.end()
        elif found["copy"]:
            table, names = _name(found["copy"]), _names(found["copy_columns"])
            end = text.find("\n\\.", found.end() - 1)
            end = len(text) if end < 0 else end
            for number, row in enumerate(text[found.end() : end].splitlines(), line + 1):
                cells = [_cell(cell) for cell in row.split("\t")]
                yield SqlRow(table, _row(names, cells), str(path), number)
            at = end
        else:
            table = _name(found["into"])
            names = _names(found["into_columns"]) if found["into_columns"] else columns.get(table, [])
            at = found.end()
            while (opened := re.compile(r"\s*,?\s*\(").match(text, at)) is not None:
                number = line + 1 + text.count("\n", found.end(), opened.end())
                raw, at = [], opened.end()
                while (cell := value.match(text, at)) is not None:
                    raw.append(_sql_value(cell[1] or cell[2], has_escapes or cell[1] is not None))
                    at = cell.end()
                    if cell[3] == ")":
                        break
                else:
                    findings.append(Finding(str(path), number, f"a row of {table} is not understood"))
                    break
                yield SqlRow(table, _row(names or _usual(table, len(raw)), raw), str(path), number)


def _name(text: str) -> str:
    return text.rpartition(".")[2].strip('`"[]').lower()


def _names(text: str) -> list[str]:
    return [_name(name.strip()) for name in text.split(",")]


def _columns_of(text: str, at: int) -> list[str]:
    """Names of a CREATE TABLE, whose parenthesis has just been opened."""
    names, depth, part = [], 1, ""
    for character in text[at : at + 20_000]:
        depth += (character == "(") - (character == ")")
        if depth == 0 or (depth == 1 and character == ","):
            words = re.sub(r"--[^\n]*", "", part).split()
            if words and words[0].lower() not in NOT_COLUMNS:
                names.append(_name(words[0]))
            part = ""
            if depth == 0:
                break
        else:
            part += character
    return names


def _usual(table: str, count: int) -> list[str]:
    names = USUAL_COLUMNS.get(table, "").split()
    return names[1:] if len(names) == count + 1 else names


def _row(names: list[str], cells: list[str | None]) -> dict[str, str]:
    return {name: cell for name, cell in zip(names, cells, strict=False) if cell is not None}


def _sql_value(text: str, has_escapes: bool) -> str | None:
    if not text.startswith("'"):
        return None if text.upper() == "NULL" else text
    text = text[1:-1].replace("''", "'")
    return _unescape(text) if has_escapes else text


def _cell(text: str) -> str | None:
    """A cell of COPY's text format."""
    return None if text == "\\N" else _unescape(text)


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), text, flags=re.DOTALL)
