"""What a job sees of its source: rows, why one can't be used, and the interface that every source has."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from kmsgw.errors import KmsgwError, Reason
from kmsgw.model.context import EncryptionContext

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | Mapping[str, Json] | None"
"""What the journal can hold."""

BATCH_BYTES = 16 << 20
"""A source reads at most about so many bytes of rows at a time, so that memory does not grow with their number."""


@dataclass(frozen=True, slots=True)
class RowFault:
    """Why a row is set aside: a stable reason, what happened, and the request that the gateway refused, if any."""

    reason: str
    message: str
    request_id: str = ""

    @classmethod
    def of(cls, error: KmsgwError) -> "RowFault":
        """Return the fault that an error means for the row."""
        return cls(str(error.reason), error.message, error.request_id)


def context_fault(message: str) -> RowFault:
    """Return the fault of a row whose encryption context can't be made."""
    return RowFault(str(Reason.CONTEXT_INVALID), message)


@dataclass(frozen=True, slots=True)
class Wrapping:
    """What rewrapping changes of an envelope: the key version and the wrapped data key."""

    key_version: int
    wrapped: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(ABC):
    """One stored envelope, or a row without one.

    ``place`` names the row for people and finds it again; ``after`` is the position behind it, from where reading goes
    on. ``header`` is the envelope without its payload, empty where there is none. A row with a ``fault`` can't be
    asked for; one that is ``gone`` went away before it was read. ``size`` is what it takes of memory, in bytes.
    """

    place: str
    after: str
    header: bytes = field(default=b"", repr=False)
    context: EncryptionContext | None = field(default=None, repr=False)
    fault: RowFault | None = None
    gone: bool = False
    size: int = 0

    @abstractmethod
    def digest(self) -> str:
        """Return a digest of what is stored now."""

    @abstractmethod
    def digest_with(self, wrapping: Wrapping) -> str:
        """Return the digest of what will be stored with a new wrapping."""


R = TypeVar("R", bound=Row)

Unapplied: TypeAlias = Mapping[str, RowFault | None]
"""Rows that were not changed, by place: with a fault, or None where the old value is no longer there."""


class Source(ABC, Generic[R]):
    """Where envelopes are stored.

    A position is a text that the source made itself; the empty text is the beginning. Every method raises
    `ConfigurationError` where the source is not what it must be, and `Unavailable` where a database does not answer.
    """

    @abstractmethod
    def description(self) -> Mapping[str, Json]:
        """Return what identifies the source, without a secret: a job goes on only with the same."""

    @abstractmethod
    def begin(self) -> Mapping[str, Json]:
        """Look through the source for a new job; return what `resume` wants, with the number of rows as ``rows``."""

    @abstractmethod
    def resume(self, found: Mapping[str, Json], state: Mapping[str, Json]) -> None:
        """Go on with what `begin` found, from the `state` at the last checkpoint; forget what was done after it."""

    @abstractmethod
    def look(self, found: Mapping[str, Json]) -> None:
        """Make ready to read what `begin` found, and nothing else."""

    @abstractmethod
    def read(self, position: str, limit: int) -> Sequence[R]:
        """Return the next rows behind a position, at most `limit`; none at the end."""

    @abstractmethod
    def read_again(self, position: str, count: int, places: Sequence[str]) -> Sequence[R]:
        """Return the rows of an unfinished batch: at least those at `places` that are still there."""

    @abstractmethod
    def apply(self, rows: Sequence[R], wrappings: Mapping[str, Wrapping]) -> Unapplied:
        """Store new wrappings, by place, where the old value is still there. What was stored is durable on return."""

    def state(self) -> Mapping[str, Json]:
        """Return what `resume` wants of this moment, besides the position."""
        return {}

    def seal(self) -> str:
        """Complete the result after the last row; return a mark by which `replace` knows it again."""
        return ""

    def replace(self, mark: str, *, changed: bool) -> None:
        """Put the sealed result in the source's place, once; where nothing `changed`, drop it."""

    def discard(self) -> None:
        """Remove what the job left besides the source."""

    def close(self) -> None:
        """Release files and connections."""
