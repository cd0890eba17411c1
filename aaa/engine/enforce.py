"""Makes the network follow: for every live session, the decision it should run under against the one it runs under.

Theory of operation. `compare` sets the desired decision of a session beside the one that its NAS confirmed. Where they
differ in something that the NAS can be told, an Enforcement is opened: its row joins the journal group of its cause, so
it is durable with it, and it is sent only then. A session has at most one exchange under way. A newer desire supersedes
what was not sent yet, and waits behind what was: only the answer tells from where to go on. An answer that is no
acknowledgement never proves that nothing has changed, so after it the confirmed decision is unknown, and the next
CoA carries everything.

Of Diameter sessions a change is a RAR, an IDR or an SNR, and a disconnect a RAR with Session-Release-Cause or a CLR.
A denial is a change to those that can be told of it. A bearer whose gateway does not release it is ended by the
cancellation of its registration.

    CoA          ACK        confirmed
                 503        the session is gone: closed here
                 401 402 403 404 405 406 407 501 508   the profile does not fit: Disconnect where escalate says so
                 other NAK  later again (back-off), after a few attempts as above
                 silence    later again, for as long as the session lives; told once as failed
    Disconnect   ACK        the session's Stop is awaited; without it the session is closed here
                 503        gone; other NAKs of the profile: failed, told, tried again after the next change
                 else       later again

Queues are per NAS, changes of one service before those of a plan or the policy, NASes in turn; the network says how
much each one takes now. Work is cut into slices by cost, because a slice must not hold the packet loop.
A session first heard of in accounting is adopted: what it runs under is unknown, and nothing is sent before its
decision changes, or slowly where the NAS is configured so. Knows no packet, no socket and no clock.
"""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Literal

from msgspec import Struct

from aaa.engine.addresses import Addresses
from aaa.engine.decisions import Decisions
from aaa.engine.network import Network
from aaa.limits import (
    CLOSED_AT_ONCE_COUNT_MAX,
    ENFORCE_ADOPTED_PER_S,
    ENFORCE_BACK_OFF_S,
    ENFORCE_FAILED_AFTER,
    ENFORCE_PROBE_INTERVAL_S,
    ENFORCE_RELEASE_GRACE_S,
    ENFORCE_SEND_COST,
    ENFORCE_SLICE_COST,
    ENFORCE_STOP_GRACE_S,
    ENFORCEMENT_LOG_MAX,
    ENFORCEMENTS_KEPT_MAX,
)
from aaa.model.enforcement import Action, Enforcement, EnforcementState, Reply
from aaa.model.events import SERVER, Cause
from aaa.model.mobile import DENIED_BY_CHANGE, GX, GY, S6A, SY
from aaa.model.records import ACTIVE, DecisionRecord, NasRecord, PlanRecord, ServiceRecord, SessionRecord
from aaa.state.mobile import sessions_of
from aaa.state.sessions import CAUSE_LOST_CARRIER, end_session
from aaa.state.store import WHOLE, Store

SESSION_NOT_FOUND: Final = 503
REFUSALS: Final = frozenset({401, 402, 403, 404, 405, 406, 407, 501, 508})
"""Error-Causes (RFC 5176 §3.5) that say that this request will never be taken as it is."""
CAUSE_ADMIN_RESET: Final = 6
"""Acct-Terminate-Cause of a session whose Disconnect was acknowledged; its Stop, should it come, knows better."""
FOLLOW_BALANCE: Final = frozenset({GY, SY})
COMPARE_COST: Final = 3
DECIDE_COST: Final = 15
OPEN_COST: Final = 25
SERVICES_PER_COST: Final = 4
"""Services without a session that a scan passes for one unit."""
DUE_COUNT_MAX: Final = 500
"""Retries taken up at one tick; Bound: under 1 ms of the loop."""
AGAIN_COUNT_MAX: Final = 5
"""Changes tried again at one tick after a reload; each takes about 60 µs."""
CLOCK_BACK_S: Final = 1.0
"""By how much a clock is set back before what was decided is looked at again."""
SECONDS_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0)
"""Upper bounds of the histogram from cause to acknowledgement."""


class EnforceSettings(Struct, frozen=True):
    """What configuration says about it."""

    escalate: Literal["disconnect", "never"] = "disconnect"
    """What follows a CoA that the NAS does not take."""


class NasQueue:
    """What is to be sent to one NAS."""

    __slots__ = ("heard_at", "mass", "nas", "probed_at", "queued", "silent", "urgent")

    def __init__(self, nas: NasRecord) -> None:
        self.nas = nas
        self.urgent: deque[Enforcement] = deque()
        self.mass: deque[Enforcement] = deque()
        self.queued = False
        """It has a place among those that are served in turn."""
        self.silent: dict[int, Enforcement] = {}
        """Waiting because the NAS did not answer; the oldest first."""
        self.heard_at = 0.0
        """`last_accounting_at` when it was last found silent."""
        self.probed_at = 0.0


