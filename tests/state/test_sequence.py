"""Sequence numbers of a SIM: none is given out twice and none falls, whatever is lost; only an AUTS leads back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.limits import SQN_BLOCK_COUNT, SQN_RESTORE_JUMP_COUNT
from aaa.model.shelves import SimRecord
from aaa.state.backup import SQN_JUMP
from aaa.state.sequence import (
    IND_MASK,
    LEAP,
    SEQ_MAX,
    SQN_MAX,
    jump_sqn,
    next_sqn,
    resynchronise,
    resynchronised,
    take_sqn,
)
from tests.state.world import World

ICCID = "8900100000000000001"
SIM: dict[str, Any] = {"revision": 1, "imsi": "001010000000001", "ki": "00" * 16, "opc": "11" * 16}


def made(sqn: int = 0) -> World:
    world = World()
    assert world.apply("put", "sim", ICCID, SIM | {"sqn": sqn}).status == "applied"
    world.disk.settle()
    return world


def sim_of(world: World) -> SimRecord:
    sim = world.store.inventory.sim(ICCID)
    assert sim is not None
    return sim


def rows(world: World) -> list[tuple[int, int]]:
    world.disk.settle()
    return world.db.execute("SELECT sim, sqn FROM sim_sqn").fetchall()


def test_seq_grows_by_one_and_ind_is_who_asks() -> None:
    assert next_sqn(0, 3) == 1 << 5 | 3
    assert next_sqn(1 << 5 | 3, 34) == 2 << 5 | 2
    assert next_sqn(SQN_MAX - 32, 31) == SQN_MAX
    with pytest.raises(ValueError, match="used up"):
        next_sqn(SQN_MAX, 0)


def test_a_jump_ends_where_the_numbers_do() -> None:
    assert jump_sqn(7, 2) == 2 << 5 | 7
    assert jump_sqn(SQN_MAX - 5, 1 << 60) == SEQ_MAX << 5 | (SQN_MAX - 5) & IND_MASK


@pytest.mark.parametrize(
    ("stored", "sqn_ms", "after"),
    [(100 << 5, 100 << 5 | 4, 100 << 5 | 4), (100 << 5, 200 << 5, 200 << 5), (100 << 5, 99 << 5, 100 << 5),
     (LEAP + 1 << 5, 1 << 5, 1 << 5), (LEAP << 5, 1 << 5, LEAP << 5)],
)  # fmt: skip
def test_an_auts_moves_the_number_only_where_the_next_would_not_be_taken(stored: int, sqn_ms: int, after: int) -> None:
    assert resynchronised(stored, sqn_ms) == after


def test_a_block_is_one_row_and_what_follows_within_it_none() -> None:
    world = made()
    sim = sim_of(world)
    given_out = [take_sqn(world.store, sim, 1) for _ in range(SQN_BLOCK_COUNT)]
    assert [sqn >> 5 for sqn in given_out] == list(range(1, SQN_BLOCK_COUNT + 1))
    assert world.store.journal.open_rows == 1
    assert rows(world) == [(sim.no, SQN_BLOCK_COUNT << 5 | IND_MASK)]
    take_sqn(world.store, sim, 1)
    assert world.store.journal.open_rows == 1


def test_a_push_of_the_sim_does_not_undo_what_was_given_out() -> None:
    world = made(500 << 5)
    first = take_sqn(world.store, sim_of(world), 0)
    assert world.apply("put", "sim", ICCID, SIM | {"revision": 2, "sqn": 0, "batch": "b"}).status == "applied"
    world = world.restart()
    assert take_sqn(world.store, sim_of(world), 0) > first
    assert sim_of(world).batch == "b"


def test_what_a_deleted_sim_had_reserved_is_gone_with_it() -> None:
    world = made()
    take_sqn(world.store, sim_of(world), 0)
    assert len(rows(world)) == 1
    assert world.apply("delete", "sim", ICCID, revision=2).status == "applied"
    assert rows(world) == []


def test_every_sim_jumps_ahead_after_a_backup_was_restored_and_once() -> None:
    world = made(5 << 5)
    other = "8900100000000000002"
    pushed = {"revision": 1, "imsi": "001010000000002", "sqn": 9 << 5}
    assert world.apply("put", "sim", other, pushed).status == "applied"
    take_sqn(world.store, sim_of(world), 0)
    world.disk.settle()
    world.db.execute("INSERT INTO meta VALUES (?, '1.0')", (SQN_JUMP,))
    world = World(world.db)
    assert world.db.execute("SELECT count(*) FROM meta WHERE key = ?", (SQN_JUMP,)).fetchone() == (0,)
    seqs = [sim.sqn >> 5 for sim in (world.store.inventory.sim(name) for name in (ICCID, other)) if sim is not None]
    assert seqs == [5 + SQN_BLOCK_COUNT + SQN_RESTORE_JUMP_COUNT, 9 + SQN_RESTORE_JUMP_COUNT]
    again = World(world.db)
    assert sim_of(again).sqn == sim_of(world).sqn


step = st.one_of(
    st.tuples(st.just("take"), st.integers(1, 70)),
    st.tuples(st.just("lost"), st.just(0)),
    st.tuples(st.just("kept"), st.just(0)),
    st.tuples(st.just("auts"), st.integers(-LEAP - 10, LEAP + 10)),
    st.tuples(st.just("push"), st.just(0)),
)


@given(st.lists(step, max_size=12), st.integers(0, 1 << 40))
@settings(max_examples=40, deadline=None)
def test_none_falls_and_none_comes_twice_over_restarts_and_resynchronisations(
    steps: list[tuple[str, int]], sqn: int
) -> None:
    """What left is what was durable; a crash loses what was not."""
    world = made(sqn)
    left: list[int] = []
    floor = sqn >> 5
    revision = 1
    for kind, number in steps:
        sim = sim_of(world)
        if kind == "take":
            taken = [take_sqn(world.store, sim, number) >> 5 for _ in range(number)]
            assert taken == sorted(set(taken))
            assert taken[0] > floor
            world.disk.settle()
            left += taken
            floor = taken[-1]
        elif kind == "lost":
            take_sqn(world.store, sim, 0)
            world = World(world.db)
        elif kind == "kept":
            world = world.restart()
        elif kind == "push":
            revision += 1
            assert world.apply("put", "sim", ICCID, SIM | {"revision": revision, "sqn": 0}).status == "applied"
        else:
            told = max(0, min((sim.sqn >> 5) + number, SEQ_MAX - 1000))
            before = sim.sqn >> 5
            resynchronise(world.store, sim, told << 5)
            world.disk.settle()
            after = sim.sqn >> 5
            assert after in (before, told)
            if after < before:
                # The USIM itself is so far back that it has used none of those.
                assert before - told >= LEAP
                left, floor = [], after
            else:
                floor = max(floor, after)
        assert len(left) == len(set(left))
