"""Import: lines of a file as sync operations, pushed in chunks, every answer counted. Memory holds one chunk."""

import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import IO, Any, Final

import click
import msgspec

from aaa.cli.door import Door
from aaa.limits import HTTP_SYNC_LINE_BYTES_MAX
from aaa.model.operations import Operation
from billing_hooks.problems import FieldError
from billing_hooks.sync import read_operation

CHUNK_OPERATIONS: Final = 2_000
FIRST_ERRORS: Final = 10

Field = Callable[[str], Any]


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(";") if word.strip()]


def _number_or_text(text: str) -> int | str:
    return int(text) if text.isdigit() else text


COLUMNS: Final[dict[str, dict[str, tuple[str, Field]]]] = {
    "plan": {
        "name": ("name", str),
        "kind": ("kind", str),
        "down_bps": ("rate.down_bps", int),
        "up_bps": ("rate.up_bps", int),
        "quota_octets": ("quota.octets", int),
        "quota_period": ("quota.period", str),
        "pool": ("pool", str),
        "simultaneous_use": ("simultaneous_use", int),
        "session_timeout": ("session_timeout", int),
        "idle_timeout": ("idle_timeout", int),
        "interim_interval": ("interim_interval", int),
    },
    "subscriber": {
        "name": ("name", str),
        "operator": ("operator", str),
        "groups": ("groups", _words),
        "tags": ("tags", _words),
        "overdue_days": ("billing.overdue_days", int),
        "balance": ("billing.balance", float),
        "credit_limit": ("billing.credit_limit", float),
    },
    "service": {
        "subscriber_id": ("subscriber_id", str),
        "plan_id": ("plan_id", str),
        "state": ("state", str),
        "add_ons": ("add_ons", _words),
        "activated_at": ("activated_at", str),
        "expires_at": ("expires_at", str),
        "grace_until": ("grace_until", str),
        "cycle": ("cycle", _number_or_text),
        "static_ip": ("static_ip", str),
        "static_prefix": ("static_prefix", str),
    },
    "sim": {
        "imsi": ("imsi", str),
        "ki": ("ki", str),
        "opc": ("opc", str),
        "op": ("op", str),
        "amf": ("amf", str),
        "sqn": ("sqn", int),
        "msisdn": ("msisdn", str),
        "service_id": ("service_id", str),
        "state": ("state", str),
        "operator": ("operator", str),
        "batch": ("batch", str),
    },
    "number": {
        "state": ("state", str),
        "service_id": ("service_id", str),
        "operator": ("operator", str),
        "until": ("until", str),
    },
    "device": {
        "kind": ("kind", str),
        "serial": ("serial", str),
        "mac": ("mac", str),
        "imei": ("imei", str),
        "service_id": ("service_id", str),
        "operator": ("operator", str),
    },
}
"""CSV column -> field and how it is read. Every file has the id too, and may have `revision`."""
ID_COLUMNS: Final = {"sim": "iccid", "number": "msisdn"}
"""Column and field that hold the id, where that is not `id`."""
PASSWORD_FORMS: Final = ("cleartext", "nt_hash", "crypt", "bcrypt", "argon2", "pbkdf2", "ssha")
CREDENTIAL_COLUMNS: Final = ("username", "password", *PASSWORD_FORMS, "mac", "circuit_id", "remote_id")
"""Columns of services that become credentials; `password` is `cleartext`."""


class Item(msgspec.Struct, frozen=True):
    """One line of the file: its operation as JSON, or why it has none."""

    line: int
    data: bytes
    error: str = ""


def read_operations(file: IO[bytes], kind: str, form: str | None, revision: int) -> Iterator[Item]:
    """Operations of a file, one by one. Raises UsageError for a header that cannot be used."""
    if form is None:
        name = str(getattr(file, "name", ""))
        form = "csv" if name.lower().endswith((".csv", ".tsv")) else "ndjson"
    return _read_csv(file, kind, revision) if form == "csv" else _read_ndjson(file, kind, revision)


