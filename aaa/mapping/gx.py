"""Gx (TS 29.212): the PCRF of this server. AVPs to the engine's words about bearers and back; knows no socket.

Theory of operation. A CCR becomes a BearerRequest, the engine says what comes of it (aaa/engine/policy_control.py), and
the CCA is put together from what depends on the decision alone (aaa/mapping/gx_rules.py, rendered once) and the little
that belongs to the session. What a session was told is kept with it: charging rules by a hash, event triggers,
Revalidation-Time, the octets after which usage is reported. A CCA-U and a RAR tell the difference to that. A refusal is
a base Result-Code with Error-Message, because an SMF that gets Experimental-Result alone may wait for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from aaa.diameter import codes
from aaa.diameter.answers import refused, result_of
from aaa.diameter.capabilities import Refusal
from aaa.diameter.codes import ResultCode, is_protocol_error
from aaa.diameter.peer import Peer
from aaa.diameter.request import Request
from aaa.engine.decisions import Decisions
from aaa.engine.policy_control import (
    BEGIN,
    END,
    NOT_AUTHORISED,
    OK,
    QUOTA_EXHAUSTED,
    UNKNOWN_SESSION,
    UNKNOWN_SUBSCRIBER,
    UPDATE,
    BearerOutcome,
    BearerRequest,
    PolicyControl,
)
from aaa.limits import DIAMETER_CLIENTS_CACHED_MAX, GX_CACHED_OCTETS_MAX, GX_PLACES_COUNT_MAX
from aaa.mapping import gx_rules
from aaa.mapping.application import Outgoing
from aaa.mapping.gx_rules import Delta, Profile, profile_of
from aaa.mapping.mobile import (
    acct_cause_of,
    apn_of,
    features_of,
    imei_of,
    location_of,
    msisdn_of,
    plmn_of,
    plmn_text,
    supported_features,
)
from aaa.mapping.peer_families import FAMILIES, PeerFamily
from aaa.mapping.settings import Settings
from aaa.model.enforcement import Difference, Reply
from aaa.model.mobile import GxFacts
from aaa.model.records import NEVER, DecisionRecord, NasRecord, SessionRecord
from aaa.state.mobile import client_of
from aaa.state.store import WHOLE, Store
from native import diameter
from native.diameter import Avps, Message

APPLICATION: Final = 16777238
CREDIT_CONTROL = 272
RE_AUTH: Final = 258
V = 10415
"""3GPP."""

SUBSCRIPTION_ID, SUBSCRIPTION_ID_TYPE, SUBSCRIPTION_ID_DATA = 443, 450, 444
END_USER_IMSI = 1
IMSI_DIGITS_MAX = 15
SESSION_ID, ORIGIN_HOST, ORIGIN_REALM = 263, 264, 296
CC_REQUEST_NUMBER, CC_REQUEST_TYPE = 415, 416
FRAMED_IP_ADDRESS, FRAMED_IPV6_PREFIX, CALLED_STATION_ID = 8, 97, 30
NETWORK_REQUEST_SUPPORT, BEARER_CONTROL_MODE = 1024, 1023
RAT_TYPE, SGSN_MCC_MNC, USER_LOCATION_INFO, PDN_CONNECTION_ID = 1032, 18, 22, 1065
EVENT_TRIGGER, CHARGING_RULE_REPORT, PCC_RULE_STATUS, RULE_FAILURE_CODE = 1006, 1018, 1019, 1031
CHARGING_RULE_NAME, CHARGING_RULE_BASE_NAME = 1005, 1004
QOS_INFORMATION, DEFAULT_EPS_BEARER_QOS = 1016, 1049
USAGE_MONITORING_INFORMATION, MONITORING_KEY, USAGE_MONITORING_LEVEL = 1067, 1066, 1068
USED_SERVICE_UNIT, CC_INPUT_OCTETS, CC_OUTPUT_OCTETS, CC_TOTAL_OCTETS = 446, 412, 414, 421
PROXY_INFO = 284
RE_AUTH_REQUEST_TYPE: Final = 285
SESSION_RELEASE_CAUSE: Final = 1045
QUOTA_KEY = gx_rules.QUOTA_KEY
SESSION_LEVEL = gx_rules.SESSION_LEVEL

FEATURES = 0b1011
"""Of list 1 (§5.4.1): Rel8, Rel9, Rel10."""
REL9 = 0b0010
"""Usage monitoring begins with it."""
PLMN_CHANGE, USER_LOCATION_CHANGE, NO_EVENT_TRIGGERS, REVALIDATION_TIMEOUT = 4, 13, 14, 17
AMBR_FAILURE, USAGE_REPORT, DEFAULT_QOS_FAILURE = 29, 33, 34
"""Event-Triggers (§5.3.7)."""
TRIGGERS_OF: Final = {"plmn": PLMN_CHANGE, "location": USER_LOCATION_CHANGE}
"""By the session facts that a policy reads."""
QOS_FAILURES: Final = {
    AMBR_FAILURE: "APN-AMBR", DEFAULT_QOS_FAILURE: "Default-EPS-Bearer-QoS",
}  # fmt: skip
RULE_ACTIVE = 0
RATING_GROUP_ERROR, SERVICE_IDENTIFIER_ERROR = 2, 3
"""Rule-Failure-Codes (§5.3.38) after which a rule is tried without either."""
PCC_BEARER_EVENT, PCC_RULE_EVENT = 4141, 5142
"""Experimental-Result-Codes (§5.5): rules of a RAR are not in force."""
AUTHORIZE_ONLY: Final = 0
UNSPECIFIED_REASON, UE_SUBSCRIPTION_REASON = 0, 1
"""Session-Release-Cause."""
SESSION_GONE, NEVER_TAKEN = 503, 404
"""Error-Causes of the reconciler's own words."""
UNREACHABLE: Final = frozenset({3002, 3003, 3004})
"""The request did not come to the client."""
REFUSED_FOR_GOOD: Final = frozenset({3001, 3007, 3008, 3009})
"""With permanent failures (RFC 6733 §7.1.5): the same request will not be taken later either."""

