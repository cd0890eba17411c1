"""The peer machine: RFC 6733 §5.6's table, pair by pair; the exchanges between two of them; what others do wrong."""

import random
import re
import struct
from collections.abc import Callable
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.diameter import codes
from aaa.diameter.codes import DisconnectCause
from aaa.diameter.events import (
    Answer,
    Closed,
    Connect,
    Drop,
    Opened,
    Reason,
    Refused,
    Request,
    Restarted,
    StartTls,
    Unanswered,
    Usable,
)
from aaa.diameter.node import Node
from aaa.diameter.peer import Connection, NotAsked, Peer
from aaa.diameter.settings import Certificate, Remote
from aaa.diameter.states import ADDITIONS, TRANSITIONS, Input, State
from aaa.diameter.watchdog import WatchdogState
from aaa.limits import DIAMETER_CER_TIMEOUT_S, DIAMETER_MESSAGE_BYTES_MAX, DIAMETER_UNKNOWN_PER_ADDRESS_MAX
from native import diameter
from native.diameter import Message
from tests.diameter.wire import (
    DICTIONARY,
    GX,
    GY,
    REQUEST,
    S6A,
    S6B,
    Wire,
    cca,
    ccr,
    cer,
    complaints,
    messages_of,
    node,
    result_of,
)

DIALLED = Remote("server", connect=True)


def pair(**more) -> tuple[Wire, Peer, Peer]:
    """A client that dials, and its server: (wire, the client's view of the server, the server's of the client)."""
    client = node("client", [DIALLED], **more)
    server = node("server", [Remote("client")])
    return Wire(client, server), client.peers["server"], server.peers["client"]


def opened(**more) -> tuple[Wire, Peer, Peer]:
    wire, there, here = pair(**more)
    wire.happened(wire.nodes[0], there.start(0.0))
    wire.run()
    assert (there.state, here.state) == (State.I_OPEN, State.R_OPEN)
    for events in wire.events.values():
        events.clear()
    return wire, there, here


def accepted(server: Node, **more) -> Connection:
    connection = server.accept("192.0.2.1", ("192.0.2.2",), 0.0, **more)
    assert connection is not None
    return connection


def open_server(**more) -> tuple[Node, Connection, Peer]:
    """A server and the end that a test speaks to it through."""
    server = node("server", [Remote("client", **more)])
    connection = accepted(server)
    connection.receive_data(cer(), 0.0)
    assert [result_of(message) for message in messages_of(connection)] == [2001]
    server.ready()
    return server, connection, server.peers["client"]


# The table


def base(command: int, request: bool, *pairs: tuple[str, object]) -> bytes:
    avps = DICTIONARY.encode_all([("Origin-Host", "server"), ("Origin-Realm", "example"), *pairs])
    return diameter.message(diameter.FLAG_REQUEST if request else 0, command, 0, 9, 9, avps)


def cea(result: int = 2001) -> bytes:
    avps = [
        ("Result-Code", result),
        ("Origin-Host", "server"),
        ("Origin-Realm", "example"),
        ("Host-IP-Address", "192.0.2.2"),
        ("Vendor-Id", 0),
        ("Product-Name", "x"),
        ("Auth-Application-Id", GX),
    ]
    return diameter.message(0, 257, 0, 9, 9, DICTIONARY.encode_all(avps))


CEA, DWA = cea(), base(280, False, ("Result-Code", 2001))
DWR, DPR = base(280, True), base(282, True, ("Disconnect-Cause", 0))
DPA = base(282, False, ("Result-Code", 2001))


class Machine:
    """One peer in a state that it was driven to from outside. Our Origin-Host loses elections but where it says so."""

    def __init__(self, state: State, wins: bool = False) -> None:
        self.node = node("zclient" if wins else "client", [DIALLED])
        self.peer = self.node.peers["server"]
        self.initiator: Connection | None = None
        self.responder: Connection | None = None
        self.reach(state)
        assert self.peer.state is state
        self.before = (self.initiator, self.responder)

    def reach(self, state: State) -> None:
        match state:
            case State.CLOSED:
                return
            case State.R_OPEN:
                self.responds()
                return
            case State.CLOSING:
                self.reach(State.I_OPEN)
                self.peer.stop(DisconnectCause.REBOOTING, 0.0)
                return
        self.peer.start(0.0)
        if state in (State.WAIT_I_CEA, State.I_OPEN):
            self.dials()
        elif state in (State.WAIT_CONN_ACK_ELECT, State.WAIT_RETURNS):
            self.responds()
        if state is State.I_OPEN:
            assert self.initiator is not None
            self.initiator.receive_data(CEA, 0.0)
        if state is State.WAIT_RETURNS:
            self.dials()

    def dials(self) -> None:
        self.initiator, _ = self.peer.connected("192.0.2.2", ("192.0.2.1",), 0.0)

    def responds(self) -> None:
        self.responder = accepted(self.node)
        self.responder.receive_data(cer("server"), 0.0)

    def give(self, given: Input) -> bool:
        """False where nothing can happen that would be this input."""
        side, _, what = given.name.partition("_")
        connection = {"I": self.initiator, "R": self.responder}.get(side)
        octets = {
            "RCV_CEA": CEA, "RCV_NON_CEA": cea(5010), "RCV_DWR": DWR, "RCV_DWA": DWA, "RCV_DPR": DPR, "RCV_DPA": DPA,
            "RCV_MESSAGE": ccr(),
        }.get(what)  # fmt: skip
        if octets is not None:
            if connection is None or connection.closing:
                return False
            connection.receive_data(octets, 0.0)
            return True
        match given:
            case Input.START:
                self.peer.start(0.0)
            case Input.STOP:
                self.peer.stop(DisconnectCause.REBOOTING, 0.0)
            case Input.R_CONN_CER:
                accepted(self.node).receive_data(cer("server"), 0.0)
            case Input.I_RCV_CONN_ACK:
                late = self.peer.state not in (State.WAIT_CONN_ACK, State.WAIT_CONN_ACK_ELECT)
                made, _ = self.peer.connected("192.0.2.2", ("192.0.2.1",), 0.0)
                assert made.closing == late
            case Input.I_RCV_CONN_NACK:
                self.peer.connect_failed("refused", 0.0)
            case Input.TIMEOUT:
                at = self.peer.next_deadline()
                if at is None:
                    return False
                state = self.peer.state
                while self.peer.state is state and at is not None:  # the watchdog asks before it gives up
                    self.peer.handle_deadline(at)
                    at = self.peer.next_deadline()
            case Input.I_PEER_DISC | Input.R_PEER_DISC:
                if connection is None:
                    return False
                connection.lost(0.0)
            case Input.SEND_MESSAGE:
                assert self.peer.send_request(ccr(), None, 0.0) == self.peer.is_open
            case _:
                return False
        return True


