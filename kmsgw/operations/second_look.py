"""What a call that took long must still be allowed before it is answered.

A provider may be waited for much longer than a disabled key, a revoked certificate or a forbidding policy may take to
come into force. So whoever took longer than a moment is asked again what it was asked before it began.
"""

from collections.abc import Mapping
from typing import Final

from kmsgw.model.access import Action
from kmsgw.model.key import Key
from kmsgw.model.lifecycle import Act, require, require_version

SECOND_LOOK_SECONDS: Final = 0.25
"""What is older was looked at too long ago. Cached calls take a hundredth of it, and are never asked twice."""

_ACTS: Final[Mapping[Action, Act]] = {
    Action.ENCRYPT: Act.ENCRYPT,
    Action.DECRYPT: Act.DECRYPT,
    Action.REWRAP: Act.REWRAP_TO,
    Action.GENERATE_DATA_KEY: Act.GENERATE_DATA_KEY,
    Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT: Act.GENERATE_DATA_KEY,
}
_OF_THE_KEY: Final = frozenset({Action.COMPUTE_MAC, Action.VERIFY_MAC})
"""An index key is the same under every version."""


def require_usable(key: Key, action: Action, version: int, source_version: int = 0) -> None:
    """Raise `FailedPrecondition` where the states of a key, as it is now, forbid what was done with `version`.

    ``source_version`` is the one that a rewrapping opened. A version of 0 was not used, a rotation ends nothing, and
    of what needs no material nothing is asked.
    """
    if action in _OF_THE_KEY:
        require(key, Act.COMPUTE_MAC)
    act = _ACTS.get(action)
    if act is None:
        return
    require(key, act)
    if version:
        require_version(key, act, version)
    if action is Action.REWRAP and source_version:
        require_version(key, Act.REWRAP_FROM, source_version)
