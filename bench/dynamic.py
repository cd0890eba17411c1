"""CPU time of a CoA exchange: difference, signature, socket, answer and receipt, through asyncio and asyncio-dgram.

    python bench/dynamic.py [--nases 20] [--exchanges 4000]

The far end is a child process that verifies nothing and acknowledges everything. CPU time is user and system time of
this process only. Pace and concurrency are set so that they do not count: 32 exchanges wait at each NAS.
"""

import argparse
import asyncio
import multiprocessing
import selectors
import socket
import time
from multiprocessing.connection import Connection

import uvloop

from aaa.config import Nas, Redacted
from aaa.dictionary import load
from aaa.mapping.families import options_from
from aaa.model.enforcement import Reply
from aaa.model.records import ACTIVE, DecisionRecord, NasRecord, SessionRecord
from aaa.radius.clients import Clients
from aaa.server.dynamic import Dynamic
from native.radius import Packet, Secret
from policy.model import Decision, Rate

SECRET = "testing123"


def acknowledge(count: int, result: Connection) -> None:
    """So many NASes, each on a port of its own."""
    secret = Secret(SECRET.encode())
    selector = selectors.DefaultSelector()
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
        selector.register(one, selectors.EVENT_READ)
    result.send([one.getsockname()[1] for one in sockets])
    while True:
        for key, _ in selector.select():
            near = key.fileobj
            assert isinstance(near, socket.socket)
            data, source = near.recvfrom(4096)
            near.sendto(secret.respond(Packet.parse(data), data[0] + 1, b"", False), source)


async def exchange(ports: list[int], count: int) -> dict[str, float]:
    """Change `count` sessions."""
    dictionary = load()
    entries = [
        Nas(name=f"n{port}", address=(f"192.0.2.{number}/32",), secret=Redacted(SECRET), family="mikrotik",
            coa_address="127.0.0.1", coa_port=port, coa_rate=100_000, coa_concurrency=32)
        for number, port in enumerate(ports)
    ]  # fmt: skip
    options = {entry.name: options_from("mikrotik", {}, dictionary) for entry in entries}
    network = Dynamic(Clients(entries), options, dictionary)
    nases = [NasRecord(number, entry.name, entry.name) for number, entry in enumerate(entries)]
    slow, fast = (
        DecisionRecord(Decision(grant=True, reason="granted", rate=Rate(bps, bps)), bps) for bps in (10**7, 10**8)
    )
    queues: list[list[SessionRecord]] = [[] for _ in nases]
    for number in range(count):
        session = SessionRecord(number, nases[number % len(nases)], None)
        session.key, session.user_name, session.state = b"81c%05x" % number, b"user%d" % number, ACTIVE
        queues[number % len(nases)].append(session)
    over = asyncio.Event()
    results: dict[str, int] = {}

    def send(number: int) -> None:
        while queues[number] and network.room(nases[number]):
            session = queues[number].pop()
            network.difference(session, slow, fast)

            def done(reply: Reply) -> None:
                results[reply.result] = results.get(reply.result, 0) + 1
                send(number)
                if sum(results.values()) == count:
                    over.set()

            network.change(session, slow, fast, done)

    began, cpu = time.monotonic(), time.process_time()
    for number in range(len(nases)):
        send(number)
    await over.wait()
    spent, cpu = time.monotonic() - began, time.process_time() - cpu
    network.close()
    assert results == {"ack": count}, results
    return {"cpu_us": cpu / count * 1e6, "per_second": count / spent}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nases", type=int, default=20)
    parser.add_argument("--exchanges", type=int, default=4000)
    arguments = parser.parse_args()
    near, far = multiprocessing.Pipe()
    child = multiprocessing.Process(target=acknowledge, args=(arguments.nases, far), daemon=True)
    child.start()
    try:
        figures = uvloop.run(exchange(near.recv(), arguments.exchanges))
    finally:
        child.kill()
    print(f"{figures['cpu_us']:.0f} CPU-us an exchange, {figures['per_second']:.0f} a second")


if __name__ == "__main__":
    main()
