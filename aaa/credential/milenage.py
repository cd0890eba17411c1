"""Milenage: what a SIM's K and OPc make of a challenge, and the sequence numbers that keep a challenge from being used
twice. Pure: random numbers and stored sequence numbers come in as arguments. Knows octets; no store, no Diameter.

Source: TS 35.206 §4 (algorithms), TS 33.102 §6.3 and Annex C (authentication, sequence numbers), TS 33.401 Annex A.2.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from msgspec import Struct

KEY_SIZE: Final = 16
RESYNC_AMF: Final = bytes(2)
"""The AMF of MAC-S, whatever the challenge's was: TS 33.102 §6.3.3."""
IND_BITS: Final = 5
"""Low bits of an SQN that name a slot of the USIM's list: TS 33.102 Annex C.3.2, and its array of 32."""
SQN_MAX: Final = 2**48 - 1
SEQ_MAX: Final = SQN_MAX >> IND_BITS


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "big") ^ int.from_bytes(right, "big")).to_bytes(len(left), "big")


def _rotate(block: bytes, octets: int) -> bytes:
    """Towards the most significant end."""
    return block[octets:] + block[:octets]


def _last_octet(block: bytes, constant: int) -> bytes:
    """XOR with one of c1 to c5, which have bits in their last octet only."""
    return block[:-1] + bytes((block[-1] ^ constant,))


def _check(name: str, octets: bytes, size: int) -> None:
    if len(octets) != size:
        raise ValueError(f"{name} has {size} octets, not {len(octets)}")


def _cipher(k: bytes) -> CipherContext:
    return Cipher(AES(k), ECB()).encryptor()


def derive_opc(k: bytes, op: bytes) -> bytes:
    """OPc of a SIM from the operator's OP; 16 octets each. Raises ValueError for another size."""
    _check("K", k, KEY_SIZE)
    _check("OP", op, KEY_SIZE)
    return _xor(_cipher(k).update(op), op)


class Milenage:
    """The functions f1 to f5* under one SIM's keys. Security: holds K and OPc; shows neither."""

    __slots__ = ("_encrypt", "_opc")

    def __init__(self, k: bytes, opc: bytes) -> None:
        """16 octets each. Raises ValueError for another size."""
        _check("K", k, KEY_SIZE)
        _check("OPc", opc, KEY_SIZE)
        self._encrypt = _cipher(k).update
        self._opc = opc

    def _temp(self, rand: bytes) -> bytes:
        _check("RAND", rand, KEY_SIZE)
        return self._encrypt(_xor(rand, self._opc))

    def f1(self, rand: bytes, sqn: bytes, amf: bytes) -> tuple[bytes, bytes]:
        """(MAC-A of f1, MAC-S of f1*), 8 octets each. sqn: 6 octets; amf: 2. Raises ValueError for other sizes."""
        _check("SQN", sqn, 6)
        _check("AMF", amf, 2)
        turned = _rotate(_xor((sqn + amf) * 2, self._opc), 8)
        out = _xor(self._encrypt(_xor(self._temp(rand), turned)), self._opc)
        return out[:8], out[8:]

    def f2345(self, rand: bytes) -> tuple[bytes, bytes, bytes, bytes]:
        """(RES, CK, IK, AK) of f2 to f5: 8, 16, 16 and 6 octets."""
        mixed = _xor(self._temp(rand), self._opc)
        out2 = _xor(self._encrypt(_last_octet(mixed, 1)), self._opc)
        ck = _xor(self._encrypt(_last_octet(_rotate(mixed, 4), 2)), self._opc)
        ik = _xor(self._encrypt(_last_octet(_rotate(mixed, 8), 4)), self._opc)
        return out2[8:], ck, ik, out2[:6]

    def f5_star(self, rand: bytes) -> bytes:
        """AK of a resynchronisation: 6 octets."""
        mixed = _xor(self._temp(rand), self._opc)
        return _xor(self._encrypt(_last_octet(_rotate(mixed, 12), 8)), self._opc)[:6]


