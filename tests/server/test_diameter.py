"""Diameter on sockets: batches to the applications, durable answers, requests of ours, reload and stop."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace

from aaa.diameter import codes
from aaa.diameter.codes import DisconnectCause
from aaa.diameter.events import Reason
from aaa.limits import (
    DIAMETER_LEARNED_PEERS_MAX,
    DIAMETER_TURN_MESSAGES_MAX,
    DIAMETER_UNSENT_BYTES_MAX,
    JOURNAL_ROWS_AHEAD_MAX,
)
from aaa.state import schema
from aaa.state.schema import Row
from native import diameter
from native.diameter import FLAG_ERROR, FLAG_REQUEST, FLAG_RETRANSMITTED
from tests.diameter.wire import DICTIONARY, ccr, cer, result_of
from tests.server.diameter_site import (
    GX,
    GY,
    HOST,
    PATIENCE_S,
    S6A,
    Echo,
    answer_to,
    free_port,
    node_text,
    peer_text,
    run,
    site,
)

RAR = 258
CONTEXT = DICTIONARY.encode("Re-Auth-Request-Type", 0)


def gy_ccr(hop_by_hop: int) -> bytes:
    pairs = [
        ("Session-Id", "client;1;2"), ("Origin-Host", "client"), ("Origin-Realm", "example"),
        ("Destination-Realm", "example"), ("Auth-Application-Id", GY), ("Service-Context-Id", "32251@3gpp.org"),
        ("CC-Request-Type", 1), ("CC-Request-Number", 0),
    ]  # fmt: skip
    return diameter.message(0xC0, 272, GY, hop_by_hop, hop_by_hop, DICTIONARY.encode_all(pairs))


def dpr(cause: int = 0) -> bytes:
    pairs = [("Origin-Host", "client"), ("Origin-Realm", "example"), ("Disconnect-Cause", cause)]
    return diameter.message(FLAG_REQUEST, 282, 0, 5, 6, DICTIONARY.encode_all(pairs))


def wire_error(request, result: int) -> bytes:
    """An answer-message."""
    pairs = [("Session-Id", "s"), ("Origin-Host", "relay"), ("Origin-Realm", "example"), ("Result-Code", result)]
    return diameter.answer(request, DICTIONARY.encode_all(pairs), True)


# Batches


def test_requests_of_one_read_are_one_batch_for_each_application(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            gx = one.diameter.applications[GX] = Echo(GX)
            gy = one.diameter.applications[GY] = Echo(GY)
            client = await one.opened()
            client.send(ccr(1, hop_by_hop=1), gy_ccr(2), ccr(2, hop_by_hop=3))
            answers = [await client.read() for _ in range(3)]
            assert sorted((answer.application, answer.hop_by_hop) for answer in answers) == [(GY, 2), (GX, 1), (GX, 3)]
            assert [len(batch) for batch in gx.batches] == [2]
            assert [len(batch) for batch in gy.batches] == [1]

    run(conversation())


def test_no_answer_leaves_before_its_group_is_durable(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.diameter.applications[GX] = Echo(GX, one.journal)
            client = await one.opened()
            one.writer.at_once = False
            client.send(ccr())
            await one.until(lambda: one.journal.sent and not one.journal.idle and one.diameter.applications[GX].batches)
            assert one.node.peers["client"].connection.waiting == {77}
            one.writer.acknowledge()
            assert (await client.read()).hop_by_hop == 77

    run(conversation())


def test_an_answer_for_a_connection_that_is_gone_is_counted(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            application = one.diameter.applications[GX] = Echo(GX, one.journal)
            client = await one.opened()
            one.writer.at_once = False
            client.send(ccr())
            await one.until(lambda: application.batches)
            client.close()
            await one.until(lambda: not one.node.peers["client"].is_open)
            one.writer.acknowledge()
            assert one.diameter.unsent_answers == 1

    run(conversation())


def test_an_application_that_nobody_serves_is_answered_3007(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.opened()
            answer = await client.request(ccr())
            assert (result_of(answer), bool(answer.flags & FLAG_ERROR)) == (3007, True)

    run(conversation())


def test_a_request_that_an_application_fails_on_is_answered_5012_and_the_others_of_its_batch_as_ever(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:

            def fail(message):
                if message.hop_by_hop == 2:
                    raise RuntimeError("a defect")
                return ()

            application = one.diameter.applications[GX] = Echo(GX)
            application.answer = fail
            client = await one.opened()
            client.send(*[ccr(number, hop_by_hop=number) for number in (1, 2, 3)])
            assert [result_of(await client.read()) for _ in range(3)] == [2001, 5012, 2001]
            assert len(one.log.of("diameter.failed")) == 1
            one.log.lines.clear()

    run(conversation())


def test_a_turn_takes_a_bounded_number_of_messages_and_the_rest_follows(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            application = one.diameter.applications[GX] = Echo(GX)
            client = await one.opened()
            count = 3 * DIAMETER_TURN_MESSAGES_MAX + 1
            client.send(*(ccr(number, hop_by_hop=number) for number in range(1, count + 1)))
            answers = [await client.read() for _ in range(count)]
            assert [answer.hop_by_hop for answer in answers] == list(range(1, count + 1))
            assert max(len(batch) for batch in application.batches) <= DIAMETER_TURN_MESSAGES_MAX

    run(conversation())


def test_while_the_disk_is_behind_nothing_is_read(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            application = one.diameter.applications[GX] = Echo(GX)
            client = await one.opened()
            one.writer.at_once = False
            for number in range(JOURNAL_ROWS_AHEAD_MAX + 1):
                one.journal.append(Row.META, (str(number), "x"))
            one.journal.flush()
            assert one.journal.congested
            client.send(ccr())
            link = one.node.peers["client"].connection.link
            await one.until(lambda: link._held)
            assert application.batches == []
            one.writer.acknowledge()
            assert result_of(await client.read()) == 2001

    run(conversation())


def test_whoever_looks_on_sees_every_message_both_ways(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.diameter.applications[GX] = Echo(GX)
            seen = []
            one.diameter.tap = lambda connection, octets, received: seen.append(
                (int.from_bytes(octets[5:8], "big"), received)
            )
            client = await one.opened()
            await client.request(ccr())
            one.diameter.tap = None
            await client.request(ccr(2, hop_by_hop=2))
            assert seen == [(257, True), (257, False), (272, True), (272, False)]

    run(conversation())


# Peers


def test_a_stranger_is_answered_3010_and_the_connection_ends(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.client()
            assert result_of(await client.request(cer("stranger"))) == 3010
            assert await client.has_ended()
            [(text, fields)] = one.log.of("diameter.refused")
            assert (text, fields["peer"], fields["result"]) == ("no such peer", "stranger", 3010)

    run(conversation())


def test_any_host_of_a_realm_is_let_in_by_a_template_and_forgotten_when_it_leaves(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text("*", address="127.0.0.0/8", applications=["gx"]))) as one:
            one.diameter.applications[GX] = Echo(GX)
            client = await one.opened("mme.example", applications=[GX, GY])
            peer = one.node.peers["mme.example"]
            assert peer.capabilities.applications == {GX}
            assert one.diameter.settings_of(one.node, peer).origin_host == "*"
            assert result_of(await client.request(ccr(host="mme.example"))) == 2001
            other = await one.client()
            assert result_of(await other.request(cer("x.other", Origin_Realm="other"))) == 3010
            client.close()
            await one.until(lambda: "mme.example" not in one.node.peers)
            assert one.node.learned == set()

    run(conversation())


def test_a_template_lets_in_so_many_and_not_itself(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text("*"))) as one:
            client = await one.client()
            assert result_of(await client.request(cer(HOST))) == 3010
            one.node.learned.update(f"h{number}.example" for number in range(DIAMETER_LEARNED_PEERS_MAX))
            client = await one.client()
            assert result_of(await client.request(cer("mme.example"))) == 3010

    run(conversation())


def test_a_peer_is_told_of_and_called_back(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            seen = []
            one.diameter.on_opened = lambda peer: seen.append(("opened", peer.remote.origin_host))
            one.diameter.on_closed = lambda peer: seen.append(("closed", peer.remote.origin_host))
            one.diameter.on_restarted = lambda peer: seen.append(("restarted", peer.remote.origin_host))
            for state_id in (7, 8):
                client = await one.client()
                assert result_of(await client.request(cer(Origin_State_Id=state_id))) == 2001
                client.close()
                await one.until(lambda: not one.node.peers["client"].is_open)
            assert seen == [
                ("opened", "client"), ("closed", "client"),
                ("restarted", "client"), ("opened", "client"), ("closed", "client"),
            ]  # fmt: skip
            assert [fields["reason"] for _, fields in one.log.of("diameter.peer_closed")] == ["peer_closed"] * 2

    run(conversation())


def test_a_peer_that_says_goodbye_gets_its_answers_and_the_end(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.diameter.applications[GX] = Echo(GX)
            client = await one.opened()
            client.send(ccr(), dpr())
            assert {(await client.read()).command for _ in range(2)} == {272, 282}
            client.close()
            await one.until(lambda: one.log.of("diameter.peer_closed"))
            assert one.log.of("diameter.peer_closed")[0][1]["reason"] == "dpr_received"

    run(conversation())


def test_a_deadline_is_kept_by_the_one_timer(tmp_path, monkeypatch):
    monkeypatch.setattr("aaa.diameter.node.DIAMETER_CER_TIMEOUT_S", 0.02)

    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.client()
            assert await client.has_ended()
            assert one.node.unknown == {}

    run(conversation())


def test_a_peer_that_does_not_read_is_closed_at_a_bound(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            application = one.diameter.applications[GX] = Echo(GX)
            big = diameter.avp(9_999, bytes(60_000), 10_415, False)
            application.answer = lambda message: [big]
            client = await one.opened()
            client.writer.transport.pause_reading()
            most = 0
            for number in range(1, 400):
                client.send(ccr(number, hop_by_hop=number))
                peer = one.node.peers["client"]
                if peer.is_open and peer.connection.link is not None:
                    most = max(most, peer.connection.link._transport.get_write_buffer_size())
                await asyncio.sleep(0)
                if not peer.is_open:
                    break
            # It is not read any more, or it is closed; either way what it leaves unread is bounded.
            assert most <= DIAMETER_UNSENT_BYTES_MAX + 70_000 * DIAMETER_TURN_MESSAGES_MAX

    run(conversation())


def test_what_a_peer_leaves_unread_past_the_bound_ends_it(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.opened()
            client.writer.transport.pause_reading()
            peer = one.node.peers["client"]
            refused = []
            for _ in range(400):
                sent = one.diameter.send(
                    "client", "example", GX, RAR, b"s", [CONTEXT, diameter.avp(9_999, bytes(60_000), 10_415, False)],
                    lambda answer, reason: refused.append((answer, reason)), 0.0,
                )  # fmt: skip
                await asyncio.sleep(0)
                if not sent:
                    break
            await one.until(lambda: not peer.is_open)
            assert set(refused) == {(None, Reason.UNSENT)}
            assert one.log.of("diameter.peer_closed")[0][1]["reason"] == "unsent"

    run(conversation())


# Requests of ours


def test_a_request_of_ours_says_what_its_standard_wants(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.opened()
            came = []

            def done(answer, reason):
                came.append((result_of(answer), reason))

            assert one.diameter.send("Client", "example", GX, RAR, b"client;1;1", [CONTEXT], done, 0.0)
            assert came == []
            request = await client.read()
            assert DICTIONARY.title(request) == "Gx RAR"
            assert DICTIONARY.command_of(request).grammar.check(request) is None
            assert [name for name, _ in DICTIONARY.show(request)] == [
                "Session-Id", "Auth-Application-Id", "Origin-Host", "Origin-Realm", "Destination-Host",
                "Destination-Realm", "Re-Auth-Request-Type", "OC-Supported-Features.OC-Feature-Vector",
            ]  # fmt: skip
            client.send(answer_to(request))
            await one.until(lambda: came)
            assert came == [(2001, "")]
            clr = DICTIONARY.encode_all([("User-Name", "001010000000001"), ("Cancellation-Type", 2)])
            assert one.diameter.send("client", "example", S6A, 317, b"aaa;1", clr, lambda *given: None, 0.0)
            request = await client.read()
            assert DICTIONARY.title(request) == "S6a CLR"
            assert DICTIONARY.command_of(request).grammar.check(request) is None
            shown = dict(DICTIONARY.show(request))
            assert shown["Vendor-Specific-Application-Id.Auth-Application-Id"] == str(S6A)
            assert shown["Auth-Session-State"] == "NO_STATE_MAINTAINED"

    run(conversation())


def test_nobody_to_send_to_is_said_at_once(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text(applications=["gy"]))) as one:
            done = pytest.fail
            assert not one.diameter.send("client", "example", GX, RAR, b"s", [CONTEXT], done, 0.0)
            await one.opened(applications=[GX, GY])
            # It is there, but not for Gx.
            assert not one.diameter.send("client", "example", GX, RAR, b"s", [CONTEXT], done, 0.0)
            assert not one.diameter.send("other", "example", GX, RAR, b"s", [CONTEXT], done, 0.0)

    run(conversation())


def test_a_request_without_an_answer_tells_why(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.opened()
            came = []
            one.diameter.send("client", "example", GX, RAR, b"s", [CONTEXT], lambda *given: came.append(given), 0.0)
            await client.read()
            client.close()
            await one.until(lambda: came)
            assert came == [(None, "peer_closed")]

    run(conversation())


def test_what_a_lost_peer_has_not_answered_goes_by_the_route_with_the_t_bit(tmp_path):
    text = node_text(peer_text("pgw") + peer_text("dra") + '[[route]]\nrealm = "example"\npeers = ["dra"]\n')

    async def conversation():
        async with site(tmp_path, text) as one:
            pgw, dra = await one.opened("pgw"), await one.opened("dra")
            came = []
            one.diameter.send("pgw", "example", GX, RAR, b"s", [CONTEXT], lambda *given: came.append(given), 0.0)
            first = await pgw.read()
            pgw.close()
            second = await dra.read()
            assert second.end_to_end == first.end_to_end
            assert not first.flags & FLAG_RETRANSMITTED
            assert second.flags & FLAG_RETRANSMITTED
            assert second.get(codes.DESTINATION_HOST) == b"pgw"
            dra.send(answer_to(second))
            await one.until(lambda: came)
            assert [(result_of(answer), reason) for answer, reason in came] == [(2001, "")]

    run(conversation())


def test_a_relay_that_cannot_deliver_is_not_the_last_one_asked(tmp_path):
    text = node_text(
        peer_text("dra1") + peer_text("dra2") + '[[route]]\nrealm = "example"\npeers = ["dra1", "dra2"]\n'
    )

    async def conversation():
        async with site(tmp_path, text) as one:
            first, second = await one.opened("dra1"), await one.opened("dra2")
            came = []
            one.diameter.send("pgw", "example", GX, RAR, b"s", [CONTEXT], lambda *given: came.append(given), 0.0)
            first.send(wire_error(await first.read(), 3002))
            request = await second.read()
            assert not request.flags & FLAG_RETRANSMITTED
            second.send(wire_error(request, 3002))
            await one.until(lambda: came)
            assert [(result_of(answer), reason) for answer, reason in came] == [(3002, "")]

    run(conversation())


# Dialling, reload, stop


async def accept_one(port):
    """A server that a node dials: its first connection."""
    came = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(lambda *pair: came.done() or came.set_result(pair), "127.0.0.1", port)
    return server, came


def test_a_peer_is_dialled_and_again_when_it_was_away(tmp_path, monkeypatch):
    async def conversation():
        port = free_port()
        text = node_text(peer_text("server", connect=f"127.0.0.1:{port}", reconnect="1s"))
        async with site(tmp_path, text) as one:
            await one.until(lambda: one.log.of("diameter.dial_failed"))
            peer = one.node.peers["server"]
            server, came = await accept_one(port)
            async with server:
                peer._redial_at = one.diameter.now()  # Tc is over
                one.diameter._expect(peer.next_deadline())
                reader, writer = await asyncio.wait_for(came, PATIENCE_S)
                header = await reader.readexactly(4)
                request = diameter.Message.parse(
                    header + await reader.readexactly(int.from_bytes(header[1:4], "big") - 4)
                )
                assert request.get(codes.ORIGIN_HOST) == HOST.encode()
                cea = DICTIONARY.encode_all([
                    ("Result-Code", 2001), ("Origin-Host", "server"), ("Origin-Realm", "example"),
                    ("Host-IP-Address", "127.0.0.1"), ("Vendor-Id", 0), ("Product-Name", "x"),
                    ("Auth-Application-Id", GX),
                ])  # fmt: skip
                writer.write(diameter.answer(request, cea))
                await one.until(lambda: peer.is_open)
                assert one.diameter._dials == {}
                writer.close()
                await one.until(lambda: not peer.is_open)

    run(conversation())


def test_a_reload_adds_removes_and_changes_peers(tmp_path):
    async def conversation():
        first = peer_text("kept") + peer_text("removed") + peer_text("changed")
        async with site(tmp_path, node_text(first)) as one:
            one.diameter.applications[GX] = Echo(GX)
            kept, removed, changed = [await one.opened(name) for name in ("kept", "removed", "changed")]
            peer = one.node.peers["kept"]
            second = peer_text("kept", requests_max=7) + peer_text("changed", applications=["gx"]) + peer_text("added")
            one.reload(node_text(second))
            assert one.node.peers["kept"] is peer
            assert (peer.remote.requests_max, peer.is_open) == (7, True)
            causes = {}
            for name, client in (("removed", removed), ("changed", changed)):
                request = await client.read()
                assert request.command == codes.DISCONNECT_PEER
                causes[name] = request.get_unsigned32(codes.DISCONNECT_CAUSE)
                pairs = [("Result-Code", 2001), ("Origin-Host", name), ("Origin-Realm", "example")]
                client.send(diameter.answer(request, DICTIONARY.encode_all(pairs)))
                assert await client.has_ended()
            assert causes == {
                "removed": DisconnectCause.DO_NOT_WANT_TO_TALK_TO_YOU,
                "changed": DisconnectCause.REBOOTING,
            }
            assert one.diameter._leaving == {}
            assert result_of(await kept.request(ccr(host="kept"))) == 2001
            again = await one.opened("changed", applications=[GX, GY])
            assert one.node.peers["changed"].capabilities.applications == {GX}
            await one.opened("added")
            gone = await one.client()
            assert result_of(await gone.request(cer("removed"))) == 3010
            again.close()

    run(conversation())


def test_a_reload_takes_a_template_away_with_whom_it_let_in(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text("*"))) as one:
            client = await one.opened("mme.example")
            one.reload(node_text(peer_text("*", watchdog="10s")))
            assert one.node.peers["mme.example"].remote.watchdog_s == 10.0
            one.reload(node_text())
            assert (await client.read()).command == codes.DISCONNECT_PEER
            assert "mme.example" not in one.node.peers

    run(conversation())


def test_a_peer_that_a_template_let_in_can_be_configured_by_its_name(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text("*"))) as one:
            client = await one.opened("mme.example")
            peer = one.node.peers["mme.example"]
            one.reload(node_text(peer_text("*") + peer_text("mme.example", requests_max=9)))
            assert (one.node.peers["mme.example"], peer.remote.requests_max) == (peer, 9)
            client.close()
            await one.until(lambda: not peer.is_open)
            assert one.node.peers["mme.example"] is peer

    run(conversation())


def test_a_stop_tells_every_peer_that_we_come_back_and_answers_what_is_in_work(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            one.diameter.applications[GX] = Echo(GX, one.journal)
            client = await one.opened()
            half_open = await one.client()
            one.writer.at_once = False
            client.send(ccr())
            await one.until(lambda: one.node.peers["client"].connection.waiting)
            stopping = asyncio.create_task(one.diameter.stop(PATIENCE_S))
            request = await client.read()
            assert request.get_unsigned32(codes.DISCONNECT_CAUSE) == DisconnectCause.REBOOTING
            one.writer.acknowledge()
            assert (await client.read()).hop_by_hop == 77
            pairs = [("Result-Code", 2001), ("Origin-Host", "client"), ("Origin-Realm", "example")]
            client.send(diameter.answer(request, DICTIONARY.encode_all(pairs)))
            assert await client.has_ended()
            assert await half_open.has_ended()
            await stopping
            with pytest.raises(OSError, match=r".*"):
                await one.client()

    run(conversation())


def test_an_address_that_is_taken_is_named(tmp_path):
    async def conversation():
        port = free_port()
        async with site(tmp_path, node_text(port=port)):
            with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1 port {port}"):
                async with site(tmp_path, node_text(port=port)):
                    pass

    run(conversation())


def test_an_address_that_this_machine_has_not_is_skipped_while_another_works(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(listen="@").replace("'@'", '["192.0.2.77", "127.0.0.1"]')) as one:
            assert len(one.ports) == 1
            [(text, _)] = one.log.of("server.no_address")
            assert text == "this machine has no address 192.0.2.77; not listening there"
        with pytest.raises(OSError, match=r"none of diameter.listen \['192.0.2.77'\] is an address of this machine"):
            async with site(tmp_path, node_text(listen="192.0.2.77")):
                pass

    run(conversation())


def test_a_dialled_connection_comes_from_the_address_that_is_listened_on(tmp_path):
    async def conversation():
        port = free_port()
        server, came = await accept_one(port)
        peer = peer_text("server", connect=f"127.0.0.1:{port}")
        async with server, site(tmp_path, node_text(peer, listen="127.0.0.8")):
            _, writer = await asyncio.wait_for(came, PATIENCE_S)
            assert writer.get_extra_info("peername")[0] == "127.0.0.8"
            writer.close()

    run(conversation())


def test_a_defect_in_who_waits_for_an_answer_costs_the_others_nothing(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.opened()
            came = []

            def fail(answer, reason):
                raise RuntimeError("a defect")

            for done in (fail, lambda *given: came.append(given)):
                assert one.diameter.send("client", "example", GX, RAR, b"s", [CONTEXT], done, 0.0)
            client.send(answer_to(await client.read()), answer_to(await client.read()))
            await one.until(lambda: came)
            assert len(one.log.of("diameter.event_failed")) == 1

    run(conversation())


def test_a_defect_at_a_deadline_leaves_the_timer_going(tmp_path):
    async def conversation():
        async with site(tmp_path, node_text(peer_text())) as one:
            client = await one.opened()
            came = []

            def fail(answer, reason):
                came.append(reason)
                raise RuntimeError("a defect")

            peer = one.node.peers["client"]
            peer.reconfigure(replace(peer.remote, answer_timeout_s=0.01))
            for _ in range(3):
                assert one.diameter.send("client", "example", GX, RAR, b"s", [CONTEXT], fail, 0.0)
                await client.read()
                expected = len(came) + 1
                await one.until(lambda expected=expected: len(came) == expected)
            assert came == ["timeout"] * 3

    run(conversation())


def test_identities_have_ports_and_applications_of_their_own(tmp_path):
    port = free_port()
    more = (
        f'[[diameter.identity]]\norigin_host = "mvno.example"\nport = {port}\napplications = ["gy"]\n'
        + peer_text()
        + peer_text(identity="mvno.example")
    )

    async def conversation():
        async with site(tmp_path, node_text(more)) as one:
            one.diameter.applications[GX] = Echo(GX)
            one.diameter.applications[GY] = Echo(GY)
            assert [node.local.origin_host for node in one.diameter.nodes] == [HOST, "mvno.example"]
            own = dict(one.ports)
            host, mvno = await one.opened(), None
            one.ports = {"tcp": port}
            mvno = await one.opened()
            assert own["tcp"] != port
            assert result_of(await host.request(ccr())) == 2001
            assert result_of(await mvno.request(ccr())) == 3007
            assert result_of(await mvno.request(gy_ccr(2))) == 2001

    run(conversation())


# Origin-State-Id


def kept(path, **rows):
    with closing(schema.connect(str(path))) as db:
        schema.migrate(db)
        for key, value in rows.items():
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))


@pytest.mark.parametrize(
    ("rows", "number", "renewed"),
    [
        ({}, 5_000, True),
        ({"origin_state_id": "1000"}, 1_000, False),
        ({"origin_state_id": "1000", "restored_at": "900.0"}, 1_000, False),
        ({"origin_state_id": "1000", "restored_at": "4000.5"}, 5_000, True),
        ({"origin_state_id": "1000", "restored_at": "6000.5"}, 6_000, True),
    ],
)
def test_origin_state_id_grows_when_sessions_may_be_lost_and_never_else(tmp_path, rows, number, renewed):
    async def conversation():
        async with site(tmp_path, node_text()) as one:
            kept(tmp_path / "data/aaa.db", **rows)
            one.journal.flush()
            one.journal._rows = [[] for _ in one.journal._rows]
            assert one.diameter.origin_state_id(5_000.5) == number
            assert one.journal._rows[Row.META] == ([("origin_state_id", str(number))] if renewed else [])

    with closing(sqlite3.connect(":memory:")):
        run(conversation())
