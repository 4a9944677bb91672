"""A running log whose files are taken away, replaced or made read-only refuses every entry from then on."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsgw.errors import AuditUnavailable
from tests.unit.audit.logs import append_all, numbered, open_log, verified_entries


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _replace(path: Path) -> None:
    """Put a copy in its place: the same bytes, and another file."""
    aside = path.with_name("aside")
    if path.is_dir():
        shutil.copytree(path, aside)
        shutil.rmtree(path)
    else:
        shutil.copy2(path, aside)
    aside.rename(path)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _forbid_writing(path: Path) -> None:
    path.chmod(path.stat().st_mode & ~0o222)


@pytest.mark.parametrize(
    ("what", "harm", "reason"),
    [
        ("", _remove, "log/wal was removed"),
        ("", _replace, "log/wal was replaced"),
        ("", _forbid_writing, "log was made read-only"),
        ("wal", _remove, "log/wal was removed"),
        ("wal", _replace, "log/wal was replaced"),
        ("wal", _forbid_writing, "log/wal was made read-only"),
        ("lock", _remove, "log/lock was removed"),
        ("lock", _replace, "log/lock was replaced"),
        ("checkpoint", _remove, "log/checkpoint was removed"),
        ("checkpoint", _empty, "log/checkpoint was replaced"),
        ("tile", _remove, "log/tile was removed"),
        ("tile", _replace, "log/tile was replaced"),
    ],
)
def test_a_log_that_was_touched_takes_no_entry_any_more(
    tmp_path: Path, what: str, harm: Callable[[Path], None], reason: str
) -> None:
    log = open_log(tmp_path)
    append_all(log, numbered(0, 10))
    log.integrate()

    harm(tmp_path / "log" / what)
    log.integrate()

    assert log.ended
    with pytest.raises(AuditUnavailable) as refused:
        log.append(b"{}")
    assert reason in refused.value.message


# An open file in a folder that nobody may write takes entries until the next integration, and they are durable.
@pytest.mark.parametrize(
    ("what", "harm"),
    [("", _remove), ("", _replace), ("wal", _remove), ("wal", _replace), ("wal", _forbid_writing)],
)
def test_no_entry_is_acknowledged_after_the_write_ahead_file_was_touched(
    tmp_path: Path, what: str, harm: Callable[[Path], None]
) -> None:
    log = open_log(tmp_path)
    append_all(log, numbered(0, 10))

    harm(tmp_path / "log" / what)

    number = log.append(b"{}")
    with pytest.raises(AuditUnavailable):
        log.wait(number)


def test_a_signature_that_is_added_to_the_checkpoint_is_no_fault(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    append_all(log, numbered(0, 10))
    log.integrate()
    with (tmp_path / "log" / "checkpoint").open("ab") as file:
        file.write("— witness.example/w AAAA\n".encode())
    log.integrate()
    append_all(log, numbered(10, 20))
    log.close()
    assert verified_entries(tmp_path) == numbered(0, 20)


def test_an_integration_that_had_no_room_halfway_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = open_log(tmp_path, wal_limit=10)
    append_all(log, numbered(0, 10))
    rename = Path.rename

    def full(path: Path, target: Path) -> Path:
        if target.name == "wal":
            raise OSError(28, os.strerror(28))
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", full)
        log.integrate()
    append_all(log, numbered(10, 20))
    log.close()
    assert verified_entries(tmp_path) == numbered(0, 20)
