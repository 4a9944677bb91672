"""The columns of batches: checked, written, and read. See `kmsgw.client.calls.batches`."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from google.protobuf.message import DecodeError, Message

from kmsgw.client.batch_results import Batch
from kmsgw.client.calls.call import Answer, Call, GivenContext, context_pairs, require_bytes
from kmsgw.client.calls.crypto import MAX_ENVELOPE_BYTES
from kmsgw.client.explanations import explain_item
from kmsgw.client.failures import read_item_failure
from kmsgw.envelope.format import Envelope, parse_envelope
from kmsgw.errors import EnvelopeMalformed, InvalidRequest, KmsgwError, Reason
from kmsgw.v1 import crypto_batch_pb2 as wire

MAX_ITEMS = 1000
"""Most items of a batch."""

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Longest request of a batch."""

T = TypeVar("T")
GivenContexts = Sequence[GivenContext] | None
"""A context for each item; None where all share one."""

_HEAVY_BYTES = 1 << 18


class Failing(Protocol):
    """What all responses have."""

    @property
    def failures(self) -> Sequence[wire.BatchFailure]:
        """Items that failed."""

    @property
    def keys(self) -> Sequence[wire.BatchKey]:
        """Key versions in use."""

    @property
    def key_indexes(self) -> Sequence[int]:
        """For each item its key version."""

    @property
    def references(self) -> Sequence[str]:
        """Those of the request."""


class Sourced(Failing, Protocol):
    """What responses have that tell sources."""

    @property
    def source_key_indexes(self) -> Sequence[int]:
        """For each item the key version that it came with."""


Under = Callable[[int], tuple[str, int]]
"""Key id and version of an item."""


def batch_call(
    method: str, request: Message, read: Callable[[Answer], Batch[T]], timeout: float | None
) -> Call[Batch[T]]:
    """Return the call of a batch. Raises `InvalidRequest` where it is too long."""
    data = request.SerializeToString()
    if len(data) > MAX_BATCH_BYTES:
        raise InvalidRequest(
            f"The batch has {len(data)} bytes; a call takes {MAX_BATCH_BYTES}.",
            reason=Reason.PLAINTEXT_TOO_LARGE,
            advice="Send the items in several batches.",
        )
    return Call(method, data, read, timeout=timeout, heavy=len(data) > _HEAVY_BYTES)


def batch_of(response: Failing, size: int, answer: Answer, make: Callable[[int], T]) -> Batch[T]:
    """Return the result of a batch whose items `make` makes."""
    return Batch(size, make, item_errors(response, size), response.references, answer.request_id)


def item_errors(response: Failing, size: int) -> dict[int, KmsgwError]:
    """Return the errors of items, by place. Raises `DecodeError` where the answer has more items than the request."""
    if any(failure.index >= size for failure in response.failures):
        raise DecodeError
    return {failure.index: explain_item(read_item_failure(failure.status)) for failure in response.failures}


def column(values: Sequence[bytes], size: int) -> Sequence[bytes]:
    """Return the values of an answer, one for each item. Raises `DecodeError` where they are not as many."""
    if len(values) != size:
        raise DecodeError
    return list(values)


def keys_of(response: Failing, size: int) -> Under:
    """Return what tells key id and version of an item. Raises `DecodeError` where the answer does not."""
    if not response.keys and len(response.failures) < size:
        raise DecodeError
    return _keys(response.keys, response.key_indexes, size)


def source_keys_of(response: Sourced, size: int) -> Under:
    """Return what tells key id and version that an item came with. Raises `DecodeError`."""
    return _keys(response.keys, response.source_key_indexes, size)


def _keys(keys: Sequence[wire.BatchKey], indexes: Sequence[int], size: int) -> Under:
    known = [(key.key_id, key.key_version) for key in keys]
    if (indexes and (len(indexes) != size or max(indexes) >= len(known))) or (len(known) > 1 and not indexes):
        raise DecodeError
    places = list(indexes)
    return lambda place: known[places[place] if places else 0]


def renewed_envelope(parsed: Envelope, header: bytes) -> bytes:
    """Return an envelope with the wrapping of a header. Raises `DecodeError` where that is of another envelope."""
    try:
        renewed = parse_envelope(header, payload_optional=True)
    except EnvelopeMalformed:
        raise DecodeError from None
    if renewed.bound != parsed.bound:
        raise DecodeError
    return parsed.with_wrapping(renewed.key_version, renewed.wrapped).encode()


def bindings_of(
    size: int, context: GivenContext, contexts: GivenContexts, keys: Sequence[str] | None, key_version: int
) -> list[wire.BatchBinding]:
    """Return a binding for each item; none where all share key and context."""
    if contexts is None and keys is None:
        return []
    each = [context] * size if contexts is None else contexts
    names = [""] * size if keys is None else keys
    return [
        wire.BatchBinding(key=name, encryption_context=context_pairs(own), key_version=key_version)
        for name, own in zip(names, each, strict=True)
    ]


def contexts_of(contexts: GivenContexts) -> list[wire.BatchContext]:
    """Return a context for each item; none where all share one."""
    return [wire.BatchContext(encryption_context=context_pairs(own)) for own in contexts or ()]


def check_columns(size: int, *columns: Sequence[object] | None) -> None:
    """Raise `InvalidRequest` where a column has not one place for each item."""
    for column in columns:
        if column is not None and len(column) != size:
            raise InvalidRequest(
                f"There are {size} items, and {len(column)} of something that each must have.",
                advice="Give as many contexts, keys and references as items.",
            )


def check_size(size: int) -> int:
    """Return how many items a batch has. Raises `InvalidRequest` where it is none, or too many."""
    if not 1 <= size <= MAX_ITEMS:
        raise InvalidRequest(f"A batch has 1 to {MAX_ITEMS} items, not {size}.", advice="Make several calls.")
    return size


def checked_envelope(envelope: bytes) -> bytes:
    """Return an envelope that is not too long for the gateway. Raises `InvalidRequest`."""
    return require_bytes(envelope, "envelope", MAX_ENVELOPE_BYTES, "Use open(), which takes envelopes of any size.")
