"""Diameter connections of real stacks: OTP and freeDiameter dial the server over TCP, TLS and TLS in band."""


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
