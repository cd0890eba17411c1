"""Addresses and prefixes that the server leases: who has which, who had it last, what is free.

Pure and deterministic: `at` (epoch seconds) comes in, nothing is random. Knows no protocol and writes no row: calls
return the leases whose row is to be written, and `Pools.forgotten` names the rows to be deleted. Memory is proportional
to leases, not to the size of a pool.

Order of giving out: the key's own last address; then the lowest that nobody ever had; then the one released longest
ago, once the pool's `hold` has passed. So a key finds its address free again for as long as the pool allows.

Invariant: an address of a pool is in `_leases` (bound, or released and remembered), static, barred, or in the runs of
never used addresses; these may hold some of the others too, which are passed over when their turn comes.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from aaa.config.schema import Pool as PoolConfig
from aaa.config.values import parse_range
from aaa.errors import AaaError
from aaa.limits import (
    POOL_BARRED_COUNT_MAX,
    POOL_EXPIRE_COUNT_MAX,
    POOL_RANGES_COUNT_MAX,
    POOL_REMEMBERED_COUNT_MAX,
)

Key = tuple[int, bytes]
"""Service number, and the device slot within the service."""
LeaseRow = tuple[str, bytes, int, bytes, int, float, float]
"""Pool name, address, service number, slot, session id (0: released), bound_at, released_at."""
Run = tuple[int, int]
"""Addresses as numbers: the first, and one past the last."""

_LENGTHS = {"ipv4": 32, "ipv6": 64, "delegated": 56}


class PoolError(AaaError):
    """Pools that cannot be used as configured, or an address that cannot be reserved; nothing was changed."""


class Change(enum.IntEnum):
    """What the last call made of a lease, and so what is to be written of it."""

    KEPT = 0
    """The row stands as it is: the answer may leave at once."""
    RENEWED = 1
    """The key's own address, bound again after its release."""
    NEW = 2
    """An address that nobody had before."""
    MOVED = 3
    """An address that another key had before."""
    FREED = 4
    """Released, remembered for its key."""
    FORGOTTEN = 5
    """Gone: there is no row to write, `Pools.forgotten` has it."""


_KEPT, _RENEWED, _NEW, _MOVED, _FREED, _FORGOTTEN = range(6)


class Lease(Struct, gc=False):
    """One address or prefix and its holder. Belongs to the pools: read it, never write it.

    Where `change` is RENEWED, NEW or MOVED, the row must be durable before the Access-Accept leaves.
    """

    pool: str
    """Name of the pool that its row stands under."""
    address: bytes
    """4 octets, or the prefix length in one octet and 16 octets."""
    key: Key
    session_id: int
    """0: released."""
    bound_at: float
    released_at: float
    """0.0 while bound; otherwise unlike that of every other lease, so that rows sort as they were released."""
    change: int = _NEW
    started: bool = False
    """Its session was seen in accounting."""
    previous: int = 0
    """Session in accounting from which a login of the same key, not yet started, takes over; 0: none."""

    def row(self) -> LeaseRow:
        """What is durable of it: a login that has not started leaves the row to the session before it."""
        service, slot = self.key
        session_id = self.previous or self.session_id
        return self.pool, self.address, service, slot, session_id, self.bound_at, self.released_at


class PoolUsage(Struct, frozen=True, gc=False):
    """Figures of one pool. The `..._count` of events only grow, so that rates and a forecast can be taken from them."""

    name: str
    kind: str
    size: int
    """Addresses or prefixes in its ranges."""
    bound: int
    """Leased now, static ones apart."""
    pending: int
    """Among the leases bound now: not yet seen in accounting."""
    static: int
    """Reserved for a service, in use or not."""
    barred: int
    """Prefixes of another length that are static, or still in use, over some of its addresses."""
    remembered: int
    """Released, kept for the key that had them; given to others when nothing else is left."""
    renewed_count: int
    new_count: int
    moved_count: int
    """Leases that took a remembered address from another key: the pool is too small for everybody to keep theirs."""
    freed_count: int
    expired_count: int
    exhausted_count: int
    """Requests that got nothing."""


class _Shared:
    """What all pools have in common."""

    def __init__(self) -> None:
        self.sessions: dict[int, tuple[Lease, ...]] = {}
        """Leases of a session, those among them that a pending login is about to take over."""
        self.stamp = 0.0
        """Latest released_at."""
        self.forgotten: list[tuple[str, bytes]] = []
        """Pool name and address of rows that have no lease any more."""

    def bind(self, lease: Lease, session_id: int) -> None:
        held = self.sessions.get(session_id)
        self.sessions[session_id] = (lease,) if held is None else (*held, lease)

    def unbind(self, lease: Lease, session_id: int) -> None:
        rest = tuple(other for other in self.sessions.get(session_id, ()) if other is not lease)
        if rest:
            self.sessions[session_id] = rest
        else:
            self.sessions.pop(session_id, None)


