"""Which addresses a login gets: the service's own, or leases of the decision's pool. Knows no codec and no SQL.

A lease is bound to the session id that the Accept carries. It is confirmed by the first accounting report, freed at the
session's end, and a reservation that never became a session is freed with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_address

from aaa.config import Pool as PoolConfig
from aaa.model.access import Attempt, Outcome
from aaa.model.records import ENDED, PENDING, DecisionRecord, ServiceRecord, SessionRecord
from aaa.state.pools import Change, Lease, Pool, PoolError, Pools
from aaa.state.schema import Row
from aaa.state.store import Store, prefix_octets

PENDING_S = 60.0
"""How long an authorised login holds its place until its first accounting report."""
FORGOTTEN = int(Change.FORGOTTEN)
KEPT = int(Change.KEPT)


class Addresses:
    """Assigns and frees the addresses of one store."""

    def __init__(self, store: Store, configs: Sequence[PoolConfig] = ()) -> None:
        self.store = store
        self.note: Callable[[float], None] = lambda at: None
        """Called by settle() before what was opened and ended is forgotten."""
        self.pools = Pools(configs, self.operator_of)
        self.restrictions = restrictions_of(configs)
        self.follow_statics()
        self.write(self.pools.load(store.lease_rows))
        store.lease_rows = []
        for session in store.sessions.values():
            if session.state not in (PENDING, ENDED):
                self.pools.confirm(session.id)

    def operator_of(self, service_no: int) -> str:
        """Whose address space a service is in; one that is gone was the default operator's."""
        service = self.store.services_by_no.get(service_no)
        return "default" if service is None else service.subscriber.body.operator

    def assign(
        self,
        service: ServiceRecord,
        decision: DecisionRecord,
        attempt: Attempt,
        session: SessionRecord,
        outcome: Outcome,
    ) -> bool:
        """Fill in the outcome's addresses and the session's; False when a pool is exhausted or not for this NAS."""
        body = service.body
        if attempt.nas.garden_pool and decision.body.walled_garden:
            # Behind the garden everybody has an address of the garden's, or there would be no wall.
            return True
        if body.static_ip is not None:
            outcome.framed_ip = session.framed_ip = ip_address(body.static_ip).packed
        if body.static_prefix is not None:
            outcome.delegated_prefix = session.delegated_prefix = prefix_octets(body.static_prefix)
        if decision.pool is None:
            return True
        pools = self.pools.named(decision.pool)
        if not pools:
            # The name is one that the NAS knows: the family's table renders it.
            return True
        pools = tuple(pool for pool in pools if self.is_open(pool, attempt))
        if not pools:
            return False
        key = (service.no, self.slot_of(attempt, decision))
        leases: list[Lease] = []
        for pool in pools:
            if (pool.kind == "ipv4" and outcome.framed_ip) or (pool.kind == "delegated" and outcome.delegated_prefix):
                continue
            lease = pool.allocate(key, session.id, attempt.at)
            if lease is None:
                self.write(self.pools.release_session(session.id, attempt.at))
                return False
            leases.append(lease)
            if pool.kind == "ipv4":
                outcome.framed_ip = session.framed_ip = lease.address
            elif pool.kind == "ipv6":
                outcome.framed_prefix = session.framed_prefix = lease.address
            else:
                outcome.delegated_prefix = session.delegated_prefix = lease.address
        if self.write(leases):
            outcome.durable = False
        return True

    def is_open(self, pool: Pool, attempt: Attempt) -> bool:
        """Whether the pool is for logins like this one."""
        operator, nases = self.restrictions[pool.name, pool.kind]
        return operator in (None, attempt.nas.operator) and (not nases or attempt.nas.client_name in nases)

    def slot_of(self, attempt: Attempt, decision: DecisionRecord) -> bytes:
        """Which of a service's logins this is: a single one needs no name, more are told by device or port."""
        if decision.simultaneous_use == 1:
            return b""
        return attempt.calling_station or attempt.nas_port_id or b""

    def write(self, leases: Iterable[Lease]) -> int:
        """Owe the rows of changed and forgotten leases to the journal; how many changed."""
        journal = self.store.journal
        changed = 0
        for name, address in self.pools.forgotten():
            journal.settle(Row.LEASE, Row.LEASE_DELETE, (name, address), None)
        for lease in leases:
            if lease.change not in (KEPT, FORGOTTEN):
                journal.settle(Row.LEASE, Row.LEASE_DELETE, (lease.pool, lease.address), lease.row())
                changed += 1
        return changed

    def expire(self, at: float) -> None:
        """Free the leases of Accepts that no session followed."""
        self.write(self.pools.expire(at, PENDING_S))

    def settle(self, at: float) -> None:
        """Confirm the leases of sessions that began, free those of sessions that ended."""
        store = self.store
        self.note(at)
        if self.restrictions:
            for session in store.opened:
                self.write(self.pools.confirm(session.id))
                if session.state != ENDED:
                    self.claim(session, at)
            for session in store.ended:
                # One that was closed and opened again within a batch is live.
                if session.state == ENDED:
                    self.release(session, at)
        store.begun.clear()
        store.opened.clear()
        store.ended.clear()

    def release(self, session: SessionRecord, at: float) -> None:
        """The session is over: its leases are free, kept for its service while the pool allows."""
        self.write(self.pools.release_session(session.id, at))

    def claim(self, session: SessionRecord, at: float) -> None:
        """Bind the addresses that a session is seen to use and that no Accept gave it: adopted and reopened sessions,
        addresses known late, ranges that are new here."""
        service = session.service
        if service is None:
            return
        operator = service.subscriber.body.operator
        overrides = service.body.overrides
        limit = (overrides and overrides.simultaneous_use) or service.plan.body.simultaneous_use
        key = (service.no, b"" if limit == 1 else session.calling_station or session.nas_port_id or b"")
        for address in (session.framed_ip, session.framed_prefix, session.delegated_prefix):
            if address is None:
                continue
            lease = self.pools.find(operator, address)
            if lease is None or lease.session_id != session.id:
                lease = self.pools.claim(operator, address, key, session.id, at)
                if lease is not None:
                    self.write([lease])

    def follow_statics(self) -> list[str]:
        """Nobody else gets a service's own address, until it is no longer that; what cannot be kept, as text."""
        moved, self.store.moved_statics = self.store.moved_statics, []
        problems = []
        for operator, address, service in moved:
            if service is None:
                self.pools.unreserve(operator, address)
                continue
            try:
                self.pools.reserve(operator, address, service.no)
            except PoolError as error:
                problems.append(f"service {service.body.id!r}: {error}")
        return problems

    def reconfigure(self, configs: Sequence[PoolConfig]) -> None:
        """New [[pool]] entries; leases stay where their range remains."""
        self.restrictions = restrictions_of(configs)
        self.write(self.pools.reconfigure(configs))
        if not configs:
            return
        at = 0.0
        for session in self.store.sessions.values():
            # A range that was added may hold what live sessions already use.
            if session.state != ENDED and session.service is not None:
                at = max(at, session.heard_at)
                self.claim(session, at)


def restrictions_of(configs: Sequence[PoolConfig]) -> dict[tuple[str, str], tuple[str | None, frozenset[str]]]:
    """Whom each [[pool]] is for, by name and kind: operator, and names of [[nas]] entries."""
    return {(config.name, config.kind): (config.operator, frozenset(config.nas)) for config in configs}
