"""Cached decisions: one object for all equal ones, made when something they depend on has changed.

A service's decision holds while the sum of the versions it was made under is the same, time is before `decided_until`
and usage below `decided_below`; nothing has to be invalidated. Compiled.
"""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from aaa.limits import DECISIONS_INTERNED_MAX
from aaa.model.entities import Moment, Service
from aaa.model.records import NEVER, NO_LIMIT, DecisionRecord, PolicyVersion, ServiceRecord
from aaa.state.sessions import turn_cycle
from aaa.state.store import Store
from policy.decide import cycle_bounds, decide
from policy.model import Decision, Facts, QuotaFacts, ServiceFacts, SubscriberFacts


class Decisions:
    """Decisions of services, current at every look."""

    policy_version: PolicyVersion
    interned: dict[Decision, DecisionRecord]

    def __init__(self, store: Store) -> None:
        self.policy_version = store.policy_version
        self.interned = {}

    def of(self, service: ServiceRecord, at: float) -> DecisionRecord:
        """The service's decision at `at` (epoch seconds); trace and validity are in explain()."""
        version = service.version + service.plan.version + self.policy_version.number
        if (
            service.decided_version == version
            and at < service.decided_until
            and service.input_octets + service.output_octets < service.decided_below
        ):
            return service.decision  # type: ignore[return-value]
        return self.renew(service, at, version)

    def renew(self, service: ServiceRecord, at: float, version: int) -> DecisionRecord:
        """Decide anew and keep it."""
        if at >= service.cycle_ends_at and service.plan.body.quota is not None:
            turn_cycle(service, at)
        body = service.body
        plan = service.plan
        service.decided_version = version
        if is_plain(body) and plan.body.quota is None:
            key = (body.state, self.policy_version.number)
            decision = plan.plain.get(key)
            if decision is None:
                decision = plan.plain[key] = self.intern(decide(facts_of(service, at)))
            service.decision = decision
            service.decided_until = NEVER
            service.decided_below = NO_LIMIT
            return decision
        whole = decide(facts_of(service, at))
        decision = service.decision = self.intern(whole)
        until = NEVER if whole.valid_until is None else whole.valid_until
        # A cycle's turn empties the counters that facts_of reads.
        service.decided_until = min(until, service.cycle_ends_at) if service.plan.body.quota is not None else until
        service.decided_below = NO_LIMIT if whole.valid_below_octets is None else whole.valid_below_octets
        return decision

    def intern(self, whole: Decision) -> DecisionRecord:
        """The one record of all decisions that differ in trace and validity only."""
        bare = replace(whole, trace=(), valid_until=None, valid_below_octets=None)
        decision = self.interned.get(bare)
        if decision is None:
            if len(self.interned) >= DECISIONS_INTERNED_MAX:
                self.interned.clear()
            decision = self.interned[bare] = DecisionRecord(bare)
        return decision

    def explain(self, service: ServiceRecord, at: float) -> Decision:
        """The decision at any moment, with its trace and validity."""
        return decide(facts_of(service, at))


def is_plain(body: Service) -> bool:
    """Whether nothing but its state and plan decides about a service."""
    return body.overrides is None and body.activated_at is None and body.expires_at is None and body.grace_until is None


def facts_of(service: ServiceRecord, at: float) -> Facts:
    """What policy may know of a service."""
    body = service.body
    plan = service.plan.body
    owner = service.subscriber.body
    quota = None
    if plan.quota is not None:
        ends_at = service.cycle_ends_at
        used = service.input_octets + service.output_octets
        if at >= ends_at:
            used = 0
            ends_at = cycle_bounds(body.cycle, plan, at)[1]
        octets = plan.quota.octets
        quota = QuotaFacts(octets, used, max(0, octets - used), ends_at, ends_at)
    return Facts(
        now=at,
        plan=plan,
        overrides=body.overrides,
        service=ServiceFacts(
            id=body.id,
            state=body.state,
            pushed_state=body.state,
            add_ons=body.add_ons,
            activated_at=epoch(body.activated_at),
            expires_at=epoch(body.expires_at),
            grace_until=epoch(body.grace_until),
        ),
        subscriber=SubscriberFacts(owner.id, owner.operator, owner.groups, owner.tags),
        quota=quota,
    )


def epoch(moment: Moment | None) -> float | None:
    """Epoch seconds of a pushed moment."""
    return moment.timestamp() if isinstance(moment, datetime) else moment
