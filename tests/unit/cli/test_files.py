"""Files appear whole or not at all."""

import os
import stat
from pathlib import Path

import pytest

from kmsgw.cli.failure import CommandError
from kmsgw.cli.files import check_target, write_bytes


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_plaintext_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    target = tmp_path / "plain"
    target.write_bytes(b"old")
    target.chmod(0o644)

    write_bytes(b"new", str(target), private=True)

    assert target.read_bytes() == b"new"
    assert _mode(target) == 0o600


def test_another_file_has_the_usual_mode_or_keeps_its_own(tmp_path: Path) -> None:
    fresh, kept = tmp_path / "fresh", tmp_path / "kept"
    kept.write_bytes(b"old")
    kept.chmod(0o640)
    before = os.umask(0o027)
    try:
        write_bytes(b"new", str(fresh), private=False)
        write_bytes(b"new", str(kept), private=False)
    finally:
        os.umask(before)

    assert (_mode(fresh), _mode(kept)) == (0o640, 0o640)


def test_a_link_is_written_through(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"old")
    link.symlink_to(real)

    write_bytes(b"new", str(link), private=False)

    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_a_device_is_not_replaced() -> None:
    write_bytes(b"data", "/dev/null", private=True)

    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail(_: int) -> None:
        raise fault

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((CommandError, KeyboardInterrupt)):
        write_bytes(b"new", str(target), private=True)

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(CommandError):
        check_target(str(tmp_path), binary=False)
    with pytest.raises(CommandError):
        check_target(str(tmp_path / "none" / "file"), binary=False)
    check_target(str(tmp_path / "file"), binary=True)
