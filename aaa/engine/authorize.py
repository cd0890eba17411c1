"""May this attempt connect, and with what? Index lookup, proof, locks, decision, session and address checks; no await.

Knows neutral words only: no codec, no socket, no SQL. Compiled: every Access-Request passes through it.
"""

from __future__ import annotations

from msgspec import Struct

from aaa.credential.identity import (
    circuit_key,
    is_mac_password,
    mac_passwords,
    mschapv2_user_name,
    normalize_mac,
    parse_circuit,
)
from aaa.credential.verifier import (
    CredentialError,
    Scheme,
    Verifier,
    is_slow,
    password_hash,
    supports,
    verify_chap,
    verify_mschap,
    verify_mschapv2,
    verify_password,
)
from aaa.engine.addresses import PENDING_S, Addresses
from aaa.engine.decisions import Decisions
from aaa.engine.facts import attempt_facts_of
from aaa.limits import ENDS_LOOKED_FOR_MAX
from aaa.model.access import Attempt, Cause, Outcome, Verdict
from aaa.model.entities import Lock
from aaa.model.method import Method
from aaa.model.records import (
    NEVER,
    NO_LIMIT,
    PENDING,
    CredentialRecord,
    DecisionRecord,
    Live,
    NasRecord,
    ServiceRecord,
    SessionRecord,
)
from aaa.state.store import Store

ACCEPT = int(Verdict.ACCEPT)
REJECT = int(Verdict.REJECT)
SLOW = int(Verdict.SLOW)

NONE = int(Method.NONE)
PAP = int(Method.PAP)
CHAP = int(Method.CHAP)
MSCHAP = int(Method.MSCHAP)
MSCHAPV2 = int(Method.MSCHAPV2)

UNKNOWN_USER = int(Cause.UNKNOWN_USER)
WRONG_PASSWORD = int(Cause.WRONG_PASSWORD)
METHOD_UNSUPPORTED = int(Cause.METHOD_UNSUPPORTED)
LOCKED_OUT = int(Cause.LOCKED_OUT)
WRONG_PLACE = int(Cause.WRONG_PLACE)
DENIED = int(Cause.DENIED)
TOO_MANY_SESSIONS = int(Cause.TOO_MANY_SESSIONS)
NO_ADDRESS = int(Cause.NO_ADDRESS)

CLEARTEXT = int(Scheme.CLEARTEXT)
BAD_LOGIN = "Unknown user or wrong password"
"""One text for both, so that a login tells nobody which user names exist."""
TIMEOUT_MAX_S = 2**32 - 1
"""The longest Session-Timeout that its attribute holds."""
CLOCK_BACK_S = 60.0
"""Rows that left their batch look back a little. A moment further ahead is from before the clock was set back: it
counts for nothing, rather than until the clock has caught up."""


class AccessSettings(Struct, frozen=True):
    """Bounds and defaults of authorisation; durations in seconds."""

    password_failures: int = 10
    """Within `password_window_s`; 0: no limit."""
    nas_password_failures: int = 0
    password_window_s: float = 300.0
    lockout_s: float = 60.0
    interim_interval_s: int = 300
    interim_jitter: float = 0.0
    missed_interims: float = 3.0
    session_silence_s: float = 172_800.0


