"""Nanoseconds of each primitive that a packet pays for, on one core. `python bench/native_radius.py [seconds a line]`.

Each figure is the best of five runs, less a loop over the cheapest of calls: what remains is the primitive.
"""

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from native import crypto, radius
from native.radius import Packet, Secret

RUNS = 5


def seconds(call: Callable[[], object], count: int) -> float:
    """CPU time of `count` calls."""
    loop = itertools.repeat(None, count)
    start = time.process_time()
    for _ in loop:
        call()
    return time.process_time() - start


def measure(call: Callable[[], object], budget_s: float) -> float:
    """Nanoseconds a call."""
    count = 1000
    while (taken := seconds(call, count)) < budget_s / RUNS / 4:
        count *= 2
    count = max(1, int(count * budget_s / RUNS / taken))
    best = min(seconds(call, count) for _ in range(RUNS))
    empty = min(seconds(int, count) for _ in range(RUNS))
    return max(best - empty, 0.0) / count * 1e9


def access_request(secret: Secret, message_authenticator: bool) -> Packet:
    authenticator = bytes(range(16))
    attributes = b"".join(
        radius.attribute(number, value)
        for number, value in (
            (1, b"alice@example.net"),
            (2, secret.hide_password(b"wonderland", authenticator)),
            (4, bytes([192, 0, 2, 1])),
            (5, bytes([0, 0, 0, 9])),
            (6, bytes([0, 0, 0, 2])),
            (7, bytes([0, 0, 0, 1])),
            (31, b"02-00-00-00-00-01"),
            (30, b"hotspot1"),
            (61, bytes([0, 0, 0, 15])),
            (32, b"bng-1"),
            (87, b"ether1"),
        )
    )
    return Packet.parse(secret.request(1, 7, attributes, authenticator, message_authenticator))


def main() -> None:
    budget_s = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    secret = Secret(b"testing123")
    request, bare = access_request(secret, True), access_request(secret, False)
    accounting = Packet.parse(secret.request(4, 7, request.raw[38:], None, False))
    reply = b"".join(
        radius.attribute(number, value)
        for number, value in ((6, bytes(4)), (7, bytes(4)), (8, bytes(4)), (27, bytes(4)), (85, bytes(4)))
    ) + radius.vendor_attribute(14988, 8, b"10000000/50000000")
    user_name, password_hash = b"alice", crypto.nt_hash(b"wonderland")
    peer, challenge = bytes(range(16)), bytes(range(16, 32))
    response = crypto.challenge_response(crypto.challenge_hash(peer, challenge, user_name), password_hash)
    vendor = Packet.parse(secret.respond(request, 2, reply, True))
    batch = [access_request(secret, True) for _ in range(64)]
    figures = {
        f"decode ({len(request.raw)} octets, 12 attributes)": (request.decode, 1),
        "decode, in a batch of 64": (lambda: radius.decode(batch, 64), 64),
        "get": (lambda: request.get(1), 1),
        "get_integer": (lambda: request.get_integer(5), 1),
        "get_vendor": (lambda: vendor.get_vendor(14988, 8), 1),
        "attributes": (request.attributes, 1),
        "copy": (request.copy, 1),
        "verify_message_authenticator": (lambda: secret.verify_message_authenticator(request), 1),
        "verify_accounting": (lambda: secret.verify_accounting(accounting), 1),
        "reveal_password": (lambda: secret.reveal_password(request), 1),
        "respond": (lambda: secret.respond(bare, 2, reply, False), 1),
        "respond with Message-Authenticator": (lambda: secret.respond(request, 2, reply, True), 1),
        "verify_chap": (lambda: crypto.verify_chap(1, b"wonderland", challenge, peer), 1),
        "verify_mschap": (lambda: crypto.verify_mschap(peer[:8], response, password_hash), 1),
        "verify_mschapv2": (lambda: crypto.verify_mschapv2(challenge, peer, user_name, response, password_hash), 1),
        "nt_hash": (lambda: crypto.nt_hash(b"wonderland"), 1),
    }
    for name, (call, share) in figures.items():
        print(f"{name:45} {measure(call, budget_s) / share:8.0f} ns")


if __name__ == "__main__":
    main()
