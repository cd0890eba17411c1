"""What several Diameter applications say in the same AVPs: who it is, through which APN, and where.

AVPs of TS 29.061, TS 29.212, TS 29.272 and RFC 8506; texts as aaa.model.mobile has them. Never raises for what a peer
sent: what cannot be read is not told. Compiled.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from aaa.diameter import codes
from aaa.diameter.routing import imsi_of
from native import diameter
from native.diameter import Avps, Message

__all__ = ["apn_of", "called_apn", "imei_of", "imsi_of", "location_of", "msisdn_of", "plmn_of", "plmn_text", "tbcd"]

VENDOR_3GPP: Final = 10415
SUBSCRIPTION_ID, SUBSCRIPTION_ID_TYPE, SUBSCRIPTION_ID_DATA = 443, 450, 444
END_USER_E164: Final = 0
CALLED_STATION_ID: Final = 30
USER_LOCATION_INFO, SGSN_MCC_MNC, IMEISV = 22, 18, 20
USER_EQUIPMENT_INFO, USER_EQUIPMENT_INFO_TYPE, USER_EQUIPMENT_INFO_VALUE = 458, 459, 460
TAI, ECGI, TAI_ECGI = 128, 129, 130
"""Geographic Location Types (TS 29.061 §16.4.7.2)."""
TERMINATION_CAUSE: Final = 295
USER_REQUEST: Final = 1
CAUSES: Final = {1: 1, 2: 15, 3: 9, 4: 6, 5: 2, 6: 5, 7: 2, 8: 5}
"""Termination-Cause (RFC 6733 §8.15) as Acct-Terminate-Cause (RFC 2866 §5.10)."""
SUPPORTED_FEATURES, FEATURE_LIST_ID, FEATURE_LIST = 628, 629, 630
GPRS_SUFFIX: Final = ".gprs"
SWAPPED: Final = bytes(octet >> 4 | octet << 4 & 0xF0 for octet in range(256))
"""Each octet with its halves changed over."""


def msisdn_of(message: Message) -> str:
    """The E.164 number of a request's Subscription-Id, by its type; "" where there is none."""
    for group in message.get_groups(SUBSCRIPTION_ID):
        if group.get_unsigned32(SUBSCRIPTION_ID_TYPE) == END_USER_E164:
            value = group.get(SUBSCRIPTION_ID_DATA) or b""
            return value.decode() if value.isdigit() and len(value) <= 15 else ""
    return ""


def called_apn(message: Avps) -> str:
    """The APN of Called-Station-Id, as aaa.model.mobile has it."""
    return apn_of(message.get(CALLED_STATION_ID) or b"")


def apn_of(value: bytes) -> str:
    """An APN in lower case, without its operator identifier (TS 23.003 §9.1)."""
    text = value.decode("utf-8", "replace").lower()
    if text.endswith(GPRS_SUFFIX):
        head, _, _ = text.partition(".mnc")
        return head
    return text


def plmn_of(message: Avps) -> str:
    """The serving network that 3GPP-SGSN-MCC-MNC names (TS 29.061 §16.4.7.2), else the user location."""
    value = message.get(SGSN_MCC_MNC, VENDOR_3GPP) or b""
    if value.isdigit() and len(value) in (5, 6):
        return value.decode()
    place = message.get(USER_LOCATION_INFO, VENDOR_3GPP) or b""
    return plmn_text(place[1:4]) if len(place) >= 4 else ""


def location_of(message: Avps) -> str:
    """Cell or tracking area of 3GPP-User-Location-Info (TS 29.061 §16.4.7.2, TS 29.274 §8.21)."""
    value = message.get(USER_LOCATION_INFO, VENDOR_3GPP) or b""
    kind = value[0] if value else 0
    if kind == TAI_ECGI and len(value) >= 13:
        value, kind = value[:1] + value[6:], ECGI
    if kind == ECGI and len(value) >= 8:
        return f"ECGI:{plmn_text(value[1:4])}-{value[4:8].hex()}"
    if kind == TAI and len(value) >= 6:
        return f"TAI:{plmn_text(value[1:4])}-{value[4:6].hex()}"
    return ""


