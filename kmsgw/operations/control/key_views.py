"""Verbs that read keys: GetKey, ListKeys, ListKeyVersions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from kmsgw.errors import InvalidRequest
from kmsgw.model.access import AccessRequest, Action
from kmsgw.model.key import Key, KeyVersion
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.ports import Authorizer
from kmsgw.operations.verb import Access, Grant

DEFAULT_PAGE = 100
MAX_PAGE = 1000


def check_page_size(size: int) -> int:
    """Return the size of a page; 0 asks for the default of 100. Raises `InvalidRequest` outside 0 to 1,000."""
    if not 0 <= size <= MAX_PAGE:
        raise InvalidRequest("page_size is out of range.", advice=f"Use 1 to {MAX_PAGE}, or 0 for {DEFAULT_PAGE}.")
    return size or DEFAULT_PAGE


@dataclass(frozen=True, slots=True)
class GetKeyCommand:
    """Show one key."""

    key: str


class GetKey:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def accesses(self, command: GetKeyCommand) -> Sequence[Access]:
        """Wants to see the key."""
        return (Access(Action.GET_KEY, command.key),)

    def run(self, command: GetKeyCommand, grant: Grant) -> Key:  # noqa: ARG002
        """Return the key."""
        return grant.key()


@dataclass(frozen=True, slots=True)
class ListKeysCommand:
    """Show a page of keys, from after the key id `after`."""

    page_size: int
    after: str


@dataclass(frozen=True, slots=True)
class KeyPage:
    """A page of keys; ``next_after`` is empty on the last."""

    keys: tuple[Key, ...]
    next_after: str


class ListKeys:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, keyring: Keyring, authorizer: Authorizer) -> None:
        self._keyring = keyring
        self._authorizer = authorizer

    def accesses(self, command: ListKeysCommand) -> Sequence[Access]:  # noqa: ARG002
        """Wants to list the tenant's keys."""
        return (Access(Action.LIST_KEYS),)

    def run(self, command: ListKeysCommand, grant: Grant) -> KeyPage:
        """Return the next keys of the caller's tenant that policy lets the caller see."""
        visible: list[Key] = []
        for key in self._keyring.page(command.after, grant.principal.tenant):
            if len(visible) == command.page_size:
                return KeyPage(tuple(visible), visible[-1].key_id)
            request = AccessRequest(grant.principal, Action.GET_KEY, key.tenant, key)
            if self._authorizer.decide(request).allowed:
                visible.append(key)
        return KeyPage(tuple(visible), "")


@dataclass(frozen=True, slots=True)
class ListKeyVersionsCommand:
    """Show a page of the versions of `key`, newest first, from below version `below` (0: from the newest)."""

    key: str
    page_size: int
    below: int


@dataclass(frozen=True, slots=True)
class VersionPage:
    """A page of versions; ``next_below`` is 0 on the last."""

    key_id: str
    versions: tuple[KeyVersion, ...]
    next_below: int


class ListKeyVersions:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def accesses(self, command: ListKeyVersionsCommand) -> Sequence[Access]:
        """Wants to see the key's versions."""
        return (Access(Action.LIST_KEY_VERSIONS, command.key),)

    def run(self, command: ListKeyVersionsCommand, grant: Grant) -> VersionPage:
        """Return the versions."""
        key = grant.key()
        newest_first = [each for each in reversed(key.versions) if not command.below or each.version < command.below]
        page = tuple(newest_first[: command.page_size])
        more = len(newest_first) > len(page)
        return VersionPage(key.key_id, page, page[-1].version if more else 0)
