"""Prometheus metrics: read from the counters that the packet path keeps, only when they are asked for.

Written as text here, not by prometheus_client: that takes 5 us a sample, and all of it would hold the packet loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from aaa.diameter.watchdog import WatchdogState
from aaa.engine.enforce import SECONDS_BUCKETS
from aaa.limits import METRICS_SLICE_PEERS, METRICS_SLICE_SAMPLES
from aaa.model.access import Cause
from aaa.model.accounting import AccountingOutcome
from aaa.model.enforcement import OPEN
from aaa.radius.admission import Source
from aaa.radius.clients import COUNTERS
from aaa.radius.reasons import DropReason
from aaa.server.admin_peers import command_name
from aaa.server.diameter_traffic import CLASSES, CommandCounters, Traffic
from aaa.server.listener import LATENCY_BUCKETS, AccessPort, Statistics

if TYPE_CHECKING:
    from aaa.server.main import Server

Samples = Iterator[tuple[str, float]]
"""Labels as they are written, such as 'port="auth"', with the value; "" for none."""

POOL_STATES: Final = ("size", "bound", "pending", "static", "barred", "remembered")
POOL_EVENTS: Final = ("renewed", "new", "moved", "freed", "expired", "exhausted")
SECRETS: Final = ("first", "second")
TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
DIAMETER_BUCKETS_STEP: Final = 2
"""Of their buckets every second one is told: there is a histogram for each peer and command."""


class Family(NamedTuple):
    """One metric: its name as scraped, its type, its labels, and what it counts."""

    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


class Nases(NamedTuple):
    """Sums over NAS records by the label of their [[nas]] entry."""

    live: dict[str, int]
    down: dict[str, int]
    heard_at: dict[str, float]


class Peers(NamedTuple):
    """Sums over Diameter peers by their label."""

    up: dict[str, int]
    in_flight: dict[str, tuple[int, int]]
    """Received and sent."""
    traffic: dict[str, Traffic]


def counter(name: str, text: str, *labels: str) -> Family:
    return Family(f"{name}_total", "counter", labels, text)


def gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name, "gauge", labels, text)


def histogram(name: str, text: str, *labels: str) -> Family:
    return Family(name, "histogram", labels, text)


BUILD = gauge("aaa_build_info", "Always 1; the label tells the version.", "version")
UPTIME = gauge("aaa_uptime_seconds", "Seconds since the start.")
CPU = counter("aaa_process_cpu_seconds", "User and system time of each process of the server.", "process")
MEMORY = gauge("aaa_process_resident_memory_bytes", "Resident memory of each process of the server.", "process")
HTTP_STARTS = counter("aaa_http_starts", "Starts of the HTTP process; above 1 it died in between.")

PACKETS = counter("aaa_radius_packets", "Packets of each NAS entry by kind.", "nas", "kind")
ACCESS = counter("aaa_access_results", "Access-Requests by result: accept, or why refused.", "result")
ACCOUNTING = counter("aaa_accounting_results", "Accounting-Requests by what they did.", "result")
DROPS = counter("aaa_radius_drops", "Packets met with silence, by reason.", "reason")
KERNEL_DROPS = counter("aaa_radius_kernel_drops", "Datagrams that the kernel dropped: full receive buffer.", "port")
RECEIVE_BUFFER = gauge("aaa_radius_receive_buffer_bytes", "Receive buffer that the kernel granted.", "port")
RESPONSE = histogram("aaa_radius_response_seconds", "From the kernel's receipt of a request to its answer.", "port")
REJECTS_WAITING = gauge("aaa_rejects_waiting", "Access-Rejects that wait for radius.reject_delay to pass.")
HASHES_WAITING = gauge("aaa_slow_hashes_waiting", "Logins that wait for a slow password hash.")
DUPLICATES = gauge("aaa_duplicate_cache_entries", "Entries of the duplicate cache in use.")
DISPLACED = counter("aaa_duplicate_cache_displaced", "Live entries pushed out: the duplicate cache is too small.")
UNKNOWN = gauge("aaa_unknown_sources", "Unknown source addresses remembered.")

SERVICES = gauge("aaa_services", "Services in the store.")
SUBSCRIBERS = gauge("aaa_subscribers", "Subscribers in the store.")
SESSIONS = gauge("aaa_sessions", "Live sessions, and logins that wait for their first accounting report.")
STALE = counter("aaa_sessions_stale_closed", "Sessions closed for silence.")
DYNAMIC = counter("aaa_dynamic_exchanges", "CoA- and Disconnect-Requests by result.", "nas", "action", "result")
DYNAMIC_SECONDS = histogram("aaa_dynamic_seconds", "From a CoA- or Disconnect-Request to its answer.")
DYNAMIC_WAITING = gauge("aaa_dynamic_waiting", "CoA- and Disconnect-Requests that wait for the pace of their NAS.")
DYNAMIC_IN_FLIGHT = gauge("aaa_dynamic_in_flight", "CoA- and Disconnect-Requests that wait for an answer.")
DYNAMIC_DROPPED = counter("aaa_dynamic_dropped", "Datagrams from NASes that answered no request, by reason.", "reason")
DIVERGED = gauge("aaa_sessions_diverged", "Live sessions that do not run under their decision yet.")
ENFORCEMENTS = gauge("aaa_enforcements", "Changes of live sessions under way, by state.", "state")
ENFORCED = counter("aaa_enforcements_finished", "Changes of live sessions that are final, by result.", "result")
ENFORCED_SECONDS = histogram("aaa_enforcement_seconds", "From the cause of a change to the NAS's acknowledgement.")
AUTOMATIONS = counter("aaa_automation_runs", "How often each automation has run.", "automation")
OTHER_CLIENTS: Final = "diameter"
NAS_SESSIONS = gauge("aaa_nas_sessions", "Live sessions of each NAS entry.", "nas")
NAS_DOWN = gauge("aaa_nas_down", "NASes of each entry that are silent although they have sessions.", "nas")
NAS_ACCOUNTING = gauge("aaa_nas_last_accounting_seconds", "Epoch time of the last accounting report.", "nas")
SECRET_SOURCES = gauge(
    "aaa_nas_secret_sources",
    "While two secrets are valid: source addresses by the secret they were last seen to use.",
    "nas",
    "port",
    "secret",
)

PEER_UP = gauge("aaa_diameter_peer_up", "1 while a Diameter peer is open and answers; of a template, how many.", "peer")
DIAMETER_REQUESTS = counter(
    "aaa_diameter_requests",
    "Diameter requests of each peer, or sent to it, by class of Result-Code.",
    "peer", "direction", "application", "command", "result",
)  # fmt: skip
DIAMETER_SECONDS = histogram(
    "aaa_diameter_answer_seconds",
    "From a Diameter request to its answer.",
    "peer", "direction", "application", "command",
)  # fmt: skip
DIAMETER_REFUSALS = counter("aaa_diameter_refusals", "Answers that were no success, by Result-Code.", "peer", "result")
DIAMETER_STOPPED = counter("aaa_diameter_stopped", "Requests that a peer's firewall stopped.", "peer", "reason")
DIAMETER_DROPS = counter("aaa_diameter_drops", "Diameter messages that were not looked at.", "peer", "reason")
DIAMETER_IN_FLIGHT = gauge("aaa_diameter_in_flight", "Diameter requests without an answer yet.", "peer", "direction")
DIAMETER_STRANGERS = counter("aaa_diameter_connections_refused", "Connections turned away, by Result-Code.", "result")
DIAMETER_RELAYED = gauge("aaa_diameter_relayed", "Diameter requests under way through this server.")
DIAMETER_REPEATED = counter("aaa_diameter_repeated", "Diameter requests that came again and were answered again.")
DIAMETER_UNSENT = counter("aaa_diameter_unsent_answers", "Diameter answers whose connection was gone.")
DIAMETER_OVERLOAD = gauge("aaa_diameter_overload_ratio", "Share of new Diameter sessions refused for overload.")
DIAMETER_THROTTLED = counter("aaa_diameter_throttled", "Requests of ours held back because a peer reported overload.")

POOL = gauge("aaa_pool_addresses", "Addresses of each pool by state.", "pool", "kind", "state")
POOL_LEASES = counter("aaa_pool_leases", "What happened to leases of each pool.", "pool", "kind", "event")

AHEAD = gauge("aaa_store_rows_ahead", "Rows sent to the writer and not yet durable.")
ROWS = counter("aaa_store_rows", "Rows given to the writer.")
COMMIT = histogram("aaa_store_commit_seconds", "From a group's leaving for the writer to its being durable.")
OLDEST = gauge("aaa_store_oldest_group_seconds", "Age of the oldest group that is not durable yet; 0: there is none.")
STORE_BYTES = gauge("aaa_store_bytes", "Size of the database and of its write-ahead log.", "file")
STORE_FREE = gauge("aaa_store_free_bytes", "Free space on the store's file system.")
LOG_DROPPED = counter("aaa_log_dropped", "Log lines lost to a full queue.")
LOG_ERRORS = counter("aaa_log_write_errors", "Log lines lost to a destination that refused them.")


class Metrics:
    """The text of /metrics. Labels are bounded by configuration: NAS entries, causes, reasons, pools."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def text(self) -> bytes:
        """The engine's part, in the Prometheus text format. Made in slices: packets are served in between."""
        chunks: list[bytes] = []
        lines: list[str] = []
        nases = await self._sum_nases()
        secrets = await self._sum_secrets()
        peers = await self._sum_peers()
        for line in self._lines(nases, secrets, peers):
            lines.append(line)
            if len(lines) == METRICS_SLICE_SAMPLES:
                chunks.append("".join(lines).encode())
                lines.clear()
                await asyncio.sleep(0)
        chunks.append("".join(lines).encode())
        return b"".join(chunks)

    def _lines(self, nases: Nases, secrets: dict[str, int], peers: Peers) -> Iterator[str]:
        for family, samples in self._families(nases, secrets, peers):
            yield f"# HELP {family.name} {family.text}\n# TYPE {family.name} {family.kind}\n"
            name = family.name
            if family.kind == "histogram":
                # The suffix comes with the labels: see histogram_samples.
                for labels, value in samples:
                    yield f"{name}{labels} {value}\n"
            else:
                for labels, value in samples:
                    yield f"{name}{{{labels}}} {value}\n" if labels else f"{name} {value}\n"

    def _families(
        self, nases: Nases, secrets: dict[str, int], peers: Peers
    ) -> Iterator[tuple[Family, Iterable[tuple[str, float]]]]:
        """Every metric with its samples."""
        server = self._server
        store, journal, link = server.store, server.store.journal, server.link
        yield BUILD, [(f'version="{escape(server.version)}"', 1)]
        yield UPTIME, one(time.time() - server.started_at)
        processes = self._processes()
        yield CPU, [(label, cpu) for label, cpu, _ in processes]
        yield MEMORY, [(label, memory) for label, _, memory in processes]
        yield HTTP_STARTS, one(server.http.starts if server.http is not None else 0)
        yield PACKETS, self._packets()
        yield ACCESS, self._access()
        yield (
            ACCOUNTING,
            [(f'result="{item.name.lower()}"', server.accountant.outcomes[item]) for item in AccountingOutcome],
        )
        yield DROPS, self._drops()
        ports = [(f'port="{port_name(port.socket.address())}"', port.socket) for port in server.ports]
        yield KERNEL_DROPS, [(label, socket.drops) for label, socket in ports]
        yield RECEIVE_BUFFER, [(label, socket.receive_buffer_bytes) for label, socket in ports]
        yield RESPONSE, self._response()
        yield REJECTS_WAITING, one(sum(len(port.delayed) for port in server.ports if isinstance(port, AccessPort)))
        yield HASHES_WAITING, one(server.hashes.waiting)
        # All ports share one cache.
        cache = server.ports[0].admission.duplicates if server.ports else None
        yield DUPLICATES, one(len(cache) if cache is not None else 0)
        yield DISPLACED, one(cache.displaced if cache is not None else 0)
        yield UNKNOWN, one(len(server.clients.unknown))
        yield SERVICES, one(len(store.services))
        yield SUBSCRIBERS, one(len(store.subscribers))
        yield SESSIONS, one(sum(nases.live.values()))
        yield STALE, one(server.liveness.stale_closed)
        network = server.network
        yield DYNAMIC, self._dynamic()
        yield DYNAMIC_SECONDS, histogram_samples("", network.statistics)
        yield DYNAMIC_WAITING, one(network.waiting)
        yield DYNAMIC_IN_FLIGHT, one(network.in_flight)
        yield DYNAMIC_DROPPED, [(f'reason="{reason}"', count) for reason, count in network.dropped.items()]
        enforcer = server.enforcer
        yield DIVERGED, one(len(enforcer.diverged))
        yield ENFORCEMENTS, [(f'state="{state}"', enforcer.states[state]) for state in OPEN]
        yield ENFORCED, [(f'result="{result}"', count) for result, count in enforcer.results.items()]
        yield ENFORCED_SECONDS, self._enforced_seconds()
        yield AUTOMATIONS, [(f'automation="{escape(name)}"', runs) for name, runs in server.automator.runs.items()]
        yield NAS_SESSIONS, nases.live.items()
        yield NAS_DOWN, nases.down.items()
        yield NAS_ACCOUNTING, nases.heard_at.items()
        yield SECRET_SOURCES, secrets.items()
        yield from self._diameter(peers)
        usage = server.addresses.pools.usage()
        labels = [f'pool="{escape(pool.name)}",kind="{pool.kind}"' for pool in usage]
        pools = list(zip(labels, usage, strict=True))
        yield (
            POOL,
            [(f'{label},state="{state}"', getattr(pool, state)) for label, pool in pools for state in POOL_STATES],
        )
        yield (
            POOL_LEASES,
            [
                (f'{label},event="{event}"', getattr(pool, f"{event}_count"))
                for label, pool in pools
                for event in POOL_EVENTS
            ],
        )
        yield AHEAD, one(journal.rows_ahead)
        yield ROWS, one(journal.rows_total)
        yield COMMIT, histogram_samples("", link.commits) if link is not None else []
        yield OLDEST, one(link.oldest_s() if link is not None else 0)
        yield STORE_BYTES, self._store_bytes()
        yield STORE_FREE, self._store_free()
        yield LOG_DROPPED, one(server.log.dropped)
        yield LOG_ERRORS, one(server.log.write_errors)

    def _packets(self) -> Samples:
        for client in self._server.clients:
            name = escape(client.name)
            for kind, count in zip(COUNTERS, client.counters, strict=True):
                yield f'nas="{name}",kind="{kind}"', count

    def _access(self) -> Samples:
        for cause in Cause:
            name = "accept" if cause is Cause.NONE else cause.name.lower()
            yield f'result="{name}"', self._server.access_statistics.causes[cause]

    def _drops(self) -> Samples:
        for reason in DropReason:
            if reason is not DropReason.NONE:
                count = sum(port.admission.drops[reason] for port in self._server.ports)
                yield f'reason="{reason.name.lower()}"', count

    def _response(self) -> Samples:
        yield from histogram_samples('port="auth"', self._server.access_statistics)
        yield from histogram_samples('port="acct"', self._server.accounting_statistics)

    def _dynamic(self) -> Samples:
        # Only what has happened: most NASes are never asked.
        for (name, action, result), count in self._server.network.counts.items():
            yield f'nas="{escape(name)}",action="{action}",result="{result}"', count

    def _diameter(self, peers: Peers) -> Iterator[tuple[Family, Iterable[tuple[str, float]]]]:
        owner = self._server.diameter
        agent = owner.agent
        yield PEER_UP, [(f'peer="{escape(label)}"', count) for label, count in peers.up.items()]
        yield DIAMETER_REQUESTS, self._diameter_requests(peers)
        yield DIAMETER_SECONDS, self._diameter_seconds(peers)
        for family, name, tables in (
            (DIAMETER_REFUSALS, "result", {label: one.results for label, one in peers.traffic.items()}),
            (DIAMETER_STOPPED, "reason", {label: one.stopped for label, one in peers.traffic.items()}),
            (DIAMETER_DROPS, "reason", {label: one.drops for label, one in peers.traffic.items()}),
        ):
            yield (
                family,
                [
                    (f'peer="{escape(label)}",{name}="{key}"', count)
                    for label, table in tables.items()
                    for key, count in table.items()
                ],
            )
        yield (
            DIAMETER_IN_FLIGHT,
            [
                (f'peer="{escape(label)}",direction="{direction}"', count)
                for label, counts in peers.in_flight.items()
                for direction, count in zip(("received", "sent"), counts, strict=True)
            ],
        )
        strangers = {"flood": sum(node.floods for node in owner.nodes)}
        for node in owner.nodes:
            for result, count in node.refusals.items():
                strangers[str(int(result))] = strangers.get(str(int(result)), 0) + count
        yield DIAMETER_STRANGERS, [(f'result="{result}"', count) for result, count in strangers.items()]
        yield DIAMETER_RELAYED, one(len(agent.relayed))
        yield DIAMETER_REPEATED, one(agent.duplicates.repeated)
        yield DIAMETER_UNSENT, one(owner.unsent_answers)
        yield DIAMETER_OVERLOAD, one(agent.overload.share / 100)
        yield DIAMETER_THROTTLED, one(agent.throttles.held)

    def _commands(self, peers: Peers) -> Iterator[tuple[str, CommandCounters]]:
        """What every peer and we asked each other, under labels."""
        names: dict[tuple[int, int], tuple[str, str]] = {}
        for label, traffic in peers.traffic.items():
            for direction, table in (("received", traffic.received), ("sent", traffic.sent)):
                for command, counters in table.items():
                    if command not in names:
                        names[command] = command_name(self._server.diameter.dictionary, command)
                    application, name = names[command]
                    yield (
                        f'peer="{escape(label)}",direction="{direction}",application="{application}",command="{name}"',
                        counters,
                    )

    def _diameter_requests(self, peers: Peers) -> Samples:
        for labels, counters in self._commands(peers):
            for result, count in zip(CLASSES, counters.classes, strict=True):
                if count:
                    yield f'{labels},result="{result}"', count

    def _diameter_seconds(self, peers: Peers) -> Samples:
        for labels, counters in self._commands(peers):
            yield from histogram_samples(labels, counters, DIAMETER_BUCKETS_STEP)

    async def _sum_peers(self) -> Peers:
        """Figures of Diameter peers by their label: all that one template has let in are one."""
        sums = Peers({}, {}, dict(self._server.diameter.agent.former))
        shared: set[str] = set()
        for count, seen in enumerate(self._server.diameter.agent.all_observed(), 1):
            label, peer = seen.label, seen.peer
            up = peer.is_open and peer.watchdog.state is not WatchdogState.SUSPECT
            sums.up[label] = sums.up.get(label, 0) + up
            connection = peer.connection
            waiting = 0 if connection is None else len(connection.waiting)
            before = sums.in_flight.get(label, (0, 0))
            sums.in_flight[label] = before[0] + waiting, before[1] + peer.in_flight
            if label not in shared:
                # The sum is another object than any that goes on counting.
                former, sums.traffic[label] = sums.traffic.get(label), Traffic()
                shared.add(label)
                if former is not None:
                    sums.traffic[label].add(former)
            traffic = sums.traffic[label]
            traffic.add(seen.traffic)
            traffic.results.update(peer.refusals)
            traffic.drops.update(peer.drops)
            if count % METRICS_SLICE_PEERS == 0:
                await asyncio.sleep(0)
        return sums

    def _enforced_seconds(self) -> Samples:
        enforcer = self._server.enforcer
        total = 0
        for bound, count in zip((*SECONDS_BUCKETS, "+Inf"), enforcer.seconds, strict=True):
            total += count
            yield f'_bucket{{le="{bound}"}}', total
        yield "_sum", enforcer.seconds_sum
        yield "_count", total

    async def _sum_nases(self) -> Nases:
        """Figures of NAS records, of which an entry for a prefix has many, for each entry."""
        sums = Nases({}, {}, {})
        peers = {peer.origin_host.lower() for peer in self._server.prepared.config.peer}
        for count, nas in enumerate(list(self._server.store.nases.values()), 1):
            # Bound: clients behind a relay, or let in by a template, have any number of names.
            name = OTHER_CLIENTS if nas.diameter and nas.name not in peers else nas.client_name
            label = f'nas="{escape(name)}"'
            sums.live[label] = sums.live.get(label, 0) + nas.live_count
            sums.down[label] = sums.down.get(label, 0) + nas.down
            if nas.last_accounting_at > sums.heard_at.get(label, 0.0):
                sums.heard_at[label] = nas.last_accounting_at
            if count % METRICS_SLICE_SAMPLES == 0:
                await asyncio.sleep(0)
        return sums

    async def _sum_secrets(self) -> dict[str, int]:
        """Only of NAS entries with two secrets: how many sources use each."""
        rotating = [client for client in self._server.clients if len(client.secrets) > 1]
        sums: dict[str, int] = {}
        for port in self._server.ports if rotating else ():
            kind = "auth" if isinstance(port, AccessPort) else "acct"
            for client in rotating:
                for secret in SECRETS:
                    sums.setdefault(secret_label(client.name, kind, secret), 0)
            sources = [*port.admission.sources.values(), *port.admission.identified.values()]
            for count, source in enumerate(sources, 1):
                if isinstance(source, Source) and source.rotating:
                    secret = SECRETS[source.secret is not source.client.secrets[0]]
                    label = secret_label(source.client.name, kind, secret)
                    sums[label] = sums.get(label, 0) + 1
                if count % METRICS_SLICE_SAMPLES == 0:
                    await asyncio.sleep(0)
        return sums

    def _processes(self) -> list[tuple[str, float, int]]:
        """Label, CPU seconds and resident bytes of each process that runs."""
        server = self._server
        writer = server.link.process if server.link is not None else None
        found = []
        for name, pid in (
            ("engine", os.getpid()),
            ("writer", writer.pid if writer is not None else None),
            ("http", server.http.pid if server.http is not None else None),
        ):
            usage = process_usage(pid) if pid is not None else None
            if usage is not None:
                found.append((f'process="{name}"', *usage))
        return found

    def _store_bytes(self) -> Samples:
        path = self._server.prepared.config.store.path
        for name, file in (("db", path), ("wal", f"{path}-wal")):
            try:
                yield f'file="{name}"', os.stat(file).st_size
            except OSError:
                continue

    def _store_free(self) -> Samples:
        try:
            found = os.statvfs(os.path.dirname(self._server.prepared.config.store.path) or ".")
        except OSError:
            return
        yield "", found.f_bavail * found.f_frsize


