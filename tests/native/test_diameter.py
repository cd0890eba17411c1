"""The Diameter codec against a reader of a few lines of plain Python, tshark, and RFC 6733's words."""

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native import diameter
from native.diameter import Definitions, Grammar, Message

REQUEST = diameter.FLAG_REQUEST | diameter.FLAG_PROXIABLE
GX = 16777238
TGPP = 10415
SESSION_ID, ORIGIN_HOST, ORIGIN_REALM, AUTH_APPLICATION_ID = 263, 264, 296, 258
REQUEST_TYPE, REQUEST_NUMBER, SUBSCRIPTION_ID, ID_TYPE, ID_DATA, HOST_IP = 416, 415, 443, 450, 444, 257

codes = st.integers(0, 2**32 - 1)
vendors = st.one_of(st.just(0), st.integers(1, 2**32 - 1))
avps = st.lists(st.tuples(codes, vendors, st.booleans(), st.binary(max_size=40)), max_size=20)


def read(octets: bytes) -> list[tuple[int, int, int, bytes]]:
    """AVPs by RFC 6733 §4.1, written from its figure."""
    found = []
    while octets:
        code, word = struct.unpack(">II", octets[:8])
        flags, length = word >> 24, word & 0xFFFFFF
        vendor, header = (struct.unpack(">I", octets[8:12])[0], 12) if flags & 0x80 else (0, 8)
        found.append((code, vendor, flags, octets[header:length]))
        octets = octets[length + -length % 4 :]
    return found


def head(size: int, flags: int = REQUEST, version: int = 1) -> bytes:
    return struct.pack(">IIIII", version << 24 | size, flags << 24 | 272, GX, 7, 9)


def parse(body: bytes, flags: int = REQUEST) -> Message:
    return Message.parse(head(20 + len(body), flags) + body)


@given(avps)
def test_what_is_encoded_is_read_by_another_reader_and_by_ours(members):
    parts = [diameter.avp(code, value, vendor, mandatory) for code, vendor, mandatory, value in members]
    octets = diameter.message(REQUEST, 272, GX, 7, 9, parts)
    assert octets[:20] == head(len(octets))
    message = Message.parse(octets)
    assert message.fault == diameter.FAULT_NONE
    expected = [
        (code, vendor, (0x80 if vendor else 0) | (0x40 if mandatory else 0), value)
        for code, vendor, mandatory, value in members
    ]
    assert message.avps() == read(octets[20:]) == expected
    for code, vendor, _, _ in members:
        values = [value for other, of, _, value in members if (other, of) == (code, vendor)]
        assert message.get_all(code, vendor) == values
        assert message.get(code, vendor) == values[0]
    assert (message.command, message.application, message.hop_by_hop, message.end_to_end) == (272, GX, 7, 9)


@given(st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**64 - 1))
def test_numbers_come_back(word, signed, long):
    message = parse(
        diameter.unsigned32_avp(1, word) + diameter.integer32_avp(2, signed) + diameter.unsigned64_avp(3, long, TGPP)
    )
    assert message.get_unsigned32(1) == word
    assert message.get_integer32(2) == signed
    assert message.get_unsigned64(3, TGPP) == long
    assert message.get_unsigned64(3) is None
    assert message.get_unsigned64(1) is None


def test_groups_nest_and_know_their_depth():
    inner = diameter.grouped_avp(2, [diameter.avp(3, b"x")], TGPP)
    message = parse(diameter.grouped_avp(1, [inner, inner]))
    group = message.get_group(1)
    assert group is not None
    assert [each.get(3) for each in group.get_groups(2, TGPP)] == [b"x", b"x"]
    assert (message.depth, group.depth) == (0, 1)
    nested = diameter.avp(9, b"")
    for _ in range(diameter.GROUP_DEPTH_MAX + 2):
        nested = diameter.grouped_avp(9, [nested])
    deeper = parse(nested)
    while deeper.fault == diameter.FAULT_NONE:
        found = deeper.get_group(9)
        assert found is not None
        deeper = found
    assert deeper.fault == diameter.FAULT_DEPTH


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"", "message_length"),
        (head(20)[:19], "message_length"),
        (head(24), "message_length"),
        (head(20, version=2), "version"),
        (head(21) + b"\0", "message_length"),
        (head(20, flags=0x81), "header_bits"),
        (head(20, flags=0xA0), "header_bits"),
        (head(28) + struct.pack(">II", 1, 7), "avp_length"),
        (head(28) + struct.pack(">II", 1, 9), "avp_length"),
        (head(28) + struct.pack(">II", 1, 0xFFFFFF), "avp_length"),
        (head(28) + struct.pack(">II", 1, 0x80000008), "avp_length"),
        (head(24) + struct.pack(">I", 1), "avp_length"),
    ],
)
def test_a_length_that_lies_is_a_fault_and_shows_nothing(octets, fault):
    message = Message.parse(octets)
    assert diameter.FAULTS[message.fault] == fault
    assert message.avps() == []


