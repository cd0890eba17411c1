"""Which of the sessions that report one bearer is charged: each octet once, whoever comes and goes in whatever order.

A bearer may be reported by Gy, by Gx's usage monitoring and by RADIUS accounting of its gateway. They belong together
by the address, or, as long as one of them does not tell it, by IMSI and APN. The first of them in METERS that reports
usage is charged; what the others report is kept with them for reconciliation.

They report at different times. So who takes over from one that has ended is charged for what it reports beyond what
that one has: `credit` is what of its next reports is paid already. And where a session learns late that it belongs to a
bearer, both were charged until then: what both had reported is given back, and what the other was ahead is the credit
of the one that goes on to be charged.
Deterministic; knows no protocol.
"""

from __future__ import annotations

from typing import Final

from aaa.model.mobile import EVENT, GX, GY, RADIUS
from aaa.model.records import ACTIVE, DOWN, UP, ServiceRecord, SessionRecord
from aaa.state.ledger import give_back
from aaa.state.store import WHOLE, Store
from policy.windows import charged_share

METERS: Final = {GY: 0, GX: 1, RADIUS: 2}
"""Who is charged first."""
TOGETHER_S: Final = 5.0
"""Sessions of one bearer that began within this count the same octets."""


def choose_meter(store: Store, session: SessionRecord) -> None:
    """A session has come or ended, has learned an address, or begins or ceases to report usage: the sessions of its
    service are charged accordingly from now on. Cheap where nothing is shared; harmless when repeated."""
    service = session.service
    if service is None or service.live is None or session.protocol not in METERS:
        return
    if len(service.live.sessions) == 1 and not service.live.sessions[0].shadowed:
        return
    reporting = [other for other in service.live.sessions if other.protocol in (GX, GY) and other.state == ACTIVE]
    if reporting or session.protocol != RADIUS:
        settle_meters(store, service, reporting, session)


def settle_meters(store: Store, service: ServiceRecord, reporting: list[SessionRecord], came: SessionRecord) -> None:
    """reporting: the service's live Gx and Gy sessions. came: the session that is the reason to look."""
    assert service.live is not None
    # Who takes over comes before who gives way to it.
    for session in sorted(service.live.sessions, key=lambda each: METERS.get(each.protocol, 0)):
        if session.protocol not in METERS or session.state != ACTIVE or session.service_session:
            continue
        meter = None
        rank = METERS[session.protocol]
        for other in reporting:
            if METERS[other.protocol] < rank and reports(other) and is_same(session, other):
                meter, rank = other, METERS[other.protocol]
        if meter is None:
            if session.shadowed:
                take_over(store, session)
        elif session.meter is None or session.meter[0] != meter.id:
            give_way(store, session, meter, session is came)


def reports(session: SessionRecord) -> bool:
    """Whether its client reports what the bearer uses: on Gx only where it was asked to; a one-time event of Gy is
    about something else."""
    if session.protocol == GX:
        return bool(session.mobile.monitored)
    return session.protocol != GY or session.mobile.kind != EVENT


def is_same(one: SessionRecord, other: SessionRecord) -> bool:
    """Whether two sessions of a service are about one bearer."""
    if one.framed_ip is not None and other.framed_ip is not None:
        return one.framed_ip == other.framed_ip
    if one.framed_prefix is not None and other.framed_prefix is not None:
        return one.framed_prefix == other.framed_prefix
    if one.mobile is not None and other.mobile is not None:
        here, there = one.mobile, other.mobile
        return bool(here.imsi == there.imsi and here.apn == there.apn)
    return False


def charged_session(session: SessionRecord) -> SessionRecord | None:
    """The live session that is charged for the bearer of a live one, which may be that itself; None: none is."""
    if not session.shadowed and session.protocol in METERS and reports(session):
        return session
    service = session.service
    live = None if service is None else service.live
    if live is None or session.protocol not in METERS:
        return None
    metering = [
        other
        for other in live.sessions
        if other.protocol in METERS and other.state == ACTIVE and not other.shadowed and reports(other)
    ]
    return next((other for other in metering if other is not session and is_same(session, other)), None)


