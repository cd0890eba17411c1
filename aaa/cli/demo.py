"""`aaa demo`: one subscriber with three sessions on three kinds of NAS goes overdue, and pays.

A server in a directory of its own, on loopback ports that are free; three simulated NASes around it. Everything is
asked and answered over real sockets, and what is said to happen is checked against what the NASes received.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from aaa.cli.door import Door, Refused
from aaa.cli.output import print_json, show
from aaa.cli.trace import describe

if TYPE_CHECKING:
    from aaa.cli.demo_nas import SimulatedNas

SECRET: Final = "testing123"
START_PATIENCE_S: Final = 60
PATIENCE_S: Final = 8
"""For a NAS's answer: a request is given up after 7 s."""
POLICY: Final = """\
[[rule]]
name = "overdue"
when = "subscriber.billing.overdue_days > 7"
then = { rate_max = "1M/1M", walled_garden = true, message = "Your invoice is overdue" }
"""
CONFIG: Final = """\
[server]
data_dir = "{directory}"

[store]
key_file = "{directory}/store.key"

[policy]
dir = "{directory}/policy"

[radius]
listen = ["127.0.0.1"]
auth_port = 0
acct_port = 0
interim_jitter = 0

[api]
listen = "127.0.0.1:0"

[[token]]
name = "demo"
role = "admin"
token_file = "{directory}/admin.token"
"""
PLANS: Final = {
    "home-50": {"kind": "internet", "rate": {"down_bps": 50_000_000, "up_bps": 10_000_000}},
    "tv-20": {"kind": "iptv", "rate": {"down_bps": 20_000_000, "up_bps": 2_000_000}},
    "office-100": {"kind": "internet", "rate": {"down_bps": 100_000_000, "up_bps": 50_000_000}},
}


class Line:
    """One service of the subscriber, and where it logs in."""

    def __init__(self, family: str, title: str, service: str, plan: str, user: str, password: str | None) -> None:
        self.family = family
        self.title = title
        self.service = service
        self.plan = plan
        self.user = user
        self.password = password
        self.session = f"{family}-0001"
        self.place: list[tuple[str, str]] = []
        self.nas: SimulatedNas

    def credential(self) -> dict[str, str]:
        """How the network names the service."""
        if self.password is not None:
            return {"type": "password", "username": self.user, "cleartext": self.password}
        if self.family == "cisco":
            return {"type": "mac", "mac": self.user}
        return {"type": "circuit", "circuit_id": "olt1/1/7"}


def lines_of_ann() -> list[Line]:
    """Three services of one subscriber on three kinds of NAS."""
    home = Line("mikrotik", "MikroTik, PPPoE", "ann-home", "home-50", "ann@isp.example", "spring")
    home.place = [("Service-Type", "Framed-User"), ("Framed-Protocol", "PPP"), ("NAS-Port-Id", "pppoe-7")]
    tv = Line("juniper", "Juniper, IPoE by line", "ann-tv", "tv-20", "olt1/1/7", None)
    tv.place = [("ADSL-Agent-Circuit-Id", "olt1/1/7"), ("NAS-Port-Id", "ae0.7")]
    office = Line("cisco", "Cisco BNG, IPoE by MAC", "ann-office", "office-100", "02-00-00-00-00-07", None)
    office.place = [("Calling-Station-Id", "02-00-00-00-00-07"), ("NAS-Port-Id", "Gi0/0/1.7")]
    return [home, tv, office]


