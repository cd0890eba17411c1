"""The configuration file as structs: one per section, one line of meaning under every key.

docs/configuration.md is made from this module (aaa.config.reference). Durations are seconds here; in the file they are
also text such as "5m". A list may be given as its only entry. What can be wrong between keys is in aaa.config.check.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from aaa.config.report import Report
from aaa.config.secrets import Redacted
from aaa.errors import Problem

DURATION = {"unit": "duration"}
Port = Annotated[int, Meta(ge=0, le=65_535)]
Share = Annotated[float, Meta(ge=0, le=0.5)]
Name = Annotated[str, Meta(min_length=1, max_length=253)]
ApplicationName = Literal["gx", "gy", "s6a", "sy"]

_DAY = 86_400.0


def duration(least: float, most: float) -> Meta:
    """A span of time, in seconds, with bounds that are included."""
    return Meta(ge=least, le=most, extra=DURATION)


Retention = Annotated[float, duration(3600, 3650 * _DAY)]


class Server(Struct, frozen=True, forbid_unknown_fields=True):
    """The process and its bounds."""

    data_dir: str = "/var/lib/aaa"
    """Directory of everything that the server writes; made when absent."""
    services_max: Annotated[int, Meta(ge=1, le=100_000_000)] = 2_000_000
    """Services that the store accepts, against a runaway import; about 1 KiB of memory each."""
    sessions_max: Annotated[int, Meta(ge=1, le=100_000_000)] = 2_000_000
    """Live sessions; above it new ones are rejected."""
    hash_workers: Annotated[int, Meta(ge=1, le=256)] = 2
    """Threads for slow password hashes (bcrypt, argon2, PBKDF2, crypt), away from the packet loop."""
    hash_queue: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_024
    """Logins that may wait for a hash worker; above it they are dropped, counted as overload."""
    stop_timeout: Annotated[float, duration(0, 600)] = 10.0
    """Longest graceful stop: what is in work is answered and committed within it."""


class Store(Struct, frozen=True, forbid_unknown_fields=True):
    """The durable state, and how long history is kept."""

    path: str = "aaa.db"
    """SQLite file, relative to `server.data_dir`."""
    key: Redacted | None = None
    """Key that seals secrets at rest: 32 octets as hex or base64. Exactly one of the three forms is needed."""
    key_file: str | None = None
    """File that holds the key."""
    key_env: str | None = None
    """Environment variable that holds the key."""
    retention_events: Retention = 30 * _DAY
    """How long events and the receipts of enforcement stay readable."""
    retention_leases: Retention = 400 * _DAY
    """How long the history of who had which address is kept; the law may set it."""
    retention_cdrs: Retention = 400 * _DAY
    """How long ended sessions with their usage are kept; not less than `retention_leases`, which is told with them."""
    retention_audit: Retention = 400 * _DAY
    """How long the audit log is kept; its chain of hashes is whole from the oldest entry that is."""


class Radius(Struct, frozen=True, forbid_unknown_fields=True):
    """RADIUS authentication and accounting for every NAS."""

    listen: tuple[str, ...] = ("0.0.0.0", "::")
    """Addresses to bind; every one gets both ports."""
    auth_port: Port = 1812
    """UDP port of authentication; 0 lets the kernel choose."""
    acct_port: Port = 1813
    """UDP port of accounting; 0 lets the kernel choose."""
    receive_buffer: Annotated[int, Meta(ge=65_536, le=1 << 30)] = 4 << 20
    """Kernel receive buffer of each socket in bytes; above net.core.rmem_max the kernel grants less."""
    send_buffer: Annotated[int, Meta(ge=65_536, le=1 << 30)] = 4 << 20
    """Kernel send buffer of each socket in bytes."""
    response_budget: Annotated[float, duration(0.05, 60)] = 2.0
    """A request that waited longer is dropped, counted: the NAS has given it up or sent it again."""
    reject_delay: Annotated[float, duration(0, 10)] = 1.0
    """Time before an Access-Reject leaves, against password guessing; 0 sends it at once."""
    duplicate_lifetime: Annotated[float, duration(1, 60)] = 5.0
    """How long a retransmission gets the same answer (RFC 5080 §2.2.2)."""
    duplicate_entries: Annotated[int, Meta(ge=1024, le=1 << 24)] = 65_536
    """Size of the duplicate cache, rounded up to a power of two; requests a second times lifetime fit in it."""
    username_case: Literal["keep", "lower"] = "keep"
    """`lower` makes user names case-insensitive."""
    username_trim: bool = True
    """Remove blanks and NULs around a user name."""
    username_strip_realms: tuple[str, ...] = ()
    """Realms to remove from user names: "isp.example" takes "@isp.example" off; others stay part of the name."""
    password_failures: Annotated[int, Meta(ge=0, le=1_000_000)] = 10
    """Wrong passwords of one user name within `password_window` that start a lockout; 0: no limit."""
    nas_password_failures: Annotated[int, Meta(ge=0, le=100_000_000)] = 0
    """The same for all user names of one NAS together, which then rejects every password login; 0: no limit."""
    password_window: Annotated[float, duration(1, 86_400)] = 300.0
    """Span over which wrong passwords count."""
    lockout: Annotated[float, duration(1, 86_400)] = 60.0
    """How long a locked user name is rejected without looking at the password."""
    simultaneous_use: Literal["reject", "disconnect_oldest"] = "reject"
    """What happens to a login above the plan's `simultaneous_use`."""
    interim_interval: Annotated[float, duration(60, 86_400)] = 300.0
    """Acct-Interim-Interval where the plan names none."""
    interim_jitter: Share = 0.1
    """Random share of the interim interval, added or taken, so that sessions do not report together."""
    missed_interims: Annotated[int, Meta(ge=2, le=100)] = 3
    """Interim intervals without a report after which a session is stale: it blocks nobody and is closed."""
    session_silence: Annotated[float, duration(300, 31 * _DAY)] = 2 * _DAY
    """A session that never sent an interim is stale after so long without a packet; the client of a Diameter session
    that is silent for so long is asked whether it has it (RAR, SNR). Time before a start does not count."""
    nas_silence: Annotated[float, duration(0, _DAY)] = 900.0
    """A NAS with sessions that sends nothing for so long is reported down; 0: never."""
    dictionaries: tuple[str, ...] = ()
    """Own dictionary files, or directories of them, in the FreeRADIUS format; read after the shipped ones."""
    unknown_sources: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_024
    """Unknown addresses kept for `aaa nas unknown`; the one not seen for longest makes room."""


