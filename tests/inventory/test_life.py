"""Life cycles of SIMs, numbers and devices, walked over every pair; what moves together; what a restart brings back."""

import itertools
from typing import Any, get_args

import pytest

from aaa.limits import EQUIPMENT_COUNT_MAX
from aaa.model.event_types import EVENT_TYPES
from aaa.model.inventory import NUMBER_TRANSITIONS, SIM_TRANSITIONS, NumberState, SimState
from aaa.model.operations import Result
from aaa.state.inventory import NUMBER_OF_SIM, entity_of
from aaa.state.numbers import expire, next_deadline, reserve
from aaa.state.operations import Refused
from tests.state.world import AT, World

KI, OPC, OP = "465B5CE8B199B49FAA5F0A2EE238A6BC", "CD63CB71954A9F4E48A5994E37A02BAF", "CDC202D5123E20F62B6D676AC72CB318"
A, B, C = "8900100000000000001", "8900100000000000002", "0890010000000000003"
NUMBER = "15550000001"
SIM_STATES: tuple[SimState, ...] = get_args(SimState)
NUMBER_STATES: tuple[NumberState, ...] = get_args(NumberState)
SERVED = ("assigned", "activated")


def sim(number: int = 1, **value: Any) -> dict[str, Any]:
    return {"revision": 1, "imsi": f"00101000000000{number}", **value}


@pytest.fixture
def world() -> World:
    world = World()
    world.service("erin")
    return world


def events(world: World, prefix: str) -> list[str]:
    return [event.type for event in world.store.events if event.type.startswith(prefix)]


def state(world: World, iccid: str = A) -> str:
    record = world.store.inventory.sim(iccid)
    assert record is not None
    return record.state


def number_state(world: World, msisdn: str = NUMBER) -> str:
    record = world.store.inventory.number(msisdn)
    return "available" if record is None else record.state


def ok(result: Result) -> None:
    assert result.status == "applied", result


# SIMs


@pytest.mark.parametrize(("old", "new"), list(itertools.product(SIM_STATES, SIM_STATES)))
def test_a_sim_steps_where_the_table_says_and_nowhere_else(world: World, old: SimState, new: SimState) -> None:
    ok(world.apply("put", "sim", A, sim(state=old, service_id="erin" if old in SERVED else None)))
    value = {"state": new, "service_id": "erin"} if new in SERVED else {"state": new}
    result = world.apply("transition", "sim", A, value)
    if new == old or new in SIM_TRANSITIONS[old]:
        ok(result)
        assert state(world) == new
        record = world.store.inventory.sim(A)
        assert record is not None
        assert (record.service is not None) == (new in SERVED or (old, new) == ("activated", "suspended"))
    else:
        assert (result.error, result.field) == ("invalid_transition", "$.state")
        assert all(each in (result.detail or "") for each in SIM_TRANSITIONS[old] or ("none",))
        assert state(world) == old


@pytest.mark.parametrize(("old", "new"), list(itertools.product(SIM_STATES, SIM_STATES)))
def test_a_push_of_another_state_is_the_same_step(world: World, old: SimState, new: SimState) -> None:
    ok(world.apply("put", "sim", A, sim(state=old, service_id="erin" if old in SERVED else None)))
    service = {"service_id": "erin"} if new in SERVED else {}
    result = world.apply("put", "sim", A, sim(revision=2, state=new, **service))
    allowed = new == old or new in SIM_TRANSITIONS[old]
    assert result.status == ("applied" if allowed else "error")


@pytest.mark.parametrize("new", ["assigned", "activated"])
def test_a_state_that_serves_needs_a_service(world: World, new: str) -> None:
    result = world.apply("put", "sim", A, sim(state=new))
    assert (result.error, result.field) == ("missing_reference", "$.service_id")
    assert world.apply("put", "sim", A, sim(state=new, service_id="nobody")).error == "missing_reference"
    assert world.store.inventory.sim(A) is None


