"""The firewall of one peer: what passes, what is stopped, and with which Result-Code."""

import time

import pytest

from aaa.diameter.firewall import RESULTS, Gate, Reason, Rules
from native import diameter
from native.diameter import Message
from tests.diameter.wire import DICTIONARY, GX, REQUEST, S6A

AIR = 318
ORIGIN = (("Origin-Host", "mme.visited"), ("Origin-Realm", "visited"))
IMSI = ("User-Name", "262010000000001")


def request(*pairs, application: int = S6A, command: int = AIR, origin=ORIGIN) -> Message:
    avps = DICTIONARY.encode_all((("Session-Id", "mme.visited;1;1"), *origin, *pairs))
    return Message.parse(diameter.message(REQUEST, command, application, 1, 2, avps))


OPEN = Rules()


OURS = frozenset(["aaa.home", "aaa2.home", "bng"])


def gate(rules: Rules = OPEN, host="mme.visited", realm="visited", relays=False, **more) -> Gate:
    return Gate(rules, host, realm, relays, OURS, 0.0, **more)


def reason(stopped) -> Reason | None:
    if stopped is not None:
        assert stopped.refusal.result == RESULTS[stopped.reason]
    return None if stopped is None else stopped.reason


def subscription(data: str, kind: int = 1):
    return ("Subscription-Id", [("Subscription-Id-Type", kind), ("Subscription-Id-Data", data)])


def number(name: str) -> tuple[int, int]:
    avp = DICTIONARY.avp(name)
    return avp.code, avp.vendor


PLMNS = Rules(plmns=frozenset([bytes.fromhex("62f210")]))


@pytest.mark.parametrize(
    ("rules", "message", "expected"),
    [
        (Rules(), request(IMSI), None),
        (Rules(applications=frozenset([GX])), request(IMSI), Reason.APPLICATION),
        (Rules(applications=frozenset([S6A])), request(IMSI), None),
        (Rules(commands=frozenset([316])), request(IMSI), Reason.COMMAND),
        (Rules(commands=frozenset([316, AIR])), request(IMSI), None),
        (Rules(imsis=("26202", "26203")), request(IMSI), Reason.IMSI),
        (Rules(imsis=("26202", "26201")), request(IMSI), None),
        (Rules(imsis=("26202",)), request(), None),
        # Whichever of them is read in the end.
        (Rules(imsis=("26202",)), request(subscription("262020000000001"), IMSI), Reason.IMSI),
        (Rules(imsis=("26202",)), request(subscription("x"), subscription("262010000000001")), Reason.IMSI),
        (Rules(imsis=("26202",)), request(subscription("262020000000001"), subscription("15550001", 0)), None),
        (PLMNS, request(("Visited-PLMN-Id", bytes.fromhex("62f220"))), Reason.PLMN),
        (PLMNS, request(("Visited-PLMN-Id", bytes.fromhex("62f210"))), None),
        (PLMNS, request(), None),
    ],
)
def test_what_a_peer_is_not_configured_for_is_stopped(rules, message, expected):
    assert reason(gate(rules).stops(message, 0.0)) == expected


DENIED = Rules(
    denied=frozenset([number("Terminal-Information"), number("IMEI"), number("Proxy-Info")]),
    groups=frozenset(number(avp.name) for avp in DICTIONARY if avp.type == "Grouped"),
)


def test_a_denied_avp_comes_back_as_the_failed_one():
    sent = request(IMSI, ("Terminal-Information", [("IMEI", "123")]))
    stopped = gate(DENIED).stops(sent, 0.0)
    assert reason(stopped) is Reason.AVP
    assert stopped.refusal.result == 5008
    failed = Message.parse(diameter.message(0, 0, 0, 0, 0, [stopped.refusal.failed]))
    assert DICTIONARY.show(failed) == [("Terminal-Information.IMEI", "123")]


def test_a_denied_avp_is_found_inside_of_groups_and_not_in_values():
    code, vendor = number("IMEI")
    inner = diameter.avp(code, b"1", vendor)
    nested = request(("Supported-Features", [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 1)]))
    grouped = request(("Terminal-Information", [("IMEI", "1")]))
    only_inside = Rules(denied=frozenset([(code, vendor)]), groups=DENIED.groups)
    assert reason(gate(only_inside).stops(grouped, 0.0)) is Reason.AVP
    assert gate(only_inside).stops(nested, 0.0) is None
    # The octets of the code stand in a value only.
    assert gate(only_inside).stops(request(("User-Name", inner.hex())), 0.0) is None
    lookalike = Message.parse(
        diameter.message(REQUEST, AIR, S6A, 1, 2, [*DICTIONARY.encode_all(ORIGIN), diameter.avp(1, inner)])
    )
    assert gate(only_inside).stops(lookalike, 0.0) is None


