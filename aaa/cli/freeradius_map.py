"""From FreeRADIUS's words to ours: clients to [[nas]] entries, users and groups to operations of the sync API.

What is understood becomes fields of plans and services; other reply attributes are kept as `attributes`. Nothing is
dropped silently: each line that says less than before is a finding. A condition that is not understood lets nobody in.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, tzinfo
from ipaddress import ip_address, ip_network
from typing import Any, Final

from msgspec import Struct, field

from aaa.cli.freeradius_files import ClientEntry, Finding, Pair, SqlRow, UserEntry
from aaa.dictionary import Dictionary
from aaa.errors import AaaError
from aaa.mapping import families
from aaa.model.entities import Password
from policy.model import Attribute

Values = dict[str, Any]

PASSWORDS: Final = {
    "cleartext-password": "cleartext",
    "user-password": "cleartext",
    "crypt-password": "crypt",
    "nt-password": "nt_hash",
}
SALTED: Final = {
    "ssha-password": "{SSHA}",
    "ssha1-password": "{SSHA}",
    "ssha2-256-password": "{SSHA256}",
    "ssha2-512-password": "{SSHA512}",
}
HEADERS: Final = {"{clear}": "cleartext", "{cleartext}": "cleartext", "{crypt}": "crypt", "{nt}": "nt_hash"}
"""Of Password-With-Header."""
SECONDS: Final = {
    "session-timeout": "session_timeout", "idle-timeout": "idle_timeout", "acct-interim-interval": "interim_interval"
}  # fmt: skip
ANSWERED: Final = ("service-type", "framed-protocol")
VOLUMES: Final = re.compile(r"(?i)^(max-(daily|weekly|monthly|all)-(session|traffic|octets)|max-(data|octets|all-mb)|"
                            r"mikrotik-(total|recv|xmit)-limit(-gigawords)?|chillispot-max-.*)$")  # fmt: skip
FAMILY_OF_VENDOR: Final = {
    14988: "mikrotik", 9: "cisco", 4874: "juniper", 2636: "juniper", 2011: "huawei", 6527: "nokia", 3902: "zte",
    41112: "ubiquiti", 17713: "cambium",
}  # fmt: skip
NAS_TYPES: Final = {
    "cisco": "cisco", "juniper": "juniper", "mikrotik": "mikrotik", "mikrotik_snmp": "mikrotik", "huawei": "huawei",
    "nokia": "nokia", "alcatel": "nokia", "zte": "zte", "ubiquiti": "ubiquiti", "ubnt": "ubiquiti",
    "cambium": "cambium", "accel": "accel-ppp", "accel-ppp": "accel-ppp", "other": "generic", "": "generic",
}  # fmt: skip
ADDRESS_KEYS: Final = ("ipaddr", "ipv4addr", "ipv6addr")
HARMLESS_KEYS: Final = (*ADDRESS_KEYS, "netmask", "secret", "shortname", "nas_type", "nastype", "proto",
                        "require_message_authenticator", "limit_proxy_state")  # fmt: skip
EXPIRY_FORMS: Final = ("%d %b %Y %H:%M:%S", "%d %b %Y %H:%M", "%d %b %Y", "%d %B %Y", "%b %d %Y %H:%M:%S", "%b %d %Y",
                       "%B %d %Y", "%B %d %Y %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S",
                       "%Y-%m-%d")  # fmt: skip


class Login(Struct):
    """Everything that is said of one user name."""

    name: str
    file: str
    line: int
    checks: list[Pair] = field(default_factory=list)
    replies: list[Pair] = field(default_factory=list)
    groups: list[tuple[int, str]] = field(default_factory=list)
    """(priority, name), in order of the file."""
    plan: str = ""
    """Plan where no group names one."""


class Group(Struct):
    """What a group, or the DEFAULT entries of a users file, gives to its users."""

    name: str
    checks: list[Pair] = field(default_factory=list)
    replies: list[Pair] = field(default_factory=list)


class Importer:
    """Collects what files say, then makes NAS entries and operations of it."""

    def __init__(self, dictionary: Dictionary, operator: str | None = None, zone: tzinfo | None = None) -> None:
        """zone: of Expiration dates; None: of this machine, as FreeRADIUS reads them."""
        self._dictionary = dictionary
        self._operator = operator
        self._zone = zone
        self.findings: list[Finding] = []
        self.clients: list[ClientEntry] = []
        self.logins: dict[str, Login] = {}
        self.groups: dict[str, Group] = {}
        self._other_tables: dict[tuple[str, str], tuple[int, int]] = {}

    # Collecting

    def take_users(self, entries: Sequence[UserEntry]) -> None:
        """Entries of a users file, each user with the DEFAULTs that would apply to it."""
        told: set[int] = set()
        for name in dict.fromkeys(entry.name for entry in entries if entry.name != "DEFAULT"):
            login: Login | None = None
            defaults: list[UserEntry] = []
            for entry in entries:
                if entry.name not in (name, "DEFAULT"):
                    continue
                if not self._is_certain(entry, told):
                    continue
                if entry.name == "DEFAULT":
                    defaults.append(entry)
                elif login is None:
                    login = Login(name, entry.file, entry.line, list(entry.checks), _without_flow(entry.replies))
                else:
                    login.checks += entry.checks
                    login.replies += _without_flow(entry.replies)
                if not falls_through(entry.replies):
                    break
            if login is None:
                continue
            login.plan = self._plan_of_defaults(defaults)
            self._merge(login)
        for entry in entries:
            if entry.name == "DEFAULT":
                self._is_certain(entry, told)

    def _is_certain(self, entry: UserEntry, told: set[int]) -> bool:
        """Whether an entry applies to every request; one that may or may not is told and left out."""
        for pair in entry.checks:
            if is_condition(pair) and (entry.name == "DEFAULT" or lock_of(pair) is None):
                if id(entry) not in told:
                    told.add(id(entry))
                    message = f"the condition {pair.name} {pair.op} {pair.value} is not understood: the entry"
                    self.findings.append(
                        Finding(entry.file, entry.line, f"{message} {entry.name} is left out; write a policy rule")
                    )
                return False
        return True

    def _plan_of_defaults(self, defaults: list[UserEntry]) -> str:
        """A plan of what these DEFAULT entries give."""
        if not defaults:
            return "imported"
        name = "imported-" + "-".join(str(entry.line) for entry in defaults)
        if name not in self.groups:
            checks = [pair for entry in defaults for pair in entry.checks]
            replies = [pair for entry in defaults for pair in _without_flow(entry.replies)]
            self.groups[name] = Group(name, checks, replies)
        return name

    def _merge(self, login: Login) -> None:
        known = self.logins.setdefault(login.name, login)
        if known is not login:
            known.checks += login.checks
            known.replies += login.replies
            known.plan = known.plan or login.plan

    def take_rows(self, rows: Iterable[SqlRow]) -> None:
        """Rows of a dump; tables that are none of FreeRADIUS's own questions are counted."""
        for row in rows:
            values = row.values
            if row.table in ("radcheck", "radreply", "radgroupcheck", "radgroupreply"):
                owner = values.get("groupname" if "group" in row.table else "username", "")
                name = values.get("attribute", "")
                if not owner or not name:
                    self.findings.append(Finding(row.file, row.line, f"a row of {row.table} without name or attribute"))
                    continue
                value = values.get("value", "")
                is_static = not re.search(r"%[{(]|^`", value)
                pair = Pair(name, values.get("op") or "==", value, row.file, row.line, is_static)
                holder: Login | Group = self._group(owner) if "group" in row.table else self._login(owner, row)
                (holder.checks if row.table.endswith("check") else holder.replies).append(pair)
            elif row.table in ("radusergroup", "usergroup"):
                priority = int(values.get("priority", "1") or 1)
                self._login(values.get("username", ""), row).groups.append((priority, values.get("groupname", "")))
                self._group(values.get("groupname", ""))
            elif row.table == "nas":
                kept = {"ipaddr": values.get("nasname", ""), "nas_type": values.get("type", "other")}
                kept |= {key: values[key] for key in ("secret", "shortname") if key in values}
                self.clients.append(
                    ClientEntry(values.get("shortname") or values.get("nasname", ""), kept, row.file, row.line)
                )
            else:
                first, count = self._other_tables.get((row.file, row.table), (row.line, 0))
                self._other_tables[row.file, row.table] = first, count + 1

    def _login(self, name: str, row: SqlRow) -> Login:
        return self.logins.setdefault(name, Login(name, row.file, row.line))

    def _group(self, name: str) -> Group:
        return self.groups.setdefault(name, Group(name))

    # NAS entries

    def nas_entries(self) -> list[tuple[ClientEntry, Values]]:
        """A [[nas]] table for each client that has an address and a secret."""
        made = []
        names: dict[str, int] = {}
        for client in self.clients:
            entry = self._nas(client)
            if entry is None:
                continue
            count = names[entry["name"]] = names.get(entry["name"], 0) + 1
            if count > 1:
                entry["name"] += f"-{count}"
            made.append((client, entry))
        return made

    def _nas(self, client: ClientEntry) -> Values | None:
        values = client.values
        name = re.sub(r"[^\w.-]+", "-", values.get("shortname") or client.name).strip("-.") or "nas"
        address = next((values[key] for key in ADDRESS_KEYS if key in values), client.name)
        if "netmask" in values and "/" not in address:
            address = f"{address}/{values['netmask']}"
        try:
            network = ip_network("0.0.0.0/0" if address == "*" else address, strict=False)
        except ValueError:
            self._tell(client, f"client {client.name}: {address} is no address; [[nas]] needs one: left out")
            return None
        entry: Values = {"name": name, "address": [str(network) if network.num_addresses > 1 else str(network[0])]}
        secret = values.get("secret", "")
        variable = re.fullmatch(r"\$ENV\{(\w+)\}", secret)
        if variable is not None:
            entry["secret_env"] = variable[1]
        elif not secret or "${" in secret:
            self._tell(client, f"client {client.name}: no secret that can be read: left out")
            return None
        else:
            entry["secret"] = secret
        kind = values.get("nas_type", values.get("nastype", "")).lower()
        entry["family"] = NAS_TYPES.get(kind, "generic")
        if kind not in NAS_TYPES:
            self._tell(client, f"client {client.name}: nas_type {kind} is no known family; generic is used")
        if values.get("require_message_authenticator", "").lower() in ("yes", "true", "1"):
            entry["message_authenticator"] = "require"
        if self._operator is not None:
            entry["operator"] = self._operator
        for key, value in values.items():
            if key not in HARMLESS_KEYS:
                self._tell(client, f"client {client.name}: {key} = {value} is left out")
        if values.get("proto", "udp").lower() not in ("udp", "*"):
            self._tell(client, f"client {client.name}: proto = {values['proto']} is not served: RADIUS over UDP is")
        return entry

    def _tell(self, client: ClientEntry, message: str) -> None:
        self.findings.append(Finding(client.file, client.line, message))

    # Operations

    def operations(self) -> list[Values]:
        """Plans, then subscribers, then services."""
        rejected = {name for name, group in self.groups.items() if any(map(is_reject, group.checks))}
        services = [self._service(login, rejected) for login in self.logins.values() if login.name]
        used = {value["plan_id"] for _, value in services}
        plans = [operation("plan", name, self._plan(group)) for name, group in self.groups.items()]
        plans += [operation("plan", name, {"kind": "internet"}) for name in sorted(used - set(self.groups))]
        owner: Values = {} if self._operator is None else {"operator": self._operator}
        subscribers = [operation("subscriber", name, {"name": name, **owner}) for name, _ in services]
        for (file, table), (line, count) in self._other_tables.items():
            is_history = table in ("radacct", "radpostauth", "nasreload", "data_usage_by_period")
            message = f"table {table} ({count} rows) is not imported" + (": history stays where it is" * is_history)
            self.findings.append(Finding(file, line, message, not is_history))
        return plans + subscribers + [operation("service", name, value) for name, value in services]

    def _plan(self, group: Group) -> Values:
        value: Values = {"kind": "internet", "name": group.name, **self._effects(group.replies)}
        for pair in group.checks:
            if is_reject(pair) or self._assignment(pair, value):
                continue
            if is_condition(pair):
                self.findings.append(
                    pair.find(f"the condition {pair.op} {pair.value} is not understood; the plan applies without it")
                )
            else:
                self.findings.append(pair.find("is left out"))
        return value

    def _service(self, login: Login, rejected: set[str]) -> tuple[str, Values]:
        ordered = [name for _, name in sorted(login.groups, key=lambda entry: entry[0])]
        groups = [name for name in ordered if name not in rejected]
        plan = groups[0] if groups else login.plan or "imported"
        value: Values = {"subscriber_id": login.name, "plan_id": plan, "state": "active"}
        self._check_groups(login, groups)
        effects = self._effects(login.replies, value)
        credentials: list[dict[str, str]] = []
        suspended = len(groups) < len(ordered)
        for pair in login.checks:
            if is_reject(pair):
                suspended = True
            elif (password := self._password(login, pair)) is not None:
                credentials += password
            elif pair.name.lower() == "expiration" and (moment := self._moment(pair)) is not None:
                value["expires_at"] = moment
            elif (lock := lock_of(pair)) is not None:
                value.setdefault("lock", {}).setdefault(lock[0], []).append(lock[1])
            elif not self._assignment(pair, effects):
                self._refuse_check(pair, login)
                suspended = suspended or is_condition(pair)
        if suspended:
            value["state"] = "suspended"
        elif not credentials:
            message = f"{login.name}: has no password that can be imported; nobody can log in"
            self.findings.append(Finding(login.file, login.line, message))
        if credentials:
            value["credentials"] = credentials[:1]
            if len(credentials) > 1:
                self.findings.append(
                    Finding(login.file, login.line, f"{login.name}: has several passwords; only the first is imported")
                )
        if effects:
            value["overrides"] = effects
        return login.name, value

    def _refuse_check(self, pair: Pair, login: Login) -> None:
        if VOLUMES.match(pair.name):
            self.findings.append(pair.find("a limit in volume or time is not imported; give the plan a quota"))
        elif is_condition(pair):
            self.findings.append(
                pair.find(f"the condition {pair.op} {pair.value} is not understood: {login.name} is suspended")
            )
        else:
            self.findings.append(pair.find(f"{pair.op} {pair.value} is left out"))

    def _check_groups(self, login: Login, groups: list[str]) -> None:
        first = self.groups.get(groups[0]) if groups else None
        if first is None:
            return
        if falls_through(first.replies):
            for name in groups[1:]:
                message = f"{login.name}: group {name} is left out: a service has one plan"
                self.findings.append(Finding(login.file, login.line, message))
        own = {pair.name.lower() for pair in login.replies}
        for pair in first.replies:
            if pair.op == ":=" and pair.name.lower() in own:
                self.findings.append(
                    pair.find(f"the group's value replaced {login.name}'s own; here the service's own counts")
                )

    def _assignment(self, pair: Pair, value: Values) -> bool:
        """A check item that sets something; whether it is one that is understood."""
        name = pair.name.lower()
        if name == "simultaneous-use" and pair.value.isdigit() and int(pair.value) > 0:
            value["simultaneous_use"] = int(pair.value)
        elif name == "pool-name":
            value["pool"] = pair.value
        elif name == "auth-type" and pair.value.lower() == "accept":
            self.findings.append(pair.find("lets in without a password, which is not imported"))
        elif name not in ("auth-type", "fall-through"):
            return False
        return True

    def _password(self, login: Login, pair: Pair) -> list[dict[str, str]] | None:
        """The credential of a password item; [] for one that cannot be taken over, None for another item."""
        name, text = pair.name.lower(), pair.value
        form = PASSWORDS.get(name)
        if name == "password-with-header":
            header, brace, rest = text.partition("}")
            form = HEADERS.get((header + brace).lower()) if brace else "cleartext"
            text = rest if brace else text
            if form is None and (header + brace).upper() in ("{SSHA}", "{SSHA256}", "{SSHA512}"):
                form, text = "ssha", pair.value
        elif name in SALTED:
            form, text = "ssha", SALTED[name] + _base64(text)
        elif form == "nt_hash":
            text = text.removeprefix("0x").lower()
        elif form is None:
            if not name.endswith("-password"):
                return None
            self.findings.append(pair.find("this kind of hash cannot be verified here; set a new password"))
            return []
        if form is None or not pair.is_static:
            self.findings.append(pair.find("this form of password is not understood"))
            return []
        try:
            from aaa.credential.verifier import from_password

            from_password(Password(login.name, **{form: text}))
        except AaaError as error:
            self.findings.append(pair.find(str(error)))
            return []
        return [{"type": "password", "username": login.name, form: text}]

    def _moment(self, pair: Pair) -> str | None:
        if pair.value.isdigit():
            return datetime.fromtimestamp(int(pair.value)).astimezone(self._zone).isoformat()
        for form in EXPIRY_FORMS:
            try:
                found = datetime.strptime(pair.value.strip(), form)
            except ValueError:
                continue
            return (found.replace(tzinfo=self._zone) if self._zone is not None else found.astimezone()).isoformat()
        return None

    # Reply attributes

    def _effects(self, replies: Sequence[Pair], service: Values | None = None) -> Values:
        """Plan fields of reply attributes; what is not one of them goes to `attributes`. service: takes addresses."""
        effects: Values = {}
        rates: list[tuple[Pair, Values]] = []
        parts: Values = {}
        attributes: list[tuple[Pair, Values]] = []
        for pair in replies:
            name = pair.name.lower()
            if name == "fall-through":
                continue
            if not pair.is_static:
                self.findings.append(pair.find(f"{pair.value} is computed for each request; write a policy rule"))
            elif VOLUMES.match(name):
                self.findings.append(pair.find("a limit in volume or time is not imported; give the plan a quota"))
            elif name in SECONDS and self._seconds(pair, effects):
                pass
            elif name == "framed-pool":
                effects["pool"] = pair.value
            elif name == "mikrotik-rate-limit" and (rate := mikrotik_rate(pair.value)) is not None:
                rates.append((pair, rate))
            elif (piece := rate_part(name, pair.value)) is not None:
                parts.setdefault("pair", pair)
                parts[piece[0]] = piece[1]
            elif service is not None and self._address(pair, service):
                pass
            else:
                attributes += self._attribute(pair)
        if parts:
            rates.append((parts.pop("pair"), {"down_bps": parts.get("down", 0), "up_bps": parts.get("up", 0)}))
        if rates:
            effects["rate"] = rates[0][1]
            for pair, rate in rates[1:]:
                if (rate["down_bps"], rate["up_bps"]) != (rates[0][1]["down_bps"], rates[0][1]["up_bps"]):
                    self.findings.append(pair.find(f"differs from {rates[0][0].name}, which counts"))
        if attributes:
            effects["attributes"] = [value for _, value in attributes]
        return effects

    def _seconds(self, pair: Pair, effects: Values) -> bool:
        field_name = SECONDS[pair.name.lower()]
        lowest, highest = (60, 86_400) if field_name == "interim_interval" else (1, 2**32 - 1)
        if not pair.value.isdigit() or not lowest <= int(pair.value) <= highest:
            self.findings.append(pair.find(f"{pair.value} is outside {lowest}..{highest} seconds: left out"))
        else:
            effects[field_name] = int(pair.value)
        return True

    def _address(self, pair: Pair, service: Values) -> bool:
        name = pair.name.lower()
        try:
            if name == "framed-ip-address":
                if pair.value not in ("255.255.255.254", "255.255.255.255"):
                    service["static_ip"] = str(ip_address(pair.value))
                return True
            if name == "framed-ip-netmask" and pair.value == "255.255.255.255":
                return True
            if name == "delegated-ipv6-prefix":
                service["static_prefix"] = str(ip_network(pair.value))
                return True
        except ValueError:
            self.findings.append(pair.find(f"{pair.value} is no address: left out"))
            return True
        return False

    def _attribute(self, pair: Pair) -> list[tuple[Pair, Values]]:
        """An opaque reply attribute, if it can be sent."""
        name, _, tag = pair.name.partition(":")
        if name.lower() in ANSWERED and pair.value.lower() in ("framed-user", "framed", "ppp"):
            return []  # The server answers these to who asks for them.
        definition = self._dictionary.attribute(name)
        family = "*"
        if definition is not None and len(definition.path) > 1 and definition.path[0] == 26:
            family = FAMILY_OF_VENDOR.get(definition.path[1], "*")
        value: Values = {"name": definition.name if definition is not None else name, "value": pair.value}
        value |= {"family": family} if family != "*" else {}
        value |= {"tag": int(tag)} if tag.isdigit() and int(tag) <= 31 else {}
        problems = families.check_attributes([Attribute(**value)], self._dictionary)
        if pair.op not in ("=", ":=", "+="):
            problems = [f"operator {pair.op} is not understood in a reply"]
        if problems:
            message = problems[0].removeprefix("attributes[0]: ").removeprefix(f"{pair.name}: ")
            self.findings.append(pair.find(f"{message}: left out"))
            return []
        return [(pair, value)]


