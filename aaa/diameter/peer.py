"""The peer state machine of RFC 6733 §5.6, responder and initiator, sans-I/O. Knows no socket, clock or subscriber.
Compiled: every message passes through it; attributes are declared in peer.pxd too.

Theory of operation. A Node is one Diameter identity of ours with the peers it may talk to. Each Peer is one machine
and has up to two transport connections while an election is on, and one when it is open: the one we dialled (I) and
the one that was accepted (R). A Connection turns octets into messages and back. The shell around it dials when it is
given a Connect, calls `peer.connected()` or `peer.connect_failed()`, hands accepted sockets to `node.accept()`, what it
reads to `connection.receive_data()`, and says `connection.lost()` when a transport ended. After every call it takes
`node.ready()`: of each of these connections it sends `data_to_send()`, and ends the transport if `closing` is True.
Deadlines: each Peer's, and each Connection's until its peer is known.

The table is in states.py. Where we depart from it, or it says nothing:

- A CER is judged before it becomes R-Conn-CER: a stranger (3010), one without a common application (5010) or security
  (5017), and a malformed one get their CEA, and the connection is closed; no machine hears of it.
- A CEA that says no, or leaves nothing in common, is I-Rcv-Non-CEA.
- R-Reject answers 5012 before it closes, and asks the connection that stands for a sign of life: a peer that lost its
  connection without a word is let in again after the watchdog has noticed.
- The E bit is set for 3xxx alone (§7.1.3). Answers to broken requests that are not protocol errors repeat what their
  grammar requires (Auth-Application-Id, CC-Request-Type, …), because Open5GS waits for ever for an answer without.
- A message whose version (5011) or length (5015) lies ends the connection after its answer: nothing behind it can be
  found. One that is larger than DIAMETER_MESSAGE_BYTES_MAX is such a message.
- While Closing, answers are still taken, and requests are answered 3004, so that they go elsewhere at once.
- A CER on an open connection is refused with 5012; DIAMETER_CER_REPEATED_MAX of them close it.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from aaa.diameter import codes
from aaa.diameter.answers import local_identity, refused
from aaa.diameter.capabilities import Capabilities, Refusal, agree, capability_avps, explained
from aaa.diameter.codes import DisconnectCause, InbandSecurity, ResultCode, is_protocol_error
from aaa.diameter.events import (
    Answer,
    Closed,
    Connect,
    Drop,
    Event,
    Opened,
    Reason,
    Restarted,
    StartTls,
    Unanswered,
    Usable,
)
from aaa.diameter.request import Request
from aaa.diameter.settings import Certificate, Local, Remote
from aaa.diameter.states import OPEN, TABLE, Action, Input, State
from aaa.diameter.watchdog import Order, Watchdog, WatchdogState
from aaa.limits import (
    DIAMETER_CER_REPEATED_MAX,
    DIAMETER_CER_TIMEOUT_S,
    DIAMETER_CLOSING_TIMEOUT_S,
    DIAMETER_MESSAGE_BYTES_MAX,
    DIAMETER_TC_BUSY_FACTOR,
    DIAMETER_TC_UNWANTED_FACTOR,
    DIAMETER_UNSENT_BYTES_MAX,
)
from native import diameter
from native.diameter import FLAG_REQUEST, Grammar, Message

if TYPE_CHECKING:
    from aaa.diameter.node import Node

REQUEST = FLAG_REQUEST
OKAY = WatchdogState.OKAY
UNSENT_BYTES_MAX = DIAMETER_UNSENT_BYTES_MAX


class InFlight(NamedTuple):
    context: object
    octets: bytes
    command: int
    end_to_end: int
    deadline: float


class NotAsked(ValueError):
    """An answer to a request that is not, or no longer, waiting for one."""


class Connection:
    """One transport connection. Made by Node.accept() or Peer.connected()."""

    def __init__(
        self,
        node: "Node",
        peer: "Peer | None",
        remote_address: str,
        addresses: tuple[str, ...],
        secure: bool,
        certificate: Certificate | None,
    ) -> None:
        self._node = node
        self._out: list[bytes] = []
        self._messages: list[Message] = []
        """Received, and still to be looked at."""
        self._fault = 0
        """What is wrong with the stream behind them."""
        self.link: Any = None
        """The shell's own: what carries this connection."""
        self.peer = peer
        """None until its CER has been accepted."""
        self.remote_address = remote_address
        self.addresses = addresses
        self.secure = secure
        self.starts_tls = False
        """TLS begins; nothing that came in the clear counts any more. Until secured()."""
        self.certificate = certificate
        """The other side's; None: nobody asked for one."""
        self.cer: Message | None = None
        """The CER that waits for its answer."""
        self.closing = False
        """Send what is left, then end the transport."""
        self.deadline: float | None = None
        self.received = bytearray()
        self.waiting: set[int] = set()
        """Hop-by-Hop Identifiers of requests that wait for our answer."""
        self.unsent_octets = 0

    def receive_data(self, data: bytes, now: float, count_max: int | None = None) -> list[Event]:
        """count_max: look at so many messages now; while there are `pending` ones, call again, with b"" or more."""
        events: list[Event] = []
        if self.closing:
            return events
        messages = self._messages
        if data:
            self.received += data
            found, consumed, self._fault = diameter.split(self.received, DIAMETER_MESSAGE_BYTES_MAX)
            del self.received[:consumed]
            messages = messages + found if messages else found
        if count_max is None or len(messages) <= count_max:
            self._messages = []
        else:
            self._messages = messages[count_max:]
            messages = messages[:count_max]
        tap = self._node.tap
        for message in messages:
            if tap is not None:
                tap(self, message.raw, True)
            if self.peer is None:
                self._node.identify(self, message, now, events)
            elif not self.peer.receive_usual(self, message, now, events):
                self.peer.receive(self, message, now, events)
            if self.closing:
                self._messages = []
                return events
            if self.starts_tls:
                # Security: what was put behind the exchange in the clear is nobody's.
                self._messages = []
                self.received.clear()
                self._fault = 0
                return events
        if self._fault and not self._messages:
            self._broken(self._fault, now, events)
        return events

    @property
    def pending(self) -> int:
        """Messages that are still to be looked at."""
        return len(self._messages)

    def _broken(self, fault: int, now: float, events: list[Event]) -> None:
        """The stream cannot be followed any further."""
        # Whoever has not said who it is gets no answer, nor does an answer.
        header = Message.parse(bytes(self.received[: diameter.HEADER_OCTETS]))
        if self.peer is not None and len(self.received) >= diameter.HEADER_OCTETS and header.flags & FLAG_REQUEST:
            version = fault == diameter.FAULT_VERSION
            result = ResultCode.UNSUPPORTED_VERSION if version else ResultCode.INVALID_MESSAGE_LENGTH
            self.write(refused(self._node.local, header, Refusal(result)))
        self.received.clear()
        reason = Reason.PROTOCOL if fault == diameter.FAULT_VERSION else Reason.MESSAGE_LENGTH
        if self.peer is not None:
            self.peer.fail(self, reason, diameter.FAULTS[fault], now, events)
        self.close()

    def data_to_send(self) -> bytes:
        """All that is to be sent, once."""
        data = b"".join(self._out)
        self._out.clear()
        self.unsent_octets = 0
        return data

    def next_deadline(self) -> float | None:
        """While its peer is not known; then the peer's own counts."""
        return self.deadline if self.peer is None and not self.closing else None

    def handle_deadline(self, now: float) -> list[Event]:
        if self.peer is None and self.deadline is not None and now >= self.deadline:
            self.close()
        return []

    def secured(self, certificate: Certificate, now: float) -> list[Event]:
        """TLS that began after the exchange is up."""
        if self.peer is not None and not certificate.speaks_for(self.peer.remote):
            return self.distrust("its certificate is somebody else's", now)
        self.starts_tls = False
        self.secure = True
        self.certificate = certificate
        return []

    def distrust(self, detail: str, now: float) -> list[Event]:
        """TLS that began after the exchange came to nothing, or to the certificate of somebody else."""
        events: list[Event] = []
        if self.peer is not None:
            self.peer.fail(self, Reason.CERTIFICATE, detail, now, events)
        self.close()
        return events

    def lost(self, now: float) -> list[Event]:
        """The transport has ended, whoever ended it."""
        events: list[Event] = []
        self.closing = True
        self._node.forget(self)
        if self.peer is not None:
            self.peer.connection_lost(self, now, events)
        return events

    def write(self, octets: bytes) -> None:
        if not self.closing:
            self._out.append(octets)
            self.unsent_octets += len(octets)
            self._node.touched[self] = None
            if self._node.tap is not None:
                self._node.tap(self, octets, False)

    def close(self) -> None:
        self.closing = True
        self._node.forget(self)
        self._node.touched[self] = None


