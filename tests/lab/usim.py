"""A subscriber's SIM by 3GPP TS 35.206, TS 33.102 §6.3 and TS 33.401 A.2; it shares nothing with the server."""

import hashlib
import hmac
from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


class Functions(NamedTuple):
    """f1..f5, f1* and f5* of one challenge."""

    mac_a: bytes
    mac_s: bytes
    res: bytes
    ck: bytes
    ik: bytes
    ak: bytes
    ak_s: bytes


def exclusive_or(left: bytes, right: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def milenage(k: bytes, opc: bytes, rand: bytes, sqn: bytes, amf: bytes) -> Functions:
    def e(block: bytes) -> bytes:
        encryptor = Cipher(algorithms.AES(k), modes.ECB()).encryptor()
        return encryptor.update(block) + encryptor.finalize()

    temp = e(exclusive_or(rand, opc))

    def out(rotation: int, constant: int) -> bytes:
        turned = exclusive_or(temp, opc)
        turned = turned[rotation // 8 :] + turned[: rotation // 8]
        return exclusive_or(e(exclusive_or(turned, bytes(15) + bytes([constant]))), opc)

    block = (sqn + amf) * 2
    turned = exclusive_or(block, opc)
    turned = turned[8:] + turned[:8]
    out1 = exclusive_or(e(exclusive_or(temp, turned)), opc)
    out2 = out(0, 1)
    return Functions(out1[:8], out1[8:], out2[8:], out(32, 2), out(64, 4), out2[:6], out(96, 8)[:6])


class Challenge(NamedTuple):
    """What the SIM makes of one."""

    res: bytes
    kasme: bytes
    sqn: int


class Usim:
    """A SIM that checks what it is asked. K, OPc: 16 octets."""

    def __init__(self, k: str, opc: str, sqn: int = 0) -> None:
        self.k, self.opc = bytes.fromhex(k), bytes.fromhex(opc)
        self.sqn = sqn
        """The highest that it has accepted; TS 33.102 C.2 with one window for all indexes."""

    def authenticate(self, vector, plmn: bytes) -> Challenge:
        """Check an E-UTRAN-Vector: AUTN's MAC, a fresh SQN, XRES and KASME. Raises AssertionError."""
        rand, autn = vector["RAND"], vector["AUTN"]
        assert (len(rand), len(autn), len(vector["KASME"])) == (16, 16, 32)
        amf, mac = autn[6:8], autn[8:]
        ak = milenage(self.k, self.opc, rand, bytes(6), amf).ak
        sqn = exclusive_or(autn[:6], ak)
        made = milenage(self.k, self.opc, rand, sqn, amf)
        assert made.mac_a == mac, "AUTN is not by this key"
        assert amf[0] & 0x80, "the AMF separation bit is not set"
        assert int.from_bytes(sqn, "big") > self.sqn, "SQN is not fresh"
        self.sqn = int.from_bytes(sqn, "big")
        derived = b"\x10" + plmn + b"\x00\x03" + exclusive_or(sqn, made.ak) + b"\x00\x06"
        kasme = hmac.new(made.ck + made.ik, derived, hashlib.sha256).digest()
        assert (vector["XRES"], vector["KASME"]) == (made.res, kasme)
        return Challenge(made.res, kasme, self.sqn)

    def auts(self, rand: bytes) -> bytes:
        """RAND and AUTS: what a SIM answers to an SQN that is not fresh (TS 33.102 §6.3.3)."""
        sqn = self.sqn.to_bytes(6, "big")
        made = milenage(self.k, self.opc, rand, sqn, bytes(2))
        return rand + exclusive_or(sqn, made.ak_s) + made.mac_s
