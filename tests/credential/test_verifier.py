import base64
import hashlib
import io

import pytest
from argon2.low_level import Type, hash_secret
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from aaa.credential.mschap import MsChapError, format_mschap_error
from aaa.credential.verifier import (
    CredentialError,
    Scheme,
    Verifier,
    from_password,
    is_slow,
    password_hash,
    supports,
    verify_chap,
    verify_mschap,
    verify_mschapv2,
    verify_password,
)
from aaa.limits import PASSWORD_OCTETS_MAX
from aaa.model.entities import Password
from aaa.model.method import Method
from native import crypto

# Drepper, "Unix crypt using SHA-256 and SHA-512", test table.
SHA256_CRYPT = "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"
SHA512_CRYPT = "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
# crypt_blowfish 1.3, wrapper.c, test table.
BCRYPT = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
# phc-winner-argon2, src/test.c, version 0x13, t=2, m=2^8.
ARGON2I = "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xBT63UP2sghkUoHLIUpWRS8"
# RFC 6070 §2, 4096 iterations, in passlib's spelling.
PBKDF2_SHA1_KEY = bytes.fromhex("4b007901b765489abead49d926f721d065a429c1")
PBKDF2_SHA1 = "$pbkdf2$4096$c2FsdA$" + base64.b64encode(PBKDF2_SHA1_KEY).decode().rstrip("=").replace("+", ".")


def ssha(label: str, name: str, password: bytes, salt: bytes) -> str:
    digest = hashlib.new(name, password + salt).digest()
    return f"{{{label}}}" + base64.b64encode(digest + salt).decode()


def django(name: str, password: bytes, salt: str, rounds: int) -> str:
    key = hashlib.pbkdf2_hmac(name, password, salt.encode(), rounds)
    return f"pbkdf2_{name}${rounds}${salt}${base64.b64encode(key).decode()}"


MATCHING = [
    ("cleartext", "wonderland", b"wonderland", Scheme.CLEARTEXT),
    ("cleartext", "grüße", "grüße".encode(), Scheme.CLEARTEXT),
    # RFC 2759 §9.2 and RFC 2433 B.2.
    ("nt_hash", "44EBBA8D5312B8D611474411F56989AE", b"clientPass", Scheme.NT_HASH),
    ("nt_hash", "fc156af7edcd6c0edde3337d427f4eac", b"MyPw", Scheme.NT_HASH),
    ("crypt", SHA256_CRYPT, b"Hello world!", Scheme.CRYPT),
    ("crypt", SHA512_CRYPT, b"Hello world!", Scheme.CRYPT),
    ("crypt", BCRYPT, b"U*U", Scheme.CRYPT),
    ("bcrypt", BCRYPT, b"U*U", Scheme.CRYPT),
    ("bcrypt", BCRYPT.replace("$2a$", "$2b$"), b"U*U", Scheme.CRYPT),
    ("bcrypt", BCRYPT.replace("$2a$", "$2y$"), b"U*U", Scheme.CRYPT),
    ("argon2", ARGON2I, b"password", Scheme.ARGON2),
    ("argon2", hash_secret(b"pw", b"saltsalt", 1, 64, 2, 32, Type.ID).decode(), b"pw", Scheme.ARGON2),
    ("argon2", hash_secret(b"pw", b"saltsalt", 1, 64, 1, 16, Type.D).decode(), b"pw", Scheme.ARGON2),
    ("pbkdf2", PBKDF2_SHA1, b"password", Scheme.PBKDF2),
    ("pbkdf2", django("sha256", b"pw", "NaCl", 1000), b"pw", Scheme.PBKDF2),
    ("pbkdf2", django("sha512", b"pw", "NaCl", 1000), b"pw", Scheme.PBKDF2),
    ("ssha", ssha("SSHA", "sha1", b"pw", b"salt"), b"pw", Scheme.SSHA),
    ("ssha", ssha("ssha256", "sha256", b"pw", b"0123456789abcdef"), b"pw", Scheme.SSHA),
    ("ssha", ssha("SSHA512", "sha512", b"pw", b"s"), b"pw", Scheme.SSHA),
]


@pytest.mark.parametrize(("field", "text", "password", "scheme"), MATCHING)
def test_right_password_matches_and_others_do_not(field: str, text: str, password: bytes, scheme: Scheme) -> None:
    verifier = from_password(Password("u", **{field: text}))
    assert verifier.scheme == scheme
    assert verify_password(verifier, password) is True
    for wrong in (b"", password + b"x", password[:-1], password + b"\0", password.swapcase(), b"\xff" * 300):
        assert verify_password(verifier, wrong) is False


@pytest.mark.parametrize("prefix", ["$1$abcdefgh", "$5$rounds=1000$ab", "$y$j75$abcdefgh", "$gy$j75$abcdefgh", "ab"])
def test_whatever_libcrypt_makes_is_taken_and_matches(prefix: str) -> None:
    hashed = crypto.crypt(b"secret", prefix.encode())
    assert hashed is not None
    verifier = from_password(Password("u", crypt=hashed.decode()))
    assert verify_password(verifier, b"secret")
    assert not verify_password(verifier, b"public")


