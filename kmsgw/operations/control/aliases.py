"""CreateAlias and DeleteAlias: further names of a key."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from kmsgw.errors import AccessDenied, FailedPrecondition, Reason
from kmsgw.model.access import Action
from kmsgw.model.key import MAX_ALIASES, Key, check_text
from kmsgw.model.lifecycle import Act, require
from kmsgw.model.names import check_alias, check_name
from kmsgw.operations.control.key_writer import KeyWriter
from kmsgw.operations.verb import Access, Grant, change_of


@dataclass(frozen=True, slots=True)
class CreateAliasCommand:
    """Let `alias` lead to the key with the id `key`."""

    alias: str
    key: str
    reason: str
    dry_run: bool

    def __post_init__(self) -> None:
        check_alias(self.alias)
        check_text(self.reason, "reason")
        # An alias of an alias would move when the first one moves.
        check_name(self.key, "key")


class CreateAlias:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, writer: KeyWriter) -> None:
        self._writer = writer

    def accesses(self, command: CreateAliasCommand) -> Sequence[Access]:
        """Wants to name the key."""
        change = change_of(command.reason, dry_run=command.dry_run, alias=command.alias)
        return (Access(Action.CREATE_ALIAS, command.key, change=change),)

    def run(self, command: CreateAliasCommand, grant: Grant) -> Key:
        """Name it. Naming it so twice is no error; a name of another key is `AlreadyExists`."""

        def next_key(stored: Key) -> Key:
            require(stored, Act.CREATE_ALIAS)
            aliases = tuple(sorted({*stored.aliases, command.alias}))
            if len(aliases) > MAX_ALIASES:
                raise FailedPrecondition(
                    f"The key has {MAX_ALIASES} aliases.", reason=Reason.LIMIT_REACHED, advice="Delete one first."
                )
            return replace(stored, aliases=aliases, updated=grant.now)

        return self._writer.change(grant.key().key_id, next_key, dry_run=command.dry_run)


@dataclass(frozen=True, slots=True)
class DeleteAliasCommand:
    """Take `alias` away from its key."""

    alias: str
    reason: str
    dry_run: bool

    def __post_init__(self) -> None:
        check_alias(self.alias)
        check_text(self.reason, "reason")


class DeleteAlias:
    """The verb."""

    changes_state: ClassVar[bool] = True

    def __init__(self, writer: KeyWriter) -> None:
        self._writer = writer

    def accesses(self, command: DeleteAliasCommand) -> Sequence[Access]:
        """Wants to unname the key that the alias leads to."""
        change = change_of(command.reason, dry_run=command.dry_run, alias=command.alias)
        return (Access(Action.DELETE_ALIAS, command.alias, change=change),)

    def run(self, command: DeleteAliasCommand, grant: Grant) -> Key:
        """Unname it."""

        def next_key(stored: Key) -> Key:
            require(stored, Act.DELETE_ALIAS)
            if command.alias not in stored.aliases:
                raise AccessDenied
            aliases = tuple(each for each in stored.aliases if each != command.alias)
            return replace(stored, aliases=aliases, updated=grant.now)

        return self._writer.change(grant.key().key_id, next_key, dry_run=command.dry_run)
