"""The batch socket on loopback, IPv4 and IPv6."""

import contextlib
import gc
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from native.datagram import BatchSocket, Datagram

LOOPBACKS = ["127.0.0.1", "::1"]


def link_local_hosts() -> list[str]:
    """Link-local addresses of this machine, with their interface."""
    lines = Path("/proc/net/if_inet6").read_text().split("\n") if Path("/proc/net/if_inet6").exists() else []
    rows = [line.split() for line in lines if line.startswith("fe80")]
    return [f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(row[0]))}%{row[5]}" for row in rows]


def batch(host: str, slots: int = 64, slot_size: int = 4096, receive_buffer_bytes: int = 4 << 20) -> BatchSocket:
    datagrams = [Datagram() for _ in range(slots)]
    return BatchSocket(host, 0, datagrams, slot_size=slot_size, receive_buffer_bytes=receive_buffer_bytes)


@contextlib.contextmanager
def client(host: str) -> Iterator[socket.socket]:
    information = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0]
    with socket.socket(information[0], socket.SOCK_DGRAM) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        connection.settimeout(5)
        connection.bind(information[4])
        yield connection


def packed(host: str) -> bytes:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.inet_pton(family, host.partition("%")[0])


@pytest.mark.parametrize("host", LOOPBACKS)
def test_a_batch_arrives_in_order_with_far_address_port_and_time(host: str) -> None:
    server = batch(host)
    before = time.time_ns()
    with client(host) as near:
        for number in range(64):
            near.sendto(b"%d" % number, server.address())
        assert server.receive() == 64
        assert [slot.payload for slot in server.slots] == [b"%d" % number for number in range(64)]
        for slot in server.slots:
            assert slot.address == packed(host)
            assert slot.port == near.getsockname()[1]
            assert before <= slot.received_ns <= time.time_ns()
            assert not slot.truncated
    assert server.receive() == 0


@pytest.mark.parametrize("host", LOOPBACKS)
def test_what_does_not_fit_a_batch_stays_for_the_next(host: str) -> None:
    server = batch(host, slots=64)
    with client(host) as near:
        for _ in range(70):
            near.sendto(b"x", server.address())
    assert [server.receive(), server.receive(), server.receive()] == [64, 6, 0]


@pytest.mark.parametrize("host", LOOPBACKS)
def test_a_datagram_is_cut_to_its_slot_and_said_to_be(host: str) -> None:
    server = batch(host, slots=4, slot_size=20)
    with client(host) as near:
        for size in (0, 19, 20, 21, 4000):
            near.sendto(b"a" * size, server.address())
        assert server.receive() == 4
        assert [(slot.payload, slot.truncated) for slot in server.slots] == [
            (b"", False), (b"a" * 19, False), (b"a" * 20, False), (b"a" * 20, True),
        ]
        assert server.receive() == 1
        assert (server.slots[0].payload, server.slots[0].truncated) == (b"a" * 20, True)
        near.sendto(b"whole", server.address())
        assert server.receive() == 1
        assert (server.slots[0].payload, server.slots[0].truncated) == (b"whole", False)


@pytest.mark.parametrize(
    ("bound", "asked"), [("0.0.0.0", "127.0.0.1"), ("0.0.0.0", "127.0.0.2"), ("127.0.0.2", "127.0.0.2"), ("::", "::1")]
)
def test_an_answer_leaves_from_the_address_that_was_asked(bound: str, asked: str) -> None:
    server = batch(bound)
    port = server.address()[1]
    with client("::1" if ":" in bound else "127.0.0.1") as near:
        near.sendto(b"question", (asked, port))
        assert server.receive() == 1
        assert server.send([server.slots[0].reply(b"answer")]) == 1
        payload, source = near.recvfrom(100)
        assert (payload, source[:2]) == (b"answer", (asked, port))


def test_link_local_askers_are_answered_over_their_interface() -> None:
    for host in link_local_hosts():
        for bound in ("::", host):
            server = batch(bound)
            with client(host) as near:
                target = socket.getaddrinfo(host, server.address()[1], type=socket.SOCK_DGRAM)[0][4]
                near.sendto(b"question", target)
                assert server.receive() == 1
                assert server.slots[0].address == packed(host)
                assert server.send([server.slots[0].reply(b"answer")]) == 1
                payload, source = near.recvfrom(100)
                assert payload == b"answer"
                assert packed(source[0]) == packed(host)


