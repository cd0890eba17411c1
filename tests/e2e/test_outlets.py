"""What leaves a running server: events, webhooks across kill -9, payments in, proof, exports, and HTTPS."""

import base64
import csv
import hashlib
import hmac
import http.client
import io
import json
import os
import signal
import socket
import sqlite3
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aaa.cli.commands import cli
from tests.e2e.peers import TOKEN, RunningServer, free_port, nas
from tests.e2e.test_billing import NAS_ADDRESS, RATE, FarNas, Reply, ask, token_entry

KEY = "a-key-of-the-far-end-0123456789"
STRIPE = "whsec_0123456789abcdef0123456789"
SCOPED = "scoped-token-0123456789"


AUTOMATION = """
[[automation]]
name = "tell-the-crm"
on = "hold.added"
when = 'event.data.cause == "call"'
do = [{ webhook = "crm" }]
"""


class FarEnd:
    """A billing system that takes events; what it says to each is the test's."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        self.changed = threading.Condition()
        far = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                identity, at = self.headers["Webhook-Id"], self.headers["Webhook-Timestamp"]
                digest = hmac.new(KEY.encode(), f"{identity}.{at}.".encode() + body, hashlib.sha256).digest()
                signed = self.headers["Webhook-Signature"] == f"v1,{base64.b64encode(digest).decode()}"
                status = far.status if signed else 401
                with far.changed:
                    if status == 200:
                        far.taken.append((identity, json.loads(body)))
                    far.changed.notify_all()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/events"

    def wait_for(self, condition: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: condition(self.taken), 20), [event for _, event in self.taken]


@pytest.fixture(scope="module")
def far_end() -> Iterator[FarEnd]:
    far_end = FarEnd()
    yield far_end
    far_end.server.shutdown()


@pytest.fixture(scope="module")
def coa() -> int:
    return free_port()


@pytest.fixture(scope="module")
def far(coa: int) -> FarNas:
    far = FarNas(coa)
    far.start()
    return far


def sections(far_end: FarEnd) -> str:
    return f"""
{token_entry("brand-a", "admin", SCOPED, "brand-a")}
[[webhook]]
name = "crm"
url = "{far_end.url}"
secret = "{KEY}"
events = ["service.*", "hold.*", "payment.*"]
retry_first = "20ms"
retry_max = "50ms"
attempts = 100

[policy]
dir = "policy"

[[payment]]
name = "shop"
secret = "{STRIPE}"
restore = ["dunning*"]
wait = "10s"

[[payment]]
name = "brand-a"
secret = "{STRIPE}"
operator = "brand-a"
restore = ["*"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, coa: int, far_end: FarEnd) -> Iterator[RunningServer]:
    nases = nas("local", "127.0.0.1") + nas("far", NAS_ADDRESS, family="mikrotik", coa_port=coa)
    directory = tmp_path_factory.mktemp("outlets")
    (directory / "policy").mkdir()
    (directory / "policy/10.toml").write_text(AUTOMATION)
    server = RunningServer(directory, nases, radius="reject_delay = 0", extra=sections(far_end))
    server.plan("home-50", rate=RATE)
    yield server
    code = server.stop()
    server.check_log()
    text = server.log.read_text()
    assert KEY not in text
    assert STRIPE not in text
    assert code == 0


def log_in(server: RunningServer, name: str, **value: Any) -> str:
    server.service(name, **value)
    answer = server.login(name, f"pw-{name}", source=NAS_ADDRESS)
    assert answer.accepted
    class_ = f"Class = {answer.get('Class')}"
    server.account("Start", f"s-{name}", f'User-Name = "{name}"', class_, source=NAS_ADDRESS)
    return class_


def events(server: RunningServer, query: str, token: str = TOKEN) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(server, "GET", f"/v1/events?{query}", token=token).body["items"]
    return found


# The feed


