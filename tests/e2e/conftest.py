"""Servers, peers and captures shared by the end-to-end tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from policy.model import FAMILIES
from tests.e2e.mobile import Network
from tests.e2e.peers import FreeRadiusProxy, RunningServer, free_port, nas, program
from tests.e2e.wire import Nas

PEERS = ("radclient", "freeradius", "tshark", "dumpcap", "erl", "escript", "freeDiameterd", "gcc")
HOME_50 = {"kind": "internet", "rate": {"down_bps": 50_000_000, "up_bps": 10_000_000}}
TIMERS = {"session_timeout": 86_400, "interim_interval": 300}

FAMILY_ADDRESS = {family: f"127.0.1.{number}" for number, family in enumerate(FAMILIES, 1)}
MAC_NAS, CIRCUIT_NAS, STRICT_NAS, PROXY_NAS, OPEN_NAS = (f"127.0.2.{number}" for number in range(1, 6))
ROTATING_NAS, LIMITED_NAS, DISPLACING_NAS, OTHER_OPERATOR_NAS = (f"127.0.2.{number}" for number in range(6, 10))
POOL_NAS = "127.0.2.10"

NASES = "\n".join(
    (
        nas("local", ["127.0.0.1", "::1", "127.0.0.2"], family="mikrotik"),
        *(nas(f"nas-{family}", FAMILY_ADDRESS[family], family=family) for family in FAMILIES),
        nas("mac", MAC_NAS, identity=["password", "mac"]),
        nas("circuit", CIRCUIT_NAS, identity=["password", "circuit"], family="nokia"),
        nas("strict", STRICT_NAS, message_authenticator="require"),
        nas("proxy", PROXY_NAS),
        nas("open", OPEN_NAS, message_authenticator="off", allow_proxy_state=True),
        nas("rotating", ROTATING_NAS, second_secret="the-new-secret"),
        nas("limited", LIMITED_NAS, rate_limit=0.001, rate_burst=3),
        nas("other", OTHER_OPERATOR_NAS, operator="other"),
        nas("pools", POOL_NAS),
        nas("shared-a", "127.0.3.0/24", identifier="bras-a", family="cisco"),
        nas("shared-b", "127.0.3.0/24", identifier="bras-b", family="huawei"),
    )
)
POOLS = """
[[pool]]
name = "dual"
kind = "ipv4"
ranges = ["100.64.0.0/29"]
hold = "0s"

[[pool]]
name = "dual"
kind = "ipv6"
ranges = ["2001:db8:a::/48"]

[[pool]]
name = "dual"
kind = "delegated"
ranges = ["2001:db8:b::/48"]

[[pool]]
name = "tiny"
kind = "ipv4"
ranges = ["100.64.1.1-100.64.1.2"]
hold = "0s"
"""


@pytest.fixture(scope="session", autouse=True)
def peers() -> None:
    """Every peer is there: a missing one fails, it does not skip."""
    for name in PEERS:
        program(name)


@pytest.fixture(scope="session")
def coa_port() -> int:
    """Where the displacing NAS listens for Disconnect-Requests."""
    return free_port()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, coa_port: int) -> Iterator[RunningServer]:
    """One server for all tests that need nothing of their own; rejects leave at once."""
    server = RunningServer(
        tmp_path_factory.mktemp("server"),
        NASES + nas("displacing", DISPLACING_NAS, simultaneous_use="disconnect_oldest", coa_port=coa_port),
        radius="\n".join(
            (
                "reject_delay = 0",
                "interim_jitter = 0",
                'duplicate_lifetime = "30s"',
                'username_strip_realms = ["isp.example"]',
            )
        ),
        extra=POOLS,
    )
    server.plan("home-50", **HOME_50, **TIMERS)
    yield server
    code = server.stop()
    server.check_log()
    assert code == 0


@pytest.fixture(autouse=True)
def clean_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test fails when the server that it used logged an exception."""
    yield
    if "server" in request.fixturenames:
        request.getfixturevalue("server").check_log()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., RunningServer]]:
    """Starts servers of a test's own."""
    servers: list[RunningServer] = []

    def start(nases: str | None = None, **options: Any) -> RunningServer:
        directory = tmp_path / f"server-{len(servers)}"
        directory.mkdir()
        server = RunningServer(directory, nases if nases is not None else nas("local", "127.0.0.1"), **options)
        servers.append(server)
        server.plan("home-50", **HOME_50, **TIMERS)
        return server

    yield start
    for server in servers:
        server.stop()
        server.check_log()


@pytest.fixture(scope="session")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """One server with Diameter and the sample data for all tests that need nothing of their own."""

    def start(nases: str | None, **options: Any) -> RunningServer:
        server = RunningServer(tmp_path_factory.mktemp("core"), nases or nas("local", "127.0.0.1"), **options)
        server.plan("home-50", **HOME_50, **TIMERS)
        return server

    core = Network(start, tmp_path_factory.mktemp("network"), quota_slice=1_000_000, quota_slice_min=100_000)
    yield core
    code = core.server.stop()
    core.close()
    core.server.check_log()
    assert code == 0


@pytest.fixture
def mobile(core: Network) -> Iterator[Network]:
    """The shared network; a test fails for what was wrong in what its peers got."""
    yield core
    core.check()
    core.server.check_log()


@pytest.fixture
def network(start: Callable[..., RunningServer], tmp_path: Path) -> Iterator[Callable[..., Network]]:
    """Makes a server with Diameter, the sample data, and peers around it; what it sent them is judged at the end."""
    made: list[Network] = []

    def build(**options: Any) -> Network:
        made.append(Network(start, tmp_path, **options))
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def connect() -> Iterator[Callable[..., Nas]]:
    """NAS sockets that are closed afterwards: connect(server, address, secret)."""
    opened: list[Nas] = []

    def connect(peer: Any, *where: Any, **options: Any) -> Nas:
        opened.append(peer.nas(*where, **options))
        return opened[-1]

    yield connect
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def proxy(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FreeRadiusProxy]:
    """FreeRADIUS between a NAS and the server."""
    proxy = FreeRadiusProxy(tmp_path_factory.mktemp("proxy"), server, PROXY_NAS)
    yield proxy
    proxy.stop()
