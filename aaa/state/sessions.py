"""Sessions as a fold over accounting reports: whatever the order, repetition or reset, usage is counted once.

Theory of operation. A NAS names a session by its Acct-Session-Id; ids come back after a reboot or a re-login, reports
come twice, late or never. Which session a report belongs to is told by our Class where it came back, else by time:
its event lies within one session, before its start (an earlier session of that id) or after its end (a later one).

Within a session the NAS's counters run from a moment that its own clock tells (event less Acct-Session-Time). A
report whose clock or counter is below the last is, by that moment: of the same run of the counters and late; of a
later run, so the counters were reset and count from zero; or of an earlier run, whose high-water marks are kept. A
32-bit counter that falls while the clock goes on has wrapped; from below half of its range it was reset alone.

What cannot be told apart, and what is chosen. A report over LATE_S late from a NAS that sends neither Acct-Delay-Time
nor Event-Timestamp looks like a reset, and is counted as one. A reset after which clock and counters are first
reported above (or exactly at) the last known continues them. Counters reset within LATE_S of their last start look
late, and count only above the old ones. A NAS without Gigawords is exact up to 2 GiB between two reports. An adopted
session counts whole, also what it used before it was first heard of. A report that comes when its session has gone to
the history opens a session of its own.
Compiled; deterministic: every time comes in the record.
"""

from __future__ import annotations

from datetime import UTC, tzinfo
from typing import TypeGuard

from aaa.credential.identity import circuit_key, normalize_mac
from aaa.limits import CLOSED_AT_ONCE_COUNT_MAX, SESSION_PHASES_COUNT_MAX
from aaa.model.accounting import AccountingOutcome, AccountingRecord, Status
from aaa.model.mobile import GY
from aaa.model.records import ACTIVE, ENDED, PENDING, NasRecord, ServiceRecord, SessionRecord
from aaa.state.ledger import open_account, refresh, sound, tell
from aaa.state.meters import choose_meter, put_aside, spend_credit
from aaa.state.reservations import release
from aaa.state.store import COUNTERS, WHOLE, Store
from policy.decide import cycle_bounds
from policy.windows import charged_share

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
DOWN = 1
UP = 2

CAUSE_LOST_CARRIER = 2
CAUSE_NAS_REBOOT = 11

SAME, LATER, EARLIER = 0, 1, -1
"""Whose a report is, seen from a session with its Acct-Session-Id: its own, a later or an earlier one's."""

DEFAULT_OPERATOR = "default"
"""Whose NASes serve everybody's SIMs."""
LATE_S = 120.0
"""How late a report may be from a NAS that does not tell. Counters whose start moves by more were reset."""
CLOCK_SLACK_S = 5.0
"""How far a NAS's clock, its Acct-Session-Time and its whole seconds of delay may disagree."""
WRAP = 1 << 32
WRAP_FROM = 1 << 31
"""A 32-bit counter that falls from above this has wrapped; from below it was reset."""
OCTETS_MAX = 1 << 56
"""No session moves 72 petaoctets: a counter above is noise and counts as not reported."""


