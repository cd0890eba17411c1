"""FreeRADIUS 3.2 of Debian as the yardstick: the same users, one process, a minimal configuration of its own.

Knows how to configure, start and stop it under a directory of its own; the system's configuration stays untouched.

    python -m bench.freeradius --users 10000 --accounting detail     # runs until interrupted, prints ports and pid
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from bench.server import RUN, SECRET, Server, ServerFailed, accepts_login, build_load

SYSTEM_CONFIG = Path("/etc/freeradius/3.0")
ACCOUNTING_KINDS = ("none", "detail", "sqlite")

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
            raise ServerFailed(f"freeradius is missing and cannot be installed ({error})") from error
        program = shutil.which("freeradius", path="/usr/sbin")
    if program is None:
        raise ServerFailed("freeradius is missing; install the Debian package freeradius 3.2")
    return program


class FreeRadius(Server):
    """One FreeRADIUS process, without threads."""

    name = "FreeRADIUS"

    def __init__(self, users: int, accounting: str = "none", cpu: int | None = None) -> None:
        """users: 1..4 million, u000001/p000001 and on. accounting: one of ACCOUNTING_KINDS.

        Raises ServerFailed.
        """
        if accounting not in ACCOUNTING_KINDS:
            raise ValueError(f"accounting: {accounting!r} is none of {', '.join(ACCOUNTING_KINDS)}")
        super().__init__(RUN / f"freeradius-{accounting}", cpu)
        self._configure(users, accounting)
        # -s: one process, no threads; -f stays in the foreground so that the pid is the server's.
        command = [find_program(), "-f", "-s", "-d", str(self.directory), "-n", "radiusd"]
        self.launch(command, lambda: accepts_login(self.auth_port))

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
        (self.directory / "dictionary").write_text("")
        if accounting == "sqlite":
            schema = (SYSTEM_CONFIG / "mods-config/sql/main/sqlite/schema.sql").read_text()
            with contextlib.closing(sqlite3.connect(self.directory / "radacct.db")) as database:
                # WAL halves its cost against the default rollback journal, and is what this project's store uses.
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(schema)
        with (self.directory / "users").open("w") as file:
            for number in range(1, users + 1):
                file.write(USER_ENTRY.format(name=f"u{number:06d}", password=f"p{number:06d}", number=number))


def version() -> str:
    """What `freeradius -v` calls itself, such as "3.2.1"."""
    output = subprocess.run([find_program(), "-v"], capture_output=True, text=True, check=True).stdout
    return output.partition("Version ")[2].split(",")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--accounting", choices=ACCOUNTING_KINDS, default="none")
    parser.add_argument("--cpu", type=int, help="core to run on")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    build_load()
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
            server.process.wait() if server.process else None
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
