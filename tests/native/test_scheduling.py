"""A short slice for the packet loop's thread alone."""

import subprocess
import sys
from pathlib import Path

import pytest

from native.scheduling import request_slice

SLICE_NS = 100_000
SHOW = "print(next(line.split(':')[1].strip() for line in open('/proc/self/sched') if 'se.slice' in line))"


def kernel_shows_slices() -> bool:
    sched = Path("/proc/self/sched")
    return sched.exists() and "se.slice" in sched.read_text()


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_policy_and_nice_value_stay() -> None:
    reset_on_fork = 0x40000000
    shown = "print(os.sched_getscheduler(0), os.nice(0))"
    policy, nice = map(
        int, run(f"import os; from native.scheduling import request_slice; request_slice({SLICE_NS}); {shown}").split()
    )
    assert policy & ~reset_on_fork == 0
    assert nice == int(run("import os; print(os.nice(0))"))


@pytest.mark.skipif(not kernel_shows_slices(), reason="this kernel shows no slices in /proc/self/sched")
def test_the_thread_gets_the_slice_and_its_children_do_not() -> None:
    usual = run(SHOW)
    got, inherited = run(
        "import subprocess, sys; from native.scheduling import request_slice;"
        f"assert request_slice({SLICE_NS}); {SHOW};"
        f"sys.stdout.flush(); subprocess.run([sys.executable, '-c', {SHOW!r}], check=True)"
    ).split()
    assert got == str(SLICE_NS)
    assert inherited == usual


def test_it_says_whether_the_kernel_agreed() -> None:
    assert request_slice(3_000_000) in (True, False)
