"""Each NAS family gets its own attributes, in its order of directions, units and bounds; whatever the decision is."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pyrad.dictionary
import pyrad.packet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.dictionary import SHIPPED, load
from aaa.mapping.families import (
    FAMILIES,
    RENDERED_OCTETS_MAX,
    REPEATABLE,
    RenderOptions,
    check_attributes,
    check_options,
    live_attributes,
    nas_pool,
    options_from,
    render,
)
from aaa.mapping.families.options import TEMPLATE_FIELDS, TEMPLATES, fill, kilobits, megabits, short_rate
from aaa.mapping.families.table import COMMON_OPTIONS, burst_bits
from native.radius import Packet
from policy import model
from policy.model import Attribute, Burst, Decision, Rate

DICTIONARY = load()
PYRAD = pyrad.dictionary.Dictionary(str(SHIPPED / "dictionary"))
M = 1_000_000
HOME = Rate(50 * M, 10 * M)

Pairs = list[tuple[str, str | int]]


def granted(rate: Rate | None = HOME, **fields: Any) -> Decision:
    return Decision(grant=True, reason="granted", rate=rate, **fields)


def packet(attributes: bytes) -> Packet:
    decoded = Packet.parse(bytes([2, 7]) + (20 + len(attributes)).to_bytes(2, "big") + bytes(16) + attributes)
    assert decoded.fault == 0
    return decoded


def by_pyrad(pairs: Iterable[tuple[str, str | int]]) -> bytes:
    """The attributes as pyrad encodes them, one packet each so that order is ours."""
    wire = b""
    for name, value in pairs:
        reply = pyrad.packet.Packet(code=2, id=7, secret=b"x", authenticator=bytes(16), dict=PYRAD)
        reply.AddAttribute(name, value)
        wire += reply._PktEncodeAttributes()
    return wire


def check(decision: Decision, pairs: Pairs, family: str, **options: Any) -> None:
    wire = render(decision, options_from(family, options, DICTIONARY), DICTIONARY)
    assert wire == by_pyrad(pairs), DICTIONARY.decode_packet(packet(wire))


PLAIN_WIRE = {
    "generic": "1a0c0000372a080602faf080 1a0c0000372a070600989680",
    "mikrotik": "1a0f00003a8c0809 31304d2f35304d",
    "cisco": (
        "1a7300000009 016d 6c63703a696e746572666163652d636f6e6669672331 3d"
        "726174652d6c696d697420696e707574203130303030303030203138373530303020333735303030302063"
        "6f6e666f726d2d616374696f6e207472616e736d6974206578636565642d616374696f6e2064726f70"
        "1a7500000009 016f 6c63703a696e746572666163652d636f6e6669672332 3d"
        "726174652d6c696d6974206f75747075742035303030303030302039333735303030203138373530303030"
        "20636f6e666f726d2d616374696f6e207472616e736d6974206578636565642d616374696f6e2064726f70"
    ),
    "juniper": "1a0f0000130a 6c09 5430322035306d",
    "huawei": "1a0c000007db020600989680 1a0c000007db030600989680 1a0c000007db050602faf080 1a0c000007db060602faf080",
    "nokia": ("1a170000197f 7e11 693a713a313a7069723d3130303030 1a160000197f 7e10 653a723a726174653d3530303030"),
    "zte": "1a0c00000f3e530602faf080 1a0c00000f3e590600989680",
    "ubiquiti": "1a0c0000372a080602faf080 1a0c0000372a070600989680",
    "cambium": ("1a0c0000372a080602faf080 1a0c0000372a070600989680 1a0c000045311a0600002710 1a0c000045311b060000c350"),
    "accel-ppp": "0b0d 35303030302f3130303030",
}
"""50 Mbit/s down, 10 up, as octets."""


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_rate_on_the_wire(family: str) -> None:
    assert render(granted(), RenderOptions(family=family), DICTIONARY).hex() == PLAIN_WIRE[family].replace(" ", "")


def car(direction: str, number: int, rate: int, normal: int, extended: int) -> tuple[str, str]:
    text = f"rate-limit {direction} {rate} {normal} {extended} conform-action transmit exceed-action drop"
    return ("Cisco-AVPair", f"lcp:interface-config#{number}={text}")


BURST = Rate(50 * M, 10 * M, Burst(100 * M, 20 * M, 40 * M, 8 * M, 12))


@pytest.mark.parametrize(
    ("family", "pairs"),
    [
        ("generic", [("WISPr-Bandwidth-Max-Down", 50 * M), ("WISPr-Bandwidth-Max-Up", 10 * M)]),
        ("mikrotik", [("Mikrotik-Rate-Limit", "10M/50M 20M/100M 8M/40M 12/12")]),
        ("cisco", [car("input", 1, 10 * M, 1875000, 7875000), car("output", 2, 50 * M, 9375000, 39375000)]),
        ("juniper", [("ERX-CoS-Shaping-Pmt-Type", "T02 50m")]),
        (
            "huawei",
            [
                ("Huawei-Input-Average-Rate", 10 * M),
                ("Huawei-Input-Peak-Rate", 20 * M),
                ("Huawei-Output-Average-Rate", 50 * M),
                ("Huawei-Output-Peak-Rate", 100 * M),
            ],
        ),
        (
            "nokia",
            [("Alc-Subscriber-QoS-Override", "i:q:1:pir=10000"), ("Alc-Subscriber-QoS-Override", "e:r:rate=50000")],
        ),
        ("zte", [("ZTE-Rate-Ctrl-SCR-Down", 50 * M), ("ZTE-Rate-Ctrl-SCR-Up", 10 * M)]),
        ("ubiquiti", [("WISPr-Bandwidth-Max-Down", 50 * M), ("WISPr-Bandwidth-Max-Up", 10 * M)]),
        (
            "cambium",
            [
                ("WISPr-Bandwidth-Max-Down", 50 * M),
                ("WISPr-Bandwidth-Max-Up", 10 * M),
                ("Cambium-ePMP-Max-Burst-Uplink-Rate", 10000),
                ("Cambium-ePMP-Max-Burst-Downlink-Rate", 50000),
            ],
        ),
        ("accel-ppp", [("Filter-Id", "50000/10000")]),
    ],
)
def test_rate_with_burst(family: str, pairs: Pairs) -> None:
    check(granted(BURST), pairs, family)


GARDEN = Decision(grant=True, reason="restricted", rate=Rate(M, 512_000), walled_garden=True)


@pytest.mark.parametrize(
    ("family", "options", "pairs"),
    [
        (
            "generic",
            {"garden_filter": "portal"},
            [("WISPr-Bandwidth-Max-Down", M), ("WISPr-Bandwidth-Max-Up", 512_000), ("Filter-Id", "portal")],
        ),
        ("mikrotik", {}, [("Mikrotik-Rate-Limit", "512k/1M"), ("Mikrotik-Address-List", "walled-garden")]),
        (
            "mikrotik",
            {"garden_list": "debtors", "garden_filter": "debt", "garden_pool": "debt-pool"},
            [
                ("Mikrotik-Rate-Limit", "512k/1M"),
                ("Mikrotik-Address-List", "debtors"),
                ("Filter-Id", "debt"),
                ("Framed-Pool", "debt-pool"),
            ],
        ),
        (
            "cisco",
            {"garden_list": "GARDEN", "garden_group": "PORTAL", "garden_service": "OPEN"},
            [
                car("input", 1, 512_000, 96_000, 192_000),
                car("output", 2, M, 187_500, 375_000),
                ("Cisco-AVPair", "ip:l4redirect=redirect list GARDEN to group PORTAL"),
                ("Cisco-Account-Info", "AOPEN"),
            ],
        ),
        (
            "cisco",
            {"rate_style": "policy", "garden_url": "https://pay.example/", "garden_list": "GARDEN"},
            [("Cisco-AVPair", "url-redirect=https://pay.example/"), ("Cisco-AVPair", "url-redirect-acl=GARDEN")],
        ),
        (
            "juniper",
            {"garden_filter": "garden-in", "garden_router": "portal"},
            [
                ("ERX-CoS-Shaping-Pmt-Type", "T02 1m"),
                ("ERX-Ingress-Policy-Name", "garden-in"),
                ("ERX-Redirect-VR-Name", "portal"),
            ],
        ),
        (
            "huawei",
            {"garden_url": "http://pay.example/", "garden_filter": "debtors", "garden_domain": "garden"},
            [
                ("Huawei-Input-Average-Rate", 512_000),
                ("Huawei-Input-Peak-Rate", 512_000),
                ("Huawei-Output-Average-Rate", M),
                ("Huawei-Output-Peak-Rate", M),
                ("Filter-Id", "debtors"),
                ("Huawei-HTTP-Redirect-URL", "http://pay.example/"),
                ("Huawei-Domain-Name", "garden"),
            ],
        ),
        (
            "nokia",
            {"garden_filter": "Ingr-v4:10", "garden_redirect": "Ingr-v4:20", "garden_profile": "garden"},
            [
                ("Alc-Subscriber-QoS-Override", "i:q:1:pir=512"),
                ("Alc-Subscriber-QoS-Override", "e:r:rate=1000"),
                ("Alc-Subscriber-Filter", "Ingr-v4:10"),
                ("Alc-Onetime-Http-Redirection-Filter-Id", "Ingr-v4:20"),
                ("Alc-SLA-Prof-Str", "garden"),
            ],
        ),
        (
            "zte",
            {"garden_url": "http://pay.example/"},
            [
                ("ZTE-Rate-Ctrl-SCR-Down", M),
                ("ZTE-Rate-Ctrl-SCR-Up", 512_000),
                ("ZTE-PPPOE-URL", "http://pay.example/"),
            ],
        ),
        (
            "ubiquiti",
            {"garden_vlan": 666},
            [
                ("WISPr-Bandwidth-Max-Down", M),
                ("WISPr-Bandwidth-Max-Up", 512_000),
                ("Tunnel-Type", 13),
                ("Tunnel-Medium-Type", 6),
                ("Tunnel-Private-Group-Id", "666"),
            ],
        ),
        (
            "cambium",
            {"rate_style": "wifi", "garden_filter": "garden"},
            [("WISPr-Bandwidth-Max-Down", M), ("WISPr-Bandwidth-Max-Up", 512_000), ("Filter-Id", "garden")],
        ),
        ("accel-ppp", {"garden_router": "garden"}, [("Filter-Id", "1000/512"), ("Accel-VRF-Name", "garden")]),
        ("accel-ppp", {"garden_pool": "garden"}, [("Filter-Id", "1000/512"), ("Framed-Pool", "garden")]),
    ],
)
def test_restricted_service_behind_its_walled_garden(family: str, options: dict[str, Any], pairs: Pairs) -> None:
    check(GARDEN, pairs, family, **options)


@pytest.mark.parametrize(
    ("family", "pairs"),
    [
        ("generic", [("WISPr-Bandwidth-Max-Down", M), ("WISPr-Bandwidth-Max-Up", M)]),
        ("mikrotik", [("Mikrotik-Rate-Limit", "1M/1M")]),
        ("cisco", [car("input", 1, M, 187_500, 375_000), car("output", 2, M, 187_500, 375_000)]),
        ("juniper", [("ERX-CoS-Shaping-Pmt-Type", "T02 1m")]),
        (
            "huawei",
            [
                ("Huawei-Input-Average-Rate", M),
                ("Huawei-Input-Peak-Rate", M),
                ("Huawei-Output-Average-Rate", M),
                ("Huawei-Output-Peak-Rate", M),
            ],
        ),
        (
            "nokia",
            [("Alc-Subscriber-QoS-Override", "i:q:1:pir=1000"), ("Alc-Subscriber-QoS-Override", "e:r:rate=1000")],
        ),
        ("zte", [("ZTE-Rate-Ctrl-SCR-Down", M), ("ZTE-Rate-Ctrl-SCR-Up", M)]),
        ("ubiquiti", [("WISPr-Bandwidth-Max-Down", M), ("WISPr-Bandwidth-Max-Up", M)]),
        (
            "cambium",
            [
                ("WISPr-Bandwidth-Max-Down", M),
                ("WISPr-Bandwidth-Max-Up", M),
                ("Cambium-ePMP-Max-Burst-Uplink-Rate", 1000),
                ("Cambium-ePMP-Max-Burst-Downlink-Rate", 1000),
            ],
        ),
        ("accel-ppp", [("Filter-Id", "1000/1000")]),
    ],
)
def test_throttled_to_1_mbit(family: str, pairs: Pairs) -> None:
    check(Decision(grant=True, reason="throttled", rate=Rate(M, M)), pairs, family)


TOP = (1 << 32) - 1


@pytest.mark.parametrize(
    ("family", "pairs"),
    [
        ("generic", [("WISPr-Bandwidth-Max-Down", TOP), ("WISPr-Bandwidth-Max-Up", TOP)]),
        ("mikrotik", [("Mikrotik-Rate-Limit", "5000M/10000M")]),
        ("cisco", [car("input", 1, TOP, 805306367, 1610612734), car("output", 2, TOP, 805306367, 1610612734)]),
        ("juniper", [("ERX-CoS-Shaping-Pmt-Type", "T02 10000m")]),
        (
            "huawei",
            [
                ("Huawei-Input-Average-Rate", TOP),
                ("Huawei-Input-Peak-Rate", TOP),
                ("Huawei-Output-Average-Rate", TOP),
                ("Huawei-Output-Peak-Rate", TOP),
            ],
        ),
        (
            "nokia",
            [
                ("Alc-Subscriber-QoS-Override", "i:q:1:pir=5000000"),
                ("Alc-Subscriber-QoS-Override", "e:r:rate=10000000"),
            ],
        ),
        ("zte", [("ZTE-Rate-Ctrl-SCR-Down", TOP), ("ZTE-Rate-Ctrl-SCR-Up", TOP)]),
        ("ubiquiti", [("WISPr-Bandwidth-Max-Down", TOP), ("WISPr-Bandwidth-Max-Up", TOP)]),
        (
            "cambium",
            [
                ("WISPr-Bandwidth-Max-Down", TOP),
                ("WISPr-Bandwidth-Max-Up", TOP),
                ("Cambium-ePMP-Max-Burst-Uplink-Rate", 4294968),
                ("Cambium-ePMP-Max-Burst-Downlink-Rate", 4294968),
            ],
        ),
        ("accel-ppp", [("Filter-Id", "10000000/5000000")]),
    ],
)
def test_rates_above_32_bits_are_clamped_where_they_are_integers(family: str, pairs: Pairs) -> None:
    check(granted(Rate(10_000 * M, 5_000 * M)), pairs, family)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rate", [None, Rate(0, 0)])
def test_no_rate_sends_nothing(family: str, rate: Rate | None) -> None:
    assert render(granted(rate), RenderOptions(family=family), DICTIONARY) == b""


@pytest.mark.parametrize("family", FAMILIES)
def test_denied_decision_renders_nothing(family: str) -> None:
    denied = Decision(grant=False, reason="suspended", rate=HOME, pool="home", walled_garden=True)
    assert render(denied, RenderOptions(family=family), DICTIONARY) == b""


OPAQUE = (
    Attribute("Filter-Id", "x"),
    Attribute("Tunnel-Private-Group-Id", "100", tag=3),
    Attribute("Mikrotik-Group", "gold", family="mikrotik"),
    Attribute("ERX-Service-Activate", "iptv", family="juniper", tag=2),
)


@pytest.mark.parametrize("family", FAMILIES)
def test_opaque_attributes_go_to_their_family_with_their_tag(family: str) -> None:
    pairs = DICTIONARY.decode_packet(
        packet(render(granted(None, attributes=OPAQUE), RenderOptions(family=family), DICTIONARY))
    )
    assert pairs[:2] == [("Filter-Id", "x"), ("Tunnel-Private-Group-Id:3", "100")]
    own = {"mikrotik": [("Mikrotik-Group", "gold")], "juniper": [("ERX-Service-Activate:2", "iptv")]}
    assert pairs[2:] == own.get(family, [])


def test_plan_attribute_for_the_family_replaces_the_tables() -> None:
    own = (Attribute("Mikrotik-Rate-Limit", "1M/2M", family="mikrotik"),)
    check(granted(attributes=own), [("Mikrotik-Rate-Limit", "1M/2M")], "mikrotik")


def test_plan_attribute_for_all_gives_way_to_the_tables() -> None:
    anywhere = (Attribute("Filter-Id", "x"),)
    check(granted(attributes=anywhere), [("Filter-Id", "50000/10000")], "accel-ppp")


def test_vendor_pairs_of_plan_and_table_stand_side_by_side() -> None:
    own = (Attribute("Cisco-AVPair", "ip:vrf-id=home", family="cisco"),)
    check(
        granted(None, attributes=own, pool="p"),
        [("Cisco-AVPair", "ip:addr-pool=p"), *_pairs(own)],
        "cisco",
        pool_attribute="vendor",
    )


def _pairs(attributes: Iterable[Attribute]) -> Pairs:
    return [(attribute.name, attribute.value) for attribute in attributes]


def test_service_of_a_plan_stands_beside_the_one_of_the_rate_under_another_tag() -> None:
    own = (Attribute("ERX-Service-Activate", "iptv", family="juniper", tag=3),)
    wire = render(granted(attributes=own), options_from("juniper", {"rate_style": "service"}, DICTIONARY), DICTIONARY)
    assert DICTIONARY.decode_packet(packet(wire)) == [
        ("ERX-Service-Activate:1", "internet(50m,10m)"),
        ("ERX-Service-Activate:3", "iptv"),
    ]


def test_last_of_several_single_valued_attributes_counts_and_repeatable_ones_all_stand() -> None:
    attributes = (
        Attribute("Framed-MTU", 1480, family="mikrotik"),
        Attribute("Framed-MTU", 1492, family="mikrotik"),
        Attribute("Framed-MTU", 1500),
        Attribute("Framed-Route", "192.0.2.0/25 0.0.0.0 1"),
        Attribute("Framed-Route", "192.0.2.128/25 0.0.0.0 1"),
    )
    check(
        granted(None, attributes=attributes),
        [
            ("Framed-MTU", 1492),
            ("Framed-Route", "192.0.2.0/25 0.0.0.0 1"),
            ("Framed-Route", "192.0.2.128/25 0.0.0.0 1"),
        ],
        "mikrotik",
    )


@pytest.mark.parametrize(
    ("family", "options", "pairs"),
    [
        (
            "cisco",
            {"rate_style": "policy", "policy_down": "D{down_mbps}M", "policy_up": "U{up_kbps}"},
            [("Cisco-AVPair", "ip:sub-qos-policy-in=U10000"), ("Cisco-AVPair", "ip:sub-qos-policy-out=D50M")],
        ),
        ("cisco", {"rate_style": "service", "service": "INET{down_mbps}"}, [("Cisco-Account-Info", "AINET50")]),
        (
            "juniper",
            {"policy_up": "police-{up_rate}"},
            [("ERX-CoS-Shaping-Pmt-Type", "T02 50m"), ("ERX-Ingress-Policy-Name", "police-10m")],
        ),
        (
            "huawei",
            {"rate_style": "h3c"},
            [
                ("H3C-Input-Average-Rate", 10 * M),
                ("H3C-Input-Peak-Rate", 10 * M),
                ("H3C-Output-Average-Rate", 50 * M),
                ("H3C-Output-Peak-Rate", 50 * M),
            ],
        ),
        (
            "huawei",
            {"profile": "up{up_mbps}", "profile_down": "down{down_mbps}"},
            [("Huawei-Qos-Profile-Name", "up10"), ("Huawei-Down-QOS-Profile-Name", "down50")],
        ),
        (
            "huawei",
            {"rate_unit": "kbit"},
            [
                ("Huawei-Input-Average-Rate", 10000),
                ("Huawei-Input-Peak-Rate", 10000),
                ("Huawei-Output-Average-Rate", 50000),
                ("Huawei-Output-Peak-Rate", 50000),
            ],
        ),
        (
            "nokia",
            {"profile": "{down_mbps}M", "subscriber_profile": "sub"},
            [("Alc-Subsc-Prof-Str", "sub"), ("Alc-SLA-Prof-Str", "50M")],
        ),
        (
            "nokia",
            {"qos_down": "", "qos_up": "i:p:1:pir={up_kbps},cir={up_kbps}"},
            [("Alc-Subscriber-QoS-Override", "i:p:1:pir=10000,cir=10000")],
        ),
        (
            "zte",
            {"rate_unit": "kbit", "rate_ipv6": True},
            [
                ("ZTE-Rate-Ctrl-SCR-Down", 50000),
                ("ZTE-Rate-Ctrl-SCR-Down-v6", 50000),
                ("ZTE-Rate-Ctrl-SCR-Up", 10000),
                ("ZTE-Rate-Ctrl-SCR-Up-v6", 10000),
            ],
        ),
        (
            "zte",
            {"profile_down": "d{down_kbps}", "profile_up": "u{up_kbps}"},
            [("ZTE-QoS-Profile-Down", "d50000"), ("ZTE-QOS-Profile-Up", "u10000")],
        ),
        (
            "cambium",
            {"rate_style": "pmp"},
            [
                ("Motorola-Canopy-ULBR", 10000),
                ("Motorola-Canopy-ULBL", 10000),
                ("Motorola-Canopy-DLBR", 50000),
                ("Motorola-Canopy-DLBL", 50000),
            ],
        ),
        (
            "cambium",
            {"rate_style": "epmp"},
            [("Cambium-ePMP-Max-Burst-Uplink-Rate", 10000), ("Cambium-ePMP-Max-Burst-Downlink-Rate", 50000)],
        ),
        (
            "accel-ppp",
            {"rate_attribute_down": "RP-Downstream-Speed-Limit", "rate_attribute_up": "RP-Upstream-Speed-Limit"},
            [("RP-Downstream-Speed-Limit", 50000), ("RP-Upstream-Speed-Limit", 10000)],
        ),
        (
            "generic",
            {"rate_max_bps": 2**31 - 1},
            [("WISPr-Bandwidth-Max-Down", 50 * M), ("WISPr-Bandwidth-Max-Up", 10 * M)],
        ),
        ("mikrotik", {"rate_max_bps": 20 * M}, [("Mikrotik-Rate-Limit", "10M/20M")]),
    ],
)
def test_options_of_a_nas(family: str, options: dict[str, Any], pairs: Pairs) -> None:
    check(granted(), pairs, family, **options)


def test_one_direction_may_be_left_to_the_nas() -> None:
    check(granted(Rate(50 * M, 0)), [("Mikrotik-Rate-Limit", "0/50M")], "mikrotik")
    check(granted(Rate(50 * M, 0)), [("WISPr-Bandwidth-Max-Down", 50 * M)], "generic")
    check(granted(Rate(0, 10 * M)), [("Filter-Id", "0/10000")], "accel-ppp")


def test_burst_without_threshold_takes_the_rate_and_one_below_the_rate_is_none() -> None:
    check(
        granted(Rate(2 * M, M, Burst(4 * M, 2 * M))), [("Mikrotik-Rate-Limit", "1M/2M 2M/4M 1M/2M 10/10")], "mikrotik"
    )
    check(granted(Rate(2 * M, M, Burst(M, M))), [("Mikrotik-Rate-Limit", "1M/2M")], "mikrotik")


def test_mikrotik_suffixes_are_exact() -> None:
    check(granted(Rate(1_500_500, 64_000)), [("Mikrotik-Rate-Limit", "64k/1500500")], "mikrotik")


def test_kilobits_round_up_so_that_no_rate_becomes_unlimited() -> None:
    check(granted(Rate(1, 1001)), [("Filter-Id", "1/2")], "accel-ppp")


def test_pool_of_the_nas_is_named_and_a_pool_of_the_server_is_not() -> None:
    check(granted(None, pool="home"), [("Framed-Pool", "home")], "generic")
    options = options_from("generic", {}, DICTIONARY, server_pools=["home"])
    assert render(granted(None, pool="home"), options, DICTIONARY) == b""
    assert nas_pool(granted(None, pool="home"), options) is None
    assert nas_pool(granted(None, pool="other"), options) == "other"


@pytest.mark.parametrize(
    ("family", "pair"),
    [
        ("cisco", ("Cisco-AVPair", "ip:addr-pool=home")),
        ("juniper", ("ERX-Address-Pool-Name", "home")),
        ("huawei", ("Huawei-Framed-Pool", "home")),
    ],
)
def test_pool_in_the_vendors_own_attribute(family: str, pair: tuple[str, str]) -> None:
    check(granted(None, pool="home"), [pair], family, pool_attribute="vendor")


def test_garden_pool_takes_the_place_of_the_plans() -> None:
    options = RenderOptions(garden_pool="garden", server_pools=frozenset({"home"}))
    restricted = Decision(grant=True, reason="restricted", pool="home", walled_garden=True)
    assert nas_pool(restricted, options) == "garden"
    assert nas_pool(granted(pool="home"), options) is None


def test_idle_timeout_is_sent_and_timers_of_the_session_are_not() -> None:
    decision = granted(None, idle_timeout_s=600, session_timeout_s=86400, interim_interval_s=300)
    check(decision, [("Idle-Timeout", 600)], "generic")


@pytest.mark.parametrize(
    ("family", "options", "problem"),
    [
        ("mikrotic", {}, 'family: "mikrotic" is no known family; did you mean mikrotik?'),
        ("mikrotik", {"garden_lst": "x"}, "garden_lst: is no option of family mikrotik; did you mean garden_list?"),
        ("zte", {"garden_vlan": 1}, "garden_vlan: is no option of family zte; known: "),
        ("zte", {"rate_unit": "mbit"}, "Invalid enum value 'mbit' - at `$.rate_unit`"),
        ("generic", {"garden_vlan": 4095}, "garden_vlan: outside 0..4094"),
        ("generic", {"rate_max_bps": 0}, "rate_max_bps: outside"),
        ("generic", {"server_pools": "x"}, "server_pools: is no option"),
        (
            "cisco",
            {"rate_style": "polic"},
            'rate_style: "polic" is none of rate-limit, policy, service; did you mean policy?',
        ),
        (
            "cisco",
            {"service": "I{down_kbit}"},
            'service: "I{down_kbit}": unknown field {down_kbit}; did you mean down_kbps?',
        ),
        ("cisco", {"service": "I{}"}, "unknown field {}"),
        ("cisco", {"service": "I{down_kbps"}, "expected '}'"),
        ("cisco", {"service": "I{down_kbps:x}"}, "takes no format"),
        (
            "accel-ppp",
            {"rate_attribute": "Fliter-Id"},
            "rate_attribute: Fliter-Id: no such attribute; did you mean Filter-Id?",
        ),
        (
            "generic",
            {"coa_attributes": "Filter-Id, filter-id"},
            "filter-id: no such attribute; did you mean Filter-Id?",
        ),
        ("generic", {"coa_attributes": "Fliter-Id"}, "Fliter-Id: no such attribute; did you mean Filter-Id?"),
        ("accel-ppp", {"rate_attribute_up": "RP-Upstream-Speed-Limit"}, "goes with rate_attribute_up"),
        ("accel-ppp", {"rate_attribute": "RP-Upstream-Speed-Limit"}, "'1/1' is not a number"),
    ],
)
def test_wrong_options_are_found_at_load_with_a_suggestion(family: str, options: dict[str, Any], problem: str) -> None:
    problems = check_options(family, options, DICTIONARY)
    assert len(problems) == 1
    assert problem in problems[0]
    with pytest.raises(ValueError, match=r"\w"):
        options_from(family, options, DICTIONARY)


def test_every_family_and_option_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "nas-families.md").read_text()
    for family in FAMILIES.values():
        section = text.split(f"\n## {family.name}\n")[1].split("\n## ")[0]
        assert [name for name in (*family.options, *family.styles) if f"`{name}`" not in section] == [], family.name
        assert str(family.capabilities.port) in section
        assert all(name in section for keys in family.capabilities.keys for name in keys), family.name
    assert all(f"`{name}`" in text for name in COMMON_OPTIONS)
    assert all(f"{{{field}}}" in text for field in TEMPLATE_FIELDS)


def test_every_option_of_every_family_is_an_option_and_every_option_has_a_family() -> None:
    used = {name for family in FAMILIES.values() for name in family.options} | set(COMMON_OPTIONS)
    assert used == set(RenderOptions.__struct_fields__) - {"family", "server_pools"}
    for family in FAMILIES.values():
        assert ("rate_style" in family.options) == bool(family.styles)
        assert check_options(family.name, {}, DICTIONARY) == []


@pytest.mark.parametrize(
    ("attribute", "problem"),
    [
        (Attribute("Filter-Idd", "x"), "Filter-Idd: no such attribute; did you mean Filter-Id?"),
        (
            Attribute("Filter-Id", "x", family="mikrotick"),
            'family: "mikrotick" is no known family; did you mean mikrotik?',
        ),
        (Attribute("Framed-MTU", "large"), "Framed-MTU: 'large' is not a number"),
        (Attribute("Filter-Id", "x", tag=1), "Filter-Id: takes no tag"),
        (Attribute("Tunnel-Password", "x", tag=1), "is encrypted per packet"),
        (Attribute("Filter-Id", "x" * 254), "254 octets"),
        (Attribute("Filter-Id", ""), "an empty value cannot be sent"),
        (Attribute("Session-Timeout", 60), "cannot be set by a plan: use the plan's session_timeout"),
        (Attribute("Class", "x"), "cannot be set by a plan"),
        (Attribute("Message-Authenticator", "x"), "cannot be set by a plan"),
        (Attribute("Acct-Status-Type", 1), "it belongs to requests"),
    ],
)
def test_wrong_plan_attributes_are_found_at_load(attribute: Attribute, problem: str) -> None:
    good = Attribute("Framed-Route", "192.0.2.0/24 0.0.0.0 1")
    problems = check_attributes((good, attribute), DICTIONARY)
    assert len(problems) == 1
    assert problems[0].startswith("attributes[1]")
    assert problem in problems[0]


def test_plan_attributes_that_can_be_sent_have_no_problems() -> None:
    assert check_attributes(OPAQUE, DICTIONARY) == []


def test_too_many_plan_attributes_are_found_at_load() -> None:
    many = [Attribute("Framed-Route", "x" * 250)] * 13
    assert check_attributes(many, DICTIONARY) == ["attributes: 3276 octets together, 3072 fit into a reply"]


def test_tables_cover_the_families_that_policy_names() -> None:
    assert tuple(FAMILIES) == model.FAMILIES


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_capabilities_are_complete(family: Any) -> None:
    can = family.capabilities
    assert 0 < can.port < 65536
    assert can.keys
    assert all(DICTIONARY.attribute(name) for keys in can.keys for name in keys)
    assert can.keys.index(("Acct-Session-Id",)) == 0
    live = live_attributes(RenderOptions(family=family.name))
    assert can.coa or not live
    assert all(DICTIONARY.attribute(name) for name in live)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_filter_goes_where_the_family_has_it(family: str) -> None:
    seen = DICTIONARY.decode_packet(
        packet(render(granted(None, filter="poor"), RenderOptions(family=family), DICTIONARY))
    )
    name = {"nokia": "Alc-Subscriber-Filter"}.get(family, "Filter-Id")
    assert seen == ([] if family == "accel-ppp" else [(name, "poor")])


def test_the_filter_of_the_walled_garden_goes_before_another() -> None:
    options = RenderOptions(family="huawei", garden_filter="garden")
    seen = DICTIONARY.decode_packet(
        packet(render(granted(None, filter="poor", walled_garden=True), options, DICTIONARY))
    )
    assert seen == [("Filter-Id", "garden")]


def test_template_fields() -> None:
    template = " ".join("{" + field + "}" for field in TEMPLATE_FIELDS)
    assert fill(template, 2_500_000, 512_000) == "2500000 512000 2500 512 2.5 0.512 2500k 512k"
    assert fill("{{x}}", 1, 1) == "{x}"
    assert (kilobits(1), megabits(10**13), short_rate(1001), short_rate(0)) == (1, "10000000", "1001", "0")


def test_burst_bucket_is_what_passes_until_the_average_reaches_the_threshold() -> None:
    # 100 Mbit/s average to 40 over 12 s within 4.8 s; 50 Mbit/s more than the rate in each of them.
    assert burst_bits(50 * M, 100 * M, 40 * M, 12) == 240 * M
    assert burst_bits(50 * M, 50 * M, 50 * M, 12) == 0


bps = st.one_of(st.sampled_from([0, 1, 999, 1000, M, TOP, TOP + 1, 10**13]), st.integers(0, 10**13))
texts = st.text(st.characters(codec="utf-8"), max_size=300)
bursts = st.builds(Burst, bps, bps, st.none() | bps, st.none() | bps, st.integers(1, 3600))
names = st.one_of(st.sampled_from([attribute.name for attribute in DICTIONARY]), texts)
attributes = st.builds(
    Attribute,
    names,
    texts | st.integers(-1, 2**65),
    st.sampled_from(["*", *FAMILIES]),
    st.none() | st.integers(0, 31),
)
decisions = st.builds(
    Decision,
    grant=st.booleans(),
    reason=st.just("granted"),
    rate=st.none() | st.builds(Rate, bps, bps, st.none() | bursts),
    pool=st.none() | texts,
    filter=st.none() | texts,
    walled_garden=st.booleans(),
    idle_timeout_s=st.none() | st.integers(1, 2**32 - 1),
    attributes=st.lists(attributes, max_size=40).map(tuple),
)


def build(fields: dict[str, Any]) -> RenderOptions:
    return RenderOptions(**fields)


templates = st.lists(st.sampled_from([*("{" + field + "}" for field in TEMPLATE_FIELDS), "p-", "x" * 60])).map("".join)
options = st.fixed_dictionaries(
    {"family": st.sampled_from(list(FAMILIES))},
    optional={
        **dict.fromkeys(TEMPLATES, templates),
        **{
            name: texts
            for name, kind in RenderOptions.__annotations__.items()
            if kind is str and name not in (*TEMPLATES, "family", "rate_attribute_down", "rate_attribute_up")
        },
        "rate_style": st.sampled_from([style for family in FAMILIES.values() for style in family.styles]),
        "garden_vlan": st.integers(0, 4094),
        "rate_max_bps": st.none() | st.integers(1, 10**13),
        "pool_attribute": st.sampled_from(["standard", "vendor"]),
        "rate_unit": st.sampled_from(["bit", "kbit"]),
    },
).map(build)


@settings(max_examples=300, deadline=None)
@given(decisions, options)
def test_any_decision_on_any_family_renders_to_valid_attributes(decision: Decision, options: RenderOptions) -> None:
    wire = render(decision, options, DICTIONARY)
    assert len(wire) <= RENDERED_OCTETS_MAX
    seen = packet(wire).attributes()
    standard = [path for path, _ in seen if len(path) == 1 and path[0] not in REPEATABLE]
    assert len(standard) == len(set(standard))
    assert all(value for _, value in seen)
    assert render(decision, options, DICTIONARY) == wire

    header = bytes([2, 7]) + (20 + len(wire)).to_bytes(2, "big") + bytes(16)
    oracle = pyrad.packet.Packet(packet=header + wire, secret=b"x", dict=pyrad.dictionary.Dictionary())
    assert sum(len(values) for values in oracle.values()) == len([path for path, _ in seen])


def test_decisions_and_options_are_usable_as_cache_keys() -> None:
    key = (granted(attributes=OPAQUE), RenderOptions(family="mikrotik", server_pools=frozenset({"a"})))
    assert hash(key) == hash(
        (granted(attributes=OPAQUE), RenderOptions(family="mikrotik", server_pools=frozenset({"a"})))
    )
    assert msgspec.structs.asdict(key[1])["family"] == "mikrotik"
