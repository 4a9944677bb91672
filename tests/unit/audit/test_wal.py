"""The write-ahead file: a torn end is told from damage, whatever the bytes."""

import hmac
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmsgw.audit.wal import LogLostError, WriteAheadFile
from kmsgw.audit.wal_format import (
    SEAL_BYTES,
    encode_group,
    encode_header,
    encode_wal,
    read_frames,
    scan_wal,
    seal_of,
)
from kmsgw.audit.wal_key import WalKey
from kmsgw.errors import AuditDamaged

ENTRIES = [b"first", b"the second entry", b"3", b"\x00\x00\x00\x01\x00" * 20]
NAMED = Path("wal")
SEED = bytes(range(32))
ORIGIN = "example.com/log/node1/w0"
KEY = WalKey(SEED, ORIGIN)


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
def header() -> bytes:
    return encode_header(0, KEY)


def _groups(header: bytes, *groups: list[bytes]) -> bytes:
    """Return a file of groups, as they are written one after the other."""
    data, index = header, int.from_bytes(header[8:16], "big")
    for group in groups:
        data += encode_group(group, index, seal_of(header, KEY))
        index += len(group)
    return data


def _hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, secret, sha256)


def _hkdf_expand(key: bytes, info: bytes) -> bytes:
    """Return 32 bytes (RFC 5869, section 2.3)."""
    return hmac.digest(key, info + b"\x01", sha256)


def test_the_format_is_exact_to_the_byte() -> None:
    header = encode_header(7, KEY)
    head = b"kmsgwal\x02" + (7).to_bytes(8, "big") + header[16:32]
    secret = _hkdf_expand(_hkdf_extract(bytes(32), SEED), b"kmsgw write-ahead file v2\n" + ORIGIN.encode())
    key = _hkdf_expand(secret, head)
    sealed = head + hmac.digest(key, head, sha256)[:16]
    assert header == sealed + _crc32c(sealed)

    frames = b"\x00\x00\x00\x03" + _crc32c(b"\x00\x00\x00\x03abc") + b"abc"
    frames += b"\x00\x00\x00\x01" + _crc32c(b"\x00\x00\x00\x01d") + b"d"
    place = (9).to_bytes(8, "big") + (2).to_bytes(4, "big")
    seal = place + hmac.digest(key, place + frames, sha256)[:16]
    assert encode_group([b"abc", b"d"], 9, seal_of(header, KEY)) == (
        frames + b"\x00mac" + _crc32c(b"\x00mac" + seal) + seal
    )


def test_no_two_files_have_one_key() -> None:
    first, second = encode_header(0, KEY), encode_header(0, KEY)
    assert first[:16] == second[:16]
    assert seal_of(first, KEY).mac(b"x") != seal_of(second, KEY).mac(b"x")


@given(st.lists(st.lists(st.binary(min_size=1, max_size=70), min_size=1, max_size=5), max_size=5))
def test_all_entries_come_back(header: bytes, groups: list[list[bytes]]) -> None:
    data = _groups(header, *groups)
    entries = [entry for group in groups for entry in group]
    scanned = scan_wal(data, NAMED, KEY)
    assert (scanned.first, list(scanned.entries), scanned.end, scanned.torn) == (0, entries, len(data), "")
    frames = read_frames(data, NAMED, KEY)
    assert [each.entry for each in frames] == entries
    assert [each.index for each in frames] == list(range(len(entries)))


def test_every_truncation_is_a_torn_end(header: bytes) -> None:
    groups = [ENTRIES[:1], ENTRIES[1:3], ENTRIES[3:]]
    data = _groups(header, *groups)
    ends = [len(_groups(header, *groups[:n])) for n in range(4)]
    for length in range(len(header), len(data)):
        scanned = scan_wal(data[:length], NAMED, KEY)
        whole = sum(1 for end in ends[1:] if end <= length)
        assert list(scanned.entries) == ENTRIES[: (0, 1, 3, 4)[whole]]
        assert scanned.end == ends[whole]
        assert bool(scanned.torn) == (length not in ends)


