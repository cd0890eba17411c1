"""MD4, DES, MS-CHAP, CHAP and crypt(3) against the published examples and against independent arithmetic."""

import hashlib
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native import crypto

VECTORS = tomllib.loads((Path(__file__).parents[1] / "vectors" / "mschap.toml").read_text())
H = bytes.fromhex

SHS_PAD_1 = bytes(40)
SHS_PAD_2 = b"\xf2" * 40
MAGIC_RECEIVE = b"On the client side, this is the send key; on the server side, it is the receive key."


def flipped(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data) ^ 1 << bit).to_bytes(len(data))


@pytest.mark.parametrize("vector", VECTORS["md4"], ids=lambda vector: repr(vector["text"][:8]))
def test_md4_of_the_published_texts(vector):
    assert crypto.md4(vector["text"].encode()) == H(vector["digest"])


@pytest.mark.parametrize("vector", VECTORS["mschap"] + VECTORS["mschapv2"], ids=lambda vector: vector["source"])
def test_published_hash_and_response(vector):
    password_hash = crypto.nt_hash(vector["password"].encode())
    assert password_hash == H(vector["password_hash"])
    response = crypto.challenge_response(H(vector["challenge"]), password_hash)
    assert response == H(vector["response"])
    assert crypto.verify_mschap(H(vector["challenge"]), response, password_hash)


@pytest.mark.parametrize("vector", VECTORS["mschapv2"], ids=lambda vector: vector["source"])
def test_published_mschapv2_exchange(vector):
    peer, authenticator = H(vector["peer_challenge"]), H(vector["authenticator_challenge"])
    user_name, password_hash = vector["user_name"].encode(), H(vector["password_hash"])
    assert crypto.challenge_hash(peer, authenticator, user_name) == H(vector["challenge"])
    verified = crypto.verify_mschapv2(authenticator, peer, user_name, H(vector["response"]), password_hash)
    assert verified is not None
    proof, send_key, receive_key = verified
    assert proof == H(vector["authenticator_response"])
    assert send_key == H(vector["send_key"])
    # RFC 3079 prints the send key only: the other one by its formula, §3.4, with hashlib.
    master = hashlib.sha1(
        H(vector["password_hash_hash"]) + H(vector["response"]) + b"This is the MPPE Master Key"
    ).digest()[:16]
    assert receive_key == hashlib.sha1(master + SHS_PAD_1 + MAGIC_RECEIVE + SHS_PAD_2).digest()[:16]


@given(bit=st.integers(0, 24 * 8 - 1))
def test_mschapv2_fails_when_any_bit_of_the_response_differs(bit):
    vector = VECTORS["mschapv2"][0]
    peer, authenticator = H(vector["peer_challenge"]), H(vector["authenticator_challenge"])
    response = flipped(H(vector["response"]), bit)
    assert crypto.verify_mschapv2(authenticator, peer, b"User", response, H(vector["password_hash"])) is None
    assert not crypto.verify_mschap(H(vector["challenge"]), response, H(vector["password_hash"]))


def test_mschapv2_fails_under_another_user_name():
    vector = VECTORS["mschapv2"][0]
    peer, authenticator = H(vector["peer_challenge"]), H(vector["authenticator_challenge"])
    response, password_hash = H(vector["response"]), H(vector["password_hash"])
    assert crypto.verify_mschapv2(authenticator, peer, b"User", response, password_hash)
    assert crypto.verify_mschapv2(authenticator, peer, b"user", response, password_hash) is None


@pytest.mark.parametrize("short", ["authenticator_challenge", "peer_challenge", "response", "password_hash"])
@pytest.mark.parametrize("change", [-1, 1])
def test_mschapv2_refuses_fields_of_another_length(short, change):
    lengths = {"authenticator_challenge": 16, "peer_challenge": 16, "response": 24, "password_hash": 16}
    lengths[short] += change
    fields = {name: bytes(length) for name, length in lengths.items()}
    with pytest.raises(ValueError, match=short):
        crypto.verify_mschapv2(user_name=b"u", **fields)


