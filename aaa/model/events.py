"""What happened, in order, as the feed tells it; and on whose behalf. Knows no wire, storage or clock."""

from typing import Any

from msgspec import Struct


class Cause(Struct, frozen=True, gc=False):
    """Why something happens: who asked, and the chain that led to it."""

    actor: str = ""
    """Token and person ("crm/anna"), or "automation:NAME", "quota", "time", "policy", "accounting", "server"."""
    correlation_id: str = ""
    """As billing sent it; echoed in everything that the push causes."""
    audit: int = 0
    """Number of the audit entry of the change; 0: none."""
    depth: int = 0
    """How many automations led here; the loop guard counts it."""


SERVER = Cause("server")


class Event(Struct, frozen=True, gc=False):
    """One event. `seq` grows by one; the feed tells an event when it is durable, and not before an earlier one."""

    seq: int
    at: float
    """Epoch seconds."""
    type: str
    """`service.state_changed`, `quota.threshold`, `policy.enforced`, ...: see docs/events.md."""
    subject: str
    """Id of what it is about: a service, NAS, SIM, session."""
    data: dict[str, Any]
    operator: str = ""
    """Whose it is; "": the server's own."""
    subscriber_id: str = ""
    """Events of one subscriber reach a webhook in order."""
    service_id: str = ""
    cause: Cause = SERVER


class Timer(Struct, frozen=True, gc=False):
    """What an automation does later."""

    id: int
    due_at: float
    """Epoch seconds."""
    automation: str
    """Name of the automation."""
    service_no: int
    """Whom it is about; 0: no service."""
    event: Event
    """What it was started by."""
    key: str = ""
    """The same key is the same deed: the automation's, with its event or service."""
