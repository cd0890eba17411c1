"""`aaa auth-test` and `aaa acct-test`: a RADIUS client with a socket around aaa.radius.client.

Exit codes: 0 accepted (or answered), 1 rejected or a server that could not prove itself, 2 usage, 3 no answer.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from aaa.cli.door import find_config, read_config, read_secret
from aaa.cli.output import print_json, show

if TYPE_CHECKING:
    from aaa.dictionary import Dictionary
    from aaa.radius.client import Dropped, Request, Response, Schedule
    from native.radius import Secret

F = TypeVar("F", bound=Callable[..., Any])

NAMES: Final = {2: "Access-Accept", 3: "Access-Reject", 5: "Accounting-Response", 11: "Access-Challenge"}
ACCEPTED, REJECTED, NO_ANSWER = 0, 1, 3
STATUS_TYPES: Final = {"start": 1, "stop": 2, "interim": 3, "on": 7, "off": 8}
CAUSES_STOP: Final = "User-Request"


def network_options(port: int) -> Callable[[F], F]:
    """Options of both commands."""
    options = (
        click.option("--server", default=f"127.0.0.1:{port}", show_default=True, metavar="HOST[:PORT]"),
        click.option("--secret", metavar="SECRET", help="Also AAA_SECRET, or the NAS 127.0.0.1 of -c."),
        click.option("-c", "--config", metavar="FILE", help="Configuration with the NAS entry of this machine."),
        click.option("-a", "--attribute", "attributes", multiple=True, metavar="'NAME = VALUE'", help="Repeatable."),
        click.option("--nas-ip", help="NAS-IP-Address; 127.0.0.1 where no NAS-Identifier is given either."),
        click.option("--nas-identifier", help="NAS-Identifier."),
        click.option("--nas-port", type=click.IntRange(0, 2**32 - 1), help="NAS-Port."),
        click.option("--nas-port-id", help="NAS-Port-Id."),
        click.option("--calling-station-id", help="Calling-Station-Id, usually the MAC address."),
        click.option("--called-station-id", help="Called-Station-Id."),
        click.option("--timeout", type=click.FloatRange(0.01, 300), default=2.0, show_default=True, help="First wait."),
        click.option("--tries", type=click.IntRange(1, 20), default=5, show_default=True, help="Transmissions."),
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
    )

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.command("auth-test")
@click.argument("user")
@click.argument("password", required=False)
@click.option("--method", type=click.Choice(["pap", "chap", "mschap", "mschapv2"]), default="pap", show_default=True)
@network_options(1812)
def auth_test(user: str, password: str | None, method: Any, as_json: bool, **options: Any) -> None:
    """Log in as a NAS would, print the answer decoded, and check what the server proves.

    Without PASSWORD it is asked for.
    """
    from aaa import dictionary
    from aaa.radius.client import ENTROPY_SIZE, build_login

    if password is None:
        password = click.prompt("Password", hide_input=True)
    names = dictionary.load()
    secret = find_secret(options["secret"], options["config"])
    try:
        extra = encode_attributes(names, _nas_attributes(options), options["attributes"])
        request = build_login(method, user.encode(), password.encode(), secret, os.urandom(ENTROPY_SIZE), extra)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    finish(names, request, secret, options, as_json)


@click.command("acct-test")
@click.argument("kind", type=click.Choice(list(STATUS_TYPES)))
@click.option("--user", help="User-Name.")
@click.option("--session-id", help="Acct-Session-Id; made up and printed if absent.")
@click.option("--input", "input_octets", type=click.IntRange(0, 2**64 - 1), help="Octets from the subscriber.")
@click.option("--output", "output_octets", type=click.IntRange(0, 2**64 - 1), help="Octets to the subscriber.")
@click.option("--session-time", type=click.IntRange(0, 2**32 - 1), help="Acct-Session-Time in seconds.")
@click.option("--framed-ip", help="Framed-IP-Address.")
@click.option("--class", "class_", metavar="0xHEX", help="Class, as the Access-Accept gave it.")
@network_options(1813)
def acct_test(
    kind: str, user: str | None, session_id: str | None, input_octets: int | None, output_octets: int | None,
    session_time: int | None, framed_ip: str | None, class_: str | None, as_json: bool, **options: Any,
) -> None:  # fmt: skip
    """Report a session as a NAS would: start, interim, stop; on and off for the NAS itself."""
    from aaa import dictionary
    from aaa.radius.client import ENTROPY_SIZE, build_accounting

    names = dictionary.load()
    secret = find_secret(options["secret"], options["config"])
    session_id = session_id or f"test-{os.urandom(4).hex()}"
    pairs: list[tuple[str, str | int]] = [("Acct-Status-Type", STATUS_TYPES[kind]), ("Acct-Session-Id", session_id)]
    given = {"User-Name": user, "Framed-IP-Address": framed_ip, "Acct-Session-Time": session_time, "Class": class_}
    pairs += [(name, value) for name, value in given.items() if value is not None]
    for direction, octets in (("Input", input_octets), ("Output", output_octets)):
        if octets is not None:
            pairs += [(f"Acct-{direction}-Octets", octets & 0xFFFFFFFF), (f"Acct-{direction}-Gigawords", octets >> 32)]
    if kind == "stop":
        pairs.append(("Acct-Terminate-Cause", CAUSES_STOP))
    pairs.append(("Event-Timestamp", int(time.time())))
    try:
        content = encode_attributes(names, pairs + _nas_attributes(options), options["attributes"])
        request = build_accounting(secret, os.urandom(ENTROPY_SIZE), content)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    finish(names, request, secret, options, as_json, {"session_id": session_id})


def _nas_attributes(options: dict[str, Any]) -> list[tuple[str, str | int]]:
    nas_ip = options["nas_ip"]
    if nas_ip is None and options["nas_identifier"] is None:
        nas_ip = "127.0.0.1"
    kind = "NAS-IPv6-Address" if nas_ip and ":" in nas_ip else "NAS-IP-Address"
    given = {
        kind: nas_ip,
        "NAS-Identifier": options["nas_identifier"],
        "NAS-Port": options["nas_port"],
        "NAS-Port-Id": options["nas_port_id"],
        "Calling-Station-Id": options["calling_station_id"],
        "Called-Station-Id": options["called_station_id"],
    }
    return [(name, value) for name, value in given.items() if value is not None]


def encode_attributes(names: "Dictionary", pairs: Sequence[tuple[str, str | int]], lines: Sequence[str]) -> bytes:
    """Whole attributes of pairs and of "Name = value" lines ("Name:1 = value" with a tag). Raises ValueError."""
    encoded = [names.encode(name, value) for name, value in pairs]
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"{line}: write 'Name = value'")
        name, colon, tag = name.strip().partition(":")
        if colon and not tag.isdigit():
            raise ValueError(f"{line}: a tag is a number from 0 to 31")
        text = value.strip()
        if len(text) > 1 and text[0] == text[-1] == '"':
            text = text[1:-1]
        encoded.append(names.encode(name, text, int(tag) if colon else None))
    return b"".join(encoded)


def find_secret(given: str | None, config: str | None) -> "Secret":
    """From the option, AAA_SECRET, or the configuration's NAS of this machine. Raises UsageError."""
    from native.radius import Secret

    text = given or os.environ.get("AAA_SECRET")
    path = find_config(config) if text is None else None
    if path is not None:
        text = _local_secret(read_config(path), path.parent)
    if not text:
        raise click.UsageError("no shared secret; give --secret, AAA_SECRET, or -c FILE with a NAS 127.0.0.1")
    return Secret(text.encode())