def test_a_sim_that_gets_a_service_is_assigned_and_goes_back_to_stock_without(world: World) -> None:
    ok(world.apply("put", "sim", A, sim()))
    assert state(world) == "stock"
    ok(world.apply("patch", "sim", A, {"revision": 2, "service_id": "erin"}))
    assert state(world) == "assigned"
    ok(world.apply("patch", "sim", A, {"revision": 3, "service_id": None}))
    assert state(world) == "stock"
    assert events(world, "sim.") == ["sim.created", "sim.assigned", "sim.stocked"]


def test_one_service_has_a_main_and_a_backup_sim(world: World) -> None:
    for iccid, number in ((A, 1), (B, 2)):
        ok(world.apply("put", "sim", iccid, sim(number, service_id="erin", state="activated")))
    assert [each.iccid for each in world.store.services["erin"].equipment] == [A, B]


def test_a_service_has_only_so_much_equipment(world: World) -> None:
    for number in range(EQUIPMENT_COUNT_MAX):
        ok(world.apply("put", "device", f"d{number}", {"revision": 1, "service_id": "erin"}))
    for kind, name, value in (
        ("sim", A, sim(service_id="erin")),
        ("number", NUMBER, {"revision": 1, "service_id": "erin"}),
        ("device", "d", {"revision": 1, "service_id": "erin"}),
    ):
        result = world.apply("put", kind, name, value)
        assert (result.error, result.field) == ("limit", "$.service_id")
    ok(world.apply("put", "device", "d0", {"revision": 2, "service_id": "erin"}))
    ok(world.apply("put", "device", "d0", {"revision": 3}))
    ok(world.apply("put", "sim", A, sim(service_id="erin")))


def test_an_imsi_names_one_sim_in_all_operators_until_it_is_retired(world: World) -> None:
    ok(world.apply("put", "sim", A, sim()))
    taken = world.apply("put", "sim", B, sim())
    assert (taken.error, taken.field) == ("duplicate_imsi", "$.imsi")
    assert A in (taken.detail or "")
    hidden = world.apply("put", "sim", B, sim(), operator="mvno")
    assert hidden.error == "duplicate_imsi"
    assert A not in (hidden.detail or "")
    ok(world.apply("transition", "sim", A, {"state": "retired"}))
    ok(world.apply("put", "sim", B, sim()))
    found = world.store.inventory.sim_of_imsi("001010000000001")
    assert found is world.store.inventory.sim(B)


def test_the_imsi_of_a_sim_in_use_stays(world: World) -> None:
    ok(world.apply("put", "sim", A, sim(1, service_id="erin")))
    ok(world.apply("patch", "sim", A, {"revision": 2, "imsi": "001010000000009"}))
    assert world.store.inventory.sim_of_imsi("001010000000001") is None
    assert world.store.inventory.sim_of_imsi("001010000000009") is not None
    ok(world.apply("transition", "sim", A, {"state": "activated"}))
    assert world.apply("patch", "sim", A, {"revision": 3, "imsi": "001010000000001"}).field == "$.imsi"


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ({"imsi": "12345"}, "$.imsi"),
        ({"imsi": "1" * 16}, "$.imsi"),
        ({"imsi": 1010000000001}, "$.imsi"),
        ({"msisdn": "1234"}, "$.msisdn"),
        ({"msisdn": "+15550000001"}, "$.msisdn"),
        ({"iccid": B}, "$.iccid"),
        ({"ki": "00" * 15, "opc": OPC}, "$.ki"),
        ({"ki": KI}, "$.opc"),
        ({"ki": KI, "opc": OPC, "op": OP}, "$.opc"),
        ({"opc": OPC}, "$.ki"),
        ({"amf": "80"}, "$.amf"),
        ({"sqn": 2**48}, "$.sqn"),
        ({"algorithm": "tuak"}, "$.algorithm"),
        ({"state": "retired", "msisdn": NUMBER}, "$.msisdn"),
        ({"state": "stock", "service_id": "erin"}, "$.service_id"),
    ],
)
def test_a_field_that_is_wrong_is_named_and_nothing_is_kept(world: World, value: dict[str, Any], field: str) -> None:
    result = world.apply("put", "sim", A, sim() | value)
    assert (result.status, result.field) == ("error", field), result
    assert world.store.inventory.sim(A) is None
    assert world.store.inventory.numbers.count == 0


