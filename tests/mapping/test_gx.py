"""Gx: what a PCEF is answered and told, as the dictionary reads it, and what a restart keeps."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from aaa.config.policy import compile_texts
from aaa.model.mobile import GY, GyFacts
from aaa.model.records import ACTIVE, ENDED
from aaa.state.mobile import client_of, new_session, open_session
from native import diameter
from native.diameter import Message
from tests.diameter.wire import complaints
from tests.mapping.gx_site import (
    AT,
    DICTIONARY,
    ICCID,
    IMSI,
    PLAN,
    QOS,
    QUOTA,
    REALM,
    At,
    Pcef,
    asked,
    report,
    result,
    shown,
    usage,
)

RULES = [
    {"name": "web", "flows": [{"description": "permit out tcp from any 80 to assigned", "direction": "down"}],
     "rating_group": 7, "precedence": 10},
    {"name": "portal", "flows": [{"description": "permit out ip from 192.0.2.1 to assigned"}], "free": True},
    {"name": "video", "kind": "predefined"},
    {"name": "basics", "kind": "base"},
]  # fmt: skip
DEFINITION = "Charging-Rule-Install.Charging-Rule-Definition"
AMBR = ("QoS-Information.APN-Aggregate-Max-Bitrate-DL", "QoS-Information.APN-Aggregate-Max-Bitrate-UL")
GRANTED = "Usage-Monitoring-Information.Granted-Service-Unit.CC-Total-Octets"


def qos(**more: Any) -> dict[str, Any]:
    return PLAN | {"qos": QOS | more}


def rate(answer: dict[str, Any]) -> tuple[int, int]:
    return int(answer[AMBR[0]]), int(answer[AMBR[1]])


def plan(it: Pcef, **body: Any) -> None:
    """Billing changes the plan."""
    it.put("plan", "home", **body)
    it.settle()


def state(it: Pcef, to: str) -> None:
    it.put("service", "erin", subscriber_id="erin", plan_id="home", state=to)
    it.settle()


# Beginning


def test_a_bearer_begins_with_the_rules_and_the_qos_of_its_plan() -> None:
    it = Pcef(qos(apn_ambr={"down_bps": 8_000_000, "up_bps": 9_000_000}))
    answer = shown(it.initial())
    assert answer["Result-Code"] == "DIAMETER_SUCCESS"
    assert answer[f"{DEFINITION}.Charging-Rule-Name"] == "default"
    assert answer[f"{DEFINITION}.Flow-Information.Flow-Description"] == "permit out ip from any to assigned"
    assert rate(answer) == (8_000_000, 5_000_000)
    assert answer["Default-EPS-Bearer-QoS.QoS-Class-Identifier"] == "QCI_9"
    assert answer["Default-EPS-Bearer-QoS.Allocation-Retention-Priority.Priority-Level"] == "8"
    assert answer["Bearer-Control-Mode"] == "UE_NW"
    assert "Event-Trigger" not in answer
    assert "Online" not in answer
    session = it.session
    assert (session.state, session.framed_ip, session.mobile.apn) == (ACTIVE, bytes((10, 45, 0, 2)), "internet")
    assert (session.mobile.plmn, session.mobile.location) == ("00101", "ECGI:00101-00000101")
    (started,) = it.events("session.started")
    assert started.data["imsi"] == IMSI


def test_dynamic_predefined_and_base_rules_are_installed_side_by_side() -> None:
    answer = shown(Pcef(qos(rules=RULES)).initial())
    assert answer[f"{DEFINITION}.Charging-Rule-Name"] == "web"
    assert answer[f"{DEFINITION}[2].Charging-Rule-Name"] == "portal"
    assert answer["Charging-Rule-Install.Charging-Rule-Name"] == "video"
    assert answer["Charging-Rule-Install.Charging-Rule-Base-Name"] == "basics"
    assert answer[f"{DEFINITION}.Rating-Group"] == "7"
    assert answer[f"{DEFINITION}.Reporting-Level"] == "RATING_GROUP_LEVEL"
    assert answer[f"{DEFINITION}.Precedence"] == "10"
    assert answer[f"{DEFINITION}.Flow-Information.Flow-Direction"] == "DOWNLINK"
    assert answer[f"{DEFINITION}[2].Flow-Information[2].Flow-Direction"] == "UPLINK"


def test_what_open5gs_does_not_know_is_not_sent_to_it() -> None:
    it = Pcef(QUOTA | {"qos": QOS | {"rules": RULES}}, peers=[
        {"origin_host": "smf.localdomain", "origin_realm": REALM, "family": "open5gs"},
    ])  # fmt: skip
    answer = shown(it.initial())
    assert answer[f"{DEFINITION}.Charging-Rule-Name"] == "web"
    assert not any("Rating-Group" in name or "Base-Name" in name for name in answer)
    assert "Charging-Rule-Install.Charging-Rule-Name" not in answer
    assert not any(name.startswith("Usage-Monitoring") for name in answer)
    # Each rule would be a bearer of its own there, so one for all traffic is none.
    plain = Pcef(peers=[{"origin_host": "smf.localdomain", "origin_realm": REALM, "family": "open5gs"}])
    assert not any(name.startswith("Charging-Rule") for name in shown(plain.initial()))


@pytest.mark.parametrize(
    ("down_bps", "told"), [(4_294_967_295, None), (4_294_967_296, "4294967"), (10_000_000_000, "10000000")]
)
def test_a_rate_beyond_32_bits_stands_in_kilobits_too(down_bps: int, told: str | None) -> None:
    answer = shown(Pcef(PLAN | {"rate": {"down_bps": down_bps, "up_bps": 1_000}}).initial())
    assert rate(answer) == (min(down_bps, 4_294_967_295), 1_000)
    assert answer.get("QoS-Information.Extended-APN-AMBR-DL") == told


def test_a_plan_without_a_rate_tells_none() -> None:
    answer = shown(Pcef({"kind": "mobile", "qos": QOS}).initial())
    assert AMBR[0] not in answer


def test_only_features_of_both_sides_are_agreed() -> None:
    features = [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 0xFFFF)]
    it = Pcef()
    assert shown(it.initial(("Supported-Features", features)))["Supported-Features.Feature-List"] == "11"
    assert it.session.mobile.features == 11


def test_the_imsi_decides_whatever_its_place_and_the_number() -> None:
    it = Pcef()
    imsi = ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", IMSI)])
    number = ("Subscription-Id", [("Subscription-Id-Type", 0), ("Subscription-Id-Data", "19995550000")])
    for order in ((imsi, number), (number, imsi)):
        assert result(it.ask([*it.head(1, 0), *order, ("Called-Station-Id", "internet")])) == 2001
        it.terminate()


def test_an_apn_is_found_whatever_its_case_and_operator_identifier() -> None:
    assert result(Pcef().initial(apn="INTERNET.mnc001.mcc001.gprs")) == 2001


def test_an_apn_of_an_add_on_has_its_own_qos() -> None:
    it = Pcef()
    it.put("plan", "ims", kind="mobile", qos={"qci": 5, "arp": {"priority": 1}, "apn": "ims"})
    it.put("service", "erin", subscriber_id="erin", plan_id="home", add_ons=["ims"])
    answer = shown(it.initial(apn="ims"))
    assert answer["Default-EPS-Bearer-QoS.QoS-Class-Identifier"] == "QCI_5"


# Who may not


def refused(it: Pcef, **asked: Any) -> tuple[int | None, str]:
    answer = it.initial(**asked)
    assert not any(name.startswith(("Charging", "Experimental")) for name in shown(answer))
    assert not it.store.sessions
    return result(answer), answer.get_text(281) or ""


def test_an_unknown_subscriber_is_refused() -> None:
    assert refused(Pcef(), imsi="001010000000099") == (5030, "Unknown subscriber")


def test_an_apn_that_is_not_subscribed_is_refused() -> None:
    assert refused(Pcef(), apn="corporate") == (5003, "The APN is not subscribed")


def test_a_suspended_service_is_refused() -> None:
    it = Pcef()
    state(it, "suspended")
    code, text = refused(it)
    assert code == 5003
    assert "suspended" in text


def test_a_sim_that_is_not_activated_is_refused() -> None:
    it = Pcef()
    it.put("sim", ICCID, iccid=ICCID, imsi=IMSI, service_id="erin", state="suspended")
    assert refused(it) == (5003, "The SIM is suspended")


def test_a_blocked_quota_is_refused_for_now() -> None:
    it = Pcef(QUOTA | {"quota": {"octets": 0}, "on_exhausted": ["block"]})
    assert refused(it)[0] == 4010


def test_a_client_of_one_operator_does_not_get_anothers_sims() -> None:
    it = Pcef(peers=[{"origin_host": "smf.localdomain", "origin_realm": REALM, "operator": "mvno"}])
    assert refused(it)[0] == 5030


def test_a_relay_of_one_operator_does_not_either_for_whom_it_relays() -> None:
    class Relay(At):
        class remote:
            origin_host = "dra.example"
            origin_realm = "example"

    it = Pcef(peers=[
        {"origin_host": "smf.localdomain", "origin_realm": REALM},
        {"origin_host": "dra.example", "origin_realm": "example", "operator": "mvno"},
    ])  # fmt: skip
    imsi = ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", IMSI)])
    asked = [*it.head(1, 0), imsi, ("Called-Station-Id", "internet")]
    assert result(it.ask(asked, peer=Relay)) == 5030
    assert result(it.ask(asked)) == 2001


def test_a_relay_of_one_operator_cannot_touch_anothers_bearers_by_their_session_id() -> None:
    class Relay(At):
        class remote:
            origin_host = "dra.example"
            origin_realm = "example"

    it = Pcef(QUOTA, peers=[
        {"origin_host": "smf.localdomain", "origin_realm": REALM},
        {"origin_host": "dra.example", "origin_realm": "example", "operator": "mvno"},
    ])  # fmt: skip
    it.initial()
    imsi = ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", IMSI)])
    for kind in (1, 2, 3):
        assert result(it.ask([*it.head(kind), imsi, usage(500)], peer=Relay)) == 5002
    assert it.session.state == ACTIVE
    assert it.used() == (0, 0)
    assert result(it.update(usage(300))) == 2001
    assert sum(it.used()) == 300


def test_the_key_of_another_kind_of_session_is_no_bearers() -> None:
    it = Pcef()
    nas = client_of(it.store, it.client, REALM, "")
    service = it.store.services["erin"]
    other = new_session(it.store, GY, nas, it.key.encode(), service, GyFacts(IMSI, REALM, apn="internet"), it.now)
    open_session(it.store, other, None)
    it.settle()
    it.number = 0
    assert result(it.update(usage(300))) == 5002
    assert result(it.terminate()) == 5002
    assert other.state == ACTIVE


@pytest.mark.parametrize(("imei", "code"), [("353490060000011", 2001), ("3534900600000229", 5003), ("", 5003)])
def test_a_service_locked_to_a_device_is_used_from_it_alone(imei: str, code: int) -> None:
    it = Pcef()
    it.put("device", "phone", imei="35349006000001")
    it.put("service", "erin", subscriber_id="erin", plan_id="home", lock={"device": ["phone"]})
    equipment = [("User-Equipment-Info-Type", 0), ("User-Equipment-Info-Value", imei.encode())]
    assert result(it.initial(*([("User-Equipment-Info", equipment)] if imei else []))) == code


def test_a_service_locked_to_a_client_is_used_through_it_alone() -> None:
    it = Pcef()
    it.put("service", "erin", subscriber_id="erin", plan_id="home", lock={"nas": ["other.localdomain"]})
    assert result(it.initial()) == 5003


def test_a_request_type_that_gx_does_not_have_is_an_invalid_value() -> None:
    it = Pcef()
    answer = it.ask(it.head(4))
    assert result(answer) == 5004
    assert answer.get_group(279).get_integer32(416) == 4  # type: ignore[union-attr]


def test_another_command_is_not_supported() -> None:
    it = Pcef()
    octets = bytearray(it.octets(it.head(1, 0)))
    octets[5:8] = (274).to_bytes(3, "big")
    answer = Message.parse(it.gx.receive([asked(bytes(octets))], it.now)[0])
    assert result(answer) == 3001


# Repetitions and restarts


def test_a_repeated_beginning_is_answered_the_same_and_opens_nothing_also_after_a_restart() -> None:
    it = Pcef(QUOTA)
    first = it.initial()
    assert it.repeat().raw == first.raw
    octets, it = it.last, it.again()
    assert it.ask_octets(octets).raw == first.raw
    assert len(it.store.sessions) == 1


def test_a_repeated_update_is_answered_the_same_and_counted_once_also_after_a_restart() -> None:
    it = Pcef(QUOTA)
    it.initial()
    first = it.update(usage(1_000_000))
    assert rate(shown(first)) == (64_000, 32_000)
    assert it.repeat().raw == first.raw
    octets, it = it.last, it.again()
    assert it.ask_octets(octets).raw == first.raw
    assert it.used() == (0, 1_000_000)


def test_a_repeated_end_is_answered_the_same_and_counted_once_also_after_a_restart() -> None:
    it = Pcef(QUOTA)
    it.initial()
    first = it.terminate(usage(700))
    octets, it = it.last, it.again()
    assert it.ask_octets(octets).raw == first.raw
    assert it.used() == (0, 700)
    assert it.session.state == ENDED


def test_an_update_that_was_overtaken_brings_its_usage_alone() -> None:
    it = Pcef(QUOTA)
    it.initial()
    it.update(usage(300), number=2)
    place = bytes.fromhex("8200f110000100f11000000999")
    it.update(usage(200), ("3GPP-User-Location-Info", place), number=1)
    assert it.used() == (0, 500)
    assert it.session.mobile.location == "ECGI:00101-00000101"
    it.update(usage(200), number=1)
    assert it.used() == (0, 500)


def test_a_new_session_of_the_same_apn_takes_the_place_of_the_lost_one() -> None:
    it = Pcef()
    it.initial()
    lost = it.session
    it.initial(key="smf;1;2")
    assert (lost.state, it.session.state) == (ENDED, ACTIVE)


def test_two_connections_of_one_apn_that_are_told_apart_live_side_by_side() -> None:
    it = Pcef()
    it.initial(("PDN-Connection-ID", b"\x05"))
    first = it.session
    it.initial(("PDN-Connection-ID", b"\x06"), key="smf;1;2")
    assert first.state == ACTIVE


def test_the_same_session_id_begun_anew_closes_the_old_one() -> None:
    it = Pcef()
    it.initial()
    lost = it.session
    imsi = ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", IMSI)])
    it.ask([*it.head(1, 5), imsi, ("Called-Station-Id", "internet")])
    assert lost.state == ENDED
    assert it.session is not lost
    assert it.session.state == ACTIVE


# Unknown sessions


def test_an_unknown_session_that_names_its_subscriber_is_taken_over_and_told_all() -> None:
    it = Pcef(QUOTA)
    it.number = 6
    imsi = ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", IMSI)])
    answer = shown(it.update(imsi, ("Called-Station-Id", "internet"), usage(250, level=0, key="another")))
    assert rate(answer) == (20_000_000, 5_000_000)
    assert it.session.adopted
    assert it.used() == (0, 250)
    (event,) = it.events("session.started")
    assert event.data["adopted"] is True
    again = it.repeat()
    assert it.used() == (0, 250)
    assert result(again) == 2001


def test_an_unknown_session_without_a_name_or_where_none_are_adopted_is_unknown() -> None:
    it = Pcef()
    assert result(it.update(number=3)) == 5002
    it = Pcef(adopt=False)
    imsi = ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", IMSI)])
    assert result(it.update(imsi, ("Called-Station-Id", "internet"), number=3)) == 5002
    assert result(it.terminate()) == 5002


def test_the_late_end_of_a_session_that_was_closed_here_still_counts() -> None:
    it = Pcef(QUOTA)
    it.initial()
    it.initial(key="smf;1;2")
    it.key = "smf;1;1"
    it.now += 60
    assert result(it.terminate(usage(900), number=1)) == 2001
    assert it.used() == (0, 900)
    stopped = it.events("session.stopped")
    assert len(stopped) == 2
    assert (stopped[-1].data["ended_at"], stopped[-1].data["session_time_s"]) == (it.now, 60)


# Usage


def test_usage_up_to_the_next_crossing_is_asked_for_and_the_crossing_is_told_with_the_answer() -> None:
    it = Pcef(QUOTA, quota_slice=400_000)
    answer = shown(it.initial())
    assert answer[GRANTED] == "400000"
    assert answer["Usage-Monitoring-Information.Usage-Monitoring-Level"] == "SESSION_LEVEL"
    assert answer["Event-Trigger"] == ["REVALIDATION_TIMEOUT", "USAGE_REPORT"]
    assert answer["Revalidation-Time"] == "2023-12-01T00:00:00Z"
    assert answer[f"{DEFINITION}.Online"] == "ENABLE_ONLINE"
    assert shown(it.update(usage(400_000)))[GRANTED] == "400000"
    last = shown(it.update(usage(400_000)))
    assert last[GRANTED] == "200000"
    crossed = shown(it.update(usage(150_000, up=50_000)))
    assert rate(crossed) == (64_000, 32_000)
    # What is left is no mark any more; usage is wanted all the same.
    assert crossed[GRANTED] == "400000"
    assert it.used() == (50_000, 950_000)
    assert it.wire.sent == []
    assert it.session.decision is it.session.desired


@pytest.mark.parametrize(("direction", "unit"), [("down", "CC-Output-Octets"), ("up", "CC-Input-Octets")])
def test_a_quota_of_one_direction_is_monitored_in_it(direction: str, unit: str) -> None:
    it = Pcef(QUOTA | {"quota": {"octets": 500_000, "direction": direction}})
    assert shown(it.initial())[f"Usage-Monitoring-Information.Granted-Service-Unit.{unit}"] == "500000"


def test_free_rules_are_left_out_of_what_is_monitored() -> None:
    it = Pcef(QUOTA | {"qos": QOS | {"rules": RULES[:2]}})
    answer = shown(it.initial())
    assert answer["Usage-Monitoring-Information.Usage-Monitoring-Level"] == "PCC_RULE_LEVEL"
    assert answer[f"{DEFINITION}.Monitoring-Key"] == "quota"
    assert f"{DEFINITION}[2].Monitoring-Key" not in answer
    it.update(usage(900, level=1), usage(500, level=1, key="portal"))
    assert it.used() == (0, 900)


def test_usage_of_a_bearer_that_gy_charges_is_kept_with_its_session_only() -> None:
    it = Pcef(QUOTA)
    it.initial()
    nas = client_of(it.store, it.client, REALM, "")
    facts = GyFacts(imsi=IMSI, realm=REALM, apn="internet")
    service = it.store.services["erin"]
    gy = new_session(it.store, GY, nas, b"smf;gy", service, facts, it.now)
    open_session(it.store, gy, it.decisions.of_session(gy, it.now))
    it.settle()
    answer = shown(it.update(usage(4_000)))
    assert it.used() == (0, 0)
    assert it.session.output_octets == 4_000
    assert GRANTED not in answer
    assert answer["Event-Trigger"] == "REVALIDATION_TIMEOUT"


def test_without_release_9_nothing_is_monitored() -> None:
    features = [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 1)]
    assert GRANTED not in shown(Pcef(QUOTA).initial(("Supported-Features", features)))


def test_a_total_alone_is_traffic_to_the_subscriber() -> None:
    it = Pcef(QUOTA)
    it.initial()
    used = [("Monitoring-Key", "quota"), ("Used-Service-Unit", [("CC-Total-Octets", 800)])]
    it.update(("Usage-Monitoring-Information", used))
    assert it.used() == (0, 800)


def test_usage_that_nobody_can_have_is_noise() -> None:
    it = Pcef(QUOTA)
    it.initial()
    for _ in range(3):
        assert result(it.update(usage((1 << 64) - 1))) == 2001
    assert it.used() == (0, 0)


# What changes


def test_another_plan_reaches_a_live_bearer_as_one_rar_with_the_difference() -> None:
    it = Pcef(qos(rules=RULES[:2]))
    it.initial()
    changed = [RULES[0] | {"precedence": 20}, RULES[2]]
    plan(it, **(qos(rules=changed) | {"rate": {"down_bps": 50_000_000, "up_bps": 5_000_000}}))
    rar = it.rar()
    assert rar["Re-Auth-Request-Type"] == "AUTHORIZE_ONLY"
    assert rar["Charging-Rule-Remove.Charging-Rule-Name"] == "portal"
    assert rar[f"{DEFINITION}.Charging-Rule-Name"] == "web"
    assert rar[f"{DEFINITION}.Precedence"] == "20"
    assert rar["Charging-Rule-Install.Charging-Rule-Name"] == "video"
    assert rate(rar) == (50_000_000, 5_000_000)
    assert "Default-EPS-Bearer-QoS.QoS-Class-Identifier" not in rar
    it.accept()
    assert it.session.decision is it.session.desired
    assert set(it.session.mobile.rules) == {"web", "video"}
    assert len(it.wire.sent) == 1
    (event,) = it.events("policy.enforced")
    assert event.data["reason"] == "rate, rules"


def test_only_what_differs_is_told() -> None:
    it = Pcef(qos(rules=RULES))
    it.initial()
    plan(it, **(qos(rules=RULES) | {"rate": {"down_bps": 1_000_000, "up_bps": 5_000_000}}))
    assert not any(name.startswith("Charging-Rule") for name in it.rar())
    it.accept()
    plan(it, **(qos(rules=RULES, qci=8) | {"rate": {"down_bps": 1_000_000, "up_bps": 5_000_000}}))
    rar = it.rar()
    assert rar["Default-EPS-Bearer-QoS.QoS-Class-Identifier"] == "QCI_8"
    assert AMBR[0] not in rar


def test_a_rate_that_is_lifted_is_taken_back_by_one_that_limits_nothing() -> None:
    it = Pcef()
    it.initial()
    plan(it, kind="mobile", qos=QOS)
    assert rate(it.rar()) == (4_294_967_295, 4_294_967_295)


def test_a_name_of_a_base_is_taken_back_as_one() -> None:
    it = Pcef(qos(rules=RULES))
    it.initial()
    plan(it, **qos(rules=RULES[:3]))
    assert it.rar()["Charging-Rule-Remove.Charging-Rule-Base-Name"] == "basics"


def test_after_a_rar_without_an_answer_the_next_one_tells_all_and_takes_back_what_either_had() -> None:
    it = Pcef(qos(rules=RULES[:1]))
    it.initial()
    plan(it, **qos(rules=RULES[1:2]))
    it.accept(3002)
    plan(it, **qos(rules=RULES[2:3]))
    rar = it.rar()
    assert set(rar["Charging-Rule-Remove.Charging-Rule-Name"]) == {"web", "portal"}
    assert rar["Charging-Rule-Install.Charging-Rule-Name"] == "video"
    assert rate(rar) == (20_000_000, 5_000_000)


def test_a_restricted_service_is_put_behind_the_garden_of_its_pcef() -> None:
    peers = [{"origin_host": "smf.localdomain", "origin_realm": REALM, "garden_rule": "walled"}]
    it = Pcef(peers=peers)
    it.initial()
    state(it, "restricted")
    rar = it.rar()
    assert rar["Charging-Rule-Install.Charging-Rule-Name"] == "walled"
    assert rar["Charging-Rule-Remove.Charging-Rule-Name"] == "default"
    assert rate(rar)[0] < 20_000_000
    it.accept()
    state(it, "active")
    assert it.rar()[f"{DEFINITION}.Charging-Rule-Name"] == "default"


def test_a_suspension_releases_the_bearer() -> None:
    it = Pcef()
    it.initial()
    state(it, "suspended")
    assert it.rar()["Session-Release-Cause"] == "UE_SUBSCRIPTION_REASON"
    it.accept()
    assert it.session.state == ACTIVE
    it.terminate()
    assert it.session.state == ENDED
    assert it.session.terminate_cause == 6


def test_a_suspended_sim_releases_the_bearer_for_what_is_subscribed() -> None:
    it = Pcef()
    it.initial()
    it.put("sim", ICCID, iccid=ICCID, imsi=IMSI, service_id="erin", state="suspended")
    it.settle()
    assert it.rar()["Session-Release-Cause"] == "UE_SUBSCRIPTION_REASON"


def test_a_gateway_that_is_known_not_to_release_is_not_waited_for() -> None:
    it = Pcef(peers=[{"origin_host": "smf.localdomain", "origin_realm": REALM, "family": "open5gs"}])
    it.initial()
    state(it, "suspended")
    it.accept()
    assert it.session.state == ENDED


def test_an_apn_that_is_subscribed_no_more_ends_its_bearer() -> None:
    it = Pcef()
    it.initial()
    plan(it, **qos(apn="other"))
    assert "Session-Release-Cause" in it.rar()


def test_a_pcef_that_does_not_know_the_session_any_more_ends_it() -> None:
    it = Pcef()
    it.initial()
    plan(it, **qos(qci=7))
    it.accept(5002)
    assert it.session.state == ENDED


def test_a_pcef_that_never_takes_the_change_is_told_to_release() -> None:
    it = Pcef()
    it.initial()
    plan(it, **qos(qci=7))
    it.accept(5012, ("Error-Message", "no"))
    assert "Session-Release-Cause" in it.rar()
    (event,) = it.events("enforcement.failed")
    assert event.data["detail"] == "5012 no"


def test_a_top_up_restores_the_speed_of_a_live_bearer() -> None:
    it = Pcef(QUOTA)
    it.initial()
    it.update(usage(1_000_000))
    plan(it, **(QUOTA | {"quota": {"octets": 3_000_000}}))
    rar = it.rar()
    assert rate(rar) == (20_000_000, 5_000_000)
    assert rar[GRANTED] == "2000000"
    it.accept()
    assert it.session.mobile.monitored == 2_000_000


def test_monitoring_begins_and_ends_with_the_quota_of_a_plan() -> None:
    it = Pcef()
    it.initial()
    plan(it, **QUOTA)
    rar = it.rar()
    assert rar[GRANTED] == "1000000"
    assert "USAGE_REPORT" in rar["Event-Trigger"]
    it.accept()
    plan(it, **PLAN)
    rar = it.rar()
    assert rar["Usage-Monitoring-Information.Usage-Monitoring-Support"] == "USAGE_MONITORING_DISABLED"
    it.accept()
    assert it.session.mobile.monitored == 0


def test_while_a_rar_is_under_way_an_update_leaves_the_change_to_it() -> None:
    it = Pcef(QUOTA)
    it.initial()
    plan(it, **(QUOTA | {"rate": {"down_bps": 9_000_000, "up_bps": 1_000_000}}))
    answer = shown(it.update(usage(10)))
    assert AMBR[0] not in answer
    it.accept()
    assert it.session.decision is it.session.desired
    assert len(it.wire.sent) == 1


# Where it is


def located() -> Any:
    text = """
