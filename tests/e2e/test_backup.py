"""A backup taken from a server that serves, and a server that serves from it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.e2e.peers import ROOT, RunningServer, nas


def aaa(server: RunningServer, *arguments: str, exit_code: int = 0) -> Any:
    command = [sys.executable, "-m", "aaa.cli", *arguments, "-c", str(server.config), "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == exit_code, run.stdout + run.stderr
    return json.loads(run.stdout) if exit_code == 0 else run.stderr


def test_a_server_goes_on_from_a_backup_that_was_taken_while_it_served(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, nas("local", ["127.0.0.1"], family="mikrotik"), radius="reject_delay = 0")
    try:
        server.plan("home-50", rate={"down_bps": 50_000_000, "up_bps": 10_000_000})
        server.service("alice")
        server.account("Start", "s1", 'User-Name = "alice"')
        copy = tmp_path / "copy"
        made = aaa(server, "backup", str(copy))
        assert (made["services"], made["sessions"]) == (1, 1)
        server.service("bob")
        after = server.api("GET", "/v1/events?last=1")["items"][0]["seq"]
        assert "another server" in aaa(server, "restore", str(copy), "--replace", exit_code=1)
        assert server.stop() == 0
        restored = aaa(server, "restore", str(copy), "--replace")
        assert Path(restored["replaced"]).exists()
        server.start()
        assert server.login("alice", "pw-alice").accepted
        assert server.login("bob", "pw-bob").rejected
        # Whoever had read the feed up to its end misses nothing of what comes now.
        (event,) = server.api("GET", f"/v1/events?after={after}&type=store.*")["items"]
        assert (event["type"], event["seq"] > after) == ("store.restored", True)
        (session,) = server.sessions("alice")
        assert session["adopted"] is True
        # Usage goes on from the NAS's own counters, and the session is left alone.
        usage = ("Acct-Output-Octets = 1000", "Acct-Session-Time = 9")
        server.account("Interim-Update", "s1", 'User-Name = "alice"', *usage)
        assert server.sessions("alice")[0]["usage"]["output_octets"] == 1000
        assert server.api("GET", "/v1/enforcements")["items"] == []
        server.service("carol")
        assert server.api("GET", "/v1/audit/verify")["whole"] is True
        server.check_log()
    finally:
        server.stop()