def test_every_flipped_bit_before_the_last_seal_is_damage_or_a_torn_end_and_never_another_entry(header: bytes) -> None:
    data = _groups(header, ENTRIES[:2], ENTRIES[2:])
    last = len(_groups(header, ENTRIES[:2]))
    final = len(data) - SEAL_BYTES
    for bit in range(len(data) * 8):
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        if bit // 8 < final:
            with pytest.raises(AuditDamaged, match=r"^wal: at byte \d+: the (frame|header|seal)"):
                scan_wal(bytes(wrong), NAMED, KEY)
        else:
            scanned = scan_wal(bytes(wrong), NAMED, KEY)
            assert list(scanned.entries) == ENTRIES[:2]
            assert scanned.end == last
            assert scanned.torn.startswith(f"at byte {final}: ")


def _other_log(header: bytes, group: list[bytes]) -> bytes:
    other = WalKey(SEED, "example.com/log/node1/w1")
    return encode_group(group, 4, other.file_seal(header[:32]))


def _other_seed(header: bytes, group: list[bytes]) -> bytes:
    return encode_group(group, 4, WalKey(bytes(32), ORIGIN).file_seal(header[:32]))


def _other_file(_: bytes, group: list[bytes]) -> bytes:
    return encode_group(group, 4, seal_of(encode_header(0, KEY), KEY))


def _other_index(header: bytes, group: list[bytes]) -> bytes:
    return encode_group(group, 3, seal_of(header, KEY))


def _relabelled(header: bytes, group: list[bytes]) -> bytes:
    """Return a group of another index whose seal was made to say this one."""
    whole = _other_index(header, group)
    seal = (4).to_bytes(8, "big") + whole[-20:]
    return whole[:-SEAL_BYTES] + b"\x00mac" + _crc32c(b"\x00mac" + seal) + seal


def _other_entry(header: bytes, group: list[bytes]) -> bytes:
    """Return a group one of whose entries was replaced, with a good checksum."""
    whole = encode_group([*group[:-1], b"other"], 4, seal_of(header, KEY))
    return whole[:-SEAL_BYTES] + encode_group(group, 4, seal_of(header, KEY))[-SEAL_BYTES:]


def _one_less(header: bytes, group: list[bytes]) -> bytes:
    """Return a group without its first entry."""
    return encode_group(group, 4, seal_of(header, KEY))[8 + len(group[0]) :]


@pytest.mark.parametrize(
    "forge", [_other_log, _other_seed, _other_file, _other_index, _relabelled, _other_entry, _one_less]
)
def test_a_group_that_the_log_did_not_put_there_is_refused_with_offset_and_reason(
    header: bytes, forge: Callable[[bytes, list[bytes]], bytes]
) -> None:
    data = _groups(header, ENTRIES) + forge(header, [b"forged", b"too"])
    at = len(data) - SEAL_BYTES
    with pytest.raises(AuditDamaged, match=rf"^wal: at byte {at}: the seal .*: others put them there\.") as caught:
        scan_wal(data, NAMED, KEY)
    assert "find out who" in caught.value.advice
    frames = read_frames(data, NAMED, KEY)
    assert [each.index for each in frames[:4]] == [0, 1, 2, 3], "a repair still knows the others"
    assert {each.index for each in frames[4:]} == {None}


def test_groups_that_were_repeated_or_swapped_are_refused(header: bytes) -> None:
    seal = seal_of(header, KEY)
    one, two = encode_group(ENTRIES[:2], 0, seal), encode_group(ENTRIES[2:], 2, seal)
    for data in (header + two + one, header + one + one, header + one + two + two, header + two):
        with pytest.raises(AuditDamaged, match="the seal is of entries from"):
            scan_wal(data, NAMED, KEY)
    indexes = [each.index for each in read_frames(header + one + two + two, NAMED, KEY)]
    assert indexes == [0, 1, 2, 3, None, None]


def test_entries_without_a_seal_are_cut_whatever_their_checksums(header: bytes) -> None:
    data = _groups(header, ENTRIES)
    forged = encode_group([b"forged"], 4, seal_of(header, KEY))[:-SEAL_BYTES]
    scanned = scan_wal(data + forged, NAMED, KEY)
    assert list(scanned.entries) == ENTRIES
    assert f"1 entries from byte {len(data)} on without their seal" in scanned.torn


