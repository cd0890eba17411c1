"""What kinds of Diameter clients understand short of the standard: one row each. Source: docs/diameter.md."""

from __future__ import annotations

from typing import Final

from msgspec import Struct


class PeerFamily(Struct, frozen=True):
    """One kind of client."""

    name: str
    rule_names: bool = True
    """Knows predefined charging rules and base names (Charging-Rule-Name and -Base-Name in an install)."""
    whole_rules: bool = True
    """Takes a rule for all traffic; else every rule is a bearer of its own, and the rest runs on the default one."""
    rating_groups: bool = True
    """Takes Rating-Group and Service-Identifier in a charging rule."""
    usage_monitoring: bool = True
    """Reports usage on Gx."""
    release_cause: bool = True
    """Ends a session that is told Session-Release-Cause."""
    experimental_results: bool = True
    """Takes a CCA with Experimental-Result in place of Result-Code."""
    charging_results: bool = True
    """Takes a refusal in Multiple-Services-Credit-Control; else it is told on the message's level."""
    failed_updates: bool = True
    """Takes a ULA without ULA-Flags and Subscription-Data."""
    barring: bool = True
    """Keeps off whom an IDR bars (Operator-Determined-Barring); else a denial is a CLR."""
    deletions: bool = True
    """Takes a DSR."""
    apns_max: int = 50
    """APN-Configurations that it has room for."""


FAMILIES: Final = {
    "generic": PeerFamily("generic"),
    "open5gs": PeerFamily(
        "open5gs",
        rule_names=False,
        whole_rules=False,
        rating_groups=False,
        usage_monitoring=False,
        release_cause=False,
        experimental_results=False,
        charging_results=False,
        failed_updates=False,
        barring=False,
        deletions=False,
        apns_max=16,
    ),
}
