"""Decisions: whatever happened, what is kept is what would be decided now."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from aaa.config.policy import compile_texts
from aaa.engine.decisions import decision_id
from aaa.engine.facts import session_facts_of
from aaa.model.accounting import Status
from aaa.model.operations import Operation
from aaa.model.records import ACTIVE
from aaa.state.entities import apply_operation
from policy.decide import decide
from policy.model import Decision, Rate
from policy.rules import Policy
from tests.engine.far_end import Field
from tests.engine.site import AT

POLICY = """
[facts.vip]
type = "bool"

[windows.night]
start = "22:00"
end = "06:00"

[[rule]]
name = "night"
when = 'now within window("night") and plan.kind == "internet"'
then = { rate_factor = 2.0 }

[[rule]]
name = "overdue"
when = "subscriber.billing.overdue_days > 3 and not subscriber.billing.vip"
then = { rate_max = "1M/1M" }

[[rule]]
name = "backup"
when = '"internet" in subscriber.online_kinds and plan.kind == "mobile"'
then = { rate_max = "64k/64k" }

[[rule]]
name = "tagged"
when = '"slow" in service.tags or "admin" in service.holds'
then = { rate_max = "128k/128k" }

[[rule]]
name = "most of it"
when = "quota.used_ratio >= 0.75"
then = { rate_max = "3M/3M" }

