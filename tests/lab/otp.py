"""Peers played by Erlang/OTP's diameter: strict, many in one VM (lab.erl), over TCP and TLS."""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tests.lab.peer import PATIENCE_S, LabError, Peer
from tests.lab.wire import HERE, Message

CACHE = Path(tempfile.gettempdir()) / f"aaa-lab-{os.getuid()}"


def program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    assert path is not None, f"{name} is missing; `make peers` installs the Debian packages that the tests need"
    return path


def cached(name: str, sources: list[Path], build: Any) -> Path:
    """A directory that build(directory) fills once for each content of the sources, however many processes ask."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sorted(sources))).hexdigest()[:16]
    directory = CACHE / f"{name}-{digest}"
    CACHE.mkdir(mode=0o700, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            making = directory.with_suffix(".making")
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            build(making)
            making.rename(directory)
    return directory


def compile_beams(directory: Path) -> None:
    command = [program("escript"), str(HERE / "build.escript"), str(HERE), str(directory)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


class Otp:
    """A virtual machine with any number of peers."""

    def __init__(self) -> None:
        sources = [*HERE.glob("*.dia"), HERE / "lab.erl", HERE / "build.escript"]
        beams = cached("otp", sources, compile_beams)
        self.process = subprocess.Popen(
            [program("erl"), "-noshell", "-pa", str(beams), "+S", "1", "-s", "lab", "main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"HOME": str(beams), "LC_ALL": "C"},
        )
        self.peers: dict[str, OtpPeer] = {}
        self.faults: list[str] = []
        self._calls: dict[int, tuple[Future[Message], OtpPeer]] = {}
        self._numbers = itertools.count(1)
        self._writing = threading.Lock()
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._ready.wait(PATIENCE_S), "the Erlang VM does not start"

    def peer(self, host: str, *applications: str, realm: str = "localdomain", **capabilities: Any) -> OtpPeer:
        """A peer that is not connected yet. capabilities: further options of diameter:start_service/2."""
        peer = OtpPeer(self, host, realm, applications)
        self.peers[host] = peer
        more = [_Tuple((_Atom(name.replace("_", "-")), value)) for name, value in capabilities.items()]
        self.tell("start", host, host, realm, [_Atom(app) for app in applications], more)
        return peer

    def tell(self, *term: Any) -> None:
        line = _term(_Tuple((_Atom(term[0]), *term[1:]))) + ".\n"
        with self._writing:
            assert self.process.stdin is not None
            self.process.stdin.write(line.encode())
            self.process.stdin.flush()

    def call(self, peer: OtpPeer, application: str, raw: bytes, timeout_s: float) -> Future[Message]:
        number = next(self._numbers)
        future: Future[Message] = Future()
        self._calls[number] = future, peer
        self.tell("call", number, peer.host, _Atom(application), raw, int(timeout_s * 1000))
        return future

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            kind, *words = line.decode("latin-1").rstrip("\n").split(" ", 1)
            try:
                getattr(self, "_on_" + kind)(words[0] if words else "")
            except Exception as error:  # a reader that ends would hang the test
                self.faults.append(f"{error!r} at {line!r}")

    def _on_ready(self, _: str) -> None:
        self._ready.set()

    def _on_answered(self, text: str) -> None:
        number, raw, faults = text.split(" ", 2)
        future, peer = self._calls.pop(int(number))
        answer = _message(raw, faults)
        peer.seen.append(answer.raw)
        future.set_result(answer)

    def _on_failed(self, text: str) -> None:
        number, reason = text.split(" ", 1)
        if int(number) in self._calls:
            future, peer = self._calls.pop(int(number))
            future.set_exception(LabError(f"{peer.host} got no answer: {reason}"))

    def _on_request(self, text: str) -> None:
        reference, host, _, raw, faults = text.split(" ", 4)
        self.peers[host].came(_message(raw, faults), int(reference))

    def _on_up(self, text: str) -> None:
        host, other, application = text.split(" ")
        peer = self.peers[host]
        if application != "base":
            peer.up.append((other, application))
        peer.changed()

    def _on_down(self, text: str) -> None:
        host, other, application = text.split(" ")
        peer = self.peers[host]
        if (other, application) in peer.up:
            peer.up.remove((other, application))
        peer.changed()

    def _on_closed(self, text: str) -> None:
        host, reason = text.split(" ", 1)
        self.peers[host].refusals.append(reason)
        self.peers[host].changed()

    def _on_fault(self, text: str) -> None:
        self.faults.append(text)

    def check(self) -> None:
        """Nothing was wrong with anything that the peers received since the last check."""
        faults, self.faults = self.faults, []
        assert not faults, "\n".join(faults)
        for peer in self.peers.values():
            peer.check()

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._reader.join(5)


class OtpPeer(Peer):
    """One Origin-Host in the VM."""

    def __init__(self, vm: Otp, host: str, realm: str, applications: tuple[str, ...]) -> None:
        super().__init__(host, realm, applications)
        self.vm = vm
        self.up: list[tuple[str, str]] = []
        """(host, application) that are served."""
        self.refusals: list[str] = []
        """Why connections were not made."""
        self.dialled: tuple[Any, ...] = ()
        """How it was connected."""

    def connect(
        self, port: int, address: str = "127.0.0.1", tls: Path | None = None, inband: bool = False, wait: bool = True
    ) -> OtpPeer:
        """Dial, and wait until every application is up. tls: directory of certificate.Authority.issue(host)."""
        self.dialled = (_address(address), port, self._security(tls, inband, client=True))
        self.vm.tell("connect", self.host, *self.dialled)
        if wait:
            self.wait(lambda: {app for _, app in self.up} == set(self.applications), f"connected ({self.refusals})")
        return self

    def connect_again(self) -> None:
        """Dial at once where the connection is lost; OTP by itself may wait for its watchdog timer."""
        self.close()
        self.vm.tell("connect", self.host, *self.dialled)
        self.wait(lambda: {app for _, app in self.up} == set(self.applications), f"connected ({self.refusals})")

    def listen(self, port: int, address: str = "127.0.0.1", tls: Path | None = None, inband: bool = False) -> OtpPeer:
        self.vm.tell("listen", self.host, _address(address), port, self._security(tls, inband, client=False))
        return self

    def _security(self, tls: Path | None, inband: bool, client: bool) -> Any:
        if tls is None:
            return []
        files = [
            _Tuple((_Atom("certfile"), str(tls / "cert.pem"))),
            _Tuple((_Atom("keyfile"), str(tls / "key.pem"))),
            _Tuple((_Atom("cacertfile"), str(tls / "ca.pem"))),
            _Tuple((_Atom("verify"), _Atom("verify_peer"))),
            *([_Tuple((_Atom("server_name_indication"), _Atom("disable")))] if client else []),
        ]
        if inband:
            return [_Tuple((_Atom("ssl_options"), files))]
        return [_Tuple((_Atom("ssl_options"), _Atom("true"))), *files]

    def close(self) -> None:
        """Say goodbye with a DPR and wait until it is done."""
        self.vm.tell("close", self.host)
        self.wait(lambda: not self.up, "closed")

    def transmit(self, application: str, raw: bytes, timeout_s: float) -> Future[Message]:
        return self.vm.call(self, application, raw, timeout_s)

    def reply(self, reference: Any, raw: bytes | None) -> None:
        self.vm.tell("answer", reference, _Atom("silence") if raw is None else raw)


def _message(raw: str, faults: str) -> Message:
    return Message(bytes.fromhex(raw), [] if faults == "-" else [faults])


class _Atom(str):
    pass


class _Tuple(tuple[Any, ...]):
    pass


def _address(text: str) -> _Tuple:
    return _Tuple(int(part) for part in text.split("."))


def _term(value: Any) -> str:
    """An Erlang term as text; bytes become a binary of hexadecimal digits."""
    match value:
        case _Atom():
            return f"'{value}'"
        case _Tuple():
            return "{" + ",".join(map(_term, value)) + "}"
        case bytes():
            return f'<<"{value.hex()}">>'
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case list() | tuple():
            return "[" + ",".join(map(_term, value)) + "]"
    return str(value)
