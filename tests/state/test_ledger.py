"""What a balance offers, charges, tells and keeps, whatever comes in which order."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from aaa.model.accounting import Status
from aaa.model.records import NO_LIMIT
from aaa.state import ledger
from aaa.state.entities import put_plan
from policy.model import Quota
from tests.state.world import AT, World, dump

START, STOP, INTERIM = Status.START, Status.STOP, Status.INTERIM
GB = 10**9
DAY = 86_400.0
TURN = datetime(2023, 12, 1, tzinfo=UTC).timestamp() - AT
"""The first turn of the month after AT, from AT."""


def capped(world: World, name: str = "capped", revision: int = 1, **value: Any) -> None:
    quota = {"octets": 20 * GB, **value.pop("quota", {})}
    body = {"revision": revision, "quota": quota, **value}
    assert world.apply("put", "plan", name, body).status == "applied"


@pytest.fixture
def world():
    world = World()
    capped(world)
    world.service(plan_id="capped")
    return world


def use(world, octets, at=0.0, name="alice", received=None):
    """Let a session of its own use octets; half of them in each direction, one more down where they are odd."""
    world.number = getattr(world, "number", 0) + 1
    key = b"%d" % world.number
    facts = {"user": name.encode(), "input": octets // 2, "output": octets - octets // 2}
    world.report(STOP, key, at=at, received=at if received is None else received, **facts)


def facts(world, at=0.0, name="alice"):
    return ledger.quota_facts(world.store, world.store.services[name], AT + at)


def left(world, at=0.0, name="alice"):
    return facts(world, at, name).left


def told(world, *kinds):
    """Events since the last look, of types that begin so."""
    events, world.store.new_events[:] = list(world.store.new_events), []
    return [
        (event.type, event.data.get("percent")) if event.type == "quota.threshold" else event.type
        for event in events
        if event.type.startswith(kinds or "quota.")
    ]


def top_up(world, id, octets, name="alice", at=0.0, **value):
    return world.apply("top_up", "service", name, {"id": id, "octets": octets, **value}, at=AT + at)


# What there is


def test_service_without_usage_has_all_of_its_quota_and_no_row(world):
    found = facts(world)
    assert (found.octets, found.used, found.left) == (20 * GB, 0, 20 * GB)
    assert found.changes_at == found.cycle_ends_at == AT + TURN
    assert world.store.services["alice"].account is None
    assert world.restart().db.execute("SELECT count(*) FROM account").fetchone() == (0,)


def test_usage_is_charged_and_survives(world):
    use(world, 5 * GB)
    assert (facts(world).used, left(world)) == (5 * GB, 15 * GB)
    again = world.restart()
    assert facts(again) == facts(world)
    assert dump(again.store) == dump(world.store)


def test_plan_without_quota_has_no_balance_and_one_with_tiers_counts_without_end(world):
    world.service("bob")
    use(world, GB, name="bob")
    assert facts(world, name="bob") is None
    assert world.store.services["bob"].account is None
    tiers = [{"above_octets": GB, "rate": {"down_bps": 1, "up_bps": 1}}]
    world.apply("put", "plan", "fair", {"revision": 1, "tiers": tiers})
    world.service("tim", plan_id="fair")
    use(world, 3 * GB, name="tim")
    found = facts(world, name="tim")
    assert (found.octets, found.used, found.left, found.cycle_ends_at) == (0, 3 * GB, NO_LIMIT, AT + TURN)
    assert top_up(world, "t", GB, "tim").error == "invalid"


@pytest.mark.parametrize(("direction", "charged"), [("both", 10), ("down", 7), ("up", 3)])
def test_direction_says_what_counts(world, direction, charged):
    capped(world, "one-way", quota={"direction": direction})
    world.service("bob", plan_id="one-way", usage={"input_octets": 30, "output_octets": 70})
    world.report(STOP, user=b"bob", input=3, output=7)
    assert facts(world, name="bob").used == charged * 11


def test_usage_at_migration_is_charged_and_what_it_passed_is_not_told(world):
    world.service("carol", plan_id="capped", usage={"input_octets": 0, "output_octets": 20 * GB})
    assert left(world, name="carol") == 0
    use(world, 1, name="carol")
    assert told(world) == []
    again = world.restart()
    assert left(again, name="carol") == 0


def test_service_inside_a_session_is_not_charged_twice(world):
    world.report(START)
    world.report(INTERIM, at=60, time=60, input=GB, output=0)
    world.report(INTERIM, b"inner", at=60, time=60, input=GB, output=0, service_session=True)
    assert facts(world).used == GB


def test_zero_rated_part_of_a_report_is_not_charged(world):
    window = {"start": "00:00", "end": "01:00"}
    capped(world, "nights", schedule=[{"window": window, "zero_rated": True}])
    world.service("bob", plan_id="nights")
    midnight = DAY - AT % DAY
    world.report(START, user=b"bob", at=midnight - 3600)
    world.report(INTERIM, user=b"bob", at=midnight + 1800, time=5400, input=0, output=9000)
    assert facts(world, name="bob").used == 6000
    world.report(INTERIM, user=b"bob", at=midnight + 3600, time=7200, input=0, output=20_000)
    assert facts(world, name="bob").used == 6000, "within the window alone"
    assert world.usage("bob") == (0, 20_000)


# Cycles


def test_cycle_turns_for_a_report_and_for_a_question(world):
    use(world, 15 * GB)
    assert (facts(world, TURN).used, left(world, TURN)) == (0, 20 * GB)
    assert facts(world, TURN - 1).used == 15 * GB, "asking changes nothing"
    use(world, GB, at=TURN + 5)
    account = world.store.services["alice"].account
    assert (account.charged_octets, account.told, facts(world, TURN + 5).left) == (GB, (), 19 * GB)
    assert dump(world.restart().store) == dump(world.store)


def test_what_a_cycle_leaves_rolls_over_once(world):
    capped(world, "rolling", quota={"roll_over_octets_max": 8 * GB})
    world.service("bob", plan_id="rolling", cycle="day")
    day = DAY - AT % DAY
    use(world, 15 * GB, name="bob")
    assert left(world, day, "bob") == 25 * GB, "5 were left"
    use(world, 2 * GB, at=day, name="bob")
    assert left(world, day, "bob") == 23 * GB
    assert left(world, day + DAY, "bob") == 28 * GB, "what was rolled over went first, and 8 of 20 are rolled over"
    assert left(world, day + 9 * DAY, "bob") == 28 * GB, "cycles without usage leave no more than one"
    assert facts(world, day + 9 * DAY, "bob").octets == 28 * GB


def test_late_report_of_the_last_cycle_counts_in_this_one(world):
    use(world, GB, at=TURN + 5)
    use(world, 2 * GB, at=TURN - 5, received=TURN + 10)
    assert facts(world, TURN + 10).used == 3 * GB


def test_cycle_turns_at_midnight_of_the_zone(world):
    world.store.zone = ZoneInfo("Asia/Tokyo")
    assert facts(world).cycle_ends_at == AT + TURN - 9 * 3600
    use(world, GB)
    assert world.store.services["alice"].cycle_ends_at == AT + TURN - 9 * 3600


# Top-ups


def test_top_up_adds_and_its_replay_does_not(world):
    use(world, 20 * GB)
    result = top_up(world, "t1", 5 * GB)
    assert (result.status, result.revision, left(world)) == ("applied", 1, 5 * GB)
    assert top_up(world, "t1", 5 * GB).status == "stale"
    again = world.restart()
    assert top_up(again, "t1", 5 * GB).status == "stale"
    assert left(again) == 5 * GB
    assert left(again, TURN) == 20 * GB, "without a time of its own it ends with the cycle"
    assert top_up(again, "t1", 5 * GB, at=TURN).status == "stale", "also in the next cycle"


def test_top_up_with_a_time_of_its_own_goes_last_and_survives_the_turn(world):
    top_up(world, "t1", 5 * GB, expires_at="2023-12-10T00:00:00Z")
    use(world, 22 * GB)
    assert (facts(world).octets, left(world)) == (25 * GB, 3 * GB)
    assert left(world, TURN) == 23 * GB
    assert facts(world, TURN).changes_at == datetime(2023, 12, 10, tzinfo=UTC).timestamp()
    end = datetime(2023, 12, 10, tzinfo=UTC).timestamp() - AT
    assert left(world, end) == 20 * GB
    use(world, GB, at=TURN)
    assert left(world, end) == 20 * GB, "what ends first went first"


def test_top_up_that_ends_within_the_cycle_is_lost_then(world):
    top_up(world, "t1", 5 * GB, expires_at=AT + 100)
    use(world, 2 * GB)
    assert (facts(world, 99).left, facts(world, 99).changes_at) == (23 * GB, AT + 100)
    assert (facts(world, 100).left, facts(world, 100).octets) == (20 * GB, 22 * GB)
    use(world, GB, at=200)
    assert (left(world, 200), dump(world.restart().store)) == (19 * GB, dump(world.store))


def test_usage_above_all_is_paid_by_no_later_top_up(world):
    use(world, 30 * GB)
    top_up(world, "t1", 5 * GB)
    found = facts(world)
    assert (found.octets, found.used, found.left) == (25 * GB, 30 * GB, 5 * GB)
    use(world, GB)
    assert left(world) == 4 * GB


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({"id": "x", "octets": 0}, "invalid"),
        ({"octets": 1}, "invalid"),
        ({"id": "x", "octets": 1, "expires_at": AT}, "invalid"),
        ({"id": "x", "octets": 1, "expires_at": "soon"}, "invalid"),
        ({"id": "x", "octets": 1, "more": 1}, "invalid"),
    ],
)
def test_top_up_that_says_nothing_sensible_is_refused(world, value, error):
    assert world.apply("top_up", "service", "alice", value).error == error
    assert left(world) == 20 * GB


def test_top_ups_are_bounded(world):
    for number in range(64):
        assert top_up(world, f"t{number}", GB, expires_at=AT + 1000).status == "applied"
    assert top_up(world, "one-more", GB).error == "limit"
    assert top_up(world, "later", GB, at=1000).status == "applied"


# What is told


def test_each_threshold_is_told_once_a_cycle(world):
    use(world, 10 * GB - 1)
    assert told(world) == []
    use(world, 1)
    assert told(world) == [("quota.threshold", 50)]
    use(world, 7 * GB)
    assert told(world) == [("quota.threshold", 80)]
    use(world, 3 * GB)
    assert told(world) == [("quota.threshold", 100), "quota.exhausted"]
    use(world, GB)
    again = world.restart()
    use(again, GB)
    assert told(again) == told(world) == []
    use(again, 25 * GB, at=TURN)
    thresholds = [("quota.threshold", percent) for percent in (50, 80, 100)]
    assert told(again) == [*thresholds, "quota.exhausted"]


def test_exhaustion_is_told_again_after_a_top_up_and_a_threshold_is_not(world):
    use(world, 20 * GB)
    told(world)
    top_up(world, "t1", 10 * GB)
    assert told(world) == ["quota.topped_up"]
    use(world, 9 * GB)
    assert told(world) == []
    use(world, GB)
    assert told(world) == ["quota.exhausted"]


def test_event_bears_the_state_of_the_balance_and_its_cause(world):
    use(world, 16 * GB)
    event = next(event for event in world.store.events if event.data.get("percent") == 80)
    assert event.data == {
        "percent": 80, "account": "service", "used_octets": 16 * GB, "octets": 20 * GB, "left_octets": 4 * GB,
        "cycle_ends_at": AT + TURN,
    }  # fmt: skip
    assert (event.service_id, event.subscriber_id, event.cause.actor) == ("alice", "s-alice", "quota")


def test_plan_buys_by_itself_up_to_its_limit_and_then_does_the_rest(world):
    actions = ["notify", {"top_up": {"octets": 2 * GB, "limit": 2, "valid_s": 3600}}, "top_up", "block"]
    capped(world, "auto", on_exhausted=actions)
    world.service("bob", plan_id="auto")
    use(world, 20 * GB, name="bob")
    bought = ["quota.exhausted", "notification", "quota.topped_up"]
    assert told(world, "quota.e", "quota.top", "notification") == bought
    assert facts(world, name="bob").changes_at == AT + 3600
    assert world.store.events[-1].data["automatic"] is True
    use(world, 2 * GB, name="bob")
    assert told(world, "quota.e", "quota.top", "notification") == bought
    use(world, 2 * GB, name="bob")
    assert told(world, "quota.e", "quota.top", "notification") == [
        "quota.exhausted", "notification", "quota.top_up_requested",
    ]  # fmt: skip
    assert (left(world, name="bob"), left(world.restart(), name="bob")) == (0, 0)
    use(world, 20 * GB, at=TURN, name="bob")
    assert told(world, "quota.topped_up") == ["quota.topped_up"], "the limit is a cycle's"


def test_live_session_is_looked_at_when_usage_reaches_where_its_decision_ends(world):
    service = world.store.services["alice"]
    world.report(START)
    service.decided_below = 2 * GB
    world.store.affected.clear()
    world.report(INTERIM, at=60, time=60, input=0, output=2 * GB - 1)
    assert not world.store.affected
    world.report(INTERIM, at=90, time=90, input=0, output=2 * GB)
    assert list(world.store.affected) == [service]


# Plans that change


def test_other_plan_in_the_middle_of_a_cycle_keeps_what_was_used(world):
    use(world, 15 * GB)
    capped(world, "bigger", quota={"octets": 50 * GB})
    world.apply("patch", "service", "alice", {"plan_id": "bigger"}, revision=2)
    assert (facts(world).octets, left(world)) == (50 * GB, 35 * GB)
    world.apply("patch", "service", "alice", {"plan_id": "capped"}, revision=3)
    assert (facts(world).octets, left(world)) == (20 * GB, 5 * GB)
    assert dump(world.restart().store) == dump(world.store)


def test_plan_that_gets_another_quota_changes_the_running_cycle(world):
    use(world, 15 * GB)
    capped(world, revision=2, quota={"octets": 10 * GB})
    assert left(world) == 0
    told(world)
    use(world, 1)
    assert told(world) == [("quota.threshold", 80), ("quota.threshold", 100), "quota.exhausted"]
    capped(world, revision=3, quota={"octets": 40 * GB})
    assert left(world) == 25 * GB, "what was used above all buckets is free"
    assert left(world.restart()) == 25 * GB


def test_plan_that_got_another_quota_while_nothing_ran_holds_after_a_restart(world):
    use(world, 15 * GB)
    capped(world, revision=2, quota={"octets": 40 * GB})
    again = world.restart()
    assert left(again) == 25 * GB


@pytest.mark.parametrize("rolls", [0, GB])
def test_quota_from_now_on_counts_what_the_cycle_used(world, rolls):
    capped(world, revision=2, quota={"roll_over_octets_max": rolls})
    world.service("bob")
    use(world, 19 * GB, name="bob")
    told(world)
    world.apply("patch", "service", "bob", {"plan_id": "capped"}, revision=2)
    assert told(world) == [("quota.threshold", 50), ("quota.threshold", 80)]
    assert left(world, name="bob") == GB
    world.apply("patch", "service", "bob", {"plan_id": "home"}, revision=3)
    assert world.store.services["bob"].account is None
    assert world.restart().db.execute("SELECT count(*) FROM account").fetchone() == (0,)


def test_sharing_of_a_plan_in_use_stays(world):
    body = {"revision": 2, "quota": {"octets": 1, "shared": "subscriber"}}
    result = world.apply("put", "plan", "capped", body)
    assert (result.error, result.field) == ("in_use", "$.quota.shared")


def test_pending_service_brings_its_quota_when_it_is_activated(world):
    world.service("bob", plan_id="capped", state="pending")
    assert facts(world, name="bob").octets == 0
    use(world, GB, name="bob")
    world.apply("state", "service", "bob", {"state": "active"}, revision=2)
    assert (facts(world, name="bob").octets, facts(world, name="bob").used) == (20 * GB, GB)


def test_plan_of_a_policy_file_may_be_shared_otherwise(world):
    use(world, 5 * GB)
    plan = replace(world.store.plans["capped"].body, quota=Quota(20 * GB, shared="subscriber"))
    put_plan(world.store, plan, AT)
    assert world.store.services["alice"].account.kind == "subscriber"
    assert (facts(world).used, left(world)) == (5 * GB, 15 * GB)
    assert dump(world.restart().store) == dump(world.store)


# Shared balances


def family(world, shared="subscriber", names=("fibre", "mobile"), **more):
    """Services of subscribers s-NAME in the group `family`, or all of subscriber s-home."""
    capped(world, "shared", quota={"shared": shared})
    owners = {"subscriber": lambda _: "s-home"}.get(shared, lambda name: f"s-{name}")
    for name in names:
        owner = owners(name)
        world.apply("put", "subscriber", owner, {"revision": 1, "groups": ["family", "club"]})
        body = {"revision": 1, "subscriber_id": owner, "plan_id": "shared", **more}
        credentials = [{"type": "password", "username": name, "cleartext": "x"}]
        assert world.apply("put", "service", name, {**body, "credentials": credentials}).status == "applied"


@pytest.mark.parametrize("shared", ["subscriber", "group"])
def test_services_that_share_bring_and_draw_from_one_balance(world, shared):
    family(world, shared)
    use(world, 30 * GB, name="fibre")
    use(world, 5 * GB, name="mobile")
    for name in ("fibre", "mobile"):
        assert (facts(world, name=name).octets, left(world, name=name)) == (40 * GB, 5 * GB)
    assert told(world) == [("quota.threshold", 50), ("quota.threshold", 80)]
    top_up(world, "t1", GB, "mobile")
    assert left(world, name="fibre") == 6 * GB
    again = world.restart()
    assert dump(again.store) == dump(world.store)
    assert left(again, TURN, "mobile") == 40 * GB


def test_subscriber_without_a_group_shares_with_itself(world):
    capped(world, "shared", quota={"shared": "group"})
    world.service("bob", plan_id="shared")
    assert world.store.services["bob"].account.kind == "subscriber"


def test_service_that_joins_brings_what_it_has_and_takes_it_along_when_it_leaves(world):
    family(world, names=("fibre",))
    use(world, GB, name="fibre")
    world.apply("put", "service", "lte", {"revision": 1, "subscriber_id": "s-home", "plan_id": "capped"})
    top_up(world, "t1", 3 * GB, "lte")
    lte = world.store.services["lte"]
    ledger.account_of(world.store, lte, AT).charged_octets += 4 * GB
    world.apply("patch", "service", "lte", {"plan_id": "shared"}, revision=2)
    found = facts(world, name="fibre")
    assert (found.octets, found.used, found.left) == (43 * GB, 5 * GB, 38 * GB)
    assert top_up(world, "t1", 3 * GB, "fibre").status == "stale"
    world.apply("patch", "service", "lte", {"plan_id": "capped"}, revision=3)
    assert facts(world, name="lte").octets == 20 * GB
    total = facts(world, name="lte").used + facts(world, name="fibre").used
    assert total == 5 * GB, "charged once, wherever it is"
    assert dump(world.restart().store) == dump(world.store)


def test_deleted_service_takes_along_what_it_brought_and_not_what_was_used(world):
    family(world)
    use(world, 25 * GB, name="fibre")
    world.apply("delete", "service", "fibre", revision=2)
    found = facts(world, name="mobile")
    assert (found.octets, found.used, found.left) == (40 * GB, 25 * GB, 15 * GB)
    world.apply("delete", "service", "mobile", revision=2)
    assert not world.store.accounts
    assert world.restart().db.execute("SELECT count(*) FROM account").fetchone() == (0,)


def test_balance_that_ends_and_begins_again_within_one_group(world):
    family(world, names=("fibre",))
    world.disk.settle()
    world.apply("delete", "service", "fibre", revision=2)
    body = {"revision": 3, "subscriber_id": "s-home", "plan_id": "shared"}
    assert world.apply("put", "service", "fibre", body).status == "applied"
    assert dump(world.restart().store) == dump(world.store)


def test_other_group_is_another_balance(world):
    family(world, "group")
    use(world, 10 * GB, name="fibre")
    world.apply("patch", "subscriber", "s-mobile", {"groups": ["club"]}, revision=2)
    assert facts(world, name="mobile").octets == 20 * GB
    assert facts(world, name="fibre").used + facts(world, name="mobile").used == 10 * GB
    assert set(world.store.accounts) == {"group/default/family", "group/default/club"}


def test_members_are_decided_about_anew_when_another_ones_plan_offers_more(world):
    family(world)
    capped(world, "larger", quota={"shared": "subscriber"})
    world.apply("patch", "service", "fibre", {"plan_id": "larger"}, revision=2)
    world.report(START, b"m", user=b"mobile")
    use(world, 40 * GB, name="fibre")
    assert told(world)[-1] == "quota.exhausted"
    mobile = world.store.services["mobile"]
    capped(world, "larger", revision=2, quota={"octets": 25 * GB, "shared": "subscriber"})
    version = mobile.version
    world.store.affected.clear()
    use(world, GB, name="fibre")
    assert (mobile.version > version, mobile in world.store.affected) == (True, True)
    assert left(world, name="mobile") == 4 * GB
    use(world, 4 * GB, name="fibre")
    assert told(world) == ["quota.exhausted"], "there was something to use up again"


def test_session_of_another_member_is_looked_at_when_its_decision_ends(world):
    family(world)
    fibre, mobile = world.store.services["fibre"], world.store.services["mobile"]
    world.report(START, b"m", user=b"mobile")
    world.report(START, b"f", user=b"fibre")
    use(world, 1, name="fibre")
    for service, below in ((fibre, NO_LIMIT), (mobile, 3 * GB)):
        service.decided_below = below
        ledger.watch(service.account, below)
    world.store.affected.clear()
    world.report(INTERIM, b"f", user=b"fibre", at=60, time=60, input=0, output=2 * GB)
    assert not world.store.affected
    world.report(INTERIM, b"f", user=b"fibre", at=90, time=90, input=0, output=3 * GB)
    assert list(world.store.affected) == [mobile]


# Everything at once


@dataclass
class Meter:
    """What a NAS counts in one session, and its last report."""

    user: str
    time: int = 0
    counter: int = 0
    """The NAS's own: it begins at zero again after a reset."""
    last: tuple[float, int, int] | None = None


