"""[[webhook]], [[payment]] and [tls]: what is taken, and what is wrong, at its line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aaa.config import Config, parse
from aaa.errors import ConfigError
from aaa.server.prepare import prepare

BASE = f'[store]\nkey = "{"01" * 32}"\n'
WEBHOOK = '[[webhook]]\nname = "crm"\nurl = "https://crm.example/hooks"\nsecret = "0123456789abcdef"\n'
PAYMENT = '[[payment]]\nname = "shop"\nsecret = "whsec_0123456789abcdef"\n'


def load(text: str, directory: Path = Path()) -> Config:
    return parse(BASE + text, directory / "aaa.toml", {"KEY": "0123456789abcdef"})


def problems(text: str, directory: Path = Path()) -> list[str]:
    try:
        return [str(warning) for warning in load(text, directory).warnings]
    except ConfigError as error:
        return [str(problem) for problem in error.problems]


def test_a_webhook_is_taken_with_its_key() -> None:
    (webhook,) = load(WEBHOOK + 'events = ["quota.*", "nas.down"]\nsecond_secret_env = "KEY"\n').webhook
    assert webhook.secret is not None
    assert webhook.secret.reveal() == b"0123456789abcdef"
    assert webhook.second_secret is not None
    assert (webhook.timeout, webhook.attempts, webhook.retry_max) == (10, 16, 3600)


def test_a_key_as_standard_webhooks_writes_it_is_decoded() -> None:
    (webhook,) = load(WEBHOOK.replace("0123456789abcdef", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")).webhook
    assert webhook.secret is not None
    assert len(webhook.secret) == 24


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('secret = "0123456789abcdef"', "", "aaa.toml:3: webhook.crm.secret: missing"),
        ("0123456789abcdef", "short", "webhook.crm.secret: has 5 octets"),
        ("0123456789abcdef", "whsec_???", "is not base64"),
        ("https://crm.example/hooks", "crm.example", "aaa.toml:5: webhook.crm.url: is not an http or https URL"),
        ("https://crm.example/hooks", "ftp://crm.example", "is not an http or https URL"),
        ("https://crm.example/hooks", "https://u:p@crm.example/", "holds a user name or password"),
        ("https://crm.example/hooks", "https://crm.example/#x", "has a fragment"),
        ("https://crm.example/hooks", "https://[crm", "is not a URL"),
        ("https://crm.example/hooks", "https://crm.example:x/", "is not a URL"),
        ("https://crm.example/hooks", "http://crm.example/", "is not https"),
        ('name = "crm"', 'name = "crm"\nevents = ["quota.treshold"]', 'did you mean "quota.threshold"?'),
        ('name = "crm"', 'name = "crm"\nevents = []', "is empty"),
        ('name = "crm"', 'name = "crm"\nretry_first = "5m"\nretry_max = "1m"', "is shorter than retry_first"),
        ('name = "crm"', 'name = "crm"\nca = "none.pem"', "none.pem: No such file"),
        ('name = "crm"', 'name = "crm"\nattempts = 0', "webhook.crm.attempts"),
    ],
)
def test_what_is_wrong_with_a_webhook_is_named(old: str, new: str, message: str) -> None:
    found = problems(WEBHOOK.replace(old, new))
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_http_within_the_machine_is_no_reason_to_warn(host: str) -> None:
    assert problems(WEBHOOK.replace("https://crm.example", f"http://{host}:9000")) == []


def test_names_are_unique() -> None:
    assert any('"crm" is the name of' in problem for problem in problems(WEBHOOK * 2))
    assert any('"shop" is the name of' in problem for problem in problems(PAYMENT * 2))


def test_a_payment_hook_is_taken_with_its_secret_as_it_is() -> None:
    (payment,) = load(PAYMENT).payment
    assert payment.secret is not None
    assert payment.secret.reveal() == b"whsec_0123456789abcdef"
    assert payment.restore == ("automation:*",)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('secret = "whsec_0123456789abcdef"', "", "payment.shop.secret: missing"),
        ("whsec_0123456789abcdef", "short", "too short to be a signing secret"),
        ('name = "shop"', 'name = "shop"\nprovider = "strype"', 'did you mean "stripe"?'),
    ],
)
def test_what_is_wrong_with_a_payment_hook_is_named(old: str, new: str, message: str) -> None:
    found = problems(PAYMENT.replace(old, new))
    assert any(message in problem for problem in found), found


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A directory with a certificate, its key, another key, and the key under a passphrase."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "aaa.test")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    plain, locked = serialization.NoEncryption(), serialization.BestAvailableEncryption(b"secret")
    (tmp_path / "server.pem").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "server.key").write_bytes(key.private_bytes(pem, form, plain))
    (tmp_path / "locked.key").write_bytes(key.private_bytes(pem, form, locked))
    (tmp_path / "other.key").write_bytes(ec.generate_private_key(ec.SECP256R1()).private_bytes(pem, form, plain))
    (tmp_path / "empty.pem").write_text("")
    return tmp_path


def test_a_certificate_is_taken_with_absolute_paths(pair: Path) -> None:
    text = '[api]\nlisten = "0.0.0.0:8443"\ntls = true\n[tls]\ncert = "server.pem"\nkey = "server.key"\n'
    config = load(text, pair)
    assert config.tls.cert == str(pair / "server.pem")
    assert config.warnings == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[api]\ntls = true\n", "api.tls: needs [tls]"),
        ('[tls]\ncert = "server.pem"\n', "tls.key: missing; cert needs it"),
        ('[tls]\nkey = "server.key"\n', "tls.cert: missing; key needs it"),
        ('[tls]\ncert = "none.pem"\nkey = "server.key"\n', "none.pem: No such file"),
        ('[tls]\ncert = "server.pem"\nkey = "other.key"\n', "are no certificate and its key"),
        ('[tls]\ncert = "empty.pem"\nkey = "server.key"\n', "are no certificate and its key"),
        ('[tls]\ncert = "server.pem"\nkey = "locked.key"\n', "has a passphrase"),
        ('[tls]\nclient_ca = "empty.pem"\n', "no certificates in PEM"),
        ('[tls]\nminimum_version = "1.1"\n', "tls.minimum_version"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_named(pair: Path, text: str, message: str) -> None:
    found = problems(text, pair)
    assert any(message in problem for problem in found), found


def test_an_automation_that_calls_an_unknown_webhook_is_named_at_its_line(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    rule = '[[automation]]\nname = "tell"\non = "quota.exhausted"\ndo = [{ webhook = "cmr" }]\n'
    (tmp_path / "policy/10.toml").write_text(f"# nothing\n{rule}")
    nas = '[[nas]]\nname = "n"\naddress = "127.0.0.1"\nsecret = "0123456789abcdef"\n'
    file = tmp_path / "aaa.toml"
    file.write_text(f'{BASE}[server]\ndata_dir = "data"\n[policy]\ndir = "policy"\n{nas}{WEBHOOK}')
    with pytest.raises(ConfigError) as caught:
        prepare(file)
    (problem,) = caught.value.problems
    assert str(problem).endswith(
        '10.toml:2: automation.tell.do.webhook: no [[webhook]] is called "cmr"; did you mean "crm"?'
    )
    (tmp_path / "policy/10.toml").write_text(rule.replace("cmr", "crm"))
    assert prepare(file).policy.automations