def apply_accounting(store: Store, record: AccountingRecord) -> int:
    """Fold one report into memory; returns an AccountingOutcome. What changed is owed to the journal."""
    nas = record.nas
    status = record.status
    nas.last_accounting_at = record.received_at
    if status in (ON, OFF):
        restart_nas(store, nas, status, record.at, record.received_at)
        return NAS_RESTARTED
    if (status != START and status != STOP and status != INTERIM) or not record.session_key:
        return IGNORED

    session = find_session(store, record)
    is_new = is_placed = session is None
    if session is None:
        session = open_session(store, record)
    elif session.state != ENDED:
        if session.service is None or session.token != record.token_session:
            is_placed = session.service is None
            join_session(store, session, record)
    elif status != STOP and is_alive(session, record):
        reopen_session(store, session)
        is_placed = True
    ends = status == STOP and not is_former(session, record)
    if status == INTERIM and session.adopted and session.session_time_s == 0 and session.heard_at > 0:
        # Nothing here told the NAS when to report: the first gap shows its own pace.
        gap = int(record.received_at - session.heard_at)
        if gap > session.interim_interval_s:
            session.interim_interval_s = gap
            store.touch_session(session, WHOLE)
    session.heard_at = record.received_at
    if learn_facts(store, session, record, record.at >= session.updated_at):
        store.touch_session(session, WHOLE)
        is_placed = True
    service = session.service
    if is_placed and service is not None and service.live is not None and len(service.live.sessions) > 1:
        # Before its usage counts: another session of the same bearer may be the one that is charged.
        choose_meter(store, session)
    changed = count_usage(store, session, record)
    if changed and session.state == ENDED:
        # Its end was told with less.
        store.ended.append(session)

    if ends:
        if session.state != ENDED:
            end_session(store, session, record.at, record.terminate_cause, True, record.received_at)
            return STOPPED
        if session.ended_by_nas:
            return UPDATED if changed else REPEATED
        session.ended_by_nas = True
        session.ended_at = max(record.at, session.started_at)
        session.terminate_cause = record.terminate_cause
        store.ended.append(session)
        store.touch_session(session, WHOLE)
        return STOPPED
    if is_new:
        if session.earlier is not None or nas.sessions[session.key] is not session:
            close_followed(store, session, record)
        return ADOPTED if session.adopted else STARTED
    if changed:
        return UPDATED
    if session.state != ENDED and record.session_time_s < 0 and record.at > session.updated_at and status != START:
        session.updated_at = record.at
        store.touch_session(session, COUNTERS)
        return UPDATED
    return REPEATED


# Whose report is it


def find_session(store: Store, record: AccountingRecord) -> SessionRecord | None:
    """The session that a report belongs to; None when that one is not known yet."""
    session: SessionRecord | None = record.nas.sessions.get(record.session_key)
    if session is None:
        return None
    token = record.token_session
    if token and token != session.token:
        named: SessionRecord | None = store.sessions.get(token)
        if named is not None and named.key == record.session_key and named.nas is record.nas:
            return named
    while session is not None:
        order = compare(session, record)
        if order == SAME:
            return session
        if order == LATER:
            return None
        session = session.earlier
    return None


def compare(session: SessionRecord, record: AccountingRecord) -> int:
    """SAME, LATER or EARLIER: whose report this is, seen from a session with its Acct-Session-Id."""
    token = record.token_session
    if token and token == session.token:
        return SAME
    at = record.at
    if at < session.started_at - CLOCK_SLACK_S:
        return EARLIER
    is_other = token != 0 and session.token != 0
    if not is_other and record.user_name and session.user_name:
        is_other = record.user_name != session.user_name
    last = session.ended_at if session.state == ENDED else session.updated_at
    if record.status == START:
        if is_other and (token or at > session.started_at + CLOCK_SLACK_S):
            return LATER
        # One that is repeated without a delay of its own may come after the interims, not long after the end.
        return LATER if at > last + (CLOCK_SLACK_S if session.state == ENDED else LATE_S) else SAME
    if record.session_time_s < 0:
        return LATER if session.state == ENDED and is_other and at > last + CLOCK_SLACK_S else SAME
    # It began after the last that is known: another login. A Class that changes amid a session is a re-authentication.
    if session.state == ENDED or is_other:
        return LATER if at - record.session_time_s > last + CLOCK_SLACK_S else SAME
    # A clock of the NAS that was set right moves the event as well, but neither its session clock nor a counter falls.
    if at - record.session_time_s <= last + LATE_S:
        return SAME
    return LATER if record.session_time_s <= session.session_time_s or has_fallen(session, record) else SAME


def has_fallen(session: SessionRecord, record: AccountingRecord) -> bool:
    """Whether one of the NAS's counters is below what it was."""
    return 0 <= record.input_octets < session.raw_input or 0 <= record.output_octets < session.raw_output


