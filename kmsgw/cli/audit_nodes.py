"""The signed indexes of the nodes whose logs are read: which logs must be there, and which are known to be lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kmsgw.cli.audit_witnessed import listing_faults, read_index
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation
from kmsgw.cli.log_folder import LogFolder, node_folders
from kmsgw.errors import AuditDamaged
from kmsgw.tlog.node_index import INDEX_PATH, LostLog, NodeIndex
from kmsgw.tlog.note import VerifierKey


@dataclass(frozen=True, slots=True)
class Node:
    """A folder with the signed index of a node. Where that is not as the node signed it, ``fault`` says why.

    ``key`` is the text of the key that was given for it, if one was.
    """

    folder: Path
    key: str | None = None
    index: NodeIndex | None = None
    fault: str = ""

    def faults(self, logs: Sequence[LogFolder]) -> Sequence[str]:
        """Return what is wrong with the logs that were found, by the index: missing ones, and unlisted ones."""
        return (self.fault,) if self.index is None else listing_faults(self.folder, logs, self.index)

    def lost(self, logs: Sequence[LogFolder]) -> Sequence[LostLog]:
        """Return the logs that the index says are lost; none of those that are there after all."""
        found = {log.verifier.name for log in logs}
        return () if self.index is None else [each for each in self.index.lost if each.origin not in found]


def read_nodes(folders: Sequence[Path], keys: Sequence[VerifierKey] = ()) -> list[Node]:
    """Return the nodes whose logs some folders hold. Without `keys` each index is read with the key beside it.

    Folders that are a log themselves are of no node: who names one log wants that one.
    """
    return [_read(folder, keys) for folder in node_folders(folders)]


def tell_missing(invocation: Invocation, folders: Sequence[Path], logs: Sequence[LogFolder]) -> None:
    """Say on standard error which logs of signed indexes are missing: nothing of them is shown."""
    for node in read_nodes(folders):
        for fault in node.faults(logs):
            invocation.note(f"{node.folder} does not hold the logs of its signed index: {fault}.")


def lost_logs(invocation: Invocation, folders: Sequence[Path], logs: Sequence[LogFolder]) -> Sequence[str]:
    """Return the origins of logs that are lost, as signed indexes say, and tell them on standard error."""
    lost = [each for node in read_nodes(folders) for each in node.lost(logs)]
    for each in lost:
        invocation.note(f"{each.origin} is lost, as its node's index says: of its {each.size} entries none is shown.")
    return [each.origin for each in lost]


def _read(folder: Path, keys: Sequence[VerifierKey]) -> Node:
    key: str | None = None
    try:
        if keys:
            key = str(_key_of(folder, keys))
        return Node(folder, key, read_index(folder, key))
    except (AuditDamaged, CommandError) as error:
        return Node(folder, key, fault=error.message.removesuffix("."))
    except OSError as error:
        return Node(folder, key, fault=f"{folder / INDEX_PATH}: {error.strerror}")


def _key_of(folder: Path, keys: Sequence[VerifierKey]) -> VerifierKey:
    with (folder / INDEX_PATH).open("rb") as file:
        claimed = file.readline(1024).decode("utf-8", "replace").rstrip("\n")  # only to choose the key
    for key in keys:
        if key.name == claimed:
            return key
    raise CommandError(f"no key is given for the signed index of {claimed!r}", "Give its --index-key.")
