"""Policy files: every *.toml of [policy] dir, read, checked and compiled; every problem at its file, line and column.

What a file may hold is documented in docs/policy.md. The compiler itself (policy.compile) knows no files.
"""

from __future__ import annotations

import copy
import hashlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct

from aaa.config.locate import Path as Key
from aaa.config.locate import Places, line_and_column, locate, locate_places, offset_in_string
from aaa.config.read import read_struct, suggest
from aaa.config.report import Report
from aaa.config.values import parse_duration
from aaa.errors import ConfigError, Problem
from aaa.limits import CONFIG_FILE_BYTES_MAX, POLICY_FILES_COUNT_MAX, POLICY_LINE_DOTS_MAX
from aaa.model.event_types import EVENT_TYPES
from policy import model
from policy.automation import (
    AddTopUp,
    CallWebhook,
    Disconnect,
    Effect,
    Notify,
    Once,
    PlaceHold,
    Restore,
    SetTags,
)
from policy.compile import AutomationSpec, EventTypes, Finding, RuleSpec, Specs, Where, compile_policy
from policy.facts import Declared, Type, typed_reader
from policy.grammar import Fault, closest
from policy.model import Attribute, Plan, PositiveInt, Qos, Rate, Scalar, Seconds, Window
from policy.rules import Effects, Policy

_TYPES: Final[dict[Any, Type]] = {str: "text", int: "int", float: "float", bool: "bool", list[str]: "list"}
EVENTS: Final[EventTypes] = {
    event.name: {field.name: _TYPES[field.type] for field in event.fields} for event in EVENT_TYPES.values()
}
"""What expressions of automations may read of events."""