def _read_ndjson(file: IO[bytes], kind: str, revision: int) -> Iterator[Item]:
    for number, line in enumerate(iter(lambda: file.readline(HTTP_SYNC_LINE_BYTES_MAX + 1), b""), 1):
        text = line.strip()
        if len(line) > HTTP_SYNC_LINE_BYTES_MAX:
            raise click.ClickException(f"line {number}: longer than {HTTP_SYNC_LINE_BYTES_MAX} bytes; is it NDJSON?")
        if not text:
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Item(number, text, f"not JSON: {error}")
            continue
        if isinstance(value, dict) and "op" not in value:
            value.setdefault("revision", revision)
            name = value.get(ID_COLUMNS.get(kind, "id"), "")
            text = json.dumps({"op": "put", "kind": kind, "id": name, "value": value}).encode()
        yield Item(number, text)


def _read_csv(file: IO[bytes], kind: str, revision: int) -> Iterator[Item]:
    stream = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        rows = csv.DictReader(stream, delimiter=_delimiter(file), strict=True)
        header = [name.strip() for name in rows.fieldnames or ()]
        _check_header(header, kind)
        rows.fieldnames = header
        return _csv_items(rows, kind, revision)
    except (csv.Error, UnicodeDecodeError) as error:
        raise click.UsageError(f"the header cannot be read: {error}") from None


def _delimiter(file: IO[bytes]) -> str:
    return "\t" if str(getattr(file, "name", "")).lower().endswith(".tsv") else ","


def _check_header(header: list[str], kind: str) -> None:
    import difflib

    id_column = ID_COLUMNS.get(kind, "id")
    known = [id_column, "revision", *COLUMNS[kind], *(CREDENTIAL_COLUMNS if kind == "service" else ())]
    for name in header:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise click.UsageError(f"unknown column {name!r}; {hint}")
    if id_column not in header:
        raise click.UsageError(f"the file needs a column {id_column}")
    if len(set(header)) != len(header):
        raise click.UsageError("a column stands twice in the header")


def _csv_items(rows: "csv.DictReader[str]", kind: str, revision: int) -> Iterator[Item]:
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except (csv.Error, UnicodeDecodeError) as error:
            raise click.ClickException(f"line {rows.line_num}: {error}") from None
        if None in row:
            yield Item(rows.line_num, b"", "more columns than the header names")
            continue
        cells = {name: (text or "").strip() for name, text in row.items()}
        try:
            value = _row_value(cells, kind, revision)
        except ValueError as error:
            yield Item(rows.line_num, b"", str(error))
            continue
        operation = {"op": "put", "kind": kind, "id": cells[ID_COLUMNS.get(kind, "id")], "value": value}
        yield Item(rows.line_num, json.dumps(operation, ensure_ascii=False).encode())


def _row_value(cells: dict[str, str], kind: str, revision: int) -> dict[str, Any]:
    """The entity of a row; an empty cell leaves its field out. Raises ValueError naming the column."""
    value: dict[str, Any] = {}
    revision_column: dict[str, tuple[str, Field]] = {"revision": ("revision", int)}
    for column, (path, read) in (revision_column | COLUMNS[kind]).items():
        text = cells.get(column, "")
        if not text:
            continue
        try:
            parsed = read(text)
        except ValueError:
            raise ValueError(f"{column}: {text!r} is not a number") from None
        *outer, last = path.split(".")
        place = value
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = parsed
    value.setdefault("revision", revision)
    if kind == "service" and (credentials := _row_credentials(cells)):
        value["credentials"] = credentials
    return value


def _row_credentials(cells: dict[str, str]) -> list[dict[str, str]]:
    credentials = []
    forms = {name: cells[name] for name in PASSWORD_FORMS if cells.get(name)}
    if cells.get("password"):
        forms.setdefault("cleartext", cells["password"])
    if cells.get("username"):
        credentials.append({"type": "password", "username": cells["username"], **forms})
    elif forms:
        raise ValueError("username: needed with a password")
    if cells.get("mac"):
        credentials.append({"type": "mac", "mac": cells["mac"]})
    circuit = {name: cells[name] for name in ("circuit_id", "remote_id") if cells.get(name)}
    if circuit:
        credentials.append({"type": "circuit", **circuit})
    return credentials


