"""TLS of Diameter peers: contexts from the configuration's files, and whom a verified certificate speaks for."""

from __future__ import annotations

import hashlib
import ssl
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from aaa.config import Config, Tls
from aaa.config.outward import VERSIONS, load_chain
from aaa.diameter.settings import Certificate
from aaa.limits import DIAMETER_CERTIFICATES_MAX


class Contexts(NamedTuple):
    """What TLS needs, read from its files."""

    server: ssl.SSLContext | None
    """For connections that come in; None: there is no certificate, or nobody to verify a peer's."""
    clients: dict[str, ssl.SSLContext]
    """For connections that we dial, by file of authorities."""
    authorities: dict[str, frozenset[bytes]]
    """SHA-256 of the certificates of each file."""
    verified: dict[bytes, frozenset[bytes]]
    """By SHA-256 of a peer's certificate, the chain by which it was verified; the oldest first."""


def read_contexts(config: Config) -> Contexts:
    """Raises OSError (ssl.SSLError is one) or ValueError for files that have changed since they were checked."""
    tls = config.tls
    files = sorted({file for peer in config.peer if (file := peer.ca or tls.client_ca)})
    server = None
    if files and tls.cert is not None:
        server = _context(ssl.PROTOCOL_TLS_SERVER, tls, files)
        server.verify_mode = ssl.CERT_REQUIRED
        # Connections last: there is nothing to win by resuming, which shows no chain (see certificate_of).
        server.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION
        server.num_tickets = 0
    return Contexts(
        server,
        {file: _context(ssl.PROTOCOL_TLS_CLIENT, tls, [file]) for file in files},
        {file: _fingerprints(file) for file in files},
        {},
    )


def _context(protocol: int, tls: Tls, files: list[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    # Names are the peer machine's to judge, by Origin-Host.
    context.check_hostname = False
    context.minimum_version = VERSIONS[tls.minimum_version]
    if tls.cert is not None and tls.key is not None:
        load_chain(context, tls.cert, tls.key)
    for file in files:
        context.load_verify_locations(file)
    return context


def _fingerprints(file: str) -> frozenset[bytes]:
    with open(file, "rb") as stream:
        certificates = x509.load_pem_x509_certificates(stream.read())
    return frozenset(hashlib.sha256(one.public_bytes(Encoding.DER)).digest() for one in certificates)


def certificate_of(session: ssl.SSLObject, verified: dict[bytes, frozenset[bytes]]) -> Certificate:
    """The other side's, after the handshake: its DNS names, or its common name where it has none (RFC 6733 §13.1).

    verified: as of the contexts that the session is of. A TLS 1.2 session may be resumed by its id, which Python's
    contexts always allow; the chain is then the one of the handshake that it began with.
    """
    der = session.getpeercert(True)
    if der is None:
        return Certificate(frozenset())
    leaf = x509.load_der_x509_certificate(der)
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = alternatives.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = []
    if not names:
        names = [str(one.value) for one in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    # Public from Python 3.13 on.
    chain = session._sslobj.get_verified_chain()  # type: ignore[attr-defined]
    key = hashlib.sha256(der).digest()
    if chain:
        octets = [one.public_bytes(ssl._ssl.ENCODING_DER) for one in chain]  # type: ignore[attr-defined]
        verified.pop(key, None)
        if len(verified) >= DIAMETER_CERTIFICATES_MAX:
            del verified[next(iter(verified))]
        verified[key] = frozenset(hashlib.sha256(one).digest() for one in octets)
    return Certificate(frozenset(name.lower() for name in names), verified.get(key, frozenset()))
