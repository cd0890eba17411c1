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
from aaa.state.recent import Recent, replay
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


def test_a_new_database_is_its_user_s_alone(tmp_path):
    path = tmp_path / "aaa.db"
    before = os.umask(0o022)
    try:
        db = schema.connect(str(path))
        schema.migrate(db)
    finally:
        os.umask(before)
    assert {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()} == {
        "aaa.db": 0o600, "aaa.db-wal": 0o600, "aaa.db-shm": 0o600,
    }  # fmt: skip
    db.close()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        schema.connect(str(tmp_path / "missing" / "aaa.db"))


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
    committer = writer.Writer(db)
    committer.commit([group(schema.Row.META, row)])
    assert count(db, "meta") == 1
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
    monkeypatch.setattr(writer.time, "sleep", slept.append)
    with pytest.raises(SystemExit) as ended:
        committer.commit([group(schema.Row.META, ("other", "x" * 100_000))])
    assert ended.value.code == 1
    assert len(slept) == WRITER_COMMIT_RETRIES_MAX
    assert "full" in capfd.readouterr().err
    assert count(db, "meta") == 1


def group(kind, *rows):
    """One group as it comes from the engine."""
    return [(int(kind), msgspec.Raw(msgspec.msgpack.encode(rows)))]


def usage(no, octets):
    return group(schema.Row.USAGE, (no, 0.0, 1.0, octets, 0))


def usages(db):
    return dict(db.execute("SELECT service, input_octets FROM usage"))


def test_balances_are_durable_in_the_log_before_they_are_in_their_table():
    db = database()
    committer = writer.Writer(db)
    committer.commit([usage(1, 10), usage(2, 20)])
    committer.commit([usage(1, 11)])
    assert usages(db) == {}
    assert count(db, "recent") == 2
    assert replay(db) == 2
    assert usages(db) == {1: 11, 2: 20}
    assert count(db, "recent") == 0


def test_a_fold_writes_slices_of_newest_rows_and_then_cuts_the_log():
    db = database()
    committer = writer.Writer(db, Recent(keys_max=4, slice_count=3))
    for no in range(1, 5):
        committer.commit([usage(no, no)])
    committer.commit([usage(2, 22)])  # due now: this commit writes the first slice
    assert usages(db) == {1: 1, 2: 22, 3: 3}
    committer.commit([usage(9, 9)])
    assert usages(db) == {1: 1, 2: 22, 3: 3, 4: 4}
    assert count(db, "recent") == 6
    committer.commit([])
    assert db.execute("SELECT seq FROM recent").fetchall() == [(5,), (6,)], "what came since the fold began stays"
    assert not committer.recent.folding
    assert replay(db) == 2
    assert usages(db) == {1: 1, 2: 22, 3: 3, 4: 4, 9: 9}


def test_a_quiet_store_is_folded_after_a_while(monkeypatch):
    db = database()
    committer = writer.Writer(db)
    committer.commit([usage(1, 10)])
    committer.idle()
    assert usages(db) == {}
    later = writer.time.monotonic() + writer.FOLD_INTERVAL_S
    monkeypatch.setattr(writer.time, "monotonic", lambda: later)
    committer.idle()
    committer.idle()
    assert usages(db) == {1: 10}
    assert count(db, "recent") == 0


def test_what_was_deleted_does_not_come_back_from_the_log():
    db = database()
    committer = writer.Writer(db)
    committer.commit([usage(1, 10)])
    committer.commit([group(schema.Row.USAGE_DELETE, (1,))])
    assert replay(db) == 2
    assert usages(db) == {}


def test_a_commit_tried_again_still_moves_counters_to_the_history(monkeypatch):
    world = World()
    world.service()
    world.report(Status.START)
    world.disk.settle()
    world.report(Status.STOP, at=600, time=600, input=10, output=20)
    world.store.forget_session(world.session())
    db = world.db
    failures = [sqlite3.OperationalError("disk I/O error")]
    monkeypatch.setattr(writer.time, "sleep", lambda _: None)
    append = world.disk.writer.recent.append

    def fail_once(*args):
        append(*args)
        if failures:
            raise failures.pop()

    monkeypatch.setattr(world.disk.writer.recent, "append", fail_once)
    world.disk.settle()
    assert db.execute("SELECT input_octets, output_octets FROM session_history").fetchall() == [(10, 20)]
    assert count(db, "session") == 0
    assert world.restart().store.sessions == {}


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
    (owner,) = world.db.execute("SELECT json_extract(facts, '$.owner[0]') FROM session_history").fetchone()
    assert owner == session.service.body.id
    again = world.restart()
    assert again.store.sessions == {}
    assert again.store.session_ids.next(0.0) > session.id


def test_history_older_than_its_span_goes_slice_by_slice():
    world = World()
    retention = Retention(world.store, events_s=100.0, leases_s=200.0, cdrs_s=50.0, audit_s=100.0)
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
