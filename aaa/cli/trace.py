"""`aaa trace`: live packets with the decision for each, as the server streams them."""

import json
from typing import Any

import click

from aaa.cli.door import Door, api_command
from aaa.cli.output import safe_json, show

COLOURS = {"accept": "green", "ack": "green", "reject": "yellow", "nak": "red", "drop": "red", "timeout": "red"}
COLOURS |= {"DIAMETER_SUCCESS": "green", "DIAMETER_LIMITED_SUCCESS": "green", "no answer": "red"}


@click.command("trace")
@click.option("--user", help="Only of this User-Name.")
@click.option("--nas", help="Only through this NAS.")
@click.option("--service", help="Only of this service.")
@click.option("--session", help="Only of the session with this id.")
@click.option("--code", help="Only these: Access-Request, Accounting-Request, CoA-Request, Disconnect-Request.")
@click.option("--imsi", help="Only of this IMSI.")
@click.option("--peer", help="Only from or to this Diameter peer, by Origin-Host.")
@click.option("--command", help='Only this Diameter command: CCR, "Gx CCR", AIR, DWR or a number.')
@click.option("--count", type=click.IntRange(1), help="End after so many.")
@api_command
def trace(door: Door, as_json: bool, **wanted: Any) -> None:
    """Show live packets and Diameter messages, decoded, with what was decided about each.

    Secrets are ***. Ctrl-C ends it.
    """
    try:
        for line in door.stream("/v1/trace", **wanted):
            if as_json:
                click.echo(safe_json(line))
            else:
                print_packet(json.loads(line))
    except KeyboardInterrupt:
        return


def print_packet(packet: dict[str, Any]) -> None:
    """One packet of a trace for people."""
    if packet.get("lost"):
        click.secho(f"... {packet['lost']} more matched than could be shown; narrow the filter", fg="red", err=True)
    if "code" not in packet:
        return
    outcome = click.style(packet["outcome"], fg=COLOURS.get(packet["outcome"]))
    where = f"{show(packet['nas']) or 'unknown NAS'} {show(packet['address'])}"
    if packet.get("peer") not in (None, packet["nas"]):
        where += f" by {show(packet['peer'])}"
    if packet["protocol"] == "diameter" and packet["direction"] == "out":
        where = f"to {where}"
    answer = packet["answer"] or "no answer"
    user = f" {show(packet['user'])}" if packet["user"] else ""
    click.echo(
        f"{click.style(packet['at'], dim=True)} {where} {click.style(packet['code'], bold=True)}"
        f" {show(packet['identifier'])}{user} -> {answer}, {outcome}, {packet['latency_ms']} ms"
    )
    decision = packet["decision"]
    facts = {"service": packet["service_id"], "session": packet["session_id"], "reason": packet["reason"]}
    facts |= {"detail": packet["detail"], "decision": describe(decision) if decision else None}
    if told := ", ".join(f"{name} {show(value)}" for name, value in facts.items() if value):
        click.echo(f"    {told}")
    for arrow, key in (("<", "attributes"), (">", "answer_attributes")):
        for name, value in packet[key]:
            click.echo(f"    {arrow} {show(name)} = {show(value)}")


def describe(decision: dict[str, Any]) -> str:
    """A decision in a few words."""
    if not decision["grant"]:
        return f"deny ({decision['reason']})"
    rate = decision.get("rate")
    words = [] if not rate else [f"{bits(rate['down_bps'])}/{bits(rate['up_bps'])}"]
    words += ["walled garden"] if decision.get("walled_garden") else []
    return " ".join(["grant", *words, f"({decision['reason']})"])


def bits(bps: int) -> str:
    """50M, 512k; 0 is the network element's own."""
    if not bps:
        return "-"
    for factor, suffix in ((1_000_000, "M"), (1_000, "k")):
        if bps >= factor:
            return f"{bps / factor:g}{suffix}"
    return str(bps)
