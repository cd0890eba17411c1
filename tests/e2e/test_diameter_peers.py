"""Operators look at Diameter peers: `aaa peers`, metrics, events, traces, each within its scope."""

import json
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from billing_hooks.peers import PeerDetails
from native import diameter
from native.diameter import Message
from tests.diameter.wire import DICTIONARY, cer, result_of
from tests.e2e.peers import PATIENCE_S, ROOT, TOKEN, RunningServer, nas
from tests.server.test_diameter_agent import air, credit

BRAND = "brand-token-0123456789"
S6A, GX = 16777251, 16777238
CONFIG = f"""
[diameter]
listen = "127.0.0.1"
port = 0
sctp = "off"
origin_host = "aaa.example"
origin_realm = "example"

[[peer]]
origin_host = "mme.example"
origin_realm = "example"
commands = ["AIR"]

[[peer]]
origin_host = "brand.example"
origin_realm = "example"
operator = "brand"

[[peer]]
origin_host = "*"
origin_realm = "lab"

[[token]]
name = "brand"
role = "admin"
operator = "brand"
token = "{BRAND}"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path_factory.mktemp("peers"), nas("local", "127.0.0.1"), extra=CONFIG)
    yield server
    server.stop()
    server.check_log()


class Client:
    """A blocking connection of a peer."""

    def __init__(self, server: RunningServer, host: str, realm: str = "example", serves: Any = (S6A,)) -> None:
        self.host, self.realm = host, realm
        self.socket = socket.create_connection(("127.0.0.1", server.diameter_ports["tcp"]), PATIENCE_S)
        self.socket.settimeout(PATIENCE_S)
        self.answer = self.ask(cer(host, applications=serves, Origin_Realm=realm))

    def ask(self, octets: bytes) -> Message:
        """The answer; watchdogs that come before it are answered."""
        self.socket.sendall(octets)
        while True:
            header = self.socket.recv(4, socket.MSG_WAITALL)
            size = int.from_bytes(header[1:4], "big") - 4
            message = Message.parse(header + self.socket.recv(size, socket.MSG_WAITALL))
            if not message.flags & diameter.FLAG_REQUEST:
                return message
            pairs = [("Result-Code", 2001), ("Origin-Host", self.host), ("Origin-Realm", self.realm)]
            self.socket.sendall(diameter.answer(message, DICTIONARY.encode_all(pairs)))

    def air(self, identifier: int = 5, **more: Any) -> Message:
        return self.ask(air(self.host, identifier, Origin_Realm=self.realm, **more))

    def close(self) -> None:
        self.socket.close()


def as_brand(server: RunningServer, path: str) -> Any:
    request = urllib.request.Request(server.url + path, headers={"Authorization": f"Bearer {BRAND}"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def peer(server: RunningServer, host: str) -> Any:
    """As the API shows it, which is as the API says that it does."""
    answer = server.api("GET", f"/v1/peers/{host}")
    assert set(msgspec.to_builtins(msgspec.convert(answer, PeerDetails))) == set(answer)
    return answer


def test_a_peer_is_shown_from_its_coming_to_its_going(server: RunningServer) -> None:
    before = {item["origin_host"]: item for item in server.api("GET", "/v1/peers")["items"]}
    assert set(before) == {"mme.example", "brand.example"}
    assert (before["mme.example"]["state"], before["mme.example"]["last_reason"]) == ("closed", None)
    assert server.metric("aaa_diameter_peer_up", peer="mme.example") == 0
    client = Client(server, "mme.example")
    assert result_of(client.answer) == 2001
    client.air()
    client.ask(_dwr())
    shown = peer(server, "MME.example")
    assert {key: shown[key] for key in ("state", "direction", "address", "transport", "security", "watchdog")} == {
        "state": "open", "direction": "accepted", "address": "127.0.0.1", "transport": "tcp", "security": "none",
        "watchdog": "okay",
    }  # fmt: skip
    assert (shown["applications"], shown["product"], shown["identity"]) == (["S6a"], "test", "aaa.example")
    assert (shown["requests_received"], shown["in_work"], shown["opened"], shown["learned"]) == (1, 0, 1, False)
    (command,) = shown["commands"]
    assert (command["direction"], command["application"], command["command"]) == ("received", "S6a", "AIR")
    assert sum(command["answers"].values()) == command["requests"] == 1
    assert command["p99_ms"] >= command["p50_ms"] > 0
    assert server.metric("aaa_diameter_peer_up", peer="mme.example") == 1
    assert server.metric("aaa_diameter_requests_total", peer="mme.example", command="AIR", direction="received") == 1
    assert server.metric("aaa_diameter_answer_seconds_count", peer="mme.example", command="AIR") == 1
    client.close()
    server.wait_until(lambda: peer(server, "mme.example")["state"] == "closed")
    gone = peer(server, "mme.example")
    assert (gone["last_reason"], gone["direction"], gone["requests_received"]) == ("peer_closed", None, 1)
    assert gone["closed_at"] == gone["since"]
    line = server.wait_for_line("nas.down")
    assert (line["msg"], line["kind"], line["cause"]) == ("mme.example", "diameter", "peer_closed")
    Client(server, "mme.example").close()
    server.wait_for_line("nas.up")
    server.wait_until(
        lambda: len([event for event in events(server, "nas.*") if event["subject"] == "mme.example"]) >= 3
    )


def events(server: RunningServer, pattern: str) -> list[Any]:
    return server.api("GET", f"/v1/events?after=0&type={pattern}&limit=100")["items"]


def _dwr() -> bytes:
    pairs = [("Origin-Host", "mme.example"), ("Origin-Realm", "example")]
    return diameter.message(diameter.FLAG_REQUEST, 280, 0, 3, 4, DICTIONARY.encode_all(pairs))


def test_what_the_firewall_stops_is_counted_and_logged(server: RunningServer) -> None:
    client = Client(server, "mme.example")
    refused = client.air(6, Origin_Host="hss.example")
    assert result_of(refused) == 5003
    shown = peer(server, "mme.example")
    assert shown["stopped"] == {"origin_host": 1}
    assert shown["results"]["5003"] == 1
    assert server.metric("aaa_diameter_stopped_total", peer="mme.example", reason="origin_host") == 1
    assert server.metric("aaa_diameter_refusals_total", peer="mme.example", result="5003") == 1
    line = server.wait_for_line("diameter.stopped")
    assert (line["peer"], line["reason"], line["origin_host"]) == ("mme.example", "origin_host", "hss.example")
    client.close()


def test_peers_of_a_template_are_one_in_the_metrics_and_each_in_the_list(server: RunningServer) -> None:
    clients = [Client(server, f"{name}.lab", "lab") for name in ("a", "b")]
    for client in clients:
        client.air(7, Destination_Realm="nowhere")
    assert [peer(server, f"{name}.lab")["learned"] for name in ("a", "b")] == [True, True]
    assert server.metric("aaa_diameter_peer_up", peer="*.lab") == 2
    for client in clients:
        client.close()
    server.wait_until(lambda: len(server.api("GET", "/v1/peers")["items"]) == 2)
    assert server.metric("aaa_diameter_refusals_total", peer="*.lab", result="3003") == 2


def test_clients_that_are_not_configured_by_name_are_one_in_the_metrics(server: RunningServer) -> None:
    qos = {"qci": 9, "arp": {"priority": 8}, "apn": "internet"}
    server.api("PUT", "/v1/plans/lte", {"revision": 1, "kind": "mobile", "qos": qos})
    server.api("PUT", "/v1/subscribers/erin", {"revision": 1})
    server.api("PUT", "/v1/services/erin", {"revision": 1, "subscriber_id": "erin", "plan_id": "lte"})
    sim = {"revision": 1, "imsi": "001010000000001", "service_id": "erin", "state": "activated"}
    server.api("PUT", "/v1/sims/8900100000000000001", sim)
    client = Client(server, "smf.lab", "lab", [GX])
    imsi = [("Subscription-Id-Type", 1), ("Subscription-Id-Data", "001010000000001")]
    more = {"Origin_Realm": "lab", "Subscription_Id": imsi, "Called_Station_Id": "internet"}
    assert result_of(client.ask(credit(host="smf.lab", **more))) == 2001
    assert server.metric("aaa_nas_sessions", nas="diameter") == 1
    assert 'nas="smf.lab"' not in server.api("GET", "/metrics")
    assert [item["name"] for item in server.api("GET", "/v1/nas")["items"]] == ["local", "smf.lab"]
    client.close()


def test_a_stranger_is_counted(server: RunningServer) -> None:
    stranger = Client(server, "stranger.example")
    assert result_of(stranger.answer) == 3010
    assert server.metric("aaa_diameter_connections_refused_total", result="3010") == 1


def test_an_operator_sees_its_own_peers_only(server: RunningServer) -> None:
    assert [item["origin_host"] for item in as_brand(server, "/v1/peers")["items"]] == ["brand.example"]
    assert as_brand(server, "/v1/peers/brand.example")["operator"] == "brand"
    with pytest.raises(urllib.error.HTTPError) as refused:
        as_brand(server, "/v1/peers/mme.example")
    assert refused.value.code == 404


def aaa(server: RunningServer, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "aaa.cli", *arguments]


def test_the_command_line_lists_shows_and_traces(server: RunningServer) -> None:
    environment = os.environ | {"AAA_URL": server.url, "AAA_TOKEN": TOKEN}
    client = Client(server, "mme.example")
    command = aaa(server, "trace", "--peer", "mme.example", "--command", "air", "--imsi", "001010000000001")
    with subprocess.Popen(
        [*command, "--count", "1"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as tracing:
        try:
            server.wait_until(lambda: server.metric("aaa_http_requests_in_work") >= 2)
            client.air(8, User_Name="001010000000002")
            client.air(9)
            text = tracing.communicate(timeout=PATIENCE_S)[0]
        finally:
            tracing.kill()
    assert "mme.example 127.0.0.1 S6a AIR 9 001010000000001 -> S6a AIA" in text
    assert "< Visited-PLMN-Id = 001-01" in text

    def run(*arguments: str) -> str:
        return subprocess.run(
            aaa(server, *arguments), cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
        ).stdout

    listed = {item["origin_host"]: item for item in json.loads(run("peers", "list", "--json"))}
    assert listed["mme.example"]["state"] in ("open", "reopening")
    assert "mme.example" in run("peers")
    assert [item["origin_host"] for item in json.loads(run("peers", "--state", "closed", "--json"))] == [
        "brand.example"
    ]
    shown = run("peers", "show", "mme.example")
    assert "origin_host: mme.example" in shown
    assert "AIR" in shown
    client.close()
