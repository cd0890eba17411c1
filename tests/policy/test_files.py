"""Policy files: what they may hold, and that every problem is told at its line and column."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aaa.config.policy import compile_texts, load_policy, parse_octets, parse_rate
from aaa.errors import ConfigError
from policy.model import Exhausted, Rate, Window
from policy.rules import Policy


def load(text: str) -> Policy:
    return compile_texts({"p.toml": text})


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return [str(problem) for problem in caught.value.problems]


def test_plans_may_live_in_policy_files_with_units() -> None:
    policy = load(
        """
        [windows]
        night = { start = "22:00", end = "06:00", zone = "Europe/Berlin" }
        [[plan]]
        id = "x"
        rate = "50M/10.5M"
        quota = { octets = "20GB", roll_over_octets_max = "1.5GiB" }
        tiers = [{ above_octets = "500MB", rate = "64k/64k" }]
        schedule = [{ window = "night", rate = { down_bps = 5, up_bps = 6 } }]
        on_exhausted = [{ throttle = "1M/0" }, { top_up = { octets = "5GB", valid_s = "30d" } }, "notify"]
        session_timeout = "1d"
        """
    )
    (plan,) = policy.plans
    assert plan.rate == Rate(50_000_000, 10_500_000)
    assert plan.quota is not None
    assert (plan.quota.octets, plan.quota.roll_over_octets_max) == (20_000_000_000, 1_610_612_736)
    assert plan.tiers[0].rate == Rate(64_000, 64_000)
    assert plan.session_timeout == 86_400
    throttle, top_up, _ = plan.on_exhausted
    assert isinstance(throttle, Exhausted)
    assert throttle.throttle == Rate(1_000_000, 0)
    assert isinstance(top_up, Exhausted)
    assert top_up.top_up is not None
    assert (top_up.top_up.octets, top_up.top_up.valid_s) == (5_000_000_000, 2_592_000)
    assert policy.windows == {"night": Window("22:00", "06:00", zone="Europe/Berlin")}


@pytest.mark.parametrize("text", ["50M", "50M/", "fast/slow", "-1/5", "5M/5M/5M", ""])
def test_what_is_no_rate_is_told(text: str) -> None:
    with pytest.raises(ValueError, match='such as "50M/10M"'):
        parse_rate(text)


@pytest.mark.parametrize("text", ["20", "20G", "GB", "-5GB", ""])
def test_what_is_no_volume_is_told(text: str) -> None:
    with pytest.raises(ValueError, match='such as "20GB"'):
        parse_octets(text)


def test_the_revision_names_the_content() -> None:
    one = compile_texts({"a.toml": "[restricted]\nrate = '1M/1M'"})
    assert one.revision == compile_texts({"a.toml": "[restricted]\nrate = '1M/1M'"}).revision
    assert one.revision != compile_texts({"b.toml": "[restricted]\nrate = '1M/1M'"}).revision
    assert one.revision != compile_texts({"a.toml": "[restricted]\nrate = '1M/1M'"}, "Europe/Berlin").revision


def test_an_empty_policy_has_nothing() -> None:
    policy = load_policy(None, "Europe/Berlin")
    assert (policy.rules, policy.automations, str(policy.zone)) == ((), (), "Europe/Berlin")


def test_files_of_a_directory_are_read_by_name_and_others_left(tmp_path: Path) -> None:
    for name in ("b.toml", "a.toml"):
        (tmp_path / name).write_text(f"[[rule]]\nname = '{name}'\nthen = {{ filter = 'x' }}")
    (tmp_path / "notes.txt").write_text("not TOML")
    assert [rule.name for rule in load_policy(tmp_path).rules] == ["a.toml", "b.toml"]
    assert [rule.name for rule in load_policy(tmp_path / "a.toml").rules] == ["a.toml"]


def test_a_directory_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such directory"):
        load_policy(tmp_path / "gone")


def test_a_file_that_is_not_utf8_is_a_problem_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"# fine\n# \xff\n")
    with pytest.raises(ConfigError, match=r"a\.toml:2:1: is not UTF-8"):
        load_policy(tmp_path)


def test_what_is_wrong_in_any_file_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        compile_texts({"a.toml": "x = 1", "b.toml": "[[rule]\n", "c.toml": "[[rule]]\nname = 'r'\nthen = {}"})
    places = [(problem.file, problem.line, problem.column) for problem in caught.value.problems]
    assert places == [("a.toml", 1, 1), ("b.toml", 1, 7), ("c.toml", 3, 1)]


@pytest.mark.parametrize(
    ("line", "column"),
    [
        ('''when = "plan.kind == 'internet' and plan.knd == 'x'"''', 37),
        ("""when = 'plan.kind == "internet" and plan.knd == "x"'""", 37),
        ('''when = "plan.kind == \\"internet\\" and plan.knd == 'x'"''', 39),
        ('''when = "plan.name != '\\u00e9\\t' and plan.knd == 'x'"''', 37),
        ('''when = "plan.name != 'é' and plan.knd == 'x'"''', 30),
        ("when   =   \'plan.knd == \"x\"\'", 13),
        ('when = """plan.knd == \'x\'"""', 11),
        ("when = '''plan.knd == \"x\"'''", 11),
    ],
)
def test_a_fault_stands_at_its_character_whatever_the_quotes(line: str, column: int) -> None:
    (problem,) = problems(f"[[rule]]\nname = 'r'\n{line}\nthen = {{ filter = 'x' }}")
    assert problem == f'p.toml:3:{column}: rule.r.when: "plan.knd" is no known fact; did you mean "plan.kind"?'


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (["when = '''", "plan.kind == 'voice' or", "  plan.knd == 'x'", "'''"], "5:3"),
        (['when = """', "plan.kind == 'voice' or", "  plan.knd == 'x'", '"""'], "5:3"),
        (['when = """\\', "   plan.kind == 'voice' or \\", "   plan.knd == 'x'", '"""'], "5:4"),
        (["when = '''plan.kind == 'voice'", "or plan.knd == 'x' '''"], "4:4"),
    ],
)
def test_a_fault_of_a_longer_text_stands_in_its_line(lines: list[str], place: str, end: str) -> None:
    (problem,) = problems(end.join(["[[rule]]", "name = 'r'", *lines, "then = { filter = 'x' }"]))
    assert problem.startswith(f"p.toml:{place}: ")


