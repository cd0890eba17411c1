"""Who may ask what: bearer tokens, their roles, and the settings the engine hands to the HTTP process.

Knows digests of tokens only; the tokens themselves never enter this process but in a request.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from aaa.limits import HTTP_SYNC_BODY_BYTES_MAX
from billing_hooks.settings import PaymentSettings, TlsSettings, WebhookSettings

Role = Literal["reader", "support", "billing", "sim_admin", "admin"]

READERS: Final[frozenset[Role]] = frozenset(("reader", "support", "billing", "sim_admin", "admin"))
"""See everything but secrets and who used which address when."""
SUPPORT: Final[frozenset[Role]] = frozenset(("support", "billing", "admin"))
"""Help one subscriber: disconnect, lay and lift holds, tag, and look up who had an address."""
PUSHERS: Final[frozenset[Role]] = frozenset(("billing", "admin"))
"""Change plans, subscribers, services and credentials, and top up."""
CHANGERS: Final[frozenset[Role]] = frozenset(("support", "billing", "sim_admin", "admin"))
"""Send changes at all; each operation asks for its own roles."""
ADMINS: Final[frozenset[Role]] = frozenset(("admin",))
"""Run the server."""
EVERYBODY: Final[frozenset[Role]] = frozenset()
"""No token needed."""


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """One [[token]] of the configuration."""

    name: str
    role: Role
    sha256: str
    """Hex digest of the token's UTF-8 octets."""
    operator: str | None = None
    """Scope: this operator's entities only; None: all."""


class ApiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What the HTTP process needs of the configuration; pushed when it starts and at every reload."""

    tokens: tuple[Token, ...] = ()
    body_max: int = HTTP_SYNC_BODY_BYTES_MAX
    """Largest body in bytes of a JSON sync."""
    metrics_open: bool = True
    """Whether /metrics is answered without a token."""
    version: str = ""
    store: str = ""
    """Path of the store, for history and digests, which are read without the engine; "": there is none."""
    snapshot_share: float = 0.1
    """Above this share of what is there, a snapshot ends nothing."""
    webhooks: tuple[WebhookSettings, ...] = ()
    payments: tuple[PaymentSettings, ...] = ()
    tls: TlsSettings | None = None
    """None: HTTP in the clear."""


class TokenTable:
    """Finds the token that a request bears."""

    __slots__ = ("_entries",)

    def __init__(self, tokens: Sequence[Token]) -> None:
        """Raises ValueError for a digest that is not 64 hex digits."""
        self._entries = [(_digest(token), token) for token in tokens]

    def find(self, presented: str) -> Token | None:
        """The matching token or None. Security: every entry is compared, in constant time each."""
        digest = hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
        found = None
        for known, token in self._entries:
            if hmac.compare_digest(digest, known):
                found = token
        return found


def _digest(token: Token) -> bytes:
    digest = bytes.fromhex(token.sha256)
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError(f"token {token.name}: sha256 needs 64 hex digits")
    return digest
