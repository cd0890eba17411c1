"""Quota that Gy sessions hold: granted, and not reported yet.

Invariant: Account.reserved_octets is the sum over the live Gy sessions of all services that draw from it of their
grants in force, but for those that are free. It is not stored: sessions' rows have the grants. Deterministic.
"""

from __future__ import annotations

from aaa.model.mobile import GY, GyFacts
from aaa.model.records import ACTIVE, Account, ServiceRecord, SessionRecord
from aaa.state.store import Store


def held_octets(facts: GyFacts) -> int:
    """What a session's grants in force keep from others."""
    if facts.released:
        return 0
    return sum([grant.octets for grant in facts.grants.values() if not grant.free])


def reserved_of(service: ServiceRecord) -> int:
    """What all live sessions of a service hold: it moves with the service from one balance to another."""
    live = service.live
    if live is None:
        return 0
    sessions = [session for session in live.sessions if session.protocol == GY and session.state == ACTIVE]
    return sum([held_octets(session.mobile) for session in sessions])


def account_of(session: SessionRecord) -> Account | None:
    """The balance that a session draws from."""
    service = session.service
    return None if service is None else service.account


def left_of(account: Account) -> int:
    """What may still be charged to an account; 0 or below: it is exhausted."""
    return account.left_octets - (account.charged_octets - account.settled_octets)


def release(store: Store, session: SessionRecord) -> None:
    """A Gy session is over: what it holds is anybody's, and who was told that there is no more is looked at.

    Harmless when repeated.
    """
    facts: GyFacts = session.mobile
    account = account_of(session)
    if account is not None:
        left = left_of(account)
        was_short = left <= account.reserved_octets
        account.reserved_octets -= held_octets(facts)
        if was_short and left > account.reserved_octets:
            for member in account.members:
                store.affect(member)
    facts.released = True


def hold_again(session: SessionRecord) -> None:
    """A session that was closed here goes on: its client still has what it was granted."""
    facts: GyFacts = session.mobile
    facts.released = False
    account = account_of(session)
    if account is not None:
        account.reserved_octets += held_octets(facts)


def restore(session: SessionRecord) -> None:
    """A live session was loaded."""
    account = account_of(session)
    if account is not None:
        account.reserved_octets += held_octets(session.mobile)
