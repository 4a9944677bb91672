"""The next value of a key: pure functions that ask the table of `kmsgw.model.lifecycle` and make what it allows."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from kmsgw.errors import FailedPrecondition, InvalidRequest, Reason
from kmsgw.model.key import WRAP_LIMIT, Key, KeyState, KeyVersion, RotationPolicy
from kmsgw.model.lifecycle import Act, require, require_version, state_after

MIN_DESTRUCTION_DAYS: Final = 7
MAX_DESTRUCTION_DAYS: Final = 30

SHORTEST_PERIOD: Final = timedelta(hours=1)
LONGEST_PERIOD: Final = timedelta(days=36_500)
_MAX_BYTES: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class DueDestruction:
    """Material whose time has come: of the whole key, or of single versions of a key that goes on."""

    whole: bool
    versions: tuple[KeyVersion, ...]


def check_rotation(policy: RotationPolicy) -> RotationPolicy:
    """Return a rotation policy; raise `InvalidRequest` where a limit of it can't be.

    The period is 1 hour to 100 years, in whole seconds; messages and wraps are 1 to `WRAP_LIMIT`; bytes at least 1.
    """
    period = policy.period
    if period is not None and not SHORTEST_PERIOD <= period <= LONGEST_PERIOD:
        raise InvalidRequest("The rotation period is out of range.", advice="Use 1 hour to 100 years.")
    if period is not None and period.microseconds:
        raise InvalidRequest("The rotation period is not whole seconds.", advice="Leave the fraction out.")
    for name, limit, most in (
        ("max_messages", policy.max_messages, WRAP_LIMIT),
        ("max_wraps", policy.max_wraps, WRAP_LIMIT),
        ("max_bytes", policy.max_bytes, _MAX_BYTES),
    ):
        if limit is not None and not 1 <= limit <= most:
            raise InvalidRequest(f"{name} is out of range.", advice=f"Use 1 to {most}, or leave it out.")
    return policy


def with_act(key: Key, act: Act, now: datetime) -> Key:
    """Return the key after it is enabled or disabled."""
    return replace(key, state=require(key, act), updated=now)


def with_version_act(key: Key, act: Act, number: int, now: datetime) -> Key:
    """Return the key after one of its versions is enabled or disabled. The newest can't be disabled."""
    version = require_version(key, act, number)
    return _with_versions(key, {number: replace(version, state=state_after(version, act))}, now)


def with_destruction_at(key: Key, number: int, at: datetime, now: datetime) -> Key:
    """Return the key with its destruction scheduled, or that of one version where `number` is not 0.

    Raises `FailedPrecondition` with KEY_PROTECTED where the key is protected from deletion.
    """
    act = Act.SCHEDULE_VERSION_DESTRUCTION if number else Act.SCHEDULE_DESTRUCTION
    version = require_version(key, act, number) if number else None
    after = require(key, act)
    if key.deletion_protection:
        raise FailedPrecondition(
            "The key is protected from deletion.",
            reason=Reason.KEY_PROTECTED,
            advice="Take the protection away first: `kmsgw key update KEY --no-deletion-protection`.",
        )
    if version is None:
        return replace(key, state=after, destroy_at=at, updated=now)
    return _with_versions(key, {number: replace(version, state=state_after(version, act), destroy_at=at)}, now)


def without_destruction(key: Key, number: int, now: datetime) -> Key:
    """Return the key, or the one version, saved from its destruction: disabled.

    Raises `FailedPrecondition` with KEY_PENDING_DESTRUCTION where its time has come, or where it has begun, which a
    gateway with another clock may see earlier than this one.
    """
    act = Act.CANCEL_VERSION_DESTRUCTION if number else Act.CANCEL_DESTRUCTION
    version = require_version(key, act, number) if number else None
    after = require(key, act)
    at = key.destroy_at if version is None else version.destroy_at
    if at is None or at <= now:
        raise FailedPrecondition(
            "The time of its destruction has come.",
            reason=Reason.KEY_PENDING_DESTRUCTION,
            advice="It can't be saved any more: its material is being destroyed.",
        )
    if version is None:
        return replace(key, state=after, destroy_at=None, updated=now)
    return _with_versions(key, {number: replace(version, state=state_after(version, act), destroy_at=None)}, now)


def with_minimum_decrypt(key: Key, number: int, now: datetime) -> Key:
    """Return the key with a higher minimum for decryption. Raises `FailedPrecondition` where it would not rise."""
    require(key, Act.SET_MINIMUM)
    if number > key.primary.version:
        raise _no_version(key, number)
    if number <= key.minimum_decrypt_version:
        raise FailedPrecondition(
            f"The lowest version that may decrypt is {key.minimum_decrypt_version} already.",
            reason=Reason.KEY_VERSION_BELOW_MINIMUM,
            advice="The minimum only rises: name a higher version.",
        )
    return replace(key, minimum_decrypt_version=number, updated=now)


def check_minimum_encrypt(key: Key, number: int) -> int:
    """Return a minimum for encryption, 0 or a version of the key. Raises `FailedPrecondition` elsewhere."""
    if number and key.find_version(number) is None:
        raise _no_version(key, number)
    return number


def due_destruction(key: Key, now: datetime) -> DueDestruction | None:
    """Return what of the key is to be destroyed now, or None. What has begun before is still due.

    Nothing is of a key that is protected from deletion.
    """
    if key.deletion_protection:
        return None
    if key.state is KeyState.PENDING_DESTRUCTION and _is_due(key.destroy_at, now):
        return DueDestruction(True, tuple(each for each in key.versions if each.state is not KeyState.DESTROYED))
    versions = tuple(
        each for each in key.versions if each.state is KeyState.PENDING_DESTRUCTION and _is_due(each.destroy_at, now)
    )
    return DueDestruction(False, versions) if versions else None


def with_destruction_begun(key: Key, due: DueDestruction, now: datetime) -> Key:
    """Return the key with the times of what is due taken away: from here on nobody can cancel it."""
    if due.whole:
        return replace(key, destroy_at=None, updated=now)
    return _with_versions(key, {each.version: replace(each, destroy_at=None) for each in due.versions}, now)


def with_destroyed(key: Key, due: DueDestruction, now: datetime) -> Key:
    """Return the key after the material of what is due is gone: a tombstone without it, dated now."""
    act = Act.DESTROY if due.whole else Act.DESTROY_VERSION
    after = require(key, act)
    changes: dict[int, KeyVersion] = {}
    for each in due.versions:
        version = require_version(key, act, each.version)
        changes[each.version] = replace(version, state=state_after(version, act), destroy_at=now, material=b"")
    made = _with_versions(key, changes, now)
    return replace(made, state=after, destroy_at=now) if due.whole else made


def _no_version(key: Key, number: int) -> FailedPrecondition:
    return FailedPrecondition(
        f"The key has no version {number}.",
        reason=Reason.KEY_VERSION_UNKNOWN,
        advice=f"Its versions are 1 to {len(key.versions)}.",
    )


def _is_due(at: datetime | None, now: datetime) -> bool:
    return at is None or at <= now


def _with_versions(key: Key, changes: dict[int, KeyVersion], now: datetime) -> Key:
    return replace(key, versions=tuple(changes.get(each.version, each) for each in key.versions), updated=now)
