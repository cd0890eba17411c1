"""The README's first screen does what it says: its commands are run as they stand."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.e2e.peers import ROOT

README = ROOT / "README.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Lines of the sh blocks, prompts removed, continued lines joined."""
    lines = "".join(BLOCK.findall(README.read_text())).replace("\\\n", " ").splitlines()
    return [line.removeprefix("$ ").strip() for line in lines if line.strip() and not line.startswith("#")]


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """The tree as a reader has it after `make run` has built it, without what earlier runs left under run/."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    built = [str(path.relative_to(ROOT)) for room in ("native", "aaa") for path in (ROOT / room).rglob("*.so")]
    for name in [*listed.split("\0")[:-1], *built]:
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name, follow_symlinks=False)
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    return tmp_path


def test_readme_begins_with_make_run():
    assert commands()[0].startswith(("git clone", "make run"))
    assert "make run" in commands()


def test_commands_of_the_readme_succeed(fresh):
    """`make run` is running as the reader was told; every other command ends well."""
    output = fresh / "output"
    with output.open("wb") as file:
        # What is built is built: whoever runs the tests has run make.
        command = ["make", "-o", ".venv/.installed", "-o", ".venv/.built", "run"]
        process = subprocess.Popen(command, cwd=fresh, stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while b"Ready:" not in output.read_bytes():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.05)
        for command in commands():
            if shlex.split(command, comments=True)[:1] in (["git"], ["cd"], ["make"], ["sudo"]):
                continue
            result = subprocess.run(
                ["bash", "-c", command], cwd=fresh, capture_output=True, text=True, timeout=60, check=False
            )
            assert result.returncode == 0, (command, result.stdout, result.stderr)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)
    assert "Traceback" not in output.read_text()
