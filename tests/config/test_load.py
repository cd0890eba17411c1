"""The configuration file: what is accepted, and that every mistake is found with its line and a way out."""

import copy
import hashlib
import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aaa.config import RESTART_KEYS, Config, Nas, Pool, Redacted, Token, load, parse, restart_needed
from aaa.config.schema import Sections
from aaa.errors import ConfigError, Problem

KEY = "00" * 32
BASE = f'store.key = "{KEY}"\n'
SECRET = "sixteen-octets-and-more"
NAS = f'[[nas]]\nname = "lan"\naddress = "192.0.2.1"\nsecret = "{SECRET}"\n'


def read(text: str, path: Path = Path("/etc/aaa/aaa.toml"), environ: dict[str, str] | None = None) -> Config:
    return parse(text, path, environ or {})


def problems(text: str, path: Path = Path("aaa.toml"), environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, path, environ or {})
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)
    return str(caught.value).splitlines()


def warnings(text: str) -> list[str]:
    return [f"{problem.line}: {problem.key}: {problem.message}" for problem in read(text).warnings]


def test_the_least_configuration_has_defaults() -> None:
    config = read(BASE)
    assert config.radius.listen == ("0.0.0.0", "::")
    assert (config.radius.auth_port, config.radius.acct_port, config.radius.reject_delay) == (1812, 1813, 1.0)
    assert config.server.data_dir == "/var/lib/aaa"
    assert config.store.path == "/var/lib/aaa/aaa.db"
    assert config.log.file == "/var/lib/aaa/aaa.log"
    assert config.api.listen == "127.0.0.1:8080"
    assert config.store.key == Redacted(bytes(32))
    assert (config.nas, config.token, config.pool, config.warnings) == ((), (), (), ())


def test_values_arrive_in_their_units() -> None:
    config = read(
        BASE
        + '[radius]\nreject_delay = "500ms"\ninterim_interval = "10m"\nlockout = 90\n'
        + 'username_strip_realms = "@isp.example"\n'
        + NAS
        + 'interim_minimum = "10m"\nrate_limit = 100\noptions = { pool = "p", factor = 2 }\n'
        + 'identity = ["mac", "password"]\n'
    )
    assert (config.radius.reject_delay, config.radius.interim_interval, config.radius.lockout) == (0.5, 600.0, 90.0)
    assert config.radius.username_strip_realms == ("isp.example",)
    nas = config.nas[0]
    assert nas.address == ("192.0.2.1",)
    assert nas.secret == Redacted(SECRET)
    assert (nas.rate_limit, nas.options, nas.identity) == (100.0, {"pool": "p", "factor": 2}, ("mac", "password"))
    assert nas.simultaneous_use is None


