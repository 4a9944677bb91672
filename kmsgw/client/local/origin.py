"""Where a data key comes from: what was asked for, by which it is found again and asked for anew. No I/O."""

import secrets
from dataclasses import dataclass, field
from typing import Final, Protocol

from kmsgw.client.calls import crypto
from kmsgw.client.calls.call import Answer, Call, context_pairs, declaration_message
from kmsgw.client.local.held_data_key import HeldDataKey
from kmsgw.client.results import DataKey, Decrypted
from kmsgw.envelope.aead import DATA_KEY_BYTES
from kmsgw.envelope.format import Envelope, parse_envelope
from kmsgw.errors import EnvelopeMalformed, InternalError
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.data_key_limits import DataKeyLimits
from kmsgw.model.names import ALIAS_PREFIX
from kmsgw.v1 import crypto_service_pb2 as wire

SHORTEST_LIFE: Final = 0.75
"""A client keeps a data key for this part of its greatest age at least, and for all of it at most, by chance.

So a thousand processes that got theirs in one moment don't all ask for others in one moment.
"""

_RANDOM: Final = secrets.SystemRandom()

Pairs = tuple[tuple[str, str], ...]
Place = tuple[object, ...]
"""By what a data key is found: everything that it is bound to, and what was declared for it."""


class Origin(Protocol):
    """What a data key was asked for."""

    @property
    def place(self) -> Place:
        """By what the data key is found."""

    def call(self, narrowed: DataKeyLimits, asked: float, timeout: float | None) -> Call[HeldDataKey]:
        """Return the call that asks for a data key at the time `asked`."""

    def lease(self, held: HeldDataKey) -> wire.DataKeyLease:
        """Return what the gateway is asked when the lease is to be renewed."""


@dataclass(frozen=True, slots=True)
class Sealing:
    """A data key to seal values with, under the newest version of `key`, bound to `context`."""

    key: str
    context: EncryptionContext
    declaration: AccessDeclaration
    place: Place = field(repr=False)

    def call(self, narrowed: DataKeyLimits, asked: float, timeout: float | None) -> Call[HeldDataKey]:
        """Return the call of GenerateDataKey."""
        call = crypto.generate_data_key(self.declaration, self.key, self.context, timeout=timeout)

        def read(answer: Answer) -> HeldDataKey:
            made = call.read(answer)
            try:
                wrapping = parse_envelope(made.wrapped)
            except EnvelopeMalformed:
                raise _unusable(answer) from None
            return _held(made, wrapping, self.context, narrowed, asked, answer)

        return Call(call.method, call.request, read, timeout=timeout)

    def lease(self, held: HeldDataKey) -> wire.DataKeyLease:
        """Return the lease of a data key to seal with."""
        return _lease(wire.DATA_KEY_USE_SEAL, held, self.key, self.context, self.declaration)


@dataclass(frozen=True, slots=True)
class Opening:
    """The data key of an envelope that a client sealed. `wrapping` is it alone, wrapped.

    ``bound_end`` and ``payload_start`` are where the bound header ends and the payload begins in that envelope.
    """

    wrapping: Envelope
    context: EncryptionContext
    expected_key: str
    declaration: AccessDeclaration
    place: Place = field(repr=False)
    bound_end: int
    payload_start: int

    def call(self, narrowed: DataKeyLimits, asked: float, timeout: float | None) -> Call[HeldDataKey]:
        """Return the call of Decrypt, which unwraps the data key. The payload does not travel."""
        call = crypto.decrypt(
            self.declaration, self.wrapping.encode(), self.context, expected_key=self.expected_key, timeout=timeout
        )

        def read(answer: Answer) -> HeldDataKey:
            return _held(call.read(answer), self.wrapping, self.context, narrowed, asked, answer)

        return Call(call.method, call.request, read, timeout=timeout)

    def lease(self, held: HeldDataKey) -> wire.DataKeyLease:
        """Return the lease of a data key to open with, for as long as an alias that is expected leads to its key."""
        return _lease(wire.DATA_KEY_USE_OPEN, held, self.expected_key, self.context, self.declaration)


def _held(
    made: DataKey | Decrypted,
    wrapping: Envelope,
    context: EncryptionContext,
    narrowed: DataKeyLimits,
    asked: float,
    answer: Answer,
) -> HeldDataKey:
    if len(made.plaintext) != DATA_KEY_BYTES:
        raise _unusable(answer)
    limits = made.limits.narrowed(narrowed)
    life = limits.max_age_seconds * _RANDOM.uniform(SHORTEST_LIFE, 1.0)
    return HeldDataKey(
        made.plaintext,
        wrapping.key_id,
        wrapping.key_version,
        wrapping.wrapped,
        context.canonical,
        limits,
        asked=asked,
        life=life,
    )


def _lease(
    use: wire.DataKeyUse,
    held: HeldDataKey,
    name: str,
    context: EncryptionContext,
    declaration: AccessDeclaration,
) -> wire.DataKeyLease:
    return wire.DataKeyLease(
        use=use,
        key_id=held.key_id,
        key_version=held.key_version,
        alias=name if name.startswith(ALIAS_PREFIX) else "",  # an id leads to one key for ever
        encryption_context=context_pairs(context),
        declaration=declaration_message(declaration, None, None),
    )


def _unusable(answer: Answer) -> InternalError:
    return InternalError(
        "The gateway answered a data key that can't be used.",
        advice="Use an SDK as new as the gateway.",
        request_id=answer.request_id,
    )
