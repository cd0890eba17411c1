"""The server: wires the rooms together, and starts, reloads and stops them. The one composition root."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import msgspec
import uvloop
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec.structs import replace

from aaa import config as configuration
from aaa.config import Config
from aaa.credential.identity import NameRules
from aaa.diameter.peer import Peer
from aaa.engine.account import Accountant
from aaa.engine.addresses import Addresses
from aaa.engine.authorize import AccessSettings, Authorizer
from aaa.engine.automate import Automator
from aaa.engine.decisions import Decisions
from aaa.engine.enforce import Enforcer, EnforceSettings
from aaa.engine.engine import Engine
from aaa.engine.liveness import Liveness
from aaa.engine.presence import Presence
from aaa.engine.retention import Retention
from aaa.engine.timers import Timers
from aaa.errors import AaaError, ConfigError, StoreError
from aaa.limits import NASES_COUNT_MAX, SESSION_KEPT_AFTER_END_S, UDP_BATCH_COUNT_MAX
from aaa.mapping import families
from aaa.mapping.access import AccessMapping
from aaa.mapping.accounting import AccountingMapping
from aaa.model import events
from aaa.model.access import Attempt, Cause, Outcome
from aaa.model.enforcement import Enforcement, Reply
from aaa.model.events import SERVER
from aaa.model.records import ACTIVE, NasRecord
from aaa.radius.admission import ACCESS_REQUEST, ACCOUNTING_REQUEST, Admission, Request
from aaa.radius.clients import Client, Clients, format_address
from aaa.server import systemd, views
from aaa.server.admin import Admin
from aaa.server.admin_sync import Sync
from aaa.server.applications import Applications
from aaa.server.diameter import Diameter
from aaa.server.diameter_resets import ResetTeller
from aaa.server.dynamic import Dynamic
from aaa.server.listener import AccessPort, AccountingPort, Port, Statistics
from aaa.server.log import Level, Log, LogHandler
from aaa.server.networks import DiameterNetwork, Networks
from aaa.server.policies import adopt_plans
from aaa.server.prepare import Prepared, prepare
from aaa.server.slow import SlowHashes
from aaa.server.status import StatusAttributes
from aaa.server.store_link import StoreLink
from aaa.state import audit, lock, numbers, schema
from aaa.state.load import load
from aaa.state.mobile import restart_client
from aaa.state.recent import replay
from aaa.state.schema import Row
from aaa.state.seal import Sealer
from aaa.state.store import Store
from billing_hooks.supervisor import HttpProcess, make_settings
from native.datagram import BatchSocket
from native.duplicates import DuplicateCache
from native.radius import Packet
from native.scheduling import request_slice
from native.token import TokenKey
from policy.model import Decision
from policy.rules import Policy

VERSION = "0.1.0"
REJECT_TICK_S = 0.02
"""How exactly a delayed reject keeps its time."""
PACKET_SLICE_NS = 100_000
"""The packet loop's time slice: the shortest that the kernel grants."""
ENGINE_TICK_S = 0.02
"""How exactly a decision ends, and how often a NAS is asked whether it takes more."""
GC_THRESHOLDS = (1_000, 5, 1_000_000)
"""Young objects at a collection, young collections at a middle one: each stays near 1 ms. The oldest are left alone."""
SWITCH_INTERVAL_S = 0.0005
"""How long another Python thread may hold the packet loop."""
TICK_S = 1.0
POSTURE_INTERVAL_S = 60.0
"""Between two writings of what was learned; a crash forgets as much."""


def access_settings(config: Config) -> AccessSettings:
    """The engine's view of [radius]."""
    radius = config.radius
    return AccessSettings(
        password_failures=radius.password_failures,
        nas_password_failures=radius.nas_password_failures,
        password_window_s=radius.password_window,
        lockout_s=radius.lockout,
        interim_interval_s=int(radius.interim_interval),
        interim_jitter=radius.interim_jitter,
        missed_interims=radius.missed_interims,
        session_silence_s=radius.session_silence,
    )


