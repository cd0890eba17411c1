"""`aaa coa-test` stands in for a NAS: what it verifies it prints and answers, the same again for the same."""

import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aaa.cli.commands import cli
from native.radius import Packet, Secret, attribute
from tests.e2e.peers import PATIENCE_S, free_port

SECRET = Secret(b"testing123")


def run(port: int, *options: str, ask: Callable[[socket.socket], Any]) -> tuple[Result, Any]:
    """The command's end, and what `ask` got of it."""
    found: list[Any] = []

    def far_end() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.settimeout(0.2)
            end.connect(("127.0.0.1", port))
            found.append(ask(end))

    thread = threading.Thread(target=far_end)
    thread.start()
    command = ["coa-test", "--listen", f"127.0.0.1:{port}", "--secret", "testing123", "--timeout", "20", *options]
    result = CliRunner().invoke(cli, command)
    thread.join()
    return result, found[0]


def exchange(end: socket.socket, request: bytes) -> Packet:
    """The answer; the request is repeated until one comes."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        try:
            end.send(request)
            return Packet.parse(end.recv(4096))
        except (TimeoutError, ConnectionRefusedError):
            continue
    raise AssertionError("no answer")


@pytest.mark.parametrize(("code", "nak", "answer"), [(43, (), 44), (40, (), 41), (43, ("--nak", "503"), 45)])
def test_a_request_is_printed_and_answered(code: int, nak: tuple[str, ...], answer: int) -> None:
    request = SECRET.request(code, 7, attribute(44, b"s1"))
    result, packet = run(free_port(), "--count", "1", "--json", *nak, ask=lambda end: exchange(end, request))
    assert (result.exit_code, packet.code, packet.get_integer(101)) == (0, answer, 503 if nak else None)
    assert SECRET.verify_response(packet, request[4:20])
    (line,) = map(json.loads, result.stdout.splitlines())
    assert ["Acct-Session-Id", "s1"] in line["attributes"]


def test_a_request_that_comes_again_gets_the_same_answer_and_is_printed_once() -> None:
    first, second = SECRET.request(43, 1, attribute(44, b"s1")), SECRET.request(43, 2, attribute(44, b"s2"))

    def ask(end: socket.socket) -> list[bytes]:
        return [exchange(end, request).raw for request in (first, first, second)]

    result, answers = run(free_port(), "--count", "2", "--json", ask=ask)
    assert answers[0] == answers[1]
    assert len(result.stdout.splitlines()) == 2


def test_a_forged_request_is_dropped() -> None:
    forged = Secret(b"another").request(43, 1, attribute(44, b"s1"))
    first, good = (SECRET.request(43, number, attribute(44, b"s2")) for number in (1, 2))

    def ask(end: socket.socket) -> int:
        exchange(end, first)
        end.send(forged)
        return exchange(end, good).identifier

    result, identifier = run(free_port(), "--count", "2", ask=ask)
    assert identifier == 2
    assert "dropped" in result.stderr
    assert result.stdout.startswith("CoA-Request from 127.0.0.1, answered CoA-ACK")


def test_its_time_is_over_with_exit_code_3() -> None:
    command = ["coa-test", "--listen", f"127.0.0.1:{free_port()}", "--secret", "x", "--timeout", "0.01"]
    assert CliRunner().invoke(cli, command).exit_code == 3
