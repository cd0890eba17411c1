"""`aaa coa-test`: answers CoA and Disconnect as a NAS would, and prints what came. The other end of auth-test."""

import socket
import time
from typing import Any

import click

from aaa.cli.output import print_json, show
from aaa.cli.probe import NO_ANSWER, find_secret, parse_server

REQUESTS = {40: "Disconnect-Request", 43: "CoA-Request"}
ANSWERS = {41: "Disconnect-ACK", 42: "Disconnect-NAK", 44: "CoA-ACK", 45: "CoA-NAK"}
ERROR_CAUSE = 101


@click.command("coa-test")
@click.option("--listen", default="127.0.0.1:3799", show_default=True, metavar="HOST[:PORT]")
@click.option("--secret", metavar="SECRET", help="Also AAA_SECRET, or the NAS 127.0.0.1 of -c.")
@click.option("-c", "--config", metavar="FILE", help="Configuration with the NAS entry of this machine.")
@click.option("--nak", type=click.IntRange(200, 599), metavar="CAUSE", help="Refuse with this Error-Cause; 503: gone.")
@click.option("--count", type=click.IntRange(1), help="End after so many requests.")
@click.option("--timeout", type=click.FloatRange(0.01, 3600), help="End after so many seconds; exit code 3.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line for each request.")
def coa_test(
    listen: str, secret: str | None, config: str | None, nak: int | None, count: int | None, timeout: float | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Take CoA- and Disconnect-Requests as a NAS would, verify and print them decoded, and answer.

    A request that comes again gets the same answer and is not printed again. Ctrl-C ends it.
    """
    from aaa import dictionary
    from native.radius import Packet, integer_attribute

    names, shared = dictionary.load(), find_secret(secret, config)
    host, port = parse_server(listen, 3799)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    answered: dict[tuple[Any, bytes], bytes] = {}
    deadline = None if timeout is None else time.monotonic() + timeout
    with socket.socket(family, socket.SOCK_DGRAM) as end:
        try:
            end.bind((host, port))
        except OSError as error:
            raise click.ClickException(f"{listen}: {error.strerror}") from None
        while count is None or len(answered) < count:
            end.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
            try:
                data, source = end.recvfrom(4096)
            except TimeoutError:
                raise click.exceptions.Exit(NO_ANSWER) from None
            except KeyboardInterrupt:
                return
            packet = Packet.parse(data)
            if packet.fault or packet.code not in REQUESTS or not shared.verify_accounting(packet):
                click.echo(f"{source[0]}: not a request that the secret verifies; dropped", err=True)
                continue
            again = (source, data)
            if again not in answered:
                code = packet.code + (1 if nak is None else 2)
                cause = b"" if nak is None else integer_attribute(ERROR_CAUSE, nak)
                answered[again] = shared.respond(packet, code, cause, True)
                _print(REQUESTS[packet.code], ANSWERS[code], names.decode_packet(packet), source[0], as_json)
            end.sendto(answered[again], source)


def _print(request: str, answer: str, pairs: list[tuple[str, str]], source: str, as_json: bool) -> None:
    if as_json:
        print_json({"request": request, "from": source, "attributes": pairs, "answer": answer})
        return
    click.echo(f"{request} from {source}, answered {answer}")
    for name, value in pairs:
        click.echo(f"    {name} = {show(value)}")
