"""The load generator as a specification: what it sends, what it accepts, whom it charges.

Its judge is FreeRADIUS for the protocol, and a small responder of hashlib for everything a good server never does.
"""

import hashlib
import hmac
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECRET = b"testing123"
ACCESS_ACCEPT, ACCESS_REJECT, ACCOUNTING_RESPONSE = 2, 3, 5

Answer = Callable[[bytes], list[bytes]]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("bench") / "load"
    command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations", "-o", str(target)]
    subprocess.run([*command, str(ROOT / "bench" / "load.c"), "-lcrypto"], check=True)
    return target


def run(load: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    result = subprocess.run([load, "--json", *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode in (0, 1), result.stderr
    report: dict[str, Any] = json.loads(result.stdout)
    return result.returncode, report


def attributes(packet: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 20
    while at < len(packet):
        assert 2 <= packet[at + 1] <= len(packet) - at
        found.append((packet[at], packet[at + 2 : at + packet[at + 1]]))
        at += packet[at + 1]
    return found


def reply(request: bytes, code: int, content: bytes = b"", secret: bytes = SECRET) -> bytes:
    header = bytes([code, request[1]]) + (20 + len(content)).to_bytes(2, "big")
    return header + hashlib.md5(header + request[4:20] + content + secret).digest() + content


def signed_reply(request: bytes, code: int, secret: bytes = SECRET) -> bytes:
    header = bytes([code, request[1]]) + (38).to_bytes(2, "big")
    signature = hmac.new(secret, header + request[4:20] + b"\x50\x12" + bytes(16), "md5").digest()
    return reply(request, code, b"\x50\x12" + signature)


class Responder:
    """A UDP server on loopback that answers as told and remembers every datagram."""

    def __init__(self, answer: Answer, address: str = "127.0.0.1") -> None:
        self.received: list[bytes] = []
        self._answer = answer
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._socket.bind((address, 0))
        self._address = self._socket.getsockname()
        self.port: int = self._address[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            packet, source = self._socket.recvfrom(4096)
            if not packet:
                return
            self.received.append(packet)
            for datagram in self._answer(packet):
                self._socket.sendto(datagram, source)

    def stop(self) -> None:
        self._socket.sendto(b"", self._address)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def responder() -> Iterator[Callable[[Answer], Responder]]:
    started: list[Responder] = []

    def start(answer: Answer) -> Responder:
        started.append(Responder(answer))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def freeradius() -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "bench.freeradius", "--users", "50", "--accounting", "detail"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.terminate()


@pytest.mark.parametrize("method", ["pap", "chap", "mschap"])
@pytest.mark.parametrize("options", [(), ("--sign",), ("--no-gso",)])
def test_every_login_is_accepted_by_freeradius(
    load: Path, freeradius: dict[str, Any], method: str, options: tuple[str, ...]
) -> None:
    code, report = run(load, "-u", "50", "-n", "300", *options, f"{method}:{freeradius['auth_port']}")
    stream = report["streams"][0]
    assert code == 0
    assert (stream["sent"], stream["accepted"], stream["lost"]) == (300, 300, 0)


def test_freeradius_sends_the_six_reply_attributes(load: Path, freeradius: dict[str, Any]) -> None:
    _, report = run(load, "-u", "50", "-n", "1", f"pap:{freeradius['auth_port']}")
    vendor, session_timeout, interim, service_type, framed_protocol, class_ = 26, 27, 85, 6, 7, 25
    expected = [vendor, session_timeout, interim, service_type, framed_protocol, class_]
    assert report["streams"][0]["reply_attributes"] == expected


@pytest.mark.parametrize("method", ["pap", "chap", "mschap"])
def test_wrong_passwords_are_rejected_and_counted_apart(load: Path, freeradius: dict[str, Any], method: str) -> None:
    port = freeradius["auth_port"]
    code, report = run(load, "-u", "50", "-n", "200", "--wrong", "0.3", "--seed", "7", f"{method}:{port}")
    stream = report["streams"][0]
    assert code == 0
    assert stream["rejected"] > 0
    assert stream["accepted"] + stream["rejected"] == 200


def test_accounting_is_answered_and_the_server_is_charged(load: Path, freeradius: dict[str, Any]) -> None:
    port, pid = freeradius["acct_port"], freeradius["pid"]
    code, report = run(load, "-u", "50", "--sessions", "50", "-n", "2000", "-P", str(pid), f"acct:{port}")
    assert code == 0
    assert report["streams"][0]["accounted"] == 2000
    assert report["cpu_us_per_request"] >= 0


def test_a_process_that_does_not_own_the_port_is_not_charged(load: Path, freeradius: dict[str, Any]) -> None:
    command = [load, "-n", "1", "-P", str(os.getpid()), f"pap:{freeradius['auth_port']}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert f"process {freeradius['pid']} holds the socket" in result.stderr


def test_a_port_without_listener_is_refused(load: Path, freeradius: dict[str, Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [load, "-n", "1", "-P", str(freeradius["pid"]), f"pap:{port}"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 2
    assert "nothing listens there" in result.stderr


def test_two_streams_run_side_by_side(load: Path, freeradius: dict[str, Any]) -> None:
    streams = (f"pap:{freeradius['auth_port']}:2000", f"acct:{freeradius['acct_port']}:1000")
    code, report = run(load, "-u", "50", "--sessions", "50", "-n", "100", *streams)
    assert code == 0
    assert [stream["answered"] for stream in report["streams"]] == [100, 100]


@pytest.mark.parametrize(
    ("answer", "counter"),
    [
        (lambda request: [reply(request, ACCESS_ACCEPT, secret=b"another")], "bad_authenticator"),
        (lambda request: [signed_reply(request, ACCESS_ACCEPT, b"another")], "bad_message_authenticator"),
        (lambda request: [reply(request, ACCESS_REJECT)], "wrong_code"),
        (lambda request: [reply(request, ACCESS_ACCEPT, b"\x12\x00")], "malformed"),
        (lambda request: [reply(request, ACCESS_ACCEPT, b"\x12\x01")], "malformed"),
        (lambda request: [reply(request, ACCESS_ACCEPT, b"\x12\x04a")], "malformed"),
        (lambda request: [reply(request, ACCESS_ACCEPT, b"\x12")], "malformed"),
        (lambda request: [reply(request, ACCESS_ACCEPT)[:19]], "malformed"),
        (lambda request: [reply(request, ACCESS_ACCEPT, bytes([18, 4]) + b"ok")[:22]], "malformed"),
        (lambda request: [reply(request, ACCESS_ACCEPT)] * 2, "duplicate"),
    ],
)
def test_a_wrong_reply_is_counted_by_its_kind(
    load: Path, responder: Callable[[Answer], Responder], answer: Answer, counter: str
) -> None:
    port = responder(answer).port
    code, report = run(load, "-w", "1", "-n", "3", "--timeout", "0.2", f"pap:{port}")
    stream = report["streams"][0]
    # The generator stops listening with the last good answer: only of the earlier ones it must see the second copy.
    assert stream[counter] >= (2 if counter == "duplicate" else 3)
    assert code == (0 if counter == "duplicate" else 1)
    assert stream["accepted"] == (3 if counter == "duplicate" else 0)


def test_an_accept_without_the_mschap_proof_is_wrong(load: Path, responder: Callable[[Answer], Responder]) -> None:
    forged = bytes([26, 51]) + (311).to_bytes(4, "big") + bytes([26, 45, 1]) + b"S=" + b"0" * 40
    for content in (b"", forged):
        port = responder(lambda request, content=content: [reply(request, ACCESS_ACCEPT, content)]).port
        code, report = run(load, "-n", "5", f"mschap:{port}")
        assert (code, report["streams"][0]["bad_mschap"]) == (1, 5)


def test_unsigned_replies_are_wrong_where_a_signature_is_required(
    load: Path, responder: Callable[[Answer], Responder]
) -> None:
    port = responder(lambda request: [reply(request, ACCESS_ACCEPT)]).port
    code, report = run(load, "-n", "5", "--require-signed", f"pap:{port}")
    assert (code, report["streams"][0]["no_message_authenticator"]) == (1, 5)
    port = responder(lambda request: [signed_reply(request, ACCESS_ACCEPT)]).port
    code, report = run(load, "-n", "5", "--require-signed", f"pap:{port}")
    assert (code, report["streams"][0]["accepted"]) == (0, 5)


def test_a_retransmission_repeats_the_request_octet_for_octet(
    load: Path, responder: Callable[[Answer], Responder]
) -> None:
    seen: set[bytes] = set()

    def answer_the_second(request: bytes) -> list[bytes]:
        if request in seen:
            return [reply(request, ACCESS_ACCEPT)]
        seen.add(request)
        return []

    server = responder(answer_the_second)
    code, report = run(load, "-n", "20", "--retries", "5", "--timeout", "0.2", f"pap:{server.port}")
    stream = report["streams"][0]
    assert code == 0
    assert (stream["accepted"], stream["lost"]) == (20, 0)
    assert stream["retransmitted"] >= 20
    assert len(seen) == 20


def test_a_server_on_ipv6_is_measured_and_charged(load: Path) -> None:
    server = Responder(lambda request: [reply(request, ACCESS_ACCEPT)], "::1")
    try:
        code, report = run(load, "-H", "::1", "-n", "50", "-P", str(os.getpid()), f"pap:{server.port}")
    finally:
        server.stop()
    assert (code, report["streams"][0]["accepted"]) == (0, 50)
    assert report["cpu_share"] >= 0


def test_a_request_without_answer_is_lost(load: Path, responder: Callable[[Answer], Responder]) -> None:
    code, report = run(load, "-n", "20", "--timeout", "0.05", f"pap:{responder(lambda _: []).port}")
    assert (code, report["streams"][0]["lost"], report["streams"][0]["answered"]) == (0, 20, 0)


def test_open_loop_latency_counts_from_the_scheduled_time(load: Path, responder: Callable[[Answer], Responder]) -> None:
    held: list[bytes] = []

    def answer_the_last_only(request: bytes) -> list[bytes]:
        held.append(request)
        return [reply(request, ACCESS_ACCEPT)] if len(held) > 40 else []

    # The first 40 get their answer when sent again, a timeout later; the schedule goes on without them.
    server = responder(answer_the_last_only)
    _, report = run(load, "-n", "60", "--retries", "9", "--timeout", "0.1", f"pap:{server.port}:1000")
    latency = report["streams"][0]["latency_us"]
    assert report["streams"][0]["accepted"] == 60
    assert latency["max"] >= 100_000


def test_accounting_records_are_whole_lives_in_order(load: Path, responder: Callable[[Answer], Responder]) -> None:
    server = responder(lambda request: [reply(request, ACCOUNTING_RESPONSE)])
    run(load, "-u", "30", "--sessions", "10", "--interims", "3", "-n", "400", "-w", "8", f"acct:{server.port}")
    lives: dict[bytes, list[dict[int, bytes]]] = {}
    for packet in server.received:
        unsigned = packet[:4] + bytes(16) + packet[20:]
        assert packet[4:20] == hashlib.md5(unsigned + SECRET).digest()  # RFC 2866 section 3
        values = dict(attributes(packet))
        lives.setdefault(values[44], []).append(values)
    start, stop, interim = (kind.to_bytes(4, "big") for kind in (1, 2, 3))
    ended = 0
    for records in lives.values():
        kinds = [record[40] for record in records]
        assert kinds == [start, interim, interim, interim, stop][: len(kinds)]
        ended += len(kinds) == 5
        assert len({record[1] for record in records}) == 1
        octets = [int.from_bytes(record[53] + record[43], "big") for record in records[1:]]
        assert octets == sorted(set(octets))
        times = [int.from_bytes(record[46], "big") for record in records[1:]]
        assert times == [300 * step for step in range(1, len(records))]
    assert ended >= 400 // 5 - 20
    assert len(set(server.received)) == len(server.received) == 400


def test_signed_requests_verify_and_carry_what_a_bng_sends(
    load: Path, responder: Callable[[Answer], Responder]
) -> None:
    server = responder(lambda request: [reply(request, ACCESS_ACCEPT)])
    run(load, "--sign", "-n", "50", "-u", "50", f"pap:{server.port}")
    users = set()
    for packet in server.received:
        content = attributes(packet)
        assert content[0][0] == 80
        unsigned = packet[:22] + bytes(16) + packet[38:]
        assert hmac.new(SECRET, unsigned, "md5").digest() == content[0][1]
        # User-Name, User-Password, NAS-IP-Address, NAS-Port, Service-Type, Framed-Protocol, Called-Station-Id,
        # Calling-Station-Id, NAS-Identifier, NAS-Port-Type, NAS-Port-Id
        assert {1, 2, 4, 5, 6, 7, 30, 31, 32, 61, 87} <= {kind for kind, _ in content}
        users.add(dict(content)[1])
    assert len(users) == 50
    assert len({packet[4:20] for packet in server.received}) == 50


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("pap",),
        ("pap:0",),
        ("pap:70000",),
        ("eap:1812",),
        ("pap:1812:fast",),
        ("-u", "0", "pap:1812"),
        ("-U", "user", "pap:1812"),
        ("-U", "%s%06d", "pap:1812"),
        ("-s", "1", "-w", "300", "pap:1812"),
        ("acct:1813", "acct:1814"),
    ],
)
def test_a_wrong_command_line_is_refused_with_a_reason(load: Path, arguments: tuple[str, ...]) -> None:
    result = subprocess.run([load, *arguments], capture_output=True, text=True)
    assert result.returncode == 2
    assert result.stderr.startswith("load: ")
