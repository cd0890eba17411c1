"""`aaa nas|session|pool|lease`: what the network does now, and who had an address then."""

import click

from aaa.cli.door import Door, api_command, segment
from aaa.cli.output import print_fields, print_json, print_table

SESSION_COLUMNS = (
    "id", "protocol", "service_id", "user_name", "nas", "apn", "framed_ip", "delegated_prefix", "calling_station_id",
    "started_at", "updated_at", "ended_at", "usage.total_octets", "charged",
)  # fmt: skip
DIVERGENT_COLUMNS = (
    "id", "protocol", "service_id", "nas", "diverged_at", "divergence", "confirmed.reason", "desired.reason",
    "enforcement.action", "enforcement.attempts",
)  # fmt: skip
NAS_COLUMNS = ("name", "protocol", "family", "address", "identifier", "operator", "message_authenticator", "sessions")
LEASE_COLUMNS = ("address", "service_id", "session_id", "nas", "mac", "from", "until")


@click.group("nas")
def nas_group() -> None:
    """Network access servers and Diameter clients, as configured and as learned."""


def _nas_list(name: str, path: str, columns: tuple[str, ...], text: str) -> None:
    @nas_group.command(name, help=text)
    @api_command
    def show_list(door: Door, as_json: bool) -> None:
        answer = door.ask("GET", path)
        if as_json:
            print_json(answer)
        else:
            items = answer.get("items", [])
            print_table(items, columns or tuple(dict.fromkeys(key for item in items for key in item)))


_nas_list("list", "/v1/nas", NAS_COLUMNS, "List every NAS and how many sessions it has.")
_nas_list("unknown", "/v1/nas/unknown", (), "List addresses that send requests but are not configured.")
_nas_list("message-authenticator", "/v1/nas/message-authenticator", (), (
    "Report which NAS would break if Message-Authenticator were required."
))  # fmt: skip


@nas_group.command("show")
@click.argument("name")
@api_command
def nas_show(door: Door, name: str, as_json: bool) -> None:
    """Show one NAS: what it was seen to send and to honour."""
    answer = door.ask("GET", f"/v1/nas/{segment(name)}")
    (print_json if as_json else print_fields)(answer)


@click.group("session")
def session_group() -> None:
    """Live and ended sessions."""


@session_group.command("list")
@click.option("--service", help="Only of this service.")
@click.option("--nas", help="Only through this NAS.")
@click.option("--user", help="Only of this user name.")
@click.option("--address", help="Only with this address.")
@click.option("--protocol", type=click.Choice(["radius", "gx", "gy", "s6a", "sy"]), help="Only of this protocol.")
@click.option("--imsi", help="Only of this IMSI.")
@click.option("--apn", help="Only to this APN.")
@click.option("--ended", is_flag=True, help="Ended sessions instead of live ones.")
@click.option("--divergent", is_flag=True, help="Only those that do not run under what was decided, and why.")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most so many.")
@api_command
def session_list(
    door: Door, service: str | None, nas: str | None, user: str | None, address: str | None, protocol: str | None,
    imsi: str | None, apn: str | None, ended: bool, divergent: bool, limit: int, as_json: bool,
) -> None:  # fmt: skip
    """List sessions."""
    query = {"service": service, "nas": nas, "user": user, "address": address}
    query |= {"protocol": protocol, "imsi": imsi, "apn": apn}
    flags = {"ended": "true" if ended else None, "divergent": "true" if divergent else None}
    items = list(door.pages("/v1/sessions", limit, **query, **flags))
    if as_json:
        print_json(items)
    else:
        print_table(items, DIVERGENT_COLUMNS if divergent else SESSION_COLUMNS)


@session_group.command("show")
@click.argument("id")
@api_command
def session_show(door: Door, id: str, as_json: bool) -> None:
    """Show one session."""
    answer = door.ask("GET", f"/v1/sessions/{segment(id)}")
    (print_json if as_json else print_fields)(answer)


def _session_change(action: str, text: str) -> None:
    @session_group.command(action, help=text)
    @click.argument("ids", nargs=-1, required=True)
    @click.option("--wait", type=click.FloatRange(0, 60), metavar="S", help="Seconds to wait for the NAS's answer.")
    @api_command
    def change(door: Door, ids: tuple[str, ...], wait: float | None, as_json: bool) -> None:
        query = {} if wait is None else {"wait": "enforced", "timeout": wait}
        for id in ids:
            answer = door.ask("POST", f"/v1/sessions/{segment(id)}/{action}", **query)
            if as_json:
                print_json(answer)
                continue
            ends = [receipt["result"] or receipt["state"] for receipt in answer.get("receipts", ())]
            click.echo(f"{id}: {', '.join(ends) or answer.get('status', 'sent')}")


_session_change("disconnect", "Send what ends each session: Disconnect-Request, RAR, ASR, CLR or SNR.")
_session_change("reauthorize", "Decide anew about each session, and send the NAS everything that it can be told.")


@click.group("pool")
def pool_group() -> None:
    """Address pools."""


@pool_group.command("list")
@api_command
def pool_list(door: Door, as_json: bool) -> None:
    """List pools and how full they are."""
    answer = door.ask("GET", "/v1/pools")
    if as_json:
        print_json(answer)
    else:
        items = answer.get("items", [])
        print_table(items, tuple(dict.fromkeys(key for item in items for key in item)))


@click.group("lease")
def lease_group() -> None:
    """Lease history."""


@lease_group.command("who")
@click.argument("address")
@click.option("--at", metavar="TIME", help="RFC 3339 with a zone, or epoch seconds; without it the whole history.")
@api_command
def lease_who(door: Door, address: str, at: str | None, as_json: bool) -> None:
    """Find who had an address. Exit code 1: nobody."""
    items = door.ask("GET", "/v1/leases", address=address, at=at)["items"]
    if as_json:
        print_json(items)
    elif items:
        print_table(items, LEASE_COLUMNS)
    if not items:
        click.echo(f"{address}: nobody had it" + (f" at {at}" if at else ""), err=True)
        raise click.exceptions.Exit(1)