def test_a_push_is_told_with_who_asked_and_in_order(server: RunningServer) -> None:
    server.put("subscriber", "feed")
    before = ask(server, "GET", "/v1/events?limit=1000").body["next"]
    value = {"revision": 1, "subscriber_id": "feed", "plan_id": "home-50", "state": "active"}
    ask(server, "PUT", "/v1/services/feed", value, X_Actor="anna", X_Correlation_Id="ticket-7")
    ask(server, "POST", "/v1/services/feed/state", {"state": "suspended", "revision": 2}, X_Correlation_Id="ticket-8")
    page = ask(server, "GET", f"/v1/events?after={before}&service=feed&wait=5").body
    assert [event["type"] for event in page["items"]][:2] == ["service.created", "service.state_changed"]
    first, second = page["items"][:2]
    assert (first["actor"], first["correlation_id"], first["operator"]) == ("tests/anna", "ticket-7", "default")
    assert (second["actor"], second["correlation_id"]) == ("tests", "ticket-8")
    assert second["data"]["state"] == "suspended"
    assert first["seq"] < second["seq"] <= page["next"]


def test_a_poll_ends_as_soon_as_something_happens(server: RunningServer) -> None:
    server.put("subscriber", "poll")
    before = ask(server, "GET", "/v1/events?limit=1000").body["next"]
    found: list[Any] = []
    poll = threading.Thread(target=lambda: found.append(events(server, f"after={before}&subscriber=poll&wait=20")))
    poll.start()
    server.put("service", "poll", subscriber_id="poll", plan_id="home-50")
    poll.join(10)
    assert not poll.is_alive()
    assert found[0][0]["type"] == "service.created"


def test_a_token_of_one_operator_is_told_of_no_other_and_nothing_of_the_server(server: RunningServer) -> None:
    server.service("scope-a", operator="brand-a")
    server.service("scope-b", operator="brand-b")
    seen = events(server, "limit=1000", SCOPED)
    assert {event["operator"] for event in seen} == {"brand-a"}
    assert {"brand-a", "brand-b"} <= {event["operator"] for event in events(server, "limit=1000")}


def test_types_are_chosen_by_pattern_and_a_wrong_one_is_named(server: RunningServer) -> None:
    server.service("typed")
    assert {event["type"] for event in events(server, "type=service.*&last=5")} <= {
        "service.created",
        "service.state_changed",
        "service.plan_changed",
    }
    refused = ask(server, "GET", "/v1/events?type=service.craeted")
    assert (refused.status, refused.body["field"]) == (422, "type")
    assert "service.created" in refused.body["detail"]


class Stream:
    """A stream of server-sent events over a socket of its own."""

    def __init__(self, server: RunningServer, query: str = "", **headers: str) -> None:
        host, port = server.url.removeprefix("http://").split(":")
        self.connection = http.client.HTTPConnection(host, int(port), timeout=20)
        sent = {"Authorization": f"Bearer {TOKEN}"} | {name.replace("_", "-"): v for name, v in headers.items()}
        self.connection.request("GET", f"/v1/events/stream?{query}", headers=sent)
        self.answer = self.connection.getresponse()

    def next(self) -> dict[str, str]:
        """Fields of the next event; comments are passed over."""
        fields: dict[str, str] = {}
        while True:
            line = self.answer.readline().decode().rstrip("\n")
            if not line and "data" in fields:
                return fields
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value

    def close(self) -> None:
        self.connection.close()


def test_a_stream_goes_on_where_its_client_was_cut_off(server: RunningServer) -> None:
    server.put("subscriber", "sse")
    stream = Stream(server, "subscriber=sse")
    assert stream.answer.headers.get_content_type() == "text/event-stream"
    server.put("service", "sse", subscriber_id="sse", plan_id="home-50")
    told = stream.next()
    assert told["event"] == "service.created"
    assert json.loads(told["data"])["seq"] == int(told["id"])
    stream.close()
    ask(server, "POST", "/v1/services/sse/state", {"state": "restricted", "revision": 2})
    ask(server, "POST", "/v1/services/sse/state", {"state": "active", "revision": 3})
    resumed = Stream(server, "subscriber=sse", Last_Event_ID=told["id"])
    states = [json.loads(resumed.next()["data"])["data"]["state"] for _ in range(2)]
    assert states == ["restricted", "active"]
    resumed.close()


def test_a_stream_ends_with_a_reload_so_that_its_token_is_looked_at_again(server: RunningServer) -> None:
    stream = Stream(server)
    server.reload()
    while stream.answer.readline():
        pass
    stream.close()


# Webhooks


