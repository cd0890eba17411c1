"""Who we are and who may talk to us: what the configuration hands to the peer machines. Knows no file and no socket."""

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from msgspec import Struct

from aaa.dictionary.diameter import Application
from aaa.limits import DIAMETER_ANSWER_TIMEOUT_S, DIAMETER_REQUESTS_IN_FLIGHT_MAX, DIAMETER_TC_S, DIAMETER_TW_S
from native.diameter import Grammar

Network = IPv4Network | IPv6Network


class Local(Struct, frozen=True):
    """One Diameter identity of this server."""

    origin_host: str
    origin_realm: str
    origin_state_id: int
    """Greater after every start at which sessions may have been lost (RFC 6733 §8.16): epoch seconds of it do."""
    applications: tuple[Application, ...]
    """What is served here."""
    grammars: Mapping[tuple[int, int, bool], Grammar]
    """By application, command and "is a request": the commands of `applications` and of the base protocol."""
    addresses: tuple[str, ...] = ()
    """For Host-IP-Address; empty: the local address of each connection."""
    vendor_id: int = 0
    product_name: str = "aaa"
    firmware_revision: int = 1
    relay: bool = False
    """Whether requests of other applications are taken too, to be relayed; advertised as 0xffffffff."""
    inband_tls: bool = False
    """Whether a peer that asks for TLS by Inband-Security-Id can have it."""


class Certificate(Struct, frozen=True):
    """A peer's certificate, verified."""

    names: frozenset[str]
    """Whom it speaks for, in lower case."""
    authorities: frozenset[bytes] = frozenset()
    """SHA-256 of each certificate that its verification went by."""

    def speaks_for(self, remote: "Remote") -> bool:
        """Whether a peer may show it: it has its name, and is of its authorities."""
        if remote.authorities is not None and not self.authorities & remote.authorities:
            return False
        return remote.origin_host.lower() in self.names


class Remote(Struct, frozen=True):
    """One peer as configured; nobody else is talked to."""

    origin_host: str
    origin_realm: str = ""
    """Empty: any."""
    addresses: tuple[Network, ...] = ()
    """Where its connections may come from; empty: anywhere."""
    applications: frozenset[int] | None = None
    """What it may use of ours, by number; None: all."""
    connect: bool = False
    """Whether we dial."""
    security: Literal["none", "tls", "inband"] = "none"
    """What its connection must have: nothing, TLS from the first octet, or TLS after the capabilities exchange."""
    authorities: frozenset[bytes] | None = None
    """SHA-256 of the certificates of which its own must come; None: of any that is trusted here."""
    watchdog_s: float = DIAMETER_TW_S
    """Tw of RFC 3539 §3.4.1, before its jitter of 2 s; at least 6."""
    reconnect_s: float = DIAMETER_TC_S
    """Tc of RFC 6733 §2.1."""
    answer_timeout_s: float = DIAMETER_ANSWER_TIMEOUT_S
    """How long an answer to a request of ours may take."""
    requests_max: int = DIAMETER_REQUESTS_IN_FLIGHT_MAX
    """Its requests in work, and ours in flight."""
