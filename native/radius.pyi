"""RADIUS codec (RFC 2865, 2866, 2869, 3579, 5176, 6929, 8044): bytes in, offsets and bytes out.

Knows octets and digests; knows no dictionary, no subscriber, no setting.
"""

from collections.abc import Sequence
from typing import Final

from native.datagram import Datagram

FAULTS: Final[tuple[str, ...]]
"""Names of decode faults by number: 0 is "none"; then "truncated" (the slot was too small), "too_short"
(under 20 octets), "length_field" (Length under 20, over 4096, or beyond the datagram), "attribute_length"
(an attribute shorter than its header or past the end), "message_authenticator_length" (not 16 octets, or
more than one), "too_many_attributes" (over ATTRIBUTE_COUNT_MAX). FAULT_ constants carry the same names."""
FAULT_NONE: Final = 0
FAULT_TRUNCATED: Final = 1
FAULT_TOO_SHORT: Final = 2
FAULT_LENGTH_FIELD: Final = 3
FAULT_ATTRIBUTE_LENGTH: Final = 4
FAULT_MESSAGE_AUTHENTICATOR_LENGTH: Final = 5
FAULT_TOO_MANY_ATTRIBUTES: Final = 6

PACKET_OCTETS_MAX: Final = 4096
"""RFC 2865 §3."""
ATTRIBUTE_COUNT_MAX: Final = 512
"""Bound: more than a full packet of ordinary attributes holds."""

MA_ABSENT: Final = 0
MA_VALID: Final = 1
MA_INVALID: Final = 2

class Packet(Datagram):
    """Until a decode was sound every getter answers as for a packet without attributes."""

    fault: int
    code: int
    identifier: int

    @classmethod
    def parse(cls, payload: bytes) -> Packet:
        """A decoded packet that owns its octets (client side, tests). Look at .fault before anything else."""
    def decode(self) -> int:
        """Check every length and index the attributes; returns and keeps the fault (0 = sound).

        Octets behind Length are padding and ignored (RFC 2865 §3). Vendor-Specific with a broken inside is
        no fault of the packet: it is simply not found by vendor.
        """
    def copy(self) -> Packet:
        """A decoded packet that owns its octets and addresses: for a row that leaves its batch."""
    @property
    def authenticator(self) -> bytes: ...
    @property
    def raw(self) -> bytes:
        """The packet's octets without padding."""
    def has(self, number: int) -> bool: ...
    def get(self, number: int) -> bytes | None:
        """Value of the first attribute of this type, or None. An empty value is b""."""
    def get_all(self, number: int) -> list[bytes]: ...
    def get_integer(self, number: int) -> int | None:
        """First attribute of this type as unsigned integer of 1..8 octets; None if absent or another length."""
    def concat(self, number: int) -> bytes | None:
        """All attributes of this type joined (EAP-Message and friends, RFC 3579 §3.1)."""
    def get_vendor(self, vendor: int, number: int) -> bytes | None:
        """First sub-attribute of a Vendor-Specific (26), format 1 octet type / 1 octet length.

        Vendors with other formats (registered by set_vendor_format) are walked in theirs; WiMAX (24757)
        continuation fragments are joined.
        """
    def get_vendor_all(self, vendor: int, number: int) -> list[bytes]: ...
    def get_vendor_integer(self, vendor: int, number: int) -> int | None: ...
    def get_extended(self, *path: int) -> bytes | None:
        """Value of the first extended (241.N) or long-extended (245.N, fragments joined) attribute at this path; EVS
        as (241, 26, vendor, n); further numbers step into TLVs (RFC 6929). None when absent or broken on the way."""
    def attributes(self) -> list[tuple[tuple[int, ...], bytes]]:
        """Every attribute in order as (path, value); VSAs as (26, vendor, n), extended as (241, n);
        unknown or broken insides come whole under their outer type."""