class Importer:
    """Pushes operations in chunks; counts what became of each."""

    def __init__(self, door: Door | None, errors_path: str | None) -> None:
        """door: None checks only. errors_path: NDJSON of what was refused, readable by its owner only: it may hold
        the secrets that were refused with it."""
        self._door = door
        self._decoder = msgspec.json.Decoder(Operation)
        self._counts: Counter[str] = Counter()
        self._first: list[dict[str, Any]] = []
        self._errors: IO[str] | None = None
        if errors_path is not None:
            descriptor = os.open(errors_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            self._errors = os.fdopen(descriptor, "w", encoding="utf-8")

    def run(self, items: Iterator[Item], file: IO[bytes], progress: bool) -> dict[str, Any]:
        """What became of all lines: {"lines", "results", "failed", "first_errors"}."""
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True)
        columns = (BarColumn(), DownloadColumn(), TextColumn("{task.fields[lines]} lines"), TimeRemainingColumn())
        chunk: list[Item] = []
        size = _size_of(file)
        try:
            with Progress(*columns, console=console, disable=not (progress and console.is_terminal)) as bar:
                task = bar.add_task("import", total=size, lines=0)
                for item in items:
                    chunk.append(item)
                    if len(chunk) == CHUNK_OPERATIONS:
                        self._push(chunk)
                        chunk = []
                        done = file.tell() if size is not None else None
                        bar.update(task, completed=done, lines=self._counts.total())
                self._push(chunk)
                bar.update(task, completed=size, lines=self._counts.total())
        finally:
            if self._errors is not None:
                self._errors.close()
        failed = self._counts["error"] + self._counts["conflict"]
        order = ("applied", "valid", "stale", "conflict", "error")
        results = {name: self._counts[name] for name in order if self._counts[name]}
        return {"lines": self._counts.total(), "results": results, "failed": failed, "first_errors": self._first}

    def _push(self, chunk: list[Item]) -> None:
        sent = [item for item in chunk if not item.error]
        if self._door is None:
            answers = iter([self._check(item) for item in sent])
        else:
            answers = iter(self._send(sent, self._door))
        for item in chunk:
            result = {"status": "error", "id": "", "detail": item.error} if item.error else next(answers)
            self._counts[result["status"]] += 1
            if result["status"] in ("error", "conflict"):
                self._keep(item, result)

    def _send(self, sent: list[Item], door: Door) -> list[dict[str, Any]]:
        if not sent:
            return []
        body = b"\n".join(item.data for item in sent)
        answer = door.send("POST", "/v1/sync", body, "application/x-ndjson")
        results = [json.loads(line) for line in answer.splitlines()]
        if len(results) != len(sent):
            raise click.ClickException(f"the server answered {len(results)} of {len(sent)} operations")
        return results

    def _check(self, item: Item) -> dict[str, Any]:
        try:
            operation = read_operation(item.data, self._decoder)
        except FieldError as error:
            named = json.loads(item.data)
            id = str(named.get("id", "")) if isinstance(named, dict) else ""
            return {"status": "error", "id": id, "detail": error.detail, "field": error.field}
        return {"status": "valid", "id": operation.id}

    def _keep(self, item: Item, result: dict[str, Any]) -> None:
        detail = result.get("detail") or ""
        if result["status"] == "conflict" and not detail:
            detail = "the revision is stored with other content"
        if result.get("field"):
            detail = f"{result['field']}: {detail}"
        finding = {"line": item.line, "id": result.get("id", ""), "status": result["status"], "detail": detail}
        if len(self._first) < FIRST_ERRORS:
            self._first.append(finding)
        if self._errors is not None:
            operation = item.data.decode("utf-8", "replace")
            self._errors.write(json.dumps(finding | {"operation": operation}, ensure_ascii=False) + "\n")


def _size_of(file: IO[bytes]) -> int | None:
    try:
        return os.fstat(file.fileno()).st_size if file is not sys.stdin.buffer and file.seekable() else None
    except (OSError, AttributeError):
        return None
