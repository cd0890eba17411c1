"""What systemd is told: ready, reloading, stopping, alive (sd_notify). Silent where nobody listens."""

from __future__ import annotations

import os
import socket
import time


def notify(state: str) -> None:
    """Send one notification such as "READY=1"."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        try:
            # Whoever does not read it in time holds nobody up.
            sender.sendto(state.encode(), socket.MSG_DONTWAIT, address)
        except OSError:
            # The service manager is gone or full; the watchdog will tell.
            return


def reloading() -> None:
    """Type=notify wants the monotonic time of a reload with it."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval_s() -> float | None:
    """Half of the period within which systemd wants to hear from us; None: it does not."""
    period = os.environ.get("WATCHDOG_USEC")
    if not period or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(period) / 2e6
