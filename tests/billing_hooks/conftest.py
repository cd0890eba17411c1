"""The application with a small engine at the far end of a real socket pair, in one loop for all tests of a module."""

import asyncio
import hashlib
import socket
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import httpx
import pytest

from billing_hooks.app import Door
from billing_hooks.rpc import RpcClient, RpcServer
from billing_hooks.tokens import ApiSettings, Role, Token
from tests.billing_hooks.far_end import FarEngine

T = TypeVar("T")
ROLES: tuple[Role, ...] = ("reader", "support", "billing", "sim_admin", "admin")


def token_of(role: str) -> str:
    return f"{role}-token-0123456789"


def make_token(role: Role, operator: str | None = None) -> Token:
    return Token(role, role, hashlib.sha256(token_of(role).encode()).hexdigest(), operator)


SETTINGS = ApiSettings(tokens=tuple(make_token(role) for role in ROLES), version="1.2.3")


class Harness:
    """Door, engine and an HTTP client without a network between client and application."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.engine = FarEngine()
        self.run(self._connect())

    async def _connect(self) -> None:
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        self.server = RpcServer(self.engine.handle)
        await loop.create_unix_connection(lambda: self.server, sock=far)
        _, self.rpc = await loop.create_unix_connection(lambda: RpcClient(), sock=near)
        self.door = Door(self.rpc, SETTINGS)
        transport = httpx.ASGITransport(app=self.door.make_app(), raise_app_exceptions=False)  # type: ignore[arg-type]
        self.http = httpx.AsyncClient(transport=transport, base_url="http://api")

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))

    def ask(self, method: str, path: str, role: str | None = "admin", **arguments: Any) -> httpx.Response:
        headers = dict(arguments.pop("headers", {}))
        if role is not None:
            headers.setdefault("Authorization", f"Bearer {token_of(role)}")
        return self.run(self.http.request(method, path, headers=headers, **arguments))

    def seed(self) -> None:
        """A plan, a subscriber and a service to ask about."""
        assert self.ask("PUT", "/v1/plans/home-50", json=PLAN).status_code == 200
        assert self.ask("PUT", "/v1/subscribers/s1", json={"revision": 1, "name": "Ann"}).status_code == 200
        assert self.ask("PUT", "/v1/services/u1", json=SERVICE).status_code == 200

    def close(self) -> None:
        async def end() -> None:
            await self.http.aclose()
            self.rpc.close()
            self.server.close()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        self.loop.run_until_complete(end())
        self.loop.close()


PLAN = {"revision": 1, "kind": "internet", "rate": {"down_bps": 50_000_000, "up_bps": 10_000_000}}
SERVICE = {
    "revision": 1,
    "subscriber_id": "s1",
    "plan_id": "home-50",
    "state": "active",
    "credentials": [{"type": "password", "username": "u1", "cleartext": "p1"}],
}


@pytest.fixture
def api() -> Iterator[Harness]:
    harness = Harness()
    yield harness
    harness.close()


@pytest.fixture
def seeded(api: Harness) -> Harness:
    api.seed()
    return api
