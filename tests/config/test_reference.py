"""Every key is documented, and the documents say what the code does."""

import re
from pathlib import Path

import msgspec
import pytest

from aaa.config.reference import markdown, sections
from aaa.config.schema import RESTART_KEYS

DOCUMENT = (Path(__file__).parents[2] / "docs/configuration.md").read_text()
KEYS = [(name, field.name) for name, cls, _ in sections() for field in msgspec.structs.fields(cls)]


def rows(text: str) -> dict[tuple[str, str], list[str]]:
    """Cells of the key tables by section and key."""
    found = {}
    section = ""
    for line in text.splitlines():
        if heading := re.fullmatch(r"## \[+([\w.]+)\]+", line):
            section = heading[1]
        elif row := re.fullmatch(r"\| `(\w+)` \| (.+) \|", line):
            found[section, row[1]] = row[2].split(" | ")
    return found


def test_the_document_holds_the_tables_made_from_the_schema() -> None:
    assert markdown() in DOCUMENT, "docs/configuration.md: renew the tables with `python -m aaa.config.reference`"


def test_each_key_is_documented_and_no_other() -> None:
    assert list(rows(DOCUMENT)) == KEYS


@pytest.mark.parametrize("key", KEYS, ids=".".join)
def test_meaning_value_default_and_reload_are_given(key: tuple[str, str]) -> None:
    meaning, value, default, reload = rows(DOCUMENT)[key]
    assert meaning.endswith(".")
    assert value
    assert default
    assert reload == ("no" if {key[0], ".".join(key)} & RESTART_KEYS else "yes")
