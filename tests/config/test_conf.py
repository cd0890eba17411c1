"""The files of conf/: what `aaa init` writes, what `make run` starts with, and the systemd unit."""

import configparser
import json
import re
import shutil
import stat
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from aaa.cli.commands import cli
from aaa.config import Config, load
from aaa.config.schema import Sections
from aaa.config.template import initialise, template, write_private
from aaa.errors import ConfigError
from aaa.model.entities import Service, Subscriber
from aaa.model.inventory import Sim
from aaa.server.diameter_peers import locals_of, routes_of
from aaa.server.prepare import prepare
from policy.model import Plan
from tests.lab.certificate import Authority

CONF = Path(__file__).parents[2] / "conf"
KINDS: dict[str, Any] = {"plan": Plan, "subscriber": Subscriber, "service": Service, "sim": Sim}


@pytest.fixture
def sample(tmp_path: Path) -> Config:
    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "run").mkdir()
    write_private(tmp_path / "run/store.key", "11" * 32)
    write_private(tmp_path / "run/admin.token", "a-token-of-enough-length")
    return load(tmp_path / "conf/sample.toml")


def test_the_sample_is_what_the_product_promises(sample: Config, tmp_path: Path) -> None:
    assert sample.warnings == ()
    assert sample.radius.listen == ("127.0.0.1", "::1")
    assert (sample.radius.auth_port, sample.radius.acct_port) == (1812, 1813)
    assert sample.api.listen == "127.0.0.1:8080"
    assert sample.server.data_dir == str(tmp_path / "run")
    assert sample.store.path == str(tmp_path / "run/aaa.db")
    (nas,) = sample.nas
    assert nas.address == ("127.0.0.1", "::1")
    assert nas.secret is not None
    assert nas.secret.reveal() == b"testing123"
    assert (nas.family, nas.coa_port, nas.message_authenticator, nas.rate_limit) == ("mikrotik", 3799, "auto", 0)
    assert "mac" in nas.identity
    assert [token.role for token in sample.token] == ["admin"]
    assert sample.pool == ()


def test_the_sample_is_a_diameter_server_for_this_machine_only(sample: Config) -> None:
    diameter = sample.diameter
    assert (diameter.listen, diameter.port, diameter.tls_port) == (("127.0.0.1",), 3868, 0)
    assert (diameter.origin_host, diameter.origin_realm) == ("aaa.localdomain", "localdomain")
    assert diameter.applications == ("gx", "gy", "s6a", "sy")
    (peer,) = sample.peer
    assert (peer.origin_host, peer.origin_realm, peer.address) == ("*", "localdomain", ("127.0.0.0/8",))


@pytest.mark.parametrize("name", ["open5gs", "srsran", "freediameter"])
def test_the_diameter_examples_pass_the_check(name: str, tmp_path: Path) -> None:
    shutil.copy(CONF / f"diameter-{name}.toml", tmp_path / "aaa.toml")
    write_private(tmp_path / "store.key", "11" * 32)
    write_private(tmp_path / "admin.token", "a-token-of-enough-length")
    if name == "freediameter":
        own = Authority(tmp_path / "authority").issue("aaa.isp.example")
        for there, here in (("cert", "aaa.pem"), ("key", "aaa.key"), ("ca", "ca.pem"), ("ca", "host-operator-ca.pem")):
            shutil.copy(own / f"{there}.pem", tmp_path / here)
    result = CliRunner().invoke(cli, ["check", "-c", str(tmp_path / "aaa.toml")])
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    prepared = prepare(tmp_path / "aaa.toml")
    assert prepared.config.peer
    for local in locals_of(prepared.config, prepared.diameter.dictionary, 0):
        assert routes_of(prepared.config, local, prepared.diameter.dictionary)


def operations() -> dict[tuple[str, str], Any]:
    entities = {}
    for line in (CONF / "sample.ndjson").read_text().splitlines():
        operation = json.loads(line)
        assert operation.keys() == {"op", "kind", "id", "value"}
        assert operation["op"] == "put"
        entity = msgspec.convert(operation["value"], KINDS[operation["kind"]])
        assert entity.revision == 1
        entities[operation["kind"], operation["id"]] = entity
    return entities


