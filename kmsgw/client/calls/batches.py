"""Many items in one call: the batch verbs of CryptoService. Limits: 1,000 items, and 4 MiB in all.

All items of a batch share one context, or `contexts` has one for each. `references` are the caller's own names of the
items, of at most 128 bytes: they come back in the answer and are recorded nowhere. The result is a `Batch`: a bad item
has its error in it, and spoils none of the others. An error that concerns all items is raised, as by a single call.
"""

from collections.abc import Sequence

from kmsgw.client.batch_results import Batch
from kmsgw.client.calls.batch_columns import (
    GivenContexts,
    batch_call,
    batch_of,
    bindings_of,
    check_columns,
    check_size,
    checked_envelope,
    column,
    contexts_of,
    item_errors,
    keys_of,
    renewed_envelope,
    source_keys_of,
)
from kmsgw.client.calls.call import (
    Answer,
    Call,
    GivenContext,
    context_pairs,
    declaration_message,
    method_path,
    require_bytes,
)
from kmsgw.client.calls.crypto import MAX_PLAINTEXT_BYTES
from kmsgw.client.results import DataKey, Decrypted, Encrypted, ReEncrypted, Rewrapped, WrappedDataKey
from kmsgw.envelope.format import parse_envelope
from kmsgw.model.context import AccessDeclaration
from kmsgw.v1 import crypto_batch_pb2 as wire
from kmsgw.v1 import crypto_service_pb2
from kmsgw.v1.common_pb2 import AccessDeclaration as AccessDeclarationMessage

_SERVICE = crypto_service_pb2.DESCRIPTOR.services_by_name["CryptoService"]
_ENCRYPT = method_path(_SERVICE, "BatchEncrypt")
_DECRYPT = method_path(_SERVICE, "BatchDecrypt")
_RE_ENCRYPT = method_path(_SERVICE, "BatchReEncrypt")
_REWRAP = method_path(_SERVICE, "BatchRewrap")
_GENERATE = method_path(_SERVICE, "BatchGenerateDataKey")


def batch_encrypt(
    defaults: AccessDeclaration,
    key: str,
    plaintexts: Sequence[bytes],
    context: GivenContext = None,
    *,
    contexts: GivenContexts = None,
    keys: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    key_version: int = 0,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Batch[Encrypted]]:
    """Encrypt many values, each of at most 64 KiB, under `key`, or each under one of `keys`.

    A batch whose values share key and context is the fastest way to encrypt many.
    """
    size = check_size(len(plaintexts))
    check_columns(size, contexts, keys, references)
    bindings = bindings_of(size, context, contexts, keys, key_version)
    request = wire.BatchEncryptRequest(
        key=key,
        plaintexts=[require_bytes(each, "plaintext", MAX_PLAINTEXT_BYTES, "Use seal().") for each in plaintexts],
        encryption_context=[] if bindings else context_pairs(context),
        declaration=declaration_message(defaults, purpose, end_user),
        key_version=0 if bindings else key_version,
        bindings=bindings,
        references=references,
    )

    def read(answer: Answer) -> Batch[Encrypted]:
        response = wire.BatchEncryptResponse.FromString(answer.payload)
        envelopes, under = column(response.envelopes, size), keys_of(response, size)
        return batch_of(
            response, size, answer, lambda place: Encrypted(envelopes[place], *under(place), answer.request_id)
        )

    return batch_call(_ENCRYPT, request, read, timeout)


def batch_decrypt(
    defaults: AccessDeclaration,
    envelopes: Sequence[bytes],
    context: GivenContext = None,
    *,
    contexts: GivenContexts = None,
    expected_key: str = "",
    references: Sequence[str] | None = None,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Batch[Decrypted]]:
    """Open many envelopes or wrapped data keys; with `expected_key`, only those that are under that key."""
    size = check_size(len(envelopes))
    check_columns(size, contexts, references)
    request = wire.BatchDecryptRequest(
        envelopes=[checked_envelope(each) for each in envelopes],
        encryption_context=context_pairs(context if contexts is None else None),
        declaration=declaration_message(defaults, purpose, end_user),
        expected_key=expected_key,
        contexts=contexts_of(contexts),
        references=references,
    )

    def read(answer: Answer) -> Batch[Decrypted]:
        response = wire.BatchDecryptResponse.FromString(answer.payload)
        plaintexts, under = column(response.plaintexts, size), keys_of(response, size)
        return batch_of(
            response, size, answer, lambda place: Decrypted(plaintexts[place], *under(place), answer.request_id)
        )

    return batch_call(_DECRYPT, request, read, timeout)


