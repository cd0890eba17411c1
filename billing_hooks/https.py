"""The server's certificate: one TLS context for the life of the process, whose chain is read again on reload.

Connections that are open keep what they were opened with; the next handshake uses the new chain.
"""

import ssl

from aaa.config.outward import VERSIONS, load_chain
from billing_hooks.settings import TlsSettings


class Certificate:
    """The context to serve with."""

    def __init__(self, settings: TlsSettings) -> None:
        """Raises OSError (ssl.SSLError is one) or ValueError."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = VERSIONS[settings.minimum_version]
        context.set_alpn_protocols(["http/1.1"])
        if settings.client_ca is not None:
            context.load_verify_locations(settings.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        self.context = context
        self.reload(settings)

    def reload(self, settings: TlsSettings) -> None:
        """Read certificate and key again. Raises OSError or ValueError, and then the old ones stay."""
        # Into a context of its own first: a chain without its key would be left half loaded.
        load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), settings.cert, settings.key)
        load_chain(self.context, settings.cert, settings.key)
