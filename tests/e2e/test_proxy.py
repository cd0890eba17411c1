"""FreeRADIUS between NAS and server: every method passes through it, and its Proxy-State and signature are honoured."""

import subprocess

import pytest

from tests.e2e.conftest import PROXY_NAS
from tests.e2e.peers import program
from tests.e2e.wire import ACCESS_ACCEPT, ACCESS_REJECT, ACCOUNTING_RESPONSE, CLASS, MICROSOFT, integer, reveal_key


@pytest.fixture(scope="module")
def user(server):
    return server.service("proxied", "wonderland")


def test_every_method_passes_through_a_proxy(proxy, connect, user):
    one = connect(proxy)
    for build in (one.pap, one.chap, one.mschapv2):
        assert one.ask(build(user, "wonderland")).code == ACCESS_ACCEPT, proxy.output()[-3000:]
        assert one.ask(build(user, "wrong")).code == ACCESS_REJECT


def test_mschapv2_proof_and_keys_survive_the_proxy(proxy, connect, user):
    """The proxy re-encrypts the keys for its own client."""
    one = connect(proxy)
    request = one.mschapv2(user, "wonderland")
    reply = one.ask(request)
    assert reply.vendor(MICROSOFT, 26) == request.success
    hidden = reply.vendor(MICROSOFT, 16), reply.vendor(MICROSOFT, 17)
    assert tuple(reveal_key(value, one.secret, request.authenticator) for value in hidden) == request.keys()


def test_mschapv1_by_radclient_through_the_proxy(server, proxy, user):
    result = subprocess.run(
        [program("radclient"), "-x", "-r", "1", "-t", "10", f"127.0.0.1:{proxy.auth_port}", "auth", proxy.secret],
        input=f'User-Name = "{user}"\nMS-CHAP-Password = "wonderland"\n',
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "Received Access-Accept" in result.stdout, result.stdout + result.stderr


def test_accounting_through_the_proxy_finds_its_session(server, proxy, connect, user):
    one = connect(proxy)
    class_ = one.ask(one.pap(user, "wonderland")).get(CLASS)
    update = (42, integer(10)), (43, integer(20)), (46, integer(60))
    for status, extra in ((1, ()), (3, update), (2, update)):
        report = one.accounting(status, "proxied-1", (CLASS, class_), (4, bytes((192, 0, 2, 1))), *extra, user=user)
        assert one.ask(report).code == ACCOUNTING_RESPONSE, proxy.output()[-3000:]
    (session,) = [one for one in server.sessions(user, ended=True) if one["acct_session_id"] == "proxied-1"]
    assert session["usage"]["total_octets"] == 30
    assert not session["adopted"]
    assert session["nas"] == "proxy"


def silences(server):
    """What would count where the proxy's requests were not signed."""
    rows = server.api("GET", "/v1/nas/message-authenticator")["items"]
    unsigned = [row["without"] for row in rows if row["address"] == PROXY_NAS]
    return unsigned, server.drops("proxy_state_unsigned"), server.drops("bad_authenticator")


def test_proxy_adds_proxy_state_and_signs_and_gets_both_back(server, proxy, connect, user):
    before = silences(server)
    one = connect(proxy)
    assert one.ask(one.pap(user, "wonderland", (33, b"of the NAS"))).all(33) == [b"of the NAS"]
    text = proxy.output()
    assert "Proxy-State" in text
    assert "Message-Authenticator" in text
    assert silences(server) == before
