"""A copy of a store that serves, and a store from such a copy. Knows the schema and the sealing key, no record.

A copy is one read transaction of SQLite's backup interface: it contains a moment, WAL included, and holds up nobody.
What the network did since is unknown when it comes back, so a restored store says so: sessions are adopted, no
enforcement is open, SQNs of SIMs are to jump ahead, and numbers that were given out since are not given out again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from aaa.errors import StoreError
from aaa.limits import BACKUP_STEP_PAGES, RESTORE_SKIP_EVENTS, RESTORE_SKIP_NUMBERS
from aaa.state import lock, schema
from aaa.state.recent import replay
from aaa.state.seal import Sealer

SEAL_CHECK: Final = "seal_check"
"""Key in `meta`: a known text under the store's key, so that a wrong key is found where nothing else is sealed."""
SQN_JUMP: Final = "sqn_jump"
"""Key in `meta`: the moment of the restore, in epoch seconds. Whoever gives out SQNs jumps ahead and removes it."""
KNOWN_TEXT: Final = b"aaa"
CONTEXT: Final = b"meta:seal_check"


def back_up(path: str, target: Path, sealer: Sealer, at: float, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Copy the store at `path`, in use or not, to a new file that is its owner's only.

    progress: called with pages done and pages in all. Returns what the copy holds. Raises StoreError, and leaves no
    part of a copy.
    """
    if not Path(path).is_file():
        raise StoreError(f"{path}: no such store; is data_dir right?")
    if target.exists():
        raise StoreError(f"{target}: is there already; a backup overwrites nothing")
    partial = target.with_name(target.name + ".partial")
    try:
        partial.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise StoreError(f"{partial}: {error.strerror}") from None
    try:
        with closing(open_read_only(path)) as source, closing(sqlite3.connect(partial, isolation_level=None)) as copy:
            check_version(source, path)
            verify_key(source, sealer)
            # A read transaction around all steps: commits in between neither show nor start the copy anew.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM meta").fetchone()
            source.backup(
                copy, pages=BACKUP_STEP_PAGES, progress=lambda status, left, total: progress(total - left, total)
            )
            copy.execute("PRAGMA journal_mode = DELETE")
            replay(copy)
            copy.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (SEAL_CHECK, sealer.seal(KNOWN_TEXT, CONTEXT)))
            copy.execute("INSERT OR REPLACE INTO meta VALUES ('backup_at', ?)", (repr(at),))
            check_integrity(copy, str(partial))
            summary = summarise(copy)
        sync_file(partial)
        partial.rename(target)
        sync_file(target.parent)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{path}: {error}") from None
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return summary | {"bytes": target.stat().st_size}


def restore(file: Path, path: str, sealer: Sealer, at: float, replace: bool) -> dict[str, Any]:
    """Put a backup where the store is; the one that is there stays beside it. Returns what was restored.

    replace: whether a store may be there already. Raises StoreError, and changes nothing, while a server uses the
    store, for a file that is no sound backup of a version that is known here, and for another sealing key.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with closing(lock.take(path, 0.0)):
        if target.exists() and not replace:
            raise StoreError(f"{path}: a store is there; --replace puts it aside")
        partial = target.with_name(target.name + ".restoring")
        try:
            with closing(open_read_only(str(file))) as backup:
                check_version(backup, str(file))
                check_integrity(backup, str(file))
                if backup.execute("SELECT 1 FROM meta WHERE key = 'backup_at'").fetchone() is None:
                    raise StoreError(f"{file}: was not made by `aaa backup`")
                verify_key(backup, sealer)
            shutil.copyfile(file, partial)
            partial.chmod(0o600)
            with closing(schema.connect(str(partial))) as db:
                schema.migrate(db)
                forget_the_network(db, at)
                summary = summarise(db)
                db.execute("PRAGMA journal_mode = DELETE")
            sync_file(partial)
            if target.exists():
                summary["replaced"] = put_aside(target, at)
            partial.rename(target)
            sync_file(target.parent)
        except (sqlite3.Error, OSError, ValueError) as error:
            raise StoreError(f"{file}: {error}") from None
        finally:
            for name in (partial, *beside(partial)):
                with suppress(FileNotFoundError):
                    name.unlink()
    return summary


def forget_the_network(db: sqlite3.Connection, at: float) -> None:
    """Mark that the network has gone on since the copy was made."""
    db.execute("BEGIN IMMEDIATE")
    for rowid, text in db.execute("SELECT id, facts FROM session WHERE state != 2").fetchall():
        facts = msgspec.json.decode(text)
        facts["adopted"] = True
        for known in ("decision", "desired", "diverged_at", "converged_at"):
            facts.pop(known, None)
        db.execute("UPDATE session SET facts = ? WHERE id = ?", (msgspec.json.encode(facts).decode(), rowid))
    db.execute("UPDATE enforcement SET state = 'superseded' WHERE state IN ('pending', 'sent', 'waiting')")
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (SQN_JUMP, repr(at)))
    db.execute("INSERT OR REPLACE INTO meta VALUES ('restored_at', ?)", (repr(at),))
    # Class tokens out there bear service numbers that this copy has not given out; nobody else may get them.
    row = db.execute("SELECT value FROM meta WHERE key = 'last_no'").fetchone()
    last_no = int(row[0]) if row is not None else 0
    for table in ("plan", "subscriber", "service", "nas"):
        last_no = max(last_no, *db.execute(f"SELECT coalesce(max(no), 0) FROM {table}").fetchone())
    db.execute("INSERT OR REPLACE INTO meta VALUES ('last_no', ?)", (str(last_no + RESTORE_SKIP_NUMBERS),))
    # And numbers of receipts: whoever keeps them by number must not take a new one for an old one.
    (last_enforcement,) = db.execute("SELECT coalesce(max(id), 0) FROM enforcement").fetchone()
    row = db.execute("SELECT value FROM meta WHERE key = 'last_enforcement'").fetchone()
    last_enforcement = max(last_enforcement, int(row[0]) if row is not None else 0) + RESTORE_SKIP_EVENTS
    db.execute("INSERT OR REPLACE INTO meta VALUES ('last_enforcement', ?)", (str(last_enforcement),))
    (backup_at,) = db.execute("SELECT value FROM meta WHERE key = 'backup_at'").fetchone()
    # Likewise event numbers: whoever has read further than this copy must not miss what comes now.
    (last_event,) = db.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
    body = msgspec.json.encode({"backup_at": float(backup_at)}).decode()
    db.execute(
        "INSERT INTO event (seq, at, type, subject, body) VALUES (?, ?, 'store.restored', 'store', ?)",
        (last_event + RESTORE_SKIP_EVENTS, at, body),
    )
    db.execute("COMMIT")


