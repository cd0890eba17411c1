"""Milenage and its sequence numbers, against the published test sets."""

import hmac
from hashlib import sha256

import pytest

from aaa.credential.milenage import (
    RESYNC_AMF,
    SEQ_MAX,
    SQN_MAX,
    Milenage,
    derive_kasme,
    derive_opc,
    jump_sqn,
    make_vector,
    next_sqn,
    resynchronised,
    sqn_octets,
    verify_auts,
)

# TS 35.208 §4.3, test sets 1, 3 and 4: K, RAND, SQN, AMF, OP, OPc, f1, f1*, f2, f3, f4, f5, f5*
SETS = """
465b5ce8b199b49faa5f0a2ee238a6bc 23553cbe9637a89d218ae64dae47bf35 ff9bb4d0b607 b9b9 cdc202d5123e20f62b6d676ac72cb318
cd63cb71954a9f4e48a5994e37a02baf 4a9ffac354dfafb3 01cfaf9ec4e871e9 a54211d5e3ba50bf b40ba9a3c58b2a05bbf0d987b21bf8cb
f769bcd751044604127672711c6d3441 aa689c648370 451e8beca43b

fec86ba6eb707ed08905757b1bb44b8f 9f7c8d021accf4db213ccff0c7f71a6a 9d0277595ffc 725c dbc59adcb6f9a0ef735477b7fadf8374
1006020f0a478bf6b699f15c062e42b3 9cabc3e99baf7281 95814ba2b3044324 8011c48c0c214ed2 5dbdbb2954e8f3cde665b046179a5098
59a92d3b476a0443487055cf88b2307b 33484dc2136b deacdd848cc6

9e5944aea94b81165c82fbf9f32db751 ce83dbc54ac0274a157c17f80d017bd6 0b604a81eca8 9e09 223014c5806694c007ca1eeef57f004f
a64a507ae1a2a98bb88eb4210135dc87 74a58220cba84c49 ac2cc74a96871837 f365cd683cd92e96 e203edb3971574f5a94b0d61b816345d
0c4524adeac041c4dd830d20854fc46b f0b9c08ad02e 6085a86c6f63
"""
SET_1, *_ = VECTORS = [[bytes.fromhex(word) for word in block.split()] for block in SETS.strip().split("\n\n")]


@pytest.mark.parametrize("vector", VECTORS, ids=["set 1", "set 3", "set 4"])
def test_every_function_gives_what_the_test_sets_say(vector: list[bytes]) -> None:
    k, rand, sqn, amf, op, opc, f1, f1_star, f2, f3, f4, f5, f5_star = vector
    assert derive_opc(k, op) == opc
    milenage = Milenage(k, opc)
    assert milenage.f1(rand, sqn, amf) == (f1, f1_star)
    assert milenage.f2345(rand) == (f2, f3, f4, f5)
    assert milenage.f5_star(rand) == f5_star


def test_a_challenge_carries_its_sequence_number_under_the_anonymity_key() -> None:
    k, rand, sqn, amf, _, opc, f1, _, f2, f3, f4, f5, _ = SET_1
    vector = make_vector(Milenage(k, opc), rand, int.from_bytes(sqn, "big"), amf)
    concealed = bytes(a ^ b for a, b in zip(sqn, f5, strict=True))
    assert vector.autn == concealed + amf + f1
    assert (vector.rand, vector.xres, vector.ck, vector.ik) == (rand, f2, f3, f4)
    assert f3.hex() not in repr(vector)


def test_kasme_is_bound_to_the_serving_network() -> None:
    k, rand, sqn, amf, _, opc, *_, f3, f4, _, _ = SET_1
    vector = make_vector(Milenage(k, opc), rand, int.from_bytes(sqn, "big"), amf)
    text = bytes.fromhex("10") + b"\x00\xf1\x10" + b"\x00\x03" + vector.autn[:6] + b"\x00\x06"
    assert derive_kasme(vector, b"\x00\xf1\x10") == hmac.new(f3 + f4, text, sha256).digest()
    assert derive_kasme(vector, b"\x00\xf1\x20") != derive_kasme(vector, b"\x00\xf1\x10")


def auts(milenage: Milenage, rand: bytes, sqn: bytes) -> bytes:
    """What a USIM sends: TS 33.102 §6.3.3."""
    concealed = bytes(a ^ b for a, b in zip(sqn, milenage.f5_star(rand), strict=True))
    return concealed + milenage.f1(rand, sqn, RESYNC_AMF)[1]


def test_an_auts_tells_the_sequence_number_of_its_usim_and_of_no_other() -> None:
    k, rand, sqn, _, _, opc, *_ = SET_1
    milenage = Milenage(k, opc)
    answer = auts(milenage, rand, sqn)
    assert verify_auts(milenage, rand, answer) == int.from_bytes(sqn, "big")
    assert verify_auts(milenage, bytes(16), answer) is None
    assert verify_auts(Milenage(bytes(16), opc), rand, answer) is None
    for position in range(14):
        broken = bytearray(answer)
        broken[position] ^= 1
        assert verify_auts(milenage, rand, bytes(broken)) is None


@pytest.mark.parametrize(("name", "size"), [("K", 15), ("K", 17), ("K", 0)])
def test_a_key_of_another_size_is_refused(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"{name} has 16 octets"):
        Milenage(bytes(size), bytes(16))


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_challenge_of_another_size_is_refused(size: int) -> None:
    milenage = Milenage(bytes(16), bytes(16))
    with pytest.raises(ValueError, match="RAND"):
        milenage.f2345(bytes(size))
    with pytest.raises(ValueError, match="AUTS"):
        verify_auts(milenage, bytes(16), bytes(size))


def test_each_next_sequence_number_is_fresh_and_goes_round_the_slots() -> None:
    sqn, seen = 0, []
    for _ in range(100):
        following = next_sqn(sqn)
        assert following >> 5 == (sqn >> 5) + 1
        sqn = following
        seen.append(sqn & 31)
    assert set(seen) == set(range(32))
    assert next_sqn(sqn, slot=7) & 31 == 7


def test_sequence_numbers_end_and_never_wrap() -> None:
    assert sqn_octets(SQN_MAX) == b"\xff" * 6
    with pytest.raises(ValueError, match="used up"):
        next_sqn(SQN_MAX)
    with pytest.raises(ValueError, match="48 bits"):
        sqn_octets(SQN_MAX + 1)
    assert jump_sqn(0, 1000) == 1000 << 5
    assert jump_sqn(SQN_MAX, 1000) == SQN_MAX
    assert jump_sqn((SEQ_MAX - 1) << 5 | 3, 1000) == SEQ_MAX << 5 | 3


@pytest.mark.parametrize(
    ("stored", "sqn_ms", "expected"),
    [
        (100 << 5, 200 << 5, 200 << 5),  # the USIM is ahead: a restored backup
        (100 << 5, 100 << 5, 100 << 5),
        (200 << 5, 100 << 5, 200 << 5),  # already ahead of it: the next one is accepted
        (1 << 40, 5 << 5, 5 << 5),  # so far ahead that the USIM takes it for a leap
    ],
)
def test_an_auts_moves_the_stored_number_only_where_the_next_would_be_refused(
    stored: int, sqn_ms: int, expected: int
) -> None:
    assert resynchronised(stored, sqn_ms) == expected
