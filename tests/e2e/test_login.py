"""Who may log in: every method and stored form, every way to be named, and every reason to be refused."""

import base64
import hashlib
import os
import subprocess
import time

import argon2
import pytest

from native import crypto
from tests.e2e.conftest import CIRCUIT_NAS, MAC_NAS, OTHER_OPERATOR_NAS
from tests.e2e.peers import nas, program
from tests.e2e.wire import (
    ACCESS_ACCEPT,
    ACCESS_REJECT,
    ACCESS_REQUEST,
    MICROSOFT,
    REPLY_MESSAGE,
    USER_NAME,
    Reply,
    Request,
    md4,
    reveal_key,
    vendor,
)

METHODS = ("User-Password", "CHAP-Password", "MS-CHAP-Password")
ADSL = 3561


@pytest.mark.parametrize("method", METHODS)
def test_right_password_is_accepted_and_a_wrong_one_is_not(server, method):
    user = server.service(f"method-{method}", "wonderland")
    assert server.login(user, "wonderland", method=method).accepted
    answer = server.login(user, "Wonderland", method=method)
    assert answer.rejected
    assert answer.get("Reply-Message") == "Unknown user or wrong password"


@pytest.mark.parametrize("kind", ["pap", "chap", "mschap"])
def test_radtest_logs_in(server, kind):
    """radtest asks port + 1 for nothing, but takes host:port."""
    user = server.service(f"radtest-{kind}", "wonderland")
    port = server.auth_ports["0.0.0.0"]
    result = subprocess.run(
        [program("radtest"), "-t", kind, user, "wonderland", f"127.0.0.1:{port}", "0", "testing123"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "Received Access-Accept" in result.stdout, result.stdout + result.stderr


@pytest.mark.parametrize("password", ["p", "x" * 128, "wörter mit ß", "sixteen-octets!!"])
def test_passwords_of_every_length_and_script(server, connect, password):
    user = server.service(f"length-{hashlib.md5(password.encode()).hexdigest()}", password)
    nas = connect(server)
    for request in (nas.pap(user, password), nas.chap(user, password), nas.mschapv2(user, password)):
        assert nas.ask(request).code == ACCESS_ACCEPT
    assert nas.ask(nas.pap(user, password[:-1] + "?")).code == ACCESS_REJECT


def test_chap_challenge_may_be_the_request_authenticator(server):
    """radclient sends no CHAP-Challenge of its own accord."""
    user = server.service("chap-authenticator")
    assert server.login(user, f"pw-{user}", method="CHAP-Password").accepted


def test_mschapv2_server_proves_itself_and_gives_the_session_keys(server, connect):
    user = server.service("mschapv2", "wonderland")
    nas = connect(server)
    request = nas.mschapv2(user, "wonderland")
    reply = nas.ask(request)
    assert reply.code == ACCESS_ACCEPT
    assert reply.vendor(MICROSOFT, 26) == request.success
    hidden = reply.vendor(MICROSOFT, 16), reply.vendor(MICROSOFT, 17)
    keys = tuple(reveal_key(value, nas.secret, request.authenticator) for value in hidden)
    assert keys == request.keys()
    assert all(value[0] & 0x80 for value in hidden), "the salt's first bit is set"
    assert hidden[0][:2] != hidden[1][:2], "each salt is unique within the packet"


def test_mschapv2_name_without_its_domain_is_what_is_hashed(server, connect):
    user = server.service("domain", "wonderland", credentials=[
        {"type": "password", "username": "CORP\\domain", "cleartext": "wonderland"}
    ])  # fmt: skip
    nas = connect(server)
    request = nas.mschapv2(f"CORP\\{user}", "wonderland")
    assert nas.ask(request).vendor(MICROSOFT, 26) == request.success


def test_wrong_mschapv2_password_is_told_with_error_691_and_a_new_challenge(server, connect):
    user = server.service("mschapv2-wrong")
    nas = connect(server)
    reply = nas.ask(nas.mschapv2(user, "nonsense"))
    assert reply.code == ACCESS_REJECT
    error = reply.vendor(MICROSOFT, 2)
    assert error[:1] == b"\x05"
    fields = dict(field.split(b"=", 1) for field in error[1:].split(b" ", 4))
    assert fields[b"E"] == b"691"
    assert fields[b"V"] == b"3"
    assert len(bytes.fromhex(fields[b"C"].decode())) == 16


def test_suspended_service_tells_mschapv2_that_the_account_is_disabled(server, connect):
    user = server.service("mschapv2-suspended", state="suspended")
    nas = connect(server)
    assert b"E=647" in nas.ask(nas.mschapv2(user, f"pw-{user}")).vendor(MICROSOFT, 2)


def test_mschapv1_gives_its_keys(server):
    user = server.service("mschapv1")
    answer = server.login(user, f"pw-{user}", method="MS-CHAP-Password")
    assert len(bytes.fromhex(answer.get("MS-CHAP-MPPE-Keys")[2:])) in (24, 32)


# Stored forms


def pbkdf2(password: str) -> str:
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), b"salt", 60_000)
    return f"pbkdf2_sha256$60000$salt${base64.b64encode(digest).decode()}"


