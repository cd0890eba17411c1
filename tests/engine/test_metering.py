"""One bearer, up to three reports of it: each octet is charged once, whoever comes and goes in whatever order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.engine.policy_control import PolicyControl
from aaa.model.accounting import Status
from aaa.model.mobile import FACTS, GX, GY, RADIUS, Mobile
from aaa.model.records import ACTIVE, SessionRecord
from aaa.state.meters import choose_meter
from aaa.state.mobile import client_of, new_session, open_session
from aaa.state.sessions import add_octets, end_session
from aaa.state.store import WHOLE, Store
from tests.engine.far_end import Field

IMSI, ICCID = "001010000000001", "8900100000000000001"
PLAN: dict[str, Any] = {
    "kind": "mobile",
    "rate": {"down_bps": 1_000_000, "up_bps": 1_000_000},
    "quota": {"octets": 1_000_000},
}
IP, OTHER_IP = bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2))
PREFIX = b"\x40" + bytes.fromhex("20010db8000000010000000000000000")


class Core(Field):
    """A field with the service alice on a SIM, and its bearer as Gy, Gx and a gateway's accounting report it."""

    def begin(self, plan: dict[str, Any] = PLAN) -> Core:
        self.service(plan=plan)
        self.put("sim", ICCID, iccid=ICCID, imsi=IMSI, service_id="alice", state="activated")
        return self

    def attach(
        self, protocol: int, ip: bytes | None = None, apn: str = "internet", monitored: int = 1
    ) -> SessionRecord:
        service = self.store.services["alice"]
        facts: Mobile = FACTS[protocol](imsi=IMSI, realm="example", apn=apn)
        nas = client_of(self.store, "smf.example", "example", "")
        key = b"%d;%d" % (protocol, len(nas.sessions))
        session = new_session(self.store, protocol, nas, key, service, facts, self.now)
        session.framed_ip = ip
        open_session(self.store, session, self.decisions.of_session(session, self.now))
        if protocol == GX:
            # Whether it monitors is decided when it is known who else reports.
            facts.monitored = monitored  # type: ignore[attr-defined]
        self.addresses.settle(self.now)
        self.settle()
        return session

    def use(self, session: SessionRecord, down: int, up: int = 0) -> None:
        add_octets(self.store, session, up, down, self.now, self.now)

    def end(self, session: SessionRecord) -> None:
        end_session(self.store, session, self.now, 1, True, self.now)
        self.addresses.settle(self.now)
        self.settle()

    def gateway(self, status: Status = Status.START, down: int = -1, imsi: str = "", **facts: Any) -> SessionRecord:
        """What the gateway's accounting reports of the bearer; down: the counter."""
        if imsi:
            facts["mobile"] = Mobile(imsi=imsi, apn=facts.pop("apn", "internet"))
        facts.setdefault("user_name", b"alice")
        facts.setdefault("session_time_s", int(self.now - self.began) if status != Status.START else -1)
        nas = self.nas("pgw")
        self.report(status, b"pgw", self.now - 1_700_000_000.0, nas=nas, output_octets=down, input_octets=0, **facts)
        self.settle()
        return nas.sessions[b"pgw"]

    began = 1_700_000_000.0

    @property
    def charged(self) -> int:
        service = self.store.services["alice"]
        account = service.account
        charged = 0 if account is None else account.charged_octets
        assert charged == service.input_octets + service.output_octets
        return charged


def meter_of(store: Store, session: SessionRecord) -> SessionRecord | None:
    """The session that is charged in place of this one; None: no other is."""
    return store.sessions.get(session.meter[0]) if session.shadowed and session.meter is not None else None