[[rule]]
name = "abroad"
when = 'session.nas.name == "far"'
then = { rate_max = "2M/2M" }
"""


def policy(text: str) -> Policy:
    """A compiled policy file."""
    return compile_texts({"test.toml": text})


def bare(whole: Decision) -> int:
    """The id of what is decided, without trace and validity."""
    return decision_id(Decision(**{name: getattr(whole, name) for name in BODY}))


BODY = [name for name in Decision.__struct_fields__ if name not in ("trace", "valid_until", "valid_below_octets")]
SERVICES = ("fibre", "backup", "other")
PLANS = ("home", "mobile", "capped", "fair", "shared")


class Life:
    """Random commands on a few services of two subscribers, and time that passes."""

    def __init__(self, seed: int, rules: str) -> None:
        self.random = Random(seed)
        self.it = Field(policy=policy(rules))
        self.rules = rules
        for name in PLANS:
            self.put_plan(name)
        self.it.put("plan", "extra", rate={"down_bps": 20_000_000, "up_bps": 1_000_000})
        for name in ("s1", "s2"):
            self.it.put("subscriber", name, groups=["g"])
        for name in SERVICES:
            self.put_service(name)
        self.nases = [self.it.nas("near"), self.it.nas("far")]
        self.octets: dict[int, int] = {}
        self.keys = 0

    def put_plan(self, name: str) -> None:
        pick = self.random.choice
        body: dict[str, Any] = {"rate": {"down_bps": pick([8_000_000, 9_000_000]), "up_bps": 1_000_000}}
        body["kind"] = "mobile" if name == "mobile" else "internet"
        if name in ("capped", "shared"):
            shared = "subscriber" if name == "shared" else "service"
            period = pick(["day", "month"]) if name == "capped" else "month"
            body["quota"] = {"octets": pick([5_000, 9_000]), "period": period, "shared": shared}
            throttle = {"throttle": {"down_bps": 500_000, "up_bps": 500_000}}
            body["on_exhausted"] = pick([["block"], [throttle]])
        if name == "fair":
            body["tiers"] = [{"above_octets": 4_000, "rate": {"down_bps": 4_000_000, "up_bps": 1_000_000}}]
            window = {"start": "10:00", "end": "12:00"}
            body["schedule"] = [{"window": window, "rate": {"down_bps": 30_000_000, "up_bps": 1_000_000}}]
        self.it.put("plan", name, **body)

    def put_service(self, name: str) -> None:
        pick, now = self.random.choice, self.it.now
        body: dict[str, Any] = {"plan_id": pick(PLANS), "state": pick(["active", "active", "restricted", "suspended"])}
        body["subscriber_id"] = "s2" if name == "other" else "s1"
        if pick([0, 0, 1]):
            body["overrides"] = {"rate": {"down_bps": 7_000_000, "up_bps": 1_000_000}}
        if pick([0, 0, 1]):
            body["expires_at"] = now + self.random.randrange(1, 200_000)
            if pick([0, 1]):
                body["grace_until"] = body["expires_at"] + 3_600
        if pick([0, 0, 1]):
            body["add_ons"] = ["extra"]
        body["credentials"] = [{"type": "password", "username": name, "cleartext": "secret"}]
        self.it.put("service", name, **body)

    def apply(self, op: Any, name: str, value: dict[str, Any]) -> None:
        apply_operation(self.it.store, Operation(op, "service", name, value), None, self.it.now)

    def step(self) -> None:
        """One command, or time."""
        pick, it = self.random.choice, self.it
        name = pick(SERVICES)
        what = self.random.randrange(14)
        if what == 0:
            it.now += pick([1.0, 60.0, 3_600.0, 40_000.0])
        elif what == 1:
            self.put_plan(pick(PLANS))
        elif what == 2:
            self.put_service(name)
        elif what == 3:
            billing = {"overdue_days": pick([0, 5]), "extra": {"vip": pick([True, False])}}
            it.put("subscriber", pick(["s1", "s2"]), groups=["g"], billing=billing)
        elif what == 4:
            until = pick([None, it.now + 100.0, it.now + 5_000.0])
            self.apply(
                "hold", name, {"kind": pick(["restrict", "suspend"]), "cause": pick(["admin", "x"]), "until": until}
            )
        elif what == 5:
            self.apply("restore", name, {})
        elif what == 6:
            self.apply("tag", name, {"add": pick([["slow"], []]), "remove": pick([["slow"], []])})
        elif what == 7:
            self.apply("top_up", name, {"id": str(it.revision), "octets": pick([100, 5_000])})
            it.revision += 1
        elif what == 8:
            self.keys += 1
            nas = pick(self.nases)
            it.report(Status.START, b"%d" % self.keys, it.now - AT, nas=nas, user_name=name.encode(),
                      calling_station=b"%d" % self.keys)  # fmt: skip
        elif what == 9:
            it.decisions.use(policy(self.rules.replace("> 3", pick(["> 3", "> 4"]))))
        elif what == 10 and it.store.services[name].live is not None:
            session = pick(it.store.services[name].live.sessions or [None])
            if session is not None:
                it.report(Status.STOP, session.key, it.now - AT, nas=session.nas, user_name=name.encode())
        else:
            self.report(name)

    def report(self, name: str) -> None:
        """Usage of one of its sessions."""
        it = self.it
        live = it.store.services[name].live
        for session in list(live.sessions)[:1] if live is not None else ():
            it.now += 30.0
            used = self.octets[session.id] = self.octets.get(session.id, 0) + self.random.randrange(2_000)
            time = int(it.now - session.started_at)
            it.report(Status.INTERIM, session.key, it.now - AT, nas=session.nas, user_name=name.encode(),
                      session_time_s=time, input_octets=used, output_octets=0)  # fmt: skip

    def check(self) -> None:
        """Everything that is kept is what would be decided now."""
        decisions, now = self.it.decisions, self.it.now
        for name in SERVICES:
            service = self.it.store.services[name]
            fresh = decide(decisions.facts_of(service, now), decisions.policy)
            assert decisions.of(service, now).id == bare(fresh), name
            for session in service.live.sessions if service.live is not None else ():
                place = session_facts_of(session)
                fresh = decide(decisions.facts_of(service, now, place), decisions.policy)
                assert decisions.of_session(session, now).id == bare(fresh), name


@pytest.mark.parametrize("rules", ["", POLICY, POLICY[: POLICY.index('[[rule]]\nname = "abroad"')]])
@pytest.mark.parametrize("seed", range(8))
def test_a_kept_decision_is_what_would_be_decided_now(seed: int, rules: str) -> None:
    life = Life(seed, rules)
    for _ in range(250):
        life.step()
        life.check()


@pytest.mark.parametrize("seed", range(8))
def test_every_live_session_that_should_change_is_found_without_looking_at_all(seed: int) -> None:
    life = Life(seed, POLICY)
    it = life.it
    for _ in range(200):
        life.step()
        it.settle()
        while it.far.waiting:
            it.answer()
        for session in list(it.store.sessions.values()):
            if session.state == ACTIVE and session.service is not None and session.id not in it.enforcer.ending:
                desired = it.decisions.of_session(session, it.now)
                assert session.desired is not None
                assert session.desired.id == desired.id, (session.service.body.id, session.desired.body, desired.body)


def test_a_decision_has_the_same_id_in_every_run() -> None:
    decision = Decision(True, "granted", rate=Rate(1_000_000, 2_000_000))
    assert decision_id(decision) == 2_866_276_209_729_164_836
    assert decision_id(decision) == decision_id(Decision(True, "granted", rate=Rate(1_000_000, 2_000_000)))
    assert decision_id(decision) != decision_id(Decision(True, "granted", rate=Rate(1_000_001, 2_000_000)))


def test_places_are_decided_apart_and_kept_within_a_bound() -> None:
    it = Field(policy=policy(POLICY))
    service = it.service(plan={"rate": {"down_bps": 8_000_000, "up_bps": 1_000_000}, "kind": "mobile"})
    near = it.login(nas=it.nas("near")).decision
    far = it.login(nas=it.nas("far")).decision
    assert near is not None
    assert far is not None
    assert (near.body.rate, far.body.rate) == (Rate(8_000_000, 1_000_000), Rate(2_000_000, 1_000_000))
    for number in range(50):
        it.login(nas=it.nas(f"nas-{number}"))
    assert service.live is not None
    assert service.live.variants is not None
    assert len(service.live.variants) <= 8