def test_every_problem_is_reported_at_once_with_its_line() -> None:
    text = """[server]
dta_dir = "x"
[store]
key = "abc"
[radius]
listen = ["0.0.0.0",
  "nowhere"]
reject_delay = "1 hour"
acct_port = 1812
[[nas]]
name = "lan"
address = "10.0.0.1/8"
family = "mikrotic"
message_authenticator = "required"
[[nas]]
adress = "192.0.2.9"
secret = 17
[diamter]
[log]
level = "verbose"
"""
    assert problems(text) == [
        'aaa.toml:2: server.dta_dir: unknown key; did you mean "data_dir"?',
        "aaa.toml:4: store.key: is not 32 octets as hex or base64; `openssl rand -hex 32` makes one",
        'aaa.toml:7: radius.listen[2]: "nowhere" is not an IP address; names are not resolved, '
        'give one such as "192.0.2.1"',
        'aaa.toml:8: radius.reject_delay: "1 hour" is not a duration; give a duration such as "90s" or "5m", 0s to 10s',
        "aaa.toml:9: radius.acct_port: is auth_port; authentication and accounting need two ports",
        "aaa.toml:10: nas.lan.secret: missing; every NAS needs one",
        'aaa.toml:12: nas.lan.address: "10.0.0.1/8" has bits behind its prefix length; give "10.0.0.0/8" or "10.0.0.1"',
        'aaa.toml:13: nas.lan.family: "mikrotic" is no known family; did you mean "mikrotik"?',
        'aaa.toml:14: nas.lan.message_authenticator: "required" is not possible; '
        'give one of "auto", "require", "off"; did you mean "require"?',
        "aaa.toml:15: nas[2].name: missing; give a text of 1 to 253 characters",
        "aaa.toml:15: nas[2].address: missing; give a list of text",
        'aaa.toml:16: nas[2].adress: unknown key; did you mean "address"?',
        "aaa.toml:17: nas[2].secret: has a wrong type; give a text",
        'aaa.toml:18: diamter: unknown section; did you mean "diameter"?',
        'aaa.toml:20: log.level: "verbose" is not possible; give one of "debug", "info", "warning", "error"',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server\n", "aaa.toml:1: is not TOML: "),
        ("a = 1\na = 2\n", "aaa.toml:2: is not TOML: Cannot overwrite a value at"),
        ('a = "', "aaa.toml:1: is not TOML: Unterminated string"),
        ("[[server]]\n", "server: is not a table; write [server] and its keys below it"),
        ("server = 3\n", "server: is not a table"),
        ("[nas]\nname = 'x'\n", "nas: is not a list of tables; write [[nas]] with two brackets"),
        ("nas = [1]\n", "nas[1]: is not a table; write [[nas]]"),
        ("nas = 1\n", "nas: is not a list of tables"),
    ],
)
def test_wrong_shapes(text: str, message: str) -> None:
    assert any(message in line for line in problems(text))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("auth_port = 65536", "65536 is not possible; give a whole number from 0 to 65535"),
        ("auth_port = -1", "-1 is not possible"),
        ("auth_port = true", "true is not possible; give a whole number"),
        ("auth_port = '1812'", '"1812" is not possible; give a whole number'),
        ("auth_port = 1812.5", "1812.5 is not possible"),
        ("reject_delay = '11s'", '"11s" is not possible; give a duration such as "90s" or "5m", 0s to 10s'),
        ("reject_delay = -1", "-1 is not possible"),
        ("reject_delay = true", "true is not a duration"),
        ("reject_delay = nan", "nan is not possible"),
        ("interim_jitter = 0.51", "0.51 is not possible; give a number from 0 to 0.5"),
        ("username_trim = 1", "1 is not possible; give true or false"),
        ("listen = []", "is empty"),
        ("listen = [1]", "is not possible; give a list of text"),
        ('listen = ["0.0.0.0", "127.0.0.1"]', '"0.0.0.0" includes "127.0.0.1"; remove one of them'),
        ('listen = ["::1", "0:0::1"]', '"0:0::1" is listed twice'),
        ('listen = "a\\u0000b"', "holds a control character"),
        ('simultaneous_use = "disconnect-oldest"', 'did you mean "disconnect_oldest"?'),
    ],
)
def test_wrong_values_of_radius(line: str, message: str) -> None:
    (problem,) = problems(f"{BASE}[radius]\n{line}\n")
    assert problem.startswith("aaa.toml:3: radius.")
    assert message in problem


def test_ports_may_both_be_left_to_the_kernel() -> None:
    assert read(BASE + "[radius]\nauth_port = 0\nacct_port = 0\n").radius.auth_port == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("family = 'nokai'", 'did you mean "nokia"?'),
        ("coa_address = 'nas.example'", "not an IP address"),
        ("coa_port = 0", "from 1 to 65535"),
        ("identity = []", 'give at least "password"'),
        ("identity = ['pasword']", 'did you mean "password"?'),
        ("rate_burst = 5", "no effect without rate_limit"),
        ("identifier = ''", "is empty; give the NAS-Identifier"),
        ("secret_env = 'X'", "secret is given as well; give one of secret, secret_file, secret_env"),
        ("second_secret = ''", "is empty"),
        ("second_secret_env = 'NONE'", "the environment has no NONE"),
        ("second_secret_file = '/nonexistent/x'", "/nonexistent/x: No such file or directory"),
        ("options = { a = [] }", "a table of text, numbers, true or false"),
        ("name = 'x'", "is not TOML"),
    ],
)
def test_wrong_values_of_a_nas(line: str, message: str) -> None:
    (problem,) = problems(BASE + NAS + line + "\n")
    assert message in problem


def test_two_nases_need_two_names_and_two_sources() -> None:
    text = BASE + NAS + NAS.replace("192.0.2.1", "192.0.2.2") + NAS.replace("lan", "wan")
    assert problems(text) == [
        'aaa.toml:7: nas.lan.name: "lan" is the name of the [[nas]] of line 2 as well; names are unique',
        "aaa.toml:12: nas.wan.address: 192.0.2.1/32 belongs to nas.lan as well; "
        "give each its own address, or its own identifier (NAS-Identifier)",
    ]


