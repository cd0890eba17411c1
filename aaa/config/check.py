"""What can be wrong between keys, files and the environment; gives back sections with secrets and paths resolved."""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from aaa.config.locate import Path as Key
from aaa.config.read import suggest
from aaa.config.report import Report
from aaa.config.schema import Api, Log, Nas, Policy, Pool, Radius, Server, Store, Token
from aaa.config.secrets import Redacted
from aaa.config.values import parse_address, parse_endpoint, parse_network, parse_range
from aaa.limits import SECRET_FILE_BYTES_MAX
from policy.model import FAMILIES

SECRET_OCTETS_ADVISED = 16
"""RFC 2865 §3: a secret should be at least as long as a good password; 16 octets are the usual reading."""
TOKEN_CHARACTERS_MIN = 16
KEY_OCTETS = 32

_PLACEHOLDER = re.compile(rb"@[A-Z_]+@")

Entries = Sequence[tuple[int, Any]]
"""The readable entries of an array of tables, each with its position in the file."""


class Sources:
    """Where secrets and files come from: the directory of the configuration file, and the environment."""

    def __init__(self, directory: Path, environ: Mapping[str, str], report: Report) -> None:
        self.directory = directory
        self.environ = environ
        self.report = report

    def path(self, text: str) -> Path:
        return Path(os.path.normpath(self.directory / text))

    def secret(
        self, entry: msgspec.Struct, path: Key, key: str, missing: str | None, others: Sequence[str] = ()
    ) -> Redacted | None:
        """The secret from `key`, `key`_file or `key`_env; None after a problem, or when absent and that is no problem.

        missing: what to say when it is absent; None: it may be. others: further keys that stand for it.
        """
        forms = (key, f"{key}_file", f"{key}_env", *others)
        given = [form for form in forms if getattr(entry, form) is not None]
        if len(given) > 1:
            self.report.error((*path, given[1]), f"{given[0]} is given as well; give one of {', '.join(forms)}")
            return None
        if not given:
            # A value of a wrong type has been reported already and is absent here.
            reported = {self.report.name((*path, form)) for form in forms}
            if missing is not None and not any(problem.key in reported for problem in self.report.errors):
                self.report.error((*path, key), missing)
            return None
        form = given[0]
        value = getattr(entry, form)
        if form == f"{key}_file":
            octets = self.read(value, (*path, form))
        elif form == f"{key}_env":
            octets = self.environ[value].encode() if value in self.environ else None
            if octets is None:
                self.report.error((*path, form), f"the environment has no {value}; set it, or give {key} or {key}_file")
        elif form == key:
            octets = value.reveal()
        else:
            return None
        if octets is None:
            return None
        if not octets:
            self.report.error((*path, form), "is empty; put a secret there, or leave the key out")
            return None
        if _PLACEHOLDER.fullmatch(octets):
            self.report.error((*path, form), "is the template's placeholder; run `aaa init`, or put a secret here")
            return None
        return Redacted(octets)

    def read(self, name: str, path: Key) -> bytes | None:
        """A file's content without the line end."""
        file = self.path(name)
        try:
            with file.open("rb") as stream:
                octets = stream.read(SECRET_FILE_BYTES_MAX + 1)
                mode = file.stat().st_mode
        except OSError as error:
            self.report.error(path, f"{file}: {error.strerror or error}; make the file, or correct the path")
            return None
        if len(octets) > SECRET_FILE_BYTES_MAX:
            self.report.error(path, f"{file}: larger than {SECRET_FILE_BYTES_MAX} octets; is it the right file?")
            return None
        if mode & 0o004:
            self.report.warning(path, f"{file} can be read by every user; `chmod o-r {file}`")
        return octets.rstrip(b"\r\n")


def check_server(server: Server, sources: Sources) -> Server:
    return msgspec.structs.replace(server, data_dir=str(sources.path(server.data_dir).resolve()))


def check_store(store: Store, server: Server, sources: Sources) -> Store:
    missing = 'missing; it seals secrets at rest: `openssl rand -hex 32 > store.key`, and key_file = "store.key"'
    secret = sources.secret(store, ("store",), "key", missing)
    key = _key(secret) if secret is not None else None
    if secret is not None and key is None:
        given = next(form for form in ("key", "key_file", "key_env") if getattr(store, form) is not None)
        message = f"is not {KEY_OCTETS} octets as hex or base64; `openssl rand -hex 32` makes one"
        sources.report.error(("store", given), message)
    return msgspec.structs.replace(store, key=key, path=str(Path(server.data_dir) / store.path))


