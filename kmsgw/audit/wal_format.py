"""The bytes of a write-ahead file. All integers are big-endian.

The header has 52 bytes: ``"kmsgwal" ‖ 0x02``, the u64 index of the first entry, a salt of 16 bytes, a MAC over these 32
bytes, and the u32 CRC-32C of all before. Then, for each group of entries that was written and flushed in one:

- a frame for each entry: ``u32 length ‖ u32 CRC-32C ‖ entry``, the checksum over length and entry, so that a run of
  zeros is no frame;
- a seal: ``0x00 "mac" ‖ u32 CRC-32C ‖ u64 index of the group's first entry ‖ u32 number of entries ‖ MAC``, the
  checksum over all of the seal but itself, the MAC of 16 bytes over index, number and the group's frames.

The checksums find tears and rot, the MACs find people: see `kmsgw.audit.wal_key`. A seal bears its index, so that a
group is good at one place alone, and needs none of the others to be known for good. No text of JSON has a byte of zero,
so nothing that a caller sends looks like a frame or a seal.
"""

import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import google_crc32c

from kmsgw.audit.wal_key import MAC_BYTES, FileSeal, WalKey
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.hashing import SIZE_LIMIT
from kmsgw.tlog.tiles import ENTRY_LIMIT

HEADER_BYTES: Final = 52
"""Length of the header."""

FRAME_HEAD_BYTES: Final = 8
"""Bytes of a frame before its entry."""

SEAL_BYTES: Final = 36
"""Length of a seal."""

_MAGIC: Final = b"kmsgwal\x02"
_OLD_MAGIC: Final = b"kmsgwal\x01"
_OLD_HEADER_BYTES: Final = 20
_SALT_BYTES: Final = 16
_HEAD_BYTES: Final = 32
_CRC_BYTES: Final = 4
_MARK: Final = b"\x00mac"
_SEAL: Final = struct.Struct(f">QI{MAC_BYTES}s")
_PLACE: Final = struct.Struct(">QI")

# A length from 1 to 65,535 as u32, or the mark of a seal: where a frame or a seal could start.
_START = re.compile(rb"(?=\x00\x00(?:[\x01-\xff][\x00-\xff]|\x00[\x01-\xff])|\x00mac)")
_SEARCH_BUDGET: Final = 1 << 32

_OTHERS: Final = "others put them there"
_FORGED_ADVICE: Final = (
    "Somebody could write to the log's folder while its worker was down: keep the folder as it is, tell your security "
    "officer, and find out who."
)
_OLD_ADVICE: Final = "Compare its entries with an export, if there is one."


def _crc(data: bytes) -> bytes:
    value: int = google_crc32c.value(data)
    return value.to_bytes(_CRC_BYTES, "big")


def encode_header(first: int, key: WalKey) -> bytes:
    """Return the header of a new file whose first entry has an index; no two are alike."""
    head = _MAGIC + first.to_bytes(8, "big") + os.urandom(_SALT_BYTES)
    sealed = head + key.file_seal(head).mac(head)
    return sealed + _crc(sealed)


def seal_of(header: bytes, key: WalKey) -> FileSeal:
    """Return the seal of the file with this header."""
    return key.file_seal(header[:_HEAD_BYTES])


def encode_group(entries: Sequence[bytes], index: int, seal: FileSeal) -> bytes:
    """Return the frames of entries, of which the first has an index, and their seal."""
    parts: list[bytes] = []
    for entry in entries:
        length = len(entry).to_bytes(4, "big")
        parts += (length, _crc(length + entry), entry)
    frames = b"".join(parts)
    place = _PLACE.pack(index, len(entries))
    sealed = place + seal.mac(place + frames)
    return b"".join((frames, _MARK, _crc(_MARK + sealed), sealed))


def encode_wal(first: int, entries: Sequence[bytes], key: WalKey) -> bytes:
    """Return a whole write-ahead file that begins with entry `first`."""
    header = encode_header(first, key)
    return header + encode_group(entries, first, seal_of(header, key)) if entries else header


