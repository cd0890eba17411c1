"""Routing tables, the choice of a peer, and what a relay does to a message."""

import pytest

from aaa.diameter.capabilities import Refusal
from aaa.diameter.peer import Peer
from aaa.diameter.routing import (
    HERE,
    Destination,
    Route,
    Routes,
    Way,
    choose,
    destination_of,
    imsi_of,
    relayed_answer,
    relayed_request,
    route_records,
)
from aaa.diameter.settings import Remote
from aaa.diameter.states import State
from aaa.diameter.watchdog import WatchdogState
from native import diameter
from native.diameter import Message
from tests.diameter.wire import DICTIONARY, GX, REQUEST, S6A, cca, ccr, cer, node

ROUTES = Routes(
    "Server.example",
    ["Example"],
    ["peer.example", "mno.example"],
    [
        Route(("mno1", "mno2"), imsis=("26201", "26201")),
        Route((), imsis=("262027000000000", "262027999999999")),
        Route(("gx-mno",), imsis=("26201", "26201"), application=GX),
        Route(("Abroad1", "abroad2"), realm="Abroad"),
        Route(("abroad-gx",), realm="abroad", application=GX),
    ],
)


@pytest.mark.parametrize(
    ("host", "realm", "application", "imsi", "expected"),
    [
        ("server.example", "example", S6A, "", HERE),
        ("server.example", "abroad", S6A, "262010000000001", HERE),
        ("peer.example", "abroad", S6A, "262010000000001", Way(("peer.example",))),
        ("", "example", S6A, "", HERE),
        ("", "", S6A, "", HERE),
        ("unknown.example", "example", S6A, "", Refusal(3002)),
        ("", "example", S6A, "262010000000001", Way(("mno1", "mno2"))),
        ("", "example", GX, "262010000000001", Way(("gx-mno",))),
        ("", "example", GX, "262019999999999", Way(("gx-mno",))),
        ("", "example", GX, "262020000000000", HERE),
        ("", "abroad", S6A, "262027000000000", HERE),
        ("", "abroad", S6A, "262026999999999", Way(("abroad1", "abroad2"))),
        ("", "abroad", S6A, "262028000000000", Way(("abroad1", "abroad2"))),
        ("hss.abroad", "abroad", S6A, "", Way(("abroad1", "abroad2"))),
        ("", "abroad", GX, "", Way(("abroad-gx",))),
        ("", "nowhere", GX, "", Refusal(3003)),
    ],
)
def test_where_a_request_goes(host, realm, application, imsi, expected):
    assert ROUTES.find(Destination(host, realm, application, imsi)) == expected


def test_a_request_that_has_been_here_is_a_loop():
    destination = Destination("", "abroad", S6A, "")
    assert ROUTES.find(destination, ["other", "server.example"]) == Refusal(3005)


def test_a_default_route_takes_the_rest():
    routes = Routes("server", ["example"], [], [Route(("dra",))])
    assert routes.find(Destination("", "nowhere", GX, "")) == Way(("dra",))
    assert routes.find(Destination("", "example", GX, "")) == HERE


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        (
            [Route(("a",), imsis=("26201", "26203")), Route(("b",), imsis=("26202", "26202"))],
            "two ranges have IMSI 26202",
        ),
        ([Route(("a",), imsis=("26203", "26201"))], "are none"),
        ([Route(("a",), imsis=("2620x", "26201"))], "no IMSI"),
        ([Route(("a",), imsis=("2620100000000000", "26201"))], "no IMSI"),
        ([Route(("a",), realm="x"), Route(("b",), realm="X")], "routed twice"),
        ([Route(("a",), realm="x", imsis=("1", "2"))], "it is of one"),
        ([Route(("a",))] * 10_001, "at most 10000"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(routes, message):
    with pytest.raises(ValueError, match=message):
        Routes("server", ["example"], [], routes)


def request(*pairs) -> Message:
    return Message.parse(diameter.message(REQUEST, 272, GX, 1, 2, DICTIONARY.encode_all(pairs)))


def subscription(kind: int, data: str):
    return ("Subscription-Id", [("Subscription-Id-Type", kind), ("Subscription-Id-Data", data)])


def test_the_imsi_is_found_by_its_type_and_not_by_its_place():
    imsi, msisdn = subscription(1, "001010000000001"), subscription(0, "4912345")
    assert imsi_of(request(imsi, msisdn)) == imsi_of(request(msisdn, imsi)) == "001010000000001"
    assert imsi_of(request(msisdn)) == ""
    assert imsi_of(request(("User-Name", "001010000000002"))) == "001010000000002"
    assert imsi_of(request(("User-Name", "alice@example"))) == ""
    assert imsi_of(request(subscription(1, "0010100000000011"))) == ""


def test_what_a_request_says_is_compared_in_lower_case():
    found = destination_of(request(("Destination-Host", "HSS.Example"), ("Destination-Realm", "EXAMPLE")))
    assert found == Destination("hss.example", "example", GX, "")


def peers() -> dict[str, Peer]:
    made = node("server", [Remote("one"), Remote("two"), Remote("three")], relay=True)
    for name in made.peers:
        connection = made.accept("192.0.2.1", ("192.0.2.2",), 0.0)
        assert connection is not None
        connection.receive_data(cer(name), 0.0)
    assert {peer.state for peer in made.peers.values()} == {State.R_OPEN}
    return made.peers


def test_the_first_trusted_peer_is_chosen_and_a_doubtful_one_before_none():
    table = peers()
    way = Way(("one", "two", "three", "unknown"))
    assert choose(way, table, GX) is table["one"]
    assert choose(way, table, GX, but=["one"]) is table["two"]
    table["one"].watchdog.state = table["three"].watchdog.state = WatchdogState.REOPEN
    assert choose(way, table, GX) is table["two"]
    table["two"].connection.lost(0.0)
    assert choose(way, table, GX) is table["one"]
    assert choose(way, table, S6A) is None
    assert choose(way, table, GX, but=["one", "three"]) is None


def test_a_relayed_request_tells_where_it_came_from_and_its_answer_finds_back():
    original = Message.parse(ccr(hop_by_hop=77))
    relayed = Message.parse(relayed_request(original, "client"))
    assert relayed.fault == 0
    assert relayed.avps()[:-1] == original.avps()
    assert route_records(relayed) == ["client"]
    assert relayed.end_to_end == original.end_to_end
    forwarded = Message.parse(diameter.readdressed(relayed.raw, 5))
    answer = Message.parse(relayed_answer(original, Message.parse(cca(forwarded))))
    assert (answer.hop_by_hop, answer.end_to_end) == (77, original.end_to_end)
