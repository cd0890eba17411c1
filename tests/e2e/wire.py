"""A NAS of a few lines of plain Python: RADIUS by hashlib and hmac, sharing nothing with the server's own codec.

For what radclient cannot say: MS-CHAPv2, exact retransmissions, broken packets, several Proxy-States.
Sources: RFC 2865, 2866, 2759, 3079, 3579, 5997; MD4 from RFC 1320, because OpenSSL 3 has no MD4 by default.
"""

import hashlib
import hmac
import itertools
import os
import socket
import struct

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

ACCESS_REQUEST, ACCESS_ACCEPT, ACCESS_REJECT = 1, 2, 3
ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE, STATUS_SERVER = 4, 5, 12
USER_NAME, USER_PASSWORD, CHAP_PASSWORD, SERVICE_TYPE, REPLY_MESSAGE, CLASS = 1, 2, 3, 6, 18, 25
PROXY_STATE, ACCT_STATUS_TYPE, ACCT_SESSION_ID, EAP_MESSAGE, MESSAGE_AUTHENTICATOR = 33, 40, 44, 79, 80
MICROSOFT = 311
ANSWER_WITHIN_S = 5.0  # a bound against a hanging test, never a measurement

Attributes = list[tuple[int, bytes]]
_identifiers = itertools.count()


def attribute(number: int, value: bytes) -> bytes:
    return bytes((number, len(value) + 2)) + value


def vendor(number: int, kind: int, value: bytes) -> tuple[int, bytes]:
    return 26, struct.pack(">I", number) + attribute(kind, value)


def integer(value: int) -> bytes:
    return struct.pack(">I", value)