def operation(kind: str, name: str, value: Values) -> Values:
    """A sync operation that makes an entity."""
    return {"op": "put", "kind": kind, "id": name, "value": {"revision": 1, **value}}


def falls_through(replies: Iterable[Pair]) -> bool:
    """Whether what follows is looked at too."""
    return any(pair.name.lower() == "fall-through" and pair.value.lower() in ("yes", "1") for pair in replies)


def _without_flow(replies: Iterable[Pair]) -> list[Pair]:
    return [pair for pair in replies if pair.name.lower() != "fall-through"]


def is_reject(pair: Pair) -> bool:
    return pair.name.lower() == "auth-type" and pair.value.lower() == "reject"


def is_condition(pair: Pair) -> bool:
    """Whether a check item compares something of the request; passwords with == are old ways of setting one."""
    if pair.name.lower() in PASSWORDS or pair.name.lower() == "expiration":
        return False
    return pair.op in ("==", "!=", "<", ">", "<=", ">=", "=~", "!~", "=*", "!*") and pair.name.lower() not in (
        "auth-type", "simultaneous-use", "pool-name",
    )  # fmt: skip


def lock_of(pair: Pair) -> tuple[str, str] | None:
    """A comparison that is a lock of ours: (field, value)."""
    if pair.op not in ("==", ":="):
        return None
    fields = {"calling-station-id": "mac", "nas-port-id": "port"}
    kind = fields.get(pair.name.lower())
    if kind == "mac" and not re.fullmatch(r"(?:[0-9A-Fa-f]{2}[:.-]?){5}[0-9A-Fa-f]{2}", pair.value):
        return None
    return None if kind is None else (kind, pair.value)


