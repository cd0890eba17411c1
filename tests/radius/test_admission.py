"""Which packets become requests, and what a source can make the server keep."""

from __future__ import annotations

from typing import Any

import pytest

from aaa.config import Nas, Redacted
from aaa.radius.admission import ACCESS_REQUEST, ACCOUNTING_REQUEST, Admission, Request
from aaa.radius.clients import COUNT_DUPLICATES, Client, Clients
from aaa.radius.reasons import DropReason
from native.duplicates import DuplicateCache
from native.radius import Packet, Secret, attribute

SECRET = Secret(b"testing123")
NEW_SECRET = Secret(b"a-new-secret")
AT, NOW = 1_700_000_000.0, 1000.0
AUTHENTICATOR = bytes(range(16))


class Gate:
    """The admission of one port for one [[nas]], and the records it asked for."""

    def __init__(self, code: int = ACCESS_REQUEST, records_max: int = 100, **fields: Any) -> None:
        fields = {"name": "lan", "address": ("10.0.0.0/8",), "secret": Redacted("testing123"), **fields}
        self.clients = Clients([Nas(**fields)])
        self.records: list[tuple[Client, bytes]] = []
        self.records_max = records_max
        self.admission = Admission(self.clients, DuplicateCache(1024, 5.0), code, 2.0, self.nas_of)

    def nas_of(self, client: Client, address: bytes) -> object | None:
        if len(self.records) >= self.records_max:
            return None
        self.records.append((client, address))
        return self.records[-1]

    def take(self, payload: bytes, host: str = "10.0.0.1") -> Request | None:
        packet = Packet(payload, (host, 4000))
        packet.decode()
        (request,) = self.admission.admit([packet], 1, NOW, AT)
        return request

    def drops(self) -> dict[str, int]:
        return {reason.name: count for reason in DropReason if (count := self.admission.drops[reason])}


def login(secret: Secret = SECRET, identifier: int = 1, signed: bool = True, more: bytes = b"") -> bytes:
    password = attribute(2, secret.hide_password(b"wonderland", AUTHENTICATOR))
    return secret.request(1, identifier, attribute(1, b"alice") + password + more, AUTHENTICATOR, signed)


def test_a_verified_request_has_its_nas_and_a_second_one_has_the_same() -> None:
    gate = Gate()
    first, second = gate.take(login()), gate.take(login(identifier=2))
    assert first is not None
    assert second is not None
    assert first.source.nas is second.source.nas is gate.records[0]


def test_a_forged_packet_leaves_no_record_of_its_source() -> None:
    gate = Gate()
    wrong = Secret(b"a wrong secret")
    assert gate.take(login(wrong)) is None
    assert gate.take(wrong.request(12, 1, b"", AUTHENTICATOR)) is None
    accounting = Gate(ACCOUNTING_REQUEST)
    assert accounting.take(wrong.request(4, 1, b"", None, False)) is None
    strict = Gate(message_authenticator="require")
    assert strict.take(login(signed=False)) is None
    assert gate.records == accounting.records == strict.records == []


def test_a_source_too_many_is_unknown_and_the_known_ones_go_on() -> None:
    gate = Gate(records_max=1)
    assert gate.take(login(), "10.0.0.1") is not None
    assert gate.take(login(signed=False), "10.0.0.2") is None
    assert gate.take(login(signed=False), "10.0.0.2") is None
    assert gate.take(login(identifier=2), "10.0.0.1") is not None
    assert gate.drops() == {"UNKNOWN_SOURCE": 2}


def test_a_retransmission_in_work_is_dropped_and_an_answered_one_gets_the_same_octets() -> None:
    gate = Gate()
    request = gate.take(login())
    assert request is not None
    assert gate.take(login()) is None
    assert gate.drops() == {"DUPLICATE_IN_WORK": 1}
    gate.admission.duplicates.keep(request.packet, b"the answer", NOW)
    assert gate.take(login()) is None
    assert len(gate.admission.resends) == 1
    assert request.source.counters[COUNT_DUPLICATES] == 2


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (login(signed=False, more=attribute(33, b"x")), "PROXY_STATE_UNSIGNED"),
        (login(signed=False, more=attribute(79, b"\2\1\0\4")), "MISSING_MESSAGE_AUTHENTICATOR"),
        (SECRET.request(12, 1, b"", AUTHENTICATOR, False), "MISSING_MESSAGE_AUTHENTICATOR"),
        (SECRET.request(4, 1, b"", None, False), "UNEXPECTED_CODE"),
        (login()[:-1], "LENGTH_FIELD"),
        (b"", "TOO_SHORT"),
        (login(Secret(b"wrong")), "BAD_AUTHENTICATOR"),
    ],
)
def test_what_is_dropped_is_counted_by_its_reason(payload: bytes, reason: str) -> None:
    gate = Gate()
    assert gate.take(payload) is None
    assert gate.drops() == {reason: 1}


@pytest.mark.parametrize(
    ("policy", "allowed", "proxy_state", "reason"),
    [
        ("auto", False, False, None),
        ("auto", False, True, "PROXY_STATE_UNSIGNED"),
        ("auto", True, True, None),
        ("off", False, False, None),
        ("off", False, True, "PROXY_STATE_UNSIGNED"),
        ("off", True, True, None),
        ("require", False, False, "MISSING_MESSAGE_AUTHENTICATOR"),
        ("require", True, True, "MISSING_MESSAGE_AUTHENTICATOR"),
    ],
)
def test_requests_without_message_authenticator(
    policy: str, allowed: bool, proxy_state: bool, reason: str | None
) -> None:
    gate = Gate(message_authenticator=policy, allow_proxy_state=allowed)
    request = gate.take(login(signed=False, more=attribute(33, b"x") if proxy_state else b""))
    assert (request is None, gate.drops()) == ((True, {reason: 1}) if reason else (False, {}))


@pytest.mark.parametrize("signed", [True, False])
def test_during_a_rotation_the_answer_bears_the_secret_that_asked(signed: bool) -> None:
    gate = Gate(second_secret=Redacted("a-new-secret"))
    for identifier, secret in enumerate((SECRET, NEW_SECRET, SECRET)):
        request = gate.take(login(secret, identifier, signed))
        assert request is not None
        assert request.secret.reveal_password(request.packet) == b"wonderland"
        answer = Packet.parse(request.secret.respond(request.packet, 2, b"", True))
        assert secret.verify_response(answer, AUTHENTICATOR)


def test_a_clock_that_is_set_back_makes_nothing_too_late() -> None:
    gate = Gate()
    packet = Packet(login(), ("10.0.0.1", 4000))
    packet.decode()
    (request,) = gate.admission.admit([packet], 1, NOW, AT - 86_400)
    assert request is not None
