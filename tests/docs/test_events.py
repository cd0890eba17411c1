"""docs/events.md and the table of event types say what the code tells."""

import ast
import base64
import hashlib
import hmac
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aaa.model.event_types import EVENT_TYPES, check_pattern, markdown, matches
from billing_hooks.webhooks import sign

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/events.md").read_text()
EMITTERS = ("emit", "_emit", "note_event")
OUTSIDE_THE_FEED = {"webhook.test"}
"""Delivered past the feed."""


def emitted() -> Iterator[tuple[str, ast.Call, Path]]:
    """Each call that records an event under a literal name, and names chosen by a condition."""
    for file in sorted((ROOT / "aaa").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call):
                continue
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in EMITTERS:
                for argument in node.args[:2]:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        yield argument.value, node, file
                        break


def names_in_code() -> set[str]:
    """Types of events that stand in the code, outside their table."""
    files = [file for file in sorted((ROOT / "aaa").rglob("*.py")) if file.name != "event_types.py"]
    return {name for file in files for name in re.findall(r"[\"']([a-z_.]+)[\"']", file.read_text())}


@pytest.mark.parametrize(("name", "call", "file"), list(emitted()), ids=lambda value: str(value)[:60])
def test_each_event_that_is_recorded_is_of_a_type_in_the_table(name: str, call: ast.Call, file: Path) -> None:
    assert name in EVENT_TYPES, f"{file}:{call.lineno}"


@pytest.mark.parametrize(("name", "call", "file"), list(emitted()), ids=lambda value: str(value)[:60])
def test_data_written_where_it_is_recorded_has_the_fields_of_its_type(name: str, call: ast.Call, file: Path) -> None:
    for argument in call.args:
        if isinstance(argument, ast.Dict):
            given = {key.value for key in argument.keys if isinstance(key, ast.Constant)}
            fields = {field.name: field for field in EVENT_TYPES[name].fields}
            assert given <= fields.keys() or EVENT_TYPES[name].open, f"{file}:{call.lineno}: {given - fields.keys()}"
            if None not in argument.keys:
                missing = {field.name for field in fields.values() if not field.optional} - given
                assert not missing, f"{file}:{call.lineno}: {missing}"


def test_each_type_in_the_table_is_told_by_something() -> None:
    assert set(EVENT_TYPES) - OUTSIDE_THE_FEED <= names_in_code()


def test_the_document_holds_the_tables_made_from_the_types() -> None:
    assert DOCUMENT.endswith(markdown()), "renew docs/events.md with `python -m aaa.model.event_types`"


def test_field_names_can_be_read_by_expressions() -> None:
    for event_type in EVENT_TYPES.values():
        for field in event_type.fields:
            assert field.name.isidentifier()
            ast.parse(f"event.data.{field.name}", mode="eval")


@pytest.mark.parametrize(
    ("pattern", "name", "result"),
    [
        ("*", "nas.down", True),
        ("nas.*", "nas.down", True),
        ("nas.down", "nas.down", True),
        ("nas.up", "nas.down", False),
        ("na*", "nas.down", False),
    ],
)
def test_patterns(pattern: str, name: str, result: bool) -> None:
    assert matches((pattern,), name) == result


@pytest.mark.parametrize("pattern", ["", "nas", "nas.dwon", "quotas.*", "na*", "**"])
def test_a_pattern_that_nothing_matches_is_named(pattern: str) -> None:
    with pytest.raises(ValueError, match="no event has the type"):
        check_pattern(pattern)


# The examples of verification are run


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("whsec", [False, True])
def test_the_python_that_verifies_a_delivery_does(whsec: bool) -> None:
    space: dict[str, object] = {}
    exec(block("python"), space)
    is_ours = space["is_ours"]
    assert callable(is_ours)
    key, body, at = b"0123456789abcdef", b'{"seq":1}', int(time.time())
    secret = b"whsec_" + base64.b64encode(key) if whsec else key
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(at)}
    headers["webhook-signature"] = sign((b"another-key-another", key), "evt_1", at, body)
    assert is_ours(headers, body, secret)
    assert not is_ours(headers, body + b" ", secret)
    assert not is_ours(headers | {"webhook-timestamp": str(at - 3600)}, body, secret)


def test_the_shell_that_verifies_a_delivery_does(tmp_path: Path) -> None:
    body = b'{"seq":1,"data":{}}'
    (tmp_path / "id").write_text("evt_1")
    (tmp_path / "at").write_text("1700000000")
    (tmp_path / "body").write_bytes(body)
    (tmp_path / "crm.secret").write_text("0123456789abcdef\n")
    shell = shutil.which("sh")
    assert shell is not None
    printed = subprocess.run([shell, "-ec", block("sh")], cwd=tmp_path, capture_output=True, check=True, timeout=20)
    digest = hmac.new(b"0123456789abcdef", b"evt_1.1700000000." + body, hashlib.sha256).digest()
    assert printed.stdout.decode().strip() == f"v1,{base64.b64encode(digest).decode()}"
