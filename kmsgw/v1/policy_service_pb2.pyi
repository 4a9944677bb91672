import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from kmsgw.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Effect(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EFFECT_UNSPECIFIED: _ClassVar[Effect]
    EFFECT_ALLOW: _ClassVar[Effect]
    EFFECT_DENY: _ClassVar[Effect]

class PrincipalKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRINCIPAL_KIND_UNSPECIFIED: _ClassVar[PrincipalKind]
    PRINCIPAL_KIND_SERVICE: _ClassVar[PrincipalKind]
    PRINCIPAL_KIND_OFFICER: _ClassVar[PrincipalKind]
EFFECT_UNSPECIFIED: Effect
EFFECT_ALLOW: Effect
EFFECT_DENY: Effect
PRINCIPAL_KIND_UNSPECIFIED: PrincipalKind
PRINCIPAL_KIND_SERVICE: PrincipalKind
PRINCIPAL_KIND_OFFICER: PrincipalKind

class HypotheticalRequest(_message.Message):
    __slots__ = ("roles", "principal_id", "tenant", "action", "key", "encryption_context", "declaration", "kind")
    ROLES_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_ID_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENCRYPTION_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DECLARATION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    roles: _containers.RepeatedScalarFieldContainer[str]
    principal_id: str
    tenant: str
    action: str
    key: str
    encryption_context: _containers.RepeatedCompositeFieldContainer[_common_pb2.ContextPair]
    declaration: _common_pb2.AccessDeclaration
    kind: PrincipalKind
    def __init__(self, roles: _Optional[_Iterable[str]] = ..., principal_id: _Optional[str] = ..., tenant: _Optional[str] = ..., action: _Optional[str] = ..., key: _Optional[str] = ..., encryption_context: _Optional[_Iterable[_Union[_common_pb2.ContextPair, _Mapping]]] = ..., declaration: _Optional[_Union[_common_pb2.AccessDeclaration, _Mapping]] = ..., kind: _Optional[_Union[PrincipalKind, str]] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("request_id", "hypothetical")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HYPOTHETICAL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    hypothetical: HypotheticalRequest
    def __init__(self, request_id: _Optional[str] = ..., hypothetical: _Optional[_Union[HypotheticalRequest, _Mapping]] = ...) -> None: ...

class DecidingPolicy(_message.Message):
    __slots__ = ("policy_id", "effect", "advice")
    POLICY_ID_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    policy_id: str
    effect: Effect
    advice: str
    def __init__(self, policy_id: _Optional[str] = ..., effect: _Optional[_Union[Effect, str]] = ..., advice: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("effect", "policies", "explanation", "reason", "principal_id", "roles", "action", "key_id", "time")
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_ID_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    effect: Effect
    policies: _containers.RepeatedCompositeFieldContainer[DecidingPolicy]
    explanation: str
    reason: str
    principal_id: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    action: str
    key_id: str
    time: _timestamp_pb2.Timestamp
    def __init__(self, effect: _Optional[_Union[Effect, str]] = ..., policies: _Optional[_Iterable[_Union[DecidingPolicy, _Mapping]]] = ..., explanation: _Optional[str] = ..., reason: _Optional[str] = ..., principal_id: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., action: _Optional[str] = ..., key_id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("policy_id", "effect", "advice", "source", "file")
    POLICY_ID_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    policy_id: str
    effect: Effect
    advice: str
    source: str
    file: str
    def __init__(self, policy_id: _Optional[str] = ..., effect: _Optional[_Union[Effect, str]] = ..., advice: _Optional[str] = ..., source: _Optional[str] = ..., file: _Optional[str] = ...) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("policies", "next_page_token", "digest")
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    policies: _containers.RepeatedCompositeFieldContainer[Policy]
    next_page_token: str
    digest: str
    def __init__(self, policies: _Optional[_Iterable[_Union[Policy, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...
