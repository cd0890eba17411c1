"""The aaa command against a running HTTP process."""

import json
import os
import re
import stat
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from aaa.cli.commands import cli
from aaa.cli.door import Door
from aaa.state import schema
from aaa.state.backup import CONTEXT, KNOWN_TEXT, SEAL_CHECK
from aaa.state.seal import Sealer
from tests.billing_hooks.conftest import token_of
from tests.cli.conftest import Running


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        return [leaf for name, inner in command.commands.items() for leaf in leaves(inner, (*path, name))]
    return [(path, command)]


LEAVES = leaves(cli)
NAMES = [" ".join(path) for path, _ in LEAVES]


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=NAMES)
def test_every_command_has_help_and_json(path: tuple[str, ...], command: click.Command) -> None:
    assert command.help
    names = {option for parameter in command.params for option in parameter.opts}
    assert "--json" in names or path == ("serve",)
    assert CliRunner().invoke(cli, [*path, "--help"]).exit_code == 0


@pytest.mark.parametrize(("path", "command"), LEAVES, ids=NAMES)
def test_every_command_is_documented(path: tuple[str, ...], command: click.Command) -> None:
    text = (Path(__file__).parents[2] / "docs/cli.md").read_text()
    assert f"`aaa {' '.join(path)}" in text


def test_set_makes_then_changes_and_show_tells(server: Running) -> None:
    assert server.json("plan", "show", "home-50")["rate"] == {"down_bps": 50_000_000, "up_bps": 10_000_000}
    changed = server.json("plan", "set", "home-50", "rate.up_bps=20000000", "name=Home")
    assert (changed["status"], changed["revision"]) == ("applied", 2)
    assert server.json("plan", "show", "home-50")["rate"] == {"down_bps": 50_000_000, "up_bps": 20_000_000}
    shown = server.aaa("service", "show", "u1").stdout
    assert "plan_id: home-50" in shown
    assert "status.state: active" in shown


def test_a_refusal_is_one_line_and_exit_code_1(server: Running) -> None:
    result = server.aaa("service", "set", "u1", "colour=red", exit_code=1)
    assert result.stderr.startswith("Error: $.colour: unknown field colour; known are ")
    assert result.stderr.count("\n") == 1
    refused = server.aaa("plan", "show", "none", "--json", exit_code=1)
    assert json.loads(refused.stdout)["error"] == "not_found"


@pytest.mark.parametrize("field", ["colour", "=x", "rate..x=1", "name.x=1"])
def test_a_field_that_is_none_is_a_usage_error(server: Running, field: str) -> None:
    server.aaa("plan", "set", "home-50", "name=text")
    server.aaa("plan", "set", "home-50", field, exit_code=2)


def test_lists_are_tables_or_json(server: Running) -> None:
    for number in range(5):
        server.aaa("plan", "set", f"p{number}", "kind=internet")
    assert [item["id"] for item in server.json("plan", "list", "--limit", "2")] == ["home-50", "p0"]
    assert len(server.json("plan", "list", "--all")) == 6
    assert [item["id"] for item in server.json("plan", "list", "--prefix", "p")] == [f"p{n}" for n in range(5)]
    table = server.aaa("service", "list", "--state", "active", "--subscriber", "s1").stdout.splitlines()
    assert table[0].split() == ["id", "subscriber_id", "plan_id", "state", "revision"]
    assert table[1].split() == ["u1", "s1", "home-50", "active", "1"]


def test_delete_uses_the_next_revision(server: Running) -> None:
    assert "applied, revision 2" in server.aaa("service", "delete", "u1", "--yes").stdout
    server.aaa("service", "show", "u1", exit_code=1)


def test_a_reader_may_not_change(server: Running) -> None:
    assert "billing" in server.aaa("plan", "set", "home-50", "name=x", role="reader", exit_code=1).stderr


