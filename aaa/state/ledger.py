"""Balances: what a service's cycle offers, what was charged, and what is told when it runs out.

A service has an account when its plan has a quota or tiers. Its own is opened when it is first charged, with what the
service used in the running cycle until then; so nothing needs to be written for one that never used anything, unless
what it leaves rolls over. A shared one (of a subscriber or a group) is there as long as a service draws from it,
because every member adds to it.

Reports only move `charged_octets` (aaa/state/sessions.py). The buckets are settled before anything changes them: a
bucket that is added, changed or over, the turn of the cycle. So the result does not depend on when it is settled. The
member with the lowest number leads a shared account: its cycle turns it, its plan's thresholds and actions hold for it.

Deterministic; times come in. Events are part of the change that causes them.
"""

from __future__ import annotations

from bisect import insort
from typing import Any

from msgspec import Struct

from aaa.limits import ACCOUNT_MEMBERS_MAX, TOP_UPS_COUNT_MAX, TOP_UPS_KNOWN_MAX
from aaa.model.entities import Subscriber
from aaa.model.events import Cause
from aaa.model.mobile import SY
from aaa.model.records import DOWN, NO_LIMIT, UP, Account, ServiceRecord, SubscriberRecord
from aaa.state.reservations import reserved_of
from aaa.state.store import Store
from policy import quota
from policy.decide import cycle_bounds
from policy.model import Exhausted, Plan, Purchase, QuotaFacts
from policy.quota import Allowance, Bucket, Buckets

QUOTA = Cause("quota")

OFFERING = ("active", "restricted", "suspended")
"""Billing's states in which a service brings its quota into a cycle."""


class State(Struct, frozen=True, gc=False):
    """An account as it is at a moment."""

    starts_at: float
    ends_at: float
    charged: int
    buckets: Buckets
    """Settled: they know of all that was charged."""
    turned: bool
    """In another cycle than the account was last seen in."""
    known: tuple[str, ...] = ()
    """Where it moves from one account to another."""

    def with_buckets(self, buckets: Buckets) -> State:
        """The same with others."""
        return State(self.starts_at, self.ends_at, self.charged, buckets, self.turned)


# What others ask


def quota_facts(store: Store, service: ServiceRecord, at: float) -> QuotaFacts | None:
    """The balance that a service draws from, as it is or would be at `at`; None: its plan has neither quota nor tiers.

    Changes nothing. Of a plan with tiers alone, `octets` is 0 and `left` NO_LIMIT.
    """
    if not service.plan.metered:
        return None
    account = service.account
    has_quota = service.plan.body.quota is not None
    if account is not None and at < account.changes_at and account.offers == store.offers.number:
        spent = account.charged_octets - account.settled_octets
        return QuotaFacts(
            octets=account.offered_octets,
            used=account.charged_octets,
            left=max(0, account.left_octets - spent) if has_quota else NO_LIMIT,
            changes_at=quota.first_change(account.buckets, spent, account.cycle_ends_at),
            cycle_ends_at=account.cycle_ends_at,
        )
    state = balance_at(store, service, at)
    return QuotaFacts(
        octets=quota.offered_octets(state.buckets),
        used=state.charged,
        left=quota.left_octets(state.buckets) if has_quota else NO_LIMIT,
        changes_at=quota.first_change(state.buckets, 0, state.ends_at),
        cycle_ends_at=state.ends_at,
    )


# An account at a moment


def balance_at(store: Store, service: ServiceRecord, at: float) -> State:
    """What a service with a quota or tiers draws from, settled, for who shows it. Changes nothing."""
    account = service.account
    return opening_state(store, service, at) if account is None else state_at(store, account, at)


def account_key(service: ServiceRecord) -> tuple[str, str]:
    """(kind, key) of the account that a service's plan and subscriber ask for."""
    owner = service.subscriber
    return shared_key(service.plan.body, owner.no, owner.body) or ("service", str(service.no))


def shared_key(plan: Plan, subscriber_no: int, owner: Subscriber) -> tuple[str, str] | None:
    """(kind, key) of the account that services of a plan and a subscriber share; None: each has its own."""
    if not is_shared(plan):
        return None
    if plan.quota is not None and plan.quota.shared == "group" and owner.groups:
        return "group", f"{owner.operator}/{owner.groups[0]}"
    # A subscriber of no group shares with itself.
    return "subscriber", str(subscriber_no)


def has_place(store: Store, key: tuple[str, str] | None, count: int = 1) -> bool:
    """Whether so many services may join a shared account."""
    account = None if key is None else store.accounts.get(f"{key[0]}/{key[1]}")
    return account is None or len(account.members) + count <= ACCOUNT_MEMBERS_MAX