def ssha(password: str) -> str:
    salt = os.urandom(8)
    return "{SSHA}" + base64.b64encode(hashlib.sha1(password.encode() + salt).digest() + salt).decode()


FORMS = {
    "nt_hash": lambda password: md4(password.encode("utf-16-le")).hex(),
    "bcrypt": lambda password: crypto.crypt(password.encode(), b"$2b$05$abcdefghijklmnopqrstuu").decode(),
    "argon2": lambda password: argon2.PasswordHasher(time_cost=1, memory_cost=1024).hash(password),
    "pbkdf2": pbkdf2,
    "crypt": lambda password: crypto.crypt(password.encode(), b"$6$rounds=5000$saltsalt").decode(),
    "ssha": ssha,
}


@pytest.mark.parametrize("form", FORMS)
def test_stored_form_verifies_pap(server, form):
    user = f"form-{form}"
    server.service(user, credentials=[{"type": "password", "username": user, form: FORMS[form]("wonderland")}])
    assert server.login(user, "wonderland").accepted
    assert server.login(user, "wonderlanD").rejected


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"nt_hash"}))
def test_chap_against_a_one_way_form_is_refused_by_name(server, form):
    user = f"chap-{form}"
    server.service(user, credentials=[{"type": "password", "username": user, form: FORMS[form]("wonderland")}])
    answer = server.login(user, "wonderland", method="CHAP-Password")
    assert answer.rejected
    assert answer.get("Reply-Message") == "This login method cannot be used with the stored password"


def test_nt_hash_serves_mschap_both_versions(server, connect):
    user = "nt-mschap"
    hashed = FORMS["nt_hash"]("wonderland")
    server.service(user, credentials=[{"type": "password", "username": user, "nt_hash": hashed}])
    assert server.login(user, "wonderland", method="MS-CHAP-Password").accepted
    nas = connect(server)
    request = nas.mschapv2(user, "wonderland")
    assert nas.ask(request).vendor(MICROSOFT, 26) == request.success


def test_slow_hashes_hold_nobody_up(start, connect):
    """Eight logins that hash for long, then one that does not: the last is answered before all the slow ones are."""
    server = start(server="hash_workers = 1")
    slow = crypto.crypt(b"wonderland", b"$2b$10$abcdefghijklmnopqrstuu").decode()
    for number in range(8):
        name = f"slow-{number}"
        server.service(name, credentials=[{"type": "password", "username": name, "bcrypt": slow}])
    quick = server.service("quick")
    nas = connect(server)
    slow_requests = {}
    for number in range(8):
        request = nas.pap(f"slow-{number}", "wonderland")
        slow_requests[request.identifier] = request
        nas.send(request)
    request = nas.pap(quick, f"pw-{quick}")
    nas.send(request)
    order = []
    for _ in range(9):
        octets = nas.receive()
        order.append(octets[1])
        assert Reply(octets, slow_requests.get(octets[1], request)).code == ACCESS_ACCEPT
    assert order.index(request.identifier) < 7, "the quick login waited for the slow ones"


