"""Frames in pieces of any size, and both ends over a real socket pair."""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.limits import RPC_BUFFER_BYTES_MAX, RPC_CALLS_IN_FLIGHT_MAX, RPC_CALLS_IN_WORK_MAX, RPC_FRAME_BYTES_MAX
from aaa.model.operations import Actor, Answer, Call
from billing_hooks.rpc import FrameParser, FrameTooLong, Handler, RpcClient, RpcServer, RpcUnavailable, encode_frame

ACTOR = Actor("tester", "admin")


def framed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + content


def drain(parser: FrameParser) -> list[bytes]:
    frames = []
    while (frame := parser.next_frame()) is not None:
        frames.append(frame)
    return frames


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=12), st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_frames_come_out_whole_however_the_stream_is_cut(contents: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(framed, contents))
    parser, found, at, turn = FrameParser(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        parser.receive_data(stream[at : at + size])
        assert parser.holds_frame == (len(found) < len(contents) and at + size >= end_of(contents, len(found)))
        found += drain(parser)
        at += size
        turn += 1
    assert found == contents
    assert parser.fault == ""
    assert parser.waiting_bytes == 0


def end_of(contents: list[bytes], index: int) -> int:
    return sum(4 + len(content) for content in contents[: index + 1])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_octets_are_read_without_an_exception(stream: bytes, size: int) -> None:
    parser = FrameParser(frame_bytes_max=64)
    for at in range(0, len(stream), size):
        parser.receive_data(stream[at : at + size])
        assert all(len(frame) <= 64 for frame in drain(parser))
    assert parser.fault in ("", "frame_too_long")


@pytest.mark.parametrize(("size", "fault"), [(63, ""), (64, ""), (65, "frame_too_long")])
def test_a_frame_longer_than_the_bound_is_a_fault_before_it_is_received(size: int, fault: str) -> None:
    parser = FrameParser(frame_bytes_max=64)
    parser.receive_data(size.to_bytes(4, "big"))
    assert parser.next_frame() is None
    assert parser.fault == fault
    parser.receive_data(b"x" * size)
    assert (parser.next_frame() is None) == bool(fault)


def test_a_message_longer_than_a_frame_is_refused_before_it_is_sent() -> None:
    with pytest.raises(FrameTooLong):
        encode_frame(Answer(1, 200, b"x" * RPC_FRAME_BYTES_MAX))


class Pair:
    """Both ends, connected."""

    def __init__(self, client: RpcClient, server: RpcServer) -> None:
        self.client = client
        self.server = server


def with_pair(handle: Handler, work: Callable[[Pair], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        _, server = await loop.create_unix_connection(lambda: RpcServer(handle, **options), sock=far)
        _, client = await loop.create_unix_connection(lambda: RpcClient(), sock=near)
        try:
            await asyncio.wait_for(work(Pair(client, server)), 30)
        finally:
            client.close()
            server.close()

    asyncio.run(main())


def echo(call: Call) -> Answer:
    return Answer(0, 200, msgspec.json.encode([call.method, msgspec.msgpack.decode(call.args)]))


def test_many_calls_in_flight_get_their_own_answers() -> None:
    async def work(pair: Pair) -> None:
        answers = await asyncio.gather(*(pair.client.call("m", ACTOR, number) for number in range(500)))
        assert [msgspec.json.decode(answer.body)[1] for answer in answers] == list(range(500))
        assert pair.client.calls_in_flight == 0

    with_pair(echo, work)


def test_answers_may_come_in_another_order_but_calls_start_in_theirs() -> None:
    started: list[int] = []
    release = asyncio.Event()

    async def handle(call: Call) -> Answer:
        number = msgspec.msgpack.decode(call.args)
        started.append(number)
        if number % 2 == 0:
            await release.wait()
        return echo(call)

    async def work(pair: Pair) -> None:
        calls = [asyncio.ensure_future(pair.client.call("m", ACTOR, number)) for number in range(20)]
        await asyncio.wait(calls[1::2])
        assert not any(call.done() for call in calls[::2])
        release.set()
        await asyncio.wait(calls)

    with_pair(handle, work)
    assert started == list(range(20))


def test_a_slice_ends_when_its_time_is_up() -> None:
    now = 0.0
    handled: list[int] = []
    turns: list[int] = []

    def clock() -> float:
        return now

    def handle(call: Call) -> Answer:
        nonlocal now
        now += 0.0002
        handled.append(call.id)
        return echo(call)

    async def work(pair: Pair) -> None:
        done = asyncio.gather(*(pair.client.call("m", ACTOR, number) for number in range(30)))
        while not done.done():
            before = len(handled)
            await asyncio.sleep(0)
            turns.append(len(handled) - before)
        await done

    with_pair(handle, work, slice_s=0.0005, clock=clock)
    assert handled == list(range(1, 31))
    # A slice goes on while 0.5 ms are not over: three calls of 0.2 ms each.
    assert max(turns) == 3


def test_calls_beyond_the_bound_wait_unread() -> None:
    release = asyncio.Event()

    async def handle(call: Call) -> Answer:
        await release.wait()
        return echo(call)

    async def work(pair: Pair) -> None:
        count = RPC_CALLS_IN_WORK_MAX + 50
        calls = [asyncio.ensure_future(pair.client.call("m", ACTOR, number)) for number in range(count)]
        while pair.server.calls_in_work < RPC_CALLS_IN_WORK_MAX:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert pair.server.calls_in_work == RPC_CALLS_IN_WORK_MAX
        release.set()
        assert len(await asyncio.gather(*calls)) == count

    with_pair(handle, work)


def test_large_calls_under_back_pressure_all_arrive() -> None:
    async def work(pair: Pair) -> None:
        size = RPC_BUFFER_BYTES_MAX // 3
        answers = await asyncio.gather(*(pair.client.call("m", ACTOR, bytes(size)) for _ in range(40)))
        assert {answer.body for answer in answers} == {str(size).encode()}

    with_pair(lambda call: Answer(0, 200, str(len(msgspec.msgpack.decode(call.args))).encode()), work)


def test_a_frame_larger_than_the_buffer_s_bound_arrives() -> None:
    async def work(pair: Pair) -> None:
        answer = await pair.client.call("m", ACTOR, bytes(4 * RPC_BUFFER_BYTES_MAX))
        assert answer.body == str(4 * RPC_BUFFER_BYTES_MAX).encode()

    with_pair(lambda call: Answer(0, 200, str(len(msgspec.msgpack.decode(call.args))).encode()), work)


def test_an_answer_too_long_for_a_frame_becomes_an_error() -> None:
    async def work(pair: Pair) -> None:
        answer = await pair.client.call("m", ACTOR)
        assert answer.status == 500
        assert msgspec.json.decode(answer.body)["error"] == "too_large"

    with_pair(lambda call: Answer(0, 200, bytes(RPC_FRAME_BYTES_MAX)), work)


def test_a_defect_costs_its_call_only(caplog: pytest.LogCaptureFixture) -> None:
    async def later(call: Call) -> Answer:
        raise RuntimeError("late")

    def handle(call: Call) -> Any:
        if call.method == "now":
            raise RuntimeError("early")
        return later(call) if call.method == "later" else echo(call)

    async def work(pair: Pair) -> None:
        assert (await pair.client.call("now", ACTOR)).status == 500
        assert (await pair.client.call("later", ACTOR)).status == 500
        assert (await pair.client.call("m", ACTOR)).status == 200

    with_pair(handle, work)
    assert caplog.text.count("call failed") == 2


def test_a_late_answer_is_dropped_and_the_call_has_ended() -> None:
    release = asyncio.Event()

    async def handle(call: Call) -> Answer:
        await release.wait()
        return echo(call)

    async def work(pair: Pair) -> None:
        with pytest.raises(RpcUnavailable, match="within 0 s"):
            await pair.client.call("m", ACTOR, timeout_s=0)
        release.set()
        assert (await pair.client.call("m", ACTOR)).status == 200
        assert pair.client.late_answers == 1

    with_pair(handle, work)


def test_when_the_engine_goes_every_call_ends() -> None:
    async def never(call: Call) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async def work(pair: Pair) -> None:
        call = asyncio.ensure_future(pair.client.call("m", ACTOR))
        while not pair.server.calls_in_work:
            await asyncio.sleep(0)
        pair.server.close()
        with pytest.raises(RpcUnavailable, match="gone"):
            await call
        with pytest.raises(RpcUnavailable, match="gone"):
            await pair.client.call("m", ACTOR)
        assert pair.client.closed.is_set()

    with_pair(never, work)


def test_calls_in_flight_are_bounded() -> None:
    async def never(call: Call) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    async def work(pair: Pair) -> None:
        calls = [asyncio.ensure_future(pair.client.call("m", ACTOR)) for _ in range(RPC_CALLS_IN_FLIGHT_MAX)]
        await asyncio.sleep(0)
        with pytest.raises(RpcUnavailable, match="busy"):
            await pair.client.call("m", ACTOR)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)
        assert pair.client.calls_in_flight == 0

    with_pair(never, work)


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", framed(b"\xc1"), framed(b"")])
def test_garbage_ends_the_connection_on_either_side(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def main(protocol: Callable[[asyncio.Event], asyncio.Protocol]) -> None:
        near, far = socket.socketpair()
        near.setblocking(False)
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        await loop.create_unix_connection(lambda: protocol(gone), sock=far)
        await loop.sock_sendall(near, garbage)
        assert await asyncio.wait_for(loop.sock_recv(near, 1), 5) == b""
        near.close()

    asyncio.run(main(lambda gone: RpcServer(echo, lost=gone.set)))
    asyncio.run(main(lambda gone: RpcClient()))
    assert caplog.text.count("connection broken") == 2


def test_settings_pushed_before_the_connection_wait_for_it() -> None:
    async def main() -> None:
        near, far = socket.socketpair()
        loop = asyncio.get_running_loop()
        received: asyncio.Queue[bytes] = asyncio.Queue()
        server = RpcServer(echo)
        server.push_settings(b"first")
        _, client = await loop.create_unix_connection(lambda: RpcClient(received.put_nowait), sock=near)
        await loop.create_unix_connection(lambda: server, sock=far)
        server.push_settings(b"second")
        assert [await received.get(), await received.get()] == [b"first", b"second"]
        client.close()
        server.close()

    asyncio.run(main())
