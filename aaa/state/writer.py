"""The writer: a process that commits row groups to SQLite, one transaction for all that has arrived.

It knows rows and statements, not what they mean. Frames on the socket are 4 octets of length (big-endian) and msgpack:
in, [group number, [[row kind, [row, ...]], ...]]; out, the highest group number that is durable.
"""

import contextlib
import os
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

STATEMENTS = {int(row): statement for row, statement in schema.STATEMENTS.items()}
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


def run(path: str, connection: socket.socket) -> None:
    """Serve until the engine closes the socket. Exits with 1 when commits go on failing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.nice(5)  # The packet loop goes first; under pressure the engine stops reading accounting until we catch up.
    db = schema.connect(path)
    prepare(db)
    decoder = msgspec.msgpack.Decoder(tuple[int, list[tuple[int, list[list[Any]]]]])
    buffer = bytearray()
    while True:
        try:
            data = connection.recv(1 << 20)
        except ConnectionError:
            # The engine was killed; what it had sent is read and committed by now.
            return
        if not data:
            return
        buffer += data
        groups = []
        offset = 0
        while len(buffer) - offset >= 4:
            (size,) = struct.unpack_from(">I", buffer, offset)
            if len(buffer) - offset - 4 < size:
                break
            groups.append(decoder.decode(memoryview(buffer)[offset + 4 : offset + 4 + size]))
            offset += 4 + size
        del buffer[:offset]
        if groups:
            commit(db, [group for _, group in groups])
            # Nobody left to hear it: what is still to be read is committed all the same.
            with contextlib.suppress(ConnectionError):
                connection.sendall(struct.pack(">Q", groups[-1][0]))


def prepare(db: sqlite3.Connection) -> None:
    """What the statements need of a connection."""
    db.create_function("unhex_blob", 1, lambda text: bytes.fromhex(text), deterministic=True)


def commit(db: sqlite3.Connection, groups: list[list[tuple[int, list[list[Any]]]]]) -> None:
    """Write all groups in one transaction; a failure is retried, and past the bound ends the process."""
    for attempt in range(WRITER_COMMIT_RETRIES_MAX):
        try:
            db.execute("BEGIN IMMEDIATE")
            for group in groups:
                for kind, rows in group:
                    if kind == schema.Row.SESSION_FORGET:
                        move_to_history(db, [row[0] for row in rows])
                    elif kind == schema.Row.PRUNE:
                        for what, before in rows:
                            db.execute(schema.PRUNES[schema.History(what)], (before, RETENTION_SLICE_COUNT))
                    else:
                        db.executemany(STATEMENTS[kind], rows)
            db.execute("COMMIT")
            return
        except sqlite3.Error as error:
            line = {"level": "error", "event": "store.commit_failed", "attempt": attempt, "error": str(error)}
            print(msgspec.json.encode(line).decode(), file=sys.stderr, flush=True)
            if db.in_transaction:
                db.execute("ROLLBACK")
            time.sleep(min(0.05 * 2**attempt, 1.0))
    # Memory is ahead of a disk that refuses: the engine exits with us and reloads what is durable.
    sys.exit(1)


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