def http_processes(server: RunningServer) -> list[str]:
    """Ids of the server's HTTP process: one."""
    children = (Path("/proc") / str(server.pid) / "task" / str(server.pid) / "children").read_text().split()
    return [child for child in children if b"billing_hooks.process" in (Path("/proc") / child / "cmdline").read_bytes()]


def test_no_event_is_skipped_when_the_http_process_is_killed_again_and_again(
    server: RunningServer, far_end: FarEnd
) -> None:
    names = [f"killed-{number}" for number in range(30)]
    far_end.status = 503
    for number, name in enumerate(names):
        server.service(name)
        if number % 15 == 7:
            far_end.status = 200 if far_end.status == 503 else 503
            for child in http_processes(server):
                os.kill(int(child), signal.SIGKILL)
            server.wait_until(server.is_ready)
    far_end.status = 200
    created = {(event["seq"], event["subject"]) for event in events(server, "type=service.created&limit=1000")}
    wanted = {seq for seq, subject in created if subject in names}
    assert len(wanted) == len(names)
    far_end.wait_for(lambda taken: wanted <= {event["seq"] for _, event in taken})
    ids: dict[int, set[str]] = {}
    for identity, event in far_end.taken:
        ids.setdefault(event["seq"], set()).add(identity)
    assert all(len(same) == 1 for same in ids.values())


def test_no_event_is_skipped_when_the_whole_server_is_killed(server: RunningServer, far_end: FarEnd) -> None:
    far_end.status = 503
    server.service("before-kill")
    orphans = http_processes(server)
    server.kill()
    server.start()
    # What served the killed engine has ended, with deliveries under way.
    server.wait_until(lambda: not any((Path("/proc") / child / "exe").exists() for child in orphans))
    far_end.status = 200
    far_end.wait_for(lambda taken: any(event["subject"] == "before-kill" for _, event in taken))


def test_an_automation_calls_the_webhook_that_it_names(server: RunningServer, far_end: FarEnd) -> None:
    server.service("called")
    body = {"kind": "restrict", "cause": "call"}
    ask(server, "POST", "/v1/services/called/holds", body, X_Correlation_Id="ticket-call")
    calls: list[dict[str, Any]] = []

    def called(taken: list[tuple[str, dict[str, Any]]]) -> bool:
        calls[:] = [event for _, event in taken if event["type"] == "webhook.call"]
        return bool(calls)

    far_end.wait_for(called)
    (call,) = calls
    assert (call["service_id"], call["actor"], call["correlation_id"]) == (
        "called",
        "automation:tell-the-crm",
        "ticket-call",
    )
    assert (call["data"]["event_type"], call["data"]["event_data"]["cause"]) == ("hold.added", "call")


def test_a_reload_changes_webhooks(server: RunningServer, far_end: FarEnd) -> None:
    another = f'[[webhook]]\nname = "ledger"\nurl = "{far_end.url}"\nsecret = "{KEY}"\n'
    server.configure(extra=sections(far_end).replace('"hold.*", ', "") + another)
    assert "webhook" in server.reload()["changed"]
    shown = lambda: [(hook["name"], len(hook["events"])) for hook in server.api("GET", "/v1/webhooks")["items"]]  # noqa: E731
    server.wait_until(lambda: shown() == [("crm", 2), ("ledger", 1)])
    server.configure(extra=sections(far_end))
    server.reload()
    server.wait_until(lambda: shown() == [("crm", 3)])


# Payments


def stripe(
    server: RunningServer,
    body: Any,
    *,
    key: str = STRIPE,
    at: float | None = None,
    extra: str = "",
    name: str = "shop",
) -> Reply:
    """POST as Stripe signs: HMAC-SHA256 over "timestamp.body" under the endpoint's secret, in hex."""
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    moment = int(time.time() if at is None else at)
    digest = hmac.new(key.encode(), str(moment).encode() + b"." + octets, hashlib.sha256).hexdigest()
    header = f"t={moment},v1={digest}{extra}"
    return ask(server, "POST", f"/v1/payments/{name}", octets, token="", Stripe_Signature=header)


def invoice(event_id: str, kind: str = "invoice.paid", **members: Any) -> dict[str, Any]:
    subject = {"id": f"in_{event_id}", "object": "invoice", "amount_paid": 2900, "currency": "eur"} | members
    return {"id": event_id, "object": "event", "type": kind, "data": {"object": subject}}


