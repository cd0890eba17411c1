"""One server at a time on one store: a lock that engine and writer hold together. Knows a path and no content."""

import fcntl
import time
from typing import BinaryIO

from aaa.errors import StoreError
from aaa.limits import STORE_LOCK_WAIT_S


def take(path: str, wait_s: float = STORE_LOCK_WAIT_S) -> BinaryIO:
    """Lock the store at `path`; held until every process that inherited the file has closed it.

    A writer outlives a killed engine until it has committed what it was given: only then is the store what it will be.
    Raises StoreError when another server goes on holding it.
    """
    file = open(f"{path}.lock", "ab")  # noqa: SIM115
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            if time.monotonic() >= deadline:
                file.close()
                raise StoreError(f"{path}: another server uses this store") from None
            time.sleep(0.02)
