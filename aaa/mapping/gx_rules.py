"""A decision as Gx tells it (TS 29.212): charging rules, bearer QoS, usage monitoring; and what differs between two.

Rendered once for each decision, kind of client and APN. A rule is known by its name and by a hash of what was sent, so
that a change tells what is new or changed and takes back what is gone. Knows no session's usage and no socket.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from typing import Final, NamedTuple

from msgspec import Struct

from aaa.limits import GX_PARTS_COUNT_MAX
from aaa.mapping.peer_families import PeerFamily
from aaa.model.records import BOTH, DOWN, DecisionRecord
from native import diameter
from policy.model import Arp, ChargingRule, Decision, Flow, Qos, Rate, qos_of

V: Final = 10415
"""3GPP."""
CHARGING_RULE_INSTALL, CHARGING_RULE_REMOVE, CHARGING_RULE_DEFINITION = 1001, 1002, 1003
CHARGING_RULE_BASE_NAME, CHARGING_RULE_NAME = 1004, 1005
EVENT_TRIGGER, METERING_METHOD, OFFLINE, ONLINE, PRECEDENCE, REPORTING_LEVEL = 1006, 1007, 1008, 1009, 1010, 1011
QOS_INFORMATION, QOS_CLASS_IDENTIFIER, DEFAULT_EPS_BEARER_QOS = 1016, 1028, 1049
GUARANTEED_BITRATE_DL, GUARANTEED_BITRATE_UL = 1025, 1026
EXTENDED_GBR_DL, EXTENDED_GBR_UL = 2850, 2851
ALLOCATION_RETENTION_PRIORITY, PRIORITY_LEVEL = 1034, 1046
PRE_EMPTION_CAPABILITY, PRE_EMPTION_VULNERABILITY = 1047, 1048
APN_AMBR_DL, APN_AMBR_UL, EXTENDED_APN_AMBR_DL, EXTENDED_APN_AMBR_UL = 1040, 1041, 2848, 2849
REVALIDATION_TIME: Final = 1042
FLOW_INFORMATION, FLOW_DIRECTION, FLOW_DESCRIPTION, FLOW_STATUS = 1058, 1080, 507, 511
MAX_BANDWIDTH_DL, MAX_BANDWIDTH_UL, EXTENDED_MAX_DL, EXTENDED_MAX_UL = 515, 516, 554, 555
MONITORING_KEY, USAGE_MONITORING_INFORMATION, USAGE_MONITORING_LEVEL = 1066, 1067, 1068
USAGE_MONITORING_SUPPORT: Final = 1070
RATING_GROUP, SERVICE_IDENTIFIER, GRANTED_SERVICE_UNIT = 432, 439, 431
CC_INPUT_OCTETS, CC_OUTPUT_OCTETS, CC_TOTAL_OCTETS = 412, 414, 421

ENABLED, DISABLED = 2, 3
"""Flow-Status."""
DIRECTIONS: Final = {"down": (1,), "up": (2,), "both": (1, 2)}
"""Flow-Direction; both are told one by one, because not every SMF takes 3."""
VOLUME: Final = 1
SERVICE_IDENTIFIER_LEVEL, RATING_GROUP_LEVEL = 0, 1
SESSION_LEVEL, PCC_RULE_LEVEL = 0, 1
QUOTA_KEY: Final = b"quota"
"""Monitoring-Key of what the balance pays."""
DEFAULT_RULE: Final = "default"
"""Name of the rule for all traffic, of a plan without rules."""
EVERYTHING: Final = (Flow("permit out ip from any to assigned"),)
WORD_MAX: Final = 0xFFFFFFFF
NTP: Final = 2_208_988_800
"""Seconds from 1900 to 1970: Time AVPs count from there, and wrap."""


class Rule(NamedTuple):
    """One rule as sent."""

    avp: bytes
    """Charging-Rule-Definition, -Name or -Base-Name."""
    mark: int
    """31 bits of its hash, and in the lowest bit whether it is a base name."""
    lean: bytes
    """The same without Rating-Group and Service-Identifier; b"": it has none."""
    lean_mark: int


class Profile:
    """What a decision is to one kind of client and one APN."""

    def __init__(self, rules: dict[str, Rule], qos: bytes, default_qos: bytes, level: int) -> None:
        self.rules = rules
        self.marks = {name: rule.mark for name, rule in rules.items()}
        """As GxFacts.rules; shared by all sessions, never changed."""
        self.qos = qos
        """QoS-Information; b"": nothing is told of the APN's rate."""
        self.default_qos = default_qos
        self.level = level
        """Usage-Monitoring-Level."""
        self.whole = install(rule.avp for rule in rules.values()) + qos + default_qos
        """All of it, for a client that knows nothing yet."""
        self.ambr: tuple[int, int] = (0, 0)
        """Down and up, bit/s, for receipts."""


