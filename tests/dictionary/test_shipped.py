"""The shipped dictionaries: complete, with their origin, and of one mind with pyrad and with Debian's FreeRADIUS."""

import logging
import os
from pathlib import Path

import pyrad.dictionary
import pytest

from aaa.dictionary import SHIPPED, Dictionary, load

DEBIAN = Path("/usr/share/freeradius")
FILES = sorted(SHIPPED.glob("dictionary*"))
SAME_ON_THE_WIRE = {"octets": "string"}


@pytest.fixture(scope="module")
def shipped() -> Dictionary:
    return load()


@pytest.fixture(scope="module")
def debian() -> Path:
    if not (DEBIAN / "dictionary").exists():
        if os.environ.get("CI"):
            pytest.fail("install the Debian package freeradius-common: it is the dictionaries' independent oracle")
        pytest.skip("Debian package freeradius-common is not installed")
    return DEBIAN


def test_shipped_dictionary_loads_without_a_warning(shipped: Dictionary) -> None:
    assert shipped.warnings == ()
    assert len(shipped) > 1000


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_begins_with_its_origin(path: Path) -> None:
    assert path.read_text().startswith("# Origin: ")


def test_index_names_every_shipped_file() -> None:
    named = {line.split()[1] for line in (SHIPPED / "dictionary").read_text().splitlines() if line.startswith("$")}
    assert named == {path.name for path in FILES if path.name != "dictionary"}


def test_no_number_is_given_twice_but_for_known_aliases(shipped: Dictionary) -> None:
    seen: dict[tuple[int, ...], list[str]] = {}
    for attribute in shipped:
        seen.setdefault(attribute.path, []).append(attribute.name)
    assert sorted(names for names in seen.values() if len(names) > 1) == [
        ["Huawei-Subscriber-QoS-Profile", "Huawei-ISP-ID"],
        ["MS-MPPE-Encryption-Type", "MS-MPPE-Encryption-Types"],
        ["Qos-Policy-Metering", "Qos-Metering-Profile-Name"],
        ["Qos-Policy-Policing", "Qos-Policing-Profile-Name"],
        ["Ruckus-Sta-Expiration", "Ruckus-WSG-User"],
    ]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("User-Name", (1,)),
        ("Delegated-IPv6-Prefix-Pool", (171,)),
        ("Frag-Status", (241, 1)),
        ("ADSL-Agent-Circuit-Id", (26, 3561, 1)),
        ("3GPP-IMSI", (26, 10415, 1)),
        ("MS-CHAP2-Response", (26, 311, 25)),
        ("Mikrotik-Rate-Limit", (26, 14988, 8)),
        ("Cisco-AVPair", (26, 9, 1)),
        ("ERX-Service-Activate", (26, 4874, 65)),
        ("Huawei-Input-Average-Rate", (26, 2011, 2)),
        ("H3C-Input-Average-Rate", (26, 25506, 2)),
        ("Alc-Subscriber-QoS-Override", (26, 6527, 126)),
        ("ZTE-Rate-Ctrl-SCR-Down", (26, 3902, 83)),
        ("UBNT-Data-Rate-DL", (26, 41112, 1)),
        ("Cambium-Walled-Garden-State", (26, 17713, 160)),
        ("Motorola-Canopy-ULBR", (26, 161, 6)),
        ("WISPr-Bandwidth-Max-Down", (26, 14122, 8)),
        ("ChilliSpot-Max-Total-Octets", (26, 14559, 3)),
        ("RP-Upstream-Speed-Limit", (26, 10055, 1)),
        ("Accel-VRF-Name", (26, 8003, 1)),
    ],
)
def test_attributes_that_providers_use_are_there(shipped: Dictionary, name: str, path: tuple[int, ...]) -> None:
    attribute = shipped.attribute(name)
    assert attribute is not None
    assert attribute.path == path


def test_pyrad_reads_the_same_from_the_shipped_files(shipped: Dictionary, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "pyrad")
    other = pyrad.dictionary.Dictionary(str(SHIPPED / "dictionary"))
    compared = 0
    for name, theirs in other.attributes.items():
        ours = shipped.attribute(name)
        assert ours is not None
        assert (ours.type, ours.has_tag, ours.encrypt) == (theirs.type, theirs.has_tag, theirs.encrypt), name
        key = other.attrindex.GetForward(name)
        path = tuple(key) if isinstance(key, tuple) else (key,)
        assert ours.path == (path if not theirs.vendor else (26, *path)), name
        for value, number in ours.values.items():
            assert theirs.values.GetForward(value) == ours.pack(number)[-len(theirs.values.GetForward(value)) :]
            compared += 1
    assert len(other.attributes) > 1000
    assert compared > 300


def test_numbers_and_types_agree_with_debian(shipped: Dictionary, debian: Path) -> None:
    theirs = load([debian / "dictionary", debian / "dictionary.rfc5090"])
    wrong: list[tuple[object, ...]] = []
    for ours in shipped:
        other = theirs.attribute(ours.name)
        if other is None:
            continue
        kinds = [SAME_ON_THE_WIRE.get(kind, kind) for kind in (ours.type, other.type)]
        if ours.path != other.path or kinds[0] != kinds[1] or ours.has_tag != other.has_tag:
            wrong.append((ours.name, ours.path, ours.type, other.path, other.type))
        if ours.encrypt != other.encrypt or ours.concat != other.concat:
            wrong.append((ours.name, "flags"))
        wrong += [
            (ours.name, name, number)
            for name, number in ours.numbers.items()
            if other.numbers.get(name, number) != number
        ]
    assert wrong == []


def test_every_debian_file_is_read_unchanged_beside_the_shipped_ones(debian: Path) -> None:
    files = sorted(debian.glob("dictionary*"))
    assert len(files) > 200
    for path in files:
        names = load([SHIPPED, debian / "dictionary.freeradius", path])
        defined = [line.split()[1] for line in _lines(path) if line.upper().startswith("ATTRIBUTE")]
        assert [name for name in defined if names.attribute(name) is None] == [], path


def test_all_of_debian_is_read_at_once(debian: Path) -> None:
    everything = load([debian])
    defined = {
        line.split()[1].lower()
        for path in debian.glob("dictionary*")
        for line in _lines(path)
        if line.upper().startswith("ATTRIBUTE")
    }
    assert len(defined) > 8000
    assert {name for name in defined if everything.attribute(name) is None} == set()


def _lines(path: Path) -> list[str]:
    return path.read_text("latin-1").splitlines()
