"""CryptoService: from the wire to commands, and from results to the wire."""

from collections.abc import Callable, Collection
from typing import Final

from google.protobuf.duration_pb2 import Duration

from kmsgw.envelope.format import key_part, parse_envelope
from kmsgw.model.context import EMPTY_CONTEXT, MAX_PAIRS, AccessDeclaration, EncryptionContext
from kmsgw.model.data_key_limits import DataKeyLimits
from kmsgw.model.generation_cache import GenerationCache
from kmsgw.operations.data.compute_mac import ComputedMac, ComputeMacCommand
from kmsgw.operations.data.decrypt import DecryptCommand, Decrypted
from kmsgw.operations.data.encrypt import EncryptCommand, Encrypted
from kmsgw.operations.data.generate_data_key import GenerateDataKeyCommand, GeneratedDataKey
from kmsgw.operations.data.generate_random_bytes import GenerateRandomBytesCommand
from kmsgw.operations.data.re_encrypt import ReEncryptCommand, ReEncrypted
from kmsgw.operations.data.rewrap import RewrapCommand, Rewrapped
from kmsgw.operations.data.verify_mac import VerifiedMac, VerifyMacCommand
from kmsgw.server.skim import Skim, Skimmer, field_head, sealed_under
from kmsgw.telemetry.meters import Lookups
from kmsgw.v1 import common_pb2, crypto_service_pb2

CACHED_CONTEXTS: Final = 4096
"""Contexts, and declarations, in one of the two generations of their cache."""

CACHED_BYTES: Final = 256
"""Longest canonical context that is kept. Both caches hold at most about 8 MiB."""

CONTEXT_LOOKUPS: Final = Lookups()
"""How often the context of a request that had to be parsed was in the cache."""

REQUEST_LOOKUPS: Final = Lookups()
"""How often what stands around the payload of an Encrypt or Decrypt was known, so that nothing had to be parsed."""

_contexts: GenerationCache[tuple[tuple[str, str], ...], EncryptionContext] = GenerationCache(CACHED_CONTEXTS)
_declarations: GenerationCache[tuple[str, str], AccessDeclaration] = GenerationCache(CACHED_CONTEXTS)


def context_of(pairs: Collection[common_pb2.ContextPair]) -> EncryptionContext:
    """Return the context of a request. Raises `InvalidRequest` where it is ambiguous or too large."""
    if not pairs:
        return EMPTY_CONTEXT
    if len(pairs) > MAX_PAIRS:
        return EncryptionContext.of_pairs((pair.key, pair.value) for pair in pairs)
    # The rules look at each character: a tenth of what a call of 1 KiB costs. What they allowed once, they allow again.
    asked = tuple([(pair.key, pair.value) for pair in pairs])
    context = _contexts.get(asked)
    if context is not None:
        CONTEXT_LOOKUPS.hits += 1
    else:
        CONTEXT_LOOKUPS.misses += 1
        context = EncryptionContext.of_pairs(asked)
        if len(context.canonical) <= CACHED_BYTES:
            _contexts.put(asked, context)
    return context


def declaration_of(declared: common_pb2.AccessDeclaration) -> AccessDeclaration:
    """Return what a request declares. Raises `InvalidRequest` where it is malformed."""
    asked = declared.purpose, declared.end_user
    declaration = _declarations.get(asked)
    if declaration is None:
        declaration = AccessDeclaration(*asked)
        _declarations.put(asked, declaration)
    return declaration


def duration(seconds: float) -> Duration:
    """Write a time span."""
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def limits_message(limits: DataKeyLimits) -> crypto_service_pb2.DataKeyLimits:
    """Write what a client may do with a data key."""
    return crypto_service_pb2.DataKeyLimits(
        max_messages=limits.max_messages,
        max_bytes=limits.max_bytes,
        max_age=duration(limits.max_age_seconds),
        lease=duration(limits.lease_seconds),
    )


