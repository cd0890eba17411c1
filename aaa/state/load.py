"""Start-up: read what is durable back into memory. Knows the schema and the records."""

from __future__ import annotations

import contextlib
import heapq
import sqlite3
import sys
from typing import Any

import msgspec

from aaa.credential.verifier import Verifier
from aaa.limits import EVENTS_LOADED_COUNT
from aaa.model.enforcement import Enforcement
from aaa.model.entities import Hold, Service, Subscriber
from aaa.model.events import Cause, Event, Timer
from aaa.model.mobile import GY
from aaa.model.records import (
    ACTIVE,
    Account,
    CredentialRecord,
    DecisionRecord,
    Marks,
    NasRecord,
    PlanRecord,
    ServiceRecord,
    SessionRecord,
    SubscriberRecord,
)
from aaa.state import ledger
from aaa.state.inventory import load_inventory
from aaa.state.mobile import sessions_at_client
from aaa.state.reservations import restore
from aaa.state.rows import (
    ACCOUNT_DECODER,
    CREDENTIALS_DECODER,
    ENFORCEMENT_DECODER,
    StoredAccount,
    restore_facts,
    restore_progress,
)
from aaa.state.store import Store, static_addresses
from policy.model import Decision, Plan
from policy.quota import Bucket

KINDS = {kind: kind for kind in ("password", "mac", "circuit")}
"""One string object each."""
DEFAULT_OPERATOR = Subscriber(0).operator
DECISION = msgspec.json.Decoder(Decision)
CAUSE = msgspec.json.Decoder(Cause)
TIMER = msgspec.json.Decoder(Timer)


def load(store: Store, db: sqlite3.Connection, at: float) -> None:
    """Fill an empty store. Raises StoreError when the sealing key is not the one the store was written with."""
    load_entities(store, db, at)
    load_marks(store, db)
    load_accounts(store, db, at)
    load_sessions(store, db)
    load_enforcements(store, db)
    load_log(store, db)
    load_inventory(store, db)
    store.lease_rows = db.execute(
        "SELECT pool, address, service, slot, session, bound_at, released_at FROM lease"
    ).fetchall()


def load_entities(store: Store, db: sqlite3.Connection, at: float) -> None:
    """Plans, subscribers, services with credentials and balances, tombstones."""
    plans: dict[int, PlanRecord] = {}
    decode_plan = msgspec.json.Decoder(Plan).decode
    for no, body in db.execute("SELECT no, body FROM plan ORDER BY no"):
        plan = PlanRecord(no, decode_plan(body))
        plans[no] = store.plans[plan.body.id] = plan
    (last_no,) = db.execute("SELECT coalesce(max(no), 0) FROM subscriber").fetchone()
    # By number; a dict of a million would leave its holes in memory for good.
    owners: list[SubscriberRecord | None] = [None] * (last_no + 1)
    decode_subscriber = msgspec.json.Decoder(Subscriber).decode
    subscribers = store.subscribers
    for no, text in db.execute("SELECT no, body FROM subscriber ORDER BY no"):
        subscriber = decode_subscriber(text)
        if subscriber.operator != DEFAULT_OPERATOR:
            subscriber.operator = sys.intern(subscriber.operator)
        owners[no] = subscribers[subscriber.id] = SubscriberRecord(no, subscriber)

    decode_service = msgspec.json.Decoder(Service).decode
    services, by_no = store.services, store.services_by_no
    rows = db.execute("SELECT no, subscriber, plan, body, credentials FROM service ORDER BY no")
    for no, subscriber_no, plan_no, text, credentials in rows:
        owner, plan = owners[subscriber_no], plans[plan_no]
        assert owner is not None
        body = decode_service(text)
        subscriber_id = body.subscriber_id = owner.body.id
        body.plan_id = plan.body.id
        if body.id == subscriber_id:
            body.id = subscriber_id
        record = ServiceRecord(no, body, owner, plan)
        services[body.id] = by_no[no] = record
        owner.services = (*owner.services, record)
        plan.services += 1
        for name in body.add_ons:
            store.add_on_uses[name] = store.add_on_uses.get(name, 0) + 1
        if body.static_ip is not None or body.static_prefix is not None:
            store.keep_statics(record, [], static_addresses(body))
        if credentials is not None:
            load_credentials(store, record, credentials, owner.body.operator)
    rows = db.execute("SELECT service, cycle_starts_at, cycle_ends_at, input_octets, output_octets FROM usage")
    for no, starts, ends, input_octets, output_octets in rows:
        service = by_no.get(no)
        if service is not None:
            service.cycle_starts_at, service.cycle_ends_at = starts, ends
            service.input_octets, service.output_octets = input_octets, output_octets
    for name, uses in store.add_on_uses.items():
        if name in store.plans:
            store.plans[name].add_on_uses = uses
    for kind, entity_id, revision in db.execute("SELECT kind, id, revision FROM tombstone"):
        store.tombstones[kind, entity_id] = revision
    tables = ("plan", "subscriber", "service", "nas")
    numbers = [db.execute(f"SELECT coalesce(max(no), 0) FROM {table}").fetchone()[0] for table in tables]
    stored = db.execute("SELECT value FROM meta WHERE key = 'last_no'").fetchone()
    store.last_no = store.stored_no = max(*numbers, int(stored[0]) if stored else 0)