def _local_secret(data: dict[str, Any], directory: Path) -> str | None:
    for entry in data.get("nas", []):
        addresses = entry.get("address", [])
        if "127.0.0.1" in ([addresses] if isinstance(addresses, str) else addresses):
            return read_secret(entry, "secret", directory)
    return None


def parse_server(text: str, port: int) -> tuple[str, int]:
    """Host and port of "host", "host:port", "[v6]:port" or a bare IPv6 address. Raises UsageError."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise click.UsageError(f"{text}: not a server; write [2001:db8::1]:1812")
        number = rest[1:]
    elif text.count(":") > 1:
        host, number = text, ""
    else:
        host, _, number = text.partition(":")
    if not host or (number and not (number.isdigit() and 0 < int(number) < 65536)):
        raise click.UsageError(f"{text}: not a server; write host:port")
    return host, int(number or port)


async def exchange(
    request: "Request", secret: "Secret", server: tuple[str, int], schedule: "Schedule"
) -> "tuple[Response | None, int, list[Dropped]]":
    """Send until answered or given up: the response, how often it was sent, and what came but was dropped.

    Raises OSError when the address cannot be used at all. A refusal by ICMP is waited out: the server may be starting.
    """
    import asyncio_dgram

    from aaa.radius.client import Exchange

    jitter = [random.uniform(-0.1, 0.1) for _ in range(schedule.mrc)]
    stream = await asyncio_dgram.connect(server)
    try:
        machine = Exchange(request, secret, time.monotonic(), schedule, jitter)
        while (deadline := machine.next_deadline()) is not None:
            if data := machine.data_to_send():
                await _send(stream, data)
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    datagram, _ = await stream.recv()
            except TimeoutError:
                machine.handle_deadline(time.monotonic())
            except ConnectionRefusedError:
                continue
            else:
                machine.receive_data(datagram, time.monotonic())
    finally:
        stream.close()
    return machine.response, machine.transmissions, machine.dropped


async def _send(stream: Any, data: bytes) -> None:
    try:
        await stream.send(data)
    except ConnectionRefusedError:
        # The refusal of the transmission before: reported here, and this one was not sent yet.
        await stream.send(data)


def finish(
    names: "Dictionary",
    request: "Request",
    secret: "Secret",
    options: dict[str, Any],
    as_json: bool,
    shown: dict[str, Any] | None = None,
) -> None:
    """Exchange, print, and exit with the command's code."""
    from aaa.radius.client import Code, Proof, Schedule

    server = parse_server(options["server"], 1812 if request.code == Code.ACCESS_REQUEST else 1813)
    first_s, tries = options["timeout"], options["tries"]
    schedule = Schedule(irt_s=first_s, mrc=tries, mrd_s=max(30.0, first_s * (tries + 1)))
    began = time.monotonic()
    try:
        response, transmissions, dropped = asyncio.run(exchange(request, secret, server, schedule))
    except OSError as error:
        raise click.ClickException(f"{options['server']}: {error}") from None
    shown = (shown or {}) | {"transmissions": transmissions, "seconds": round(time.monotonic() - began, 6)}
    if dropped:
        shown["dropped"] = [each.reason for each in dropped]
    if response is None:
        shown["result"] = "no answer"
        _print(shown, [], as_json)
        if any(each.reason == "authenticator" for each in dropped):
            click.echo("an answer came whose authenticator is wrong: the shared secrets differ", err=True)
        elif not as_json:
            click.echo("is this address a NAS of the server's, and is the secret right? `aaa nas unknown`", err=True)
        raise click.exceptions.Exit(NO_ANSWER)
    code = response.packet.code
    accepted = code in (Code.ACCESS_ACCEPT, Code.ACCOUNTING_RESPONSE)
    shown["result"] = NAMES[code]
    shown["authenticator"] = "right"
    shown["message_authenticator"] = "absent"
    if response.message_authenticator:
        shown["message_authenticator"] = "right, first" if response.message_authenticator_first else "right, not first"
    if response.success is not None:
        shown["ms_chap2_success"] = response.success.value
        accepted = accepted and response.success is Proof.RIGHT
    if response.mppe_keys is not None:
        shown["mppe_keys"] = response.mppe_keys.value
        accepted = accepted and response.mppe_keys is not Proof.WRONG
    _print(shown, names.decode_packet(response.packet), as_json)
    raise click.exceptions.Exit(ACCEPTED if accepted else REJECTED)


def _print(shown: dict[str, Any], attributes: list[tuple[str, str]], as_json: bool) -> None:
    if as_json:
        print_json(shown | {"attributes": [{"name": name, "value": value} for name, value in attributes]})
        return
    click.echo(shown["result"])
    for name, value in attributes:
        click.echo(f"    {name} = {show(value)}")
    for name, value in shown.items():
        if name != "result":
            click.echo(f"{name.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}")
