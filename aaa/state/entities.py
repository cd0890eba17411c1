"""Plans, subscribers, services and credentials as a fold over sync operations.

An operation is checked whole before anything changes; its answer says applied, stale, conflict or error. Deterministic.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from aaa.credential.identity import circuit_key, parse_circuit, parse_mac
from aaa.credential.verifier import from_password
from aaa.errors import AaaError
from aaa.limits import ACCOUNT_MEMBERS_MAX, HOLDS_COUNT_MAX, TAGS_COUNT_MAX, TOP_UPS_COUNT_MAX
from aaa.model.entities import (
    SERVICE_TRANSITIONS,
    Billing,
    Circuit,
    Credential,
    Hold,
    Mac,
    Password,
    Service,
    Subscriber,
    TopUp,
)
from aaa.model.events import Cause
from aaa.model.operations import Operation, Result
from aaa.model.records import CredentialRecord, PlanRecord, ServiceRecord, SubscriberRecord
from aaa.state import audit, holds, inventory, ledger
from aaa.state.operations import (
    Change,
    Refused,
    Settled,
    bury,
    check_scope,
    delete_revision,
    deletes,
    exhume,
    revision_of,
    settle,
    value_of,
)
from aaa.state.rows import service_row
from aaa.state.schema import Row
from aaa.state.sessions import turn_cycle
from aaa.state.store import WHOLE, Store, static_addresses
from policy.model import Plan

WHOLE_OPS = ("put", "patch", "repair")
"""Operations that lead to a whole entity."""
NO_BILLING = Billing()
SUBSCRIBER_FIELDS = ("name", "operator", "groups", "tags", "billing")
Tag = Annotated[str, Meta(min_length=1, max_length=64)]
T = TypeVar("T")


def encode(body: object) -> str:
    """JSON text."""
    return msgspec.json.encode(body).decode()


def apply_operation(store: Store, operation: Operation, operator: str | None, at: float) -> Result:
    """Apply one sync operation. operator: the scope of whoever asks; None: all. at: epoch seconds.

    The apply_ function of its kind checks everything before it changes anything, and raises Refused or Settled.

    On behalf of `store.cause`; whatever follows from it bears the number of its entry in the audit log.
    """
    kind, entity_id = operation.kind, operation.id
    asked = store.cause
    store.cause = Cause(asked.actor, asked.correlation_id, store.last_audit + 1, asked.depth)
    try:
        if not 1 <= len(entity_id) <= 253:
            raise Refused("invalid", "an id has 1 to 253 characters", "$.id")
        change = APPLY[kind](store, operation, operator, at)
        body = audit.change_body(change.before, change.after, change.more)
        audit.append(store, at, operation.op, kind, entity_id, body, change.operator)
    except Settled as settled:
        status: Any = settled.status
        return Result(kind, entity_id, status, settled.revision)
    except Refused as refused:
        return Result(kind, entity_id, "error", None, refused.error, refused.detail, refused.field)
    finally:
        store.cause = asked
    return Result(kind, entity_id, "applied", change.revision)


# Plans


def apply_plan(store: Store, operation: Operation, operator: str | None, at: float) -> Change:
    record = store.plans.get(operation.id)
    stored = record.body.revision if record is not None else None
    if operator is not None:
        raise Refused("forbidden", "plans are shared by all operators: a token without operator scope is needed")
    before = "" if record is None else encode(record.body)
    if deletes(operation):
        revision = delete_revision(store, operation, stored)
        if record is not None:
            if record.services or record.add_on_uses:
                raise Refused("in_use", f"{record.services + record.add_on_uses} services have this plan")
            del store.plans[operation.id]
            store.journal.append(Row.PLAN_DELETE, (record.no,))
        bury(store, "plan", operation.id, revision)
        return Change(revision, before)
    if operation.op not in WHOLE_OPS:
        raise Refused("invalid", f"a plan knows no {operation.op}", "$.op")
    plan: Plan = value_of(operation, record.body if record is not None else None, Plan)
    same = record is not None and record.body == plan
    settle(store, "plan", operation.id, plan.revision, stored, same, operation.op == "repair")
    if record is not None and record.services and shares(record.body) != shares(plan):
        detail = f"{record.services} services have this plan: sharing its quota otherwise needs another plan"
        raise Refused("in_use", detail, "$.quota.shared")
    exhume(store, "plan", operation.id)
    return Change(plan.revision, before, put_plan(store, plan, at))


def put_plan(store: Store, plan: Plan, at: float) -> str:
    """Take a plan over as it is, and tell where it replaces one; returns its JSON."""
    record = store.plans.get(plan.id)
    is_new = record is None
    kind, was = plan.kind, shares(plan)
    if record is None:
        record = store.plans[plan.id] = PlanRecord(store.next_no(), plan)
        record.add_on_uses = store.add_on_uses.get(plan.id, 0)
    else:
        kind, was = record.body.kind, shares(record.body)
        if record.body.quota != plan.quota:
            store.offers.number += 1
    record.use(plan)
    record.version += 1
    record.plain = {}
    if record.services:
        store.affected_plans[record] = store.cause
    if record.add_on_uses or kind != plan.kind:
        # Services that have it as an add-on, and siblings of those that have it, are not known by the plan.
        store.policy_version.number += 1
        store.affected_all = store.cause
    if was != shares(plan):
        # Only a policy file does this: a push is refused. Cost: about 60 ms for a million services.
        for service in list(store.services.values()):
            if service.plan is record:
                ledger.follow(store, service, at)
    text = encode(plan)
    store.journal.append(Row.PLAN, (record.no, text))
    if not is_new:
        store.emit("plan.changed", plan.id, at, {"revision": plan.revision, "services": record.services})
    return text


def shares(plan: Plan) -> str:
    """How a plan's balance is shared; "service" also where there is none."""
    return plan.quota.shared if plan.quota is not None else "service"


