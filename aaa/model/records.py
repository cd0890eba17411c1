"""What memory holds of each entity, session and NAS: the records that `apply` changes and requests read.

Compiled (records.pxd): numbers are stored as C numbers, which a million services need. Records form cycles and are not
tracked by the collector: whoever removes one from the indexes unlinks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aaa.model.enforcement import Enforcement
    from aaa.model.entities import Hold, Service, Subscriber
    from policy.model import Decision, Plan
    from policy.quota import Bucket

NEVER = float("inf")
DECISION_MARK = 0xFFFFFFFF
"""The part of a decision's id that Class has room for."""
NO_LIMIT = 2**62
"""An octet count that no usage reaches."""
BOTH, DOWN, UP = 0, 1, 2
DIRECTIONS = {"both": BOTH, "down": DOWN, "up": UP}


class SessionIds:
    """Session ids: microseconds since the epoch, or one more than the last, so that none returns after a restart."""

    last: int

    def __init__(self) -> None:
        self.last = 0

    def next(self, at: float) -> int:
        """A new id. at: epoch seconds."""
        candidate = int(at * 1e6)
        self.last = candidate if candidate > self.last else self.last + 1
        return self.last


class PolicyVersion:
    """How often what all decisions depend on has changed."""

    number: int

    def __init__(self) -> None:
        self.number = 0


class DecisionRecord:
    """A decision as requests read it: one object for all services that have an equal one."""

    id: int
    """63 bits of a hash of its JSON: the same in every run; two records with one id are equal."""
    body: Decision
    """Without trace and validity."""
    grant: bool
    simultaneous_use: int
    """0: no limit."""
    session_timeout_s: int
    """0: none; likewise the next."""
    interim_interval_s: int
    pool: str | None
    rendered: dict[str, object]
    """What mapping made of it, by [[nas]]; bounded by their number."""

    def __init__(self, body: Decision, id: int = 0) -> None:
        self.id = id
        self.body = body
        self.grant = body.grant
        self.simultaneous_use = body.simultaneous_use or 0
        self.session_timeout_s = body.session_timeout_s or 0
        self.interim_interval_s = body.interim_interval_s or 0
        self.pool = body.pool
        self.rendered = {}


class PlanRecord:
    """A plan and how often it changed."""

    no: int
    body: Plan
    version: int
    services: int
    """How many services have it."""
    add_on_uses: int
    """How many services have it as an add-on."""
    metered: bool
    """It has a quota or tiers: its services have a balance."""
    counts: int
    """What its quota counts: BOTH, DOWN or UP."""
    zero_rates: bool
    """Its schedule has windows in which traffic does not count."""
    plain: dict[tuple[str, int], DecisionRecord]
    """Decisions of services that differ in nothing but their state, by state and policy version; until it changes."""

    def __init__(self, no: int, body: Plan) -> None:
        self.no = no
        self.use(body)
        self.version = 0
        self.services = 0
        self.add_on_uses = 0
        self.plain = {}

    def use(self, body: Plan) -> None:
        """Take a new body."""
        self.body = body
        self.metered = body.quota is not None or bool(body.tiers)
        self.counts = BOTH if body.quota is None else DIRECTIONS[body.quota.direction]
        self.zero_rates = any(entry.zero_rated for entry in body.schedule)


class SubscriberRecord:
    """A subscriber and its services."""

    no: int
    body: Subscriber
    held_services: ServiceRecord | tuple[ServiceRecord, ...]
    """The only one, or a tuple: a million tuples of one are 64 MB."""

    def __init__(self, no: int, body: Subscriber) -> None:
        self.no = no
        self.body = body
        self.held_services = ()

    @property
    def services(self) -> tuple[ServiceRecord, ...]:
        """In the order of their creation."""
        held = self.held_services
        return held if isinstance(held, tuple) else (held,)

    @services.setter
    def services(self, services: tuple[ServiceRecord, ...]) -> None:
        self.held_services = services[0] if len(services) == 1 else services


class CredentialRecord:
    """A way to name a service on the network: user name and verifier, MAC, or circuit."""

    service: ServiceRecord
    kind: str
    """"password", "mac" or "circuit"."""
    key: bytes
    """What the network sends: user name, six octets, or circuit key."""
    verifier: object
    """aaa.credential.Verifier of a password; None otherwise."""

    def __init__(self, service: ServiceRecord, kind: str, key: bytes, verifier: object) -> None:
        self.service = service
        self.kind = kind
        self.key = key
        self.verifier = verifier


