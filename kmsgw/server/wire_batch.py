"""Batches of CryptoService: from the wire to commands, and from results to the wire.

What is wrong with one item is kept in its place, as an error; what is wrong with the batch is raised.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Final, TypedDict

from google.protobuf.message import Message
from google.rpc.status_pb2 import Status

from kmsgw.errors import InvalidRequest, KmsgwError, Reason
from kmsgw.operations.batch import BatchDone, Binding, GivenContext
from kmsgw.operations.batch_account import MAX_ITEMS
from kmsgw.operations.data.batch_decrypt import BatchDecryptCommand
from kmsgw.operations.data.batch_encrypt import BatchEncryptCommand
from kmsgw.operations.data.batch_generate_data_key import BatchGenerateDataKeyCommand
from kmsgw.operations.data.batch_re_encrypt import BatchReEncryptCommand, ReEncryptBinding
from kmsgw.operations.data.batch_rewrap import BatchRewrapCommand
from kmsgw.server.skim import KNOWN
from kmsgw.server.skim_columns import ColumnSkim, ColumnSkimmer, column_bytes
from kmsgw.server.status import status_details
from kmsgw.server.wire_crypto import REQUEST_LOOKUPS, context_of, declaration_of
from kmsgw.v1 import common_pb2
from kmsgw.v1 import crypto_batch_pb2 as wire


def batch_encrypt_command(request: wire.BatchEncryptRequest) -> BatchEncryptCommand:
    """Read a BatchEncrypt request."""
    _require_bounded(request)
    return _encrypting(request)(list(request.plaintexts))


def _encrypting(request: wire.BatchEncryptRequest) -> Callable[[list[bytes]], BatchEncryptCommand]:
    key, version = request.key, request.key_version
    context, declaration = context_of(request.encryption_context), declaration_of(request.declaration)
    bindings, references = [_binding(each) for each in request.bindings], tuple(request.references)
    return lambda plaintexts: BatchEncryptCommand(plaintexts, declaration, key, context, version, bindings, references)


def batch_encrypt_response(result: BatchDone) -> wire.BatchEncryptResponse:
    """Write a BatchEncrypt response."""
    return wire.BatchEncryptResponse(envelopes=result.values, **_common(result))


def batch_decrypt_command(request: wire.BatchDecryptRequest) -> BatchDecryptCommand:
    """Read a BatchDecrypt request."""
    _require_bounded(request)
    return _decrypting(request)(list(request.envelopes))


def _decrypting(request: wire.BatchDecryptRequest) -> Callable[[list[bytes]], BatchDecryptCommand]:
    context, declaration = context_of(request.encryption_context), declaration_of(request.declaration)
    expected_key, references = request.expected_key, tuple(request.references)
    contexts = [_given(each.encryption_context) for each in request.contexts]
    return lambda envelopes: BatchDecryptCommand(envelopes, declaration, context, expected_key, contexts, references)


def batch_decrypt_response(result: BatchDone) -> wire.BatchDecryptResponse:
    """Write a BatchDecrypt response."""
    return wire.BatchDecryptResponse(plaintexts=result.values, **_common(result))


def batch_re_encrypt_command(request: wire.BatchReEncryptRequest) -> BatchReEncryptCommand:
    """Read a BatchReEncrypt request."""
    _require_bounded(request)
    return _re_encrypting(request)(list(request.envelopes))


def _re_encrypting(request: wire.BatchReEncryptRequest) -> Callable[[list[bytes]], BatchReEncryptCommand]:
    key, declaration = request.destination_key, declaration_of(request.declaration)
    source, destination = (
        context_of(request.source_encryption_context),
        context_of(request.destination_encryption_context),
    )
    bindings = [
        ReEncryptBinding(
            _given(each.source_encryption_context),
            each.destination_key,
            _given(each.destination_encryption_context),
        )
        for each in request.bindings
    ]
    references = tuple(request.references)
    return lambda envelopes: BatchReEncryptCommand(
        envelopes, declaration, source, key, destination, bindings, references
    )


def batch_re_encrypt_response(result: BatchDone) -> wire.BatchReEncryptResponse:
    """Write a BatchReEncrypt response."""
    return wire.BatchReEncryptResponse(
        envelopes=result.values, source_key_indexes=result.source_key_indexes, **_common(result)
    )


def batch_rewrap_command(request: wire.BatchRewrapRequest) -> BatchRewrapCommand:
    """Read a BatchRewrap request."""
    _require_bounded(request)
    return _rewrapping(request)(list(request.envelopes))


def _rewrapping(request: wire.BatchRewrapRequest) -> Callable[[list[bytes]], BatchRewrapCommand]:
    context, declaration = context_of(request.encryption_context), declaration_of(request.declaration)
    contexts, references = [_given(each.encryption_context) for each in request.contexts], tuple(request.references)
    return lambda envelopes: BatchRewrapCommand(envelopes, declaration, context, contexts, references)


def batch_rewrap_response(result: BatchDone) -> wire.BatchRewrapResponse:
    """Write a BatchRewrap response."""
    return wire.BatchRewrapResponse(
        envelopes=result.values, source_key_indexes=result.source_key_indexes, **_common(result)
    )


def batch_generate_data_key_command(request: wire.BatchGenerateDataKeyRequest) -> BatchGenerateDataKeyCommand:
    """Read a BatchGenerateDataKey request."""
    _require_bounded(request)
    return BatchGenerateDataKeyCommand(
        request.count or len(request.bindings),
        declaration_of(request.declaration),
        request.key,
        context_of(request.encryption_context),
        request.key_version,
        [_binding(each) for each in request.bindings],
        tuple(request.references),
        not request.without_plaintext,
    )


def batch_generate_data_key_response(result: BatchDone) -> wire.BatchGenerateDataKeyResponse:
    """Write a BatchGenerateDataKey response."""
    return wire.BatchGenerateDataKeyResponse(
        plaintext_data_keys=result.plaintexts, wrapped_data_keys=result.values, **_common(result)
    )


def _require_bounded(request: Message) -> None:
    """Raise `InvalidRequest` where any list of a batch is longer than a batch can be, before anything of it is read.

    A binding costs two bytes on the wire and a thousand times as much here: nobody has been asked yet whether the
    caller may do anything at all.
    """
    for field, value in request.ListFields():
        if field.is_repeated and len(value) > MAX_ITEMS:
            raise InvalidRequest(
                f"The batch has {len(value)} {field.name}; it takes at most {MAX_ITEMS}.",
                reason=Reason.REQUEST_MALFORMED,
                advice="Send the items in several batches.",
            )


class _Common(TypedDict):
    """What all responses have, by the names of their fields."""

    failures: list[wire.BatchFailure]
    keys: list[wire.BatchKey]
    key_indexes: Iterable[int]
    references: Iterable[str]


def _common(result: BatchDone) -> _Common:
    return {
        "failures": _failures(result),
        "keys": [wire.BatchKey(key_id=key_id, key_version=version) for key_id, version in result.keys],
        "key_indexes": result.key_indexes,
        "references": result.references,
    }


def _failures(result: BatchDone) -> list[wire.BatchFailure]:
    # Items that fail for one cause share its error, and so its details are written once.
    statuses: dict[int, Status] = {}
    failures: list[wire.BatchFailure] = []
    for index, error in sorted(result.failures.items()):
        status = statuses.get(id(error))
        if status is None:
            status = statuses[id(error)] = Status.FromString(status_details(error, result.request_id))
        reference = result.references[index] if result.references else ""
        failures.append(wire.BatchFailure(index=index, reference=reference, status=status))
    return failures


def _binding(binding: wire.BatchBinding) -> Binding:
    return Binding(binding.key, _given(binding.encryption_context), binding.key_version)


def _given(pairs: Collection[common_pb2.ContextPair]) -> GivenContext:
    try:
        return context_of(pairs)
    except KmsgwError as error:
        return error


def _writer(response: Callable[[BatchDone], Message]) -> Callable[[BatchDone], bytes]:
    """Return what writes the bytes of a response whose field 1 are the values, without copying them into it."""

    @lru_cache(maxsize=KNOWN)
    def under(keys: tuple[tuple[str, int], ...]) -> bytes:
        return response(BatchDone((), {}, keys, (), (), (), "")).SerializeToString()

    def write(result: BatchDone) -> bytes:
        if result.failures or result.references or result.key_indexes:
            rest = response(replace(result, values=())).SerializeToString()
        else:  # nearly always
            rest = under(result.keys)
        return column_bytes(_FIRST, result.values, rest)

    return write


_FIRST: Final = 0x0A
"""The byte before each value of field 1."""

SKIM_BATCH_ENCRYPT: Final = ColumnSkim(
    ColumnSkimmer(wire.BatchEncryptRequest, 0x12, _FIRST, _encrypting, REQUEST_LOOKUPS).read,
    _writer(batch_encrypt_response),
)
"""BatchEncrypt: ``plaintexts = 2`` after ``key = 1``."""

SKIM_BATCH_DECRYPT: Final = ColumnSkim(
    ColumnSkimmer(wire.BatchDecryptRequest, _FIRST, 0, _decrypting, REQUEST_LOOKUPS).read,
    _writer(batch_decrypt_response),
)
"""BatchDecrypt: ``envelopes = 1``."""

SKIM_BATCH_RE_ENCRYPT: Final = ColumnSkim(
    ColumnSkimmer(wire.BatchReEncryptRequest, _FIRST, 0, _re_encrypting, REQUEST_LOOKUPS).read,
    _writer(batch_re_encrypt_response),
)
"""BatchReEncrypt: ``envelopes = 1``."""

SKIM_BATCH_REWRAP: Final = ColumnSkim(
    ColumnSkimmer(wire.BatchRewrapRequest, _FIRST, 0, _rewrapping, REQUEST_LOOKUPS).read,
    _writer(batch_rewrap_response),
)
"""BatchRewrap: ``envelopes = 1``."""
