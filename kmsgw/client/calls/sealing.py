"""The verbs that work on the envelope here, so that values of any size need only their data key from the gateway.

What `seal` makes, `open` opens, and the gateway reads it too as long as it is at most 66,816 bytes; `open` has the
gateway open what the gateway sealed. Format: docs/envelope.md.
"""

from kmsgw.client.calls import crypto
from kmsgw.client.calls.call import (
    Answer,
    Call,
    GivenContext,
    bound_context,
    context_pairs,
    declaration_message,
    method_path,
    require_bytes,
)
from kmsgw.client.results import Decrypted, Encrypted, Rewrapped
from kmsgw.envelope.aead import open_value, seal_value
from kmsgw.envelope.format import WRAPPED_MAX, Envelope, Suite, parse_envelope
from kmsgw.errors import DecryptionFailed, EnvelopeMalformed, InternalError
from kmsgw.model.context import AccessDeclaration
from kmsgw.v1 import crypto_service_pb2 as wire

MAX_SEALED_BYTES = 1 << 30
"""Longest value that `seal` takes. It is held in memory, about three times over."""

MAX_SEALED_ENVELOPE = MAX_SEALED_BYTES + WRAPPED_MAX + 256
"""Longest envelope that `open` takes."""
_HEAVY_BYTES = 1 << 16
_TOO_LONG = "Split it, and put the part's number into the context."

_REWRAP = method_path(wire.DESCRIPTOR.services_by_name["CryptoService"], "Rewrap")


def seal(
    defaults: AccessDeclaration,
    key: str,
    data: bytes,
    context: GivenContext = None,
    *,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Encrypted]:
    """Encrypt a value of at most 1 GiB here, under a data key that the gateway makes for it.

    Policy decides on ``generateDataKey``. Only the data key travels, and it is used for this one value.
    """
    bound = bound_context(context)
    require_bytes(data, "data", MAX_SEALED_BYTES, _TOO_LONG)
    call = crypto.generate_data_key(defaults, key, bound, purpose=purpose, end_user=end_user, timeout=timeout)

    def read(answer: Answer) -> Encrypted:
        made = call.read(answer)
        wrapping = _answered(made.wrapped, answer)
        sealed = seal_value(
            made.plaintext,
            data,
            bound,
            key_id=wrapping.key_id,
            key_version=wrapping.key_version,
            wrapped=wrapping.wrapped,
            suite=Suite.CLIENT_SEALED,
        )
        return Encrypted(sealed, wrapping.key_id, wrapping.key_version, answer.request_id)

    return Call(call.method, call.request, read, timeout=timeout, heavy=len(data) > _HEAVY_BYTES)


def open_sealed(
    defaults: AccessDeclaration,
    envelope: bytes,
    context: GivenContext = None,
    *,
    expected_key: str = "",
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Decrypted]:
    """Open an envelope of any size. One that a client sealed is opened here, and its payload does not travel.

    One that the gateway sealed is opened by the gateway, which hands its own data keys to nobody. Raises
    `DecryptionFailed` where context, key or bytes are not those of the encryption, whichever it is, and
    `EnvelopeMalformed` where the bytes are no envelope with a payload.
    """
    bound = bound_context(context)
    parsed = parse_envelope(require_bytes(envelope, "envelope", MAX_SEALED_ENVELOPE, _TOO_LONG))
    if parsed.suite is Suite.WRAPPED_DATA_KEY:
        raise EnvelopeMalformed("This is a wrapped data key; it has no payload.", advice="Use decrypt().")
    sealed_here = parsed.suite is Suite.CLIENT_SEALED
    call = crypto.decrypt(
        defaults,
        parsed.wrapped_data_key().encode() if sealed_here else envelope,
        bound,
        expected_key=expected_key,
        purpose=purpose,
        end_user=end_user,
        timeout=timeout,
    )
    if not sealed_here:
        return call

    def read(answer: Answer) -> Decrypted:
        data_key = call.read(answer)
        try:
            value = open_value(data_key.plaintext, parsed, bound)
        except DecryptionFailed as error:
            error.request_id = answer.request_id
            raise
        return Decrypted(value, data_key.key_id, data_key.key_version, answer.request_id)

    return Call(call.method, call.request, read, timeout=timeout, heavy=len(envelope) > _HEAVY_BYTES)


def rewrap(
    defaults: AccessDeclaration,
    envelope: bytes,
    context: GivenContext = None,
    *,
    purpose: str | None = None,
    end_user: str | None = None,
    timeout: float | None = None,
) -> Call[Rewrapped]:
    """Put the data key of an envelope of any size under the newest version of its key; a wrapped data key likewise.

    Only the header travels: the payload stays as it is. Store the new envelope where ``changed`` says so.
    """
    parsed = parse_envelope(require_bytes(envelope, "envelope", MAX_SEALED_ENVELOPE, _TOO_LONG), payload_optional=True)
    header = envelope[: len(envelope) - len(parsed.payload)]
    request = wire.RewrapRequest(
        envelope=header,
        encryption_context=context_pairs(context),
        declaration=declaration_message(defaults, purpose, end_user),
    )

    def read(answer: Answer) -> Rewrapped:
        response = wire.RewrapResponse.FromString(answer.payload)
        renewed = _answered(response.envelope, answer)
        if renewed.bound != parsed.bound:
            raise _unusable(answer)
        return Rewrapped(
            parsed.with_wrapping(renewed.key_version, renewed.wrapped).encode(),
            response.key_id,
            response.source_key_version,
            response.key_version,
            answer.request_id,
        )

    return Call(_REWRAP, request.SerializeToString(), read, timeout=timeout)


def _answered(envelope: bytes, answer: Answer) -> Envelope:
    """Parse what the gateway answered. Raises `InternalError`: the caller's bytes are not at fault."""
    try:
        return parse_envelope(envelope, payload_optional=True)
    except EnvelopeMalformed:
        raise _unusable(answer) from None


def _unusable(answer: Answer) -> InternalError:
    return InternalError(
        "The gateway answered a header that does not fit.",
        advice="Use an SDK as new as the gateway.",
        request_id=answer.request_id,
    )
