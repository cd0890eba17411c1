"""Names <-> numbers of Diameter: AVPs, applications, commands and their grammars. Knows no socket and no session.

`load()` reads the files of dictionaries/diameter (their form is in FORMAT there) into one object that never changes
afterwards. What every message pays for goes by numbers through `native.diameter`; encode, decode and show by name are
for tests, traces and tools.
"""

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from msgspec import Struct

from aaa.dictionary.suggest import closest
from aaa.errors import DictionaryError
from native import diameter
from native.diameter import Avps, Definitions, Grammar, Message

SHIPPED: Final = Path(__file__).parents[2] / "dictionaries" / "diameter"
"""Directory of the dictionaries that come with the server."""
SUFFIX: Final = ".dict"

KINDS: Final = {
    "OctetString": diameter.KIND_OCTETS,
    "UTF8String": diameter.KIND_TEXT,
    "IPFilterRule": diameter.KIND_OCTETS,
    "QoSFilterRule": diameter.KIND_OCTETS,
    "Integer32": diameter.KIND_32,
    "Unsigned32": diameter.KIND_32,
    "Float32": diameter.KIND_32,
    "Enumerated": diameter.KIND_32,
    "Time": diameter.KIND_32,
    "Integer64": diameter.KIND_64,
    "Unsigned64": diameter.KIND_64,
    "Float64": diameter.KIND_64,
    "Grouped": diameter.KIND_GROUPED,
    "Address": diameter.KIND_ADDRESS,
    "DiameterIdentity": diameter.KIND_IDENTITY,
    "DiameterURI": diameter.KIND_IDENTITY,
}
"""RFC 6733 §4.2, §4.3; §4.4 for what is inside."""
FORMATS: Final = {
    "Integer32": ">i",
    "Unsigned32": ">I",
    "Float32": ">f",
    "Enumerated": ">i",
    "Integer64": ">q",
    "Unsigned64": ">Q",
    "Float64": ">d",
}
NAMED: Final = ("Enumerated", "Integer32", "Unsigned32")
"""Types whose numbers may have names."""
TEXTS: Final = ("UTF8String", "IPFilterRule", "QoSFilterRule", "DiameterIdentity", "DiameterURI")
FORMS: Final = ("ipv4", "ipv6", "ipv6prefix", "tbcd", "plmn", "text")
"""How the octets of some OctetStrings are shown and given."""

HIDDEN: Final = "***"
TIME_ORIGIN: Final = -2_208_988_800
"""Epoch seconds of Time 0 (RFC 6733 §4.3.1: as in NTP); Times under 2**31 are of the era that begins in 2036."""
FAMILY_IPV4, FAMILY_IPV6 = 1, 2
PREFIX_HEADER_SIZE: Final = 2

ANSWER_MESSAGE: Final = "ANS"
"""Short name of the grammar of answers with the E bit (RFC 6733 §7.2)."""

Value = str | int | float | bytes | Sequence[tuple[str, "Value"]]
"""Of text types, addresses and named numbers str; of Time epoch seconds; of Grouped pairs in their order."""

_AVP = re.compile(r"([\w.+/-]+) +(\d+) +([A-Za-z0-9]+)(?:\((\w+)\))? +([M-])( +secret)?")
_NUMBER = re.compile(r"([^\s=]+)=(-?\d+)")
_MEMBER = re.compile(r"(?:(\d*)(\*)(\d*))?([<{\[])([\w.+/-]+)([>}\]])")
_CLOSING: Final = {"<": ">", "{": "}", "[": "]"}


class Rule(NamedTuple):
    """How often an AVP may stand in a command or group."""

    name: str
    least: int
    most: int
    """-1: any number."""


class Avp(Struct, frozen=True):
    """An AVP as its standard has it."""

    name: str
    code: int
    vendor: int
    type: str
    form: str
    """One of FORMS; empty for all but some OctetStrings."""
    mandatory: bool
    """Whether the M bit is set when it is sent."""
    secret: bool
    values: Mapping[str, int]
    """Names of its numbers."""
    names: Mapping[int, str]
    """The same, the other way; of several names the first."""
    members: tuple[Rule, ...] = ()
    """Of a group; empty means anything."""
    extensible: bool = True