def encrypt_command(request: crypto_service_pb2.EncryptRequest) -> EncryptCommand:
    """Read an Encrypt request."""
    return EncryptCommand(
        request.key,
        request.plaintext,
        context_of(request.encryption_context),
        declaration_of(request.declaration),
        request.key_version,
    )


def encrypt_response(result: Encrypted) -> crypto_service_pb2.EncryptResponse:
    """Write an Encrypt response."""
    return crypto_service_pb2.EncryptResponse(
        envelope=result.envelope, key_id=result.key_id, key_version=result.key_version
    )


def _encrypting(request: crypto_service_pb2.EncryptRequest) -> Callable[[bytes], EncryptCommand]:
    key, version = request.key, request.key_version
    context, declaration = context_of(request.encryption_context), declaration_of(request.declaration)
    return lambda plaintext: EncryptCommand(key, plaintext, context, declaration, version)


_encrypted_under = sealed_under(crypto_service_pb2.EncryptResponse)


def _encrypt_answer(result: Encrypted) -> bytes:
    parts = result.parts
    head = field_head(0x0A, sum(map(len, parts)))
    return b"".join((head, *parts, _encrypted_under(result.key_id, result.key_version)))


_encrypts = Skimmer(crypto_service_pb2.EncryptRequest, 0x12, 0x0A, _encrypting, REQUEST_LOOKUPS)

SKIM_ENCRYPT: Final = Skim(_encrypts.read, _encrypt_answer, _encrypts.split, lambda _plaintext: b"", REQUEST_LOOKUPS)
"""Encrypt: ``plaintext = 2`` after ``key = 1``; the answer has ``envelope = 1``."""


def decrypt_command(request: crypto_service_pb2.DecryptRequest) -> DecryptCommand:
    """Read a Decrypt request. Raises `EnvelopeMalformed`."""
    return DecryptCommand(
        parse_envelope(request.envelope),
        context_of(request.encryption_context),
        declaration_of(request.declaration),
        request.expected_key,
    )


def decrypt_response(result: Decrypted) -> crypto_service_pb2.DecryptResponse:
    """Write a Decrypt response."""
    return crypto_service_pb2.DecryptResponse(
        plaintext=result.plaintext,
        key_id=result.key_id,
        key_version=result.key_version,
        limits=None if result.limits is None else limits_message(result.limits),
    )


def _decrypting(request: crypto_service_pb2.DecryptRequest) -> Callable[[bytes], DecryptCommand]:
    expected_key = request.expected_key
    context, declaration = context_of(request.encryption_context), declaration_of(request.declaration)
    return lambda envelope: DecryptCommand(parse_envelope(envelope), context, declaration, expected_key)


_decrypted_under = sealed_under(crypto_service_pb2.DecryptResponse)


def _decrypt_answer(result: Decrypted) -> bytes:
    plaintext = result.plaintext
    if result.limits is not None or not plaintext:  # protobuf leaves out what is empty
        return decrypt_response(result).SerializeToString()
    return b"".join((field_head(0x0A, len(plaintext)), plaintext, _decrypted_under(result.key_id, result.key_version)))


_decrypts = Skimmer(crypto_service_pb2.DecryptRequest, 0x0A, 0, _decrypting, REQUEST_LOOKUPS)

SKIM_DECRYPT: Final = Skim(_decrypts.read, _decrypt_answer, _decrypts.split, key_part, REQUEST_LOOKUPS)
"""Decrypt: ``envelope = 1``; the answer has ``plaintext = 1``."""


def re_encrypt_command(request: crypto_service_pb2.ReEncryptRequest) -> ReEncryptCommand:
    """Read a ReEncrypt request. Raises `EnvelopeMalformed`."""
    return ReEncryptCommand(
        parse_envelope(request.envelope),
        context_of(request.source_encryption_context),
        request.destination_key,
        context_of(request.destination_encryption_context),
        declaration_of(request.declaration),
    )


