"""From checked tables to a `Policy`: names, conditions, effects. Finds every problem, and says where each belongs.

Reading files is not its matter: aaa.config.policy turns them into the specs below and places the findings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from policy.automation import (
    CAUSE_PREFIX,
    AddTopUp,
    Automation,
    CallWebhook,
    Disconnect,
    Effect,
    Notify,
    Once,
    PlaceHold,
    Restore,
    SetTags,
)
from policy.expression import Expression, reader_of
from policy.facts import FACTS, Declared, Fact, Type, declare
from policy.grammar import ExpressionError, Fault, Vocabulary, closest, compile_expression
from policy.model import Plan, Rate, ScheduleEntry, Window
from policy.rules import RESTRICTED_RATE, Effects, Policy, Rule

RULES_COUNT_MAX = 1_000  # rules; Bound: a decision that looks at all of them stays under 1 ms
AUTOMATIONS_COUNT_MAX = 1_000  # automations; Bound: an event that all of them listen to stays under 1 ms
LOOP_STEPS_MAX = 1_000_000  # steps from automation to automation; Bound: about 0.2 s of looking for loops to warn of

Where = tuple[Any, ...]
"""Which table of which file; whoever places the findings chose it. Keys within the table are appended."""

EXPIRING = "service.expiring"
"""The event that reminders run on."""
MOMENTS = ("service.expires_at", "service.grace_until", "service.activated_at", "quota.cycle_ends_at")
"""Moments that a reminder may come before, besides declared ones."""


class Finding(NamedTuple):
    """Something wrong."""

    where: Where
    message: str
    fault: Fault | None = None
    """Place within the text at `where`."""
    warning: bool = False


class RuleSpec(Struct, frozen=True):
    """A rule before its condition is compiled."""

    where: Where
    name: str
    when: str
    then: Effects
    operators: tuple[str, ...] = ()
    place: str = ""


class AutomationSpec(Struct, frozen=True):
    """An automation before its condition is compiled."""

    where: Where
    name: str
    on: tuple[str, ...]
    when: str
    effects: tuple[Effect, ...]
    notify_facts: Mapping[int, tuple[str, ...]] = {}
    """By position in `effects`: names of the facts that go into the data."""
    after_s: int = 0
    before_s: int = 0
    moment: str = ""
    operators: tuple[str, ...] = ()
    once: Once = "event"
    place: str = ""


class Specs(Struct):
    """What the files of a policy hold, in order."""

    facts: list[tuple[Where, str, Declared]] = []
    windows: list[tuple[Where, str, Window]] = []
    plans: list[tuple[Where, Plan]] = []
    rules: list[RuleSpec] = []
    automations: list[AutomationSpec] = []
    restricted: list[tuple[Where, Rate]] = []


EventTypes = Mapping[str, Mapping[str, Type]]
"""Fields of every type of event, with their types."""


def compile_policy(
    specs: Specs, events: EventTypes, zone: tzinfo = UTC, revision: str = ""
) -> tuple[Policy, list[Finding]]:
    """The policy, and everything that is wrong with it; with an error among it, the policy is not to be used."""
    findings: list[Finding] = []
    facts = dict(FACTS)
    for where, name, declared in specs.facts:
        full = f"subscriber.billing.{name}"
        if full in facts:
            what = "is built in" if full in FACTS else "is declared twice"
            findings.append(Finding(where, f"{full} {what}"))
        elif not name.isidentifier() or not name.isascii():
            findings.append(Finding(where, f'"{name}" is no name of a fact; use letters, digits and _'))
        else:
            facts[full] = declare(name, declared)
    windows: dict[str, Window] = {}
    for where, name, window in specs.windows:
        if name in windows:
            findings.append(Finding(where, f'window "{name}" is declared twice'))
        windows[name] = window
    _check_plans(specs.plans, windows, findings)
    findings += _twice(((spec.where, spec.name) for spec in specs.rules), "rule")
    findings += _twice(((spec.where, spec.name) for spec in specs.automations), "automation")
    findings += [Finding(where, "[restricted] is given twice") for where, _ in specs.restricted[1:]]
    bounds: tuple[tuple[str, list[Any], int], ...] = (
        ("rules", specs.rules, RULES_COUNT_MAX),
        ("automations", specs.automations, AUTOMATIONS_COUNT_MAX),
    )
    for kind, given, most in bounds:
        if len(given) > most:
            findings.append(Finding(given[most].where, f"more than {most} {kind}; join some"))
            del given[most:]

    policy = Policy()
    policy.revision, policy.zone, policy.windows = revision, zone, windows
    policy.plans = tuple(plan for _, plan in specs.plans)
    policy.restricted_rate = specs.restricted[0][1] if specs.restricted else RESTRICTED_RATE
    vocabulary = Vocabulary(facts, windows, zone)
    rules = [_rule(spec, vocabulary, findings) for spec in specs.rules]
    policy.rules = tuple(rule for rule in rules if rule is not None)
    policy.timed_rules = tuple(rule for rule in policy.rules if rule.when.timed)
    policy.metered_rules = tuple(rule for rule in policy.rules if rule.when.metered)
    conditions = [rule.when for rule in policy.rules]
    read = {name: fact for condition in conditions for name, fact in condition.facts.items()}
    policy.session_reads = tuple(sorted({fact.field for fact in read.values() if fact.field}))
    policy.reads_quota = any(fact.changes == "quota" for fact in read.values())
    policy.reads_holds = any(fact.changes == "hold" for fact in read.values())
    names = {spec.name for spec in specs.automations}
    automations = [_automation(spec, names, vocabulary, events, findings) for spec in specs.automations]
    policy.automations = tuple(automation for automation in automations if automation is not None)
    reads = [*(condition.reads for condition in conditions), *(each.reads for each in policy.automations)]
    policy.reads_online_kinds = any("subscriber.online_kinds" in names for names in reads)
    policy.reminders = tuple(
        (automation.moment, automation.before_s, automation.name)
        for automation in policy.automations
        if automation.moment
    )
    places = {spec.name: spec.where for spec in specs.automations}
    for loop in loops(policy.automations, events):
        text = " → ".join([*loop, loop[0]])
        message = f"may lead to itself: {text}; the server stops such a chain, but see that `when` ends it"
        findings.append(Finding((*places[loop[0]], "on"), message, warning=True))
    return policy, findings


def _twice(named: Iterable[tuple[Where, str]], kind: str) -> list[Finding]:
    seen: set[str] = set()
    found = []
    for where, name in named:
        if name in seen:
            found.append(Finding((*where, "name"), f'{kind} "{name}" exists already; give it another name'))
        seen.add(name)
    return found


def _check_plans(plans: Sequence[tuple[Where, Plan]], windows: Mapping[str, Window], findings: list[Finding]) -> None:
    seen: set[str] = set()
    for where, plan in plans:
        if plan.id in seen:
            findings.append(Finding((*where, "id"), f'plan "{plan.id}" exists already'))
        seen.add(plan.id)
        for number, entry in enumerate(plan.schedule):
            _check_window(entry, windows, (*where, "schedule", number, "window"), findings)


def _check_window(entry: ScheduleEntry, windows: Mapping[str, Window], where: Where, findings: list[Finding]) -> None:
    if isinstance(entry.window, str) and entry.window not in windows:
        near = closest(entry.window, windows)
        hint = f'; did you mean "{near}"?' if near else "; declare it under [windows]"
        findings.append(Finding(where, f'"{entry.window}" is no known window{hint}'))


def _condition(where: Where, text: str, vocabulary: Vocabulary, findings: list[Finding]) -> Expression | None:
    try:
        return compile_expression(text, vocabulary)
    except ExpressionError as error:
        findings += [Finding((*where, "when"), fault.message, fault) for fault in error.faults]
        return None


def _rule(spec: RuleSpec, vocabulary: Vocabulary, findings: list[Finding]) -> Rule | None:
    condition = _condition(spec.where, spec.when, vocabulary, findings)
    then = spec.then
    if then == Effects():
        findings.append(Finding((*spec.where, "then"), "changes nothing; give at least one effect"))
    if condition is None:
        return None
    return Rule(spec.name, condition, then, condition.test, spec.operators, summary(then), spec.place)


def summary(then: Effects) -> str:
    """Effects in words."""
    parts = []
    for name in Effects.__struct_fields__:
        value = getattr(then, name)
        if value is None or value == () or (value is False and name == "stop"):
            continue
        if isinstance(value, Rate):
            parts.append(f"{name} {value.down_bps}/{value.up_bps}")
        elif name in ("stop", "qos"):
            parts.append(name)
        elif name == "attributes":
            parts.append("attributes " + ", ".join(f"{attribute.name} = {attribute.value}" for attribute in value))
        elif isinstance(value, bool):
            parts.append(name if value else f"no {name}")
        else:
            parts.append(f"{name} {value}")
    return ", ".join(parts)


def _automation(
    spec: AutomationSpec, names: set[str], vocabulary: Vocabulary, events: EventTypes, findings: list[Finding]
) -> Automation | None:
    where = spec.where
    before = len(findings)
    types = _types_of(spec, events, findings)
    data: dict[str, Type] = {}
    for event_type in types:
        for name, kind in events[event_type].items():
            if data.setdefault(name, kind) != kind:
                data[name] = "float" if {data[name], kind} == {"int", "float"} else "text"
    # An automation runs for a service, wherever it may be online.
    facts = {name: fact for name, fact in vocabulary.facts.items() if not fact.field}
    own = Vocabulary(facts, vocabulary.windows, vocabulary.zone, data)
    condition = _condition(where, spec.when, own, findings)
    moment = _moment_of(spec, vocabulary.facts, findings)
    effects = [
        _effect(effect, (*where, "do", number), spec.notify_facts.get(number, ()), names, facts, findings)
        for number, effect in enumerate(spec.effects)
    ]
    if condition is None or len(findings) > before:
        return None
    about_service = any(fact.scope != "event" for fact in condition.facts.values())
    changes_service = any(not isinstance(effect, Notify | CallWebhook) for effect in effects)
    return Automation(
        name=spec.name,
        on=spec.on,
        effects=tuple(effects),
        condition=None if spec.when.strip() == "true" else condition.test,
        when=spec.when,
        after_s=spec.after_s,
        before_s=spec.before_s,
        moment=moment,
        operators=spec.operators,
        once=spec.once,
        needs_service=about_service or changes_service,
        reads=condition.reads,
        place=spec.place,
    )


def _types_of(spec: AutomationSpec, events: EventTypes, findings: list[Finding]) -> list[str]:
    """Every type of event that `on` names."""
    types: list[str] = []
    for number, on in enumerate(spec.on):
        found = [known for known in events if known == on or (on.endswith("*") and known.startswith(on[:-1]))]
        if not found:
            near = closest(on, events)
            hint = f'; did you mean "{near}"?' if near else "; see docs/events.md"
            findings.append(Finding((*spec.where, "on", number), f'"{on}" is no type of event{hint}'))
        types += found
    if not spec.on:
        findings.append(Finding((*spec.where, "on"), 'is empty; give a type of event such as "quota.threshold"'))
    return types


def _moment_of(spec: AutomationSpec, facts: Mapping[str, Fact], findings: list[Finding]) -> str:
    """The moment that a reminder comes before; "" where it is none."""
    where = spec.where
    if EXPIRING not in spec.on:
        for key, value in (("before", spec.before_s), ("moment", spec.moment)):
            if value:
                findings.append(Finding((*where, key), f'works with on = "{EXPIRING}" only'))
        return ""
    if spec.on != (EXPIRING,):
        findings.append(Finding((*where, "on"), f'"{EXPIRING}" stands alone; make two automations'))
    if not spec.before_s:
        findings.append(Finding((*where, "before"), f'is missing; "{EXPIRING}" needs one, such as "3d"'))
    moment = spec.moment or MOMENTS[0]
    known = [*MOMENTS, *(name for name, fact in facts.items() if name not in FACTS and fact.type == "moment")]
    if moment not in known:
        near = closest(moment, known)
        hint = f'; did you mean "{near}"?' if near else f"; known are {', '.join(known)}"
        findings.append(Finding((*where, "moment"), f'"{moment}" is no moment to remind of{hint}'))
    return moment


def _effect(
    effect: Effect,
    where: Where,
    notify_facts: Sequence[str],
    names: set[str],
    facts: Mapping[str, Fact],
    findings: list[Finding],
) -> Effect:
    """The effect with its names resolved."""
    if isinstance(effect, Restore):
        causes = []
        for cause in effect.causes:
            if cause in names:
                cause = CAUSE_PREFIX + cause
            elif cause.startswith(CAUSE_PREFIX) and cause.removeprefix(CAUSE_PREFIX) not in names:
                findings.append(Finding(where, f'no automation is named "{cause.removeprefix(CAUSE_PREFIX)}"'))
            elif ":" not in cause and cause != "admin":
                near = closest(cause, names)
                hint = f'; did you mean "{near}"?' if near else '; give an automation, "admin", or a whole cause'
                findings.append(Finding(where, f'"{cause}" is no cause of a hold{hint}'))
            causes.append(cause)
        return replace(effect, causes=tuple(causes))
    if isinstance(effect, Notify):
        readers = []
        for name in notify_facts:
            fact = facts.get(name)
            if fact is None or fact.type == "window":
                near = closest(name, facts)
                hint = f'; did you mean "{near}"?' if near else ""
                findings.append(Finding(where, f'"{name}" is no known fact{hint}'))
            else:
                readers.append((name.rpartition(".")[2], reader_of(fact)))
        return replace(effect, facts=tuple(readers))
    return effect


def loops(automations: Sequence[Automation], events: EventTypes) -> list[tuple[str, ...]]:
    """Chains of automations whose effects lead back to the first: each loop once, from its first automation on."""
    listeners: dict[str, list[int]] = {}
    leads = [{event for effect in automation.effects for event in _leads_to(effect)} for automation in automations]
    for event in sorted(set().union(*leads)):
        listeners[event] = [number for number, other in enumerate(automations) if other.listens_to(event)]
    follows = [sorted({number for event in events for number in listeners[event]}) for events in leads]
    found: list[tuple[str, ...]] = []
    steps = 0
    for start in range(len(automations)):
        # The shortest way back through automations that stand behind this one.
        ways: deque[tuple[int, ...]] = deque([(start,)])
        seen: set[int] = set()
        while ways and steps < LOOP_STEPS_MAX:
            way = ways.popleft()
            following = follows[way[-1]]
            if start in following:
                found.append(tuple(automations[number].name for number in way))
                break
            steps += len(following)
            for number in following:
                if number > start and number not in seen:
                    seen.add(number)
                    ways.append((*way, number))
    return found


def _leads_to(effect: Effect) -> tuple[str, ...]:
    """Types of events that an effect causes at once."""
    if isinstance(effect, PlaceHold):
        return ("hold.added", "service.state_changed", "policy.enforced", "enforcement.failed")
    if isinstance(effect, Restore):
        return ("hold.lifted", "service.state_changed", "policy.enforced", "enforcement.failed")
    if isinstance(effect, AddTopUp):
        return ("quota.topped_up", "policy.enforced", "enforcement.failed")
    if isinstance(effect, Notify):
        return ("notification",)
    if isinstance(effect, CallWebhook):
        return ("webhook.call",)
    if isinstance(effect, Disconnect):
        return ("session.stopped", "session.started", "policy.enforced", "enforcement.failed")
    assert isinstance(effect, SetTags)
    return ("policy.enforced", "enforcement.failed")
