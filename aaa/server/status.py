"""What Status-Server is answered: the counters that FreeRADIUS tools ask for (vendor 11344), RFC 5997."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from aaa.radius.admission import Request
from aaa.radius.clients import COUNTERS
from aaa.radius.reasons import DropReason
from native.radius import vendor_attribute

if TYPE_CHECKING:
    from aaa.server.main import Server

FREERADIUS = 11344
STATISTICS_TYPE = 127

MALFORMED = (
    DropReason.TRUNCATED,
    DropReason.TOO_SHORT,
    DropReason.LENGTH_FIELD,
    DropReason.ATTRIBUTE_LENGTH,
    DropReason.MESSAGE_AUTHENTICATOR_LENGTH,
    DropReason.TOO_MANY_ATTRIBUTES,
)
INVALID = (DropReason.BAD_AUTHENTICATOR, DropReason.MISSING_MESSAGE_AUTHENTICATOR, DropReason.PROXY_STATE_UNSIGNED)


class StatusAttributes:
    """Renders the server's counters for a Status-Server that asks for statistics."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def __call__(self, request: Request) -> bytes:
        """b"" when the request has no FreeRADIUS-Statistics-Type."""
        if request.packet.get_vendor(FREERADIUS, STATISTICS_TYPE) is None:
            return b""
        totals = dict.fromkeys(COUNTERS, 0)
        for client in self._server.clients:
            for name, count in zip(COUNTERS, client.counters, strict=True):
                totals[name] += count
        drops = [sum(counts) for counts in zip(*(port.admission.drops for port in self._server.ports), strict=True)]
        malformed = sum(drops[reason] for reason in MALFORMED)
        invalid = sum(drops[reason] for reason in INVALID)
        unknown = drops[DropReason.UNEXPECTED_CODE]
        figures = {
            128: totals["access_requests"],
            129: totals["accepts"],
            130: totals["rejects"],
            131: totals["challenges"],
            132: totals["accepts"] + totals["rejects"] + totals["challenges"],
            133: totals["duplicates"],
            134: malformed,
            135: invalid,
            136: sum(drops),
            137: unknown,
            148: totals["accounting_requests"],
            149: totals["accounting_responses"],
            150: totals["duplicates"],
            151: malformed,
            152: invalid,
            153: sum(drops),
            154: unknown,
        }
        return b"".join(
            vendor_attribute(FREERADIUS, number, struct.pack(">I", figure & 0xFFFFFFFF))
            for number, figure in figures.items()
        )
