"""RADIUS ports: a batch in, through admission, mapping and engine, a batch out. The one place where they meet.

Compiled: every packet passes through it. No task, no await, no logging call on the way of a packet.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from aaa.engine.account import Accountant
from aaa.engine.authorize import Authorizer
from aaa.limits import DELAYED_REJECTS_MAX
from aaa.mapping.access import AccessMapping
from aaa.mapping.accounting import AccountingMapping
from aaa.model.access import Attempt, Cause, Outcome, Verdict
from aaa.radius.admission import Admission, Request
from aaa.radius.clients import (
    COUNT_ACCEPTS,
    COUNT_ACCOUNTING_RESPONSES,
    COUNT_REJECTS,
    COUNT_STATUS_RESPONSES,
)
from aaa.radius.reasons import DropReason
from aaa.state.journal import Journal
from native.datagram import BatchSocket, Datagram
from native.radius import Packet, decode

if TYPE_CHECKING:
    from aaa.server.trace import Tap

ACCESS_ACCEPT = 2
ACCESS_REJECT = 3
ACCOUNTING_RESPONSE = 5
STATUS_SERVER = 12

ACCEPT = int(Verdict.ACCEPT)
REJECT = int(Verdict.REJECT)
SLOW = int(Verdict.SLOW)
UNKNOWN_SOURCE = int(DropReason.UNKNOWN_SOURCE)
OVERLOAD = int(DropReason.OVERLOAD)
RESPONSE_TOO_LONG = int(DropReason.RESPONSE_TOO_LONG)

LATENCY_BUCKETS = 26
"""Powers of two microseconds: bucket n counts answers within 2**n us, the last one all others."""


class Statistics:
    """Counters of one kind of port."""

    latency: list[int]
    latency_sum_ns: int
    causes: list[int]
    """Rejects by Cause; accepts under Cause.NONE."""
    answered: int

    def __init__(self) -> None:
        self.latency = [0] * LATENCY_BUCKETS
        self.latency_sum_ns = 0
        self.causes = [0] * len(Cause)
        self.answered = 0

    def observe(self, received_ns: int, sent_ns: int) -> None:
        """Count the time from the kernel's receipt of a request to the sending of its answer."""
        spent_ns = sent_ns - received_ns
        if received_ns == 0 or spent_ns < 0:
            spent_ns = 0
        self.latency_sum_ns += spent_ns
        spent_us = spent_ns // 1000
        bucket = 0
        while spent_us > 0 and bucket < LATENCY_BUCKETS - 1:
            spent_us >>= 1
            bucket += 1
        self.latency[bucket] += 1
        self.answered += 1


class Answer:
    """A signed answer that leaves later, and where it is remembered."""

    request: Request
    payload: bytes
    reply: Datagram
    due: float

    def __init__(self, request: Request, payload: bytes, reply: Datagram, due: float) -> None:
        self.request = request
        self.payload = payload
        self.reply = reply
        self.due = due


def send_late(port: Port, answers: list[Answer]) -> None:
    """What a waiter of the journal calls."""
    port.send_late(answers)


