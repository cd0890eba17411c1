"""A network access server of a few lines: logs a subscriber in, reports the session, obeys CoA and Disconnect.

Its sockets are real and so are its packets; what a box of the family would do with the attributes is left out.
"""

import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from aaa.radius.client import ENTROPY_SIZE, Code, Request, build_accounting, build_login
from native.radius import Packet, Secret, attribute

if TYPE_CHECKING:
    from aaa.dictionary import Dictionary

PATIENCE_S: Final = 5.0
NOT_SHOWN: Final = ("Message-Authenticator", "Event-Timestamp")
USER_NAME, STATUS_TYPE, SESSION_ID, CLASS = 1, 40, 44, 25
SESSION_NOT_FOUND: Final = b"\x65\x06\x00\x00\x01\xf7"
"""Error-Cause 503."""

Pairs = list[tuple[str, str]]


class SimulatedNas(threading.Thread):
    """One box on one loopback address, with one session."""

    def __init__(self, names: "Dictionary", family: str, address: str, secret: str) -> None:
        super().__init__(daemon=True)
        self.family = family
        self.address = address
        self.secret_text = secret
        self._names = names
        self._secret = Secret(secret.encode())
        self._socket = _bind(address)
        self._asking = _bind(address)
        self._asking.settimeout(PATIENCE_S)
        self.coa_port: int = self._socket.getsockname()[1]
        self._waker = socket.socketpair()
        self._session = b""
        self.received: list[tuple[str, Pairs]] = []
        """Requests of the server in order: their code, and their attributes but the signature."""
        self.forged = 0

    # As a client

    def login(self, port: int, user: str, password: str | None, extra: Pairs) -> tuple[str, Pairs, bytes]:
        """Ask to let a user in: the answer's name, its attributes, and Class. Without a password: by MAC or line."""
        octets = self._encode([*extra, ("NAS-IP-Address", self.address)])
        if password is not None:
            entropy = os.urandom(ENTROPY_SIZE)
            request = build_login("chap", user.encode(), password.encode(), self._secret, entropy, octets)
        else:
            content = attribute(USER_NAME, user.encode()) + octets
            data = self._secret.request(Code.ACCESS_REQUEST, os.urandom(1)[0], content, os.urandom(16))
            request = Request(data)
        packet = self._exchange(request, port)
        name = {Code.ACCESS_ACCEPT: "Access-Accept", Code.ACCESS_REJECT: "Access-Reject"}.get(Code(packet.code), "?")
        return name, self._show(packet), packet.get(CLASS) or b""

    def report(self, port: int, status: int, session: str, user: str, token: bytes, extra: Pairs) -> None:
        """Account for a session: 1 start, 2 stop, 3 interim. Returns when the server has made it durable."""
        self._session = session.encode() if status != 2 else b""
        content = self._encode([("Acct-Session-Id", session), *extra, ("NAS-IP-Address", self.address)])
        content += attribute(STATUS_TYPE, status.to_bytes(4, "big")) + attribute(USER_NAME, user.encode())
        content += attribute(CLASS, token)
        content += self._encode([("Event-Timestamp", str(int(time.time())))])
        self._exchange(build_accounting(self._secret, os.urandom(ENTROPY_SIZE), content), port)

    def _encode(self, pairs: Pairs) -> bytes:
        return b"".join(self._names.encode(name, value) for name, value in pairs)

    def _exchange(self, request: Request, port: int) -> Packet:
        """The verified answer. Raises TimeoutError, or OSError where the server is not there."""
        for _ in range(3):
            self._asking.sendto(request.data, ("127.0.0.1", port))
            try:
                while True:
                    packet = Packet.parse(self._asking.recv(4096))
                    proved = packet.identifier == request.identifier and not packet.fault
                    if proved and self._secret.verify_response(packet, request.authenticator):
                        return packet
            except TimeoutError:
                continue
        raise TimeoutError(f"{self.family}: no answer")

    # As a server of dynamic authorization (RFC 5176)

    def run(self) -> None:
        """Answer until stop()."""
        while True:
            ready = select.select([self._socket, self._waker[1]], [], [])[0]
            if self._waker[1] in ready:
                return
            data, source = self._socket.recvfrom(4096)
            packet = Packet.parse(data)
            if packet.fault or not self._secret.verify_accounting(packet):
                self.forged += 1
                continue
            name = {40: "Disconnect-Request", 43: "CoA-Request"}.get(packet.code)
            if name is None:
                continue
            known = packet.get(SESSION_ID) in (None, self._session)
            answer = packet.code + (1 if known else 2)
            content = b"" if known else SESSION_NOT_FOUND
            # Noted before it is answered: whoever waits for the receipt finds it here.
            self.received.append((name, self._show(packet)))
            self._socket.sendto(self._secret.respond(packet, answer, content, True), source)

    def stop(self) -> None:
        """End the thread and close the sockets."""
        self._waker[0].send(b".")
        if self.is_alive():
            self.join()
        for each in (self._socket, self._asking, *self._waker):
            each.close()

    def _show(self, packet: Packet) -> Pairs:
        return [pair for pair in self._names.decode_packet(packet) if pair[0] not in NOT_SHOWN]

    def options(self) -> dict[str, Any]:
        """What its [[nas]] entry sets for the family."""
        return OPTIONS[self.family]


def _bind(address: str) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((address, 0))
    return made


OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "mikrotik": {"garden_list": "overdue"},
    "juniper": {"rate_style": "service", "garden_service": "overdue"},
    "cisco": {
        "rate_style": "policy", "policy_down": "DOWN-{down_mbps}M", "policy_up": "UP-{up_mbps}M",
        "garden_service": "OVERDUE",
    },
}  # fmt: skip