def test_the_sample_data_has_the_promised_plans() -> None:
    plans = {id: entity for (kind, id), entity in operations().items() if kind == "plan"}
    assert sorted(plans) == ["capped-20", "home-100", "home-50", "mobile-20"]
    for name, down, up in (("home-50", 50, 10), ("home-100", 100, 20)):
        plan = plans[name]
        assert (plan.rate.down_bps, plan.rate.up_bps) == (down * 1_000_000, up * 1_000_000)
        assert (plan.pool, plan.quota, plan.simultaneous_use) == (None, None, None)
        assert (plan.interim_interval, plan.session_timeout) == (300, 86_400)
    capped = plans["capped-20"]
    assert (capped.quota.octets, capped.quota.period) == (20_000_000_000, "month")
    assert capped.on_exhausted[0].throttle.down_bps == 1_000_000
    assert plans["mobile-20"].kind == "mobile"
    assert plans["mobile-20"].qos.apn == "internet"


def test_the_sample_data_has_the_promised_subscribers() -> None:
    entities = operations()
    services = {id: entity for (kind, id), entity in entities.items() if kind == "service"}
    assert sorted(services) == ["alice", "bob", "carol", "dave", "erin"]
    for id, service in services.items():
        assert service.subscriber_id == id
        assert ("subscriber", id) in entities
        assert ("plan", service.plan_id) in entities
    for id, password in (("alice", "wonderland"), ("bob", "builder"), ("carol", "singing")):
        (credential,) = services[id].credentials
        assert (credential.username, credential.cleartext) == (id, password)
    assert services["dave"].credentials[0].mac == "02-00-00-00-00-01"
    assert services["erin"].credentials is None
    assert {id: service.state for id, service in services.items() if service.state != "active"} == {"bob": "suspended"}
    usage = services["carol"].usage
    assert usage.input_octets + usage.output_octets > entities["plan", "capped-20"].quota.octets


def test_what_is_named_stands_before_what_names_it() -> None:
    kinds = [kind for kind, _ in operations()]
    assert kinds == sorted(kinds, key=["plan", "subscriber", "service", "sim"].index)


def test_init_writes_a_configuration_that_passes(tmp_path: Path) -> None:
    files = initialise(tmp_path / "new" / "aaa")
    assert [file.name for file in files[:3]] == ["aaa.toml", "store.key", "admin.token"]
    assert [file.name for file in files[3:]] == sorted(file.name for file in (CONF / "policy").iterdir())
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in files)
    config = load(files[0])
    assert config.warnings == ()
    assert config.nas[0].secret is not None
    assert len(config.nas[0].secret) >= 32


def test_every_init_has_its_own_secrets(tmp_path: Path) -> None:
    first, second = ([file.read_text() for file in initialise(tmp_path / name)[:3]] for name in "ab")
    assert all(one != other for one, other in zip(first, second, strict=True))


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "admin.token").write_text("mine")
    with pytest.raises(FileExistsError, match=r"admin\.token exists"):
        initialise(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["admin.token"]


def test_the_template_is_no_configuration_before_init(tmp_path: Path) -> None:
    shutil.copy(CONF / "aaa.toml", tmp_path)
    with pytest.raises(ConfigError, match=r"nas\.localhost\.secret: is the template's placeholder; run `aaa init`"):
        load(tmp_path / "aaa.toml")


def test_commented_keys_of_the_template_are_keys_and_show_the_defaults_or_an_example() -> None:
    text = re.sub(r"^#(?=[a-z\[])", "", template(), flags=re.MULTILINE)
    data = tomllib.loads(text)
    for section, value in data.items():
        assert section in Sections.__struct_fields__
        for table in value if isinstance(value, list) else [value]:
            cls = msgspec.structs.fields(Sections)[Sections.__struct_fields__.index(section)].type
            cls = cls if isinstance(value, dict) else cls.__args__[0]
            assert set(table) <= set(cls.__struct_fields__)


@pytest.mark.parametrize("name", ["aaa.toml", "sample.toml", "sample.ndjson", "aaa.service"])
def test_files_are_found_in_an_installed_package(name: str) -> None:
    assert template(name) == (CONF / name).read_text()


def test_the_unit_checks_before_it_starts_and_before_it_reloads() -> None:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(template("aaa.service"))
    service = parser["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 0
    assert "aaa check" in service["ExecStartPre"]
    assert re.findall(r"ExecReload=(.*)", template("aaa.service")) == [
        "/usr/bin/aaa check --config ${AAA_CONFIG}",
        "/bin/kill -HUP $MAINPID",
    ]
    assert service["NoNewPrivileges"] == "yes"
    assert service["CapabilityBoundingSet"] == ""
    assert service["StateDirectory"] == "aaa", "server.data_dir of the template"
