"""ListLogs, GetCheckpoint, GetInclusionProof, GetConsistencyProof: what shows that the log is what it was."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kmsgw.errors import NotFound
from kmsgw.model.access import Action
from kmsgw.operations.control.audit_entries import LogHead, ReadEntry, Sight, head_of
from kmsgw.operations.control.audit_ports import AuditLogs, FoundLog
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Access, Grant
from kmsgw.tlog.cosigned_proof import CosignedCheckpoint, newest_covering
from kmsgw.tlog.entry import LoggedEntry


@dataclass(frozen=True, slots=True)
class ListLogsCommand:
    """List the logs of this node."""


@dataclass(frozen=True, slots=True)
class GetCheckpointCommand:
    """Show the newest checkpoint of the log of an origin."""

    log: str


@dataclass(frozen=True, slots=True)
class GetInclusionProofCommand:
    """Prove the entry `index` of a log."""

    log: str
    index: int


@dataclass(frozen=True, slots=True)
class GetConsistencyProofCommand:
    """Prove that a log begins with its first `old_size` entries."""

    log: str
    old_size: int


@dataclass(frozen=True, slots=True)
class ProvenEntry:
    """An entry with its proof, and the checkpoint that this leads to."""

    entry: ReadEntry
    head: LogHead


@dataclass(frozen=True, slots=True)
class ProvenGrowth:
    """A consistency proof, and the checkpoint that it leads to."""

    proof: tuple[bytes, ...]
    head: LogHead


class _Reading:
    """What these verbs have in common."""

    changes_state: ClassVar[bool] = False

    def __init__(self, logs: AuditLogs) -> None:
        self._logs = logs

    def accesses(self, command: object) -> Sequence[Access]:  # noqa: ARG002
        """Wants to read the audit log."""
        return (Access(Action.READ_AUDIT_LOG),)

    def _log(self, origin: str) -> FoundLog:
        for log in self._logs.find():
            if log.verifier.name == origin:
                return log
        raise NotFound("This node has no such log.", advice="Ask ListLogs which there are.")


class ListLogs(_Reading):
    """The verb."""

    def run(self, command: ListLogsCommand, grant: Grant) -> Sequence[LogHead]:  # noqa: ARG002
        """Return the newest checkpoint of each log, by origin. Raises `AuditDamaged` and `Overloaded`."""
        with self._logs.look():
            return [head_of(log.reader(), str(log.verifier)) for log in self._logs.find()]


class GetCheckpoint(_Reading):
    """The verb."""

    def run(self, command: GetCheckpointCommand, grant: Grant) -> LogHead:  # noqa: ARG002
        """Return it. Raises `NotFound`, `AuditDamaged` and `Overloaded`."""
        with self._logs.look():
            log = self._log(command.log)
            return head_of(log.reader(), str(log.verifier))


class GetInclusionProof(_Reading):
    """The verb."""

    def __init__(self, logs: AuditLogs, keyring: Keyring) -> None:
        super().__init__(logs)
        self._keyring = keyring

    def run(self, command: GetInclusionProofCommand, grant: Grant) -> ProvenEntry:
        """Return entry and proof. Raises `NotFound`, `AuditDamaged`, `Overloaded` and `StateUnavailable`.

        The proof leads to the newest cosigned checkpoint that covers the entry, and to the newest where there is none.
        An entry that the caller may not see, one that was pruned, and one that there is not are answered alike.
        """
        with self._logs.look():
            log = self._log(command.log)
            cosigned = log.cosigned()
            reader = log.reader()
            sight = Sight(grant.principal.tenant, self._keyring)
            if 0 <= command.index < reader.size:
                for index, raw in reader.entries(command.index, command.index + 1):
                    if sight.sees(LoggedEntry.parse(reader.origin, index, raw)):
                        chosen = newest_covering(reader, cosigned, index + 1)
                        head = head_of(reader) if chosen is None else _head_of(chosen)
                        entry = ReadEntry(reader.origin, index, raw, tuple(reader.inclusion(index, head.size)))
                        return ProvenEntry(entry, head)
        raise NotFound("There is no such entry to be seen.", advice="Take log and index from ListEntries.")


def _head_of(cosigned: CosignedCheckpoint) -> LogHead:
    return LogHead(cosigned.checkpoint.origin, cosigned.checkpoint.size, cosigned.raw)


class GetConsistencyProof(_Reading):
    """The verb."""

    def run(self, command: GetConsistencyProofCommand, grant: Grant) -> ProvenGrowth:  # noqa: ARG002
        """Return the proof. Raises `NotFound`, `InvalidRequest` outside 1 to the log's size, and as the others."""
        with self._logs.look():
            reader = self._log(command.log).reader()
            return ProvenGrowth(tuple(reader.consistency(command.old_size)), head_of(reader))
