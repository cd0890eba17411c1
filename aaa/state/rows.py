"""Records as the tables keep them, and back: columns, JSON bodies, sealed secrets. Knows neither the store nor SQL."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from aaa.credential.verifier import Verifier
from aaa.model.enforcement import Action, Enforcement, Reply
from aaa.model.events import SERVER, Cause
from aaa.model.mobile import FACTS, Grant, GyFacts
from aaa.model.records import ENDED, NEVER, Account, ServiceRecord, SessionRecord
from aaa.state.seal import Sealer


def session_row(session: SessionRecord) -> tuple[Any, ...]:
    """The whole row of a session, in the order of the table's columns."""
    return (
        session.id,
        session.service.no if session.service is not None else None,
        session.nas.no,
        session.key,
        session.user_name,
        session_facts(session),
        session.state,
        session.started_at,
        session.updated_at,
        session.heard_at,
        session.ended_at,
        session.terminate_cause,
        session.ended_by_nas,
        session.session_time_s,
        session.input_octets,
        session.output_octets,
        session.raw_input,
        session.raw_output,
    )


OCTET_FACTS = ("multi_key", "calling_station", "called_station", "nas_port_id", "circuit_id", "remote_id")
ADDRESS_FACTS = ("framed_ip", "framed_ipv6", "framed_prefix", "delegated_prefix")


def session_facts(session: SessionRecord) -> str:
    """What seldom changes of a session, as JSON; octets are hex, addresses carry the time from which they were held."""
    facts: dict[str, Any] = {
        "authorised_at": session.authorised_at,
        "interim_interval_s": session.interim_interval_s,
    }
    if session.adopted:
        facts["adopted"] = True
    if session.service_session:
        facts["service_session"] = True
    if session.protocol:
        facts["protocol"] = session.protocol
    if session.mobile is not None:
        facts["mobile"] = session.mobile
    if session.shadowed:
        facts["shadowed"] = True
    if session.meter is not None:
        facts["meter"] = session.meter
    if session.credit is not None:
        facts["credit"] = session.credit
    if session.aside is not None:
        facts["aside"] = session.aside
    if session.token:
        facts["token"] = session.token
    if session.decision is not None and session.decision.id:
        facts["decision"] = session.decision.id
    if session.desired is not None and session.desired is not session.decision:
        facts["desired"] = session.desired.id
    if session.diverged_at:
        facts["diverged_at"] = session.diverged_at
    if session.converged_at:
        facts["converged_at"] = session.converged_at
    if session.former is not None:
        facts["former"] = session.former
    elif session.state == ENDED and session.service is not None:
        # The history outlives the service: whose an address was is to be told after it, too.
        service = session.service
        facts["owner"] = (service.body.id, service.subscriber.body.id, service.subscriber.body.operator)
    if 0.0 < session.ends_at < NEVER:
        facts["ends_at"] = session.ends_at
    if session.base_input or session.base_output:
        facts["base"] = [session.base_input, session.base_output]
    if session.phases:
        facts["phases"] = session.phases
    for name in OCTET_FACTS:
        value = getattr(session, name)
        if value is not None:
            facts[name] = value.hex()
    since = session.started_at or session.authorised_at
    addresses = []
    for name in ADDRESS_FACTS:
        value = getattr(session, name)
        if value is not None:
            facts[name] = value.hex()
            held = session.held_since
            addresses.append([value.hex(), since if held is None else held.get(value, since)])
    if addresses:
        facts["addresses"] = addresses
    return msgspec.json.encode(facts).decode()


def restore_facts(session: SessionRecord, text: str | bytes) -> tuple[int, int]:
    """The inverse of session_facts; returns the ids of the decision that the network last confirmed and of the desired
    one, 0: unknown."""
    facts = msgspec.json.decode(text)
    session.diverged_at = facts.get("diverged_at", 0.0)
    session.converged_at = facts.get("converged_at", 0.0)
    session.former = tuple(facts["former"]) if "former" in facts else None
    session.ends_at = facts.get("ends_at", 0.0)
    session.authorised_at = facts.get("authorised_at", 0.0)
    session.interim_interval_s = facts.get("interim_interval_s", 0)
    session.adopted = facts.get("adopted", False)
    session.service_session = facts.get("service_session", False)
    session.protocol = facts.get("protocol", 0)
    if "mobile" in facts:
        session.mobile = msgspec.convert(facts["mobile"], FACTS[session.protocol], str_keys=True)
    session.shadowed = facts.get("shadowed", False)
    session.meter = tuple(facts["meter"]) if "meter" in facts else None
    session.credit = tuple(facts["credit"]) if "credit" in facts else None
    session.aside = tuple(facts["aside"]) if "aside" in facts else None
    for name in OCTET_FACTS + ADDRESS_FACTS:
        value = facts.get(name)
        if value is not None:
            setattr(session, name, bytes.fromhex(value))
    session.token = facts.get("token", 0)
    session.base_input, session.base_output = facts.get("base", (0, 0))
    session.phases = tuple(tuple(phase) for phase in facts.get("phases", ()))
    since = session.started_at or session.authorised_at
    held = {bytes.fromhex(address): at for address, at in facts.get("addresses", ()) if at != since}
    session.held_since = held or None
    decision: int = facts.get("decision", 0)
    return decision, facts.get("desired", decision)


