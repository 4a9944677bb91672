"""Credentials are checked when they are read, so that a fault is named and not met on each call."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from kmsgw.cli.development import DevelopmentCa
from kmsgw.client import ConfigurationError, Credentials


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    ca = DevelopmentCa.create()
    issued = ca.issue_client("tester")
    paths = (tmp_path / "ca.pem", tmp_path / "client.pem", tmp_path / "client.key")
    for path, content in zip(paths, (ca.certificate, issued.certificate, issued.private_key), strict=True):
        path.write_bytes(content)
    return paths


def test_three_good_files_are_read(files: tuple[Path, Path, Path]) -> None:
    credentials = Credentials.from_files(str(files[0]), files[1], files[2])

    assert credentials.private_key == files[2].read_bytes()
    assert credentials.expires.tzinfo is not None


def test_the_private_key_is_not_printed(files: tuple[Path, Path, Path]) -> None:
    assert "PRIVATE" not in repr(Credentials.from_files(*files))


def test_every_missing_file_is_named_in_one_line(files: tuple[Path, Path, Path]) -> None:
    files[0].unlink()
    files[2].unlink()

    with pytest.raises(ConfigurationError) as caught:
        Credentials.from_files(*files)

    assert len(caught.value.faults) == 2
    assert str(files[0]) in caught.value.faults[0]
    assert str(files[2]) in caught.value.faults[1]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at_fault", [0, 1, 2])
def test_a_file_that_is_not_pem_is_named(files: tuple[Path, Path, Path], at_fault: int) -> None:
    files[at_fault].write_bytes(b"canary")

    with pytest.raises(ConfigurationError) as caught:
        Credentials.from_files(*files)

    assert [str(files[at_fault]) in fault for fault in caught.value.faults] == [True]
    assert "canary" not in str(caught.value)


def test_a_folder_in_place_of_a_file_is_named(files: tuple[Path, Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="Is a directory"):
        Credentials.from_files(files[0], files[1], tmp_path)


def test_a_key_of_another_certificate_is_refused(files: tuple[Path, Path, Path]) -> None:
    files[2].write_bytes(DevelopmentCa.create().issue_client("other").private_key)

    with pytest.raises(ConfigurationError, match="is not the private key of"):
        Credentials.from_files(*files)


def test_a_key_under_a_passphrase_is_refused(files: tuple[Path, Path, Path]) -> None:
    key = load_pem_private_key(files[2].read_bytes(), password=None)
    files[2].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))

    with pytest.raises(ConfigurationError, match="without a passphrase"):
        Credentials.from_files(*files)
