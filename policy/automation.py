"""What is to happen by itself after an event: which automation matches, and its effects as plain values.

Pure: the engine carries the effects out. It asks `policy.automations_on(event.type)`, then `automation.matches(event,
facts)` at once, and once more when `after_s` has passed, with the facts of then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any, Literal, Protocol

from msgspec import Struct

from policy.model import Facts, Scalar

CAUSE_PREFIX = "automation:"
"""Begins the cause of every hold that an automation lays."""


class Happening(Protocol):
    """What an automation reads of an event."""

    @property
    def seq(self) -> int: ...
    @property
    def at(self) -> float: ...
    @property
    def type(self) -> str: ...
    @property
    def subject(self) -> str: ...
    @property
    def data(self) -> Mapping[str, Any]: ...
    @property
    def operator(self) -> str: ...


class PlaceHold(Struct, frozen=True, gc=False, tag_field="do", tag="hold"):
    """Lay a hold with the cause "automation:NAME"; one that is there already is renewed."""

    kind: Literal["restrict", "suspend"]
    until_s: int | None = None
    """It ends by itself so many seconds later; None: when it is lifted."""
    reason: str = ""


class Restore(Struct, frozen=True, gc=False, tag_field="do", tag="restore"):
    """Lift holds."""

    causes: tuple[str, ...] = ()
    """Whole causes ("automation:overdue-suspend", "admin"); empty: every hold."""


class AddTopUp(Struct, frozen=True, gc=False, tag_field="do", tag="top_up"):
    """Add octets to the balance that the service draws from."""

    octets: int
    valid_s: int | None = None
    """None: to the end of the cycle."""


class Notify(Struct, frozen=True, gc=False, tag_field="do", tag="notify"):
    """Emit the event `notification`; whoever sends mail and texts listens to it."""

    template: str
    data: dict[str, Scalar] = {}
    """Goes into the event's data as it is."""
    facts: tuple[tuple[str, Callable[[Any, Any], Any]], ...] = ()
    """Facts to add to the data, by their last name: (name, reader)."""

    def values(self, facts: Facts | None, event: Happening) -> dict[str, Any]:
        """The event's data: template, constants, and the facts that are known. JSON types only."""
        values: dict[str, Any] = {"template": self.template, **self.data}
        for name, read in self.facts:
            value = read(facts, event)
            if value is not None:
                values[name] = list(value) if isinstance(value, tuple) else value
        return values


class CallWebhook(Struct, frozen=True, gc=False, tag_field="do", tag="webhook"):
    """Deliver the event `webhook.call` to the [[webhook]] of this name."""

    name: str


class Disconnect(Struct, frozen=True, gc=False, tag_field="do", tag="disconnect"):
    """End the live sessions of the service; they may come back under what is decided then."""

    reason: str = ""


class SetTags(Struct, frozen=True, gc=False, tag_field="do", tag="tag"):
    """Change the service's tags, which rules read as service.tags."""

    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


Effect = PlaceHold | Restore | AddTopUp | Notify | CallWebhook | Disconnect | SetTags
Once = Literal["event", "day", "cycle", "ever"]
"""How often at most for one service: for each event, calendar day, billing cycle, or once and never again."""


class Automation(Struct, frozen=True, gc=False):
    """One [[automation]] of a policy file, checked and compiled."""

    name: str
    on: tuple[str, ...]
    """Types of events; "session.*" is all that begin with "session."."""
    effects: tuple[Effect, ...]
    """In order."""
    condition: Callable[[Any, Any], bool] | None = None
    """(facts, event) -> whether `when` holds; None: always. Never raises."""
    when: str = ""
    """The text of `when`, for explanations."""
    after_s: int = 0
    """Run so much later, if it matches then as well; 0: at once."""
    before_s: int = 0
    """Of a reminder: how long before the moment."""
    moment: str = ""
    """Of a reminder: which moment, as in Policy.reminders."""
    operators: tuple[str, ...] = ()
    """Only for subscribers of these; empty: all."""
    once: Once = "event"
    needs_service: bool = True
    """It reads or changes a service: it runs for no event that has none."""
    reads: tuple[str, ...] = ()
    """Facts that `when` reads, sorted."""
    place: str = ""
    """FILE:LINE of its beginning."""

    @property
    def cause(self) -> str:
        """Of its holds, and of what it does."""
        return CAUSE_PREFIX + self.name

    def listens_to(self, event_type: str) -> bool:
        """Whether `on` names this type."""
        return any(event_type == on or (on.endswith("*") and event_type.startswith(on[:-1])) for on in self.on)

    def matches(self, event: Happening, facts: Facts | None) -> bool:
        """Whether it is to run on the event, for the service that the facts are of. Total: never raises.

        facts: those of now; None where the event concerns no service.
        """
        if not self.listens_to(event.type):
            return False
        if self.moment and (event.data.get("lead_s"), event.data.get("moment")) != (self.before_s, self.moment):
            return False
        if facts is None:
            if self.needs_service or (self.operators and event.operator not in self.operators):
                return False
        elif self.operators and facts.subscriber.operator not in self.operators:
            return False
        return self.condition is None or self.condition(facts, event)

    def once_key(self, event: Happening, facts: Facts | None, zone: tzinfo) -> str:
        """Names the occasion: the automation runs once for each key and service."""
        if self.once == "event":
            return f"event:{event.seq}"
        if self.once == "day":
            return f"day:{datetime.fromtimestamp(event.at, zone).date()}"
        if self.once == "cycle" and facts is not None and facts.quota is not None:
            return f"cycle:{facts.quota.cycle_ends_at}"
        if self.once == "cycle":
            return f"month:{datetime.fromtimestamp(event.at, zone):%Y-%m}"
        return "ever"
