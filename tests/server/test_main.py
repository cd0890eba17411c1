"""What the composition root makes of a [[nas]] entry for the engine."""

from types import SimpleNamespace
from typing import Any

import pytest

from aaa.config import Nas, Redacted
from aaa.model.access import Verdict
from aaa.radius.clients import Client
from aaa.server.main import configure_nas
from tests.engine.site import Site


def prepared() -> Any:
    return SimpleNamespace(
        options={"bng": SimpleNamespace(garden_pool="")},
        config=SimpleNamespace(radius=SimpleNamespace(simultaneous_use="reject")),
    )


@pytest.mark.parametrize(
    ("identity", "verdict"), [(("password",), Verdict.ACCEPT), (("mac", "circuit"), Verdict.REJECT)]
)
def test_a_password_counts_only_where_the_nas_lists_it(identity: Any, verdict: Verdict) -> None:
    site = Site()
    site.service()
    nas = site.nas()
    client = Client(Nas(name="bng", address=("127.0.0.1",), secret=Redacted("testing123"), identity=identity))
    configure_nas(site.store, nas, client, prepared())
    assert site.login(nas=nas).verdict == verdict
