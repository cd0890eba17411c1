"""The tap on Diameter connections: requests with their answers, both ways, relayed ones too, and without secrets."""

from types import SimpleNamespace
from typing import Any

import pytest

from aaa.limits import TRACE_WAITING_COUNT
from aaa.server.trace import Tap
from aaa.server.tracer import Wanted
from native import diameter
from tests.diameter.wire import DICTIONARY, cer, result_of
from tests.server.diameter_site import GX, Echo, Site, node_text, peer_text, run, site
from tests.server.test_diameter_agent import ONE, RELAYING, Served, aia, air, ask, credit, raa, upstream

S6A = 16777251
VECTOR = [
    ("E-UTRAN-Vector", [("RAND", b"r" * 16), ("XRES", b"x" * 8), ("AUTN", b"a" * 16), ("KASME", b"k" * 32)]),
]  # fmt: skip


class Onlooker:
    def __init__(self, one: Site, **wanted: Any) -> None:
        store = one.diameter.store
        store.inventory = SimpleNamespace(sim_of_imsi=lambda imsi: None)
        self.server: Any = SimpleNamespace(
            diameter=one.diameter, store=store, ports=[], network=SimpleNamespace(tap=None), stopping=None
        )
        self.tap = Tap(self.server)
        number = self.tap.open(Wanted(**wanted))
        assert number is not None
        self.number = number

    @property
    def seen(self) -> list[dict[str, Any]]:
        """What was seen until now."""
        ring = self.tap.tracers[self.number].ring
        return [self.tap.show(seen) for seen in ring]

    def close(self) -> None:
        self.tap.close(self.number)


