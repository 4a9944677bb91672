"""Messages of one payload, read and written without what each call of a caller repeats.

What stands around the payload of a request (key, context, declaration) is the same bytes in call after call: they are
looked up, and parsed only where they are new. What comes of it is exactly what protobuf reads, or it is left to
protobuf: only bytes are kept that are protobuf's own encoding of what they say, and none of these hold the payload's
field a second time. The answers are protobuf's own bytes too, put together by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from kmsgw.errors import KmsgwError
from kmsgw.model.generation_cache import GenerationCache
from kmsgw.telemetry.meters import Lookups

CommandT = TypeVar("CommandT")
MadeT = TypeVar("MadeT")
MessageT = TypeVar("MessageT", bound=Message)

KNOWN: Final = 2048
"""Surroundings in one of the two generations of a cache."""

LONGEST: Final = 512
"""Longest surroundings that are kept, in bytes."""

VIEWED: Final = 8192
"""From so many bytes on, a payload is looked at where it stands: of 64 KiB a copy takes 3 to 8 µs, and a view 0.5."""

_MORE: Final = 0x80
_DIGIT: Final = 0x7F
_FEWEST: Final = 4


@dataclass(frozen=True, slots=True)
class Skim:
    """The quick way to a command, which returns None where the request must be parsed, and from a result.

    ``split`` takes a request apart into what stands around its payload, and the payload. ``mark`` is what of a payload
    tells the key, or nothing. ``lookups`` counts how often what stands around was known.
    """

    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    split: Callable[[bytes], tuple[bytes, bytes | memoryview] | None]
    mark: Callable[[bytes | memoryview], bytes]
    lookups: Lookups


class Surroundings(Generic[MessageT, MadeT]):
    """What stands around the payload in the requests of one message type: parsed once. Safe for threads.

    `payload_tag` is the byte before the payload, or before each value of a column. `reader` takes the message without
    payload and returns what makes the command of a payload. `lookups` counts what was not known.
    """

    __slots__ = ("_lookups", "_message", "_payload", "_reader", "known")

    def __init__(
        self, message: type[MessageT], payload_tag: int, reader: Callable[[MessageT], MadeT], lookups: Lookups
    ) -> None:
        self._message = message
        self._payload = str(message.DESCRIPTOR.fields_by_number[payload_tag >> 3].name)
        self._reader = reader
        self._lookups = lookups
        self.known: GenerationCache[bytes, MadeT] = GenerationCache(KNOWN)

    def learn(self, around: bytes) -> MadeT | None:
        """Return what makes the commands of surroundings that are not `known`; None where protobuf must read them."""
        self._lookups.misses += 1
        if len(around) > LONGEST:
            return None
        try:
            message = self._message.FromString(around)
            # A payload that stands there still: protobuf takes the last of two, and a column of two parts as one.
            if message.SerializeToString(deterministic=True) != around or getattr(message, self._payload):
                return None
            made = self._reader(message)
        except (DecodeError, KmsgwError):
            return None  # why, is told where the whole request is read
        self.known.put(around, made)
        return made


class Skimmer(Generic[MessageT, CommandT]):
    """Reads the requests of one message type. Safe for threads.

    `payload_tag` is the byte before the payload's length; `head_tag` that of a short text before it, 0 where the
    payload comes first. `reader` takes the message of the surroundings, without payload, and returns what makes the
    command of a payload. `lookups` counts how often surroundings were known.
    """

    __slots__ = ("_head_tag", "_known", "_learn", "_lookups", "_payload_tag")

    def __init__(
        self,
        message: type[MessageT],
        payload_tag: int,
        head_tag: int,
        reader: Callable[[MessageT], Callable[[bytes], CommandT]],
        lookups: Lookups,
    ) -> None:
        surroundings = Surroundings(message, payload_tag, reader, lookups)
        self._payload_tag = payload_tag
        self._head_tag = head_tag
        self._lookups = lookups
        # Taken out of it, for the way of every call.
        self._known, self._learn = surroundings.known, surroundings.learn

    def read(self, request: bytes) -> CommandT | None:
        """Return the command of a request, or None where it must be parsed. Raises what the command refuses."""
        parts = _parts(request, self._head_tag, self._payload_tag)
        if parts is None:
            return None
        around, at, end = parts
        make = self._known.get(around)
        if make is not None:
            self._lookups.hits += 1
        else:
            make = self._learn(around)
        return None if make is None else make(request[at:end])

    def split(self, request: bytes) -> tuple[bytes, bytes | memoryview] | None:
        """Return what stands around a request's payload, known or not, and the payload; None where it is parsed.

        A long payload is not copied: it is a view of the request.
        """
        parts = _parts(request, self._head_tag, self._payload_tag)
        if parts is None:
            return None
        around, at, end = parts
        return around, request[at:end] if end - at < VIEWED else memoryview(request)[at:end]


def _parts(request: bytes, head_tag: int, payload_tag: int) -> tuple[bytes, int, int] | None:
    """Return what stands around the payload, where that begins and ends, or None where it is not written so."""
    size = len(request)
    if size < _FEWEST:
        return None
    start = 0
    if head_tag:
        start = 2 + request[1]
        if request[0] != head_tag or start >= _MORE or start + 1 >= size:
            return None
    length, at = request[start + 1], start + 2
    if length >= _MORE:
        digits = request[at : at + 2]
        if len(digits) != 2:
            return None
        length = length & _DIGIT | (digits[0] & _DIGIT) << 7
        at += 1
        if digits[0] >= _MORE:
            if digits[1] >= _MORE:
                return None  # over 2 MiB, more than a request may have
            length |= digits[1] << 14
            at += 1
    end = at + length
    if request[start] != payload_tag or end > size:
        return None
    return request[:start] + request[end:], at, end


def field_head(tag: int, length: int) -> bytes:
    """Return what stands before a field of so many bytes: its tag and its length."""
    digits = bytearray((tag,))
    while length >= _MORE:
        digits.append(length & _DIGIT | _MORE)
        length >>= 7
    digits.append(length)
    return bytes(digits)


def sealed_under(message: type[Message]) -> Callable[[str, int], bytes]:
    """Return what encodes `key_id` and `key_version` of a message that has no more but its payload, and keeps it."""

    @lru_cache(maxsize=KNOWN)
    def encode(key_id: str, key_version: int) -> bytes:
        return bytes(message(key_id=key_id, key_version=key_version).SerializeToString(deterministic=True))

    return encode