def test_gy_is_charged_before_gx_and_gx_before_radius() -> None:
    it = Core().begin()
    gateway = it.gateway(imsi=IMSI)
    policy = it.attach(GX)
    charging = it.attach(GY)
    assert [each.shadowed for each in (charging, policy, gateway)] == [False, True, True]
    assert meter_of(it.store, policy) is meter_of(it.store, gateway) is charging
    it.use(charging, 20, 10)
    it.use(policy, 20, 10)
    it.settle(60)
    it.gateway(Status.INTERIM, 20)
    assert it.charged == 30
    assert (policy.output_octets, gateway.output_octets) == (20, 20)


@pytest.mark.parametrize("order", [(GY, GX, RADIUS), (GX, RADIUS, GY), (RADIUS, GX, GY), (RADIUS, GY, GX)])
def test_the_order_of_arrival_does_not_matter(order: tuple[int, ...]) -> None:
    it = Core().begin()
    sessions = {}
    for protocol in order:
        sessions[protocol] = it.attach(protocol, IP) if protocol else it.gateway(framed_ip=IP)
    assert [sessions[protocol].shadowed for protocol in (GY, GX, RADIUS)] == [False, True, True]


def test_a_bearer_that_gx_does_not_monitor_is_charged_by_its_accounting() -> None:
    it = Core().begin()
    policy = it.attach(GX, IP, monitored=0)
    gateway = it.gateway(framed_ip=IP)
    assert not gateway.shadowed
    it.settle(60)
    it.gateway(Status.INTERIM, 500)
    assert it.charged == 500
    policy.mobile.monitored = 1000
    choose_meter(it.store, policy)
    assert gateway.shadowed
    it.use(policy, 100)
    it.gateway(Status.INTERIM, 600, session_time_s=120)
    assert it.charged == 600


def test_two_bearers_of_a_sim_are_charged_each() -> None:
    it = Core().begin()
    it.attach(GY, IP)
    it.attach(GX, OTHER_IP, apn="ims")
    gateway = it.gateway(framed_ip=bytes((10, 0, 0, 3)))
    assert not any(each.shadowed for each in it.store.sessions.values())
    it.settle(60)
    it.gateway(Status.INTERIM, 500)
    assert (it.charged, gateway.output_octets) == (500, 500)


def test_two_connections_to_one_apn_are_told_apart_by_their_addresses() -> None:
    it = Core().begin()
    one, two = it.attach(GY, IP), it.attach(GX, OTHER_IP)
    assert (one.shadowed, two.shadowed) == (False, False)


def test_a_bearer_of_ipv6_alone_is_known_by_its_prefix() -> None:
    it = Core().begin()
    policy = it.attach(GX)
    policy.framed_prefix = PREFIX
    assert it.gateway(framed_prefix=PREFIX).shadowed


def test_an_address_that_is_learned_late_takes_back_what_both_were_charged_for() -> None:
    it = Core().begin()
    charging = it.attach(GY, IP)
    it.gateway()
    it.settle(60)
    it.use(charging, 80)
    it.gateway(Status.INTERIM, 100)
    assert it.charged == 180
    it.settle(60)
    gateway = it.gateway(Status.INTERIM, 120, framed_ip=IP)
    # The gateway had reported 100 of it, Gy 80 of the same.
    assert (gateway.shadowed, it.charged) == (True, 100)
    it.use(charging, 60)
    assert it.charged == 140
    again = it.restart()
    assert again.store.services["alice"].output_octets == 140


def test_what_was_free_is_not_taken_back() -> None:
    evening = {"window": {"start": "22:00", "end": "23:00"}, "zero_rated": True}
    it = Core().begin(PLAN | {"schedule": [evening]})
    charging = it.attach(GY, IP)
    it.gateway()
    it.settle(60)
    it.use(charging, 100)
    it.gateway(Status.INTERIM, 100)
    it.settle(3_600)
    it.use(charging, 50)
    service = it.store.services["alice"]
    account = service.account
    assert account is not None
    assert (account.charged_octets, service.output_octets) == (50, 250)
    assert it.gateway(Status.INTERIM, 150, framed_ip=IP).shadowed
    assert (account.charged_octets, service.output_octets) == (50, 150)