def hold(server: RunningServer, name: str, cause: str) -> None:
    body = {"kind": "suspend" if cause == "fraud" else "restrict", "cause": cause}
    assert ask(server, "POST", f"/v1/services/{name}/holds?wait=enforced", body).status == 200


def test_a_payment_lifts_holds_and_the_answer_bears_the_network_s_acknowledgement(
    server: RunningServer, far: FarNas
) -> None:
    log_in(server, "payer")
    hold(server, "payer", "dunning-2")
    hold(server, "payer", "other")
    changes = len(far.codes("payer"))
    answer = stripe(server, invoice("evt_1", metadata={"service_id": "payer"}))
    assert answer.status == 200, answer.body
    assert answer.body["status"] == "restored"
    assert answer.body["services"] == [{"service_id": "payer", "lifted": ["dunning-2"], "topped_up": False}]
    assert answer.body["converged"]
    assert [held["cause"] for held in server.status("payer")["holds"]] == ["other"]
    ask(server, "DELETE", "/v1/services/payer/holds/other?wait=enforced")
    assert len(far.codes("payer")) > changes
    (received,) = events(server, "type=payment.received&service=payer&limit=1000")
    assert received["correlation_id"] == "evt_1"
    assert received["actor"] == "payment:shop"
    assert received["data"] == {
        "payment": "shop",
        "provider": "stripe",
        "event_id": "evt_1",
        "event_type": "invoice.paid",
        "object_id": "in_evt_1",
        "amount": 2900,
        "currency": "eur",
    }


def test_a_repeated_event_does_nothing_again(server: RunningServer) -> None:
    server.service("repeated")
    hold(server, "repeated", "dunning-1")
    first = stripe(server, invoice("evt_2", metadata={"service_id": "repeated"}))
    hold(server, "repeated", "dunning-1")
    again = stripe(server, invoice("evt_2", metadata={"service_id": "repeated"}))
    assert again.body["services"] == first.body["services"]
    assert server.status("repeated")["state"] == "restricted"
    assert len(events(server, "type=payment.received&service=repeated&limit=1000")) == 1
    # Nor after a restart, which has forgotten what it answered lately.
    server.stop()
    server.start()
    assert stripe(server, invoice("evt_2", metadata={"service_id": "repeated"})).body["services"]
    assert server.status("repeated")["state"] == "restricted"


def test_a_customer_stands_for_the_subscriber_whose_fact_it_is(server: RunningServer) -> None:
    server.service("customer")
    billing = {"overdue_days": 3, "extra": {"stripe_customer": "cus_42"}}
    server.sync(
        {"op": "put", "kind": "subscriber", "id": "customer", "value": {"revision": 2, "billing": billing}},
    )
    hold(server, "customer", "dunning-1")
    answer = stripe(server, invoice("evt_3", "invoice.payment_succeeded", customer="cus_42"))
    assert answer.body["services"][0] == {"service_id": "customer", "lifted": ["dunning-1"], "topped_up": False}
    assert stripe(server, invoice("evt_4", customer="cus_unknown")).body["status"] == "unmatched"


def test_octets_bought_are_added_once_whatever_events_tell_of_them(server: RunningServer) -> None:
    server.plan("capped-pay", rate=RATE, quota={"octets": 1000})
    server.service("buyer", plan="capped-pay")
    metadata = {"service_id": "buyer", "top_up_octets": "5000"}
    paid = invoice("evt_5", "payment_intent.succeeded", id="pi_1", metadata=metadata)
    assert stripe(server, paid).body["services"][0]["topped_up"]
    checkout = {"id": "cs_1", "payment_intent": "pi_1", "payment_status": "paid"}
    same = invoice("evt_6", "checkout.session.completed", metadata=metadata, **checkout)
    assert not stripe(server, same).body["services"][0]["topped_up"]
    assert server.api("GET", "/v1/services/buyer/balance")["octets"] == 6000


