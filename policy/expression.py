"""Conditions, compiled: their value, and exactly when time or usage changes it next. Made by policy.grammar.

A condition is a tree of `and`, `or`, `not` over comparisons. Only the false parts of a false `and` can make it true, so
what a condition waits for is found without looking at the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import tzinfo
from functools import cached_property
from math import inf, nextafter
from typing import Any

from msgspec.structs import replace

from policy.facts import Fact, shown
from policy.model import Facts, Window
from policy.windows import calendar

USAGE_MAX = 2**62  # octets; Bound: no balance is larger

_BUILTINS = {"min": min, "max": max, "len": len, "set": set}

Test = Callable[[Any, Any], Any]


class Node:
    """A part of a condition that is true or false."""

    timed: bool
    """Time alone can change it."""
    metered: bool
    """Usage can change it."""

    def __init__(self, op: str, code: str, names: Mapping[str, Any], children: tuple[Node, ...] = ()) -> None:
        self.op = op
        self.code = code
        self.names = names
        self.children = children
        self.timed = any(child.timed for child in children)
        self.metered = any(child.metered for child in children)
        self.shows: tuple[str, ...] = ()
        """Of a comparison: the facts it reads, and windows, for explanations."""

    @cached_property
    def test(self) -> Test:
        """(facts, event) -> the value."""
        return make_function("f, e", self.code, self.names)

    def time_edge(self, f: Facts, e: Any) -> float:
        """A moment after f.now before which time alone cannot change the value, at this usage or above."""
        if not self.timed:
            return inf
        # What usage may yet change decides nothing: a window is waited for though the volume beside it is not used up.
        edges = [(child.time_edge(f, e), child) for child in self.children]
        deciding = [edge for edge, child in edges if not child.metered and self._decides(child, f, e)]
        return max(deciding) if deciding else min(edge for edge, _ in edges)

    def usage_edge(self, f: Facts, e: Any) -> float:
        """A usage above f.quota.used below which usage cannot change the value at this moment; inf: none does."""
        if not self.metered:
            return inf
        edges = [(child.usage_edge(f, e), child) for child in self.children]
        deciding = [edge for edge, child in edges if self._decides(child, f, e)]
        return max(deciding) if deciding else min(edge for edge, _ in edges)

    def _decides(self, child: Node, f: Facts, e: Any) -> bool:
        """Whether the value is the child's, whatever the others are: a false part of `and`, a true one of `or`."""
        return self.op != "not" and child.test(f, e) == (self.op == "or")

    def explain(self, f: Facts, e: Any) -> list[str]:
        """Names of what makes the value what it is, in order."""
        if not self.children:
            return list(self.shows)
        deciding = [child for child in self.children if bool(child.test(f, e)) == (self.op == "or")]
        return [name for child in deciding or self.children for name in child.explain(f, e)]


class TimeNode(Node):
    """A comparison of `now` with a moment."""

    def __init__(self, op: str, threshold: str, guards: str, names: Mapping[str, Any]) -> None:
        super().__init__(
            "atom", f"({guards} and f.now {op} ({threshold}))" if guards else f"(f.now {op} ({threshold}))", names
        )
        self.timed = True
        self.late = op in ("<=", ">")
        self.threshold = make_function("f, e", f"({threshold}) if {guards or 'True'} else None", names)

    def time_edge(self, f: Facts, e: Any) -> float:
        threshold = self.threshold(f, e)
        if threshold is None:
            return inf
        edge = nextafter(threshold, inf) if self.late else float(threshold)
        return edge if edge > f.now else inf


class WindowNode(Node):
    """`now` within a window."""

    def __init__(self, window: Window, zone: tzinfo, label: str) -> None:
        at = calendar(window, zone).at
        super().__init__("atom", f"{label}(f.now)[0]", {label: at})
        self.timed = True
        self.at = at

    def time_edge(self, f: Facts, e: Any) -> float:
        edge = self.at(f.now)[1]
        return inf if edge is None else edge


