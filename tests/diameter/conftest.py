"""The shipped dictionary, read once."""

import pytest

from aaa.dictionary.diameter import Dictionary, load


@pytest.fixture(scope="session")
def dictionary() -> Dictionary:
    return load()
