import ipaddress
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from aaa.config.schema import Pool as PoolConfig
from aaa.limits import POOL_EXPIRE_COUNT_MAX
from aaa.state import pools as pools_module
from aaa.state.pools import Change, Lease, PoolError, Pools, _merge, _without, show_address


def config(name: str, *ranges: str, kind: str = "ipv4", **fields: object) -> PoolConfig:
    return PoolConfig(name, kind, ranges, hold=fields.pop("hold", 0.0), **fields)  # type: ignore[arg-type]


def v4(text: str) -> bytes:
    return ipaddress.IPv4Address(text).packed


def v6(text: str) -> bytes:
    network = ipaddress.IPv6Network(text)
    return bytes([network.prefixlen]) + network.network_address.packed


def restarted(pools: Pools, configs: list[PoolConfig], confirmed: set[int]) -> Pools:
    """What a new process makes of the rows, given the sessions that the store knows to be in accounting."""
    again = Pools(configs)
    rows = list(pools.rows())
    random.Random(1).shuffle(rows)
    again.load(rows)
    for session_id in sorted(confirmed):
        again.confirm(session_id)
    return again


HOME = config("home", "10.0.0.0/29")


@pytest.fixture
def pools() -> Pools:
    return Pools([HOME])


def test_first_leases_go_upwards_and_are_new(pools: Pools) -> None:
    (pool,) = pools.named("home")
    leases = [pool.allocate((n, b""), n, 1.0) for n in range(1, 9)]
    assert [lease.address for lease in leases if lease] == [v4(f"10.0.0.{n}") for n in range(8)]
    assert {lease.change for lease in leases if lease} == {Change.NEW}
    assert pool.allocate((9, b""), 9, 1.0) is None
    assert pool.usage().exhausted_count == 1
    assert (pool.usage().size, pool.usage().bound, pool.usage().pending) == (8, 8, 8)


def test_key_gets_its_own_address_back_while_never_used_ones_are_left(pools: Pools) -> None:
    (pool,) = pools.named("home")
    pool.allocate((1, b""), 1, 1.0)
    (freed,) = pools.release_session(1, 2.0)
    assert (freed.change, freed.released_at, freed.session_id) == (Change.FREED, 2.0, 0)
    other = pool.allocate((2, b""), 2, 3.0)
    assert other is not None
    assert other.address == v4("10.0.0.1")
    again = pool.allocate((1, b""), 3, 4.0)
    assert again is not None
    assert (again.address, again.change) == (v4("10.0.0.0"), Change.RENEWED)


def test_full_pool_gives_out_what_was_released_longest_ago(pools: Pools) -> None:
    (pool,) = pools.named("home")
    for n in range(1, 9):
        pool.allocate((n, b""), n, 1.0)
    for n in (5, 3):
        pools.release_session(n, 2.0)
    taken = pool.allocate((9, b""), 9, 3.0)
    assert taken is not None
    assert (taken.address, taken.change) == (v4("10.0.0.4"), Change.MOVED)
    moved = pool.allocate((5, b""), 10, 4.0)
    assert moved is not None
    assert (moved.address, moved.change) == (v4("10.0.0.2"), Change.MOVED)
    assert pool.usage().moved_count == 2


def test_released_address_is_held_for_its_key_as_long_as_configured() -> None:
    pools = Pools([config("one", "10.0.0.1", hold=60.0)])
    (pool,) = pools.named("one")
    pool.allocate((1, b""), 1, 0.0)
    pools.release_session(1, 100.0)
    assert pool.allocate((2, b""), 2, 159.0) is None
    assert pool.allocate((1, b""), 3, 159.0) is not None
    pools.release_session(3, 200.0)
    assert pool.allocate((2, b""), 4, 260.0) is not None


def test_slots_of_one_service_have_a_lease_each(pools: Pools) -> None:
    (pool,) = pools.named("home")
    one, two = pool.allocate((1, b"tv"), 1, 1.0), pool.allocate((1, b"pc"), 2, 1.0)
    assert one is not None
    assert two is not None
    assert one.address != two.address


