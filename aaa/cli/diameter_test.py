"""`aaa diameter-test`: an MME, a PCEF and an OCS client in one, with a socket around aaa.diameter.

Exit codes: 0 granted, 1 refused, 2 usage, 3 no answer.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from aaa.cli.output import print_json, safe_json
from aaa.cli.probe import ACCEPTED, NO_ANSWER, REJECTED, parse_server

if TYPE_CHECKING:
    from aaa.dictionary.diameter import Dictionary, Value
    from native.diameter import Message

Pairs = Sequence[tuple[str, "Value"]]
PORT: Final = 3868
TIMEOUT_S: Final = 5.0
SUCCESS: Final = (2001, 2002)
VENDOR_3GPP: Final = 10415
NO_STATE: Final = "NO_STATE_MAINTAINED"
S6A: Final = "S6a"
CREDIT_CONTROL: Final = 4
ABORT_SESSION: Final = 274
CANCEL_LOCATION: Final = 317
SESSION_RELEASE_CAUSE: Final = 1045


@click.group("diameter-test")
def diameter_test() -> None:
    """Be an MME or a gateway: attach a SIM, run a session, and show what the server answers and sends."""


def client_options(function: Any) -> Any:
    """Options of both commands."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--stay", type=click.FloatRange(0, 86_400), default=0.0, help="Seconds to wait for pushes."),
        click.option("--origin-realm", help="Our realm; that of --realm if absent."),
        click.option("--realm", default="localdomain", show_default=True, help="The server's realm."),
        click.option("--peer", default="aaa.localdomain", show_default=True, help="The server's Origin-Host."),
        click.option("--plmn", default="001-01", show_default=True, metavar="MCC-MNC", help="Serving network."),
        click.option("--server", default=f"127.0.0.1:{PORT}", show_default=True, metavar="HOST[:PORT]"),
    ):
        function = option(function)
    return function


@diameter_test.command()
@click.argument("imsi")
@click.option("--origin-host", default="mme-test.localdomain", show_default=True, help="Who we say we are.")
@client_options
def attach(imsi: str, plmn: str, as_json: bool, **options: Any) -> None:
    """Attach IMSI as an MME does: AIR, then ULR."""

    async def run(client: "Client") -> bool:
        user: Pairs = [("User-Name", imsi)]
        info = [("Number-Of-Requested-Vectors", 1), ("Immediate-Response-Preferred", 1)]
        vectors: Pairs = [("Requested-EUTRAN-Authentication-Info", info), ("Visited-PLMN-Id", plmn)]
        if not await client.ask(S6A, "AIR", [*user, *vectors]):
            return False
        update: Pairs = [("RAT-Type", 1004), ("ULR-Flags", 34), ("Visited-PLMN-Id", plmn)]
        if not await client.ask(S6A, "ULR", [*user, *update]):
            return False
        until = client.until()
        while (pushed := await client.pushed(until)) is not None:
            if pushed.command == CANCEL_LOCATION:
                break
        return True

    finish(run, as_json, options)


@diameter_test.command()
@click.argument("imsi")
@click.option("--origin-host", default="gateway-test.localdomain", show_default=True, help="Who we say we are.")
@click.option("--apn", default="internet", show_default=True)
@click.option("--use", "uses", multiple=True, type=click.IntRange(0, 2**50), help="Octets to report; repeatable.")
@client_options
def session(imsi: str, plmn: str, apn: str, uses: tuple[int, ...], as_json: bool, **options: Any) -> None:
    """Run a data session of IMSI as a gateway does: Gx for the rules, Gy for the quota, and the end.

    Meanwhile it does as it is told: a RAR on Gy is followed by a CCR-U, and the end comes early when it is asked for.
    """

    async def run(client: "Client") -> bool:
        ids = {"Gx": client.session_id(), "Gy": client.session_id()}
        who: Pairs = [("Subscription-Id", [("Subscription-Id-Type", "END_USER_IMSI"), ("Subscription-Id-Data", imsi)])]
        place: Pairs = [("Called-Station-Id", apn), ("3GPP-SGSN-MCC-MNC", plmn.replace("-", ""))]

        async def ccr(name: str, kind: str, number: int, more: Pairs) -> bool:
            head: list[tuple[str, Value]] = [("CC-Request-Type", kind), ("CC-Request-Number", number)]
            if name == "Gy":
                head.append(("Service-Context-Id", "32251@3gpp.org"))
                head.append(("Service-Information", [("PS-Information", place)]))
            return await client.ask(name, "CCR", [*head, *who, *more], ids[name])

        if not await ccr("Gx", "INITIAL_REQUEST", 0, place):
            return False
        group: Pairs = [("Requested-Service-Unit", [])]
        good = await ccr("Gy", "INITIAL_REQUEST", 0, [("Multiple-Services-Credit-Control", group)])
        number = 0
        for number, octets in enumerate(uses, 1):
            if not good:
                break
            used = [("CC-Output-Octets", octets), ("CC-Input-Octets", 0)]
            report = [*group, ("Used-Service-Unit", used)]
            good = await ccr("Gy", "UPDATE_REQUEST", number, [("Multiple-Services-Credit-Control", report)])
        until = client.until()
        while good and (pushed := await client.pushed(until)) is not None:
            if pushed.command == ABORT_SESSION or pushed.releases:
                break
            if pushed.application == CREDIT_CONTROL:
                number += 1
                good = await ccr("Gy", "UPDATE_REQUEST", number, [("Multiple-Services-Credit-Control", group)])
        if good or number:
            await ccr("Gy", "TERMINATION_REQUEST", number + 1, [("Termination-Cause", "DIAMETER_LOGOUT")])
        await ccr("Gx", "TERMINATION_REQUEST", 1, [("Termination-Cause", "DIAMETER_LOGOUT")])
        return good

    finish(run, as_json, options)


