"""The HTTP process itself: started, asked over TCP, restarted, ended with its engine."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
import uvicorn

from billing_hooks.process import Protocol
from billing_hooks.supervisor import HttpProcess
from billing_hooks.tokens import ApiSettings
from tests.billing_hooks.conftest import PLAN, SETTINGS, make_token, token_of
from tests.billing_hooks.far_end import FarEngine


def with_process(work: Callable[[HttpProcess, httpx.AsyncClient], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        engine = FarEngine()
        process = HttpProcess(engine.handle, SETTINGS, "127.0.0.1:0", delays_s=(0.0,))
        process.start()
        host, port = process.address
        headers = {"Authorization": f"Bearer {token_of('admin')}"}
        try:
            async with httpx.AsyncClient(base_url=f"http://{host}:{port}", headers=headers, timeout=30) as http:
                await asyncio.wait_for(work(process, http), 60)
        finally:
            await process.stop()
        assert process.pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)

    asyncio.run(main())


def test_it_serves_what_the_engine_answers() -> None:
    async def work(process: HttpProcess, http: httpx.AsyncClient) -> None:
        # Connects before the process listens wait in the socket's queue, which the engine's process holds.
        assert (await http.get("/healthz")).json()["status"] == "ok"
        assert (await http.put("/v1/plans/p", json=PLAN)).json()["status"] == "applied"
        assert (await http.get("/v1/plans/p")).json()["id"] == "p"

    with_process(work)


def test_new_settings_apply_without_a_restart() -> None:
    async def work(process: HttpProcess, http: httpx.AsyncClient) -> None:
        assert (await http.get("/v1/plans")).status_code == 200
        process.use_settings(ApiSettings(tokens=(make_token("reader"),)))
        while (await http.get("/v1/plans")).status_code == 200:
            pass
        assert (await http.get("/v1/plans")).status_code == 401
        assert process.starts == 1

    with_process(work)


def test_a_killed_process_is_started_again_on_the_same_port() -> None:
    async def work(process: HttpProcess, http: httpx.AsyncClient) -> None:
        assert (await http.get("/healthz")).status_code == 200
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        while process.starts < 2:
            await asyncio.sleep(0)
        async with httpx.AsyncClient(base_url=http.base_url, timeout=30) as fresh:
            assert (await fresh.get("/healthz")).status_code == 200

    with_process(work)


def test_an_interrupt_of_the_terminal_leaves_it_to_the_engine() -> None:
    async def work(process: HttpProcess, http: httpx.AsyncClient) -> None:
        assert (await http.get("/healthz")).status_code == 200
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        assert (await http.get("/healthz")).status_code == 200
        assert process.starts == 1

    with_process(work)


def test_an_id_with_a_slash_reaches_its_entity() -> None:
    async def work(process: HttpProcess, http: httpx.AsyncClient) -> None:
        assert (await http.put("/v1/plans/a%2Fb", json=PLAN)).json()["id"] == "a/b"
        assert (await http.get("/v1/plans/a/b")).status_code == 404

    with_process(work)


def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody() -> None:
    async def work(process: HttpProcess, http: httpx.AsyncClient) -> None:
        head = (
            "POST /v1/sync HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 1000000\r\n"
            f"Authorization: Bearer {token_of('admin')}\r\n\r\n"
        )
        for part in (b"", b'{"op":"put"', b'{"op":"put","kind":"plan","id":"p","value":{"revision":1}}\n'):
            _, writer = await asyncio.open_connection(*process.address)
            writer.write(head.encode() + part)
            await writer.drain()
            writer.close()
        assert (await http.get("/healthz")).status_code == 200
        assert process.starts == 1

    with_process(work)


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET /" + b"a" * 200_000])
def test_what_is_no_http_is_refused_and_the_connection_closed(garbage: bytes) -> None:
    async def work(process: HttpProcess, http: httpx.AsyncClient) -> None:
        reader, writer = await asyncio.open_connection(*process.address)
        writer.write(garbage + b"\r\n\r\n")
        answer = b""
        # Octets that were not read before the connection was closed turn its end into a reset.
        with contextlib.suppress(ConnectionResetError):
            answer = await reader.read()
        assert not answer or answer.startswith(b"HTTP/1.1 400")
        writer.close()
        assert (await http.get("/healthz")).status_code == 200

    with_process(work)


def test_a_port_in_use_is_an_error_at_once() -> None:
    first = HttpProcess(FarEngine().handle, SETTINGS, "127.0.0.1:0")
    try:
        with pytest.raises(OSError, match="in use"):
            HttpProcess(FarEngine().handle, SETTINGS, f"127.0.0.1:{first.address[1]}")
    finally:
        asyncio.run(first.stop())


def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("billing_hooks.process.HTTP_HEAD_S", 0.02)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def main() -> None:
        loop = asyncio.get_running_loop()
        config = uvicorn.Config(app, http=Protocol, lifespan="off", ws="none", log_config=None)
        config.load()
        state = uvicorn.Server(config).server_state
        server = await loop.create_server(lambda: Protocol(config, state, {}), "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        # One says nothing, one stops within its head, one within the head of its second request.
        for sent in (b"", b"GET / HTTP/1.1\r\nHost:", b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /"):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(sent)
            received = await asyncio.wait_for(reader.read(), 10)
            assert received.startswith(b"HTTP/1.1 204") == sent.endswith(b"GET /")
            writer.close()
        server.close()
        assert not state.connections

    asyncio.run(main())
