"""The server's life: ready, reload under load, a bad configuration, stop, restart; what systemd and an operator see."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from bench.server import build_load
from native import crypto
from tests.e2e.peers import SECRET, ApiError, nas
from tests.e2e.wire import ACCESS_ACCEPT, ACCESS_REJECT, CLASS, Reply, integer

USERS = 100


@pytest.fixture(scope="session")
def load(tmp_path_factory) -> Path:
    """The bench's generator: it verifies every reply and its result."""
    return build_load(tmp_path_factory.mktemp("load") / "load")


def fill(server):
    operations = []
    for number in range(1, USERS + 1):
        name = f"u{number:06d}"
        login = {"type": "password", "username": name, "cleartext": f"p{number:06d}"}
        service = {"revision": 1, "subscriber_id": name, "plan_id": "home-50", "credentials": [login]}
        operations.append({"op": "put", "kind": "subscriber", "id": name, "value": {"revision": 1}})
        operations.append({"op": "put", "kind": "service", "id": name, "value": service})
    server.sync(*operations)


def test_reload_under_load_loses_no_packet(start, load):
    """Open loop, no retransmission: every request must be answered while the configuration is read again ten times."""
    server = start(radius="reject_delay = 0")
    fill(server)
    command = [
        str(load), "-u", str(USERS), "-s", "4", "-t", "3", "--timeout", "2", "--json",
        f"pap:{server.auth_ports['0.0.0.0']}:1500", f"acct:{server.acct_ports['0.0.0.0']}:500",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as generator:
        for number in range(10):
            server.configure(nas("local", "127.0.0.1") + nas("new", f"192.0.2.{number + 1}"))
            assert server.reload()["changed"] == ["nas"]
        output, _ = generator.communicate(timeout=30)
    assert generator.returncode == 0, output
    result = json.loads(output)
    streams = result.get("streams", [result])
    for stream in streams:
        assert stream["lost"] == 0, stream
        assert stream["answered"] >= stream["sent"], stream
    assert server.metric("aaa_radius_kernel_drops_total") == 0


def test_bad_configuration_is_refused_by_reload_and_the_old_one_serves_on(start, connect):
    server = start()
    user = server.service("user")
    server.configure(nas("local", "127.0.0.1", family="mikrotic"))
    line = server.reload("config.problem")
    assert 'is no known family; did you mean "mikrotik"?' in line["msg"]
    one = connect(server)
    assert one.ask(one.pap(user, f"pw-{user}")).code == ACCESS_ACCEPT
    server.configure(nas("local", "127.0.0.1", family="mikrotik"))
    assert server.reload()["changed"] == ["nas"]
    assert server.login(user, f"pw-{user}").get("Mikrotik-Rate-Limit") == "10M/50M"


def test_reload_adds_removes_and_changes_nases(start, connect):
    server = start(nas("one", "127.0.0.1") + nas("two", "127.0.0.9"))
    user = server.service("user")
    one, two, three = connect(server), connect(server, "127.0.0.9"), connect(server, "127.0.0.10", "another-secret")
    assert two.ask(two.pap(user, f"pw-{user}")).code == ACCESS_ACCEPT
    changed = nas("one", "127.0.0.1", secret="changed-secret")
    server.configure(changed + nas("three", "127.0.0.10", secret="another-secret"))
    server.reload()
    one.secret = b"changed-secret"
    for known in (one, three):
        assert known.ask(known.pap(user, f"pw-{user}")).code == ACCESS_ACCEPT
    two.send(two.pap(user, f"pw-{user}"))
    assert one.ask(one.status()).code == ACCESS_ACCEPT
    assert server.drops("unknown_source") == 1


def test_reload_by_the_api_names_what_needs_a_restart(start):
    server = start()
    server.configure(radius="reject_delay = 0\nduplicate_entries = 2048")
    answer = server.api("POST", "/v1/reload")
    assert answer == {"changed": ["radius"], "needs_restart": ["radius.duplicate_entries"]}


def test_a_reload_by_the_api_is_in_the_log_with_who_asked_for_it(start):
    server = start()
    server.api("POST", "/v1/reload")
    assert server.wait_for_line("config.reloaded")["actor"] == "tests"
    server.configure(nas("local", "127.0.0.1", family="mikrotic"))
    with pytest.raises(ApiError):
        server.api("POST", "/v1/reload")
    line = server.wait_for_line("config.problem")
    assert (line["actor"], "mikrotic" in line["msg"]) == ("tests", True)


def test_stop_sends_the_rejects_that_were_delayed(start, connect):
    server = start(radius='reject_delay = "10s"')
    user = server.service("user")
    one = connect(server)
    wrong = one.pap(user, "wrong")
    one.send(wrong)
    assert one.ask(one.pap(user, f"pw-{user}")).code == ACCESS_ACCEPT
    assert server.stop() == 0
    assert Reply(one.receive(), wrong).code == ACCESS_REJECT
    assert [line["event"] for line in server.lines()][-1] == "server.stopped"


def test_stop_answers_the_login_that_hashes(start, connect):
    server = start()
    slow = crypto.crypt(b"wonderland", b"$2b$10$abcdefghijklmnopqrstuu").decode()
    server.service("slow", credentials=[{"type": "password", "username": "slow", "bcrypt": slow}])
    one = connect(server)
    request = one.pap("slow", "wonderland")
    one.send(request)
    barrier = connect(server)
    assert barrier.ask(barrier.status()).code == ACCESS_ACCEPT, "the login before it is being hashed"
    assert server.stop() == 0
    assert Reply(one.receive(), request).code == ACCESS_ACCEPT


def test_everything_is_there_after_a_restart(start, connect):
    server = start()
    user = server.service("user", static_ip="198.51.100.9")
    one = connect(server)
    class_ = one.ask(one.pap(user, f"pw-{user}")).get(CLASS)
    one.ask(one.accounting(1, "key", (CLASS, class_), user=user))
    before = server.api("GET", f"/v1/services/{user}")
    assert server.stop() == 0
    server.start()
    assert server.api("GET", f"/v1/services/{user}") == before
    assert [session["acct_session_id"] for session in server.sessions(user)] == ["key"]
    again = connect(server)
    assert again.ask(again.pap(user, f"pw-{user}")).get(8) == bytes((198, 51, 100, 9))
    update = (42, integer(5)), (43, integer(6)), (46, integer(60))
    again.ask(again.accounting(2, "key", (CLASS, class_), *update, user=user))
    assert [session for session in server.sessions(user) if session["state"] == "active"] == []
    assert server.status(user)["usage"]["total_octets"] == 11


def test_secrets_are_sealed_on_disk(start):
    server = start()
    server.service("user", "a-very-secret-password")
    assert server.stop() == 0
    for file in (server.directory / "data").iterdir():
        assert b"a-very-secret-password" not in file.read_bytes(), file


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_of_every_step(start, tmp_path, abstract):
    path = f"\0aaa-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(10)
        environment = {"NOTIFY_SOCKET": path.replace("\0", "@"), "WATCHDOG_USEC": "200000"}
        server = start(environment=environment)

        def expect(wanted: str) -> str:
            while True:
                message = notify.recv(4096).decode()
                if message.startswith(wanted):
                    return message
                assert message == "WATCHDOG=1", message

        expect("READY=1")
        expect("WATCHDOG=1")
        server.reload()
        stamp = expect("RELOADING=1").splitlines()[1]
        assert stamp.startswith("MONOTONIC_USEC=")
        assert int(stamp.partition("=")[2]) > 0
        expect("READY=1")
        server.process.send_signal(signal.SIGTERM)
        expect("STOPPING=1")
        assert server.stop() == 0


def test_http_process_that_dies_is_started_again_and_radius_goes_on(start, connect):
    server = start()
    user = server.service("user")
    (http,) = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and (entry / "cmdline").exists()
        and b"billing_hooks.process" in (entry / "cmdline").read_bytes()
        and f"PPid:\t{server.pid}\n" in (entry / "status").read_text()
    ]
    os.kill(http, signal.SIGKILL)
    one = connect(server)
    assert one.ask(one.pap(user, f"pw-{user}")).code == ACCESS_ACCEPT
    server.wait_until(server.is_ready)