class Account:
    """A balance that one or several services draw from: what its running cycle offers, and what was charged.

    Only `charged_octets` moves with every report. Which bucket paid is settled later, in the order of their ends: it
    depends on the buckets that were there, not on the moment within their time; so it is settled before they change.
    """

    kind: str
    """"service", "subscriber" or "group"."""
    key: str
    """Names it in its table: number of the service or subscriber, or "operator/group"."""
    members: list[ServiceRecord]
    """Services that draw from it."""
    cycle_starts_at: float
    cycle_ends_at: float
    charged_octets: int
    """In the running cycle."""
    settled_octets: int
    """Of these, what the buckets know of."""
    buckets: tuple[Bucket, ...]
    """In the order in which they are used up."""
    offered_octets: int
    """Sum of the buckets."""
    left_octets: int
    """What the buckets had left when they were last settled."""
    offers: int
    """Up to which of the store's changes of quotas the cycle's buckets are what the plans say."""
    next_mark: int
    """`charged_octets` at which something is to be told; NO_LIMIT: nothing is."""
    alarm: int
    """`charged_octets` at which the decision of a member of a shared balance changes; 0: look at them."""
    told: tuple[int, ...]
    """Thresholds told in this cycle, percent."""
    reserved_octets: int
    """Granted by Gy and not reported yet: sum over the live sessions that draw from it. Not stored: theirs are."""
    exhausted: bool
    """That nothing is left has been told."""
    known: tuple[str, ...]
    """Ids of the last top-ups, so that a replay is harmless; bounded by TOP_UPS_KNOWN_MAX."""
    bought: int
    """Automatic top-ups of this cycle."""
    changes_at: float
    """When time alone changes what is left: the cycle's turn or a bucket's end."""
    dirty: bool

    def __init__(self, kind: str, key: str) -> None:
        self.kind = kind
        self.key = key
        self.members = []
        self.cycle_starts_at = 0.0
        self.cycle_ends_at = 0.0
        self.charged_octets = 0
        self.settled_octets = 0
        self.buckets = ()
        self.offered_octets = 0
        self.left_octets = 0
        self.offers = -1
        self.next_mark = NO_LIMIT
        self.alarm = 0
        self.told = ()
        self.reserved_octets = 0
        self.exhausted = False
        self.known = ()
        self.bought = 0
        self.changes_at = 0.0
        self.dirty = False


class Marks:
    """What others than billing put on a service: holds and tags. Few services have any."""

    holds: tuple[Hold, ...]
    """In the order of their causes; also those whose time is over, until they are swept."""
    tags: tuple[str, ...]
    """Sorted."""

    def __init__(self) -> None:
        self.holds = ()
        self.tags = ()


class ServiceRecord:
    """A service: billing's body, its balance, its cached decision, and what is live of it."""

    no: int
    body: Service
    subscriber: SubscriberRecord
    plan: PlanRecord
    held_credentials: CredentialRecord | tuple[CredentialRecord, ...]
    """The only one, or a tuple: a million tuples of one are 64 MB."""
    held_equipment: object
    """Its SIMs, devices, and numbers without a SIM: None, the only one, or a tuple."""
    live: Live | None
    account: Account | None
    """The balance it draws from; None: its plan has no quota and no tiers."""
    marks: Marks | None
    version: int
    """Raised whenever something of the service or its subscriber changed that a decision reads."""
    decision: DecisionRecord | None
    decided_version: int
    """Sum of the versions that the decision was made under; each only grows, so an equal sum is an equal state."""
    decided_until: float
    decided_below: int
    """`account.charged_octets` at which the decision changes."""
    cycle_starts_at: float
    cycle_ends_at: float
    input_octets: int
    """Of the running cycle."""
    output_octets: int
    dirty: bool
    """The balance has changed since the last journal group."""
    bare: bool
    """It has neither lock nor address of its own: a login need not look at the body."""

    def __init__(self, no: int, body: Service, subscriber: SubscriberRecord, plan: PlanRecord) -> None:
        self.no = no
        self.use(body)
        self.subscriber = subscriber
        self.plan = plan
        self.held_credentials = ()
        self.held_equipment = None
        self.live = None
        self.account = None
        self.marks = None
        self.version = 0
        self.decision = None
        self.decided_version = -1
        self.decided_until = 0.0
        self.decided_below = 0
        self.cycle_starts_at = 0.0
        self.cycle_ends_at = 0.0
        self.input_octets = 0
        self.output_octets = 0
        self.dirty = False

    def use(self, body: Service) -> None:
        """Take a new body."""
        self.body = body
        self.bare = body.lock is None and body.static_ip is None and body.static_prefix is None

    @property
    def credentials(self) -> tuple[CredentialRecord, ...]:
        """In the order in which they were pushed."""
        held = self.held_credentials
        return held if isinstance(held, tuple) else (held,)

    @credentials.setter
    def credentials(self, credentials: tuple[CredentialRecord, ...]) -> None:
        self.held_credentials = credentials[0] if len(credentials) == 1 else credentials

    @property
    def equipment(self) -> tuple[Any, ...]:
        """Records of shelves.py, in the order in which the service got them."""
        held = self.held_equipment
        if held is None:
            return ()
        return held if isinstance(held, tuple) else (held,)

    @equipment.setter
    def equipment(self, equipment: tuple[Any, ...]) -> None:
        self.held_equipment = None if not equipment else equipment[0] if len(equipment) == 1 else equipment


