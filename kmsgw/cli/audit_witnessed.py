"""What `kmsgw audit verify` demands beyond a log itself: that it is one of the node's signed index."""

from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

from kmsgw.cli.failure import CommandError, ExitCode
from kmsgw.cli.log_files import is_there, read_log_file
from kmsgw.cli.log_folder import LogFolder, index_key_of
from kmsgw.cli.output import Record
from kmsgw.tlog.node_index import INDEX_LIMIT, INDEX_PATH, NodeIndex
from kmsgw.tlog.note import Note
from kmsgw.tlog.tiles import CHECKPOINT_PATH


def read_index(folder: Path, given: str | None) -> NodeIndex | None:
    """Return the signed index of a folder of logs; None where there is none and no key of it is given.

    Raises `CommandError` where one must be there, and `AuditDamaged` where it is not as the node signed it.
    """
    path = folder / INDEX_PATH
    if not is_there(path):
        if given is not None:
            raise CommandError(
                f"{folder} has no signed index, whose key is given.", "Find out where it went.", ExitCode.UNVERIFIED
            )
        return None
    return NodeIndex.open(read_log_file(path, str(path), INDEX_LIMIT), index_key_of(folder, given), str(path))


def require_listed(folder: Path, logs: Sequence[LogFolder], index: NodeIndex) -> None:
    """Raise `CommandError` unless the logs in a folder are those of its index: none is missing, none unlisted."""
    faults = listing_faults(folder, logs, index)
    if faults:
        raise CommandError(
            f"{folder} does not hold the logs of its signed index: {', '.join(faults)}.",
            "Find out where a log went, or who put one there.",
            ExitCode.UNVERIFIED,
        )


def listing_faults(folder: Path, logs: Sequence[LogFolder], index: NodeIndex) -> Sequence[str]:
    """Return which logs in a folder are not as its index lists them: those that are missing, and those not listed.

    Compared are origins: a mirror has other names for folders than the node. One that was said to be lost may be there.
    """
    found = {log.verifier.name: log.path.name for log in logs if log.path.parent == folder}
    listed = {log.origin: log.folder for log in index.logs}
    known = {*listed, *(gone.origin for gone in index.lost)}
    faults = [f"{listed[origin]} is missing" for origin in sorted(listed.keys() - found.keys())]
    return faults + [f"{found[origin]} is not listed" for origin in sorted(found.keys() - known)]


def lost_records(logs: Sequence[LogFolder], index: NodeIndex) -> list[Record]:
    """Return what to show of the logs that are lost, as the index says; none of one that is there after all."""
    found = {log.verifier.name for log in logs}
    return [
        {
            "log": each.origin.rpartition("/")[2],
            "origin": each.origin,
            "result": "lost",
            "size": each.size,
            "root": b64encode(each.root).decode(),
            "finding": f"It had {each.size} entries at least. The first entry of the log after it says why it is lost.",
        }
        for each in index.lost
        if each.origin not in found
    ]


def require_all_signatures(log: LogFolder, index: NodeIndex) -> None:
    """Raise `AuditDamaged` unless the checkpoint is signed with every key that the index lists: ML-DSA-44 too."""
    note = Note.parse(log.fetch(CHECKPOINT_PATH), CHECKPOINT_PATH)
    for listed in index.logs:
        if listed.origin == log.verifier.name:
            for key in listed.keys:
                note.require_signature(key, CHECKPOINT_PATH)