def test_retransmission_of_a_login_that_still_hashes_is_dropped_and_its_first_answered(start, connect):
    server = start()
    slow = crypto.crypt(b"wonderland", b"$2b$10$abcdefghijklmnopqrstuu").decode()
    user = server.service("slow", credentials=[{"type": "password", "username": "slow", "bcrypt": slow}])
    nas = connect(server)
    request = nas.pap(user, "wonderland")
    nas.send(request)
    nas.send(request)
    assert Reply(nas.receive(), request).code == ACCESS_ACCEPT
    assert server.drops("duplicate_in_work") == 1


# Reasons to refuse


def test_unknown_user_and_wrong_password_get_the_same_words(server):
    user = server.service("known")
    unknown, wrong = server.login("nobody-at-all", "x"), server.login(user, "x")
    assert unknown.rejected
    assert wrong.rejected
    assert unknown.pairs[1:] == wrong.pairs[1:], "all but Message-Authenticator"


def test_wrong_shared_secret_in_pap_is_a_wrong_password_and_radclient_cannot_verify_the_answer(server):
    user = server.service("wrong-secret")
    assert server.login(user, f"pw-{user}", secret="not-the-secret", wait=1).code == ""


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("suspended", "Service is suspended, please contact your provider"),
        ("pending", "Service is not activated yet"),
        ("terminated", "Service has been terminated"),
    ],
)
def test_state_is_told_in_the_reject(server, state, words):
    user = server.service(f"state-{state}", state=state)
    answer = server.login(user, f"pw-{user}")
    assert answer.rejected
    assert answer.get("Reply-Message") == words


def test_restricted_service_is_accepted_at_a_reduced_rate_in_the_walled_garden(server):
    user = server.service("restricted", state="restricted")
    answer = server.login(user, f"pw-{user}")
    assert answer.get("Mikrotik-Rate-Limit") == "1M/1M"
    assert answer.get("Mikrotik-Address-List") == "walled-garden"


def test_expired_service_is_refused_and_one_in_grace_is_not(server):
    now = time.time()
    gone = server.service("expired", expires_at=now - 60)
    graced = server.service("graced", expires_at=now - 60, grace_until=now + 3600)
    answer = server.login(gone, f"pw-{gone}")
    assert answer.get("Reply-Message") == "Service has expired, please renew it"
    answer = server.login(graced, f"pw-{graced}")
    assert 0 < int(answer.get("Session-Timeout")) <= 3600


def test_session_timeout_ends_with_the_service(server):
    user = server.service("expires-soon", expires_at=time.time() + 1000)
    assert 0 < int(server.login(user, f"pw-{user}").get("Session-Timeout")) <= 1000


def test_exhausted_quota_blocks_or_throttles_as_the_plan_says(server):
    quota = {"octets": 1000, "period": "month"}
    usage = {"input_octets": 600, "output_octets": 400}
    server.plan("block", rate={"down_bps": 10**7, "up_bps": 10**6}, quota=quota, on_exhausted=["block"])
    server.plan(
        "throttle",
        rate={"down_bps": 10**7, "up_bps": 10**6},
        quota=quota,
        on_exhausted=[{"throttle": {"down_bps": 64_000, "up_bps": 32_000}}],
    )
    blocked = server.service("blocked", plan="block", usage=usage)
    slowed = server.service("slowed", plan="throttle", usage=usage)
    fine = server.service("not-yet", plan="block", usage={"input_octets": 600, "output_octets": 399})
    answer = server.login(blocked, f"pw-{blocked}")
    assert answer.get("Reply-Message") == "Data volume is used up, please top up"
    assert server.login(slowed, f"pw-{slowed}").get("Mikrotik-Rate-Limit") == "32k/64k"
    assert server.login(fine, f"pw-{fine}").accepted


def test_change_by_billing_counts_for_the_next_login(server):
    user = server.service("changing")
    server.api("POST", f"/v1/services/{user}/state", {"state": "suspended", "revision": 2, "reason": "overdue"})
    assert server.login(user, f"pw-{user}").rejected
    server.api("POST", f"/v1/services/{user}/state", {"state": "active", "revision": 3})
    assert server.login(user, f"pw-{user}").accepted
    overrides = {"rate": {"down_bps": 2_000_000, "up_bps": 1_000_000}}
    server.api("PATCH", f"/v1/services/{user}", {"revision": 4, "overrides": overrides})
    assert server.login(user, f"pw-{user}").get("Mikrotik-Rate-Limit") == "1M/2M"
    server.api("DELETE", f"/v1/services/{user}?revision=5")
    assert server.login(user, f"pw-{user}").rejected


