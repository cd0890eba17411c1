"""The network as the engine sees it: CoA and Disconnect to NASes over UDP, each within its pace (RFC 5176).

Theory of operation. A Link is one socket towards one address, opened when there is work and closed when there is none;
what it sends and when is decided by a DynamicExchanges, and by a token bucket for the pace. A Job is one change or
disconnect of one session: one or several exchanges in order, the next only after the former was acknowledged.

A session is named by the smallest set of attributes that its family wants, with the octets that the NAS itself sent.
While nothing is known of a NAS, the next set is tried where it does not know a session by the first. One that has
acknowledged a set before is believed when it says that there is no such session; and no set without Acct-Session-Id is
tried while another live session would answer to it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, Literal

import asyncio_dgram
from asyncio_dgram.aio import DatagramClient, Protocol

from aaa.dictionary import Dictionary
from aaa.engine.facts import epoch
from aaa.limits import (
    DYNAMIC_CHANGES_MAX,
    DYNAMIC_IDLE_S,
    DYNAMIC_MRC,
    DYNAMIC_REFUSALS_MAX,
    DYNAMIC_REFUSED_S,
    DYNAMIC_SOCKETS_MAX,
    DYNAMIC_WAITING_S,
)
from aaa.mapping.change import TIMEOUT_NONE_S, Change, compare
from aaa.mapping.families import FAMILIES, RenderOptions
from aaa.model.enforcement import Action, Difference, Reply
from aaa.model.records import ACTIVE, NEVER, DecisionRecord, NasRecord, ServiceRecord, SessionRecord
from aaa.radius.client import Code, Dropped, Schedule
from aaa.radius.clients import MA_OFF, Client, Clients
from aaa.radius.dynamic import (
    ERROR_CAUSES,
    EVENT_TIMESTAMP,
    MISSING_ATTRIBUTE,
    NO_COA,
    SCHEDULE,
    SESSION_NOT_FOUND,
    DynamicExchanges,
    Finished,
    Pace,
)
from aaa.server.listener import Statistics
from native.radius import Packet, Secret, attribute, integer_attribute, vendor_attribute

if TYPE_CHECKING:
    from aaa.server.trace import Tap

SESSION_TIMEOUT: Final = 27
NAS_IDENTIFIER: Final = 32
CISCO: Final = 9
CISCO_ACCOUNT_INFO: Final = 250
RENEWED_S: Final = 60.0
"""By how much a session's end must have moved before its NAS is told."""
JITTER: Final = 0.1
"""RAND of RFC 5080 §2.2.1."""
RESULTS: Final = ("ack", "nak", "not_found", "timeout", "error")
"""How exchanges are counted: Reply.result, with Session-Context-Not-Found apart from the other refusals."""

Done = Callable[[Reply], None]
Result = Literal["ack", "nak", "timeout", "error"]


