"""What must hold for any octets.

Each harness takes one input and raises when its invariant, the first sentence of its docstring, does not hold.
"""

import tomllib
from collections.abc import Iterator
from pathlib import Path

from native import crypto, diameter, milenage, radius
from native.diameter import Definitions, Grammar, Message
from native.radius import Packet, Secret

SECRET = Secret(b"xyzzy5461")
CISCO, USR, LUCENT, STARENT, WIMAX = 9, 429, 4846, 8164, 24757
VENDORS = (CISCO, USR, LUCENT, STARENT, WIMAX, 0xFFFFFFFF)
VENDOR_SPECIFIC, PROXY_STATE, USER_PASSWORD = 26, 33, 2
REQUESTS = (1, 4, 12, 40, 43)
SIDES = ("request", "response")

radius.set_vendor_format(USR, 4, 0)
radius.set_vendor_format(LUCENT, 2, 1)
radius.set_vendor_format(STARENT, 2, 2)
radius.set_vendor_format(WIMAX, 1, 1, continuation=True)

slot = Packet()


def encode(path: tuple[int, ...], value: bytes) -> bytes:
    if len(path) == 1:
        return radius.attribute(path[0], value) if path[0] else bytes((0, len(value) + 2)) + value
    if path[0] == VENDOR_SPECIFIC:
        return radius.vendor_attribute(path[1], path[2], value)
    return radius.extended_attribute(path, value)


def check_nothing_shown(packet: Packet) -> None:
    assert packet.raw == packet.authenticator == b""
    assert packet.attributes() == []
    assert packet.get(1) is packet.get(26) is packet.get(80) is None
    assert packet.get_vendor(CISCO, 1) is packet.get_extended(241, 1) is None
    assert SECRET.verify_message_authenticator(packet) == radius.MA_ABSENT
    assert SECRET.reveal_password(packet) is None
    assert not SECRET.verify_accounting(packet)


def check_getters(packet: Packet, found: list[tuple[tuple[int, ...], bytes]]) -> None:
    values: dict[tuple[int, ...], list[bytes]] = {}
    for path, value in found:
        values.setdefault(path, []).append(value)
    for path, expected in values.items():
        if len(path) == 1:
            assert packet.has(path[0])
            if path[0] != VENDOR_SPECIFIC and not 241 <= path[0] <= 246:
                assert packet.get_all(path[0]) == expected
                assert packet.get(path[0]) == expected[0]
                assert packet.concat(path[0]) == b"".join(expected)
                number = packet.get_integer(path[0])
                assert number == (int.from_bytes(expected[0]) if 1 <= len(expected[0]) <= 8 else None)
        elif path[0] == VENDOR_SPECIFIC:
            assert packet.get_vendor_all(*path[1:]) == expected
            assert packet.get_vendor(*path[1:]) == expected[0]
            packet.get_vendor_integer(*path[1:])
        else:
            assert packet.get_extended(*path) == expected[0]
            for number, content in radius.tlvs(expected[0]) or ():
                packet.get_extended(*path, number, 1)
                assert content
    for vendor in VENDORS:
        if (VENDOR_SPECIFIC, vendor, 1) not in values:
            assert packet.get_vendor(vendor, 1) is None
    for outer in range(241, 247):
        if (outer, 1) not in values:
            assert packet.get_extended(outer, 1) is None


def decode(data: bytes) -> None:
    """A packet has a fault and shows nothing, or its getters agree with attributes(), which encode to the same."""
    packet = Packet.parse(data)
    Packet.__init__(slot, data)
    assert slot.decode() == packet.fault
    if packet.fault:
        check_nothing_shown(slot)
        assert packet.copy().attributes() == []
        return
    found = packet.attributes()
    assert slot.attributes() == found
    assert slot.copy().attributes() == found
    assert data.startswith(packet.raw)
    for padding in (b"\x01", b"\xff\xff\xff\xff"):
        assert Packet.parse(packet.raw + padding).attributes() == found
    check_getters(packet, found)
    encoded = b"".join(encode(path, value) for path, value in found)
    if 20 + len(encoded) > radius.PACKET_OCTETS_MAX:
        return
    again = Packet.parse(packet.raw[:2] + (20 + len(encoded)).to_bytes(2) + packet.authenticator + encoded)
    assert not again.fault or again.fault == radius.FAULT_TOO_MANY_ATTRIBUTES
    assert again.fault or again.attributes() == found


