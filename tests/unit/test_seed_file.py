"""Secrets are made once with mode 0600, and refused when others could read them."""

import stat
from pathlib import Path

import pytest

from kmsgw.errors import ConfigurationError
from kmsgw.seed_file import load_or_create_secret, load_secret


def test_a_secret_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "w0.seed"
    secret = load_or_create_secret(path)
    assert len(secret) == 32
    assert load_or_create_secret(path) == secret == load_secret(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["w0.seed"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o777, 0o601])
def test_a_secret_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "w0.seed"
    secret = load_or_create_secret(path)
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"{mode:04o} lets others read it") as refused:
        load_or_create_secret(path)
    assert "chmod 600" in refused.value.advice
    assert secret.hex() not in str(refused.value)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_secret_of_another_length_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "w0.seed"
    path.write_bytes(bytes(length))
    path.chmod(0o600)
    with pytest.raises(ConfigurationError, match=f"must have 32 bytes and has {length}"):
        load_secret(path)


def test_a_missing_secret_is_not_made_by_loading(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_secret(tmp_path / "w0.seed")
    assert not (tmp_path / "w0.seed").exists()


def test_links_and_folders_are_refused(tmp_path: Path) -> None:
    load_or_create_secret(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("link", "folder"):
        with pytest.raises(ConfigurationError, match=name):
            load_or_create_secret(tmp_path / name)


def test_a_folder_that_cannot_be_made_is_a_named_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="seed: Not a directory"):
        load_or_create_secret(tmp_path / "file" / "seed")
