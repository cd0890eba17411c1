"""Diameter codec (RFC 6733 §3, §4): bytes in, offsets and bytes out.

Knows headers, AVPs, groups, and grammars that it is given; knows no dictionary, no application, no subscriber.
"""

from collections.abc import Sequence
from typing import Final

FAULTS: Final[tuple[str, ...]]
"""Names of decode faults by number: 0 is "none"; then "version" (not 1), "message_length" (the header's length is not
the message's, under 20 octets, or no multiple of 4), "header_bits" (reserved command flags are set), "avp_length" (an
AVP that is shorter than its header, or longer than what is left), "too_many_avps" (over AVP_COUNT_MAX in one group),
"depth" (a group inside GROUP_DEPTH_MAX others). FAULT_ constants carry the same names."""
FAULT_NONE: Final = 0
FAULT_VERSION: Final = 1
FAULT_MESSAGE_LENGTH: Final = 2
FAULT_HEADER_BITS: Final = 3
FAULT_AVP_LENGTH: Final = 4
FAULT_TOO_MANY_AVPS: Final = 5
FAULT_DEPTH: Final = 6

HEADER_OCTETS: Final = 20
AVP_COUNT_MAX: Final = 4096
"""Bound: a message of the largest size this server takes holds fewer that mean anything."""
GROUP_DEPTH_MAX: Final = 12
IDENTITY_OCTETS_MAX: Final = 255
"""A longer DiameterIdentity is an invalid value."""
TEXT_OCTETS_MAX: Final = 1024
"""A longer UTF8String is one: names and keys are kept."""
"""Bound: the deepest of 3GPP's nests seven."""

FLAG_REQUEST: Final = 0x80
FLAG_PROXIABLE: Final = 0x40
FLAG_ERROR: Final = 0x20
FLAG_RETRANSMITTED: Final = 0x10

AVP_VENDOR: Final = 0x80
AVP_MANDATORY: Final = 0x40
AVP_PROTECTED: Final = 0x20

KIND_OCTETS: Final = 0
"""Any length: OctetString, IPFilterRule, QoSFilterRule."""
KIND_32: Final = 1
"""Four octets: Unsigned32, Integer32, Float32, Enumerated, Time."""
KIND_64: Final = 2
"""Eight octets: Unsigned64, Integer64, Float64."""
KIND_GROUPED: Final = 3
KIND_ADDRESS: Final = 4
"""Two octets of family, and 4 (family 1) or 16 (family 2); other families any."""
KIND_IDENTITY: Final = 5
"""One octet to IDENTITY_OCTETS_MAX: DiameterIdentity, DiameterURI."""
KIND_TEXT: Final = 6
"""Up to TEXT_OCTETS_MAX: UTF8String."""

class Avps:
    """AVPs of a message or a group, in place. Until an index was sound, what came before the fault is found."""

    fault: int
    depth: int
    """0 for a message, 1 for its groups, and so on."""

    def has(self, code: int, vendor: int = 0) -> bool: ...
    def get(self, code: int, vendor: int = 0) -> bytes | None:
        """Value of the first such AVP; an empty one is b""."""
    def get_text(self, code: int, vendor: int = 0) -> str | None:
        """The same as UTF-8; what is none comes as U+FFFD."""
    def echo(self, code: int, vendor: int = 0) -> bytes:
        """The first such AVP as it came, header, value and padding, for an answer that repeats it; b"" when absent."""
    def get_all(self, code: int, vendor: int = 0) -> list[bytes]: ...
    def get_unsigned32(self, code: int, vendor: int = 0) -> int | None:
        """None when absent or of another length; likewise the next two."""
    def get_unsigned64(self, code: int, vendor: int = 0) -> int | None: ...
    def get_integer32(self, code: int, vendor: int = 0) -> int | None: ...
    def get_group(self, code: int, vendor: int = 0) -> Avps | None:
        """The first such AVP as a group; look at its fault. None when absent."""
    def get_groups(self, code: int, vendor: int = 0) -> list[Avps]: ...
    def avps(self) -> list[tuple[int, int, int, bytes]]:
        """(code, vendor, flags, value) of all, in order."""
    def failed(self) -> bytes:
        """The AVP at which the index ended, for Failed-AVP: its header, and zeros for a value that cannot be believed
        (RFC 6733 §7.1.5, 5014); b"" without such a fault."""
    @property
    def raw(self) -> bytes:
        """The octets that the AVPs stand in: of the whole message."""