class Application(NamedTuple):
    name: str
    number: int
    vendor: int
    """0: advertised as Auth-Application-Id alone; else in a Vendor-Specific-Application-Id (RFC 6733 §6.11)."""


class Command(Struct, frozen=True):
    """One side of a command in one application."""

    name: str
    short: str
    code: int
    application: Application
    request: bool
    proxiable: bool
    error: bool
    members: tuple[Rule, ...]
    extensible: bool
    grammar: Grammar
    """What a received one is checked with."""


class Dictionary:
    """Names <-> numbers. Made by load(); nothing changes it afterwards."""

    __slots__ = ("_by_name", "_by_number", "_commands", "_commands_by_number", "applications", "definitions", "vendors")

    def __init__(
        self,
        avps: Iterable[Avp],
        commands: Iterable[Command],
        applications: Iterable[Application],
        vendors: Mapping[str, int],
        definitions: Definitions,
    ) -> None:
        self._by_name = {avp.name.lower(): avp for avp in avps}
        self._by_number = {(avp.code, avp.vendor): avp for avp in self._by_name.values()}
        self._commands = {(command.application.name, command.short): command for command in commands}
        self._commands_by_number = {
            (command.application.number, command.code, command.request): command for command in self._commands.values()
        }
        self.applications: Final = MappingProxyType({application.name: application for application in applications})
        self.vendors: Final = MappingProxyType(dict(vendors))
        self.definitions: Final = definitions
        """Of all AVPs, for grammars made elsewhere."""

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Avp]:
        return iter(self._by_name.values())

    @property
    def commands(self) -> Iterable[Command]:
        return self._commands.values()

    def find(self, name: str) -> Avp | None:
        """By name, whatever the case."""
        return self._by_name.get(name.lower())

    def by_number(self, code: int, vendor: int = 0) -> Avp | None:
        return self._by_number.get((code, vendor))

    def avp(self, name: str) -> Avp:
        """By name, whatever the case. Raises ValueError, with the nearest name, where there is none."""
        avp = self._by_name.get(name.lower())
        if avp is None:
            near = closest(name, (known.name for known in self))
            raise ValueError(f"{name}: no such AVP" + (f"; did you mean {near}?" if near else ""))
        return avp

    def number(self, name: str, value: str) -> int:
        """The number of a named value, such as ("CC-Request-Type", "INITIAL_REQUEST"). Raises ValueError."""
        avp = self.avp(name)
        number = avp.values.get(value)
        if number is None:
            near = closest(value, avp.values)
            raise ValueError(f"{avp.name}: no value {value}" + (f"; did you mean {near}?" if near else ""))
        return number

    def command(self, application: str, short: str) -> Command:
        """By names, such as ("Gx", "CCR"). Raises KeyError."""
        return self._commands[application, short]

    def command_of(self, message: Message) -> Command | None:
        """What a message is; an answer with the E bit is an answer-message. None where this dictionary has it not."""
        if message.flags & diameter.FLAG_ERROR:
            return self._commands.get(("Base", ANSWER_MESSAGE))
        request = bool(message.flags & diameter.FLAG_REQUEST)
        return self._commands_by_number.get((message.application, message.command, request))

    def grammars(self, applications: Iterable[Application]) -> dict[tuple[int, int, bool], Grammar]:
        """What the messages of these applications, and of the base protocol, are checked with, by application,
        command and "is a request"."""
        served = {application.number for application in applications} | {0}
        return {
            key: command.grammar
            for key, command in self._commands_by_number.items()
            if key[0] in served and not command.error
        }

    def encode(self, name: str, value: Value, mandatory: bool | None = None) -> bytes:
        """One whole AVP as on the wire, padded.

        value: as Value says; OctetString takes bytes, or text "0x…" in hex, or what its form says: an address, a
        prefix, digits, an MCC and MNC such as "001-01"; a named number takes its name or the number; Time also a
        datetime's ISO text. mandatory: the M bit, if not as the standard has it.
        Raises ValueError, naming the AVP, for an unknown name and a value that is not of its type.
        """
        avp = self.avp(name)
        try:
            octets = self._pack(avp, value)
        except (ValueError, TypeError, OverflowError, struct.error) as error:
            raise ValueError(f"{avp.name}: {error}") from None
        return diameter.avp(avp.code, octets, avp.vendor, avp.mandatory if mandatory is None else mandatory)

    def encode_all(self, pairs: Iterable[tuple[str, Value]]) -> list[bytes]:
        """AVPs in their order."""
        return [self.encode(name, value) for name, value in pairs]

    def _pack(self, avp: Avp, value: Value) -> bytes:
        if avp.type == "Grouped":
            if isinstance(value, str | bytes | int | float):
                raise ValueError("a group takes pairs of name and value")
            return b"".join(self.encode_all(value))
        if avp.type in FORMATS:
            if isinstance(value, str) and avp.type in NAMED:
                value = self.number(avp.name, value)
            return struct.pack(FORMATS[avp.type], value)
        if avp.type == "Time":
            seconds = datetime.fromisoformat(value).timestamp() if isinstance(value, str) else value
            if not isinstance(seconds, int | float):
                raise ValueError("a Time takes epoch seconds")
            return struct.pack(">I", (int(seconds) - TIME_ORIGIN) & 0xFFFFFFFF)
        if avp.type == "Address":
            return value if isinstance(value, bytes) else _pack_address(str(value))
        if avp.type == "OctetString" and isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise ValueError(f"{type(value).__name__} is not for {avp.type}")
        if avp.type in TEXTS:
            if not value and KINDS[avp.type] == diameter.KIND_IDENTITY:
                raise ValueError("is empty")
            return value.encode()
        if avp.form:
            return _PACK[avp.form](value)
        if not value.startswith("0x"):
            raise ValueError("takes bytes, or 0x and hex digits")
        return bytes.fromhex(value[2:])

    def decode(self, name: str, octets: bytes) -> Value:
        """The value of an AVP's octets; a number without a name is the number, members without one are "AVP 9999" or
        "AVP 9999 of 10415". Secrets are given as they are. Raises ValueError for octets that are not of its type."""
        avp = self.avp(name)
        try:
            return self._unpack(avp, octets, 0)
        except (ValueError, struct.error) as error:
            raise ValueError(f"{avp.name}: {error}") from None

    def _unpack(self, avp: Avp, octets: bytes, depth: int) -> Value:
        if avp.type == "Grouped":
            return self._members(octets, depth)
        if avp.type in FORMATS:
            number: int | float = struct.unpack(FORMATS[avp.type], octets)[0]
            return avp.names.get(number, number) if isinstance(number, int) else number
        if avp.type == "Time":
            seconds: int = struct.unpack(">I", octets)[0]
            return seconds + TIME_ORIGIN + (0 if seconds >> 31 else 1 << 32)
        if avp.type == "Address":
            return _unpack_address(octets)
        if avp.type in TEXTS:
            return octets.decode()
        return _UNPACK[avp.form](octets) if avp.form else octets

    def _members(self, octets: bytes, depth: int) -> list[tuple[str, Value]]:
        group = _group_of(octets)
        if group.fault or depth >= diameter.GROUP_DEPTH_MAX:
            raise ValueError(f"no group: {diameter.FAULTS[group.fault] if group.fault else 'depth'}")
        pairs: list[tuple[str, Value]] = []
        for code, vendor, _, value in group.avps():
            avp = self._by_number.get((code, vendor))
            pairs.append((_name_of(avp, code, vendor), value if avp is None else self._unpack(avp, value, depth + 1)))
        return pairs

    def title(self, message: Message) -> str:
        """What a message is, such as "Gx CCR", "Base DWA" or "S6a AIA (error)"; by numbers where there is no name."""
        request = bool(message.flags & diameter.FLAG_REQUEST)
        command = self._commands_by_number.get((message.application, message.command, request))
        mark = " (error)" if message.flags & diameter.FLAG_ERROR else ""
        if command is not None:
            return f"{command.application.name} {command.short}{mark}"
        side = "request" if request else "answer"
        return f"command {message.command} of application {message.application}, {side}{mark}"

    def show(self, message: Avps) -> list[tuple[str, str]]:
        """Every AVP in order as (name, printable value), for logs and traces; secrets as ***. Never raises.

        Members of a group stand for it, with its name before theirs and a count where it occurs again, as in
        "Subscription-Id[2].Subscription-Id-Type". What cannot be read is 0x and hex digits; what stands behind a
        length that lies is left out, and "(fault)" says so.
        """
        pairs: list[tuple[str, str]] = []
        self._show_into(pairs, "", message, 0)
        return pairs

    def _show_into(self, pairs: list[tuple[str, str]], prefix: str, avps: Avps, depth: int) -> None:
        seen: dict[tuple[int, int], int] = {}
        for code, vendor, _, octets in avps.avps():
            avp = self._by_number.get((code, vendor))
            count = seen[code, vendor] = seen.get((code, vendor), 0) + 1
            name = prefix + _name_of(avp, code, vendor)
            if avp is None:
                pairs.append((name, "0x" + octets.hex()))
            elif avp.secret:
                pairs.append((name, HIDDEN))
            elif avp.type == "Grouped" and octets and depth < diameter.GROUP_DEPTH_MAX:
                self._show_into(pairs, (f"{name}[{count}]" if count > 1 else name) + ".", _group_of(octets), depth + 1)
            else:
                pairs.append((name, self.show_value(avp, octets)))
        if avps.fault:
            pairs.append((prefix + "(fault)", diameter.FAULTS[avps.fault]))

    def show_value(self, avp: Avp, octets: bytes) -> str:
        """Printable form of a value as received; *** for a secret. Never raises."""
        if avp.secret:
            return HIDDEN
        if avp.type == "Grouped":
            # Unread members could be secrets.
            return f"({len(octets)} octets)" if octets else ""
        try:
            value = self._unpack(avp, octets, 0)
        except (ValueError, struct.error):
            return "0x" + octets.hex()
        if avp.type == "Time" and isinstance(value, int):
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if isinstance(value, bytes):
            return "0x" + value.hex()
        text = str(value)
        return text if text.isprintable() else "0x" + octets.hex()