# Subscribers


def apply_subscriber(store: Store, operation: Operation, operator: str | None, at: float) -> Change:
    record = store.subscribers.get(operation.id)
    old = record.body if record is not None else None
    stored = old.revision if old is not None else None
    check_scope(operator, old.operator if old is not None else None)
    if deletes(operation):
        revision = delete_revision(store, operation, stored)
        if record is not None:
            if record.services:
                raise Refused("in_use", f"{len(record.services)} services belong to this subscriber")
            del store.subscribers[operation.id]
            store.journal.append(Row.SUBSCRIBER_DELETE, (record.no,))
        bury(store, "subscriber", operation.id, revision)
        return Change(revision) if old is None else Change(revision, encode(old), "", old.operator)
    if operation.op not in WHOLE_OPS:
        raise Refused("invalid", f"a subscriber knows no {operation.op}", "$.op")
    body: Subscriber = value_of(operation, old, Subscriber)
    check_scope(operator, body.operator)
    settle(store, "subscriber", operation.id, body.revision, stored, old == body, operation.op == "repair")
    if old is not None and record is not None and record.services and old.operator != body.operator:
        raise Refused("invalid", "a subscriber with services cannot move to another operator", "$.operator")
    if old is not None and record is not None and old.groups[:1] != body.groups[:1]:
        for service in record.services:
            key = ledger.shared_key(service.plan.body, record.no, body)
            if not ledger.has_place(store, key, len(record.services)):
                raise Refused("limit", f"more than {ACCOUNT_MEMBERS_MAX} services would share a balance", "$.groups")
    exhume(store, "subscriber", operation.id)
    if record is None:
        record = SubscriberRecord(store.next_no(), body)
        store.subscribers[operation.id] = record
    record.body = body
    text = encode(body)
    store.journal.append(Row.SUBSCRIBER, (record.no, text))
    if old is None:
        return Change(body.revision, "", text, body.operator)
    for service in record.services:
        store.revise(service)
    if store.policy.reminders and old.billing != body.billing:
        store.rescheduled.extend(record.services)
    if old.groups[:1] != body.groups[:1]:
        ledger.follow_subscriber(store, record, at)
    tell_subscriber(store, old, body, at)
    return Change(body.revision, encode(old), text, body.operator)