class Authorizer:
    """Authorises batches of attempts."""

    def __init__(self, store: Store, decisions: Decisions, addresses: Addresses, settings: AccessSettings) -> None:
        self.store = store
        self.session_ids = store.session_ids
        self.is_full = False
        """As many sessions are live as the configuration admits; set once a second."""
        self.decisions = decisions
        self.addresses = addresses
        self.use(settings)
        self.displaced: list[SessionRecord] = []
        """Sessions that a login at the limit displaces: to be disconnected by whoever reads this list."""

    def use(self, settings: AccessSettings) -> None:
        """Take new settings."""
        self.settings = settings
        self.nas_failures_max = settings.nas_password_failures
        self.interim_interval_s = settings.interim_interval_s
        self.interim_jitter = settings.interim_jitter

    def authorize(self, attempts: list[Attempt]) -> list[Outcome]:
        """One outcome per attempt, same order."""
        return [self.authorize_one(attempt) for attempt in attempts]

    def authorize_one(self, attempt: Attempt) -> Outcome:
        """The outcome of one attempt, or SLOW with the credential whose proof is to be checked elsewhere."""
        nas = attempt.nas
        credential = nas.passwords.get(attempt.user_name)
        if credential is None:
            credential = self.find_password(nas, attempt.user_name)
        if credential is None:
            return self.authorize_place(attempt)
        service = credential.service
        live = service.live
        if live is not None and live.locked_until > attempt.at and self.is_locked(live, attempt.at):
            return refuse(LOCKED_OUT, "Too many wrong passwords, try again later", service)
        if self.nas_failures_max and nas.failures >= self.nas_failures_max:
            if self.is_in_window(nas.window_at, attempt.at):
                return refuse(LOCKED_OUT, "Too many wrong passwords, try again later", service)
            nas.failures = 0
        verifier: Verifier = credential.verifier  # type: ignore[assignment]
        method = attempt.method
        proof = None
        hashed = None
        if method == PAP:
            password = attempt.password
            if password is None:
                return self.fail(attempt, service)
            if is_slow(verifier):
                outcome = Outcome(SLOW)
                outcome.service = service
                outcome.slow = verifier
                return outcome
            if not verify_password(verifier, password):
                return self.fail(attempt, service)
        elif method == NONE:
            return self.fail(attempt, service)
        elif not supports(verifier, method):
            return refuse(METHOD_UNSUPPORTED, "This login method cannot be used with the stored password", service)
        elif method == CHAP:
            if not verify_chap(verifier, attempt.chap_identifier, attempt.challenge, attempt.response):
                return self.fail(attempt, service)
        elif method == MSCHAPV2:
            proof = verify_mschapv2(
                verifier,
                attempt.challenge,
                attempt.peer_challenge,
                mschapv2_user_name(attempt.user_name),
                attempt.response,
            )
            if proof is None:
                return self.fail(attempt, service)
        elif method == MSCHAP:
            if not verify_mschap(verifier, attempt.challenge, attempt.response):
                return self.fail(attempt, service)
            hashed = password_hash(verifier)
        else:
            return refuse(METHOD_UNSUPPORTED, "This login method is not supported", service)
        outcome = self.admit(attempt, service)
        outcome.proof = proof
        outcome.password_hash = hashed
        return outcome

    def resume(self, attempt: Attempt, pending: Outcome, proved: bool) -> Outcome:
        """Go on with a SLOW row whose password was checked elsewhere."""
        service = pending.service
        assert service is not None
        if self.store.services_by_no.get(service.no) is not service:
            return refuse(UNKNOWN_USER, BAD_LOGIN, None)
        if service.live is not None and self.is_locked(service.live, attempt.at):
            # Many guesses may be under way at once: the limit holds for those behind it too.
            return refuse(LOCKED_OUT, "Too many wrong passwords, try again later", service)
        if not proved:
            return self.fail(attempt, service)
        return self.admit(attempt, service)

    # Who is it

    def find_password(self, nas: NasRecord, name: bytes) -> CredentialRecord | None:
        """The password credential of a user name that is in no index as it stands: normalised."""
        names = self.store.names
        if names.is_exact(name):
            return None
        for candidate in names.candidates(name):
            credential = nas.passwords.get(candidate)
            if credential is not None:
                return credential
        return None

    def authorize_place(self, attempt: Attempt) -> Outcome:
        """No password credential bears the name: a device or a line may, where the NAS allows that."""
        nas = attempt.nas
        credential = None
        mac = None
        if nas.allow_mac:
            mac = normalize_mac(attempt.user_name)
            if mac is not None and (attempt.call_check or self.is_calling(attempt, mac)):
                credential = self.store.index_of("mac", nas.operator).get(mac)
            elif attempt.call_check and attempt.calling_station is not None:
                mac = normalize_mac(attempt.calling_station)
                credential = None if mac is None else self.store.index_of("mac", nas.operator).get(mac)
        if credential is None and nas.allow_circuit:
            credential = self.find_circuit(nas, attempt.circuit_id, attempt.remote_id)
        if credential is None:
            return self.fail(attempt, None)
        service = credential.service
        # A BNG adds the circuit to every login: a password that was given must not be bypassed by it.
        if not self.is_stand_in(attempt, mac):
            return self.fail(attempt, service)
        return self.admit(attempt, service)

    def is_calling(self, attempt: Attempt, mac: bytes) -> bool:
        """Whether the MAC in the User-Name is the calling station's."""
        station = attempt.calling_station
        return station is not None and normalize_mac(station) == mac

    def is_stand_in(self, attempt: Attempt, mac: bytes | None) -> bool:
        """Whether what stands in the password's place claims nothing: absent, empty, the name again."""
        method = attempt.method
        if method == NONE:
            return True
        if method == PAP:
            password = attempt.password
            if not password or password == attempt.user_name:
                return True
            return mac is not None and is_mac_password(mac, password)
        if method == CHAP:
            spellings: tuple[bytes, ...] = (b"", attempt.user_name)
            if mac is not None:
                spellings += mac_passwords(mac)
            for spelling in spellings:
                if verify_chap(
                    Verifier(CLEARTEXT, spelling), attempt.chap_identifier, attempt.challenge, attempt.response
                ):
                    return True
        return False

    def find_circuit(
        self, nas: NasRecord, circuit_id: bytes | None, remote_id: bytes | None
    ) -> CredentialRecord | None:
        """The line's credential: by both ids, then by either."""
        index = self.store.index_of("circuit", nas.operator)
        for key in (circuit_key(circuit_id, remote_id), circuit_key(circuit_id, None), circuit_key(None, remote_id)):
            if key is not None and key in index:
                return index[key]
        return None

    def fail(self, attempt: Attempt, service: ServiceRecord | None) -> Outcome:
        """A wrong or missing proof; counted against the service and the NAS."""
        settings = self.settings
        nas = attempt.nas
        if not self.is_in_window(nas.window_at, attempt.at):
            nas.window_at = attempt.at
            nas.failures = 0
        nas.failures += 1
        if service is None:
            return refuse(UNKNOWN_USER, BAD_LOGIN, None)
        if settings.password_failures:
            live = self.store.live(service)
            if not self.is_in_window(live.failed_at, attempt.at):
                live.failures = 0
                live.failed_at = attempt.at
            live.failures += 1
            if live.failures >= settings.password_failures:
                live.locked_until = attempt.at + settings.lockout_s
                live.failures = 0
        return refuse(WRONG_PASSWORD, BAD_LOGIN, service)

    def is_in_window(self, since: float, at: float) -> bool:
        """Whether failures counted since then still count."""
        return -CLOCK_BACK_S < at - since < self.settings.password_window_s

    def is_locked(self, live: Live, at: float) -> bool:
        """Whether too many wrong passwords were given lately."""
        return 0 < live.locked_until - at < self.settings.lockout_s + CLOCK_BACK_S

    # May it

    def lock_allows(self, service: ServiceRecord, attempt: Attempt) -> bool:
        """Whether a service may be used from where the attempt comes. A lock names a device by its id or its MAC."""
        lock = service.body.lock
        assert lock is not None
        devices = set()
        for name in lock.device:
            device = self.store.inventory.devices.get(name)
            if device is not None and device.body.operator == service.subscriber.body.operator:
                devices.add(device.mac)
            else:
                devices.add(normalize_mac(name.encode()))
        return lock_allows(lock, attempt, devices)

    def admit(self, attempt: Attempt, service: ServiceRecord) -> Outcome:
        """Everything behind a good proof: locks, decision, sessions, addresses."""
        at = attempt.at
        live = service.live
        if live is not None:
            live.failures = 0
        if not service.bare and service.body.lock is not None and not self.lock_allows(service, attempt):
            return refuse(WRONG_PLACE, "This service cannot be used from here", service)
        decision = self.decisions.of_attempt(service, attempt, at)
        if not decision.grant:
            return refuse(DENIED, decision.body.message, service)
        outcome = Outcome(ACCEPT)
        outcome.service = service
        outcome.decision = decision
        if self.is_full:
            return refuse(TOO_MANY_SESSIONS, "The network is full, please try again later", service)
        limit = decision.simultaneous_use
        if limit:
            live = self.store.live(service)
            if not self.make_room(attempt, live, limit):
                return refuse(TOO_MANY_SESSIONS, f"Already logged in {limit} times", service)
        outcome.session_id = self.session_ids.next(at)
        interim = decision.interim_interval_s or self.interim_interval_s
        if self.interim_jitter > 0:
            # Spread by session id, so that a mass login does not report in step.
            spread = (outcome.session_id * 40503 >> 4) % 2001 - 1000
            interim += int(interim * self.interim_jitter * spread / 1000)
        if service.account is not None:
            interim = self.shorten_interim(interim, service, decision)
        outcome.interim_interval_s = max(interim, attempt.nas.interim_minimum_s)
        timeout = decision.session_timeout_s
        latest = at + (timeout or TIMEOUT_MAX_S)
        if service.decided_until < latest:
            ends_at = self.ends_at(service, attempt, latest)
            if ends_at < latest:
                timeout = max(1, int(ends_at - at))
        outcome.session_timeout_s = timeout
        # Where the policy reads the place, the session keeps what the login said of it: accounting says less.
        if limit or decision.pool is not None or not service.bare or self.decisions.is_placed(service):
            held = self.reserve(attempt, service, outcome)
            if not self.addresses.assign(service, decision, attempt, held, outcome):
                self.store.sessions.pop(held.id, None)
                self.store.detach_session(held)
                # Nobody makes room for a login that comes to nothing.
                self.displaced = [session for session in self.displaced if session.service is not service]
                return refuse(NO_ADDRESS, "No address is free, please try again later", service)
        return outcome

    def ends_at(self, service: ServiceRecord, attempt: Attempt, latest: float) -> float:
        """When time alone stops the service (expiry, the end of grace) rather than changes it; `latest` if not before.

        Bound: few steps, each to the next moment at which something changes; past them the timers end the session.
        """
        at = service.decided_until
        place = attempt_facts_of(attempt) if self.decisions.reads else None
        for _ in range(ENDS_LOOKED_FOR_MAX):
            if at >= latest:
                break
            then = self.decisions.explain(service, at, place)
            if not then.grant:
                return at
            at = NEVER if then.valid_until is None else then.valid_until
        return latest

    def shorten_interim(self, interim: int, service: ServiceRecord, decision: DecisionRecord) -> int:
        """Close to where usage changes the decision: no later than the session can get there at its full rate."""
        account = service.account
        rate = decision.body.rate
        if account is None or rate is None or service.decided_below == NO_LIMIT:
            return interim
        bps = rate.down_bps + rate.up_bps
        if rate.burst is not None:
            bps = max(bps, rate.burst.down_bps + rate.burst.up_bps)
        left = service.decided_below - account.charged_octets
        if bps == 0 or left <= 0:
            return interim
        return min(interim, left * 8 // bps)

    def make_room(self, attempt: Attempt, live: Live, limit: int) -> bool:
        """Whether one more login fits. Ghosts do not count: silent ones, and those the same place comes back for."""
        counted: list[SessionRecord] = []
        at = attempt.at
        mac = normalize_mac(attempt.calling_station) if attempt.calling_station else None
        for session in list(live.sessions):
            if session.protocol:
                # A mobile bearer is a login of its own kind: the core counts them.
                continue
            if session.state == PENDING:
                waited = at - session.authorised_at
                if not -CLOCK_BACK_S < waited <= PENDING_S or self.same_place(session, attempt, mac):
                    self.drop_pending(session)
                    continue
            elif self.is_stale(session, at) or self.same_place(session, attempt, mac):
                continue
            counted.append(session)
        if len(counted) < limit:
            return True
        if attempt.nas.limit_action != "disconnect_oldest":
            return False
        for session in counted[: len(counted) - limit + 1]:
            if session.state == PENDING:
                self.drop_pending(session)
            else:
                self.displaced.append(session)
        return True

    def is_stale(self, session: SessionRecord, at: float) -> bool:
        """Whether the session missed so many interims that it is taken for dead; not every NAS sends any."""
        silence = at - session.heard_at
        if session.interim_interval_s and session.session_time_s:
            return silence > session.interim_interval_s * self.settings.missed_interims
        return silence > self.settings.session_silence_s

    def same_place(self, session: SessionRecord, attempt: Attempt, mac: bytes | None) -> bool:
        """Whether the attempt comes from where the session is: it has been lost and is being replaced."""
        if session.nas is not attempt.nas:
            return False
        if session.calling_station and attempt.calling_station:
            if session.calling_station == attempt.calling_station:
                return True
            if mac is not None:
                return mac == normalize_mac(session.calling_station)
        if attempt.circuit_id is not None and session.circuit_id is not None:
            return attempt.circuit_id == session.circuit_id and attempt.remote_id == session.remote_id
        return attempt.nas_port_id is not None and attempt.nas_port_id == session.nas_port_id

    def reserve(self, attempt: Attempt, service: ServiceRecord, outcome: Outcome) -> SessionRecord:
        """Hold the login's place from its Accept to its first accounting report."""
        session = SessionRecord(outcome.session_id, attempt.nas, service)
        session.authorised_at = attempt.at
        session.heard_at = attempt.at
        session.user_name = attempt.user_name
        session.calling_station = attempt.calling_station
        session.called_station = attempt.called_station
        session.nas_port_id = attempt.nas_port_id
        session.circuit_id = attempt.circuit_id
        session.remote_id = attempt.remote_id
        session.interim_interval_s = outcome.interim_interval_s
        session.decision = outcome.decision
        self.store.index_session(session)
        return session

    def drop_pending(self, session: SessionRecord) -> None:
        """A reservation that never became a session."""
        self.store.sessions.pop(session.id, None)
        self.store.detach_session(session)
        self.addresses.release(session, session.authorised_at)


def refuse(cause: int, message: str, service: ServiceRecord | None) -> Outcome:
    """A reject with its cause."""
    outcome = Outcome(REJECT, cause, message)
    outcome.service = service
    return outcome


def lock_allows(lock: Lock, attempt: Attempt, devices: set[bytes | None]) -> bool:
    """Whether the attempt comes from where the service is locked to; every part given must match.

    devices: MACs of what the lock names as devices.
    """
    if lock.nas and attempt.nas.client_name not in lock.nas and attempt.nas.name not in lock.nas:
        return False
    if lock.port and (attempt.nas_port_id is None or text(attempt.nas_port_id) not in lock.port):
        return False
    if lock.circuit:
        circuits = {octets for octets in (attempt.circuit_id, attempt.remote_id) if octets}
        if circuits.isdisjoint(map(circuit_octets, lock.circuit)):
            return False
    if lock.mac or lock.device:
        mac = normalize_mac(attempt.calling_station) if attempt.calling_station else None
        if mac is None or mac not in devices | {normalize_mac(allowed.encode()) for allowed in lock.mac}:
            return False
    return True


def circuit_octets(text: str) -> bytes:
    """What a pushed circuit looks like on the wire; b"", which is no circuit, for a text that is none."""
    try:
        return parse_circuit(text)
    except CredentialError:
        return b""


def text(octets: bytes) -> str:
    """Printable form for comparison with pushed text."""
    return octets.decode("utf-8", "replace")
