"""`make bench`: this server and FreeRADIUS, the same users, the same load, one table.

    python -m bench.run             # under 10 minutes
    python -m bench.run --quick     # under 2 minutes: fewer repetitions, no million

Both servers are up at the same time, each on the same core, and take turns: what the machine does meanwhile meets both.
The generator polls on another core. Results also go to run/bench/results.json.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import freeradius
from bench.freeradius import FreeRadius
from bench.ours import Ours
from bench.server import LOAD, ROOT, RUN, Server, ServerFailed, build_load

METHODS = {"pap": "PAP", "chap": "CHAP", "mschap": "MS-CHAPv2"}
LATENCY_RATE = 5_000  # requests/s, open loop
WRITE_RATE = 1_000  # accounting records/s beside it
SESSIONS = 2_000  # live at a time: a run passes through whole lives, Start to Stop, even at SQLite's pace
GENERATOR_IDLE_MIN = 0.05  # share; below it the generator, not the server, may set the rate


@dataclass
class Plan:
    """How much to measure."""

    users: int
    million: int
    few: int
    seconds: float
    repetitions: int


FULL = Plan(users=100_000, million=1_000_000, few=10_000, seconds=2.5, repetitions=4)
QUICK = Plan(users=10_000, million=0, few=0, seconds=1.5, repetitions=2)


@dataclass
class Row:
    """One line of the table; a value per server name."""

    label: str
    cells: dict[str, str] = field(default_factory=dict)
    costs: dict[str, float] = field(default_factory=dict)
    """What the ratio is made of: CPU-us, seconds, octets; smaller is better."""


class Bench:
    """Runs loads and collects rows. Raises ServerFailed on a wrong reply: a fast wrong answer is worth nothing."""

    def __init__(self, plan: Plan, load_cpu: int | None, sign: bool) -> None:
        self.plan = plan
        self.rows: list[Row] = []
        self.results: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._options = ["--json", "--tree"]
        self._options += ["--cpu", str(load_cpu)] if load_cpu is not None else []
        self._options += ["--sign"] if sign else []

    def load(self, label: str, server: Server, users: int, *streams: str, extra: Iterable[str] = ()) -> dict[str, Any]:
        """One run of the generator against one server; its JSON report."""
        assert server.process is not None
        command = [str(LOAD), *self._options, "-P", str(server.process.pid), "-u", str(users)]
        command += ["-t", str(self.plan.seconds), "--sessions", str(min(SESSIONS, users)), *extra, *streams]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise ServerFailed(f"{label}, {server.name}: {' '.join(command)}\n{result.stdout}{result.stderr}")
        report: dict[str, Any] = json.loads(result.stdout)
        self.results.append({"row": label, "server": server.name, "users": users, **report})
        lost = sum(stream["lost"] for stream in report["streams"])
        if lost:
            self.warnings.append(f"{label}, {server.name}: {lost} requests lost")
        if report["generator_idle"] < GENERATOR_IDLE_MIN:
            self.warnings.append(f"{label}, {server.name}: the generator was busy; the rate is a lower bound")
        return report

    def throughput(
        self, label: str, servers: dict[str, Server], method: str, users: int, extra: Iterable[str] = ()
    ) -> None:
        """One row: requests/s and CPU-us of each server, median of the repetitions; the servers take turns."""
        print(f"bench: {label}", file=sys.stderr)
        reports: dict[str, list[dict[str, Any]]] = {name: [] for name in servers}
        for _ in range(self.plan.repetitions):
            for name, server in servers.items():
                port = server.acct_port if method == "acct" else server.auth_port
                reports[name].append(self.load(label, server, users, f"{method}:{port}", extra=extra))
        row = Row(label)
        for name, several in reports.items():
            rate = statistics.median(report["requests_per_s"] for report in several)
            cost = statistics.median(report["cpu_us_per_request"] for report in several)
            share = statistics.median(report["cpu_share"] for report in several)
            row.cells[name] = f"{rate:,.0f}/s {share:5.0%} {cost:6.1f} us"
            row.costs[name] = cost
        self.rows.append(row)

    def latency(self, label: str, servers: dict[str, Server], users: int, write_rate: int = 0) -> None:
        """One row: p50 and p99 of PAP at LATENCY_RATE, counted from the scheduled time."""
        print(f"bench: {label}", file=sys.stderr)
        row = Row(label)
        reports: dict[str, list[dict[str, float]]] = {name: [] for name in servers}
        lost = dict.fromkeys(servers, 0.0)
        for _ in range(min(3, self.plan.repetitions)):
            for name, server in servers.items():
                streams = [f"pap:{server.auth_port}:{LATENCY_RATE}"]
                if write_rate:
                    streams.append(f"acct:{server.acct_port}:{write_rate}")
                extra = ("-t", str(self.plan.seconds * 2))
                report = self.load(label, server, users, *streams, extra=extra)
                reports[name].append(report["streams"][0]["latency_us"])
                lost[name] += report["streams"][0]["lost"] / max(1, report["streams"][0]["sent"])
        for name, several in reports.items():
            p50, p99 = (statistics.median(one[key] / 1000 for one in several) for key in ("p50", "p99"))
            row.cells[name] = f"{p50:.2f} / {p99:.2f} ms"
            row.costs[name] = p99
            if lost[name]:
                row.cells[name] += f", {lost[name] / len(several):.1%} lost"
        self.rows.append(row)

    def startup(self, users: int, servers: dict[str, Server]) -> None:
        """One row: seconds from starting the process to its first answer."""
        row = Row(f"start-up, {users:,} users", costs={name: server.startup_s for name, server in servers.items()})
        row.cells = {name: f"{one.startup_s:.2f} s ({one.startup_cpu_s:.2f} CPU-s)" for name, one in servers.items()}
        self.rows.append(row)
        self.results.append({"row": row.label, "users": users, "startup_s": row.costs})

    def memory(self, label: str, servers: dict[str, Server]) -> None:
        """One row: resident memory of all processes now."""
        row = Row(label, costs={name: float(server.resident_bytes()) for name, server in servers.items()})
        row.cells = {name: f"{octets / 1e6:,.0f} MB" for name, octets in row.costs.items()}
        self.rows.append(row)
        self.results.append({"row": label, "bytes": row.costs})

    def table(self, names: list[str]) -> str:
        """The rows with one column per server, and how many times more FreeRADIUS needs."""
        width = max((len(row.label) for row in self.rows), default=0)
        header = f"{'':{width}}" + "".join(f"{name:>28}" for name in names)
        lines = [header + (f"{'ratio':>9}" if len(names) == 2 else "")]
        for row in self.rows:
            line = f"{row.label:{width}}" + "".join(f"{row.cells.get(name, '-'):>28}" for name in names)
            if len(names) == 2 and all(row.costs.get(name) for name in names):
                line += f"{row.costs[names[1]] / row.costs[names[0]]:8.1f}x"
            lines.append(line)
        return "\n".join(lines)


def measure(bench: Bench, cpu: int | None, ours: bool, theirs: bool) -> None:
    """Every row of the table, one population after the other."""
    plan, users = bench.plan, bench.plan.users
    mine, other = Ours.name, FreeRadius.name

    def start(stack: ExitStack, count: int, accounting: str = "none") -> dict[str, Server]:
        print(f"bench: starting with {count:,} users", file=sys.stderr)
        servers: dict[str, Server] = {}
        if ours:
            server = stack.enter_context(Ours(count, cpu))
            servers[mine] = server
            bench.rows.append(Row(f"sync of {count:,} users", {mine: f"{server.fill_s:.1f} s"}))
        if theirs:
            servers[other] = stack.enter_context(FreeRadius(count, accounting, cpu))
        return servers

    with ExitStack() as stack:
        servers = start(stack, users)
        bench.startup(users, servers)
        bench.memory(f"memory, {users:,} users", servers)
        for method, label in METHODS.items():
            bench.throughput(label, servers, method, users)
        bench.memory("memory after that", servers)
        bench.latency(f"PAP at {LATENCY_RATE:,}/s: p50 / p99", servers, users)
        kinds = {"none": "stores nothing", "detail": "detail file", "sqlite": "SQLite, fsync"}
        for kind, words in kinds.items() if theirs else {"": "none"}.items():
            pair = {mine: servers[mine]} if ours else {}
            if theirs:
                pair[other] = servers[other] if kind == "none" else stack.enter_context(FreeRadius(users, kind, cpu))
            # SQLite answers a few thousand a second: a window of 256 would only wait.
            extra = ("-w", "64") if kind == "sqlite" else ()
            bench.throughput(f"accounting ({other}: {words})", pair, "acct", users, extra)
            if kind not in ("none", "sqlite"):
                # Not SQLite: its fsync stops FreeRADIUS's one process too often for 5,000 logins a second.
                bench.latency(f"PAP beside {WRITE_RATE:,} records/s ({other}: {words})", pair, users, WRITE_RATE)
    for count in (plan.few, plan.million):
        if count:
            with ExitStack() as stack:
                servers = start(stack, count)
                if count == plan.million:
                    bench.startup(count, servers)
                    bench.memory(f"memory, {count:,} users", servers)
                bench.throughput(f"PAP, {count:,} users", servers, "pap", count)


def machine() -> dict[str, Any]:
    """What a figure needs beside it to be believed."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "commit": commit or "unknown",
        "load_average": os.getloadavg()[0],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 2 minutes: 10,000 users, fewer repetitions")
    parser.add_argument("--only", choices=("ours", "freeradius"), help="measure one server alone")
    parser.add_argument("--sign", action="store_true", help="Message-Authenticator in every request")
    parser.add_argument("--seconds", type=float, help="length of one run")
    parser.add_argument("--repetitions", type=int, help="runs per row; the median counts")
    parser.add_argument("--server-cpu", type=int, default=0, help="core of the servers; -1: any (0)")
    parser.add_argument("--load-cpu", type=int, default=1, help="core of the generator; -1: any (1)")
    arguments = parser.parse_args()
    plan = QUICK if arguments.quick else FULL
    plan.seconds = arguments.seconds or plan.seconds
    plan.repetitions = arguments.repetitions or plan.repetitions
    one_core = (os.cpu_count() or 1) < 2
    server_cpu = None if one_core or arguments.server_cpu < 0 else arguments.server_cpu
    load_cpu = None if one_core or arguments.load_cpu < 0 else arguments.load_cpu
    ours, theirs = arguments.only != "freeradius", arguments.only != "ours"
    began = time.monotonic()
    bench = Bench(plan, load_cpu, arguments.sign)
    facts = machine()
    failure = ""
    try:
        build_load()
        if theirs:
            facts["freeradius"] = freeradius.version()
        measure(bench, server_cpu, ours, theirs)
    except ServerFailed as error:
        failure = str(error)
    names = [Ours.name] * ours + [FreeRadius.name] * theirs
    print(bench.table(names))
    print("\nCPU-us: user and system time of all processes of a server per answered request; ratio: FreeRADIUS to aaa.")
    print("Sync: plan, subscriber and service with its password through the HTTP API, every operation durable.")
    print("Per cent: share of one core that the server got. Latency: open loop, from the scheduled time.")
    print(", ".join(f"{key} {value}" for key, value in facts.items()), f"{time.monotonic() - began:.0f} s", sep=", ")
    for warning in dict.fromkeys(bench.warnings):
        print("warning:", warning)
    RUN.mkdir(parents=True, exist_ok=True)
    (RUN / "results.json").write_text(json.dumps({"machine": facts, "results": bench.results}, indent=1))
    if failure:
        print(f"bench: stopped early: {failure}", file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