def test_same_login_again_changes_nothing(pools: Pools) -> None:
    (pool,) = pools.named("home")
    first = pool.allocate((1, b""), 1, 1.0)
    again = pool.allocate((1, b""), 1, 2.0)
    assert again is first
    assert again is not None
    assert again.change == Change.KEPT


def test_second_login_takes_the_lease_over_once_it_starts(pools: Pools) -> None:
    (pool,) = pools.named("home")
    pool.allocate((1, b""), 1, 1.0)
    pools.confirm(1)
    lease = pool.allocate((1, b""), 2, 5.0)
    assert lease is not None
    assert lease.change == Change.KEPT
    assert lease.row()[4] == 1
    assert pools.confirm(2) == [lease]
    assert lease.row()[4] == 2
    assert pools.release_session(1, 6.0) == []
    assert pools.of_session(2) == (lease,)


def test_login_that_never_starts_leaves_the_lease_to_the_session_in_accounting(pools: Pools) -> None:
    (pool,) = pools.named("home")
    pool.allocate((1, b""), 1, 1.0)
    pools.confirm(1)
    pool.allocate((1, b""), 2, 5.0)
    pool.allocate((1, b""), 3, 6.0)
    assert pools.expire(100.0, 30.0) == []
    (lease,) = pools.of_session(1)
    assert lease.started
    pool.allocate((1, b""), 4, 7.0)
    assert pools.release_session(4, 8.0) == []
    assert pools.of_session(1) == (lease,)
    assert pools.release_session(1, 9.0) == [lease]
    assert lease.change == Change.FREED


def test_old_session_ending_leaves_the_lease_to_the_login_that_took_over(pools: Pools) -> None:
    (pool,) = pools.named("home")
    pool.allocate((1, b""), 1, 1.0)
    pools.confirm(1)
    lease = pool.allocate((1, b""), 2, 5.0)
    assert lease is not None
    assert pools.release_session(1, 6.0) == [lease]
    assert (lease.change, lease.row()[4]) == (Change.RENEWED, 2)
    assert pools.expire(100.0, 30.0) == [lease]


def test_login_replacing_one_that_never_started_writes_its_own_row(pools: Pools) -> None:
    (pool,) = pools.named("home")
    pool.allocate((1, b""), 1, 1.0)
    lease = pool.allocate((1, b""), 2, 2.0)
    assert lease is not None
    assert (lease.change, lease.row()[4]) == (Change.RENEWED, 2)
    assert pools.release_session(1, 3.0) == []


def test_reservation_without_a_start_expires_on_time_and_one_with_a_start_never(pools: Pools) -> None:
    (pool,) = pools.named("home")
    pool.allocate((1, b""), 1, 10.0)
    pool.allocate((2, b""), 2, 20.0)
    pools.confirm(1)
    assert pools.expire(49.9, 30.0) == []
    assert [lease.key for lease in pools.expire(50.0, 30.0)] == [(2, b"")]
    assert pools.expire(1e9, 30.0) == []
    assert pool.usage().expired_count == 1


def test_expiry_works_in_bounded_calls() -> None:
    pools = Pools([config("big", "10.0.0.0/16")])
    (pool,) = pools.named("big")
    for n in range(1, POOL_EXPIRE_COUNT_MAX + 11):
        pool.allocate((n, b""), n, 1.0)
    assert len(pools.expire(100.0, 30.0)) == POOL_EXPIRE_COUNT_MAX
    assert len(pools.expire(100.0, 30.0)) == 10


def test_claimed_address_is_not_given_out_and_a_claim_on_a_bound_one_is_refused(pools: Pools) -> None:
    (pool,) = pools.named("home")
    claimed = pools.claim("default", v4("10.0.0.0"), (7, b""), 70, 1.0)
    assert claimed is not None
    assert claimed.started
    lease = pool.allocate((1, b""), 1, 1.0)
    assert lease is not None
    assert lease.address == v4("10.0.0.1")
    assert pools.claim("default", v4("10.0.0.1"), (7, b""), 71, 1.0) is None
    assert pools.claim("default", v4("192.0.2.1"), (7, b""), 71, 1.0) is None
    assert pools.claim("default", v4("10.0.0.1"), (1, b""), 1, 2.0) is lease
    assert (lease.change, lease.started) == (Change.KEPT, True)


