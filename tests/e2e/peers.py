"""Real processes around the tests: the server itself, radclient, FreeRADIUS as a proxy, and tshark as the judge."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.e2e.wire import Nas

ROOT = Path(__file__).resolve().parents[2]
SECRET = "testing123"
DISCARD_PORT = 9
TOKEN = "e2e-token-0123456789"
PATIENCE_S = 30.0  # a bound against a hanging test, never a measurement
TROUBLE = re.compile(r"Traceback|Exception|Error in sys\.|Fatal Python|never retrieved|Segmentation", re.IGNORECASE)

CONFIG = """[server]
data_dir = "{directory}/data"
{server}
[store]
key = "{key}"

[radius]
listen = {listen}
auth_port = 0
acct_port = 0
{radius}
{nases}
[api]
listen = "127.0.0.1:0"

[[token]]
name = "tests"
role = "admin"
token = "{token}"
{extra}
"""


def program(name: str) -> str:
    """Path of a peer's program; AssertionError naming how to get it: a peer is never skipped silently."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    assert path is not None, f"{name} is missing; `make peers` installs the Debian packages that the tests need"
    return path


def nas(name: str, address: str | list[str], **keys: Any) -> str:
    """A [[nas]] entry. Nobody answers CoA in its place unless coa_port says where, whatever else listens on 3799."""
    entry = {"name": name, "address": address, "secret": SECRET, "coa_port": DISCARD_PORT, **keys}
    lines = "\n".join(f"{key} = {toml(value)}" for key, value in entry.items())
    return f"[[nas]]\n{lines}\n"


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)


