"""Calls between the HTTP process and the engine's process: frames, and both ends. Knows no HTTP and no entity.

A frame is 4 octets of length, big-endian, then msgpack: `Call` to the engine, `Answer` back. Theory of operation: the
client sends calls as they come and answers return in any order, matched by id. The engine starts calls strictly in the
order they were sent, so a caller that needs order (sync) may have many in flight. An `Answer` with id 0 is no answer:
it carries settings, pushed by the engine when the HTTP process starts and at every reload.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol, cast

import msgspec

from aaa.limits import (
    RPC_BUFFER_BYTES_MAX,
    RPC_CALL_TIMEOUT_S,
    RPC_CALLS_IN_FLIGHT_MAX,
    RPC_CALLS_IN_WORK_MAX,
    RPC_FRAME_BYTES_MAX,
    RPC_SLICE_S,
)
from aaa.model.operations import Actor, Answer, Call

log = logging.getLogger(__name__)

HEADER_SIZE: Final = 4
SETTINGS_ID: Final = 0

Handler = Callable[[Call], Awaitable[Answer] | Answer]


class RpcUnavailable(Exception):
    """The engine did not answer: gone, too busy, or too late. What was asked may have been done."""


class FrameTooLong(ValueError):
    """A frame of ours is longer than the other side accepts."""


class FrameParser:
    """Cuts a byte stream into frames. Never raises for what the other side sent: see `fault`."""

    __slots__ = ("_buffer", "_frame_bytes_max", "_offset", "fault")

    def __init__(self, frame_bytes_max: int = RPC_FRAME_BYTES_MAX) -> None:
        self._buffer = bytearray()
        self._offset = 0
        self._frame_bytes_max = frame_bytes_max
        self.fault = ""
        """Why nothing more will come ("frame_too_long"); empty while all is well."""

    def receive_data(self, data: bytes) -> None:
        """Take octets as they come, in pieces of any size."""
        if not self.fault:
            self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next whole frame without its length; None until more octets come, and after a fault."""
        if self.fault or len(self._buffer) - self._offset < HEADER_SIZE:
            return None
        start = self._offset + HEADER_SIZE
        end = start + int.from_bytes(self._buffer[self._offset : start], "big")
        if end - start > self._frame_bytes_max:
            self.fault = "frame_too_long"
            self._buffer.clear()
            return None
        if len(self._buffer) < end:
            return None
        frame = bytes(memoryview(self._buffer)[start:end])
        self._offset = end
        if self._offset == len(self._buffer) or self._offset > RPC_BUFFER_BYTES_MAX:
            del self._buffer[: self._offset]
            self._offset = 0
        return frame

    @property
    def waiting_bytes(self) -> int:
        """Octets received and not yet handed out."""
        return len(self._buffer) - self._offset

    @property
    def holds_frame(self) -> bool:
        """Whether next_frame() would give one."""
        waiting = self.waiting_bytes
        if self.fault or waiting < HEADER_SIZE:
            return False
        size = int.from_bytes(self._buffer[self._offset : self._offset + HEADER_SIZE], "big")
        return size > self._frame_bytes_max or waiting >= HEADER_SIZE + size


def encode_frame(message: Call | Answer, encoder: msgspec.msgpack.Encoder | None = None) -> bytes:
    """A whole frame. Raises FrameTooLong above RPC_FRAME_BYTES_MAX."""
    content = (encoder or msgspec.msgpack.Encoder()).encode(message)
    if len(content) > RPC_FRAME_BYTES_MAX:
        raise FrameTooLong(f"{len(content)} bytes; a frame has at most {RPC_FRAME_BYTES_MAX}")
    return len(content).to_bytes(HEADER_SIZE, "big") + content


class Engine(Protocol):
    """What endpoints ask: the engine itself, or the engine with what an idempotency key remembers before it."""

    async def call(self, method: str, actor: Actor, args: Any = None, timeout_s: float | None = None) -> Answer:
        """As RpcClient.call()."""
        ...

    async def writable(self) -> None:
        """As RpcClient.writable()."""
        ...