def give_way(store: Store, session: SessionRecord, meter: SessionRecord, learned: bool) -> None:
    """Another session of the bearer is charged from now on. learned: it has been before, without our knowing."""
    paid_input, paid_output = meter.credit or (0, 0)
    lead_input = meter.input_octets + paid_input - session.input_octets
    lead_output = meter.output_octets + paid_output - session.output_octets
    if session.shadowed:
        paid_input, paid_output = paid_ahead(store, session)
        lead_input -= paid_input
        lead_output -= paid_output
    if session.credit is not None:
        # What of this it has not reported yet, it reports while another one is charged.
        lead_input -= session.credit[0]
        lead_output -= session.credit[1]
        session.credit = None
    if not session.shadowed and learned:
        _, from_input, from_output = session.meter or (0, 0, 0)
        if session.started_at >= meter.started_at - TOGETHER_S:
            charged_input = max(0, session.input_octets - from_input)
            charged_output = max(0, session.output_octets - from_output)
            both_input = min(charged_input, meter.input_octets)
            both_output = min(charged_output, meter.output_octets)
            take_back(store, session, both_input, both_output)
            put_aside(store, session, both_input, both_output)
            add_credit(store, meter, charged_input - both_input, charged_output - both_output)
        if abs(session.started_at - meter.started_at) <= TOGETHER_S:
            lead_input = lead_output = 0
    session.meter = (meter.id, lead_input, lead_output)
    session.shadowed = True
    store.touch_session(session, WHOLE)


def take_back(store: Store, session: SessionRecord, input_octets: int, output_octets: int) -> None:
    """So much was charged twice in the running cycle."""
    service = session.service
    if service is None or not (input_octets or output_octets):
        return
    service.input_octets -= min(input_octets, service.input_octets)
    service.output_octets -= min(output_octets, service.output_octets)
    store.touch_usage(service)
    counts = service.plan.counts
    octets = (0 if counts == UP else output_octets) + (0 if counts == DOWN else input_octets)
    if service.plan.zero_rates:
        since, until = session.started_at, session.updated_at
        octets = charged_share(service.plan.body, store.policy.windows, store.zone, since, until, octets)
    if service.account is not None and octets:
        give_back(store, service.account, octets, session.heard_at)


def take_over(store: Store, session: SessionRecord) -> None:
    """Nobody else reports the bearer any more: this one is charged."""
    paid_input, paid_output = paid_ahead(store, session)
    session.shadowed = False
    session.meter = (0, session.input_octets + paid_input, session.output_octets + paid_output)
    add_credit(store, session, paid_input, paid_output)
    store.touch_session(session, WHOLE)


def paid_ahead(store: Store, session: SessionRecord) -> tuple[int, int]:
    """Octets that the session's meter was charged for and that the session has not reported yet."""
    assert session.meter is not None
    number, lead_input, lead_output = session.meter
    meter = store.sessions.get(number)
    if meter is None:
        return 0, 0
    return (
        max(0, meter.input_octets - session.input_octets - lead_input),
        max(0, meter.output_octets - session.output_octets - lead_output),
    )


def add_credit(store: Store, session: SessionRecord, input_octets: int, output_octets: int) -> None:
    """So much of what the session reports next is paid already."""
    if input_octets or output_octets:
        was_input, was_output = session.credit or (0, 0)
        session.credit = (was_input + input_octets, was_output + output_octets)
        store.touch_session(session, WHOLE)


def put_aside(store: Store, session: SessionRecord, input_octets: int, output_octets: int) -> None:
    """So much was reported by the session and is not charged to it."""
    was_input, was_output = session.aside or (0, 0)
    session.aside = (was_input + input_octets, was_output + output_octets)
    store.touch_session(session, WHOLE)


def spend_credit(store: Store, session: SessionRecord, input_octets: int, output_octets: int) -> tuple[int, int]:
    """What of newly reported octets is still to be charged."""
    credit_input, credit_output = session.credit or (0, 0)
    paid_input, paid_output = min(credit_input, input_octets), min(credit_output, output_octets)
    left = (credit_input - paid_input, credit_output - paid_output)
    session.credit = left if any(left) else None
    put_aside(store, session, paid_input, paid_output)
    return input_octets - paid_input, output_octets - paid_output