class Nas(Struct, frozen=True, forbid_unknown_fields=True):
    """A network access server: who it is, what it may send, how it is spoken to."""

    name: Name
    """Unique name, used in logs, locks and the CLI."""
    address: tuple[str, ...]
    """Source addresses or prefixes; the longest match wins."""
    identifier: str | None = None
    """NAS-Identifier that tells this NAS from others behind the same prefix."""
    secret: Redacted | None = None
    """Shared secret. Exactly one of `secret`, `secret_file`, `secret_env` is needed; 16 octets or more are advised."""
    secret_file: str | None = None
    """File that holds the shared secret."""
    secret_env: str | None = None
    """Environment variable that holds the shared secret."""
    second_secret: Redacted | None = None
    """A second secret that is valid as well, while secrets change."""
    second_secret_file: str | None = None
    """File that holds the second secret."""
    second_secret_env: str | None = None
    """Environment variable that holds the second secret."""
    family: str = "generic"
    """Whose attributes it speaks."""
    operator: Name = "default"
    """MVNO or brand whose subscribers log in here."""
    coa_port: Annotated[int, Meta(ge=1, le=65_535)] = 3799
    """UDP port for CoA and Disconnect; 1700 on old Cisco."""
    coa_address: str | None = None
    """Where CoA and Disconnect go, when not to the address that requests come from; answers count from there only."""
    coa_rate: Annotated[float, Meta(gt=0, le=100_000)] = 100.0
    """CoA and Disconnect exchanges per second that each box of this entry is asked for at most."""
    coa_concurrency: Annotated[int, Meta(ge=1, le=200)] = 32
    """Of these, how many may wait for an answer at the same time."""
    message_authenticator: Literal["auto", "require", "off"] = "auto"
    """`require` drops Access-Requests without it (CVE-2024-3596); `auto` learns who would break; `off` does not."""
    allow_proxy_state: bool = False
    """Accept Access-Requests that carry Proxy-State but no Message-Authenticator: open to CVE-2024-3596."""
    identity: tuple[Literal["password", "mac", "circuit"], ...] = ("password",)
    """What may name a service here; MAC and circuit alone need no password."""
    rate_limit: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    """Requests per second; more is dropped, counted. 0: no limit."""
    rate_burst: Annotated[int, Meta(ge=0, le=1_000_000_000)] = 0
    """Requests above the rate that may come at once; 0: one second's worth."""
    adopt: Literal["observe", "enforce"] = "observe"
    """Sessions first seen in accounting: leave them until their decision changes, or enforce it at a limited pace."""
    swap_octets: bool = False
    """It reports input and output the wrong way round."""
    simultaneous_use: Literal["reject", "disconnect_oldest"] | None = None
    """Overrides `radius.simultaneous_use` for logins through this NAS."""
    interim_minimum: Annotated[float, duration(60, 86_400)] = 60.0
    """The shortest interim interval that it is asked for."""
    event_timestamp: Literal["trust", "ignore"] = "trust"
    """`ignore` where its clock is wrong: the moment of arrival counts, and CoA carries no Event-Timestamp."""
    options: dict[str, str | int | float | bool] = {}
    """Settings of its family, such as the names of its pools, lists and profiles; see docs/nas-families.md."""


