"""What silence means: sessions and NASes that stopped speaking. Works in slices; knows no packet.

A session that missed its interims is closed, so that it blocks nobody; a NAS with live sessions that says nothing is
reported down once, and up again at its next packet.
"""

from __future__ import annotations

from collections.abc import Callable

from aaa.engine.addresses import PENDING_S, Addresses
from aaa.engine.authorize import AccessSettings
from aaa.engine.charging import silence_s_max
from aaa.limits import CLOSED_AT_ONCE_COUNT_MAX, GY_GRACE_S, LIVENESS_SLICE_COUNT
from aaa.model.mobile import GY, S6A
from aaa.model.records import ACTIVE, ENDED, NEVER, PENDING, SessionRecord
from aaa.state.sessions import CAUSE_LOST_CARRIER, close_some, end_session
from aaa.state.store import COUNTERS, Store


class Liveness:
    """Looks at every session and NAS in turn, a slice at each tick."""

    def __init__(
        self,
        store: Store,
        addresses: Addresses,
        settings: AccessSettings,
        nas_silence_s: float,
        note_event: Callable[[str, str, float, dict[str, object]], None],
        kept_after_end_s: float,
    ) -> None:
        self.store = store
        self.addresses = addresses
        self.note_event = note_event
        self.kept_after_end_s = kept_after_end_s
        self.waiting: list[int] = []
        """Session ids still to be looked at in this round."""
        self.left = 0
        """Of them, those that are to be looked at in this tick."""
        self.is_going_on = False
        """go_on() is wanted."""
        self.ticked_at = 0.0
        self.listens_since = 0.0
        """From when on silence is somebody's, epoch seconds: before a start nobody was heard."""
        self.stale_closed = 0
        self.probe: Callable[[SessionRecord, float], object] = lambda session, at: None
        """Asks the client of a Diameter session whether it still has it."""
        self.use(settings, nas_silence_s)

    def use(self, settings: AccessSettings, nas_silence_s: float) -> None:
        """Take new settings."""
        self.settings = settings
        self.nas_silence_s = nas_silence_s

    def tick(self, at: float) -> bool:
        """One slice. at: epoch seconds. True: go_on() is to be called from now on, until it says no."""
        if at < self.ticked_at:
            # The clock was set back: what was decided at a moment still to come does not hold.
            self.store.policy_version.number += 1
        self.ticked_at = at
        self.listens_since = min(self.listens_since, at)
        if not self.waiting:
            self.waiting = list(self.store.sessions)
            self.look_at_nases(at)
        self.addresses.expire(at)
        self.left = min(LIVENESS_SLICE_COUNT, len(self.waiting))
        was_going_on = self.is_going_on
        return self.go_on(at) and not was_going_on

    def go_on(self, at: float) -> bool:
        """A part of the slice: to close a session costs much more than to look at one. True: there is more of it."""
        ended = self.store.ended
        while self.left and len(ended) < CLOSED_AT_ONCE_COUNT_MAX:
            self.left -= 1
            session = self.store.sessions.get(self.waiting.pop())
            if session is not None:
                self.look_at(session, at)
        if self.store.closing and not ended:
            close_some(self.store, CLOSED_AT_ONCE_COUNT_MAX)
        self.addresses.settle(at)
        self.is_going_on = self.left > 0 or bool(self.store.closing)
        return self.is_going_on

    def look_at(self, session: SessionRecord, at: float) -> None:
        """Close a silent session, drop a reservation nobody used, move a long ended session to the history."""
        # The clock was set back: silence counts from now.
        session.heard_at = min(session.heard_at, at)
        session.authorised_at = min(session.authorised_at, at)
        if session.state == PENDING:
            if at - session.authorised_at > PENDING_S:
                self.store.sessions.pop(session.id, None)
                self.store.detach_session(session)
                self.addresses.release(session, at)
        elif session.state == ACTIVE:
            if session.protocol:
                self.look_at_mobile(session, at)
            elif self.is_silent(session, at):
                end_session(self.store, session, session.updated_at, CAUSE_LOST_CARRIER, False, at)
                self.stale_closed += 1
        elif session.state == ENDED and at - session.heard_at > self.kept_after_end_s:
            self.store.forget_session(session)

    def look_at_mobile(self, session: SessionRecord, at: float) -> None:
        """A Diameter session reports only when something happens: one that was silent for long is asked for.

        Its client answers that it does not know it, where it is gone. One that holds quota must report in time
        (Tcc of RFC 8506 §13), and is over where it does not: others may have what it holds.
        """
        silence = at - max(session.heard_at, self.listens_since)
        silence_max = silence_s_max(session.mobile, GY_GRACE_S) if session.protocol == GY else NEVER
        if silence > silence_max:
            end_session(self.store, session, session.updated_at, CAUSE_LOST_CARRIER, False, at)
            self.stale_closed += 1
        elif silence_max == NEVER and session.protocol != S6A and silence > self.settings.session_silence_s:
            session.heard_at = at
            self.store.touch_session(session, COUNTERS)
            self.probe(session, at)

    def is_silent(self, session: SessionRecord, at: float) -> bool:
        """Whether too many interims were missed; sessions that never sent one get the long bound."""
        silence = at - max(session.heard_at, self.listens_since)
        if session.interim_interval_s and session.session_time_s:
            return silence > session.interim_interval_s * self.settings.missed_interims
        return silence > self.settings.session_silence_s

    def look_at_nases(self, at: float) -> None:
        """nas.down and nas.up, each once."""
        for nas in self.store.nases.values():
            heard = nas.last_accounting_at = min(nas.last_accounting_at, at)
            nas.down_at = min(nas.down_at, at)
            if not heard or not self.nas_silence_s or nas.diameter:
                continue
            silent = at - heard > self.nas_silence_s
            if silent and nas.live_count and not nas.down:
                nas.down = True
                nas.down_at = heard
                self.note_event("nas.down", nas.name, at, {"silent_s": int(at - heard), "sessions": nas.live_count})
            elif nas.down and not silent and heard > nas.down_at:
                nas.down = False
                self.note_event("nas.up", nas.name, at, {})
