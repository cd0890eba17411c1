"""What operators ask before and while they change something: traces of live packets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aaa.limits import TRACERS_COUNT_MAX
from aaa.model.operations import Actor, Answer
from aaa.server.answers import missing, refused, reply
from aaa.server.trace import CODES, Tap, Wanted

if TYPE_CHECKING:
    from aaa.server.admin import Method
    from aaa.server.main import Server

CODE_NUMBERS = {name.lower(): number for number, name in CODES.items()}


def methods(server: Server) -> dict[str, Method]:
    """By name, for the table of methods."""
    see = See(server)
    return {
        "trace_open": see.trace_open,
        "trace_next": see.trace_next,
        "trace_close": see.trace_close,
    }


class See:
    """Answers for one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._tap = Tap(server)

    # Live packets

    def trace_open(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """Begin a trace within the actor's scope."""
        code = args.get("code")
        number = None
        if code is not None:
            number = int(code) if code.isdigit() else CODE_NUMBERS.get(code.lower())
            if number is None:
                return refused(422, "invalid", f"unknown code {code!r}; known are {', '.join(CODE_NUMBERS)}", "code")
        wanted = Wanted(
            args.get("user"), args.get("nas"), args.get("service"), args.get("session"), number, actor.operator
        )
        trace = self._tap.open(wanted)
        if trace is None:
            return refused(409, "not_possible", f"{TRACERS_COUNT_MAX} traces run already; end one")
        return reply(200, {"trace": trace})

    async def trace_next(self, actor: Actor, args: dict[str, Any]) -> Answer:
        """What was seen since the last call; waits a while for something."""
        found = await self._tap.next(args["trace"], args["wait_s"])
        return missing("trace", str(args["trace"])) if found is None else reply(200, found)

    def trace_close(self, actor: Actor, args: dict[str, Any]) -> Answer:
        self._tap.close(args["trace"])
        return reply(200, {})
