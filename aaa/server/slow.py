"""Slow password hashes in threads of low priority, bounded: the packet loop never waits for one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from aaa.credential.verifier import Verifier, verify_password
from aaa.model.access import Attempt, Outcome

HASH_NICE = 10
"""Below the packet loop and the writer."""


def _lower_priority() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), HASH_NICE)


class SlowHashes:
    """Checks passwords whose verifier takes milliseconds."""

    def __init__(self, workers: int, queue_count: int) -> None:
        """queue_count: logins that may wait; above it check() refuses."""
        self._pool = ThreadPoolExecutor(workers, "hash", _lower_priority)
        self._bound = workers + queue_count
        self.waiting = 0

    def check(self, attempt: Attempt, pending: Outcome, done: Callable[[bool], None]) -> bool:
        """Start a check; `done` is called on the loop with its result. False when too many wait."""
        if self.waiting >= self._bound:
            return False
        assert isinstance(pending.slow, Verifier)
        assert attempt.password is not None
        loop = asyncio.get_running_loop()
        self.waiting += 1
        future = self._pool.submit(verify_password, pending.slow, attempt.password)

        def finish(result: Future[bool]) -> None:
            loop.call_soon_threadsafe(self._deliver, result, done)

        future.add_done_callback(finish)
        return True

    def _deliver(self, result: Future[bool], done: Callable[[bool], None]) -> None:
        self.waiting -= 1
        done(result.result())

    def close(self) -> None:
        """Let what runs finish; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
