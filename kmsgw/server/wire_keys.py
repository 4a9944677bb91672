"""KeyService: from the wire to commands, and from results to the wire."""

from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.errors import InvalidRequest
from kmsgw.model.key import Key, KeyState, KeyVersion, Origin, RotationPolicy
from kmsgw.model.names import is_name
from kmsgw.model.usage import next_rotation
from kmsgw.operations.control.aliases import CreateAliasCommand, DeleteAliasCommand
from kmsgw.operations.control.create_key import CreateKeyCommand
from kmsgw.operations.control.key_views import (
    GetKeyCommand,
    KeyPage,
    ListKeysCommand,
    ListKeyVersionsCommand,
    VersionPage,
    check_page_size,
)
from kmsgw.operations.control.minimum_version import SetMinimumDecryptVersionCommand
from kmsgw.operations.control.rotate_key import RotateKeyCommand
from kmsgw.operations.control.schedule_destruction import (
    CancelKeyDestructionCommand,
    ScheduledDestruction,
    ScheduleKeyDestructionCommand,
)
from kmsgw.operations.control.update_key import UPDATABLE, ChangedVersion, SetVersionStateCommand, UpdateKeyCommand
from kmsgw.v1 import key_service_pb2 as pb

_TO_WIRE = {
    KeyState.ENABLED: pb.KEY_STATE_ENABLED,
    KeyState.DISABLED: pb.KEY_STATE_DISABLED,
    KeyState.PENDING_DESTRUCTION: pb.KEY_STATE_PENDING_DESTRUCTION,
    KeyState.DESTROYED: pb.KEY_STATE_DESTROYED,
}
_FROM_WIRE = {pb.KEY_STATE_ENABLED: KeyState.ENABLED, pb.KEY_STATE_DISABLED: KeyState.DISABLED}
_ORIGINS = {
    Origin.GENERATED: pb.KEY_VERSION_ORIGIN_GENERATED,
    Origin.IMPORTED: pb.KEY_VERSION_ORIGIN_IMPORTED,
}
_LONGEST_DURATION = 315_576_000_000


def timestamp(time: datetime) -> Timestamp:
    """Write a time."""
    made = Timestamp()
    made.FromDatetime(time)
    return made


def key_message(key: Key) -> pb.Key:
    """Write a key."""
    return pb.Key(
        key_id=key.key_id,
        tenant=key.tenant,
        provider=key.provider,
        state=_TO_WIRE[key.state],
        primary_version=len(key.versions),
        description=key.description,
        labels=dict(key.labels),
        aliases=key.aliases,
        create_time=timestamp(key.created),
        update_time=timestamp(key.updated),
        etag=key.etag,
        destroy_time=_optional(key.destroy_at),
        minimum_decrypt_version=key.minimum_decrypt_version,
        minimum_encrypt_version=key.minimum_encrypt_version,
        deletion_protection=key.deletion_protection,
        rotation=rotation_message(key.rotation),
        next_rotation_time=_optional(next_rotation(key)),
    )


def version_message(key_id: str, version: KeyVersion) -> pb.KeyVersion:
    """Write a key version."""
    return pb.KeyVersion(
        key_id=key_id,
        version=version.version,
        state=_TO_WIRE[version.state],
        create_time=timestamp(version.created),
        reason=version.reason,
        destroy_time=_optional(version.destroy_at),
        origin=_ORIGINS[version.origin],
    )


def rotation_message(policy: RotationPolicy) -> pb.RotationPolicy:
    """Write a rotation policy; what is not set stays so."""
    return pb.RotationPolicy(
        period=None if policy.period is None else Duration(seconds=int(policy.period.total_seconds())),
        max_messages=policy.max_messages or 0,
        max_bytes=policy.max_bytes or 0,
        max_wraps=policy.max_wraps or 0,
    )


def rotation_of(message: pb.RotationPolicy) -> RotationPolicy:
    """Read a rotation policy. Raises `InvalidRequest` where its period is no duration."""
    period = message.period
    if not 0 <= period.seconds <= _LONGEST_DURATION or not 0 <= period.nanos < 1_000_000_000 or period.nanos % 1000:
        raise InvalidRequest("The rotation period is malformed.", advice="Use 1 hour to 100 years, in whole seconds.")
    return RotationPolicy(
        period.ToTimedelta() if message.HasField("period") else None,
        message.max_messages or None,
        message.max_bytes or None,
        message.max_wraps or None,
    )


def create_key_command(request: pb.CreateKeyRequest) -> CreateKeyCommand:
    """Read a CreateKey request."""
    return CreateKeyCommand(
        request.key_id,
        request.tenant,
        request.provider,
        request.description,
        dict(request.labels),
        request.reason,
        request.dry_run,
        rotation_of(request.rotation),
        request.deletion_protection,
    )


def get_key_command(request: pb.GetKeyRequest) -> GetKeyCommand:
    """Read a GetKey request."""
    return GetKeyCommand(request.key)


def list_keys_command(request: pb.ListKeysRequest) -> ListKeysCommand:
    """Read a ListKeys request; its page token is the last id of the page before."""
    if request.page_token and not is_name(request.page_token):
        raise _bad_token()
    return ListKeysCommand(check_page_size(request.page_size), request.page_token)


def list_keys_response(result: KeyPage) -> pb.ListKeysResponse:
    """Write a ListKeys response."""
    return pb.ListKeysResponse(keys=map(key_message, result.keys), next_page_token=result.next_after)