def test_claim_takes_a_remembered_address_from_its_key(pools: Pools) -> None:
    (pool,) = pools.named("home")
    pool.allocate((1, b""), 1, 1.0)
    pools.release_session(1, 2.0)
    claimed = pools.claim("default", v4("10.0.0.0"), (2, b""), 2, 3.0)
    assert claimed is not None
    assert claimed.change == Change.MOVED
    lease = pool.allocate((1, b""), 3, 4.0)
    assert lease is not None
    assert lease.address == v4("10.0.0.1")


def test_prefix_claimed_with_host_bits_is_the_same_prefix() -> None:
    pools = Pools([config("v6", "2001:db8::/62", kind="ipv6")])
    one = pools.claim("default", v6("2001:db8::/64")[:-1] + b"\x01", (1, b""), 1, 1.0)
    assert one is not None
    assert one.address == v6("2001:db8::/64")


@pytest.mark.parametrize("octets", [b"", bytes(3), bytes(16), bytes([129]) + bytes(16)])
def test_what_is_no_address_is_an_illegal_call_that_changes_nothing(pools: Pools, octets: bytes) -> None:
    with pytest.raises(ValueError, match="4 octets"):
        pools.claim("default", octets, (1, b""), 1, 1.0)
    assert list(pools.rows()) == []


def test_static_address_is_never_given_to_others(pools: Pools) -> None:
    (pool,) = pools.named("home")
    pools.reserve("default", v4("10.0.0.0"), 5)
    for n in range(10, 20):
        lease = pool.allocate((n, b""), n, 1.0)
        assert lease is None or lease.address != v4("10.0.0.0")
    assert pools.claim("default", v4("10.0.0.0"), (6, b""), 6, 1.0) is None
    owner = pools.claim("default", v4("10.0.0.0"), (5, b""), 5, 1.0)
    assert owner is not None
    assert pool.usage().bound == 7
    assert [lease.change for lease in pools.release_session(5, 2.0)] == [Change.FORGOTTEN]
    assert pools.forgotten() == [("home", v4("10.0.0.0"))]
    assert pool.allocate((30, b""), 30, 3.0) is None
    pools.unreserve("default", v4("10.0.0.0"))
    freed = pool.allocate((30, b""), 30, 3.0)
    assert freed is not None
    assert freed.address == v4("10.0.0.0")


def test_address_made_static_while_leased_stays_until_the_session_ends(pools: Pools) -> None:
    (pool,) = pools.named("home")
    lease = pool.allocate((1, b""), 1, 1.0)
    pools.reserve("default", v4("10.0.0.0"), 5)
    assert pools.of_session(1) == (lease,)
    assert pools.claim("default", v4("10.0.0.0"), (5, b""), 5, 1.0) is None
    pools.release_session(1, 2.0)
    assert pools.claim("default", v4("10.0.0.0"), (5, b""), 5, 3.0) is not None


def test_static_address_has_one_owner(pools: Pools) -> None:
    pools.reserve("default", v4("10.0.0.0"), 5)
    pools.reserve("default", v4("10.0.0.0"), 5)
    with pytest.raises(PoolError, match=r"10\.0\.0\.0 is static for another"):
        pools.reserve("default", v4("10.0.0.0"), 6)


def test_static_prefix_of_another_length_keeps_what_it_overlaps() -> None:
    pools = Pools([config("pd", "2001:db8::/53", kind="delegated")])
    (pool,) = pools.named("pd")
    pools.reserve("default", v6("2001:db8::/54"), 5)
    pools.reserve("default", v6("2001:db8:0:400::/64"), 6)
    got = [pool.allocate((n, b""), n, 1.0) for n in range(10, 14)]
    assert [show_address(lease.address) for lease in got if lease] == [f"2001:db8:0:{n}00::/56" for n in (5, 6, 7)]
    pools.unreserve("default", v6("2001:db8::/54"))
    lease = pool.allocate((13, b""), 13, 2.0)
    assert lease is not None
    assert lease.address == v6("2001:db8::/56")


def test_static_prefix_that_would_take_a_whole_pool_is_refused() -> None:
    pools = Pools([config("v6", "2001:db8::/40", kind="ipv6")])
    with pytest.raises(PoolError, match="would take more than"):
        pools.reserve("default", v6("2001:db8::/32"), 5)
    pools.unreserve("default", v6("2001:db8::/32"))


