"""Slow password hashes in threads of low priority, bounded: the packet loop never waits for one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from aaa.credential.verifier import Verifier, verify_password
from aaa.model.access import Attempt, Outcome

HASH_NICE = 10
"""Below the packet loop and the writer."""


def _lower_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), HASH_NICE)


def _verify(verifier: Verifier, password: bytes, latest: float) -> bool | None:
    return verify_password(verifier, password) if time.monotonic() <= latest else None


class SlowHashes:
    """Checks passwords whose verifier takes milliseconds."""

    def __init__(self, workers: int, queue_count: int, budget_s: float) -> None:
        """queue_count: logins that may wait; above it check() refuses. budget_s: how long they may, before the NAS has
        given them up.
        """
        self.budget_s = budget_s
        self._closed = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._pool = ThreadPoolExecutor(workers, "hash", _lower_priority)
        self._bound = workers + queue_count
        self.waiting = 0

    def check(self, attempt: Attempt, pending: Outcome, done: Callable[[bool | None], None]) -> bool:
        """Start a check; `done` is called on the loop with its result, None when it came to none in time.

        False when too many wait.
        """
        if self.waiting >= self._bound:
            return False
        assert isinstance(pending.slow, Verifier)
        assert attempt.password is not None
        loop = asyncio.get_running_loop()
        self.waiting += 1
        self._idle.clear()
        latest = time.monotonic() + self.budget_s
        future = self._pool.submit(_verify, pending.slow, attempt.password, latest)

        def finish(result: Future[bool | None]) -> None:
            if not self._closed:
                loop.call_soon_threadsafe(self._deliver, result, done)

        future.add_done_callback(finish)
        return True

    def _deliver(self, result: Future[bool | None], done: Callable[[bool | None], None]) -> None:
        self.waiting -= 1
        if not self.waiting:
            self._idle.set()
        if self._closed:
            return
        error = result.exception()
        if error is not None:
            # A library that ran out of memory says nothing about the password: no answer, no failed login.
            done(None)
            raise error
        done(result.result())

    async def drain(self, timeout_s: float) -> None:
        """Wait for what is in work, but no longer."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()

    def close(self) -> None:
        """Let what runs finish unheard; what waits is dropped."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