def list_key_versions_command(request: pb.ListKeyVersionsRequest) -> ListKeyVersionsCommand:
    """Read a ListKeyVersions request; its page token is the lowest version of the page before."""
    token = request.page_token
    if token and not (token.isascii() and token.isdecimal() and len(token) <= 9 and int(token) > 0):
        raise _bad_token()
    return ListKeyVersionsCommand(request.key, check_page_size(request.page_size), int(token or 0))


def list_key_versions_response(result: VersionPage) -> pb.ListKeyVersionsResponse:
    """Write a ListKeyVersions response."""
    return pb.ListKeyVersionsResponse(
        key_versions=[version_message(result.key_id, each) for each in result.versions],
        next_page_token=str(result.next_below) if result.next_below else "",
    )


def update_key_command(request: pb.UpdateKeyRequest) -> UpdateKeyCommand:
    """Read an UpdateKey request."""
    paths, new = set(request.update_mask.paths), request.new_values
    if not paths.issubset(UPDATABLE):
        raise InvalidRequest(
            "update_mask names a field that can't be changed.", advice=f"Name some of {', '.join(UPDATABLE)}."
        )
    if "state" in paths and new.state not in _FROM_WIRE:
        raise InvalidRequest("state is not set.", advice="Use KEY_STATE_ENABLED or KEY_STATE_DISABLED.")
    return UpdateKeyCommand(
        request.key,
        new.description if "description" in paths else None,
        dict(new.labels) if "labels" in paths else None,
        _FROM_WIRE[new.state] if "state" in paths else None,
        request.etag,
        request.reason,
        request.dry_run,
        new.deletion_protection if "deletion_protection" in paths else None,
        rotation_of(new.rotation) if "rotation" in paths else None,
        new.minimum_encrypt_version if "minimum_encrypt_version" in paths else None,
    )


def rotate_key_command(request: pb.RotateKeyRequest) -> RotateKeyCommand:
    """Read a RotateKey request."""
    return RotateKeyCommand(request.key, request.reason, request.dry_run)


def rotate_key_response(result: Key) -> pb.RotateKeyResponse:
    """Write a RotateKey response."""
    return pb.RotateKeyResponse(key=key_message(result), key_version=version_message(result.key_id, result.primary))


def set_version_state_command(
    request: pb.EnableKeyVersionRequest | pb.DisableKeyVersionRequest,
) -> SetVersionStateCommand:
    """Read an EnableKeyVersion or a DisableKeyVersion request."""
    return SetVersionStateCommand(request.key, request.version, request.reason, request.dry_run)


def enable_key_version_response(result: ChangedVersion) -> pb.EnableKeyVersionResponse:
    """Write an EnableKeyVersion response."""
    return pb.EnableKeyVersionResponse(key_version=version_message(result.key_id, result.version))


def disable_key_version_response(result: ChangedVersion) -> pb.DisableKeyVersionResponse:
    """Write a DisableKeyVersion response."""
    return pb.DisableKeyVersionResponse(key_version=version_message(result.key_id, result.version))


def schedule_key_destruction_command(request: pb.ScheduleKeyDestructionRequest) -> ScheduleKeyDestructionCommand:
    """Read a ScheduleKeyDestruction request."""
    return ScheduleKeyDestructionCommand(
        request.key, request.version, request.days, request.force, request.etag, request.reason, request.dry_run
    )


def schedule_key_destruction_response(result: ScheduledDestruction) -> pb.ScheduleKeyDestructionResponse:
    """Write a ScheduleKeyDestruction response."""
    return pb.ScheduleKeyDestructionResponse(key=key_message(result.key), key_version=_version_of(result))


def cancel_key_destruction_command(request: pb.CancelKeyDestructionRequest) -> CancelKeyDestructionCommand:
    """Read a CancelKeyDestruction request."""
    return CancelKeyDestructionCommand(request.key, request.version, request.reason, request.dry_run)


def cancel_key_destruction_response(result: ScheduledDestruction) -> pb.CancelKeyDestructionResponse:
    """Write a CancelKeyDestruction response."""
    return pb.CancelKeyDestructionResponse(key=key_message(result.key), key_version=_version_of(result))


def set_minimum_decrypt_version_command(
    request: pb.SetMinimumDecryptVersionRequest,
) -> SetMinimumDecryptVersionCommand:
    """Read a SetMinimumDecryptVersion request."""
    return SetMinimumDecryptVersionCommand(request.key, request.version, request.force, request.reason, request.dry_run)


def create_alias_command(request: pb.CreateAliasRequest) -> CreateAliasCommand:
    """Read a CreateAlias request."""
    return CreateAliasCommand(request.alias, request.key, request.reason, request.dry_run)


def delete_alias_command(request: pb.DeleteAliasRequest) -> DeleteAliasCommand:
    """Read a DeleteAlias request."""
    return DeleteAliasCommand(request.alias, request.reason, request.dry_run)


def _version_of(result: ScheduledDestruction) -> pb.KeyVersion | None:
    return None if result.version is None else version_message(result.key.key_id, result.version)


def _optional(time: datetime | None) -> Timestamp | None:
    return None if time is None else timestamp(time)


def _bad_token() -> InvalidRequest:
    return InvalidRequest("page_token is malformed.", advice="Give next_page_token back as it was answered.")
