"""An HSS at work: what MMEs are answered and told, as the dictionary and a USIM of its own read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.config.policy import compile_texts
from aaa.diameter.request import Request
from aaa.dictionary.diameter import Avp, load
from aaa.mapping.s6a import S6A as APPLICATION
from aaa.mapping.s6a import S6a
from aaa.model.mobile import GX, GY, S6A, GxFacts, GyFacts
from aaa.model.operations import Operation
from aaa.model.records import ACTIVE, SessionRecord
from aaa.state.entities import apply_operation
from aaa.state.mobile import client_of, new_session, open_session
from native import diameter
from native.diameter import AVP_MANDATORY, FLAG_ERROR, FLAG_REQUEST, Avps, Message
from policy.rules import Policy
from tests.engine.far_end import Field
from tests.engine.site import AT
from tests.lab.usim import Usim
from tests.mapping.desk import Wire, configured, peer_of

DICTIONARY = load()
GRAMMARS = DICTIONARY.grammars([DICTIONARY.applications["S6a"]])
KI, OPC = "465B5CE8B199B49FAA5F0A2EE238A6BC", "CD63CB71954A9F4E48A5994E37A02BAF"
IMSI, MSISDN, ICCID = "001010000000001", "15550000001", "8900100000000000001"
PLMN, HOME = bytes.fromhex("00f110"), "00101"
ARP = {"priority": 8, "preempt": False, "preemptable": True}
QOS = {"qci": 9, "arp": ARP, "apn": "internet", "apn_ambr": {"down_bps": 30_000_000, "up_bps": 10_000_000}}
PLAN: dict[str, Any] = {"kind": "mobile", "rate": {"down_bps": 20_000_000, "up_bps": 5_000_000}, "qos": QOS}
MME, OTHER = "mme.example", "mme2.example"
EUTRAN = ("Requested-EUTRAN-Authentication-Info", [("Number-Of-Requested-Vectors", 1)])
SUCCESS = 2001
GRANTED, BARRED = "SERVICE_GRANTED", "OPERATOR_DETERMINED_BARRING"
MOVED, WITHDRAWN = "MME_UPDATE_PROCEDURE", "SUBSCRIPTION_WITHDRAWAL"


class World(Field):
    """A field whose network is S6a, with the service erin on a SIM."""

    def start(self, loaded: bool) -> None:
        super().start(loaded)
        self.s6a = S6a(self.store, self.decisions, configured())
        self.wire = self.enforcer.network = Wire(self.s6a, S6A)
        self.usim = Usim(KI, OPC)

    def restart(self, durable: bool = True, nases: Any = None) -> World:
        if durable:
            self.disk.settle()
        world = World(self.db, self.escalate, self.policy, nases)
        world.now, world.revision, world.usim = self.now, self.revision, self.usim
        world.settle()
        return world

    def subscriber(self, state: str = "activated", service: dict[str, Any] | None = None, **plan: Any) -> None:
        self.service("erin", plan=PLAN | plan, credentials=[], **(service or {}))
        self.sim(state=state)

    def sim(self, iccid: str = ICCID, imsi: str = IMSI, **value: Any) -> None:
        body = {"iccid": iccid, "imsi": imsi, "ki": KI, "opc": OPC, "amf": "B9B9", "msisdn": MSISDN, **value}
        if body.get("state") in ("assigned", "activated", "suspended"):
            body["service_id"] = "erin"
        self.put("sim", iccid, **body)
        self.settle()

    def step(self, state: str) -> None:
        operation = Operation("transition", "sim", ICCID, {"state": state})
        assert apply_operation(self.store, operation, None, self.now).status == "applied"
        self.settle()

    def state(self, state: str) -> None:
        body = self.store.services["erin"].body
        self.put("service", "erin", subscriber_id=body.subscriber_id, plan_id=body.plan_id, state=state)
        self.settle()

    def ask(self, command: str, *avps: tuple[str, Any], host: str = MME, imsi: str = IMSI, end: int = 8) -> Answer:
        """Send a request; its answer."""
        what = DICTIONARY.command("S6a", command)
        head = [
            ("Session-Id", f"{host};1;{end}"),
            ("Auth-Session-State", 1),
            ("Origin-Host", host),
            ("Origin-Realm", "example"),
            ("Destination-Realm", "localdomain"),
            ("User-Name", imsi),
        ]
        octets = diameter.message(FLAG_REQUEST, what.code, APPLICATION, 7, end, DICTIONARY.encode_all([*head, *avps]))
        (answer,) = self.s6a.receive([Request(peer_of(MME), None, Message.parse(octets))], self.now)
        self.addresses.settle(self.now)
        self.settle()
        return Answer(answer, what.code)

    def air(self, *avps: tuple[str, Any], plmn: str = HOME, **more: Any) -> Answer:
        return self.ask("AIR", *(avps or (EUTRAN,)), visited(plmn), **more)

    def ulr(self, *avps: tuple[str, Any], plmn: str = HOME, flags: int = 34, rat: int = 1004, **more: Any) -> Answer:
        fixed = [("RAT-Type", rat), ("ULR-Flags", flags), visited(plmn)]
        return self.ask("ULR", *fixed, *avps, **more)

    def registrations(self) -> dict[str, SessionRecord]:
        return {
            session.nas.name: session
            for session in self.store.sessions.values()
            if session.protocol == S6A and session.state == ACTIVE
        }

    def told(self) -> list[tuple[str, str]]:
        """What waits for an answer: the command and its MME."""
        return [(outgoing.name, session.nas.name) for session, outgoing, _ in self.wire.waiting]

    def request(self) -> dict[str, Any]:
        """The oldest request of ours that waits, by name; it has what its grammar wants."""
        session, outgoing, _ = self.wire.waiting[0]
        head = [
            ("Vendor-Specific-Application-Id", [("Vendor-Id", 10415), ("Auth-Application-Id", APPLICATION)]),
            ("Auth-Session-State", 1),
            ("Origin-Host", "aaa.localdomain"),
            ("Origin-Realm", "localdomain"),
            ("Destination-Host", session.nas.name),
            ("Destination-Realm", session.mobile.realm),
        ]
        assert outgoing.session_id is not None
        parts = [diameter.avp(263, outgoing.session_id), *DICTIONARY.encode_all(head), *outgoing.avps]
        message = Message.parse(diameter.message(FLAG_REQUEST, outgoing.command, APPLICATION, 1, 2, parts))
        assert GRAMMARS[APPLICATION, outgoing.command, True].check(message) is None
        return named(message)

    def reply(self, result: int = SUCCESS, experimental: int = 0) -> None:
        """The MME answers the oldest."""
        session, outgoing, done = self.wire.waiting.pop(0)
        verdict: tuple[str, Any] = ("Result-Code", result)
        if experimental:
            members = [("Vendor-Id", 10415), ("Experimental-Result-Code", experimental)]
            verdict = ("Experimental-Result", members)
        avps = DICTIONARY.encode_all([("Session-Id", "s"), verdict])
        answer = Message.parse(diameter.message(0, outgoing.command, APPLICATION, 1, 2, avps))
        done(self.s6a.read_reply(session, outgoing, answer, self.now))
        self.settle()


def visited(plmn: str) -> tuple[str, str]:
    return "Visited-PLMN-Id", f"{plmn[:3]}-{plmn[3:]}"


def named(message: Message) -> dict[str, Any]:
    """AVPs by name; of several the last, but for those that are listed."""
    found: dict[str, Any] = {}
    for code, vendor, flags, value in message.avps():
        avp = DICTIONARY.by_number(code, vendor)
        assert avp is not None, (code, vendor)
        found[avp.name] = DICTIONARY.decode(avp.name, value)
        check_flags(avp, code, vendor, flags, message)
    return found


def check_flags(avp: Avp, code: int, vendor: int, flags: int, avps: Avps) -> None:
    """Whoever is strict looks at the M bits too."""
    assert bool(flags & AVP_MANDATORY) == avp.mandatory, avp.name
    if avp.type == "Grouped":
        for group in avps.get_groups(code, vendor):
            for inner_code, inner_vendor, inner_flags, _ in group.avps():
                inner = DICTIONARY.by_number(inner_code, inner_vendor)
                assert inner is not None
                check_flags(inner, inner_code, inner_vendor, inner_flags, group)


def group(members: Any) -> dict[str, Any]:
    """A decoded group by name; of several the last."""
    return dict(members)


class Answer:
    """An answer that passed its command's grammar."""

    def __init__(self, octets: bytes, command: int) -> None:
        self.octets = octets
        self.message = Message.parse(octets)
        assert self.message.fault == 0
        if not self.message.flags & FLAG_ERROR:
            assert GRAMMARS[APPLICATION, command, False].check(self.message) is None
        self.avps = named(self.message)

    @property
    def result(self) -> int:
        """Result-Code, or the Experimental one."""
        experimental = self.message.get_group(297)
        found = self.message.get_unsigned32(268) if experimental is None else experimental.get_unsigned32(298)
        assert found is not None
        return found

    @property
    def vectors(self) -> list[dict[str, Any]]:
        return [dict(value) for _, value in self.avps["Authentication-Info"]]

    @property
    def data(self) -> dict[str, Any]:
        return group(self.avps["Subscription-Data"])


