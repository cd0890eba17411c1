"""Who gets a bearer, under which decision, and what its reports mean: the PCRF (TS 29.212) without its AVPs. Compiled.

Theory of operation. A client asks when a bearer begins, when something of it changes and when it ends. Requests of one
bearer are numbered: what was applied is known by number, so one that comes again changes nothing, also after a restart,
and one that was overtaken brings its usage alone. The answer to an update tells the decision that holds by then, unless
the reconciler has something under way for the session: then that brings it. Usage comes as what was used since the last
report; it is charged when this session is its bearer's meter (aaa/state/mobile.py). Time comes in; knows no wire.
"""

from __future__ import annotations

from aaa.engine.decisions import Decisions
from aaa.limits import BEARER_NUMBERS_SEEN
from aaa.model.mobile import GX, S6A, GxFacts
from aaa.model.records import (
    ACTIVE,
    BOTH,
    NEVER,
    NO_LIMIT,
    Account,
    DecisionRecord,
    NasRecord,
    ServiceRecord,
    SessionRecord,
)
from aaa.state.ledger import counted_octets
from aaa.state.meters import choose_meter
from aaa.state.mobile import is_foreign, new_session, open_session, session_of, sessions_of
from aaa.state.sessions import CAUSE_LOST_CARRIER, OCTETS_MAX, add_octets, end_session, hold_address
from aaa.state.store import WHOLE, Store
from policy.model import qos_of

OK, UNKNOWN_SUBSCRIBER, NOT_AUTHORISED, QUOTA_EXHAUSTED, UNKNOWN_SESSION = range(5)
"""What comes of a request."""
BEGIN, UPDATE, END = 1, 2, 3
"""Kinds of requests, as GxFacts.kind."""
IMEI_DIGITS = 14
"""What of an IMEI names the device: the check digit and the software version do not."""
SEEN_MASK = (1 << BEARER_NUMBERS_SEEN) - 1


class BearerRequest:
    """What a client asks or reports about one bearer. Text is as in aaa.model.mobile; "" and None: not told."""

    nas: NasRecord
    key: bytes
    """Session-Id."""
    number: int
    operator: str
    """Whose SIMs the client may ask for; "": everybody's."""
    monitors: bool
    """The client can report usage."""
    imsi: str
    msisdn: str
    realm: str
    via: str
    apn: str
    plmn: str
    location: str
    imei: str
    pdn: str
    rat: int
    features: int
    framed_ip: bytes | None
    framed_prefix: bytes | None
    reported: bool
    """It brings usage: the next two."""
    used_input: int
    used_output: int
    failed: dict[str, int] | None
    """Rules that are not in force, with why."""
    restored: list[str] | None
    """Rules that are in force again."""
    cause: int
    """Acct-Terminate-Cause of an end."""

    def __init__(self, nas: NasRecord, key: bytes, number: int) -> None:
        self.nas = nas
        self.key = key
        self.number = number
        self.operator = self.imsi = self.msisdn = self.realm = self.via = ""
        self.apn = self.plmn = self.location = self.imei = self.pdn = ""
        self.monitors = self.reported = False
        self.rat = -1
        self.features = 0
        self.framed_ip = self.framed_prefix = None
        self.used_input = self.used_output = 0
        self.failed = None
        self.restored = None
        self.cause = 0


class BearerOutcome:
    """What the client is told."""

    verdict: int
    message: str
    """Why it is refused."""
    session: SessionRecord | None
    decision: DecisionRecord | None
    """What the bearer runs under from now on."""
    confirmed: DecisionRecord | None
    """What it ran under as far as is known; the same where nothing changes."""
    whole: bool
    """The client knows nothing yet."""
    repeated: bool
    """It was applied before: to be answered as then."""
    granted: int
    """Octets until the next report is wanted; 0: nothing about that is told."""

    def __init__(self, verdict: int, message: str = "", session: SessionRecord | None = None) -> None:
        self.verdict = verdict
        self.message = message
        self.session = session
        self.decision = None
        self.confirmed = None
        self.whole = False
        self.repeated = False
        self.granted = 0


