"""What memory holds of SIMs, numbers, ranges and devices, and the compact indexes over them.

Compiled (shelves.pxd): identities are numbers of 64 bits, so a SIM with its number takes about 350 bytes, indexes
included. Knows records; no command and no storage.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aaa.model.inventory import Device, NumberRange, NumberState, SimState
    from aaa.model.records import ServiceRecord

ICCID_TAIL = 12
"""Digits of an ICCID that are kept apart: 22 do not fit into 64 bits."""
BLOCK = 4096
"""Numbers of a range that share one map of bits."""


def pack(digits: str) -> int:
    """Up to 17 digits as a number that keeps leading zeros."""
    return int("1" + digits)


def unpack(packed: int) -> str:
    """The inverse."""
    return str(packed)[1:]


class SimRecord:
    """A SIM."""

    no: int
    """Its row, and its place on the shelf; never used again."""
    revision: int
    iccid_head: int
    iccid_tail: int
    packed_imsi: int
    sqn: int
    """The last one given out, or one that is ahead of it; never falls but by a verified AUTS."""
    sqn_reserved: int
    """Up to which it may be given out without a row; see aaa/state/sequence.py."""
    amf: int
    state: SimState
    keys: bytes | None
    """K and OPc, 16 octets each. Security: never shown."""
    number: NumberRecord | None
    service: ServiceRecord | None
    operator: str
    batch: str

    def __init__(self, no: int, iccid: str, imsi: str, operator: str) -> None:
        self.no = no
        self.revision = 0
        self.iccid_head = pack(iccid[:-ICCID_TAIL])
        self.iccid_tail = int(iccid[-ICCID_TAIL:])
        self.packed_imsi = pack(imsi)
        self.sqn = 0
        self.sqn_reserved = 0
        self.amf = 0x8000
        self.state = "stock"
        self.keys = None
        self.number = None
        self.service = None
        self.operator = operator
        self.batch = ""

    @property
    def iccid(self) -> str:
        return f"{unpack(self.iccid_head)}{self.iccid_tail:012d}"

    @property
    def imsi(self) -> str:
        return unpack(self.packed_imsi)


class NumberRecord:
    """A number that somebody has, had lately, or that billing pushed; what is merely in a range has no record."""

    no: int
    """Its place on the shelf."""
    revision: int
    packed: int
    until: float
    """End of the reservation or quarantine; 0.0: none."""
    state: NumberState
    sim: SimRecord | None
    service: ServiceRecord | None
    """That has it without a SIM."""
    operator: str

    def __init__(self, msisdn: str, operator: str) -> None:
        self.no = 0
        self.revision = 0
        self.packed = pack(msisdn)
        self.until = 0.0
        self.state = "available"
        self.sim = None
        self.service = None
        self.operator = operator

    @property
    def msisdn(self) -> str:
        return unpack(self.packed)


class DeviceRecord:
    """A device."""

    no: int
    body: Device
    mac: bytes | None
    """Six octets."""
    service: ServiceRecord | None

    def __init__(self, no: int, body: Device) -> None:
        self.no = no
        self.body = body
        self.mac = None
        self.service = None


class RangeRecord:
    """A range: who has which of its numbers, as bits; none for blocks of which nobody has any."""

    body: NumberRange
    first: int
    last: int
    taken: dict[int, int]
    """Block -> bits of its numbers that are not available."""
    counts: dict[str, int]
    """By state, of those that are not available."""
    open_block: int
    """No block before it has an available number."""

    def __init__(self, body: NumberRange) -> None:
        self.body = body
        self.first = pack(body.first)
        self.last = pack(body.last)
        self.taken = {}
        self.counts = {}
        self.open_block = 0

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    def move(self, packed: int, old: str, new: str) -> None:
        """A number of the range goes from one state to another."""
        for state, step in ((old, -1), (new, 1)):
            if state != "available":
                self.counts[state] = self.counts.get(state, 0) + step
        block, bit = divmod(packed - self.first, BLOCK)
        if old == "available" and new != "available":
            self.taken[block] = self.taken.get(block, 0) | 1 << bit
        elif old != "available" and new == "available":
            left = self.taken[block] & ~(1 << bit)
            if left:
                self.taken[block] = left
            else:
                del self.taken[block]
            self.open_block = min(self.open_block, block)

    def lowest(self) -> int | None:
        """The lowest available number, packed; None: there is none. The same in every run, whatever came before."""
        blocks, rest = divmod(self.size, BLOCK)
        while self.open_block < blocks + (rest > 0):
            bits = self.taken.get(self.open_block, 0)
            bit = (~bits & (bits + 1)).bit_length() - 1
            if bit < (BLOCK if self.open_block < blocks else rest):
                return self.first + self.open_block * BLOCK + bit
            self.open_block += 1
        return None


ICCID, IMSI, MSISDN = 0, 1, 2
"""What an index finds records by."""
EMPTY, GONE = -1, -2


class DigitIndex:
    """Places on a shelf by one identity: open addressing, 4 octets a slot, keys looked up in the records."""

    which: int
    shelf: Shelf
    slots: Any
    mask: int
    used: int
    """Slots that are not EMPTY."""
    count: int

    def __init__(self, which: int, shelf: Shelf) -> None:
        self.which = which
        self.shelf = shelf
        self.slots = array("i", [EMPTY]) * 64
        self.mask = 63
        self.used = 0
        self.count = 0

    def is_at(self, no: int, head: int, tail: int) -> bool:
        """Whether the record at this place has this identity."""
        record = self.shelf.records[no]
        if self.which == MSISDN:
            number: NumberRecord = record
            return number.packed == tail
        sim: SimRecord = record
        if self.which == IMSI:
            return sim.packed_imsi == tail
        return sim.iccid_tail == tail and sim.iccid_head == head

    def find(self, head: int, tail: int) -> int:
        """The place of the record with this identity; EMPTY: there is none. head: 0 but for ICCIDs."""
        slot = spread(head, tail) & self.mask
        while True:
            no: int = self.slots[slot]
            if no == EMPTY:
                return EMPTY
            if no != GONE and self.is_at(no, head, tail):
                return no
            slot = (slot + 1) & self.mask

    def add(self, no: int, head: int, tail: int) -> None:
        """The record at this place; its identity is not in the index yet."""
        if (self.used + 1) * 3 > (self.mask + 1) * 2:
            self.rebuild()
        self.put(no, head, tail)
        self.count += 1

    def put(self, no: int, head: int, tail: int) -> None:
        """Into the first EMPTY slot."""
        slot = spread(head, tail) & self.mask
        while self.slots[slot] != EMPTY:
            slot = (slot + 1) & self.mask
        self.slots[slot] = no
        self.used += 1

    def remove(self, head: int, tail: int) -> None:
        """The identity, which is in the index."""
        slot = spread(head, tail) & self.mask
        while True:
            no = self.slots[slot]
            if no >= 0 and self.is_at(no, head, tail):
                break
            slot = (slot + 1) & self.mask
        self.slots[slot] = GONE
        self.count -= 1

    def rebuild(self) -> None:
        """Room for twice as many as there are, and no slots that are GONE."""
        old = self.slots
        size = 64
        while size < self.count * 3:
            size *= 2
        self.slots = array("i", [EMPTY]) * size
        self.mask = size - 1
        self.used = 0
        for no in old:
            if no >= 0:
                self.put_again(no)

    def put_again(self, no: int) -> None:
        """The record at this place, by the identity it has."""
        record = self.shelf.records[no]
        if self.which == MSISDN:
            number: NumberRecord = record
            self.put(no, 0, number.packed)
            return
        sim: SimRecord = record
        if self.which == IMSI:
            self.put(no, 0, sim.packed_imsi)
        else:
            self.put(no, sim.iccid_head, sim.iccid_tail)


def spread(head: int, tail: int) -> int:
    """Well-mixed bits of an identity: the same in every run."""
    mixed = ((tail + head * 1_000_003) * 0x1E3779B97F4A7C15) & 0x7FFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 29)) & 0x7FFFFFFF


class Shelf:
    """Records by place: a list, half of what a dict takes, and an order for pages."""

    records: list[Any]
    free: list[int]
    """Places to use again."""
    count: int

    def __init__(self) -> None:
        self.records = [None]
        self.free = []
        self.count = 0

    def place(self, record: Any, no: int) -> None:
        """Put a record at a place that is not in use."""
        if no >= len(self.records):
            self.records.extend([None] * (no + 1 - len(self.records)))
        self.records[no] = record
        self.count += 1

    def take(self, no: int, again: bool) -> None:
        """Clear a place. again: it may be used again."""
        self.records[no] = None
        self.count -= 1
        if again:
            self.free.append(no)

    def next_place(self) -> int:
        """A place for a new record."""
        return self.free.pop() if self.free else len(self.records)

    def after(self, no: int) -> Iterator[Any]:
        """Records at later places, while others come and go."""
        place = no + 1
        while place < len(self.records):
            record = self.records[place]
            if record is not None:
                yield record
            place += 1


def numbers_between(records: list[NumberRecord | None], first: int, last: int) -> list[NumberRecord]:
    """Records of numbers from first to last, packed."""
    found = []
    for record in records:
        if record is not None and first <= record.packed <= last:
            found.append(record)  # noqa: PERF401 - a comprehension would not be typed for the compiler
    return found


class Ranges:
    """Number ranges in the order of their numbers; they do not overlap."""

    def __init__(self) -> None:
        self.by_id: dict[str, RangeRecord] = {}
        self._order: list[RangeRecord] = []
        self._firsts: list[int] = []

    def of(self, packed: int) -> RangeRecord | None:
        """The range that a number belongs to."""
        place = bisect_right(self._firsts, packed) - 1
        if place < 0:
            return None
        found = self._order[place]
        return found if packed <= found.last else None

    def overlapping(self, first: int, last: int, own: RangeRecord | None) -> RangeRecord | None:
        """Another range that shares a number with these."""
        for found in self._order[max(bisect_right(self._firsts, first) - 1, 0) : bisect_right(self._firsts, last)]:
            if found is not own and found.first <= last and first <= found.last:
                return found
        return None

    def add(self, record: RangeRecord) -> None:
        place = bisect_right(self._firsts, record.first)
        self._order.insert(place, record)
        self._firsts.insert(place, record.first)
        self.by_id[record.body.id] = record

    def remove(self, record: RangeRecord) -> None:
        place = self._order.index(record)
        del self._order[place]
        del self._firsts[place]
        del self.by_id[record.body.id]


class Inventory:
    """Every SIM, number, range and device, and what finds them."""

    def __init__(self) -> None:
        self.sims = Shelf()
        self.sims_by_iccid = DigitIndex(ICCID, self.sims)
        self.sims_by_imsi = DigitIndex(IMSI, self.sims)
        """Not those that are retired: their IMSI may be used again."""
        self.numbers = Shelf()
        self.numbers_by_msisdn = DigitIndex(MSISDN, self.numbers)
        self.ranges = Ranges()
        self.devices: dict[str, DeviceRecord] = {}
        self.device_shelf = Shelf()
        self.deadlines: list[tuple[float, int]] = []
        """Heap of (moment, number, packed) at which reservations and quarantines end; some are over already."""

    def sim(self, iccid: str) -> SimRecord | None:
        """By ICCID, a digit string."""
        if not (iccid.isascii() and iccid.isdigit() and 18 <= len(iccid) <= 22):
            return None
        no = self.sims_by_iccid.find(pack(iccid[:-ICCID_TAIL]), int(iccid[-ICCID_TAIL:]))
        return None if no < 0 else self.sims.records[no]

    def sim_of_imsi(self, imsi: str) -> SimRecord | None:
        """The SIM that this IMSI names now: a retired one is not found."""
        if not (imsi.isascii() and imsi.isdigit() and 6 <= len(imsi) <= 15):
            return None
        no = self.sims_by_imsi.find(0, pack(imsi))
        return None if no < 0 else self.sims.records[no]

    def number(self, msisdn: str) -> NumberRecord | None:
        """By MSISDN; None also for a number that is merely in a range."""
        if not (msisdn.isascii() and msisdn.isdigit() and 5 <= len(msisdn) <= 15):
            return None
        no = self.numbers_by_msisdn.find(0, pack(msisdn))
        return None if no < 0 else self.numbers.records[no]
