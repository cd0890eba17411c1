"""A backup is a moment of a store that goes on; a restore says that the network has gone on since."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aaa.errors import StoreError
from aaa.limits import RESTORE_SKIP_EVENTS, RESTORE_SKIP_NUMBERS
from aaa.model.accounting import Status
from aaa.state import lock, schema
from aaa.state.backup import SQN_JUMP, back_up, restore
from aaa.state.seal import Sealer
from tests.state.world import AT, KEY, World, database

LATER = AT + 3600.0


class Site:
    """A world whose store is a file, as a server has it open."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "aaa.db")
        self.world = World(database(self.path))
        self.file = directory / "backup"
        self.steps: list[tuple[int, int]] = []

    def back_up(self, key: bytes = KEY) -> dict[str, Any]:
        self.world.disk.settle()
        return back_up(self.path, self.file, Sealer(key), AT, lambda done, total: self.steps.append((done, total)))

    def restore(self, key: bytes = KEY, replace: bool = True) -> dict[str, Any]:
        return restore(self.file, self.path, Sealer(key), LATER, replace)

    def restored(self) -> World:
        return World(database(self.path))


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site(tmp_path)
    site.world.service("alice")
    site.world.report(Status.START, b"one")
    return site


def test_what_is_durable_comes_back_and_what_came_after_does_not(site: Site) -> None:
    summary = site.back_up()
    assert (summary["services"], summary["sessions"]) == (1, 1)
    assert site.steps[-1][0] == site.steps[-1][1]
    site.world.service("bob")
    site.world.disk.settle()
    site.world.db.close()
    assert site.restore()["services"] == 1
    world = site.restored()
    assert list(world.store.services) == ["alice"]
    (credential,) = world.store.services["alice"].credentials
    assert credential.verifier.secret == b"secret"  # type: ignore[attr-defined]


def test_a_backup_is_taken_while_the_store_is_written_and_holds_one_moment(site: Site) -> None:
    site.world.disk.settle()

    def write(done: int, total: int) -> None:
        site.world.service(f"s{len(site.world.store.services)}")
        site.world.disk.settle()

    back_up(site.path, site.file, Sealer(KEY), AT, write)
    assert len(site.world.store.services) > 1
    with closing(sqlite3.connect(site.file)) as copy:
        assert copy.execute("SELECT count(*) FROM service").fetchone() == (1,)
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_the_copy_is_one_file_of_its_owner_only_without_clear_secrets(site: Site) -> None:
    site.back_up()
    assert site.file.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in site.file.parent.glob("backup*")) == ["backup"]
    assert b"secret" not in site.file.read_bytes()
    with pytest.raises(StoreError, match="overwrites nothing"):
        site.back_up()


def test_sessions_of_a_restored_store_are_adopted_and_no_enforcement_is_open(site: Site) -> None:
    site.back_up()
    with closing(sqlite3.connect(site.file)) as copy:
        copy.execute("INSERT INTO enforcement VALUES (1, 1, 1, 'sent', 0, '', '', 0, '{}')")
        copy.commit()
    site.restore()
    (session,) = site.restored().store.sessions.values()
    assert session.adopted
    assert session.decision is None
    with closing(sqlite3.connect(site.path)) as db:
        assert db.execute("SELECT state FROM enforcement").fetchone() == ("superseded",)


def test_numbers_and_sqns_jump_ahead_of_what_was_given_out_since(site: Site) -> None:
    last_no, last_event = site.world.store.last_no, site.world.store.last_event
    last_enforcement = site.world.store.last_enforcement
    site.back_up()
    site.restore()
    with closing(sqlite3.connect(site.path)) as db:
        assert db.execute("SELECT value FROM meta WHERE key = ?", (SQN_JUMP,)).fetchone() == (repr(LATER),)
    store = site.restored().store
    assert store.last_no >= last_no + RESTORE_SKIP_NUMBERS
    assert store.last_event == last_event + RESTORE_SKIP_EVENTS
    assert store.last_enforcement == last_enforcement + RESTORE_SKIP_EVENTS
    with closing(sqlite3.connect(site.path)) as db:
        # Whoever gives out SQNs has jumped.
        assert db.execute("SELECT value FROM meta WHERE key = ?", (SQN_JUMP,)).fetchone() is None
        kind, body = db.execute("SELECT type, body FROM event ORDER BY seq DESC LIMIT 1").fetchone()
    assert (kind, msgspec.json.decode(body)) == ("store.restored", {"backup_at": AT})


def test_a_restore_is_refused_while_a_server_uses_the_store(site: Site) -> None:
    site.back_up()
    with lock.take(site.path), pytest.raises(StoreError, match="another server"):
        site.restore()


def test_a_restore_puts_the_store_that_is_there_aside(site: Site) -> None:
    site.back_up()
    with pytest.raises(StoreError, match="--replace"):
        site.restore(replace=False)
    kept = site.restore()["replaced"]
    with closing(sqlite3.connect(kept)) as db:
        assert db.execute("SELECT count(*) FROM service").fetchone() == (1,)


@pytest.mark.parametrize("empty", [False, True])
def test_another_sealing_key_is_found_before_anything_changes(site: Site, empty: bool) -> None:
    if empty:
        site.world.apply("delete", "service", "alice", revision=2)
    site.back_up()
    before = Path(site.path).read_bytes()
    with pytest.raises(StoreError, match="another key"):
        site.restore(bytes(31) + b"x")
    assert Path(site.path).read_bytes() == before
    if not empty:
        site.file.unlink()
        with pytest.raises(StoreError, match="another key"):
            site.back_up(bytes(31) + b"x")
        assert not site.file.exists()


def damage(file: Path) -> None:
    octets = bytearray(file.read_bytes())
    octets[4096:8192] = bytes(4096)
    file.write_bytes(octets)


def forget_origin(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("DELETE FROM meta WHERE key = 'backup_at'")
        db.commit()


def make_newer(file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute(f"PRAGMA user_version = {schema.VERSION + 1}")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (damage, "damaged|malformed"),
        (forget_origin, "not made by"),
        (make_newer, "newer"),
        (lambda file: file.write_bytes(b"no database at all, but long enough to look at" * 100), "not a database"),
    ],
)  # fmt: skip
def test_what_is_no_sound_backup_is_refused_and_changes_nothing(site: Site, spoil: Any, why: str) -> None:
    site.back_up()
    spoil(site.file)
    before = Path(site.path).read_bytes()
    with pytest.raises(StoreError, match=why):
        site.restore()
    assert Path(site.path).read_bytes() == before
    assert not list(Path(site.path).parent.glob("*.restoring*"))


def test_a_missing_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="data_dir"):
        back_up(str(tmp_path / "none.db"), tmp_path / "b", Sealer(KEY), AT, lambda done, total: None)
