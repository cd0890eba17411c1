"""The Diameter dictionary: its files, names to numbers and back, grammars, and tshark's view of every AVP."""

import re
import struct
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.dictionary import diameter as reader
from aaa.dictionary.diameter import HIDDEN, Avp, Dictionary
from aaa.errors import DictionaryError
from native import diameter
from native.diameter import Message

REQUEST = diameter.FLAG_REQUEST | diameter.FLAG_PROXIABLE
GX = 16777238
AT = 1_795_244_400  # 2026-11-21 07:00 UTC

CCR = [
    ("Session-Id", "smf.localdomain;1;1;gx"),
    ("Origin-Host", "smf.localdomain"),
    ("Origin-Realm", "localdomain"),
    ("Destination-Realm", "localdomain"),
    ("Auth-Application-Id", GX),
    ("CC-Request-Type", "INITIAL_REQUEST"),
    ("CC-Request-Number", 0),
]


def message(dictionary: Dictionary, pairs, flags=REQUEST, command=272, application=GX) -> Message:
    return Message.parse(diameter.message(flags, command, application, 1, 2, dictionary.encode_all(pairs)))


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "own.dict"
    path.write_text(text)
    return path


def test_every_file_says_where_its_facts_are_from():
    files = sorted(reader.SHIPPED.glob("*.dict"))
    assert len(files) >= 11
    for file in files:
        assert file.read_text().startswith("# Origin: "), file


def test_every_command_of_the_four_interfaces_has_both_sides(dictionary):
    expected = {
        "Base": "CER CEA DWR DWA DPR DPA ANS",
        "Gx": "CCR CCA RAR RAA ASR ASA",
        "Gy": "CCR CCA RAR RAA ASR ASA",
        "S6a": "ULR ULA CLR CLA AIR AIA IDR IDA DSR DSA PUR PUA RSR RSA NOR NOA",
        "Sy": "SLR SLA SNR SNA STR STA",
    }
    found: dict[str, set[str]] = {}
    for command in dictionary.commands:
        found.setdefault(command.application.name, set()).add(command.short)
    assert found == {name: set(shorts.split()) for name, shorts in expected.items()}
    for name, shorts in expected.items():
        for short in shorts.split():
            command = dictionary.command(name, short)
            assert command.request == (short.endswith("R")), short
            assert command.extensible


def test_what_open5gs_sends_passes_the_grammars(dictionary):
    """Without Service-Context-Id, without Rating-Group, without Termination-Cause; RAT-Type without M."""
    gx = message(
        dictionary,
        [
            *CCR,
            ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", "001010000000001")]),
            ("Supported-Features", [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 11)]),
            ("Network-Request-Support", 1),
            ("Framed-IP-Address", "10.45.0.2"),
            ("IP-CAN-Type", "3GPP-EPS"),
            ("RAT-Type", "EUTRAN"),
            ("QoS-Information", [("APN-Aggregate-Max-Bitrate-UL", 1000), ("APN-Aggregate-Max-Bitrate-DL", 1000)]),
            ("Called-Station-Id", "internet"),
            ("Online", 0),
            ("Offline", 1),
        ],
    )
    assert dictionary.command_of(gx).grammar.check(gx) is None
    end = [("CC-Request-Type", 3) if pair[0] == "CC-Request-Type" else pair for pair in CCR]
    final = message(dictionary, end)
    assert dictionary.command_of(final).grammar.check(final) is None
    gy = message(
        dictionary,
        [
            *CCR,
            ("Service-Context-Id", "32251@3gpp.org"),
            ("Multiple-Services-Credit-Control", [("Requested-Service-Unit", [("CC-Total-Octets", 1_000_000)])]),
        ],
        application=4,
    )
    assert dictionary.title(gy) == "Gy CCR"
    assert dictionary.command_of(gy).grammar.check(gy) is None
    ulr = message(
        dictionary,
        [
            ("Session-Id", "mme;1"),
            ("Vendor-Specific-Application-Id", [("Auth-Application-Id", 16777251), ("Vendor-Id", 10415)]),
            ("Auth-Session-State", 1),
            ("Origin-Host", "mme"),
            ("Origin-Realm", "r"),
            ("Destination-Realm", "r"),
            ("User-Name", "001010000000001"),
            ("RAT-Type", 1004),
            ("ULR-Flags", 34),
            ("Visited-PLMN-Id", "001-01"),
        ],
        command=316,
        application=16777251,
    )
    assert dictionary.title(ulr) == "S6a ULR"
    assert dictionary.command_of(ulr).grammar.check(ulr) is None