def test_one_prefix_is_shared_by_identifiers() -> None:
    one = NAS.replace("192.0.2.1", "192.0.2.0/24")
    two = one.replace("lan", "wan") + 'identifier = "w"\n'
    three = one.replace("lan", "man") + 'identifier = "w"\n'
    assert len(read(BASE + one + two).nas) == 2
    (problem,) = problems(BASE + one + two + three)
    assert 'nas.man.address: 192.0.2.0/24 with identifier "w" belongs to nas.wan as well' in problem


def test_secrets_come_from_files_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "lan.secret"
    file.write_bytes(b"from-a-file-long-enough \r\n")
    file.chmod(0o600)
    text = BASE + NAS.replace(f'secret = "{SECRET}"', 'secret_file = "lan.secret"') + 'second_secret_env = "LAN"\n'
    nas = parse(text, tmp_path / "aaa.toml", {"LAN": "from-the-environment"}).nas[0]
    assert nas.secret == Redacted("from-a-file-long-enough ")
    assert nas.second_secret == Redacted("from-the-environment")


def test_a_secret_file_that_is_empty_or_huge_or_a_directory(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "huge").write_bytes(b"x" * 5000)
    for name, message in (("empty", "is empty"), ("huge", "larger than 4096 octets"), (".", "Is a directory")):
        text = BASE + NAS.replace(f'secret = "{SECRET}"', f'secret_file = "{name}"')
        (problem,) = problems(text, tmp_path / "aaa.toml")
        assert message in problem


def test_a_secret_file_that_everybody_can_read_is_a_warning(tmp_path: Path) -> None:
    file = tmp_path / "lan.secret"
    file.write_text(SECRET)
    file.chmod(0o644)
    text = BASE + NAS.replace(f'secret = "{SECRET}"', 'secret_file = "lan.secret"')
    (warning,) = parse(text, tmp_path / "aaa.toml", {}).warnings
    assert "can be read by every user" in warning.message


def test_a_short_secret_is_a_warning_but_not_on_loopback() -> None:
    short = NAS.replace(SECRET, "testing123")
    assert warnings(BASE + short) == ["5: nas.lan.secret: has 10 octets; give 16 or more: `openssl rand -base64 24`"]
    assert warnings(BASE + short.replace('"192.0.2.1"', '["127.0.0.1", "::1"]')) == []
    assert len(warnings(BASE + short.replace('"192.0.2.1"', '["127.0.0.1", "192.0.2.1"]'))) == 1


def test_other_warnings() -> None:
    assert "lets every address in" in warnings(BASE + NAS.replace("192.0.2.1", "0.0.0.0/0"))[0]
    assert "same as secret" in warnings(BASE + NAS + f'second_secret = "{SECRET}"\n')[0]
    text = 'message_authenticator = "require"\nallow_proxy_state = true\n'
    assert "has no effect" in warnings(BASE + NAS + text)[0]
    assert "without TLS" in warnings(BASE + '[api]\nlisten = "0.0.0.0:8080"\n')[0]
    assert "shorter than reject_delay" in warnings(BASE + '[radius]\nlockout = "1s"\nreject_delay = "2s"\n')[0]


def test_the_stores_key_is_needed_once_and_in_either_coding() -> None:
    assert problems("") == [
        "aaa.toml: store.key: missing; it seals secrets at rest: "
        '`openssl rand -hex 32 > store.key`, and key_file = "store.key"'
    ]
    coded = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert read(f'store.key = "{coded}"').store.key == Redacted(bytes(range(32)))
    assert "store.key_env: store" not in problems('store.key = "x"\nstore.key_env = "K"\n', environ={"K": KEY})[0]
    assert read('store.key_env = "K"', environ={"K": KEY + "\n"}).store.key == Redacted(bytes(32))
    for wrong in (KEY[:-2], KEY + "00", "zz" * 32, coded[:-4]):
        assert "is not 32 octets" in problems(f'store.key = "{wrong}"')[0]


def test_tokens_are_kept_as_digests() -> None:
    token = "a-token-of-enough-length"
    digest = hashlib.sha256(token.encode()).hexdigest()
    text = f'[[token]]\nname = "a"\nrole = "admin"\ntoken = "{token}"\n'
    config = read(BASE + text)
    assert (config.token[0].token, config.token[0].token_sha256) == (None, digest)
    text = f'[[token]]\nname = "a"\nrole = "reader"\noperator = "mvno"\ntoken_sha256 = "{digest.upper()}"\n'
    config = read(BASE + text)
    assert (config.token[0].token_sha256, config.token[0].operator) == (digest, "mvno")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('token = "short"', "is shorter than 16 characters"),
        ("", "missing; give token_file, token_env, token_sha256 or token"),
        ('token_sha256 = "abc"', "is not 64 hex digits"),
        ('token = "long-enough-for-a-token"\ntoken_env = "X"', "token is given as well"),
        ('token_sha256 = "abc"\ntoken_env = "X"', "token_env is given as well"),
        ('token_env = "X"', "the environment has no X"),
    ],
)
def test_wrong_tokens(text: str, message: str) -> None:
    (problem,) = problems(f'{BASE}[[token]]\nname = "a"\nrole = "admin"\n{text}\n')
    assert message in problem


