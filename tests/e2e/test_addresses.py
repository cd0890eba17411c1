"""Addresses a login gets: its own, or leases of the server's pools, sticky, freed at Stop, kept over a restart."""

import json
import sqlite3
from contextlib import closing

import pytest

from tests.e2e.peers import nas
from tests.e2e.wire import ACCESS_ACCEPT, ACCESS_REJECT, CLASS, REPLY_MESSAGE

START, STOP = 1, 2
FRAMED_IP, FRAMED_PREFIX, DELEGATED_PREFIX = 8, 97, 123
FOUR = """
[[pool]]
name = "four"
kind = "ipv4"
ranges = ["100.64.9.1-100.64.9.4"]
hold = "{hold}"
"""


@pytest.fixture(scope="module")
def dual(server):
    return server.plan("dual-stack", pool="dual", simultaneous_use=1)


def test_static_address_and_prefix_are_sent(server):
    user = server.service("static", static_ip="198.51.100.7", static_prefix="2001:db8:cafe::/56")
    answer = server.login(user, f"pw-{user}")
    assert answer.get("Framed-IP-Address") == "198.51.100.7"
    assert answer.get("Framed-IP-Netmask") == "255.255.255.255"
    assert answer.get("Delegated-IPv6-Prefix") == "2001:db8:cafe::/56"


def test_pools_of_one_name_are_leased_together(server, dual):
    user = server.service("dual-stack", plan=dual)
    answer = server.login(user, f"pw-{user}")
    assert answer.get("Framed-IP-Address").startswith("100.64.0.")
    assert answer.get("Framed-IPv6-Prefix").startswith("2001:db8:a:")
    assert answer.get("Framed-IPv6-Prefix").endswith("/64")
    assert answer.get("Delegated-IPv6-Prefix").startswith("2001:db8:b:")
    assert answer.get("Delegated-IPv6-Prefix").endswith("/56")
    assert "Framed-Pool" not in answer.text


def test_same_service_gets_the_same_addresses_again(server, dual):
    user = server.service("sticky", plan=dual)
    names = "Framed-IP-Address", "Framed-IPv6-Prefix", "Delegated-IPv6-Prefix"
    station = 'Calling-Station-Id = "02:00:00:00:30:01"'
    first = server.login(user, f"pw-{user}", station)
    class_ = f"Class = {first.get('Class')}"
    server.account("Start", "st1", f'User-Name = "{user}"', class_, station)
    again = server.login(user, f"pw-{user}", station)
    assert [again.get(name) for name in names] == [first.get(name) for name in names]
    server.account("Stop", "st1", f'User-Name = "{user}"', class_)
    later = server.login(user, f"pw-{user}", station)
    assert [later.get(name) for name in names] == [first.get(name) for name in names]


def test_exhausted_pool_is_told_and_a_stop_frees_an_address(start, connect):
    server = start(extra=FOUR.format(hold="0s"))
    server.plan("pooled", pool="four")
    users = [server.service(f"user-{number}", plan="pooled") for number in range(5)]
    one = connect(server)
    replies = [one.ask(one.pap(user, f"pw-{user}")) for user in users[:4]]
    assert all(reply.code == ACCESS_ACCEPT for reply in replies)
    assert len({reply.get(FRAMED_IP) for reply in replies}) == 4
    for number, reply in enumerate(replies):
        one.ask(one.accounting(START, f"p{number}", (CLASS, reply.get(CLASS)), user=users[number]))
    (usage,) = server.api("GET", "/v1/pools")["items"]
    assert (usage["size"], usage["bound"]) == (4, 4)
    refused = one.pap(users[4], f"pw-{users[4]}")
    reply = one.ask(refused)
    assert reply.code == ACCESS_REJECT
    assert reply.get(REPLY_MESSAGE) == b"No address is free, please try again later"
    one.ask(one.accounting(STOP, "p2", (CLASS, replies[2].get(CLASS)), user=users[2]))
    reply = one.ask(one.pap(users[4], f"pw-{users[4]}"))
    assert reply.get(FRAMED_IP) == replies[2].get(FRAMED_IP)


def test_leases_survive_a_kill_and_are_not_given_twice(start, connect):
    server = start(extra=FOUR.format(hold="1d"))
    server.plan("pooled", pool="four")
    users = [server.service(f"user-{number}", plan="pooled") for number in range(4)]
    one = connect(server)
    had = {}
    for user in users[:3]:
        reply = one.ask(one.pap(user, f"pw-{user}"))
        had[user] = reply.get(FRAMED_IP)
        one.ask(one.accounting(START, f"key-{user}", (CLASS, reply.get(CLASS)), user=user))
    # The last Accept of a new lease has left, so it is durable, although no accounting ever came.
    had[users[3]] = one.ask(one.pap(users[3], f"pw-{users[3]}")).get(FRAMED_IP)
    assert len(set(had.values())) == 4
    server.kill()
    server.start()
    one = connect(server)
    assert {user: one.ask(one.pap(user, f"pw-{user}")).get(FRAMED_IP) for user in reversed(users)} == had


