"""Diameter messages as the lab's peers write and read them, from the *.dia files here; not by the server's codec.

An AVP list is [(name, value), ...] in the order of the wire; a Grouped value is such a list. None leaves an AVP out.
Values: int, str (UTF8String, DiameterIdentity, filters, OctetString), bytes, an address as text, Time in epoch seconds.
A name may also be (code, vendor, flags), with bytes as its value: what no dictionary knows, or knows otherwise.
"""

import ipaddress
import re
import struct
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
VENDOR, MANDATORY = 0x80, 0x40
REQUEST, PROXIABLE, ERROR, RETRANSMITTED = 0x80, 0x40, 0x20, 0x10
NTP_EPOCH = 2_208_988_800
Avps = Sequence[tuple[Any, Any]]

# RFC 6733 §4.5: what OTP's own dictionary defines, and so is not in the files here.
BASE = """
Acct-Interim-Interval 85 Unsigned32 M|Auth-Application-Id 258 Unsigned32 M|Auth-Grace-Period 276 Unsigned32 M
Auth-Request-Type 274 Enumerated M|Auth-Session-State 277 Enumerated M|Authorization-Lifetime 291 Unsigned32 M
Class 25 OctetString M|Destination-Host 293 DiameterIdentity M|Destination-Realm 283 DiameterIdentity M
Disconnect-Cause 273 Enumerated M|Error-Message 281 UTF8String -|Error-Reporting-Host 294 DiameterIdentity -
Event-Timestamp 55 Time M|Experimental-Result 297 Grouped M|Experimental-Result-Code 298 Unsigned32 M
Failed-AVP 279 Grouped M|Firmware-Revision 267 Unsigned32 -|Host-IP-Address 257 Address M
Inband-Security-Id 299 Unsigned32 M|Origin-Host 264 DiameterIdentity M|Origin-Realm 296 DiameterIdentity M
Origin-State-Id 278 Unsigned32 M|Product-Name 269 UTF8String -|Proxy-Host 280 DiameterIdentity M
Proxy-Info 284 Grouped M|Proxy-State 33 OctetString M|Re-Auth-Request-Type 285 Enumerated M
Redirect-Host 292 DiameterURI M|Redirect-Host-Usage 261 Enumerated M|Redirect-Max-Cache-Time 262 Unsigned32 M
Result-Code 268 Unsigned32 M|Route-Record 282 DiameterIdentity M|Session-Id 263 UTF8String M
Session-Timeout 27 Unsigned32 M|Supported-Vendor-Id 265 Unsigned32 M|Termination-Cause 295 Enumerated M
User-Name 1 UTF8String M|Vendor-Id 266 Unsigned32 M|Vendor-Specific-Application-Id 260 Grouped M
Acct-Application-Id 259 Unsigned32 M
"""


class Avp(NamedTuple):
    name: str
    code: int
    type: str
    vendor: int
    mandatory: bool


class Command(NamedTuple):
    name: str
    """Short name, such as "CCR"; its answer's differs in the last letter."""
    code: int
    application: int


@cache
def avps() -> dict[str, Avp]:
    """Every AVP by its name."""
    found = {}
    lines = BASE.replace("\n", "|").split("|")
    lines += (HERE / "avps.dia").read_text().partition("@avp_types")[2].partition("@enum")[0].splitlines()
    for line in lines:
        if line.strip() and not line.lstrip().startswith(";"):
            name, code, kind, flags = line.split()
            found[name] = Avp(name, int(code), kind, 10415 if "V" in flags else 0, "M" in flags)
    return found


@cache
def avps_by_code() -> dict[tuple[int, int], Avp]:
    return {(avp.code, avp.vendor): avp for avp in avps().values()}


@cache
def commands() -> dict[tuple[str, str], Command]:
    """By application ("gx") and short name of the request or answer."""
    header = re.compile(r"^ +(\w+) ::= < Diameter Header: (\d+), (?:REQ, )?PXY (\d+) >", re.MULTILINE)
    return {
        (file.stem, name): Command(name, int(code), int(application))
        for file in HERE.glob("*.dia")
        for name, code, application in header.findall(file.read_text())
    }


APPLICATIONS = {"gx": 16777238, "gy": 4, "s6a": 16777251, "sy": 16777302}


def encode(pairs: Avps) -> bytes:
    """AVPs in the order given."""
    return b"".join(_encode(name, value) for name, value in pairs if value is not None)


def _encode(name: Any, value: Any) -> bytes:
    if isinstance(name, tuple):
        code, vendor, flags = name
        data = value
    else:
        avp = avps()[name]
        code, vendor = avp.code, avp.vendor
        flags = (VENDOR if vendor else 0) | (MANDATORY if avp.mandatory else 0)
        data = _encode_value(avp, value)
    head = struct.pack(">IB", code, flags) + (len(data) + (12 if vendor else 8)).to_bytes(3, "big")
    return head + (struct.pack(">I", vendor) if vendor else b"") + data + bytes(-len(data) % 4)