class Identity(Struct, frozen=True, forbid_unknown_fields=True):
    """A further Diameter identity of this server, with listeners and applications of its own."""

    origin_host: Name
    """Origin-Host: a full domain name that peers have configured."""
    origin_realm: Name | None = None
    """Origin-Realm; absent: that of `[diameter]`."""
    listen: tuple[str, ...] = ()
    """Addresses to bind; empty: those of `[diameter]`, on this identity's ports."""
    port: Port = 0
    """TCP (and SCTP) port; 0: none."""
    tls_port: Port = 0
    """TLS port; 0: none."""
    applications: tuple[ApplicationName, ...] = ("gx", "gy", "s6a", "sy")
    """What it serves, and advertises."""


class Diameter(Struct, frozen=True, forbid_unknown_fields=True):
    """The Diameter node: identity, listeners, and what is granted to PCEFs, MMEs and PCRFs."""

    listen: tuple[str, ...] = ()
    """Addresses to bind; empty: no Diameter listener. Peers with `connect` are dialled all the same."""
    port: Port = 3868
    """TCP port, and SCTP's where the kernel has it; 0 lets the kernel choose."""
    tls_port: Port = 0
    """Port on which TLS begins at once, with the certificate of `[tls]`: 5868 by registration; 0: none."""
    sctp: Literal["auto", "on", "off"] = "auto"
    """Listen on SCTP too: `auto` where the kernel has it, `on` refuses to start without."""
    origin_host: str = ""
    """Origin-Host of this server; needed with `listen` and `[[peer]]`."""
    origin_realm: str = ""
    """Origin-Realm of this server; absent: `origin_host` behind its first dot."""
    applications: tuple[ApplicationName, ...] = ("gx", "gy", "s6a", "sy")
    """What is served, and advertised."""
    relay: bool = False
    """Relay requests of other realms, IMSI ranges and applications by `[[route]]`; advertised as such."""
    inband_tls: bool = False
    """Offer TLS after the capabilities exchange to peers that ask for it (RFC 3588's way)."""
    identity: tuple[Identity, ...] = ()
    """Further identities, as `[[diameter.identity]]`."""
    adopt: bool = True
    """Take over a Gx or Gy session that is not known here and names its IMSI; else it is answered 5002."""
    roaming_plmns: tuple[str, ...] = ()
    """PLMNs (MCC and MNC) from which subscribers may attach; empty: any. A policy rule on `session.plmn` is finer."""
    quota_slice: Annotated[int, Meta(ge=10_000, le=1 << 50)] = 100_000_000
    """Octets that Gy and usage monitoring grant at a time, at most."""
    quota_slice_min: Annotated[int, Meta(ge=1_000, le=1 << 50)] = 1_000_000
    """Where less than two slices are left, parallel sessions share it in portions not below this."""
    validity: Annotated[float, duration(10, 7 * _DAY)] = 3600.0
    """Validity-Time of a Gy grant: unused quota is asked for again after it."""
    quota_holding: Annotated[float, duration(0, 7 * _DAY)] = 600.0
    """Quota-Holding-Time: an idle service gives its grant back after it; 0: never."""
    quota_threshold: Share = 0.2
    """Share of a grant at which the next one is asked for (Volume-Quota-Threshold)."""
    final_unit_action: Literal["terminate", "redirect", "restrict"] = "terminate"
    """What the gateway does when the last grant is used up."""
    redirect_url: str = ""
    """Where `redirect` leads: the portal's top-up page."""
    restrict_filter: str = ""
    """Filter-Id of `restrict`: a filter that the gateway has."""
    periodic_tau: Annotated[float, duration(0, 31 * _DAY)] = 720.0
    """Subscribed-Periodic-RAU-TAU-Timer, whole seconds."""


