"""Disconnect-Requests to NASes (RFC 5176): few, each retransmitted until it is answered or given up."""

from __future__ import annotations

import asyncio
import itertools
from ipaddress import ip_address
from typing import Final

import asyncio_dgram

from aaa.credential.identity import show_circuit
from aaa.limits import DISCONNECTS_IN_WORK_MAX
from aaa.model.records import SessionRecord
from aaa.radius.clients import Clients
from aaa.server.log import Log
from native.radius import Packet, attribute

DISCONNECT_REQUEST: Final = 40
DISCONNECT_ACK: Final = 41
DISCONNECT_NAK: Final = 42
USER_NAME: Final = 1
FRAMED_IP_ADDRESS: Final = 8
ACCT_SESSION_ID: Final = 44
ERROR_CAUSE: Final = 101
SESSION_NOT_FOUND: Final = 503

WAITS_S: Final = (1.0, 2.0, 4.0)
"""Patience before each retransmission and before giving up: the same packet each time, which NASes deduplicate."""


def packed(address: str) -> bytes:
    """Octets of an address; b"" for what is none."""
    try:
        return ip_address(address).packed
    except ValueError:
        return b""


class Disconnector:
    """Sends Disconnect-Requests for sessions and reports what the NAS said."""

    def __init__(self, clients: Clients, log: Log) -> None:
        self._clients = clients
        self._log = log
        self._identifiers = itertools.count()
        self._tasks: set[asyncio.Task[str]] = set()
        self.results: dict[str, int] = {}
        """Counts by result."""

    def disconnect(self, session: SessionRecord) -> bool:
        """Start one; False when too many are in work or the NAS is not configured any more."""
        if len(self._tasks) >= DISCONNECTS_IN_WORK_MAX or session.nas.client_name not in self._clients.by_name:
            return False
        task = asyncio.get_running_loop().create_task(self._run(session))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def _run(self, session: SessionRecord) -> str:
        try:
            result = await self.send(session)
        except OSError as error:
            result = f"error: {error.strerror}"
        self.results[result] = self.results.get(result, 0) + 1
        self._log.info(
            "session.disconnect",
            result,
            nas=session.nas.name,
            user=show_circuit(session.user_name),
            session_id=session.id,
        )
        return result

    async def send(self, session: SessionRecord) -> str:
        """Ask the NAS to end the session: "ack", "not_found" (it was gone), "nak" or "timeout".

        The keys are Acct-Session-Id, User-Name and Framed-IP-Address as the NAS itself reported them.
        """
        client = self._clients.by_name[session.nas.client_name]
        # During a rotation: the secret that this NAS has been seen to use.
        secret = client.current_secrets.get(packed(session.nas.address), client.secrets[0])
        keys = attribute(ACCT_SESSION_ID, session.key)
        if session.user_name:
            keys += attribute(USER_NAME, session.user_name)
        if session.framed_ip is not None and client.family in ("mikrotik", "generic"):
            keys += attribute(FRAMED_IP_ADDRESS, session.framed_ip)
        request = secret.request(DISCONNECT_REQUEST, next(self._identifiers) & 0xFF, keys)
        address = client.coa_address or session.nas.address
        stream = await asyncio_dgram.connect((address, client.coa_port))
        try:
            for wait_s in WAITS_S:
                await stream.send(request)
                try:
                    async with asyncio.timeout(wait_s):
                        while True:
                            data, _ = await stream.recv()
                            response = Packet.parse(data)
                            if self._answers(response, request) and secret.verify_response(response, request[4:20]):
                                return self._result(response)
                except TimeoutError:
                    continue
        finally:
            stream.close()
        return "timeout"

    @staticmethod
    def _answers(response: Packet, request: bytes) -> bool:
        return (
            not response.fault
            and response.code in (DISCONNECT_ACK, DISCONNECT_NAK)
            and response.identifier == request[1]
        )

    @staticmethod
    def _result(response: Packet) -> str:
        if response.code == DISCONNECT_ACK:
            return "ack"
        return "not_found" if response.get_integer(ERROR_CAUSE) == SESSION_NOT_FOUND else "nak"
