"""What commands print never steers the terminal, whatever subscribers send."""

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner

from aaa.cli import feed
from aaa.cli.door import _refusal
from aaa.cli.output import print_fields, print_json, print_table
from aaa.cli.trace import print_packet

HOSTILE = "a\x1b]0;x\x07\x9b31m\x7f\u202e\r\nb\u00e9"
"""Titles, colours in both spellings, writing order, new lines; and a letter that is none of it."""
PACKET: dict[str, Any] = {
    "at": "now", "nas": HOSTILE, "address": "192.0.2.1", "code": "Access-Request", "identifier": 1, "user": HOSTILE,
    "service_id": HOSTILE, "session_id": HOSTILE, "attributes": [["User-Name", HOSTILE]], "outcome": "reject",
    "reason": HOSTILE, "detail": HOSTILE, "decision": None, "answer": "Access-Reject", "answer_attributes": [],
    "latency_ms": 1.0, "protocol": "radius",
}  # fmt: skip
EVENT: dict[str, Any] = {
    "seq": 1, "at": "now", "type": "session.started", "subject": HOSTILE, "actor": HOSTILE, "correlation_id": HOSTILE,
    "data": {"user_name": HOSTILE},
}  # fmt: skip


def echo_refusal() -> None:
    click.echo(_refusal(404, json.dumps({"detail": HOSTILE, "errors": [{"text": HOSTILE}]}).encode(), False).message)


PRINTERS = {
    "json": lambda: print_json({HOSTILE: [HOSTILE]}),
    "fields": lambda: print_fields({"user": HOSTILE, "sessions": [{"nas": HOSTILE}]}),
    "table": lambda: print_table([{"user": HOSTILE}], ["user"]),
    "packet": lambda: print_packet(PACKET),
    "events": lambda: feed._print_events([EVENT], False),
    "events as json": lambda: feed._print_events([EVENT], True),
    "refusal": echo_refusal,
}


@pytest.mark.parametrize("name", PRINTERS)
def test_nothing_that_a_subscriber_sends_steers_the_terminal(name: str) -> None:
    printed = CliRunner().invoke(click.Command("x", callback=PRINTERS[name]), color=False)
    assert printed.exit_code == 0, printed.output
    assert "\u00e9" in printed.output
    assert all(line.isprintable() for line in printed.output.split("\n"))


def test_json_reads_back_as_it_was() -> None:
    printed = CliRunner().invoke(click.Command("x", callback=PRINTERS["json"]))
    assert json.loads(printed.output) == {HOSTILE: [HOSTILE]}
