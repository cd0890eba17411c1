"""The database: its versions, its failures, and what moves to the history and out of it."""

import os
import resource
import signal
import socket
import sqlite3
import struct

import msgspec
import pytest

from aaa.engine.retention import Retention
from aaa.limits import RETENTION_INTERVAL_S, RETENTION_SLICE_COUNT, WRITER_COMMIT_RETRIES_MAX
from aaa.model.accounting import Status
from aaa.state import schema, writer
from tests.e2e.peers import RunningServer, nas
from tests.state.test_kill import children
from tests.state.world import AT, World, database

IP, PREFIX = b"\x0a\0\0\1", b"\x38" + bytes(16)


def count(db, table):
    return db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def test_new_database_has_the_newest_schema_and_is_left_alone_afterwards():
    db = database()
    assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    schema.migrate(db)


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_older_database_is_brought_forward_with_what_it_has(version, monkeypatch):
    db = schema.connect(":memory:")
    with monkeypatch.context() as older:
        older.setattr(schema, "VERSION", version)
        schema.migrate(db)
    db.execute("INSERT INTO plan VALUES (1, '{\"revision\":1,\"id\":\"p\"}')")
    schema.migrate(db)
    assert db.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    assert "p" in World(db).store.plans


def test_database_of_a_newer_version_is_refused():
    db = database()
    db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(ValueError, match="install a newer server"):
        schema.migrate(db)


def test_every_kind_of_row_has_a_statement_or_a_meaning():
    special = {schema.Row.PRUNE}
    assert set(schema.STATEMENTS) | special == set(schema.Row)
    assert set(schema.PRUNES) == set(schema.History)


def test_commit_that_fails_once_is_tried_again_and_one_that_goes_on_failing_ends_the_process(monkeypatch, capfd):
    slept = []
    monkeypatch.setattr(writer.time, "sleep", slept.append)
    db = database()
    row = ("key", "x" * 100_000)
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    monkeypatch.setattr(writer.time, "sleep", lambda _: db.execute("PRAGMA max_page_count = 100000"))
    writer.commit(db, [[(schema.Row.META, [row])]])
    assert count(db, "meta") == 1
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    monkeypatch.setattr(writer.time, "sleep", slept.append)
    with pytest.raises(SystemExit) as ended:
        writer.commit(db, [[(schema.Row.META, [("other", "x" * 100_000)])]])
    assert ended.value.code == 1
    assert len(slept) == WRITER_COMMIT_RETRIES_MAX
    assert "full" in capfd.readouterr().err
    assert count(db, "meta") == 1


def test_groups_split_anywhere_are_committed_and_the_last_is_acknowledged(tmp_path, monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(os, "nice", lambda _: 0)
    path = str(tmp_path / "db")
    database(path).close()
    ours, theirs = socket.socketpair()
    frames = b""
    for number in (1, 2, 3):
        data = msgspec.msgpack.encode((number, [(int(schema.Row.META), [(f"k{number}", "v")])]))
        frames += struct.pack(">I", len(data)) + data
    ours.sendall(frames[:5])
    ours.sendall(frames[5:-3])
    ours.sendall(frames[-3:])
    ours.shutdown(socket.SHUT_WR)
    writer.run(path, theirs)
    assert struct.unpack(">Q", ours.recv(1024)[-8:]) == (3,)
    assert count(sqlite3.connect(path), "meta") == 3


def test_ended_session_moves_to_the_history_with_every_address_it_had():
    world = World()
    world.service()
    world.report(Status.START, framed_ip=IP)
    world.report(Status.INTERIM, at=300, time=300, delegated_prefix=PREFIX, input=1, output=2)
    world.report(Status.STOP, at=600, time=600, input=10, output=20)
    session = world.session()
    world.store.forget_session(session)
    world.disk.settle()
    assert count(world.db, "session") == 0
    columns = "id, started_at, ended_at, input_octets, output_octets"
    row = world.db.execute(f"SELECT {columns} FROM session_history").fetchone()
    assert row == (session.id, AT, AT + 600, 10, 20)
    rows = world.db.execute("SELECT address, from_at, until_at FROM address_history ORDER BY address").fetchall()
    assert rows == [(IP, AT, AT + 600), (PREFIX, AT, AT + 600)]
    again = world.restart()
    assert again.store.sessions == {}
    assert again.store.session_ids.next(0.0) > session.id


def test_history_older_than_its_span_goes_slice_by_slice():
    world = World()
    retention = Retention(world.store, events_s=100.0, leases_s=200.0, cdrs_s=50.0)
    for number in range(RETENTION_SLICE_COUNT + 10):
        world.store.emit("x", "y", AT + number / 1000, {})
    leases = "(x'0a000001', 0, 1, ?), (x'0a000002', 0, 1, ?)"
    world.db.execute(f"INSERT INTO address_history VALUES {leases}", (AT, AT + 150))
    for number, ended_at in ((1, AT), (2, AT + 150)):
        world.db.execute(
            "INSERT INTO session_history VALUES (?, 1, 1, x'', x'', '{}', 0, ?, 0, 0, 0, 0)", (number, ended_at)
        )
    world.disk.settle()
    now = AT + 300
    retention.tick(now)
    retention.tick(now + 1)
    world.disk.settle()
    assert count(world.db, "event") == 10
    assert world.db.execute("SELECT until_at FROM address_history").fetchall() == [(AT + 150,)]
    assert world.db.execute("SELECT id FROM session_history").fetchall() == [(2,)]
    retention.tick(now + RETENTION_INTERVAL_S)
    world.disk.settle()
    assert count(world.db, "event") == 1, "the last number stays known"
    assert world.restart().store.last_event == RETENTION_SLICE_COUNT + 10


def test_server_that_cannot_write_acknowledges_nothing_and_ends_with_1(tmp_path):
    server = RunningServer(tmp_path, nas("local", "127.0.0.1"), listen=["127.0.0.1"])
    server.plan("home-50")
    server.service("alice")
    # Every write of the writer fails from now on, as on a full disk.
    resource.prlimit(children(server.pid)["writer"], resource.RLIMIT_FSIZE, (0, 0))
    lines = 'Acct-Status-Type = Start\nAcct-Session-Id = "x"\nUser-Name = "alice"'
    assert server.radclient("acct", lines, tries=3, wait=1).code == ""
    assert server.process.wait(30) == 1
    assert "store.writer_lost" in server.log.read_text()
    server.start()
    assert server.sessions("alice") == []
    assert server.radclient("acct", lines).code == "Accounting-Response"
    assert len(server.sessions("alice")) == 1
    assert server.stop() == 0