def apns(data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """APN-Configurations by Service-Selection."""
    profile = data["APN-Configuration-Profile"]
    found = [dict(value) for name, value in profile if name == "APN-Configuration"]
    return {each["Service-Selection"]: each for each in found}


def ambr(data: Any) -> tuple[int, int]:
    """Down and up."""
    members = dict(data["AMBR"])
    return members["Max-Requested-Bandwidth-DL"], members["Max-Requested-Bandwidth-UL"]


@pytest.fixture
def world() -> World:
    world = World()
    world.subscriber()
    return world


def deny_rule(when: str) -> Policy:
    return compile_texts({"here.toml": f"[[rule]]\nname = 'closed'\nwhen = '{when}'\nthen = {{ deny = 'Not here' }}\n"})


# Challenges


def test_the_usim_accepts_what_it_is_asked(world: World) -> None:
    answer = world.air()
    assert (answer.result, answer.avps["Auth-Session-State"]) == (SUCCESS, "NO_STATE_MAINTAINED")
    (vector,) = answer.vectors
    world.usim.authenticate(vector, PLMN)
    assert answer.message.hop_by_hop == 7
    assert not answer.message.flags & FLAG_ERROR


def test_no_challenge_comes_twice_and_the_later_one_is_fresh(world: World) -> None:
    for number in range(100):
        if number % 30 == 29:
            world = world.restart(durable=True)
        (vector,) = world.air(host=MME if number % 3 else OTHER).vectors
        world.usim.authenticate(vector, PLMN)


def test_several_vectors_are_numbered_and_bounded(world: World) -> None:
    wanted = ("Requested-EUTRAN-Authentication-Info", [("Number-Of-Requested-Vectors", 9)])
    vectors = world.air(wanted).vectors
    assert [vector["Item-Number"] for vector in vectors] == [1, 2, 3, 4, 5]
    for vector in vectors:
        world.usim.authenticate(vector, PLMN)


def test_utran_gets_keys_under_an_amf_without_the_separation_bit(world: World) -> None:
    wanted = ("Requested-UTRAN-GERAN-Authentication-Info", [("Number-Of-Requested-Vectors", 2)])
    first, second = world.air(wanted).vectors
    assert len(first["Confidentiality-Key"]) == len(first["Integrity-Key"]) == 16
    assert first["AUTN"][6:8] == bytes.fromhex("39b9")
    assert first["RAND"] != second["RAND"]
    both = world.air(EUTRAN, wanted).avps["Authentication-Info"]
    assert [name for name, _ in both] == ["E-UTRAN-Vector", "UTRAN-Vector", "UTRAN-Vector"]


def test_a_usim_that_is_ahead_brings_the_numbers_forward_and_that_lasts(world: World) -> None:
    (vector,) = world.air().vectors
    world.usim.sqn = 1 << 40
    info = ("Requested-EUTRAN-Authentication-Info", [("Re-Synchronization-Info", world.usim.auts(vector["RAND"]))])
    (vector,) = world.air(info).vectors
    world.usim.authenticate(vector, PLMN)
    world = world.restart()
    world.usim.authenticate(world.air().vectors[0], PLMN)


def test_an_auts_of_another_sim_moves_nothing(world: World) -> None:
    (vector,) = world.air().vectors
    sim = world.store.inventory.sim(ICCID)
    assert sim is not None
    before = sim.sqn
    stranger = Usim(OPC, KI, 1 << 40)
    info = [("Re-Synchronization-Info", stranger.auts(vector["RAND"]))]
    assert world.air(("Requested-EUTRAN-Authentication-Info", info)).result == 4181
    assert sim.sqn == before
    short = world.air(("Requested-EUTRAN-Authentication-Info", [("Re-Synchronization-Info", bytes(29))]))
    assert (short.result, sim.sqn) == (5004, before)


def test_a_challenge_writes_a_row_only_where_a_block_begins(world: World) -> None:
    world.air()
    rows = world.store.journal.rows_total
    for _ in range(20):
        world.air()
    assert world.store.journal.rows_total == rows


def test_an_air_that_asks_for_nothing_or_from_nowhere_is_told_what_is_wrong(world: World) -> None:
    assert world.ask("AIR", visited(HOME)).result == 5005
    what = DICTIONARY.command("S6a", "AIR")
    avps = [("Session-Id", "a"), ("Origin-Host", MME), ("Origin-Realm", "example"), ("User-Name", IMSI), EUTRAN]
    parts = [*DICTIONARY.encode_all(avps), diameter.avp(1407, b"\0", 10415)]
    octets = diameter.message(FLAG_REQUEST, what.code, APPLICATION, 7, 8, parts)
    (answer,) = world.s6a.receive([Request(peer_of(MME), None, Message.parse(octets))], AT)
    assert Message.parse(answer).get_unsigned32(268) == 5004


# Who is refused, and how


@pytest.mark.parametrize(
    ("prepare", "result"),
    [
        (lambda world: world.step("retired"), 5001),
        (lambda world: world.step("suspended"), 5420),
        (lambda world: world.state("suspended"), 5420),
        (lambda world: world.state("terminated"), 5420),
        (lambda world: world.put("plan", "home", **{k: v for k, v in PLAN.items() if k != "qos"}), 5420),
    ],
    ids=["retired", "SIM suspended", "service suspended", "terminated", "no APN"],
)
def test_who_may_not_attach_is_refused_at_the_challenge_already(
    world: World, prepare: Callable[[World], None], result: int
) -> None:
    prepare(world)
    answer = world.air()
    assert answer.result == result
    assert "Authentication-Info" not in answer.avps
    assert world.ulr().result == result
    assert not world.registrations()


@pytest.mark.parametrize("state", ["stock", "assigned"])
def test_a_sim_that_is_not_activated_is_unknown(state: str) -> None:
    world = World()
    world.service("erin", plan=PLAN, credentials=[])
    world.sim(state=state)
    assert world.air().result == 5001
    assert world.air(imsi="001010000000009").result == 5001
    assert world.air(imsi="no digits").result == 5001


def test_a_sim_without_keys_has_no_challenge() -> None:
    world = World()
    world.service("erin", plan=PLAN, credentials=[])
    world.put("sim", ICCID, iccid=ICCID, imsi=IMSI, service_id="erin", state="activated")
    assert world.air().result == 4181


def test_a_quota_that_is_used_up_bars_nobody_from_attaching() -> None:
    world = World()
    world.subscriber(quota={"octets": 0}, on_exhausted=["block"])
    assert world.decisions.of(world.store.services["erin"], world.now).body.reason == "quota_exhausted"
    assert world.air().result == SUCCESS
    data = world.ulr().data
    assert ambr(data) == (20_000_000, 5_000_000)
    assert list(apns(data)) == ["internet"]


def test_roaming_is_where_it_was_agreed_and_home_is_always(world: World) -> None:
    assert world.air(plmn="26201").result == SUCCESS
    world.s6a.use(configured(roaming_plmns=("26202",)))
    assert world.air(plmn="26201").result == 5004
    assert world.air(plmn="26202").result == SUCCESS
    assert world.air(plmn=HOME).result == SUCCESS


def test_a_rule_keeps_subscribers_off_other_networks() -> None:
    world = World(policy=deny_rule('session.plmn == "26201"'))
    world.subscriber()
    assert world.air(plmn=HOME).result == SUCCESS
    refusal = world.air(plmn="26201")
    assert (refusal.result, refusal.avps["Error-Message"]) == (5004, "Not here")


def test_a_peer_of_one_operator_knows_no_others_sims(world: World) -> None:
    world.s6a.use(configured({"operator": "mvno"}))
    assert world.air().result == world.ulr().result == 5001
    assert world.ask("PUR").result == world.ask("NOR").result == 5001


def test_what_is_no_lte_is_refused(world: World) -> None:
    assert world.ulr(rat=1000).result == 5421
    assert world.ulr(rat=1005).result == SUCCESS


def test_a_lock_to_a_device_goes_by_its_imei(world: World) -> None:
    world.put("device", "phone", kind="handset", imei="356938035643809")
    body = world.store.services["erin"].body
    lock = {"device": ["phone"]}
    world.put("service", "erin", subscriber_id=body.subscriber_id, plan_id="home", lock=lock)
    assert world.air().result == SUCCESS
    assert world.ulr().result == 5420
    for imei in ("35693803564380", "356938035643809", "3569380356438099"):
        assert world.ulr(("Terminal-Information", [("IMEI", imei)])).result == SUCCESS
    assert world.ulr(("Terminal-Information", [("IMEI", "356938035643917")])).result == 5420


def test_a_refused_update_looks_like_a_subscription_where_nothing_else_is_taken(world: World) -> None:
    world.state("suspended")
    assert "Subscription-Data" not in world.ulr().avps
    world.s6a.use(configured({"family": "open5gs"}))
    refusal = world.ulr()
    assert (refusal.result, refusal.avps["ULA-Flags"]) == (5420, 1)
    assert refusal.data["Subscriber-Status"] == BARRED
    assert len(apns(refusal.data)) == 1


def test_a_command_that_is_ours_to_send_is_unsupported(world: World) -> None:
    answer = world.ask("CLR", ("Cancellation-Type", 2))
    assert (answer.result, bool(answer.message.flags & FLAG_ERROR)) == (3001, True)


# Registrations


def test_the_plan_is_the_subscription(world: World) -> None:
    answer = world.ulr(("Terminal-Information", [("IMEI", "356938035643809")]))
    assert (answer.result, answer.avps["ULA-Flags"]) == (SUCCESS, 1)
    data = answer.data
    assert (data["Subscriber-Status"], data["MSISDN"], data["Network-Access-Mode"]) == (GRANTED, MSISDN, "ONLY_PACKET")
    assert data["Subscribed-Periodic-RAU-TAU-Timer"] == 720
    assert ambr(data) == (20_000_000, 5_000_000)
    configuration = apns(data)["internet"]
    assert (configuration["Context-Identifier"], configuration["PDN-Type"]) == (1, "IPv4")
    # An APN's limit is never above what is sold.
    assert ambr(configuration) == (20_000_000, 5_000_000)
    qos = dict(configuration["EPS-Subscribed-QoS-Profile"])
    arp = dict(qos["Allocation-Retention-Priority"])
    assert qos["QoS-Class-Identifier"] == "QCI_9"
    assert (arp["Priority-Level"], arp["Pre-emption-Capability"][-8:]) == (8, "DISABLED")
    assert arp["Pre-emption-Vulnerability"].endswith("ENABLED")
    (session,) = world.registrations().values()
    assert (session.key, session.mobile.imei, session.mobile.plmn) == (IMSI.encode(), "356938035643809", HOME)
    assert session.decision is session.desired is not None
    (event,) = world.events("session.started")
    assert (event.data["protocol"], event.data["imsi"]) == ("s6a", IMSI)
    assert not world.told()


def test_own_addresses_and_add_ons_are_in_it() -> None:
    world = World()
    world.put("plan", "ims", kind="mobile", qos={**QOS, "qci": 5, "apn": "IMS", "pdn_type": "ipv4v6"})
    world.subscriber(service={"static_ip": "10.9.8.7", "static_prefix": "2001:db8:1::/64", "add_ons": ["ims"]})
    data = world.ulr().data
    found = apns(data)
    assert list(found) == ["internet", "IMS"]
    profile = data["APN-Configuration-Profile"]
    inner = [value for name, value in next(v for n, v in profile if n == "APN-Configuration") if "Served" in name]
    assert inner == ["10.9.8.7", "2001:db8:1::"]
    assert found["IMS"]["PDN-Type"] == "IPv4v6"
    assert found["IMS"]["Context-Identifier"] == 2


def test_an_mme_has_room_for_only_so_many_apns() -> None:
    world = World()
    names = [f"apn{number}" for number in range(20)]
    for name in names:
        world.put("plan", name, kind="mobile", qos={**QOS, "apn": name})
    world.subscriber(service={"add_ons": names})
    assert len(apns(world.ulr().data)) == 21
    world.s6a.use(configured({"family": "open5gs"}))
    assert len(apns(world.ulr().data)) == 16


def test_a_speed_beyond_32_bits_is_told_beside() -> None:
    world = World()
    world.subscriber(rate={"down_bps": 10**10, "up_bps": 0})
    members = dict(world.ulr().data["AMBR"])
    assert members["Max-Requested-Bandwidth-DL"] == members["Max-Requested-Bandwidth-UL"] == 2**32 - 1
    assert members["Extended-Max-Requested-BW-DL"] == 10_000_000
    assert "Extended-Max-Requested-BW-UL" not in members


def test_the_same_again_is_the_same_registration(world: World) -> None:
    world.ulr()
    (first,) = world.registrations().values()
    world.settle(60)
    world.ulr(end=9)
    assert world.registrations() == {MME: first}
    assert first.heard_at == world.now
    assert len(world.events("session.started")) == 1


def test_data_are_left_out_where_the_mme_has_them_and_says_so(world: World) -> None:
    assert "Subscription-Data" in world.ulr(flags=2 | 4).avps
    assert "Subscription-Data" not in world.ulr(flags=2 | 4).avps
    world.rate("erin")
    assert "Subscription-Data" in world.ulr(flags=2 | 4).avps


def test_another_mme_cancels_the_one_before(world: World) -> None:
    world.ulr()
    world.ulr(host=OTHER)
    assert world.told() == [("CLR", MME)]
    asked = world.request()
    assert (asked["User-Name"], asked["Cancellation-Type"], asked["Destination-Host"]) == (IMSI, MOVED, MME)
    world.reply()
    assert list(world.registrations()) == [OTHER]
    (event,) = world.events("session.stopped")
    assert event.data["nas"] == MME


def test_who_comes_back_before_the_cancellation_is_registered_there(world: World) -> None:
    world.ulr()
    world.ulr(host=OTHER)
    world.ulr()
    assert MME in world.registrations()
    while world.wire.waiting:
        world.reply()
    assert list(world.registrations()) == [MME]


def test_a_cancellation_outlives_a_restart(world: World) -> None:
    world.ulr()
    world.ulr(host=OTHER)
    world = world.restart()
    assert ("CLR", MME) in world.told()
    assert world.request()["Cancellation-Type"] == MOVED
    world.reply()
    assert list(world.registrations()) == [OTHER]


def test_a_purge_ends_the_registration_and_freezes_the_identity(world: World) -> None:
    world.ulr()
    assert world.ask("PUR", host=OTHER).avps["PUA-Flags"] == 0
    assert list(world.registrations()) == [MME]
    answer = world.ask("PUR")
    assert (answer.result, answer.avps["PUA-Flags"]) == (SUCCESS, 1)
    assert not world.registrations()
    assert world.ask("PUR", imsi="001010000000009").result == 5001


def test_a_notification_tells_the_gateway_of_an_apn(world: World) -> None:
    assert world.ask("NOR").result == 5423
    world.ulr()
    gateway = ("MIP6-Agent-Info", [("MIP-Home-Agent-Address", "10.0.0.9")])
    assert world.ask("NOR", gateway, ("Service-Selection", "Internet")).result == SUCCESS
    named_one = [("MIP-Home-Agent-Host", [("Destination-Realm", "example"), ("Destination-Host", "PGW.example")])]
    world.ask("NOR", ("MIP6-Agent-Info", named_one), ("Service-Selection", "ims"))
    world = world.restart()
    assert world.registrations()[MME].mobile.gateways == {"internet": "10.0.0.9", "ims": "pgw.example"}


def test_features_are_answered_where_they_are_offered(world: World) -> None:
    assert "Supported-Features" not in world.ulr().avps
    offered = [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 0xFF)]
    answer = world.ulr(("Supported-Features", offered))
    assert dict(answer.avps["Supported-Features"])["Feature-List"] == 1


