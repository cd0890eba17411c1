"""The NAS registry: who a source is, what it may send, what is learned about it, and what a reload keeps."""

from ipaddress import IPv4Address, IPv4Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa import limits
from aaa.config import Nas, Redacted
from aaa.radius import clients as registry
from aaa.radius.clients import Client, Clients, Shared


def nas(name: str, *address: str, **fields: object) -> Nas:
    fields.setdefault("secret", Redacted("a-long-enough-secret"))
    return Nas(name=name, address=address, **fields)  # type: ignore[arg-type]


def octets(text: str) -> bytes:
    return ip_address(text).packed


def name_of(found: Client | Shared | None) -> str | None:
    return found.name if isinstance(found, Client) else None


def test_exact_address_wins_over_prefix_and_the_longest_prefix_over_shorter_ones() -> None:
    clients = Clients([nas("wide", "10.0.0.0/8"), nas("narrow", "10.1.0.0/16"), nas("one", "10.1.2.3")])
    assert name_of(clients.find(octets("10.9.9.9"))) == "wide"
    assert name_of(clients.find(octets("10.1.9.9"))) == "narrow"
    assert name_of(clients.find(octets("10.1.2.3"))) == "one"
    assert name_of(clients.find(octets("10.1.2.3"))) == "one"
    assert clients.find(octets("11.0.0.1")) is None


def test_ipv6_and_ipv4_do_not_meet() -> None:
    clients = Clients([nas("six", "2001:db8::/32", "::1"), nas("four", "127.0.0.1", "0.0.0.0/0")])
    assert name_of(clients.find(octets("2001:db8:1::9"))) == "six"
    assert name_of(clients.find(octets("::1"))) == "six"
    assert name_of(clients.find(octets("192.0.2.1"))) == "four"
    assert clients.find(octets("2001:db9::1")) is None


@pytest.mark.parametrize("address", [b"", b"\x7f", b"\x7f\0\0\1\0", b"\0" * 15])
def test_an_address_of_odd_length_is_unknown(address: bytes) -> None:
    assert Clients([nas("all", "0.0.0.0/0", "::/0")]).find(address) is None


@given(
    prefixes=st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=12),
    sources=st.lists(st.integers(0, 2**32 - 1), max_size=12),
)
def test_find_is_the_longest_match_of_a_linear_search(prefixes: list[tuple[int, int]], sources: list[int]) -> None:
    networks = {IPv4Network((number >> (32 - length) << (32 - length), length)) for number, length in prefixes}
    clients = Clients([nas(str(network), str(network)) for network in networks])
    for number in [*sources, *(int(network[0]) for network in networks), *(int(network[-1]) for network in networks)]:
        address = IPv4Address(number)
        matches = [network for network in networks if address in network]
        expected = str(max(matches, key=lambda network: network.prefixlen)) if matches else None
        assert name_of(clients.find(address.packed)) == expected
        assert name_of(clients.find(address.packed)) == expected


def test_clients_behind_one_prefix_are_told_apart_by_nas_identifier() -> None:
    clients = Clients(
        [
            nas("a", "198.51.100.0/24", identifier="ap-a"),
            nas("rest", "198.51.100.0/24"),
            nas("b", "198.51.100.0/24", identifier="ap-b"),
        ]
    )
    shared = clients.find(octets("198.51.100.7"))
    assert isinstance(shared, Shared)
    assert name_of(clients.find_by_identifier(shared, b"ap-a")) == "a"
    assert name_of(clients.find_by_identifier(shared, b"ap-b")) == "b"
    assert name_of(clients.find_by_identifier(shared, b"other")) == "rest"
    assert name_of(clients.find_by_identifier(shared, None)) == "rest"


def test_without_a_default_an_unclaimed_identifier_is_unknown() -> None:
    clients = Clients([nas("a", "192.0.2.1", identifier="ap-a")])
    shared = clients.find(octets("192.0.2.1"))
    assert isinstance(shared, Shared)
    assert clients.find_by_identifier(shared, b"ap-x") is None
    assert clients.find_by_identifier(shared, None) is None
    assert clients.find_by_identifier(shared, b"") is None


def test_the_result_cache_is_bounded_and_keeps_exact_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CLIENT_CACHE_COUNT_MAX", 8)
    clients = Clients([nas("wide", "10.0.0.0/8"), nas("one", "192.0.2.1")])
    for number in range(100):
        assert name_of(clients.find(IPv4Address(0x0A000000 + number).packed)) == "wide"
        assert len(clients._cache) <= 1 + 8
    assert name_of(clients.find(octets("192.0.2.1"))) == "one"


def test_unknown_sources_do_not_enter_the_cache() -> None:
    clients = Clients([nas("one", "192.0.2.1")])
    for number in range(100):
        assert clients.find(IPv4Address(number).packed) is None
    assert len(clients._cache) == 1


