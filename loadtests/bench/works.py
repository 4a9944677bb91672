"""The works that are measured. Each is one kind of call, the same for both servers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SMALL_BYTES: Final = 1024
"""Bytes of a small value."""


class Verb(StrEnum):
    """What a call asks for."""

    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"
    DATA_KEY = "data-key"


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of call: ``items`` values of ``item_bytes`` plaintext bytes each. A data key counts 32 bytes.

    ``demand`` and ``aim`` are ratios of calls a second against OpenBao that the project asks of itself; 0 where none.
    """

    name: str
    verb: Verb
    items: int
    item_bytes: int
    demand: float = 0.0
    aim: float = 0.0

    @property
    def batched(self) -> bool:
        """Whether a call carries several items."""
        return self.items > 1

    @property
    def small(self) -> bool:
        """Whether a call carries one small value in or out, as most do."""
        return self.items == 1 and self.item_bytes == SMALL_BYTES and self.verb is not Verb.DATA_KEY

    @property
    def megabytes(self) -> float:
        """Plaintext bytes of one call, in millions."""
        return self.items * self.item_bytes / 1e6


WORKS: Final = (
    Work("encrypt-1KiB", Verb.ENCRYPT, 1, 1024, 2.0, 3.0),
    Work("decrypt-1KiB", Verb.DECRYPT, 1, 1024, 2.0, 3.0),
    Work("encrypt-64KiB", Verb.ENCRYPT, 1, 65_536, 8.0, 15.0),
    Work("decrypt-64KiB", Verb.DECRYPT, 1, 65_536, 8.0, 15.0),
    Work("batch100-encrypt-1KiB", Verb.ENCRYPT, 100, 1024, 8.0, 14.0),
    Work("batch100-decrypt-1KiB", Verb.DECRYPT, 100, 1024, 8.0, 14.0),
    Work("data-key", Verb.DATA_KEY, 1, 32),
)
"""Every work, in the order of the report."""


def work_named(name: str) -> Work:
    """Return the work of a name. Raises `KeyError`."""
    return {each.name: each for each in WORKS}[name]
