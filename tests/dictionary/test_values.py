"""Text to octets and back, whole attributes, and what logs may see."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.dictionary import Dictionary, load
from native.radius import Packet

DICTIONARY = load()
EXTRA = """
VENDOR Wide 64998 format=2,2
BEGIN-VENDOR Wide
ATTRIBUTE Wide-Name 258 string
END-VENDOR Wide
ATTRIBUTE T-Byte 192 byte
ATTRIBUTE T-Short 193 short
ATTRIBUTE T-Signed 194 signed
ATTRIBUTE T-Ether 195 ether
ATTRIBUTE T-Date 196 date
ATTRIBUTE T-Bool 197 bool
ATTRIBUTE T-Combo 198 combo-ip
ATTRIBUTE T-Fixed 199 octets[4]
ATTRIBUTE T-Filter 200 abinary
ATTRIBUTE T-Internal 3000 string
ATTRIBUTE T-Virtual 1052 ipaddr virtual
"""


@pytest.fixture(scope="module")
def extra(tmp_path_factory: pytest.TempPathFactory) -> Dictionary:
    path = tmp_path_factory.mktemp("dictionary") / "dictionary.extra"
    path.write_text(EXTRA)
    return load([path])


def packet(attributes: bytes) -> Packet:
    decoded = Packet.parse(bytes([2, 7]) + (20 + len(attributes)).to_bytes(2, "big") + bytes(16) + attributes)
    assert decoded.fault == 0
    return decoded


@pytest.mark.parametrize(
    ("name", "value", "tag", "wire"),
    [
        ("Filter-Id", "gold", None, "0b06676f6c64"),
        ("filter-id", 7, None, "0b0337"),
        ("Session-Timeout", 86400, None, "1b0600015180"),
        ("Session-Timeout", "86400", None, "1b0600015180"),
        ("Service-Type", "framed-user", None, "060600000002"),
        ("Service-Type", "0x02", None, "060600000002"),
        ("Framed-IP-Address", "192.0.2.1", None, "0806c0000201"),
        ("Framed-IP-Address", b"\xc0\x00\x02\x01", None, "0806c0000201"),
        ("Framed-IPv6-Address", "2001:db8::1", None, "a81220010db8000000000000000000000001"),
        ("Delegated-IPv6-Prefix", "2001:db8:1::/48", None, "7b14003020010db8000100000000000000000000"),
        ("PMIP6-Home-IPv4-HoA", "192.0.2.0/24", None, "9b080018c0000200"),
        ("Framed-Interface-Id", "1:22:333:4444", None, "600a0001002203334444"),
        ("Event-Timestamp", "2024-02-29T12:00:00Z", None, "370665e071c0"),
        ("Event-Timestamp", "Feb 29 2024 12:00:00 UTC", None, "370665e071c0"),
        ("Class", "0x0102", None, "19040102"),
        ("Class", "text", None, "190674657874"),
        ("MIP6-Feature-Vector", 2**63, None, "7c0a8000000000000000"),
        ("Tunnel-Type", "L2TP", 1, "400601000003"),
        ("Tunnel-Type", "L2TP", None, "400600000003"),
        ("Tunnel-Private-Group-Id", "100", 2, "510602313030"),
        ("Tunnel-Private-Group-Id", "100", None, "5105313030"),
        ("Tunnel-Private-Group-Id", "100", 0, "510600313030"),
        ("Mikrotik-Rate-Limit", "10M/50M", None, "1a0f00003a8c080931304d2f35304d"),
        ("ERX-Service-Activate", "fast(20m)", 1, "1a120000130a410c01666173742832306d29"),
        ("Frag-Status", "More-Data-Pending", None, "f1070100000002"),
        ("IPv6-6rd-IPv4MaskLen", 8, None, "ad08010600000008"),
        ("IP-Port-Limit", 1024, None, "f10905020600000400"),
    ],
)
def test_encode_gives_the_whole_attribute(name: str, value: str | int | bytes, tag: int | None, wire: str) -> None:
    assert DICTIONARY.encode(name, value, tag).hex() == wire


@pytest.mark.parametrize(
    ("name", "value", "wire"),
    [
        ("Wide-Name", "a", "1a0b0000fde60102000561"),
        ("T-Byte", 255, "c003ff"),
        ("T-Short", 65535, "c104ffff"),
        ("T-Signed", -1, "c206ffffffff"),
        ("T-Signed", "-1", "c206ffffffff"),
        ("T-Ether", "02:00:00:00:00:01", "c308020000000001"),
        ("T-Ether", "0200.0000.0001", "c308020000000001"),
        ("T-Date", 0, "c40600000000"),
        ("T-Bool", "yes", "c50301"),
        ("T-Combo", "192.0.2.1", "c606c0000201"),
        ("T-Combo", "2001:db8::1", "c61220010db8000000000000000000000001"),
        ("T-Fixed", "0x01020304", "c70601020304"),
    ],
)
def test_encode_of_types_that_operators_files_use(extra: Dictionary, name: str, value: str | int, wire: str) -> None:
    assert extra.encode(name, value).hex() == wire


def test_ascend_filter_text_is_packed(extra: Dictionary) -> None:
    assert len(extra.encode("T-Filter", "family=ipv4 action=accept direction=in")) > 20


@pytest.mark.parametrize(
    ("name", "value", "tag", "message"),
    [
        ("Mikrotik-Rate-Limt", "1M", None, "no such attribute; did you mean Mikrotik-Rate-Limit?"),
        ("Session-Timeout", "soon", None, "'soon' is not a number"),
        ("Session-Timeout", 2**32, None, "does not fit integer"),
        ("Session-Timeout", -1, None, "does not fit integer"),
        ("Service-Type", "Framd-User", None, "did you mean Framed-User?"),
        ("Framed-IP-Address", "192.0.2.256", None, "is not of type ipaddr"),
        ("Framed-IP-Address", b"123", None, "ipaddr is 4 octets, not 3"),
        ("Delegated-IPv6-Prefix", "2001:db8::1/48", None, "is not of type ipv6prefix"),
        ("Framed-Interface-Id", "1:2:3", None, "four groups"),
        ("Class", "0xzz", None, "is not of type octets"),
        ("Event-Timestamp", "yesterday", None, "is not of type date"),
        ("Filter-Id", "", None, "an empty value cannot be sent"),
        ("Filter-Id", "x" * 254, None, "254 octets, 253 fit"),
        ("Mikrotik-Rate-Limit", "x" * 248, None, "cannot be sent"),
        ("Filter-Id", "gold", 1, "takes no tag"),
        ("Tunnel-Type", "L2TP", 32, "tag 32 is outside 0..31"),
        ("Tunnel-Type", 2**24, 1, "a tagged number has 24 bits"),
        ("User-Password", "secret", None, "is encrypted per packet"),
        ("Tunnel-Password", "secret", 1, "is encrypted per packet"),
        ("MS-MPPE-Send-Key", b"secret", None, "is encrypted per packet"),
        ("Extended-Attribute-1", "x", None, "only holds other attributes"),
        ("Vendor-Specific", b"\0\0\0\1\1\3a", None, "only holds other attributes"),
    ],
)
def test_encode_refuses_and_says_what_to_do(name: str, value: str | int | bytes, tag: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        DICTIONARY.encode(name, value, tag)
    assert message in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("T-Internal", "x"), ("T-Virtual", "192.0.2.1"), ("T-Fixed", "0x01")])
def test_encode_refuses_what_cannot_be_on_the_wire(extra: Dictionary, name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name):
        extra.encode(name, value)


def test_concat_value_is_split_over_attributes_of_the_same_type() -> None:
    wire = DICTIONARY.encode("EAP-Message", bytes(300))
    assert [len(value) for _, value in packet(wire).attributes()] == [253, 47]


@given(
    st.sampled_from([attribute for attribute in DICTIONARY if not attribute.encrypt and attribute.type != "tlv"]),
    st.data(),
)
def test_what_is_shown_is_read_back_to_the_same_octets(attribute: object, data: st.DataObject) -> None:
    from aaa.dictionary import Attribute

    assert isinstance(attribute, Attribute)
    kind = attribute.type
    text: str | int
    if kind in ("byte", "short", "integer", "integer64", "date"):
        bits = {"byte": 8, "short": 16, "integer": 24, "integer64": 64, "date": 32}[kind]
        text = data.draw(st.integers(0, 2**bits - 1))
    elif kind == "string":
        text = data.draw(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=40))
    elif kind == "octets":
        text = "0x" + data.draw(st.binary(min_size=1, max_size=40)).hex()
    elif kind == "ipaddr":
        text = str(data.draw(st.ip_addresses(v=4)))
    elif kind == "ipv6addr":
        text = str(data.draw(st.ip_addresses(v=6)))
    elif kind in ("ipv4prefix", "ipv6prefix"):
        address = data.draw(st.ip_addresses(v=4 if kind == "ipv4prefix" else 6))
        length = data.draw(st.integers(0, address.max_prefixlen))
        text = str(ipaddress.ip_network((str(address), length), strict=False))
    elif kind == "ifid":
        text = ":".join(f"{group:x}" for group in data.draw(st.lists(st.integers(0, 0xFFFF), min_size=4, max_size=4)))
    else:
        return
    tag = data.draw(st.integers(1, 31)) if attribute.has_tag else None
    octets = attribute.pack(text, tag)
    seen_tag, inner = attribute.split_tag(octets)
    assert seen_tag == tag
    assert attribute.pack(attribute.show(inner), tag) == octets


@given(st.sampled_from(list(DICTIONARY)), st.binary(max_size=64))
def test_showing_any_octets_never_fails_and_is_one_printable_line(attribute: object, octets: bytes) -> None:
    from aaa.dictionary import Attribute

    assert isinstance(attribute, Attribute)
    assert DICTIONARY.decode_value(attribute, octets).isprintable()


def test_decoded_packet_is_printable_pairs_in_order() -> None:
    wire = (
        DICTIONARY.encode("User-Name", "alice\x1b[2J")
        + DICTIONARY.encode("Service-Type", 2)
        + DICTIONARY.encode("Tunnel-Type", "VLAN", 1)
        + DICTIONARY.encode("Event-Timestamp", 1709208000)
        + DICTIONARY.encode("Mikrotik-Rate-Limit", "10M/50M")
        + DICTIONARY.encode("IP-Port-Limit", 5)
        + bytes([192, 3, 0xAA])
        + DICTIONARY.encode("ADSL-Agent-Circuit-Id", b"\x00\x04\xff")
    )
    assert DICTIONARY.decode_packet(packet(wire)) == [
        ("User-Name", "alice\\x1b[2J"),
        ("Service-Type", "Framed-User"),
        ("Tunnel-Type:1", "VLAN"),
        ("Event-Timestamp", "2024-02-29T12:00:00Z"),
        ("Mikrotik-Rate-Limit", "10M/50M"),
        ("IP-Port-Limit", "5"),
        ("Attr-192", "0xaa"),
        ("ADSL-Agent-Circuit-Id", "0x0004ff"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "User-Password",
        "CHAP-Password",
        "CHAP-Challenge",
        "MS-CHAP-Response",
        "MS-CHAP2-Response",
        "MS-CHAP2-Success",
        "MS-CHAP-Challenge",
        "MS-CHAP-NT-Enc-PW",
        "MS-CHAP-LM-Enc-PW",
        "MS-CHAP2-CPW",
        "MS-CHAP-MPPE-Keys",
        "MS-MPPE-Send-Key",
        "MS-MPPE-Recv-Key",
        "Tunnel-Password",
        "EAP-Message",
        "ARAP-Password",
        "Digest-Response",
        "Mikrotik-Wireless-PSK",
        "Mikrotik-Wireless-Enc-Key",
        "ERX-PPP-Password",
        "Cisco-Subscriber-Password",
        "Huawei-User-Password",
        "Aruba-MPSK-Passphrase",
    ],
)
def test_secrets_are_never_shown(name: str) -> None:
    attribute = DICTIONARY.attribute(name)
    assert attribute is not None
    assert DICTIONARY.decode_value(attribute, b"s3cret-value-123") == "***"


@pytest.mark.parametrize("name", ["MS-CHAP-Error", "Password-Retry", "Reply-Message", "Class", "EAP-Key-Name"])
def test_what_support_needs_to_see_is_shown(name: str) -> None:
    attribute = DICTIONARY.attribute(name)
    assert attribute is not None
    assert DICTIONARY.decode_value(attribute, b"\0\0\0\3") != "***"


def test_secret_inside_a_vendor_pair_is_hidden() -> None:
    attribute = DICTIONARY.attribute("Cisco-AVPair")
    assert attribute is not None
    assert DICTIONARY.decode_value(attribute, b"psk=verysecret") == "psk=***"
    assert DICTIONARY.decode_value(attribute, b"ip:addr-pool=home") == "ip:addr-pool=home"


def test_broken_tlv_is_shown_whole() -> None:
    wire = bytes([173, 6, 1, 0, 0, 0])
    assert DICTIONARY.decode_packet(packet(wire)) == [("IPv6-6rd-Configuration", "0x01000000")]


def test_suggestion_is_the_nearest_name_or_nothing() -> None:
    assert DICTIONARY.suggest("mikrotik-ratelimit") == "Mikrotik-Rate-Limit"
    assert DICTIONARY.suggest("zzzzzzzz") is None
