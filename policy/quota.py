"""Buckets of octets and how usage empties them: pure integer arithmetic. Knows no clock and no storage.

A balance's buckets are a tuple in the order in which they are used up: what ends first goes first; of what ends at the
same moment, what was rolled over, then the cycle's, then top-ups. Usage above all buckets is paid by none of them, also
not by one that is bought later.
"""

from bisect import insort
from collections.abc import Iterable
from typing import Literal

from msgspec import Struct

Buckets = tuple["Bucket", ...]


class Bucket(Struct, frozen=True, gc=False, omit_defaults=True):
    """Octets that may be used until a moment."""

    kind: Literal["cycle", "roll_over", "top_up"]
    id: str
    """Of a top-up: the client's own; else the service's that brings it."""
    octets: int
    ends_at: float
    """Epoch seconds, exclusive; what is left then is lost (of a cycle's: rolled over where the plan says so)."""
    used: int = 0

    @property
    def left(self) -> int:
        """Never below 0: a plan may be changed to less than was used."""
        return max(0, self.octets - self.used)


class Allowance(Struct, frozen=True, gc=False):
    """What one service brings into a cycle."""

    id: str
    """The service's."""
    octets: int
    roll_over_octets_max: int = 0


ORDER = {"roll_over": 0, "cycle": 1, "top_up": 2}


def rank(bucket: Bucket) -> tuple[float, int, str]:
    """Sorts buckets into the order in which they are used up."""
    return bucket.ends_at, ORDER[bucket.kind], bucket.id


def offered_octets(buckets: Buckets) -> int:
    """All that there is and was."""
    return sum([bucket.octets for bucket in buckets])


def left_octets(buckets: Buckets) -> int:
    """What may still be used."""
    return sum([bucket.left for bucket in buckets])


def spend(buckets: Buckets, octets: int) -> Buckets:
    """Use octets up, bucket by bucket."""
    if octets <= 0:
        return buckets
    spent = list(buckets)
    for position, bucket in enumerate(buckets):
        part = min(octets, bucket.left)
        if part:
            spent[position] = Bucket(bucket.kind, bucket.id, bucket.octets, bucket.ends_at, bucket.used + part)
            octets -= part
            if not octets:
                break
    return tuple(spent)


def place(buckets: Buckets, bucket: Bucket) -> Buckets:
    """Add a bucket, or put it in place of the one of its kind and id."""
    others = [other for other in buckets if other.id != bucket.id or other.kind != bucket.kind]
    insort(others, bucket, key=rank)
    return tuple(others)


def close(bucket: Bucket) -> Bucket:
    """A bucket that offers no more than was used of it."""
    return Bucket(bucket.kind, bucket.id, bucket.used, bucket.ends_at, bucket.used)


def end(buckets: Buckets, at: float) -> Buckets:
    """Close the buckets whose time is over; those of which nothing was used are gone."""
    if not buckets or buckets[0].ends_at > at:
        return buckets
    ended = [close(bucket) for bucket in buckets if bucket.ends_at <= at and bucket.used]
    return (*ended, *[bucket for bucket in buckets if bucket.ends_at > at])


def turn(
    buckets: Buckets, allowances: Iterable[Allowance], at: float, ends_at: float, skipped: bool = False
) -> Buckets:
    """The buckets of another cycle, which `at` falls into and which ends at ends_at.

    skipped: at least one whole cycle has passed since, in which nothing was used: it is that one which rolls over.
    """
    left = {bucket.id: bucket.left for bucket in buckets if bucket.kind == "cycle"}
    made = [
        Bucket("top_up", bucket.id, bucket.left, bucket.ends_at)
        for bucket in buckets
        if bucket.kind == "top_up" and bucket.ends_at > at and bucket.left
    ]
    for allowance in allowances:
        carried = allowance.octets if skipped else left.get(allowance.id, 0)
        rolled = min(carried, allowance.roll_over_octets_max)
        if rolled:
            made.append(Bucket("roll_over", allowance.id, rolled, ends_at))
        made.append(Bucket("cycle", allowance.id, allowance.octets, ends_at))
    return tuple(sorted(made, key=rank))


def room_below(offered: int, left: int, percent: int) -> int:
    """Octets that may still be used before `percent` of all that is offered are; 0 or below: they are."""
    return left - offered + (offered * percent + 99) // 100


def first_change(buckets: Buckets, spent: int, cycle_ends_at: float) -> float:
    """When time alone changes what is left: the end of the first bucket that is not used up, or the cycle's turn.

    spent: octets that the buckets do not know of yet.
    """
    for bucket in buckets:
        if bucket.ends_at >= cycle_ends_at:
            break
        left = bucket.left
        if left > spent:
            return bucket.ends_at
        spent -= left
    return cycle_ends_at
