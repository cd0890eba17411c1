"""Milenage and the vectors of it, against the published test sets and against independent arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native import milenage
from tests.lab.usim import Usim

# TS 35.208 §4.3, test sets 1 to 6: K, RAND, SQN, AMF, OP, OPc, f1, f1*, f2, f3, f4, f5, f5*
SETS = """
465b5ce8b199b49faa5f0a2ee238a6bc 23553cbe9637a89d218ae64dae47bf35 ff9bb4d0b607 b9b9 cdc202d5123e20f62b6d676ac72cb318
cd63cb71954a9f4e48a5994e37a02baf 4a9ffac354dfafb3 01cfaf9ec4e871e9 a54211d5e3ba50bf b40ba9a3c58b2a05bbf0d987b21bf8cb
f769bcd751044604127672711c6d3441 aa689c648370 451e8beca43b

0396eb317b6d1c36f19c1c84cd6ffd16 c00d603103dcee52c4478119494202e8 fd8eef40df7d af17 ff53bade17df5d4e793073ce9d7579fa
53c15671c60a4b731c55b4a441c0bde2 5df5b31807e258b0 a8c016e51ef4a343 d3a628ed988620f0 58c433ff7a7082acd424220f2b67c556
21a8c1f929702adb3e738488b9f5c5da c47783995f72 30f1197061c1

fec86ba6eb707ed08905757b1bb44b8f 9f7c8d021accf4db213ccff0c7f71a6a 9d0277595ffc 725c dbc59adcb6f9a0ef735477b7fadf8374
1006020f0a478bf6b699f15c062e42b3 9cabc3e99baf7281 95814ba2b3044324 8011c48c0c214ed2 5dbdbb2954e8f3cde665b046179a5098
59a92d3b476a0443487055cf88b2307b 33484dc2136b deacdd848cc6

9e5944aea94b81165c82fbf9f32db751 ce83dbc54ac0274a157c17f80d017bd6 0b604a81eca8 9e09 223014c5806694c007ca1eeef57f004f
a64a507ae1a2a98bb88eb4210135dc87 74a58220cba84c49 ac2cc74a96871837 f365cd683cd92e96 e203edb3971574f5a94b0d61b816345d
0c4524adeac041c4dd830d20854fc46b f0b9c08ad02e 6085a86c6f63

4ab1deb05ca6ceb051fc98e77d026a84 74b0cd6031a1c8339b2b6ce2b8c4a186 e880a1b580b6 9f07 2d16c5cd1fdf6b22383584e3bef2a8d8
dcf07cbd51855290b92a07a9891e523e 49e785dd12626ef2 9e85790336bb3fa2 5860fc1bce351e7e 7657766b373d1c2138f307e3de9242f9
1c42e960d89b8fa99f2744e0708ccb53 31e11a609118 fe2555e54aa9

6c38a116ac280c454f59332ee35c8c4f ee6466bc96202c5a557abbeff8babf63 414b98222181 4464 1ba00a1a7c6700ac8c3ff3e96ad08725
3803ef5363b947c6aaa225e58fae3934 078adfb488241a57 80246b8d0186bcf1 16c8233f05a0ac28 3f8c7587fe8e4b233af676aede30ba3b
a7466cc1e6b2a1337d49d3b66e95d7b4 45b0f69ab06c 1f53cd2b1113
"""
VECTORS = [[bytes.fromhex(word) for word in block.split()] for block in SETS.strip().split("\n\n")]
K, RAND, SQN, AMF, OP, OPC, *_ = VECTORS[0]
KEYS = K + OPC
PLMN = bytes.fromhex("00f110")


@pytest.mark.parametrize("vector", VECTORS, ids=[f"set {number}" for number in range(1, 7)])
def test_every_function_gives_what_the_test_set_says(vector: list[bytes]) -> None:
    k, rand, sqn, amf, op, opc, mac_a, mac_s, res, ck, ik, ak, ak_star = vector
    assert milenage.derive_opc(k, op) == opc
    numbers = int.from_bytes(sqn), int.from_bytes(amf)
    assert milenage.functions(k + opc, rand, *numbers) == (mac_a, mac_s, res, ck, ik, ak, ak_star)
    hidden = bytes(one ^ other for one, other in zip(sqn, ak, strict=True))
    expected = rand + res + hidden + amf + mac_a
    assert milenage.umts_vector(k + opc, rand, *numbers) == expected + ck + ik
    assert milenage.eps_vector(k + opc, rand, *numbers, PLMN)[:40] == expected


octets16 = st.binary(min_size=16, max_size=16)


@given(octets16, octets16, octets16, st.integers(0, 2**48 - 1), st.integers(0, 0x7FFF), st.sampled_from([PLMN, b"abc"]))
def test_a_usim_of_its_own_accepts_every_vector(
    k: bytes, opc: bytes, rand: bytes, sqn: int, amf: int, plmn: bytes
) -> None:
    vector = milenage.eps_vector(k + opc, rand, sqn, amf | 0x8000, plmn)
    fields = {"RAND": vector[:16], "XRES": vector[16:24], "AUTN": vector[24:40], "KASME": vector[40:]}
    usim = Usim(k.hex(), opc.hex(), sqn - 1)
    assert usim.authenticate(fields, plmn).sqn == sqn
    auts = usim.auts(rand)[16:]
    assert milenage.verify_auts(k + opc, rand, auts) == sqn


@given(st.integers(0, 14 * 8 - 1))
def test_an_auts_with_any_bit_changed_is_not_the_usims(bit: int) -> None:
    auts = Usim(K.hex(), OPC.hex(), 77).auts(RAND)[16:]
    changed = (int.from_bytes(auts) ^ 1 << bit).to_bytes(14)
    assert milenage.verify_auts(KEYS, RAND, auts) == 77
    assert milenage.verify_auts(KEYS, RAND, changed) is None
    assert milenage.verify_auts(KEYS, bytes(16), auts) is None


def test_a_vector_is_for_one_serving_network() -> None:
    one, other = (milenage.eps_vector(KEYS, RAND, 32, 0x8000, plmn) for plmn in (PLMN, b"abc"))
    assert one[:40] == other[:40]
    assert one[40:] != other[40:]


@pytest.mark.parametrize("size", [0, 1, 15, 17, 31, 33, 64])
def test_a_key_challenge_or_answer_of_another_length_is_refused(size: int) -> None:
    wrong = bytes(size)
    for call in (
        lambda: milenage.derive_opc(wrong, OP),
        lambda: milenage.derive_opc(K, wrong),
        lambda: milenage.functions(wrong, RAND, 0, 0),
        lambda: milenage.functions(KEYS, wrong, 0, 0),
        lambda: milenage.eps_vector(KEYS, wrong, 0, 0, PLMN),
        lambda: milenage.eps_vector(KEYS, RAND, 0, 0, wrong),
        lambda: milenage.umts_vector(wrong, RAND, 0, 0),
        lambda: milenage.verify_auts(wrong, RAND, bytes(14)),
        lambda: milenage.verify_auts(KEYS, wrong, bytes(14)),
        lambda: milenage.verify_auts(KEYS, RAND, wrong),
    ):
        with pytest.raises(ValueError, match="octets"):
            call()


@pytest.mark.parametrize(("sqn", "amf"), [(-1, 0), (2**48, 0), (0, -1), (0, 2**16)])
def test_a_number_that_has_no_room_is_refused(sqn: int, amf: int) -> None:
    with pytest.raises(ValueError, match="bits"):
        milenage.eps_vector(KEYS, RAND, sqn, amf, PLMN)
