"""Flags over environment over profile."""

from pathlib import Path

import pytest

from kmsgw.cli.failure import CommandError
from kmsgw.cli.profile import DEFAULT_TIMEOUT, Flags, Profile, config_file, resolve_profile

WHOLE = """
default_profile = "ehr"
[profiles.ehr]
address = "kms:1"
ca = "ca.pem"
certificate = "/abs/ehr.pem"
key = "keys/ehr.key"
purpose = "care"
timeout = 3
[profiles.lab]
address = "kms:2"
ca = "ca.pem"
certificate = "lab.pem"
key = "lab.key"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(WHOLE)
    return path


def test_the_default_profile_is_used_with_paths_relative_to_the_file(file: Path) -> None:
    assert resolve_profile(Flags(config=str(file)), {}) == Profile(
        "ehr", "kms:1", file.parent / "ca.pem", Path("/abs/ehr.pem"), file.parent / "keys/ehr.key", "care", 3.0
    )


def test_flags_win_over_the_environment_and_that_over_the_profile(file: Path) -> None:
    environ = {
        "KMSGW_CONFIG": str(file),
        "KMSGW_PROFILE": "lab",
        "KMSGW_ADDRESS": "env:1",
        "KMSGW_CA": "env-ca.pem",
        "KMSGW_PURPOSE": "billing",
        "KMSGW_TIMEOUT": "7",
    }

    found = resolve_profile(Flags(address="flag:1"), environ)

    assert found.name == "lab"
    assert (found.address, found.ca, found.certificate) == ("flag:1", Path("env-ca.pem"), file.parent / "lab.pem")
    assert (found.purpose, found.timeout) == ("billing", 7.0)
    assert resolve_profile(Flags(profile="ehr", timeout="9"), environ).timeout == 9.0
    assert resolve_profile(Flags(profile="ehr"), environ).name == "ehr"


def test_flags_alone_will_do(tmp_path: Path) -> None:
    found = resolve_profile(Flags(address="a:1", ca="ca", certificate="c", key="k"), {"XDG_CONFIG_HOME": str(tmp_path)})

    assert found == Profile("", "a:1", Path("ca"), Path("c"), Path("k"), "", DEFAULT_TIMEOUT)


def test_the_file_is_found_by_the_xdg_rules() -> None:
    assert config_file(Flags(), {"XDG_CONFIG_HOME": "/x", "HOME": "/h"}) == (Path("/x/kmsgw/config.toml"), False)
    assert config_file(Flags(), {"HOME": "/h"}) == (Path("/h/.config/kmsgw/config.toml"), False)
    assert config_file(Flags(config="f"), {"KMSGW_CONFIG": "e"}) == (Path("f"), True)
    assert config_file(Flags(), {"KMSGW_CONFIG": "e"}) == (Path("e"), True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[profiles.ehr]\nadress = 'x'\nca = 1", "profile 'ehr': adress: no such field; ca: not text."),
        ("profiles = 3", "profiles or default_profile is malformed."),
        ("default_profile = 3", "profiles or default_profile is malformed."),
        ("[profiles]\nehr = 'x'", "has no profile 'ehr'."),
        ("= nonsense", "is not TOML:"),
    ],
)
def test_a_malformed_file_is_refused_by_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.toml"
    path.write_text(text)

    with pytest.raises(CommandError) as caught:
        resolve_profile(Flags(config=str(path), profile="ehr" if "default" not in text else None), {})

    assert message in caught.value.message
    assert str(path) in caught.value.message


@pytest.mark.parametrize("timeout", ["0", "-1", "soon", "nan", "inf", "3601"])
def test_a_timeout_that_makes_no_sense_is_refused(file: Path, timeout: str) -> None:
    with pytest.raises(CommandError):
        resolve_profile(Flags(config=str(file), timeout=timeout), {})
