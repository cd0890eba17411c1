"""Bearers in the engine's words: whatever is repeated, lost, overtaken or restarted, usage is counted once."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.engine.policy_control import (
    NOT_AUTHORISED,
    OK,
    UNKNOWN_SESSION,
    BearerOutcome,
    BearerRequest,
    PolicyControl,
    is_applied,
    note_number,
)
from aaa.limits import BEARER_NUMBERS_SEEN
from aaa.model.mobile import GxFacts
from aaa.model.records import ACTIVE, ENDED, SessionRecord
from aaa.state.mobile import client_of
from tests.engine.far_end import Field

IMSI, ICCID = "001010000000001", "8900100000000000001"
QOS = {"qci": 9, "arp": {"priority": 8}}
PLAN: dict[str, Any] = {
    "kind": "mobile",
    "rate": {"down_bps": 1_000_000, "up_bps": 1_000_000},
    "qos": QOS,
    "quota": {"octets": 10_000},
    "on_exhausted": [{"throttle": {"down_bps": 1_000, "up_bps": 1_000}}],
}


class Bearers:
    """A field with erin's SIM, and requests about her bearers."""

    def __init__(self, field: Field | None = None, **plan: Any) -> None:
        self.field = Field() if field is None else field
        if field is None:
            self.field.service("erin", plan=PLAN | plan)
            self.field.put("sim", ICCID, iccid=ICCID, imsi=IMSI, msisdn=None, service_id="erin", state="activated")
        self.control = PolicyControl(self.field.store, self.field.decisions)
        self.control.use(True, 1_000, 100)

    def request(self, number: int, key: bytes = b"s;1", **facts: Any) -> BearerRequest:
        nas = client_of(self.field.store, "smf.example", "example", "")
        request = BearerRequest(nas, key, number)
        request.imsi, request.apn, request.monitors = IMSI, "internet", True
        for name, value in facts.items():
            setattr(request, name, value)
        if request.used_input or request.used_output:
            request.reported = True
        return request

    def ask(self, kind: str, number: int, **facts: Any) -> BearerOutcome:
        it = self.field
        outcome: BearerOutcome = getattr(self.control, kind)(self.request(number, **facts), it.now)
        it.addresses.settle(it.now)
        it.settle(1.0)
        return outcome

    def session(self, key: bytes = b"s;1") -> SessionRecord:
        return self.field.store.nases["smf.example"].sessions[key]

    def used(self) -> tuple[int, int]:
        service = self.field.store.services["erin"]
        return service.input_octets, service.output_octets

    def again(self) -> Bearers:
        """A new process on the same disk."""
        return Bearers(self.field.restart())


def test_a_bearer_is_granted_up_to_the_next_crossing() -> None:
    it = Bearers()
    outcome = it.ask("begin", 0)
    assert (outcome.verdict, outcome.whole, outcome.granted) == (OK, True, 1_000)
    outcome = it.ask("update", 1, used_output=9_900)
    assert outcome.granted == 100
    outcome = it.ask("update", 2, used_output=100)
    assert outcome.decision is not outcome.confirmed
    assert outcome.decision is not None
    assert outcome.decision.body.reason == "throttled"


def test_members_of_a_shared_balance_cross_together() -> None:
    it = Bearers(quota={"octets": 5_000, "shared": "subscriber"})
    it.field.put("service", "backup", subscriber_id="erin", plan_id="home")
    it.ask("begin", 0)
    assert it.ask("update", 1, used_output=9_000).granted == 500
    assert it.ask("update", 2, used_output=850).granted == 100
    assert it.ask("update", 3, used_output=100).granted == 50


def test_a_client_that_cannot_monitor_is_asked_for_nothing() -> None:
    assert Bearers().ask("begin", 0, monitors=False).granted == 0


def test_a_plan_without_a_quota_is_not_monitored() -> None:
    it = Bearers(quota=None, on_exhausted=())
    assert it.ask("begin", 0).granted == 0


def test_a_bearer_of_a_blocked_service_goes_on_until_the_reconciler_ends_it() -> None:
    it = Bearers(on_exhausted=["block"])
    it.ask("begin", 0)
    outcome = it.ask("update", 1, used_output=10_000)
    assert (outcome.verdict, outcome.granted) == (OK, 0)
    assert it.field.far.actions == ["disconnect"]


def test_a_refused_bearer_leaves_nothing_behind() -> None:
    it = Bearers()
    outcome = it.ask("begin", 0, apn="other")
    assert outcome.verdict == NOT_AUTHORISED
    assert not it.field.store.sessions
    assert it.field.store.services["erin"].live is None


def test_a_client_that_counts_wrongly_still_ends_its_bearer() -> None:
    it = Bearers()
    it.ask("begin", 0)
    assert it.ask("end", 0, used_output=5).verdict == OK
    assert it.session().state == ENDED
    assert it.used() == (0, 5)
    assert it.ask("end", 0, used_output=5).repeated
    assert it.used() == (0, 5)


def test_what_comes_after_the_end_is_unknown() -> None:
    it = Bearers()
    it.ask("begin", 0)
    it.ask("end", 1)
    assert it.ask("end", 2, used_output=5).verdict == UNKNOWN_SESSION
    assert it.used() == (0, 0)


@pytest.mark.parametrize("jump", [1, 5, BEARER_NUMBERS_SEEN - 1, BEARER_NUMBERS_SEEN, 2**32 - 1])
def test_numbers_that_were_applied_are_known_whatever_the_gap(jump: int) -> None:
    facts = GxFacts(number=0)
    note_number(facts, jump)
    assert is_applied(facts, jump)
    assert is_applied(facts, 0)
    assert not is_applied(facts, jump + 1)
    if 1 < jump < BEARER_NUMBERS_SEEN:
        assert not is_applied(facts, 1)
        note_number(facts, 1)
        assert is_applied(facts, 1)


STEP = st.tuples(st.sampled_from(["next", "next", "repeat", "late", "lost", "restart"]), st.integers(0, 3_000))


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEP, max_size=14), seed=st.integers(0, 1 << 16))
def test_usage_counts_once_in_any_sequence_of_repeated_overtaken_and_lost_reports(
    steps: list[tuple[str, int]], seed: int
) -> None:
    random = Random(seed)
    it = Bearers()
    it.ask("begin", 0)
    sent: list[tuple[int, int]] = []
    late: list[tuple[int, int]] = []
    number = expected = 0
    for step, octets in steps:
        if step == "restart":
            it = it.again()
            continue
        if step == "repeat" and sent:
            chosen, used = random.choice(sent)
            assert it.ask("update", chosen, used_output=used).repeated
        elif step == "late" and late:
            chosen, used = late.pop(random.randrange(len(late)))
            assert not it.ask("update", chosen, used_output=used).repeated
            sent.append((chosen, used))
            expected += used
        else:
            number += 1
            if step == "lost":
                late.append((number, octets))
                continue
            it.ask("update", number, used_output=octets)
            sent.append((number, octets))
            expected += octets
        assert it.used() == (0, expected)
        assert it.session().state == ACTIVE
    it.ask("end", number + 1, used_input=7)
    it = it.again()
    it.ask("end", number + 1, used_input=7)
    assert it.used() == (7, expected)
    account = it.field.store.services["erin"].account
    assert (0 if account is None else account.charged_octets) == expected + 7
    assert it.session().state == ENDED