UNMOVED = """
    CLOSED: I_RCV_CONN_ACK I_RCV_CONN_NACK SEND_MESSAGE STOP
    WAIT_CONN_ACK: START SEND_MESSAGE
    WAIT_I_CEA: START I_RCV_CONN_ACK I_RCV_CONN_NACK SEND_MESSAGE
    WAIT_CONN_ACK_ELECT: START SEND_MESSAGE
    WAIT_RETURNS: START I_RCV_CONN_ACK I_RCV_CONN_NACK SEND_MESSAGE
    R_OPEN: START I_RCV_CONN_ACK I_RCV_CONN_NACK R_RCV_DPA
    I_OPEN: START I_RCV_CONN_ACK I_RCV_CONN_NACK I_RCV_DPA
    CLOSING: START I_RCV_CONN_ACK I_RCV_CONN_NACK SEND_MESSAGE STOP I_RCV_DWA
"""
"""Pairs that can be brought about, have no row, and change nothing. In the open states a DPA, and a CEA, that nobody
asked for is a message like any other: it is counted and dropped."""
ALSO_MESSAGES = {Input.I_RCV_CEA, Input.I_RCV_NON_CEA}
"""In the states where no CEA is awaited these are messages."""


def unmoved() -> set[tuple[State, Input]]:
    lines = (line.strip().partition(":") for line in UNMOVED.strip().splitlines())
    return {(State[state], Input[word]) for state, _, words in lines for word in words.split()}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("given", [given for given in Input if given is not Input.WIN_ELECTION])
def test_every_pair_of_state_and_input(state, given):
    machine = Machine(state)
    possible = machine.give(given)
    row = (TRANSITIONS | ADDITIONS).get((state, given))
    if not possible:
        assert (state, given) not in unmoved()
        return
    if given in ALSO_MESSAGES and row is None:
        row = (TRANSITIONS | ADDITIONS).get((state, Input.I_RCV_MESSAGE))
    if row is None and given in (Input.R_RCV_DWR, Input.R_RCV_DWA, Input.R_RCV_DPR, Input.R_RCV_DPA):
        # Anything, on a connection whose CER waits for its answer.
        row = ADDITIONS.get((state, Input.R_RCV_MESSAGE))
    if row is None and given in (
        Input.I_RCV_DWR,
        Input.I_RCV_DWA,
        Input.I_RCV_DPR,
        Input.I_RCV_DPA,
        Input.I_RCV_MESSAGE,
    ):
        # Instead of a CEA.
        row = (TRANSITIONS | ADDITIONS).get((state, Input.I_RCV_NON_CEA))
    if row is None:
        assert (state, given) in unmoved()
        assert machine.peer.state is state
    else:
        assert (state, given) not in unmoved()
        assert machine.peer.state is row[1]


def test_the_table_has_the_rfcs_rows():
    assert len(TRANSITIONS) == 2 + 4 + 5 + 5 + 6 + 8 + 8 + 5
    assert not set(TRANSITIONS) & set(ADDITIONS)
    assert {state for state, _ in TRANSITIONS} == set(State)


# Between two machines


def test_capabilities_are_exchanged_and_both_sides_open():
    wire, there, here = pair()
    wire.happened(wire.nodes[0], there.start(0.0))
    wire.run()
    assert (there.state, here.state) == (State.I_OPEN, State.R_OPEN)
    for peer, node_ in ((there, wire.nodes[0]), (here, wire.nodes[1])):
        assert [event for event in wire.events[node_] if not isinstance(event, Connect)] == [
            Opened(peer, peer.capabilities)
        ]
        assert peer.capabilities.applications == {GX}
        assert peer.capabilities.origin_state_id == 1_000
        assert peer.is_usable


def test_a_request_is_answered_with_the_identifiers_it_came_with():
    wire, there, here = opened()
    assert there.send_request(ccr(), "mine", 0.0)
    wire.run()
    [request] = wire.events[wire.nodes[1]]
    assert isinstance(request, Request)
    assert here.send_answer(request, cca(request.message))
    wire.run()
    [answer] = wire.events[wire.nodes[0]]
    assert isinstance(answer, Answer)
    assert (answer.context, result_of(answer.message), answer.fault) == ("mine", 2001, None)
    assert answer.message.end_to_end == 1_001
    assert there.in_flight == 0


