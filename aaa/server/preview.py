"""What a change would do to live sessions: the reconciler itself, run over copies of what the change may reach.

Theory of operation. Operations are applied by the same functions to copies of the services that they name, with their
subscribers and balances; automations run on the events that this causes; then every live session that may be affected
is compared by the engine's own Enforcer with the decision that it would run under. This Enforcer opens nothing: it
notes what it would send. Services beside those named are copied one by one while the walk passes them, and taken apart
again, because records that form cycles are nobody's garbage. Nothing real is changed, not even a cache.

Decisions are kept by the facts that can make them differ, so that services which are alike are decided about once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

from aaa.engine.automate import Automator
from aaa.engine.decisions import Decisions, below_of
from aaa.engine.enforce import Enforcer
from aaa.engine.facts import facts_of, session_facts_of
from aaa.limits import PREVIEW_NAMED_SERVICES_MAX, PREVIEW_ROUNDS_MAX, PREVIEW_SLICE_S
from aaa.mapping.change import Change
from aaa.model.enforcement import Action, Difference, Enforcement, EnforcementState
from aaa.model.events import Cause
from aaa.model.operations import Actor, Operation, Result
from aaa.model.records import (
    ACTIVE,
    Account,
    DecisionRecord,
    Live,
    Marks,
    NasRecord,
    PlanRecord,
    ServiceRecord,
    SessionRecord,
    SubscriberRecord,
)
from aaa.server import views
from aaa.server.dynamic import Job
from aaa.server.policies import adopt_plans
from aaa.state.entities import apply_operation
from aaa.state.store import Store, static_addresses
from policy.decide import decide
from policy.expression import reader_of
from policy.model import Facts
from policy.rules import Policy

if TYPE_CHECKING:
    from aaa.server.main import Server

KINDS: Final = ("plan", "subscriber", "service", "credentials")
"""What a previewed operation may change: the rest changes no decision."""
ACCOUNT_FIELDS: Final = """
    cycle_starts_at cycle_ends_at charged_octets settled_octets buckets offered_octets left_octets offers next_mark
    alarm told reserved_octets exhausted known bought changes_at
""".split()  # noqa: SIM905
NAS_FIELDS: Final = ("family", "operator", "address", "enforce_adopted", "garden_pool", "diameter", "realm")


class TooLarge(Exception):
    """The operations name more than a preview copies at once."""

    def __init__(self) -> None:
        super().__init__(f"the operations name more than {PREVIEW_NAMED_SERVICES_MAX} services; preview a part of them")


class Prediction:
    """What would be sent for one live session."""

    __slots__ = ("action", "cause", "confirmed", "desired", "difference", "nas", "reason", "service_id", "session_id")

    def __init__(self, session: SessionRecord, enforcement: Enforcement, difference: Difference) -> None:
        self.session_id = session.id
        self.nas = session.nas.name
        self.service_id = enforcement.service_id
        self.action: Action = enforcement.action
        self.reason = enforcement.reason
        self.cause = enforcement.cause
        self.confirmed = session.decision
        self.desired = enforcement.desired
        self.difference = difference


class Alike(Decisions):
    """Decisions by a candidate policy, one for all services whose facts cannot make them differ."""

    def __init__(self, store: Store, policy: Policy) -> None:
        super().__init__(store, policy)
        facts = {fact.name: fact for rule in policy.rules for fact in rule.when.facts.values()}
        self._readers = [reader_of(fact) for fact in facts.values() if fact.scope not in ("now", "plan", "quota")]
        self._kept: dict[tuple[Any, ...], list[tuple[int, int, DecisionRecord]]] = {}
        """Key -> (usage from, usage below, decision)."""

    def of_session(self, session: SessionRecord, at: float) -> DecisionRecord:
        """As the engine's; keeps nothing with the service."""
        service = session.service
        assert service is not None
        place = session_facts_of(session) if self.reads else None
        facts = facts_of(self.store, service, at, place, self.policy)
        key, used = self._key(facts)
        for begin, below, decision in self._kept.get(key, ()):
            if begin <= used < below:
                return decision
        whole = decide(facts, self.policy)
        decision = self.intern(whole)
        self._kept.setdefault(key, []).append((used, below_of(whole), decision))
        return decision

    def _key(self, facts: Facts) -> tuple[tuple[Any, ...], int]:
        service, quota = facts.service, facts.quota
        used = 0
        balance: tuple[Any, ...] = ()
        if quota is not None:
            used = quota.used
            # Below its mark a decision holds for any usage, as long as what is left falls with it.
            balance = (quota.octets, quota.used + quota.left, quota.changes_at, quota.cycle_ends_at)
        key = (
            id(facts.plan), service.state, service.pushed_state, service.hold_ends_at, service.activated_at,
            service.expires_at, service.grace_until, facts.subscriber.operator, facts.overrides,
            tuple([plan.id for plan in facts.add_ons]), balance, *[reader(facts, None) for reader in self._readers],
        )  # fmt: skip
        return key, used