def test_the_avp_with_the_wrong_length_is_given_for_failed_avp():
    wrong = struct.pack(">III", 443, 0x40FFFFFF, 1)
    message = parse(diameter.avp(SESSION_ID, b"a;1") + wrong)
    assert message.get(SESSION_ID) == b"a;1"
    assert message.failed() == struct.pack(">II", 443, 0x40000008)


def test_too_many_avps_are_a_fault():
    message = parse(diameter.avp(1, b"") * (diameter.AVP_COUNT_MAX + 1))
    assert message.fault == diameter.FAULT_TOO_MANY_AVPS


@given(st.lists(avps, max_size=5), st.integers(0, 400))
def test_a_stream_is_split_wherever_it_is_cut(messages, cut):
    whole = [
        diameter.message(REQUEST, 272, GX, n, n, [diameter.avp(c, v, o, m) for c, o, m, v in members])
        for n, members in enumerate(messages)
    ]
    stream = b"".join(whole)
    buffer = bytearray(stream[:cut])
    first, consumed, fault = diameter.split(buffer, 65_536)
    assert fault == 0
    rest, more, fault = diameter.split(buffer[consumed:] + stream[cut:], 65_536)
    assert fault == 0
    assert [message.raw for message in first + rest] == whole
    assert consumed + more == len(stream)


@pytest.mark.parametrize(
    ("octets", "fault"),
    [
        (b"\x02\0\0\x14", "version"),
        (b"\x01\0\0\x10", "message_length"),
        (b"\x01\0\0\x15", "message_length"),
        (b"\x01\xff\xff\xfc", "message_length"),
        (b"\x16\x03\x01\x02", "version"),
    ],
)
def test_a_stream_that_cannot_be_mended_is_known_by_its_first_octets(octets, fault):
    good = diameter.message(REQUEST, 280, 0, 1, 1, [])
    messages, consumed, found = diameter.split(bytearray(good + octets), 65_536)
    assert ([message.raw for message in messages], consumed) == ([good], len(good))
    assert diameter.FAULTS[found] == fault


@given(st.integers(1, 200), st.integers(0, 3))
def test_many_avps_are_found_like_few(count, cut):
    members = [diameter.avp(number, b"x" * (number % 5), number % 3) for number in range(1, count + 1)]
    body = b"".join(members)
    body = body[: len(body) - 4 * cut]
    message = parse(body)
    sound = sum(len(b"".join(members[:number])) <= len(body) for number in range(1, count + 1))
    assert message.avps() == read(b"".join(members[:sound]))
    assert (message.fault == diameter.FAULT_NONE) == (len(b"".join(members[:sound])) == len(body))


def test_an_answer_can_repeat_what_came_and_texts_are_read_in_place():
    odd = reserved(diameter.avp(SESSION_ID, b"a;\xc3\xa9;1"), 0x20)
    message = parse(odd + diameter.avp(ORIGIN_HOST, b"\xff") + diameter.avp(ORIGIN_REALM, b""))
    assert message.echo(SESSION_ID) == odd
    assert message.echo(REQUEST_TYPE) == b""
    assert message.get_text(SESSION_ID) == "a;é;1"
    assert message.get_text(ORIGIN_HOST) == "\ufffd"
    assert message.get_text(ORIGIN_REALM) == ""
    assert message.get_text(REQUEST_TYPE) is None


def test_a_message_sent_again_is_the_same_and_no_other_is():
    body = diameter.avp(SESSION_ID, b"a;1") + diameter.avp(ORIGIN_HOST, b"smf")
    first = parse(body)
    again = Message.parse(diameter.readdressed(first.raw, 77, retransmitted=True))
    assert again.sameness() == first.sameness()
    moved = diameter.avp(SESSION_ID, b"a;") + diameter.avp(ORIGIN_HOST, b"1smf")
    others = [
        parse(b""),
        parse(moved),
        parse(body[:12]),
        parse(body[12:]),
        *(Message.parse(diameter.message(REQUEST, *head, 7, to, [body])) for head, to in (
            ((272, GX), 8), ((272, 4), 9), ((271, GX), 9)
        )),
    ]  # fmt: skip
    assert len({other.sameness() for other in (*others, first)}) == len(others) + 1


