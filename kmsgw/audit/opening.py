"""Opening a log: what is on disk is believed only as far as the signed checkpoint and the log's own seals carry it."""

import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kmsgw.audit.integration import Integrator
from kmsgw.audit.wal import WAL_NAME, LogLostError, Sync, WriteAheadFile
from kmsgw.audit.wal_format import HEADER_BYTES, ScannedWal, first_of, scan_wal
from kmsgw.audit.wal_key import WalKey
from kmsgw.durable_files import make_folder, read_file, sync_folder, write_file
from kmsgw.errors import AuditDamaged, AuditUnavailable
from kmsgw.seed_file import load_or_create_secret, load_secret
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.hashing import TILE_HASHES, GrowingTree, leaf_hash
from kmsgw.tlog.note import Note, SigningKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.tiles import CHECKPOINT_PATH, VERIFIER_KEY_PATH

LOCK_NAME = "lock"
"""Name of the file that the one writer holds a lock on."""


@dataclass(frozen=True, slots=True)
class OpenedLog:
    """A log that its writer can go on with. ``waiting`` are durable entries without tiles; ``torn`` what was cut."""

    wal: WriteAheadFile
    integrator: Integrator
    waiting: Sequence[bytes]
    torn: str


def take_lock(folder: Path) -> int:
    """Make the folder as needed and lock it for this process; return the descriptor that holds the lock.

    Never waits. Raises `AuditUnavailable` where another process has it, or the folder can't be written.
    """
    path = folder / LOCK_NAME
    try:
        make_folder(folder)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise _unwritable(folder, error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise AuditUnavailable(
            f"{folder}: another process writes this audit log.",
            advice="Stop the gateway that runs here first, or let the command end that is at work on this log.",
        ) from None
    return descriptor


def _unwritable(folder: Path, error: OSError) -> AuditUnavailable:
    return AuditUnavailable(
        f"{error.filename or folder}: the audit log can't be opened: {error.strerror}.",
        advice="Let the gateway read and write the folder, and make room on its disk.",
    )


def open_log_files(
    folder: Path, origin: str, key_file: Path, sync: Sync, further_keys: Sequence[SigningKey] = ()
) -> OpenedLog:
    """Check what a locked folder holds, or make an empty log of it. `further_keys` sign beside that of `key_file`.

    Raises `AuditDamaged` that names the file where the log contradicts itself, `ConfigurationError` where the signing
    key can't be used, and `AuditUnavailable` where files can't be read or written.
    """
    try:
        is_new, wal = _is_new(folder), folder / WAL_NAME
        is_begun = is_new and wal.exists()
        seed = load_or_create_secret(key_file) if is_new and not is_begun else load_secret(key_file)
        key, wal_key = SigningKey.of_seed(origin, seed), WalKey(seed, origin)
        if is_begun:
            # With a header that anybody could write, a log that was removed would begin anew under its key.
            scan_wal(read_file(wal, None), wal, wal_key)
        return (_create if is_new else _recover)(folder, key, wal_key, sync, further_keys)
    except AuditDamaged as error:
        where = "" if str(folder) in error.message else f"{folder}: "  # a node has several logs
        raise AuditDamaged(
            f"{where}{error.message}",
            advice=f"{error.advice} What can be mended says `kmsgw audit repair {folder} --keys {key_file.parent}`.",
        ) from None
    except LogLostError as error:
        raise AuditUnavailable(
            f"The audit log can't be trusted any more: {error}.",
            advice="Find out who changed the file while the worker started; let the gateway write it.",
        ) from None
    except OSError as error:
        raise _unwritable(folder, error) from None


def _is_new(folder: Path) -> bool:
    """Tell whether no log was ever finished here. Raises `AuditDamaged` where parts of one are missing."""
    wal = folder / WAL_NAME
    parts = {path: path.exists() for path in (folder / CHECKPOINT_PATH, wal, folder / "tile")}
    if not any(parts.values()):
        return True
    if parts[wal] and sum(parts.values()) == 1:
        # Making a log writes the write-ahead file first and the checkpoint last: it may have been stopped between.
        data = read_file(wal, None)
        if len(data) == HEADER_BYTES and first_of(data) == 0:
            return True
    for path in (folder / CHECKPOINT_PATH, wal):
        if not parts[path]:
            raise damaged(f"{path}: the file is missing, and other parts of the log are there.")
    return False


def _create(
    folder: Path, key: SigningKey, wal_key: WalKey, sync: Sync, further_keys: Sequence[SigningKey]
) -> OpenedLog:
    _write_verifier_key(folder, key)
    wal = WriteAheadFile.create(folder / WAL_NAME, wal_key, sync)
    integrator = Integrator(folder, key, GrowingTree(), (), further_keys)
    integrator.sign()
    return OpenedLog(wal, integrator, (), "")


def _recover(
    folder: Path, key: SigningKey, wal_key: WalKey, sync: Sync, further_keys: Sequence[SigningKey]
) -> OpenedLog:
    _write_verifier_key(folder, key)
    try:
        reader = LogReader(lambda path: read_file(folder / path))
        checkpoint = reader.checkpoint(key.verifier)
        whole, rest = divmod(checkpoint.size, TILE_HASHES)
        bundle = reader.bundle(whole) if rest else []
        path = folder / WAL_NAME
        scanned = scan_wal(read_file(path, None), path, wal_key)
        _compare(scanned, reader, path)
    except OSError as error:
        raise damaged(f"{error.filename or folder}: the file can't be read: {error.strerror}.") from None
    wal = WriteAheadFile(path, wal_key, scanned, sync)
    # A file of its own for each start, without a torn end. In the old one, groups that somebody cut off before this
    # start would be good again behind what it adds: calls in the middle could be hidden, and those after them kept.
    wal.replace(scanned.first, scanned.entries)
    waiting = scanned.entries[checkpoint.size - scanned.first :]
    integrator = Integrator(folder, key, reader.edge, bundle, further_keys)
    if not _is_signed_by_all(folder, further_keys):
        integrator.sign()
    return OpenedLog(wal, integrator, waiting, scanned.torn)


def _is_signed_by_all(folder: Path, keys: Sequence[SigningKey]) -> bool:
    """Tell whether the checkpoint has a signature of each: a key may be newer than the log."""
    note = Note.parse(read_file(folder / CHECKPOINT_PATH), CHECKPOINT_PATH)
    return all(note.is_signed_by(key.verifier) for key in keys)


def _write_verifier_key(folder: Path, key: SigningKey) -> None:
    """Put the verifier key beside the log. Raises `AuditDamaged` where that of another key is there."""
    path = folder / VERIFIER_KEY_PATH
    line = f"{key.verifier}\n".encode()
    if not path.exists():
        write_file(path, line)
        sync_folder(folder)
    elif read_file(path) != line:
        raise damaged(f"{path}: the log was signed by another key, or for another origin, than the configured one.")


def _compare(scanned: ScannedWal, reader: LogReader, path: Path) -> None:
    """Raise `AuditDamaged` unless write-ahead file and signed tree agree where they overlap, and nothing is between."""
    end = scanned.first + len(scanned.entries)
    if scanned.first > reader.size:
        raise damaged(
            f"{path}: at byte 0: it begins with entry {scanned.first}, and the checkpoint ends before {reader.size}: "
            "entries between are missing."
        )
    if end < reader.size:
        torn = f" {scanned.torn}." if scanned.torn else ""
        raise damaged(f"{path}: it ends before entry {end}, and {reader.size} entries are signed for.{torn}")
    for index in range(scanned.first, reader.size):
        tile, place = divmod(index, TILE_HASHES)
        if leaf_hash(scanned.entries[index - scanned.first]) != reader.hashes(0, tile)[place]:
            raise damaged(f"{path}: entry {index} is not the one that the signed tree holds.")
