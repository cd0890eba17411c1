"""Reading dictionary files: every feature of the FreeRADIUS 3.2 format, and errors that name file, line and remedy."""

from pathlib import Path

import pytest

from aaa.dictionary import Dictionary, load
from aaa.errors import DictionaryError


def read(directory: Path, text: str, **others: str) -> Dictionary:
    for name, content in others.items():
        (directory / f"dictionary.{name}").write_text(content)
    (directory / "dictionary").write_text(text)
    return load([directory / "dictionary"])


def test_vendor_block_puts_attributes_under_vendor_specific(tmp_path: Path) -> None:
    d = read(tmp_path, "VENDOR Acme 9999\nBEGIN-VENDOR Acme\nATTRIBUTE Acme-Speed 7 integer\nEND-VENDOR Acme\n")
    speed = d.attribute("acme-SPEED")
    assert speed is not None
    assert (speed.name, speed.path, speed.type) == ("Acme-Speed", (26, 9999, 7), "integer")
    assert d.by_path((26, 9999, 7)) is speed
    assert d.vendors == {"Acme": 9999}


@pytest.mark.parametrize(
    ("text", "layout"),
    [("2,2", (2, 2, False)), ("4,0", (4, 0, False)), ("2,1", (2, 1, False)), ("1,1,c", (1, 1, True))],
)
def test_vendor_format_is_kept(tmp_path: Path, text: str, layout: tuple[int, int, bool]) -> None:
    d = read(tmp_path, f"VENDOR Acme 64999 format={text}\n")
    assert d.formats == {64999: layout}


def test_vendor_of_old_style_fifth_column(tmp_path: Path) -> None:
    d = read(tmp_path, "VENDOR Acme 9999\nATTRIBUTE Acme-Name 1 string Acme\n")
    assert d.by_path((26, 9999, 1)) is not None


def test_oid_and_extended_attributes(tmp_path: Path) -> None:
    d = read(
        tmp_path,
        "VENDOR Acme 9999\n"
        "ATTRIBUTE Extended-Attribute-1 241 extended\n"
        "ATTRIBUTE Frag-Status 241.1 integer\n"
        "ATTRIBUTE Info 241.5 tlv\n"
        "ATTRIBUTE Info-Type 241.5.1 integer\n"
        "ATTRIBUTE Acme-Direct 26.9999.3 string\n"
        "ATTRIBUTE EVS-1 241.26 evs\n"
        "BEGIN-VENDOR Acme format=EVS-1\n"
        "ATTRIBUTE Acme-Extended 4 string\n"
        "END-VENDOR Acme\n",
    )
    paths = {attribute.name: attribute.path for attribute in d}
    assert paths["Frag-Status"] == (241, 1)
    assert paths["Info-Type"] == (241, 5, 1)
    assert paths["Acme-Direct"] == (26, 9999, 3)
    assert paths["Acme-Extended"] == (241, 26, 9999, 4)


def test_tlv_block_puts_members_under_the_tlv(tmp_path: Path) -> None:
    d = read(
        tmp_path,
        "VENDOR W 24757 format=1,1,c\nBEGIN-VENDOR W\nATTRIBUTE W-Capability 1 tlv\n"
        "BEGIN-TLV W-Capability\nATTRIBUTE W-Release 1 string\nEND-TLV W-Capability\n"
        "ATTRIBUTE W-Other 2 byte\nEND-VENDOR W\n",
    )
    assert [attribute.path for attribute in d] == [(26, 24757, 1), (26, 24757, 1, 1), (26, 24757, 2)]


def test_flags(tmp_path: Path) -> None:
    d = read(
        tmp_path,
        "ATTRIBUTE T 1 string has_tag,encrypt=2\nATTRIBUTE C 2 octets concat\nATTRIBUTE A 3 byte array\n"
        "ATTRIBUTE V 1050 integer virtual\nATTRIBUTE S 4 string secret\nATTRIBUTE F 5 octets[16]\n"
        "ATTRIBUTE U 6 string encrypt=User-Password\n",
    )
    t, c, a, v, s, f, u = d
    assert (t.has_tag, t.encrypt) == (True, 2)
    assert c.concat
    assert a.array
    assert v.virtual
    assert s.secret
    assert f.size == 16
    assert u.encrypt == 1


@pytest.mark.parametrize(
    ("alias", "plain"),
    [("uint32", "integer"), ("uint8", "byte"), ("ipv4addr", "ipaddr"), ("text", "string"), ("String", "string")],
)
def test_type_names_of_rfc_8044(tmp_path: Path, alias: str, plain: str) -> None:
    attribute = read(tmp_path, f"ATTRIBUTE X 1 {alias}\n").attribute("X")
    assert attribute is not None
    assert attribute.type == plain


def test_comments_blank_lines_tabs_hex_and_case_of_keywords(tmp_path: Path) -> None:
    d = read(tmp_path, "# all\n\n  attribute\tX\t0x10\tinteger # tail\nVALUE X On 0x01\nvalue x Off 0\n")
    x = d.attribute("x")
    assert x is not None
    assert x.path == (16,)
    assert x.values == {"On": 1, "Off": 0}


def test_comments_in_an_8_bit_alphabet_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "dictionary.old").write_bytes(b"# Zugangsger\xe4t\nATTRIBUTE X 1 string\n")
    assert load([tmp_path / "dictionary.old"]).attribute("X") is not None


def test_include_is_relative_to_its_file(tmp_path: Path) -> None:
    d = read(tmp_path, "$INCLUDE dictionary.inner\n$INCLUDE- dictionary.absent\n", inner="ATTRIBUTE X 1 string\n")
    assert d.attribute("X") is not None


