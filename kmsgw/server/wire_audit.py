"""AuditService: from the wire to commands, and from results to the wire."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.errors import InvalidRequest
from kmsgw.operations.catalogue import AuditOperations
from kmsgw.operations.control.audit_entries import (
    EntryPage,
    ListEntriesCommand,
    LogHead,
    ReadEntry,
    WantedEntries,
)
from kmsgw.operations.control.audit_proofs import (
    GetCheckpointCommand,
    GetConsistencyProofCommand,
    GetInclusionProofCommand,
    ListLogsCommand,
    ProvenEntry,
    ProvenGrowth,
)
from kmsgw.operations.control.audit_watch import WatchedEntries, WatchEntriesCommand
from kmsgw.operations.control.key_views import check_page_size
from kmsgw.operations.verb import Operation
from kmsgw.tlog.search import EntryFilter
from kmsgw.v1 import audit_service_pb2 as pb

_Read: TypeAlias = Callable[[Any], Any]
_Write: TypeAlias = Callable[[Any], Message]

_MAX_TEXT: Final = 256
_MAX_TOKEN: Final = 32 * 1024
_MOST_LOGS: Final = 1024
_ALIAS: Final = "alias/"
_OUTCOMES: Final[Mapping[pb.EntryOutcome, str]] = {
    pb.ENTRY_OUTCOME_UNSPECIFIED: "",
    pb.ENTRY_OUTCOME_OK: "ok",
    pb.ENTRY_OUTCOME_REFUSED: "refused",
    pb.ENTRY_OUTCOME_FAILED: "failed",
}


def audit_rows(audit: AuditOperations) -> Sequence[tuple[str, _Read, Operation[Any, Any], _Write]]:
    """Return the rows of the table of RPCs (`kmsgw.server.rpcs`) whose answer is one message."""
    return (
        ("ListLogs", list_logs_command, audit.list_logs, list_logs_response),
        ("ListEntries", list_entries_command, audit.list_entries, list_entries_response),
        ("GetCheckpoint", get_checkpoint_command, audit.get_checkpoint, get_checkpoint_response),
        (
            "GetInclusionProof",
            get_inclusion_proof_command,
            audit.get_inclusion_proof,
            get_inclusion_proof_response,
        ),
        (
            "GetConsistencyProof",
            get_consistency_proof_command,
            audit.get_consistency_proof,
            get_consistency_proof_response,
        ),
    )


def list_logs_command(request: pb.ListLogsRequest) -> ListLogsCommand:  # noqa: ARG001  it is empty
    """Read a ListLogs request."""
    return ListLogsCommand()


def list_logs_response(result: Sequence[LogHead]) -> pb.ListLogsResponse:
    """Write a ListLogs response."""
    return pb.ListLogsResponse(logs=map(_head, result))


def list_entries_command(request: pb.ListEntriesRequest) -> ListEntriesCommand:
    """Read a ListEntries request; its page token holds where to go on in each log."""
    return ListEntriesCommand(
        _wanted(request.filter),
        request.with_proofs,
        check_page_size(request.page_size),
        _positions_of(request.page_token) if request.page_token else {},
    )


def list_entries_response(result: EntryPage) -> pb.ListEntriesResponse:
    """Write a ListEntries response."""
    return pb.ListEntriesResponse(
        entries=map(_entry, result.entries),
        checkpoints=map(_head, result.heads),
        next_page_token=_token(result.positions) if result.positions else "",
    )


def watch_entries_command(request: pb.WatchEntriesRequest) -> WatchEntriesCommand:
    """Read a WatchEntries request."""
    if len(request.positions) > _MOST_LOGS:
        raise InvalidRequest("There are too many positions.", advice=f"Give those of at most {_MOST_LOGS} logs.")
    positions = {each.log: each.next_index for each in request.positions}
    if any(index < 0 for index in positions.values()):
        raise InvalidRequest("A position is below 0.", advice="Give positions back as they were answered.")
    return WatchEntriesCommand(_wanted(request.filter), request.with_proofs, positions)


def watch_entries_response(result: WatchedEntries) -> pb.WatchEntriesResponse:
    """Write one message of WatchEntries."""
    return pb.WatchEntriesResponse(
        entries=map(_entry, result.entries),
        checkpoints=map(_head, result.heads),
        positions=[pb.LogPosition(log=log, next_index=index) for log, index in result.positions.items()],
    )


def get_checkpoint_command(request: pb.GetCheckpointRequest) -> GetCheckpointCommand:
    """Read a GetCheckpoint request."""
    return GetCheckpointCommand(_text(request.log, "log"))


def get_checkpoint_response(result: LogHead) -> pb.GetCheckpointResponse:
    """Write a GetCheckpoint response."""
    return pb.GetCheckpointResponse(checkpoint=_head(result))


def get_inclusion_proof_command(request: pb.GetInclusionProofRequest) -> GetInclusionProofCommand:
    """Read a GetInclusionProof request."""
    return GetInclusionProofCommand(_text(request.log, "log"), request.index)


def get_inclusion_proof_response(result: ProvenEntry) -> pb.GetInclusionProofResponse:
    """Write a GetInclusionProof response."""
    return pb.GetInclusionProofResponse(entry=_entry(result.entry), checkpoint=_head(result.head))


def get_consistency_proof_command(request: pb.GetConsistencyProofRequest) -> GetConsistencyProofCommand:
    """Read a GetConsistencyProof request."""
    return GetConsistencyProofCommand(_text(request.log, "log"), request.old_size)


def get_consistency_proof_response(result: ProvenGrowth) -> pb.GetConsistencyProofResponse:
    """Write a GetConsistencyProof response."""
    return pb.GetConsistencyProofResponse(proof_hashes=result.proof, checkpoint=_head(result.head))


def _wanted(asked: pb.EntryFilter) -> WantedEntries:
    if asked.outcome not in _OUTCOMES:
        raise InvalidRequest("outcome is unknown.", advice="Give one of those that there are, or none.")
    key = _text(asked.key, "key")
    is_alias = key.startswith(_ALIAS)
    return WantedEntries(
        EntryFilter(
            since=_time(asked.start_time, "start_time") if asked.HasField("start_time") else None,
            until=_time(asked.end_time, "end_time") if asked.HasField("end_time") else None,
            principal=_text(asked.principal_id, "principal_id"),
            key_id="" if is_alias else key,
            outcome=_OUTCOMES[asked.outcome],
            method=_text(asked.method, "method"),
            request_id=_text(asked.request_id, "request_id"),
        ),
        key if is_alias else "",
        _text(asked.log, "log"),
    )


def _text(value: str, name: str) -> str:
    if len(value) > _MAX_TEXT:
        raise InvalidRequest(f"{name} is longer than {_MAX_TEXT} characters.", advice="Give it as the log has it.")
    return value


def _time(value: Timestamp, name: str) -> datetime:
    try:
        return value.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidRequest(f"{name} is no time.", advice="Give a time between the years 1 and 9999.") from None


def _token(positions: Mapping[str, int]) -> str:
    return base64.urlsafe_b64encode(json.dumps(positions, separators=(",", ":")).encode()).decode()


def _positions_of(token: str) -> Mapping[str, int]:
    """Return where to go on in each log. A forged token shows its caller nothing that it may not see anyway."""
    try:
        read = json.loads(base64.urlsafe_b64decode(token[:_MAX_TOKEN].encode("ascii")))
    except (ValueError, binascii.Error, RecursionError):
        read = None
    if not isinstance(read, dict) or not all(_is_index(each) for each in read.values()):
        raise InvalidRequest("page_token is malformed.", advice="Give next_page_token back as it was answered.")
    return read


def _is_index(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _entry(entry: ReadEntry) -> pb.AuditEntry:
    return pb.AuditEntry(log=entry.log, index=entry.index, entry=entry.raw, proof_hashes=entry.proof)


def _head(head: LogHead) -> pb.LogCheckpoint:
    return pb.LogCheckpoint(log=head.log, size=head.size, checkpoint=head.checkpoint, verifier_key=head.verifier_key)