def tell_subscriber(store: Store, old: Subscriber, body: Subscriber, at: float) -> None:
    """What of a subscriber has changed."""
    fields = [name for name in SUBSCRIBER_FIELDS if getattr(old, name) != getattr(body, name)]
    if not fields:
        return
    data: dict[str, Any] = {"fields": fields, "revision": body.revision}
    store.emit("subscriber.changed", body.id, at, data, None, body.operator, body.id)
    if "billing" in fields:
        was, now = old.billing or NO_BILLING, body.billing or NO_BILLING
        data = {
            "overdue_days": now.overdue_days,
            "previous_overdue_days": was.overdue_days,
            "balance": now.balance,
            "previous_balance": was.balance,
            "credit_limit": now.credit_limit,
        }
        store.emit("subscriber.billing_changed", body.id, at, data, None, body.operator, body.id)


# Services


def apply_service(store: Store, operation: Operation, operator: str | None, at: float) -> Change:
    record = store.services.get(operation.id)
    stored = record.body.revision if record is not None else None
    check_scope(operator, record.subscriber.body.operator if record is not None else None)
    if operation.op in MARKS:
        if record is None:
            raise Refused("not_found", f"no service {operation.id!r}")
        holds.expire(store, record, at)
        return MARKS[operation.op](store, record, operation.value or {}, at)
    if deletes(operation):
        revision = delete_revision(store, operation, stored)
        change = Change(revision)
        if record is not None:
            change = Change(revision, encode(record.body), "", record.subscriber.body.operator)
            drop_service(store, record, at)
        bury(store, "service", operation.id, revision)
        return change
    reason = ""
    if operation.op == "state":
        value = operation.value or {}
        reason = value.get("reason") or ""
        unknown = set(value) - {"state", "revision", "reason"}
        if unknown or "state" not in value or not isinstance(reason, str):
            raise Refused("invalid", "a state operation has state, revision and reason", "$.value")
        operation = Operation("patch", "service", operation.id, {"state": value["state"]}, revision_of(operation))
    elif operation.op not in WHOLE_OPS:
        raise Refused("invalid", f"a service knows no {operation.op}", "$.op")
    old = record.body if record is not None else None
    body: Service = value_of(operation, old, Service)
    credentials = body.credentials
    body.credentials = None
    usage = body.usage
    body.usage = None
    subscriber = store.subscribers.get(body.subscriber_id)
    plan = store.plans.get(body.plan_id)
    same = old == body
    if same and record is not None and credentials is not None:
        same = same_credentials(store, record, credentials)
    settle(store, "service", operation.id, body.revision, stored, same, operation.op == "repair")
    if subscriber is None:
        raise Refused("missing_reference", f"no subscriber {body.subscriber_id!r}", "$.subscriber_id")
    check_scope(operator, subscriber.body.operator)
    if plan is None:
        raise Refused("missing_reference", f"no plan {body.plan_id!r}", "$.plan_id")
    if record is not None:
        if record.subscriber is not subscriber:
            raise Refused("invalid", "a service cannot move to another subscriber", "$.subscriber_id")
        if body.state != record.body.state and body.state not in SERVICE_TRANSITIONS[record.body.state]:
            allowed = ", ".join(SERVICE_TRANSITIONS[record.body.state]) or "none"
            impossible = f"{record.body.state} -> {body.state} is impossible; allowed: {allowed}"
            raise Refused("invalid_transition", impossible, "$.state")
    elif len(store.services) >= store.services_max:
        raise Refused("limit", f"{store.services_max} services are there already; see server.services_max")
    key = ledger.shared_key(plan.body, subscriber.no, subscriber.body)
    if key is not None and (record is None or record.plan is not plan) and not ledger.has_place(store, key):
        raise Refused("limit", f"{ACCOUNT_MEMBERS_MAX} services share this balance already", "$.plan_id")
    check_moments(body)
    statics = check_addresses(store, record, subscriber.body.operator, body)
    made = None
    if credentials is not None:
        made = make_credentials(store, record, subscriber.body.operator, credentials)
    exhume(store, "service", operation.id)
    # One string object each for what a million services share.
    body.plan_id, body.subscriber_id = plan.body.id, subscriber.body.id
    if body.id == body.subscriber_id:
        body.id = body.subscriber_id
    was = "pending"
    old_plan = plan
    if record is None:
        record = ServiceRecord(store.next_no(), body, subscriber, plan)
        store.services[body.id] = record
        store.services_by_no[record.no] = record
        subscriber.services = (*subscriber.services, record)
        plan.services += 1
        if usage is not None:
            turn_cycle(record, at, store.zone)
            record.input_octets, record.output_octets = usage.input_octets, usage.output_octets
            store.touch_usage(record)
    else:
        holds.expire(store, record, at)
        was = holds.told_state(record)
        old_plan = record.plan
    if old_plan is not plan:
        old_plan.services -= 1
        plan.services += 1
        record.plan = plan
        # The sum of versions must never come back to an old value under another plan.
        record.version += 1 + max(0, old_plan.version - plan.version)
        if record.live is not None and old_plan.body.kind != plan.body.kind:
            revise_siblings(store, record)
    if statics or record.body.static_ip is not None or record.body.static_prefix is not None:
        store.keep_statics(record, [] if old is None else static_addresses(record.body), statics)
    record.use(body)
    store.revise(record)
    if body.expires_at is not None or store.policy.reminders:
        store.rescheduled.append(record)
    record.decision = None
    more: dict[str, Any] = {"reason": reason} if reason else {}
    if made is not None:
        more["credentials"] = credential_names(made)
        replace_credentials(store, record, made)
    row = service_row(store.sealer, record)
    store.journal.append(Row.SERVICE, row)
    if body.add_ons or (old is not None and old.add_ons):
        count_add_ons(store, old.add_ons if old is not None else (), body.add_ons)
    text: str = row[3]
    owner = subscriber.body.operator
    if old is None:
        if plan.metered:
            ledger.follow(store, record, at)
        data = {"state": body.state, "plan_id": body.plan_id, "revision": body.revision}
        store.emit("service.created", body.id, at, data, record)
        return Change(body.revision, "", text, owner, more)
    if old_plan is not plan:
        data = {"plan_id": body.plan_id, "previous_plan_id": old_plan.body.id}
        store.emit("service.plan_changed", body.id, at, data, record)
        if plan.metered and not old_plan.metered:
            ledger.begin(store, record, at)
    if plan.metered or record.account is not None:
        ledger.follow(store, record, at)
    if old.state != body.state:
        holds.tell_state(store, record, was, at, reason)
        if body.state == "terminated":
            inventory.release_equipment(store, record, at)
            tell_end(store, record, was, at, reason)
    return Change(body.revision, encode(old), text, owner, more)


