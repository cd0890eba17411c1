"""The lab's dictionaries and the server's were written apart, from the standards: they agree."""

import pytest

from aaa.dictionary.diameter import load
from tests.lab import wire

DICTIONARY = load()
TEXTS = {"UTF8String", "DiameterIdentity", "DiameterURI", "IPFilterRule"}


def kind(name: str) -> str:
    """Integers that may be named or not are one kind."""
    return "Integer32" if name == "Enumerated" else "OctetString" if name in TEXTS else name


@pytest.mark.parametrize("avp", wire.avps().values(), ids=lambda avp: avp.name)
def test_an_avp_has_the_code_vendor_type_and_flags_of_the_servers_dictionary(avp):
    theirs = DICTIONARY.find(avp.name)
    assert theirs is not None
    assert (theirs.code, theirs.vendor) == (avp.code, avp.vendor)
    assert kind(theirs.type) == kind(avp.type)
    assert theirs.mandatory is avp.mandatory


@pytest.mark.parametrize(
    ("where", "command"), wire.commands().items(), ids=lambda value: getattr(value, "name", value[1])
)
def test_a_command_has_the_code_of_the_servers_dictionary(where, command):
    application, name = where
    theirs = DICTIONARY.command(application.capitalize(), name)
    assert (theirs.code, theirs.application.number, theirs.short) == (command.code, command.application, name)