def number_of(service: ServiceRecord) -> int:
    """Members stand in the order of their numbers, whatever the order of joining."""
    return service.no


def is_shared(plan: Plan) -> bool:
    """Whether a plan's balance is not the service's own."""
    return plan.quota is not None and plan.quota.shared != "service"


def counted_octets(service: ServiceRecord) -> int:
    """What of a service's usage in its running cycle its plan counts."""
    counts = service.plan.counts
    down = 0 if counts == UP else service.output_octets
    return down if counts == DOWN else down + service.input_octets


def allowance(service: ServiceRecord) -> Allowance | None:
    """What a service brings into a cycle that begins now."""
    plan = service.plan.body
    if plan.quota is None or service.body.state not in OFFERING:
        return None
    return Allowance(service.body.id, plan.quota.octets, plan.quota.roll_over_octets_max)


def opening_state(store: Store, service: ServiceRecord, at: float) -> State:
    """A service's own account as if it had been there all the time: its usage of the running cycle is charged."""
    starts_at, ends_at, charged = service.cycle_starts_at, service.cycle_ends_at, counted_octets(service)
    if at >= ends_at:
        starts_at, ends_at = cycle_bounds(service.body.cycle, service.plan.body, at, store.zone)
        charged = 0
    offered = allowance(service)
    buckets: Buckets = ()
    if offered is not None:
        buckets = quota.spend((Bucket("cycle", offered.id, offered.octets, ends_at),), charged)
    return State(starts_at, ends_at, charged, buckets, False)


def state_at(store: Store, account: Account, at: float) -> State:
    """What refresh() would make of an account."""
    buckets = quota.spend(account.buckets, account.charged_octets - account.settled_octets)
    if at < account.cycle_ends_at:
        if account.offers != store.offers.number:
            buckets = with_allowances(account, buckets)
        buckets = quota.end(buckets, at)
        return State(account.cycle_starts_at, account.cycle_ends_at, account.charged_octets, buckets, False)
    lead = account.members[0]
    cycle, plan = lead.body.cycle, lead.plan.body
    starts_at, ends_at = cycle_bounds(cycle, plan, at, store.zone)
    skipped = cycle_bounds(cycle, plan, starts_at - 1.0, store.zone)[0] >= account.cycle_ends_at
    offers = [offered for member in account.members if (offered := allowance(member)) is not None]
    return State(starts_at, ends_at, 0, quota.turn(buckets, offers, at, ends_at, skipped), True)


def with_allowances(account: Account, buckets: Buckets) -> Buckets:
    """The cycle's buckets as the members' plans say now: what was used of them stays."""
    found = {bucket.id: bucket for bucket in buckets if bucket.kind == "cycle"}
    for member in account.members:
        offered = allowance(member)
        if offered is None:
            continue
        bucket = found.get(offered.id)
        if bucket is None or bucket.octets != offered.octets:
            used = 0 if bucket is None else bucket.used
            made = Bucket("cycle", offered.id, offered.octets, account.cycle_ends_at, used)
            buckets = quota.place(buckets, made)
    return buckets


# Changes


def keep(store: Store, account: Account, state: State, moved: bool = False) -> None:
    """Make a state the account's. Where more changes than that the buckets know of usage, decisions look again.

    moved: what was charged is another's now, and with it the marks at which decisions end.
    """
    left = account.left_octets - (account.charged_octets - account.settled_octets)
    account.cycle_starts_at, account.cycle_ends_at = state.starts_at, state.ends_at
    account.charged_octets = account.settled_octets = state.charged
    account.buckets = state.buckets
    account.offered_octets = quota.offered_octets(state.buckets)
    account.left_octets = quota.left_octets(state.buckets)
    account.changes_at = quota.first_change(state.buckets, 0, state.ends_at)
    account.offers = store.offers.number
    if state.turned:
        account.told = ()
        account.bought = 0
    if state.turned or account.left_octets:
        account.exhausted = False
    if state.turned or moved or account.left_octets != max(0, left):
        revise_members(store, account)
    set_mark(account)
    store.touch_account(account)


def refresh(store: Store, account: Account, at: float) -> None:
    """Bring an account to `at`: its cycle turns, buckets end, changed quotas hold. Whoever decides calls this first."""
    if at >= account.changes_at or account.offers != store.offers.number:
        keep(store, account, state_at(store, account, at))