def test_requests_go_both_ways():
    wire, there, here = opened()
    rar = DICTIONARY.encode_all(
        [
            ("Session-Id", "s"),
            ("Auth-Application-Id", GX),
            ("Origin-Host", "server"),
            ("Origin-Realm", "example"),
            ("Destination-Realm", "example"),
            ("Destination-Host", "client"),
            ("Re-Auth-Request-Type", 0),
        ]
    )
    assert here.send_request(diameter.message(REQUEST, 258, GX, 0, 5, rar), "push", 0.0)
    wire.run()
    [request] = wire.events[wire.nodes[0]]
    assert DICTIONARY.title(request.message) == "Gx RAR"
    assert there.send_answer(request, cca(request.message))
    wire.run()
    [answer] = wire.events[wire.nodes[1]]
    # The body is a CCA's: the grammar of an RAA takes it, as * [ AVP ].
    assert (answer.context, answer.fault) == ("push", None)


def test_an_answer_that_its_grammar_does_not_allow_says_so():
    wire, there, here = opened()
    there.send_request(ccr(), None, 0.0)
    wire.run()
    [request] = wire.events[wire.nodes[1]]
    here.send_answer(request, diameter.answer(request.message, [DICTIONARY.encode("Result-Code", 2001)]))
    wire.run()
    [answer] = wire.events[wire.nodes[0]]
    assert answer.fault[0] == 5005


def test_a_request_is_answered_once():
    wire, there, here = opened()
    there.send_request(ccr(), None, 0.0)
    wire.run()
    [request] = wire.events[wire.nodes[1]]
    here.send_answer(request, cca(request.message))
    with pytest.raises(NotAsked):
        here.send_answer(request, cca(request.message))
    wire.run()
    assert len(wire.events[wire.nodes[0]]) == 1


def test_an_answer_for_a_connection_that_is_gone_is_not_sent():
    wire, there, here = opened()
    there.send_request(ccr(), "mine", 0.0)
    wire.run()
    [request] = wire.events[wire.nodes[1]]
    wire.happened(wire.nodes[1], here.connection.lost(0.0))
    assert not here.send_answer(request, cca(request.message))


def test_requests_in_flight_come_back_when_the_connection_ends():
    _wire, there, _ = opened()
    there.send_request(ccr(), "mine", 0.0)
    events = there.connection.lost(0.0)
    assert [type(event) for event in events] == [Unanswered, Closed]
    assert (events[0].context, events[0].octets, events[0].reason) == ("mine", ccr(), Reason.PEER_CLOSED)
    assert not there.send_request(ccr(), "more", 0.0)


def test_a_request_without_an_answer_comes_back_after_its_time():
    wire, there, _ = opened()
    there.send_request(ccr(), "mine", 0.0)
    assert there.next_deadline() == 5.0
    assert there.handle_deadline(4.9) == []
    assert there.handle_deadline(5.0) == [Unanswered(there, "mine", ccr(), Reason.TIMEOUT)]
    wire.run()
    [request] = wire.events[wire.nodes[1]]
    request.peer.send_answer(request, cca(request.message))
    wire.run()
    assert wire.events[wire.nodes[0]] == []
    assert there.drops[Drop.UNKNOWN_HOP_BY_HOP] == 1


def test_a_request_that_is_sent_again_says_so():
    wire, there, _ = opened()
    there.send_request(ccr(), None, 0.0)
    there.send_request(ccr(), None, 0.0, again=True)
    wire.run()
    flags = [event.message.flags & diameter.FLAG_RETRANSMITTED for event in wire.events[wire.nodes[1]]]
    assert flags == [0, diameter.FLAG_RETRANSMITTED]


def test_watchdogs_keep_an_idle_connection():
    wire, there, here = opened()
    wire.wait(600.0)
    assert (there.state, here.state) == (State.I_OPEN, State.R_OPEN)
    assert all(events == [] for events in wire.events.values())


def test_a_peer_that_falls_silent_is_suspected_closed_and_dialled_again():
    wire, there, _here = opened()
    there.send_request(ccr(), "mine", 0.0)
    wire.nodes[0].ready()  # nothing arrives any more
    events = []
    for _ in range(4):
        at = there.next_deadline()
        events += there.handle_deadline(at)
        there.connection and there.connection.data_to_send()
    assert [type(event) for event in events] == [Unanswered, Usable, Closed]
    assert events[2].reason is Reason.WATCHDOG
    assert (there.state, there.watchdog.state) == (State.CLOSED, WatchdogState.DOWN)
    at = there.next_deadline()
    assert 90.0 + 30.0 <= at <= 90.0 + 34.0
    assert there.handle_deadline(at) == [Connect(there)]


def test_after_a_silent_end_the_connection_is_trusted_after_three_watchdogs():
    wire, there, here = opened()
    wire.happened(wire.nodes[0], there.connection.lost(0.0))
    wire.run()
    here_connection = here.connection
    if here_connection is not None:
        wire.happened(wire.nodes[1], here_connection.lost(0.0))
    wire.nodes[1].ready()
    wire.wait(40.0)
    assert (there.state, there.watchdog.state) == (State.I_OPEN, WatchdogState.REOPEN)
    assert not there.is_usable
    wire.wait(200.0)
    assert there.is_usable


