"""What the server does with Diameter requests before the applications: routes, relays, refuses, answers again."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from aaa.diameter import codes
from aaa.diameter.overload import FEATURES
from aaa.diameter.routing import route_records
from aaa.limits import DIAMETER_OVERLOAD_SAMPLES
from aaa.server.diameter_traffic import UNANSWERED
from native import diameter
from native.diameter import FLAG_ERROR, FLAG_RETRANSMITTED, Message
from tests.diameter.wire import DICTIONARY, REQUEST, cer, result_of
from tests.server.diameter_site import GX, GY, S6A, Client, Echo, Site, answer_to, node_text, peer_text, run, site

AIR, ULR = 318, 316
RELAY = 0xFFFFFFFF


def air(host: str = "client", identifier: int = 5, hop_by_hop: int = 9, flags: int = REQUEST, **more: Any) -> bytes:
    """more: AVPs by name with _ for -; None leaves one out."""
    pairs: dict[str, Any] = {
        "Session-Id": f"{host};1;{identifier}",
        "Auth-Session-State": 1,
        "Origin-Host": host,
        "Origin-Realm": "example",
        "Destination-Realm": "example",
        "User-Name": "001010000000001",
        "Visited-PLMN-Id": bytes.fromhex("00f110"),
        "Requested-EUTRAN-Authentication-Info": [("Number-Of-Requested-Vectors", 1)],
    } | {name.replace("_", "-"): value for name, value in more.items()}
    avps = DICTIONARY.encode_all((name, value) for name, value in pairs.items() if value is not None)
    return diameter.message(flags, AIR, S6A, hop_by_hop, identifier, avps)


def credit(
    kind: int = 1, number: int = 0, host: str = "client", hop_by_hop: int = 9, application: int = GX, **more: Any
) -> bytes:
    pairs: dict[str, Any] = {
        "Session-Id": f"{host};1;gx",
        "Auth-Application-Id": application,
        "Service-Context-Id": None if application == GX else "32251@3gpp.org",
        "Origin-Host": host,
        "Origin-Realm": "example",
        "Destination-Realm": "example",
        "CC-Request-Type": kind,
        "CC-Request-Number": number,
    } | {name.replace("_", "-"): value for name, value in more.items()}
    avps = DICTIONARY.encode_all((name, value) for name, value in pairs.items() if value is not None)
    return diameter.message(REQUEST, 272, application, hop_by_hop, 70 + number, avps)


def aia(message: Message, result: int = 2001, *more: bytes, host: str = "aaa.example") -> bytes:
    pairs = [("Session-Id", message.get_text(263) or "s"), ("Auth-Session-State", 1), ("Origin-Host", host)]
    pairs += [("Origin-Realm", "example"), ("Result-Code", result)]
    return diameter.answer(message, [*DICTIONARY.encode_all(pairs), *more], 3000 <= result < 4000)


class Served:
    """An application that answers 2001."""

    def __init__(self, one: Site, number: int) -> None:
        self.echo = Echo(number)
        one.diameter.applications[number] = self if number == S6A else self.echo  # type: ignore[assignment]
        self.seen: list[Message] = []

    def receive(self, requests: Any, at: float) -> list[bytes]:
        self.seen += [request.message for request in requests]
        return [aia(request.message) for request in requests]


def text_of(message: Message) -> dict[str, str]:
    return dict(DICTIONARY.show(message))


ONE = node_text(peer_text(), applications=["gx", "gy", "s6a"])


def test_a_relay_speaks_for_whom_it_may_and_for_no_peer_of_another_operator(tmp_path):
    peers = peer_text("dra", operator="mvno") + peer_text("own", operator="mvno") + peer_text("other", operator="brand")
    peers += peer_text("everybodys") + peer_text("held", speaks_for=["*.visited"])

    async def converse() -> None:
        async with site(tmp_path, node_text(peers, applications=["s6a"])) as one:
            served = Served(one, S6A)
            for peer, expected in (
                ("dra", {"own": 2001, "mme.visited": 2001, "other": 5003, "everybodys": 5003, "aaa.example": 5003}),
                ("held", {"mme.visited": 2001, "own": 5003, "visited": 5003}),
            ):
                relay = await one.opened(peer, applications=[RELAY])
                for number, (host, result) in enumerate(expected.items()):
                    answer = await relay.request(air(host, 100 + number, number, Session_Id=f"{peer};{host}"))
                    assert (host, result_of(answer)) == (host, result)
            assert len(served.seen) == 3

    run(converse())


def with_peer(**keys: Any) -> str:
    return node_text(peer_text(**keys), applications=["gx", "s6a"])


@pytest.mark.parametrize(
    ("text", "request_", "result"),
    [
        (ONE, air(), 2001),
        (ONE, air(Destination_Realm="EXAMPLE", Destination_Host="AAA.Example"), 2001),
        (ONE, air(Destination_Realm="elsewhere"), 3003),
        (ONE, air(Destination_Host="other.example"), 3002),
        (ONE, air(Destination_Host="client"), 3002),
        (ONE, air(Origin_Host="somebody.example"), 5003),
        (ONE, air(Origin_Host="somebody.example", Route_Record="somebody.example"), 2001),
        (ONE, air(Origin_Host="aaa.example", Route_Record="somebody.example"), 5003),
        (ONE, air(Origin_Realm="elsewhere"), 5003),
        (with_peer(commands=["ULR", "PUR"]), air(), 3001),
        (with_peer(commands=["AIR"]), air(), 2001),
        (with_peer(imsis=["26201"]), air(), 5003),
        (with_peer(imsis=["26201", "00101"]), air(), 2001),
        (with_peer(plmns=["26201"]), air(), 5003),
        (with_peer(plmns=["26201", "00101"]), air(), 2001),
        (with_peer(denied_avps=["Visited-PLMN-Id"]), air(), 5008),
        (with_peer(denied_avps=["Number-Of-Requested-Vectors"]), air(), 5008),
        (with_peer(denied_avps=["Terminal-Information"]), air(), 2001),
        (with_peer(applications=["gx"]), air(), 3007),
    ],
)
def test_a_request_is_served_or_refused_with_the_right_result(tmp_path, text, request_, result):
    async def converse() -> None:
        async with site(tmp_path, text) as one:
            served = Served(one, S6A)
            client = await one.opened()
            answer = await client.request(request_)
            assert result_of(answer) == result
            assert bool(answer.flags & FLAG_ERROR) == (3000 <= result < 4000)
            assert answer.get_text(263) == "client;1;5"
            assert len(served.seen) == (result == 2001)
            if result == 5008:
                assert answer.has(codes.FAILED_AVP)

    run(converse())


def test_what_the_firewall_stopped_is_counted_by_reason_and_logged_once(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, with_peer(imsis=["26201"])) as one:
            Served(one, S6A)
            client = await one.opened()
            for number in range(3):
                assert result_of(await client.request(air(identifier=number))) == 5003
            (seen,) = one.diameter.agent.all_observed()
            assert seen.traffic.stopped == {"imsi": 3}
            assert seen.traffic.results == {5003: 3}
            assert seen.traffic.received[S6A, AIR].requests == 3
            lines = one.log.of("diameter.stopped")
            assert {(fields["peer"], fields["reason"], fields["repeat"]) for _, fields in lines} == {
                ("client", "imsi", ("client", "imsi"))
            }
            assert "001010000000001" not in repr(lines)

    run(converse())


def test_a_rate_limit_is_answered_too_busy(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, with_peer(rate_limit=0.001)) as one:
            Served(one, S6A)
            client = await one.opened()
            assert [result_of(await client.request(air(identifier=number))) for number in range(2)] == [2001, 3004]

    run(converse())


def test_a_reload_changes_the_firewall_of_an_open_peer(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            Served(one, S6A)
            client = await one.opened()
            assert result_of(await client.request(air(identifier=1))) == 2001
            one.reload(with_peer(imsis=["26201"]))
            assert result_of(await client.request(air(identifier=2))) == 5003
            (seen,) = one.diameter.agent.all_observed()
            assert seen.traffic.received[S6A, AIR].requests == 2

    run(converse())


def test_a_request_that_comes_again_is_answered_again_and_applied_once(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            served = Served(one, S6A)
            client = await one.opened()
            first = await client.request(air(hop_by_hop=9))
            again = await client.request(air(hop_by_hop=10, flags=REQUEST | FLAG_RETRANSMITTED))
            assert (again.hop_by_hop, again.avps()) == (10, first.avps())
            assert len(served.seen) == 1
            assert one.diameter.agent.duplicates.repeated == 1

    run(converse())


def test_a_request_that_comes_again_while_the_first_waits_for_the_disk_gets_the_same_answer(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            echo = Echo(GX, one.journal)
            one.diameter.applications[S6A] = SimpleNamespace(
                receive=lambda requests, at: (echo.receive(requests, at), [aia(r.message) for r in requests])[1]
            )
            one.writer.at_once = False
            client = await one.opened()
            client.send(air(hop_by_hop=9), air(hop_by_hop=10), air(hop_by_hop=11))
            await one.until(lambda: echo.batches)
            one.writer.acknowledge()
            answers = [await client.read() for _ in range(3)]
            assert sorted(answer.hop_by_hop for answer in answers) == [9, 10, 11]
            assert [result_of(answer) for answer in answers] == [2001, 2001, 2001]
            assert len(echo.batches) == 1

    run(converse())


def test_what_comes_too_often_while_the_first_is_in_work_is_refused_and_not_forgotten(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            echo = Echo(GX, one.journal)
            one.diameter.applications[S6A] = SimpleNamespace(
                receive=lambda requests, at: (echo.receive(requests, at), [aia(r.message) for r in requests])[1]
            )
            one.writer.at_once = False
            client = await one.opened()
            client.send(*(air(hop_by_hop=number) for number in range(8)))
            refused = [await client.read() for _ in range(3)]
            assert [(answer.hop_by_hop, result_of(answer)) for answer in refused] == [(5, 3004), (6, 3004), (7, 3004)]
            one.writer.acknowledge()
            assert [result_of(await client.read()) for _ in range(5)] == [2001] * 5
            assert not one.node.peers["client"].connection.waiting

    run(converse())


def test_a_ccr_of_a_session_is_left_to_its_session(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            served = Served(one, GY)
            client = await one.opened()
            for hop_by_hop in (1, 2):
                assert result_of(await client.request(credit(hop_by_hop=hop_by_hop, application=GY))) == 2001
            assert len(served.echo.batches) == 2
            # An event is of no session.
            for hop_by_hop in (3, 4):
                assert result_of(await client.request(credit(4, 5, hop_by_hop=hop_by_hop, application=GY))) == 2001
            assert len(served.echo.batches) == 3

    run(converse())


# Relay

UPSTREAMS = "\n".join((
    peer_text(), peer_text("dra1"), peer_text("dra2"), peer_text("hss.mno", "mno"),
    '[[route]]\nrealm = "abroad"\npeers = ["dra1", "dra2"]\n',
    '[[route]]\nimsi_first = "26201"\npeers = ["hss.mno"]\napplication = "s6a"\n',
    '[[route]]\nrealm = "alias"\n',
))  # fmt: skip
RELAYING = node_text(UPSTREAMS, applications=["gx", "s6a"], relay=True)


async def upstream(one: Site, host: str, realm: str = "example") -> Client:
    client = await one.client()
    octets = cer(host, applications=[GX, S6A], Origin_Realm=realm)
    client.send(octets)
    assert result_of(await client.read()) == 2001
    return client


def test_a_request_of_another_realm_is_relayed_and_its_answer_finds_back(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            served = Served(one, S6A)
            client, dra1, dra2 = await one.opened(), await upstream(one, "dra1"), await upstream(one, "dra2")
            sent = air(Destination_Realm="abroad", hop_by_hop=9)
            client.send(sent)
            relayed = await dra1.read()
            assert relayed.avps()[:-1] == Message.parse(sent).avps()
            assert route_records(relayed) == ["client"]
            assert (relayed.end_to_end, relayed.flags) == (5, REQUEST)
            dra1.send(aia(relayed, host="hss.abroad"))
            answer = await client.read()
            assert (answer.hop_by_hop, answer.end_to_end, result_of(answer)) == (9, 5, 2001)
            assert text_of(answer)["Origin-Host"] == "hss.abroad"
            agent = one.diameter.agent
            assert not agent.relayed
            found = {seen.peer.remote.origin_host: seen.traffic for seen in agent.all_observed()}
            assert found["client"].received[S6A, AIR].classes[2] == found["dra1"].sent[S6A, AIR].classes[2] == 1
            assert not served.seen
            dra2.close()

    run(converse())


def test_an_imsi_range_goes_to_the_host_operator_and_the_rest_stays_here(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            served = Served(one, S6A)
            client, mno = await one.opened(), await upstream(one, "hss.mno", "mno")
            client.send(air(User_Name="262010000000001"))
            relayed = await mno.read()
            mno.send(aia(relayed, 5012))
            assert result_of(await client.read()) == 5012
            assert result_of(await client.request(air(User_Name="262020000000001", identifier=6))) == 2001
            assert result_of(await client.request(air(Destination_Realm="alias", identifier=7))) == 2001
            assert len(served.seen) == 2

    run(converse())


def test_a_relayed_request_fails_over_with_the_t_bit_when_its_peer_goes(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            client, dra1, dra2 = await one.opened(), await upstream(one, "dra1"), await upstream(one, "dra2")
            client.send(air(Destination_Realm="abroad"))
            first = await dra1.read()
            assert not first.flags & FLAG_RETRANSMITTED
            dra1.close()
            second = await dra2.read()
            assert second.flags & FLAG_RETRANSMITTED
            assert second.end_to_end == first.end_to_end
            dra2.send(aia(second))
            assert result_of(await client.read()) == 2001
            found = {seen.peer.remote.origin_host: seen.traffic for seen in one.diameter.agent.all_observed()}
            assert found["dra1"].sent[S6A, AIR].classes[UNANSWERED] == 1

    run(converse())


def test_many_requests_under_way_over_a_peer_that_dies_are_each_answered_once(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            client, dra1, dra2 = await one.opened(), await upstream(one, "dra1"), await upstream(one, "dra2")
            count = 100
            client.send(*(air(Destination_Realm="abroad", identifier=n, hop_by_hop=n) for n in range(count)))
            asked = [await dra1.read() for _ in range(count)]
            # Some are answered before it dies; the others go to the next one.
            for message in asked[:30]:
                dra1.send(aia(message))
            answers = [await client.read() for _ in range(30)]
            dra1.close()
            again = [await dra2.read() for _ in range(count - 30)]
            assert all(message.flags & FLAG_RETRANSMITTED for message in again)
            for message in reversed(again):
                dra2.send(aia(message))
            answers += [await client.read() for _ in range(count - 30)]
            assert sorted(answer.hop_by_hop for answer in answers) == list(range(count))
            assert all(answer.hop_by_hop == answer.end_to_end for answer in answers)
            assert not one.diameter.agent.relayed
            assert not one.node.peers["client"].connection.waiting

    run(converse())


@pytest.mark.parametrize("result", [3002, 3004])
def test_a_relayed_request_goes_on_to_the_next_peer_when_one_cannot_serve_it(tmp_path, result):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            client, dra1, dra2 = await one.opened(), await upstream(one, "dra1"), await upstream(one, "dra2")
            client.send(air(Destination_Realm="abroad"))
            dra1.send(aia(await dra1.read(), result))
            second = await dra2.read()
            assert not second.flags & FLAG_RETRANSMITTED
            dra2.send(aia(second, result))
            assert result_of(await client.read()) == result

    run(converse())


@pytest.mark.parametrize(
    ("request_", "result"),
    [
        (air(Destination_Realm="abroad"), 3002),
        (air(Destination_Realm="nowhere"), 3003),
        (air(Destination_Realm="abroad", Route_Record="AAA.example"), 3005),
        (air(Destination_Realm="abroad", flags=diameter.FLAG_REQUEST), 3002),
        (air(Destination_Host="gone.example"), 3002),
    ],
)
def test_what_cannot_be_relayed_is_answered_with_the_reason(tmp_path, request_, result):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            client = await one.opened()
            answer = await client.request(request_)
            assert (result_of(answer), bool(answer.flags & FLAG_ERROR)) == (result, True)
            assert one.log.of("diameter.undeliverable")

    run(converse())


def test_a_request_is_never_sent_back_to_where_it_has_been(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            dra1, dra2 = await upstream(one, "dra1"), await upstream(one, "dra2")
            dra1.send(air("dra1", Destination_Realm="abroad"))
            relayed = await dra2.read()
            assert route_records(relayed) == ["dra1"]
            dra2.close()
            assert result_of(await dra1.read()) == 3002

    run(converse())


def test_an_application_that_is_not_served_here_is_relayed_all_the_same(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            number = 16777251 + 1000
            client = await one.opened()
            dra = await one.client()
            await dra.shake_hands("dra1", [RELAY])
            message = diameter.message(
                REQUEST, 8_000_001, number, 1, 2,
                DICTIONARY.encode_all([
                    ("Session-Id", "x"), ("Origin-Host", "client"), ("Origin-Realm", "example"),
                    ("Destination-Realm", "abroad"),
                ]),
            )  # fmt: skip
            client.send(message)
            relayed = await dra.read()
            assert (relayed.command, relayed.application) == (8_000_001, number)
            dra.send(answer_to(relayed, host="far"))
            assert result_of(await client.read()) == 2001

    run(converse())


def test_a_host_that_a_template_has_let_in_is_found_by_its_name(tmp_path):
    async def converse() -> None:
        text = "\n".join((peer_text("hss.mno", "mno"), peer_text("*")))
        async with site(tmp_path, node_text(text, applications=["s6a"], relay=True)) as one:
            mme, hss = await one.opened("mme7"), await upstream(one, "hss.mno", "mno")
            clr = air("hss.mno", Origin_Realm="mno", Destination_Host="mme7")
            hss.send(clr)
            asked = await mme.read()
            assert route_records(asked) == ["hss.mno"]
            mme.send(aia(asked, host="mme7"))
            assert result_of(await hss.read()) == 2001
            hss.send(air("hss.mno", 6, Origin_Realm="mno", Destination_Host="mme7", Route_Record="aaa.example"))
            assert result_of(await hss.read()) == 3005

    run(converse())


@pytest.mark.parametrize(("bound", "value"), [("COUNT", 2), ("BYTES", 2 * len(air(Destination_Realm="abroad")))])
def test_the_requests_under_way_through_us_are_bounded(tmp_path, monkeypatch, bound, value):
    monkeypatch.setattr(f"aaa.server.diameter_agent.DIAMETER_RELAYED_{bound}_MAX", value)

    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            client, dra1 = await one.opened(), await upstream(one, "dra1")
            for number in range(3):
                client.send(air(Destination_Realm="abroad", identifier=number, hop_by_hop=number))
            answer = await client.read()
            assert (answer.hop_by_hop, result_of(answer)) == (2, 3004)
            for _ in range(2):
                dra1.send(aia(await dra1.read()))
            assert [result_of(await client.read()) for _ in range(2)] == [2001, 2001]
            assert one.diameter.agent.relayed_octets == 0

    run(converse())


def test_a_peer_that_names_realms_at_random_does_not_fill_the_log(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            client = await one.opened()
            for number in range(3):
                sent = air(Destination_Realm=f"r{number}", identifier=number, hop_by_hop=number)
                assert result_of(await client.request(sent)) == 3003
            lines = one.log.of("diameter.undeliverable")
            assert [fields["realm"] for _, fields in lines] == ["r0", "r1", "r2"]
            # Lines with one key are written once in a while.
            assert len({fields["repeat"] for _, fields in lines}) == 1

    run(converse())


# Requests of ours


async def ask(one: Site, host: str = "far.example", via: str = "", realm: str = "example") -> "asyncio.Future[Any]":
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    avps = DICTIONARY.encode_all([("Re-Auth-Request-Type", 0)])
    sent = one.diameter.send(
        host, realm, GX, 258, b"s", avps, lambda answer, reason: done.set_result((answer, reason)), 0.0, via
    )
    if not sent:
        done.set_result((None, "not sent"))
    return done


def raa(message: Message, *more: bytes, host: str = "far.example") -> bytes:
    pairs = [("Session-Id", "s"), ("Origin-Host", host), ("Origin-Realm", "example"), ("Result-Code", 2001)]
    return diameter.answer(message, [*DICTIONARY.encode_all(pairs), *more])


def test_a_request_of_ours_goes_by_the_peer_that_its_client_was_heard_over(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            client, dra2 = await one.opened(), await upstream(one, "dra2")
            done = await ask(one, via="dra2")
            asked = await dra2.read()
            shown = text_of(asked)
            assert (shown["Destination-Host"], shown["Destination-Realm"]) == ("far.example", "example")
            assert shown["OC-Supported-Features.OC-Feature-Vector"] == "1"
            dra2.send(raa(asked))
            assert result_of((await done)[0]) == 2001
            assert (await (await ask(one)))[1] == "not sent"
            client.close()

    run(converse())


def test_a_request_of_ours_to_a_host_behind_somebody_takes_the_default_route(tmp_path):
    async def converse() -> None:
        text = peer_text("dra1") + '[[route]]\npeers = ["dra1"]\n'
        async with site(tmp_path, node_text(text, applications=["gx"])) as one:
            dra1 = await one.opened("dra1")
            done = await ask(one)
            asked = await dra1.read()
            dra1.send(raa(asked))
            assert result_of((await done)[0]) == 2001

    run(converse())


def test_a_request_of_ours_fails_over_between_the_peers_of_its_route(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            dra1, dra2 = await upstream(one, "dra1"), await upstream(one, "dra2")
            done = await ask(one, realm="abroad")
            await dra1.read()
            dra1.close()
            asked = await dra2.read()
            assert asked.flags & FLAG_RETRANSMITTED
            dra2.send(raa(asked))
            assert result_of((await done)[0]) == 2001

    run(converse())


def test_a_peer_that_reports_overload_is_sent_less(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            client = await one.opened()
            done = await ask(one, "client")
            report = DICTIONARY.encode(
                "OC-OLR",
                [("OC-Sequence-Number", 1), ("OC-Report-Type", "HOST_REPORT"), ("OC-Reduction-Percentage", 100)],
            )
            client.send(raa(await client.read(), report, host="Client"))
            assert result_of((await done)[0]) == 2001
            assert (await (await ask(one, "client")))[1] == "not sent"
            assert one.diameter.agent.throttles.held == 1

    run(converse())


# Overload


def test_under_overload_new_sessions_are_refused_and_ends_are_not(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            Served(one, GX)
            agent = one.diameter.agent
            agent.stop()
            client = await one.opened()
            plain = await client.request(credit(1, 0, OC_Supported_Features=[("OC-Feature-Vector", 1)]))
            assert text_of(plain)["OC-Supported-Features.OC-Feature-Vector"] == "1"
            assert "OC-OLR.OC-Report-Type" not in text_of(plain)
            for number in range(DIAMETER_OVERLOAD_SAMPLES + 9):
                agent.sample(0.5, float(number))
            assert agent.overload.share == 100
            refused = await client.request(credit(1, 1, OC_Supported_Features=[("OC-Feature-Vector", 1)]))
            assert (result_of(refused), text_of(refused)["OC-OLR.OC-Report-Type"]) == (3004, "REALM_REPORT")
            assert text_of(refused)["OC-OLR.OC-Reduction-Percentage"] == "100"
            ended = await client.request(
                credit(3, 2, Destination_Host="aaa.example", OC_Supported_Features=[("OC-Feature-Vector", 1)])
            )
            assert (result_of(ended), text_of(ended)["OC-OLR.OC-Report-Type"]) == (2001, "HOST_REPORT")
            assert FEATURES not in (await client.request(credit(2, 3))).raw
            assert [event for event, _, _ in one.log.lines if event.startswith("diameter.over")]

    run(converse())


def test_a_disk_that_is_far_behind_is_overload(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            agent = one.diameter.agent
            agent.stop()
            one.journal.rows_ahead = 15_000
            for number in range(DIAMETER_OVERLOAD_SAMPLES):
                agent.sample(0.0, float(number))
            assert agent.overload.is_on
            one.journal.rows_ahead = 0
            for number in range(10):
                agent.sample(0.0, 10.0 + number)
            assert not agent.overload.is_on
            assert one.log.of("diameter.relieved")

    run(converse())


def test_beyond_its_budget_a_peer_is_told_to_go_elsewhere(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, with_peer(requests_max=2)) as one:
            Served(one, GX)
            one.writer.at_once = False
            one.diameter.applications[GX].journal = one.journal
            client = await one.opened()
            for number in range(3):
                client.send(credit(1, number, hop_by_hop=number))
            answer = await client.read()
            assert (answer.hop_by_hop, result_of(answer)) == (2, 3004)
            one.writer.acknowledge()
            assert [result_of(await client.read()) for _ in range(2)] == [2001, 2001]

    run(converse())


# What is known of peers


def test_a_peer_that_goes_and_comes_back_is_told(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, ONE) as one:
            client = await one.opened()
            assert one.events == []
            client.close()
            await one.until(lambda: one.events)
            assert one.events == [("nas.down", "client", {"kind": "diameter", "cause": "peer_closed", "sessions": 0})]
            (seen,) = one.diameter.agent.all_observed()
            assert (seen.reason, seen.opened, seen.gate) == ("peer_closed", 1, None)
            await one.opened()
            assert one.events[1:] == [("nas.up", "client", {"kind": "diameter", "sessions": 0})]
            assert one.log.of("nas.down")

    run(converse())


def test_peers_of_a_template_are_counted_together_after_they_have_gone(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, with_peer(host="*")) as one:
            Served(one, S6A)
            agent = one.diameter.agent
            for host in ("a.example", "b.example"):
                client = await one.opened(host)
                assert result_of(await client.request(air(host))) == 2001
                (seen,) = agent.all_observed()
                assert (seen.label, seen.peer.remote.origin_host) == ("*.example", host)
                client.close()
                await one.until(lambda: not agent.observed)
            assert list(agent.former) == ["*.example"]
            assert agent.former["*.example"].received[S6A, AIR].requests == 2

    run(converse())


@pytest.mark.parametrize(("more", "result"), [({"Auth_Session_State": None}, 5005), ({"Event_Timestamp": 0}, 2001)])
def test_a_relay_judges_what_is_for_itself_only(tmp_path, more, result):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            Served(one, S6A)
            client, dra1 = await one.opened(), await upstream(one, "dra1")
            client.send(air(Destination_Realm="abroad", hop_by_hop=1, **more))
            assert (await dra1.read()).command == AIR
            assert result_of(await client.request(air(identifier=6, hop_by_hop=2, **more))) == result

    run(converse())


def test_an_unknown_avp_with_m_is_relayed_and_refused_here(tmp_path):
    async def converse() -> None:
        async with site(tmp_path, RELAYING) as one:
            client, dra1 = await one.opened(), await upstream(one, "dra1")
            odd = diameter.avp(65_000, b"?", 0, True)
            away = Message.parse(air(Destination_Realm="abroad"))
            client.send(diameter.message(REQUEST, AIR, S6A, 1, 2, [away.raw[20:], odd]))
            assert (await dra1.read()).has(65_000)
            ours = Message.parse(air())
            refused = await client.request(diameter.message(REQUEST, AIR, S6A, 2, 3, [ours.raw[20:], odd]))
            assert result_of(refused) == 5001
            broken = bytearray(diameter.message(REQUEST, AIR, S6A, 3, 4, [away.raw[20:], odd]))
            broken[-7:-4] = (0xFFFF).to_bytes(3, "big")
            assert result_of(await client.request(bytes(broken))) == 5014
            unknown = diameter.message(REQUEST, 8_000_001, S6A, 4, 5, [ours.raw[20:]])
            assert result_of(await client.request(unknown)) == 3001

    run(converse())
