"""One attribute as a dictionary defines it, and its value between text and octets (RFC 8044).

Knows types; knows neither names of other attributes nor the attribute's header.
"""

import ipaddress
import re
import struct
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from types import MappingProxyType
from typing import Final

from msgspec import Struct
from pyrad.tools import EncodeAscendBinary

from aaa.dictionary.suggest import closest

INTEGER_SIZES: Final = {"byte": 1, "bool": 1, "short": 2, "integer": 4, "signed": 4, "date": 4, "integer64": 8}
"""Octets of the types that carry one number."""

FIXED_SIZES: Final = INTEGER_SIZES | {"ipaddr": 4, "ipv6addr": 16, "ipv4prefix": 6, "ifid": 8, "ether": 6}
CONTAINERS: Final = frozenset({"vsa", "evs", "extended", "long-extended"})
TAG_MAX: Final = 0x1F
_NO_VALUES: Final[Mapping[str, int]] = MappingProxyType({})

_SECRET_NAME = re.compile(
    r"password|passwd|passphrase|secret|psk|chap|eap-message|digest-response|keys?$|-pw", re.IGNORECASE
)
_OPEN_NAME = re.compile(r"^MS-CHAP-(Error|Domain)$", re.I)
_SECRET_PAIR = re.compile(r"^([^=]*(?:password|passwd|passphrase|secret|psk|key)[^=]*)=", re.I)


