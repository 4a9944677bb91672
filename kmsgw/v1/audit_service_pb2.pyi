import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EntryOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENTRY_OUTCOME_UNSPECIFIED: _ClassVar[EntryOutcome]
    ENTRY_OUTCOME_OK: _ClassVar[EntryOutcome]
    ENTRY_OUTCOME_REFUSED: _ClassVar[EntryOutcome]
    ENTRY_OUTCOME_FAILED: _ClassVar[EntryOutcome]
ENTRY_OUTCOME_UNSPECIFIED: EntryOutcome
ENTRY_OUTCOME_OK: EntryOutcome
ENTRY_OUTCOME_REFUSED: EntryOutcome
ENTRY_OUTCOME_FAILED: EntryOutcome

class EntryFilter(_message.Message):
    __slots__ = ("start_time", "end_time", "principal_id", "key", "outcome", "request_id", "method", "log")
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    start_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    principal_id: str
    key: str
    outcome: EntryOutcome
    request_id: str
    method: str
    log: str
    def __init__(self, start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., principal_id: _Optional[str] = ..., key: _Optional[str] = ..., outcome: _Optional[_Union[EntryOutcome, str]] = ..., request_id: _Optional[str] = ..., method: _Optional[str] = ..., log: _Optional[str] = ...) -> None: ...

class AuditEntry(_message.Message):
    __slots__ = ("log", "index", "entry", "proof_hashes")
    LOG_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    PROOF_HASHES_FIELD_NUMBER: _ClassVar[int]
    log: str
    index: int
    entry: bytes
    proof_hashes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, log: _Optional[str] = ..., index: _Optional[int] = ..., entry: _Optional[bytes] = ..., proof_hashes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class LogCheckpoint(_message.Message):
    __slots__ = ("log", "size", "checkpoint", "verifier_key")
    LOG_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_KEY_FIELD_NUMBER: _ClassVar[int]
    log: str
    size: int
    checkpoint: bytes
    verifier_key: str
    def __init__(self, log: _Optional[str] = ..., size: _Optional[int] = ..., checkpoint: _Optional[bytes] = ..., verifier_key: _Optional[str] = ...) -> None: ...

class ListLogsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListLogsResponse(_message.Message):
    __slots__ = ("logs",)
    LOGS_FIELD_NUMBER: _ClassVar[int]
    logs: _containers.RepeatedCompositeFieldContainer[LogCheckpoint]
    def __init__(self, logs: _Optional[_Iterable[_Union[LogCheckpoint, _Mapping]]] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("filter", "with_proofs", "page_size", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    WITH_PROOFS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: EntryFilter
    with_proofs: bool
    page_size: int
    page_token: str
    def __init__(self, filter: _Optional[_Union[EntryFilter, _Mapping]] = ..., with_proofs: _Optional[bool] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries", "checkpoints", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[AuditEntry]
    checkpoints: _containers.RepeatedCompositeFieldContainer[LogCheckpoint]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[AuditEntry, _Mapping]]] = ..., checkpoints: _Optional[_Iterable[_Union[LogCheckpoint, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class LogPosition(_message.Message):
    __slots__ = ("log", "next_index")
    LOG_FIELD_NUMBER: _ClassVar[int]
    NEXT_INDEX_FIELD_NUMBER: _ClassVar[int]
    log: str
    next_index: int
    def __init__(self, log: _Optional[str] = ..., next_index: _Optional[int] = ...) -> None: ...

class WatchEntriesRequest(_message.Message):
    __slots__ = ("filter", "with_proofs", "positions")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    WITH_PROOFS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    filter: EntryFilter
    with_proofs: bool
    positions: _containers.RepeatedCompositeFieldContainer[LogPosition]
    def __init__(self, filter: _Optional[_Union[EntryFilter, _Mapping]] = ..., with_proofs: _Optional[bool] = ..., positions: _Optional[_Iterable[_Union[LogPosition, _Mapping]]] = ...) -> None: ...

class WatchEntriesResponse(_message.Message):
    __slots__ = ("entries", "checkpoints", "positions")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[AuditEntry]
    checkpoints: _containers.RepeatedCompositeFieldContainer[LogCheckpoint]
    positions: _containers.RepeatedCompositeFieldContainer[LogPosition]
    def __init__(self, entries: _Optional[_Iterable[_Union[AuditEntry, _Mapping]]] = ..., checkpoints: _Optional[_Iterable[_Union[LogCheckpoint, _Mapping]]] = ..., positions: _Optional[_Iterable[_Union[LogPosition, _Mapping]]] = ...) -> None: ...

class GetCheckpointRequest(_message.Message):
    __slots__ = ("log",)
    LOG_FIELD_NUMBER: _ClassVar[int]
    log: str
    def __init__(self, log: _Optional[str] = ...) -> None: ...

class GetCheckpointResponse(_message.Message):
    __slots__ = ("checkpoint",)
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    checkpoint: LogCheckpoint
    def __init__(self, checkpoint: _Optional[_Union[LogCheckpoint, _Mapping]] = ...) -> None: ...

class GetInclusionProofRequest(_message.Message):
    __slots__ = ("log", "index")
    LOG_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    log: str
    index: int
    def __init__(self, log: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class GetInclusionProofResponse(_message.Message):
    __slots__ = ("entry", "checkpoint")
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    entry: AuditEntry
    checkpoint: LogCheckpoint
    def __init__(self, entry: _Optional[_Union[AuditEntry, _Mapping]] = ..., checkpoint: _Optional[_Union[LogCheckpoint, _Mapping]] = ...) -> None: ...

class GetConsistencyProofRequest(_message.Message):
    __slots__ = ("log", "old_size")
    LOG_FIELD_NUMBER: _ClassVar[int]
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    log: str
    old_size: int
    def __init__(self, log: _Optional[str] = ..., old_size: _Optional[int] = ...) -> None: ...

class GetConsistencyProofResponse(_message.Message):
    __slots__ = ("proof_hashes", "checkpoint")
    PROOF_HASHES_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    proof_hashes: _containers.RepeatedScalarFieldContainer[bytes]
    checkpoint: LogCheckpoint
    def __init__(self, proof_hashes: _Optional[_Iterable[bytes]] = ..., checkpoint: _Optional[_Union[LogCheckpoint, _Mapping]] = ...) -> None: ...