@pytest.mark.parametrize(
    ("cause", "after"),
    [
        (DisconnectCause.REBOOTING, 30.0),
        (DisconnectCause.BUSY, 300.0),
        (DisconnectCause.DO_NOT_WANT_TO_TALK_TO_YOU, 3_600.0),
    ],
)
def test_dpr_ends_in_good_order_and_its_cause_says_when_to_come_back(cause, after):
    wire, there, here = opened()
    wire.happened(wire.nodes[1], here.stop(cause, 0.0))
    wire.run()
    assert (there.state, here.state) == (State.CLOSED, State.CLOSED)
    [closed] = wire.events[wire.nodes[0]]
    assert (closed.reason, there.watchdog.state) == (Reason.DPR_RECEIVED, WatchdogState.INITIAL)
    assert [event.reason for event in wire.events[wire.nodes[1]]] == [Reason.STOPPED]
    assert after <= there.next_deadline() <= after * 1.1
    assert here.next_deadline() is None


def test_requests_under_way_are_answered_before_the_end():
    wire, there, here = opened()
    there.send_request(ccr(), "mine", 0.0)
    wire.run()
    [request] = wire.events[wire.nodes[1]]
    there_connection = there.connection
    wire.happened(wire.nodes[0], there.stop(DisconnectCause.REBOOTING, 0.0))
    assert here.send_answer(request, cca(request.message))
    wire.run()
    assert isinstance(wire.events[wire.nodes[0]][0], Answer)
    assert there_connection.closing
    assert (there.state, here.state) == (State.CLOSED, State.CLOSED)


@pytest.mark.parametrize("order", ["left", "right"])
def test_of_two_connections_that_cross_the_election_keeps_one(order):
    left = node("alpha", [Remote("beta", connect=True)])
    right = node("beta", [Remote("alpha", connect=True)])
    wire = Wire(left, right)
    wire.happened(left, left.peers["beta"].start(0.0))
    wire.happened(right, right.peers["alpha"].start(0.0))
    if order == "right":
        wire.holding.reverse()
    for peer in list(wire.holding):
        wire.dial(peer)
    wire.run()
    # The greater name keeps what it has accepted: beta's server side.
    assert left.peers["beta"].state is State.I_OPEN
    assert right.peers["alpha"].state is State.R_OPEN
    assert sum(not connection.closing for connection in wire.ends) == 2
    left.peers["beta"].send_request(ccr(), "mine", 0.0)
    wire.run()
    assert any(isinstance(event, Request) for event in wire.events[right])


def test_a_second_connection_is_rejected_and_the_first_is_asked_for_life():
    server, connection, peer = open_server()
    second = accepted(server)
    second.receive_data(cer(), 0.0)
    [answer] = messages_of(second)
    assert (result_of(answer), second.closing) == (5012, True)
    [dwr] = messages_of(connection)
    assert DICTIONARY.title(dwr) == "Base DWR"
    assert peer.state is State.R_OPEN


def test_a_peer_that_restarted_says_so_by_its_origin_state_id():
    server, connection, peer = open_server()
    connection.lost(0.0)
    first, second = accepted(server), accepted(server)
    assert not any(isinstance(e, Restarted) for e in first.receive_data(cer(Origin_State_Id=5), 0.0))
    first.lost(0.0)
    events = second.receive_data(cer(Origin_State_Id=6), 0.0)
    assert Restarted(peer, 6) in events


# Capabilities


@pytest.mark.parametrize(
    ("octets", "result", "text"),
    [
        (cer("stranger"), 3010, "no such peer"),
        (cer(Origin_Realm="elsewhere"), 3010, "no such peer"),
        (cer(applications=[S6A]), 5010, "no common application"),
        (cer(applications=[]), 5010, "no common application"),
        (cer(Inband_Security_Id=1), 5017, "no common security"),
        (cer(Vendor_Id=None), 5005, ""),
        (cer(Origin_Host=None), 5005, ""),
    ],
)
def test_a_cer_that_is_not_good_gets_its_answer_and_the_connection_ends(octets, result, text):
    server = node("server", [Remote("client", origin_realm="example")])
    connection = accepted(server)
    [event] = connection.receive_data(octets, 0.0)
    [answer] = messages_of(connection)
    assert isinstance(event, Refused)
    assert (result_of(answer), connection.closing) == (result, True)
    assert bool(answer.flags & diameter.FLAG_ERROR) == (result < 5000)
    assert (answer.get(codes.ERROR_MESSAGE) or b"").decode() == text
    assert answer.has(codes.FAILED_AVP) == (result == 5005)
    # Whoever is not let in learns of no application.
    assert not answer.has(codes.AUTH_APPLICATION_ID)
    assert not answer.has(codes.VENDOR_SPECIFIC_APPLICATION_ID)
    assert server.unknown == {}
    assert server.refusals == {result: 1}


@pytest.mark.parametrize(
    ("octets", "remote", "detail"),
    [
        (cer("stranger"), {}, "no [[peer]] has its name, and none with '*' its realm 'example'"),
        (cer(Origin_Realm="elsewhere"), {}, "its realm is 'elsewhere', not 'example'"),
        (cer(), {"addresses": (ip_network("198.51.100.0/24"),)}, "its address is none of its [[peer]]'s"),
    ],
)
def test_why_a_cer_is_nobodys_is_for_our_log_alone(octets, remote, detail):
    connection = accepted(node("server", [Remote("client", origin_realm="example", **remote)]))
    [event] = connection.receive_data(octets, 0.0)
    [answer] = messages_of(connection)
    assert event.refusal.detail == detail
    assert answer.get(codes.ERROR_MESSAGE) == b"no such peer"


