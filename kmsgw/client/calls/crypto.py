"""The verbs of CryptoService.

`defaults` is what the client declares of every call. The keywords that all verbs share: `purpose` and `end_user`
declare why the call is made (None leaves it to the client), `timeout` bounds it in seconds over all attempts.
Every verb raises the tree of `kmsgw.errors`; each docstring names what is particular to it.
"""

from kmsgw.client.calls.call import (
    Answer,
    Call,
    GivenContext,
    context_pairs,
    declaration_message,
    method_path,
    require_bytes,
)
from kmsgw.client.results import DataKey, Decrypted, Encrypted, Mac, ReEncrypted, WrappedDataKey
from kmsgw.errors import InvalidRequest, Reason
from kmsgw.model.context import AccessDeclaration
from kmsgw.model.data_key_limits import KEEP_NOTHING, DataKeyLimits
from kmsgw.v1 import crypto_service_pb2 as wire

MAX_PLAINTEXT_BYTES = 65_536
"""Longest value that the gateway encrypts in one call."""

MAX_ENVELOPE_BYTES = 66_816
"""Longest envelope that the gateway takes."""

MAX_RANDOM_BYTES = 1024
"""Most random bytes in one call."""

MAX_VALUE_BYTES = 4096
"""Longest value of a blind index."""

MAC_BYTES = 32
"""Length of a keyed hash."""

_SERVICE = wire.DESCRIPTOR.services_by_name["CryptoService"]
_ENCRYPT = method_path(_SERVICE, "Encrypt")
_DECRYPT = method_path(_SERVICE, "Decrypt")
_RE_ENCRYPT = method_path(_SERVICE, "ReEncrypt")
_GENERATE_DATA_KEY = method_path(_SERVICE, "GenerateDataKey")
_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT = method_path(_SERVICE, "GenerateDataKeyWithoutPlaintext")
_GENERATE_RANDOM_BYTES = method_path(_SERVICE, "GenerateRandomBytes")
_COMPUTE_MAC = method_path(_SERVICE, "ComputeMac")
_VERIFY_MAC = method_path(_SERVICE, "VerifyMac")


def encrypt(
    defaults: AccessDeclaration,
    key: str,
    plaintext: bytes,
    context: GivenContext = None,
    *,
    key_version: int = 0,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Encrypted]:
    """Encrypt a value of at most 64 KiB under the newest version of `key`, an id or ``alias/NAME``.

    `key_version`, here and below, asks for an older one, where the key's `minimum_encrypt_version` allows it.
    The same `context` must be given to decrypt. Raises `InvalidRequest` where the value is too long: use `seal`.
    """
    if isinstance(plaintext, bytes) and len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise InvalidRequest(
            f"The plaintext is longer than {MAX_PLAINTEXT_BYTES} bytes.",
            reason=Reason.PLAINTEXT_TOO_LARGE,
            advice="Use seal(), which encrypts here under a data key.",
        )
    request = wire.EncryptRequest(
        key=key,
        plaintext=require_bytes(plaintext, "plaintext", MAX_PLAINTEXT_BYTES, ""),
        encryption_context=context_pairs(context),
        declaration=declaration_message(defaults, purpose, end_user),
        key_version=_version(key_version),
    )

    def read(answer: Answer) -> Encrypted:
        response = wire.EncryptResponse.FromString(answer.payload)
        return Encrypted(response.envelope, response.key_id, response.key_version, answer.request_id)

    return Call(_ENCRYPT, request.SerializeToString(), read, timeout=timeout)


def decrypt(
    defaults: AccessDeclaration,
    envelope: bytes,
    context: GivenContext = None,
    *,
    expected_key: str = "",
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Decrypted]:
    """Open an envelope, or unwrap a wrapped data key; with `expected_key`, only if it is under that key.

    Raises `DecryptionFailed` where context, key or bytes are not those of the encryption, whichever it is.
    """
    request = wire.DecryptRequest(
        envelope=_envelope(envelope, "Use open(), which takes envelopes of any size."),
        encryption_context=context_pairs(context),
        declaration=declaration_message(defaults, purpose, end_user),
        expected_key=expected_key,
    )

    def read(answer: Answer) -> Decrypted:
        response = wire.DecryptResponse.FromString(answer.payload)
        return Decrypted(
            response.plaintext, response.key_id, response.key_version, answer.request_id, data_key_limits(response)
        )

    return Call(_DECRYPT, request.SerializeToString(), read, timeout=timeout)