@dataclass
class Model:
    """A balance that is kept with every octet: what the ledger must come to, however late it settles."""

    included: dict[str, int]
    rolls: int
    used: int = 0
    buckets: list[list[Any]] = field(default_factory=list)
    """[kind, id, offered, left], in the order of use."""

    def __post_init__(self) -> None:
        self.buckets = [["cycle", name, octets, octets] for name, octets in sorted(self.included.items())]

    def use(self, octets: int) -> None:
        self.used += octets
        for bucket in self.buckets:
            part = min(octets, bucket[3])
            bucket[3] -= part
            octets -= part

    def turn(self, skipped: bool) -> None:
        left = {name: octets if skipped else 0 for name, octets in self.included.items()}
        if not skipped:
            left = {bucket[1]: bucket[3] for bucket in self.buckets if bucket[0] == "cycle"}
        rolled = [["roll_over", name, *[min(left[name], self.rolls)] * 2] for name in sorted(left)]
        self.used = 0
        self.buckets = [bucket for bucket in rolled if bucket[3]]
        self.buckets += [["cycle", name, octets, octets] for name, octets in sorted(self.included.items())]

    def add(self, id: str, octets: int) -> None:
        self.buckets.append(["top_up", id, octets, octets])
        self.buckets.sort(key=lambda bucket: (("roll_over", "cycle", "top_up").index(bucket[0]), bucket[1]))