@pytest.mark.parametrize("iccid", ["8" * 17, "8" * 23, "x" * 19])
def test_an_iccid_has_18_to_22_digits(world: World, iccid: str) -> None:
    assert world.apply("put", "sim", iccid, sim()).field == "$.iccid"


def test_opc_is_derived_from_op_and_keys_that_are_not_pushed_are_kept(world: World) -> None:
    ok(world.apply("put", "sim", A, sim(ki=KI, op=OP)))
    record = world.store.inventory.sim(A)
    assert record is not None
    assert record.keys == bytes.fromhex(KI + OPC)
    ok(world.apply("put", "sim", A, sim(revision=2, batch="b")))
    assert record.keys == bytes.fromhex(KI + OPC)
    assert world.apply("put", "sim", A, sim(revision=2, batch="b", ki=KI, opc=OPC)).status == "stale"
    assert world.apply("put", "sim", A, sim(revision=2, batch="b", ki=KI, opc=KI)).status == "conflict"


def test_the_sequence_number_of_a_push_counts_only_at_the_beginning(world: World) -> None:
    ok(world.apply("put", "sim", A, sim(sqn=5000)))
    for revision, sqn in ((2, 1), (3, 9000)):
        ok(world.apply("put", "sim", A, sim(revision=revision, sqn=sqn)))
    record = world.store.inventory.sim(A)
    assert record is not None
    assert record.sqn == 5000


def test_revisions_settle_as_for_every_entity(world: World) -> None:
    ok(world.apply("put", "sim", A, sim(revision=5)))
    assert world.apply("put", "sim", A, sim(revision=5)).status == "stale"
    assert world.apply("put", "sim", A, sim(revision=4, batch="x")).status == "stale"
    assert world.apply("put", "sim", A, sim(revision=5, batch="x")).status == "conflict"
    ok(world.apply("repair", "sim", A, sim(revision=5, batch="x")))
    assert world.apply("transition", "sim", A, {"state": "retired", "revision": 4}).status == "stale"
    ok(world.apply("transition", "sim", A, {"state": "retired"}))
    assert entity_of(world.store, "sim", A).revision == 5  # type: ignore[union-attr]
    ok(world.apply("delete", "sim", A, None, revision=6))
    assert world.apply("put", "sim", A, sim(revision=6)).status == "stale"
    ok(world.apply("put", "sim", A, sim(revision=7)))


def test_a_sim_in_use_is_not_deleted(world: World) -> None:
    ok(world.apply("put", "sim", A, sim(service_id="erin", msisdn=NUMBER)))
    assert world.apply("delete", "sim", A, None, revision=2).error == "in_use"
    ok(world.apply("transition", "sim", A, {"state": "stock"}))
    ok(world.apply("delete", "sim", A, None, revision=2))
    assert number_state(world) == "quarantined"
    assert world.store.inventory.sim_of_imsi("001010000000001") is None


def test_replacing_is_one_step_that_tells_both_identities(world: World) -> None:
    ok(world.apply("put", "sim", A, sim(1, service_id="erin", state="activated", msisdn=NUMBER)))
    ok(world.apply("put", "sim", B, sim(2, msisdn="15550000002")))
    ok(world.apply("replace", "sim", A, {"iccid": B, "reason": "lost"}))
    old, new = world.store.inventory.sim(A), world.store.inventory.sim(B)
    assert old is not None
    assert new is not None
    assert (old.state, old.service, old.number) == ("retired", None, None)
    assert (new.state, new.service, new.number and new.number.msisdn) == (
        "activated", world.store.services["erin"], NUMBER,
    )  # fmt: skip
    assert (number_state(world), number_state(world, "15550000002")) == ("active", "quarantined")
    (event,) = [event for event in world.store.events if event.type == "sim.replaced"]
    assert (event.subject, event.service_id) == (A, "erin")
    assert event.data == {
        "state": "retired", "previous_state": "activated", "imsi": "001010000000001", "replaced_by": B,
        "new_imsi": "001010000000002", "msisdn": NUMBER, "reason": "lost",
    }  # fmt: skip
    assert world.store.inventory.sim_of_imsi("001010000000001") is None


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ({}, {}, "invalid_transition"),  # nothing to take over
        ({"service_id": "erin"}, {"service_id": "erin"}, "invalid_transition"),  # not in stock
        ({"service_id": "erin"}, {"operator": "mvno"}, "missing_reference"),
        ({"service_id": "erin"}, None, "missing_reference"),
    ],
)
def test_a_replacement_that_cannot_be_changes_nothing(
    world: World, old: dict[str, Any], new: dict[str, Any] | None, error: str
) -> None:
    ok(world.apply("put", "sim", A, sim(1, **old)))
    if new is not None:
        ok(world.apply("put", "sim", B, sim(2, **new)))
    before = [entity_of(world.store, "sim", iccid) for iccid in (A, B)]
    assert world.apply("replace", "sim", A, {"iccid": B}).error == error
    assert [entity_of(world.store, "sim", iccid) for iccid in (A, B)] == before


