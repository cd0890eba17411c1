"""The language of conditions: a checked subset of Python's grammar. Text in, Expression or every fault out.

Everything that loads is total (no exception for any facts) and exact: it is known when time alone changes the value,
and at which usage. To that end the language knows types, and refuses what it could not solve:

- a comparison with something absent is false, and so is one that would divide by zero;
- `now` may be compared with a moment that does not itself depend on `now`, after adding and subtracting durations;
- usage (quota.used, quota.left, quota.used_ratio) may be compared where it only grows or only falls with usage.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from difflib import get_close_matches
from typing import Any, Final, NamedTuple

from policy.expression import Expression, Node, TimeNode, UsageNode, WindowNode
from policy.facts import ALIASES, FACTS, INT_MAX, TYPE_WORDS, Fact, event_fact
from policy.model import DAYS, Window

TEXT_CHARACTERS_MAX = 4096  # characters of an expression; Bound: more is no condition that anybody can read
FACTORS_MAX = 8  # multiplications in one comparison; Bound: keeps every number below what a float holds


class Fault(NamedTuple):
    """What is wrong in an expression, and where in its text."""

    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    message: str


class ExpressionError(Exception):
    """An expression that cannot be used. Carries every fault at once."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{fault.line}:{fault.column}: {fault.message}" for fault in faults))
        self.faults = tuple(faults)


class Function(NamedTuple):
    """A function that expressions may call."""

    signature: str
    doc: str


FUNCTIONS: Final[dict[str, Function]] = {
    "window": Function('window("NAME")', "A window of the policy files, for `now within window(...)`."),
    "between": Function('between("22:00", "06:00")', "A window of every day, in the policy's zone."),
    "weekdays": Function('weekdays("sat", "sun")', "A window of whole days, in the policy's zone."),
    "date": Function(
        'date("2026-12-24")', "A moment, in the policy's zone: midnight, or with a time `2026-12-24T18:00`."
    ),
    "weeks": Function("weeks(n)", "A duration."),
    "days": Function("days(n)", "A duration; a day is 24 hours."),
    "hours": Function("hours(n)", "A duration."),
    "minutes": Function("minutes(n)", "A duration."),
    "seconds": Function("seconds(n)", "A duration."),
    "present": Function("present(fact)", "Whether a fact is there that may be absent."),
    "startswith": Function("startswith(text, part)", "Whether the text begins so."),
    "endswith": Function("endswith(text, part)", "Whether the text ends so."),
    "contains": Function("contains(text, part)", "Whether the part is in the text."),
    "lower": Function("lower(text)", "The text in lower case."),
    "upper": Function("upper(text)", "The text in upper case."),
    "count": Function("count(list)", "How many entries a list has."),
    "overlaps": Function("overlaps(list, list)", "Whether the two lists share an entry."),
    "min": Function("min(a, b, ...)", "The smallest of numbers, moments or durations."),
    "max": Function("max(a, b, ...)", "The largest."),
}

