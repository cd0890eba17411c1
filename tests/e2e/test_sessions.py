"""Accounting, as the API shows it: sessions, usage, simultaneous use, ghosts, what a NAS repeats or loses."""

import hashlib
import hmac
import socket
import struct
import threading

import pytest

from tests.e2e.conftest import DISPLACING_NAS, FAMILY_ADDRESS
from tests.e2e.peers import SECRET, nas
from tests.e2e.wire import ACCESS_ACCEPT, ACCOUNTING_RESPONSE, CLASS, integer, vendor

GIB = 1 << 30
START, STOP, INTERIM = 1, 2, 3
INPUT, OUTPUT, SESSION_TIME, INPUT_HIGH, OUTPUT_HIGH = 42, 43, 46, 52, 53


def user_line(user):
    return f'User-Name = "{user}"'


def log_in(server, user, *extra, **options):
    answer = server.login(user, f"pw-{user}", *extra, **options)
    assert answer.accepted, answer.text
    return f"Class = {answer.get('Class')}"


def test_session_from_login_to_stop_as_a_portal_sees_it(server):
    user = server.service("whole-session")
    place = ('Calling-Station-Id = "02:00:00:00:10:01"', 'NAS-Port-Id = "ether1"', 'Called-Station-Id = "isp"')
    class_ = log_in(server, user, *place)
    server.account("Start", "w1", user_line(user), class_, "Framed-IP-Address = 192.0.2.10", *place)
    (session,) = server.sessions(user)
    assert session["acct_session_id"] == "w1"
    assert session["framed_ip"] == "192.0.2.10"
    assert session["calling_station_id"] == "02:00:00:00:10:01"
    assert session["nas_port_id"] == "ether1"
    assert session["state"] == "active"
    assert not session["adopted"]
    server.account(
        "Interim-Update", "w1", user_line(user), class_, "Acct-Session-Time = 300", "Acct-Input-Octets = 1000",
        "Acct-Output-Octets = 5", "Acct-Output-Gigawords = 2", "Delegated-IPv6-Prefix = 2001:db8:77::/56",
    )  # fmt: skip
    status = server.status(user)
    assert status["usage"] == {"input_octets": 1000, "output_octets": 8 * GIB + 5, "total_octets": 8 * GIB + 1005}
    (live,) = status["sessions"]
    assert live["converged"]
    assert live["desired"]["rate"] == {"down_bps": 50_000_000, "up_bps": 10_000_000, "burst": None}
    assert server.sessions(user)[0]["delegated_prefix"] == "2001:db8:77::/56"
    server.account(
        "Stop", "w1", user_line(user), class_, "Acct-Session-Time = 400", "Acct-Input-Octets = 1500",
        "Acct-Output-Octets = 7", "Acct-Output-Gigawords = 2", "Acct-Terminate-Cause = User-Request",
    )  # fmt: skip
    assert server.sessions(user) == []
    (ended,) = server.sessions(user, ended=True)
    assert ended["session_time_s"] == 400
    assert ended["terminate_cause"] == 1
    assert server.status(user)["usage"]["total_octets"] == 8 * GIB + 1507
    leases = server.api("GET", "/v1/leases?address=192.0.2.10")["items"]
    assert [(lease["service_id"], lease["mac"]) for lease in leases] == [(user, "02:00:00:00:10:01")]
    assert leases[0]["until"] is not None


def test_class_comes_back_unchanged_and_finds_the_session_whatever_the_name(server, connect):
    user = server.service("class-finds")
    nas = connect(server)
    class_ = nas.ask(nas.pap(user, f"pw-{user}")).get(CLASS)
    start = nas.accounting(START, "c1", (CLASS, b"another server's"), (CLASS, class_), user="someone@else")
    assert nas.ask(start).code == ACCOUNTING_RESPONSE
    (session,) = server.sessions(user)
    assert not session["adopted"]


def test_forged_class_is_nobody_s(server, connect):
    user = server.service("class-forged")
    nas = connect(server)
    class_ = bytearray(nas.ask(nas.pap(user, f"pw-{user}")).get(CLASS))
    class_[-1] ^= 1
    nas.ask(nas.accounting(START, "c2", (CLASS, bytes(class_)), user="nobody-here"))
    assert server.sessions(user) == []


def test_session_never_authorised_here_is_adopted(server):
    user = server.service("adopted")
    server.account("Interim-Update", "a1", user_line(user), "Acct-Session-Time = 1000", "Acct-Input-Octets = 7")
    (session,) = server.sessions(user)
    assert session["adopted"]
    assert session["usage"]["input_octets"] == 7