def test_a_peer_is_known_at_its_addresses_only():
    server = node("server", [Remote("client", addresses=(ip_network("198.51.100.0/24"),))])
    connection = accepted(server)
    connection.receive_data(cer(), 0.0)
    assert result_of(messages_of(connection)[0]) == 3010
    near = server.accept("198.51.100.7", ("192.0.2.2",), 0.0)
    near.receive_data(cer(), 0.0)
    assert result_of(messages_of(near)[0]) == 2001
    mapped = server.accept("::ffff:198.51.100.7", ("192.0.2.2",), 0.0)
    mapped.receive_data(cer(), 0.0)
    assert result_of(messages_of(mapped)[0]) == 5012  # known, and connected already


@pytest.mark.parametrize(
    "given",
    [
        [("Auth-Application-Id", GX)],
        [("Acct-Application-Id", GX)],
        [("Vendor-Specific-Application-Id", [("Vendor-Id", 10415), ("Auth-Application-Id", GX)])],
        [("Vendor-Specific-Application-Id", [("Auth-Application-Id", GX), ("Vendor-Id", 10415)])],
        [("Auth-Application-Id", 0xFFFFFFFF)],
    ],
)
def test_an_application_is_common_however_it_is_advertised(given):
    server = node("server", [Remote("client")])
    connection = accepted(server)
    octets = bytearray(cer(applications=[]))
    octets += b"".join(DICTIONARY.encode_all(given))
    octets[1:4] = len(octets).to_bytes(3, "big")
    connection.receive_data(bytes(octets), 0.0)
    [answer] = messages_of(connection)
    assert result_of(answer) == 2001
    assert server.peers["client"].capabilities.applications == {GX}


def test_open5gs_smf_gets_what_is_common_of_gx_gy_and_s6b():
    server = node("server", [Remote("client")], applications=("Gx", "Gy", "S6a"))
    connection = accepted(server)
    connection.receive_data(cer(applications=[GY, GX, S6B]), 0.0)
    [answer] = messages_of(connection)
    assert server.peers["client"].capabilities.applications == {GX, GY}
    assert [group.get_unsigned32(258) for group in answer.get_groups(260)] == [GX, S6A]
    assert answer.get_unsigned32(codes.AUTH_APPLICATION_ID) == GY
    assert answer.get_all(codes.SUPPORTED_VENDOR_ID) == [(10415).to_bytes(4, "big")]
    assert answer.get(codes.HOST_IP_ADDRESS) == b"\0\1\xc0\0\2\2"


def test_a_peer_is_offered_only_what_it_may_use():
    server = node("server", [Remote("client", applications=frozenset([GY]))], applications=("Gx", "Gy"))
    connection = accepted(server)
    connection.receive_data(cer(applications=[GX, GY]), 0.0)
    [answer] = messages_of(connection)
    assert answer.get_groups(260) == []
    connection.receive_data(ccr(), 0.0)
    assert result_of(messages_of(connection)[0]) == 3007


def test_tls_after_the_exchange_where_the_peer_asks_for_it():
    server = node("server", [Remote("client")], inband_tls=True)
    connection = accepted(server)
    events = connection.receive_data(cer(Inband_Security_Id=1) + ccr(), 0.0)
    answer = Message.parse(events[0].octets)
    assert (result_of(answer), answer.get_unsigned32(codes.INBAND_SECURITY_ID)) == (2001, 1)
    # What was put behind the exchange in the clear is nobody's request.
    assert [type(event) for event in events] == [StartTls, Opened]
    connection.secured(Certificate(frozenset(["client"])), 0.0)
    assert [type(event) for event in connection.receive_data(ccr(), 0.0)] == [Request]


def test_two_nodes_agree_on_tls_in_band():
    client = node("client", [Remote("server", connect=True, security="inband")], inband_tls=True)
    server = node("server", [Remote("client", security="inband")], inband_tls=True)
    wire = Wire(client, server)
    wire.happened(client, client.peers["server"].start(0.0))
    wire.run()
    for one in (client, server):
        assert [type(event) for event in wire.events[one] if not isinstance(event, Connect)] == [StartTls, Opened]
        assert next(iter(one.peers.values())).connection.secure


@pytest.mark.parametrize(
    ("security", "secure", "result"), [("tls", False, 5017), ("tls", True, 2001), ("inband", False, 5017)]
)
def test_a_peer_that_must_have_tls_is_not_served_without(security, secure, result):
    server = node("server", [Remote("client", security=security)])
    connection = accepted(server, secure=secure)
    connection.receive_data(cer(), 0.0)
    assert result_of(messages_of(connection)[0]) == result


@pytest.mark.parametrize(
    ("names", "result"), [(None, 2001), ({"client", "other"}, 2001), ({"other"}, 3010), (set(), 3010)]
)
def test_a_certificate_speaks_for_its_names_only(names, result):
    server = node("server", [Remote("client", security="tls"), Remote("other")])
    connection = accepted(server, secure=True, certificate=None if names is None else Certificate(frozenset(names)))
    connection.receive_data(cer(), 0.0)
    assert result_of(messages_of(connection)[0]) == result


@pytest.mark.parametrize(("wanted", "result"), [(None, 2001), ({b"a", b"b"}, 2001), ({b"c"}, 3010)])
def test_a_certificate_is_of_the_authorities_of_its_peer(wanted, result):
    authorities = None if wanted is None else frozenset(wanted)
    server = node("server", [Remote("client", security="tls", authorities=authorities)])
    shown = Certificate(frozenset(["client"]), frozenset([b"b", b"leaf"]))
    connection = accepted(server, secure=True, certificate=shown)
    connection.receive_data(cer(), 0.0)
    assert result_of(messages_of(connection)[0]) == result


def test_a_certificate_shown_after_the_exchange_that_is_somebody_elses_ends_the_connection():
    server = node("server", [Remote("client")], inband_tls=True)
    connection = accepted(server)
    connection.receive_data(cer(Inband_Security_Id=1), 0.0)
    [closed] = connection.secured(Certificate(frozenset(["other"])), 0.0)
    assert closed.reason is Reason.CERTIFICATE
    assert connection.closing