def re_encrypt_response(result: ReEncrypted) -> crypto_service_pb2.ReEncryptResponse:
    """Write a ReEncrypt response."""
    return crypto_service_pb2.ReEncryptResponse(
        envelope=result.envelope,
        source_key_id=result.source_key_id,
        source_key_version=result.source_key_version,
        key_id=result.key_id,
        key_version=result.key_version,
    )


def rewrap_command(request: crypto_service_pb2.RewrapRequest) -> RewrapCommand:
    """Read a Rewrap request, whose envelope may lack its payload. Raises `EnvelopeMalformed`."""
    return RewrapCommand(
        parse_envelope(request.envelope, payload_optional=True),
        context_of(request.encryption_context),
        declaration_of(request.declaration),
    )


def rewrap_response(result: Rewrapped) -> crypto_service_pb2.RewrapResponse:
    """Write a Rewrap response."""
    return crypto_service_pb2.RewrapResponse(
        envelope=result.envelope,
        key_id=result.key_id,
        source_key_version=result.source_key_version,
        key_version=result.key_version,
    )


def generate_data_key_command(
    request: crypto_service_pb2.GenerateDataKeyRequest | crypto_service_pb2.GenerateDataKeyWithoutPlaintextRequest,
) -> GenerateDataKeyCommand:
    """Read a GenerateDataKey request, with or without plaintext."""
    return GenerateDataKeyCommand(
        request.key, context_of(request.encryption_context), declaration_of(request.declaration), request.key_version
    )


def generate_data_key_response(result: GeneratedDataKey) -> crypto_service_pb2.GenerateDataKeyResponse:
    """Write a GenerateDataKey response."""
    return crypto_service_pb2.GenerateDataKeyResponse(
        plaintext_data_key=result.plaintext,
        wrapped_data_key=result.wrapped,
        key_id=result.key_id,
        key_version=result.key_version,
        limits=limits_message(result.limits),
    )


def generate_data_key_without_plaintext_response(
    result: GeneratedDataKey,
) -> crypto_service_pb2.GenerateDataKeyWithoutPlaintextResponse:
    """Write a GenerateDataKeyWithoutPlaintext response."""
    return crypto_service_pb2.GenerateDataKeyWithoutPlaintextResponse(
        wrapped_data_key=result.wrapped, key_id=result.key_id, key_version=result.key_version
    )


def generate_random_bytes_command(
    request: crypto_service_pb2.GenerateRandomBytesRequest,
) -> GenerateRandomBytesCommand:
    """Read a GenerateRandomBytes request."""
    return GenerateRandomBytesCommand(request.length)


def generate_random_bytes_response(result: bytes) -> crypto_service_pb2.GenerateRandomBytesResponse:
    """Write a GenerateRandomBytes response."""
    return crypto_service_pb2.GenerateRandomBytesResponse(random_bytes=result)


def compute_mac_command(request: crypto_service_pb2.ComputeMacRequest) -> ComputeMacCommand:
    """Read a ComputeMac request."""
    return ComputeMacCommand(request.key, request.index, request.value, declaration_of(request.declaration))


def compute_mac_response(result: ComputedMac) -> crypto_service_pb2.ComputeMacResponse:
    """Write a ComputeMac response."""
    return crypto_service_pb2.ComputeMacResponse(mac=result.mac, key_id=result.key_id)


def verify_mac_command(request: crypto_service_pb2.VerifyMacRequest) -> VerifyMacCommand:
    """Read a VerifyMac request."""
    return VerifyMacCommand(request.key, request.index, request.value, request.mac, declaration_of(request.declaration))


def verify_mac_response(result: VerifiedMac) -> crypto_service_pb2.VerifyMacResponse:
    """Write a VerifyMac response."""
    return crypto_service_pb2.VerifyMacResponse(valid=result.valid, key_id=result.key_id)
