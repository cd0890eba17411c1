"""A server with Diameter, the network elements around it, and the judge of all that it sent them."""

import json
import socket
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from tests.diameter.wire import complaints
from tests.e2e.peers import ROOT, RunningServer, toml
from tests.lab.certificate import Authority
from tests.lab.freediameter import FreeDiameter
from tests.lab.otp import Otp, OtpPeer
from tests.lab.peer import Peer
from tests.lab.usim import Usim

SERVER, REALM = "aaa.localdomain", "localdomain"
IMSI, MSISDN, K, OPC = (
    "001010000000001", "15550000001", "465B5CE8B199B49FAA5F0A2EE238A6BC", "CD63CB71954A9F4E48A5994E37A02BAF",
)  # fmt: skip
"""The SIM of the sample data: TS 35.208 test set 1."""
PEERS = [{"origin_host": "*", "origin_realm": REALM, "address": ["127.0.0.0/8"]}]


def free_tcp_port() -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def section(name: str, values: dict[str, Any]) -> str:
    return f"{name}\n" + "\n".join(f"{key} = {toml(value)}" for key, value in values.items()) + "\n"


class User(NamedTuple):
    """A subscriber with one mobile service of a plan of its own, and a SIM that is activated."""

    service: str
    imsi: str
    iccid: str
    usim: Usim