class RpcClient(asyncio.Protocol):
    """The HTTP process's end. One for each connection to the engine."""

    def __init__(self, settings: Callable[[bytes], None] | None = None, timeout_s: float = RPC_CALL_TIMEOUT_S) -> None:
        """settings: called with the body of each settings push."""
        self._settings = settings
        self._timeout_s = timeout_s
        self._parser = FrameParser()
        self._decoder = msgspec.msgpack.Decoder(Answer)
        self._encoder = msgspec.msgpack.Encoder()
        self._pending: dict[int, asyncio.Future[Answer]] = {}
        self._last_id = 0
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self.closed: Final = asyncio.Event()
        """Set when the engine is gone; every later call raises."""
        self.late_answers = 0
        """Answers that came after their call had been given up."""

    @property
    def calls_in_flight(self) -> int:
        return len(self._pending)

    async def call(
        self,
        method: str,
        actor: Actor,
        args: Any = None,
        timeout_s: float | None = None,
        key: str = "",
        digest: bytes = b"",
    ) -> Answer:
        """Ask the engine. args: what msgpack can hold. key, digest: see Call.

        Raises RpcUnavailable when the engine is gone, has RPC_CALLS_IN_FLIGHT_MAX questions before it, or does not
        answer in time; FrameTooLong and OverflowError (an integer above 64 bits), before anything is sent.
        """
        if self.closed.is_set() or self._transport is None:
            raise RpcUnavailable("the engine is gone")
        if len(self._pending) >= RPC_CALLS_IN_FLIGHT_MAX:
            raise RpcUnavailable("the engine is busy")
        self._last_id += 1
        packed = msgspec.Raw(self._encoder.encode(args))
        call = Call(id=self._last_id, method=method, actor=actor, args=packed, key=key, digest=digest)
        frame = encode_frame(call, self._encoder)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._pending[call.id] = future
        self._transport.write(frame)
        patience_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(patience_s):
                return await future
        except TimeoutError:
            raise RpcUnavailable(f"the engine did not answer within {patience_s:g} s") from None
        finally:
            self._pending.pop(call.id, None)

    async def writable(self) -> None:
        """Wait until the engine reads again what was sent to it: for callers with much to send."""
        await self._writable.wait()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._parser.receive_data(data)
        while (frame := self._parser.next_frame()) is not None:
            try:
                answer = self._decoder.decode(frame)
            except msgspec.DecodeError:
                self._abort("an answer that is no answer")
                return
            if answer.id == SETTINGS_ID:
                if self._settings is not None:
                    self._settings(answer.body)
                continue
            future = self._pending.pop(answer.id, None)
            if future is None or future.done():
                self.late_answers += 1
            else:
                future.set_result(answer)
        if self._parser.fault:
            self._abort(self._parser.fault)

    def _abort(self, why: str) -> None:
        log.error("engine connection broken: %s", why)
        if self._transport is not None:
            self._transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()
        self._writable.set()
        for future in self._pending.values():
            if not future.done():
                future.set_exception(RpcUnavailable("the engine is gone"))
        self._pending.clear()


