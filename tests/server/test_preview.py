"""A preview says what the engine then does: each packet, to each session, and nothing else."""

from __future__ import annotations

import asyncio
import copy
import random
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from aaa.config import Nas, Redacted
from aaa.config.policy import compile_texts
from aaa.model.accounting import Status
from aaa.model.operations import Actor, Operation
from aaa.model.records import DecisionRecord
from aaa.radius.clients import Clients
from aaa.server import preview as previews
from aaa.server.policies import adopt_plans
from aaa.server.preview import Preview
from aaa.state.entities import apply_operation
from policy.rules import Policy
from tests.engine.far_end import FarEnd, Field, nak
from tests.engine.site import AT

ADMIN = Actor("tests", "admin")
RATE = {"down_bps": 10_000_000, "up_bps": 1_000_000}
FAST = {"down_bps": 50_000_000, "up_bps": 5_000_000}
POLICY = """
[[rule]]
name = "overdue"
when = "subscriber.billing.overdue_days > 7"
then = { rate_max = "1M/1M", walled_garden = true }

[[rule]]
name = "tower"
when = 'session.nas.name == "west" and plan.kind == "wifi"'
then = { rate_factor = 0.5 }

[[rule]]
name = "heavy"
when = "quota.used_ratio > 0.8"
then = { rate_max = "2M/2M" }

[[automation]]
name = "long-overdue"
on = "subscriber.billing_changed"
when = "subscriber.billing.overdue_days > 30"
do = "suspend"
"""


class Site(Field):
    """A field with three NASes, and previews of it."""

    def __init__(self, policy: str = "") -> None:
        super().__init__(policy=compile_texts({"policy.toml": policy}))
        self.nases = [self.nas(name, family="mikrotik") for name in ("west", "east", "north")]
        configured = [Nas(name=nas.name, address=(f"192.0.2.{n}",), secret=Redacted("testing123"))
                      for n, nas in enumerate(self.nases, 1)]  # fmt: skip
        far: Any = self.far
        far.posture = lambda nas: SimpleNamespace(keys=-1)
        far.show = lambda octets: ((octets.hex(), ""),)
        self.server: Any = SimpleNamespace(
            store=self.store, decisions=self.decisions, enforcer=self.enforcer, automator=self.automator,
            sync=SimpleNamespace(refuse_attributes=lambda operation: None),
            network=far, clients=Clients(configured),
        )  # fmt: skip

    def people(self, count: int, seed: int = 1) -> None:
        """Subscribers with services of all kinds, most of them online."""
        dice = random.Random(seed)
        self.put("plan", "home", rate=RATE)
        self.put("plan", "wifi", rate=RATE, kind="wifi")
        capped = {"quota": {"octets": 1000}, "on_exhausted": [{"throttle": {"down_bps": 64_000, "up_bps": 64_000}}]}
        self.put("plan", "capped", rate=RATE, **capped)
        self.put("plan", "shared", rate=RATE, quota={"octets": 3000, "shared": "subscriber"}, on_exhausted=["block"])
        self.put("plan", "boost", rate=FAST)
        self.put("plan", "team", rate=RATE, quota={"octets": 2000, "shared": "group"}, on_exhausted=["block"])
        for number in range(count):
            owner = f"s{number}"
            groups = dice.choice(((), (), ("red",), ("blue",)))
            self.put("subscriber", owner, billing={"overdue_days": dice.choice((0, 0, 10, 40))}, groups=groups)
            for part in range(dice.choice((1, 1, 3))):
                name = f"{owner}-{part}"
                body: dict[str, Any] = {"plan_id": dice.choice(("home", "wifi", "capped", "shared", "team"))}
                if dice.random() < 0.2:
                    body["overrides"] = {"rate": FAST}
                if dice.random() < 0.2:
                    body["add_ons"] = ["boost"]
                credentials = [{"type": "password", "username": name, "cleartext": "secret"}]
                self.put("service", name, subscriber_id=owner, credentials=credentials, **body)
                if dice.random() < 0.8:
                    self.online(name, name.encode(), nas=dice.choice(self.nases))
                    used = dice.choice((0, 0, 500, 900, 2000))
                    if used:
                        self.use(name, used)
        self.settle(1.0)
        self.answer_all()

    def use(self, name: str, octets: int) -> None:
        session = next(iter(self.sessions_of(name)), None)
        if session is not None:
            self.report(Status.INTERIM, name.encode(), self.now - AT, nas=session.nas,
                        user_name=name.encode(), output_octets=octets, input_octets=0)  # fmt: skip

    def sessions_of(self, name: str) -> list[Any]:
        live = self.store.services[name].live
        return list(live.sessions) if live is not None else []

    def answer_all(self) -> None:
        for _ in range(10_000):
            if not self.far.waiting:
                return
            self.answer()
        raise AssertionError("it never ends")

    def preview(self, *operations: Operation, policy: Policy | None = None, actor: Actor = ADMIN) -> Preview:
        found = Preview(self.server, policy, copy.deepcopy(operations), actor, self.now)
        asyncio.run(found.run())
        return found

    def apply(self, *operations: Operation, policy: Policy | None = None) -> list[str]:
        """For real; the status of each operation."""
        if policy is not None:
            self.decisions.use(policy)
            adopt_plans(self.store, policy, self.now)
        results = [apply_operation(self.store, operation, None, self.now) for operation in copy.deepcopy(operations)]
        self.settle()
        return [result.status for result in results]


