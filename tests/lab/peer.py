"""A Diameter peer of the tests, whatever plays it: its requests with their answers, and the server's as they come."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from tests.lab import wire
from tests.lab.wire import Avps, Message

PATIENCE_S = 15.0
"""A bound against a hanging test, never a measurement."""
SUCCESS, UNKNOWN_SESSION_ID, UNABLE_TO_COMPLY, UNABLE_TO_DELIVER = 2001, 5002, 5012, 3002
_identifiers = itertools.count(int(time.time()) & 0xFFF00000)


class LabError(AssertionError):
    """What the peer's stack, or Open5GS, would not have accepted; or nothing came."""


class Silence:
    """A way to answer: not at all."""


class Peer:
    """One Origin-Host. Subclasses send octets and hand in what they receive."""

    def __init__(self, host: str, realm: str, applications: tuple[str, ...]) -> None:
        self.host, self.realm, self.applications = host, realm, applications
        self.server_realm = realm
        self.requests: list[Message] = []
        """Requests of the server that no expect() has taken yet."""
        self.seen: list[bytes] = []
        """Every message of the server's, as it came."""
        self.faults: list[str] = []
        """What was wrong with anything that the server sent; Lab.check() wants none."""
        self.answers: dict[str, Any] = {}
        """By command: a Result-Code, an AVP list in place of the result, Silence, or a callable of the request that
        gives one of these. What is not here is answered 2001."""
        self.watchers: list[Callable[[Message], None]] = []
        """Told of every request before it is answered."""
        self._changed = threading.Condition()
        self._sessions = itertools.count(1)

    # What a subclass does

    def transmit(self, application: str, raw: bytes, timeout_s: float) -> Future[Message]:
        """Send a whole request; the answer comes, or LabError."""
        raise NotImplementedError

    def reply(self, reference: Any, raw: bytes | None) -> None:
        """Send a whole answer, or None."""
        raise NotImplementedError

    # Requests of ours

    def session_id(self) -> str:
        return f"{self.host};{int(time.time())};{next(self._sessions)};lab"

    def post(
        self,
        application: str,
        command: str,
        avps: Avps,
        *,
        flags: int = wire.REQUEST | wire.PROXIABLE,
        end_to_end: int | None = None,
        timeout_s: float = PATIENCE_S,
    ) -> Future[Message]:
        """Send a request; its answer comes in the Future. end_to_end, flags: of a retransmission."""
        what = wire.commands()[application, command]
        number = next(_identifiers) & 0xFFFFFFFF
        raw = wire.message(
            flags, what.code, what.application, number, number if end_to_end is None else end_to_end, avps
        )
        return self.transmit(application, raw, timeout_s)

    def ask(self, application: str, command: str, avps: Avps, **options: Any) -> Message:
        """Send a request and wait for the answer. Raises LabError for one that this peer would not accept."""
        try:
            answer = self.post(application, command, avps, **options).result(PATIENCE_S + 5)
        except TimeoutError:
            raise LabError(f"{self.host} got no answer to its {command}") from None
        if answer.faults:
            raise LabError(f"{self.host} would not take {answer}: {answer.faults}")
        return answer

    # Requests of the server's

    def came(self, request: Message, reference: Any) -> None:
        """Called by the subclass's reader for each request."""
        self.seen.append(request.raw)
        if request.faults:
            self.faults.append(f"{request}: {request.faults}")
        for watcher in self.watchers:
            watcher(request)
        how = self.answers.get(request.name, SUCCESS)
        if callable(how) and not isinstance(how, type):
            how = how(request)
        if how is Silence:
            self.reply(reference, None)
        else:
            self.reply(reference, self._answer(request, how))
        with self._changed:
            self.requests.append(request)
            self._changed.notify_all()

    def _answer(self, request: Message, how: Any) -> bytes:
        result = [("Result-Code", how)] if isinstance(how, int) else how
        state = request.get("Auth-Session-State")
        pairs = [
            ("Session-Id", request["Session-Id"]),
            ("Origin-Host", self.host),
            ("Origin-Realm", self.realm),
            *result,
            ("Auth-Session-State", state),
            ("Auth-Application-Id", request.get("Auth-Application-Id")),
        ]
        code = result[0][1] if result[0][0] == "Result-Code" else 0
        flags = (request.flags & wire.PROXIABLE) | (wire.ERROR if code // 1000 == 3 else 0)
        return wire.message(flags, request.code, request.application, request.hop_by_hop, request.end_to_end, pairs)

    def expect(self, command: str, timeout_s: float = PATIENCE_S, **wanted: Any) -> Message:
        """The next request of this command; wanted: values of AVPs, with _ for -. Others stay for who expects them."""

        def fits(request: Message) -> bool:
            return request.name == command and all(
                request.get(name.replace("_", "-")) == value for name, value in wanted.items()
            )

        with self._changed:
            if not self._changed.wait_for(lambda: any(map(fits, self.requests)), timeout_s):
                raise LabError(f"{self.host} got no {command} {wanted or ''}; it got {self.requests}")
            found = next(filter(fits, self.requests))
            self.requests.remove(found)
        if found.faults:
            raise LabError(f"{self.host} would not take {found}: {found.faults}")
        return found

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> None:
        """Until something that the reader changes is so."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout_s):
                raise LabError(f"{self.host}: {what}: did not come to be")

    def changed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def check(self) -> None:
        """Nothing that came since the last check was wrong."""
        faults, self.faults = self.faults, []
        assert not faults, "\n".join(faults)