def _name_of(avp: Avp | None, code: int, vendor: int) -> str:
    if avp is not None:
        return avp.name
    return f"AVP {code} of {vendor}" if vendor else f"AVP {code}"


def _group_of(octets: bytes) -> Avps:
    """The members of a group whose octets stand alone."""
    # Behind an AVP's length there may be no padding; a message needs it.
    return Message.parse(diameter.message(0, 0, 0, 0, 0, [octets, b"\0" * (-len(octets) % 4)]))


def _pack_address(text: str) -> bytes:
    address = ip_address(text)
    return struct.pack(">H", FAMILY_IPV4 if address.version == 4 else FAMILY_IPV6) + address.packed


def _unpack_address(octets: bytes) -> str:
    family = int.from_bytes(octets[:2], "big")
    if family == FAMILY_IPV4:
        return str(IPv4Address(octets[2:]))
    if family == FAMILY_IPV6:
        return str(IPv6Address(octets[2:]))
    raise ValueError(f"an address of family {family}")


def _pack_prefix(text: str) -> bytes:
    network = IPv6Network(text)
    size = (network.prefixlen + 7) // 8
    return bytes((0, network.prefixlen)) + network.network_address.packed[:size]


def _unpack_prefix(octets: bytes) -> str:
    """RFC 3162 §2.3; bits behind the prefix do not count, and octets that are not there are zero."""
    if not PREFIX_HEADER_SIZE <= len(octets) <= PREFIX_HEADER_SIZE + 16 or octets[1] > 128:
        raise ValueError("is no prefix")
    return str(IPv6Network((octets[2:].ljust(16, b"\0"), octets[1]), strict=False))


