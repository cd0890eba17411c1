"""Sessions as a fold over accounting reports: whatever the order, duplication or reset, usage is counted once.

Theory of operation. A NAS names a session by its Acct-Session-Id; ids come back after a reboot, reports come twice, late
or never. A report belongs to the latest session of that id unless it is a Start that cannot be its own (another Class,
another user, or later than everything known). Counters only move forward: a report that says nothing new changes
nothing; one below the last is a late one, a 32-bit wrap, or a reset, told apart by the session's own clock.
Compiled; deterministic: every time comes in the record.
"""

from __future__ import annotations

from aaa.model.accounting import AccountingOutcome, AccountingRecord, Status
from aaa.model.records import ACTIVE, ENDED, PENDING, NasRecord, ServiceRecord, SessionRecord
from aaa.state.store import COUNTERS, WHOLE, Store
from policy.decide import cycle_bounds

START = int(Status.START)
STOP = int(Status.STOP)
INTERIM = int(Status.INTERIM)
ON = int(Status.ON)
OFF = int(Status.OFF)

STARTED = int(AccountingOutcome.STARTED)
UPDATED = int(AccountingOutcome.UPDATED)
STOPPED = int(AccountingOutcome.STOPPED)
REPEATED = int(AccountingOutcome.REPEATED)
ADOPTED = int(AccountingOutcome.ADOPTED)
NAS_RESTARTED = int(AccountingOutcome.NAS_RESTARTED)
IGNORED = int(AccountingOutcome.IGNORED)

CAUSE_LOST_CARRIER = 2
CAUSE_NAS_REBOOT = 11
CAUSE_USER_ERROR = 17

LATE_S = 120.0
"""How late a retransmission may be. A session whose implied start moves by more has begun again."""
CLOCK_SLACK_S = 5.0
"""How far a NAS's clock and its own Acct-Session-Time may disagree."""
WRAP = 1 << 32
WRAP_FROM = 1 << 31
"""A 32-bit counter that falls from above this has wrapped; from below it was reset."""


def apply_accounting(store: Store, record: AccountingRecord) -> int:
    """Fold one report into memory; returns an AccountingOutcome. What changed is owed to the journal."""
    nas = record.nas
    status = record.status
    nas.last_accounting_at = record.received_at
    if status == ON or status == OFF:
        close_sessions_of(store, nas, record.at, record.received_at)
        return NAS_RESTARTED
    if status != START and status != STOP and status != INTERIM:
        return IGNORED
    if not record.session_key:
        return IGNORED

    session = nas.sessions.get(record.session_key)
    if session is not None and is_another(session, record):
        if session.state != ENDED:
            end_session(store, session, session.updated_at, CAUSE_LOST_CARRIER, False, record.received_at)
        session = None
    opened = STARTED
    is_new = session is None
    if session is None:
        session = open_session(store, record)
        if session.adopted:
            opened = ADOPTED
    elif session.state == ENDED and not session.ended_by_nas and status != STOP and is_later(session, record):
        reopen_session(store, session, record)

    session.heard_at = record.received_at
    changed = count_usage(store, session, record)
    if learn_facts(session, record) and not is_new:
        store.touch_session(session, WHOLE)
    if status == STOP:
        if session.state == ENDED:
            if not session.ended_by_nas:
                session.ended_by_nas = True
                session.terminate_cause = record.terminate_cause
                store.touch_session(session, WHOLE)
                return STOPPED
            return UPDATED if changed else REPEATED
        end_session(store, session, record.at, record.terminate_cause, True, record.received_at)
        return STOPPED
    if is_new:
        return opened
    if changed:
        return UPDATED
    if session.state != ENDED and is_later(session, record):
        session.updated_at = record.at
        store.touch_session(session, COUNTERS)
        return UPDATED
    return REPEATED


def is_later(session: SessionRecord, record: AccountingRecord) -> bool:
    """Whether the report is of a later moment of the session than anything taken."""
    if record.session_time_s >= 0:
        return record.session_time_s > session.session_time_s
    return record.at > session.updated_at