def test_reports_repeated_late_or_backwards_count_once(server, connect):
    user = server.service("repeats")
    nas = connect(server)

    def report(status, seconds, octets):
        extra = (SESSION_TIME, integer(seconds)), (INPUT, integer(octets)), (OUTPUT, integer(0))
        assert nas.ask(nas.accounting(status, "r1", *extra, user=user)).code == ACCOUNTING_RESPONSE
        return server.status(user)["usage"]["total_octets"]

    nas.ask(nas.accounting(START, "r1", user=user))
    assert report(INTERIM, 300, 100) == 100
    assert report(INTERIM, 300, 100) == 100, "the same report in a new packet"
    assert report(INTERIM, 600, 250) == 250
    assert report(INTERIM, 300, 100) == 250, "late"
    assert report(STOP, 700, 300) == 300
    assert report(STOP, 700, 300) == 300, "the NAS did not hear us"
    assert report(INTERIM, 650, 280) == 300, "overtaken by the Stop"
    assert server.sessions(user) == []


def test_stop_without_a_start_counts_its_usage(server):
    user = server.service("only-stop")
    server.account(
        "Stop", "s1", user_line(user), "Acct-Session-Time = 60", "Acct-Input-Octets = 11", "Acct-Output-Octets = 22",
    )  # fmt: skip
    assert server.status(user)["usage"]["total_octets"] == 33
    assert server.sessions(user) == []


def test_32_bit_counter_that_wraps_goes_on(server):
    user = server.service("wraps")
    lines = user_line(user), "Acct-Output-Octets = 0"
    never = {"source": FAMILY_ADDRESS["zte"]}  # a NAS that has not sent Gigawords before
    server.account("Start", "x1", user_line(user), **never)
    server.account("Interim-Update", "x1", *lines, "Acct-Session-Time = 100", "Acct-Input-Octets = 4294967000", **never)
    server.account("Interim-Update", "x1", *lines, "Acct-Session-Time = 200", "Acct-Input-Octets = 704", **never)
    assert server.status(user)["usage"]["input_octets"] == (1 << 32) + 704


def test_session_id_used_again_after_its_stop_is_a_new_session(server):
    user = server.service("reused")
    for round_ in (1, 2):
        class_ = log_in(server, user)
        server.account("Start", "again", user_line(user), class_)
        (_session,) = server.sessions(user)
        server.account("Stop", "again", user_line(user), class_, "Acct-Session-Time = 5", "Acct-Input-Octets = 10")
        assert server.status(user)["usage"]["input_octets"] == 10 * round_
    assert len(server.sessions(user, ended=True)) == 2


def test_accounting_on_closes_the_sessions_of_that_nas_only(start):
    server = start(nas("one", "127.0.0.1") + nas("two", "127.0.0.9"))
    first, second = server.service("first"), server.service("second")
    server.account("Start", "o1", user_line(first), "Acct-Delay-Time = 10")
    server.account("Start", "o2", user_line(second), "Acct-Delay-Time = 10", source="127.0.0.9")
    answer = server.radclient("acct", "Acct-Status-Type = Accounting-On\nNAS-IP-Address = 127.0.0.1")
    assert answer.code == "Accounting-Response"
    assert server.sessions(first) == []
    assert len(server.sessions(second)) == 1
    assert server.sessions(first, ended=True)[0]["terminate_cause"] == 11
    server.radclient("acct", "Acct-Status-Type = Accounting-Off\nNAS-IP-Address = 127.0.0.9", source="127.0.0.9")
    assert server.sessions(second) == []


def test_every_status_type_is_answered(server):
    for status in ("Tunnel-Start", "Tunnel-Reject", "Failed"):
        server.account(status, "t1", 'User-Name = "whoever"')
    assert server.radclient("acct", 'User-Name = "nothing-else"').code == "Accounting-Response"


def test_service_accounting_is_no_second_login(server, connect):
    server.plan("one-login", simultaneous_use=1)
    user = server.service("juniper-services", plan="one-login")
    nas = connect(server, FAMILY_ADDRESS["juniper"])
    class_ = nas.ask(nas.pap(user, f"pw-{user}")).get(CLASS)
    nas.ask(nas.accounting(START, "j1", (CLASS, class_), user=user))
    nas.ask(nas.accounting(START, "j1:2", (CLASS, class_), vendor(4874, 83, b"internet(50m,10m)"), user=user))
    nas.ask(
        nas.accounting(
            INTERIM, "j1:2", (CLASS, class_), vendor(4874, 83, b"internet(50m,10m)"), (INPUT, integer(5)),
            (OUTPUT, integer(5)), (SESSION_TIME, integer(60)), user=user,
        )
    )  # fmt: skip
    assert len(server.status(user)["sessions"]) == 1
    assert server.status(user)["usage"]["total_octets"] == 0, "its octets are in the session's own"