class Delta(Struct, frozen=True, gc=False):
    """What brings a session from what it was told to a profile."""

    avps: bytes = b""
    marks: dict[str, int] = {}
    """GxFacts.rules when it is in force."""
    aspects: tuple[str, ...] = ()
    """What differs, for the receipt; empty: nothing does."""
    shown: tuple[tuple[str, str], ...] = ()


def profile_of(
    record: DecisionRecord, key: str, family: PeerFamily, garden_rule: str, apn: str, online: bool
) -> Profile | None:
    """The decision as it is told to a client; None: its APN is not subscribed.

    key: names family, garden_rule and online, under which it is kept with the decision.
    """
    kept = record.rendered.get(key)
    if kept is None:
        kept = record.rendered[key] = {}
    assert isinstance(kept, dict)
    profile: Profile | None = kept.get(apn)
    if profile is None:
        qos = qos_of(record.body, apn)
        if qos is not None:
            profile = kept[apn] = render(record.body, qos, family, garden_rule, online)
    return profile


def render(decision: Decision, qos: Qos, family: PeerFamily, garden_rule: str, online: bool) -> Profile:
    """A decision and the bearer parameters of one of its APNs. online: the plan is charged by Gy."""
    wanted: tuple[ChargingRule, ...] = qos.rules
    if decision.walled_garden and garden_rule and family.rule_names:
        wanted = (ChargingRule(garden_rule, "predefined"),)
    elif not wanted:
        wanted = (ChargingRule(DEFAULT_RULE),)
    level = PCC_RULE_LEVEL if any(rule.free for rule in wanted) else SESSION_LEVEL
    rules = {}
    for rule in wanted:
        if rule.kind == "dynamic":
            if rule.flows or family.whole_rules:
                rules[rule.name] = dynamic_rule(rule, qos, family, online, level)
        elif family.rule_names:
            is_base = rule.kind == "base"
            avp = name_avp(rule.name, is_base)
            rules[rule.name] = Rule(avp, mark_of(avp, is_base), b"", 0)
    down, up = ambr_of(decision.rate, qos.apn_ambr)
    members = rates(down, up, APN_AMBR_DL, APN_AMBR_UL, EXTENDED_APN_AMBR_DL, EXTENDED_APN_AMBR_UL, False)
    information = diameter.grouped_avp(QOS_INFORMATION, members, V) if members else b""
    default = diameter.grouped_avp(DEFAULT_EPS_BEARER_QOS, [qci_avp(qos.qci), arp_avp(qos.arp)], V, False)
    profile = Profile(rules, information, default, level)
    profile.ambr = (down, up)
    return profile


