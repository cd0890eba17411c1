"""Spellings of an identity: MACs, circuits, user names. Knows octets as a NAS sends them; knows no packet, no index.

Nothing from the wire is taken for UTF-8.
"""

import enum
from binascii import Error as HexError
from binascii import unhexlify

from msgspec import Struct

from aaa.credential.verifier import CredentialError
from aaa.limits import CIRCUIT_OCTETS_MAX


def normalize_mac(text: bytes) -> bytes | None:
    """The six octets of a MAC in any usual spelling, either case; None when the text is none.

    `AA:BB:CC:DD:EE:FF`, `AA-BB-CC-DD-EE-FF` (RFC 3580), dots likewise, `aabb.ccdd.eeff`, `aabb-ccdd-eeff`,
    `aabb:ccdd:eeff`, `aabbcc-ddeeff`, `aabbccddeeff`; NULs and blanks behind it are ignored.
    Cost: under 0.5 µs, MAC or not.
    """
    size = len(text)
    if size > 17 or (size > 11 and text[-1] <= 32):
        text = text.rstrip(b"\0 ")
        size = len(text)
    if size == 17:
        if text[2::3] not in _FIVE_SEPARATORS:
            return None
        text = text.translate(None, text[2:3])
    elif size == 14:
        if text[4::5] not in _TWO_SEPARATORS:
            return None
        text = text.translate(None, text[4:5])
    elif size == 13:
        if text[6] != 45:
            return None
        text = text.translate(None, b"-")
    elif size != 12:
        return None
    # A separator that stands elsewhere too leaves fewer than 12 digits.
    if len(text) != 12:
        return None
    try:
        return unhexlify(text)
    except HexError:
        return None


_FIVE_SEPARATORS = frozenset((b":::::", b"-----", b"....."))
_TWO_SEPARATORS = frozenset((b"..", b"--", b"::"))


def parse_mac(text: str, field: str = "mac") -> bytes:
    """Six octets of a pushed MAC. Raises CredentialError naming `field`."""
    mac = normalize_mac(text.encode("utf-8", "replace"))
    if mac is None:
        raise CredentialError(field, "expected six octets in hex, like 02-00-00-00-00-01")
    return mac


class MacStyle(enum.IntEnum):
    """Spellings of a MAC."""

    HYPHEN_UPPER = 0
    """RFC 3580, hostapd."""
    COLON_UPPER = 1
    """MikroTik."""
    PLAIN_LOWER = 2
    DOT_LOWER = 3
    """aabb.ccdd.eeff: Cisco, Juniper."""
    COLON_LOWER = 4
    """accel-ppp."""
    QUAD_LOWER = 5
    """aabb-ccdd-eeff: Huawei, H3C."""
    HYPHEN_LOWER = 6
    PLAIN_UPPER = 7
    DOT_UPPER = 8
    QUAD_UPPER = 9
    HALF_LOWER = 10
    """aabbcc-ddeeff: HP."""
    HALF_UPPER = 11


_SEPARATORS = (
    *(("-", 1), (":", 1), ("", 1), (".", 2), (":", 1), ("-", 2)),
    *(("-", 1), ("", 1), (".", 2), ("-", 2), ("-", 3), ("-", 3)),
)
"""Separator and octets between two of it, by MacStyle."""
_UPPER = frozenset(style for style in MacStyle if style.name.endswith("UPPER"))


def format_mac(mac: bytes, style: int = MacStyle.HYPHEN_UPPER) -> str:
    """Six octets in a `MacStyle`."""
    separator, group = _SEPARATORS[style]
    text = mac.hex(separator, group) if separator else mac.hex()
    return text.upper() if style in _UPPER else text


def mac_passwords(mac: bytes) -> tuple[bytes, ...]:
    """Every spelling of the MAC, common ones first: what a NAS may have used as the password of a CHAP proof.

    Try the User-Name as it was sent before these: it is nearly always that.
    """
    return tuple(format_mac(mac, style).encode() for style in MacStyle)


def is_mac_password(mac: bytes, password: bytes) -> bool:
    """Whether a PAP password is the MAC itself, in any usual spelling. No secret: the MAC is in the request."""
    return normalize_mac(password) == mac


def parse_circuit(text: str, field: str = "circuit_id") -> bytes:
    """Octets of a pushed circuit or remote id: hex behind "0x", UTF-8 otherwise.

    Raises CredentialError naming `field` for odd or other digits, an empty id, or one that no attribute can carry.
    """
    try:
        octets = bytes.fromhex(text[2:]) if text[:2] in ("0x", "0X") else text.encode()
    except ValueError:
        octets = b""
    if not 1 <= len(octets) <= CIRCUIT_OCTETS_MAX:
        raise CredentialError(field, f"expected 1 to {CIRCUIT_OCTETS_MAX} octets, as text or as 0x and hex digits")
    return octets


def show_circuit(octets: bytes) -> str:
    """The text that `parse_circuit` reads back: as it is where that is printable, else "0x" and hex."""
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        return "0x" + octets.hex()
    return text if text.isprintable() and text[:2] not in ("0x", "0X") else "0x" + octets.hex()


def circuit_key(circuit_id: bytes | None, remote_id: bytes | None) -> bytes | None:
    """Index key of a line by its Agent-Circuit-Id, Agent-Remote-Id or both; None without any (empty counts as absent).

    No two different pairs share a key. A credential that names one part is found under that part alone: ask for
    (circuit, remote), then (circuit, None), then (None, remote).
    """
    circuit = circuit_id or b""
    remote = remote_id or b""
    if not circuit and not remote:
        return None
    return len(circuit).to_bytes(2, "big") + circuit + remote


class NameRules(Struct, frozen=True):
    """How user names on the wire may differ from those that were pushed."""

    lower: bool = False
    """Letters count without their case; names are kept in lower case then."""
    trim: bool = True
    """Blanks and NULs around a name do not count."""
    realms: tuple[bytes, ...] = ()
    """Realms, in lower case, that may stand behind or before a name."""

    def fold(self, name: bytes) -> bytes:
        """A pushed name as it is indexed."""
        return name.lower() if self.lower else name

    def is_exact(self, name: bytes) -> bool:
        """Whether only the name as it stands can be meant."""
        return not (self.lower or self.realms or (self.trim and name and (name[-1] <= 32 or name[0] <= 32)))

    def candidates(self, name: bytes) -> tuple[bytes, ...]:
        """Indexed names that a name on the wire may mean, in order."""
        if self.trim:
            name = name.strip(b"\0 ")
        name = self.fold(name)
        user, realm = split_realm(name) if self.realms else (name, b"")
        return (name, user) if realm and realm.lower() in self.realms else (name,)


def split_realm(name: bytes) -> tuple[bytes, bytes]:
    r"""(user, realm) of `user@realm` or `REALM\user`; realm is b"" where there is none.

    The last "@" and the first backslash count; with both, the realm behind "@" is meant and the prefix stays.
    Source: RFC 7542 §2.2 for "@".
    """
    user, at, realm = name.rpartition(b"@")
    if at:
        return user, realm
    realm, backslash, user = name.partition(b"\\")
    return (user, realm) if backslash else (name, b"")


def mschapv2_user_name(name: bytes) -> bytes:
    """The user name that an MS-CHAPv2 response is computed over: without a `DOMAIN\\` in front (RFC 2759 §4)."""
    return name[name.find(b"\\") + 1 :]
