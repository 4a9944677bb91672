"""The signed indexes of the nodes whose logs are read: which logs must be there, and which are known to be lost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kmsgw.cli.audit_index_entries import IndexesTold, known_index
from kmsgw.cli.audit_witnessed import listing_faults, read_index, require_all_signatures
from kmsgw.cli.failure import CommandError
from kmsgw.cli.invocation import Invocation
from kmsgw.cli.log_folder import LogFolder, node_folders
from kmsgw.durable_files import read_beginning
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


@dataclass(frozen=True, slots=True)
class Listing:
    """What the signed indexes of nodes demand of the logs in some folders. ``keys`` are those given for indexes."""

    nodes: Sequence[Node]
    keys: Sequence[VerifierKey]

    @classmethod
    def of(cls, folders: Sequence[Path], keys: Sequence[VerifierKey]) -> "Listing":
        """Read the indexes of the folders."""
        return cls(read_nodes(folders, keys), keys)

    def with_keys(self, logs: Sequence[LogFolder]) -> list[LogFolder]:
        """Return the logs, each with the key that an index lists for it, where a key was given for that index."""
        listed = {
            (node.folder, log.origin): log.keys[0]
            for node in self.nodes
            if node.index is not None and node.key is not None
            for log in node.index.logs
        }
        return [
            log
            if (key := listed.get((log.path.parent, log.verifier.name))) is None
            # By the key that is vouched for, whatever lies beside the log.
            else replace(log, verifier=key, key_given=True)
            for log in logs
        ]

    def faults(self, logs: Sequence[LogFolder]) -> Sequence[str]:
        """Return in sentences what the indexes miss of the logs that were found, and which index is missing itself."""
        found = [_sentence(node, faults) for node in self.nodes if (faults := node.faults(logs))]
        used = {node.key for node in self.nodes}
        return found + [
            f"There is no signed index of {key.name}, whose key is given." for key in self.keys if str(key) not in used
        ]

    def lost(self, logs: Sequence[LogFolder]) -> Sequence[LostLog]:
        """Return the logs that the indexes say are lost; none of those that are there after all."""
        return [each for node in self.nodes for each in node.lost(logs)]

    def contradictions(self, logs: Sequence[LogFolder], told: Mapping[Path, IndexesTold]) -> Sequence[str]:
        """Return in sentences what contradicts its index in logs that verified.

        That is a signature that a checkpoint lacks, or a newer index that a log tells of: `told` has listened to the
        logs while they were verified.
        """
        found: list[str] = []
        for node in self.nodes:
            if node.index is None:
                continue
            known = known_index(node.folder, node.key, node.index)
            for log in logs:
                if log.path.parent == node.folder:
                    try:
                        require_all_signatures(log, node.index)
                        told[log.path].require(known)
                    except AuditDamaged as error:
                        found.append(f"{log.name}: {error.message}")
        return found


def read_nodes(folders: Sequence[Path], keys: Sequence[VerifierKey] = ()) -> list[Node]:
    """Return the nodes whose logs some folders hold. Without `keys` each index is read with the key beside it.

    Folders that are a log themselves are of no node: who names one log wants that one.
    """
    return [_read(folder, keys) for folder in node_folders(folders)]


def tell_missing(invocation: Invocation, folders: Sequence[Path], logs: Sequence[LogFolder]) -> None:
    """Say on standard error which logs of signed indexes are missing: nothing of them is shown."""
    for node in read_nodes(folders):
        if faults := node.faults(logs):
            invocation.note(_sentence(node, faults))


def lost_logs(invocation: Invocation, folders: Sequence[Path], logs: Sequence[LogFolder]) -> Sequence[str]:
    """Return the origins of logs that are lost, as signed indexes say, and tell them on standard error."""
    lost = [each for node in read_nodes(folders) for each in node.lost(logs)]
    for each in lost:
        invocation.note(f"{each.origin} is lost, as its node's index says: of its {each.size} entries none is shown.")
    return [each.origin for each in lost]


def _sentence(node: Node, faults: Sequence[str]) -> str:
    if node.index is None:
        return f"The signed index of {node.folder} can't be relied on: {'; '.join(faults)}."
    return f"{node.folder} does not hold the logs of its signed index: {', '.join(faults)}."


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
    # Only to choose the key.
    claimed = read_beginning(folder / INDEX_PATH, 1024).partition(b"\n")[0].decode("utf-8", "replace")
    for key in keys:
        if key.name == claimed:
            return key
    raise CommandError(f"no key is given for the signed index of {claimed!r}", "Give its --index-key.")
