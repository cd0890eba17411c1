"""The tap: what who looks on sees of packets, and that nobody pays when nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from aaa import dictionary
from aaa.limits import TRACE_RING_COUNT, TRACERS_COUNT_MAX
from aaa.mapping.change import Change
from aaa.model.operations import Actor
from aaa.model.records import SessionRecord
from aaa.server import admin_see
from aaa.server.dynamic import Job
from aaa.server.trace import Tap
from aaa.server.tracer import Wanted
from tests.server.test_listener import AUTHENTICATOR, SECRET, Desk

ADMIN = Actor("tests", "admin")


class Watched(Desk):
    """A desk whose port can be tapped."""

    def __init__(self) -> None:
        super().__init__()
        self.site.service("alice")
        names = dictionary.load()
        self.server: Any = SimpleNamespace(
            ports=[self.port], network=SimpleNamespace(tap=None),
            diameter=SimpleNamespace(tap=None), prepared=SimpleNamespace(dictionary=names),
            show_attributes=lambda octets: [("Octets", octets.hex())] if octets else [],
        )  # fmt: skip
        self.tap = Tap(self.server)

    def see(self, number: int) -> dict[str, Any]:
        """What a trace has now."""

        async def ask() -> Any:
            self.server.stopping = asyncio.Event()
            return await self.tap.next(number, 0.0)

        return asyncio.run(ask())

    def open(self, **wanted: Any) -> int:
        number = self.tap.open(Wanted(**wanted))
        assert number is not None
        return number


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.close()


def test_nobody_looks_on_until_a_trace_is_opened_and_after_it_is_closed(watched: Watched) -> None:
    assert watched.port.tap is None
    number = watched.open()
    assert watched.port.tap is watched.server.network.tap is watched.tap
    assert watched.server.diameter.tap == watched.tap.diameter.message
    watched.tap.close(number)
    assert watched.port.tap is None
    assert watched.server.network.tap is None
    assert watched.server.diameter.tap is None


def test_each_login_is_seen_with_its_decision_and_without_its_password(watched: Watched) -> None:
    number = watched.open()
    watched.ask((1, b"alice", b"secret"), (2, b"alice", b"guess"))
    good, bad = watched.see(number)["items"]
    assert (good["code"], good["answer"], good["outcome"], good["nas"]) == (
        "Access-Request", "Access-Accept", "accept", "bng"
    )  # fmt: skip
    assert (good["user"], good["service_id"], good["decision"]["grant"]) == ("alice", "alice", True)
    assert ["User-Password", "***"] in [list(pair) for pair in good["attributes"]]
    assert dict(good["attributes"])["Message-Authenticator"] == "***"
    assert good["session_id"]
    assert good["latency_ms"] >= 0
    assert (bad["answer"], bad["outcome"], bad["reason"]) == ("Access-Reject", "reject", "wrong_password")
    assert watched.answers() == [(1, 2), (2, 3)]


def test_a_dropped_packet_is_seen_with_its_reason_and_a_repeated_one_as_such(watched: Watched) -> None:
    number = watched.open()
    watched.ask((1, b"alice", b"secret"))
    watched.ask((1, b"alice", b"secret"))
    forged = bytearray(SECRET.request(1, 3, b"\1\7alice", AUTHENTICATOR))
    forged[-1] ^= 1
    watched.peer.send(bytes(forged))
    watched.port.on_readable()
    first, again, dropped = watched.see(number)["items"]
    assert first["outcome"] == "accept"
    assert (again["outcome"], again["nas"]) == ("repeated", "bng")
    assert (dropped["outcome"], dropped["reason"], dropped["answer"]) == ("drop", "bad_authenticator", None)
    assert watched.answers() == [(1, 2), (1, 2)]


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        ({"user": "alice"}, 1), ({"user": "bob"}, 0), ({"nas": "bng"}, 1), ({"nas": "other"}, 0),
        ({"service": "alice"}, 1), ({"service": "x"}, 0), ({"code": 1}, 1), ({"code": 4}, 0),
        ({"operator": "default"}, 1), ({"operator": "other"}, 0), ({"session": "7"}, 0),
    ],
)  # fmt: skip
def test_only_what_is_wanted_and_in_scope_is_shown(watched: Watched, wanted: dict[str, Any], seen: int) -> None:
    number = watched.open(**wanted)
    watched.ask((1, b"alice", b"secret"))
    assert len(watched.see(number)["items"]) == seen


def test_what_does_not_fit_is_counted_and_told_once(watched: Watched) -> None:
    number = watched.open()
    watched.ask((1, b"alice", b"secret"))
    tracer = watched.tap.tracers[number]
    seen = tracer.ring[0]
    for _ in range(TRACE_RING_COUNT + 4):
        tracer.offer(seen)
    assert watched.see(number)["lost"] == 5
    assert watched.see(number)["lost"] == 0


def test_a_trace_that_nobody_reads_ends_by_itself(watched: Watched) -> None:
    number = watched.open()
    watched.tap.tracers[number].asked_at -= 1000
    watched.ask((1, b"alice", b"secret"))
    assert watched.port.tap is None
    assert watched.see(number) is None


def test_only_so_many_look_on_at_a_time(watched: Watched) -> None:
    see = admin_see.See(watched.server)
    answers = [see.trace_open(ADMIN, {}).status for _ in range(TRACERS_COUNT_MAX + 1)]
    assert answers == [200] * TRACERS_COUNT_MAX + [409]
    see.trace_close(ADMIN, {"trace": 1})
    assert see.trace_open(ADMIN, {"code": "coa-request"}).status == 200
    assert see.trace_open(ADMIN, {"code": "nonsense"}).status == 422


def test_an_exchange_with_a_nas_is_seen_with_its_answer(watched: Watched) -> None:
    number = watched.open(code=43)
    session = SessionRecord(7, watched.site.nas(), watched.site.store.services["alice"])
    session.user_name = b"alice"
    job = Job(Any, session, "coa", Change("coa"), print)  # type: ignore[arg-type]
    job.sets, job.told = [(0, {"Acct-Session-Id": b"\x2c\3x"})], {0: b"\x1b\6\0\0\0\x3c"}
    watched.tap.exchange(job, "nak", 503, "Session-Context-Not-Found", 100.0, 0.5)
    (seen,) = watched.see(number)["items"]
    assert (seen["code"], seen["answer"], seen["outcome"], seen["reason"]) == (
        "CoA-Request", "CoA-NAK", "nak", "Error-Cause 503"
    )  # fmt: skip
    assert (seen["user"], seen["service_id"], seen["latency_ms"]) == ("alice", "alice", 500.0)
    assert seen["attributes"] == [("Acct-Session-Id", "x"), ("Session-Timeout", "60")]