class Pool:
    """One kind of address of one [[pool]]; made and changed by `Pools`."""

    def __init__(self, name: str, kind: str, operator: str | None, length: int, shared: _Shared) -> None:
        self.name = name
        self.kind = kind
        self.operator = operator
        """Whose address space it is; None: everybody's."""
        self.length = length
        """Of each prefix, in bits; 32 for ipv4."""
        self.hold_s = 0.0
        """For how long a released address is not given to another key."""
        self._leases: dict[bytes, Lease] = {}
        self._shift = (32 if kind == "ipv4" else 128) - length
        self._step = 1 << self._shift
        self._size = 4 if kind == "ipv4" else 16
        self._head = b"" if kind == "ipv4" else bytes([length])
        self._shared = shared
        self._ranges: list[Run] = []
        self._next = 0
        self._end = 0
        self._fresh: list[Run] = []
        """Runs of addresses never given out, behind the one at hand; the lowest is the last."""
        self._by_key: dict[Key, Lease] = {}
        self._released: OrderedDict[bytes, Lease] = OrderedDict()
        self._pending: OrderedDict[bytes, float] = OrderedDict()
        """When each lease that has not started was given out."""
        self._statics: dict[bytes, int] = {}
        self._barred: dict[int, dict[int, int]] = {}
        """Prefixes in other hands over these addresses: by bits to shift away, what is left, and how many they are."""
        self._bound = 0
        self._counts = [0, 0, 0, 0, 0, 0]
        self._expired = 0
        self._exhausted = 0

    def allocate(self, key: Key, session_id: int, at: float) -> Lease | None:
        """Bind the key's address, or else a free one, to a session (numbered from 1); None when nothing is free.

        A key that has a lease keeps it: the new login replaces the old one, which is the same device coming back. If
        the old one is in accounting it gets the lease back should the new one never start.
        Cost: O(1), about 1.1 µs for a key that had a lease, 1.6 for a new one, 0.2 for one still bound.
        """
        lease = self._by_key.get(key)
        if lease is not None and lease.session_id:
            self._hand_over(lease, session_id, at)
            return lease
        if lease is not None and self._barred and self._bar_end(self._number(lease.address)):
            self._forget(lease)
            lease = None
        if lease is not None:
            del self._released[lease.address]
            lease.change = _RENEWED
        else:
            lease = self._take(key, at)
            if lease is None:
                self._exhausted += 1
                return None
        self._bind(lease, session_id, at)
        self._pending[lease.address] = at
        return lease

    def find(self, address: bytes) -> Lease | None:
        """The lease of an address, bound or remembered."""
        return self._leases.get(address)

    def usage(self) -> PoolUsage:
        """Cost: O(ranges)."""
        counts = self._counts
        return PoolUsage(
            name=self.name,
            kind=self.kind,
            size=sum(end - first for first, end in self._ranges) // self._step,
            bound=self._bound,
            pending=len(self._pending),
            static=len(self._statics),
            barred=sum(len(table) for table in self._barred.values()),
            remembered=len(self._released),
            renewed_count=counts[_RENEWED],
            new_count=counts[_NEW],
            moved_count=counts[_MOVED],
            freed_count=counts[_FREED],
            expired_count=self._expired,
            exhausted_count=self._exhausted,
        )

    def _take(self, key: Key, at: float) -> Lease | None:
        """A lease on an address that is free for this key, not yet bound."""
        released = self._released
        oldest = None
        while released:
            oldest = released[next(iter(released))]
            if self.hold_s and oldest.released_at + self.hold_s > at:
                oldest = None
            elif self._barred and self._bar_end(self._number(oldest.address)):
                self._forget(oldest)
                oldest = None
                continue
            break
        # Bound: past the limit an old memory is given up although there are addresses that nobody ever had.
        address = None
        if oldest is None or len(released) < POOL_REMEMBERED_COUNT_MAX:
            address = self._take_fresh()
        if address is not None:
            lease = Lease(self.name, address, key, 0, at, 0.0)
            self._leases[address] = lease
        elif oldest is not None:
            lease = oldest
            del released[lease.address]
            self._forget_key(lease)
            lease.key = key
            lease.change = _MOVED
        else:
            return None
        self._by_key[key] = lease
        return lease

    def _take_fresh(self) -> bytes | None:
        leases, statics = self._leases, self._statics
        while True:
            while self._next < self._end:
                number = self._next
                bar_end = self._bar_end(number) if self._barred else 0
                if bar_end:
                    self._next = bar_end
                    continue
                self._next = number + self._step
                address = self._head + number.to_bytes(self._size, "big")
                if address not in leases and address not in statics:
                    return address
            if not self._fresh:
                return None
            self._next, self._end = self._fresh.pop()

    def _number(self, address: bytes) -> int:
        return int.from_bytes(address[-self._size :], "big")

    def _bar_end(self, number: int) -> int:
        """One past the last address of a bar over this one; 0: not barred."""
        for shift, table in self._barred.items():
            if number >> shift in table:
                return ((number >> shift) + 1) << shift
        return 0

    def _bind(self, lease: Lease, session_id: int, at: float) -> None:
        lease.session_id = session_id
        lease.bound_at = at
        lease.released_at = 0.0
        lease.started = False
        self._counts[lease.change] += 1
        if lease.address not in self._statics:
            self._bound += 1
        self._shared.bind(lease, session_id)

    def _hand_over(self, lease: Lease, session_id: int, at: float) -> None:
        lease.change = _KEPT
        if session_id == lease.session_id:
            return
        if lease.started:
            lease.previous = lease.session_id
            lease.started = False
        else:
            self._shared.unbind(lease, lease.session_id)
        if session_id == lease.previous:
            self._hand_back(lease)
            return
        if not lease.previous:
            # The row names the login that is replaced. After a restart it would expire under this one's session.
            lease.change = _RENEWED
        lease.session_id = session_id
        self._shared.bind(lease, session_id)
        self._pending[lease.address] = at
        self._pending.move_to_end(lease.address)

    def _hand_back(self, lease: Lease) -> None:
        """To the session in accounting, which never lost its row."""
        lease.session_id = lease.previous
        lease.previous = 0
        lease.started = True
        self._pending.pop(lease.address, None)

    def _claim(self, address: bytes, key: Key, session_id: int, at: float) -> Lease | None:
        if self._statics.get(address, key[0]) != key[0]:
            return None
        lease = self._leases.get(address)
        if lease is None:
            lease = self._leases[address] = Lease(self.name, address, key, 0, at, 0.0)
            self._bind(lease, session_id, at)
        elif not lease.session_id:
            del self._released[address]
            lease.change = _RENEWED if lease.key == key else _MOVED
            self._bind(lease, session_id, at)
        elif lease.key != key and session_id != lease.session_id:
            return None
        else:
            same = lease.key == key and session_id == (lease.previous or lease.session_id)
            lease.change = _KEPT if same else _RENEWED
            self._shared.unbind(lease, lease.session_id)
            if lease.previous:
                self._shared.unbind(lease, lease.previous)
            lease.session_id = session_id
            self._shared.bind(lease, session_id)
        if lease.key != key:
            self._forget_key(lease)
            lease.key = key
        self._by_key[key] = lease
        lease.previous = 0
        lease.started = True
        self._pending.pop(address, None)
        return lease

    def _free(self, lease: Lease, at: float) -> None:
        """Of the session that its caller has unbound."""
        address = lease.address
        stamp = self._shared.stamp
        # A microsecond apart at least: released_at alone then tells the order, in memory and after a restart.
        self._shared.stamp = stamp = at if at > stamp else stamp + 1e-6
        lease.session_id = 0
        lease.released_at = stamp
        lease.started = False
        lease.change = _FREED
        self._counts[_FREED] += 1
        self._pending.pop(address, None)
        if address in self._statics:
            self._forget(lease)
            return
        self._bound -= 1
        if self._ranges and not (self._barred and self._bar_end(self._number(address))):
            self._released[address] = lease
        else:
            self._forget(lease)

    def _forget(self, lease: Lease) -> None:
        lease.change = _FORGOTTEN
        self._shared.forgotten.append((lease.pool, lease.address))
        self._released.pop(lease.address, None)
        del self._leases[lease.address]
        self._forget_key(lease)

    def _forget_key(self, lease: Lease) -> None:
        if self._by_key.get(lease.key) is lease:
            del self._by_key[lease.key]

    def _expire(self, at: float, hold_s: float, expired: list[Lease]) -> None:
        pending = self._pending
        while pending and len(expired) < POOL_EXPIRE_COUNT_MAX:
            address = next(iter(pending))
            if pending[address] + hold_s > at:
                return
            lease = self._leases[address]
            self._shared.unbind(lease, lease.session_id)
            if lease.previous:
                self._hand_back(lease)
                continue
            self._free(lease, at)
            self._expired += 1
            expired.append(lease)

    def _reserve(self, address: bytes, service: int) -> None:
        lease = self._leases.get(address)
        if lease is not None and not lease.session_id:
            self._forget(lease)
        elif lease is not None and address not in self._statics:
            self._bound -= 1
        self._statics[address] = service

    def _unreserve(self, address: bytes) -> None:
        del self._statics[address]
        if address in self._leases:
            self._bound += 1
        else:
            first = self._number(address)
            self._give_back(first, first + self._step)

    def _bar(self, first: int, shift: int) -> None:
        """Remembered leases under it are forgotten when their turn comes."""
        shift = max(shift, self._shift)
        table = self._barred.setdefault(shift, {})
        table[first >> shift] = table.get(first >> shift, 0) + 1

    def _unbar(self, first: int, shift: int) -> None:
        shift = max(shift, self._shift)
        table = self._barred[shift]
        prefix = first >> shift
        table[prefix] -= 1
        if not table[prefix]:
            del table[prefix]
            if not table:
                del self._barred[shift]
            self._give_back(prefix << shift, (prefix + 1) << shift)

    def _give_back(self, first: int, end: int) -> None:
        """Count addresses as never used."""
        unvisited = self._unvisited()
        visited = _without(_without([(first, end)], _without([(first, end)], self._ranges)), unvisited)
        if visited:
            self._set_fresh(_merge(unvisited + visited))

    def _unvisited(self) -> list[Run]:
        """Ascending."""
        runs = self._fresh[::-1]
        return [(self._next, self._end), *runs] if self._next < self._end else runs

    def _set_fresh(self, runs: list[Run]) -> None:
        self._next = self._end = 0
        self._fresh = runs[::-1]

    def _set_ranges(self, ranges: list[Run]) -> list[Lease]:
        """Leases that have no place any more, by address; they are taken out."""
        if ranges == self._ranges:
            return []
        lost = _without(self._ranges, ranges)
        visited = _without(self._ranges, self._unvisited())
        self._ranges = ranges
        self._set_fresh(_without(ranges, visited))
        if not lost:
            return []
        return self._evict([lease for lease in self._leases.values() if _is_within(self._number(lease.address), lost)])

    def _evict(self, leases: Iterable[Lease]) -> list[Lease]:
        evicted = sorted(leases, key=_by_address)
        for lease in evicted:
            address = lease.address
            del self._leases[address]
            self._forget_key(lease)
            self._pending.pop(address, None)
            if self._released.pop(address, None) is None and address not in self._statics:
                self._bound -= 1
        return evicted

    def _adopt(self, lease: Lease) -> None:
        """Take in a lease that is in no pool; `_sort` follows. Taken in ascending order they cost nothing later."""
        address = lease.address
        self._leases[address] = lease
        self._by_key.setdefault(lease.key, lease)
        if lease.session_id:
            # Of two leases of one key, which claims and merged pools make, the one bound last is the key's.
            other = self._by_key[lease.key]
            if not other.session_id or other.bound_at <= lease.bound_at:
                self._by_key[lease.key] = lease
            if not lease.started:
                self._pending[address] = lease.bound_at
            if address not in self._statics:
                self._bound += 1
        else:
            self._released[address] = lease
        if self._next >= self._end and self._fresh:
            self._next, self._end = self._fresh.pop()
        if self._ranges and self._next < self._end and self._number(address) == self._next:
            self._next += self._step

    def _sort(self) -> None:
        self._released = OrderedDict(sorted(self._released.items(), key=lambda item: item[1].released_at))
        self._pending = OrderedDict(sorted(self._pending.items(), key=lambda item: (item[1], item[0])))