class Port:
    """What access and accounting ports have in common: a socket, its admission, its statistics."""

    socket: BatchSocket
    admission: Admission
    statistics: Statistics
    status_attributes: Callable[[Request], bytes]
    tap: Tap | None
    """Who looks on; None: nobody."""

    def __init__(
        self,
        socket: BatchSocket,
        admission: Admission,
        statistics: Statistics,
        status_attributes: Callable[[Request], bytes],
    ) -> None:
        self.socket = socket
        self.admission = admission
        self.statistics = statistics
        self.status_attributes = status_attributes
        self.tap = None

    def on_readable(self) -> None:
        """Serve one batch."""
        raise NotImplementedError

    def take(self, now: float, at: float, status_code: int) -> list[Request]:
        """Receive one batch and admit it. Retransmissions, and Status-Server by status_code, are answered here."""
        count = self.socket.receive()
        packets: list[Packet] = self.socket.slots  # type: ignore[assignment]
        decode(packets, count)
        admission = self.admission
        requests: list[Request] = []
        datagrams: list[Datagram] = []
        if self.tap is None:
            admitted = admission.admit(packets, count, now, at)
        else:
            admitted = self.tap.admit(admission, packets, count, now, at)
        for request in admitted:
            if request is None:
                continue
            if request.packet.code != STATUS_SERVER:
                requests.append(request)
                continue
            answer = self.answer_status(request, status_code, now)
            if answer is not None:
                datagrams.append(answer)
        if admission.resends:
            self.socket.send(admission.resends)
            admission.resends.clear()
        if datagrams:
            self.send(datagrams)
        return requests

    def sign(self, request: Request, code: int, attributes: bytes, message_authenticator: bool) -> bytes:
        """The signed answer; b"" and a count where its Proxy-States leave no room for one: no answer is better than one
        without them, and one such request must not cost its batch the answers.
        """
        try:
            return request.secret.respond(request.packet, code, attributes, message_authenticator)
        except ValueError:
            self.admission.drops[RESPONSE_TOO_LONG] += 1
            self.admission.duplicates.forget(request.packet)
            return b""

    def answer_status(self, request: Request, code: int, now: float) -> Datagram | None:
        """Status-Server is answered like a good request of its port (RFC 5997 §3)."""
        payload = self.sign(request, code, self.status_attributes(request), True)
        if not payload:
            return None
        self.admission.duplicates.keep(request.packet, payload, now)
        request.source.counters[COUNT_STATUS_RESPONSES] += 1
        return request.packet.reply(payload)

    def send(self, datagrams: list[Datagram]) -> None:
        """Send all; what the kernel does not take is counted: the NAS asks again and is answered from the cache."""
        unsent = len(datagrams) - self.socket.send(datagrams)
        if unsent:
            self.admission.drops[DropReason.SEND_FAILED] += unsent

    def send_late(self, answers: list[Answer]) -> None:
        """Remember and send answers that waited."""
        now = time.monotonic()
        datagrams: list[Datagram] = []
        duplicates = self.admission.duplicates
        for answer in answers:
            duplicates.keep(answer.request.packet, answer.payload, now)
            datagrams.append(answer.reply)
        self.send(datagrams)
        sent_ns = time.time_ns()
        for answer in answers:
            self.statistics.observe(answer.request.packet.received_ns, sent_ns)


