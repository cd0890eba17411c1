import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aaa.credential.identity import (
    MacStyle,
    NameRules,
    circuit_key,
    format_mac,
    is_mac_password,
    mac_passwords,
    mschapv2_user_name,
    normalize_mac,
    parse_circuit,
    parse_mac,
    show_circuit,
    split_realm,
)
from aaa.credential.verifier import CredentialError

MAC = bytes.fromhex("AABBCCDDEEFF")
macs = st.binary(min_size=6, max_size=6)
ids = st.none() | st.binary(max_size=40)


@pytest.mark.parametrize(
    "text",
    [
        b"AA:BB:CC:DD:EE:FF",
        b"AA-BB-CC-DD-EE-FF",
        b"AA.BB.CC.DD.EE.FF",
        b"aa:bb:cc:dd:ee:ff",
        b"aabb.ccdd.eeff",
        b"aabb-ccdd-eeff",
        b"AABB:CCDD:EEFF",
        b"aabbccddeeff",
        b"aAbBcCdDeEfF",
        b"aabbcc-ddeeff",
        b"AA:BB:CC:DD:EE:FF\0",
        b"aabb.ccdd.eeff  ",
        b"aabbccddeeff\0",
        b"aabbccddeeff \0\0\0\0\0\0\0",
    ],
)
def test_usual_spellings_of_a_mac_are_one(text: bytes) -> None:
    assert normalize_mac(text) == MAC
    assert is_mac_password(MAC, text)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\0",
        b" " * 17,
        b"alice@example.net",
        b"alicewonderl",
        b"aa:bb:cc:dd:ee",
        b"aa:bb:cc:dd:ee:f",
        b"aa:bb:cc:dd:ee:fff",
        b"aa:bb-cc:dd-ee:ff",
        b":a:bb:cc:dd:ee:ff",
        b"aa:bb:cc:dd:ee:g0",
        b"aabb.ccdd-eeff",
        b"aab.bccdd.eeff",
        b"aabbcc.ddeeff",
        b"-abbcc-ddeeff",
        b" aabbccddeeff",
        b"aabbccddeef\xff",
        b"aabbccddeeff00",
        b"a" * 253,
    ],
)
def test_other_text_is_no_mac(text: bytes) -> None:
    assert normalize_mac(text) is None
    assert not is_mac_password(MAC, text)


@given(st.binary(max_size=30))
@example(b"::::::::::::::::::")
def test_arbitrary_octets_never_raise(text: bytes) -> None:
    mac = normalize_mac(text)
    assert mac is None or len(mac) == 6
    NameRules(lower=True, realms=(b"x",)).candidates(text)


@given(macs, st.sampled_from(MacStyle))
def test_every_style_is_read_back(mac: bytes, style: MacStyle) -> None:
    text = format_mac(mac, style)
    assert normalize_mac(text.encode()) == mac
    assert parse_mac(text) == mac
    assert text.encode() in mac_passwords(mac)


def test_styles_are_spelled_as_their_vendors_do() -> None:
    assert format_mac(MAC) == "AA-BB-CC-DD-EE-FF"
    assert format_mac(MAC, MacStyle.COLON_UPPER) == "AA:BB:CC:DD:EE:FF"
    assert format_mac(MAC, MacStyle.DOT_LOWER) == "aabb.ccdd.eeff"
    assert format_mac(MAC, MacStyle.QUAD_LOWER) == "aabb-ccdd-eeff"
    assert format_mac(MAC, MacStyle.HALF_UPPER) == "AABBCC-DDEEFF"
    assert len(set(mac_passwords(MAC))) == len(MacStyle)


def test_pushed_mac_that_is_none_is_refused() -> None:
    with pytest.raises(CredentialError, match=r"lock\.mac: expected six octets"):
        parse_mac("02-00-00-00-00", "lock.mac")


@given(ids, ids, ids, ids)
@example(b"ab", b"c", b"a", b"bc")
@example(b"a", None, None, b"a")
def test_different_circuits_have_different_keys(
    a: bytes | None, b: bytes | None, c: bytes | None, d: bytes | None
) -> None:
    same = (a or b"", b or b"") == (c or b"", d or b"")
    assert (circuit_key(a, b) == circuit_key(c, d)) == same


def test_circuit_without_any_id_has_no_key() -> None:
    assert circuit_key(None, None) is None
    assert circuit_key(b"", b"") is None


@given(st.binary(min_size=1, max_size=120))
@example(b"0x00")
@example(b"0X")
@example(b"\x00\x04\x00\x64\x01\x02")
@example("Zürich eth 0/2:100".encode())
def test_shown_circuit_is_read_back(octets: bytes) -> None:
    assert parse_circuit(show_circuit(octets)) == octets


def test_circuit_text_is_octets() -> None:
    assert parse_circuit("NODE eth 0/2:100") == b"NODE eth 0/2:100"
    assert parse_circuit("0x000400640102") == b"\x00\x04\x00\x64\x01\x02"
    assert show_circuit(b"\x00\x04\x00\x64\x01\x02") == "0x000400640102"
    for text in ("", "0x", "0x0", "0xzz", "x" * 254, "\ud800"):
        with pytest.raises(CredentialError, match="remote_id: expected"):
            parse_circuit(text, "remote_id")


@pytest.mark.parametrize(
    ("name", "rules", "wanted"),
    [
        (b"alice", NameRules(), (b"alice",)),
        (b" alice \0\0", NameRules(), (b"alice",)),
        (b"alice ", NameRules(trim=False), (b"alice ",)),
        (b"Alice@Example.net", NameRules(), (b"Alice@Example.net",)),
        (b"Alice@Example.net", NameRules(lower=True), (b"alice@example.net",)),
        (b"Alice@Example.net ", NameRules(lower=True, realms=(b"example.net",)), (b"alice@example.net", b"alice")),
        (b"Alice@other.net", NameRules(realms=(b"example.net",)), (b"Alice@other.net",)),
        (b"ISP\\Alice", NameRules(realms=(b"isp",)), (b"ISP\\Alice", b"Alice")),
        (b"\xc4\xffB", NameRules(lower=True), (b"\xc4\xffb",)),
        (b"\0 ", NameRules(lower=True, realms=(b"isp",)), (b"",)),
    ],
)
def test_a_name_on_the_wire_may_mean_these_names(name: bytes, rules: NameRules, wanted: tuple[bytes, ...]) -> None:
    assert rules.candidates(name) == wanted
    assert not rules.is_exact(name) or rules.candidates(name) == (name,)


def test_realm_stands_behind_the_last_at_or_before_the_first_backslash() -> None:
    assert split_realm(b"a@b@c") == (b"a@b", b"c")
    assert split_realm(b"R\\u\\v") == (b"u\\v", b"R")
    assert split_realm(b"R\\u@c") == (b"R\\u", b"c")
    assert split_realm(b"alice") == (b"alice", b"")
    assert split_realm(b"alice@") == (b"alice", b"")


def test_mschapv2_leaves_the_domain_out() -> None:
    assert mschapv2_user_name(b"CORP\\User") == b"User"
    assert mschapv2_user_name(b"User@realm") == b"User@realm"
