import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OfficerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OFFICER_STATE_UNSPECIFIED: _ClassVar[OfficerState]
    OFFICER_STATE_NOT_ENROLLED: _ClassVar[OfficerState]
    OFFICER_STATE_UNCONFIRMED: _ClassVar[OfficerState]
    OFFICER_STATE_ACTIVE: _ClassVar[OfficerState]
    OFFICER_STATE_LOCKED: _ClassVar[OfficerState]
    OFFICER_STATE_RESET: _ClassVar[OfficerState]
OFFICER_STATE_UNSPECIFIED: OfficerState
OFFICER_STATE_NOT_ENROLLED: OfficerState
OFFICER_STATE_UNCONFIRMED: OfficerState
OFFICER_STATE_ACTIVE: OfficerState
OFFICER_STATE_LOCKED: OfficerState
OFFICER_STATE_RESET: OfficerState

class Officer(_message.Message):
    __slots__ = ("officer_id", "state", "roles", "confirm_time", "lock_end_time", "enrol_time", "recovery_codes")
    OFFICER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_TIME_FIELD_NUMBER: _ClassVar[int]
    LOCK_END_TIME_FIELD_NUMBER: _ClassVar[int]
    ENROL_TIME_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_CODES_FIELD_NUMBER: _ClassVar[int]
    officer_id: str
    state: OfficerState
    roles: _containers.RepeatedScalarFieldContainer[str]
    confirm_time: _timestamp_pb2.Timestamp
    lock_end_time: _timestamp_pb2.Timestamp
    enrol_time: _timestamp_pb2.Timestamp
    recovery_codes: int
    def __init__(self, officer_id: _Optional[str] = ..., state: _Optional[_Union[OfficerState, str]] = ..., roles: _Optional[_Iterable[str]] = ..., confirm_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., lock_end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., enrol_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recovery_codes: _Optional[int] = ...) -> None: ...

class EnrollOfficerRequest(_message.Message):
    __slots__ = ("invitation",)
    INVITATION_FIELD_NUMBER: _ClassVar[int]
    invitation: str
    def __init__(self, invitation: _Optional[str] = ...) -> None: ...

class EnrollOfficerResponse(_message.Message):
    __slots__ = ("secret", "uri")
    SECRET_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    secret: str
    uri: str
    def __init__(self, secret: _Optional[str] = ..., uri: _Optional[str] = ...) -> None: ...

class ConfirmOfficerRequest(_message.Message):
    __slots__ = ("first_code", "second_code")
    FIRST_CODE_FIELD_NUMBER: _ClassVar[int]
    SECOND_CODE_FIELD_NUMBER: _ClassVar[int]
    first_code: str
    second_code: str
    def __init__(self, first_code: _Optional[str] = ..., second_code: _Optional[str] = ...) -> None: ...

class ConfirmOfficerResponse(_message.Message):
    __slots__ = ("recovery_codes",)
    RECOVERY_CODES_FIELD_NUMBER: _ClassVar[int]
    recovery_codes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, recovery_codes: _Optional[_Iterable[str]] = ...) -> None: ...

class LoginRequest(_message.Message):
    __slots__ = ("code",)
    CODE_FIELD_NUMBER: _ClassVar[int]
    code: str
    def __init__(self, code: _Optional[str] = ...) -> None: ...

class LoginResponse(_message.Message):
    __slots__ = ("session", "expire_time", "idle_seconds", "recovery_codes")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    IDLE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_CODES_FIELD_NUMBER: _ClassVar[int]
    session: str
    expire_time: _timestamp_pb2.Timestamp
    idle_seconds: int
    recovery_codes: int
    def __init__(self, session: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., idle_seconds: _Optional[int] = ..., recovery_codes: _Optional[int] = ...) -> None: ...

class LogoutRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LogoutResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ResetOfficerRequest(_message.Message):
    __slots__ = ("officer_id", "dry_run", "reason")
    OFFICER_ID_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    officer_id: str
    dry_run: bool
    reason: str
    def __init__(self, officer_id: _Optional[str] = ..., dry_run: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class ResetOfficerResponse(_message.Message):
    __slots__ = ("officer",)
    OFFICER_FIELD_NUMBER: _ClassVar[int]
    officer: Officer
    def __init__(self, officer: _Optional[_Union[Officer, _Mapping]] = ...) -> None: ...

class ListOfficersRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListOfficersResponse(_message.Message):
    __slots__ = ("officers", "next_page_token")
    OFFICERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    officers: _containers.RepeatedCompositeFieldContainer[Officer]
    next_page_token: str
    def __init__(self, officers: _Optional[_Iterable[_Union[Officer, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WhoAmIRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WhoAmIResponse(_message.Message):
    __slots__ = ("principal_id", "kind", "tenant", "roles", "certificate_expire_time", "session_expire_time", "officer_state", "second_factor_required")
    PRINCIPAL_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    SESSION_EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    OFFICER_STATE_FIELD_NUMBER: _ClassVar[int]
    SECOND_FACTOR_REQUIRED_FIELD_NUMBER: _ClassVar[int]
    principal_id: str
    kind: str
    tenant: str
    roles: _containers.RepeatedScalarFieldContainer[str]
    certificate_expire_time: _timestamp_pb2.Timestamp
    session_expire_time: _timestamp_pb2.Timestamp
    officer_state: OfficerState
    second_factor_required: bool
    def __init__(self, principal_id: _Optional[str] = ..., kind: _Optional[str] = ..., tenant: _Optional[str] = ..., roles: _Optional[_Iterable[str]] = ..., certificate_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., session_expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., officer_state: _Optional[_Union[OfficerState, str]] = ..., second_factor_required: _Optional[bool] = ...) -> None: ...
