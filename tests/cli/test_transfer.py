"""Import and export."""

import json
import os
import stat
from pathlib import Path

import pytest

from aaa.cli.transfer import COLUMNS, CREDENTIAL_COLUMNS
from tests.cli.conftest import Running


def test_csv_becomes_services_with_credentials(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "services.csv"
    file.write_text(
        "\ufeffid,subscriber_id,plan_id,username,password,mac,static_ip,expires_at,cycle\r\n"
        'a,s1,home-50,ann,"p,""q",,192.0.2.9,2030-01-01T00:00:00Z,15\r\n'
        "b,s1,home-50,,,02-00-00-00-00-01,,,month\r\n",
        encoding="utf-8",
    )
    assert server.aaa("service", "import", str(file)).stdout == "2 applied\n"
    stored = server.engine.entities
    assert stored["service", "a"]["credentials"] == [{"type": "password", "username": "ann", "cleartext": 'p,"q'}]
    assert (stored["service", "a"]["cycle"], stored["service", "b"]["cycle"]) == (15, "month")
    assert stored["service", "b"]["credentials"] == [{"type": "mac", "mac": "02-00-00-00-00-01"}]
    assert server.aaa("service", "import", str(file)).stdout == "2 stale\n"


def test_a_bad_row_is_named_and_the_others_are_pushed(server: Running, tmp_path: Path) -> None:
    file, errors = tmp_path / "services.csv", tmp_path / "errors.ndjson"
    file.write_text(
        "id,subscriber_id,plan_id,revision,password\n"
        "a,s1,home-50,x,\n"
        "b,s1,home-50,,\n"
        "c,s1,none,,\n"
        "d,s1,home-50,,secret\n"
        ",s1,home-50,,\n"
        "f,s1,home-50,,,,\n"
    )
    summary = server.json("service", "import", str(file), "--errors", str(errors), exit_code=1)
    assert summary["results"] == {"applied": 1, "error": 5}
    found = [json.loads(line) for line in errors.read_text().splitlines()]
    assert [(each["line"], each["detail"].split(":")[0]) for each in found] == [
        (2, "revision"), (4, "$.plan_id"), (5, "username"), (6, "$.id"), (7, "more columns than the header names"),
    ]  # fmt: skip
    assert stat.S_IMODE(os.stat(errors).st_mode) == 0o600


def test_a_dry_run_checks_and_sends_nothing(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "plans.ndjson"
    file.write_text('{"id":"x","kind":"internet"}\n{"id":"y","kind":"fax"}\n\n{broken\n')
    summary = server.json("plan", "import", str(file), "--dry-run", exit_code=1)
    assert summary["results"] == {"valid": 1, "error": 2}
    assert [finding["line"] for finding in summary["first_errors"]] == [2, 4]
    assert ("plan", "x") not in server.engine.entities


def test_what_is_exported_can_be_imported(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "plans.ndjson"
    file.write_text("".join(json.dumps({"id": f"p{n}", "name": f"Plan {n}"}) + "\n" for n in range(2500)))
    assert server.aaa("plan", "import", str(file)).stdout == "2500 applied\n"
    exported = server.aaa("plan", "export").stdout
    assert len(exported.splitlines()) == 2501
    assert server.aaa("plan", "import", "-", text=exported).stdout == "2501 stale\n"


def test_a_header_with_a_misspelt_column_is_a_usage_error(server: Running, tmp_path: Path) -> None:
    file = tmp_path / "services.csv"
    file.write_text("id,subscriber,plan_id\n")
    assert "did you mean subscriber_id?" in server.aaa("service", "import", str(file), exit_code=2).stderr
    file.write_text("subscriber_id,plan_id\n")
    assert "column id" in server.aaa("service", "import", str(file), exit_code=2).stderr
    file.write_text("id,id\n")
    assert "twice" in server.aaa("service", "import", str(file), exit_code=2).stderr


@pytest.mark.parametrize("column", sorted({*CREDENTIAL_COLUMNS, *(c for kind in COLUMNS.values() for c in kind)}))
def test_every_column_is_documented(column: str) -> None:
    assert f"`{column}`" in (Path(__file__).parents[2] / "docs/cli.md").read_text()