@pytest.mark.parametrize("end", ["delete", "terminate"])
def test_a_service_that_ends_frees_its_equipment(world: World, end: str) -> None:
    ok(world.apply("put", "sim", A, sim(1, service_id="erin", state="activated", msisdn=NUMBER)))
    ok(world.apply("put", "sim", B, sim(2, service_id="erin")))
    ok(world.apply("put", "number", "15550000002", {"revision": 1, "service_id": "erin"}))
    ok(world.apply("put", "device", "cpe", {"revision": 1, "service_id": "erin"}))
    if end == "delete":
        ok(world.apply("delete", "service", "erin", None, revision=2))
    else:
        ok(world.apply("state", "service", "erin", {"state": "terminated", "revision": 2}))
    assert (state(world, A), state(world, B)) == ("suspended", "stock")
    assert (number_state(world), number_state(world, "15550000002")) == ("active", "quarantined")
    device = world.store.inventory.devices["cpe"]
    assert (device.service, device.body.service_id) == (None, None)
    again = world.restart()
    assert (state(again, A), state(again, B)) == ("suspended", "stock")
    assert again.store.inventory.devices["cpe"].service is None


# Numbers


@pytest.mark.parametrize(("old", "new"), list(itertools.product(NUMBER_STATES, NUMBER_STATES)))
def test_a_number_steps_where_the_table_says_and_nowhere_else(world: World, old: NumberState, new: NumberState) -> None:
    served = ("assigned", "active")
    value = {"revision": 1, "state": old} | ({"service_id": "erin"} if old in served else {})
    ok(world.apply("put", "number", NUMBER, value))
    step = {"state": new, "service_id": "erin"} if new in served else {"state": new}
    result = world.apply("transition", "number", NUMBER, step)
    if new == old or new in NUMBER_TRANSITIONS[old]:
        ok(result)
        assert number_state(world) == new
    else:
        assert (result.error, result.field) == ("invalid_transition", "$.state")
        assert number_state(world) == old


@pytest.mark.parametrize("sim_state", SIM_STATES)
def test_a_number_follows_its_sim(world: World, sim_state: SimState) -> None:
    steps: dict[SimState, tuple[SimState, ...]] = {
        "stock": (),
        "assigned": ("assigned",),
        "activated": ("assigned", "activated"),
        "suspended": ("assigned", "activated", "suspended"),
        "retired": ("retired",),
    }
    ok(world.apply("put", "sim", A, sim(msisdn=NUMBER)))
    for step in steps[sim_state]:
        ok(world.apply("transition", "sim", A, {"state": step, "service_id": "erin" if step == "assigned" else None}))
    assert number_state(world) == NUMBER_OF_SIM[sim_state]


def test_a_number_is_bound_with_the_activation_and_rests_when_the_sim_gets_another(world: World) -> None:
    ok(world.apply("put", "sim", A, sim(service_id="erin")))
    ok(world.apply("transition", "sim", A, {"state": "activated", "msisdn": NUMBER}))
    ok(world.apply("patch", "sim", A, {"revision": 2, "msisdn": "15550000002"}))
    assert (number_state(world), number_state(world, "15550000002")) == ("quarantined", "active")
    assert world.apply("put", "sim", B, sim(2, msisdn=NUMBER)).error == "invalid_transition"
    assert world.apply("put", "sim", B, sim(2, msisdn="15550000002")).error == "duplicate_msisdn"
    assert world.store.inventory.sim(B) is None