class ApiError(Exception):
    """A status of 400 or more, with its problem document."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class RunningServer:
    """`aaa serve` on ports of the kernel's choice, with a data directory of its own."""

    def __init__(
        self,
        directory: Path,
        nases: str,
        *,
        radius: str = "",
        server: str = "",
        extra: str = "",
        listen: Iterable[str] = ("0.0.0.0", "::"),
        environment: Mapping[str, str] | None = None,
        command: Iterable[str] = (),
    ) -> None:
        """radius, server, extra: further lines of [radius] and [server], further sections."""
        self.directory = directory
        self.config = directory / "aaa.toml"
        self.log = directory / "log"
        self.environment = dict(environment or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.settings = {"server": server, "radius": radius, "extra": extra}
        self.listen = list(listen)
        self.nases = nases
        self.expected_trouble = ""
        self.configure()
        self.start()

    def configure(self, nases: str | None = None, **settings: str) -> None:
        """Write the configuration; it counts from the next start or reload."""
        self.nases = self.nases if nases is None else nases
        self.settings |= settings
        text = CONFIG.format(
            directory=self.directory,
            key="01" * 32,
            listen=json.dumps(self.listen),
            token=TOKEN,
            nases=self.nases,
            **self.settings,
        )
        self.config.write_text(text)
        self.config.chmod(0o600)

    def start(self) -> None:
        """Start and wait until the API is ready."""
        self.begun = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aaa.cli", "serve", "-c", str(self.config)],
                cwd=ROOT,
                stdout=log,
                stderr=log,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | self.environment,
            )
        started = self.wait_for_line("server.started")
        self.auth_ports = dict(started["auth"])
        self.acct_ports = dict(started["acct"])
        self.diameter_ports = {kind: port for kind, _, port in started["diameter"] or ()}
        """By "tcp", "tls" and "sctp"."""
        host, port = started["api"]
        self.url = f"http://{host}:{port}"
        self.wait_until(self.is_ready)

    def is_ready(self) -> bool:
        try:
            return bool(self.api("GET", "/readyz"))
        except (ApiError, OSError):
            return False

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    # The log

    def lines(self) -> list[dict[str, Any]]:
        """JSON lines since the last start."""
        found = []
        with self.log.open("rb") as log:
            log.seek(self.begun)
            for line in log:
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return found

    def wait_for_line(self, event: str, after: int = 0, **fields: Any) -> dict[str, Any]:
        """The first line of this event behind the first `after` lines."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            found[:] = [
                line
                for line in self.lines()[after:]
                if line["event"] == event and all(line.get(key) == value for key, value in fields.items())
            ]
            return bool(found)

        self.wait_until(look)
        return found[0]

    def wait_until(self, condition: Any) -> None:
        """Until a condition holds; fails with the log when the process ends or PATIENCE_S is over."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process is not None
            state = self.process.poll()
            assert state is None, f"the server ended with {state}:\n{self.log.read_text()[-4000:]}"
            assert time.monotonic() < deadline, f"nothing came:\n{self.log.read_text()[-4000:]}"
            time.sleep(0.02)

    def check_log(self) -> None:
        """No exception, no warning of a runtime, no secret."""
        text = self.log.read_text(errors="replace")
        trouble = [line for line in text.splitlines() if TROUBLE.search(line)]
        assert not trouble, text[-6000:]
        assert SECRET not in text
        assert TOKEN not in text

    # The API

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """JSON in, JSON out; text where the answer is text. Raises ApiError."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, error.read().decode()) from None
        return json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def sync(self, *operations: dict[str, Any]) -> list[dict[str, Any]]:
        """Push; every operation must be applied."""
        results: list[dict[str, Any]] = self.api("POST", "/v1/sync", {"operations": operations})["results"]
        assert all(result["status"] == "applied" for result in results), results
        return results

    def put(self, kind: str, name: str, /, **value: Any) -> None:
        self.sync({"op": "put", "kind": kind, "id": name, "value": {"revision": 1, **value}})

    def plan(self, name: str, /, **value: Any) -> str:
        self.put("plan", name, **value)
        return name

    def service(
        self, name: str, password: str | None = None, /, *, plan: str = "home-50", credentials: Any = None, **value: Any
    ) -> str:
        """A subscriber with one service of the same id; password: of user name `name`."""
        operator = value.pop("operator", "default")
        if credentials is None:
            credentials = [{"type": "password", "username": name, "cleartext": password or f"pw-{name}"}]
        self.put("subscriber", name, operator=operator)
        self.put(
            "service", name, subscriber_id=name, plan_id=plan, **{"state": "active", **value}, credentials=credentials
        )
        return name

    def status(self, service: str) -> Any:
        return self.api("GET", f"/v1/services/{service}/status")

    def sessions(self, service: str, ended: bool = False) -> list[Any]:
        query = f"/v1/sessions?service={service}" + ("&ended=true" if ended else "")
        items: list[Any] = self.api("GET", query)["items"]
        return items

    def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics; 0 where there is none."""
        for line in self.api("GET", "/metrics").splitlines():
            wanted = (f'{key}="{value}"' in line for key, value in labels.items())
            if line.startswith((name + "{", name + " ")) and all(wanted):
                return float(line.rpartition(" ")[2])
        return 0.0

    def drops(self, reason: str) -> float:
        return self.metric("aaa_radius_drops_total", reason=reason)

    # As a NAS

    def nas(self, address: str = "127.0.0.1", secret: str = SECRET, to: str | None = None) -> Nas:
        """A socket at a source address, whose [[nas]] entry has this secret; to: the address asked."""
        wildcard = "::" if ":" in address else "0.0.0.0"
        to = to or ("::1" if ":" in address else "127.0.0.1")
        bound = wildcard if wildcard in self.auth_ports else to
        return Nas(address, secret.encode(), (to, self.auth_ports[bound]), (to, self.acct_ports[bound]))

    def radclient(
        self,
        kind: str,
        attributes: str,
        *,
        source: str = "127.0.0.1",
        secret: str = SECRET,
        tries: int = 1,
        wait: int = 5,
    ) -> "Answer":
        """Send one request with radclient and decode what it prints. kind: auth, acct or status."""
        family = 6 if ":" in source else 4
        wildcard, host = ("::", "[::1]") if family == 6 else ("0.0.0.0", "127.0.0.1")
        ports = self.acct_ports if kind == "acct" else self.auth_ports
        port = ports.get(wildcard) or next(iter(ports.values()))
        name = "Packet-Src-IPv6-Address" if family == 6 else "Packet-Src-IP-Address"
        command = [program("radclient"), "-x", f"-{family}", "-r", str(tries), "-t", str(wait)]
        result = subprocess.run(
            [*command, f"{host}:{port}", kind, secret],
            input=f"{attributes}\n{name} = {source}\n",
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Answer(result.stdout, result.stderr)

    def login(self, user: str, password: str, *extra: str, method: str = "User-Password", **options: Any) -> "Answer":
        lines = [f'User-Name = "{user}"', f'{method} = "{password}"', *extra]
        return self.radclient("auth", "\n".join(lines), **options)

    def account(self, status: str, session: str, *extra: str, **options: Any) -> "Answer":
        lines = [f"Acct-Status-Type = {status}", f'Acct-Session-Id = "{session}"', *extra]
        answer = self.radclient("acct", "\n".join(lines), **options)
        assert answer.code == "Accounting-Response", answer.text
        return answer

    # Its life

    def reload(self, expect: str = "config.reloaded") -> dict[str, Any]:
        """SIGHUP, and the line that tells what it did."""
        seen = len(self.lines())
        os.kill(self.pid, signal.SIGHUP)
        return self.wait_for_line(expect, seen)

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(PATIENCE_S)

    def kill(self) -> None:
        """SIGKILL: nothing is said goodbye to. Its writer and HTTP processes end by themselves."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)


class Answer:
    """What radclient received."""

    def __init__(self, text: str, errors: str) -> None:
        self.text = text + errors
        received = text.partition("Received ")[2]
        self.code = received.partition(" ")[0]
        """"Access-Accept" and so on; "" when nothing came."""
        self.pairs: list[tuple[str, str]] = []
        for line in received.splitlines()[1:]:
            if not line.startswith("\t"):
                break
            name, _, value = line.strip().partition(" = ")
            self.pairs.append((name, value.strip('"')))

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]

    def get(self, name: str) -> str:
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in\n{self.text}"
        return values[0]

    @property
    def accepted(self) -> bool:
        return self.code == "Access-Accept"

    @property
    def rejected(self) -> bool:
        return self.code == "Access-Reject"


class Capture:
    """dumpcap on loopback, and tshark to read what it saw. Needs root, or dumpcap's capabilities."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.process = subprocess.Popen(
            [program("dumpcap"), "-q", "-i", "lo", "-f", "udp", "-B", "32", "-w", str(file)],
            stderr=subprocess.PIPE,
            text=True,
        )
        # It prints the file's name when it is about to capture; the file's header is there when it does.
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if line.startswith("File:"):
                break
        assert self.process.poll() is None, "dumpcap cannot capture on lo"

    def stop(self) -> None:
        """Interrupt it, as a user would, once it has written what came before."""
        if self.process.poll() is None:
            mark = os.urandom(16)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                last.sendto(mark, ("127.0.0.1", 9))
            deadline = time.monotonic() + PATIENCE_S
            while mark not in self.file.read_bytes():
                assert time.monotonic() < deadline, "dumpcap does not write what it sees"
                time.sleep(0.02)
            self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=PATIENCE_S)

    def decode(self, ports: Iterable[int], display: str, *fields: str, secret: str = SECRET) -> list[list[str]]:
        """Fields of the packets that match a display filter; `ports` are read as RADIUS."""
        command = [program("tshark"), "-n", "-r", str(self.file), "-Y", display, "-T", "fields"]
        for port in ports:
            command += ["-d", f"udp.port=={port},radius"]
        command += ["-o", f"radius.shared_secret:{secret}", "-o", "radius.validate_authenticator:TRUE"]
        for field in fields:
            command += ["-e", field]
        result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return [line.split("\t") for line in result.stdout.splitlines()]


