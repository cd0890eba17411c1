"""The Diameter load generator as a specification: what it sends, and which answers it takes for wrong.

Its far end is a node of the server's own machines, which holds every request against the dictionary.
"""

import asyncio
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aaa.diameter.events import Request
from aaa.diameter.settings import Remote
from bench.diameter_requests import OCTETS, REALM, SERVER, messages
from native import diameter, milenage
from tests.diameter.shell import Shell
from tests.diameter.wire import DICTIONARY, node

ROOT = Path(__file__).resolve().parents[2]
KEYS = bytes.fromhex("465B5CE8B199B49FAA5F0A2EE238A6BCCD63CB71954A9F4E48A5994E37A02BAF")
"""K and OPc of TS 35.208 §4.3, test set 1."""
PLMN = bytes.fromhex("00f110")
UPDATES = 2

Pairs = list[tuple[str, Any]]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("bench")
    command = ["cc", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations"]
    source = ROOT / "bench" / "diameter_load.c"
    subprocess.run([*command, "-o", str(directory / "load"), str(source), "-lcrypto"], check=True)
    (directory / "templates").write_bytes(b"".join(messages()))
    return directory / "load"


class Server:
    """Answers every request well, but for what `spoil` does to the AVPs of an answer."""

    def __init__(self, spoil: Callable[[str, Pairs], Pairs] | None = None) -> None:
        self.spoil = spoil
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self._sqn = 0

    def answer(self, request: Request) -> bytes:
        message = request.message
        title = DICTIONARY.title(message)
        names = {(code, vendor): DICTIONARY.by_number(code, vendor).name for code, vendor, _, _ in message.avps()}
        asked = {
            names[code, vendor]: DICTIONARY.decode(names[code, vendor], value)
            for code, vendor, _, value in message.avps()
        }
        self.requests.append((title, asked))
        pairs: Pairs = [("Session-Id", asked["Session-Id"]), ("Origin-Host", SERVER), ("Origin-Realm", REALM)]
        pairs.append(("Result-Code", 2001))
        if title.endswith("CCR"):
            pairs += [(name, asked[name]) for name in ("Auth-Application-Id", "CC-Request-Type", "CC-Request-Number")]
            if asked["CC-Request-Type"] != "TERMINATION_REQUEST":
                pairs += GRANTS[title.split()[0]]
        else:
            pairs.append(("Auth-Session-State", 1))
            pairs += self.vector() if title.endswith("AIR") else SUBSCRIPTION
        if self.spoil is not None:
            pairs = self.spoil(title, pairs)
        return diameter.answer(message, DICTIONARY.encode_all(pairs))

    def vector(self) -> Pairs:
        self._sqn += 32
        made = milenage.eps_vector(KEYS, bytes(range(16)), self._sqn, 0xB9B9, PLMN)
        members = [("RAND", made[:16]), ("XRES", made[16:24]), ("AUTN", made[24:40]), ("KASME", made[40:])]
        return [("Authentication-Info", [("E-UTRAN-Vector", members)])]


GRANTS: dict[str, Pairs] = {
    "Gx": [
        ("QoS-Information", [("APN-Aggregate-Max-Bitrate-UL", 1_000)]),
        ("Default-EPS-Bearer-QoS", [("QoS-Class-Identifier", 9)]),
        ("Charging-Rule-Install", [("Charging-Rule-Name", "default")]),
    ],
    "Gy": [("Multiple-Services-Credit-Control", [("Granted-Service-Unit", [("CC-Total-Octets", 1_000)])])],
}
SUBSCRIPTION: Pairs = [("ULA-Flags", 1), ("Subscription-Data", [("Subscriber-Status", 0)])]


def run(load: Path, server: Server, *arguments: str) -> tuple[int, dict[str, Any]]:
    """One run against the server; exit status and report."""

    async def serve() -> tuple[int, dict[str, Any]]:
        remotes = [Remote(f"gen{number:03d}.{REALM}") for number in range(3)]
        shell = Shell(node(SERVER, remotes, ("Gx", "Gy", "S6a")), server.answer)
        port = await shell.listen()
        command = [str(load), "--json", "-p", str(port), "-m", str(load.parent / "templates"), "-u", "48"]
        command += ["--updates", str(UPDATES), "-w", "6", "-l", "10", *arguments]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            async with asyncio.timeout(30):
                output, errors = await process.communicate()
        finally:
            shell.close()
        assert process.returncode in (0, 1), errors.decode()
        return process.returncode, json.loads(output)

    return asyncio.run(serve())


@pytest.mark.parametrize(("application", "steps"), [("gx", 2), ("gy", UPDATES + 2), ("s6a", 2)])
def test_every_life_is_asked_for_in_order_and_good_answers_count(load, application, steps):
    server = Server()
    status, report = run(load, server, "-s", "3", "-n", "240", application)
    assert (status, report["answered"], report["sent"], report["bad"], report["lost"]) == (0, 240, 240, 0, 0)
    assert report["latency_us"]["p50"] > 0
    hosts = {asked["Origin-Host"] for _, asked in server.requests}
    assert hosts == {f"gen{number:03d}.{REALM}" for number in range(3)}
    if application == "s6a":
        assert {title for title, _ in server.requests} == {"S6a AIR", "S6a ULR"}
        assert len({asked["User-Name"] for _, asked in server.requests}) == 48
        assert len({asked["Session-Id"] for _, asked in server.requests}) == 240
        return
    sessions: dict[str, list[int]] = {}
    for _, asked in server.requests:
        sessions.setdefault(asked["Session-Id"], []).append(asked["CC-Request-Number"])
    assert all(numbers == list(range(steps))[: len(numbers)] for numbers in sessions.values())
    assert sum(len(numbers) == steps for numbers in sessions.values()) >= 240 // steps - 10
    if application == "gy":
        reports = sum(asked["CC-Request-Type"] != "INITIAL_REQUEST" for _, asked in server.requests)
        assert report["octets_reported"] == 2 * OCTETS * reports


def without(*names: str) -> Callable[[str, Pairs], Pairs]:
    return lambda _, pairs: [(name, value) for name, value in pairs if name not in names]


def instead(name: str, value: Any) -> Callable[[str, Pairs], Pairs]:
    return lambda _, pairs: [(one, value if one == name else had) for one, had in pairs]


def spoiled() -> Iterator[tuple[str, str, Callable[[str, Pairs], Pairs]]]:
    yield "gx", "wrong_session", instead("Session-Id", "another")
    yield "gx", "wrong_result", instead("Result-Code", 5012)
    yield "gx", "malformed", without("Origin-Host")
    yield "gx", "wrong_type", instead("CC-Request-Number", 7)
    yield "gx", "wrong_type", instead("CC-Request-Type", 2)
    for name, _ in GRANTS["Gx"]:
        yield "gx", "no_rules", without(name)
    yield "gy", "no_grant", without("Multiple-Services-Credit-Control")
    refused = [("Result-Code", 4012), *GRANTS["Gy"][0][1]]
    yield "gy", "no_grant", instead("Multiple-Services-Credit-Control", refused)
    yield "s6a", "no_data", without("Subscription-Data")
    yield "s6a", "no_vector", without("Authentication-Info")
    zeros = [("RAND", bytes(16)), ("XRES", bytes(8)), ("AUTN", bytes(16)), ("KASME", bytes(32))]
    yield "s6a", "wrong_vector", instead("Authentication-Info", [("E-UTRAN-Vector", zeros)])
    yield "s6a", "no_vector", instead("Authentication-Info", [("E-UTRAN-Vector", [("RAND", bytes(15)), *zeros[1:]])])


@pytest.mark.parametrize(("application", "counter", "spoil"), spoiled())
def test_a_wrong_answer_is_named_and_never_counted(load, application, counter, spoil):
    status, report = run(load, Server(spoil), "-n", "12", application)
    assert status == 1
    assert report[counter] == report["bad"] > 0
    assert report["answered"] == report["sent"] - report["bad"]


def test_an_sqn_that_falls_is_found(load):
    server = Server()
    vector = server.vector()
    status, report = run(
        load, Server(instead("Authentication-Info", vector[0][1])), "-u", "6", "-l", "6", "-n", "36", "s6a"
    )
    assert status == 1
    assert report["old_sqn"] == report["bad"] > 0
