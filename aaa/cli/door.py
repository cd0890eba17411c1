"""How a command finds the server's API and asks it. Knows HTTP and where a configuration keeps its token.

Only [api], [[token]] and [[nas]] of the file are looked at: a command works while the rest of it is being repaired.
"""

import functools
import http.client
import json
import os
import re
import ssl
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import click

from aaa.cli.output import show

F = TypeVar("F", bound=Callable[..., Any])

CONFIG_PATHS: Final = ("run/aaa.toml", "conf/sample.toml", "/etc/aaa/aaa.toml")
"""Where a configuration is looked for when none is named."""
PATIENCE_S: Final = 120.0


class Refused(click.ClickException):
    """The server refused, or cannot be reached: exit code 1."""

    exit_code = 1

    def __init__(self, message: str, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.problem = dict(problem or {})


def find_config(named: str | None) -> Path | None:
    """The configuration to ask about; None where there is none. Raises Refused for a named one that is missing."""
    if named is not None:
        if not Path(named).is_file():
            raise Refused(f"{named}: no such file; `aaa init DIR` writes a configuration to start from")
        return Path(named)
    return next((Path(path) for path in CONFIG_PATHS if Path(path).is_file()), None)


def read_config(path: Path) -> dict[str, Any]:
    """The file's tables, unchecked. Raises Refused."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refused(f"{path}: {error}; `aaa check -c {path}` tells more") from None


def read_secret(entry: Mapping[str, Any], key: str, directory: Path) -> str | None:
    """A secret from `key`, `key`_file or `key`_env of an entry; None where this user cannot read it."""
    if key in entry:
        return str(entry[key])
    if f"{key}_env" in entry:
        return os.environ.get(str(entry[f"{key}_env"]))
    if f"{key}_file" in entry:
        try:
            return (directory / Path(str(entry[f"{key}_file"])).expanduser()).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return None
    return None


class Door:
    """The API of one server, over one kept connection."""

    def __init__(self, url: str, token: str | None, context: ssl.SSLContext | None = None) -> None:
        """context: how an https server is verified; None: by the system's authorities, or those of AAA_CA."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise click.UsageError(f"{url}: not an http or https URL")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._token = token
        self.headers: dict[str, str] = {}
        """Sent with every request."""
        if parts.scheme == "https":
            context = context or _with_client_certificate(ssl.create_default_context(cafile=os.environ.get("AAA_CA")))
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=PATIENCE_S, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)

    @classmethod
    def find(cls, url: str | None, token: str | None, config: str | None) -> "Door":
        """From options and environment first, then from the configuration. Raises Refused."""
        url, token = url or os.environ.get("AAA_URL"), token or os.environ.get("AAA_TOKEN")
        if url and token:
            return cls(url, token)
        path = find_config(config)
        context = None
        if path is not None:
            data = read_config(path)
            api = data.get("api", {})
            if not url:
                url = _url_of(str(api.get("listen", "127.0.0.1:8080")))
                if api.get("tls"):
                    url = url.replace("http:", "https:", 1)
                    context = _pinned(path.parent / str(data.get("tls", {}).get("cert", "")))
            token = token or _admin_token(data, path.parent)
        return cls(url or "http://127.0.0.1:8080", token, context)

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """The answer's JSON. Raises Refused with the problem's own words."""
        content = None if body is None else json.dumps(body).encode()
        return json.loads(self.send(method, path, content, "application/json", **query) or b"null")

    def send(
        self, method: str, path: str, content: bytes | Iterable[bytes] | None, media_type: str, **query: Any
    ) -> bytes:
        """The answer's octets. content: in pieces, where it is long. Raises Refused."""
        given = {name: value for name, value in query.items() if value is not None}
        target = path + (f"?{urlencode(given)}" if given else "")
        headers = self.headers | ({"Content-Type": media_type} if content is not None else {})
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            self._connection.request(method, target, content, headers)
            answer = self._connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise self._unreached(error) from None
        if answer.status >= 400:
            raise _refusal(answer.status, data, self._token is None)
        return data

    def _unreached(self, error: Exception) -> Refused:
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "if its certificate was renewed, a SIGHUP (`systemctl reload aaa`) lets the server read it"
            return Refused(f"{self.url}: {error.verify_message}; {hint}")
        return Refused(f"{self.url}: {error}; is the server running? (`aaa serve`)")

    def stream(self, path: str, **query: Any) -> Iterator[str]:
        """Lines of an endless answer, as they come. Raises Refused."""
        given = {name: value for name, value in query.items() if value is not None}
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            self._connection.request("GET", path + (f"?{urlencode(given)}" if given else ""), headers=headers)
            answer = self._connection.getresponse()
            if answer.status >= 400:
                raise _refusal(answer.status, answer.read(), self._token is None)
            for line in answer:
                if line.strip():
                    yield line.decode().rstrip("\n")
        except (OSError, http.client.HTTPException) as error:
            raise self._unreached(error) from None
        finally:
            self._connection.close()

    def pages(self, path: str, limit: int | None, **query: Any) -> Iterator[dict[str, Any]]:
        """Items of a list, page by page, up to limit."""
        after, left = "", limit
        while left is None or left > 0:
            page = self.ask("GET", path, after=after, limit=1000 if left is None else min(left, 1000), **query)
            yield from page["items"]
            if left is not None:
                left -= len(page["items"])
            after = page.get("next")
            if not after:
                return