def secret_label(nas: str, port: str, secret: str) -> str:
    return f'nas="{escape(nas)}",port="{port}",secret="{secret}"'


def one(value: float) -> list[tuple[str, float]]:
    """The samples of a metric without labels."""
    return [("", value)]


def escape(text: str) -> str:
    """A label's value as the text format wants it."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def port_name(address: tuple[str, int]) -> str:
    """A bound address as one label."""
    host, number = address
    return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"


LIMITS: Final = tuple(repr(2**index / 1e6) for index in range(LATENCY_BUCKETS - 1))
"""Upper bounds of the buckets in seconds: 2**n microseconds."""


def histogram_samples(labels: str, statistics: Statistics | CommandCounters, step: int = 1) -> Samples:
    """Suffix and labels of cumulative buckets, sum and count. step: how many buckets are told as one."""
    head = f"{labels}," if labels else ""
    total = 0
    for index, limit in enumerate(LIMITS):
        total += statistics.latency[index]
        if index % step == step - 1:
            yield f'_bucket{{{head}le="{limit}"}}', total
    total += statistics.latency[-1]
    yield f'_bucket{{{head}le="+Inf"}}', total
    tail = f"{{{labels}}}" if labels else ""
    yield f"_sum{tail}", statistics.latency_sum_ns / 1e9
    yield f"_count{tail}", total


def process_usage(pid: int) -> tuple[float, int] | None:
    """CPU seconds and resident bytes of a process; None when it is gone or hidden (proc(5), /proc/pid/stat)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The name in parentheses may hold anything: count from behind it.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) * TICK_S, int(fields[21]) * PAGE_BYTES


FAMILIES: Final = tuple(value for value in list(globals().values()) if isinstance(value, Family))
"""Every metric of the engine, in the order of this file."""