def revise_siblings(store: Store, record: ServiceRecord) -> None:
    """What kind of service is online has changed, which decisions of the subscriber's others may read."""
    for sibling in record.subscriber.services:
        if sibling is not record:
            store.revise(sibling)


def tell_end(store: Store, record: ServiceRecord, was: str, at: float, reason: str = "") -> None:
    """A service has ended for good."""
    data = {"previous_state": was, "reason": reason} if reason else {"previous_state": was}
    store.emit("service.terminated", record.body.id, at, data, record)


def count_add_ons(store: Store, old: tuple[str, ...], new: tuple[str, ...]) -> None:
    """A service has other add-ons; plans know how many have them."""
    uses = store.add_on_uses
    for names, step in ((old, -1), (new, 1)):
        for name in names:
            count = uses.get(name, 0) + step
            if count:
                uses[name] = count
            else:
                uses.pop(name, None)
            plan = store.plans.get(name)
            if plan is not None:
                plan.add_on_uses = count


def drop_service(store: Store, record: ServiceRecord, at: float) -> None:
    """Take a service out of every index; its live sessions are owned by nobody, until they are disconnected."""
    holds.expire(store, record, at)
    was = holds.told_state(record)
    inventory.release_equipment(store, record, at)
    ledger.leave(store, record, at)
    count_add_ons(store, record.body.add_ons, ())
    replace_credentials(store, record, ())
    store.keep_statics(record, static_addresses(record.body), [])
    del store.services[record.body.id]
    del store.services_by_no[record.no]
    subscriber = record.subscriber
    subscriber.services = tuple(service for service in subscriber.services if service is not record)
    record.plan.services -= 1
    store.affected.pop(record, None)
    if record.live is not None:
        revise_siblings(store, record)
        for session in list(record.live.sessions):
            session.service = None
            session.former = (record.body.id, subscriber.body.id, subscriber.body.operator)
            store.orphaned.append((session, store.cause))
            store.touch_session(session, WHOLE)
        record.live = None
    store.journal.append(Row.SERVICE_DELETE, (record.no,))
    store.journal.append(Row.USAGE_DELETE, (record.no,))
    if record.marks is not None:
        for hold in record.marks.holds:
            store.journal.settle(Row.HOLD, Row.HOLD_DELETE, (record.no, hold.cause), None)
        store.journal.settle(Row.TAG, Row.TAG_DELETE, (record.no,), None)
        record.marks = None
    if was != "terminated":
        tell_end(store, record, was, at)