class Secret:
    def __init__(self, secret: bytes) -> None:
        """Raises ValueError when empty."""
    def verify_message_authenticator(self, packet: Packet) -> int:
        """MA_ABSENT, MA_VALID or MA_INVALID for a request with a random authenticator (Access-Request, Status-Server;
        RFC 3579 §3.2); for Accounting, CoA and Disconnect requests with a zero authenticator (RFC 5176 §3.4)."""
    def verify_accounting(self, packet: Packet) -> bool:
        """Request Authenticator of Accounting-, CoA- and Disconnect-Request (RFC 2866 §3). Constant-time."""
    def verify_response(self, response: Packet, request_authenticator: bytes) -> bool:
        """Response Authenticator, and Message-Authenticator where present. request_authenticator: 16 octets.

        Deviation: no RFC defines Message-Authenticator in Accounting-Response; deployed servers compute it with a zero
        authenticator, or with the request's after Status-Server (RFC 5997 §3): either is taken here, and `respond` does
        as they do.
        """
    def reveal_password(self, packet: Packet) -> bytes | None:
        """User-Password in clear, NUL padding removed; None if absent or not 16..128 octets by 16 (RFC 2865 §5.2)."""
    def respond(self, request: Packet, code: int, attributes: bytes, message_authenticator: bool) -> bytes:
        """A whole signed response: header, Message-Authenticator first where asked, attributes, the request's
        Proxy-States in order. ValueError when it would be longer than 4096 octets, for a request that is not
        soundly decoded, and for a code outside 1..255."""
    def request(
        self, code: int, identifier: int, attributes: bytes, authenticator: bytes | None = None,
        message_authenticator: bool = True,
    ) -> bytes:
        """A whole signed request, Message-Authenticator first. authenticator: 16 random octets for Access-Request and
        Status-Server; None, and nothing else, for Accounting, CoA and Disconnect: it is computed from the content.
        ValueError otherwise, and above 4096 octets."""
    def hide_password(self, password: bytes, authenticator: bytes) -> bytes:
        """User-Password value, 0..128 octets in (RFC 2865 §5.2). Raises ValueError above."""
    def hide_tunnel_password(self, value: bytes, authenticator: bytes, salt: bytes) -> bytes:
        """Salt (2 octets, first bit set by this function) and hidden value: Tunnel-Password, MS-MPPE keys
        (RFC 2868 §3.5, RFC 2548 §2.4.2). The tag is not included. value: 0..239 octets, ValueError above."""
    def reveal_tunnel_password(self, hidden: bytes, authenticator: bytes) -> bytes | None:
        """The value in clear; None when the octets (salt first, no tag) are not 2 + 16..240 by 16, or the length inside
        says more than there is, as a wrong secret makes it."""

def decode(packets: list[Packet], count: int) -> None:
    """decode() on packets[0:count]. IndexError beyond the list."""

def tlvs(value: bytes) -> list[tuple[int, bytes]] | None:
    """TLVs in order (RFC 6929 §2.3); None unless they fill the value exactly, each with at least one octet inside."""

def set_vendor_format(vendor: int, type_size: int, length_size: int, continuation: bool = False) -> None:
    """Sub-attribute layout of a vendor: type 1, 2 or 4 octets, length 0, 1 or 2 octets (0: the rest is the value).

    continuation: a third header octet whose first bit says that the value goes on in the next Vendor-Specific (WiMAX);
    only with 1 and 1. Process-wide; call it before packets are decoded. ValueError for other layouts, and over 128
    vendors.
    """

def attribute(number: int, value: bytes) -> bytes:
    """One attribute; values over 253 octets are split over several of the same type. ValueError outside 1..255."""

def integer_attribute(number: int, value: int) -> bytes:
    """One attribute of four octets. ValueError for a number outside 1..255, OverflowError for a larger value."""

def vendor_attribute(vendor: int, number: int, value: bytes) -> bytes:
    """One Vendor-Specific in the vendor's format. ValueError when it does not fit; with continuation it is fragmented
    over as many as it needs instead."""

def extended_attribute(path: Sequence[int], value: bytes) -> bytes:
    """Extended, long-extended (fragmented as needed) or EVS attribute (RFC 6929); a path as get_extended() takes it.

    ValueError for an empty value, a path that starts otherwise, or a value that does not fit.
    """
