"""`aaa drift`: billing's file against the server, with nothing changed."""

import json
from typing import Any

from tests.billing_hooks.conftest import PLAN
from tests.cli.conftest import Running


def lines(*entities: dict[str, Any]) -> str:
    return "".join(json.dumps(entity) + "\n" for entity in entities)


def plan(name: str = "home-50", **value: Any) -> dict[str, Any]:
    return {"kind": "plan", "id": name, "value": PLAN | value}


def test_each_difference_is_a_line(server: Running) -> None:
    server.engine.became = {"home-50": "repaired", "home-100": "newer", "old": "older"}
    text = lines(plan(), plan("home-100"), plan("old"), plan("gold"))
    result = server.aaa("drift", "-", text=text, exit_code=1)
    shown = result.stdout.splitlines()
    assert shown == [
        "missing plan/gold", "extra service/u1", "older plan/home-100", "newer plan/old", "differing plan/home-50",
    ]  # fmt: skip
    assert "1 missing, 1 extra, 1 older, 1 newer, 1 differing" in result.stderr


def test_no_difference_is_told_by_the_exit_code(server: Running) -> None:
    server.engine.became = {"home-50": "same"}
    server.engine.entities.clear()
    result = server.aaa("drift", "-", text=lines({"op": "put", **plan()}))
    assert (result.stdout, result.stderr) == ("", "no drift\n")
    assert server.json("drift", "-", text=lines(plan(), {"end": True, "count": 1}))["complete"]


def test_a_wrong_file_is_told_by_its_line(server: Running) -> None:
    for text, words in (("{}\nno", "line 2: not JSON"), ("[]", "line 1"), ('{"op": "delete"}', "puts only")):
        assert words in server.aaa("drift", "-", text=text, exit_code=1).stderr
    assert "end says 7" in server.aaa("drift", "-", text=lines(plan(), {"end": True, "count": 7}), exit_code=1).stderr