@pytest.mark.parametrize("order", [("Vendor-Id", "Auth-Application-Id"), ("Auth-Application-Id", "Vendor-Id")])
def test_vendor_specific_application_id_is_read_in_both_orders(dictionary, order):
    values = {"Vendor-Id": 10415, "Auth-Application-Id": GX}
    cer = message(
        dictionary,
        [
            ("Origin-Host", "h"),
            ("Origin-Realm", "r"),
            ("Host-IP-Address", "127.0.0.1"),
            ("Vendor-Id", 0),
            ("Product-Name", "x"),
            ("Vendor-Specific-Application-Id", [(name, values[name]) for name in order]),
        ],
        flags=diameter.FLAG_REQUEST,
        command=257,
        application=0,
    )
    assert dictionary.command_of(cer).grammar.check(cer) is None


@pytest.mark.parametrize("missing", [name for name, _ in CCR])
def test_a_missing_avp_is_named_in_failed_avp(dictionary, missing):
    ccr = message(dictionary, [pair for pair in CCR if pair[0] != missing])
    code, failed = dictionary.command_of(ccr).grammar.check(ccr)
    assert code == 5005
    assert int.from_bytes(failed[:4], "big") == dictionary.avp(missing).code


def test_what_is_wrong_inside_a_group_is_found(dictionary):
    half = message(dictionary, [*CCR, ("Subscription-Id", [("Subscription-Id-Type", 1)])])
    assert dictionary.command_of(half).grammar.check(half)[0] == 5005
    twice = message(dictionary, [*CCR, ("CC-Request-Number", 1)])
    assert dictionary.command_of(twice).grammar.check(twice)[0] == 5009


def test_an_answer_with_the_error_bit_is_an_answer_message(dictionary):
    flags = diameter.FLAG_PROXIABLE | diameter.FLAG_ERROR
    pairs = [("Origin-Host", "h"), ("Origin-Realm", "r"), ("Result-Code", "DIAMETER_UNABLE_TO_DELIVER")]
    answer = message(dictionary, pairs, flags=flags)
    assert dictionary.command_of(answer).short == "ANS"
    assert dictionary.command_of(answer).grammar.check(answer) is None
    assert dictionary.title(answer) == "Gx CCA (error)"


def test_show_names_values_and_hides_secrets(dictionary):
    keys = [("RAND", b"r" * 16), ("XRES", b"x" * 8), ("AUTN", b"a" * 16), ("KASME", b"k" * 32)]
    aia = message(
        dictionary,
        [
            ("Session-Id", "mme;1"),
            ("Result-Code", 2001),
            ("Authentication-Info", [("E-UTRAN-Vector", [("Item-Number", 1), *keys])]),
            ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", "1")]),
            ("Subscription-Id", [("Subscription-Id-Type", 0), ("Subscription-Id-Data", "2")]),
            ("Visited-PLMN-Id", "310-410"),
            ("3GPP-MS-TimeZone", b"\x40\x01"),
            ("Revalidation-Time", AT),
        ],
        flags=diameter.FLAG_PROXIABLE,
        command=318,
        application=16777251,
    )
    shown = dictionary.show(aia)
    assert shown == [
        ("Session-Id", "mme;1"),
        ("Result-Code", "DIAMETER_SUCCESS"),
        ("Authentication-Info.E-UTRAN-Vector.Item-Number", "1"),
        *[(f"Authentication-Info.E-UTRAN-Vector.{name}", HIDDEN) for name, _ in keys],
        ("Subscription-Id.Subscription-Id-Type", "END_USER_IMSI"),
        ("Subscription-Id.Subscription-Id-Data", "1"),
        ("Subscription-Id[2].Subscription-Id-Type", "END_USER_E164"),
        ("Subscription-Id[2].Subscription-Id-Data", "2"),
        ("Visited-PLMN-Id", "310-410"),
        ("3GPP-MS-TimeZone", "0x4001"),
        ("Revalidation-Time", "2026-11-21T07:00:00Z"),
    ]


@pytest.mark.parametrize(("code", "vendor"), [(464, 0), (612, 10415)])
def test_keys_of_other_applications_that_pass_through_a_relay_are_hidden(dictionary, code, vendor):
    inner = diameter.avp(625, b"K" * 16, 10415)
    ((_, shown),) = dictionary.show(message_of(diameter.avp(code, inner, vendor)))
    assert shown == HIDDEN


