"""What is asked before key versions are taken out of use for good: whether something still needs them."""

from collections.abc import Collection
from typing import Protocol

from kmsgw.errors import FailedPrecondition, Reason
from kmsgw.model.key import Key


class KeyInUse(Protocol):
    """Knows what was done under which version."""

    def in_use(self, key: Key, versions: Collection[int]) -> str | None:
        """Return in words why one of these versions is still in use, or None where nothing says so.

        In use is what was used lately, or what rewrapping has not emptied. Raises `StateUnavailable`.
        """


class NeverInUse:
    """Knows nothing, and so refuses nothing."""

    def in_use(self, key: Key, versions: Collection[int]) -> str | None:  # noqa: ARG002
        """Return None."""
        return None


def require_unused(usage: KeyInUse, key: Key, versions: Collection[int]) -> None:
    """Raise `FailedPrecondition` with KEY_VERSION_IN_USE where one of these versions is still in use."""
    words = usage.in_use(key, versions)
    if words is not None:
        raise FailedPrecondition(
            words,
            reason=Reason.KEY_VERSION_IN_USE,
            advice="Look at `kmsgw key usage`, rewrap what is left; or force it, if nothing there is needed any more.",
        )
