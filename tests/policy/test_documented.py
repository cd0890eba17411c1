"""docs/policy.md says what the code does: its tables, and its examples."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from aaa.config.policy import SECTIONS, compile_texts
from aaa.config.policy_reference import markdown
from policy.facts import FACTS
from policy.grammar import FUNCTIONS
from policy.model import FAMILIES, Plan
from policy.rules import Effects

DOCUMENT = (Path(__file__).parents[2] / "docs/policy.md").read_text()
BLOCKS = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.DOTALL)
WINDOWS = "[windows]\nhappy-hours = { start = '22:00', end = '06:00' }\n[[rule]]\nname = 'x'\nthen = { filter = 'x' }\n"


def test_the_document_holds_the_tables_made_from_the_code() -> None:
    assert markdown() in DOCUMENT, "docs/policy.md: renew the tables with `python -m aaa.config.policy_reference`"


def test_every_section_of_a_file_is_spoken_of() -> None:
    assert all(f"[{section}]" in DOCUMENT for section in SECTIONS)


@pytest.mark.parametrize("block", [block for block in BLOCKS if not block.startswith("# aaa.toml")])
def test_every_example_file_is_sound(block: str) -> None:
    assert tomllib.loads(block)
    assert compile_texts({"example.toml": block}).warnings == ()


@pytest.mark.parametrize(
    "text",
    [
        text
        for section in (DOCUMENT.partition("## Conditions")[2].partition("## Windows")[0],)
        for text in re.findall(r"`([^`\n]+)`", section)
        if re.search(r"[<>=]=? |within ", text) and '"activ"' not in text
    ],
)
def test_every_example_condition_is_sound(text: str) -> None:
    compile_texts({"example.toml": WINDOWS + f"when = '''{text}'''"})


def test_facts_and_functions_have_a_meaning() -> None:
    assert all(fact.doc.endswith(".") for fact in FACTS.values())
    assert all(function.signature.startswith(f"{name}(") for name, function in FUNCTIONS.items())


def test_choices_are_those_of_the_structs() -> None:
    kinds = Plan.__annotations__["kind"]
    assert FACTS["plan.kind"].choices == FACTS["subscriber.online_kinds"].choices == kinds.__args__
    assert FACTS["session.nas.family"].choices == FAMILIES


def test_every_effect_can_be_written_in_a_file() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", markdown().partition("### Effects of a rule")[2], re.MULTILINE))
    assert set(Effects.__struct_fields__) <= rows
