"""The requests of the Diameter load generator as whole messages, with placeholders where each differs from the last.

    python -m bench.diameter_requests build/bench/diameter.templates [--service-context]

What Open5GS's SMF and MME send, in their order; reports and quota are of one rating group.
--service-context: Gx requests bear one, because freeDiameter's dictionary takes no Credit-Control-Request without.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from aaa.dictionary.diameter import Value, load
from native import diameter

REALM = "bench.example"
SERVER = "server.bench.example"
CLIENT = f"gen000.{REALM}"
SESSION = f"{CLIENT};RRRRRRRR;SSSSSSSS"
IMSI, MSISDN = "999990000000000", "88888000000"
ADDRESS = "250.206.176.12"
NUMBER = 0xC0FFEE01
OCTETS = 1_000
"""What a report says of each direction."""
APPLICATIONS = ("Gx", "Gy", "S6a")
REQUEST = diameter.FLAG_REQUEST | diameter.FLAG_PROXIABLE

Pairs = Sequence[tuple[str, Value]]

ORIGIN: Pairs = [("Origin-Host", CLIENT), ("Origin-Realm", REALM), ("Destination-Realm", REALM)]
SUBSCRIPTIONS: Pairs = [
    ("Subscription-Id", [("Subscription-Id-Type", "END_USER_IMSI"), ("Subscription-Id-Data", IMSI)]),
    ("Subscription-Id", [("Subscription-Id-Type", "END_USER_E164"), ("Subscription-Id-Data", MSISDN)]),
]
LOCATION = bytes.fromhex("8200f110000100f11000000101")
CHARGING_ID = bytes.fromhex("00000001")


def credit(application: int, kind: int, number: int) -> Pairs:
    return [("Auth-Application-Id", application), ("CC-Request-Type", kind), ("CC-Request-Number", number)]


def gx_initial(application: int) -> Pairs:
    arp: Pairs = [("Priority-Level", 8), ("Pre-emption-Capability", 1), ("Pre-emption-Vulnerability", 1)]
    return [
        ("Session-Id", SESSION), *ORIGIN, *credit(application, 1, 0), *SUBSCRIPTIONS,
        ("Supported-Features", [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 0xB)]),
        ("Network-Request-Support", 1),
        ("Framed-IP-Address", ADDRESS),
        ("IP-CAN-Type", 5),
        ("RAT-Type", 1004),
        ("QoS-Information", [("APN-Aggregate-Max-Bitrate-UL", 1_000_000_000),
                             ("APN-Aggregate-Max-Bitrate-DL", 1_000_000_000)]),
        ("Default-EPS-Bearer-QoS", [("QoS-Class-Identifier", 9), ("Allocation-Retention-Priority", arp)]),
        ("3GPP-User-Location-Info", LOCATION),
        ("3GPP-MS-TimeZone", b"\x23\x00"),
        ("3GPP-SGSN-MCC-MNC", "00101"),
        ("AN-GW-Address", "127.0.0.2"),
        ("Called-Station-Id", "internet"),
        ("Online", 0),
        ("Offline", 1),
        ("Access-Network-Charging-Address", "127.0.0.4"),
        ("Access-Network-Charging-Identifier-Gx", [("Access-Network-Charging-Identifier-Value", CHARGING_ID)]),
    ]  # fmt: skip


def gx_terminate(application: int) -> Pairs:
    return [
        ("Session-Id", SESSION), *ORIGIN, *credit(application, 3, NUMBER), ("Destination-Host", SERVER),
        *SUBSCRIPTIONS, ("Called-Station-Id", "internet"),
    ]  # fmt: skip


def gy(application: int, kind: int) -> Pairs:
    services: list[tuple[str, Value]] = []
    if kind != 3:
        services.append(("Requested-Service-Unit", []))
    if kind != 1:
        used: Pairs = [("CC-Time", 10), ("CC-Input-Octets", OCTETS), ("CC-Output-Octets", OCTETS)]
        services.append(("Used-Service-Unit", [("Reporting-Reason", 3 if kind == 2 else 2), *used]))
    services.append(("Rating-Group", 1))
    session: Pairs = [
        ("3GPP-Charging-Id", CHARGING_ID), ("3GPP-PDP-Type", 0), ("PDP-Address", ADDRESS),
        ("SGSN-Address", "127.0.0.2"), ("GGSN-Address", "127.0.0.4"), ("Called-Station-Id", "internet"),
        ("3GPP-Selection-Mode", "0"), ("3GPP-SGSN-MCC-MNC", "00101"), ("3GPP-NSAPI", "\x05"),
        ("3GPP-MS-TimeZone", b"\x23\x00"), ("3GPP-User-Location-Info", LOCATION), ("3GPP-RAT-Type", b"\x06"),
    ]  # fmt: skip
    return [
        ("Session-Id", SESSION), *ORIGIN, ("Auth-Application-Id", application),
        ("Service-Context-Id", "32251@3gpp.org"), ("CC-Request-Type", kind), ("CC-Request-Number", NUMBER),
        *([("Destination-Host", SERVER)] if kind != 1 else []),
        ("Event-Timestamp", 1_795_244_400), *SUBSCRIPTIONS,
        *([("Termination-Cause", 1)] if kind == 3 else []),
        ("Requested-Action", 0), ("AoC-Request-Type", 1), ("Multiple-Services-Indicator", 1),
        ("Multiple-Services-Credit-Control", services),
        ("Service-Information", [("PS-Information", session)]),
    ]  # fmt: skip


def s6a(application: int, update: bool) -> Pairs:
    which = ("Vendor-Specific-Application-Id", [("Vendor-Id", 10415), ("Auth-Application-Id", application)])
    head: Pairs = [("Session-Id", SESSION), which, ("Auth-Session-State", 1), *ORIGIN, ("User-Name", IMSI)]
    if not update:
        wanted: Pairs = [("Number-Of-Requested-Vectors", 1), ("Immediate-Response-Preferred", 1)]
        return [*head, ("Requested-EUTRAN-Authentication-Info", wanted), ("Visited-PLMN-Id", "001-01")]
    return [
        *head,
        ("Terminal-Information", [("IMEI", "35609204079301"), ("Software-Version", "00")]),
        ("RAT-Type", 1004),
        ("ULR-Flags", 34),
        ("Visited-PLMN-Id", "001-01"),
        ("UE-SRVCC-Capability", 0),
        ("SMS-Register-Request", 1),
    ]


def messages(service_context: bool = False) -> Iterator[bytes]:
    """A CER, then every request of a life in its order; a message names its application and command itself."""
    dictionary = load()
    numbers = {name: dictionary.applications[name] for name in APPLICATIONS}
    capabilities: list[tuple[str, Value]] = [
        ("Origin-Host", CLIENT), ("Origin-Realm", REALM), ("Host-IP-Address", "127.0.0.1"), ("Vendor-Id", 0),
        ("Product-Name", "load"), ("Supported-Vendor-Id", 10415), ("Inband-Security-Id", 0),
    ]  # fmt: skip
    for app in numbers.values():
        one: tuple[str, Value] = ("Auth-Application-Id", app.number)
        capabilities.append(("Vendor-Specific-Application-Id", [one, ("Vendor-Id", app.vendor)]) if app.vendor else one)
    yield diameter.message(diameter.FLAG_REQUEST, 257, 0, 0, 0, dictionary.encode_all(capabilities))
    context: Pairs = [("Service-Context-Id", "gx@3gpp.org")] if service_context else []
    gx, charging, mobility = (numbers[name].number for name in APPLICATIONS)
    for command, application, pairs in (
        (272, gx, [*gx_initial(gx), *context]),
        (272, gx, [*gx_terminate(gx), *context]),
        *((272, charging, gy(charging, kind)) for kind in (1, 2, 3)),
        (318, mobility, s6a(mobility, False)),
        (316, mobility, s6a(mobility, True)),
    ):
        yield diameter.message(REQUEST, command, application, 0, 0, dictionary.encode_all(pairs))


def main() -> None:
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"".join(messages("--service-context" in sys.argv[2:])))


if __name__ == "__main__":
    main()