def verify_key(db: sqlite3.Connection, sealer: Sealer) -> None:
    """Unseal something that the store has sealed. Raises StoreError where the key is another one."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (SEAL_CHECK,)).fetchone()
    if row is not None:
        sealer.unseal(row[0], CONTEXT)
    rows = db.execute("SELECT no, credentials FROM service WHERE credentials LIKE '%\"sealed\"%' LIMIT 1")
    for no, credentials in rows.fetchall():
        for credential in msgspec.json.decode(credentials):
            if credential.get("sealed"):
                sealer.unseal(credential["sealed"], b"service:%d" % no)


def wrong_key(path: str, sealer: Sealer) -> str | None:
    """Why the store at `path` cannot be unsealed with this key; None where it can, or there is none yet."""
    if not Path(path).is_file():
        return None
    try:
        with closing(open_read_only(path)) as db:
            check_version(db, path)
            verify_key(db, sealer)
    except StoreError as error:
        return str(error)
    except sqlite3.Error:
        return None  # Locked or unreadable for this user: that is told by `serve`, and says nothing of the key.
    return None


def check_version(db: sqlite3.Connection, path: str) -> None:
    """Raises StoreError for what no server of this version has written."""
    try:
        (found,) = db.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{path}: {error}") from None
    if not 1 <= found <= schema.VERSION:
        why = "is no store" if found < 1 else f"has schema version {found}, newer than this server's {schema.VERSION}"
        raise StoreError(f"{path}: {why}")


def check_integrity(db: sqlite3.Connection, path: str) -> None:
    """Raises StoreError naming the first damage."""
    (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreError(f"{path}: is damaged: {found}")


def summarise(db: sqlite3.Connection) -> dict[str, Any]:
    """What a store holds, for the operator to compare."""
    tables = ("plan", "subscriber", "service", "session", "event", "audit")
    return {f"{table}s": db.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def open_read_only(path: str) -> sqlite3.Connection:
    """A connection that changes nothing."""
    return sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)


def beside(path: Path) -> tuple[Path, Path]:
    """The files that SQLite keeps beside a database."""
    return path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")


def put_aside(path: Path, at: float) -> str:
    """Rename a store with its WAL; the new name."""
    aside = path.with_name(f"{path.name}.replaced-{int(at)}")
    for old, new in zip((path, *beside(path)), (aside, *beside(aside)), strict=True):
        if old.exists():
            old.rename(new)
    return str(aside)


def sync_file(path: Path) -> None:
    """Make a file, or a directory's names, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