class Peer:
    """One configured peer: its state, its connections, what is in flight. Made by Node."""

    def __init__(self, node: "Node", remote: Remote, jitter: Callable[[], float], hop_by_hop: int) -> None:
        self._node = node
        self.remote = remote
        self.state = State.CLOSED
        self.watchdog = Watchdog(remote.watchdog_s, jitter)
        self.capabilities: Capabilities | None = None
        """Of the open connection."""
        self.drops: Counter[str] = Counter()
        self.refusals: Counter[int] = Counter()
        """Answers of the machine's own, by Result-Code."""
        self.origin_state_id: int | None = None
        self._jitter = jitter
        self._initiator: Connection | None = None
        self._responder: Connection | None = None
        self._offered: Capabilities | None = None
        self._hop_by_hop = hop_by_hop
        self._in_flight: dict[int, InFlight] = {}
        self._deadline: float | None = None
        """Of the handshake, or of closing."""
        self._redial_at: float | None = None
        self._wanted = False
        self._redial_factor = 1
        self._cause = DisconnectCause.REBOOTING
        self._reason = Reason.PEER_CLOSED
        self._detail = ""
        self._repeated_cers = 0
        self._usual: Grammar | None = None
        """Of the requests that receive_usual() takes; None: of none."""
        self._usual_application = 0
        self._usual_command = 0
        self._usual_connection: Connection | None = None
        self._waiting_max = 0

    def __repr__(self) -> str:
        return f"<Peer {self.remote.origin_host} {self.state.name}>"

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def local(self) -> Local:
        """Who we are to it."""
        return self._node.local

    @property
    def connection(self) -> Connection | None:
        """The open one."""
        if self.state is State.R_OPEN:
            return self._responder
        return self._initiator if self.state is State.I_OPEN else None

    @property
    def is_usable(self) -> bool:
        """Whether requests of ours should prefer it: open, and trusted by its watchdog."""
        return self.state in OPEN and self.watchdog.state is WatchdogState.OKAY

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    # What the shell tells

    def start(self, now: float) -> list[Event]:
        """Dial, and go on dialling. Raises ValueError for a peer that is not to be dialled."""
        if not self.remote.connect:
            raise ValueError(f"{self.remote.origin_host} is not configured to be dialled")
        events: list[Event] = []
        self._wanted = True
        self._step(Input.START, now, events)
        return events

    def reconfigure(self, remote: Remote) -> None:
        """Go by other intervals and bounds from now on; what was agreed on with the peer stays."""
        self.remote = remote
        self.watchdog.use(remote.watchdog_s)
        self._usual = self._usual_connection = None

    def stop(self, cause: DisconnectCause, now: float) -> list[Event]:
        """Say DPR if it is open, and do not dial again."""
        events: list[Event] = []
        self._wanted = False
        self._redial_at = None
        self._cause = cause
        self._ending(Reason.STOPPED)
        self._step(Input.STOP, now, events)
        return events

    def connected(
        self,
        remote_address: str,
        addresses: tuple[str, ...],
        now: float,
        secure: bool = False,
        certificate: Certificate | None = None,
    ) -> tuple[Connection, list[Event]]:
        """The dialled connection is up. Arguments as of Node.accept(). One that nobody waits for any more, because the
        peer was stopped or took too long, is closing at once."""
        events: list[Event] = []
        connection = Connection(self._node, self, remote_address, addresses, secure, certificate)
        if self.state not in (State.WAIT_CONN_ACK, State.WAIT_CONN_ACK_ELECT):
            connection.close()
            return connection, events
        self._initiator = connection
        self._step(Input.I_RCV_CONN_ACK, now, events)
        return connection, events

    def connect_failed(self, detail: str, now: float) -> list[Event]:
        events: list[Event] = []
        self._ending(Reason.CONNECT_FAILED, detail)
        self._step(Input.I_RCV_CONN_NACK, now, events)
        return events

    def connection_lost(self, connection: Connection, now: float, events: list[Event]) -> None:
        connection.closing = True
        if connection is self._initiator:
            self._ending(Reason.PEER_CLOSED)
            self._step(Input.I_PEER_DISC, now, events)
        elif connection is self._responder:
            self._ending(Reason.PEER_CLOSED)
            self._step(Input.R_PEER_DISC, now, events)

    def accept(self, connection: Connection, offered: Capabilities, now: float, events: list[Event]) -> None:
        """A connection whose CER was found good (R-Conn-CER)."""
        connection.peer = self
        self._step(Input.R_CONN_CER, now, events, connection, offered=offered)

    def fail(self, connection: Connection, reason: Reason, detail: str, now: float, events: list[Event]) -> None:
        """A connection cannot go on."""
        self._ending(reason, detail)
        self.connection_lost(connection, now, events)

    def next_deadline(self) -> float | None:
        found = self.watchdog.deadline if self.state in OPEN else None
        for at in (self._deadline, self._redial_at):
            if at is not None and (found is None or at < found):
                found = at
        if self._in_flight:
            # They were sent in this order, and all wait equally long.
            first = next(iter(self._in_flight.values())).deadline
            if found is None or first < found:
                found = first
        return found

    def handle_deadline(self, now: float) -> list[Event]:
        events: list[Event] = []
        while self._in_flight:
            hop_by_hop, entry = next(iter(self._in_flight.items()))
            if now < entry.deadline:
                break
            del self._in_flight[hop_by_hop]
            events.append(Unanswered(self, entry.context, entry.octets, Reason.TIMEOUT))
        if self._deadline is not None and now >= self._deadline:
            self._deadline = None
            self._ending(Reason.TIMEOUT)
            self._step(Input.TIMEOUT, now, events)
        if self.state in OPEN and self.watchdog.deadline is not None and now >= self.watchdog.deadline:
            self._obey(self.watchdog.expired(now), now, events)
        if self._redial_at is not None and now >= self._redial_at:
            self._redial_at = None
            self._step(Input.START, now, events)
        return events

    # What the applications tell

    def send_request(self, octets: bytes, context: object, now: float, again: bool = False) -> bool:
        """Send a request; an Answer or an Unanswered with this context follows.

        octets: a whole message with its End-to-End Identifier; the Hop-by-Hop Identifier is given here.
        again: it may have arrived somewhere before, and bears the T bit now (RFC 6733 §5.5.4).
        False, and nothing follows, when the peer is not open or has enough in flight.
        """
        connection = self.connection
        if connection is None or len(self._in_flight) >= self.remote.requests_max:
            return False
        if connection.unsent_octets > DIAMETER_UNSENT_BYTES_MAX:
            return False
        number = self._next_hop_by_hop()
        sent = diameter.readdressed(octets, number, again)
        self._in_flight[number] = InFlight(
            context,
            octets,
            int.from_bytes(octets[5:8], "big"),
            int.from_bytes(octets[16:20], "big"),
            now + self.remote.answer_timeout_s,
        )
        connection.write(sent)
        return True

    def send_answer(self, request: Request, octets: bytes) -> bool:
        """Send the answer to a request; False when its connection is gone: the peer asks again, with the T bit.

        Raises NotAsked, and changes nothing, when the request has had its answer.
        """
        connection = request.connection
        if (
            connection is not self._usual_connection
            and connection is not self.connection
            and not (self.state is State.CLOSING and not connection.closing)
        ):
            return False
        hop_by_hop = request.message.hop_by_hop
        if hop_by_hop not in connection.waiting:
            raise NotAsked(f"request {hop_by_hop:#x} of {self.remote.origin_host}")
        connection.waiting.remove(hop_by_hop)
        connection.write(octets)
        return True

    # What comes from the peer

    def receive_usual(self, connection: Connection, message: Message, now: float, events: list[Event]) -> bool:
        """A good request of the command that came last, on the open connection; False: receive() looks at it.

        Cost: every request pays for this; what receive() would find out again is remembered in _usual.
        """
        if (
            message.application != self._usual_application
            or message.command != self._usual_command
            or not message.flags & REQUEST
            or self._usual is None
            or connection is not self._usual_connection
            or self.watchdog.state is not OKAY
            or message.fault
            or connection.unsent_octets > UNSENT_BYTES_MAX
            or len(connection.waiting) >= self._waiting_max
            or message.hop_by_hop in connection.waiting
            or self._usual.check(message) is not None
        ):
            return False
        self.watchdog.received(False, now)
        connection.waiting.add(message.hop_by_hop)
        events.append(Request(self, connection, message))
        return True

    def receive(self, connection: Connection, message: Message, now: float, events: list[Event]) -> None:
        """One message of a connection of this peer."""
        if connection is self._initiator:
            initiated = True
        elif connection is self._responder:
            initiated = False
        else:
            return
        state = self.state
        if state in OPEN:
            if connection.unsent_octets > DIAMETER_UNSENT_BYTES_MAX:
                self._ending(Reason.UNSENT)
                self._step(Input.TIMEOUT, now, events)
                return
            answered = message.command == codes.DEVICE_WATCHDOG and not message.flags & FLAG_REQUEST
            orders = self.watchdog.received(answered, now)
            if orders:
                self._obey(orders, now, events)
            if message.application != codes.BASE:
                # As the table has it: Process, and the state stays; by this way for every message's sake.
                self._process(connection, message, now, events)
                return
        self._step(self._input_of(message, initiated), now, events, connection, message)

    def _input_of(self, message: Message, initiated: bool) -> Input:
        request = bool(message.flags & FLAG_REQUEST)
        if self.state in (State.WAIT_I_CEA, State.WAIT_RETURNS) and initiated:
            return Input.I_RCV_CEA if self._is_welcome(message) else Input.I_RCV_NON_CEA
        if self.state in (State.WAIT_CONN_ACK_ELECT, State.WAIT_RETURNS):
            return Input.R_RCV_MESSAGE
        if message.application == codes.BASE and not message.fault:
            if message.command == codes.DEVICE_WATCHDOG:
                if request:
                    return Input.I_RCV_DWR if initiated else Input.R_RCV_DWR
                return Input.I_RCV_DWA if initiated else Input.R_RCV_DWA
            if message.command == codes.DISCONNECT_PEER:
                if request:
                    return Input.I_RCV_DPR if initiated else Input.R_RCV_DPR
                if self.state is State.CLOSING:
                    return Input.I_RCV_DPA if initiated else Input.R_RCV_DPA
        return Input.I_RCV_MESSAGE if initiated else Input.R_RCV_MESSAGE

    def _is_welcome(self, message: Message) -> bool:
        """Whether what came instead of, or as, a CEA opens the connection."""
        local, connection = self._node.local, self._initiator
        if message.command != codes.CAPABILITIES_EXCHANGE or message.flags & FLAG_REQUEST or message.fault:
            self._ending(Reason.PROTOCOL, "something else than a CEA")
            return False
        result = message.get_unsigned32(codes.RESULT_CODE)
        if result != ResultCode.SUCCESS:
            self._ending(Reason.REFUSED, f"Result-Code {result}")
            return False
        fault = self._node.check(message)
        if fault is not None:
            self._ending(Reason.PROTOCOL, f"its CEA deserves {fault[0]}")
            return False
        asked = self._asks_for()
        assert connection is not None
        if connection.certificate is not None and not connection.certificate.speaks_for(self.remote):
            self._ending(Reason.CERTIFICATE)
            return False
        found = agree(local, self.remote, message, connection.secure, asked)
        if isinstance(found, Refusal):
            self._ending(Reason.REFUSED, found.detail or found.text)
            return False
        self._offered = found
        return True

    def _asks_for(self) -> InbandSecurity:
        secure = self._initiator is not None and self._initiator.secure
        return InbandSecurity.TLS if self.remote.security == "inband" and not secure else InbandSecurity(0)

    # The machine

    def _ending(self, reason: Reason, detail: str = "") -> None:
        """Why the next end comes; the first reason counts."""
        if self._reason is Reason.PEER_CLOSED:
            self._reason, self._detail = reason, detail

    def _step(
        self,
        given: Input,
        now: float,
        events: list[Event],
        connection: Connection | None = None,
        message: Message | None = None,
        offered: Capabilities | None = None,
    ) -> None:
        found = TABLE.get((self.state, given))
        if found is None:
            self._reason, self._detail = Reason.PEER_CLOSED, ""
            return
        actions, state = found
        before, self.state = self.state, state
        if state is not before:
            self._usual = self._usual_connection = None
        for action in actions:
            self._act(action, now, events, connection, message, offered)
        if self.state is not state:
            return  # an election was won on the way
        if state is not before:
            self._entered(before, now, events)

    def _entered(self, before: State, now: float, events: list[Event]) -> None:
        state = self.state
        if state in OPEN:
            self._deadline = None
            self._reason, self._detail = Reason.PEER_CLOSED, ""
            self._redial_at = None
            self._redial_factor = 1
            self._repeated_cers = 0
            self.capabilities = self._offered
            assert self.capabilities is not None
            self._learn_state_id(self.capabilities.origin_state_id, events)
            if self.capabilities.tls:
                connection = self.connection
                assert connection is not None
                connection.starts_tls = True
                events.append(StartTls(connection, connection.data_to_send()))
            events.append(Opened(self, self.capabilities))
            self._obey(self.watchdog.connection_up(now), now, events)
            return
        if state is State.CLOSING:
            self._deadline = now + DIAMETER_CLOSING_TIMEOUT_S
            return
        if state is not State.CLOSED:
            if before in (State.CLOSED, State.WAIT_CONN_ACK) or self._deadline is None:
                self._deadline = now + DIAMETER_CER_TIMEOUT_S
            return
        self._deadline = None
        self.capabilities = self._offered = None
        if before in OPEN or before is State.CLOSING:
            orderly = before is State.CLOSING and self._reason is not Reason.TIMEOUT
            self.watchdog.connection_down(orderly)
            self._give_up_requests(self._reason, events)
        events.append(Closed(self, self._reason, self._detail))
        self._reason, self._detail = Reason.PEER_CLOSED, ""
        if self._wanted:
            # Peers of one node that went away do not come back in the same instant.
            self._redial_at = now + self.remote.reconnect_s * self._redial_factor * (1.0 + 0.1 * self._jitter())
        self._redial_factor = 1

    def _act(
        self,
        action: Action,
        now: float,
        events: list[Event],
        connection: Connection | None,
        message: Message | None,
        offered: Capabilities | None,
    ) -> None:
        """One action of the table. I_… and R_… name the connection that it is about."""
        match action:
            case Action.I_SND_CONN_REQ:
                self._redial_at = None
                events.append(Connect(self))
            case Action.R_ACCEPT:
                self._responder = connection
            case Action.PROCESS_CER:
                self._offered = offered
            case Action.R_SND_CEA:
                self._send_cea()
            case Action.I_SND_CER:
                self._send_cer()
            case Action.CLEANUP | Action.ERROR:
                self._drop_initiator()
                self._drop_responder()
            case Action.PROCESS_CEA:
                pass  # _is_welcome() has
            case Action.ELECT:
                if self._wins_election():
                    self._ending(Reason.ELECTION)
                    self._step(Input.WIN_ELECTION, now, events)
            case Action.I_DISC:
                self._drop_initiator()
            case Action.R_DISC:
                self._drop_responder()
            case Action.R_REJECT:
                assert connection is not None
                self._reject(connection, now)
            case Action.PROCESS:
                assert connection is not None
                assert message is not None
                self._process(connection, message, now, events)
            case Action.PROCESS_DWR | Action.PROCESS_DWA:
                assert message is not None
                self._learn_state_id(message.get_unsigned32(codes.ORIGIN_STATE_ID), events)
            case Action.I_SND_DWA | Action.R_SND_DWA | Action.I_SND_DPA | Action.R_SND_DPA:
                assert connection is not None
                assert message is not None
                self._answer_base(connection, message)
            case Action.I_SND_DPR | Action.R_SND_DPR:
                self._send_dpr()
            case Action.I_SND_MESSAGE | Action.R_SND_MESSAGE:
                pass  # send_request() and send_answer() write themselves

    def _drop_initiator(self) -> None:
        if self._initiator is not None:
            self._initiator.close()
            self._initiator = None

    def _drop_responder(self) -> None:
        if self._responder is not None:
            self._responder.close()
            self._responder = None

    def _wins_election(self) -> bool:
        """RFC 6733 §5.6.4: the greater Origin-Host keeps the connection that it has accepted."""
        return self._node.local.origin_host.lower().encode() > self.remote.origin_host.lower().encode()

    def _reject(self, connection: Connection, now: float) -> None:
        # The answer to its CER; the connection is no machine's.
        connection.peer = None
        refusal = Refusal(ResultCode.UNABLE_TO_COMPLY, "there is a connection already")
        connection.write(self._node.cea(connection, self.remote, refusal))
        connection.close()
        if self.state in OPEN and not self.watchdog.pending:
            self.watchdog.pending = True
            self._send_dwr()

    def _send_cer(self) -> None:
        connection = self._initiator
        assert connection is not None
        avps = capability_avps(self._node.local, self.remote, connection.addresses, self._asks_for())
        connection.write(self._base_request(codes.CAPABILITIES_EXCHANGE, avps))

    def _send_cea(self) -> None:
        connection = self._responder
        assert connection is not None
        assert self._offered is not None
        connection.write(self._node.cea(connection, self.remote, None, self._offered.tls))

    def _send_dwr(self) -> None:
        local = self._node.local
        avps = [*local_identity(local), diameter.unsigned32_avp(codes.ORIGIN_STATE_ID, local.origin_state_id)]
        connection = self.connection
        if connection is not None:
            connection.write(self._base_request(codes.DEVICE_WATCHDOG, avps))

    def _send_dpr(self) -> None:
        avps = [*local_identity(self._node.local), diameter.integer32_avp(codes.DISCONNECT_CAUSE, self._cause)]
        connection = self._initiator or self._responder
        assert connection is not None
        connection.write(self._base_request(codes.DISCONNECT_PEER, avps))

    def _base_request(self, command: int, avps: Iterable[bytes]) -> bytes:
        return diameter.message(
            FLAG_REQUEST, command, codes.BASE, self._next_hop_by_hop(), self._node.next_end_to_end(), list(avps)
        )

    def _next_hop_by_hop(self) -> int:
        self._hop_by_hop = (self._hop_by_hop + 1) & 0xFFFFFFFF
        return self._hop_by_hop

    def _answer_base(self, connection: Connection, message: Message) -> None:
        """DWA and DPA."""
        local = self._node.local
        fault = self._node.check(message)
        refusal = Refusal(ResultCode.SUCCESS) if fault is None else Refusal(fault[0], "", fault[1])
        if fault is not None:
            self.refusals[refusal.result] += 1
        avps = [
            diameter.unsigned32_avp(codes.RESULT_CODE, refusal.result),
            *local_identity(local),
            *explained(refusal),
        ]
        if message.command == codes.DEVICE_WATCHDOG:
            avps.append(diameter.unsigned32_avp(codes.ORIGIN_STATE_ID, local.origin_state_id))
        else:
            self._ending(Reason.DPR_RECEIVED)
            cause = message.get_unsigned32(codes.DISCONNECT_CAUSE)
            if cause == DisconnectCause.BUSY:
                self._redial_factor = DIAMETER_TC_BUSY_FACTOR
            elif cause == DisconnectCause.DO_NOT_WANT_TO_TALK_TO_YOU:
                self._redial_factor = DIAMETER_TC_UNWANTED_FACTOR
        connection.write(diameter.answer(message, avps, is_protocol_error(refusal.result)))

    def _learn_state_id(self, number: int | None, events: list[Event]) -> None:
        if not number:
            return
        if self.origin_state_id is not None and number > self.origin_state_id:
            events.append(Restarted(self, number))
        self.origin_state_id = number

    def _obey(self, orders: tuple[Order, ...], now: float, events: list[Event]) -> None:
        for order in orders:
            match order:
                case Order.SEND_WATCHDOG:
                    self._send_dwr()
                case Order.FAILOVER:
                    events.append(Usable(self, False))
                    self._give_up_requests(Reason.FAILOVER, events)
                case Order.FAILBACK:
                    events.append(Usable(self, True))
                case Order.CLOSE_CONNECTION:
                    self._ending(Reason.WATCHDOG)
                    self._step(Input.TIMEOUT, now, events)

    def _give_up_requests(self, reason: Reason, events: list[Event]) -> None:
        entries = list(self._in_flight.values())
        self._in_flight.clear()
        events += [Unanswered(self, entry.context, entry.octets, reason) for entry in entries]

    # Messages of applications, and broken ones

    def _process(self, connection: Connection, message: Message, now: float, events: list[Event]) -> None:
        if not message.flags & FLAG_REQUEST:
            self._process_answer(message, events)
            return
        if message.application == codes.BASE and message.command == codes.CAPABILITIES_EXCHANGE:
            self._repeated_cers += 1
            if self._repeated_cers >= DIAMETER_CER_REPEATED_MAX:
                self._ending(Reason.FLOOD)
                self._step(Input.TIMEOUT, now, events)
                return
        if message.hop_by_hop in connection.waiting:
            self.drops[Drop.HOP_BY_HOP_IN_USE] += 1
            return
        refusal = self._refusal_of(connection, message)
        if refusal is None:
            connection.waiting.add(message.hop_by_hop)
            events.append(Request(self, connection, message))
            self._note_usual(connection, message)
            return
        self.refusals[refusal.result] += 1
        connection.write(refused(self._node.local, message, refusal))

    def _note_usual(self, connection: Connection, message: Message) -> None:
        """What was found out about this request holds for the next of its command, while the peer is open."""
        capabilities = self.capabilities
        if self._node.local.relay:
            return
        if self.state in OPEN and capabilities is not None and message.application in capabilities.applications:
            self._usual = self._node.local.grammars[message.application, message.command, True]
            self._usual_application = message.application
            self._usual_command = message.command
            self._usual_connection = connection
            self._waiting_max = self.remote.requests_max

    def _refusal_of(self, connection: Connection, message: Message) -> Refusal | None:
        """What the machine itself has against a request."""
        if message.fault == diameter.FAULT_HEADER_BITS:
            return Refusal(ResultCode.INVALID_HDR_BITS)
        local, capabilities = self._node.local, self.capabilities
        if message.application == codes.BASE:
            if message.command == codes.CAPABILITIES_EXCHANGE:
                return Refusal(ResultCode.UNABLE_TO_COMPLY, "capabilities are exchanged already")
            if not self._node.knows(message):
                return Refusal(ResultCode.COMMAND_UNSUPPORTED)
        elif local.relay:
            # Who relays does not judge what it passes on; what is for itself is checked when that is known.
            if message.fault:
                return Refusal(ResultCode.INVALID_AVP_LENGTH, "", message.failed())
        elif capabilities is None or message.application not in capabilities.applications:
            return Refusal(ResultCode.APPLICATION_UNSUPPORTED)
        elif not self._node.knows(message):
            return Refusal(ResultCode.COMMAND_UNSUPPORTED)
        if self.state is State.CLOSING or len(connection.waiting) >= self.remote.requests_max:
            return Refusal(ResultCode.TOO_BUSY)
        if local.relay and message.application != codes.BASE:
            return None
        fault = self._node.check(message)
        return None if fault is None else Refusal(fault[0], "", fault[1])

    def _process_answer(self, message: Message, events: list[Event]) -> None:
        if message.application == codes.BASE and message.command in (
            codes.CAPABILITIES_EXCHANGE,
            codes.DEVICE_WATCHDOG,
            codes.DISCONNECT_PEER,
        ):
            self.drops[Drop.BASE_ANSWER] += 1
            return
        if message.fault == diameter.FAULT_HEADER_BITS:
            self.drops[Drop.ANSWER_BITS] += 1
            return
        entry = self._in_flight.get(message.hop_by_hop)
        if entry is None:
            self.drops[Drop.UNKNOWN_HOP_BY_HOP] += 1
            return
        if entry.end_to_end != message.end_to_end or entry.command != message.command:
            self.drops[Drop.OTHER_END_TO_END] += 1
            return
        del self._in_flight[message.hop_by_hop]
        events.append(Answer(self, entry.context, message, self._node.check(message)))
