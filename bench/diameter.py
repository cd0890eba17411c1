"""Gx, Gy and S6a of this server, of OTP's diameter and of freeDiameter under the same load, in one table.

    python -m bench.diameter             # under 4 minutes
    python -m bench.diameter --quick     # under a minute
    python -m bench.diameter --only aaa  # one server alone

All are up at the same time, each on the same core, and take turns. The other two answer with constants and keep
nothing; this server decides by policy, makes vectors, debits, and answers what is durable.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.diameter_requests import REALM, SERVER, messages
from bench.ours import Ours
from bench.run import machine
from bench.server import COMPILE, ROOT, RUN, Server, ServerFailed, free_port
from tests.lab.certificate import Authority

SOURCE = ROOT / "bench" / "diameter_load.c"
PEERS = ROOT / "bench" / "diameter_peers"
BUILD = ROOT / "build" / "bench"
LOAD = BUILD / "diameter_load"
TEMPLATES = BUILD / "diameter.templates"
EXTENSIONS = Path("/usr/lib/freeDiameter")
APPLICATIONS = {"gx": "Gx: CCR-I, CCR-T", "gy": "Gy: CCR-I, 8 CCR-U, CCR-T", "s6a": "S6a: AIR, ULR"}
WINDOW = 32
MANY = 8  # connections of the second row of each application
LATENCY_RATE = 2_000  # transactions/s, open loop
USERS = 10_000
LINES_PER_CHUNK = 9_999
KI, OPC = "465B5CE8B199B49FAA5F0A2EE238A6BC", "CD63CB71954A9F4E48A5994E37A02BAF"  # TS 35.208 §4.3, test set 1
FIRST_IMSI = 1_010_000_000_000

CONFIG = """
[diameter]
listen = ["127.0.0.1"]
port = {port}
origin_host = "{host}"
origin_realm = "{realm}"

[[peer]]
origin_host = "*"
origin_realm = "{realm}"
address = ["127.0.0.1"]
"""

PLAN = {
    "op": "put",
    "kind": "plan",
    "id": "mobile",
    "value": {
        "revision": 1,
        "name": "Mobile",
        "kind": "mobile",
        "rate": {"down_bps": 20_000_000, "up_bps": 10_000_000},
        "quota": {"octets": 200_000_000_000, "period": "month"},
        "on_exhausted": ["block"],
        "qos": {
            "qci": 9,
            "arp": {"priority": 8, "preempt": False, "preemptable": True},
            "apn": "internet",
            "apn_ambr": {"down_bps": 20_000_000, "up_bps": 10_000_000},
        },
    },
}


def operations(users: int, plan: dict[str, Any] = PLAN) -> Iterator[str]:
    """Subscribers, services and activated SIMs m000001 and on, as NDJSON in chunks."""

    def line(kind: str, id: str, **value: Any) -> str:
        return json.dumps({"op": "put", "kind": kind, "id": id, "value": {"revision": 1, **value}}) + "\n"

    yield json.dumps(plan) + "\n"
    for first in range(1, users + 1, LINES_PER_CHUNK // 3):
        lines = []
        for number in range(first, min(first + LINES_PER_CHUNK // 3, users + 1)):
            name = f"m{number:06d}"
            sim = {"ki": KI, "opc": OPC, "amf": "B9B9", "service_id": name, "state": "activated"}
            lines += [
                line("subscriber", name, name=f"Subscriber {number}"),
                line("service", name, subscriber_id=name, plan_id=plan["id"], state="active"),
                line(
                    "sim",
                    f"89001{number:014d}",
                    imsi=f"{FIRST_IMSI + number:015d}",
                    msisdn=f"{15_550_000_000 + number:011d}",
                    **sim,
                ),
            ]
        yield "".join(lines)


def build() -> None:
    """The generator and its requests, where they are missing or old. Raises ServerFailed."""
    BUILD.mkdir(parents=True, exist_ok=True)
    if not LOAD.exists() or LOAD.stat().st_mtime < SOURCE.stat().st_mtime:
        compiled(*COMPILE, "-o", str(LOAD), str(SOURCE), "-lcrypto")
    for service_context in False, True:
        templates(service_context).write_bytes(b"".join(messages(service_context)))


def templates(service_context: bool) -> Path:
    return TEMPLATES.with_suffix(".context") if service_context else TEMPLATES


def compiled(*command: str) -> None:
    try:
        subprocess.run(command, cwd=ROOT, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ServerFailed(f"{' '.join(command)}: {error}; `make peers` installs what is needed") from error


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise ServerFailed(f"{name} is missing; `make peers` installs it")
    return found


def listens(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return True
    time.sleep(0.02)
    return False


class Mobile(Ours):
    """`aaa serve` with SIMs and plans of the load, and peers of its realm."""

    prefix = "aaa-mobile"
    options: tuple[str, ...] = ()
    templates = templates(False)
    new_peers = False

    def __init__(self, users: int, cpu: int | None = None) -> None:
        self.port = free_port(socket.SOCK_STREAM)
        super().__init__(users, cpu)

    def config_text(self) -> str:
        return super().config_text() + CONFIG.format(port=self.port, host=SERVER, realm=REALM)

    def operations(self, users: int) -> Iterator[str]:
        return operations(users)

    def answers(self) -> bool:
        return listens(self.port)


class Otp(Server):
    """OTP's diameter in one Erlang VM with one scheduler, answering with constants."""

    name = "OTP diameter"
    options = ("--no-vectors",)
    templates = templates(False)
    new_peers = False

    def __init__(self, cpu: int | None = None) -> None:
        super().__init__(RUN / "otp", cpu)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port(socket.SOCK_STREAM)
        beams = BUILD / "erlang"
        avps = ROOT / "tests" / "lab" / "avps.dia"
        compiled(program("escript"), str(PEERS / "build.escript"), str(avps), str(PEERS), str(beams))
        command = [
            program("erl"),
            "-noshell",
            "-pa",
            str(beams),
            "+S",
            "1",
            "-s",
            "bench_server",
            "main",
            str(self.port),
        ]
        self.launch(command, lambda: listens(self.port))


