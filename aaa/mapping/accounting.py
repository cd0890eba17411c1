"""Accounting-Request to a neutral record. Bilingual, decides nothing. Compiled: every report passes through it."""

from __future__ import annotations

from aaa.model.accounting import AccountingRecord
from aaa.model.records import NasRecord
from aaa.radius.admission import Request
from native.radius import Packet
from native.token import TokenKey

USER_NAME = 1
FRAMED_IP_ADDRESS = 8
CLASS = 25
VENDOR_SPECIFIC = 26
CALLED_STATION_ID = 30
CALLING_STATION_ID = 31
ACCT_STATUS_TYPE = 40
ACCT_DELAY_TIME = 41
ACCT_INPUT_OCTETS = 42
ACCT_OUTPUT_OCTETS = 43
ACCT_SESSION_ID = 44
ACCT_SESSION_TIME = 46
ACCT_TERMINATE_CAUSE = 49
ACCT_MULTI_SESSION_ID = 50
ACCT_INPUT_GIGAWORDS = 52
ACCT_OUTPUT_GIGAWORDS = 53
EVENT_TIMESTAMP = 55
NAS_PORT_ID = 87
FRAMED_IPV6_PREFIX = 97
DELEGATED_IPV6_PREFIX = 123
FRAMED_IPV6_ADDRESS = 168

ADSL_FORUM = 3561
AGENT_CIRCUIT_ID = 1
AGENT_REMOTE_ID = 2
ERX = 4874
ERX_SERVICE_SESSION = 83
HUAWEI = 2011
HUAWEI_IPV6 = (144, 145, 148, 149)
"""Input octets, output octets, input gigawords, output gigawords of IPv6, apart from the standard ones."""
CISCO = 9
CISCO_SERVICE_INFO = 251

DELAY_MAX_S = 86_400
EVENT_AGE_MAX_S = 86_400.0
"""An Event-Timestamp further in the past is a clock that is wrong, not a report that is late."""
EVENT_AHEAD_MAX_S = 300.0