def test_pools_of_ten_million_and_more_cost_nothing_until_leased() -> None:
    pools = Pools([config("ten", "10.0.0.0/8"), config("v6", "2001:db8::/32", kind="ipv6")])
    assert [usage.size for usage in pools.usage()] == [2**24, 2**32]
    assert list(pools.rows()) == []


def test_pools_of_one_name_and_several_kinds_are_leased_together() -> None:
    pools = Pools(
        [
            config("dual", "10.0.0.0/30"),
            config("dual", "2001:db8::/48", kind="ipv6"),
            config("dual", "2001:db8:100::/40", kind="delegated"),
        ],
    )
    leases = [pool.allocate((1, b""), 1, 1.0) for pool in pools.named("dual")]
    assert [show_address(lease.address) for lease in leases if lease] == [
        "10.0.0.0",
        "2001:db8::/64",
        "2001:db8:100::/56",
    ]
    assert len(pools.release_session(1, 2.0)) == 3
    assert pools.named("nas-side") == ()


def test_exclusions_are_never_leased() -> None:
    pools = Pools([config("x", "10.0.0.0/29", exclude=("10.0.0.0", "10.0.0.2-10.0.0.5", "10.0.0.7/32"))])
    (pool,) = pools.named("x")
    got = [pool.allocate((n, b""), n, 1.0) for n in range(1, 4)]
    assert [lease and lease.address for lease in got] == [v4("10.0.0.1"), v4("10.0.0.6"), None]


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ([config("a", "10.0.0.0/8"), config("b", "10.1.0.0/16")], "overlap"),
        ([config("a", "10.0.0.0/8"), config("b", "10.1.0.0/16", operator="x")], "overlap"),
        ([config("a", "2001:db8::/32", kind="ipv6"), config("b", "2001:db8::/40", kind="delegated")], "overlap"),
        ([config("a", "10.0.0.0/30"), config("a", "10.1.0.0/30")], "there are two"),
        ([config("a", "2001:db8::/32")], "IPv6"),
        ([config("a", "nonsense")], "nonsense"),
        ([config("a", "10.0.0.0/30", prefix_length=24)], "prefix_length 24"),
        ([config("a", *["10.0.0.1"] * 4097)], "more than 4096"),
    ],
)
def test_bad_reconfiguration_is_refused_and_changes_nothing(
    pools: Pools, configs: list[PoolConfig], message: str
) -> None:
    (pool,) = pools.named("home")
    lease = pool.allocate((1, b""), 1, 1.0)
    with pytest.raises(PoolError, match=message):
        pools.reconfigure(configs)
    assert pools.named("home") == (pool,)
    assert pools.of_session(1) == (lease,)


def test_two_operators_may_lease_the_same_private_addresses() -> None:
    pools = Pools([config("a", "10.0.0.0/30", operator="x"), config("b", "10.0.0.0/30", operator="y")])
    assert pools.claim("x", v4("10.0.0.1"), (1, b""), 1, 1.0) is not None
    assert pools.claim("y", v4("10.0.0.1"), (2, b""), 2, 1.0) is not None
    assert pools.claim("z", v4("10.0.0.1"), (3, b""), 3, 1.0) is None


def test_leases_follow_their_range_into_a_pool_of_another_name(pools: Pools) -> None:
    (pool,) = pools.named("home")
    kept = pool.allocate((1, b""), 1, 1.0)
    pool.allocate((2, b""), 2, 1.0)
    pools.release_session(2, 2.0)
    moved = pools.reconfigure([config("renamed", "10.0.0.0/29")])
    assert [lease.row()[:3] for lease in moved] == [
        ("renamed", v4("10.0.0.0"), 1),
        ("renamed", v4("10.0.0.1"), 2),
    ]
    assert pools.forgotten() == [("home", v4("10.0.0.0")), ("home", v4("10.0.0.1"))]
    (renamed,) = pools.named("renamed")
    assert renamed.allocate((1, b""), 1, 3.0) is kept
    again = renamed.allocate((2, b""), 3, 3.0)
    assert again is not None
    assert (again.address, again.change) == (v4("10.0.0.1"), Change.RENEWED)


