"""Whatever comes, in whatever order and however often: units are charged once, and nobody holds more than is left."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.diameter.request import Request
from aaa.engine.authorize import AccessSettings
from aaa.engine.liveness import Liveness
from aaa.model.records import ACTIVE
from aaa.state.reservations import reserved_of
from tests.mapping.desk import configured
from tests.mapping.gy_desk import INITIAL, MB, TERMINATION, THROTTLE, UPDATE, Answer, Desk, quota, service

NAMES = ("one", "two", "three")
IMSIS = {"one": "001010000000001", "two": "001010000000001", "three": "001010000000003"}
GROUPS = (1, 2)
STEPS = ("update", "again", "end", "lose", "late", "top_up", "suspend", "resume", "restart", "crash", "silence")


class Client:
    """One session as its gateway sees it: what it may still use, and the last request with its answer."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.number = -1
        self.granted: dict[int, int] = {}
        self.last: Request | None = None
        self.answer: Answer | None = None
        self.used = 0
        """Octets of the last request."""
        self.open = False
        self.lives = 0

    @property
    def key(self) -> str:
        return f"{self.name};{self.lives}"


class Bench:
    """Three sessions of two services that draw from one balance."""

    def __init__(self, octets: int, *actions: Any) -> None:
        self.it = Desk(rules=configured(quota_slice=10 * MB, quota_slice_min=MB, validity=60.0))
        self.it.put("plan", "shared", **quota(octets // 2, *actions, shared="subscriber"))
        self.it.subscribe("erin", IMSIS["one"], plan_id="shared")
        self.it.subscribe("finn", IMSIS["three"], plan_id="shared", subscriber_id="erin")
        self.clients = [Client(name) for name in NAMES]
        self.charged = 0
        """What distinct requests have reported."""
        self.held_back: list[tuple[Request, int]] = []
        self.topped_up = 0

    # Steps

    def update(self, client: Client, shares: list[float]) -> None:
        """Report a part of what was granted, and ask again; begin where there is no session."""
        if client.open and not shares:
            return
        self.post(client, INITIAL if not client.open else UPDATE, shares)

    def crash(self, client: Client, shares: list[float]) -> None:
        """A report is taken, and the server killed before that is durable: its client sends it again."""
        if client.open:
            self.post(client, UPDATE, shares, crashes=True)

    def post(self, client: Client, kind: int, shares: list[float], crashes: bool = False) -> None:
        request, used = self.prepare(client, kind, shares)
        if crashes:
            self.it.gy.receive([request], self.it.now)
            self.it = self.it.restart_desk(durable=False)
        client.last, client.used = request, used
        client.answer = self.it.send(request)
        if client.answer.result == 5002:
            # It was closed here after an end that the client did not hear of.
            client.open = False
            return
        self.charged += used
        self.note(client, kind)

    def prepare(self, client: Client, kind: int, shares: list[float]) -> tuple[Request, int]:
        if kind == INITIAL:
            client.lives += 1
            client.number, client.granted = -1, {}
        client.number += 1
        used, units = 0, []
        for group, share in zip(GROUPS, shares, strict=False):
            part = int(client.granted.get(group, 0) * share)
            used += part
            client.granted[group] = 0
            units.append(service(group, None if kind == INITIAL else part, kind != TERMINATION))
        return self.it.ccr(kind, client.number, *units, key=client.key, imsi=IMSIS[client.name]), used

    def note(self, client: Client, kind: int) -> None:
        answer = client.answer
        assert answer is not None
        client.open = kind != TERMINATION and answer.result == 2001
        for position, pairs in enumerate(answer.services):
            granted = answer.octets_granted(position)
            assert (granted > 0) == (answer.get("Granted-Service-Unit", pairs) is not None)
            client.granted[answer.get("Rating-Group", pairs)] = granted

    def again(self, client: Client) -> None:
        """The last request once more: its answer was lost."""
        if client.last is None or client.answer is None or client.answer.result != 2001:
            return
        assert self.it.send(client.last).octets == client.answer.octets

    def end(self, client: Client, shares: list[float]) -> None:
        if client.open:
            self.post(client, TERMINATION, shares)
            client.open = False

    def lose(self, client: Client, shares: list[float]) -> None:
        """A report is held up on its way, and the next one overtakes it."""
        if client.open:
            self.held_back.append(self.prepare(client, UPDATE, shares))
            self.update(client, [0.0] * len(GROUPS))

    def late(self) -> None:
        """What was held up arrives; twice."""
        if self.held_back:
            request, used = self.held_back.pop(0)
            first = self.it.send(request)
            self.charged += used if first.result != 5002 else 0
            self.it.send(request)

    def top_up(self, octets: int) -> None:
        self.topped_up += 1
        self.it.top_up(octets, id=f"t{self.topped_up}")

    def restart(self) -> None:
        self.it = self.it.restart_desk()

    def silence(self) -> None:
        """Nobody speaks for long: what holds quota is closed."""
        self.it.now += 1_000.0
        Liveness(self.it.store, self.it.addresses, AccessSettings(), 0.0, lambda *event: None, 1e9).tick(self.it.now)
        self.it.addresses.settle(self.it.now)
        self.it.settle()

    # What always holds

    def check(self, holds_little: bool) -> None:
        account = self.it.account()
        assert account.charged_octets == self.charged
        assert account.reserved_octets == sum([reserved_of(member) for member in account.members])
        live = [session for session in self.it.store.sessions.values() if session.state == ACTIVE]
        held = sum(grant.octets for session in live for grant in session.mobile.grants.values())
        assert account.reserved_octets == held
        if holds_little:
            assert held <= max(0, self.it.left())
        counted = sum(session.input_octets + session.output_octets for session in self.it.store.sessions.values())
        assert counted == self.charged


shares = st.lists(st.sampled_from([1.0, 0.3, 0.0]), min_size=1, max_size=2)


def walk(bench: Bench, data: st.DataObject, steps: tuple[str, ...], holds_little: bool) -> None:
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(steps))
        client = data.draw(st.sampled_from(bench.clients))
        if step in ("update", "end", "lose", "crash"):
            getattr(bench, step)(client, data.draw(shares))
        elif step == "again":
            bench.again(client)
        elif step == "top_up":
            bench.top_up(data.draw(st.integers(1, 5)) * MB)
        elif step in ("suspend", "resume"):
            bench.it.state("suspended" if step == "suspend" else "active")
            bench.it.settle()
        else:
            getattr(bench, step)()
        if bench.it.store.services["erin"].account is not None:
            bench.check(holds_little)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_sessions_in_order_never_hold_more_than_is_left(data: st.DataObject) -> None:
    walk(Bench(40 * MB, "block"), data, ("update", "update", "again", "end", "top_up", "restart", "crash"), True)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_every_unit_is_charged_once_whatever_is_late_lost_repeated_or_restarted(data: st.DataObject) -> None:
    bench = Bench(40 * MB, *data.draw(st.sampled_from([("block",), (THROTTLE,), ()])))
    walk(bench, data, STEPS, False)


class Office(Bench):
    """The same, while billing changes plans, groups and services under the live sessions, and cycles turn."""

    def __init__(self, octets: int, *actions: Any) -> None:
        super().__init__(octets, *actions)
        self.it.put("plan", "own", **quota(octets // 2, *actions, roll_over_octets_max=MB))
        self.it.put("plan", "group", **quota(octets // 2, *actions, shared="group"))
        self.it.put("plan", "flat", kind="mobile", rate={"down_bps": 1_000, "up_bps": 1_000})

    def change(self, what: str, data: st.DataObject) -> None:
        it = self.it
        services = it.store.services
        if what == "turn":
            it.settle(data.draw(st.sampled_from([10.0, 3 * 86_400.0, 32 * 86_400.0])))
        elif what == "group":
            it.put("subscriber", "erin", groups=[f"g{data.draw(st.integers(0, 1))}"])
        elif what == "plan":
            name = data.draw(st.sampled_from(sorted(services)))
            plan_id = data.draw(st.sampled_from(["own", "group", "flat", "shared"]))
            it.put("service", name, subscriber_id="erin", plan_id=plan_id, state=services[name].body.state)
        elif "finn" in services:
            it.delete("service", "finn")
        else:
            it.subscribe("finn", IMSIS["three"], plan_id="shared", subscriber_id="erin")
        it.settle()

    def check_all(self) -> None:
        """Every balance knows what is held of it, and nothing that was used is lost or counted twice."""
        members = self.it.store.services.values()
        for account in [member.account for member in members if member.account is not None]:
            assert account.reserved_octets == sum([reserved_of(member) for member in account.members])
        sessions = self.it.store.sessions.values()
        assert sum([session.input_octets + session.output_octets for session in sessions]) == self.charged

    def balances(self) -> dict[str, tuple[int, ...]]:
        return {
            member.body.id: (
                member.input_octets,
                member.output_octets,
                *(() if (held := member.account) is None else (held.charged_octets, held.reserved_octets)),
            )
            for member in self.it.store.services.values()
        }


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_what_is_held_and_used_stays_known_whatever_billing_changes_meanwhile(data: st.DataObject) -> None:
    office = Office(40 * MB, *data.draw(st.sampled_from([("block",), (THROTTLE,), ()])))
    for _ in range(data.draw(st.integers(1, 25))):
        step = data.draw(st.sampled_from(("plan", "plan", "group", "turn", "service", *STEPS)))
        client = data.draw(st.sampled_from(office.clients))
        if step in ("plan", "group", "turn", "service"):
            office.change(step, data)
        elif step in ("update", "end", "lose", "crash"):
            getattr(office, step)(client, data.draw(shares))
        elif step in ("suspend", "resume"):
            office.it.state("suspended" if step == "suspend" else "active")
            office.it.settle()
        elif step not in ("again", "top_up"):
            getattr(office, step)()
        office.check_all()
    before = office.balances()
    office.restart()
    assert office.balances() == before


def reported(bench: Bench) -> Iterator[int]:
    """Use up all that is granted, in turn, until everybody is refused."""
    refused = 0
    while refused < 2 * len(NAMES):
        for client in bench.clients:
            before = bench.charged
            bench.update(client, [1.0])
            assert client.answer is not None
            refused = 0 if client.answer.octets_granted() else refused + 1
            yield bench.charged - before


@pytest.mark.parametrize("octets", [40 * MB, 7 * MB + 1, 2])
def test_parallel_sessions_use_up_a_quota_to_the_last_octet_and_not_beyond(octets: int) -> None:
    bench = Bench(octets - octets % 2, "block")
    assert sum(reported(bench)) == octets - octets % 2
    assert bench.it.left() == 0
    assert bench.it.account().reserved_octets == 0