def is_former(session: SessionRecord, record: AccountingRecord) -> bool:
    """Whether a report is from before the counters of the last one taken began: before a reset."""
    since = session.updated_at - session.session_time_s
    time = record.session_time_s
    if time < 0 or session.session_time_s == 0:
        return False
    return record.at <= since + CLOCK_SLACK_S and record.at - time < since - CLOCK_SLACK_S


def is_alive(session: SessionRecord, record: AccountingRecord) -> bool:
    """Whether a report shows that a session which was closed here goes on."""
    if session.ended_by_nas or session.nas.sessions[session.key] is not session:
        return False
    if session.terminate_cause == CAUSE_NAS_REBOOT and record.at <= session.nas.restarted_at:
        return False
    time = record.session_time_s
    if time < 0 or record.status == START:
        return record.at > session.updated_at
    return time > session.session_time_s or record.at - time > session.updated_at - session.session_time_s + LATE_S


def find_service(store: Store, record: AccountingRecord) -> ServiceRecord | None:
    """Whose session an unannounced report is: by our Class, else by the name or the line it bears."""
    if record.token_service:
        service: ServiceRecord | None = store.services_by_no.get(record.token_service)
        if service is not None:
            return service
    operator = record.nas.operator
    name = record.user_name
    credential = None
    if name:
        index = store.index_of("password", operator)
        credential = index.get(name)
        if credential is None and not store.names.is_exact(name):
            for candidate in store.names.candidates(name):
                credential = credential or index.get(candidate)
        if credential is None:
            mac = normalize_mac(name)
            if mac is not None:
                credential = store.index_of("mac", operator).get(mac)
    if credential is None and (record.circuit_id is not None or record.remote_id is not None):
        circuits = store.index_of("circuit", operator)
        for circuit_id, remote_id in (
            (record.circuit_id, record.remote_id),
            (record.circuit_id, None),
            (None, record.remote_id),
        ):
            key = circuit_key(circuit_id, remote_id)
            credential = None if key is None else circuits.get(key)
            if credential is not None:
                break
    if credential is None and record.mobile is not None:
        return service_of_imsi(store, record.mobile.imsi, operator)
    return credential.service if credential is not None else None


def service_of_imsi(store: Store, imsi: str, operator: str) -> ServiceRecord | None:
    """The service of a SIM; a gateway that is an operator's own reports that operator's SIMs only."""
    sim = store.inventory.sim_of_imsi(imsi)
    service: ServiceRecord | None = None if sim is None else sim.service
    if service is None or operator in (DEFAULT_OPERATOR, service.subscriber.body.operator):
        return service
    return None


# Beginning and end


def open_session(store: Store, record: AccountingRecord) -> SessionRecord:
    """A new session from its first report: the one authorised here, or adopted."""
    nas = record.nas
    token = record.token_session
    started_at = record.at - record.session_time_s if record.session_time_s > 0 else record.at
    latest: SessionRecord | None = nas.sessions.get(record.session_key)
    is_past = latest is not None and compare(latest, record) == EARLIER
    if latest is not None and not is_past:
        started_at = max(started_at, latest.started_at + 1e-6)
        if latest.state != ENDED:
            end_session(store, latest, latest.updated_at, CAUSE_LOST_CARRIER, False, record.received_at)
    session = None
    if not record.service_session and not is_past:
        session = find_reservation(store, record)
    if session is None:
        # A service inside a session bears the session's Class; so does a second session of one authorisation.
        is_named = token != 0 and not record.service_session and token not in store.sessions
        session_id = token if is_named else store.session_ids.next(record.received_at)
        store.session_ids.last = max(store.session_ids.last, session_id)
        session = SessionRecord(session_id, nas, find_service(store, record))
        session.adopted = not token
        session.service_session = record.service_session
        decision = session.service.decision if token and session.service is not None else None
        told = decision.interim_interval_s if decision is not None else 0
        session.interim_interval_s = told or store.interim_interval_s
        session.state = ACTIVE
        store.index_session(session)
    elif session.nas is not nas:
        session.nas.live_count -= 1
        session.nas = nas
        nas.live_count += 1
    if session.service is None and (session.decision is not None or (record.token_service and record.status == START)):
        # Its service was deleted after its Accept.
        store.orphaned.append((session, store.cause))
    session.state = ACTIVE
    session.key = record.session_key
    session.token = token
    session.started_at = session.updated_at = started_at
    session.user_name = record.user_name
    session.multi_key = record.multi_key
    store.link_key(session)
    if not is_past:
        supersede(store, session, record)
    store.opened.append(session)
    # A Start's Class tells what the NAS runs it under; with a later report there may have been changes since.
    store.begun.append((session, record.token_decision if record.status == START else -record.token_decision))
    store.touch_session(session, WHOLE)
    return session


