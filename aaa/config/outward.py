"""What can be wrong with what leaves the server and with its own certificate: [[webhook]], [[payment]] and [tls]."""

import base64
import binascii
import ssl
from ipaddress import ip_address
from urllib.parse import urlsplit

import msgspec

from aaa.config.check import Entries, Sources, entry_path, given_form, unique
from aaa.config.locate import Path as Key
from aaa.config.schema import Payment, Tls, Webhook
from aaa.config.secrets import Redacted
from aaa.model.event_types import check_pattern

SIGNING_OCTETS_MIN = 16
PREFIX = b"whsec_"
"""Marks a key that is written in base64 (Standard Webhooks)."""
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def check_webhooks(entries: Entries, sources: Sources) -> list[Webhook]:
    report = sources.report
    unique("webhook", entries, report)
    result = []
    for index, webhook in entries:
        path = ("webhook", index)
        _check_url(webhook.url, (*path, "url"), sources)
        keys = {}
        missing = "missing; the receiver verifies deliveries with it: `openssl rand -hex 32` makes one"
        for key, needed in (("secret", missing), ("second_secret", None)):
            secret = sources.secret(webhook, path, key, needed)
            keys[key] = None if secret is None else _signing_key(secret, (*path, given_form(webhook, key)), sources)
        if not webhook.events:
            report.error((*path, "events"), 'is empty; give "*", or types such as "quota.*"')
        for number, pattern in enumerate(webhook.events):
            try:
                check_pattern(pattern)
            except ValueError as error:
                report.error(entry_path(path, "events", number, report), str(error))
        if webhook.retry_max < webhook.retry_first:
            report.error((*path, "retry_max"), "is shorter than retry_first; give a longer one")
        ca = readable(webhook.ca, (*path, "ca"), sources)
        if ca is not None:
            check_authorities(ca, (*path, "ca"), sources)
        result.append(msgspec.structs.replace(webhook, ca=ca, **keys))
    return result


def _check_url(url: str, path: Key, sources: Sources) -> None:
    report = sources.report
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        report.error(path, f'"{url}" is not a URL: {error}')
        return
    if parts.scheme not in ("http", "https") or not host:
        report.error(path, 'is not an http or https URL; give one such as "https://billing.example/hooks/aaa"')
    elif parts.username is not None or parts.password is not None:
        report.error(path, "holds a user name or password; the signature says who sends, so remove it")
    elif parts.fragment:
        report.error(path, "has a fragment behind #, which is never sent; remove it")
    elif parts.scheme == "http" and not _is_loopback(host):
        report.warning(path, "is not https: events can be read on the way")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _signing_key(secret: Redacted, path: Key, sources: Sources) -> Redacted | None:
    octets = secret.reveal()
    if octets.startswith(PREFIX):
        try:
            octets = base64.b64decode(octets.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            sources.report.error(path, 'begins with "whsec_" but is not base64 behind it; copy it again')
            return None
    if len(octets) < SIGNING_OCTETS_MIN:
        message = f"has {len(octets)} octets; give {SIGNING_OCTETS_MIN} or more: `openssl rand -hex 32`"
        sources.report.error(path, message)
        return None
    return Redacted(octets)


def check_payments(entries: Entries, sources: Sources) -> list[Payment]:
    report = sources.report
    unique("payment", entries, report)
    result = []
    for index, payment in entries:
        path = ("payment", index)
        missing = "missing; the provider shows the signing secret of this endpoint"
        secret = sources.secret(payment, path, "secret", missing)
        if secret is not None and len(secret) < SIGNING_OCTETS_MIN:
            report.error((*path, given_form(payment, "secret")), "is too short to be a signing secret; copy it again")
        result.append(msgspec.structs.replace(payment, secret=secret))
    return result


def check_tls(tls: Tls, is_needed: bool, sources: Sources) -> Tls:
    report = sources.report
    files = {}
    for key in ("cert", "key", "client_ca"):
        files[key] = readable(getattr(tls, key), ("tls", key), sources)
    if is_needed and tls.cert is None:
        report.error(("api", "tls"), "needs [tls] with cert and key")
    if (tls.cert is None) != (tls.key is None):
        absent, given = ("key", "cert") if tls.key is None else ("cert", "key")
        report.error(("tls", absent), f"missing; {given} needs it")
    elif files["cert"] is not None and files["key"] is not None:
        try:
            load_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files["cert"], files["key"])
        except (OSError, ValueError) as error:
            report.error(("tls", "cert"), f"{files['cert']} and {files['key']} are no certificate and its key: {error}")
    if files["client_ca"] is not None:
        check_authorities(files["client_ca"], ("tls", "client_ca"), sources)
    return msgspec.structs.replace(tls, **files)


def load_chain(context: ssl.SSLContext, cert: str, key: str) -> None:
    """Load a certificate and its key. Raises OSError (ssl.SSLError is one) or ValueError, never asks at a terminal."""

    def refuse() -> str:
        raise ValueError("the key has a passphrase; `openssl pkey -in KEY -out PLAIN` takes it off")

    context.load_cert_chain(cert, key, refuse)


def readable(name: str | None, path: Key, sources: Sources) -> str | None:
    """The file's path, or None after a problem."""
    if name is None:
        return None
    file = sources.path(name)
    try:
        file.open("rb").close()
    except OSError as error:
        sources.report.error(path, f"{file}: {error.strerror or error}; make the file, or correct the path")
        return None
    return str(file)


def check_authorities(file: str, path: Key, sources: Sources) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError as error:
        sources.report.error(path, f"{file}: no certificates in PEM: {error}")
