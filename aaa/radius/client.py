"""The client's side of RADIUS: requests built, transmitted again as needed, and their responses verified.

Knows packets and secrets; knows no socket, no clock, no dictionary. Theory of operation: build_login() or
build_accounting() makes one request; an Exchange sends the same octets again on the schedule of RFC 5080 §2.2.1 until a
response verifies or the bounds are reached. What does not verify is dropped with a reason, and the wait goes on, as if
it had never come. Deviation: an accounting request that is sent again keeps its identifier, because it carries
Event-Timestamp instead of Acct-Delay-Time, so its content stays the same.
"""

import enum
import hashlib
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from aaa.limits import CLIENT_DROPPED_MAX, CLIENT_IRT_S, CLIENT_MRC, CLIENT_MRD_S, CLIENT_MRT_S
from native import crypto
from native.radius import FAULTS, Packet, Secret, attribute, vendor_attribute

Method = Literal["pap", "chap", "mschap", "mschapv2"]

ENTROPY_SIZE: Final = 50
"""Random octets that a request needs."""
MICROSOFT: Final = 311
_MS_CHAP_RESPONSE, _MS_CHAP_CHALLENGE, _MS_CHAP2_RESPONSE, _MS_CHAP2_SUCCESS = 1, 11, 25, 26
_MS_MPPE_SEND_KEY, _MS_MPPE_RECV_KEY = 16, 17
_USE_NT_RESPONSE: Final = 1
USER_NAME, USER_PASSWORD, CHAP_PASSWORD, CHAP_CHALLENGE, MESSAGE_AUTHENTICATOR = 1, 2, 3, 60, 80


class Code(enum.IntEnum):
    """Packet codes of a client (RFC 2865 §3, RFC 2866 §3, RFC 5176 §2)."""

    ACCESS_REQUEST = 1
    ACCESS_ACCEPT = 2
    ACCESS_REJECT = 3
    ACCOUNTING_REQUEST = 4
    ACCOUNTING_RESPONSE = 5
    ACCESS_CHALLENGE = 11
    DISCONNECT_REQUEST = 40
    DISCONNECT_ACK = 41
    DISCONNECT_NAK = 42
    COA_REQUEST = 43
    COA_ACK = 44
    COA_NAK = 45


RESPONSES: Final[dict[int, frozenset[int]]] = {
    Code.ACCESS_REQUEST: frozenset((Code.ACCESS_ACCEPT, Code.ACCESS_REJECT, Code.ACCESS_CHALLENGE)),
    Code.ACCOUNTING_REQUEST: frozenset((Code.ACCOUNTING_RESPONSE,)),
    Code.DISCONNECT_REQUEST: frozenset((Code.DISCONNECT_ACK, Code.DISCONNECT_NAK)),
    Code.COA_REQUEST: frozenset((Code.COA_ACK, Code.COA_NAK)),
}


class Request(Struct, frozen=True):
    """A signed request, ready to be sent, and what its response must prove."""

    data: bytes
    success: bytes | None = None
    """MS-CHAPv2: the value of MS-CHAP2-Success that only somebody who knows the password can make."""
    mppe_keys: tuple[bytes, bytes] | None = None
    """MS-CHAPv2: send and receive key as the server names them."""

    @property
    def code(self) -> int:
        return self.data[0]

    @property
    def identifier(self) -> int:
        return self.data[1]

    @property
    def authenticator(self) -> bytes:
        return self.data[4:20]


class Proof(enum.Enum):
    """How far the server proved itself."""

    MISSING = "missing"
    WRONG = "wrong"
    RIGHT = "right"


class Response(Struct, frozen=True):
    """A response whose Response Authenticator is right."""

    packet: Packet
    message_authenticator: bool
    """Whether a Message-Authenticator was there, and valid."""
    message_authenticator_first: bool
    """Whether it led the attributes, as CVE-2024-3596 asks."""
    success: Proof | None = None
    """MS-CHAPv2, on Access-Accept: the server's own proof; None for other methods and codes."""
    mppe_keys: Proof | None = None
    """MS-CHAPv2, on Access-Accept: whether the session keys are those of this login."""


