"""An access port between a real socket and a real engine: which answers leave, when, and which never do."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aaa.config import Nas, Pool, Redacted
from aaa.mapping.access import AccessMapping
from aaa.model.access import Attempt, Outcome
from aaa.model.records import NasRecord
from aaa.radius.admission import ACCESS_REQUEST, Admission, Request
from aaa.radius.clients import Client, Clients
from aaa.radius.reasons import DropReason
from aaa.server.listener import AccessPort, Statistics
from aaa.server.slow import SlowHashes
from native import crypto
from native.datagram import BatchSocket
from native.duplicates import DuplicateCache
from native.radius import Packet, Secret, attribute
from native.token import TokenKey
from tests.engine.site import Site

SECRET = Secret(b"testing123")
AUTHENTICATOR = bytes(range(16))
ACCEPT, REJECT = 2, 3
SLOW = [{"type": "password", "username": "slow", "crypt": crypto.crypt(b"secret", b"$5$rounds=1000$salt").decode()}]


class Desk:
    """One port, its clients, and slow checks that end when the test says so."""

    def __init__(self, *pools: Pool, reject_delay_s: float = 0.0) -> None:
        self.site = Site(*pools)
        self.clients = Clients([Nas(name="bng", address=("127.0.0.1",), secret=Redacted("testing123"))])
        self.checks: list[Callable[[bool | None], None]] = []
        self.rendered: list[str] = []
        self.socket = BatchSocket("127.0.0.1", 0, [Packet() for _ in range(16)])
        self.port = AccessPort(
            self.socket,
            Admission(self.clients, DuplicateCache(1024, 5.0), ACCESS_REQUEST, 60.0, self.nas_of),
            Statistics(),
            lambda request: b"",
            AccessMapping(self.render, TokenKey(bytes(32))),
            self.site.authorizer,
            self.site.store.journal,
            reject_delay_s,
            self.check_slowly,
            lambda request, attempt, outcome: None,
        )
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.connect(self.socket.address())
        self.peer.setblocking(False)

    def nas_of(self, client: Client, address: bytes) -> NasRecord:
        return self.site.nas(client.name)

    def render(self, decision: Any, name: str) -> bytes:
        self.rendered.append(self.clients.by_name[name].name)
        return b""

    def check_slowly(self, attempt: Attempt, outcome: Outcome, done: Callable[[bool | None], None]) -> bool:
        self.checks.append(done)
        return True

    def ask(self, *logins: tuple[int, bytes, bytes]) -> None:
        """Send a batch of (identifier, user name, password)."""
        for identifier, name, password in logins:
            wire = attribute(1, name) + attribute(2, SECRET.hide_password(password, AUTHENTICATOR))
            self.peer.send(SECRET.request(1, identifier, wire, AUTHENTICATOR))
        self.port.on_readable()

    def answers(self) -> list[tuple[int, int]]:
        """(identifier, code) of what has been answered since the last look, in order."""
        found = []
        while True:
            try:
                packet = Packet.parse(self.peer.recv(4096))
            except BlockingIOError:
                return found
            assert SECRET.verify_response(packet, AUTHENTICATOR)
            found.append((packet.identifier, packet.code))

    def drops(self) -> dict[str, int]:
        return {reason.name: count for reason in DropReason if (count := self.port.admission.drops[reason])}

    def close(self) -> None:
        self.peer.close()
        self.socket.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    made.site.service("alice")
    made.site.service("slow", credentials=SLOW)
    yield made
    made.close()


def test_a_batch_is_answered_row_by_row(desk: Desk) -> None:
    desk.ask((1, b"alice", b"secret"), (2, b"alice", b"guess"), (3, b"nobody", b"x"), (4, b"slow", b"secret"))
    assert desk.answers() == [(1, ACCEPT), (2, REJECT), (3, REJECT)]
    desk.checks[0](True)
    assert desk.answers() == [(4, ACCEPT)]


def test_a_retransmission_of_a_row_in_work_is_dropped_and_answered_once_it_is_done(desk: Desk) -> None:
    desk.ask((4, b"slow", b"secret"))
    desk.ask((4, b"slow", b"secret"))
    assert (desk.answers(), len(desk.checks), desk.drops()) == ([], 1, {"DUPLICATE_IN_WORK": 1})
    desk.checks[0](False)
    desk.ask((4, b"slow", b"secret"))
    assert desk.answers() == [(4, REJECT), (4, REJECT)]
    assert len(desk.checks) == 1


def test_a_row_whose_nas_is_gone_when_its_hash_is_done_ends_in_silence(desk: Desk) -> None:
    desk.ask((4, b"slow", b"secret"))
    desk.clients.reconfigure([])
    desk.checks[0](True)
    assert (desk.answers(), desk.rendered, desk.drops()) == ([], [], {"UNKNOWN_SOURCE": 1})


def test_a_check_that_came_to_nothing_is_no_wrong_password(desk: Desk) -> None:
    desk.ask((4, b"slow", b"secret"))
    desk.checks[0](None)
    assert (desk.answers(), desk.drops()) == ([], {"OVERLOAD": 1})
    assert desk.site.nas().failures == 0
    desk.ask((4, b"slow", b"secret"))
    assert len(desk.checks) == 2


def test_a_reject_does_not_show_how_long_its_password_was_hashed(desk: Desk) -> None:
    desk.port.reject_delay_s = 100.0
    began = time.monotonic()
    desk.ask((1, b"slow", b"guess"))
    between = time.monotonic()
    desk.ask((2, b"nobody", b"guess"))
    desk.checks[0](False)
    desk.port.release_rejects(began + 99.9)
    assert desk.answers() == []
    desk.port.release_rejects(between + 100.0)
    assert desk.answers() == [(1, REJECT)]
    desk.port.release_rejects(float("inf"))
    assert desk.answers() == [(2, REJECT)]


def test_a_retransmission_of_a_delayed_reject_is_no_second_failure(desk: Desk) -> None:
    desk.port.reject_delay_s = 100.0
    desk.ask((1, b"alice", b"guess"))
    desk.ask((1, b"alice", b"guess"))
    assert desk.site.nas().failures == 1
    assert desk.drops() == {"DUPLICATE_IN_WORK": 1}
    desk.port.release_rejects(float("inf"))
    assert desk.answers() == [(1, REJECT)]


def test_an_accept_with_a_new_lease_waits_for_the_disk() -> None:
    desk = Desk(Pool(name="home", kind="ipv4", ranges=("192.0.2.0/29",)))
    desk.site.service("alice", plan={"pool": "home"})
    desk.ask((1, b"alice", b"secret"))
    journal = desk.site.store.journal
    journal.flush()
    assert desk.answers() == []
    journal.receive(journal.sent.to_bytes(8, "big"))
    assert desk.answers() == [(1, ACCEPT)]
    desk.close()


def pending(verifier: object) -> Outcome:
    outcome = Outcome(2)
    outcome.slow = verifier
    return outcome


def test_hashes_in_work_are_waited_for_and_those_that_waited_too_long_are_given_up() -> None:
    site = Site()
    service = site.service("slow", credentials=SLOW)
    attempt = site.attempt(b"slow")
    results: list[bool | None] = []

    async def run(budget_s: float) -> None:
        hashes = SlowHashes(1, 10, budget_s)
        for _ in range(2):
            assert hashes.check(attempt, pending(service.credentials[0].verifier), results.append)
        await hashes.drain(60.0)
        assert hashes.waiting == 0
        hashes.close()

    asyncio.run(run(60.0))
    assert results == [True, True]
    asyncio.run(run(-1.0))
    assert results[2:] == [None, None]


def test_a_closed_worker_calls_nobody_back() -> None:
    site = Site()
    service = site.service("slow", credentials=SLOW)
    results: list[bool | None] = []

    async def run() -> None:
        hashes = SlowHashes(1, 10, 60.0)
        for _ in range(5):
            assert hashes.check(site.attempt(b"slow"), pending(service.credentials[0].verifier), results.append)
        hashes.close()
        await asyncio.to_thread(hashes._pool.shutdown)

    asyncio.run(run())
    assert results == []


def test_a_request_for_one_row_too_many_is_dropped(desk: Desk) -> None:
    desk.port.check_slowly = lambda attempt, outcome, done: False  # type: ignore[assignment]
    desk.ask((4, b"slow", b"secret"), (1, b"alice", b"secret"))
    assert (desk.answers(), desk.drops()) == ([(1, ACCEPT)], {"OVERLOAD": 1})


def test_a_request_may_be_kept_beyond_its_batch(desk: Desk) -> None:
    seen: list[Request] = []
    desk.port.note_reject = lambda request, attempt, outcome: seen.append(request.detach())  # type: ignore[assignment]
    desk.ask((1, b"nobody", b"x"))
    desk.ask((2, b"alice", b"secret"))
    assert seen[0].packet.get(1) == b"nobody"
