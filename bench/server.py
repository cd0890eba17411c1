"""What every measured server has in common: ports, processes, memory, and the moment of the first answer."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "run" / "bench"
SOURCE = ROOT / "bench" / "load.c"
LOAD = ROOT / "build" / "bench" / "load"
COMPILE = ("cc", "-O2", "-Wall", "-Wextra", "-Wno-deprecated-declarations")
SECRET = "testing123"
STARTUP_S_MAX = 120.0  # seconds; Bound: FreeRADIUS takes 7 for a million users here, slow machines ten times that
STOP_S_MAX = 30.0  # seconds; Bound: a graceful stop commits what is in work, 10 s by default


class ServerFailed(Exception):
    """A server under measurement could not be installed, started, filled or stopped; the text says why."""


def build_load(target: Path = LOAD) -> Path:
    """Compile the load generator where it is missing or older than its source.

    Raises ServerFailed without a C compiler or the OpenSSL headers.
    """
    if not target.exists() or target.stat().st_mtime < SOURCE.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        command = [*COMPILE, "-o", str(target), str(SOURCE), "-lcrypto"]
        try:
            subprocess.run(command, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise ServerFailed(f"cannot build the load generator; are gcc and libssl-dev there? ({error})") from error
    return target


def free_port(kind: socket.SocketKind) -> int:
    """A loopback port that nobody holds now. kind: SOCK_DGRAM or SOCK_STREAM."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def descendants(pid: int) -> list[int]:
    """A process and all that come from it, itself first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # it ended meanwhile
                continue
            parent = int(stat.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for one in found:
        found.extend(children.get(one, []))
    return found


def accepts_login(port: int) -> bool:
    """Whether the server on a loopback port accepts user u000001 within 30 ms."""
    command = [str(LOAD), "-u", "1", "-w", "1", "-n", "1", "--timeout", "0.03", "--json", f"pap:{port}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 2:
        raise ServerFailed(result.stderr)
    answered: int = json.loads(result.stdout)["answered"]
    return result.returncode == 0 and answered == 1


def cpu_seconds(pids: list[int]) -> float:
    """User and system time that the processes have used since they started, all threads together."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Server:
    """One running server.

    `startup_s`: seconds from the start of its process to the first Access-Accept; `startup_cpu_s`: CPU time until then.
    """

    name = ""

    def __init__(self, directory: Path, cpu: int | None) -> None:
        """directory: where everything it makes goes. cpu: the core it and all its processes run on; None: any."""
        self.directory = directory
        self.cpu = cpu
        self.auth_port, self.acct_port = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
        self.startup_s = self.startup_cpu_s = 0.0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> Path:
        return self.directory / "output.log"

    def launch(self, command: list[str], ready: Callable[[], bool]) -> None:
        """Start the process and wait until `ready`; sets `startup_s`.

        Raises ServerFailed, with the end of its output, when it ends or STARTUP_S_MAX passes first.
        """
        if self.cpu is not None:
            command = ["taskset", "-c", str(self.cpu), *command]
        started = time.monotonic()
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        try:
            while not ready():
                if self.process.poll() is not None or time.monotonic() - started > STARTUP_S_MAX:
                    logs = [self.output, *self.directory.glob("*.log")]
                    tails = "\n".join(log.read_text(errors="replace")[-1500:] for log in dict.fromkeys(logs))
                    raise ServerFailed(f"{self.name} gives no answer (exit {self.process.poll()}):\n{tails}")
        except BaseException:
            self.stop()
            raise
        self.startup_s = time.monotonic() - started
        self.startup_cpu_s = cpu_seconds(self.pids)

    @property
    def pids(self) -> list[int]:
        """The processes that serve, the first started first."""
        return descendants(self.process.pid) if self.process else []

    def resident_bytes(self) -> int:
        """Resident memory of all its processes, shared pages counted for each."""
        pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in self.pids)
        return pages * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> None:
        """End it gracefully, then by force."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            for pid in reversed(self.pids):
                os.kill(pid, signal.SIGKILL)
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
