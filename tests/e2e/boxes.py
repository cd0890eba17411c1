"""Boxes that take CoA and Disconnect: FreeRADIUS, which logs and answers by rule, and hostapd with a supplicant."""

import os
import re
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.e2e.peers import PATIENCE_S, SECRET, program

RECEIVER = """prefix = /usr
name = freeradius
libdir = /usr/lib/freeradius
logdir = {directory}
run_dir = {directory}
raddbdir = {directory}
pidfile = {directory}/freeradius.pid
security {{
	max_attributes = 200
}}
client loopback {{
	ipaddr = 127.0.0.0/8
	secret = testing123
	require_message_authenticator = yes
}}
modules {{
	always ok {{
		rcode = ok
	}}
	always reject {{
		rcode = reject
	}}
}}
server nas {{
	listen {{
		type = coa
		ipaddr = *
		port = {port}
	}}
	recv-coa {{
		if ("%{{Packet-Type}}/%{{Acct-Session-Id}}" =~ /^CoA-Request.nak-([0-9]+)/) {{
			update reply {{
				&Error-Cause := "%{{1}}"
			}}
			reject
		}}
		if (&Acct-Session-Id =~ /^gone/) {{
			update reply {{
				&Error-Cause := Session-Context-Not-Found
			}}
			reject
		}}
		ok
	}}
	send-coa {{
		ok
	}}
}}
"""


class Asked(NamedTuple):
    """A request as FreeRADIUS read it."""

    code: str
    to: str
    pairs: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.pairs if key == name]


class Process:
    """A program in the foreground, with all that it says in a file."""

    def __init__(self, directory: Path, name: str, command: list[str], ready: str) -> None:
        self.file = directory / f"{name}.out"
        with self.file.open("wb") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file)
        self.wait_for(ready)

    def output(self) -> str:
        return self.file.read_text(errors="replace")

    def wait_for(self, text: str, count: int = 1) -> None:
        """Until it has said so, so often."""
        deadline = time.monotonic() + PATIENCE_S
        while self.output().count(text) < count:
            assert self.process.poll() is None, self.output()[-3000:]
            assert time.monotonic() < deadline, f"it did not say {text!r}:\n{self.output()[-3000:]}"
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(PATIENCE_S)


class CoaReceiver(Process):
    """FreeRADIUS as every NAS at once. It refuses a CoA with the cause that the session's id names, as in nak-404-x,
    and knows no session whose id begins with "gone"."""

    def __init__(self, directory: Path, port: int) -> None:
        (directory / "radiusd.conf").write_text(RECEIVER.format(directory=directory, port=port))
        (directory / "dictionary").write_text("")
        command = [program("freeradius"), "-X", "-d", str(directory), "-n", "radiusd"]
        super().__init__(directory, "receiver", command, "Ready to process requests")

    def asked(self, session: str) -> list[Asked]:
        """What came for a session, in order; retransmissions once."""
        found: dict[tuple[str, str, str], Asked] = {}
        current = None
        for line in self.output().splitlines():
            head = re.match(r"\(\d+\) Received (\S+-Request) Id (\d+) from (\S+) to ([0-9.]+):", line)
            if head is not None:
                current = Asked(head[1], head[4], [])
                found[head[2], head[3], line] = current
                continue
            pair = re.match(r"\(\d+\)   ([\w.-]+)(?::\d+)? = (.*)$", line)
            if pair is None:
                current = None
            elif current is not None:
                current.pairs.append((pair[1], pair[2].strip('"')))
        return [asked for asked in found.values() if session in asked.all("Acct-Session-Id")]


HOSTAPD = """interface={interface}
driver=wired
logger_stdout=-1
logger_stdout_level=0
ieee8021x=1
use_pae_group_addr=1
eap_server=1
eap_user_file={directory}/users
own_ip_addr={address}
nas_identifier=switch
radius_client_addr={address}
acct_server_addr=127.0.0.1
acct_server_port={acct_port}
acct_server_shared_secret={secret}
radius_das_port={das_port}
radius_das_client=127.0.0.1 {secret}
"""
SUPPLICANT = """ap_scan=0
network={
	key_mgmt=IEEE8021X
	eap=MD5
	identity="station"
	password="on the wire"
	eapol_flags=0
}
"""
STATION = "02:00:00:0c:0a:01"


class Wire:
    """hostapd on one end of a cable and wpa_supplicant, in a network namespace, on the other."""

    def __init__(self, directory: Path, address: str, acct_port: int, das_port: int) -> None:
        """address: what hostapd sends accounting from; its dynamic authorization port is open everywhere."""
        require_namespaces()
        self.directory = directory
        self.namespace = f"aaa{os.getpid()}"
        self.near, far = f"aaa{os.getpid()}n", f"aaa{os.getpid()}f"
        settings = {"interface": self.near, "directory": directory, "secret": SECRET}
        config = HOSTAPD.format(**settings, address=address, acct_port=acct_port, das_port=das_port)
        (directory / "hostapd.conf").write_text(config)
        (directory / "users").write_text('"station" MD5 "on the wire"\n')
        (directory / "supplicant.conf").write_text(SUPPLICANT)
        self.processes: list[Process] = []
        self.thrown_out = 0
        try:
            ip("netns", "add", self.namespace)
            ip("link", "add", self.near, "type", "veth", "peer", "name", far)
            ip("link", "set", far, "netns", self.namespace)
            ip("-n", self.namespace, "link", "set", far, "address", STATION, "up")
            ip("link", "set", self.near, "up")
            command = [program("hostapd"), "-d", str(directory / "hostapd.conf")]
            self.hostapd = Process(directory, "hostapd", command, "AP-ENABLED")
            self.processes.append(self.hostapd)
            command = [program("ip"), "netns", "exec", self.namespace, program("wpa_supplicant"), "-Dwired", f"-i{far}"]
            self.dial = [*command, "-c", str(directory / "supplicant.conf")]
            self.plug_in()
        except BaseException:
            self.stop()
            raise

    @property
    def is_thrown_out(self) -> bool:
        """hostapd has ended the station's session, and nobody has plugged it in since."""
        return self.hostapd.output().count("stopped accounting session") > self.thrown_out

    def plug_in(self) -> None:
        """Start the supplicant; again where it was thrown out: by itself it waits a minute before it tries."""
        if len(self.processes) > 1:
            self.processes.pop().stop()
            # Until then hostapd keeps the station, and would throw out the new session with the old one.
            self.thrown_out += 1
            self.hostapd.wait_for("ap_free_sta", self.thrown_out)
        supplicant = Process(self.directory, "supplicant", self.dial, "CTRL-EVENT-EAP-SUCCESS")
        self.processes.append(supplicant)

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop()
        for command in (["link", "del", self.near], ["netns", "del", self.namespace]):
            subprocess.run([program("ip"), *command], check=False, capture_output=True)


def ip(*arguments: str) -> None:
    """iproute2; AssertionError with what it said."""
    result = subprocess.run([program("ip"), *arguments], check=False, capture_output=True, text=True)
    assert result.returncode == 0, f"ip {' '.join(arguments)}: {result.stderr}"


def require_namespaces() -> None:
    """Network namespaces need root: in CI that is a failure, elsewhere the test says what it needs."""
    if os.geteuid() == 0:
        return
    message = "hostapd and its supplicant need network namespaces: run the tests as root"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def receipts_of(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Action and result of what followed a change: "ack", or "session_over" where the Stop came before the ACK."""
    return [(receipt["action"], receipt["result"]) for receipt in answer["receipts"]]
