"""What Diameter peers and we have told each other, in numbers: by command, by result, by time. Knows no socket.

Compiled: every answer is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from aaa.diameter.answers import result_of
from aaa.diameter.request import Request
from aaa.limits import DIAMETER_COMMANDS_COUNT_MAX, DIAMETER_RESULTS_COUNT_MAX
from native.diameter import Message

LATENCY_BUCKETS: Final = 26
"""Powers of two microseconds, as those of the RADIUS ports."""
SUCCESS = bytes.fromhex("0000010c4000000c000007d1")
"""Result-Code 2001 as it stands in nearly every answer."""
NO_RESULT: Final = 0
SUCCESS_CLASS: Final = 2
CLASSES: Final = ("none", "1xxx", "2xxx", "3xxx", "4xxx", "5xxx", "unanswered")
"""Of answers by the first digit of Result-Code or Experimental-Result-Code."""
UNANSWERED: Final = len(CLASSES) - 1
Command = tuple[int, int]
"""Application-Id and command code."""
OTHERS: Final = (-1, -1)
"""Commands beyond those that are counted apart: a relay sees any number."""


class CommandCounters:
    """Requests of one command in one direction, and their answers."""

    def __init__(self) -> None:
        self.classes = [0] * len(CLASSES)
        """Answers by CLASSES."""
        self.latency = [0] * LATENCY_BUCKETS
        """Of ours: from the octets' coming to the answer's leaving; of the peer's: from the request's leaving to its
        coming. Bucket n: within 2**n µs, the last one all others."""
        self.latency_sum_ns = 0

    @property
    def requests(self) -> int:
        return int(sum(self.classes))

    def add(self, other: CommandCounters) -> None:
        self.classes = [one + more for one, more in zip(self.classes, other.classes, strict=True)]
        self.latency = [one + more for one, more in zip(self.latency, other.latency, strict=True)]
        self.latency_sum_ns += other.latency_sum_ns


class Traffic:
    """Of one peer, or of all that one template has let in."""

    def __init__(self) -> None:
        self.received: dict[Command, CommandCounters] = {}
        """Its requests, by what they were answered with."""
        self.sent: dict[Command, CommandCounters] = {}
        """Requests to it, ours and relayed ones, by what it answered."""
        self.results: Counter[int] = Counter()
        """Answers to it that were no success, by Result-Code; NO_RESULT stands for those beyond the bound too."""
        self.stopped: Counter[str] = Counter()
        """Of these, requests that the firewall stopped, by its reason."""
        self.drops: Counter[str] = Counter()
        """Messages that peers' machines did not look at, of peers that are there no more."""

    def note_answers(self, requests: Sequence[Request], answers: Sequence[bytes], spent_ns: int) -> None:
        """Requests of one application that are answered together. Cost: 0.2 µs each."""
        bucket = min((spent_ns // 1000).bit_length(), LATENCY_BUCKETS - 1)
        last = -1
        for request, octets in zip(requests, answers, strict=True):
            message = request.message
            if message.command != last:
                last = message.command
                counters = self._of(self.received, (message.application, last))
            if SUCCESS in octets:
                counters.classes[SUCCESS_CLASS] += 1
            else:
                result = result_of(Message.parse(octets))
                counters.classes[min(result // 1000, 5)] += 1
                self._note_result(result)
            counters.latency[bucket] += 1
            counters.latency_sum_ns += spent_ns

    def _note_result(self, result: int) -> None:
        if result // 1000 == SUCCESS_CLASS:
            return
        if result not in self.results and len(self.results) >= DIAMETER_RESULTS_COUNT_MAX:
            result = NO_RESULT
        self.results[result] += 1

    @staticmethod
    def _of(table: dict[Command, CommandCounters], command: Command) -> CommandCounters:
        counters = table.get(command)
        if counters is None:
            if len(table) >= DIAMETER_COMMANDS_COUNT_MAX:
                command = OTHERS
            counters = table.setdefault(command, CommandCounters())
        return counters

    def note_reply(self, command: Command, answer: Message | None, spent_ns: int) -> None:
        """A request to the peer is over. answer: None where none came."""
        counters = self._of(self.sent, command)
        counters.classes[UNANSWERED if answer is None else min(result_of(answer) // 1000, 5)] += 1
        if answer is not None:
            counters.latency[min((spent_ns // 1000).bit_length(), LATENCY_BUCKETS - 1)] += 1
            counters.latency_sum_ns += spent_ns

    def add(self, other: Traffic) -> None:
        """Take over what another one counted."""
        for ours, theirs in ((self.received, other.received), (self.sent, other.sent)):
            for command, counters in theirs.items():
                self._of(ours, command).add(counters)
        self.results.update(other.results)
        self.stopped.update(other.stopped)
        self.drops.update(other.drops)
