"""The peer machine against freeDiameter, both ways over loopback TCP: it dials us, and we dial it."""

import asyncio
import datetime
import os
import shutil
import socket
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from aaa.diameter.codes import DisconnectCause
from aaa.diameter.events import Closed, Opened, Reason, Restarted
from aaa.diameter.node import Node
from aaa.diameter.settings import Remote
from aaa.diameter.states import State
from native import diameter
from native.diameter import Message
from tests.diameter.shell import Shell
from tests.diameter.wire import DICTIONARY, complaints, local

EXTENSIONS = Path("/usr/lib/freeDiameter")
IDENTITY = "fd.example"


def write_certificate(directory: Path) -> None:
    """The daemon wants one in its name, though nothing here is encrypted."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, IDENTITY)])
    begin = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begin)
        .not_valid_after(begin + datetime.timedelta(days=36_500))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Daemon:
    """freeDiameterd, and its log as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._came = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode("utf-8", "replace").rstrip())
            self._came.set()

    async def until(self, *words: str, timeout_s: float) -> None:
        """A line with all these words."""
        try:
            async with asyncio.timeout(timeout_s):
                while not any(all(word in line for word in words) for line in self.lines):
                    self._came.clear()
                    await self._came.wait()
        except TimeoutError:
            raise AssertionError(f"no line with {words} in:\n" + "\n".join(self.lines)) from None

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(20):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
        await self._reader


async def start(directory: Path, port: int, dials: dict[str, int]) -> Daemon:
    write_certificate(directory)
    (directory / "acl.conf").write_text("ALLOW_IPSEC initiator.example\n")
    (directory / "fd.conf").write_text(
        f"""
Identity = "{IDENTITY}"; Realm = "example";
Port = {port}; SecPort = 0; No_SCTP; No_IPv6;
TcTimer = 5; TwTimer = 30;
TLS_Cred = "{directory}/cert.pem", "{directory}/key.pem"; TLS_CA = "{directory}/cert.pem";
LoadExtension = "{EXTENSIONS}/acl_wl.fdx" : "{directory}/acl.conf";
"""
        + "".join(
            f'ConnectPeer = "{name}" {{ No_TLS; ConnectTo = "127.0.0.1"; Port = {to}; TwTimer = 6; TcTimer = 5; }};\n'
            for name, to in dials.items()
        )
    )
    program = shutil.which("freeDiameterd")
    assert program is not None, "freeDiameter is not installed: tests/peers.sh does that"
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(directory / "fd.conf"), "-d",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"LC_ALL": "C"}, cwd=directory,
    )  # fmt: skip
    return Daemon(process)


def titles(shell: Shell) -> list[str]:
    return [DICTIONARY.title(Message.parse(data)) for data in shell.sent if len(data) == length_of(data)]


def length_of(data: bytes) -> int:
    return int.from_bytes(data[1:4], "big")


def of(shell: Shell, kind: type) -> list:
    return [event for event in shell.events if isinstance(event, kind)]


def make(name: str, remote: Remote, jitter: float) -> Node:
    return Node(local(name), [remote], lambda: jitter, time.time(), lambda: int.from_bytes(os.urandom(4), "big"))


