"""The writer: a process that commits row groups to SQLite, one transaction for all that has arrived.

It knows rows and statements, not what they mean. Frames on the socket are 4 octets of length (big-endian) and msgpack:
in, [group number, [[row kind, [row, ...]], ...]]; out, the highest group number that is durable.
"""

import contextlib
import gc
import os
import select
import signal
import socket
import sqlite3
import struct
import sys
import time
from typing import Any

import msgspec

from aaa.limits import RETENTION_SLICE_COUNT, WRITER_COMMIT_RETRIES_MAX
from aaa.state import schema
from aaa.state.event_index import EventIndex
from aaa.state.recent import DEFERRED, LOGGED, SESSIONS, SUPERSEDED, Recent

EVENT = int(schema.Row.EVENT)
STATEMENTS = {int(row): statement for row, statement in schema.STATEMENTS.items()}
FOLD_INTERVAL_S = 60.0
"""How long a quiet store keeps rows in its log."""
FOLD_IDLE_S = 1.0
"""Silence after which a fold of what is there may begin."""
HISTORY_SLICE = 500  # sessions; Bound: one slice is a transaction of a few milliseconds between commits.

MOVE_ADDRESSES = """
INSERT OR IGNORE INTO address_history
SELECT unhex_blob(json_extract(a.value, '$[0]')), json_extract(a.value, '$[1]'), s.id, s.ended_at
FROM session s, json_each(s.facts, '$.addresses') a WHERE s.id IN (SELECT value FROM json_each(?))
"""
MOVE_SESSIONS = """
INSERT OR IGNORE INTO session_history
SELECT id, service, nas, key, user_name, facts, started_at, ended_at, terminate_cause, session_time_s, input_octets,
 output_octets FROM session WHERE id IN (SELECT value FROM json_each(?))
"""


FRAME = msgspec.msgpack.Decoder(tuple[int, list[tuple[int, msgspec.Raw]]])
ROWS = msgspec.msgpack.Decoder(list[list[Any]])
ENCODER = msgspec.msgpack.Encoder()
Group = list[tuple[int, msgspec.Raw]]


class Writer:
    """Commits groups to one database."""

    def __init__(self, db: sqlite3.Connection, recent: Recent | None = None) -> None:
        """db: migrated, with its log replayed; its functions are registered here."""
        db.create_function("unhex_blob", 1, lambda text: bytes.fromhex(text), deterministic=True)
        self.db = db
        self.recent = Recent() if recent is None else recent
        self.index = EventIndex(db)
        self._folded_at = time.monotonic()

    def commit(self, groups: list[Group]) -> None:
        """Write all groups, and a slice of a fold under way, in one transaction.

        A failure is retried, and past the bound ends the process.
        """
        db, recent, index = self.db, self.recent, self.index
        if recent.is_due:
            recent.begin_fold()
        folding = recent.folding
        # One after the other, so that a transaction stays short.
        if index.is_due and not folding:
            index.begin()
        indexing = index.is_writing and not folding
        logged = [(kind, rows) for group in groups for kind, rows in group if kind in LOGGED]
        ended = [(kind, ROWS.decode(rows)) for kind, rows in logged if kind in SUPERSEDED]
        for attempt in range(WRITER_COMMIT_RETRIES_MAX):
            try:
                db.execute("BEGIN IMMEDIATE")
                for group in groups:
                    for kind, rows in group:
                        self._write(kind, ROWS.decode(rows))
                if logged:
                    recent.append(db, ENCODER.encode(logged))
                if folding:
                    recent.fold(db)
                if indexing:
                    index.write(db)
                db.execute("COMMIT")
            except sqlite3.Error as error:
                line = {"level": "error", "event": "store.commit_failed", "attempt": attempt, "error": str(error)}
                print(msgspec.json.encode(line).decode(), file=sys.stderr, flush=True)
                if db.in_transaction:
                    db.execute("ROLLBACK")
                time.sleep(min(0.05 * 2**attempt, 1.0))
                continue
            if folding:
                recent.settle()
            if indexing:
                index.settle()
            for group in groups:
                for kind, rows in group:
                    if kind == EVENT:
                        index.note(ROWS.decode(rows))
            # Only now: until the commit holds, a retry needs the rows that these end.
            for kind, rows_ended in ended:
                recent.note(kind, rows_ended)
            recent.seq += bool(logged)
            return
        # Memory is ahead of a disk that refuses: the engine exits with us and reloads what is durable.
        sys.exit(1)

    def idle(self) -> None:
        """Nothing arrives: go on with a fold, or begin one when the log has been waiting."""
        recent = self.recent
        if not self.is_busy and time.monotonic() - self._folded_at >= FOLD_INTERVAL_S:
            self.index.begin()
            if recent.count:
                recent.begin_fold()
        if self.is_busy:
            self._folded_at = time.monotonic()
            self.commit([])

    @property
    def is_busy(self) -> bool:
        """Whether a fold or a part of the index is under way."""
        return self.recent.folding or self.index.is_writing

    def _write(self, kind: int, rows: list[list[Any]]) -> None:
        """One kind's rows of a group: remembered until a fold, or written to their table."""
        if kind in DEFERRED:
            self.recent.note(kind, rows)
        elif kind == schema.Row.SESSION_FORGET:
            ids = [row[0] for row in rows]
            self.recent.write_keys(self.db, SESSIONS, ids)
            move_to_history(self.db, ids)
        elif kind == schema.Row.PRUNE:
            for what, before in rows:
                for statement in schema.PRUNES[schema.History(what)]:
                    self.db.execute(statement, (before, RETENTION_SLICE_COUNT))
        else:
            self.db.executemany(STATEMENTS[kind], rows)