def test_network_views(server: Running) -> None:
    server.engine.sessions = {"7": {"id": "7", "nas": "lab", "service_id": "u1"}, "8": {"id": "8", "nas": "deaf"}}
    server.engine.leases = [{"address": "192.0.2.1", "service_id": "u1", "from": 100.0, "until": 200.0}]
    assert "lab" in server.aaa("nas", "list").stdout
    assert server.json("nas", "show", "lab") == {"name": "lab"}
    server.aaa("nas", "unknown")
    server.aaa("nas", "message-authenticator")
    assert "u1" in server.aaa("session", "list").stdout
    assert server.json("session", "show", "7")["nas"] == "lab"
    assert server.aaa("session", "disconnect", "7").stdout == "7: sent\n"
    assert "no CoA port" in server.aaa("session", "disconnect", "8", exit_code=1).stderr
    server.aaa("pool", "list")
    assert server.json("lease", "who", "192.0.2.1", "--at", "150")[0]["service_id"] == "u1"
    assert "nobody" in server.aaa("lease", "who", "192.0.2.1", "--at", "300", exit_code=1).stderr


def test_status_and_reload(server: Running) -> None:
    assert server.json("status")["ready"] is True
    server.engine.is_ready = False
    assert server.json("status", exit_code=1)["reason"] == "loading"
    assert server.aaa("reload").stdout == "changed: nas\n"
    server.engine.reload_errors = ["aaa.toml:3: nas.a.secret: missing"]
    assert "aaa.toml:3" in server.aaa("reload", exit_code=1).stderr


def test_no_server_is_told_with_the_next_step() -> None:
    result = CliRunner().invoke(cli, ["status", "--url", "http://127.0.0.1:1", "--token", "x"])
    assert result.exit_code == 1
    assert "is the server running" in result.stderr


def test_url_and_token_come_from_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AAA_URL", raising=False)
    monkeypatch.delenv("AAA_TOKEN", raising=False)
    (tmp_path / "admin.token").write_text("from-the-file\n")
    config = tmp_path / "aaa.toml"
    config.write_text(
        '[api]\nlisten = "[::]:8088"\n[[token]]\nname = "r"\nrole = "reader"\ntoken = "no"\n'
        '[[token]]\nname = "a"\nrole = "admin"\ntoken_file = "admin.token"\n'
    )
    door = Door.find(None, None, str(config))
    assert (door.url, door._token) == ("http://[::1]:8088", "from-the-file")
    assert Door.find("host:1", "t", None).url == "http://host:1"


def test_without_a_token_the_next_step_is_named(server: Running, tmp_path: Path) -> None:
    config = tmp_path / "aaa.toml"
    config.write_text(f'[api]\nlisten = "{server.url.removeprefix("http://")}"\n')
    result = CliRunner().invoke(cli, ["plan", "list", "-c", str(config)], env={"AAA_URL": "", "AAA_TOKEN": ""})
    assert result.exit_code == 1
    assert "AAA_TOKEN" in result.stderr


def test_init_writes_private_files_once_and_check_finds_them_sound(tmp_path: Path) -> None:
    target = tmp_path / "site"
    made = CliRunner().invoke(cli, ["init", str(target), "--json"])
    assert made.exit_code == 0
    for file in json.loads(made.stdout)["files"]:
        assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    config = str(target / "aaa.toml")
    assert CliRunner().invoke(cli, ["check", "-c", config]).exit_code == 0
    again = CliRunner().invoke(cli, ["init", str(target)])
    assert again.exit_code == 1
    assert "exists" in again.stderr


def test_check_prints_every_error_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "aaa.toml"
    config.write_text('[server]\ndata_dri = "x"\n[[nas]]\nname = "a"\naddress = "192.0.2.300"\n')
    result = CliRunner().invoke(cli, ["check", "-c", str(config)])
    assert result.exit_code == 1
    assert f"{config}:2: server.data_dri" in result.stderr
    assert f"{config}:5: " in result.stderr
    found = json.loads(CliRunner().invoke(cli, ["check", "-c", str(config), "--json"]).stdout)
    assert {2, 5} <= {error["line"] for error in found["errors"]}


