"""Sequence numbers of SIMs: what makes a challenge fresh to a USIM, and never used twice, whatever happens here.

SQN = SEQ || IND. SEQ grows by one with every challenge, whoever asks, so it never repeats; IND is the slot of the
USIM's list that belongs to who asks, so that challenges of several nodes may be used in any order. A SIM's row says up
to where SEQ may have been given out: a block is reserved on the disk before the first of it leaves, and a start goes on
behind it. Only an AUTS that the USIM signed leads back. Deterministic; knows no algorithm and no wire.

Source: TS 33.102 §6.3 and Annex C.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from aaa.limits import SQN_BLOCK_COUNT, SQN_RESTORE_JUMP_COUNT
from aaa.model.shelves import SimRecord
from aaa.state.backup import SQN_JUMP
from aaa.state.schema import Row
from aaa.state.store import Store

IND_BITS: Final = 5
"""Low bits of an SQN that name a slot of the USIM's list: TS 33.102 Annex C.3.2, and its array of 32."""
IND_MASK: Final = (1 << IND_BITS) - 1
SQN_MAX: Final = 2**48 - 1
SEQ_MAX: Final = SQN_MAX >> IND_BITS
LEAP: Final = 1 << 28
"""Δ of Annex C.2.1: a SEQ so far ahead of the USIM's is not accepted."""


def next_sqn(sqn: int, slot: int) -> int:
    """The SQN after `sqn`: SEQ one higher, and IND of who asks. Raises ValueError when SEQ is used up, after 2^43.

    Source: TS 33.102 Annex C.1.2 (SQN = SEQ || IND) and C.3.2 (partly time-less profile).
    """
    sequence = (sqn >> IND_BITS) + 1
    if sequence > SEQ_MAX:
        raise ValueError("the sequence numbers of this SIM are used up")
    return sequence << IND_BITS | slot & IND_MASK


def jump_sqn(sqn: int, challenges: int) -> int:
    """An SQN that many challenges ahead, at most at the end."""
    return min((sqn >> IND_BITS) + challenges, SEQ_MAX) << IND_BITS | sqn & IND_MASK


def resynchronised(stored: int, sqn_ms: int) -> int:
    """The stored SQN after a verified AUTS that told `sqn_ms`: the USIM's, so that the next one is fresh to it.

    It only moves where the next SQN would not be accepted: the highest SEQ of the USIM is not below the stored one, or
    so far behind it that the USIM takes it for a leap. Source: TS 33.102 §6.3.5.
    """
    own, theirs = stored >> IND_BITS, sqn_ms >> IND_BITS
    return sqn_ms if theirs >= own or own - theirs >= LEAP else stored


def take_sqn(store: Store, sim: SimRecord, slot: int) -> int:
    """The next SQN of a SIM, which is now used. Its challenge leaves when the open journal group is durable.

    slot: any number of who asks; its low bits count. Raises ValueError when there is none left.
    """
    sqn = next_sqn(sim.sqn, slot)
    sim.sqn = sqn
    if sqn > sim.sqn_reserved:
        reserve(store, sim)
    return sqn


def reserve(store: Store, sim: SimRecord) -> None:
    """Write that the next block of a SIM's SEQ may be given out."""
    sim.sqn_reserved = jump_sqn(sim.sqn, SQN_BLOCK_COUNT - 1) | IND_MASK
    store.journal.append(Row.SIM_SQN, (sim.no, sim.sqn_reserved))


def resynchronise(store: Store, sim: SimRecord, sqn_ms: int) -> None:
    """Go on from where the USIM is, which an AUTS that was verified has told: the only way down."""
    sqn = resynchronised(sim.sqn, sqn_ms)
    if sqn != sim.sqn:
        sim.sqn = sqn
        reserve(store, sim)


def jump_after_restore(db: sqlite3.Connection) -> bool:
    """Whether a backup was restored since the last start: then SIMs used SQNs that the copy does not know of, and every
    one of them jumps ahead of those, durable before anything is served."""
    if db.execute("SELECT 1 FROM meta WHERE key = ?", (SQN_JUMP,)).fetchone() is None:
        return False
    db.execute("BEGIN IMMEDIATE")
    db.execute(
        "INSERT OR REPLACE INTO sim_sqn SELECT no, min((last >> ?1) + ?2, ?3) << ?1 | ?4 FROM"
        " (SELECT sim.no, coalesce(sim_sqn.sqn, json_extract(sim.body, '$.sqn'), 0) AS last"
        " FROM sim LEFT JOIN sim_sqn ON sim_sqn.sim = sim.no)",
        (IND_BITS, SQN_RESTORE_JUMP_COUNT, SEQ_MAX, IND_MASK),
    )
    db.execute("DELETE FROM meta WHERE key = ?", (SQN_JUMP,))
    db.execute("COMMIT")
    return True
