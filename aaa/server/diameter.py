"""The Diameter node as sockets see it: listeners, dialled peers, timers, and batches to the applications.

What one read brings is one batch: its requests go to their application together, and their answers leave together when
the journal's group is durable. Knows sockets and machines; what a request means is the applications' (aaa.mapping).
"""

from __future__ import annotations

import asyncio
import errno
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from ipaddress import ip_address
from typing import Final, Protocol, cast

from msgspec.structs import replace

from aaa.config import Config
from aaa.config import schema as diameter_config
from aaa.config.mobile import ANY_HOST
from aaa.config.schema import Peer as PeerSettings
from aaa.diameter import codes
from aaa.diameter.answers import local_identity, refused
from aaa.diameter.capabilities import Refusal
from aaa.diameter.codes import DisconnectCause, ResultCode
from aaa.diameter.events import (
    Answer,
    Closed,
    Connect,
    Event,
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
from aaa.diameter.overload import FEATURES
from aaa.diameter.peer import Connection, Peer
from aaa.diameter.routing import Destination, Routes, Way, choose
from aaa.diameter.settings import Remote
from aaa.diameter.states import State
from aaa.dictionary.diameter import Application as ApplicationId
from aaa.limits import DIAMETER_CER_TIMEOUT_S, DIAMETER_HANDSHAKES_MAX, DIAMETER_UNKNOWN_PER_ADDRESS_MAX
from aaa.mapping.application import Application
from aaa.server import diameter_sctp as sctp
from aaa.server.diameter_agent import DiameterAgent
from aaa.server.diameter_link import Link
from aaa.server.diameter_peers import Setup, locals_of, remote_of, routes_of
from aaa.server.diameter_sctp import SctpListener
from aaa.server.log import Log
from aaa.state import schema
from aaa.state.schema import Row
from aaa.state.store import Store
from native import diameter
from native.diameter import FLAG_ERROR, FLAG_PROXIABLE, FLAG_REQUEST, Message

STOP_LOOK_S: Final = 0.01
"""How often a stop looks whether all connections have ended."""
NO_STATE_MAINTAINED: Final = 1
S6A: Final = 16777251
NOT_FOUND: Final = (ResultCode.UNABLE_TO_DELIVER, ResultCode.TOO_BUSY)
"""Answers after which another way may do."""
Tap = Callable[[Connection, bytes, bool], None]
Done = Callable[[Message | None, str], None]


class Context(Protocol):
    """What a request of ours is sent with: Peer.send_request()'s `context`."""

    def answered(self, event: Answer) -> None: ...

    def unanswered(self, event: Unanswered) -> None: ...


class Diameter:
    """All Diameter identities of this server."""

    def __init__(self, config: Config, setup: Setup, store: Store, log: Log) -> None:
        self.config = config
        self.setup = setup
        self.dictionary = setup.dictionary
        self.store = store
        self.journal = store.journal
        self.log = log
        self.applications: dict[int, Application] = {}
        """By Application-Id: who answers."""
        self.follow: Callable[[float], None] = lambda at: None
        """Called after a batch, before its journal group closes: what it changed is followed up. at: epoch seconds."""
        self.on_opened: Callable[[Peer], None] | None = None
        self.on_restarted: Callable[[Peer], None] | None = None
        self.on_closed: Callable[[Peer], None] | None = None
        self.unsent_answers = 0
        """Answers whose connection was gone."""
        self.links: set[Link] = set()
        self.nodes: list[Node] = []
        self.settings: dict[Node, dict[str, PeerSettings]] = {}
        """The [[peer]] entries of a node, by Origin-Host in lower case."""
        self.templates: dict[Node, dict[str, PeerSettings]] = {}
        """Those whose host is "*", by realm in lower case."""
        self.routes: dict[Node, Routes] = {}
        self.loop: asyncio.AbstractEventLoop
        self._listeners: list[asyncio.Server | SctpListener] = []
        self._dials: dict[Peer, asyncio.Task[None]] = {}
        self._opened: set[Peer] = set()
        self._leaving: dict[Peer, Node] = {}
        """Peers that are configured no more, until they are closed."""
        self._unflushed: set[Node] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._stopping = False
        if config.diameter.origin_host:
            at = time.time()
            for local in locals_of(config, self.dictionary, self.origin_state_id(at)):
                node = Node(local, (), random.random, at, partial(random.getrandbits, 32))
                self.nodes.append(node)
                for remote in self._configured(node):
                    node.add(remote)
        self.agent = DiameterAgent(self, time.time())
        """Who looks at requests before the applications, and counts."""

    def origin_state_id(self, at: float) -> int:
        """Constant while sessions are kept: over restarts too, until a backup was restored (RFC 6733 §8.16)."""
        with closing(schema.connect(self.config.store.path)) as db:
            kept = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('origin_state_id', 'restored_at')"))
        restored_at = int(float(kept.get("restored_at", 0)))
        number = int(kept.get("origin_state_id", 0))
        if number and number >= restored_at:
            return number
        number = max(int(at), restored_at)
        self.journal.append(Row.META, ("origin_state_id", str(number)))
        return number

    # Peers as configured

    def _configured(self, node: Node) -> list[Remote]:
        """Take the entries that are a node's: its routes, its templates, and the peers to be."""
        own = node.local.origin_host.lower()
        entries = [peer for peer in self.config.peer if peer.identity.lower() == own]
        self.settings[node] = {peer.origin_host.lower(): peer for peer in entries if peer.origin_host != ANY_HOST}
        self.templates[node] = {peer.origin_realm.lower(): peer for peer in entries if peer.origin_host == ANY_HOST}
        self.routes[node] = routes_of(self.config, node.local, self.dictionary)
        remotes = [remote_of(peer, self.config, self.setup) for peer in entries]
        node.templates = tuple(remote for remote in remotes if remote.origin_host == ANY_HOST)
        return [remote for remote in remotes if remote.origin_host != ANY_HOST]

    @property
    def tap(self) -> Tap | None:
        """Is shown every message: where, its octets, and whether it was received; None: nobody looks on."""
        return self.nodes[0].tap if self.nodes else None

    @tap.setter
    def tap(self, tap: Tap | None) -> None:
        for node in self.nodes:
            node.tap = tap

    def settings_of(self, node: Node, peer: Peer) -> PeerSettings:
        """The [[peer]] entry that a peer is here by."""
        remote = peer.remote
        found = self.settings[node].get(remote.origin_host.lower())
        return found or self.templates[node][remote.origin_realm.lower()]

    def reconfigure(self, config: Config, setup: Setup) -> None:
        """Take other peers, routes and certificates. Who is configured no more is told so; a peer whose address,
        realm, applications, security or way of connecting has changed connects again; the others stay as they are."""
        before = {node: self.settings[node] for node in self.nodes}
        self.config, self.setup = config, setup
        now = self.now()
        for node in self.nodes:
            wanted = {remote.origin_host.lower(): remote for remote in self._configured(node)}
            added = [remote for key, remote in wanted.items() if key not in node.peers]
            for key, peer in list(node.peers.items()):
                remote = wanted.get(key) or (node.template_of(peer.remote) if key in node.learned else None)
                dialled = self.settings[node].get(key), before[node].get(key)
                if key in wanted:
                    node.learned.discard(key)
                if remote is None:
                    self._leave(node, peer, DisconnectCause.DO_NOT_WANT_TO_TALK_TO_YOU, now)
                elif _lasting(remote) == _lasting(peer.remote) and _endpoint(dialled[0]) == _endpoint(dialled[1]):
                    peer.reconfigure(remote)
                else:
                    self._leave(node, peer, DisconnectCause.REBOOTING, now)
                    if key in wanted:
                        added.append(remote)
            for remote in added:
                peer = node.add(remote)
                if remote.connect:
                    self._settle_peer(node, peer, peer.start(now))
            self._flush(node)
        self.agent.reconfigure()

    def _leave(self, node: Node, peer: Peer, cause: DisconnectCause, now: float) -> None:
        self._leaving[peer] = node
        events = node.remove(peer.remote.origin_host, now, cause)
        if peer.state is State.CLOSED:
            del self._leaving[peer]
        self._settle_peer(node, peer, events)

    # Life

    async def start(self) -> list[tuple[str, str, int]]:
        """Listen and dial; what is listened on: "tcp", "tls" or "sctp", address, port. Raises OSError when one of them
        cannot be had."""
        self.loop = asyncio.get_running_loop()
        settings = self.config.diameter
        ways: list[diameter_config.Diameter | diameter_config.Identity] = [settings, *settings.identity]
        bound: list[tuple[str, str, int]] = []
        for node, way in zip(self.nodes, ways, strict=False):
            listen = way.listen or settings.listen
            found = len(bound)
            for address in listen:
                try:
                    if way.port or way is settings:
                        bound.append(await self._listen(node, "tcp", address, way.port))
                        bound += await self._listen_sctp(node, address, bound[-1][2])
                    if way.tls_port:
                        bound.append(await self._listen(node, "tls", address, way.tls_port))
                except OSError as error:
                    if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                        raise
                    message = f"this machine has no address {address}; not listening there"
                    self.log.warning("server.no_address", message)
            if (way.port or way.tls_port or way is settings) and listen and len(bound) == found:
                raise OSError(
                    errno.EADDRNOTAVAIL, f"none of diameter.listen {list(listen)} is an address of this machine"
                )
        now = self.now()
        for node in self.nodes:
            for peer in list(node.peers.values()):
                if peer.remote.connect:
                    self._settle_peer(node, peer, peer.start(now))
        if self.nodes:
            self.agent.start()
        return bound

    async def _listen(self, node: Node, kind: str, address: str, port: int) -> tuple[str, str, int]:
        ip = ip_address(address)
        sock = None
        try:
            sock = socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if ip.version == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.setblocking(False)
            sock.bind((address, port))
            port = sock.getsockname()[1]
            make = partial(Link, self, node, secure=kind == "tls")
            self._listeners.append(await self.loop.create_server(make, sock=sock))
        except OSError as error:
            if sock is not None:
                sock.close()
            raise OSError(error.errno, f"cannot listen on {address} port {port}: {error.strerror}") from None
        return kind, address, port

    async def _listen_sctp(self, node: Node, address: str, port: int) -> list[tuple[str, str, int]]:
        """Where the kernel has it, and it is not switched off."""
        wanted = self.config.diameter.sctp
        if wanted == "off":
            return []
        try:
            self._listeners.append(await sctp.listen(address, port, partial(Link, self, node)))
        except OSError as error:
            missing = error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
            text = sctp.MISSING if missing else error.strerror
            if wanted == "on" or not missing:
                raise OSError(error.errno, f"cannot listen on {address} port {port} by SCTP: {text}") from None
            self.log.info("diameter.no_sctp", f"{text}; Diameter is served by TCP alone", repeat=("no_sctp",))
            return []
        return [("sctp", address, port)]

    async def stop(self, timeout_s: float) -> None:
        """Take no more connections, tell every peer that we come back, and wait for what is in work; then end all."""
        self._stopping = True
        self.agent.stop()
        for listener in self._listeners:
            listener.close()
        for task in self._dials.values():
            task.cancel()
        if self.links:
            now = self.now()
            for node in self.nodes:
                self._note_all(node, node.stop(now))
                self._flush(node)
            self.journal.flush()
            deadline = now + timeout_s
            # What is left ends by their DPA, by our deadline for it, or by this one.
            while self.links and self.now() < deadline:
                await asyncio.sleep(STOP_LOOK_S)
        for link in list(self.links):
            link.abort()
        if self._timer is not None:
            self._timer.cancel()

    def now(self) -> float:
        return self.loop.time()

    def knows(self, origin_host: str) -> bool:
        """Whether a client is a peer itself, and not somewhere behind one. origin_host: in lower case."""
        return any(origin_host in node.peers for node in self.nodes)

    # What the links tell

    def settle(self, node: Node, connection: Connection, events: list[Event]) -> None:
        """Carry out what a machine wants after a call about one connection."""
        if events:
            requests = [event for event in events if type(event) is Request]
            if len(requests) != len(events):
                self._note_all(node, [event for event in events if type(event) is not Request])
            if requests:
                self._serve(node, requests)
        self._flush(node)
        peer = connection.peer
        self._expect((connection if peer is None else peer).next_deadline())

    def _settle_peer(self, node: Node, peer: Peer, events: list[Event]) -> None:
        self._note_all(node, events)
        self._flush(node)
        self._expect(peer.next_deadline())

    def _flush(self, node: Node) -> None:
        """Send what the machines have written, a connection at a time."""
        for connection in node.ready():
            link = connection.link
            if link is not None and not link.flush():
                peer = connection.peer
                events: list[Event] = []
                if peer is not None:
                    peer.fail(connection, Reason.UNSENT, "", self.now(), events)
                link.abort()
                self._note_all(node, events)

    def flush_soon(self, node: Node, peer: Peer) -> None:
        """A request was given to a peer outside of any batch: it leaves with others that come by then."""
        self._expect(peer.next_deadline())
        if not self._unflushed:
            self.loop.call_soon(self._flush_late)
        self._unflushed.add(node)

    def _flush_late(self) -> None:
        nodes, self._unflushed = self._unflushed, set()
        for node in nodes:
            self._flush(node)

    # Requests

    def _serve(self, node: Node, requests: list[Request]) -> None:
        """Requests of one connection: to the applications, and their answers on the way."""
        received_ns = time.monotonic_ns()
        requests = self.agent.admit(requests, self.now())
        if not requests:
            return
        at = time.time()
        first = requests[0].message.application
        if all(request.message.application == first for request in requests):
            groups = {first: requests}
        else:
            groups = {}
            for request in requests:
                groups.setdefault(request.message.application, []).append(request)
        for number, group in groups.items():
            answers = self._answers(node, number, group, at)
            self.journal.when_durable(partial(self._send_answers, node, group, answers, received_ns))
        if self.journal.before_flush is None:
            # What other connections bring in this turn goes into the same group.
            self.journal.before_flush = self._follow
            self.loop.call_soon(self.journal.flush)

    def _follow(self) -> None:
        self.follow(time.time())

    def _answers(self, node: Node, number: int, requests: list[Request], at: float) -> list[bytes]:
        application = self.applications.get(number)
        if application is None:
            refusal = Refusal(ResultCode.APPLICATION_UNSUPPORTED)
        else:
            try:
                return application.receive(requests, at)
            except Exception as error:
                if len(requests) > 1:
                    # A defect in one costs no other: what was taken of them already is answered as a repetition is.
                    return [self._answers(node, number, [request], at)[0] for request in requests]
                self.log.exception("diameter.failed", error, application=number)
                refusal = Refusal(ResultCode.UNABLE_TO_COMPLY)
        return [refused(node.local, request.message, refusal) for request in requests]

    def _send_answers(self, node: Node, requests: list[Request], answers: list[bytes], received_ns: int) -> None:
        """The group that they caused is durable."""
        self.agent.answered(requests, answers, time.monotonic_ns() - received_ns)
        peer = requests[0].peer
        for request, octets in zip(requests, answers, strict=True):
            if not peer.send_answer(request, octets):
                self.unsent_answers += 1
        self._flush(node)

    # Requests of ours

    def send(
        self,
        host: str,
        realm: str,
        application: int,
        command: int,
        session_id: bytes,
        avps: Sequence[bytes],
        done: Done,
        at: float,
        via: str = "",
    ) -> bool:
        """Send a request to a host: directly, by the peer that it was heard over, or by the routes.

        session_id, host and realm: for Session-Id and Destination-*; Origin-*, the application's id and S6a's
        Auth-Session-State are added here, before avps. done: called once with the answer, or with None and the reason
        why there is none; never from within this call. via: Origin-Host of that peer; "": none. False, and done is
        not called: nobody takes it now, or the host asked for less.
        """
        if self.agent.throttles.holds(host, self.now()):
            return False
        for node in self._nodes_for(host):
            errand = Errand(self, node, Destination(host.lower(), realm.lower(), application, ""), command, via, done)
            octets = self._request(node, application, command, session_id, host, realm, avps)
            if errand.send(octets, False):
                return True
        return False

    def _nodes_for(self, host: str) -> Iterable[Node]:
        """Those to which the host is connected come first."""
        key = host.lower()
        return sorted(self.nodes, key=lambda node: key not in node.peers or not node.peers[key].is_open)

    def _request(
        self,
        node: Node,
        application: int,
        command: int,
        session_id: bytes,
        host: str,
        realm: str,
        avps: Sequence[bytes],
    ) -> bytes:
        parts = [diameter.avp(codes.SESSION_ID, session_id)]
        parts += application_avps(self._application_id(application))
        parts += local_identity(node.local)
        parts.append(diameter.avp(codes.DESTINATION_HOST, host.encode()))
        parts.append(diameter.avp(codes.DESTINATION_REALM, realm.encode()))
        parts += avps
        parts.append(FEATURES)
        return diameter.message(FLAG_REQUEST | FLAG_PROXIABLE, command, application, 0, node.next_end_to_end(), parts)

    def _application_id(self, number: int) -> ApplicationId:
        return next(one for one in self.dictionary.applications.values() if one.number == number)

    # Events

    def _note_all(self, node: Node, events: Iterable[Event]) -> None:
        """A defect in what one event leads to costs the others, and the timer, nothing."""
        for event in events:
            try:
                self._note(node, event)
            except Exception as error:
                self.log.exception("diameter.event_failed", error, about=type(event).__name__)

    def _note(self, node: Node, event: Event) -> None:
        match event:
            case Answer(context=context):
                cast(Context, context).answered(event)
            case Unanswered(context=context):
                cast(Context, context).unanswered(event)
            case Request():
                self._serve(node, [event])
            case Connect(peer=peer):
                self._dial(node, peer)
            case StartTls(connection=connection, octets=octets):
                connection.link.start_tls(octets)
            case Opened(peer=peer, capabilities=capabilities):
                self._opened.add(peer)
                self.agent.opened(node, peer)
                self.log.info(
                    "diameter.peer_opened",
                    peer.remote.origin_host,
                    address=None if peer.connection is None else peer.connection.remote_address,
                    product=capabilities.product_name,
                    applications=sorted(capabilities.applications),
                    relay=capabilities.relay or None,
                )
                self._learn_state(peer, False)
                if self.on_opened is not None:
                    self.on_opened(peer)
            case Closed(peer=peer, reason=reason, detail=detail):
                self._closed(node, peer, reason, detail)
            case Refused(connection=connection, origin_host=origin_host, refusal=refusal):
                self.log.warning(
                    "diameter.refused",
                    refusal.text or "its CER is malformed",
                    repeat=(connection.remote_address, refusal.result),
                    peer=origin_host,
                    address=connection.remote_address,
                    result=int(refusal.result),
                    detail=refusal.detail or None,
                )
            case Usable(peer=peer, usable=usable):
                self.agent.usable(peer, usable)
            case Restarted(peer=peer):
                self._learn_state(peer, True)

    def _learn_state(self, peer: Peer, restarted: bool) -> None:
        """Whether a client has lost its sessions since it was last here (RFC 6733 §8.16).

        A peer that a template lets in does not know what it told before, and none does after a restart of ours.
        """
        host, number = peer.remote.origin_host.lower(), peer.origin_state_id
        known = self.store.state_ids.get(host)
        if not number or number == known:
            return
        self.store.state_ids[host] = number
        nas = self.store.nases.get(host)
        if nas is not None:
            self.store.touch_nas(nas)
        if restarted or (known is not None and number > known):
            self.log.warning("diameter.peer_restarted", peer.remote.origin_host)
            if self.on_restarted is not None:
                self.on_restarted(peer)

    def _closed(self, node: Node, peer: Peer, reason: Reason, detail: str) -> None:
        dial = self._dials.pop(peer, None)
        if dial is not None:
            dial.cancel()
        for link in [link for link in self.links if link.is_dialling(peer)]:
            link.abandon()
        was_open = peer in self._opened
        self.agent.closed(node, peer, reason, detail, was_open)
        self._leaving.pop(peer, None)
        node.forget_learned(peer)
        self._opened.discard(peer)
        name = peer.remote.origin_host
        if name.lower() not in self.store.nases:
            # Nothing of it could be lost.
            self.store.state_ids.pop(name.lower(), None)
        if was_open:
            self.log.info("diameter.peer_closed", name, reason=reason.value, detail=detail or None)
        else:
            self.log.info("diameter.dial_failed", name, repeat=name, reason=reason.value, detail=detail or None)
        if was_open and self.on_closed is not None:
            self.on_closed(peer)

    # Dialling

    def _dial(self, node: Node, peer: Peer) -> None:
        if self._stopping:
            return
        entry = self.settings[node][peer.remote.origin_host.lower()]
        self._dials[peer] = self.loop.create_task(self._dial_peer(node, peer, entry))

    async def _dial_peer(self, node: Node, peer: Peer, entry: PeerSettings) -> None:
        host, _, port = entry.connect.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        link = Link(self, node, peer, secure=entry.security == "tls")
        try:
            async with asyncio.timeout(DIAMETER_CER_TIMEOUT_S / 2):
                if entry.transport == "sctp":
                    [found, *_] = await self.loop.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
                    await sctp.connect(str(found[4][0]), int(port), link)
                else:
                    source = source_of(node, host)
                    await self.loop.create_connection(
                        lambda: link, host, int(port), local_addr=None if source is None else (source, 0)
                    )
        except TimeoutError:
            self.dial_failed(node, peer, "took too long")
        except OSError as error:
            missing = entry.transport == "sctp" and error.errno in (errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT)
            self.dial_failed(node, peer, sctp.MISSING if missing else error.strerror or str(error))
        finally:
            if self._dials.get(peer) is asyncio.current_task():
                del self._dials[peer]

    def dial_failed(self, node: Node, peer: Peer, detail: str) -> None:
        self._settle_peer(node, peer, peer.connect_failed(detail, self.now()))

    # TLS

    def may_shake_hands(self, link: Link) -> bool:
        """Whether one more connection may begin with TLS, while others have not finished with that."""
        others = [other for other in self.links if other is not link and other.was_accepted and other.shakes_hands]
        from_there = sum(other.remote_address == link.remote_address for other in others)
        if from_there >= DIAMETER_UNKNOWN_PER_ADDRESS_MAX:
            link.node.floods += 1
            return False
        if len(others) >= DIAMETER_HANDSHAKES_MAX:
            # Security: as in Node.accept(), whoever has been silent longest makes room.
            link.node.floods += 1
            min(others, key=lambda other: other.handshake_ends_at).abort()
        return True

    def context_for(self, node: Node, peer: Peer | None) -> ssl.SSLContext | None:
        """peer: whom we dialled; None: the connection came in. None: there is nothing to verify a certificate with."""
        contexts = self.setup.tls
        if peer is None:
            return contexts.server
        file = self.settings[node][peer.remote.origin_host.lower()].ca or self.config.tls.client_ca
        return contexts.clients.get(file or "")

    def tls_failed(self, link: Link, detail: str) -> None:
        self.log.warning(
            "diameter.tls_failed", detail, repeat=(link.remote_address, detail), address=link.remote_address
        )

    # Time

    def _expect(self, at: float | None) -> None:
        """Be woken at a deadline. One timer serves all; it moves when something is due earlier."""
        if at is not None and at < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = at
            self._timer = self.loop.call_at(at, self._expired)

    def _expired(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        now = self.now()
        for node in self.nodes:
            holders: list[Peer | Connection] = [*node.peers.values(), *node.unknown]
            holders += [peer for peer, home in self._leaving.items() if home is node]
            for holder in holders:
                due = holder.next_deadline()
                if due is not None and due <= now:
                    self._note_all(node, holder.handle_deadline(now))
                    due = holder.next_deadline()
                self._expect(due)
            self._flush(node)


class Errand:
    """A request of ours on its way: the peers that it may go by, and who waits for the answer."""

    __slots__ = ("command", "diameter", "done", "host", "node", "octets", "sent_ns", "tried", "way")

    def __init__(self, owner: Diameter, node: Node, to: Destination, command: int, via: str, done: Done) -> None:
        """to: whose host is in lower case. via: who was on the way from there; "": nobody known."""
        self.diameter = owner
        self.node = node
        self.host = to.host
        self.command = (to.application, command)
        self.done = done
        self.tried: set[str] = set()
        routes = owner.routes[node]
        # A host of our own realm, too, may be behind somebody: the default route leads there.
        by_route = peers_of(routes.find(to._replace(host=""))) or peers_of(routes.find(to._replace(host="", realm="")))
        self.way = Way(tuple(dict.fromkeys(name for name in (to.host, via.lower(), *by_route) if name)))

    def send(self, octets: bytes, again: bool) -> bool:
        """By the next peer that takes it; False when there is none."""
        self.octets = octets
        while True:
            peer = choose(self.way, self.node.peers, self.command[0], self.tried)
            if peer is None:
                return False
            self.tried.add(peer.remote.origin_host.lower())
            if peer.send_request(octets, self, self.diameter.now(), again):
                self.sent_ns = time.monotonic_ns()
                self.diameter.flush_soon(self.node, peer)
                return True

    def answered(self, event: Answer) -> None:
        message = event.message
        agent = self.diameter.agent
        agent.note_reply(event.peer, self.command, message, time.monotonic_ns() - self.sent_ns)
        agent.throttles.learn(message, self.host, self.diameter.now())
        if message.fault:
            self.done(None, Reason.PROTOCOL)
        elif (
            message.flags & FLAG_ERROR
            and message.get_unsigned32(codes.RESULT_CODE) in NOT_FOUND
            and self.send(self.octets, False)
        ):
            return
        else:
            self.done(message, "")

    def unanswered(self, event: Unanswered) -> None:
        self.diameter.agent.note_reply(event.peer, self.command, None, 0)
        if not self.send(event.octets, True):
            self.done(None, event.reason)


def source_of(node: Node, host: str) -> str | None:
    """Where a dialled connection comes from: peers often want to see the address that they have configured."""
    try:
        there = ip_address(host)
    except ValueError:
        return None
    for text in node.local.addresses:
        here = ip_address(text)
        if here.version == there.version and here.is_loopback == there.is_loopback:
            return text
    return None


def peers_of(found: Way | Refusal) -> tuple[str, ...]:
    """Those that a route names."""
    return found.peers if isinstance(found, Way) else ()


def application_avps(application: ApplicationId) -> list[bytes]:
    """How a request names its application, and that no state is kept where its standard wants that said."""
    number = diameter.unsigned32_avp(codes.AUTH_APPLICATION_ID, application.number)
    if application.number != S6A:
        return [number]
    vendor = diameter.unsigned32_avp(codes.VENDOR_ID, application.vendor)
    return [
        diameter.grouped_avp(codes.VENDOR_SPECIFIC_APPLICATION_ID, [vendor, number]),
        diameter.integer32_avp(codes.AUTH_SESSION_STATE, NO_STATE_MAINTAINED),
    ]


def _lasting(remote: Remote) -> Remote:
    """What a connection was agreed on by; the rest can change under it."""
    return replace(remote, watchdog_s=0.0, reconnect_s=0.0, answer_timeout_s=0.0, requests_max=0, authorities=None)


def _endpoint(entry: PeerSettings | None) -> tuple[str, str]:
    """Where and how a peer is dialled; empty where it is not."""
    return (entry.connect, entry.transport) if entry is not None and entry.connect else ("", "")
