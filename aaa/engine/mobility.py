"""Who may attach, where, and what the node that serves a subscriber is told: the HSS (TS 29.272) without its AVPs.

Theory of operation. A challenge is asked for before every attach, so a refusal is given there, under the decision that
the attach would run under. A registration is a session of protocol S6A: its key is the IMSI, its client the MME. A
subscriber has one: a registration at another MME ends the older one by its cancellation. What changes later is the
reconciler's. A quota that is used up bars nobody from attaching: the bearers follow it. Compiled. Times come in; knows
no wire and no key.
"""

from __future__ import annotations

from aaa.engine.decisions import Decisions
from aaa.limits import GATEWAYS_COUNT_MAX
from aaa.model.mobile import S6A, S6aFacts
from aaa.model.records import ACTIVE, DecisionRecord, NasRecord, ServiceRecord, SessionRecord
from aaa.model.shelves import SimRecord
from aaa.state.mobile import new_session, open_session, session_of, sessions_of
from aaa.state.sessions import end_session
from aaa.state.store import COUNTERS, WHOLE, Store
from policy.model import Qos

ADMITTED, UNKNOWN_SUBSCRIBER, NO_SUBSCRIPTION, ROAMING, RAT, NO_KEYS, DEVICE = range(7)
"""What comes of a request: admitted, or why not. NO_SUBSCRIPTION: nothing to have now, though it may come back."""
MME_UPDATE = 0
"""S6aFacts.cancellation (Cancellation-Type, TS 29.272 §7.3.24): another MME serves it now."""
CAUSE_USER_REQUEST = 1
CAUSE_LOST_CARRIER = 2
RATS = frozenset({1004, 1005, 1006, 1007})
"""RAT-Types with an MME: E-UTRAN, and its narrow-band, NR and LTE-M variants."""
IMEI_DIGITS = 14
"""What of an IMEI names the device: the check digit and the software version do not."""


class Admission:
    """Whether a subscriber may attach at a place."""

    verdict: int
    message: str
    """Why it is refused; for people."""
    sim: SimRecord | None
    decision: DecisionRecord | None

    def __init__(self, verdict: int, message: str, sim: SimRecord | None, decision: DecisionRecord | None) -> None:
        self.verdict = verdict
        self.message = message
        self.sim = sim
        self.decision = decision