def settle(store: Store, account: Account, at: float) -> None:
    """As refresh(), and the buckets know of all that was charged."""
    is_settled = account.charged_octets == account.settled_octets
    if is_settled and at < account.changes_at and account.offers == store.offers.number:
        return
    keep(store, account, state_at(store, account, at))


def set_mark(account: Account) -> None:
    """When something is to be told again. The account is settled."""
    account.next_mark = NO_LIMIT
    lead = account.members[0].plan.body if account.members else None
    if lead is None or lead.quota is None:
        return
    offered, left = account.offered_octets, account.left_octets
    rooms = [quota.room_below(offered, left, t) for t in lead.quota.thresholds if t not in account.told and offered]
    if not account.exhausted:
        rooms.append(left)
    if rooms:
        account.next_mark = account.charged_octets + max(0, min(rooms))


def restore(account: Account) -> None:
    """Derive what a loaded account does not store. What plans say may have changed: the next look follows it."""
    settled = quota.spend(account.buckets, account.charged_octets - account.settled_octets)
    account.buckets, account.settled_octets = settled, account.charged_octets
    account.offered_octets = quota.offered_octets(settled)
    account.left_octets = quota.left_octets(settled)
    account.changes_at = quota.first_change(settled, 0, account.cycle_ends_at)
    account.offers = -1
    account.alarm = 0
    set_mark(account)


def open_account(store: Store, service: ServiceRecord, at: float, silent: bool = True) -> Account:
    """Give a service its own account. silent: what was passed by now was told by who counted until now."""
    account = Account("service", str(service.no))
    account.members.append(service)
    service.account = account
    account.reserved_octets = reserved_of(service)
    state = opening_state(store, service, at)
    account.left_octets = quota.left_octets(state.buckets)
    keep(store, account, state)
    if silent:
        hush(account)
    return account


def begin(store: Store, service: ServiceRecord, at: float) -> None:
    """The plan has a quota from now on: what was used in the running cycle counts, and may have used it up."""
    if service.account is None and not is_shared(service.plan.body):
        account = open_account(store, service, at, silent=False)
        tell(store, account, service, at)


def hush(account: Account) -> None:
    """Take for told what the account has passed."""
    quota_of_lead = account.members[0].plan.body.quota
    if quota_of_lead is None:
        return
    offered, left = account.offered_octets, account.left_octets
    if account.charged_octets and offered:
        passed = [t for t in quota_of_lead.thresholds if quota.room_below(offered, left, t) <= 0]
        account.told = tuple(sorted({*account.told, *passed}))
    account.exhausted = account.charged_octets > 0 and left == 0
    set_mark(account)


def follow(store: Store, service: ServiceRecord, at: float) -> None:
    """After a change of a service, its plan or its subscriber: it draws from the account that it should draw from.

    What it brought into one account it takes along into another, with what was used of it.
    """
    account = service.account
    kind, key = account_key(service)
    if not service.plan.metered:
        part(store, service, at)
    elif account is None or (account.kind, account.key) != (kind, key):
        brought = part(store, service, at)
        if kind != "service":
            join(store, service, kind, key, at, brought)
        elif brought is not None:
            own = service.account = Account(kind, key)
            own.members.append(service)
            own.reserved_octets = reserved_of(service)
            own.known = brought.known
            own.cycle_ends_at = brought.ends_at
            keep(store, own, brought.with_buckets(with_allowances(own, brought.buckets)))
            hush(own)
        elif service.plan.body.quota is not None and service.plan.body.quota.roll_over_octets_max:
            # What an unused cycle leaves rolls over, so somebody has to know that there was one.
            open_account(store, service, at)
    else:
        settle(store, account, at)
        changed = with_allowances(account, account.buckets)
        if changed != account.buckets:
            put_buckets(store, account, changed)
        tell(store, account, service, at)


