"""Sessions that begin and end: what is told of them, and who else has to hear of it. Knows no packet.

Every Start and Stop passes here, so it is cheap: an event each, and one look at the decision.
"""

from __future__ import annotations

from socket import inet_ntoa

from aaa.engine.decisions import Decisions
from aaa.engine.enforce import Enforcer, caused_by
from aaa.engine.facts import is_online, text
from aaa.model.events import Cause
from aaa.model.mobile import LAST_BEARING, PROTOCOLS, S6A
from aaa.model.records import ACTIVE, DECISION_MARK, ENDED, ServiceRecord, SessionRecord
from aaa.state.meters import METERS, choose_meter
from aaa.state.store import Store

ACCOUNTING = Cause("accounting")


class Presence:
    """Follows the store's lists of sessions that were opened and that ended."""

    def __init__(self, store: Store, decisions: Decisions, enforcer: Enforcer) -> None:
        self.store = store
        self.decisions = decisions
        self.enforcer = enforcer

    def note(self, at: float) -> None:
        """Look at what was opened and ended since the last time; whoever clears the lists calls this first."""
        store = self.store
        begun, store.begun = store.begun, []
        with caused_by(store, ACCOUNTING):
            for session, mark in begun:
                if session.state == ACTIVE and not session.service_session:
                    self.begin(session, mark, at)
            for session in store.opened:
                if session.protocol and session.state == ACTIVE:
                    # It may have learned an address, and what it reports was settled after it was opened.
                    choose_meter(store, session)
                # Its service was pushed after it began.
                if session.desired is None and session.service is not None and not session.service_session:
                    self.enforcer.note_opened(session, at, True)
                    self.tell_siblings(session.service, 1)
            # One may have ended twice in the meantime.
            for session in dict.fromkeys(store.ended):
                # One that was closed and opened again is live.
                if session.state == ENDED and not session.service_session:
                    self.end(session, at)

    def begin(self, session: SessionRecord, mark: int, at: float) -> None:
        """A session is live."""
        data = self.facts_of(session)
        if session.adopted:
            data["adopted"] = True
        service = session.service
        self.store.emit("session.started", str(session.id), at, data, service, session.nas.operator)
        if service is None:
            return
        # Without a mark and anything from before, nothing is known, and nothing has changed since.
        first = not mark and session.desired is None
        if mark < 0 and session.decision is None:
            # Its Start was lost: all that is known is whether its Accept carried what is decided now.
            first = self.decisions.of_session(session, at).id & DECISION_MARK == -mark
        elif mark and session.decision is None:
            desired = self.decisions.of_session(session, at)
            session.decision = desired if desired.id & DECISION_MARK == mark else self.decisions.marked.get(mark)
        self.enforcer.note_opened(session, at, first)
        if session.protocol <= LAST_BEARING:
            self.tell_siblings(service, 1)

    def end(self, session: SessionRecord, at: float) -> None:
        """A session is over."""
        data = self.facts_of(session)
        data["started_at"] = session.started_at
        data["ended_at"] = session.ended_at
        data["terminate_cause"] = session.terminate_cause
        data["session_time_s"] = session.session_time_s
        data["input_octets"] = session.input_octets
        data["output_octets"] = session.output_octets
        if session.protocol in METERS:
            aside_input, aside_output = session.aside or (0, 0)
            data["charged_input_octets"] = session.input_octets - aside_input
            data["charged_output_octets"] = session.output_octets - aside_output
        service = session.service
        # Of a deleted service its usage is still to be billed.
        service_id, subscriber_id, operator = session.former or ("", "", session.nas.operator)
        self.store.emit("session.stopped", str(session.id), at, data, service, operator, subscriber_id, service_id)
        self.enforcer.note_ended(session, at)
        choose_meter(self.store, session)
        if service is not None and session.protocol <= LAST_BEARING:
            self.tell_siblings(service, 0)

    def facts_of(self, session: SessionRecord) -> dict[str, object]:
        """What both events tell."""
        data: dict[str, object] = {
            "session_id": str(session.id),
            "nas": session.nas.name,
            "protocol": PROTOCOLS[session.protocol],
            "user_name": text(session.user_name),
        }
        if not session.protocol:
            data["acct_session_id"] = text(session.key)
        elif session.protocol != S6A:
            data["diameter_session_id"] = text(session.key)
        if session.mobile is not None:
            data["imsi"], data["apn"] = session.mobile.imsi, session.mobile.apn
        if session.shadowed:
            # Another session of the same bearer is the one that is charged.
            data["shadowed"] = True
        if session.framed_ip is not None:
            data["framed_ip"] = inet_ntoa(session.framed_ip)
        if session.calling_station is not None:
            data["calling_station_id"] = text(session.calling_station)
        return data

    def tell_siblings(self, service: ServiceRecord, online: int) -> None:
        """Where the policy reads which services of a subscriber are online: the others are decided anew when a
        session of one begins (online 1) or its last one ends (0)."""
        if not self.decisions.policy.reads_online_kinds:
            return
        live = service.live
        count = int(is_online(service)) if live is not None else 0
        # Several may have begun at once.
        if online or not count:
            for sibling in service.subscriber.services:
                if sibling is not service:
                    self.store.revise(sibling)