def test_a_payment_hook_of_one_operator_restores_nobody_else(server: RunningServer) -> None:
    server.service("brand-payer", operator="brand-a")
    server.service("foreign-payer")
    for name in ("brand-payer", "foreign-payer"):
        hold(server, name, "other")
    foreign = invoice("evt_11", metadata={"service_id": "foreign-payer"})
    assert stripe(server, foreign, name="brand-a").body["status"] == "unmatched"
    assert server.status("foreign-payer")["state"] == "restricted"
    own = stripe(server, invoice("evt_12", metadata={"subscriber_id": "brand-payer"}), name="brand-a").body
    assert (own["status"], own["services"][0]["lifted"]) == ("restored", ["other"])


def test_a_failed_payment_is_an_event_and_lifts_nothing(server: RunningServer) -> None:
    server.service("failing")
    hold(server, "failing", "dunning-1")
    answer = stripe(server, invoice("evt_7", "invoice.payment_failed", metadata={"subscriber_id": "failing"}))
    assert answer.body["status"] == "noted"
    assert server.status("failing")["state"] == "restricted"
    assert len(events(server, "type=payment.failed&subscriber=failing&limit=1000")) == 1


def test_a_checkout_that_is_not_paid_yet_and_other_events_are_ignored(server: RunningServer) -> None:
    unpaid = invoice("evt_8", "checkout.session.completed", payment_status="unpaid")
    assert stripe(server, unpaid).body["status"] == "ignored"
    assert stripe(server, invoice("evt_9", "customer.created")).body["status"] == "ignored"


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({"key": "whsec_another-secret-0123456789"}, invoice("evt_x")),
        ({"at": time.time() - 3600}, invoice("evt_x")),
        ({"at": time.time() + 3600}, invoice("evt_x")),
    ],
    ids=["key", "old", "ahead"],
)
def test_what_is_not_signed_now_and_with_the_secret_is_refused(
    server: RunningServer, options: dict[str, Any], body: Any
) -> None:
    answer = stripe(server, body, **options)
    assert (answer.status, answer.body["error"]) == (400, "bad_signature")


def test_one_of_several_signatures_is_enough(server: RunningServer) -> None:
    assert stripe(server, invoice("evt_10", "customer.created"), extra=f",v1={'0' * 64},v0=abc").status == 200


@pytest.mark.parametrize("header", ["", "t=1", "v1=00", "t=x,v1=00", "t=1,t=1,v1=00", "t=1,v1=\u00fc"])
def test_a_signature_that_is_none_is_refused(server: RunningServer, header: str) -> None:
    answer = ask(server, "POST", "/v1/payments/shop", b"{}", token="", Stripe_Signature=header)
    assert (answer.status, answer.body["error"]) == (400, "bad_signature")


@pytest.mark.parametrize("body", [b"nonsense", b"[]", b'{"id": 1}', b'{"id":"e","type":"invoice.paid","data":{}}'])
def test_a_signed_body_that_is_no_event_is_no_defect(server: RunningServer, body: bytes) -> None:
    assert stripe(server, body).status in (200, 400, 422)


def test_an_unknown_payment_hook_is_not_found(server: RunningServer) -> None:
    assert ask(server, "POST", "/v1/payments/none", b"{}", token="").status == 404


# Proof


def test_an_audit_entry_names_who_what_before_after_and_the_packets_that_followed(
    server: RunningServer, far: FarNas
) -> None:
    log_in(server, "audited")
    change = {"revision": 2, "overrides": {"rate": {"down_bps": 1_000_000, "up_bps": 1_000_000}}}
    path = "/v1/services/audited?wait=enforced"
    assert ask(server, "PATCH", path, change, X_Actor="anna", X_Correlation_Id="ticket-9").body["converged"]
    entries = ask(server, "GET", "/v1/audit?service=audited").body["items"]
    patch = next(entry for entry in entries if entry["action"] == "patch")
    assert (patch["actor"], patch["correlation_id"], patch["operator"]) == ("tests/anna", "ticket-9", "default")
    assert "overrides" not in patch["before"]
    assert patch["after"]["overrides"]["rate"]["down_bps"] == 1_000_000
    (receipt,) = patch["enforcements"]
    assert (receipt["action"], receipt["state"], receipt["result"]) == ("coa", "done", "ack")
    assert receipt["exchanges"][0]["result"] == "ack"
    assert dict(receipt["exchanges"][0]["keys"])["Acct-Session-Id"] == "s-audited"
    assert "pw-audited" not in json.dumps(entries)
    one = ask(server, "GET", f"/v1/enforcements/{receipt['id']}").body
    assert one == receipt
    by_ticket = ask(server, "GET", "/v1/enforcements?correlation_id=ticket-9").body["items"]
    assert [found["id"] for found in by_ticket] == [receipt["id"]]
    by_service = ask(server, "GET", "/v1/enforcements?service=audited&state=done&limit=1").body
    assert by_service["items"][0]["session"] == receipt["session"]


