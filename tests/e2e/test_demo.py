"""`aaa demo`, with FreeRADIUS in place of one of its NASes, and tshark as the judge of everything that was sent."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.boxes import CoaReceiver
from tests.e2e.peers import ROOT, SECRET, Capture, free_port

DEMO = [sys.executable, "-m", "aaa.cli", "demo"]
WARNING = 0x00600000  # Wireshark's severities
OUR_NAMES = {"Mikrotik-Rate-Limit", "Mikrotik-Address-List"}


def test_an_overdue_invoice_and_its_payment_reach_three_kinds_of_nas(tmp_path: Path) -> None:
    port = free_port()
    capture = Capture(tmp_path / "lo.pcapng")
    receiver = CoaReceiver(tmp_path, port)
    try:
        command = [*DEMO, "--json", "--far-end", f"mikrotik=127.0.0.1:{port}"]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        asked = receiver.asked("mikrotik-0001")
    finally:
        receiver.stop()
        capture.stop()
    assert run.returncode == 0, run.stdout + run.stderr
    told = json.loads(run.stdout)
    assert told["failed"] == 0
    assert len(told["checks"]) > 30
    # What FreeRADIUS read is what the previews had said.
    foretold = [each for each in told["packets"] if "MikroTik" in each["nas"] and "foretold" in each["nas"]]
    assert [each.code for each in asked] == ["CoA-Request", "CoA-Request"] == [each["code"] for each in foretold]
    for packet, read in zip(foretold, asked, strict=True):
        wanted = [(name, value) for name, value in packet["attributes"] if name in OUR_NAMES]
        assert [pair for pair in read.pairs if pair[0] in OUR_NAMES] == wanted
    # And tshark finds nothing wrong with any packet of the whole story.
    ports = told["ports"]
    assert len(capture.decode(ports, "radius.code == 43", "frame.number")) == 8, "two for each, four for Cisco"
    assert len(capture.decode(ports, "radius.code == 44", "frame.number")) == 8
    assert capture.decode(ports, "radius.authenticator.invalid == 1", "frame.number") == []
    wrong = f"radius and (_ws.malformed or _ws.expert.severity >= {WARNING})"
    assert capture.decode(ports, wrong, "radius.code", "_ws.expert.message") == []


def test_a_change_that_a_nas_refuses_fails_the_demo() -> None:
    """The demo judges: where a NAS refuses CoA and Disconnect, its exit code says so."""
    port = free_port()
    refusing = [sys.executable, "-m", "aaa.cli", "coa-test", "--listen", f"127.0.0.1:{port}", "--nak", "404"]
    with subprocess.Popen([*refusing, "--secret", SECRET, "--timeout", "60"], cwd=ROOT) as refuser:
        command = [*DEMO, "--json", "--far-end", f"juniper=127.0.0.1:{port}"]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
        refuser.terminate()
    assert run.returncode == 1
    failed = [check["claim"] for check in json.loads(run.stdout)["checks"] if not check["holds"]]
    assert any("Juniper" in claim for claim in failed)
    assert not any("MikroTik" in claim for claim in failed)


def test_a_demo_that_is_kept_serves_until_it_is_interrupted() -> None:
    with subprocess.Popen(
        [*DEMO, "--keep"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    ) as process:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "aaa session list" in line).split()
        url, config = line[line.index("--url") + 1], line[line.index("-c") + 1]
        token = (Path(config).parent / "admin.token").read_text()
        listed = subprocess.run(
            [sys.executable, "-m", "aaa.cli", "session", "list", "--url", url, "--token", token, "--json"],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert len(json.loads(listed.stdout)) == 3
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not Path(config).exists()


@pytest.mark.parametrize("text", ["juniper", "juniper=1", "juniper=host:x"])
def test_a_far_end_that_is_none_is_a_usage_error(text: str) -> None:
    run = subprocess.run([*DEMO, "--far-end", text], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2
