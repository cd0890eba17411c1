"""The dictionary: attributes by name and by path, whole attributes out, printable pairs in. Immutable after load."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from aaa.dictionary.attribute import CONTAINERS, Attribute, mask_pair
from aaa.dictionary.suggest import closest
from native import radius

if TYPE_CHECKING:
    from native.radius import Packet

VENDOR_SPECIFIC: Final = 26
EXTENDED: Final = range(241, 247)
VALUE_SIZE_MAX: Final = 253
"""Octets of one attribute's value (RFC 2865 §5)."""
TLV_SIZE_MAX: Final = 253
HIDDEN: Final = "***"


class Dictionary:
    """Names <-> numbers. Made by load(); nothing changes it afterwards."""

    __slots__ = ("_by_name", "_by_path", "formats", "vendors", "warnings")

    def __init__(
        self,
        attributes: Mapping[str, Attribute],
        vendors: Mapping[str, int],
        formats: Mapping[int, tuple[int, int, bool]],
        warnings: tuple[str, ...] = (),
    ) -> None:
        """attributes: in the order of definition, by lower-case name."""
        self._by_name = dict(attributes)
        self._by_path = {attribute.path: attribute for attribute in self._by_name.values()}
        self.vendors: Final = dict(vendors)
        """Vendor name -> Private Enterprise Number."""
        self.formats: Final = dict(formats)
        """Vendor number -> (type octets, length octets, continuation), where it differs from 1, 1."""
        self.warnings: Final = warnings
        """Lines that were read over, as `file:line: why`: they hurt nobody, but somebody may miss them."""

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Attribute]:
        return iter(self._by_name.values())

    def attribute(self, name: str) -> Attribute | None:
        """By name, whatever the case."""
        return self._by_name.get(name.lower())

    def by_path(self, path: tuple[int, ...]) -> Attribute | None:
        """By numbers, as Packet.attributes() gives them; of several names the last defined."""
        return self._by_path.get(path)

    def suggest(self, name: str) -> str | None:
        """The nearest attribute name. Cost: some milliseconds; for error messages only."""
        return closest(name, (attribute.name for attribute in self._by_name.values()))

    def encode(self, name: str, value: str | int | bytes, tag: int | None = None) -> bytes:
        """One whole attribute as on the wire, header included: several where a concat value is long.

        value, tag: as Attribute.pack. Raises ValueError, naming the attribute and the next step, for an unknown
        name, a value not of its type or too long, a tag where none belongs, and an encrypted attribute (its octets
        depend on the packet).
        """
        attribute = self.attribute(name)
        if attribute is None:
            near = self.suggest(name)
            raise ValueError(f"{name}: no such attribute" + (f"; did you mean {near}?" if near else ""))
        return self.encode_attribute(attribute, value, tag)

    def encode_attribute(self, attribute: Attribute, value: str | int | bytes, tag: int | None = None) -> bytes:
        """encode() for an attribute already looked up."""
        if attribute.encrypt:
            raise ValueError(f"{attribute.name}: is encrypted per packet and cannot be given as a fixed value")
        if attribute.virtual:
            raise ValueError(f"{attribute.name}: exists inside a server only, never on the wire")
        octets = attribute.pack(value, tag)
        path = attribute.path
        if not octets:
            # RFC 2865 §5: a text or string of no octets must not be sent; the attribute is left out instead.
            raise ValueError(f"{attribute.name}: an empty value cannot be sent")
        depth = _outer_depth(path)
        for number in reversed(path[depth:]):
            if len(octets) > TLV_SIZE_MAX:
                raise ValueError(f"{attribute.name}: {len(octets)} octets do not fit a TLV")
            octets = bytes([number, len(octets) + 2]) + octets
        try:
            if path[0] == VENDOR_SPECIFIC and depth == 3:
                return radius.vendor_attribute(path[1], path[2], octets)
            if path[0] in EXTENDED and depth > 1:
                return radius.extended_attribute(path[:depth], octets)
            if len(octets) > VALUE_SIZE_MAX and not attribute.concat:
                raise ValueError(f"{len(octets)} octets, {VALUE_SIZE_MAX} fit")
            return radius.attribute(path[0], octets)
        except (ValueError, OverflowError) as error:
            raise ValueError(f"{attribute.name}: cannot be sent: {error}") from None

    def decode_value(self, attribute: Attribute, octets: bytes) -> str:
        """Printable form of a value as received, its tag left out; *** for a secret. Never raises."""
        if attribute.is_secret:
            return HIDDEN
        return mask_pair(attribute.show(attribute.split_tag(octets)[1]))

    def decode_packet(self, packet: "Packet") -> list[tuple[str, str]]:
        """Every attribute in order as (name, printable value), for logs and traces; secrets as ***.

        A tag is part of the name (Tunnel-Type:1), members of a TLV stand for the TLV, and an attribute that the
        dictionary does not know is Attr-26.14988.99 with its octets in hex.
        """
        pairs: list[tuple[str, str]] = []
        for path, octets in packet.attributes():
            self._decode_into(pairs, path, octets)
        return pairs

    def _decode_into(self, pairs: list[tuple[str, str]], path: tuple[int, ...], octets: bytes) -> None:
        attribute = self._by_path.get(path)
        if attribute is None:
            pairs.append(("Attr-" + ".".join(map(str, path)), "0x" + octets.hex()))
            return
        if attribute.type == "tlv" and not attribute.is_secret:
            members = _split_tlv(octets)
            if members is not None:
                for number, inner in members:
                    self._decode_into(pairs, (*path, number), inner)
                return
        tag = attribute.split_tag(octets)[0]
        pairs.append((f"{attribute.name}:{tag}" if tag else attribute.name, self.decode_value(attribute, octets)))


def _outer_depth(path: tuple[int, ...]) -> int:
    """How many numbers of a path belong to the attribute's own header; the rest are TLV members."""
    if path[0] == VENDOR_SPECIFIC:
        return min(len(path), 3)
    if path[0] in EXTENDED:
        return min(len(path), 4 if path[1:2] == (VENDOR_SPECIFIC,) else 2)
    return 1


def _split_tlv(octets: bytes) -> list[tuple[int, bytes]] | None:
    """Members of a TLV (RFC 6929 §2.3); None when they do not fill it exactly."""
    members = []
    at = 0
    while at < len(octets):
        size = octets[at + 1] if at + 1 < len(octets) else 0
        if size < 2 or at + size > len(octets):
            return None
        members.append((octets[at], octets[at + 2 : at + size]))
        at += size
    return members or None


__all__ = ["CONTAINERS", "Dictionary"]
