"""A new log in the place of one that was set aside or lost, so that nobody misses that there was another.

What is done survives being stopped at any moment, and done again it goes on: the first entry of the new log is written
down in ``audit.keys`` before anything changes; then the old signing keys are put aside; then the node's signed index
says where the old log is, or that it is lost; then the new log begins with that entry. A start finishes the last step.
"""

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from kmsgw.audit.generation import BEGIN_METHOD, begin_anew, next_name, origin_name
from kmsgw.audit.index_memory import IndexNote, require_newest
from kmsgw.audit.kept_checkpoints import KeptCheckpoint
from kmsgw.audit.log import DurableLog
from kmsgw.audit.mending import REPAIRS_FOLDER
from kmsgw.audit.node_index import read_index, replace_index
from kmsgw.audit.record import AuditRecord, Outcome
from kmsgw.durable_files import make_folder, read_file, sync_folder, write_file
from kmsgw.errors import ConfigurationError
from kmsgw.seed_file import load_or_create_secret, load_secret
from kmsgw.tlog.hashing import EMPTY_ROOT
from kmsgw.tlog.index_entry import KnownIndex
from kmsgw.tlog.node_index import INDEX_PATH, IndexedLog, LostLog, NodeIndex
from kmsgw.tlog.note import NOTE_LIMIT, SigningKey, VerifierKey
from kmsgw.tlog.schemes import SignatureKind, has_ml_dsa
from kmsgw.tlog.tiles import VERIFIER_KEY_PATH

NODE_KEY: Final = "node.key"
"""File in ``audit.keys`` with the key that signs the node's index."""

_BEGINNING: Final = ".beginning"
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The log that was in a worker's place. ``folder`` is where it is now, empty where it is lost.

    ``known`` are its checkpoints that are kept, the largest first, its own among them. ``left`` tells where is what
    was left of one that is lost, as the first entry of the new log is to say it.
    """

    keys: Sequence[VerifierKey]
    folder: str
    known: Sequence[KeptCheckpoint]
    left: Sequence[Mapping[str, object]] = ()

    @property
    def origin(self) -> str:
        """Its origin."""
        return self.keys[0].name

    @property
    def lost(self) -> LostLog:
        """What the index says of it where it is lost."""
        size, root = 0, EMPTY_ROOT
        if self.known:
            size, root = self.known[0].checkpoint.size, self.known[0].checkpoint.root
        return LostLog(self.origin, size, root, self.keys)


def listed_log(logs: Path, keys: Path, worker: str) -> IndexedLog | None:
    """Return what the node's index lists in a worker's place; None where this node has no index yet.

    `logs` is ``audit.folder``, `keys` is ``audit.keys``. Raises `ConfigurationError` where the index is gone or has no
    log in that place, and `AuditDamaged` where it is not as signed.
    """
    index = _index(logs, keys)
    if index is None:
        return None
    for log in index.logs:
        if log.folder == worker:
            return log
    raise ConfigurationError(
        [f"{logs / INDEX_PATH}: it lists no log in {worker}"], advice="Name the folder of a log that this node had."
    )


def require_newest_index(logs: Path, keys: Path, witness: Path) -> bool:
    """Tell whether a note in `witness`, which is ``audit.witness``, bears out that the node's index is the newest.

    To be asked before another index is written: after an older one that was put back, two would have one number. A
    node without an index needs no note. Raises as `listed_log` does, and `ConfigurationError` with AUDIT_ROLLED_BACK.
    """
    found = known_index(logs, keys)
    return found is None or require_newest(logs / INDEX_PATH, found, witness)


def remember_index(logs: Path, keys: Path, witness: Path) -> None:
    """Let the note in `witness` know the index that was just written, where there is a note. Raises OSError."""
    note, found = IndexNote.of_node(witness), known_index(logs, keys)
    if found is not None and note.read() is not None:
        note.write(found)


def known_index(logs: Path, keys: Path) -> KnownIndex | None:
    """Return the node's index as it is to be remembered, None before it has one. Raises as `listed_log` does."""
    index = _index(logs, keys)
    if index is None:
        return None
    return KnownIndex.of(index, SigningKey.of_seed(index.node, load_secret(keys / NODE_KEY)).verifier)


