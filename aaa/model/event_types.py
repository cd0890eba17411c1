"""Every type of event: when it is told, what it is about, and the fields of its data. The one source.

docs/events.md is made from this table (`python -m aaa.model.event_types`), policy files are checked against it, and a
test holds every emit() to it. Field names are Python names, because policy expressions read them as event.data.NAME.
"""

import difflib
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

FieldType = type[str] | type[int] | type[float] | type[bool] | type[list[str]]


class Field(Struct, frozen=True):
    """One field of an event's data."""

    name: str
    type: FieldType
    """float: also moments, in epoch seconds, and spans, in seconds."""
    meaning: str
    optional: bool = False
    """It may be absent; policy expressions then read "", 0, 0.0, False or an empty list."""


class EventType(Struct, frozen=True):
    """One type of event."""

    name: str
    subject: str
    """What its subject names."""
    when: str
    fields: tuple[Field, ...] = ()
    open: bool = False
    """Its data may have further fields, which whoever caused it chose."""


def _field(name: str, type: FieldType, meaning: str) -> Field:
    return Field(name, type, meaning)


def _maybe(name: str, type: FieldType, meaning: str) -> Field:
    return Field(name, type, meaning, True)


SERVICE: Final = "service"
_STATES: Final = "pending, active, restricted, suspended or terminated"
_ACCOUNT: Final = (
    _field("account", str, "whose balance: service, subscriber or group"),
    _field("used_octets", int, "charged in the running cycle"),
    _field("octets", int, "all that the cycle offers: included, rolled over, topped up"),
    _field("left_octets", int, "what may still be charged"),
    _field("cycle_ends_at", float, "when the cycle turns"),
)
_ENFORCED: Final = (
    _field("enforcement_id", int, "number of the receipt: GET /v1/enforcements/{id}"),
    _field("session_id", str, "the live session"),
    _field("nas", str, "name of the NAS"),
    _field("action", str, "coa or disconnect"),
    _field("reason", str, "what differed"),
    _field("result", str, "ack, session_gone, refused, unreachable, ..."),
    _field("attempts", int, "exchanges with the NAS"),
)
_SESSION: Final = (
    _field("session_id", str, "number of the session"),
    _field("nas", str, "name of the NAS, or Origin-Host of the Diameter client"),
    _field("protocol", str, "radius, gx, gy, s6a or sy"),
    _maybe("user_name", str, "as the NAS reported it; of a Diameter session the IMSI"),
    _maybe("acct_session_id", str, "of RADIUS: the NAS's own name of the session"),
    _maybe("diameter_session_id", str, "of Gx, Gy and Sy: Session-Id"),
    _maybe("imsi", str, "of a session on a mobile network"),
    _maybe("apn", str, "of a session on a mobile network"),
    _maybe("shadowed", bool, "another session of the same bearer is the one that is charged"),
    _maybe("framed_ip", str, "IPv4 address"),
    _maybe("calling_station_id", str, "as the NAS reported it"),
)
_SIM: Final = (
    _field("state", str, "stock, assigned, activated, suspended or retired"),
    _field("previous_state", str, "the state before"),
    _field("imsi", str, "of the SIM"),
    _maybe("msisdn", str, "of the SIM"),
    _maybe("replaces", str, "ICCID of the SIM that it takes over from"),
    _maybe("reason", str, "as it was given"),
)
_NUMBER: Final = (
    _field("state", str, "available, reserved, assigned, active or quarantined"),
    _field("previous_state", str, "the state before"),
    _maybe("range", str, "id of the number range"),
    _maybe("until", float, "when a reservation or quarantine ends"),
    _maybe("reason", str, "as it was given"),
)
_PAYMENT: Final = (
    _field("payment", str, "name of the [[payment]] entry"),
    _field("provider", str, "stripe"),
    _field("event_id", str, "the provider's id of its event: a repetition changes nothing"),
    _field("event_type", str, "the provider's type of its event"),
    _maybe("object_id", str, "id of the invoice, checkout or payment"),
    _maybe("amount", int, "in the smallest unit of the currency"),
    _maybe("currency", str, "ISO 4217, lower case"),
)

