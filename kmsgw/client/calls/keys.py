"""The verbs of KeyService. `key` is an id or ``alias/NAME``; `timeout` bounds a call in seconds over all attempts.

What changes a key is sent once: repeated only where the attempt before was never sent. With `dry_run` everything is
checked and nothing changed, and the answer shows what would be.
"""

from collections.abc import Callable, Mapping

from google.protobuf.field_mask_pb2 import FieldMask

from kmsgw.client.calls.call import Answer, Call, Page, method_path
from kmsgw.client.calls.key_messages import (
    key_info,
    key_version_info,
    rotation_message,
    scheduled_destruction,
    version_usage,
)
from kmsgw.client.key_results import KeyInfo, KeyUsage, KeyVersionInfo, ScheduledDestruction
from kmsgw.errors import InvalidRequest
from kmsgw.model.key import KeyState, RotationPolicy, check_labels, check_text
from kmsgw.model.names import check_alias, check_name
from kmsgw.model.transitions import MAX_DESTRUCTION_DAYS, MIN_DESTRUCTION_DAYS
from kmsgw.v1 import key_service_pb2 as wire

_SERVICE = wire.DESCRIPTOR.services_by_name["KeyService"]
_CREATE = method_path(_SERVICE, "CreateKey")
_GET = method_path(_SERVICE, "GetKey")
_LIST = method_path(_SERVICE, "ListKeys")
_UPDATE = method_path(_SERVICE, "UpdateKey")
_ROTATE = method_path(_SERVICE, "RotateKey")
_GET_USAGE = method_path(_SERVICE, "GetKeyUsage")
_LIST_VERSIONS = method_path(_SERVICE, "ListKeyVersions")
_ENABLE_VERSION = method_path(_SERVICE, "EnableKeyVersion")
_DISABLE_VERSION = method_path(_SERVICE, "DisableKeyVersion")
_SCHEDULE_DESTRUCTION = method_path(_SERVICE, "ScheduleKeyDestruction")
_CANCEL_DESTRUCTION = method_path(_SERVICE, "CancelKeyDestruction")
_SET_MINIMUM = method_path(_SERVICE, "SetMinimumDecryptVersion")
_CREATE_ALIAS = method_path(_SERVICE, "CreateAlias")
_DELETE_ALIAS = method_path(_SERVICE, "DeleteAlias")

_STATES: Mapping[KeyState, wire.KeyState] = {
    KeyState.ENABLED: wire.KEY_STATE_ENABLED,
    KeyState.DISABLED: wire.KEY_STATE_DISABLED,
}