def inside(data: bytes) -> None:
    """The same as decode(), for octets behind a right header: the walks inside attributes get every input."""
    data = data[: radius.PACKET_OCTETS_MAX - 20]
    decode(b"\x01\x07" + (20 + len(data)).to_bytes(2) + bytes(16) + data)


def fragments(data: bytes) -> None:
    """The same as decode(), for input split into attributes of the types that nest: lengths of attributes are right."""
    attributes = bytearray()
    types = (VENDOR_SPECIFIC, 245, 241, 246, 79, 1, PROXY_STATE, 244)
    while len(data) > 2:
        number, size = types[data[0] & 7], min(data[1], 253)
        value = data[2 : 2 + size]
        if number == VENDOR_SPECIFIC and data[0] & 8:
            value = (VENDORS[(data[0] >> 4) % len(VENDORS)].to_bytes(4) + value)[:253]
        # Only a full fragment may be continued, and a fuzzer does not find 251 octets by itself.
        if number in (245, 246) and data[0] & 8:
            value = value.ljust(253, b"x")
        attributes += bytes((number, 2 + len(value))) + value
        data = data[2 + size :]
    inside(bytes(attributes))


def answer(data: bytes) -> None:
    """A response to any sound packet verifies and echoes Proxy-State in order; what is revealed hides to the same."""
    packet = Packet.parse(data)
    if packet.fault:
        return
    SECRET.verify_message_authenticator(packet)
    SECRET.verify_accounting(packet)
    SECRET.verify_response(packet, bytes(16))
    password = SECRET.reveal_password(packet)
    if password is not None:
        hidden = SECRET.hide_password(password, packet.authenticator)
        assert (packet.get(USER_PASSWORD) or b"").startswith(hidden) or not password
    for number in (69, 17):
        for value in packet.get_all(number):
            clear = SECRET.reveal_tunnel_password(value[1:], packet.authenticator)
            assert clear is None or len(clear) <= len(value) - 4
    states = packet.get_all(PROXY_STATE)
    for code, signed in ((2, True), (5, True), (44, False)):
        attributes = radius.attribute(18, data[:60])
        try:
            response = Packet.parse(SECRET.respond(packet, code, attributes, signed))
        except ValueError:
            assert 20 + 18 + len(attributes) + sum(2 + len(state) for state in states) > radius.PACKET_OCTETS_MAX
            continue
        assert not response.fault or len(states) >= radius.ATTRIBUTE_COUNT_MAX - 2
        if not response.fault:
            assert SECRET.verify_response(response, packet.authenticator)
            assert response.get_all(PROXY_STATE) == states
            assert response.get(18) == data[:60]


def build(data: bytes) -> None:
    """Encoders refuse with ValueError, or what they encode decodes to the same path and value."""
    if len(data) < 6:
        return
    path: tuple[int, ...]
    kind, value = data[0], data[6:]
    if kind & 3 == 0:
        path = (data[1],)
    elif kind & 3 == 1:
        path = (VENDOR_SPECIFIC, VENDORS[data[2] % len(VENDORS)], int.from_bytes(data[2 : 3 + data[3] % 4]))
    elif kind & 3 == 2:
        path = (238 + data[1] % 10, data[2])
    else:
        path = (238 + data[1] % 10, VENDOR_SPECIFIC, int.from_bytes(data[2:5]), data[5])
    value *= 1 + (kind >> 4)
    value = value[:3000]
    try:
        encoded = encode(path, value)
    except ValueError:
        return
    if path in ((80,), (VENDOR_SPECIFIC,), *((outer,) for outer in range(241, 247))):
        return
    code = REQUESTS[kind % len(REQUESTS)]
    try:
        raw = SECRET.request(code, 1, encoded, bytes(16) if code in (1, 12) else None)
    except ValueError:
        assert len(encoded) > radius.PACKET_OCTETS_MAX - 38
        return
    packet = Packet.parse(raw)
    assert packet.fault == radius.FAULT_NONE
    assert SECRET.verify_message_authenticator(packet) == radius.MA_VALID
    assert code in (1, 12) or SECRET.verify_accounting(packet)
    if len(path) == 1:
        assert packet.concat(path[0]) == value
    else:
        assert packet.attributes()[1:] == [(path, value)]