def test_a_number_that_a_sim_has_is_changed_through_the_sim(world: World) -> None:
    ok(world.apply("put", "sim", A, sim(service_id="erin", msisdn=NUMBER)))
    for result in (
        world.apply("transition", "number", NUMBER, {"state": "quarantined"}),
        world.apply("put", "number", NUMBER, {"revision": 1, "state": "active", "service_id": "erin"}),
        world.apply("delete", "number", NUMBER, None, revision=1),
    ):
        assert result.error == "in_use"
    ok(world.apply("put", "number", NUMBER, {"revision": 1}))
    assert number_state(world) == "assigned"


def test_reservations_end_in_time_and_quarantines_do(world: World) -> None:
    value = {"revision": 1, "first": "49000", "last": "49009", "quarantine_s": 100.0}
    ok(world.apply("put", "number_range", "r", value))
    number = reserve(world.store, "r", 60.0, None, AT)
    assert (number.msisdn, number.until, next_deadline(world.store)) == ("49000", AT + 60, AT + 60)
    assert not expire(world.store, AT + 59.9)
    assert number_state(world, "49000") == "reserved"
    assert not expire(world.store, AT + 60)
    assert number_state(world, "49000") == "available"
    ok(world.apply("put", "sim", A, sim(service_id="erin", msisdn="49000")))
    ok(world.apply("transition", "sim", A, {"state": "retired"}, at=AT + 200))
    assert reserve(world.store, "r", 60.0, None, AT + 250).msisdn == "49001"
    expire(world.store, AT + 299.9)
    assert number_state(world, "49000") == "quarantined"
    expire(world.store, AT + 300)
    assert reserve(world.store, "r", 60.0, None, AT + 300).msisdn == "49000"
    assert events(world, "number.") == [
        "number.reserved", "number.available", "number.assigned", "number.quarantined", "number.reserved",
        "number.available", "number.reserved",
    ]  # fmt: skip


def test_a_reservation_that_was_used_does_not_end(world: World) -> None:
    ok(world.apply("put", "number_range", "r", {"revision": 1, "first": "49000", "last": "49009"}))
    number = reserve(world.store, "r", 60.0, None, AT)
    ok(world.apply("put", "sim", A, sim(service_id="erin", msisdn=number.msisdn)))
    expire(world.store, AT + 1000)
    assert number_state(world, number.msisdn) == "assigned"


def test_deadlines_end_a_slice_at_a_time(world: World) -> None:
    ok(world.apply("put", "number_range", "r", {"revision": 1, "first": "49000", "last": "49099"}))
    for _ in range(50):
        reserve(world.store, "r", 60.0, None, AT)
    assert expire(world.store, AT + 60, count=30)
    assert world.store.inventory.ranges.by_id["r"].counts["reserved"] == 20
    assert not expire(world.store, AT + 60, count=30)
    assert world.store.inventory.ranges.by_id["r"].counts["reserved"] == 0
    assert world.store.inventory.numbers.count == 0


def test_an_empty_range_is_exhausted_and_an_unknown_one_is_not_found(world: World) -> None:
    ok(world.apply("put", "number_range", "r", {"revision": 1, "first": "49000", "last": "49000"}))
    reserve(world.store, "r", 60.0, None, AT)
    for name, scope, error in (("r", None, "exhausted"), ("none", None, "not_found"), ("r", "mvno", "not_found")):
        with pytest.raises(Refused) as refusal:
            reserve(world.store, name, 60.0, scope, AT)
        assert refusal.value.error == error