def dynamic_rule(rule: ChargingRule, qos: Qos, family: PeerFamily, online: bool, level: int) -> Rule:
    """A Charging-Rule-Definition (§5.3.4)."""
    charged = online if rule.online is None else rule.online
    charging = []
    if family.rating_groups and rule.service_identifier is not None:
        charging.append(diameter.unsigned32_avp(SERVICE_IDENTIFIER, rule.service_identifier))
    if family.rating_groups and rule.rating_group is not None:
        charging.append(diameter.unsigned32_avp(RATING_GROUP, rule.rating_group))
    head = [diameter.avp(CHARGING_RULE_NAME, rule.name.encode(), V)]
    tail = [flow for each in rule.flows or EVERYTHING for flow in flow_avps(each)]
    status = ENABLED if rule.gate == "open" else DISABLED
    tail.append(diameter.integer32_avp(FLOW_STATUS, status, V))
    members = [qci_avp(rule.qci or qos.qci)]
    if rule.max_rate is not None:
        down, up = rule.max_rate.down_bps, rule.max_rate.up_bps
        members += rates(down, up, MAX_BANDWIDTH_DL, MAX_BANDWIDTH_UL, EXTENDED_MAX_DL, EXTENDED_MAX_UL, True)
    if rule.guaranteed_rate is not None:
        down, up = rule.guaranteed_rate.down_bps, rule.guaranteed_rate.up_bps
        members += rates(down, up, GUARANTEED_BITRATE_DL, GUARANTEED_BITRATE_UL, EXTENDED_GBR_DL, EXTENDED_GBR_UL, True)
    members.append(arp_avp(rule.arp or qos.arp))
    tail.append(diameter.grouped_avp(QOS_INFORMATION, members, V))
    if charging:
        reporting = RATING_GROUP_LEVEL if rule.service_identifier is None else SERVICE_IDENTIFIER_LEVEL
        charging.append(diameter.integer32_avp(REPORTING_LEVEL, reporting, V))
    tail.append(diameter.integer32_avp(ONLINE, int(charged), V))
    if rule.offline is not None:
        tail.append(diameter.integer32_avp(OFFLINE, int(rule.offline), V))
    if charged:
        tail.append(diameter.integer32_avp(METERING_METHOD, VOLUME, V))
    tail.append(diameter.unsigned32_avp(PRECEDENCE, rule.precedence, V))
    if level == PCC_RULE_LEVEL and not rule.free and family.usage_monitoring:
        tail.append(diameter.avp(MONITORING_KEY, QUOTA_KEY, V, False))
    avp = diameter.grouped_avp(CHARGING_RULE_DEFINITION, [*head, *charging, *tail], V)
    if not charging:
        return Rule(avp, mark_of(avp, False), b"", 0)
    lean = diameter.grouped_avp(CHARGING_RULE_DEFINITION, [*head, *tail], V)
    return Rule(avp, mark_of(avp, False), lean, mark_of(lean, False))


def mark_of(avp: bytes, is_base: bool) -> int:
    return int.from_bytes(blake2b(avp, digest_size=4).digest(), "big") & ~1 | int(is_base)


def name_avp(name: str, is_base: bool) -> bytes:
    """What names a rule that the client has, in an install and in a remove."""
    return diameter.avp(CHARGING_RULE_BASE_NAME if is_base else CHARGING_RULE_NAME, name.encode(), V)


def flow_avps(flow: Flow) -> list[bytes]:
    """Flow-Information for each direction (§5.3.53)."""
    description = diameter.avp(FLOW_DESCRIPTION, flow.description.encode(), V)
    return [
        diameter.grouped_avp(
            FLOW_INFORMATION, [description, diameter.integer32_avp(FLOW_DIRECTION, direction, V, False)], V, False
        )
        for direction in DIRECTIONS[flow.direction]
    ]


def qci_avp(qci: int) -> bytes:
    return diameter.integer32_avp(QOS_CLASS_IDENTIFIER, qci, V)


def arp_avp(arp: Arp) -> bytes:
    """Allocation-Retention-Priority (§5.3.32); of the two flags 0 is yes."""
    members = [
        diameter.unsigned32_avp(PRIORITY_LEVEL, arp.priority, V, False),
        diameter.integer32_avp(PRE_EMPTION_CAPABILITY, int(not arp.preempt), V, False),
        diameter.integer32_avp(PRE_EMPTION_VULNERABILITY, int(not arp.preemptable), V, False),
    ]
    return diameter.grouped_avp(ALLOCATION_RETENTION_PRIORITY, members, V, False)


def ambr_of(rate: Rate | None, ambr: Rate | None) -> tuple[int, int]:
    """Down and up in bit/s: the lower of both; 0: none is told."""
    rates_told = [one for one in (rate, ambr) if one is not None]
    down = min((one.down_bps for one in rates_told if one.down_bps), default=0)
    up = min((one.up_bps for one in rates_told if one.up_bps), default=0)
    return down, up