def proofs(data: bytes) -> None:
    """Fields of other lengths are refused with ValueError; a response made for a password verifies."""
    cut = data[0] % 26 if data else 0
    field, rest = data[1 : 1 + cut], data[1 + cut :]
    password_hash = crypto.nt_hash(rest)
    challenge = field.ljust(16, b"c")[:16]
    response = crypto.challenge_response(crypto.challenge_hash(challenge, challenge, rest), password_hash)
    assert crypto.verify_mschapv2(challenge, challenge, rest, response, password_hash)
    assert crypto.verify_mschap(crypto.challenge_hash(challenge, challenge, rest), response, password_hash)
    for call, sizes in (
        (lambda: crypto.verify_mschap(field, response, password_hash), (8,)),
        (lambda: crypto.verify_mschap(challenge[:8], field, password_hash), (24,)),
        (lambda: crypto.verify_mschapv2(field, challenge, rest, response, password_hash), (16,)),
        (lambda: crypto.verify_chap(cut, rest, rest, field), (16,)),
    ):
        try:
            call()
        except ValueError:
            assert len(field) not in sizes
        else:
            assert len(field) in sizes
    clear = rest[:239]
    hidden = SECRET.hide_tunnel_password(clear, challenge, challenge[:2])
    assert SECRET.reveal_tunnel_password(hidden, challenge) == clear
    SECRET.reveal_tunnel_password(rest, challenge)
    assert crypto.equal(field, rest) == (field == rest)


def challenges(data: bytes) -> None:
    """Whatever the lengths: ValueError for those that are not Milenage's, else a vector whose AUTS is verified."""
    first, second = (data[0] % 80, data[1] % 40) if len(data) > 1 else (0, 0)
    keys, rand, rest = data[2 : 2 + first], data[2 + first : 2 + first + second], data[2 + first + second :]
    for call, right in (
        (lambda: milenage.derive_opc(keys, rand), len(keys) == len(rand) == 16),
        (lambda: milenage.functions(keys, rand, 1, 2), (len(keys), len(rand)) == (32, 16)),
        (lambda: milenage.umts_vector(keys, rand, 1, 2), (len(keys), len(rand)) == (32, 16)),
        (lambda: milenage.eps_vector(keys, rand, 1, 2, rest), (len(keys), len(rand), len(rest)) == (32, 16, 3)),
        (lambda: milenage.verify_auts(keys, rand, rest), (len(keys), len(rand), len(rest)) == (32, 16, 14)),
    ):
        try:
            call()
        except ValueError:
            assert not right
        else:
            assert right
    keys, rand = data.ljust(32, b"k")[:32], data[::-1].ljust(16, b"r")[:16]
    sqn = int.from_bytes(data[:6])
    vector = milenage.eps_vector(keys, rand, sqn, 0x8000, b"plm")
    assert (len(vector), vector[:16]) == (72, rand)
    assert vector[:40] == milenage.umts_vector(keys, rand, sqn, 0x8000)[:40]
    _, mac_s, _, _, _, ak, ak_star = milenage.functions(keys, rand, sqn, 0)
    assert int.from_bytes(ak) ^ int.from_bytes(vector[24:30]) == sqn
    auts = (int.from_bytes(ak_star) ^ sqn).to_bytes(6) + mac_s
    assert milenage.verify_auts(keys, rand, auts) == sqn


def check_avps(avps: diameter.Avps) -> None:
    found = avps.avps()
    if avps.fault == diameter.FAULT_NONE:
        parts = [
            # An AVP with the V bit and vendor 0 is read like one without.
            diameter.avp(code, value, vendor, bool(flags & diameter.AVP_MANDATORY))
            for code, vendor, flags, value in found
        ]
        again = Message.parse(diameter.message(diameter.FLAG_REQUEST, 1, 1, 1, 1, parts))
        assert [(code, vendor, value) for code, vendor, _, value in again.avps()] == [
            (code, vendor, value) for code, vendor, _, value in found
        ]
    for code, vendor, _, value in found[:64]:
        assert avps.has(code, vendor)
        assert value in avps.get_all(code, vendor)
        assert avps.get_text(code, vendor) == (avps.get(code, vendor) or b"").decode(errors="replace")
        assert avps.echo(code, vendor) in avps.raw
        avps.get_unsigned32(code, vendor)
        avps.get_unsigned64(code, vendor)
        avps.get_integer32(code, vendor)
        group = avps.get_group(code, vendor)
        assert group is not None
        if group.depth < 4:
            check_avps(group)
    assert len(avps.failed()) in (0, 8, 12)