def test_usage_crossing_the_quota_changes_the_next_login(server):
    server.plan("tiny-quota", quota={"octets": 1000, "period": "month"}, on_exhausted=["block"])
    user = server.service("tiny-quota", plan="tiny-quota")
    class_ = log_in(server, user)
    server.account("Start", "q1", user_line(user), class_)
    assert log_in(server, user)
    server.account(
        "Interim-Update", "q1", class_, "Acct-Session-Time = 60", "Acct-Input-Octets = 1000", "Acct-Output-Octets = 0",
    )  # fmt: skip
    assert server.login(user, f"pw-{user}").get("Reply-Message") == "Data volume is used up, please top up"
    balance = server.status(user)["quota"]
    assert (balance["octets"], balance["used_octets"], balance["left_octets"]) == (1000, 1000, 0)
    (live,) = server.status(user)["sessions"]
    assert not live["converged"]


# Simultaneous use

STATIONS = [f'Calling-Station-Id = "02:00:00:00:20:0{number}"' for number in range(4)]


def test_login_above_the_limit_is_refused_until_a_session_stops(server):
    server.plan("two-logins", simultaneous_use=2)
    user = server.service("two-logins", plan="two-logins")
    for number in (0, 1):
        class_ = log_in(server, user, STATIONS[number])
        server.account("Start", f"sim{number}", user_line(user), class_, STATIONS[number])
    answer = server.login(user, f"pw-{user}", STATIONS[2])
    assert answer.rejected
    assert answer.get("Reply-Message") == "Already logged in 2 times"
    server.account("Stop", "sim0", user_line(user), STATIONS[0])
    log_in(server, user, STATIONS[2])


def test_login_not_yet_in_accounting_holds_its_place(server):
    server.plan("one-place", simultaneous_use=1)
    user = server.service("one-place", plan="one-place")
    log_in(server, user, STATIONS[0])
    assert server.login(user, f"pw-{user}", STATIONS[1]).rejected


def test_same_device_coming_back_is_let_in_and_its_ghost_closed(server):
    server.plan("one-device", simultaneous_use=1)
    user = server.service("one-device", plan="one-device")
    for number in range(3):
        class_ = log_in(server, user, STATIONS[0])
        server.account(
            "Start", f"ghost{number}", user_line(user), class_, STATIONS[0], f"Acct-Delay-Time = {9 - 3 * number}",
        )  # fmt: skip
    (session,) = server.sessions(user)
    assert session["acct_session_id"] == "ghost2"
    assert server.login(user, f"pw-{user}", STATIONS[1]).rejected, "another device has to wait"


def test_same_port_or_line_coming_back_is_let_in(server):
    server.plan("one-line", simultaneous_use=1)
    by_port, by_line = server.service("by-port", plan="one-line"), server.service("by-line", plan="one-line")
    port, line = 'NAS-Port-Id = "ge-1/0/0.7"', 'ADSL-Agent-Circuit-Id = "olt 1/7"'
    for user, place in ((by_port, port), (by_line, line)):
        class_ = log_in(server, user, place)
        server.account("Start", f"back-{user}", user_line(user), class_, place)
        log_in(server, user, place)
        assert server.login(user, f"pw-{user}", 'NAS-Port-Id = "elsewhere"').rejected


class DisconnectReceiver:
    """A NAS that loses the first Disconnect-Request and answers the second: what FreeRADIUS cannot be told to do."""

    def __init__(self, port: int, answer: int) -> None:
        self.received: list[bytes] = []
        self.answer = answer
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((DISPLACING_NAS, port))
        self.socket.settimeout(10)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        octets, source = self.socket.recvfrom(4096)
        self.received.append(octets)
        # The first copy is lost: the server sends it again, the same bytes.
        octets, source = self.socket.recvfrom(4096)
        self.received.append(octets)
        head = struct.pack(">BBH", self.answer, octets[1], 20)
        self.socket.sendto(head + hashlib.md5(head + octets[4:20] + SECRET.encode()).digest(), source)

    def stop(self) -> None:
        self.thread.join(15)
        self.socket.close()