RULE = "[[rule]]\nname = 'r'\nthen = { filter = 'f' }\n"
AUTOMATION = "[[automation]]\nname = 'a'\non = 'hold.added'\ndo = 'disconnect'\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[rul]]\nname = 'x'", '1:1: rul: unknown section; did you mean "rule"?'),
        ("[rule]\nname = 'x'", "1:1: rule: is not a list of tables; write [[rule]]"),
        ("[[facts]]\nx = 1", "1:1: facts: is not a table; write [facts]"),
        ("[[rule]]\nthen = { filter = 'f' }", "1:1: rule[1].name: missing"),
        ("[[rule]]\nname = 'r'", "1:1: rule.r.then: missing"),
        (RULE + "whn = 'true'", '4:1: rule.r.whn: unknown key; did you mean "when"?'),
        (RULE + "when = true", "4:1: rule.r.when: is not a text"),
        ("[[rule]]\nname = 'r'\nthen = { filtre = 1 }", '3:10: rule.r.then.filtre: unknown key; did you mean "filter"'),
        ("[[rule]]\nname = 'r'\nthen = { rate = '5' }", '3:10: rule.r.then.rate: "5" is no rate'),
        ("[[rule]]\nname = 'r'\nthen = { rate = { down = 5 } }", "3:19: rule.r.then.rate.down: unknown key"),
        ("[[rule]]\nname = 'r'\nthen = { rate_factor = 0 }", "3:10: rule.r.then.rate_factor: 0 is not possible"),
        ("[[rule]]\nname = 'r'\nthen = { idle_timeout = 'x' }", '3:10: rule.r.then.idle_timeout: "x" is no duration'),
        ("[[rule]]\nname = 'r'\nthen = { interim_interval = '5s' }", "from 60 to 86400"),
        ("[[rule]]\nname = 'r'\nthen = { qos = { qci = 9 } }", "3:10: rule.r.then.qos: arp is missing"),
        ("[[rule]]\nname = 'r'\nthen = {}", "3:1: rule.r.then: changes nothing"),
        (RULE + RULE, '5:1: rule.r.name: rule "r" exists already'),
        (AUTOMATION + AUTOMATION, '6:1: automation.a.name: automation "a" exists already'),
        (AUTOMATION + "when = 'now < 3'", "5:15: automation.a.when: a moment cannot be compared"),
        (AUTOMATION + "when = 'session.nas.name == \"x\"'", "an automation runs for a service wherever it is online"),
        (AUTOMATION + "once = 'often'", '5:1: automation.a.once: "often" is not possible; give one of "event"'),
        (AUTOMATION + "before = '3d'", '5:1: automation.a.before: works with on = "service.expiring" only'),
        (AUTOMATION + "after = 'soon'", '5:1: automation.a.after: "soon" is no duration'),
        (AUTOMATION.replace("hold.added", "hold.aded"), '3:1: automation.a.on[1]: "hold.aded" is no type of event;'),
        (AUTOMATION.replace("disconnect", "discon"), '"discon" is no effect; did you mean "disconnect"?'),
        (AUTOMATION.replace("'disconnect'", "[]"), "4:1: automation.a.do: does nothing"),
        (AUTOMATION.replace("'disconnect'", "[3]"), "4:7: automation.a.do[1]: is no effect"),
        (AUTOMATION.replace("'disconnect'", "{ restore = 'b' }"), '"b" is no cause of a hold'),
        (AUTOMATION.replace("'disconnect'", "{ restore = 'automation:b' }"), 'no automation is named "b"'),
        (AUTOMATION.replace("'disconnect'", "{ top_up = '5' }"), "4:8: automation.a.do.top_up: top_up is not given as"),
        (AUTOMATION.replace("'disconnect'", "{ suspend = 'x' }"), "suspend is not given as it must be"),
        (AUTOMATION.replace("'disconnect'", "{ suspend = { untl = '3d' } }"), '4:20: automation.a.do.suspend.untl'),
        (AUTOMATION.replace("'disconnect'", "{ suspend = { octets = 3 } }"), "suspend takes no octets"),
        (AUTOMATION.replace("'disconnect'", "{ notify = { template = 't', facts = ['plan.knd'] } }"), '"plan.knd" is'),
        (AUTOMATION.replace("hold.added", "service.expiring"), '1:1: automation.a.before: is missing; "service'),
        (
            AUTOMATION.replace("hold.added", "service.expiring") + "before = '3d'\nmoment = 'plan.id'",
            '6:1: automation.a.moment: "plan.id" is no moment to remind of; known are service.expires_at',
        ),
        ("[windows]\nx = { start = '8:00' }", "2:7: windows.x.start: expected `str` matching regex"),
        ("[windows]\nx = { zone = 'Mars' }", '2:1: windows.x: "Mars" is no time zone'),
        ("[facts]\n'a b' = 1", '2:1: facts.a b: "a b" is no name of a fact'),
        ("[facts]\nbalance = 1", "2:1: facts.balance: subscriber.billing.balance is built in"),
        ("[facts]\nx = { type = 'int', default = 'a' }", "2:21: facts.x.default: is not of type int"),
        ("[facts]\nx = { type = 'strng' }", "2:7: facts.x.type: invalid enum value 'strng'"),
        ("[facts]\nx = []", "2:1: facts.x: is no fact"),
        ("[restricted]\nspeed = 5", '1:1: restricted: holds one key: rate = "1M/1M"'),
        ("[[plan]]\nname = 'x'", "1:1: plan.x.id: is missing"),
        ("[[plan]]\nid = 'x'\nrates = '1M/1M'", "3:1: plan[1].rates: unknown key; did you mean"),
        ("[[plan]]\nid = 'x'\nquota = { octets = -1 }", "3:11: plan[1].quota.octets: expected `int` >= 0"),
        ("[[plan]]\nid = 'x'\n[[plan]]\nid = 'x'", '4:1: plan[2].id: plan "x" exists already'),
        ("[[plan]]\nid = 'x'\nschedule = [{ window = 'w' }]", '3:15: plan[1].schedule[1].window: "w" is no known'),
    ],
)  # fmt: skip
def test_a_problem_tells_its_place_and_what_would_be_right(text: str, problem: str) -> None:
    found = problems(text)
    assert any(problem in each for each in found), found
    assert all(each.startswith("p.toml:") for each in found)