# Changes


def test_another_speed_is_inserted(world: World) -> None:
    world.ulr()
    world.rate("erin", 3_000_000)
    world.settle()
    assert world.told() == [("IDR", MME)]
    data = group(world.request()["Subscription-Data"])
    assert ambr(data) == (3_000_000, 1_000_000)
    assert ambr(apns(data)["internet"]) == (3_000_000, 1_000_000)
    world.reply()
    assert world.registrations()[MME].decision is world.registrations()[MME].desired
    assert not world.told()


def test_a_suspended_service_is_barred_and_let_in_again(world: World) -> None:
    world.ulr()
    world.state("suspended")
    data = group(world.request()["Subscription-Data"])
    assert (data["Subscriber-Status"], data["Operator-Determined-Barring"]) == (BARRED, 1)
    world.reply()
    world.state("active")
    data = group(world.request()["Subscription-Data"])
    assert (data["Subscriber-Status"], ambr(data)) == (GRANTED, (20_000_000, 5_000_000))
    world.reply()
    assert list(world.registrations()) == [MME]


@pytest.mark.parametrize("how", ["family", "features"])
def test_an_mme_that_cannot_bar_is_sent_a_cancellation(world: World, how: str) -> None:
    if how == "family":
        world.s6a.use(configured({"family": "open5gs"}))
        world.ulr()
    else:
        world.ulr(("Supported-Features", [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 2)]))
    world.state("suspended")
    assert world.told() == [("CLR", MME)]
    assert world.request()["Cancellation-Type"] == WITHDRAWN
    world.reply()
    assert not world.registrations()


