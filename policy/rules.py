"""A compiled policy: what `decide` and the automations run. Immutable; made from checked policy files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, tzinfo
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from policy.automation import Automation
from policy.model import Attribute, Facts, Plan, Qos, Rate, Window

if TYPE_CHECKING:
    from policy.expression import Expression

RESTRICTED_RATE = Rate(down_bps=1_000_000, up_bps=1_000_000)
"""Speed of a restricted service where the policy files name none: enough for a portal and a payment page."""


class Effects(Struct, frozen=True, gc=False):
    """What a rule does to the decision; None leaves it."""

    deny: str | None = None
    """Reason, for the subscriber and the support desk. Final."""
    rate: Rate | None = None
    """What is sold, instead of plan, add-ons, overrides and schedule."""
    rate_factor: float | None = None
    """Multiplies what is sold."""
    rate_max: Rate | None = None
    """A limit, as tiers and throttling are: the lowest of all holds."""
    filter: str | None = None
    pool: str | None = None
    walled_garden: bool | None = None
    qos: Qos | None = None
    attributes: tuple[Attribute, ...] = ()
    """Appended."""
    session_timeout: int | None = None
    idle_timeout: int | None = None
    interim_interval: int | None = None
    simultaneous_use: int | None = None
    message: str | None = None
    stop: bool = False
    """No later rule is looked at."""


class Rule(Struct, frozen=True, gc=False):
    """One [[rule]] of a policy file, checked and compiled."""

    name: str
    when: Expression
    then: Effects
    test: Callable[[Facts, Any], bool]
    """The condition itself, at its fastest."""
    operators: tuple[str, ...] = ()
    """Only for subscribers of these; empty: all."""
    summary: str = ""
    """Its effects in words, for the trace."""
    place: str = ""
    """FILE:LINE of its beginning."""


class Policy:
    """Windows, rules and automations of all policy files, in order."""

    revision: str = ""
    """Hash of the files' content: names the policy in decisions' audit and previews."""
    zone: tzinfo = UTC
    windows: Mapping[str, Window] = {}
    plans: tuple[Plan, ...] = ()
    """Plans that the files define; ids are theirs alone."""
    session_reads: tuple[str, ...] = ()
    """Fields of SessionFacts that any rule reads, sorted: a decision is cached under their values."""
    reads_online_kinds: bool = False
    """A rule or automation reads subscriber.online_kinds: a session's start or end changes what siblings may do."""
    restricted_rate: Rate = RESTRICTED_RATE
    rules: tuple[Rule, ...] = ()
    timed_rules: tuple[Rule, ...] = ()
    """Those whose condition time alone can change."""
    metered_rules: tuple[Rule, ...] = ()
    """Those whose condition usage can change."""
    reads_quota: bool = False
    """A rule reads quota.*."""
    reads_holds: bool = False
    """A rule reads service.holds."""
    automations: tuple[Automation, ...] = ()
    reminders: tuple[tuple[str, int, str], ...] = ()
    """(moment, seconds before it, automation): then the engine emits `service.expiring` with `lead_s` and `moment`.
    Moments: "service.expires_at", "service.grace_until", "service.activated_at", "quota.cycle_ends_at", or
    "subscriber.billing.NAME" of a fact declared with type "moment"."""
    warnings: tuple[Any, ...] = ()
    """What works but should be looked at: problems as of aaa.errors.Problem, with file, line and message."""

    def __init__(self) -> None:
        self._by_event: dict[str, tuple[Automation, ...]] = {}

    def automations_on(self, event_type: str) -> tuple[Automation, ...]:
        """Automations that listen to this type of event, in order."""
        found = self._by_event.get(event_type)
        if found is None:
            found = tuple(automation for automation in self.automations if automation.listens_to(event_type))
            # Bound: types of events are those of a fixed table.
            self._by_event[event_type] = found
        return found


EMPTY = Policy()
"""No rules, no automations, UTC."""
