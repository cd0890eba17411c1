"""The compact indexes and ranges: the same as a dict and a set would say."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.model.inventory import NumberRange
from aaa.model.shelves import BLOCK, Inventory, NumberRecord, RangeRecord, Ranges, SimRecord, pack, unpack

ICCIDS = [f"{head}{tail:012d}" for head in ("890010", "089001", "8900100000") for tail in range(12)]


def put(inventory: Inventory, iccid: str, imsi: str) -> SimRecord:
    record = SimRecord(inventory.sims.next_place(), iccid, imsi, "default")
    inventory.sims.place(record, record.no)
    inventory.sims_by_iccid.add(record.no, record.iccid_head, record.iccid_tail)
    inventory.sims_by_imsi.add(record.no, 0, record.packed_imsi)
    return record


def take(inventory: Inventory, record: SimRecord) -> None:
    inventory.sims_by_iccid.remove(record.iccid_head, record.iccid_tail)
    inventory.sims_by_imsi.remove(0, record.packed_imsi)
    inventory.sims.take(record.no, again=False)


@given(st.lists(st.tuples(st.sampled_from(range(len(ICCIDS))), st.booleans()), max_size=200))
@settings(max_examples=100, deadline=None)
def test_an_index_finds_what_a_dict_would(steps: list[tuple[int, bool]]) -> None:
    inventory = Inventory()
    known: dict[int, SimRecord] = {}
    for which, adds in steps:
        if adds and which not in known:
            known[which] = put(inventory, ICCIDS[which], f"{which:06d}")
        elif not adds and which in known:
            take(inventory, known.pop(which))
    for which, iccid in enumerate(ICCIDS):
        record = known.get(which)
        assert inventory.sim(iccid) is record
        assert inventory.sim_of_imsi(f"{which:06d}") is record
        if record is not None:
            assert (record.iccid, record.imsi) == (iccid, f"{which:06d}")
    assert list(inventory.sims.after(0)) == sorted(known.values(), key=lambda record: record.no)


def test_an_index_grows_and_is_rebuilt_without_losing_anything() -> None:
    inventory = Inventory()
    records = [put(inventory, f"89001{n:014d}", f"00101{n:010d}") for n in range(5000)]
    for record in records[::2]:
        take(inventory, record)
    more = [put(inventory, f"89002{n:014d}", f"00102{n:010d}") for n in range(5000)]
    for record in [*records[1::2], *more]:
        assert inventory.sim(record.iccid) is record
        assert inventory.sim_of_imsi(record.imsi) is record
    assert all(inventory.sim(f"89001{n:014d}") is None for n in range(0, 5000, 2))


@pytest.mark.parametrize("text", ["", "x", "8900100000000000x", "8" * 17, "8" * 23, "٨" * 19, "-" + "8" * 18])
def test_what_is_no_identity_is_not_found(text: str) -> None:
    inventory = Inventory()
    assert inventory.sim(text) is None
    assert inventory.sim_of_imsi(text) is None
    assert inventory.number(text) is None


def test_leading_zeros_and_lengths_count() -> None:
    inventory = Inventory()
    for msisdn in ("00123", "000123", "0000123", "12345"):
        record = NumberRecord(msisdn, "default")
        record.no = inventory.numbers.next_place()
        inventory.numbers.place(record, record.no)
        inventory.numbers_by_msisdn.add(record.no, 0, record.packed)
        assert record.msisdn == msisdn
    assert inventory.number("00123") is not inventory.number("000123")
    assert inventory.number("123") is None
    assert unpack(pack("000")) == "000"


@pytest.mark.parametrize("size", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
def test_a_range_gives_out_each_of_its_numbers_from_the_lowest_on(size: int) -> None:
    first = 10_000_000
    record = RangeRecord(NumberRange(str(first), str(first + size - 1)))
    given_out = []
    while (lowest := record.lowest()) is not None:
        record.move(lowest, "available", "reserved")
        given_out.append(int(unpack(lowest)))
    assert given_out == list(range(first, first + size))
    assert record.counts == {"reserved": size}


def test_a_number_that_comes_back_is_the_next() -> None:
    record = RangeRecord(NumberRange("100000", "199999"))
    chosen = random.Random(1)
    for _ in range(2 * BLOCK):
        lowest = record.lowest()
        assert lowest is not None
        record.move(lowest, "available", "active")
    back = sorted(chosen.sample(range(2 * BLOCK), 50))
    for offset in back:
        record.move(record.first + offset, "active", "available")
    for offset in back:
        assert record.lowest() == record.first + offset
        record.move(record.first + offset, "available", "active")
    assert record.lowest() == record.first + 2 * BLOCK


def test_a_huge_range_costs_nothing_until_its_numbers_are_used() -> None:
    record = RangeRecord(NumberRange("100000000000000", "999999999999999"))
    assert record.size == 9 * 10**14
    record.move(pack("500000000000000"), "available", "active")
    assert len(record.taken) == 1
    assert record.lowest() == pack("100000000000000")


def test_ranges_are_found_by_their_numbers_and_may_not_overlap() -> None:
    ranges = Ranges()
    low, high = RangeRecord(NumberRange("1000", "1999", id="a")), RangeRecord(NumberRange("3000", "3999", id="b"))
    ranges.add(high)
    ranges.add(low)
    found = {text: ranges.of(pack(text)) for text in ("0999", "1000", "1999", "2000", "3000", "4000", "01000")}
    assert found == {"0999": None, "1000": low, "1999": low, "2000": None, "3000": high, "4000": None, "01000": None}
    overlaps = {
        (first, last): ranges.overlapping(pack(first), pack(last), None)
        for first, last in (("0000", "0999"), ("0000", "1000"), ("1999", "2500"), ("2000", "2999"), ("2000", "9999"))
    }
    assert list(overlaps.values()) == [None, low, low, None, high]
    assert ranges.overlapping(pack("1500"), pack("2500"), low) is None
    ranges.remove(low)
    assert ranges.of(pack("1000")) is None