@pytest.mark.parametrize(("result", "experimental"), [(3001, 0), (5012, 0), (0, 5004)])
def test_an_mme_that_refuses_a_change_is_sent_a_cancellation(world: World, result: int, experimental: int) -> None:
    world.ulr()
    world.state("suspended")
    world.reply(result, experimental)
    assert world.told() == [("CLR", MME)]
    world.reply()
    assert not world.registrations()


def test_a_change_for_somebody_whom_the_mme_does_not_know_ends_the_registration(world: World) -> None:
    world.ulr()
    world.rate("erin")
    world.settle()
    world.reply(experimental=5001)
    assert not world.registrations()
    assert not world.told()


def test_a_change_that_did_not_arrive_is_sent_again(world: World) -> None:
    world.ulr()
    world.rate("erin")
    world.settle()
    world.reply(3002)
    assert list(world.registrations()) == [MME]
    world.settle(3600)
    assert world.told() == [("IDR", MME)]


def with_add_on() -> World:
    world = World()
    world.put("plan", "ims", kind="mobile", qos={**QOS, "apn": "ims"})
    world.subscriber(service={"add_ons": ["ims"]})
    return world


def drop_add_on(world: World) -> None:
    world.put("service", "erin", subscriber_id="erin", plan_id="home", add_ons=[])
    world.settle()


