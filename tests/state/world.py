"""A store without a disk, a NAS, and reports: what the specifications of the state room are written with."""

from __future__ import annotations

import sqlite3
from typing import Any

from aaa.model.accounting import AccountingRecord, Status
from aaa.model.operations import Operation, Result
from aaa.model.records import Account, NasRecord, ServiceRecord, SessionRecord
from aaa.state import schema, writer
from aaa.state.entities import apply_operation
from aaa.state.load import load
from aaa.state.recent import Recent, replay
from aaa.state.seal import Sealer
from aaa.state.sessions import apply_accounting
from aaa.state.store import Store
from policy.quota import spend

AT = 1_700_000_000.0
KEY = bytes(32)
PLAN = {"revision": 1, "rate": {"down_bps": 1_000_000, "up_bps": 1_000_000}}


class Disk:
    """The writer without its process: groups go into a database at once, acknowledgements when asked for."""

    def __init__(self, store: Store, db: sqlite3.Connection) -> None:
        self.store = store
        self.db = db
        self.acks: list[bytes] = []
        self.groups = 0
        # Small folds, so that every test has some under way.
        self.writer = writer.Writer(db, Recent(keys_max=5, slice_count=2))
        store.journal.transport = self

    def write(self, data: bytes) -> None:
        number, group = writer.FRAME.decode(data[4:])
        self.writer.commit([group])
        self.groups += 1
        self.acks.append(number.to_bytes(8, "big"))

    def settle(self) -> None:
        """Flush and acknowledge until nothing is owed."""
        journal = self.store.journal
        journal.flush()
        while self.acks:
            journal.receive(self.acks.pop(0))


def database(path: str = ":memory:") -> sqlite3.Connection:
    db = schema.connect(path)
    schema.migrate(db)
    return db


class World:
    """One store on one database."""

    def __init__(self, db: sqlite3.Connection | None = None) -> None:
        self.db = database() if db is None else db
        self.store = Store(Sealer(KEY))
        replay(self.db)
        load(self.store, self.db, AT)
        # Those that automations have not seen; here are none that look.
        self.store.new_events.clear()
        self.disk = Disk(self.store, self.db)

    def restart(self) -> World:
        """What a new process makes of the disk."""
        self.disk.settle()
        return World(self.db)

    def apply(self, op: str, kind: str, name: str, value: dict[str, Any] | None = None, **more: Any) -> Result:
        operator = more.pop("operator", None)
        at = more.pop("at", AT)
        operation = Operation(op, kind, name, value, **more)  # type: ignore[arg-type]
        return apply_operation(self.store, operation, operator, at)

    def service(self, name: str = "alice", **value: Any) -> ServiceRecord:
        """A service of its own subscriber on plan `home`, made when missing."""
        for kind, entity, body in (("plan", "home", PLAN), ("subscriber", f"s-{name}", {"revision": 1})):
            assert self.apply("put", kind, entity, body).status in ("applied", "stale")
        body = {
            "revision": 1,
            "subscriber_id": f"s-{name}",
            "plan_id": "home",
            "credentials": [{"type": "password", "username": name, "cleartext": "secret"}],
            **value,
        }
        assert self.apply("put", "service", name, body).status == "applied"
        return self.store.services[name]

    def nas(self, name: str = "bng") -> NasRecord:
        return self.store.nas(name, name)

    def report(self, status: Status, key: bytes = b"one", at: float = 0.0, **facts: Any) -> int:
        """Fold one report. `at`, the event's time as the NAS tells it, and `received` count from AT."""
        nas = facts.pop("nas", None) or self.nas()
        received = facts.pop("received", at)
        record = AccountingRecord(nas, int(status), key, AT + at, AT + received)
        record.user_name = facts.pop("user", b"alice")
        for short, name in (("time", "session_time_s"), ("input", "input_octets"), ("output", "output_octets")):
            if short in facts:
                setattr(record, name, facts.pop(short))
        for name, value in facts.items():
            setattr(record, name, value)
        return apply_accounting(self.store, record)

    def session(self, key: bytes = b"one", nas: str = "bng") -> SessionRecord:
        return self.nas(nas).sessions[key]

    def usage(self, name: str = "alice") -> tuple[int, int]:
        service = self.store.services[name]
        return service.input_octets, service.output_octets