def imei_of(message: Avps) -> str:
    """IMEI or IMEISV of User-Equipment-Info (RFC 8506 §8.49: type 0) or 3GPP-IMEISV; digits, "" where there is none."""
    group = message.get_group(USER_EQUIPMENT_INFO)
    value = message.get(IMEISV, VENDOR_3GPP)
    if value is None and group is not None and group.get_unsigned32(USER_EQUIPMENT_INFO_TYPE) == 0:
        value = group.get(USER_EQUIPMENT_INFO_VALUE)
    if not value:
        return ""
    if value.isdigit() and len(value) in (14, 15, 16):
        return value.decode()
    return tbcd(value) if len(value) == 8 else ""


@lru_cache(maxsize=256)
def plmn_text(octets: bytes) -> str:
    """MCC and MNC of the three octets of TS 24.008 §10.5.1.13, as on S6a; "" for what is none."""
    if len(octets) != 3:
        return ""
    one, two, three = octets
    digits = f"{one & 15:x}{one >> 4:x}{two & 15:x}{three & 15:x}{three >> 4:x}"
    if two >> 4 != 15:
        digits += f"{two >> 4:x}"
    return digits if digits.isdigit() else ""


def plmn_octets(text: str) -> bytes:
    """The inverse. text: 5 or 6 digits."""
    third = text[5] if len(text) == 6 else "f"
    return bytes.fromhex(f"{text[1]}{text[0]}{third}{text[2]}{text[4]}{text[3]}")


def tbcd(octets: bytes) -> str:
    """Digits of a TBCD string (TS 29.002): low nibble first, filled with 15; "" for what is none."""
    digits = "".join(f"{octet & 15:x}{octet >> 4:x}" for octet in octets).rstrip("f")
    return digits if digits.isdigit() else ""


def tbcd_octets(digits: str) -> bytes:
    """The inverse."""
    return bytes.fromhex(digits + "f" if len(digits) % 2 else digits).translate(SWAPPED)


def origin_of(message: Message) -> tuple[str, str]:
    """Origin-Host and Origin-Realm, in lower case."""
    host = message.get(codes.ORIGIN_HOST) or b""
    realm = message.get(codes.ORIGIN_REALM) or b""
    return host.decode("ascii", "replace").lower(), realm.decode("ascii", "replace").lower()


def acct_cause_of(message: Message) -> int:
    """Acct-Terminate-Cause of what ends a session; what is not told, or not known, is the user's request."""
    return CAUSES.get(message.get_unsigned32(TERMINATION_CAUSE) or 0, USER_REQUEST)


def features_of(message: Message) -> int | None:
    """Feature-List 1 of 3GPP that a request offers (TS 29.229 §6.3.29); None: it offers none."""
    if not message.has(SUPPORTED_FEATURES, VENDOR_3GPP):
        return None
    for group in message.get_groups(SUPPORTED_FEATURES, VENDOR_3GPP):
        is_ours = group.get_unsigned32(codes.VENDOR_ID) == VENDOR_3GPP
        if is_ours and group.get_unsigned32(FEATURE_LIST_ID, VENDOR_3GPP) == 1:
            return group.get_unsigned32(FEATURE_LIST, VENDOR_3GPP) or 0
    return None


@lru_cache(maxsize=64)
def supported_features(features: int) -> bytes:
    """Supported-Features; never with the M bit in an answer (TS 29.229 §7.2.1)."""
    members = [
        diameter.unsigned32_avp(codes.VENDOR_ID, VENDOR_3GPP),
        diameter.unsigned32_avp(FEATURE_LIST_ID, 1, VENDOR_3GPP, False),
        diameter.unsigned32_avp(FEATURE_LIST, features, VENDOR_3GPP, False),
    ]
    return diameter.grouped_avp(SUPPORTED_FEATURES, members, VENDOR_3GPP, False)