def find_reservation(store: Store, record: AccountingRecord) -> SessionRecord | None:
    """The login that was authorised here and waits for its first report: by our Class, else by its place."""
    session: SessionRecord | None
    if record.token_session:
        session = store.sessions.get(record.token_session)
        return session if session is not None and session.state == PENDING else None
    service = find_service(store, record)
    if service is None or service.live is None:
        return None
    for session in service.live.sessions:
        if session.state != PENDING or session.nas is not record.nas:
            continue
        if session.framed_ip is not None and session.framed_ip == record.framed_ip:
            return session
        if is_same_place(session, record):
            return session
    return None


def is_same_place(session: SessionRecord, record: AccountingRecord) -> bool:
    """Whether a report comes from a session's device, line or port: by the best of them that both name."""
    if session.calling_station is not None and record.calling_station is not None:
        same_port = session.nas_port_id is None or session.nas_port_id == record.nas_port_id
        return session.calling_station == record.calling_station and same_port
    if session.circuit_id is not None and record.circuit_id is not None:
        return session.circuit_id == record.circuit_id and session.remote_id == record.remote_id
    return session.nas_port_id is not None and session.nas_port_id == record.nas_port_id


def supersede(store: Store, session: SessionRecord, record: AccountingRecord) -> None:
    """Close ghosts: sessions of the same service at the same place, which the new one must have replaced.

    Should one be alive after all, its next report opens it again. Those of one authorisation do not replace each other.
    """
    service = session.service
    if service is None or service.live is None or session.service_session or len(service.live.sessions) < 2:
        return
    for other in list(service.live.sessions):
        if other is session or other.state != ACTIVE or other.nas is not session.nas:
            continue
        if other.token and other.token == session.token:
            continue
        if (other.started_at, other.id) < (session.started_at, session.id) and is_same_place(other, record):
            end_session(store, other, other.updated_at, CAUSE_LOST_CARRIER, False, record.received_at)


def close_followed(store: Store, session: SessionRecord, record: AccountingRecord) -> None:
    """A session first heard of when a later one has its Acct-Session-Id is over."""
    if session.nas.sessions[session.key] is not session and session.state != ENDED:
        end_session(store, session, record.at, CAUSE_LOST_CARRIER, False, record.received_at)


def join_session(store: Store, session: SessionRecord, record: AccountingRecord) -> None:
    """Take over whose the session is, as a later report tells: a Class that came or changed, a service pushed since."""
    token = record.token_session
    if token and token != session.token and record.at >= session.updated_at:
        session.token = token
        store.touch_session(session, WHOLE)
    if session.service is None:
        service = find_service(store, record)
        if service is not None:
            session.service = service
            session.former = None
            if not session.service_session:
                store.live(service).sessions.append(session)
            store.opened.append(session)
            store.touch_session(session, WHOLE)


def reopen_session(store: Store, session: SessionRecord) -> None:
    """A session closed here speaks again: it never ended."""
    service = session.service
    if service is not None and store.services_by_no.get(service.no) is not service:
        owner = service.subscriber.body
        session.service, session.former = None, (service.body.id, owner.id, owner.operator)
    if session.service is None and (session.decision is not None or session.desired is not None):
        # Its service was deleted.
        store.orphaned.append((session, store.cause))
    session.state = ACTIVE
    session.ended_at = 0.0
    session.terminate_cause = 0
    store.index_session(session)
    store.opened.append(session)
    store.begun.append((session, 0))
    store.touch_session(session, WHOLE)


