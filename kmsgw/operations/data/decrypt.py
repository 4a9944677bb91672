"""Decrypt: open an envelope, or unwrap a wrapped data key."""

from collections.abc import Sequence
from dataclasses import field
from typing import ClassVar

from kmsgw.envelope.aead import open_value
from kmsgw.envelope.format import Envelope, Suite
from kmsgw.errors import DecryptionFailed
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.data_key_limits import KEEP_NOTHING, DataKeyLimits
from kmsgw.model.key import Key
from kmsgw.model.lifecycle import Act
from kmsgw.model.quick import quick
from kmsgw.operations.data_keys import DataKeys, open_version
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.verb import Access, Grant


@quick
class DecryptCommand:
    """Open `envelope` with the context that was bound. `expected_key` is a key name, or empty for any key."""

    envelope: Envelope
    context: EncryptionContext
    declaration: AccessDeclaration
    expected_key: str = ""


@quick
class Decrypted:
    """The plaintext (or the data key), and what it was under. ``limits`` only where it is a data key."""

    plaintext: bytes = field(repr=False)
    key_id: str
    key_version: int
    limits: DataKeyLimits | None = None


class EnvelopeOpener:
    """From a parsed envelope to its data key and its plaintext; shared by all verbs that open envelopes."""

    def __init__(self, keyring: Keyring, data_keys: DataKeys) -> None:
        self._keyring = keyring
        self._data_keys = data_keys

    def data_key(self, envelope: Envelope, key: Key, context: EncryptionContext, act: Act = Act.DECRYPT) -> bytes:
        """Return the data key. Raises `DecryptionFailed`, or `FailedPrecondition` where its state refuses `act`."""
        key = self._keyring.resolve_version(key, envelope.key_version)
        version = open_version(key, envelope.key_version, act)
        return self._data_keys.unwrap(key, version, envelope, context)

    def plaintext(self, envelope: Envelope, key: Key, context: EncryptionContext) -> bytes:
        """Return the plaintext, or the data key of a wrapped data key."""
        data_key = self.data_key(envelope, key, context)
        if envelope.suite is Suite.WRAPPED_DATA_KEY:
            return data_key
        return open_value(data_key, envelope, context)


class Decrypt:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, opener: EnvelopeOpener, keyring: Keyring, data_key_limits: DataKeyLimits = KEEP_NOTHING) -> None:
        self._opener = opener
        self._keyring = keyring
        self._data_key_limits = data_key_limits

    def accesses(self, command: DecryptCommand) -> Sequence[Access]:
        """Wants to decrypt under the envelope's key."""
        return (Access(Action.DECRYPT, command.envelope.key_id, None, command.context, command.declaration),)

    def run(self, command: DecryptCommand, grant: Grant) -> Decrypted:
        """Open. Raises `DecryptionFailed` for everything that is wrong with the envelope or its context."""
        key, envelope = grant.key(), command.envelope
        grant.trail.key_version = envelope.key_version
        if command.expected_key and not self._keyring.is_named(key, command.expected_key):
            raise DecryptionFailed
        plaintext = self._opener.plaintext(envelope, key, command.context)
        if envelope.suite is not Suite.WRAPPED_DATA_KEY:
            return Decrypted(plaintext, key.key_id, envelope.key_version)
        grant.trail.facts.update(self._data_key_limits.facts())
        return Decrypted(plaintext, key.key_id, envelope.key_version, self._data_key_limits)
