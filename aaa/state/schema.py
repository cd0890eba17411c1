"""The store's tables, its versions, and the statement behind each kind of row. Knows SQL, not what rows mean."""

import os
import sqlite3
from contextlib import suppress
from enum import IntEnum

VERSION = 7
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
    4: (
        # Balances; key is "service/NO", "subscriber/NO" or "group/OPERATOR/NAME".
        "CREATE TABLE account (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE hold (service INTEGER, cause TEXT, body TEXT NOT NULL, PRIMARY KEY (service, cause))"
        " WITHOUT ROWID",
        "CREATE TABLE tag (service INTEGER PRIMARY KEY, tags TEXT NOT NULL)",
        # Decisions that sessions run under or ran under; by the hash of their JSON.
        "CREATE TABLE decision (id INTEGER PRIMARY KEY, body TEXT NOT NULL)",
        # The outbox while open, the receipt afterwards. An index ends in the row's number anyway.
        "CREATE TABLE enforcement (id INTEGER PRIMARY KEY, session INTEGER NOT NULL, service INTEGER NOT NULL,"
        " state TEXT NOT NULL, at REAL NOT NULL, operator TEXT NOT NULL, correlation_id TEXT NOT NULL,"
        " audit INTEGER NOT NULL, body TEXT NOT NULL)",
        "CREATE INDEX enforcement_service ON enforcement (service)",
        "CREATE INDEX enforcement_session ON enforcement (session)",
        "CREATE INDEX enforcement_audit ON enforcement (audit) WHERE audit > 0",
        "CREATE INDEX enforcement_open ON enforcement (id) WHERE state IN ('pending', 'sent', 'waiting')",
        # What automations do later.
        "CREATE TABLE timer (id INTEGER PRIMARY KEY, due_at REAL NOT NULL, body TEXT NOT NULL)",
        # hash: SHA-256 over the previous row's hash and this row's columns; see aaa/state/audit.py.
        "CREATE TABLE audit (seq INTEGER PRIMARY KEY, at REAL NOT NULL, actor TEXT NOT NULL, operator TEXT NOT NULL,"
        " correlation_id TEXT NOT NULL, action TEXT NOT NULL, kind TEXT NOT NULL, subject TEXT NOT NULL,"
        " body TEXT NOT NULL, hash BLOB NOT NULL)",
        "CREATE INDEX audit_subject ON audit (subject)",
        "CREATE TABLE idempotency (key TEXT PRIMARY KEY, at REAL NOT NULL, digest BLOB NOT NULL,"
        " status INTEGER NOT NULL, answer BLOB NOT NULL) WITHOUT ROWID",
        "CREATE INDEX idempotency_at ON idempotency (at)",
        # Events that a webhook refused for good.
        "CREATE TABLE dead_letter (webhook TEXT, seq INTEGER, at REAL NOT NULL, attempts INTEGER NOT NULL,"
        " error TEXT NOT NULL, PRIMARY KEY (webhook, seq)) WITHOUT ROWID",
        "ALTER TABLE event ADD COLUMN operator TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE event ADD COLUMN subscriber TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE event ADD COLUMN service TEXT NOT NULL DEFAULT ''",
        "ALTER TABLE event ADD COLUMN cause TEXT NOT NULL DEFAULT '{}'",
        "CREATE INDEX event_service ON event (service) WHERE service != ''",
        # Automations begin with what happens from here on.
        "INSERT INTO meta SELECT 'automated', seq FROM event ORDER BY seq DESC LIMIT 1",
        # sealed: K and OPc under the store's key.
        "CREATE TABLE sim (no INTEGER PRIMARY KEY, body TEXT NOT NULL, sealed TEXT)",
        "CREATE TABLE number (msisdn TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE number_range (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE device (no INTEGER PRIMARY KEY, body TEXT NOT NULL)",
    ),
    # Up to which SQN of a SIM challenges may have been given out; where there is none, its body's holds.
    5: ("CREATE TABLE sim_sqn (sim INTEGER PRIMARY KEY, sqn INTEGER NOT NULL)",),
    # What every request of a Gy session changes of its facts, as JSON; NULL: they say it themselves.
    6: ("ALTER TABLE session ADD COLUMN progress TEXT",),
    # Written late: see aaa/state/event_index.py.
    7: (
        "DROP INDEX event_service",
        "CREATE TABLE event_of (service TEXT, seq INTEGER, PRIMARY KEY (service, seq)) WITHOUT ROWID",
        "INSERT INTO event_of SELECT service, seq FROM event WHERE service != '' ORDER BY service, seq",
        "INSERT INTO meta SELECT 'events_indexed', seq FROM event ORDER BY seq DESC LIMIT 1",
    ),
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
    ACCOUNT = 20
    ACCOUNT_DELETE = 21
    HOLD = 22
    HOLD_DELETE = 23
    TAG = 24
    DECISION = 25
    ENFORCEMENT = 26
    TIMER = 27
    TIMER_DELETE = 28
    AUDIT = 29
    IDEMPOTENCY = 30
    DEAD_LETTER = 31
    DEAD_LETTER_DELETE = 32
    SIM = 33
    SIM_DELETE = 34
    NUMBER = 35
    NUMBER_DELETE = 36
    NUMBER_RANGE = 37
    NUMBER_RANGE_DELETE = 38
    DEVICE = 39
    DEVICE_DELETE = 40
    TAG_DELETE = 41
    SIM_SQN = 42
    SIM_SQN_DELETE = 43
    SESSION_PROGRESS = 44


