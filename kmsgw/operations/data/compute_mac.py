"""ComputeMac: the keyed hash of a value, by which it can be found without decrypting."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from kmsgw.envelope.blind_index import blind_index
from kmsgw.errors import InvalidRequest, Reason
from kmsgw.model.access import Action
from kmsgw.model.context import EMPTY_CONTEXT, AccessDeclaration
from kmsgw.operations.index_keys import IndexKeys
from kmsgw.operations.verb import Access, Grant

MAX_VALUE_BYTES: Final = 4096
"""Longest value, in bytes. What is searched for is short: a number, a name, a date."""

_INDEX: Final = re.compile(r"[a-z0-9_-]{1,64}")


def check_indexed(index: str, value: bytes) -> None:
    """Raise `InvalidRequest` where the name of an index or the length of a value can't be. It quotes neither."""
    if _INDEX.fullmatch(index) is None:
        raise InvalidRequest("index is malformed.", advice='Use 1 to 64 of a-z, 0-9, "-" and "_".')
    if not value:
        raise InvalidRequest("value is empty.", advice="Leave values that are not there out of the index.")
    if len(value) > MAX_VALUE_BYTES:
        raise InvalidRequest(
            f"The value has {len(value)} bytes; a call takes {MAX_VALUE_BYTES}.",
            reason=Reason.PLAINTEXT_TOO_LARGE,
            advice="Index a short form of it, for example its SHA-256.",
        )


@dataclass(frozen=True, slots=True)
class ComputeMacCommand:
    """Hash `value` as one of `index`, under the index key of `key`."""

    key: str
    index: str
    value: bytes = field(repr=False)
    declaration: AccessDeclaration

    def __post_init__(self) -> None:
        check_indexed(self.index, self.value)


@dataclass(frozen=True, slots=True)
class ComputedMac:
    """The keyed hash, 32 bytes, and the key that it is under."""

    mac: bytes = field(repr=False)
    key_id: str


class ComputeMac:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, index_keys: IndexKeys) -> None:
        self._index_keys = index_keys

    def accesses(self, command: ComputeMacCommand) -> Sequence[Access]:
        """Wants to hash under the key. The record names the index: who asks about many values of one is to be found."""
        named = {"index": command.index}
        return (Access(Action.COMPUTE_MAC, command.key, None, EMPTY_CONTEXT, command.declaration, named),)

    def run(self, command: ComputeMacCommand, grant: Grant) -> ComputedMac:
        """Hash. Raises `FailedPrecondition` for a key that may not be used, `ProviderUnavailable` without provider."""
        key = grant.key()
        index_key = self._index_keys.index_key(key, grant.trail)
        return ComputedMac(blind_index(index_key, key.key_id, command.index, command.value), key.key_id)