def end_session(
    store: Store, session: SessionRecord, at: float, cause: int, by_nas: bool, received_at: float
) -> None:
    """The session is over; its row stays for late reports and moves to the history afterwards."""
    session.state = ENDED
    session.ended_at = max(at, session.started_at)
    session.terminate_cause = cause
    session.ended_by_nas = by_nas
    session.heard_at = received_at
    if session.protocol == GY:
        release(store, session)
    store.detach_session(session)
    store.ended.append(session)
    store.touch_session(session, WHOLE)


def restart_nas(store: Store, nas: NasRecord, status: int, at: float, received_at: float) -> None:
    """Accounting-On/Off: the NAS has dropped every session that began before; those that began since stay."""
    if at > nas.restarted_at:
        is_repeated = at <= nas.restarted_at + LATE_S
        nas.restarted_at = at
        store.touch_nas(nas)
        if status == OFF and not nas.down:
            nas.down = True
            nas.down_at = received_at
            store.emit("nas.down", nas.name, at, {"cause": "accounting-off", "sessions": nas.live_count})
        elif status == ON and (nas.down or not is_repeated):
            nas.down = False
            store.emit("nas.up", nas.name, at, {"cause": "accounting-on", "sessions": nas.live_count})
    store.closing.append((nas, at, received_at, list(nas.sessions.values())))
    close_some(store, CLOSED_AT_ONCE_COUNT_MAX)


def close_some(store: Store, count: int) -> int:
    """Close up to `count` of the sessions that restarts of their NAS ended; how many were looked at.

    Bound: a big NAS has 100 000, and closing each costs some microseconds; meanwhile reports find them as they are.
    """
    looked = 0
    while store.closing and looked < count:
        _, at, received_at, sessions = store.closing[0]
        while sessions and looked < count:
            session = sessions.pop()
            looked += 1
            if session.state == ACTIVE and session.started_at < at and session.updated_at <= at:
                end_session(store, session, session.updated_at, CAUSE_NAS_REBOOT, False, received_at)
        if not sessions:
            store.closing.popleft()
    return looked


# Usage


def count_usage(store: Store, session: SessionRecord, record: AccountingRecord) -> bool:
    """Move the session's counters forward and add the difference to its service; False when nothing is new."""
    if record.status == START:
        return False
    time = record.session_time_s
    at = record.at
    was_updated_at = session.updated_at
    known = session.session_time_s
    raw_input = record.input_octets if record.input_octets <= OCTETS_MAX else -1
    raw_output = record.output_octets if record.output_octets <= OCTETS_MAX else -1
    if record.wide and not session.nas.sends_gigawords:
        session.nas.sends_gigawords = True
        store.touch_nas(session.nas)
    fell = has_fallen(session, record)
    if time >= 0:
        # When the counters of the last report taken began, and when this one's did.
        since = session.updated_at - known
        began = at - time
        if is_former(session, record):
            return count_former(store, session, began, time, raw_input, raw_output, at)
        if time <= known or fell:
            if time == known and raw_input == session.raw_input and raw_output == session.raw_output:
                return False
            is_over = session.state == ENDED and session.ended_by_nas
            if began > since + LATE_S and began > session.started_at + LATE_S and not is_over:
                begin_phase(store, session, since)
            elif time < known:
                return reveal_wrap(store, session, raw_input, raw_output, at)
            elif time == known and fell:
                return False
    elif fell and at <= session.updated_at + LATE_S:
        return False
    new_input = raw_input - session.raw_input if raw_input >= 0 else 0
    new_output = raw_output - session.raw_output if raw_output >= 0 else 0
    if new_input < 0:
        if not session.nas.sends_gigawords and WRAP_FROM <= session.raw_input < WRAP:
            new_input += WRAP
        else:
            new_input = raw_input
            session.base_input = session.input_octets
            store.touch_session(session, WHOLE)
    if new_output < 0:
        if not session.nas.sends_gigawords and WRAP_FROM <= session.raw_output < WRAP:
            new_output += WRAP
        else:
            new_output = raw_output
            session.base_output = session.output_octets
            store.touch_session(session, WHOLE)
    if time >= 0:
        session.session_time_s = time
        session.updated_at = at
    elif new_input == 0 and new_output == 0:
        return False
    else:
        session.updated_at = max(session.updated_at, at)
    if raw_input >= 0:
        session.raw_input = raw_input
    if raw_output >= 0:
        session.raw_output = raw_output
    add_octets(store, session, new_input, new_output, was_updated_at, at)
    return True


