"""freeDiameter in between: as the relay to our clients, and as two next hops of which one dies."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aaa.diameter.routing import route_records
from aaa.state.schema import Row
from native.diameter import FLAG_RETRANSMITTED
from tests.diameter.test_freediameter import EXTENSIONS, Daemon
from tests.diameter.wire import DICTIONARY, cer, complaints, result_of
from tests.lab.certificate import Authority
from tests.server.diameter_site import GX, S6A, Client, Echo, Site, free_port, node_text, peer_text, run, site
from tests.server.test_diameter_agent import Served, aia, air, ask, credit, raa


@contextlib.asynccontextmanager
async def daemon(directory: Path, host: str, port: int, dials: dict[str, int], *accepts: str) -> AsyncIterator[Daemon]:
    """freeDiameter as a relay. dials: ports by Origin-Host; accepts: who may connect."""
    program = shutil.which("freeDiameterd")
    assert program is not None, "freeDiameter is not installed: tests/peers.sh does that"
    files = Authority(directory / "certificates").issue(host)
    (directory / f"{host}.acl").write_text("".join(f"ALLOW_IPSEC {name}\n" for name in accepts or ("nobody.example",)))
    (directory / f"{host}.conf").write_text(
        f"""
Identity = "{host}"; Realm = "example"; Port = {port}; SecPort = 0; No_SCTP; No_IPv6; TcTimer = 1; TwTimer = 30;
TLS_Cred = "{files}/cert.pem", "{files}/key.pem"; TLS_CA = "{files}/ca.pem";
LoadExtension = "{EXTENSIONS}/acl_wl.fdx" : "{directory}/{host}.acl";
"""
        + "".join(
            f'ConnectPeer = "{name}" {{ No_TLS; ConnectTo = "127.0.0.1"; Port = {to}; }};\n'
            for name, to in dials.items()
        )
    )
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(directory / f"{host}.conf"), "-d",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env=os.environ | {"LC_ALL": "C"}, cwd=directory,
    )  # fmt: skip
    running = Daemon(process)
    try:
        for name in dials:
            await running.until("STATE_OPEN", name, timeout_s=10)
        yield running
    finally:
        if process.returncode is None:
            process.kill()
        await running.end()


class Sent:
    """Everything that a node has sent, for tshark."""

    def __init__(self, *sites: Site) -> None:
        self.messages: list[bytes] = []
        for one in sites:
            one.node.tap = self.note

    def note(self, connection: Any, octets: bytes, received: bool) -> None:
        if not received:
            self.messages.append(octets)


def test_a_client_behind_freediameter_is_served_and_reached(tmp_path):
    async def converse() -> None:
        port = free_port()
        async with site(tmp_path, node_text(peer_text("fd.example"), applications=["gx", "s6a"])) as one:
            sent = Sent(one)
            one.diameter.applications[GX] = echo = Echo(GX)
            async with daemon(tmp_path, "fd.example", port, {"aaa.example": one.ports["tcp"]}, "pcef.example"):
                await one.until(lambda: one.node.peers["fd.example"].is_open)
                client = Client(*await asyncio.open_connection("127.0.0.1", port))
                client.send(cer("pcef.example", applications=[GX]))
                assert result_of(await client.read()) == 2001
                answer = await client.request(credit(host="pcef.example"))
                assert (result_of(answer), answer.hop_by_hop) == (2001, 9)
                assert route_records(echo.batches[0][0]) == ["pcef.example"]
                done = await ask(one, "pcef.example", via="fd.example")
                asked = await client.read()
                assert DICTIONARY.title(asked) == "Gx RAR"
                client.send(raa(asked))
                assert result_of((await done)[0]) == 2001
                client.close()
        assert complaints(sent.messages, tmp_path) == []

    run(converse())


ROUTED = "\n".join((
    peer_text("client"), peer_text("fd1.example"), peer_text("fd2.example"),
    '[[route]]\nrealm = "home"\npeers = ["fd1.example", "fd2.example"]\n',
))  # fmt: skip
HOME = "\n".join((peer_text("fd1.example"), peer_text("fd2.example")))


def test_a_request_under_way_over_a_relay_that_dies_is_applied_once_and_answered_once(tmp_path):
    async def converse() -> None:
        (tmp_path / "agent").mkdir()
        (tmp_path / "home").mkdir()
        relaying = node_text(ROUTED, applications=["gx", "s6a"], relay=True)
        serving = node_text(HOME, origin_host="hss.home", origin_realm="home", applications=["gx", "s6a"])
        async with site(tmp_path / "agent", relaying) as agent, site(tmp_path / "home", serving) as home:
            sent = Sent(agent, home)
            served = Served(home, S6A)
            home.diameter.applications[S6A] = Held(home, served)
            home.writer.at_once = False
            to = {"aaa.example": agent.ports["tcp"], "hss.home": home.ports["tcp"]}
            async with (
                daemon(tmp_path, "fd1.example", free_port(), to) as first,
                daemon(tmp_path, "fd2.example", free_port(), to),
            ):
                await agent.until(lambda: all(agent.node.peers[f"fd{n}.example"].is_open for n in (1, 2)))
                await home.until(lambda: all(home.node.peers[f"fd{n}.example"].is_open for n in (1, 2)))
                client = await agent.opened()
                client.send(air(Destination_Realm="home"))
                await home.until(lambda: served.seen)
                assert route_records(served.seen[0]) == ["client", "aaa.example"]
                first.process.kill()
                await home.until(lambda: home.diameter.agent.duplicates.repeated)
                home.writer.acknowledge()
                answer = await client.read()
                assert (result_of(answer), answer.hop_by_hop, answer.end_to_end) == (2001, 9, 5)
                assert len(served.seen) == 1
                assert home.diameter.unsent_answers == 1
                assert not agent.diameter.agent.relayed
                assert any(octets[4] & FLAG_RETRANSMITTED for octets in sent.messages)
        assert complaints(sent.messages, tmp_path) == []

    run(converse())


class Held:
    """Answers that wait for the disk."""

    def __init__(self, one: Site, served: Served) -> None:
        self.one = one
        self.served = served

    def receive(self, requests: Any, at: float) -> list[bytes]:
        self.one.journal.append(Row.META, ("test", "x"))
        self.served.seen += [request.message for request in requests]
        return [aia(request.message, host="hss.home") for request in requests]
