"""What FreeRADIUS's files become, and that nothing of them is dropped without a word."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from aaa import config
from aaa.cli.commands import cli
from aaa.cli.freeradius_map import mikrotik_rate

DEBIAN = Path("/etc/freeradius/3.0")


class Result:
    """What one run made."""

    def __init__(self, directory: Path, *files: Path, options: tuple[str, ...] = ()) -> None:
        nas, operations = directory / "nas.toml", directory / "operations.ndjson"
        command = ["import", "freeradius", *map(str, files), "--nas", str(nas), "--operations", str(operations)]
        run = CliRunner().invoke(cli, [*command, "--json", *options])
        assert run.exit_code in (0, 1), (run.output, run.exception)
        self.nas = nas.read_text()
        assert nas.stat().st_mode & 0o777 == operations.stat().st_mode & 0o777 == 0o600
        self.operations = [json.loads(line) for line in operations.read_text().splitlines()]
        self.findings = json.loads(run.stdout)["findings"]
        self.problems = [f"{each['line']}: {each['message']}" for each in self.findings if each["is_problem"]]
        assert run.exit_code == bool(self.problems)

    def value(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = [each["value"] for each in self.operations if (each["kind"], each["id"]) == (kind, name)]
        found.pop("revision")
        return dict(found)

    def ids(self, kind: str) -> list[str]:
        return [each["id"] for each in self.operations if each["kind"] == kind]

    def problem(self, *words: str) -> bool:
        return any(all(word in line for word in words) for line in self.problems)


def run(tmp_path: Path, **files: str) -> Result:
    made = []
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        made.append(tmp_path / name)
    return Result(tmp_path, *made)


def test_what_debian_ships_is_taken_or_told(tmp_path: Path) -> None:
    made = Result(tmp_path, DEBIAN / "clients.conf", DEBIAN / "mods-config/files/authorize")
    assert [line for line in made.nas.splitlines() if line.startswith("name")] == [
        'name = "localhost"', 'name = "localhost_ipv6"'
    ]  # fmt: skip
    assert len(made.problems) == 3
    assert made.problem("Framed-Protocol == PPP", "DEFAULT is left out")
    schema = Result(tmp_path, DEBIAN / "mods-config/sql/main/mysql/schema.sql")
    assert (schema.operations, schema.problems) == ([], [])


CLIENTS = """
# comment
client bng-1 {
    ipaddr = 192.0.2.1          # the first
    secret = "s3cret # not a comment"
    nas_type = cisco
    require_message_authenticator = yes
    shortname = "bng one"
}
client 198.51.100.0/24 {
	secret = $ENV{WISP_SECRET}
	nastype = mikrotik_snmp
	limit {
		max_connections = 16
	}
}
client name-only { \n    ipaddr = nas.example.net\n    secret = x\n}
client v6 {
    ipv6addr = 2001:db8::/32
    secret = sixth
    virtual_server = dhcp
    nas_type = livingston
    coa_server {
        type = coa
    }
}
$INCLUDE more.conf
$INCLUDE ${confdir}/other.conf
"""


def test_clients_become_nas_entries_that_the_server_reads(tmp_path: Path) -> None:
    (tmp_path / "more.conf").write_text("client bng-1 {\nipaddr = 192.0.2.2\nnetmask = 32\nsecret = twin\n}\n")
    made = run(tmp_path, **{"clients.conf": CLIENTS})
    text = '[store]\nkey = "' + "01" * 32 + '"\n' + made.nas
    parsed = config.parse(text, tmp_path / "aaa.toml", {"WISP_SECRET": "from the environment"})
    entries = {nas.name: nas for nas in parsed.nas}
    assert entries["bng-one"].address == ("192.0.2.1",)
    assert entries["bng-one"].secret.reveal() == b"s3cret # not a comment"  # type: ignore[union-attr]
    assert (entries["bng-one"].family, entries["bng-one"].message_authenticator) == ("cisco", "require")
    assert entries["198.51.100.0-24"].address == ("198.51.100.0/24",)
    assert entries["198.51.100.0-24"].family == "mikrotik"
    assert entries["v6"].address == ("2001:db8::/32",)
    assert entries["bng-1"].address == ("192.0.2.2",)
    assert set(entries) == {"bng-one", "198.51.100.0-24", "v6", "bng-1"}
    for words in (
        ("nas.example.net", "no address"), ("virtual_server = dhcp",), ("livingston", "generic"), ("coa_server",),
        ("${confdir}",),
    ):  # fmt: skip
        assert made.problem(*words), (words, made.problems)


USERS = """
# a fibre customer
ann    Cleartext-Password := "p,w\\"1", Simultaneous-Use := 1
       Framed-IP-Address = 203.0.113.7,
       Mikrotik-Rate-Limit = "10M/50M",
       Session-Timeout = 86400,
       Fall-Through = Yes