def retention_spans(kept: configuration.Store) -> tuple[float, float, float, float]:
    """How long history is kept, as Retention takes it."""
    return kept.retention_events, kept.retention_leases, kept.retention_cdrs, kept.retention_audit


class Server:
    """One running server."""

    def __init__(self, prepared: Prepared) -> None:
        """Loads the store. Raises AaaError or OSError when something needed cannot be had."""
        config = prepared.config
        self.version = VERSION
        self.started_at = time.time()
        self.prepared = prepared
        Path(config.server.data_dir).mkdir(parents=True, exist_ok=True)
        self.log = make_log(config)
        assert config.store.key is not None
        key = config.store.key.reveal()
        self.store = Store(Sealer(key))
        self.store_lock = lock.take(config.store.path)
        self.store.names = name_rules(config)
        self.store.interim_interval_s = int(config.radius.interim_interval)
        # Cycles of what is loaded turn in the policy's time zone.
        self.store.policy, self.store.zone = prepared.policy, prepared.policy.zone
        self.load_seconds = load_store(self.store, config.store.path)
        self.clients = Clients(config.nas, config.radius.unknown_sources)
        self.postures = b""
        """What was last written of the sources' Message-Authenticators."""
        self.load_postures()
        adopt_plans(self.store, prepared.policy, self.started_at)
        self.decisions = Decisions(self.store, prepared.policy)
        self.addresses = Addresses(self.store, config.pool)
        settings = access_settings(config)
        self.authorizer = Authorizer(self.store, self.decisions, self.addresses, settings)
        self.accountant = Accountant(self.store, self.addresses)
        self.token_key = TokenKey(derive(key, b"aaa class v1"))
        self.access_mapping = AccessMapping(self.render, self.token_key)
        self.accounting_mapping = AccountingMapping(self.token_key)
        self.access_statistics = Statistics()
        self.accounting_statistics = Statistics()
        self.hashes = SlowHashes(config.server.hash_workers, config.server.hash_queue, config.radius.response_budget)
        self.network = Dynamic(self.clients, prepared.options, prepared.dictionary, config.radius.listen)
        self.applications = Applications(self.store, self.decisions, config)
        self.mobile_network = DiameterNetwork(self.applications.by_protocol)
        networks = Networks(self.network, self.mobile_network)
        self.diameter = Diameter(config, prepared.diameter, self.store, self.log)
        self.enforcer = Enforcer(
            self.store, self.decisions, self.addresses, networks, EnforceSettings(config.policy.escalate)
        )
        self.addresses.note = Presence(self.store, self.decisions, self.enforcer).note
        self.automator = Automator(self.store, self.decisions, self.enforcer)
        self.timers = Timers(self.store, self.decisions, self.automator)
        self.engine = self.accountant.engine = Engine(
            self.store, self.addresses, self.enforcer, self.automator, self.timers
        )
        self.enforcer.wake = self.engine.again = self.settle_soon
        self.enforcer.note_decided = self.timers.note_decided
        self.enforcer.note_reply = self.note_reply
        self.settling = False
        """settle() will be called when the loop has looked at its sockets."""
        self.liveness = Liveness(
            self.store, self.addresses, settings, config.radius.nas_silence, self.note_event, SESSION_KEPT_AFTER_END_S
        )
        kept = config.store
        self.liveness.probe = self.enforcer.reauthorize
        self.liveness.listens_since = self.started_at
        self.retention = Retention(self.store, *retention_spans(kept))
        self.store.services_max = config.server.services_max
        self.ports: list[Port] = []
        self.status_attributes = StatusAttributes(self)
        self.sync = Sync(self)
        self.admin = Admin(self)
        self.link: StoreLink | None = None
        self.http: HttpProcess | None = None
        self.stopping = asyncio.Event()
        self.reload_lock = asyncio.Lock()
        self.reloading: asyncio.Task[None] | None = None
        self.exit_code = 0
        self.bind_nases()
        self.enforcer.resume()
        if config.diameter.origin_host:
            self.mobile_network.diameter = self.diameter
        self.diameter.applications = self.applications.by_number
        self.resets = ResetTeller(self.store, config.store.path, self.diameter, self.applications.s6a)
        self.diameter.follow = self.follow
        self.diameter.on_opened = self.note_peer_opened
        self.diameter.on_restarted = self.note_peer_restarted

    # What is learned of sources outlives a restart

    def load_postures(self) -> None:
        """Take back how sources were seen to sign their requests."""
        with closing(schema.connect(self.prepared.config.store.path)) as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'postures'").fetchone()
        if row is not None:
            rows = msgspec.json.decode(row[0], type=list[tuple[bytes, str, int, int, float, float, bool]])
            self.clients.load(rows)
            self.postures = row[0].encode()

    def save_postures(self) -> None:
        """Owe them to the journal when they have changed; called about once a minute."""
        rows = msgspec.json.encode(self.clients.dump())
        if rows != self.postures:
            self.postures = rows
            self.store.journal.append(Row.META, ("postures", rows.decode()))

    # Rendering and NAS records

    def render(self, decision: Decision, nas_name: str) -> bytes:
        """Reply attributes of a decision for a [[nas]]."""
        return families.render(decision, self.prepared.options[nas_name], self.prepared.dictionary)

    def show_attributes(self, attributes: bytes) -> list[tuple[str, str]]:
        """Attributes as names and values."""
        packet = Packet.parse(bytes((2, 0)) + (20 + len(attributes)).to_bytes(2, "big") + bytes(16) + attributes)
        return self.prepared.dictionary.decode_packet(packet)

    def nas_of(self, client: Client, address: bytes) -> NasRecord | None:
        """The record of the NAS behind a source address; None where there are too many to learn of a new one."""
        text = format_address(address)
        networks = client.config.address
        single = len(networks) == 1 and "/" not in networks[0]
        name = client.name if single else f"{client.name}/{text}"
        if not single and name not in self.store.nases and len(self.store.nases) >= NASES_COUNT_MAX:
            return None
        nas = self.store.nas(name, client.name)
        nas.address = text
        configure_nas(self.store, nas, client, self.prepared)
        return nas

    def bind_nases(self) -> None:
        """Give the loaded NAS records their configuration."""
        for nas in self.store.nases.values():
            if nas.diameter:
                continue
            client = self.clients.by_name.get(nas.client_name)
            if client is not None:
                configure_nas(self.store, nas, client, self.prepared)
                if not nas.address:
                    single = client.config.address[0]
                    nas.address = nas.name.partition("/")[2] or single

    # Life

    async def run(self) -> int:
        """Serve until told to stop; the process's exit code."""
        loop = asyncio.get_running_loop()
        config = self.prepared.config
        self.link = StoreLink(self.store.journal, config.store.path, self.on_writer_lost, self.store_lock.fileno())
        await self.link.start()
        self.open_ports(config)
        diameter = await self.diameter.start()
        self.http = HttpProcess(self.admin.handle, make_settings(config, VERSION), config.api.listen)
        self.http.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self.on_reload)
        settle_memory()
        # Logins wait for nobody's computing: not for the writer's, the HTTP process's, or a slow hash's.
        request_slice(PACKET_SLICE_NS)
        for port in self.ports:
            loop.add_reader(port.socket.fd, partial(self.on_readable, port))
        timers = [
            loop.create_task(self.every(REJECT_TICK_S, self.release_rejects)),
            loop.create_task(self.every(ENGINE_TICK_S, self.tick_engine)),
            loop.create_task(self.every(TICK_S, self.tick)),
            loop.create_task(self.every(POSTURE_INTERVAL_S, self.save_postures)),
        ]
        interval = systemd.watchdog_interval_s()
        if interval is not None:
            timers.append(loop.create_task(self.every(interval, partial(systemd.notify, "WATCHDOG=1"))))
        systemd.notify("READY=1")
        self.log.info(
            "server.started",
            f"serving {len(self.store.services)} services, {len(self.clients)} NASes",
            auth=[port.socket.address() for port in self.ports if isinstance(port, AccessPort)],
            acct=[port.socket.address() for port in self.ports if isinstance(port, AccountingPort)],
            diameter=diameter or None,
            api=self.http.address,
            load_seconds=round(self.load_seconds, 3),
        )
        await self.stopping.wait()
        for timer in timers:
            timer.cancel()
        await self.stop()
        return self.exit_code

    def open_ports(self, config: Config) -> None:
        """Bind every address; one that this machine does not have is skipped with a warning while another works."""
        radius = config.radius
        duplicates = DuplicateCache(radius.duplicate_entries, radius.duplicate_lifetime)
        for address in radius.listen:
            try:
                auth = bind(address, radius.auth_port, config)
                acct = bind(address, radius.acct_port, config)
            except OSError as error:
                if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise OSError(error.errno, f"cannot listen on {address}: {error.strerror}") from None
                self.log.warning("server.no_address", f"this machine has no address {address}; not listening there")
                continue
            budget = radius.response_budget
            self.ports.append(
                AccessPort(
                    auth,
                    Admission(self.clients, duplicates, ACCESS_REQUEST, budget, self.nas_of),
                    self.access_statistics,
                    self.status_attributes,
                    self.access_mapping,
                    self.authorizer,
                    self.store.journal,
                    radius.reject_delay,
                    self.hashes.check,
                    self.note_reject,
                )
            )
            self.ports.append(
                AccountingPort(
                    acct,
                    Admission(self.clients, duplicates, ACCOUNTING_REQUEST, budget, self.nas_of),
                    self.accounting_statistics,
                    self.status_attributes,
                    self.accounting_mapping,
                    self.accountant,
                    self.store.journal,
                )
            )
        if not self.ports:
            raise OSError(
                errno.EADDRNOTAVAIL, f"none of radius.listen {list(radius.listen)} is an address of this machine"
            )

    def on_readable(self, port: Port) -> None:
        """One batch; afterwards what it owes to the disk is sent, and displaced sessions are disconnected."""
        journal = self.store.journal
        if journal.congested and isinstance(port, AccountingPort):
            # The kernel's buffer holds what comes meanwhile; what waits too long there is dropped as too late.
            loop = asyncio.get_running_loop()
            loop.remove_reader(port.socket.fd)
            journal.when_durable(partial(self.read_again, port))
            return
        port.on_readable()
        journal.flush()
        if self.authorizer.displaced:
            self.disconnect_displaced()

    def read_again(self, port: Port) -> None:
        """The disk has caught up; unless the server stops."""
        if not self.stopping.is_set():
            asyncio.get_running_loop().add_reader(port.socket.fd, partial(self.on_readable, port))

    def follow(self, at: float) -> None:
        """What a batch of Diameter requests has changed is followed up in its journal group."""
        if self.store.opened or self.store.ended:
            self.addresses.settle(at)
        if not self.engine.idle:
            self.engine.settle(at)

    def note_peer_opened(self, peer: Peer) -> None:
        """What waits for a client goes out when it, or somebody on the way to it, is connected again."""
        name = peer.remote.origin_host.lower()
        for nas in list(self.enforcer.silent):
            if nas.diameter and (nas.name == name or not self.diameter.knows(nas.name)):
                self.enforcer.reachable(nas)
        self.resets.note_opened(peer)

    def note_peer_restarted(self, peer: Peer) -> None:
        """It has lost its sessions."""
        nas = self.store.nases.get(peer.remote.origin_host.lower())
        if nas is not None:
            restart_client(self.store, nas, time.time())
            asyncio.get_running_loop().call_soon(self.look_on)

    def settle_soon(self) -> None:
        """The engine has something to do: after the packets that wait."""
        if not self.settling and not self.stopping.is_set():
            self.settling = True
            asyncio.get_running_loop().call_soon(self.settle)

    def settle(self) -> None:
        """One slice of what follows from changes."""
        self.settling = False
        self.engine.settle(time.time())
        self.store.journal.flush()

    def tick_engine(self) -> None:
        """What time brings to sessions: decisions and holds that end, retries, what a NAS takes now."""
        self.engine.tick(time.time())
        self.store.journal.flush()

    def disconnect_displaced(self) -> None:
        """Make the NAS end the sessions that a login has displaced."""
        displaced = self.authorizer.displaced
        self.authorizer.displaced = []
        at = time.time()
        for session in displaced:
            if session.state == ACTIVE:
                self.enforcer.disconnect(session, "displaced by a login at the limit", at, SERVER)
        self.settle_soon()

    async def every(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` again and again; a failure costs one call, and not all that come after it."""
        while True:
            await asyncio.sleep(seconds)
            try:
                action()
            except Exception as error:
                self.log.exception("timer.failed", error, action=getattr(action, "__name__", repr(action)))

    def release_rejects(self) -> None:
        """Delayed rejects whose time has come."""
        now = time.monotonic()
        for port in self.ports:
            if isinstance(port, AccessPort):
                port.release_rejects(now)

    def tick(self) -> None:
        """Once a second: learned postures, silent sessions and NASes, the log's repeated lines."""
        at = time.time()
        for port in self.ports:
            port.admission.learn(at)
        if self.authorizer.displaced:
            self.disconnect_displaced()
        live = sum(nas.live_count for nas in self.store.nases.values())
        self.authorizer.is_full = live >= self.prepared.config.server.sessions_max
        if self.liveness.tick(at):
            asyncio.get_running_loop().call_soon(self.look_on)
        self.retention.tick(at)
        self.expire_numbers()
        self.store.journal.flush()
        self.log.tick()

    def look_on(self) -> None:
        """The next part of a slice of sessions, after the packets that wait."""
        if self.liveness.go_on(time.time()) and not self.stopping.is_set():
            asyncio.get_running_loop().call_soon(self.look_on)
        self.store.journal.flush()

    def expire_numbers(self) -> None:
        """Reservations and quarantines whose time is over, a slice between packet batches."""
        if numbers.expire(self.store, time.time()):
            asyncio.get_running_loop().call_soon(self.expire_numbers)
            self.store.journal.flush()

    def on_writer_lost(self) -> None:
        """Commits fail for good and memory is ahead of the disk: answer nothing more, let a restart reload."""
        self.log.error(
            "store.writer_lost", "the store cannot be written; stopping so that a restart reloads what is durable"
        )
        self.exit_code = 1
        self.stopping.set()

    async def stop(self) -> None:
        """Take no more packets, answer what is in work, make everything durable."""
        systemd.notify("STOPPING=1")
        loop = asyncio.get_running_loop()
        for port in self.ports:
            loop.remove_reader(port.socket.fd)
        self.network.close()
        await self.diameter.stop(self.prepared.config.server.stop_timeout if self.exit_code == 0 else 0.0)
        if self.http is not None:
            await self.http.stop(drain=self.exit_code == 0)
        if self.link is not None:
            if self.exit_code == 0:
                await self.hashes.drain(self.prepared.config.radius.response_budget)
                self.hashes.close()
                for port in self.ports:
                    if isinstance(port, AccessPort):
                        port.release_rejects(float("inf"))
                self.save_postures()
                if not await self.link.drain(self.prepared.config.server.stop_timeout):
                    self.log.error(
                        "store.drain_failed", "not everything could be written in time; it was not acknowledged"
                    )
            await self.link.stop()
        self.store_lock.close()
        self.hashes.close()
        for port in self.ports:
            port.socket.close()
        self.log.info("server.stopped")
        self.log.close()

    # Reload

    def on_reload(self) -> None:
        """SIGHUP."""
        self.reloading = asyncio.get_running_loop().create_task(self.reload_and_tell())

    async def reload_and_tell(self) -> None:
        """A bad configuration changes nothing."""
        systemd.reloading()
        with suppress(ConfigError):
            await self.reload()
        systemd.notify("READY=1")

    async def reload(self, cause: events.Cause = SERVER) -> tuple[list[str], list[str]]:
        """Read the configuration again and apply what can change live: (sections changed, keys that need a restart).

        cause: who asked. Files are read and policies compiled beside the packet loop. Raises ConfigError, and changes
        nothing, when a file has problems. Either is logged.
        """
        async with self.reload_lock:
            try:
                prepared = await asyncio.to_thread(prepare, self.prepared.config.path)
                self.store.cause = cause
                changed, restart = self.apply(prepared)
            except ConfigError as error:
                for problem in error.problems:
                    self.log.error("config.problem", str(problem), actor=cause.actor)
                raise
            finally:
                self.store.cause = SERVER
            self.log.info("config.reloaded", actor=cause.actor, changed=changed, needs_restart=restart)
            return changed, restart

    def apply(self, prepared: Prepared) -> tuple[list[str], list[str]]:
        """Take another configuration, as reload() says."""
        old, new = self.prepared.config, prepared.config
        changed = [
            name
            for name in old.__struct_fields__
            if name not in ("path", "warnings", "report", "server", "store", "policy")
            and getattr(old, name) != getattr(new, name)
        ]
        self.prepared = prepared
        self.clients.reconfigure(new.nas)
        self.clients.unknown_count = new.radius.unknown_sources
        self.access_mapping.forget_renderings()
        self.network.reconfigure(prepared.options, prepared.dictionary)
        self.hashes.budget_s = new.radius.response_budget
        at = time.time()
        for port in self.ports:
            port.admission.reconfigure(at)
            port.admission.budget_ns = int(new.radius.response_budget * 1e9)
            if isinstance(port, AccessPort):
                port.reject_delay_s = new.radius.reject_delay
        if prepared.policy.revision != self.decisions.policy.revision:
            changed.append("policy")
            self.use_policy(prepared.policy, at)
        self.enforcer.use(EnforceSettings(new.policy.escalate))
        settings = access_settings(new)
        self.authorizer.use(settings)
        self.liveness.use(settings, new.radius.nas_silence)
        kept = new.store
        self.retention.use(*retention_spans(kept))
        self.store.services_max = new.server.services_max
        # Names are indexed in the case that the start found configured.
        self.store.names = replace(name_rules(new), lower=self.store.names.lower)
        self.store.interim_interval_s = int(new.radius.interim_interval)
        self.addresses.reconfigure(new.pool)
        self.bind_nases()
        self.applications.use(new)
        self.diameter.reconfigure(new, prepared.diameter)
        if self.http is not None:
            self.http.use_settings(make_settings(new, VERSION))
        self.log.level = Level[new.log.level.upper()]
        self.log.reopen()
        self.store.journal.flush()
        return changed, configuration.restart_needed(old, new)

    def use_policy(self, policy: Policy, at: float) -> None:
        """Decide by another policy from now on; live sessions follow, slice by slice."""
        before = self.decisions.policy.revision
        asked = self.store.cause
        revisions = msgspec.json.encode(before).decode(), msgspec.json.encode(policy.revision).decode()
        audit.append(self.store, at, "reload", "policy", "policy", audit.change_body(*revisions))
        adopt_plans(self.store, policy, at)
        self.decisions.use(policy)
        self.store.emit("policy.reloaded", "policy", at, {"revision": policy.revision, "previous_revision": before})
        self.store.cause = asked
        self.settle_soon()

    # What is told

    def note_reject(self, request: Request, attempt: Attempt, outcome: Outcome) -> None:
        """One line per refused login; a flood of the same is summed up."""
        self.log.info(
            "auth.reject",
            outcome.message,
            repeat=(attempt.user_name, attempt.nas.no),
            user=views.printable(attempt.user_name),
            nas=attempt.nas.name,
            nas_ip=attempt.nas.address,
            calling_station_id=views.printable(attempt.calling_station),
            reason=Cause(outcome.cause).name.lower(),
            service=None if outcome.service is None else outcome.service.body.id,
        )

    def note_reply(self, enforcement: Enforcement, reply: Reply) -> None:
        """An exchange with a NAS is over; a mass change on one NAS is summed up."""
        session = enforcement.session
        self.log.info(
            "enforcement.reply",
            reply.result,
            repeat=(enforcement.nas, enforcement.action, reply.result, reply.error_cause),
            action=enforcement.action,
            nas=enforcement.nas,
            user=None if session is None else views.printable(session.user_name),
            session_id=enforcement.session_id,
            service=enforcement.service_id,
            error_cause=reply.error_cause or None,
            detail=reply.detail or None,
        )

    def note_event(self, kind: str, subject: str, at: float, body: dict[str, object]) -> None:
        """An event: durable with the change that caused it, and a line in the log."""
        self.store.emit(kind, subject, at, body)
        self.log.info(kind, subject, **body)


def configure_nas(store: Store, nas: NasRecord, client: Client, prepared: Prepared) -> None:
    """Copy what the engine needs of a [[nas]] entry."""
    nas.family = client.family
    nas.operator = client.operator
    nas.passwords = store.index_of("password", client.operator) if client.allow_password else {}
    nas.allow_mac = client.allow_mac
    nas.allow_circuit = client.allow_circuit
    nas.enforce_adopted = client.adopt == "enforce"
    nas.swap_octets = client.swap_octets
    nas.trust_event_time = client.event_timestamp
    nas.interim_minimum_s = client.interim_minimum_s
    nas.garden_pool = bool(prepared.options[client.name].garden_pool)
    nas.limit_action = client.simultaneous_use or prepared.config.radius.simultaneous_use


def name_rules(config: Config) -> NameRules:
    """How user names may be spelt."""
    radius = config.radius
    realms = tuple(realm.lower().encode() for realm in radius.username_strip_realms)
    return NameRules(lower=radius.username_case == "lower", trim=radius.username_trim, realms=realms)


def bind(address: str, port: int, config: Config) -> BatchSocket:
    """One RADIUS socket with its slots."""
    slots = [Packet() for _ in range(UDP_BATCH_COUNT_MAX)]
    return BatchSocket(
        str(ip_address(address)),
        port,
        slots,  # type: ignore[arg-type]
        receive_buffer_bytes=config.radius.receive_buffer,
        send_buffer_bytes=config.radius.send_buffer,
    )


def derive(key: bytes, purpose: bytes) -> bytes:
    """A key of its own for each purpose."""
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(key)


def load_store(store: Store, path: str) -> float:
    """Open, migrate and load; seconds taken. Raises StoreError."""
    started = time.monotonic()
    try:
        db = schema.connect(path)
        try:
            schema.migrate(db)
            replay(db)
            gc.disable()
            load(store, db, time.time())
        finally:
            gc.enable()
            db.close()
    except (sqlite3.Error, ValueError) as error:
        raise StoreError(f"{path}: {error}") from None
    return time.monotonic() - started


def settle_memory() -> None:
    """Keep the collector away from what was loaded: a full collection over a million services takes 0.2 s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def make_log(config: Config) -> Log:
    """The log that [log] asks for."""
    settings = config.log
    destination: int | str = settings.file if settings.destination == "file" else 1
    return Log(destination, level=Level[settings.level.upper()], text=settings.format == "text")


def serve(path: str | os.PathLike[str]) -> int:
    """Load the configuration and serve until stopped; the exit code. Problems are printed."""
    # A thread that computes (a reload, a backup) gives the packet loop its turn back soon.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        prepared = prepare(path)
        for warning in prepared.config.warnings:
            print(f"warning: {warning}", file=sys.stderr)

        async def main() -> int:
            server = Server(prepared)
            logging.getLogger().addHandler(LogHandler(server.log))
            return await server.run()

        return uvloop.run(main())
    except (AaaError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