def test_mschap_refuses_fields_of_another_length():
    for challenge, response, password_hash in ((7, 24, 16), (8, 23, 16), (8, 24, 17)):
        with pytest.raises(ValueError, match="octets"):
            crypto.verify_mschap(bytes(challenge), bytes(response), bytes(password_hash))
    with pytest.raises(ValueError, match="challenge"):
        crypto.challenge_response(bytes(9), bytes(16))
    with pytest.raises(ValueError, match="peer_challenge"):
        crypto.challenge_hash(b"", bytes(16), b"u")
    with pytest.raises(ValueError, match="password_hash"):
        crypto.mschap_keys(bytes(15))


@given(st.text())
def test_nt_hash_takes_utf8_as_utf16(text):
    assert crypto.nt_hash(text.encode("utf-8", "replace")) == crypto.md4(
        text.encode("utf-8", "replace").decode().encode("utf-16-le")
    )


def test_nt_hash_takes_other_octets_as_latin1():
    assert crypto.nt_hash(b"caf\xe9") == crypto.nt_hash("café".encode())


def test_mschap_keys_hold_an_empty_lm_part_and_the_hash_of_the_hash():
    vector = VECTORS["mschapv2"][0]
    assert crypto.mschap_keys(H(vector["password_hash"])) == bytes(8) + H(vector["password_hash_hash"]) + bytes(8)


@given(st.integers(0, 255), st.binary(max_size=200), st.binary(max_size=64))
def test_chap_agrees_with_md5(identifier, password, challenge):
    response = hashlib.md5(bytes([identifier]) + password + challenge).digest()
    assert crypto.verify_chap(identifier, password, challenge, response)
    assert not crypto.verify_chap(identifier, password + b"x", challenge, response)
    assert not crypto.verify_chap(identifier, password, challenge, flipped(response, identifier % 128))


def test_chap_refuses_what_is_no_identifier_or_response():
    with pytest.raises(ValueError, match="identifier"):
        crypto.verify_chap(256, b"", b"", bytes(16))
    with pytest.raises(ValueError, match="response"):
        crypto.verify_chap(1, b"", b"", bytes(17))
    with pytest.raises(TypeError):
        crypto.verify_chap(1, None, b"", bytes(16))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_equal_is_equality(a, b):
    assert crypto.equal(a, b) == (a == b)
    assert crypto.equal(a, bytes(a))


@pytest.mark.parametrize(
    "hashed",
    [
        b"$5$abcdefgh$QohcF7QwIaa385DT5GzqHwNlO583.hkCNgp9Vkr/uNC",
        b"$6$abcdefgh$4UPJf3qf71iDb8DDBG5r.Jxy3OKpyf7on.yGTrfW2z7BZBicRPXkes.VuTPq3aS6gF63ohT6G9SJv9LejkZLu/",
        b"$1$abcdefgh$fzmjzFdo5nMtBG8gtud5e0",
    ],
)
def test_crypt_agrees_with_openssl(hashed):
    # Made with `openssl passwd -5|-6|-1 -salt abcdefgh 'Hello world!'`.
    assert crypto.crypt(b"Hello world!", hashed) == hashed
    assert crypto.crypt(b"Hello world", hashed) != hashed


def test_crypt_takes_a_whole_hash_as_setting():
    hashed = crypto.crypt(b"secret", b"$6$abcdefgh$")
    assert hashed is not None
    assert crypto.crypt(b"secret", hashed) == hashed
    assert crypto.crypt(b"Secret", hashed) != hashed


@pytest.mark.parametrize("setting", [b"", b"$", b"$zz$salt", b"*0", b"*", b"$6$a\0b$"])
def test_crypt_gives_none_for_a_setting_it_does_not_understand(setting):
    assert crypto.crypt(b"secret", setting) is None


def test_crypt_gives_none_for_a_password_that_c_would_cut_short():
    assert crypto.crypt(b"sec\0ret", b"$6$abcdefgh$") is None