class Dynamic:
    """Implements aaa.engine.network.Network."""

    def __init__(
        self,
        clients: Clients,
        options: dict[str, RenderOptions],
        dictionary: Dictionary,
        listen: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        schedule: Schedule = SCHEDULE,
    ) -> None:
        """options: by name of [[nas]]. listen: addresses that NASes know this server by; where there is one alone of an
        IP version, requests come from it. clock, wall: monotonic and epoch seconds."""
        self.clients = clients
        self.sources = sources_of(listen)
        self.options = options
        self.dictionary = dictionary
        self.clock = clock
        self.wall = wall
        self.schedule = schedule
        self.links: dict[tuple[str, int], Link] = {}
        """Those with a socket or with work."""
        self.open: dict[Link, None] = {}
        """Those with a socket; DYNAMIC_SOCKETS_MAX at the most."""
        self.idle: dict[Link, None] = {}
        """Of these, those without work, idle for longest first."""
        self.blocked: dict[Link, None] = {}
        """Those with work that wait for a socket."""
        self.postures: dict[str, Posture] = {}
        """By name of the NAS: what it was seen to honour. Bounded as the NAS records are."""
        self.counts: dict[tuple[str, Action, str], int] = {}
        """Exchanges that are over, by [[nas]], action and one of RESULTS."""
        self.statistics = Statistics()
        """From the first transmission to the answer."""
        self.tap: Tap | None = None
        """Who looks on; None: nobody."""
        self.dropped: dict[str, int] = {}
        """Datagrams that were no answer, by reason."""
        self._changes: dict[tuple[int, int, str], tuple[Change, Difference]] = {}

    def reconfigure(self, options: dict[str, RenderOptions], dictionary: Dictionary) -> None:
        """After a reload; exchanges in flight go on with the secret that they were signed with."""
        self.options = options
        self.dictionary = dictionary
        self._changes.clear()

    # The engine's side

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        """What it takes; for a NAS that is not configured any more, a CoA that finds nobody until it is again."""
        return self._compare(session, confirmed, desired)[1]

    def _compare(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> tuple[Change, Difference]:
        name = session.nas.client_name
        key = (confirmed.id if confirmed is not None else -1, desired.id, name)
        found = self._changes.get(key)
        if found is None:
            options = self.options.get(name)
            if options is None:
                change = Change("coa", f"{name} is not configured any more")
            else:
                change = compare(
                    confirmed.body if confirmed is not None else None, desired.body, options, self.dictionary
                )
            if len(self._changes) >= DYNAMIC_CHANGES_MAX:
                self._changes.clear()
            found = self._changes[key] = (change, change.difference())
        if found[0].kind == "none" and confirmed is not None and confirmed.id == desired.id:
            return self._renewal(session, desired, found)
        posture = self.postures.get(session.nas.name)
        if found[0].kind == "coa" and posture is not None and posture.refuses_coa(self.wall()):
            cause = ERROR_CAUSES[posture.error_cause]
            change = Change("disconnect", f"{found[0].why}: {session.nas.name} refuses CoA ({cause})")
            return change, change.difference()
        return found

    def _renewal(
        self, session: SessionRecord, desired: DecisionRecord, nothing: tuple[Change, Difference]
    ) -> tuple[Change, Difference]:
        """A longer Session-Timeout alone, where the NAS was told too early an end and takes another."""
        options = self.options.get(session.nas.client_name)
        if options is None or not options.coa or not FAMILIES[options.family].capabilities.session_timeout:
            return nothing
        if not 0.0 < session.ends_at < self.end_of(session, desired) - RENEWED_S:
            return nothing
        change = Change("coa", "session_timeout", ((),), (b"",), desired.session_timeout_s)
        return change, change.difference()

    def end_of(self, session: SessionRecord, decision: DecisionRecord) -> float:
        """When the NAS is to end a session by itself: its time is over, or its service's."""
        began = session.started_at or session.authorised_at
        ends_at = began + decision.session_timeout_s if decision.session_timeout_s else NEVER
        return ends_at if session.service is None else min(ends_at, end_of(session.service))

    def change(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord, done: Done
    ) -> bool:
        """Send what difference() says, one CoA after the other; the Reply is that of the last one sent."""
        change = self._compare(session, confirmed, desired)[0]
        if change.kind == "none":
            asyncio.get_running_loop().call_soon(done, Reply("ack", detail="nothing differs"))
            return True
        return self._submit(Job(self, session, change.kind, change, done))

    def disconnect(self, session: SessionRecord, done: Done) -> bool:
        """Send a Disconnect-Request."""
        return self._submit(Job(self, session, "disconnect", Change("disconnect"), done))

    def room(self, nas: NasRecord) -> int:
        """How many more exchanges may be given to this NAS now."""
        client = self.clients.by_name.get(nas.client_name)
        if client is None:
            # It is answered at once, with an error.
            return 1
        link = self.links.get((client.coa_address or nas.address, client.coa_port))
        return waiting_max(client) if link is None else link.room()

    def _submit(self, job: Job) -> bool:
        client = self.clients.by_name.get(job.session.nas.client_name)
        problem = ""
        if client is None:
            problem = f"{job.session.nas.client_name} is not configured any more"
        elif not packed(client.coa_address or job.session.nas.address):
            problem = f"no address of {job.session.nas.name} is known"
        elif not job.key_sets(client):
            problem = "the NAS sent nothing that names this session"
        if client is None or problem:
            asyncio.get_running_loop().call_soon(job.done, Reply("error", detail=problem))
            return True
        address = (client.coa_address or job.session.nas.address, client.coa_port)
        link = self.links.get(address)
        if link is None:
            link = self.links[address] = Link(self, address, client)
        return link.submit(job, client)

    def posture(self, nas: NasRecord) -> Posture:
        """What was learned of a NAS."""
        found = self.postures.get(nas.name)
        if found is None:
            found = self.postures[nas.name] = Posture()
        return found

    def count(self, client: Client, action: Action, result: Result, error_cause: int) -> None:
        """One exchange is over."""
        key = (client.name, action, "not_found" if error_cause == SESSION_NOT_FOUND else result)
        self.counts[key] = self.counts.get(key, 0) + 1

    def show(self, attributes: bytes) -> tuple[tuple[str, str], ...]:
        """Attributes as names and values."""
        size = (20 + len(attributes)).to_bytes(2, "big")
        packet = Packet.parse(bytes((Code.COA_REQUEST, 0)) + size + bytes(16) + attributes)
        return tuple(self.dictionary.decode_packet(packet))

    @property
    def waiting(self) -> int:
        """Exchanges that wait for their NAS's pace."""
        return sum(len(link.queue) for link in self.links.values())

    @property
    def in_flight(self) -> int:
        """Exchanges that wait for an answer."""
        return sum(len(link.exchanges) for link in self.links.values())

    def close(self) -> None:
        """Stop: what is in work gets no reply; it is in the outbox."""
        for link in list(self.links.values()):
            link.close()
        for known in (self.links, self.open, self.idle, self.blocked):
            known.clear()


class Posture:
    """What one NAS was seen to honour."""

    __slots__ = ("answered_at", "coa", "disconnect", "error_at", "error_cause", "keys", "refusals", "timed_out_at")

    def __init__(self) -> None:
        self.coa: bool | None = None
        """Whether it ever acknowledged a CoA; None: it has answered none."""
        self.disconnect: bool | None = None
        """The same of its last answer to a Disconnect."""
        self.keys = -1
        """Which of its family's key sets it has acknowledged; -1: none yet."""
        self.error_cause = 0
        """Of the last refusal."""
        self.error_at = 0.0
        self.answered_at = 0.0
        self.timed_out_at = 0.0
        self.refusals = 0
        """CoAs in a row that it refused for knowing none; none was acknowledged before."""

    def refuses_coa(self, at: float) -> bool:
        """Whether there is no sense in sending it a CoA."""
        return self.refusals >= DYNAMIC_REFUSALS_MAX and at < self.error_at + DYNAMIC_REFUSED_S


def waiting_max(client: Client) -> int:
    """How many exchanges may wait for the pace of one box."""
    return max(2, int(client.coa_rate * DYNAMIC_WAITING_S))


class Job:
    """One change or disconnect of one session, through all of its exchanges."""

    __slots__ = (
        "action", "change", "done", "ends_at", "first_at", "network", "packet", "sent_at", "session", "sets", "told",
        "transmissions",
    )  # fmt: skip

    def __init__(self, network: Dynamic, session: SessionRecord, action: Action, change: Change, done: Done) -> None:
        self.network = network
        self.session = session
        self.action: Action = action
        self.change = change
        self.done = done
        self.packet = 0
        """Which of the CoAs is next."""
        self.sets: list[tuple[int, dict[str, bytes]]] = []
        """Keys that may name the session: number of the family's set, and its octets by name; the first is used."""
        self.told: dict[int, bytes] = {}
        """What each request carried besides the keys."""
        self.first_at = 0.0
        """Epoch seconds of the first transmission of all."""
        self.sent_at = 0.0
        """Monotonic seconds of the first transmission of the exchange in flight."""
        self.transmissions = 0
        self.ends_at = 0.0
        """When the NAS is told to end the session, epoch seconds; 0.0: it is not told."""

    def key_sets(self, client: Client) -> list[tuple[int, dict[str, bytes]]]:
        """The family's key sets that this session can fill; the one that the NAS has acknowledged before all."""
        facts = dict(facts_of(self.session))
        sets = []
        for number, names in enumerate(FAMILIES[client.family].capabilities.keys):
            if all(name in facts for name in names):
                sets.append((number, {name: facts[name] for name in names}))
        proven = self.network.posture(self.session.nas).keys
        sets.sort(key=lambda one: one[0] != proven)
        self.sets = sets
        return sets

    def attributes(self, client: Client, at: float) -> bytes:
        """Everything of the next request but Message-Authenticator."""
        rest = b""
        if client.identifier is not None:
            # Several boxes, or a proxy, stand behind the address.
            rest += attribute(NAS_IDENTIFIER, client.identifier)
        if client.event_timestamp and not FAMILIES[client.family].capabilities.strict:
            rest += integer_attribute(EVENT_TIMESTAMP, int(at))
        if self.action == "coa":
            rest += self.change.wire[self.packet]
            if self.change.session_timeout_s >= 0 and self.packet == 0:
                remaining_s = self.remaining_s(at)
                self.ends_at = at + remaining_s
                rest += integer_attribute(SESSION_TIMEOUT, remaining_s)
        self.told[self.packet] = rest
        return b"".join(self.sets[0][1].values()) + rest

    def remaining_s(self, at: float) -> int:
        """Seconds that the session has left, also by its service's end; at least 1: some boxes take 0 for "never"."""
        session, whole = self.session, self.change.session_timeout_s
        began = session.started_at or session.authorised_at or at
        ends_at = began + whole if whole else NEVER
        if session.service is not None:
            ends_at = min(ends_at, end_of(session.service))
        return int(min(max(1.0, ends_at - at), TIMEOUT_NONE_S))

    def last_attributes(self) -> bytes:
        """What the request in flight carries, or the one that is just over; for who looks on."""
        return (b"".join(self.sets[0][1].values()) if self.sets else b"") + self.told.get(self.packet, b"")

    def next_step(self, finished: Finished) -> bool:
        """Whether another exchange follows: the next packet, or the same with other keys."""
        if finished.result == "ack":
            self.packet += 1
            return self.action == "coa" and self.packet < len(self.change.wire)
        if finished.result != "nak" or finished.error_cause not in (SESSION_NOT_FOUND, MISSING_ATTRIBUTE):
            return False
        if self.packet or self.network.posture(self.session.nas).keys >= 0:
            return False
        self.sets = [one for one in self.sets[1:] if is_unambiguous(self.session, one[1])]
        return bool(self.sets)

    def reply(self, result: Result, cause: int, at: float, detail: str) -> Reply:
        """The end of it, with all that was sent under the keys that counted."""
        total = len(self.change.wire)
        if self.action == "coa" and total > 1 and result != "ack":
            detail = "; ".join(part for part in (detail, f"{self.packet} of {total} requests acknowledged") if part)
        keys = b"".join(self.sets[0][1].values()) if self.sets else b""
        return Reply(
            result=result,
            error_cause=cause,
            transmissions=self.transmissions,
            sent_at=self.first_at,
            answered_at=at if result in ("ack", "nak") else 0.0,
            keys=self.network.show(keys),
            attributes=self.network.show(b"".join(self.told.values())),
            detail=detail,
            ends_at=self.ends_at if result == "ack" else 0.0,
        )


class Link:
    """One address that CoA and Disconnect go to: its queue, its pace and its socket."""

    def __init__(self, network: Dynamic, address: tuple[str, int], client: Client) -> None:
        self.network = network
        self.address = address
        self.client = client
        self.queue: deque[Job] = deque()
        self.exchanges = DynamicExchanges(network.schedule)
        self.stream: DatagramClient | None = None
        self.error = ""
        """What the kernel last said about the far end, since its last answer."""
        self._busy_at = network.clock()
        self._pace = Pace(self._busy_at)
        self._outgoing: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._sender: asyncio.Task[None] | None = None
        self._receiver: asyncio.Task[None] | None = None
        self._is_pumping = False
        self._is_closed = False

    def room(self) -> int:
        """How many more it takes."""
        return max(0, waiting_max(self.client) - len(self.queue))

    def submit(self, job: Job, client: Client) -> bool:
        """Take a job; False when too many wait."""
        self.client = client
        if not self.room():
            return False
        self.queue.append(job)
        # It has work from now on: nobody is to take its socket.
        self.network.idle.pop(self, None)
        self.pump_soon()
        return True

    def close(self) -> None:
        """Forget everything; whoever waits for a socket may have this one."""
        network = self.network
        self._is_closed = True
        if network.links.get(self.address) is self:
            del network.links[self.address]
        for known in (network.open, network.idle, network.blocked):
            known.pop(self, None)
        for handle in (self._timer, self._sender, self._receiver):
            if handle is not None:
                handle.cancel()
        if self.stream is not None:
            self.stream.close()
            self.stream = None
        waiting = next(iter(network.blocked), None)
        if waiting is not None:
            waiting.pump_soon()

    def _may_open(self) -> bool:
        """Whether it has a socket, or may have one."""
        network = self.network
        if self in network.open:
            return True
        if len(network.open) >= DYNAMIC_SOCKETS_MAX and network.idle:
            next(iter(network.idle)).close()
        if len(network.open) >= DYNAMIC_SOCKETS_MAX:
            network.blocked[self] = None
            return False
        network.blocked.pop(self, None)
        network.open[self] = None
        return True

    # Pace

    def pump_soon(self) -> None:
        """Have pump() called when this is over."""
        if not self._is_pumping:
            self._is_pumping = True
            asyncio.get_running_loop().call_soon(self.pump)

    def pump(self) -> None:
        """Start what pace and concurrency allow, transmit again what is due, and arrange to be called again."""
        self._is_pumping = False
        if self._is_closed:
            return
        now = self.network.clock()
        for finished in self.exchanges.handle_deadline(now):
            self._finish(finished, now)
        client = self.client
        if self.queue and not self._may_open():
            return
        while self.queue and len(self.exchanges) < client.coa_concurrency and self._pace.take(client.coa_rate, now):
            self._begin(self.queue.popleft(), now)
        self._outgoing.extend(self.exchanges.data_to_send())
        if self._outgoing and self._sender is None:
            self._sender = asyncio.get_running_loop().create_task(self._send())
        self._arrange(now)

    def _arrange(self, now: float) -> None:
        """One timer: the next retransmission, the next token, or the end of idleness."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        network = self.network
        if self.queue or len(self.exchanges) or self._sender is not None:
            self._busy_at = now
            network.idle.pop(self, None)
            moments = [self.exchanges.next_deadline()]
            if self.queue and len(self.exchanges) < self.client.coa_concurrency:
                moments.append(self._pace.next_at(self.client.coa_rate))
            at = min((moment for moment in moments if moment is not None), default=None)
            if at is None:
                return
        elif now - self._busy_at >= DYNAMIC_IDLE_S or network.blocked:
            self.close()
            return
        else:
            network.idle[self] = None
            at = self._busy_at + DYNAMIC_IDLE_S
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now), self.pump)

    # Exchanges

    def _begin(self, job: Job, now: float) -> None:
        """Sign the next request of a job."""
        client = self.client
        at = self.network.wall()
        job.sent_at = now
        job.first_at = job.first_at or at
        code = Code.COA_REQUEST if job.action == "coa" else Code.DISCONNECT_REQUEST
        try:
            self.exchanges.start(
                self._secret(job.session),
                code,
                job.attributes(client, at),
                now,
                job,
                message_authenticator=client.message_authenticator != MA_OFF,
                jitter=[random.uniform(-JITTER, JITTER) for _ in range(DYNAMIC_MRC)],
            )
        except ValueError as error:
            # Too long with the keys of this session.
            asyncio.get_running_loop().call_soon(job.done, job.reply("error", 0, at, str(error)))

    def _secret(self, session: SessionRecord) -> Secret:
        """During a rotation: the secret that this NAS has been seen to use."""
        client = self.client
        return client.current_secrets.get(packed(session.nas.address), client.secrets[0])

    def _finish(self, finished: Finished, now: float) -> None:
        """One exchange is over: the job goes on, or ends."""
        job = finished.token
        assert isinstance(job, Job)
        network = self.network
        at = network.wall()
        job.transmissions += finished.transmissions
        result: Result = finished.result
        detail = ERROR_CAUSES.get(finished.error_cause, "")
        if result == "timeout" and self.error:
            result, detail = "error", self.error
        network.count(self.client, job.action, result, finished.error_cause)
        if network.tap is not None:
            network.tap.exchange(job, result, finished.error_cause, detail, at, now - job.sent_at)
        self._learn(job, finished, at)
        if finished.result in ("ack", "nak"):
            network.statistics.observe(1, 1 + int((now - job.sent_at) * 1e9))
        if job.next_step(finished):
            self.queue.appendleft(job)
            self.pump_soon()
        else:
            reply = job.reply(result, finished.error_cause, at, detail)
            asyncio.get_running_loop().call_soon(job.done, reply)

    def _learn(self, job: Job, finished: Finished, at: float) -> None:
        posture = self.network.posture(job.session.nas)
        if finished.result == "timeout":
            posture.timed_out_at = at
            return
        posture.answered_at = at
        self.error = ""
        if finished.result == "ack":
            posture.keys = job.sets[0][0]
        else:
            posture.error_cause, posture.error_at = finished.error_cause, at
        if finished.error_cause == SESSION_NOT_FOUND:
            return
        if job.action == "disconnect":
            posture.disconnect = finished.result == "ack"
            return
        if finished.error_cause in NO_COA and posture.coa is not True:
            posture.refusals += 1
        else:
            posture.refusals = 0
        # What it once took, it knows, whatever it refuses later.
        posture.coa = posture.coa or finished.result == "ack"

    # The socket

    async def _send(self) -> None:
        """Hand over what is to be sent. A datagram that cannot be is as good as lost: it is sent again in time."""
        try:
            while self._outgoing:
                try:
                    stream = self.stream or await self._open()
                    data = self._outgoing.popleft()
                    try:
                        await stream.send(data)
                    except ConnectionRefusedError as error:
                        # What an earlier datagram met; this one has not been tried.
                        self.error = str(error.strerror)
                        await stream.send(data)
                except (OSError, asyncio_dgram.TransportClosed) as error:
                    self.error = getattr(error, "strerror", None) or str(error) or type(error).__name__
                    self._outgoing.clear()
        finally:
            self._sender = None

    async def _open(self) -> DatagramClient:
        source = self.network.sources.get(ip_address(self.address[0]).version)
        stream = await (asyncio_dgram.connect(self.address) if source is None else connect_from(source, self.address))
        self.stream = stream
        self._receiver = asyncio.get_running_loop().create_task(self._receive(stream))
        return stream

    async def _receive(self, stream: DatagramClient) -> None:
        """Everything that comes from the far end, and only from there: the socket is connected."""
        while True:
            try:
                data, _ = await stream.recv()
            except asyncio_dgram.TransportClosed:
                return
            except OSError as error:
                self.error = str(error.strerror)
                continue
            now = self.network.clock()
            found = self.exchanges.receive_data(data, now)
            if isinstance(found, Dropped):
                self.network.dropped[found.reason] = self.network.dropped.get(found.reason, 0) + 1
            else:
                self._finish(found, now)
                if self.queue or not len(self.exchanges):
                    self.pump_soon()


async def connect_from(source: str, address: tuple[str, int]) -> DatagramClient:
    """asyncio_dgram.connect() with an address of our own: NASes take requests only from servers that they know."""
    received: Any = asyncio.Queue()
    errors: Any = asyncio.Queue()
    drained = asyncio.Event()
    transport: Any
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: Protocol(received, errors, drained), local_addr=(source, 0), remote_addr=address
    )
    return DatagramClient(transport, received, errors, drained)


def sources_of(listen: Sequence[str]) -> dict[int, str]:
    """By IP version: the one address listened on, where it is one and no wildcard."""
    addresses = [ip_address(text) for text in listen]
    result = {}
    for version in (4, 6):
        own = [address for address in addresses if address.version == version]
        if len(own) == 1 and not own[0].is_unspecified:
            result[version] = str(own[0])
    return result


def facts_of(session: SessionRecord) -> Iterator[tuple[str, bytes]]:
    """What may name a session, as whole attributes with the octets that the NAS sent."""
    if session.key:
        yield "Acct-Session-Id", attribute(44, session.key)
    if session.user_name:
        yield "User-Name", attribute(1, session.user_name)
    if session.framed_ip is not None:
        yield "Framed-IP-Address", attribute(8, session.framed_ip)
        text = f"S{ip_address(session.framed_ip)}".encode()
        yield "Cisco-Account-Info", vendor_attribute(CISCO, CISCO_ACCOUNT_INFO, text)
    if session.calling_station:
        yield "Calling-Station-Id", attribute(31, session.calling_station)
    if session.nas_port_id:
        yield "NAS-Port-Id", attribute(87, session.nas_port_id)


def end_of(service: ServiceRecord) -> float:
    """When time alone ends a service: its expiry and grace are over."""
    expires_at = epoch(service.body.expires_at)
    return NEVER if expires_at is None else max(expires_at, epoch(service.body.grace_until) or 0.0)


def is_unambiguous(session: SessionRecord, keys: dict[str, bytes]) -> bool:
    """Whether no other live session of the service at this NAS would answer to the keys: it may have come back."""
    if session.service is None or session.service.live is None:
        return False
    for other in session.service.live.sessions:
        if other is not session and other.nas is session.nas and other.state == ACTIVE:
            facts = dict(facts_of(other))
            if all(facts.get(name, octets) == octets for name, octets in keys.items()):
                return False
    return True


def packed(address: str) -> bytes:
    """Octets of an address; b"" for what is none."""
    try:
        return ip_address(address).packed
    except ValueError:
        return b""
