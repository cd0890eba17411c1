"""S6a (TS 29.272): authentication vectors and registrations for MMEs. AVPs to the engine's words and back. Compiled.

Theory of operation. An AIR is admitted or refused as the attach that follows would be; its vectors are made here from
the SIM's keys and the next sequence numbers. A ULR registers its MME, and the ULA carries Subscription-Data as the plan
has it: rendered once for a decision, but for the number and the addresses of the subscriber. Later changes leave as IDR
with the parts that differ, or as DSR where APNs have only gone; an end is a CLR. An MME that does not keep off whom an
IDR bars is sent a CLR instead.

Deviation: a failed ULA bears ULA-Flags and Subscription-Data where the MME's family takes no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from zlib import crc32

from aaa.diameter.answers import result_of
from aaa.diameter.request import Request
from aaa.engine.decisions import Decisions
from aaa.engine.mobility import (
    ADMITTED,
    DEVICE,
    NO_KEYS,
    NO_SUBSCRIPTION,
    RAT,
    ROAMING,
    UNKNOWN_SUBSCRIBER,
    Admission,
    Mobility,
    first_qos,
    is_barred,
)
from aaa.limits import VECTORS_COUNT_MAX
from aaa.mapping.application import Outgoing
from aaa.mapping.mobile import apn_of, features_of, plmn_text, supported_features, tbcd_octets
from aaa.mapping.peer_families import PeerFamily
from aaa.mapping.settings import Settings, Side
from aaa.model.enforcement import Difference, Reply
from aaa.model.mobile import S6aFacts
from aaa.model.records import DecisionRecord, ServiceRecord, SessionRecord
from aaa.model.shelves import NumberRecord, SimRecord
from aaa.state.mobile import client_of
from aaa.state.sequence import resynchronise, take_sqn
from aaa.state.store import Store
from native import diameter, milenage
from native.diameter import Avps, Message
from policy.model import Arp, Decision, Qos, Rate

S6A = 16777251
VENDOR = 10415
UPDATE_LOCATION, CANCEL_LOCATION, AUTHENTICATION_INFORMATION, INSERT_DATA = 316, 317, 318, 319
DELETE_DATA, PURGE_UE, RESET, NOTIFY = 320, 321, 322, 323
SERVED_COMMANDS = frozenset({UPDATE_LOCATION, AUTHENTICATION_INFORMATION, PURGE_UE, NOTIFY})

USER_NAME, SESSION_ID, ORIGIN_HOST, ORIGIN_REALM, PROXY_INFO = 1, 263, 264, 296, 284
RESULT_CODE, EXPERIMENTAL_RESULT, EXPERIMENTAL_RESULT_CODE, ERROR_MESSAGE, FAILED_AVP = 268, 297, 298, 281, 279
VENDOR_ID, AUTH_APPLICATION_ID, VENDOR_SPECIFIC_APPLICATION_ID, AUTH_SESSION_STATE = 266, 258, 260, 277
SERVICE_SELECTION, MIP6_AGENT_INFO, HOME_AGENT_ADDRESS, HOME_AGENT_HOST, DESTINATION_HOST = 493, 486, 334, 348, 293
MSISDN = 701
BANDWIDTH_DL, BANDWIDTH_UL, EXTENDED_BANDWIDTH_DL, EXTENDED_BANDWIDTH_UL = 515, 516, 554, 555
QCI, RAT_TYPE, ARP, PRIORITY_LEVEL, PREEMPTION_CAPABILITY, PREEMPTION_VULNERABILITY = 1028, 1032, 1034, 1046, 1047, 1048
SERVED_ADDRESS = 848
SUBSCRIPTION_DATA, TERMINAL_INFORMATION, IMEI = 1400, 1401, 1402
ULR_FLAGS, ULA_FLAGS, VISITED_PLMN_ID = 1405, 1406, 1407
EUTRAN_INFO, UTRAN_INFO, REQUESTED_VECTORS, RESYNCHRONIZATION_INFO = 1408, 1409, 1410, 1411
AUTHENTICATION_INFO, EUTRAN_VECTOR, UTRAN_VECTOR, NETWORK_ACCESS_MODE, ITEM_NUMBER = 1413, 1414, 1415, 1417, 1419
CANCELLATION_TYPE, DSR_FLAGS, CONTEXT_IDENTIFIER, SUBSCRIBER_STATUS, BARRING = 1420, 1421, 1423, 1424, 1425
ALL_INCLUDED, APN_PROFILE, APN_CONFIGURATION, SUBSCRIBED_QOS, DYNAMIC_ADDRESS = 1428, 1429, 1430, 1431, 1432
AMBR, PUA_FLAGS, RAND, XRES, AUTN, KASME, PDN_TYPE = 1435, 1442, 1447, 1448, 1449, 1450, 1456
TAU_TIMER, CONFIDENTIALITY_KEY, INTEGRITY_KEY = 1619, 625, 626

COMMAND_UNSUPPORTED, INVALID_AVP_VALUE, MISSING_AVP = 3001, 5004, 5005
NO_STATE_MAINTAINED = 1
SKIP_SUBSCRIBER_DATA = 1 << 2
"""ULR-Flags (§7.3.7)."""
SEPARATION_INDICATION = 1
"""ULA-Flags (§7.3.8): numbers of MME and SGSN are stored apart."""
FREEZE_M_TMSI = 1
"""PUA-Flags (§7.3.48)."""
CONTEXT_WITHDRAWAL = 1 << 3
"""DSR-Flags (§7.3.25): PDN subscription contexts are withdrawn."""
SUBSCRIPTION_WITHDRAWAL = 2
"""Cancellation-Type (§7.3.24)."""
ALL_PACKET_SERVICES = 1
"""Operator-Determined-Barring (§7.3.30)."""
ODB_ALL_APN = 1
"""Feature-List 1 (§7.3.10): the MME keeps off whom all packet services are barred to."""
SEPARATION_BIT = 0x8000
"""Of the AMF: set for E-UTRAN, clear for UTRAN (TS 33.401 §6.1.1)."""
BPS_MAX = 0xFFFF_FFFF
"""What Max-Requested-Bandwidth has room for; more is told in kbit/s beside it."""
PDN_TYPES = {"ipv4": 0, "ipv6": 1, "ipv4v6": 2, "ipv4_or_ipv6": 3}
SERVED = "s6a"
"""Key in DecisionRecord.rendered."""
SESSION_GONE, NOT_FOR_IT = 503, 404
"""Error-Causes of Reply: it has no such registration; it will never take this request."""
UNKNOWN_USER, UNKNOWN_SERVING_NODE, DATA_UNAVAILABLE = 5001, 5423, 4181
EXPERIMENTS = {
    UNKNOWN_SUBSCRIBER: UNKNOWN_USER,
    ROAMING: 5004,
    NO_SUBSCRIPTION: 5420,
    DEVICE: 5420,
    RAT: 5421,
    NO_KEYS: DATA_UNAVAILABLE,
}
"""Experimental-Result-Codes (§7.4). 5420 becomes "no suitable cells in tracking area" at the handset, which comes back
by itself; 5001 and 5004 last until it is switched off."""
NO_DIFFERENCE = Difference("none")
NO_QOS = Qos(9, Arp(15))
"""Of a refusal that must look like a subscription."""
EVERYTHING = ("status", "ambr", "apns")


def u32(code: int, value: int, mandatory: bool = True) -> bytes:
    """An Unsigned32 or Enumerated of 3GPP."""
    return diameter.unsigned32_avp(code, value, VENDOR, mandatory)


def head_of(verdict: bytes) -> bytes:
    """What every answer has behind its Session-Id and the identity, with its result."""
    members = [diameter.unsigned32_avp(VENDOR_ID, VENDOR), diameter.unsigned32_avp(AUTH_APPLICATION_ID, S6A)]
    application = diameter.grouped_avp(VENDOR_SPECIFIC_APPLICATION_ID, members)
    return application + diameter.unsigned32_avp(AUTH_SESSION_STATE, NO_STATE_MAINTAINED) + verdict


def head_with(code: int) -> bytes:
    """The same with a Result-Code."""
    return head_of(diameter.unsigned32_avp(RESULT_CODE, code))


SUCCESS_HEAD = head_with(2001)
ULA_FLAGS_AVP = u32(ULA_FLAGS, SEPARATION_INDICATION)
GRANTED_AVPS = u32(SUBSCRIBER_STATUS, 0)
BARRED_AVPS = u32(SUBSCRIBER_STATUS, 1) + u32(BARRING, ALL_PACKET_SERVICES)
NETWORK_ACCESS_AVP = u32(NETWORK_ACCESS_MODE, 2)
RAND_HEAD = diameter.avp(RAND, bytes(16), VENDOR)[:12]
XRES_HEAD = diameter.avp(XRES, bytes(8), VENDOR)[:12]
AUTN_HEAD = diameter.avp(AUTN, bytes(16), VENDOR)[:12]
KASME_HEAD = diameter.avp(KASME, bytes(32), VENDOR)[:12]
VECTOR_HEAD = diameter.avp(EUTRAN_VECTOR, bytes(120), VENDOR)[:12]
ONE_VECTOR_HEAD = diameter.avp(AUTHENTICATION_INFO, bytes(132), VENDOR)[:12]


class Profile:
    """Subscription-Data of a decision, encoded."""

    ambr: bytes
    apns: list[str]
    """In the order of their configurations: the default first."""
    configurations: list[bytes]
    profile: bytes
    """APN-Configuration-Profile of all of them."""

    def __init__(self, decision: Decision, first: Qos, rate: Rate | None, addresses: bytes = b"") -> None:
        qoses = (first, *decision.apns)
        self.ambr = ambr_avp(rate or first.apn_ambr)
        self.apns = [qos.apn.lower() for qos in qoses]
        self.configurations = [
            apn_configuration(number, qos, rate, b"" if number > 1 else addresses)
            for number, qos in enumerate(qoses, 1)
        ]
        self.profile = apn_profile(self.configurations)


class S6a:
    """Serves MMEs; see aaa.mapping.application."""

    number: int
    store: Store
    settings: Settings
    mobility: Mobility
    random: Callable[[int], bytes]
    transactions: int
    """Numbers the Session-Ids of requests of ours."""
    tau: bytes
    """Subscribed-Periodic-RAU-TAU-Timer; b"": nothing is told."""

    def __init__(
        self, store: Store, decisions: Decisions, settings: Settings, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        """random: gives so many octets that nobody can foretell."""
        self.number = S6A
        self.store = store
        self.mobility = Mobility(store, decisions)
        self.random = random
        self.transactions = 0
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Take new settings."""
        self.settings = settings
        self.mobility.roaming_plmns = frozenset(settings.diameter.roaming_plmns)
        seconds = int(settings.diameter.periodic_tau)
        self.tau = u32(TAU_TIMER, seconds, False) if seconds else b""

    # Requests

    def receive(self, requests: Sequence[Request], at: float) -> list[bytes]:
        """See aaa.mapping.application."""
        answers = []
        for request in requests:
            message = request.message
            command = message.command
            side = self.settings.side(request.peer)
            if command == AUTHENTICATION_INFORMATION:
                avps = self.authenticate(side, message, at)
            elif command == UPDATE_LOCATION:
                avps = self.update_location(side, message, at)
            elif command == PURGE_UE:
                avps = self.purge(side, message, at)
            elif command == NOTIFY:
                avps = self.notify(side, message, at)
            else:
                avps = [head_with(COMMAND_UNSUPPORTED)]
            avps = [message.echo(SESSION_ID), side.identity, *avps]
            if message.has(PROXY_INFO):
                avps += [diameter.avp(PROXY_INFO, value) for value in message.get_all(PROXY_INFO)]
            answers.append(diameter.answer(message, avps, command not in SERVED_COMMANDS))
        return answers

    def authenticate(self, side: Side, message: Message, at: float) -> list[bytes]:
        """AIR (§5.2.3.1)."""
        plmn = message.get(VISITED_PLMN_ID, VENDOR)
        if plmn is None or len(plmn) != 3:
            return invalid(VISITED_PLMN_ID, plmn)
        eutran: Avps | None = message.get_group(EUTRAN_INFO, VENDOR)
        utran: Avps | None = message.get_group(UTRAN_INFO, VENDOR)
        if eutran is None and utran is None:
            missing = diameter.grouped_avp(EUTRAN_INFO, [], VENDOR)
            return [head_with(MISSING_AVP), diameter.grouped_avp(FAILED_AVP, [missing])]
        host = lower(message.get(ORIGIN_HOST))
        admission: Admission = self.mobility.admit(
            digits(message.get(USER_NAME)), side.operator, host, plmn_text(plmn), -1,
            imei_of(message), at,
        )  # fmt: skip
        if admission.verdict != ADMITTED:
            return refused(EXPERIMENTS[admission.verdict], admission.message)
        sim = admission.sim
        assert sim is not None
        keys = sim.keys
        if keys is None:
            return refused(EXPERIMENTS[NO_KEYS], "The keys of the SIM are not known")
        for wanted in (eutran, utran):
            told = None if wanted is None else wanted.get(RESYNCHRONIZATION_INFO, VENDOR)
            if told is not None:
                if len(told) != 30:
                    # Zeros: what it holds is nobody's to see.
                    return invalid(RESYNCHRONIZATION_INFO, bytes(len(told)))
                sqn_ms = milenage.verify_auts(keys, told[:16], told[16:])
                if sqn_ms is None:
                    return refused(DATA_UNAVAILABLE, "AUTS is not by this SIM")
                resynchronise(self.store, sim, sqn_ms)
        # An MME's vectors stay in its own slot of the USIM's list (TS 33.102 Annex C.3.4).
        slot = crc32(host.encode())
        vectors: list[bytes] = []
        try:
            if eutran is not None:
                self.make_vectors(vectors, sim, keys, count_of(eutran), slot, plmn)
            if utran is not None:
                self.make_vectors(vectors, sim, keys, count_of(utran), slot, None)
        except ValueError as error:
            return refused(DATA_UNAVAILABLE, str(error))
        if len(vectors) == 1 and utran is None:
            return [SUCCESS_HEAD, ONE_VECTOR_HEAD, vectors[0]]
        return [SUCCESS_HEAD, diameter.grouped_avp(AUTHENTICATION_INFO, vectors, VENDOR)]

    def make_vectors(
        self, vectors: list[bytes], sim: SimRecord, keys: bytes, count: int, slot: int, plmn: bytes | None
    ) -> None:
        """Add so many; plmn: the serving network of E-UTRAN's, None for UTRAN. ValueError: its SQNs are used up."""
        rands = self.random(16 * count)
        for number in range(count):
            rand = rands[16 * number : 16 * number + 16]
            sqn = take_sqn(self.store, sim, slot)
            if plmn is None:
                vector = milenage.umts_vector(keys, rand, sqn, sim.amf & ~SEPARATION_BIT)
                tail = diameter.avp(CONFIDENTIALITY_KEY, vector[40:56], VENDOR)
                tail += diameter.avp(INTEGRITY_KEY, vector[56:], VENDOR)
            else:
                vector = milenage.eps_vector(keys, rand, sqn, sim.amf | SEPARATION_BIT, plmn)
                tail = KASME_HEAD + vector[40:]
            body = RAND_HEAD + vector[:16] + XRES_HEAD + vector[16:24] + AUTN_HEAD + vector[24:40] + tail
            if plmn is not None and count == 1:
                vectors.append(VECTOR_HEAD + body)
            else:
                code = UTRAN_VECTOR if plmn is None else EUTRAN_VECTOR
                item = b"" if count == 1 else u32(ITEM_NUMBER, number + 1)
                vectors.append(diameter.avp(code, item + body, VENDOR))

    def update_location(self, side: Side, message: Message, at: float) -> list[bytes]:
        """ULR (§5.2.1.1)."""
        host, realm = lower(message.get(ORIGIN_HOST)), lower(message.get(ORIGIN_REALM))
        family = self.settings.family(host, realm, side.host)
        plmn = message.get(VISITED_PLMN_ID, VENDOR)
        if plmn is None or len(plmn) != 3:
            return failed_update(invalid(VISITED_PLMN_ID, plmn), family)
        imsi = digits(message.get(USER_NAME))
        told_rat = message.get_unsigned32(RAT_TYPE, VENDOR)
        rat = -1 if told_rat is None else told_rat
        network = plmn_text(plmn)
        operator = side.operator
        imei = imei_of(message)
        admission: Admission = self.mobility.admit(imsi, operator, host, network, rat, imei, at)
        if admission.verdict != ADMITTED:
            return failed_update(refused(EXPERIMENTS[admission.verdict], admission.message), family)
        sim, decision = admission.sim, admission.decision
        assert sim is not None
        assert decision is not None
        service: ServiceRecord | None = sim.service
        assert service is not None
        offered = features_of(message)
        record: NumberRecord | None = sim.number
        msisdn = "" if record is None else record.msisdn
        facts = S6aFacts(imsi, realm, side.via(host), msisdn)
        facts.plmn, facts.imei, facts.rat = network, imei, rat
        facts.bars, facts.deletes = family.barring, family.deletions
        if offered is not None:
            facts.features = offered & ODB_ALL_APN
            facts.bars = facts.bars and facts.features == ODB_ALL_APN
        nas = client_of(self.store, host, realm, operator or "")
        flags = message.get_unsigned32(ULR_FLAGS, VENDOR) or 0
        avps = [SUCCESS_HEAD, ULA_FLAGS_AVP]
        if not (flags & SKIP_SUBSCRIBER_DATA and self.mobility.is_current(nas, imsi, decision)):
            avps.append(self.subscription(service, decision, msisdn, family.apns_max))
        if offered is not None:
            avps.append(supported_features(facts.features))
        self.mobility.register(nas, service, facts, decision, at)
        return avps

    def purge(self, side: Side, message: Message, at: float) -> list[bytes]:
        """PUR (§5.2.1.3)."""
        imsi = digits(message.get(USER_NAME))
        if not self.is_known(imsi, side):
            return refused(UNKNOWN_USER, "Unknown subscriber")
        session = self.mobility.registration(self.store.nases.get(lower(message.get(ORIGIN_HOST))), imsi)
        if session is None:
            return [SUCCESS_HEAD, u32(PUA_FLAGS, 0)]
        self.mobility.purge(session, at)
        return [SUCCESS_HEAD, u32(PUA_FLAGS, FREEZE_M_TMSI)]

    def notify(self, side: Side, message: Message, at: float) -> list[bytes]:
        """NOR (§5.2.5.1)."""
        imsi = digits(message.get(USER_NAME))
        if not self.is_known(imsi, side):
            return refused(UNKNOWN_USER, "Unknown subscriber")
        session = self.mobility.registration(self.store.nases.get(lower(message.get(ORIGIN_HOST))), imsi)
        if session is None:
            return refused(UNKNOWN_SERVING_NODE, "Another node serves it")
        apn = apn_of(message.get(SERVICE_SELECTION) or b"")
        self.mobility.note(session, apn, gateway_of(message), imei_of(message), at)
        return [SUCCESS_HEAD]

    def is_known(self, imsi: str, side: Side) -> bool:
        """Whether there is such a SIM that the peer may ask about."""
        sim = self.store.inventory.sim_of_imsi(imsi)
        return sim is not None and (side.operator is None or sim.operator == side.operator)

    def subscription(self, service: ServiceRecord, decision: DecisionRecord, msisdn: str, apns_max: int) -> bytes:
        """Subscription-Data: all that an MME is to know."""
        profile: Profile = profile_of(service, decision)
        number = diameter.avp(MSISDN, tbcd_octets(msisdn), VENDOR) if msisdn else b""
        parts = [GRANTED_AVPS, number, NETWORK_ACCESS_AVP, profile.ambr, cut(profile, apns_max), self.tau]
        return diameter.grouped_avp(SUBSCRIPTION_DATA, parts, VENDOR)

    # Requests of ours

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        """See aaa.mapping.application."""
        service = session.service
        if service is None:
            return NO_DIFFERENCE
        if is_barred(desired):
            if confirmed is not None and is_barred(confirmed):
                return NO_DIFFERENCE
            if not session.mobile.bars:
                return Difference("disconnect", "barred")
            return Difference("coa", "barred", BARRED_LINES)
        if not desired.grant and confirmed is not None and not is_barred(confirmed):
            # Its bearers follow the quota; what it may have is the same.
            return NO_DIFFERENCE
        if first_qos(service, desired) is None:
            return Difference("disconnect", "no APN is left")
        parts = parts_of(service, confirmed, desired)
        if not parts:
            return NO_DIFFERENCE
        return Difference("coa", ", ".join(parts), lines_of(parts, profile_of(service, desired), desired))

    def change_request(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Outgoing:
        """IDR (§5.2.2.1) with what differs, or DSR (§5.2.2.2) where APNs have only gone."""
        facts = session.mobile
        service = session.service
        assert service is not None
        user = diameter.avp(USER_NAME, session.key)
        if is_barred(desired):
            data = diameter.grouped_avp(SUBSCRIPTION_DATA, [BARRED_AVPS], VENDOR)
            return Outgoing(INSERT_DATA, "IDR", (user, data), self.transaction(), BARRED_LINES)
        after: Profile = profile_of(service, desired)
        parts = parts_of(service, confirmed, desired) or EVERYTHING
        lines = lines_of(parts, after, desired)
        if parts == ("apns_gone",) and confirmed is not None and facts.deletes:
            before: Profile = profile_of(service, confirmed)
            gone = [
                u32(CONTEXT_IDENTIFIER, number)
                for number, each in enumerate(before.configurations, 1)
                if each not in after.configurations
            ]
            avps = (user, u32(DSR_FLAGS, CONTEXT_WITHDRAWAL), *gone)
            return Outgoing(DELETE_DATA, "DSR", avps, self.transaction(), lines)
        members = []
        if "status" in parts:
            members.append(GRANTED_AVPS)
        if "ambr" in parts:
            members.append(after.ambr)
        if "apns" in parts or "apns_gone" in parts:
            # All of them: what is not among them is gone with it (§7.3.33).
            members.append(cut(after, self.settings.family(session.nas.name, facts.realm, facts.via).apns_max))
        data = diameter.grouped_avp(SUBSCRIPTION_DATA, members, VENDOR)
        return Outgoing(INSERT_DATA, "IDR", (user, data), self.transaction(), lines)

    def end_request(self, session: SessionRecord) -> Outgoing:
        """CLR (§5.2.1.2)."""
        kind = session.mobile.cancellation
        if kind < 0:
            kind = SUBSCRIPTION_WITHDRAWAL
        avps = (diameter.avp(USER_NAME, session.key), u32(CANCELLATION_TYPE, kind))
        lines = (("Cancellation-Type", "SUBSCRIPTION_WITHDRAWAL" if kind else "MME_UPDATE_PROCEDURE"),)
        return Outgoing(CANCEL_LOCATION, "CLR", avps, self.transaction(), lines)

    def reset_request(self) -> Outgoing:
        """RSR (§5.2.4.1): registrations may have been lost here; an MME tells each again when it next hears of it."""
        return Outgoing(RESET, "RSR", (), self.transaction())

    def transaction(self) -> bytes:
        """A new Session-Id: S6a keeps no session (§7.1.4)."""
        self.transactions += 1
        start = int.from_bytes(self.random(4), "big")
        return f"{self.settings.diameter.origin_host};{start};{self.transactions};s6a".encode()

    def read_reply(self, session: SessionRecord, outgoing: Outgoing, answer: Message, at: float) -> Reply:
        """See aaa.mapping.application."""
        code = result_of(answer)
        is_experimental = not answer.has(RESULT_CODE)
        if code // 1000 == 2:
            return Reply("ack", over=outgoing.command == CANCEL_LOCATION)
        detail = f"Experimental-Result {code}" if is_experimental else f"Result-Code {code}"
        if is_experimental and code == UNKNOWN_USER:
            return Reply("nak", SESSION_GONE, detail=detail)
        if outgoing.command == DELETE_DATA:
            # The next attempt is an IDR, which tells all that is left.
            session.mobile.deletes = False
            return Reply("nak", detail=detail)
        never = code == COMMAND_UNSUPPORTED or code // 1000 == 5
        return Reply("nak", NOT_FOR_IT if never else 0, detail=detail)


# What differs

BARRED_LINES = (("Subscriber-Status", "OPERATOR_DETERMINED_BARRING"),)


def parts_of(service: ServiceRecord, confirmed: DecisionRecord | None, desired: DecisionRecord) -> tuple[str, ...]:
    """What differs: "status", "ambr", "apns", or "apns_gone" where that is all that happened to them."""
    if confirmed is None or not confirmed.grant or first_qos(service, confirmed) is None:
        return EVERYTHING
    before: Profile = profile_of(service, confirmed)
    after: Profile = profile_of(service, desired)
    parts: tuple[str, ...] = ()
    if before.ambr != after.ambr:
        parts += ("ambr",)
    if before.configurations != after.configurations:
        gone = all(each in before.configurations for each in after.configurations)
        parts += ("apns_gone",) if gone else ("apns",)
    return parts


def lines_of(parts: tuple[str, ...], profile: Profile, decision: DecisionRecord) -> tuple[tuple[str, str], ...]:
    """What a change carries, for people."""
    lines: tuple[tuple[str, str], ...] = ()
    if "status" in parts:
        lines += (("Subscriber-Status", "SERVICE_GRANTED"),)
    if "ambr" in parts:
        rate = decision.body.rate
        lines += (("AMBR", "unlimited" if rate is None else f"{rate.down_bps}/{rate.up_bps}"),)
    if "apns" in parts or "apns_gone" in parts:
        lines += (("APN-Configuration", ", ".join(profile.apns)),)
    return lines


# Subscription-Data


def profile_of(service: ServiceRecord, decision: DecisionRecord) -> Profile:
    """Subscription-Data of a decision that has an APN: kept with it, unless it holds addresses of a subscriber, or what
    is sold where nothing is granted."""
    body: Decision = decision.body
    if not decision.grant:
        plan = service.plan.body
        return Profile(body, plan.qos or NO_QOS, plan.rate, addresses_of(service))
    first = body.qos or NO_QOS
    if not service.bare:
        addresses = addresses_of(service)
        if addresses:
            return Profile(body, first, body.rate, addresses)
    kept = decision.rendered.get(SERVED)
    if kept is None:
        kept = decision.rendered[SERVED] = Profile(body, first, body.rate)
    assert isinstance(kept, Profile)
    return kept


def cut(profile: Profile, apns_max: int) -> bytes:
    """APN-Configuration-Profile with no more than an MME has room for."""
    configurations = profile.configurations
    return profile.profile if len(configurations) <= apns_max else apn_profile(configurations[:apns_max])


def addresses_of(service: ServiceRecord) -> bytes:
    """Served-Party-IP-Address of the addresses that are the service's own."""
    found = b""
    body = service.body
    if body.static_ip is not None:
        found += diameter.avp(SERVED_ADDRESS, b"\0\1" + ip_address(body.static_ip).packed, VENDOR)
    if body.static_prefix is not None:
        prefix = ip_network(body.static_prefix).network_address.packed
        found += diameter.avp(SERVED_ADDRESS, b"\0\2" + prefix, VENDOR)
    return found


def apn_profile(configurations: list[bytes]) -> bytes:
    """APN-Configuration-Profile: the first is the default."""
    members = [u32(CONTEXT_IDENTIFIER, 1), u32(ALL_INCLUDED, 0), *configurations]
    return diameter.grouped_avp(APN_PROFILE, members, VENDOR)


def apn_configuration(number: int, qos: Qos, rate: Rate | None, addresses: bytes) -> bytes:
    """APN-Configuration."""
    arp = [
        u32(PRIORITY_LEVEL, qos.arp.priority, False),
        u32(PREEMPTION_CAPABILITY, 0 if qos.arp.preempt else 1, False),
        u32(PREEMPTION_VULNERABILITY, 0 if qos.arp.preemptable else 1, False),
    ]
    bearer = [u32(QCI, qos.qci), diameter.grouped_avp(ARP, arp, VENDOR, False)]
    members = [
        u32(CONTEXT_IDENTIFIER, number),
        addresses,
        u32(PDN_TYPE, PDN_TYPES[qos.pdn_type]),
        diameter.avp(SERVICE_SELECTION, qos.apn.encode()),
        diameter.grouped_avp(SUBSCRIBED_QOS, bearer, VENDOR),
        u32(DYNAMIC_ADDRESS, 0),
        ambr_avp(slower(qos.apn_ambr, rate)),
    ]
    return diameter.grouped_avp(APN_CONFIGURATION, members, VENDOR)


def slower(one: Rate | None, other: Rate | None) -> Rate | None:
    """The lower of two limits in each direction; 0 is none."""
    if one is None or other is None:
        return one or other
    return Rate(
        min(one.down_bps or other.down_bps, other.down_bps or one.down_bps),
        min(one.up_bps or other.up_bps, other.up_bps or one.up_bps),
    )


def ambr_avp(rate: Rate | None) -> bytes:
    """AMBR; no limit is the largest that it has room for."""
    up = BPS_MAX if rate is None else rate.up_bps or BPS_MAX
    down = BPS_MAX if rate is None else rate.down_bps or BPS_MAX
    members = [u32(BANDWIDTH_UL, min(up, BPS_MAX)), u32(BANDWIDTH_DL, min(down, BPS_MAX))]
    if up > BPS_MAX:
        members.append(u32(EXTENDED_BANDWIDTH_UL, min(up // 1000, BPS_MAX), False))
    if down > BPS_MAX:
        members.append(u32(EXTENDED_BANDWIDTH_DL, min(down // 1000, BPS_MAX), False))
    return diameter.grouped_avp(AMBR, members, VENDOR)


# Answers


def refused(code: int, message: str) -> list[bytes]:
    """AVPs of an answer with an Experimental-Result, and why."""
    members = [diameter.unsigned32_avp(VENDOR_ID, VENDOR), diameter.unsigned32_avp(EXPERIMENTAL_RESULT_CODE, code)]
    head = head_of(diameter.grouped_avp(EXPERIMENTAL_RESULT, members))
    return [head, diameter.avp(ERROR_MESSAGE, message.encode(), 0, False)]


def failed_update(avps: list[bytes], family: PeerFamily) -> list[bytes]:
    """A refused ULR's answer as the MME takes it."""
    if not family.failed_updates:
        profile = Profile(Decision(False, "denied"), NO_QOS, None)
        parts = [BARRED_AVPS, NETWORK_ACCESS_AVP, profile.ambr, profile.profile]
        avps += [ULA_FLAGS_AVP, diameter.grouped_avp(SUBSCRIPTION_DATA, parts, VENDOR)]
    return avps


def invalid(code: int, value: bytes | None) -> list[bytes]:
    """AVPs of an answer to a value of a wrong form."""
    failed = diameter.avp(code, value or b"", VENDOR)
    return [head_with(INVALID_AVP_VALUE), diameter.grouped_avp(FAILED_AVP, [failed])]


def count_of(wanted: Avps) -> int:
    """How many vectors are made."""
    count = wanted.get_unsigned32(REQUESTED_VECTORS, VENDOR)
    return 1 if count is None else max(1, min(count, VECTORS_COUNT_MAX))


def imei_of(message: Message) -> str:
    """IMEI of Terminal-Information, as digits; "" where there is none."""
    group: Avps | None = message.get_group(TERMINAL_INFORMATION, VENDOR)
    value = None if group is None else group.get(IMEI, VENDOR)
    return value.decode() if value is not None and value.isdigit() and 14 <= len(value) <= 16 else ""


def gateway_of(message: Message) -> str:
    """Host or address of MIP6-Agent-Info; "" where there is none."""
    info = message.get_group(MIP6_AGENT_INFO)
    if info is None:
        return ""
    host = info.get_group(HOME_AGENT_HOST)
    if host is not None:
        return lower(host.get(DESTINATION_HOST))
    value = info.get(HOME_AGENT_ADDRESS) or b""
    if (value[:2], len(value)) in ((b"\0\1", 6), (b"\0\2", 18)):
        return str(ip_address(value[2:]))
    return ""


def lower(value: bytes | None) -> str:
    """A name as it is compared."""
    return "" if value is None else value.decode("ascii", "replace").lower()


def digits(value: bytes | None) -> str:
    """An IMSI; "" for what is none."""
    return value.decode() if value is not None and value.isdigit() and len(value) <= 15 else ""