def test_a_host_with_an_interface_keeps_it() -> None:
    index = socket.if_nametoindex("lo")
    assert Datagram(b"", ("fe80::1%lo", 1812)).address == packed("fe80::1")
    assert Datagram(b"", (f"fe80::1%{index}", 1812)).address == packed("fe80::1")
    with pytest.raises(ValueError, match="no such interface"):
        Datagram(b"", ("fe80::1%no-such-interface", 1812))


@pytest.mark.parametrize("host", LOOPBACKS)
def test_any_number_of_datagrams_is_sent_in_order(host: str) -> None:
    server = batch(host, slots=8)
    with client(host) as near:
        address = near.getsockname()[:2]
        assert server.send([]) == 0
        assert server.send([Datagram(b"%d" % number, address) for number in range(100)]) == 100
        assert [near.recv(100) for _ in range(100)] == [b"%d" % number for number in range(100)]
    assert server.send_errors == 0


def test_a_refused_datagram_is_skipped_and_counted() -> None:
    server = batch("127.0.0.1", slots=4)
    with client("127.0.0.1") as near:
        address = near.getsockname()[:2]
        good = [Datagram(b"%d" % number, address) for number in range(3)]
        bad = [Datagram(b"x" * 65508, address), Datagram(b"bare"), Datagram(b"v6", ("::1", address[1]))]
        assert server.send([bad[0], good[0], bad[1], bad[2], good[1], bad[0], bad[0], good[2], bad[2]]) == 3
        assert server.send_errors == 6
        assert [near.recv(100) for _ in range(3)] == [b"0", b"1", b"2"]
    ipv6 = batch("::1")
    assert ipv6.send([Datagram(b"v4", ("127.0.0.1", 9))]) == 0
    assert ipv6.send_errors == 1


def test_sending_anything_else_raises_and_sends_nothing() -> None:
    server = batch("127.0.0.1")
    with client("127.0.0.1") as near:
        with pytest.raises(TypeError):
            server.send([Datagram(b"x", near.getsockname()), b"not a datagram"])  # type: ignore[list-item]
        assert server.send([Datagram(b"next", near.getsockname())]) == 1
        assert near.recv(100) == b"next"


def test_the_longest_datagram_is_received_whole() -> None:
    server = batch("127.0.0.1", slots=2, slot_size=65535)
    with client("127.0.0.1") as near:
        near.sendto(b"y" * 65507, server.address())
        assert server.receive() == 1
        assert server.slots[0].payload == b"y" * 65507


def test_without_timestamps_the_time_of_receipt_is_unknown() -> None:
    server = BatchSocket("127.0.0.1", 0, [Datagram()], timestamps=False)
    with client("127.0.0.1") as near:
        near.sendto(b"x", server.address())
        assert server.receive() == 1
        assert server.slots[0].received_ns == 0


def test_one_far_address_is_one_object_for_all_its_datagrams() -> None:
    server = batch("0.0.0.0")
    port = server.address()[1]
    with client("127.0.0.1") as first, client("127.0.0.3") as second:
        for near in (first, second, first, second):
            near.sendto(b"x", ("127.0.0.1", port))
        assert server.receive() == 4
        addresses = [slot.address for slot in server.slots[:4]]
        assert addresses == [b"\x7f\0\0\1", b"\x7f\0\0\3"] * 2
        assert addresses[0] is addresses[2]
        assert addresses[1] is addresses[3]


def test_receiving_and_answering_leaks_nothing() -> None:
    server = batch("0.0.0.0")
    payload = b"answer" * 10
    with client("127.0.0.1") as near:
        def exchange() -> None:
            for _ in range(64):
                near.sendto(b"x", ("127.0.0.1", server.address()[1]))
            server.send([slot.reply(payload) for slot in server.slots[: server.receive()]])
            for _ in range(64):
                near.recv(100)

        exchange()
        references = sys.getrefcount(payload), sys.getrefcount(server.slots[0].address)
        blocks = sys.getallocatedblocks()
        for _ in range(20):
            exchange()
        assert (sys.getrefcount(payload), sys.getrefcount(server.slots[0].address)) == references
        assert abs(sys.getallocatedblocks() - blocks) < 64


