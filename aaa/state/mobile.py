"""Sessions of the Diameter applications: how they begin and end. Deterministic; times come in."""

from __future__ import annotations

from aaa.limits import SESSIONS_OF_SIM_MAX
from aaa.model.mobile import EVENT, GX, GY, S6A, SY, Mobile
from aaa.model.records import ACTIVE, DECISION_MARK, DecisionRecord, NasRecord, ServiceRecord, SessionRecord
from aaa.state.meters import choose_meter
from aaa.state.sessions import CAUSE_LOST_CARRIER, end_session
from aaa.state.store import WHOLE, Store


def client_of(store: Store, origin_host: str, realm: str, operator: str) -> NasRecord:
    """The record of a Diameter client by its Origin-Host, made and written when it is new.

    operator: whose peer it is; "" leaves it to everybody's.
    """
    nas = store.nases.get(origin_host)
    if nas is None:
        nas = NasRecord(store.next_no(), origin_host, origin_host)
        store.nases[origin_host] = nas
        nas.diameter, nas.realm = True, realm
        store.touch_nas(nas)
    elif nas.realm != realm or not nas.diameter:
        nas.diameter, nas.realm = True, realm
        store.touch_nas(nas)
    nas.operator = operator or "default"
    return nas


def restart_client(store: Store, nas: NasRecord, at: float) -> None:
    """A client has lost its sessions (its Origin-State-Id grew, RFC 6733 §8.16): those that began before are over.

    Which MME serves an IMSI is known until another one says so.
    """
    if at <= nas.restarted_at:
        return
    nas.restarted_at = at
    store.touch_nas(nas)
    store.emit("nas.up", nas.name, at, {"cause": "origin-state-id", "sessions": nas.live_count})
    store.closing.append((nas, at, at, sessions_at_client(nas)))


def sessions_at_client(nas: NasRecord) -> list[SessionRecord]:
    """What a restart of a client ends."""
    return [session for session in nas.sessions.values() if session.protocol != S6A]


def new_session(
    store: Store, protocol: int, nas: NasRecord, key: bytes, service: ServiceRecord | None, mobile: Mobile, at: float
) -> SessionRecord:
    """A session that nobody knows of yet: for a decision about it, then for open_session()."""
    session = SessionRecord(store.session_ids.next(at), nas, service)
    session.protocol = protocol
    session.mobile = mobile
    session.key = key
    session.user_name = mobile.imsi.encode()
    session.calling_station = mobile.msisdn.encode() if mobile.msisdn else None
    session.called_station = mobile.apn.encode() if mobile.apn else None
    session.authorised_at = session.started_at = session.updated_at = session.heard_at = at
    return session


def open_session(store: Store, session: SessionRecord, decision: DecisionRecord | None) -> None:
    """Make a new session live. decision: what its client is told now; None: it is adopted, and what it runs under
    unknown. Whoever opens one has the engine settle in the same journal group."""
    session.state = ACTIVE
    session.decision = session.desired = decision
    session.adopted = decision is None
    nas = session.nas
    nas.last_accounting_at = session.heard_at
    former = session_of(nas, session.protocol, session.key)
    is_event = session.protocol == GY and session.mobile.kind == EVENT
    if former is not None and former.state == ACTIVE and not is_event:
        end_session(store, former, former.updated_at, 0, False, session.heard_at)
    live = session.service.live if session.service is not None else None
    if live is not None and len(live.sessions) >= SESSIONS_OF_SIM_MAX:
        make_room(store, session)
    store.index_session(session)
    store.link_key(session)
    choose_meter(store, session)
    store.opened.append(session)
    store.begun.append((session, 0 if decision is None else decision.id & DECISION_MARK))
    store.touch_session(session, WHOLE)


def make_room(store: Store, session: SessionRecord) -> None:
    """A SIM has so many sessions of one application: the one that was silent for longest gives way to a new one."""
    others = sessions_of(session.service, session.protocol, session.mobile.imsi)
    if len(others) >= SESSIONS_OF_SIM_MAX:
        oldest = others[0]
        for other in others:
            if other.heard_at < oldest.heard_at:
                oldest = other
        end_session(store, oldest, oldest.updated_at, CAUSE_LOST_CARRIER, False, session.heard_at)


def session_of(nas: NasRecord, protocol: int, key: bytes) -> SessionRecord | None:
    """The newest session of a client under a Session-Id (S6a: IMSI), which another application may use as well."""
    session: SessionRecord | None = nas.sessions.get(key)
    while session is not None and session.protocol != protocol:
        session = session.earlier
    return session


def sessions_of(service: ServiceRecord | None, protocol: int, imsi: str) -> list[SessionRecord]:
    """Live sessions of a service by protocol and IMSI."""
    live = service.live if service is not None else None
    return [
        session
        for session in (() if live is None else live.sessions)
        if session.protocol == protocol and session.mobile.imsi == imsi and session.state == ACTIVE
    ]


def is_foreign(session: SessionRecord, operator: str) -> bool:
    """Whether a session is of another operator's subscriber. Security: who may ask for one operator's SIMs only does
    not go on with, or end, a session of another's, whatever Session-Id it has heard of."""
    service = session.service
    if service is not None:
        return bool(service.subscriber.body.operator != operator)
    return session.former is None or session.former[2] != operator


def bar_imsi(store: Store, service: ServiceRecord | None, imsi: str, why: str) -> None:
    """A SIM may not be used any more, or not for this service: its registration and its bearers are to end."""
    live = service.live if service is not None else None
    for session in () if live is None else live.sessions:
        if session.protocol in (S6A, GX, GY, SY) and session.mobile.imsi == imsi and session.state == ACTIVE:
            store.barred.append((session, why, store.cause))
