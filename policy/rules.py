"""A compiled policy: what `decide` and the automations run. Immutable; made from checked policy files."""

from collections.abc import Mapping
from datetime import UTC, tzinfo

from policy.model import Plan, Window


class Policy:
    """Windows, rules and automations of all policy files, in order."""

    revision: str = ""
    """Hash of the files' content: names the policy in decisions' audit and previews."""
    zone: tzinfo = UTC
    windows: Mapping[str, Window] = {}
    plans: tuple[Plan, ...] = ()
    """Plans that the files define; ids are theirs alone."""
    session_reads: tuple[str, ...] = ()
    """Fields of SessionFacts that any rule reads, sorted: a decision is cached under their values."""
    reads_online_kinds: bool = False
    """A rule reads subscriber.online_kinds: a session's start or end changes what siblings may do."""
