"""Does this proof match that stored verifier? Knows digests and password hashes; knows no packet, subscriber or store.

Security: secrets appear in no repr and in no exception text. Comparisons take the same time wherever they differ.
"""

import base64
import binascii
import enum
import hashlib
import re
from collections.abc import Callable
from functools import cache
from typing import Final

from argon2.exceptions import VerifyMismatchError
from argon2.low_level import Type as Argon2Type
from argon2.low_level import verify_secret as verify_argon2

from aaa.errors import AaaError
from aaa.limits import (
    ARGON2_LANES_COUNT_MAX,
    ARGON2_MEMORY_KIB_MAX,
    ARGON2_WORK_KIB_MAX,
    BCRYPT_COST_MAX,
    CRYPT_ROUNDS_COUNT_MAX,
    PASSWORD_HASH_CHARACTERS_MAX,
    PASSWORD_OCTETS_MAX,
    PBKDF2_ROUNDS_COUNT_MAX,
    YESCRYPT_MEMORY_KIB_MAX,
)
from aaa.model.entities import Password
from aaa.model.method import Method
from native import crypto
from native.crypto import equal
from native.crypto import verify_chap as chap_matches


class CredentialError(AaaError):
    """A pushed credential that cannot be used: `field` names it, the text says what is right, never what was sent."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class Scheme(enum.IntEnum):
    """How a verifier keeps its password. The numbers are stored: never reuse one."""

    CLEARTEXT = 0
    NT_HASH = 1
    CRYPT = 2
    """crypt(3), bcrypt among it."""
    ARGON2 = 3
    PBKDF2 = 4
    SSHA = 5


_CLEARTEXT: Final = 0
_NT_HASH: Final = 1
_CRYPT: Final = 2
_ARGON2: Final = 3
_PBKDF2: Final = 4
_SSHA: Final = 5


class Verifier:
    """What a password is checked against. Compiled and immutable: a million of them are held."""

    scheme: int
    """A `Scheme`; kept as a number, a million of them are held."""
    secret: bytes
    """CLEARTEXT: the password. NT_HASH: 16 octets. SSHA: digest, then salt, after an octet with the digest's length.
    Others: the hash text as it was pushed, checked."""

    def __init__(self, scheme: int, secret: bytes) -> None:
        self.scheme = scheme
        self.secret = secret

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Verifier) and self.scheme == other.scheme and self.secret == other.secret

    def __hash__(self) -> int:
        return hash((self.scheme, self.secret))

    def __repr__(self) -> str:
        return f"Verifier(scheme={Scheme(self.scheme).name}, secret=***)"

    def __rich_repr__(self) -> list[tuple[str, str]]:
        return [("scheme", Scheme(self.scheme).name), ("secret", "***")]


def from_password(password: Password) -> Verifier:
    """The verifier of a pushed password, which must have exactly one form.

    Raises CredentialError for a form that could never match, is malformed, or costs more than aaa/limits.py allows.
    """
    given = [field for field in _FORMS if getattr(password, field) is not None]
    if len(given) != 1:
        raise CredentialError(
            given[1] if given else "cleartext", f"give exactly one of {', '.join(_FORMS)}; {len(given)} given"
        )
    field = given[0]
    text: str = getattr(password, field)
    hashed = field != "cleartext"
    if hashed and (len(text) > PASSWORD_HASH_CHARACTERS_MAX or not text.isascii() or not text.isprintable()):
        raise CredentialError(field, f"a hash is at most {PASSWORD_HASH_CHARACTERS_MAX} printable ASCII characters")
    return _FORMS[field](text)


def is_slow(verifier: Verifier) -> bool:
    """Whether `verify_password` takes milliseconds and belongs in a thread; all such schemes run without the GIL."""
    scheme = verifier.scheme
    return _CRYPT <= scheme <= _PBKDF2


def supports(verifier: Verifier, method: int) -> bool:
    """Whether a proof by this `Method` can be checked against the verifier at all."""
    return _SUPPORTED[verifier.scheme] >> method & 1 == 1


def verify_password(verifier: Verifier, password: bytes) -> bool:
    """PAP: a password in clear, without its padding.

    Cost: up to about one CPU second where `is_slow`, in libcrypt, libargon2 or OpenSSL, each called without the GIL;
    under 2 µs otherwise.
    """
    scheme = verifier.scheme
    if scheme == _CLEARTEXT:
        return equal(verifier.secret, password)
    if len(password) > PASSWORD_OCTETS_MAX:
        return False
    if scheme == _NT_HASH:
        return equal(verifier.secret, crypto.nt_hash(password))
    if scheme == _SSHA:
        secret = verifier.secret
        size = secret[0]
        digest = _SSHA_DIGESTS[size](password + secret[size + 1 :]).digest()
        return equal(secret[1 : size + 1], digest)
    return _verify_slow(verifier, password)


def verify_chap(verifier: Verifier, identifier: int, challenge: bytes, response: bytes) -> bool:
    """CHAP with MD5 (RFC 1994, RFC 2865 §5.3): identifier 0..255, response 16 octets. False without CLEARTEXT."""
    return verifier.scheme == _CLEARTEXT and chap_matches(identifier, verifier.secret, challenge, response)


def password_hash(verifier: Verifier) -> bytes | None:
    """NT hash, 16 octets, from which MS-CHAP and its MPPE keys derive; None where the scheme cannot give it."""
    scheme = verifier.scheme
    if scheme == _CLEARTEXT:
        return crypto.nt_hash(verifier.secret)
    return verifier.secret if scheme == _NT_HASH else None


def verify_mschap(verifier: Verifier, challenge: bytes, response: bytes) -> bool:
    """MS-CHAPv1 NT response, 24 octets, to an 8-octet challenge (RFC 2433 §4). False without CLEARTEXT or NT_HASH."""
    hashed = password_hash(verifier)
    return hashed is not None and crypto.verify_mschap(challenge, response, hashed)


def verify_mschapv2(
    verifier: Verifier, authenticator_challenge: bytes, peer_challenge: bytes, user_name: bytes, response: bytes
) -> tuple[bytes, bytes, bytes] | None:
    """MS-CHAPv2 (RFC 2759 §8.7, RFC 3079 §3.4): challenges 16 octets each, response 24, user name without domain
    (`identity.mschapv2_user_name`).

    None on mismatch or without CLEARTEXT or NT_HASH; else (authenticator response digest, send key, receive key).
    """
    hashed = password_hash(verifier)
    if hashed is None:
        return None
    return crypto.verify_mschapv2(authenticator_challenge, peer_challenge, user_name, response, hashed)


def _methods(*methods: Method) -> int:
    return sum(1 << method for method in methods)


_SUPPORTED: Final = (
    _methods(Method.PAP, Method.CHAP, Method.MSCHAP, Method.MSCHAPV2),
    _methods(Method.PAP, Method.MSCHAP, Method.MSCHAPV2),
    _methods(Method.PAP),
    _methods(Method.PAP),
    _methods(Method.PAP),
    _methods(Method.PAP),
)
"""Bit per Method, by Scheme."""

_SSHA_DIGESTS: Final = {20: hashlib.sha1, 32: hashlib.sha256, 64: hashlib.sha512}
"""By digest length in octets."""
_SSHA_SIZES: Final = {"{SSHA}": 20, "{SSHA256}": 32, "{SSHA512}": 64}
_ARGON2_TYPES: Final = {"argon2id": Argon2Type.ID, "argon2i": Argon2Type.I, "argon2d": Argon2Type.D}
_PBKDF2_SIZES: Final = {"sha1": 20, "sha256": 32, "sha512": 64}


def _verify_slow(verifier: Verifier, password: bytes) -> bool:
    # HMAC pads its key with NULs and crypt(3) ends at one: neither would see a NUL behind the password.
    if 0 in password:
        return False
    if verifier.scheme == _CRYPT:
        hashed = crypto.crypt(password, verifier.secret)
        return hashed is not None and equal(verifier.secret, hashed)
    if verifier.scheme == _ARGON2:
        kind = verifier.secret[1 : verifier.secret.index(b"$", 1)].decode()
        try:
            return verify_argon2(verifier.secret, password, _ARGON2_TYPES[kind])
        except VerifyMismatchError:
            return False
    digest, rounds, salt, expected = _parse_pbkdf2(verifier.secret.decode())
    return equal(expected, hashlib.pbkdf2_hmac(digest, password, salt, rounds, len(expected)))


def _parse_cleartext(text: str) -> Verifier:
    try:
        secret = text.encode()
    except UnicodeEncodeError:
        secret = b""
    # RFC 2865 §5.2 pads User-Password with NUL, so one at the end could never be told from padding.
    if not 1 <= len(secret) <= PASSWORD_OCTETS_MAX or 0 in secret:
        raise CredentialError("cleartext", f"a password is 1 to {PASSWORD_OCTETS_MAX} octets of UTF-8 without NUL")
    return Verifier(_CLEARTEXT, secret)


def _parse_nt_hash(text: str) -> Verifier:
    if re.fullmatch("[0-9A-Fa-f]{32}", text) is None:
        raise CredentialError("nt_hash", "an NT hash is 32 hex digits")
    return Verifier(_NT_HASH, bytes.fromhex(text))


_SALT = "[./0-9A-Za-z]"
_CRYPT_FORMS: Final = (
    ("$1$", re.compile(rf"\$1\$[^$:]{{1,8}}\${_SALT}{{22}}"), "$1$a"),
    ("$5$", re.compile(rf"\$5\$(?:rounds=(\d{{1,9}})\$)?[^$:]{{1,16}}\${_SALT}{{43}}"), "$5$rounds=1000$a"),
    ("$6$", re.compile(rf"\$6\$(?:rounds=(\d{{1,9}})\$)?[^$:]{{1,16}}\${_SALT}{{86}}"), "$6$rounds=1000$a"),
    ("$y$", re.compile(rf"\$y\$j({_SALT})({_SALT})\${_SALT}{{1,86}}\${_SALT}{{43}}"), "$y$j75$abcdefgh"),
    ("$gy$", re.compile(rf"\$gy\$j({_SALT})({_SALT})\${_SALT}{{1,86}}\${_SALT}{{43}}"), "$gy$j75$abcdefgh"),
)
"""Prefix, form, and the cheapest setting to ask the system's libcrypt with."""
_BCRYPT: Final = re.compile(rf"\$2[abxy]\$(\d\d)\${_SALT}{{53}}")
_DES: Final = re.compile(rf"{_SALT}{{13}}")
_ITOA64: Final = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@cache
def _is_known_to_libcrypt(setting: str) -> bool:
    """A hash that the system cannot compute would be accepted here and then never match."""
    return crypto.crypt(b"a", setting.encode()) is not None