def test_an_answer_bears_what_its_request_says():
    request = Message.parse(diameter.message(REQUEST | diameter.FLAG_RETRANSMITTED, 272, GX, 5, 6, []))
    octets = diameter.answer(request, [diameter.unsigned32_avp(268, 2001)])
    found = Message.parse(octets)
    assert (found.flags, found.command, found.application) == (diameter.FLAG_PROXIABLE, 272, GX)
    assert (found.hop_by_hop, found.end_to_end) == (5, 6)
    assert Message.parse(diameter.answer(request, [], error=True)).flags == 0x60
    again = Message.parse(diameter.readdressed(request.raw, 77, retransmitted=True))
    assert (again.hop_by_hop, again.end_to_end, again.flags) == (77, 6, 0xD0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: diameter.avp(1, bytes(2**24)),
        lambda: diameter.grouped_avp(1, [bytes(2**23), bytes(2**23)]),
        lambda: diameter.message(0, 272, 0, 0, 0, [bytes(2**23), bytes(2**23)]),
        lambda: diameter.message(0, 2**24, 0, 0, 0, []),
        lambda: diameter.readdressed(b"", 1),
    ],
)
def test_what_does_not_fit_its_length_is_refused(make):
    with pytest.raises(ValueError, match=r"\d"):
        make()


# Grammars


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    """A cut-down CCR: enough to break every rule."""
    known = Definitions()
    subscription = Grammar(known, [(ID_TYPE, 0, 1, 1), (ID_DATA, 0, 1, 1)], extensible=False)
    known.define(SESSION_ID, 0, diameter.KIND_OCTETS)
    known.define(ID_DATA, 0, diameter.KIND_TEXT)
    for code in (AUTH_APPLICATION_ID, REQUEST_TYPE, REQUEST_NUMBER, ID_TYPE):
        known.define(code, 0, diameter.KIND_32)
    for code in (ORIGIN_HOST, ORIGIN_REALM):
        known.define(code, 0, diameter.KIND_IDENTITY)
    known.define(421, 0, diameter.KIND_64)
    known.define(HOST_IP, 0, diameter.KIND_ADDRESS)
    known.define(SUBSCRIPTION_ID, 0, diameter.KIND_GROUPED, subscription)
    return Grammar(
        known,
        [(SESSION_ID, 0, 1, 1), (ORIGIN_HOST, 0, 1, 1), (REQUEST_TYPE, 0, 1, 1), (SUBSCRIPTION_ID, 0, 0, -1)],
    )


SOUND = diameter.avp(SESSION_ID, b"a;1") + diameter.avp(ORIGIN_HOST, b"smf") + diameter.unsigned32_avp(REQUEST_TYPE, 1)
LONGEST_NAME, TOO_LONG = b"x" * diameter.IDENTITY_OCTETS_MAX, b"x" * (diameter.IDENTITY_OCTETS_MAX + 1)
LONGEST_TEXT = b"x" * diameter.TEXT_OCTETS_MAX
TYPE, DATA = diameter.unsigned32_avp(ID_TYPE, 1), diameter.avp(ID_DATA, b"001")


def reserved(octets: bytes, flags: int) -> bytes:
    """An AVP with more flags."""
    return octets[:4] + bytes((octets[4] | flags,)) + octets[5:]


@pytest.mark.parametrize(
    ("body", "failure"),
    [
        (SOUND, None),
        (SOUND + diameter.grouped_avp(SUBSCRIPTION_ID, [TYPE, DATA]) * 3, None),
        (SOUND + diameter.avp(4000, b"x", TGPP, mandatory=False), None),
        (SOUND + diameter.unsigned32_avp(REQUEST_NUMBER, 1), None),
        (SOUND + diameter.avp(4000, b"x", TGPP), (5001, diameter.avp(4000, b"x", TGPP))),
        (SOUND[:12], (5005, diameter.avp(ORIGIN_HOST, b""))),
        (SOUND[:-12], (5005, diameter.unsigned32_avp(REQUEST_TYPE, 0))),
        (SOUND + SOUND[:12], (5009, SOUND[:12])),
        (SOUND + reserved(TYPE, 0x04), (3009, TYPE)),
        (
            SOUND + diameter.grouped_avp(SUBSCRIPTION_ID, [TYPE, reserved(DATA, 0x01)]),
            (3009, diameter.grouped_avp(SUBSCRIPTION_ID, [DATA])),
        ),
        (SOUND + reserved(TYPE, 0x20), None),
        (SOUND + diameter.avp(421, b"1234"), (5014, diameter.avp(421, b"1234"))),
        (SOUND + diameter.avp(HOST_IP, b"\0\x01abc"), (5014, diameter.avp(HOST_IP, b"\0\x01abc"))),
        (SOUND + diameter.avp(HOST_IP, b"\0\x08+1555"), None),
        (SOUND + diameter.avp(ORIGIN_REALM, b""), (5004, diameter.avp(ORIGIN_REALM, b""))),
        (SOUND + diameter.avp(ORIGIN_REALM, LONGEST_NAME), None),
        (SOUND + diameter.avp(ORIGIN_REALM, TOO_LONG), (5004, diameter.avp(ORIGIN_REALM, TOO_LONG))),
        (SOUND + diameter.avp(ID_DATA, LONGEST_TEXT), None),
        (SOUND + diameter.avp(ID_DATA, LONGEST_TEXT + b"x"), (5004, diameter.avp(ID_DATA, LONGEST_TEXT + b"x"))),
        (SOUND + struct.pack(">II", 421, 0x40000100), (5014, struct.pack(">II", 421, 0x40000008))),
        (
            SOUND + diameter.grouped_avp(SUBSCRIPTION_ID, [TYPE]),
            (5005, diameter.grouped_avp(SUBSCRIPTION_ID, [diameter.avp(ID_DATA, b"")])),
        ),
        (
            SOUND + diameter.grouped_avp(SUBSCRIPTION_ID, [TYPE, DATA, SOUND[:12]]),
            (5008, diameter.grouped_avp(SUBSCRIPTION_ID, [SOUND[:12]])),
        ),
    ],
)
def test_a_grammar_names_the_first_offender(grammar, body, failure):
    assert grammar.check(parse(body)) == failure


