"""Online charging (Gy): quota granted on the shared balance, and what was used of it debited once.

Theory of operation. A grant is a reservation: it counts against the balance of all services that draw from it until it
is reported, so that parallel sessions never hold more than what is left (aaa/state/reservations.py). A report charges
what was used, gives the rest back, and gets the next grant: a slice, or what is left to where the decision changes;
near the end of a balance that ends in a denial, half of what nobody holds, so that others have a part. The last of it
is final, and then there is no more. Where the plan goes on after its quota (throttled, told), so do the grants.

A session keeps what it was told last, so a request that comes again, also after a restart, gets the same answer and
changes nothing (RFC 8506 §8.2: CC-Request-Number). A request that was overtaken by later ones is charged when it comes.
Knows no AVP and no clock. Compiled.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from msgspec import Struct

from aaa.engine.decisions import Decisions
from aaa.engine.facts import session_facts_of
from aaa.limits import GY_ENDS_KEPT_MAX, GY_EVENTS_LOOKED_MAX, GY_GROUPS_MAX, GY_MISSING_MAX
from aaa.model.charging import Units
from aaa.model.mobile import EVENT, GY, Grant, GyFacts
from aaa.model.records import ACTIVE, ENDED, NEVER, Account, DecisionRecord, NasRecord, ServiceRecord, SessionRecord
from aaa.state.ledger import account_of, give_back, refresh
from aaa.state.meters import put_aside
from aaa.state.mobile import open_session, sessions_of
from aaa.state.reservations import hold_again, left_of
from aaa.state.sessions import add_octets, end_session, reopen_session
from aaa.state.store import COUNTERS, WHOLE, Store
from policy.decide import decide
from policy.expression import at_usage
from policy.model import Exhausted, qos_of

INITIAL, UPDATE, TERMINATION = 1, 2, 3
"""CC-Request-Types, with EVENT."""
REPORT_OCTETS_MAX: Final = 1 << 48
"""Nobody moves 281 terabytes between two reports."""
SUCCESS: Final = 2001
NOT_APPLICABLE: Final = 4011
CREDIT_LIMIT_REACHED: Final = 4012
UNKNOWN_SESSION: Final = 5002
AUTHORIZATION_REJECTED: Final = 5003
USER_UNKNOWN: Final = 5030
RATING_FAILED: Final = 5031
CAUSE_LOST_CARRIER: Final = 2
CAUSE_REFUSED: Final = 9
"""Acct-Terminate-Cause of a session whose client was told that there is no more: NAS Error."""
FREE_GROUPS: Final = "free rating groups"
"""Begins a key in DecisionRecord.rendered."""
NOTHING_FREE: Final[frozenset[int]] = frozenset()


class QuotaSettings(Struct, frozen=True):
    """What [diameter] says about grants."""

    slice: int = 100_000_000
    slice_min: int = 1_000_000
    validity_s: int = 3600
    adopt: bool = True


class Charging:
    """Charges Gy sessions on the store's balances."""

    store: Store
    decisions: Decisions
    settings: QuotaSettings
    ends: dict[ServiceRecord, tuple[int, float, bool]]
    """Whether the last octet ends a service: (version, until, answer); bounded."""

    def __init__(self, store: Store, decisions: Decisions, settings: QuotaSettings) -> None:
        self.store = store
        self.decisions = decisions
        self.settings = settings
        self.ends = {}

    # Sessions

    def find(self, nas: NasRecord, key: bytes) -> SessionRecord | None:
        """The session of a client by its Session-Id, for a while also after its end."""
        return self.look_up(nas, key, -1)

    def find_event(self, nas: NasRecord, key: bytes, number: int) -> SessionRecord | None:
        """The one-time event that a client asked for under these; several may bear one Session-Id."""
        return self.look_up(nas, key, number)

    def look_up(self, nas: NasRecord, key: bytes, event: int) -> SessionRecord | None:
        """Among what a client has under a Session-Id: its event of that CC-Request-Number; -1: its session."""
        session: SessionRecord | None = nas.sessions.get(key)
        looked = 0
        while session is not None and looked < GY_EVENTS_LOOKED_MAX:
            if session.protocol == GY:
                facts: GyFacts = session.mobile
                if (facts.number == event) if facts.kind == EVENT else (event < 0):
                    return session
            session = session.earlier
            looked += 1
        return None

    def begin(
        self, session: SessionRecord, kind: int, number: int, units: list[Units], single: bool, cause: int, at: float
    ) -> int:
        """The first request of a session that is not live yet; the Result-Code of the message.

        At 2001 the session is live and its facts have the rest of the answer, else there is none. single: the client
        is told of refusals by the message's result only. cause: Acct-Terminate-Cause where it ends the session.
        """
        refusal = self.refusal_of(session)
        if refusal:
            return refusal
        if kind != INITIAL:
            if not self.settings.adopt:
                return UNKNOWN_SESSION
            open_session(self.store, session, None)
            return self.apply(session, kind, number, units, single, cause, at)
        decision = self.decisions.of_session(session, at)
        if not decision.grant and (single or decision.body.reason != "quota_exhausted"):
            return denial_code(decision)
        facts: GyFacts = session.mobile
        facts.number, facts.kind = number, kind
        self.supersede(session, at)
        self.allot(session, decision, units, at)
        if single and is_refused(facts):
            # Nothing was granted, so nothing is reserved.
            return facts.grants[facts.answered[0]].result
        open_session(self.store, session, decision)
        return SUCCESS

    def supersede(self, session: SessionRecord, at: float) -> None:
        """End what its client has lost: a session of the same bearer, whose quota would be held for nothing.

        Should it be alive after all, its next report opens it again.
        """
        facts: GyFacts = session.mobile
        address, prefix = session.framed_ip, session.framed_prefix
        if address is None and prefix is None:
            return
        for other in sessions_of(session.service, GY, facts.imsi):
            is_same = other.nas is session.nas and other.mobile.apn == facts.apn and other.framed_ip == address
            if is_same and (address is not None or other.framed_prefix == prefix):
                end_session(self.store, other, other.updated_at, CAUSE_LOST_CARRIER, False, at)

    def go_on(
        self, session: SessionRecord, kind: int, number: int, units: list[Units], single: bool, cause: int, at: float
    ) -> int:
        """Another request of a session that find() gave; the Result-Code of the message. The rest is in its facts."""
        facts: GyFacts = session.mobile
        is_repeated = number == facts.number and (kind == facts.kind or kind == INITIAL)
        if session.state == ENDED:
            if is_repeated and (session.ended_by_nas or facts.result != SUCCESS):
                return facts.result
            if session.ended_by_nas and number not in facts.missing:
                return UNKNOWN_SESSION
            if not session.ended_by_nas:
                # Closed here, and alive: its client still has what it was granted.
                reopen_session(self.store, session)
                hold_again(session)
        if is_repeated or (number < facts.number and number not in facts.missing):
            if session.state == ACTIVE:
                session.heard_at = at
                self.store.touch_session(session, COUNTERS)
            return facts.result
        if number < facts.number:
            # Later ones were faster, and their answers count: this one's use is charged, and that is all.
            facts.missing.remove(number)
            self.count(session, units, at)
            if session.state == ENDED:
                # Its end was told with less.
                self.store.ended.append(session)
            return facts.result
        if number > facts.number + 1 and facts.number >= 0:
            facts.missing.extend(range(max(facts.number + 1, number - GY_MISSING_MAX), number))
            del facts.missing[:-GY_MISSING_MAX]
        return self.apply(session, kind, number, units, single, cause, at)

    def apply(
        self, session: SessionRecord, kind: int, number: int, units: list[Units], single: bool, cause: int, at: float
    ) -> int:
        """A live session's request that was not there yet."""
        facts: GyFacts = session.mobile
        facts.number, facts.kind = number, kind
        facts.result = SUCCESS
        store = self.store
        self.count(session, units, at)
        if kind == TERMINATION:
            facts.answered = []
            end_session(store, session, at, cause, True, at)
            return SUCCESS
        store.touch_session(session, COUNTERS)
        refusal = self.refusal_of(session)
        if refusal:
            # Perhaps there is no service any more to decide about.
            self.refuse(session, units, refusal, at)
        else:
            decision = self.decisions.of_session(session, at)
            self.allot(session, decision, units, at)
            if session.decision is not decision and tells_all(facts):
                session.decision = session.desired = decision
                store.touch_session(session, WHOLE)
        if single and is_refused(facts):
            facts.result = facts.grants[facts.answered[0]].result
            end_session(store, session, at, CAUSE_REFUSED, False, at)
        return facts.result

    def refusal_of(self, session: SessionRecord) -> int:
        """Why a session's SIM may not be charged for its service; 0: it may."""
        sim = self.store.inventory.sim_of_imsi(session.mobile.imsi)
        if sim is None or sim.service is None or sim.service is not session.service:
            return USER_UNKNOWN
        return 0 if sim.state == "activated" else AUTHORIZATION_REJECTED

    # Debits

    def count(self, session: SessionRecord, units: list[Units], at: float) -> None:
        """Charge what a request says was used since the last one."""
        facts: GyFacts = session.mobile
        since = min(session.updated_at, at)
        used_input = used_output = free_input = free_output = time_s = 0
        for unit in units:
            if unit.time_s > time_s:
                time_s = unit.time_s
            if unit.input_octets or unit.output_octets:
                if self.is_free(session, facts, unit.group, at):
                    free_input += unit.input_octets
                    free_output += unit.output_octets
                else:
                    used_input += unit.input_octets
                    used_output += unit.output_octets
        used_input, used_output = min(used_input, REPORT_OCTETS_MAX), min(used_output, REPORT_OCTETS_MAX)
        free_input, free_output = min(free_input, REPORT_OCTETS_MAX), min(free_output, REPORT_OCTETS_MAX)
        session.input_octets += free_input
        session.output_octets += free_output
        if free_input or free_output:
            put_aside(self.store, session, free_input, free_output)
        # A client's first clock may be the time of day (docs/diameter.md): no session is older than it is.
        session.session_time_s += min(time_s, int(at - since) + 1) if time_s else 0
        session.updated_at = session.heard_at = at
        session.nas.last_accounting_at = at
        add_octets(self.store, session, used_input, used_output, since, at)

    def is_free(self, session: SessionRecord, facts: GyFacts, group: int, at: float) -> bool:
        """Whether a rating group's use is not charged: as it was granted, else as it is decided."""
        grant = facts.grants.get(group)
        if grant is not None:
            return grant.free
        decision = session.decision
        if decision is None and session.service is not None:
            # Adopted: nobody knows what it was granted under.
            decision = self.decisions.of_session(session, at)
        return decision is not None and group in free_groups(decision, facts.apn)

    def debit(self, session: SessionRecord, number: int, unit: Units, at: float) -> int:
        """Direct debiting (RFC 8506 §6.3): the Result-Code. A session of one request, kept as what was charged."""
        refusal = self.refusal_of(session)
        if refusal:
            return refusal
        decision = self.decisions.of_session(session, at)
        if not decision.grant:
            return denial_code(decision)
        octets = unit.input_octets + unit.output_octets
        service = session.service
        assert service is not None
        facts: GyFacts = session.mobile
        is_free = unit.group in free_groups(decision, facts.apn)
        if not is_free and not self.has_credit(session, octets, at):
            return CREDIT_LIMIT_REACHED
        facts.number, facts.kind = number, EVENT
        facts.grants = {unit.group: Grant(octets, at, service=unit.service, counts=service.plan.counts, free=is_free)}
        facts.answered = [unit.group]
        facts.released = True
        open_session(self.store, session, decision)
        self.count(session, [unit], at)
        end_session(self.store, session, at, 0, True, at)
        return SUCCESS

    def refund(self, session: SessionRecord, number: int, unit: Units, at: float) -> int:
        """Give back what was debited and not delivered (§6.4)."""
        refusal = self.refusal_of(session)
        if refusal:
            return refusal
        service = session.service
        assert service is not None
        if not service.plan.metered:
            return NOT_APPLICABLE
        facts: GyFacts = session.mobile
        facts.number, facts.kind = number, EVENT
        facts.released = True
        open_session(self.store, session, self.decisions.of_session(session, at))
        octets = unit.input_octets + unit.output_octets
        give_back(self.store, account_of(self.store, service, at), octets, at)
        end_session(self.store, session, at, 0, True, at)
        return SUCCESS

    def has_credit(self, session: SessionRecord, octets: int, at: float) -> bool:
        """Whether so much might be granted now (§6.2); the service's decision is a grant, and of this moment."""
        service = session.service
        assert service is not None
        if service.plan.body.quota is None:
            return True
        account = account_of(self.store, service, at)
        refresh(self.store, account, at)
        left = left_of(account)
        return left <= 0 or octets <= left - account.reserved_octets or not self.is_last(session, at)

    # Grants

    def allot(self, session: SessionRecord, decision: DecisionRecord, units: list[Units], at: float) -> None:
        """Take back what the request's services hold, and grant anew what they ask for."""
        if not decision.grant:
            self.refuse(session, units, denial_code(decision), at)
            return
        facts: GyFacts = session.mobile
        grants = facts.grants
        service = session.service
        assert service is not None
        plan = service.plan
        account = service.account
        if plan.metered:
            if account is None:
                account = account_of(self.store, service, at)
            refresh(self.store, account, at)
        self.give_up(facts, account, units)
        free = free_groups(decision, facts.apn)
        until = service.decided_until
        validity_s = self.settings.validity_s
        if until - at < validity_s:
            validity_s = max(1, ceil(until - at))
        answered: list[int] = []
        for unit in units:
            group = unit.group
            if group in answered:
                continue
            answered.append(group)
            if group not in grants and not make_room(facts, answered):
                del answered[-1]
                continue
            is_free = group in free
            grant = Grant(0, at, False, SUCCESS, 0, unit.service, plan.counts, is_free)
            former = grants.get(group)
            grants[group] = grant
            if not unit.asked:
                # Redirected or restricted, a client reports its last units and asks no more until it is told to.
                grant.final = former is not None and waits(former)
                continue
            if is_free:
                grant.octets = self.settings.slice
            else:
                grant.octets = octets = self.portion(session, account, at)
                if octets == 0:
                    grant.result = CREDIT_LIMIT_REACHED
                    continue
                if account is not None:
                    grant.final = self.is_final(session, account, octets, at)
                    account.reserved_octets += octets
            grant.validity_s = validity_s
        facts.answered = answered

    def refuse(self, session: SessionRecord, units: list[Units], result: int, at: float) -> None:
        """Take back what the request's services hold, and grant nothing."""
        facts: GyFacts = session.mobile
        service = session.service
        self.give_up(facts, service.account if service is not None else None, units)
        answered: list[int] = []
        for unit in units:
            if unit.group not in answered and (unit.group in facts.grants or make_room(facts, answered)):
                answered.append(unit.group)
                former = facts.grants.get(unit.group)
                is_waiting = not unit.asked and former is not None and waits(former)
                told = result if unit.asked else SUCCESS
                is_free = former is not None and former.free
                facts.grants[unit.group] = Grant(0, at, is_waiting, told, 0, unit.service, free=is_free)
        facts.answered = answered

    def give_up(self, facts: GyFacts, account: Account | None, units: list[Units]) -> None:
        """A report ends the grants of the services that it is about."""
        for unit in units:
            grant = facts.grants.get(unit.group)
            if grant is not None and grant.octets:
                if account is not None and not grant.free:
                    account.reserved_octets -= grant.octets
                grant.octets = 0

    def portion(self, session: SessionRecord, account: Account | None, at: float) -> int:
        """How much is granted to one who asks; 0: nothing is left, or others hold it."""
        most: int = self.settings.slice
        service = session.service
        assert service is not None
        if account is None:
            return most
        to_change = service.decided_below - account.charged_octets
        octets = to_change if 0 < to_change < most else most
        if service.plan.body.quota is None:
            return octets
        left = left_of(account)
        room = left - account.reserved_octets
        # With nothing left and still a grant decided, the plan goes on after its quota.
        if left <= 0 or room >= 2 * most or not self.is_last(session, at):
            return octets
        if room <= 0:
            return 0
        return min(octets, room, max(self.settings.slice_min, room // 2))

    def is_final(self, session: SessionRecord, account: Account, octets: int, at: float) -> bool:
        """Whether nothing can follow a grant that is about to be reserved."""
        service = session.service
        assert service is not None
        if service.plan.body.quota is None:
            return False
        left = left_of(account)
        if left <= 0 or account.reserved_octets or octets < left:
            return False
        return self.is_last(session, at) and not buys(account)

    def is_last(self, session: SessionRecord, at: float) -> bool:
        """Whether a denial follows what is left.

        Cost: 20 µs where it is not known yet; asked near the end only.
        """
        service = session.service
        assert service is not None
        decisions = self.decisions
        version = service.version + service.plan.version + decisions.policy_version.number
        is_placed = decisions.is_placed(service)
        known = self.ends.get(service)
        if known is not None and known[0] == version and at < known[1] and not is_placed:
            return known[2]
        facts = decisions.facts_of(service, at, session_facts_of(session) if is_placed else None)
        quota = facts.quota
        if quota is None:
            return False
        ends = not decide(at_usage(facts, quota.used + quota.left), decisions.policy, False).grant
        if not is_placed:
            if len(self.ends) >= GY_ENDS_KEPT_MAX:
                self.ends.clear()
            self.ends[service] = (version, service.decided_until, ends)
        return ends

    # For the reconciler

    def why_ask(self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord) -> str:
        """Why a client is to ask anew now and not when its grants end; "": there is no need."""
        facts: GyFacts = session.mobile
        grants = facts.grants.values()
        held = [grant for grant in grants if grant.octets]
        if not desired.grant:
            # Once it was asked, its next report is refused; a gateway that does not listen comes with its validity.
            return f"quota is taken back: {desired.body.reason}" if held and is_grant(confirmed) else ""
        service = session.service
        account = service.account if service is not None else None
        wants = any(waits(grant) for grant in grants)
        if service is None or account is None or service.plan.body.quota is None:
            if wants:
                return "quota is available"
        else:
            left = left_of(account)
            if wants and (left <= 0 or left > account.reserved_octets):
                return "quota is available"
            if 0 < left < account.reserved_octets and any(not grant.free for grant in held):
                return "less is left than was granted"
        if service is not None and account is not None:
            to_change = service.decided_below - account.charged_octets
            if any(grant.octets > to_change > 0 and not grant.free for grant in held):
                return "the plan changes before its grant ends"
        return ""


def denial_code(decision: DecisionRecord) -> int:
    """How a denial is told (RFC 8506 §9, TS 32.299 §6.5)."""
    return CREDIT_LIMIT_REACHED if decision.body.reason == "quota_exhausted" else AUTHORIZATION_REJECTED


def waits(grant: Grant) -> bool:
    """Whether its client was told that there is no more."""
    return grant.final or grant.result != SUCCESS


def make_room(facts: GyFacts, answered: list[int]) -> bool:
    """Whether a session may have one more service: those that hold nothing, and are not asked about, give way."""
    grants = facts.grants
    if len(grants) >= GY_GROUPS_MAX:
        for group in [group for group, grant in grants.items() if not grant.octets and group not in answered]:
            del grants[group]
    return len(grants) < GY_GROUPS_MAX


def is_refused(facts: GyFacts) -> bool:
    """Whether every service of the last request was refused, and there was one."""
    if not facts.answered:
        return False
    return all(facts.grants[group].result != SUCCESS for group in facts.answered)


def tells_all(facts: GyFacts) -> bool:
    """Whether the last answer is about every service that holds something: then the client knows what is decided."""
    if len(facts.answered) >= len(facts.grants):
        return True
    return all(group in facts.answered for group, grant in facts.grants.items() if grant.octets)


def is_grant(decision: DecisionRecord | None) -> bool:
    """Whether a client may still use what it holds, as far as is known."""
    return decision is None or decision.grant


def buys(account: Account) -> bool:
    """Whether the plan buys more by itself when nothing is left."""
    plan = account.members[0].plan.body
    for action in plan.on_exhausted:
        if isinstance(action, Exhausted) and action.top_up is not None:
            return action.top_up.limit is None or account.bought < action.top_up.limit
    return False


def free_groups(decision: DecisionRecord, apn: str) -> frozenset[int]:
    """Rating groups that are not charged under a decision at an APN."""
    body = decision.body
    if body.qos is None or not (body.qos.rules or body.apns):
        return NOTHING_FREE
    qos = qos_of(body, apn) or body.qos
    key = f"{FREE_GROUPS} {qos.apn}"
    found = decision.rendered.get(key)
    if isinstance(found, frozenset):
        return found
    groups = frozenset([rule.rating_group for rule in qos.rules if rule.free and rule.rating_group is not None])
    decision.rendered[key] = groups
    return groups


def silence_s_max(facts: GyFacts, grace_s: float) -> float:
    """Tcc (RFC 8506 §13): how long a session that holds quota may be silent; NEVER: it holds none."""
    validity_s = max([grant.validity_s for grant in facts.grants.values() if grant.octets], default=0)
    return 2.0 * validity_s + grace_s if validity_s else NEVER