class Scan:
    """One walk over all services: those of some plans, or all."""

    __slots__ = ("cause", "first", "next_no", "plans")

    def __init__(self, plans: dict[PlanRecord, Cause] | None, cause: Cause, first: bool) -> None:
        self.plans = plans
        """Each with the cause of its change; None: all services, for `cause`."""
        self.cause = cause
        self.first = first
        """After a start: what is unknown is taken as it is."""
        self.next_no = 0


class Watch:
    """Calls back once when all of some enforcements are final."""

    __slots__ = ("done", "remaining")

    def __init__(self, remaining: set[int], done: Callable[[], None]) -> None:
        self.remaining = remaining
        self.done: Callable[[], None] | None = done

    def cancel(self) -> None:
        """Nobody waits any more."""
        self.done = None

    def settle(self, number: int) -> None:
        """One of them is final."""
        self.remaining.discard(number)
        if not self.remaining and self.done is not None:
            done, self.done = self.done, None
            done()


class Enforcer:
    """Reconciles sessions and owns the outbox."""

    def __init__(
        self,
        store: Store,
        decisions: Decisions,
        addresses: Addresses,
        network: Network,
        settings: EnforceSettings | None = None,
    ) -> None:
        self.store = store
        self.decisions = decisions
        self.addresses = addresses
        self.network = network
        self.settings = settings or EnforceSettings()
        self.wake: Callable[[], None] = lambda: None
        """Called when something came in from outside a tick: settle() is wanted soon."""
        self.note_decided: Callable[[ServiceRecord], None] = lambda service: None
        """Called when a live session's decision was looked at: its end may have to be timed."""
        self.note_reply: Callable[[Enforcement, Reply], None] = lambda enforcement, reply: None
        """Called for every exchange that is over."""
        self.queues: dict[NasRecord, NasQueue] = {}
        self.turns: deque[NasQueue] = deque()
        """Queues with something to send, in turn."""
        self.parked: dict[NasRecord, NasQueue] = {}
        """Those whose NAS takes nothing now: again with the next tick, or its next answer."""
        self.silent: dict[NasRecord, NasQueue] = {}
        """Those with something that waits because the NAS did not answer."""
        self.in_flight: dict[int, Enforcement] = {}
        """Exchanges under way, by session id."""
        self.replies: deque[tuple[Enforcement, Reply]] = deque()
        self.durable: deque[Enforcement] = deque()
        """May be sent, and stand in no queue yet."""
        self._group = 0
        self._owed: list[Enforcement] = []
        """Opened in the journal's open group."""
        self._unwritten: set[Enforcement] = set()
        """Opened in groups that are not durable."""
        self._due: list[tuple[float, int]] = []
        """Heap of (due_at, id): what waits to be sent again."""
        self.ending: dict[int, float] = {}
        """Sessions whose Disconnect was acknowledged: until when their Stop is awaited, in that order."""
        self.releasing: OrderedDict[int, float] = OrderedDict()
        """Likewise bearers: their gateway was asked to release them."""
        self.diverged: dict[int, SessionRecord] = {}
        self.adopted: deque[int] = deque()
        """Adopted sessions of NASes that want them enforced."""
        self._adopted_at = 0.0
        self._ticked_at = 0.0
        self.scans: deque[Scan] = deque()
        self.finished: dict[int, Enforcement] = {}
        """The last final ones."""
        self._watches: dict[int, list[Watch]] = {}
        self._failed: dict[int, Enforcement] = {}
        """Given up while the session lives, by session id: tried again when the configuration changes."""
        self._again: deque[Enforcement] = deque()
        """Given up before the configuration changed."""
        self.results: Counter[str] = Counter()
        """Final enforcements by result."""
        self.states: Counter[str] = Counter()
        """Open enforcements by state."""
        self.seconds = [0] * (len(SECONDS_BUCKETS) + 1)
        """Acknowledged within SECONDS_BUCKETS from their cause; the last one all others."""
        self.seconds_sum = 0.0

    def use(self, settings: EnforceSettings) -> None:
        """Take new settings; what was given up, or found nobody, may work under them."""
        self.settings = settings
        for queue in list(self.silent.values()):
            self._wake_nas(queue)
        self._again.extend(self._failed.values())
        self._failed.clear()

    # The work

    def resume(self) -> None:
        """After a start: take the outbox up again, and compare every live session once."""
        newest: dict[int, Enforcement] = {}
        for enforcement in list(self.store.enforcements.values()):
            self.states[enforcement.state] += 1
            session = enforcement.session
            if session is None or session.state != ACTIVE:
                self._finish(enforcement, "done", "session_over", 0.0)
                continue
            older = newest.get(session.id)
            if older is not None:
                self._finish(older, "superseded", "superseded", 0.0)
            newest[session.id] = session.enforcement = enforcement
            # It may have been sent, and carried out.
            session.decision = None
            self._mark_diverged(session, session.diverged_at or enforcement.created_at)
        for enforcement in newest.values():
            self._set_state(enforcement, "pending")
            self._enqueue(enforcement)
        for session in self.store.sessions.values():
            if session.state == ACTIVE and session.terminate_cause == CAUSE_ADMIN_RESET:
                if session.protocol:
                    self.releasing[session.id] = 0.0
                else:
                    self.ending[session.id] = 0.0
            elif session.state == ACTIVE and session.former is not None and session.enforcement is None:
                self.store.orphaned.append((session, SERVER))
        self.scans.append(Scan(None, SERVER, True))

    def settle(self, at: float) -> bool:
        """Compare what is affected, take what was answered, send what may be sent; True: there is more to do now.

        at: epoch seconds. Bound: about ENFORCE_SLICE_COST microseconds.
        """
        budget = ENFORCE_SLICE_COST
        store = self.store
        while self.replies and budget > 0:
            self._receive(*self.replies.popleft(), at)
            budget -= OPEN_COST
        while store.barred and budget > 0:
            session, why, barred_by = store.barred.pop()
            if session.state == ACTIVE:
                self.disconnect(session, why, at, barred_by)
            budget -= OPEN_COST
        while store.orphaned and budget > 0:
            session, deleted_by = store.orphaned.pop()
            if session.state == ACTIVE:
                self.disconnect(session, "its service was deleted", at, deleted_by)
            budget -= OPEN_COST
        if store.affected_all is not None or store.affected_plans:
            self._add_scan()
        while store.affected and budget > 0:
            service = next(iter(store.affected))
            cause = store.affected.pop(service)
            budget -= self.compare_service(service, at, cause or store.cause, True)
        while self.scans and budget > 0 and not store.crowded:
            budget = self._scan(self.scans[0], at, budget)
        while self.durable and budget > 0:
            self._enqueue(self.durable.popleft())
            budget -= 1
        budget = self._send(at, budget)
        # A scan that waits for the disk goes on at the next tick.
        scans = self.scans and not store.crowded
        left = self.replies or store.affected or store.barred or store.orphaned or self.durable
        return bool(left or scans or (budget <= 0 and self.turns))

    def tick(self, at: float) -> bool:
        """As settle(), after what only time brings: retries, Stops that never came, adopted sessions at their pace."""
        if at < self._ticked_at - CLOCK_BACK_S:
            self._follow_clock(at)
        self._ticked_at = at
        while self._due and self._due[0][0] <= at and len(self.durable) < DUE_COUNT_MAX:
            _, number = heapq.heappop(self._due)
            enforcement = self.store.enforcements.get(number)
            if enforcement is not None and enforcement.state == "waiting" and enforcement.due_at <= at:
                self.durable.append(enforcement)
        for queue in list(self.silent.values()):
            self._probe(queue, at)
        self.turns.extend(self.parked.values())
        self.parked.clear()
        for _ in range(min(len(self._again), AGAIN_COUNT_MAX)):
            self._try_again(self._again.popleft(), at)
        closed = 0
        while self.ending and closed < CLOSED_AT_ONCE_COUNT_MAX:
            session_id, until = next(iter(self.ending.items()))
            if until == 0.0:
                del self.ending[session_id]
                self.ending[session_id] = at + ENFORCE_STOP_GRACE_S
                continue
            if until > at:
                break
            del self.ending[session_id]
            closed += 1
            session = self.store.sessions.get(session_id)
            if session is not None and session.state == ACTIVE:
                self._end(session, CAUSE_ADMIN_RESET, session.updated_at, at)
        while self.releasing and next(iter(self.releasing.values())) <= at and closed < CLOSED_AT_ONCE_COUNT_MAX:
            session = self.store.sessions.get(self.releasing.popitem(last=False)[0])
            closed += 1
            if session is not None and session.state == ACTIVE:
                self._climb(session, at)
        while self.adopted and at - self._adopted_at >= 1 / ENFORCE_ADOPTED_PER_S:
            self._adopted_at = at
            session = self.store.sessions.get(self.adopted.popleft())
            if session is not None and session.state == ACTIVE and session.decision is None and not session.enforcement:
                self.reauthorize(session, at, "adopted", SERVER, False)
        return self.settle(at)

    def _follow_clock(self, at: float) -> None:
        """The clock was set back: nothing waits for it to catch up, and what was decided is looked at again."""
        self.store.policy_version.number += 1
        self.store.affected_all = SERVER
        self._due.clear()
        self.durable.extend([each for each in self.store.enforcements.values() if each.state == "waiting"])
        self.ending = dict.fromkeys(self.ending, 0.0)
        self.releasing = OrderedDict.fromkeys(self.releasing, at + ENFORCE_RELEASE_GRACE_S)
        self._adopted_at = 0.0
        for queue in self.silent.values():
            queue.probed_at = 0.0
            queue.heard_at = min(queue.heard_at, at)

    def _add_scan(self) -> None:
        """All services, or those of some plans, are to be compared: a walk that has not begun takes them along."""
        store, scans = self.store, self.scans
        waiting = scans[-1] if scans and not scans[-1].next_no and not scans[-1].first else None
        if store.affected_all is not None:
            if waiting is not None:
                scans.pop()
            scans.append(Scan(None, store.affected_all, False))
            store.affected_all = None
        elif waiting is None or waiting.plans is not None:
            if waiting is None:
                waiting = Scan({}, SERVER, False)
                scans.append(waiting)
            assert waiting.plans is not None
            waiting.plans.update((plan, cause or store.cause) for plan, cause in store.affected_plans.items())
        store.affected_plans.clear()

    def _scan(self, scan: Scan, at: float, budget: int) -> int:
        """Compare on from where the walk was left; what is left of the budget."""
        store = self.store
        by_no, plans = store.services_by_no, scan.plans
        passed = 0
        while budget > 0 and scan.next_no <= store.last_no:
            service = by_no.get(scan.next_no)
            scan.next_no += 1
            passed += 1
            if passed == SERVICES_PER_COST:
                passed = 0
                budget -= 1
            if service is None or service.live is None:
                continue
            cause = scan.cause if plans is None else plans.get(service.plan)
            if cause is not None:
                budget -= self.compare_service(service, at, cause, False, scan.first)
        if scan.next_no > store.last_no:
            self.scans.popleft()
        return budget

    def compare_service(
        self, service: ServiceRecord, at: float, cause: Cause, urgent: bool, first: bool = False
    ) -> int:
        """Compare all live sessions of a service; about how many microseconds it took."""
        live = service.live
        cost = 1
        if live is None:
            return cost
        decided, opened = self.decisions.count, self.store.last_enforcement
        for session in list(live.sessions):
            self.compare(session, at, cause, urgent, first)
            cost += COMPARE_COST
        cost += (self.decisions.count - decided) * DECIDE_COST + (self.store.last_enforcement - opened) * OPEN_COST
        self.note_decided(service)
        return cost

    def compare(
        self, session: SessionRecord, at: float, cause: Cause, urgent: bool = True, first: bool = False
    ) -> None:
        """Bring a session on its way to the decision that it should run under now.

        first: nothing is known of it since before this process; what it runs under is then taken as it is.
        """
        if session.state != ACTIVE or session.service is None or self._is_ending(session):
            return
        desired = self.decisions.of_session(session, at)
        known = session.desired
        session.desired = desired
        confirmed = session.decision
        open = session.enforcement
        if open is None:
            if confirmed is not None and confirmed.id == desired.id and not self._is_renewed(session, desired):
                if session.diverged_at:
                    self._converge(session, at)
                return
            if confirmed is None and (session.adopted or first) and not session.diverged_at:
                if session.adopted and session.nas.enforce_adopted and (first or known is None):
                    self.adopted.append(session.id)
                if known is None or known.id == desired.id:
                    return
        self._pursue(session, desired, at, cause, urgent)

    def _pursue(self, session: SessionRecord, desired: DecisionRecord, at: float, cause: Cause, urgent: bool) -> None:
        open = session.enforcement
        flying = self.in_flight.get(session.id)
        if open is not None:
            if open.desired is None or (open.action == "disconnect" and not is_bearable(session, desired)):
                # It ends, whatever is decided meanwhile.
                return
            if open.desired.id == desired.id:
                return
            if open is not flying:
                self._finish(open, "superseded", "superseded", at)
        if flying is not None:
            if flying.desired is not None and flying.desired.id == desired.id:
                session.enforcement = flying
                return
            action: Action = "coa" if is_bearable(session, desired) else "disconnect"
            self._open(session, action, "follows what is under way", desired, at, cause, urgent)
            return
        confirmed = session.decision
        if confirmed is not None and confirmed.id == desired.id and not self._is_renewed(session, desired):
            self._converge(session, at)
            return
        if not is_bearable(session, desired):
            self._open(session, "disconnect", desired.body.reason, desired, at, cause, urgent)
            return
        difference = self.network.difference(session, confirmed, desired)
        if difference.kind == "none":
            self._confirm(session, desired)
            self._converge(session, at)
            return
        self._open(session, difference.kind, difference.why, desired, at, cause, urgent)

    def _is_renewed(self, session: SessionRecord, desired: DecisionRecord) -> bool:
        """Whether the NAS would end a session too early: what it was told of the end holds no more."""
        service = session.service
        if session.protocol in FOLLOW_BALANCE:
            # They follow the balance more closely than decisions do.
            return self.network.difference(session, desired, desired).kind != "none"
        if session.ends_at == 0.0 or service is None or service.body.expires_at is None:
            return False
        return self.network.difference(session, desired, desired).kind != "none"

    # What others ask for

    def disconnect(self, session: SessionRecord, reason: str, at: float, cause: Cause | None = None) -> int:
        """End a live session whatever is decided; the number of the enforcement that does it."""
        open = session.enforcement
        if open is not None:
            if open.action == "disconnect":
                return open.id
            if open is not self.in_flight.get(session.id):
                self._finish(open, "superseded", "superseded", at)
        return self._open(session, "disconnect", reason, None, at, cause or self.store.cause, True).id

    def reauthorize(
        self,
        session: SessionRecord,
        at: float,
        reason: str = "reauthorize",
        cause: Cause | None = None,
        urgent: bool = True,
    ) -> int:
        """Decide anew and send everything that can be sent, as if nothing were known; 0: there is nothing to send."""
        if session.service is None:
            return 0
        cause = cause or self.store.cause
        session.decision = None
        desired = session.desired = self.decisions.of_session(session, at)
        open = session.enforcement
        if open is not None and (open.desired is None or open.action == "disconnect"):
            return open.id
        if open is not None and open is not self.in_flight.get(session.id):
            self._finish(open, "superseded", "superseded", at)
        kind: Action = "disconnect"
        if is_bearable(session, desired):
            difference = self.network.difference(session, None, desired)
            if difference.kind == "none":
                self._confirm(session, desired)
                self._converge(session, at)
                return 0
            kind = difference.kind
            reason = f"{reason}: {difference.why}" if difference.why else reason
        return self._open(session, kind, reason, desired, at, cause, urgent).id

    def since(self, number: int) -> list[int]:
        """Numbers of the enforcements opened after `number` (store.last_enforcement before a command)."""
        return [later for later in range(number + 1, self.store.last_enforcement + 1) if self.get(later) is not None]

    def open_of(self, service: ServiceRecord) -> list[int]:
        """Numbers of the open enforcements of a service's live sessions."""
        live = service.live
        sessions = live.sessions if live is not None else ()
        return [session.enforcement.id for session in sessions if session.enforcement is not None]

    def get(self, number: int) -> Enforcement | None:
        """An open one, or one that was final lately."""
        return self.store.enforcements.get(number) or self.finished.get(number)

    def watch(self, numbers: Iterable[int], done: Callable[[], None]) -> Watch:
        """Call `done` once when all of them are final; at once when they are."""
        remaining = {number for number in numbers if number in self.store.enforcements}
        watch = Watch(remaining, done)
        for number in remaining:
            others = self._watches.get(number, ())
            self._watches[number] = [*(other for other in others if other.done is not None), watch]
        if not remaining:
            watch.settle(0)
        return watch

    def divergent(self) -> Iterator[tuple[SessionRecord, str, float]]:
        """(session, why, since) of every session that does not run under its decision."""
        for session in list(self.diverged.values()):
            yield session, self.why(session), session.diverged_at

    def why(self, session: SessionRecord) -> str:
        """What keeps a session from running under its decision."""
        open = session.enforcement
        if open is None:
            failed = self._failed.get(session.id)
            if failed is None:
                return "not confirmed"
            return f"{failed.action} {failed.result}{describe(failed)}"
        if open.state == "sent":
            return f"{open.action} sent, no answer yet"
        if open.state == "waiting":
            return f"{open.action} to be sent again after {open.attempts} attempts{describe(open)}"
        if session.id in self.in_flight:
            return f"{open.action} waits for the answer to an earlier one"
        return f"{open.action} waits for its turn"

    # Sessions that begin and end

    def note_opened(self, session: SessionRecord, at: float, first: bool) -> None:
        """A session's first report: what is desired may have changed since its Accept. first: as in compare()."""
        decision = session.decision
        service = session.service
        if decision is not None and service is not None and service.body.expires_at is not None:
            session.ends_at = self.network.end_of(session, decision)
        if decision is not None and not is_bearable(session, decision):
            # It was disconnected and speaks again.
            session.decision = None
            first = False
        self._forget_ending(session)
        self.compare(session, at, self.store.cause, True, first)
        if session.service is not None:
            self.note_decided(session.service)

    def note_ended(self, session: SessionRecord, at: float) -> None:
        """A session is over: nothing is left to enforce."""
        self._forget_ending(session)
        self.diverged.pop(session.id, None)
        self._failed.pop(session.id, None)
        session.diverged_at = 0.0
        open = session.enforcement
        if open is not None and open is not self.in_flight.get(session.id):
            self._close(open, "session_over", at)

    # Sending

    def _open(
        self, session: SessionRecord, action: Action, reason: str, desired: DecisionRecord | None, at: float,
        cause: Cause, urgent: bool,
    ) -> Enforcement:  # fmt: skip
        """A new enforcement; it is sent when its row is durable."""
        store = self.store
        store.last_enforcement += 1
        enforcement = Enforcement(store.last_enforcement, session, action, at)
        enforcement.reason, enforcement.desired = reason, desired
        enforcement.cause, enforcement.urgent = cause, urgent
        session.enforcement = enforcement
        self.states["pending"] += 1
        self._mark_diverged(session, session.diverged_at or at)
        store.keep_enforcement(enforcement)
        journal = store.journal
        if not self._owed or self._group != journal.group:
            self._group, self._owed = journal.group, []
            owed = self._owed
            journal.when_durable(lambda: self._release(owed))
        self._owed.append(enforcement)
        self._unwritten.add(enforcement)
        return enforcement

    def _release(self, owed: list[Enforcement]) -> None:
        """A journal group is durable: what it opened may be sent."""
        if owed is self._owed:
            self._owed = []
        self._unwritten.difference_update(owed)
        self.durable.extend(owed)
        self.wake()

    def _enqueue(self, enforcement: Enforcement) -> None:
        """It may be sent as soon as its NAS takes it."""
        session = enforcement.session
        if session is None or enforcement.state not in ("pending", "waiting") or session.enforcement is not enforcement:
            return
        if session.id in self.in_flight:
            return
        queue = self._queue(session.nas)
        queue.silent.pop(enforcement.id, None)
        self._set_state(enforcement, "pending")
        (queue.urgent if enforcement.urgent else queue.mass).append(enforcement)
        self._take_turn(queue)

    def _take_turn(self, queue: NasQueue) -> None:
        if not queue.queued:
            queue.queued = True
            self.turns.append(queue)

    def _queue(self, nas: NasRecord) -> NasQueue:
        queue = self.queues.get(nas)
        if queue is None:
            queue = self.queues[nas] = NasQueue(nas)
        return queue

    def _send(self, at: float, budget: int) -> int:
        """One request to each NAS in turn that takes one; what is left of the budget."""
        turns = self.turns
        while turns and budget > 0:
            queue = turns.popleft()
            line = queue.urgent or queue.mass
            if not line:
                queue.queued = False
                continue
            budget -= 1
            if self.network.room(queue.nas) <= 0:
                self.parked[queue.nas] = queue
                continue
            enforcement = line.popleft()
            sent = self._launch(enforcement, at)
            if sent is False:
                line.appendleft(enforcement)
                self.parked[queue.nas] = queue
                continue
            if sent:
                budget -= ENFORCE_SEND_COST
            turns.append(queue)
        return budget

    def _launch(self, enforcement: Enforcement, at: float) -> bool | None:
        """Send one: True when it left, False when its NAS takes none now, None when there is nothing to send."""
        session = enforcement.session
        if session is None or enforcement.state != "pending" or session.enforcement is not enforcement:
            return None
        if session.id in self.in_flight:
            return None
        if session.state != ACTIVE:
            self._close(enforcement, "session_over", at)
            return None
        desired = enforcement.desired
        if enforcement.action == "coa" and desired is not None:
            difference = self.network.difference(session, session.decision, desired)
            if difference.kind == "none":
                self._confirm(session, desired)
                self._close(enforcement, "not_needed", at)
                return None
            enforcement.action = difference.kind

        def done(reply: Reply) -> None:
            self.replies.append((enforcement, reply))
            self.wake()

        # A reply may not come from within, but a failure to send may be known at once.
        self.in_flight[session.id] = enforcement
        try:
            if enforcement.action == "coa" and desired is not None:
                sent = self.network.change(session, session.decision, desired, done)
            else:
                sent = self.network.disconnect(session, done)
        except Exception as error:
            # Whatever is odd about one session, it is told in its receipt, and holds up no other.
            sent = True
            done(Reply("error", detail=f"{type(error).__name__}: {error}"))
        if not sent:
            del self.in_flight[session.id]
            return False
        # Not written: after a restart what was sent and not answered is sent again, as what was not sent.
        enforcement.attempts += 1
        self._set_state(enforcement, "sent")
        return True

    # Answers

    def _receive(self, enforcement: Enforcement, reply: Reply, at: float) -> None:
        """How an exchange ended."""
        log = enforcement.log
        if len(log) >= ENFORCEMENT_LOG_MAX:
            del log[1]
        log.append(reply)
        self.note_reply(enforcement, reply)
        session = enforcement.session
        assert session is not None
        self.in_flight.pop(session.id, None)
        queue = self._queue(session.nas)
        if session.nas in self.parked:
            self.turns.append(self.parked.pop(session.nas))
        if reply.result in ("ack", "nak"):
            self._wake_nas(queue)
        if session.state != ACTIVE:
            self._close(enforcement, "session_over", at)
            return
        if reply.result == "ack":
            session.ends_at = reply.ends_at or session.ends_at
            self._acknowledged(enforcement, session, reply, at)
        elif reply.result == "nak" and reply.error_cause == SESSION_NOT_FOUND:
            self._close(enforcement, "session_gone", at)
            self._end(session, CAUSE_LOST_CARRIER, session.updated_at, at)
            return
        else:
            # After a Disconnect as well: should the session be wanted again, a CoA finds out whether it is there.
            self._confirm(session, None)
            if session.enforcement is not enforcement:
                # Something else is desired by now: that goes out next, whole.
                self._finish(enforcement, "superseded", "superseded", at)
            else:
                self._try_on(enforcement, session, reply, queue, at)
        follower = session.enforcement
        if follower is not None and follower is not enforcement:
            self._follow(follower, session, at)

    def _acknowledged(self, enforcement: Enforcement, session: SessionRecord, reply: Reply, at: float) -> None:
        if reply.over:
            self._close(enforcement, "ack", at)
            self._end(session, CAUSE_ADMIN_RESET, at, at)
            return
        if enforcement.action == "disconnect":
            desired = enforcement.desired
            # Should it go on nevertheless, nothing is known of it.
            self._confirm(session, None if desired is None or desired.grant else desired)
            session.terminate_cause = CAUSE_ADMIN_RESET
            if reply.stays:
                self._close(enforcement, "ack", at)
                self._climb(session, at)
                return
            if session.protocol:
                self.releasing[session.id] = at + ENFORCE_RELEASE_GRACE_S
            else:
                self.ending[session.id] = at + ENFORCE_STOP_GRACE_S
        else:
            self._confirm(session, enforcement.desired)
        self._close(enforcement, "ack", at)

    def _follow(self, follower: Enforcement, session: SessionRecord, at: float) -> None:
        """What was desired while another exchange was under way has its turn, if there is still need."""
        if self._is_ending(session):
            self._close(follower, "session_over", at)
        elif follower.state == "pending" and follower not in self._unwritten:
            self.durable.append(follower)

    def _try_on(
        self, enforcement: Enforcement, session: SessionRecord, reply: Reply, queue: NasQueue, at: float
    ) -> None:
        """The NAS has refused, or said nothing: later again, by other means, or never."""
        refused = reply.result == "nak" and reply.error_cause in REFUSALS
        tired = enforcement.attempts >= ENFORCE_FAILED_AFTER
        if enforcement.action == "coa" and (refused or (tired and reply.result == "nak")):
            self._tell_failed(enforcement, "refused", reply, at)
            # A PCRF that takes no notification loses nothing but that.
            if self.settings.escalate == "disconnect" and session.protocol != SY:
                enforcement.action = "disconnect"
                enforcement.reason += f"; CoA refused{describe(enforcement)}"
                enforcement.told = False
                self._set_state(enforcement, "waiting")
                enforcement.due_at = at
                self.store.keep_enforcement(enforcement)
                self._enqueue(enforcement)
            else:
                self._give_up(enforcement, session, at)
            return
        if refused:
            self._tell_failed(enforcement, "refused", reply, at)
            self._give_up(enforcement, session, at)
            return
        if tired:
            self._tell_failed(enforcement, "refused" if reply.result == "nak" else "unreachable", reply, at)
            if session.protocol == S6A and session.mobile.cancellation >= 0:
                # Another MME serves the subscriber: one that is gone needs no word of it.
                self._finish(enforcement, "failed", "unreachable", at)
                self._end(session, CAUSE_LOST_CARRIER, session.updated_at, at)
                return
        step = min(enforcement.attempts, len(ENFORCE_BACK_OFF_S)) - 1
        enforcement.due_at = at + ENFORCE_BACK_OFF_S[step]
        self._set_state(enforcement, "waiting")
        self.store.keep_enforcement(enforcement)
        heapq.heappush(self._due, (enforcement.due_at, enforcement.id))
        if reply.result != "nak":
            queue.silent[enforcement.id] = enforcement
            self.silent[session.nas] = queue
            queue.heard_at = session.nas.last_accounting_at

    def _give_up(self, enforcement: Enforcement, session: SessionRecord, at: float) -> None:
        self._finish(enforcement, "failed", "refused", at)
        self._failed[session.id] = enforcement

    def _try_again(self, given_up: Enforcement, at: float) -> None:
        """The configuration has changed since a NAS refused this."""
        session = given_up.session
        if session is None or session.state != ACTIVE or session.enforcement is not None:
            return
        if given_up.desired is None:
            self.disconnect(session, given_up.reason, at, given_up.cause)
        else:
            self.reauthorize(session, at, "again after a reload", given_up.cause)

    def _is_ending(self, session: SessionRecord) -> bool:
        return session.id in self.ending or session.id in self.releasing

    def _forget_ending(self, session: SessionRecord) -> None:
        self.ending.pop(session.id, None)
        self.releasing.pop(session.id, None)

    def _climb(self, session: SessionRecord, at: float) -> None:
        """The gateway said that it would release a bearer, and did not: the MME ends what it serves."""
        for registration in sessions_of(session.service, S6A, session.mobile.imsi):
            self.disconnect(registration, "its bearer was not released", at, SERVER)
        self._end(session, CAUSE_ADMIN_RESET, at, at)

    def reachable(self, nas: NasRecord) -> None:
        """A Diameter client is connected again: what waits for it goes out now."""
        if nas in self.queues:
            self._wake_nas(self.queues[nas])
            self.wake()

    def _wake_nas(self, queue: NasQueue) -> None:
        """The NAS answers: whatever waits because it did not goes out now."""
        silent, queue.silent = queue.silent, {}
        self.silent.pop(queue.nas, None)
        self.durable.extend([enforcement for enforcement in silent.values() if enforcement.state == "waiting"])

    def _probe(self, queue: NasQueue, at: float) -> None:
        """The NAS did not answer, but its accounting comes: one request finds out."""
        if not queue.silent:
            del self.silent[queue.nas]
            return
        if queue.nas.last_accounting_at <= queue.heard_at or at - queue.probed_at < ENFORCE_PROBE_INTERVAL_S:
            return
        queue.probed_at = at
        queue.heard_at = queue.nas.last_accounting_at
        enforcement = next(iter(queue.silent.values()))
        if enforcement.state == "waiting":
            self._enqueue(enforcement)
        else:
            del queue.silent[enforcement.id]

    # Ends

    def _close(self, enforcement: Enforcement, result: str, at: float) -> None:
        """It has reached its end: the network follows, or the session is over. Told where something was sent."""
        session = enforcement.session
        self._finish(enforcement, "done", result, at)
        if session is not None and session.enforcement is None:
            self._converge(session, at)
        if not enforcement.attempts:
            return
        took_s = max(0.0, at - enforcement.created_at)
        if result == "ack":
            bucket = next((i for i, bound in enumerate(SECONDS_BUCKETS) if took_s <= bound), len(SECONDS_BUCKETS))
            self.seconds[bucket] += 1
            self.seconds_sum += took_s
        self._emit("policy.enforced", enforcement, at, {**facts_of_receipt(enforcement), "took_s": round(took_s, 6)})

    def _finish(self, enforcement: Enforcement, state: EnforcementState, result: str, at: float) -> None:
        """It is final."""
        self._set_state(enforcement, state)
        self.states[state] -= 1
        enforcement.result = result
        enforcement.finished_at = at
        self.results[result] += 1
        session = enforcement.session
        if session is not None:
            if session.enforcement is enforcement:
                session.enforcement = None
            if session.nas in self.silent:
                self.silent[session.nas].silent.pop(enforcement.id, None)
        self.store.keep_enforcement(enforcement)
        if len(self.finished) >= ENFORCEMENTS_KEPT_MAX:
            del self.finished[next(iter(self.finished))]
        self.finished[enforcement.id] = enforcement
        for watch in self._watches.pop(enforcement.id, ()):
            watch.settle(enforcement.id)

    def _tell_failed(self, enforcement: Enforcement, result: str, reply: Reply, at: float) -> None:
        """`enforcement.failed`, once for each way that was tried."""
        if enforcement.told:
            return
        enforcement.told = True
        data: dict[str, object] = {**facts_of_receipt(enforcement), "result": result}
        if reply.error_cause:
            data["error_cause"] = reply.error_cause
        if reply.detail:
            data["detail"] = reply.detail
        self._emit("enforcement.failed", enforcement, at, data)

    def _emit(self, kind: str, enforcement: Enforcement, at: float, data: dict[str, object]) -> None:
        session = enforcement.session
        service = session.service if session is not None else None
        former = session.former if session is not None else None
        subscriber_id = former[1] if former is not None else ""
        with caused_by(self.store, enforcement.cause):
            subject = enforcement.service_id or str(enforcement.session_id)
            operator, service_id = enforcement.operator, enforcement.service_id
            self.store.emit(kind, subject, at, data, service, operator, subscriber_id, service_id)

    def _end(self, session: SessionRecord, cause: int, ended_at: float, at: float) -> None:
        """The NAS does not have the session any more: close it here. ended_at: when, as far as is known."""
        if session.protocol in (GX, S6A):
            session.session_time_s = max(0, int(ended_at - session.started_at))
        end_session(self.store, session, ended_at, cause, False, at)

    def _confirm(self, session: SessionRecord, decision: DecisionRecord | None) -> None:
        session.decision = decision
        self.store.touch_session(session, WHOLE)

    def _mark_diverged(self, session: SessionRecord, since: float) -> None:
        session.diverged_at = since
        self.diverged[session.id] = session

    def _converge(self, session: SessionRecord, at: float) -> None:
        self._failed.pop(session.id, None)
        if session.diverged_at:
            session.diverged_at, session.converged_at = 0.0, at
            self.diverged.pop(session.id, None)
            self.store.touch_session(session, WHOLE)

    def _set_state(self, enforcement: Enforcement, state: EnforcementState) -> None:
        self.states[enforcement.state] -= 1
        self.states[state] += 1
        enforcement.state = state


def is_bearable(session: SessionRecord, decision: DecisionRecord) -> bool:
    """Whether a session can run under a decision: a denial ends those that cannot be told of it."""
    return decision.grant or session.protocol in DENIED_BY_CHANGE


def facts_of_receipt(enforcement: Enforcement) -> dict[str, object]:
    """What the events of an enforcement have in common."""
    return {
        "enforcement_id": enforcement.id,
        "session_id": str(enforcement.session_id),
        "nas": enforcement.nas,
        "action": enforcement.action,
        "reason": enforcement.reason,
        "result": enforcement.result,
        "attempts": enforcement.attempts,
    }


def describe(enforcement: Enforcement) -> str:
    """The last answer in brackets; "" before the first."""
    if not enforcement.log:
        return ""
    reply = enforcement.log[-1]
    if reply.result == "nak":
        return f" ({reply.error_cause})" if reply.error_cause else " (no cause given)"
    return f" ({reply.detail or reply.result})"


@contextmanager
def caused_by(store: Store, cause: Cause) -> Iterator[None]:
    """What is applied and emitted within happens for this cause."""
    before, store.cause = store.cause, cause
    try:
        yield
    finally:
        store.cause = before
