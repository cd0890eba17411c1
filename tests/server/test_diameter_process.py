"""The server process as a Diameter peer sees it over its life: stops, kills, restores, reloads that are refused."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from native import diameter
from native.diameter import Message
from tests.diameter.wire import DICTIONARY, cer, result_of
from tests.e2e.peers import ROOT, RunningServer, nas

DIAMETER = """
[diameter]
listen = "127.0.0.1"
port = 0
origin_host = "aaa.localdomain"

[[peer]]
origin_host = "*"
origin_realm = "localdomain"
address = "127.0.0.0/8"
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path, nas("local", "127.0.0.1"), extra=DIAMETER)
    yield server
    server.stop()
    server.check_log()


def exchange(server: RunningServer, host: str = "mme.localdomain") -> tuple[socket.socket, Message]:
    """A connection, and the answer to its CER."""
    client = socket.create_connection(("127.0.0.1", server.diameter_ports["tcp"]), timeout=10)
    client.sendall(cer(host, applications=[4], Origin_Realm="localdomain"))
    return client, read(client)


def read(client: socket.socket) -> Message:
    stream = client.makefile("rb")
    header = stream.read(4)
    return Message.parse(header + stream.read(int.from_bytes(header[1:4], "big") - 4))


def state_id(server: RunningServer) -> int:
    client, answer = exchange(server)
    with client:
        assert result_of(answer) == 2001
        number = answer.get_unsigned32(278)
    assert number is not None
    return number


def test_origin_state_id_survives_stops_and_kills_and_grows_with_a_restore(server, tmp_path):
    first = state_id(server)
    assert server.stop() == 0
    server.start()
    assert state_id(server) == first
    server.kill()
    server.start()
    assert state_id(server) == first

    def command(*words: str) -> None:
        result = subprocess.run(
            [sys.executable, "-m", "aaa.cli", *words, "-c", str(server.config)],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stdout + result.stderr

    command("backup", str(tmp_path / "copy"))
    server.stop()
    command("restore", str(tmp_path / "copy"), "--replace")
    server.start()
    assert state_id(server) > first


def test_a_stop_says_goodbye_and_ends_when_that_is_answered(server):
    client, answer = exchange(server)
    with client:
        assert result_of(answer) == 2001
        server.process.terminate()
        goodbye = read(client)
        assert DICTIONARY.title(goodbye) == "Base DPR"
        pairs = [("Result-Code", 2001), ("Origin-Host", "mme.localdomain"), ("Origin-Realm", "localdomain")]
        client.sendall(diameter.answer(goodbye, DICTIONARY.encode_all(pairs)))
        assert client.recv(1) == b""
    assert server.stop() == 0


def test_a_broken_reload_leaves_peers_as_they_are(server):
    client, answer = exchange(server)
    with client:
        assert result_of(answer) == 2001
        server.configure(extra=DIAMETER.replace("127.0.0.0/8", "127.0.0.1/8"))
        server.reload(expect="config.problem")
        client.sendall(diameter.message(0x80, 280, 0, 7, 7, DICTIONARY.encode_all(
            [("Origin-Host", "mme.localdomain"), ("Origin-Realm", "localdomain")]
        )))  # fmt: skip
        assert DICTIONARY.title(read(client)) == "Base DWA"
        server.configure(extra=DIAMETER)
        assert server.reload()["changed"] == []