_SCALED: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kMGT]?)", re.ASCII)
_OCTETS: Final = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s*([kMGT]i?)?B", re.ASCII)
_QUOTED: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')
_FACTORS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY: Final = {"ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

RATE_KEYS: Final = frozenset({"rate", "rate_max", "throttle", "apn_ambr"})
"""Keys whose value may be "50M/10M": bit/s down and up."""
OCTET_KEYS: Final = frozenset({"octets", "above_octets", "roll_over_octets_max"})
"""Keys whose value may be "20GB" or "20GiB"."""
DURATION_KEYS: Final = frozenset(
    {"session_timeout", "idle_timeout", "interim_interval", "valid", "valid_s", "until", "after", "before"}
)
"""Keys whose value may be "3d"."""

Text = Annotated[str, Meta(min_length=1, max_length=253)]


class RuleTable(Struct, frozen=True, forbid_unknown_fields=True):
    """[[rule]]: what changes a decision."""

    name: Text
    """Unique name; it stands in the trace."""
    then: dict[str, Any]
    """Effects on the decision: see below."""
    when: str = "true"
    """Condition; absent: always."""
    operator: tuple[str, ...] = ()
    """Only for subscribers of these operators; absent: all."""


class ThenTable(Struct, frozen=True, forbid_unknown_fields=True):
    """`then` of a rule."""

    deny: Text | None = None
    """Reject, with this reason for the subscriber. Final: no later rule is looked at."""
    rate: Any = None
    """What is sold, instead of the plan's rate, add-ons, override and schedule: `"50M/10M"`, down and up. Limits still
    lower it."""
    rate_factor: Annotated[float, Meta(gt=0, le=1000)] | None = None
    """Multiplies what is sold: `0.5`, `2`."""
    rate_max: Any = None
    """A limit beside tiers, throttling and restriction; the lowest of all holds: `"5M/1M"`."""
    filter: Text | None = None
    """Name of a filter on the NAS (Filter-Id)."""
    pool: Text | None = None
    """Name of an address pool of this server or of the NAS."""
    walled_garden: bool | None = None
    """Put behind the NAS's garden list, or not."""
    qos: Any = None
    """Bearer parameters, as in a plan."""
    attributes: Any = None
    """Further reply attributes, as in a plan: `[{ name = "Filter-Id", value = "x", family = "*" }]`."""
    session_timeout: Seconds | None = None
    """Session-Timeout: `"1h"`."""
    idle_timeout: Seconds | None = None
    """Idle-Timeout."""
    interim_interval: Annotated[int, Meta(ge=60, le=86400)] | None = None
    """Acct-Interim-Interval, 60 s to 1 d."""
    simultaneous_use: PositiveInt | None = None
    """Sessions at a time."""
    message: Text | None = None
    """For the subscriber and the support desk."""
    stop: bool = False
    """No later rule is looked at."""


class AutomationTable(Struct, frozen=True, forbid_unknown_fields=True):
    """[[automation]]: what happens by itself."""

    name: Text
    """Unique name; its holds have the cause `automation:NAME`."""
    on: tuple[str, ...]
    """Types of events (docs/events.md); `session.*` is all that begin so."""
    do: Any
    """Effects, in order: see below."""
    when: str = "true"
    """Condition, over facts and the event; absent: always."""
    after: Annotated[int, Meta(ge=1, le=400 * 86400)] | None = None
    """Run so much later, if the condition holds then as well: `"3d"`. Survives a restart."""
    before: Annotated[int, Meta(ge=1, le=400 * 86400)] | None = None
    """With `on = "service.expiring"`: how long before the moment."""
    moment: str = ""
    """With `before`: which moment; absent: `service.expires_at`."""
    operator: tuple[str, ...] = ()
    """Only for subscribers of these operators; absent: all."""
    once: Once = "event"
    """At most once for each `event`, calendar `day`, billing `cycle`, or `ever`, for each service."""


VERBS: Final[dict[str, str]] = {
    "restrict": 'Lay a hold: the service is restricted. `true`, or `{ until = "3d", reason = "..." }`.',
    "suspend": "Lay a hold: the service is suspended. Likewise.",
    "restore": 'Lift holds: of the automations named, of `"admin"`, or `"all"`: `["overdue-suspend", "admin"]`.',
    "top_up": 'Add octets to the balance: `"5GB"`, or `{ octets = "5GB", valid = "30d" }`; else to the cycle\'s end.',
    "notify": 'Emit the event `notification`: the name of a template, or `{ template = "...", data = {}, facts = [] }`;'
    " `facts` go into the data by their last names.",
    "webhook": "Call the [[webhook]] of this name.",
    "disconnect": "End the service's live sessions: `true`, or a reason.",
    "tag": "Set a tag on the service, for rules to read: its name, or `{ add = [], remove = [] }`.",
}
"""What `do` of an automation may hold."""


def load_policy(directory: Path | None, zone: str = "UTC") -> Policy:
    """The policy of a directory's *.toml files, in the order of their names; without a directory, an empty one.

    Raises ConfigError with every problem. Warnings are in `policy.warnings`.
    """
    if directory is None:
        return compile_texts({}, zone)
    try:
        files = [directory] if directory.is_file() else sorted(directory.glob("*.toml"))
        if not directory.exists():
            raise ConfigError([Problem(str(directory), 0, "", "no such directory; make it, or correct the path")])
        if len(files) > POLICY_FILES_COUNT_MAX:
            raise ConfigError([Problem(str(directory), 0, "", f"more than {POLICY_FILES_COUNT_MAX} files")])
        octets = {}
        for file in files:
            with file.open("rb") as stream:
                octets[str(file)] = stream.read(CONFIG_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError([Problem(str(error.filename or directory), 0, "", error.strerror or str(error))]) from None
    texts: dict[str, str] = {}
    problems = []
    for name, content in octets.items():
        if len(content) > CONFIG_FILE_BYTES_MAX:
            problems.append(
                Problem(name, 0, "", f"is larger than {CONFIG_FILE_BYTES_MAX} octets; is it the right file?")
            )
            continue
        try:
            texts[name] = content.decode()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            problems.append(Problem(name, line, "", "is not UTF-8; save it as UTF-8", 1))
    if problems:
        raise ConfigError(problems)
    return compile_texts(texts, zone)


def compile_texts(texts: Mapping[str, str], zone: str = "UTC") -> Policy:
    """The policy of texts by file name, in the order of their names; for previews too. Raises ConfigError."""
    try:
        info = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError([Problem("[policy] zone", 0, "", f'"{zone}" is no time zone')]) from None
    problems: list[Problem] = []
    files: dict[str, _File] = {}
    specs = Specs()
    for name in sorted(texts):
        text = texts[name].replace("\r\n", "\n")
        deep = _deep_line(text)
        if deep:
            message = f"has more than {POLICY_LINE_DOTS_MAX} dots outside of quotes; break the line"
            problems.append(Problem(name, deep, "", message, 1))
            continue
        try:
            files[name] = file = _File(name, text, tomllib.loads(text))
            _Reader(file, specs).read()
        except RecursionError:
            problems.append(Problem(name, 1, "", "lists or tables are nested too deeply", 1))
        except ValueError as error:
            # Not only what is no TOML: also a number of more digits than Python reads.
            problems.append(_syntax_problem(name, str(error), text))
    digest = hashlib.sha256(repr((zone, [(Path(name).name, texts[name]) for name in sorted(texts)])).encode())
    policy, findings = compile_policy(specs, EVENTS, info, digest.hexdigest()[:16])
    warnings: list[Problem] = []
    for finding in findings:
        problem = files[finding.where[0]].find(finding)
        (warnings if finding.warning else problems).append(problem)
    problems += [problem for file in files.values() for problem in file.errors]
    if problems:
        raise ConfigError(sorted(set(problems), key=lambda problem: (problem.file, problem.line, problem.column)))
    policy.warnings = tuple(warnings)
    return policy


def _deep_line(text: str) -> int:
    """Number of the first line that may be a key of very many parts, which the parser reads in quadratic time; or 0."""
    lines = _QUOTED.sub('""', text).split("\n")
    return next((number for number, line in enumerate(lines, 1) if line.count(".") > POLICY_LINE_DOTS_MAX), 0)


class _File(Report):
    """One policy file: places problems by column, too."""

    def __init__(self, file: str, text: str, data: dict[str, Any]) -> None:
        super().__init__(file, locate(text), data)
        self.text = text
        self.places: Places = locate_places(text)

    def problem(self, path: Key, message: str) -> Problem:
        for length in range(len(path), 0, -1):
            offset = self.places.keys.get(path[:length])
            if offset is not None:
                line, column = line_and_column(self.text, offset)
                return Problem(self.file, line, self.name(path), message, column)
        return Problem(self.file, 1, self.name(path), message, 1)

    def find(self, finding: Finding) -> Problem:
        """A finding of the compiler, at its place; within a text, at the character."""
        path: Key = finding.where[1:]
        start = self.places.values.get(path)
        if finding.fault is None or start is None:
            return self.problem(path, finding.message)
        value: Any = self.data
        for part in path:
            value = value[part]
        offset = offset_in_string(self.text, start, _index(str(value), finding.fault))
        line, column = line_and_column(self.text, offset)
        return Problem(self.file, line, self.name(path), finding.message, column)


def _index(text: str, fault: Fault) -> int:
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: fault.line - 1]) + fault.column - 1


