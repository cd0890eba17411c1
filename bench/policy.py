"""What an uncached decision costs with the shipped policy: `python -m bench.policy`."""

import time
from collections.abc import Callable
from pathlib import Path

from aaa.config.policy import load_policy
from policy.decide import decide
from policy.model import (
    BillingFacts,
    Exhausted,
    Facts,
    Plan,
    Quota,
    QuotaFacts,
    Rate,
    ServiceFacts,
    SessionFacts,
    SubscriberFacts,
)

NOW = 1_764_000_000.0
CALLS = 2_000
ROUNDS = 15
FAST = Rate(50_000_000, 10_000_000)
CAPPED = Plan(
    revision=1,
    id="capped-20",
    rate=FAST,
    quota=Quota(octets=20_000_000_000),
    on_exhausted=(Exhausted(throttle=Rate(1_000_000, 1_000_000)), "notify"),
)
PLACE = SessionFacts(nas="bng-north", nas_family="mikrotik", calling_station_id="02-00-00-00-00-01")
CASES = {
    "flat rate, nothing special": Facts(now=NOW, plan=Plan(revision=1, id="home-50", rate=FAST), session=PLACE),
    "quota, half used": Facts(
        now=NOW,
        plan=CAPPED,
        quota=QuotaFacts(20_000_000_000, 10_000_000_000, 10_000_000_000, NOW + 86_400 * 9, NOW + 86_400 * 9),
        session=PLACE,
    ),
    "prepaid, expires in ten days": Facts(
        now=NOW,
        plan=Plan(revision=1, id="home-50", rate=FAST),
        service=ServiceFacts(expires_at=NOW + 864_000, grace_until=NOW + 900_000),
        session=PLACE,
    ),
    "overdue": Facts(
        now=NOW,
        plan=Plan(revision=1, id="home-50", rate=FAST),
        subscriber=SubscriberFacts(billing=BillingFacts(overdue_days=9)),
        session=PLACE,
    ),
    "suspended": Facts(now=NOW, plan=CAPPED, service=ServiceFacts(state="suspended", pushed_state="suspended")),
}


def cost(call: Callable[[], object]) -> float:
    """Microseconds of one call: the best round, so that what else runs here does not count."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        for _ in range(CALLS):
            call()
        best = min(best, time.process_time() - begun)
    return best / CALLS * 1e6


def main() -> None:
    """One line for each case: with trace, and without."""
    policy = load_policy(Path("conf/policy"))
    print(f"{len(policy.rules)} rules; µs of CPU a decision, with trace and without")
    for name, facts in CASES.items():
        with_trace, without = (cost(lambda t=t, f=facts: decide(f, policy, t)) for t in (True, False))  # type: ignore[misc]
        print(f"{name:32} {with_trace:6.1f} {without:6.1f}")


if __name__ == "__main__":
    main()