class Story:
    """Tells what happens, and keeps what did not hold."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._steps = 0
        self.checks: list[dict[str, Any]] = []
        self.packets: list[dict[str, Any]] = []

    def step(self, title: str) -> None:
        """A heading."""
        self._steps += 1
        self.say("")
        self.say(click.style(f"{self._steps}. {title}", bold=True))

    def say(self, text: str) -> None:
        """A line."""
        if not self._quiet:
            click.echo(text)

    def check(self, claim: str, holds: bool, why: str = "") -> bool:
        """A claim, and whether it holds."""
        self.checks.append({"claim": claim, "holds": holds, **({"why": why} if not holds else {})})
        mark = click.style("ok", fg="green") if holds else click.style("FAILED", fg="red", bold=True)
        self.say(f"   {mark}  {claim}" + (f": {why}" if not holds and why else ""))
        return holds

    def packet(self, where: str, code: str, pairs: list[tuple[str, str]]) -> None:
        """A packet."""
        self.packets.append({"nas": where, "code": code, "attributes": pairs})
        self.say(f"   {where}: {click.style(code, fg='cyan')}")
        for name, value in pairs:
            self.say(f"       {name} = {show(value)}")

    @property
    def failed(self) -> int:
        return sum(not check["holds"] for check in self.checks)


class Demo:
    """The server, the NASes, and the story of one overdue invoice."""

    def __init__(self, directory: Path, story: Story, far_ends: dict[str, tuple[str, int]]) -> None:
        """far_ends: by family, where somebody else answers CoA in place of the simulated NAS."""
        from aaa import dictionary
        from aaa.cli.demo_nas import SimulatedNas

        self.directory = directory
        self.story = story
        self.lines = lines_of_ann()
        self.far_ends = far_ends
        names = dictionary.load()
        for number, line in enumerate(self.lines, 1):
            line.nas = SimulatedNas(names, line.family, f"127.0.9.{number}", SECRET)
        self.revision = 1
        self.door: Door
        self.ports: tuple[int, int]

    @contextmanager
    def serving(self) -> Iterator[None]:
        """The server, from its start to its end; its log goes to the directory."""
        config = self._configure()
        for line in self.lines:
            line.nas.start()
        with (self.directory / "log").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "aaa.cli", "serve", "-c", str(config)],
                stdout=subprocess.PIPE, stderr=errors, env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )  # fmt: skip
        try:
            assert process.stdout is not None
            first = process.stdout.readline()
            try:
                started = json.loads(first)
                self.ports = started["auth"][0][1], started["acct"][0][1]
                host, port = started["api"]
            except (ValueError, KeyError, IndexError):
                raise Refused(f"the server did not start: {(self.directory / 'log').read_text()[-2000:]}") from None
            self.door = Door(f"http://{host}:{port}", (self.directory / "admin.token").read_text().strip())
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=START_PATIENCE_S)
            for line in self.lines:
                line.nas.stop()

    def _configure(self) -> Path:
        (self.directory / "policy").mkdir()
        (self.directory / "policy/overdue.toml").write_text(POLICY)
        for name in ("store.key", "admin.token"):
            file = self.directory / name
            file.touch(mode=0o600)
            file.write_text(secrets.token_hex(32))
        text = CONFIG.format(directory=self.directory)
        for line in self.lines:
            host, port = self.far_ends.get(line.family, (line.nas.address, line.nas.coa_port))
            entry = {
                "name": line.family, "address": [line.nas.address], "secret": SECRET, "family": line.family,
                "identity": ["password", "mac", "circuit"], "coa_address": host, "coa_port": port,
            }  # fmt: skip
            options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in line.nas.options().items())
            text += "\n[[nas]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in entry.items())
            text += f"options = {{ {options} }}\n"
        config = self.directory / "aaa.toml"
        config.touch(mode=0o600)
        config.write_text(text)
        return config

    def all_ports(self) -> list[int]:
        """Where RADIUS was spoken."""
        return [*self.ports, *(self.far_ends.get(line.family, ("", line.nas.coa_port))[1] for line in self.lines)]

    # The story

    def tell(self) -> None:
        """From the login to the payment."""
        self.introduce()
        self.log_in()
        self.change("the invoice were overdue", "Billing says: the invoice is 12 days overdue", 12, "invoice-4711")
        if self.story.failed:
            return
        self.explain()
        self.change("it were paid", "The payment arrives", 0, "payment-0815")
        self.converge()

    def introduce(self) -> None:
        """Push the subscriber."""
        self.story.step("A subscriber with three services")
        operations: list[dict[str, Any]] = [
            {"op": "put", "kind": "plan", "id": name, "value": {"revision": 1, **body}} for name, body in PLANS.items()
        ]
        operations.append({"op": "put", "kind": "subscriber", "id": "ann", "value": {"revision": 1, "name": "Ann"}})
        for line in self.lines:
            value = {"revision": 1, "subscriber_id": "ann", "plan_id": line.plan, "credentials": [line.credential()]}
            operations.append({"op": "put", "kind": "service", "id": line.service, "value": value})
            self.story.say(f"   {line.service}: plan {line.plan}, on {line.title}")
        results = self.door.ask("POST", "/v1/sync", {"operations": operations})["results"]
        wrong = [result for result in results if result["status"] != "applied"]
        self.story.check("billing's pushes are applied and durable", not wrong, str(wrong))

    def log_in(self) -> None:
        """Each service logs in, and its session is reported."""
        self.story.step("Each service logs in by RADIUS, and its NAS reports the session")
        for number, line in enumerate(self.lines, 1):
            answer, pairs, token = line.nas.login(self.ports[0], line.user, line.password, line.place)
            self.story.packet(line.title, answer, pairs)
            self.story.check(f"{line.service} is let in", answer == "Access-Accept")
            address = [("Framed-IP-Address", f"192.0.2.{number}"), *line.place]
            line.nas.report(self.ports[1], 1, line.session, line.user, token, address)
        live = self.door.ask("GET", "/v1/sessions")["items"]
        self.story.check("three sessions are live", len(live) == len(self.lines), f"{len(live)}")

    def change(self, condition: str, title: str, overdue_days: int, correlation_id: str) -> None:
        """Preview a change of the subscriber, make it, and compare what was said with what came."""
        story = self.story
        self.revision += 1
        before = {line.family: len(line.nas.received) for line in self.lines}
        value = {"billing": {"overdue_days": overdue_days}, "revision": self.revision}
        story.step(f"A preview: what would follow if {condition}?")
        operation = {"op": "patch", "kind": "subscriber", "id": "ann", "value": value}
        preview = self.door.ask("POST", "/v1/policy/preview", {"operations": [operation]})
        foretold = {item["nas"]: item for item in preview["items"]}
        for line in self.lines:
            item = foretold.get(line.family)
            if item is not None:
                code = "CoA-Request" if item["action"] == "coa" else "Disconnect-Request"
                story.packet(f"{line.title}, foretold", code, [*map(tuple, item["keys"] + item["attributes"])])
        story.check("the preview names all three sessions", len(foretold) == len(self.lines), str(preview["summary"]))
        untouched = all(len(line.nas.received) == before[line.family] for line in self.lines)
        story.check("and has sent nothing", untouched)

        story.step(f"{title}: one API call")
        self.door.headers["X-Correlation-Id"] = correlation_id
        result = self.door.ask("PATCH", "/v1/subscribers/ann", value, wait="enforced", timeout=PATIENCE_S)
        self.door.headers.clear()
        story.check(f"PATCH /v1/subscribers/ann?wait=enforced: {result['status']}", result["status"] == "applied")
        story.check("and the network follows", bool(result.get("converged")), str(result))
        receipts = {receipt["nas"]: receipt for receipt in result.get("receipts", [])}
        for line in self.lines:
            self._compare(line, foretold.get(line.family), before[line.family])
            self._read_receipt(line, receipts.get(line.family), correlation_id)

    def _compare(self, line: Line, item: dict[str, Any] | None, before: int) -> None:
        """What a NAS received is what the preview said."""
        if line.family in self.far_ends or item is None:
            return
        received = line.nas.received[before:]
        keys = [tuple(pair) for pair in item["keys"]]
        came: list[tuple[str, str]] = []
        for code, pairs in received:
            self.story.packet(f"{line.title}, received", code, pairs)
            came += [pair for pair in pairs if pair not in keys]
        wanted = [tuple(pair) for pair in item["attributes"]]
        names = {name for name, _ in wanted}
        comparable = [pair for pair in came if pair[0] in names]
        named = bool(received) and all(key in pairs for _, pairs in received for key in keys)
        self.story.check(f"{line.title}: just what the preview said", comparable == wanted == came, f"{came}")
        self.story.check(f"{line.title}: names the session, and is signed", named and not line.nas.forged)

    def _read_receipt(self, line: Line, receipt: dict[str, Any] | None, correlation_id: str) -> None:
        """The proof can be read back."""
        if receipt is None:
            self.story.check(f"{line.title}: there is a receipt", False)
            return
        kept = self.door.ask("GET", f"/v1/enforcements/{receipt['id']}")
        asked = kept["correlation_id"]
        took = f"{(receipt.get('seconds') or 0) * 1000:.0f} ms"
        self.story.check(
            f"{line.title}: receipt {receipt['id']}: {receipt['action']} {receipt['result']} in {took},"
            f" because of {correlation_id}",
            (receipt["result"], asked) == ("ack", correlation_id), str(kept),
        )  # fmt: skip

    def explain(self) -> None:
        """Why is Ann slow?"""
        self.story.step("The support desk asks: why is Ann slow?")
        for line in self.lines:
            shown = self.door.ask("GET", f"/v1/services/{line.service}/decision", nas=line.family)
            self.story.say(f"   {line.service} on {line.title}: {describe(shown)}: {shown.get('message', '')}")
            steps = [step for step in shown["trace"] if "overdue" in step["rule"]]
            for step in steps:
                self.story.say(f"       {step['rule']}: {step['facts']} -> {step['effect']}")
            because = any("overdue_days = 12" in step["facts"] for step in steps)
            claim = f"{line.service}: the rule that did it is named with its facts"
            self.story.check(claim, because, str(shown["trace"]))

    def converge(self) -> None:
        """Everything is as it was."""
        self.story.step("Everything is as before")
        for line in self.lines:
            status = self.door.ask("GET", f"/v1/services/{line.service}/status")
            rate = status["rate"]
            plan: Any = PLANS[line.plan]["rate"]
            same = (rate["down_bps"], rate["up_bps"]) == (plan["down_bps"], plan["up_bps"])
            (session,) = status["sessions"]
            self.story.check(f"{line.service}: {describe({'grant': True, **status})}, converged",
                             same and session["converged"], str(status))  # fmt: skip
        divergent = self.door.ask("GET", "/v1/sessions", divergent="true")["items"]
        self.story.check("no session diverges", not divergent)
        verified = self.door.ask("GET", "/v1/audit/verify")
        self.story.check("the audit log's chain is whole", verified["whole"], str(verified))


@click.command("demo")
@click.option("--keep", is_flag=True, help="Go on serving afterwards, until Ctrl-C.")
@click.option("--far-end", "far_ends", multiple=True, metavar="FAMILY=HOST:PORT",
              help="Let somebody else answer CoA for mikrotik, juniper or cisco.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON: checks and packets.")
def demo(keep: bool, far_ends: tuple[str, ...], as_json: bool) -> None:
    """Show an overdue invoice and its payment reach three live sessions on three kinds of NAS.

    Starts a server with sample data in a temporary directory, on free loopback ports, and three simulated NASes. Exit
    code 0 only where everything that was said was also so.
    """
    story = Story(as_json)
    with tempfile.TemporaryDirectory(prefix="aaa-demo-") as directory:
        made = Demo(Path(directory), story, dict(map(_far_end, far_ends)))
        with made.serving():
            made.tell()
            if as_json:
                shown = {"failed": story.failed, "checks": story.checks, "packets": story.packets}
                print_json(shown | {"ports": made.all_ports()})
            else:
                colour = "red" if story.failed else "green"
                told = f"{len(story.checks)} checks, {story.failed} failed"
                click.echo("\n" + click.style(told, fg=colour, bold=True))
            if keep:
                _keep(made)
    raise click.exceptions.Exit(1 if story.failed else 0)


def _far_end(text: str) -> tuple[str, tuple[str, int]]:
    family, equals, place = text.partition("=")
    host, colon, port = place.rpartition(":")
    if not equals or not colon or not port.isdigit():
        raise click.UsageError(f"{text}: write cisco=127.0.0.1:3799")
    return family, (host, int(port))


def _keep(made: Demo) -> None:
    config = made.directory / "aaa.toml"
    click.echo(f"\nServing on {made.door.url}; RADIUS on 127.0.0.1, ports {made.ports[0]} and {made.ports[1]}. Try\n"
               f"  aaa session list -c {config} --url {made.door.url} --token $(cat {made.directory}/admin.token)\n"
               "Ctrl-C ends it.", err=True)  # fmt: skip
    try:
        signal.pause()
    except KeyboardInterrupt:
        click.echo("", err=True)
