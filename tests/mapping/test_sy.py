"""Spending limit reports: what a PCRF is answered and told, as the dictionary reads it, and what a restart keeps."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.clock import ManualClock
from aaa.diameter.request import Request
from aaa.dictionary.diameter import load
from aaa.mapping.sy import SY, Sy
from aaa.model.mobile import SY as SY_SESSION
from aaa.model.operations import Operation
from aaa.model.records import ACTIVE, ENDED, SessionRecord
from aaa.state.entities import apply_operation
from aaa.state.sessions import add_octets, add_usage
from native import diameter
from native.diameter import FLAG_REQUEST, Message
from tests.engine.far_end import Field
from tests.engine.site import AT
from tests.mapping.desk import Wire, configured, peer_of

DICTIONARY = load()
IMSI = "001010000000001"
MSISDN = "15550000001"
ICCID = "8900100000000000001"
PLAN: dict[str, Any] = {
    "kind": "mobile",
    "rate": {"down_bps": 20_000_000, "up_bps": 5_000_000},
    "quota": {"octets": 1_000, "thresholds": [50, 80]},
    "on_exhausted": [{"throttle": {"down_bps": 64_000, "up_bps": 64_000}}],
}
PCRF = "pcrf.example"
FRESH = {"state": "active", "decision": "granted", "rate": "20000000/5000000", "quota": "available", "garden": "off"}


class World(Field):
    """A field whose network is Sy, with the service alice on a SIM."""

    def start(self, loaded: bool) -> None:
        super().start(loaded)
        self.clock = ManualClock(self.now)
        self.sy = Sy(self.store, self.decisions, configured(), self.clock)
        self.wire = self.enforcer.network = Wire(self.sy, SY_SESSION)

    def settle(self, seconds: float = 0.0) -> None:
        self.clock.step(self.now + seconds - self.clock.at())
        super().settle(seconds)

    def restart(self, durable: bool = True, nases: Any = None) -> World:
        if durable:
            self.disk.settle()
        world = World(self.db, self.escalate, self.policy, nases)
        world.now, world.revision = self.now, self.revision
        world.settle()
        return world

    def subscriber(self, **plan: Any) -> None:
        self.service(plan=PLAN | plan)
        keys = {"ki": "00" * 16, "opc": "11" * 16}
        self.put("sim", ICCID, iccid=ICCID, imsi=IMSI, msisdn=MSISDN, service_id="alice", state="activated", **keys)

    def use(self, octets: int) -> None:
        """So much is reported of the service."""
        service = self.store.services["alice"]
        add_usage(self.store, service, 0, octets, self.now, self.now)
        self.settle()

    def top_up(self, octets: int, name: str = "t1") -> None:
        operation = Operation("top_up", "service", "alice", {"id": name, "octets": octets})
        assert apply_operation(self.store, operation, None, self.now).status == "applied"
        self.settle()

    def ask(self, command: str, *avps: tuple[str, Any], session: str = "pcrf;1", host: str = PCRF) -> dict[str, Any]:
        """Send a request; its answer by name, with the statuses under "counters"."""
        what = DICTIONARY.command("Sy", command)
        head = [
            ("Session-Id", session),
            ("Auth-Application-Id", SY),
            ("Origin-Host", host),
            ("Origin-Realm", "example"),
            ("Destination-Realm", "localdomain"),
        ]
        octets = diameter.message(FLAG_REQUEST, what.code, SY, 7, 8, DICTIONARY.encode_all([*head, *avps]))
        request = Message.parse(octets)
        assert what.grammar.check(request) is None
        (answer,) = self.sy.receive([Request(peer_of(PCRF), None, request)], self.now)
        self.addresses.settle(self.now)
        self.settle()
        return read(answer, request)

    def follow(self, *names: str, kind: int = 0, imsi: str = IMSI, **more: Any) -> dict[str, Any]:
        subscription = ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", imsi)])
        counters = [("Policy-Counter-Identifier", name) for name in names]
        return self.ask("SLR", ("SL-Request-Type", kind), subscription, *more.pop("avps", ()), *counters, **more)

    def told(self, result: int | None = 2001) -> dict[str, Any]:
        """The notification that waits, answered so; None: not yet."""
        session, outgoing, done = self.wire.waiting.pop(0)
        if result is not None:
            self.acknowledge(session, outgoing, done, result)
        return statuses(outgoing.avps)

    def acknowledge(self, session: SessionRecord, outgoing: Any, done: Any, result: int) -> None:
        avps = DICTIONARY.encode_all([("Session-Id", "pcrf;1"), ("Result-Code", result)])
        answer = Message.parse(diameter.message(0, outgoing.command, SY, 1, 1, avps))
        done(self.sy.read_reply(session, outgoing, answer, self.now))
        self.settle()

    @property
    def session(self) -> SessionRecord:
        (session,) = [each for each in self.store.sessions.values() if each.protocol == SY_SESSION]
        return session


def statuses(avps: Any) -> dict[str, Any]:
    """Policy-Counter-Status-Reports: the status, or (status, next status, seconds from AT)."""
    found: dict[str, Any] = {}
    message = Message.parse(diameter.message(0, 1, SY, 1, 1, avps))
    for octets in message.get_all(2903, 10415):
        report: dict[str, Any] = dict(DICTIONARY.decode("Policy-Counter-Status-Report", octets))  # type: ignore[arg-type]
        name, status = report["Policy-Counter-Identifier"], report["Policy-Counter-Status"]
        pending = report.get("Pending-Policy-Counter-Information")
        if pending is not None:
            later = dict(pending)
            moment = later["Pending-Policy-Counter-Change-Time"] - AT
            status = (status, later["Policy-Counter-Status"], moment)
        found[name] = status
    return found


def read(octets: bytes, request: Message) -> dict[str, Any]:
    answer = Message.parse(octets)
    command = DICTIONARY.command_of(answer)
    assert command is not None
    assert command.grammar.check(answer) is None
    assert (answer.hop_by_hop, answer.end_to_end) == (request.hop_by_hop, request.end_to_end)
    shown = dict(DICTIONARY.show(answer))
    assert (shown["Origin-Host"], shown["Session-Id"]) == ("aaa.localdomain", request.get_text(263))
    counters = statuses([diameter.avp(code, value, vendor) for code, vendor, _, value in answer.avps()])
    return {"result": answer.get_unsigned32(268), "counters": counters, "shown": shown}


def world(**plan: Any) -> World:
    made = World()
    made.subscriber(**plan)
    return made


MONTH_S = 1_388_800
"""From AT to the turn of the cycle."""


def test_a_pcrf_that_names_no_counter_follows_all() -> None:
    it = world()
    answer = it.follow()
    assert (answer["result"], answer["counters"]) == (2001, FRESH)
    assert (it.session.state, it.session.service) == (ACTIVE, it.store.services["alice"])
    (event,) = it.events("session.started")
    assert (event.data["protocol"], event.data["imsi"]) == ("sy", IMSI)


def test_a_pcrf_follows_the_counters_that_it_names() -> None:
    it = world()
    assert it.follow("quota", "state")["counters"] == {"quota": "available", "state": "active"}
    it.rate()
    it.settle()
    assert it.wire.waiting == []


def test_unknown_counters_are_refused_by_name_and_nothing_is_opened() -> None:
    it = world()
    answer = it.follow("quota", "gold", "silver")
    shown = answer["shown"]
    assert shown["Experimental-Result.Experimental-Result-Code"] == "DIAMETER_ERROR_UNKNOWN_POLICY_COUNTERS"
    assert shown["Experimental-Result.Vendor-Id"] == "10415"
    assert shown["Failed-AVP.Policy-Counter-Identifier"] in ("gold", "silver")
    assert answer["counters"] == {}
    assert it.store.sessions == {}


@pytest.mark.parametrize("state", ["assigned", "stock", "suspended"])
def test_who_has_no_activated_sim_is_unknown(state: str) -> None:
    it = world()
    it.put("sim", ICCID, iccid=ICCID, imsi=IMSI, state="suspended", service_id="alice")
    if state != "suspended":
        it.put("sim", ICCID, iccid=ICCID, imsi=IMSI, state="retired")
    assert it.follow()["result"] == 5030
    assert it.follow(imsi="001019999999999")["result"] == 5030
    assert it.store.sessions == {}


def test_a_sim_of_another_operator_is_unknown_to_an_operator_s_pcrf() -> None:
    it = world()
    it.sy.use(configured({"operator": "mvno"}))
    assert it.follow()["result"] == 5030


def test_a_pcrf_of_another_operator_cannot_change_a_session_or_end_it() -> None:
    it = world()
    it.follow()
    it.sy.use(configured({"operator": "mvno"}))
    assert it.ask("SLR", ("SL-Request-Type", 1))["result"] == 5002
    assert it.ask("STR", ("Termination-Cause", 1))["result"] == 5002
    assert it.session.state == ACTIVE


def test_a_pcrf_that_knows_only_the_number_finds_its_sim() -> None:
    it = world()
    number = ("Subscription-Id", [("Subscription-Id-Type", 0), ("Subscription-Id-Data", MSISDN)])
    assert it.ask("SLR", ("SL-Request-Type", 0), number)["result"] == 2001
    assert it.session.mobile.imsi == IMSI


def test_by_a_number_nobody_comes_to_an_imsi_that_the_firewall_keeps_from_him() -> None:
    it = world()
    it.sy.use(configured({"imsis": ("26201",)}))
    number = ("Subscription-Id", [("Subscription-Id-Type", 0), ("Subscription-Id-Data", MSISDN)])
    assert it.ask("SLR", ("SL-Request-Type", 0), number)["result"] == 5030
    it.sy.use(configured({"imsis": ("26201", "00101")}))
    assert it.ask("SLR", ("SL-Request-Type", 0), number)["result"] == 2001


def test_the_imsi_decides_whatever_number_stands_beside_it() -> None:
    it = world()
    other = ("Subscription-Id", [("Subscription-Id-Type", 0), ("Subscription-Id-Data", "15559999999")])
    assert it.follow(avps=[other])["result"] == 2001


def test_an_intermediate_request_changes_what_is_followed() -> None:
    it = world()
    it.follow()
    assert it.follow("garden", kind=1)["counters"] == {"garden": "off"}
    it.state("suspended")
    it.settle()
    assert it.wire.waiting == []
    assert it.session.mobile.wanted == ("garden",)


def test_an_intermediate_request_of_an_unknown_session_is_refused() -> None:
    it = world()
    assert it.follow(kind=1)["result"] == 5002
    it.follow()
    assert it.follow(kind=1, host="other.example")["result"] == 5002


def test_an_initial_request_that_comes_again_opens_nothing_new() -> None:
    it = world()
    assert it.follow()["counters"] == it.follow()["counters"]
    assert len(it.store.sessions) == 1
    assert len(it.events("session.started")) == 1


def test_a_pcrf_that_begins_another_session_has_lost_the_first() -> None:
    it = world()
    it.follow()
    first = it.session
    it.follow(session="pcrf;2")
    assert first.state == ENDED
    it.state("restricted")
    it.settle()
    assert len(it.wire.waiting) == 1


def test_a_termination_ends_the_session_once() -> None:
    it = world()
    it.follow()
    assert it.ask("STR", ("Termination-Cause", 1))["result"] == 2001
    assert it.session.state == ENDED
    assert it.ask("STR", ("Termination-Cause", 1))["result"] == 2001
    assert len(it.events("session.stopped")) == 1
    assert it.ask("STR", ("Termination-Cause", 1), session="pcrf;2")["result"] == 5002


def test_a_change_of_state_is_told_with_all_that_follows_from_it_and_nothing_else() -> None:
    it = world()
    it.follow()
    it.state("suspended")
    it.settle()
    assert it.told() == {"state": "suspended", "decision": "suspended", "rate": "none"}
    it.settle()
    assert (it.session.state, it.wire.waiting) == (ACTIVE, [])
    it.state("active")
    it.settle()
    assert it.told() == {"state": "active", "decision": "granted", "rate": "20000000/5000000"}


def test_a_threshold_is_told_though_it_is_no_other_decision() -> None:
    it = world()
    it.follow()
    it.use(499)
    assert it.wire.waiting == []
    it.use(1)
    assert it.told() == {"quota": ("used-50", "available", MONTH_S)}
    it.use(300)
    assert it.told() == {"quota": ("used-80", "available", MONTH_S)}


def test_exhaustion_and_a_top_up_are_told() -> None:
    it = world()
    it.follow("decision", "quota", "rate")
    it.use(1_000)
    assert it.told() == {
        "decision": ("throttled", "granted", MONTH_S),
        "quota": ("exhausted", "available", MONTH_S),
        "rate": ("64000/64000", "20000000/5000000", MONTH_S),
    }
    it.top_up(4_000)
    assert it.told() == {"decision": "granted", "quota": "available", "rate": "20000000/5000000"}


def test_what_is_told_ahead_needs_no_word_when_it_comes() -> None:
    it = world(quota={"octets": 1_000, "thresholds": [50]}, on_exhausted=[])
    it.follow("quota")
    it.use(600)
    assert it.told() == {"quota": ("used-50", "available", MONTH_S)}
    it.settle(MONTH_S + 1)
    it.rate()
    it.settle()
    assert it.wire.waiting == []


def test_a_schedule_is_told_ahead() -> None:
    night = {"start": "00:00", "end": "06:00"}
    it = world(schedule=[{"window": night, "rate": {"down_bps": 100_000_000, "up_bps": 50_000_000}}])
    answer = it.follow("rate")
    midnight = 86_400 - AT % 86_400
    assert answer["counters"] == {"rate": ("20000000/5000000", "100000000/50000000", midnight)}
    it.settle(midnight + 1)
    # What comes next is news: the end of the window.
    assert it.told() == {"rate": ("100000000/50000000", "20000000/5000000", midnight + 6 * 3600)}


def test_what_changes_while_a_notification_is_under_way_is_told_after_it() -> None:
    it = world()
    it.follow("quota")
    it.use(500)
    session, outgoing, done = it.wire.waiting.pop()
    it.use(300)
    assert it.wire.waiting == []
    it.acknowledge(session, outgoing, done, 2001)
    assert it.told() == {"quota": ("used-80", "available", MONTH_S)}
    assert it.wire.waiting == []


def test_what_was_told_is_known_after_a_restart() -> None:
    it = world()
    it.follow()
    it.use(500)
    it.told()
    it = it.restart()
    assert it.wire.waiting == []
    assert it.session.mobile.told["quota"] == "used-50"
    it.use(300)
    assert it.told() == {"quota": ("used-80", "available", MONTH_S)}


def test_what_was_not_acknowledged_is_told_again_after_a_restart() -> None:
    it = world()
    it.follow()
    it.use(500)
    it.told(result=None)
    it = it.restart()
    assert "quota" in it.told()


def test_a_pcrf_that_does_not_know_the_session_any_more_ends_it() -> None:
    it = world()
    it.follow()
    it.state("suspended")
    it.settle()
    it.told(5002)
    assert it.session.state == ENDED


def test_a_pcrf_that_takes_no_notification_is_told_again_and_never_what_is_not_so() -> None:
    it = world()
    it.follow("state")
    it.state("suspended")
    it.settle()
    for _ in range(10):
        if it.wire.waiting:
            assert it.told(5012) == {"state": "suspended"}
        it.settle(600)
    assert it.session.state == ACTIVE
    assert it.events("enforcement.failed")
    it.state("active")
    it.settle()
    # What it knows is uncertain by now.
    assert it.told() == {"state": "active"}


def test_a_deleted_service_is_told_as_terminated_and_its_session_ends() -> None:
    it = world()
    it.follow("state", "quota")
    it.delete("service", "alice")
    it.settle()
    assert it.told() == {"state": "terminated", "quota": "none"}
    assert it.session.state == ENDED


def test_a_pcrf_that_can_be_aborted_is() -> None:
    it = world()
    feature = [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 3)]
    answer = it.follow("state", avps=[("Supported-Features", feature)])
    assert answer["shown"]["Supported-Features.Feature-List"] == "1"
    it.delete("service", "alice")
    it.settle()
    _, outgoing, _ = it.wire.waiting[0]
    assert DICTIONARY.encode("SN-Request-Type", 2) in outgoing.avps


def test_the_receipt_says_what_was_told() -> None:
    it = world()
    it.follow("quota")
    it.use(500)
    _, outgoing, _ = it.wire.waiting[0]
    assert outgoing.shown == (("quota", "used-50, available from 2023-12-01T00:00:00Z"),)


def test_a_notification_keeps_to_its_grammar() -> None:
    it = world()
    it.follow()
    it.use(500)
    _, outgoing, _ = it.wire.waiting[0]
    head = [
        ("Session-Id", "pcrf;1"),
        ("Auth-Application-Id", SY),
        ("Origin-Host", "aaa.localdomain"),
        ("Origin-Realm", "localdomain"),
        ("Destination-Host", PCRF),
        ("Destination-Realm", "example"),
    ]
    avps = [*DICTIONARY.encode_all(head), *outgoing.avps]
    request = Message.parse(diameter.message(FLAG_REQUEST, outgoing.command, SY, 1, 1, avps))
    assert DICTIONARY.command("Sy", "SNR").grammar.check(request) is None


def test_another_command_is_refused() -> None:
    it = world()
    octets = diameter.message(FLAG_REQUEST, 8388636, SY, 7, 8, DICTIONARY.encode_all([("Session-Id", "x")]))
    (answer,) = it.sy.receive([Request(peer_of(PCRF), None, Message.parse(octets))], it.now)
    message = Message.parse(answer)
    assert (message.get_unsigned32(268), bool(message.flags & diameter.FLAG_ERROR)) == (3001, True)


def test_a_threshold_that_another_service_passes_is_told_where_the_balance_is_shared() -> None:
    it = world(quota={"octets": 1_000, "thresholds": [50], "shared": "subscriber"})
    it.put("service", "bob", subscriber_id="alice", plan_id="home", credentials=[
        {"type": "password", "username": "bob", "cleartext": "secret"},
    ])  # fmt: skip
    it.follow("quota")
    line = it.online("bob", b"two")
    add_octets(it.store, line, 0, 1_000, it.now, it.now)
    it.settle()
    assert it.told() == {"quota": ("used-50", "available", MONTH_S)}


STEPS = st.one_of(
    st.tuples(st.just("use"), st.integers(1, 600)),
    st.tuples(st.just("top_up"), st.integers(1, 2_000)),
    st.tuples(st.just("state"), st.sampled_from(["active", "restricted", "suspended"])),
    st.tuples(st.just("rate"), st.integers(1_000_000, 3_000_000)),
    st.tuples(st.just("wait"), st.sampled_from([1, 3_600, 10_000, 86_400, 700_000])),
    st.tuples(st.just("answer"), st.sampled_from([2001, 2001, 3004, 5012])),
    st.tuples(st.just("follow"), st.sampled_from([(), ("quota",), ("rate", "state")])),
    st.tuples(st.just("restart"), st.none()),
)
NIGHT = {"window": {"start": "00:00", "end": "06:00"}, "rate": {"down_bps": 100_000_000, "up_bps": 50_000_000}}


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=60, deadline=None)
def test_whatever_happens_a_pcrf_knows_what_is_so_once_it_has_answered(steps: list[tuple[str, Any]]) -> None:
    it = world(schedule=[NIGHT])
    known = it.follow()["counters"]
    for count, (step, value) in enumerate(steps):
        if step == "use":
            it.use(value)
        elif step == "top_up":
            it.top_up(value, f"t{count}")
        elif step == "state":
            it.state(value)
        elif step == "rate":
            it.rate(down_bps=value)
        elif step == "wait":
            it.settle(value)
        elif step == "follow":
            known = known | it.follow(*value, kind=1)["counters"]
        elif step == "restart":
            it = it.restart()
        elif it.wire.waiting:
            told = it.told(value)
            if value == 2001:
                known = known | told
        it.settle()
    session = it.session
    while it.wire.waiting or session.enforcement is not None:
        # What was refused is sent again after a while.
        it.settle(600)
        if it.wire.waiting:
            known = known | it.told()
    assert session.service is not None
    if session.decision is None:
        # Given up; told with the next change.
        it.state("suspended" if session.service.body.state == "active" else "active")
        it.settle()
        known = known | it.told()
    now = it.now - AT
    actual = it.sy.counters.look(session, it.decisions.of_session(session, it.now), it.now).statuses
    for name, status in actual.items():
        told = known[name]
        current = told if isinstance(told, str) else told[1] if told[2] <= now else told[0]
        assert current == status, (name, known)