def test_every_setting_is_an_attribute() -> None:
    client = Client(
        nas(
            "x",
            "192.0.2.1",
            second_secret=Redacted("another-long-secret"),
            family="cisco",
            identity=("password", "circuit"),
            message_authenticator="require",
            allow_proxy_state=True,
            coa_port=1700,
            coa_address="192.0.2.9",
            interim_minimum=600.0,
            event_timestamp="ignore",
            options={"pool": "p"},
        )
    )
    assert len(client.secrets) == 2
    assert (client.allow_password, client.allow_mac, client.allow_circuit) == (True, False, True)
    assert (client.family, client.coa_port, client.coa_address) == ("cisco", 1700, "192.0.2.9")
    assert client.message_authenticator == registry.MA_REQUIRE
    assert (client.interim_minimum_s, client.event_timestamp, client.options) == (600, False, {"pool": "p"})
    assert "long" not in repr(client)


def test_no_rate_limit_admits_everything() -> None:
    assert Client(nas("x", "192.0.2.1")).allow(1_000_000, 0.0) == 1_000_000


def test_the_rate_limit_admits_a_burst_and_then_the_rate() -> None:
    client = Client(nas("x", "192.0.2.1", rate_limit=10.0, rate_burst=5))
    assert client.allow(8, 100.0) == 5
    assert client.allow(1, 100.0) == 0
    assert client.allow(8, 100.25) == 2
    assert client.allow(8, 100.375) == 1
    assert client.allow(100, 200.0) == 5
    assert client.allow(0, 200.0) == 0
    assert client.allow(3, 199.0) == 0, "a clock that seems to go back gives nothing away"


def test_a_rate_below_one_a_second_still_admits_single_requests() -> None:
    client = Client(nas("x", "192.0.2.1", rate_limit=0.5))
    assert [client.allow(1, now) for now in (0.0, 1.0, 2.0, 3.0, 4.0)] == [1, 0, 1, 0, 1]


@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 3)), max_size=60))
def test_no_more_than_burst_and_rate_over_any_time(calls: list[tuple[int, float]]) -> None:
    client = Client(nas("x", "192.0.2.1", rate_limit=10.0, rate_burst=20))
    now, admitted = 0.0, 0
    for count, pause in calls:
        now += pause
        got = client.allow(count, now)
        assert 0 <= got <= count
        admitted += got
        assert admitted <= 20 + 10 * now + 1e-6


def test_a_reload_keeps_counters_and_bucket_of_a_name_that_stays() -> None:
    clients = Clients([nas("stays", "192.0.2.1", rate_limit=1.0, rate_burst=10), nas("goes", "192.0.2.2")])
    before = clients.by_name["stays"]
    before.counters[registry.COUNT_ACCEPTS] = 7
    assert before.allow(10, 50.0) == 10
    clients.reconfigure([nas("stays", "192.0.2.9", rate_limit=1.0, rate_burst=10), nas("comes", "192.0.2.2")])
    after = clients.by_name["stays"]
    assert after is not before
    assert after.counters[registry.COUNT_ACCEPTS] == 7
    assert after.allow(10, 50.0) == 0
    before.counters[registry.COUNT_REJECTS] += 1
    assert after.counters[registry.COUNT_REJECTS] == 1, "a packet in work under the former client still counts"
    assert clients.find(octets("192.0.2.1")) is None
    assert name_of(clients.find(octets("192.0.2.2"))) == "comes"
    assert len(clients) == 2


def test_a_lower_burst_takes_effect_on_reload() -> None:
    clients = Clients([nas("x", "192.0.2.1", rate_limit=100.0)])
    clients.reconfigure([nas("x", "192.0.2.1", rate_limit=1.0, rate_burst=2)])
    assert clients.by_name["x"].allow(10, 0.0) == 2


@pytest.mark.parametrize(
    "bad",
    [
        [nas("a", "192.0.2.1"), nas("b", "192.0.2.1")],
        [nas("a", "192.0.2.1", identifier="i"), nas("b", "192.0.2.1", identifier="i")],
        [nas("a", "192.0.2.1"), nas("a", "192.0.2.2")],
        [nas("a", "192.0.2.1", secret=None)],
        [nas("a", "somewhere")],
    ],
)
def test_a_bad_reload_changes_nothing(bad: list[Nas]) -> None:
    clients = Clients([nas("old", "192.0.2.1")])
    with pytest.raises(ValueError, match=r"."):
        clients.reconfigure(bad)
    assert name_of(clients.find(octets("192.0.2.1"))) == "old"
    assert list(clients.by_name) == ["old"]


def test_an_address_listed_twice_in_one_entry_is_no_conflict() -> None:
    clients = Clients([nas("a", "192.0.2.1", "192.0.2.1/32", identifier="i")])
    assert isinstance(clients.find(octets("192.0.2.1")), Shared)