def is_listed(logs: Path, keys: Path, worker: str) -> bool:
    """Tell whether the node's index lists a log in a worker's place; not so where there is no index.

    Raises `ConfigurationError` where its key can't be read, and `AuditDamaged` where it is not as signed.
    """
    if not (logs / INDEX_PATH).exists():
        return False  # where one should be there, its own check says so
    index = _index(logs, keys)
    return index is not None and any(log.folder == worker for log in index.logs)


def place_of(logs: Path, origin: str) -> str:
    """Return the name of the folder that a log is in by its own word; empty where none is it."""
    for path in sorted(logs.glob(f"*/{VERIFIER_KEY_PATH}")):
        try:
            if read_file(path, NOTE_LIMIT).decode().partition("+")[0] == origin:
                return path.parent.name
        except (OSError, UnicodeDecodeError):
            continue
    return ""


def succeed(
    logs: Path, keys: Path, worker: str, before: Predecessor, *, reason: str, who: str, now: datetime, earlier: str = ""
) -> VerifierKey:
    """Begin a worker's log anew in the place of `before`, and return its key. `earlier` is an earlier word on why.

    Raises `ConfigurationError`, `AuditDamaged`, `AuditUnavailable` and OSError; then it can be done again.
    """
    index = _index(logs, keys)
    origins = () if index is None else (*(log.origin for log in index.logs), *(log.origin for log in index.lost))
    taken = [each.rpartition("/")[2] for each in origins]
    node = before.origin.rpartition("/")[0]
    # Of one that is listed the origin's last part is known: a file of an attempt that was stopped may say the next.
    old = origin_name(keys, worker) if index is None else before.origin.rpartition("/")[2]
    new = next_name(old, taken)
    parted = before.folder or f"{worker}.lost-{now:%Y%m%dT%H%M%SZ}"
    entry = _entry(before, reason=reason, who=who, now=now, earlier=earlier)
    _write_beginning(keys, worker, new, entry)
    begin_anew(keys, worker, parted, old, new)
    origin = f"{node}/{new}"
    key_file = keys / f"{worker}.key"
    verifier = SigningKey.of_seed(origin, load_or_create_secret(key_file)).verifier
    further = _further_keys(keys, worker, origin, before.keys)
    if index is not None:
        listed = IndexedLog(worker, origin, (verifier, *(key.verifier for key in further)))
        replace_index(logs, keys / NODE_KEY, _succeeded(index, before, listed))
    _begin(logs, keys, worker, origin, further)
    return verifier


def write_words(logs: Path, aside: str, *, reason: str, who: str, now: datetime) -> None:
    """Write down why a log was set aside, for the one that begins in its place; `aside` is its folder's name."""
    path = _words_file(logs, aside)
    make_folder(path.parent)
    write_file(path, f"{now:%Y-%m-%dT%H:%M:%SZ} {who}: {reason}\n".encode(), _MODE)
    sync_folder(path.parent)


def words_on(logs: Path, aside: str) -> str:
    """Return when, by whom and why a log was set aside; empty where nothing is known."""
    try:
        return read_file(_words_file(logs, aside)).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _words_file(logs: Path, aside: str) -> Path:
    return logs / REPAIRS_FOLDER / f"{aside}.reason"


def finish(logs: Path, keys: Path, worker: str, before: IndexedLog) -> bool:
    """Finish what `succeed` began and the index, which lists `before` in this place, says already; tell whether it did.

    Raises as `succeed` does.
    """
    key_file = keys / f"{worker}.key"
    if not is_beginning(keys, worker) or not key_file.exists():
        return False
    if before.keys[0] != SigningKey.of_seed(before.origin, load_secret(key_file)).verifier:
        return False
    if before.origin.rpartition("/")[2] != origin_name(keys, worker):
        return False
    _begin(logs, keys, worker, before.origin, _further_keys(keys, worker, before.origin, before.keys))
    return True


def is_beginning(keys: Path, worker: str) -> bool:
    """Tell whether a worker's log is to begin with an entry that is written down already."""
    found = _read_beginning(keys, worker)
    return found is not None and found[0] == origin_name(keys, worker)


