"""What a report of a NAS says in neutral words, whatever its attributes hold."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.mapping.accounting import AccountingMapping
from aaa.model.accounting import AccountingRecord, Status
from aaa.model.records import NasRecord
from aaa.radius.admission import Request, Source
from native.radius import Packet, Secret, attribute, integer_attribute, vendor_attribute
from native.token import TokenKey
from tests.engine.site import Site

AT = 1_700_000_000.0
SECRET = Secret(b"testing123")
KEY = TokenKey(bytes(32))
HUAWEI, ERX, CISCO = 2011, 4874, 9
STATUS, INPUT, OUTPUT, TIME, INPUT_GIGAWORDS, OUTPUT_GIGAWORDS = 40, 42, 43, 46, 52, 53
DELAY, STAMP, CLASS, FRAMED_IP, PREFIX, DELEGATED = 41, 55, 25, 8, 97, 123


class At:
    """The client behind a source, as far as the mapping is concerned."""

    secrets = (SECRET,)
    counters: list[int] = []  # noqa: RUF012
    rate_limit = 0.0


def read(attributes: bytes, **facts: Any) -> AccountingRecord:
    """The record of an Accounting-Request with these attributes."""
    nas = NasRecord(1, "bng", "bng")
    for name, value in facts.items():
        setattr(nas, name, value)
    packet = Packet.parse(SECRET.request(4, 1, attributes, message_authenticator=False))
    assert packet.fault == 0
    (record,) = AccountingMapping(KEY).to_records(
        [Request(packet, Source(b"\x7f\0\0\1", At(), nas), SECRET, False)],  # type: ignore[arg-type]
        AT,
    )
    return record


def integers(**values: int) -> bytes:
    return b"".join(integer_attribute(globals()[name], value) for name, value in values.items())


def test_counters_with_gigawords_are_one_number() -> None:
    record = read(integers(STATUS=3, INPUT=7, OUTPUT=8, INPUT_GIGAWORDS=1, OUTPUT_GIGAWORDS=2))
    assert (record.input_octets, record.output_octets, record.wide) == ((1 << 32) + 7, (2 << 32) + 8, True)


def test_what_is_not_reported_is_not_zero() -> None:
    record = read(integers(STATUS=3, OUTPUT_GIGAWORDS=2))
    assert (record.input_octets, record.output_octets, record.session_time_s) == (-1, -1, -1)


def test_a_nas_that_counts_the_wrong_way_round_is_put_right() -> None:
    record = read(integers(STATUS=3, INPUT=7, OUTPUT=8), swap_octets=True)
    assert (record.input_octets, record.output_octets) == (8, 7)


HUAWEI_IPV6 = b"".join(
    vendor_attribute(HUAWEI, number, struct.pack(">I", value))
    for number, value in zip((144, 145, 148, 149), (10, 20, 1, 2), strict=True)
)


@pytest.mark.parametrize(
    ("attributes", "swapped", "expected"),
    [
        (integers(INPUT=1, OUTPUT=2), False, ((1 << 32) + 11, (2 << 32) + 22)),
        (integers(INPUT=1, OUTPUT=2), True, ((2 << 32) + 22, (1 << 32) + 11)),
        (integers(INPUT=1), False, ((1 << 32) + 11, -1)),
        (integers(OUTPUT=2), False, (-1, (2 << 32) + 22)),
        (b"", False, (-1, -1)),
    ],
)
def test_ipv6_counters_of_their_own_are_added(attributes: bytes, swapped: bool, expected: tuple[int, int]) -> None:
    record = read(integers(STATUS=3) + attributes + HUAWEI_IPV6, family="huawei", swap_octets=swapped)
    assert (record.input_octets, record.output_octets) == expected


@pytest.mark.parametrize("status", [0, 9, 15, 0x10001, 0xFFFF0003, 2**32 - 1])
def test_an_unknown_status_is_none_of_ours(status: int) -> None:
    assert read(integers(STATUS=status)).status not in {s for s in Status if s}


@pytest.mark.parametrize("octets", [b"\xff" * 8, b"\x80" + bytes(7), b"\0\0\0\1\0\0\0\0", b"\xff" * 5])
def test_a_number_too_long_for_its_attribute_counts_as_not_reported(octets: bytes) -> None:
    numbers = (STATUS, INPUT, OUTPUT, TIME, INPUT_GIGAWORDS, OUTPUT_GIGAWORDS, DELAY, STAMP, 49)
    wide = b"".join(attribute(number, octets) for number in numbers)
    vendor = b"".join(vendor_attribute(HUAWEI, number, octets) for number in (144, 145, 148, 149))
    for family in ("generic", "huawei"):
        record = read(wide + vendor, family=family)
        assert (record.status, record.session_time_s, record.input_octets, record.output_octets) == (0, -1, -1, -1)
        assert (record.at, record.terminate_cause) == (AT, 0)
    record = read(integers(INPUT=1, OUTPUT=2) + vendor, family="huawei")
    assert (record.input_octets, record.output_octets) == (1, 2)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([STATUS, INPUT, OUTPUT, TIME, INPUT_GIGAWORDS, OUTPUT_GIGAWORDS, DELAY, STAMP, 49, 1, 44])
            | st.integers(1, 255).filter(lambda number: number != 80),
            st.binary(max_size=20) | st.sampled_from([b"\xff" * 8, b"\xff" * 4, b"\0\0\0\1", b"\0\0\0\3"]),
        ),
        max_size=20,
    ),
    st.sampled_from(["generic", "huawei", "juniper", "cisco"]),
    st.booleans(),
)
def test_no_report_raises(attributes: list[tuple[int, bytes]], family: str, swapped: bool) -> None:
    """And none costs the fold anything: its neighbours in the batch get their answers."""
    site = Site()
    vendor = b"".join(vendor_attribute(HUAWEI, 144 + n, b"\xff" * 8) for n in range(6))
    record = read(
        b"".join(attribute(number, value) for number, value in attributes) + vendor, family=family, swap_octets=swapped
    )
    record.nas = site.nas()
    for name in ("session_time_s", "input_octets", "output_octets", "terminate_cause"):
        assert -1 <= getattr(record, name) < 1 << 63
    site.report(Status.START)
    for status in (record.status, Status.INTERIM, Status.STOP):
        facts = ("session_time_s", "input_octets", "output_octets", "wide", "terminate_cause", "user_name")
        site.report(status, at=1.0, **{name: getattr(record, name) for name in facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("attributes", "trusted", "expected"),
    [
        (b"", True, AT),
        (integers(DELAY=0), True, AT),
        (integers(DELAY=30), True, AT - 30),
        (integers(DELAY=86_400), True, AT - 86_400),
        (integers(DELAY=86_401), True, AT),
        (integers(STAMP=int(AT) - 40), True, AT - 40),
        (integers(STAMP=int(AT) - 40, DELAY=30), True, AT - 40),
        (integers(STAMP=int(AT) - 40, DELAY=30), False, AT - 30),
        (integers(STAMP=int(AT) + 100, DELAY=30), True, AT),
        (integers(STAMP=0, DELAY=30), True, AT - 30),
        (integers(STAMP=int(AT) + 301, DELAY=30), True, AT - 30),
    ],
)
def test_when_it_happened(attributes: bytes, trusted: bool, expected: float) -> None:
    assert read(integers(STATUS=1) + attributes, trust_event_time=trusted).at == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (bytes.fromhex("0040 20010db800010002"), bytes.fromhex("40 20010db800010002") + bytes(8)),
        (bytes.fromhex("0038 20010db8000100"), bytes.fromhex("38 20010db8000100") + bytes(9)),
        (bytes.fromhex("0080") + bytes(16), bytes.fromhex("80") + bytes(16)),
        (bytes.fromhex("0000"), bytes(17)),
        (bytes.fromhex("0081") + bytes(16), None),
        (bytes.fromhex("0080") + bytes(17), None),
        (b"\0", None),
        (b"", None),
    ],
)
def test_ipv6_prefixes_come_in_any_length_that_holds_them(value: bytes, expected: bytes | None) -> None:
    record = read(attribute(PREFIX, value) + attribute(DELEGATED, value))
    assert (record.framed_prefix, record.delegated_prefix) == (expected, expected)


@pytest.mark.parametrize("value", [b"\0\0\0\0", b"\xff\xff\xff\xfe", b"\xff" * 4, b"", b"\x0a", bytes(5)])
def test_what_is_no_address_of_a_session_is_none(value: bytes) -> None:
    assert read(attribute(FRAMED_IP, value)).framed_ip is None


def test_our_class_is_found_among_others_and_a_forged_one_is_not_ours() -> None:
    token = KEY.seal(12345, 67, 89)
    for classes in ([token], [b"theirs", token], [b"", bytes(25), token]):
        record = read(b"".join(attribute(CLASS, value) for value in classes))
        assert (record.token_session, record.token_service) == (12345, 67)
    for position in range(len(token)):
        forged = bytearray(token)
        forged[position] ^= 1
        assert read(attribute(CLASS, bytes(forged))).token_session == 0


def test_a_service_inside_a_session_is_told_by_its_family() -> None:
    assert read(vendor_attribute(ERX, 83, b"fast(20m)"), family="juniper").service_session
    assert not read(vendor_attribute(ERX, 83, b"fast(20m)"), family="generic").service_session
    assert read(vendor_attribute(CISCO, 251, b"Ngold"), family="cisco").service_session
    assert not read(vendor_attribute(CISCO, 251, b"Agold"), family="cisco").service_session


@pytest.mark.parametrize(
    ("sent", "imsi"),
    [(b"001010000000001", "001010000000001"), (b"00101000000001\0", "00101000000001"), (b"", None), (b"abc", None),
     (b"0" * 16, None), ("\u0660".encode() * 15, None)],
)  # fmt: skip
def test_a_gateway_s_report_names_imsi_and_apn(sent: bytes, imsi: str | None) -> None:
    called = attribute(30, b"Internet.mnc001.mcc001.gprs")
    mobile = read(called + vendor_attribute(10415, 1, sent)).mobile
    assert (None if mobile is None else (mobile.imsi, mobile.apn)) == (None if imsi is None else (imsi, "internet"))
    assert read(called).mobile is None
