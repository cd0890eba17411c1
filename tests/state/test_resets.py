"""After a restore every MME is told once that registrations may be lost, over restarts too; otherwise nobody is."""

from aaa.state.resets import RESTORED_AT, Resets
from tests.state.world import World


def restored(world: World, at: float) -> None:
    world.disk.settle()
    world.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (RESTORED_AT, repr(at)))


def test_nobody_is_told_where_nothing_was_restored() -> None:
    world = World()
    assert not Resets(world.store, world.db).owes("mme.example")


def test_each_is_told_once_after_each_restore() -> None:
    world = World()
    for moment in (1.5, 2.5):
        restored(world, moment)
        resets = Resets(world.store, world.db)
        assert resets.owes("mme.example")
        resets.note_told("mme.example")
        assert not resets.owes("mme.example")
        assert resets.owes("other.example")
        world = world.restart()
        assert not Resets(world.store, world.db).owes("mme.example")
        assert Resets(world.store, world.db).owes("other.example")