class Dropped(Struct, frozen=True):
    """A datagram that is no response to the request, and why."""

    reason: str


def build_login(
    method: Method, user: bytes, password: bytes, secret: Secret, entropy: bytes, extra: bytes = b""
) -> Request:
    """An Access-Request. extra: whole attributes to append. entropy: ENTROPY_SIZE random octets, used once.

    Message-Authenticator comes first. Raises ValueError for a PAP password above 128 octets, an empty or overlong
    user name, or too little entropy.

    Source: RFC 2865 §5.2, §5.3; RFC 2548 §2.1.3, §2.3.2; RFC 2759 §4.
    """
    _check_entropy(entropy)
    if not 1 <= len(user) <= 253:
        raise ValueError("a user name has 1 to 253 octets")
    identifier, authenticator, chap_identifier = entropy[0], entropy[1:17], entropy[17:18]
    challenge, peer_challenge = entropy[18:34], entropy[34:50]
    success: bytes | None = None
    keys: tuple[bytes, bytes] | None = None
    if method == "pap":
        proof = attribute(USER_PASSWORD, secret.hide_password(password, authenticator))
    elif method == "chap":
        digest = hashlib.md5(chap_identifier + password + challenge).digest()
        proof = attribute(CHAP_PASSWORD, chap_identifier + digest) + attribute(CHAP_CHALLENGE, challenge)
    elif method == "mschap":
        nt_response = crypto.challenge_response(challenge[:8], crypto.nt_hash(password))
        value = chap_identifier + bytes([_USE_NT_RESPONSE]) + bytes(24) + nt_response
        proof = vendor_attribute(MICROSOFT, _MS_CHAP_CHALLENGE, challenge[:8])
        proof += vendor_attribute(MICROSOFT, _MS_CHAP_RESPONSE, value)
    else:
        # The supplicant's hash has the name without its domain (RFC 2759 §8.2).
        name = user.rpartition(b"\\")[2]
        password_hash = crypto.nt_hash(password)
        hashed = crypto.challenge_hash(peer_challenge, challenge, name)
        nt_response = crypto.challenge_response(hashed, password_hash)
        verified = crypto.verify_mschapv2(challenge, peer_challenge, name, nt_response, password_hash)
        assert verified is not None
        success = chap_identifier + b"S=" + verified[0].hex().upper().encode()
        keys = (verified[1], verified[2])
        value = chap_identifier + bytes(1) + peer_challenge + bytes(8) + nt_response
        proof = vendor_attribute(MICROSOFT, _MS_CHAP_CHALLENGE, challenge)
        proof += vendor_attribute(MICROSOFT, _MS_CHAP2_RESPONSE, value)
    attributes = attribute(USER_NAME, user) + proof + extra
    return Request(secret.request(Code.ACCESS_REQUEST, identifier, attributes, authenticator), success, keys)


def build_accounting(secret: Secret, entropy: bytes, attributes: bytes) -> Request:
    """An Accounting-Request with these whole attributes (RFC 2866 §4.1). Raises ValueError for too little entropy."""
    _check_entropy(entropy)
    data = secret.request(Code.ACCOUNTING_REQUEST, entropy[0], attributes, None, message_authenticator=False)
    return Request(data)


def _check_entropy(entropy: bytes) -> None:
    if len(entropy) < ENTROPY_SIZE:
        raise ValueError(f"{ENTROPY_SIZE} random octets are needed")


def verify_response(request: Request, data: bytes, secret: Secret) -> Response | Dropped:
    """A datagram as the response to a request, or why it is none. Never raises for what was sent."""
    packet = Packet.parse(data)
    if packet.fault:
        return Dropped(FAULTS[packet.fault])
    if packet.identifier != request.identifier:
        return Dropped("identifier")
    if packet.code not in RESPONSES[request.code]:
        return Dropped("code")
    if not secret.verify_response(packet, request.authenticator):
        return Dropped("authenticator")
    is_accept = packet.code == Code.ACCESS_ACCEPT
    attributes = packet.attributes()
    return Response(
        packet,
        message_authenticator=packet.has(MESSAGE_AUTHENTICATOR),
        message_authenticator_first=bool(attributes) and attributes[0][0] == (MESSAGE_AUTHENTICATOR,),
        success=_prove_success(request, packet) if is_accept and request.success is not None else None,
        mppe_keys=_prove_keys(request, packet, secret) if is_accept and request.mppe_keys is not None else None,
    )