class History(IntEnum):
    """What is kept for a time."""

    EVENTS = 0
    LEASES = 1
    SESSIONS = 2
    AUDIT = 3
    ENFORCEMENTS = 4
    IDEMPOTENCY = 5


_OLD_EVENTS = "(SELECT seq, at, service FROM event ORDER BY seq LIMIT ?2) WHERE at < ?1"
PRUNES: dict[History, tuple[str, ...]] = {
    # By sequence, which is the order of time; the last number must stay known.
    History.EVENTS: (
        f"DELETE FROM event_of WHERE (service, seq) IN (SELECT service, seq FROM {_OLD_EVENTS})"
        " AND seq < (SELECT max(seq) FROM event)",
        f"DELETE FROM event WHERE seq IN (SELECT seq FROM {_OLD_EVENTS}) AND seq < (SELECT max(seq) FROM event)",
    ),
    History.LEASES: (
        "DELETE FROM address_history WHERE (address, from_at, session) IN (SELECT address, from_at, session"
        " FROM address_history WHERE until_at < ?1 ORDER BY until_at LIMIT ?2)",
    ),
    # The newest entry stays: the next one's hash is made from it.
    History.AUDIT: (
        "DELETE FROM audit WHERE seq IN (SELECT seq FROM (SELECT seq, at FROM audit ORDER BY seq LIMIT ?2)"
        " WHERE at < ?1) AND seq < (SELECT max(seq) FROM audit)",
    ),
    History.ENFORCEMENTS: (
        "DELETE FROM enforcement WHERE id IN (SELECT id FROM (SELECT id, at, state FROM enforcement"
        " ORDER BY id LIMIT ?2) WHERE at < ?1 AND state NOT IN ('pending', 'sent', 'waiting'))"
        " AND id < (SELECT max(id) FROM enforcement)",
    ),
    History.IDEMPOTENCY: (
        "DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE at < ?1"
        " ORDER BY at LIMIT ?2)",
    ),
    History.SESSIONS: (
        "DELETE FROM session_history WHERE id IN (SELECT id FROM session_history WHERE ended_at < ?1"
        " ORDER BY ended_at LIMIT ?2)",
    ),
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
    # A whole row ends the progress beside it.
    Row.SESSION: "INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
    Row.SESSION_COUNTERS: "UPDATE session SET updated_at = ?, heard_at = ?, session_time_s = ?, input_octets = ?,"
    " output_octets = ?, raw_input = ?, raw_output = ? WHERE id = ?",
    Row.SESSION_PROGRESS: "UPDATE session SET updated_at = ?, heard_at = ?, session_time_s = ?, input_octets = ?,"
    " output_octets = ?, progress = ? WHERE id = ?",
    Row.SESSION_FORGET: "DELETE FROM session WHERE id = ?",
    Row.LEASE: "INSERT OR REPLACE INTO lease VALUES (?, ?, ?, ?, ?, ?, ?)",
    Row.LEASE_DELETE: "DELETE FROM lease WHERE pool = ? AND address = ?",
    Row.EVENT: "INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    Row.USAGE_DELETE: "DELETE FROM usage WHERE service = ?",
    Row.ADDRESS: "INSERT OR REPLACE INTO address_history VALUES (?, ?, ?, ?)",
    Row.ACCOUNT: "INSERT OR REPLACE INTO account VALUES (?, ?)",
    Row.ACCOUNT_DELETE: "DELETE FROM account WHERE key = ?",
    Row.HOLD: "INSERT OR REPLACE INTO hold VALUES (?, ?, ?)",
    Row.HOLD_DELETE: "DELETE FROM hold WHERE service = ? AND cause = ?",
    Row.TAG: "INSERT OR REPLACE INTO tag VALUES (?, ?)",
    Row.TAG_DELETE: "DELETE FROM tag WHERE service = ?",
    Row.DECISION: "INSERT OR IGNORE INTO decision VALUES (?, ?)",
    Row.ENFORCEMENT: "INSERT OR REPLACE INTO enforcement VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
    Row.TIMER: "INSERT OR REPLACE INTO timer VALUES (?, ?, ?)",
    Row.TIMER_DELETE: "DELETE FROM timer WHERE id = ?",
    Row.AUDIT: "INSERT OR REPLACE INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    Row.IDEMPOTENCY: "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?)",
    Row.DEAD_LETTER: "INSERT OR REPLACE INTO dead_letter VALUES (?, ?, ?, ?, ?)",
    Row.DEAD_LETTER_DELETE: "DELETE FROM dead_letter WHERE webhook = ? AND seq = ?",
    Row.SIM: "INSERT OR REPLACE INTO sim VALUES (?, ?, ?)",
    Row.SIM_DELETE: "DELETE FROM sim WHERE no = ?",
    Row.NUMBER: "INSERT OR REPLACE INTO number VALUES (?, ?)",
    Row.NUMBER_DELETE: "DELETE FROM number WHERE msisdn = ?",
    Row.NUMBER_RANGE: "INSERT OR REPLACE INTO number_range VALUES (?, ?)",
    Row.NUMBER_RANGE_DELETE: "DELETE FROM number_range WHERE id = ?",
    Row.SIM_SQN: "INSERT OR REPLACE INTO sim_sqn VALUES (?, ?)",
    Row.SIM_SQN_DELETE: "DELETE FROM sim_sqn WHERE sim = ?",
    Row.DEVICE: "INSERT OR REPLACE INTO device VALUES (?, ?)",
    Row.DEVICE_DELETE: "DELETE FROM device WHERE no = ?",
}


def connect(path: str) -> sqlite3.Connection:
    """Open the database as the writer does: WAL, an fsync for every commit.

    Security: a new one is its user's alone, and so is what SQLite puts beside it; it holds who used what, and when.
    """
    if path != ":memory:":
        with suppress(OSError):  # It is there; or it cannot be made, which SQLite tells.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, isolation_level=None)
    # Of a new database. A group's rows are long: the write-ahead log takes a page at a time.
    db.execute("PRAGMA page_size = 8192")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA cache_size = -65536")
    db.execute("PRAGMA wal_autocheckpoint = 2000")
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
