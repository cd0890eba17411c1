"""What the desks of all applications share: a peer that requests come over, what is configured, and the reconciler's
network."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from aaa.config import Diameter, Peer
from aaa.diameter.settings import Local, Remote
from aaa.mapping.application import Application, Outgoing
from aaa.mapping.settings import Settings
from aaa.model.enforcement import Difference, Reply
from aaa.model.records import NEVER, DecisionRecord, NasRecord, SessionRecord

SERVER = "aaa.localdomain"
REALM = "example"
"""Of every client; the server's is localdomain."""


class FarPeer:
    """What is read of a peer."""

    local = Local(SERVER, "localdomain", 1, (), {})

    def __init__(self, host: str) -> None:
        self.remote = Remote(host, REALM)


@cache
def peer_of(host: str) -> Any:
    """One object for each peer, as the node has it."""
    return FarPeer(host)


def configured(peer: dict[str, Any] | None = None, **diameter: Any) -> Settings:
    """[diameter], and the [[peer]] that everybody of the realm is."""
    return Settings(Diameter(origin_host=SERVER, **diameter), [Peer("*", REALM, **(peer or {}))])


class Wire:
    """The reconciler's network: requests of one application wait here until the test answers them."""

    def __init__(self, application: Application, protocol: int) -> None:
        self.application = application
        self.protocol = protocol
        self.sent: list[Outgoing] = []
        self.waiting: list[tuple[SessionRecord, Any, Callable[[Reply], None]]] = []

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        if session.protocol != self.protocol:
            return Difference("none")
        return self.application.difference(session, confirmed, desired)

    def end_of(self, session: SessionRecord, decision: DecisionRecord) -> float:
        return NEVER

    def change(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord,
        done: Callable[[Reply], None],
    ) -> bool:  # fmt: skip
        return self.send(session, self.application.change_request(session, confirmed, desired), done)

    def disconnect(self, session: SessionRecord, done: Callable[[Reply], None]) -> bool:
        return self.send(session, self.application.end_request(session), done)

    def room(self, nas: NasRecord) -> int:
        return 100

    def send(self, session: SessionRecord, outgoing: Outgoing, done: Callable[[Reply], None]) -> bool:
        self.sent.append(outgoing)
        self.waiting.append((session, outgoing, done))
        return True
