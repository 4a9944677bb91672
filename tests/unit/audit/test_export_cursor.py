"""Cursors of exports: whole or refused, and told to whoever asks what may go."""

from pathlib import Path

import pytest

from kmsgw.audit.export_cursor import (
    ExportCursor,
    cursor_path,
    exported_through,
    load_cursor,
    log_name,
    name_apart,
    put_aside,
    save_cursor,
)
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.note import SigningKey

KEY = SigningKey.of_seed("kmsgw.example/log/worker-0", b"\x01" * 32).verifier
CURSOR = ExportCursor(KEY, 700, b"\x07" * 32)
SECRET = b"\x05" * 32


def test_a_cursor_is_read_as_it_was_saved(tmp_path: Path) -> None:
    path = cursor_path(tmp_path, "siem", "worker-0")
    assert load_cursor(path) is None
    save_cursor(path, CURSOR)
    assert load_cursor(path) == CURSOR
    assert path == tmp_path / "export" / "siem" / "worker-0.cursor"


def test_a_cursor_with_any_byte_changed_is_refused() -> None:
    whole = CURSOR.encode("siem", SECRET)
    for place in range(len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        with pytest.raises(AuditDamaged, match="cursor"):
            ExportCursor.decode(bytes(changed), "worker-0.cursor", "siem", SECRET)


@pytest.mark.parametrize("length", [0, 1, 50, len(CURSOR.encode("siem", SECRET)) - 2])
def test_a_cursor_that_is_cut_is_refused(length: int) -> None:
    with pytest.raises(AuditDamaged):
        ExportCursor.decode(CURSOR.encode("siem", SECRET)[:length], "worker-0.cursor", "siem", SECRET)


def test_a_save_that_fails_leaves_the_old_cursor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cursor_path(tmp_path, "siem", "worker-0")
    save_cursor(path, CURSOR)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kmsgw.durable_files.write_all", full)
    with pytest.raises(OSError, match="No space"):
        save_cursor(path, ExportCursor(KEY, 800, b"\x08" * 32))
    assert load_cursor(path) == CURSOR


@pytest.mark.parametrize(("target", "key"), [("siem", b""), ("siem", b"\x06" * 32), ("mirror", SECRET)])
def test_a_cursor_that_others_wrote_or_of_another_target_is_refused(tmp_path: Path, target: str, key: bytes) -> None:
    path = cursor_path(tmp_path, "siem", "worker-0")
    save_cursor(path, CURSOR, SECRET)
    assert load_cursor(path, SECRET) == CURSOR
    assert exported_through(tmp_path, KEY, key=SECRET) == {"siem": 700}
    path.write_bytes(ExportCursor(KEY, 900, b"\x08" * 32).encode(target, key))
    with pytest.raises(AuditDamaged, match="others wrote it"):
        load_cursor(path, SECRET)
    assert exported_through(tmp_path, KEY, key=SECRET) == {"siem": 0}


def test_a_log_is_called_by_the_last_part_of_its_origin() -> None:
    assert log_name("kmsgw.example/log/node1/worker-0.2") == "worker-0.2"
    assert [log_name(origin) for origin in ("a/..", "a/", "a/b c", "a/.hidden", "a/" + "x" * 200)] == [None] * 5
    assert name_apart("worker-0", "a/worker-0") != name_apart("worker-0", "b/worker-0")


def test_what_was_exported_is_told_for_each_target(tmp_path: Path) -> None:
    save_cursor(cursor_path(tmp_path, "siem", "worker-0"), CURSOR)
    other = ExportCursor(SigningKey.of_seed("kmsgw.example/log/worker-1", b"\x02" * 32).verifier, 9, b"\x08" * 32)
    save_cursor(cursor_path(tmp_path, "siem", "worker-1"), other)
    save_cursor(cursor_path(tmp_path, "mirror", "worker-1"), other)
    found = exported_through(tmp_path, KEY, ["siem", "collector"])
    assert found == {"siem": 700, "mirror": 0, "collector": 0}


def test_on_the_word_of_a_damaged_cursor_nothing_may_go(tmp_path: Path) -> None:
    path = cursor_path(tmp_path, "siem", "worker-0")
    save_cursor(path, CURSOR)
    path.write_bytes(path.read_bytes().replace(b"700", b"900"))
    assert exported_through(tmp_path, KEY) == {"siem": 0}
    put_aside(path)
    assert load_cursor(path) is None
    assert exported_through(tmp_path / "elsewhere", KEY, ["siem"]) == {"siem": 0}