"bob smith"  NT-Password := "0x8846F7EAEE8FB117AD06BDD830B7586C", Expiration := "31 Dec 2026"
       Cisco-AVPair += "ip:inacl=1",
       Cisco-AVPair += "ip:outacl=2",
       Reply-Message = "Hello, %{User-Name}"

carl   Crypt-Password := "$1$abc$0123456789012345678901", Calling-Station-Id == "02-00-00-00-00-01"
dora   Auth-Type := Reject
       Reply-Message = "no"
erin   Cleartext-Password := "x", NAS-IP-Address == 192.0.2.1
fay    MD5-Password := "5f4dcc3b5aa765d61d8327deb882cf99"
       WISPr-Bandwidth-Max-Down = 2000000,
       WISPr-Bandwidth-Max-Up = 500000,
       Max-Daily-Session = 3600,
       No-Such-Attribute = 5

DEFAULT
       Idle-Timeout = 600,
       Acct-Interim-Interval = 30

DEFAULT Huntgroup-Name == "dsl"
       Framed-Pool = "dsl"
"""


def test_users_become_services_and_what_they_say_is_kept(tmp_path: Path) -> None:
    made = run(tmp_path, users=USERS)
    ann = made.value("service", "ann")
    assert ann["credentials"] == [{"type": "password", "username": "ann", "cleartext": 'p,w"1'}]
    assert ann["static_ip"] == "203.0.113.7"
    assert ann["overrides"] == {
        "session_timeout": 86400, "simultaneous_use": 1, "rate": {"down_bps": 50_000_000, "up_bps": 10_000_000}
    }  # fmt: skip
    assert made.value("plan", ann["plan_id"])["idle_timeout"] == 600
    bob = made.value("service", "bob smith")
    assert bob["credentials"][0]["nt_hash"] == "8846f7eaee8fb117ad06bdd830b7586c"
    assert bob["expires_at"].startswith("2026-12-31T00:00:00")
    assert bob["overrides"]["attributes"] == [
        {"name": "Cisco-AVPair", "value": "ip:inacl=1", "family": "cisco"},
        {"name": "Cisco-AVPair", "value": "ip:outacl=2", "family": "cisco"},
    ]
    assert bob["plan_id"] == "imported"
    assert made.value("service", "carl")["lock"] == {"mac": ["02-00-00-00-00-01"]}
    assert made.value("service", "dora")["state"] == "suspended"
    fay = made.value("service", "fay")
    assert "credentials" not in fay
    assert fay["overrides"]["rate"] == {"down_bps": 2_000_000, "up_bps": 500_000}
    assert "erin" not in made.ids("service")
    for words in (
        ("Acct-Interim-Interval", "outside 60..86400"), ("erin is left out",), ("Huntgroup-Name == dsl",),
        ("MD5-Password", "set a new password"), ("fay", "nobody can log in"), ("Max-Daily-Session", "quota"),
        ("No-Such-Attribute",), ("Reply-Message", "computed"),
    ):  # fmt: skip
        assert made.problem(*words), (words, made.problems)
    assert len(made.problems) == 8, made.problems


MYSQL = r"""-- MySQL dump 10.13
CREATE TABLE `radcheck` (
  `id` int(11) unsigned NOT NULL AUTO_INCREMENT,
  `username` varchar(64) NOT NULL DEFAULT '',
  `attribute` varchar(64) NOT NULL DEFAULT '',
  `op` char(2) NOT NULL DEFAULT '==',
  `value` varchar(253) NOT NULL DEFAULT '',
  PRIMARY KEY (`id`), KEY `username` (`username`(32))
) ENGINE=InnoDB;
INSERT INTO `radcheck` VALUES (1,'ann','Cleartext-Password',':=','it\'s; (a) secret'),
(2,'bob','Cleartext-Password',':=','b'),
(3,'bob','Simultaneous-Use',':=','2'),(4,'carl','SSHA-Password',':=','hwFs8mgZFbTm0dW3lE3F3LLvB5tlhNmZgqqtNw=='),
(5,'dave','Cleartext-Password',':=','d'),(6,'dave','NAS-Port-Type','==','Ethernet');
INSERT INTO `radreply` VALUES (1,'ann','Framed-IP-Address',':=','203.0.113.9'),
(2,'ann','Delegated-IPv6-Prefix','=','2001:db8:1::/56');
INSERT INTO `radgroupcheck` (groupname, attribute, op, value) VALUES
('disabled','Auth-Type',':=','Reject'),('gold','Pool-Name',':=','main');
INSERT INTO `radgroupreply` VALUES (1,'gold','Mikrotik-Rate-Limit','=','20M/100M 30M/150M 15M/75M 8'),
(2,'gold','Session-Timeout','=','3600'),
(3,'gold','Filter-Id','+=','one'),(4,'silver','WISPr-Bandwidth-Max-Down',':=','1000000'),
(5,'silver','Mikrotik-Rate-Limit',':=','1M/2M 0/0 0/0 0/0 8');
INSERT INTO `radusergroup` VALUES ('ann','gold',1),('bob','silver',5),('bob','disabled',0),('carl','gold',1);
INSERT INTO `nas` VALUES (1,'192.0.2.20','tower','mikrotik',0,'towersecret',NULL,NULL,'x');
INSERT INTO `userinfo` VALUES (1,'ann','Ann'),(2,'bob','Bob');
INSERT INTO `radacct` VALUES (1,'s');
"""


def test_a_mysql_dump_becomes_plans_services_and_nases(tmp_path: Path) -> None:
    made = run(tmp_path, **{"dump.sql": MYSQL})
    gold = made.value("plan", "gold")
    assert gold == {
        "kind": "internet", "name": "gold", "session_timeout": 3600, "pool": "main",
        "rate": {"down_bps": 100_000_000, "up_bps": 20_000_000, "burst": {
            "down_bps": 150_000_000, "up_bps": 30_000_000, "threshold_down_bps": 75_000_000,
            "threshold_up_bps": 15_000_000, "seconds": 8}},
        "attributes": [{"name": "Filter-Id", "value": "one"}],
    }  # fmt: skip
    silver = made.value("plan", "silver")
    assert silver["rate"] == {"down_bps": 1_000_000, "up_bps": 0}
    assert silver["attributes"] == [
        {"name": "Mikrotik-Rate-Limit", "value": "1M/2M 0/0 0/0 0/0 8", "family": "mikrotik"}
    ]
    ann = made.value("service", "ann")
    assert (ann["plan_id"], ann["state"]) == ("gold", "active")
    assert ann["credentials"][0]["cleartext"] == "it's; (a) secret"
    assert (ann["static_ip"], ann["static_prefix"]) == ("203.0.113.9", "2001:db8:1::/56")
    bob = made.value("service", "bob")
    assert (bob["plan_id"], bob["state"], bob["overrides"]) == ("silver", "suspended", {"simultaneous_use": 2})
    assert made.value("service", "carl")["credentials"][0]["ssha"].startswith("{SSHA}hwFs")
    assert made.value("service", "dave")["state"] == "suspended"
    assert 'name = "tower"' in made.nas
    assert made.problem("NAS-Port-Type", "dave is suspended")
    assert made.problem("userinfo (2 rows)")
    assert len(made.problems) == 2, made.problems
    assert any("radacct" in each["message"] and not each["is_problem"] for each in made.findings)
    line = next(each["line"] for each in made.findings if "NAS-Port-Type" in each["message"])
    assert "NAS-Port-Type" in MYSQL.splitlines()[line - 1]


POSTGRES = """-- PostgreSQL database dump
CREATE TABLE public.radcheck (id integer NOT NULL, username text, attribute text, op character varying(2), value text);
COPY public.radcheck (id, username, attribute, op, value) FROM stdin;
1\tann\tCleartext-Password\t:=\tback\\\\slash\\ttab
2\tbob\tNT-Password\t:=\t8846F7EAEE8FB117AD06BDD830B7586C
\\.
COPY public.radusergroup (username, groupname, priority) FROM stdin;
ann\tgold\t1
\\.
INSERT INTO public.radgroupreply (groupname, attribute, op, value) VALUES ('gold', 'Framed-Pool', '=', 'it''s\\here');
"""


def test_a_postgresql_dump_is_read_with_its_own_escapes(tmp_path: Path) -> None:
    made = run(tmp_path, **{"dump.sql": POSTGRES})
    assert made.value("service", "ann")["credentials"][0]["cleartext"] == "back\\slash\ttab"
    assert made.value("plan", "gold")["pool"] == "it's\\here"
    assert made.value("service", "bob")["plan_id"] == "imported"
    assert made.problems == []


def test_without_files_to_write_to_one_kind_is_printed(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(USERS)
    (tmp_path / "clients.conf").write_text(CLIENTS)
    both = CliRunner().invoke(cli, ["import", "freeradius", str(tmp_path / "users"), str(tmp_path / "clients.conf")])
    assert (both.exit_code, "--operations" in both.stderr) == (2, True)
    printed = CliRunner().invoke(cli, ["import", "freeradius", str(tmp_path / "users")])
    assert [json.loads(line)["op"] for line in printed.stdout.splitlines()].count("put") > 10
    assert f"{tmp_path / 'users'}:" in printed.stderr


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("10M/50M", (50_000_000, 10_000_000)), ("512k", (512_000, 512_000)),
        ("1000000/2000000", (2_000_000, 1_000_000)),
        ("10M/50M 0/0 0/0 0/0", (50_000_000, 10_000_000)), ("10M/50M 20M/60M", None), ("fast", None), ("", None),
        ("10M/50M 20M/60M 5M/5M 8/9", None), ("1M/1M 2M/2M 1M/1M 8 8", None),
    ],
)  # fmt: skip
def test_a_mikrotik_rate_is_read_where_a_plan_can_say_it(text: str, rate: tuple[int, int] | None) -> None:
    found = mikrotik_rate(text)
    assert (found and (found["down_bps"], found["up_bps"])) == rate