class RpcServer(asyncio.Protocol):
    """The engine's end: works in slices of RPC_SLICE_S, one to a loop iteration, between the packet batches.

    A handler gives an Answer at once or something to await. At most one awaitable is started in a loop iteration, so
    calls take their first step one at a time and in order. The socket is not read while RPC_BUFFER_BYTES_MAX wait,
    RPC_CALLS_IN_WORK_MAX answers are awaited, or the other side does not read its answers.
    """

    def __init__(
        self,
        handle: Handler,
        lost: Callable[[], None] | None = None,
        slice_s: float = RPC_SLICE_S,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """lost: called once when the connection ends."""
        self._handle = handle
        self._lost = lost
        self._slice_s = slice_s
        self._clock = clock
        self._parser = FrameParser()
        self._decoder = msgspec.msgpack.Decoder(Call)
        self._encoder = msgspec.msgpack.Encoder()
        self._transport: asyncio.Transport | None = None
        self._in_work: set[asyncio.Task[None]] = set()
        self._scheduled = False
        self._reading = True
        self._writable = True
        self._unsent: deque[bytes] = deque()
        self.calls = 0
        """Calls taken so far."""

    @property
    def calls_in_work(self) -> int:
        return len(self._in_work)

    def push_settings(self, body: bytes) -> None:
        """Send settings; before the connection is made they wait for it."""
        frame = encode_frame(Answer(id=SETTINGS_ID, status=200, body=body), self._encoder)
        if self._transport is None:
            self._unsent.append(frame)
        else:
            self._transport.write(frame)

    def close(self) -> None:
        """End the connection; answers in work are lost with it."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        while self._unsent:
            self._transport.write(self._unsent.popleft())

    def data_received(self, data: bytes) -> None:
        self._parser.receive_data(data)
        self._schedule()
        self._balance()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._schedule()

    def connection_lost(self, exc: Exception | None) -> None:
        # What is in work goes on to its end: half of a command is worse than an answer nobody reads.
        self._transport = None
        if self._lost is not None:
            self._lost()

    def _may_work(self) -> bool:
        return self._transport is not None and self._writable and len(self._in_work) < RPC_CALLS_IN_WORK_MAX

    def _schedule(self) -> None:
        if not self._scheduled and self._may_work() and self._parser.holds_frame:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._slice)

    def _slice(self) -> None:
        self._scheduled = False
        end = self._clock() + self._slice_s
        while self._may_work() and (frame := self._parser.next_frame()) is not None:
            started_task = self._take(frame)
            if started_task or self._clock() >= end:
                break
        if self._parser.fault and self._transport is not None:
            log.error("HTTP process connection broken: %s", self._parser.fault)
            self._transport.abort()
        self._balance()
        self._schedule()

    def _balance(self) -> None:
        """Read the socket only while there is room.

        A frame larger than the buffer's bound is read to its end: nothing whole waits behind it.
        """
        if self._transport is None:
            return
        full = self._parser.waiting_bytes > RPC_BUFFER_BYTES_MAX and self._parser.holds_frame
        if full == self._reading:
            self._reading = not full
            if full:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _take(self, frame: bytes) -> bool:
        """Handle one call; True when it became a task."""
        try:
            call = self._decoder.decode(frame)
        except msgspec.DecodeError:
            log.error("HTTP process connection broken: a call that is no call")
            if self._transport is not None:
                self._transport.abort()
            return False
        self.calls += 1
        try:
            answer = self._handle(call)
        except Exception:
            self._fail(call)
            return False
        if isinstance(answer, Answer):
            self._send(call, answer)
            return False
        task = asyncio.ensure_future(self._await(call, answer))
        self._in_work.add(task)
        task.add_done_callback(self._done)
        return True

    async def _await(self, call: Call, answer: Awaitable[Answer]) -> None:
        try:
            self._send(call, await answer)
        except Exception:
            self._fail(call)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_work.discard(task)
        self._schedule()

    def _fail(self, call: Call) -> None:
        """A defect of ours costs this call its answer, never the packet loop."""
        log.exception("call failed: %s", call.method)
        self._send(call, Answer(id=call.id, status=500, body=b'{"error":"internal","detail":"see the server\'s log"}'))

    def _send(self, call: Call, answer: Answer) -> None:
        if self._transport is None:
            return
        answer.id = call.id
        try:
            frame = encode_frame(answer, self._encoder)
        except FrameTooLong:
            log.error("answer too long: %s", call.method)
            body = b'{"error":"too_large","detail":"the answer is too large; ask for a smaller page"}'
            frame = encode_frame(Answer(id=call.id, status=500, body=body), self._encoder)
        self._transport.write(frame)