def test_an_apn_that_is_gone_is_deleted() -> None:
    world = with_add_on()
    world.ulr()
    drop_add_on(world)
    asked = world.request()
    assert (world.told(), asked["DSR-Flags"], asked["Context-Identifier"]) == ([("DSR", MME)], 8, 2)
    world.reply()
    assert not world.told()


def test_an_mme_that_knows_no_deletion_is_told_all_that_is_left() -> None:
    world = with_add_on()
    world.ulr()
    drop_add_on(world)
    world.reply(3001)
    world.settle(3600)
    data = group(world.request()["Subscription-Data"])
    assert list(apns(data)) == ["internet"]
    world.s6a.use(configured({"family": "open5gs"}))
    world.reply()
    world.put("service", "erin", subscriber_id="erin", plan_id="home", add_ons=["ims"])
    world.settle()
    world.reply()
    world.ulr()
    drop_add_on(world)
    assert world.told() == [("IDR", MME)]
    assert dict(world.request()["Subscription-Data"][0][1])["All-APN-Configurations-Included-Indicator"][:3] == "All"


def test_a_quota_that_is_used_up_changes_nothing_here() -> None:
    world = World()
    world.subscriber(quota={"octets": 1_000}, on_exhausted=["block"])
    world.ulr()
    world.put("plan", "home", **PLAN, quota={"octets": 0}, on_exhausted=["block"])
    world.settle()
    assert world.decisions.of(world.store.services["erin"], world.now).body.reason == "quota_exhausted"
    assert not world.told()