class FreeDiameter(Server):
    """freeDiameterd with an extension that answers with constants."""

    name = "freeDiameter"
    options = ("--no-vectors",)
    templates = templates(True)
    new_peers = True
    """One that comes again is not served before three watchdogs (RFC 3539 §3.4.1); OTP can be told otherwise."""

    def __init__(self, cpu: int | None = None) -> None:
        super().__init__(RUN / "freediameter", cpu)
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.port = free_port(socket.SOCK_STREAM)
        extension = BUILD / "fd_server.fdx"
        source = PEERS / "fd_server.c"
        compiled("cc", "-O2", "-Wall", "-Wextra", "-fPIC", "-shared", "-o", str(extension), str(source))
        # The daemon wants a certificate in its name, though nothing here is encrypted.
        tls = Authority(self.directory / "certificates").issue(SERVER)
        allowed = self.directory / "acl.conf"
        allowed.write_text(f"ALLOW_IPSEC *.{REALM}\n")
        modules = [f"{EXTENSIONS}/{name}.fdx" for name in ("dict_nasreq", "dict_dcca", "dict_dcca_3gpp")]
        config = self.directory / "fd.conf"
        config.write_text(
            f"""
Identity = "{SERVER}"; Realm = "{REALM}";
Port = {self.port}; SecPort = 0; No_SCTP; No_IPv6; NoRelay; ListenOn = "127.0.0.1";
TLS_Cred = "{tls}/cert.pem", "{tls}/key.pem"; TLS_CA = "{tls}/ca.pem";
LoadExtension = "{EXTENSIONS}/acl_wl.fdx" : "{allowed}";
"""
            + "".join(f'LoadExtension = "{module}";\n' for module in [*modules, str(extension)])
        )
        self.launch([program("freeDiameterd"), "-c", str(config)], lambda: listens(self.port))


@dataclass
class Row:
    label: str
    cells: dict[str, str] = field(default_factory=dict)


