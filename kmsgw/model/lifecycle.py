"""What may be done with a key in which state: the one table that every operation asks (docs/lifecycle.md).

A rule is the state after the act, or the reason of its refusal. A key has a state and each of its versions has one:
what concerns a version must be allowed by both tables. What is not a matter of states alone stands beside them here:
the two minimum versions, and the newest version, which can't be taken out of use by itself.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from kmsgw.errors import FailedPrecondition, Reason
from kmsgw.model.key import Key, KeyState, KeyVersion


class Act(StrEnum):
    """What can be done with a key or one of its versions; the values are the words of docs/lifecycle.md."""

    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"
    REWRAP_FROM = "rewrap from"
    REWRAP_TO = "rewrap to"
    GENERATE_DATA_KEY = "generate a data key"
    COMPUTE_MAC = "compute a MAC"
    ROTATE = "rotate"
    IMPORT_VERSION = "import a version"
    UPDATE = "update"
    ENABLE = "enable"
    DISABLE = "disable"
    SET_MINIMUM = "set a minimum version"
    SCHEDULE_DESTRUCTION = "schedule its destruction"
    CANCEL_DESTRUCTION = "cancel its destruction"
    DESTROY = "destroy it when due"
    ENABLE_VERSION = "enable a version"
    DISABLE_VERSION = "disable a version"
    SCHEDULE_VERSION_DESTRUCTION = "schedule a version's destruction"
    CANCEL_VERSION_DESTRUCTION = "cancel a version's destruction"
    DESTROY_VERSION = "destroy a version when due"
    CREATE_ALIAS = "create an alias"
    DELETE_ALIAS = "delete an alias"
    VIEW = "get and list"


Rule: TypeAlias = KeyState | Reason
"""The state after an act that is allowed, or why it is not."""

Rules: TypeAlias = Mapping[Act, Mapping[KeyState, Rule]]

_ENABLED, _DISABLED, _PENDING, _DESTROYED = KeyState
_IS_PENDING, _IS_DESTROYED = Reason.KEY_PENDING_DESTRUCTION, Reason.KEY_DESTROYED
_UNSUITABLE = Reason.KEY_STATE_UNSUITABLE


def _row(enabled: Rule, disabled: Rule, pending: Rule, destroyed: Rule) -> Mapping[KeyState, Rule]:
    return dict(zip(KeyState, (enabled, disabled, pending, destroyed), strict=True))


_USE = _row(_ENABLED, Reason.KEY_DISABLED, _IS_PENDING, _IS_DESTROYED)
_VERSION_USE = _row(_ENABLED, Reason.KEY_VERSION_DISABLED, _IS_PENDING, _IS_DESTROYED)
_CHANGE = _row(_ENABLED, _DISABLED, _IS_PENDING, _IS_DESTROYED)
_ALWAYS = _row(_ENABLED, _DISABLED, _PENDING, _DESTROYED)
_TO_ENABLED = _row(_ENABLED, _ENABLED, _IS_PENDING, _IS_DESTROYED)
_TO_DISABLED = _row(_DISABLED, _DISABLED, _IS_PENDING, _IS_DESTROYED)
_TO_PENDING = _row(_PENDING, _PENDING, _IS_PENDING, _IS_DESTROYED)
_SAVED = _row(_UNSUITABLE, _UNSUITABLE, _DISABLED, _IS_DESTROYED)
_ENDED = _row(_UNSUITABLE, _UNSUITABLE, _DESTROYED, _DESTROYED)

KEY_RULES: Final[Rules] = {
    Act.ENCRYPT: _USE,
    Act.DECRYPT: _USE,
    Act.REWRAP_FROM: _USE,
    Act.REWRAP_TO: _USE,
    Act.GENERATE_DATA_KEY: _USE,
    Act.COMPUTE_MAC: _USE,
    Act.ROTATE: _USE,
    Act.IMPORT_VERSION: _USE,
    Act.UPDATE: _CHANGE,
    Act.ENABLE: _TO_ENABLED,
    Act.DISABLE: _TO_DISABLED,
    Act.SET_MINIMUM: _CHANGE,
    Act.SCHEDULE_DESTRUCTION: _TO_PENDING,
    Act.CANCEL_DESTRUCTION: _SAVED,
    Act.DESTROY: _ENDED,
    Act.ENABLE_VERSION: _CHANGE,
    Act.DISABLE_VERSION: _CHANGE,
    Act.SCHEDULE_VERSION_DESTRUCTION: _CHANGE,
    # What is saved can't be worse off: allowed also while the whole key waits for its end.
    Act.CANCEL_VERSION_DESTRUCTION: _row(_ENABLED, _DISABLED, _PENDING, _IS_DESTROYED),
    Act.DESTROY_VERSION: _ALWAYS,
    Act.CREATE_ALIAS: _CHANGE,
    Act.DELETE_ALIAS: _ALWAYS,
    Act.VIEW: _ALWAYS,
}
"""By act and the key's state: the key's state after it, or why it is refused."""

VERSION_RULES: Final[Rules] = {
    Act.ENCRYPT: _VERSION_USE,
    Act.DECRYPT: _VERSION_USE,
    Act.REWRAP_FROM: _VERSION_USE,
    Act.REWRAP_TO: _VERSION_USE,
    Act.GENERATE_DATA_KEY: _VERSION_USE,
    Act.COMPUTE_MAC: _VERSION_USE,
    Act.ENABLE_VERSION: _TO_ENABLED,
    Act.DISABLE_VERSION: _TO_DISABLED,
    Act.SCHEDULE_VERSION_DESTRUCTION: _TO_PENDING,
    Act.CANCEL_VERSION_DESTRUCTION: _SAVED,
    Act.DESTROY_VERSION: _ENDED,
    Act.DESTROY: _row(_DESTROYED, _DESTROYED, _DESTROYED, _DESTROYED),
    Act.VIEW: _ALWAYS,
}
"""By act and the state of the version that it concerns: the version's state after it, or why it is refused."""