def first_of(data: bytes) -> int | None:
    """Return the index of the first entry that a file's header says, or None where the header is damaged."""
    if len(data) < HEADER_BYTES or not data.startswith(_MAGIC):
        return None
    end = HEADER_BYTES - _CRC_BYTES
    return int.from_bytes(data[8:16], "big") if data[end:HEADER_BYTES] == _crc(data[:end]) else None


def _is_header_of(data: bytes, seal: FileSeal) -> bool:
    return seal.is_mac(data[_HEAD_BYTES : _HEAD_BYTES + MAC_BYTES], data[:_HEAD_BYTES])


@dataclass(frozen=True, slots=True)
class ScannedWal:
    """What a write-ahead file holds. ``end`` is where the sealed groups end; ``torn`` says what is after, if any."""

    first: int
    entries: Sequence[bytes] = field(repr=False)
    end: int
    header: bytes = field(repr=False)
    torn: str = ""


def _fault_at(data: bytes, at: int) -> str:
    """Return what is wrong with the frame or seal at an offset, but for MACs; or nothing."""
    left = len(data) - at
    if left < FRAME_HEAD_BYTES:
        return f"the frame's head is cut after {left} bytes"
    if data[at : at + 4] == _MARK:
        return _fault_of_seal(data, at, left)
    start = at + FRAME_HEAD_BYTES
    length = int.from_bytes(data[at : at + 4], "big")
    if not 0 < length <= ENTRY_LIMIT:
        return f"the frame's length is {length}"
    if left < FRAME_HEAD_BYTES + length:
        return f"the frame of {length} bytes is cut after {left - FRAME_HEAD_BYTES}"
    if data[at + 4 : start] != _crc(data[at : at + 4] + data[start : start + length]):
        return "the frame's checksum is wrong"
    return ""


def _fault_of_seal(data: bytes, at: int, left: int) -> str:
    if left < SEAL_BYTES:
        return f"the seal is cut after {left} bytes"
    start = at + FRAME_HEAD_BYTES
    whole = data[at + 4 : start] == _crc(_MARK + data[start : at + SEAL_BYTES])
    return "" if whole else "the seal's checksum is wrong"


def _next_good(data: bytes, start: int, path: Path) -> int | None:
    """Return where a good frame or seal begins after a bad one, or None. Bounded: gives up by refusing the file."""
    budget = _SEARCH_BUDGET
    for match in _START.finditer(data, start):
        at = match.start()
        size = _size_at(data, at)
        if at + size > len(data):
            continue
        budget -= size + 1024
        if budget < 0:
            raise damaged(
                f"{path}: a bad frame at byte {start - 1}, and too much after it to tell a torn end from rot."
            )
        if not _fault_at(data, at):
            return at
    return None


def _size_at(data: bytes, at: int) -> int:
    if data[at : at + 4] == _MARK:
        return SEAL_BYTES
    return FRAME_HEAD_BYTES + int.from_bytes(data[at : at + 4], "big")


def scan_wal(data: bytes, path: Path, key: WalKey | None) -> ScannedWal:
    """Return what a write-ahead file holds: the entries of all sealed groups. Without a key, MACs are not checked.

    A bad frame, and entries without a seal, are a torn end only where nothing good comes after them. Raises
    `AuditDamaged` that names file, offset and reason; so also where the log's own writer did not put a group here.
    """
    seal = _checked_header(data, path, key)
    first = int.from_bytes(data[8:16], "big")
    entries: list[bytes] = []
    group: list[bytes] = []
    at = start = HEADER_BYTES
    fault = ""
    while at < len(data):
        fault = _fault_at(data, at)
        if fault:
            good = _next_good(data, at + 1, path)
            if good is not None:
                raise damaged(f"{path}: at byte {at}: {fault}, and a good frame follows at byte {good}.")
            break
        end = at + _size_at(data, at)
        if data[at : at + 4] != _MARK:
            group.append(data[at + FRAME_HEAD_BYTES : end])
        else:
            wrong = _wrong_with_seal(data, start, at, first + len(entries), len(group), seal)
            if wrong:
                raise AuditDamaged(f"{path}: at byte {at}: {wrong}.", advice=_FORGED_ADVICE)
            entries += group
            group = []
            start = end
        at = end
    torn = ""
    if start < len(data):
        unsealed = f"{len(group)} entries from byte {start} on without their seal, " if group else ""
        why = f"at byte {at}: {fault or 'the file ends'}; "
        torn = f"{why}{unsealed}{len(data) - start} bytes were cut off"
    return ScannedWal(first, entries, start, data[:HEADER_BYTES], torn)


