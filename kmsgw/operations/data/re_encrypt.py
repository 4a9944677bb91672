"""ReEncrypt: decrypt and encrypt inside the gateway, under another key or another context."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from kmsgw.envelope.aead import seal_value
from kmsgw.envelope.format import Envelope, Suite, wrapped_data_key
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.lifecycle import Act, require
from kmsgw.operations.data.decrypt import EnvelopeOpener
from kmsgw.operations.data.encrypt import check_size
from kmsgw.operations.data_keys import DataKeys
from kmsgw.operations.verb import Access, Grant


@dataclass(frozen=True, slots=True)
class ReEncryptCommand:
    """Open `envelope` with one context, and seal what it holds under another key and context."""

    envelope: Envelope
    source_context: EncryptionContext
    destination_key: str
    destination_context: EncryptionContext
    declaration: AccessDeclaration


@dataclass(frozen=True, slots=True)
class ReEncrypted:
    """The new envelope, what it was under, and what it is under."""

    envelope: bytes = field(repr=False)
    source_key_id: str
    source_key_version: int
    key_id: str
    key_version: int


class ReEncrypt:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, opener: EnvelopeOpener, data_keys: DataKeys) -> None:
        self._opener = opener
        self._data_keys = data_keys

    def accesses(self, command: ReEncryptCommand) -> Sequence[Access]:
        """Wants to encrypt under the destination and to decrypt under the source; both must be allowed."""
        declared = command.declaration
        return (
            Access(Action.ENCRYPT, command.destination_key, None, command.destination_context, declared),
            Access(Action.DECRYPT, command.envelope.key_id, None, command.source_context, declared),
        )

    def run(self, command: ReEncryptCommand, grant: Grant) -> ReEncrypted:
        """Open and seal. A wrapped data key becomes a wrapped data key, with the same data key in it."""
        destination, source, envelope = grant.key(0), grant.key(1), command.envelope
        grant.trail.source_key_id = source.key_id
        grant.trail.source_key_version = envelope.key_version
        require(destination, Act.ENCRYPT)
        plaintext = self._opener.plaintext(envelope, source, command.source_context)
        context = command.destination_context
        if envelope.suite is Suite.WRAPPED_DATA_KEY:
            version = destination.primary.version
            wrapped = self._data_keys.wrap(destination, plaintext, context, envelope.suite.holder, grant.trail)
            made = wrapped_data_key(destination.key_id, version, wrapped).encode()
        else:
            check_size(plaintext)
            data_key = self._data_keys.for_sealing(destination, context, len(plaintext), grant.trail)
            version, grant.trail.sealed_bytes = data_key.key_version, len(plaintext)
            made = seal_value(
                data_key.plaintext,
                plaintext,
                context,
                key_id=destination.key_id,
                key_version=version,
                wrapped=data_key.wrapped,
                suite=Suite.GATEWAY_SEALED,
            )
        grant.trail.key_version = version
        return ReEncrypted(made, source.key_id, envelope.key_version, destination.key_id, version)