def create_key(
    key_id: str = "",
    *,
    tenant: str = "",
    provider: str = "",
    description: str = "",
    labels: Mapping[str, str] | None = None,
    rotation: RotationPolicy | None = None,
    deletion_protection: bool = False,
    reason: str = "",
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[KeyInfo]:
    """Create a key with its version 1. What is left out, the gateway chooses: an id, the caller's tenant, a provider.

    `rotation` says when it is rotated by itself. With `deletion_protection` its destruction is refused.
    `reason` is recorded. Raises `AlreadyExists` where the id is taken, or ever was.
    """
    if key_id:
        check_name(key_id, "key_id")
    request = wire.CreateKeyRequest(
        key_id=key_id,
        tenant=tenant,
        provider=provider,
        description=check_text(description, "description"),
        labels=check_labels(labels or {}),
        reason=check_text(reason, "reason"),
        dry_run=dry_run,
        rotation=None if rotation is None else rotation_message(rotation),
        deletion_protection=deletion_protection,
    )
    read = _key_reader(lambda payload: wire.CreateKeyResponse.FromString(payload).key)
    return Call(_CREATE, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def get_key(key: str, *, timeout: float | None = None) -> Call[KeyInfo]:
    """Return one key. Raises `AccessDenied` where there is none, or policy forbids it: both look alike."""
    request = wire.GetKeyRequest(key=key)
    read = _key_reader(lambda payload: wire.GetKeyResponse.FromString(payload).key)
    return Call(_GET, request.SerializeToString(), read, timeout=timeout)


def list_keys(page_token: str, *, page_size: int = 100, timeout: float | None = None) -> Call[Page[KeyInfo]]:
    """Iterate over the keys that the caller may see, by id. `page_size` is 1 to 1,000; `timeout` is for each page."""
    request = wire.ListKeysRequest(page_size=page_size, page_token=page_token)

    def read(answer: Answer) -> Page[KeyInfo]:
        response = wire.ListKeysResponse.FromString(answer.payload)
        return Page(tuple(map(key_info, response.keys)), response.next_page_token)

    return Call(_LIST, request.SerializeToString(), read, timeout=timeout)


def update_key(
    key: str,
    *,
    description: str | None = None,
    labels: Mapping[str, str] | None = None,
    state: KeyState | None = None,
    deletion_protection: bool | None = None,
    rotation: RotationPolicy | None = None,
    minimum_encrypt_version: int | None = None,
    etag: str = "",
    reason: str = "",
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[KeyInfo]:
    """Change what is given; None leaves a field as it is. A key in another state than ENABLED refuses every use.

    `rotation` replaces the whole policy. `minimum_encrypt_version` is the lowest that callers may ask to encrypt under,
    0 for the newest alone. `reason` is recorded, here and in the verbs below.

    Raises `Conflict` where `etag` is given and the key has changed since, `InvalidRequest` where nothing is given.
    """
    values = wire.Key()
    changed: list[str] = []
    if description is not None:
        values.description = check_text(description, "description")
        changed.append("description")
    if labels is not None:
        values.labels.update(check_labels(labels))
        changed.append("labels")
    if state is not None:
        if state not in _STATES:
            raise InvalidRequest("A key is not put in this state so.", advice="Use ENABLED or DISABLED.")
        values.state = _STATES[state]
        changed.append("state")
    if deletion_protection is not None:
        values.deletion_protection = deletion_protection
        changed.append("deletion_protection")
    if rotation is not None:
        values.rotation.CopyFrom(rotation_message(rotation))
        changed.append("rotation")
    if minimum_encrypt_version is not None:
        values.minimum_encrypt_version = _version(minimum_encrypt_version) if minimum_encrypt_version else 0
        changed.append("minimum_encrypt_version")
    if not changed:
        raise InvalidRequest("There is nothing to change.", advice="Give description, labels, state or another field.")
    request = wire.UpdateKeyRequest(
        key=key,
        new_values=values,
        update_mask=FieldMask(paths=changed),
        etag=etag,
        reason=check_text(reason, "reason"),
        dry_run=dry_run,
    )
    read = _key_reader(lambda payload: wire.UpdateKeyResponse.FromString(payload).key)
    return Call(_UPDATE, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def rotate_key(key: str, *, reason: str = "", dry_run: bool = False, timeout: float | None = None) -> Call[KeyInfo]:
    """Make a new version, which encrypts from then on; older ones go on decrypting. `reason` is recorded."""
    request = wire.RotateKeyRequest(key=key, reason=check_text(reason, "reason"), dry_run=dry_run)
    read = _key_reader(lambda payload: wire.RotateKeyResponse.FromString(payload).key)
    return Call(_ROTATE, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def list_key_versions(
    page_token: str, key: str, *, page_size: int = 100, timeout: float | None = None
) -> Call[Page[KeyVersionInfo]]:
    """Iterate over the versions of a key, newest first. `page_size` is 1 to 1,000; `timeout` is for each page."""
    request = wire.ListKeyVersionsRequest(key=key, page_size=page_size, page_token=page_token)

    def read(answer: Answer) -> Page[KeyVersionInfo]:
        response = wire.ListKeyVersionsResponse.FromString(answer.payload)
        return Page(tuple(map(key_version_info, response.key_versions)), response.next_page_token)

    return Call(_LIST_VERSIONS, request.SerializeToString(), read, timeout=timeout)


def get_key_usage(key: str, *, timeout: float | None = None) -> Call[KeyUsage]:
    """Return what was done under each version of a key, and so what may still be encrypted under the old ones."""
    request = wire.GetKeyUsageRequest(key=key)

    def read(answer: Answer) -> KeyUsage:
        response = wire.GetKeyUsageResponse.FromString(answer.payload)
        return KeyUsage(tuple(map(version_usage, response.usage)), tuple(map(key_version_info, response.key_versions)))

    return Call(_GET_USAGE, request.SerializeToString(), read, timeout=timeout)


def enable_key_version(
    key: str, version: int, *, reason: str = "", dry_run: bool = False, timeout: float | None = None
) -> Call[KeyVersionInfo]:
    """Let a disabled version decrypt again."""
    request = wire.EnableKeyVersionRequest(
        key=key, version=_version(version), reason=check_text(reason, "reason"), dry_run=dry_run
    )

    def read(answer: Answer) -> KeyVersionInfo:
        return key_version_info(wire.EnableKeyVersionResponse.FromString(answer.payload).key_version)

    return Call(_ENABLE_VERSION, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def disable_key_version(
    key: str, version: int, *, reason: str = "", dry_run: bool = False, timeout: float | None = None
) -> Call[KeyVersionInfo]:
    """Refuse a version for every use until it is enabled. Raises `FailedPrecondition` where it is the newest."""
    request = wire.DisableKeyVersionRequest(
        key=key, version=_version(version), reason=check_text(reason, "reason"), dry_run=dry_run
    )

    def read(answer: Answer) -> KeyVersionInfo:
        return key_version_info(wire.DisableKeyVersionResponse.FromString(answer.payload).key_version)

    return Call(_DISABLE_VERSION, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def schedule_key_destruction(
    key: str,
    *,
    reason: str,
    version: int = 0,
    days: int = MAX_DESTRUCTION_DAYS,
    force: bool = False,
    etag: str = "",
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[ScheduledDestruction]:
    """Destroy a key, or its one `version`, after 7 to 30 `days`; until then it is refused for every use.

    `force` does it although it was used lately, or something may still be encrypted under it. Raises
    `FailedPrecondition` where protection, use or provider forbid it, and `Conflict` as `update_key`.
    """
    if not MIN_DESTRUCTION_DAYS <= days <= MAX_DESTRUCTION_DAYS:
        raise InvalidRequest("days is out of range.", advice=f"Use {MIN_DESTRUCTION_DAYS} to {MAX_DESTRUCTION_DAYS}.")
    request = wire.ScheduleKeyDestructionRequest(
        key=key,
        version=_version(version) if version else 0,
        days=days,
        force=force,
        etag=etag,
        dry_run=dry_run,
        reason=check_text(reason, "reason"),
    )

    def read(answer: Answer) -> ScheduledDestruction:
        return scheduled_destruction(wire.ScheduleKeyDestructionResponse.FromString(answer.payload))

    return Call(_SCHEDULE_DESTRUCTION, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def cancel_key_destruction(
    key: str, *, reason: str, version: int = 0, dry_run: bool = False, timeout: float | None = None
) -> Call[ScheduledDestruction]:
    """Save a key, or its one `version`, before its time. It is left disabled: enable it to use it again."""
    request = wire.CancelKeyDestructionRequest(
        key=key,
        version=_version(version) if version else 0,
        reason=check_text(reason, "reason"),
        dry_run=dry_run,
    )

    def read(answer: Answer) -> ScheduledDestruction:
        return scheduled_destruction(wire.CancelKeyDestructionResponse.FromString(answer.payload))

    return Call(_CANCEL_DESTRUCTION, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def set_minimum_decrypt_version(
    key: str,
    version: int,
    *,
    reason: str,
    force: bool = False,
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[KeyInfo]:
    """Refuse decryption under the versions below `version`, for good: the minimum only rises.

    `force` does it although one of them was used lately, or something may still be encrypted under it.
    """
    request = wire.SetMinimumDecryptVersionRequest(
        key=key,
        version=_version(version),
        force=force,
        reason=check_text(reason, "reason"),
        dry_run=dry_run,
    )
    read = _key_reader(lambda payload: wire.SetMinimumDecryptVersionResponse.FromString(payload).key)
    return Call(_SET_MINIMUM, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def create_alias(
    alias: str, key: str, *, reason: str = "", dry_run: bool = False, timeout: float | None = None
) -> Call[KeyInfo]:
    """Give a key (its id) a further name, as ``alias/NAME``. Raises `AlreadyExists` where the name is taken."""
    request = wire.CreateAliasRequest(
        alias=check_alias(alias), key=key, reason=check_text(reason, "reason"), dry_run=dry_run
    )
    read = _key_reader(lambda payload: wire.CreateAliasResponse.FromString(payload).key)
    return Call(_CREATE_ALIAS, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def delete_alias(alias: str, *, reason: str = "", dry_run: bool = False, timeout: float | None = None) -> Call[KeyInfo]:
    """Take the name ``alias/NAME`` away. The key stays, and is the answer."""
    request = wire.DeleteAliasRequest(alias=check_alias(alias), reason=check_text(reason, "reason"), dry_run=dry_run)
    read = _key_reader(lambda payload: wire.DeleteAliasResponse.FromString(payload).key)
    return Call(_DELETE_ALIAS, request.SerializeToString(), read, repeatable=dry_run, timeout=timeout)


def _version(version: int) -> int:
    if not 1 <= version < 1 << 32:
        raise InvalidRequest("The version is out of range.", advice="Versions count from 1.")
    return version


def _key_reader(key_of: Callable[[bytes], wire.Key]) -> Callable[[Answer], KeyInfo]:
    return lambda answer: key_info(key_of(answer.payload))