def _pack_tbcd(digits: str) -> bytes:
    """3GPP TS 29.002: two digits an octet, the first in the low half, F fills the last."""
    if not digits.isdecimal() or not digits.isascii():
        raise ValueError("takes digits")
    filled = digits + "f" * (len(digits) % 2)
    return bytes.fromhex("".join(filled[at + 1] + filled[at] for at in range(0, len(filled), 2)))


def _unpack_tbcd(octets: bytes) -> str:
    text = octets.hex()
    digits = "".join(text[at + 1] + text[at] for at in range(0, len(text), 2)).removesuffix("f")
    if not digits.isdecimal():
        raise ValueError("are no digits")
    return digits


def _pack_plmn(text: str) -> bytes:
    """3GPP TS 23.003: MCC and MNC of two or three digits, such as "001-01"."""
    mcc, _, mnc = text.partition("-")
    if len(mcc) != 3 or len(mnc) not in (2, 3) or not (mcc + mnc).isdecimal() or not text.isascii():
        raise ValueError("takes an MCC and an MNC, as 001-01")
    third = mnc[2] if len(mnc) == 3 else "f"
    return bytes.fromhex(mcc[1] + mcc[0] + third + mcc[2] + mnc[1] + mnc[0])


def _unpack_plmn(octets: bytes) -> str:
    text = octets.hex()
    if len(octets) != 3 or not (text[:2] + text[3:]).isdecimal() or text[2] not in "0123456789f":
        raise ValueError("is no PLMN")
    return f"{text[1]}{text[0]}{text[3]}-{text[5]}{text[4]}{text[2].removesuffix('f')}"