# The life of a SIM


def test_a_sim_that_is_taken_out_of_use_loses_its_bearers_too(world: World) -> None:
    service = world.store.services["erin"]
    for protocol, facts in ((GX, GxFacts), (GY, GyFacts)):
        nas = client_of(world.store, "smf.example", "example", "")
        key = b"smf;%d" % protocol
        session = new_session(world.store, protocol, nas, key, service, facts(imsi=IMSI, apn="internet"), world.now)
        open_session(world.store, session, world.decisions.of(service, world.now))
    operation = Operation("transition", "sim", ICCID, {"state": "suspended"})
    assert apply_operation(world.store, operation, None, world.now).status == "applied"
    assert {(session.protocol, why) for session, why, _ in world.store.barred} == {
        (GX, "its SIM is suspended"),
        (GY, "its SIM is suspended"),
    }


@pytest.mark.parametrize("state", ["suspended", "retired"])
def test_a_sim_that_is_taken_out_of_use_is_cancelled(world: World, state: str) -> None:
    world.ulr()
    world.step(state)
    assert world.told() == [("CLR", MME)]
    assert world.request()["Cancellation-Type"] == WITHDRAWN
    world.reply()
    assert not world.registrations()
    assert world.air().result == (5420 if state == "suspended" else 5001)


