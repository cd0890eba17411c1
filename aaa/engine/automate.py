"""Carries out automations: an event, whose service matches, what is to be done with it as commands.

Each event is looked at once. What it caused stands in the same journal group as the cursor that passed it, so after a
crash the events behind the cursor are looked at again, and none of their effects is there yet. A delayed automation is
remembered as a timer of the store; so is the deed of one that may run once a day, cycle or lifetime, until it could
come again. Automations that lead to one another are counted by the depth of their cause. Knows no clock.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from aaa.engine.decisions import Decisions
from aaa.engine.enforce import Enforcer, caused_by
from aaa.limits import AUTOMATE_SLICE_COST, AUTOMATION_DEPTH_MAX
from aaa.model.events import Cause, Event, Timer
from aaa.model.operations import Op, Operation
from aaa.model.records import ACTIVE, ServiceRecord
from aaa.state.entities import apply_operation
from aaa.state.schema import Row
from aaa.state.store import Store
from policy.automation import (
    AddTopUp,
    Automation,
    CallWebhook,
    Disconnect,
    Effect,
    Notify,
    PlaceHold,
    Restore,
    SetTags,
)
from policy.model import Facts

CURSOR = "automated"
"""Key in META: number of the last event that automations have seen."""
DONE = "done:"
"""Begins the key of a timer that only remembers a deed."""
MATCH_COST = 15
EFFECT_COST = 60
DAY_S = 86_400.0
KEPT_S = {"day": 2 * DAY_S, "month": 33 * DAY_S, "cycle": 33 * DAY_S, "ever": 40_000 * DAY_S}
"""How long a deed is remembered: until its occasion cannot come again."""


class Automator:
    """Runs the policy's automations on the store's new events."""

    def __init__(self, store: Store, decisions: Decisions, enforcer: Enforcer) -> None:
        self.store = store
        self.decisions = decisions
        self.enforcer = enforcer
        self.events: deque[Event] = deque()
        """Taken over and not looked at yet."""
        self.runs: dict[str, int] = {}
        """How often each automation has run since the start; a metric."""
        self.deeds: dict[tuple[str, int], Timer] = {}
        """What was done for a service, of automations that do not run for every event."""
        for timer in list(store.timers.values()):
            if not timer.key.startswith(DONE):
                continue
            if timer.service_no and store.services_by_no.get(timer.service_no) is None:
                # Its service was deleted, and a number never comes back.
                store.delete_timer(timer.id)
            else:
                self.deeds[timer.automation, timer.service_no] = timer

    def run(self, at: float) -> bool:
        """Look at the new events; True: there are more. Bound: AUTOMATE_SLICE_COST. at: epoch seconds."""
        store = self.store
        if store.new_events:
            self.events.extend(store.new_events)
            store.new_events.clear()
        if not self.events:
            return False
        budget = AUTOMATE_SLICE_COST
        last = 0
        while self.events and budget > 0:
            event = self.events.popleft()
            last = event.seq
            budget -= 1
            automations = self.decisions.policy.automations_on(event.type)
            if automations:
                for service in self._services(event):
                    for automation in automations:
                        budget -= self._consider(automation, event, service, at)
        store.journal.append(Row.META, (CURSOR, str(last)))
        return bool(self.events)

    def run_timer(self, timer: Timer, at: float) -> None:
        """A timer of the store is due: a delayed automation runs if it still matches; a deed is forgotten."""
        store = self.store
        store.delete_timer(timer.id)
        deed = self.deeds.get((timer.automation, timer.service_no))
        if timer.key.startswith(DONE):
            if deed is timer:
                del self.deeds[timer.automation, timer.service_no]
            return
        automation = next((each for each in self.decisions.policy.automations if each.name == timer.automation), None)
        service = store.services_by_no.get(timer.service_no) if timer.service_no else None
        if automation is None or (timer.service_no and service is None):
            return
        facts = None if service is None else self.decisions.facts_of(service, at)
        if automation.matches(timer.event, facts):
            self._perform(automation, timer.event, service, facts, at)
        elif deed is not None and deed.event.seq == timer.event.seq:
            # It did nothing, so the occasion is still there.
            del self.deeds[timer.automation, timer.service_no]
            store.delete_timer(deed.id)

    # Whom, and whether

    def _services(self, event: Event) -> tuple[ServiceRecord | None, ...]:
        """Whom an event concerns: its service, each of its subscriber's, or none."""
        store = self.store
        if event.service_id:
            return (store.services.get(event.service_id),)
        if event.type.startswith("subscriber."):
            subscriber = store.subscribers.get(event.subject)
            if subscriber is not None and subscriber.services:
                return subscriber.services
        return (None,)

    def _consider(self, automation: Automation, event: Event, service: ServiceRecord | None, at: float) -> int:
        """Run an automation on an event, now or later, if it matches; what it cost."""
        facts = None if service is None else self.decisions.facts_of(service, at)
        if not automation.matches(event, facts):
            return MATCH_COST
        if event.cause.depth >= AUTOMATION_DEPTH_MAX:
            if event.type != "automation.loop":
                data = {"automation": automation.name, "depth": event.cause.depth, "event_type": event.type}
                self._emit("automation.loop", automation, event, service, at, data)
            return EFFECT_COST
        number = 0 if service is None else service.no
        if not self._is_due(automation, event, number, facts, at):
            return MATCH_COST
        if automation.after_s:
            self.store.add_timer(at + automation.after_s, automation.name, number, event, f"event:{event.seq}")
        else:
            self._perform(automation, event, service, facts, at)
        return EFFECT_COST

    def _is_due(self, automation: Automation, event: Event, number: int, facts: Facts | None, at: float) -> bool:
        """Whether this occasion has not been used yet; it is from now on."""
        if automation.once == "event":
            return True
        occasion = DONE + automation.once_key(event, facts, self.decisions.policy.zone)
        name = (automation.name, number)
        deed = self.deeds.get(name)
        if deed is not None:
            if deed.key == occasion:
                return False
            self.store.delete_timer(deed.id)
        # Only who and when matter of it: a million of them are kept.
        origin = Event(event.seq, event.at, event.type, event.subject, {})
        kept_s = KEPT_S[occasion[len(DONE) :].partition(":")[0]] + automation.after_s
        self.deeds[name] = self.store.add_timer(at + kept_s, automation.name, number, origin, occasion)
        return True

    # What is done

    def _perform(
        self, automation: Automation, event: Event, service: ServiceRecord | None, facts: Facts | None, at: float
    ) -> None:
        self.runs[automation.name] = self.runs.get(automation.name, 0) + 1
        with caused_by(self.store, cause_of(automation, event)):
            for index, effect in enumerate(automation.effects):
                self._do(effect, index, automation, event, service, facts, at)

    def _do(
        self, effect: Effect, index: int, automation: Automation, event: Event, service: ServiceRecord | None,
        facts: Facts | None, at: float,
    ) -> None:  # fmt: skip
        if isinstance(effect, Notify):
            data = {
                "automation": automation.name,
                **effect.values(facts, event),
                "key": key_of(automation, event, index),
            }
            self._emit("notification", automation, event, service, at, data)
        elif isinstance(effect, CallWebhook):
            data = {
                "webhook": effect.name,
                "automation": automation.name,
                "key": key_of(automation, event, index),
                "event_seq": event.seq,
                "event_type": event.type,
                "event_subject": event.subject,
                "event_data": event.data,
            }
            self._emit("webhook.call", automation, event, service, at, data)
        elif service is None:
            return
        elif isinstance(effect, PlaceHold):
            until = None if effect.until_s is None else at + effect.until_s
            reason = {"reason": effect.reason} if effect.reason else {}
            self._apply("hold", service, at, {"kind": effect.kind, "cause": automation.cause, "until": until, **reason})
        elif isinstance(effect, Restore):
            for value in [{"cause": cause} for cause in effect.causes] or [{}]:
                self._apply("restore", service, at, value)
        elif isinstance(effect, AddTopUp):
            top_up: dict[str, Any] = {"id": key_of(automation, event, index), "octets": effect.octets}
            if effect.valid_s is not None:
                top_up["expires_at"] = at + effect.valid_s
            self._apply("top_up", service, at, top_up)
        elif isinstance(effect, SetTags):
            self._apply("tag", service, at, {"add": effect.add, "remove": effect.remove})
        elif isinstance(effect, Disconnect):
            live = service.live
            for session in list(live.sessions) if live is not None else ():
                if session.state == ACTIVE:
                    self.enforcer.disconnect(session, effect.reason or automation.cause, at)

    def _apply(self, op: Op, service: ServiceRecord, at: float, value: dict[str, Any]) -> None:
        """A command; where it changes nothing, or is refused (a terminated service, too many holds), so it stays."""
        apply_operation(self.store, Operation(op, "service", service.body.id, value), None, at)

    def _emit(
        self, kind: str, automation: Automation, event: Event, service: ServiceRecord | None, at: float,
        data: dict[str, Any],
    ) -> None:  # fmt: skip
        with caused_by(self.store, cause_of(automation, event)):
            subject = event.subject if service is None else service.body.id
            self.store.emit(kind, subject, at, data, service, event.operator)


def cause_of(automation: Automation, event: Event) -> Cause:
    """On whose behalf an automation acts: its own, in the chain of its event."""
    return Cause(automation.cause, event.cause.correlation_id, event.cause.audit, event.cause.depth + 1)


def key_of(automation: Automation, event: Event, index: int) -> str:
    """Names one deed: the same after a repetition, for who sends mail or sells octets."""
    return f"{automation.name}/{event.seq}" if not index else f"{automation.name}/{event.seq}/{index}"
