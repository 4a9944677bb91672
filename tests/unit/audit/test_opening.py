"""A log opens where it can go on from what is signed and durable, and says exactly why where it can't."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsgw.audit.wal_format import HEADER_BYTES, encode_wal, read_frames, scan_wal
from kmsgw.audit.wal_key import WalKey
from kmsgw.errors import AuditDamaged, AuditUnavailable, ConfigurationError
from tests.unit.audit.logs import (
    append_all,
    append_waiting,
    notes,
    numbered,
    open_log,
    verified_entries,
    wal_key,
    without_notes,
)


def _make(base: Path, size: int, waiting: int = 0, *, wal_limit: int = 1 << 30) -> bytes:
    """Make a log with `size` entries signed for and `waiting` more in the write-ahead file; return that file."""
    log = open_log(base, wal_limit=wal_limit)
    append_all(log, numbered(0, size))
    log.close()
    append_waiting(base, numbered(size, size + waiting))
    return (base / "log" / "wal").read_bytes()


def _texts(base: Path) -> list[str]:
    return [str(json.loads(entry).get("note", json.loads(entry).get("n"))) for entry in verified_entries(base)]


def test_a_new_log_is_signed_at_once(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    assert (log.size, log.origin) == (0, "example.com/log/node1/w0")
    assert verified_entries(tmp_path) == []
    log.close()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600])
@pytest.mark.parametrize("waiting", [0, 1, 300])
def test_durable_entries_without_tiles_are_kept(tmp_path: Path, size: int, waiting: int) -> None:
    _make(tmp_path, size, waiting)
    log = open_log(tmp_path)
    noted = 1 if waiting else 0
    assert log.size == log.checkpoint_size == size + waiting + noted
    assert log.append(b"{}") == size + waiting + noted
    log.close()
    assert without_notes(verified_entries(tmp_path)) == [*numbered(0, size + waiting), b"{}"]


def test_what_is_signed_for_only_now_is_recorded_once(tmp_path: Path) -> None:
    _make(tmp_path, 5, 3)
    open_log(tmp_path).close()
    (said,) = notes(verified_entries(tmp_path))
    assert said.endswith("wal: taken over at the start: entries 5 to 7 (3) were not signed for when the worker ended.")
    open_log(tmp_path).close()
    assert len(verified_entries(tmp_path)) == 9


@pytest.mark.parametrize(("cut", "left"), [(1, 2), (7, 2), (8, 2), (9, 2), (36, 2), (37, 2)])
def test_a_torn_group_is_cut_whole_and_that_is_recorded(tmp_path: Path, cut: int, left: int) -> None:
    _make(tmp_path, 5, left)
    append_waiting(tmp_path, numbered(7, 9))
    data = (tmp_path / "log" / "wal").read_bytes()
    (tmp_path / "log" / "wal").write_bytes(data[:-cut])
    log = open_log(tmp_path)
    log.close()
    texts = _texts(tmp_path)
    assert texts[:7] == ["0", "1", "2", "3", "4", "5", "6"]
    torn, taken = texts[7:]
    assert "wal: at byte" in torn
    assert "were cut off" in torn
    assert ("2 entries from byte" in torn) == (cut <= 36)
    assert "entries 5 to 6 (2)" in taken
    open_log(tmp_path).close()
    assert len(verified_entries(tmp_path)) == 9


def test_a_bad_frame_before_a_good_one_is_refused_with_file_offset_and_reason(tmp_path: Path) -> None:
    data = bytearray(_make(tmp_path, 5, 3))
    wal = tmp_path / "log" / "wal"
    end = read_frames(bytes(data), wal, wal_key(tmp_path))[6].at
    data[end + 9] ^= 1
    wal.write_bytes(data)
    with pytest.raises(AuditDamaged, match=rf"{wal}: at byte {end}: the frame's checksum is wrong, and a good frame"):
        open_log(tmp_path)
    assert wal.read_bytes() == data


def test_a_torn_end_below_the_checkpoint_is_refused(tmp_path: Path) -> None:
    data = _make(tmp_path, 5)
    (tmp_path / "log" / "wal").write_bytes(data[:-1])
    with pytest.raises(AuditDamaged, match=r"it ends before entry 0, and 5 entries are signed for\. at byte"):
        open_log(tmp_path)


def test_an_entry_that_differs_from_the_signed_one_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, 300)
    other = encode_wal(0, [*numbered(0, 270), b'{"n":999}', *numbered(271, 300)], wal_key(tmp_path))
    (tmp_path / "log" / "wal").write_bytes(other)
    with pytest.raises(AuditDamaged, match="wal: entry 270 is not the one that the signed tree holds"):
        open_log(tmp_path)


def test_a_write_ahead_file_that_begins_after_the_checkpoint_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, 5, 5)
    before = {path: path.read_bytes() for path in (tmp_path / "log").rglob("*") if path.is_file()}
    log = open_log(tmp_path, wal_limit=0)
    log.close()
    for path, data in before.items():
        if path.name != "wal":
            path.write_bytes(data)
    with pytest.raises(AuditDamaged, match=r"begins with entry 11, and the checkpoint ends before 5"):
        open_log(tmp_path)


def _forget(path: str) -> Callable[[Path], None]:
    def change(log: Path) -> None:
        target = log / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()

    return change


def _flip(path: str, at: int = -5) -> Callable[[Path], None]:
    def change(log: Path) -> None:
        data = bytearray((log / path).read_bytes())
        data[at] ^= 1
        (log / path).write_bytes(data)

    return change


def _empty(path: str) -> Callable[[Path], None]:
    def change(log: Path) -> None:
        (log / path).write_bytes(b"")

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_forget("wal"), "wal: the file is missing"),
        (_forget("checkpoint"), "checkpoint: the file is missing"),
        (_forget("tile"), r"tile/0/001\.p/44: the tile is missing"),
        (_forget("tile/1"), r"tile/1/000\.p/1: the tile is missing"),
        (_forget("tile/entries/001.p"), r"tile/entries/001\.p/44: the entry bundle is missing"),
        (_forget("tile/0/000"), "tile/0/000: the tile is missing"),
        (_flip("checkpoint"), "checkpoint: "),
        (_flip("checkpoint", 30), "checkpoint: the signature of example.com/log/node1/w0 is wrong"),
        (_flip("tile/0/001.p/44"), "checkpoint: the tiles do not lead to its root of 300 entries"),
        (_flip("tile/0/000"), "tile/0/000: the tile is not the one that tile/1/000 was made of"),
        (_flip("tile/entries/001.p/44"), "entry 299 is not the one that was logged"),
        (_flip("verifier.key"), "verifier.key: the log was signed by another key"),
        (_flip("wal", 3), "wal: at byte 0: the header"),
        (_empty("wal"), "wal: at byte 0: the header is cut after 0 bytes"),
        (_empty("checkpoint"), "checkpoint: "),
        (_empty("tile/0/001.p/44"), r"tile/0/001\.p/44: the tile must have 1408 bytes and has 0"),
    ],
)
def test_damage_is_refused_with_the_file_and_the_reason(
    tmp_path: Path, change: Callable[[Path], None], message: str
) -> None:
    _make(tmp_path, 300)
    change(tmp_path / "log")
    for _ in range(2):
        with pytest.raises(AuditDamaged, match=message) as caught:
            open_log(tmp_path)
        assert str(tmp_path / "log") in caught.value.message  # a node has several logs
        assert f"kmsgw audit repair {tmp_path / 'log'}" in caught.value.advice


def test_a_log_without_its_key_is_refused_and_no_key_is_made(tmp_path: Path) -> None:
    _make(tmp_path, 3)
    (tmp_path / "keys" / "w0.seed").unlink()
    with pytest.raises(ConfigurationError, match=r"w0\.seed: No such file"):
        open_log(tmp_path)
    assert not (tmp_path / "keys" / "w0.seed").exists()


def test_a_log_of_another_origin_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, 3)
    with pytest.raises(AuditDamaged, match=r"verifier\.key: the log was signed by another key, or for another origin"):
        open_log(tmp_path, origin="example.com/log/node1/w1")


def test_a_log_of_another_seed_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, 3)
    (tmp_path / "log" / "verifier.key").unlink()
    (tmp_path / "keys" / "w0.seed").write_bytes(bytes(32))
    with pytest.raises(AuditDamaged, match=r"checkpoint: not signed by example\.com/log/node1/w0 with key id"):
        open_log(tmp_path)


@pytest.mark.parametrize("parts", [[], ["verifier.key"], ["verifier.key", "wal"]])
def test_making_a_log_can_be_stopped_and_done_again(tmp_path: Path, parts: list[str]) -> None:
    open_log(tmp_path).close()
    for path in (tmp_path / "log").iterdir():
        if path.name not in parts:
            path.unlink()
    log = open_log(tmp_path)
    append_all(log, numbered(0, 3))
    log.close()
    assert verified_entries(tmp_path) == numbered(0, 3)


def test_a_log_is_not_begun_in_a_write_ahead_file_that_others_made(tmp_path: Path) -> None:
    _make(tmp_path, 3)
    shutil.rmtree(tmp_path / "log")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "wal").write_bytes(encode_wal(0, [], WalKey(bytes(32), "example.com/other")))
    with pytest.raises(AuditDamaged, match="the header is sealed by another log than this one"):
        open_log(tmp_path)
    assert not (tmp_path / "log" / "checkpoint").exists()


def test_groups_that_were_cut_off_before_a_start_are_not_good_behind_what_it_adds(tmp_path: Path) -> None:
    _make(tmp_path, 1)
    wal, ends = tmp_path / "log" / "wal", []
    for number in range(1, 5):
        append_waiting(tmp_path, numbered(number, number + 1))
        ends.append(wal.stat().st_size)
    before = wal.read_bytes()
    # The second of four is hidden: the start's own entry would take its place, and the others follow it.
    wal.write_bytes(before[: ends[0]])
    open_log(tmp_path).close()
    after = wal.read_bytes()
    wal.write_bytes(after + before[ends[1] :])
    with pytest.raises(AuditDamaged, match="is not this log's: others put them there"):
        open_log(tmp_path)
    wal.write_bytes(before)
    with pytest.raises(AuditDamaged, match="entry 2 is not the one that the signed tree holds"):
        open_log(tmp_path)
    wal.write_bytes(after)
    open_log(tmp_path).close()
    assert without_notes(verified_entries(tmp_path)) == numbered(0, 2)


def test_each_start_begins_a_write_ahead_file_of_its_own_with_the_same_entries(tmp_path: Path) -> None:
    before = _make(tmp_path, 3)
    open_log(tmp_path).close()
    after, path = (tmp_path / "log" / "wal").read_bytes(), tmp_path / "log" / "wal"
    assert after[:HEADER_BYTES] != before[:HEADER_BYTES]
    entries = [scan_wal(data, path, wal_key(tmp_path)).entries for data in (before, after)]
    assert entries[0] == entries[1] == numbered(0, 3)


def test_a_write_ahead_file_with_entries_and_no_checkpoint_is_refused(tmp_path: Path) -> None:
    _make(tmp_path, 0, 3)
    (tmp_path / "log" / "checkpoint").unlink()
    with pytest.raises(AuditDamaged, match="checkpoint: the file is missing"):
        open_log(tmp_path)


def test_a_tile_written_for_a_checkpoint_that_was_not_is_written_again(tmp_path: Path) -> None:
    # A crash between the tiles and the checkpoint: newer tiles, older checkpoint, all entries in the write-ahead file.
    _make(tmp_path, 250)
    old = (tmp_path / "log" / "checkpoint").read_bytes()
    log = open_log(tmp_path, wal_limit=1 << 30)
    append_all(log, numbered(250, 700))
    log.close()
    shutil.rmtree(tmp_path / "log" / "tile" / "0" / "000.p", ignore_errors=True)
    (tmp_path / "log" / "checkpoint").write_bytes(old)
    open_log(tmp_path).close()
    assert without_notes(verified_entries(tmp_path)) == numbered(0, 700)


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("other", [_pipe, _device])
@pytest.mark.parametrize("name", ["wal", "checkpoint", "verifier.key", "tile/0/000.p/5", ".checkpoint.tmp", "intents"])
def test_no_start_waits_for_what_is_no_file(tmp_path: Path, name: str, other: Callable[[Path], None]) -> None:
    _make(tmp_path, 5, 3)
    other(tmp_path / "log" / name)
    if name == "intents":  # derived: made anew
        open_log(tmp_path).close()
        assert len(verified_entries(tmp_path)) == 9
    else:
        with pytest.raises((AuditDamaged, AuditUnavailable)):
            open_log(tmp_path, on_fatal=lambda _: None)


def test_one_writer_a_folder(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    with pytest.raises(AuditUnavailable, match="another process writes this audit log"):
        open_log(tmp_path)
    log.close()
    open_log(tmp_path).close()


def test_a_refused_log_is_not_left_locked(tmp_path: Path) -> None:
    data = _make(tmp_path, 3)
    (tmp_path / "log" / "wal").write_bytes(b"x" * 100)
    with pytest.raises(AuditDamaged):
        open_log(tmp_path)
    (tmp_path / "log" / "wal").write_bytes(data)
    open_log(tmp_path).close()


def test_a_folder_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("")
    with pytest.raises(AuditUnavailable, match="can't be opened"):
        open_log(tmp_path)


def test_the_write_ahead_file_begins_anew_after_integration(tmp_path: Path) -> None:
    log = open_log(tmp_path, wal_limit=1000)
    wal = tmp_path / "log" / "wal"
    for start in range(0, 1000, 50):
        append_all(log, numbered(start, start + 50))
        log.integrate()
        scanned = scan_wal(wal.read_bytes(), wal, wal_key(tmp_path))
        assert scanned.first + len(scanned.entries) == start + 50
        assert wal.stat().st_size <= 1000 + 50 * 20 + HEADER_BYTES
    assert scanned.first > 900
    log.close()
    log = open_log(tmp_path)
    assert log.append(b"{}") == 1000
    log.close()
    assert verified_entries(tmp_path) == [*numbered(0, 1000), b"{}"]


def test_partial_tiles_are_removed_once_the_full_one_is_there(tmp_path: Path) -> None:
    log = open_log(tmp_path)
    for start in range(0, 300, 50):
        append_all(log, numbered(start, start + 50))
        log.integrate()
    tiles = tmp_path / "log" / "tile"
    assert sorted(str(path.relative_to(tiles)) for path in tiles.rglob("*") if path.is_file()) == [
        "0/000", "0/001.p/44", "1/000.p/1", "entries/000", "entries/001.p/44",
    ]  # fmt: skip
    log.close()


def test_the_files_are_those_of_the_documented_layout(tmp_path: Path) -> None:
    _make(tmp_path, 3)
    log = tmp_path / "log"
    names = sorted(str(path.relative_to(log)) for path in log.rglob("*") if path.is_file())
    assert names == ["checkpoint", "intents", "lock", "tile/0/000.p/3", "tile/entries/000.p/3", "verifier.key", "wal"]
    assert struct.unpack(">Q", (log / "wal").read_bytes()[8:16]) == (0,)