_PACK: Final[dict[str, Callable[[str], bytes]]] = {
    "ipv4": lambda text: IPv4Address(text).packed,
    "ipv6": lambda text: IPv6Address(text).packed,
    "ipv6prefix": _pack_prefix,
    "tbcd": _pack_tbcd,
    "plmn": _pack_plmn,
    "text": str.encode,
}
_UNPACK: Final[dict[str, Callable[[bytes], str]]] = {
    "ipv4": lambda octets: str(IPv4Address(octets)),
    "ipv6": lambda octets: str(IPv6Address(octets)),
    "ipv6prefix": _unpack_prefix,
    "tbcd": _unpack_tbcd,
    "plmn": _unpack_plmn,
    "text": bytes.decode,
}


def load(paths: Iterable[str | Path] = (SHIPPED,)) -> Dictionary:
    """Read dictionary files into one dictionary; a file may name what a later one defines.

    paths: files, or directories: of a directory every *.dict, by name.
    Raises DictionaryError with file, line and a hint.
    """
    reader = _Reader()
    for path in map(Path, paths):
        for file in sorted(path.glob("*" + SUFFIX)) if path.is_dir() else (path,):
            reader.read(file)
    return reader.finish()


class _Draft:
    """An AVP, a command or a list of values whose indented lines are still to come."""

    def __init__(self, kind: str, name: str, place: tuple[str, int]) -> None:
        self.kind = kind
        self.name = name
        self.place = place
        self.values: dict[str, int] = {}
        self.members: list[tuple[Rule, tuple[str, int]]] = []
        self.extensible = False
        # Of an AVP
        self.code = self.vendor = 0
        self.type = self.form = ""
        self.mandatory = self.secret = False
        # Of a command
        self.short = ""
        self.application = ""
        self.flags: frozenset[str] = frozenset()

    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule for rule, _ in self.members)


