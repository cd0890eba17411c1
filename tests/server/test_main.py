"""What the composition root makes of a [[nas]] entry for the engine, and its timers."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from aaa.config import Nas, Redacted
from aaa.model.access import Verdict
from aaa.radius.clients import Client
from aaa.server.main import Server, configure_nas
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


def test_a_timer_goes_on_after_a_failure() -> None:
    async def story() -> None:
        done = asyncio.Event()
        calls = []

        def action() -> None:
            calls.append(1)
            if len(calls) == 1:
                raise ValueError("odd")
            done.set()

        failures: list[str] = []
        server: Any = SimpleNamespace(log=SimpleNamespace(exception=lambda event, error, **_: failures.append(event)))
        task = asyncio.ensure_future(Server.every(server, 0.001, action))
        async with asyncio.timeout(10):
            await done.wait()
        task.cancel()
        assert failures == ["timer.failed"]

    asyncio.run(story())
