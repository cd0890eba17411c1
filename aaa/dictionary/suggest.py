"""The nearest known name to a misspelt one, for error messages."""

from collections.abc import Iterable
from difflib import get_close_matches


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, whatever the case; None when nothing is near."""
    spelling = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(name.lower(), spelling, n=1, cutoff=0.7)
    return spelling[near[0]] if near else None