_TYPES: Final = (
    EventType("service.created", SERVICE, "Billing has pushed a new service.", (
        _field("state", str, _STATES),
        _field("plan_id", str, "its plan"),
        _field("revision", int, "billing's revision"),
    )),
    EventType("service.state_changed", SERVICE, "The effective state of a service has changed: billing's state, or a"
        " hold on it.", (
        _field("state", str, f"the effective state now: {_STATES}"),
        _field("previous_state", str, "the effective state before"),
        _field("pushed_state", str, "billing's own state"),
        _maybe("reason", str, "as billing or the hold gave it"),
    )),
    EventType("service.plan_changed", SERVICE, "Billing has moved a service to another plan.", (
        _field("plan_id", str, "the plan now"),
        _field("previous_plan_id", str, "the plan before"),
    )),
    EventType("service.terminated", SERVICE, "A service has ended for good: terminated, deleted, or absent from a"
        " snapshot.", (
        _field("previous_state", str, "the effective state before"),
        _maybe("reason", str, "as billing gave it"),
    )),
    EventType("service.expiring", SERVICE, "A service will expire soon; told once for each lead time that an automation"
        " names.", (
        _field("expires_at", float, "when it expires, or the other moment that the automation names"),
        _field("lead_s", float, "how long before that this is told"),
        _field("moment", str, "which moment: service.expires_at, or as the automation names it"),
    )),
    EventType("service.expired", SERVICE, "The time of a service is over.", (
        _field("expires_at", float, "when it expired"),
        _maybe("grace_until", float, "until when it goes on nevertheless"),
    )),
    EventType("subscriber.changed", "subscriber", "Billing has changed a subscriber.", (
        _field("fields", list[str], "names of the fields that differ"),
        _field("revision", int, "billing's revision"),
    )),
    EventType("subscriber.billing_changed", "subscriber", "Billing's facts of a subscriber have changed.", (
        _field("overdue_days", int, "now"),
        _field("previous_overdue_days", int, "before"),
        _field("balance", float, "now"),
        _field("previous_balance", float, "before"),
        _field("credit_limit", float, "now"),
    )),
    EventType("plan.changed", "plan", "A plan has changed, by billing or in the policy files.", (
        _field("revision", int, "its revision"),
        _field("services", int, "how many services have it"),
    )),
    EventType("hold.added", SERVICE, "A hold was laid on a service, or an existing one was changed.", (
        _field("kind", str, "restrict or suspend"),
        _field("cause", str, "names the hold within its service"),
        _maybe("reason", str, "why"),
        _maybe("until", float, "when it ends by itself"),
    )),
    EventType("hold.lifted", SERVICE, "A hold has ended.", (
        _field("kind", str, "restrict or suspend"),
        _field("cause", str, "names the hold within its service"),
        _field("why", str, "restore, or expired where its time was over"),
    )),
    EventType("quota.threshold", SERVICE, "The use of a balance has passed a share of what its cycle offers; once for"
        " each share and cycle.", (_field("percent", int, "the share"), *_ACCOUNT)),
    EventType("quota.exhausted", SERVICE, "A balance is used up.", _ACCOUNT),
    EventType("quota.topped_up", SERVICE, "Octets were added to a balance.", (
        _field("id", str, "the buyer's own id of the top-up"),
        _field("added_octets", int, "what was added"),
        _maybe("expires_at", float, "when they expire, where not with the cycle"),
        _maybe("automatic", bool, "bought by the plan itself: billing is to charge for it"),
        *_ACCOUNT,
    )),
    EventType("quota.top_up_requested", SERVICE, "A balance is used up and its plan asks billing to sell more.",
        _ACCOUNT),
    EventType("notification", SERVICE, "An automation or a plan wants somebody told; a webhook brings it to who sends"
        " it.", (
        _field("automation", str, "name of the automation, or plan:ID"),
        _maybe("template", str, "name of the text to send"),
        _maybe("key", str, "the same where the same is told again: send it once"),
        _maybe("text", str, "the text itself"),
    ), open=True),
    EventType("session.started", "session", "The first report of a session has come.", (
        *_SESSION, _maybe("adopted", bool, "it was never authorised here"),
    )),
    EventType("session.stopped", "session", "A session has ended: reported, superseded, or silent for too long.", (
        *_SESSION,
        _field("started_at", float, "when it began"),
        _field("ended_at", float, "when it ended"),
        _field("terminate_cause", int, "Acct-Terminate-Cause"),
        _field("session_time_s", int, "how long it was"),
        _field("input_octets", int, "from the subscriber"),
        _field("output_octets", int, "to the subscriber"),
        _maybe("charged_input_octets", int, "of them what was charged: bill by this, for several sessions may report"
               " one bearer; absent of S6a and Sy, which carry no traffic"),
        _maybe("charged_output_octets", int, "likewise"),
    )),
    EventType("policy.enforced", SERVICE, "The network has taken a change of a live session, or the session is over:"
        " the receipt is complete.", (*_ENFORCED, _field("took_s", float, "from the change to the answer"))),
    EventType("enforcement.failed", SERVICE, "A change of a live session could not be brought to the network.", (
        *_ENFORCED,
        _maybe("error_cause", int, "Error-Cause of the last NAK (RFC 5176 §3.5)"),
        _maybe("detail", str, "what went wrong"),
    )),
    EventType("policy.reloaded", "policy", "Another policy is in force.", (
        _field("revision", str, "hash of the files now"),
        _field("previous_revision", str, "hash of the files before"),
    )),
    EventType("nas.down", "NAS", (
        "A NAS has said that it goes down, or says nothing while sessions are open; or a Diameter peer is connected no"
        " more."
    ), (
        _field("sessions", int, "live sessions that it has"),
        _maybe("kind", str, "diameter for a Diameter peer, whose Origin-Host is the subject"),
        _maybe("cause", str, "accounting-off where it said so; why a Diameter connection ended, such as watchdog"),
        _maybe("silent_s", int, "for how long nothing came"),
    )),
    EventType("nas.up", "NAS", (
        "A NAS speaks again after silence, or has said that it starts; or a Diameter peer is connected again."
    ), (
        _maybe("sessions", int, "live sessions that it had"),
        _maybe("kind", str, "diameter for a Diameter peer"),
        _maybe("cause", str, "accounting-on where it said so"),
    )),
    EventType("sim.created", "SIM", "A SIM has come into the inventory.", _SIM),
    EventType("sim.assigned", "SIM", "A SIM was tied to a service.", _SIM),
    EventType("sim.activated", "SIM", "A SIM may be used.", _SIM),
    EventType("sim.suspended", "SIM", "A SIM may not be used for the time being.", _SIM),
    EventType("sim.stocked", "SIM", "A SIM is back in stock.", _SIM),
    EventType("sim.retired", "SIM", "A SIM will never be used again.", _SIM),
    EventType("sim.replaced", "SIM", "A service goes on with another SIM.", (
        *_SIM,
        _field("replaced_by", str, "ICCID of the new SIM"),
        _field("new_imsi", str, "of the new SIM"),
    )),
    EventType("number.reserved", "number", "A number is kept for somebody.", _NUMBER),
    EventType("number.assigned", "number", "A number was given to a service.", _NUMBER),
    EventType("number.activated", "number", "A number is in use.", _NUMBER),
    EventType("number.quarantined", "number", "A number was given up and rests.", _NUMBER),
    EventType("number.available", "number", "A number may be given out again.", _NUMBER),
    EventType("automation.loop", SERVICE, "Automations led to one another too often; the last was not run.", (
        _field("automation", str, "name of the one not run"),
        _field("depth", int, "how many led to it"),
        _field("event_type", str, "what it would have run on"),
    )),
    EventType("webhook.call", SERVICE, "An automation calls a webhook; delivered to that webhook only. `event_data` is"
        " the data of the event that it ran on.", (
        _field("webhook", str, "name of the [[webhook]] entry"),
        _field("automation", str, "name of the automation"),
        _field("key", str, "the same where the same is told again"),
        _field("event_seq", int, "number of the event that it ran on"),
        _field("event_type", str, "its type"),
        _field("event_subject", str, "its subject"),
    ), open=True),
    EventType("webhook.test", "webhook", "Somebody asked for a delivery to see that it works; to that webhook only.", (
        _field("webhook", str, "name of the [[webhook]] entry"),
    )),
    EventType("webhook.dead_letter", "webhook", "A webhook has refused an event for good; it can be replayed.", (
        _field("webhook", str, "name of the [[webhook]] entry"),
        _field("seq", int, "sequence number of the event"),
        _field("event_type", str, "its type"),
        _field("attempts", int, "deliveries tried"),
        _field("error", str, "how the last one ended"),
    )),
    EventType("webhook.gap", "webhook", "A webhook was behind for longer than events are kept; it goes on with the"
        " oldest.", (
        _field("webhook", str, "name of the [[webhook]] entry"),
        _field("after", int, "the last event that it had looked at"),
        _field("oldest", int, "the event that it goes on with"),
    )),
    EventType("payment.received", SERVICE, "A payment provider has reported a payment: holds are lifted.", (
        *_PAYMENT,
        _maybe("top_up_octets", int, "octets bought with it"),
    )),
    EventType("payment.failed", SERVICE, "A payment provider has reported a payment that failed.", _PAYMENT),
    EventType("store.restored", "store", "`aaa restore` has put a backup in the store's place; numbers of events skip"
              " ahead, and what was told after the backup may be told again.", (
        _field("backup_at", float, "when the backup was made"),
    )),
)  # fmt: skip

