"""A peer played by freeDiameter, whose core is also that of Open5GS's SMF and MME, with the extension fd_client.c."""

from __future__ import annotations

import itertools
import re
import shutil
import socket
import subprocess
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tests.lab import wire
from tests.lab.certificate import Authority
from tests.lab.otp import cached, program
from tests.lab.peer import PATIENCE_S, LabError, Peer
from tests.lab.wire import APPLICATIONS, HERE, Message

EXTENSIONS = Path("/usr/lib/freeDiameter")
BASE_TYPES = {"Grouped": 0, "Integer32": 2, "Enumerated": 2, "Integer64": 3, "Unsigned32": 4, "Unsigned64": 5}
"""enum dict_avp_basetype; 1 is OctetString."""
OWN = ("s6a", "sy")
"""Applications whose commands freeDiameter's extensions do not have."""


def compile_extension(directory: Path) -> None:
    command = [program("gcc"), "-O1", "-fPIC", "-shared", "-o", str(directory / "fd_client.fdx"), "fd_client.c"]
    result = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr


def dictionary(applications: tuple[str, ...]) -> str:
    """Applications, commands and their rules, as fd_client.c reads them."""
    lines = [f"application {APPLICATIONS[app]} {0 if app == 'gy' else 10415} {app}" for app in applications]
    for avp in wire.avps().values():
        flags = (wire.VENDOR if avp.vendor else 0) | (wire.MANDATORY if avp.mandatory else 0)
        lines.append(f"avp {avp.code} {avp.vendor} {flags} {BASE_TYPES.get(avp.type, 1)} {avp.name}")
    for app in OWN:
        text = re.sub(r"^ *;.*", "", (HERE / f"{app}.dia").read_text(), flags=re.MULTILINE)
        for name, code, request, body in re.findall(
            r"(\w+) ::= < Diameter Header: (\d+), (REQ, )?PXY \d+ >([^:]*)(?=\n +\w+ ::=|\Z)", text
        ):
            if name in ("STR", "STA"):  # a base command to freeDiameter
                continue
            lines.append(f"command {code} {int(bool(request))} {name}")
            for least, star, most, bracket, avp in re.findall(r"(\d*)(\*?)(\d*) *([<{[]) ([\w-]+) [>}\]]", body):
                if avp == "AVP":
                    continue
                fixed, minimum = int(bracket == "<"), int(least or (0 if bracket == "[" else 1))
                maximum = int(most or -1) if star else 1
                what = wire.avps()[avp]
                lines.append(f"rule {name} {fixed} {minimum} {maximum} {what.code} {what.vendor}")
    return "\n".join(lines) + "\n"


class FreeDiameter(Peer):
    """One freeDiameterd. It dials until it is stopped."""

    def __init__(
        self,
        directory: Path,
        host: str,
        *applications: str,
        server: str = "aaa.localdomain",
        port: int,
        realm: str = "localdomain",
        tls: Path | None = None,
        old_tls: bool = False,
    ) -> None:
        """server, port: whom it dials. tls: directory of certificate.Authority.issue(host); old_tls: after the CEA."""
        super().__init__(host, realm, applications)
        directory.mkdir(parents=True, exist_ok=True)
        if tls is None:  # the daemon wants a certificate in its name, though nothing here is encrypted
            tls = Authority(directory / "certificates").issue(host)
        self.extension = cached("freediameter", [HERE / "fd_client.c"], compile_extension)
        self.up: list[str] = []
        self.refusals: list[str] = []
        self._calls: dict[int, Future[Message]] = {}
        self._numbers = itertools.count(1)
        self._applications: dict[int, str] = {APPLICATIONS[app]: app for app in applications}
        # The path of a UNIX socket has 108 octets at most.
        self._short = Path(tempfile.mkdtemp(prefix="aaa-fd-"))
        path = self._short / "s"
        (self._short / "s.dictionary").write_text(dictionary(applications))
        security = "No_TLS; " if tls is None or tls.parent == directory / "certificates" else ""
        if old_tls:
            security = "TLS_old_method; "
        modules = "".join(
            f'LoadExtension = "{EXTENSIONS}/{name}.fdx";\n' for name in ("dict_nasreq", "dict_dcca", "dict_dcca_3gpp")
        )
        (directory / "fd.conf").write_text(
            f"""
Identity = "{host}"; Realm = "{realm}";
Port = 0; SecPort = 0; No_SCTP; No_IPv6; NoRelay;
TcTimer = 5; TwTimer = 30;
TLS_Cred = "{tls}/cert.pem", "{tls}/key.pem"; TLS_CA = "{tls}/ca.pem";
{modules}LoadExtension = "{self.extension}/fd_client.fdx" : "{path}";
ConnectPeer = "{server}" {{ {security}ConnectTo = "127.0.0.1"; Port = {port}; TcTimer = 5; TwTimer = 30; }};
"""
        )
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(PATIENCE_S)
            self.log = directory / "log"
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(
                    [program("freeDiameterd"), "-c", str(directory / "fd.conf")],
                    cwd=directory,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            try:
                self._socket, _ = listener.accept()
            except TimeoutError:
                self.process.kill()
                raise LabError(f"freeDiameter does not start:\n{self.log.read_text()[-3000:]}") from None
        self._writing = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def connect(self) -> FreeDiameter:
        """Wait until the server's peer is up."""
        try:
            self.wait(lambda: bool(self.up), "connected")
        except LabError:
            raise LabError(f"{self.refusals}\n{self.log.read_text()[-3000:]}") from None
        return self

    def stop(self) -> None:
        """Say goodbye with a DPR, and end."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._reader.join(5)
        self._socket.close()
        shutil.rmtree(self._short, ignore_errors=True)

    def transmit(self, application: str, raw: bytes, timeout_s: float) -> Future[Message]:
        number = next(self._numbers)
        future: Future[Message] = Future()
        self._calls[number] = future
        self._tell(f"call {number} {raw.hex()}")
        return future

    def reply(self, reference: Any, raw: bytes | None) -> None:
        self._tell(f"answer {reference} {'-' if raw is None else raw.hex()}")

    def _tell(self, line: str) -> None:
        with self._writing:
            self._socket.sendall(line.encode() + b"\n")

    def _read(self) -> None:
        with self._socket.makefile("r", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                what, _, rest = line.rstrip("\n").partition(" ")
                try:
                    self._handle(what, rest)
                except Exception as error:  # a reader that ends would hang the test
                    self.faults.append(f"{error!r} at {line!r}")

    def _handle(self, what: str, rest: str) -> None:
        match what:
            case "answered":
                number, raw, _ = rest.split(" ")
                answer = Message(bytes.fromhex(raw))
                self.seen.append(answer.raw)
                # A fault of routing has failed the call already; then freeDiameter answers itself.
                self._calls.pop(int(number), Future()).set_result(answer)
            case "failed":
                number, _, reason = rest.partition(" ")
                self._calls.pop(int(number)).set_exception(LabError(f"{self.host} got no answer: {reason}"))
            case "request":
                number, raw, _ = rest.split(" ")
                self.came(Message(bytes.fromhex(raw)), int(number))
            case "up":
                self.up.append(rest)
            case "closed":
                self.refusals.append(rest)
            case "fault":
                self.faults.append(rest)
                # It does not tell which: whoever waits for an answer would wait in vain.
                for number in list(self._calls):
                    self._calls.pop(number).set_exception(LabError(f"{self.host} would not take something: {rest}"))
        self.changed()
