"""What became of the items of a batch, as the audit log is to tell it: items that ended alike are told once."""

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

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


class Verdict(Protocol):
    """What is to be said of an item that was done: ``error`` is None where it may be answered."""

    @property
    def error(self) -> KmsgwError | None:
        """Why it may not."""

    @property
    def policies(self) -> frozenset[str]:
        """Which policies decided."""


Judge = Callable[[ItemGroup, EncryptionContext, EncryptionContext | None], Verdict]
"""Judges an item of a group by its context and, where it has one, the context that it was opened with."""


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

    def withdraw(self, judge: Judge) -> dict[int, KmsgwError]:
        """Refuse items that were done where they may not be answered any more; return these, and why.

        Their wraps were made, and stay counted.
        """
        withdrawn: dict[int, KmsgwError] = {}
        groups, self.groups, self._places = self.groups, [], {}
        for group in groups:
            for part in _parts(group, judge) if group.error is None else (group,):
                self.add(part)
                if part.error is not None and group.error is None:
                    withdrawn.update(dict.fromkeys(part.items, part.error))
        return withdrawn

    def missing(self) -> list[int]:
        """Return the items that are in no group."""
        told: set[int] = set()
        told.update(*(group.items for group in self.groups))
        return [item for item in range(self.size) if item not in told]


def _parts(group: ItemGroup, judge: Judge) -> list[ItemGroup]:
    """Return a group as it is, or in parts that end alike where some of its items may not be answered."""
    sources: list[EncryptionContext | None] = [*group.source_contexts] or [None] * len(group.items)
    told = [*zip(group.items, group.contexts, sources, strict=True)]
    verdicts = [judge(group, context, source) for _, context, source in told]
    if all(verdict.error is None for verdict in verdicts):
        return [group]
    parts: dict[int, ItemGroup] = {}
    for (item, context, source), verdict in zip(told, verdicts, strict=True):
        place = id(verdict.error)
        if place not in parts:
            policies = group.policies if verdict.error is None else verdict.policies
            parts[place] = replace(
                group, error=verdict.error, policies=policies, items=[], contexts=[], source_contexts=[], wraps=0
            )
        parts[place].add((item,), context, source)
    # The wraps of all are told once. How many bytes are of which item is not known: those that stay count for all.
    first = next(iter(parts.values()))
    first.wraps = group.wraps
    return [*parts.values()]
