"""Records that are made in every call: frozen for the type checker, and plain while the gateway runs.

A frozen dataclass sets each of its fields through `object.__setattr__`: five fields take 1.7 µs, in place of 0.4
(docs/adr/0014). A call of 1 KiB makes ten such records, which was a sixth of what the gateway itself spends on it.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

RecordT = TypeVar("RecordT")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def quick(cls: type[RecordT]) -> type[RecordT]:
    """Make a dataclass with slots that the type checker takes for frozen. It compares and hashes by its fields.

    For what one call makes and forgets. What stays longer than a call is frozen in earnest.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)
