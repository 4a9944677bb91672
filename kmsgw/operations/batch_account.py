"""What became of the items of a batch, as the audit log is to tell it: items that ended alike are told once."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Final

from kmsgw.errors import KmsgwError
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext

MAX_ITEMS: Final = 1000
"""Most items of one batch."""


@dataclass(slots=True)
class ItemGroup:
    """Items of which everything is the same but their contexts.

    ``key_name`` is as the caller gave it, ``key_id`` empty where it leads to no key. ``error`` is None where they are
    done. ``contexts`` stand in the order of ``items``, and so do ``source_contexts``, which only re-encryption has.
    """

    action: Action
    key_name: str
    key_id: str = ""
    key_version: int = 0
    source_key_id: str = ""
    source_key_version: int = 0
    policies: frozenset[str] = frozenset()
    error: KmsgwError | None = None
    note: str = ""
    items: list[int] = field(default_factory=list)
    contexts: list[EncryptionContext] = field(default_factory=list)
    source_contexts: list[EncryptionContext] = field(default_factory=list)
    sealed_bytes: int = 0
    wraps: int = 0

    def add(self, items: Iterable[int], context: EncryptionContext, source: EncryptionContext | None = None) -> None:
        """Add items that share their contexts."""
        before = len(self.items)
        self.items += items
        added = len(self.items) - before
        self.contexts += [context] * added
        if source is not None:
            self.source_contexts += [source] * added

    @property
    def _place(self) -> Hashable:
        error = self.error
        ended = None if error is None else (error.status, error.reason)
        source = self.source_key_id, self.source_key_version, bool(self.source_contexts)
        return self.action, self.key_name, self.key_id, self.key_version, source, self.policies, ended, self.note


@dataclass(slots=True)
class BatchAccount:
    """All items of a batch. What is in no group when the call ends was not reached."""

    size: int
    declaration: AccessDeclaration
    groups: list[ItemGroup] = field(default_factory=list)
    _places: dict[Hashable, ItemGroup] = field(default_factory=dict)

    def add(self, group: ItemGroup) -> ItemGroup:
        """Take a group, and return the one that its items are in: an older one where they ended like those of it."""
        place = group._place  # noqa: SLF001  of the same module
        older = self._places.setdefault(place, group)
        if older is group:
            self.groups.append(group)
        else:
            older.items += group.items
            older.contexts += group.contexts
            older.source_contexts += group.source_contexts
            older.sealed_bytes += group.sealed_bytes
            older.wraps += group.wraps
        return older

    def missing(self) -> list[int]:
        """Return the items that are in no group."""
        told: set[int] = set()
        told.update(*(group.items for group in self.groups))
        return [item for item in range(self.size) if item not in told]