def is_another(session: SessionRecord, record: AccountingRecord) -> bool:
    """Whether a report with this session's Acct-Session-Id is of another session: ids are reused."""
    if record.token_session:
        if record.token_session == session.id:
            return False
        # Our own Class from another authorisation: certain, whatever kind of report brings it.
        return not session.adopted or record.status == START
    if record.status != START:
        return False
    if record.user_name and session.user_name and record.user_name != session.user_name:
        return True
    if session.state == ENDED:
        return record.at > session.ended_at + CLOCK_SLACK_S
    # A Start repeated after an interim carries no time of its own where the NAS sends neither delay nor event time.
    return session.session_time_s > 0 and record.at > session.updated_at + LATE_S


def open_session(store: Store, record: AccountingRecord) -> SessionRecord:
    """A new session from its first report: the one authorised here, or adopted."""
    session = None
    if record.token_session:
        session = store.sessions.get(record.token_session)
        if session is not None and (session.state != PENDING or session.key):
            session = None
    if session is not None:
        session.key = record.session_key
        session.nas.sessions[session.key] = session
    else:
        service = find_service(store, record)
        known = bool(record.token_session) and record.token_session not in store.sessions
        session_id = record.token_session if known else store.session_ids.next(record.received_at)
        session = SessionRecord(session_id, record.nas, service)
        session.key = record.session_key
        session.adopted = not record.token_session
        session.service_session = record.service_session
    started_at = record.at - record.session_time_s if record.session_time_s > 0 else record.at
    session.started_at = started_at
    session.updated_at = record.at
    session.user_name = record.user_name
    session.multi_key = record.multi_key
    if session.state == PENDING and session.id in store.sessions:
        session.state = ACTIVE
    else:
        session.state = ACTIVE
        supersede(store, session, record)
        store.index_session(session)
    store.opened.append(session)
    store.touch_session(session, WHOLE)
    return session


def find_service(store: Store, record: AccountingRecord) -> ServiceRecord | None:
    """Whose session an unannounced report is: by our Class, else by the name it bears."""
    if record.token_service:
        service = store.services_by_no.get(record.token_service)
        if service is not None:
            return service
    operator = record.nas.operator
    credential = store.index_of("password", operator).get(record.user_name)
    return credential.service if credential is not None else None


def supersede(store: Store, session: SessionRecord, record: AccountingRecord) -> None:
    """Close ghosts: a session of the same service from the same place that the new one must have replaced."""
    service = session.service
    if service is None or service.live is None or session.service_session:
        return
    for other in list(service.live.sessions):
        if other is session or other.nas is not session.nas or other.state == PENDING:
            continue
        same_device = other.calling_station is not None and other.calling_station == record.calling_station
        same_port = other.nas_port_id is not None and other.nas_port_id == record.nas_port_id
        if same_device and (same_port or other.nas_port_id is None) and other.started_at < session.started_at:
            end_session(store, other, max(other.updated_at, other.started_at), CAUSE_LOST_CARRIER, False, record.received_at)


def reopen_session(store: Store, session: SessionRecord, record: AccountingRecord) -> None:
    """A session closed here for silence speaks again: it never ended."""
    session.state = ACTIVE
    session.ended_at = 0.0
    session.terminate_cause = 0
    store.index_session(session)
    store.touch_session(session, WHOLE)


def count_usage(store: Store, session: SessionRecord, record: AccountingRecord) -> bool:
    """Move the session's counters forward and add the difference to its service; False when nothing is new."""
    session_time = record.session_time_s
    reset = False
    if record.status == START:
        return False
    if session_time >= 0 and session_time < session.session_time_s:
        implied_start = record.at - session_time
        if implied_start <= session.started_at + LATE_S or record.at <= session.updated_at:
            return False
        reset = True
    raw_input = record.input_octets
    raw_output = record.output_octets
    if record.wide:
        session.nas.sends_gigawords = True
    new_input = step(session.raw_input, raw_input, reset, session.nas.sends_gigawords)
    new_output = step(session.raw_output, raw_output, reset, session.nas.sends_gigawords)
    if new_input < 0 or new_output < 0:
        # One direction fell without the session's clock: a late report unless both clock and event say otherwise.
        if session_time >= 0 and session_time <= session.session_time_s:
            return False
        if session_time < 0 and record.at <= session.updated_at:
            return False
        new_input = max(raw_input, 0) if new_input < 0 else new_input
        new_output = max(raw_output, 0) if new_output < 0 else new_output
    moved = new_input > 0 or new_output > 0
    if session_time >= 0:
        if not moved and session_time == session.session_time_s:
            return False
        if reset:
            session.started_at = record.at - session_time
    elif not moved:
        return False
    session.session_time_s = max(session_time, 0)
    session.updated_at = max(session.updated_at, record.at)
    if raw_input >= 0:
        session.raw_input = raw_input
    if raw_output >= 0:
        session.raw_output = raw_output
    if moved:
        session.input_octets += new_input
        session.output_octets += new_output
        if session.service is not None and not session.service_session:
            add_usage(store, session.service, new_input, new_output, record.at)
    store.touch_session(session, COUNTERS)
    return True


