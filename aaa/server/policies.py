"""The policy in force: what changes hands when its files were read again. Knows no file and no decision."""

from __future__ import annotations

from aaa.state.entities import put_plan
from aaa.state.store import Store
from policy.rules import Policy


def adopt_plans(store: Store, policy: Policy, at: float) -> None:
    """Take over the plans that policy files define, where they are new or other than before. at: epoch seconds."""
    for plan in policy.plans:
        record = store.plans.get(plan.id)
        if record is None or record.body != plan:
            put_plan(store, plan, at)