def _check_known(field: str, prefix: str, setting: str) -> None:
    if not _is_known_to_libcrypt(setting):
        raise CredentialError(field, f"this system's libcrypt does not know {prefix}; libxcrypt does")


def _parse_crypt(text: str) -> Verifier:
    if text.startswith("$2"):
        return _parse_bcrypt(text, "crypt")
    for prefix, form, cheapest in _CRYPT_FORMS:
        if not text.startswith(prefix):
            continue
        match = form.fullmatch(text)
        if match is None:
            raise CredentialError("crypt", f"malformed after {prefix}: expected the whole line that crypt(3) gave")
        _check_known("crypt", prefix, cheapest)
        if prefix in ("$5$", "$6$"):
            rounds = int(match[1]) if match[1] else 5000
            if not 1000 <= rounds <= CRYPT_ROUNDS_COUNT_MAX or (match[1] or "1").startswith("0"):
                raise CredentialError("crypt", f"rounds must be between 1000 and {CRYPT_ROUNDS_COUNT_MAX}")
        elif prefix in ("$y$", "$gy$"):
            # Both characters are numbers in crypt's base 64, counted from one: log2 of the blocks, and 128-octet units.
            kib = (_ITOA64.index(match[2]) + 1 << _ITOA64.index(match[1]) + 1) // 8
            if kib > YESCRYPT_MEMORY_KIB_MAX:
                raise CredentialError("crypt", f"yescrypt may use at most {YESCRYPT_MEMORY_KIB_MAX} KiB")
        return Verifier(_CRYPT, text.encode())
    if _DES.fullmatch(text) is None:
        raise CredentialError("crypt", "expected $1$, $2b$, $5$, $6$, $y$, $gy$ or 13 characters of DES")
    _check_known("crypt", "DES", "ab")
    return Verifier(_CRYPT, text.encode())