def test_the_report_that_tells_the_address_is_not_charged_first() -> None:
    it = Core().begin()
    charging = it.attach(GY, IP)
    it.use(charging, 700)
    it.settle(60)
    gateway = it.gateway(Status.INTERIM, 700, framed_ip=IP)
    assert (gateway.adopted, gateway.shadowed, it.charged) == (True, True, 700)


def test_what_a_gateway_reports_after_the_charging_has_ended_is_paid_already() -> None:
    it = Core().begin()
    charging = it.attach(GY, IP)
    gateway = it.gateway(framed_ip=IP)
    it.settle(60)
    it.gateway(Status.INTERIM, 300)
    it.use(charging, 1_000)
    it.end(charging)
    assert not gateway.shadowed
    it.settle(1)
    it.gateway(Status.STOP, 1_000)
    assert it.charged == 1_000


def test_a_bearer_that_goes_on_without_its_charging_is_charged_on_after_a_restart_too() -> None:
    it = Core().begin()
    charging = it.attach(GY, IP)
    it.gateway(framed_ip=IP)
    it.use(charging, 1_000)
    it.end(charging)
    core = Core(it.db)
    it.disk.settle()
    core = Core(it.db)
    core.now = it.now + 60
    core.gateway(Status.INTERIM, 1_500)
    assert core.charged == 1_500


def test_when_its_charging_ends_a_bearer_is_charged_by_the_next_in_line() -> None:
    it = Core().begin()
    charging, policy = it.attach(GY), it.attach(GX)
    gateway = it.gateway(imsi=IMSI)
    it.end(charging)
    assert (policy.shadowed, gateway.shadowed) == (False, True)
    assert meter_of(it.store, gateway) is policy


def test_a_session_that_moves_to_another_address_is_charged_by_itself() -> None:
    it = Core().begin()
    it.attach(GY, IP)
    gateway = it.gateway(framed_ip=IP)
    it.settle(60)
    it.gateway(Status.INTERIM, 100, framed_ip=OTHER_IP)
    assert (gateway.shadowed, it.charged) == (False, 100)


def test_an_imsi_names_the_service_of_a_report_that_nothing_else_does() -> None:
    it = Core().begin()
    session = it.gateway(imsi=IMSI, user_name=b"internet")
    assert session.service is it.store.services["alice"]
    assert session.mobile.imsi == IMSI
    assert it.restart().store.sessions[session.id].mobile.apn == "internet"


def test_an_imsi_of_another_operator_is_nobody_at_an_operator_s_own_gateway() -> None:
    it = Core().begin()
    it.nas("pgw").operator = "mvno"
    assert it.gateway(imsi=IMSI, user_name=b"internet").service is None


def test_who_is_charged_is_the_same_after_a_restart() -> None:
    it = Core().begin()
    it.attach(GX, IP)
    charging = it.attach(GY, IP)
    it.gateway(framed_ip=IP)
    again = it.restart()
    assert [(each.shadowed, each.meter) for each in again.store.sessions.values()] == [
        (each.shadowed, each.meter) for each in it.store.sessions.values()
    ]
    assert sum(each.meter is not None and each.meter[0] == charging.id for each in again.store.sessions.values()) == 2


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_the_order_of_reports_and_ends_each_octet_is_charged_once(data: st.DataObject) -> None:
    it = Core().begin()
    live: dict[int, SessionRecord] = {}
    for protocol in data.draw(st.permutations((GY, GX, RADIUS))):
        live[protocol] = it.attach(protocol, IP) if protocol else it.gateway()
    learned = False
    used = 0
    reported = dict.fromkeys(live, 0)

    def report(protocol: int, ends: bool) -> None:
        nonlocal learned
        if protocol == RADIUS:
            learned = learned or ends or data.draw(st.booleans())
            it.settle(1)
            address = {"framed_ip": IP} if learned else {}
            it.gateway(Status.STOP if ends else Status.INTERIM, used, **address)
        else:
            it.use(live[protocol], used - reported[protocol])
            if ends:
                it.end(live[protocol])
        reported[protocol] = used

    for _ in range(data.draw(st.integers(0, 8))):
        used += data.draw(st.integers(0, 100))
        report(data.draw(st.sampled_from(sorted(live))), False)
        if data.draw(st.booleans()):
            it = resume(it, live)
    for protocol in data.draw(st.permutations(sorted(live))):
        used += data.draw(st.integers(0, 100))
        if protocol != RADIUS and not learned:
            report(RADIUS, False)
            learned = True
            it.gateway(Status.INTERIM, used, framed_ip=IP)
        report(protocol, True)
    assert it.charged == used
    told = {event.data["session_id"]: event.data for event in it.events("session.stopped")}
    if len(told) == len(live):
        # What is told of sessions that have ended adds up to it, for whoever bills by them.
        assert sum(each["charged_output_octets"] for each in told.values()) == used