def _key(secret: Redacted) -> Redacted | None:
    text = secret.reveal().strip()
    for decode in (binascii.unhexlify, lambda octets: base64.b64decode(octets, validate=True)):
        try:
            octets = decode(text)
        except binascii.Error:
            continue
        if len(octets) == KEY_OCTETS:
            return Redacted(octets)
    return None


def check_radius(radius: Radius, sources: Sources) -> Radius:
    report = sources.report
    if not radius.listen:
        report.error(("radius", "listen"), 'is empty; give addresses such as ["0.0.0.0", "::"]')
    if radius.auth_port == radius.acct_port != 0:
        report.error(("radius", "acct_port"), "is auth_port; authentication and accounting need two ports")
    check_addresses(radius.listen, ("radius", "listen"), report)
    if radius.reject_delay > radius.duplicate_lifetime:
        report.warning(
            ("radius", "reject_delay"),
            "is longer than duplicate_lifetime: a retransmission counts as another wrong password",
        )
    if radius.password_failures and radius.lockout < radius.reject_delay:
        report.warning(("radius", "lockout"), "is shorter than reject_delay, so it hardly slows anybody")
    realms = tuple(realm.removeprefix("@") for realm in radius.username_strip_realms)
    dictionaries = tuple(str(sources.path(text)) for text in radius.dictionaries)
    return msgspec.structs.replace(radius, username_strip_realms=realms, dictionaries=dictionaries)


def check_addresses(listen: Sequence[str], path: Key, report: Report) -> None:
    """Addresses to bind: each one an address, once, and not beside a wildcard that includes it."""
    seen: dict[str, int] = {}
    for index, text in enumerate(listen):
        where = (*path, index)
        try:
            address = parse_address(text)
        except ValueError as error:
            report.error(where, str(error))
            continue
        if str(address) in seen:
            report.error(where, f'"{text}" is listed twice; remove one')
        seen[str(address)] = address.version
    for wildcard, version in (("0.0.0.0", 4), ("::", 6)):
        for text, other in seen.items():
            if wildcard in seen and other == version and text != wildcard:
                report.error(path, f'"{wildcard}" includes "{text}"; remove one of them')


def check_nas(entries: Entries, sources: Sources) -> list[Nas]:
    report = sources.report
    result = []
    unique("nas", entries, report)
    owners: dict[tuple[IPv4Network | IPv6Network, str | None], str] = {}
    for index, nas in entries:
        path = ("nas", index)
        loopback = bool(nas.address)
        if not nas.address:
            report.error((*path, "address"), 'is empty; give "192.0.2.1" or "192.0.2.0/24"')
        for number, text in enumerate(nas.address):
            where = entry_path(path, "address", number, report)
            try:
                network = parse_network(text)
            except ValueError as error:
                report.error(where, str(error))
                continue
            loopback = loopback and network.is_loopback
            if network.prefixlen == 0:
                report.warning(where, f"{network} lets every address in that knows the secret")
            owner = owners.setdefault((network, nas.identifier), nas.name)
            if owner != nas.name:
                with_identifier = f' with identifier "{nas.identifier}"' if nas.identifier is not None else ""
                message = f"{network}{with_identifier} belongs to nas.{owner} as well"
                report.error(where, f"{message}; give each its own address, or its own identifier (NAS-Identifier)")
        if nas.identifier == "":
            report.error((*path, "identifier"), "is empty; give the NAS-Identifier that it sends, or leave the key out")
        if nas.family not in FAMILIES:
            report.error((*path, "family"), f'"{nas.family}" is no known family{suggest(nas.family, FAMILIES)}')
        if nas.coa_address is not None:
            endure(parse_address, nas.coa_address, (*path, "coa_address"), report)
        if not nas.identity:
            report.error((*path, "identity"), 'is empty; give at least "password"')
        if nas.rate_burst and not nas.rate_limit:
            report.error((*path, "rate_burst"), "has no effect without rate_limit; give both, or neither")
        if nas.allow_proxy_state and nas.message_authenticator == "require":
            report.warning((*path, "allow_proxy_state"), 'has no effect with message_authenticator = "require"')
        secrets = {}
        for key, missing in (("secret", "missing; every NAS needs one"), ("second_secret", None)):
            secret = secrets[key] = sources.secret(nas, path, key, missing)
            if secret is not None and len(secret) < SECRET_OCTETS_ADVISED and not loopback:
                message = f"has {len(secret)} octets; give {SECRET_OCTETS_ADVISED} or more: `openssl rand -base64 24`"
                report.warning((*path, given_form(nas, key)), message)
        if secrets["secret"] is not None and secrets["secret"] == secrets["second_secret"]:
            message = "is the same as secret; leave it out, or give the new one"
            report.warning((*path, given_form(nas, "second_secret")), message)
        result.append(msgspec.structs.replace(nas, **secrets))
    return result