class Predictor(Enforcer):
    """The engine's reconciler, which notes what it would send."""

    def __init__(self, real: Enforcer, store: Store, decisions: Decisions) -> None:
        super().__init__(store, decisions, real.addresses, real.network, real.settings)
        # Looked at only: what is under way, and who is being disconnected, is so for the copies too.
        self.in_flight = real.in_flight
        self.ending = real.ending
        self.releasing = real.releasing
        self.predictions: dict[int, Prediction] = {}

    def _open(
        self, session: SessionRecord, action: Action, reason: str, desired: DecisionRecord | None, at: float,
        cause: Cause, urgent: bool,
    ) -> Enforcement:  # fmt: skip
        enforcement = Enforcement(0, session, action, at)
        enforcement.reason, enforcement.desired, enforcement.cause = reason, desired, cause
        session.enforcement = enforcement
        difference = Difference(action)
        if action == "coa" and desired is not None:
            difference = self.network.difference(session, session.decision, desired)
        self.predictions[session.id] = Prediction(session, enforcement, difference)
        return enforcement

    def _finish(self, enforcement: Enforcement, state: EnforcementState, result: str, at: float) -> None:
        """Superseded: a predicted one is not sent, and a real one is left to the real reconciler."""
        session = self.store.sessions.get(enforcement.session_id)
        if session is not None and session.enforcement is enforcement:
            session.enforcement = None
        self.predictions.pop(enforcement.session_id, None)