def test_a_dialled_peer_with_the_certificate_of_another_is_left():
    client = node("client", [Remote("server", connect=True, security="tls")])
    peer = client.peers["server"]
    peer.start(0.0)
    others = Certificate(frozenset(["other"]))
    connection, _ = peer.connected("192.0.2.2", ("192.0.2.1",), 0.0, secure=True, certificate=others)
    [closed] = connection.receive_data(CEA, 0.0)
    assert (closed.reason, connection.closing) == (Reason.CERTIFICATE, True)


def test_tls_in_band_that_comes_to_nothing_ends_the_connection():
    server = node("server", [Remote("client", security="inband")], inband_tls=True)
    connection = accepted(server)
    connection.receive_data(cer(Inband_Security_Id=1), 0.0)
    [closed] = connection.distrust("certificate of other", 0.0)
    assert (closed.reason, closed.detail, connection.closing) == (Reason.CERTIFICATE, "certificate of other", True)
    assert not server.peers["client"].is_open


@pytest.mark.parametrize("octets", [cea(5010), cea(3010), DWR, CEA[:20].replace(b"\0\0\0\x78", b"\0\0\0\x14")])
def test_a_cea_that_says_no_ends_the_dial(octets):
    machine = Machine(State.WAIT_I_CEA)
    octets = octets if len(octets) > 20 else diameter.message(0, 257, 0, 9, 9, [])
    [closed] = machine.initiator.receive_data(octets, 0.0)
    assert isinstance(closed, Closed)
    assert closed.reason in (Reason.REFUSED, Reason.PROTOCOL)
    assert machine.initiator.closing
    assert machine.peer.next_deadline() > 29


# What others do wrong


def broken(octets: bytes, at: int, *values: int) -> bytes:
    changed = bytearray(octets)
    changed[at : at + len(values)] = bytes(values)
    return bytes(changed)


def short_avp() -> bytes:
    octets = bytearray(ccr())
    octets += struct.pack(">II", 1, 0x40000003)
    octets[1:4] = len(octets).to_bytes(3, "big")
    return bytes(octets)


@pytest.mark.parametrize(
    ("octets", "result", "closes"),
    [
        (broken(ccr(), 4, 0x81), 3008, False),
        (broken(ccr(), 4, 0xE0), 3008, False),
        (broken(ccr(), 5, 0, 2, 0), 3001, False),
        (broken(ccr(), 8, *S6A.to_bytes(4, "big")), 3007, False),
        (broken(DWR, 5, 0, 2, 0), 3001, False),
        (broken(DWR, 24, 0x41), 3009, False),
        (broken(ccr(), 24, 0x41), 3009, False),
        (broken(ccr(), 20, 0, 9), 5001, False),
        (short_avp(), 5014, False),
        (diameter.message(REQUEST, 272, GX, 1, 1, [DICTIONARY.encode("Session-Id", "s")]), 5005, False),
        (cer(), 5012, False),
        (broken(ccr(), 0, 2), 5011, True),
        (broken(ccr(), 1, 0, 0, 19), 5015, True),
        (broken(ccr(), 1, 0, 0, 22), 5015, True),
        (broken(ccr(), 1, 0xFF, 0xFF, 0xFC), 5015, True),
    ],
)
@pytest.mark.parametrize("before", [0, 2])
def test_a_broken_request_gets_its_answer(octets, result, closes, before):
    _server, connection, peer = open_server()
    for number in range(before):
        [event] = connection.receive_data(ccr(number, hop_by_hop=1_000 + number), 0.0)
        assert isinstance(event, Request)
    events = connection.receive_data(octets, 0.0)
    raw = Message.parse(connection.data_to_send())
    assert result_of(raw) == result
    assert raw.hop_by_hop == int.from_bytes(octets[12:16], "big")
    assert bool(raw.flags & diameter.FLAG_ERROR) == (3000 <= result < 4000)
    assert connection.closing == closes
    assert peer.is_open == (not closes)
    assert [type(event) for event in events] == ([Closed] if closes else [])
    assert raw.has(codes.FAILED_AVP) == (result in (3009, 5001, 5005, 5014))


def test_a_refused_credit_control_request_passes_open5gs_checks():
    """Its SMF drops an answer without these, and then hangs."""
    _server, connection, _ = open_server()
    connection.receive_data(short_avp(), 0.0)
    [answer] = messages_of(connection)
    assert answer.avps()[0][0] == codes.SESSION_ID
    for code in (codes.AUTH_APPLICATION_ID, codes.CC_REQUEST_TYPE, codes.CC_REQUEST_NUMBER, codes.RESULT_CODE):
        assert answer.has(code)


def test_proxy_info_comes_back_as_it_was():
    _server, connection, _ = open_server()
    info = DICTIONARY.encode("Proxy-Info", [("Proxy-Host", "p"), ("Proxy-State", b"\1\2")])
    octets = diameter.message(REQUEST, 999, GX, 1, 1, [DICTIONARY.encode("Session-Id", "s"), info])
    connection.receive_data(octets, 0.0)
    assert info in connection.data_to_send()


def test_more_requests_than_the_peer_may_have_are_refused_as_too_many():
    _server, connection, peer = open_server(requests_max=3)
    events = []
    for number in range(5):
        events += connection.receive_data(ccr(number, hop_by_hop=number), 0.0)
    assert len(events) == 3
    assert [result_of(message) for message in messages_of(connection)] == [3004, 3004]
    peer.send_answer(events[0], cca(events[0].message))
    assert len(connection.receive_data(ccr(9, hop_by_hop=9), 0.0)) == 1


