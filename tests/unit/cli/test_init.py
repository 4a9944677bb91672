"""`kmsgw init` makes a whole development folder or nothing."""

import json
import os
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from kmsgw.authn.certificate import ClientCertificate, is_development_certificate
from kmsgw.authn.rules import PrincipalRules
from kmsgw.cli import init as module
from kmsgw.cli.development import DevelopmentCa, IssuedCertificate
from kmsgw.cli.failure import CommandError
from kmsgw.cli.init import EXAMPLE_PRINCIPALS, init, shipped_policies
from kmsgw.config import Environment, SoftwareSettings, load_settings
from kmsgw.model.access import PrincipalKind
from kmsgw.server.tls_files import check_tls_files
from tests.cli.command_line import kmsgw


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(init, [str(each) for each in arguments])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    result = _run(tmp_path / "development")
    assert result.exit_code == 0, result.output
    return tmp_path / "development"


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_configuration_is_one_that_the_gateway_accepts(folder: Path) -> None:
    settings = load_settings(folder / "kmsgwd.toml")

    assert settings.environment is Environment.DEVELOPMENT
    assert settings.tls.certificate == folder / "tls" / "server.pem"
    assert settings.policy.folder == folder / "policies"
    provider = settings.providers[settings.default_provider]
    assert isinstance(provider, SoftwareSettings)
    assert provider.root_key_file == folder / "root.key"
    assert check_tls_files(settings.tls, settings.environment) == []


def test_production_refuses_what_was_made(folder: Path) -> None:
    settings = load_settings(folder / "kmsgwd.toml")

    faults = check_tls_files(settings.tls, Environment.PRODUCTION)

    assert len(faults) == 1
    assert "kmsgw init" in faults[0]
    for path in folder.rglob("*.pem"):
        if path.name != "crl.pem":
            assert is_development_certificate(x509.load_pem_x509_certificate(path.read_bytes())), path


def test_each_client_certificate_is_the_principal_of_its_name(folder: Path) -> None:
    rules = PrincipalRules(load_settings(folder / "kmsgwd.toml").principals)

    found = {
        path.stem: rules.match(ClientCertificate.parse(path.read_bytes()))
        for path in (folder / "clients").glob("*.pem")
    }

    assert {name: principal.principal_id for name, principal in found.items()} == {name: name for name in found}
    assert {(name, each.kind, each.tenant, *each.roles) for name, each in found.items()} == {
        ("ehr-writer", PrincipalKind.SERVICE, "hospital", "writer"),
        ("ehr-reader", PrincipalKind.SERVICE, "hospital", "reader"),
        ("ehr-datakeys", PrincipalKind.SERVICE, "hospital", "data-key-user"),
        ("rewrap-job", PrincipalKind.SERVICE, "hospital", "rewrapper"),
        ("ehr-search", PrincipalKind.SERVICE, "hospital", "blind-index-user"),
        ("prometheus", PrincipalKind.SERVICE, "hospital", "metrics-reader"),
        ("key-officer", PrincipalKind.OFFICER, "hospital", "key-officer"),
        ("approver", PrincipalKind.OFFICER, "hospital", "approver"),
        ("approver-2", PrincipalKind.OFFICER, "hospital", "approver"),
        ("auditor", PrincipalKind.OFFICER, "hospital", "auditor"),
        ("administrator", PrincipalKind.OFFICER, "hospital", "administrator"),
        ("billing", PrincipalKind.SERVICE, "billing", "writer"),
    }


def test_every_profile_names_files_that_exist(folder: Path) -> None:
    document = tomllib.loads((folder / "config.toml").read_text())

    assert set(document["profiles"]) == {each.name for each in EXAMPLE_PRINCIPALS}
    assert document["default_profile"] in document["profiles"]
    for profile in document["profiles"].values():
        assert profile["address"] == "127.0.0.1:8443"
        assert all((folder / profile[field]).is_file() for field in ("ca", "certificate", "key"))


def test_the_shipped_policies_are_copied_whole(folder: Path) -> None:
    shipped = shipped_policies()
    assert isinstance(shipped, Path)

    assert {path.relative_to(shipped): path.read_bytes() for path in _files(shipped)} == {
        path.relative_to(folder / "policies"): path.read_bytes() for path in _files(folder / "policies")
    }
    assert list((folder / "policies").glob("*.cedar"))
    assert list((folder / "policies").glob("*.cedarschema"))


def test_private_keys_are_closed_from_their_first_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: dict[str, int] = {}
    real = os.open

    def spy(path: str | Path, flags: int, mode: int = 0o777, **options: int) -> int:
        if flags & os.O_CREAT:
            assert flags & os.O_EXCL
            opened[Path(path).name] = mode
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", spy)
    previous = os.umask(0)
    try:
        assert _run(tmp_path / "d").exit_code == 0
    finally:
        os.umask(previous)

    keys = [path for path in _files(tmp_path / "d") if path.suffix == ".key"]
    assert len(keys) == len(EXAMPLE_PRINCIPALS) + 2
    assert all(opened[path.name] == 0o600 for path in keys)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys)
    assert all(stat.S_IMODE((tmp_path / "d" / name).stat().st_mode) == 0o700 for name in (".", "tls", "clients"))
    assert all(b"PRIVATE KEY" not in path.read_bytes() for path in _files(tmp_path / "d") if path not in keys)


