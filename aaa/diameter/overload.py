"""Overload (RFC 7683, DOIC): what we tell when overloaded, whom we then refuse, and who told us. Knows no socket.

Theory of operation. As a reporting node, Overload is told a few times a second how late the loop is and how far the
disk is behind, both as shares of what is bearable. While one stays beyond it, a growing share of requests that begin
something new is answered 3004, and answers to peers that speak DOIC ask for so much less; requests that continue a
session follow only when it is far worse, and those that end one never do, because each makes room. The share falls
slowly, so that not all come back at once. As a reacting node, Throttles remembers what other nodes asked for.

Deviation: a report names its realm where the request named no host, because such requests are most of what we get and
a host report says nothing about them; where several servers have one realm, each reports for it.
"""

from enum import Enum
from typing import Final

from aaa.diameter import codes
from aaa.diameter.capabilities import identity
from aaa.limits import (
    DIAMETER_OVERLOAD_REPORT_S,
    DIAMETER_OVERLOAD_SAMPLES,
    DIAMETER_OVERLOAD_VALIDITY_S,
    DIAMETER_THROTTLES_COUNT_MAX,
)
from native import diameter
from native.diameter import Message

SUPPORTED_FEATURES: Final = 621
FEATURE_VECTOR: Final = 622
OLR: Final = 623
SEQUENCE_NUMBER: Final = 624
VALIDITY_DURATION: Final = 625
REPORT_TYPE: Final = 626
REDUCTION_PERCENTAGE: Final = 627
LOSS_ALGORITHM: Final = 1
HOST_REPORT, REALM_REPORT = 0, 1
VALIDITY_DEFAULT_S, VALIDITY_MAX_S = 30, 86_400
"""RFC 7683 §7.5."""

FEATURES: Final = diameter.grouped_avp(
    SUPPORTED_FEATURES, [diameter.unsigned64_avp(FEATURE_VECTOR, LOSS_ALGORITHM, 0, False)], 0, False
)
"""OC-Supported-Features of every request of ours, and of answers to peers that sent theirs."""

SEVERE: Final = 4.0
"""Times what is bearable: then requests that continue a session are refused too."""
CALM: Final = 0.5
"""Of what is bearable: below it the share falls."""
SHARE_UP, SHARE_DOWN = 10, 2
"""Percent a sample."""
SHARE_STEP: Final = 10
"""What is told is rounded up to it, so that not every sample is a report of its own."""

CREDIT_CONTROL, AUTHENTICATION_INFORMATION, PURGE_UE = 272, 318, 321
SPENDING_LIMIT, SESSION_TERMINATION = 8388635, 275
SL_REQUEST_TYPE, VENDOR_3GPP = 2904, 10415
INITIAL, TERMINATION, EVENT = 1, 3, 4


class Kind(Enum):
    """What a request does to a session."""

    BEGINS = "begins"
    CONTINUES = "continues"
    ENDS = "ends"


def kind_of(message: Message) -> Kind:
    """CCR-I, AIR and SLR begin; CCR-T, STR and PUR end; a ULR continues what its AIR began."""
    command = message.command
    if command == CREDIT_CONTROL:
        number = message.get_unsigned32(codes.CC_REQUEST_TYPE)
        if number in (INITIAL, EVENT):
            return Kind.BEGINS
        return Kind.ENDS if number == TERMINATION else Kind.CONTINUES
    if command == AUTHENTICATION_INFORMATION:
        return Kind.BEGINS
    if command == SPENDING_LIMIT:
        return Kind.CONTINUES if message.get_unsigned32(SL_REQUEST_TYPE, VENDOR_3GPP) else Kind.BEGINS
    return Kind.ENDS if command in (SESSION_TERMINATION, PURGE_UE) else Kind.CONTINUES