def test_ranges_do_not_overlap_and_keep_numbers_that_are_in_use(world: World) -> None:
    ok(world.apply("put", "number", "49005", {"revision": 1, "service_id": "erin"}))
    ok(world.apply("put", "number_range", "r", {"revision": 1, "first": "49000", "last": "49009"}))
    assert world.store.inventory.ranges.by_id["r"].counts == {"assigned": 1}
    for first, last, field in (
        ("49009", "49020", "$.first"),
        ("49020", "49019", "$.last"),
        ("490200", "49029", "$.last"),
    ):
        result = world.apply("put", "number_range", "s", {"revision": 1, "first": first, "last": last})
        assert (result.status, result.field) == ("error", field)
    shrunk = world.apply("put", "number_range", "r", {"revision": 2, "first": "49006", "last": "49009"})
    assert shrunk.error == "in_use"
    ok(world.apply("put", "number_range", "r", {"revision": 2, "first": "49003", "last": "49019"}))
    assert world.apply("delete", "number_range", "r", None, revision=3).error == "in_use"
    ok(world.apply("transition", "number", "49005", {"state": "quarantined"}))
    ok(world.apply("transition", "number", "49005", {"state": "available"}))
    ok(world.apply("delete", "number_range", "r", None, revision=3))


def test_a_moment_is_text_or_seconds_and_has_a_zone(world: World) -> None:
    for until in ("2030-01-01T00:00:00Z", 1_893_456_000.0):
        value = {"revision": 1, "state": "reserved", "until": until}
        world.apply("put", "number", NUMBER, value)
        record = world.store.inventory.number(NUMBER)
        assert record is not None
        assert record.until == 1_893_456_000.0
    bad = world.apply("put", "number", NUMBER, {"revision": 2, "state": "reserved", "until": "2030-01-01T00:00:00"})
    assert (bad.status, bad.field) == ("error", "$.until")


# Devices


def test_devices_belong_to_services_and_have_a_mac_in_any_spelling(world: World) -> None:
    ok(world.apply("put", "device", "d", {"revision": 1, "mac": "0200.0000.0001", "service_id": "erin"}))
    assert world.store.inventory.devices["d"].mac == bytes.fromhex("020000000001")
    assert [each.body.id for each in world.store.services["erin"].equipment] == ["d"]
    assert world.apply("put", "device", "d", {"revision": 2, "mac": "02:00"}).field == "$.mac"
    assert world.apply("put", "device", "d", {"revision": 2, "imei": "1"}).field == "$.imei"
    assert world.apply("put", "device", "d", {"revision": 2, "service_id": "x"}).error == "missing_reference"
    ok(world.apply("delete", "device", "d", None, revision=2))
    assert world.store.services["erin"].equipment == ()


# Operators


def test_one_operator_neither_changes_nor_takes_what_is_anothers(world: World) -> None:
    ok(world.apply("put", "sim", A, sim(service_id="erin", msisdn=NUMBER)))
    ok(world.apply("put", "number_range", "r", {"revision": 1, "first": "49000", "last": "49009"}))
    ok(world.apply("put", "device", "d", {"revision": 1}))
    for op, kind, name, value in (
        ("patch", "sim", A, {"revision": 2, "batch": "x"}),
        ("transition", "sim", A, {"state": "retired"}),
        ("replace", "sim", A, {"iccid": B}),
        ("put", "number", "49001", {"revision": 1}),
        ("transition", "number", "49001", {"state": "reserved"}),
        ("put", "number_range", "r", {"revision": 2, "first": "49000", "last": "49001"}),
        ("put", "device", "d", {"revision": 2}),
        ("put", "sim", B, sim(2, operator="default")),
    ):
        assert world.apply(op, kind, name, value, operator="mvno").error == "forbidden", (op, kind)
    assert world.apply("put", "sim", B, sim(2, service_id="erin"), operator="mvno").error == "missing_reference"
    assert world.apply("put", "sim", B, sim(2, msisdn="49001"), operator="mvno").error == "duplicate_msisdn"
    ok(world.apply("put", "sim", B, sim(2), operator="mvno"))
    record = world.store.inventory.sim(B)
    assert record is not None
    assert record.operator == "mvno"


# What a restart brings back