async def converse(directory: Path) -> None:
    port = free_port()
    responder = Shell(make("responder.example", Remote(IDENTITY, origin_realm="example", watchdog_s=60.0), 0.5))
    # Jitter at its least: a watchdog after four seconds.
    initiator = Shell(make("initiator.example", Remote(IDENTITY, connect=True, watchdog_s=6.0, reconnect_s=0.2), 0.0))
    initiator.dial_port = port
    # Both dial: whichever connection stands in the end, there is one.
    both = Shell(make("both.example", Remote(IDENTITY, connect=True, watchdog_s=60.0, reconnect_s=0.1), 0.5))
    both.dial_port = port
    crossed = both.node.peers[IDENTITY]
    dials = {"responder.example": await responder.listen(), "both.example": await both.listen()}
    daemon = await start(directory, port, dials)
    accepted, dialled = responder.node.peers[IDENTITY], initiator.node.peers[IDENTITY]
    try:
        initiator.settle(dialled.start(initiator.now()))
        both.settle(crossed.start(both.now()))

        # Capabilities: both sides say open.
        await responder.until(lambda: accepted.is_open, 10)
        await initiator.until(lambda: dialled.is_open, 10)
        await daemon.until("STATE_OPEN", "responder.example", timeout_s=5)
        await daemon.until("STATE_OPEN", "initiator.example", timeout_s=5)
        await both.until(lambda: crossed.is_open, 10)
        await daemon.until("STATE_OPEN", "both.example", timeout_s=5)
        assert (accepted.state, dialled.state) == (State.R_OPEN, State.I_OPEN)
        assert accepted.capabilities.product_name == "freeDiameter"
        assert accepted.capabilities.relay
        assert accepted.capabilities.firmware_revision == 10201
        assert accepted.capabilities.origin_state_id == dialled.capabilities.origin_state_id

        # Watchdogs: its own, which we answer, and ours, which it answers.
        await responder.until(lambda: "Base DWA" in titles(responder), 12)
        await initiator.until(lambda: "Base DWR" in titles(initiator), 12)
        await initiator.until(lambda: not dialled.watchdog.pending, 5)
        assert accepted.is_usable
        assert dialled.is_usable

        assert [line for line in daemon.lines if "ERROR" in line or "nvalid" in line] == []

        # What it does not know comes back, and finds its request by its identifier.
        request = diameter.message(
            diameter.FLAG_REQUEST | diameter.FLAG_PROXIABLE, 272, 4, 0, initiator.node.next_end_to_end(),
            DICTIONARY.encode_all([
                ("Session-Id", "initiator.example;1;1"), ("Origin-Host", "initiator.example"),
                ("Origin-Realm", "example"), ("Destination-Realm", "nowhere"), ("Auth-Application-Id", 4),
            ]),
        )  # fmt: skip
        assert dialled.send_request(request, "mine", initiator.now())
        initiator.settle([])
        await initiator.until(lambda: dialled.in_flight == 0, 5)
        answer = initiator.events[-1]
        assert (answer.context, answer.message.get_unsigned32(268)) == ("mine", 3002)
        assert answer.message.flags & diameter.FLAG_ERROR

        assert crossed.is_usable
        assert len(of(both, Opened)) == 1
        assert list(both.transports) == [crossed.connection]

        # We leave in good order.
        responder.settle(accepted.stop(DisconnectCause.REBOOTING, responder.now()))
        await responder.until(lambda: accepted.state is State.CLOSED, 5)
        assert [event.reason for event in of(responder, Closed)] == [Reason.STOPPED]
        await daemon.until("STATE_CLOSING", "responder.example", timeout_s=5)

        # It leaves in good order.
        daemon.process.terminate()
        await initiator.until(lambda: dialled.state is State.CLOSED, 10)
        # The dials before it listened do not count.
        ends = [event.reason for event in of(initiator, Closed)]
        assert [reason for reason in ends if reason is not Reason.CONNECT_FAILED] == [Reason.DPR_RECEIVED]
        assert len(of(initiator, Opened)) == 1
        assert of(initiator, Restarted) == []
        assert not accepted.drops
        assert not dialled.drops
        assert not accepted.refusals
        assert not dialled.refusals
    finally:
        for shell in (initiator, responder, both):
            shell.close()
        await daemon.end()
    sent, _, fault = diameter.split(bytearray(b"".join(responder.sent + initiator.sent + both.sent)), 1 << 20)
    assert fault == 0
    assert complaints([message.raw for message in sent], directory) == []


def test_freediameter_dials_us_and_is_dialled(tmp_path):
    asyncio.run(converse(tmp_path))