EVENT_TYPES: Final[dict[str, EventType]] = {event_type.name: event_type for event_type in _TYPES}
"""By name, in the order of the documentation."""
KINDS: Final = tuple(dict.fromkeys(name.partition(".")[0] for name in EVENT_TYPES))
"""What stands before the dot."""

TYPE_WORDS: Final[dict[FieldType, str]] = {
    str: "text", int: "whole number", float: "number", bool: "true or false", list[str]: "list of text",
}  # fmt: skip


def matches(patterns: Iterable[str], name: str) -> bool:
    """Whether a type is among those meant by patterns: a name, "quota.*", or "*" for all."""
    return any(
        pattern == name or pattern == "*" or (pattern.endswith(".*") and name.startswith(pattern[:-1]))
        for pattern in patterns
    )


def check_pattern(pattern: str) -> None:
    """Raises ValueError, with what may have been meant, for a pattern that no type matches."""
    if any(matches((pattern,), name) for name in EVENT_TYPES):
        return
    near = difflib.get_close_matches(pattern, (*EVENT_TYPES, *(f"{kind}.*" for kind in KINDS)), n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(EVENT_TYPES)}"
    raise ValueError(f'no event has the type "{pattern}"; {hint}')


def markdown() -> str:
    """A section for every type of event: when, subject and data."""
    parts = []
    for event_type in EVENT_TYPES.values():
        parts.append(f"### `{event_type.name}`\n\n{event_type.when} Subject: {event_type.subject}.\n")
        rows = ["| data | type | meaning |", "|---|---|---|"]
        for field in event_type.fields:
            meaning = f"{field.meaning} (may be absent)" if field.optional else field.meaning
            rows.append(f"| `{field.name}` | {TYPE_WORDS[field.type]} | {meaning} |")
        if event_type.open:
            rows.append("| … | any | further fields as the automation names them |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(markdown(), end="")