def re_encrypt(
    defaults: AccessDeclaration,
    envelope: bytes,
    destination_key: str,
    source_context: GivenContext = None,
    destination_context: GivenContext = None,
    *,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[ReEncrypted]:
    """Decrypt and encrypt inside the gateway, under another key, another context, or both.

    Raises `DecryptionFailed` as `decrypt` does.
    """
    request = wire.ReEncryptRequest(
        envelope=_envelope(envelope, "Use open() and seal()."),
        source_encryption_context=context_pairs(source_context),
        destination_key=destination_key,
        destination_encryption_context=context_pairs(destination_context),
        declaration=declaration_message(defaults, purpose, end_user),
    )

    def read(answer: Answer) -> ReEncrypted:
        response = wire.ReEncryptResponse.FromString(answer.payload)
        return ReEncrypted(
            response.envelope,
            response.source_key_id,
            response.source_key_version,
            response.key_id,
            response.key_version,
            answer.request_id,
        )

    return Call(_RE_ENCRYPT, request.SerializeToString(), read, timeout=timeout)


def generate_data_key(
    defaults: AccessDeclaration,
    key: str,
    context: GivenContext = None,
    *,
    key_version: int = 0,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[DataKey]:
    """Make a 256-bit data key; the answer has it in plaintext, to use and forget, and wrapped, to store."""
    request = wire.GenerateDataKeyRequest(
        key=key,
        encryption_context=context_pairs(context),
        declaration=declaration_message(defaults, purpose, end_user),
        key_version=_version(key_version),
    )

    def read(answer: Answer) -> DataKey:
        response = wire.GenerateDataKeyResponse.FromString(answer.payload)
        return DataKey(
            response.plaintext_data_key,
            response.wrapped_data_key,
            response.key_id,
            response.key_version,
            answer.request_id,
            data_key_limits(response),
        )

    return Call(_GENERATE_DATA_KEY, request.SerializeToString(), read, timeout=timeout)


def generate_data_key_without_plaintext(
    defaults: AccessDeclaration,
    key: str,
    context: GivenContext = None,
    *,
    key_version: int = 0,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[WrappedDataKey]:
    """Make a 256-bit data key and answer it wrapped only; `decrypt` answers it where it is used."""
    request = wire.GenerateDataKeyWithoutPlaintextRequest(
        key=key,
        encryption_context=context_pairs(context),
        declaration=declaration_message(defaults, purpose, end_user),
        key_version=_version(key_version),
    )

    def read(answer: Answer) -> WrappedDataKey:
        response = wire.GenerateDataKeyWithoutPlaintextResponse.FromString(answer.payload)
        return WrappedDataKey(response.wrapped_data_key, response.key_id, response.key_version, answer.request_id)

    return Call(_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT, request.SerializeToString(), read, timeout=timeout)


def data_key_limits(response: wire.GenerateDataKeyResponse | wire.DecryptResponse) -> DataKeyLimits:
    """Return what may be done with the data key of a response. A gateway that says nothing lets none be kept."""
    if not response.HasField("limits"):
        return KEEP_NOTHING
    given = response.limits
    return DataKeyLimits(
        max(1, given.max_messages),
        max(1, given.max_bytes),
        max(0.0, given.max_age.ToNanoseconds() / 1e9),
        max(0.0, given.lease.ToNanoseconds() / 1e9),
    )


def random_bytes(length: int, *, timeout: float | None = None) -> Call[bytes]:
    """Return 1 to 1,024 bytes from the gateway's random generator. Raises `InvalidRequest` on another length."""
    if not 1 <= length <= MAX_RANDOM_BYTES:
        raise InvalidRequest("The length is out of range.", advice=f"Use 1 to {MAX_RANDOM_BYTES}.")
    request = wire.GenerateRandomBytesRequest(length=length)

    def read(answer: Answer) -> bytes:
        return wire.GenerateRandomBytesResponse.FromString(answer.payload).random_bytes

    return Call(_GENERATE_RANDOM_BYTES, request.SerializeToString(), read, timeout=timeout)


def compute_mac(
    defaults: AccessDeclaration,
    key: str,
    index: str,
    value: bytes,
    *,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Mac]:
    """Compute the keyed hash of a value, 1 to 4,096 bytes: store it beside the envelope, and find equal values by it.

    `index` says what the value is, for example "patient-number"; equal values of two indexes have unrelated hashes.
    Bring a value to one form first (case, spaces, accents). It stays the same when `key` is rotated.
    """
    request = wire.ComputeMacRequest(
        key=key, index=index, value=_value(value), declaration=declaration_message(defaults, purpose, end_user)
    )

    def read(answer: Answer) -> Mac:
        response = wire.ComputeMacResponse.FromString(answer.payload)
        return Mac(response.mac, response.key_id, answer.request_id)

    return Call(_COMPUTE_MAC, request.SerializeToString(), read, timeout=timeout)


def verify_mac(
    defaults: AccessDeclaration,
    key: str,
    index: str,
    value: bytes,
    mac: bytes,
    *,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[bool]:
    """Tell whether `mac`, 32 bytes, is the keyed hash of a value: what `compute_mac` answers for it."""
    request = wire.VerifyMacRequest(
        key=key,
        index=index,
        value=_value(value),
        mac=require_bytes(mac, "mac", MAC_BYTES, "Give it as compute_mac() answered it."),
        declaration=declaration_message(defaults, purpose, end_user),
    )

    def read(answer: Answer) -> bool:
        return wire.VerifyMacResponse.FromString(answer.payload).valid

    return Call(_VERIFY_MAC, request.SerializeToString(), read, timeout=timeout)


def _value(value: bytes) -> bytes:
    return require_bytes(value, "value", MAX_VALUE_BYTES, "Index a short form of it, for example its SHA-256.")


def _envelope(envelope: bytes, advice: str) -> bytes:
    return require_bytes(envelope, "envelope", MAX_ENVELOPE_BYTES, advice)


def _version(number: int) -> int:
    if not 0 <= number < 1 << 32:
        raise InvalidRequest("key_version is out of range.", advice="Versions count from 1; 0 asks for the newest.")
    return number
