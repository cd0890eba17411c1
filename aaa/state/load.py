"""Start-up: read what is durable back into memory. Knows the schema and the records."""

from __future__ import annotations

import sqlite3
import sys

import msgspec

from aaa.credential.verifier import Verifier
from aaa.model.entities import Service, Subscriber
from aaa.model.records import CredentialRecord, NasRecord, PlanRecord, ServiceRecord, SessionRecord, SubscriberRecord
from aaa.state.store import CREDENTIALS_DECODER, Store, restore_facts, static_addresses
from policy.model import Plan

KINDS = {kind: kind for kind in ("password", "mac", "circuit")}
"""One string object each."""
DEFAULT_OPERATOR = Subscriber(0).operator


def load(store: Store, db: sqlite3.Connection, at: float) -> None:
    """Fill an empty store. Raises StoreError when the sealing key is not the one the store was written with."""
    load_entities(store, db, at)
    load_sessions(store, db)
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


def load_sessions(store: Store, db: sqlite3.Connection) -> None:
    """NASes, live sessions, and those that ended lately."""
    nases = {}
    for no, body in db.execute("SELECT no, body FROM nas ORDER BY no"):
        facts = msgspec.json.decode(body)
        nas = nases[no] = store.nases[facts["name"]] = NasRecord(no, facts["name"], facts["client"])
        nas.restarted_at = facts.get("restarted_at", 0.0)
        nas.sends_gigawords = facts.get("sends_gigawords", False)
    columns = (
        "id, service, nas, key, user_name, facts, state, started_at, updated_at, heard_at, ended_at, terminate_cause,"
        " ended_by_nas, session_time_s, input_octets, output_octets, raw_input, raw_output"
    )
    for row in db.execute(f"SELECT {columns} FROM session ORDER BY id"):
        nas = nases[row[2]]
        session = SessionRecord(row[0], nas, store.services_by_no.get(row[1]) if row[1] is not None else None)
        session.key, session.user_name = row[3], row[4]
        session.state = row[6]
        session.started_at, session.updated_at, session.heard_at, session.ended_at = row[7:11]
        restore_facts(session, row[5])
        session.terminate_cause, session.ended_by_nas = row[11], bool(row[12])
        session.session_time_s, session.input_octets, session.output_octets = row[13:16]
        session.raw_input, session.raw_output = row[16:18]
        store.index_session(session)
        store.link_key(session)
        nas.last_accounting_at = max(nas.last_accounting_at, session.heard_at)
    for nas in nases.values():
        # What a restart of the NAS ended, and was not yet closed one by one.
        if nas.restarted_at and nas.live_count:
            store.closing.append((nas, nas.restarted_at, nas.restarted_at, list(nas.sessions.values())))
    (newest,) = db.execute(
        "SELECT max(coalesce((SELECT max(id) FROM session), 0), coalesce((SELECT max(id) FROM session_history), 0))"
    ).fetchone()
    store.session_ids.last = newest
    (store.last_event,) = db.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()