def test_writer_that_dies_stops_the_server_and_a_restart_serves_what_is_durable(start, connect):
    """Memory may be ahead of the disk: nothing more is answered."""
    server = start()
    user = server.service("user")
    (writer,) = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and (entry / "cmdline").exists()
        and b"aaa.state.writer" in (entry / "cmdline").read_bytes()
        and f"PPid:\t{server.pid}\n" in (entry / "status").read_text()
    ]
    os.kill(writer, signal.SIGKILL)
    assert server.process.wait(30) == 1
    server.start()
    one = connect(server)
    assert one.ask(one.pap(user, f"pw-{user}")).code == ACCESS_ACCEPT


def test_port_in_use_is_an_error_that_names_it(start):
    server = start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert server.stop() == 0
        text = server.config.read_text().replace("auth_port = 0", f"auth_port = {port}")
        server.config.write_text(text)
        command = [".venv/bin/python", "-m", "aaa.cli", "serve", "-c", str(server.config)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "Address already in use" in result.stderr
    assert "Traceback" not in result.stderr


def test_secret_is_never_shown_by_the_api(server):
    server.service("shown", "another-secret-password")
    for path in ("/v1/services/shown", "/v1/services/shown/credentials", "/v1/nas/local", "/v1/nas", "/metrics"):
        text = json.dumps(server.api("GET", path))
        assert "another-secret-password" not in text
        assert SECRET not in text
