"""What a value to seal or an envelope to open asks for, checked. No I/O; shared by threads and asyncio."""

from collections.abc import Mapping
from typing import Final

from kmsgw.client.calls.call import GivenContext, bound_context, require_bytes
from kmsgw.client.calls.sealing import MAX_SEALED_BYTES, MAX_SEALED_ENVELOPE
from kmsgw.client.local.origin import Opening, Pairs, Place, Sealing
from kmsgw.envelope.format import Suite, parse_envelope
from kmsgw.errors import EnvelopeMalformed, InvalidRequest, Reason
from kmsgw.model.context import AccessDeclaration, EncryptionContext

_TOO_LONG: Final = "Split it, and put the part's number into the context."


def pairs_of(context: GivenContext) -> Pairs:
    """Return the pairs of a context in the order that they are given, and not checked.

    Raises `TypeError` or `AttributeError` where they can't be.
    """
    if type(context) is dict:  # nearly always
        return tuple(context.items())
    if context is None:
        return ()
    return context.pairs if isinstance(context, EncryptionContext) else tuple(context.items())


def sealing_place(key: str, pairs: Pairs, purpose: str | None, end_user: str | None) -> Place:
    """Return where a data key to seal with is found. The pairs are sorted there (`EncryptionContext.pairs`)."""
    return key, pairs, purpose, end_user


def opening_place(
    envelope: bytes,
    bound_end: int,
    payload_start: int,
    pairs: Pairs,
    expected_key: str,
    purpose: str | None,
    end_user: str | None,
) -> Place:
    """Return where the data key of an envelope is found: by suite, id, version, wrapped data key and context.

    What is kept there was unwrapped with all of them (threat 10). They are compared byte for byte, which is more than
    a hash.
    """
    return (
        envelope[: bound_end - 64],
        envelope[bound_end:payload_start],
        pairs,
        expected_key,
        purpose,
        end_user,
    )


def declared(defaults: AccessDeclaration, purpose: str | None, end_user: str | None) -> AccessDeclaration:
    """Return what is declared of an access: the call's own, else the client's. Raises `InvalidRequest`."""
    return AccessDeclaration(
        defaults.purpose if purpose is None else purpose, defaults.end_user if end_user is None else end_user
    )


def sealing_request(
    defaults: AccessDeclaration,
    key: str,
    data: bytes,
    context: GivenContext,
    purpose: str | None,
    end_user: str | None,
) -> Sealing:
    """Return what to ask for to seal a value. Raises `InvalidRequest`."""
    require_bytes(data, "data", MAX_SEALED_BYTES, _TOO_LONG)
    bound = _checked(context)
    place = sealing_place(key, bound.pairs, purpose, end_user)
    return Sealing(key, bound, declared(defaults, purpose, end_user), place)


def opening_request(
    defaults: AccessDeclaration,
    envelope: bytes,
    context: GivenContext,
    expected_key: str,
    purpose: str | None,
    end_user: str | None,
) -> Opening | None:
    """Return what to ask for to open an envelope; None where the gateway sealed it and opens it itself.

    Raises `EnvelopeMalformed` and `InvalidRequest`.
    """
    parsed = parse_envelope(require_bytes(envelope, "envelope", MAX_SEALED_ENVELOPE, _TOO_LONG))
    if parsed.suite is Suite.WRAPPED_DATA_KEY:
        raise EnvelopeMalformed("This is a wrapped data key; it has no payload.", advice="Use decrypt() of the client.")
    if parsed.suite is not Suite.CLIENT_SEALED:
        return None
    bound = _checked(context)
    start = len(envelope) - len(parsed.payload)
    place = opening_place(envelope, len(parsed.bound), start, bound.pairs, expected_key, purpose, end_user)
    declaration = declared(defaults, purpose, end_user)
    return Opening(parsed.wrapped_data_key(), bound, expected_key, declaration, place, len(parsed.bound), start)


def too_much() -> InvalidRequest:
    """Return the error of a value that is longer than a data key may be used for."""
    return InvalidRequest(
        "The value is longer than what may be under one data key.",
        reason=Reason.PLAINTEXT_TOO_LARGE,
        advice="Split it, or have max_bytes raised: data_keys.max_bytes of the gateway, or your own limit.",
    )


def _checked(context: GivenContext) -> EncryptionContext:
    if context is not None and not isinstance(context, Mapping | EncryptionContext):
        raise InvalidRequest(
            "The context is no mapping.", reason=Reason.CONTEXT_INVALID, advice="Give a dict of str to str."
        )
    return bound_context(context)
