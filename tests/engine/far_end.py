"""A network that answers by script, and a site whose journal is durable when told: the far end of enforcement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aaa.engine.automate import Automator
from aaa.engine.enforce import Enforcer, EnforceSettings
from aaa.engine.engine import Engine
from aaa.engine.facts import epoch
from aaa.engine.presence import Presence
from aaa.engine.timers import Timers
from aaa.model.accounting import Status
from aaa.model.enforcement import Difference, Reply
from aaa.model.events import Event
from aaa.model.mobile import DENIED_BY_CHANGE
from aaa.model.records import DECISION_MARK, NEVER, DecisionRecord, NasRecord, SessionRecord
from aaa.state.load import load
from aaa.state.recent import replay
from aaa.state.seal import Sealer
from aaa.state.store import Store
from policy.rules import Policy
from tests.engine.site import AT, Site
from tests.state.world import Disk, database

ACK = Reply("ack")
TIMEOUT = Reply("timeout", detail="no answer")


def nak(cause: int = 0) -> Reply:
    """A NAK with an Error-Cause; 0: none."""
    return Reply("nak", cause)


class Sent:
    """One request that left."""

    def __init__(
        self, action: str, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord | None,
        done: Callable[[Reply], None],
    ) -> None:  # fmt: skip
        self.action = action
        self.session = session
        self.confirmed = confirmed
        self.desired = desired
        self.done = done


class FarEnd:
    """Takes requests, compares rates and pools as a NAS with CoA for the rate would, and answers when told."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        """Everything that left, in order."""
        self.waiting: list[Sent] = []
        """Not answered yet."""
        self.rooms: dict[str, int] = {}
        """How many requests a NAS still takes; absent: any number."""

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        if not desired.grant:
            return Difference("coa" if session.protocol in DENIED_BY_CHANGE else "disconnect", "not granted")
        if confirmed is not None and confirmed.body.pool != desired.body.pool:
            return Difference("disconnect", "pool needs a new session")
        if confirmed is None or confirmed.body.rate != desired.body.rate:
            return Difference("coa", "rate")
        if 0.0 < session.ends_at < self.end_of(session, desired):
            return Difference("coa", "session_timeout")
        return Difference("none")

    def end_of(self, session: SessionRecord, decision: DecisionRecord) -> float:
        expires_at = session.service.body.expires_at if session.service is not None else None
        return NEVER if expires_at is None else epoch(expires_at) or NEVER

    def change(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord,
        done: Callable[[Reply], None],
    ) -> bool:  # fmt: skip
        return self._take(Sent("coa", session, confirmed, desired, done))

    def disconnect(self, session: SessionRecord, done: Callable[[Reply], None]) -> bool:
        return self._take(Sent("disconnect", session, None, None, done))

    def room(self, nas: NasRecord) -> int:
        return self.rooms.get(nas.name, 1)

    def _take(self, sent: Sent) -> bool:
        name = sent.session.nas.name
        if self.room(sent.session.nas) <= 0:
            return False
        if name in self.rooms:
            self.rooms[name] -= 1
        self.sent.append(sent)
        self.waiting.append(sent)
        return True

    @property
    def actions(self) -> list[str]:
        """What left, in order."""
        return [sent.action for sent in self.sent]

    def rate(self, index: int = -1) -> int | None:
        """Down rate that a CoA asked for."""
        desired = self.sent[index].desired
        return desired.body.rate.down_bps if desired is not None and desired.body.rate is not None else None


class Field(Site):
    """A site on a disk, with sessions and a far end. Time is `now`, and passes when told."""

    def __init__(
        self, db: Any = None, escalate: Any = "disconnect", policy: Policy | None = None, nases: Any = None
    ) -> None:
        self.db = database() if db is None else db
        self.policy = policy
        self.nases = nases or {}
        super().__init__()
        self.escalate = escalate
        self.now = AT
        self.start(db is not None)

    def start(self, loaded: bool) -> None:
        """Put the engine on a store, as a new process does."""
        self.store = Store(Sealer(bytes(32)))
        replay(self.db)
        load(self.store, self.db, AT)
        for nas in self.store.nases.values():
            nas.passwords = self.store.index_of("password", nas.operator)
            for name, value in self.nases.items():
                setattr(nas, name, value)
        self.disk = Disk(self.store, self.db)
        self.build(self.policy)
        self.far = FarEnd()
        self.enforcer = Enforcer(
            self.store, self.decisions, self.addresses, self.far, EnforceSettings(escalate=self.escalate)
        )
        self.presence = Presence(self.store, self.decisions, self.enforcer)
        self.addresses.note = self.presence.note
        self.automator = Automator(self.store, self.decisions, self.enforcer)
        self.timers = Timers(self.store, self.decisions, self.automator)
        self.enforcer.note_decided = self.timers.note_decided
        self.engine = Engine(self.store, self.addresses, self.enforcer, self.automator, self.timers)
        if loaded:
            self.enforcer.resume()

    def restart(self, durable: bool = True, nases: Any = None) -> Field:
        """What a new process makes of the disk; durable False: what was not flushed is lost. nases: how all are set."""
        if durable:
            self.disk.settle()
        field = Field(self.db, self.escalate, self.policy, nases)
        field.now, field.revision = self.now, self.revision
        field.settle()
        return field

    def settle(self, seconds: float = 0.0) -> None:
        """Time passes; the engine works and the disk follows until nothing is left to do."""
        self.now += seconds
        for _ in range(10_000):
            more = self.engine.tick(self.now)
            self.disk.settle()
            if not more and not self.enforcer.durable:
                return
        raise AssertionError("it never settles")

    def answer(self, *replies: Reply) -> None:
        """The far end answers what waits, the oldest first."""
        for reply in replies or (ACK,):
            self.far.waiting.pop(0).done(reply)
        self.settle()

    def online(self, name: str = "alice", key: bytes = b"one", **facts: Any) -> SessionRecord:
        """Log in, and report the Start under the Class that the Accept carried."""
        nas = facts.setdefault("nas", self.nas())
        outcome = self.login(name.encode(), at=self.now - AT, nas=nas)
        assert outcome.decision is not None, outcome.message
        token = {
            "token_session": outcome.session_id,
            "token_service": self.store.services[name].no,
            "token_decision": outcome.decision.id & DECISION_MARK,
        }
        self.report(Status.START, key, self.now - AT, user_name=name.encode(), **token, **facts)
        self.settle()
        return nas.sessions[key]

    def events(self, *kinds: str) -> list[Event]:
        """What was told, of these types or of all."""
        return [event for event in self.store.events if not kinds or event.type in kinds]

    def rate(self, name: str = "alice", down_bps: int = 2_000_000) -> None:
        """Billing changes the speed of one service."""
        body = self.store.services[name].body
        self.put(
            "service",
            name,
            subscriber_id=body.subscriber_id,
            plan_id=body.plan_id,
            overrides={"rate": {"down_bps": down_bps, "up_bps": 1_000_000}},
        )

    def state(self, state: str, name: str = "alice") -> None:
        """Billing changes the state of one service."""
        body = self.store.services[name].body
        self.put("service", name, subscriber_id=body.subscriber_id, plan_id=body.plan_id, state=state)