class AccessPort(Port):
    """One authentication socket."""

    def __init__(
        self,
        socket: BatchSocket,
        admission: Admission,
        statistics: Statistics,
        status_attributes: Callable[[Request], bytes],
        mapping: AccessMapping,
        authorizer: Authorizer,
        journal: Journal,
        reject_delay_s: float,
        check_slowly: Callable[[Attempt, Outcome, Callable[[bool | None], None]], bool],
        note_reject: Callable[[Request, Attempt, Outcome], None],
    ) -> None:
        """check_slowly: starts a slow password check and later calls back with its result, None when it came to none;
        False when it cannot.
        """
        super().__init__(socket, admission, statistics, status_attributes)
        self.mapping = mapping
        self.authorizer = authorizer
        self.journal = journal
        self.reject_delay_s = reject_delay_s
        self.check_slowly = check_slowly
        self.note_reject = note_reject
        self.delayed: deque[Answer] = deque()

    def on_readable(self) -> None:
        """Serve one batch."""
        now = time.monotonic()
        at = time.time()
        requests = self.take(now, at, ACCESS_ACCEPT)
        if requests:
            attempts = self.mapping.to_attempts(requests, at)
            outcomes = self.authorizer.authorize(attempts)
            self.finish(requests, attempts, outcomes, now, now)

    def finish(
        self,
        requests: list[Request],
        attempts: list[Attempt],
        outcomes: list[Outcome],
        now: float,
        arrived: float,
    ) -> None:
        """Turn outcomes into signed answers: sent at once, or kept for later."""
        replies = self.mapping.to_replies(requests, attempts, outcomes)
        duplicates = self.admission.duplicates
        statistics = self.statistics
        causes = statistics.causes
        datagrams: list[Datagram] = []
        answered: list[Request] = []
        for index in range(len(requests)):
            request = requests[index]
            outcome = outcomes[index]
            packet = request.packet
            source = request.source
            if outcome.verdict == ACCEPT:
                payload = self.sign(request, ACCESS_ACCEPT, replies[index], True)
                if not payload:
                    continue
                source.counters[COUNT_ACCEPTS] += 1
                causes[0] += 1
                if outcome.durable:
                    duplicates.keep(packet, payload, now)
                    datagrams.append(packet.reply(payload))
                    answered.append(request)
                else:
                    answer = Answer(request.detach(), payload, packet.reply(payload), 0.0)
                    self.journal.when_durable(partial(send_late, self, [answer]))
            elif outcome.verdict == REJECT:
                payload = self.sign(request, ACCESS_REJECT, replies[index], True)
                if not payload:
                    continue
                source.counters[COUNT_REJECTS] += 1
                causes[outcome.cause] += 1
                self.note_reject(request, attempts[index], outcome)
                if self.reject_delay_s > 0 and len(self.delayed) < DELAYED_REJECTS_MAX:
                    due = arrived + self.reject_delay_s
                    self.delay(Answer(request.detach(), payload, packet.reply(payload), due))
                else:
                    duplicates.keep(packet, payload, now)
                    datagrams.append(packet.reply(payload))
                    answered.append(request)
            elif outcome.verdict == SLOW:
                kept = request.detach()
                if not self.check_slowly(
                    attempts[index], outcome, partial(self.resume, kept, attempts[index], outcome, arrived)
                ):
                    self.admission.drops[OVERLOAD] += 1
                    duplicates.forget(packet)
        if self.tap is not None:
            self.tap.access(requests, attempts, outcomes, replies)
        if datagrams:
            self.send(datagrams)
            sent_ns = time.time_ns()
            for request in answered:
                statistics.observe(request.packet.received_ns, sent_ns)

    def resume(self, request: Request, attempt: Attempt, pending: Outcome, arrived: float, proved: bool | None) -> None:
        """A slow check is done: the row finishes alone; silently where the check was given up, or the NAS is gone."""
        admission = self.admission
        if proved is None or request.source.client.name not in admission.clients.by_name:
            admission.drops[OVERLOAD if proved is None else UNKNOWN_SOURCE] += 1
            admission.duplicates.forget(request.packet)
            return
        outcome = self.authorizer.resume(attempt, pending, proved)
        self.finish([request], [attempt], [outcome], time.monotonic(), arrived)
        self.journal.flush()

    def delay(self, answer: Answer) -> None:
        """Keep a reject until it is due, in that order: how long its password was hashed does not show."""
        delayed = self.delayed
        position = len(delayed)
        while position and delayed[position - 1].due > answer.due:
            position -= 1
        delayed.insert(position, answer)

    def release_rejects(self, now: float) -> None:
        """Send the delayed rejects that are due; called by a timer."""
        due: list[Answer] = []
        while self.delayed and self.delayed[0].due <= now:
            due.append(self.delayed.popleft())
        if due:
            self.send_late(due)


class AccountingPort(Port):
    """One accounting socket. Its answers leave when their records are durable."""

    def __init__(
        self,
        socket: BatchSocket,
        admission: Admission,
        statistics: Statistics,
        status_attributes: Callable[[Request], bytes],
        mapping: AccountingMapping,
        accountant: Accountant,
        journal: Journal,
    ) -> None:
        super().__init__(socket, admission, statistics, status_attributes)
        self.mapping = mapping
        self.accountant = accountant
        self.journal = journal

    def on_readable(self) -> None:
        """Serve one batch."""
        now = time.monotonic()
        at = time.time()
        requests = self.take(now, at, ACCOUNTING_RESPONSE)
        if not requests:
            return
        records = self.mapping.to_records(requests, at)
        outcomes = self.accountant.account(records, at)
        if self.tap is not None:
            self.tap.accounting(requests, records, outcomes)
        answers: list[Answer] = []
        for request in requests:
            packet = request.packet
            payload = request.secret.respond(packet, ACCOUNTING_RESPONSE, b"", False)
            request.source.counters[COUNT_ACCOUNTING_RESPONSES] += 1
            answers.append(Answer(request.detach(), payload, packet.reply(payload), 0.0))
        self.journal.when_durable(partial(send_late, self, answers))
        self.journal.flush()