class Pools:
    """All pools, their leases by session, and the static addresses among them."""

    def __init__(
        self, configs: Sequence[PoolConfig] = (), operator_of: Callable[[int], str] = lambda service: "default"
    ) -> None:
        """operator_of: whose address space a service number is in, also of a service that is gone; asked when leases
        are loaded or change their pool. Needed where operators have pools of their own.

        Raises PoolError like `reconfigure`.
        """
        self._operator_of = operator_of
        self._shared = _Shared()
        self._pools: dict[tuple[str, str], Pool] = {}
        self._by_name: dict[str, tuple[Pool, ...]] = {}
        self._places: dict[tuple[str | None, int, int], tuple[list[int], list[tuple[int, Pool]]]] = {}
        """By operator, address size and length: first addresses, and with each the end and its pool."""
        self._outside: dict[str, Pool] = {}
        """Leases still bound whose range was taken out of the configuration."""
        self._statics: dict[tuple[str, bytes], int] = {}
        self.reconfigure(configs)

    def named(self, name: str) -> tuple[Pool, ...]:
        """The pools of a name, one for each kind, which are leased together; none where the name is not ours."""
        return self._by_name.get(name, ())

    def of_session(self, session_id: int) -> tuple[Lease, ...]:
        """Leases bound to a session."""
        return tuple(lease for lease in self._shared.sessions.get(session_id, ()) if lease.session_id == session_id)

    def confirm(self, session_id: int) -> list[Lease]:
        """The session was seen in accounting: its leases are held until it ends. Returns those whose row changed."""
        changed = []
        for lease in self._shared.sessions.get(session_id, ()):
            if lease.session_id == session_id and not lease.started:
                lease.started = True
                self._home(lease)._pending.pop(lease.address, None)
                if lease.previous:
                    self._shared.unbind(lease, lease.previous)
                    lease.previous = 0
                    lease.change = _RENEWED
                    changed.append(lease)
        return changed

    def release_session(self, session_id: int, at: float) -> list[Lease]:
        """The session is over. Returns its leases: FREED, FORGOTTEN, or RENEWED for the login that had taken over.

        Those that go back to the session before it, their row unchanged, are not among them.
        """
        changed = []
        for lease in self._shared.sessions.pop(session_id, ()):
            if lease.session_id != session_id:
                lease.previous = 0
                lease.change = _RENEWED
            elif lease.previous:
                self._home(lease)._hand_back(lease)
                continue
            else:
                self._release(lease, at)
            changed.append(lease)
        return changed

    def release(self, lease: Lease, at: float) -> bool:
        """Free one lease, whatever session has it; False when it was free already."""
        if not lease.session_id:
            return False
        self._shared.unbind(lease, lease.session_id)
        if lease.previous:
            self._shared.unbind(lease, lease.previous)
            lease.previous = 0
        self._release(lease, at)
        return True

    def expire(self, at: float, hold_s: float) -> list[Lease]:
        """Free the leases given out hold_s seconds ago or earlier whose session never showed in accounting.

        At most POOL_EXPIRE_COUNT_MAX in one call; call again while that many come back.
        """
        expired: list[Lease] = []
        for pool in self._pools.values():
            pool._expire(at, hold_s, expired)
        for pool in self._outside.values():
            before = len(expired)
            pool._expire(at, hold_s, expired)
            for lease in expired[before:]:
                self._leave_outside(lease, pool.operator)
        return expired

    def claim(self, operator: str, address: bytes, key: Key, session_id: int, at: float) -> Lease | None:
        """Bind an address that a session is known to use: seen in accounting, or static.

        None when no pool has the address, or when it is bound or reserved for someone else. A session that had another
        lease keeps both until it ends, or until `release`. Raises ValueError for what is no address.
        """
        address = _canonical(address)
        pool = self._place(operator, address)
        return None if pool is None else pool._claim(address, key, session_id, at)

    def find(self, operator: str, address: bytes) -> Lease | None:
        """The lease of an address, bound or remembered."""
        address = _canonical(address)
        pool = self._place(operator, address)
        return None if pool is None else pool.find(address)

    def reserve(self, operator: str, address: bytes, service: int) -> None:
        """Keep a static address or prefix for a service; whoever has it now keeps it until its session ends.

        Raises PoolError for an address reserved for another service, and for a prefix that would take more than
        POOL_BARRED_COUNT_MAX leases from a pool.
        """
        address = _canonical(address)
        owner = self._statics.get((operator, address))
        if owner == service:
            return
        if owner is not None:
            raise PoolError(f"{show_address(address)} is static for another service already")
        first, end, shift = _span(address)
        overlaps = self._overlaps(operator, address)
        for other in overlaps:
            if (end - first) // other._step > POOL_BARRED_COUNT_MAX:
                raise PoolError(
                    f"{show_address(address)} would take more than {POOL_BARRED_COUNT_MAX} prefixes from the pool "
                    f'"{other.name}"; exclude it there'
                )
        self._statics[operator, address] = service
        pool = self._place(operator, address)
        if pool is not None:
            pool._reserve(address, service)
        for other in overlaps:
            other._bar(first, shift)

    def unreserve(self, operator: str, address: bytes) -> None:
        """Let a static address go back to its pool. One that was not reserved is ignored."""
        address = _canonical(address)
        if self._statics.pop((operator, address), None) is None:
            return
        pool = self._place(operator, address)
        if pool is not None:
            pool._unreserve(address)
        first, _, shift = _span(address)
        for other in self._overlaps(operator, address):
            other._unbar(first, shift)

    def forgotten(self) -> list[tuple[str, bytes]]:
        """Pool name and address of the rows to delete; each is named once. Ask after every batch of calls."""
        rows, self._shared.forgotten = self._shared.forgotten, []
        return [row for row in dict.fromkeys(rows) if not self._has_row(*row)]

    def _has_row(self, name: str, address: bytes) -> bool:
        for pool in (*self._by_name.get(name, ()), *self._outside.values()):
            lease = pool._leases.get(address)
            if lease is not None and lease.pool == name:
                return True
        return False

    def rows(self) -> Iterator[LeaseRow]:
        """Every lease as it should stand in the store."""
        for pool in (*self._pools.values(), *self._outside.values()):
            for lease in pool._leases.values():
                yield lease.row()

    def load(self, rows: Iterable[LeaseRow]) -> list[Lease]:
        """Take over what the store has, into pools without leases; before or after `reserve`.

        Bound leases count as not started until `confirm` or `claim`.
        Returns leases whose row is to be written, as they are now in a pool of another name.
        """
        leases = []
        for name, address, service, slot, session_id, bound_at, released_at in rows:
            lease = Lease(name, address, (service, slot), session_id, bound_at, released_at, change=_KEPT)
            leases.append(lease)
            self._shared.stamp = max(self._shared.stamp, released_at)
            if session_id:
                self._shared.bind(lease, session_id)
        moved = self._settle(leases)
        self._renew_bars()
        return moved

    def usage(self) -> list[PoolUsage]:
        """Figures of every pool."""
        return [pool.usage() for pool in self._pools.values()]

    def reconfigure(self, configs: Sequence[PoolConfig]) -> list[Lease]:
        """Take new ranges. Leases stay where their range remains, be it in a pool of another name; bound ones whose
        range is gone stay with their session until it ends, and their addresses are not given out meanwhile.

        Claim the addresses of live sessions again after ranges were added.
        Returns leases whose row is to be written, as they are now in a pool of another name.
        Raises PoolError, with nothing changed, for ranges that overlap, do not parse or are too many.
        Cost: O(ranges and static addresses); where ranges in use are taken away, O(leases of that pool) as well.
        """
        parsed = _parse(configs)
        pools: dict[tuple[str, str], Pool] = {}
        evicted: list[Lease] = []
        for config, length, ranges in parsed:
            name: tuple[str, str] = (config.name, config.kind)
            pool = self._pools.get(name)
            if pool is None or pool.length != length or pool.operator != config.operator:
                pool = Pool(config.name, config.kind, config.operator, length, self._shared)
            pool.hold_s = config.hold
            evicted += pool._set_ranges(ranges)
            pools[name] = pool
        gone = [pool for name, pool in self._pools.items() if pools.get(name) is not pool]
        for pool in (*gone, *self._outside.values()):
            evicted += pool._evict(pool._leases.values())
        self._outside.clear()
        self._pools = pools
        self._index()
        self._renew_statics()
        moved = self._settle(evicted)
        self._renew_bars()
        return moved

    def _settle(self, leases: list[Lease]) -> list[Lease]:
        """Put leases where they belong now. Returns those whose row changes its pool."""
        moved = []
        touched: dict[int, Pool] = {}
        leases.sort(key=lambda lease: (lease.address, lease.session_id == 0, lease.pool))
        for lease in leases:
            operator = self._operator_of(lease.key[0])
            pool = self._place(operator, lease.address)
            if pool is None and lease.session_id:
                pool = self._out(operator)
            before = lease.pool
            is_free = not lease.session_id
            if pool is None or lease.address in pool._leases or (is_free and lease.address in pool._statics):
                lease.change = _FORGOTTEN
                self._shared.forgotten.append((before, lease.address))
                self._shared.unbind(lease, lease.session_id)
                self._shared.unbind(lease, lease.previous)
                continue
            pool._adopt(lease)
            touched[id(pool)] = pool
            if pool._ranges and pool.name != before:
                lease.pool = pool.name
                lease.change = _FREED if is_free else _RENEWED
                self._shared.forgotten.append((before, lease.address))
                moved.append(lease)
        for pool in touched.values():
            pool._sort()
        return moved

    def _index(self) -> None:
        self._by_name = {}
        rows: dict[tuple[str | None, int, int], list[tuple[int, int, Pool]]] = {}
        for pool in self._pools.values():
            self._by_name[pool.name] = (*self._by_name.get(pool.name, ()), pool)
            space = rows.setdefault((pool.operator, pool._size, pool.length), [])
            space.extend((first, end, pool) for first, end in pool._ranges)
        self._places = {}
        for key, space in rows.items():
            space.sort(key=lambda row: row[0])
            self._places[key] = ([row[0] for row in space], [(row[1], row[2]) for row in space])

    def _place(self, operator: str, address: bytes) -> Pool | None:
        """The pool whose ranges have the address: the operator's own, or one that is everybody's."""
        first, _, shift = _span(address)
        size = len(address) & ~1
        for owner in (operator, None):
            space = self._places.get((owner, size, size * 8 - shift))
            if space is not None:
                at = bisect_right(space[0], first) - 1
                if at >= 0 and first < space[1][at][0]:
                    return space[1][at][1]
        return None

    def _out(self, operator: str) -> Pool:
        pool = self._outside.get(operator)
        if pool is None:
            pool = self._outside[operator] = Pool("", "delegated", operator, 128, self._shared)
        return pool

    def _home(self, lease: Lease) -> Pool:
        """The pool that a lease is in."""
        for pool in self._by_name.get(lease.pool, ()):
            if pool._leases.get(lease.address) is lease:
                return pool
        for pool in self._outside.values():
            if pool._leases.get(lease.address) is lease:
                return pool
        for pool in self._pools.values():
            if pool._leases.get(lease.address) is lease:
                return pool
        raise LookupError("a lease that these pools do not have")

    def _release(self, lease: Lease, at: float) -> None:
        pool = self._home(lease)
        pool._free(lease, at)
        if not pool._ranges and lease.address not in pool._leases:
            self._leave_outside(lease, pool.operator)

    def _leave_outside(self, lease: Lease, operator: str | None) -> None:
        first, _, shift = _span(lease.address)
        for pool in self._overlaps(operator, lease.address):
            pool._unbar(first, shift)

    def _overlaps(self, operator: str | None, address: bytes) -> list[Pool]:
        """Pools that could give out, under another prefix length, some of an address's range."""
        first, end, shift = _span(address)
        size = len(address) & ~1
        found: dict[int, Pool] = {}
        for (owner, other_size, length), (starts, places) in self._places.items():
            if other_size != size or length == size * 8 - shift or owner not in (operator, None):
                continue
            at = bisect_right(starts, end - 1) - 1
            while at >= 0 and places[at][0] > first:
                found[id(places[at][1])] = places[at][1]
                at -= 1
        return list(found.values())

    def _renew_statics(self) -> None:
        wanted: dict[int, dict[bytes, int]] = {}
        for (operator, address), service in self._statics.items():
            pool = self._place(operator, address)
            if pool is not None:
                wanted.setdefault(id(pool), {})[address] = service
        for pool in self._pools.values():
            statics = wanted.get(id(pool), {})
            for address in [address for address in pool._statics if address not in statics]:
                pool._unreserve(address)
            for address, service in statics.items():
                pool._reserve(address, service)

    def _renew_bars(self) -> None:
        before = [(pool, pool._barred) for pool in self._pools.values()]
        for pool, _ in before:
            pool._barred = {}
        for operator, address in self._statics:
            first, _, shift = _span(address)
            for pool in self._overlaps(operator, address):
                pool._bar(first, shift)
        for operator, outside in self._outside.items():
            for address in outside._leases:
                first, _, shift = _span(address)
                for pool in self._overlaps(operator, address):
                    pool._bar(first, shift)
        for pool, barred in before:
            for shift, table in barred.items():
                still = pool._barred.get(shift, {})
                for prefix in table:
                    if prefix not in still:
                        pool._give_back(prefix << shift, (prefix + 1) << shift)