def test_unknown_sources_are_counted_with_what_they_sent_last() -> None:
    clients = Clients()
    clients.note_unknown(octets("192.0.2.1"), 1, b"ap-1", 100.0)
    source = clients.note_unknown(octets("192.0.2.1"), 4, None, 160.0)
    assert (source.count, source.first_at, source.last_at, source.code) == (2, 100.0, 160.0, 4)
    assert source.nas_identifier is None


def test_the_unknown_source_not_seen_for_longest_makes_room() -> None:
    clients = Clients(unknown_count=2)
    for at, host in enumerate((1, 2, 1, 3)):
        clients.note_unknown(bytes([192, 0, 2, host]), 1, None, float(at))
    assert list(clients.unknown) == [octets("192.0.2.1"), octets("192.0.2.3")]
    assert clients.unknown[octets("192.0.2.1")].count == 2


def test_a_source_that_becomes_a_client_is_no_longer_unknown() -> None:
    clients = Clients()
    clients.note_unknown(octets("192.0.2.1"), 1, None, 1.0)
    clients.note_unknown(octets("192.0.2.2"), 1, None, 1.0)
    clients.reconfigure([nas("a", "192.0.2.1")])
    assert list(clients.unknown) == [octets("192.0.2.2")]


def test_report_names_the_sources_that_would_break_under_require() -> None:
    clients = Clients([nas("shared", "10.0.0.0/8"), nas("single", "192.0.2.1")])
    shared, single = clients.by_name["shared"], clients.by_name["single"]
    clients.learn(octets("10.0.0.2"), shared, False, True, 1000.0)
    clients.learn(octets("10.0.0.1"), shared, True, False, 1000.0)
    clients.learn(octets("192.0.2.1"), single, False, False, 500.0)
    clients.learn(octets("192.0.2.1"), single, True, False, 1000.0)
    assert [(row.client, row.address, row.proxy_state) for row in clients.report(since_at=0.0)] == [
        ("shared", octets("10.0.0.2"), True),
        ("single", octets("192.0.2.1"), False),
    ]
    assert [row.client for row in clients.report(since_at=500.0)] == ["shared"], "repaired since"
    row = clients.posture(octets("192.0.2.1"))
    assert row is not None
    assert (row.with_count, row.without_count, row.last_with_at, row.last_without_at) == (1, 1, 1000.0, 500.0)
    assert clients.posture(octets("192.0.2.77")) is None


def test_proxy_state_beside_a_message_authenticator_breaks_nothing() -> None:
    clients = Clients([nas("x", "192.0.2.1")])
    clients.learn(octets("192.0.2.1"), clients.by_name["x"], True, True, 1.0)
    assert clients.report(since_at=0.0) == []
    assert clients.dump()[0].proxy_state is False


def test_what_was_learned_survives_dump_and_load_in_order() -> None:
    clients = Clients([nas("x", "10.0.0.0/8")])
    client = clients.by_name["x"]
    for host in (3, 1, 2, 3):
        clients.learn(bytes([10, 0, 0, host]), client, host == 1, False, float(host))
    rows = [tuple(row) for row in clients.dump()]
    assert [row[0][3] for row in rows] == [1, 2, 3]
    again = Clients([nas("x", "10.0.0.0/8")])
    again.load([*rows, (b"\x0b\0\0\1", "gone", 1, 1, 1.0, 1.0, False)])
    assert again.dump() == clients.dump()
    again.learn(bytes([10, 0, 0, 2]), again.by_name["x"], False, False, 9.0)
    assert again.dump()[-1].without_count == 2


def test_posture_of_a_client_that_goes_is_forgotten_and_of_one_that_stays_is_kept() -> None:
    clients = Clients([nas("a", "192.0.2.1"), nas("b", "192.0.2.2")])
    for name, address in (("a", "192.0.2.1"), ("b", "192.0.2.2")):
        clients.learn(octets(address), clients.by_name[name], False, False, 1.0)
    clients.reconfigure([nas("a", "192.0.2.1", message_authenticator="require")])
    assert [row.client for row in clients.dump()] == ["a"]


def test_the_posture_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "POSTURE_SOURCES_COUNT_MAX", 4)
    clients = Clients([nas("x", "10.0.0.0/8")])
    for host in range(10):
        clients.learn(bytes([10, 0, 0, host]), clients.by_name["x"], True, False, float(host))
    assert [row.address[3] for row in clients.dump()] == [6, 7, 8, 9]


def test_defaults_come_from_the_limits() -> None:
    assert Clients().unknown_count == limits.UNKNOWN_SOURCES_COUNT


def test_every_counter_has_its_constant() -> None:
    for number, name in enumerate(registry.COUNTERS):
        assert getattr(registry, f"COUNT_{name.upper()}") == number


@pytest.mark.parametrize(("address", "text"), [(b"\x7f\0\0\1", "127.0.0.1"), (b"\0" * 15 + b"\1", "::1")])
def test_addresses_are_shown_as_text(address: bytes, text: str) -> None:
    assert registry.format_address(address) == text