class Live:
    """What a service has only while it is used: sessions, reservations, failed logins, addresses."""

    sessions: list[SessionRecord]
    """Logins that have not ended, oldest first; service sessions are not among them."""
    failures: int
    failed_at: float
    locked_until: float
    variants: dict[tuple[str | bytes | None, ...], tuple[int, float, int, DecisionRecord]] | None
    """Decisions by the session facts that the policy reads: (version, until, below, decision); bounded."""

    def __init__(self) -> None:
        self.sessions = []
        self.failures = 0
        self.failed_at = 0.0
        self.locked_until = 0.0
        self.variants = None


class NasRecord:
    """One network access server, as configured and as learned."""

    no: int
    name: str
    """Of the [[nas]] entry, with "/address" behind it where the entry covers several."""
    client_name: str
    family: str
    operator: str
    address: str
    allow_mac: bool
    allow_circuit: bool
    enforce_adopted: bool
    swap_octets: bool
    trust_event_time: bool
    """Its Event-Timestamp counts."""
    interim_minimum_s: int
    garden_pool: bool
    """A restricted service gets its address from a pool of this NAS."""
    limit_action: str
    """At the simultaneous-use limit: "reject" or "disconnect_oldest"."""
    passwords: dict[bytes, CredentialRecord]
    """Its operator's index of user names."""
    sessions: dict[bytes, SessionRecord]
    """By Acct-Session-Id: the latest session of each, for a while also after its end."""
    live_count: int
    last_accounting_at: float
    restarted_at: float
    """Event time of its last Accounting-On or -Off: what began before has ended."""
    diameter: bool
    """A Diameter client, by its Origin-Host; its watchdog tells whether it is there."""
    realm: str
    """Its Origin-Realm."""
    down: bool
    down_at: float
    sends_gigawords: bool
    failures: int
    """Failed logins in the running window."""
    window_at: float

    def __init__(self, no: int, name: str, client_name: str) -> None:
        self.no = no
        self.name = name
        self.client_name = client_name
        self.family = "generic"
        self.operator = "default"
        self.address = ""
        self.allow_mac = False
        self.allow_circuit = False
        self.enforce_adopted = False
        self.swap_octets = False
        self.trust_event_time = True
        self.interim_minimum_s = 60
        self.garden_pool = False
        self.limit_action = "reject"
        self.passwords = {}
        self.sessions = {}
        self.live_count = 0
        self.last_accounting_at = 0.0
        self.restarted_at = 0.0
        self.diameter = False
        self.realm = ""
        self.down = False
        self.down_at = 0.0
        self.sends_gigawords = False
        self.failures = 0
        self.window_at = 0.0


PENDING, ACTIVE, ENDED = 0, 1, 2
"""Session states: authorised and not yet seen in accounting; in accounting; over."""


