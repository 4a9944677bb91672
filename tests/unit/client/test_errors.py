"""From gRPC's failures to the tree of errors, through both flavours."""

import traceback

import grpc
import pytest

from kmsgw.client import (
    AccessDenied,
    AlreadyExists,
    AuditUnavailable,
    Conflict,
    DecryptionFailed,
    EnvelopeMalformed,
    FailedPrecondition,
    InternalError,
    InvalidRequest,
    KmsgwError,
    MethodUnknown,
    NotFound,
    ProviderUnavailable,
    Reason,
    ResourceExhausted,
    StateUnavailable,
    Unauthenticated,
    Unavailable,
)
from kmsgw.client.channel import MAX_MESSAGE_BYTES
from kmsgw.errors import Status
from tests.fakes.scripted_gateway import Refusal, ScriptedGateway
from tests.unit.client.driver import Driver

CODE = grpc.StatusCode
METHOD = "CryptoService/Decrypt"


def refused(gateway: ScriptedGateway, drive: Driver, refusal: Refusal) -> KmsgwError:
    gateway.script(METHOD, refusal)
    with pytest.raises(KmsgwError) as caught:
        drive(gateway, lambda client: client.decrypt(b"sealed"))
    return caught.value


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (CODE.INVALID_ARGUMENT, "FIELD_INVALID", InvalidRequest),
        (CODE.INVALID_ARGUMENT, "DECRYPTION_FAILED", DecryptionFailed),
        (CODE.INVALID_ARGUMENT, "ENVELOPE_MALFORMED", EnvelopeMalformed),
        (CODE.INVALID_ARGUMENT, "ENVELOPE_VERSION_UNKNOWN", EnvelopeMalformed),
        (CODE.NOT_FOUND, "REQUEST_UNKNOWN", NotFound),
        (CODE.ALREADY_EXISTS, "ALIAS_EXISTS", AlreadyExists),
        (CODE.PERMISSION_DENIED, "ACCESS_DENIED", AccessDenied),
        (CODE.UNAUTHENTICATED, "CERTIFICATE_REVOKED", Unauthenticated),
        (CODE.FAILED_PRECONDITION, "KEY_VERSION_DISABLED", FailedPrecondition),
        (CODE.ABORTED, "KEY_CHANGED", Conflict),
        (CODE.RESOURCE_EXHAUSTED, "LIMIT_REACHED", ResourceExhausted),
        (CODE.UNIMPLEMENTED, "METHOD_UNKNOWN", MethodUnknown),
        (CODE.UNAVAILABLE, "PROVIDER_UNAVAILABLE", ProviderUnavailable),
        (CODE.UNAVAILABLE, "STATE_UNAVAILABLE", StateUnavailable),
        (CODE.UNAVAILABLE, "AUDIT_UNAVAILABLE", AuditUnavailable),
        (CODE.UNAVAILABLE, "SHUTTING_DOWN", Unavailable),
        (CODE.INTERNAL, "INTERNAL", InternalError),
    ],
)
def test_status_and_reason_choose_the_class(
    gateway: ScriptedGateway, drive: Driver, code: grpc.StatusCode, reason: str, kind: type[KmsgwError]
) -> None:
    error = refused(gateway, drive, Refusal(code, "What happened.", reason, advice="What to do."))

    assert type(error) is kind
    assert error.reason is Reason(reason)
    assert error.advice == "What to do."
    assert error.request_id == "request-7"
    if kind is not DecryptionFailed:
        assert error.message == "What happened."


def test_every_status_of_the_tree_has_a_class() -> None:
    from kmsgw.client.explanations import _BY_STATUS

    # What was cancelled comes to the client as unavailable: see `kmsgw.client.failures`.
    assert set(_BY_STATUS) == set(Status) - {Status.CANCELLED}


def test_the_reason_of_a_newer_gateway_falls_back_and_stays_readable(gateway: ScriptedGateway, drive: Driver) -> None:
    error = refused(gateway, drive, Refusal(CODE.FAILED_PRECONDITION, "Too hot.", "HSM_MELTED", advice="Run."))

    assert type(error) is FailedPrecondition
    assert error.reason is FailedPrecondition.default_reason
    assert error.message == "Too hot. [HSM_MELTED]"
    assert error.advice == "Run."