def hide(password: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """User-Password, RFC 2865 §5.2."""
    password += bytes(-len(password) % 16 or (16 if not password else 0))
    hidden = b""
    last = authenticator
    for at in range(0, len(password), 16):
        stream = hashlib.md5(secret + last).digest()
        last = bytes(a ^ b for a, b in zip(password[at : at + 16], stream, strict=True))
        hidden += last
    return hidden


def reveal_key(hidden: bytes, secret: bytes, authenticator: bytes) -> bytes:
    """MS-MPPE-Send-Key and -Recv-Key, RFC 2548 §2.4.2."""
    salt, hidden = hidden[:2], hidden[2:]
    last, clear = authenticator + salt, b""
    for at in range(0, len(hidden), 16):
        stream = hashlib.md5(secret + last).digest()
        last = hidden[at : at + 16]
        clear += bytes(a ^ b for a, b in zip(last, stream, strict=True))
    return clear[1 : 1 + clear[0]]


class Request:
    """A request before and after it is signed: `octets` is what goes out."""

    def __init__(
        self, code: int, attributes: Attributes, secret: bytes, *, sign: bool = False, password: bytes | None = None
    ) -> None:
        """sign: Message-Authenticator, first. password: added as User-Password."""
        self.secret = secret
        self.identifier = next(_identifiers) & 0xFF
        accounting = code == ACCOUNTING_REQUEST
        authenticator = bytes(16) if accounting else os.urandom(16)
        if password is not None:
            attributes = [*attributes, (USER_PASSWORD, hide(password, secret, authenticator))]
        body = b"".join(attribute(number, value) for number, value in attributes)
        if sign:
            body = attribute(MESSAGE_AUTHENTICATOR, bytes(16)) + body
        head = struct.pack(">BBH", code, self.identifier, 20 + len(body))
        if sign:
            digest = hmac.new(secret, head + authenticator + body, "md5").digest()
            body = attribute(MESSAGE_AUTHENTICATOR, digest) + body[18:]
        if accounting:
            authenticator = hashlib.md5(head + bytes(16) + body + secret).digest()
        self.authenticator = authenticator
        self.octets = head + authenticator + body


class Reply:
    """A verified reply."""

    def __init__(self, octets: bytes, request: Request) -> None:
        """Fails the test when lengths, identifier, authenticator or Message-Authenticator are wrong."""
        self.octets = octets
        self.code, identifier, length = struct.unpack(">BBH", octets[:4])
        assert length == len(octets)
        assert identifier == request.identifier
        body = octets[20:]
        expected = hashlib.md5(octets[:4] + request.authenticator + body + request.secret).digest()
        assert octets[4:20] == expected, "Response Authenticator"
        self.attributes: Attributes = []
        at = 20
        while at < length:
            number, size = octets[at], octets[at + 1]
            assert size >= 2
            assert at + size <= length
            if number == MESSAGE_AUTHENTICATOR:
                assert size == 18
                zeroed = octets[: at + 2] + bytes(16) + octets[at + 18 :]
                # What deployed servers do for accounting: a zero authenticator, or the request's after Status-Server.
                signed = zeroed[:4] + request.authenticator + zeroed[20:]
                assert octets[at + 2 : at + 18] == hmac.new(request.secret, signed, "md5").digest()
            self.attributes.append((number, octets[at + 2 : at + size]))
            at += size

    def all(self, number: int) -> list[bytes]:
        return [value for kind, value in self.attributes if kind == number]

    def get(self, number: int) -> bytes:
        (value,) = self.all(number)
        return value

    def vendor(self, number: int, kind: int) -> bytes:
        prefix = struct.pack(">I", number) + bytes((kind,))
        (value,) = [value[6:] for value in self.all(26) if value.startswith(prefix)]
        return value


class Nas:
    """A UDP client at one address, with one socket for both ports."""

    def __init__(self, address: str, secret: bytes, auth: tuple[str, int], acct: tuple[str, int]) -> None:
        self.secret = secret
        self.auth = auth
        self.acct = acct
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((address, 0))
        self.socket.settimeout(ANSWER_WITHIN_S)
        self.answered_from = ""

    def close(self) -> None:
        self.socket.close()

    def send(self, request: Request | bytes, acct: bool | None = None) -> None:
        octets = request if isinstance(request, bytes) else request.octets
        to_acct = acct if acct is not None else octets[0] == ACCOUNTING_REQUEST
        self.socket.sendto(octets, self.acct if to_acct else self.auth)

    def receive(self) -> bytes:
        octets, source = self.socket.recvfrom(8192)
        self.answered_from = source[0]
        return octets

    def ask(self, request: Request, acct: bool | None = None) -> Reply:
        self.send(request, acct)
        return Reply(self.receive(), request)

    def is_silent(self, request: Request | bytes, acct: bool = False) -> bool:
        """Send it, then a Status-Server: a server that answers in order and answers the second first dropped the first.

        Only where nothing is delayed by the server.
        """
        self.send(request, acct)
        barrier = self.status()
        self.send(barrier, acct)
        octets = self.receive()
        return octets[1] == barrier.identifier and Reply(octets, barrier).code in (ACCESS_ACCEPT, ACCOUNTING_RESPONSE)

    def status(self) -> Request:
        return Request(STATUS_SERVER, [], self.secret, sign=True)

    def pap(self, user: str, password: str, *extra: tuple[int, bytes], sign: bool = False) -> Request:
        return Request(
            ACCESS_REQUEST, [(USER_NAME, user.encode()), *extra], self.secret, sign=sign, password=password.encode()
        )

    def chap(self, user: str, password: str, *extra: tuple[int, bytes]) -> Request:
        challenge, identifier = os.urandom(16), b"\x07"
        proof = hashlib.md5(identifier + password.encode() + challenge).digest()
        return Request(
            ACCESS_REQUEST,
            [(USER_NAME, user.encode()), (CHAP_PASSWORD, identifier + proof), (60, challenge), *extra],
            self.secret,
        )

    def mschapv2(self, user: str, password: str, *extra: tuple[int, bytes]) -> "MsChapV2":
        return MsChapV2(user, password, self.secret, extra)

    def accounting(self, status: int, session: str, *extra: tuple[int, bytes], user: str = "") -> Request:
        attributes = [(ACCT_STATUS_TYPE, integer(status)), (ACCT_SESSION_ID, session.encode()), *extra]
        if user:
            attributes.append((USER_NAME, user.encode()))
        return Request(ACCOUNTING_REQUEST, attributes, self.secret)


class MsChapV2(Request):
    """An MS-CHAPv2 login, RFC 2759 §8, and what the server must answer to prove that it knows the password."""

    def __init__(self, user: str, password: str, secret: bytes, extra: tuple[tuple[int, bytes], ...]) -> None:
        challenge, peer_challenge = os.urandom(16), os.urandom(16)
        name = user.encode().rpartition(b"\\")[2]
        hashed = md4(password.encode("utf-16-le"))
        short = hashlib.sha1(peer_challenge + challenge + name).digest()[:8]
        response = b"".join(des(part, short) for part in _thirds(hashed))
        super().__init__(
            ACCESS_REQUEST,
            [
                (USER_NAME, user.encode()),
                vendor(MICROSOFT, 11, challenge),
                vendor(MICROSOFT, 25, b"\x05\0" + peer_challenge + bytes(8) + response),
                *extra,
            ],
            secret,
        )
        twice = md4(hashed)
        magic = b"Magic server to client signing constant", b"Pad to make it do more than one iteration"
        digest = hashlib.sha1(hashlib.sha1(twice + response + magic[0]).digest() + short + magic[1]).hexdigest()
        self.success = b"\x05S=" + digest.upper().encode()
        self.master = hashlib.sha1(twice + response + b"This is the MPPE Master Key").digest()[:16]

    def keys(self) -> tuple[bytes, bytes]:
        """Send and receive keys of the server's side, RFC 3079 §3.4."""
        client = b"On the client side, this is the %s key; on the server side, it is the %s key."
        send, receive = (
            hashlib.sha1(self.master + bytes(40) + client % words + b"\xf2" * 40).digest()[:16]
            for words in ((b"receive", b"send"), (b"send", b"receive"))
        )
        return send, receive


def _thirds(hashed: bytes) -> list[bytes]:
    padded = hashed + bytes(5)
    return [padded[at : at + 7] for at in (0, 7, 14)]


def des(key: bytes, block: bytes) -> bytes:
    """DES with a key of 56 bits."""
    bits = int.from_bytes(key, "big")
    octets = bytes((bits >> (49 - 7 * index) & 0x7F) << 1 for index in range(8))
    encryptor = Cipher(TripleDES(octets * 3), modes.ECB()).encryptor()
    return encryptor.update(block) + encryptor.finalize()


def md4(message: bytes) -> bytes:
    """RFC 1320."""
    mask = 0xFFFFFFFF
    size = len(message) * 8
    message += b"\x80" + bytes((55 - len(message)) % 64) + struct.pack("<Q", size)
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    orders = (
        list(range(16)),
        [column + 4 * row for column in range(4) for row in range(4)],
        [0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15],
    )
    shifts = ((3, 7, 11, 19), (3, 5, 9, 13), (3, 9, 11, 15))
    constants = (0, 0x5A827999, 0x6ED9EBA1)
    mixes = (
        lambda x, y, z: x & y | ~x & z,
        lambda x, y, z: x & y | x & z | y & z,
        lambda x, y, z: x ^ y ^ z,
    )
    for at in range(0, len(message), 64):
        words = struct.unpack("<16I", message[at : at + 64])
        a, b, c, d = state
        for order, turns, constant, mix in zip(orders, shifts, constants, mixes, strict=True):
            for index, word in enumerate(order):
                turn = turns[index % 4]
                value = (a + mix(b, c, d) + words[word] + constant) & mask
                a, b, c, d = d, (value << turn | value >> (32 - turn)) & mask, b, c
        state = [(old + new) & mask for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)
