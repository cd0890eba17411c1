"""What the engine hands to the HTTP process besides tokens: webhooks, payment hooks and the certificate.

It crosses a socket pair between two processes of one server; nothing of it is logged or shown.
"""

from typing import Any

from msgspec import Struct


class WebhookSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One [[webhook]]: see aaa.config.schema.Webhook."""

    name: str
    url: str
    keys: tuple[bytes, ...]
    """Each signs every delivery."""
    events: tuple[str, ...] = ("*",)
    operator: str | None = None
    timeout_s: float = 10.0
    attempts: int = 16
    retry_first_s: float = 1.0
    retry_max_s: float = 3600.0
    concurrency: int = 8
    ca: str | None = None

    def __repr__(self) -> str:
        return f"WebhookSettings({self.name!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("name", self.name)]


class PaymentSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One [[payment]]: see aaa.config.schema.Payment. What it restores is the engine's to know."""

    name: str
    secret: bytes
    tolerance_s: float = 300.0
    operator: str | None = None
    service_key: str = "service_id"
    subscriber_key: str = "subscriber_id"
    customer_fact: str = "stripe_customer"
    top_up_key: str = "top_up_octets"
    wait_s: float = 5.0

    def __repr__(self) -> str:
        return f"PaymentSettings({self.name!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("name", self.name)]


class TlsSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[tls], where [api] asks for it: paths, and nothing of what is in the files."""

    cert: str
    key: str
    client_ca: str | None = None
    minimum_version: str = "1.2"
