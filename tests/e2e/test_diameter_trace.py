"""`aaa trace` of Diameter on a running server: the decision beside each request, requests of ours, and no keys."""

import json
import subprocess
import sys
from typing import Any

from tests.e2e.mobile import IMSI
from tests.e2e.peers import PATIENCE_S, ROOT, TOKEN
from tests.lab.clients import GxSession, Mme


def test_each_request_is_shown_with_its_decision(network: Any) -> None:
    network = network()
    server = network.server
    command = [sys.executable, "-m", "aaa.cli", "trace", "--service", "erin", "--count", "5", "--json"]
    command += ["--url", server.url, "--token", TOKEN]
    mme, smf = Mme(network.peer("mme", "s6a")), network.peer("smf", "gx")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as tracing:
        try:
            server.wait_until(lambda: server.metric("aaa_http_requests_in_work") >= 2)
            mme.air(IMSI)
            mme.ulr(IMSI)
            gx = GxSession(smf, IMSI)
            gx.initial()
            server.api("POST", "/v1/services/erin/state", {"state": "restricted", "revision": 9})
            smf.expect("RAR")
            network.converged("erin", 2)
            seen = [json.loads(line) for line in tracing.communicate(timeout=PATIENCE_S)[0].splitlines()]
        finally:
            tracing.kill()
    codes = [packet["code"] for packet in seen]
    assert codes[:3] == ["S6a AIR", "S6a ULR", "Gx CCR"]
    assert sorted(codes[3:]) == ["Gx RAR", "S6a IDR"]
    assert {packet["outcome"] for packet in seen} == {"DIAMETER_SUCCESS"}
    assert {(packet["service_id"], packet["user"]) for packet in seen} == {("erin", IMSI)}
    vector = dict(seen[0]["answer_attributes"])
    assert vector["Authentication-Info.E-UTRAN-Vector.KASME"] == "***"
    _, _, asked, *pushed = seen
    assert (asked["decision"]["grant"], asked["direction"]) == (True, "in")
    for packet in pushed:
        assert (packet["direction"], packet["decision"]["grant"]) == ("out", True)
        assert packet["decision"]["rate"] != asked["decision"]["rate"]
    assert dict(asked["answer_attributes"])["Result-Code"] == "DIAMETER_SUCCESS"
