"""Secrets are read only from files that nobody else could read."""

import os
from pathlib import Path

import pytest

from kmsgw.errors import ConfigurationError
from kmsgw.secret_file import read_secret_file


def test_a_private_file_is_read_also_behind_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "pin", tmp_path / "link"
    path.write_bytes(b"1234\n")
    path.chmod(0o600)
    link.symlink_to(path)
    assert read_secret_file(path, "pin") == read_secret_file(link, "pin") == b"1234\n"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "pin"
    path.write_bytes(b"1234")
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=f"providers.hsm.pin: .*: mode {mode:04o} lets others") as refusal:
        read_secret_file(path, "providers.hsm.pin")
    assert "chmod 600" in refusal.value.advice
    assert "1234" not in str(refusal.value)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        read_secret_file(tmp_path / "missing", "pin")
    with pytest.raises(ConfigurationError, match="Is a directory"):
        read_secret_file(tmp_path, "pin")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_secret_file(Path(os.devnull), "pin")