class Message(Avps):
    flags: int
    command: int
    application: int
    hop_by_hop: int
    end_to_end: int

    def sameness(self) -> bytes:
        """Equal for a message and the same sent again: End-to-End Identifier, command, application, Session-Id and
        Origin-Host (RFC 6733 §3), whatever its T bit and Hop-by-Hop Identifier."""
    @classmethod
    def parse(cls, octets: bytes) -> Message:
        """A decoded message that owns its octets. Look at .fault before anything else."""

def split(buffer: bytearray, octets_max: int) -> tuple[list[Message], int, int]:
    """Whole messages at the start of a stream: (messages, octets consumed, fault).

    A fault (version, message_length) is one that no later octet can mend: the connection is to be closed. A message
    longer than octets_max is such a fault, found in its header. The buffer is left as it is.
    """

def avp(code: int, value: bytes, vendor: int = 0, mandatory: bool = True) -> bytes:
    """One AVP, padded. OverflowError for a code or vendor beyond 32 bits, ValueError beyond 24 bits of length."""

def unsigned32_avp(code: int, value: int, vendor: int = 0, mandatory: bool = True) -> bytes:
    """OverflowError outside 0..2**32-1."""

def integer32_avp(code: int, value: int, vendor: int = 0, mandatory: bool = True) -> bytes:
    """Also Enumerated. OverflowError outside -2**31..2**31-1."""

def unsigned64_avp(code: int, value: int, vendor: int = 0, mandatory: bool = True) -> bytes:
    """OverflowError outside 0..2**64-1."""

def grouped_avp(code: int, members: Sequence[bytes], vendor: int = 0, mandatory: bool = True) -> bytes:
    """A group of encoded AVPs."""

def message(
    flags: int, command: int, application: int, hop_by_hop: int, end_to_end: int, avps: Sequence[bytes]
) -> bytes:
    """A whole message of encoded AVPs. ValueError beyond 24 bits of length."""

def answer(request: Message, avps: Sequence[bytes], error: bool = False) -> bytes:
    """An answer to a request: its command, application and identifiers, P as in the request (RFC 6733 §6.2)."""

def readdressed(octets: bytes, hop_by_hop: int, retransmitted: bool = False) -> bytes:
    """The same message with another Hop-by-Hop Identifier, and T where it is sent again. ValueError under 20 octets."""

class Definitions:
    """What AVPs look like."""

    def define(self, code: int, vendor: int, kind: int, group: Grammar | None = None) -> None:
        """kind: a KIND_ number. group: what is inside of KIND_GROUPED; None: anything."""

class Grammar:
    """How often each AVP may stand in a command or a group (RFC 6733 §3.2)."""

    def __init__(
        self, definitions: Definitions, rules: Sequence[tuple[int, int, int, int]], extensible: bool = True
    ) -> None:
        """rules: (code, vendor, least, most) of each AVP, most -1: any number. extensible: "* [ AVP ]" stands there.

        Raises ValueError for an AVP that is named twice, and for bounds that exclude each other.
        """
    def check(self, avps: Avps) -> tuple[int, bytes] | None:
        """The first fault as (Result-Code, content of Failed-AVP); None where there is none.

        3009 flags that nobody has defined (the offender is given without them); 5001 unknown AVP with M; 5004 value of
        a wrong form; 5005 an AVP is missing (the example bears zeros); 5008 not allowed here; 5009 too often; 5014
        length. Inside a group the offender is given in its group.
        """