def test_a_reason_of_another_domain_is_not_ours(gateway: ScriptedGateway, drive: Driver) -> None:
    error = refused(gateway, drive, Refusal(CODE.INVALID_ARGUMENT, "No.", "DECRYPTION_FAILED", domain="proxy.example"))

    assert type(error) is InvalidRequest
    assert error.reason is Reason.FIELD_INVALID


def test_the_status_weighs_more_than_the_reason(gateway: ScriptedGateway, drive: Driver) -> None:
    error = refused(gateway, drive, Refusal(CODE.NOT_FOUND, "No.", "DECRYPTION_FAILED"))

    assert type(error) is NotFound


def test_details_that_are_not_protobuf_count_as_absent(gateway: ScriptedGateway, drive: Driver) -> None:
    error = refused(gateway, drive, Refusal(CODE.ABORTED, "Changed.", details=b"\xff\xff\xff"))

    assert type(error) is Conflict
    assert error.message == "Changed."


def test_details_of_another_status_count_as_absent(gateway: ScriptedGateway, drive: Driver) -> None:
    other = dict(Refusal(CODE.INVALID_ARGUMENT, "x", "DECRYPTION_FAILED").metadata())["grpc-status-details-bin"]
    assert isinstance(other, bytes)

    error = refused(gateway, drive, Refusal(CODE.ABORTED, "Changed.", details=other))

    assert type(error) is Conflict


def test_a_refusal_without_a_word_says_so(gateway: ScriptedGateway, drive: Driver) -> None:
    error = refused(gateway, drive, Refusal(CODE.FAILED_PRECONDITION))

    assert error.message == "The gateway gave no reason."


@pytest.mark.parametrize("code", [CODE.UNKNOWN, CODE.DATA_LOSS, CODE.OUT_OF_RANGE])
def test_a_status_that_kmsgw_never_uses_is_internal(
    gateway: ScriptedGateway, drive: Driver, code: grpc.StatusCode
) -> None:
    assert type(refused(gateway, drive, Refusal(code, "What?"))) is InternalError


def test_a_method_that_the_gateway_lacks_is_named_so(gateway: ScriptedGateway, drive: Driver) -> None:
    with pytest.raises(MethodUnknown, match="as new as this SDK"):
        drive(gateway, lambda client: client.status())


def test_the_request_id_is_found_in_the_details_where_the_metadata_has_none(drive: Driver) -> None:
    with ScriptedGateway() as gateway:
        error = refused(gateway, drive, Refusal(CODE.ABORTED, "Changed.", "KEY_CHANGED", request_info="request-9"))

    assert error.request_id == "request-9"


def test_retry_after_is_that_of_the_gateway_or_none(gateway: ScriptedGateway, drive: Driver) -> None:
    error = refused(gateway, drive, Refusal(CODE.UNAVAILABLE, "Down.", "STATE_UNAVAILABLE", retry_after=99.5))

    assert error.retry_after == 99.5


def test_an_answer_that_is_not_protobuf_is_internal(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script(METHOD, b"\xff\xff\xff")

    with pytest.raises(InternalError, match="can't be read") as caught:
        drive(gateway, lambda client: client.decrypt(b"sealed"))

    assert caught.value.request_id == "request-7"


def test_an_answer_beyond_the_limit_is_refused(gateway: ScriptedGateway, drive: Driver) -> None:
    gateway.script(METHOD, bytes(MAX_MESSAGE_BYTES + 1))

    with pytest.raises(ResourceExhausted):
        drive(gateway, lambda client: client.decrypt(b"sealed"))


def test_grpcs_own_error_is_not_behind_ours(gateway: ScriptedGateway, drive: Driver) -> None:
    error = refused(gateway, drive, Refusal(CODE.ABORTED, "Changed.", "KEY_CHANGED"))

    assert error.__cause__ is None
    assert error.__context__ is None
    assert "RpcError" not in "".join(traceback.format_exception(error))