class Overload:
    """How overloaded this server is."""

    def __init__(self, at: float) -> None:
        """at: epoch seconds; sequence numbers of a later start are greater (RFC 7683 §7.4)."""
        self.share = 0
        """Percent of requests that begin something which are refused."""
        self.is_severe = False
        self.reduction = 0
        """Percent less that peers were asked to send."""
        self._sequence = int(at) << 16
        self._reported_at = float("-inf")
        self._ends_at = float("-inf")
        """Until then it is told that it is over."""
        self._late = 0
        """Samples in a row beyond what is bearable."""
        self._sum = 0
        self._reports: dict[int, bytes] = {}

    def sample(self, pressure: float, now: float) -> None:
        """pressure: the worst of all, 1 is what is bearable. now: monotonic seconds. Call it every 0.1 s."""
        self._late = self._late + 1 if pressure >= 1.0 else 0
        if self._late >= DIAMETER_OVERLOAD_SAMPLES:
            self.share = min(100, self.share + SHARE_UP)
        elif pressure < CALM:
            self.share = max(0, self.share - SHARE_DOWN)
        self.is_severe = self.is_on and pressure >= SEVERE
        wanted = -(-self.share // SHARE_STEP) * SHARE_STEP
        if wanted != self.reduction and now >= self._reported_at + DIAMETER_OVERLOAD_REPORT_S:
            self.reduction = wanted
            self._reported_at = now
            self._sequence += 1
            self._reports.clear()
            if not wanted:
                self._ends_at = now + DIAMETER_OVERLOAD_VALIDITY_S

    @property
    def is_on(self) -> bool:
        """Whether admission has to ask refuses()."""
        return self.share > 0

    def refuses(self, message: Message) -> bool:
        """Whether this request is to be answered 3004."""
        kind = kind_of(message)
        if kind is Kind.BEGINS:
            # Spread evenly, and without chance: of every hundred so many.
            self._sum += self.share
            if self._sum >= 100:
                self._sum -= 100
                return True
            return False
        return self.is_severe and kind is Kind.CONTINUES

    def report(self, request: Message, now: float) -> bytes:
        """AVPs for the answer to a request that has OC-Supported-Features."""
        if not self.reduction and now >= self._ends_at:
            return FEATURES
        kind = HOST_REPORT if request.has(codes.DESTINATION_HOST) else REALM_REPORT
        found = self._reports.get(kind)
        if found is None:
            found = self._reports[kind] = FEATURES + self._olr(kind)
        return found

    def _olr(self, kind: int) -> bytes:
        members = [
            diameter.unsigned64_avp(SEQUENCE_NUMBER, self._sequence, 0, False),
            diameter.unsigned32_avp(REPORT_TYPE, kind, 0, False),
            diameter.unsigned32_avp(REDUCTION_PERCENTAGE, self.reduction, 0, False),
            diameter.unsigned32_avp(
                VALIDITY_DURATION, int(DIAMETER_OVERLOAD_VALIDITY_S) if self.reduction else 0, 0, False
            ),
        ]
        return diameter.grouped_avp(OLR, members, 0, False)


def extended(answer: bytes, avps: bytes) -> bytes:
    """A whole message with more AVPs at its end. avps: encoded, padded."""
    return b"".join((answer[:1], (len(answer) + len(avps)).to_bytes(3, "big"), answer[4:], avps))


class _Throttle:
    __slots__ = ("reduction", "sequence", "sum", "until")

    def __init__(self, sequence: int) -> None:
        self.sequence = sequence
        self.reduction = 0
        self.until = 0.0
        self.sum = 0


class Throttles:
    """Of which hosts we are asked to send less (RFC 7683 §5.2). A realm's report is about requests without
    Destination-Host (§7.6), and ours have one."""

    def __init__(self) -> None:
        self._found: dict[str, _Throttle] = {}
        """By Origin-Host in lower case."""
        self.held = 0
        """Requests of ours that were not sent."""

    def __len__(self) -> int:
        return len(self._found)

    def learn(self, answer: Message, asked: str, now: float) -> None:
        """Take what an answer to a request of ours reports. Cost: one look where it reports nothing.

        asked: the host that it went to, in lower case. Security: nobody is spared at the word of another.
        """
        if not answer.has(OLR):
            return
        for group in answer.get_groups(OLR):
            sequence = group.get_unsigned64(SEQUENCE_NUMBER)
            kind = group.get_unsigned32(REPORT_TYPE)
            reduction = group.get_unsigned32(REDUCTION_PERCENTAGE)
            validity = group.get_unsigned32(VALIDITY_DURATION)
            if sequence is None or kind != HOST_REPORT or (reduction or 0) > 100:
                continue
            if identity(answer, codes.ORIGIN_HOST) != asked:
                continue
            if validity is None or validity > VALIDITY_MAX_S:
                validity = VALIDITY_DEFAULT_S
            self._take(asked, sequence, reduction or 0, now + validity)

    def _take(self, key: str, sequence: int, reduction: int, until: float) -> None:
        known = self._found.get(key)
        if known is not None and sequence < known.sequence:
            return
        if known is None:
            while len(self._found) >= DIAMETER_THROTTLES_COUNT_MAX:
                del self._found[next(iter(self._found))]
            known = self._found[key] = _Throttle(sequence)
        known.sequence, known.reduction, known.until = sequence, reduction, until

    def holds(self, host: str, now: float) -> bool:
        """Whether a request of ours to a host is not to be sent now."""
        key = host.lower()
        known = self._found.get(key)
        if known is None:
            return False
        if now >= known.until:
            # What is over is forgotten; a report that comes late begins anew.
            del self._found[key]
            return False
        known.sum += known.reduction
        if known.sum >= 100:
            known.sum -= 100
            self.held += 1
            return True
        return False