class Mobility:
    """Serves the subscribers of one store."""

    store: Store
    decisions: Decisions
    roaming_plmns: frozenset[str]

    def __init__(self, store: Store, decisions: Decisions, roaming_plmns: frozenset[str] = frozenset()) -> None:
        self.store = store
        self.decisions = decisions
        self.roaming_plmns = roaming_plmns
        """Beside the home network, from where subscribers may attach; empty: from anywhere."""

    # Who may attach

    def admit(
        self, imsi: str, operator: str | None, host: str, plmn: str, rat: int, imei: str, at: float
    ) -> Admission:
        """Decide about an attach. at: epoch seconds.

        operator: whose SIMs the client may ask about; None: everybody's. host: Origin-Host of the MME. plmn: the
        serving network; "": not told. rat, imei: -1 and "" where they are not told yet.
        """
        sim: SimRecord | None = self.store.inventory.sim_of_imsi(imsi)
        if sim is None or (operator is not None and sim.operator != operator):
            return Admission(UNKNOWN_SUBSCRIBER, "Unknown subscriber", None, None)
        service: ServiceRecord | None = sim.service
        if sim.state != "activated" or service is None:
            verdict = NO_SUBSCRIPTION if sim.state == "suspended" else UNKNOWN_SUBSCRIBER
            return Admission(verdict, f"The SIM is {sim.state}", sim, None)
        if self.roaming_plmns and plmn not in self.roaming_plmns and not is_home(imsi, plmn):
            return Admission(ROAMING, "Roaming is not agreed with this network", sim, None)
        if rat >= 0 and rat not in RATS:
            return Admission(RAT, "Only LTE is served", sim, None)
        decision = self.decide(service, sim, host, plmn, at)
        if not decision.grant and decision.body.reason != "quota_exhausted":
            away = decision.body.reason == "denied" and not is_home(imsi, plmn)
            message = decision.body.message or decision.body.reason
            return Admission(ROAMING if away else NO_SUBSCRIPTION, message, sim, decision)
        if first_qos(service, decision) is None:
            return Admission(NO_SUBSCRIPTION, "The plan has no APN", sim, decision)
        if not service.bare and service.body.lock is not None and not self.lock_allows(service, host, rat, imei):
            return Admission(DEVICE, "This service cannot be used from here", sim, decision)
        return Admission(ADMITTED, "", sim, decision)

    def decide(self, service: ServiceRecord, sim: SimRecord, host: str, plmn: str, at: float) -> DecisionRecord:
        """The decision that a registration there would run under."""
        decisions = self.decisions
        if not decisions.is_placed(service):
            return decisions.of(service, at)
        number = sim.number
        calling = None if number is None else number.msisdn.encode()
        place = (host, "generic", None, calling, None, None, None, "s6a", plmn, "")
        return decisions.of_place(service, place, at)

    def lock_allows(self, service: ServiceRecord, host: str, rat: int, imei: str) -> bool:
        """Whether a service may be used at this MME and by this device. A lock to a port, line or MAC fits no mobile;
        an IMEI that comes with a challenge at best is asked for where the MME registers."""
        lock = service.body.lock
        assert lock is not None
        if lock.port or lock.circuit or lock.mac:
            return False
        if lock.nas and host not in lock.nas:
            return False
        if not lock.device or (not imei and rat < 0):
            return True
        for name in lock.device:
            device = self.store.inventory.devices.get(name)
            if device is None:
                if name[:IMEI_DIGITS] == imei[:IMEI_DIGITS]:
                    return True
            elif device.body.imei is not None and device.body.operator == service.subscriber.body.operator:
                known: str = device.body.imei
                if known[:IMEI_DIGITS] == imei[:IMEI_DIGITS]:
                    return True
        return False

    # Registrations

    def registration(self, nas: NasRecord | None, imsi: str) -> SessionRecord | None:
        """The live registration of an IMSI at an MME."""
        if nas is None:
            return None
        session: SessionRecord | None = session_of(nas, S6A, imsi.encode())
        if session is None or session.state != ACTIVE:
            return None
        return session

    def is_current(self, nas: NasRecord, imsi: str, decision: DecisionRecord) -> bool:
        """Whether an MME has a subscriber's data as they are now."""
        session = self.registration(nas, imsi)
        return session is not None and session.decision is decision and not is_leaving(session)

    def register(
        self, nas: NasRecord, service: ServiceRecord, facts: S6aFacts, decision: DecisionRecord, at: float
    ) -> SessionRecord:
        """An MME serves a subscriber from now on, and is told the decision in the answer."""
        nas.last_accounting_at = at
        imsi: str = facts.imsi
        known = self.registration(nas, imsi)
        if known is not None and known.service is service and not is_leaving(known):
            session = known
            mine = session.mobile
            facts.gateways = mine.gateways
            if facts != mine or session.decision is not decision or session.adopted:
                session.mobile = facts
                session.decision = session.desired = decision
                session.adopted = False
                self.store.affect(service)
                self.store.touch_session(session, WHOLE)
            else:
                self.store.touch_session(session, COUNTERS)
            session.updated_at = session.heard_at = at
        else:
            session = new_session(self.store, S6A, nas, imsi.encode(), service, facts, at)
            open_session(self.store, session, decision)
        live = service.live
        if live is not None and len(live.sessions) > 1:
            for other in sessions_of(service, S6A, imsi):
                if other is not session and other.nas is not nas and not is_leaving(other):
                    other.mobile.cancellation = MME_UPDATE
                    self.store.touch_session(other, WHOLE)
                    self.store.barred.append((other, f"served by {nas.name} now", self.store.cause))
        return session

    def purge(self, session: SessionRecord, at: float) -> None:
        """The MME has dropped all about a subscriber that has been away for long."""
        session.mobile.purged = True
        session.session_time_s = max(0, int(at - session.started_at))
        end_session(self.store, session, at, CAUSE_USER_REQUEST, True, at)

    def note(self, session: SessionRecord, apn: str, gateway: str, imei: str, at: float) -> None:
        """The MME tells which gateway serves an APN, and which device is used; "": not told."""
        facts = session.mobile
        session.updated_at = session.heard_at = at
        changed = False
        if imei and imei != facts.imei:
            facts.imei = imei
            changed = True
        if gateway and facts.gateways.get(apn) != gateway:
            kept = {name: each for name, each in facts.gateways.items() if name != apn}
            if len(kept) >= GATEWAYS_COUNT_MAX:
                del kept[next(iter(kept))]
            facts.gateways = kept | {apn: gateway}
            changed = True
        self.store.touch_session(session, WHOLE if changed else COUNTERS)


def is_leaving(session: SessionRecord) -> bool:
    """Whether a registration is to be cancelled whatever is decided."""
    open_one = session.enforcement
    return bool(session.mobile.cancellation >= 0 or (open_one is not None and open_one.desired is None))


def is_home(imsi: str, plmn: str) -> bool:
    """Whether a network is the SIM's own; a network that is not told is."""
    return imsi.startswith(plmn)


def is_barred(decision: DecisionRecord) -> bool:
    """Whether a decision keeps a subscriber off the network, and not only its bearers."""
    return not decision.grant and decision.body.reason != "quota_exhausted"


def first_qos(service: ServiceRecord, decision: DecisionRecord) -> Qos | None:
    """Bearer parameters of the default APN. A denial has none: then what is sold, to which it will come back."""
    return decision.body.qos if decision.grant else service.plan.body.qos