@pytest.mark.parametrize("name", ["crm/anna", "automation:dunning"])
def test_a_token_s_name_passes_for_no_other_actor(name: str) -> None:
    text = f'{BASE}[[token]]\nname = "{name}"\nrole = "admin"\ntoken = "long-enough-for-a-token"\n'
    (problem,) = problems(text)
    assert "which the names of actors are cut at" in problem


def test_two_tokens_are_not_the_same() -> None:
    one = '[[token]]\nname = "a"\nrole = "admin"\ntoken = "long-enough-for-a-token"\n'
    two = one.replace('"a"', '"b"').replace('"admin"', '"reader"')
    assert "token.b.token: is the token of token.a as well" in problems(BASE + one + two)[0]
    assert "token.a.role" in problems(BASE + one.replace("admin", "root"))[0]


POOL = '[[pool]]\nname = "p"\nkind = "ipv4"\nranges = ["10.0.0.0/16", "10.2.0.1-10.2.0.9"]\n'


def test_pools_have_the_usual_prefix_lengths() -> None:
    config = read(
        BASE
        + POOL
        + '[[pool]]\nname = "p"\nkind = "ipv6"\nranges = "2001:db8::/48"\n'
        + '[[pool]]\nname = "p"\nkind = "delegated"\nranges = "2001:db8:100::/40"\nhold = "0s"\n'
    )
    assert [pool.prefix_length for pool in config.pool] == [32, 64, 56]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (POOL + 'exclude = "x"\n', "pool.p.exclude: "),
        (POOL + "prefix_length = 24\n", "is not for ipv4"),
        (POOL + 'nas = ["lam"]\n', 'no [[nas]] is called "lam"; did you mean "lan"?'),
        (POOL.replace('"10.0.0.0/16"', '"2001:db8::/32"'), "is IPv6; this kind of pool is IPv4"),
        (POOL.replace('"10.0.0.0/16"', '"10.2.0.9-10.2.1.0"'), '"10.2.0.1-10.2.0.9" overlaps "10.2.0.9-10.2.1.0"'),
        (POOL.replace("10.0.0.0/16", "10.0.0.1/16"), "has bits behind its prefix length"),
        ('[[pool]]\nname = "p"\nkind = "ipv4"\nranges = []\n', "is empty"),
        (
            POOL + POOL.replace("10.0.0.0/16", "10.9.0.0/16").replace("10.2.0", "10.3.0"),
            'another ipv4 pool is called "p"',
        ),
        (
            POOL + POOL.replace('"p"', '"q"').replace("10.2.0", "10.3.0"),
            '"10.0.0.0/16" overlaps "10.0.0.0/16" of pool.p',
        ),
        (
            '[[pool]]\nname = "d"\nkind = "delegated"\nranges = "2001:db8::/60"\n',
            "is not made of whole /56 prefixes",
        ),
        (
            '[[pool]]\nname = "d"\nkind = "ipv6"\nprefix_length = 129\nranges = "2001:db8::/60"\n',
            "from 1 to 128",
        ),
        (
            '[[pool]]\nname = "d"\nkind = "ipv6"\nranges = "2001:db8::/48"\n'
            '[[pool]]\nname = "e"\nkind = "delegated"\nranges = "2001:db8::/40"\n',
            '"2001:db8::/40" overlaps "2001:db8::/48" of pool.d',
        ),
    ],
)
def test_wrong_pools(text: str, message: str) -> None:
    (problem,) = problems(BASE + NAS + text)
    assert message in problem


def test_two_operators_may_have_the_same_private_addresses() -> None:
    other = POOL.replace('"p"', '"q"')
    assert len(read(BASE + POOL + 'operator = "a"\n' + other + 'operator = "b"\n').pool) == 2
    assert "overlaps" in problems(BASE + POOL + 'operator = "a"\n' + other)[0]


def test_an_exclusion_outside_the_ranges_is_a_warning() -> None:
    assert "outside the ranges" in warnings(BASE + POOL + 'exclude = ["10.0.0.0", "10.9.0.1"]\n')[0]


