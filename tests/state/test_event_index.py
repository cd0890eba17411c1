"""Events of a service are found at once, though their index is written late and many at a time."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from aaa.state.event_index import OF_SERVICE, EventIndex
from aaa.state.schema import PRUNES, History, Row
from aaa.state.writer import Writer
from tests.state.world import database


def row(seq: int, service: str) -> list[Any]:
    return [seq, float(seq), "session.started", "x", "{}", "default", "", service, "{}"]


def group(*rows: list[Any]) -> list[tuple[int, msgspec.Raw]]:
    return [(int(Row.EVENT), msgspec.Raw(msgspec.msgpack.encode(list(rows))))]


def of(db: sqlite3.Connection, service: str) -> list[int]:
    query = f"SELECT seq FROM event WHERE {OF_SERVICE} ORDER BY seq"
    return [seq for (seq,) in db.execute(query, (service, service))]


def indexed(db: sqlite3.Connection) -> list[tuple[str, int]]:
    return db.execute("SELECT service, seq FROM event_of ORDER BY service, seq").fetchall()


def writer(db: sqlite3.Connection, unindexed_max: int) -> Writer:
    made = Writer(db)
    made.index = EventIndex(db, unindexed_max)
    return made


def test_events_of_a_service_are_found_before_and_after_they_are_indexed():
    db = database()
    made = writer(db, 3)
    made.commit([group(row(1, "b"), row(2, "a"), row(3, ""), row(4, "b"))])
    assert of(db, "b") == [1, 4]
    assert indexed(db) == []
    made.commit([group(row(5, "a"))])
    assert indexed(db) == [("a", 2), ("b", 1), ("b", 4)]
    made.commit([])
    assert not made.is_busy
    assert of(db, "a") == [2, 5]
    assert of(db, "b") == [1, 4]
    assert of(db, "c") == []


def test_what_is_not_indexed_when_the_writer_ends_is_indexed_by_the_next():
    db = database()
    writer(db, 100).commit([group(row(1, "b"), row(2, "a"))])
    made = writer(db, 1)
    made.commit([group(row(3, "a"))])
    made.commit([])
    assert indexed(db) == [("a", 2), ("b", 1)]
    assert of(db, "a") == [2, 3]


def test_a_part_that_was_written_before_a_crash_is_written_again():
    db = database()
    made = writer(db, 1)
    made.commit([group(row(1, "b"), row(2, "a"))])
    made.commit([])
    assert indexed(db) == [("a", 2), ("b", 1)]
    again = writer(db, 1)
    again.commit([])
    again.commit([])
    assert indexed(db) == [("a", 2), ("b", 1)]
    assert of(db, "b") == [1]


def test_a_transaction_that_fails_is_indexed_once_when_it_is_repeated(monkeypatch, capsys):
    db = database()
    made = writer(db, 1)
    made.commit([group(row(1, "a"))])
    write, failures = made.index.write, [sqlite3.OperationalError("disk I/O error")]

    def fail(db: sqlite3.Connection) -> None:
        if failures:
            raise failures.pop()
        write(db)

    monkeypatch.setattr(made.index, "write", fail)
    made.commit([group(row(2, "b"))])
    made.commit([])
    made.commit([])
    made.commit([])
    assert indexed(db) == [("a", 1), ("b", 2)]
    assert "disk I/O error" in capsys.readouterr().err


def test_events_that_are_dropped_for_their_age_leave_the_index_too():
    db = database()
    made = writer(db, 1)
    made.commit([group(*(row(seq, "a") for seq in range(1, 6)))])
    for _ in range(3):
        made.commit([])
    for statement in PRUNES[History.EVENTS]:
        db.execute(statement, (4.0, 100))
    assert of(db, "a") == [4, 5]
    assert indexed(db) == [("a", 4), ("a", 5)]