def join(store: Store, service: ServiceRecord, kind: str, key: str, at: float, brought: State | None) -> None:
    """Draw from a shared account from now on. brought: what the service takes along; None: its usage so far."""
    account = store.accounts.get(f"{kind}/{key}")
    if account is None:
        account = store.accounts[f"{kind}/{key}"] = Account(kind, key)
        bounds = cycle_bounds(service.body.cycle, service.plan.body, at, store.zone)
        account.cycle_starts_at, account.cycle_ends_at = bounds
        account.offers = store.offers.number
    else:
        settle(store, account, at)
    if brought is None:
        brought = opening_state(store, service, at)
    service.account = account
    account.reserved_octets += reserved_of(service)
    insort(account.members, service, key=number_of)
    account.alarm = 0
    buckets = account.buckets
    offered = allowance(service)
    if offered is not None and not any(bucket.kind == "cycle" for bucket in brought.buckets):
        buckets = quota.place(buckets, Bucket("cycle", offered.id, offered.octets, account.cycle_ends_at))
    for bucket in brought.buckets:
        octets, used, ends_at = bucket.octets, bucket.used, bucket.ends_at
        if bucket.kind != "top_up":
            ends_at = account.cycle_ends_at
        if bucket.kind == "cycle" and offered is not None:
            octets = offered.octets
        for old in account.buckets:
            if old.id == bucket.id and old.kind == bucket.kind:
                used += old.used
        buckets = quota.place(buckets, Bucket(bucket.kind, bucket.id, octets, ends_at, used))
    account.charged_octets += brought.charged
    account.settled_octets += brought.charged
    account.known = (*account.known, *brought.known)[-TOP_UPS_KNOWN_MAX:]
    put_buckets(store, account, quota.end(buckets, at), moved=True)
    hush(account)


def part(store: Store, service: ServiceRecord, at: float) -> State | None:
    """Draw from the account no more; what the service takes along: its buckets, and what was charged to them.

    The last one takes all. None: it had no account.
    """
    account = service.account
    if account is None:
        return None
    settle(store, account, at)
    service.account = None
    account.reserved_octets -= reserved_of(service)
    account.members.remove(service)
    state = State(
        account.cycle_starts_at, account.cycle_ends_at, account.charged_octets, account.buckets, False, account.known
    )
    if not account.members:
        store.accounts.pop(f"{account.kind}/{account.key}", None)
        store.drop_account(account)
        return state
    mine = tuple(bucket for bucket in account.buckets if bucket.kind != "top_up" and bucket.id == service.body.id)
    charged = sum([bucket.used for bucket in mine])
    account.charged_octets -= charged
    account.settled_octets -= charged
    put_buckets(store, account, tuple(bucket for bucket in account.buckets if bucket not in mine), moved=True)
    tell(store, account, account.members[0], at)
    return State(state.starts_at, state.ends_at, charged, mine, False)


def leave(store: Store, service: ServiceRecord, at: float) -> None:
    """The service is no more: what it brought and nobody used is lost; what was charged stays charged."""
    account = service.account
    if account is None or len(account.members) == 1:
        part(store, service, at)
        return
    settle(store, account, at)
    service.account = None
    account.reserved_octets -= reserved_of(service)
    account.members.remove(service)
    kept = [
        quota.close(bucket) if bucket.kind != "top_up" and bucket.id == service.body.id else bucket
        for bucket in account.buckets
    ]
    put_buckets(store, account, tuple(bucket for bucket in kept if bucket.octets))
    tell(store, account, account.members[0], at)


def put_buckets(store: Store, account: Account, buckets: Buckets, moved: bool = False) -> None:
    """Other buckets hold from now on; the account is settled."""
    state = State(account.cycle_starts_at, account.cycle_ends_at, account.charged_octets, buckets, False)
    keep(store, account, state, moved)


def revise_members(store: Store, account: Account) -> None:
    """All who draw from an account may be due for another decision."""
    account.alarm = 0
    for member in account.members:
        store.revise(member)


def sound(store: Store, account: Account) -> None:
    """Usage has reached where the decision of a member changes: find which, and when the next one's does."""
    charged = account.charged_octets
    alarm = NO_LIMIT
    asked, store.cause = store.cause, QUOTA
    for member in account.members:
        if charged >= member.decided_below:
            store.affect(member)
        elif member.decided_below < alarm:
            alarm = member.decided_below
    store.cause = asked
    account.alarm = NO_LIMIT if account.kind == "service" else alarm


def watch(account: Account, below: int) -> None:
    """A member was decided about anew: its decision holds while less than `below` octets are charged."""
    if below < account.alarm:
        account.alarm = below


# What is told


def account_data(account: Account) -> dict[str, Any]:
    """The part that events about a balance share. The account is settled."""
    return {
        "account": account.kind,
        "used_octets": account.charged_octets,
        "octets": account.offered_octets,
        "left_octets": account.left_octets,
        "cycle_ends_at": account.cycle_ends_at,
    }