def test_slots_stay_readable_when_their_socket_is_gone() -> None:
    server = batch("127.0.0.1")
    with client("127.0.0.1") as near:
        near.sendto(b"kept", server.address())
        assert server.receive() == 1
    slot = server.slots[0]
    server.close()
    del server
    gc.collect()
    assert slot.payload == b"kept"


def test_slots_may_be_taken_out_of_the_list_or_made_anew() -> None:
    server = batch("127.0.0.1", slots=2)
    slot = server.slots[0]
    slot.__init__(b"own")  # type: ignore[misc]
    assert slot.payload == b"own"
    server.slots.clear()
    with client("127.0.0.1") as near:
        near.sendto(b"x", server.address())
        assert server.receive() == 1
    del server
    gc.collect()
    assert slot.payload == b"x"


def test_an_answer_needs_an_address() -> None:
    with pytest.raises(ValueError, match="no address"):
        Datagram(b"x").reply(b"y")
    with pytest.raises(TypeError):
        Datagram(b"x", ("127.0.0.1", 1)).reply(None)  # type: ignore[arg-type]
    answer = Datagram(b"x", ("127.0.0.1", 1812)).reply(b"y")
    assert (answer.payload, answer.address, answer.port) == (b"y", b"\x7f\0\0\1", 1812)


def test_a_mapped_address_is_ipv4() -> None:
    assert Datagram(b"", ("::ffff:192.0.2.1", 1)).address == packed("192.0.2.1")


@pytest.mark.parametrize(
    "address",
    [
        ("localhost", 1812), ("", 1812), ("127.0.0.1\0", 1812), ("127.0.0.1%lo", 1812), ("127.0.0", 1812),
        ("١٢٧.0.0.1", 1812), ("fe80::1%", 1812), ("fe80::1%0", 1812), (":::1", 1812),
        ("127.0.0.1", 0), ("127.0.0.1", -1), ("127.0.0.1", 65536), ("127.0.0.1",), (None, 1),
    ],
)
def test_what_is_no_numeric_address_is_refused(address: tuple[str, int]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Datagram(b"", address)


def test_a_socket_refuses_what_it_cannot_work_with() -> None:
    for slots in ([], [Datagram()] * 2, [Datagram() for _ in range(1025)]):
        with pytest.raises(ValueError, match="slot"):
            BatchSocket("127.0.0.1", 0, slots)
    for size in (-1, 0, 65536):
        with pytest.raises(ValueError, match="slots must be"):
            BatchSocket("127.0.0.1", 0, [Datagram()], slot_size=size)
    with pytest.raises(TypeError):
        BatchSocket("127.0.0.1", 0, [b"x"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="numeric"):
        BatchSocket("localhost", 0, [Datagram()])


def test_a_port_taken_is_an_error_unless_shared() -> None:
    first = batch("127.0.0.1")
    with pytest.raises(OSError, match="in use"):
        BatchSocket("127.0.0.1", first.address()[1], [Datagram()])
    shared = BatchSocket("127.0.0.1", 0, [Datagram()], reuse_port=True)
    again = BatchSocket("127.0.0.1", shared.address()[1], [Datagram()], reuse_port=True)
    assert again.address() == shared.address()


def test_ipv4_and_ipv6_wildcards_share_a_port() -> None:
    ipv6 = batch("::")
    ipv4 = BatchSocket("0.0.0.0", ipv6.address()[1], [Datagram()])
    assert ipv4.address() == ("0.0.0.0", ipv6.address()[1])


def test_a_closed_socket_raises() -> None:
    server = batch("127.0.0.1")
    assert server.fileno() == server.fd >= 0
    server.close()
    server.close()
    assert server.fileno() == -1
    for use in (server.receive, lambda: server.send([Datagram(b"x", ("127.0.0.1", 1))]), server.address):
        with pytest.raises(OSError, match="Bad file descriptor"):
            use()


def test_datagrams_lost_to_a_full_buffer_are_counted() -> None:
    server = batch("127.0.0.1", receive_buffer_bytes=4096)
    assert server.receive_buffer_bytes >= 2048
    assert server.drops == 0
    with client("127.0.0.1") as near:
        for _ in range(200):
            near.sendto(b"x" * 1000, server.address())
    received = 0
    while count := server.receive():
        received += count
    assert received + server.drops == 200
    assert server.drops > 0
