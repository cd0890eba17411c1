"""Gy (RFC 8506, TS 32.299): credit control of gateways, from AVPs to units of quota and back; knows no socket.

Theory of operation. A CCR's services (Multiple-Services-Credit-Control, or the units of the message itself) become
Units; aaa.engine.charging charges and grants, and leaves in the session what is to be answered, from which the CCA is
made: now, and when the request comes again. Services are told apart by Rating-Group, else by Service-Identifier.

What clients get wrong and is served: no Rating-Group, no totals (input and output are added), empty requests for units,
Multiple-Services-Indicator 0 beside services, clocks that are the time of day. Deviations: the number of units that a
client asks for is not looked at, nor is money; zero octets are never granted, because clients then ask in a loop.
Compiled.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aaa.config import Diameter as DiameterSettings
from aaa.diameter import codes
from aaa.diameter.peer import Peer
from aaa.diameter.request import Request
from aaa.engine.charging import (
    CREDIT_LIMIT_REACHED,
    INITIAL,
    NOT_APPLICABLE,
    RATING_FAILED,
    REPORT_OCTETS_MAX,
    SUCCESS,
    TERMINATION,
    UNKNOWN_SESSION,
    UPDATE,
    USER_UNKNOWN,
    Charging,
    QuotaSettings,
)
from aaa.engine.decisions import Decisions
from aaa.limits import DIAMETER_CLIENTS_CACHED_MAX, GY_RENDERED_MAX
from aaa.mapping.application import Outgoing
from aaa.mapping.mobile import (
    VENDOR_3GPP,
    acct_cause_of,
    called_apn,
    imei_of,
    imsi_of,
    location_of,
    msisdn_of,
    origin_of,
    plmn_of,
)
from aaa.mapping.settings import Settings, Side
from aaa.model.charging import Units
from aaa.model.enforcement import Difference, Reply
from aaa.model.mobile import EVENT, GY, NO_GROUP, WHOLE_SESSION, Grant, GyFacts, group_of_service
from aaa.model.records import DOWN, UP, DecisionRecord, NasRecord, ServiceRecord, SessionRecord
from aaa.state.mobile import client_of, is_foreign, new_session
from aaa.state.store import WHOLE, Store
from native import diameter
from native.diameter import Avps, Message

APPLICATION: Final = 4
CREDIT_CONTROL, RE_AUTH, ABORT_SESSION = 272, 258, 274

CC_INPUT_OCTETS, CC_OUTPUT_OCTETS, CC_TOTAL_OCTETS, CC_TIME = 412, 414, 421, 420
CC_MONEY, CC_SERVICE_SPECIFIC_UNITS = 413, 417
CC_SESSION_FAILOVER, CHECK_BALANCE_RESULT = 418, 422
CREDIT_CONTROL_FAILURE_HANDLING, DIRECT_DEBITING_FAILURE_HANDLING = 427, 428
FINAL_UNIT_INDICATION, FINAL_UNIT_ACTION, FILTER_ID, RESTRICTION_FILTER_RULE = 430, 449, 11, 438
GRANTED_SERVICE_UNIT, REQUESTED_SERVICE_UNIT, USED_SERVICE_UNIT = 431, 437, 446
RATING_GROUP, SERVICE_IDENTIFIER, SERVICE_CONTEXT_ID = 432, 439, 461
REDIRECT_SERVER, REDIRECT_ADDRESS_TYPE, REDIRECT_SERVER_ADDRESS = 434, 433, 435
REQUESTED_ACTION, VALIDITY_TIME, RE_AUTH_REQUEST_TYPE = 436, 448, 285
MULTIPLE_SERVICES_INDICATOR, MULTIPLE_SERVICES_CREDIT_CONTROL = 455, 456
VOLUME_QUOTA_THRESHOLD, QUOTA_HOLDING_TIME, TRIGGER, TRIGGER_TYPE = 869, 871, 1264, 870
SERVICE_INFORMATION, PS_INFORMATION, PDP_ADDRESS, RAT_TYPE_3GPP = 873, 874, 1227, 21

DIRECT_DEBITING, REFUND_ACCOUNT, CHECK_BALANCE, PRICE_ENQUIRY = range(4)
FINAL_ACTIONS: Final = {"terminate": 0, "redirect": 1, "restrict": 2}
URL: Final = 2
FAILOVER_SUPPORTED: Final = 1
RETRY_AND_TERMINATE: Final = 2
TERMINATE_OR_BUFFER: Final = 0
AUTHORIZE_ONLY: Final = 0
ENOUGH_CREDIT, NO_CREDIT = 0, 1
LIMITED_SUCCESS: Final = 2002
SESSION_GONE: Final = 503
NEVER_TAKEN: Final = 404
"""Error-Cause of an answer that says that such a request will not be taken (RFC 5176: Invalid Request)."""
IPV4: Final = b"\x00\x01"
IPV6: Final = b"\x00\x02"
GRANT_CODES: Final = {0: CC_TOTAL_OCTETS, DOWN: CC_OUTPUT_OCTETS, UP: CC_INPUT_OCTETS}
RATS: Final = {1: 1000, 2: 1001, 3: 0, 4: 1002, 5: 1003, 6: 1004, 8: 1005, 51: 1006}
"""3GPP-RAT-Type (TS 29.061 §16.4.7.2, TS 29.274 §8.17) as RAT-Type (TS 29.212 §5.3.31)."""
TRIGGERS: Final = {"plmn": (30, 31), "location": (34, 35, 36)}
"""Trigger-Types that a client reports at once, where rules read these facts: MCC, MNC; cell, tracking area, ECGI."""
REASONS: Final = {
    CREDIT_LIMIT_REACHED: "nothing is left of the data volume",
    NOT_APPLICABLE: "the plan has no balance",
    UNKNOWN_SESSION: "no such session",
    5003: "the service may not be used now",
    USER_UNKNOWN: "no active SIM has this IMSI",
    RATING_FAILED: "octets are charged here, nothing else",
}
"""Error-Messages."""
NO_DIFFERENCE: Final = Difference("none")


class Gy:
    """Answers and asks charging clients."""

    number: int

    def __init__(self, store: Store, decisions: Decisions, settings: Settings) -> None:
        self.number = APPLICATION
        self.store = store
        self.decisions = decisions
        self.charging = Charging(store, decisions, QuotaSettings())
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Take new settings; grants in force stay as they are."""
        diameter_settings = settings.diameter
        self.settings = settings
        self.charging.settings = QuotaSettings(
            diameter_settings.quota_slice,
            min(diameter_settings.quota_slice_min, diameter_settings.quota_slice),
            int(diameter_settings.validity),
            diameter_settings.adopt,
        )
        self.threshold = diameter_settings.quota_threshold
        self.holding = three_gpp_unsigned32(QUOTA_HOLDING_TIME, int(diameter_settings.quota_holding))
        self.final = final_unit_indication(diameter_settings)
        self.clients: dict[tuple[Peer, bytes], NasRecord] = {}
        """By peer and Origin-Host as it stands in requests."""
        self.rendered: dict[tuple[int, int, int, int, bool, int, int], bytes] = {}
        """Encoded grants; bounded."""
        self.reads: tuple[int, ...] = ()
        self.triggers = b""
        self.results = {code: diameter.unsigned32_avp(codes.RESULT_CODE, code) for code in (SUCCESS, *REASONS)}

    # Requests

    def receive(self, requests: Sequence[Request], at: float) -> list[bytes]:
        """See aaa.mapping.application."""
        if self.reads is not self.decisions.reads:
            self.reads = self.decisions.reads
            self.triggers = triggers_of(self.decisions)
            self.rendered.clear()
        return [self.answer(request, at) for request in requests]

    def answer(self, request: Request, at: float) -> bytes:
        """One whole answer."""
        message = request.message
        side = self.settings.side(request.peer)
        if message.command != CREDIT_CONTROL:
            return self.compose(message, side, codes.ResultCode.COMMAND_UNSUPPORTED, b"")
        nas = self.client(request, message, side)
        kind = message.get_unsigned32(codes.CC_REQUEST_TYPE)
        number = message.get_unsigned32(codes.CC_REQUEST_NUMBER)
        key = message.get(codes.SESSION_ID)
        if key is None or number is None:
            return self.compose(message, side, codes.ResultCode.MISSING_AVP, b"")
        if kind == EVENT:
            return self.answer_event(request, side, nas, key, number, at)
        if kind is None or not INITIAL <= kind <= TERMINATION:
            failed = diameter.grouped_avp(codes.FAILED_AVP, [message.echo(codes.CC_REQUEST_TYPE)])
            return self.compose(message, side, codes.ResultCode.INVALID_AVP_VALUE, failed)
        family = self.settings.family(nas.name, nas.realm, side.host)
        units = units_of(message, kind)
        cause = acct_cause_of(message) if kind == TERMINATION else 0
        session = self.charging.find(nas, key)
        if session is not None and side.operator is not None and is_foreign(session, side.operator):
            return self.compose(message, side, UNKNOWN_SESSION, b"")
        if session is not None and kind == INITIAL and number > session.mobile.number:
            # Its client has begun anew under the same Session-Id.
            session = None
        if session is not None:
            if self.reads and kind == UPDATE:
                self.follow(session, message)
            result = self.charging.go_on(session, kind, number, units, not family.charging_results, cause, at)
        else:
            session = self.session_of(request, side, nas, key, at)
            if session is None:
                result = UNKNOWN_SESSION if kind != INITIAL and not has_imsi(message) else USER_UNKNOWN
                return self.compose(message, side, result, b"")
            result = self.charging.begin(session, kind, number, units, not family.charging_results, cause, at)
        if result != SUCCESS:
            return self.compose(message, side, result, b"")
        return self.compose(message, side, SUCCESS, self.services(session.mobile, kind))

    def client(self, request: Request, message: Message, side: Side) -> NasRecord:
        """Whose request it is: a peer may speak for many."""
        octets = message.get(codes.ORIGIN_HOST) or b""
        nas = self.clients.get((request.peer, octets))
        if nas is None:
            host, realm = origin_of(message)
            if host not in self.store.nases:
                # Its first session makes it known: a relay may come up with any number of names.
                return NasRecord(0, host, host)
            nas = client_of(self.store, host, realm, side.operator or "")
            if len(self.clients) >= DIAMETER_CLIENTS_CACHED_MAX:
                self.clients.clear()
            self.clients[request.peer, octets] = nas
        return nas

    def session_of(self, request: Request, side: Side, nas: NasRecord, key: bytes, at: float) -> SessionRecord | None:
        """A new session as a request tells of it; None: nobody here has its IMSI."""
        message = request.message
        imsi = imsi_of(message)
        service = self.service_of(imsi, side)
        if service is None:
            return None
        if nas.no == 0:
            nas = client_of(self.store, nas.name, origin_of(message)[1], side.operator or "")
        place = place_of_traffic(message)
        facts = GyFacts(
            imsi=imsi,
            realm=origin_of(message)[1],
            via=side.via(nas.name),
            msisdn=msisdn_of(message),
            apn=called_apn(place),
            plmn=plmn_of(place),
            location=location_of(place),
            imei=imei_of(message) or imei_of(place),
            rat=rat_of(place),
            context=message.get_text(SERVICE_CONTEXT_ID) or "",
        )
        session = new_session(self.store, GY, nas, key, service, facts, at)
        for address in place.get_all(PDP_ADDRESS, VENDOR_3GPP):
            if address[:2] == IPV4 and len(address) == 6:
                session.framed_ip = address[2:]
            elif address[:2] == IPV6 and len(address) == 18:
                # As Gx and RADIUS tell it: bearers get 64 bits each (TS 23.401 §5.3.1.2.2).
                session.framed_prefix = b"\x40" + address[2:10] + bytes(8)
        return session

    def service_of(self, imsi: str, side: Side) -> ServiceRecord | None:
        """Whose IMSI it is, as far as this peer may know."""
        sim = self.store.inventory.sim_of_imsi(imsi) if imsi else None
        if sim is None or (side.operator is not None and sim.operator != side.operator):
            return None
        return sim.service

    def follow(self, session: SessionRecord, message: Message) -> None:
        """Rules read where a session is: take over what a report tells of it."""
        place = place_of_traffic(message)
        facts: GyFacts = session.mobile
        plmn, location, rat = plmn_of(place), location_of(place), rat_of(place)
        if (plmn and plmn != facts.plmn) or (location and location != facts.location) or rat not in (-1, facts.rat):
            facts.plmn = plmn or facts.plmn
            facts.location = location or facts.location
            facts.rat = facts.rat if rat == -1 else rat
            self.store.touch_session(session, WHOLE)

    # Events

    def answer_event(self, request: Request, side: Side, nas: NasRecord, key: bytes, number: int, at: float) -> bytes:
        """One-time events (RFC 8506 §6): debits and refunds of octets, questions about the balance."""
        message = request.message
        action = message.get_unsigned32(REQUESTED_ACTION)
        if action is None:
            missing = diameter.grouped_avp(codes.FAILED_AVP, [diameter.unsigned32_avp(REQUESTED_ACTION, 0)])
            return self.compose(message, side, codes.ResultCode.MISSING_AVP, missing)
        if action > PRICE_ENQUIRY:
            failed = diameter.grouped_avp(codes.FAILED_AVP, [message.echo(REQUESTED_ACTION)])
            return self.compose(message, side, codes.ResultCode.INVALID_AVP_VALUE, failed)
        known = self.charging.find_event(nas, key, number)
        if known is not None and side.operator is not None and is_foreign(known, side.operator):
            return self.compose(message, side, UNKNOWN_SESSION, b"")
        if known is not None:
            return self.compose(message, side, SUCCESS, self.services(known.mobile, EVENT))
        unit = requested_unit(message)
        if action == PRICE_ENQUIRY or unit is None:
            return self.compose(message, side, RATING_FAILED, b"")
        session = self.session_of(request, side, nas, key, at)
        if session is None:
            return self.compose(message, side, USER_UNKNOWN, b"")
        if action == CHECK_BALANCE:
            return self.check_balance(message, side, session, unit, at)
        if action == REFUND_ACCOUNT:
            result = self.charging.refund(session, number, unit, at)
        else:
            result = self.charging.debit(session, number, unit, at)
        return self.compose(message, side, result, self.services(session.mobile, EVENT) if result == SUCCESS else b"")

    def check_balance(self, message: Message, side: Side, session: SessionRecord, unit: Units, at: float) -> bytes:
        """RFC 8506 §6.2."""
        refusal = self.charging.refusal_of(session)
        if refusal:
            return self.compose(message, side, refusal, b"")
        octets = unit.input_octets + unit.output_octets
        decision = self.decisions.of_session(session, at)
        enough = decision.grant and self.charging.has_credit(session, octets, at)
        told = diameter.integer32_avp(CHECK_BALANCE_RESULT, ENOUGH_CREDIT if enough else NO_CREDIT)
        return self.compose(message, side, SUCCESS, told)

    # Answers

    def compose(self, message: Message, side: Side, result: int, body: bytes) -> bytes:
        """A whole answer with what every one repeats."""
        result_avp = self.results.get(result)
        if result_avp is None:
            result_avp = diameter.unsigned32_avp(codes.RESULT_CODE, result)
        parts = [
            message.echo(codes.SESSION_ID),
            result_avp,
            APPLICATION_AVP,
            side.identity,
            message.echo(codes.CC_REQUEST_TYPE),
            message.echo(codes.CC_REQUEST_NUMBER),
            body,
        ]
        if result != SUCCESS and result in REASONS:
            parts.append(diameter.avp(codes.ERROR_MESSAGE, REASONS[result].encode(), 0, False))
        if message.has(codes.PROXY_INFO):
            parts += [diameter.avp(codes.PROXY_INFO, value) for value in message.get_all(codes.PROXY_INFO)]
        return diameter.answer(message, parts, codes.is_protocol_error(result))

    def services(self, facts: GyFacts, kind: int) -> bytes:
        """What the session's last answer says of each service, and of itself."""
        answered = facts.answered
        if len(answered) == 1 and kind == UPDATE:
            return self.service(answered[0], facts.grants[answered[0]])
        parts = [self.service(group, facts.grants[group]) for group in answered]
        if kind == INITIAL:
            parts.append(SESSION_HANDLING)
        elif kind == EVENT:
            parts.append(EVENT_HANDLING)
        return b"".join(parts)

    def service(self, group: int, grant: Grant) -> bytes:
        """What is told of one grant."""
        key = (group, grant.octets, grant.result, grant.validity_s, grant.final, grant.service, grant.counts)
        octets = self.rendered.get(key)
        if octets is None:
            octets = self.encode(group, grant)
            if len(self.rendered) >= GY_RENDERED_MAX:
                self.rendered.clear()
            self.rendered[key] = octets
        return octets

    def encode(self, group: int, grant: Grant) -> bytes:
        """Multiple-Services-Credit-Control, or the same in the message itself."""
        parts = []
        if grant.octets:
            units = diameter.unsigned64_avp(GRANT_CODES[grant.counts], grant.octets)
            parts.append(diameter.grouped_avp(GRANTED_SERVICE_UNIT, [units]))
        if group == WHOLE_SESSION:
            if grant.validity_s:
                parts.append(diameter.unsigned32_avp(VALIDITY_TIME, grant.validity_s))
            if grant.final and grant.octets:
                parts.append(self.final)
            return b"".join(parts)
        if grant.service >= 0:
            parts.append(diameter.unsigned32_avp(SERVICE_IDENTIFIER, grant.service))
        if group >= 0:
            parts.append(diameter.unsigned32_avp(RATING_GROUP, group))
        if grant.validity_s:
            parts.append(diameter.unsigned32_avp(VALIDITY_TIME, grant.validity_s))
        parts.append(diameter.unsigned32_avp(codes.RESULT_CODE, grant.result))
        if grant.octets:
            threshold = min(int(grant.octets * self.threshold), 0xFFFFFFFF)
            if grant.final:
                parts.append(self.final)
            elif threshold:
                parts.append(three_gpp_unsigned32(VOLUME_QUOTA_THRESHOLD, threshold))
            parts.append(self.holding)
            parts.append(self.triggers)
        return diameter.grouped_avp(MULTIPLE_SERVICES_CREDIT_CONTROL, parts)

    # For the reconciler

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        """A RAR where the client must ask anew before its grants end; otherwise the next answer tells."""
        why = self.charging.why_ask(session, confirmed, desired)
        if confirmed is None and not why:
            # Nobody knows whether its client still has it.
            why = "not known what it runs under"
        return Difference("coa", why, (("Re-Auth-Request-Type", "AUTHORIZE_ONLY"),)) if why else NO_DIFFERENCE

    def change_request(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Outgoing:
        """RAR (RFC 8506 §5.5)."""
        return RE_AUTHORIZE

    def end_request(self, session: SessionRecord) -> Outgoing:
        """ASR; to a client that knows none a RAR: what it then asks for is refused."""
        family = self.settings.family(session.nas.name, session.nas.realm, session.mobile.via)
        return ABORT if family.release_cause else RE_AUTHORIZE

    def read_reply(self, session: SessionRecord, outgoing: Outgoing, answer: Message, at: float) -> Reply:
        """RAA or ASA."""
        result = answer.get_unsigned32(codes.RESULT_CODE) or 0
        text = answer.get_text(codes.ERROR_MESSAGE) or ""
        detail = f"{result} {text}".strip()
        keys = (("Session-Id", session.key.decode("utf-8", "replace")), ("Destination-Host", session.nas.name))
        if result in (SUCCESS, LIMITED_SUCCESS):
            return Reply("ack", 0, 1, 0.0, at, keys, outgoing.shown, command=outgoing.name)
        cause = 0
        if result == UNKNOWN_SESSION:
            cause = SESSION_GONE
        elif result == codes.ResultCode.COMMAND_UNSUPPORTED or result >= 5000:
            cause = NEVER_TAKEN
        return Reply("nak", cause, 1, 0.0, at, keys, outgoing.shown, detail, command=outgoing.name)


def three_gpp_unsigned32(code: int, value: int) -> bytes:
    """An Unsigned32 of 3GPP's."""
    return diameter.unsigned32_avp(code, value, VENDOR_3GPP)


def final_unit_indication(settings: DiameterSettings) -> bytes:
    """What a client does when the last grant is used up (RFC 8506 §5.6); terminate where the rest is not told."""
    action = settings.final_unit_action
    members = []
    if action == "redirect" and settings.redirect_url:
        address = diameter.avp(REDIRECT_SERVER_ADDRESS, settings.redirect_url.encode())
        members.append(diameter.grouped_avp(REDIRECT_SERVER, [REDIRECT_TO_URL, address]))
    elif action == "restrict" and settings.restrict_filter:
        is_rule = settings.restrict_filter.startswith(("permit ", "deny "))
        code = RESTRICTION_FILTER_RULE if is_rule else FILTER_ID
        members.append(diameter.avp(code, settings.restrict_filter.encode()))
    else:
        action = "terminate"
    members.insert(0, diameter.integer32_avp(FINAL_UNIT_ACTION, FINAL_ACTIONS[action]))
    return diameter.grouped_avp(FINAL_UNIT_INDICATION, members)


def triggers_of(decisions: Decisions) -> bytes:
    """Trigger (TS 32.299 §7.2.235): what a client reports at once because rules read it; b"" where they do not."""
    names = decisions.policy.session_reads
    types = [kind for name, kinds in TRIGGERS.items() if name in names for kind in kinds]
    if not types:
        return b""
    members = [diameter.integer32_avp(TRIGGER_TYPE, kind, VENDOR_3GPP) for kind in types]
    return diameter.grouped_avp(TRIGGER, members, VENDOR_3GPP)


def units_of(message: Message, kind: int) -> list[Units]:
    """What a CCR reports and asks for, by service."""
    units: list[Units] = []
    for group in message.get_groups(MULTIPLE_SERVICES_CREDIT_CONTROL):
        unit = Units(NO_GROUP)
        service = group.get_unsigned32(SERVICE_IDENTIFIER)
        if service is not None:
            unit.service = service
        rating_group = group.get_unsigned32(RATING_GROUP)
        if rating_group is not None:
            unit.group = rating_group
        elif service is not None:
            unit.group = group_of_service(service)
        unit.asked = group.has(REQUESTED_SERVICE_UNIT)
        read_used(unit, group)
        units.append(unit)
    if units:
        return units
    # RFC 8506 §5: one service, with its units in the message itself; asked for also where that is not said.
    unit = Units(WHOLE_SESSION)
    unit.asked = message.has(REQUESTED_SERVICE_UNIT) or message.get_unsigned32(MULTIPLE_SERVICES_INDICATOR) != 1
    if unit.asked or message.has(USED_SERVICE_UNIT):
        read_used(unit, message)
        units.append(unit)
    return units


def read_used(unit: Units, avps: Avps) -> None:
    """Add up the Used-Service-Units; octets that no direction is told of are counted as downward.

    What is beyond REPORT_OCTETS_MAX is noise, and counts as not reported.
    """
    for used in avps.get_groups(USED_SERVICE_UNIT):
        total = used.get_unsigned64(CC_TOTAL_OCTETS)
        received = used.get_unsigned64(CC_INPUT_OCTETS)
        sent = used.get_unsigned64(CC_OUTPUT_OCTETS)
        time = used.get_unsigned32(CC_TIME)
        up = 0 if received is None or received > REPORT_OCTETS_MAX else received
        down = 0 if sent is None or sent > REPORT_OCTETS_MAX else sent
        if total is not None and up + down < total <= REPORT_OCTETS_MAX:
            if sent is None:
                down = total - up
            elif received is None:
                up = total - down
        unit.input_octets += up
        unit.output_octets += down
        if time is not None:
            unit.time_s += time


def requested_unit(message: Message) -> Units | None:
    """What a one-time event is about: octets; None for money, events, and what names nothing."""
    unit = Units(WHOLE_SESSION, asked=True)
    found: Avps = message
    service = message.get_group(MULTIPLE_SERVICES_CREDIT_CONTROL)
    if service is not None:
        found = service
        identifier, rating_group = service.get_unsigned32(SERVICE_IDENTIFIER), service.get_unsigned32(RATING_GROUP)
        unit.service = -1 if identifier is None else identifier
        unit.group = NO_GROUP if identifier is None else group_of_service(identifier)
        unit.group = unit.group if rating_group is None else rating_group
    requested = found.get_group(REQUESTED_SERVICE_UNIT)
    if requested is None or requested.has(CC_MONEY) or requested.has(CC_SERVICE_SPECIFIC_UNITS):
        return None
    received, sent = requested.get_unsigned64(CC_INPUT_OCTETS), requested.get_unsigned64(CC_OUTPUT_OCTETS)
    total = requested.get_unsigned64(CC_TOTAL_OCTETS)
    unit.input_octets = received or 0
    unit.output_octets = sent or 0
    if total is not None and received is None and sent is None:
        unit.output_octets = total
    octets = unit.input_octets + unit.output_octets
    return unit if 0 < octets <= REPORT_OCTETS_MAX else None


def has_imsi(message: Message) -> bool:
    """Whether a request says whose it is."""
    return bool(imsi_of(message))


def place_of_traffic(message: Message) -> Avps:
    """PS-Information, which tells where the traffic is; else the message itself."""
    information = message.get_group(SERVICE_INFORMATION, VENDOR_3GPP)
    place = None if information is None else information.get_group(PS_INFORMATION, VENDOR_3GPP)
    return message if place is None else place


def rat_of(place: Avps) -> int:
    """RAT-Type as Gx has it; -1: not told."""
    value = place.get(RAT_TYPE_3GPP, VENDOR_3GPP)
    return RATS.get(value[0], -1) if value else -1


APPLICATION_AVP: Final = diameter.unsigned32_avp(codes.AUTH_APPLICATION_ID, APPLICATION)
REDIRECT_TO_URL: Final = diameter.integer32_avp(REDIRECT_ADDRESS_TYPE, URL)
SESSION_HANDLING: Final = diameter.integer32_avp(
    CREDIT_CONTROL_FAILURE_HANDLING, RETRY_AND_TERMINATE
) + diameter.integer32_avp(CC_SESSION_FAILOVER, FAILOVER_SUPPORTED)
"""Any server of this store goes on with a session, so a client should try the next one before it gives up."""
EVENT_HANDLING: Final = diameter.integer32_avp(DIRECT_DEBITING_FAILURE_HANDLING, TERMINATE_OR_BUFFER)
RE_AUTHORIZE: Final = Outgoing(
    RE_AUTH,
    "RAR",
    (diameter.integer32_avp(RE_AUTH_REQUEST_TYPE, AUTHORIZE_ONLY),),
    shown=(("Re-Auth-Request-Type", "AUTHORIZE_ONLY"),),
)
ABORT: Final = Outgoing(ABORT_SESSION, "ASR", ())