def begin_phase(store: Store, session: SessionRecord, since: float) -> None:
    """The NAS's counters began anew: keep the marks of the run before, for its late reports."""
    phase = (since, session.session_time_s, session.raw_input, session.raw_output)
    session.phases = (*session.phases[-(SESSION_PHASES_COUNT_MAX - 1) :], phase)
    session.raw_input = session.raw_output = 0
    session.session_time_s = 0
    session.base_input = session.input_octets
    session.base_output = session.output_octets
    store.touch_session(session, WHOLE)


def count_former(
    store: Store, session: SessionRecord, began: float, time: int, raw_input: int, raw_output: int, at: float
) -> bool:
    """A late report from before the last reset: what it has above the marks of its own run counts."""
    phases = list(session.phases)
    mark = (began, 0, 0, 0)
    for phase in phases:
        if abs(phase[0] - began) <= LATE_S:
            mark = phase
            phases.remove(phase)
            break
    new_input = max(raw_input - mark[2], 0)
    new_output = max(raw_output - mark[3], 0)
    if new_input == 0 and new_output == 0:
        return False
    phases.append((mark[0], max(mark[1], time), mark[2] + new_input, mark[3] + new_output))
    session.phases = tuple(phases[-SESSION_PHASES_COUNT_MAX:])
    if began < session.started_at - LATE_S:
        # Its own Class says that it began before the first report that came.
        earlier = session.earlier
        session.started_at = began if earlier is None else max(began, earlier.started_at + 1e-6)
    session.base_input += new_input
    session.base_output += new_output
    add_octets(store, session, new_input, new_output, at, at)
    store.touch_session(session, WHOLE)
    return True


def reveal_wrap(store: Store, session: SessionRecord, raw_input: int, raw_output: int, at: float) -> bool:
    """A late report with a 32-bit counter above all that was counted since: the counter has wrapped in between."""
    if session.nas.sends_gigawords:
        return False
    new_input = WRAP if raw_input >= WRAP_FROM and raw_input > session.input_octets - session.base_input else 0
    new_output = WRAP if raw_output >= WRAP_FROM and raw_output > session.output_octets - session.base_output else 0
    if new_input == 0 and new_output == 0:
        return False
    add_octets(store, session, new_input, new_output, at, at)
    return True


def add_octets(
    store: Store, session: SessionRecord, new_input: int, new_output: int, since: float, at: float
) -> None:
    """Count what is new for the session and its service. since, at: the event times that it was used between."""
    store.touch_session(session, COUNTERS)
    if new_input == 0 and new_output == 0:
        return
    session.input_octets += new_input
    session.output_octets += new_output
    # A service inside a session is counted in the session already; a bearer in the session that meters it.
    if session.shadowed:
        put_aside(store, session, new_input, new_output)
    elif session.service is not None and not session.service_session:
        if session.credit is not None:
            new_input, new_output = spend_credit(store, session, new_input, new_output)
        add_usage(store, session.service, new_input, new_output, since, at)


def add_usage(
    store: Store, service: ServiceRecord, input_octets: int, output_octets: int, since: float, at: float
) -> None:
    """Add to the usage of the running cycle, and charge it; a cycle that is over is closed first."""
    if at >= service.cycle_ends_at:
        turn_cycle(service, at, store.zone)
    if service.plan.metered:
        charge(store, service, input_octets, output_octets, since, at)
    service.input_octets += input_octets
    service.output_octets += output_octets
    store.touch_usage(service)


