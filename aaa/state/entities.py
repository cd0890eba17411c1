"""Plans, subscribers, services and credentials as a fold over sync operations.

An operation is checked whole before anything changes; its answer says applied, stale, conflict or error. Deterministic.
"""

from __future__ import annotations

from typing import Any

import msgspec

from aaa.credential.identity import circuit_key, parse_circuit, parse_mac
from aaa.credential.verifier import from_password
from aaa.errors import AaaError
from aaa.model.entities import (
    SERVICE_TRANSITIONS,
    Circuit,
    Credential,
    Mac,
    Password,
    Service,
    Subscriber,
)
from aaa.model.operations import Operation, Result
from aaa.model.records import CredentialRecord, PlanRecord, ServiceRecord, SubscriberRecord
from aaa.state.operations import (
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
from aaa.state.schema import Row
from aaa.state.sessions import turn_cycle
from aaa.state.store import Store, service_row, static_addresses
from policy.model import Plan


def apply_operation(store: Store, operation: Operation, operator: str | None, at: float) -> Result:
    """Apply one sync operation. operator: the scope of whoever asks; None: all. at: epoch seconds."""
    kind, entity_id = operation.kind, operation.id
    try:
        if not 1 <= len(entity_id) <= 253:
            raise Refused("invalid", "an id has 1 to 253 characters", "$.id")
        revision = APPLY[kind](store, operation, operator, at)
    except Settled as settled:
        status: Any = settled.status
        return Result(kind, entity_id, status, settled.revision)
    except Refused as refused:
        return Result(kind, entity_id, "error", None, refused.error, refused.detail, refused.field)
    return Result(kind, entity_id, "applied", revision)


# Plans


def apply_plan(store: Store, operation: Operation, operator: str | None, at: float) -> int:
    record = store.plans.get(operation.id)
    stored = record.body.revision if record is not None else None
    if operator is not None:
        raise Refused("forbidden", "plans are shared by all operators: a token without operator scope is needed")
    if deletes(operation):
        revision = delete_revision(store, operation, stored)
        if record is not None:
            if record.services:
                raise Refused("in_use", f"{record.services} services have this plan")
            del store.plans[operation.id]
            store.journal.append(Row.PLAN_DELETE, (record.no,))
        bury(store, "plan", operation.id, revision)
        return revision
    if operation.op == "state":
        raise Refused("invalid", "a plan has no state", "$.op")
    plan: Plan = value_of(operation, record.body if record is not None else None, Plan)
    same = record is not None and record.body == plan
    settle(store, "plan", operation.id, plan.revision, stored, same, operation.op == "repair")
    exhume(store, "plan", operation.id)
    if record is None:
        record = PlanRecord(store.next_no(), plan)
        store.plans[operation.id] = record
    record.body = plan
    record.version += 1
    record.plain = {}
    store.journal.append(Row.PLAN, (record.no, msgspec.json.encode(plan).decode()))
    return plan.revision


# Subscribers


def apply_subscriber(store: Store, operation: Operation, operator: str | None, at: float) -> int:
    record = store.subscribers.get(operation.id)
    stored = record.body.revision if record is not None else None
    check_scope(operator, record.body.operator if record is not None else None)
    if deletes(operation):
        revision = delete_revision(store, operation, stored)
        if record is not None:
            if record.services:
                raise Refused("in_use", f"{len(record.services)} services belong to this subscriber")
            del store.subscribers[operation.id]
            store.journal.append(Row.SUBSCRIBER_DELETE, (record.no,))
        bury(store, "subscriber", operation.id, revision)
        return revision
    if operation.op == "state":
        raise Refused("invalid", "a subscriber has no state; its services have", "$.op")
    body: Subscriber = value_of(operation, record.body if record is not None else None, Subscriber)
    check_scope(operator, body.operator)
    same = record is not None and record.body == body
    settle(store, "subscriber", operation.id, body.revision, stored, same, operation.op == "repair")
    if record is not None and record.services and record.body.operator != body.operator:
        raise Refused("invalid", "a subscriber with services cannot move to another operator", "$.operator")
    exhume(store, "subscriber", operation.id)
    if record is None:
        record = SubscriberRecord(store.next_no(), body)
        store.subscribers[operation.id] = record
    record.body = body
    for service in record.services:
        service.version += 1
    store.journal.append(Row.SUBSCRIBER, (record.no, msgspec.json.encode(body).decode()))
    return body.revision


# Services


def apply_service(store: Store, operation: Operation, operator: str | None, at: float) -> int:
    record = store.services.get(operation.id)
    stored = record.body.revision if record is not None else None
    check_scope(operator, record.subscriber.body.operator if record is not None else None)
    if deletes(operation):
        revision = delete_revision(store, operation, stored)
        if record is not None:
            drop_service(store, record)
        bury(store, "service", operation.id, revision)
        return revision
    if operation.op == "state":
        value = operation.value or {}
        unknown = set(value) - {"state", "revision", "reason"}
        if unknown or "state" not in value:
            raise Refused("invalid", "a state operation has state, revision and reason", "$.value")
        operation = Operation(
            "patch", "service", operation.id, {"state": value["state"]}, revision_of(operation)
        )
    body: Service = value_of(operation, record.body if record is not None else None, Service)
    credentials = body.credentials
    body.credentials = None
    usage = body.usage
    body.usage = None
    subscriber = store.subscribers.get(body.subscriber_id)
    plan = store.plans.get(body.plan_id)
    same = record is not None and record.body == body
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
    statics = check_addresses(store, record, subscriber.body.operator, body)
    made = None
    if credentials is not None:
        made = make_credentials(store, record, subscriber.body.operator, credentials)
    exhume(store, "service", operation.id)
    # One string object each for what a million services share.
    body.plan_id, body.subscriber_id = plan.body.id, subscriber.body.id
    if body.id == body.subscriber_id:
        body.id = body.subscriber_id
    is_new = record is None
    if record is None:
        record = ServiceRecord(store.next_no(), body, subscriber, plan)
        store.services[body.id] = record
        store.services_by_no[record.no] = record
        subscriber.services = (*subscriber.services, record)
        plan.services += 1
        if usage is not None:
            turn_cycle(record, at)
            record.input_octets, record.output_octets = usage.input_octets, usage.output_octets
            store.touch_usage(record)
    elif record.plan is not plan:
        record.plan.services -= 1
        plan.services += 1
        record.plan = plan
        # The sum of versions must never come back to an old value under another plan.
        record.version += 1
        record.decided_version = -1
    if statics or record.body.static_ip is not None or record.body.static_prefix is not None:
        store.keep_statics(record, [] if is_new else static_addresses(record.body), statics)
    record.use(body)
    record.version += 1
    record.decision = None
    if made is not None:
        replace_credentials(store, record, made)
    store.journal.append(Row.SERVICE, service_row(store.sealer, record))
    return body.revision


def drop_service(store: Store, record: ServiceRecord) -> None:
    """Take a service out of every index; its live sessions stay until they end, owned by nobody."""
    replace_credentials(store, record, ())
    store.keep_statics(record, static_addresses(record.body), [])
    del store.services[record.body.id]
    del store.services_by_no[record.no]
    subscriber = record.subscriber
    subscriber.services = tuple(service for service in subscriber.services if service is not record)
    record.plan.services -= 1
    if record.live is not None:
        for session in list(record.live.sessions):
            session.service = None
        record.live = None
    store.journal.append(Row.SERVICE_DELETE, (record.no,))
    store.journal.append(Row.USAGE_DELETE, (record.no,))


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


def apply_credentials(store: Store, operation: Operation, operator: str | None, at: float) -> int:
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
    replace_credentials(store, record, made)
    store.journal.append(Row.SERVICE, service_row(store.sealer, record))
    return record.body.revision


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
}
"""By kind of entity. Each returns the stored revision, or raises Settled or Refused."""
