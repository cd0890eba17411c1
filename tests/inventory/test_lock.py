"""A lock that names a device is as good as one that names its MAC."""

from typing import Any

import pytest

from aaa.model.access import Verdict
from tests.engine.site import Site

MAC, OTHER = b"02-00-00-00-00-01", b"02:00:00:00:00:02"


def verdict(site: Site, mac: bytes | None) -> Verdict:
    facts: dict[str, Any] = {} if mac is None else {"calling_station": mac}
    return Verdict(site.login(**facts).verdict)


def test_a_lock_follows_the_mac_of_the_device_that_it_names() -> None:
    site = Site()
    site.service(lock={"device": ["cpe-1"]})
    assert verdict(site, MAC) == Verdict.REJECT
    site.put("device", "cpe-1", mac="0200.0000.0001", service_id="alice")
    assert verdict(site, MAC) == Verdict.ACCEPT
    assert verdict(site, OTHER) == Verdict.REJECT
    assert verdict(site, None) == Verdict.REJECT
    site.put("device", "cpe-1", mac="02-00-00-00-00-02", service_id="alice")
    assert (verdict(site, MAC), verdict(site, OTHER)) == (Verdict.REJECT, Verdict.ACCEPT)


@pytest.mark.parametrize("device", [{"serial": "S1"}, {"mac": "02-00-00-00-00-01", "operator": "mvno"}])
def test_a_device_without_a_mac_or_of_another_operator_lets_nobody_in(device: dict[str, Any]) -> None:
    site = Site()
    site.service(lock={"device": ["cpe-1"]})
    site.put("device", "cpe-1", **device)
    assert verdict(site, MAC) == Verdict.REJECT


def test_a_lock_may_name_a_mac_beside_devices() -> None:
    site = Site()
    site.service(lock={"device": ["cpe-1", "02-00-00-00-00-02"]})
    site.put("device", "cpe-1", mac="02-00-00-00-00-01")
    assert (verdict(site, MAC), verdict(site, OTHER)) == (Verdict.ACCEPT, Verdict.ACCEPT)
