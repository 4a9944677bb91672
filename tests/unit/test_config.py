"""The configuration: every fault at once, each with its field."""

from pathlib import Path

import pytest

from kmsgw.config import SoftwareSettings, load_settings, parse_settings
from kmsgw.errors import ConfigurationError

GOOD = """
environment = "development"
default_provider = "software"
[tls]
certificate = "tls/server.pem"
private_key = "tls/server.key"
client_ca = "/etc/ca.pem"
[providers.software]
kind = "software"
root_key_file = "root.key"
[[principals]]
id = "writer"
tenant = "hospital"
roles = ["writer"]
match = { spiffe = "spiffe://example.org/writer" }
"""
BASE = Path("/srv/kmsgw")


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as refusal:
        parse_settings(text, BASE)
    return refusal.value.faults


def test_paths_are_relative_to_the_file_and_absolute_ones_stay() -> None:
    settings = parse_settings(GOOD, BASE)
    assert settings.tls.certificate == BASE / "tls/server.pem"
    assert settings.tls.client_ca == Path("/etc/ca.pem")
    assert settings.state.url == f"sqlite:///{BASE}/state.db"
    provider = settings.providers["software"]
    assert isinstance(provider, SoftwareSettings)
    assert provider.root_key_file == BASE / "root.key"


def test_all_faults_are_named_at_once_with_their_fields() -> None:
    text = GOOD.replace('"development"', '"test"').replace('id = "writer"', 'id = "Writer"')
    faults = faults_of(text + "\n[server]\nworkers = 0\nlissten = 'x'\nlisten = 'nowhere'")
    assert any(fault.startswith("environment:") for fault in faults)
    assert any(fault.startswith("principals.0.id: use 1 to 40") for fault in faults)
    assert any(fault.startswith("server.workers:") for fault in faults)
    assert "server.lissten: no such field" in faults
    assert any(fault.startswith("server.listen: use HOST:PORT") for fault in faults)
    assert len(faults) == 5


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ('default_provider = "software"', 'default_provider = "hsm"', "default_provider: no provider is named 'hsm'"),
        ('root_key_file = "root.key"', "", "providers.software: give exactly one of root_key_file"),
        ("match = {", 'match = { dns = "a.example", ', "principals.0.match: give exactly one of spiffe, dns, subject"),
        ("[tls]", '[state]\nurl = "postgresql://u:secret@h/d"\n[tls]', "state.url: take the password out"),
        ("[tls]", '[state]\nurl = "mysql://h/d"\n[tls]', "state.url: use sqlite"),
        ("[tls]", '[audit]\norigin = "two words"\n[tls]', "audit.origin: use printable ASCII"),
        ('kind = "software"', 'kind = "paper"', "providers.software:"),
        ('certificate = "tls/server.pem"', "", "tls.certificate: required, and not given"),
        ('roles = ["writer"]', 'roles = "writer"', 'principals.0.roles: use a list, such as ["reader"]'),
        ("[[principals]]", "[principals]", "principals: write a [[table]] with two brackets"),
        ("[tls]", '[audit]\nkeys = "audit/keys"\n[tls]', "audit.keys: /srv/kmsgw/audit/keys is inside of audit.folder"),
        ("[tls]", '[audit]\nfolder = "logs"\nkeys = "x/../logs"\n[tls]', "audit.keys: /srv/kmsgw/logs is inside"),
    ],
)
def test_a_fault_says_what_to_do(before: str, after: str, fault: str) -> None:
    found = faults_of(GOOD.replace(before, after))
    assert any(each.startswith(fault) for each in found), found


def test_a_password_in_a_url_is_not_repeated() -> None:
    text = GOOD.replace("[tls]", '[state]\nurl = "postgresql://u:hunter2@h/d"\n[tls]')
    assert "hunter2" not in "".join(faults_of(text))


def test_production_refuses_what_is_for_development() -> None:
    text = GOOD.replace("[tls]", '[state]\nurl = "postgresql://u@db.example/d"\n[tls]')
    faults = faults_of(text.replace('"development"', '"production"'))
    assert faults == (
        "tls.crl: required in production",
        "state.ca: required in production for a PostgreSQL server on another machine",
        "providers.software: a software provider in production wants allow_production = true",
    )