def test_names_and_ports_follow_the_options(tmp_path: Path) -> None:
    result = _run(
        tmp_path / "d", "--listen", "0.0.0.0:9000", "--host", "kms.example.org", "--host", "10.0.0.9", "--node", "n7",
        "--workers", "3",
    )  # fmt: skip

    assert result.exit_code == 0, result.output
    settings = load_settings(tmp_path / "d" / "kmsgwd.toml")
    assert (settings.server.listen, settings.server.workers, settings.node) == ("0.0.0.0:9000", 3, "n7")
    assert 'address = "localhost:9000"' in (tmp_path / "d" / "config.toml").read_text()
    leaf = x509.load_pem_x509_certificate((tmp_path / "d" / "tls" / "server.pem").read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "kms.example.org"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1", "10.0.0.9"]


def test_an_address_of_version_6_keeps_its_brackets(tmp_path: Path) -> None:
    assert _run(tmp_path / "d", "--listen", "[::1]:9000").exit_code == 0

    assert 'address = "[::1]:9000"' in (tmp_path / "d" / "config.toml").read_text()
    assert load_settings(tmp_path / "d" / "kmsgwd.toml").server.listen == "[::1]:9000"


@pytest.mark.parametrize(
    "options",
    [
        ["--listen", "8443"],
        ["--listen", "127.0.0.1:0"],
        ["--listen", "127.0.0.1:70000"],
        ["--listen", 'x"\ny:1'],
        ["--node", "Node 1"],
        ["--host", "a b"],
        ["--host", "-a"],
        ["--host", "1:2:3"],
        ["--host", "kms.exämple.org"],
        ["--listen", "..:8443"],
        ["--workers", "0"],
    ],
)
def test_wrong_options_leave_nothing_behind(tmp_path: Path, options: list[str]) -> None:
    result = _run(tmp_path / "d", *options)

    assert result.exit_code == 2  # click's own; the root makes it 1
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()

    assert _run(tmp_path / "d").exit_code == 0
    assert (tmp_path / "d" / "kmsgwd.toml").is_file()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_exists_is_never_touched(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "d"
    if kind == "file":
        target.write_text("mine")
    elif kind == "folder":
        target.mkdir()
        (target / "mine").write_text("mine")
    else:
        target.symlink_to("elsewhere")
    before = sorted(tmp_path.rglob("*"))

    result = _run(target)

    assert isinstance(result.exception, CommandError)
    assert "not an empty folder" in result.exception.message
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_parent_is_named(tmp_path: Path) -> None:
    result = _run(tmp_path / "no" / "d")

    assert isinstance(result.exception, CommandError)
    assert "mkdir -p" in result.exception.advice
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_fault_on_the_way_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(module, "_profiles", fail)

    assert _run(tmp_path / "d").exit_code != 0
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_fills_meanwhile_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = module._profiles

    def meanwhile(address: str) -> str:
        (tmp_path / "d").mkdir()
        (tmp_path / "d" / "mine").write_text("mine")
        return real(address)

    monkeypatch.setattr(module, "_profiles", meanwhile)

    assert isinstance(_run(tmp_path / "d").exception, OSError)
    assert [path.name for path in tmp_path.rglob("*")] == ["d", "mine"]


def test_next_steps_go_to_standard_error(tmp_path: Path) -> None:
    result = _run(tmp_path / "d")

    assert result.stdout == ""
    assert "FOR DEVELOPMENT ONLY" in result.stderr
    assert f"kmsgwd --config {tmp_path}/d/kmsgwd.toml" in result.stderr
    assert _run(tmp_path / "e", "--quiet").stderr == ""


def test_openssl_verifies_chain_purpose_and_crl(folder: Path) -> None:
    both = folder / "both.pem"
    both.write_bytes((folder / "tls/ca.pem").read_bytes() + (folder / "tls/crl.pem").read_bytes())

    for purpose, path in (("sslserver", "tls/server.pem"), ("sslclient", "clients/auditor.pem")):
        subprocess.run(
            ["openssl", "verify", "-x509_strict", "-crl_check", "-CAfile", both, "-purpose", purpose, folder / path],
            check=True,
            capture_output=True,
        )


def test_issued_keys_do_not_show() -> None:
    issued = DevelopmentCa.create().issue_client("ehr")

    assert isinstance(issued, IssuedCertificate)
    assert b"PRIVATE KEY" in issued.private_key
    assert "PRIVATE KEY" not in repr(issued)


def test_for_programs_it_says_what_was_made(tmp_path: Path) -> None:
    made = kmsgw("init", str(tmp_path / "kms"), "--listen", "127.0.0.1:9443", "-o", "json")

    assert made.code == 0
    assert json.loads(made.text) == {
        "folder": str(tmp_path / "kms"),
        "address": "127.0.0.1:9443",
        "gateway_configuration": str(tmp_path / "kms" / "kmsgwd.toml"),
        "profiles": str(tmp_path / "kms" / "config.toml"),
        "environment": "development",
    }