def _parse_bcrypt(text: str, field: str = "bcrypt") -> Verifier:
    match = _BCRYPT.fullmatch(text)
    if match is None:
        raise CredentialError(field, "expected $2b$ ($2a$, $2x$, $2y$), two digits of cost, $ and 53 characters")
    if not 4 <= int(match[1]) <= BCRYPT_COST_MAX:
        raise CredentialError(field, f"the cost must be between 04 and {BCRYPT_COST_MAX:02}")
    _check_known(field, text[:4], f"{text[:4]}04${'a' * 22}")
    return Verifier(_CRYPT, text.encode())


_ARGON2_FORM: Final = re.compile(
    r"\$(argon2id|argon2i|argon2d)(?:\$v=(?:16|19))?\$m=(\d{1,10}),t=(\d{1,10}),p=(\d{1,8})"
    r"\$([A-Za-z0-9+/]{11,64})\$([A-Za-z0-9+/]{16,86})"
)


def _parse_argon2(text: str) -> Verifier:
    match = _ARGON2_FORM.fullmatch(text)
    if match is None:
        raise CredentialError("argon2", "expected a PHC string: $argon2id$v=19$m=65536,t=3,p=4$salt$hash")
    memory_kib, passes, lanes = int(match[2]), int(match[3]), int(match[4])
    if not 1 <= lanes <= ARGON2_LANES_COUNT_MAX:
        raise CredentialError("argon2", f"p must be between 1 and {ARGON2_LANES_COUNT_MAX}")
    if not 8 * lanes <= memory_kib <= ARGON2_MEMORY_KIB_MAX:
        raise CredentialError("argon2", f"m must be between 8 times p and {ARGON2_MEMORY_KIB_MAX} KiB")
    if not 1 <= passes <= ARGON2_WORK_KIB_MAX // memory_kib:
        raise CredentialError("argon2", f"t must be at least 1, and m times t at most {ARGON2_WORK_KIB_MAX} KiB")
    for part in (match[5], match[6]):
        if _decode_base64(part) is None:
            raise CredentialError("argon2", "salt and hash must be base64 without padding")
    return Verifier(_ARGON2, text.encode())


