"""auth-test and acct-test against a UDP socket that answers as the test says."""

import json
from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from aaa.cli.commands import cli
from aaa.cli.probe import parse_server
from native.radius import Packet, Secret, attribute
from tests.cli.conftest import Answer, RadiusServer

Start = Callable[[Answer], RadiusServer]


def accept(packet: Packet, secret: Secret) -> list[bytes]:
    return [secret.respond(packet, 2, attribute(18, b"welcome") + attribute(27, b"\0\0\1\0"), True)]


def run(server: str, *arguments: str, secret: str = "testing123") -> Result:
    return CliRunner().invoke(cli, [*arguments, "--server", server, "--secret", secret])


def test_an_accept_is_printed_decoded(radius: Start) -> None:
    server = radius(accept)
    extra = ("-a", "NAS-Port = 7", "-a", 'Called-Station-Id = "x"')
    result = run(server.address, "auth-test", "alice", "wonderland", *extra)
    assert result.exit_code == 0
    assert result.stdout.startswith("Access-Accept\n")
    assert "    Reply-Message = welcome\n" in result.stdout
    assert "    Session-Timeout = 256\n" in result.stdout
    assert "message authenticator: right, first\n" in result.stdout
    request = server.received[0]
    assert (request.get(1), request.get_integer(5), request.get(30)) == (b"alice", 7, b"x")
    assert request.get(4) == b"\x7f\0\0\1"


def test_a_reject_exits_with_1(radius: Start) -> None:
    server = radius(lambda packet, secret: [secret.respond(packet, 3, attribute(18, b"suspended"), True)])
    result = run(server.address, "auth-test", "bob", "builder", "--method", "chap", "--json")
    assert result.exit_code == 1
    shown = json.loads(result.stdout)
    assert shown["result"] == "Access-Reject"
    assert {"name": "Reply-Message", "value": "suspended"} in shown["attributes"]


def test_an_accept_without_proof_of_the_password_is_no_success(radius: Start) -> None:
    result = run(radius(accept).address, "auth-test", "alice", "wonderland", "--method", "mschapv2")
    assert result.exit_code == 1
    assert "ms chap2 success: missing" in result.stdout


def test_silence_exits_with_3_after_the_tries(radius: Start) -> None:
    server = radius(lambda packet, secret: [])
    result = run(server.address, "auth-test", "alice", "x", "--tries", "3", "--timeout", "0.05", "--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["transmissions"] == 3
    assert len({packet.raw for packet in server.received}) == 1
    assert len(server.received) == 3


def test_a_wrong_secret_is_told_apart_from_silence(radius: Start) -> None:
    result = run(radius(accept).address, "auth-test", "alice", "x", "--tries", "1", "--timeout", "0.5", secret="other")
    assert result.exit_code == 3
    assert "secrets differ" in result.stderr


def test_a_closed_port_is_waited_out(radius: Start) -> None:
    server = RadiusServer(accept)
    server.stop()
    result = run(server.address, "auth-test", "alice", "x", "--tries", "2", "--timeout", "0.05")
    assert result.exit_code == 3


def test_a_response_after_a_forged_one_counts(radius: Start) -> None:
    def answer(packet: Packet, secret: Secret) -> list[bytes]:
        return [Secret(b"forged").respond(packet, 2, b"", True), secret.respond(packet, 3, b"", True)]

    result = run(radius(answer).address, "auth-test", "alice", "x", "--json")
    shown = json.loads(result.stdout)
    assert (result.exit_code, shown["result"], shown["dropped"]) == (1, "Access-Reject", ["authenticator"])


def test_accounting_carries_64_bit_counters(radius: Start) -> None:
    server = radius(lambda packet, secret: [secret.respond(packet, 5, b"", False)])
    octets = str(5 * 2**32 + 9)
    result = run(
        server.address, "acct-test", "stop", "--user", "alice", "--session-id", "s-1", "--input", octets,
        "--output", "8", "--session-time", "60", "--framed-ip", "192.0.2.1", "--class", "0x0102",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    packet = server.received[0]
    assert server.secret.verify_accounting(packet)
    assert [packet.get_integer(number) for number in (40, 42, 52, 43, 53, 46)] == [2, 9, 5, 8, 0, 60]
    assert (packet.get(44), packet.get(8), packet.get(25)) == (b"s-1", b"\xc0\0\2\1", b"\1\2")
    assert packet.has(55)


@pytest.mark.parametrize(
    "attribute_line", ["NAS-Prot = 1", "NAS-Port", "NAS-Port = many", "Tunnel-Type:x = VLAN", "User-Password = x"]
)
def test_an_attribute_that_cannot_be_sent_is_a_usage_error(attribute_line: str) -> None:
    result = run("127.0.0.1:1", "auth-test", "alice", "x", "-a", attribute_line)
    assert result.exit_code == 2


def test_a_secret_is_needed(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.delenv("AAA_SECRET", raising=False)
    result = CliRunner().invoke(cli, ["auth-test", "a", "b"])
    assert result.exit_code in (2, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", ("192.0.2.1", 1812)),
        ("host:1645", ("host", 1645)),
        ("[2001:db8::1]:99", ("2001:db8::1", 99)),
        ("[2001:db8::1]", ("2001:db8::1", 1812)),
        ("2001:db8::1", ("2001:db8::1", 1812)),
    ],
)
def test_servers_are_named_as_usual(text: str, expected: tuple[str, int]) -> None:
    assert parse_server(text, 1812) == expected
