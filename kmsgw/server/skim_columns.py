"""Batches read and written without protobuf: their values are a column of bytes, one behind the other.

What stands around the column is the same bytes in batch after batch, and is looked up as `kmsgw.server.skim` does it.
What comes of it is exactly what protobuf reads, or it is left to protobuf. It reads a batch's values twice and copies
an answer three times: of a batch of 100 values of 1 KiB that was a tenth of all CPU.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import Message

from kmsgw.operations.batch_account import MAX_ITEMS
from kmsgw.server.skim import KNOWN, Surroundings, field_head
from kmsgw.telemetry.meters import Lookups

CommandT = TypeVar("CommandT")
MessageT = TypeVar("MessageT", bound=Message)

_MORE: Final = 0x80
_DIGIT: Final = 0x7F
_LONGEST_HEAD: Final = 4
"""A tag and three bytes of length: 2 MiB, more than any value may have."""

_field_head = lru_cache(maxsize=KNOWN)(field_head)


@dataclass(frozen=True, slots=True)
class ColumnSkim:
    """The quick way to the command of a batch, None where the request must be parsed, and from its result."""

    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]


class ColumnSkimmer(Generic[MessageT, CommandT]):
    """Reads the requests of one message type. Safe for threads.

    `column_tag` is the byte before each value of the column; `head_tag` that of a short text that may stand before it,
    0 where nothing does. `reader` takes the message of the surroundings, without the column, and returns what makes
    the command of the column. `lookups` counts how often surroundings were known.
    """

    __slots__ = ("_column_tag", "_head_tag", "_known", "_learn", "_lookups")

    def __init__(
        self,
        message: type[MessageT],
        column_tag: int,
        head_tag: int,
        reader: Callable[[MessageT], Callable[[list[bytes]], CommandT]],
        lookups: Lookups,
    ) -> None:
        surroundings = Surroundings(message, column_tag, reader, lookups)
        self._column_tag = column_tag
        self._head_tag = head_tag
        self._lookups = lookups
        self._known, self._learn = surroundings.known, surroundings.learn

    def read(self, request: bytes) -> CommandT | None:
        """Return the command of a request, or None where it must be parsed. Raises what the command refuses."""
        start = 0
        if self._head_tag and len(request) > 1 and request[0] == self._head_tag:
            start = 2 + request[1]
            if request[1] >= _MORE:
                return None
        column = read_column(request, start, self._column_tag)
        if column is None:
            return None
        values, end = column
        around = request[:start] + request[end:]
        make = self._known.get(around)
        if make is not None:
            self._lookups.hits += 1
        else:
            make = self._learn(around)
        return None if make is None else make(values)


def read_column(request: bytes, start: int, tag: int) -> tuple[list[bytes], int] | None:
    """Return the values that stand one behind the other from `start` on, each after `tag`, and where they end.

    None where there is no value, where there are more than a batch takes, or where a length leads beyond the end.
    """
    values: list[bytes] = []
    size, at = len(request), start
    while at < size and request[at] == tag:
        body, length = _length(request, at + 1)
        if body < 0:
            return None
        head = request[at:body]
        step = body - at + length
        # Most values of a batch are as long as the one before: their heads are the same bytes. No more are taken than
        # say that there are too many: one may have no byte at all.
        stop = min(size, at + step * (MAX_ITEMS + 1))
        while request.startswith(head, at, stop):
            values.append(request[body : body + length])
            body += step
            at += step
        if at > size or len(values) > MAX_ITEMS:
            return None
    return (values, at) if values else None


def _length(request: bytes, at: int) -> tuple[int, int]:
    """Return where a value begins, and its length; -1 where none can be read."""
    length = shift = 0
    for place, digit in enumerate(request[at : at + _LONGEST_HEAD - 1], at + 1):
        length |= (digit & _DIGIT) << shift
        if digit < _MORE:
            return place, length
        shift += 7
    return -1, 0


def column_bytes(tag: int, values: Iterable[bytes], rest: bytes) -> bytes:
    """Return a message that begins with a column of bytes; `rest` is all that comes behind it."""
    parts: list[bytes] = []
    for value in values:
        parts += (_field_head(tag, len(value)), value)
    parts.append(rest)
    return b"".join(parts)