# What others than billing do to a service: no revision, because billing's entity stays as it is


def apply_hold(store: Store, record: ServiceRecord, value: dict[str, Any], at: float) -> Change:
    if record.body.state == "terminated":
        raise Refused("invalid_transition", "the service is terminated", "$.op")
    value = {"cause": "admin", **value}
    value["actor"], value["at"] = store.cause.actor, at
    if value.get("until") is not None:
        value["until"] = moment(value["until"], "$.until")
    hold = converted(value, Hold)
    if hold.until is not None and hold.until <= at:
        raise Refused("invalid", "a hold ends in the future", "$.until")
    held = () if record.marks is None else record.marks.holds
    old = next((each for each in held if each.cause == hold.cause), None)
    if old is not None and (old.kind, old.until, old.reason) == (hold.kind, hold.until, hold.reason):
        raise Settled("stale", record.body.revision)
    if old is None and len(held) >= HOLDS_COUNT_MAX:
        raise Refused("limit", f"a service has up to {HOLDS_COUNT_MAX} holds")
    holds.put_hold(store, record, hold, at)
    before = "" if old is None else encode(old)
    return Change(record.body.revision, before, encode(hold), record.subscriber.body.operator)


def apply_restore(store: Store, record: ServiceRecord, value: dict[str, Any], at: float) -> Change:
    unknown = set(value) - {"cause", "reason"}
    cause = value.get("cause")
    if unknown or not (cause is None or isinstance(cause, str)):
        raise Refused("invalid", "a restore has the cause of a hold, or none for all of them", "$.value")
    held = () if record.marks is None else record.marks.holds
    lifted = tuple(hold for hold in held if cause is None or hold.cause == cause)
    if not lifted:
        raise Settled("stale", record.body.revision)
    holds.lift_holds(store, record, lifted, at, "restore")
    return Change(record.body.revision, encode(lifted), "", record.subscriber.body.operator)


def apply_tag(store: Store, record: ServiceRecord, value: dict[str, Any], at: float) -> Change:
    change = converted(value, TagChange)
    old = holds.tags_of(record)
    new = tuple(sorted({*old, *change.add} - {*change.remove}))
    if new == old:
        raise Settled("stale", record.body.revision)
    if len(new) > TAGS_COUNT_MAX:
        raise Refused("limit", f"a service has up to {TAGS_COUNT_MAX} tags")
    holds.set_tags(store, record, new)
    return Change(record.body.revision, encode(old), encode(new), record.subscriber.body.operator)