class UsageNode(Node):
    """A comparison whose sides grow or fall with usage in one direction."""

    def __init__(self, op: str, left: str, right: str, guards: str, names: Mapping[str, Any]) -> None:
        core = f"({left}) {op} ({right})"
        super().__init__("atom", f"({guards} and {core})" if guards else f"({core})", names)
        self.metered = True
        self.guard = make_function("f, e", guards or "True", names)
        left, right = _of_usage(left), _of_usage(right)
        wanted = {"<": "<", ">=": "<", "<=": "<=", ">": "<="}.get(op)
        self.predicates = [
            make_function("f, e, u, l", f"({left}) {sign} ({right})", names)
            for sign in ([wanted] if wanted else ["<", "<="])
        ]
        self.difference = make_function("f, e, u, l", f"({left}) - ({right})", names)

    def usage_edge(self, f: Facts, e: Any) -> float:
        if not self.guard(f, e):
            return inf
        return min(self._flip(predicate, f, e) for predicate in self.predicates)

    def _flip(self, predicate: Callable[..., bool], f: Facts, e: Any) -> float:
        """The smallest usage above that of the facts at which the predicate is another; it changes at most once."""
        assert f.quota is not None
        used, left = f.quota.used, f.quota.left
        value = predicate(f, e, used, left)

        def same(usage: int) -> bool:
            return predicate(f, e, usage, max(0, left - (usage - used))) == value

        if used >= USAGE_MAX or same(USAGE_MAX):
            return inf
        low, high, knee = used, USAGE_MAX, used + left
        if left and knee < USAGE_MAX:
            if same(knee):
                low = knee
            else:
                high = knee
        # Both sides are lines between low and high, so the crossing is nearly where the line through the ends says.
        at_low = self.difference(f, e, low, max(0, left - (low - used)))
        at_high = self.difference(f, e, high, max(0, left - (high - used)))
        share = -at_low / (at_high - at_low) if at_high != at_low else 0.5
        guess = low + int((high - low) * share) if 0 <= share <= 1 else low
        guess, step = max(low + 1, min(high, guess)), 1
        if same(guess):
            low = guess
            while low + step < high and same(low + step):
                low, step = low + step, step * 2
            high = min(high, low + step)
        else:
            high = guess
            while high - step > low and not same(high - step):
                high, step = high - step, step * 2
            low = max(low, high - step)
        while high - low > 1:
            middle = (low + high) // 2
            if same(middle):
                low = middle
            else:
                high = middle
        return high


def _of_usage(code: str) -> str:
    return code.replace("f.quota.used", "u").replace("f.quota.left", "l")


def make_function(parameters: str, code: str, names: Mapping[str, Any]) -> Callable[..., Any]:
    # The code is put together from the tables of this package and from literals' repr; no text of a file is in it.
    return eval(f"lambda {parameters}: {code}", {"__builtins__": _BUILTINS, **names})  # type: ignore[no-any-return]


class Expression:
    """A checked and compiled condition."""

    def __init__(self, text: str, node: Node, facts: Mapping[str, Fact], zone: tzinfo) -> None:
        self.text = text
        self.node = node
        self.facts = facts
        """Those it reads, by name, in order of appearance."""
        self.zone = zone
        self.reads = tuple(sorted(facts))
        self.timed = node.timed
        """Time alone can change it."""
        self.metered = node.metered
        """Usage can change it."""
        self.session_fields = tuple(sorted({fact.field for fact in facts.values() if fact.field}))
        needs = ["f.session is not None"] if self.session_fields else []
        self.test: Callable[..., bool] = make_function("f, e=None", " and ".join([*needs, node.code]), node.names)
        """(facts, event) -> the value. False where it reads the session and the facts have none. Total."""
        self._readers: dict[str, Test] = {}

    def __call__(self, facts: Facts | None, event: Any = None) -> bool:
        return self.test(facts, event)

    def time_edge(self, facts: Facts) -> float:
        """A moment after facts.now before which time alone cannot change the value; inf: never."""
        if not self.timed or (self.session_fields and facts.session is None):
            return inf
        return self.node.time_edge(facts, None)

    def usage_edge(self, facts: Facts) -> float:
        """A usage above facts.quota.used below which usage cannot change the value; inf: none does."""
        if not self.metered or (self.session_fields and facts.session is None):
            return inf
        return self.node.usage_edge(facts, None)

    def explain(self, facts: Facts, event: Any = None) -> str:
        """The facts that make it true or false: `subscriber.billing.overdue_days = 12`."""
        if self.session_fields and facts.session is None:
            return "the place is not known"
        names = dict.fromkeys(self.node.explain(facts, event))
        parts = [name if name not in self.facts else self._shown(name, facts, event) for name in names]
        return ", ".join(parts) or "always"

    def _shown(self, name: str, facts: Facts, event: Any) -> str:
        reader = self._readers.get(name)
        fact = self.facts[name]
        if reader is None:
            reader = self._readers[name] = reader_of(fact)
        return f"{name} = {shown(reader(facts, event), fact.type, self.zone)}"


def reader_of(fact: Fact) -> Test:
    """(facts, event) -> the fact's value; None where it is absent."""
    names = {"reader": fact.reader} if fact.reader is not None else {}
    needs = [
        *(("f is not None",) if fact.scope != "event" else ()),
        *(("f.session is not None",) if fact.field else ()),
    ]
    guards = " and ".join([*needs, *fact.guards]) or "True"
    return make_function("f, e", f"({fact.code}) if {guards} else None".replace("{reader}", "reader"), names)


def at_usage(facts: Facts, usage: int) -> Facts:
    """The same facts after more usage; `usage` is not below facts.quota.used."""
    quota = facts.quota
    if quota is None:
        return facts
    left = max(0, quota.left - (usage - quota.used))
    return replace(facts, quota=replace(quota, used=usage, left=left))
