from google.rpc import status_pb2 as _status_pb2
from kmsgw.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BatchFailure(_message.Message):
    __slots__ = ("index", "reference", "status")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    index: int
    reference: str
    status: _status_pb2.Status
    def __init__(self, index: _Optional[int] = ..., reference: _Optional[str] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class BatchKey(_message.Message):
    __slots__ = ("key_id", "key_version")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    key_version: int
    def __init__(self, key_id: _Optional[str] = ..., key_version: _Optional[int] = ...) -> None: ...

class BatchContext(_message.Message):
    __slots__ = ("encryption_context",)
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    def __init__(self, encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ...) -> None: ...

class BatchBinding(_message.Message):
    __slots__ = ("key", "encryption_context", "key_version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key: str
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    key_version: int
    def __init__(self, key: _Optional[str] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., key_version: _Optional[int] = ...) -> None: ...

class BatchReEncryptBinding(_message.Message):
    __slots__ = ("source_encryption_context", "destination_key", "destination_encryption_context")
    SOURCE_ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_KEY_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    source_encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    destination_key: str
    destination_encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    def __init__(self, source_encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., destination_key: _Optional[str] = ..., destination_encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ...) -> None: ...

class BatchEncryptRequest(_message.Message):
    __slots__ = ("key", "plaintexts", "encryption_context", "declaration", "key_version", "bindings", "references")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PLAINTEXTS_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    key: str
    plaintexts: _containers.RepeatedScalarFieldContainer[bytes]
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    key_version: int
    bindings: _containers.RepeatedCompositeFieldContainer[BatchBinding]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, key: _Optional[str] = ..., plaintexts: _Optional[_Iterable[bytes]] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., key_version: _Optional[int] = ..., bindings: _Optional[_Iterable[_Union[BatchBinding, _Mapping]]] = ..., references: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchEncryptResponse(_message.Message):
    __slots__ = ("envelopes", "failures", "keys", "key_indexes", "references")
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    KEY_INDEXES_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedScalarFieldContainer[bytes]
    failures: _containers.RepeatedCompositeFieldContainer[BatchFailure]
    keys: _containers.RepeatedCompositeFieldContainer[BatchKey]
    key_indexes: _containers.RepeatedScalarFieldContainer[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, envelopes: _Optional[_Iterable[bytes]] = ..., failures: _Optional[_Iterable[_Union[BatchFailure, _Mapping]]] = ..., keys: _Optional[_Iterable[_Union[BatchKey, _Mapping]]] = ..., key_indexes: _Optional[_Iterable[int]] = ..., references: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchDecryptRequest(_message.Message):
    __slots__ = ("envelopes", "encryption_context", "declaration", "expected_key", "contexts", "references")
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_KEY_FIELD_NUMBER: _ClassVar[int]
    CONTEXTS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedScalarFieldContainer[bytes]
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    expected_key: str
    contexts: _containers.RepeatedCompositeFieldContainer[BatchContext]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, envelopes: _Optional[_Iterable[bytes]] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., expected_key: _Optional[str] = ..., contexts: _Optional[_Iterable[_Union[BatchContext, _Mapping]]] = ..., references: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchDecryptResponse(_message.Message):
    __slots__ = ("plaintexts", "failures", "keys", "key_indexes", "references")
    PLAINTEXTS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    KEY_INDEXES_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    plaintexts: _containers.RepeatedScalarFieldContainer[bytes]
    failures: _containers.RepeatedCompositeFieldContainer[BatchFailure]
    keys: _containers.RepeatedCompositeFieldContainer[BatchKey]
    key_indexes: _containers.RepeatedScalarFieldContainer[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, plaintexts: _Optional[_Iterable[bytes]] = ..., failures: _Optional[_Iterable[_Union[BatchFailure, _Mapping]]] = ..., keys: _Optional[_Iterable[_Union[BatchKey, _Mapping]]] = ..., key_indexes: _Optional[_Iterable[int]] = ..., references: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchReEncryptRequest(_message.Message):
    __slots__ = ("envelopes", "source_encryption_context", "destination_key", "destination_encryption_context", "declaration", "bindings", "references")
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_KEY_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedScalarFieldContainer[bytes]
    source_encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    destination_key: str
    destination_encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    bindings: _containers.RepeatedCompositeFieldContainer[BatchReEncryptBinding]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, envelopes: _Optional[_Iterable[bytes]] = ..., source_encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., destination_key: _Optional[str] = ..., destination_encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., bindings: _Optional[_Iterable[_Union[BatchReEncryptBinding, _Mapping]]] = ..., references: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchReEncryptResponse(_message.Message):
    __slots__ = ("envelopes", "failures", "keys", "key_indexes", "source_key_indexes", "references")
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    KEY_INDEXES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_KEY_INDEXES_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedScalarFieldContainer[bytes]
    failures: _containers.RepeatedCompositeFieldContainer[BatchFailure]
    keys: _containers.RepeatedCompositeFieldContainer[BatchKey]
    key_indexes: _containers.RepeatedScalarFieldContainer[int]
    source_key_indexes: _containers.RepeatedScalarFieldContainer[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, envelopes: _Optional[_Iterable[bytes]] = ..., failures: _Optional[_Iterable[_Union[BatchFailure, _Mapping]]] = ..., keys: _Optional[_Iterable[_Union[BatchKey, _Mapping]]] = ..., key_indexes: _Optional[_Iterable[int]] = ..., source_key_indexes: _Optional[_Iterable[int]] = ..., references: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchRewrapRequest(_message.Message):
    __slots__ = ("envelopes", "encryption_context", "declaration", "contexts", "references")
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    CONTEXTS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedScalarFieldContainer[bytes]
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    contexts: _containers.RepeatedCompositeFieldContainer[BatchContext]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, envelopes: _Optional[_Iterable[bytes]] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., contexts: _Optional[_Iterable[_Union[BatchContext, _Mapping]]] = ..., references: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchRewrapResponse(_message.Message):
    __slots__ = ("envelopes", "failures", "keys", "key_indexes", "source_key_indexes", "references")
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    KEY_INDEXES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_KEY_INDEXES_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    envelopes: _containers.RepeatedScalarFieldContainer[bytes]
    failures: _containers.RepeatedCompositeFieldContainer[BatchFailure]
    keys: _containers.RepeatedCompositeFieldContainer[BatchKey]
    key_indexes: _containers.RepeatedScalarFieldContainer[int]
    source_key_indexes: _containers.RepeatedScalarFieldContainer[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, envelopes: _Optional[_Iterable[bytes]] = ..., failures: _Optional[_Iterable[_Union[BatchFailure, _Mapping]]] = ..., keys: _Optional[_Iterable[_Union[BatchKey, _Mapping]]] = ..., key_indexes: _Optional[_Iterable[int]] = ..., source_key_indexes: _Optional[_Iterable[int]] = ..., references: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchGenerateDataKeyRequest(_message.Message):
    __slots__ = ("key", "count", "encryption_context", "declaration", "key_version", "bindings", "references", "without_plaintext")
    KEY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    key: str
    count: int
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    key_version: int
    bindings: _containers.RepeatedCompositeFieldContainer[BatchBinding]
    references: _containers.RepeatedScalarFieldContainer[str]
    without_plaintext: bool
    def __init__(self, key: _Optional[str] = ..., count: _Optional[int] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., key_version: _Optional[int] = ..., bindings: _Optional[_Iterable[_Union[BatchBinding, _Mapping]]] = ..., references: _Optional[_Iterable[str]] = ..., without_plaintext: _Optional[bool] = ...) -> None: ...

class BatchGenerateDataKeyResponse(_message.Message):
    __slots__ = ("plaintext_data_keys", "wrapped_data_keys", "failures", "keys", "key_indexes", "references")
    PLAINTEXT_DATA_KEYS_FIELD_NUMBER: _ClassVar[int]
    WRAPPED_DATA_KEYS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    KEY_INDEXES_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    plaintext_data_keys: _containers.RepeatedScalarFieldContainer[bytes]
    wrapped_data_keys: _containers.RepeatedScalarFieldContainer[bytes]
    failures: _containers.RepeatedCompositeFieldContainer[BatchFailure]
    keys: _containers.RepeatedCompositeFieldContainer[BatchKey]
    key_indexes: _containers.RepeatedScalarFieldContainer[int]
    references: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, plaintext_data_keys: _Optional[_Iterable[bytes]] = ..., wrapped_data_keys: _Optional[_Iterable[bytes]] = ..., failures: _Optional[_Iterable[_Union[BatchFailure, _Mapping]]] = ..., keys: _Optional[_Iterable[_Union[BatchKey, _Mapping]]] = ..., key_indexes: _Optional[_Iterable[int]] = ..., references: _Optional[_Iterable[str]] = ...) -> None: ...