class Progress(msgspec.Struct, gc=False, array_like=True):
    """What every request of a Gy session changes of its facts; see GyFacts."""

    number: int
    kind: int
    result: int
    answered: list[int]
    grants: dict[int, Grant]
    missing: list[int] = []


PROGRESS_DECODER = msgspec.json.Decoder(Progress)


def progress_row(session: SessionRecord) -> tuple[Any, ...]:
    """The row of a Gy session of which nothing else has changed."""
    facts: GyFacts = session.mobile
    progress = Progress(facts.number, facts.kind, facts.result, facts.answered, facts.grants, facts.missing)
    return (
        session.updated_at,
        session.heard_at,
        session.session_time_s,
        session.input_octets,
        session.output_octets,
        msgspec.json.encode(progress).decode(),
        session.id,
    )


def restore_progress(session: SessionRecord, text: str) -> None:
    """The inverse, after restore_facts()."""
    progress = PROGRESS_DECODER.decode(text)
    facts: GyFacts = session.mobile
    for name in Progress.__struct_fields__:
        setattr(facts, name, getattr(progress, name))


class StoredAccount(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The body of an account's row."""

    cycle_starts_at: float
    cycle_ends_at: float
    charged_octets: int
    settled_octets: int
    buckets: tuple[tuple[Literal["cycle", "roll_over", "top_up"], str, int, float, int], ...]
    told: tuple[int, ...]
    exhausted: bool
    bought: int
    known: tuple[str, ...]


ACCOUNT_DECODER = msgspec.json.Decoder(StoredAccount)


def account_row(account: Account) -> tuple[Any, ...]:
    """The row of a balance."""
    body = StoredAccount(
        account.cycle_starts_at,
        account.cycle_ends_at,
        account.charged_octets,
        account.settled_octets,
        tuple([(each.kind, each.id, each.octets, each.ends_at, each.used) for each in account.buckets]),
        account.told,
        account.exhausted,
        account.bought,
        account.known,
    )
    return f"{account.kind}/{account.key}", msgspec.json.encode(body).decode()


class StoredEnforcement(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The body of an enforcement's row: what its columns do not say."""

    nas: str
    action: Action
    service_id: str = ""
    reason: str = ""
    desired: int = 0
    """Id of the decision in its table; 0: the session is to end whatever is decided."""
    cause: Cause = SERVER
    attempts: int = 0
    log: tuple[Reply, ...] = ()
    created_at: float = 0.0
    due_at: float = 0.0
    finished_at: float = 0.0
    result: str = ""
    urgent: bool = True
    told: bool = False


ENFORCEMENT_DECODER = msgspec.json.Decoder(StoredEnforcement)


def receipt_of(enforcement: Enforcement) -> StoredEnforcement:
    """What is kept of an enforcement."""
    return StoredEnforcement(
        nas=enforcement.nas,
        action=enforcement.action,
        service_id=enforcement.service_id,
        reason=enforcement.reason,
        desired=enforcement.desired.id if enforcement.desired is not None else 0,
        cause=enforcement.cause,
        attempts=enforcement.attempts,
        log=tuple(enforcement.log),
        created_at=enforcement.created_at,
        due_at=enforcement.due_at,
        finished_at=enforcement.finished_at,
        result=enforcement.result,
        urgent=enforcement.urgent,
        told=enforcement.told,
    )


def enforcement_row(enforcement: Enforcement) -> tuple[Any, ...]:
    """The row of an enforcement."""
    return (
        enforcement.id,
        enforcement.session_id,
        enforcement.service_no,
        enforcement.state,
        enforcement.created_at,
        enforcement.operator,
        enforcement.cause.correlation_id,
        enforcement.cause.audit,
        msgspec.json.encode(receipt_of(enforcement)).decode(),
    )


class SealedCredential(msgspec.Struct, gc=False, omit_defaults=True):
    """A credential as the store keeps it."""

    kind: str
    key: str
    """Hex."""
    scheme: int | None = None
    sealed: str | None = None


CREDENTIALS_DECODER = msgspec.json.Decoder(list[SealedCredential])


def seal_credentials(sealer: Sealer, service: ServiceRecord) -> str | None:
    """The stored form of a service's credentials."""
    if not service.credentials:
        return None
    context = b"service:%d" % service.no
    rows = []
    for credential in service.credentials:
        row = SealedCredential(credential.kind, credential.key.hex())
        if isinstance(credential.verifier, Verifier):
            row.scheme = int(credential.verifier.scheme)
            row.sealed = sealer.seal(credential.verifier.secret, context)
        rows.append(row)
    return msgspec.json.encode(rows).decode()


def service_row(sealer: Sealer, service: ServiceRecord) -> tuple[Any, ...]:
    """The row of a service; its credentials are sealed into a column of their own."""
    return (
        service.no,
        service.subscriber.no,
        service.plan.no,
        msgspec.json.encode(service.body).decode(),
        seal_credentials(sealer, service),
    )
