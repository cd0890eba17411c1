"""Diameter connections of real stacks: OTP and freeDiameter dial the server over TCP, TLS and TLS in band."""

import pytest

from tests.e2e.mobile import Network


@pytest.fixture
def network(start, tmp_path):
    made = []

    def build(**options):
        made.append(Network(start, tmp_path, **options))
        return made[-1]

    yield build
    for one in made:
        one.close()


def test_otp_connects_over_tcp_tls_and_tls_in_band(network):
    network = network(tls=True, inband_tls=True)
    for name, how in (("plain", {}), ("tls", {"tls": True}), ("inband", {"inband": True})):
        peer = network.peer(name, "gx", "gy", "s6a", "sy", **how)
        assert {app for _, app in peer.up} == {"gx", "gy", "s6a", "sy"}
        peer.close()


def test_freediameter_connects_over_tcp_and_tls(network):
    network = network(tls=True)
    network.daemon("plain", "gx", "gy", "s6a", "sy")
    network.daemon("secure", "gx", "gy", "s6a", "sy", tls=True)