_DURATIONS: Final = {"weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
_SIGNS: Final = {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
_FLIPPED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_TIME_OF_DAY: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")
_NO_LITERAL: Final = object()


@dataclass(frozen=True)
class Vocabulary:
    """What expressions of one policy may name."""

    facts: Mapping[str, Fact] = field(default_factory=lambda: FACTS)
    windows: Mapping[str, Window] = field(default_factory=dict)
    zone: tzinfo = UTC
    event_data: Mapping[str, Any] | None = None
    """Fields of the data of the events in question, by name, with their types; None: there is no event."""


@dataclass
class Term:
    """A checked part of an expression."""

    type: str
    """A type of policy.facts, "numbers", or "error": reported already."""
    code: str = ""
    reads: tuple[str, ...] = ()
    guards: tuple[str, ...] = ()
    """What must be true for the value to be there."""
    time: int = 0
    """How it moves with `now`: +1, 0, -1."""
    rest: str = ""
    """Of a moment or duration: the code without `now`."""
    usage: int = 0
    """How it moves with usage: +1, 0, -1."""
    sign: int = 0
    """+1: never negative; -1: never positive."""
    literal: Any = _NO_LITERAL
    choices: tuple[str, ...] = ()
    factors: int = 0
    node: Node | None = None
    """Of a bool."""
    window: Window | None = None


_ERROR: Final = Term("error")


def compile_expression(text: str, vocabulary: Vocabulary) -> Expression:
    """A condition from its text. Raises ExpressionError with every fault, each with its place and a suggestion."""
    checker = _Checker(text, vocabulary)
    node = checker.check()
    if checker.faults or node is None:
        raise ExpressionError(sorted(set(checker.faults)))
    try:
        return Expression(text, node, checker.facts, vocabulary.zone)
    except (RecursionError, MemoryError):
        raise ExpressionError([Fault(1, 1, "is nested too deeply; split it into several rules")]) from None


class _Checker:
    def __init__(self, text: str, vocabulary: Vocabulary) -> None:
        # To Python these would begin a line, or a column, of their own.
        self.text = text.replace("\r", " ").replace("\f", " ")
        self.vocabulary = vocabulary
        self.faults: list[Fault] = []
        self.facts: dict[str, Fact] = {}
        self.names: dict[str, Any] = {}
        self.lines = self.text.split("\n")

    def check(self) -> Node | None:
        if len(self.text) > TEXT_CHARACTERS_MAX:
            self.faults.append(Fault(1, 1, f"is longer than {TEXT_CHARACTERS_MAX} characters"))
            return None
        if not self.text.strip():
            self.faults.append(Fault(1, 1, 'is empty; write "true" for always'))
            return None
        try:
            # The parentheses let an expression go over several lines.
            tree = ast.parse(f"({_replace_within(self.text)}\n)", mode="eval")
            term = self.visit(tree.body)
            return self.truth(term, tree.body)
        except SyntaxError as error:
            self.syntax(error)
        except (RecursionError, MemoryError):
            self.faults.append(Fault(1, 1, "is nested too deeply; split it into several rules"))
        except ValueError:
            self.faults.append(Fault(1, 1, "holds a character that is no part of an expression"))
        return None

    def syntax(self, error: SyntaxError) -> None:
        line, message = error.lineno or 1, (error.msg or "is no expression").split(". Perhaps")[0].split(". Maybe")[0]
        column = max(1, (error.offset or 1) - (1 if line == 1 else 0))
        if line > len(self.lines):
            line, column, message = len(self.lines), TEXT_CHARACTERS_MAX, "is not complete"
        column = min(column, len(self.lines[line - 1]) + 1)
        for wrong, right in (("&&", "and"), ("||", "or"), ("=>", ">="), ("<>", "!=")):
            if wrong in self.text:
                line, column = self.find(wrong)
                message = f'"{wrong}" is not known; write "{right}"'
                break
        else:
            single = re.search(
                r"(?<![<>=!])=(?!=)", re.sub(r'"[^"]*"|\'[^\']*\'', lambda m: "_" * len(m[0]), self.text)
            )
            if single is not None:
                line, column = self.position(single.start())
                message = '"=" is not known; write "==" to compare'
        self.faults.append(Fault(line, column, message))

    def find(self, part: str) -> tuple[int, int]:
        return self.position(self.text.index(part))

    def position(self, index: int) -> tuple[int, int]:
        before = self.text[:index]
        return before.count("\n") + 1, index - (before.rfind("\n") + 1) + 1

    def fault(self, node: ast.AST, message: str) -> Term:
        line = getattr(node, "lineno", 1)
        octets = getattr(node, "col_offset", 0)
        source = self.lines[line - 1] if line <= len(self.lines) else ""
        if line == 1:
            octets -= 1
        column = len(source.encode()[: max(0, octets)].decode(errors="ignore")) + 1
        self.faults.append(Fault(line, column, message))
        return _ERROR

    # Every kind of syntax

    def visit(self, node: ast.expr) -> Term:
        if isinstance(node, ast.BoolOp):
            return self.logic(node)
        if isinstance(node, ast.UnaryOp):
            return self.unary(node)
        if isinstance(node, ast.Compare):
            return self.compare(node)
        if isinstance(node, ast.BinOp):
            return self.arithmetic(node)
        if isinstance(node, ast.Constant):
            return self.constant(node)
        if isinstance(node, ast.Name | ast.Attribute):
            return self.fact(node)
        if isinstance(node, ast.List | ast.Tuple):
            return self.literal_list(node)
        if isinstance(node, ast.Call):
            return self.call(node)
        what = _WORDS.get(type(node), "this")
        return self.fault(node, f"{what} is no part of policy expressions")

    def truth(self, term: Term, node: ast.expr) -> Node | None:
        """The tree of a term that must be true or false."""
        if term.type == "error":
            return None
        if term.node is None:
            hint = "; compare it with something"
            if term.type == "window":
                hint = "; write `now within window(...)`"
            self.fault(node, f"is {TYPE_WORDS[term.type]} where true or false is needed{hint}")
        return term.node

    def atom(self, code: str, *terms: Term, node: Node | None = None, shows: str = "") -> Term:
        """A bool of one comparison or function."""
        guards, reads = _guards(terms), _reads(terms)
        if node is None:
            node = Node("atom", f"({' and '.join([*guards, f'({code})'])})", self.names)
        node.shows = (shows,) if shows else reads
        return Term("bool", node.code, reads, node=node)

    def tree(self, op: str, nodes: Sequence[Node], reads: tuple[str, ...]) -> Term:
        joined = f"(not {nodes[0].code})" if op == "not" else "(" + f" {op} ".join(node.code for node in nodes) + ")"
        node = Node(op, joined, self.names, tuple(nodes))
        return Term("bool", joined, reads, node=node)

    def logic(self, node: ast.BoolOp) -> Term:
        terms = [self.visit(value) for value in node.values]
        nodes = [self.truth(term, value) for term, value in zip(terms, node.values, strict=True)]
        if any(each is None for each in nodes):
            return _ERROR
        op = "and" if isinstance(node.op, ast.And) else "or"
        return self.tree(op, [each for each in nodes if each is not None], _reads(terms))

    def unary(self, node: ast.UnaryOp) -> Term:
        term = self.visit(node.operand)
        if isinstance(node.op, ast.Not):
            inner = self.truth(term, node.operand)
            return _ERROR if inner is None else self.tree("not", [inner], term.reads)
        if term.type == "error":
            return term
        if isinstance(node.op, ast.Invert) or term.type not in ("int", "float", "duration"):
            return self.fault(node, f"cannot be applied to {TYPE_WORDS[term.type]}")
        if isinstance(node.op, ast.UAdd):
            return term
        literal = -term.literal if term.literal is not _NO_LITERAL else _NO_LITERAL
        return Term(
            term.type, f"(-{term.code})", term.reads, term.guards, -term.time,
            f"(-{term.rest})" if term.rest else "", -term.usage, -term.sign, literal, factors=term.factors,
        )  # fmt: skip

    def constant(self, node: ast.Constant) -> Term:
        value = node.value
        if value is True or value is False:
            return self.atom(str(value), shows="always")
        if isinstance(value, int | float):
            if not -INT_MAX <= value <= INT_MAX:
                return self.fault(node, "is too large a number")
            kind = "int" if isinstance(value, int) else "float"
            return Term(kind, repr(value), sign=1 if value >= 0 else -1, literal=value)
        if isinstance(value, str):
            return Term("text", repr(value), literal=value)
        hint = "; ask present(fact) whether a fact is there" if value is None else ""
        return self.fault(node, f"{value!r} is no part of policy expressions{hint}")

    def literal_list(self, node: ast.List | ast.Tuple) -> Term:
        if not node.elts:
            return self.fault(node, "is an empty list; nothing is in it")
        terms = [self.visit(element) for element in node.elts]
        if any(term.type == "error" for term in terms):
            return _ERROR
        values = [term.literal for term in terms]
        if any(value is _NO_LITERAL for value in values):
            return self.fault(node, "a list holds texts or numbers only, no facts")
        texts = [isinstance(value, str) for value in values]
        if any(texts) and not all(texts):
            return self.fault(node, "a list holds either texts or numbers")
        return Term("list" if all(texts) else "numbers", repr(tuple(values)), literal=tuple(values))

    def fact(self, node: ast.Name | ast.Attribute) -> Term:
        name = _dotted(node)
        if name is None:
            return self.fault(node, "only facts have names with dots")
        if name in ("true", "false"):
            return self.atom(name.capitalize(), shows="always")
        name = ALIASES.get(name, name)
        fact = self.vocabulary.facts.get(name)
        data = self.vocabulary.event_data
        if fact is not None and fact.scope == "event" and data is None:
            return self.fault(node, f"{name} is known to automations only; a rule has no event")
        if fact is None and name.startswith("event.data.") and data is not None:
            field_name = name.removeprefix("event.data.")
            kind = data.get(field_name)
            if kind is not None:
                fact = event_fact(field_name, kind)
        if fact is None:
            return self.fault(node, self.unknown(name))
        self.facts.setdefault(name, fact)
        code, guards = fact.code, fact.guards
        if fact.reader is not None:
            reader = "_" + re.sub(r"\W", "_", name)
            self.names[reader] = fact.reader
            code = code.replace("{reader}", reader)
            guards = tuple(guard.replace("{reader}", reader) for guard in guards)
        term = Term(
            fact.type, code, (name,), guards, usage=fact.usage, sign=1 if fact.nonnegative else 0, choices=fact.choices
        )
        if fact.type == "bool":
            return self.atom(code, term)
        if fact.type == "moment":
            term.rest = code
        if name == "now":
            term.time, term.rest = 1, "0.0"
        return term

    def unknown(self, name: str) -> str:
        names = [fact.name for fact in self.vocabulary.facts.values()]
        names += ALIASES
        data = self.vocabulary.event_data
        if data is None:
            names = [known for known in names if not known.startswith("event.")]
        else:
            names += [f"event.data.{field_name}" for field_name in data]
        if name.lower() in ("and", "or", "not", "true", "false"):
            return f'"{name}" is written "{name.lower()}"'
        near = closest(name, names)
        if near:
            hint = f'; did you mean "{near}"?'
        else:
            children = sorted(known for known in names if known.startswith(f"{name}."))
            hint = f"; known are {', '.join(children)}" if children else ""
            if "." not in name and not children:
                hint = f"; a text stands in quotes: '{name}'"
        if name in FACTS and FACTS[name].field:
            hint = "; an automation runs for a service wherever it is online, see event.data"
        if name in FUNCTIONS:
            hint = f"; it is a function: {FUNCTIONS[name].signature}"
        if name.startswith("subscriber.billing."):
            hint += "; a fact of your own is declared under [facts]"
        return f'"{name}" is no known fact{hint}'

    # Comparisons

    def compare(self, node: ast.Compare) -> Term:
        operands = [node.left, *node.comparators]
        terms = [self.visit(operand) for operand in operands]
        if any(term.type == "error" for term in terms):
            return _ERROR
        parts = [
            self.pair(operand, op, left, right, terms)
            for operand, op, left, right in zip(node.comparators, node.ops, terms, terms[1:], strict=False)
        ]
        if any(part.type == "error" for part in parts):
            return _ERROR
        if len(parts) == 1:
            return parts[0]
        return self.tree("and", [part.node for part in parts if part.node is not None], _reads(terms))

    def pair(self, node: ast.expr, op: ast.cmpop, left: Term, right: Term, chain: Sequence[Term]) -> Term:
        """One comparison of a chain; absent is absent for the whole chain."""
        if isinstance(op, ast.In | ast.NotIn):
            return self.membership(node, isinstance(op, ast.NotIn), left, right)
        sign = _SIGNS.get(type(op))
        if sign is None:
            return self.fault(node, '"is" is no part of policy expressions; write ==')
        kinds = {_family(left.type), _family(right.type)}
        if len(kinds) > 1:
            hint = ""
            if kinds == {"number", "duration"}:
                hint = "; write a duration as days(3)"
            elif kinds == {"number", "moment"}:
                hint = '; write a moment as date("2026-12-24")'
            elif kinds == {"text", "list"}:
                hint = '; write "x" in list'
            return self.fault(node, f"{TYPE_WORDS[left.type]} cannot be compared with {TYPE_WORDS[right.type]}{hint}")
        kind = kinds.pop()
        if kind in ("list", "numbers", "window"):
            return self.fault(node, f'{TYPE_WORDS[left.type]} cannot be compared; write "x" in list')
        if kind in ("text", "bool") and sign not in ("==", "!="):
            return self.fault(node, f'{TYPE_WORDS[kind]} has no order; "{sign}" needs numbers, moments or durations')
        guards = " and ".join(_guards(chain))
        if kind == "bool":
            for term in (left, right):
                if term.node is not None and (term.node.timed or term.node.metered):
                    return self.fault(node, "compares a condition of time or usage; use and, or, not")
        elif kind == "text":
            if not (self.chosen(node, left, right) and self.chosen(node, right, left)):
                return _ERROR
        elif left.time or right.time:
            return self.timed(node, sign, left, right, guards)
        elif left.usage or right.usage:
            return self.metered(node, sign, left, right, guards)
        return self.atom(f"({left.code}) {sign} ({right.code})", *chain)

    def timed(self, node: ast.expr, sign: str, left: Term, right: Term, guards: str) -> Term:
        if left.time == right.time:
            return self.fault(node, "has `now` on both sides, so that it never changes; leave it out")
        if left.time and right.time:
            return self.fault(node, "has `now` twice, with opposite signs; bring it to one side")
        if left.usage or right.usage:
            return self.fault(node, "compares `now` with something that depends on usage; it cannot be solved exactly")
        if sign in ("==", "!="):
            return self.fault(node, f'compares `now` by "{sign}", which is a moment without length; use < or >=')
        # now + a < b holds while now < b - a; now stands alone, so that its edge is found without rounding.
        if left.time - right.time > 0:
            threshold = right.rest if left.rest == "0.0" else f"({right.rest}) - ({left.rest})"
        else:
            sign = _FLIPPED[sign]
            threshold = left.rest if right.rest == "0.0" else f"({left.rest}) - ({right.rest})"
        return self.atom("", left, right, node=TimeNode(sign, threshold, guards, self.names))

    def metered(self, node: ast.expr, sign: str, left: Term, right: Term, guards: str) -> Term:
        if left.usage and right.usage and left.usage == right.usage:
            message = "compares two things that usage moves in one direction; it cannot be solved exactly"
            return self.fault(node, f"{message}: compare with something that usage does not move")
        return self.atom("", left, right, node=UsageNode(sign, left.code, right.code, guards, self.names))

    def membership(self, node: ast.expr, negated: bool, left: Term, right: Term) -> Term:
        if right.window is not None:
            if left.type != "moment" or left.time != 1 or left.rest != "0.0":
                return self.fault(node, "only `now` itself can be within a window")
            label = f"_w{len(self.names)}"
            inside = WindowNode(right.window, self.vocabulary.zone, label)
            self.names[label] = inside.at
            inside.names = self.names
            term = self.atom("", left, node=inside, shows=f"now within {right.code}")
            return self.negated(term, negated)
        if right.type == "text":
            return self.fault(node, "is a text, not a list; write contains(text, part)")
        if right.type not in ("list", "numbers"):
            return self.fault(node, f"is {TYPE_WORDS[right.type]}, not a list or window")
        wanted = "text" if right.type == "list" else "number"
        if _family(left.type) != wanted:
            return self.fault(node, f"{TYPE_WORDS[left.type]} cannot be in {TYPE_WORDS[right.type]}")
        if left.usage:
            return self.fault(node, "usage passes a number without stopping there; use < and >=")
        if right.literal is not _NO_LITERAL and left.choices:
            for value in right.literal:
                if not self.chosen(node, left, Term("text", literal=value)):
                    return _ERROR
        if not self.chosen(node, right, left):
            return _ERROR
        term = self.atom(f"({left.code}) in ({right.code})", left, right)
        return self.negated(term, negated)

    def negated(self, term: Term, negated: bool) -> Term:
        """`x not in y`, which is `not (x in y)`."""
        if not negated or term.node is None:
            return term
        return self.tree("not", [term.node], term.reads)

    def chosen(self, node: ast.expr, fact: Term, literal: Term) -> bool:
        """Whether the literal is one of the fact's possible values."""
        if not fact.choices or literal.literal is _NO_LITERAL or literal.literal in fact.choices:
            return True
        near = closest(str(literal.literal), fact.choices)
        hint = f'; did you mean "{near}"?' if near else f"; it is one of {', '.join(fact.choices)}"
        name = fact.reads[0] if fact.reads else "it"
        self.fault(node, f'{name} is never "{literal.literal}"{hint}')
        return False

    # Arithmetic

    def arithmetic(self, node: ast.BinOp) -> Term:
        left, right = self.visit(node.left), self.visit(node.right)
        if "error" in (left.type, right.type):
            return _ERROR
        op = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}.get(type(node.op))
        if op is None:
            return self.fault(node.right, "only + - * / are known")
        a, b = _family(left.type), _family(right.type)
        kind = _RESULTS.get((a, op, b))
        if kind is None:
            hint = "; write a duration as days(3)" if {a, b} & {"moment", "duration"} and "number" in (a, b) else ""
            words = {"+": "added to", "-": "taken from", "*": "multiplied with", "/": "divided by"}[op]
            first, second = (right, left) if op in "+-" else (left, right)
            return self.fault(node.right, f"{TYPE_WORDS[first.type]} cannot be {words} {TYPE_WORDS[second.type]}{hint}")
        if kind == "number":
            kind = "float" if op == "/" or "float" in (left.type, right.type) else "int"
        guards, reads = _guards((left, right)), _reads((left, right))
        factors = left.factors + right.factors + (op in "*/")
        if factors > FACTORS_MAX:
            return self.fault(node.right, f"more than {FACTORS_MAX} multiplications and divisions in one comparison")
        term = Term(kind, f"({left.code} {op} {right.code})", reads, guards, factors=factors)
        if op in "+-":
            term.time = left.time + right.time if op == "+" else left.time - right.time
            if left.time and right.time:
                return self.fault(node.right, "has `now` twice; leave it out on both sides")
            if left.rest and right.rest:
                if left.rest == "0.0" and op == "+":
                    term.rest = right.rest
                elif right.rest == "0.0":
                    term.rest = left.rest
                else:
                    term.rest = f"({left.rest} {op} {right.rest})"
            other = right.usage if op == "+" else -right.usage
            if left.usage and other and left.usage != other:
                return self.fault(node.right, _UNSOLVED)
            term.usage = left.usage or other
            term.sign = left.sign if op == "+" and left.sign == right.sign else 0
            return term
        if left.time or right.time:
            return self.fault(node.right, "`now` cannot be multiplied or divided; it cannot be solved exactly")
        if op == "/":
            if right.literal is not _NO_LITERAL and right.literal == 0:
                return self.fault(node.right, "divides by zero")
            if right.usage:
                return self.fault(node.right, _UNSOLVED)
            term.guards = (*guards, f"({right.code}) != 0")
        for mover, other_term in ((left, right), (right, left)):
            if mover.usage:
                if other_term.usage or not other_term.sign:
                    return self.fault(node.right, _UNSOLVED)
                term.usage = mover.usage * other_term.sign
        term.sign = left.sign * right.sign
        if kind == "duration":
            term.rest = term.code
        return term

    # Functions

    def call(self, node: ast.Call) -> Term:
        name = _dotted(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else None
        if name is None or name not in FUNCTIONS:
            near = closest(name, FUNCTIONS) if name else None
            hint = f'; did you mean "{near}"?' if near else f"; known are {', '.join(FUNCTIONS)}"
            if name and "." in name:
                hint = "; facts have no methods" + (
                    f", write {name.rpartition('.')[2]}({name.rpartition('.')[0]}, ...)"
                    if name.rpartition(".")[2] in FUNCTIONS
                    else ""
                )
            return self.fault(node, f'"{name or "this"}" is no known function{hint}')
        if node.keywords or any(isinstance(argument, ast.Starred) for argument in node.args):
            return self.fault(node, f"takes plain arguments: {FUNCTIONS[name].signature}")
        terms = [self.visit(argument) for argument in node.args]
        if any(term.type == "error" for term in terms):
            return _ERROR
        return getattr(self, f"call_{'duration' if name in _DURATIONS else name}")(node, name, terms)  # type: ignore[no-any-return]

    def takes(self, node: ast.Call, name: str, terms: Sequence[Term], *kinds: str) -> bool:
        """Whether the arguments are of these types."""
        if [_family(term.type) for term in terms] == list(kinds):
            return True
        given = ", ".join(TYPE_WORDS[term.type].removeprefix("a ") for term in terms) or "nothing"
        self.fault(node, f"takes {FUNCTIONS[name].signature}, not {given}")
        return False

    def literals(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Sequence[str] | None:
        """The texts of arguments that must stand there as texts."""
        if terms and all(isinstance(term.literal, str) for term in terms):
            return [term.literal for term in terms]
        self.fault(node, f"takes texts in quotes: {FUNCTIONS[name].signature}")
        return None

    def call_window(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        texts = self.literals(node, name, terms)
        if texts is None or not self.takes(node, name, terms, "text"):
            return _ERROR
        windows = self.vocabulary.windows
        window = windows.get(texts[0])
        if window is None:
            near = closest(texts[0], windows)
            known = f"; known are {', '.join(sorted(windows))}" if windows else "; declare it under [windows]"
            hint = f'; did you mean "{near}"?' if near else known
            return self.fault(node.args[0], f'"{texts[0]}" is no known window{hint}')
        return Term("window", f'window("{texts[0]}")', window=window)

    def call_between(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        texts = self.literals(node, name, terms)
        if texts is None or not self.takes(node, name, terms, "text", "text"):
            return _ERROR
        for argument, text in zip(node.args, texts, strict=True):
            if not _TIME_OF_DAY.fullmatch(text):
                return self.fault(argument, f'"{text}" is no time of day; write "22:00"')
        start, end = texts
        if start == "24:00":
            return self.fault(node.args[0], 'a window starts at "00:00", not "24:00"')
        return Term("window", f'between("{start}", "{end}")', window=Window(start=start, end=end))

    def call_weekdays(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        texts = self.literals(node, name, terms)
        if texts is None:
            return _ERROR
        for argument, text in zip(node.args, texts, strict=True):
            if text not in DAYS:
                near = closest(text, DAYS) or closest(text[:3], DAYS)
                hint = f'; did you mean "{near}"?' if near else f"; it is one of {', '.join(DAYS)}"
                return self.fault(argument, f'"{text}" is no day{hint}')
        days = tuple(day for day in DAYS if day in texts)
        return Term(
            "window", f"weekdays({', '.join(f'{day!r}' for day in days)})".replace("'", '"'), window=Window(days=days)
        )

    def call_date(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        texts = self.literals(node, name, terms)
        if texts is None or not self.takes(node, name, terms, "text"):
            return _ERROR
        try:
            moment = datetime.fromisoformat(texts[0])
            value = (moment if moment.tzinfo is not None else moment.replace(tzinfo=self.vocabulary.zone)).timestamp()
        except (ValueError, OverflowError, OSError):
            return self.fault(node.args[0], f'"{texts[0]}" is no date; write "2026-12-24" or "2026-12-24T18:00"')
        return Term("moment", repr(value), rest=repr(value))

    def call_duration(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        if not self.takes(node, name, terms, "number"):
            return _ERROR
        (term,) = terms
        if term.usage:
            return self.fault(node, "is a duration that depends on usage; it cannot be solved exactly")
        code = f"({term.code} * {_DURATIONS[name]})"
        return Term("duration", code, term.reads, term.guards, rest=code, sign=term.sign, factors=term.factors + 1)

    def call_present(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        if len(terms) != 1 or not isinstance(node.args[0], ast.Name | ast.Attribute) or not terms[0].reads:
            return self.fault(node, f"takes one fact: {FUNCTIONS[name].signature}")
        (term,) = terms
        if not term.guards:
            return self.fault(node.args[0], f"{term.reads[0]} is always present")
        inner = Node("atom", f"({' and '.join(term.guards)})", self.names)
        inner.shows = term.reads
        return Term("bool", inner.code, term.reads, node=inner)

    def call_startswith(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        return self._text_test(node, name, terms, "({0}).startswith({1})")

    def call_endswith(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        return self._text_test(node, name, terms, "({0}).endswith({1})")

    def call_contains(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        return self._text_test(node, name, terms, "({1}) in ({0})")

    def _text_test(self, node: ast.Call, name: str, terms: Sequence[Term], code: str) -> Term:
        if not self.takes(node, name, terms, "text", "text"):
            return _ERROR
        return self.atom(code.replace("{0}", "\0").replace("{1}", terms[1].code).replace("\0", terms[0].code), *terms)

    def call_lower(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        if not self.takes(node, name, terms, "text"):
            return _ERROR
        (term,) = terms
        return Term("text", f"({term.code}).{name}()", term.reads, term.guards)

    call_upper = call_lower

    def call_count(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        if not self.takes(node, name, terms, "list"):
            return _ERROR
        return Term("int", f"len({terms[0].code})", terms[0].reads, terms[0].guards, sign=1)

    def call_overlaps(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        if not self.takes(node, name, terms, "list", "list"):
            return _ERROR
        for fact, literal in (terms, reversed(terms)):
            if fact.choices and literal.literal is not _NO_LITERAL:
                for value in literal.literal:
                    if not self.chosen(node, fact, Term("text", literal=value)):
                        return _ERROR
        return self.atom(f"not set({terms[0].code}).isdisjoint({terms[1].code})", *terms)

    def call_min(self, node: ast.Call, name: str, terms: Sequence[Term]) -> Term:
        kinds = {_family(term.type) for term in terms}
        if len(terms) < 2 or len(kinds) != 1 or not kinds <= {"number", "moment", "duration"}:
            return self.fault(node, f"takes {FUNCTIONS[name].signature} of numbers, moments or durations")
        if any(term.time for term in terms):
            return self.fault(node, f"{name}() of `now` cannot be solved exactly; compare `now` with each")
        moves = {term.usage for term in terms} - {0}
        if len(moves) > 1:
            return self.fault(node, _UNSOLVED)
        kind = terms[0].type if kinds != {"number"} else "float" if any(t.type == "float" for t in terms) else "int"
        code = f"{name}({', '.join(term.code for term in terms)})"
        signs = {term.sign for term in terms}
        return Term(
            kind, code, _reads(terms), _guards(terms), rest=code if kinds != {"number"} else "",
            usage=moves.pop() if moves else 0, sign=signs.pop() if len(signs) == 1 else 0,
            factors=max(term.factors for term in terms),
        )  # fmt: skip

    call_max = call_min


_UNSOLVED: Final = (
    "depends on usage in a way that cannot be solved exactly; compare quota.used, quota.left or quota.used_ratio with"
    " something that usage does not move"
)
_RESULTS: Final = {
    **{("number", op, "number"): "number" for op in "+-*/"},
    ("moment", "-", "moment"): "duration",
    ("moment", "+", "duration"): "moment",
    ("moment", "-", "duration"): "moment",
    ("duration", "+", "moment"): "moment",
    ("duration", "+", "duration"): "duration",
    ("duration", "-", "duration"): "duration",
    ("duration", "*", "number"): "duration",
    ("number", "*", "duration"): "duration",
    ("duration", "/", "number"): "duration",
}
_WORDS: Final[dict[type, str]] = {
    ast.IfExp: "`if ... else`",
    ast.Lambda: "lambda",
    ast.Subscript: "[...] behind a name",
    ast.Dict: "{...}",
    ast.Set: "{...}; write a list as [...], it",
    ast.JoinedStr: "a text with f before it",
    ast.NamedExpr: ":=",
    ast.ListComp: "`for`",
    ast.GeneratorExp: "`for`",
    ast.Await: "await",
    ast.Starred: "*",
}


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or that has it as its last parts."""
    names = list(known)
    near = get_close_matches(name.lower(), {each.lower() for each in names}, n=1, cutoff=0.7)
    if not near:
        ends = [each for each in names if each.endswith(f".{name}")]
        return ends[0] if ends else None
    return next(each for each in names if each.lower() == near[0])


def _family(type: str) -> str:
    return "number" if type in ("int", "float") else type


def _guards(terms: Iterable[Term]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(guard for term in terms for guard in term.guards))


def _reads(terms: Iterable[Term]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for term in terms for name in term.reads))


def _dotted(node: ast.expr) -> str | None:
    """`a.b.c` of names; None of anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def _replace_within(text: str) -> str:
    """`now within w` as Python's `in`, every column kept."""
    if "within" not in text:
        return text
    lines = text.split("\n")
    try:
        previous = ""
        for token in tokenize.generate_tokens(io.StringIO(f"(\n{text}\n)").readline):
            if token.type == tokenize.NAME and token.string == "within" and previous != ".":
                row, column = token.start
                line = lines[row - 2]
                lines[row - 2] = f"{line[:column]}in    {line[column + 6 :]}"
            previous = token.string
    except (tokenize.TokenError, IndentationError, SyntaxError):
        pass  # the parser tells it better
    return "\n".join(lines)