def _checked_header(data: bytes, path: Path, key: WalKey | None) -> FileSeal | None:
    if len(data) < HEADER_BYTES and not data.startswith(_OLD_MAGIC):
        raise damaged(f"{path}: at byte 0: the header is cut after {len(data)} bytes.")
    if data.startswith(_OLD_MAGIC):
        raise AuditDamaged(
            f"{path}: at byte 0: the header is of format 1, whose entries have no seal: anybody could have added some.",
            advice=_OLD_ADVICE,
        )
    if first_of(data) is None:
        raise damaged(f"{path}: at byte 0: the header is not that of a write-ahead file.")
    if key is None:
        return None
    seal = seal_of(data, key)
    if not _is_header_of(data, seal):
        raise AuditDamaged(
            f"{path}: at byte 0: the header is sealed by another log than this one.", advice=_FORGED_ADVICE
        )
    return seal


def _wrong_with_seal(data: bytes, start: int, at: int, index: int, count: int, seal: FileSeal | None) -> str:
    """Return what is wrong with the seal at an offset over a group that starts at another, or nothing."""
    begin = at + FRAME_HEAD_BYTES
    said_index, said_count, mac = _SEAL.unpack_from(data, begin)
    if said_count != count or not count:
        return f"the seal is of {said_count} entries, and {count} stand before it: {_OTHERS}"
    if said_index != index:
        return f"the seal is of entries from {said_index} on, and {index} would be the next: {_OTHERS}"
    if seal is not None and not seal.is_mac(mac, data[begin : begin + _PLACE.size] + data[start:at]):
        return f"the seal of entries {index} to {index + count - 1}, from byte {start} on, is not this log's: {_OTHERS}"
    return ""


@dataclass(frozen=True, slots=True)
class Frame:
    """A good frame of a damaged file, from ``at`` to before ``end``.

    ``index`` is that of its entry, as the seal of its whole group says; None where there is no such seal.
    """

    at: int
    end: int
    entry: bytes = field(repr=False)
    index: int | None = None


def read_frames(data: bytes, path: Path, key: WalKey | None) -> list[Frame]:
    """Return every good frame, whatever is between them: for the repair of a damaged file.

    Only what the log's writer sealed, each group once and in its order, gets an index. Without a key, MACs are not
    checked. Raises `AuditDamaged` where there is too much between good frames to look through.
    """
    seal = seal_of(data, key) if key is not None and first_of(data) is not None else None
    trusted = first_of(data) is not None and (key is None or (seal is not None and _is_header_of(data, seal)))
    found: list[Frame] = []
    group: list[Frame] = []
    following = 0
    for at, end in _good(data, path):
        if group and group[-1].end != at:
            found += group
            group = []
        if data[at : at + 4] != _MARK:
            group.append(Frame(at, end, data[at + FRAME_HEAD_BYTES : end]))
            continue
        index = _PLACE.unpack_from(data, at + FRAME_HEAD_BYTES)[0]
        good = trusted and bool(group) and following <= index < SIZE_LIMIT
        if good and not _wrong_with_seal(data, group[0].at, at, index, len(group), seal):
            following = index + len(group)
            group = [Frame(each.at, each.end, each.entry, index + n) for n, each in enumerate(group)]
        found += group
        group = []
    return found + group


def _good(data: bytes, path: Path) -> Iterator[tuple[int, int]]:
    """Yield where good frames and seals begin and end."""
    at: int | None = min(len(data), _OLD_HEADER_BYTES if data.startswith(_OLD_MAGIC) else HEADER_BYTES)
    while at is not None and at < len(data):
        if _fault_at(data, at):
            at = _next_good(data, at + 1, path)
            continue
        end = at + _size_at(data, at)
        yield at, end
        at = end
