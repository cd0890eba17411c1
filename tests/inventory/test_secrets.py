"""Keys are sealed at rest and shown by nothing; a kill loses nothing that was acknowledged."""

import io
import re
from pathlib import Path

import msgspec
import pytest
from rich.console import Console
from rich.pretty import Pretty

from aaa.errors import StoreError
from aaa.model.entities import Password, Service
from aaa.model.inventory import Sim
from aaa.model.operations import Actor, Call, Operation
from aaa.state.load import load
from aaa.state.seal import Sealer
from aaa.state.store import Store
from billing_hooks.inventory_schema import SimPatch
from billing_hooks.settings import PaymentSettings, WebhookSettings
from tests.state.world import World, database

KI, OPC = "465B5CE8B199B49FAA5F0A2EE238A6BC", "CD63CB71954A9F4E48A5994E37A02BAF"
A, B = "8900100000000000001", "8900100000000000002"


def plain(octets: bytes) -> list[str]:
    """Which of the keys stand in these octets, in any usual spelling."""
    spellings = {
        name: (bytes.fromhex(text), text.encode(), text.lower().encode()) for name, text in (("ki", KI), ("opc", OPC))
    }
    return [name for name, forms in spellings.items() if any(form in octets for form in forms)]


def test_no_octet_of_the_database_shows_a_key(tmp_path: Path) -> None:
    path = tmp_path / "aaa.db"
    world = World(database(str(path)))
    world.service("erin")
    sim = {"revision": 1, "imsi": "001010000000001", "ki": KI, "opc": OPC, "service_id": "erin"}
    assert world.apply("put", "sim", A, sim).status == "applied"
    for step in ("activated", "suspended", "retired"):
        assert world.apply("transition", "sim", A, {"state": step}).status == "applied"
    assert world.apply("put", "sim", B, sim | {"ki": KI[2:]}).status == "error"
    again = world.restart()
    record = again.store.inventory.sim(A)
    assert record is not None
    assert record.keys == bytes.fromhex(KI + OPC)
    files = [file.read_bytes() for file in tmp_path.iterdir()]
    assert [plain(octets) for octets in files] == [[]] * len(files)
    rows = world.db.execute("SELECT body FROM audit WHERE kind = 'sim'").fetchall()
    assert len(rows) == 4
    assert all("ki" not in msgspec.json.decode(body).get("after", {}) for (body,) in rows)


def test_keys_of_one_sim_cannot_be_moved_to_another() -> None:
    world = World()
    for iccid, number in ((A, 1), (B, 2)):
        world.apply("put", "sim", iccid, {"revision": 1, "imsi": f"00101000000000{number}", "ki": KI, "opc": OPC})
    world.disk.settle()
    world.db.execute("UPDATE sim SET sealed = (SELECT sealed FROM sim WHERE no = 1) WHERE no = 2")
    with pytest.raises(StoreError, match="sim:2"):
        load(Store(Sealer(bytes(32))), world.db, 0.0)


def test_the_repr_of_a_push_and_of_a_record_shows_no_key() -> None:
    world = World()
    value = {"revision": 1, "imsi": "001010000000001", "ki": KI, "opc": OPC}
    assert world.apply("put", "sim", A, value).status == "applied"
    pushed = msgspec.convert(value, Sim)
    assert plain((repr(pushed) + repr(world.store.inventory.sim(A))).encode()) == []
    assert not re.search("[0-9A-F]{32}", repr(pushed), re.IGNORECASE)


@pytest.mark.parametrize("acknowledged", range(0, 9, 2))
def test_a_kill_keeps_what_was_acknowledged_and_nothing_by_halves(acknowledged: int) -> None:
    world = World()
    world.service("erin")
    world.disk.settle()
    told: list[str] = []
    for number in range(8):
        iccid = f"890010000000000001{number}"
        value = {
            "revision": 1,
            "imsi": f"00101000000000{number}",
            "msisdn": f"1555000000{number}",
            "service_id": "erin",
        }
        assert world.apply("put", "sim", iccid, value).status == "applied"
        world.store.journal.when_durable(lambda iccid=iccid: told.append(iccid))
        if number < acknowledged:
            world.disk.settle()
    after_kill = World(world.db)
    found = list(after_kill.store.inventory.sims.after(0))
    assert [record.iccid for record in found] == told == [f"890010000000000001{n}" for n in range(acknowledged)]
    assert all(record.number is not None and record.number.state == "assigned" for record in found)
    assert after_kill.store.inventory.numbers.count == acknowledged


SHOWN = (
    Password("u1", cleartext=KI),
    Password("u1", bcrypt=KI),
    Service(1, "s", "p", credentials=(Password("u1", cleartext=KI),)),
    Sim(1, "001010000000001", ki=KI, opc=OPC),
    SimPatch(revision=1, ki=KI),
    Operation("put", "sim", A, {"ki": KI, "opc": OPC}),
    Operation("put", "service", "u1", {"credentials": [{"type": "password", "cleartext": KI}]}),
    Call(1, "sync", Actor("t", "admin"), msgspec.Raw(KI.encode())),
    WebhookSettings(name="w", url="https://a", keys=(KI.encode(),)),
    PaymentSettings(name="p", secret=KI.encode()),
)


@pytest.mark.parametrize("value", SHOWN, ids=[type(value).__name__ for value in SHOWN])
def test_no_repr_shows_a_secret(value: object) -> None:
    console = Console(file=io.StringIO(), width=500)
    console.print(Pretty(value))
    for text in (repr(value), str(value), f"{[value]}", console.file.getvalue()):  # type: ignore[attr-defined]
        assert not plain(text.encode()), text