SECTIONS: Final = ("restricted", "facts", "windows", "plan", "rule", "automation")


class _Reader:
    """From one file's tables to specs."""

    def __init__(self, file: _File, specs: Specs) -> None:
        self.file = file
        self.specs = specs

    def read(self) -> None:
        data = self.file.data
        for key in data:
            if key not in SECTIONS:
                self.file.error((key,), f"unknown section{suggest(key, SECTIONS)}")
        self.restricted(data.get("restricted"))
        for name, value in self.tables("facts"):
            self.fact(name, value)
        for name, value in self.tables("windows"):
            window = self.convert(Window, value, ("windows", name))
            if window is not None:
                self.specs.windows.append((self.where("windows", name), name, window))
        for index, value in self.entries("plan"):
            self.plan(index, value)
        for index, value in self.entries("rule"):
            self.rule(index, value)
        for index, value in self.entries("automation"):
            self.automation(index, value)

    def where(self, *path: str | int) -> Where:
        return (self.file.file, *path)

    def place(self, *path: str | int) -> str:
        return f"{self.file.file}:{self.file.line(path)}"

    def tables(self, section: str) -> list[tuple[str, Any]]:
        value = self.file.data.get(section, {})
        if isinstance(value, dict):
            return list(value.items())
        self.file.error((section,), f"is not a table; write [{section}] and its names below it")
        return []

    def entries(self, section: str) -> list[tuple[int, dict[str, Any]]]:
        value = self.file.data.get(section, [])
        if isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
            return [(index, self.normal(entry, (section, index))) for index, entry in enumerate(value)]
        self.file.error((section,), f"is not a list of tables; write [[{section}]] with two brackets for every entry")
        return []

    def normal(self, value: Any, path: Key) -> Any:
        """The value with rates, volumes and durations in their plain forms."""
        if isinstance(value, list):
            return [self.normal(entry, (*path, index)) for index, entry in enumerate(value)]
        if not isinstance(value, dict):
            return value
        result = {}
        for key, entry in value.items():
            try:
                if isinstance(entry, str) and key in RATE_KEYS:
                    entry = parse_rate(entry)
                elif isinstance(entry, str) and key in OCTET_KEYS:
                    entry = parse_octets(entry)
                elif isinstance(entry, str) and key in DURATION_KEYS:
                    entry = _seconds(entry)
                elif key != "data":
                    entry = self.normal(entry, (*path, key))
            except ValueError as error:
                self.file.error((*path, key), str(error))
                # Something right in its place, so that it is told once.
                entry = {"down_bps": 1, "up_bps": 1} if key in RATE_KEYS else 3600
            result[key] = entry
        return result

    def convert(self, kind: Any, value: Any, path: Key) -> Any:
        """The value as a struct; None after problems, of which each wrong key is one."""
        value = copy.deepcopy(value)
        for _ in range(32):  # Bound: problems told of one table at a time
            try:
                return msgspec.convert(value, kind)
            except msgspec.ValidationError as error:
                message, _, place = str(error).partition(" - at `$")
                parts: list[str | int] = [
                    int(index) if index else name for name, index in re.findall(r"\.([^.\[\]`]+)|\[(\d+)\]", place)
                ]
            unknown = re.search(r"unknown field `(.*?)`", message)
            missing = re.search(r"missing required field `(.*?)`", message)
            if unknown is not None:
                parts.append(unknown[1])
                near = closest(unknown[1], _KNOWN_KEYS)
                message = f'unknown key; did you mean "{near}"?' if near else "unknown key"
            elif missing is not None:
                message = f"{missing[1]} is missing"
            elif parts and parts[-1] in RATE_KEYS and message.startswith("Expected"):
                message = 'is no rate; give down and up, such as "50M/10M"'
            self.file.error((*path, *parts), message[:1].lower() + message[1:])
            if missing is not None or not parts or not _remove(value, parts):
                return None
        return None

    def restricted(self, value: Any) -> None:
        if value is None:
            return
        path = ("restricted",)
        if not isinstance(value, dict) or set(value) != {"rate"}:
            self.file.error(path, 'holds one key: rate = "1M/1M"')
            return
        rate = self.convert(Rate, self.normal(value, path).get("rate"), (*path, "rate"))
        if rate is not None:
            self.specs.restricted.append((self.where("restricted"), rate))

    def fact(self, name: str, value: Any) -> None:
        path = ("facts", name)
        if not isinstance(value, dict):
            kinds: dict[type, Any] = {bool: "bool", int: "int", float: "float", str: "text"}
            if type(value) not in kinds:
                self.file.error(path, 'is no fact; give a default, or { type = "moment" }')
                return
            value = {"type": kinds[type(value)], "default": value}
        declared = self.convert(Declared, value, path)
        if declared is None:
            return
        wrong = declared.default is not None and typed_reader(name, declared.type, declared.default)({}) is None
        if wrong:
            self.file.error((*path, "default"), f"is not of type {declared.type}")
            return
        self.specs.facts.append((self.where(*path), name, declared))

    def plan(self, index: int, value: dict[str, Any]) -> None:
        path = ("plan", index)
        if not value.get("id"):
            self.file.error((*path, "id"), "is missing; give the plan's id")
        plan = self.convert(Plan, {"revision": 0, **value}, path)
        if plan is not None:
            self.specs.plans.append((self.where(*path), plan))

    def rule(self, index: int, value: dict[str, Any]) -> None:
        path = ("rule", index)
        when, rest = _split(value)
        table = read_struct(RuleTable, rest, path, self.file)
        then = read_struct(ThenTable, value.get("then", {}), (*path, "then"), self.file)
        if table is None or then is None or not self.is_text(when, (*path, "when")):
            return
        at = (*path, "then")
        effects = Effects(
            deny=then.deny,
            rate=self.optional(Rate, then.rate, (*at, "rate")),
            rate_factor=then.rate_factor,
            rate_max=self.optional(Rate, then.rate_max, (*at, "rate_max")),
            filter=then.filter,
            pool=then.pool,
            walled_garden=then.walled_garden,
            qos=self.optional(Qos, then.qos, (*at, "qos")),
            attributes=self.optional(tuple[Attribute, ...], then.attributes, (*at, "attributes")) or (),
            session_timeout=then.session_timeout,
            idle_timeout=then.idle_timeout,
            interim_interval=then.interim_interval,
            simultaneous_use=then.simultaneous_use,
            message=then.message,
            stop=then.stop,
        )
        self.specs.rules.append(
            RuleSpec(self.where(*path), table.name, when, effects, table.operator, self.place(*path))
        )

    def is_text(self, when: Any, path: Key) -> bool:
        if not isinstance(when, str):
            self.file.error(path, "is not a text; write the condition in quotes")
        return isinstance(when, str)

    def optional(self, kind: Any, value: Any, path: Key) -> Any:
        return None if value is None else self.convert(kind, value, path)

    def automation(self, index: int, value: dict[str, Any]) -> None:
        path = ("automation", index)
        when, rest = _split(value)
        table = read_struct(AutomationTable, rest, path, self.file)
        if table is None or not self.is_text(when, (*path, "when")):
            return
        effects: list[Effect] = []
        notify_facts = {}
        before = len(self.file.errors)
        for at, verb, argument in self.verbs(table.do, (*path, "do")):
            effect = self.effect(verb, argument, at)
            if effect is None:
                continue
            if verb == "notify" and isinstance(argument, dict):
                notify_facts[len(effects)] = tuple(argument.get("facts", ()))
            effects.append(effect)
        if not effects and len(self.file.errors) == before:
            self.file.error((*path, "do"), "does nothing; give at least one effect")
        self.specs.automations.append(
            AutomationSpec(
                self.where(*path),
                table.name,
                table.on,
                when,
                tuple(effects),
                notify_facts,
                table.after or 0,
                table.before or 0,
                table.moment,
                table.operator,
                table.once,
                self.place(*path),
            )
        )

    def verbs(self, do: Any, path: Key) -> list[tuple[Key, str, Any]]:
        """(place, verb, argument) of everything in `do`."""
        entries = [((*path, index), entry) for index, entry in enumerate(do)] if isinstance(do, list) else [(path, do)]
        found: list[tuple[Key, str, Any]] = []
        for at, entry in entries:
            if isinstance(entry, str):
                found.append((at, entry, True))
            elif isinstance(entry, dict):
                found += [((*at, verb), verb, argument) for verb, argument in entry.items()]
            else:
                self.file.error(at, 'is no effect; write "disconnect" or { notify = "template" }')
        return found

    def effect(self, verb: str, argument: Any, path: Key) -> Effect | None:
        if verb not in VERBS:
            self.file.error(path, f'"{verb}" is no effect{suggest(verb, VERBS)}')
            return None
        arguments: _Arguments | None
        if isinstance(argument, dict):
            arguments = self.convert(_Arguments, argument, path)
            if arguments is None:
                return None
            for key in argument:
                if key not in _TAKES[verb]:
                    self.file.error((*path, key), f"{verb} takes no {key}{suggest(key, _TAKES[verb])}")
                    return None
        else:
            arguments = _Arguments()
        texts = [argument] if isinstance(argument, str) else argument if isinstance(argument, list) else []
        if not all(isinstance(text, str) for text in texts):
            self.file.error(path, "takes texts")
            return None
        effect = _make_effect(verb, argument, arguments, texts)
        if effect is None:
            self.file.error(path, f"{verb} is not given as it must be: {VERBS[verb]}")
        return effect