def _base64(text: str) -> str:
    """Digest and salt given in hex or base64, as base64."""
    digits = text.removeprefix("0x")
    if re.fullmatch(r"(?:[0-9A-Fa-f]{2}){21,}", digits):
        return base64.b64encode(binascii.unhexlify(digits)).decode()
    return text


UNITS: Final = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def bits_of(text: str) -> int | None:
    """MikroTik's 10M, 512k, 1000000 as bit/s."""
    found = re.fullmatch(r"(\d+)([kMG]?)", text.strip(), re.IGNORECASE)
    return None if found is None else int(found[1]) * UNITS[found[2].lower()]


def _both(text: str) -> tuple[int, int] | None:
    """rx/tx, or one for both."""
    rx, slash, tx = text.partition("/")
    pair = bits_of(rx), bits_of(tx if slash else rx)
    return None if pair[0] is None or pair[1] is None else (pair[0], pair[1])


def mikrotik_rate(text: str) -> Values | None:
    """rx/tx [rx-burst/tx-burst [threshold [time]]] as a rate, rx being the upload; None for a priority or a minimum."""
    parts = text.split()
    pairs = [_both(part) for part in parts[:3]]
    if not 1 <= len(parts) <= 4 or None in pairs or len(parts) == 2:
        return None
    (up, down) = pairs[0]  # type: ignore[misc]
    rate: Values = {"down_bps": down, "up_bps": up}
    if len(parts) == 1 or not any(pairs[1]):  # type: ignore[arg-type]
        return rate
    (burst_up, burst_down), (threshold_up, threshold_down) = pairs[1], pairs[2]  # type: ignore[misc]
    seconds = set(parts[3].split("/")) if len(parts) == 4 else {"10"}
    if len(seconds) != 1 or not (second := seconds.pop()).isdigit() or not 1 <= int(second) <= 3600:
        return None
    rate["burst"] = {
        "down_bps": burst_down, "up_bps": burst_up, "threshold_down_bps": threshold_down,
        "threshold_up_bps": threshold_up, "seconds": int(second),
    }  # fmt: skip
    return rate


RATE_PARTS: Final = {
    "wispr-bandwidth-max-down": ("down", 1), "wispr-bandwidth-max-up": ("up", 1),
    "chillispot-bandwidth-max-down": ("down", 1000), "chillispot-bandwidth-max-up": ("up", 1000),
    "huawei-output-average-rate": ("down", 1), "huawei-input-average-rate": ("up", 1),
}  # fmt: skip
"""One direction of a rate: which, and its unit in bit/s."""


def rate_part(name: str, text: str) -> tuple[str, int] | None:
    """A direction and bit/s; None for another attribute."""
    known = RATE_PARTS.get(name)
    return None if known is None or not text.isdigit() else (known[0], int(text) * known[1])