def tell(store: Store, account: Account, service: ServiceRecord, at: float) -> None:
    """Tell the thresholds that usage has passed, and that nothing is left. service: whose report or change it was."""
    while account.charged_octets >= account.next_mark:
        settle(store, account, at)
        lead = account.members[0].plan.body
        if lead.quota is None or account.charged_octets < account.next_mark:
            return
        offered, left = account.offered_octets, account.left_octets
        tell_counters(store, account)
        data = account_data(account)
        for percent in sorted({*lead.quota.thresholds}):
            if offered and percent not in account.told and quota.room_below(offered, left, percent) <= 0:
                account.told = (*account.told, percent)
                emit(store, "quota.threshold", service, at, {"percent": percent, **data})
        if left == 0 and not account.exhausted:
            account.exhausted = True
            emit(store, "quota.exhausted", service, at, data)
            act(store, account, service, at)
        set_mark(account)


def tell_counters(store: Store, account: Account) -> None:
    """A threshold is a status to who follows policy counters, whether or not it is another decision."""
    for member in account.members:
        if member.live is not None and any(session.protocol == SY for session in member.live.sessions):
            store.affect(member)


def act(store: Store, account: Account, service: ServiceRecord, at: float) -> None:
    """What the plan says is to be done when nothing is left, in order, until something was bought."""
    plan = account.members[0].plan.body
    for action in plan.on_exhausted:
        if action == "top_up":
            emit(store, "quota.top_up_requested", service, at, account_data(account))
        elif action == "notify":
            data = {"automation": f"plan:{plan.id}", "template": "quota.exhausted", **account_data(account)}
            emit(store, "notification", service, at, data)
        elif isinstance(action, Exhausted) and action.top_up and buy(store, account, service, action.top_up, at):
            return


def buy(store: Store, account: Account, service: ServiceRecord, purchase: Purchase, at: float) -> bool:
    """Apply an automatic top-up; False when the cycle's limit is reached."""
    if purchase.limit is not None and account.bought >= purchase.limit:
        return False
    account.bought += 1
    expires_at = None if purchase.valid_s is None else at + purchase.valid_s
    bucket_id = f"automatic/{int(account.cycle_starts_at)}/{account.bought}"
    add_top_up(store, account, service, bucket_id, purchase.octets, expires_at, at, automatic=True)
    return True


def emit(store: Store, kind: str, service: ServiceRecord, at: float, data: dict[str, Any]) -> None:
    """An event that a balance caused."""
    asked = store.cause
    store.cause = Cause("quota", asked.correlation_id, asked.audit, asked.depth)
    store.emit(kind, service.body.id, at, data, service)
    store.cause = asked


def add_top_up(
    store: Store, account: Account, service: ServiceRecord, id: str, octets: int, expires_at: float | None, at: float,
    automatic: bool = False,
) -> None:  # fmt: skip
    """Add octets to an account that has room for a bucket, and tell. expires_at None: with the running cycle."""
    settle(store, account, at)
    ends_at = account.cycle_ends_at if expires_at is None else expires_at
    if not automatic:
        account.known = (*account.known, id)[-TOP_UPS_KNOWN_MAX:]
    put_buckets(store, account, quota.place(account.buckets, Bucket("top_up", id, octets, ends_at)))
    data: dict[str, Any] = {"id": id, "added_octets": octets, **account_data(account)}
    if automatic:
        data["automatic"] = True
    if expires_at is not None:
        data["expires_at"] = expires_at
    if automatic:
        emit(store, "quota.topped_up", service, at, data)
    else:
        store.emit("quota.topped_up", service.body.id, at, data, service)


def give_back(store: Store, account: Account, octets: int, at: float) -> None:
    """Take back a charge of the running cycle, as far as there was one; what was used last is whole again first."""
    settle(store, account, at)
    left = octets = min(octets, account.charged_octets)
    buckets = list(account.buckets)
    for position in range(len(buckets) - 1, -1, -1):
        bucket = buckets[position]
        part = min(left, bucket.used)
        buckets[position] = Bucket(bucket.kind, bucket.id, bucket.octets, bucket.ends_at, bucket.used - part)
        left -= part
    account.charged_octets -= octets
    account.settled_octets -= octets
    put_buckets(store, account, tuple(buckets), moved=True)


def has_room(account: Account) -> bool:
    """Whether another top-up may be added."""
    unspent = [bucket for bucket in account.buckets if bucket.kind == "top_up" and bucket.left]
    return len(unspent) < TOP_UPS_COUNT_MAX


def account_of(store: Store, service: ServiceRecord, at: float) -> Account:
    """The account of a service with a quota or tiers, opened where it is not yet."""
    account = service.account
    return open_account(store, service, at) if account is None else account


def follow_subscriber(store: Store, subscriber: SubscriberRecord, at: float) -> None:
    """A subscriber's groups have changed: its services draw from the accounts that they should draw from."""
    for service in subscriber.services:
        follow(store, service, at)
