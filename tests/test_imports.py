"""The import rules for what import-linter cannot read: cimports of .pyx and .pxd files, as in ARCHITECTURE.md."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STEPS = (
    ("aaa.cli",),
    ("aaa.server",),
    ("aaa.mapping", "billing_hooks"),
    ("aaa.engine",),
    ("aaa.state", "aaa.radius", "aaa.diameter"),
    ("aaa.credential",),
    ("aaa.dictionary", "aaa.config", "aaa.clock"),
    ("aaa.model",),
    ("aaa.limits", "aaa.errors"),
    ("native", "policy"),
)
SOURCES = sorted(path for room in ("native", "aaa") for path in (ROOT / room).rglob("*.p[yx][xd]"))
IMPORT = re.compile(r"^\s*(?:from\s+([\w.]+)\s+c?import|c?import\s+([\w.]+))", re.MULTILINE)


def step_of(module: str) -> int | None:
    """The step of a module's room; None for what is not ours."""
    for number, rooms in enumerate(STEPS):
        if any(module == room or module.startswith(room + ".") for room in rooms):
            return number
    return None


def room_of(module: str) -> str:
    return next(room for rooms in STEPS for room in rooms if module == room or module.startswith(room + "."))


def broken(module: str, text: str) -> list[str]:
    """Imports of a module that go up, or sideways into another room."""
    mine = step_of(module)
    assert mine is not None, f"{module} is in no room"
    found = []
    for match in IMPORT.finditer(text):
        target = match[1] or match[2]
        theirs = step_of(target)
        if theirs is not None and (theirs < mine or (theirs == mine and room_of(target) != room_of(module))):
            found.append(target)
    if module.startswith("aaa.engine"):
        found += re.findall(r"from (native[\w.]*|aaa\.radius[\w.]*) cimport", text)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_compiled_module_imports_only_rooms_below_it(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert broken(module, path.read_text()) == []


def test_an_import_that_goes_up_is_found() -> None:
    assert broken("native.radius", "from aaa.model.access cimport Attempt\n") == ["aaa.model.access"]
    assert broken("aaa.state.sessions", "from aaa.radius.admission cimport Request\n") == ["aaa.radius.admission"]
    assert broken("aaa.engine.authorize", "from native.radius cimport Packet\n") == ["native.radius"]