def test_an_enforcement_that_is_under_way_is_shown_as_it_is_now(server: RunningServer, far: FarNas) -> None:
    log_in(server, "hanging")
    far.answer = None
    try:
        ask(server, "POST", "/v1/services/hanging/state", {"state": "suspended", "revision": 2})
        found = ask(server, "GET", "/v1/enforcements?service=hanging").body["items"]
        assert [(one["action"], one["finished_at"]) for one in found] == [("disconnect", None)]
    finally:
        far.answer = 44


def test_audit_and_receipts_keep_to_the_operator(server: RunningServer) -> None:
    server.service("mine", operator="brand-a")
    entries = ask(server, "GET", "/v1/audit?limit=1000", token=SCOPED).body["items"]
    assert {entry["operator"] for entry in entries} == {"brand-a"}
    assert ask(server, "GET", "/v1/enforcements?service=audited", token=SCOPED).status == 404
    assert ask(server, "GET", "/v1/enforcements", token=SCOPED).body["items"] == []
    assert ask(server, "GET", "/v1/audit/verify", token=SCOPED).status == 403
    assert ask(server, "GET", "/v1/cdrs", token=SCOPED).body["items"] == []


def test_the_chain_is_whole_until_somebody_changes_a_row(server: RunningServer) -> None:
    server.service("chained")
    assert ask(server, "GET", "/v1/audit/verify").body["whole"]
    path = server.directory / "data" / "aaa.db"
    db = sqlite3.connect(path, timeout=10, isolation_level=None)
    (seq, body) = db.execute("SELECT seq, body FROM audit ORDER BY seq LIMIT 1 OFFSET 3").fetchone()
    db.execute("UPDATE audit SET body = replace(body, 'home', 'hove') || ' ' WHERE seq = ?", (seq,))
    found = ask(server, "GET", "/v1/audit/verify").body
    assert (found["whole"], found["broken_at"]) == (False, seq)
    db.execute("UPDATE audit SET body = ? WHERE seq = ?", (body, seq))
    newest = db.execute("SELECT * FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    db.execute("DELETE FROM audit WHERE seq = ?", (newest[0],))
    cut = ask(server, "GET", "/v1/audit/verify").body
    assert (cut["whole"], cut["broken_at"]) == (False, newest[0])
    db.execute("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", newest)
    assert ask(server, "GET", "/v1/audit/verify").body["whole"]
    db.close()


# Exports


def test_each_session_that_ends_is_one_record_from_the_watermark_on(server: RunningServer) -> None:
    begin = ask(server, "GET", "/v1/cdrs").body["next"]
    class_ = log_in(server, "metered")
    octets = ("Acct-Input-Octets = 1000", "Acct-Output-Octets = 5000", "Acct-Session-Time = 60")
    user = 'User-Name = "metered"'
    server.account("Stop", "s-metered", user, class_, *octets, source=NAS_ADDRESS)
    server.wait_until(lambda: ask(server, "GET", f"/v1/cdrs?after={begin}").body["items"])
    page = ask(server, "GET", f"/v1/cdrs?after={begin}").body
    (record,) = page["items"]
    assert (record["service_id"], record["subscriber_id"], record["operator"]) == ("metered", "metered", "default")
    assert (record["input_octets"], record["output_octets"], record["total_octets"]) == (1000, 5000, 6000)
    assert (record["session_time_s"], record["nas"], record["user_name"]) == (60, "far", "metered")
    assert record["acct_session_id"] == "s-metered"
    assert ask(server, "GET", f"/v1/cdrs?after={page['next']}").body["items"] == []
    lines = ask(server, "GET", f"/v1/cdrs?after={begin}&format=ndjson")
    assert (lines.media_type, lines.lines) == ("application/x-ndjson", [record])
    table = ask(server, "GET", f"/v1/cdrs?after={begin}&format=csv&service=metered")
    (row,) = csv.DictReader(io.StringIO(table.text.decode()))
    assert row == {name: str(value) for name, value in record.items()}
    # The ids hold when the service is gone.
    ask(server, "DELETE", "/v1/services/metered?revision=9")
    assert ask(server, "GET", f"/v1/cdrs?after={begin}").body["items"] == [record]


def test_usage_is_summed_over_ended_and_running_sessions(server: RunningServer) -> None:
    class_ = log_in(server, "summed")
    begin = time.time() - 60
    user = 'User-Name = "summed"'
    octets = ("Acct-Input-Octets = 10", "Acct-Output-Octets = 20", "Acct-Session-Time = 1")
    server.account("Stop", "s-summed", user, class_, *octets, source=NAS_ADDRESS)
    server.account("Start", "s-summed-2", user, source=NAS_ADDRESS)
    more = ("Acct-Input-Octets = 1", "Acct-Output-Octets = 2", "Acct-Session-Time = 1")
    server.account("Interim-Update", "s-summed-2", user, *more, source=NAS_ADDRESS)
    (usage,) = ask(server, "GET", f"/v1/usage?service=summed&from={begin}").body["items"]
    assert (usage["sessions"], usage["input_octets"], usage["output_octets"]) == (1, 10, 20)
    assert (usage["running"]["sessions"], usage["running"]["total_octets"]) == (1, 3)
    assert usage["cycle"]["total_octets"] == 33
    path = f"/v1/usage?from={begin}&to={time.time() + 60}"
    every = ask(server, "GET", path).body["items"]
    mine = next(record for record in every if record["service_id"] == "summed")
    assert (mine["sessions"], mine["total_octets"], mine["operator"]) == (1, 30, "default")
    assert [line for line in ask(server, "GET", f"{path}&format=ndjson").lines if line["service_id"] == "summed"] == [
        mine
    ]
    assert ask(server, "GET", path, token=SCOPED).body["items"] == []
    assert ask(server, "GET", "/v1/usage").status == 422


# On the command line


def aaa(server: RunningServer, *arguments: str, exit_code: int = 0, **environment: str) -> str:
    given = {"AAA_URL": server.url, "AAA_TOKEN": TOKEN} | environment
    result = CliRunner().invoke(cli, list(arguments), env=given)
    assert result.exit_code == exit_code, (result.output, result.exception)
    return result.stdout


def test_commands_show_events_audit_and_webhooks(server: RunningServer, far_end: FarEnd) -> None:
    server.service("shown")
    ask(server, "POST", "/v1/services/shown/state", {"state": "suspended", "revision": 2}, X_Correlation_Id="t-1")
    told = [json.loads(line) for line in aaa(server, "events", "--service", "shown", "--json").splitlines()]
    assert [event["type"] for event in told] == ["service.created", "service.state_changed"]
    assert "service.state_changed" in aaa(server, "events", "--after", str(told[0]["seq"]), "--service", "shown")
    assert "(t-1)" in aaa(server, "events", "--subscriber", "shown", "--last", "1")
    aaa(server, "events", "--type", "service.craeted", exit_code=1)
    table = aaa(server, "audit", "--service", "shown")
    assert "state: (default) → suspended" in " ".join(table.split())
    assert json.loads(aaa(server, "audit", "--verify", "--json"))["whole"]
    assert json.loads(aaa(server, "webhook", "list", "--json"))[0]["name"] == "crm"
    assert "crm" in aaa(server, "webhook", "list")
    assert "crm: taken, status 200" in aaa(server, "webhook", "test", "crm")
    far_end.status = 500
    assert not json.loads(aaa(server, "webhook", "test", "crm", "--json", exit_code=1))["delivered"]
    far_end.status = 200
    assert json.loads(aaa(server, "webhook", "dead-letters", "crm", "--json")) == []
    assert "0 dead letters on their way" in aaa(server, "webhook", "replay", "crm")


# HTTPS


class Authority:
    """Makes certificates."""

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.certificate = self._sign(self.name, self.key, True)

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, is_ca: bool) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_ca, None), critical=True)
        )
        if not is_ca:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("aaa.test")]), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Certificate and key files; written anew each time."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, False)
        cert_file, key_file = directory / f"{name}.pem", directory / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key_file.write_bytes(key.private_bytes(pem, form, plain))
        self.serial = certificate.serial_number
        return cert_file, key_file

    def write_own(self, directory: Path) -> Path:
        file = directory / "ca.pem"
        file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return file


