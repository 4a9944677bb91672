"""Decrypt: open an envelope, or unwrap a wrapped data key."""

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import ClassVar, Final, NamedTuple, TypeAlias

from kmsgw.envelope.aead import open_parts, open_value
from kmsgw.envelope.format import (
    COMMITMENT_BYTES,
    SALT_BYTES,
    STREAM_HEAD_BYTES,
    TAG_BYTES,
    WRAPPING_BYTES,
    Envelope,
    Suite,
    bound_header,
    parse_envelope,
)
from kmsgw.errors import DecryptionFailed
from kmsgw.model.access import Action
from kmsgw.model.context import AccessDeclaration, EncryptionContext
from kmsgw.model.data_key_limits import KEEP_NOTHING, DataKeyLimits
from kmsgw.model.generation_cache import GenerationCache
from kmsgw.model.key import Key
from kmsgw.model.lifecycle import Act
from kmsgw.model.quick import quick
from kmsgw.operations.data_keys import DataKeys, open_version
from kmsgw.operations.keyring import Keyring
from kmsgw.operations.repeat import Repeat
from kmsgw.operations.verb import Access, Grant

KNOWN_WRAPPINGS: Final = 4096
"""Wrapped data keys in one of the two generations of what was met in envelopes."""


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
        self.data_keys = data_keys

    def data_key(self, envelope: Envelope, key: Key, context: EncryptionContext, act: Act = Act.DECRYPT) -> bytes:
        """Return the data key. Raises `DecryptionFailed`, or `FailedPrecondition` where its state refuses `act`."""
        key = self._keyring.resolve_version(key, envelope.key_version)
        version = open_version(key, envelope.key_version, act)
        return self.data_keys.unwrap(key, version, envelope, context)

    def plaintext(self, envelope: Envelope, key: Key, context: EncryptionContext) -> bytes:
        """Return the plaintext, or the data key of a wrapped data key."""
        data_key = self.data_key(envelope, key, context)
        if envelope.suite is Suite.WRAPPED_DATA_KEY:
            return data_key
        return open_value(data_key, envelope, context)


class _Wrapping(NamedTuple):
    """A wrapped data key that `owner` has met: under which version it is, and what looks for it in the cache."""

    owner: "_OpenAgain"
    version: int
    data_key: Callable[[], bytes | None]


class _OpenAgain:
    """Opens envelopes of one key as it is now, one suite and one context, with cached data keys. See `Repeat`.

    An envelope is not parsed where its first bytes and its wrapping are those of one that was: so they are as sound.
    """

    __slots__ = ("_bound_end", "_context", "_data_keys", "_head", "_key", "_suite", "_wrappings", "names")
    seals = False

    def __init__(self, command: DecryptCommand, key: Key, data_keys: DataKeys, wrappings: "_Wrappings") -> None:
        envelope = command.envelope
        self.names = (envelope.key_id, command.expected_key) if command.expected_key else (envelope.key_id,)
        self._head = bound_header(envelope.suite, envelope.key_id)
        self._bound_end = len(self._head) + SALT_BYTES + COMMITMENT_BYTES
        self._suite = envelope.suite
        self._key = key
        self._context = command.context
        self._data_keys = data_keys
        self._wrappings = wrappings

    def run(self, payload: bytes | memoryview) -> Decrypted | None:
        # All that stands before a ciphertext: what claims to be longer was never met, and is told by parsing it.
        first = bytes(payload[:STREAM_HEAD_BYTES])
        bound_end = self._bound_end
        start = bound_end + WRAPPING_BYTES
        end = start + int.from_bytes(first[start - 2 : start])
        wrapping = first[bound_end:end]
        known = self._wrappings.get((id(self), wrapping))
        if known is None or known.owner is not self:
            known = self._meet(bytes(payload), wrapping)
        data_key = known.data_key() if known is not None else None
        if known is None or data_key is None or not first.startswith(self._head) or len(payload) < end + TAG_BYTES:
            return None
        plaintext = open_parts(data_key, first[:bound_end], payload[end:], self._context)
        return Decrypted(plaintext, self._key.key_id, known.version)

    def _meet(self, payload: bytes, wrapping: bytes) -> _Wrapping | None:
        envelope = parse_envelope(payload)
        if envelope.suite is not self._suite or envelope.key_id != self._key.key_id:
            return None
        if self._key.find_version(envelope.key_version) is None:
            return None  # it may have been made elsewhere
        version = open_version(self._key, envelope.key_version, Act.DECRYPT)
        data_key = self._data_keys.known_for_opening(self._key, version, envelope, self._context)
        known = _Wrapping(self, envelope.key_version, data_key)
        self._wrappings.put((id(self), wrapping), known)
        return known


_Wrappings: TypeAlias = GenerationCache[tuple[int, bytes], _Wrapping]


class Decrypt:
    """The verb."""

    changes_state: ClassVar[bool] = False

    def __init__(self, opener: EnvelopeOpener, keyring: Keyring, data_key_limits: DataKeyLimits = KEEP_NOTHING) -> None:
        self._opener = opener
        self._keyring = keyring
        self._data_key_limits = data_key_limits
        self._wrappings: _Wrappings = GenerationCache(KNOWN_WRAPPINGS)

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

    def again(self, command: DecryptCommand, key: Key) -> Repeat | None:
        """Return the command without its envelope's payload, for a key that it was just done with."""
        if command.envelope.suite not in (Suite.GATEWAY_SEALED, Suite.CLIENT_SEALED):
            return None
        return _OpenAgain(command, key, self._opener.data_keys, self._wrappings)
