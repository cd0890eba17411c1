"""The judges judge: what a server gets wrong fails a test, whichever stack plays the client."""

import contextlib
import socket

import pytest

from tests.lab.clients import GxSession, Mme
from tests.lab.freediameter import FreeDiameter
from tests.lab.otp import Otp
from tests.lab.peer import LabError, Silence
from tests.lab.wire import Message, message

IMSI = "001010000000001"


@pytest.fixture(scope="module")
def vm():
    vm = Otp()
    yield vm
    vm.stop()


@pytest.fixture(scope="module")
def port(vm):
    """A pretended server, aaa.localdomain: an OTP peer that listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    vm.peer("aaa.localdomain", "gx", "gy", "s6a", "sy").listen(port)
    # freeDiameter, refused once, comes again after five seconds.
    vm.peer("first.localdomain", "gx").connect(port).close()
    return port


@pytest.fixture(scope="module", params=["otp", "freediameter"])
def client(request, vm, port, tmp_path_factory):
    if request.param == "otp":
        yield vm.peer("smf.localdomain", "gx", "s6a").connect(port)
    else:
        daemon = FreeDiameter(tmp_path_factory.mktemp("fd"), "fd.localdomain", "gx", "s6a", port=port)
        yield daemon.connect()
        daemon.stop()


def good(request):
    return [
        ("Result-Code", 2001),
        ("CC-Request-Type", request["CC-Request-Type"]),
        ("CC-Request-Number", request["CC-Request-Number"]),
    ]


@pytest.fixture
def server(vm, port):
    return vm.peers["aaa.localdomain"]


def test_a_good_answer_is_taken(client, server):
    server.answers["CCR"] = good
    assert GxSession(client, IMSI).initial().name == "CCA"


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda request: good(request)[:2], id="an AVP is missing"),
        pytest.param(lambda request: [*good(request), ((60_000, 0, 0x40), b"1234")], id="an unknown mandatory AVP"),
        pytest.param(lambda request: [*good(request), ((258, 0, 0), b"\0\0\0\0")], id="a flag"),
        pytest.param(lambda request: [*good(request), ("Event-Trigger", b"\0")], id="a length"),
    ],
)
def test_a_wrong_answer_is_not(client, server, wrong):
    server.answers["CCR"] = wrong
    with pytest.raises(LabError):
        GxSession(client, IMSI).ccr(*_initial(client), expect=None)
    # freeDiameter may have more to say about it: all is said when a good answer is taken.
    server.answers["CCR"] = good
    assert any(is_taken(client) for _ in range(5))


def is_taken(client):
    with contextlib.suppress(LabError):
        return GxSession(client, IMSI).initial().name == "CCA"
    return False


def _initial(client):
    session = GxSession(client, IMSI)
    pairs = [*session.head(1), ("CC-Request-Type", 1), ("CC-Request-Number", 0)]
    return (pairs,)


def test_what_open5gs_would_drop_is_not_taken(client, server):
    server.answers["ULR"] = [("Result-Code", 2001)]
    with pytest.raises(LabError, match="no ULA-Flags"):
        Mme(client).ulr(IMSI)


def test_silence_is_noticed(vm, port, server):
    peer = vm.peer("quiet.localdomain", "gx").connect(port)
    server.answers["CCR"] = Silence
    with pytest.raises(LabError, match="no answer"):
        peer.ask("gx", "CCR", _initial(peer)[0], timeout_s=0.1)
    peer.close()


def test_padding_and_lengths_are_looked_at():
    octets = bytearray(message(0, 272, 16777238, 1, 2, [("Session-Id", "a")]))
    assert Message(bytes(octets)).faults == []
    octets[-1] = 1
    assert Message(bytes(octets)).faults == ["AVP 263: padding that is not zero"]
    octets[27] = 60
    assert Message(bytes(octets)).faults[0].startswith("AVP 263: length 60")