def load_credentials(store: Store, record: ServiceRecord, text: str, operator: str) -> None:
    """Unseal and index one service's credentials."""
    made = []
    for sealed in CREDENTIALS_DECODER.decode(text):
        verifier = None
        if sealed.sealed is not None and sealed.scheme is not None:
            verifier = Verifier(sealed.scheme, store.sealer.unseal(sealed.sealed, b"service:%d" % record.no))
        kind = KINDS[sealed.kind]
        key = bytes.fromhex(sealed.key)
        if kind == "password":
            key = store.names.fold(key)
        credential = CredentialRecord(record, kind, key, verifier)
        store.index_of(kind, operator)[key] = credential
        made.append(credential)
    record.credentials = tuple(made)


def load_marks(store: Store, db: sqlite3.Connection) -> None:
    """Holds and tags."""
    decode = msgspec.json.Decoder(Hold).decode
    for service_no, _, body in db.execute("SELECT service, cause, body FROM hold ORDER BY service, cause"):
        service = store.services_by_no.get(service_no)
        if service is not None:
            hold = decode(body)
            marks_of(service).holds += (hold,)
            if hold.until is not None:
                heapq.heappush(store.hold_ends, (hold.until, service_no, hold.cause))
    for service_no, text in db.execute("SELECT service, tags FROM tag"):
        service = store.services_by_no.get(service_no)
        if service is not None:
            marks_of(service).tags = tuple(msgspec.json.decode(text, type=list[str]))


def marks_of(service: ServiceRecord) -> Marks:
    """A service's marks, made where it has none."""
    if service.marks is None:
        service.marks = Marks()
    return service.marks


def load_accounts(store: Store, db: sqlite3.Connection, at: float) -> None:
    """Balances; services join those that they share."""
    kept: dict[str, Account] = {}
    for key, text in db.execute("SELECT key, body FROM account"):
        kind, _, name = key.partition("/")
        account = Account(kind, name)
        restore_account(account, ACCOUNT_DECODER.decode(text))
        if kind != "service":
            kept[key] = account
            continue
        service = store.services_by_no.get(int(name))
        if service is not None and service.plan.metered and ledger.account_key(service) == (kind, name):
            account.members.append(service)
            service.account = account
            ledger.restore(account)
    if not any(ledger.is_shared(plan.body) for plan in store.plans.values()):
        return
    for service in store.services.values():
        if ledger.is_shared(service.plan.body):
            kind, name = ledger.account_key(service)
            found = kept.get(f"{kind}/{name}")
            if found is None:
                ledger.follow(store, service, at)
                continue
            store.accounts[f"{kind}/{name}"] = found
            found.members.append(service)
            service.account = found
    for account in kept.values():
        account.members.sort(key=lambda member: member.no)
        if account.members:
            ledger.restore(account)


def restore_account(account: Account, stored: StoredAccount) -> None:
    """Fill an account from its row."""
    account.cycle_starts_at, account.cycle_ends_at = stored.cycle_starts_at, stored.cycle_ends_at
    account.charged_octets, account.settled_octets = stored.charged_octets, stored.settled_octets
    account.buckets = tuple(Bucket(*each) for each in stored.buckets)
    account.told, account.exhausted, account.bought = stored.told, stored.exhausted, stored.bought
    account.known = stored.known


def load_enforcements(store: Store, db: sqlite3.Connection) -> None:
    """The open ones, with the sessions and decisions they are about, where there still are any.

    A CoA may have been under way: what such a session runs under is unknown from here on.
    """
    (last,) = db.execute("SELECT coalesce(max(id), 0) FROM enforcement").fetchone()
    skipped = db.execute("SELECT value FROM meta WHERE key = 'last_enforcement'").fetchone()
    store.last_enforcement = max(last, int(skipped[0]) if skipped else 0)
    rows = db.execute(
        "SELECT id, session, service, state, operator, body FROM enforcement"
        " WHERE state IN ('pending', 'sent', 'waiting') ORDER BY id"
    ).fetchall()
    for number, session_id, service_no, state, operator, text in rows:
        stored = ENFORCEMENT_DECODER.decode(text)
        session = store.sessions.get(session_id)
        # The receipt names the NAS; of a session that is gone nothing else is needed.
        about = session or SessionRecord(session_id, NasRecord(0, stored.nas, stored.nas), None)
        enforcement = Enforcement(number, about, stored.action, stored.created_at)
        enforcement.session, enforcement.nas, enforcement.operator = session, stored.nas, operator
        enforcement.service_no, enforcement.service_id = service_no, stored.service_id
        enforcement.state, enforcement.reason, enforcement.cause = state, stored.reason, stored.cause
        enforcement.attempts, enforcement.log = stored.attempts, list(stored.log)
        enforcement.due_at, enforcement.urgent, enforcement.told = stored.due_at, stored.urgent, stored.told
        enforcement.desired = load_decision(store, db, stored.desired)
        store.enforcements[number] = enforcement
        if session is not None:
            session.enforcement = enforcement
            if stored.action == "coa":
                session.decision = None