def _span(address: bytes) -> tuple[int, int, int]:
    """(first, end, bits behind the prefix) of 4 octets, or of a length octet and 16. Raises ValueError for another."""
    if len(address) == 4:
        first = int.from_bytes(address, "big")
        return first, first + 1, 0
    if len(address) != 17 or address[0] > 128:
        raise ValueError("an address is 4 octets, a prefix its length in an octet and 16 octets")
    shift = 128 - address[0]
    first = int.from_bytes(address[1:], "big") >> shift << shift
    return first, first + (1 << shift), shift


def _canonical(address: bytes) -> bytes:
    """Without bits behind the prefix, which some NASes leave set."""
    if len(address) == 4:
        return address
    return address[:1] + _span(address)[0].to_bytes(16, "big")


def show_address(address: bytes) -> str:
    """192.0.2.1, or 2001:db8::/56."""
    if len(address) == 4:
        return str(IPv4Address(address))
    return f"{IPv6Address(address[1:])}/{address[0]}"


def _by_address(lease: Lease) -> bytes:
    return lease.address


def _without(runs: Sequence[Run], taken: Sequence[Run]) -> list[Run]:
    """What is left of ascending runs when others, ascending too, are taken out."""
    left = []
    position = 0
    for start, end in runs:
        first = start
        while position < len(taken) and taken[position][1] <= first:
            position += 1
        at = position
        while at < len(taken) and taken[at][0] < end:
            if taken[at][0] > first:
                left.append((first, taken[at][0]))
            first = max(first, taken[at][1])
            at += 1
        if first < end:
            left.append((first, end))
    return left