def test_bound_lease_outside_all_ranges_is_kept_and_not_given_out_under_another_length() -> None:
    pools = Pools([config("v6", "2001:db8::/62", kind="ipv6")])
    (pool,) = pools.named("v6")
    lease = pool.allocate((1, b""), 1, 1.0)
    pools.confirm(1)
    changed = [config("pd", "2001:db8::/62", kind="delegated", prefix_length=63)]
    assert pools.reconfigure(changed) == []
    (delegated,) = pools.named("pd")
    assert pools.of_session(1) == (lease,)
    first = delegated.allocate((2, b""), 2, 2.0)
    assert first is not None
    assert show_address(first.address) == "2001:db8:0:2::/63"
    assert delegated.allocate((3, b""), 3, 2.0) is None
    again = restarted(pools, changed, {1})
    assert again.named("pd")[0].allocate((3, b""), 3, 2.0) is None
    pools.release_session(1, 3.0)
    assert pools.forgotten() == [("v6", v6("2001:db8::/64"))]
    assert delegated.allocate((3, b""), 3, 4.0) is not None


def test_leases_of_a_shared_range_move_to_the_pool_of_their_own_operator_only() -> None:
    operators = {1: "x", 2: "y", 3: "x"}
    pools = Pools([config("all", "10.0.0.0/31")], operators.__getitem__)
    for n in (1, 2):
        pools.named("all")[0].allocate((n, b""), n, 1.0)
    moved = pools.reconfigure([config("x", "10.0.0.0/31", operator="x")])
    assert [lease.key for lease in moved] == [(1, b"")]
    lease = pools.named("x")[0].allocate((3, b""), 3, 2.0)
    assert lease is not None
    assert lease.address == v4("10.0.0.1")
    assert sorted(lease.key[0] for lease in pools.expire(100.0, 30.0)) == [1, 2, 3]


def test_memory_of_released_leases_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools_module, "POOL_REMEMBERED_COUNT_MAX", 3)
    pools = Pools([config("ten", "10.0.0.0/8")])
    (pool,) = pools.named("ten")
    for n in range(1, 50):
        pool.allocate((n, b""), n, float(n))
        pools.release_session(n, float(n))
    assert pool.usage().remembered == 3
    assert len(list(pools.rows())) == 3


def test_releases_at_one_instant_or_out_of_order_keep_their_order_over_a_restart() -> None:
    configs = [config("home", "10.0.0.0/30")]
    pools = Pools(configs)
    (pool,) = pools.named("home")
    for n in range(1, 5):
        pool.allocate((n, b""), n, 1.8e9)
    for n, at in ((3, 1.8e9), (1, 1.8e9), (4, 1.7e9), (2, 1.8e9)):
        pools.release_session(n, at)
    again = restarted(pools, configs, set())
    for each in (pools, again):
        got = [each.named("home")[0].allocate((n, b""), n, 1.9e9) for n in range(10, 14)]
        assert [lease.address[3] for lease in got if lease] == [2, 0, 3, 1]


runs = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 8)).map(lambda run: (run[0], sum(run))), max_size=8)


@given(runs, runs)
def test_taking_runs_out_of_runs_is_set_difference(left: list[tuple[int, int]], taken: list[tuple[int, int]]) -> None:
    def members(of: list[tuple[int, int]]) -> set[int]:
        return {number for first, end in of for number in range(first, end)}

    assert members(_merge(left)) == members(left)
    assert members(_without(_merge(left), _merge(taken))) == members(left) - members(taken)


LAYOUTS = [
    [config("a", "10.0.0.0-10.0.0.5"), config("p", "2001:db8::/54", kind="delegated")],
    [config("a", "10.0.0.2-10.0.0.7"), config("p", "2001:db8::/54", kind="delegated")],
    [
        config("a", "10.0.0.0-10.0.0.1"),
        config("b", "10.0.0.2-10.0.0.5"),
        config("p", "2001:db8::/55", kind="delegated"),
    ],
    [
        config("a", "10.0.0.0-10.0.0.5", exclude=("10.0.0.1",)),
        config("p", "2001:db8::/54", kind="ipv6", prefix_length=57),
    ],
    [config("b", "10.0.0.0-10.0.0.3"), config("p", "2001:db8::/54", kind="delegated", prefix_length=55)],
    [config("a", "10.0.0.0-10.0.0.5", operator="default")],
]
STATICS = [v4("10.0.0.1"), v4("10.0.0.3"), v6("2001:db8::/56"), v6("2001:db8:0:100::/57"), v6("2001:db8:0:200::/55")]
keys = st.tuples(st.integers(1, 5), st.sampled_from([b"", b"tv"]))
sessions = st.integers(1, 12)


