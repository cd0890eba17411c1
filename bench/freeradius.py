"""FreeRADIUS 3.2 of Debian as the yardstick: the same users, one process, a minimal configuration of its own.

Knows how to configure, start and stop it under a directory of its own; the system's configuration stays untouched.

    python bench/freeradius.py --users 10000 --accounting detail     # runs until interrupted, prints ports and pid
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "run" / "bench"
LOAD = ROOT / "build" / "bench" / "load"
SECRET = "testing123"
SYSTEM_CONFIG = Path("/etc/freeradius/3.0")
ACCOUNTING_KINDS = ("none", "detail", "sqlite")
STARTUP_S_MAX = 120.0  # seconds; Bound: a million users take 7 here, slow machines ten times that

# The six attributes that this project's server sends a MikroTik NAS for plan home-50.
USER_ENTRY = """{name}\tCleartext-Password := "{password}"
\tMikrotik-Rate-Limit = "10M/50M",
\tSession-Timeout = 86400,
\tAcct-Interim-Interval = 300,
\tService-Type = Framed-User,
\tFramed-Protocol = PPP,
\tClass = 0x{number:048x}
"""

# recv_buff matches what the generator and this project's server ask for: a small one loses bursts, not CPU time.
# max_requests: one for every (port, identifier) pair of the generator, so that cleanup_delay refuses none.
CONFIG = """prefix = /usr
name = freeradius
libdir = /usr/lib/freeradius
logdir = {directory}
run_dir = {directory}
raddbdir = {directory}
radacctdir = {directory}/radacct
pidfile = {directory}/freeradius.pid
max_request_time = 30
cleanup_delay = 5
max_requests = 262144
hostname_lookups = no
log {{
	destination = files
	file = {directory}/radius.log
	auth = no
}}
security {{
	max_attributes = 200
	reject_delay = 1
	status_server = yes
}}
proxy_requests = no
thread pool {{
	start_servers = 1
	max_servers = 1
	min_spare_servers = 1
	max_spare_servers = 1
	max_requests_per_server = 0
}}
client loopback {{
	ipaddr = 127.0.0.1
	secret = {secret}
	require_message_authenticator = no
	nas_type = other
}}
modules {{
	always ok {{
		rcode = ok
	}}
	expr {{
	}}
	pap {{
	}}
	chap {{
	}}
	mschap {{
		use_mppe = yes
		pool {{
			start = 0
			min = 0
			max = 1
			spare = 0
		}}
	}}
	files {{
		filename = {directory}/users
	}}
{accounting_module}
}}
server default {{
	listen {{
		type = auth
		ipaddr = 127.0.0.1
		port = {auth_port}
		recv_buff = 4194304
	}}
	listen {{
		type = acct
		ipaddr = 127.0.0.1
		port = {acct_port}
		recv_buff = 4194304
	}}
	authorize {{
		chap
		mschap
		files
		pap
	}}
	authenticate {{
		Auth-Type PAP {{
			pap
		}}
		Auth-Type CHAP {{
			chap
		}}
		Auth-Type MS-CHAP {{
			mschap
		}}
	}}
	preacct {{
{preacct}
	}}
	accounting {{
		{accounting}
	}}
}}
"""

DETAIL_MODULE = """	detail {{
		filename = {directory}/radacct/%{{%{{Packet-Src-IP-Address}}:-%{{Packet-Src-IPv6-Address}}}}/detail-%Y%m%d
		permissions = 0600
		header = "%t"
	}}"""

SQLITE_MODULE = """	sql {{
		dialect = "sqlite"
		driver = "rlm_sql_sqlite"
		sqlite {{
			filename = "{directory}/radacct.db"
			busy_timeout = 200
		}}
		radius_db = "radius"
		acct_table1 = "radacct"
		acct_table2 = "radacct"
		postauth_table = "radpostauth"
		authcheck_table = "radcheck"
		groupcheck_table = "radgroupcheck"
		authreply_table = "radreply"
		groupreply_table = "radgroupreply"
		usergroup_table = "radusergroup"
		client_table = "nas"
		group_attribute = "SQL-Group"
		pool {{
			start = 1
			min = 1
			max = 1
			spare = 0
			uses = 0
			lifetime = 0
			idle_timeout = 0
		}}
		$INCLUDE {system}/mods-config/sql/main/sqlite/queries.conf
	}}"""

# The stock acct_unique policy without its Class branch.
SQLITE_PREACCT = """		update request {
			&Acct-Unique-Session-Id := "%{md5:%{User-Name},%{Acct-Session-ID},%{%{NAS-IPv6-Address}:-%{NAS-IP-Address}},%{NAS-Identifier},%{NAS-Port-ID},%{NAS-Port}}"
		}"""  # noqa: E501


class ServerFailed(Exception):
    """A server under measurement could not be installed, started or stopped; the text says what its log said."""


def find_program() -> str:
    """Path of the freeradius program; installs the Debian package where it is missing and may be installed.

    Raises ServerFailed where it cannot be had.
    """
    program = shutil.which("freeradius") or shutil.which("freeradius", path="/usr/sbin")
    if program is None:
        print("bench: installing Debian's freeradius (apt-get install freeradius)", file=sys.stderr)
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        command = ["apt-get", "install", "-y", "--no-install-recommends", "freeradius"]
        if os.geteuid() != 0:
            command.insert(0, "sudo")
        try:
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ServerFailed(f"freeradius is missing and cannot be installed ({error}); install it by hand") from error
        program = shutil.which("freeradius", path="/usr/sbin")
    if program is None:
        raise ServerFailed("freeradius is missing; install the Debian package freeradius 3.2")
    return program


def free_udp_port() -> int:
    """A loopback UDP port that nobody holds now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def resident_bytes(pids: list[int]) -> int:
    """Resident memory of the processes together, shared pages counted for each."""
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids)
    return pages * os.sysconf("SC_PAGE_SIZE")