_NOT_THE_NEWEST: Final = frozenset({Act.DISABLE_VERSION, Act.SCHEDULE_VERSION_DESTRUCTION})
_OPENS: Final = frozenset({Act.DECRYPT, Act.REWRAP_FROM})


def require(key: Key, act: Act) -> KeyState:
    """Return the key's state after an act. Raises `FailedPrecondition` with the table's reason."""
    rule = KEY_RULES[act][key.state]
    if isinstance(rule, Reason):
        raise _refusal(rule, "The key")
    return rule


def require_version(key: Key, act: Act, number: int) -> KeyVersion:
    """Return the version of this number, with which an act may be done, as it is before it.

    Raises `FailedPrecondition` with the reason of either table; with KEY_VERSION_UNKNOWN where there never was such
    a version, KEY_VERSION_IS_PRIMARY for the newest where it has to stay in use, and KEY_VERSION_BELOW_MINIMUM.
    """
    require(key, act)
    version = key.find_version(number)
    if version is None:
        raise FailedPrecondition(
            f"The key has no version {number}.",
            reason=Reason.KEY_VERSION_UNKNOWN,
            advice=f"Its versions are 1 to {len(key.versions)}.",
        )
    rule = VERSION_RULES[act][version.state]
    if isinstance(rule, Reason):
        raise _refusal(rule, f"Version {number} of the key")
    if act in _NOT_THE_NEWEST and version is key.primary:
        raise FailedPrecondition(
            f"Version {number} is the one that encrypts.",
            reason=Reason.KEY_VERSION_IS_PRIMARY,
            advice="Rotate the key first, or do it to the whole key.",
        )
    if act in _OPENS and number < key.minimum_decrypt_version:
        raise FailedPrecondition(
            f"Version {number} is below the lowest that may decrypt, {key.minimum_decrypt_version}.",
            reason=Reason.KEY_VERSION_BELOW_MINIMUM,
            advice="The minimum only rises: nothing under this version can be read any more.",
        )
    return version


def state_after(version: KeyVersion, act: Act) -> KeyState:
    """Return a version's state after an act that `require_version` allowed."""
    after = VERSION_RULES[act][version.state]
    assert isinstance(after, KeyState)
    return after


def opening_version(key: Key, number: int, act: Act = Act.DECRYPT) -> KeyVersion | None:
    """Return the version that is to unwrap, or None where there never was one of this number.

    Raises `FailedPrecondition` as `require_version` does.
    """
    if key.find_version(number) is None:
        require(key, act)
        return None
    return require_version(key, act, number)


def sealing_version(key: Key, number: int, act: Act = Act.ENCRYPT) -> KeyVersion:
    """Return the version that is to wrap: the newest for 0, else the one that was asked for.

    One below the newest may be asked for only where the key's `minimum_encrypt_version` is above 0 and not above it.
    Raises `FailedPrecondition` as `require_version` does, and with KEY_VERSION_BELOW_MINIMUM.
    """
    newest = key.primary.version
    version = require_version(key, act, number or newest)
    if version.version == newest:
        return version
    lowest = max(key.minimum_encrypt_version or newest, key.minimum_decrypt_version)
    if version.version < lowest:
        raise FailedPrecondition(
            f"Version {number} is below the lowest that may encrypt, {lowest}.",
            reason=Reason.KEY_VERSION_BELOW_MINIMUM,
            advice="Leave key_version out: the newest version encrypts.",
        )
    return version


_WORDS: Final[Mapping[Reason, tuple[str, str]]] = {
    Reason.KEY_DISABLED: ("is disabled.", "Ask an officer to enable it."),
    Reason.KEY_VERSION_DISABLED: ("is disabled.", "Ask an officer to enable it."),
    Reason.KEY_PENDING_DESTRUCTION: (
        "is pending destruction.",
        "Ask an officer to cancel that while there is time: `kmsgw key restore`.",
    ),
    Reason.KEY_DESTROYED: ("is destroyed.", "Nothing under it can be read any more, by anyone; use another."),
    Reason.KEY_STATE_UNSUITABLE: ("is not pending destruction.", "Look at its state with `kmsgw key show`."),
}


def _refusal(reason: Reason, what: str) -> FailedPrecondition:
    words, advice = _WORDS[reason]
    return FailedPrecondition(f"{what} {words}", reason=reason, advice=advice)