def load_decision(store: Store, db: sqlite3.Connection, decision_id: int) -> DecisionRecord | None:
    """A stored decision; None for one that an older version of this server wrote in another form."""
    found = store.loaded_decisions.get(decision_id)
    if found is None and decision_id:
        row = db.execute("SELECT body FROM decision WHERE id = ?", (decision_id,)).fetchone()
        if row is None:
            return None
        store.stored_decisions.add(decision_id)
        with contextlib.suppress(msgspec.ValidationError):
            found = store.loaded_decisions[decision_id] = DecisionRecord(DECISION.decode(row[0]), decision_id)
    return found


EVENT_COLUMNS = "seq, at, type, subject, body, operator, subscriber, service, cause"


def event_of(row: tuple[Any, ...]) -> Event:
    """An event from EVENT_COLUMNS."""
    seq, at, kind, subject, body, operator, subscriber, service, cause = row
    data = msgspec.json.decode(body)
    return Event(seq, at, kind, subject, data, operator, subscriber, service, CAUSE.decode(cause))


def load_log(store: Store, db: sqlite3.Connection) -> None:
    """The newest events, the timers, and the end of the audit log."""
    newest_first = f"SELECT {EVENT_COLUMNS} FROM event ORDER BY seq DESC LIMIT ?"
    rows = db.execute(newest_first, (EVENTS_LOADED_COUNT,)).fetchall()
    store.events.extend(map(event_of, reversed(rows)))
    store.last_event = store.durable_event = rows[0][0] if rows else 0
    for (body,) in db.execute("SELECT body FROM timer ORDER BY id"):
        timer = TIMER.decode(body)
        store.timers[timer.id] = timer
        store.last_timer = timer.id
    meta = dict(db.execute("SELECT key, value FROM meta WHERE key IN ('automated', 'timed')"))
    if "timed" in meta:
        store.timed = msgspec.json.decode(meta["timed"], type=tuple[float, int, str, float])
    seen = (int(meta.get("automated", 0)),)
    unseen = db.execute(f"SELECT {EVENT_COLUMNS} FROM event WHERE seq > ? ORDER BY seq", seen)
    store.new_events = [event_of(row) for row in unseen]
    newest = db.execute("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    if newest is not None:
        store.last_audit, store.audit_hash = newest[0], bytes(newest[1])


def load_sessions(store: Store, db: sqlite3.Connection) -> None:
    """NASes, live sessions, and those that ended lately."""
    nases = {}
    for no, body in db.execute("SELECT no, body FROM nas ORDER BY no"):
        facts = msgspec.json.decode(body)
        nas = nases[no] = store.nases[facts["name"]] = NasRecord(no, facts["name"], facts["client"])
        nas.restarted_at = facts.get("restarted_at", 0.0)
        nas.sends_gigawords = facts.get("sends_gigawords", False)
        nas.diameter, nas.realm = "realm" in facts, facts.get("realm", "")
        if facts.get("origin_state_id"):
            store.state_ids[nas.name.lower()] = facts["origin_state_id"]
        nas.down_at = facts.get("down_at", 0.0)
        nas.down = nas.down_at > 0.0
    columns = (
        "id, service, nas, key, user_name, facts, state, started_at, updated_at, heard_at, ended_at, terminate_cause,"
        " ended_by_nas, session_time_s, input_octets, output_octets, raw_input, raw_output, progress"
    )
    for row in db.execute(f"SELECT {columns} FROM session ORDER BY id"):
        nas = nases[row[2]]
        session = SessionRecord(row[0], nas, store.services_by_no.get(row[1]) if row[1] is not None else None)
        session.key, session.user_name = row[3], row[4]
        session.state = row[6]
        session.started_at, session.updated_at, session.heard_at, session.ended_at = row[7:11]
        confirmed, desired = restore_facts(session, row[5])
        session.decision = load_decision(store, db, confirmed)
        session.desired = load_decision(store, db, desired)
        session.terminate_cause, session.ended_by_nas = row[11], bool(row[12])
        session.session_time_s, session.input_octets, session.output_octets = row[13:16]
        session.raw_input, session.raw_output = row[16:18]
        if row[18] is not None:
            restore_progress(session, row[18])
        store.index_session(session)
        store.link_key(session)
        if session.protocol == GY and session.state == ACTIVE:
            restore(session)
        nas.last_accounting_at = max(nas.last_accounting_at, session.heard_at)
    for nas in nases.values():
        # What a restart of the NAS ended, and was not yet closed one by one.
        if nas.restarted_at and nas.live_count:
            store.closing.append((nas, nas.restarted_at, nas.restarted_at, sessions_at_client(nas)))
    (newest,) = db.execute(
        "SELECT max(coalesce((SELECT max(id) FROM session), 0), coalesce((SELECT max(id) FROM session_history), 0))"
    ).fetchone()
    store.session_ids.last = newest