def rates(
    down: int, up: int, down_code: int, up_code: int, long_down: int, long_up: int, mandatory: bool
) -> list[bytes]:
    """A pair of rates in bit/s; what does not fit into 32 bits stands in an AVP of its own too, in kbit/s."""
    found = []
    for bps, code in ((up, up_code), (down, down_code)):
        if bps:
            found.append(diameter.unsigned32_avp(code, min(bps, WORD_MAX), V, mandatory))
    for bps, code in ((up, long_up), (down, long_down)):
        if bps > WORD_MAX:
            found.append(diameter.unsigned32_avp(code, min(bps // 1000, WORD_MAX), V, False))
    return found


def install(avps: Iterable[bytes]) -> bytes:
    """Charging-Rule-Install; b"" for no rule."""
    members = list(avps)
    return diameter.grouped_avp(CHARGING_RULE_INSTALL, members, V) if members else b""


@lru_cache(GX_PARTS_COUNT_MAX)
def monitoring(octets: int, counts: int, level: int) -> bytes:
    """Usage-Monitoring-Information that asks for a report after so many octets. counts: which ones."""
    code = CC_TOTAL_OCTETS if counts == BOTH else CC_OUTPUT_OCTETS if counts == DOWN else CC_INPUT_OCTETS
    unit = diameter.grouped_avp(GRANTED_SERVICE_UNIT, [diameter.unsigned64_avp(code, octets)])
    return monitoring_avp(unit, level)


def no_monitoring(level: int) -> bytes:
    """Usage-Monitoring-Information that ends it."""
    return monitoring_avp(diameter.integer32_avp(USAGE_MONITORING_SUPPORT, 0, V, False), level)


def monitoring_avp(member: bytes, level: int) -> bytes:
    members = [
        diameter.avp(MONITORING_KEY, QUOTA_KEY, V, False),
        member,
        diameter.integer32_avp(USAGE_MONITORING_LEVEL, level, V, False),
    ]
    return diameter.grouped_avp(USAGE_MONITORING_INFORMATION, members, V, False)


@lru_cache(GX_PARTS_COUNT_MAX)
def revalidation(at: int) -> bytes:
    """Revalidation-Time. at: epoch seconds."""
    return diameter.unsigned32_avp(REVALIDATION_TIME, (at + NTP) & WORD_MAX, V)


UNLIMITED: Final = diameter.grouped_avp(
    QOS_INFORMATION,
    rates(WORD_MAX, WORD_MAX, APN_AMBR_DL, APN_AMBR_UL, EXTENDED_APN_AMBR_DL, EXTENDED_APN_AMBR_UL, False),
    V,
)
"""For an APN that had a rate and has none any more: what was told cannot be taken back."""


def compare(marks: dict[str, int], failed: dict[str, int], before: Profile | None, after: Profile) -> Delta:
    """From what a session was told to a profile. marks, failed: GxFacts.rules and .failed. before: the profile of what
    it runs under; None: that is not known, so all that stands in `after` is told."""
    told = {}
    installed = []
    names = []
    for name, rule in after.rules.items():
        mark = marks.get(name)
        if rule.lean and mark == rule.lean_mark:
            # It takes the rule without its rating group only.
            told[name] = rule.lean_mark
            if before is None and name not in failed:
                installed.append(rule.lean)
                names.append(name)
            continue
        told[name] = rule.mark
        if mark != rule.mark or (before is None and name not in failed):
            installed.append(rule.avp)
            names.append(name)
    gone = [name for name in marks if name not in after.rules]
    removed = [name_avp(name, bool(marks[name] & 1)) for name in gone if name not in failed]
    aspects = []
    shown = []
    parts = []
    if removed:
        parts.append(diameter.grouped_avp(CHARGING_RULE_REMOVE, removed, V))
        shown.append(("Charging-Rule-Remove", ", ".join(name for name in gone if name not in failed)))
    if installed:
        parts.append(install(installed))
        shown.append(("Charging-Rule-Install", ", ".join(names)))
    if removed or installed:
        aspects.append("rules")
    if after.default_qos and (before is None or before.default_qos != after.default_qos):
        parts.append(after.default_qos)
        aspects.append("qos")
    if before is None or before.qos != after.qos:
        parts.append(after.qos or UNLIMITED)
        aspects.insert(0, "rate")
        down, up = after.ambr
        shown += [("APN-Aggregate-Max-Bitrate-DL", str(down)), ("APN-Aggregate-Max-Bitrate-UL", str(up))]
    if not aspects and gone:
        # All that is gone had failed: nothing is sent, and nothing is in force.
        return Delta(b"", told)
    return Delta(b"".join(parts), told, tuple(aspects), tuple(shown))