LONG = "A" * 600
REFUSED = [
    ("cleartext", ""),
    ("cleartext", "a\0b"),
    ("cleartext", "\ud800"),
    ("cleartext", "x" * (PASSWORD_OCTETS_MAX + 1)),
    ("nt_hash", ""),
    ("nt_hash", "44EBBA8D5312B8D611474411F56989A"),
    ("nt_hash", "44EBBA8D5312B8D611474411F56989AG"),
    ("nt_hash", "44 BBA8D5312B8D611474411F56989AE"),
    ("crypt", ""),
    ("crypt", "plain password"),
    ("crypt", "$9$salt$whatever"),
    ("crypt", SHA256_CRYPT[:-1]),
    ("crypt", SHA512_CRYPT + "a"),
    ("crypt", SHA512_CRYPT + "\n"),
    ("crypt", SHA256_CRYPT.replace("$5$", "$5$rounds=999$")),
    ("crypt", SHA256_CRYPT.replace("$5$", "$5$rounds=01000$")),
    ("crypt", SHA256_CRYPT.replace("$5$", "$5$rounds=1000001$")),
    ("crypt", SHA512_CRYPT.replace("$6$", "$6$rounds=999999999$")),
    ("crypt", "$y$jF5$abcdefgh$" + "a" * 43),
    ("crypt", "$y$jzz$abcdefgh$" + "a" * 43),
    ("crypt", BCRYPT.replace("$05$", "$14$")),
    ("bcrypt", BCRYPT.replace("$05$", "$31$")),
    ("bcrypt", BCRYPT.replace("$05$", "$03$")),
    ("bcrypt", BCRYPT.replace("$2a$", "$2c$")),
    ("bcrypt", BCRYPT[:-1]),
    ("bcrypt", SHA256_CRYPT),
    ("argon2", "$argon2x$v=19$m=256,t=2,p=1$c29tZXNhbHQ$iekCn0Y3spW+sCcFanM2xA"),
    ("argon2", ARGON2I.replace("m=256", "m=131073")),
    ("argon2", ARGON2I.replace("m=256", "m=7")),
    ("argon2", ARGON2I.replace("t=2", "t=0")),
    ("argon2", ARGON2I.replace("m=256,t=2", "m=131072,t=5")),
    ("argon2", ARGON2I.replace("p=1", "p=9")),
    ("argon2", ARGON2I.replace("p=1", "p=0")),
    ("argon2", ARGON2I.replace("c29tZXNhbHQ", "c29t")),
    ("argon2", ARGON2I + "="),
    ("argon2", ARGON2I[:-1] + "9"),
    ("pbkdf2", PBKDF2_SHA1.replace("4096", "0")),
    ("pbkdf2", PBKDF2_SHA1.replace("4096", "2000001")),
    ("pbkdf2", PBKDF2_SHA1[:-1]),
    ("pbkdf2", "pbkdf2_md5$1000$salt$" + "A" * 32),
    ("pbkdf2", "pbkdf2_sha256$1000$salt$" + "A" * 100),
    ("pbkdf2", "pbkdf2_sha256$1000$salt$AAAA"),
    ("pbkdf2", "pbkdf2_sha256$1000$$" + "A" * 43 + "="),
    ("ssha", "{SHA}" + "A" * 28),
    ("ssha", "{SSHA}" + base64.b64encode(bytes(20)).decode()),
    ("ssha", "{SSHA}" + "*" * 32),
    ("ssha", "{SSHA256}" + base64.b64encode(bytes(24)).decode()),
    ("ssha", "AAAA"),
    *((field, LONG) for field in ("nt_hash", "crypt", "bcrypt", "argon2", "pbkdf2", "ssha")),
]


@pytest.mark.parametrize(("field", "text"), REFUSED)
def test_form_that_is_malformed_or_too_costly_is_refused_without_being_shown(field: str, text: str) -> None:
    with pytest.raises(CredentialError) as caught:
        from_password(Password("u", **{field: text}))
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert len(text) < 8 or text not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("form", ["nt_hash", "crypt", "bcrypt", "argon2", "pbkdf2", "ssha"])
@given(text=st.text(max_size=120))
def test_arbitrary_text_is_refused_and_never_breaks_a_parser(form: str, text: str) -> None:
    with pytest.raises(CredentialError):
        from_password(Password("u", **{form: "$" + text}))


def test_exactly_one_form_is_wanted() -> None:
    with pytest.raises(CredentialError, match="exactly one"):
        from_password(Password("u"))
    with pytest.raises(CredentialError, match="exactly one") as caught:
        from_password(Password("u", cleartext="secret-a", nt_hash="0" * 32))
    assert caught.value.field == "nt_hash"
    assert "secret-a" not in str(caught.value)


def test_verifier_never_shows_its_secret() -> None:
    verifier = from_password(Password("u", cleartext="wonderland"))
    shown = io.StringIO()
    Console(file=shown).print(verifier)
    for text in (repr(verifier), str(verifier), shown.getvalue()):
        assert "wonderland" not in text
        assert "CLEARTEXT" in text