RESULTS = {
    UNKNOWN_SUBSCRIBER: 5030,
    NOT_AUTHORISED: 5003,
    QUOTA_EXHAUSTED: 4010,
    UNKNOWN_SESSION: 5002,
}
UNKNOWN_SESSION_ID: Final = 5002
SUCCESS = diameter.unsigned32_avp(codes.RESULT_CODE, ResultCode.SUCCESS)
MODES = {
    0: diameter.integer32_avp(BEARER_CONTROL_MODE, 0, V),
    1: diameter.integer32_avp(BEARER_CONTROL_MODE, 2, V),
}
"""Bearer-Control-Mode by Network-Request-Support: UE_ONLY or UE_NW."""
ONLINE = diameter.integer32_avp(gx_rules.ONLINE, 1, V)


class Options:
    """What the configuration says of a client."""

    def __init__(self, family: PeerFamily, garden_rule: str, operator: str, gy: bool) -> None:
        self.family = family
        self.garden_rule = garden_rule
        self.operator = operator
        self.gy = gy
        """It may use Gy here."""
        self.monitors = family.usage_monitoring
        self.keys = (f"gx/{family.name}/{garden_rule}/0", f"gx/{family.name}/{garden_rule}/1")
        """Under which profiles are kept, by whether Gy charges."""


class Client:
    """Who asks: an Origin-Host and the peer that it came over."""

    def __init__(self, nas: NasRecord, options: Options, head: bytes, realm: str, via: str, operator: str) -> None:
        self.nas = nas
        self.options = options
        self.head = head
        """Auth-Application-Id, Origin-Host and Origin-Realm of our answers."""
        self.realm = realm
        self.via = via
        self.operator = operator


class GxOutgoing(Outgoing, frozen=True, gc=False):
    """A RAR, and what the session was told when it is acknowledged."""

    marks: dict[str, int] | None = None
    """None: the RAR is to end the session."""
    monitored: int = 0
    triggers: tuple[int, ...] = ()
    revalidate_at: int = 0
    releases: bool = False
    """Its client ends a session that is told Session-Release-Cause."""