PROXY = """prefix = /usr
name = freeradius
libdir = /usr/lib/freeradius
logdir = {directory}
run_dir = {directory}
raddbdir = {directory}
pidfile = {directory}/freeradius.pid
max_request_time = 30
cleanup_delay = 5
max_requests = 1024
hostname_lookups = no
log {{
	destination = files
	file = {directory}/radius.log
	auth = no
}}
security {{
	max_attributes = 200
	reject_delay = 0
	status_server = yes
}}
proxy_requests = yes
client loopback {{
	ipaddr = 127.0.0.0/8
	secret = outer-secret
	require_message_authenticator = no
}}
home_server upstream_auth {{
	type = auth
	ipaddr = 127.0.0.1
	port = {auth_port}
	secret = {secret}
	src_ipaddr = {source}
	require_message_authenticator = yes
	response_window = 20
	status_check = none
}}
home_server upstream_acct {{
	type = acct
	ipaddr = 127.0.0.1
	port = {acct_port}
	secret = {secret}
	src_ipaddr = {source}
	response_window = 20
	status_check = none
}}
home_server_pool upstream_auth {{
	home_server = upstream_auth
}}
home_server_pool upstream_acct {{
	home_server = upstream_acct
}}
realm UPSTREAM {{
	auth_pool = upstream_auth
	acct_pool = upstream_acct
	nostrip
}}
thread pool {{
	start_servers = 1
	max_servers = 4
	min_spare_servers = 1
	max_spare_servers = 3
	max_requests_per_server = 0
}}
modules {{
	always ok {{
		rcode = ok
	}}
}}
server default {{
	listen {{
		type = auth
		ipaddr = 127.0.0.1
		port = {own_auth}
	}}
	listen {{
		type = acct
		ipaddr = 127.0.0.1
		port = {own_acct}
	}}
	authorize {{
		update control {{
			&Proxy-To-Realm := "UPSTREAM"
		}}
	}}
	preacct {{
		update control {{
			&Proxy-To-Realm := "UPSTREAM"
		}}
	}}
	accounting {{
		ok
	}}
	pre-proxy {{
	}}
	post-proxy {{
	}}
}}
"""


