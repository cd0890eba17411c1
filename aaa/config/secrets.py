"""Values that must never be shown, and where they come from."""

import hmac
from typing import Final, Self


class Redacted:
    """A secret: prints as ***, compares in constant time, and gives its octets only to reveal()."""

    __slots__ = ("_octets",)

    def __init__(self, secret: str | bytes) -> None:
        self._octets: Final = secret.encode() if isinstance(secret, str) else bytes(secret)

    def reveal(self) -> bytes:
        """The octets; text was encoded as UTF-8."""
        return self._octets

    def __len__(self) -> int:
        return len(self._octets)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Redacted):
            return NotImplemented
        return hmac.compare_digest(self._octets, other._octets)

    def __hash__(self) -> int:
        return hash(self._octets)

    def __repr__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")
