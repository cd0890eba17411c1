"""The truth in memory: records, their indexes, and the rows that a change owes to the journal.

Everything here is deterministic: times and secrets' sealing aside, the same commands in the same order give the same
memory. Knows no protocol and no clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, tzinfo
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from aaa.credential.identity import NameRules
from aaa.limits import EVENTS_KEPT_MAX, GROUP_ROWS_AIM
from aaa.model.enforcement import OPEN, Enforcement
from aaa.model.entities import Service
from aaa.model.events import SERVER, Cause, Event, Timer
from aaa.model.mobile import GY, PROTOCOLS
from aaa.model.records import (
    ENDED,
    NO_LIMIT,
    Account,
    CredentialRecord,
    DecisionRecord,
    Live,
    NasRecord,
    PlanRecord,
    PolicyVersion,
    ServiceRecord,
    SessionIds,
    SessionRecord,
    SubscriberRecord,
)
from aaa.model.shelves import Inventory
from aaa.state.journal import Journal
from aaa.state.rows import account_row, enforcement_row, progress_row, session_row
from aaa.state.schema import Row
from aaa.state.seal import Sealer
from policy.rules import Policy

CLEAN, COUNTERS, WHOLE = 0, 1, 2


class ServicesByNo:
    """Services by their number. Numbers are given out in a row, so a list is half of what a dict takes."""

    def __init__(self) -> None:
        self._records: list[ServiceRecord | None] = []

    def get(self, no: int) -> ServiceRecord | None:
        """None for a number that is no service's."""
        records = self._records
        return records[no] if 0 <= no < len(records) else None

    def __setitem__(self, no: int, record: ServiceRecord) -> None:
        records = self._records
        if no >= len(records):
            records.extend([None] * (no + 1 - len(records)))
        records[no] = record

    def __delitem__(self, no: int) -> None:
        self._records[no] = None