class Peer(Struct, frozen=True, forbid_unknown_fields=True):
    """A Diameter peer; nobody else is talked to."""

    origin_host: Name
    """Its Origin-Host; "*" stands for any host of `origin_realm`, each learned when it connects."""
    origin_realm: str = ""
    """Its realm; absent: `origin_host` behind its first dot."""
    address: tuple[str, ...] = ()
    """Addresses or prefixes that it may connect from; empty: any that it may."""
    identity: str = ""
    """Origin-Host of ours that it talks to; absent: that of `[diameter]`."""
    connect: str = ""
    """Dial it at "host:port"; absent: it dials us."""
    transport: Literal["tcp", "sctp"] = "tcp"
    """How it is dialled."""
    security: Literal["none", "tls", "inband"] = "none"
    """What its connection must have: nothing, TLS from the first octet, or TLS after the capabilities exchange."""
    ca: str | None = None
    """PEM file of authorities that its certificate must come from; absent: `tls.client_ca`."""
    family: Literal["generic", "open5gs"] = "generic"
    """What it understands beyond, or short of, the standard: docs/diameter.md."""
    operator: Name | None = None
    """MVNO or brand: it may ask for SIMs of this operator only; absent: all."""
    applications: tuple[ApplicationName, ...] = ()
    """What it may use; empty: all that is served."""
    commands: tuple[str, ...] = ()
    """Requests that it may send, by short name such as "AIR"; empty: all of its applications."""
    imsis: tuple[str, ...] = ()
    """IMSIs, by their first digits, that it may ask about; empty: all."""
    plmns: tuple[str, ...] = ()
    """Visited-PLMN-Ids that it may name, as MCC and MNC; empty: all."""
    denied_avps: tuple[str, ...] = ()
    """AVPs, by name, that it may not send: such a request is answered 5008."""
    speaks_for: tuple[str, ...] = ()
    """Origin-Hosts whose requests it may relay, "*.realm" for all that end so; empty: any, where it is a relay."""
    rate_limit: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    """Requests per second; more is answered 3004. 0: no limit."""
    requests_max: Annotated[int, Meta(ge=1, le=65_536)] = 4_096
    """Its requests in work, and ours in flight."""
    watchdog: Annotated[float, duration(6, 3600)] = 30.0
    """Tw: silence after which it is asked for a sign of life (RFC 3539)."""
    reconnect: Annotated[float, duration(1, 3600)] = 30.0
    """Tc: how often it is dialled while it is away."""
    answer_timeout: Annotated[float, duration(0.1, 60)] = 5.0
    """How long its answer to a request of ours may take."""
    garden_rule: str = ""
    """Predefined charging rule of its PCEF that is a walled garden; absent: a restricted service has its rate only."""


class Route(Struct, frozen=True, forbid_unknown_fields=True):
    """Where requests that are not for this server go (relay), and by which peers ours go."""

    peers: tuple[str, ...] = ()
    """Origin-Hosts of `[[peer]]`, the preferred first; empty: served here."""
    realm: str = ""
    """Destination-Realm; without realm and IMSIs: the default route."""
    imsi_first: str = ""
    """First IMSI of a range, or the digits that it begins with."""
    imsi_last: str = ""
    """Last IMSI of the range; absent: as `imsi_first`."""
    application: ApplicationName | None = None
    """Only requests of this application."""
    identity: str = ""
    """Only on this identity of ours; absent: that of `[diameter]`."""