def test_every_wrong_key_of_a_plan_is_told() -> None:
    found = problems("[[plan]]\nid = 'x'\nrate = 5\nkind = 'inet'\nfoo = 1\nquota = { octets = 'x' }")
    assert len(found) == 4


KEYS = st.sampled_from(
    ["name", "id", "when", "then", "on", "do", "rate", "octets", "operator", "once", "after", "before", "moment"]
)
VALUES: st.SearchStrategy[object] = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-5, 5),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["", "x", "5GB", "1M/1M", "3d", "true", "plan.id == 'x'", "hold.added", "disconnect", "\t"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


def toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key} = {toml(each)}' for key, each in value.items())}}}"
    return '"' + value.replace("\t", "\\t") + '"' if isinstance(value, str) else repr(value)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["[restricted]", "[facts]", "[windows]", "[[plan]]", "[[rule]]", "[[automation]]"]),
            st.dictionaries(KEYS, VALUES, max_size=4),
        ),
        min_size=1,
        max_size=2,
        unique_by=lambda each: each[0],
    )
)
@settings(max_examples=150, deadline=None)
def test_any_tables_are_a_policy_or_problems_with_places(tables: list[tuple[str, dict[str, object]]]) -> None:
    text = "\n".join(
        f"{header}\n" + "\n".join(f"{key} = {toml(value)}" for key, value in table.items()) for header, table in tables
    )
    try:
        load(text)
    except ConfigError as error:
        lines = text.split("\n")
        for problem in error.problems:
            assert 1 <= problem.line <= len(lines)
            assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


