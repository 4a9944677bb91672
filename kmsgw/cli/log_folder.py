"""Audit logs on this machine: which folders hold one, and which verifier key each must be read with."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import click

from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.log_files import is_there, key_beside, read_log_file
from kmsgw.durable_files import read_beginning, read_file
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.cosigned_proof import cosigned_paths
from kmsgw.tlog.node_index import INDEX_KEY_PATH, INDEX_PATH
from kmsgw.tlog.note import NOTE_LIMIT, VerifierKey
from kmsgw.tlog.reader import LogReader
from kmsgw.tlog.schemes import SignatureKind
from kmsgw.tlog.tiles import CHECKPOINT_PATH, VERIFIER_KEY_PATH

_SIGNS = (CHECKPOINT_PATH, VERIFIER_KEY_PATH, "tile")
_DEPTH = 3  # a folder of sites, of nodes, of logs

Function = TypeVar("Function", bound=Callable[..., None])


def folder_argument(function: Function) -> Function:
    """Add the argument FOLDER."""
    return click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))(function)


def folders_argument(function: Function) -> Function:
    """Add the arguments FOLDER...: logs, or folders that hold some, of one node or of several."""
    return click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))(
        function
    )


def key_option(function: Function) -> Function:
    """Add --verifier-key."""
    return click.option(
        "--verifier-key",
        "verifier_keys",
        multiple=True,
        metavar="FILE|TEXT",
        help="Verifier key, or a file with one a line; repeat it. Default: verifier.key of each log.",
    )(function)


@dataclass(frozen=True, slots=True)
class LogFolder:
    """A log and the key to read it with. ``key_given`` tells that the key came another way than the log."""

    name: str
    path: Path
    verifier: VerifierKey
    key_given: bool

    def fetch(self, path: str) -> bytes:
        """Return a file of the log. Raises as `read_log_file` does."""
        return read_log_file(self.path / path, path)

    @property
    def cosigned(self) -> Sequence[str]:
        """The paths, relative to the log, of the newest checkpoints that witnesses cosigned: at most 64 of them."""
        return cosigned_paths(self.path)


def read_verifier_keys(texts: Sequence[str]) -> dict[str, VerifierKey]:
    """Return the keys of --verifier-key by the origin that they are for; of several for one, that of Ed25519.

    Raises what `verifier_keys_of` raises.
    """
    keys: dict[str, VerifierKey] = {}
    for key in verifier_keys_of(texts):
        if key.kind is SignatureKind.ED25519 or key.name not in keys:
            keys[key.name] = key
    return keys


def verifier_keys_of(texts: Sequence[str]) -> list[VerifierKey]:
    """Return keys, whose each text is one or a file with one a line.

    Raises `CommandError` where a file can't be read or holds no key, and `AuditDamaged` where a key is malformed.
    """
    keys: list[VerifierKey] = []
    for text in texts:
        lines = [text]
        if "+" not in text or Path(text).exists():
            try:
                lines = [line for line in Path(text).read_text(encoding="utf-8").splitlines() if line.strip()]
            except (OSError, UnicodeDecodeError):
                raise CommandError(
                    f"{text}: not a verifier key, and no file of verifier keys.",
                    "Give --verifier-key as name+hex+base64, or a file with one a line.",
                ) from None
        if not lines:  # or what is demanded of nobody would count as shown
            raise CommandError(f"{text}: no verifier key is in the file.", "Give a file with one a line.")
        keys += [VerifierKey.parse(line.strip()) for line in lines]
    return keys


def index_key_of(folder: Path, given: str | None) -> VerifierKey:
    """Return the key of the node's index in a folder: --index-key where that is `given`, else the one that lies there.

    Raises `CommandError` where it is not one key, and `AuditDamaged` where it is malformed.
    """
    if given is not None:
        keys = verifier_keys_of([given])
    else:
        path = folder / INDEX_KEY_PATH
        try:
            lines = read_file(path, NOTE_LIMIT).decode().splitlines()
        except (OSError, UnicodeDecodeError):
            raise CommandError(f"{path}: the key of the signed index can't be read.", "Give --index-key.") from None
        keys = [VerifierKey.parse(line.strip()) for line in lines if line.strip()]
    if len(keys) != 1:
        raise CommandError("--index-key must be one key.", "Give the node's key, as index.key has it.")
    return keys[0]


def find_logs(folder: Path, given: Mapping[str, VerifierKey]) -> list[LogFolder]:
    """Return the logs that `folder` is or holds, by name.

    With keys given, every log must have its key and, where `folder` holds logs, every key its log: a log that was taken
    away whole is noticed.
    Raises `CommandError`.
    """
    return _find((folder,), given)


def find_all_logs(folders: Sequence[Path], given: Mapping[str, VerifierKey]) -> list[LogFolder]:
    """Return the logs of several folders, such as one a node, to be read together; for the rest as `find_logs`.

    Where logs of different folders have one name, each is called by its folders too, as many as tell it apart. A log
    that is there twice, as with a copy of it, is refused: its entries would be told twice.
    """
    found = _find(folders, given)
    _require_different(found)
    return found


def node_folders(folders: Sequence[Path]) -> list[Path]:
    """Return the folders with the signed index of a node, of these and those in them; of logs themselves none."""
    return [found for folder in dict.fromkeys(folders) for found in _nodes_below(folder, _DEPTH)]


def _nodes_below(folder: Path, depth: int) -> list[Path]:
    if is_there(folder / INDEX_PATH):
        return [] if _is_log(folder) else [folder]
    below = _folders_in(folder) if folder.is_dir() else []
    # As with logs: beside those of a node there is no other node.
    if depth == 1 or _is_log(folder) or any(map(_is_log, below)):
        return []
    return [found for each in below for found in _nodes_below(each, depth - 1)]


def _find(folders: Sequence[Path], given: Mapping[str, VerifierKey]) -> list[LogFolder]:
    found = [_open(path, folder, given) for folder in folders for path in _log_paths(folder)]
    # Who names one log wants that one, and may have the keys of all in one file.
    single = len(folders) == 1 and [log.path for log in found] == [folders[0]]
    missing = [] if single else sorted(set(given) - {log.verifier.name for log in found})
    if missing:
        raise CommandError(
            f"{', '.join(map(str, folders))} has no log of {', '.join(missing)}, whose verifier key is given.",
            "Find out where the log went, or leave its key out.",
            ExitCode.UNVERIFIED,
        )
    return _with_names_apart(found)


def open_readers(logs: Sequence[LogFolder]) -> list[LogReader]:
    """Return a reader for each log that has read its checkpoint. Raises `AuditDamaged`."""
    readers: list[LogReader] = []
    for log in logs:
        reader = LogReader(log.fetch)
        try:
            reader.checkpoint(log.verifier)
        except AuditDamaged:
            # Its worker may have been replacing tiles meanwhile. What is really damaged is so again.
            reader.checkpoint(log.verifier)
        readers.append(reader)
    return readers


def _require_different(logs: Sequence[LogFolder]) -> None:
    seen: dict[str, Path] = {}
    for log in logs:
        other = seen.setdefault(log.verifier.name, log.path)
        if other is not log.path:
            raise CommandError(
                f"{other} and {log.path} hold the same log, {log.verifier.name}.",
                "Name one of the two folders, or move the copy elsewhere.",
            )


def _with_names_apart(logs: Sequence[LogFolder]) -> list[LogFolder]:
    """Call logs of one name by as much of their paths as tells them apart: node1/worker-0, or a/audit/worker-0."""
    alike: defaultdict[str, list[LogFolder]] = defaultdict(list)
    for log in logs:
        alike[log.name].append(log)
    names: dict[Path, str] = {}
    for name, group in alike.items():
        holders = {log.path: log.path.resolve().parent.parts[1:] for log in group}
        depth = 0 if len(group) == 1 else 1
        # Where the paths are the same to their ends, it is one log named twice: told by whoever must have it once.
        while depth < max(map(len, holders.values())) and len({each[-depth:] for each in holders.values()}) < len(
            group
        ):
            depth += 1
        names |= {path: "/".join([*(parts[-depth:] if depth else ()), name]) for path, parts in holders.items()}
    return [replace(log, name=names[log.path]) for log in logs]


def _log_paths(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise CommandError(f"{folder}: not a folder.", "Give the folder of an audit log, or one that holds several.")
    if _is_log(folder):
        return [folder]
    found = _logs_below(folder, _DEPTH)
    if not found and is_there(folder / INDEX_PATH):
        raise CommandError(
            f"{folder} does not hold the logs of its signed index: all of them are missing.",
            "Find out where they went.",
            ExitCode.UNVERIFIED,
        )
    if not found:
        raise CommandError(
            f"{folder} is no audit log and holds none.", "Give the folder that [audit] folder names, or one below it."
        )
    return found


def _logs_below(folder: Path, depth: int) -> list[Path]:
    """Return the logs in a folder; where there are none, those in its folders. A node's logs lie beside each other."""
    folders = _folders_in(folder)
    found = [path for path in folders if _is_log(path)]
    if found or depth == 1:
        return found
    return [log for path in folders for log in _logs_below(path, depth - 1)]


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _is_log(path: Path) -> bool:
    # Any of these marks a log, so that a deleted checkpoint is a fault and not a log fewer (threat 13).
    return any((path / sign).exists() for sign in _SIGNS)


def _open(path: Path, folder: Path, given: Mapping[str, VerifierKey]) -> LogFolder:
    name = path.name if path != folder else path.resolve().name
    if not given:
        return LogFolder(name, path, key_beside(path), key_given=False)
    if len(given) == 1 and path == folder:
        return LogFolder(name, path, next(iter(given.values())), key_given=True)
    origin = _claimed_origin(path)
    if origin not in given:
        raise CommandError(
            f"{path}: no verifier key is given for its origin {origin!r}.",
            "Give one --verifier-key for each log, or check one log alone.",
            ExitCode.UNVERIFIED,
        )
    return LogFolder(name, path, given[origin], key_given=True)


def _claimed_origin(path: Path) -> str:
    """Return the first line of the checkpoint; only to choose the key, which then says whether it is true."""
    try:
        raw = read_beginning(path / CHECKPOINT_PATH, NOTE_LIMIT)
        return raw.split(b"\n", 1)[0].decode("utf-8", "replace")
    except OSError as error:
        raise CommandError(
            f"{path / CHECKPOINT_PATH}: {error.strerror}.",
            "A log has a checkpoint from its first second: find out who removed it.",
            ExitCode.UNVERIFIED,
        ) from None