class FreeRadiusProxy:
    """Debian's FreeRADIUS, which forwards all to the server under test, with Proxy-State and Message-Authenticator."""

    secret = "outer-secret"

    def __init__(self, directory: Path, server: RunningServer, source: str) -> None:
        self.directory = directory
        self.auth_port, self.acct_port = free_port(), free_port()
        text = PROXY.format(
            directory=directory,
            secret=SECRET,
            source=source,
            auth_port=server.auth_ports["0.0.0.0"],
            acct_port=server.acct_ports["0.0.0.0"],
            own_auth=self.auth_port,
            own_acct=self.acct_port,
        )
        (directory / "radiusd.conf").write_text(text)
        (directory / "dictionary").write_text("")
        output = (directory / "output").open("wb")
        with output:
            # -X: in the foreground with all it says; it tells when it is ready.
            self.process = subprocess.Popen(
                [program("freeradius"), "-X", "-d", str(directory), "-n", "radiusd"], stdout=output, stderr=output
            )
        deadline = time.monotonic() + PATIENCE_S
        while "Ready to process requests" not in self.output():
            assert self.process.poll() is None, self.output()[-3000:]
            assert time.monotonic() < deadline, self.output()[-3000:]
            time.sleep(0.02)

    def output(self) -> str:
        return (self.directory / "output").read_text(errors="replace")

    def nas(self, address: str = "127.0.0.1") -> Nas:
        """A NAS behind the proxy."""
        return Nas(address, self.secret.encode(), ("127.0.0.1", self.auth_port), ("127.0.0.1", self.acct_port))

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)


def free_port() -> int:
    """A loopback UDP port that nobody holds now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
