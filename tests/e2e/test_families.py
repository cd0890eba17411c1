"""What each NAS family is told in an Access-Accept, as FreeRADIUS's dictionaries read it."""

import pytest

from tests.e2e.conftest import FAMILY_ADDRESS
from tests.e2e.peers import ROOT

# 50 Mbit/s down, 10 up: docs/nas-families.md. Attributes whose vendor Debian's dictionaries lack show as Attr-26….
EXPECTED = {
    "generic": [("WISPr-Bandwidth-Max-Down", "50000000"), ("WISPr-Bandwidth-Max-Up", "10000000")],
    "mikrotik": [("Mikrotik-Rate-Limit", "10M/50M")],
    "cisco": [
        ("Cisco-AVPair", "lcp:interface-config#1=rate-limit input 10000000 1875000 3750000"),
        ("Cisco-AVPair", "lcp:interface-config#2=rate-limit output 50000000 9375000 18750000"),
    ],
    "juniper": [("ERX-CoS-Shaping-Pmt-Type", "T02 50m")],
    "huawei": [
        ("Huawei-Input-Average-Rate", "10000000"),
        ("Huawei-Input-Peak-Rate", "10000000"),
        ("Huawei-Output-Average-Rate", "50000000"),
        ("Huawei-Output-Peak-Rate", "50000000"),
    ],
    "nokia": [
        ("Alc-Subscriber-QoS-Override", "i:q:1:pir=10000"),
        ("Alc-Subscriber-QoS-Override", "e:r:rate=50000"),
    ],
    "zte": [("ZTE-Rate-Ctrl-SCR-Down", "50000000"), ("ZTE-Rate-Ctrl-SCR-Up", "10000000")],
    "ubiquiti": [("WISPr-Bandwidth-Max-Down", "50000000"), ("WISPr-Bandwidth-Max-Up", "10000000")],
    "cambium": [],
    "accel-ppp": [("Filter-Id", "50000/10000")],
}


@pytest.fixture(scope="module")
def subscriber(server):
    return server.service("every-family")


@pytest.mark.parametrize("family", FAMILY_ADDRESS)
def test_family_gets_the_rate_in_its_own_words(server, subscriber, family):
    answer = server.login(subscriber, f"pw-{subscriber}", source=FAMILY_ADDRESS[family])
    assert answer.accepted
    shown = [(name, value) for name, value in answer.pairs]
    for name, value in EXPECTED[family]:
        assert any(name == key and text.startswith(value) for key, text in shown), answer.text
    assert answer.get("Session-Timeout") == "86400"
    assert answer.get("Acct-Interim-Interval") == "300"
    assert answer.pairs[0][0] == "Message-Authenticator", "first, against CVE-2024-3596"


@pytest.mark.parametrize("family", FAMILY_ADDRESS)
def test_api_shows_what_the_wire_carries(server, subscriber, family):
    """`aaa policy explain` and the packet are renderings of one decision."""
    answer = server.login(subscriber, f"pw-{subscriber}", source=FAMILY_ADDRESS[family])
    shown = server.api("GET", f"/v1/services/{subscriber}/decision?nas=nas-{family}")["attributes_sent"]
    values = [value for _, value in answer.pairs]
    for name, value in shown:
        if not name.startswith(("ePMP", "Cambium", "Motorola")):
            assert value in values or (name, value) in answer.pairs, (name, value, answer.text)


def test_plan_s_own_attributes_reach_the_family_they_name(server):
    server.plan(
        "with-attributes",
        attributes=[
            {"family": "*", "name": "Filter-Id", "value": "all"},
            {"family": "mikrotik", "name": "Mikrotik-Group", "value": "gold"},
            {"family": "cisco", "name": "Cisco-AVPair", "value": "ip:vrf-id=red"},
        ],
    )
    user = server.service("with-attributes", plan="with-attributes")
    answer = server.login(user, f"pw-{user}", source=FAMILY_ADDRESS["mikrotik"])
    assert (answer.get("Filter-Id"), answer.get("Mikrotik-Group"), answer.all("Cisco-AVPair")) == ("all", "gold", [])
    answer = server.login(user, f"pw-{user}", source=FAMILY_ADDRESS["cisco"])
    assert (answer.get("Filter-Id"), answer.all("Mikrotik-Group")) == ("all", [])
    assert answer.get("Cisco-AVPair") == "ip:vrf-id=red"


def test_service_type_and_protocol_are_those_that_were_asked_for(server, subscriber):
    answer = server.login(subscriber, f"pw-{subscriber}", "Service-Type = Framed-User", "Framed-Protocol = PPP")
    assert (answer.get("Service-Type"), answer.get("Framed-Protocol")) == ("Framed-User", "PPP")
    answer = server.login(subscriber, f"pw-{subscriber}")
    assert answer.all("Service-Type") == answer.all("Framed-Protocol") == []


def test_pool_name_that_is_no_pool_of_ours_is_the_nas_s_own(server):
    server.plan("nas-pool", pool="residential")
    user = server.service("nas-pool", plan="nas-pool")
    assert server.login(user, f"pw-{user}").get("Framed-Pool") == "residential"


def test_nases_behind_one_prefix_are_told_apart_by_their_identifier(server, subscriber):
    def login(identifier):
        line = f'NAS-Identifier = "{identifier}"'
        return server.login(subscriber, f"pw-{subscriber}", line, source="127.0.3.7", wait=1)

    assert login("bras-a").all("Cisco-AVPair")
    assert login("bras-b").all("Huawei-Input-Average-Rate")
    assert login("bras-c").code == "", "nobody claims it"


def test_expected_families_are_all_families():
    assert list(EXPECTED) == list(FAMILY_ADDRESS)
    assert all(f"## {family}" in (ROOT / "docs/nas-families.md").read_text() for family in FAMILY_ADDRESS)
