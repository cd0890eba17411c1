"""The network as the engine sees it, whatever speaks to it: CoA for RADIUS sessions, Diameter requests for others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from aaa.limits import DIAMETER_CHANGES_IN_FLIGHT_MAX
from aaa.mapping.application import Application, Outgoing
from aaa.model.enforcement import Difference, Reply
from aaa.model.records import NEVER, DecisionRecord, NasRecord, SessionRecord
from native.diameter import Message

if TYPE_CHECKING:
    from aaa.server.diameter import Diameter
    from aaa.server.dynamic import Dynamic

NO_DIFFERENCE: Final = Difference("none")


class Networks:
    """Changes and ends live sessions of every protocol; see aaa.engine.network.Network."""

    def __init__(self, radius: Dynamic, diameter: DiameterNetwork) -> None:
        self.radius = radius
        self.diameter = diameter

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        """What it takes to bring a session from one decision to the other."""
        if session.protocol:
            return self.diameter.difference(session, confirmed, desired)
        return self.radius.difference(session, confirmed, desired)

    def end_of(self, session: SessionRecord, decision: DecisionRecord) -> float:
        """When the network element ends a session by itself."""
        return NEVER if session.protocol else self.radius.end_of(session, decision)

    def change(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord,
        done: Callable[[Reply], None],
    ) -> bool:  # fmt: skip
        """Send what brings a session to a decision."""
        network = self.diameter if session.protocol else self.radius
        return network.change(session, confirmed, desired, done)

    def disconnect(self, session: SessionRecord, done: Callable[[Reply], None]) -> bool:
        """Send what ends a session."""
        network = self.diameter if session.protocol else self.radius
        return network.disconnect(session, done)

    def room(self, nas: NasRecord) -> int:
        """How many exchanges a network element would take now."""
        return self.diameter.room(nas) if nas.diameter else self.radius.room(nas)


class DiameterNetwork:
    """Sends the requests that applications render, and reads what their answers mean."""

    def __init__(self, applications: Mapping[int, Application]) -> None:
        """applications: by SessionRecord.protocol."""
        self.applications = applications
        self.diameter: Diameter | None = None
        """Who sends; None: Diameter is not configured."""
        self.note: Callable[[SessionRecord, Outgoing, Reply], None] = lambda session, outgoing, reply: None
        """Called for every exchange that is over."""
        self._in_flight: dict[NasRecord, int] = {}

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        """As the session's application has it."""
        application = self.applications.get(session.protocol)
        return NO_DIFFERENCE if application is None else application.difference(session, confirmed, desired)

    def change(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord,
        done: Callable[[Reply], None],
    ) -> bool:  # fmt: skip
        """RAR, IDR or SNR."""
        application = self.applications[session.protocol]
        return self._send(application, session, application.change_request(session, confirmed, desired), done)

    def disconnect(self, session: SessionRecord, done: Callable[[Reply], None]) -> bool:
        """RAR with Session-Release-Cause, or CLR."""
        application = self.applications[session.protocol]
        return self._send(application, session, application.end_request(session), done)

    def room(self, nas: NasRecord) -> int:
        """How many more requests may wait for this client's answers."""
        return DIAMETER_CHANGES_IN_FLIGHT_MAX - self._in_flight.get(nas, 0)

    def _send(
        self, application: Application, session: SessionRecord, outgoing: Outgoing, done: Callable[[Reply], None]
    ) -> bool:
        sent_at = time.time()
        nas = session.nas

        def answered(message: Message | None, reason: str) -> None:
            left = self._in_flight.get(nas, 0) - 1
            if left > 0:
                self._in_flight[nas] = left
            else:
                self._in_flight.pop(nas, None)
            at = time.time()
            if message is None:
                reply = Reply("timeout", detail=reason)
            else:
                reply = application.read_reply(session, outgoing, message, at)
                nas.last_accounting_at = session.heard_at = at
            reply = replace(
                reply, transmissions=1, sent_at=sent_at, answered_at=0.0 if message is None else at,
                keys=keys_of(session, outgoing), attributes=outgoing.shown, command=outgoing.name,
            )  # fmt: skip
            self.note(session, outgoing, reply)
            done(reply)

        if self.diameter is None:
            done(Reply("error", detail="Diameter is not configured", command=outgoing.name))
            return True
        self._in_flight[nas] = self._in_flight.get(nas, 0) + 1
        sent = self.diameter.send(
            nas.name, session.mobile.realm or nas.realm, application.number, outgoing.command,
            outgoing.session_id or session.key, outgoing.avps, answered, sent_at, session.mobile.via,
        )  # fmt: skip
        if not sent:
            answered(None, "not connected")
        return True


def keys_of(session: SessionRecord, outgoing: Outgoing) -> tuple[tuple[str, str], ...]:
    """What names the session in a request, for the receipt."""
    return (
        ("Session-Id", (outgoing.session_id or session.key).decode("utf-8", "replace")),
        ("Destination-Host", session.nas.name),
    )