def test_relative_paths_start_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aaa.toml").write_text(BASE + '[server]\ndata_dir = "data"\n')
    monkeypatch.chdir(tmp_path)
    config = load("aaa.toml")
    assert config.path == tmp_path / "aaa.toml"
    assert config.server.data_dir == str(tmp_path / "data")
    assert config.store.path == str(tmp_path / "data" / "aaa.db")
    assert os.listdir(tmp_path) == ["aaa.toml"], "checking changes nothing"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "aaa.toml"
    with pytest.raises(ConfigError, match="No such file or directory; `aaa init DIR`"):
        load(file)
    file.write_bytes(b"# ok\n\n# \xff\n")
    with pytest.raises(ConfigError, match=r"aaa\.toml:3: is not UTF-8"):
        load(file)
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)


@pytest.mark.parametrize("secret", ["wörd-of-the-day-1", "x" * 300])
def test_secrets_never_show(secret: str) -> None:
    config = read(BASE + NAS.replace(SECRET, secret) + f'second_secret = "{secret}2"\n')
    assert secret not in repr(config)
    assert secret not in str(config.nas)
    text = BASE.replace(KEY, secret) + NAS.replace("192.0.2.1", "nowhere").replace(SECRET, secret)
    text += f'[[token]]\nname = "t"\nrole = "none"\ntoken = "{secret}"\nsecret = "{secret}"\n'
    assert secret not in "\n".join(problems(text))


def test_a_redacted_value_shows_nowhere() -> None:
    secret = Redacted("open-sesame")
    assert [str(secret), repr(secret), f"{secret}", f"{secret:>5}", f"{[secret]}"] == [
        "***",
        "***",
        "***",
        "  ***",
        "[***]",
    ]
    assert secret.reveal() == b"open-sesame"
    assert len(secret) == 11
    assert secret == Redacted(b"open-sesame") == copy.deepcopy(secret)
    assert secret != Redacted("other")
    assert secret != "open-sesame"
    assert len({secret, copy.copy(secret), Redacted("other")}) == 2
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_reload_tells_what_needs_a_restart() -> None:
    old = read(BASE)
    assert restart_needed(old, read(BASE + NAS + '[log]\nlevel = "debug"\n[radius]\nreject_delay = 0\n')) == []
    text = '[log]\nformat = "text"\n[radius]\nauth_port = 1645\nlisten = "127.0.0.1"\n'
    assert restart_needed(old, read(BASE + text)) == ["radius.listen", "radius.auth_port", "log.format"]
    assert restart_needed(old, read(BASE.replace("00", "01"))) == ["store.key"]


def test_restart_keys_exist() -> None:
    for key in RESTART_KEYS:
        section, name = key.split(".")
        assert hasattr(getattr(Sections(), section), name)


def findings(text: str) -> tuple[Problem, ...]:
    try:
        return read(text).warnings
    except ConfigError as error:
        return error.problems


@given(st.text(max_size=80))
def test_any_text_is_a_configuration_or_a_list_of_problems(text: str) -> None:
    findings(text)


VALUES = st.sampled_from(
    [
        "1",
        "-1",
        "true",
        '""',
        '"x"',
        '"1s"',
        "[]",
        "[1]",
        '["x",2]',
        "[[]]",
        "{}",
        "{a=1}",
        "1.5",
        "inf",
        "nan",
        "2026-11-21",
        '"10.0.0.0/8"',
        '"::/0"',
        '["::1","::2"]',
    ]
)
KEYS = st.sampled_from(
    [
        f"{section}.{name}"
        for section in ("server", "store", "radius", "api", "log")
        for name in getattr(Sections(), section).__struct_fields__
    ]
    + ["server", "nas", "token", "pool", "x"]
)
ENTRIES = st.sampled_from(["nas", "token", "pool"])


@given(st.dictionaries(KEYS, VALUES, max_size=6), st.lists(st.tuples(ENTRIES, st.data()), max_size=3))
def test_any_value_anywhere_is_accepted_or_a_problem_with_a_line(
    top: dict[str, str], entries: list[tuple[str, st.DataObject]]
) -> None:
    text = "".join(f"{key} = {value}\n" for key, value in top.items())
    for section, data in entries:
        names = {"nas": Nas, "token": Token, "pool": Pool}[section].__struct_fields__
        fields = data.draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=6))
        text += f"[[{section}]]\n" + "".join(f"{key} = {value}\n" for key, value in fields.items())
    assert all(problem.line or problem.key == "store.key" for problem in findings(text))
