"""How far each log has been exported to each target: a small file for each pair, replaced as a whole.

The files are beside the logs, in ``audit.folder``/``export``/TARGET/LOG.cursor, and not in a log's own folder: what is
served as a transparency log has nothing in it that changes with its readers. LOG is the last part of the log's origin,
and not the name of its folder: a folder can hold another log one day, and a log can lie in another folder. A cursor
holds the root of the tree that was exported, so that a log that was rolled back or rewritten since is noticed, and the
verifier key that it was first read with.

A cursor is sealed with a key of the node (``audit.keys``/export.key): who writes the folder, and has not the key, can
have entries come again, and never have any skipped.
"""

import hmac
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from kmsgw.durable_files import make_folder, read_beginning, sync_folder, write_file
from kmsgw.errors import KmsgwError
from kmsgw.tlog.damage import damaged
from kmsgw.tlog.hashing import EMPTY_ROOT, HASH_BYTES
from kmsgw.tlog.note import VerifierKey

EXPORT_FOLDER = "export"
"""Folder in ``audit.folder`` that holds a folder of cursors for each target."""

CURSOR_LIMIT = 4096
"""Longest cursor file, in bytes."""

EXPORT_KEY = "export.key"
"""File in ``audit.keys`` with the key that cursors are sealed with."""

_SEAL = b"kmsgw export cursor v1\n"
_LAST_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_SUFFIX = ".cursor"
_DAMAGED_SUFFIX = ".damaged"


@dataclass(frozen=True, slots=True)
class ExportCursor:
    """The first ``size`` entries of the log of ``verifier`` have arrived; ``root`` is that of their tree."""

    verifier: VerifierKey
    size: int = 0
    root: bytes = EMPTY_ROOT

    def encode(self, target: str, key: bytes) -> bytes:
        """Return the bytes of the file: a line of JSON, and a line with the seal of it and the target's name.

        Without a key the seal finds rot, and not people.
        """
        fields = {"root": b64encode(self.root).decode(), "size": self.size, "verifier": str(self.verifier)}
        line = json.dumps(fields, sort_keys=True).encode() + b"\n"
        return line + _seal(target, line, key) + b"\n"

    @classmethod
    def decode(cls, raw: bytes, where: str, target: str, key: bytes) -> "ExportCursor":
        """Return the cursor of a target's file. Raises `AuditDamaged` naming `where`, also where others wrote it."""
        line, _, rest = raw.partition(b"\n")
        if not hmac.compare_digest(rest.strip(), _seal(target, line + b"\n", key)):
            raise damaged(f"{where}: the cursor is damaged, or others wrote it: its checksum does not fit.")
        try:
            fields = json.loads(line)
            verifier = VerifierKey.parse(fields["verifier"])
            size, root = int(fields["size"]), b64decode(fields["root"], validate=True)
        except (ValueError, KeyError, TypeError):
            raise damaged(f"{where}: the cursor is malformed.") from None
        if size < 0 or len(root) != HASH_BYTES:
            raise damaged(f"{where}: the cursor is malformed.")
        return cls(verifier, size, root)


def _seal(target: str, line: bytes, key: bytes) -> bytes:
    # With the target's name: the cursor of one that has much must not be given to one that has little.
    return hmac.digest(key, _SEAL + target.encode() + b"\n" + line, "sha256").hex().encode()


def log_name(origin: str) -> str | None:
    """Return what the log of an origin is called by exports: its last part, None where that can't name a file."""
    last = origin.rpartition("/")[2]
    return last if _LAST_PART.match(last) else None


def name_apart(name: str, origin: str) -> str:
    """Return what the log of an origin is called where its name stands for another log already."""
    return f"{name}@{sha256(origin.encode()).hexdigest()[:16]}"


def cursor_path(folder: Path, target: str, log: str) -> Path:
    """Return where the cursor of a target in a log is; `folder` is ``audit.folder``, `log` as `log_name` has it."""
    return folder / EXPORT_FOLDER / target / f"{log}{_SUFFIX}"


def load_cursor(path: Path, key: bytes = b"") -> ExportCursor | None:
    """Return a cursor, or None where there is none yet. Raises `AuditDamaged`, and OSError where it can't be read."""
    try:
        raw = read_beginning(path, CURSOR_LIMIT)
    except FileNotFoundError:
        return None
    return ExportCursor.decode(raw, str(path), path.parent.name, key)


def save_cursor(path: Path, cursor: ExportCursor, key: bytes = b"") -> None:
    """Put a cursor in place of the one before, durably. Raises OSError; then the old one is there."""
    make_folder(path.parent)
    write_file(path, cursor.encode(path.parent.name, key))
    sync_folder(path.parent)


def put_aside(path: Path) -> Path:
    """Take a damaged cursor out of the way, for whoever looks into it, and return where it is. Raises OSError."""
    aside = path.with_name(path.name + _DAMAGED_SUFFIX)
    path.replace(aside)
    return aside


def exported_through(
    folder: Path, verifier: VerifierKey, targets: Iterable[str] = (), key: bytes = b""
) -> Mapping[str, int]:
    """Return for each target how many entries of the log of `verifier` have arrived there for certain, from entry 0 on.

    `verifier` is the log's own key, or as the signed index lists it, and not what lies beside the log: who can write
    the folder could put a log of the same origin, under another key, in its place for a while.
    `folder` is ``audit.folder``; `targets` names those configured; what has a cursor is answered besides. `key` is the
    one that they are sealed with.
    A target without a readable cursor has 0: so whoever asks whether an entry may go keeps what may still be wanted.
    Reads files alone, and works while the exporter runs or not.
    """
    found = dict.fromkeys(targets, 0)
    for path in sorted((folder / EXPORT_FOLDER).glob(f"*/*{_SUFFIX}")):
        target = path.parent.name
        found.setdefault(target, 0)
        try:
            cursor = load_cursor(path, key)
        except (KmsgwError, OSError):  # nothing may be pruned on the word of a cursor that is damaged, or forged
            continue
        if cursor is not None and cursor.verifier == verifier:
            found[target] = cursor.size
    return found