def test_show_gives_unknown_avps_and_faults_by_number(dictionary):
    body = diameter.avp(9999, b"\x01", 7) + diameter.avp(263, b"a\n") + b"\0\0\0\1\0\0\0\3"
    octets = struct.pack(">IIIII", 1 << 24 | 20 + len(body), REQUEST << 24 | 272, GX, 1, 2) + body
    assert dictionary.show(Message.parse(octets)) == [
        ("AVP 9999 of 7", "0x01"),
        ("Session-Id", "0x610a"),
        ("(fault)", "avp_length"),
    ]


def test_a_group_that_cannot_be_read_shows_no_octet_of_its_secrets(dictionary):
    vector = dictionary.avp("E-UTRAN-Vector")
    broken = dictionary.encode("RAND", b"R" * 16)[:-1]
    shown = dictionary.show(message_of(diameter.avp(vector.code, broken, vector.vendor)))
    assert "52" * 4 not in str(shown)
    assert "RRRR" not in str(shown)


def message_of(*avps: bytes) -> Message:
    return Message.parse(diameter.message(REQUEST, 272, GX, 1, 2, avps))


@given(st.lists(st.tuples(st.sampled_from(sorted(a.name for a in reader.load())), st.binary(max_size=40)), max_size=8))
def test_show_never_raises_and_a_value_that_decodes_encodes_to_itself(members):
    dictionary = SHIPPED
    avps = [dictionary.avp(name) for name, _ in members]
    octets = [diameter.avp(avp.code, value, avp.vendor) for avp, (_, value) in zip(avps, members, strict=True)]
    dictionary.show(message_of(*octets))
    for avp, (_, value) in zip(avps, members, strict=True):
        try:
            decoded = dictionary.decode(avp.name, value)
        except ValueError:
            continue
        if avp.type == "Grouped" or avp.form == "ipv6prefix" or avp.type.startswith("Float"):
            continue
        try:
            again = dictionary.encode(avp.name, decoded)
        except ValueError:
            assert value == b""
            continue
        header = 12 if avp.vendor else 8
        assert again[header : header + len(value)] == value


SHIPPED = reader.load()