def test_user_name_is_trimmed_and_its_realm_stripped(server, connect):
    user = server.service("trimmed")
    nas = connect(server)
    for name in (user, f"{user} ", f" {user}", f"{user}\0", f"{user}@isp.example", f"{user}@ISP.example"):
        assert nas.ask(nas.pap(name, f"pw-{user}")).code == ACCESS_ACCEPT, name
    assert nas.ask(nas.pap(f"{user}@elsewhere.example", f"pw-{user}")).code == ACCESS_REJECT


def test_operators_do_not_see_each_other_s_users(server):
    ours, theirs = server.service("mvno-default"), server.service("mvno-other", operator="other")
    assert server.login(ours, f"pw-{ours}").accepted
    assert server.login(theirs, f"pw-{theirs}").rejected
    assert server.login(theirs, f"pw-{theirs}", source=OTHER_OPERATOR_NAS).accepted
    assert server.login(ours, f"pw-{ours}", source=OTHER_OPERATOR_NAS).rejected


# MAC

MAC_FORMS = (
    "02:00:00:00:AA:01", "02-00-00-00-AA-01", "0200.0000.aa01", "02000000aa01", "0200-0000-aa01", "02-00-00-00-aa-01",
)  # fmt: skip


@pytest.fixture(scope="module")
def mac_user(server):
    return server.service("mac-user", credentials=[{"type": "mac", "mac": "02-00-00-00-AA-01"}])


@pytest.mark.parametrize("spelling", MAC_FORMS)
def test_mac_in_every_spelling_names_its_service_where_the_nas_allows_it(server, mac_user, spelling):
    station = 'Calling-Station-Id = "02:00:00:00:aa:01"'
    assert server.login(spelling, spelling, station, source=MAC_NAS).accepted
    assert server.login(spelling, "", station, source=MAC_NAS).accepted
    assert server.login(spelling, spelling, station, source=MAC_NAS, method="CHAP-Password").accepted
    assert server.login(spelling, spelling, station).rejected, "this NAS does not list mac"


def test_mac_counts_only_as_the_calling_station_or_with_call_check(server, mac_user):
    spelling = MAC_FORMS[0]
    assert server.login(spelling, spelling, 'Calling-Station-Id = "02:00:00:00:aa:02"', source=MAC_NAS).rejected
    assert server.login(spelling, spelling, source=MAC_NAS).rejected
    assert server.login(spelling, spelling, "Service-Type = Call-Check", source=MAC_NAS).accepted


def test_mac_does_not_stand_in_for_a_password_that_fails(server, mac_user):
    station = f'Calling-Station-Id = "{MAC_FORMS[0]}"'
    assert server.login(MAC_FORMS[0], "guess", station, source=MAC_NAS).rejected


# Circuits

TEXT, BINARY = "OLT1 eth 0/2:100", bytes((0, 4, 0, 100, 1, 7))


@pytest.fixture(scope="module")
def lines(server):
    server.service("line-text", credentials=[{"type": "circuit", "circuit_id": TEXT}])
    server.service("line-binary", credentials=[{"type": "circuit", "circuit_id": "0x" + BINARY.hex()}])
    server.service("line-both", credentials=[{"type": "circuit", "circuit_id": "shared", "remote_id": "cpe-7"}])
    server.service("line-remote", credentials=[{"type": "circuit", "remote_id": "cpe-8"}])