AUTOMATION = "[[automation]]\nname = 'x%d'\non = ['hold.added']\ndo = { restrict = true }\n"
RULE = "[[rule]]\nname = 'x%d'\nthen = { deny = 'x' }\n"
HOSTILE = {
    "lists": ("x = " + "[" * 5000 + "]" * 5000, "nested too deeply"),
    "tables": ("x = " + "{a=" * 3000 + "1" + "}" * 3000, "nested too deeply"),
    "header": ("[" + ".".join("a" * 50_000) + "]", "dots outside of quotes"),
    "key": ('"\\"".' + ".".join("a" * 50_000) + '."\\"" = 1', "dots outside of quotes"),
    "number": ("x = " + "1" * 10_000, "is not TOML"),
    "rate": (f"[restricted]\nrate = '{'9' * 400}M/1M'", "is no rate"),
    "volume": (f"[[plan]]\nid = 'p'\nkind = 'internet'\nquota = {{ octets = '{'9' * 400}GB' }}", "is no volume"),
    "duration": (f"[[rule]]\nname = 'x'\nthen = {{ session_timeout = '{'9' * 400}d' }}", "is no duration"),
    "rules": ("".join(RULE % number for number in range(1001)), "more than 1000 rules"),
    "automations": ("".join(AUTOMATION % number for number in range(3000)), "more than 1000 automations"),
}


@pytest.mark.parametrize(("text", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_text_is_a_problem_at_its_place_and_costs_little(text: str, message: str) -> None:
    began = time.process_time()
    with pytest.raises(ConfigError) as caught:
        compile_texts({"a.toml": text})
    assert any(message in problem.message for problem in caught.value.problems)
    # The texts of a preview come from a token; the worst took 100 CPU-seconds without bounds.
    assert time.process_time() - began < 10


def test_long_conditions_in_quotes_are_no_deep_keys() -> None:
    condition = " or ".join(["subscriber.billing.overdue_days > 3"] * 70)
    assert compile_texts({"a.toml": f'[[rule]]\nname = "x"\nwhen = "{condition}"\nthen = {{ deny = "x" }}\n'}).rules
