"""Rewrap: put an envelope's data key under the newest version of its key, and leave the payload untouched."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from kmsgw.envelope.aead import check_commitment
from kmsgw.envelope.format import Envelope, Suite
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.lifecycle import Act, require
from kmsgw.operations.data.decrypt import EnvelopeOpener
from kmsgw.operations.data_keys import DataKeys
from kmsgw.operations.verb import Access, Grant


@dataclass(frozen=True, slots=True)
class RewrapCommand:
    """Rewrap `envelope`, of which the payload may be missing."""

    envelope: Envelope
    context: EncryptionContext
    declaration: AccessDeclaration


@dataclass(frozen=True, slots=True)
class Rewrapped:
    """The envelope with its new wrapping."""

    envelope: bytes = field(repr=False)
    key_id: str
    source_key_version: int
    key_version: int


class Rewrap:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, opener: EnvelopeOpener, data_keys: DataKeys) -> None:
        self._opener = opener
        self._data_keys = data_keys

    def accesses(self, command: RewrapCommand) -> Sequence[Access]:
        """Wants to rewrap under the envelope's key. The plaintext does not leave, so decryption is not asked for."""
        return (Access(Action.REWRAP, command.envelope.key_id, None, command.context, command.declaration),)

    def run(self, command: RewrapCommand, grant: Grant) -> Rewrapped:
        """Unwrap and wrap inside the gateway: a provider's own rewrap drops the context (docs/adr/0001)."""
        key, envelope = grant.key(), command.envelope
        trail = grant.trail
        trail.source_key_id, trail.source_key_version = key.key_id, envelope.key_version
        require(key, Act.REWRAP_TO)
        data_key = self._opener.data_key(envelope, key, command.context, Act.REWRAP_FROM)
        if envelope.suite is not Suite.WRAPPED_DATA_KEY:
            check_commitment(data_key, envelope)
        trail.key_version = key.primary.version
        if envelope.key_version < key.primary.version:
            wrapped = self._data_keys.wrap(key, data_key, command.context, envelope.suite.holder, trail)
            envelope = envelope.with_wrapping(key.primary.version, wrapped)
        return Rewrapped(envelope.encode(), key.key_id, command.envelope.key_version, envelope.key_version)
