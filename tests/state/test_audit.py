"""The audit log: an entry for every change, a chain that shows whoever touched one."""

import json

import pytest

from aaa.engine.retention import Retention
from aaa.model.events import Cause
from aaa.state import audit
from tests.state.world import AT, World


@pytest.fixture
def world():
    world = World()
    world.store.cause = Cause("crm/anna", "c-1")
    world.service()
    return world


def rows(world):
    world.disk.settle()
    return world.db.execute(f"SELECT {audit.COLUMNS} FROM audit ORDER BY seq").fetchall()


def test_change_is_kept_with_who_when_before_and_after(world):
    world.apply("state", "service", "alice", {"state": "suspended", "reason": "overdue"}, revision=2, at=AT + 5)
    seq, at, actor, operator, correlation_id, action, kind, subject, body, _ = rows(world)[-1]
    assert (seq, at, actor, operator, correlation_id) == (4, AT + 5, "crm/anna", "default", "c-1")
    assert (action, kind, subject) == ("state", "service", "alice")
    change = json.loads(body)
    assert (change["before"].get("state"), change["after"]["state"]) == (None, "suspended")
    assert (change["before"]["revision"], change["after"]["revision"], change["reason"]) == (1, 2, "overdue")


def test_creation_has_no_before_and_deletion_no_after(world):
    world.apply("delete", "service", "alice", revision=2)
    bodies = [json.loads(row[8]) for row in rows(world)]
    assert [sorted(body) for body in bodies] == [["after"], ["after"], ["after", "credentials"], ["before"]]


def test_secrets_are_not_in_it(world):
    password = {"type": "password", "username": "al", "cleartext": "hidden"}
    credentials = [password, {"type": "mac", "mac": "02-00-00-00-00-01"}]
    world.apply("put", "credentials", "alice", {"credentials": credentials})
    body = json.loads(rows(world)[-1][8])
    assert body == {"before": ["password alice"], "after": ["password al", "mac 020000000001"]}
    assert not any("hidden" in row[8] or "secret" in row[8] for row in rows(world))


def test_what_changes_nothing_leaves_no_entry(world):
    count = len(rows(world))
    world.apply("put", "subscriber", "s-alice", {"revision": 1})
    world.apply("put", "service", "x", {"revision": 1, "subscriber_id": "none", "plan_id": "home"})
    world.apply("restore", "service", "alice")
    assert len(rows(world)) == count
    assert world.store.cause == Cause("crm/anna", "c-1")


@pytest.mark.parametrize(
    ("op", "value", "before", "after"),
    [
        ("hold", {"kind": "suspend", "cause": "x"}, None, {"kind": "suspend", "cause": "x"}),
        ("tag", {"add": ["a"]}, [], ["a"]),
        ("top_up", {"id": "t", "octets": 5}, None, {"id": "t", "octets": 5}),
    ],
)
def test_what_others_do_to_a_service_is_kept(world, op, value, before, after):
    world.apply("put", "plan", "capped", {"revision": 1, "quota": {"octets": 10}})
    world.service("bob", plan_id="capped")
    assert world.apply(op, "service", "bob", value).status == "applied"
    row = rows(world)[-1]
    body = json.loads(row[8])
    assert (row[5], row[7], body.get("before")) == (op, "bob", before)
    assert body["after"] == after or after.items() <= body["after"].items()


def test_chain_goes_on_over_a_restart(world):
    again = world.restart()
    again.store.cause = Cause("admin")
    seq = audit.append(again.store, AT, "reload", "policy", "policy")
    assert (seq, again.store.cause) == (4, Cause("admin", "", 4))
    assert [row[0] for row in rows(again)] == [1, 2, 3, 4]
    assert audit.verify(rows(again)) is None
    assert audit.verify(rows(again)[1:], rows(again)[0][9]) is None


@pytest.mark.parametrize("column", range(1, 10))
def test_changed_entry_breaks_the_chain(world, column):
    entries = [list(row) for row in rows(world)]
    entries[1][column] = {1: AT + 1, 9: bytes(32)}.get(column, "forged")
    assert audit.verify(map(tuple, entries)) == 2


def test_entry_removed_or_put_in_breaks_the_chain(world):
    entries = rows(world)
    assert audit.verify([entries[0], entries[2]]) == 2
    assert audit.verify([*entries[:2], (3, *entries[1][1:])]) == 3
    assert audit.verify(entries[1:], bytes(32)) == 2


def test_chain_is_whole_from_the_oldest_entry_that_is_kept(world):
    world.apply("tag", "service", "alice", {"add": ["a"]}, at=AT + 100)
    world.disk.settle()
    Retention(world.store, 1e9, 1e9, 1e9, audit_s=150.0).tick(AT + 200)
    assert [row[0] for row in rows(world)] == [4]
    assert audit.verify(rows(world)) is None
    again = world.restart()
    again.apply("tag", "service", "alice", {"add": ["b"]})
    assert audit.verify(rows(again)) is None


def test_same_commands_make_the_same_chain():
    chains = []
    for _ in range(2):
        world = World()
        world.service()
        world.apply("state", "service", "alice", {"state": "suspended"}, revision=2)
        chains.append(world.store.audit_hash)
    assert chains[0] == chains[1]
