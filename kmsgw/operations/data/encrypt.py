"""Encrypt: seal a value into an envelope."""

from collections.abc import Sequence
from dataclasses import field
from typing import ClassVar

from kmsgw.envelope.aead import seal_in_parts
from kmsgw.envelope.format import Suite
from kmsgw.errors import InvalidRequest, Reason
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.key import Key
from kmsgw.model.lifecycle import Act
from kmsgw.model.quick import quick
from kmsgw.operations.data_keys import DataKeys, sealing_key
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.repeat import Repeat
from kmsgw.operations.verb import Access, Grant

MAX_PLAINTEXT_BYTES = 65_536
"""Longest value of a call, in bytes. What is longer is sealed by the client with a data key."""


@quick
class EncryptCommand:
    """Seal `plaintext` under `key`, bound to `context`. `key_version` is 0 for the newest."""

    key: str
    plaintext: bytes = field(repr=False)
    context: EncryptionContext
    declaration: AccessDeclaration
    key_version: int = 0


@quick
class Encrypted:
    """The envelope, in parts, and what it is under."""

    parts: tuple[bytes, ...] = field(repr=False)
    key_id: str
    key_version: int

    @property
    def envelope(self) -> bytes:
        """The bytes of the envelope. Who puts them into a message joins the parts there: a copy of 64 KiB less."""
        return b"".join(self.parts)


def check_size(plaintext: bytes) -> None:
    """Raise `InvalidRequest` where a value is too long for one call."""
    if len(plaintext) > MAX_PLAINTEXT_BYTES:
        raise InvalidRequest(
            f"The plaintext has {len(plaintext)} bytes; a call takes {MAX_PLAINTEXT_BYTES}.",
            reason=Reason.PLAINTEXT_TOO_LARGE,
            advice="Seal it in the client with a data key: `Client.seal`, or `kmsgw encrypt`.",
        )


class _SealAgain:
    """Seals under one key as it is now and one context, with cached data keys. See `Repeat`."""

    __slots__ = ("_context", "_data_key", "_key_id", "names")
    seals = True

    def __init__(self, name: str, key: Key, context: EncryptionContext, data_keys: DataKeys) -> None:
        self.names = (name,)
        self._key_id = key.key_id
        self._context = context
        self._data_key = data_keys.known_for_sealing(key, context)

    def run(self, payload: bytes | memoryview) -> Encrypted | None:
        size = len(payload)
        data_key = self._data_key(size) if size <= MAX_PLAINTEXT_BYTES else None
        if data_key is None:
            return None
        parts = seal_in_parts(
            data_key.plaintext,
            payload,
            self._context,
            key_id=self._key_id,
            key_version=data_key.key_version,
            wrapped=data_key.wrapped,
            suite=Suite.GATEWAY_SEALED,
        )
        return Encrypted(parts, self._key_id, data_key.key_version)


class Encrypt:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, data_keys: DataKeys, keyring: Keyring) -> None:
        self._data_keys = data_keys
        self._keyring = keyring

    def accesses(self, command: EncryptCommand) -> Sequence[Access]:
        """Wants to encrypt under the key."""
        return (Access(Action.ENCRYPT, command.key, None, command.context, command.declaration),)

    def run(self, command: EncryptCommand, grant: Grant) -> Encrypted:
        """Seal. Raises `FailedPrecondition` for a disabled key, `ProviderUnavailable` without provider."""
        check_size(command.plaintext)
        key = sealing_key(self._keyring, grant.key(), command.key_version, Act.ENCRYPT)
        data_key = self._data_keys.for_sealing(key, command.context, len(command.plaintext), grant.trail)
        grant.trail.key_version, grant.trail.sealed_bytes = data_key.key_version, len(command.plaintext)
        parts = seal_in_parts(
            data_key.plaintext,
            command.plaintext,
            command.context,
            key_id=key.key_id,
            key_version=data_key.key_version,
            wrapped=data_key.wrapped,
            suite=Suite.GATEWAY_SEALED,
        )
        return Encrypted(parts, key.key_id, data_key.key_version)

    def again(self, command: EncryptCommand, key: Key) -> Repeat:
        """Return the command without its plaintext, for a key that it was just done with. Raises what `run` raises."""
        sealing = sealing_key(self._keyring, key, command.key_version, Act.ENCRYPT)
        return _SealAgain(command.key, sealing, command.context, self._data_keys)
