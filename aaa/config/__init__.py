"""The configuration file: read, checked as a whole, and given as frozen structs."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from aaa.config import check, mobile, outward
from aaa.config.locate import locate
from aaa.config.read import read_struct, suggest
from aaa.config.report import Report
from aaa.config.schema import (
    RESTART_KEYS,
    Api,
    Config,
    Diameter,
    Log,
    Nas,
    Payment,
    Peer,
    Policy,
    Pool,
    Radius,
    Route,
    Sections,
    Server,
    Store,
    Tls,
    Token,
    Webhook,
    restart_needed,
)
from aaa.config.secrets import Redacted
from aaa.errors import ConfigError, Problem
from aaa.limits import CONFIG_FILE_BYTES_MAX

__all__ = [
    "RESTART_KEYS",
    "Api",
    "Config",
    "Diameter",
    "Log",
    "Nas",
    "Payment",
    "Peer",
    "Policy",
    "Pool",
    "Radius",
    "Redacted",
    "Route",
    "Server",
    "Store",
    "Tls",
    "Token",
    "Webhook",
    "load",
    "parse",
    "restart_needed",
]

StructT = TypeVar("StructT", bound=Struct)


def load(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Config:
    """Read and check a configuration file, and the secret files and variables that it names.

    Changes nothing on disk. environ: os.environ where None.
    Raises ConfigError with every problem, each `file:line: key: what is wrong; what would be right`.
    """
    file = os.fspath(path)
    try:
        with open(file, "rb") as stream:
            octets = stream.read(CONFIG_FILE_BYTES_MAX + 1)
        if len(octets) > CONFIG_FILE_BYTES_MAX:
            message = f"is larger than {CONFIG_FILE_BYTES_MAX} octets; is it the right file?"
            raise ConfigError([Problem(file, 0, "", message)])
        text = octets.decode()
    except OSError as error:
        message = f"{error.strerror or error}; `aaa init DIR` writes a configuration to start from"
        raise ConfigError([Problem(file, 0, "", message)]) from None
    except UnicodeDecodeError as error:
        line = octets.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(file, line, "", "is not UTF-8; save it as UTF-8")]) from None
    return parse(text, Path(file), os.environ if environ is None else environ)


def parse(text: str, path: Path, environ: Mapping[str, str]) -> Config:
    """A configuration from its text; `path` names it in problems, and its directory is where relative paths start.

    Raises ConfigError as load() does.
    """
    file = str(path)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_syntax_problem(file, str(error), text)]) from None
    report = Report(file, locate(text), data)
    for key in data:
        if key not in Sections.__struct_fields__:
            report.error((key,), f"unknown section{suggest(key, Sections.__struct_fields__)}")

    def table(cls: type[StructT], name: str) -> StructT:
        return read_struct(cls, data.get(name, {}), (name,), report) or cls()

    def array(cls: type[StructT], name: str) -> list[tuple[int, StructT]]:
        return _read_array(cls, data.get(name, []), name, report)

    directory = path.parent.resolve()
    sources = check.Sources(directory, environ, report)
    server = check.check_server(table(Server, "server"), sources)
    api = check.check_api(table(Api, "api"), report)
    peers, routes = array(Peer, "peer"), array(Route, "route")
    tls = outward.check_tls(table(Tls, "tls"), api.tls, sources)
    diameter = mobile.check_diameter(mobile.read_diameter(data.get("diameter", {}), report), peers, tls, sources)
    checked_peers = mobile.check_peers(peers, diameter, tls, sources)
    config = Config(
        path=directory / path.name,
        server=server,
        store=check.check_store(table(Store, "store"), server, sources),
        radius=check.check_radius(table(Radius, "radius"), sources),
        nas=tuple(check.check_nas(array(Nas, "nas"), sources)),
        diameter=diameter,
        peer=tuple(checked_peers),
        route=tuple(mobile.check_routes(routes, checked_peers, diameter, report)),
        api=api,
        token=tuple(check.check_tokens(array(Token, "token"), sources)),
        policy=check.check_policy(table(Policy, "policy"), sources),
        pool=tuple(check.check_pools(array(Pool, "pool"), _names(data.get("nas")), report)),
        webhook=tuple(outward.check_webhooks(array(Webhook, "webhook"), sources)),
        payment=tuple(outward.check_payments(array(Payment, "payment"), sources)),
        tls=tls,
        log=check.check_log(table(Log, "log"), server),
        report=report,
        warnings=tuple(sorted(report.warnings, key=lambda problem: problem.line)),
    )
    if report.errors:
        raise ConfigError(sorted(report.errors, key=lambda problem: problem.line))
    return config


def _read_array(cls: type[StructT], data: object, name: str, report: Report) -> list[tuple[int, StructT]]:
    if not isinstance(data, list):
        report.error((name,), f"is not a list of tables; write [[{name}]] with two brackets for every entry")
        return []
    entries = ((index, read_struct(cls, value, (name, index), report)) for index, value in enumerate(data))
    return [(index, entry) for index, entry in entries if entry is not None]


def _names(entries: object) -> list[str]:
    """Names of a section's entries, also of those that are wrong elsewhere."""
    tables = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [entry["name"] for entry in tables if isinstance(entry.get("name"), str)]


def _syntax_problem(file: str, message: str, text: str) -> Problem:
    """tomllib's complaint, whose place is in its text."""
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)", message)
    if place is None:
        return Problem(file, 0, "", f"is not TOML: {message}")
    line = int(place[1]) if place[1] else text.count("\n") + 1
    column = f" at column {place[2]}" if place[2] else " at the end of the file"
    return Problem(file, line, "", f"is not TOML: {message[: place.start()]}{column}")
