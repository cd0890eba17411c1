"""Everything that must be right before serving, and that `aaa check` checks: configuration, dictionaries, NAS options,
policy, pools. Changes nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from aaa import config as configuration
from aaa import dictionary as dictionaries
from aaa.config import Config
from aaa.config.policy import load_policy
from aaa.config.read import suggest
from aaa.dictionary import Dictionary
from aaa.errors import AaaError, ConfigError, Problem
from aaa.mapping import families
from aaa.server import diameter_peers
from aaa.state.pools import Pools
from policy.automation import CallWebhook
from policy.rules import Policy


@dataclass(frozen=True)
class Prepared:
    """A configuration with what rendering needs of it."""

    config: Config
    dictionary: Dictionary
    options: dict[str, families.RenderOptions]
    """By name of [[nas]]."""
    policy: Policy
    diameter: diameter_peers.Setup


def unknown_webhooks(policy: Policy, config: Config) -> list[Problem]:
    """Automations that would call nobody."""
    known = [webhook.name for webhook in config.webhook]
    problems = []
    for automation in policy.automations:
        file, _, line = automation.place.rpartition(":")
        for effect in automation.effects:
            if isinstance(effect, CallWebhook) and effect.name not in known:
                message = f'no [[webhook]] is called "{effect.name}"{suggest(effect.name, known)}'
                number = int(line) if line.isdigit() else 0
                problems.append(Problem(file, number, f"automation.{automation.name}.do.webhook", message))
    return problems


def prepare(path: str | os.PathLike[str]) -> Prepared:
    """Load and check. Raises ConfigError with every problem, each with its file and line, or another AaaError."""
    config = configuration.load(path)
    report = config.report
    dictionary = dictionaries.load((dictionaries.SHIPPED, *config.radius.dictionaries))
    pools = {pool.name for pool in config.pool}
    options: dict[str, families.RenderOptions] = {}
    problems: list[Problem] = []
    for number, nas in enumerate(config.nas):
        try:
            options[nas.name] = families.options_from(nas.family, nas.options, dictionary, pools)
        except ValueError as error:
            problems += [report.problem(("nas", number, "options"), line) for line in str(error).splitlines()]
    try:
        policy = load_policy(Path(config.policy.dir) if config.policy.dir is not None else None, config.policy.zone)
        problems += check_policy(policy, dictionary)
        problems += unknown_webhooks(policy, config)
    except ConfigError as error:
        problems += error.problems
    try:
        Pools(config.pool)
    except AaaError as error:
        problems.append(report.problem(("pool",), str(error)))
    diameter, found = diameter_peers.set_up(config)
    problems += found
    if problems:
        raise ConfigError(problems)
    return Prepared(config, dictionary, options, policy, diameter)


def check_policy(policy: Policy, dictionary: Dictionary) -> list[Problem]:
    """Reply attributes of a policy that could never be sent, at the rule or plan that names them."""
    problems: list[Problem] = []
    for rule in policy.rules:
        file, _, line = rule.place.rpartition(":")
        found = families.check_attributes(rule.then.attributes, dictionary)
        problems += [Problem(file, int(line), f"rule.{rule.name}.then", problem) for problem in found]
    for plan in policy.plans:
        found = families.check_attributes(plan.attributes, dictionary)
        problems += [Problem("[policy]", 0, f"plan.{plan.id}", problem) for problem in found]
    return problems