def _encode_value(avp: Avp, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    match avp.type:
        case "Grouped":
            return encode(value)
        case "Unsigned32":
            return struct.pack(">I", value)
        case "Integer32" | "Enumerated":
            return struct.pack(">i", value)
        case "Unsigned64":
            return struct.pack(">Q", value)
        case "Integer64":
            return struct.pack(">q", value)
        case "Time":
            return struct.pack(">I", (int(value) + NTP_EPOCH) & 0xFFFFFFFF)
        case "Address":
            address = ipaddress.ip_address(value)
            return struct.pack(">H", 1 if address.version == 4 else 2) + address.packed
    return str(value).encode()


def _decode_value(avp: Avp, data: bytes, faults: list[str]) -> Any:
    match avp.type:
        case "Grouped":
            return Group(data, faults)
        case "Unsigned32" | "Unsigned64":
            return int.from_bytes(data, "big")
        case "Integer32" | "Integer64" | "Enumerated":
            return int.from_bytes(data, "big", signed=True)
        case "Time":
            return int.from_bytes(data, "big") - NTP_EPOCH
        case "Address":
            return str(ipaddress.ip_address(data[2:]))
        case "OctetString":
            return data
    return data.decode()


class Group:
    """AVPs as they came: group["Name"] is the only one of that name, group.all("Name") every one."""

    def __init__(self, data: bytes, faults: list[str]) -> None:
        self.avps: list[tuple[str, Any]] = []
        at = 0
        while at < len(data):
            code, flags, length = int.from_bytes(data[at : at + 4], "big"), data[at + 4], data[at + 5 : at + 8]
            head = 12 if flags & VENDOR else 8
            end = at + int.from_bytes(length, "big")
            vendor = int.from_bytes(data[at + 8 : at + 12], "big") if flags & VENDOR else 0
            padding = data[end : end + -end % 4]
            if end < at + head or end + len(padding) > len(data) or len(padding) != -end % 4:
                faults.append(f"AVP {code}: length {end - at} with {len(data) - at} octets left")
                return
            if any(padding):
                faults.append(f"AVP {code}: padding that is not zero")
            avp = avps_by_code().get((code, vendor))
            if avp is None:
                self.avps.append((f"{vendor}-{code}", data[at + head : end]))
                if flags & MANDATORY:
                    faults.append(f"AVP {code} of vendor {vendor}: unknown, and mandatory")
            else:
                if bool(flags & MANDATORY) is not avp.mandatory:
                    faults.append(f"{avp.name}: M bit is {bool(flags & MANDATORY)}")
                self.avps.append((avp.name, _decode_value(avp, data[at + head : end], faults)))
            at = end + len(padding)

    def all(self, name: str) -> list[Any]:
        assert name in avps(), name
        return [value for key, value in self.avps if key == name]

    def get(self, name: str, default: Any = None) -> Any:
        values = self.all(name)
        assert len(values) < 2, f"{name}: {values} in {self}"
        return values[0] if values else default

    def __getitem__(self, name: str) -> Any:
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in {self}"
        return values[0]

    def __contains__(self, name: str) -> bool:
        return bool(self.all(name))

    def names(self) -> list[str]:
        return [name for name, _ in self.avps]

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self.avps)

    def __str__(self) -> str:
        parts = (f"{name}={value.hex() if isinstance(value, bytes) else value}" for name, value in self.avps)
        return "{" + ", ".join(parts) + "}"

    __repr__ = __str__


class Message(Group):
    """A whole message, and what is wrong with it (`faults`)."""

    def __init__(self, raw: bytes, faults: Sequence[str] = ()) -> None:
        self.raw = raw
        self.faults = list(faults)
        self.flags = raw[4]
        self.code = int.from_bytes(raw[5:8], "big")
        self.application, self.hop_by_hop, self.end_to_end = struct.unpack(">III", raw[8:20])
        if int.from_bytes(raw[1:4], "big") != len(raw):
            self.faults.append("message length")
        super().__init__(raw[20:], self.faults)
        ends = "R" if self.flags & REQUEST else "A"
        names = (
            command.name
            for command in commands().values()
            if (command.code, command.application) == (self.code, self.application) and command.name[-1] == ends
        )
        self.name = next(names, str(self.code))
        """Short name, such as "RAR"."""
        if not self.avps or self.avps[0][0] != "Session-Id":
            self.faults.append("Session-Id is not the first AVP")

    @property
    def result(self) -> int:
        """Result-Code, or the code of the Experimental-Result; 0: neither."""
        if "Result-Code" in self:
            return int(self["Result-Code"])
        experimental = self.get("Experimental-Result")
        return int(experimental["Experimental-Result-Code"]) if experimental else 0

    @property
    def experimental(self) -> bool:
        return "Experimental-Result" in self

    def __str__(self) -> str:
        return f"{self.name} {super().__str__()}"

    __repr__ = __str__


def message(flags: int, code: int, application: int, hop_by_hop: int, end_to_end: int, pairs: Avps) -> bytes:
    """A whole message."""
    body = encode(pairs)
    length = (20 + len(body)).to_bytes(3, "big")
    return (
        b"\x01" + length + struct.pack(">I", flags << 24 | code)
        + struct.pack(">III", application, hop_by_hop, end_to_end) + body
    )  # fmt: skip
