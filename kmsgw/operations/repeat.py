"""Doing again what a verb did before, for the same principal, key and context, with another payload.

What of a verb's work depends on key and context alone is done once. It holds while the key is the very one that it was
made for: whoever repeats looks that up in the keyring first, as `kmsgw.server.repeated_calls` does.
"""

from typing import Any, Protocol, runtime_checkable

from kmsgw.model.key import Key


class Repeated(Protocol):
    """What came of it: the verb's own result."""

    @property
    def key_version(self) -> int:
        """The version that was used."""


class Repeat(Protocol):
    """A command without its payload. Safe for threads."""

    @property
    def seals(self) -> bool:
        """Whether the payload is plaintext that the gateway seals."""

    @property
    def names(self) -> tuple[str, ...]:
        """Ids and aliases that must lead to the key."""

    def run(self, payload: bytes | memoryview) -> Repeated | None:
        """Return the result, or None where the verb itself must be asked. Raises what the verb raises. Never waits.

        Where there is no result, nothing has come of it but a use less of a cached data key.
        """


@runtime_checkable
class Repeatable(Protocol):
    """A verb that can do so."""

    def again(self, command: Any, key: Key) -> Repeat | None:
        """Return a command without its payload, for a key that it was just done with, or None. Raises as `run`."""
