"""Keys between the wire and the SDK: what answers hold, and the rotation policy that requests do."""

from collections.abc import Mapping
from datetime import datetime

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from kmsgw.client.calls.call import time_of
from kmsgw.client.key_results import KeyInfo, KeyVersionInfo, ScheduledDestruction
from kmsgw.model.key import NO_ROTATION_POLICY, KeyState, Origin, RotationPolicy
from kmsgw.model.transitions import check_rotation
from kmsgw.model.usage import Usage, VersionUsage
from kmsgw.v1 import key_service_pb2 as wire

_FROM_WIRE: Mapping[int, KeyState] = {
    wire.KEY_STATE_ENABLED: KeyState.ENABLED,
    wire.KEY_STATE_DISABLED: KeyState.DISABLED,
    wire.KEY_STATE_PENDING_DESTRUCTION: KeyState.PENDING_DESTRUCTION,
    wire.KEY_STATE_DESTROYED: KeyState.DESTROYED,
}


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
        destroy_time=_optional(key, "destroy_time", key.destroy_time),
        # A gateway of an older release has no minimum: then all versions decrypt.
        minimum_decrypt_version=key.minimum_decrypt_version or 1,
        minimum_encrypt_version=key.minimum_encrypt_version,
        deletion_protection=key.deletion_protection,
        rotation=_rotation_of(key.rotation),
        next_rotation=_optional(key, "next_rotation_time", key.next_rotation_time),
    )


def key_version_info(version: wire.KeyVersion) -> KeyVersionInfo:
    """Return a version of the wire as the SDK shows it."""
    return KeyVersionInfo(
        version.key_id,
        version.version,
        _state(version.state),
        time_of(version.create_time),
        version.reason,
        _optional(version, "destroy_time", version.destroy_time),
        Origin.IMPORTED if version.origin == wire.KEY_VERSION_ORIGIN_IMPORTED else Origin.GENERATED,
    )


def version_usage(found: wire.VersionUsage) -> VersionUsage:
    """Return what was done under a version, as the SDK shows it."""
    usage = Usage(
        envelopes=found.envelopes,
        data_keys=found.data_keys,
        decrypts=found.decrypts,
        rewraps_away=found.rewraps_away,
        rewraps_here=found.rewraps_here,
        wraps=found.wraps,
        sealed_bytes=found.sealed_bytes,
        last_used=_optional(found, "last_use_time", found.last_use_time),
    )
    return VersionUsage(found.version, found.tenant, usage)


def _state(state: wire.KeyState) -> KeyState:
    # A state of a newer gateway counts as disabled: whatever it is, it is not plainly in use.
    return _FROM_WIRE.get(state, KeyState.DISABLED)


def scheduled_destruction(
    response: wire.ScheduleKeyDestructionResponse | wire.CancelKeyDestructionResponse,
) -> ScheduledDestruction:
    """Return the answer to a destruction that was scheduled or cancelled, as the SDK shows it."""
    version = key_version_info(response.key_version) if response.HasField("key_version") else None
    return ScheduledDestruction(key_info(response.key), version)


def rotation_message(policy: RotationPolicy) -> wire.RotationPolicy:
    """Return a rotation policy as the wire has it. Raises `InvalidRequest` where a limit of it can't be."""
    check_rotation(policy)
    return wire.RotationPolicy(
        period=None if policy.period is None else Duration(seconds=int(policy.period.total_seconds())),
        max_messages=policy.max_messages or 0,
        max_bytes=policy.max_bytes or 0,
        max_wraps=policy.max_wraps or 0,
    )


def _rotation_of(message: wire.RotationPolicy) -> RotationPolicy:
    try:
        period = message.period.ToTimedelta() if message.HasField("period") else None
    except (ValueError, OverflowError):
        raise DecodeError("a duration is out of range") from None
    limits = (message.max_messages or None, message.max_bytes or None, message.max_wraps or None)
    return RotationPolicy(period, *limits) if period is not None or any(limits) else NO_ROTATION_POLICY


def _optional(message: wire.Key | wire.KeyVersion | wire.VersionUsage, field: str, stamp: Timestamp) -> datetime | None:
    return time_of(stamp) if message.HasField(field) else None
