"""What a login says in neutral words, and what its answer says on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.mapping.access import AccessMapping
from aaa.model.access import Attempt, Outcome
from aaa.model.method import Method
from aaa.radius.admission import Request, Source
from native import crypto
from native.radius import Packet, Secret, attribute, integer_attribute, vendor_attribute
from native.token import TokenKey
from tests.engine.site import AT, Site

SECRET = Secret(b"testing123")
KEY = TokenKey(bytes(32))
AUTHENTICATOR = bytes(range(16))
NAME, PASSWORD, CHAP, CHALLENGE = 1, 2, 3, 60
MICROSOFT = 311


class At:
    """The client behind a source, as far as the mapping is concerned."""

    secrets = (SECRET,)
    counters: list[int] = []  # noqa: RUF012
    rate_limit = 0.0


class Desk:
    """One engine and its mapping, which renders a decision as its reason."""

    def __init__(self, **service: Any) -> None:
        self.site = Site()
        self.site.service(**service)
        self.style = b"rendered"
        self.mapping = AccessMapping(lambda decision, name: attribute(11, self.style), KEY)

    def request(self, attributes: bytes) -> Request:
        packet = Packet.parse(SECRET.request(1, 7, attributes, AUTHENTICATOR))
        assert packet.fault == 0
        return Request(packet, Source(b"\x7f\0\0\1", At(), self.site.nas()), SECRET, True)  # type: ignore[arg-type]

    def read(self, attributes: bytes) -> Attempt:
        (attempt,) = self.mapping.to_attempts([self.request(attributes)], AT)
        return attempt

    def answer(self, attributes: bytes) -> tuple[Outcome, Packet]:
        """The outcome, and the answer as the NAS decodes it."""
        request = self.request(attributes)
        attempts = self.mapping.to_attempts([request], AT)
        outcomes = self.site.authorizer.authorize(attempts)
        (reply,) = self.mapping.to_replies([request], attempts, outcomes)
        packet = Packet.parse(SECRET.respond(request.packet, 3 if outcomes[0].verdict else 2, reply, True))
        assert packet.fault == 0
        return outcomes[0], packet


def pap(password: bytes = b"secret", name: bytes = b"alice") -> bytes:
    return attribute(NAME, name) + attribute(PASSWORD, SECRET.hide_password(password, AUTHENTICATOR))


def mschap2(name: bytes = b"alice", ident: int = 9) -> bytes:
    challenge, peer = bytes(16), bytes(range(16))
    digest = crypto.challenge_hash(peer, challenge, name.rpartition(b"\\")[2])
    proof = crypto.challenge_response(digest, crypto.nt_hash(b"secret"))
    return (
        attribute(NAME, name)
        + vendor_attribute(MICROSOFT, 11, challenge)
        + vendor_attribute(MICROSOFT, 25, bytes((ident, 0)) + peer + bytes(8) + proof)
    )


@pytest.mark.parametrize("name", [b"alice", b"WORK\\alice"])
def test_mschapv2_answers_with_its_proof_and_two_keys(name: bytes) -> None:
    desk = Desk(credentials=[{"type": "password", "username": name.decode(), "cleartext": "secret"}])
    outcome, packet = desk.answer(mschap2(name))
    assert outcome.proof is not None
    assert packet.get_vendor(MICROSOFT, 26) == b"\x09S=" + outcome.proof[0].hex().upper().encode()
    hidden = [packet.get_vendor(MICROSOFT, number) for number in (16, 17)]
    assert [SECRET.reveal_tunnel_password(value or b"", AUTHENTICATOR) for value in hidden] == list(outcome.proof[1:])
    assert len({(value or b"")[:2] for value in hidden}) == 2


def test_mschapv2_is_refused_with_its_error_under_its_own_identifier() -> None:
    outcome, packet = Desk(state="suspended").answer(mschap2(ident=77))
    assert outcome.verdict
    assert (packet.get_vendor(MICROSOFT, 2) or b"").startswith(b"\x4dE=647 R=0 C=")


@pytest.mark.parametrize("size", [0, 1, 16, 18])
def test_a_chap_proof_of_another_length_is_no_proof(size: int) -> None:
    assert Desk().read(attribute(NAME, b"alice") + attribute(CHAP, bytes(size))).method == Method.UNSUPPORTED


def test_chap_without_a_challenge_uses_the_authenticator() -> None:
    attempt = Desk().read(attribute(NAME, b"alice") + attribute(CHAP, bytes(17)))
    assert (attempt.method, attempt.challenge) == (Method.CHAP, AUTHENTICATOR)


@pytest.mark.parametrize("size", [0, 1, 49, 51])
@pytest.mark.parametrize("number", [1, 25])
def test_an_mschap_proof_of_another_length_is_no_proof(number: int, size: int) -> None:
    wire = vendor_attribute(MICROSOFT, 11, bytes(16)) + vendor_attribute(MICROSOFT, number, bytes(size))
    outcome, _ = Desk().answer(attribute(NAME, b"alice") + wire)
    assert outcome.verdict


def test_an_mschap_answer_by_the_lan_manager_hash_is_not_taken() -> None:
    wire = vendor_attribute(MICROSOFT, 11, bytes(8)) + vendor_attribute(MICROSOFT, 1, bytes(50))
    assert Desk().read(attribute(NAME, b"alice") + wire).method == Method.UNSUPPORTED


def test_a_password_that_cannot_be_read_is_a_wrong_one() -> None:
    outcome, packet = Desk().answer(attribute(NAME, b"alice") + attribute(PASSWORD, bytes(15)))
    assert outcome.verdict
    assert packet.get(18) == b"Unknown user or wrong password"


def test_eap_is_refused_with_a_failure_under_its_identifier() -> None:
    _, packet = Desk().answer(attribute(NAME, b"alice") + attribute(79, b"\2\x2a\0\x0a\1alice"))
    assert packet.get(79) == b"\4\x2a\0\4"


def test_a_session_carries_its_class_and_its_addresses() -> None:
    desk = Desk(static_ip="192.0.2.10", static_prefix="2001:db8:1::/56")
    outcome, packet = desk.answer(pap() + integer_attribute(6, 2) + integer_attribute(7, 1))
    numbers = KEY.open(packet.get(25) or b"")
    assert numbers is not None
    assert numbers[:2] == (outcome.session_id, desk.site.store.services["alice"].no)
    assert (packet.get(8), packet.get(9)) == (bytes((192, 0, 2, 10)), b"\xff" * 4)
    assert packet.get(123) == bytes.fromhex("0038 20010db8000100") + bytes(9)
    assert (packet.get_integer(6), packet.get_integer(7)) == (2, 1)


def test_a_decision_is_rendered_anew_when_the_configuration_has_changed() -> None:
    """Whether or not the engine still holds it among its interned ones."""
    desk = Desk()
    assert desk.answer(pap())[1].get(11) == b"rendered"
    desk.style = b"otherwise"
    assert desk.answer(pap())[1].get(11) == b"rendered"
    desk.site.decisions.interned.clear()
    desk.mapping.forget_renderings()
    assert desk.answer(pap())[1].get(11) == b"otherwise"


VALUES = st.binary(max_size=60) | st.sampled_from([b"\xff" * 8, b"\0\0\0\x0a", b"alice", bytes(17), bytes(50)])
NUMBERS = st.sampled_from([1, 2, 3, 6, 7, 31, 60, 79, 87]) | st.integers(1, 255).filter(lambda number: number != 80)
VENDORS = st.tuples(st.sampled_from([(311, 1), (311, 11), (311, 25), (3561, 1), (3561, 2)]), VALUES)


@given(st.lists(st.tuples(NUMBERS, VALUES), max_size=12), st.lists(VENDORS, max_size=4))
def test_no_login_raises(attributes: list[tuple[int, bytes]], vendors: list[tuple[tuple[int, int], bytes]]) -> None:
    """So that none costs its neighbours in the batch an answer."""
    desk = Desk(lock={"circuit": ["x"], "mac": ["02-00-00-00-00-01"], "port": ["1"]})
    nas = desk.site.nas()
    nas.allow_mac = nas.allow_circuit = True
    wire = b"".join(attribute(*pair) for pair in attributes)
    wire += b"".join(vendor_attribute(*key, value) for key, value in vendors)
    desk.answer(wire)
    desk.answer(attribute(NAME, b"alice") + wire)
