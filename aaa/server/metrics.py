"""Prometheus metrics: read from the counters that the packet path keeps, only when they are asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from aaa.model.access import Cause
from aaa.model.accounting import AccountingOutcome
from aaa.radius.clients import COUNTERS
from aaa.radius.reasons import DropReason
from aaa.server.listener import LATENCY_BUCKETS, Statistics

if TYPE_CHECKING:
    from aaa.server.main import Server


class ServerCollector(Collector):
    """All figures of one server. Labels are bounded by configuration: NAS entries, causes, reasons, pools."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        yield from self._packets()
        yield from self._latency()
        yield from self._state()

    def _packets(self) -> Iterator[Metric]:
        server = self._server
        per_nas = CounterMetricFamily(
            "aaa_radius_packets", "Packets of each NAS entry by kind.", labels=["nas", "kind"]
        )
        for client in server.clients:
            for name, count in zip(COUNTERS, client.counters, strict=True):
                per_nas.add_metric([client.name, name], count)
        yield per_nas
        access = CounterMetricFamily(
            "aaa_access_results", "Access-Requests by result: accept, or why refused.", labels=["result"]
        )
        for cause in Cause:
            name = "accept" if cause is Cause.NONE else cause.name.lower()
            access.add_metric([name], server.access_statistics.causes[cause])
        yield access
        accounting = CounterMetricFamily(
            "aaa_accounting_results", "Accounting-Requests by what they did.", labels=["result"]
        )
        for outcome in AccountingOutcome:
            accounting.add_metric([outcome.name.lower()], server.accountant.outcomes[outcome])
        yield accounting
        drops = CounterMetricFamily("aaa_radius_drops", "Packets met with silence, by reason.", labels=["reason"])
        for reason in DropReason:
            if reason is not DropReason.NONE:
                drops.add_metric([reason.name.lower()], sum(port.admission.drops[reason] for port in server.ports))
        yield drops
        kernel = CounterMetricFamily(
            "aaa_radius_kernel_drops", "Datagrams that the kernel dropped: full receive buffer.", labels=["port"]
        )
        for port in server.ports:
            host, number = port.socket.address()
            kernel.add_metric([f"{host}:{number}"], port.socket.drops)
        yield kernel

    def _latency(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "aaa_radius_response_seconds", "From the kernel's receipt of a request to its answer.", labels=["port"]
        )
        for name, statistics in (
            ("auth", self._server.access_statistics),
            ("acct", self._server.accounting_statistics),
        ):
            family.add_metric([name], buckets(statistics), statistics.latency_sum_ns / 1e9)
        yield family

    def _state(self) -> Iterator[Metric]:
        server = self._server
        store, journal = server.store, server.store.journal
        gauges = {
            "aaa_services": ("Services in the store.", len(store.services)),
            "aaa_subscribers": ("Subscribers in the store.", len(store.subscribers)),
            "aaa_sessions": ("Live sessions.", sum(nas.live_count for nas in store.nases.values())),
            "aaa_store_rows_ahead": ("Rows sent to the writer and not yet durable.", journal.rows_ahead),
            "aaa_slow_hashes_waiting": ("Logins that wait for a slow password hash.", server.hashes.waiting),
            "aaa_unknown_sources": ("Unknown source addresses remembered.", len(server.clients.unknown)),
            "aaa_uptime_seconds": ("Seconds since the start.", time.time() - server.started_at),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value)
        yield CounterMetricFamily("aaa_store_rows", "Rows given to the writer.", journal.rows_total)
        yield CounterMetricFamily(
            "aaa_sessions_stale_closed", "Sessions closed for silence.", server.liveness.stale_closed
        )
        yield CounterMetricFamily("aaa_log_dropped", "Log lines lost to a full queue.", server.log.dropped)
        disconnects = CounterMetricFamily("aaa_disconnects", "Disconnect-Requests by result.", labels=["result"])
        for result, count in server.disconnector.results.items():
            disconnects.add_metric([result], count)
        yield disconnects
        live = GaugeMetricFamily("aaa_nas_sessions", "Live sessions of each NAS entry.", labels=["nas"])
        counts: dict[str, int] = {}
        for nas in store.nases.values():
            counts[nas.client_name] = counts.get(nas.client_name, 0) + nas.live_count
        for client_name, count in counts.items():
            live.add_metric([client_name], count)
        yield live
        pools = GaugeMetricFamily(
            "aaa_pool_addresses", "Addresses of each pool by state.", labels=["pool", "kind", "state"]
        )
        for usage in server.addresses.pools.usage():
            for state in ("size", "bound", "pending", "static", "barred", "remembered"):
                pools.add_metric([usage.name, usage.kind, state], getattr(usage, state))
        yield pools


def buckets(statistics: Statistics) -> list[tuple[str, float]]:
    """Cumulative counts up to 2**n microseconds."""
    total = 0
    found: list[tuple[str, float]] = []
    for index in range(LATENCY_BUCKETS - 1):
        total += statistics.latency[index]
        found.append((repr(2**index / 1e6), total))
    found.append(("+Inf", total + statistics.latency[-1]))
    return found


class Metrics:
    """The text of /metrics."""

    def __init__(self, server: Server) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(ServerCollector(server))
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)
