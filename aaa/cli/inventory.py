"""`aaa sim|number|device`: the inventory, its life cycles, and number ranges."""

from collections.abc import Callable
from typing import Any, Final, get_args

import click

from aaa.cli.door import Door, api_command, segment
from aaa.cli.entities import make_group, print_result
from aaa.cli.output import print_fields, print_json, print_table
from aaa.model.inventory import NumberState, SimState

RANGE_COLUMNS: Final = (
    "id", "first", "last", "counts.available", "counts.reserved", "counts.assigned", "counts.active",
    "counts.quarantined", "operator", "revision",
)  # fmt: skip

sim_group = make_group("sim", "SIMs and eSIM profiles, by ICCID. Keys go in and never come out.")
number_group = make_group("number", "Telephone numbers that somebody has, and the ranges they come from.")
device_group = make_group("device", "Equipment at customers: CPEs, ONUs, handsets.")


def _step_options(command: Callable[..., Any]) -> Callable[..., Any]:
    revision = click.option("--revision", type=click.IntRange(0), help="The new revision; absent: it stays.")
    service = click.option("--service", metavar="ID", help="To which service, when it is assigned.")
    return click.option("--reason", help="Told in the event and in the audit log.")(service(revision(command)))


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


@sim_group.command("transition", help="Step SIMs to a state: stock, assigned, activated, suspended, retired.")
@click.argument("iccids", nargs=-1, required=True)
@click.argument("state", type=click.Choice(get_args(SimState)))
@click.option("--msisdn", help="The number that it gets with this step.")
@_step_options
@api_command
def step_sim(
    door: Door, iccids: tuple[str, ...], state: str, msisdn: str | None, service: str | None, reason: str | None,
    revision: int | None, as_json: bool,
) -> None:  # fmt: skip
    body = _given(state=state, msisdn=msisdn, service_id=service, reason=reason, revision=revision)
    for iccid in iccids:
        print_result(door.ask("POST", f"/v1/sims/{segment(iccid)}/transition", body), as_json)


@sim_group.command("replace", help="Give service, number and state of a SIM to another one in stock, and retire it.")
@click.argument("old")
@click.argument("new")
@click.option("--reason", help="Told in the event and in the audit log.")
@click.option("--revision", type=click.IntRange(0), help="The old SIM's new revision; absent: it stays.")
@api_command
def replace(door: Door, old: str, new: str, reason: str | None, revision: int | None, as_json: bool) -> None:
    body = _given(iccid=new, reason=reason, revision=revision)
    print_result(door.ask("POST", f"/v1/sims/{segment(old)}/replace", body), as_json)


@number_group.command("transition", help="Step numbers to a state: available, reserved, assigned, active, quarantined.")
@click.argument("msisdns", nargs=-1, required=True)
@click.argument("state", type=click.Choice(get_args(NumberState)))
@click.option("--until", metavar="TIME", help="End of the reservation or quarantine: RFC 3339 with a zone.")
@_step_options
@api_command
def step_number(
    door: Door, msisdns: tuple[str, ...], state: str, until: str | None, service: str | None, reason: str | None,
    revision: int | None, as_json: bool,
) -> None:  # fmt: skip
    body = _given(state=state, until=until, service_id=service, reason=reason, revision=revision)
    for msisdn in msisdns:
        print_result(door.ask("POST", f"/v1/numbers/{segment(msisdn)}/transition", body), as_json)


@number_group.group("range", help="Ranges that numbers are given out of.")
def range_group() -> None:
    pass


@range_group.command("list", help="All ranges, with how many of their numbers are in which state.")
@api_command
def list_ranges(door: Door, as_json: bool) -> None:
    items = list(door.pages("/v1/number-ranges", None))
    if as_json:
        print_json(items)
    else:
        print_table(items, RANGE_COLUMNS)


@range_group.command("show", help="One range.")
@click.argument("id")
@api_command
def show_range(door: Door, id: str, as_json: bool) -> None:
    value = door.ask("GET", f"/v1/number-ranges/{segment(id)}")
    (print_json if as_json else print_fields)(value)


@range_group.command("add", help="A range from FIRST to LAST, both included.")
@click.argument("id")
@click.argument("first")
@click.argument("last")
@click.option("--operator", help="Whose numbers they are.")
@click.option("--quarantine", "quarantine_s", type=click.FloatRange(0), help="Seconds between two users; 90 days.")
@api_command
def add_range(
    door: Door, id: str, first: str, last: str, operator: str | None, quarantine_s: float | None, as_json: bool
) -> None:
    body = _given(id=id, first=first, last=last, operator=operator, quarantine_s=quarantine_s)
    print_result(door.ask("POST", "/v1/number-ranges", body), as_json)


@range_group.command("delete", help="Delete a range of which no number is in use.")
@click.argument("id")
@click.option("--revision", type=click.IntRange(0), help="The tombstone's; one above the stored one if absent.")
@api_command
def delete_range(door: Door, id: str, revision: int | None, as_json: bool) -> None:
    path = f"/v1/number-ranges/{segment(id)}"
    if revision is None:
        revision = door.ask("GET", path)["revision"] + 1
    print_result(door.ask("DELETE", path, revision=revision), as_json)


@range_group.command("reserve", help="Reserve the lowest available number of a range, and print it.")
@click.argument("id")
@click.option("--ttl", "ttl_s", type=click.FloatRange(1), help="Seconds; 15 minutes if absent.")
@api_command
def reserve(door: Door, id: str, ttl_s: float | None, as_json: bool) -> None:
    value = door.ask("POST", f"/v1/number-ranges/{segment(id)}/reserve", _given(ttl_s=ttl_s))
    (print_json if as_json else print_fields)(value)
