"""Reads dictionaries in the FreeRADIUS 3.2 file format. Knows files and lines; knows no wire.

pyrad's reader is not enough here: it leaves out extended, EVS and array attributes, IPv4 prefixes, nested TLVs and
every vendor whose sub-attributes are not 1 octet type, 1 octet length, and its file names lose their directory. So
the lines are interpreted here; pyrad stays the tests' second opinion on all that it does read, and encodes abinary.

Where a name or a number is defined twice, the later definition counts: an operator's file is read last.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

from msgspec.structs import replace

from aaa.dictionary.attribute import CONTAINERS, FIXED_SIZES, INTEGER_SIZES, Attribute
from aaa.dictionary.dictionary import EXTENDED, VENDOR_SPECIFIC, Dictionary
from aaa.dictionary.suggest import closest
from aaa.errors import DictionaryError
from native import radius

SHIPPED: Final = Path(__file__).parents[2] / "dictionaries"
"""Directory of the dictionaries that come with the server."""

INDEX: Final = "dictionary"
INCLUDE_DEPTH_MAX: Final = 16
"""Files; Bound: FreeRADIUS's own nest three deep, a loop is found long before memory matters."""

TYPES: Final = CONTAINERS | set(FIXED_SIZES) | {"string", "octets", "ipv6prefix", "combo-ip", "abinary", "tlv"}
TYPE_ALIASES: Final = {
    "uint8": "byte",
    "uint16": "short",
    "uint32": "integer",
    "uint64": "integer64",
    "int32": "signed",
    "ipv4addr": "ipaddr",
    "text": "string",
    "enum": "integer",
    "time": "date",
}
"""RFC 8044 and FreeRADIUS 4 spellings of the same types."""

ENCRYPTIONS: Final = {"1": 1, "2": 2, "3": 3, "user-password": 1, "tunnel-password": 2, "ascend-secret": 3}
FLAGS: Final = ("has_tag", "encrypt=", "array", "concat", "virtual", "secret")


def load(paths: Iterable[str | Path] = (SHIPPED,)) -> Dictionary:
    """Read dictionary files, in order, into one dictionary.

    paths: files, or directories: of a directory its index file `dictionary` first, then every other `dictionary.*`
    of it that has not been read, by name. Vendor formats are made known to the packet codec once all is read.
    Raises DictionaryError with file, line and a hint; nothing is changed then.
    """
    reader = _Reader()
    for path in paths:
        reader.read(Path(path))
    return reader.finish()


