"""RFC 3539 §3.4.1, row by row."""

import pytest

from aaa.diameter.watchdog import Order, Watchdog, WatchdogState


def watchdog(state: WatchdogState, pending: bool = False, answers: int = 0, jitter: float = 0.5) -> Watchdog:
    """At 0 seconds, by the ways that lead there."""
    made = Watchdog(30.0, lambda: jitter)
    if state is WatchdogState.INITIAL:
        return made
    made.connection_up(0.0)
    if state is WatchdogState.OKAY:
        made.pending = pending
        return made
    if state is WatchdogState.SUSPECT:
        made.pending = True
        made.expired(0.0)
        return made
    made.connection_down()
    if state is WatchdogState.REOPEN:
        made.connection_up(0.0)
        for _ in range(answers):
            made.received(True, 0.0)
        made.pending = pending
    return made


W, To = WatchdogState, Order
ROWS = [
    # state, pending, DWAs, event, orders, state after, pending after
    (W.OKAY, True, 0, "dwa", (), W.OKAY, False),
    (W.OKAY, True, 0, "other", (), W.OKAY, True),
    (W.SUSPECT, True, 0, "dwa", (To.FAILBACK,), W.OKAY, False),
    (W.SUSPECT, True, 0, "other", (To.FAILBACK,), W.OKAY, True),
    (W.REOPEN, True, 2, "dwa", (To.FAILBACK,), W.OKAY, False),
    (W.REOPEN, True, 1, "dwa", (), W.REOPEN, False),
    (W.REOPEN, True, 0, "other", (), W.REOPEN, True),
    (W.OKAY, False, 0, "timer", (To.SEND_WATCHDOG,), W.OKAY, True),
    (W.OKAY, True, 0, "timer", (To.FAILOVER,), W.SUSPECT, True),
    (W.SUSPECT, True, 0, "timer", (To.CLOSE_CONNECTION,), W.DOWN, True),
    (W.REOPEN, False, 1, "timer", (To.SEND_WATCHDOG,), W.REOPEN, True),
    (W.REOPEN, True, 1, "timer", (), W.REOPEN, True),
    (W.INITIAL, False, 0, "up", (), W.OKAY, False),
    (W.DOWN, False, 0, "up", (To.SEND_WATCHDOG,), W.REOPEN, True),
    (W.OKAY, False, 0, "down", (To.FAILOVER,), W.DOWN, False),
    (W.SUSPECT, True, 0, "down", (), W.DOWN, False),
    (W.REOPEN, True, 0, "down", (), W.DOWN, False),
]


@pytest.mark.parametrize(("state", "pending", "answers", "event", "orders", "after", "pending_after"), ROWS)
def test_row(state, pending, answers, event, orders, after, pending_after):
    tested = watchdog(state, pending, answers)
    assert tested.state is state
    match event:
        case "dwa" | "other":
            given = tested.received(event == "dwa", 10.0)
        case "timer":
            given = tested.expired(30.0)
        case "up":
            given = tested.connection_up(10.0)
        case _:
            given = tested.connection_down()
    assert (given, tested.state, tested.pending) == (orders, after, pending_after)


def test_a_reopened_connection_that_stays_silent_is_closed_on_the_third_expiry():
    tested = watchdog(WatchdogState.REOPEN, pending=True)
    assert tested.expired(30.0) == ()
    assert tested.expired(60.0) == (Order.CLOSE_CONNECTION,)
    assert (tested.state, tested.deadline) == (WatchdogState.DOWN, None)


def test_a_connection_that_ended_in_good_order_comes_back_as_okay():
    tested = watchdog(WatchdogState.OKAY)
    tested.connection_down(in_good_order=True)
    assert tested.connection_up(10.0) == ()
    assert tested.state is WatchdogState.OKAY


@pytest.mark.parametrize(
    ("tw", "jitter", "after"), [(30, 0.0, 28), (30, 0.5, 30), (30, 1.0, 32), (1, 0.5, 6), (6, 0.0, 4)]
)
def test_interval_is_tw_within_two_seconds_and_tw_at_least_six(tw, jitter, after):
    tested = Watchdog(tw, lambda: jitter)
    tested.connection_up(100.0)
    assert tested.deadline == 100 + after


def test_life_puts_the_watchdog_off():
    tested = watchdog(WatchdogState.OKAY)
    tested.received(False, 20.0)
    assert tested.deadline == 50.0