def turn_cycle(service: ServiceRecord, at: float, zone: tzinfo = UTC) -> None:
    """Begin the cycle that `at` falls into, with nothing used."""
    service.cycle_starts_at, service.cycle_ends_at = cycle_bounds(service.body.cycle, service.plan.body, at, zone)
    service.input_octets = 0
    service.output_octets = 0


def charge(
    store: Store, service: ServiceRecord, input_octets: int, output_octets: int, since: float, at: float
) -> None:
    """Charge what the plan counts of it to the balance; see aaa/state/ledger.py.

    The usage is not in the service's own counters yet: a balance that is opened now begins with what is there.
    """
    account = service.account
    if account is None:
        account = open_account(store, service, at)
    elif at >= account.changes_at or account.offers != store.offers.number:
        refresh(store, account, at)
    plan = service.plan
    octets = 0
    if plan.counts != UP:
        octets += output_octets
    if plan.counts != DOWN:
        octets += input_octets
    if plan.zero_rates:
        octets = charged_share(plan.body, store.policy.windows, store.zone, since, at, octets)
    if octets == 0:
        return
    charged = account.charged_octets = account.charged_octets + octets
    if not account.dirty:
        store.touch_account(account)
    if charged >= account.next_mark:
        tell(store, account, service, at)
    if charged >= service.decided_below or charged >= account.alarm:
        sound(store, account)


# Facts


def learn_facts(store: Store, session: SessionRecord, record: AccountingRecord, is_fresh: bool) -> bool:
    """Take over what a report says of the session's place and addresses; True when something is new.

    Addresses often come after the Start: IPv6CP, DHCPv6-PD, some gateways' IPv4. is_fresh: no later report was taken.
    """
    new = False
    if takes(record.framed_ip, session.framed_ip, is_fresh):
        hold_address(store, session, session.framed_ip, record.framed_ip, record.at)
        session.framed_ip = record.framed_ip
        new = True
    if takes(record.framed_ipv6, session.framed_ipv6, is_fresh):
        hold_address(store, session, session.framed_ipv6, record.framed_ipv6, record.at)
        session.framed_ipv6 = record.framed_ipv6
        new = True
    if takes(record.framed_prefix, session.framed_prefix, is_fresh):
        hold_address(store, session, session.framed_prefix, record.framed_prefix, record.at)
        session.framed_prefix = record.framed_prefix
        new = True
    if takes(record.delegated_prefix, session.delegated_prefix, is_fresh):
        hold_address(store, session, session.delegated_prefix, record.delegated_prefix, record.at)
        session.delegated_prefix = record.delegated_prefix
        new = True
    if new and session.state == ACTIVE:
        store.opened.append(session)
    placed = False
    if session.mobile is None and record.mobile is not None and not session.protocol:
        session.mobile = record.mobile
        new = True
    if session.calling_station is None and record.calling_station is not None:
        session.calling_station = record.calling_station
        placed = True
    if session.called_station is None and record.called_station is not None:
        session.called_station = record.called_station
        placed = True
    if session.nas_port_id is None and record.nas_port_id is not None:
        session.nas_port_id = record.nas_port_id
        placed = True
    if session.circuit_id is None and record.circuit_id is not None:
        session.circuit_id = record.circuit_id
        placed = True
    if session.remote_id is None and record.remote_id is not None:
        session.remote_id = record.remote_id
        placed = True
    if placed and session.desired is not None and session.service is not None:
        # It was decided about without this.
        store.affect(session.service)
    return new or placed


def takes(reported: bytes | None, known: bytes | None, is_fresh: bool) -> TypeGuard[bytes]:
    """Whether a reported address is news."""
    return reported is not None and reported != known and (is_fresh or known is None)


def hold_address(store: Store, session: SessionRecord, old: bytes | None, new: bytes, at: float) -> None:
    """A session got an address: one that replaces another has its own time, and the other's goes to the history.

    The first one known counts from the session's start: it was held before it was reported, and nobody else had it.
    """
    if old is None:
        return
    held = session.held_since
    since = session.started_at if held is None else held.pop(old, session.started_at)
    store.append_address(old, since, session.id, at)
    if held is None:
        held = session.held_since = {}
    held[new] = at