class _Arguments(Struct, frozen=True, forbid_unknown_fields=True):
    """What effects of automations take, all together."""

    until: PositiveInt | None = None
    reason: str = ""
    octets: PositiveInt | None = None
    valid: Seconds | None = None
    template: str = ""
    data: dict[str, Scalar] = {}
    facts: tuple[str, ...] = ()
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


_TAKES: Final[dict[str, tuple[str, ...]]] = {
    "restrict": ("until", "reason"),
    "suspend": ("until", "reason"),
    "restore": (),
    "top_up": ("octets", "valid"),
    "notify": ("template", "data", "facts"),
    "webhook": (),
    "disconnect": ("reason",),
    "tag": ("add", "remove"),
}


def _make_effect(verb: str, argument: Any, arguments: _Arguments, texts: list[str]) -> Effect | None:
    """The effect; None where its argument does not fit."""
    table = isinstance(argument, dict)
    if verb in ("restrict", "suspend"):
        kind: Any = verb
        return PlaceHold(kind, arguments.until, arguments.reason) if table or argument is True else None
    if verb == "restore":
        if argument is True or texts == ["all"]:
            return Restore()
        return Restore(tuple(texts)) if texts and all(texts) else None
    if verb == "top_up":
        octets = arguments.octets
        if isinstance(argument, str):
            try:
                octets = parse_octets(argument)
            except ValueError:
                return None
        return AddTopUp(octets, arguments.valid) if octets else None
    if verb == "notify":
        template = arguments.template if table else argument if isinstance(argument, str) else ""
        return Notify(template, arguments.data) if template else None
    if verb == "webhook":
        return CallWebhook(argument) if isinstance(argument, str) and argument else None
    if verb == "disconnect":
        if table or argument is True or isinstance(argument, str):
            return Disconnect(argument if isinstance(argument, str) else arguments.reason)
        return None
    add = arguments.add if table else tuple(texts)
    return SetTags(add, arguments.remove) if add or arguments.remove else None