class Gx:
    """Serves PCEFs."""

    number = APPLICATION

    def __init__(self, store: Store, decisions: Decisions, settings: Settings) -> None:
        self.store = store
        self.decisions = decisions
        self.control = PolicyControl(store, decisions)
        self.use(settings)

    def use(self, settings: Settings) -> None:
        """Take new settings; what was rendered for others is not looked at any more."""
        self.settings = settings
        diameter_settings = settings.diameter
        self.control.use(diameter_settings.adopt, diameter_settings.quota_slice, diameter_settings.quota_slice_min)
        self.clients: dict[tuple[Peer, bytes, bytes], Client] = {}
        self.options: dict[tuple[str, str, str], Options] = {}
        self.places: dict[bytes, tuple[str, str]] = {}
        """What 3GPP-User-Location-Info says: PLMN and location."""
        self.apns: dict[bytes, str] = {}
        """Called-Station-Ids as APNs."""
        self.policy: object = None
        """Whose triggers the next are."""
        self.located: tuple[int, ...] = ()
        """Event-Triggers that the policy wants."""
        self.trigger_avps: dict[tuple[int, ...], bytes] = {}

    # Requests

    def receive(self, requests: Sequence[Request], at: float) -> list[bytes]:
        """See aaa.mapping.application."""
        answers = []
        for request in requests:
            answers.append(self.answer(request, at))  # noqa: PERF401 - a comprehension would not be typed for the compiler
        return answers

    def answer(self, request: Request, at: float) -> bytes:
        """One whole answer."""
        message = request.message
        if message.command != CREDIT_CONTROL:
            return refused(request.peer.local, message, Refusal(ResultCode.COMMAND_UNSUPPORTED))
        client = self.client_for(request, message)
        kind = message.get_integer32(CC_REQUEST_TYPE) or 0
        if kind < BEGIN or kind > END:
            failed = message.echo(CC_REQUEST_TYPE)
            return self.refusal(message, client, ResultCode.INVALID_AVP_VALUE, "No such CC-Request-Type on Gx", failed)
        asked = self.to_request(message, client, kind)
        if kind == BEGIN:
            outcome = self.control.begin(asked, at)
        elif kind == UPDATE:
            outcome = self.control.update(asked, at)
        else:
            outcome = self.control.end(asked, at)
        if outcome.verdict != OK:
            return self.refusal(message, client, RESULTS[outcome.verdict], outcome.message, b"")
        parts = [message.echo(SESSION_ID), client.head, SUCCESS, message.echo(CC_REQUEST_TYPE)]
        parts.append(message.echo(CC_REQUEST_NUMBER))
        session = outcome.session
        if session is not None and kind != END:
            if outcome.whole:
                told = len(parts)
                self.tell_all(parts, message, client, session, outcome, at)
                if kind == UPDATE:
                    session.mobile.answer = b"".join(parts[told:])
            elif outcome.repeated:
                if session.mobile.number == asked.number:
                    parts.append(session.mobile.answer)
            elif session.mobile.number == asked.number:
                changed = self.tell_changes(message, client, session, outcome, asked, at)
                session.mobile.answer = changed
                parts.append(changed)
        if message.has(PROXY_INFO):
            parts += [diameter.avp(PROXY_INFO, value) for value in message.get_all(PROXY_INFO)]
        return diameter.answer(message, parts)

    def refusal(self, message: Message, client: Client, result: int, text: str, failed: bytes) -> bytes:
        """An answer that says no."""
        parts = [
            message.echo(SESSION_ID),
            client.head,
            diameter.unsigned32_avp(codes.RESULT_CODE, result),
            message.echo(CC_REQUEST_TYPE),
            message.echo(CC_REQUEST_NUMBER),
            diameter.avp(codes.ERROR_MESSAGE, text.encode(), 0, False),
        ]
        if failed:
            parts.append(diameter.grouped_avp(codes.FAILED_AVP, [failed]))
        parts += [diameter.avp(PROXY_INFO, value) for value in message.get_all(PROXY_INFO)]
        return diameter.answer(message, parts, is_protocol_error(result))

    # Who asks

    def client_for(self, request: Request, message: Message) -> Client:
        """Of the request's Origin-Host and Origin-Realm, by the peer that it came over."""
        host = message.get(ORIGIN_HOST) or b""
        realm = message.get(ORIGIN_REALM) or b""
        client = self.clients.get((request.peer, host, realm))
        if client is None:
            return self.new_client(request.peer, host, realm)
        if client.nas.no == 0:
            client.nas = self.store.nases.get(client.nas.name, client.nas)
        return client

    def new_client(self, peer: Peer, host_octets: bytes, realm_octets: bytes) -> Client:
        host = host_octets.decode("ascii", "replace").lower()
        realm = realm_octets.decode("ascii", "replace").lower()
        side = self.settings.side(peer)
        via = side.via(host)
        options = self.options_of(host, realm, via)
        # A relay that may ask for an operator's SIMs only may do so for nobody else.
        operator = side.operator or options.operator
        if host in self.store.nases:
            nas = client_of(self.store, host, realm, operator)
        else:
            # Its first bearer makes it known: a relay may come up with any number of names.
            nas = NasRecord(0, host, host)
            nas.diameter, nas.realm, nas.operator = True, realm, operator or "default"
        number = diameter.unsigned32_avp(codes.AUTH_APPLICATION_ID, APPLICATION)
        head = number + side.identity
        if len(self.clients) >= DIAMETER_CLIENTS_CACHED_MAX:
            self.clients.clear()
        client = Client(nas, options, head, realm, via, operator)
        if len(host_octets) + len(realm_octets) <= GX_CACHED_OCTETS_MAX:
            self.clients[peer, host_octets, realm_octets] = client
        return client

    def options_of(self, host: str, realm: str, via: str) -> Options:
        """The client's own [[peer]], or that of the peer that it is behind. All in lower case."""
        key = (host, realm, via)
        options = self.options.get(key)
        if options is None:
            peer = self.settings.entry(host, realm, via)
            gy = "gy" in self.settings.diameter.applications
            if peer is None:
                options = Options(FAMILIES["generic"], "", "", gy)
            else:
                gy = gy and (not peer.applications or "gy" in peer.applications)
                options = Options(FAMILIES[peer.family], peer.garden_rule, peer.operator or "", gy)
            if len(self.options) >= DIAMETER_CLIENTS_CACHED_MAX:
                self.options.clear()
            if len(host) + len(realm) <= GX_CACHED_OCTETS_MAX:
                self.options[key] = options
        return options

    # What it says

    def to_request(self, message: Message, client: Client, kind: int) -> BearerRequest:
        """A CCR in the engine's words. What cannot be read is not told."""
        asked = BearerRequest(
            client.nas, message.get(SESSION_ID) or b"", message.get_unsigned32(CC_REQUEST_NUMBER) or 0
        )
        asked.operator = client.operator
        if kind == END:
            asked.cause = acct_cause_of(message)
        else:
            self.read_place(message, client, asked)
            if kind == UPDATE:
                asked.failed, asked.restored = read_reports(message)
        if kind != BEGIN:
            self.read_usage(message, asked)
        return asked

    def read_place(self, message: Message, client: Client, asked: BearerRequest) -> None:
        """Whose bearer it is, and where."""
        asked.realm = client.realm
        asked.via = client.via
        for group in message.get_groups(SUBSCRIPTION_ID):
            kind = group.get_unsigned32(SUBSCRIPTION_ID_TYPE)
            if kind == END_USER_IMSI:
                value = group.get(SUBSCRIPTION_ID_DATA)
                if value is not None and len(value) <= IMSI_DIGITS_MAX and value.isdigit():
                    asked.imsi = value.decode()
                    break
        asked.msisdn = msisdn_of(message)
        apn = message.get(CALLED_STATION_ID)
        if apn is not None:
            asked.apn = self.apns.get(apn) or self.learn_apn(apn)
        place = message.get(USER_LOCATION_INFO, V)
        if place is not None:
            known = self.places.get(place)
            if known is None:
                known = self.learn_place(message, place)
            asked.plmn, asked.location = known
        plmn = message.get(SGSN_MCC_MNC, V)
        if plmn is not None and plmn.isdigit() and 5 <= len(plmn) <= 6:
            asked.plmn = plmn.decode()
        asked.imei = imei_of(message)
        rat = message.get_integer32(RAT_TYPE, V)
        if rat is not None:
            asked.rat = rat
        address = message.get(FRAMED_IP_ADDRESS)
        if address is not None and len(address) == 4:
            asked.framed_ip = address
        prefix = message.get(FRAMED_IPV6_PREFIX)
        if prefix is not None and 2 <= len(prefix) <= 18 and prefix[1] <= 128:
            asked.framed_prefix = prefix[1:].ljust(17, b"\0")
        pdn = message.get(PDN_CONNECTION_ID, V)
        if pdn is not None:
            asked.pdn = pdn[:16].hex()
        asked.features = (features_of(message) or 0) & FEATURES
        asked.monitors = can_monitor(client.options, asked.features)

    def learn_apn(self, octets: bytes) -> str:
        if len(self.apns) >= GX_PLACES_COUNT_MAX:
            self.apns.clear()
        name = apn_of(octets)
        if len(octets) <= GX_CACHED_OCTETS_MAX:
            self.apns[octets] = name
        return name

    def learn_place(self, message: Message, octets: bytes) -> tuple[str, str]:
        if len(self.places) >= GX_PLACES_COUNT_MAX:
            self.places.clear()
        place = (plmn_text(octets[1:4]), location_of(message))
        if len(octets) <= GX_CACHED_OCTETS_MAX:
            self.places[octets] = place
        return place

    def read_usage(self, message: Message, asked: BearerRequest) -> None:
        """What was used since the last report: of our key, or of the whole session."""
        for group in message.get_groups(USAGE_MONITORING_INFORMATION, V):
            key = group.get(MONITORING_KEY, V)
            level = group.get_integer32(USAGE_MONITORING_LEVEL, V)
            if key is not None and key != QUOTA_KEY and level != SESSION_LEVEL:
                continue
            for unit in group.get_groups(USED_SERVICE_UNIT):
                used_input = unit.get_unsigned64(CC_INPUT_OCTETS) or 0
                used_output = unit.get_unsigned64(CC_OUTPUT_OCTETS) or 0
                total = unit.get_unsigned64(CC_TOTAL_OCTETS) or 0
                asked.reported = True
                asked.used_input += used_input
                # What is not told by direction is taken for traffic to the subscriber, as most of it is.
                asked.used_output += max(used_output, total - used_input)

    # What it is told

    def tell_all(
        self, parts: list[bytes], message: Message, client: Client, session: SessionRecord, outcome: BearerOutcome,
        at: float,
    ) -> None:  # fmt: skip
        """A bearer that begins, or is adopted: everything."""
        facts = session.mobile
        decision = outcome.decision
        features = facts.features
        if features:
            parts.append(supported_features(features))
        support = message.get_integer32(NETWORK_REQUEST_SUPPORT, V)
        if support is not None:
            mode = MODES.get(support)
            if mode is not None:
                parts.append(mode)
        profile = None if decision is None else self.profile(session, decision, client.options)
        if profile is None:
            # It was told, and is not any more what it was: the reconciler has it.
            return
        if outcome.repeated:
            if facts.triggers:
                parts.append(self.triggers(facts.triggers))
        else:
            facts.rules = profile.marks
            facts.revalidate_at = self.revalidate_at(session, at)
            facts.triggers = self.wanted_triggers(facts)
            if facts.triggers:
                parts.append(self.triggers(facts.triggers))
        parts.append(profile.whole)
        if self.charges(session, client.options):
            parts.append(ONLINE)
        if facts.revalidate_at:
            parts.append(gx_rules.revalidation(facts.revalidate_at))
        if facts.monitored:
            parts.append(gx_rules.monitoring(facts.monitored, self.control.counts(session), profile.level))

    def tell_changes(
        self, message: Message, client: Client, session: SessionRecord, outcome: BearerOutcome, asked: BearerRequest,
        at: float,
    ) -> bytes:  # fmt: skip
        """What an update is answered with, besides that it was taken."""
        facts = session.mobile
        decision = outcome.decision
        profile = None if decision is None else self.profile(session, decision, client.options)
        if profile is None or decision is None:
            return b""
        parts = []
        if asked.failed is not None:
            retried = self.retry(facts, profile, asked.failed)
            if retried:
                parts.append(retried)
        is_new = decision is not outcome.confirmed
        if is_new:
            before = outcome.confirmed
            delta = gx_rules.compare(
                facts.rules, facts.failed, self.profile(session, before, client.options) if before else None, profile
            )
            take(facts, delta)
            parts.append(delta.avps)
        # However often each is named: every one is an event that is kept.
        events = set(message.get_all(EVENT_TRIGGER, V))
        for event in events:
            what = QOS_FAILURES.get(int.from_bytes(event, "big"))
            if what is not None:
                self.control.tell_failed(session, what, at)
        if not is_new and (message.has(QOS_INFORMATION, V) or message.has(DEFAULT_EPS_BEARER_QOS, V)):
            # Another QoS was asked for: this is what it has.
            parts += [profile.qos, profile.default_qos]
        until = self.revalidate_at(session, at)
        if until != facts.revalidate_at:
            facts.revalidate_at = until
            if until:
                parts.append(gx_rules.revalidation(until))
        if outcome.granted:
            parts.append(gx_rules.monitoring(outcome.granted, self.control.counts(session), profile.level))
        triggers = self.wanted_triggers(facts)
        if triggers != facts.triggers:
            facts.triggers = triggers
            parts.insert(0, self.triggers(triggers or (NO_EVENT_TRIGGERS,)))
        return b"".join(parts)

    def retry(self, facts: GxFacts, profile: Profile, failed: dict[str, int]) -> bytes:
        """Rules that failed for their rating group are installed again without, once."""
        lean = {}
        for name, code in failed.items():
            rule = profile.rules.get(name)
            if rule is None or not rule.lean or code not in (RATING_GROUP_ERROR, SERVICE_IDENTIFIER_ERROR):
                continue
            if facts.rules.get(name) == rule.mark:
                lean[name] = rule
        if not lean:
            return b""
        facts.rules = {**facts.rules, **{name: rule.lean_mark for name, rule in lean.items()}}
        facts.failed = {name: code for name, code in facts.failed.items() if name not in lean}
        return gx_rules.install(rule.lean for rule in lean.values())

    # Parts

    def charges(self, session: SessionRecord, options: Options) -> bool:
        """Whether Gy charges the session unless a rule says otherwise."""
        return options.gy and session.service is not None and session.service.plan.metered

    def profile(self, session: SessionRecord, decision: DecisionRecord, options: Options) -> Profile | None:
        online = self.charges(session, options)
        facts = session.mobile
        return profile_of(
            decision, options.keys[1 if online else 0], options.family, options.garden_rule, facts.apn, online
        )

    def revalidate_at(self, session: SessionRecord, at: float) -> int:
        """When the client is to ask again: whole seconds, and never before that has changed something."""
        until = self.control.holds_until(session)
        if until == NEVER or until <= at:
            return 0
        return -int(-until // 1)

    def wanted_triggers(self, facts: GxFacts) -> tuple[int, ...]:
        """Those that something here acts on."""
        policy = self.decisions.policy
        if policy is not self.policy:
            self.policy = policy
            self.located = tuple([TRIGGERS_OF[name] for name in sorted(TRIGGERS_OF) if name in policy.session_reads])
        triggers = self.located
        if facts.revalidate_at:
            triggers += (REVALIDATION_TIMEOUT,)
        if facts.monitored:
            triggers += (USAGE_REPORT,)
        return triggers

    def triggers(self, triggers: tuple[int, ...]) -> bytes:
        avps = self.trigger_avps.get(triggers)
        if avps is None:
            avps = self.trigger_avps[triggers] = b"".join(
                [diameter.integer32_avp(EVENT_TRIGGER, trigger, V) for trigger in triggers]
            )
        return avps

    # Requests of ours

    def options_for(self, session: SessionRecord) -> Options:
        facts = session.mobile
        return self.options_of(session.nas.name, facts.realm or session.nas.realm, facts.via)

    def difference(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Difference:
        """See aaa.mapping.application."""
        if not desired.grant:
            return Difference("disconnect", f"not granted: {desired.body.reason}")
        options = self.options_for(session)
        profile = self.profile(session, desired, options)
        if profile is None:
            return Difference("disconnect", "the APN is not subscribed")
        delta = self.delta(session, confirmed, profile, options)
        aspects = delta.aspects + self.monitoring_aspects(session, options)
        if not aspects:
            return Difference("none")
        why = "not known what it runs under" if confirmed is None else ", ".join(aspects)
        return Difference("coa", why, delta.shown)

    def delta(
        self, session: SessionRecord, confirmed: DecisionRecord | None, profile: Profile, options: Options
    ) -> Delta:
        facts = session.mobile
        before = None
        if confirmed is not None and confirmed.grant:
            before = self.profile(session, confirmed, options)
        return gx_rules.compare(facts.rules, facts.failed, before, profile)

    def monitoring_aspects(self, session: SessionRecord, options: Options) -> tuple[str, ...]:
        """Whether usage monitoring is to begin or to end."""
        facts = session.mobile
        wanted = self.control.meters(session, can_monitor(options, facts.features))
        # Where another session meters, what was granted is not worth a message.
        is_off = facts.monitored and session.service is not None and not session.service.plan.metered
        return ("usage monitoring",) if (wanted and not facts.monitored) or is_off else ()

    def change_request(
        self, session: SessionRecord, confirmed: DecisionRecord | None, desired: DecisionRecord
    ) -> Outgoing:
        """RAR (§5.6.4)."""
        options = self.options_for(session)
        profile = self.profile(session, desired, options)
        assert profile is not None
        delta = self.delta(session, confirmed, profile, options)
        facts = session.mobile
        tail = [delta.avps]
        shown = list(delta.shown)
        # Where the service has no decision at the moment, what was told stays.
        until = self.revalidate_at(session, 0.0)
        if until and (until != facts.revalidate_at or confirmed is None):
            tail.append(gx_rules.revalidation(until))
            shown.append(("Revalidation-Time", str(until)))
        monitored = self.control.portion(session, can_monitor(options, facts.features))
        before = None if confirmed is None else self.profile(session, confirmed, options)
        goes_on = before is not None and before.level == profile.level and facts.monitored > 0
        if monitored and goes_on and monitored >= facts.monitored:
            # The next report comes soon enough.
            monitored = facts.monitored
        elif monitored:
            tail.append(gx_rules.monitoring(monitored, self.control.counts(session), profile.level))
            shown.append(("Usage-Monitoring-Information", str(monitored)))
        elif facts.monitored and not session.shadowed:
            tail.append(gx_rules.no_monitoring(profile.level))
            shown.append(("Usage-Monitoring-Support", "USAGE_MONITORING_DISABLED"))
        else:
            monitored = facts.monitored
        sketch = GxFacts(revalidate_at=until, monitored=monitored)
        triggers = self.wanted_triggers(sketch)
        if (triggers != facts.triggers or confirmed is None) and (triggers or facts.triggers):
            tail.insert(0, self.triggers(triggers or (NO_EVENT_TRIGGERS,)))
        # Until it is acknowledged, either may be in force.
        facts.rules = {name: mark & 1 for name, mark in delta.marks.items()} | facts.rules
        self.store.touch_session(session, WHOLE)
        return GxOutgoing(
            RE_AUTH,
            "RAR",
            (diameter.integer32_avp(RE_AUTH_REQUEST_TYPE, AUTHORIZE_ONLY), *tail),
            shown=tuple(shown),
            marks=delta.marks,
            monitored=monitored,
            triggers=triggers,
            revalidate_at=until,
        )

    def end_request(self, session: SessionRecord) -> Outgoing:
        """RAR with Session-Release-Cause (§4.5.9)."""
        desired = session.desired
        sim = self.store.inventory.sim_of_imsi(session.mobile.imsi)
        may_go_on = desired is not None and desired.grant and sim is not None and sim.state == "activated"
        cause = UNSPECIFIED_REASON if may_go_on else UE_SUBSCRIPTION_REASON
        return GxOutgoing(
            RE_AUTH,
            "RAR",
            (
                diameter.integer32_avp(RE_AUTH_REQUEST_TYPE, AUTHORIZE_ONLY),
                diameter.integer32_avp(SESSION_RELEASE_CAUSE, cause, V),
            ),
            shown=(("Session-Release-Cause", "UE_SUBSCRIPTION_REASON" if cause else "UNSPECIFIED_REASON"),),
            releases=self.options_for(session).family.release_cause,
        )

    def read_reply(self, session: SessionRecord, outgoing: Outgoing, answer: Message, at: float) -> Reply:
        """See aaa.mapping.application."""
        assert isinstance(outgoing, GxOutgoing)
        result = result_of(answer)
        detail = f"{result} {answer.get_text(codes.ERROR_MESSAGE) or ''}".strip()
        marks = outgoing.marks
        failed = {} if marks is None else read_reports(answer)[0] or {}
        is_partial = (
            result in (PCC_BEARER_EVENT, PCC_RULE_EVENT) and failed and not failed.keys() >= (marks or {}).keys()
        )
        word: Literal["ack", "nak", "timeout"] = "nak"
        error_cause = result
        stays = False
        if 2000 <= result < 3000 or is_partial:
            word, error_cause = "ack", 0
            detail = f"not in force: {', '.join(failed)}" if failed else ""
            if marks is not None:
                self.confirm(session, outgoing, failed, answer, at)
            elif not outgoing.releases:
                stays = True
                detail = "this gateway does not release bearers"
        elif result == UNKNOWN_SESSION_ID:
            error_cause = SESSION_GONE
        elif result in UNREACHABLE:
            word, error_cause = "timeout", 0
        elif result in REFUSED_FOR_GOOD or 5000 <= result < 6000:
            error_cause = NEVER_TAKEN
        keys = (("Session-Id", session.key.decode("utf-8", "replace")),)
        return Reply(word, error_cause, 1, 0.0, at, keys, outgoing.shown, detail, command=outgoing.name, stays=stays)

    def confirm(
        self, session: SessionRecord, outgoing: GxOutgoing, failed: dict[str, int], answer: Message, at: float
    ) -> None:
        """A RAR was taken: the session is told what it carried, and where it is."""
        facts = session.mobile
        assert outgoing.marks is not None
        take(facts, Delta(b"", outgoing.marks))
        self.control.monitor(session, outgoing.monitored)
        facts.triggers = outgoing.triggers
        facts.revalidate_at = outgoing.revalidate_at
        plmn, location = plmn_of(answer), location_of(answer)
        if (plmn and plmn != facts.plmn) or (location and location != facts.location):
            facts.plmn, facts.location = plmn or facts.plmn, location or facts.location
            if session.service is not None:
                self.store.affect(session.service)
        rat = answer.get_integer32(RAT_TYPE, V)
        if rat is not None:
            facts.rat = rat
        self.store.touch_session(session, WHOLE)
        if failed:
            self.control.note_failed(session, failed, at)


def can_monitor(options: Options, features: int) -> bool:
    """Whether a client reports usage. features: as agreed; 0: it told none."""
    return options.monitors and (not features or bool(features & REL9))


def take(facts: GxFacts, delta: Delta) -> None:
    """A session is told a difference."""
    before, after = facts.rules, delta.marks
    facts.failed = {
        name: code for name, code in facts.failed.items() if name in after and after[name] == before.get(name)
    }
    facts.rules = after


def read_reports(message: Avps) -> tuple[dict[str, int] | None, list[str] | None]:
    """Charging-Rule-Reports (§5.3.18): rules that are not in force, with why, and those that are again; None: none."""
    failed: dict[str, int] | None = None
    restored: list[str] | None = None
    for group in message.get_groups(CHARGING_RULE_REPORT, V):
        names = rule_names(group)
        if group.get_integer32(PCC_RULE_STATUS, V) == RULE_ACTIVE:
            restored = [*(restored or ()), *names]
        else:
            code = group.get_integer32(RULE_FAILURE_CODE, V) or 0
            failed = {**(failed or {}), **dict.fromkeys(names, code)}
    return failed, restored


def rule_names(group: Avps) -> list[str]:
    """Charging rules and base names that a report is about."""
    values = group.get_all(CHARGING_RULE_NAME, V) + group.get_all(CHARGING_RULE_BASE_NAME, V)
    return [value.decode("utf-8", "replace") for value in values]