class Attribute(Struct, frozen=True, dict=True):
    """One ATTRIBUTE line and its VALUEs."""

    name: str
    path: tuple[int, ...]
    """Numbers from the outside in: (1,), (26, vendor, n), (241, n), (241, 26, vendor, n); then TLV members."""
    type: str
    """Type name of the FreeRADIUS file format; RFC 8044 names are folded into it."""
    has_tag: bool = False
    """Carries an RFC 2868 tag."""
    encrypt: int = 0
    """1 User-Password (RFC 2865 §5.2), 2 Tunnel-Password (RFC 2868 §3.5), 3 Ascend-Send-Secret; 0 in clear."""
    concat: bool = False
    """A value over 253 octets is split over several attributes."""
    array: bool = False
    """One attribute may hold several values behind each other."""
    virtual: bool = False
    """Never on the wire."""
    secret: bool = False
    size: int | None = None
    """Exact octets of octets[N]."""
    values: Mapping[str, int] = _NO_VALUES
    """VALUE names in the spelling of the file."""

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """VALUE names in lower case -> number."""
        return {name.lower(): number for name, number in self.values.items()}

    @cached_property
    def names(self) -> Mapping[int, str]:
        """Number -> VALUE name; the last definition wins."""
        return {number: name for name, number in self.values.items()}

    @cached_property
    def is_secret(self) -> bool:
        """Whether logs and traces show *** instead of the value."""
        if self.encrypt or self.secret:
            return True
        textual = self.type in ("string", "octets", "tlv", "abinary")
        return textual and bool(_SECRET_NAME.search(self.name)) and not _OPEN_NAME.match(self.name)

    def pack(self, value: str | int | bytes, tag: int | None = None) -> bytes:
        """Value octets, with the tag where the attribute has one; no header, no encryption.

        value: text is read by the attribute's type (a VALUE name, an address, a prefix, 0x hex for octets, ISO 8601
        or epoch seconds for a date); a number is a number; bytes are taken as they are, in the type's length.
        tag: 0..31. Without one, a string goes untagged and a number gets tag 0 (RFC 2868 §3.1).
        Raises ValueError, naming the attribute, for a value that is not of the type and a tag that does not belong.
        """
        if self.type in CONTAINERS:
            raise ValueError(f"{self.name}: type {self.type} only holds other attributes; name one of those")
        octets = self._checked(value) if isinstance(value, bytes) else self._pack(value)
        if not self.has_tag:
            if tag is not None:
                raise ValueError(f"{self.name}: takes no tag")
            return octets
        if tag is not None and not 0 <= tag <= TAG_MAX:
            raise ValueError(f"{self.name}: tag {tag} is outside 0..{TAG_MAX}")
        if self.type == "integer":
            if octets[0]:
                raise ValueError(f"{self.name}: a tagged number has 24 bits, {value!r} does not fit")
            return bytes([tag or 0]) + octets[1:]
        if tag is None and octets[:1] > b"\x1f":
            return octets
        return bytes([tag or 0]) + octets

    def split_tag(self, octets: bytes) -> tuple[int | None, bytes]:
        """Tag (None: there is none) and value octets without it (RFC 2868 §3.1)."""
        if not self.has_tag or not octets:
            return None, octets
        if self.type == "integer" and len(octets) == 4:
            return octets[0], b"\0" + octets[1:]
        if octets[0] <= TAG_MAX:
            return octets[0], octets[1:]
        return None, octets

    def show(self, octets: bytes) -> str:
        """Value octets without tag as text that pack() reads back; 0x hex where they are not of the type."""
        hexadecimal = "0x" + octets.hex()
        if self.type == "string":
            return _show_text(octets) if _is_text(octets) else hexadecimal
        if self.type in INTEGER_SIZES:
            if len(octets) != INTEGER_SIZES[self.type]:
                return hexadecimal
            number = int.from_bytes(octets, "big", signed=self.type == "signed")
            if self.type == "date":
                return datetime.fromtimestamp(number, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return self.names.get(number) or str(number)
        return _show_structured(self.type, octets) or hexadecimal

    def _checked(self, octets: bytes) -> bytes:
        size = self.size or FIXED_SIZES.get(self.type)
        if size is not None and len(octets) != size:
            raise ValueError(f"{self.name}: {self.type} is {size} octets, not {len(octets)}")
        if self.type == "combo-ip" and len(octets) not in (4, 16):
            raise ValueError(f"{self.name}: combo-ip is 4 or 16 octets, not {len(octets)}")
        if self.type == "ipv6prefix" and not 2 <= len(octets) <= 18:
            raise ValueError(f"{self.name}: ipv6prefix is 2 to 18 octets, not {len(octets)}")
        return octets

    def _pack(self, value: str | int) -> bytes:
        try:
            if self.type in INTEGER_SIZES:
                number = value if isinstance(value, int) else self._parse_number(value)
                return number.to_bytes(INTEGER_SIZES[self.type], "big", signed=self.type == "signed")
            text = str(value)
            if self.type == "string":
                return text.encode()
            if self.type in ("octets", "tlv") or (self.type == "abinary" and text[:2] in ("0x", "0X")):
                raw = bytes.fromhex(text[2:]) if text[:2] in ("0x", "0X") else text.encode()
                return self._checked(raw)
            if self.type == "abinary":
                return bytes(EncodeAscendBinary(text))
            return _pack_structured(self.type, text)
        except OverflowError:
            raise ValueError(f"{self.name}: {value} does not fit {self.type}") from None
        except ValueError as error:
            if str(error).startswith(self.name):
                raise
            raise ValueError(f"{self.name}: {value!r} is not of type {self.type}: {error}") from None
        except (KeyError, IndexError, TypeError, struct.error):
            raise ValueError(f"{self.name}: {value!r} is not of type {self.type}") from None

    def _parse_number(self, text: str) -> int:
        named = self.numbers.get(text.strip().lower())
        if named is not None:
            return named
        try:
            return int(text, 0) if text.strip().lower().startswith("0x") else int(text)
        except ValueError:
            pass
        if self.type == "date":
            return _parse_date(text)
        if self.type == "bool" and text.lower() in ("yes", "no", "true", "false"):
            return int(text.lower() in ("yes", "true"))
        near = closest(text, self.values)
        hint = f"; did you mean {near}?" if near else ""
        kind = "a number or one of its names" if self.values else "a number"
        raise ValueError(f"{self.name}: {text!r} is not {kind}{hint}")


def mask_pair(text: str) -> str:
    """`key=value` with the value hidden where the key speaks of a secret (Cisco-AVPair "psk=...")."""
    found = _SECRET_PAIR.match(text)
    return f"{found[1]}=***" if found else text


def _is_text(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _show_text(octets: bytes) -> str:
    # Control characters would let a subscriber's name write into an operator's terminal or log.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in octets.decode())


def _parse_date(text: str) -> int:
    for form in ("%b %d %Y %H:%M:%S %Z", "%b %d %Y %H:%M:%S", "%b %d %Y"):
        try:
            return int(datetime.strptime(text.strip(), form).replace(tzinfo=UTC).timestamp())
        except ValueError:
            continue
    moment = datetime.fromisoformat(text.strip())
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _pack_structured(kind: str, text: str) -> bytes:
    match kind:
        case "ipaddr":
            return ipaddress.IPv4Address(text).packed
        case "ipv6addr":
            return ipaddress.IPv6Address(text).packed
        case "combo-ip":
            return ipaddress.ip_address(text).packed
        case "ipv4prefix":
            network4 = ipaddress.IPv4Network(text)
            return bytes([0, network4.prefixlen]) + network4.network_address.packed
        case "ipv6prefix":
            # All 16 octets, though fewer are allowed (RFC 3162 §2.3): NASes are used to the whole form.
            network6 = ipaddress.IPv6Network(text)
            return bytes([0, network6.prefixlen]) + network6.network_address.packed
        case "ifid":
            groups = text.split(":")
            if len(groups) != 4:
                raise ValueError("four groups of hex digits, as 0:0:0:1")
            return b"".join(int(group, 16).to_bytes(2, "big") for group in groups)
        case "ether":
            digits = re.sub(r"[:.\-]", "", text)
            if len(digits) != 12:
                raise ValueError("six octets, as 02:00:00:00:00:01")
            return bytes.fromhex(digits)
    raise ValueError("this type has no text form; give bytes")


def _show_structured(kind: str, octets: bytes) -> str | None:
    size = len(octets)
    match kind:
        case "ipaddr" if size == 4:
            return str(ipaddress.IPv4Address(octets))
        case "ipv6addr" if size == 16:
            return str(ipaddress.IPv6Address(octets))
        case "combo-ip" if size in (4, 16):
            return str(ipaddress.ip_address(octets))
        case "ipv4prefix" if size == 6 and octets[1] & 0x3F <= 32:
            return f"{ipaddress.IPv4Address(octets[2:])}/{octets[1] & 0x3F}"
        case "ipv6prefix" if 2 <= size <= 18 and octets[1] <= 128 and (octets[1] + 7) // 8 <= size - 2:
            return f"{ipaddress.IPv6Address(octets[2:].ljust(16, bytes(1)))}/{octets[1]}"
        case "ifid" if size == 8:
            return ":".join(f"{group:x}" for group in struct.unpack(">4H", octets))
        case "ether" if size == 6:
            return octets.hex(":")
    return None