class PolicyControl:
    """Serves the bearers of one store."""

    store: Store
    decisions: Decisions
    adopt: bool
    slice: int
    slice_min: int

    def __init__(self, store: Store, decisions: Decisions) -> None:
        self.store = store
        self.decisions = decisions
        self.use(True, 100_000_000, 1_000_000)

    def use(self, adopt: bool, quota_slice: int, quota_slice_min: int) -> None:
        """Take settings: [diameter].adopt, .quota_slice and .quota_slice_min."""
        self.adopt = adopt
        self.slice = quota_slice
        self.slice_min = quota_slice_min

    # Requests

    def begin(self, request: BearerRequest, at: float) -> BearerOutcome:
        """A bearer is asked for. at: epoch seconds."""
        nas = request.nas
        nas.last_accounting_at = at
        session = known_session(request)
        if session is not None and request.operator and is_foreign(session, request.operator):
            return BearerOutcome(UNKNOWN_SESSION, "Unknown session")
        if session is not None and session.state == ACTIVE and request.number <= session.mobile.number:
            session.heard_at = at
            if not is_applied(session.mobile, request.number):
                # It was overtaken by an update, for which the bearer was adopted.
                note_number(session.mobile, request.number)
                self.store.touch_session(session, WHOLE)
            outcome = repeated(session, True)
            outcome.whole = True
            return outcome
        return self.open(request, BEGIN, at)

    def update(self, request: BearerRequest, at: float) -> BearerOutcome:
        """Something of a bearer has changed, or usage is reported."""
        nas = request.nas
        nas.last_accounting_at = at
        session = known_session(request)
        if session is not None and request.operator and is_foreign(session, request.operator):
            return BearerOutcome(UNKNOWN_SESSION, "Unknown session")
        if session is None or session.state != ACTIVE:
            if session is not None and is_applied(session.mobile, request.number):
                return repeated(session, False)
            if session is not None and session.mobile.kind == END and request.number < session.mobile.number:
                # Its end was faster.
                self.end_with(session, request, at)
                return BearerOutcome(OK, "", session)
            if not self.adopt or not request.imsi:
                return BearerOutcome(UNKNOWN_SESSION, "Unknown session")
            return self.open(request, UPDATE, at)
        facts = session.mobile
        session.heard_at = at
        if is_applied(facts, request.number) and (facts.number != request.number or facts.kind == UPDATE):
            return repeated(session, facts.number == request.number)
        outcome = BearerOutcome(OK, "", session)
        was_latest = facts.number
        note_number(facts, request.number)
        if request.reported:
            self.count(session, request, at)
        self.store.touch_session(session, WHOLE)
        outcome.decision = outcome.confirmed = session.decision
        if request.number < was_latest:
            # It was overtaken: of what it tells, usage alone is not known better by now.
            return outcome
        facts.kind = UPDATE
        facts.answer = b""
        placed = self.learn(session, request, at)
        if request.failed is not None:
            self.note_failed(session, request.failed, at)
        if request.restored is not None:
            facts.failed = {name: code for name, code in facts.failed.items() if name not in request.restored}
        service = session.service
        if service is None:
            return outcome
        decision = self.decide(session, at)
        if placed or decision is not session.decision:
            self.store.affect(service)
        if not is_bearable(session, decision):
            # The reconciler ends it.
            self.monitor(session, 0)
            return outcome
        if decision is not session.decision and session.enforcement is None:
            outcome.decision = session.decision = session.desired = decision
        if request.reported or not facts.monitored or outcome.decision is not outcome.confirmed:
            outcome.granted = self.portion(session, request.monitors)
            self.monitor(session, outcome.granted)
        return outcome

    def end(self, request: BearerRequest, at: float) -> BearerOutcome:
        """A bearer is over."""
        nas = request.nas
        nas.last_accounting_at = at
        session = known_session(request)
        if session is None or (request.operator and is_foreign(session, request.operator)):
            return BearerOutcome(UNKNOWN_SESSION, "Unknown session")
        facts = session.mobile
        # While the session is live, a number that was used before is a client's that counts wrongly.
        if session.state != ACTIVE and facts.kind == END:
            if facts.number == request.number:
                return repeated(session, False)
            return BearerOutcome(UNKNOWN_SESSION, "The session is over")
        facts.kind = END
        facts.answer = b""
        if session.state == ACTIVE:
            note_number(facts, request.number)
            if request.reported:
                self.count(session, request, at)
            session.session_time_s = max(0, int(at - session.started_at))
            session.updated_at = at
            end_session(self.store, session, at, session.terminate_cause or request.cause, True, at)
        else:
            # It was closed here, and went on until now.
            session.ended_by_nas = True
            session.ended_at = max(at, session.started_at)
            session.session_time_s = max(0, int(at - session.started_at))
            self.end_with(session, request, at)
        return BearerOutcome(OK, "", session)

    def end_with(self, session: SessionRecord, request: BearerRequest, at: float) -> None:
        """A bearer that is over, and whose end was told with less."""
        note_number(session.mobile, request.number)
        if request.reported:
            self.count(session, request, at)
        session.heard_at = at
        self.store.ended.append(session)
        self.store.touch_session(session, WHOLE)

    # Beginning

    def open(self, request: BearerRequest, kind: int, at: float) -> BearerOutcome:
        """A bearer that is not known, new (BEGIN) or to be adopted (UPDATE)."""
        store = self.store
        sim = store.inventory.sim_of_imsi(request.imsi)
        if sim is None or (request.operator and sim.operator != request.operator):
            return BearerOutcome(UNKNOWN_SUBSCRIBER, "Unknown subscriber")
        service: ServiceRecord | None = sim.service
        if sim.state != "activated":
            return BearerOutcome(NOT_AUTHORISED, f"The SIM is {sim.state}")
        if service is None:
            return BearerOutcome(UNKNOWN_SUBSCRIBER, "The SIM belongs to no service")
        facts = GxFacts(
            request.imsi, request.realm, request.via, request.msisdn, request.apn, request.plmn, request.location,
            request.imei, request.rat, request.number, kind, request.features,
        )  # fmt: skip
        if request.pdn:
            facts.pdn = request.pdn
        session = new_session(store, GX, request.nas, request.key, service, facts, at)
        session.framed_ip = request.framed_ip
        session.framed_prefix = request.framed_prefix
        decision = self.decide(session, at)
        if not decision.grant:
            body = decision.body
            verdict = QUOTA_EXHAUSTED if body.reason == "quota_exhausted" else NOT_AUTHORISED
            return BearerOutcome(verdict, body.message or body.reason)
        if not is_subscribed(decision, request.apn):
            return BearerOutcome(NOT_AUTHORISED, "The APN is not subscribed")
        if not service.bare and service.body.lock is not None and not self.lock_allows(service, session):
            return BearerOutcome(NOT_AUTHORISED, "This service cannot be used from here")
        if service.live is not None:
            self.supersede(session, at)
        nas = request.nas
        if nas.no == 0:
            # Its first bearer makes a client known.
            nas.no = store.next_no()
            store.nases[nas.name] = nas
            store.touch_nas(nas)
        open_session(store, session, decision)
        outcome = BearerOutcome(OK, "", session)
        outcome.decision = decision
        outcome.whole = True
        if kind == UPDATE:
            session.adopted = True
            if request.reported:
                self.count(session, request, at)
        if service.plan.metered:
            outcome.granted = self.portion(session, request.monitors)
            self.monitor(session, outcome.granted)
        return outcome

    def supersede(self, session: SessionRecord, at: float) -> None:
        """A bearer of the same IMSI and APN at the same client, and not named as another PDN connection, is lost."""
        mine = session.mobile
        for former in sessions_of(session.service, GX, mine.imsi):
            facts = former.mobile
            if former.nas is session.nas and facts.apn == mine.apn and facts.pdn == mine.pdn:
                end_session(self.store, former, former.updated_at, CAUSE_LOST_CARRIER, False, at)

    def lock_allows(self, service: ServiceRecord, session: SessionRecord) -> bool:
        """Whether a service may be used by this client and device; every part of its lock must match, and a bearer has
        neither port nor line nor MAC. A client that tells no IMEI: the MME's registration does."""
        lock = service.body.lock
        assert lock is not None
        nas, facts = session.nas, session.mobile
        if lock.port or lock.circuit or lock.mac:
            return False
        if lock.nas and nas.name not in lock.nas and nas.client_name not in lock.nas:
            return False
        if not lock.device:
            return True
        imei = facts.imei
        if not imei:
            imei = next((one.mobile.imei for one in sessions_of(service, S6A, facts.imsi) if one.mobile.imei), "")
        return bool(imei) and imei[:IMEI_DIGITS] in self.locked_imeis(service)

    def locked_imeis(self, service: ServiceRecord) -> set[str]:
        """First digits of the IMEIs that the service's lock names: of devices by their ids, or as such."""
        found = set()
        for name in service.body.lock.device if service.body.lock is not None else ():
            device = self.store.inventory.devices.get(name)
            if device is None:
                found.add(name[:IMEI_DIGITS])
            elif device.body.imei is not None and device.body.operator == service.subscriber.body.operator:
                found.add(device.body.imei[:IMEI_DIGITS])
        return found

    def decide(self, session: SessionRecord, at: float) -> DecisionRecord:
        """What the session should run under."""
        decision = self.decisions.of_session(session, at)
        service = session.service
        if service is not None and service.account is not None and self.decisions.holds_until(service) == NEVER:
            # Its balance has turned with this look: only the next one knows until when it holds.
            decision = self.decisions.of_session(session, at)
        return decision

    # What a request tells

    def learn(self, session: SessionRecord, request: BearerRequest, at: float) -> bool:
        """Take over where the bearer is now, and its addresses; True: rules may read what has changed."""
        facts = session.mobile
        placed = False
        if request.plmn and request.plmn != facts.plmn:
            facts.plmn = request.plmn
            placed = True
        if request.location and request.location != facts.location:
            facts.location = request.location
            placed = True
        if request.rat >= 0:
            facts.rat = request.rat
        if request.imei:
            facts.imei = request.imei
        facts.via = request.via
        facts.realm = request.realm
        moved = False
        if request.framed_ip is not None and request.framed_ip != session.framed_ip:
            hold_address(self.store, session, session.framed_ip, request.framed_ip, at)
            session.framed_ip = request.framed_ip
            moved = True
        if request.framed_prefix is not None and request.framed_prefix != session.framed_prefix:
            hold_address(self.store, session, session.framed_prefix, request.framed_prefix, at)
            session.framed_prefix = request.framed_prefix
            moved = True
        if moved:
            self.store.opened.append(session)
        return placed

    def count(self, session: SessionRecord, request: BearerRequest, at: float) -> None:
        """Add what was used since the last report."""
        new_input, new_output = request.used_input, request.used_output
        # More than any bearer moves is noise.
        service = session.service
        moved = 0 if service is None else max(service.input_octets, service.output_octets)
        if new_input > OCTETS_MAX - max(session.input_octets, moved):
            new_input = 0
        if new_output > OCTETS_MAX - max(session.output_octets, moved):
            new_output = 0
        since = session.updated_at
        session.updated_at = max(since, at)
        session.session_time_s = max(0, int(session.updated_at - session.started_at))
        add_octets(self.store, session, new_input, new_output, since, session.updated_at)

    def note_failed(self, session: SessionRecord, failed: dict[str, int], at: float) -> None:
        """The client does not have these rules in force, with its reasons."""
        facts = session.mobile
        news = {name: code for name, code in failed.items() if name in facts.rules and facts.failed.get(name) != code}
        if not news:
            return
        facts.failed = facts.failed | news
        self.store.touch_session(session, WHOLE)
        self.tell_failed(session, ", ".join(f"{name} ({code})" for name, code in news.items()), at)

    def tell_failed(self, session: SessionRecord, what: str, at: float) -> None:
        """`enforcement.failed`: the client took a change but for this."""
        open_one = session.enforcement
        data = {
            "enforcement_id": 0 if open_one is None else open_one.id,
            "session_id": str(session.id),
            "nas": session.nas.name,
            "action": "coa",
            "reason": "reported by the gateway",
            "result": "refused",
            "attempts": 0 if open_one is None else open_one.attempts,
            "detail": f"not in force: {what}",
        }
        service = session.service
        subject = str(session.id) if service is None else service.body.id
        self.store.emit("enforcement.failed", subject, at, data, service, session.nas.operator)

    # Metering

    def meters(self, session: SessionRecord, monitors: bool) -> bool:
        """Whether a session's usage is to be reported by its client. monitors: the client can."""
        service = session.service
        return monitors and not session.shadowed and service is not None and service.plan.metered

    def monitor(self, session: SessionRecord, octets: int) -> None:
        """So much is granted to usage monitoring from now on. Where it begins or ceases, another session of the bearer
        may be the one that is charged."""
        facts = session.mobile
        was = facts.monitored
        facts.monitored = octets
        live = None if session.service is None else session.service.live
        if was == 0 and octets:
            # Its client counts from now on, and never tells what another session was charged for before.
            session.credit = None
        if (was == 0) != (octets == 0) and live is not None and len(live.sessions) > 1:
            choose_meter(self.store, session)

    def portion(self, session: SessionRecord, monitors: bool) -> int:
        """Octets after which the client reports: up to where usage changes the decision, at most a slice; 0: never.

        Where others draw from the same balance and little is left, a part of it, so that they cross together.
        """
        if not self.meters(session, monitors):
            return 0
        service = session.service
        assert service is not None
        octets = self.slice
        below = service.decided_below
        if below != NO_LIMIT:
            account: Account | None = service.account
            charged = counted_octets(service) if account is None else account.charged_octets
            left = below - charged
            if left < 2 * octets and account is not None and (len(account.members) > 1 or account.reserved_octets):
                left = max(left // 2, min(left, self.slice_min))
            octets = max(1, min(octets, left))
        return octets

    def counts(self, session: SessionRecord) -> int:
        """Which octets its plan counts: BOTH, DOWN or UP."""
        return BOTH if session.service is None else session.service.plan.counts

    def holds_until(self, session: SessionRecord) -> float:
        """When time alone changes what the session may do, epoch seconds; NEVER."""
        return NEVER if session.service is None else self.decisions.holds_until(session.service)


def known_session(request: BearerRequest) -> SessionRecord | None:
    """The bearer of a Session-Id, for a while also after its end. A client's other sessions are none: the key of its
    charging session or of a registration may be told as a bearer's."""
    return session_of(request.nas, GX, request.key)


def is_bearable(session: SessionRecord, decision: DecisionRecord) -> bool:
    """Whether a bearer may go on under a decision."""
    return decision.grant and is_subscribed(decision, session.mobile.apn)


def is_subscribed(decision: DecisionRecord, apn: str) -> bool:
    """Whether a decision has bearer parameters for an APN."""
    qos = decision.body.qos
    # As a rule it is the first one, and written like this.
    return (qos is not None and qos.apn == apn) or qos_of(decision.body, apn) is not None


def repeated(session: SessionRecord, is_latest: bool) -> BearerOutcome:
    """A request that was applied before. is_latest: nothing was since, and its answer told something."""
    outcome = BearerOutcome(OK, "", session)
    outcome.repeated = True
    decision = session.desired if session.decision is None else session.decision
    outcome.decision = decision
    outcome.confirmed = decision
    outcome.whole = is_latest and session.mobile.kind == BEGIN
    return outcome


def is_applied(facts: GxFacts, number: int) -> bool:
    """Whether the request of this number was applied; what is too old to know was."""
    age = facts.number - number
    if age < 0:
        return False
    return age >= BEARER_NUMBERS_SEEN or bool(facts.seen >> age & 1)


def note_number(facts: GxFacts, number: int) -> None:
    """The request of this number is applied now."""
    step = number - facts.number
    if step <= 0:
        if -step < BEARER_NUMBERS_SEEN:
            facts.seen |= 1 << -step
        return
    facts.seen = (facts.seen << step | 1) & SEEN_MASK if step < BEARER_NUMBERS_SEEN else 1
    facts.number = number