def finish(run: Any, as_json: bool, options: dict[str, Any]) -> None:
    """Run against the server; the exit code tells how it ended."""
    server = parse_server(options["server"], PORT)

    async def main() -> int:
        client = Client(options, as_json)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await client.connect(*server)
            good = await run(client)
        except TimeoutError:
            client.say("no answer", [])
            return NO_ANSWER
        except OSError as error:
            client.say(f"cannot reach {options['server']}: {error.strerror or error}", [])
            return NO_ANSWER
        finally:
            client.close()
        return ACCEPTED if good else REJECTED

    raise SystemExit(asyncio.run(main()))


class Pushed(NamedTuple):
    """What of a request of the server makes a difference."""

    command: int
    application: int
    releases: bool
    """The bearer is to end."""


class Client(asyncio.Protocol):
    """One connection to the server."""

    def __init__(self, options: dict[str, Any], as_json: bool) -> None:
        from aaa.diameter.node import Node
        from aaa.diameter.settings import Local, Remote
        from aaa.dictionary.diameter import load

        self.names: Dictionary = load()
        self.options = options
        options["origin_realm"] = options["origin_realm"] or options["realm"]
        self.as_json = as_json
        applications = [app for app in self.names.applications.values() if app.name in (S6A, "Gx", "Gy")]
        local = Local(
            options["origin_host"],
            options["origin_realm"],
            0,  # Not told: whoever bears this name elsewhere has lost no sessions (RFC 6733 §8.16).
            tuple(applications),
            self.names.grammars(applications),
        )
        remote = Remote(options["peer"], options["realm"], connect=True)
        self.node = Node(local, (remote,), random.random, time.time(), lambda: random.getrandbits(32))
        self.peer = self.node.peers[options["peer"].lower()]
        self.opened = asyncio.get_running_loop().create_future()
        self.pushes: asyncio.Queue[Pushed | None] = asyncio.Queue()
        self._transport: asyncio.Transport | None = None
        self._connection: Any = None

    async def connect(self, host: str, port: int) -> None:
        """Until the server has taken us. Raises OSError where it does not."""
        self.peer.start(self._now())
        await asyncio.get_running_loop().create_connection(lambda: self, host, port)
        await self.opened

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def session_id(self) -> str:
        return f"{self.options['origin_host']};{int(time.time())};{random.getrandbits(32)}"

    async def ask(self, application: str, short: str, pairs: Pairs, session_id: str | None = None) -> bool:
        """Send a request and show its answer: whether it was granted. Raises TimeoutError."""
        from native import diameter

        command = self.names.command(application, short)
        app = command.application
        number = ("Auth-Application-Id", app.number)
        head: list[tuple[str, Value]] = [("Session-Id", session_id or self.session_id())]
        if application == S6A:
            vendor = ("Vendor-Specific-Application-Id", [("Vendor-Id", VENDOR_3GPP), number])
            head += [vendor, ("Auth-Session-State", NO_STATE)]
        else:
            head.append(number)
        head += [
            ("Origin-Host", self.options["origin_host"]),
            ("Origin-Realm", self.options["origin_realm"]),
            ("Destination-Realm", self.options["realm"]),
        ]
        avps = self.names.encode_all([*head, *pairs])
        flags = diameter.FLAG_REQUEST | diameter.FLAG_PROXIABLE
        octets = diameter.message(flags, command.code, app.number, 0, self.node.next_end_to_end(), avps)
        self.say(f"> {application} {short}", pairs_of(self.names, octets))
        waiter: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        if not self.peer.send_request(octets, waiter, self._now()):
            raise ConnectionError("the connection is gone")
        self._flush()
        async with asyncio.timeout(TIMEOUT_S):
            answer = await waiter
        self.say(f"< {self.names.title(answer)}", self.names.show(answer))
        return answer.get_unsigned32(268) in SUCCESS

    def until(self) -> float:
        """When the stay that begins now is over."""
        return self._now() + float(self.options["stay"])

    async def pushed(self, until: float) -> Pushed | None:
        """The next request of the server, shown and answered already; None when the stay or the connection is over."""
        try:
            async with asyncio.timeout_at(until):
                return await self.pushes.get()
        except TimeoutError:
            return None

    def say(self, title: str, pairs: Sequence[tuple[str, str]]) -> None:
        """One message, as text or as a JSON document."""
        if self.as_json:
            print_json({"message": title, "avps": [list(pair) for pair in pairs]})
            return
        click.echo(safe_json(title))
        for name, value in pairs:
            click.echo(safe_json(f"    {name} = {value}"))

    def close(self) -> None:
        """Say good-bye."""
        from aaa.diameter.codes import DisconnectCause

        self.peer.stop(DisconnectCause.DO_NOT_WANT_TO_TALK_TO_YOU, self._now())
        self._flush()
        if self._transport is not None:
            self._transport.close()

    # What the transport tells

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        here, there = transport.get_extra_info("sockname")[0], transport.get_extra_info("peername")[0]
        self._connection, events = self.peer.connected(there, (here,), self._now())
        self._take(events)

    def data_received(self, data: bytes) -> None:
        self._take(self._connection.receive_data(data, self._now()))

    def connection_lost(self, exc: Exception | None) -> None:
        self._take(self._connection.lost(self._now()))
        self.pushes.put_nowait(None)

    def _take(self, events: Sequence[Any]) -> None:
        from aaa.diameter.events import Answer, Closed, Opened, Request, Unanswered

        for event in events:
            if isinstance(event, Opened) and not self.opened.done():
                self.opened.set_result(None)
            elif isinstance(event, Closed) and not self.opened.done():
                self.opened.set_exception(ConnectionError(f"refused: {event.reason} {event.detail}".rstrip()))
            elif isinstance(event, Answer) and not event.context.done():  # type: ignore[attr-defined]
                event.context.set_result(event.message)  # type: ignore[attr-defined]
            elif isinstance(event, Unanswered) and not event.context.done():  # type: ignore[attr-defined]
                event.context.set_exception(ConnectionError(f"the connection has ended: {event.reason}"))  # type: ignore[attr-defined]
            elif isinstance(event, Request):
                self.say(f"< {self.names.title(event.message)}", self.names.show(event.message))
                event.peer.send_answer(event, self._answer(event.message))
                message = event.message
                releases = message.has(SESSION_RELEASE_CAUSE, VENDOR_3GPP)
                self.pushes.put_nowait(Pushed(message.command, message.application, releases))
        self._flush()

    def _answer(self, request: "Message") -> bytes:
        """Yes, whatever it is."""
        from native import diameter

        avps = [diameter.avp(263, request.get(263) or b"")]
        vendor_specific = request.get(260)
        if vendor_specific is not None:
            avps += [diameter.avp(260, vendor_specific), self.names.encode("Auth-Session-State", NO_STATE)]
        avps += self.names.encode_all(
            [
                ("Result-Code", 2001),
                ("Origin-Host", self.options["origin_host"]),
                ("Origin-Realm", self.options["origin_realm"]),
            ]
        )
        return diameter.answer(request, avps)

    def _flush(self) -> None:
        for connection in self.node.ready():
            data = connection.data_to_send()
            if data and self._transport is not None:
                self._transport.write(data)


def pairs_of(names: "Dictionary", octets: bytes) -> list[tuple[str, str]]:
    """A message of ours, decoded."""
    from native.diameter import Message

    return names.show(Message.parse(octets))