def predicted(preview: Preview) -> set[tuple[Any, ...]]:
    """Session and action; of a CoA also from and to."""
    return {
        packet(each.session_id, each.action, each.confirmed, each.desired)
        for each in preview.enforcer.predictions.values()
    }


def sent(far: FarEnd) -> set[tuple[Any, ...]]:
    """The same of what left."""
    return {packet(each.session.id, each.action, each.session.decision, each.desired) for each in far.sent}


def packet(session: int, action: str, confirmed: DecisionRecord | None, desired: DecisionRecord | None) -> Any:
    if action == "disconnect":
        return session, action
    return session, action, None if confirmed is None else confirmed.id, None if desired is None else desired.id


def patch(kind: Any, name: str, **value: Any) -> Operation:
    return Operation("patch", kind, name, {"revision": 10**6, **value})


def show(preview: Preview, after: int = 0) -> Any:
    """As the API tells it, three sessions a page."""
    return msgspec.json.decode(msgspec.json.encode(asyncio.run(preview.show(3, after))))


QUIET = ("a hold and a tag", "a top-up", "groups", "what is stale or wrong", "a deletion", "all in one group",
         "a smaller quota of teams")  # fmt: skip
"""Changes of whoever happens to be online, or of nobody."""
CHANGES: dict[str, list[Operation]] = {
    "a faster plan": [patch("plan", "home", rate=FAST)],
    "a smaller quota": [patch("plan", "capped", quota={"octets": 400})],
    "a smaller shared quota": [patch("plan", "shared", quota={"octets": 400, "shared": "subscriber"})],
    "a quota where there was none": [patch("plan", "home", quota={"octets": 10}, on_exhausted=["block"])],
    "no quota any more": [patch("plan", "capped", quota=None, on_exhausted=None)],
    "a slower add-on": [patch("plan", "boost", rate={"down_bps": 1, "up_bps": 1})],
    "overdue": [patch("subscriber", "s1", billing={"overdue_days": 12}), patch("subscriber", "s2", billing={})],
    "overdue for long": [patch("subscriber", f"s{n}", billing={"overdue_days": 31}) for n in range(8)],
    "suspended": [
        Operation("state", "service", f"s{n}-0", {"state": "suspended", "revision": 10**6}) for n in range(3, 9)
    ],
    "another plan": [patch("service", f"s{n}-0", plan_id=("shared", "capped")[n % 2]) for n in range(12)],
    "a new plan and who gets it": [
        Operation("put", "plan", "new", {"revision": 1, "rate": FAST, "kind": "wifi"}),
        *(patch("service", f"s{n}-0", plan_id="new") for n in range(6)),
    ],
    "a hold and a tag": [
        Operation("hold", "service", "s6-0", {"kind": "restrict", "cause": "admin"}),
        Operation("tag", "service", "s7-0", {"add": ["vip"]}),
    ],
    "a top-up": [Operation("top_up", "service", f"s{n}-0", {"id": "x", "octets": 5000}) for n in range(20)],
    "a deletion": [Operation("delete", "service", "s8-0", None, 10**6)],
    "groups": [patch("subscriber", f"s{n}", groups=["a"]) for n in range(6)],
    "all in one group": [patch("subscriber", f"s{n}", groups=["red"]) for n in range(24)],
    "a team's plan": [patch("service", f"s{n}-0", plan_id="team") for n in range(12)],
    "a smaller quota of teams": [patch("plan", "team", quota={"octets": 1, "shared": "group"})],
    "what is stale or wrong": [patch("plan", "none", rate=RATE), Operation("patch", "plan", "home", {"revision": 1})],
}


