"""A store without a disk, the engine on it, and logins: what the specifications of the engine are written with."""

from __future__ import annotations

from typing import Any

from aaa.config import Pool
from aaa.credential.identity import NameRules
from aaa.engine.addresses import Addresses
from aaa.engine.authorize import AccessSettings, Authorizer
from aaa.engine.decisions import Decisions
from aaa.model.access import Attempt, Outcome
from aaa.model.accounting import AccountingRecord, Status
from aaa.model.method import Method
from aaa.model.operations import Operation
from aaa.model.records import NasRecord, ServiceRecord
from aaa.state.entities import apply_operation
from aaa.state.seal import Sealer
from aaa.state.sessions import apply_accounting
from aaa.state.store import Store
from policy.rules import Policy

AT = 1_700_000_000.0
"""14 November 2023: a cycle of a month ends 1 433 600 s later."""


class Unwritten:
    """Takes groups and never acknowledges one."""

    def write(self, data: bytes) -> None:
        """Nothing becomes durable."""


class Site:
    """One store, one engine, one NAS; everything happens at AT and later."""

    def __init__(self, *pools: Pool, names: NameRules | None = None, **settings: Any) -> None:
        self.store = Store(Sealer(bytes(32)))
        self.store.names = names or NameRules()
        self.store.journal.transport = Unwritten()
        self.pools = pools
        self.settings = AccessSettings(**settings)
        self.revision = 0
        self.build()

    def build(self, policy: Policy | None = None) -> None:
        """The engine on the store."""
        self.decisions = Decisions(self.store, policy)
        self.addresses = Addresses(self.store, self.pools)
        self.authorizer = Authorizer(self.store, self.decisions, self.addresses, self.settings)

    def put(self, kind: str, name: str, /, **value: Any) -> None:
        """Push an entity, with a revision of its own."""
        self.revision += 1
        operation = Operation("put", kind, name, {"revision": self.revision, **value})
        assert apply_operation(self.store, operation, None, AT).status == "applied"

    def delete(self, kind: str, name: str) -> None:
        """Delete an entity."""
        self.revision += 1
        operation = Operation("delete", kind, name, None, self.revision)  # type: ignore[arg-type]
        assert apply_operation(self.store, operation, None, AT).status == "applied"

    def service(
        self, name: str = "alice", *, plan: dict[str, Any] | None = None, credentials: Any = None, **value: Any
    ) -> ServiceRecord:
        """A service of its own subscriber and plan; with the password "secret" unless told otherwise."""
        if plan is not None or "home" not in self.store.plans:
            self.put("plan", "home", **(plan or {}))
        if name not in self.store.subscribers:
            self.put("subscriber", name)
        if credentials is None:
            credentials = [{"type": "password", "username": name, "cleartext": "secret"}]
        self.put("service", name, subscriber_id=name, plan_id="home", credentials=credentials, **value)
        return self.store.services[name]

    def nas(self, name: str = "bng", **facts: Any) -> NasRecord:
        """A NAS with the password index of its operator."""
        nas = self.store.nas(name, name)
        nas.passwords = self.store.index_of("password", nas.operator)
        for key, value in facts.items():
            setattr(nas, key, value)
        return nas

    def attempt(
        self, user: bytes = b"alice", password: bytes | None = b"secret", at: float = 0.0, **facts: Any
    ) -> Attempt:
        """A PAP login `at` seconds after AT; without any proof where the password is None."""
        attempt = Attempt(facts.pop("nas", None) or self.nas(), user, AT + at)
        if password is not None:
            attempt.method = int(Method.PAP)
            attempt.password = password
        for key, value in facts.items():
            setattr(attempt, key, value)
        return attempt

    def login(self, *args: Any, **facts: Any) -> Outcome:
        """The outcome of one such attempt."""
        (outcome,) = self.authorizer.authorize([self.attempt(*args, **facts)])
        return outcome

    def report(self, status: Status, key: bytes = b"one", at: float = 0.0, **facts: Any) -> int:
        """Fold one accounting report."""
        record = AccountingRecord(facts.pop("nas", None) or self.nas(), int(status), key, AT + at, AT + at)
        record.user_name = b"alice"
        for name, value in facts.items():
            setattr(record, name, value)
        outcome = apply_accounting(self.store, record)
        self.addresses.settle(AT + at)
        return outcome