def step(last: int, now: int, reset: bool, wide: bool) -> int:
    """How far a counter moved from `last` to `now`; -1 when it fell and no wrap explains it."""
    if now < 0:
        return 0
    if reset:
        return now
    if now >= last:
        return now - last
    if not wide and last >= WRAP_FROM and last < WRAP:
        return now + WRAP - last
    return -1


def add_usage(store: Store, service: ServiceRecord, input_octets: int, output_octets: int, at: float) -> None:
    """Add to the balance of the running cycle; a cycle that is over is closed first."""
    if at >= service.cycle_ends_at:
        turn_cycle(service, at)
    service.input_octets += input_octets
    service.output_octets += output_octets
    store.touch_usage(service)


def turn_cycle(service: ServiceRecord, at: float) -> None:
    """Begin the cycle that `at` falls into, with nothing used."""
    service.cycle_starts_at, service.cycle_ends_at = cycle_bounds(service.body.cycle, service.plan.body, at)
    service.input_octets = 0
    service.output_octets = 0


def learn_facts(session: SessionRecord, record: AccountingRecord) -> bool:
    """Take over what a report says of the session's place and addresses; True when something is new.

    Addresses often come after the Start: IPv6CP, DHCPv6-PD, some gateways' IPv4.
    """
    new = False
    if record.framed_ip is not None and record.framed_ip != session.framed_ip:
        session.framed_ip = record.framed_ip
        new = True
    if record.framed_ipv6 is not None and record.framed_ipv6 != session.framed_ipv6:
        session.framed_ipv6 = record.framed_ipv6
        new = True
    if record.framed_prefix is not None and record.framed_prefix != session.framed_prefix:
        session.framed_prefix = record.framed_prefix
        new = True
    if record.delegated_prefix is not None and record.delegated_prefix != session.delegated_prefix:
        session.delegated_prefix = record.delegated_prefix
        new = True
    if session.calling_station is None and record.calling_station is not None:
        session.calling_station = record.calling_station
        new = True
    if session.called_station is None and record.called_station is not None:
        session.called_station = record.called_station
        new = True
    if session.nas_port_id is None and record.nas_port_id is not None:
        session.nas_port_id = record.nas_port_id
        new = True
    if session.circuit_id is None and record.circuit_id is not None:
        session.circuit_id = record.circuit_id
        new = True
    if session.remote_id is None and record.remote_id is not None:
        session.remote_id = record.remote_id
        new = True
    return new


def end_session(
    store: Store, session: SessionRecord, at: float, cause: int, by_nas: bool, received_at: float
) -> None:
    """The session is over; its row stays for late reports and moves to the history afterwards."""
    session.state = ENDED
    session.ended_at = max(at, session.started_at)
    session.terminate_cause = cause
    session.ended_by_nas = by_nas
    session.heard_at = received_at
    store.detach_session(session)
    store.ended.append(session)
    store.touch_session(session, WHOLE)


def close_sessions_of(store: Store, nas: NasRecord, at: float, received_at: float) -> int:
    """Accounting-On/Off: the NAS has dropped every session that began before; those that began since stay."""
    nas.restarted_at = max(nas.restarted_at, at)
    closed = 0
    for session in list(nas.sessions.values()):
        if session.state == ACTIVE and session.started_at < at and session.updated_at <= at:
            end_session(store, session, session.updated_at, CAUSE_NAS_REBOOT, False, received_at)
            session.ended_by_nas = True
            closed += 1
    return closed