@pytest.mark.parametrize(
    ("attributes", "found"),
    [
        ([vendor(ADSL, 1, TEXT.encode())], True),
        ([vendor(ADSL, 1, BINARY)], True),
        ([vendor(ADSL, 1, b"shared"), vendor(ADSL, 2, b"cpe-7")], True),
        ([vendor(ADSL, 1, b"shared"), vendor(ADSL, 2, b"cpe-9")], False),
        ([vendor(ADSL, 1, b"elsewhere"), vendor(ADSL, 2, b"cpe-8")], True),
        ([vendor(ADSL, 1, TEXT.encode() + b"0")], False),
        ([], False),
    ],
)
def test_circuit_names_its_service_where_the_nas_allows_it(server, connect, lines, attributes, found):
    nas = connect(server, CIRCUIT_NAS)
    assert nas.ask(nas.pap("dhcp", "", *attributes)).code == (ACCESS_ACCEPT if found else ACCESS_REJECT)
    elsewhere = connect(server)
    assert elsewhere.ask(elsewhere.pap("dhcp", "", *attributes)).code == ACCESS_REJECT


def test_circuit_never_bypasses_a_password(server, connect, lines):
    """A BNG adds the line to every PPPoE login."""
    server.service("pppoe", "right")
    nas = connect(server, CIRCUIT_NAS)
    line = vendor(ADSL, 1, TEXT.encode())
    assert nas.ask(nas.pap("pppoe", "wrong", line)).code == ACCESS_REJECT
    assert nas.ask(nas.pap("pppoe", "", line)).code == ACCESS_REJECT
    assert nas.ask(nas.pap("no-such-user", "wrong", line)).code == ACCESS_REJECT
    assert nas.ask(nas.chap("pppoe", "wrong", line)).code == ACCESS_REJECT
    assert nas.ask(nas.mschapv2("pppoe", "wrong", line)).code == ACCESS_REJECT
    assert nas.ask(nas.mschapv2("no-such-user", "wrong", line)).code == ACCESS_REJECT
    assert nas.ask(nas.pap("pppoe", "right", line)).code == ACCESS_ACCEPT


def test_circuit_or_mac_of_a_service_with_a_password_does_not_replace_it(server, connect):
    """A password is needed wherever one is set."""
    server.service("with-password", credentials=[
        {"type": "password", "username": "with-password", "cleartext": "secret-word"},
        {"type": "circuit", "circuit_id": "line-with-password"},
        {"type": "mac", "mac": "02-00-00-00-AA-77"},
    ])  # fmt: skip
    nas = connect(server, CIRCUIT_NAS)
    line = vendor(ADSL, 1, b"line-with-password")
    assert nas.ask(nas.pap("with-password", "wrong", line)).code == ACCESS_REJECT
    assert nas.ask(nas.pap("with-password", "secret-word", line)).code == ACCESS_ACCEPT


# Locks


@pytest.mark.parametrize(
    ("lock", "right", "wrong"),
    [
        ({"nas": ["local"]}, {}, {"source": MAC_NAS}),
        ({"port": ["ge-1/0/0.1"]}, {"line": 'NAS-Port-Id = "ge-1/0/0.1"'}, {"line": 'NAS-Port-Id = "ge-1/0/0.10"'}),
        (
            {"circuit": [TEXT]},
            {"line": f'ADSL-Agent-Circuit-Id = "{TEXT}"'},
            {"line": f'ADSL-Agent-Circuit-Id = "{TEXT}x"'},
        ),
        (
            {"circuit": ["0x" + BINARY.hex()]},
            {"line": f"ADSL-Agent-Circuit-Id = 0x{BINARY.hex()}"},
            {"line": f"ADSL-Agent-Circuit-Id = 0x{BINARY.hex()}00"},
        ),
        (
            {"mac": ["02-00-00-00-BB-01"]},
            {"line": 'Calling-Station-Id = "0200.0000.bb01"'},
            {"line": 'Calling-Station-Id = "0200.0000.bb02"'},
        ),
        (
            {"device": ["02:00:00:00:BB:03"]},
            {"line": 'Calling-Station-Id = "02-00-00-00-bb-03"'},
            {"line": 'Calling-Station-Id = "02-00-00-00-bb-04"'},
        ),
    ],
    ids=["nas", "port", "circuit", "binary-circuit", "mac", "device"],
)
def test_lock_lets_a_service_be_used_only_from_its_place(server, request, lock, right, wrong):
    user = server.service(f"lock-{request.node.callspec.id}", lock=lock)

    def login(place):
        extra = [place["line"]] if "line" in place else []
        return server.login(user, f"pw-{user}", *extra, source=place.get("source", "127.0.0.1"))

    assert login(right).accepted
    answer = login(wrong)
    assert answer.rejected
    assert answer.get("Reply-Message") == "This service cannot be used from here"
    if "source" not in wrong:
        assert login({}).rejected, "without the attribute nothing proves the place"