def test_verifier_made_again_from_its_stored_parts_is_equal() -> None:
    verifier = from_password(Password("u", ssha=ssha("SSHA", "sha1", b"pw", b"salt")))
    again = Verifier(verifier.scheme, verifier.secret)
    assert again == verifier
    assert hash(again) == hash(verifier)
    assert again != Verifier(Scheme.CRYPT, verifier.secret)


def test_each_scheme_says_which_proofs_it_can_check() -> None:
    pap = {Method.PAP}
    wanted = {
        Scheme.CLEARTEXT: {Method.PAP, Method.CHAP, Method.MSCHAP, Method.MSCHAPV2},
        Scheme.NT_HASH: {Method.PAP, Method.MSCHAP, Method.MSCHAPV2},
        Scheme.CRYPT: pap,
        Scheme.ARGON2: pap,
        Scheme.PBKDF2: pap,
        Scheme.SSHA: pap,
    }
    assert set(wanted) == set(Scheme)
    for scheme, methods in wanted.items():
        verifier = Verifier(scheme, b"")
        assert {method for method in Method if supports(verifier, method)} == methods
        assert is_slow(verifier) == (scheme in (Scheme.CRYPT, Scheme.ARGON2, Scheme.PBKDF2))


def test_chap_is_md5_over_identifier_password_and_challenge() -> None:
    verifier = from_password(Password("u", cleartext="wonderland"))
    challenge = bytes(range(16))
    response = hashlib.md5(b"\x07" + b"wonderland" + challenge).digest()
    assert verify_chap(verifier, 7, challenge, response)
    assert not verify_chap(verifier, 8, challenge, response)
    assert not verify_chap(verifier, 7, challenge[1:], response)
    assert not verify_chap(Verifier(Scheme.NT_HASH, bytes(16)), 7, challenge, response)


AUTHENTICATOR_CHALLENGE = bytes.fromhex("5B5D7C7D7B3F2F3E3C2C602132262628")
PEER_CHALLENGE = bytes.fromhex("21402324255E262A28295F2B3A337C7E")
NT_RESPONSE = bytes.fromhex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")


@pytest.mark.parametrize("form", [{"cleartext": "clientPass"}, {"nt_hash": "44EBBA8D5312B8D611474411F56989AE"}])
def test_mschapv2_as_printed_in_rfc_2759(form: dict[str, str]) -> None:
    verifier = from_password(Password("User", **form))
    proof = verify_mschapv2(verifier, AUTHENTICATOR_CHALLENGE, PEER_CHALLENGE, b"User", NT_RESPONSE)
    assert proof is not None
    assert proof[0].hex().upper() == "407A5589115FD0D6209F510FE9C04566932CDA56"
    assert verify_mschapv2(verifier, AUTHENTICATOR_CHALLENGE, PEER_CHALLENGE, b"user", NT_RESPONSE) is None
    assert verify_mschapv2(verifier, AUTHENTICATOR_CHALLENGE, PEER_CHALLENGE, b"User", NT_RESPONSE[:-1] + b"\0") is None


def test_mschap_as_printed_in_rfc_2433() -> None:
    challenge = bytes.fromhex("102DB5DF085D3041")
    response = bytes.fromhex("4E9D3C8F9CFD385D5BF4D3246791956CA4C351AB409A3D61")
    verifier = from_password(Password("u", cleartext="MyPw"))
    assert verify_mschap(verifier, challenge, response)
    assert not verify_mschap(verifier, challenge, response[::-1])
    assert password_hash(verifier) == bytes.fromhex("FC156AF7EDCD6C0EDDE3337D427F4EAC")


@pytest.mark.parametrize("form", [{"crypt": SHA256_CRYPT}, {"argon2": ARGON2I}, {"pbkdf2": PBKDF2_SHA1}])
def test_challenge_proof_against_a_hash_fails(form: dict[str, str]) -> None:
    verifier = from_password(Password("u", **form))
    assert password_hash(verifier) is None
    assert not verify_chap(verifier, 1, bytes(16), bytes(16))
    assert not verify_mschap(verifier, bytes(8), bytes(24))
    assert verify_mschapv2(verifier, bytes(16), bytes(16), b"u", bytes(24)) is None


def test_mschap_error_text() -> None:
    challenge = bytes(range(16))
    assert format_mschap_error(MsChapError.PASSWD_EXPIRED, challenge, message="Password expired") == (
        b"E=648 R=0 C=000102030405060708090A0B0C0D0E0F V=3 M=Password expired"
    )
    assert format_mschap_error(MsChapError.AUTHENTICATION_FAILURE, bytes(8), retry=True, message="no") == (
        b"E=691 R=1 C=0000000000000000 V=2"
    )
    with pytest.raises(ValueError, match="8 or 16"):
        format_mschap_error(MsChapError.AUTHENTICATION_FAILURE, bytes(15))


def test_mschap_error_message_is_cut_between_characters() -> None:
    text = format_mschap_error(MsChapError.ACCT_DISABLED, bytes(16), message="ü" * 300)
    assert 244 < len(text) <= 246
    assert text.decode().endswith("ü")
