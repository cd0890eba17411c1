"""Endpoints for Diameter peers: who is there, and what passes between us."""

from typing import Final

from msgspec import Struct

from billing_hooks.endpoints import Endpoint, ask
from billing_hooks.tokens import READERS


class Peer(Struct):
    """A Diameter peer, as configured and as it is."""

    origin_host: str
    origin_realm: str
    identity: str
    """Origin-Host of ours that it talks to."""
    operator: str | None
    """The only one whose SIMs it may ask for; null: all."""
    family: str
    learned: bool
    """Let in by a [[peer]] whose origin_host is "*"."""
    state: str
    """open; suspect (its watchdog gave no sign of life); reopening (not trusted yet); connecting; closing; closed."""
    since: str | None
    """Since when it is open or closed; of one that never was open, since the start of the server."""
    direction: str | None
    """accepted or dialled; null: not connected."""
    address: str | None
    transport: str | None
    """tcp or sctp."""
    security: str | None
    """none, tls, or inband: TLS after the capabilities exchange."""
    applications: list[str]
    """What both sides have."""
    relay: bool
    """It takes requests of any application."""
    watchdog: str | None
    """State by RFC 3539."""
    origin_state_id: int | None
    product: str | None
    requests_received: int
    """Since the start of the server."""
    requests_sent: int
    in_work: int
    """Its requests that wait for our answers."""
    in_flight: int
    """Ours, and those relayed to it, that wait for its answers."""
    opened: int
    """How often it was opened since the start."""
    closed_at: str | None
    last_reason: str | None
    """Why it went away the last time, or why the last dial came to nothing."""
    last_detail: str | None


class PeerPage(Struct):
    """All peers."""

    items: list[Peer]
    next: str | None


class PeerCommand(Struct):
    """Requests of one command in one direction."""

    direction: str
    """received or sent."""
    application: str
    command: str
    requests: int
    answers: dict[str, int]
    """By class of Result-Code: 2xxx, 3xxx, 4xxx, 5xxx, none, unanswered."""
    p50_ms: float | None
    """Half of the answers took no longer; the upper bound of a bucket."""
    p99_ms: float | None


class PeerDetails(Peer):
    """A peer with what it asks, and how it is answered, since the start of the server."""

    commands: list[PeerCommand]
    results: dict[str, int]
    """Answers to it that were no success, by Result-Code."""
    stopped: dict[str, int]
    """Of these, requests that its firewall stopped, by reason."""
    drops: dict[str, int]
    """Messages that were not looked at, by reason."""


ENDPOINTS: Final[tuple[Endpoint, ...]] = (
    Endpoint(
        method="GET", path="/v1/peers", roles=READERS, tag="Peers",
        summary="List Diameter peers: state, applications, watchdog, why one went away", handler=ask("peers_list"),
        answer=PeerPage,
    ),
    Endpoint(
        method="GET", path="/v1/peers/{origin_host}", roles=READERS, tag="Peers",
        summary="Show a Diameter peer: what it asks, by command and result, and how long answers take",
        handler=ask("peers_show"), answer=PeerDetails,
    ),
)  # fmt: skip