class Scratch:
    """Copies of what the operations name, and of what the walk passes."""

    def __init__(self, real: Store, at: float) -> None:
        self.real = real
        store = self.store = Store(real.sealer)
        store.names, store.zone, store.policy = real.names, real.zone, real.policy
        store.interim_interval_s = real.interim_interval_s
        store.services_max = real.services_max
        store.last_no, store.last_event = real.last_no, real.last_event
        store.session_ids.last = real.session_ids.last
        store.offers.number = real.offers.number
        store.policy_version.number = real.policy_version.number
        store.add_on_uses = dict(real.add_on_uses)
        self._plans: dict[int, PlanRecord] = {}
        self._nases: dict[int, NasRecord] = {}
        for name, plan in real.plans.items():
            copy = PlanRecord(plan.no, plan.body)
            copy.services, copy.add_on_uses = plan.services, plan.add_on_uses
            self._plans[plan.no] = store.plans[name] = copy

    # What operations name

    def owner_of(self, operation: Operation) -> SubscriberRecord | None:
        """The real subscriber that an operation is about."""
        real = self.real
        if operation.kind == "subscriber":
            return real.subscribers.get(operation.id)
        if operation.kind not in ("service", "credentials"):
            return None
        service = real.services.get(operation.id)
        if service is not None:
            return service.subscriber
        return real.subscribers.get(str((operation.value or {}).get("subscriber_id")))

    async def take(self, operation: Operation, breathe: Callable[[], Awaitable[None]]) -> None:
        """Copy what an operation may change. breathe: called between one subscriber and the next. Raises TooLarge."""
        real, store = self.real, self.store
        key = (operation.kind, operation.id)
        if key in real.tombstones:
            store.tombstones[key] = real.tombstones[key]
        subscriber = self.owner_of(operation)
        if subscriber is not None:
            groups = (operation.value or {}).get("groups") if operation.kind == "subscriber" else None
            await self.take_subscriber(subscriber, groups, breathe)

    async def take_subscriber(
        self, real: SubscriberRecord, groups: Sequence[str] | None, breathe: Callable[[], Awaitable[None]]
    ) -> None:
        """Copy a subscriber with its services, and who shares a balance with one of them, or will in these groups."""
        store = self.store
        waiting = [real]
        copied: list[ServiceRecord] = []
        for names in (groups, real.body.groups):
            account = self.real.accounts.get(f"group/{real.body.operator}/{names[0]}") if names else None
            if account is not None:
                waiting += [member.subscriber for member in account.members]
        while waiting:
            owner = waiting.pop()
            if owner.body.id in store.subscribers:
                continue
            copy = store.subscribers[owner.body.id] = SubscriberRecord(owner.no, owner.body)
            if len(store.services) + len(owner.services) > PREVIEW_NAMED_SERVICES_MAX:
                raise TooLarge
            await breathe()
            for service in owner.services:
                made = self.copy_service(service, copy)
                copied.append(made)
                copy.services = (*copy.services, made)
                store.services[service.body.id] = store.services_by_no[service.no] = made
                for address in static_addresses(service.body):
                    store.statics[owner.body.operator, address] = made
                if service.account is not None:
                    waiting += [member.subscriber for member in service.account.members if member is not service]
        self._bind_accounts(copied)

    def _bind_accounts(self, copied: list[ServiceRecord]) -> None:
        """Give copied services their balances, shared where they are."""
        store = self.store
        for service in copied:
            real = self.real.services_by_no.get(service.no)
            if service.account is not None or real is None or real.account is None:
                continue
            members = [store.services_by_no.get(member.no) for member in real.account.members]
            copy = copy_account(real.account, [member for member in members if member is not None])
            for member in copy.members:
                member.account = copy
            if copy.kind != "service":
                store.accounts[f"{copy.kind}/{copy.key}"] = copy

    # Copies

    def copy_service(self, real: ServiceRecord, owner: SubscriberRecord) -> ServiceRecord:
        """A service with its live sessions, without its balance."""
        copy = ServiceRecord(real.no, real.body, owner, self._plans[real.plan.no])
        copy.cycle_starts_at, copy.cycle_ends_at = real.cycle_starts_at, real.cycle_ends_at
        copy.input_octets, copy.output_octets = real.input_octets, real.output_octets
        if real.marks is not None:
            copy.marks = Marks()
            copy.marks.holds, copy.marks.tags = real.marks.holds, real.marks.tags
        if real.live is not None and real.live.sessions:
            copy.live = Live()
            for session in real.live.sessions:
                made = self.copy_session(session, copy)
                copy.live.sessions.append(made)
                self.store.sessions[session.id] = made
        return copy

    def copy_session(self, real: SessionRecord, service: ServiceRecord) -> SessionRecord:
        """A live session."""
        nas = self._nases.get(real.nas.no)
        if nas is None:
            nas = self._nases[real.nas.no] = NasRecord(real.nas.no, real.nas.name, real.nas.client_name)
            for name in NAS_FIELDS:
                setattr(nas, name, getattr(real.nas, name))
        # What comparing and deciding read; by name, because this is done for every live session.
        copy = SessionRecord(real.id, nas, service)
        copy.state, copy.adopted = real.state, real.adopted
        copy.decision, copy.desired = real.decision, real.desired
        copy.diverged_at, copy.enforcement = real.diverged_at, real.enforcement
        copy.ends_at, copy.started_at, copy.authorised_at = real.ends_at, real.started_at, real.authorised_at
        copy.calling_station, copy.called_station = real.calling_station, real.called_station
        copy.nas_port_id, copy.circuit_id, copy.remote_id = real.nas_port_id, real.circuit_id, real.remote_id
        copy.protocol, copy.mobile, copy.shadowed = real.protocol, real.mobile, real.shadowed
        return copy

    def pass_by(self, real: ServiceRecord, with_siblings: bool) -> ServiceRecord:
        """A copy for one look; drop() it afterwards. with_siblings: the policy asks which of them are online."""
        owner = real.subscriber
        if with_siblings and len(owner.services) > 1:
            owner = SubscriberRecord(owner.no, owner.body)
            owner.services = tuple(self.copy_service(sibling, owner) for sibling in real.subscriber.services)
            copy = next(sibling for sibling in owner.services if sibling.no == real.no)
        else:
            copy = self.copy_service(real, owner)
        if real.account is not None:
            # Members are looked at for what their plans offer; those of others need neither sessions nor balance.
            members = [
                copy if member is real
                else ServiceRecord(member.no, member.body, member.subscriber, self._plans[member.plan.no])
                for member in real.account.members
            ]  # fmt: skip
            copy.account = copy_account(real.account, members)
        return copy

    def drop(self, copy: ServiceRecord, is_sibling: bool = False) -> None:
        """Take a copy apart."""
        account, owner = copy.account, copy.subscriber
        if account is not None:
            account.members.clear()
            copy.account = None
        if copy.live is not None:
            for session in copy.live.sessions:
                self.store.sessions.pop(session.id, None)
                session.service = session.enforcement = None
            copy.live.sessions.clear()
            copy.live = None
        if not is_sibling and owner is not self.real.subscribers.get(owner.body.id):
            for sibling in owner.services:
                if sibling is not copy:
                    self.drop(sibling, True)
            owner.services = ()

    def close(self) -> None:
        """Take everything apart."""
        store = self.store
        for service in list(store.services.values()):
            self.drop(service, True)
            service.decision = None
        for subscriber in store.subscribers.values():
            subscriber.services = ()
        store.services.clear()
        store.sessions.clear()
        store.orphaned.clear()


