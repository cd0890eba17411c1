"""Whatever is reserved, bound, given up, expired or restarted: no number twice, and none before its rest is over."""

import random
from typing import Any

import pytest

from aaa.model.shelves import pack
from aaa.state.inventory import entity_of
from aaa.state.numbers import expire, next_deadline, reserve
from aaa.state.operations import Refused
from tests.state.world import AT, World

QUARANTINE_S = 1000.0
TTL_S = 50.0
FIRST, LAST = 49000, 49039


class Story:
    """A world with one range, driven by a seed, beside what a simple book-keeper expects."""

    def __init__(self, seed: int) -> None:
        self.seed = random.Random(seed)
        self.world = World()
        self.world.service("erin")
        value = {"revision": 1, "first": str(FIRST), "last": str(LAST), "quarantine_s": QUARANTINE_S}
        assert self.world.apply("put", "number_range", "r", value).status == "applied"
        self.at = AT
        self.held: dict[str, tuple[str, float]] = {}
        """number -> (state, until)"""
        self.sims: dict[str, str] = {}
        """ICCID -> number"""
        self.count = 0

    def expected_lowest(self) -> str | None:
        return next((str(n) for n in range(FIRST, LAST + 1) if str(n) not in self.held), None)

    def step(self) -> None:
        getattr(
            self, self.seed.choice(("reserve", "reserve", "bind", "activate", "retire", "wait", "restart", "release"))
        )()

    def reserve(self) -> None:
        expected = self.expected_lowest()
        if expected is None:
            with pytest.raises(Refused):
                reserve(self.world.store, "r", TTL_S, None, self.at)
            return
        assert reserve(self.world.store, "r", TTL_S, None, self.at).msisdn == expected
        self.held[expected] = ("reserved", self.at + TTL_S)

    def bind(self) -> None:
        """A new SIM takes a number: one that may be had, or one that may not."""
        msisdn = str(self.seed.randint(FIRST, LAST))
        self.count += 1
        iccid = f"8900{self.count:015d}"
        value = {"revision": 1, "imsi": f"00101{self.count:010d}", "msisdn": msisdn, "service_id": "erin"}
        result = self.apply("put", iccid, value)
        if self.held.get(msisdn, ("reserved", 0.0))[0] == "reserved":
            assert result.status == "applied"
            self.held[msisdn] = ("assigned", 0.0)
            self.sims[iccid] = msisdn
        else:
            assert result.error in ("duplicate_msisdn", "invalid_transition")

    def activate(self) -> None:
        for iccid in self.pick():
            assert self.apply("transition", iccid, {"state": "activated"}).status == "applied"
            self.held[self.sims[iccid]] = ("active", 0.0)

    def retire(self) -> None:
        for iccid in self.pick():
            assert self.apply("transition", iccid, {"state": "retired"}).status == "applied"
            self.held[self.sims.pop(iccid)] = ("quarantined", self.at + QUARANTINE_S)

    def release(self) -> None:
        reserved = sorted(msisdn for msisdn, (state, _) in self.held.items() if state == "reserved")
        if reserved:
            msisdn = self.seed.choice(reserved)
            result = self.world.apply("transition", "number", msisdn, {"state": "available"}, at=self.at)
            assert result.status == "applied"
            del self.held[msisdn]

    def wait(self) -> None:
        self.at += self.seed.choice((1.0, TTL_S, QUARANTINE_S / 3))
        expire(self.world.store, self.at)
        self.held = {m: (state, until) for m, (state, until) in self.held.items() if not until or until > self.at}

    def restart(self) -> None:
        self.world = self.world.restart()

    def pick(self) -> list[str]:
        return [self.seed.choice(sorted(self.sims))] if self.sims else []

    def apply(self, op: str, iccid: str, value: dict[str, Any]) -> Any:
        return self.world.apply(op, "sim", iccid, value, at=self.at)

    def check(self) -> None:
        inventory = self.world.store.inventory
        found = {record.msisdn: (record.state, record.until) for record in inventory.numbers.after(0)}
        assert found == self.held
        record = inventory.ranges.by_id["r"]
        states = [state for state, _ in self.held.values()]
        assert {name: count for name, count in record.counts.items() if count} == {
            s: states.count(s) for s in set(states)
        }
        lowest = self.expected_lowest()
        assert record.lowest() == (None if lowest is None else pack(lowest))
        ends = [until for _, until in self.held.values() if until]
        deadline = next_deadline(self.world.store)
        assert not ends or (deadline is not None and deadline <= min(ends))
        holders = [entity_of(self.world.store, "sim", iccid).msisdn for iccid in self.sims]  # type: ignore[union-attr]
        assert len(set(holders)) == len(holders)


@pytest.mark.parametrize("seed", range(40))
def test_no_number_is_given_out_twice_nor_before_its_time(seed: int) -> None:
    story = Story(seed)
    for _ in range(150):
        story.step()
        story.check()