class SessionRecord:
    """One login (or one service inside a login), from its authorisation or its first accounting report to its end."""

    id: int
    service: ServiceRecord | None
    former: tuple[str, str, str] | None
    """Ids of service, subscriber and operator where its service was deleted: whose it was."""
    nas: NasRecord
    state: int
    protocol: int
    """RADIUS, GX, ... of aaa.model.mobile."""
    mobile: Any
    """Its facts (aaa.model.mobile); of a RADIUS one where accounting told the IMSI, else None."""
    shadowed: bool
    """Another session of the same bearer is charged: what this one reports is kept with it only."""
    meter: tuple[int, int, int] | None
    """Of a shadowed one: the id of the session that is charged, and by how much that one's input and output octets were
    ahead of its own at first. Of one that took over: 0, and its own octets from which on it is charged. See
    aaa/state/meters.py."""
    credit: tuple[int, int] | None
    """Input and output octets of its next reports that another session of the bearer was charged for already."""
    aside: tuple[int, int] | None
    """Input and output octets that it has reported and that were not charged to it: another session of the bearer was
    charged for them, or their rating group is free."""
    service_session: bool
    adopted: bool
    key: bytes
    """Acct-Session-Id as the NAS sent it; b"" while pending. Session-Id; of S6a the IMSI."""
    multi_key: bytes | None
    token: int
    """Of the Class that its reports bear: the authorisation it runs under; 0: none of ours."""
    earlier: SessionRecord | None
    """The one before it of the same NAS and Acct-Session-Id, as long as that is in memory."""
    user_name: bytes
    authorised_at: float
    started_at: float
    updated_at: float
    """Event time of the last report taken."""
    heard_at: float
    """When anything of it last arrived."""
    ended_at: float
    terminate_cause: int
    ended_by_nas: bool
    """False: closed here (silence, restart of the NAS, superseded); a later report opens it again."""
    interim_interval_s: int
    session_time_s: int
    input_octets: int
    """Total, wraps and resets accounted for."""
    output_octets: int
    raw_input: int
    """The NAS's own counter at the last report."""
    raw_output: int
    base_input: int
    """What `input_octets` was when the NAS's counter last began at zero."""
    base_output: int
    phases: tuple[tuple[float, int, int, int], ...]
    """Before each reset: when the counters had begun, the session's clock, and both counters at their last."""
    framed_ip: bytes | None
    framed_ipv6: bytes | None
    framed_prefix: bytes | None
    delegated_prefix: bytes | None
    calling_station: bytes | None
    called_station: bytes | None
    nas_port_id: bytes | None
    circuit_id: bytes | None
    remote_id: bytes | None
    held_since: dict[bytes, float] | None
    """From when each address was held that it did not have from its start."""
    decision: DecisionRecord | None
    """The last that the network confirmed; None: unknown."""
    desired: DecisionRecord | None
    """The one it should run under, as last compared; None: not looked at yet."""
    diverged_at: float
    """Since when the two differ; 0.0: they do not."""
    converged_at: float
    """When they last came together again; 0.0: they never differed."""
    ends_at: float
    """When its NAS was told to end it; NEVER: at no time; 0.0: not known, or of no interest."""
    enforcement: Enforcement | None
    """What is being done about it."""
    dirty: int
    """0 as stored, 1 counters changed, 2 the whole row is to be written."""

    def __init__(self, id: int, nas: NasRecord, service: ServiceRecord | None) -> None:
        self.id = id
        self.nas = nas
        self.service = service
        self.former = None
        self.state = PENDING
        self.protocol = 0
        self.mobile = None
        self.shadowed = False
        self.meter = None
        self.credit = None
        self.aside = None
        self.service_session = False
        self.adopted = False
        self.key = b""
        self.multi_key = None
        self.token = 0
        self.earlier = None
        self.user_name = b""
        self.authorised_at = 0.0
        self.started_at = 0.0
        self.updated_at = 0.0
        self.heard_at = 0.0
        self.ended_at = 0.0
        self.terminate_cause = 0
        self.ended_by_nas = False
        self.interim_interval_s = 0
        self.session_time_s = 0
        self.input_octets = 0
        self.output_octets = 0
        self.raw_input = 0
        self.raw_output = 0
        self.base_input = 0
        self.base_output = 0
        self.phases = ()
        self.framed_ip = None
        self.framed_ipv6 = None
        self.framed_prefix = None
        self.delegated_prefix = None
        self.calling_station = None
        self.called_station = None
        self.nas_port_id = None
        self.circuit_id = None
        self.remote_id = None
        self.held_since = None
        self.decision = None
        self.desired = None
        self.diverged_at = 0.0
        self.converged_at = 0.0
        self.ends_at = 0.0
        self.enforcement = None
        self.dirty = 0