def test_a_request_that_comes_again_while_it_waits_is_taken_once():
    _, connection, peer = open_server()
    [request] = connection.receive_data(ccr() + ccr(2), 0.0)
    assert peer.drops == {Drop.HOP_BY_HOP_IN_USE: 1}
    assert peer.send_answer(request, cca(request.message))
    assert len(connection.receive_data(ccr(), 0.0)) == 1


def test_we_have_no_more_in_flight_than_allowed():
    _, _, peer = open_server(requests_max=2)
    assert [peer.send_request(ccr(), None, 0.0) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("change", "drop"),
    [
        (lambda octets: broken(octets, 12, 9, 9, 9, 9), Drop.UNKNOWN_HOP_BY_HOP),
        (lambda octets: broken(octets, 16, 9, 9, 9, 9), Drop.OTHER_END_TO_END),
        (lambda octets: broken(octets, 5, 0, 1, 2), Drop.OTHER_END_TO_END),
        (lambda octets: broken(octets, 4, 1), Drop.ANSWER_BITS),
    ],
)
def test_an_answer_that_fits_no_request_is_dropped(change, drop):
    _server, connection, peer = open_server()
    peer.send_request(ccr(), None, 0.0)
    request = Message.parse(connection.data_to_send())
    assert connection.receive_data(change(cca(request)), 0.0) == []
    assert peer.drops == {drop: 1}
    [answer] = connection.receive_data(cca(request), 0.0)
    assert isinstance(answer, Answer)


@pytest.mark.parametrize("octets", [CEA, DWA, DPA])
def test_answers_of_the_base_protocol_that_nobody_asked_for_are_dropped(octets):
    _server, connection, peer = open_server()
    assert connection.receive_data(octets, 0.0) == []
    assert (peer.state, connection.data_to_send()) == (State.R_OPEN, b"")


def test_a_flood_of_cers_on_an_open_connection_ends_it():
    _server, connection, _peer = open_server()
    events = [event for _ in range(3) for event in connection.receive_data(cer(), 0.0)]
    assert [event.reason for event in events] == [Reason.FLOOD]
    assert connection.closing


def test_a_flood_of_connections_is_not_let_in():
    server = node("server", [Remote("client")])
    found = [server.accept("192.0.2.1", (), 0.0) for _ in range(DIAMETER_UNKNOWN_PER_ADDRESS_MAX + 3)]
    assert found.count(None) == 3
    assert server.floods == 3
    assert server.accept("192.0.2.9", (), 0.0) is not None
    for connection in found:
        if connection is not None:
            assert connection.next_deadline() == DIAMETER_CER_TIMEOUT_S
            connection.handle_deadline(DIAMETER_CER_TIMEOUT_S)
            assert connection.closing
    assert server.accept("192.0.2.1", (), 0.0) is not None


@pytest.mark.parametrize("octets", [ccr(), DWR, CEA, b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_connection_that_begins_with_something_else_ends_without_a_word(octets):
    server = node("server", [Remote("client")])
    connection = accepted(server)
    assert connection.receive_data(octets, 0.0) == []
    assert (connection.closing, connection.data_to_send(), server.unknown) == (True, b"", {})


def test_memory_is_bounded_whatever_length_is_announced():
    _server, connection, _ = open_server()
    connection.receive_data(b"\1" + (DIAMETER_MESSAGE_BYTES_MAX + 4).to_bytes(3, "big"), 0.0)
    assert connection.closing
    assert len(connection.received) == 0


def test_a_peer_that_does_not_read_is_closed():
    _server, connection, _peer = open_server(requests_max=1)
    events = []
    for number in range(60_000):
        events += connection.receive_data(ccr(hop_by_hop=number), 0.0)
        if connection.closing:
            break
    assert connection.closing
    assert events[-1].reason is Reason.UNSENT


def test_octets_may_come_one_by_one():
    server = node("server", [Remote("client")])
    connection = accepted(server)
    events = []
    for octet in cer() + ccr() + DWR:
        events += connection.receive_data(bytes([octet]), 0.0)
    assert [type(event) for event in events] == [Opened, Request]
    assert [DICTIONARY.title(message) for message in messages_of(connection)] == ["Base CEA", "Base DWA"]


SEEDS: list[Callable[[], bytes]] = [cer, ccr, lambda: DWR, lambda: DPR, lambda: CEA, lambda: DWA, short_avp]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3)),
        max_size=8,
    ),
    st.booleans(),
    st.integers(1, 400),
)
def test_nothing_that_the_other_side_sends_raises(messages, opened_first, size):
    server = node("server", [Remote("client")])
    connection = accepted(server)
    stream = bytearray(cer() if opened_first else b"")
    for make, changes in messages:
        octets = bytearray(make())
        for at, value in changes:
            octets[at % len(octets)] = value
        stream += octets
    for at in range(0, len(stream), size):
        for event in connection.receive_data(bytes(stream[at : at + size]), 0.0):
            if isinstance(event, Request):
                event.peer.send_answer(event, cca_of(event.message))
    connection.lost(1.0)
    assert connection not in server.unknown


def cca_of(message: Message) -> bytes:
    return diameter.answer(message, [DICTIONARY.encode("Result-Code", 2001)])