class Api(Struct, frozen=True, forbid_unknown_fields=True):
    """The HTTP door: API, metrics and health."""

    listen: str = "127.0.0.1:8080"
    """Address and port, "[::1]:8080" for IPv6. Without TLS, keep it on loopback or behind a proxy."""
    body_max: Annotated[int, Meta(ge=1024, le=1 << 30)] = 16 << 20
    """Largest request body in bytes; NDJSON streams are bounded by line."""
    snapshot_share: Annotated[float, Meta(ge=0, le=1)] = 0.1
    """A snapshot that would end more than this share of the services or subscribers ends nothing."""
    metrics_open: bool = True
    """Answer /metrics without a token; with `false` it needs one of any role."""
    tls: bool = False
    """Serve HTTPS, with the certificate of `[tls]`."""


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """A bearer token of the API."""

    name: Name
    """Who uses it; the actor in the audit trail."""
    role: Literal["reader", "support", "billing", "sim_admin", "admin"]
    """What it may do."""
    operator: Name | None = None
    """The only operator it may see and change; absent: all."""
    token: Redacted | None = None
    """The token, 16 characters or more. Exactly one of the four forms is needed."""
    token_file: str | None = None
    """File that holds the token."""
    token_env: str | None = None
    """Environment variable that holds the token."""
    token_sha256: str | None = None
    """SHA-256 of the token, 64 hex digits: the file then holds no secret."""


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """Rules and automations, from files of their own: docs/policy.md."""

    dir: str | None = None
    """Directory whose *.toml files are the policy, in the order of their names; absent: no rules, no automations."""
    zone: str = "UTC"
    """IANA time zone in which windows open and cycles turn, such as "Europe/Berlin"."""
    escalate: Literal["disconnect", "never"] = "disconnect"
    """What follows a CoA that the NAS does not take: the session is ended, so that the next one begins right; or
    nothing but the event `enforcement.failed`."""


class Pool(Struct, frozen=True, forbid_unknown_fields=True):
    """Addresses or prefixes that the server itself leases."""

    name: Name
    """Unique name, as in a plan's `pool`; pools of different kinds may share one and are then leased together."""
    kind: Literal["ipv4", "ipv6", "delegated"]
    """Framed-IP-Address, Framed-IPv6-Prefix or Delegated-IPv6-Prefix."""
    ranges: tuple[str, ...]
    """Prefixes, or "first-last"."""
    exclude: tuple[str, ...] = ()
    """Addresses, prefixes or ranges that are never leased."""
    prefix_length: Annotated[int, Meta(ge=1, le=128)] | None = None
    """Length of each leased prefix: 64 for `ipv6` and 56 for `delegated` where absent; not for `ipv4`."""
    hold: Annotated[float, duration(0, 365 * _DAY)] = 86_400.0
    """How long a freed lease is kept for its service before another may have it."""
    operator: Name | None = None
    """Only for services of this operator; absent: all."""
    nas: tuple[str, ...] = ()
    """Only for logins through these NASes; empty: all."""


class Webhook(Struct, frozen=True, forbid_unknown_fields=True):
    """An HTTP endpoint that is told events, signed by the scheme of Standard Webhooks; see docs/events.md."""

    name: Name
    """Unique name, used in automations, metrics and the CLI."""
    url: str
    """Where events are sent by POST: https, or http within the machine. Redirects are not followed."""
    secret: Redacted | None = None
    """Key of the signature, 16 octets or more; "whsec_" and base64 as other senders write it. One form is needed."""
    secret_file: str | None = None
    """File that holds the key."""
    secret_env: str | None = None
    """Environment variable that holds the key."""
    second_secret: Redacted | None = None
    """A second key: each delivery bears both signatures, while keys change."""
    second_secret_file: str | None = None
    """File that holds the second key."""
    second_secret_env: str | None = None
    """Environment variable that holds the second key."""
    events: tuple[str, ...] = ("*",)
    """Types to be told: names, "quota.*", or "*"; `webhook.call` comes from automations that name this webhook."""
    operator: Name | None = None
    """Only events of this operator; absent: all, and the server's own."""
    timeout: Annotated[float, duration(0.1, 60)] = 10.0
    """Longest delivery, from connecting to the answer's end."""
    attempts: Annotated[int, Meta(ge=1, le=100)] = 16
    """Deliveries of one event before it becomes a dead letter."""
    retry_first: Annotated[float, duration(0.01, 3600)] = 1.0
    """Wait after the first failure; it doubles with each further one, and has a random share."""
    retry_max: Annotated[float, duration(0.01, _DAY)] = 3600.0
    """Longest wait between two deliveries of one event."""
    concurrency: Annotated[int, Meta(ge=1, le=64)] = 8
    """Deliveries under way at once; those of one subscriber go one after the other."""
    ca: str | None = None
    """PEM file of certificate authorities to trust instead of the system's."""