def test_accounting_on_frees_the_addresses_of_that_nas(start, connect):
    server = start(extra=FOUR.format(hold="0s"))
    server.plan("pooled", pool="four")
    one = connect(server)
    for number in range(4):
        user = server.service(f"user-{number}", plan="pooled")
        reply = one.ask(one.pap(user, f"pw-{user}"))
        one.ask(one.accounting(START, f"o{number}", (CLASS, reply.get(CLASS)), user=user))
    newcomer = server.service("newcomer", plan="pooled")
    assert one.ask(one.pap(newcomer, f"pw-{newcomer}")).code == ACCESS_REJECT
    assert server.radclient("acct", "Acct-Status-Type = Accounting-On").code == "Accounting-Response"
    assert one.ask(one.pap(newcomer, f"pw-{newcomer}")).code == ACCESS_ACCEPT


def test_static_address_inside_a_pool_is_nobody_else_s(start, connect):
    server = start(extra=FOUR.format(hold="0s"))
    server.plan("pooled", pool="four")
    owner = server.service("owner", plan="pooled", static_ip="100.64.9.2")
    one = connect(server)
    got = set()
    for number in range(3):
        user = server.service(f"user-{number}", plan="pooled")
        got.add(one.ask(one.pap(user, f"pw-{user}")).get(FRAMED_IP))
    assert got == {bytes((100, 64, 9, last)) for last in (1, 3, 4)}
    assert one.ask(one.pap(owner, f"pw-{owner}")).get(FRAMED_IP) == bytes((100, 64, 9, 2))


def test_pool_may_be_for_some_nases_only(start, connect):
    nases = nas("here", "127.0.0.1") + nas("there", "127.0.0.9")
    server = start(nases, extra=FOUR.format(hold="0s") + 'nas = ["there"]\n')
    server.plan("pooled", pool="four")
    user = server.service("user", plan="pooled")
    here, there = connect(server), connect(server, "127.0.0.9")
    assert here.ask(here.pap(user, f"pw-{user}")).code == ACCESS_REJECT
    assert there.ask(there.pap(user, f"pw-{user}")).code == ACCESS_ACCEPT


def test_who_had_the_address_is_known_after_the_session(server, dual):
    user = server.service("history", plan=dual)
    answer = server.login(user, f"pw-{user}")
    class_ = f"Class = {answer.get('Class')}"
    address = answer.get("Framed-IP-Address")
    server.account("Start", "hist1", class_)
    server.account("Stop", "hist1", class_)
    names = [lease["service_id"] for lease in server.api("GET", f"/v1/leases?address={address}")["items"]]
    assert user in names


def test_leased_pool_shrinks_and_grows_by_reload(start, connect):
    server = start(extra=FOUR.format(hold="0s"))
    server.plan("pooled", pool="four")
    users = [server.service(f"user-{number}", plan="pooled") for number in range(5)]
    one = connect(server)
    kept = [one.ask(one.pap(user, f"pw-{user}")).get(FRAMED_IP) for user in users[:4]]
    assert one.ask(one.pap(users[4], f"pw-{users[4]}")).code == ACCESS_REJECT
    server.configure(extra=FOUR.format(hold="0s").replace("100.64.9.4", "100.64.9.5"))
    assert "pool" in server.reload()["changed"]
    assert one.ask(one.pap(users[4], f"pw-{users[4]}")).get(FRAMED_IP) == bytes((100, 64, 9, 5))
    assert [one.ask(one.pap(user, f"pw-{user}")).get(FRAMED_IP) for user in users[:4]] == kept


def test_who_had_an_address_is_told_after_the_service_is_gone(start):
    """A session of last month, in the history, of a service that billing has deleted since."""
    server = start()
    server.service("gone")
    server.api("DELETE", "/v1/services/gone?revision=2")
    server.stop()
    with closing(sqlite3.connect(server.directory / "data" / "aaa.db")) as db, db:
        (nas,) = db.execute("SELECT coalesce(max(no), 0) + 1 FROM nas").fetchone()
        db.execute("INSERT INTO nas VALUES (?, ?)", (nas, '{"name": "local", "client": "local"}'))
        facts = json.dumps({"owner": ["gone", "gone", "default"]})
        row = (nas, facts)
        db.execute("INSERT INTO session_history VALUES (7, 3, ?, x'61', x'62', ?, 100, 200, 1, 100, 0, 0)", row)
        db.execute("INSERT INTO address_history VALUES (x'c0000209', 100, 7, 200)")
    server.start()
    (lease,) = server.api("GET", "/v1/leases?address=192.0.2.9&at=150")["items"]
    assert (lease["service_id"], lease["session_id"]) == ("gone", "7")