class Store:
    """Indexes over everything that is served from memory. Changed by apply functions only."""

    def __init__(self, sealer: Sealer) -> None:
        self.sealer = sealer
        self.journal = Journal(self.collect)
        self.plans: dict[str, PlanRecord] = {}
        self.subscribers: dict[str, SubscriberRecord] = {}
        self.services: dict[str, ServiceRecord] = {}
        self.services_by_no = ServicesByNo()
        self.tombstones: dict[tuple[str, str], int] = {}
        self.passwords: dict[str, dict[bytes, CredentialRecord]] = {}
        """operator -> user name -> credential"""
        self.macs: dict[str, dict[bytes, CredentialRecord]] = {}
        self.circuits: dict[str, dict[bytes, CredentialRecord]] = {}
        self.statics: dict[tuple[str, bytes], ServiceRecord] = {}
        """(operator, address or prefix as in leases) -> the service whose own it is"""
        self.moved_statics: list[tuple[str, bytes, ServiceRecord | None]] = []
        """What changed of them since the engine last looked; None: it is nobody's any more."""
        self.nases: dict[str, NasRecord] = {}
        self.state_ids: dict[str, int] = {}
        """Origin-State-Id that a Diameter client told last, by its Origin-Host in lower case."""
        self.sessions: dict[int, SessionRecord] = {}
        """Live ones, reservations, and those that ended lately."""
        self.live_counts = [0] * len(PROTOCOLS)
        """How many live ones and reservations there are, by SessionRecord.protocol."""
        self.names = NameRules()
        self.interim_interval_s = 0
        """What NASes are asked for where a plan names none."""
        self.services_max = NO_LIMIT
        """How many services are accepted."""
        self.last_no = 0
        self.stored_no = 0
        """The highest number that the journal knows of: a number never comes back, though its entity is deleted."""
        self.session_ids = SessionIds()
        self.last_event = 0
        self.durable_event = 0
        """The newest that may be told: it and all before it are durable."""
        self._event_groups: deque[list[int]] = deque()
        """Groups under way that have events: [group, newest event of it]."""
        self.event_waiters: list[Callable[[], None]] = []
        """Called whenever `durable_event` has moved."""
        self.events: deque[Event] = deque(maxlen=EVENTS_KEPT_MAX)
        """The newest, for the feed; older ones are read from the table."""
        self.new_events: list[Event] = []
        """Since the engine last looked: automations run on them."""
        self._told_cause: tuple[Cause, str] = (SERVER, msgspec.json.encode(SERVER).decode())
        """Of the last event, and as its row has it: most have the one of the event before."""
        self.cause: Cause = SERVER
        """On whose behalf the running command is applied; events, audit entries and enforcements take it over."""
        self.affected: dict[ServiceRecord, Cause | None] = {}
        """Services with live sessions whose decision may have changed, in order, since the engine last looked; each
        with the cause of its last change. See affect()."""
        self.affected_plans: dict[PlanRecord, Cause | None] = {}
        """Likewise plans: every live session of their services."""
        self.affected_all: Cause | None = None
        """Likewise everything: the policy has changed."""
        self.barred: list[tuple[SessionRecord, str, Cause]] = []
        """Live sessions of a SIM that may not have them any more, since the engine last looked: they are to end, and
        why."""
        self.orphaned: list[tuple[SessionRecord, Cause]] = []
        """Live sessions whose service was deleted since the engine last looked, and by whom: they are to end."""
        self.zone: tzinfo = UTC
        """In which cycles turn and windows open: the policy's."""
        self.policy: Policy = Policy()
        """The one in force: its windows say what is zero-rated."""
        self.offers = PolicyVersion()
        """How often what a plan includes has changed: balances follow when they are next looked at."""
        self.accounts: dict[str, Account] = {}
        """Balances that are shared, by "kind/key"; a service's own is in its record only."""
        self.dirty_accounts: list[Account] = []
        self.add_on_uses: dict[str, int] = {}
        """How many services have an add-on, by the id of its plan, which need not be there."""
        self.hold_ends: list[tuple[float, int, str]] = []
        """Heap of (end, number of the service, cause) of the holds that end by themselves; may name lifted ones."""
        self.enforcements: dict[int, Enforcement] = {}
        """The open ones: the outbox."""
        self.last_enforcement = 0
        self.rescheduled: list[ServiceRecord] = []
        """Services that billing has changed and that have moments of their own, since the engine last looked."""
        self.timed: tuple[float, int, str, float] = (0.0, 0, "", 0.0)
        """As loaded: up to which moment of which service all was told (aaa/engine/timers.py)."""
        self.timers: dict[int, Timer] = {}
        """What automations do later."""
        self.last_timer = 0
        self.last_audit = 0
        self.audit_hash = bytes(32)
        """Of the last audit entry: the next one's link."""
        self.stored_decisions: set[int] = set()
        """Ids of decisions whose row is written or owed."""
        self.loaded_decisions: dict[int, DecisionRecord] = {}
        """Those that loaded sessions and enforcements run under, by id: the engine takes them for its own."""
        self.policy_version = PolicyVersion()
        self.inventory = Inventory()
        """SIMs, numbers, ranges and devices."""
        self.lease_rows: list[Any] = []
        """Leases as loaded, until the pools take them over."""
        self.dirty_sessions: list[SessionRecord] = []
        self.dirty_services: list[ServiceRecord] = []
        self.opened: list[SessionRecord] = []
        """Sessions whose first report came since the engine last looked; likewise `ended`."""
        self.ended: list[SessionRecord] = []
        self.begun: list[tuple[SessionRecord, int]] = []
        """Of the opened ones those that are new or live again, with the mark of the decision that the Accept carried
        (DecisionRecord.id & DECISION_MARK), negative where that was not told by a Start; 0: unknown."""
        self.closing: deque[tuple[NasRecord, float, float, list[SessionRecord]]] = deque()
        """Restarts of NASes whose sessions are still to be closed: NAS, event time, arrival, sessions to look at."""

    # What is new

    def next_no(self) -> int:
        """A number for a new plan, subscriber, service or NAS; never used again."""
        self.last_no += 1
        self.journal.mark()
        return self.last_no

    def live(self, service: ServiceRecord) -> Live:
        """What is live of a service, made on first use."""
        live = service.live
        if live is None:
            live = service.live = Live()
        return live

    # Dirty records: many changes of one record within a group are one row

    def touch_session(self, session: SessionRecord, dirty: int) -> None:
        """The session's row is owed: COUNTERS or WHOLE."""
        if session.dirty < dirty:
            if session.dirty == CLEAN:
                self.dirty_sessions.append(session)
                self.journal.mark()
            session.dirty = dirty

    def touch_usage(self, service: ServiceRecord) -> None:
        """The service's balance row is owed."""
        if not service.dirty:
            service.dirty = True
            self.dirty_services.append(service)
            self.journal.mark()

    def collect(self, journal: Journal) -> None:
        """Append the rows of all dirty records as they are now."""
        append = journal.append
        if self.last_no != self.stored_no:
            append(Row.META, ("last_no", str(self.last_no)))
            self.stored_no = self.last_no
        if self.dirty_accounts:
            self._collect_accounts(journal)
        for session in self.dirty_sessions:
            if session.dirty == COUNTERS and session.protocol == GY:
                append(Row.SESSION_PROGRESS, progress_row(session))
            elif session.dirty == COUNTERS:
                append(
                    Row.SESSION_COUNTERS,
                    (
                        session.updated_at,
                        session.heard_at,
                        session.session_time_s,
                        session.input_octets,
                        session.output_octets,
                        session.raw_input,
                        session.raw_output,
                        session.id,
                    ),
                )
            else:
                for decision in (session.decision, session.desired):
                    if decision is not None:
                        self.keep_decision(decision)
                append(Row.SESSION, session_row(session))
            session.dirty = CLEAN
        self.dirty_sessions.clear()
        for service in self.dirty_services:
            service.dirty = False
            if self.services_by_no.get(service.no) is not service:
                continue
            append(
                Row.USAGE,
                (
                    service.no,
                    service.cycle_starts_at,
                    service.cycle_ends_at,
                    service.input_octets,
                    service.output_octets,
                ),
            )
        self.dirty_services.clear()

    def _collect_accounts(self, journal: Journal) -> None:
        """Rows of changed balances; one that came again after its end within the group must not end with it."""
        for account in self.dirty_accounts:
            account.dirty = False
            if account.members:
                row = account_row(account)
                journal.settle(Row.ACCOUNT, Row.ACCOUNT_DELETE, (row[0],), row)
        self.dirty_accounts.clear()

    @property
    def crowded(self) -> bool:
        """So much waits for the next group that closing it would hold the loop: what can wait is not to add to it."""
        return self.journal.open_rows + len(self.dirty_sessions) > GROUP_ROWS_AIM

    # What a decision depends on

    def affect(self, service: ServiceRecord) -> None:
        """The decision of a service may have changed: its live sessions, if any, are looked at."""
        live = service.live
        if live is not None and live.sessions:
            self.affected[service] = self.cause

    def revise(self, service: ServiceRecord) -> None:
        """Something that a decision reads of a service or its subscriber has changed."""
        service.version += 1
        self.affect(service)

    # Balances

    def touch_account(self, account: Account) -> None:
        """The account's row is owed."""
        if not account.dirty:
            account.dirty = True
            self.dirty_accounts.append(account)
            self.journal.mark()

    def drop_account(self, account: Account) -> None:
        """Nobody draws from it any more: its row goes."""
        key = f"{account.kind}/{account.key}"
        self.journal.settle(Row.ACCOUNT, Row.ACCOUNT_DELETE, (key,), None)

    # Decisions and timers

    def keep_decision(self, decision: DecisionRecord) -> None:
        """Write a decision that something stored refers to, once. One without an id is nobody's to refer to."""
        if decision.id and decision.id not in self.stored_decisions:
            self.stored_decisions.add(decision.id)
            self.journal.append(Row.DECISION, (decision.id, msgspec.json.encode(decision.body).decode()))

    def keep_enforcement(self, enforcement: Enforcement) -> None:
        """Write an enforcement as it is now; it is in `enforcements` as long as it is open."""
        if enforcement.desired is not None:
            self.keep_decision(enforcement.desired)
        if enforcement.state in OPEN:
            self.enforcements[enforcement.id] = enforcement
        else:
            self.enforcements.pop(enforcement.id, None)
        self.journal.append(Row.ENFORCEMENT, enforcement_row(enforcement))

    def add_timer(self, due_at: float, automation: str, service_no: int, event: Event, key: str = "") -> Timer:
        """Remember what an automation does later."""
        self.last_timer += 1
        timer = Timer(self.last_timer, due_at, automation, service_no, event, key)
        self.timers[timer.id] = timer
        row = (timer.id, due_at, msgspec.json.encode(timer).decode())
        self.journal.settle(Row.TIMER, Row.TIMER_DELETE, (timer.id,), row)
        return timer

    def delete_timer(self, timer_id: int) -> None:
        """It has run, or is not wanted any more."""
        if self.timers.pop(timer_id, None) is not None:
            self.journal.settle(Row.TIMER, Row.TIMER_DELETE, (timer_id,), None)

    # Sessions' indexes

    def index_session(self, session: SessionRecord) -> None:
        """Make the session findable by id, and from its service while it is live."""
        self.sessions[session.id] = session
        if session.state != ENDED:
            session.nas.live_count += 1
            self.live_counts[session.protocol] += 1
            if session.service is not None and not session.service_session:
                self.live(session.service).sessions.append(session)

    def link_key(self, session: SessionRecord) -> None:
        """Make the session findable by its Acct-Session-Id: of several, the one that began last comes first."""
        sessions = session.nas.sessions
        after: SessionRecord | None = None
        before: SessionRecord | None = sessions.get(session.key)
        while before is not None and (before.started_at, before.id) > (session.started_at, session.id):
            after, before = before, before.earlier
        session.earlier = before
        if after is None:
            sessions[session.key] = session
        else:
            after.earlier = session

    def unlink_key(self, session: SessionRecord) -> None:
        """The inverse."""
        sessions = session.nas.sessions
        after: SessionRecord | None = sessions.get(session.key)
        if after is session:
            if session.earlier is None:
                del sessions[session.key]
            else:
                sessions[session.key] = session.earlier
        while after is not None:
            if after.earlier is session:
                after.earlier = session.earlier
                break
            after = after.earlier
        session.earlier = None

    def detach_session(self, session: SessionRecord) -> None:
        """The session is no longer live: its service and NAS forget it as such."""
        session.nas.live_count -= 1
        self.live_counts[session.protocol] -= 1
        service = session.service
        live = service.live if service is not None else None
        if service is not None and live is not None and session in live.sessions:
            live.sessions.remove(session)
            if not live.sessions and not live.failures and not live.locked_until:
                service.live = None

    def forget_session(self, session: SessionRecord) -> None:
        """Drop an ended session from memory and move its row to the history."""
        self.sessions.pop(session.id, None)
        self.unlink_key(session)
        self.journal.append(Row.SESSION_FORGET, (session.id,))

    def append_address(self, address: bytes, since: float, session_id: int, until: float) -> None:
        """An address that a session had and has no more."""
        self.journal.append(Row.ADDRESS, (address, since, session_id, until))

    # Events

    def emit(
        self, kind: str, subject: str, at: float, data: dict[str, Any], service: ServiceRecord | None = None,
        operator: str = "", subscriber_id: str = "", service_id: str = "",
    ) -> int:
        """Record an event under the running cause; returns its number. It is told once its group is durable.

        service: whose it is, which gives operator, subscriber and id; those three: for what belongs to no service, or
        to one that was deleted.
        """
        self.last_event += 1
        seq = self.last_event
        if service is not None:
            service_id, subscriber_id = service.body.id, service.subscriber.body.id
            operator = service.subscriber.body.operator
        cause = self.cause
        if cause is not self._told_cause[0]:
            self._told_cause = (cause, msgspec.json.encode(cause).decode())
        event = Event(seq, at, kind, subject, data, operator, subscriber_id, service_id, cause)
        text = msgspec.json.encode(data).decode()
        row = (seq, at, kind, subject, text, operator, subscriber_id, service_id, self._told_cause[1])
        self.journal.append(Row.EVENT, row)
        self.events.append(event)
        self.new_events.append(event)
        group = self.journal.group
        if not self._event_groups or self._event_groups[-1][0] != group:
            self._event_groups.append([group, seq])
            self.journal.when_durable(self._tell_events)
        self._event_groups[-1][1] = seq
        return seq

    def _tell_events(self) -> None:
        """A group with events is durable."""
        while self._event_groups and self._event_groups[0][0] <= self.journal.durable:
            self.durable_event = self._event_groups.popleft()[1]
        for waiter in self.event_waiters:
            waiter()

    # NASes

    def nas(self, name: str, client_name: str) -> NasRecord:
        """The record of a NAS, made and written when it is new."""
        nas = self.nases.get(name)
        if nas is None:
            nas = NasRecord(self.next_no(), name, client_name)
            self.nases[name] = nas
            self.touch_nas(nas)
        return nas

    def touch_nas(self, nas: NasRecord) -> None:
        """The row of a NAS is owed: it is new, or something was learned of it."""
        body = {
            "name": nas.name,
            "client": nas.client_name,
            "restarted_at": nas.restarted_at,
            "sends_gigawords": nas.sends_gigawords,
        }
        if nas.diameter:
            body["realm"] = nas.realm
            body["origin_state_id"] = self.state_ids.get(nas.name.lower(), 0)
            if nas.down:
                # Of others their silence tells it again.
                body["down_at"] = nas.down_at
        self.journal.append(Row.NAS, (nas.no, msgspec.json.encode(body).decode()))

    # Static addresses

    def keep_statics(self, service: ServiceRecord, old: list[bytes], new: list[bytes]) -> None:
        """A service's own addresses are now these."""
        operator = service.subscriber.body.operator
        for address in old:
            if address not in new:
                del self.statics[operator, address]
                self.moved_statics.append((operator, address, None))
        for address in new:
            if address not in old:
                self.statics[operator, address] = service
                self.moved_statics.append((operator, address, service))

    # Credentials' indexes

    def index_of(self, kind: str, operator: str) -> dict[bytes, CredentialRecord]:
        """The index of one kind of credential within one operator."""
        by_operator = {"password": self.passwords, "mac": self.macs, "circuit": self.circuits}[kind]
        index = by_operator.get(operator)
        if index is None:
            index = by_operator[operator] = {}
        return index


def static_addresses(body: Service) -> list[bytes]:
    """A service's own addresses as leases have them: 4 octets, or the prefix length in one octet and 16 octets.

    Raises ValueError for what is no address.
    """
    found = []
    if body.static_ip is not None:
        address = ip_address(body.static_ip)
        if address.version != 4:
            raise ValueError(f"{body.static_ip} is no IPv4 address; IPv6 goes into static_prefix")
        found.append(address.packed)
    if body.static_prefix is not None:
        found.append(prefix_octets(body.static_prefix))
    return found


def prefix_octets(text: str) -> bytes:
    """Length octet and 16 octets of an IPv6 prefix. Raises ValueError."""
    network = ip_network(text)
    if network.version != 6:
        raise ValueError(f"{text} is no IPv6 prefix")
    return bytes((network.prefixlen,)) + network.network_address.packed
