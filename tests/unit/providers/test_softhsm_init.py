"""`hsm/softhsm-init` makes a token that the gateway can use as it is."""

import os
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from kmsgw.config import Pkcs11Settings
from kmsgw.providers.pkcs11 import Pkcs11Provider
from tests.support.softhsm import CONFIGURATION_VARIABLE, SoftHsm

SCRIPT = Path(__file__).parents[3] / "hsm" / "softhsm-init"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_its_section_opens_a_provider(softhsm: SoftHsm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / 'a "quoted" folder'
    made = run(str(folder), "trial's token")
    assert (made.returncode, made.stderr) == (0, "")
    settings = Pkcs11Settings.model_validate(tomllib.loads(made.stdout)["providers"]["hsm"])
    assert settings.pin_file == folder / "pin"
    assert settings.pin_file.read_text() not in made.stdout
    monkeypatch.setenv(CONFIGURATION_VARIABLE, str(folder / "softhsm2.conf"))
    pin = settings.pin_file.read_bytes()
    with closing(Pkcs11Provider("hsm", settings.module, settings.token_label, pin)) as provider:
        provider.probe()
        assert provider.describe().development_only


def test_only_its_user_can_read_what_it_makes(softhsm: SoftHsm, tmp_path: Path) -> None:
    folder = tmp_path / "hsm"
    before = os.umask(0)
    try:
        assert run(str(folder)).returncode == 0
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {each.name: each.stat().st_mode & 0o777 for each in folder.iterdir()}
    assert modes == {"pin": 0o600, "so-pin": 0o600, "softhsm2.conf": 0o600, "tokens": 0o700}


def test_it_overwrites_nothing(softhsm: SoftHsm, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    refused = run(str(tmp_path))
    assert refused.returncode == 1
    assert "is not empty" in refused.stderr
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("arguments", [(), ("--help",), ("a", "b", "c"), ("a", "x" * 33), ("a", " ")])
def test_it_says_what_it_wants(arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run(*arguments)
    assert refused.returncode == 1
    assert refused.stderr.startswith("softhsm-init: ")
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