def parse_rate(text: str) -> dict[str, int]:
    """{"down_bps", "up_bps"} of "50M/10M". Raises ValueError."""
    parts = [_SCALED.fullmatch(part.strip()) for part in text.split("/")]
    if len(parts) != 2 or parts[0] is None or parts[1] is None:
        raise ValueError(f'"{text}" is no rate; give down and up, such as "50M/10M"')
    down, up = (round(float(part[1]) * _FACTORS[part[2]]) for part in parts if part is not None)
    return {"down_bps": down, "up_bps": up}


def parse_octets(text: str) -> int:
    """Octets of "500MB", "20GB", "20GiB". Raises ValueError."""
    match = _OCTETS.fullmatch(text.strip())
    if match is None:
        raise ValueError(f'"{text}" is no volume; give one such as "20GB"')
    return round(float(match[1]) * ({**_FACTORS, **_BINARY}[match[2] or ""]))


def _split(table: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The condition, which may have several lines as no other text may, and the rest."""
    return table.get("when", "true"), {key: value for key, value in table.items() if key != "when"}


def _seconds(text: str) -> int:
    try:
        return max(1, round(parse_duration(text)))
    except ValueError:
        raise ValueError(f'"{text}" is no duration; give one such as "30m", "12h", "3d"') from None


def _remove(value: Any, parts: list[str | int]) -> bool:
    """Take a wrong key out, so that the others are seen; whether that is possible."""
    for part in parts[:-1]:
        value = value[part]
    if isinstance(value, dict) and parts[-1] in value:
        del value[parts[-1]]
        return True
    return False


def _syntax_problem(file: str, message: str, text: str) -> Problem:
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)", message)
    if place is None:
        return Problem(file, 1, "", f"is not TOML: {message}", 1)
    if place[1] is None:
        return Problem(file, text.count("\n") + 1, "", f"is not TOML: {message[: place.start()]} at the end", 1)
    return Problem(file, int(place[1]), "", f"is not TOML: {message[: place.start()]}", int(place[2]))


_KNOWN_KEYS: Final = frozenset(
    name
    for kind in (
        Plan,
        model.Quota,
        Rate,
        model.Burst,
        model.Tier,
        model.ScheduleEntry,
        Window,
        Attribute,
        Qos,
        model.Arp,
    )
    for name in kind.__struct_fields__
) | frozenset((*_Arguments.__struct_fields__, *Declared.__struct_fields__))
"""For suggestions."""