# Guessing


def test_reject_is_delayed_and_holds_no_accept_up(start, connect):
    server = start(radius='reject_delay = "1s"')
    user = server.service("user")
    nas = connect(server)
    wrong, right = nas.pap(user, "guess"), nas.pap(user, f"pw-{user}")
    nas.send(wrong)
    nas.send(right)
    first, second = nas.receive(), nas.receive()
    assert Reply(first, right).code == ACCESS_ACCEPT
    assert Reply(second, wrong).code == ACCESS_REJECT


def test_retransmission_of_a_delayed_reject_gets_one_answer_and_counts_one_guess(start, connect):
    server = start(radius='reject_delay = "500ms"\npassword_failures = 2')
    user = server.service("user")
    nas = connect(server)
    wrong = nas.pap(user, "guess")
    for _ in range(3):
        nas.send(wrong)
    reject = nas.receive()
    assert Reply(reject, wrong).code == ACCESS_REJECT
    assert server.drops("duplicate_in_work") == 2
    nas.send(wrong)
    assert nas.receive() == reject, "the same bytes from the cache"
    assert nas.ask(nas.pap(user, f"pw-{user}")).code == ACCESS_ACCEPT, "three copies are one guess"


def test_too_many_guesses_lock_the_user_name_and_nobody_else(start):
    server = start(radius="reject_delay = 0\npassword_failures = 3")
    user, other = server.service("user"), server.service("other")
    for _ in range(3):
        assert server.login(user, "guess").get("Reply-Message") == "Unknown user or wrong password"
    answer = server.login(user, f"pw-{user}")
    assert answer.rejected
    assert answer.get("Reply-Message") == "Too many wrong passwords, try again later"
    assert server.login(other, f"pw-{other}").accepted


def test_good_login_forgets_earlier_mistakes(start):
    server = start(radius="reject_delay = 0\npassword_failures = 3")
    user = server.service("user")
    for _ in range(3):
        assert server.login(user, "mistake").rejected
        assert server.login(user, "mistake").rejected
        assert server.login(user, f"pw-{user}").accepted


def test_too_many_guesses_through_one_nas_lock_that_nas(start):
    nases = nas("victim", "127.0.0.1") + nas("neighbour", "127.0.0.9")
    server = start(nases, radius="reject_delay = 0\nnas_password_failures = 5")
    user = server.service("user")
    for number in range(5):
        assert server.login(f"guess-{number}", "guess").rejected
    assert server.login(user, f"pw-{user}").get("Reply-Message") == "Too many wrong passwords, try again later"
    assert server.login(user, f"pw-{user}", source="127.0.0.9").accepted


def test_lockout_holds_for_the_slow_hash_too(start):
    server = start(radius="reject_delay = 0\npassword_failures = 2")
    hashed = crypto.crypt(b"wonderland", b"$2b$04$abcdefghijklmnopqrstuu").decode()
    server.service("slow", credentials=[{"type": "password", "username": "slow", "bcrypt": hashed}])
    assert server.login("slow", "a").rejected
    assert server.login("slow", "b").rejected
    assert server.login("slow", "wonderland").get("Reply-Message") == "Too many wrong passwords, try again later"


def test_login_without_a_password_is_refused(server, connect):
    user = server.service("no-password")
    nas = connect(server)
    reply = nas.ask(Request(ACCESS_REQUEST, [(USER_NAME, user.encode())], nas.secret))
    assert reply.code == ACCESS_REJECT
    reply = nas.ask(Request(ACCESS_REQUEST, [], nas.secret))
    assert reply.code == ACCESS_REJECT
    assert reply.get(REPLY_MESSAGE)


def test_secrets_and_passwords_never_reach_the_log(server):
    user = server.service("logged", "hush-hush-password")
    server.login(user, "hush-hush-guess")
    server.wait_for_line("auth.reject", user=user)
    text = server.log.read_text()
    assert "hush-hush" not in text