def answers(port: int) -> bool:
    """Whether the server on a loopback port accepts user u000001 within 30 ms."""
    command = [str(LOAD), "-u", "1", "-w", "1", "-n", "1", "--timeout", "0.03", "--json", f"pap:{port}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode == 0 and json.loads(result.stdout)["answered"] == 1


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path, started: float) -> float:
    """Seconds from `started` (monotonic) to the first Access-Accept on the port.

    Raises ServerFailed when the process ends or STARTUP_S_MAX passes first.
    """
    while not answers(port):
        if process.poll() is not None or time.monotonic() - started > STARTUP_S_MAX:
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise ServerFailed(f"{process.args!r} gives no answer (exit {process.poll()}):\n{tail}")
    return time.monotonic() - started


class FreeRadius:
    """One running FreeRADIUS: `pids`, `auth_port`, `acct_port`, `startup_s` (seconds to the first answer)."""

    name = "FreeRADIUS"

    def __init__(self, users: int, accounting: str = "none", cpu: int | None = None) -> None:
        """users: 1..4 million, u000001/p000001 and on. accounting: one of ACCOUNTING_KINDS. cpu: core to run on.

        Raises ServerFailed.
        """
        if accounting not in ACCOUNTING_KINDS:
            raise ValueError(f"accounting: {accounting!r} is none of {', '.join(ACCOUNTING_KINDS)}")
        self.directory = RUN / "freeradius"
        self.auth_port, self.acct_port = free_udp_port(), free_udp_port()
        self._configure(users, accounting)
        # -s: one process, no threads; -f stays in the foreground so that the pid is the server's.
        command = [find_program(), "-f", "-s", "-d", str(self.directory), "-n", "radiusd"]
        if cpu is not None:
            command = ["taskset", "-c", str(cpu), *command]
        started = time.monotonic()
        with (self.directory / "output.log").open("wb") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            self.startup_s = wait_until_it_answers(
                self.process, self.auth_port, self.directory / "radius.log", started
            )
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> list[int]:
        return [self.process.pid]

    def _configure(self, users: int, accounting: str) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        (self.directory / "radacct").mkdir(parents=True)
        names = {"directory": self.directory, "system": SYSTEM_CONFIG}
        module = {"none": "", "detail": DETAIL_MODULE, "sqlite": SQLITE_MODULE}[accounting].format(**names)
        text = CONFIG.format(
            **names,
            secret=SECRET,
            auth_port=self.auth_port,
            acct_port=self.acct_port,
            accounting_module=module,
            preacct=SQLITE_PREACCT if accounting == "sqlite" else "",
            accounting={"none": "ok", "detail": "detail", "sqlite": "sql"}[accounting],
        )
        (self.directory / "radiusd.conf").write_text(text)
        if accounting == "sqlite":
            schema = (SYSTEM_CONFIG / "mods-config/sql/main/sqlite/schema.sql").read_text()
            with contextlib.closing(sqlite3.connect(self.directory / "radacct.db")) as database:
                # WAL halves its cost against the default rollback journal, and is what this project's store uses.
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(schema)
        (self.directory / "dictionary").write_text("")
        with (self.directory / "users").open("w") as file:
            for number in range(1, users + 1):
                file.write(
                    USER_ENTRY.format(name=f"u{number:06d}", password=f"p{number:06d}", number=number)
                )

    def resident_bytes(self) -> int:
        return resident_bytes(self.pids)

    def stop(self) -> None:
        """Ends the process and removes what it stored."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> "FreeRadius":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--accounting", choices=ACCOUNTING_KINDS, default="none")
    parser.add_argument("--cpu", type=int, help="core to run on")
    arguments = parser.parse_args()
    with FreeRadius(arguments.users, arguments.accounting, arguments.cpu) as server:
        print(
            json.dumps(
                {
                    "pid": server.pids[0],
                    "auth_port": server.auth_port,
                    "acct_port": server.acct_port,
                    "startup_s": round(server.startup_s, 3),
                    "resident_mib": round(server.resident_bytes() / 2**20, 1),
                }
            ),
            flush=True,
        )
        try:
            server.process.wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