class _Reader:
    def __init__(self) -> None:
        self.attributes: dict[str, Attribute] = {}
        self.values: dict[str, dict[str, int]] = {}
        self.late_values: list[tuple[str, int, str, str, str]] = []
        self.vendors: dict[str, int] = {}
        self.formats: dict[int, tuple[int, int, bool]] = {}
        self.warnings: list[str] = []
        self.prefixes: list[tuple[str, str, tuple[int, ...]]] = []
        """Open blocks: (VENDOR or TLV, name, path of what is defined inside)."""
        self.tlvs: set[tuple[int, ...]] = set()
        self.files_read: set[Path] = set()
        self.file = ""
        self.line = 0
        self.statements: dict[str, Callable[[list[str]], None]] = {
            "ATTRIBUTE": self.read_attribute,
            "VALUE": self.read_value,
            "VENDOR": self.read_vendor,
            "BEGIN-VENDOR": self.begin_vendor,
            "END-VENDOR": lambda words: self.end_block("VENDOR", words),
            "BEGIN-TLV": self.begin_tlv,
            "END-TLV": lambda words: self.end_block("TLV", words),
            "PROTOCOL": self.read_protocol,
            "BEGIN-PROTOCOL": self.read_protocol,
            "END-PROTOCOL": self.read_protocol,
            "FLAGS": self.read_protocol,
        }

    def error(self, message: str, hint: str | None = None) -> DictionaryError:
        return DictionaryError(self.file, self.line or None, message, hint)

    def warn(self, message: str) -> None:
        self.warnings.append(f"{self.file}:{self.line}: {message}")

    def read(self, path: Path) -> None:
        if not path.is_dir():
            self.read_file(path)
            return
        if (path / INDEX).exists():
            self.read_file(path / INDEX)
        for extra in sorted(path.glob(INDEX + ".*")):
            if extra.is_file() and extra.suffix[-1:] != "~" and extra.resolve() not in self.files_read:
                self.read_file(extra)

    def read_file(self, path: Path) -> None:
        self.prefixes = []
        for words in self.lines(path, ()):
            statement = self.statements.get(words[0].upper())
            if statement is None:
                near = closest(words[0], self.statements)
                raise self.error(f"unknown statement {words[0]}", f"did you mean {near}?" if near else None)
            statement(words[1:])
        if self.prefixes:
            kind, name, _ = self.prefixes[-1]
            raise self.error(f"BEGIN-{kind} {name} is never ended", f"add END-{kind} {name}")

    def lines(self, path: Path, above: tuple[Path, ...]) -> Iterator[list[str]]:
        """Words of each line of a file and of the files it includes, comments removed."""
        real = path.resolve()
        if real in above:
            raise self.error(f"{path} includes itself")
        if len(above) >= INCLUDE_DEPTH_MAX:
            raise self.error(f"more than {INCLUDE_DEPTH_MAX} files deep")
        try:
            octets = path.read_bytes()
        except OSError as error:
            self.file = self.file or str(path)
            raise self.error(f"cannot read {path}: {error.strerror or error}") from None
        self.files_read.add(real)
        # Names are ASCII; comments of old vendor files are in any 8-bit alphabet, and Latin-1 reads them all.
        for number, text in enumerate(octets.decode("latin-1").splitlines(), 1):
            words = text.split("#", 1)[0].split()
            if not words:
                continue
            self.file, self.line = str(path), number
            if words[0].upper() not in ("$INCLUDE", "$INCLUDE-"):
                yield words
                continue
            if len(words) != 2:
                raise self.error(f"{words[0]} takes one file name")
            included = path.parent / words[1]
            if words[0].endswith("-") and not included.exists():
                continue
            yield from self.lines(included, (*above, real))
        self.file, self.line = str(path), 0

    def number(self, text: str) -> int:
        try:
            if text.lower().startswith(("0x", "0o")):
                return int(text, 0)
            return int(text, 10)
        except ValueError:
            raise self.error(f"{text} is not a number") from None

    def read_vendor(self, words: list[str]) -> None:
        if len(words) not in (2, 3):
            raise self.error("VENDOR takes a name, a number and an optional format=")
        number = self.number(words[1])
        if not 0 < number < 1 << 32:
            raise self.error(f"vendor number {number} is outside 1..{(1 << 32) - 1}")
        self.vendors[words[0]] = number
        layout = (1, 1, False)
        if len(words) == 3:
            key, _, text = words[2].partition("=")
            sizes = text.split(",")
            if key != "format" or len(sizes) not in (2, 3) or sizes[2:] not in ([], ["c"]):
                raise self.error(f"{words[2]} is no vendor format", "as format=1,1 or format=2,2 or format=1,1,c")
            layout = (self.number(sizes[0]), self.number(sizes[1]), len(sizes) == 3)
            if layout[0] not in (1, 2, 4) or layout[1] not in (0, 1, 2):
                raise self.error(f"{words[2]} is no vendor format", "type of 1, 2 or 4 octets, length of 0, 1 or 2")
        if layout != (1, 1, False):
            self.formats[number] = layout
        else:
            self.formats.pop(number, None)

    def vendor(self, name: str) -> int:
        number = self.vendors.get(name)
        if number is None:
            near = closest(name, self.vendors)
            raise self.error(f"unknown vendor {name}", f"did you mean {near}?" if near else "a VENDOR line is missing")
        return number

    def begin_vendor(self, words: list[str]) -> None:
        if len(words) not in (1, 2):
            raise self.error("BEGIN-VENDOR takes a vendor's name and an optional format=")
        outer: tuple[int, ...] = (VENDOR_SPECIFIC,)
        if len(words) == 2:
            key, _, name = words[1].partition("=")
            container = self.attributes.get(name.lower())
            if key not in ("format", "parent") or container is None or container.type != "evs":
                raise self.error(f"{words[1]} names no evs attribute", "as format=Extended-Vendor-Specific-1")
            outer = container.path
        self.prefixes.append(("VENDOR", words[0], (*outer, self.vendor(words[0]))))

    def begin_tlv(self, words: list[str]) -> None:
        attribute = self.attributes.get(words[0].lower()) if len(words) == 1 else None
        if attribute is None or attribute.type != "tlv":
            raise self.error(f"BEGIN-TLV {' '.join(words)}: no attribute of type tlv has this name")
        self.prefixes.append(("TLV", words[0], attribute.path))

    def end_block(self, kind: str, words: list[str]) -> None:
        if not self.prefixes or len(words) != 1 or self.prefixes[-1][:2] != (kind, words[0]):
            opened = f"open is BEGIN-{self.prefixes[-1][0]} {self.prefixes[-1][1]}" if self.prefixes else "none is open"
            raise self.error(f"END-{kind} {' '.join(words)} ends no open block", opened)
        self.prefixes.pop()

    def read_protocol(self, words: list[str]) -> None:
        """FreeRADIUS 4 headers that name the protocol; this directory holds RADIUS only."""

    def read_attribute(self, words: list[str]) -> None:
        if len(words) < 3:
            raise self.error("ATTRIBUTE takes a name, a number, a type and optional flags")
        name, oid, type_text, *flags = words
        prefix = self.prefixes[-1][2] if self.prefixes else ()
        if len(flags) == 1 and flags[0] in self.vendors:
            prefix, flags = (VENDOR_SPECIFIC, self.vendors[flags[0]]), []
        path = (*prefix, *(self.number(part) for part in oid.removeprefix(".").split(".")))
        if min(path) < 0 or max(path) >= 1 << 32:
            raise self.error(f"{name}: number {oid} is outside 0..{(1 << 32) - 1}")
        type_name, size = self.type_of(name, type_text)
        options = self.flags_of(name, flags)
        if options.get("has_tag") and type_name not in ("integer", "string", "octets"):
            raise self.error(f"{name}: has_tag does not go with type {type_name}")
        if len(path) > 1 and path[0] not in (VENDOR_SPECIFIC, *EXTENDED) and path[:-1] not in self.tlvs:
            raise self.error(f"{name}: {'.'.join(map(str, path[:-1]))} is not defined before it")
        key = name.lower()
        if type_name == "tlv":
            self.tlvs.add(path)
        self.attributes.pop(key, None)
        self.attributes[key] = replace(Attribute(name=name, path=path, type=type_name, size=size), **options)

    def type_of(self, name: str, text: str) -> tuple[str, int | None]:
        base, bracket, rest = text.lower().partition("[")
        base = TYPE_ALIASES.get(base, base)
        if base not in TYPES:
            near = closest(base, TYPES)
            hint = f"did you mean {near}?" if near else ", ".join(sorted(TYPES))
            raise self.error(f"{name}: unknown type {text}", hint)
        if not bracket:
            return base, None
        if base not in ("octets", "string") or not rest.endswith("]"):
            raise self.error(f"{name}: {text} is no type", "a length goes with octets, as octets[16]")
        return base, self.number(rest[:-1]) if base == "octets" else None

    def flags_of(self, name: str, words: list[str]) -> dict[str, bool | int]:
        options: dict[str, bool | int] = {}
        for flag in (flag for word in words for flag in word.split(",") if flag):
            key, _, text = flag.partition("=")
            if key == "encrypt" and text.lower() in ENCRYPTIONS:
                options["encrypt"] = ENCRYPTIONS[text.lower()]
            elif flag in ("has_tag", "array", "concat", "virtual", "secret"):
                options[flag] = True
            else:
                near = closest(flag, FLAGS)
                raise self.error(f"{name}: unknown flag {flag}", f"did you mean {near}?" if near else ", ".join(FLAGS))
        return options

    def read_value(self, words: list[str]) -> None:
        if len(words) != 3:
            raise self.error("VALUE takes an attribute, a name and a number")
        attribute, name, number = words
        if attribute.lower() in self.attributes:
            self.add_value(attribute, name, number)
        else:
            # A file may name the values of an attribute that a later file defines.
            self.late_values.append((self.file, self.line, attribute, name, number))

    def add_value(self, attribute: str, name: str, number: str) -> None:
        kind = self.attributes[attribute.lower()].type
        if kind not in INTEGER_SIZES:
            # Vendors' files do this; FreeRADIUS reads over it as well.
            self.warn(f"VALUE {attribute} {name}: an attribute of type {kind} has no named values")
            return
        value = self.number(number)
        low, high = (-(1 << 31), 1 << 31) if kind == "signed" else (0, 1 << 8 * INTEGER_SIZES[kind])
        if not low <= value < high:
            raise self.error(f"VALUE {attribute} {name}: {number} does not fit {kind}")
        self.values.setdefault(attribute.lower(), {})[name] = value

    def finish(self) -> Dictionary:
        for file, line, attribute, name, number in self.late_values:
            self.file, self.line = file, line
            if attribute.lower() in self.attributes:
                self.add_value(attribute, name, number)
            else:
                near = closest(attribute, (known.name for known in self.attributes.values()))
                hint = f"; did you mean {near}?" if near else ""
                self.warn(f"VALUE {name} of unknown attribute {attribute}{hint}")
        for key, values in self.values.items():
            self.attributes[key] = replace(self.attributes[key], values=MappingProxyType(values))
        for vendor, layout in self.formats.items():
            try:
                radius.set_vendor_format(vendor, *layout)
            except ValueError as error:
                raise self.error(f"format of vendor {vendor}: {error}") from None
        return Dictionary(self.attributes, self.vendors, self.formats, tuple(self.warnings))
