"""What is known of a Diameter session besides what every session has; stored with it as JSON.

Octets are as the ledger counts them: input is from the subscriber. Moments are epoch seconds. Knows no wire.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

RADIUS, GX, GY, S6A, SY = range(5)
PROTOCOLS: Final = ("radius", "gx", "gy", "s6a", "sy")
"""Names of SessionRecord.protocol."""
LAST_BEARING: Final = GX
"""Sessions up to this protocol carry traffic: a login. The others are about one, or about a subscriber."""
EVENT: Final = 4
"""GyFacts.kind of a one-time event (CC-Request-Type)."""
DENIED_BY_CHANGE: Final = frozenset({GY, S6A, SY})
"""Protocols that can be told of a denial without ending the session."""


class Mobile(Struct, gc=False, omit_defaults=True):
    """What the sessions of all applications have in common."""

    imsi: str = ""
    realm: str = ""
    """The client's Origin-Realm: where requests of ours go."""
    via: str = ""
    """Origin-Host of the peer that its last request came over; "": of the client itself."""
    msisdn: str = ""
    """As the client told it; the inventory knows better."""
    apn: str = ""
    """Lower case, without the operator identifier."""
    plmn: str = ""
    """Serving network: MCC and MNC, 5 or 6 digits."""
    location: str = ""
    """Where the subscriber is, as far as it was told: "ECGI:MCCMNC-hex", or without a cell "TAI:MCCMNC-hex"."""
    imei: str = ""
    rat: int = -1
    """RAT-Type (TS 29.212 §5.3.31); -1: not told."""


class GxFacts(Mobile, gc=False, omit_defaults=True):
    """A Gx session (TS 29.212): one IP-CAN session."""

    number: int = -1
    """CC-Request-Number of the last request that was applied."""
    kind: int = 0
    """Its CC-Request-Type."""
    features: int = 0
    """Feature-List 1 that both sides have."""
    rules: dict[str, int] = {}
    """Charging rules that were installed, with a hash of what was sent; predefined and base names too."""
    failed: dict[str, int] = {}
    """Of these, those that the PCEF reported as not in force, with the Rule-Failure-Code."""
    monitored: int = 0
    """Octets granted to usage monitoring and not reported yet; 0: it does not monitor."""
    seen: int = 1
    """Which of the last requests were applied: bit n is number less n."""
    answer: bytes = b""
    """What the answer to the last request carried besides its head, where that was an update."""
    triggers: tuple[int, ...] = ()
    """Event-Triggers that the client follows."""
    revalidate_at: int = 0
    """Revalidation-Time that it was told; 0: none."""
    pdn: str = ""
    """PDN-Connection-ID in hex, where it was told."""


class Grant(Struct, gc=False, array_like=True):
    """Quota in force in one rating group of a Gy session."""

    octets: int
    """0: nothing was granted."""
    at: float
    final: bool = False
    """It is the last one; with 0 octets: that was used up, and the client waits to be told that there is more."""
    result: int = 2001
    """Result-Code in its Multiple-Services-Credit-Control."""
    validity_s: int = 0
    service: int = -1
    """Service-Identifier that was asked with; -1: none."""
    counts: int = 0
    """Which octets it is about: BOTH, DOWN or UP."""
    free: bool = False
    """Its use is not charged, so nothing is reserved for it."""


class GyFacts(Mobile, gc=False, omit_defaults=True):
    """A Gy session (RFC 8506, TS 32.299)."""

    number: int = -1
    kind: int = 0
    context: str = ""
    """Service-Context-Id."""
    result: int = 2001
    """Result-Code of the last answer's message level."""
    missing: list[int] = []
    """CC-Request-Numbers below `number` that did not come yet; bounded by GY_MISSING_MAX."""
    grants: dict[int, Grant] = {}
    """By Rating-Group; or NO_GROUP, WHOLE_SESSION, or group_of_service()."""
    answered: list[int] = []
    """Keys of `grants` that the last answer is about, in its order."""
    released: bool = False
    """The session is over: its grants are reserved no more, and kept for an answer that is asked for again."""


NO_GROUP: Final = -1
"""Key of a grant that was asked for without Rating-Group and Service-Identifier."""
WHOLE_SESSION: Final = -2
"""Key of a grant that was asked for without Multiple-Services-Credit-Control."""


def group_of_service(service: int) -> int:
    """Key of a grant that was asked for by Service-Identifier alone."""
    return WHOLE_SESSION - 1 - service


class S6aFacts(Mobile, gc=False, omit_defaults=True):
    """A registration: which MME serves an IMSI (TS 29.272)."""

    purged: bool = False
    cancellation: int = -1
    """Cancellation-Type of the CLR that ends it; -1: withdrawal of the subscription."""
    features: int = 0
    """Feature-List 1 that both sides have."""
    bars: bool = True
    """Its MME keeps off whom an IDR bars; else a denial cancels it."""
    deletes: bool = True
    """Its MME knows DSR."""
    gateways: dict[str, str] = {}
    """PDN gateways by APN, as the MME told."""


class SyFacts(Mobile, gc=False, omit_defaults=True):
    """A Sy session (TS 29.219): which counters a PCRF follows."""

    wanted: tuple[str, ...] = ()
    """Policy-Counter-Identifiers that it subscribed to; empty: all."""
    told: dict[str, str] = {}
    """Statuses as last reported."""
    pending: dict[str, tuple[str, float]] = {}
    """Of these, which become another by time alone, and when, as last reported."""
    features: int = 0
    """Feature-List 1 that both sides have."""


FACTS: Final[dict[int, type[Mobile]]] = {RADIUS: Mobile, GX: GxFacts, GY: GyFacts, S6A: S6aFacts, SY: SyFacts}
"""Which of them a session has, by its protocol; of RADIUS only IMSI and APN, and those of a gateway's accounting."""
DEFAULT_PLACE: Final[tuple[str, str, str]] = ("radius", "", "")


def place_of(protocol: int, mobile: Any) -> tuple[str, str, str]:
    """(protocol, PLMN, location): where a session is, for rules that read it."""
    if mobile is None:
        return DEFAULT_PLACE
    return (PROTOCOLS[protocol], mobile.plmn, mobile.location)