def test_oldest_session_is_disconnected_where_the_nas_says_so(server, coa_port):
    server.plan("newest-wins", simultaneous_use=1)
    user = server.service("newest-wins", plan="newest-wins")
    receiver = DisconnectReceiver(coa_port, 41)
    try:
        class_ = log_in(server, user, STATIONS[0], source=DISPLACING_NAS)
        server.account(
            "Start", "old-one", user_line(user), class_, STATIONS[0], "Framed-IP-Address = 192.0.2.77",
            source=DISPLACING_NAS,
        )  # fmt: skip
        log_in(server, user, STATIONS[1], source=DISPLACING_NAS)
        labels = {"nas": "displacing", "action": "disconnect", "result": "ack"}
        server.wait_until(lambda: server.metric("aaa_dynamic_exchanges_total", **labels) == 1)
    finally:
        receiver.stop()
    first, second = receiver.received
    assert first == second
    assert first[0] == 40
    zeroed = first[:4] + bytes(16) + first[20:]
    assert first[4:20] == hashlib.md5(zeroed + SECRET.encode()).digest()
    assert first[20:22] == b"\x50\x12"
    zeroed = zeroed[:22] + bytes(16) + zeroed[38:]
    assert first[22:38] == hmac.new(SECRET.encode(), zeroed, "md5").digest()
    assert b"\x2c\x09old-one" in first
    assert b"\x08\x06" not in first, "one key is enough"


# Promises


def test_sessions_and_usage_survive_a_kill(start, connect):
    server = start()
    user = server.service("survivor")
    nas = connect(server)
    class_ = nas.ask(nas.pap(user, f"pw-{user}")).get(CLASS)
    nas.ask(nas.accounting(START, "k1", (CLASS, class_), user=user))
    update = (INPUT, integer(123)), (OUTPUT, integer(456)), (SESSION_TIME, integer(60))
    nas.ask(nas.accounting(INTERIM, "k1", (CLASS, class_), *update, user=user))
    server.kill()
    server.start()
    assert server.status(user)["usage"]["total_octets"] == 579
    (session,) = server.sessions(user)
    assert session["acct_session_id"] == "k1"
    again = connect(server)
    assert again.ask(again.accounting(INTERIM, "k1", (CLASS, class_), *update, user=user)).code == ACCOUNTING_RESPONSE
    assert server.status(user)["usage"]["total_octets"] == 579, "asked again after the restart, counted once"
    assert again.ask(again.pap(user, f"pw-{user}")).code == ACCESS_ACCEPT


@pytest.mark.parametrize("rounds", [3])
def test_nothing_acknowledged_is_lost_under_repeated_kills(start, connect, rounds):
    """Each round a NAS reports until the kill; what it was answered is there afterwards, and nothing twice."""
    server = start()
    users = [server.service(f"user-{number}") for number in range(20)]
    acknowledged = dict.fromkeys(users, 0)
    sent = dict.fromkeys(users, 0)
    seconds = 0
    for _ in range(rounds):
        nas = connect(server)
        killer = threading.Timer(0.3, server.kill)
        killer.start()
        nas.socket.settimeout(0.5)
        try:
            while True:
                seconds += 1
                for user in users:
                    octets = sent[user] + 7
                    sent[user] = octets
                    update = (INPUT, integer(octets)), (OUTPUT, integer(0)), (SESSION_TIME, integer(seconds))
                    nas.ask(nas.accounting(INTERIM, f"key-{user}", *update, user=user))
                    acknowledged[user] = octets
        except OSError:
            killer.join()
        server.start()
        for user in users:
            total = server.status(user)["usage"]["total_octets"]
            assert acknowledged[user] <= total <= sent[user], user
    assert min(acknowledged.values()) > 0


def test_late_counters_of_ipv6_are_added_where_a_family_keeps_them_apart(server, connect):
    user = server.service("huawei-v6")
    nas = connect(server, FAMILY_ADDRESS["huawei"])
    nas.ask(nas.accounting(START, "h1", user=user))
    octets = [vendor(2011, number, integer(value)) for number, value in ((144, 7), (145, 8), (148, 0), (149, 1))]
    update = (INPUT, integer(100)), (OUTPUT, integer(200)), (SESSION_TIME, integer(60))
    nas.ask(nas.accounting(INTERIM, "h1", *update, *octets, user=user))
    usage = server.status(user)["usage"]
    assert usage == {"input_octets": 107, "output_octets": 208 + (1 << 32), "total_octets": 315 + (1 << 32)}
