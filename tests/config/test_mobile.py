"""[diameter], [[peer]] and [[route]]: what is accepted, and what is refused with its line and a way out."""

from pathlib import Path

import pytest

from aaa.config import Config, parse
from aaa.errors import ConfigError

BASE = f'store.key = "{"00" * 32}"\n'
NODE = '[diameter]\norigin_host = "aaa.isp.example"\nlisten = "127.0.0.1"\n'
PEER = '[[peer]]\norigin_host = "mme.epc.example"\n'


def read(text: str) -> Config:
    return parse(BASE + text, Path("/etc/aaa/aaa.toml"), {})


def problems(text: str) -> list[str]:
    """Without the file's name."""
    with pytest.raises(ConfigError) as caught:
        parse(BASE + text, Path("aaa.toml"), {})
    return [line.removeprefix("aaa.toml:") for line in str(caught.value).splitlines()]


def test_without_the_section_there_is_no_diameter() -> None:
    config = read("")
    assert (config.diameter.origin_host, config.diameter.listen, config.peer, config.route) == ("", (), (), ())


def test_realms_and_identities_are_filled_in() -> None:
    config = read(
        NODE
        + '[[diameter.identity]]\norigin_host = "mvno.aaa.isp.example"\nport = 3870\n'
        + PEER
        + '[[peer]]\norigin_host = "pgw.mvno.example"\nidentity = "mvno.aaa.isp.example"\n'
        + '[[route]]\npeers = "mme.epc.example"\nimsi_first = "26201"\n'
    )
    assert config.diameter.origin_realm == "isp.example"
    [identity] = config.diameter.identity
    assert (identity.origin_realm, identity.listen) == ("isp.example", ("127.0.0.1",))
    assert [(peer.origin_realm, peer.identity) for peer in config.peer] == [
        ("epc.example", "aaa.isp.example"),
        ("mvno.example", "mvno.aaa.isp.example"),
    ]
    [route] = config.route
    assert (route.identity, route.imsi_first, route.imsi_last) == ("aaa.isp.example", "26201", "26201")
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[diameter]\nlisten = "127.0.0.1"\n',
            "2: diameter.origin_host: missing; peers know this server by it: give its full name, "
            'such as "aaa.isp.example"',
        ),
        (
            '[diameter]\norigin_host = "aaa"\n',
            '2: diameter.origin_realm: missing; "aaa" has no dot behind which it would be',
        ),
        (
            '[diameter]\norigin_host = "aaa .example"\n',
            '3: diameter.origin_host: "aaa .example" is no host name; give a full one such as "mme.epc.example"',
        ),
        (
            '[diameter]\norigin_host = "aaa.example"\nlisten = ["0.0.0.0", "127.0.0.1"]\n',
            '4: diameter.listen: "0.0.0.0" includes "127.0.0.1"; remove one of them',
        ),
        (NODE + "tls_port = 3868\n", "5: diameter.tls_port: is port; TLS from the first octet needs a port of its own"),
        (NODE + "tls_port = 5868\n", "5: diameter.tls_port: needs [tls] with cert and key"),
        (
            NODE + "tls_port = 5868\n",
            "5: diameter.tls_port: needs tls.client_ca, or peers with ca: a peer's certificate is verified",
        ),
        (NODE + "applications = []\n", '5: diameter.applications: is empty; give some of "gx", "gy", "s6a", "sy"'),
        (
            NODE + 'roaming_plmns = ["26201", "262-01"]\n',
            '5: diameter.roaming_plmns[2]: "262-01" is not MCC and MNC, 5 or 6 digits',
        ),
        (NODE + "quota_slice = 10000\n", "2: diameter.quota_slice_min: is above quota_slice"),
        (
            NODE + 'final_unit_action = "redirect"\n',
            '2: diameter.redirect_url: missing; final_unit_action = "redirect" leads there',
        ),
        (
            NODE + 'final_unit_action = "redirect"\nredirect_url = "portal"\n',
            '6: diameter.redirect_url: is no URL; give one such as "https://portal.isp.example/top-up"',
        ),
        (
            NODE + '[[diameter.identity]]\norigin_host = "AAA.isp.example"\nport = 3869\n',
            '6: diameter.identity.AAA.isp.example.origin_host: "AAA.isp.example" is an identity already; '
            "each has its own",
        ),
        (
            NODE + '[[diameter.identity]]\norigin_host = "b.isp.example"\nport = 3868\n',
            "7: diameter.identity.b.isp.example.port: is another identity's on the same address; give it its own",
        ),
        (
            NODE + '[[diameter.identity]]\norigin_host = "b.isp.example"\nprot = 3868\n',
            '7: diameter.identity.b.isp.example.prot: unknown key; did you mean "port"?',
        ),
        (
            NODE + '[[peer]]\norigin_host = "*"\n',
            '5: peer.*.origin_realm: missing; origin_host = "*" stands for the hosts of one realm',
        ),
        (
            NODE + '[[peer]]\norigin_host = "*"\norigin_realm = "example"\nconnect = "h:1"\n',
            '8: peer.*.connect: is not for origin_host = "*", which stands for many',
        ),
        (
            NODE + PEER + PEER.replace("mme", "MME"),
            '8: peer.MME.epc.example.origin_host: "MME.epc.example" is the [[peer]] of line 5 as well',
        ),
        (
            NODE + PEER + 'address = ["10.0.0.1/8"]\n',
            '7: peer.mme.epc.example.address[1]: "10.0.0.1/8" has bits behind its prefix length; '
            'give "10.0.0.0/8" or "10.0.0.1"',
        ),
        (
            NODE + PEER + 'identity = "aaa.isp.exampel"\n',
            '7: peer.mme.epc.example.identity: "aaa.isp.exampel" is no identity of this server; '
            'did you mean "aaa.isp.example"?',
        ),
        (
            NODE + '[[peer]]\norigin_host = "aaa.isp.example"\n',
            '6: peer.aaa.isp.example.origin_host: "aaa.isp.example" is this server; a peer has another name',
        ),
        (
            NODE + 'applications = "gx"\n' + PEER + 'applications = ["gx", "gy"]\n',
            '8: peer.mme.epc.example.applications[2]: "gy" is not served by aaa.isp.example; it serves gx',
        ),
        (
            NODE + PEER + 'connect = "mme.epc.example"\n',
            '7: peer.mme.epc.example.connect: "mme.epc.example" is not a host and port; '
            'give one such as "mme.example:3868" or "[::1]:3868"',
        ),
        (
            '[diameter]\norigin_host = "aaa.isp.example"\n' + PEER,
            "4: peer.mme.epc.example.connect: is absent, and aaa.isp.example listens nowhere: they never meet",
        ),
        (
            NODE + PEER + 'security = "tls"\n',
            '7: peer.mme.epc.example.security: "tls" needs tls_port, where aaa.isp.example takes it, or connect',
        ),
        (
            NODE + PEER + 'security = "inband"\n',
            '7: peer.mme.epc.example.security: "inband" needs inband_tls = true in [diameter]',
        ),
        (
            NODE + PEER + 'security = "tls"\nconnect = "h:1"\n',
            "5: peer.mme.epc.example.ca: missing; its certificate is verified with it, or with tls.client_ca",
        ),
        (
            NODE + PEER + 'transport = "sctp"\nconnect = "h:1"\nsecurity = "tls"\n',
            '9: peer.mme.epc.example.security: "tls" is not for SCTP; use TCP',
        ),
        (NODE + PEER + 'ca = "nowhere.pem"\n', "7: peer.mme.epc.example.ca: "),
        (NODE + PEER + 'plmns = "0101"\n', '7: peer.mme.epc.example.plmns: "0101" is not MCC and MNC, 5 or 6 digits'),
        (
            NODE + PEER + 'imsis = "00101x"\n',
            '7: peer.mme.epc.example.imsis: "00101x" is not the first digits of IMSIs',
        ),
        (
            NODE + PEER + 'speaks_for = ["enb.example", "*enb"]\n',
            '7: peer.mme.epc.example.speaks_for[2]: "*enb" is no host',
        ),
        (
            NODE + PEER + '[[route]]\npeers = ["mme.epc.exampel"]\n',
            '8: route[1].peers[1]: no [[peer]] of aaa.isp.example is called "mme.epc.exampel"; '
            'did you mean "mme.epc.example"?',
        ),
        (
            NODE + '[[route]]\nrealm = "x"\nimsi_first = "262"\n',
            "6: route[1].realm: is given with IMSIs; a route is of the one or the other",
        ),
        (
            NODE + '[[route]]\nimsi_last = "262"\n',
            "5: route[1].imsi_first: missing; imsi_last ends a range that it begins",
        ),
        (
            NODE + '[[route]]\nidentity = "other.example"\n',
            '6: route[1].identity: "other.example" is no identity of this server; known are aaa.isp.example',
        ),
        (
            NODE + '[[route]]\nimsi_first = "x"\n',
            '6: route[1].imsi_first: "x" is no IMSI, nor the beginning of one; give up to 15 digits',
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_named_at_its_line(text: str, problem: str) -> None:
    found = problems(text)
    assert any(line.startswith(problem) for line in found), found


def test_what_works_but_should_be_looked_at() -> None:
    config = read(NODE + '[[peer]]\norigin_host = "*"\norigin_realm = "example"\n' + PEER + 'transport = "sctp"\n')
    assert [f"{one.line}: {one.key}: {one.message}" for one in config.warnings] == [
        "5: peer.*.address: is absent: whoever names the realm is let in",
        "10: peer.mme.epc.example.transport: has no effect without connect: how it comes is its own choice",
    ]