SERVICE_FIELDS = ("no", "cycle_starts_at", "cycle_ends_at", "input_octets", "output_octets")
ACCOUNT_FIELDS = (
    "cycle_starts_at", "cycle_ends_at", "charged_octets", "next_mark", "told", "exhausted", "bought", "known",
)  # fmt: skip
SESSION_FIELDS = """
    id adopted service_session key multi_key token user_name state started_at updated_at ended_at terminate_cause
    ended_by_nas session_time_s input_octets output_octets raw_input raw_output base_input base_output phases
    framed_ip framed_ipv6 framed_prefix delegated_prefix calling_station called_station nas_port_id circuit_id
    remote_id held_since interim_interval_s authorised_at diverged_at
""".split()  # noqa: SIM905


def dump(store: Store) -> dict[str, Any]:
    """Everything of a store that a restart must bring back."""
    return {
        "plans": {name: (record.no, record.body, record.services) for name, record in store.plans.items()},
        "subscribers": {
            name: (record.no, record.body, sorted(service.no for service in record.services))
            for name, record in store.subscribers.items()
        },
        "services": {
            name: (
                record.body,
                record.subscriber.body.id,
                record.plan.body.id,
                [(each.kind, each.key, each.verifier) for each in record.credentials],
                [getattr(record, field) for field in SERVICE_FIELDS],
                sorted(session.id for session in record.live.sessions) if record.live is not None else [],
                (record.marks.holds, record.marks.tags) if record.marks is not None else None,
                dump_account(record.account),
            )
            for name, record in store.services.items()
        },
        "accounts": {key: dump_account(account) for key, account in store.accounts.items()},
        "add_ons": (store.add_on_uses, {name: plan.add_on_uses for name, plan in store.plans.items()}),
        "timers": store.timers,
        "audit": (store.last_audit, store.audit_hash),
        "by_no": {
            no: record.body.id
            for no in range(store.last_no + 1)
            if (record := store.services_by_no.get(no)) is not None
        },
        "credentials": {
            (kind, operator, key): record.service.body.id
            for kind, index in (("password", store.passwords), ("mac", store.macs), ("circuit", store.circuits))
            for operator, records in index.items()
            for key, record in records.items()
        },
        "statics": {key: record.body.id for key, record in store.statics.items()},
        "tombstones": store.tombstones,
        "nases": {
            name: (
                nas.no,
                nas.client_name,
                nas.restarted_at,
                nas.sends_gigawords,
                nas.live_count,
                {key: chain(session) for key, session in nas.sessions.items()},
            )
            for name, nas in store.nases.items()
        },
        "sessions": {
            session.id: (
                [getattr(session, field) for field in SESSION_FIELDS],
                session.service.body.id
                if session.service is not None and store.services_by_no.get(session.service.no) is not None
                else None,
            )
            for session in store.sessions.values()
        },
        "numbers": (store.last_no, store.last_event),
    }


def dump_account(account: Account | None) -> Any:
    """A balance, settled: when it was settled last does not matter."""
    if account is None:
        return None
    unsettled = account.charged_octets - account.settled_octets
    return (
        f"{account.kind}/{account.key}",
        [member.body.id for member in account.members],
        [getattr(account, field) for field in ACCOUNT_FIELDS],
        spend(account.buckets, unsettled),
    )


def chain(session: SessionRecord | None) -> list[int]:
    """Ids of the sessions with one Acct-Session-Id, the latest first."""
    ids = []
    while session is not None:
        ids.append(session.id)
        session = session.earlier
    return ids
