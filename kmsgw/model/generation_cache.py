"""A bounded cache that survives a flood: what is asked for again outlives what is asked for once."""

from collections.abc import Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class GenerationCache(Generic[_Key, _Value]):
    """Two generations of at most `limit` entries each; a full young one becomes the old one.

    Nearly as good as least-recently-used, at the cost of one dictionary lookup. It takes no lock: each step is one
    operation on a dictionary, and threads that fill it at the same time can only lose entries, never mix them up.
    """

    __slots__ = ("_limit", "_old", "_young")

    def __init__(self, limit: int) -> None:
        assert limit > 0
        self._limit = limit
        self._young: dict[_Key, _Value] = {}
        self._old: dict[_Key, _Value] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: _Key) -> _Value | None:
        """Return the value, or None."""
        found = self._young.get(key)
        if found is None:
            found = self._old.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: _Key, value: _Value) -> None:
        """Keep a value; what has not been asked for lately makes room."""
        if len(self._young) >= self._limit:
            self._old = self._young
            self._young = {}
        self._young[key] = value