def run(path: str, connection: socket.socket) -> None:
    """Serve until the engine closes the socket. Exits with 1 when commits go on failing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Rows are plain data: there is nothing to collect, and looking for it goes through all that is remembered.
    gc.disable()
    os.nice(5)  # The packet loop goes first; under pressure the engine stops reading accounting until we catch up.
    writer = Writer(schema.connect(path))
    # One for all: memory of this size is taken from the kernel, and given back, each time.
    received = memoryview(bytearray(1 << 20))
    buffer = bytearray()
    while True:
        if not select.select([connection], [], [], 0.0 if writer.is_busy else FOLD_IDLE_S)[0]:
            writer.idle()
            continue
        try:
            count = connection.recv_into(received)
        except ConnectionError:
            # The engine was killed; what it had sent is read and committed by now.
            return
        if not count:
            return
        buffer += received[:count]
        groups = []
        offset = 0
        while len(buffer) - offset >= 4:
            (size,) = struct.unpack_from(">I", buffer, offset)
            if len(buffer) - offset - 4 < size:
                break
            groups.append(FRAME.decode(bytes(memoryview(buffer)[offset + 4 : offset + 4 + size])))
            offset += 4 + size
        del buffer[:offset]
        if groups:
            writer.commit([group for _, group in groups])
            # Nobody left to hear it: what is still to be read is committed all the same.
            with contextlib.suppress(ConnectionError):
                connection.sendall(struct.pack(">Q", groups[-1][0]))


def move_to_history(db: sqlite3.Connection, ids: list[int]) -> None:
    """Move ended sessions from the hot table to the history, with their addresses."""
    for start in range(0, len(ids), HISTORY_SLICE):
        chosen = msgspec.json.encode(ids[start : start + HISTORY_SLICE]).decode()
        db.execute(MOVE_ADDRESSES, (chosen,))
        db.execute(MOVE_SESSIONS, (chosen,))
        db.execute("DELETE FROM session WHERE id IN (SELECT value FROM json_each(?))", (chosen,))


def main() -> None:
    """Entry of the process: the database's path, and the number of the inherited socket."""
    path, fd = sys.argv[1], int(sys.argv[2])
    run(path, socket.socket(fileno=fd))


if __name__ == "__main__":
    main()