def _is_within(number: int, runs: Sequence[Run]) -> bool:
    at = bisect_right(runs, number, key=lambda run: run[0]) - 1
    return at >= 0 and number < runs[at][1]


def _merge(runs: Iterable[Run]) -> list[Run]:
    """Ascending, with runs that touch or overlap made one."""
    merged: list[Run] = []
    for first, end in sorted(runs):
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((first, end))
    return merged


def _parse(configs: Sequence[PoolConfig]) -> list[tuple[PoolConfig, int, list[Run]]]:
    """(config, prefix length, runs of whole prefixes) of each pool."""
    parsed = []
    seen: set[tuple[str, str]] = set()
    owned: list[tuple[int, int, int, PoolConfig]] = []
    for config in configs:
        if (config.name, config.kind) in seen:
            raise PoolError(f'pool "{config.name}": there are two of kind {config.kind}')
        seen.add((config.name, config.kind))
        version, bits = (4, 32) if config.kind == "ipv4" else (6, 128)
        length = _LENGTHS[config.kind] if config.prefix_length is None else config.prefix_length
        if not 1 <= length <= bits or (version == 4 and length != 32):
            raise PoolError(f'pool "{config.name}": prefix_length {length} is not for {config.kind}')
        if len(config.ranges) + len(config.exclude) > POOL_RANGES_COUNT_MAX:
            raise PoolError(f'pool "{config.name}": more than {POOL_RANGES_COUNT_MAX} ranges')
        step = 1 << (bits - length)
        # Ranges shrink to whole prefixes, exclusions grow to them.
        ranges = [
            (-(-first // step) * step, (last + 1) // step * step)
            for first, last in _read(config.name, config.ranges, version)
        ]
        excluded = [
            (first // step * step, -(-(last + 1) // step) * step)
            for first, last in _read(config.name, config.exclude, version)
        ]
        runs = _without(_merge(run for run in ranges if run[0] < run[1]), _merge(excluded))
        parsed.append((config, length, runs))
        owned += [(version, first, end, config) for first, end in runs]
    owned.sort(key=lambda row: row[:3])
    _check_overlaps(owned)
    return parsed


def _read(name: str, texts: Sequence[str], version: int) -> list[Run]:
    found = []
    for text in texts:
        try:
            kind, first, last = parse_range(text)
        except ValueError as error:
            raise PoolError(f'pool "{name}": {error}') from None
        if kind != version:
            raise PoolError(f'pool "{name}": "{text}" is IPv{kind}, this kind of pool is IPv{version}')
        found.append((first, last))
    return found


def _check_overlaps(owned: list[tuple[int, int, int, PoolConfig]]) -> None:
    """Two operators may have the same private addresses, in two networks; nobody else may."""
    reach: dict[tuple[int, str | None], tuple[int, PoolConfig]] = {}
    for version, first, end, config in owned:
        for (other_version, operator), (other_end, other) in reach.items():
            shares = operator == config.operator or None in (operator, config.operator)
            if other_version == version and shares and first < other_end:
                raise PoolError(f'pools "{other.name}" and "{config.name}" overlap; every address is leased once')
        key = (version, config.operator)
        if key not in reach or reach[key][0] < end:
            reach[key] = (end, config)
