"""The store's tables, its versions, and the statement behind each kind of row. Knows SQL, not what rows mean."""

import sqlite3
from enum import IntEnum

VERSION = 3
"""Of the schema; kept in PRAGMA user_version."""

MIGRATIONS: dict[int, tuple[str, ...]] = {
    1: (
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE plan (no INTEGER PRIMARY KEY, body TEXT NOT NULL)",
        "CREATE TABLE subscriber (no INTEGER PRIMARY KEY, body TEXT NOT NULL)",
        # credentials: JSON list; secrets in it are sealed.
        "CREATE TABLE service (no INTEGER PRIMARY KEY, subscriber INTEGER NOT NULL, plan INTEGER NOT NULL,"
        " body TEXT NOT NULL, credentials TEXT)",
        "CREATE TABLE usage (service INTEGER PRIMARY KEY, cycle_starts_at REAL NOT NULL, cycle_ends_at REAL NOT NULL,"
        " input_octets INTEGER NOT NULL, output_octets INTEGER NOT NULL)",
        "CREATE TABLE tombstone (kind TEXT, id TEXT, revision INTEGER NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID",
        "CREATE TABLE nas (no INTEGER PRIMARY KEY, body TEXT NOT NULL)",
        # Live sessions and those that ended lately; older ones move to session_history.
        "CREATE TABLE session (id INTEGER PRIMARY KEY, service INTEGER, nas INTEGER NOT NULL, key BLOB NOT NULL,"
        " user_name BLOB NOT NULL, facts BLOB NOT NULL, state INTEGER NOT NULL, started_at REAL NOT NULL,"
        " updated_at REAL NOT NULL, heard_at REAL NOT NULL, ended_at REAL NOT NULL, terminate_cause INTEGER NOT NULL,"
        " ended_by_nas INTEGER NOT NULL, session_time_s INTEGER NOT NULL, input_octets INTEGER NOT NULL,"
        " output_octets INTEGER NOT NULL, raw_input INTEGER NOT NULL, raw_output INTEGER NOT NULL)",
        "CREATE TABLE session_history (id INTEGER PRIMARY KEY, service INTEGER, nas INTEGER NOT NULL,"
        " key BLOB NOT NULL, user_name BLOB NOT NULL, facts BLOB NOT NULL, started_at REAL NOT NULL,"
        " ended_at REAL NOT NULL, terminate_cause INTEGER NOT NULL, session_time_s INTEGER NOT NULL,"
        " input_octets INTEGER NOT NULL, output_octets INTEGER NOT NULL)",
        "CREATE INDEX session_history_service ON session_history (service, started_at)",
        "CREATE INDEX session_history_ended ON session_history (ended_at)",
        # Who had an address or prefix, and when; written when a session's addresses are known to be final.
        "CREATE TABLE address_history (address BLOB, from_at REAL, session INTEGER, until_at REAL NOT NULL,"
        " PRIMARY KEY (address, from_at, session)) WITHOUT ROWID",
        "CREATE TABLE lease (pool TEXT, address BLOB, service INTEGER NOT NULL, slot BLOB NOT NULL,"
        " session INTEGER NOT NULL, bound_at REAL NOT NULL, released_at REAL NOT NULL,"
        " PRIMARY KEY (pool, address)) WITHOUT ROWID",
        "CREATE TABLE event (seq INTEGER PRIMARY KEY, at REAL NOT NULL, type TEXT NOT NULL, subject TEXT NOT NULL,"
        " body TEXT NOT NULL)",
    ),
    2: ("CREATE INDEX address_history_until ON address_history (until_at)",),
    # Groups of session and usage rows that are not in their tables yet; see aaa/state/recent.py.
    3: ("CREATE TABLE recent (seq INTEGER PRIMARY KEY, rows BLOB NOT NULL)",),
}
"""Statements that lead from one version to the next, by the version they reach."""