class Bearer:
    """A bearer of which `used` octets were used, and who reports it; Gx counts from when it is asked to monitor."""

    def __init__(self, order: Sequence[int]) -> None:
        self.it = Core().begin()
        self.used = 0
        self.live: dict[int, SessionRecord] = {}
        self.counted = {GX: 0, GY: 0}
        for protocol in order:
            if protocol == RADIUS:
                self.live[protocol] = self.it.gateway(framed_ip=IP)
            else:
                self.live[protocol] = self.it.attach(protocol, IP, monitored=0)
            self.ask()

    def monitor(self, octets: int) -> None:
        """The PCEF is told to monitor, or not to."""
        session = self.live[GX]
        PolicyControl(self.it.store, self.it.decisions).monitor(session, octets)
        self.it.store.touch_session(session, WHOLE)
        self.it.settle()

    def ask(self) -> None:
        """The reconciler has Gx monitor where nobody before it does."""
        session = self.live.get(GX)
        if session is not None and not session.shadowed and not session.mobile.monitored:
            self.counted[GX] = self.used
            self.monitor(1_000)

    def report(self, protocol: int, ends: bool) -> None:
        session = self.live[protocol]
        if protocol == RADIUS:
            self.it.settle(1)
            self.it.gateway(Status.STOP if ends else Status.INTERIM, self.used, framed_ip=IP)
        elif protocol == GY or session.mobile.monitored:
            self.it.use(session, self.used - self.counted[protocol])
            self.counted[protocol] = self.used
            if protocol == GX and session.shadowed:
                self.monitor(0)
        if ends:
            if protocol != RADIUS:
                self.it.end(session)
            del self.live[protocol]
            self.ask()


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_pcef_that_is_asked_to_count_only_when_it_is_needed_is_charged_for_what_it_counts(
    data: st.DataObject,
) -> None:
    bearer = Bearer(data.draw(st.permutations((GY, GX, RADIUS))))
    for _ in range(data.draw(st.integers(0, 8))):
        bearer.used += data.draw(st.integers(0, 100))
        protocol = data.draw(st.sampled_from(sorted(bearer.live)))
        bearer.report(protocol, protocol != RADIUS and data.draw(st.integers(0, 4)) == 0)
        if data.draw(st.booleans()):
            bearer.it = resume(bearer.it, bearer.live)
    for protocol in data.draw(st.permutations(sorted(bearer.live))):
        bearer.used += data.draw(st.integers(0, 100))
        bearer.report(protocol, True)
    assert bearer.it.charged == bearer.used


def resume(it: Core, live: dict[int, SessionRecord]) -> Core:
    """A new process goes on."""
    it.disk.settle()
    again = Core(it.db)
    again.now, again.revision = it.now, it.revision
    again.settle()
    for protocol, session in live.items():
        live[protocol] = again.store.sessions[session.id]
        assert live[protocol].state == ACTIVE
    return again