def record_beginning(keys: Path, worker: str, log: DurableLog) -> None:
    """Let a new log begin with the entry that is written down for it, if one is. Raises `AuditUnavailable`, OSError."""
    found = _read_beginning(keys, worker)
    if found is None or found[0] != log.origin.rpartition("/")[2]:
        return
    if log.size == 0:
        log.wait(log.append(found[1]))
    (keys / f"{worker}{_BEGINNING}").unlink()
    sync_folder(keys)


def _further_keys(keys: Path, worker: str, origin: str, before: Sequence[VerifierKey]) -> Sequence[SigningKey]:
    """Return the keys that sign a new log beside its Ed25519 key: of the kinds that the one before had."""
    if not has_ml_dsa() or all(key.kind is not SignatureKind.ML_DSA_44 for key in before):
        return ()
    seed = load_or_create_secret(keys / f"{worker}.ml-dsa-44.key")
    return (SigningKey.of_seed(origin, seed, SignatureKind.ML_DSA_44),)


def _begin(logs: Path, keys: Path, worker: str, origin: str, further: Sequence[SigningKey]) -> None:
    key_file = keys / f"{worker}.key"
    log = DurableLog.open(logs / worker, origin=origin, key_file=key_file, interval=None, further_keys=further)
    try:
        record_beginning(keys, worker, log)
    finally:
        log.close()


def _index(logs: Path, keys: Path) -> NodeIndex | None:
    key_file = keys / NODE_KEY
    if not key_file.exists():
        return None
    path = logs / INDEX_PATH
    try:
        node = read_file(path).partition(b"\n")[0].decode("utf-8", "replace")
    except FileNotFoundError:
        raise ConfigurationError(
            [f"{path}: the signed index of the logs is gone"], advice="Start kmsgwd, which says what to do about it."
        ) from None
    # The name is believed as far as the signature bears it out.
    return read_index(logs, SigningKey.of_seed(node, load_secret(key_file)).verifier)


def _succeeded(index: NodeIndex, before: Predecessor, new: IndexedLog) -> NodeIndex:
    logs = {log.folder: log for log in index.logs if log.origin not in (before.origin, new.origin)}
    lost = [each for each in index.lost if each.origin != before.origin]
    if before.folder:
        logs[before.folder] = IndexedLog(before.folder, before.origin, tuple(before.keys))
    else:
        lost.append(before.lost)
    logs[new.folder] = new
    return replace(index, number=index.number + 1, logs=tuple(logs[name] for name in sorted(logs)), lost=tuple(lost))


def _entry(before: Predecessor, *, reason: str, who: str, now: datetime, earlier: str) -> bytes:
    change: dict[str, object] = {
        "reason": reason,
        "by": who,
        "before": before.origin,
        "folder": before.folder,
        "lost": not before.folder,
        "known": [
            {
                "memory": each.memory,
                "size": each.checkpoint.size,
                "root": b64encode(each.checkpoint.root).decode(),
            }
            for each in before.known
        ],
    }
    if before.left:
        change["left"] = list(before.left)
    if earlier:
        change["set_aside"] = earlier
    note = f"this log takes the place of one that {'was set aside' if before.folder else 'is lost'}"
    return AuditRecord(now, "", None, BEGIN_METHOD, Outcome.OK, "OK", note=note, change=change).encode()


def _write_beginning(keys: Path, worker: str, name: str, entry: bytes) -> None:
    raw = json.dumps({"name": name, "entry": entry.decode()}).encode() + b"\n"
    write_file(keys / f"{worker}{_BEGINNING}", raw, _MODE)
    sync_folder(keys)


def _read_beginning(keys: Path, worker: str) -> tuple[str, bytes] | None:
    path = keys / f"{worker}{_BEGINNING}"
    try:
        found = json.loads(read_file(path))
        return str(found["name"]), str(found["entry"]).encode()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(
            [f"{path}: the first entry of the new log can't be read"],
            advice=f"Remove it and run the command again that began the log of {worker} anew.",
        ) from None
