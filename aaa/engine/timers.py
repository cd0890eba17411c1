"""What time alone brings, on the moment: decisions that end, holds that end, services that expire, reminders, delays.

Decisions that end are those of services with live sessions; others are made anew when somebody asks. Moments of
services (their expiry, and the times before it that reminders name) are looked for in passes over all services: those
of the next while wait in a heap. Entries are not removed when a service changes; each is checked when its time comes.
How far moments have been told is durable with the events that tell them, so a restart tells those that passed
meanwhile, and none twice. Knows no clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from aaa.engine.automate import Automator
from aaa.engine.decisions import Decisions
from aaa.engine.enforce import caused_by
from aaa.engine.facts import epoch
from aaa.limits import TIMERS_PASS_COUNT, TIMERS_PASS_S, TIMERS_SLICE_COUNT
from aaa.model.events import Cause
from aaa.model.records import NEVER, ServiceRecord
from aaa.state.holds import expire_holds
from aaa.state.ledger import quota_facts
from aaa.state.schema import Row
from aaa.state.store import Store
from policy.model import Scalar

TIME: Final = Cause("time")
TOLD: Final = "timed"
"""Key in META: up to which moment of services all was told."""
EXPIRY: Final = -1.0
"""In place of a lead: the service expires."""
BILLING: Final = "subscriber.billing."


class Timers:
    """Deadlines of one store."""

    def __init__(self, store: Store, decisions: Decisions, automator: Automator) -> None:
        self.store = store
        self.decisions = decisions
        self.automator = automator
        self._decided: list[tuple[float, int]] = []
        """Heap: when a decision ends, and its service."""
        self._armed: dict[int, float] = {}
        """The first of these for each service."""
        self._moments: list[tuple[float, int, str, float]] = []
        """Heap: when, service, which of its moments, how long before it (EXPIRY: it has come)."""
        self._known: set[tuple[float, int, str, float]] = set()
        """What is in it."""
        self._delays: list[tuple[float, int]] = [(timer.due_at, timer.id) for timer in store.timers.values()]
        heapq.heapify(self._delays)
        self._delays_seen = store.last_timer
        self.told = store.timed
        """All moments up to this one, in the order of the heap, were told."""
        self._passed = self.told[0]
        """What is found to have come before this was told, or was over when billing pushed it."""
        self._looked_until = 0.0
        """All moments between the two are in the heap."""
        self._pass_no = 0
        """The next service of the pass under way; -1: none is."""
        self._policy = decisions.policy
        """Whose reminders the passes look for."""
        self._pass_until = 0.0
        self._pass_at = 0.0

    def note_decided(self, service: ServiceRecord) -> None:
        """A live session's decision was looked at: it is looked at again when it ends."""
        until = self.decisions.holds_until(service)
        if until < self._armed.get(service.no, NEVER):
            self._armed[service.no] = until
            heapq.heappush(self._decided, (until, service.no))

    def tick(self, at: float) -> bool:
        """Let come true what is due; True: more is. at: epoch seconds."""
        store = self.store
        count = TIMERS_SLICE_COUNT
        decided, armed = self._decided, self._armed
        with caused_by(store, TIME):
            while decided and decided[0][0] <= at and count:
                until, number = heapq.heappop(decided)
                if armed.get(number) != until:
                    continue
                del armed[number]
                service = store.services_by_no.get(number)
                if service is not None:
                    count -= 1
                    store.affect(service)
            count -= expire_holds(store, at, count)
            self._take_delays()
            while self._delays and self._delays[0][0] <= at and count > 0:
                timer = store.timers.get(heapq.heappop(self._delays)[1])
                if timer is not None:
                    count -= 1
                    self.automator.run_timer(timer, at)
            self._look(at)
            while self._moments and self._moments[0][0] <= min(at, self._looked_until) and count > 0:
                count -= 1
                self._tell(heapq.heappop(self._moments), at)
            if count > 0 and self._looked_until:
                self._passed = min(at, self._looked_until)
        return count <= 0

    def _take_delays(self) -> None:
        """Timers that automations have set since."""
        store = self.store
        while self._delays_seen < store.last_timer:
            self._delays_seen += 1
            timer = store.timers.get(self._delays_seen)
            if timer is not None:
                heapq.heappush(self._delays, (timer.due_at, timer.id))

    # Moments of services

    def _look(self, at: float) -> None:
        """Go on with the pass over all services, and look at those that have changed."""
        store = self.store
        if not self._passed:
            # Nothing was ever told: what comes from now on is, also while nothing runs.
            self._passed = at
            self._keep((at, 0, "", 0.0))
        if self._policy is not self.decisions.policy:
            self._policy = self.decisions.policy
            self._pass_no = 0
        if self.told[0] > at + TIMERS_PASS_S:
            # The clock was far ahead: what it made come true is told again when it is true.
            self._keep((at, 0, "", 0.0))
            self._passed = at
        if self._pass_no < 0 and (at >= self._pass_at or at < self._pass_at - TIMERS_PASS_S):
            self._pass_no = 0
        if self._pass_no == 0:
            self._pass_at = at + TIMERS_PASS_S
            self._pass_until = at + 2 * TIMERS_PASS_S
        if self._pass_no >= 0:
            end = min(self._pass_no + TIMERS_PASS_COUNT, store.last_no + 1)
            for number in range(self._pass_no, end):
                self._pass_no = number + 1
                service = store.services_by_no.get(number)
                if service is not None:
                    self._arm(service)
            self._pass_no = end
            if end > store.last_no:
                self._pass_no = -1
                self._looked_until = self._pass_until
        changed, store.rescheduled = store.rescheduled, []
        for service in changed:
            self._arm(service)

    def _arm(self, service: ServiceRecord) -> None:
        """Remember the moments of a service that come soon."""
        body = service.body
        if body.expires_at is None and not self.decisions.policy.reminders:
            return
        for when, name, lead_s in self._moments_of(service):
            if self._passed <= when <= self._pass_until:
                moment = (when, service.no, name, lead_s)
                if moment > self.told and moment not in self._known:
                    self._known.add(moment)
                    heapq.heappush(self._moments, moment)

    def _moments_of(self, service: ServiceRecord) -> Iterator[tuple[float, str, float]]:
        """(when, which moment, how long before it) of all that is to be told of a service."""
        body = service.body
        if body.state == "terminated":
            return
        if body.expires_at is not None:
            yield epoch(body.expires_at) or 0.0, "service.expires_at", EXPIRY
        for name, lead_s, _ in self.decisions.policy.reminders:
            moment = self._moment(service, name)
            if moment is not None:
                yield moment - lead_s, name, float(lead_s)

    def _moment(self, service: ServiceRecord, name: str) -> float | None:
        """A moment of a service by its name in policy files; None: it has none."""
        body = service.body
        if name == "service.expires_at":
            return epoch(body.expires_at)
        if name == "service.grace_until":
            return epoch(body.grace_until)
        if name == "service.activated_at":
            return epoch(body.activated_at)
        if name == "quota.cycle_ends_at":
            balance = quota_facts(self.store, service, self._passed)
            return None if balance is None else balance.cycle_ends_at
        billing = service.subscriber.body.billing
        return moment_of(billing.extra.get(name.removeprefix(BILLING))) if billing is not None else None

    def _tell(self, due: tuple[float, int, str, float], at: float) -> None:
        """A moment has come, if the service still has it."""
        when, number, name, lead_s = due
        self._known.discard(due)
        store = self.store
        service = store.services_by_no.get(number)
        if service is not None and (when, name, lead_s) in self._moments_of(service):
            body = service.body
            if lead_s == EXPIRY:
                data: dict[str, object] = {"expires_at": when}
                if body.grace_until is not None:
                    data["grace_until"] = epoch(body.grace_until)
                store.emit("service.expired", body.id, at, data, service)
            else:
                data = {"expires_at": when + lead_s, "lead_s": lead_s, "moment": name}
                store.emit("service.expiring", body.id, at, data, service)
        if due > self.told:
            self._keep(due)

    def _keep(self, told: tuple[float, int, str, float]) -> None:
        """All moments up to this one were told."""
        self.told = told
        self.store.journal.append(Row.META, (TOLD, msgspec.json.encode(told).decode()))


def moment_of(value: Scalar | None) -> float | None:
    """Epoch seconds of a moment among billing's facts: a number, or RFC 3339 text with a zone."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return None
        return moment.timestamp() if moment.tzinfo is not None else None
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