[[rule]]
name = "abroad"
when = 'session.plmn == "00102"'
then = { rate = "256k/256k" }
"""
    return compile_texts({"policy.toml": text})


def test_a_rule_that_reads_the_network_is_followed_by_an_event_trigger_and_takes_effect_with_its_report() -> None:
    it = Pcef(policy=located())
    answer = shown(it.initial())
    assert answer["Event-Trigger"] == "PLMN_CHANGE"
    moved = shown(it.update(("Event-Trigger", "PLMN_CHANGE"), ("3GPP-SGSN-MCC-MNC", "00102")))
    assert rate(moved) == (256_000, 256_000)
    assert it.session.decision is it.session.desired
    assert it.wire.sent == []
    back = shown(it.update(("3GPP-SGSN-MCC-MNC", "00101")))
    assert rate(back) == (20_000_000, 5_000_000)


def test_a_raa_that_tells_another_place_counts_as_well() -> None:
    it = Pcef(policy=located())
    it.initial()
    plan(it, **qos(qci=7))
    it.accept(2001, ("3GPP-SGSN-MCC-MNC", "00102"))
    assert rate(it.rar()) == (256_000, 256_000)


def test_another_qos_that_is_asked_for_is_answered_by_the_authorised_one() -> None:
    it = Pcef()
    it.initial()
    wanted = [("APN-Aggregate-Max-Bitrate-DL", 999), ("APN-Aggregate-Max-Bitrate-UL", 999)]
    answer = shown(it.update(("Event-Trigger", "QOS_CHANGE"), ("QoS-Information", wanted)))
    assert rate(answer) == (20_000_000, 5_000_000)
    assert answer["Default-EPS-Bearer-QoS.QoS-Class-Identifier"] == "QCI_9"


def test_a_revalidation_gets_what_holds_by_then_and_the_next_moment() -> None:
    it = Pcef(QUOTA)
    it.initial()
    it.update(usage(1_000_000))
    it.now = AT + 1_433_601
    answer = shown(it.update(("Event-Trigger", "REVALIDATION_TIMEOUT")))
    assert rate(answer) == (20_000_000, 5_000_000)
    assert answer["Revalidation-Time"] == "2024-01-01T00:00:00Z"


def test_another_address_is_learned() -> None:
    it = Pcef()
    it.initial()
    it.update(("Event-Trigger", "UE_IP_ADDRESS_ALLOCATE"), ("Framed-IP-Address", "10.45.0.9"))
    assert it.session.framed_ip == bytes((10, 45, 0, 9))


# Rules that fail


def test_a_rule_that_failed_is_told_once_and_not_sent_again_before_it_changes() -> None:
    it = Pcef(qos(rules=RULES))
    it.initial()
    it.update(report("video"))
    it.update(report("video"))
    (event,) = it.events("enforcement.failed")
    assert event.data["detail"] == "not in force: video (10)"
    assert it.session.mobile.failed == {"video": 10}
    plan(it, **qos(rules=RULES[1:3]))
    rar = it.rar()
    assert "Charging-Rule-Install.Charging-Rule-Name" not in rar
    it.accept()
    it.update(report("video", status=0))
    assert it.session.mobile.failed == {}


def test_a_rule_that_failed_need_not_be_taken_back() -> None:
    it = Pcef(qos(rules=RULES[:2]))
    it.initial()
    it.update(report("web"))
    plan(it, **qos(rules=RULES[1:2]))
    assert it.wire.sent == []
    assert it.session.decision is it.session.desired


def test_a_rule_that_failed_for_its_rating_group_is_tried_without_once() -> None:
    it = Pcef(qos(rules=RULES[:2]))
    it.initial()
    answer = shown(it.update(report("web", 2)))
    assert answer[f"{DEFINITION}.Charging-Rule-Name"] == "web"
    assert f"{DEFINITION}.Rating-Group" not in answer
    assert it.session.mobile.failed == {}
    assert f"{DEFINITION}.Charging-Rule-Name" not in shown(it.update(report("web", 2)))
    assert it.session.mobile.failed == {"web": 2}
    assert it.wire.sent == []


def test_reports_about_rules_that_nobody_sent_are_not_kept() -> None:
    it = Pcef()
    it.initial()
    it.update(*(report(f"rule-{number}") for number in range(50)))
    assert it.session.mobile.failed == {}


@pytest.mark.parametrize("code", [0, 2001])
def test_rules_that_a_raa_reports_as_failed_leave_the_others_in_force(code: int) -> None:
    it = Pcef(qos(rules=RULES[:1]))
    it.initial()
    plan(it, **qos(rules=RULES[:3]))
    experimental = [("Vendor-Id", 10415), ("Experimental-Result-Code", 5142)]
    it.accept(code, *([] if code else [("Experimental-Result", experimental)]), report("video", 1))
    assert it.session.decision is it.session.desired
    assert it.session.mobile.failed == {"video": 1}
    assert len(it.wire.sent) == 1


def test_a_raa_that_takes_no_rule_ends_the_bearer() -> None:
    it = Pcef(qos(rules=RULES[:1]))
    it.initial()
    plan(it, **qos(rules=RULES[:3]))
    experimental = [("Vendor-Id", 10415), ("Experimental-Result-Code", 5142)]
    it.accept(0, ("Experimental-Result", experimental))
    assert "Session-Release-Cause" in it.rar()


# What leaves


def test_proxies_get_their_own_back() -> None:
    it = Pcef()
    proxy = ("Proxy-Info", [("Proxy-Host", "dra.example"), ("Proxy-State", b"1")])
    for answer in (it.initial(proxy), it.update(proxy), it.terminate(proxy), it.terminate(proxy, number=9)):
        assert answer.get_group(284).get(280) == b"dra.example"  # type: ignore[union-attr]


def test_tshark_has_nothing_against_what_is_sent(tmp_path: Path) -> None:
    it = Pcef(QUOTA | {"qos": QOS | {"rules": RULES, "apn_ambr": {"down_bps": 10**10, "up_bps": 10**10}}})
    features = [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 0xB)]
    sent = [it.initial(("Supported-Features", features)), it.update(usage(1_000_000)), it.update(report("web", 2))]
    octets = [message.raw for message in sent]
    plan(it, **qos(rules=RULES[1:2], qci=7))
    it.accept()
    plan(it, **(QUOTA | {"quota": {"octets": 5_000_000}}))
    it.accept()
    state(it, "suspended")
    octets += [it.rar_octets(index) for index in range(len(it.wire.sent))]
    assert len(it.wire.sent) == 3
    octets += [it.terminate(usage(3)).raw, it.initial(imsi="001010000000099", key="x;1").raw, it.update().raw]
    assert complaints(octets, tmp_path) == []


def test_every_avp_is_as_the_dictionary_has_it() -> None:
    it = Pcef(QUOTA | {"qos": QOS | {"rules": [RULES[0] | {
        "service_identifier": 3, "arp": {"priority": 2, "preempt": True}, "offline": True, "gate": "closed",
        "max_rate": {"down_bps": 10**10, "up_bps": 5}, "guaranteed_rate": {"down_bps": 10**10, "up_bps": 6},
    }, *RULES[1:]]}})  # fmt: skip
    answer = it.initial(("Supported-Features", [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 2)]))
    it.update(usage(1_000_000))
    plan(it, **PLAN)
    state(it, "suspended")
    it.accept()
    seen = check_flags(answer.avps(), answer)
    for sent in it.wire.sent:
        for octets in sent.avps:
            message = Message.parse(_whole(octets))
            check_flags(message.avps(), message)
    assert {"Extended-GBR-DL", "Extended-Max-Requested-BW-DL", "Service-Identifier", "Offline"} <= seen


def _whole(octets: bytes) -> bytes:
    return diameter.message(0, 258, 16777238, 1, 1, [octets])


def check_flags(avps: Any, group: Any) -> set[str]:
    """M and V bits of every AVP, at any depth."""
    seen = set()
    for code, vendor, flags, _ in avps:
        avp = DICTIONARY.by_number(code, vendor)
        assert avp is not None, (code, vendor)
        assert bool(flags & 0x40) == avp.mandatory, avp.name
        assert bool(flags & 0x80) == bool(vendor), avp.name
        seen.add(avp.name)
        if avp.type == "Grouped":
            for inner in group.get_groups(code, vendor):
                seen |= check_flags(inner.avps(), inner)
    return seen


# Bounds


def test_a_relay_with_ever_new_names_leaves_nothing_behind() -> None:
    it = Pcef()
    for number in range(20):
        it.client = f"smf{number}.localdomain"
        assert result(it.initial(imsi="001010000000099", key=f"s;{number}")) == 5030
        assert result(it.update(number=3)) == 5002
    assert not it.store.nases
    it.client = "smf7.localdomain"
    assert result(it.initial(key="s;7")) == 2001
    assert list(it.store.nases) == ["smf7.localdomain"]
    assert it.again().session.nas.realm == REALM


def test_names_that_are_no_names_are_not_kept() -> None:
    it = Pcef()
    assert result(it.initial(apn="x" * 1_000)) == 5003
    assert not it.gx.apns


def test_the_garden_is_monitored_as_a_whole_whatever_rules_it_replaces() -> None:
    peers = [{"origin_host": "smf.localdomain", "origin_realm": REALM, "garden_rule": "walled"}]
    it = Pcef(QUOTA | {"qos": QOS | {"rules": RULES[:2]}}, peers=peers)
    it.initial()
    state(it, "restricted")
    rar = it.rar()
    assert rar["Usage-Monitoring-Information.Usage-Monitoring-Level"] == "SESSION_LEVEL"


def test_mutated_requests_get_one_answer_of_the_right_grammar() -> None:
    it = Pcef(QUOTA | {"qos": QOS | {"rules": RULES}})
    imsi = ("Subscription-Id", [("Subscription-Id-Type", 1), ("Subscription-Id-Data", IMSI)])
    features = [("Vendor-Id", 10415), ("Feature-List-ID", 1), ("Feature-List", 0xB)]
    it.initial(("Supported-Features", features), ("PDN-Connection-ID", b"\x05"))
    seeds = [it.last]
    it.update(usage(5, up=3), report("web", 2), imsi, ("Called-Station-Id", "internet"), ("Event-Trigger", 29))
    seeds.append(it.last)
    it.terminate(usage(5), ("Termination-Cause", 1))
    seeds.append(it.last)
    random = Random(29212)
    request = DICTIONARY.command("Gx", "CCR").grammar
    taken = 0
    while taken < 400:
        octets = bytearray(random.choice(seeds))
        for _ in range(random.randint(1, 4)):
            octets[random.randrange(20, len(octets))] = random.choice([0, 1, 2, 3, 255, random.randrange(256)])
        message = Message.parse(bytes(octets))
        if not message.fault and request.check(message) is None:
            taken += 1
            it.ask_octets(bytes(octets))
            if it.wire.waiting:
                it.accept(random.choice([2001, 3002, 4001, 5002, 5012]))


def test_a_failure_that_a_pcef_names_a_thousand_times_is_one_event() -> None:
    it = Pcef()
    it.initial()
    before = it.store.last_event
    assert result(it.update(*[("Event-Trigger", 29)] * 1000)) == 2001
    assert it.store.last_event - before == 1