@given(st.lists(st.sampled_from([SOUND[:12], SOUND[12:24], SOUND[24:], TYPE, DATA]), max_size=6))
def test_a_grammar_says_what_counting_says(grammar_members):
    known = Definitions()
    for code in (SESSION_ID, ORIGIN_HOST, REQUEST_TYPE, ID_TYPE, ID_DATA):
        known.define(code, 0, diameter.KIND_OCTETS)
    grammar = Grammar(known, [(SESSION_ID, 0, 1, 1), (ORIGIN_HOST, 0, 0, 2)], extensible=False)
    found = [code for code, *_ in read(b"".join(grammar_members))]
    allowed = set(found) <= {SESSION_ID, ORIGIN_HOST}
    fits = allowed and found.count(SESSION_ID) == 1 and found.count(ORIGIN_HOST) <= 2
    assert (grammar.check(parse(b"".join(grammar_members))) is None) == fits


def test_a_grammar_that_contradicts_itself_is_refused():
    known = Definitions()
    for rules in ([(1, 0, 2, 1)], [(1, 0, 0, 0)], [(1, 0, 0, 1), (1, 0, 0, 1)], [(1, 0, -1, 1)]):
        with pytest.raises(ValueError, match="AVP 1"):
            Grammar(known, rules)
    with pytest.raises(ValueError, match="grammar inside"):
        known.define(1, 0, diameter.KIND_32, Grammar(known, []))


def test_thousands_of_definitions_are_found_again():
    known = Definitions()
    for code in range(5000):
        known.define(code, code % 3, diameter.KIND_32)
    grammar = Grammar(known, [])
    for code in range(0, 5000, 7):
        assert grammar.check(parse(diameter.unsigned32_avp(code, 1, code % 3))) is None
        wrong = diameter.unsigned32_avp(code, 1, code % 3 + 1)
        assert grammar.check(parse(wrong)) == (5001, wrong)


def test_tshark_reads_what_is_encoded(tmp_path: Path):
    """A Credit-Control-Request as an SMF would send it."""
    octets = diameter.message(
        REQUEST, 272, GX, 7, 9,
        [
            diameter.avp(SESSION_ID, b"smf.localdomain;1;1;gx"),
            diameter.unsigned32_avp(AUTH_APPLICATION_ID, GX),
            diameter.avp(ORIGIN_HOST, b"smf.localdomain"),
            diameter.avp(ORIGIN_REALM, b"localdomain"),
            diameter.avp(283, b"localdomain"),
            diameter.unsigned32_avp(REQUEST_TYPE, 1),
            diameter.unsigned32_avp(REQUEST_NUMBER, 0),
            diameter.grouped_avp(SUBSCRIPTION_ID, [TYPE, diameter.avp(ID_DATA, b"001010000000001")]),
            diameter.unsigned32_avp(1027, 5, TGPP),
        ],
    )  # fmt: skip
    tcp = struct.pack(">HHIIHHHH", 3868, 3868, 1, 0, 0x5018, 65535, 0, 0) + octets
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0, b"\x7f\0\0\x01", b"\x7f\0\0\x01") + tcp
    capture = tmp_path / "ccr.pcap"
    capture.write_bytes(
        struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101) + struct.pack("<IIII", 0, 0, len(ip), len(ip)) + ip
    )
    command = ["tshark", "-r", str(capture), "-O", "diameter"]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    for expected in (
        "Session-Id: smf.localdomain;1;1;gx",
        "Subscription-Id-Data: 001010000000001",
        "IP-CAN-Type: 3GPP-EPS (5)",
        "Subscription-Id-Type: END_USER_IMSI (1)",
    ):
        assert expected in text, text
    assert "Malformed" not in text
    assert "Expert Info" not in text
