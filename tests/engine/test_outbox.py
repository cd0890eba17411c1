"""Whatever is lost on the way, and whenever the process ends: the network does what was decided, and nothing undurable
was ever sent."""

from __future__ import annotations

from random import Random

import pytest

from aaa.limits import ENFORCE_STOP_GRACE_S
from aaa.model.accounting import Status
from aaa.model.enforcement import Reply
from aaa.model.records import ACTIVE
from tests.engine.far_end import ACK, TIMEOUT, Field, Sent, nak
from tests.engine.site import AT

USERS = [f"u{number}" for number in range(6)]
RATES = [1_000_000, 2_000_000, 3_000_000]


class Boxes:
    """What the NASes really do: the rate of each session, and which of them are still up."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.rates: dict[bytes, int] = {}
        self.it = Field()
        self.it.put("plan", "home", rate={"down_bps": RATES[0], "up_bps": 1_000_000})
        for name in USERS:
            self.it.service(name)
        self.it.settle()
        self.keys = 0

    def start(self, name: str) -> None:
        """A subscriber logs in."""
        it = self.it
        if it.login(name.encode(), at=it.now - AT, nas=it.nas()).decision is None:
            return
        self.keys += 1
        key = b"%s-%d" % (name.encode(), self.keys)
        session = it.online(name, key, calling_station=key)
        assert session.desired is not None
        assert session.desired.body.rate is not None
        self.rates[key] = session.desired.body.rate.down_bps

    def stop(self, key: bytes) -> None:
        """The NAS reports the end of a session."""
        name = key.partition(b"-")[0]
        del self.rates[key]
        self.it.report(Status.STOP, key, self.it.now - AT, user_name=name)

    def obey(self, sent: Sent) -> None:
        """A request has reached its NAS and is carried out."""
        key = sent.session.key
        if sent.action == "disconnect":
            if key in self.rates and self.random.random() < 0.7:
                self.stop(key)
            else:
                self.rates.pop(key, None)
        elif key in self.rates and sent.desired is not None and sent.desired.body.rate is not None:
            self.rates[key] = sent.desired.body.rate.down_bps

    def answer(self, sent: Sent, kindly: bool = False) -> Reply:
        """What becomes of a request."""
        if sent.session.key not in self.rates:
            return nak(503)
        fate = "ack" if kindly else self.random.choice(["ack", "ack", "answer lost", "lost", "busy", "refused"])
        if fate in ("ack", "answer lost"):
            self.obey(sent)
        return {"ack": ACK, "answer lost": TIMEOUT, "lost": TIMEOUT, "busy": nak(506), "refused": nak(404)}[fate]

    def check_durable(self) -> None:
        """Everything that left has its row on the disk."""
        stored = {number for (number,) in self.it.db.execute("SELECT id FROM enforcement")}
        assert {enforcement.id for enforcement in self.it.enforcer.in_flight.values()} <= stored

    def step(self) -> None:
        """Something happens."""
        pick, it = self.random.choice, self.it
        what = self.random.randrange(10)
        if what < 2:
            self.start(pick(USERS))
        elif what < 4:
            it.rate(pick(USERS), pick(RATES))
        elif what == 4:
            name = pick(USERS)
            it.state("suspended" if it.store.services[name].body.state == "active" else "active", name)
        elif what == 5:
            it.put("plan", "home", rate={"down_bps": pick(RATES), "up_bps": 1_000_000})
        elif what == 6 and self.rates:
            self.stop(pick(sorted(self.rates)))
        elif what == 7:
            it.now += pick([0.5, 3.0, 20.0])
        elif what == 8:
            it.far.rooms["bng"] = pick([0, 1, 100])
        else:
            # The process ends: what it had not handed over to the disk is lost, and so are the answers.
            it.rate(pick(USERS), pick(RATES))
            it.engine.settle(it.now)
            sent, self.it = it.far.waiting, it.restart(durable=pick([True, False]))
            for request in sent:
                self.answer(request)
        self.work()

    def work(self, kindly: bool = False) -> None:
        """The engine works, the far end answers some."""
        it = self.it
        it.settle()
        self.check_durable()
        while it.far.waiting and (kindly or self.random.random() < 0.7):
            it.answer(self.answer(it.far.waiting[0], kindly))
            self.check_durable()


@pytest.mark.parametrize("seed", range(25))
def test_the_network_ends_up_as_decided(seed: int) -> None:
    boxes = Boxes(seed)
    for _ in range(120):
        boxes.step()
    for _ in range(8):
        boxes.it.far.rooms.clear()
        boxes.it.now += 301.0
        boxes.work(kindly=True)
    # What a NAS refused for good is tried again when somebody has mended it.
    boxes.it.enforcer.use(boxes.it.enforcer.settings)
    boxes.work(kindly=True)
    boxes.it.settle(ENFORCE_STOP_GRACE_S + 1)
    it = boxes.it
    live = [session for session in it.store.sessions.values() if session.state == ACTIVE]
    assert {session.key for session in live} == set(boxes.rates)
    for session in live:
        desired = it.decisions.of_session(session, it.now)
        assert session.decision is not None
        assert session.decision.id == desired.id
        assert desired.body.rate is not None
        assert boxes.rates[session.key] == desired.body.rate.down_bps
    assert it.store.enforcements == {}
    assert list(it.enforcer.divergent()) == []
