"""`aaa policy check`: what it prints, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aaa.cli.commands import cli
from aaa.config.template import initialise

GOOD = "[[rule]]\nname = 'r'\nwhen = 'now within between(\"22:00\", \"06:00\")'\nthen = { filter = 'night' }\n"
BAD = GOOD.replace("now", "nw")
LOOP = "[[automation]]\nname = 'a'\non = 'notification'\ndo = { notify = 'again' }\n"


def check(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["policy", "check", *map(str, arguments)])


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    directory = tmp_path / "policy"
    directory.mkdir()
    (directory / "a.toml").write_text(GOOD)
    return directory


def test_a_sound_policy_is_told_with_what_it_has(policy: Path) -> None:
    result = check(policy)
    assert (result.exit_code, result.output) == (0, f"{policy}: sound: 0 plans, 1 rules, 0 automations\n")
    assert check(policy / "a.toml").exit_code == 0


def test_problems_are_lines_and_exit_code_1(policy: Path) -> None:
    (policy / "b.toml").write_text(BAD.replace("'r'", "'s'"))
    result = check(policy)
    assert result.exit_code == 1
    assert result.output == f'{policy}/b.toml:3:9: rule.s.when: "nw" is no known fact; did you mean "now"?\n'


def test_warnings_are_told_and_are_no_failure(policy: Path) -> None:
    (policy / "b.toml").write_text(LOOP)
    result = check(policy)
    assert result.exit_code == 0
    assert f"warning: {policy}/b.toml:3:1: automation.a.on: may lead to itself: a → a" in result.output


def test_json_is_for_machines(policy: Path) -> None:
    shown = json.loads(check(policy, "--json").output)
    assert (shown["errors"], shown["warnings"], shown["rules"], len(shown["revision"])) == ([], [], 1, 16)
    (policy / "a.toml").write_text(BAD)
    result = CliRunner().invoke(cli, ["policy", "check", str(policy), "--json"])
    (problem,) = json.loads(result.stdout)["errors"]
    assert (problem["line"], problem["column"], problem["key"]) == (3, 9, "rule.r.when")
    assert result.exit_code == 1


def test_without_a_path_it_is_the_configurations(tmp_path: Path, policy: Path) -> None:
    file = initialise(tmp_path / "site")[0]
    assert "names no policy" in check("-c", file).output
    file.write_text(file.read_text().replace('#dir = "policy"', 'dir = "../policy"'))
    result = check("-c", file)
    assert (result.exit_code, result.output) == (0, f"{policy}: sound: 0 plans, 1 rules, 0 automations\n")


def test_a_zone_that_is_none_is_a_problem(policy: Path) -> None:
    result = check(policy, "--zone", "Mars/Phobos")
    assert result.exit_code == 1
    assert '"Mars/Phobos" is no time zone' in result.output


def test_the_configurations_check_finds_what_is_wrong_in_the_policy(tmp_path: Path, policy: Path) -> None:
    file = initialise(tmp_path / "site")[0]
    file.write_text(file.read_text().replace('#dir = "policy"', 'dir = "../policy"'))
    (policy / "a.toml").write_text(LOOP)
    result = CliRunner().invoke(cli, ["check", "-c", str(file)])
    assert result.exit_code == 0
    assert "automation.a.on: may lead to itself" in result.output
    (policy / "a.toml").write_text(BAD)
    result = CliRunner().invoke(cli, ["check", "-c", str(file)])
    assert result.exit_code == 1
    assert f"{policy}/a.toml:3:9: rule.r.when:" in result.output