def check_api(api: Api, report: Report) -> Api:
    endpoint = endure(parse_endpoint, api.listen, ("api", "listen"), report)
    if endpoint is not None and not api.tls and not parse_address(endpoint[0]).is_loopback:
        report.warning(("api", "listen"), "is open to the network without TLS; tokens can be read on the way")
    return api


def check_tokens(entries: Entries, sources: Sources) -> list[Token]:
    report = sources.report
    result = []
    owners: dict[str, str] = {}
    unique("token", entries, report)
    for index, token in entries:
        path = ("token", index)
        if re.search("[/:]", token.name):
            # Actors are TOKEN/PERSON, automation:NAME and the like: no token passes for another of them.
            report.error((*path, "name"), "has / or :, which the names of actors are cut at; leave it out")
        missing = "missing; give token_file, token_env, token_sha256 or token"
        secret = sources.secret(token, path, "token", missing, others=("token_sha256",))
        digest = token.token_sha256
        if secret is not None:
            if len(secret) < TOKEN_CHARACTERS_MIN:
                message = f"is shorter than {TOKEN_CHARACTERS_MIN} characters; `openssl rand -hex 24` makes a good one"
                report.error((*path, given_form(token, "token")), message)
            digest = hashlib.sha256(secret.reveal()).hexdigest()
        elif digest is not None and given_form(token, "token") == "token_sha256":
            digest = digest.lower()
            if not re.fullmatch(r"[0-9a-f]{64}", digest):
                message = 'is not 64 hex digits; `printf %s "$TOKEN" | sha256sum` prints them'
                report.error((*path, "token_sha256"), message)
        if digest is not None and digest in owners:
            message = f"is the token of token.{owners[digest]} as well; give each its own"
            report.error((*path, given_form(token, "token")), message)
        elif digest is not None:
            owners[digest] = token.name
        result.append(msgspec.structs.replace(token, token=None, token_sha256=digest))
    return result


_PREFIX_LENGTH = {"ipv4": 32, "ipv6": 64, "delegated": 56}


def check_pools(entries: Entries, nas_names: Sequence[str], report: Report) -> list[Pool]:
    result = []
    owned: list[tuple[int, int, int, int, Pool]] = []
    names: set[tuple[str, str]] = set()
    for index, pool in entries:
        path = ("pool", index)
        if (pool.name, pool.kind) in names:
            message = f'another {pool.kind} pool is called "{pool.name}"; put its ranges into one entry'
            report.error((*path, "name"), message)
        names.add((pool.name, pool.kind))
        version = 4 if pool.kind == "ipv4" else 6
        length = pool.prefix_length if pool.prefix_length is not None else _PREFIX_LENGTH[pool.kind]
        if version == 4 and length != 32:
            report.error((*path, "prefix_length"), "is not for ipv4, which leases single addresses; leave it out")
            length = 32
        if not pool.ranges:
            report.error((*path, "ranges"), 'is empty; give prefixes such as "100.64.0.0/16", or "first-last"')
        blocks = _blocks(pool.ranges, "ranges", path, version, report)
        unit = 1 << ((32 if version == 4 else 128) - length) if length <= (32 if version == 4 else 128) else 1
        for number, first, last in blocks:
            if first % unit or (last + 1) % unit:
                text = pool.ranges[number]
                message = (
                    f'"{text}" is not made of whole /{length} prefixes; give whole ones, or a longer prefix_length'
                )
                report.error(entry_path(path, "ranges", number, report), message)
            owned.append((first, last, index, number, pool))
        for number, first, last in _blocks(pool.exclude, "exclude", path, version, report):
            if not any(first <= end and begin <= last for _, begin, end in blocks):
                message = f'"{pool.exclude[number]}" is outside the ranges; it excludes nothing'
                report.warning(entry_path(path, "exclude", number, report), message)
        for number, name in enumerate(pool.nas):
            if name not in nas_names:
                message = f'no [[nas]] is called "{name}"{suggest(name, nas_names)}'
                report.error(entry_path(path, "nas", number, report), message)
        result.append(msgspec.structs.replace(pool, prefix_length=length))
    _overlaps(owned, report)
    return result


