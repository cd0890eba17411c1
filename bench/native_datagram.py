"""CPU time per datagram of an echo over BatchSocket, of reply(), and of the duplicate cache.

    python bench/native_datagram.py [--seconds 2] [--slots 64]

The generator is a child process that polls and never sleeps, so the server pays for no wake-ups: it keeps a window
of datagrams in flight from 16 sockets, of 100 octets each, and checks that every answer carries octets of its socket.
CPU time is user and system time of this process only; where the mean batch is small the generator was the slower
one, and the figure includes empty polls.
"""

import argparse
import multiprocessing
import os
import resource
import time
import timeit
from multiprocessing.connection import Connection

from native.datagram import BatchSocket, Datagram
from native.duplicates import DuplicateCache

PAYLOAD_SIZE = 100
SOCKETS_COUNT = 16
WINDOW_COUNT = 64  # datagrams in flight a socket


def generate(host: str, port: int, seconds: float, result: Connection) -> None:
    """Keep the server busy for `seconds`; sends back how many answers came and how many were wrong."""
    sockets = [
        BatchSocket(host, 0, [Datagram() for _ in range(WINDOW_COUNT)], timestamps=False) for _ in range(SOCKETS_COUNT)
    ]
    windows = [
        [Datagram(os.urandom(PAYLOAD_SIZE), (host, port)) for _ in range(WINDOW_COUNT)] for _ in range(SOCKETS_COUNT)
    ]
    expected = [{datagram.payload for datagram in window} for window in windows]
    for near, window in zip(sockets, windows, strict=True):
        near.send(window)
    answered = wrong = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for near, window, payloads in zip(sockets, windows, expected, strict=True):
            count = near.receive()
            for answer in near.slots[:count]:
                wrong += answer.payload not in payloads
            near.send(window[:count])
            answered += count
    result.send((answered, wrong))


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def bench_echo(bound: str, asked: str, seconds: float, slots: int, timestamps: bool) -> None:
    server = BatchSocket(bound, 0, [Datagram() for _ in range(slots)], timestamps=timestamps)
    context = multiprocessing.get_context("spawn")
    near, far = context.Pipe()
    child = context.Process(target=generate, args=(asked, server.address()[1], seconds, far))
    child.start()
    far.close()  # so that near ends with the child
    count = batches = counted = 0
    while not (received := server.receive()) and not near.poll():
        pass
    ended = began = time.monotonic()
    busy_s = spent_s = cpu_s()
    while received or not near.poll():
        server.send([slot.reply(slot.payload) for slot in server.slots[:received]])
        if received:
            count += received
            batches += 1
            if batches % 256 == 0:  # the last whole stretch counts: no idle time behind the end
                ended, busy_s, counted = time.monotonic(), cpu_s(), count
        received = server.receive()
    answered, wrong = near.recv()
    child.join()
    if not counted:
        raise SystemExit("too short: under 256 batches")
    print(
        f"echo on {bound:9} slots {slots:3}, timestamps {'on' if timestamps else 'off':3}: "
        f"{(busy_s - spent_s) / counted * 1e6:5.2f} CPU-us a datagram, "
        f"{counted / (ended - began):7.0f}/s, {count / batches:4.1f} a batch, "
        f"{answered} answered, {wrong} wrong, {server.send_errors} refused, {server.drops} dropped"
    )
    if wrong or not answered:
        raise SystemExit("the echo lost or mixed up datagrams")


def bench_reply() -> None:
    datagram = Datagram(b"question", ("127.0.0.1", 1812))
    values = {"reply": datagram.reply, "payload": bytes(PAYLOAD_SIZE)}
    best_s = min(timeit.repeat("reply(payload)", globals=values, number=200_000, repeat=5)) / 200_000
    print(f"reply(): {best_s * 1e9:.0f} ns")


def bench_duplicates(entries: int) -> None:
    """Packets come in batches of 64 whose octets were just read, as in a server; the cache itself is cold."""
    cache = DuplicateCache(entries, lifetime_s=1000.0)
    packets = [
        Datagram(
            bytes((1, number & 255, 0, 20)) + os.urandom(16), (f"10.0.{number >> 16 & 255}.{number >> 8 & 255}", 1024)
        )
        for number in range(entries // 2)
    ]
    response = bytes(PAYLOAD_SIZE)

    def measure(name: str) -> None:
        spent_ns = 0
        for start in range(0, len(packets), 64):
            rows = packets[start : start + 64]
            for packet in rows:
                packet.payload  # noqa: B018 - brings the packet into the cache
            began = time.perf_counter_ns()
            for packet in rows:
                cache.check(packet, 1.0)
            spent_ns += time.perf_counter_ns() - began
        print(f"duplicates, {entries} entries, {name}: {spent_ns / len(packets):.0f} ns")

    measure("miss")
    measure("hit in work")
    for packet in packets:
        cache.keep(packet, response, 1.0)
    measure("hit answered")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--slots", type=int, default=64)
    arguments = parser.parse_args()
    bench_reply()
    bench_duplicates(65536)
    for bound, asked in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1"), ("::", "::1")):
        for timestamps in (True, False):
            bench_echo(bound, asked, arguments.seconds, arguments.slots, timestamps)


if __name__ == "__main__":
    main()
