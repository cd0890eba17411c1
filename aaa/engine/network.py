"""What the engine needs of the network: the difference between two decisions on a NAS, and a way to send it.

The server injects it; nothing here knows a packet or a socket.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from aaa.model.enforcement import Difference, Reply
from aaa.model.records import DecisionRecord, NasRecord, SessionRecord


class Network(Protocol):
    """Changes and ends live sessions."""

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        """What it takes; confirmed None: unknown, so everything that can be changed is sent. Pure, cached, cheap.

        Between equal decisions: a longer Session-Timeout, where the service was renewed since it was told.
        """
        ...

    def end_of(self, session: SessionRecord, decision: DecisionRecord) -> float:
        """When the network element ends the session by itself if it is told now, epoch seconds; NEVER."""
        ...

    def change(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord,
        done: Callable[[Reply], None],
    ) -> bool:
        """Send a CoA; `done` is called once, never from within. False: the NAS's queue is full, ask again later."""
        ...  # fmt: skip

    def disconnect(self, session: SessionRecord, done: Callable[[Reply], None]) -> bool:
        """Send a Disconnect; as change()."""
        ...

    def room(self, nas: NasRecord) -> int:
        """How many exchanges this NAS would take now, within its rate and concurrency."""
        ...
