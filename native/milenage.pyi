"""Milenage: what a SIM's K and OPc make of a challenge (TS 35.206 §4), and the vectors of it.

keys: K and OPc, 16 octets each, in one. rand: 16 octets. sqn: 48 bits, as a number. amf: 16 bits, likewise. All raise
ValueError for other lengths and numbers. Security: keys and intermediate values are wiped before a call returns.
"""

def derive_opc(k: bytes, op: bytes) -> bytes:
    """OPc of a SIM from the operator's OP; 16 octets each (TS 35.206 §4.1)."""

def functions(keys: bytes, rand: bytes, sqn: int, amf: int) -> tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes]:
    """(MAC-A of f1, MAC-S of f1*, RES of f2, CK, IK, AK of f5, AK of f5*): 8, 8, 8, 16, 16, 6 and 6 octets."""

def eps_vector(keys: bytes, rand: bytes, sqn: int, amf: int, plmn: bytes) -> bytes:
    """RAND, XRES, AUTN, K_ASME: 16, 8, 16 and 32 octets (TS 33.102 §6.3.2, TS 33.401 Annex A.2).

    plmn: identity of the serving network, 3 octets as on the wire. Cost: about 2 µs.
    """

def umts_vector(keys: bytes, rand: bytes, sqn: int, amf: int) -> bytes:
    """RAND, XRES, AUTN, CK, IK: 16, 8, 16, 16 and 16 octets (TS 33.102 §6.3.2)."""

def verify_auts(keys: bytes, rand: bytes, auts: bytes) -> int | None:
    """SQN of the USIM from an AUTS, which answers the challenge `rand`; None: it is not from this USIM.

    auts: 14 octets, SQN_MS xor AK* || MAC-S. Compares in constant time. Source: TS 33.102 §6.3.3 and §6.3.5.
    """