def _decode_base64(text: str) -> bytes | None:
    """Octets of base64 with or without padding; None unless the text is exactly what an encoder writes."""
    bare = text.rstrip("=")
    try:
        data = base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except binascii.Error:
        return None
    return data if base64.b64encode(data).decode().rstrip("=") == bare else None


_DJANGO: Final = re.compile(r"pbkdf2_(sha1|sha256|sha512)\$(\d{1,10})\$([^$]{1,128})\$([A-Za-z0-9+/]+={0,2})")
_PASSLIB: Final = re.compile(r"\$pbkdf2(|-sha256|-sha512)\$(\d{1,10})\$([A-Za-z0-9./]{1,172})\$([A-Za-z0-9./]+)")


def _parse_pbkdf2(text: str) -> tuple[str, int, bytes, bytes]:
    """Digest name, rounds, salt, derived key of Django's form (salt as text) or passlib's ("." for "+" in base64)."""
    if match := _DJANGO.fullmatch(text):
        digest = match[1]
        salt: bytes | None = match[3].encode()
        key = _decode_base64(match[4])
    elif match := _PASSLIB.fullmatch(text):
        digest = match[1][1:] or "sha1"
        salt = _decode_base64(match[3].replace(".", "+"))
        key = _decode_base64(match[4].replace(".", "+"))
    else:
        raise CredentialError("pbkdf2", "expected pbkdf2_sha256$rounds$salt$base64 or $pbkdf2-sha256$rounds$salt$hash")
    rounds = int(match[2])
    if not 1 <= rounds <= PBKDF2_ROUNDS_COUNT_MAX:
        raise CredentialError("pbkdf2", f"rounds must be between 1 and {PBKDF2_ROUNDS_COUNT_MAX}")
    # A key longer than the digest would cost all rounds again for each further part.
    if not salt or key is None or not 16 <= len(key) <= _PBKDF2_SIZES[digest]:
        raise CredentialError("pbkdf2", f"expected base64 of 16 to {_PBKDF2_SIZES[digest]} octets for {digest}")
    return digest, rounds, salt, key


def _check_pbkdf2(text: str) -> Verifier:
    _parse_pbkdf2(text)
    return Verifier(_PBKDF2, text.encode())


def _parse_ssha(text: str) -> Verifier:
    label, brace, encoded = text.partition("}")
    size = _SSHA_SIZES.get(label.upper() + brace)
    if size is None:
        raise CredentialError("ssha", "expected {SSHA}, {SSHA256} or {SSHA512} and base64")
    data = _decode_base64(encoded)
    if data is None or len(data) <= size:
        raise CredentialError("ssha", f"expected base64 of {size} octets of digest and at least one of salt")
    return Verifier(_SSHA, bytes([size]) + data)


_FORMS: Final[dict[str, Callable[[str], Verifier]]] = {
    "cleartext": _parse_cleartext,
    "nt_hash": _parse_nt_hash,
    "crypt": _parse_crypt,
    "bcrypt": _parse_bcrypt,
    "argon2": _parse_argon2,
    "pbkdf2": _check_pbkdf2,
    "ssha": _parse_ssha,
}
"""Fields of a Password that hold a form of it."""