def everything(world: World) -> dict[str, Any]:
    inventory = world.store.inventory
    ranges = inventory.ranges.by_id
    return {
        "sims": [(r.no, entity_of(world.store, "sim", r.iccid), r.keys) for r in inventory.sims.after(0)],
        "numbers": [(r.no, entity_of(world.store, "number", r.msisdn), r.until) for r in inventory.numbers.after(0)],
        "ranges": {name: (r.body, r.taken) for name, r in ranges.items()},
        "counts": {name: {k: v for k, v in r.counts.items() if v} for name, r in ranges.items()},
        "devices": {name: (r.no, r.body, r.mac) for name, r in inventory.devices.items()},
        "services": {
            name: sorted(type(each).__name__ + str(each.no) for each in r.equipment)
            for name, r in world.store.services.items()
        },
    }


def test_a_restart_brings_everything_back(world: World) -> None:
    ok(world.apply("put", "number_range", "r", {"revision": 1, "first": "0049000", "last": "0059999"}))
    ok(
        world.apply(
            "put", "sim", A, sim(1, ki=KI, opc=OPC, sqn=77, service_id="erin", state="activated", msisdn=NUMBER)
        )
    )
    ok(world.apply("put", "sim", C, sim(3, msisdn="0049001", batch="b")))
    ok(world.apply("put", "sim", B, sim(2)))
    ok(world.apply("replace", "sim", A, {"iccid": B}))
    ok(world.apply("put", "number", "0049003", {"revision": 1, "service_id": "erin"}))
    ok(world.apply("put", "device", "d", {"revision": 1, "mac": "02-00-00-00-00-01", "service_id": "erin"}))
    reserve(world.store, "r", 60.0, None, AT)
    before = everything(world)
    again = world.restart()
    assert everything(again) == before
    assert again.store.inventory.sim_of_imsi("001010000000002") is again.store.inventory.sim(B)
    assert next_deadline(again.store) == AT + 60
    expire(again.store, AT + 60)
    assert number_state(again, "0049000") == "available"


def test_a_place_is_not_used_again_after_a_restart(world: World) -> None:
    ok(world.apply("put", "sim", A, sim()))
    ok(world.apply("delete", "sim", A, None, revision=2))
    again = world.restart()
    ok(again.apply("put", "sim", B, sim(2)))
    record = again.store.inventory.sim(B)
    assert record is not None
    assert record.no == 2


def test_a_number_that_is_given_back_and_taken_in_one_group_is_kept(world: World) -> None:
    ok(world.apply("put", "number_range", "r", {"revision": 1, "first": "49000", "last": "49009"}))
    world.disk.settle()
    reserve(world.store, "r", 60.0, None, AT)
    world.disk.settle()
    expire(world.store, AT + 60)
    reserve(world.store, "r", 60.0, None, AT + 60)
    assert number_state(world.restart(), "49000") == "reserved"


def test_every_event_has_the_data_that_its_table_says(world: World) -> None:
    ok(world.apply("put", "number_range", "r", {"revision": 1, "first": "49000", "last": "49009"}))
    ok(world.apply("put", "sim", A, sim(1, msisdn="49000")))
    for step in ({"state": "assigned", "service_id": "erin"}, {"state": "stock"}):
        ok(world.apply("transition", "sim", A, step))
    ok(world.apply("transition", "sim", A, {"state": "assigned", "service_id": "erin"}))
    for name in ("activated", "suspended"):
        ok(world.apply("transition", "sim", A, {"state": name, "reason": "r"}))
    ok(world.apply("put", "sim", B, sim(2)))
    ok(world.apply("replace", "sim", A, {"iccid": B}))
    ok(world.apply("transition", "sim", B, {"state": "activated"}))
    ok(world.apply("transition", "sim", B, {"state": "retired"}))
    reserve(world.store, "r", 60.0, None, AT)
    expire(world.store, AT + 60)
    seen = set()
    for event in world.store.events:
        if event.type.startswith(("sim.", "number.")):
            seen.add(event.type)
            fields = {field.name: field for field in EVENT_TYPES[event.type].fields}
            assert set(event.data) <= set(fields), event
            assert {name for name, field in fields.items() if not field.optional} <= set(event.data), event
    assert seen == {name for name in EVENT_TYPES if name.startswith(("sim.", "number."))}
