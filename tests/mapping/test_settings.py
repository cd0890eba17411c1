"""Who a client is by the [[peer]] entries: its own, its realm's, that of the peer that it is behind."""

from __future__ import annotations

import pytest

from aaa.config import Diameter, Peer
from aaa.mapping.settings import Settings
from tests.mapping.desk import SERVER, peer_of
from tests.mapping.gy_desk import INITIAL, Desk, quota, service

ENTRIES = [
    Peer("Own.example", "example", family="generic"),
    Peer("*", "Core.example", family="open5gs"),
    Peer("relay.example", "example", family="open5gs", operator="mvno", imsis=("00101",)),
]
SETTINGS = Settings(Diameter(origin_host=SERVER), ENTRIES)


@pytest.mark.parametrize(
    ("host", "realm", "via", "family"),
    [
        ("own.example", "core.example", "relay.example", "generic"),
        ("smf.core.example", "core.example", "", "open5gs"),
        ("smf.far.example", "far.example", "relay.example", "open5gs"),
        ("smf.far.example", "far.example", "", "generic"),
    ],
)
def test_the_nearest_entry_says_what_a_client_understands(host: str, realm: str, via: str, family: str) -> None:
    assert SETTINGS.family(host, realm, via).name == family


def test_what_a_peer_may_ask_about_goes_by_its_own_entry() -> None:
    relay, stranger = SETTINGS.side(peer_of("relay.example")), SETTINGS.side(peer_of("stranger.example"))
    assert (relay.operator, relay.imsis, relay.host) == ("mvno", ("00101",), "relay.example")
    assert (stranger.operator, stranger.imsis) == (None, ())
    assert SETTINGS.side(peer_of("relay.example")) is relay
    assert (relay.via("relay.example"), relay.via("smf.far.example")) == ("", "relay.example")


def test_a_charging_client_behind_a_peer_is_answered_as_that_peer_is() -> None:
    for family, result in (("generic", 2001), ("open5gs", 4012)):
        settings = Settings(Diameter(origin_host=SERVER), [Peer("relay.example", "example", family=family)])
        it = Desk(quota(0, "block"), settings)
        request = it.ccr(INITIAL, 0, service(), host="smf.far.example")
        request.peer = peer_of("relay.example")
        assert it.send(request).result == result
