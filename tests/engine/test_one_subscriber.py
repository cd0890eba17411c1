"""Fibre and SIM of one subscriber: the shipped backup rule over RADIUS and Gx, and one quota over RADIUS and Gy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aaa.config.policy import compile_texts
from aaa.model.accounting import Status
from aaa.model.mobile import FACTS, GX, GY, Mobile
from aaa.model.records import SessionRecord
from aaa.state.mobile import client_of, new_session, open_session
from aaa.state.sessions import add_octets
from tests.engine.far_end import ACK, Field

BACKUP = Path(__file__).parents[2] / "conf/policy/50-backup.toml"
IMSI, ICCID = "001010000000001", "8900100000000000001"
FAST = {"down_bps": 20_000_000, "up_bps": 5_000_000}
FIBRE = [{"type": "password", "username": "fibre", "cleartext": "secret"}]


class Household(Field):
    """A subscriber with the services fibre and lte, the second with a SIM."""

    def furnish(self, fibre: dict[str, Any], lte: dict[str, Any], **service: Any) -> Household:
        self.put("plan", "fibre", kind="internet", rate={"down_bps": 100_000_000, "up_bps": 50_000_000}, **fibre)
        self.put("plan", "lte-backup", kind="mobile", rate=FAST, **lte)
        self.put("subscriber", "smith")
        self.put("service", "fibre", subscriber_id="smith", plan_id="fibre", credentials=FIBRE)
        self.put("service", "lte", subscriber_id="smith", plan_id="lte-backup", **service)
        self.put("sim", ICCID, iccid=ICCID, imsi=IMSI, service_id="lte", state="activated")
        return self

    def bearer(self, protocol: int) -> SessionRecord:
        service = self.store.services["lte"]
        facts: Mobile = FACTS[protocol](imsi=IMSI, realm="example", apn="internet")
        nas = client_of(self.store, "smf.example", "example", "")
        session = new_session(self.store, protocol, nas, b"smf;%d" % protocol, service, facts, self.now)
        open_session(self.store, session, self.decisions.of_session(session, self.now))
        self.addresses.settle(self.now)
        self.settle()
        return session

    def fibre(self, status: Status, at: float, **facts: Any) -> None:
        """A report about the line."""
        self.settle(max(0.0, at - (self.now - 1_700_000_000.0)))
        self.report(status, b"line", at, user_name=b"fibre", **facts)
        self.settle()


def down_bps(session: SessionRecord) -> int:
    """What a session runs under, as the network has confirmed."""
    assert session.decision is not None
    rate = session.decision.body.rate
    assert rate is not None
    return rate.down_bps


@pytest.mark.parametrize("restarts", [False, True])
def test_a_backup_bearer_is_raised_when_the_fibre_stops_and_held_back_when_it_is_up_again(restarts: bool) -> None:
    policy = compile_texts({BACKUP.name: BACKUP.read_text()})
    it = Household(policy=policy).furnish({}, {})
    it.online("fibre", b"line")
    bearer = it.bearer(GX)
    # Its first answer already tells the trickle.
    assert (down_bps(bearer), it.far.sent) == (64_000, [])
    it.fibre(Status.STOP, 60.0, session_time_s=60, terminate_cause=2)
    assert [(sent.action, sent.session.protocol) for sent in it.far.sent] == [("coa", GX)]
    assert it.far.rate() == FAST["down_bps"]
    if restarts:
        again = Household(it.db, policy=policy)
        again.now, again.revision = it.now, it.revision
        again.settle()
        it, bearer = again, again.store.sessions[bearer.id]
        # What was not answered is sent again.
        assert it.far.rate() == FAST["down_bps"]
    it.answer(ACK)
    assert down_bps(bearer) == FAST["down_bps"]
    it.settle(600)
    it.online("fibre", b"line-2")
    assert (it.far.actions[-1], it.far.rate()) == ("coa", 64_000)
    it.answer(ACK)
    assert down_bps(bearer) == 64_000


def test_only_sessions_that_carry_traffic_keep_a_backup_asleep() -> None:
    it = Household(policy=compile_texts({BACKUP.name: BACKUP.read_text()})).furnish({}, {})
    bearer = it.bearer(GX)
    assert down_bps(bearer) == FAST["down_bps"]
    it.bearer(GY)
    assert it.far.sent == []


SHARED = {"octets": 10_000, "shared": "subscriber", "thresholds": [50]}


def test_fibre_and_sim_use_up_one_quota_over_radius_and_gy() -> None:
    throttle = {"on_exhausted": [{"throttle": {"down_bps": 1_000_000, "up_bps": 1_000_000}}]}
    it = Household().furnish({"quota": SHARED, **throttle}, {"quota": {**SHARED, "octets": 2_000}, **throttle})
    line = it.online("fibre", b"line")
    charging, bearer = it.bearer(GY), it.bearer(GX)
    account = it.store.services["lte"].account
    assert account is it.store.services["fibre"].account
    assert account is not None
    assert (account.kind, account.offered_octets) == ("subscriber", 12_000)
    it.fibre(Status.INTERIM, 60.0, session_time_s=60, input_octets=1_000, output_octets=4_000)
    add_octets(it.store, charging, 500, 500, it.now, it.now)
    # The policy session reports the same.
    bearer.mobile.monitored = 1
    add_octets(it.store, bearer, 500, 500, it.now, it.now)
    it.settle()
    assert account.charged_octets == 6_000
    assert [event.data["percent"] for event in it.events("quota.threshold")] == [50]
    assert it.far.sent == []
    add_octets(it.store, charging, 0, 6_000, it.now, it.now)
    it.settle()
    # What the SIM used up slows the fibre down, too.
    assert {sent.session for sent in it.far.sent} == {line, charging, bearer}
    it.answer(*[ACK] * len(it.far.waiting))
    assert {down_bps(session) for session in (line, bearer)} == {1_000_000}
    again = it.restart()
    loaded = again.store.services["fibre"].account
    assert loaded is again.store.services["lte"].account
    assert loaded is not None
    assert (loaded.charged_octets, loaded.exhausted) == (12_000, True)