class _Reader:
    def __init__(self) -> None:
        self.vendors: dict[str, int] = {"IETF": 0}
        self.applications: dict[str, Application] = {}
        self.avps: dict[str, _Draft] = {}
        self.numbers: dict[tuple[int, int], _Draft] = {}
        self.commands: dict[tuple[str, str], _Draft] = {}
        self.later_values: list[_Draft] = []
        self.vendor = 0
        self.open: _Draft | None = None
        self.place = ("", 0)

    def error(self, message: str, hint: str | None = None, place: tuple[str, int] | None = None) -> DictionaryError:
        file, line = place or self.place
        return DictionaryError(file, line or None, message, hint)

    def read(self, path: Path) -> None:
        self.place = (str(path), 0)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self.error(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
        self.open = None
        self.vendor = 0
        for number, line in enumerate(text.splitlines(), 1):
            self.place = (str(path), number)
            content = line.split("#", 1)[0].rstrip()
            if not content:
                continue
            if content[0].isspace():
                self.read_more(content.split())
            else:
                self.read_statement(content)

    def read_statement(self, content: str) -> None:
        words = content.split()
        self.open = None
        if words[0] == "vendor":
            self.read_vendor(words[1:])
        elif words[0] == "application":
            self.read_application(words[1:])
        elif words[0] == "values":
            if len(words) != 2:
                raise self.error("values takes the name of an AVP")
            self.open = _Draft("values", words[1], self.place)
            self.later_values.append(self.open)
        elif words[0] == "command":
            self.read_command(words[1:])
        else:
            self.read_avp(content)

    def read_vendor(self, words: list[str]) -> None:
        if len(words) != 2 or not words[1].isdecimal() or int(words[1]) >= 1 << 32:
            raise self.error("vendor takes a name and a number of 32 bits")
        self.vendor = int(words[1])
        if self.vendors.setdefault(words[0], self.vendor) != self.vendor:
            raise self.error(f"vendor {words[0]} is {self.vendors[words[0]]} elsewhere")

    def read_application(self, words: list[str]) -> None:
        if len(words) not in (2, 3) or not all(word.isdecimal() and int(word) < 1 << 32 for word in words[1:]):
            raise self.error("application takes a name, a number and an optional vendor's number")
        if words[0] in self.applications:
            raise self.error(f"application {words[0]} is defined before")
        self.applications[words[0]] = Application(words[0], int(words[1]), int(words[2]) if len(words) == 3 else 0)

    def read_command(self, words: list[str]) -> None:
        flags = frozenset(words[4:])
        if len(words) < 4 or not words[2].isdecimal() or not flags <= {"REQ", "PXY", "ERR"}:
            raise self.error(
                "command takes a name, a short name, a code, an application and flags", "flags are REQ, PXY and ERR"
            )
        if int(words[2]) >= 1 << 24:
            raise self.error(f"{words[0]}: command {words[2]} has more than 24 bits")
        draft = _Draft("command", words[0], self.place)
        draft.short, draft.code, draft.application, draft.flags = words[1], int(words[2]), words[3], flags
        before = self.commands.setdefault((draft.application, draft.short), draft)
        if before is not draft:
            raise self.error(
                f"command {draft.short} of {draft.application} is defined before", "in {}:{}".format(*before.place)
            )
        self.open = draft

    def read_avp(self, content: str) -> None:
        found = _AVP.fullmatch(content)
        if found is None:
            raise self.error("an AVP takes a name, a code, a type, M or -, and an optional secret")
        name, code, kind, form, mandatory, secret = found.groups()
        if kind not in KINDS:
            near = closest(kind, KINDS)
            raise self.error(f"{name}: unknown type {kind}", f"did you mean {near}?" if near else ", ".join(KINDS))
        if form and (kind != "OctetString" or form not in FORMS):
            raise self.error(f"{name}: {kind}({form}) is no type", "OctetString of " + ", ".join(FORMS))
        if int(code) >= 1 << 32:
            raise self.error(f"{name}: code {code} has more than 32 bits")
        draft = _Draft("avp", name, self.place)
        draft.code, draft.vendor, draft.type, draft.form = int(code), self.vendor, kind, form or ""
        draft.mandatory, draft.secret = mandatory == "M", secret is not None
        before = self.avps.get(name.lower()) or self.numbers.get((draft.code, draft.vendor))
        if before is not None:
            raise self.error(
                f"{name}: AVP {before.name} {before.code} of vendor {before.vendor} is defined before",
                "in {}:{}".format(*before.place),
            )
        self.avps[name.lower()] = self.numbers[draft.code, draft.vendor] = draft
        self.open = draft

    def read_more(self, words: list[str]) -> None:
        """An indented line: names of numbers, or members."""
        draft = self.open
        if draft is None:
            raise self.error("an indented line belongs to nothing", "an AVP, values or a command comes before it")
        grouped = draft.kind == "command" or draft.type == "Grouped"
        for word in words:
            if grouped:
                self.read_member(draft, word)
                continue
            found = _NUMBER.fullmatch(word)
            if found is None or (draft.kind == "avp" and draft.type not in NAMED):
                raise self.error(f"{draft.name}: {word} does not belong here", "NAME=NUMBER names a number of an AVP")
            self.add_value(draft, found[1], int(found[2]))

    def add_value(self, draft: _Draft, name: str, number: int) -> None:
        if draft.values.setdefault(name, number) != number:
            raise self.error(f"{draft.name}: {name} is {draft.values[name]} before")

    def read_member(self, draft: _Draft, word: str) -> None:
        found = _MEMBER.fullmatch(word)
        if found is None or _CLOSING[found[4]] != found[6]:
            raise self.error(f"{draft.name}: {word} is no member", "as {Origin-Host}, [User-Name], *[Proxy-Info]")
        least_text, star, most_text, bracket, name, _ = found.groups()
        if name == "AVP":
            if word != "*[AVP]":
                raise self.error(f"{draft.name}: {word} is no member", "any other AVP is *[AVP]")
            draft.extensible = True
            return
        least = 0 if bracket == "[" else 1
        most = 1
        if star:
            least = int(least_text) if least_text else least
            most = int(most_text) if most_text else -1
        if most == 0 or 0 < most < least:
            raise self.error(f"{draft.name}: {word}: between {least} and {most} times")
        if any(rule.name.lower() == name.lower() for rule, _ in draft.members):
            raise self.error(f"{draft.name}: {name} is named twice")
        draft.members.append((Rule(name, least, most), self.place))

    def finish(self) -> Dictionary:
        for draft in self.later_values:
            target = self.avps.get(draft.name.lower())
            if target is None or target.type not in NAMED:
                raise self.error(
                    f"values of {draft.name}, which is no AVP with numbers", self.near(draft.name), draft.place
                )
            self.place = draft.place
            for name, number in draft.values.items():
                self.add_value(target, name, number)
        definitions = Definitions()
        for draft in self.avps.values():
            group = None
            if draft.members:
                group = Grammar(definitions, self.rules_of(draft), draft.extensible)
            definitions.define(draft.code, draft.vendor, KINDS[draft.type], group)
        commands = [self.command_of(draft, definitions) for draft in self.commands.values()]
        avps = [_finished(draft) for draft in self.avps.values()]
        return Dictionary(avps, commands, self.applications.values(), self.vendors, definitions)

    def near(self, name: str) -> str | None:
        near = closest(name, (draft.name for draft in self.avps.values()))
        return f"did you mean {near}?" if near else None

    def rules_of(self, draft: _Draft) -> list[tuple[int, int, int, int]]:
        found = []
        for rule, place in draft.members:
            avp = self.avps.get(rule.name.lower())
            if avp is None:
                raise self.error(f"{draft.name}: no AVP {rule.name} is defined", self.near(rule.name), place)
            found.append((avp.code, avp.vendor, rule.least, rule.most))
        return found

    def command_of(self, draft: _Draft, definitions: Definitions) -> Command:
        application = self.applications.get(draft.application)
        if application is None:
            near = closest(draft.application, self.applications)
            hint = f"did you mean {near}?" if near else None
            raise self.error(f"{draft.name}: no application {draft.application} is defined", hint, draft.place)
        grammar = Grammar(definitions, self.rules_of(draft), draft.extensible)
        return Command(
            name=draft.name,
            short=draft.short,
            code=draft.code,
            application=application,
            request="REQ" in draft.flags,
            proxiable="PXY" in draft.flags,
            error="ERR" in draft.flags,
            members=draft.rules(),
            extensible=draft.extensible,
            grammar=grammar,
        )


def _finished(draft: _Draft) -> Avp:
    names: dict[int, str] = {}
    for name, number in draft.values.items():
        names.setdefault(number, name)
    return Avp(
        name=draft.name,
        code=draft.code,
        vendor=draft.vendor,
        type=draft.type,
        form=draft.form,
        mandatory=draft.mandatory,
        secret=draft.secret,
        values=MappingProxyType(draft.values),
        names=MappingProxyType(names),
        members=draft.rules(),
        extensible=draft.extensible or not draft.members,
    )
