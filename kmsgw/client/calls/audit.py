"""The verbs of AuditService. `timeout` bounds a call in seconds over all attempts.

With verifier keys what the gateway answers need not be believed: every entry is proven to be in a tree that a worker
signed. Take the keys from a place that the gateway can't change (docs/audit-proofs.md).
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.client.audit_results import AuditEntry, AuditGrowth, AuditLogInfo
from kmsgw.client.calls.call import Answer, Call, Page, method_path
from kmsgw.errors import InvalidRequest
from kmsgw.v1 import audit_service_pb2 as wire

if TYPE_CHECKING:
    from kmsgw.tlog.note import VerifierKey

_SERVICE = wire.DESCRIPTOR.services_by_name["AuditService"]
_LIST_LOGS = method_path(_SERVICE, "ListLogs")
_LIST_ENTRIES = method_path(_SERVICE, "ListEntries")
_WATCH_ENTRIES = method_path(_SERVICE, "WatchEntries")
_GET_CHECKPOINT = method_path(_SERVICE, "GetCheckpoint")
_GET_INCLUSION_PROOF = method_path(_SERVICE, "GetInclusionProof")
_GET_CONSISTENCY_PROOF = method_path(_SERVICE, "GetConsistencyProof")

_OUTCOMES: Final = {
    "": wire.ENTRY_OUTCOME_UNSPECIFIED,
    "ok": wire.ENTRY_OUTCOME_OK,
    "refused": wire.ENTRY_OUTCOME_REFUSED,
    "failed": wire.ENTRY_OUTCOME_FAILED,
}


def list_logs(*, timeout: float | None = None) -> Call[tuple[AuditLogInfo, ...]]:
    """Return the audit logs of the node that answers, one a worker, with their newest checkpoints, not verified."""

    def read(answer: Answer) -> tuple[AuditLogInfo, ...]:
        return tuple(map(_log_info, wire.ListLogsResponse.FromString(answer.payload).logs))

    return Call(_LIST_LOGS, wire.ListLogsRequest().SerializeToString(), read, timeout=timeout)


def checkpoint(log: str, *, timeout: float | None = None) -> Call[AuditLogInfo]:
    """Return the newest checkpoint of the log of an origin, not verified. Raises `NotFound`."""
    request = wire.GetCheckpointRequest(log=log)

    def read(answer: Answer) -> AuditLogInfo:
        return _log_info(wire.GetCheckpointResponse.FromString(answer.payload).checkpoint)

    return Call(_GET_CHECKPOINT, request.SerializeToString(), read, timeout=timeout)


def list_entries(
    page_token: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    principal: str = "",
    key: str = "",
    outcome: str = "",
    request_id: str = "",
    method: str = "",
    log: str = "",
    verifier_keys: Sequence[str] = (),
    page_size: int = 100,
    timeout: float | None = None,
) -> Call[Page[AuditEntry]]:
    """Iterate over the entries of the caller's tenant that match all that is given, oldest first.

    `since` and `until` have a time zone; `key` is an id or the ``alias/NAME`` used; `outcome` is ok, refused or failed;
    `log` an origin. With `verifier_keys`, those of all logs, each entry is verified, and has its proof. Raises
    `AuditDamaged` where one does not verify. `timeout` is for each page.
    """
    keys = _keys(verifier_keys)
    request = wire.ListEntriesRequest(
        filter=_filter(since, until, principal, key, outcome, request_id, method, log),
        with_proofs=bool(keys),
        page_size=page_size,
        page_token=page_token,
    )

    def read(answer: Answer) -> Page[AuditEntry]:
        response = wire.ListEntriesResponse.FromString(answer.payload)
        return Page(tuple(_entries(response.entries, response.checkpoints, keys)), response.next_page_token)

    return Call(_LIST_ENTRIES, request.SerializeToString(), read, timeout=timeout, heavy=bool(keys))


def prove_entry(log: str, index: int, *, verifier_key: str = "", timeout: float | None = None) -> Call[AuditEntry]:
    """Return an entry with its proof, a file of C2SP tlog-proof. Raises `NotFound`.

    With `verifier_key` it is verified; raises `AuditDamaged` where it does not hold.
    """
    keys = _keys([verifier_key] if verifier_key else [])
    request = wire.GetInclusionProofRequest(log=log, index=index)

    def read(answer: Answer) -> AuditEntry:
        response = wire.GetInclusionProofResponse.FromString(answer.payload)
        from kmsgw.client.audit_verification import proven, require_place  # noqa: PLC0415

        entry = proven(response.entry, response.checkpoint.checkpoint, keys)
        require_place(entry, log, index)
        return entry

    return Call(_GET_INCLUSION_PROOF, request.SerializeToString(), read, timeout=timeout)


def prove_growth(log: str, kept: bytes, *, verifier_key: str, timeout: float | None = None) -> Call[AuditGrowth]:
    """Return the proof that a log begins with what the checkpoint `kept` says, and its newest one: both verified.

    Raises `AuditDamaged` where the log was cut or rewritten, or `kept` is not signed by `verifier_key`.
    """
    from kmsgw.client.audit_verification import grown, kept_size  # noqa: PLC0415

    (key,) = _keys([verifier_key]).values()
    request = wire.GetConsistencyProofRequest(log=log, old_size=kept_size(kept, key))

    def read(answer: Answer) -> AuditGrowth:
        response = wire.GetConsistencyProofResponse.FromString(answer.payload)
        return grown(kept, response.proof_hashes, response.checkpoint.checkpoint, key)

    return Call(_GET_CONSISTENCY_PROOF, request.SerializeToString(), read, timeout=timeout)


class WatchFeed:
    """What a watch asks for, and how its messages are read. It knows where to go on after the last of them."""

    method = _WATCH_ENTRIES

    def __init__(
        self, asked: wire.EntryFilter, keys: Mapping[str, "VerifierKey"], positions: Mapping[str, int]
    ) -> None:
        self._asked = asked
        self._keys = keys
        self._positions = dict(positions)

    def request(self) -> bytes:
        """Return what to begin with."""
        positions = [wire.LogPosition(log=log, next_index=index) for log, index in self._positions.items()]
        request = wire.WatchEntriesRequest(filter=self._asked, with_proofs=bool(self._keys), positions=positions)
        return request.SerializeToString()

    def read(self, message: bytes) -> tuple[AuditEntry, ...]:
        """Return the entries of a message. Raises `AuditDamaged` and `DecodeError`."""
        response = wire.WatchEntriesResponse.FromString(message)
        entries = tuple(_entries(response.entries, response.checkpoints, self._keys))
        self._positions |= {each.log: each.next_index for each in response.positions}
        return entries


def watch(
    *,
    principal: str = "",
    key: str = "",
    outcome: str = "",
    method: str = "",
    log: str = "",
    verifier_keys: Sequence[str] = (),
    positions: Mapping[str, int] | None = None,
) -> WatchFeed:
    """Iterate over entries as they come under a signed checkpoint, a second or so after the call, without an end.

    What is given is as in `entries`. `positions` maps the origin of a log to the index of the entry to begin with; of
    other logs it begins with what comes from now on. Close the iterator to end it. Where the gateway ends it, for its
    time is up or it is stopped, it begins anew behind what was seen; what else goes wrong is raised, and who begins
    anew with ``{entry.log: entry.index + 1}`` of the last entry of each log misses nothing.
    """
    asked = _filter(None, None, principal, key, outcome, "", method, log)
    return WatchFeed(asked, _keys(verifier_keys), positions or {})


def _filter(
    since: datetime | None,
    until: datetime | None,
    principal: str,
    key: str,
    outcome: str,
    request_id: str,
    method: str,
    log: str,
) -> wire.EntryFilter:
    if outcome not in _OUTCOMES:
        raise InvalidRequest("The outcome is unknown.", advice="Use ok, refused or failed.")
    return wire.EntryFilter(
        start_time=_stamp(since),
        end_time=_stamp(until),
        principal_id=principal,
        key=key,
        outcome=_OUTCOMES[outcome],
        request_id=request_id,
        method=method,
        log=log,
    )


def _stamp(time: datetime | None) -> Timestamp | None:
    if time is None:
        return None
    if time.tzinfo is None:
        raise InvalidRequest("A time has no time zone.", advice="Give it one: datetime.now(UTC).")
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def _keys(texts: Sequence[str]) -> Mapping[str, "VerifierKey"]:
    if not texts:
        return {}
    # What verifies is imported by who verifies: other callers start without it.
    from kmsgw.client.audit_verification import keys_of  # noqa: PLC0415

    return keys_of(texts)


def _entries(
    entries: Iterable[wire.AuditEntry], heads: Iterable[wire.LogCheckpoint], keys: Mapping[str, "VerifierKey"]
) -> Iterable[AuditEntry]:
    if not keys:
        return (AuditEntry(each.log, each.index, each.entry) for each in entries)
    from kmsgw.client.audit_verification import proven  # noqa: PLC0415

    checkpoints = {head.log: head.checkpoint for head in heads}
    return [proven(each, checkpoints.get(each.log, b""), keys) for each in entries]


def _log_info(head: wire.LogCheckpoint) -> AuditLogInfo:
    return AuditLogInfo(head.log, head.size, head.checkpoint, head.verifier_key)
