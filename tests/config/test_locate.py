"""Lines of keys in a TOML text."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.config.locate import Path, locate


def paths(value: Any, path: Path = ()) -> set[Path]:
    """Every table, key and list entry of parsed data."""
    if isinstance(value, dict):
        return {path} | {found for key, part in value.items() for found in paths(part, (*path, key))}
    if isinstance(value, list):
        return {path} | {found for index, part in enumerate(value) for found in paths(part, (*path, index))}
    return {path}


TEXT = '''# comment [not.a.table] "quote
title = "a # b \\" [x]"   # comment
a.b."c d".'e.f' = 1

[server] # comment
text = """
[nas]
secret = "no" \\""" still inside """""
literal = \'\'\'
[no] = """ \'\'\'
path = 'C:\\'
list = [ # comment ]
  "one", [ "two" , 2.5 ],
  { x = 1, y = "}" },
]

[[nas]]
name = "first"
[nas.options]
pool = "p"
[[nas.links]]
to = 1
[[nas.links]]
to = 2

  [[ nas ]]
  "name" = 'second'
  options = { pool = "q", deep = { er = [1,
     2] } }
when = 2026-11-21 02:56:52
[x.y.z]
last = true'''


def test_every_key_is_found() -> None:
    data = tomllib.loads(TEXT)
    assert paths(data) - {()} == set(locate(TEXT))


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("a",), 3),
        (("a", "b", "c d", "e.f"), 3),
        (("server",), 5),
        (("server", "text"), 6),
        (("server", "literal"), 9),
        (("server", "path"), 11),
        (("server", "list"), 12),
        (("server", "list", 0), 13),
        (("server", "list", 1, 1), 13),
        (("server", "list", 2, "y"), 14),
        (("nas",), 17),
        (("nas", 0), 17),
        (("nas", 0, "options", "pool"), 20),
        (("nas", 0, "links", 1), 23),
        (("nas", 0, "links", 1, "to"), 24),
        (("nas", 1), 26),
        (("nas", 1, "name"), 27),
        (("nas", 1, "options", "deep", "er", 1), 29),
        (("nas", 1, "when"), 30),
        (("x",), 31),
        (("x", "y", "z", "last"), 32),
    ],
)
def test_line(path: Path, line: int) -> None:
    assert locate(TEXT)[path] == line
    assert locate(TEXT.replace("\n", "\r\n"))[path] == line


@pytest.mark.parametrize("end", range(len(TEXT)))
def test_a_text_that_breaks_off_gives_what_stands_before(end: int) -> None:
    found = locate(TEXT[:end])
    whole = locate(TEXT)
    complete = TEXT[:end].count("\n")
    assert {path for path, line in whole.items() if line <= complete - 3} <= set(found)


@given(st.text(alphabet="ab.=[]{}\"'#,\n\\ 1", max_size=60))
def test_no_text_raises_or_hangs_and_valid_text_is_found_whole(text: str) -> None:
    found = locate(text)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert paths(data) - {()} == set(found)
    assert all(1 <= line <= text.count("\n") + 1 for line in found.values())
