"""The users file is what the sync API takes: each line an operation, each value an entity, nothing named too early."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec

from aaa.model.entities import Password, Service, Subscriber
from aaa.model.operations import Operation
from policy.model import Plan

ROOT = Path(__file__).resolve().parents[2]


def test_every_line_is_a_valid_operation_after_what_it_refers_to() -> None:
    command = [sys.executable, "-m", "bench.users", "12345"]
    lines = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(lines) == 1 + 2 * 12345
    kinds = {"plan": Plan, "subscriber": Subscriber, "service": Service}
    known: set[tuple[str, str]] = set()
    for line in lines:
        operation = msgspec.json.decode(line, type=Operation)
        assert operation.value is not None
        entity = msgspec.convert(operation.value, kinds[operation.kind])
        if isinstance(entity, Service):
            assert {("plan", entity.plan_id), ("subscriber", entity.subscriber_id)} <= known
            assert entity.credentials == (Password(operation.id, cleartext="p" + operation.id[1:]),)
        assert (operation.kind, operation.id) not in known
        known.add((operation.kind, operation.id))
    assert json.loads(lines[-1])["id"] == "u012345"
