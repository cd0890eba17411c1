"""Sy (TS 29.219): spending limit reports for a foreign PCRF. AVPs to policy counters and back; knows no socket.

Theory of operation. An SLR opens a session, or changes which counters it follows; the SLA has their statuses. From then
on the reconciler asks difference() whenever something of the service may have changed, and sends an SNR with those that
the PCRF knows otherwise. A denial is a status, not an end. What ends a session from here (its SIM or service is gone)
is an SNR with the last statuses, and the request to abort where the PCRF knows that (feature ASR).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from aaa.clock import Clock, SystemClock
from aaa.diameter import codes
from aaa.diameter.answers import result_of
from aaa.diameter.codes import ResultCode
from aaa.diameter.events import Request
from aaa.engine.counters import COUNTERS, OVER, Counters, Report
from aaa.engine.decisions import Decisions
from aaa.mapping.application import Outgoing
from aaa.mapping.mobile import VENDOR_3GPP, features_of, imsi_of, msisdn_of, origin_of, supported_features
from aaa.mapping.settings import Settings
from aaa.model.enforcement import Difference, Reply
from aaa.model.mobile import SyFacts
from aaa.model.records import DecisionRecord, ServiceRecord, SessionRecord
from aaa.state.mobile import client_of, is_foreign
from aaa.state.store import Store
from native import diameter
from native.diameter import Message

SY: Final = 16777302
SPENDING_LIMIT: Final = 8388635
SPENDING_STATUS_NOTIFICATION: Final = 8388636
SESSION_TERMINATION: Final = 275

POLICY_COUNTER_IDENTIFIER, POLICY_COUNTER_STATUS, POLICY_COUNTER_STATUS_REPORT = 2901, 2902, 2903
SL_REQUEST_TYPE, PENDING_INFORMATION, PENDING_CHANGE_TIME, SN_REQUEST_TYPE = 2904, 2905, 2906, 2907
TERMINATION_CAUSE: Final = 295
INITIAL_REQUEST: Final = 0
ABORT: Final = 2
"""SN-Request-Type: bit 1 (§5.3.7)."""
ASR: Final = 1
"""Feature-List 1: the PCRF lets a session be aborted."""
USER_UNKNOWN: Final = 5030
"""Result-Code of RFC 8506, which §5.5.2 takes over."""
UNKNOWN_POLICY_COUNTERS: Final = 5570
UNKNOWN_SESSION_ID: Final = 5002
NTP: Final = 2_208_988_800
"""Seconds from 1900 to 1970: Time AVPs count from there, and wrap."""
USER_REQUEST: Final = 1
SESSION_GONE: Final = 503
NO_DIFFERENCE: Final = Difference("none")


class Notification(Outgoing, frozen=True, gc=False):
    """An SNR."""

    report: Report | None = None
    """What the PCRF knows when it has acknowledged it; None: the session is over then."""


class Sy:
    """Serves and notifies PCRFs."""

    number = SY

    def __init__(self, store: Store, decisions: Decisions, settings: Settings, clock: Clock | None = None) -> None:
        self._store = store
        self.use(settings)
        self._clock = clock or SystemClock()
        self.counters = Counters(store, decisions)

    def use(self, settings: Settings) -> None:
        """Take new settings."""
        self._settings = settings

    # Requests

    def receive(self, requests: Sequence[Request], at: float) -> list[bytes]:
        """See aaa.mapping.application."""
        return [self._answer(request, at) for request in requests]

    def _answer(self, request: Request, at: float) -> bytes:
        command = request.message.command
        if command == SPENDING_LIMIT:
            avps = self._spending_limit(request, at)
        elif command == SESSION_TERMINATION:
            avps = self._session_termination(request, at)
        else:
            avps = [diameter.unsigned32_avp(codes.RESULT_CODE, ResultCode.COMMAND_UNSUPPORTED)]
        message = request.message
        head = [message.echo(codes.SESSION_ID), diameter.unsigned32_avp(codes.AUTH_APPLICATION_ID, SY)]
        tail = [diameter.avp(codes.PROXY_INFO, value) for value in message.get_all(codes.PROXY_INFO)]
        is_error = command not in (SPENDING_LIMIT, SESSION_TERMINATION)
        return diameter.answer(message, [*head, self._settings.side(request.peer).identity, *avps, *tail], is_error)

    def _spending_limit(self, request: Request, at: float) -> list[bytes]:
        """§4.5.1."""
        message = request.message
        key = message.get(codes.SESSION_ID) or b""
        host, realm = origin_of(message)
        side = self._settings.side(request.peer)
        operator = side.operator
        wanted = tuple(dict.fromkeys(message.get_all(POLICY_COUNTER_IDENTIFIER, VENDOR_3GPP)))
        unknown = [name for name in wanted if name.decode("utf-8", "replace") not in COUNTERS]
        if unknown:
            return unknown_counters(unknown)
        nas = self._store.nases.get(host)
        known = None if nas is None else self.counters.find(nas, key)
        if known is not None and operator is not None and is_foreign(known, operator):
            return [diameter.unsigned32_avp(codes.RESULT_CODE, UNKNOWN_SESSION_ID)]
        if message.get_unsigned32(SL_REQUEST_TYPE, VENDOR_3GPP) != INITIAL_REQUEST and known is None:
            return [diameter.unsigned32_avp(codes.RESULT_CODE, UNKNOWN_SESSION_ID)]
        imsi = imsi_of(message)
        if not imsi:
            # Security: by a number, too, nobody comes to IMSIs that the firewall keeps from him.
            imsi = self._imsi_of_number(msisdn_of(message))
            if side.imsis and not imsi.startswith(side.imsis):
                imsi = ""
        if known is not None and not imsi:
            imsi = known.mobile.imsi
        service = self._service_of(imsi, operator)
        if service is None:
            return [diameter.unsigned32_avp(codes.RESULT_CODE, USER_UNKNOWN)]
        offered = features_of(message)
        facts = SyFacts(
            imsi=imsi,
            realm=realm,
            via=side.via(host),
            msisdn=msisdn_of(message) or ("" if known is None else known.mobile.msisdn),
            wanted=tuple([name.decode() for name in wanted]),
            features=(offered or 0) & ASR if known is None or offered is not None else known.mobile.features,
        )
        client = client_of(self._store, host, realm, operator or "")
        _, report = self.counters.subscribe(client, key, service, facts, at)
        avps = [diameter.unsigned32_avp(codes.RESULT_CODE, ResultCode.SUCCESS)]
        if offered is not None:
            avps.append(supported_features(facts.features))
        return avps + reports(report)

    def _imsi_of_number(self, msisdn: str) -> str:
        """Of the SIM that has a number, for a PCRF that knows no IMSI."""
        number = self._store.inventory.number(msisdn) if msisdn else None
        return number.sim.imsi if number is not None and number.sim is not None else ""

    def _service_of(self, imsi: str, operator: str | None) -> ServiceRecord | None:
        """The service of an activated SIM that the peer may ask about."""
        sim = self._store.inventory.sim_of_imsi(imsi) if imsi else None
        if sim is None or sim.service is None or sim.state != "activated":
            return None
        service: ServiceRecord = sim.service
        return service if operator in (None, service.subscriber.body.operator) else None

    def _session_termination(self, request: Request, at: float) -> list[bytes]:
        """§4.5.3."""
        message = request.message
        nas = self._store.nases.get(origin_of(message)[0])
        key = message.get(codes.SESSION_ID) or b""
        known = None if nas is None else self.counters.find(nas, key)
        operator = self._settings.side(request.peer).operator
        is_barred = known is not None and operator is not None and is_foreign(known, operator)
        if nas is None or is_barred or not self.counters.end(nas, key, USER_REQUEST, at):
            return [diameter.unsigned32_avp(codes.RESULT_CODE, UNKNOWN_SESSION_ID)]
        return [diameter.unsigned32_avp(codes.RESULT_CODE, ResultCode.SUCCESS)]

    # Notifications

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        """See aaa.mapping.application; also between equal decisions."""
        if session.service is None:
            return NO_DIFFERENCE
        report = self._owed(session, desired, confirmed is None)
        if not report.statuses:
            return NO_DIFFERENCE
        return Difference("coa", ", ".join(report.statuses), shown(report))

    def _owed(self, session: SessionRecord, desired: DecisionRecord, all_of_it: bool) -> Report:
        """What the PCRF is to be told now."""
        at = self._clock.at()
        report = self.counters.look(session, desired, at)
        return report if all_of_it else report.only(self.counters.changed(session, report, at))

    def change_request(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Outgoing:
        """§4.5.2: an SNR with the counters that differ."""
        report = self._owed(session, desired, confirmed is None)
        avps = tuple(reports(report))
        return Notification(SPENDING_STATUS_NOTIFICATION, "SNR", avps, shown=shown(report), report=report)

    def end_request(self, session: SessionRecord) -> Outgoing:
        """An SNR with the last statuses."""
        report = Report(OVER).only(session.mobile.wanted or COUNTERS)
        avps = reports(report)
        if session.mobile.features & ASR:
            avps.append(diameter.unsigned32_avp(SN_REQUEST_TYPE, ABORT, VENDOR_3GPP, False))
        return Notification(SPENDING_STATUS_NOTIFICATION, "SNR", tuple(avps), shown=shown(report))

    def read_reply(self, session: SessionRecord, outgoing: Outgoing, answer: Message, at: float) -> Reply:
        """See aaa.mapping.application."""
        result = result_of(answer)
        assert isinstance(outgoing, Notification)
        if result // 1000 == 2:
            if outgoing.report is None:
                return Reply("ack", over=True)
            self.counters.note_told(session, outgoing.report, at)
            if session.service is not None:
                # What changed while this was under way was not looked at.
                self._store.affect(session.service)
            return Reply("ack")
        error_cause = SESSION_GONE if result == UNKNOWN_SESSION_ID else 0
        return Reply("nak", error_cause, detail=f"Result-Code {result}")


def reports(report: Report) -> list[bytes]:
    """Policy-Counter-Status-Report for each."""
    avps = []
    for name, status in report.statuses.items():
        members = [
            diameter.avp(POLICY_COUNTER_IDENTIFIER, name.encode(), VENDOR_3GPP),
            diameter.avp(POLICY_COUNTER_STATUS, status.encode(), VENDOR_3GPP),
        ]
        pending = report.pending.get(name)
        if pending is not None:
            # Not before: a status that is told early is wrong.
            moment = (math.ceil(pending[1]) + NTP) & 0xFFFFFFFF
            later = [
                diameter.avp(POLICY_COUNTER_STATUS, pending[0].encode(), VENDOR_3GPP),
                diameter.unsigned32_avp(PENDING_CHANGE_TIME, moment, VENDOR_3GPP),
            ]
            members.append(diameter.grouped_avp(PENDING_INFORMATION, later, VENDOR_3GPP))
        avps.append(diameter.grouped_avp(POLICY_COUNTER_STATUS_REPORT, members, VENDOR_3GPP))
    return avps


def shown(report: Report) -> tuple[tuple[str, str], ...]:
    """The same for people."""
    lines = []
    for name, status in report.statuses.items():
        pending = report.pending.get(name)
        if pending is not None:
            moment = datetime.fromtimestamp(math.ceil(pending[1]), UTC).isoformat().replace("+00:00", "Z")
            status += f", {pending[0]} from {moment}"
        lines.append((name, status))
    return tuple(lines)


def unknown_counters(names: Sequence[bytes]) -> list[bytes]:
    """Experimental-Result, and in Failed-AVP what is not known."""
    vendor = diameter.unsigned32_avp(codes.VENDOR_ID, VENDOR_3GPP)
    code = diameter.unsigned32_avp(codes.EXPERIMENTAL_RESULT_CODE, UNKNOWN_POLICY_COUNTERS)
    failed = [diameter.avp(POLICY_COUNTER_IDENTIFIER, name, VENDOR_3GPP) for name in names]
    return [
        diameter.grouped_avp(codes.EXPERIMENTAL_RESULT, [vendor, code]),
        diameter.grouped_avp(codes.FAILED_AVP, failed),
    ]