@pytest.mark.parametrize("policy", ["", POLICY], ids=["no rules", "rules"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_a_preview_says_of_operations_is_what_is_sent(change: str, policy: str) -> None:
    foretold: set[Any] = set()
    for seed in (1, 5):
        site = Site(policy)
        site.people(24, seed)
        site.far.sent.clear()
        said = site.preview(*CHANGES[change])
        these, results = predicted(said), [result.status for result in said.results]
        said.close()
        site.settle()
        assert site.far.sent == [], "a preview changes nothing"
        assert site.apply(*CHANGES[change]) == results
        assert sent(site.far) == these
        foretold |= these
    assert foretold or change in QUIET or (not policy and change.startswith("overdue"))


@pytest.mark.parametrize("seed", range(4))
def test_what_a_preview_says_of_a_policy_is_what_is_sent(seed: int) -> None:
    site = Site()
    site.people(40, seed)
    site.far.sent.clear()
    policy = compile_texts({"new.toml": POLICY + '[[plan]]\nid = "home"\nrate = "20M/20M"\n'})
    said = site.preview(policy=policy)
    foretold = predicted(said)
    said.close()
    assert {each[1] for each in foretold} == {"coa"}
    site.apply(policy=policy)
    assert sent(site.far) == foretold
    site.answer_all()
    site.far.sent.clear()
    assert predicted(site.preview(policy=policy)) == set()
    back = site.preview(policy=compile_texts({}))
    foretold = predicted(back)
    site.apply(policy=compile_texts({}))
    assert sent(site.far) == foretold


def test_a_preview_knows_what_is_under_way_and_what_the_nas_refused() -> None:
    site = Site()
    site.people(0)
    for name in ("a", "b", "c"):
        site.put("subscriber", name)
        site.put("service", name, subscriber_id=name, plan_id="home",
                 credentials=[{"type": "password", "username": name, "cleartext": "secret"}])  # fmt: skip
        site.online(name, name.encode(), nas=site.nases[0])
    site.apply(patch("service", "a", overrides={"rate": FAST}))
    assert len(site.far.waiting) == 1
    site.far.sent.clear()
    # "a" waits for its answer under the decision that it is to have: the same plan for all asks nothing new of it.
    change = patch("plan", "home", rate=FAST)
    foretold = predicted(site.preview(change))
    assert len(foretold) == 2
    site.apply(change)
    assert sent(site.far) == foretold
    site.answer(nak(506))
    said = site.preview(patch("service", "b", overrides={"rate": RATE}))
    assert len(said.enforcer.predictions) == 1


def test_a_preview_groups_what_is_alike_and_pages_through_sessions() -> None:
    site = Site(POLICY)
    site.people(40)
    said = site.preview(patch("plan", "home", rate=FAST))
    shown = show(said)
    summary = shown["summary"]
    assert summary["coa"] == summary["changed"] == sum(group["count"] for group in shown["groups"])
    assert summary["disconnect"] == 0
    assert summary["sessions"] >= summary["changed"] > 3
    assert len(shown["groups"]) < summary["changed"]
    assert sum(shown["groups"][0]["nas"].values()) == shown["groups"][0]["count"]
    assert shown["groups"][0]["from"]["rate"] != shown["groups"][0]["to"]["rate"]
    seen = [item["session_id"] for item in shown["items"]]
    while shown["next"]:
        shown = show(said, int(shown["next"]))
        seen += [item["session_id"] for item in shown["items"]]
    assert len(set(seen)) == len(seen) == summary["changed"]
    assert seen == sorted(seen, key=int)
    assert all(item["keys"] for item in shown["items"])


def test_one_operator_sees_its_own_sessions_only() -> None:
    site = Site()
    site.people(3)
    site.put("subscriber", "brand", operator="brand")
    site.put("service", "x", subscriber_id="brand", plan_id="home",
             credentials=[{"type": "password", "username": "x", "cleartext": "secret"}])  # fmt: skip
    nas = site.nas("own")
    nas.operator, nas.passwords = "brand", site.store.index_of("password", "brand")
    site.online("x", b"x", nas=nas)
    policy = compile_texts({"p.toml": '[[rule]]\nname = "all"\nthen = { rate = "3M/3M" }\n'})
    mine = site.preview(policy=policy, actor=Actor("brand", "billing", "brand"))
    assert {each.service_id for each in mine.enforcer.predictions.values()} == {"x"}
    other = site.preview(patch("service", "s0-0", plan_id="wifi"), actor=Actor("brand", "billing", "brand"))
    assert [result.error for result in other.results] == ["forbidden"]


def test_services_that_are_alike_are_decided_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.people(150)
    decided: list[Any] = []
    decide = previews.decide
    monkeypatch.setattr(previews, "decide", lambda facts, policy: decided.append(facts) or decide(facts, policy))
    said = site.preview(policy=compile_texts({"p.toml": POLICY}))
    assert len(decided) < said.looked_at * 0.7
    assert said.looked_at == sum(len(site.sessions_of(name)) for name in site.store.services)


def test_operations_that_name_too_much_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    site.people(5)
    monkeypatch.setattr(previews, "PREVIEW_NAMED_SERVICES_MAX", 2)
    with pytest.raises(previews.TooLarge):
        site.preview(*(patch("subscriber", f"s{n}", tags=["x"]) for n in range(5)))
