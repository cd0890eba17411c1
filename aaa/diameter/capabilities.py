"""Capabilities exchange (RFC 6733 §5.3): what CER and CEA say, and whether it is enough. Knows no connection."""

from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from aaa.diameter import codes
from aaa.diameter.codes import InbandSecurity, ResultCode
from aaa.diameter.settings import Local, Remote
from aaa.dictionary.diameter import Application
from native import diameter
from native.diameter import Avps, Message


class Refusal(NamedTuple):
    """Why a message is answered with no."""

    result: ResultCode | int
    text: str = ""
    """For Error-Message; names nothing that the other side does not know."""
    failed: bytes = b""
    """Content of Failed-AVP."""
    detail: str = ""
    """For our own log: which of the reasons that `text` stands for."""


class Capabilities(NamedTuple):
    """What both sides agreed on."""

    applications: frozenset[int]
    """Ours that the peer may use, by number."""
    relay: bool
    """The peer takes requests of any application."""
    tls: bool
    """TLS begins after the exchange."""
    origin_state_id: int | None
    product_name: str
    firmware_revision: int | None


def advertised(message: Avps) -> frozenset[int]:
    """Application numbers of a CER or CEA; members of Vendor-Specific-Application-Id in either order."""
    found = {
        int.from_bytes(value, "big")
        for code in (codes.AUTH_APPLICATION_ID, codes.ACCT_APPLICATION_ID)
        for value in message.get_all(code)
    }
    for group in message.get_groups(codes.VENDOR_SPECIFIC_APPLICATION_ID):
        for code in (codes.AUTH_APPLICATION_ID, codes.ACCT_APPLICATION_ID):
            number = group.get_unsigned32(code)
            if number is not None:
                found.add(number)
    return frozenset(found)


def offered(local: Local, remote: Remote) -> tuple[Application, ...]:
    """What we advertise to a peer: what is served here and this peer may use."""
    allowed = remote.applications
    return tuple(app for app in local.applications if allowed is None or app.number in allowed)


def agree(
    local: Local, remote: Remote, message: Message, secure: bool, asked: InbandSecurity
) -> Capabilities | Refusal:
    """Judge a CER (asked: NO_INBAND_SECURITY) or a CEA (asked: what our CER asked for).

    secure: the connection has TLS already.
    """
    host = identity(message, codes.ORIGIN_HOST)
    realm = identity(message, codes.ORIGIN_REALM)
    if host != remote.origin_host.lower():
        return stranger(f"it calls itself {host[:64]!r}")
    if remote.origin_realm and realm != remote.origin_realm.lower():
        return stranger(f"its realm is {realm[:64]!r}, not {remote.origin_realm!r}")
    theirs = advertised(message)
    ours = frozenset(app.number for app in offered(local, remote))
    relay = codes.RELAY in theirs
    common = ours if relay else ours & theirs
    if not common and not relay and not (local.relay and theirs):
        return Refusal(ResultCode.NO_COMMON_APPLICATION, "no common application")
    security = {int.from_bytes(value, "big") for value in message.get_all(codes.INBAND_SECURITY_ID)} or {0}
    tls = False
    if not secure:
        tls = (
            asked is InbandSecurity.TLS
            or remote.security == "inband"
            or InbandSecurity.NO_INBAND_SECURITY not in security
        )
        if remote.security == "tls":
            return Refusal(ResultCode.NO_COMMON_SECURITY, "TLS is required")
        if tls and (InbandSecurity.TLS not in security or not local.inband_tls):
            return Refusal(ResultCode.NO_COMMON_SECURITY, "no common security")
    return Capabilities(
        applications=common,
        relay=relay,
        tls=tls,
        origin_state_id=message.get_unsigned32(codes.ORIGIN_STATE_ID),
        product_name=(message.get(codes.PRODUCT_NAME) or b"").decode("utf-8", "replace"),
        firmware_revision=message.get_unsigned32(codes.FIRMWARE_REVISION),
    )


def stranger(detail: str) -> Refusal:
    """Who it takes itself for is not told why it is nobody here; our log is."""
    return Refusal(ResultCode.UNKNOWN_PEER, "no such peer", detail=detail)


def identity(message: Avps, code: int) -> str:
    """A DiameterIdentity as it is compared: ASCII, in lower case; empty where there is none."""
    return (message.get(code) or b"").decode("ascii", "replace").lower()


def capability_avps(
    local: Local, remote: Remote | None, addresses: Iterable[str], security: InbandSecurity
) -> list[bytes]:
    """The AVPs of a CER, and of a CEA after its Result-Code. remote: None for a stranger, who learns no application."""
    avps = [
        diameter.avp(codes.ORIGIN_HOST, local.origin_host.encode()),
        diameter.avp(codes.ORIGIN_REALM, local.origin_realm.encode()),
        *(diameter.avp(codes.HOST_IP_ADDRESS, packed(address)) for address in local.addresses or addresses),
        diameter.unsigned32_avp(codes.VENDOR_ID, local.vendor_id),
        diameter.avp(codes.PRODUCT_NAME, local.product_name.encode(), 0, False),
        diameter.unsigned32_avp(codes.ORIGIN_STATE_ID, local.origin_state_id),
    ]
    if remote is None:
        return avps
    applications = offered(local, remote)
    vendors = dict.fromkeys(app.vendor for app in applications if app.vendor)
    avps += [diameter.unsigned32_avp(codes.SUPPORTED_VENDOR_ID, vendor) for vendor in vendors]
    avps += [diameter.unsigned32_avp(codes.AUTH_APPLICATION_ID, app.number) for app in applications if not app.vendor]
    if local.relay:
        avps.append(diameter.unsigned32_avp(codes.AUTH_APPLICATION_ID, codes.RELAY))
    avps.append(diameter.unsigned32_avp(codes.INBAND_SECURITY_ID, security))
    for app in applications:
        if app.vendor:
            members = [
                diameter.unsigned32_avp(codes.VENDOR_ID, app.vendor),
                diameter.unsigned32_avp(codes.AUTH_APPLICATION_ID, app.number),
            ]
            avps.append(diameter.grouped_avp(codes.VENDOR_SPECIFIC_APPLICATION_ID, members))
    avps.append(diameter.unsigned32_avp(codes.FIRMWARE_REVISION, local.firmware_revision, 0, False))
    return avps


def packed(address: str) -> bytes:
    """The value of an Address AVP (RFC 6733 §4.3.1)."""
    ip = ip_address(address)
    return (b"\0\1" if ip.version == 4 else b"\0\2") + ip.packed


def explained(refusal: Refusal) -> list[bytes]:
    """Error-Message and Failed-AVP."""
    avps = []
    if refusal.text:
        avps.append(diameter.avp(codes.ERROR_MESSAGE, refusal.text.encode(), 0, False))
    if refusal.failed:
        avps.append(diameter.grouped_avp(codes.FAILED_AVP, [refusal.failed]))
    return avps