class Row(IntEnum):
    """Kinds of rows that commands cause, each with one statement."""

    META = 0
    PLAN = 1
    PLAN_DELETE = 2
    SUBSCRIBER = 3
    SUBSCRIBER_DELETE = 4
    SERVICE = 5
    SERVICE_DELETE = 6
    USAGE = 7
    TOMBSTONE = 8
    TOMBSTONE_DELETE = 9
    NAS = 10
    SESSION = 11
    SESSION_COUNTERS = 12
    SESSION_FORGET = 13
    LEASE = 14
    LEASE_DELETE = 15
    EVENT = 16
    USAGE_DELETE = 17
    ADDRESS = 18
    PRUNE = 19
    """(a History, epoch seconds): drop a slice of what is older."""


class History(IntEnum):
    """What is kept for a time."""

    EVENTS = 0
    LEASES = 1
    SESSIONS = 2


PRUNES: dict[History, str] = {
    # By sequence, which is the order of time; the last number must stay known.
    History.EVENTS: "DELETE FROM event WHERE seq IN (SELECT seq FROM (SELECT seq, at FROM event ORDER BY seq LIMIT ?2)"
    " WHERE at < ?1) AND seq < (SELECT max(seq) FROM event)",
    History.LEASES: "DELETE FROM address_history WHERE (address, from_at, session) IN (SELECT address, from_at, session"
    " FROM address_history WHERE until_at < ?1 ORDER BY until_at LIMIT ?2)",
    History.SESSIONS: "DELETE FROM session_history WHERE id IN (SELECT id FROM session_history WHERE ended_at < ?1"
    " ORDER BY ended_at LIMIT ?2)",
}
"""Each drops at most ?2 rows that are older than ?1."""


STATEMENTS: dict[Row, str] = {
    Row.META: "INSERT OR REPLACE INTO meta VALUES (?, ?)",
    Row.PLAN: "INSERT OR REPLACE INTO plan VALUES (?, ?)",
    Row.PLAN_DELETE: "DELETE FROM plan WHERE no = ?",
    Row.SUBSCRIBER: "INSERT OR REPLACE INTO subscriber VALUES (?, ?)",
    Row.SUBSCRIBER_DELETE: "DELETE FROM subscriber WHERE no = ?",
    Row.SERVICE: "INSERT OR REPLACE INTO service VALUES (?, ?, ?, ?, ?)",
    Row.SERVICE_DELETE: "DELETE FROM service WHERE no = ?",
    Row.USAGE: "INSERT OR REPLACE INTO usage VALUES (?, ?, ?, ?, ?)",
    Row.TOMBSTONE: "INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?)",
    Row.TOMBSTONE_DELETE: "DELETE FROM tombstone WHERE kind = ? AND id = ?",
    Row.NAS: "INSERT OR REPLACE INTO nas VALUES (?, ?)",
    Row.SESSION: "INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    Row.SESSION_COUNTERS: "UPDATE session SET updated_at = ?, heard_at = ?, session_time_s = ?, input_octets = ?,"
    " output_octets = ?, raw_input = ?, raw_output = ? WHERE id = ?",
    Row.SESSION_FORGET: "DELETE FROM session WHERE id = ?",
    Row.LEASE: "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?, ?)",
    Row.LEASE_DELETE: "DELETE FROM lease WHERE pool = ? AND address = ?",
    Row.EVENT: "INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?)",
    Row.USAGE_DELETE: "DELETE FROM usage WHERE service = ?",
    Row.ADDRESS: "INSERT OR REPLACE INTO address_history VALUES (?, ?, ?, ?)",
}


def connect(path: str) -> sqlite3.Connection:
    """Open the database as the writer does: WAL, an fsync for every commit."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA cache_size = -65536")
    db.execute("PRAGMA wal_autocheckpoint = 4000")
    return db


def migrate(db: sqlite3.Connection) -> None:
    """Bring the database to VERSION, each step in one transaction.

    Raises ValueError when it was written by a newer version of this server.
    """
    (found,) = db.execute("PRAGMA user_version").fetchone()
    if found > VERSION:
        raise ValueError(f"schema version {found} is newer than this server's {VERSION}: install a newer server")
    for version in range(found + 1, VERSION + 1):
        db.execute("BEGIN IMMEDIATE")
        for statement in MIGRATIONS[version]:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("COMMIT")
