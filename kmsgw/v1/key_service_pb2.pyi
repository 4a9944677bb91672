import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_STATE_UNSPECIFIED: _ClassVar[KeyState]
    KEY_STATE_ENABLED: _ClassVar[KeyState]
    KEY_STATE_DISABLED: _ClassVar[KeyState]
    KEY_STATE_PENDING_DESTRUCTION: _ClassVar[KeyState]
    KEY_STATE_DESTROYED: _ClassVar[KeyState]

class KeyVersionOrigin(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    KEY_VERSION_ORIGIN_UNSPECIFIED: _ClassVar[KeyVersionOrigin]
    KEY_VERSION_ORIGIN_GENERATED: _ClassVar[KeyVersionOrigin]
    KEY_VERSION_ORIGIN_IMPORTED: _ClassVar[KeyVersionOrigin]
KEY_STATE_UNSPECIFIED: KeyState
KEY_STATE_ENABLED: KeyState
KEY_STATE_DISABLED: KeyState
KEY_STATE_PENDING_DESTRUCTION: KeyState
KEY_STATE_DESTROYED: KeyState
KEY_VERSION_ORIGIN_UNSPECIFIED: KeyVersionOrigin
KEY_VERSION_ORIGIN_GENERATED: KeyVersionOrigin
KEY_VERSION_ORIGIN_IMPORTED: KeyVersionOrigin

class RotationPolicy(_message.Message):
    __slots__ = ("period", "max_messages", "max_bytes", "max_wraps")
    PERIOD_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_WRAPS_FIELD_NUMBER: _ClassVar[int]
    period: _duration_pb2.Duration
    max_messages: int
    max_bytes: int
    max_wraps: int
    def __init__(self, period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_messages: _Optional[int] = ..., max_bytes: _Optional[int] = ..., max_wraps: _Optional[int] = ...) -> None: ...

class Key(_message.Message):
    __slots__ = ("key_id", "tenant", "provider", "state", "primary_version", "description", "labels", "aliases", "create_time", "update_time", "etag", "destroy_time", "minimum_decrypt_version", "minimum_encrypt_version", "deletion_protection", "rotation", "next_rotation_time")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PRIMARY_VERSION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    DESTROY_TIME_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_DECRYPT_VERSION_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_ENCRYPT_VERSION_FIELD_NUMBER: _ClassVar[int]
    DELETION_PROTECTION_FIELD_NUMBER: _ClassVar[int]
    ROTATION_FIELD_NUMBER: _ClassVar[int]
    NEXT_ROTATION_TIME_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    tenant: str
    provider: str
    state: KeyState
    primary_version: int
    description: str
    labels: _containers.ScalarMap[str, str]
    aliases: _containers.RepeatedScalarFieldContainer[str]
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    destroy_time: _timestamp_pb2.Timestamp
    minimum_decrypt_version: int
    minimum_encrypt_version: int
    deletion_protection: bool
    rotation: RotationPolicy
    next_rotation_time: _timestamp_pb2.Timestamp
    def __init__(self, key_id: _Optional[str] = ..., tenant: _Optional[str] = ..., provider: _Optional[str] = ..., state: _Optional[_Union[KeyState, str]] = ..., primary_version: _Optional[int] = ..., description: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., aliases: _Optional[_Iterable[str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., destroy_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., minimum_decrypt_version: _Optional[int] = ..., minimum_encrypt_version: _Optional[int] = ..., deletion_protection: _Optional[bool] = ..., rotation: _Optional[_Union[RotationPolicy, _Mapping]] = ..., next_rotation_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class KeyVersion(_message.Message):
    __slots__ = ("key_id", "version", "state", "create_time", "reason", "destroy_time", "origin")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DESTROY_TIME_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    version: int
    state: KeyState
    create_time: _timestamp_pb2.Timestamp
    reason: str
    destroy_time: _timestamp_pb2.Timestamp
    origin: KeyVersionOrigin
    def __init__(self, key_id: _Optional[str] = ..., version: _Optional[int] = ..., state: _Optional[_Union[KeyState, str]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., destroy_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., origin: _Optional[_Union[KeyVersionOrigin, str]] = ...) -> None: ...

class CreateKeyRequest(_message.Message):
    __slots__ = ("key_id", "tenant", "provider", "description", "labels", "dry_run", "reason", "rotation", "deletion_protection")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROTATION_FIELD_NUMBER: _ClassVar[int]
    DELETION_PROTECTION_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    tenant: str
    provider: str
    description: str
    labels: _containers.ScalarMap[str, str]
    dry_run: bool
    reason: str
    rotation: RotationPolicy
    deletion_protection: bool
    def __init__(self, key_id: _Optional[str] = ..., tenant: _Optional[str] = ..., provider: _Optional[str] = ..., description: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ..., rotation: _Optional[_Union[RotationPolicy, _Mapping]] = ..., deletion_protection: _Optional[bool] = ...) -> None: ...

class CreateKeyResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: Key
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class GetKeyRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class GetKeyResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: Key
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class ListKeysRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListKeysResponse(_message.Message):
    __slots__ = ("keys", "next_page_token")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[Key]
    next_page_token: str
    def __init__(self, keys: _Optional[_Iterable[_Union[Key, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateKeyRequest(_message.Message):
    __slots__ = ("key", "new_values", "update_mask", "etag", "dry_run", "reason")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NEW_VALUES_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    key: str
    new_values: Key
    update_mask: _field_mask_pb2.FieldMask
    etag: str
    dry_run: bool
    reason: str
    def __init__(self, key: _Optional[str] = ..., new_values: _Optional[_Union[Key, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., etag: _Optional[str] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class UpdateKeyResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: Key
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class RotateKeyRequest(_message.Message):
    __slots__ = ("key", "reason", "dry_run")
    KEY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key: str
    reason: str
    dry_run: bool
    def __init__(self, key: _Optional[str] = ..., reason: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RotateKeyResponse(_message.Message):
    __slots__ = ("key", "key_version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key: Key
    key_version: KeyVersion
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., key_version: _Optional[_Union[KeyVersion, _Mapping]] = ...) -> None: ...

class ListKeyVersionsRequest(_message.Message):
    __slots__ = ("key", "page_size", "page_token")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    key: str
    page_size: int
    page_token: str
    def __init__(self, key: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListKeyVersionsResponse(_message.Message):
    __slots__ = ("key_versions", "next_page_token")
    KEY_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    key_versions: _containers.RepeatedCompositeFieldContainer[KeyVersion]
    next_page_token: str
    def __init__(self, key_versions: _Optional[_Iterable[_Union[KeyVersion, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class EnableKeyVersionRequest(_message.Message):
    __slots__ = ("key", "version", "dry_run", "reason")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    key: str
    version: int
    dry_run: bool
    reason: str
    def __init__(self, key: _Optional[str] = ..., version: _Optional[int] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class EnableKeyVersionResponse(_message.Message):
    __slots__ = ("key_version",)
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key_version: KeyVersion
    def __init__(self, key_version: _Optional[_Union[KeyVersion, _Mapping]] = ...) -> None: ...

class DisableKeyVersionRequest(_message.Message):
    __slots__ = ("key", "version", "dry_run", "reason")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    key: str
    version: int
    dry_run: bool
    reason: str
    def __init__(self, key: _Optional[str] = ..., version: _Optional[int] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class DisableKeyVersionResponse(_message.Message):
    __slots__ = ("key_version",)
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key_version: KeyVersion
    def __init__(self, key_version: _Optional[_Union[KeyVersion, _Mapping]] = ...) -> None: ...

class CreateAliasRequest(_message.Message):
    __slots__ = ("alias", "key", "dry_run", "reason")
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    alias: str
    key: str
    dry_run: bool
    reason: str
    def __init__(self, alias: _Optional[str] = ..., key: _Optional[str] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class CreateAliasResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: Key
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class DeleteAliasRequest(_message.Message):
    __slots__ = ("alias", "dry_run", "reason")
    ALIAS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    alias: str
    dry_run: bool
    reason: str
    def __init__(self, alias: _Optional[str] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class DeleteAliasResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: Key
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class ScheduleKeyDestructionRequest(_message.Message):
    __slots__ = ("key", "version", "days", "force", "etag", "dry_run", "reason")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    key: str
    version: int
    days: int
    force: bool
    etag: str
    dry_run: bool
    reason: str
    def __init__(self, key: _Optional[str] = ..., version: _Optional[int] = ..., days: _Optional[int] = ..., force: _Optional[bool] = ..., etag: _Optional[str] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class ScheduleKeyDestructionResponse(_message.Message):
    __slots__ = ("key", "key_version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key: Key
    key_version: KeyVersion
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., key_version: _Optional[_Union[KeyVersion, _Mapping]] = ...) -> None: ...

class CancelKeyDestructionRequest(_message.Message):
    __slots__ = ("key", "version", "dry_run", "reason")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    key: str
    version: int
    dry_run: bool
    reason: str
    def __init__(self, key: _Optional[str] = ..., version: _Optional[int] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class CancelKeyDestructionResponse(_message.Message):
    __slots__ = ("key", "key_version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    key: Key
    key_version: KeyVersion
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., key_version: _Optional[_Union[KeyVersion, _Mapping]] = ...) -> None: ...

class SetMinimumDecryptVersionRequest(_message.Message):
    __slots__ = ("key", "version", "force", "dry_run", "reason")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    key: str
    version: int
    force: bool
    dry_run: bool
    reason: str
    def __init__(self, key: _Optional[str] = ..., version: _Optional[int] = ..., force: _Optional[bool] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class SetMinimumDecryptVersionResponse(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: Key
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ...) -> None: ...

class GetKeyUsageRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: str
    def __init__(self, key: _Optional[str] = ...) -> None: ...

class VersionUsage(_message.Message):
    __slots__ = ("version", "tenant", "envelopes", "data_keys", "decrypts", "rewraps_away", "rewraps_here", "sealed_bytes", "last_use_time", "wraps")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ENVELOPES_FIELD_NUMBER: _ClassVar[int]
    DATA_KEYS_FIELD_NUMBER: _ClassVar[int]
    DECRYPTS_FIELD_NUMBER: _ClassVar[int]
    REWRAPS_AWAY_FIELD_NUMBER: _ClassVar[int]
    REWRAPS_HERE_FIELD_NUMBER: _ClassVar[int]
    SEALED_BYTES_FIELD_NUMBER: _ClassVar[int]
    LAST_USE_TIME_FIELD_NUMBER: _ClassVar[int]
    WRAPS_FIELD_NUMBER: _ClassVar[int]
    version: int
    tenant: str
    envelopes: int
    data_keys: int
    decrypts: int
    rewraps_away: int
    rewraps_here: int
    sealed_bytes: int
    last_use_time: _timestamp_pb2.Timestamp
    wraps: int
    def __init__(self, version: _Optional[int] = ..., tenant: _Optional[str] = ..., envelopes: _Optional[int] = ..., data_keys: _Optional[int] = ..., decrypts: _Optional[int] = ..., rewraps_away: _Optional[int] = ..., rewraps_here: _Optional[int] = ..., sealed_bytes: _Optional[int] = ..., last_use_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., wraps: _Optional[int] = ...) -> None: ...

class GetKeyUsageResponse(_message.Message):
    __slots__ = ("usage", "key_versions")
    USAGE_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    usage: _containers.RepeatedCompositeFieldContainer[VersionUsage]
    key_versions: _containers.RepeatedCompositeFieldContainer[KeyVersion]
    def __init__(self, usage: _Optional[_Iterable[_Union[VersionUsage, _Mapping]]] = ..., key_versions: _Optional[_Iterable[_Union[KeyVersion, _Mapping]]] = ...) -> None: ...

class CreateImportParametersRequest(_message.Message):
    __slots__ = ("key", "provider")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    key: str
    provider: str
    def __init__(self, key: _Optional[str] = ..., provider: _Optional[str] = ...) -> None: ...

class CreateImportParametersResponse(_message.Message):
    __slots__ = ("public_key", "token", "expire_time", "algorithm", "computes_check_value")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    COMPUTES_CHECK_VALUE_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    token: bytes
    expire_time: _timestamp_pb2.Timestamp
    algorithm: str
    computes_check_value: bool
    def __init__(self, public_key: _Optional[bytes] = ..., token: _Optional[bytes] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., algorithm: _Optional[str] = ..., computes_check_value: _Optional[bool] = ...) -> None: ...

class ImportKeyRequest(_message.Message):
    __slots__ = ("key", "token", "wrapped_material", "check_value", "tenant", "provider", "description", "labels", "dry_run", "reason")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    WRAPPED_MATERIAL_FIELD_NUMBER: _ClassVar[int]
    CHECK_VALUE_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    key: str
    token: bytes
    wrapped_material: bytes
    check_value: str
    tenant: str
    provider: str
    description: str
    labels: _containers.ScalarMap[str, str]
    dry_run: bool
    reason: str
    def __init__(self, key: _Optional[str] = ..., token: _Optional[bytes] = ..., wrapped_material: _Optional[bytes] = ..., check_value: _Optional[str] = ..., tenant: _Optional[str] = ..., provider: _Optional[str] = ..., description: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class ImportKeyResponse(_message.Message):
    __slots__ = ("key", "key_version", "check_value")
    KEY_FIELD_NUMBER: _ClassVar[int]
    KEY_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHECK_VALUE_FIELD_NUMBER: _ClassVar[int]
    key: Key
    key_version: KeyVersion
    check_value: str
    def __init__(self, key: _Optional[_Union[Key, _Mapping]] = ..., key_version: _Optional[_Union[KeyVersion, _Mapping]] = ..., check_value: _Optional[str] = ...) -> None: ...
