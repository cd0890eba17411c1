"""Policy counters: the words in which a foreign PCRF follows a subscriber's billing state, decision and balance (Sy).

A status is a function of what the store holds and of the moment. Where time alone brings the next one, it is told ahead
with its moment, so that nothing has to be sent when it comes. Knows no AVP and no clock.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from aaa.engine.decisions import Decisions
from aaa.engine.facts import session_facts_of
from aaa.model.mobile import SY, SyFacts
from aaa.model.records import ACTIVE, NEVER, DecisionRecord, NasRecord, ServiceRecord, SessionRecord
from aaa.state.holds import effective_state
from aaa.state.ledger import quota_facts
from aaa.state.mobile import new_session, open_session, session_of, sessions_of
from aaa.state.sessions import CAUSE_LOST_CARRIER, end_session
from aaa.state.store import WHOLE, Store
from policy import quota
from policy.model import Decision, QuotaFacts

COUNTERS: Final = ("state", "decision", "rate", "quota", "garden")
"""Policy-Counter-Identifiers; what their statuses are stands in docs/diameter.md."""
OVER: Final = {"state": "terminated", "decision": "terminated", "rate": "none", "quota": "none", "garden": "off"}
"""Of a subscriber that is none any more."""


class Report(Struct, frozen=True):
    """Statuses of some counters at a moment."""

    statuses: dict[str, str]
    pending: dict[str, tuple[str, float]] = {}
    """The next status of those that change by time alone, and when: epoch seconds."""

    def only(self, names: tuple[str, ...]) -> Report:
        """Of these counters."""
        return Report(
            {name: self.statuses[name] for name in names},
            {name: self.pending[name] for name in names if name in self.pending},
        )


class Counters:
    """Follows Sy sessions for one store."""

    def __init__(self, store: Store, decisions: Decisions) -> None:
        self.store = store
        self.decisions = decisions

    # Sessions

    def subscribe(
        self, nas: NasRecord, key: bytes, service: ServiceRecord, facts: SyFacts, at: float
    ) -> tuple[SessionRecord, Report]:
        """A client follows a subscriber from now on, or goes on with other counters: what it is to be told."""
        session = self.find(nas, key)
        if session is None or session.service is not service or session.mobile.imsi != facts.imsi:
            session = new_session(self.store, SY, nas, key, service, facts, at)
            decision = self.decisions.of_session(session, at)
            report = self.look(session, decision, at)
            # A client that lost its session begins another one; the first of them ends here, unheard of.
            for older in sessions_of(service, SY, facts.imsi):
                if older.nas is nas and older.key != key:
                    end_session(self.store, older, older.updated_at, CAUSE_LOST_CARRIER, False, at)
            open_session(self.store, session, decision)
        else:
            session.mobile = facts
            session.decision = session.desired = self.decisions.of_session(session, at)
            report = self.look(session, session.desired, at)
        nas.last_accounting_at = at
        self.note_told(session, report, at)
        return session, report

    def find(self, nas: NasRecord, key: bytes) -> SessionRecord | None:
        """A live session of a client by its Session-Id."""
        session = session_of(nas, SY, key)
        if session is None or session.state != ACTIVE:
            return None
        return session

    def end(self, nas: NasRecord, key: bytes, cause: int, at: float) -> bool:
        """The client follows no more; False: it never did, as far as is known. Harmless when repeated."""
        session = self.find(nas, key)
        if session is not None:
            end_session(self.store, session, at, cause, True, at)
            return True
        former = session_of(nas, SY, key)
        return former is not None and former.ended_by_nas

    def note_told(self, session: SessionRecord, report: Report, at: float) -> None:
        """The client knows of this now."""
        facts: SyFacts = session.mobile
        told = {name: self._told_at(facts, name, at) or "" for name in facts.told if name not in report.statuses}
        left = {name: each for name, each in facts.pending.items() if name in told and at < each[1]}
        facts.told, facts.pending = told | report.statuses, left | report.pending
        session.updated_at = session.heard_at = at
        self.store.touch_session(session, WHOLE)

    # Statuses

    def look(self, session: SessionRecord, decision: DecisionRecord, at: float) -> Report:
        """The statuses that a session follows, as they are at `at` under a decision."""
        service = session.service
        wanted = session.mobile.wanted or COUNTERS
        if service is None:
            return Report(OVER).only(wanted)
        decisions = self.decisions
        balance = quota_facts(self.store, service, at)
        report = Report(statuses_of(service, decision.body, balance, at), {})
        until = decisions.holds_until(service)
        if at < until < NEVER:
            # Counted, because the reconciler measures its slices by it.
            decisions.count += 1
            later = decisions.explain(service, until, session_facts_of(session))
            note_pending(report, statuses_of(service, later, quota_facts(self.store, service, until), until), until)
        turns_at = None if balance is None else balance.changes_at
        if turns_at is not None and at < turns_at:
            status = quota_status(service, quota_facts(self.store, service, turns_at))
            note_pending(report, {"quota": status}, turns_at)
        return report.only(wanted)

    def changed(self, session: SessionRecord, report: Report, at: float) -> tuple[str, ...]:
        """Which of the counters in a report the client knows otherwise."""
        facts: SyFacts = session.mobile
        return tuple([
            name
            for name, status in report.statuses.items()
            if self._told_at(facts, name, at) != status or self._pending_at(facts, name, at) != report.pending.get(name)
        ])  # fmt: skip

    def _told_at(self, facts: SyFacts, name: str, at: float) -> str | None:
        """What the client goes by at `at`."""
        pending = facts.pending.get(name)
        return pending[0] if pending is not None and pending[1] <= at else facts.told.get(name)

    def _pending_at(self, facts: SyFacts, name: str, at: float) -> tuple[str, float] | None:
        """What the client expects to come after `at`."""
        pending = facts.pending.get(name)
        return pending if pending is not None and at < pending[1] else None


def note_pending(report: Report, later: dict[str, str], moment: float) -> None:
    """Take those that are others at a moment into a report, unless an earlier one is there."""
    for name, status in later.items():
        known = report.pending.get(name)
        if status != report.statuses[name] and (known is None or moment < known[1]):
            report.pending[name] = (status, moment)


def statuses_of(service: ServiceRecord, decision: Decision, balance: QuotaFacts | None, at: float) -> dict[str, str]:
    """All counters of a service under a decision."""
    rate = decision.rate
    speed = "default" if rate is None else f"{rate.down_bps}/{rate.up_bps}"
    return {
        "state": effective_state(service, at),
        "decision": decision.reason,
        "rate": speed if decision.grant else "none",
        "quota": quota_status(service, balance),
        "garden": "on" if decision.walled_garden else "off",
    }


def quota_status(service: ServiceRecord, balance: QuotaFacts | None) -> str:
    """ "none", "available", "used-N" from the highest threshold on that is passed, "exhausted"."""
    account = service.account
    plan = (account.members[0] if account is not None else service).plan.body
    if balance is None or plan.quota is None:
        return "none"
    if balance.left <= 0:
        return "exhausted"
    passed = [share for share in plan.quota.thresholds if quota.room_below(balance.octets, balance.left, share) <= 0]
    return f"used-{max(passed)}" if passed else "available"