def test_nobody_is_told_anything_before_and_after(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            assert one.node.tap is None
            onlooker = Onlooker(one)
            assert one.node.tap is not None
            onlooker.close()
            assert one.node.tap is None

    run(converse())


def test_a_request_is_seen_with_its_answer_and_without_its_keys(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            one.diameter.applications[S6A] = SimpleNamespace(
                receive=lambda requests, at: [
                    aia(request.message, 2001, DICTIONARY.encode("Authentication-Info", VECTOR)) for request in requests
                ]
            )
            client = await one.opened()
            onlooker = Onlooker(one)
            assert result_of(await client.request(air())) == 2001
            (seen,) = onlooker.seen
            assert (seen["protocol"], seen["direction"], seen["code"], seen["answer"]) == (
                "diameter", "in", "S6a AIR", "S6a AIA"
            )  # fmt: skip
            assert (seen["outcome"], seen["reason"], seen["identifier"]) == ("DIAMETER_SUCCESS", None, 5)
            assert (seen["nas"], seen["peer"], seen["user"]) == ("client", "client", "001010000000001")
            assert dict(seen["attributes"])["Visited-PLMN-Id"] == "001-01"
            answer = dict(seen["answer_attributes"])
            for name in ("RAND", "XRES", "AUTN", "KASME"):
                assert answer[f"Authentication-Info.E-UTRAN-Vector.{name}"] == "***"
            assert ("72" * 16) not in repr(seen)
            assert seen["latency_ms"] >= 0

    run(converse())


def test_a_refusal_is_seen_with_its_reason(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, node_text(peer_text(imsis=["26201"]), applications=["s6a"])) as one:
            client = await one.opened(applications=[S6A])
            onlooker = Onlooker(one)
            await client.request(air())
            (seen,) = onlooker.seen
            assert seen["outcome"] == "DIAMETER_AUTHORIZATION_REJECTED"
            assert seen["reason"] == "Result-Code 5003"

    run(converse())


def test_requests_of_ours_are_seen_too(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            client = await one.opened()
            onlooker = Onlooker(one)
            done = await ask(one, "client")
            client.send(raa(await client.read()))
            await done
            (seen,) = onlooker.seen
            assert (seen["direction"], seen["code"], seen["answer"], seen["nas"]) == (
                "out",
                "Gx RAR",
                "Gx RAA",
                "client",
            )

    run(converse())


def test_a_relayed_request_is_seen_as_it_came_and_as_it_went_on(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            client, dra1 = await one.opened(), await upstream(one, "dra1")
            onlooker = Onlooker(one)
            client.send(air(Destination_Realm="abroad"))
            dra1.send(aia(await dra1.read()))
            await client.read()
            went, came = onlooker.seen
            assert (went["direction"], went["peer"]) == ("out", "dra1")
            assert (came["direction"], came["peer"], came["nas"]) == ("in", "client", "client")
            assert went["identifier"] == came["identifier"]
            assert dict(went["attributes"])["Route-Record"] == "client"

    run(converse())


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["Gx CCR", "S6a AIR"]),
        ({"command": "CCR"}, ["Gx CCR"]),
        ({"command": "GX CCR"}, ["Gx CCR"]),
        ({"command": "GY CCR"}, []),
        ({"command": "318"}, ["S6a AIR"]),
        ({"imsi": "001010000000001"}, ["S6a AIR"]),
        ({"user": "001010000000001"}, ["S6a AIR"]),
        ({"imsi": "001010000000002"}, []),
        ({"peer": "CLIENT"}, ["Gx CCR", "S6a AIR"]),
        ({"peer": "other"}, []),
        ({"nas": "client"}, ["Gx CCR", "S6a AIR"]),
        ({"session": "client;1;gx"}, ["Gx CCR"]),
        ({"service": "erin"}, []),
        ({"code": 1}, []),
        ({"operator": "mvno"}, []),
    ],
)
def test_only_what_is_wanted_and_in_scope_is_seen(tmp_path, wanted, expected):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            Served(one, S6A)
            one.diameter.applications[GX] = Echo(GX)
            client = await one.opened()
            onlooker = Onlooker(one, **wanted)
            await client.request(credit())
            await client.request(air())
            assert [seen["code"] for seen in onlooker.seen] == expected

    run(converse())


def test_a_peer_of_an_operator_is_seen_by_its_operator(tmp_path):
    async def converse() -> None:
        text = node_text(peer_text(operator="mvno"), applications=["s6a"])
        async with site(tmp_path, text) as one:
            Served(one, S6A)
            client = await one.opened(applications=[S6A])
            onlooker = Onlooker(one, operator="mvno")
            await client.request(air())
            assert [seen["code"] for seen in onlooker.seen] == ["S6a AIR"]

    run(converse())


def test_capabilities_are_seen_and_watchdogs_to_those_who_ask_for_them(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            everything, watchdogs = Onlooker(one), None
            client = await one.client()
            client.send(cer("stranger"))
            await client.read()
            client = await one.opened()
            seen = [(one_["code"], one_["outcome"], one_["peer"]) for one_ in everything.seen]
            assert seen == [
                ("Base CER", "DIAMETER_UNKNOWN_PEER", "stranger"), ("Base CER", "DIAMETER_SUCCESS", "client")
            ]  # fmt: skip
            everything.close()
            watchdogs = Onlooker(one, command="DWR")
            dwr = DICTIONARY.encode_all([("Origin-Host", "client"), ("Origin-Realm", "example")])
            await client.request(_message(280, dwr))
            assert [one_["code"] for one_ in watchdogs.seen] == ["Base DWR"]

    run(converse())


def _message(command: int, avps: list[bytes]) -> bytes:
    return diameter.message(diameter.FLAG_REQUEST, command, 0, 3, 4, avps)


def test_a_request_without_an_answer_is_told_after_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr("aaa.server.trace_diameter.TRACE_ANSWER_S", 0.0)

    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            client, dra1 = await one.opened(), await upstream(one, "dra1")
            onlooker = Onlooker(one)
            client.send(air(Destination_Realm="abroad"))
            await dra1.read()
            onlooker.tap.diameter.expire()
            assert [(seen["direction"], seen["outcome"], seen["answer"]) for seen in onlooker.seen] == [
                ("in", "no answer", None), ("out", "no answer", None)
            ]  # fmt: skip

    run(converse())


def test_requests_that_wait_for_an_answer_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("aaa.server.trace_diameter.TRACE_WAITING_COUNT", 2)
    assert TRACE_WAITING_COUNT > 2

    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            client, dra1 = await one.opened(), await upstream(one, "dra1")
            onlooker = Onlooker(one)
            for number in range(3):
                client.send(air(Destination_Realm="abroad", identifier=number, hop_by_hop=number))
                await dra1.read()
            assert len(onlooker.tap.diameter._waiting) == 2
            assert len(onlooker.seen) == 4

    run(converse())
