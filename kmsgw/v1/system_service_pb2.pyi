from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ProviderStatus(_message.Message):
    __slots__ = ("name", "kind", "serving", "fault", "mechanism", "development_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    MECHANISM_FIELD_NUMBER: _ClassVar[int]
    DEVELOPMENT_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: str
    serving: bool
    fault: str
    mechanism: str
    development_only: bool
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[str] = ..., serving: _Optional[bool] = ..., fault: _Optional[str] = ..., mechanism: _Optional[str] = ..., development_only: _Optional[bool] = ...) -> None: ...

class ExportStatus(_message.Message):
    __slots__ = ("target", "log", "delivered", "lag", "lag_seconds")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    LAG_SECONDS_FIELD_NUMBER: _ClassVar[int]
    target: str
    log: str
    delivered: int
    lag: int
    lag_seconds: int
    def __init__(self, target: _Optional[str] = ..., log: _Optional[str] = ..., delivered: _Optional[int] = ..., lag: _Optional[int] = ..., lag_seconds: _Optional[int] = ...) -> None: ...

class GetStatusResponse(_message.Message):
    __slots__ = ("version", "environment", "node", "worker", "serving", "providers", "audit_serving", "audit_origin", "audit_size", "policy_digest", "development_certificates", "principal_id", "roles", "exports")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    PROVIDERS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_SERVING_FIELD_NUMBER: _ClassVar[int]
    AUDIT_ORIGIN_FIELD_NUMBER: _ClassVar[int]
    AUDIT_SIZE_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DEVELOPMENT_CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_ID_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    EXPORTS_FIELD_NUMBER: _ClassVar[int]
    version: str
    environment: str
    node: str
    worker: str
    serving: bool
    providers: _containers.RepeatedCompositeFieldContainer[ProviderStatus]
    audit_serving: bool
    audit_origin: str
    audit_size: int
    policy_digest: str
    development_certificates: bool
    principal_id: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    exports: _containers.RepeatedCompositeFieldContainer[ExportStatus]
    def __init__(self, version: _Optional[str] = ..., environment: _Optional[str] = ..., node: _Optional[str] = ..., worker: _Optional[str] = ..., serving: _Optional[bool] = ..., providers: _Optional[_Iterable[_Union[ProviderStatus, _Mapping]]] = ..., audit_serving: _Optional[bool] = ..., audit_origin: _Optional[str] = ..., audit_size: _Optional[int] = ..., policy_digest: _Optional[str] = ..., development_certificates: _Optional[bool] = ..., principal_id: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., exports: _Optional[_Iterable[_Union[ExportStatus, _Mapping]]] = ...) -> None: ...