@pytest.mark.parametrize("key", [WalKey(bytes(32), ORIGIN), WalKey(SEED, "example.com/log/node1/w1")])
def test_the_file_of_another_log_is_refused_even_when_empty(key: WalKey) -> None:
    with pytest.raises(AuditDamaged, match="wal: at byte 0: the header is sealed by another log"):
        scan_wal(encode_wal(0, [], key), NAMED, KEY)


def test_a_header_that_says_another_first_entry_is_refused(header: bytes) -> None:
    head = header[:8] + (3).to_bytes(8, "big") + header[16:48]
    with pytest.raises(AuditDamaged, match="the header is sealed by another log"):
        scan_wal(head + _crc32c(head), NAMED, KEY)


def test_a_file_of_the_old_format_is_refused_and_a_repair_proves_nothing_of_it() -> None:
    head = b"kmsgwal\x01" + bytes(8)
    frame = b"\x00\x00\x00\x01" + _crc32c(b"\x00\x00\x00\x01x") + b"x"
    data = head + _crc32c(head) + frame
    with pytest.raises(AuditDamaged, match="wal: at byte 0: the header is of format 1"):
        scan_wal(data, NAMED, KEY)
    (only,) = read_frames(data, NAMED, KEY)
    assert (only.entry, only.index) == (b"x", None)


def test_who_has_no_key_reads_what_is_there_by_checksums_alone(header: bytes) -> None:
    data = _groups(header, ENTRIES) + _other_log(header, [b"forged"])
    assert list(scan_wal(data, NAMED, None).entries) == [*ENTRIES, b"forged"]


@pytest.mark.parametrize("length", [1, 7, 8, 9, 4096, 3_000_000])
def test_zeros_at_the_end_are_torn_and_no_entries(header: bytes, length: int) -> None:
    scanned = scan_wal(_groups(header, ENTRIES) + bytes(length), NAMED, KEY)
    assert len(scanned.entries) == len(ENTRIES)
    assert f"{length} bytes were cut off" in scanned.torn


@pytest.mark.timeout(60)
def test_a_tail_made_to_be_slow_is_refused_and_does_not_hang(header: bytes) -> None:
    # Each byte looks like the start of a long frame, so that a search without a bound would take hours.
    with pytest.raises(AuditDamaged, match="too much after it"):
        scan_wal(header + b"\x00\x00\xff\xf0" * 600_000, NAMED, KEY)


@given(st.binary(max_size=200))
def test_any_bytes_are_scanned_or_refused(data: bytes) -> None:
    with pytest.raises(AuditDamaged, match="header"):
        scan_wal(data, NAMED, KEY)


@pytest.mark.parametrize("how", ["remove", "replace", "move the folder"])
def test_a_removed_or_replaced_file_takes_no_entries(tmp_path: Path, how: str) -> None:
    path = tmp_path / "log" / "wal"
    path.parent.mkdir()
    wal = WriteAheadFile.create(path, KEY)
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


def test_a_file_on_a_mount_that_is_read_only_takes_no_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = WriteAheadFile.create(tmp_path / "wal", KEY)
    real = os.statvfs(tmp_path)
    flags = [*real[:8], real.f_flag | os.ST_RDONLY, real.f_namemax]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(flags))
    with pytest.raises(LogLostError, match="was made read-only"):
        wal.append([b"a"])
    wal.close()


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wal = WriteAheadFile.create(tmp_path / "wal", KEY)
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: write(fd, bytes(data)[:3], at))
    wal.append(ENTRIES)
    wal.close()
    assert list(scan_wal((tmp_path / "wal").read_bytes(), NAMED, KEY).entries) == ENTRIES


def test_a_new_file_goes_on_from_a_later_entry(tmp_path: Path) -> None:
    wal = WriteAheadFile.create(tmp_path / "wal", KEY)
    wal.append(ENTRIES)
    wal.replace(3, ENTRIES[3:])
    wal.append([b"more"])
    wal.close()
    scanned = scan_wal((tmp_path / "wal").read_bytes(), NAMED, KEY)
    assert (scanned.first, list(scanned.entries)) == (3, [ENTRIES[3], b"more"])