@pytest.mark.parametrize(
    ("name", "value", "octets"),
    [
        ("Origin-Host", "x", b"x"),
        ("CC-Request-Type", "UPDATE_REQUEST", b"\0\0\0\2"),
        ("CC-Total-Octets", 1 << 40, b"\0\0\1\0\0\0\0\0"),
        ("Value-Digits", -2, b"\xff" * 7 + b"\xfe"),
        ("Host-IP-Address", "2001:db8::1", b"\0\2\x20\1\x0d\xb8" + b"\0" * 11 + b"\1"),
        ("Framed-IPv6-Prefix", "2001:db8::/64", b"\0\x40\x20\1\x0d\xb8" + b"\0" * 4),
        ("MSISDN", "491234567", b"\x94\x21\x43\x65\xf7"),
        ("Visited-PLMN-Id", "001-01", b"\x00\xf1\x10"),
        ("Visited-PLMN-Id", "310-410", b"\x13\x00\x14"),
        ("Event-Timestamp", 0, b"\x83\xaa\x7e\x80"),
        ("Event-Timestamp", 2085978496, b"\0\0\0\0"),
    ],
)
def test_values_have_the_octets_of_their_standard(dictionary, name, value, octets):
    avp = dictionary.avp(name)
    assert dictionary.encode(name, value) == diameter.avp(avp.code, octets, avp.vendor, avp.mandatory)
    assert dictionary.decode(name, octets) == value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("Origin-Hots", "x", "did you mean Origin-Host"),
        ("Origin-Host", "", "Origin-Host: is empty"),
        ("CC-Request-Type", "UPDATE", "no value UPDATE"),
        ("CC-Request-Number", -1, "CC-Request-Number: "),
        ("CC-Request-Number", 1 << 32, "CC-Request-Number: "),
        ("Visited-PLMN-Id", "00101", "001-01"),
        ("3GPP-MS-TimeZone", "4001", "0x"),
        ("Subscription-Id", "1", "pairs"),
        ("Framed-IP-Address", "10.0.0", "Framed-IP-Address: "),
        ("MSISDN", "+49", "digits"),
    ],
)
def test_a_value_that_cannot_be_sent_is_refused_with_the_avps_name(dictionary, name, value, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        dictionary.encode(name, value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("Foo 1 Unsigned32 X", 1, "an AVP takes"),
        ("Foo 1 Unsigned23 M", 1, "did you mean Unsigned32"),
        ("Foo 1 Unsigned32(ipv4) M", 1, "is no type"),
        ("Foo 1 Unsigned32 M\nfoo 2 Unsigned32 M", 2, "defined before"),
        ("Foo 1 Unsigned32 M\nBar 1 Unsigned32 M", 2, "defined before"),
        ("Foo 99999999999 Unsigned32 M", 1, "more than 32 bits"),
        ("    A=1", 1, "belongs to nothing"),
        ("Foo 1 UTF8String M\n    A=1", 2, "does not belong here"),
        ("Foo 1 Enumerated M\n    A=1 A=2", 2, "A is 1 before"),
        ("Foo 1 Grouped M\n    {Bar]", 2, "is no member"),
        ("Foo 1 Grouped M\n    3*2[Bar]", 2, "between 3 and 2 times"),
        ("Foo 1 Grouped M\n    {Bar} [bar]", 2, "named twice"),
        ("Foo 1 Grouped M\n\n    {Bar}", 3, "no AVP Bar"),
        ("Food 1 Unsigned32 M\nFoo 2 Grouped M\n    {Fod}", 3, "did you mean Food"),
        ("values Foo\n    A=1", 1, "no AVP with numbers"),
        ("command X XR 1 Gz REQ\n", 1, "no application Gz"),
        ("command X XR 1 Gz WHAT\n", 1, "command takes"),
        ("application Gx -1", 1, "application takes"),
        ("application Gx 1\napplication Gx 2", 2, "defined before"),
        ("vendor X", 1, "vendor takes"),
        ("vendor X 1\nvendor X 2", 2, "is 1 elsewhere"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, line, message):
    path = write(tmp_path, text)
    with pytest.raises(DictionaryError, match=re.escape(message)) as caught:
        reader.load([path])
    assert (caught.value.file, caught.value.line) == (str(path), line)


def test_an_operators_file_adds_to_the_shipped_ones(tmp_path):
    path = write(
        tmp_path, "vendor Example 99999\nExample-Speed 1 Unsigned32 -\n    SLOW=1\nvalues Result-Code\n    OWN=5999\n"
    )
    dictionary = reader.load([reader.SHIPPED, path])
    assert dictionary.encode("Example-Speed", "SLOW") == diameter.unsigned32_avp(1, 1, 99999, False)
    assert dictionary.decode("Result-Code", (5999).to_bytes(4, "big")) == "OWN"


# What tshark makes of every AVP.

TEXT = {"DiameterIdentity": "host.example", "DiameterURI": "aaa://host.example:3868", "UTF8String": "314159265358979"}
TEXT |= {"IPFilterRule": "permit out ip from any to any", "QoSFilterRule": "tag in ip from any to any"}
FORMS = {
    "ipv4": "10.20.30.40",
    "ipv6": "2001:db8::7",
    "ipv6prefix": "2001:db8:1:2::/64",
    "tbcd": "4917",
    "plmn": "262-01",
}
EXAMPLES = {
    "3GPP-User-Location-Info": bytes.fromhex("8262f210000162f21000000001"),
    "3GPP-MS-TimeZone": bytes.fromhex("4001"),
    "3GPP-RAT-Type": b"\x06",
    "3GPP-IMSI-MCC-MNC": "26201",
    "3GPP-GGSN-MCC-MNC": "26201",
    "3GPP-SGSN-MCC-MNC": "26201",
    "3GPP-Charging-Characteristics": "0800",
    "3GPP-GPRS-Negotiated-QoS-Profile": "08-48080000c3500000c350",
    "E-UTRAN-Cell-Global-Identity": bytes.fromhex("62f21000000001"),
    "Tracking-Area-Identity": bytes.fromhex("62f2100001"),
    "Cell-Global-Identity": bytes.fromhex("62f21000010001"),
    "Routing-Area-Identity": bytes.fromhex("62f210000101"),
    "Location-Area-Identity": bytes.fromhex("62f2100001"),
    "Service-Area-Identity": bytes.fromhex("62f21000010001"),
    "RAI": "26201000001",
    "3GPP-Session-Stop-Indicator": b"\xff",
    "User-Equipment-Info-Value": b"3141592653589790",
    "Presence-Reporting-Area-Elements-List": bytes(8),
    "Trace-Reference": bytes.fromhex("62f210000001"),
}
OTHER_NAMES = {
    "Acct-Multi-Session-Id": "Accounting-Multi-Session-Id",
    "3GPP-IPv6-DNS-Servers": "3GPP-IPv6-DNS-Server",
    "Call-Barring-Info": "Call-Barring-Infor-List",
    "Reporting-Reason": "3GPP-Reporting-Reason",
    "3GPP-PS-Data-Off-Status": "3GPP-PS-Data-Off-Status-Gx",
}
"""Where tshark's name is not the standard's."""


def example(dictionary: Dictionary, avp: Avp):
    if avp.name in EXAMPLES:
        return EXAMPLES[avp.name]
    if avp.type in TEXT:
        return TEXT[avp.type]
    if avp.type == "Grouped":
        members = [rule.name for rule in avp.members] or ["User-Name"]
        return [(name, example(dictionary, dictionary.avp(name))) for name in members]
    if avp.type == "Address":
        return "192.0.2.9"
    if avp.type == "Time":
        return AT
    if avp.type == "OctetString":
        return "text" if avp.form == "text" else FORMS.get(avp.form, b"\x01\x02\x03\x04\x05")
    return next(iter(avp.values.values()), 7)


def young(avp: Avp) -> bool:
    """What is younger than this tshark: RFC 8506's own, one of Sy, and groups of them."""
    return avp.code == 2907 or 653 <= avp.code < 670 or any(young(SHIPPED.avp(rule.name)) for rule in avp.members)


def agrees(avp: Avp, value, shown: str) -> bool:
    """Whether tshark shows the value that was encoded."""
    if avp.name in EXAMPLES or avp.type == "Grouped" or avp.form in ("plmn", "ipv6prefix", "tbcd"):
        return True  # tshark interprets the octets further; that it does so without a complaint is what counts
    if avp.type == "Time":
        return shown == datetime.fromtimestamp(value, UTC).strftime("%b %e, %Y %H:%M:%S.000000000 UTC")
    if isinstance(value, bytes):
        return shown == value.hex()
    octets = SHIPPED.encode(avp.name, value)[12 if avp.vendor else 8 :]
    return shown in (str(value), f'"{value}"', octets.hex()) or shown.endswith(f" ({value})")


def test_tshark_reads_every_avp_under_its_name_with_its_value(dictionary, tmp_path):
    avps = list(dictionary)
    values = [example(dictionary, avp) for avp in avps]
    first = dictionary.encode("Session-Id", "a;1;2")
    octets = [
        diameter.message(REQUEST, 272, GX, 1, 2, [first, dictionary.encode(avp.name, value)])
        for avp, value in zip(avps, values, strict=True)
    ]
    # Link type 147 is the user's: tshark is told that Diameter stands in it without TCP below.
    capture = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 147)
    capture += b"".join(struct.pack("<IIII", 0, 0, len(one), len(one)) + one for one in octets)
    (tmp_path / "avps.pcap").write_bytes(capture)
    link = 'uat:user_dlts:"User 0 (DLT=147)","diameter","0","","0",""'
    command = ["tshark", "-r", str(tmp_path / "avps.pcap"), "-o", link, "-T", "pdml"]
    text = subprocess.run(command, capture_output=True, check=True, timeout=60).stdout
    wrong = []
    unknown = set()
    for avp, value, packet in zip(avps, values, ElementTree.fromstring(text).findall("packet"), strict=True):
        proto = packet.find("proto[@name='diameter']")
        assert proto is not None
        [_, field] = [field for field in proto.findall("field") if field.get("name") == "diameter.avp"]
        found = re.fullmatch(
            r"AVP: (.+?)\((\d+)\) l=\d+ f=(\S+)(?: vnd=(\S+))?(?: val=(.*))?", field.get("showname", "")
        )
        assert found is not None, field.get("showname")
        name, _, flags, _, shown = found.groups()
        if name == "Unknown":
            unknown.add(avp.name)
            continue
        if name != OTHER_NAMES.get(avp.name, avp.name) or flags.startswith("V") != bool(avp.vendor):
            wrong.append((avp.name, name, flags))
        elif not agrees(avp, value, shown or ""):
            wrong.append((avp.name, str(value), shown))
        complaints = [item.get("showname", "") for item in packet.iter("field") if item.get("name") == "_ws.expert"]
        complaints += ["malformed" for _ in packet.findall("proto[@name='_ws.malformed']")]
        wrong += [
            (avp.name, "", complaint) for complaint in complaints if not ("Unknown AVP" in complaint and young(avp))
        ]
    assert wrong == [], "\n".join(map(str, wrong))
    assert unknown <= {avp.name for avp in avps if young(avp)}