def test_check_finds_what_is_wrong_in_the_policy_at_its_place(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["init", str(tmp_path / "site")]).exit_code == 0
    config = tmp_path / "site/aaa.toml"
    (tmp_path / "policy").mkdir()
    rule = tmp_path / "policy/a.toml"
    without = re.sub(r"^\[policy\]\n(?:[^\[].*\n|\n)*", "", config.read_text(), flags=re.MULTILINE)
    config.write_text(without + f'\n[policy]\ndir = "{rule.parent}"\n')
    rule.write_text('[[rule]]\nname = "a"\nwhen = "service.sate == 1"\nthen = { deny = "x" }\n')
    result = CliRunner().invoke(cli, ["check", "-c", str(config)])
    assert (result.exit_code, f"{rule}:3:" in result.stderr) == (1, True), result.output
    rule.write_text('[[rule]]\nname = "a"\nthen = { attributes = [{ name = "Filtre-Id", value = "x" }] }\n')
    result = CliRunner().invoke(cli, ["check", "-c", str(config)])
    assert (result.exit_code, f"{rule}:" in result.stderr, "did you mean Filter-Id" in result.stderr) == (1, True, True)


def test_check_finds_a_store_that_was_sealed_with_another_key(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["init", str(tmp_path / "site")]).exit_code == 0
    config = tmp_path / "site/aaa.toml"
    text = re.sub(r"^data_dir = .*", f'data_dir = "{tmp_path}"', config.read_text(), flags=re.MULTILINE)
    config.write_text(text)
    with closing(schema.connect(str(tmp_path / "aaa.db"))) as db:
        schema.migrate(db)
        db.execute("INSERT INTO meta VALUES (?, ?)", (SEAL_CHECK, Sealer(bytes(32)).seal(KNOWN_TEXT, CONTEXT)))
    result = CliRunner().invoke(cli, ["check", "-c", str(config)])
    assert result.exit_code == 1
    assert "sealed with another key" in result.stderr


def test_a_backup_comes_back_and_its_key_is_verified(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert CliRunner().invoke(cli, ["init", str(tmp_path / name)]).exit_code == 0
        config = tmp_path / name / "aaa.toml"
        text = re.sub(r"^data_dir = .*", f'data_dir = "{tmp_path / name}"', config.read_text(), flags=re.MULTILINE)
        config.write_text(text)
    with closing(schema.connect(str(tmp_path / "a/aaa.db"))) as db:
        schema.migrate(db)
    copy, ours = str(tmp_path / "copy"), ["-c", str(tmp_path / "a/aaa.toml")]
    made = CliRunner().invoke(cli, ["backup", copy, *ours, "--json"])
    assert (made.exit_code, json.loads(made.stdout)["services"]) == (0, 0)
    there = CliRunner().invoke(cli, ["restore", copy, *ours])
    assert (there.exit_code, "--replace" in there.stderr) == (1, True)
    assert CliRunner().invoke(cli, ["restore", copy, *ours, "--replace"]).exit_code == 0
    other = CliRunner().invoke(cli, ["restore", copy, "-c", str(tmp_path / "b/aaa.toml")])
    assert (other.exit_code, "another key" in other.stderr) == (1, True)


def test_version_names_compiler_and_libcrypto() -> None:
    shown = json.loads(CliRunner().invoke(cli, ["version", "--json"]).stdout)
    assert shown["aaa"][0].isdigit()
    assert "GCC" in shown["compiler"] or "clang" in shown["compiler"]
    assert shown["libcrypto"].startswith("OpenSSL")


def test_the_token_never_shows(server: Running) -> None:
    assert token_of("admin") not in server.aaa("status").output
