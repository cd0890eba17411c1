"""Accounting-Request to a neutral record. Bilingual, decides nothing. Compiled: every report passes through it."""

from __future__ import annotations

from aaa.mapping.mobile import apn_of
from aaa.model.accounting import AccountingRecord
from aaa.model.mobile import Mobile
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
VENDOR_3GPP = 10415
IMSI_3GPP = 1
"""3GPP-IMSI (TS 29.061 §16.4.7.2)."""
IMSI_DIGITS_MAX = 15
CISCO = 9
CISCO_SERVICE_INFO = 251

INTEGER_MAX = 0xFFFFFFFF
GIGAWORDS_MAX = 1 << 29
"""Above any counter that is taken for one; two of them, IPv4's and IPv6's, still make a signed number of 64 bits."""
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
        status = integer(packet, ACCT_STATUS_TYPE)
        key = packet.get(ACCT_SESSION_ID)
        record = AccountingRecord(
            nas,
            status if 0 <= status <= 0xFFFF else 0,
            b"" if key is None else key,
            self.event_time(packet, nas, at),
            at,
        )
        name = packet.get(USER_NAME)
        if name is not None:
            record.user_name = name
        record.session_time_s = integer(packet, ACCT_SESSION_TIME)
        self.read_octets(packet, record, nas)
        if packet.has(ACCT_TERMINATE_CAUSE):
            record.terminate_cause = max(integer(packet, ACCT_TERMINATE_CAUSE), 0) & 0x7FFFFFFF
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
        delay = integer(packet, ACCT_DELAY_TIME)
        if packet.has(EVENT_TIMESTAMP) and nas.trust_event_time:
            stamp = integer(packet, EVENT_TIMESTAMP)
            if at - EVENT_AGE_MAX_S < stamp < at + EVENT_AHEAD_MAX_S:
                return min(float(stamp), at)
        if 0 < delay <= DELAY_MAX_S:
            return at - delay
        return at

    def read_octets(self, packet: Packet, record: AccountingRecord, nas: NasRecord) -> None:
        """Counters with their Gigawords (RFC 2869 §5.1), and what a vendor counts apart; input is from the subscriber
        unless the NAS has it swapped."""
        received = integer(packet, ACCT_INPUT_OCTETS)
        sent = integer(packet, ACCT_OUTPUT_OCTETS)
        if packet.has(ACCT_INPUT_GIGAWORDS) or packet.has(ACCT_OUTPUT_GIGAWORDS):
            record.wide = True
            if received >= 0:
                received += gigawords(integer(packet, ACCT_INPUT_GIGAWORDS))
            if sent >= 0:
                sent += gigawords(integer(packet, ACCT_OUTPUT_GIGAWORDS))
        if nas.family == "huawei" and packet.has(VENDOR_SPECIFIC):
            apart = [vendor_integer(packet, HUAWEI, number) for number in HUAWEI_IPV6]
            if received >= 0:
                received += apart[0] + gigawords(apart[2])
            if sent >= 0:
                sent += apart[1] + gigawords(apart[3])
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
            record.token_session, record.token_service, record.token_decision = numbers

    def read_vendor(self, packet: Packet, record: AccountingRecord) -> None:
        """Line ids, services inside a session, and the IMSI of a bearer."""
        imsi = packet.get_vendor(VENDOR_3GPP, IMSI_3GPP)
        if imsi is not None:
            # Some gateways end it with a zero octet.
            imsi = imsi.rstrip(b"\0")
            if imsi.isdigit() and len(imsi) <= IMSI_DIGITS_MAX:
                record.mobile = Mobile(imsi=imsi.decode(), apn=apn_of(record.called_station or b""))
        record.circuit_id = packet.get_vendor(ADSL_FORUM, AGENT_CIRCUIT_ID)
        record.remote_id = packet.get_vendor(ADSL_FORUM, AGENT_REMOTE_ID)
        family = record.nas.family
        if family == "juniper":
            record.service_session = packet.get_vendor(ERX, ERX_SERVICE_SESSION) is not None
        elif family == "cisco":
            service = packet.get_vendor(CISCO, CISCO_SERVICE_INFO)
            record.service_session = service is not None and service[:1] == b"N"


def prefix(value: bytes | None) -> bytes | None:
    """Length octet and 16 octets of an IPv6 prefix attribute; NASes send only the octets that are needed."""
    if value is None or not 2 <= len(value) <= 18 or value[1] > 128:
        return None
    return value[1:] + bytes(18 - len(value))


def integer(packet: Packet, number: int) -> int:
    """The attribute's number; -1 where it is absent, or more than its 32 bits hold."""
    value = packet.get_integer(number)
    return value if value is not None and value <= INTEGER_MAX else -1


def vendor_integer(packet: Packet, vendor: int, number: int) -> int:
    """The same of a vendor's attribute; 0 where there is none."""
    value = packet.get_vendor_integer(vendor, number)
    return value if value is not None and value <= INTEGER_MAX else 0


def gigawords(count: int) -> int:
    """Octets of a Gigawords attribute."""
    return min(max(count, 0), GIGAWORDS_MAX) << 32