class AccountingMapping:
    """Maps one server's accounting."""

    token_key: TokenKey

    def __init__(self, token_key: TokenKey) -> None:
        self.token_key = token_key

    def to_records(self, requests: list[Request], at: float) -> list[AccountingRecord]:
        """One record per request, same order. at: epoch seconds of arrival."""
        return [self.to_record(request, at) for request in requests]

    def to_record(self, request: Request, at: float) -> AccountingRecord:
        packet = request.packet
        nas: NasRecord = request.source.nas
        status = packet.get_integer(ACCT_STATUS_TYPE)
        key = packet.get(ACCT_SESSION_ID)
        record = AccountingRecord(
            nas,
            0 if status is None else status & 0xFFFF,
            b"" if key is None else key,
            self.event_time(packet, nas, at),
            at,
        )
        name = packet.get(USER_NAME)
        if name is not None:
            record.user_name = name
        value = packet.get_integer(ACCT_SESSION_TIME)
        if value is not None:
            record.session_time_s = value
        self.read_octets(packet, record, nas)
        if packet.has(ACCT_TERMINATE_CAUSE):
            record.terminate_cause = (packet.get_integer(ACCT_TERMINATE_CAUSE) or 0) & 0x7FFFFFFF
        record.calling_station = packet.get(CALLING_STATION_ID)
        record.called_station = packet.get(CALLED_STATION_ID)
        record.nas_port_id = packet.get(NAS_PORT_ID)
        record.multi_key = packet.get(ACCT_MULTI_SESSION_ID)
        address = packet.get(FRAMED_IP_ADDRESS)
        if address is not None and len(address) == 4 and address < b"\xff\xff\xff\xfe" and address != b"\0\0\0\0":
            record.framed_ip = address
        if packet.has(FRAMED_IPV6_ADDRESS):
            address = packet.get(FRAMED_IPV6_ADDRESS)
            if address is not None and len(address) == 16:
                record.framed_ipv6 = address
        if packet.has(FRAMED_IPV6_PREFIX):
            record.framed_prefix = prefix(packet.get(FRAMED_IPV6_PREFIX))
        if packet.has(DELEGATED_IPV6_PREFIX):
            record.delegated_prefix = prefix(packet.get(DELEGATED_IPV6_PREFIX))
        if packet.has(CLASS):
            self.read_class(packet, record)
        if packet.has(VENDOR_SPECIFIC):
            self.read_vendor(packet, record)
        return record

    def event_time(self, packet: Packet, nas: NasRecord, at: float) -> float:
        """When it happened: arrival less Acct-Delay-Time, or Event-Timestamp where that is believable."""
        delay = packet.get_integer(ACCT_DELAY_TIME)
        if packet.has(EVENT_TIMESTAMP) and nas.trust_event_time:
            stamp = packet.get_integer(EVENT_TIMESTAMP)
            if stamp is not None and at - EVENT_AGE_MAX_S < stamp < at + EVENT_AHEAD_MAX_S:
                return min(float(stamp), at)
        if delay is not None and 0 < delay <= DELAY_MAX_S:
            return at - delay
        return at

    def read_octets(self, packet: Packet, record: AccountingRecord, nas: NasRecord) -> None:
        """Counters with their Gigawords (RFC 2869 §5.1); input is from the subscriber unless the NAS has it swapped."""
        input_octets = packet.get_integer(ACCT_INPUT_OCTETS)
        output_octets = packet.get_integer(ACCT_OUTPUT_OCTETS)
        received = -1 if input_octets is None else input_octets
        sent = -1 if output_octets is None else output_octets
        if packet.has(ACCT_INPUT_GIGAWORDS) or packet.has(ACCT_OUTPUT_GIGAWORDS):
            record.wide = True
            if received >= 0:
                received += ((packet.get_integer(ACCT_INPUT_GIGAWORDS) or 0) & 0x7FFFFFFF) << 32
            if sent >= 0:
                sent += ((packet.get_integer(ACCT_OUTPUT_GIGAWORDS) or 0) & 0x7FFFFFFF) << 32
        if nas.swap_octets:
            received, sent = sent, received
        record.input_octets = received
        record.output_octets = sent

    def read_class(self, packet: Packet, record: AccountingRecord) -> None:
        """Our own Class among those that came back: some NASes return only the first, some others' too."""
        numbers = self.token_key.open(packet.get(CLASS) or b"")
        if numbers is None:
            for value in packet.get_all(CLASS):
                numbers = self.token_key.open(value)
                if numbers is not None:
                    break
        if numbers is not None:
            record.token_session, record.token_service = numbers[0], numbers[1]

    def read_vendor(self, packet: Packet, record: AccountingRecord) -> None:
        """Line ids, services inside a session, counters that a vendor keeps apart."""
        record.circuit_id = packet.get_vendor(ADSL_FORUM, AGENT_CIRCUIT_ID)
        record.remote_id = packet.get_vendor(ADSL_FORUM, AGENT_REMOTE_ID)
        family = record.nas.family
        if family == "juniper":
            record.service_session = packet.get_vendor(ERX, ERX_SERVICE_SESSION) is not None
        elif family == "cisco":
            service = packet.get_vendor(CISCO, CISCO_SERVICE_INFO)
            record.service_session = service is not None and service[:1] == b"N"
        elif family == "huawei" and record.input_octets >= 0:
            octets = [packet.get_vendor_integer(HUAWEI, number) or 0 for number in HUAWEI_IPV6]
            record.input_octets += octets[0] + (octets[2] << 32)
            record.output_octets += octets[1] + (octets[3] << 32)


def prefix(value: bytes | None) -> bytes | None:
    """Length octet and 16 octets of an IPv6 prefix attribute; NASes send only the octets that are needed."""
    if value is None or not 2 <= len(value) <= 18 or value[1] > 128:
        return None
    return value[1:] + bytes(18 - len(value))