def messages(data: bytes) -> None:
    """A message has a fault or encodes to the same; a grammar finds an offender that it can be told by, or none."""
    stream = bytearray(data)
    split, consumed, _fault = diameter.split(stream, 65_536)
    assert b"".join(message.raw for message in split) == data[:consumed]
    for octets in (data, data[:20].ljust(20, b"\1") + data[20:]):
        message = Message.parse(octets)
        check_avps(message)
        if len(octets) >= diameter.HEADER_OCTETS:
            again = Message.parse(diameter.readdressed(octets, 77, True))
            assert again.sameness() == message.sameness()
        failure = GRAMMAR.check(message)
        if failure is not None:
            code, offender = failure
            assert code in (3009, 5001, 5004, 5005, 5008, 5009, 5014)
            assert len(offender) % 4 == 0
            assert code != 3009 or not offender[4] & 0x1F
            diameter.grouped_avp(279, [offender])


def avps(data: bytes) -> None:
    """The same as messages(), behind a right header: the walks over AVPs and groups get every input."""
    data = data[: len(data) & ~3]
    messages(b"\1" + (20 + len(data)).to_bytes(3) + b"\x80\0\1\x10" + bytes(12) + data)


def make_grammar() -> Grammar:
    known = Definitions()
    group = Grammar(known, [(450, 0, 1, 1), (444, 0, 1, 1), (443, 0, 0, 1)], extensible=False)
    for code, kind in ((263, 0), (264, 5), (416, 1), (450, 1), (444, 0), (421, 2), (257, 4)):
        known.define(code, 0, kind)
    known.define(443, 0, diameter.KIND_GROUPED, group)
    known.define(456, 0, diameter.KIND_GROUPED)
    return Grammar(known, [(263, 0, 1, 1), (264, 0, 1, 1), (416, 0, 1, 1), (443, 0, 0, -1)])


GRAMMAR = make_grammar()
HARNESSES = (decode, inside, fragments, answer, build, proofs, challenges, messages, avps)


def seeds(harness: str) -> Iterator[bytes]:
    """Inputs from tests/vectors: the packets as printed, and the attributes behind their headers."""
    vectors = Path(__file__).parents[2] / "tests" / "vectors"
    exchanges = tomllib.loads((vectors / "radius.toml").read_text())["exchange"]
    packets = [bytes.fromhex(exchange[side]) for exchange in exchanges for side in exchange if side in SIDES]
    extended = [
        bytes.fromhex(attribute["encoded"])
        for attribute in tomllib.loads((vectors / "extended.toml").read_text())["attribute"]
    ]
    if harness in ("messages", "avps"):
        subscription = diameter.grouped_avp(443, [diameter.unsigned32_avp(450, 1), diameter.avp(444, b"001")])
        parts = [diameter.avp(263, b"a;1"), diameter.avp(264, b"smf"), diameter.unsigned32_avp(416, 1), subscription]
        parts += [diameter.unsigned64_avp(421, 1), diameter.avp(257, b"\0\1abcd"), diameter.avp(1027, b"1234", 10415)]
        whole = diameter.message(0xC0, 272, 4, 1, 2, parts)
        yield from (whole, whole * 2) if harness == "messages" else (whole[20:],)
    elif harness in ("decode", "answer"):
        yield from packets
        for attributes in (*extended, b"".join(extended)):
            yield b"\x01\x07" + (20 + len(attributes)).to_bytes(2) + bytes(16) + attributes
    elif harness == "inside":
        yield from (packet[20:] for packet in packets)
        yield from extended
        for vendor in VENDORS:
            yield b"".join(radius.vendor_attribute(vendor, number, bytes(number)) for number in range(1, 9))
        yield radius.vendor_attribute(WIMAX, 1, bytes(600)) + radius.extended_attribute((245, 26, CISCO, 1), bytes(600))
    else:
        yield from (packet[20:] for packet in packets)
        yield from (bytes((number * 8, 8)) + bytes(8) for number in range(32))
