"""What index keys need of the storage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredIndexKey:
    """The index key of a key, wrapped under one of its versions."""

    key_id: str
    version: int
    wrapped: bytes = field(repr=False)


class IndexKeyStore(Protocol):
    """Wrapped index keys on disk, one a key. Every method raises `StateUnavailable` where the database is away."""

    def find(self, key_id: str) -> StoredIndexKey | None:
        """Return the index key of a key, or None where it has none yet."""

    def add(self, made: StoredIndexKey) -> StoredIndexKey:
        """Store the first index key of a key and return what is stored: another's, where that was first."""

    def replace(self, before: StoredIndexKey, after: StoredIndexKey) -> bool:
        """Store another wrapping of an index key, if `before` is what is stored; tell whether it was."""

    def versions(self) -> Mapping[str, int]:
        """Return the version that each index key is wrapped under, by key id."""

    def close(self) -> None:
        """Release the connections."""