class Vector(Struct, frozen=True):
    """An authentication vector: the challenge and what answers it. Security: no repr of its secrets."""

    rand: bytes
    autn: bytes
    xres: bytes
    ck: bytes
    ik: bytes

    def __repr__(self) -> str:
        return "Vector()"


def make_vector(milenage: Milenage, rand: bytes, sqn: int, amf: bytes) -> Vector:
    """The vector of a challenge. rand: 16 random octets; sqn: 48 bits, never used for this SIM before; amf: 2 octets.

    AUTN = SQN xor AK || AMF || MAC. Raises ValueError for other sizes.
    Source: TS 33.102 §6.3.2.
    """
    octets = sqn_octets(sqn)
    xres, ck, ik, ak = milenage.f2345(rand)
    mac, _ = milenage.f1(rand, octets, amf)
    return Vector(rand, _xor(octets, ak) + amf + mac, xres, ck, ik)


def derive_kasme(vector: Vector, plmn: bytes) -> bytes:
    """K_ASME for the serving network: 32 octets. plmn: its identity, 3 octets as on the wire.

    Source: TS 33.401 Annex A.2, FC 0x10.
    """
    _check("Visited-PLMN-Id", plmn, 3)
    text = b"\x10" + plmn + b"\0\x03" + vector.autn[:6] + b"\0\x06"
    return hmac.digest(vector.ck + vector.ik, text, sha256)


def verify_auts(milenage: Milenage, rand: bytes, auts: bytes) -> int | None:
    """SQN of the USIM from an AUTS, which answers the challenge `rand`; None: it is not from this USIM.

    auts: 14 octets, SQN_MS xor AK* || MAC-S. Raises ValueError for another size. Security: compares in constant time.
    Source: TS 33.102 §6.3.3 and §6.3.5.
    """
    _check("AUTS", auts, 14)
    sqn = _xor(auts[:6], milenage.f5_star(rand))
    _, mac = milenage.f1(rand, sqn, RESYNC_AMF)
    return int.from_bytes(sqn, "big") if hmac.compare_digest(mac, auts[6:]) else None


def sqn_octets(sqn: int) -> bytes:
    """48 bits. Raises ValueError outside of them."""
    if not 0 <= sqn <= SQN_MAX:
        raise ValueError("an SQN has 48 bits")
    return sqn.to_bytes(6, "big")


def next_sqn(sqn: int, slot: int | None = None) -> int:
    """The SQN after `sqn`: SEQ one higher. slot: IND of who asks, so that several nodes' vectors do not undo one
    another; None: the next in turn. Raises ValueError when SEQ is used up, after 2^43 challenges.

    Source: TS 33.102 Annex C.1.2 (SQN = SEQ || IND) and C.3.2 (partly time-less profile).
    """
    sequence = (sqn >> IND_BITS) + 1
    if sequence > SEQ_MAX:
        raise ValueError("the sequence numbers of this SIM are used up")
    index = ((sqn + 1) if slot is None else slot) & ((1 << IND_BITS) - 1)
    return sequence << IND_BITS | index


def jump_sqn(sqn: int, challenges: int) -> int:
    """An SQN that many challenges ahead, at most at the end: after a restore, or for a block reserved at once."""
    return min((sqn >> IND_BITS) + challenges, SEQ_MAX) << IND_BITS | sqn & ((1 << IND_BITS) - 1)


def resynchronised(stored: int, sqn_ms: int) -> int:
    """The stored SQN after a verified AUTS that told `sqn_ms`: the USIM's, so that the next one is fresh to it.

    It only moves where the next SQN would not be accepted: the highest SEQ of the USIM is not below the stored one, or
    so far behind it that the USIM takes it for a leap (Δ of Annex C.2.1, 2^28). Source: TS 33.102 §6.3.5.
    """
    own, theirs = stored >> IND_BITS, sqn_ms >> IND_BITS
    return sqn_ms if theirs >= own or own - theirs >= 1 << 28 else stored