def span(address: bytes) -> tuple[int, int, int]:
    shift = 0 if len(address) == 4 else 128 - address[0]
    first = int.from_bytes(address[-16:] if len(address) == 17 else address, "big")
    return len(address), first, first + (1 << shift)


def overlap(a: bytes, b: bytes) -> bool:
    (kind, first, end), (other_kind, other_first, other_end) = span(a), span(b)
    return kind == other_kind and first < other_end and other_first < end


def units(layout: PoolConfig) -> Iterator[bytes]:
    """Every address of a layout's pool, by the standard library's arithmetic."""
    for text in layout.ranges:
        if layout.kind == "ipv4":
            first, last = (ipaddress.IPv4Address(part) for part in text.split("-"))
            for number in range(int(first), int(last) + 1):
                address = ipaddress.IPv4Address(number)
                if str(address) not in layout.exclude:
                    yield address.packed
        else:
            for network in ipaddress.IPv6Network(text).subnets(new_prefix=layout.prefix_length or 56):
                yield bytes([network.prefixlen]) + network.network_address.packed


class PoolMachine(RuleBasedStateMachine):
    """Whatever is asked in whatever order: no address is in two hands, none is refused while one is free, a key gets
    its own back while nobody took it, and a restart changes nothing."""

    @initialize(layout=st.sampled_from(LAYOUTS))
    def start(self, layout: list[PoolConfig]) -> None:
        self.layout = layout
        self.pools = Pools(layout)
        self.at = 1000.0
        self.statics: dict[bytes, int] = {}
        self.started: set[int] = set()
        self.twofold: set[tuple[int, bytes]] = set()
        """Keys that a claim or a merged pool gave a second lease: which of them is the key's own is not promised."""
        self.stored: dict[tuple[str, bytes], tuple[object, ...]] = {}

    def write(self, *leases: Lease | None) -> None:
        """Keep the rows as the caller's store would: what came back changed, and what is forgotten."""
        for lease in leases:
            if lease is not None and lease.change not in (Change.KEPT, Change.FORGOTTEN):
                self.stored[lease.pool, lease.address] = lease.row()
        for row in self.pools.forgotten():
            self.stored.pop(row, None)

    def bound(self) -> list[bytes]:
        return [row[1] for row in self.pools.rows() if row[4]]

    def is_free(self, address: bytes) -> bool:
        return not any(overlap(address, other) for other in (*self.bound(), *self.statics))

    @rule(key=keys, session_id=sessions, which=st.integers(0, 2))
    def allocate(self, key: tuple[int, bytes], session_id: int, which: int) -> None:
        layout = self.layout[which % len(self.layout)]
        (pool,) = self.pools.named(layout.name)
        free = [address for address in units(layout) if self.is_free(address)]
        rows = [row for row in self.pools.rows() if row[1] in set(units(layout)) and (row[2], row[3]) == key]
        remembered = max((row[6], row[1]) for row in rows) if rows and not any(row[4] for row in rows) else None
        was_bound = [row[1] for row in rows if row[4]]
        lease = pool.allocate(key, session_id, self.at)
        self.write(lease)
        if lease is None:
            assert not free
            assert not was_bound or key in self.twofold
            return
        assert lease.key == key
        assert lease.session_id == session_id or session_id == lease.previous
        if key in self.twofold:
            return
        if was_bound:
            assert lease.address in was_bound
        else:
            assert lease.address in free
            if len(rows) == 1 and remembered is not None and remembered[1] in free:
                assert (lease.address, lease.change) == (remembered[1], Change.RENEWED)

    @rule(session_id=sessions)
    def confirm(self, session_id: int) -> None:
        if self.pools.of_session(session_id):
            self.started.add(session_id)
        self.write(*self.pools.confirm(session_id))

    @rule(session_id=sessions)
    def stop(self, session_id: int) -> None:
        self.write(*self.pools.release_session(session_id, self.at))
        self.started.discard(session_id)
        assert self.pools.of_session(session_id) == ()

    @rule(session_id=sessions)
    def release(self, session_id: int) -> None:
        for lease in self.pools.of_session(session_id):
            assert self.pools.release(lease, self.at)
            assert not self.pools.release(lease, self.at)
            self.write(lease)

    @rule(seconds=st.sampled_from([0.0, 0.0, 1.0, 20.0, 40.0, -5.0]))
    def expire(self, seconds: float) -> None:
        self.at += seconds
        self.write(*self.pools.expire(self.at, 30.0))

    @rule(key=keys, session_id=sessions, which=st.integers(0, 2), number=st.integers(0, 7))
    def claim(self, key: tuple[int, bytes], session_id: int, which: int, number: int) -> None:
        addresses = list(units(self.layout[which % len(self.layout)]))
        address = addresses[number % len(addresses)]
        if any(overlap(address, other) and other != address for other in (*self.bound(), *self.statics)):
            return  # The network reports what it likes; only the exact address can be refused.
        before = self.pools.find("default", address)
        self.twofold |= {row[2:4] for row in self.pools.rows() if row[2:4] == key and row[1] != address}
        holder = (before.key, before.session_id) if before is not None and before.session_id else None
        lease = self.pools.claim("default", address, key, session_id, self.at)
        self.write(lease)
        if lease is None:
            others = holder is not None and key != holder[0] and session_id != holder[1]
            assert others or self.statics.get(address, key[0]) != key[0]
        else:
            assert (lease.address, lease.key, lease.session_id, lease.started) == (address, key, session_id, True)
            self.started.add(session_id)

    @rule(address=st.sampled_from(STATICS), service=st.integers(1, 5))
    def reserve(self, address: bytes, service: int) -> None:
        if any(overlap(address, other) and other != address for other in self.statics):
            return
        if self.statics.get(address, service) != service:
            with pytest.raises(PoolError):
                self.pools.reserve("default", address, service)
        else:
            self.pools.reserve("default", address, service)
            self.statics[address] = service
        self.write()

    @rule(address=st.sampled_from(STATICS))
    def unreserve(self, address: bytes) -> None:
        self.pools.unreserve("default", address)
        self.statics.pop(address, None)
        self.write()

    @rule(layout=st.sampled_from(LAYOUTS))
    def reload(self, layout: list[PoolConfig]) -> None:
        before = sorted(self.bound())
        self.write(*self.pools.reconfigure(layout))
        self.layout = layout
        assert sorted(self.bound()) == before
        owners = [(row[0], len(row[1]), row[2:4]) for row in self.pools.rows()]
        self.twofold |= {owner[2] for owner in owners if owners.count(owner) > 1}

    @rule()
    def restart(self) -> None:
        again = Pools(self.layout)
        for address, service in self.statics.items():
            again.reserve("default", address, service)
        again.load(list(self.stored.values()))  # type: ignore[arg-type]
        for session_id in sorted(self.started):
            again.confirm(session_id)
        assert sorted(again.rows()) == sorted(self.pools.rows())
        self.pools = again
        self.started = {session for session in self.started if again.of_session(session)}
        self.write()

    @invariant()
    def no_address_is_in_two_hands(self) -> None:
        bound = self.bound()
        for number, address in enumerate(bound):
            assert not any(overlap(address, other) for other in bound[:number])

    @invariant()
    def store_has_every_row(self) -> None:
        assert sorted(self.stored.values()) == sorted(self.pools.rows())

    @invariant()
    def figures_add_up(self) -> None:
        for usage, layout in zip(self.pools.usage(), self.layout, strict=True):
            mine = set(units(layout))
            rows = [row for row in self.pools.rows() if row[1] in mine]
            assert usage.size == len(mine)
            assert usage.bound == sum(1 for row in rows if row[4] and row[1] not in self.statics)
            assert usage.remembered == sum(1 for row in rows if not row[4])


PoolMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestPools = PoolMachine.TestCase
