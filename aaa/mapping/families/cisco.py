"""Cisco IOS and IOS-XE (vendor 9): per-user rate-limit, policy maps by name, or ISG services.

Source: IOS ISG RADIUS interface guide; committed access rate guide for the bucket sizes.
"""

from collections.abc import Iterable

from aaa.mapping.families.options import RenderOptions, fill
from aaa.mapping.families.table import Capabilities, Family, Line, Live, Speeds, Step, burst_bits, opened_by_filter

AVPAIR = "Cisco-AVPair"
NORMAL_BURST_MIN_OCTETS = 8000
"""Below it one full-sized packet or two use up the bucket."""


def police(direction: str, bps: int, burst: int, threshold: int, seconds: int) -> str:
    """Committed access rate: bit/s, normal and extended burst in octets (1.5 s of the rate, and twice that)."""
    normal = max(bps * 3 // 16, NORMAL_BURST_MIN_OCTETS)
    extended = normal + max(normal, burst_bits(bps, burst, threshold, seconds) // 8)
    return f"rate-limit {direction} {bps} {normal} {extended} conform-action transmit exceed-action drop"


def rate(speed: Speeds, options: RenderOptions, style: str) -> Iterable[Line]:
    if style == "service":
        yield Line("Cisco-Account-Info", "A" + fill(options.service, speed.down, speed.up))
        return
    if speed.up:
        if style == "rate-limit":
            text = police("input", speed.up, speed.burst_up, speed.threshold_up, speed.seconds)
            yield Line(AVPAIR, "lcp:interface-config#1=" + text)
        elif options.policy_up:
            yield Line(AVPAIR, "ip:sub-qos-policy-in=" + fill(options.policy_up, speed.down, speed.up))
    if speed.down:
        if style == "rate-limit":
            text = police("output", speed.down, speed.burst_down, speed.threshold_down, speed.seconds)
            yield Line(AVPAIR, "lcp:interface-config#2=" + text)
        elif options.policy_down:
            yield Line(AVPAIR, "ip:sub-qos-policy-out=" + fill(options.policy_down, speed.down, speed.up))


def garden(options: RenderOptions) -> Iterable[Line]:
    if options.garden_service:
        yield Line("Cisco-Account-Info", "A" + options.garden_service)
    if options.garden_group and options.garden_list:
        yield Line(AVPAIR, f"ip:l4redirect=redirect list {options.garden_list} to group {options.garden_group}")
    if options.garden_url:
        yield Line(AVPAIR, "url-redirect=" + options.garden_url)
        if options.garden_list:
            yield Line(AVPAIR, "url-redirect-acl=" + options.garden_list)
    if options.garden_filter:
        yield Line("Filter-Id", options.garden_filter)


REAUTHENTICATE = (
    Line(AVPAIR, "subscriber:command=reauthenticate"),
    Line(AVPAIR, "subscriber:reauthenticate-type=last"),
)
ACTIVATE, DEACTIVATE = "\x0b", "\x0c"
"""Cisco-Command-Code: service logon and logoff."""


def command(name: str, code: str, line: Line, options: RenderOptions) -> Step | None:
    """Turn the service of an "A" (auto-service) on or off, with the arguments that it was activated with."""
    service = str(line.value)
    if service[:1] != "A":
        return None
    if options.coa_style == "command-code":
        return (Line("Cisco-Command-Code", code + service[1:]),)
    return (Line(AVPAIR, f"subscriber:command={name}"), Line(AVPAIR, f"subscriber:service-name={service[1:]}"))


def activate(line: Line, options: RenderOptions) -> Step | None:
    return command("activate-service", ACTIVATE, line, options)


def deactivate(line: Line, options: RenderOptions) -> Step | None:
    return command("deactivate-service", DEACTIVATE, line, options)


def pair_on(line: Line, options: RenderOptions) -> Step | None:
    """Policy maps and redirections change at once; web authentication is a matter of asking the server again; what is
    written into the interface's configuration is read at login only."""
    text = str(line.value)
    if text.startswith(("ip:sub-qos-policy-", "ip:l4redirect=")):
        return (line,)
    return pair_off(line, options)


def pair_off(line: Line, options: RenderOptions) -> Step | None:
    return REAUTHENTICATE if str(line.value).startswith("url-redirect") else None


def is_command(step: Step) -> bool:
    """Several commands in one CoA are not reliable."""
    return any(line.name == "Cisco-Command-Code" or str(line.value).startswith("subscriber:") for line in step)


FAMILY = Family(
    name="cisco",
    rate=rate,
    garden=garden,
    options=(
        "rate_style",
        "policy_down",
        "policy_up",
        "service",
        "pool_attribute",
        "garden_list",
        "garden_group",
        "garden_url",
        "garden_service",
        "garden_filter",
        "open_filter",
        "coa_style",
    ),
    styles=("rate-limit", "policy", "service"),
    rate_max_bps=(1 << 32) - 1,
    vendor_pool=Line(AVPAIR, "ip:addr-pool={pool}"),
    repeatable=frozenset({AVPAIR, "Cisco-Account-Info"}),
    live=lambda options: {
        AVPAIR: Live(on=pair_on, off=pair_off),
        "Cisco-Account-Info": Live(on=activate, off=deactivate, stands_beside=True),
        "Filter-Id": Live(off=opened_by_filter),
    },
    alone=is_command,
    capabilities=Capabilities(
        port=1700,
        keys=(("Acct-Session-Id",), ("Framed-IP-Address",), ("Calling-Station-Id",), ("Cisco-Account-Info",)),
        session_timeout=True,
    ),
)