def test_a_group_that_cannot_be_read_whole_may_hold_a_denied_avp():
    code, vendor = number("IMEI")
    only_inside = Rules(denied=frozenset([(code, vendor)]), groups=DENIED.groups)
    filled = diameter.avp(999, b"", 0, False) * diameter.AVP_COUNT_MAX + diameter.avp(code, b"1", vendor)
    group = diameter.avp(*number("Terminal-Information")[:1], filled, number("Terminal-Information")[1])
    sent = Message.parse(diameter.message(REQUEST, AIR, S6A, 1, 2, [*DICTIONARY.encode_all(ORIGIN), group]))
    assert reason(gate(only_inside).stops(sent, 0.0)) is Reason.AVP


@pytest.mark.parametrize(
    ("origin", "relays", "record", "expected"),
    [
        (ORIGIN, False, False, None),
        ((("Origin-Host", "MME.Visited"), ("Origin-Realm", "VISITED")), False, False, None),
        ((("Origin-Host", "other.visited"), ("Origin-Realm", "visited")), False, False, Reason.ORIGIN_HOST),
        ((("Origin-Host", "other.visited"), ("Origin-Realm", "visited")), True, False, None),
        ((("Origin-Host", "other.visited"), ("Origin-Realm", "visited")), False, True, None),
        ((("Origin-Host", "AAA.home"), ("Origin-Realm", "home")), True, True, Reason.ORIGIN_HOST),
        ((("Origin-Host", "aaa2.home"), ("Origin-Realm", "home")), True, True, Reason.ORIGIN_HOST),
        ((("Origin-Host", "mme.visited"), ("Origin-Realm", "home")), True, False, Reason.ORIGIN_REALM),
        ((("Origin-Host", "mme.visited"),), False, False, Reason.ORIGIN_REALM),
        ((("Origin-Realm", "visited"),), True, True, Reason.ORIGIN_HOST),
    ],
)
def test_nobody_speaks_for_others_but_a_relay_and_nobody_for_us(origin, relays, record, expected):
    records = (("Route-Record", "enb.visited"),) if record else ()
    one = gate(relays=relays)
    for _ in range(2):
        assert reason(one.stops(request(IMSI, *records, origin=origin), 0.0)) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("enb.visited", None),
        ("ENB.Visited", None),
        ("mme.epc.mnc001.example", None),
        ("xepc.mnc001.example", Reason.ORIGIN_HOST),
        ("epc.mnc001.example", Reason.ORIGIN_HOST),
        ("other.visited", Reason.ORIGIN_HOST),
        ("mme.visited", None),
    ],
)
def test_a_relay_speaks_for_those_whom_it_is_configured_to(host, expected):
    one = gate(Rules(origins=("enb.visited", ".epc.mnc001.example")), relays=True)
    assert reason(one.stops(request(origin=(("Origin-Host", host), ("Origin-Realm", "visited"))), 0.0)) == expected


@pytest.mark.parametrize("host", ["bng", "BNG", "bng/192.0.2.1"])
def test_no_relay_speaks_for_a_radius_client(host):
    origin = (("Origin-Host", host), ("Origin-Realm", "visited"))
    assert reason(gate(relays=True).stops(request(origin=origin), 0.0)) is Reason.ORIGIN_HOST


def test_a_relay_makes_no_more_clients_known_than_there_is_room_for():
    one = gate(relays=True, has_room=lambda host: host == "known.visited")
    for host, expected in (("known.visited", None), ("new.visited", Reason.CLIENTS)):
        assert reason(one.stops(request(origin=(("Origin-Host", host), ("Origin-Realm", "visited"))), 0.0)) == expected


def test_a_peer_of_any_realm_is_not_asked_for_its_realm():
    assert gate(realm="").stops(request(origin=(("Origin-Host", "mme.visited"), ("Origin-Realm", "x"))), 0.0) is None


def test_beyond_its_rate_a_peer_is_told_to_go_elsewhere_until_the_bucket_fills():
    one = gate(Rules(rate_limit=2.0))
    results = [reason(one.stops(request(), now)) for now in (0.0, 0.0, 0.0, 0.25, 0.5, 0.5)]
    assert results == [None, None, Reason.RATE, Reason.RATE, None, Reason.RATE]
    assert [reason(one.stops(request(), 100.0)) for _ in range(3)] == [None, None, Reason.RATE]


def test_a_slow_rate_still_lets_one_through():
    one = gate(Rules(rate_limit=0.5))
    assert [reason(one.stops(request(), now)) for now in (0.0, 1.0, 2.0)] == [None, Reason.RATE, None]


def test_a_request_of_an_unrestricted_peer_costs_next_to_nothing():
    # Bound: twenty times what it takes; a walk over all AVPs would take far more.
    one, message = gate(), request(IMSI)
    begun = time.process_time()
    for _ in range(10_000):
        one.stops(message, 0.0)
    assert (time.process_time() - begun) / 10_000 < 10e-6
