"""Access-Request to attempt, outcome to reply attributes. Bilingual: RADIUS on one side, neutral words on the other.

Decides nothing. Compiled: every Access-Request passes through it.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

from aaa.credential.mschap import MsChapError, format_mschap_error
from aaa.model.access import Attempt, Cause, Outcome, Verdict
from aaa.model.method import Method
from aaa.model.records import DECISION_MARK, DecisionRecord
from aaa.radius.admission import Request
from native import crypto
from native.radius import Packet, attribute, integer_attribute, vendor_attribute
from native.token import TOKEN_SIZE, TokenKey
from policy.model import Decision

ACCESS_ACCEPT = 2
ACCESS_REJECT = 3
USER_NAME = 1
USER_PASSWORD = 2
CHAP_PASSWORD = 3
SERVICE_TYPE = 6
FRAMED_PROTOCOL = 7
FRAMED_IP_ADDRESS = 8
FRAMED_IP_NETMASK = 9
REPLY_MESSAGE = 18
CLASS = 25
VENDOR_SPECIFIC = 26
SESSION_TIMEOUT = 27
CALLED_STATION_ID = 30
CALLING_STATION_ID = 31
CHAP_CHALLENGE = 60
EAP_MESSAGE = 79
ACCT_INTERIM_INTERVAL = 85
NAS_PORT_ID = 87
FRAMED_IPV6_PREFIX = 97
DELEGATED_IPV6_PREFIX = 123
CALL_CHECK = 10
FRAMED = 2
PPP = 1

MICROSOFT = 311
MS_CHAP_RESPONSE = 1
MS_CHAP_ERROR = 2
MS_MPPE_ENCRYPTION_POLICY = 7
MS_MPPE_ENCRYPTION_TYPES = 8
MS_CHAP_CHALLENGE = 11
MS_CHAP_MPPE_KEYS = 12
MS_MPPE_SEND_KEY = 16
MS_MPPE_RECV_KEY = 17
MS_CHAP2_RESPONSE = 25
MS_CHAP2_SUCCESS = 26
ADSL_FORUM = 3561
AGENT_CIRCUIT_ID = 1
AGENT_REMOTE_ID = 2

PAP = int(Method.PAP)
CHAP = int(Method.CHAP)
MSCHAP = int(Method.MSCHAP)
MSCHAPV2 = int(Method.MSCHAPV2)
UNSUPPORTED = int(Method.UNSUPPORTED)
EAP = int(Method.EAP)
EAP_FAILURE = 4
ACCEPT = int(Verdict.ACCEPT)
REJECT = int(Verdict.REJECT)

CLASS_HEADER = bytes((CLASS, 2 + TOKEN_SIZE))
FRAMED_ATTRIBUTE = attribute(SERVICE_TYPE, struct.pack(">I", FRAMED))
PPP_ATTRIBUTE = attribute(FRAMED_PROTOCOL, struct.pack(">I", PPP))
HOST_NETMASK = attribute(FRAMED_IP_NETMASK, b"\xff\xff\xff\xff")
ENCRYPTION = vendor_attribute(MICROSOFT, MS_MPPE_ENCRYPTION_POLICY, struct.pack(">I", 1)) + vendor_attribute(
    MICROSOFT, MS_MPPE_ENCRYPTION_TYPES, struct.pack(">I", 6)
)
"""Encryption allowed, with 40 or 128 bits (RFC 2548 §2.4.4, §2.4.5)."""

MSCHAP_ERRORS = {
    int(Cause.UNKNOWN_USER): MsChapError.AUTHENTICATION_FAILURE,
    int(Cause.WRONG_PASSWORD): MsChapError.AUTHENTICATION_FAILURE,
    int(Cause.DENIED): MsChapError.ACCT_DISABLED,
    int(Cause.LOCKED_OUT): MsChapError.ACCT_DISABLED,
}
"""What a Windows-style dialler is told; everything else is "no permission"."""


class Rendered:
    """A decision in the words of one NAS."""

    attributes: bytes
    generation: int
    """Of the configuration that it was made under."""

    def __init__(self, attributes: bytes, generation: int) -> None:
        self.attributes = attributes
        self.generation = generation


class AccessMapping:
    """Maps both ways for one server."""

    render: Callable[[Decision, str], bytes]
    token_key: TokenKey
    salt: int
    generation: int

    def __init__(self, render: Callable[[Decision, str], bytes], token_key: TokenKey) -> None:
        """render: attributes of a decision for a [[nas]] by name, without what depends on the session."""
        self.render = render
        self.token_key = token_key
        self.salt = int.from_bytes(os.urandom(2), "big")
        self.generation = 0

    def forget_renderings(self) -> None:
        """What NASes are told has changed, not what is decided."""
        self.generation += 1

    def to_attempts(self, requests: list[Request], at: float) -> list[Attempt]:
        """One attempt per request, same order."""
        return [self.to_attempt(request, at) for request in requests]

    def to_attempt(self, request: Request, at: float) -> Attempt:
        packet = request.packet
        name = packet.get(USER_NAME)
        attempt = Attempt(request.source.nas, b"" if name is None else name, at)
        attempt.calling_station = packet.get(CALLING_STATION_ID)
        attempt.called_station = packet.get(CALLED_STATION_ID)
        attempt.nas_port_id = packet.get(NAS_PORT_ID)
        if packet.has(SERVICE_TYPE):
            attempt.call_check = packet.get_integer(SERVICE_TYPE) == CALL_CHECK
        if packet.has(USER_PASSWORD):
            attempt.method = PAP
            attempt.password = request.secret.reveal_password(packet)
        elif packet.has(CHAP_PASSWORD):
            self.read_chap(packet, attempt)
        if packet.has(VENDOR_SPECIFIC):
            attempt.circuit_id = packet.get_vendor(ADSL_FORUM, AGENT_CIRCUIT_ID)
            attempt.remote_id = packet.get_vendor(ADSL_FORUM, AGENT_REMOTE_ID)
            if attempt.method == 0:
                self.read_mschap(packet, attempt)
        if attempt.method == 0 and packet.has(EAP_MESSAGE):
            self.read_eap(packet, attempt)
        return attempt

    def read_chap(self, packet: Packet, attempt: Attempt) -> None:
        """CHAP-Password: identifier and 16 octets; the challenge is its own attribute or the authenticator."""
        proof = packet.get(CHAP_PASSWORD)
        if proof is None or len(proof) != 17:
            attempt.method = UNSUPPORTED
            return
        challenge = packet.get(CHAP_CHALLENGE)
        attempt.method = CHAP
        attempt.chap_identifier = proof[0]
        attempt.response = proof[1:]
        attempt.challenge = packet.authenticator if challenge is None else challenge

    def read_mschap(self, packet: Packet, attempt: Attempt) -> None:
        """MS-CHAP-Response or MS-CHAP2-Response, each 50 octets (RFC 2548 §2.1.3, §2.3.2)."""
        challenge = packet.get_vendor(MICROSOFT, MS_CHAP_CHALLENGE)
        if challenge is None:
            return
        attempt.challenge = challenge
        proof = packet.get_vendor(MICROSOFT, MS_CHAP2_RESPONSE)
        if proof is not None:
            attempt.method = MSCHAPV2 if len(proof) == 50 and len(challenge) == 16 else UNSUPPORTED
            attempt.chap_identifier = proof[0] if proof else 0
            attempt.peer_challenge = proof[2:18]
            attempt.response = proof[26:50]
            return
        proof = packet.get_vendor(MICROSOFT, MS_CHAP_RESPONSE)
        if proof is not None:
            # Flags 1: the NT response is to be used; the LM response never is.
            usable = len(proof) == 50 and len(challenge) == 8 and proof[1] == 1
            attempt.method = MSCHAP if usable else UNSUPPORTED
            attempt.chap_identifier = proof[0] if proof else 0
            attempt.response = proof[26:50]

    def read_eap(self, packet: Packet, attempt: Attempt) -> None:
        """EAP's identifier, which its answer must bear (RFC 3579 §2.1)."""
        message = packet.get(EAP_MESSAGE)
        attempt.method = EAP
        attempt.chap_identifier = message[1] if message is not None and len(message) >= 2 else 0

    def to_replies(self, requests: list[Request], attempts: list[Attempt], outcomes: list[Outcome]) -> list[bytes]:
        """Attributes of each accept or reject, same order; b"" for other rows."""
        replies: list[bytes] = []
        for index in range(len(requests)):
            outcome = outcomes[index]
            if outcome.verdict == ACCEPT:
                replies.append(self.accept_attributes(requests[index], attempts[index], outcome))
            elif outcome.verdict == REJECT:
                replies.append(self.reject_attributes(attempts[index], outcome))
            else:
                replies.append(b"")
        return replies

    def accept_attributes(self, request: Request, attempt: Attempt, outcome: Outcome) -> bytes:
        """Everything of an Access-Accept but Message-Authenticator and Proxy-State."""
        packet = request.packet
        decision = outcome.decision
        service = outcome.service
        name = attempt.nas.client_name
        assert decision is not None
        assert service is not None
        rendered: Rendered | None = decision.rendered.get(name)  # type: ignore[assignment]
        if rendered is None or rendered.generation != self.generation:
            rendered = self.render_decision(decision, name)
        parts = [rendered.attributes]
        if packet.has(SERVICE_TYPE) and packet.get_integer(SERVICE_TYPE) == FRAMED:
            parts.append(FRAMED_ATTRIBUTE)
        if packet.has(FRAMED_PROTOCOL) and packet.get_integer(FRAMED_PROTOCOL) == PPP:
            parts.append(PPP_ATTRIBUTE)
        if outcome.session_timeout_s:
            parts.append(integer_attribute(SESSION_TIMEOUT, outcome.session_timeout_s))
        if outcome.interim_interval_s:
            parts.append(integer_attribute(ACCT_INTERIM_INTERVAL, outcome.interim_interval_s))
        if outcome.framed_ip is not None:
            parts.append(attribute(FRAMED_IP_ADDRESS, outcome.framed_ip) + HOST_NETMASK)
        if outcome.framed_prefix is not None:
            parts.append(attribute(FRAMED_IPV6_PREFIX, b"\0" + outcome.framed_prefix))
        if outcome.delegated_prefix is not None:
            parts.append(attribute(DELEGATED_IPV6_PREFIX, b"\0" + outcome.delegated_prefix))
        parts.append(CLASS_HEADER)
        parts.append(self.token_key.seal(outcome.session_id, service.no, decision.id & DECISION_MARK))
        if outcome.proof is not None or outcome.password_hash is not None:
            parts.append(self.mschap_attributes(request, attempt, outcome))
        return b"".join(parts)

    def render_decision(self, decision: DecisionRecord, name: str) -> Rendered:
        """Render for a NAS and keep it with the decision, until the configuration changes."""
        rendered = Rendered(self.render(decision.body, name), self.generation)
        decision.rendered[name] = rendered
        return rendered

    def mschap_attributes(self, request: Request, attempt: Attempt, outcome: Outcome) -> bytes:
        """Proof to the client that we know the password, and the session's MPPE keys (RFC 2548 §2.3.3, §2.4)."""
        secret = request.secret
        authenticator = request.packet.authenticator
        proof = outcome.proof
        if proof is None:
            hashed = outcome.password_hash
            assert hashed is not None
            keys = secret.hide_password(crypto.mschap_keys(hashed), authenticator)
            return vendor_attribute(MICROSOFT, MS_CHAP_MPPE_KEYS, keys) + ENCRYPTION
        digest, send_key, receive_key = proof
        success = bytes((attempt.chap_identifier,)) + b"S=" + digest.hex().upper().encode()
        self.salt = (self.salt + 2) & 0x7FFF
        salt = self.salt
        hidden_send = secret.hide_tunnel_password(send_key, authenticator, (salt | 0x8000).to_bytes(2, "big"))
        hidden_receive = secret.hide_tunnel_password(receive_key, authenticator, (salt ^ 1 | 0x8000).to_bytes(2, "big"))
        return (
            vendor_attribute(MICROSOFT, MS_CHAP2_SUCCESS, success)
            + vendor_attribute(MICROSOFT, MS_MPPE_SEND_KEY, hidden_send)
            + vendor_attribute(MICROSOFT, MS_MPPE_RECV_KEY, hidden_receive)
            + ENCRYPTION
        )

    def reject_attributes(self, attempt: Attempt, outcome: Outcome) -> bytes:
        """Reply-Message, and what MS-CHAP wants to hear."""
        attributes = attribute(REPLY_MESSAGE, outcome.message.encode()[:253]) if outcome.message else b""
        if attempt.method == EAP:
            attributes += attribute(EAP_MESSAGE, bytes((EAP_FAILURE, attempt.chap_identifier, 0, 4)))
        if attempt.method == MSCHAP or attempt.method == MSCHAPV2:
            code = MSCHAP_ERRORS.get(outcome.cause, MsChapError.NO_DIALIN_PERMISSION)
            error = format_mschap_error(
                code, os.urandom(8 if attempt.method == MSCHAP else 16), message=outcome.message
            )
            attributes += vendor_attribute(MICROSOFT, MS_CHAP_ERROR, bytes((attempt.chap_identifier,)) + error)
        return attributes