def segment(value: str) -> str:
    """A value as one segment of a path."""
    return quote(value, safe="")


def _url_of(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    reachable = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "[::]": "[::1]"}
    return f"http://{reachable.get(host, host)}:{port}"


CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def _pinned(file: Path) -> ssl.SSLContext:
    """Verifies that the server has the very certificate of its configuration, whatever name it is reached by."""
    context = ssl.create_default_context()
    try:
        own = CERTIFICATE.search(file.read_text(encoding="ascii"))
        if own is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cadata=own[0])
    except (OSError, ValueError):
        pass  # This user cannot read it: the system's authorities may know it.
    return _with_client_certificate(context)


def _with_client_certificate(context: ssl.SSLContext) -> ssl.SSLContext:
    """Where the server asks its clients for one: AAA_CERT, a PEM file with certificate and key. Raises Refused."""
    file = os.environ.get("AAA_CERT")
    if file:
        try:
            context.load_cert_chain(file)
        except OSError as error:
            raise Refused(f"AAA_CERT {file}: {error}") from None
    return context


def _admin_token(data: Mapping[str, Any], directory: Path) -> str | None:
    entries: Iterable[Mapping[str, Any]] = [entry for entry in data.get("token", []) if isinstance(entry, dict)]
    admins = [entry for entry in entries if entry.get("role") == "admin" and not entry.get("operator")]
    return next((found for entry in admins if (found := read_secret(entry, "token", directory))), None)


def _refusal(status: int, data: bytes, without_token: bool) -> Refused:
    try:
        problem = json.loads(data)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    words = [show(problem[name]) for name in ("field", "detail") if problem.get(name)]
    message = ": ".join(words) or str(problem.get("title") or f"HTTP status {status}")
    if problem.get("errors"):
        message = "\n".join([message, *map(show, problem["errors"])])
    if status == 401 and without_token:
        message = "no token found; give --token, AAA_TOKEN, or -c FILE with an admin's token_file that you may read"
    return Refused(message, problem | {"status": status})


def api_command(function: F) -> F:
    """Adds -c, --url, --token and --json to a command, whose first argument becomes the Door."""

    @click.option("-c", "--config", metavar="FILE", help="Configuration with [api] and an admin token.")
    @click.option("--url", metavar="URL", help="The server's API; also AAA_URL.")
    @click.option("--token", metavar="TOKEN", help="API token; also AAA_TOKEN, which `ps` does not show.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @functools.wraps(function)
    def command(config: str | None, url: str | None, token: str | None, as_json: bool, **rest: Any) -> Any:
        try:
            return function(Door.find(url, token, config), as_json=as_json, **rest)
        except Refused as refusal:
            if as_json and refusal.problem:
                click.echo(json.dumps(refusal.problem))
            raise

    return command  # type: ignore[return-value]