class Bench:
    """Runs loads and collects rows. Raises ServerFailed on a wrong answer: a fast wrong answer is worth nothing."""

    def __init__(self, seconds: float, repetitions: int, load_cpu: int | None) -> None:
        self.seconds = seconds
        self.repetitions = repetitions
        self.rows: list[Row] = []
        self.results: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self._cpu = ["--cpu", str(load_cpu)] if load_cpu is not None else []
        self._first = 0

    def load(self, label: str, server: Any, application: str, *options: str) -> dict[str, Any]:
        """One run of the generator against one server; its JSON report."""
        if server.new_peers:
            self._first = (self._first + MANY) % 700
        command = [str(LOAD), "--json", *self._cpu, "-p", str(server.port), "-m", str(server.templates)]
        command += ["-P", ",".join(map(str, server.pids)), "-u", str(USERS), "-w", str(WINDOW)]
        command += [
            "--first",
            str(self._first if server.new_peers else 0),
            "-t",
            str(self.seconds),
            *server.options,
            *options,
            application,
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise ServerFailed(f"{label}, {server.name}: {' '.join(command)}\n{result.stdout}{result.stderr[-3000:]}")
        report: dict[str, Any] = json.loads(result.stdout)
        self.results.append({"row": label, "server": server.name, **report})
        if report["lost"]:
            self.warnings.append(f"{label}, {server.name}: {report['lost']} requests lost")
        return report

    def warm(self, servers: list[Any], application: str, *options: str) -> None:
        """Everybody comes once before anything counts: then a SIM that attaches is with the MME that asks."""
        for server in servers:
            self.load("warm-up", server, application, "-n", str(2 * USERS), *options)

    def row(
        self,
        label: str,
        servers: list[Any],
        application: str,
        show: Callable[[list[dict[str, Any]]], str],
        *options: str,
    ) -> None:
        """One row, medians of the repetitions; the servers take turns."""
        print(f"bench: {label}", file=sys.stderr)
        reports: dict[str, list[dict[str, Any]]] = {server.name: [] for server in servers}
        for _ in range(self.repetitions):
            for server in servers:
                reports[server.name].append(self.load(label, server, application, *options))
        self.rows.append(Row(label, {name: show(several) for name, several in reports.items()}))

    def table(self, names: list[str]) -> str:
        width = max((len(row.label) for row in self.rows), default=0)
        lines = [f"{'':{width}}" + "".join(f"{name:>28}" for name in names)]
        lines += [f"{row.label:{width}}" + "".join(f"{row.cells[name]:>28}" for name in names) for row in self.rows]
        return "\n".join(lines)


def cost(reports: list[dict[str, Any]]) -> str:
    rate, share, each = (
        statistics.median(report[key] for report in reports)
        for key in ("transactions_per_s", "cpu_share", "cpu_us_per_transaction")
    )
    return f"{rate:,.0f}/s {share:5.0%} {each:6.1f} us"


def latency(reports: list[dict[str, Any]]) -> str:
    p50, p99 = (statistics.median(report["latency_us"][key] / 1000 for report in reports) for key in ("p50", "p99"))
    return f"{p50:.2f} / {p99:.2f} ms"


def measure(bench: Bench, servers: list[Any]) -> None:
    for application, label in APPLICATIONS.items():
        bench.warm(servers, application)
        bench.row(label, servers, application, cost)
        rate = f"  at {LATENCY_RATE:,}/s: p50 / p99"
        bench.row(rate, servers, application, latency, "-r", str(LATENCY_RATE))
        bench.warm(servers, application, "-s", str(MANY))
        bench.row(f"  from {MANY} peers", servers, application, cost, "-s", str(MANY))


def main() -> int:
    kinds: dict[str, Callable[[int | None], Any]] = {
        "aaa": lambda cpu: Mobile(USERS, cpu),
        "otp": Otp,
        "freediameter": FreeDiameter,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under a minute: short runs, no repetitions")
    parser.add_argument("--only", choices=kinds, help="measure one server alone")
    parser.add_argument("--seconds", type=float, help="length of one run")
    parser.add_argument("--repetitions", type=int, help="runs per row; the median counts")
    parser.add_argument("--server-cpu", type=int, default=0, help="core of the servers; -1: any (0)")
    parser.add_argument("--load-cpu", type=int, default=1, help="core of the generator; -1: any (1)")
    arguments = parser.parse_args()
    seconds, repetitions = (1.0, 1) if arguments.quick else (2.0, 3)
    one_core = (os.cpu_count() or 1) < 2
    server_cpu = None if one_core or arguments.server_cpu < 0 else arguments.server_cpu
    load_cpu = None if one_core or arguments.load_cpu < 0 else arguments.load_cpu
    bench = Bench(arguments.seconds or seconds, arguments.repetitions or repetitions, load_cpu)
    facts = machine()
    failure = ""
    names: list[str] = []
    try:
        build()
        with ExitStack() as stack:
            servers = []
            for name, start in kinds.items():
                if arguments.only in (None, name):
                    servers.append(stack.enter_context(start(server_cpu)))
                    names.append(servers[-1].name)
            measure(bench, servers)
    except ServerFailed as error:
        failure = str(error)
    print(bench.table(names))
    print(f"\nCPU-us: user and system time of all processes of a server per transaction, {WINDOW} outstanding.")
    print("OTP diameter and freeDiameter answer with constants; aaa's answers are decided, debited and durable.")
    print(", ".join(f"{key} {value}" for key, value in facts.items()))
    for warning in dict.fromkeys(bench.warnings):
        print("warning:", warning)
    RUN.mkdir(parents=True, exist_ok=True)
    (RUN / "diameter.json").write_text(json.dumps({"machine": facts, "results": bench.results}, indent=1))
    if failure:
        print(f"bench: stopped early: {failure}", file=sys.stderr)
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
