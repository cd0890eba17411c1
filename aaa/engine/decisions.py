"""Cached decisions: one object for all equal ones, made when something they depend on has changed.

A decision holds while the sum of the versions it was made under is the same, time is before its end and what was
charged to the balance below its mark; nothing has to be invalidated. It is kept with its service, or, where the policy
reads where the login is, with the service's live part under those facts. Compiled.
"""

from __future__ import annotations

from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from aaa.engine.facts import PLACE, Place, facts_of, place_facts
from aaa.limits import DECISIONS_INTERNED_MAX, PLAIN_DECISIONS_MAX, VARIANTS_COUNT_MAX
from aaa.model.access import Attempt
from aaa.model.mobile import DEFAULT_PLACE, place_of
from aaa.model.records import (
    DECISION_MARK,
    NEVER,
    NO_LIMIT,
    DecisionRecord,
    PolicyVersion,
    ServiceRecord,
    SessionRecord,
)
from aaa.state.ledger import refresh, watch
from aaa.state.store import Store
from policy.decide import decide
from policy.model import Decision, Facts, SessionFacts
from policy.rules import Policy


class Decisions:
    """Decisions of services, current at every look."""

    store: Store
    policy: Policy
    policy_version: PolicyVersion
    reads: tuple[int, ...]
    """Session facts that the policy reads: positions in PLACE."""
    places_all: bool
    """Every operator's services may be decided about by place; otherwise those of `placed_operators`."""
    placed_operators: frozenset[str]
    shares: bool
    """The policy reads nothing by which services of one plan and state differ."""
    interned: dict[Decision, DecisionRecord]
    count: int
    """How many were made."""
    marked: dict[int, DecisionRecord]
    """By the mark that Class carries."""

    def __init__(self, store: Store, policy: Policy | None = None) -> None:
        self.store = store
        self.policy_version = store.policy_version
        self.interned = {}
        self.count = 0
        self.marked = {}
        for decision in store.loaded_decisions.values():
            self.interned[decision.body] = self.marked[decision.id & DECISION_MARK] = decision
        self.take(Policy() if policy is None else policy)

    def use(self, policy: Policy) -> None:
        """Decide by another policy from now on: every decision is made anew, and every live session compared."""
        self.take(policy)
        self.policy_version.number += 1
        self.store.affected_all = self.store.cause

    def take(self, policy: Policy) -> None:
        self.policy = policy
        self.reads = tuple([PLACE.index(name) for name in policy.session_reads if name in PLACE])
        placed = [rule for rule in policy.rules if any(name.startswith("session.") for name in rule.when.reads)]
        self.places_all = any(not rule.operators for rule in placed)
        self.placed_operators = frozenset(operator for rule in placed for operator in rule.operators)
        self.shares = not policy.rules
        self.store.policy = policy
        self.store.zone = policy.zone

    # Current decisions

    def of(self, service: ServiceRecord, at: float) -> DecisionRecord:
        """The service's decision at `at` (epoch seconds) without a place; trace and validity are in explain()."""
        version = service.version + service.plan.version + self.policy_version.number
        if service.decided_version == version and at < service.decided_until:
            decision = service.decision
            account = service.account
            if decision is not None and (account is None or account.charged_octets < service.decided_below):
                return decision
        return self.renew(service, at, version)

    def of_session(self, session: SessionRecord, at: float) -> DecisionRecord:
        """The decision that a live session should run under. It has a service."""
        service = session.service
        assert service is not None
        if not self.is_placed(service):
            return self.of(service, at)
        nas = session.nas
        place = (
            nas.client_name,
            nas.family,
            session.nas_port_id,
            session.calling_station,
            session.called_station,
            session.circuit_id,
            session.remote_id,
            *place_of(session.protocol, session.mobile),
        )
        return self.of_place(service, place, at)

    def of_attempt(self, service: ServiceRecord, attempt: Attempt, at: float) -> DecisionRecord:
        """The decision for a login."""
        if not self.is_placed(service):
            return self.of(service, at)
        nas = attempt.nas
        place = (
            nas.client_name,
            nas.family,
            attempt.nas_port_id,
            attempt.calling_station,
            attempt.called_station,
            attempt.circuit_id,
            attempt.remote_id,
            *DEFAULT_PLACE,
        )
        return self.of_place(service, place, at)

    def is_placed(self, service: ServiceRecord) -> bool:
        """Whether where a login is may matter for the service."""
        if not self.reads:
            return False
        return self.places_all or service.subscriber.body.operator in self.placed_operators

    def of_place(self, service: ServiceRecord, place: Place, at: float) -> DecisionRecord:
        """The decision at a place: kept under the values that the policy reads, as long as the service is in use."""
        version = service.version + service.plan.version + self.policy_version.number
        live = service.live
        account = service.account
        key = tuple([place[index] for index in self.reads])
        if live is not None and live.variants is not None:
            kept = live.variants.get(key)
            charged = 0 if account is None else account.charged_octets
            if kept is not None and kept[0] == version and at < kept[1] and charged < kept[2]:
                return kept[3]
        if account is not None:
            refresh(self.store, account, at)
        whole = decide(self.facts_of(service, at, place_facts(place)), self.policy, False)
        decision = self.intern(whole)
        if live is None:
            if not decision.grant:
                return decision
            # The login that follows makes it live.
            live = self.store.live(service)
        variants = live.variants
        if variants is None or (len(variants) >= VARIANTS_COUNT_MAX and key not in variants):
            variants = live.variants = {}
        variants[key] = (version, until_of(whole), below_of(whole), decision)
        # The service's bounds are those of the first of them to end; the one without a place is made when asked for.
        service.decision = None
        self.bound(service, version, at, NEVER, NO_LIMIT)
        return decision

    def bound(self, service: ServiceRecord, version: int, at: float, until: float, below: int) -> None:
        """All that is kept of a service ends with the first of its parts: `until`, `below`, and those by place."""
        live = service.live
        account = service.account
        charged = 0 if account is None else account.charged_octets
        if live is not None and live.variants is not None:
            for kept in live.variants.values():
                if kept[0] == version and at < kept[1] and charged < kept[2]:
                    until = min(until, kept[1])
                    below = min(below, kept[2])
        service.decided_version = version
        service.decided_until = until
        service.decided_below = below
        if account is not None and below != NO_LIMIT:
            watch(account, below)

    def holds_until(self, service: ServiceRecord) -> float:
        """When time alone ends the first of the service's decisions; NEVER: none."""
        version = service.version + service.plan.version + self.policy_version.number
        return service.decided_until if service.decided_version == version else NEVER

    # Deciding

    def facts_of(self, service: ServiceRecord, at: float, place: SessionFacts | None = None) -> Facts:
        """What the policy in force may know."""
        return facts_of(self.store, service, at, place, self.policy)

    def explain(self, service: ServiceRecord, at: float, place: SessionFacts | None = None) -> Decision:
        """The decision at any moment and place, with its trace and validity."""
        return decide(self.facts_of(service, at, place), self.policy)

    def renew(self, service: ServiceRecord, at: float, version: int) -> DecisionRecord:
        """Decide anew and keep it."""
        plan = service.plan
        shares = self.shares and is_plain(service)
        if shares:
            key = (service.body.state, self.policy_version.number)
            decision = plan.plain.get(key)
            if decision is not None:
                service.decision = decision
                service.decided_version = version
                service.decided_until = NEVER
                service.decided_below = NO_LIMIT
                return decision
        account = service.account
        if account is not None:
            refresh(self.store, account, at)
        whole = decide(self.facts_of(service, at), self.policy, False)
        decision = service.decision = self.intern(whole)
        self.bound(service, version, at, until_of(whole), below_of(whole))
        if shares and whole.valid_until is None and whole.valid_below_octets is None:
            if len(plan.plain) >= PLAIN_DECISIONS_MAX:
                plan.plain.clear()
            plan.plain[key] = decision
        return decision

    def intern(self, whole: Decision) -> DecisionRecord:
        """The one record of all decisions that differ in trace and validity only."""
        self.count += 1
        bare = whole
        if whole.trace or whole.valid_until is not None or whole.valid_below_octets is not None:
            bare = replace(whole, trace=(), valid_until=None, valid_below_octets=None)
        decision = self.interned.get(bare)
        if decision is None:
            if len(self.interned) >= DECISIONS_INTERNED_MAX:
                self.interned.clear()
                self.marked.clear()
            decision = self.interned[bare] = DecisionRecord(bare, decision_id(bare))
            self.marked[decision.id & DECISION_MARK] = decision
        return decision


def decision_id(bare: Decision) -> int:
    """63 bits that name a decision in every run. bare: without trace and validity."""
    return int.from_bytes(blake2b(msgspec.json.encode(bare), digest_size=8).digest(), "big") >> 1


def is_plain(service: ServiceRecord) -> bool:
    """Whether nothing but its state and plan decides about a service."""
    body = service.body
    return (
        not service.plan.metered
        and service.marks is None
        and body.overrides is None
        and body.activated_at is None
        and body.expires_at is None
        and body.grace_until is None
        and not body.add_ons
    )


def until_of(whole: Decision) -> float:
    """When time alone ends it."""
    return NEVER if whole.valid_until is None else whole.valid_until


def below_of(whole: Decision) -> int:
    """Which usage ends it."""
    return NO_LIMIT if whole.valid_below_octets is None else whole.valid_below_octets