@pytest.mark.parametrize("seed", range(8))
def test_whatever_happens_in_whatever_order_the_machine_stays_sound(seed):
    """Invariant: open means one connection that is not closing, under a watchdog; closed means that nothing is left;
    anything between has a deadline."""
    chance = random.Random(seed)
    seeds = [cer(), cer("server"), ccr(), DWR, DPR, CEA, DWA, DPA, short_avp(), cea(5010)]
    for _ in range(300):
        machine = Machine(chance.choice(list(State)))
        peer, now = machine.peer, 0.0
        for _ in range(chance.randrange(1, 12)):
            ends = [end for end in (machine.initiator, machine.responder) if end is not None]
            events = []
            match chance.choices(("data", "time", "lost", "send", "stop", "start", "nack", "ack", "accept"), WEIGHTS)[
                0
            ]:
                case "data" if ends:
                    octets = bytearray(chance.choice(seeds))
                    for _ in range(chance.choice((0, 0, 1, 2, 4))):
                        octets[chance.randrange(len(octets))] = chance.randrange(256)
                    end = chance.choice(ends)
                    events = end.receive_data(bytes(octets[: chance.choice((len(octets), len(octets), 30))]), now)
                case "time":
                    now = max(now, peer.next_deadline() or now)
                    events = peer.handle_deadline(now)
                case "lost" if ends:
                    chance.choice(ends).lost(now)
                case "send":
                    assert peer.send_request(ccr(), None, now) == peer.is_open
                case "stop":
                    peer.stop(DisconnectCause.BUSY, now)
                case "start":
                    peer.start(now)
                case "nack":
                    peer.connect_failed("", now)
                case "ack":
                    machine.initiator, _ = peer.connected("192.0.2.2", ("192.0.2.1",), now)
                case "accept":
                    machine.responder = machine.node.accept("192.0.2.1", ("192.0.2.2",), now)
                    if machine.responder is not None:
                        machine.responder.receive_data(cer("server"), now)
            for event in events:
                if isinstance(event, Request):
                    peer.send_answer(event, cca_of(event.message))
            if peer.is_open:
                assert not peer.connection.closing
                assert peer.capabilities is not None
                assert peer.watchdog.deadline is not None
            else:
                assert peer.connection is None
            if peer.state is State.CLOSED:
                assert (peer.in_flight, peer.capabilities) == (0, None)
            else:
                assert peer.next_deadline() is not None


WEIGHTS = (70, 10, 5, 5, 3, 3, 2, 4, 4)


def test_tshark_finds_nothing_wrong_with_what_the_machines_send(tmp_path):
    wire, there, _ = pair()
    sent = wire.sent
    wire.happened(wire.nodes[0], there.start(0.0))
    wire.run()
    wire.wait(100.0)
    wire.happened(wire.nodes[0], there.stop(DisconnectCause.BUSY, 100.0))
    wire.run()
    for octets in (cer("stranger"), cer(applications=[S6A]), cer(Vendor_Id=None), cer(Inband_Security_Id=1)):
        connection = accepted(wire.nodes[1])
        connection.receive_data(octets, 0.0)
        sent.append(connection.data_to_send())
    _, connection, _ = open_server()
    for octets in (
        broken(ccr(), 5, 0, 1, 0x13),  # STR, which Gx has not
        broken(ccr(), 8, *S6A.to_bytes(4, "big")),
        diameter.message(REQUEST, 272, GX, 1, 1, [DICTIONARY.encode("Session-Id", "s")]),
        cer(),
        short_avp(),
    ):
        connection.receive_data(octets, 0.0)
        sent.append(connection.data_to_send())
    messages, _, fault = diameter.split(bytearray(b"".join(sent)), 1 << 20)
    assert fault == 0
    titles = {DICTIONARY.title(message) for message in messages}
    assert {f"Base {short}" for short in ("CER", "CEA", "DWR", "DWA", "DPR", "DPA")} <= titles
    assert len(messages) >= 17
    found = complaints([message.raw for message in messages], tmp_path)
    # An example of a missing identity has the least length there is, and that is none (RFC 6733 §7.5).
    assert [line for line in found if "Data is empty" not in line] == []
    assert len(found) <= 2


# Illegal local calls raise and change nothing


def test_a_peer_that_is_not_to_be_dialled_is_not():
    peer = node("server", [Remote("client")]).peers["client"]
    with pytest.raises(ValueError, match="not configured to be dialled"):
        peer.start(0.0)
    assert peer.state is State.CLOSED


def test_two_peers_of_one_name_are_refused():
    with pytest.raises(ValueError, match=re.escape("Client is configured twice")):
        node("server", [Remote("client"), Remote("Client")])


def test_a_stopping_server_says_that_it_comes_back():
    server, connection, _ = open_server()
    stranger = accepted(server)
    server.stop(0.0)
    [dpr] = messages_of(connection)
    assert (DICTIONARY.title(dpr), dpr.get_unsigned32(codes.DISCONNECT_CAUSE)) == (
        "Base DPR",
        DisconnectCause.REBOOTING,
    )
    assert stranger.closing


def test_a_peer_that_is_removed_is_told_and_then_a_stranger():
    server, connection, peer = open_server()
    server.remove("Client", 0.0)
    [dpr] = messages_of(connection)
    assert dpr.get_unsigned32(codes.DISCONNECT_CAUSE) == DisconnectCause.DO_NOT_WANT_TO_TALK_TO_YOU
    connection.receive_data(DPA, 0.0)
    assert peer.state is State.CLOSED
    second = accepted(server)
    second.receive_data(cer(), 0.0)
    assert result_of(messages_of(second)[0]) == 3010
    server.add(Remote("client"))
    third = accepted(server)
    third.receive_data(cer(), 0.0)
    assert result_of(messages_of(third)[0]) == 2001