def serial_of(connection: ssl.SSLSocket) -> int:
    found = connection.getpeercert(True)
    assert found is not None
    return x509.load_der_x509_certificate(found).serial_number


def test_https_with_client_certificates_reloads_its_certificate_and_keeps_connections(tmp_path: Path) -> None:
    authority = Authority()
    ca = authority.write_own(tmp_path)
    authority.write(tmp_path, "server")
    first_serial = authority.serial
    client = authority.write(tmp_path, "client")
    tls = '[tls]\ncert = "server.pem"\nkey = "server.key"\nclient_ca = "ca.pem"\nminimum_version = "1.3"\n'
    server = Secure(tmp_path, nas("local", "127.0.0.1"), extra=tls, listen=["127.0.0.1"])
    try:
        context = ssl.create_default_context(cafile=str(ca))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            server.connect(context).request("GET", "/healthz").getresponse()
        context.load_cert_chain(*map(str, client))
        open_connection = server.connect(context)
        open_connection.ask()
        assert serial_of(open_connection.secure) == first_serial
        authority.write(tmp_path, "server")
        second_serial = authority.serial
        server.reload()
        while serial_of((fresh := server.connect(context)).secure) != second_serial:
            fresh.close()
        fresh.ask()
        open_connection.ask()
        # Half of a pair changes nothing, and is said.
        (tmp_path / "server.key").write_bytes(client[1].read_bytes())
        assert "tls.cert" in server.reload("config.problem")["msg"]
        again = server.connect(context)
        assert serial_of(again.secure) == second_serial
        old = ssl.create_default_context(cafile=str(ca))
        old.load_cert_chain(*map(str, client))
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            server.connect(old)
        for connection in (open_connection, fresh, again):
            connection.close()
    finally:
        server.stop()
        server.check_log()