def _prove_success(request: Request, packet: Packet) -> Proof:
    """RFC 2759 §5: "S=" and 40 upper-case hex digits, maybe a message behind them."""
    value = packet.get_vendor(MICROSOFT, _MS_CHAP2_SUCCESS)
    expected = request.success or b""
    if value is None:
        return Proof.MISSING
    return Proof.RIGHT if crypto.equal(value[: len(expected)], expected) else Proof.WRONG


def _prove_keys(request: Request, packet: Packet, secret: Secret) -> Proof:
    hidden = [packet.get_vendor(MICROSOFT, number) for number in (_MS_MPPE_SEND_KEY, _MS_MPPE_RECV_KEY)]
    if None in hidden:
        return Proof.MISSING
    shown = [secret.reveal_tunnel_password(value or b"", request.authenticator) for value in hidden]
    return Proof.RIGHT if tuple(shown) == request.mppe_keys else Proof.WRONG


class Schedule(Struct, frozen=True):
    """When to transmit again. The defaults are those of RFC 5080 §2.2.1."""

    irt_s: float = CLIENT_IRT_S
    mrt_s: float = CLIENT_MRT_S
    mrc: int = CLIENT_MRC
    mrd_s: float = CLIENT_MRD_S


class Exchange:
    """One request until its response, or until it is given up.

    jitter: numbers from -0.1 to 0.1, one for each transmission (RAND); those that are missing count as 0.
    """

    def __init__(
        self,
        request: Request,
        secret: Secret,
        now: float,
        schedule: Schedule | None = None,
        jitter: Sequence[float] = (),
    ) -> None:
        self._request = request
        self._secret = secret
        self._schedule = schedule or Schedule()
        self._jitter = jitter
        self._wait_s = 0.0
        self._end = now + self._schedule.mrd_s
        self._deadline: float | None = now
        self._to_send = b""
        self.transmissions = 0
        self.dropped: list[Dropped] = []
        """What came and was no response; the first CLIENT_DROPPED_MAX of it."""
        self.response: Response | None = None
        self.timed_out = False
        self.handle_deadline(now)

    @property
    def done(self) -> bool:
        return self.response is not None or self.timed_out

    def data_to_send(self) -> bytes:
        """The datagram to send now, once; b"" when there is none."""
        data, self._to_send = self._to_send, b""
        return data

    def next_deadline(self) -> float | None:
        """When to call handle_deadline(); None when done."""
        return self._deadline

    def handle_deadline(self, now: float) -> None:
        """Transmit again, or give up. Before the deadline nothing happens."""
        if self._deadline is None or now < self._deadline:
            return
        schedule = self._schedule
        if self.transmissions >= schedule.mrc or now >= self._end:
            self.timed_out = True
            self._deadline = None
            return
        rand = self._jitter[self.transmissions] if self.transmissions < len(self._jitter) else 0.0
        self._wait_s = schedule.irt_s * (1 + rand) if not self.transmissions else self._wait_s * (2 + rand)
        if schedule.mrt_s and self._wait_s > schedule.mrt_s:
            self._wait_s = schedule.mrt_s * (1 + rand)
        self.transmissions += 1
        self._to_send = self._request.data
        self._deadline = min(now + self._wait_s, self._end)

    def receive_data(self, data: bytes, now: float) -> Response | Dropped:
        """A datagram from the server. After the end everything is dropped as "late"."""
        if self.done:
            return Dropped("late")
        verdict = verify_response(self._request, data, self._secret)
        if isinstance(verdict, Dropped):
            if len(self.dropped) < CLIENT_DROPPED_MAX:
                self.dropped.append(verdict)
        else:
            self.response = verdict
            self._deadline = None
            self._to_send = b""
        return verdict
