"""Idempotency-Key: a request that is sent again is answered again, and does nothing again.

Theory of operation. A request reaches the engine as calls; the same request makes the same calls in the same order.
Each call of a request with a key bears the key and its number, and the engine keeps its answer in the journal group of
its effects. When the request comes again, calls that have an answer are answered from the store and the rest is done:
so a request that a crash cut in two goes on where it was cut. Streams end with a row that says how many calls there
were, so that a longer or shorter body under the same key is another request.
"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from msgspec import Struct

from aaa.limits import IDEMPOTENCY_CALLS_MAX
from aaa.model.operations import Actor, Answer
from billing_hooks.history import History
from billing_hooks.problems import ProblemError
from billing_hooks.rpc import Engine, RpcClient

KEY_LENGTH_MAX: Final = 255
PURE: Final = frozenset(
    (
        "enforced",
        "policy_preview",
        "snapshot_begin",
        "snapshot_apply",
        "snapshot_mark",
        "snapshot_look",
        "snapshot_end",
        "snapshot_close",
    )
)
"""Methods that change nothing, and those of snapshots, which compare anyway: they are asked anew. Security: a preview's
answer has a megabyte, and what is kept is kept for days."""
END: Final = "end"


class Stored(Struct, frozen=True, gc=False):
    """An answer as the engine kept it."""

    digest: bytes
    status: int
    answer: bytes


class KeyedEngine:
    """The engine, with the answers that an earlier request under the same key was given before it."""

    def __init__(self, engine: RpcClient, scope: str, digest: bytes, stored: dict[str, Stored]) -> None:
        """scope: names token and key. digest: of the request but for its body."""
        self._engine = engine
        self._scope = scope
        self._digest = digest
        self._stored = stored
        self._failed = False
        self.calls = 0

    async def call(self, method: str, actor: Actor, args: object = None, timeout_s: float | None = None) -> Answer:
        """As RpcClient.call(). Raises ProblemError (idempotency_mismatch) from the first call on that differs."""
        if method in PURE or self.calls >= IDEMPOTENCY_CALLS_MAX:
            return await self._engine.call(method, actor, args, timeout_s)
        if self._failed:
            raise mismatch()
        number, self.calls = str(self.calls), self.calls + 1
        asked = msgspec.msgpack.encode([method, args])
        digest = hashlib.sha256(self._digest + asked).digest()
        stored = self._stored.get(number)
        if stored is not None and stored.digest == digest:
            return Answer(0, stored.status, stored.answer)
        end = self._stored.get(END)
        if stored is not None or (end is not None and int(number) >= end.status):
            self._failed = True
            raise mismatch()
        answer = await self._engine.call(method, actor, args, timeout_s, f"{self._scope}.{number}", digest)
        self._failed = self._failed or (answer.status == 422 and b'"idempotency_mismatch"' in answer.body)
        return answer

    async def writable(self) -> None:
        """As RpcClient.writable()."""
        await self._engine.writable()

    async def end(self, actor: Actor) -> None:
        """Say how many calls a stream made. Raises ProblemError (idempotency_mismatch)."""
        end = self._stored.get(END)
        if end is None:
            await self._engine.call("idempotency_end", actor, {"key": f"{self._scope}.{END}", "calls": self.calls})
        elif end.status != self.calls:
            raise mismatch()


def mismatch() -> ProblemError:
    return ProblemError("idempotency_mismatch", "use a key of its own for every request", "Idempotency-Key")


class Keys:
    """The keys in work, and the way to those in the store."""

    def __init__(self, engine: RpcClient, history: History) -> None:
        self._engine = engine
        self._history = history
        self._in_work: set[str] = set()

    @asynccontextmanager
    async def engine_for(self, token: str, key: str, target: bytes) -> AsyncIterator[Engine]:
        """The engine to ask for one request. token: whose key it is. target: method, path and query.

        Raises ProblemError: invalid, in_progress.
        """
        if not 0 < len(key) <= KEY_LENGTH_MAX or not all(" " <= character <= "~" for character in key):
            detail = f"a key has 1 to {KEY_LENGTH_MAX} printable ASCII characters"
            raise ProblemError("invalid", detail, "Idempotency-Key")
        scope = hashlib.sha256(f"{token}\0{key}".encode()).hexdigest()[:32]
        if scope in self._in_work:
            raise ProblemError("in_progress", "a request with this key is being answered", "Idempotency-Key")
        self._in_work.add(scope)
        try:
            query = "SELECT key, digest, status, answer FROM idempotency WHERE key >= ? AND key < ?"
            rows = await self._history.rows(query, (f"{scope}.", f"{scope}/"))
            stored = {name.rpartition(".")[2]: Stored(*rest) for name, *rest in rows}
            yield KeyedEngine(self._engine, scope, hashlib.sha256(target).digest(), stored)
        finally:
            self._in_work.discard(scope)