def test_protocol_lines_of_version_4_are_read_over(tmp_path: Path) -> None:
    assert len(read(tmp_path, "PROTOCOL RADIUS 1\nBEGIN-PROTOCOL RADIUS\nATTRIBUTE X 1 string\nEND-PROTOCOL RADIUS\n"))


def test_directory_reads_its_index_first_and_dropped_files_after(tmp_path: Path) -> None:
    (tmp_path / "dictionary").write_text("ATTRIBUTE X 1 string\n$INCLUDE dictionary.b\n")
    (tmp_path / "dictionary.b").write_text("ATTRIBUTE Y 2 string\n")
    (tmp_path / "dictionary.a").write_text("ATTRIBUTE X 1 octets\n")
    (tmp_path / "dictionary.a~").write_text("an editor's backup\n")
    d = load([tmp_path])
    x = d.attribute("X")
    assert x is not None
    assert x.type == "octets"
    assert len(d) == 2


def test_a_later_definition_wins_by_name_and_by_number(tmp_path: Path) -> None:
    d = read(
        tmp_path, "ATTRIBUTE Old 1 string\nATTRIBUTE New 1 octets\nATTRIBUTE Moved 2 string\nATTRIBUTE Moved 3 string\n"
    )
    assert d.by_path((1,)) is d.attribute("New")
    assert d.attribute("Old") is not None
    assert d.by_path((3,)) is d.attribute("Moved")
    assert d.by_path((2,)) is None


def test_values_may_stand_before_their_attribute(tmp_path: Path) -> None:
    x = read(tmp_path, "VALUE X On 1\nATTRIBUTE X 1 integer\n").attribute("X")
    assert x is not None
    assert x.names == {1: "On"}


def test_value_of_an_unknown_attribute_is_a_warning_with_a_suggestion(tmp_path: Path) -> None:
    d = read(tmp_path, "ATTRIBUTE Service-Type 6 integer\nVALUE Servce-Type Login 1\n")
    assert d.warnings == (
        f"{tmp_path}/dictionary:2: VALUE Login of unknown attribute Servce-Type; did you mean Service-Type?",
    )


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("ATRIBUTE X 1 string\n", 1, "unknown statement ATRIBUTE", "did you mean ATTRIBUTE?"),
        ("\nATTRIBUTE X 1\n", 2, "ATTRIBUTE takes", None),
        ("ATTRIBUTE X one string\n", 1, "one is not a number", None),
        ("ATTRIBUTE X -1 string\n", 1, "outside", None),
        ("ATTRIBUTE X 1 strin\n", 1, "unknown type strin", "did you mean string?"),
        ("ATTRIBUTE X 1 string has_tga\n", 1, "unknown flag has_tga", "did you mean has_tag?"),
        ("ATTRIBUTE X 1 string encrypt=4\n", 1, "unknown flag encrypt=4", "did you mean encrypt=?"),
        ("ATTRIBUTE X 1 ipaddr has_tag\n", 1, "has_tag does not go with type ipaddr", None),
        ("ATTRIBUTE X 5.1 string\n", 1, "5 is not defined before it", None),
        ("ATTRIBUTE X 1 byte\nVALUE X Big 256\n", 2, "256 does not fit byte", None),
        ("ATTRIBUTE X 1 byte\nVALUE X Big\n", 2, "VALUE takes", None),
        ("VENDOR A 1 format=3,1\n", 1, "is no vendor format", "type of 1, 2 or 4 octets, length of 0, 1 or 2"),
        ("VENDOR A 1 format=1\n", 1, "is no vendor format", "as format=1,1 or format=2,2 or format=1,1,c"),
        ("VENDOR Mikrotik 1\nBEGIN-VENDOR Microtik\n", 2, "unknown vendor Microtik", "did you mean Mikrotik?"),
        ("BEGIN-VENDOR A\n", 1, "unknown vendor A", "a VENDOR line is missing"),
        (
            "VENDOR A 1\nBEGIN-VENDOR A format=Nope\n",
            2,
            "names no evs attribute",
            "as format=Extended-Vendor-Specific-1",
        ),
        ("VENDOR A 1\nBEGIN-VENDOR A\n", None, "BEGIN-VENDOR A is never ended", "add END-VENDOR A"),
        ("VENDOR A 1\nEND-VENDOR A\n", 2, "ends no open block", "none is open"),
        ("$INCLUDE dictionary\n", 1, "includes itself", None),
        ("$INCLUDE dictionary.absent\n", 1, "cannot read", None),
        ("$INCLUDE\n", 1, "takes one file name", None),
    ],
)
def test_errors_name_file_line_and_remedy(
    tmp_path: Path, text: str, line: int | None, message: str, hint: str | None
) -> None:
    with pytest.raises(DictionaryError) as caught:
        read(tmp_path, text)
    error = caught.value
    assert (error.file, error.line) == (str(tmp_path / "dictionary"), line)
    assert message in error.message
    assert error.hint == hint
    assert str(error).startswith(f"{tmp_path}/dictionary{'' if line is None else f':{line}'}: ")


def test_error_in_an_included_file_names_that_file(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError) as caught:
        read(tmp_path, "\n\n$INCLUDE dictionary.inner\n", inner="\nATTRIBUTE X\n")
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "dictionary.inner"), 2)


def test_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DictionaryError, match="No such file"):
        load([tmp_path / "dictionary.nowhere"])