def apply_top_up(store: Store, record: ServiceRecord, value: dict[str, Any], at: float) -> Change:
    top_up = converted(value, TopUp)
    expires_at = None if top_up.expires_at is None else moment(top_up.expires_at, "$.expires_at")
    if record.plan.body.quota is None:
        raise Refused("invalid", f"plan {record.plan.body.id!r} has no quota to add to", "$.op")
    account = ledger.account_of(store, record, at)
    if top_up.id in account.known:
        raise Settled("stale", record.body.revision)
    if expires_at is not None and expires_at <= at:
        raise Refused("invalid", "a top-up expires in the future", "$.expires_at")
    ledger.settle(store, account, at)
    if not ledger.has_room(account):
        raise Refused("limit", f"a balance has up to {TOP_UPS_COUNT_MAX} top-ups that are not used up")
    ledger.add_top_up(store, account, record, top_up.id, top_up.octets, expires_at, at)
    return Change(record.body.revision, "", encode(top_up), record.subscriber.body.operator)


class TagChange(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """Value of a tag operation."""

    add: tuple[Tag, ...] = ()
    remove: tuple[Tag, ...] = ()


def converted(value: dict[str, Any], struct: type[T]) -> T:
    """The value of an operation as a struct."""
    try:
        return msgspec.convert(value, struct)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at `")
        raise Refused("invalid", detail, path.rstrip("`") or "$") from None


def moment(value: object, field: str) -> float:
    """Epoch seconds of a pushed moment: RFC 3339 text or a number."""
    if isinstance(value, str):
        try:
            value = msgspec.convert(value, datetime)
        except msgspec.ValidationError as error:
            raise Refused("invalid", str(error), field) from None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise Refused("invalid", "a moment needs a time zone", field)
        return value.timestamp()
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise Refused("invalid", "a moment is RFC 3339 text or epoch seconds", field)


MARKS = {"hold": apply_hold, "restore": apply_restore, "tag": apply_tag, "top_up": apply_top_up}


def check_moments(body: Service) -> None:
    """Moments as text are as moments in seconds: none is before 1970, where no calendar of ours goes."""
    for name in ("activated_at", "expires_at", "grace_until"):
        value = getattr(body, name)
        if isinstance(value, datetime) and value.timestamp() < 0:
            raise Refused("invalid", "is before 1970", f"$.{name}")


def check_addresses(store: Store, record: ServiceRecord | None, operator: str, body: Service) -> list[bytes]:
    """A service's own addresses: what they claim to be, and no other service's of the operator."""
    for name in ("static_ip", "static_prefix"):
        try:
            found = static_addresses(Service(0, "", "", **{name: getattr(body, name)}))
        except ValueError as error:
            raise Refused("invalid", str(error), f"$.{name}") from None
        for address in found:
            owner = store.statics.get((operator, address))
            if owner is not None and owner is not record:
                raise Refused("duplicate_address", f"service {owner.body.id!r} has this address", f"$.{name}")
    return static_addresses(body)


# Credentials


def apply_credentials(store: Store, operation: Operation, operator: str | None, at: float) -> Change:
    record = store.services.get(operation.id)
    if record is None:
        raise Refused("missing_reference", f"no service {operation.id!r}", "$.id")
    check_scope(operator, record.subscriber.body.operator)
    if operation.op not in ("put", "delete"):
        raise Refused("invalid", "credentials are put whole or deleted", "$.op")
    credentials: list[Credential] = []
    if operation.op == "put":
        value = operation.value or {}
        try:
            credentials = msgspec.convert(value.get("credentials"), list[Credential])
        except msgspec.ValidationError as error:
            detail, _, path = str(error).partition(" - at `$")
            raise Refused("invalid", detail, f"$.credentials{path.rstrip('`')}") from None
    value = operation.value or {}
    revision = operation.revision if operation.revision is not None else value.get("revision")
    stored = record.body.revision
    if revision is not None:
        if not isinstance(revision, int) or not 0 <= revision < 2**63:
            raise Refused("invalid", "a revision is a whole number", "$.revision")
        settle(store, "service", operation.id, revision, stored, same_credentials(store, record, tuple(credentials)))
    made = make_credentials(store, record, record.subscriber.body.operator, tuple(credentials))
    if revision is not None:
        record.body.revision = revision
    before = encode(credential_names(record.credentials))
    replace_credentials(store, record, made)
    store.journal.append(Row.SERVICE, service_row(store.sealer, record))
    owner = record.subscriber.body.operator
    return Change(record.body.revision, before, encode(credential_names(made)), owner)


def make_credentials(
    store: Store, record: ServiceRecord | None, operator: str, credentials: tuple[Credential, ...]
) -> tuple[CredentialRecord, ...]:
    """Records of pushed credentials, checked for form and uniqueness; not yet in the indexes."""
    made: list[CredentialRecord] = []
    for position, credential in enumerate(credentials):
        field = f"$.credentials[{position}]"
        try:
            kind, key, verifier = read_credential(store, credential)
        except (AaaError, ValueError) as error:
            raise Refused("invalid", str(error), field) from None
        taken = store.index_of(kind, operator).get(key)
        if taken is not None and taken.service is not record:
            raise Refused("duplicate_credential", f"this {kind} already names service {taken.service.body.id!r}", field)
        if any(other.kind == kind and other.key == key for other in made):
            raise Refused("duplicate_credential", f"this {kind} is given twice", field)
        made.append(CredentialRecord(record, kind, key, verifier))  # type: ignore[arg-type]
    return tuple(made)


def read_credential(store: Store, credential: Credential) -> tuple[str, bytes, object]:
    """(kind, key as the network sends it, verifier or None). Raises ValueError or CredentialError."""
    if isinstance(credential, Password):
        return "password", store.names.fold(credential.username.encode()), from_password(credential)
    if isinstance(credential, Mac):
        return "mac", parse_mac(credential.mac), None
    assert isinstance(credential, Circuit)
    key = circuit_key(optional_circuit(credential.circuit_id), optional_circuit(credential.remote_id, "remote_id"))
    if key is None:
        raise ValueError("a circuit needs circuit_id, remote_id or both")
    return "circuit", key, None


def optional_circuit(text: str | None, field: str = "circuit_id") -> bytes | None:
    """Octets of one part of a circuit credential."""
    return None if text is None else parse_circuit(text, field)


def same_credentials(store: Store, record: ServiceRecord, credentials: tuple[Credential, ...]) -> bool:
    """Whether a push repeats the stored credentials."""
    try:
        pushed = [read_credential(store, credential) for credential in credentials]
    except (AaaError, ValueError):
        return False
    return pushed == [(credential.kind, credential.key, credential.verifier) for credential in record.credentials]


def credential_names(credentials: tuple[CredentialRecord, ...]) -> list[str]:
    """What the audit log tells of credentials: kinds and names, no secrets."""
    return [
        f"{each.kind} {each.key.decode('utf-8', 'replace') if each.kind == 'password' else each.key.hex()}"
        for each in credentials
    ]


def replace_credentials(store: Store, record: ServiceRecord, made: tuple[CredentialRecord, ...]) -> None:
    """Swap a service's credentials in the indexes."""
    operator = record.subscriber.body.operator
    for credential in record.credentials:
        store.index_of(credential.kind, operator).pop(credential.key, None)
    for credential in made:
        credential.service = record
        store.index_of(credential.kind, operator)[credential.key] = credential
    record.credentials = made


APPLY = {
    "plan": apply_plan,
    "subscriber": apply_subscriber,
    "service": apply_service,
    "credentials": apply_credentials,
    **dict.fromkeys(inventory.FOLDS, inventory.apply),
}
"""By kind of entity. Each says what it changed, or raises Settled or Refused."""