def test_a_sim_that_is_activated_again_may_attach(world: World) -> None:
    world.step("suspended")
    world.step("activated")
    assert world.air().result == world.ulr().result == SUCCESS


def test_a_sim_that_is_replaced_is_cancelled_and_the_new_one_attaches(world: World) -> None:
    world.ulr()
    other = "8900100000000000002"
    world.sim(other, "001010000000002", msisdn=None)
    operation = Operation("replace", "sim", ICCID, {"iccid": other})
    assert apply_operation(world.store, operation, None, world.now).status == "applied"
    world.settle()
    asked = world.request()
    assert (world.told(), asked["User-Name"]) == ([("CLR", MME)], IMSI)
    world.reply()
    assert world.air().result == 5001
    assert world.ulr(imsi="001010000000002").data["MSISDN"] == MSISDN


def test_a_sim_that_moves_to_another_service_registers_anew(world: World) -> None:
    world.ulr()
    world.service("fred", credentials=[])
    world.put("sim", ICCID, iccid=ICCID, imsi=IMSI, amf="B9B9", service_id="fred", state="activated")
    world.settle()
    assert world.told() == [("CLR", MME)]
    assert world.ulr().result == SUCCESS
    while world.wire.waiting:
        world.reply()
    (session,) = world.registrations().values()
    assert session.service is world.store.services["fred"]


