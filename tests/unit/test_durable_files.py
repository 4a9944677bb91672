"""What is read of a folder that others may write to: regular files of a bounded length, and nothing is waited for."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from kmsgw.durable_files import FILE_LIMIT, read_beginning, read_file


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_file(path) == read_file(path, None) == read_file(path, 5) == b"12345"
    assert (read_beginning(path, 3), read_beginning(path, 9)) == (b"123", b"12345")
    with pytest.raises(OSError, match="Longer than 4 bytes"):
        read_file(path, 4)


def test_a_file_that_grows_while_it_is_read_is_read_whole_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    status = path.stat()
    monkeypatch.setattr(os, "fstat", lambda _: SimpleNamespace(st_mode=status.st_mode, st_size=2))
    assert read_file(path) == read_file(path, 5) == b"12345"
    for limit in (2, 3, 4):
        with pytest.raises(OSError, match=f"Longer than {limit} bytes"):
            read_file(path, limit)


def test_what_is_too_long_is_not_read_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(OSError, match=f"Longer than {FILE_LIMIT} bytes"):
        read_file(path)
    assert read_beginning(path, 2) == bytes(2)


@pytest.mark.parametrize("read", [read_file, lambda path: read_beginning(path, 9)])
def test_a_pipe_a_folder_and_a_link_are_refused_at_once(tmp_path: Path, read: object) -> None:
    assert callable(read)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "file").write_bytes(b"")
    for name in ("pipe", "folder", "link"):
        with pytest.raises(OSError, match=r"regular file|symbolic links"):
            read(tmp_path / name)
