"""The verbs of KeyService. `key` is an id or ``alias/NAME``; `timeout` bounds a call in seconds over all attempts.

What changes a key is sent once: repeated only where the attempt before was never sent. With `dry_run` everything is
checked and nothing changed, and the answer shows what would be.
"""

from collections.abc import Callable, Mapping

from google.protobuf.field_mask_pb2 import FieldMask

from kmsgw.client.calls.call import Answer, Call, Page, method_path, time_of
from kmsgw.client.results import KeyInfo, KeyVersionInfo
from kmsgw.errors import InvalidRequest
from kmsgw.model.key import KeyState, check_labels, check_text
from kmsgw.model.names import check_alias, check_name
from kmsgw.v1 import key_service_pb2 as wire

_SERVICE = wire.DESCRIPTOR.services_by_name["KeyService"]
_CREATE = method_path(_SERVICE, "CreateKey")
_GET = method_path(_SERVICE, "GetKey")
_LIST = method_path(_SERVICE, "ListKeys")
_UPDATE = method_path(_SERVICE, "UpdateKey")
_ROTATE = method_path(_SERVICE, "RotateKey")
_LIST_VERSIONS = method_path(_SERVICE, "ListKeyVersions")
_ENABLE_VERSION = method_path(_SERVICE, "EnableKeyVersion")
_DISABLE_VERSION = method_path(_SERVICE, "DisableKeyVersion")
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
    reason: str = "",
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[KeyInfo]:
    """Create a key with its version 1. What is left out, the gateway chooses: an id, the caller's tenant, a provider.

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
    etag: str = "",
    reason: str = "",
    dry_run: bool = False,
    timeout: float | None = None,
) -> Call[KeyInfo]:
    """Change what is given; None leaves a field as it is. A key in another state than ENABLED refuses every use.

    `reason` is recorded, here and in the verbs below.

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
        values.state = _STATES[state]
        changed.append("state")
    if not changed:
        raise InvalidRequest("There is nothing to change.", advice="Give description, labels or state.")
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


def key_info(key: wire.Key) -> KeyInfo:
    """Return a key of the wire as the SDK shows it."""
    return KeyInfo(
        key_id=key.key_id,
        tenant=key.tenant,
        provider=key.provider,
        state=_state(key.state),
        primary_version=key.primary_version,
        created=time_of(key.create_time),
        updated=time_of(key.update_time),
        description=key.description,
        labels=dict(key.labels),
        aliases=tuple(key.aliases),
        etag=key.etag,
    )


def key_version_info(version: wire.KeyVersion) -> KeyVersionInfo:
    """Return a version of the wire as the SDK shows it."""
    return KeyVersionInfo(
        version.key_id, version.version, _state(version.state), time_of(version.create_time), version.reason
    )


def _state(state: wire.KeyState) -> KeyState:
    # A state of a newer gateway counts as disabled: whatever it is, it is not plainly in use.
    return KeyState.ENABLED if state == wire.KEY_STATE_ENABLED else KeyState.DISABLED


def _version(version: int) -> int:
    if not 1 <= version < 1 << 32:
        raise InvalidRequest("The version is out of range.", advice="Versions count from 1.")
    return version


def _key_reader(key_of: Callable[[bytes], wire.Key]) -> Callable[[Answer], KeyInfo]:
    return lambda answer: key_info(key_of(answer.payload))
