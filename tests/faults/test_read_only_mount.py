"""A file system that turns read-only under an open log: no answer leaves that is not on disk.

Wants the right to mount, which a process in most containers has not; and for one of them, ext4 in a file.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kmsgw.audit.log import DurableLog
from kmsgw.errors import AuditUnavailable
from kmsgw.tlog.reader import LogReader
from tests.faults.audit_log_writer import ORIGIN

FIRST, SECOND = b'{"n":1}', b'{"n":2}'


def _run(*command: str | Path) -> bool:
    return (
        shutil.which(str(command[0])) is not None
        and not subprocess.run(command, capture_output=True, check=False).returncode
    )


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory, mounted for this test."""
    folder = tmp_path / "mount"
    folder.mkdir()
    if not _run("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", folder):
        pytest.skip("the right to mount file systems is missing")
    yield folder
    while _run("umount", folder):
        pass


@pytest.fixture
def ext4(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A file system of ext4 that turns read-only at an error, and the file that gives it one."""
    image, folder = tmp_path / "image", tmp_path / "mount"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate(16 << 20)
    if not _run("mkfs.ext4", "-q", "-F", image) or not _run("mount", "-o", "loop,errors=remount-ro", image, folder):
        pytest.skip("mkfs.ext4, or the right to mount loop devices, is missing")
    try:
        device = subprocess.run(["findmnt", "-no", "SOURCE", folder], capture_output=True, text=True, check=True).stdout
        trigger = Path("/sys/fs/ext4") / Path(device.strip()).name / "trigger_fs_error"
        if not trigger.exists():
            pytest.skip("the kernel does not let errors of ext4 be triggered")
        yield folder, trigger
    finally:
        _run("umount", folder)


def _open(folder: Path, keys: Path, fatal: list[str]) -> DurableLog:
    log = DurableLog.open(
        folder / "log", origin=ORIGIN, key_file=keys / "w0.seed", interval=None, on_fatal=fatal.append
    )
    log.wait(log.append(FIRST))
    log.integrate()
    return log


def _entries(folder: Path, keys: Path) -> list[bytes]:
    """Return what the next start signs for."""
    log = DurableLog.open(folder / "log", origin=ORIGIN, key_file=keys / "w0.seed", interval=None)
    verifier = log.verifier
    log.close()
    reader = LogReader(lambda path: (folder / "log" / path).read_bytes())
    reader.checkpoint(verifier)
    return [raw for _, raw in reader.entries()]


def _refuses(log: DurableLog) -> None:
    """Tell by its words that a log takes nothing more, now and later."""
    for probing in (False, True, False):
        with pytest.raises(AuditUnavailable, match=r"(?i)read-only"):
            log.probe() if probing else log.wait(log.append(SECOND))
    assert log.ended
    with suppress(AuditUnavailable):
        log.close()


@pytest.mark.parametrize("option", ["remount,ro", "remount,bind,ro"])
def test_a_file_system_with_an_open_log_can_not_be_made_read_only(mount: Path, tmp_path: Path, option: str) -> None:
    """The kernel refuses while a file is open for writing; where it would not, the log has to end."""
    log = _open(mount, tmp_path, [])
    if _run("mount", "-o", option, mount):
        _refuses(log)
        return
    log.wait(log.append(SECOND))
    log.close()
    assert _run("mount", "-o", option, mount), "with no log open it can"
    assert _run("mount", "-o", option.replace("ro", "rw"), mount)
    assert _entries(mount, tmp_path) == [FIRST, SECOND]


def test_a_read_only_mount_over_an_open_log_ends_it_before_the_next_answer(mount: Path, tmp_path: Path) -> None:
    log = _open(mount, tmp_path, [])
    assert _run("mount", "--bind", mount, mount)
    assert _run("mount", "-o", "remount,bind,ro", mount)
    _refuses(log)
    assert _run("umount", mount)
    assert FIRST in _entries(mount, tmp_path)


def test_a_file_system_that_turns_read_only_at_an_error_ends_the_log_before_the_next_answer(
    ext4: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, trigger = ext4
    fatal: list[str] = []
    log = _open(folder, tmp_path, fatal)
    trigger.write_text("the disk broke")
    _refuses(log)
    assert fatal == ["The audit log could not be written: Read-only file system."]