STEPS = st.lists(
    st.tuples(
        st.sampled_from("use use use repeat late reset restart top_up again turn skip settle".split()),  # noqa: SIM905
        st.integers(0, 1),
        st.sampled_from([1, GB, 3 * GB, 6 * GB, 9 * GB]),
    ),
    min_size=5,
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.sampled_from(["service", "subscriber", "group"]), st.sampled_from([0, GB, 6 * GB]))
def test_whatever_comes_in_which_order_all_is_charged_once_and_told_once(steps, shared, rolls):
    world = World()
    capped(world, "p", quota={"octets": 10 * GB, "shared": shared, "roll_over_octets_max": rolls, "period": "day"})
    names = ("a", "b")
    for name in names:
        owner = "s-home" if shared == "subscriber" else f"s-{name}"
        world.apply("put", "subscriber", owner, {"revision": 1, "groups": ["g"]})
        credentials = [{"type": "password", "username": name, "cleartext": "x"}]
        body = {"revision": 1, "subscriber_id": owner, "plan_id": "p", "credentials": credentials}
        assert world.apply("put", "service", name, body).status == "applied"
    if shared == "service":
        models = {name: Model({name: 10 * GB}, rolls) for name in names}
    else:
        models = dict.fromkeys(names, Model(dict.fromkeys(names, 10 * GB), rolls))
    meters = [Meter(name) for name in names]
    now = 10.0
    boundary = DAY - AT % DAY
    events: list[Any] = []
    top_ups: list[tuple[str, str]] = []

    def report(meter, received, at, time, counter):
        user = meter.user.encode()
        world.report(INTERIM, user, user=user, at=at, received=received, time=time, input=counter, output=0)

    def restart():
        nonlocal world
        events.extend(world.store.new_events)
        again = world.restart()
        assert dump(again.store) == dump(world.store)
        world = again

    for meter in meters:
        world.report(START, meter.user.encode(), user=meter.user.encode(), at=now)
    for step, who, octets in steps:
        meter = meters[who]
        now = {"turn": boundary, "skip": boundary + DAY}.get(step, now + 300.0)
        if now >= boundary:
            boundary += 2 * DAY if step == "skip" else DAY
            for model in {id(model): model for model in models.values()}.values():
                model.turn(step == "skip")
            # Else the next report would tell of use in both cycles.
            step = "reset" if step in ("turn", "skip") else step
        if step in ("use", "late"):
            meter.time += 300
            meter.counter += octets
            models[meter.user].use(octets)
            meter.last = (now, meter.time, meter.counter)
            report(meter, now, *meter.last)
            if step == "late":
                report(meter, now + 1, now - 150, meter.time - 150, meter.counter - octets // 2)
        elif step == "repeat" and meter.last is not None:
            report(meter, now, *meter.last)
        elif step == "reset":
            meter.time, meter.counter, meter.last = 0, 0, None
        elif step == "restart":
            restart()
        elif step == "top_up":
            top_ups.append((meter.user, f"t{len(top_ups):02}"))
            models[meter.user].add(top_ups[-1][1], octets)
            assert top_up(world, top_ups[-1][1], octets, meter.user, at=now).status == "applied"
        elif step == "again" and top_ups:
            assert top_up(world, top_ups[-1][1], octets, top_ups[-1][0], at=now).status == "stale"
        elif step == "settle":
            for service in world.store.services.values():
                if service.account is not None:
                    ledger.settle(world.store, service.account, AT + now)
        for name, model in models.items():
            found = facts(world, now, name)
            offered, unused = sum(bucket[2] for bucket in model.buckets), sum(bucket[3] for bucket in model.buckets)
            assert (found.used, found.octets, found.left) == (model.used, offered, unused), step
    for name, model in models.items():
        buckets = ledger.balance_at(world.store, world.store.services[name], AT + now).buckets
        assert [[each.kind, each.id, each.octets, each.left] for each in buckets] == model.buckets
    restart()
    for kind, percent in (("quota.threshold", 50), ("quota.threshold", 80), ("quota.threshold", 100)):
        keys = [
            (event.data["cycle_ends_at"], event.service_id if shared == "service" else "")
            for event in events
            if event.type == kind and event.data["percent"] == percent
        ]
        assert len(keys) == len(set(keys)), "told once a cycle"
    for name, model in models.items():
        used_up = model.used > 0 and not any(bucket[3] for bucket in model.buckets)
        account = world.store.services[name].account
        assert account is None or account.cycle_ends_at != AT + boundary or account.exhausted == used_up
