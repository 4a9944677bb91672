"""The write-ahead file: a torn end is told from damage, whatever the bytes."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsgw.audit.wal import LogLostError, WriteAheadFile, encode_frames, scan_wal
from kmsgw.errors import AuditDamaged

ENTRIES = [b"first", b"the second entry", b"3", b"\x00\x00\x00\x01\x00" * 20]
NAMED = Path("wal")


def _crc32c(data: bytes) -> bytes:
    """Return CRC-32C by its definition (RFC 3720, appendix B.4), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "big")


def test_the_checksum_is_crc_32c() -> None:
    assert _crc32c(b"123456789").hex() == "e3069283"


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("wal") / "wal"
    WriteAheadFile.create(path).close()
    return path.read_bytes()


def test_the_format_is_exact_to_the_byte(header: bytes) -> None:
    head = b"kmsgwal\x01" + bytes(8)
    assert header == head + _crc32c(head)
    assert encode_frames([b"abc"]) == b"\x00\x00\x00\x03" + _crc32c(b"\x00\x00\x00\x03abc") + b"abc"


@given(st.lists(st.binary(min_size=1, max_size=70), max_size=20))
def test_all_entries_come_back(header: bytes, entries: list[bytes]) -> None:
    data = header + encode_frames(entries)
    scanned = scan_wal(data, NAMED)
    assert (scanned.first, list(scanned.entries), scanned.end, scanned.torn) == (0, entries, len(data), "")


def test_every_truncation_is_a_torn_end(header: bytes) -> None:
    data = header + encode_frames(ENTRIES)
    ends = [len(header) + len(encode_frames(ENTRIES[:n])) for n in range(len(ENTRIES) + 1)]
    for length in range(len(header), len(data)):
        scanned = scan_wal(data[:length], NAMED)
        whole = sum(1 for end in ends[1:] if end <= length)
        assert list(scanned.entries) == ENTRIES[:whole]
        assert scanned.end == ends[whole]
        assert bool(scanned.torn) == (length not in ends)


def test_every_flipped_bit_before_the_last_frame_is_damage(header: bytes) -> None:
    data = header + encode_frames(ENTRIES)
    last = len(header) + len(encode_frames(ENTRIES[:-1]))
    for bit in range(last * 8):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AuditDamaged, match=r"^wal: at byte \d+: the (frame|header)"):
            scan_wal(bytes(wrong), NAMED)


def test_every_flipped_bit_of_the_last_frame_is_a_torn_end(header: bytes) -> None:
    data = header + encode_frames(ENTRIES)
    last = len(header) + len(encode_frames(ENTRIES[:-1]))
    for bit in range(last * 8, len(data) * 8):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        scanned = scan_wal(bytes(wrong), NAMED)
        assert list(scanned.entries) == ENTRIES[:-1]
        assert scanned.torn.startswith(f"at byte {last}: ")


@pytest.mark.parametrize("length", [1, 7, 8, 9, 4096, 3_000_000])
def test_zeros_at_the_end_are_torn_and_no_entries(header: bytes, length: int) -> None:
    scanned = scan_wal(header + encode_frames(ENTRIES) + bytes(length), NAMED)
    assert len(scanned.entries) == len(ENTRIES)
    assert f"{length} bytes were cut off" in scanned.torn


@pytest.mark.timeout(60)
def test_a_tail_made_to_be_slow_is_refused_and_does_not_hang(header: bytes) -> None:
    # Each byte looks like the start of a long frame, so that a search without a bound would take hours.
    with pytest.raises(AuditDamaged, match="too much after it"):
        scan_wal(header + b"\x00\x00\xff\xf0" * 600_000, NAMED)


@given(st.binary(max_size=200))
def test_any_bytes_are_scanned_or_refused(data: bytes) -> None:
    with pytest.raises(AuditDamaged, match="header"):
        scan_wal(data, NAMED)


@pytest.mark.parametrize("how", ["remove", "replace", "move the folder"])
def test_a_removed_or_replaced_file_takes_no_entries(tmp_path: Path, how: str) -> None:
    path = tmp_path / "log" / "wal"
    path.parent.mkdir()
    wal = WriteAheadFile.create(path)
    wal.append([b"a"])
    if how == "remove":
        path.unlink()
    elif how == "replace":
        copy = path.with_name("copy")
        copy.write_bytes(path.read_bytes())
        copy.rename(path)
    else:
        path.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(LogLostError, match=str(path)):
        wal.append([b"b"])
    with pytest.raises(LogLostError):
        wal.replace(1, [])
    wal.close()


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = WriteAheadFile.create(tmp_path / "wal")
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, bytes(data)[:3], at))
    wal.append(ENTRIES)
    wal.close()
    assert list(scan_wal((tmp_path / "wal").read_bytes(), NAMED).entries) == ENTRIES


def test_a_new_file_goes_on_from_a_later_entry(tmp_path: Path) -> None:
    wal = WriteAheadFile.create(tmp_path / "wal")
    wal.append(ENTRIES)
    wal.replace(3, ENTRIES[3:])
    wal.append([b"more"])
    wal.close()
    scanned = scan_wal((tmp_path / "wal").read_bytes(), NAMED)
    assert (scanned.first, list(scanned.entries)) == (3, [ENTRIES[3], b"more"])
