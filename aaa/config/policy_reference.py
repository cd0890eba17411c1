"""What policy files may say, as Markdown, made from the tables in code: `python -m aaa.config.policy_reference`."""

import msgspec

from aaa.config import policy as files
from aaa.config.read import expected
from aaa.config.reference import documents
from policy.facts import markdown as facts
from policy.grammar import FUNCTIONS


def markdown() -> str:
    """Sections for rules, effects, automations, facts and functions."""
    return "\n".join(
        (
            "### Keys of a rule\n",
            _keys(files.RuleTable),
            "### Effects of a rule: `then`\n",
            _keys(files.ThenTable),
            "### Keys of an automation\n",
            _keys(files.AutomationTable),
            "### Effects of an automation: `do`\n",
            "| effect | meaning |\n|---|---|",
            *(f"| `{verb}` | {meaning} |" for verb, meaning in files.VERBS.items()),
            "\n### Facts\n",
            facts(),
            "### Functions\n",
            "| function | meaning |\n|---|---|",
            *(f"| `{function.signature}` | {function.doc} |" for function in FUNCTIONS.values()),
            "",
        )
    )


def _keys(table: type[msgspec.Struct]) -> str:
    meanings = documents(files)
    rows = ["| key | meaning | value |", "|---|---|---|"]
    for field in msgspec.structs.fields(table):
        value = _VALUES.get(field.name) or expected(field.type).removeprefix("a ")
        rows.append(f"| `{field.name}` | {meanings[table.__name__, field.name]} | {value} |")
    return "\n".join(rows) + "\n"


_VALUES = {
    "then": "table",
    "do": "text, table, or a list of them",
    "when": "condition",
    "rate": "rate",
    "rate_max": "rate",
    "qos": "table",
    "attributes": "list of tables",
    "session_timeout": "duration",
    "idle_timeout": "duration",
    "interim_interval": "duration",
    "after": "duration",
    "before": "duration",
}
"""What cannot be told from the type."""


if __name__ == "__main__":
    print(markdown(), end="")