class Payment(Struct, frozen=True, forbid_unknown_fields=True):
    """A payment provider's webhook into this server: POST /v1/payments/NAME; see docs/events.md."""

    name: Name
    """Unique name, the last segment of the path."""
    provider: Literal["stripe"] = "stripe"
    """Whose signature and events it takes."""
    secret: Redacted | None = None
    """Signing secret of the endpoint ("whsec_..."), as the provider shows it. One form is needed."""
    secret_file: str | None = None
    """File that holds the signing secret."""
    secret_env: str | None = None
    """Environment variable that holds the signing secret."""
    tolerance: Annotated[float, duration(1, 3600)] = 300.0
    """A signature that is older, or so far ahead, is refused."""
    operator: Name | None = None
    """The only operator whose services it may restore; absent: all."""
    restore: tuple[str, ...] = ("automation:*",)
    """Causes of the holds that a payment lifts; "*" stands for any text."""
    service_key: Name = "service_id"
    """Metadata that names the service paid for."""
    subscriber_key: Name = "subscriber_id"
    """Metadata that names the subscriber, all of whose services are restored."""
    customer_fact: Name = "stripe_customer"
    """Billing fact of a subscriber that holds the provider's customer id, where metadata names nobody."""
    top_up_key: Name = "top_up_octets"
    """Metadata with octets to add to the balance of the service paid for."""
    wait: Annotated[float, duration(0, 30)] = 5.0
    """How long the answer waits for the network to confirm."""


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    """The server's own certificate; a reload reads the files again, and open connections stay."""

    cert: str | None = None
    """PEM file of the certificate, with the intermediate ones behind it."""
    key: str | None = None
    """PEM file of its private key, without a passphrase."""
    client_ca: str | None = None
    """PEM file of authorities: a client then needs a certificate of one of them."""
    minimum_version: Literal["1.2", "1.3"] = "1.2"
    """Oldest version of TLS that is spoken."""


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """One line per event. Secrets never show; there is no key to change that."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is written."""
    format: Literal["json", "text"] = "json"
    """`json` for machines, `text` for terminals."""
    destination: Literal["stdout", "file"] = "stdout"
    """Where lines go."""
    file: str = "aaa.log"
    """The file of destination `file`, relative to `server.data_dir`; opened anew on reload, for logrotate."""


class Sections(Struct, frozen=True, forbid_unknown_fields=True):
    """The sections of the file."""

    server: Server = Server()
    store: Store = Store()
    radius: Radius = Radius()
    nas: tuple[Nas, ...] = ()
    diameter: Diameter = Diameter()
    peer: tuple[Peer, ...] = ()
    route: tuple[Route, ...] = ()
    api: Api = Api()
    token: tuple[Token, ...] = ()
    policy: Policy = Policy()
    pool: tuple[Pool, ...] = ()
    webhook: tuple[Webhook, ...] = ()
    payment: tuple[Payment, ...] = ()
    tls: Tls = Tls()
    log: Log = Log()


class Config(Sections, frozen=True, kw_only=True):
    """A checked configuration: paths absolute, secrets in `secret`, `second_secret`, `key` and `token_sha256`."""

    path: Path
    warnings: tuple[Problem, ...] = ()
    """What works but should be looked at."""
    report: Report
    """Knows the line of each key, for problems that other rooms find."""


RESTART_KEYS = frozenset(
    {
        "server.data_dir",
        "server.hash_workers",
        "server.hash_queue",
        "store.path",
        "store.key",
        "store.key_file",
        "store.key_env",
        "radius.listen",
        "radius.auth_port",
        "radius.acct_port",
        "radius.receive_buffer",
        "radius.send_buffer",
        "radius.duplicate_lifetime",
        "radius.duplicate_entries",
        "radius.username_case",
        "diameter.listen",
        "diameter.port",
        "diameter.tls_port",
        "diameter.sctp",
        "diameter.origin_host",
        "diameter.origin_realm",
        "diameter.applications",
        "diameter.relay",
        "diameter.inband_tls",
        "diameter.identity",
        "api.listen",
        "api.body_max",
        "api.tls",
        "tls.client_ca",
        "tls.minimum_version",
        "log.format",
        "log.destination",
        "log.file",
    }
)
"""Keys that need a restart; every other key changes on reload."""


def restart_needed(old: Config, new: Config) -> list[str]:
    """Dotted keys that differ and that a reload cannot change, in the order of the file's documentation."""
    return [
        f"{section}.{field.name}"
        for section in Sections.__struct_fields__
        if isinstance(getattr(old, section), Struct)
        for field in msgspec.structs.fields(getattr(old, section))
        if f"{section}.{field.name}" in RESTART_KEYS
        and _value(old, section, field.name) != _value(new, section, field.name)
    ]


def _value(config: Config, section: str, key: str) -> Any:
    return getattr(getattr(config, section), key)
