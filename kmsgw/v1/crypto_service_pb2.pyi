import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from kmsgw.v1 import common_pb2 as _common_pb2
from kmsgw.v1 import crypto_batch_pb2 as _crypto_batch_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DataKeyUse(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_KEY_USE_UNSPECIFIED: _ClassVar[DataKeyUse]
    DATA_KEY_USE_SEAL: _ClassVar[DataKeyUse]
    DATA_KEY_USE_OPEN: _ClassVar[DataKeyUse]

class LeaseOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEASE_OUTCOME_UNSPECIFIED: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_RENEWED: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_SUPERSEDED: _ClassVar[LeaseOutcome]
    LEASE_OUTCOME_ENDED: _ClassVar[LeaseOutcome]
DATA_KEY_USE_UNSPECIFIED: DataKeyUse
DATA_KEY_USE_SEAL: DataKeyUse
DATA_KEY_USE_OPEN: DataKeyUse
LEASE_OUTCOME_UNSPECIFIED: LeaseOutcome
LEASE_OUTCOME_RENEWED: LeaseOutcome
LEASE_OUTCOME_SUPERSEDED: LeaseOutcome
LEASE_OUTCOME_ENDED: LeaseOutcome

class EncryptRequest(_message.Message):
    __slots__ = ("key", "plaintext", "encryption_context", "declaration", "key_version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key: str
    plaintext: bytes
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    key_version: int
    def __init__(self, key: _Optional[str] = ..., plaintext: _Optional[bytes] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., key_version: _Optional[int] = ...) -> None: ...

class EncryptResponse(_message.Message):
    __slots__ = ("envelope", "key_id", "key_version")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    key_id: str
    key_version: int
    def __init__(self, envelope: _Optional[bytes] = ..., key_id: _Optional[str] = ..., key_version: _Optional[int] = ...) -> None: ...

class DecryptRequest(_message.Message):
    __slots__ = ("envelope", "encryption_context", "declaration", "expected_key")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_KEY_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    expected_key: str
    def __init__(self, envelope: _Optional[bytes] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., expected_key: _Optional[str] = ...) -> None: ...

class DecryptResponse(_message.Message):
    __slots__ = ("plaintext", "key_id", "key_version", "limits")
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    plaintext: bytes
    key_id: str
    key_version: int
    limits: DataKeyLimits
    def __init__(self, plaintext: _Optional[bytes] = ..., key_id: _Optional[str] = ..., key_version: _Optional[int] = ..., limits: _Optional[_Union[DataKeyLimits, _Mapping]] = ...) -> None: ...

class ReEncryptRequest(_message.Message):
    __slots__ = ("envelope", "source_encryption_context", "destination_key", "destination_encryption_context", "declaration")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_KEY_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    source_encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    destination_key: str
    destination_encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    def __init__(self, envelope: _Optional[bytes] = ..., source_encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., destination_key: _Optional[str] = ..., destination_encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ...) -> None: ...

class ReEncryptResponse(_message.Message):
    __slots__ = ("envelope", "source_key_id", "source_key_version", "key_id", "key_version")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    source_key_id: str
    source_key_version: int
    key_id: str
    key_version: int
    def __init__(self, envelope: _Optional[bytes] = ..., source_key_id: _Optional[str] = ..., source_key_version: _Optional[int] = ..., key_id: _Optional[str] = ..., key_version: _Optional[int] = ...) -> None: ...

class RewrapRequest(_message.Message):
    __slots__ = ("envelope", "encryption_context", "declaration")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    def __init__(self, envelope: _Optional[bytes] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ...) -> None: ...

class RewrapResponse(_message.Message):
    __slots__ = ("envelope", "key_id", "source_key_version", "key_version")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    envelope: bytes
    key_id: str
    source_key_version: int
    key_version: int
    def __init__(self, envelope: _Optional[bytes] = ..., key_id: _Optional[str] = ..., source_key_version: _Optional[int] = ..., key_version: _Optional[int] = ...) -> None: ...

class GenerateDataKeyRequest(_message.Message):
    __slots__ = ("key", "encryption_context", "declaration", "key_version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key: str
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    key_version: int
    def __init__(self, key: _Optional[str] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., key_version: _Optional[int] = ...) -> None: ...

class GenerateDataKeyResponse(_message.Message):
    __slots__ = ("plaintext_data_key", "wrapped_data_key", "key_id", "key_version", "limits")
    PLAINTEXT_DATA_KEY_FIELD_NUMBER: _ClassVar[int]
    WRAPPED_DATA_KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    plaintext_data_key: bytes
    wrapped_data_key: bytes
    key_id: str
    key_version: int
    limits: DataKeyLimits
    def __init__(self, plaintext_data_key: _Optional[bytes] = ..., wrapped_data_key: _Optional[bytes] = ..., key_id: _Optional[str] = ..., key_version: _Optional[int] = ..., limits: _Optional[_Union[DataKeyLimits, _Mapping]] = ...) -> None: ...

class DataKeyLimits(_message.Message):
    __slots__ = ("max_messages", "max_bytes", "max_age", "lease")
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    max_messages: int
    max_bytes: int
    max_age: _duration_pb2.Duration
    lease: _duration_pb2.Duration
    def __init__(self, max_messages: _Optional[int] = ..., max_bytes: _Optional[int] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GenerateDataKeyWithoutPlaintextRequest(_message.Message):
    __slots__ = ("key", "encryption_context", "declaration", "key_version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key: str
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    key_version: int
    def __init__(self, key: _Optional[str] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., key_version: _Optional[int] = ...) -> None: ...

class GenerateDataKeyWithoutPlaintextResponse(_message.Message):
    __slots__ = ("wrapped_data_key", "key_id", "key_version")
    WRAPPED_DATA_KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    wrapped_data_key: bytes
    key_id: str
    key_version: int
    def __init__(self, wrapped_data_key: _Optional[bytes] = ..., key_id: _Optional[str] = ..., key_version: _Optional[int] = ...) -> None: ...

class GenerateRandomBytesRequest(_message.Message):
    __slots__ = ("length",)
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    length: int
    def __init__(self, length: _Optional[int] = ...) -> None: ...

class GenerateRandomBytesResponse(_message.Message):
    __slots__ = ("random_bytes",)
    RANDOM_BYTES_FIELD_NUMBER: _ClassVar[int]
    random_bytes: bytes
    def __init__(self, random_bytes: _Optional[bytes] = ...) -> None: ...

class ComputeMacRequest(_message.Message):
    __slots__ = ("key", "index", "value", "declaration")
    KEY_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    key: str
    index: str
    value: bytes
    declaration: _common_pb2.AccessDeclaration
    def __init__(self, key: _Optional[str] = ..., index: _Optional[str] = ..., value: _Optional[bytes] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ...) -> None: ...

class ComputeMacResponse(_message.Message):
    __slots__ = ("mac", "key_id")
    MAC_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    mac: bytes
    key_id: str
    def __init__(self, mac: _Optional[bytes] = ..., key_id: _Optional[str] = ...) -> None: ...

class VerifyMacRequest(_message.Message):
    __slots__ = ("key", "index", "value", "mac", "declaration")
    KEY_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    MAC_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    key: str
    index: str
    value: bytes
    mac: bytes
    declaration: _common_pb2.AccessDeclaration
    def __init__(self, key: _Optional[str] = ..., index: _Optional[str] = ..., value: _Optional[bytes] = ..., mac: _Optional[bytes] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ...) -> None: ...

class VerifyMacResponse(_message.Message):
    __slots__ = ("valid", "key_id")
    VALID_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    valid: bool
    key_id: str
    def __init__(self, valid: _Optional[bool] = ..., key_id: _Optional[str] = ...) -> None: ...

class EncryptStreamRequest(_message.Message):
    __slots__ = ("start", "chunk", "end")
    START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    start: EncryptStreamStart
    chunk: bytes
    end: EncryptStreamEnd
    def __init__(self, start: _Optional[_Union[EncryptStreamStart, _Mapping]] = ..., chunk: _Optional[bytes] = ..., end: _Optional[_Union[EncryptStreamEnd, _Mapping]] = ...) -> None: ...

class EncryptStreamStart(_message.Message):
    __slots__ = ("key", "encryption_context", "declaration", "key_version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key: str
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    key_version: int
    def __init__(self, key: _Optional[str] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., key_version: _Optional[int] = ...) -> None: ...

class EncryptStreamEnd(_message.Message):
    __slots__ = ("plaintext_bytes",)
    PLAINTEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    plaintext_bytes: int
    def __init__(self, plaintext_bytes: _Optional[int] = ...) -> None: ...

class EncryptStreamResponse(_message.Message):
    __slots__ = ("started", "chunk", "finished")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    started: StreamStarted
    chunk: bytes
    finished: StreamFinished
    def __init__(self, started: _Optional[_Union[StreamStarted, _Mapping]] = ..., chunk: _Optional[bytes] = ..., finished: _Optional[_Union[StreamFinished, _Mapping]] = ...) -> None: ...

class DecryptStreamRequest(_message.Message):
    __slots__ = ("start", "chunk")
    START_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    start: DecryptStreamStart
    chunk: bytes
    def __init__(self, start: _Optional[_Union[DecryptStreamStart, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class DecryptStreamStart(_message.Message):
    __slots__ = ("head", "encryption_context", "declaration", "expected_key")
    HEAD_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_KEY_FIELD_NUMBER: _ClassVar[int]
    head: bytes
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    expected_key: str
    def __init__(self, head: _Optional[bytes] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., expected_key: _Optional[str] = ...) -> None: ...

class DecryptStreamResponse(_message.Message):
    __slots__ = ("started", "chunk", "finished")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    started: StreamStarted
    chunk: bytes
    finished: StreamFinished
    def __init__(self, started: _Optional[_Union[StreamStarted, _Mapping]] = ..., chunk: _Optional[bytes] = ..., finished: _Optional[_Union[StreamFinished, _Mapping]] = ...) -> None: ...

class StreamStarted(_message.Message):
    __slots__ = ("key_id", "key_version")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_version: int
    def __init__(self, key_id: _Optional[str] = ..., key_version: _Optional[int] = ...) -> None: ...

class StreamFinished(_message.Message):
    __slots__ = ("plaintext_bytes", "stream_bytes")
    PLAINTEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    STREAM_BYTES_FIELD_NUMBER: _ClassVar[int]
    plaintext_bytes: int
    stream_bytes: int
    def __init__(self, plaintext_bytes: _Optional[int] = ..., stream_bytes: _Optional[int] = ...) -> None: ...

class DataKeyLease(_message.Message):
    __slots__ = ("use", "key_id", "key_version", "alias", "encryption_context", "declaration")
    USE_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    use: DataKeyUse
    key_id: str
    key_version: int
    alias: str
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    def __init__(self, use: _Optional[_Union[DataKeyUse, str]] = ..., key_id: _Optional[str] = ..., key_version: _Optional[int] = ..., alias: _Optional[str] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ...) -> None: ...

class RenewDataKeyLeasesRequest(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[DataKeyLease]
    def __init__(self, leases: _Optional[_Iterable[_Union[DataKeyLease, _Mapping]]] = ...) -> None: ...

class RenewedLease(_message.Message):
    __slots__ = ("outcome", "lease", "reason")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    outcome: LeaseOutcome
    lease: _duration_pb2.Duration
    reason: str
    def __init__(self, outcome: _Optional[_Union[LeaseOutcome, str]] = ..., lease: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class RenewDataKeyLeasesResponse(_message.Message):
    __slots__ = ("leases",)
    LEASES_FIELD_NUMBER: _ClassVar[int]
    leases: _containers.RepeatedCompositeFieldContainer[RenewedLease]
    def __init__(self, leases: _Optional[_Iterable[_Union[RenewedLease, _Mapping]]] = ...) -> None: ...