def test_a_command_that_meets_a_certificate_from_before_its_renewal_says_what_to_do(tmp_path: Path) -> None:
    authority = Authority()
    authority.write(tmp_path, "server")
    tls = '[tls]\ncert = "server.pem"\nkey = "server.key"\n'
    server = Secure(tmp_path, nas("local", "127.0.0.1"), extra=tls, listen=["127.0.0.1"])
    try:
        site = tmp_path / "site.toml"
        site.write_text(server.config.read_text().replace("127.0.0.1:0", server.url.removeprefix("http://")))
        command = ["nas", "list", "-c", str(site)]
        first = CliRunner().invoke(cli, command)
        assert first.exit_code == 0, first.output
        authority.write(tmp_path, "server")
        renewed = CliRunner().invoke(cli, command)
        assert renewed.exit_code == 1
        assert "SIGHUP" in renewed.output
        server.reload()
        server.wait_until(lambda: CliRunner().invoke(cli, command).exit_code == 0)
    finally:
        server.stop()
        server.check_log()


class Secure(RunningServer):
    """A server whose API is HTTPS."""

    def configure(self, nases: str | None = None, **settings: str) -> None:
        super().configure(nases, **settings)
        self.config.write_text(self.config.read_text().replace("[api]\n", "[api]\ntls = true\n"))

    def is_ready(self) -> bool:
        host, port = self.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5):
            return True

    def connect(self, context: ssl.SSLContext) -> "Connection":
        host, port = self.url.removeprefix("http://").split(":")
        plain = socket.create_connection((host, int(port)), timeout=20)
        return Connection(context.wrap_socket(plain, server_hostname="aaa.test"))


class Connection:
    """One kept TLS connection."""

    def __init__(self, secure: ssl.SSLSocket) -> None:
        self.secure = secure
        self.http = http.client.HTTPConnection("aaa.test")
        self.http.sock = secure

    def request(self, method: str, path: str) -> http.client.HTTPConnection:
        self.http.request(method, path)
        return self.http

    def ask(self) -> None:
        answer = self.request("GET", "/healthz").getresponse()
        assert answer.status == 200
        assert json.loads(answer.read())["status"] == "ok"
        assert self.http.sock is self.secure, "the connection was kept"

    def close(self) -> None:
        self.http.close()
