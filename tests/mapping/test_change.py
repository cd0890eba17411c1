"""A CoA carries what leads from one decision to another on its family, and nothing is changed that it cannot change."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec
import pyrad.dictionary
import pyrad.packet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.dictionary import SHIPPED, load
from aaa.mapping.change import COA_OCTETS_MAX, TIMEOUT_NONE_S, Change, compare, pool_of
from aaa.mapping.families import FAMILIES, RenderOptions, accepted, options_from
from native.radius import Packet
from policy.model import Attribute, Decision, Rate
from tests.mapping.test_families import decisions, options

DICTIONARY = load()
PYRAD = pyrad.dictionary.Dictionary(str(SHIPPED / "dictionary"))
M = 1_000_000

HOME = Decision(grant=True, reason="granted", rate=Rate(50 * M, 10 * M))
FAST = Decision(grant=True, reason="granted", rate=Rate(100 * M, 20 * M))
SLOW = Decision(grant=True, reason="granted", rate=Rate(10 * M, 2 * M))
THROTTLED = Decision(grant=True, reason="throttled", message="used up", rate=Rate(M, M))
GARDEN = Decision(grant=True, reason="restricted", rate=Rate(M, M), walled_garden=True)
TIMED = Decision(grant=True, reason="granted", rate=Rate(50 * M, 10 * M), session_timeout_s=3600)
SUSPENDED = Decision(grant=False, reason="suspended")

SERVICE = {"rate_style": "service", "garden_service": "garden"}
SITES: dict[str, tuple[str, dict[str, Any]]] = {
    "mikrotik": ("mikrotik", {}),
    "cisco-policy": ("cisco", {"rate_style": "policy", "policy_down": "D{down_mbps}", "policy_up": "U{up_mbps}"}),
    "cisco-service": ("cisco", SERVICE),
    "cisco-isg": ("cisco", {**SERVICE, "coa_style": "command-code"}),
    "juniper": ("juniper", {"policy_up": "UP-{up_mbps}", "garden_filter": "garden"}),
    "juniper-service": ("juniper", SERVICE),
    "huawei": ("huawei", {"garden_filter": "poor", "open_filter": "open"}),
    "nokia": ("nokia", {"garden_filter": "Ingr-v4:10,Egr-v4:11"}),
    "nokia-profile": ("nokia", {"profile": "SLA-{down_mbps}", "garden_profile": "GARDEN"}),
    "zte": ("zte", {}),
    "accel-ppp": ("accel-ppp", {"garden_router": "portal"}),
}

Pairs = list[tuple[str, str | int]]


def at(site: str) -> RenderOptions:
    family, options = SITES[site]
    return options_from(family, options, DICTIONARY)


def avpair(*texts: str) -> Pairs:
    return [("Cisco-AVPair", text) for text in texts]


def turn(word: str, service: str) -> Pairs:
    return avpair(f"subscriber:command={word}-service", f"subscriber:service-name={service}")


def rates(up: int, down: int) -> Pairs:
    names = ("Input", up), ("Output", down)
    return [(f"Huawei-{way}-{kind}-Rate", bps) for way, bps in names for kind in ("Average", "Peak")]


RATE_UP: dict[str, list[Pairs]] = {
    "mikrotik": [[("Mikrotik-Rate-Limit", "20M/100M")]],
    "cisco-policy": [avpair("ip:sub-qos-policy-in=U20", "ip:sub-qos-policy-out=D100")],
    "cisco-service": [turn("deactivate", "internet(50m,10m)"), turn("activate", "internet(100m,20m)")],
    "cisco-isg": [
        [("Cisco-Command-Code", "\x0cinternet(50m,10m)")],
        [("Cisco-Command-Code", "\x0binternet(100m,20m)")],
    ],
    "juniper": [[("ERX-CoS-Shaping-Pmt-Type", "T02 100m"), ("ERX-Ingress-Policy-Name", "UP-20")]],
    "juniper-service": [
        [("ERX-Service-Deactivate", "internet(50m,10m)"), ("ERX-Service-Activate:1", "internet(100m,20m)")]
    ],
    "huawei": [rates(20 * M, 100 * M)],
    "nokia": [[("Alc-Subscriber-QoS-Override", "i:q:1:pir=20000"), ("Alc-Subscriber-QoS-Override", "e:r:rate=100000")]],
    "nokia-profile": [[("Alc-SLA-Prof-Str", "SLA-100")]],
    "zte": [[("ZTE-Rate-Ctrl-SCR-Down", 100 * M), ("ZTE-Rate-Ctrl-SCR-Up", 20 * M)]],
    "accel-ppp": [[("Filter-Id", "100000/20000")]],
}

RESTRICTED: dict[str, list[Pairs]] = {
    "mikrotik": [[("Mikrotik-Rate-Limit", "1M/1M"), ("Mikrotik-Address-List", "walled-garden")]],
    "cisco-service": [
        turn("deactivate", "internet(50m,10m)"),
        turn("activate", "internet(1m,1m)"),
        turn("activate", "garden"),
    ],
    "cisco-isg": [
        [("Cisco-Command-Code", "\x0cinternet(50m,10m)")],
        [("Cisco-Command-Code", "\x0binternet(1m,1m)")],
        [("Cisco-Command-Code", "\x0bgarden")],
    ],
    "juniper": [[("ERX-CoS-Shaping-Pmt-Type", "T02 1m"), ("ERX-Ingress-Policy-Name", "garden")]],
    "juniper-service": [
        [
            ("ERX-Service-Deactivate", "internet(50m,10m)"),
            ("ERX-Service-Activate:1", "internet(1m,1m)"),
            ("ERX-Service-Activate:2", "garden"),
        ]
    ],
    "huawei": [[*rates(M, M), ("Filter-Id", "poor")]],
    "nokia": [
        [
            ("Alc-Subscriber-QoS-Override", "i:q:1:pir=1000"),
            ("Alc-Subscriber-QoS-Override", "e:r:rate=1000"),
            ("Alc-Subscriber-Filter", "Ingr-v4:10,Egr-v4:11"),
        ]
    ],
    "nokia-profile": [[("Alc-SLA-Prof-Str", "GARDEN")]],
    "accel-ppp": [[("Filter-Id", "1000/1000")], [("Accel-VRF-Name", "portal")]],
}

RESTORED: dict[str, list[Pairs]] = {
    "mikrotik": [[("Mikrotik-Address-List", "unrestricted"), ("Mikrotik-Rate-Limit", "10M/50M")]],
    "cisco-service": [
        turn("deactivate", "internet(1m,1m)"),
        turn("deactivate", "garden"),
        turn("activate", "internet(50m,10m)"),
    ],
    "cisco-isg": [
        [("Cisco-Command-Code", "\x0cinternet(1m,1m)")],
        [("Cisco-Command-Code", "\x0cgarden")],
        [("Cisco-Command-Code", "\x0binternet(50m,10m)")],
    ],
    "juniper": [[("ERX-CoS-Shaping-Pmt-Type", "T02 50m"), ("ERX-Ingress-Policy-Name", "UP-10")]],
    "juniper-service": [
        [
            ("ERX-Service-Deactivate", "internet(1m,1m)"),
            ("ERX-Service-Deactivate", "garden"),
            ("ERX-Service-Activate:1", "internet(50m,10m)"),
        ]
    ],
    "huawei": [[("Filter-Id", "open"), *rates(10 * M, 50 * M)]],
    "nokia": [
        [
            ("Alc-Subscriber-Filter", "Ingr-v4:-2,Egr-v4:-2"),
            ("Alc-Subscriber-QoS-Override", "i:q:1:pir=10000"),
            ("Alc-Subscriber-QoS-Override", "e:r:rate=50000"),
        ]
    ],
    "nokia-profile": [[("Alc-SLA-Prof-Str", "SLA-50")]],
    "accel-ppp": [[("Filter-Id", "50000/10000")], [("Accel-VRF-Name", "0")]],
}


def pairs_of(octets: bytes) -> list[tuple[str, str]]:
    header = bytes((43, 7)) + (20 + len(octets)).to_bytes(2, "big") + bytes(16)
    packet = Packet.parse(header + octets)
    assert packet.fault == 0
    return DICTIONARY.decode_packet(packet)


def by_pyrad(pairs: Iterable[tuple[str, str | int]]) -> bytes:
    """The attributes as another encoder writes them."""
    wire = b""
    for name, value in pairs:
        packet = pyrad.packet.Packet(code=43, id=7, secret=b"x", authenticator=bytes(16), dict=PYRAD)
        packet.AddAttribute(name, value)
        wire += packet._PktEncodeAttributes()
    return wire


def check(change: Change, packets: list[Pairs], why: str) -> None:
    assert (change.kind, change.why) == ("coa", why), change
    assert list(change.wire) == [by_pyrad(pairs) for pairs in packets], [pairs_of(octets) for octets in change.wire]
    told = [(name, str(value)) for pairs in packets for name, value in pairs]
    assert list(change.difference().attributes) == told


@pytest.mark.parametrize("site", RATE_UP)
def test_a_faster_plan(site: str) -> None:
    check(compare(HOME, FAST, at(site), DICTIONARY), RATE_UP[site], "rate")


@pytest.mark.parametrize("site", SITES)
def test_a_slower_plan_and_back(site: str) -> None:
    down, up = compare(HOME, SLOW, at(site), DICTIONARY), compare(SLOW, HOME, at(site), DICTIONARY)
    assert (down.kind, down.why, up.kind, up.why) == ("coa", "rate", "coa", "rate")
    assert down.wire != up.wire


@pytest.mark.parametrize("site", SITES)
def test_a_quota_throttle_is_a_rate(site: str) -> None:
    assert compare(HOME, THROTTLED, at(site), DICTIONARY).why == "rate"


@pytest.mark.parametrize("site", RESTRICTED)
def test_into_the_walled_garden(site: str) -> None:
    check(compare(HOME, GARDEN, at(site), DICTIONARY), RESTRICTED[site], "rate, walled_garden")


@pytest.mark.parametrize("site", RESTORED)
def test_out_of_the_walled_garden(site: str) -> None:
    check(compare(GARDEN, HOME, at(site), DICTIONARY), RESTORED[site], "rate, walled_garden")


def test_octets_that_vendors_document() -> None:
    """MikroTik: vendor 14988 type 8, upload first. accel-ppp: Filter-Id, download first in kbit/s. Juniper: tag 1."""
    mikrotik = compare(HOME, FAST, at("mikrotik"), DICTIONARY).wire[0]
    assert mikrotik == b"\x1a\x10\x00\x00\x3a\x8c\x08\x0a20M/100M"
    assert compare(HOME, FAST, at("accel-ppp"), DICTIONARY).wire[0] == b"\x0b\x0e100000/20000"
    juniper = compare(HOME, FAST, at("juniper-service"), DICTIONARY).wire[0]
    activate = b"\x1a\x1b\x00\x00\x13\x0a\x41\x15\x01internet(100m,20m)"
    assert juniper == b"\x1a\x19\x00\x00\x13\x0a\x42\x13internet(50m,10m)" + activate


@pytest.mark.parametrize(
    ("family", "options", "desired", "why"),
    [
        ("ubiquiti", {}, FAST, "rate cannot be changed live on ubiquiti"),
        ("cambium", {}, FAST, "rate cannot be changed live on cambium"),
        ("generic", {}, FAST, "rate cannot be changed live on generic"),
        ("cisco", {}, FAST, "rate cannot be changed live on cisco"),
        ("mikrotik", {"coa": False}, FAST, "rate cannot be changed live on mikrotik"),
        ("mikrotik", {"garden_pool": "poor"}, GARDEN, "pool needs a new session"),
        ("mikrotik", {"garden_filter": "poor"}, GARDEN, "walled_garden cannot be changed live on mikrotik"),
        ("mikrotik", {}, SUSPENDED, "not granted: suspended"),
    ],
)
def test_only_a_new_session_does(family: str, options: dict[str, Any], desired: Decision, why: str) -> None:
    change = compare(HOME, desired, options_from(family, options, DICTIONARY), DICTIONARY)
    assert (change.kind, change.why) == ("disconnect", why)


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("mikrotik", {"open_list": ""}),
        ("huawei", {"garden_filter": "poor"}),
        ("huawei", {"garden_url": "http://pay.example"}),
        ("cisco", {"rate_style": "policy", "garden_group": "portal"}),
    ],
)
def test_a_garden_that_no_coa_leaves(family: str, options: dict[str, Any]) -> None:
    change = compare(GARDEN, HOME, options_from(family, options, DICTIONARY), DICTIONARY)
    assert (change.kind, change.why) == ("disconnect", f"walled_garden cannot be changed live on {family}")


def test_another_pool_needs_a_new_session() -> None:
    other = Decision(grant=True, reason="granted", rate=HOME.rate, pool="static")
    assert compare(HOME, other, at("mikrotik"), DICTIONARY).why == "pool needs a new session"


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_network_does_not_see_changes_nothing(family: str) -> None:
    desired = Decision(
        grant=True,
        reason="throttled",
        message="another word",
        rate=HOME.rate,
        simultaneous_use=3,
        interim_interval_s=600,
        on_exhausted=("notify",),
        attributes=(Attribute("Reply-Message", "hello"),),
    )
    assert compare(HOME, desired, RenderOptions(family=family), DICTIONARY) == Change("none")


@pytest.mark.parametrize("family", FAMILIES)
def test_session_timeout_is_told_where_a_coa_sets_it(family: str) -> None:
    change = compare(HOME, TIMED, RenderOptions(family=family), DICTIONARY)
    if not FAMILIES[family].capabilities.session_timeout:
        assert change.kind == "none", "it counts from the next session"
        return
    assert (change.kind, change.why, change.wire, change.session_timeout_s) == ("coa", "session_timeout", (b"",), 3600)
    back = compare(TIMED, HOME, RenderOptions(family=family), DICTIONARY)
    assert back.difference().attributes == (("Session-Timeout", str(TIMEOUT_NONE_S)),)


def test_accel_ppp_is_told_the_router_apart_from_the_timeout() -> None:
    """Where it finds Session-Timeout it does not look for Accel-VRF-Name."""
    garden = Decision(grant=True, reason="restricted", walled_garden=True, session_timeout_s=60)
    change = compare(Decision(grant=True, reason="granted"), garden, at("accel-ppp"), DICTIONARY)
    assert [pairs_of(octets) for octets in change.wire] == [[], [("Accel-VRF-Name", "portal")]]


def test_web_authentication_on_a_switch_is_asked_anew() -> None:
    options = options_from("cisco", {"rate_style": "policy", "garden_url": "http://pay.example"}, DICTIONARY)
    change = compare(Decision(grant=True, reason="granted"), GARDEN, options, DICTIONARY)
    reauthenticate = avpair("subscriber:command=reauthenticate", "subscriber:reauthenticate-type=last")
    assert list(change.wire) == [by_pyrad(reauthenticate)]


def test_an_activated_service_takes_its_settings_along() -> None:
    attributes = Attribute("ERX-Service-Statistics", 2, "juniper", 1), Attribute("ERX-Service-Timeout", 60, "*", 3)
    before, after = (
        Decision(grant=True, reason="granted", rate=rate, attributes=attributes) for rate in (HOME.rate, FAST.rate)
    )
    (octets,) = compare(before, after, at("juniper-service"), DICTIONARY).wire
    assert [name for name, _ in pairs_of(octets)] == [
        "ERX-Service-Deactivate",
        "ERX-Service-Activate:1",
        "ERX-Service-Statistics:1",
    ]


def test_an_attribute_of_a_plan_needs_a_new_session_unless_the_nas_is_known_to_take_it() -> None:
    route = Decision(
        grant=True, reason="granted", rate=HOME.rate, attributes=(Attribute("Framed-Route", "192.0.2.0/24 0.0.0.0 1"),)
    )
    change = compare(HOME, route, RenderOptions(family="mikrotik"), DICTIONARY)
    assert (change.kind, change.why) == ("disconnect", "Framed-Route cannot be changed live on mikrotik")
    taken = options_from("mikrotik", {"coa_attributes": "Framed-Route, Filter-Id"}, DICTIONARY)
    assert compare(HOME, route, taken, DICTIONARY).kind == "coa"
    known = options_from("generic", {"coa_attributes": "WISPr-Bandwidth-Max-Down,WISPr-Bandwidth-Max-Up"}, DICTIONARY)
    assert compare(HOME, FAST, known, DICTIONARY).kind == "coa"


def test_of_an_unknown_state_everything_that_can_be_is_set() -> None:
    (octets,) = compare(None, HOME, at("mikrotik"), DICTIONARY).wire
    assert pairs_of(octets) == [("Mikrotik-Address-List", "unrestricted"), ("Mikrotik-Rate-Limit", "10M/50M")]
    assert compare(SUSPENDED, HOME, at("mikrotik"), DICTIONARY) == compare(None, HOME, at("mikrotik"), DICTIONARY)


@pytest.mark.parametrize("site", ["juniper-service", "cisco-service"])
def test_of_an_unknown_state_no_service_is_put_beside_another(site: str) -> None:
    assert compare(None, HOME, at(site), DICTIONARY).kind == "disconnect"


def test_an_unknown_state_is_not_taken_for_the_desired_one() -> None:
    assert compare(None, GARDEN, RenderOptions(family="ubiquiti"), DICTIONARY).kind == "disconnect"
    assert compare(None, Decision(grant=True, reason="granted"), RenderOptions(family="ubiquiti"), DICTIONARY).kind == (
        "none"
    )


# Any pair of decisions on any family


LIVELY = [
    Attribute("Filter-Id", "open"),
    Attribute("Filter-Id", "1/2", "accel-ppp"),
    Attribute("Mikrotik-Address-List", "staff", "mikrotik"),
    Attribute("Alc-Subscriber-QoS-Override", "i:q:2:pir=7,cir=8", "nokia"),
    Attribute("ERX-Service-Activate", "tv", "juniper", 3),
    Attribute("ERX-CoS-Shaping-Pmt-Type", "T03 1m", "juniper"),
    Attribute("Cisco-Account-Info", "Atv", "cisco"),
    Attribute("Cisco-AVPair", "ip:sub-qos-policy-out=STAFF", "cisco"),
]
sites = st.sampled_from(list(SITES)).map(at)
rates_of = st.builds(Rate, st.sampled_from([0, M, 50 * M]), st.sampled_from([0, M, 10 * M]))


class Box:
    """A NAS that understands its family's CoA, by what the vendor's documents say it means."""

    def __init__(self, options: RenderOptions, decision: Decision) -> None:
        self.options = options
        self.state: dict[tuple[str, str], list[str]] = {}
        self.services: list[str] = []
        for sent in accepted(decision, options, DICTIONARY):
            ((name, value),) = pairs_of(sent.octets)
            self.set(name, value, fresh=False)

    def take(self, packet: list[tuple[str, str]]) -> None:
        touched: set[tuple[str, str]] = set()
        texts = [value for name, value in packet if name == "Cisco-AVPair"]
        if texts and texts[0].startswith("subscriber:command="):
            word = texts[0].partition("=")[2]
            if word == "reauthenticate":
                raise Reauthenticated
            self.switch(word == "activate-service", "A" + texts[1].partition("=")[2])
            return
        for name, value in packet:
            if name == "Cisco-Command-Code":
                command = value.encode().decode("unicode_escape")
                self.switch(command[:1] == "\x0b", "A" + command[1:])
            elif name == "ERX-Service-Deactivate":
                self.switch(False, value)
            elif name == "Alc-Remove-Override":
                self.state.pop(("Alc-SLA-Prof-Str", ""), None)
            else:
                self.set(name, value, fresh=self.slot(name, value) not in touched)
                touched.add(self.slot(name, value))

    def switch(self, on: bool, service: str) -> None:
        (self.services.append if on else self.services.remove)(service)

    def slot(self, name: str, value: str) -> tuple[str, str]:
        family = FAMILIES[self.options.family]
        inner = re.split("[= ]", value, maxsplit=1)[0] if name in family.repeatable else ""
        return name, inner

    def set(self, name: str, value: str, fresh: bool) -> None:
        base = name.partition(":")[0]
        if base in ("ERX-Service-Activate", "Cisco-Account-Info"):
            self.services.append(value)
            return
        values = self.state.setdefault(self.slot(name, value), [])
        if fresh:
            values.clear()
        values.append(value)

    def seen(self) -> tuple[dict[tuple[str, str], list[str]], list[str]]:
        """What is in force; what says "nothing" is as good as absent."""
        none = {"Mikrotik-Rate-Limit": "0/0", "Alc-Onetime-Http-Redirection-Filter-Id": "Ingr-v4:0"}
        none |= {"Mikrotik-Address-List": self.options.open_list, "Accel-VRF-Name": "0"}
        if self.options.family == "accel-ppp":
            none |= {self.options.rate_attribute_down: "0", self.options.rate_attribute_up: "0"}
            none |= {self.options.rate_attribute: "0/0"}
        left = {}
        for (name, inner), values in self.state.items():
            is_none = [none.get(name)] == values or values == [self.options.open_filter]
            is_none |= name.startswith("Alc-") and all("-2" in value for value in values)
            if not is_none and name not in ("Reply-Message", "Idle-Timeout"):
                left[name, inner] = sorted(set(values))
        return left, sorted(set(self.services))


class Reauthenticated(Exception):
    """The box has logged the session in again."""


changes = st.fixed_dictionaries(
    {},
    optional={
        "rate": st.none() | rates_of,
        "walled_garden": st.booleans(),
        "filter": st.none() | st.sampled_from(["open", "Ingr-v4:7"]),
        "session_timeout_s": st.none() | st.integers(1, 2**32 - 1),
        "idle_timeout_s": st.none() | st.integers(1, 2**32 - 1),
        "attributes": st.lists(st.sampled_from(LIVELY), max_size=4).map(tuple),
    },
)
"""What a service runs into: mostly things that a CoA can do."""


@settings(max_examples=400, deadline=None)
@given(decisions, decisions | changes, sites | options)
def test_any_pair_on_any_family_is_led_over_or_sent_away(
    confirmed: Decision, other: Decision | dict[str, Any], options: RenderOptions
) -> None:
    desired = msgspec.structs.replace(confirmed, **other) if isinstance(other, dict) else other
    change = compare(confirmed, desired, options, DICTIONARY)
    assert change == compare(confirmed, desired, options, DICTIONARY)
    assert all(len(octets) <= COA_OCTETS_MAX for octets in change.wire)
    compare(None, desired, options, DICTIONARY)
    if not desired.grant:
        assert change.kind == "disconnect"
    if change.kind == "disconnect" or not confirmed.grant:
        return
    assert pool_of(confirmed, options) == pool_of(desired, options)
    box = Box(options, confirmed)
    try:
        for octets in change.wire:
            box.take(pairs_of(octets))
    except Reauthenticated:
        return
    assert box.seen() == Box(options, desired).seen(), [pairs_of(octets) for octets in change.wire]
