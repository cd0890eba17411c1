"""What sync operations do: revisions, references, transitions, credentials; and a restart brings all of it back."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aaa.config import Pool
from aaa.engine.addresses import Addresses
from aaa.model.accounting import Status
from aaa.model.entities import SERVICE_TRANSITIONS
from aaa.server import views
from aaa.state import holds, ledger
from tests.state.world import AT, PLAN, World, database, dump

PASSWORD = {"type": "password", "username": "alice", "cleartext": "secret"}


@pytest.fixture
def world():
    world = World()
    world.service()
    return world


def told(result):
    return result.status, result.error, result.field


def test_older_revision_is_stale_and_the_same_with_other_content_a_conflict(world):
    body = {"revision": 5, "name": "Alice"}
    assert world.apply("put", "subscriber", "s-alice", body).status == "applied"
    assert world.apply("put", "subscriber", "s-alice", body).status == "stale"
    assert world.apply("put", "subscriber", "s-alice", {**body, "revision": 4}).status == "stale"
    other = world.apply("put", "subscriber", "s-alice", {**body, "name": "Alicia"})
    assert (other.status, other.revision) == ("conflict", 5)
    assert world.store.subscribers["s-alice"].body.name == "Alice"


def test_change_needs_a_revision(world):
    assert told(world.apply("put", "plan", "p", {"kind": "internet"})) == ("error", "invalid", "$.revision")
    assert told(world.apply("delete", "service", "alice")) == ("error", "invalid", "$.revision")


def test_tombstone_keeps_older_pushes_out_also_over_a_restart(world):
    assert world.apply("delete", "service", "alice", revision=7).status == "applied"
    again = world.restart()
    body = {"revision": 7, "subscriber_id": "s-alice", "plan_id": "home"}
    assert again.apply("put", "service", "alice", body).status == "stale"
    assert again.apply("delete", "service", "alice", revision=6).status == "stale"
    assert again.apply("put", "service", "alice", {**body, "revision": 8}).status == "applied"
    assert again.restart().store.tombstones == {}


def test_tombstone_of_an_entity_that_came_and_went_within_one_group(world):
    world.apply("put", "subscriber", "x", {"revision": 1})
    world.apply("delete", "subscriber", "x", revision=2)
    world.apply("put", "subscriber", "x", {"revision": 3})
    world.apply("delete", "subscriber", "x", revision=4)
    assert world.restart().store.tombstones == {("subscriber", "x"): 4}


def test_reference_to_what_is_missing_is_named(world):
    body = {"revision": 1, "subscriber_id": "nobody", "plan_id": "home"}
    assert told(world.apply("put", "service", "x", body)) == ("error", "missing_reference", "$.subscriber_id")
    body = {"revision": 1, "subscriber_id": "s-alice", "plan_id": "none"}
    assert told(world.apply("put", "service", "x", body)) == ("error", "missing_reference", "$.plan_id")
    assert "x" not in world.store.services


def test_plan_and_subscriber_in_use_stay(world):
    assert world.apply("delete", "plan", "home", revision=9).error == "in_use"
    assert world.apply("delete", "subscriber", "s-alice", revision=9).error == "in_use"
    world.apply("delete", "service", "alice", revision=9)
    assert world.apply("delete", "plan", "home", revision=9).status == "applied"
    assert world.apply("delete", "subscriber", "s-alice", revision=9).status == "applied"


@pytest.mark.parametrize("state", SERVICE_TRANSITIONS)
@pytest.mark.parametrize("to", SERVICE_TRANSITIONS)
def test_every_step_of_the_state(state, to):
    world = World()
    world.service(state=state)
    result = world.apply("state", "service", "alice", {"state": to, "revision": 2, "reason": "because"})
    if to == state or to in SERVICE_TRANSITIONS[state]:
        assert result.status == "applied"
        assert world.restart().store.services["alice"].body.state == to
    else:
        assert told(result) == ("error", "invalid_transition", "$.state")
        assert all(allowed in result.detail for allowed in SERVICE_TRANSITIONS[state])


def test_patch_changes_what_it_names_and_null_clears(world):
    world.apply("patch", "service", "alice", {"static_ip": "192.0.2.1", "add_ons": ["a"]}, revision=2)
    world.apply("patch", "service", "alice", {"static_ip": None}, revision=3)
    body = world.store.services["alice"].body
    assert (body.static_ip, body.add_ons, body.revision) == (None, ("a",), 3)
    assert world.apply("patch", "service", "nobody", {"add_ons": []}, revision=1).error == "not_found"


def test_invalid_content_changes_nothing_and_names_its_field(world):
    before = dump(world.store)
    assert told(world.apply("patch", "service", "alice", {"state": "asleep"}, revision=2))[2] == "$.state"
    assert told(world.apply("patch", "service", "alice", {"static_ip": "x"}, revision=2))[2] == "$.static_ip"
    assert told(world.apply("patch", "service", "alice", {"colour": 1}, revision=2))[1] == "invalid"
    assert told(world.apply("patch", "service", "alice", {"id": "bob"}, revision=2))[2] == "$.id"
    assert dump(world.store) == before


def test_put_without_credentials_keeps_them(world):
    world.apply("put", "service", "alice", {"revision": 2, "subscriber_id": "s-alice", "plan_id": "home"})
    assert [each.key for each in world.store.services["alice"].credentials] == [b"alice"]


def test_credential_names_one_service_of_an_operator(world):
    world.apply("put", "subscriber", "s-zoe", {"revision": 1, "operator": "other"})
    body = {"revision": 1, "subscriber_id": "s-zoe", "plan_id": "home", "credentials": [PASSWORD]}
    assert world.apply("put", "service", "zoe", body).status == "applied"
    body = {**body, "subscriber_id": "s-alice"}
    assert told(world.apply("put", "service", "bob", body)) == ("error", "duplicate_credential", "$.credentials[0]")
    twice = {"credentials": [{"type": "mac", "mac": "020000000001"}, {"type": "mac", "mac": "02-00-00-00-00-01"}]}
    result = world.apply("put", "credentials", "alice", twice)
    assert told(result) == ("error", "duplicate_credential", "$.credentials[1]")


def test_credentials_are_replaced_whole_with_a_revision_or_without(world):
    new = {"credentials": [{**PASSWORD, "cleartext": "other"}]}
    assert world.apply("put", "credentials", "alice", {**new, "revision": 1}).status == "conflict"
    assert world.apply("put", "credentials", "alice", {**new, "revision": 2}).revision == 2
    assert world.apply("put", "credentials", "alice", {**new, "revision": 2}).status == "stale"
    assert world.apply("put", "credentials", "alice", {**new, "revision": 0}).status == "stale"
    assert world.apply("put", "credentials", "alice", {"credentials": [PASSWORD]}).revision == 2
    assert world.apply("delete", "credentials", "alice", revision=3).revision == 3
    assert world.store.passwords["default"] == {}
    assert dump(world.restart().store) == dump(world.store)


def test_secrets_are_sealed_on_the_disk(world):
    world.disk.settle()
    rows = world.db.execute("SELECT body, credentials FROM service").fetchall()
    assert "secret" not in str(rows)


def test_scope_of_an_operator(world):
    world.apply("put", "subscriber", "s-zoe", {"revision": 1, "operator": "other"})
    body = {"revision": 2, "subscriber_id": "s-alice", "plan_id": "home"}
    for kind, name, value in (
        ("service", "alice", body),
        ("subscriber", "s-alice", {"revision": 2}),
        ("subscriber", "new", {"revision": 1}),
        ("plan", "home", {**PLAN, "revision": 2}),
        ("credentials", "alice", {"credentials": []}),
    ):
        assert world.apply("put", kind, name, value, operator="other").error == "forbidden", kind
    body = {"revision": 1, "subscriber_id": "s-zoe", "plan_id": "home"}
    assert world.apply("put", "service", "zoe", body, operator="other").status == "applied"


def test_a_moment_that_no_calendar_has_is_refused(world):
    # One such service would have broken every list that shows it, and its status.
    for field in ("activated_at", "expires_at", "grace_until"):
        for moment in ("0001-01-01T00:00:00+23:00", "1969-12-31T23:59:59Z"):
            body = {"revision": 1, "subscriber_id": "s-alice", "plan_id": "home", field: moment}
            assert told(world.apply("put", "service", "early", body)) == ("error", "invalid", f"$.{field}")
    assert views.moment(-62_135_679_600.0) is None


def test_usage_at_migration_counts_once_and_survives(world):
    world.service("bob", usage={"input_octets": 5, "output_octets": 6})
    value = {"usage": {"input_octets": 1, "output_octets": 1}}
    world.apply("patch", "service", "bob", value, revision=2)
    assert world.restart().usage("bob") == (5, 6)


def test_services_above_the_limit_are_refused(world):
    world.store.services_max = 1
    body = {"revision": 1, "subscriber_id": "s-alice", "plan_id": "home"}
    assert world.apply("put", "service", "two", body).error == "limit"
    assert world.apply("patch", "service", "alice", {"add_ons": ["a"]}, revision=2).status == "applied"


def test_static_address_is_one_services_own(world):
    assert world.apply("patch", "service", "alice", {"static_ip": "192.0.2.1"}, revision=2).status == "applied"
    body = {"revision": 1, "subscriber_id": "s-alice", "plan_id": "home", "static_ip": "192.0.2.1"}
    assert told(world.apply("put", "service", "two", body)) == ("error", "duplicate_address", "$.static_ip")
    world = world.restart()
    assert told(world.apply("put", "service", "two", body)) == ("error", "duplicate_address", "$.static_ip")
    world.apply("delete", "service", "alice", revision=3)
    assert world.apply("put", "service", "two", body).status == "applied"


@pytest.mark.parametrize(
    ("field", "value"),
    [("static_ip", "2001:db8::1"), ("static_prefix", "10.0.0.0/24"), ("static_prefix", "2001:db8::1/56")],
)
def test_static_address_is_what_it_claims_to_be(world, field, value):
    result = world.apply("patch", "service", "alice", {field: value}, revision=2)
    assert told(result) == ("error", "invalid", f"$.{field}")


def test_pool_gives_nobody_a_static_address_until_it_is_free_again(world):
    addresses = Addresses(world.store, [Pool("home", "ipv4", ("192.0.2.0/30",), hold=0.0)])
    (pool,) = addresses.pools.named("home")
    world.apply("patch", "service", "alice", {"static_ip": "192.0.2.0"}, revision=2)
    assert addresses.follow_statics() == []
    assert [pool.allocate((9, b"%d" % n), n, AT).address[-1] for n in (1, 2)] == [1, 2]
    world.apply("patch", "service", "alice", {"static_ip": None}, revision=3)
    addresses.follow_statics()
    assert {pool.allocate((9, b"%d" % n), n, AT).address[-1] for n in (3, 4)} == {0, 3}


NAMES = st.sampled_from(["a", "b", "c"])
REVISIONS = st.integers(1, 12)
CREDENTIALS = st.lists(
    st.sampled_from(
        [
            {"type": "password", "username": "n1", "cleartext": "p"},
            {"type": "password", "username": "n2", "nt_hash": "0" * 32},
            {"type": "mac", "mac": "02-00-00-00-00-01"},
            {"type": "circuit", "circuit_id": "olt", "remote_id": "r"},
        ]
    ),
    max_size=3,
)


class Restarts(RuleBasedStateMachine):
    """After any operations and reports, what a new process loads is what memory was."""

    def __init__(self):
        super().__init__()
        self.world = World(database())
        self.clock = 0.0

    @rule(
        name=NAMES, revision=REVISIONS, period=st.sampled_from(["day", "month"]), octets=st.sampled_from([9, 5000]),
        shared=st.sampled_from(["service", "subscriber", "group"]), rolls=st.sampled_from([0, 5]),
        actions=st.sampled_from([[], ["notify", {"top_up": {"octets": 50, "limit": 2}}]]),
    )  # fmt: skip
    def put_plan(self, name, revision, period, octets, shared, rolls, actions):
        quota = {"octets": octets, "period": period, "shared": shared, "roll_over_octets_max": rolls}
        self.world.apply("put", "plan", name, {"revision": revision, "quota": quota, "on_exhausted": actions})

    @rule(
        name=NAMES, revision=REVISIONS, operator=st.sampled_from(["default", "mvno"]),
        groups=st.sampled_from([[], ["g"], ["h", "g"]]),
    )  # fmt: skip
    def put_subscriber(self, name, revision, operator, groups):
        value = {"revision": revision, "operator": operator, "groups": groups}
        self.world.apply("put", "subscriber", name, value, at=AT + self.clock)

    @rule(
        name=NAMES, cause=st.sampled_from(["x", "y"]), kind=st.sampled_from(["restrict", "suspend"]),
        span=st.none() | st.just(900),
    )  # fmt: skip
    def hold(self, name, cause, kind, span):
        value = {"kind": kind, "cause": cause, "until": None if span is None else AT + self.clock + span}
        self.world.apply("hold", "service", name, value, at=AT + self.clock)

    @rule(name=NAMES, op=st.sampled_from(["restore", "tag", "untag", "sweep"]))
    def mark(self, name, op):
        if op == "sweep":
            holds.expire_holds(self.world.store, AT + self.clock)
        elif op == "restore":
            self.world.apply("restore", "service", name, {"cause": "x"}, at=AT + self.clock)
        else:
            self.world.apply("tag", "service", name, {"remove" if op == "untag" else "add": ["t"]}, at=AT + self.clock)

    @rule(name=NAMES, id=st.sampled_from(["1", "2", "3"]), octets=st.integers(1, 200), span=st.none() | st.just(900))
    def top_up(self, name, id, octets, span):
        value = {"id": id, "octets": octets, "expires_at": None if span is None else AT + self.clock + span}
        self.world.apply("top_up", "service", name, value, at=AT + self.clock)

    @rule(
        name=NAMES, owner=NAMES, plan=NAMES, revision=REVISIONS, state=st.sampled_from(list(SERVICE_TRANSITIONS)),
        credentials=st.none() | CREDENTIALS, static=st.sampled_from([None, "192.0.2.1", "192.0.2.2"]),
        add_ons=st.lists(NAMES, max_size=2, unique=True),
    )  # fmt: skip
    def put_service(self, name, owner, plan, revision, state, credentials, static, add_ons):
        value = {"revision": revision, "subscriber_id": owner, "plan_id": plan, "state": state, "static_ip": static}
        value["add_ons"] = add_ons
        if credentials is not None:
            value["credentials"] = credentials
        self.world.apply("put", "service", name, value, at=AT + self.clock)

    @rule(name=NAMES, credentials=CREDENTIALS, revision=st.none() | REVISIONS)
    def put_credentials(self, name, credentials, revision):
        self.world.apply("put", "credentials", name, {"credentials": credentials}, revision=revision)

    @rule(kind=st.sampled_from(["plan", "subscriber", "service"]), name=NAMES, revision=REVISIONS)
    def delete(self, kind, name, revision):
        self.world.apply("delete", kind, name, revision=revision, at=AT + self.clock)

    @rule(
        status=st.sampled_from([Status.START, Status.INTERIM, Status.INTERIM, Status.STOP, Status.ON]),
        key=st.sampled_from([b"1", b"2"]),
        user=st.sampled_from([b"n1", b"n2", b"02-00-00-00-00-01"]),
        late=st.sampled_from([0, 0, 400]),
        octets=st.integers(0, 100),
    )
    def report(self, status, key, user, late, octets):
        self.clock += 300
        event = self.clock - late
        self.world.report(
            status, key, event, received=self.clock, user=user, time=int(event) % 2000, input=octets, output=octets
        )

    @invariant()
    def balances_are_sound(self):
        store = self.world.store
        for service in store.services.values():
            account = service.account
            if account is None:
                continue
            assert service in account.members
            assert [member.no for member in account.members] == sorted(member.no for member in account.members)
            buckets = ledger.balance_at(store, service, AT + self.clock).buckets
            assert all(bucket.used >= 0 for bucket in buckets)
            names = [(bucket.kind, bucket.id) for bucket in buckets]
            assert len(names) == len(set(names))
        assert all(account.members for account in store.accounts.values())

    @rule()
    def flush(self):
        self.world.disk.settle()

    @rule(days=st.integers(1, 40))
    def wait(self, days):
        self.clock += days * 86_400.0

    @rule()
    def restart(self):
        before = dump(self.world.store)
        self.world = self.world.restart()
        assert dump(self.world.store) == before

    def teardown(self):
        self.restart()


TestRestarts = Restarts.TestCase
TestRestarts.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_time_of_apply_is_the_callers(world):
    world.service("bob", usage={"input_octets": 1, "output_octets": 1}, cycle="day")
    service = world.store.services["bob"]
    assert service.cycle_starts_at <= AT < service.cycle_ends_at
