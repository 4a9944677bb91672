from kmsgw.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

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
    __slots__ = ("plaintext", "key_id", "key_version")
    PLAINTEXT_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    plaintext: bytes
    key_id: str
    key_version: int
    def __init__(self, plaintext: _Optional[bytes] = ..., key_id: _Optional[str] = ..., key_version: _Optional[int] = ...) -> None: ...

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
    __slots__ = ("plaintext_data_key", "wrapped_data_key", "key_id", "key_version")
    PLAINTEXT_DATA_KEY_FIELD_NUMBER: _ClassVar[int]
    WRAPPED_DATA_KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    plaintext_data_key: bytes
    wrapped_data_key: bytes
    key_id: str
    key_version: int
    def __init__(self, plaintext_data_key: _Optional[bytes] = ..., wrapped_data_key: _Optional[bytes] = ..., key_id: _Optional[str] = ..., key_version: _Optional[int] = ...) -> None: ...

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