class Network:
    """The server under test in `server`, and peers by their Origin-Host."""

    def __init__(
        self,
        start: Callable[..., RunningServer],
        directory: Path,
        *,
        peers: Iterable[dict[str, Any]] = PEERS,
        tls: bool = False,
        extra: str = "",
        nases: str | None = None,
        sample: bool = True,
        **diameter: Any,
    ) -> None:
        """peers: [[peer]] entries; diameter: further keys of [diameter]; sample: with the sample data."""
        self.directory = directory
        self.authority = Authority(directory / "certificates")
        self.port, self.tls_port = free_tcp_port(), free_tcp_port() if tls else 0
        settings = {"listen": ["127.0.0.1"], "origin_host": SERVER, "origin_realm": REALM, "sctp": "off"}
        settings |= {"port": self.port, "tls_port": self.tls_port} | diameter
        text = section("[diameter]", settings) + "".join(section("[[peer]]", dict(peer)) for peer in peers)
        if tls or diameter.get("inband_tls"):
            files = self.authority.issue(SERVER)
            paths = {"cert": f"{files}/cert.pem", "key": f"{files}/key.pem", "client_ca": f"{files}/ca.pem"}
            text += section("[tls]", paths)
        self.server = start(nases, extra=text + extra)
        if sample:
            self.load_sample()
        self.otp = Otp()
        self.daemons: list[FreeDiameter] = []
        self.numbers = count(1)
        self.revisions = count(2)

    def load_sample(self) -> None:
        lines = (ROOT / "conf" / "sample.ndjson").read_text().splitlines()
        operations = [json.loads(line) for line in lines]
        # Its plan home-50 is there already.
        self.server.sync(*(operation for operation in operations if operation["id"] != "home-50"))

    # Peers

    def peer(self, name: str, *applications: str, tls: bool = False, inband: bool = False, **options: Any) -> OtpPeer:
        """An OTP peer that is connected, NAME.localdomain; where there is one already, with a number behind."""
        host = self._host(name)
        more = {"Inband-Security-Id": [1]} if inband else {}
        files = self.authority.issue(host) if tls or inband else None
        peer = self.otp.peer(host, *applications, **more)
        return peer.connect(self.tls_port if tls else self.port, tls=files, inband=inband, **options)

    def daemon(self, name: str, *applications: str, tls: bool = False) -> FreeDiameter:
        """freeDiameter, likewise."""
        host = self._host(name)
        daemon = FreeDiameter(
            self.directory / host, host, *applications,
            port=self.tls_port if tls else self.port, tls=self.authority.issue(host) if tls else None,
        )  # fmt: skip
        self.daemons.append(daemon)
        return daemon.connect()

    def _host(self, name: str) -> str:
        taken = {*self.otp.peers, *(daemon.host for daemon in self.daemons)}
        hosts = (f"{name}{number or ''}.{REALM}" for number in count())
        return next(host for host in hosts if host not in taken)

    # Subscribers

    def subscriber(self, name: str, plan: str, **service: Any) -> str:
        """A subscriber with one service of the same id."""
        self.server.put("subscriber", name)
        self.server.put("service", name, subscriber_id=name, plan_id=plan, **{"state": "active", **service})
        return name

    def sim(self, iccid: str, imsi: str, service: str | None = None, **values: Any) -> Usim:
        """A SIM with the keys of test set 1; activated where it has a service and nothing else is said."""
        state = "stock" if service is None else "activated"
        keys = {"imsi": imsi, "ki": K, "opc": OPC, "amf": "8000", "service_id": service, "state": state}
        self.server.put("sim", iccid, **{key: value for key, value in (keys | values).items() if value is not None})
        return Usim(K, OPC)

    def user(
        self, down: int = 20_000_000, up: int = 10_000_000, *, quota: int | None = None, on_exhausted: Any = ("block",)
    ) -> User:
        """A new one; down, up: bit/s of the plan, quota: octets a month."""
        number = next(self.numbers)
        name, imsi, iccid = f"user{number}", f"00101000009{number:04d}", f"890010100009{number:07d}"
        self.plan(f"plan-of-{name}", down, up, quota=quota, on_exhausted=on_exhausted)
        self.subscriber(name, f"plan-of-{name}")
        return User(name, imsi, iccid, self.sim(iccid, imsi, name))

    def plan(
        self,
        name: str,
        down: int,
        up: int,
        *,
        quota: int | None = None,
        on_exhausted: Any = ("block",),
        **more_qos: Any,
    ) -> str:
        """A mobile plan with its APN and QoS. more_qos: keys of `qos`."""
        rate = {"down_bps": down, "up_bps": up}
        arp = {"priority": 8, "preempt": False, "preemptable": True}
        more = {} if quota is None else {"quota": {"octets": quota, "period": "month"}, "on_exhausted": on_exhausted}
        qos = {"qci": 9, "arp": arp, "apn": "internet", "apn_ambr": rate} | more_qos
        return self.server.plan(name, kind="mobile", rate=rate, qos=qos, **more)

    def change(self, user: User, **value: Any) -> None:
        """Push a part of the service."""
        self.server.api("PATCH", f"/v1/services/{user.service}", {"revision": next(self.revisions), **value})

    def state(self, user: User, state: str) -> None:
        """Push the service's state."""
        body = {"state": state, "revision": next(self.revisions)}
        self.server.api("POST", f"/v1/services/{user.service}/state", body)

    def ended(self, user: User) -> None:
        """Until the service has no live session."""
        self.server.wait_until(lambda: self.server.sessions(user.service) == [])

    def converged(self, who: str | User, sessions: int = 1) -> Any:
        """The status, once so many live sessions run under what they should."""
        service = who.service if isinstance(who, User) else who
        found: list[Any] = []

        def look() -> bool:
            found[:] = [self.server.status(service)]
            live = found[0]["sessions"]
            return len(live) == sessions and all(session["converged"] for session in live)

        self.server.wait_until(look)
        return found[0]

    # The end

    def check(self) -> None:
        """To OTP, freeDiameter and Open5GS nothing was wrong so far."""
        self.otp.check()
        for daemon in self.daemons:
            daemon.check()

    def close(self) -> None:
        """Stop the peers; to OTP, freeDiameter, Open5GS and tshark nothing was wrong with what the server sent."""
        for daemon in self.daemons:
            daemon.stop()
        self.otp.stop()
        self.check()
        everybody: list[Peer] = [*self.otp.peers.values(), *self.daemons]
        sent = [raw for peer in everybody for raw in peer.seen]
        if sent:
            assert complaints(sent, self.directory) == []