def copy_account(real: Account, members: list[ServiceRecord]) -> Account:
    """A balance with other members."""
    copy = Account(real.kind, real.key)
    for name in ACCOUNT_FIELDS:
        setattr(copy, name, getattr(real, name))
    copy.members = members
    return copy


class Preview:
    """One question: what would follow of a policy and operations."""

    def __init__(
        self, server: Server, policy: Policy | None, operations: Sequence[Operation], actor: Actor, at: float
    ) -> None:
        """policy: None for the one in force. at: epoch seconds."""
        self._server = server
        self._real = server.store
        self._operations = operations
        self._actor = actor
        self._policy = policy
        self.at = at
        self.scratch = Scratch(server.store, self.at)
        self.decisions = Alike(self.scratch.store, server.decisions.policy if policy is None else policy)
        self.enforcer = Predictor(server.enforcer, self.scratch.store, self.decisions)
        self.automator = Automator(self.scratch.store, self.decisions, self.enforcer)
        self.results: list[Result] = []
        self.looked_at = 0
        self.silent = 0
        """Sessions whose decision changes in something that nothing has to be sent for."""
        self.events: dict[str, int] = {}
        self._slice_ends = 0.0

    async def run(self) -> None:
        """Find out. Raises TooLarge."""
        self._slice_ends = time.perf_counter() + PREVIEW_SLICE_S
        store = self.scratch.store
        if self._policy is not None:
            store.affected_all = Cause(self._actor.name, self._actor.correlation_id)
            adopt_plans(store, self._policy, self.at)
        for operation in self._operations:
            if operation.kind in KINDS and not self._is_anothers(operation):
                await self.scratch.take(operation, self._breathe)
        named = set(store.services)
        before = {session.id: session.desired for session in store.sessions.values()}
        await self._apply()
        everything, plans = bool(store.affected_all), [plan.no for plan in store.affected_plans]
        await self._settle()
        for session in list(store.sessions.values()):
            self._count(session, before.get(session.id))
            await self._breathe()
        await self._pass(named, everything, set(plans))

    async def _apply(self) -> None:
        store = self.scratch.store
        store.cause = Cause(self._actor.name, self._actor.correlation_id)
        for operation in self._operations:
            await self._breathe()
            if operation.kind not in KINDS:
                detail = f"a {operation.kind} changes no decision"
                self.results.append(Result(operation.kind, operation.id, "error", None, "invalid", detail, "$.kind"))
                continue
            if self._is_anothers(operation):
                detail = "this belongs to another operator"
                self.results.append(Result(operation.kind, operation.id, "error", None, "forbidden", detail))
                continue
            if operation.value is not None:
                # Who may log in is no matter of live sessions, and other services' credentials are not here.
                operation.value.pop("credentials", None)
            refused = self._server.sync.refuse_attributes(operation)
            self.results.append(refused or apply_operation(store, operation, self._actor.operator, self.at))

    def _is_anothers(self, operation: Operation) -> bool:
        """Security: what the actor may not see is not even copied, so nothing is told of its sessions."""
        owner = self.scratch.owner_of(operation)
        return owner is not None and self._actor.operator not in (None, owner.body.operator)

    async def _settle(self) -> None:
        """Automations and comparisons over what was named, until nothing new comes of it."""
        store, enforcer = self.scratch.store, self.enforcer
        self._find_deeds()
        for _ in range(PREVIEW_ROUNDS_MAX):
            for event in store.new_events:
                self.events[event.type] = self.events.get(event.type, 0) + 1
            more = self.automator.run(self.at)
            more = enforcer.settle(self.at) or more
            await self._breathe()
            if not (more or store.new_events or store.affected or store.affected_plans or store.orphaned):
                return

    def _find_deeds(self) -> None:
        """What automations have done already for whom is named: they do not do it again."""
        real = self._server.automator.deeds
        for service in self.scratch.store.services.values():
            for automation in self.decisions.policy.automations:
                deed = real.get((automation.name, service.no))
                if deed is not None:
                    self.automator.deeds[automation.name, service.no] = deed

    async def _pass(self, named: set[str], everything: bool, plans: set[int]) -> None:
        """Walk over every other live session that may be affected."""
        if not everything and not plans:
            return
        real, scratch, operator = self._real, self.scratch, self._actor.operator
        siblings = self.decisions.policy.reads_online_kinds
        cause = scratch.store.cause
        no = 0
        while no < real.last_no:
            no += 1
            if not no % 64:
                await self._breathe()
            service = real.services_by_no.get(no)
            if service is None or service.live is None or service.body.id in named:
                continue
            if not everything and service.plan.no not in plans:
                continue
            if operator is not None and service.subscriber.body.operator != operator:
                continue
            copy = scratch.pass_by(service, siblings)
            live = copy.live
            if live is not None:
                known = [session.desired for session in live.sessions]
                self.enforcer.compare_service(copy, self.at, cause, False)
                for session, desired in zip(live.sessions, known, strict=True):
                    self._count(session, desired)
            scratch.drop(copy)
            if time.perf_counter() >= self._slice_ends:
                await self._breathe()

    def _count(self, session: SessionRecord, before: DecisionRecord | None) -> None:
        if session.state != ACTIVE:
            return
        self.looked_at += 1
        after = session.desired
        changed = before is not None and after is not None and before.id != after.id
        if changed and session.id not in self.enforcer.predictions:
            self.silent += 1

    async def _breathe(self) -> None:
        """Let the packets pass."""
        if time.perf_counter() >= self._slice_ends:
            await asyncio.sleep(0)
            self._slice_ends = time.perf_counter() + PREVIEW_SLICE_S

    # What is told

    async def show(self, limit: int, after: int) -> dict[str, Any]:
        """Groups of sessions to which the same happens, and a page of the sessions, by ascending id."""
        groups: dict[tuple[Any, ...], dict[str, Any]] = {}
        counts = {"coa": 0, "disconnect": 0}
        page: list[Prediction] = []
        newest = 0
        for prediction in self.enforcer.predictions.values():
            key = self._group_key(prediction)
            group = groups.get(key)
            if group is None:
                group = groups[key] = self._group(len(groups), prediction, key[0])
            group["count"] += 1
            group["nas"][prediction.nas] = group["nas"].get(prediction.nas, 0) + 1
            counts[prediction.action] += 1
            newest = max(newest, prediction.session_id)
            if prediction.session_id > after:
                page.append(prediction)
                if len(page) >= limit * 4:
                    page = first_sessions(page, limit)
            await self._breathe()
        page = first_sessions(page, limit)
        items = [self._item(prediction, groups[self._group_key(prediction)]["group"]) for prediction in page]
        return {
            "policy": self.decisions.policy.revision,
            "summary": {"sessions": self.looked_at, "changed": sum(counts.values()), **counts, "silent": self.silent},
            "groups": sorted(groups.values(), key=lambda group: -group["count"]),
            "items": items,
            "next": str(page[-1].session_id) if page and page[-1].session_id < newest else None,
            "operations": self.results,
            "events": self.events,
        }

    def _group_key(self, prediction: Prediction) -> tuple[Any, ...]:
        """What sessions of a group have in common; the family of the NAS first."""
        nas = self._real.nases.get(prediction.nas)
        confirmed, desired = prediction.confirmed, prediction.desired
        return (
            "" if nas is None else nas.family, prediction.action, prediction.reason, prediction.difference.attributes,
            0 if confirmed is None else confirmed.id, 0 if desired is None else desired.id,
        )  # fmt: skip

    @staticmethod
    def _group(number: int, prediction: Prediction, family: str) -> dict[str, Any]:
        confirmed, desired = prediction.confirmed, prediction.desired
        return {
            "group": number,
            "count": 0,
            "family": family,
            "action": prediction.action,
            "reason": prediction.reason,
            "attributes": prediction.difference.attributes,
            "nas": {},
            "from": None if confirmed is None else views.decision_view(confirmed.body),
            "to": None if desired is None else views.decision_view(desired.body),
        }

    def _item(self, prediction: Prediction, group: int) -> dict[str, Any]:
        session = self._real.sessions.get(prediction.session_id)
        return {
            "session_id": str(prediction.session_id),
            "service_id": prediction.service_id,
            "user_name": None if session is None else views.printable(session.user_name),
            "nas": prediction.nas,
            "group": group,
            "action": prediction.action,
            "keys": [] if session is None else keys_of(self._server, session, prediction.action),
            "attributes": prediction.difference.attributes,
            "caused_by": prediction.cause.actor,
        }

    def close(self) -> None:
        """Take the copies apart."""
        self.scratch.close()


def first_sessions(predictions: list[Prediction], count: int) -> list[Prediction]:
    """Those with the lowest session ids, in their order."""
    return sorted(predictions, key=lambda prediction: prediction.session_id)[:count]


def keys_of(server: Server, session: SessionRecord, action: Action) -> Iterable[tuple[str, str]]:
    """Attributes by which the request would name the session."""
    if session.protocol:
        return (("Session-Id", session.key.decode("utf-8", "replace")), ("Destination-Host", session.nas.name))
    client = server.clients.by_name.get(session.nas.client_name)
    if client is None:
        return ()
    done: Callable[..., None] = lambda reply: None  # noqa: E731
    job = Job(server.network, session, action, Change("none"), done)
    sets = job.key_sets(client)
    return server.network.show(b"".join(sets[0][1].values())) if sets else ()