def batch_re_encrypt(
    defaults: AccessDeclaration,
    envelopes: Sequence[bytes],
    destination_key: str,
    source_context: GivenContext = None,
    destination_context: GivenContext = None,
    *,
    source_contexts: GivenContexts = None,
    destination_contexts: GivenContexts = None,
    destination_keys: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Batch[ReEncrypted]]:
    """Decrypt and encrypt many envelopes inside the gateway, under another key, another context, or both."""
    size = check_size(len(envelopes))
    check_columns(size, source_contexts, destination_contexts, destination_keys, references)
    bindings: list[wire.BatchReEncryptBinding] = []
    if not (source_contexts is None and destination_contexts is None and destination_keys is None):
        sources = [source_context] * size if source_contexts is None else source_contexts
        destinations = [destination_context] * size if destination_contexts is None else destination_contexts
        names = [""] * size if destination_keys is None else destination_keys
        bindings = [
            wire.BatchReEncryptBinding(
                source_encryption_context=context_pairs(source),
                destination_key=name,
                destination_encryption_context=context_pairs(destination),
            )
            for source, name, destination in zip(sources, names, destinations, strict=True)
        ]
    request = wire.BatchReEncryptRequest(
        envelopes=[checked_envelope(each) for each in envelopes],
        source_encryption_context=[] if bindings else context_pairs(source_context),
        destination_key=destination_key,
        destination_encryption_context=[] if bindings else context_pairs(destination_context),
        declaration=declaration_message(defaults, purpose, end_user),
        bindings=bindings,
        references=references,
    )

    def read(answer: Answer) -> Batch[ReEncrypted]:
        response = wire.BatchReEncryptResponse.FromString(answer.payload)
        made, under, source = column(response.envelopes, size), keys_of(response, size), source_keys_of(response, size)
        return batch_of(
            response,
            size,
            answer,
            lambda place: ReEncrypted(made[place], *source(place), *under(place), answer.request_id),
        )

    return batch_call(_RE_ENCRYPT, request, read, timeout)


def batch_rewrap(
    defaults: AccessDeclaration,
    envelopes: Sequence[bytes],
    context: GivenContext = None,
    *,
    contexts: GivenContexts = None,
    references: Sequence[str] | None = None,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Batch[Rewrapped]]:
    """Put the data keys of many envelopes, of any size, under the newest versions of their keys.

    Only headers travel. Envelopes that share a data key share its new wrapping, too. Raises `EnvelopeMalformed` where
    one of them is no envelope: nothing is sent then.
    """
    size = check_size(len(envelopes))
    check_columns(size, contexts, references)
    parsed = [parse_envelope(each, payload_optional=True) for each in envelopes]
    headers = [data[: len(data) - len(each.payload)] for data, each in zip(envelopes, parsed, strict=True)]
    request = wire.BatchRewrapRequest(
        envelopes=headers,
        encryption_context=context_pairs(context if contexts is None else None),
        declaration=declaration_message(defaults, purpose, end_user),
        contexts=contexts_of(contexts),
        references=references,
    )

    def read(answer: Answer) -> Batch[Rewrapped]:
        response = wire.BatchRewrapResponse.FromString(answer.payload)
        under, source = keys_of(response, size), source_keys_of(response, size)
        errors = item_errors(response, size)
        renewed = [
            b"" if place in errors else renewed_envelope(parsed[place], header)
            for place, header in enumerate(column(response.envelopes, size))
        ]

        def made(place: int) -> Rewrapped:
            key_id, version = under(place)
            return Rewrapped(renewed[place], key_id, source(place)[1], version, answer.request_id)

        return Batch(size, made, errors, response.references, answer.request_id)

    return batch_call(_REWRAP, request, read, timeout)


def batch_generate_data_key(
    defaults: AccessDeclaration,
    key: str,
    count: int,
    context: GivenContext = None,
    *,
    contexts: GivenContexts = None,
    keys: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    key_version: int = 0,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Batch[DataKey]]:
    """Make `count` data keys, each in plaintext, to use and forget, and wrapped, to store. None may be cached.

    They are wrapped by `key`, or each by one of `keys`.
    """
    declared = declaration_message(defaults, purpose, end_user)
    request = _generate(declared, key, count, context, contexts, keys, references, key_version)

    def read(answer: Answer) -> Batch[DataKey]:
        response = wire.BatchGenerateDataKeyResponse.FromString(answer.payload)
        wrapped, under = column(response.wrapped_data_keys, count), keys_of(response, count)
        plaintexts = column(response.plaintext_data_keys, count)
        return batch_of(
            response,
            count,
            answer,
            lambda place: DataKey(plaintexts[place], wrapped[place], *under(place), answer.request_id),
        )

    return batch_call(_GENERATE, request, read, timeout)


def batch_generate_data_key_without_plaintext(
    defaults: AccessDeclaration,
    key: str,
    count: int,
    context: GivenContext = None,
    *,
    contexts: GivenContexts = None,
    keys: Sequence[str] | None = None,
    references: Sequence[str] | None = None,
    key_version: int = 0,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Batch[WrappedDataKey]]:
    """Make `count` data keys that nobody has seen; `decrypt` answers them where they are used.

    They are wrapped by `key`, or each by one of `keys`.
    """
    declared = declaration_message(defaults, purpose, end_user)
    request = _generate(declared, key, count, context, contexts, keys, references, key_version)
    request.without_plaintext = True

    def read(answer: Answer) -> Batch[WrappedDataKey]:
        response = wire.BatchGenerateDataKeyResponse.FromString(answer.payload)
        wrapped, under = column(response.wrapped_data_keys, count), keys_of(response, count)
        return batch_of(
            response, count, answer, lambda place: WrappedDataKey(wrapped[place], *under(place), answer.request_id)
        )

    return batch_call(_GENERATE, request, read, timeout)


def _generate(
    declared: AccessDeclarationMessage | None,
    key: str,
    count: int,
    context: GivenContext,
    contexts: GivenContexts,
    keys: Sequence[str] | None,
    references: Sequence[str] | None,
    key_version: int,
) -> wire.BatchGenerateDataKeyRequest:
    check_size(count)
    check_columns(count, contexts, keys, references)
    bindings = bindings_of(count, context, contexts, keys, key_version)
    return wire.BatchGenerateDataKeyRequest(
        key=key,
        count=count,
        encryption_context=[] if bindings else context_pairs(context),
        declaration=declared,
        key_version=0 if bindings else key_version,
        bindings=bindings,
        references=references,
    )