def test_two_principals_of_one_id_are_refused() -> None:
    principal = GOOD[GOOD.index("[[principals]]") :]
    assert faults_of(GOOD + principal) == ("principals: 'writer' appears twice",)


def test_a_file_that_is_not_there_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file") as refusal:
        load_settings(tmp_path / "kmsgwd.toml")
    assert "kmsgw init" in refusal.value.advice
    assert faults_of("= 1")[0].startswith("not TOML")


def test_a_vault_address_without_tls_is_refused() -> None:
    text = GOOD + (
        '\n[providers.bao]\nkind = "vault"\naddress = "http://bao:8200"\nca = "ca.pem"\n'
        'login = { method = "approle", role_id_file = "r", secret_id_file = "s" }\n'
    )
    assert faults_of(text) == ("providers.bao.address: use https://HOST:PORT; plain http is refused",)


def test_a_field_of_a_provider_is_named_as_the_file_has_it() -> None:
    text = GOOD + (
        '\n[providers.bao]\nkind = "vault"\naddress = "https://bao:8200"\nca = "ca.pem"\n'
        'login = { method = "approle", role_id_file = "r", secret = "s" }\n[providers.hsm]\nkind = "pkcs11"\n'
    )
    assert faults_of(text) == (
        "providers.bao.login.secret_id_file: required, and not given",
        "providers.bao.login.secret: no such field",
        "providers.hsm.module: required, and not given",
        "providers.hsm.token_label: required, and not given",
    )


def test_no_principal_is_of_the_gateways_own_tenant() -> None:
    text = GOOD.replace('tenant = "hospital"', 'tenant = "kmsgw"')
    assert text != GOOD
    assert "principals.writer.tenant: kmsgw is the gateway's own" in faults_of(text)


def test_officers_without_a_second_factor_are_for_development() -> None:
    off = GOOD + '\n[officers]\nsecond_factor = "off"\n'
    assert parse_settings(off, BASE).officers.second_factor == "off"
    production = off.replace('environment = "development"', 'environment = "production"')
    assert any(each.startswith("officers.second_factor: ") for each in faults_of(production))


def test_metrics_and_traces_are_off_unless_they_are_configured() -> None:
    settings = parse_settings(GOOD, BASE)
    assert settings.metrics.listen is None
    assert settings.tracing.endpoint is None


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        ('[metrics]\nlisten = "nowhere"', "metrics.listen: use HOST:PORT"),
        ('[tracing]\nendpoint = "http://collector.example:4317"', "tracing.endpoint: plain http is for a collector on"),
        ('[tracing]\nendpoint = "http://10.0.0.1:4317"', "tracing.endpoint: plain http is for a collector on"),
        ('[tracing]\nendpoint = "https://collector.example"', "tracing.endpoint: use https://HOST:PORT"),
        ('[tracing]\nendpoint = "collector.example:4317"', "tracing.endpoint: use https://HOST:PORT"),
        ('[tracing]\nendpoint = "https://collector.example:4317"', "tracing: ca: required with an https endpoint"),
        ('[tracing]\ncertificate = "client.pem"', "tracing: give both or neither of certificate and private_key"),
    ],
)
def test_metrics_and_traces_go_nowhere_unprotected(section: str, fault: str) -> None:
    assert any(found.startswith(fault) for found in faults_of(f"{GOOD}\n{section}\n"))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_collector_on_this_machine_may_be_without_tls(host: str) -> None:
    settings = parse_settings(f'{GOOD}\n[tracing]\nendpoint = "http://{host}:4317"\n', BASE)
    assert settings.tracing.endpoint == f"http://{host}:4317"


def test_pseudonyms_are_for_principals_that_there_are() -> None:
    assert parse_settings(GOOD + '[audit.pseudonyms]\nprincipals = ["writer"]\n', BASE).audit.pseudonyms.principals
    faults = faults_of(GOOD + '[audit.pseudonyms]\nprincipals = ["writer", "dr-who"]\n')
    assert faults == ("audit.pseudonyms.principals: no principal is named 'dr-who'",)


def test_entries_are_kept_for_a_year_and_acts_for_three_unless_told_otherwise() -> None:
    assert parse_settings(GOOD, BASE).audit.retention.operations_months == 12
    told = parse_settings(GOOD + "[audit.retention]\nacts_months = 0\n", BASE).audit.retention
    assert (told.operations_months, told.acts_months, told.wait_for_export) == (12, 0, True)