def test_a_service_that_ends_takes_its_registration_along(world: World) -> None:
    world.ulr()
    world.state("terminated")
    assert world.told() == [("CLR", MME)]
    world.reply()
    assert not world.registrations()


def test_a_reset_names_nobody(world: World) -> None:
    outgoing = world.s6a.reset_request()
    assert (outgoing.name, outgoing.command, outgoing.avps) == ("RSR", 322, ())


# Whatever comes


@given(st.binary(max_size=200), st.sampled_from([316, 318, 321, 323, 317, 999]))
@settings(max_examples=150, deadline=None)
def test_whatever_a_request_holds_it_has_one_answer(junk: bytes, command: int) -> None:
    head = DICTIONARY.encode_all([("Session-Id", "s"), ("Origin-Host", MME), ("User-Name", IMSI)])
    tail = junk + bytes(-len(junk) % 4)
    octets = diameter.message(FLAG_REQUEST, command, APPLICATION, 7, 8, [*head, tail])
    (answer,) = WILD.s6a.receive([Request(peer_of(MME), None, Message.parse(octets))], AT)
    message = Message.parse(answer)
    assert (message.fault, message.command, message.end_to_end) == (0, command, 8)
    assert message.has(268) or message.has(297)


WILD = World()
WILD.subscriber()


def test_no_secret_shows_in_what_is_kept_or_told(world: World) -> None:
    answer = world.air()
    world.ulr()
    (vector,) = answer.vectors
    shown = repr([event.data for event in world.store.events]) + repr(DICTIONARY.show(answer.message))
    for secret in (KI, OPC, vector["XRES"].hex(), vector["KASME"].hex()):
        assert secret.lower() not in shown.lower()
