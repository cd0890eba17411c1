"""What sessions hold of a balance follows them: to another balance, to their end, and over a restart."""

from __future__ import annotations

import pytest

from aaa.model.mobile import GY, Grant, GyFacts
from aaa.model.records import SessionRecord
from aaa.state.ledger import account_of
from aaa.state.mobile import client_of, new_session, open_session
from aaa.state.reservations import hold_again, release, reserved_of
from aaa.state.sessions import end_session, reopen_session
from tests.state.world import AT, World

QUOTA = {"revision": 1, "quota": {"octets": 1_000}}
SHARED = {"revision": 1, "quota": {"octets": 1_000, "shared": "subscriber"}}


@pytest.fixture
def world() -> World:
    world = World()
    for name, plan in (("own", QUOTA), ("shared", SHARED), ("plain", {"revision": 1})):
        assert world.apply("put", "plan", name, plan).status == "applied"
    world.service("alice", plan_id="own")
    return world


def session(world: World, octets: int, name: str = "alice", key: bytes = b"one", **more: bool) -> SessionRecord:
    """A live one that holds so much, as the engine leaves it."""
    service = world.store.services[name]
    facts = GyFacts(imsi="001010000000001", grants={1: Grant(octets, AT, **more), 2: Grant(0, AT)})
    made = new_session(world.store, GY, client_of(world.store, "smf", "epc", ""), key, service, facts, AT)
    if service.account is not None:
        service.account.reserved_octets += reserved_of_one(made)
    open_session(world.store, made, None)
    return made


def reserved_of_one(session: SessionRecord) -> int:
    return sum(grant.octets for grant in session.mobile.grants.values() if not grant.free)


def move(world: World, plan: str, revision: int, name: str = "alice") -> None:
    assert world.apply("patch", "service", name, {"revision": revision, "plan_id": plan}).status == "applied"


def held(world: World, name: str = "alice") -> int:
    account = world.store.services[name].account
    assert account is not None
    return account.reserved_octets


def open_balance(world: World, name: str = "alice") -> None:
    account_of(world.store, world.store.services[name], AT)


def test_a_balance_that_is_opened_late_knows_what_is_held(world: World) -> None:
    session(world, 300)
    open_balance(world)
    assert held(world) == 300


def test_what_is_free_holds_nothing(world: World) -> None:
    session(world, 300, free=True)
    open_balance(world)
    assert held(world) == 0


def test_an_end_of_any_kind_gives_back_once(world: World) -> None:
    open_balance(world)
    one, two = session(world, 300), session(world, 200, key=b"two")
    assert held(world) == 500
    end_session(world.store, one, AT, 0, True, AT)
    assert held(world) == 200
    release(world.store, one)
    assert held(world) == 200
    reopen_session(world.store, one)
    hold_again(one)
    assert held(world) == 500 == reserved_of(world.store.services["alice"])
    end_session(world.store, two, AT, 0, False, AT)
    end_session(world.store, one, AT, 0, False, AT)
    assert held(world) == 0


def test_what_is_held_moves_to_a_shared_balance_and_back(world: World) -> None:
    open_balance(world)
    made = session(world, 300)
    world.service("bob", plan_id="shared", subscriber_id="s-alice")
    move(world, "shared", 2)
    assert held(world) == held(world, "bob") == 300
    move(world, "own", 3)
    assert (held(world), held(world, "bob")) == (300, 0)
    end_session(world.store, made, AT, 0, True, AT)
    assert held(world) == 0


def test_what_is_held_is_nobodys_without_a_quota_and_counts_again_with_one(world: World) -> None:
    open_balance(world)
    session(world, 300)
    move(world, "plain", 2)
    assert world.store.services["alice"].account is None
    move(world, "own", 3)
    open_balance(world)
    assert held(world) == 300


def test_what_a_deleted_service_holds_is_free_for_those_that_share_its_balance(world: World) -> None:
    move(world, "shared", 2)
    world.service("bob", plan_id="shared", subscriber_id="s-alice")
    made = session(world, 300)
    assert held(world, "bob") == 300
    assert world.apply("delete", "service", "alice", None, revision=9).status == "applied"
    assert held(world, "bob") == 0
    end_session(world.store, made, AT, 0, True, AT)
    assert held(world, "bob") == 0


def test_a_restart_knows_what_is_held_by_whom_is_live(world: World) -> None:
    open_balance(world)
    session(world, 300)
    ended = session(world, 200, key=b"two")
    end_session(world.store, ended, AT, 0, True, AT)
    again = world.restart()
    assert held(again) == 300
    (kept,) = [each for each in again.store.sessions.values() if each.key == b"one"]
    assert kept.mobile == GyFacts(imsi="001010000000001", grants={1: Grant(300, AT), 2: Grant(0, AT)})
