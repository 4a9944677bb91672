"""VerifyMac: tell whether a keyed hash is that of a value."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from kmsgw.envelope.blind_index import MAC_BYTES, is_blind_index
from kmsgw.errors import InvalidRequest
from kmsgw.model.access import Action
from kmsgw.model.context import EMPTY_CONTEXT, AccessDeclaration
from kmsgw.operations.data.compute_mac import check_indexed
from kmsgw.operations.index_keys import IndexKeys
from kmsgw.operations.verb import Access, Grant


@dataclass(frozen=True, slots=True)
class VerifyMacCommand:
    """Compare `mac` with that of `value` as one of `index`, under the index key of `key`."""

    key: str
    index: str
    value: bytes = field(repr=False)
    mac: bytes = field(repr=False)
    declaration: AccessDeclaration

    def __post_init__(self) -> None:
        check_indexed(self.index, self.value)
        if len(self.mac) != MAC_BYTES:
            raise InvalidRequest(f"mac is not {MAC_BYTES} bytes.", advice="Give it as ComputeMac answered it.")


@dataclass(frozen=True, slots=True)
class VerifiedMac:
    """Whether it is that of the value, and the key that was asked."""

    valid: bool
    key_id: str


class VerifyMac:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, index_keys: IndexKeys) -> None:
        self._index_keys = index_keys

    def accesses(self, command: VerifyMacCommand) -> Sequence[Access]:
        """Wants to compare under the key. The record names the index, as that of `ComputeMac` does."""
        named = {"index": command.index}
        return (Access(Action.VERIFY_MAC, command.key, None, EMPTY_CONTEXT, command.declaration, named),)

    def run(self, command: VerifyMacCommand, grant: Grant) -> VerifiedMac:
        """Compare. Raises as `ComputeMac` does."""
        key = grant.key()
        index_key = self._index_keys.index_key(key, grant.trail)
        return VerifiedMac(is_blind_index(command.mac, index_key, key.key_id, command.index, command.value), key.key_id)