def _blocks(texts: Sequence[str], key: str, path: Key, version: int, report: Report) -> list[tuple[int, int, int]]:
    """(position in the list, first, last) of every range that can be read."""
    blocks = []
    for number, text in enumerate(texts):
        where = entry_path(path, key, number, report)
        found = endure(parse_range, text, where, report)
        if found is None:
            continue
        if found[0] != version:
            report.error(where, f'"{text}" is IPv{found[0]}; this kind of pool is IPv{version}')
        else:
            blocks.append((number, found[1], found[2]))
    return blocks


def _overlaps(owned: list[tuple[int, int, int, int, Pool]], report: Report) -> None:
    """Ranges that lease an address twice. Two operators may have the same private addresses, in two networks."""
    for version in (4, 6):
        mine = [row for row in owned if (row[4].kind == "ipv4") == (version == 4)]
        open_rows: list[tuple[int, int, int, int, Pool]] = []
        for row in sorted(mine, key=lambda row: row[:4]):
            open_rows = [other for other in open_rows if other[1] >= row[0]]
            for other in open_rows:
                if other[4].operator == row[4].operator or None in (other[4].operator, row[4].operator):
                    later, earlier = (row, other) if (row[2], row[3]) > (other[2], other[3]) else (other, row)
                    text, named = later[4].ranges[later[3]], earlier[4].ranges[earlier[3]]
                    message = f'"{text}" overlaps "{named}" of pool.{earlier[4].name}; every address is leased once'
                    report.error(entry_path(("pool", later[2]), "ranges", later[3], report), message)
                    break
            open_rows.append(row)


def check_log(log: Log, server: Server) -> Log:
    return msgspec.structs.replace(log, file=str(Path(server.data_dir) / log.file))


def unique(section: str, entries: Entries, report: Report) -> None:
    """Report a name that two entries of a section have."""
    seen: dict[str, int] = {}
    for index, entry in entries:
        if entry.name in seen:
            line = report.line((section, seen[entry.name]))
            message = f'"{entry.name}" is the name of the [[{section}]] of line {line} as well; names are unique'
            report.error((section, index, "name"), message)
        else:
            seen[entry.name] = index


def given_form(entry: msgspec.Struct, key: str) -> str:
    """Which form of a secret the operator used."""
    forms = (key, f"{key}_file", f"{key}_env", f"{key}_sha256")
    return next((form for form in forms if getattr(entry, form, None) is not None), key)


def entry_path(path: Key, key: str, number: int, report: Report) -> Key:
    """The list entry, or the key alone where it was given as a single value."""
    full = (*path, key, number)
    return full if full in report.lines else (*path, key)


def endure(parse: Any, text: str, path: Key, report: Report) -> Any:
    """parse(text), or None and a problem."""
    try:
        return parse(text)
    except ValueError as error:
        report.error(path, str(error))
        return None


def check_policy(policy: Policy, sources: Sources) -> Policy:
    try:
        ZoneInfo(policy.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        message = f'"{policy.zone}" is no time zone of this machine; give one such as "Europe/Berlin"'
        sources.report.error(("policy", "zone"), message)
    if policy.dir is None:
        return policy
    directory = sources.path(policy.dir)
    if not directory.is_dir():
        sources.report.error(("policy", "dir"), f"{directory} is no directory; make it, or correct the path")
    return msgspec.structs.replace(policy, dir=str(directory))
